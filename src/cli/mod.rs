//! The kubectl plugin: `kubectl scoped-secrets VERB`.
//!
//! [`command`] is the shell: flags, files, printing, the exit code. Each verb's work is a module of its own, pure where it
//! can be.

pub mod command;
mod files;
pub mod simulate;
