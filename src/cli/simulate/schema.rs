//! The structural schema of a CRD, asked as the API server asks it, with the place of every breach.
//!
//! Only what structural schemas can say is known here; the CRDs' CEL rules are `crd`'s.

use super::yaml::{Entry, Node, Place, Value};
use kube::core::cel::cel::{Context, Program, Value as CelValue};
use serde_json::Value as Json;
use std::collections::HashSet;

/// Where and how a document breaks a schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breach {
    /// Where.
    pub at: Place,
    /// In the API server's words.
    pub message: String,
    /// What to write instead.
    pub fix: Option<String>,
    /// What follows from it.
    pub weight: Weight,
}

/// What follows from a breach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// `--validate=strict` refuses it; everything else still can be judged.
    Strict,
    /// It could not be checked here; the API server will.
    Unsure,
    /// The API server refuses it.
    Invalid,
    /// The API server refuses it and does not ask the CEL rules.
    Blocking,
}

/// Checks documents against schemas.
pub struct Checker {
    matches: Option<Program>,
}

impl Default for Checker {
    fn default() -> Self {
        // The same regular expressions as in CEL's `matches`: RE2's, as the API server has them.
        Self { matches: Program::compile("text.matches(pattern)").ok() }
    }
}

/// A value on its way through the schema.
#[derive(Clone, Copy)]
struct At<'a> {
    node: &'a Node,
    place: Place,
    path: &'a str,
}

impl Checker {
    /// Every breach of `schema` by a value that stands at `place` under the name `path`.
    pub fn check(&self, schema: &Json, node: &Node, place: Place, path: &str) -> Vec<Breach> {
        let mut found = Vec::new();
        self.walk(schema, At { node, place, path }, &mut found);
        found
    }

    fn walk(&self, schema: &Json, at: At<'_>, found: &mut Vec<Breach>) {
        if let Some(wanted) = schema.get("type").and_then(Json::as_str)
            && !has_type(&at.node.value, wanted)
        {
            found.push(wrong_type(at, wanted));
            return;
        }
        if let Some(allowed) = schema.get("enum").and_then(Json::as_array) {
            found.extend(not_in_enum(at, allowed));
        }
        match &at.node.value {
            Value::Map(entries) => self.walk_map(schema, at, entries, found),
            Value::List(items) => {
                let size = items.len();
                limits(schema, at, "Items", size, "items", found);
                found.extend(duplicates(schema, at));
                if let Some(of) = schema.get("items") {
                    for (index, item) in items.iter().enumerate() {
                        let path = format!("{}[{index}]", at.path);
                        self.walk(of, At { node: item, place: item.at, path: &path }, found);
                    }
                }
            }
            Value::Text(text) => self.check_text(schema, at, text, found),
            Value::Number(number, _) => {
                let least = schema.get("minimum").and_then(Json::as_f64);
                if let (Some(least), Some(value)) = (least, number.as_f64())
                    && value < least
                {
                    let text = format!(
                        "Invalid value: {value}: {} in body should be greater than or equal to {least}",
                        at.path
                    );
                    found.push(at.breach(Weight::Invalid, text));
                }
            }
            _ => {}
        }
    }

