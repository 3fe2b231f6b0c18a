//! JSON of the API server that can be decoded, made as it comes, in pieces. Pure.

use bytes::Bytes;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use memchr::memchr2;

/// Goes through one JSON text, or one after another. managedFields that cannot be decoded are none; a time that cannot be reckoned with
/// is the last one that can, or the first; what is nested too deep is left out. All else is as it was.
#[derive(Debug, Default)]
pub struct Readable {
    /// The objects and arrays that are open.
    open: Vec<Level>,
    /// How many more, which are left out.
    beyond: usize,
    /// Which key a value is for.
    key: Key,
    /// Whether a value comes next, and no key.
    is_value: bool,
    text: Option<Text>,
    managed: Option<Managed>,
}

/// An object or an array that is open.
#[derive(Debug)]
struct Level {
    is_array: bool,
    /// Whether its members are texts, whatever they are called.
    has_texts: bool,
}

/// The string that is being read.
#[derive(Debug)]
struct Text {
    escaped: bool,
    role: Role,
    /// What of it came in earlier pieces, as far as it matters.
    before: Vec<u8>,
}

#[derive(Debug, PartialEq, Eq)]
enum Role {
    Key,
    /// Held back until it is whole.
    Time,
    Other,
}

/// The keys that matter.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Key {
    ManagedFields,
    Texts,
    Time,
    #[default]
    Other,
}

/// An array of managedFields, held back until it is whole: whoever may write an object may write into its own what Kubernetes keeps and
/// gives back as it is, bytes that are no text included.
#[derive(Debug, Default)]
struct Managed {
    /// How many are open inside it.
    level: usize,
    written: Vec<u8>,
    is_spoilt: bool,
}

/// Objects and arrays that are open in more than so many are empty. serde_json takes 127, and nothing that is read here needs thirty.
const DEEPEST: usize = 100;

/// No key that matters, and no time, is longer.
const LONGEST: usize = 48;

/// etcd takes no larger object.
const LARGEST: usize = 2 << 20;

impl Readable {
    /// The next piece, as it is to be read; what is held back at its end comes with a later one.
    pub fn feed(&mut self, piece: Bytes) -> Bytes {
        let mut out = Vec::with_capacity(piece.len());
        // Where that begins which is still to be passed on, and where the string at hand does.
        let (mut from, mut start, mut at) = (0, 0, 0);
        while at < piece.len() {
            let Some(text) = &mut self.text else {
                let byte = piece[at];
                if byte == b'"' {
                    let text = self.text();
                    if text.role == Role::Time {
                        self.pass(&mut out, &piece[from..at]);
                        from = at;
                    }
                    (self.text, start) = (Some(text), at);
                } else {
                    from = self.turn(byte, &piece, from, at, &mut out);
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
                    let role = std::mem::replace(&mut text.role, Role::Other);
                    let mut whole = std::mem::take(&mut text.before);
                    self.text = None;
                    if role != Role::Other {
                        whole.extend_from_slice(&piece[start..at]);
                    }
                    match role {
                        Role::Key => self.key = Key::of(&whole),
                        Role::Time => {
                            self.pass(&mut out, within_reckoning(&whole).unwrap_or(&whole));
                            from = at;
                        }
                        Role::Other => {}
                    }
                }
            }
        }
        match &mut self.text {
            Some(text) if text.role == Role::Time => {
                text.before.extend_from_slice(&piece[start..]);
                from = piece.len();
                if text.before.len() > LONGEST {
                    text.role = Role::Other;
                    let before = std::mem::take(&mut text.before);
                    self.pass(&mut out, &before);
                }
            }
            // One byte more than the longest that matters: what is longer stays longer.
            Some(text) if text.role == Role::Key => {
                let room = (LONGEST + 1).saturating_sub(text.before.len());
                text.before.extend(piece[start..].iter().take(room));
            }
            _ => {}
        }
        self.pass(&mut out, &piece[from..]);
        out.into()
    }

    /// A string that begins.
    fn text(&self) -> Text {
        let within = self.open.last();
        let role = match (self.is_value, self.key) {
            _ if self.beyond > 0 || self.managed.is_some() => Role::Other,
            (false, _) => Role::Key,
            (true, Key::Time) if within.is_some_and(|level| !level.is_array && !level.has_texts) => Role::Time,
            (true, _) => Role::Other,
        };
        Text { escaped: false, role, before: Vec::new() }
    }

