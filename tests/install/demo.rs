//! The three commands of a newcomer, with helm 4, in a namespace and under an account of other names.

use super::helm::{CHART, Version, online};
use super::support::cluster::Cluster;
use super::support::operator::Operator;
use super::support::oracle::guarantees_hold_under;
use super::support::tenants::{SOON, ready};
use super::support::wait::eventually;
use serde_json::Value;
use std::path::Path;
use std::process::Command;

const NAMESPACE: &str = "elsewhere";
const QUICKSTART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/quickstart.yaml");

fn helm(cluster: &Cluster, arguments: &[&str]) -> String {
    let within = ["-n", NAMESPACE, "--wait", "--timeout", "100s"];
    online(Version::Four, cluster, &[arguments, &within].concat())
        .unwrap_or_else(|said| panic!("{arguments:?}: {said}"))
}

const INSTALL: [&str; 6] =
    ["install", "secrets", CHART, "--create-namespace", "--set", "demo.enabled=true,serviceAccount.name=keeper"];

/// Mounts the demo's volume as the kubelet does: annotations of the pod become files.
fn mount(cluster: &Cluster, folder: &Path) {
    let deployment = cluster.get_json("deployment", NAMESPACE, "scoped-secrets").unwrap();
    let template = &deployment["spec"]["template"];
    for item in template["spec"]["volumes"][0]["downwardAPI"]["items"].as_array().unwrap() {
        let field = item["fieldRef"]["fieldPath"].as_str().unwrap();
        let annotation = field.strip_prefix("metadata.annotations['").unwrap().strip_suffix("']").unwrap();
        let text = template["metadata"]["annotations"][annotation].as_str().unwrap();
        let file = folder.join(item["path"].as_str().unwrap());
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    }
}

/// The operator on this machine, and the store where its files are here.
fn operator(cluster: &Cluster, folder: &Path) -> Operator {
    let arguments = ["--namespace", NAMESPACE, "--service-account", "keeper"];
    let operator = Operator::start_as(cluster, NAMESPACE, "keeper", &arguments);
    store_is_here(cluster, folder);
    operator
}

fn store_is_here(cluster: &Cluster, folder: &Path) {
    let patch = serde_json::json!({"spec": {"file": {"path": folder}}}).to_string();
    let patched = cluster.kubectl(&["patch", "scopedsecretstore", "demo", "--type=merge", "-p", &patch]);
    assert!(patched.status.success(), "{}", String::from_utf8_lossy(&patched.stderr));
    for kind in ["scopedsecretstore", "segmentationpolicy"] {
        eventually(&format!("{kind} demo is ready"), SOON, || ready(cluster, kind, None, "demo"));
    }
}

fn no_demo(cluster: &Cluster) {
    for (kind, name) in [
        ("scopedsecretstore", "demo"),
        ("segmentationpolicy", "demo"),
        ("namespace", "demo-payments"),
        ("namespace", "demo-billing"),
    ] {
        is_gone(cluster, kind, name);
    }
}

fn is_gone(cluster: &Cluster, kind: &str, name: &str) {
    eventually(&format!("no {kind} {name}"), SOON * 2, || match cluster.get_json(kind, None, name) {
        None => Ok(()),
        Some(object) => Err(object.to_string()),
    });
}

fn gone(cluster: &Cluster) {
    no_demo(cluster);
    for (kind, name) in [
        ("validatingwebhookconfiguration", "scoped-secrets"),
        ("validatingadmissionpolicy", "operator.scopedsecrets.io"),
    ] {
        is_gone(cluster, kind, name);
    }
    assert!(cluster.get_json("crd", None, "scopedsecrets.scopedsecrets.io").is_some());
}

/// The release goes, and its roles with it, under an operator that runs.
fn is_removed(cluster: &Cluster, running: Operator) {
    let _excused = cluster.excuse_denials();
    helm(cluster, &["uninstall", "secrets"]);
    gone(cluster);
    running.terminate();
}

