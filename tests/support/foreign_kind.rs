//! Kinds of others, as far as a story needs them.

use super::cluster::Cluster;
use super::tenants::SOON;
use super::wait::eventually;
use serde_json::json;

/// Installs a kind that takes whatever is written, and waits until it is served.
pub fn install(cluster: &Cluster, group: &str, version: &str, (kind, plural): (&str, &str), scope: &str) {
    let any = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let crd = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        // Those of Kubernetes' own groups must say who approved them.
        "metadata": {"name": format!("{plural}.{group}"), "annotations": {"api-approved.kubernetes.io": "unapproved"}},
        "spec": {
            "group": group, "scope": scope, "names": {"kind": kind, "plural": plural},
            "versions": [{"name": version, "served": true, "storage": true, "schema": {"openAPIV3Schema": any}}],
        },
    });
    cluster.apply(&crd.to_string()).unwrap();
    eventually("it is served", SOON, || cluster.submit(&["get", &format!("{plural}.{group}"), "-A"], "").map(drop));
}
