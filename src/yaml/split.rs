//! From the bytes of a file to its documents, as kubectl divides them: by lines, before any YAML is read.

use super::node::{Fault, Place};
use std::borrow::Cow;

/// One document and where its text begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk<'a> {
    /// The text.
    pub text: &'a str,
    /// Where it begins in its file.
    pub from: Place,
}

/// The text of a file: UTF-8, or what a byte order mark says.
pub fn decode_text(bytes: &[u8]) -> Result<Cow<'_, str>, Fault> {
    let utf16 = |rest: &[u8], unit: fn([u8; 2]) -> u16| {
        let units = rest.chunks(2).map(|pair| unit([pair[0], pair.get(1).copied().unwrap_or(0)]));
        Cow::Owned(char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect())
    };
    match bytes {
        [0xEF, 0xBB, 0xBF, rest @ ..] => utf8(rest),
        [0xFF, 0xFE, rest @ ..] => Ok(utf16(rest, u16::from_le_bytes)),
        [0xFE, 0xFF, rest @ ..] => Ok(utf16(rest, u16::from_be_bytes)),
        _ => utf8(bytes),
    }
}

fn utf8(bytes: &[u8]) -> Result<Cow<'_, str>, Fault> {
    std::str::from_utf8(bytes).map(Cow::Borrowed).map_err(|error| {
        let line = 1 + bytes[..error.valid_up_to()].iter().filter(|b| **b == b'\n').count();
        Fault { at: Place { line, column: 1 }, message: "the file is not text in UTF-8".into() }
    })
}

/// The documents of a file.
pub fn split(text: &str) -> Result<Vec<Chunk<'_>>, Fault> {
    if text.trim_start().starts_with('{') { json_stream(text) } else { yaml_documents(text) }
}

/// A stream of JSON objects, which needs no separators. What begins with a brace kubectl reads as JSON, and as nothing else.
fn json_stream(text: &str) -> Result<Vec<Chunk<'_>>, Fault> {
    let mut stream = serde_json::Deserializer::from_str(text).into_iter::<serde::de::IgnoredAny>();
    let mut chunks = Vec::new();
    let (mut start, mut from) = (0, Place::START);
    while let Some(item) = stream.next() {
        if let Err(error) = item {
            let at = Place { line: error.line(), column: error.column().max(1) };
            let message = "the file begins with '{', so that kubectl reads all of it as JSON, which this is not (flow YAML, a comma too many, or '---' between objects)";
            return Err(Fault { at, message: message.into() });
        }
        let end = stream.byte_offset();
        let chunk = text.get(start..end).unwrap_or_default();
        chunks.push(Chunk { text: chunk, from });
        from = after(from, chunk);
        start = end;
    }
    Ok(chunks)
}

fn after(from: Place, text: &str) -> Place {
    match text.rsplit_once('\n') {
        Some((lines, last)) => {
            Place { line: from.line + 1 + lines.matches('\n').count(), column: 1 + last.chars().count() }
        }
        None => Place { line: from.line, column: from.column + text.chars().count() },
    }
}

fn yaml_documents(text: &str) -> Result<Vec<Chunk<'_>>, Fault> {
    let mut chunks = Vec::new();
    let (mut start, mut from_line) = (0, 1);
    let mut offset = 0;
    for (index, line) in text.split_inclusive('\n').enumerate() {
        if let Some(rest) = line.strip_prefix("---") {
            let rest = rest.trim();
            if !rest.is_empty() && !rest.starts_with('#') {
                let message =
                    format!("{:?} stands after the document separator: write '---' alone on its line", clip(rest));
                return Err(Fault { at: Place { line: index + 1, column: 4 }, message });
            }
            chunks.push(Chunk { text: &text[start..offset], from: Place { line: from_line, column: 1 } });
            (start, from_line) = (offset + line.len(), index + 2);
        }
        offset += line.len();
    }
    chunks.push(Chunk { text: &text[start..], from: Place { line: from_line, column: 1 } });
    chunks.retain(|chunk| !chunk.text.trim().is_empty());
    Ok(chunks)
}

fn clip(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<(usize, &str)> {
        split(text).unwrap().into_iter().map(|c| (c.from.line, c.text)).collect()
    }

    #[test]
    fn divides_as_kubectl_does() {
        assert_eq!(lines("a: 1\n---\nb: 2\n--- # c\n"), [(1, "a: 1\n"), (3, "b: 2\n")]);
        assert_eq!(lines("---\r\na: 1\r\n---\r\n\r\n"), [(2, "a: 1\r\n")]);
        assert_eq!(lines("a: |\n  ---\n  x\n"), [(1, "a: |\n  ---\n  x\n")]);
        assert_eq!(lines(""), []);
        assert_eq!(split("a: 1\n--- b: 2\n").unwrap_err().at, Place { line: 2, column: 4 });
        assert!(split("----\n").is_err());
    }

    #[test]
    fn a_json_stream_needs_no_separators() {
        assert_eq!(lines("{\"a\": 1}\n{\"b\": 2}\n"), [(1, "{\"a\": 1}"), (1, "\n{\"b\": 2}")]);
        for (what, text, line) in [
            ("flow YAML", "{a: 1}\n", 1),
            ("a comma too many", "{\"a\": 1,\n}", 2),
            ("a separator", "{\"a\": 1}\n---\na: 1\n", 2),
            ("cut off", "\n{\"a\": ", 2),
        ] {
            assert_eq!(split(text).unwrap_err().at.line, line, "{what}");
        }
        assert_eq!(lines("---\n{a: 1}\n"), [(2, "{a: 1}\n")], "after a separator it is YAML");
    }

    #[test]
    fn reads_what_editors_write() {
        assert_eq!(decode_text(b"\xEF\xBB\xBFa: 1").unwrap(), "a: 1");
        assert_eq!(decode_text(b"\xFF\xFEa\0:\0").unwrap(), "a:");
        assert_eq!(decode_text(b"\xFE\xFF\0a\0:").unwrap(), "a:");
        assert_eq!(decode_text(b"a: 1\nb: \xFF").unwrap_err().at.line, 2);
    }
}
