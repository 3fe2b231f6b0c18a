//! The SegmentationReport: what was found and could not be put right, since when, and how to mend it; written only when it
//! changes.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod guards;
mod moved;
mod scan;
#[path = "../support/mod.rs"]
mod support;
mod unreadable;
mod withdrawals;

use serde_json::Value;
use support::cluster::Cluster;
use support::operator::{Operator, USER, install};
use support::stub_manager::{Says, StubManager};
use support::tenants::*;
use support::wait::eventually;

/// Looks often, so that a story need not wait a minute.
const OFTEN: [&str; 4] = ["--guard-interval", "1s", "--scan-interval", "10s"];

struct Scene {
    operator: Operator,
    cluster: Cluster,
    stub: StubManager,
}

fn scene() -> Scene {
    scene_with(&OFTEN)
}

fn scene_with(flags: &[&str]) -> Scene {
    let (cluster, stub) = (Cluster::start(), StubManager::start());
    install(&cluster);
    let operator = Operator::start_with(&cluster, flags);
    set_up(&cluster, &stub.endpoint);
    Scene { cluster, stub, operator }
}

impl Scene {
    fn restarted(self) -> Self {
        self.operator.terminate();
        let operator = Operator::start_with(&self.cluster, &OFTEN);
        eventually("it leads", SOON, || operator.leads());
        Self { operator, ..self }
    }

    fn project(&self, name: &str) {
        self.stub.put(&format!("payments/prod/{name}"), Says::Text(format!("canary-{name}-kX9mQ2vL8nR5wT3z1pQ")));
        apply(&self.cluster, &claim(name));
        eventually("it is projected", SOON, || ready(&self.cluster, "scopedsecret", Some("payments-prod"), name));
    }

    fn report(&self, segment: &str) -> Option<Value> {
        let all = ok(&self.cluster, &["get", "segmentationreports", "-o", "json"]);
        let all: Value = serde_json::from_str(&all).expect("kubectl prints JSON");
        all["items"].as_array()?.iter().find(|r| r["spec"]["segment"] == segment).cloned()
    }

    /// Waits until the report of payments/prod is as a predicate wants it.
    fn says(&self, what: &str, right: impl Fn(&Value) -> bool) -> Value {
        eventually(what, SOON, || {
            let report = self.report("payments/prod").ok_or("none")?;
            if right(&report["status"]) { Ok(report) } else { Err(report["status"].to_string()) }
        })
    }

    /// The operator's writes of reports since a moment.
    fn written(&self, mark: support::cluster_audit::AuditMark) -> Vec<String> {
        let writes = self.cluster.audit_since(mark).user(USER).resource("segmentationreports").writes();
        writes.iter().map(|r| format!("{} {} {}/{}", r.verb, r.code, r.name, r.subresource)).collect()
    }
}

fn claim(name: &str) -> String {
    let spec = format!("data: [{{secretKey: value, remoteRef: {{key: payments/prod/{name}}}}}]");
    scoped_secret("payments-prod", name, &spec)
}

fn ok(cluster: &Cluster, arguments: &[&str]) -> String {
    let out = cluster.kubectl(arguments);
    assert!(out.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// The violations of one reason, as `Kind name`.
fn violating(status: &Value, reason: &str) -> Vec<String> {
    let all = status["violations"].as_array().into_iter().flatten().filter(|v| v["reason"] == reason);
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    all.map(|v| format!("{} {}", text(&v["object"]["kind"]), text(&v["object"]["name"]))).collect()
}

fn reason(status: &Value, kind: &str) -> String {
    let all = status["conditions"].as_array().into_iter().flatten();
    all.filter(|c| c["type"] == kind).map(|c| c["reason"].as_str().unwrap_or_default().to_owned()).collect()
}
