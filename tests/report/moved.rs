//! What a namespace brings along into another segment is found, though it was looked through where it was; and what stood while
//! nothing was compared.

use crate::support::oracle::all_is_well;
use crate::support::tenants::*;
use crate::support::wait::eventually;
use crate::{ok, scene_with, violating};

/// Only the first scan comes by itself.
const SELDOM: [&str; 4] = ["--guard-interval", "1s", "--scan-interval", "24h"];

const BROUGHT: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: mover, labels: {tenant: payments, environment: prod}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: brought, namespace: mover}
data: {settings: "url=postgres://orders:canary-orders-kX9mQ2vL8nR5wT3z1pQ@db/orders"}
"#;

#[test]
fn a_namespace_that_moves_is_looked_through_where_it_comes_to() {
    let scene = scene_with(&SELDOM);
    let cluster = &scene.cluster;
    scene.project("orders");
    apply(cluster, BROUGHT);
    let its = |name: &str| name == "mover";
    let was_scanned = |status: &serde_json::Value| {
        let there = status["namespaces"].as_array().is_some_and(|all| all.iter().any(|n| n.as_str().is_some_and(its)));
        there && status["lastScanTime"].is_string() && status["total"] == 0
    };
    eventually("it is looked through in its segment, and brings nothing", SOON * 3, || {
        let report = scene.report("payments/prod").ok_or("none")?;
        if was_scanned(&report["status"]) { Ok(()) } else { Err(report["status"].to_string()) }
    });
    ok(cluster, &["label", "namespace", "mover", "--overwrite", "tenant=billing"]);
    eventually("what it brings is found", SOON * 3, || {
        let report = scene.report("payments/prod").ok_or("none")?;
        let found = violating(&report["status"], "ValueCopied");
        if found == ["ConfigMap brought"] { Ok(()) } else { Err(report["status"].to_string()) }
    });
    let theirs = scene.report("billing/prod").unwrap();
    assert!(theirs["status"]["lastScanTime"].is_string(), "{theirs}");
    all_is_well(cluster, &scene.operator);
}
