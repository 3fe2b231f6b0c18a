//! Whether what is live differs from what is in Git, as Argo CD and Flux ask it.

use super::super::judge::ask;
use super::super::support::cluster::Cluster;
use super::super::support::tenants::SOON;
use super::super::support::wait::eventually;
use super::super::written::objects;
use super::ARGO_CD;
use serde_json::{Value, json};

/// As Flux applies.
const FLUX: &str = "kustomize-controller";

fn stream(git: &[Value]) -> String {
    // kubectl takes a first line that starts with a brace for JSON.
    json!({"apiVersion": "v1", "kind": "List", "items": git}).to_string()
}

fn server_side(cluster: &Cluster, manager: &str, git: &[Value], more: &[&str]) -> Vec<Value> {
    let arguments = ["apply", "--server-side", "--field-manager", manager, "-o", "json", "-f", "-"];
    let out = cluster.submit(&[&arguments, more].concat(), &stream(git)).unwrap_or_else(|refusal| panic!("{refusal}"));
    let out: Value = serde_json::from_str(&out).unwrap();
    let all = if out["kind"] == "List" { out["items"].as_array().unwrap().clone() } else { vec![out] };
    assert_eq!(all.len(), git.len());
    all
}

/// Applies as Argo CD does.
pub fn apply(cluster: &Cluster, git: &[Value]) {
    server_side(cluster, ARGO_CD, git, &[]);
}

fn live(cluster: &Cluster, git: &[Value]) -> Vec<Value> {
    let each = |object: &Value| {
        let (kind, metadata) = (object["kind"].as_str().unwrap(), &object["metadata"]);
        let name = metadata["name"].as_str().unwrap();
        cluster
            .get_json(&kind.to_lowercase(), metadata["namespace"].as_str(), name)
            .unwrap_or_else(|| panic!("no {kind} {name}"))
    };
    git.iter().map(each).collect()
}

/// Without what no tool compares: who wrote which field, the revision, and status, which is not in Git.
fn compared(object: &Value) -> Value {
    let mut object = object.clone();
    object.as_object_mut().unwrap().remove("status");
    for field in ["managedFields", "resourceVersion"] {
        object["metadata"].as_object_mut().unwrap().remove(field);
    }
    object
}

/// No tool sees a difference, and none writes anything when it applies again. All of it is of our kinds.
pub fn is_none(cluster: &Cluster, git: &[Value]) {
    is_none_by_the_server(cluster, git);
    three_way(git, &live(cluster, git));
}

/// Likewise of any kinds: as the API server tells the tools that ask it.
pub fn is_none_by_the_server(cluster: &Cluster, git: &[Value]) {
    let revisions = |all: &[Value]| -> Vec<Value> {
        all.iter().map(|object| object["metadata"]["resourceVersion"].clone()).collect()
    };
    // Applied twice. Status is the operator's, and may change at any moment; then it is looked at again.
    eventually("applying again writes nothing", SOON, || {
        let (before, after) = (live(cluster, git), server_side(cluster, ARGO_CD, git, &[]));
        if revisions(&before) == revisions(&after) { Ok(()) } else { Err(format!("{before:#?}\nthen {after:#?}")) }
    });
    let live = live(cluster, git);
    let dry = ["--dry-run=server"];
    // Argo CD with ServerSideDiff=true; Flux, which takes fields from others.
    let predicted = [
        server_side(cluster, ARGO_CD, git, &dry),
        server_side(cluster, FLUX, git, &["--dry-run=server", "--force-conflicts"]),
    ];
    for (tool, predicted) in ["Argo CD", "Flux"].iter().zip(&predicted) {
        for (live, predicted) in live.iter().zip(predicted) {
            assert_eq!(compared(predicted), compared(live), "{tool} would change the live object (right)");
        }
    }
}

/// Argo CD's default: the three-way merge patch has nothing.
fn three_way(git: &[Value], live: &[Value]) {
    let pairs: Vec<Value> = git.iter().zip(live).map(|(git, live)| json!({"git": git, "live": live})).collect();
    let patches = ask(&["drift"], &Value::from(pairs)).unwrap();
    for (patch, live) in patches.as_array().unwrap().iter().zip(live) {
        assert_eq!(patch, &json!({}), "Argo CD's merge patch for\n{live:#}");
    }
    // What is changed by hand is seen.
    let at = git.iter().position(|object| object["spec"].is_object()).expect("an object with a spec");
    let (mut edited, git) = (live[at].clone(), &git[at]);
    let first = git["spec"].as_object().unwrap().keys().next().unwrap();
    edited["spec"].as_object_mut().unwrap().remove(first);
    let patch = ask(&["drift"], &json!([{"git": git, "live": edited}])).unwrap();
    assert_ne!(patch[0], json!({}), "without spec.{first}");
}

/// Who applies on the client's side leaves an annotation, by which Argo CD then compares.
pub fn is_none_after_kubectl_apply(cluster: &Cluster, yaml: &str) {
    cluster.apply(yaml).unwrap();
    let git = objects(yaml);
    let live = live(cluster, &git);
    assert!(live[0]["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"].is_string());
    three_way(&git, &live);
    let unchanged = cluster.apply(yaml).unwrap();
    assert!(unchanged.contains("unchanged"), "{unchanged}");
}
