//! Values of Kubernetes' types with every field filled, by the types' own lists of fields: each text is the path where it stands, such as
//! `volumes[].secret.secretName`. What reads an object field by field is held against that, and not against a list of ours.

use serde::Serialize;
use serde::de::value::Error;
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::Value;
use std::collections::BTreeSet;

/// A value with every field filled; one item in each list.
pub fn filled<T: DeserializeOwned>() -> T {
    T::deserialize(Place::default()).unwrap()
}

/// Every place in it that names a Secret: below something that is called after Secrets, what is a name, and else what is itself
/// called after them; a namespace or a file is neither.
pub fn secrets_in(filled: &impl Serialize) -> BTreeSet<String> {
    let mut paths = BTreeSet::new();
    texts(&serde_json::to_value(filled).unwrap(), &mut paths);
    let names = |path: &String| {
        let path = path.to_ascii_lowercase();
        let last = path.rsplit('.').next().unwrap_or_default();
        let is_other = last.ends_with("namespace") || last.ends_with("file");
        path.contains("secret") && (last.ends_with("name") || last.contains("secret")) && !is_other
    };
    paths.into_iter().filter(names).collect()
}

fn texts(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::String(text) => {
            found.insert(text.clone());
        }
        Value::Array(items) => items.iter().for_each(|item| texts(item, found)),
        Value::Object(fields) => fields.values().for_each(|field| texts(field, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[derive(Default)]
struct Place {
    path: String,
    is_time: bool,
}

impl<'de> Deserializer<'de> for Place {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_string(if self.is_time { "2026-01-01T00:00:00Z".to_owned() } else { self.path })
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_bool(true)
    }

    fn deserialize_i32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_i32(1)
    }

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_i64(1)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_f64(1.0)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(Self { is_time: name.ends_with("Time"), ..self })
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_seq(One(Some(Self { path: format!("{}[]", self.path), is_time: false })))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_struct("", &["*"], visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_map(Fields { of: self.path, left: fields.iter(), at: String::new() })
    }

    forward_to_deserialize_any! {
        i8 i16 i128 u8 u16 u32 u64 u128 f32 char str string bytes byte_buf unit unit_struct tuple tuple_struct enum
        identifier ignored_any
    }
}

/// The one item of a list.
struct One(Option<Place>);

impl<'de> SeqAccess<'de> for One {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        self.0.take().map(|place| seed.deserialize(place)).transpose()
    }
}

/// The fields of a struct, one after another.
struct Fields {
    of: String,
    left: std::slice::Iter<'static, &'static str>,
    at: String,
}

impl<'de> MapAccess<'de> for Fields {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let Some(field) = self.left.next().copied() else { return Ok(None) };
        self.at = if self.of.is_empty() { field.to_owned() } else { format!("{}.{field}", self.of) };
        seed.deserialize(field.into_deserializer()).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        seed.deserialize(Place { path: std::mem::take(&mut self.at), is_time: false })
    }
}
