//! JSON read exactly: numbers keep the text that they were written with, names that occur twice are seen, and depth costs
//! no stack, since each step looks at one level only.

use std::fmt;

use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use zeroize::Zeroizing;

/// Why a text gives no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JsonFault {
    /// The text, or what a pointer walks through, is not JSON.
    NotJson,
    /// The top level is neither an object nor, for a pointer, an array.
    NotObject,
    /// An object has two properties of one name: which one is meant cannot be told.
    Ambiguous,
    /// There is no such property.
    Missing,
    /// The property is an object, an array or null.
    NotScalar,
}

/// The properties of an object, in their order.
pub(super) type Members<'a> = Vec<(String, &'a RawValue)>;

/// One level of a JSON text.
enum Level<'a> {
    Object(Members<'a>),
    Array(Vec<&'a RawValue>),
    Scalar,
}

struct LevelVisitor;

impl<'de> Visitor<'de> for LevelVisitor {
    type Value = Level<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or an array")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Level<'de>, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Level::Object(members))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Level<'de>, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Level::Array(items))
    }
}

fn level(text: &str) -> Result<Level<'_>, serde_json::Error> {
    if !text.trim_start().starts_with(['{', '[']) {
        // Validated too, so that "not JSON" and "not an object" can be told apart.
        return serde_json::from_str::<&RawValue>(text).map(|_| Level::Scalar);
    }
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let level = deserializer.deserialize_any(LevelVisitor).map_err(serde_json::Error::custom)?;
    deserializer.end()?;
    Ok(level)
}

fn unambiguous(members: Members<'_>) -> Result<Members<'_>, JsonFault> {
    let mut names: Vec<&str> = members.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    if names.windows(2).any(|pair| pair[0] == pair[1]) { Err(JsonFault::Ambiguous) } else { Ok(members) }
}

/// The properties of a JSON object, in their order; no name occurs twice.
pub(super) fn members(text: &str) -> Result<Members<'_>, JsonFault> {
    match level(text) {
        Ok(Level::Object(members)) => unambiguous(members),
        Ok(_) => Err(JsonFault::NotObject),
        Err(_) => Err(JsonFault::NotJson),
    }
}

/// The property of that exact top-level name or, with a leading `/`, at that JSON pointer (RFC 6901).
pub(crate) fn find<'a>(text: &'a str, property: &str) -> Result<&'a RawValue, JsonFault> {
    let Some(pointer) = property.strip_prefix('/') else {
        let found = members(text)?.into_iter().find(|(name, _)| name == property);
        return found.map(|(_, raw)| raw).ok_or(JsonFault::Missing);
    };
    let mut found: Option<&'a RawValue> = None;
    for token in pointer.split('/') {
        let token = token.replace("~1", "/").replace("~0", "~");
        let next = match level(found.map_or(text, RawValue::get)).map_err(|_| JsonFault::NotJson)? {
            Level::Object(members) => unambiguous(members)?.into_iter().find(|(n, _)| *n == token).map(|(_, raw)| raw),
            Level::Array(items) => array_index(&token).and_then(|at| items.get(at).copied()),
            Level::Scalar if found.is_none() => return Err(JsonFault::NotObject),
            Level::Scalar => None,
        };
        found = Some(next.ok_or(JsonFault::Missing)?);
    }
    found.ok_or(JsonFault::Missing)
}

/// What is before and after a part that was [found](find) in a text.
pub(crate) fn around<'a>(text: &'a str, part: &RawValue) -> (&'a str, &'a str) {
    // A part is borrowed from its text, so that its address tells where it begins.
    let begin = (part.get().as_ptr() as usize).saturating_sub(text.as_ptr() as usize).min(text.len());
    let end = (begin + part.get().len()).min(text.len());
    (text.get(..begin).unwrap_or_default(), text.get(end..).unwrap_or_default())
}

/// Whether it is JSON of any kind.
pub(crate) fn is_json(text: &str) -> bool {
    serde_json::from_str::<&RawValue>(text).is_ok()
}

/// An index as RFC 6901 writes it: no sign, no leading zero; `-` (after the last) never exists in a value that is read.
fn array_index(token: &str) -> Option<usize> {
    let plain = token == "0" || (!token.starts_with('0') && token.bytes().all(|b| b.is_ascii_digit()));
    if plain { token.parse().ok() } else { None }
}

/// A string's text; a number or boolean exactly as it was written.
pub(super) fn scalar(raw: &RawValue) -> Result<Zeroizing<String>, JsonFault> {
    match raw.get().as_bytes().first() {
        Some(b'"') => serde_json::from_str(raw.get()).map(Zeroizing::new).map_err(|_| JsonFault::NotJson),
        Some(b'{' | b'[' | b'n') | None => Err(JsonFault::NotScalar),
        Some(_) => Ok(Zeroizing::new(raw.get().to_owned())),
    }
}

