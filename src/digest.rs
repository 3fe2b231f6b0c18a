//! SHA-256 as text, for names and for telling texts apart. Never for a value: what a value is known by is keyed
//! ([`crate::segmentation::fingerprint`]).

use aws_lc_rs::digest::{SHA256, digest};

/// In lower-case hexadecimal digits.
pub fn sha256_hex(bytes: &[u8]) -> String {
    digest(&SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
