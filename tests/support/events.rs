//! The events that a namespace's users see, counted: one that repeats is one object with a count.

use std::collections::BTreeMap;

use serde_json::Value;

use super::cluster::Cluster;
use super::tenants::SOON;
use super::wait::eventually;

/// How often each reason was told about a ScopedSecret.
pub fn told(cluster: &Cluster, namespace: &str, name: &str) -> BTreeMap<String, u64> {
    told_of(cluster, namespace, "ScopedSecret", name)
}

/// How often each reason was told about an object.
pub fn told_of(cluster: &Cluster, namespace: &str, kind: &str, name: &str) -> BTreeMap<String, u64> {
    let out = cluster.kubectl(&["get", "events.events.k8s.io", "-n", namespace, "-o", "json"]);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let list: Value = serde_json::from_slice(&out.stdout).expect("kubectl prints JSON");
    let mut counts = BTreeMap::new();
    for event in list["items"].as_array().into_iter().flatten() {
        if event["regarding"]["kind"] == kind && event["regarding"]["name"] == name {
            let reason = event["reason"].as_str().unwrap_or_default().to_owned();
            *counts.entry(reason).or_default() += event["series"]["count"].as_u64().unwrap_or(1);
        }
    }
    counts
}

/// Waits until exactly these have been told.
pub fn become_exactly(cluster: &Cluster, namespace: &str, name: &str, expected: &[(&str, u64)]) {
    let expected: BTreeMap<String, u64> = expected.iter().map(|(reason, n)| ((*reason).to_owned(), *n)).collect();
    eventually(&format!("events {expected:?} of {namespace}/{name}"), SOON, || {
        let told = told(cluster, namespace, name);
        if told == expected { Ok(()) } else { Err(format!("{told:?}")) }
    });
}
