//! From parser events to a [`Node`]: aliases, merge keys, repeated fields, and bounds against hostile documents.

use super::node::{Entry, Fault, Node, Place, Value};
use super::scalar;
use super::split::Chunk;
use serde_saphyr::granit_parser::{Event, Marker, Options, Parser, ScalarStyle, Tag};
use std::collections::HashMap;
use std::sync::Arc;

/// Nodes in one document, aliases written out: what go-yaml calls excessive aliasing lies well below.
const WEIGHT_LIMIT: usize = 2_000_000;
/// Levels in one document, aliases written out. Everything that walks a node relies on it.
const HEIGHT_LIMIT: usize = 128;

/// Decodes one document. Nothing but comments is None.
pub fn compose(chunk: Chunk<'_>) -> Result<Option<Arc<Node>>, Fault> {
    let mut options = Options::default();
    options.set_emit_comments(false);
    let mut composer = Composer { from: chunk.from, open: Vec::new(), anchors: HashMap::new(), root: None };
    for next in Parser::new_from_str_with_options(chunk.text, options) {
        let (event, span) = next.map_err(|error| composer.fault(error.marker(), error.info()))?;
        if matches!(&event, Event::Scalar(_, ScalarStyle::DoubleQuoted, ..))
            && let (Some(start), Some(end)) = (span.start.byte_offset(), span.end.byte_offset())
            && let Some(message) = chunk.text.get(start..end).and_then(foreign_escape)
            && serde_json::from_str::<serde::de::IgnoredAny>(chunk.text).is_err()
        {
            return Err(Fault { at: composer.place(&span.start), message: message.into() });
        }
        composer.take(event, &span.start)?;
    }
    Ok(composer.root)
}

/// What JSON and later YAML read in double quotes, and kubectl's YAML does not.
fn foreign_escape(quoted: &str) -> Option<&'static str> {
    let mut rest = quoted.as_bytes();
    while let Some(at) = rest.iter().position(|byte| *byte == b'\\') {
        match &rest[at + 1..] {
            [b'/', ..] => return Some("\"\\/\" is no escape that kubectl's YAML knows: write a slash as it is"),
            [b'u', b'd' | b'D', b'8' | b'9' | b'a'..=b'f' | b'A'..=b'F', ..] => {
                return Some(
                    "kubectl's YAML does not read halves of a character (\"\\ud83d\"): write the character as it is",
                );
            }
            [_, after @ ..] => rest = after,
            [] => break,
        }
    }
    None
}

struct Composer {
    from: Place,
    open: Vec<Open>,
    anchors: HashMap<usize, Arc<Node>>,
    root: Option<Arc<Node>>,
}

/// A list or map whose end has not been read.
enum Open {
    List { at: Place, anchor: usize, items: Vec<Arc<Node>> },
    Map { at: Place, anchor: usize, fields: Fields, key: Option<Key> },
}

enum Key {
    Field(String, Place),
    Merge(Place),
}

#[derive(Default)]
struct Fields {
    entries: Vec<Entry>,
    /// Index of each name, and whether a merge gave it.
    known: HashMap<String, (usize, bool)>,
}

