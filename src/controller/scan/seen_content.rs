//! A Secret or ConfigMap as the scan reads it: what can carry a value, and nothing else. An object of a mebibyte may have a
//! hundred thousand keys, each of which would be many times its size in memory, and again in `managedFields`.

use crate::segmentation::copies::{Content, SHORTEST};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use std::fmt;

/// What is read of one.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SeenContent {
    #[serde(deserialize_with = "metadata")]
    pub(super) metadata: ObjectMeta,
    #[serde(default)]
    data: Pairs,
    #[serde(default)]
    binary_data: Pairs,
    #[serde(rename = "type", default)]
    kind: Option<String>,
}

/// Pairs with a key or a value that is long enough to be one.
#[derive(Default)]
struct Pairs(Vec<(String, String)>);

impl SeenContent {
    /// What is in it.
    pub(super) fn content(&self, kind: &str) -> Content<'_> {
        let content = Content::of_metadata(&self.metadata).with("data", self.data.iter(), kind == "Secret");
        content.with("binaryData", self.binary_data.iter(), true).with_type(self.kind.as_deref())
    }
}

impl Pairs {
    fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }
}

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Pairs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("keys and values")
            }

            fn visit_unit<E>(self) -> Result<Pairs, E> {
                Ok(Pairs::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut pairs: A) -> Result<Pairs, A::Error> {
                let mut kept = Vec::new();
                while let Some((key, value)) = pairs.next_entry::<String, String>()? {
                    if key.len().max(value.len()) >= SHORTEST {
                        kept.push((key, value));
                    }
                }
                Ok(Pairs(kept))
            }
        }
        input.deserialize_any(Reader)
    }
}

fn metadata<'de, D: Deserializer<'de>>(input: D) -> Result<ObjectMeta, D::Error> {
    #[derive(Deserialize)]
    struct Metadata {
        name: Option<String>,
        namespace: Option<String>,
        uid: Option<String>,
        labels: Option<BTreeMap<String, String>>,
        annotations: Option<BTreeMap<String, String>>,
        #[serde(rename = "ownerReferences")]
        owner_references: Option<Vec<OwnerReference>>,
    }
    let Metadata { name, namespace, uid, labels, annotations, owner_references } = Metadata::deserialize(input)?;
    Ok(ObjectMeta { name, namespace, uid, labels, annotations, owner_references, ..ObjectMeta::default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn seen(object: &Value) -> SeenContent {
        serde_json::from_str(&object.to_string()).unwrap()
    }

    #[test]
    fn keeps_what_can_carry_a_value() {
        let seen = seen(&json!({
            "metadata": {"name": "a", "namespace": "b", "annotations": {"note": "long enough"}, "managedFields": [{"manager": "kubectl"}]},
            "data": {"short": "value", "long": "long enough", "a long key": ""}, "binaryData": {"b": "bG9uZyBlbm91Z2g="},
            "type": "example.com/long",
        }));
        assert_eq!((seen.metadata.name.as_deref(), seen.metadata.managed_fields.is_none()), (Some("a"), true));
        let found = |kind| {
            let content = seen.content(kind);
            let texts = content.texts().map(|(place, text)| format!("{place}: {}", String::from_utf8_lossy(&text)));
            texts.collect::<Vec<_>>()
        };
        let expected = [
            "the name of a key in data: a long key",
            r#"metadata.annotations["note"]: long enough"#,
            r#"data["long"]: long enough"#,
            r#"binaryData["b"]: long enough"#,
            "type: example.com/long",
        ];
        assert_eq!(found("ConfigMap"), expected);
    }

    #[test]
    fn very_many_keys_cost_nothing() {
        let data: BTreeMap<String, &str> = (0..100_000).map(|i| (i.to_string(), "")).collect();
        assert_eq!(seen(&json!({"metadata": {}, "data": data, "binaryData": null})).data.0.capacity(), 0);
    }
}
