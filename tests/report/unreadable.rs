//! What Kubernetes keeps and nothing here can decode: times of the last day of the year 9999, and far too many levels. Whoever may
//! write an object of his own may write that into it, and holds up nobody by it.

use super::{Scene, ok, scene, violating};
use crate::support::oracle::all_is_well;
use crate::support::tenants::*;
use crate::support::wait::eventually;
use serde_json::{Value, json};
use std::process::Command;

/// Objects with so many levels of managedFields.
const LEVELS: [usize; 2] = [130, 1_000];

/// As somebody writes them, and as Kubernetes gives them back.
const LATE: [(&str, &str); 3] = [
    ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z"),
    ("9999-12-31T23:59:59-01:00", "10000-01-01T00:59:59Z"),
    ("0000-01-01T00:00:00.0+01:00", "-0001-12-31T23:00:00Z"),
];

#[test]
fn what_cannot_be_decoded_holds_up_nothing() {
    let scene = scene();
    let cluster = &scene.cluster;
    scene.project("timely");
    ok(cluster, &["create", "configmap", "timely", "-n", "payments-prod", "--from-literal=a=b"]);
    ok(cluster, &["create", "serviceaccount", "timely", "-n", "payments-prod"]);
    let entry = |time: &str, fields: Value| json!({"manager": "m", "operation": "Update", "apiVersion": "v1", "time": time, "fieldsType": "FieldsV1", "fieldsV1": {"f:data": fields}});
    let now = "2026-01-01T00:00:00Z";
    let hostile = LEVELS.map(|levels| (format!("levels-{levels}"), entry(now, nested(levels)), "f:a\""));
    let late = LATE.map(|(time, shown)| (format!("late-{}", time.len()), entry(time, json!({})), shown));
    // Of custom resources Kubernetes keeps none of that.
    for kind in ["secret", "configmap", "serviceaccount"] {
        for (label, entry, shows) in hostile.iter().chain(&late) {
            let mut object = cluster.get_json(kind, "payments-prod", "timely").unwrap();
            object["metadata"]["managedFields"] = json!([entry]);
            object["metadata"]["labels"]["example.com/touched"] = label.as_str().into();
            cluster.submit(&["replace", "-f", "-"], &object.to_string()).unwrap();
            let words = ["get", kind, "timely", "-n", "payments-prod", "-o", "json", "--show-managed-fields"];
            let shown = cluster.submit(&words, "").unwrap();
            assert!(shown.contains(*shows), "{kind} {label}: it takes another: {}", shown.len());
        }
    }
    for (at, (time, _)) in LATE.iter().enumerate() {
        let template = json!({
            "metadata": {"labels": {"app": "late"}, "creationTimestamp": time, "managedFields": [entry(time, nested(LEVELS[0]))]},
            "spec": {"containers": [{"name": "late", "image": "late"}]},
        });
        let spec = json!({"replicas": 0, "selector": {"matchLabels": {"app": "late"}}, "template": template});
        for kind in ["Deployment", "StatefulSet", "ReplicaSet"] {
            let metadata = json!({"name": format!("late-{at}"), "namespace": "plain"});
            let object = json!({"apiVersion": "apps/v1", "kind": kind, "metadata": metadata, "spec": spec});
            cluster.submit(&["create", "--validate=false", "-f", "-"], &object.to_string()).unwrap();
        }
    }
    // A kubelet, and whoever may write a pod's status, says when its containers were started.
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "late", "namespace": "plain"}, "spec": {"containers": [{"name": "late", "image": "late"}]}});
    cluster.submit(&["create", "-f", "-"], &pod.to_string()).unwrap();
    let started = json!({"name": "late", "image": "late", "imageID": "", "ready": true, "restartCount": 0, "state": {"running": {"startedAt": LATE[1].0}}});
    let status = json!({"status": {"containerStatuses": [started]}}).to_string();
    ok(cluster, &["patch", "pod", "late", "-n", "plain", "--subresource=status", "--type=merge", "-p", &status]);
    // A role that crosses the boundary is refused, whatever else is in it.
    let mut binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "deep"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "system:authenticated"}],
    });
    for (label, entry, _) in hostile.iter().chain(&late) {
        let mut entry = entry.clone();
        entry["apiVersion"] = "rbac.authorization.k8s.io/v1".into();
        binding["metadata"]["managedFields"] = json!([entry]);
        let told = cluster.submit(&["create", "--validate=false", "-f", "-"], &binding.to_string()).unwrap_err();
        assert!(told.contains("ClusterWideAccess"), "{label}: {told}");
    }

    // The one that runs sees what comes, one that lists all of it anew as well, and the scan comes to its end.
    sees(&scene, "first");
    let scene = scene.restarted();
    sees(&scene, "second");
    let log = scene.operator.logged();
    assert!(!log.contains("interrupted") && !log.contains("ended early"), "{log}");
    let audit = Command::new(env!("CARGO_BIN_EXE_kubectl-scoped_secrets"))
        .args(["audit", "--kubeconfig"])
        .arg(&scene.cluster.kubeconfig)
        .output()
        .unwrap();
    let said = [&audit.stdout[..], &audit.stderr[..]].map(String::from_utf8_lossy).concat();
    assert!(audit.status.code() == Some(1) && said.contains("second-copy"), "{said}");
    for name in ["first-copy", "second-copy"] {
        ok(&scene.cluster, &["delete", "configmap", name, "-n", "plain"]);
    }
    all_is_well(&scene.cluster, &scene.operator);
}

/// Members of members, so many deep.
fn nested(levels: usize) -> Value {
    (0..levels).fold(json!({}), |inner, _| json!({ "f:a": inner }))
}

/// A new claim is served, and a copy of its value found where only the scan looks.
fn sees(scene: &Scene, name: &str) {
    scene.project(name);
    let value = format!("canary-{name}-kX9mQ2vL8nR5wT3z1pQ");
    let copy = format!("{name}-copy");
    ok(&scene.cluster, &["create", "configmap", &copy, "-n", "plain", &format!("--from-literal=a={value}")]);
    eventually("the copy is found", SOON * 4, || {
        let report = scene.report("payments/prod").ok_or("none")?;
        let found = report["status"]["violations"].to_string().contains(&copy);
        if found { Ok(()) } else { Err(report["status"].to_string()) }
    });
    assert!(!violating(&scene.report("payments/prod").unwrap()["status"], "ValueCopied").is_empty());
}
