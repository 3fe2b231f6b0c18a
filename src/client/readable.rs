//! JSON that can be decoded, made as it comes, in pieces. Pure.

use bytes::Bytes;
use jiff::Timestamp;
use memchr::memchr2;
use std::borrow::Cow;

/// Goes through one JSON text, or one after another. What is nested too deep is left out, and a time that cannot be reckoned with is
/// the last one that can.
#[derive(Debug, Default)]
pub struct Readable {
    /// How many objects and arrays are open.
    depth: usize,
    text: Option<Text>,
}

/// The string that is being read.
#[derive(Debug)]
struct Text {
    escaped: bool,
    /// What of it came in earlier pieces, while it may be such a time; None: it is none.
    held: Option<Vec<u8>>,
}

/// Objects and arrays that are open in more than so many are empty. serde_json takes 127, and nothing that is read here needs thirty.
const DEEPEST: usize = 100;

/// How a time that cannot be reckoned with begins: those of the last two days of the year 9999.
const LATE: &[u8] = b"\"9999-12-3";

/// The last that can.
const LAST: &[u8] = b"\"9999-12-30T22:00:00Z\"";

/// No time in quotes is longer.
const LONGEST: usize = 48;

impl Readable {
    /// The next piece, as it is to be read; the beginning of what may be a late time comes with the next.
    pub fn feed(&mut self, piece: Bytes) -> Bytes {
        let mut out = Vec::new();
        // Where that begins which is still to be passed on; None inside of what is left out.
        let mut from = (self.depth <= DEEPEST).then_some(0);
        let (mut start, mut at) = (0, 0);
        while at < piece.len() {
            let Some(text) = &mut self.text else {
                match piece[at] {
                    b'"' => {
                        self.text = Some(Text { escaped: false, held: Some(Vec::new()) });
                        start = at;
                    }
                    b'{' | b'[' => {
                        self.depth += 1;
                        if self.depth == DEEPEST + 1 {
                            let passed = from.take().map(|from| &piece[from..=at]);
                            out.extend_from_slice(passed.unwrap_or_default());
                        }
                    }
                    b'}' | b']' => {
                        if self.depth == DEEPEST + 1 {
                            from = Some(at);
                        }
                        self.depth = self.depth.saturating_sub(1);
                    }
                    _ => {}
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
                    let held = self.text.take().and_then(|text| text.held);
                    let (Some(begins), Some(held)) = (from, held) else { continue };
                    let whole = match &held[..] {
                        [] => Cow::Borrowed(&piece[start..at]),
                        held => Cow::Owned([held, &piece[start..at]].concat()),
                    };
                    let is_late = is_late(&whole);
                    if is_late || !held.is_empty() {
                        out.extend_from_slice(&piece[begins..start]);
                        out.extend_from_slice(if is_late { LAST } else { &whole });
                        from = Some(at);
                    }
                }
            }
        }
        let mut end = piece.len();
        if let (Some(text), Some(_)) = (&mut self.text, from)
            && let Some(held) = &mut text.held
        {
            let before = held.len();
            held.extend_from_slice(&piece[start..]);
            if may_be_late(held) {
                end = start;
            } else {
                out.extend_from_slice(&held[..before]);
                text.held = None;
            }
        }
        if from == Some(0) && end == piece.len() && out.is_empty() {
            return piece;
        }
        out.extend_from_slice(from.map(|from| &piece[from..end]).unwrap_or_default());
        out.into()
    }
}

/// Whether that may be the beginning of a late time.
fn may_be_late(quoted: &[u8]) -> bool {
    quoted.len() <= LONGEST && (quoted.starts_with(LATE) || LATE.starts_with(quoted))
}