/// The strings inside an object or array, each with the name that it stands under, as far as `depth` and `most` go.
pub(super) fn string_leaves(text: &str, depth: usize, most: usize) -> Vec<(String, Zeroizing<String>)> {
    let mut leaves = Vec::new();
    // Breadth first, so that a bulky branch does not hide the strings beside it.
    let mut queue = std::collections::VecDeque::from([(String::new(), text, 0)]);
    while let Some((name, text, at)) = queue.pop_front() {
        if leaves.len() >= most {
            break;
        }
        if text.starts_with('"') {
            if let Ok(leaf) = serde_json::from_str(text) {
                leaves.push((name, Zeroizing::new(leaf)));
            }
            continue;
        }
        if at >= depth {
            continue;
        }
        match level(text) {
            Ok(Level::Object(members)) => queue.extend(members.into_iter().map(|(n, raw)| (n, raw.get(), at + 1))),
            Ok(Level::Array(items)) => queue.extend(items.into_iter().map(|raw| (name.clone(), raw.get(), at + 1))),
            Ok(Level::Scalar) | Err(_) => {}
        }
    }
    leaves
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(text: &str, property: &str) -> Result<String, JsonFault> {
        find(text, property).and_then(scalar).map(|text| text.as_str().to_owned())
    }

    #[test]
    fn scalars_are_taken_exactly_as_they_were_written() {
        for written in ["5432", "1.10", "-0", "1E400", "123456789012345678901234567890.10", "true", "false"] {
            assert_eq!(get(&format!("{{ \"n\" : {written} }}"), "n").as_deref(), Ok(written));
        }
        for (written, text) in [(r#""a\nb""#, "a\nb"), (r#""\u00e5""#, "å"), (r#""""#, ""), (r#""1.10""#, "1.10")] {
            assert_eq!(get(&format!("{{\"n\":{written}}}"), "n").as_deref(), Ok(text));
        }
    }

    #[test]
    fn names_are_exact_and_pointers_follow_rfc_6901() {
        let text =
            r#"{"a.b":"dot","a":{"b":"deep","c/d":"slash","e~f":"tilde","":"empty"},"l":["x",{"y":"z"}],"/a":"named"}"#;
        for (property, expected) in [
            ("a.b", Ok("dot")),
            ("/a/b", Ok("deep")),
            ("/a/c~1d", Ok("slash")),
            ("/a/e~0f", Ok("tilde")),
            ("/a/", Ok("empty")),
            ("/~1a", Ok("named")),
            ("/l/0", Ok("x")),
            ("/l/1/y", Ok("z")),
            ("A.B", Err(JsonFault::Missing)),
            ("/l/00", Err(JsonFault::Missing)),
            ("/l/+1", Err(JsonFault::Missing)),
            ("/l/-", Err(JsonFault::Missing)),
            ("/l/9", Err(JsonFault::Missing)),
            ("/l/99999999999999999999999", Err(JsonFault::Missing)),
            ("/a/b/c", Err(JsonFault::Missing)),
            ("a", Err(JsonFault::NotScalar)),
            ("/l", Err(JsonFault::NotScalar)),
        ] {
            assert_eq!(get(text, property).as_deref().map_err(|e| *e), expected, "{property}");
        }
    }

    #[test]
    fn what_is_not_one_clear_object_is_refused() {
        for (text, property, fault) in [
            ("hunter2", "p", JsonFault::NotJson),
            ("", "p", JsonFault::NotJson),
            (r#"{"p":"a"} x"#, "p", JsonFault::NotJson),
            (r#"{"p":"a""#, "p", JsonFault::NotJson),
            (r#"{"p":"\ud800"}"#, "p", JsonFault::NotJson),
            (r#""text""#, "p", JsonFault::NotObject),
            ("[1]", "p", JsonFault::NotObject),
            ("7", "/p", JsonFault::NotObject),
            (r#"{"p":null}"#, "p", JsonFault::NotScalar),
            (r#"{"p":"a","p":"b"}"#, "p", JsonFault::Ambiguous),
            (r#"{"p":"a","\u0070":"b"}"#, "p", JsonFault::Ambiguous),
            (r#"{"o":{"p":"a","p":"b"}}"#, "/o/p", JsonFault::Ambiguous),
        ] {
            assert_eq!(get(text, property), Err(fault), "{text}");
        }
    }

    #[test]
    fn depth_costs_no_stack() {
        let deep = format!("{{\"p\":\"v\",\"d\":{}{}}}", "[".repeat(30_000), "]".repeat(30_000));
        assert_eq!(get(&deep, "p").as_deref(), Ok("v"));
        assert_eq!(get(&deep, &format!("/d{}", "/0".repeat(500))), Err(JsonFault::NotScalar));
        assert_eq!(string_leaves(&deep, 8, 512).len(), 1);
    }

    #[test]
    fn leaves_are_found_with_their_names_within_bounds() {
        let leaves = string_leaves(r#" {"a":"1","o":{"b":"2","l":["3",4,null,{"c":"5"}]}} "#, 8, 512);
        let shown: Vec<(&str, &str)> = leaves.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        assert_eq!(shown, [("a", "1"), ("b", "2"), ("l", "3"), ("c", "5")]);
        assert_eq!(string_leaves(r#"{"a":{"b":"x"}}"#, 1, 512).len(), 0);
        assert_eq!(string_leaves(r#"["a","b","c"]"#, 8, 2).len(), 2);
    }
}