    /// Takes a letter outside of strings; where that begins now which is still to be passed on.
    fn turn(&mut self, byte: u8, piece: &[u8], mut from: usize, at: usize, out: &mut Vec<u8>) -> usize {
        match byte {
            b':' => self.is_value = true,
            b',' => self.is_value = self.open.last().is_some_and(|level| level.is_array),
            b'{' | b'[' => {
                let is_array = byte == b'[';
                if self.beyond > 0 || self.open.len() >= DEEPEST {
                    if self.beyond == 0 {
                        self.pass(out, &piece[from..=at]);
                    }
                    self.beyond += 1;
                    self.managed.iter_mut().for_each(|managed| managed.is_spoilt = true);
                    return from;
                }
                if is_array && self.is_value && self.key == Key::ManagedFields && self.managed.is_none() {
                    self.pass(out, &piece[from..at]);
                    from = at;
                    self.managed = Some(Managed { level: self.open.len() + 1, ..Managed::default() });
                }
                let has_texts = !is_array && self.is_value && self.key == Key::Texts;
                self.open.push(Level { is_array, has_texts });
                (self.key, self.is_value) = (Key::Other, is_array);
            }
            b'}' | b']' if self.beyond > 0 => {
                self.beyond -= 1;
                (self.key, self.is_value) = (Key::Other, false);
                return at;
            }
            b'}' | b']' => {
                let ended = self.managed.take_if(|managed| managed.level == self.open.len());
                if let Some(mut managed) = ended {
                    managed.write(&piece[from..=at]);
                    from = at + 1;
                    out.extend_from_slice(managed.decodable());
                }
                self.open.pop();
                (self.key, self.is_value) = (Key::Other, false);
            }
            _ => {}
        }
        from
    }

    /// Passes on what is not left out.
    fn pass(&mut self, out: &mut Vec<u8>, bytes: &[u8]) {
        match &mut self.managed {
            _ if self.beyond > 0 => {}
            Some(managed) => managed.write(bytes),
            None => out.extend_from_slice(bytes),
        }
    }
}

impl Key {
    fn of(quoted: &[u8]) -> Self {
        match quoted {
            b"\"managedFields\"" => Self::ManagedFields,
            b"\"annotations\"" | b"\"labels\"" | b"\"data\"" | b"\"stringData\"" => Self::Texts,
            b"\"time\"" | b"\"startedAt\"" | b"\"finishedAt\"" | b"\"timeAdded\"" => Self::Time,
            b"\"notBefore\"" | b"\"notAfter\"" | b"\"beginRefreshAt\"" => Self::Time,
            _ if quoted.ends_with(b"Time\"") || quoted.ends_with(b"Timestamp\"") => Self::Time,
            _ => Self::Other,
        }
    }
}

impl Managed {
    fn write(&mut self, bytes: &[u8]) {
        self.is_spoilt |= self.written.len() + bytes.len() > LARGEST;
        if !self.is_spoilt {
            self.written.extend_from_slice(bytes);
        }
    }

    fn decodable(&self) -> &[u8] {
        let is = !self.is_spoilt && serde_json::from_slice::<Vec<ManagedFieldsEntry>>(&self.written).is_ok();
        if is { &self.written } else { b"[]" }
    }
}

