//! SHA-256 as text, for names and for telling texts apart. Never for a value: what a value is known by is keyed
//! ([`crate::segmentation::fingerprint`]).

use aws_lc_rs::digest::{SHA256, digest};
use std::borrow::Cow;

/// In lower-case hexadecimal digits.
pub fn sha256_hex(bytes: &[u8]) -> String {
    digest(&SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The longest name that is shown whole: what most kinds' names may have. Kubernetes puts no limit on those of roles and groups.
pub const LONGEST_NAME: usize = 253;

/// Digits of what tells long names apart.
const MARK: usize = 10;

/// A name as it is shown: of one that is longer than names are the beginning, and what tells it from others that begin alike.
pub fn shown(name: &str) -> Cow<'_, str> {
    let looks_cut = name.len() > LONGEST_NAME - MARK
        && name
            .rsplit_once("...")
            .is_some_and(|(_, mark)| mark.len() == MARK && mark.bytes().all(|b| b.is_ascii_hexdigit()));
    // One that is written as if it were cut must not pass for another's.
    if name.len() <= LONGEST_NAME && !looks_cut {
        return name.into();
    }
    let mark = format!("...{}", &sha256_hex(name.as_bytes())[..MARK]);
    let beginning = &name[..name.floor_char_boundary(LONGEST_NAME - mark.len())];
    format!("{beginning}{mark}").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_begin_alike_are_told_apart() {
        let long = "ä".repeat(127);
        assert_eq!(shown(&long[..252]), long[..252]);
        let (one, two) = (format!("{long}1"), format!("{long}2"));
        assert!(shown(&one) != shown(&two) && shown(&one).len() <= LONGEST_NAME, "{}", shown(&one));
        assert_ne!(shown(&shown(&one)), shown(&one));
    }
}
