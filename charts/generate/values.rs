//! The chart's values.yaml, read with its comments: what becomes its schema and its documentation.
//!
//! A value's comment is what stands right above it; of that a line `# @schema {...}` adds to the schema what the default does
//! not tell. A map with keys takes no others: that is what finds a misspelt one. A comment that an empty line follows speaks of
//! the file.

use serde_json::{Map, Value, json};

/// One value, and what is below it.
#[derive(Debug)]
pub struct Entry {
    key: String,
    about: String,
    hint: Map<String, Value>,
    default: Value,
    below: Vec<Entry>,
}

/// Reads the file: maps by two blanks of indentation, a key a line.
pub fn read(text: &str) -> Result<Vec<Entry>, String> {
    let defaults: Value = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
    let mut entries = Vec::new();
    let (mut about, mut hint) = (Vec::new(), Map::new());
    let mut path: Vec<String> = Vec::new();
    let mut skipped_below: Option<usize> = None;
    for (number, line) in text.lines().enumerate() {
        let at = |what: &str| format!("values.yaml:{}: {what}", number + 1);
        let bare = line.trim_start();
        let depth = (line.len() - bare.len()) / 2;
        if bare.is_empty() {
            (about, hint) = (Vec::new(), Map::new());
            continue;
        }
        if skipped_below.is_some_and(|limit| depth > limit || (depth == limit && bare.starts_with("- "))) {
            continue;
        }
        skipped_below = None;
        if let Some(comment) = bare.strip_prefix("# ") {
            match comment.strip_prefix("@schema ") {
                Some(json) => hint = serde_json::from_str(json).map_err(|error| at(&error.to_string()))?,
                None => about.push(comment.to_owned()),
            }
            continue;
        }
        let key = bare.split_once(':').ok_or_else(|| at("neither a key nor a comment"))?.0.to_owned();
        path.truncate(depth);
        path.push(key.clone());
        let pointer: String = path.iter().map(|part| format!("/{part}")).collect();
        let default = defaults.pointer(&pointer).ok_or_else(|| at("its indentation does not fit"))?.clone();
        // What a hint describes is one value: its keys are somebody else's.
        let is_group = default.as_object().is_some_and(|map| !map.is_empty()) && hint.is_empty();
        if !is_group {
            skipped_below = Some(depth);
        }
        if about.is_empty() && !is_group {
            return Err(at("write a comment above it: what is it for?"));
        }
        let entry = Entry { key, about: about.join(" "), hint, default, below: Vec::new() };
        (about, hint) = (Vec::new(), Map::new());
        let place = path[..depth].iter().try_fold(&mut entries, |level: &mut Vec<Entry>, part| {
            level.iter_mut().find(|entry| entry.key == *part).map(|entry| &mut entry.below)
        });
        place.ok_or_else(|| at("its indentation does not fit"))?.push(entry);
    }
    Ok(entries)
}

/// JSON Schema, as Helm validates values by it, with the definitions of what is Kubernetes' own (kubernetes.yaml).
pub fn schema(entries: &[Entry], kubernetes: &str) -> Result<Value, String> {
    let mut definitions: Value = serde_saphyr::from_str(kubernetes).map_err(|error| error.to_string())?;
    close(&mut definitions);
    let mut root = group(entries);
    root["definitions"] = definitions;
    root["$schema"] = json!("https://json-schema.org/draft-07/schema#");
    root["title"] = json!("Values of the chart scoped-secrets");
    // Helm gives it to each chart of an umbrella, with what is meant for the others.
    if let Some(global) = root.pointer_mut("/properties/global") {
        global["additionalProperties"] = json!(true);
    }
    Ok(root)
}

/// Lets every object that lists its keys take no others.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            map.values_mut().for_each(close);
            if map.get("type").is_some_and(|kind| kind == "object") && map.contains_key("properties") {
                map.entry("additionalProperties").or_insert(json!(false));
            }
        }
        Value::Array(all) => all.iter_mut().for_each(close),
        _ => {}
    }
}

fn group(entries: &[Entry]) -> Value {
    let properties: Map<String, Value> = entries.iter().map(|entry| (entry.key.clone(), one(entry))).collect();
    let required: Vec<&str> = entries.iter().filter(|entry| entry.is_required()).map(|entry| &*entry.key).collect();
    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
}

