//! What of a Secret or a ConfigMap can carry a value: data of every kind, labels and annotations, the names of their keys, and a
//! Secret's type.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::fmt;

/// Where in an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place<'o> {
    field: &'static str,
    /// None: it is the name of a key itself.
    key: Option<&'o str>,
}

/// What a field has for a key that has a single value.
const WHOLE: &str = "";

/// The name of a key that is itself a value is not shown.
impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.key {
            Some(WHOLE) => f.write_str(self.field),
            Some(key) => write!(f, "{}[{key:?}]", self.field),
            None => write!(f, "the name of a key in {}", self.field),
        }
    }
}

impl<'o> Place<'o> {
    /// The same field, without the key's name.
    pub fn unnamed(self) -> Self {
        Self { key: None, ..self }
    }

    /// The key under which it is; None where the name of a key is meant.
    pub fn key(&self) -> Option<&'o str> {
        self.key
    }

    /// Whether it is a value of the object's own data.
    pub fn is_data(self) -> bool {
        !self.is_name() && self.key != Some(WHOLE) && !self.field.starts_with("metadata.")
    }

    /// Whether the name of a key is meant.
    pub fn is_name(self) -> bool {
        self.key.is_none()
    }
}

/// Bytes of the shortest value that is compared at all: whole, and for the report alone.
pub const SHORTEST: usize = 8;

/// The fields of an object, in the order in which they are looked at.
const FIELDS: [&str; 6] = ["data", "stringData", "binaryData", "metadata.labels", "metadata.annotations", "type"];

/// A part of an object that is looked at by itself.
struct Piece<'o> {
    place: Place<'o>,
    written: &'o [u8],
    /// Kubernetes' own base64.
    coded: bool,
}

/// The parts of one object.
#[derive(Default)]
pub struct Content<'o> {
    pieces: Vec<Piece<'o>>,
}

impl<'o> Content<'o> {
    /// Of a Secret or ConfigMap as JSON.
    pub fn of_json(kind: &str, metadata: &'o ObjectMeta, object: &'o Value) -> Self {
        let mut content = Self::default();
        let data_is_coded = kind == "Secret";
        for (field, coded) in [("data", data_is_coded), ("stringData", false), ("binaryData", true)] {
            for (key, value) in object.get(field).and_then(Value::as_object).into_iter().flat_map(Map::iter) {
                if let Some(text) = value.as_str() {
                    content.add(field, key, text.as_bytes(), coded);
                }
            }
        }
        content.add_metadata(metadata);
        content.with_type(object.get("type").and_then(Value::as_str))
    }

    /// Of a Secret.
    pub fn of_secret(secret: &'o Secret) -> Self {
        let mut content = Self::of_metadata(&secret.metadata);
        for (key, value) in secret.data.iter().flatten() {
            content.add("data", key, &value.0, false);
        }
        content.with_type(secret.type_.as_deref())
    }

    /// Of a ConfigMap.
    pub fn of_config_map(map: &'o ConfigMap) -> Self {
        let mut content = Self::of_metadata(&map.metadata);
        for (key, value) in map.data.iter().flatten() {
            content.add("data", key, value.as_bytes(), false);
        }
        for (key, value) in map.binary_data.iter().flatten() {
            content.add("binaryData", key, &value.0, false);
        }
        content
    }

    /// Of labels and annotations alone.
    pub fn of_metadata(metadata: &'o ObjectMeta) -> Self {
        let mut content = Self::default();
        content.add_metadata(metadata);
        content
    }

    /// And of pairs in a field; `coded`: their values are in Kubernetes' own base64.
    pub fn with(
        mut self,
        field: &'static str,
        pairs: impl IntoIterator<Item = (&'o str, &'o str)>,
        coded: bool,
    ) -> Self {
        pairs.into_iter().for_each(|(key, value)| self.add(field, key, value.as_bytes(), coded));
        self
    }

    /// And of pairs whose values are bytes.
    pub fn with_bytes(mut self, field: &'static str, pairs: impl IntoIterator<Item = (&'o str, &'o [u8])>) -> Self {
        pairs.into_iter().for_each(|(key, value)| self.add(field, key, value, false));
        self
    }

    /// And of a Secret's type.
    pub fn with_type(mut self, kind: Option<&'o str>) -> Self {
        if let Some(kind) = kind {
            self.add("type", WHOLE, kind.as_bytes(), false);
        }
        self
    }

    fn add_metadata(&mut self, metadata: &'o ObjectMeta) {
        for (field, pairs) in [("metadata.labels", &metadata.labels), ("metadata.annotations", &metadata.annotations)] {
            for (key, value) in pairs.iter().flatten() {
                self.add(field, key, value.as_bytes(), false);
            }
        }
    }

    /// What is too short to be a value is left out at once: an object may have very many keys.
    fn add(&mut self, field: &'static str, key: &'o str, value: &'o [u8], coded: bool) {
        let (name, named) = (Place { field, key: None }, Place { field, key: Some(key) });
        for (place, written, coded) in [(name, key.as_bytes(), false), (named, value, coded)] {
            if written.len() >= SHORTEST {
                self.pieces.push(Piece { place, written, coded });
            }
        }
    }

    /// What is not in an earlier state of the object, under the same key. Of objects as JSON: both are in one order.
    pub fn since(mut self, before: &Content<'_>) -> Self {
        let mut known = before.pieces.iter().peekable();
        self.pieces.retain(|piece| {
            while known.next_if(|known| known.order() < piece.order()).is_some() {}
            known.next_if(|known| known.order() == piece.order()).is_none_or(|known| known.written != piece.written)
        });
        self
    }

    /// Leaves out what is too short to hold a value that is searched for.
    pub fn worth_a_look(mut self) -> Self {
        self.pieces.retain(|piece| piece.written.len() >= super::WINDOW);
        self
    }

    /// Whether there is nothing to look at.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Bytes of all of it, as they are written.
    pub fn len(&self) -> usize {
        self.pieces.iter().map(|piece| piece.written.len()).sum()
    }

    /// Each part: names first, then what is in them.
    pub fn texts(&self) -> impl Iterator<Item = (Place<'o>, Cow<'_, [u8]>)> {
        let names = self.pieces.iter().filter(|piece| piece.place.is_name());
        names.chain(self.pieces.iter().filter(|piece| !piece.place.is_name())).map(|piece| (piece.place, piece.text()))
    }
}

impl Piece<'_> {
    /// Where it is among the others: by its field, and by its key, after the key's name.
    fn order(&self) -> (Option<usize>, &[u8], bool) {
        let field = FIELDS.iter().position(|field| *field == self.place.field);
        (field, self.place.key.map_or(self.written, str::as_bytes), !self.place.is_name())
    }

    fn text(&self) -> Cow<'_, [u8]> {
        let decoded = self.coded.then(|| BASE64_STANDARD.decode(self.written).ok()).flatten();
        decoded.map_or(Cow::Borrowed(self.written), Cow::Owned)
    }
}
