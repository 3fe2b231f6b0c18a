//! Kustomize's replacements by which the operator's account in the guards follows its namespace. A replacement sets one piece of
//! a text between two delimiters; here each place of the namespace becomes one.

use scoped_secrets::admission::identities::Installation;
use scoped_secrets::admission::rules::guards;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Stands for the namespace while its places are looked for; nothing else is called so.
const NAMESPACE: &str = "operators-namespace";

/// A place: the delimiter, the piece's number, and in the kind and name of which objects' fields.
type Places = BTreeMap<(String, usize), Vec<(String, String, String)>>;

/// The replacements; an error if there is a place that they cannot reach.
pub fn replacements() -> Result<Value, String> {
    let installation = Installation { namespace: NAMESPACE.to_owned(), ..Installation::default() };
    let mut places = Places::new();
    for object in guards(&installation).iter().flat_map(|guard| guard.objects()) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (kind, name) = (text(&object["kind"]), text(&object["metadata"]["name"]));
        look(&object["spec"], "spec", &mut |path, text| {
            for (delimiter, index) in pieces(text).ok_or_else(|| format!("{kind} {name}: {path}: {text}"))? {
                places.entry((delimiter.to_owned(), index)).or_default().push((
                    kind.clone(),
                    name.clone(),
                    path.to_owned(),
                ));
            }
            Ok(())
        })?;
    }
    let source = json!({"kind": "ServiceAccount", "name": "scoped-secrets", "fieldPath": "metadata.namespace"});
    let all = places.into_iter().map(|((delimiter, index), fields)| {
        let options = json!({"delimiter": delimiter, "index": index});
        let targets = fields.into_iter().map(|(kind, name, path)| {
            json!({"select": {"kind": kind, "name": name}, "fieldPaths": [path], "options": options})
        });
        json!({"source": source, "targets": targets.collect::<Vec<_>>()})
    });
    Ok(all.collect())
}

/// Where it is in a text: between quotes, or in the operator's user name between colons. None if it is somewhere else, too.
fn pieces(text: &str) -> Option<Vec<(&'static str, usize)>> {
    let mut found = Vec::new();
    for delimiter in ["'", ":"] {
        let parts = text.split(delimiter).enumerate();
        found.extend(parts.filter(|(_, part)| *part == NAMESPACE).map(|(index, _)| (delimiter, index)));
    }
    (found.len() == text.matches(NAMESPACE).count()).then_some(found)
}

fn look(value: &Value, path: &str, take: &mut impl FnMut(&str, &str) -> Result<(), String>) -> Result<(), String> {
    match value {
        Value::String(text) => take(path, text),
        Value::Array(items) => {
            items.iter().enumerate().try_for_each(|(index, item)| look(item, &format!("{path}.{index}"), take))
        }
        Value::Object(fields) => fields.iter().try_for_each(|(key, item)| look(item, &format!("{path}.{key}"), take)),
        _ => Ok(()),
    }
}
