//! Secrets managers behind one trait.
