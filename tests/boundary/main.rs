//! What the API server refuses on its own: the rules Boundary, ManagedSecrets and Operator, each with the ways around it. Each
//! row says who tries what with kubectl, and what comes of it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod account;
mod managed_secrets;
mod segments;
#[path = "../support/mod.rs"]
mod support;

use serde_json::{Value, json};
use support::cluster::Cluster;

/// The cluster's own admin, whom RBAC refuses nothing.
const ADMIN: &str = "";
const PASSES: &str = "";

/// Who, a kubectl command line, its stdin, and the reason of the refusal.
type Row<'a> = (&'a str, &'a str, &'a str, &'a str);

/// Runs every row in order and names those that came out otherwise.
fn hold(cluster: &Cluster, rule: &str, rows: &[Row]) {
    let wrong: Vec<String> = rows.iter().filter_map(|row| differs(cluster, rule, row)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

fn differs(cluster: &Cluster, rule: &str, (who, line, stdin, reason): &Row) -> Option<String> {
    let mut arguments: Vec<&str> = line.split_whitespace().collect();
    if *who != ADMIN {
        arguments.extend(["--as", who]);
    }
    let told = cluster.submit(&arguments, stdin);
    let right = match &told {
        Ok(_) => *reason == PASSES,
        Err(text) => {
            *reason != PASSES && text.contains(&format!("rule {rule}, {reason}: ")) && !text.contains("canary")
        }
    };
    let expected = if *reason == PASSES { "to pass" } else { reason };
    (!right).then(|| format!("{who} {line}\n{stdin}\n  expected {expected}, and it said {told:?}"))
}

fn ok(cluster: &Cluster, arguments: &[&str]) -> String {
    let out = cluster.kubectl(arguments);
    assert!(out.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// A Secret as the operator writes it, and as somebody forges it.
fn marked(name: &str, metadata: Value) -> String {
    let mut secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": "payments-prod", "name": name}, "stringData": {"value": "canary-forged"}});
    secret["metadata"].as_object_mut().unwrap().extend(metadata.as_object().unwrap().clone());
    secret.to_string()
}

fn label() -> Value {
    json!({"labels": {"app.kubernetes.io/managed-by": "scoped-secrets"}})
}
