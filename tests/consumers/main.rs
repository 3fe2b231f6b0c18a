//! Who may reference a projected Secret: the SegmentGuard that the operator writes, and the rules Consumers and Replication that
//! the API server keeps by it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod answers;
mod full;
mod guard;
mod references;
mod replication;
#[path = "../support/mod.rs"]
mod support;

use serde_json::{Value, json};
use support::cluster::Cluster;
use support::operator::{Operator, install};
use support::stub_manager::{Says, StubManager};
use support::tenants::*;
use support::wait::eventually;

const VALUE: &str = "canary-orders-kX9mQ2vL8nR5wT3z1pQ";

/// A cluster with an operator, the tenants, and `orders` projected in payments-prod, for the ServiceAccount `orders`; `thief`
/// and `orders` are ServiceAccounts there.
struct Scene {
    operator: Operator,
    cluster: Cluster,
    stub: StubManager,
}

fn scene() -> Scene {
    let (cluster, stub) = (Cluster::start(), StubManager::start());
    install(&cluster);
    let operator = Operator::start(&cluster);
    set_up(&cluster, &stub.endpoint);
    for account in ["orders", "thief"] {
        ok(&cluster, &["create", "serviceaccount", account, "-n", "payments-prod"]);
    }
    let scene = Scene { cluster, stub, operator };
    scene.project("orders");
    eventually("the rule is in force", SOON, || {
        let told = scene.cluster.submit(&DRY, &pod("probe", "thief", env("orders")).to_string());
        if refusal(&told).is_some() { Ok(()) } else { Err(format!("{told:?}")) }
    });
    scene
}

impl Scene {
    fn claim(&self, name: &str) {
        self.stub.put(&format!("payments/prod/{name}"), Says::Text(VALUE.into()));
        apply(&self.cluster, &claim(name));
    }

    fn project(&self, name: &str) {
        self.claim(name);
        eventually("it is projected", SOON, || ready(&self.cluster, "scopedsecret", Some("payments-prod"), name));
    }

    fn guard(&self) -> Option<Value> {
        self.cluster.get_json("segmentguard", "payments-prod", "scoped-secrets")
    }

    /// Waits until the guard of payments-prod has these labels and targets.
    fn guard_becomes(&self, labels: &Value, targets: &Value) -> Value {
        eventually(&format!("guard with {labels} {targets}"), SOON, || {
            let guard = self.guard().ok_or("none")?;
            let right = guard["metadata"]["labels"] == *labels && guard["spec"]["targets"] == *targets;
            if right { Ok(guard) } else { Err(guard.to_string()) }
        })
    }
}

const DRY: [&str; 4] = ["create", "--dry-run=server", "-f", "-"];

fn claim(name: &str) -> String {
    let spec = format!("data: [{{secretKey: value, remoteRef: {{key: payments/prod/{name}}}}}]");
    scoped_secret("payments-prod", name, &spec)
}

fn ok(cluster: &Cluster, arguments: &[&str]) -> String {
    let out = cluster.kubectl(arguments);
    assert!(out.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// What a rule that follows the mode said, if it refused.
fn refusal(told: &Result<String, String>) -> Option<&str> {
    let text = told.as_ref().err()?;
    ["rule Consumers, ForeignConsumer: ", "rule Replication, Replicated"]
        .iter()
        .any(|rule| text.contains(rule))
        .then_some(text.as_str())
}

/// Who asks as what: every row, and those that came out otherwise.
fn hold(cluster: &Cluster, rows: &[(&str, &[&str], String, bool)]) {
    let wrong: Vec<String> = rows
        .iter()
        .filter_map(|(what, arguments, stdin, refused)| {
            let told = cluster.submit(arguments, stdin);
            let right = if *refused { refusal(&told).is_some() } else { told.is_ok() };
            (!right).then(|| {
                format!("{what}: expected {}, was told {told:?}", if *refused { "a refusal" } else { "to pass" })
            })
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// A pod under an account, with more in its spec.
fn pod(name: &str, account: &str, more: Value) -> Value {
    object("v1", "Pod", name, pod_spec(account, more))
}

fn object(api_version: &str, kind: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name, "namespace": "payments-prod"}, "spec": spec})
}

/// An empty account is none.
fn pod_spec(account: &str, more: Value) -> Value {
    let mut spec = json!({"containers": [{"name": "web", "image": "web"}]});
    if !account.is_empty() {
        spec["serviceAccountName"] = account.into();
    }
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    spec
}

fn env(secret: &str) -> Value {
    json!({"containers": [{"name": "web", "image": "web", "env": [{"name": "A", "value": "b"}, {"name": "V", "valueFrom": {"secretKeyRef": {"name": secret, "key": "value"}}}]}]})
}