impl Composer {
    fn take(&mut self, event: Event<'_>, start: &Marker) -> Result<(), Fault> {
        let at = self.place(start);
        match event {
            Event::DocumentStart(..) if self.root.is_some() => {
                let message = "a second document begins here: keep one, or divide them by a line '---'";
                Err(Fault { at, message: message.into() })
            }
            Event::Scalar(text, style, anchor, tag) => {
                let (core, foreign) = tag_of(tag.as_deref());
                let plain = style == ScalarStyle::Plain;
                let merges = &*text == "<<" && ((plain && tag.is_none()) || core == Some("merge"));
                if let Some(Open::Map { key: key @ None, .. }) = self.open.last_mut().filter(|_| merges) {
                    *key = Some(Key::Merge(at));
                    return Ok(());
                }
                let value = scalar::resolve(&text, plain, core, foreign).map_err(|message| Fault { at, message })?;
                self.finish(Node { at, value, weight: 1, height: 1 }, anchor)
            }
            Event::Alias(id) => match self.anchors.get(&id).cloned() {
                Some(node) => self.place_node(node, at),
                None => Err(Fault { at, message: "an anchor's value contains itself".into() }),
            },
            Event::SequenceStart(_, anchor, _) => {
                self.open.push(Open::List { at, anchor, items: Vec::new() });
                Ok(())
            }
            Event::MappingStart(_, anchor, _) => {
                self.open.push(Open::Map { at, anchor, fields: Fields::default(), key: None });
                Ok(())
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open::List { at, anchor, items }) => {
                    let (weight, height) = measure(items.iter());
                    self.finish(Node { at, value: Value::List(items), weight, height }, anchor)
                }
                Some(Open::Map { at, anchor, fields, .. }) => {
                    let (weight, height) = measure(fields.entries.iter().map(|e| &e.value));
                    self.finish(Node { at, value: Value::Map(fields.entries), weight, height }, anchor)
                }
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }

    fn finish(&mut self, node: Node, anchor: usize) -> Result<(), Fault> {
        let fault = |message: String| Err(Fault { at: node.at, message });
        if node.weight > WEIGHT_LIMIT {
            return fault(format!("the document has more than {WEIGHT_LIMIT} parts, with its aliases written out"));
        }
        if node.height > HEIGHT_LIMIT {
            return fault(format!("the document is nested more deeply than {HEIGHT_LIMIT} levels"));
        }
        let at = node.at;
        let node = Arc::new(node);
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        self.place_node(node, at)
    }

    /// Puts a node where the document has it: as a field's name or value, an item, or the whole.
    fn place_node(&mut self, node: Arc<Node>, at: Place) -> Result<(), Fault> {
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open::List { items, .. }) => items.push(node),
            Some(Open::Map { key: slot @ None, .. }) => {
                let name = match &node.value {
                    Value::Text(text) => Some(text.clone()),
                    Value::Bool(value, written) => scalar::field_name(Value::Bool(*value, written.clone())),
                    Value::Number(number, written) => {
                        scalar::field_name(Value::Number(number.clone(), written.clone()))
                    }
                    _ => None,
                };
                let message = "a field's name is null, a list or a map: write a text";
                *slot = Some(Key::Field(name.ok_or_else(|| Fault { at, message: message.into() })?, at));
            }
            Some(Open::Map { fields, key, .. }) => match key.take() {
                Some(Key::Merge(at)) => fields.merge(&node, at)?,
                Some(Key::Field(name, key_at)) => fields.set(name, key_at, node),
                None => {}
            },
        }
        Ok(())
    }

    fn place(&self, marker: &Marker) -> Place {
        let column = marker.col() + 1;
        match marker.line() {
            0 | 1 => Place { line: self.from.line, column: self.from.column + column - 1 },
            line => Place { line: self.from.line + line - 1, column },
        }
    }

    fn fault(&self, marker: &Marker, message: String) -> Fault {
        Fault { at: self.place(marker), message }
    }
}

impl Fields {
    fn set(&mut self, key: String, key_at: Place, value: Arc<Node>) {
        match self.known.insert(key.clone(), (self.entries.len(), false)) {
            Some((index, merged)) => {
                self.known.insert(key.clone(), (index, false));
                if let Some(entry) = self.entries.get_mut(index) {
                    *entry = Entry { key, key_at, value, repeats: !merged || entry.repeats };
                }
            }
            None => self.entries.push(Entry { key, key_at, value, repeats: false }),
        }
    }

    /// What `<<` brings in. go-yaml v2 merges in the order of the document: it replaces what stands before it. Of several
    /// maps the first has precedence.
    fn merge(&mut self, node: &Node, at: Place) -> Result<(), Fault> {
        let no_map = || Fault { at, message: "'<<' needs a map, or a list of maps".into() };
        let maps = match &node.value {
            Value::Map(_) => vec![node],
            Value::List(items) => items.iter().rev().map(|item| &**item).collect(),
            _ => return Err(no_map()),
        };
        for map in maps {
            if !matches!(map.value, Value::Map(_)) {
                return Err(no_map());
            }
            for Entry { key, key_at, value, .. } in map.entries() {
                let entry = Entry { key: key.clone(), key_at: *key_at, value: value.clone(), repeats: false };
                match self.known.get(key) {
                    Some((index, _)) => {
                        if let Some(old) = self.entries.get_mut(*index) {
                            *old = entry;
                        }
                    }
                    None => {
                        self.known.insert(key.clone(), (self.entries.len(), true));
                        self.entries.push(entry);
                    }
                }
            }
        }
        Ok(())
    }
}