/// What stands for a time in quotes, as Kubernetes writes them, that cannot be reckoned with: it takes offsets that lead out of the years
/// that it takes, too. None: it can, or is none.
fn within_reckoning(quoted: &[u8]) -> Option<&'static [u8]> {
    let inner = quoted.strip_prefix(b"\"")?.strip_suffix(b"Z\"")?;
    let text = std::str::from_utf8(inner).ok().filter(|text| quoted.len() <= LONGEST && text.is_ascii())?;
    let (year, rest) = text.split_at_checked(text.find('T')?.checked_sub(6)?)?;
    let (sign, digits) = year.strip_prefix('-').map_or((1, year), |digits| (-1, digits));
    let is_year = digits.len() >= 4 && digits.bytes().all(|byte| byte.is_ascii_digit());
    // The same moment of another year can be reckoned with, if it is one.
    let is_time = is_year && format!("2000{rest}Z").parse::<Timestamp>().is_ok();
    if !is_time || format!("{text}Z").parse::<Timestamp>().is_ok() {
        return None;
    }
    Some(if sign > 0 { b"\"9999-12-30T22:00:00Z\"" } else { b"\"0001-01-01T00:00:00Z\"" })
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

    /// What Kubernetes answers to times at its ends, and one beyond what jiff has.
    const LATE: [&str; 4] =
        ["9999-12-31T23:59:59Z", "9999-12-30T22:00:01Z", "9999-12-31T23:59:59.123456Z", "10000-01-01T00:59:59Z"];

    #[test]
    fn a_time_beyond_reckoning_is_at_the_end_of_it() {
        let early = ["-0001-12-31T23:00:00Z"];
        let last = LATE.map(|late| (late, "9999-12-30T22:00:00Z"));
        for (written, read) in last.into_iter().chain(early.map(|early| (early, "0001-01-01T00:00:00Z"))) {
            let object = |time: &str| json!({"items": [{"metadata": {"creationTimestamp": time}, "status": {"startTime": time, "b": {"time": time}, "state": {"startedAt": time, "finishedAt": time}, "timeAdded": time}}]});
            becomes(&object(written).to_string(), &object(read).to_string());
        }
        for other in [
            "9999-12-30T22:00:00Z",
            "2026-01-01T00:00:00Z",
            "9999-12-31",
            "9999-12-31T23:59:59Z ",
            "9999-12-31t23:59:59Z",
            "9999-12-31T23:59:59-01:00",
            "9999-12-39T23:59:59Z",
            "9999-99-31T23:59:59Z",
            "T",
            "Z",
            "-Z",
            "9999-12-3\\\"",
            "",
        ] {
            let text = json!([{"time": other}, {"aTime": format!("{other}{}", "1".repeat(5_000))}]).to_string();
            becomes(&text, &text);
        }
        // Nor is a text of somebody's, whatever it is called: only what the API gives for a time.
        let own = json!({
            "spec": {
                "data": [{"remoteRef": {"property": LATE[0]}}],
                "template": {"annotations": {"endTime": LATE[0]}, "data": {"startTime": LATE[0]}, "labels": {"time": LATE[0]}},
            },
            "stringData": {"time": LATE[0], LATE[0]: LATE[0]}, "times": [LATE[0]], "time": [LATE[0]], "endTime": 7,
        });
        becomes(&own.to_string(), &own.to_string());
    }

    #[test]
    fn managed_fields_that_cannot_be_decoded_are_none() {
        let deep = |levels: usize| format!("{}7{}", "{\"f:a\":".repeat(levels), "}".repeat(levels));
        let object = |managed: &str| {
            format!(
                "{{\"metadata\":{{\"managedFields\":{managed},\"name\":\"a\"}},\"data\":{{\"managedFields\":\"[\"}},\"managedFields\":null}}"
            )
        };
        let entry = |time: &str, fields: &str| {
            format!("[{{\"manager\":\"m\",\"operation\":\"Update\",\"time\":\"{time}\",\"fieldsV1\":{fields}}}]")
        };
        let good = "2026-01-01T00:00:00Z";
        for managed in ["[]", "[{}]", &entry(good, "{\"f:spec\":{\"f:]}\":{}}}"), &entry(good, &deep(80))] {
            becomes(&object(managed), &object(managed));
        }
        let long = entry(&"x".repeat(3 << 20), "{}");
        for managed in [
            &*entry(good, &deep(110)),
            &entry(good, &deep(9_000)),
            &entry(good, "{\"f:a\":1e999}"),
            &entry(good, "{\"f:\\ud800\":{}}"),
            &entry(LATE[0], "{}"),
            &entry(LATE[3], "{}"),
            "[7]",
        ] {
            becomes(&object(managed), &object("[]"));
        }
        assert_eq!(whole(&object(&long)), object("[]"));
        let raw = object(&entry(good, "{\"f:?\":{}}")).into_bytes();
        let raw: Vec<u8> = raw.into_iter().map(|byte| if byte == b'?' { 0xff } else { byte }).collect();
        assert_eq!(Readable::default().feed(raw.into()), object("[]").as_bytes());
    }

    #[test]
    fn what_is_nested_too_deep_is_left_out() {
        let deep = |inside: &str, levels: usize| {
            format!("{}{inside}{}", "{\"f:]}\":[".repeat(levels / 2), "]}".repeat(levels / 2))
        };
        becomes(&deep("{}", 100), &deep("{}", 100));
        becomes(&deep("{\"a\":1,\"9999-12-31T23:59:59Z\":[2]}", 100), &deep("{}", 100));
        becomes(&deep("[[[],\"}\"],7],{\"a\":1}", 100), &deep("[],{}", 100));
        let after = |inside: &str, time: &str| format!("[{},{{\"time\":\"{time}\"}}]", deep(inside, 98));
        becomes(&after("[[[7]]]", LATE[0]), &after("[[]]", "9999-12-30T22:00:00Z"));
        let object = |fields: &str| {
            format!(
                "{{\"apiVersion\":\"apps/v1\",\"kind\":\"List\",\"metadata\":{{}},\"items\":[{{\"metadata\":{{\"name\":\"a\",\"managedFields\":[{{\"time\":\"{0}\",\"fieldsV1\":{fields}}}]}},\"spec\":{{\"selector\":{{}},\"template\":{{\"metadata\":{{\"creationTimestamp\":\"{0}\",\"managedFields\":[{{\"fieldsV1\":{fields}}}]}}}}}}}}]}}",
                LATE[3]
            )
        };
        let hostile = object(&deep("7", 9_000));
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
                proptest::collection::vec((r#"time|data|metadata|[\[\]{}:"\\a-z]{0,8}"#, inner), 0..4)
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
