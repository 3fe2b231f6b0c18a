//! What `kubectl apply` of a file would make of an object that is there: what the file says, what others wrote, and nothing of
//! what an earlier form of the file said and this one does not.

use crate::api::GROUP;
use serde_json::{Map, Value};

/// What `kubectl apply` notes of the file that it last applied.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Who applies files by server-side apply.
const APPLIERS: [&str; 6] = ["kubectl", "helm", "kustomize-controller", "helm-controller", "flux", "argocd-controller"];

/// The object to store. Of a policy of which it is not known who wrote what the file says all of the spec, as `kubectl replace` and
/// Helm have it.
pub fn merged(live: &Value, file: &Value) -> Value {
    let mut all = live.clone();
    if let Some(metadata) = all.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    let said_before = said_before(live);
    let is_policy = live["kind"] == "SegmentationPolicy"
        && live["apiVersion"].as_str().is_some_and(|version| version.starts_with(GROUP));
    if said_before.is_empty()
        && is_policy
        && let Some(fields) = all.as_object_mut()
    {
        fields.remove("spec");
    }
    for said in said_before {
        drop_left_out(&mut all, &said, file);
    }
    put_over(&mut all, file);
    all
}

/// Trees of the fields that earlier forms of the file set.
fn said_before(live: &Value) -> Vec<Value> {
    let metadata = &live["metadata"];
    let noted = metadata["annotations"][LAST_APPLIED].as_str();
    if let Some(noted) = noted.and_then(|text| serde_json::from_str(text).ok()) {
        return vec![noted];
    }
    let entries = metadata["managedFields"].as_array().into_iter().flatten();
    let applied = entries.filter(|entry| {
        entry["operation"] == "Apply" && entry["manager"].as_str().is_some_and(|manager| APPLIERS.contains(&manager))
    });
    applied.map(|entry| tree(&entry["fieldsV1"])).collect()
}

/// The tree of `f:` names; items of lists are none of its branches, as a list is replaced as a whole.
fn tree(fields: &Value) -> Value {
    let branches = fields.as_object().into_iter().flatten();
    let named = branches.filter_map(|(name, inner)| Some((name.strip_prefix("f:")?.to_owned(), tree(inner))));
    Value::Object(named.collect::<Map<_, _>>())
}

fn drop_left_out(all: &mut Value, said: &Value, file: &Value) {
    let (Some(fields), Some(said)) = (all.as_object_mut(), said.as_object()) else { return };
    for (name, before) in said {
        match (file.get(name), fields.get_mut(name)) {
            (Some(now), Some(there)) => drop_left_out(there, before, now),
            // Whose the object is, is not the file's to leave out; nor is where its status stands.
            (None, Some(_))
                if !matches!(name.as_str(), "apiVersion" | "kind" | "metadata" | "status" | "name" | "namespace") =>
            {
                fields.remove(name);
            }
            _ => {}
        }
    }
}

fn put_over(all: &mut Value, file: &Value) {
    match (all.as_object_mut(), file.as_object()) {
        (Some(fields), Some(said)) => {
            for (name, value) in said {
                put_over(fields.entry(name).or_insert(Value::Null), value);
            }
        }
        _ => *all = file.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_an_earlier_file_said_goes() {
        let noted = json!({"metadata": {"labels": {"tenant": "a", "stays": "b"}}, "data": {"x": "1"}}).to_string();
        let live = json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {
                "name": "n", "uid": "u", "labels": {"tenant": "a", "stays": "b", "others": "c"}, "annotations": {LAST_APPLIED: noted},
                "managedFields": [{"manager": "kubectl"}],
            },
            "data": {"x": "1", "y": "2"},
        });
        let file = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n", "labels": {"stays": "d", "new": "e"}}});
        let all = merged(&live, &file);
        assert_eq!(all["metadata"]["labels"], json!({"stays": "d", "others": "c", "new": "e"}));
        assert_eq!((&all["metadata"]["uid"], all["metadata"].get("managedFields")), (&json!("u"), None));
        assert_eq!(all.get("data"), None, "the file has it no more");
    }

    #[test]
    fn what_was_applied_at_the_server_goes() {
        let entry = |manager: &str, operation: &str, label: &str| json!({"manager": manager, "operation": operation, "fieldsV1": {"f:metadata": {"f:labels": {(format!("f:{label}")): {}}}}});
        let live = json!({"metadata": {
            "labels": {"tenant": "a", "level": "b", "mine": "c"},
            "managedFields": [entry("kubectl", "Apply", "tenant"), entry("pod-security", "Apply", "level"), entry("kubectl", "Update", "mine")],
        }});
        let all = merged(&live, &json!({"metadata": {"labels": {"x": "1"}}}));
        assert_eq!(all["metadata"]["labels"], json!({"level": "b", "mine": "c", "x": "1"}));
    }

    #[test]
    fn of_a_policy_that_nobody_applied_the_file_says_all() {
        let live = |kind: &str| json!({"apiVersion": "scopedsecrets.io/v1alpha1", "kind": kind, "spec": {"reportOnly": ["Rbac"], "mode": "Audit"}});
        let file = json!({"spec": {"mode": "Audit"}});
        assert_eq!(merged(&live("SegmentationPolicy"), &file)["spec"], json!({"mode": "Audit"}));
        assert_eq!(merged(&live("SecretGrant"), &file)["spec"], live("")["spec"], "an approval is somebody else's");
        let noted = json!({"spec": {"mode": "Audit", "reportOnly": ["Rbac"]}}).to_string();
        let mut applied = live("SegmentationPolicy");
        applied["metadata"] = json!({"annotations": {LAST_APPLIED: noted}});
        applied["spec"]["allow"] = json!([1]);
        assert_eq!(merged(&applied, &file)["spec"], json!({"mode": "Audit", "allow": [1]}), "what others wrote stays");
    }
}
