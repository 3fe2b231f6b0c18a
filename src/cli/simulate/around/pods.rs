//! The pods of a pod or workload, read from a file.
//!
//! Of a pod's spec only what names Secrets is read: a file may say things that the API server takes in more than one form
//! (`cpu: 1`), and they are none of this rule's business.

use crate::cli::simulate::kind::Native;
use crate::cli::simulate::object::Object;
use crate::cli::simulate::yaml::Node;
use serde_json::{Map, Value};

/// The spec of the pods, in part; None if there is none, or if they have ended.
pub fn spec(kind: Native, object: &Object) -> Option<Value> {
    let path: &[&str] = match kind {
        Native::Pod => &["spec"],
        Native::PodTemplate => &["template", "spec"],
        Native::CronJob => &["spec", "jobTemplate", "spec", "template", "spec"],
        _ => &["spec", "template", "spec"],
    };
    let phase = object.node.text_at(&["status", "phase"]).filter(|_| kind == Native::Pod);
    if matches!(phase, Some("Succeeded" | "Failed")) {
        return None;
    }
    let spec = path.iter().try_fold(&*object.node, |node, field| node.get(field))?;
    let mut read = fields(spec, &["serviceAccountName", "imagePullSecrets"]);
    // Its name of old, which the API server takes where the new one is not written.
    let is_named = spec.text_at(&["serviceAccountName"]).is_some_and(|name| !name.is_empty());
    if let Some(old) = spec.get("serviceAccount").filter(|_| !is_named) {
        read.insert("serviceAccountName".into(), old.to_stored_json());
    }
    for kind in ["containers", "initContainers", "ephemeralContainers"] {
        let each = |container: &Node| Value::from(fields(container, &["name", "env", "envFrom"]));
        read.insert(kind.into(), list(spec, kind, each));
    }
    let volume = |volume: &Node| {
        let mut volume = volume.to_stored_json();
        let Some(fields) = volume.as_object_mut() else { return volume };
        // Their sizes are written as numbers, too; none of them names a Secret.
        ["emptyDir", "ephemeral", "downwardAPI"].iter().for_each(|kind| drop(fields.remove(*kind)));
        without_divisors(&mut volume);
        volume
    };
    read.insert("volumes".into(), list(spec, "volumes", volume));
    let mut read = Value::from(read);
    without_divisors(&mut read);
    Some(read)
}

fn fields(node: &Node, names: &[&str]) -> Map<String, Value> {
    let entries = node.entries().iter().filter(|entry| names.contains(&entry.key.as_str()));
    let stored = entries.map(|entry| (entry.key.clone(), entry.value.to_stored_json()));
    stored.filter(|(_, value)| !value.is_null()).collect()
}

fn list(node: &Node, field: &str, each: impl Fn(&Node) -> Value) -> Value {
    node.get(field).and_then(Node::items).into_iter().flatten().map(|item| each(item)).collect()
}

fn without_divisors(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.remove("divisor");
            fields.values_mut().for_each(without_divisors);
        }
        Value::Array(items) => items.iter_mut().for_each(without_divisors),
        _ => {}
    }
}
