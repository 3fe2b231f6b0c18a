//! The plugin against a live cluster, as a user runs it: the built program, with the reader's own permissions.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod broken;
mod changes;
mod few_rights;
mod healthy;
#[path = "../support/mod.rs"]
mod support;
mod uninstalled;

use serde_json::{Value, json};
use std::io::Write;
use std::process::{Command, Stdio};
use support::canary;
use support::cluster::Cluster;
use support::operator::{Operator, install};
use support::stub_manager::{Says, StubManager};
use support::tenants::*;
use support::wait::eventually;

const VALUE: &str = "canary-orders-kX9mQ2vL8nR5wT3z1pQ";

/// A cluster with an operator and the tenants; `orders` is projected in payments-prod, for the ServiceAccount of that name,
/// whose pod `web` uses it.
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
        kubectl(&cluster, &["create", "serviceaccount", account, "-n", "payments-prod"]);
    }
    stub.put("payments/prod/db", Says::Text(VALUE.into()));
    apply(&cluster, &scoped_secret("payments-prod", "orders", &whole("payments/prod/db")));
    eventually("it is projected", SOON, || ready(&cluster, "scopedsecret", Some("payments-prod"), "orders"));
    apply(&cluster, &pod("payments-prod", "web", "orders", "orders").to_string());
    Scene { cluster, stub, operator }
}

fn whole(key: &str) -> String {
    format!("data: [{{secretKey: value, remoteRef: {{key: {key}}}}}]")
}

fn pod(namespace: &str, name: &str, account: &str, secret: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace},
        "spec": {"serviceAccountName": account, "containers": [{
            "name": "web", "image": "web",
            "env": [{"name": "V", "valueFrom": {"secretKeyRef": {"name": secret, "key": "value"}}}],
        }]},
    })
}

fn secret(namespace: &str, name: &str, value: &str) -> String {
    let object = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace},
        "stringData": {"value": value},
    });
    object.to_string()
}

fn kubectl(cluster: &Cluster, arguments: &[&str]) -> String {
    let out = cluster.kubectl(arguments);
    assert!(out.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// What the plugin said.
#[derive(Debug)]
struct Run {
    code: Option<i32>,
    out: String,
    err: String,
}

/// Runs the plugin; no value is in what it says, in whatever encoding.
fn plugin(cluster: &Cluster, arguments: &[&str]) -> Run {
    plugin_with(cluster, arguments, "")
}

fn plugin_with(cluster: &Cluster, arguments: &[&str], stdin: &str) -> Run {
    let mut child = Command::new(env!("CARGO_BIN_EXE_kubectl-scoped_secrets"))
        .args(arguments)
        .arg("--kubeconfig")
        .arg(&cluster.kubeconfig)
        .env_remove("KUBECONFIG")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the plugin was built");
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let run = Run { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) };
    for (encoding, needle) in canary::encodings(canary::CANARY) {
        assert!(
            !run.out.contains(&needle) && !run.err.contains(&needle),
            "{arguments:?}: a value, {encoding}: {run:?}"
        );
    }
    assert!(!run.out.contains('\x1b'), "no colour without a terminal");
    run
}

impl Run {
    /// Ended with this code, and said all of this.
    #[track_caller]
    fn says(self, code: i32, parts: &[&str]) -> Self {
        assert_eq!(self.code, Some(code), "{}{}", self.out, self.err);
        for part in parts {
            assert!(
                self.out.contains(part) || self.err.contains(part),
                "{part:?} is missing in: {}{}",
                self.out,
                self.err
            );
        }
        self
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}{}", self.out, self.err))
    }

    /// Whether a finding has this reason and is about this object.
    #[track_caller]
    fn finds(&self, reason: &str, kind: &str, name: &str) {
        let report = self.json();
        let found = report["findings"].as_array().unwrap().iter().any(|finding| {
            finding["reason"] == reason && finding["object"]["kind"] == kind && finding["object"]["name"] == name
        });
        assert!(found, "no {reason} of {kind} {name} in {report:#}");
    }
}

/// What every SARIF log must have (its section 3), and what code scanning asks for.
#[track_caller]
fn is_sarif(run: &Run) {
    let log = run.json();
    assert_eq!(log["version"], "2.1.0");
    assert!(log["$schema"].as_str().unwrap().contains("sarif"));
    let (driver, results) = (&log["runs"][0]["tool"]["driver"], log["runs"][0]["results"].as_array().unwrap());
    let rules: Vec<&Value> = driver["rules"].as_array().unwrap().iter().map(|rule| &rule["id"]).collect();
    assert!(driver["name"] == "scoped-secrets" && driver["version"].is_string());
    for result in results {
        let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
        assert_eq!(rules[index], &result["ruleId"]);
        assert!(result["message"]["text"].is_string() && result["level"].is_string(), "{result}");
        assert!(result["locations"][0]["logicalLocations"][0]["fullyQualifiedName"].is_string(), "{result}");
    }
}
