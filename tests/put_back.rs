//! etcd is put back to what it was some time ago, while the secrets manager goes on: what Secrets had then is not what their keys have.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod support;

use serde_json::json;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use support::cluster::Cluster;
use support::operator::{Operator, install};
use support::oracle::guarantees_hold;
use support::stub_manager::{Says, StubManager};
use support::tenants::*;
use support::wait::eventually;

const NAMESPACE: &str = "payments-prod";
/// An API server that has just begun refuses writes for half a minute or a whole one, since it does not know the rules' parameters yet,
/// and what was refused is tried again less and less often.
const LATE: Duration = Duration::from_secs(240);

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-R").arg(from).arg(to).status().expect("cp runs");
    assert!(copied.success(), "{} was not copied", from.display());
}

/// With etcd and the API server stopped. The operator goes on.
fn while_stopped(cluster: &Cluster, change: impl FnOnce(&Path)) {
    cluster.stop_apiserver();
    cluster.stop_etcd();
    change(&cluster.dir.join("etcd"));
    cluster.start_etcd();
    cluster.start_apiserver();
}

#[test]
fn what_etcd_had_before_is_asked_for_anew() {
    let (cluster, stub) = (Cluster::start(), StubManager::start());
    install(&cluster);
    let operator = Operator::start(&cluster);
    set_up(&cluster, &stub.endpoint);
    apply(&cluster, &format!("{POLICY}    actions: [Read, Generate]\n"));
    let key = |name: &str| format!("payments/prod/{name}");
    // An API server that has just begun does not know every kind yet.
    let annotate = |name: &str, annotation: &str| {
        let asked = ["annotate", "scopedsecret", name, "-n", NAMESPACE, "--overwrite", annotation];
        eventually("it is annotated", SOON, || cluster.submit(&asked, ""));
    };
    let value = |name: &str| secret_value(&cluster, NAMESPACE, name, "password");
    let current = |name: &str| {
        let versions = stub.versions(&key(name));
        let current = versions.iter().find(|v| v.stages.iter().any(|stage| stage == "AWSCURRENT")).unwrap();
        let Says::Text(text) = &current.says else { panic!("{current:?}") };
        let document: serde_json::Value = serde_json::from_str(text).unwrap();
        (versions.len(), document["password"].as_str().map(str::to_owned))
    };
    let has_current = |name: &str| {
        // What is current may change meanwhile: a value is stored before it comes into use.
        eventually(&format!("{name} has what is current"), LATE, || match (value(name), current(name).1) {
            (has, wanted) if has == wanted => Ok(()),
            other => Err(format!("{other:?}")),
        });
    };
    // One that is refreshed, one that is rotated and else never refreshed, and one that nothing happens to.
    let names = ["refreshed", "rotated", "left"];
    for name in names {
        stub.put(&key(name), Says::Text(json!({"password": format!("canary-{name}-kX9mQ2vL8nR5wT3z")}).to_string()));
        let rotates = match name {
            "rotated" => "refreshInterval: 0s\nrotation: {strategy: Generate, generate: {property: password}}",
            _ => "refreshInterval: 24h",
        };
        let spec = format!(
            "data: [{{secretKey: password, remoteRef: {{key: {}, property: password}}}}]\n{rotates}",
            key(name)
        );
        apply(&cluster, &scoped_secret(NAMESPACE, name, &spec));
        eventually(&format!("{name} is ready"), SOON, || ready(&cluster, "scopedsecret", Some(NAMESPACE), name));
    }
    let backup = cluster.dir.join("etcd-backup");
    while_stopped(&cluster, |data| copy(data, &backup));

    let later = json!({"password": "canary-refreshed-later-kX9mQ2vL8nR5"}).to_string();
    stub.put(&key("refreshed"), Says::Text(later));
    annotate("refreshed", "scopedsecrets.io/refresh-at=1");
    annotate("rotated", "scopedsecrets.io/rotate-at=1");
    has_current("refreshed");
    eventually("it was rotated", SOON, || match current("rotated").0 {
        2 => Ok(()),
        other => Err(format!("{other} versions")),
    });
    has_current("rotated");
    let asked = stub.asked(&key("left"));

    while_stopped(&cluster, |data| {
        std::fs::remove_dir_all(data).unwrap();
        copy(&backup, data);
    });
    for name in names {
        has_current(name);
        eventually(&format!("{name} is ready"), SOON, || ready(&cluster, "scopedsecret", Some(NAMESPACE), name));
    }
    assert!(operator.logged().contains("etcd was put back"), "the lease shows it");
    assert_eq!(current("rotated").0, 2, "it was not rotated again");
    assert_eq!(stub.asked(&key("left")), asked, "what is as it was is not asked for");
    guarantees_hold(&cluster);
}