impl Entry {
    /// A key with nothing behind it takes its default away: only lists, maps and texts may be empty.
    fn is_required(&self) -> bool {
        let is_empty = self.default.as_str() == Some("");
        !self.below.is_empty()
            || (!is_empty && matches!(self.default, Value::Bool(_) | Value::Number(_) | Value::String(_)))
    }
}

fn one(entry: &Entry) -> Value {
    let mut schema = if entry.below.is_empty() {
        let kind = match &entry.default {
            Value::Bool(_) => "boolean",
            Value::Number(_) => "integer",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) | Value::Null => "object",
        };
        json!({"type": kind, "default": entry.default})
    } else {
        group(&entry.below)
    };
    if !entry.about.is_empty() {
        schema["description"] = json!(entry.about);
    }
    for (key, value) in &entry.hint {
        schema[key] = value.clone();
    }
    schema
}

/// A table in Markdown.
pub fn table(entries: &[Entry]) -> String {
    let mut text = String::from("| value | default | what it is for |\n|-|-|-|\n");
    rows(entries, "", &mut text);
    text
}

fn rows(entries: &[Entry], above: &str, text: &mut String) {
    for entry in entries {
        let path = format!("{above}{}", entry.key);
        if entry.below.is_empty() {
            let choice = entry.hint.get("enum").and_then(Value::as_array).map(|words| {
                let words: Vec<String> =
                    words.iter().map(|word| format!("`{}`", word.as_str().unwrap_or_default())).collect();
                format!("{}.", words.join(", "))
            });
            let about: Vec<&str> = [entry.about.as_str(), choice.as_deref().unwrap_or_default()]
                .into_iter()
                .filter(|part| !part.is_empty())
                .collect();
            text.push_str(&format!("| `{path}` | `{}` | {} |\n", entry.default, about.join(" ").replace('|', "\\|")));
        } else {
            rows(&entry.below, &format!("{path}."), text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# Of the file.\n\n# How many.\n# @schema {\"minimum\": 0}\nreplicas: 2\nimage:\n  # Where.\n  # It is.\n  repository: a/b\n  # Which.\n  tag: \"\"\n# Much.\n# @schema {\"additionalProperties\": {\"type\": \"string\"}}\nresources:\n  cpu: 1m\n# Some.\nlist:\n- a: 1\n  b: 2\n# At last.\nlast: true\n";

    const KUBERNETES: &str = "Peer: {type: object, properties: {name: {type: string}}}\n";

    #[test]
    fn defaults_comments_and_hints_become_a_strict_schema() {
        let schema = schema(&read(TEXT).unwrap(), KUBERNETES).unwrap();
        assert_eq!(
            schema["properties"]["replicas"],
            json!({"type": "integer", "default": 2, "description": "How many.", "minimum": 0})
        );
        assert_eq!(schema["additionalProperties"], false);
        let image = &schema["properties"]["image"];
        assert_eq!(image["additionalProperties"], false);
        assert_eq!(image["properties"]["repository"]["description"], "Where. It is.");
        assert_eq!(schema["properties"]["resources"]["additionalProperties"], json!({"type": "string"}));
        assert_eq!(schema["properties"]["list"]["type"], "array");
        assert_eq!(schema["properties"].as_object().unwrap().len(), 5);
        assert_eq!(schema["required"], json!(["replicas", "image", "last"]), "the others may be left empty");
        assert_eq!(image["required"], json!(["repository"]));
        assert_eq!(schema["definitions"]["Peer"]["additionalProperties"], false);
        let open = super::schema(&read("global:\n  # One.\n  a: 1\n").unwrap(), KUBERNETES).unwrap();
        assert_eq!(open["properties"]["global"]["additionalProperties"], true);
    }

    #[test]
    fn every_value_has_a_row() {
        let table = table(&read(TEXT).unwrap());
        let keys: Vec<&str> = table.lines().skip(2).filter_map(|line| line.split('`').nth(1)).collect();
        assert_eq!(keys, ["replicas", "image.repository", "image.tag", "resources", "list", "last"]);
        assert!(table.contains("| `image.repository` | `\"a/b\"` | Where. It is. |"), "{table}");
    }

    #[test]
    fn what_cannot_be_read_says_where() {
        for (text, says) in [
            ("a: 1\nb\n", "values.yaml"),
            ("# @schema {\na: 1\n", "values.yaml:1"),
            ("a:\n    b: 1\n", "values.yaml:2"),
            ("# What it is.\na: 1\nb: 2\n", "values.yaml:3: write a comment"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(says) || error.contains("line"), "{text:?}: {error}");
        }
    }
}