/// The core type that a tag names, and whether it is any other tag.
fn tag_of(tag: Option<&Tag>) -> (Option<&'static str>, bool) {
    const CORE: [&str; 8] = ["str", "timestamp", "binary", "bool", "null", "int", "float", "merge"];
    let Some(tag) = tag else { return (None, false) };
    let name = tag.suffix_in_namespace("tag:yaml.org,2002:");
    match CORE.into_iter().find(|core| name.as_deref() == Some(*core)) {
        Some(core) => (Some(core), false),
        None => (None, true),
    }
}

fn measure<'a>(parts: impl Iterator<Item = &'a Arc<Node>>) -> (usize, usize) {
    parts.fold((1, 1), |(weight, height), part| (weight.saturating_add(part.weight), height.max(part.height + 1)))
}

#[cfg(test)]
mod tests {
    use super::super::split;
    use super::*;
    use proptest::prelude::*;

    fn load(text: &str) -> Result<Vec<Arc<Node>>, Fault> {
        let nodes = split(text)?.into_iter().map(compose).collect::<Result<Vec<_>, _>>()?;
        Ok(nodes.into_iter().flatten().collect())
    }

    fn json(text: &str) -> String {
        load(text).unwrap().iter().map(|n| n.to_json().to_string()).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn merges_in_the_order_of_the_document_as_kubectl_does() {
        for (text, expected) in [
            ("a: 1\n<<: {a: 2, b: 3}\nb: 4", r#"{"a":2,"b":4}"#),
            ("<<: [{a: 1}, {a: 2}]", r#"{"a":1}"#),
            ("\"<<\": {a: 1}", r#"{"<<":{"a":1}}"#),
            ("x: &x {a: 1}\nz:\n  <<: *x\n  b: 2", r#"{"x":{"a":1},"z":{"a":1,"b":2}}"#),
            ("a: &x [1]\nb: *x", r#"{"a":[1],"b":[1]}"#),
            ("y: 1", r#"{"true":1}"#),
            ("a: ! yes\nb: !foo bar\nc: !!map {a: b}\nd: !!str [1]", r#"{"a":"yes","b":"bar","c":{"a":"b"},"d":[1]}"#),
            ("k: {\t\"a\":\t1}", r#"{"k":{"a":1}}"#),
            ("{\n\t\"a\": {\n\t\t\"b\": \"\\u00e9\\/\\ud83d\\ude00\"\n\t}\n}\n", r#"{"a":{"b":"é/😀"}}"#),
            ("# nothing\n", ""),
            ("a: |\n  x\n  y\nb: >-\n  x\n  y\n", r#"{"a":"x\ny\n","b":"x y"}"#),
        ] {
            assert_eq!(json(text), expected, "{text}");
        }
    }

    #[test]
    fn keeps_the_last_of_a_repeated_field_and_remembers() {
        let nodes = load("a: 1\nb: 2\na: 3\n").unwrap();
        let entries = nodes[0].entries();
        assert_eq!(nodes[0].to_json().to_string(), r#"{"a":3,"b":2}"#);
        assert!(entries[0].repeats && entries[0].key_at.line == 3 && !entries[1].repeats);
        let merged = load("x: &x {a: 1}\nz: {<<: *x, a: 2}\n").unwrap();
        assert!(!merged[0].get("z").unwrap().entries()[0].repeats, "overriding a merged field is no repetition");
    }

    #[test]
    fn escapes_that_kubectl_does_not_read_are_found() {
        let read = |text: &str| compose(Chunk { text, from: Place::START }).map(|_| ()).map_err(|fault| fault.message);
        assert!(read(r#"a: "b\/c""#).unwrap_err().contains("write a slash"));
        assert!(read(r#"a: "\ud83d\ude00""#).unwrap_err().contains("write the character"));
        for text in [r#"a: "b\\/c""#, r#"a: 'b\/c'"#, r#"{"a": "b\/c \ud83d\ude00"}"#, r#"a: "\u00e9 \"\\""#] {
            assert_eq!(read(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn knows_places() {
        let text = "# c\nkind: X\n---\nspec:\n  data:\n  - secretKey: a\n    é: \"b\"\n  - secretKey: yes\n";
        let nodes = load(text).unwrap();
        for (path, line, column) in [
            ("", 4, 1),
            ("spec", 4, 1),
            ("spec.data", 5, 3),
            ("spec.data[0].secretKey", 6, 16),
            ("spec.data[0].é", 7, 8),
            ("spec.data[1]", 8, 5),
            ("spec.data[1].missing", 8, 5),
            ("spec.data[7]", 5, 3),
        ] {
            assert_eq!(nodes[1].place_of(path), Place { line, column }, "{path}");
        }
    }

    #[test]
    fn a_fault_has_a_place() {
        for (text, line) in [
            ("a: 1\n\tb: 2\n", 1),
            ("a: [1\n", 1),
            ("---\na: b: c\n", 2),
            ("a: *x\n", 1),
            ("a: &x [*x]\n", 1),
            ("? [a]\n: b\n", 1),
            ("~: b\n", 1),
            ("a: .inf\n", 1),
            ("a: @b\n", 1),
            ("<<: 1\n", 1),
            ("a: 1\n...\n---x\n", 3),
        ] {
            let fault = load(text).expect_err(text);
            assert_eq!(fault.at.line, line, "{text:?}: {}", fault.message);
            assert!(!fault.message.is_empty());
        }
    }

    #[test]
    fn hostile_documents_are_bounded() {
        let mut bomb = "a0: &a0 [x]\n".to_owned();
        for level in 1..40 {
            bomb.push_str(&format!("a{level}: &a{level} [*a{0}, *a{0}, *a{0}, *a{0}]\n", level - 1));
        }
        let deep_flow = "[".repeat(5000);
        let deep_block = (0..400).map(|n| format!("{}a:\n", " ".repeat(n))).collect::<String>();
        let deep_alias =
            (0..200).fold("a0: &a0 x\n".to_owned(), |text, n| text + &format!("a{}: &a{} [*a{n}]\n", n + 1, n + 1));
        for text in [bomb, deep_flow, deep_block, deep_alias] {
            assert!(load(&text).is_err());
        }
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(text) = super::super::decode_text(&bytes) {
                let _ = load(&text).map(|nodes| nodes.iter().map(|n| n.to_json()).collect::<Vec<_>>());
            }
        }

        #[test]
        fn never_panics_on_what_looks_like_yaml(text in "([ \n\t\\-:{}\\[\\],&*!?|>'\"#%<a-c1.~]|<<: |- |a: |&x |\\*x |---\n|é){0,60}") {
            let _ = load(&text).map(|nodes| nodes.iter().map(|n| n.to_json()).collect::<Vec<_>>());
        }

        #[test]
        fn reads_all_json(value in any_json()) {
            let text = serde_json::to_string_pretty(&value).unwrap();
            prop_assert_eq!(&load(&text).unwrap()[0].to_json(), &value);
            let text = format!("---\n{value}");
            prop_assert_eq!(&load(&text).unwrap()[0].to_json(), &value, "as YAML");
        }
    }

    fn any_json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(serde_json::Value::from),
            any::<i64>().prop_map(serde_json::Value::from),
            "[ -~]{0,12}".prop_map(serde_json::Value::from),
            Just(serde_json::Value::Null),
        ];
        let tree = leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
                proptest::collection::btree_map("[a-z]{1,4}", inner, 0..4)
                    .prop_map(|map| map.into_iter().collect::<serde_json::Value>()),
            ]
        });
        proptest::collection::btree_map("[a-z]{1,4}", tree, 1..4).prop_map(|map| map.into_iter().collect())
    }
}
