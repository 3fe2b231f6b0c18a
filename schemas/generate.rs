//! The kinds as JSON schemas, for editors and for kubeconform: made from the CRDs as kubeconform's own openapi2jsonschema does it,
//! strict, so that a misspelt field is an error (the API server would drop it).

use scoped_secrets::api::{self, GROUP};
use serde_json::{Map, Value, json};
use std::{fs, io, path::Path};

/// Writes GROUP/KIND_VERSION.json: the layout that kubeconform and the editors' catalogues share.
pub fn write(folder: &Path) -> io::Result<()> {
    let folder = folder.join(GROUP);
    super::make_anew(&folder)?;
    for crd in api::crds() {
        let (kind, version) = (&crd.spec.names.kind, &crd.spec.versions[0]);
        let schema = version.schema.as_ref().and_then(|schema| schema.open_api_v3_schema.as_ref());
        let schema = schema.ok_or_else(|| io::Error::other(format!("{kind} has no schema")))?;
        let file = folder.join(format!("{}_{}.json", kind.to_lowercase(), version.name));
        fs::write(file, format!("{:#}\n", document(kind, &version.name, serde_json::to_value(schema)?)))?;
    }
    Ok(())
}

fn document(kind: &str, version: &str, openapi: Value) -> Value {
    let mut schema = strict(openapi);
    schema["$schema"] = json!("http://json-schema.org/draft-07/schema#");
    schema["title"] = json!(kind);
    let exactly = |word: &str| json!({"type": "string", "enum": [word]});
    schema["properties"]["apiVersion"] = exactly(&format!("{GROUP}/{version}"));
    schema["properties"]["kind"] = exactly(kind);
    schema["properties"]["metadata"] = json!({"type": "object"});
    schema["required"] = json!(["apiVersion", "kind", "metadata", "spec"]);
    schema
}

/// Without what JSON Schema does not know, and with no other fields than those that are named.
fn strict(schema: Value) -> Value {
    match schema {
        Value::Object(fields) => {
            let has_fields = fields.get("properties").is_some_and(Value::is_object);
            let closed = has_fields && !fields.contains_key("additionalProperties");
            // "default" is left out as well: it is the API server's, and an editor would write it into the file.
            let known = |name: &str| !name.starts_with("x-kubernetes-") && name != "default";
            let mut strict: Map<String, Value> = fields
                .into_iter()
                .filter(|(name, _)| known(name))
                .map(|(name, value)| match (name.as_str(), value) {
                    ("properties", Value::Object(named)) => {
                        (name, named.into_iter().map(|(field, schema)| (field, self::strict(schema))).collect())
                    }
                    (_, value) => (name, self::strict(value)),
                })
                .collect();
            if closed {
                strict.insert("additionalProperties".to_owned(), json!(false));
            }
            Value::Object(strict)
        }
        Value::Array(items) => items.into_iter().map(strict).collect(),
        other => other,
    }
}