    fn walk_map(&self, schema: &Json, at: At<'_>, entries: &[Entry], found: &mut Vec<Breach>) {
        limits(schema, at, "Properties", entries.len(), "properties", found);
        let properties = schema.get("properties").and_then(Json::as_object);
        let others = schema.get("additionalProperties").filter(|s| s.is_object());
        for entry in entries {
            let path = child(at.path, &entry.key);
            if entry.repeats {
                found.push(Breach {
                    at: entry.key_at,
                    message: format!("duplicate field {path:?}: kubectl silently keeps the last one"),
                    fix: Some(format!("{} once", entry.key)),
                    weight: Weight::Strict,
                });
            }
            match properties.and_then(|p| p.get(&entry.key)).or(others) {
                // The API server drops a null, as if the field were not written.
                Some(_) if entry.value.value == Value::Null => {}
                Some(of) => self.walk(of, At { node: &entry.value, place: entry.place(), path: &path }, found),
                None if flag(schema, "x-kubernetes-preserve-unknown-fields") => {}
                None => found.push(Breach {
                    at: entry.key_at,
                    message: format!("unknown field {path:?}"),
                    fix: properties.and_then(|p| nearest(&entry.key, p.keys().map(String::as_str))),
                    weight: Weight::Strict,
                }),
            }
        }
        let required = schema.get("required").and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str);
        for name in required.filter(|name| at.node.get(name).is_none_or(|node| node.value == Value::Null)) {
            found.push(Breach {
                at: at.place,
                message: format!("{}: Required value", child(at.path, name)),
                fix: None,
                weight: Weight::Blocking,
            });
        }
    }

    /// RFC 3339 with a zone, as Kubernetes' times are; also of years that jiff has no instant of.
    fn is_date_time(&self, text: &str) -> bool {
        const FORM: &str =
            r"^.{10}[Tt]([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.,][0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})$";
        text.get(..10).is_some_and(|date| date.parse::<jiff::civil::Date>().is_ok()) && self.matches(text, FORM)
    }

    fn check_text(&self, schema: &Json, at: At<'_>, text: &str, found: &mut Vec<Breach>) {
        let limit = |name: &str| schema.get(name).and_then(Json::as_u64).and_then(|n| usize::try_from(n).ok());
        let length = text.chars().count();
        if let Some(most) = limit("maxLength").filter(|most| length > *most) {
            found.push(at.breach(Weight::Blocking, format!("Too long: may not be more than {most} bytes")));
            return;
        }
        if let Some(least) = limit("minLength").filter(|least| length < *least) {
            let text = format!("Invalid value: {text:?}: {} in body should be at least {least} chars long", at.path);
            found.push(at.breach(Weight::Invalid, text));
        }
        if let Some(pattern) = schema.get("pattern").and_then(Json::as_str)
            && !self.matches(text, pattern)
        {
            let text = format!("Invalid value: {text:?}: {} in body should match '{pattern}'", at.path);
            found.push(at.breach(Weight::Invalid, text));
        }
        if schema.get("format").and_then(Json::as_str) == Some("date-time") {
            let message = if !self.is_date_time(text) {
                format!("Invalid value: {text:?}: {} in body must be of type date-time: {text:?}", at.path)
            } else if schema.get("x-kubernetes-validations").is_some() && text.contains(['t', 'z']) {
                // The schema takes them, and CEL, which a rule of the field calls, does not.
                format!("Invalid value: \"string\": Invalid date-time formatted string {text}")
            } else {
                return;
            };
            let fix = Some("a time such as 2030-01-31T00:00:00Z".to_owned());
            found.push(Breach { fix, ..at.breach(Weight::Blocking, message) });
        }
    }

    /// A pattern that cannot be asked is not met.
    fn matches(&self, text: &str, pattern: &str) -> bool {
        let Some(program) = &self.matches else { return false };
        let mut context = Context::default();
        context.add_variable_from_value("text", text.to_owned());
        context.add_variable_from_value("pattern", pattern.to_owned());
        matches!(program.execute(&context), Ok(CelValue::Bool(true)))
    }
}

impl At<'_> {
    fn breach(&self, weight: Weight, text: String) -> Breach {
        Breach { at: self.place, message: format!("{}: {text}", self.path), fix: None, weight }
    }
}

/// The name of a field within another; one with dots or slashes stands in brackets.
fn child(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else if key.contains(['.', '/', '[']) {
        format!("{path}[{key}]")
    } else {
        format!("{path}.{key}")
    }
}

fn flag(schema: &Json, name: &str) -> bool {
    schema.get(name).and_then(Json::as_bool) == Some(true)
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(..) => "boolean",
        Value::Number(number, _) if number.is_f64() => "number",
        Value::Number(..) => "integer",
        Value::Text(_) => "string",
        Value::List(_) => "array",
        Value::Map(_) => "object",
    }
}

fn has_type(value: &Value, wanted: &str) -> bool {
    type_of(value) == wanted || (wanted == "number" && type_of(value) == "integer")
}

