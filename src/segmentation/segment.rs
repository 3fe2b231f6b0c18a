//! Segments: the values of a namespace's segment labels, as a tuple.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// A segment, such as `payments/prod`. Two are the same only if both the labels and their values are.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Segment {
    labels: Arc<[String]>,
    name: String,
}

impl Segment {
    /// The segment of a namespace with these labels, or the first segment label that is missing or empty.
    pub fn of<'a>(labels: &'a Arc<[String]>, namespace_labels: &BTreeMap<String, String>) -> Result<Self, &'a str> {
        let mut values = Vec::with_capacity(labels.len());
        for label in labels.iter() {
            match namespace_labels.get(label).map(String::as_str) {
                None | Some("") => return Err(label),
                Some(value) => values.push(value),
            }
        }
        // A label value has no slash, so the joined name is unambiguous.
        Ok(Self { labels: labels.clone(), name: values.join("/") })
    }

    /// The values, joined by slashes.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}
