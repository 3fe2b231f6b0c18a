//! Withdrawals that wait are on the report of their segment, and its annotation releases them, and no others.

use crate::support::operator::lift;
use crate::support::oracle::all_is_well;
use crate::support::tenants::*;
use crate::support::wait::eventually;
use crate::{Scene, ok, scene, violating};
use serde_json::Value;

/// More than may go without a word, over two segments.
const PROD: usize = 7;
const STAGING: usize = 6;

/// A copy elsewhere, and a way to read what stands.
const CARRIED_AWAY: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: copied, namespace: billing-prod}
data: {url: "postgres://orders:canary-payments-prod-s0-kX9mQ2vL8nR5wT3@db/orders"}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: stranger, namespace: payments-prod}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: edit}
subjects: [{kind: ServiceAccount, name: ledger, namespace: billing-prod}]
"#;

fn names(namespace: &'static str, count: usize) -> Vec<(&'static str, String)> {
    (0..count).map(|i| (namespace, format!("s{i}"))).collect()
}

fn all_are(scene: &Scene, of: &[(&'static str, String)], status: &str, why: &str) {
    for (namespace, name) in of {
        becomes(&scene.cluster, namespace, name, "Authorized", status, why);
    }
}

fn standing(scene: &Scene, of: &[(&'static str, String)]) -> usize {
    of.iter().filter(|(namespace, name)| scene.cluster.get_json("secret", *namespace, name).is_some()).count()
}

/// With every guard in force: the annotation is for people.
fn annotate<'r>(scene: &Scene, report: &'r Value, number: &str) -> &'r str {
    let name = report["metadata"]["name"].as_str().unwrap();
    let note = format!("scopedsecrets.io/accept-violations={number}");
    ok(&scene.cluster, &["annotate", "segmentationreport", name, &note, "--overwrite"]);
    name
}

fn accept(scene: &Scene, report: &Value, number: &str) {
    let name = annotate(scene, report, number);
    eventually("the annotation is seen", SOON, || {
        let report = scene.cluster.get_json("segmentationreport", None, name).ok_or("gone")?;
        let seen = &report["status"]["accepted"];
        if seen["value"] == number { Ok(()) } else { Err(report["status"].to_string()) }
    });
}

#[test]
fn a_report_releases_the_withdrawals_of_its_segment() {
    let scene = scene();
    let cluster = &scene.cluster;
    let (prod, staging) = (names("payments-prod", PROD), names("payments-staging", STAGING));
    let mut yaml = String::new();
    for (namespace, name) in prod.iter().chain(&staging) {
        let key = format!("{}/{name}", namespace.replace('-', "/"));
        scene.stub.put(&key, crate::Says::Text(format!("canary-{namespace}-{name}-kX9mQ2vL8nR5wT3")));
        yaml.push_str("---\n");
        let spec = format!("data: [{{secretKey: value, remoteRef: {{key: {key}}}}}]");
        yaml.push_str(&scoped_secret(namespace, name, &spec));
    }
    apply(cluster, &yaml);
    all_are(&scene, &prod, "True", "Allowed");
    all_are(&scene, &staging, "True", "Allowed");
    scene.says("nothing is wrong", |s| s["total"] == 0);

    // A policy is narrowed past admission.
    ok(cluster, &["delete", "validatingwebhookconfiguration", "scoped-secrets"]);
    let narrowed =
        POLICY.replace("${label:tenant}/${label:environment}/**", "${label:tenant}/${label:environment}/kept");
    let narrow = || eventually("nobody reviews", SOON, || cluster.apply(&narrowed).map(drop));
    narrow();
    all_are(&scene, &prod, "False", "WithdrawalPaused");
    all_are(&scene, &staging, "False", "WithdrawalPaused");
    let told = becomes(cluster, "payments-prod", "s0", "Authorized", "False", "WithdrawalPaused");
    let text = condition(&told, "Authorized").unwrap()["message"].as_str().unwrap().to_owned();
    let report = scene.says("the withdrawals are on the report", |s| s["pausedWithdrawals"] == PROD);
    let name = report["metadata"]["name"].as_str().unwrap();
    for part in
        ["accept-violations: \"13\" on a SegmentationPolicy", &format!("\"7\" on the SegmentationReport \"{name}\"")]
    {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert_eq!(violating(&report["status"], "WithdrawalPaused").len(), PROD);
    let paused = "scoped_secrets_withdrawals_paused";
    eventually("the metric", SOON, || {
        let count = scene.operator.metric(paused)?;
        if count == 13.0 { Ok(()) } else { Err(count.to_string()) }
    });

    // Too few, and no number, are not enough.
    for number in ["6", "all"] {
        accept(&scene, &report, number);
        all_are(&scene, &prod, "False", "WithdrawalPaused");
        assert_eq!(standing(&scene, &prod), PROD, "{number}");
    }
    // The number: those of this segment go, the others wait, though few are left; a restart makes them go no more.
    accept(&scene, &report, "7");
    all_are(&scene, &prod, "False", "KeyNotAllowed");
    assert_eq!((standing(&scene, &prod), standing(&scene, &staging)), (0, STAGING));
    scene.says("it has served", |s| s["accepted"]["spent"] == true && s["pausedWithdrawals"].is_null());
    let scene = scene.restarted();
    let cluster = &scene.cluster;
    scene.project_refused();
    all_are(&scene, &staging, "False", "WithdrawalPaused");
    assert_eq!(standing(&scene, &staging), STAGING);

    // Allowed again; what the annotation accepted is over.
    apply(cluster, POLICY);
    all_are(&scene, &prod, "True", "Allowed");
    all_are(&scene, &staging, "True", "Allowed");
    eventually("all are back", SOON, || {
        let back = standing(&scene, &prod);
        if back == PROD { Ok(()) } else { Err(back) }
    });
    apply(cluster, &narrowed);
    all_are(&scene, &prod, "False", "WithdrawalPaused");
    assert_eq!(standing(&scene, &prod), PROD);

    // A namespace leaves its segment while they wait: what stands there is nobody else's all the same.
    ok(cluster, &["label", "namespace", "payments-prod", "environment-"]);
    apply(cluster, CARRIED_AWAY);
    scene.says("who would carry it away is found", |s| {
        violating(s, "ValueCopied") == ["ConfigMap copied"]
            && violating(s, "CrossSegmentAccess") == ["RoleBinding stranger"]
    });
    ok(cluster, &["delete", "configmap/copied", "-n", "billing-prod"]);
    ok(cluster, &["delete", "rolebinding/stranger", "-n", "payments-prod"]);
    ok(cluster, &["label", "namespace", "payments-prod", "environment=prod"]);
    all_are(&scene, &prod, "False", "WithdrawalPaused");
    assert_eq!(standing(&scene, &prod), PROD);

    // The policy is gone, and with it what says which segment it is: the report stays, and releases.
    ok(cluster, &["delete", "segmentationpolicy", "tenants"]);
    let report = scene.says("they wait on", |s| s["pausedWithdrawals"] == PROD);
    annotate(&scene, &report, "8");
    for (namespace, name) in &prod {
        eventually("it goes", SOON, || match cluster.get_json("secret", *namespace, name) {
            None => Ok(()),
            Some(there) => Err(there["metadata"].to_string()),
        });
    }
    assert_eq!(standing(&scene, &staging), STAGING);
    eventually("a report without a Secret or a policy goes", SOON, || match scene.report("payments/prod") {
        None => Ok(()),
        Some(there) => Err(there.to_string()),
    });
    apply(cluster, POLICY);
    all_are(&scene, &staging, "True", "Allowed");
    lift(cluster, "managed-secrets");
    all_is_well(cluster, &scene.operator);
}

impl Scene {
    /// Waits until the operator that runs now has judged something new.
    fn project_refused(&self) {
        apply(&self.cluster, &crate::claim("later"));
        becomes(&self.cluster, "payments-prod", "later", "Authorized", "False", "KeyNotAllowed");
        ok(&self.cluster, &["delete", "scopedsecret", "later", "-n", "payments-prod"]);
    }
}