fn wrong_type(at: At<'_>, wanted: &str) -> Breach {
    let is = type_of(&at.node.value);
    let text = format!("Invalid value: {is:?}: {} in body must be of type {wanted}: {is:?}", at.path);
    let fix = match &at.node.value {
        Value::Bool(_, written) | Value::Number(_, written) if wanted == "string" => {
            Some(format!("{written:?}, in quotes"))
        }
        Value::Text(text) if wanted == "boolean" && matches!(text.as_str(), "true" | "false") => {
            Some(format!("{text}, without quotes"))
        }
        _ => None,
    };
    Breach { fix, ..at.breach(Weight::Blocking, text) }
}

fn not_in_enum(at: At<'_>, allowed: &[Json]) -> Option<Breach> {
    let value = at.node.to_json();
    if allowed.contains(&value) {
        return None;
    }
    let known: Vec<String> = allowed.iter().map(Json::to_string).collect();
    let text = format!("Unsupported value: {value}: supported values: {}", known.join(", "));
    let fix = at.node.text().and_then(|text| nearest(text, allowed.iter().filter_map(Json::as_str)));
    Some(Breach { fix, ..at.breach(Weight::Blocking, text) })
}

fn limits(schema: &Json, at: At<'_>, what: &str, size: usize, unit: &str, found: &mut Vec<Breach>) {
    let limit = |bound: &str| schema.get(format!("{bound}{what}")).and_then(Json::as_u64);
    if let Some(most) = limit("max").filter(|most| size as u64 > *most) {
        let unit = if most == 1 { "item" } else { "items" };
        found.push(at.breach(Weight::Blocking, format!("Too many: {size}: must have at most {most} {unit}")));
    }
    if let Some(least) = limit("min").filter(|least| (size as u64) < *least) {
        let text = format!("Invalid value: {size}: {} in body should have at least {least} {unit}", at.path);
        found.push(at.breach(Weight::Invalid, text));
    }
}

/// Items that a set or a list with keys may have only once.
fn duplicates(schema: &Json, at: At<'_>) -> Vec<Breach> {
    let keys: Vec<&str> = match schema.get("x-kubernetes-list-type").and_then(Json::as_str) {
        Some("set") => Vec::new(),
        Some("map") => {
            let keys = schema.get("x-kubernetes-list-map-keys").and_then(Json::as_array);
            keys.into_iter().flatten().filter_map(Json::as_str).collect()
        }
        _ => return Vec::new(),
    };
    let identity = |item: &Node| match keys.as_slice() {
        [] => item.to_json(),
        keys => keys.iter().filter_map(|k| Some(((*k).to_owned(), item.get(k)?.to_json()))).collect(),
    };
    let mut seen = HashSet::new();
    let mut found = Vec::new();
    for (index, item) in at.node.items().unwrap_or_default().iter().enumerate() {
        let identity = identity(item).to_string();
        let message = format!("{}[{index}]: Duplicate value: {identity}", at.path);
        if !seen.insert(identity) {
            found.push(Breach { at: item.at, message, fix: None, weight: Weight::Invalid });
        }
    }
    found
}

/// The known name that was probably meant.
pub fn nearest<'a>(written: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    let written = written.to_lowercase();
    let allowed = 1 + written.chars().count() / 4;
    let near = known.map(|name| (distance(&written, &name.to_lowercase()), name)).min()?;
    (near.0 <= allowed).then(|| near.1.to_owned())
}

