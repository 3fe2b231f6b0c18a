//! Copies of managed values: found in bytes, whole or inside a larger text, in the forms in which they are commonly carried.
//!
//! ```text
//!   value ──► Mark (keyed; in the seal)       Secret, ConfigMap ──► Content (pieces of bytes)
//!               │                                                    │
//!               ▼                                                    ▼
//!           MarkIndex ───────────────────────────────────────────► Search ──► fingerprints ──► whose (authorize::owners)
//! ```
//!
//! Three steps, each cheaper than what it lets through: a rolling hash of one 16-byte window a value over every position of the
//! text; where that window is a value's, a polynomial hash over the value's whole length, in constant time from the hashes of
//! prefixes; where that agrees, the HMAC. All are keyed by the seal key. The work is counted and bounded, so that a text made
//! to be slow is refused instead.
//!
//! Looked at: the bytes as they are, without line indentation, with JSON and percent escapes undone, and what is base64 in
//! them (either alphabet, padded or not, wrapped, at any alignment), to a depth of two. A value that is itself indented is marked
//! without its indentation, too, so that it is found however it is indented. Not found: a value that was cut, encrypted,
//! compressed or encoded otherwise; nor, in base64 and quoted or indented there, one that has control characters in it.

mod content;
mod forms;
mod index;
mod mark;
mod scan;
mod search;
#[cfg(test)]
mod tests;

pub use content::{Content, Place, SHORTEST};
pub use forms::dedented;
pub use index::MarkIndex;
pub use mark::{MARKER_BYTES, Mark, Marker, Marks, sealed_fingerprints};
pub use scan::{Owners, RULE, Scan, scan, values_in};
pub use search::{Exhausted, Search};

/// Bytes of the window by which a value is looked for; nothing shorter is.
pub const WINDOW: usize = 16;
