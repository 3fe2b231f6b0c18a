//! The keys of the record: one for each process, from the seal key.
//!
//! Of each generation of the seal key one key is derived for the record (HKDF), and from that one for each process (HMAC of its
//! random id). So whoever edits a log without the Secret `scoped-secrets-keys` cannot sign a line; whoever checks logs
//! can be given the keys of the record alone ([`RecordKeys::to_text`]), which open no seal; and no line can be moved to another process.

use crate::segmentation::seal::{BrokenKeys, SealKeys};
use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use std::collections::BTreeMap;
use zeroize::Zeroizing;

/// The record's key of one generation of the seal key.
pub struct RecordKey(hmac::Key);

impl RecordKey {
    /// From the bytes that were derived for this.
    pub fn new(bytes: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, bytes))
    }

    /// The key of a process.
    pub fn of_process(&self, process: &str) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&self.0, process.as_bytes()).as_ref())
    }
}

/// The record's keys by the generations of the seal key.
#[derive(Default)]
pub struct RecordKeys(BTreeMap<String, Zeroizing<[u8; 32]>>);

/// Why there are no keys in a text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoKeys {
    /// Line so-and-so.
    #[error(
        "line {0} is no key of the record: write what `verify-log --print-key` prints, or the content of the key generations of the Secret scoped-secrets-keys"
    )]
    Line(usize),
    /// Nothing.
    #[error("there is no key in it")]
    Empty,
    /// The seal key.
    #[error("{0}")]
    Seal(#[from] BrokenKeys),
}

impl RecordKeys {
    /// Those of the seal key's generations.
    pub fn of(keys: &SealKeys) -> Result<Self, BrokenKeys> {
        let each = keys.generations().map(|generation| Ok((generation.id.clone(), generation.record_key()?)));
        Ok(Self(each.collect::<Result<_, BrokenKeys>>()?))
    }

    /// From what [`RecordKeys::to_text`] wrote (several such texts may follow each other), or from the seal key as it is stored.
    pub fn from_text(text: &str) -> Result<Self, NoKeys> {
        if text.trim_start().starts_with('[') {
            return Ok(Self::of(&SealKeys::from_stored(text.trim().as_bytes())?)?);
        }
        let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
        let mut keys = BTreeMap::new();
        for (at, line) in lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
            let (id, key) = line.split_once(' ').ok_or(NoKeys::Line(at))?;
            let bytes = Zeroizing::new(BASE64.decode(key.trim()).map_err(|_| NoKeys::Line(at))?);
            let mut key = Zeroizing::new([0; 32]);
            if bytes.len() != key.len() {
                return Err(NoKeys::Line(at));
            }
            key.copy_from_slice(&bytes);
            keys.insert(id.to_owned(), key);
        }
        if keys.is_empty() { Err(NoKeys::Empty) } else { Ok(Self(keys)) }
    }

    /// A line for each, to be kept for whoever checks logs: the generation and its key. Whoever has it can sign lines.
    pub fn to_text(&self) -> Zeroizing<String> {
        let line = |(id, key): (&String, &Zeroizing<[u8; 32]>)| format!("{id} {}\n", BASE64.encode(**key));
        Zeroizing::new(self.0.iter().map(line).collect())
    }

    /// The key of a generation.
    pub fn get(&self, generation: &str) -> Option<RecordKey> {
        self.0.get(generation).map(|bytes| RecordKey::new(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segmentation::seal::Generation;

    #[test]
    fn keys_are_kept_as_text_and_open_no_seal() {
        let seal = SealKeys::new(Generation::from_random(&[7; 36], "2026-01-01T00:00:00Z".parse().unwrap()).unwrap());
        let keys = RecordKeys::of(&seal).unwrap();
        let text = keys.to_text();
        assert!(text.starts_with("07070707 ") && !text.contains(&BASE64.encode([7; 32])), "{}", *text);
        let older = format!("# kept in 2025\n01020304 {}\n\n{}", BASE64.encode([1; 32]), *text);
        let read = RecordKeys::from_text(&older).unwrap();
        assert!(read.get("01020304").is_some() && read.get("ffffffff").is_none());
        let sign = |keys: &RecordKeys, process| {
            hmac::sign(&keys.get("07070707").unwrap().of_process(process), b"line").as_ref().to_vec()
        };
        let stored = RecordKeys::from_text(std::str::from_utf8(&seal.to_stored().unwrap()).unwrap()).unwrap();
        assert_eq!(sign(&read, "a"), sign(&stored, "a"));
        assert_ne!(sign(&read, "a"), sign(&read, "b"));
    }

    #[test]
    fn what_is_no_key_is_told_by_its_line_without_quoting_it() {
        for (text, expected) in [
            ("", NoKeys::Empty),
            ("# nothing\n", NoKeys::Empty),
            ("canary", NoKeys::Line(1)),
            ("\n07070707 canary", NoKeys::Line(2)),
            ("[canary", NoKeys::Seal(BrokenKeys::Unreadable)),
            ("[]", NoKeys::Seal(BrokenKeys::Unreadable)),
        ] {
            let error = RecordKeys::from_text(text).err().unwrap();
            assert!(!error.to_string().contains("canary"));
            assert_eq!(error, expected, "{text}");
        }
    }
}