/// Levenshtein's, of texts as short as field names; of longer ones only the beginning counts.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().take(64).enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::super::yaml::{compose, split};
    use super::*;
    use serde_json::json;

    fn breaches(schema: Json, text: &str) -> Vec<(usize, String, Option<String>)> {
        let node = compose(split(text).unwrap()[0]).unwrap().unwrap();
        let found = Checker::default().check(&schema, &node, node.at, "spec");
        found.into_iter().map(|b| (b.at.line, b.message, b.fix)).collect()
    }

    #[test]
    fn speaks_as_the_api_server_does() {
        let text = |more: Json| {
            let mut field = json!({"type": "string"});
            field.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            json!({"type": "object", "properties": {"a": field}})
        };
        let list = |more: Json| {
            let mut field =
                json!({"type": "array", "items": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
            field.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            json!({"type": "object", "properties": {"a": field}})
        };
        for (schema, document, expected) in [
            (
                text(json!({})),
                "a: yes",
                r#"spec.a: Invalid value: "boolean": spec.a in body must be of type string: "boolean""#,
            ),
            (
                text(json!({})),
                "a: 1",
                r#"spec.a: Invalid value: "integer": spec.a in body must be of type string: "integer""#,
            ),
            (
                json!({"type": "array", "items": {"type": "string"}}),
                "[~]",
                r#"spec[0]: Invalid value: "null": spec[0] in body must be of type string: "null""#,
            ),
            (text(json!({})), "a: x\nb: x", r#"unknown field "spec.b""#),
            (text(json!({})), "a: x\na: z", r#"duplicate field "spec.a": kubectl silently keeps the last one"#),
            (text(json!({"maxLength": 2})), "a: xyz", "spec.a: Too long: may not be more than 2 bytes"),
            (
                text(json!({"minLength": 1})),
                "a: ''",
                r#"spec.a: Invalid value: "": spec.a in body should be at least 1 chars long"#,
            ),
            (
                text(json!({"pattern": "^[0-9]+$"})),
                "a: x",
                r#"spec.a: Invalid value: "x": spec.a in body should match '^[0-9]+$'"#,
            ),
            (
                text(json!({"enum": ["Read", "Write"]})),
                "a: read",
                r#"spec.a: Unsupported value: "read": supported values: "Read", "Write""#,
            ),
            (
                text(json!({"format": "date-time"})),
                "a: 2030-01-01",
                r#"spec.a: Invalid value: "2030-01-01": spec.a in body must be of type date-time: "2030-01-01""#,
            ),
            (json!({"type": "object", "required": ["b"], "properties": {}}), "{}", "spec.b: Required value"),
            (
                json!({"type": "object", "maxProperties": 1, "additionalProperties": {"type": "string"}}),
                "a: x\nb: x",
                "spec: Too many: 2: must have at most 1 item",
            ),
            (
                json!({"type": "object", "properties": {"a": {"type": "integer", "minimum": 0}}}),
                "a: -1",
                "spec.a: Invalid value: -1: spec.a in body should be greater than or equal to 0",
            ),
            (list(json!({"maxItems": 1})), "a: [{}, {}]", "spec.a: Too many: 2: must have at most 1 item"),
            (
                list(json!({"minItems": 1})),
                "a: []",
                "spec.a: Invalid value: 0: spec.a in body should have at least 1 items",
            ),
            (
                list(json!({"x-kubernetes-list-type": "set"})),
                "a: [{b: 1}, {b: 1}]",
                r#"spec.a[1]: Duplicate value: {"b":1}"#,
            ),
            (
                list(json!({"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["b"]})),
                "a: [{b: 1, c: 1}, {b: 1, c: 2}]",
                r#"spec.a[1]: Duplicate value: {"b":1}"#,
            ),
        ] {
            let found: Vec<String> = breaches(schema, document).into_iter().map(|b| b.1).collect();
            assert_eq!(found, [expected], "{document}");
        }
    }

    #[test]
    fn says_where_and_what_was_meant() {
        let schema = json!({"type": "object", "properties": {
            "storeRef": {"type": "object", "properties": {"name": {"type": "string"}}}, "mode": {"type": "string", "enum": ["Enforce"]}}});
        let found = breaches(schema, "storRef:\n  name: x\nmode: enforced\nstoreRef:\n  name: on\n");
        let fixes: Vec<_> = found.iter().map(|(line, _, fix)| (*line, fix.as_deref())).collect();
        assert_eq!(fixes, [(1, Some("storeRef")), (3, Some("Enforce")), (5, Some("\"on\", in quotes"))]);
        assert_eq!(nearest("frobnicate", ["storeRef", "data"].into_iter()), None);
    }

    #[test]
    fn accepts_what_fits() {
        let schema = json!({"type": "object", "properties": {
            "at": {"type": "string", "format": "date-time"}, "m": {"type": "integer"},
            "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}});
        assert_eq!(breaches(schema, "at: 2030-01-01T00:00:00Z\nm:\nany: {x: [1, {}]}\n"), []);
    }
}