/// What docs/tutorial.md does next.
fn the_tutorial_goes_on(cluster: &Cluster) {
    let asked = Command::new(env!("CARGO_BIN_EXE_kubectl-scoped_secrets"))
        .args(["why", "--key", "payments/demo/orders-db", "-n", "demo-billing", "--kubeconfig"])
        .arg(&cluster.kubeconfig)
        .output()
        .unwrap();
    assert_eq!(asked.status.code(), Some(1), "{}", String::from_utf8_lossy(&asked.stderr));
    let file = |name: &str| format!("{}/examples/tutorial/{name}.yaml", env!("CARGO_MANIFEST_DIR"));
    let own = cluster.kubectl(&["apply", "-f", &file("own-key")]);
    assert!(own.status.success(), "{}", String::from_utf8_lossy(&own.stderr));
    eventually("what is billing's own is projected", SOON, || {
        ready(cluster, "scopedsecret", Some("demo-billing"), "invoices-api")
    });
    eventually("a stranger may not use it", SOON, || {
        let out = cluster.kubectl(&["apply", "-f", &file("stranger")]);
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        if !out.status.success() && said.contains("ForeignConsumer") { Ok(()) } else { Err(said) }
    });
    let out = cluster.kubectl(&["delete", "-f", &file("own-key")]);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
}

/// A namespace of one's own under the demo's policy: while it is there the demo is not switched off, nothing of it is made anew,
/// and it can be switched on again.
fn others_live_under_it(cluster: &Cluster, folder: &Path, switched: impl Fn(Version, bool) -> Result<String, String>) {
    const MINE: &str = "apiVersion: v1
kind: Namespace
metadata: {name: mine, labels: {tenant: mine, environment: demo}}
---
apiVersion: scopedsecrets.io/v1alpha1
kind: ScopedSecret
metadata: {name: api, namespace: mine}
spec: {storeRef: {name: demo}, consumers: [{serviceAccountName: api}], data: [{secretKey: token, remoteRef: {key: mine/demo/api}}]}
";
    std::fs::create_dir_all(folder.join("mine/demo")).unwrap();
    std::fs::write(folder.join("mine/demo/api"), "{\"token\": \"made-up-of-mine\"}").unwrap();
    eventually("one's own is projected", SOON, || {
        cluster.submit(&["apply", "-f", "-"], MINE)?;
        ready(cluster, "scopedsecret", Some("mine"), "api")
    });
    let uid = |kind: &str| cluster.get_json(kind, None, "demo").map(|object| object["metadata"]["uid"].clone());
    let before = ["scopedsecretstore", "segmentationpolicy"].map(uid);
    let said = switched(Version::Four, false).expect_err("it is refused");
    assert!(said.contains("ViolationsNotAccepted"), "{said}");
    for tenant in ["billing", "payments"] {
        is_gone(cluster, "namespace", &format!("demo-{tenant}"));
    }
    switched(Version::Three, true).unwrap_or_else(|said| panic!("on again: {said}"));
    assert_eq!(["scopedsecretstore", "segmentationpolicy"].map(uid), before);
    store_is_here(cluster, folder);
    let out = cluster.kubectl(&["delete", "namespace", "mine"]);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
}