/// Whether it is a time, as Kubernetes writes them, that cannot be reckoned with.
fn is_late(quoted: &[u8]) -> bool {
    if !quoted.starts_with(LATE) || quoted.len() > LONGEST {
        return false;
    }
    let inner = quoted.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
    let Some(text) = inner.and_then(|inner| std::str::from_utf8(inner).ok()) else { return false };
    // The same moment of another year can be reckoned with, if it is one.
    let earlier = text.replacen("9999", "9000", 1);
    text.parse::<Timestamp>().is_err() && earlier.parse::<Timestamp>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::apps::v1::Deployment;
    use kube::core::ObjectList;
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

    fn becomes(text: &str, expected: &str) {
        assert_eq!(whole(text), expected);
        for length in [1, 2, 3, 7, 64, 100] {
            assert_eq!(in_pieces(text, length), expected, "{length}");
        }
        assert_eq!(in_pieces(&format!("{text}\n{text}\n"), 11), format!("{expected}\n{expected}\n"), "a watch");
    }

    #[test]
    fn a_late_time_is_the_last_one() {
        for late in
            ["9999-12-31T23:59:59Z", "9999-12-30T22:00:01Z", "9999-12-31T23:59:59.123456Z", "9999-12-31T00:00:00-01:00"]
        {
            becomes(
                &json!({"items": [{"time": late}, late]}).to_string(),
                &json!({"items": [{"time": "9999-12-30T22:00:00Z"}, "9999-12-30T22:00:00Z"]}).to_string(),
            );
        }
        for other in [
            "9999-12-30T22:00:00Z",
            "2026-01-01T00:00:00Z",
            "9999-12-31",
            "9999-12-31T23:59:59Z ",
            "at 9999-12-31T23:59:59Z",
            "9999-12-39T23:59:59Z",
            "9999-12-3\\\"",
            "9999-12-3",
        ] {
            let text = json!([other, {other: other}, format!("9999-12-3{}", "1".repeat(5_000))]).to_string();
            becomes(&text, &text);
        }
    }

    #[test]
    fn what_is_nested_too_deep_is_left_out() {
        let deep = |inside: &str, levels: usize| {
            format!("{}{inside}{}", "{\"f:]}\":[".repeat(levels / 2), "]}".repeat(levels / 2))
        };
        becomes(&deep("{}", 100), &deep("{}", 100));
        becomes(&deep("{\"a\":1,\"9999-12-31T23:59:59Z\":[2]}", 100), &deep("{}", 100));
        becomes(&deep("[[[],\"}\"],7],{\"a\":1}", 100), &deep("[],{}", 100));
        let object = |fields: &str, made: &str| {
            format!(
                "{{\"apiVersion\":\"apps/v1\",\"kind\":\"List\",\"metadata\":{{}},\"items\":[{{\"metadata\":{{\"name\":\"a\",\"managedFields\":[{{\"time\":\"{made}\",\"fieldsV1\":{fields}}}]}},\"spec\":{{\"selector\":{{}},\"template\":{{\"metadata\":{{\"creationTimestamp\":\"{made}\"}}}}}}}}]}}"
            )
        };
        let hostile = object(&deep("7", 9_000), "9999-12-31T23:59:59Z");
        serde_json::from_str::<ObjectList<Deployment>>(&hostile).unwrap_err();
        let read: ObjectList<Deployment> = serde_json::from_str(&whole(&hostile)).unwrap();
        assert_eq!(read.items[0].metadata.name.as_deref(), Some("a"));
    }

    fn json_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(json!(null)),
            any::<i64>().prop_map(Value::from),
            r#"(9999-12-3)?[\[\]{}:,"\\a-z0-9 \n]{0,20}"#.prop_map(Value::from),
        ];
        leaf.prop_recursive(8, 64, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::vec((r#"[\[\]{}:"\\a-z]{0,8}"#, inner), 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn anything_else_is_left_as_it_is(value in json_value(), length in 1usize..20) {
            let text = value.to_string();
            prop_assert_eq!(whole(&text), text.clone());
            prop_assert_eq!(in_pieces(&text, length), text);
        }

        #[test]
        fn no_text_stops_it(text in r#"[\[\]{}:,"\\a-z0-9 \n]{0,400}"#, length in 1usize..20) {
            prop_assert_eq!(in_pieces(&text, length).len(), whole(&text).len());
        }
    }
}
