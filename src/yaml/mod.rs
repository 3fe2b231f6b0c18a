//! YAML as kubectl decodes it, with the place of every field kept.
//!
//! ```text
//!   file ── split ──► documents ── compose ──► Node tree (places, written forms)
//!                                    └ scalar: what a plain word means
//! ```
//!
//! kubectl hands each document to sigs.k8s.io/yaml, which is go-yaml v2: YAML 1.1 words (`yes`, `on`, `y`), octal `0777`,
//! merge keys in the order of the document, and of a repeated key silently the last. All of that is kept here; the
//! repetition is remembered, so that it can be reported.

mod compose;
mod node;
mod scalar;
mod split;

pub use compose::compose;
pub use node::{Entry, Fault, Node, Place, Value};
pub use split::{Chunk, decode_text, split};