#[test]
fn the_three_commands_of_a_newcomer() {
    let cluster = Cluster::start_with_pods();
    let folder = cluster.dir.canonicalize().unwrap().join("demo-values");
    let notes = helm(&cluster, &INSTALL);
    for command in ["kubectl apply -f examples/quickstart.yaml", "kubectl get scopedsecrets -A", "-n demo-payments"] {
        assert!(notes.contains(command), "{command:?} is not in {notes}");
    }
    // Store and policy were hooks; an upgrade makes them the release's own, and going back deletes neither, by either helm.
    let (upgrade, rollback) = (&["upgrade", "secrets", CHART, "--reuse-values"][..], &["rollback", "secrets", "1"][..]);
    for (version, arguments) in
        [(Version::Three, upgrade), (Version::Three, rollback), (Version::Four, upgrade), (Version::Four, rollback)]
    {
        online(version, &cluster, &[arguments, &["-n", NAMESPACE]].concat()).unwrap_or_else(|said| panic!("{said}"));
        for kind in ["scopedsecretstore", "segmentationpolicy"] {
            assert!(cluster.get_json(kind, None, "demo").is_some(), "{arguments:?}: no {kind}");
        }
    }
    mount(&cluster, &folder);
    let running = operator(&cluster, &folder);
    let refusal = eventually("one of the two is refused", SOON, || {
        let output = cluster.kubectl(&["apply", "-f", QUICKSTART]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if !output.status.success() && said.contains("KeyNotAllowed") { Ok(said) } else { Err(said) }
    });
    for part in ["demo-billing/reporting", "tenant=billing", "the label tenant decides"] {
        assert!(refusal.contains(part), "{refusal}");
    }
    let claim = eventually("the other one is projected", SOON, || {
        ready(&cluster, "scopedsecret", Some("demo-payments"), "orders-db")
    });
    assert_eq!(claim["status"]["segment"], "payments/demo");
    assert_eq!(cluster.get_json("scopedsecret", "demo-billing", "reporting"), None);
    let data: Value = cluster.get_json("secret", "demo-payments", "orders-db").unwrap()["data"].clone();
    assert!(data["username"].is_string() && data["password"].is_string());
    guarantees_hold_under(&cluster, NAMESPACE);
    the_tutorial_goes_on(&cluster);

    // Hooks outlive a release unless it takes them away itself.
    is_removed(&cluster, running);

    // The kinds stayed, so that the second time store and policy are the release's like all else. It is removed while claims live.
    // Helm would now wait for both to be ready, by kstatus: for an operator that reads the pods' volume.
    online(Version::Four, &cluster, &[INSTALL.as_slice(), &["-n", NAMESPACE]].concat()).unwrap();
    let running = operator(&cluster, &folder);
    drop(cluster.kubectl(&["apply", "-f", QUICKSTART]));
    eventually("it is there again", SOON, || {
        cluster.get_json("scopedsecret", "demo-payments", "orders-db").ok_or("not there")
    });
    let switched = |version, on: bool| {
        let enabled = format!("demo.enabled={on}");
        online(version, &cluster, &["upgrade", "secrets", CHART, "--reuse-values", "--set", &enabled, "-n", NAMESPACE])
    };
    // An operator that has not seen yet that the claims' namespace goes refuses to be rid of the policy: then it is run again.
    let switch = |version: Version, on: bool| {
        drop(eventually(&format!("demo.enabled={on}"), SOON, || match switched(version, on) {
            Err(said) if !said.contains("ViolationsNotAccepted") => panic!("{on}: {said}"),
            other => other,
        }));
    };
    others_live_under_it(&cluster, &folder, switched);
    eventually("it is projected once more", SOON, || {
        drop(cluster.kubectl(&["apply", "-f", QUICKSTART]));
        ready(&cluster, "scopedsecret", Some("demo-payments"), "orders-db")
    });
    // Switched off, it goes as a whole: by either helm, though a claim lives until its namespace is gone.
    switch(Version::Four, false);
    no_demo(&cluster);
    switch(Version::Three, true);
    store_is_here(&cluster, &folder);
    eventually("it is projected again", SOON, || {
        drop(cluster.kubectl(&["apply", "-f", QUICKSTART]));
        ready(&cluster, "scopedsecret", Some("demo-payments"), "orders-db")
    });
    switch(Version::Three, false);
    no_demo(&cluster);
    // What is not the release's own stays.
    let policy = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/platform/policy.yaml");
    let own = std::fs::read_to_string(policy).unwrap().replace("name: tenants", "name: demo");
    cluster.submit(&["create", "-f", "-"], &own).unwrap_or_else(|said| panic!("{said}"));
    switch(Version::Four, false);
    assert!(cluster.get_json("segmentationpolicy", None, "demo").is_some());
    cluster.submit(&["delete", "segmentationpolicy/demo"], "").unwrap_or_else(|said| panic!("{said}"));
    is_removed(&cluster, running);
}
