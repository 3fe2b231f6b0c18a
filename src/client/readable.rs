//! JSON whose managedFields have times that can be read, made as it comes, in pieces. Pure.

use bytes::Bytes;
use jiff::Timestamp;
use memchr::memchr2;
use std::borrow::Cow;

/// Goes through one JSON text, or one after another, and makes null of what managedFields have for a time that is none.
#[derive(Debug, Default)]
pub struct Readable {
    /// The objects and arrays that are open, by their first letter.
    open: Vec<u8>,
    /// How many are open inside the array of managedFields.
    managed: Option<usize>,
    /// Which key a value is for.
    key: Key,
    /// Whether a value comes next, and no key.
    is_value: bool,
    text: Option<Text>,
}

/// The string that is being read.
#[derive(Debug, Default)]
struct Text {
    /// Whether it is a time of managedFields.
    is_time: bool,
    escaped: bool,
    /// What of it came in earlier pieces, as far as it matters.
    before: Vec<u8>,
}

/// The keys that matter.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Key {
    ManagedFields,
    Time,
    #[default]
    Other,
}

/// No key that matters, and no time, is longer.
const LONGEST: usize = 64;

impl Readable {
    /// The next piece, with what is to be otherwise; a time that it ends within comes with the next.
    pub fn feed(&mut self, piece: Bytes) -> Bytes {
        let mut out = Vec::new();
        // Up to where it is in `out`, and where the string at hand begins.
        let (mut copied, mut start, mut at) = (0, 0, 0);
        while at < piece.len() {
            let Some(text) = &mut self.text else {
                let byte = piece[at];
                if byte == b'"' {
                    let is_time = self.is_value
                        && self.key == Key::Time
                        && self.managed.is_some_and(|managed| self.open.len() == managed + 1);
                    self.text = Some(Text { is_time, ..Text::default() });
                    start = at;
                } else {
                    self.turn(byte);
                }
                at += 1;
                continue;
            };
            if std::mem::take(&mut text.escaped) {
                at += 1;
                continue;
            }
            match memchr2(b'"', b'\\', &piece[at..]) {
                None => at = piece.len(),
                Some(skipped) if piece[at + skipped] == b'\\' => {
                    text.escaped = true;
                    at += skipped + 1;
                }
                Some(skipped) => {
                    at += skipped + 1;
                    let (before, was_time) = (std::mem::take(&mut text.before), text.is_time);
                    self.text = None;
                    let whole = match &before[..] {
                        [] => Cow::Borrowed(&piece[start..at]),
                        before => Cow::Owned([before, &piece[start..at]].concat()),
                    };
                    if was_time {
                        let is_readable = whole.len() <= LONGEST && is_time(&whole);
                        if !before.is_empty() || !is_readable {
                            out.extend_from_slice(&piece[copied..start]);
                            out.extend_from_slice(if is_readable { &whole } else { b"null" });
                            copied = at;
                        }
                    } else if !self.is_value {
                        self.key = match &whole[..] {
                            b"\"managedFields\"" => Key::ManagedFields,
                            b"\"time\"" => Key::Time,
                            _ => Key::Other,
                        };
                    }
                }
            }
        }
        if let Some(text) = &mut self.text {
            // One byte more than the longest that matters: what is longer stays longer.
            let room = (LONGEST + 1).saturating_sub(text.before.len());
            text.before.extend(piece[start..].iter().take(room));
            if text.is_time {
                out.extend_from_slice(&piece[copied..start.max(copied)]);
                copied = piece.len();
            }
        }
        if copied == 0 {
            return piece;
        }
        out.extend_from_slice(&piece[copied..]);
        out.into()
    }

    /// Takes a letter outside of strings.
    fn turn(&mut self, byte: u8) {
        match byte {
            b':' => self.is_value = true,
            b',' => self.is_value = self.open.last() == Some(&b'['),
            b'{' | b'[' => {
                self.open.push(byte);
                if byte == b'[' && self.key == Key::ManagedFields && self.is_value && self.managed.is_none() {
                    self.managed = Some(self.open.len());
                }
                self.key = Key::Other;
                self.is_value = byte == b'[';
            }
            b'}' | b']' => {
                if self.managed == Some(self.open.len()) {
                    self.managed = None;
                }
                self.open.pop();
                self.key = Key::Other;
                self.is_value = false;
            }
            _ => {}
        }
    }
}

/// Whether a time in quotes can be reckoned with.
fn is_time(quoted: &[u8]) -> bool {
    let inner = quoted.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
    let text = inner.and_then(|inner| std::str::from_utf8(inner).ok());
    text.is_some_and(|text| text.parse::<Timestamp>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn whole(text: &str) -> String {
        String::from_utf8(Readable::default().feed(text.to_owned().into()).to_vec()).unwrap()
    }

    fn in_pieces(text: &str, length: usize) -> String {
        let mut readable = Readable::default();
        let fed = text.as_bytes().chunks(length).flat_map(|piece| readable.feed(Bytes::copy_from_slice(piece)));
        String::from_utf8(fed.collect()).unwrap()
    }

    const GOOD: &str = "2026-01-01T00:00:00Z";
    const BAD: &str = "9999-12-31T23:59:59Z";

    fn object(managed: Value, data: Value) -> String {
        json!({"kind": "List", "items": [{"metadata": {"managedFields": managed, "name": "a"}, "data": data}, {"metadata": {"managedFields": []}}]})
            .to_string()
    }

    #[test]
    fn a_time_that_is_none_goes_and_nothing_else() {
        let data =
            json!({"time": BAD, "managedFields": "[{\"time\":\"9999-12-31T23:59:59Z\"}]", "o": {"time": [BAD, "\\"]}});
        let entry = |time: Value| json!({"manager": "m", "time": time, "fieldsV1": {"time": BAD, "f:time": {"k:{\"time\":\"x\"}": {}}}});
        for (written, read) in [
            (json!(GOOD), json!(GOOD)),
            (json!(BAD), Value::Null),
            (json!("x".repeat(5_000)), Value::Null),
            (json!("\"\\"), Value::Null),
            (json!(7), json!(7)),
        ] {
            let text = object(json!([entry(json!(GOOD)), entry(written)]), data.clone());
            let expected = object(json!([entry(json!(GOOD)), entry(read)]), data.clone());
            assert_eq!(whole(&text), expected);
            for length in [1, 2, 3, 7, 64, 65, 100] {
                assert_eq!(in_pieces(&text, length), expected, "{length}");
            }
            let twice = format!("{text}\n{text}\n");
            assert_eq!(in_pieces(&twice, 11), format!("{expected}\n{expected}\n"), "a watch");
        }
    }

    #[test]
    fn what_it_makes_can_be_decoded() {
        let text = object(json!([{"manager": "m", "operation": "Update", "time": BAD}]), json!({}));
        let read: Value = serde_json::from_str(&whole(&text)).unwrap();
        let metadata: k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta =
            serde_json::from_value(read["items"][0]["metadata"].clone()).unwrap();
        assert_eq!(metadata.managed_fields.unwrap()[0].time, None);
    }

    proptest! {
        #[test]
        fn any_other_text_is_left_as_it_is(text in r#"[\[\]{}:,"\\a-z0-9 \n]{0,200}"#, length in 1usize..20) {
            prop_assert_eq!(whole(&text), text.clone());
            prop_assert_eq!(in_pieces(&text, length), text);
        }
    }
}
