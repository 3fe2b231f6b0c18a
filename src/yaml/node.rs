//! A decoded document that remembers where each part was written.

use serde_json::Number;
use std::sync::Arc;

/// A place in a file; lines and columns start at 1, columns count characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

impl Place {
    /// Where a file begins.
    pub const START: Place = Place { line: 1, column: 1 };
}

/// Why a document cannot be decoded at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where.
    pub at: Place,
    /// What is wrong.
    pub message: String,
}

/// One value and where it was written. An alias is its anchor's node, shared.
#[derive(Debug, PartialEq)]
pub struct Node {
    /// Where it begins; of an aliased value, where it was anchored.
    pub at: Place,
    /// The value.
    pub value: Value,
    /// Nodes in it, itself included, each as often as it is referred to.
    pub(super) weight: usize,
    /// Levels in it, itself included.
    pub(super) height: usize,
}

/// What JSON can say.
#[derive(Debug, PartialEq)]
pub enum Value {
    /// `null`, `~`, or nothing.
    Null,
    /// A boolean, and how it was written (`yes`).
    Bool(bool, String),
    /// A number, and how it was written (`0777`).
    Number(Number, String),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Arc<Node>>),
    /// A map, in the order of the document.
    Map(Vec<Entry>),
}

/// One field of a map.
#[derive(Debug, PartialEq)]
pub struct Entry {
    /// Its name, as JSON has it.
    pub key: String,
    /// Where the name stands.
    pub key_at: Place,
    /// Its value.
    pub value: Arc<Node>,
    /// Whether an earlier field of the same name stood in the same map; kubectl keeps this one.
    pub repeats: bool,
}

impl Entry {
    /// Where a message about this field should point: at a single value itself, else at the field's name.
    pub fn place(&self) -> Place {
        match self.value.value {
            Value::Bool(..) | Value::Number(..) | Value::Text(_) => self.value.at,
            _ => self.key_at,
        }
    }
}

impl Node {
    /// The fields, if it is a map.
    pub fn entries(&self) -> &[Entry] {
        if let Value::Map(entries) = &self.value { entries } else { &[] }
    }

    /// The items, if it is a list.
    pub fn items(&self) -> Option<&[Arc<Node>]> {
        if let Value::List(items) = &self.value { Some(items) } else { None }
    }

    /// A field by name.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|e| e.key == key)
    }

    /// A field's value by name.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|e| &*e.value)
    }

    /// The text, if it is one.
    pub fn text(&self) -> Option<&str> {
        if let Value::Text(text) = &self.value { Some(text) } else { None }
    }

    /// The field at a path of field names, if it is a text.
    pub fn text_at(&self, path: &[&str]) -> Option<&str> {
        path.iter().try_fold(self, |node, key| node.get(key))?.text()
    }

    /// How deep the path leads, as the place of the last part that exists: `spec.data[0].secretKey`.
    pub fn place_of(&self, path: &str) -> Place {
        let mut node = self;
        let mut place = self.at;
        for part in path.split(['.', '[']).map(|p| p.trim_end_matches(']')).filter(|p| !p.is_empty()) {
            if let Some(entry) = node.entry(part) {
                (node, place) = (&entry.value, entry.place());
                continue;
            }
            let item = part.parse::<usize>().ok().and_then(|at| node.items()?.get(at));
            let Some(item) = item else { break };
            (node, place) = (item, item.at);
        }
        place
    }

    /// What the API server stores of it, where its schema has no nullable field: a field that is null is left out.
    pub fn to_stored_json(&self) -> serde_json::Value {
        match &self.value {
            Value::List(items) => items.iter().map(|item| item.to_stored_json()).collect(),
            Value::Map(entries) => {
                let given = entries.iter().filter(|e| e.value.value != Value::Null);
                given.map(|e| (e.key.clone(), e.value.to_stored_json())).collect()
            }
            _ => self.to_json(),
        }
    }

    /// The JSON that kubectl would send.
    pub fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(value, _) => (*value).into(),
            Value::Number(number, _) => number.clone().into(),
            Value::Text(text) => text.as_str().into(),
            Value::List(items) => items.iter().map(|item| item.to_json()).collect(),
            Value::Map(entries) => entries.iter().map(|e| (e.key.clone(), e.value.to_json())).collect(),
        }
    }
}
