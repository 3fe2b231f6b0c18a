//! A rule that is not kept at admission shows on every report, and is never put back.

use crate::support::operator::USER;
use crate::support::oracle::all_is_well;
use crate::support::tenants::*;
use crate::support::wait::eventually;
use crate::{ok, reason, scene, violating};
use std::collections::BTreeSet;

#[test]
fn what_is_missing_shows_on_every_report_and_is_not_put_back() {
    let scene = scene();
    let cluster = &scene.cluster;
    scene.project("orders");
    let first = scene.says("all is in place", |s| reason(s, "Guarded") == "Guarded" && s["total"] == 0);
    assert!(first["metadata"]["name"].as_str().unwrap().starts_with("payments-prod-"), "{first}");
    assert_eq!(first["status"]["namespaces"], serde_json::json!(["payments-prod"]));
    let metrics = || scene.operator.probe("/metrics");
    let missing = |rule: &str, count: u32| {
        let line = format!("scoped_secrets_guard_missing{{rule=\"{rule}\"}} {count}");
        eventually(&line, SOON, || metrics().and_then(|m| if m.contains(&line) { Ok(()) } else { Err(m) }));
    };
    missing("Consumers", 0);

    // Gone: a binding, a policy, the webhook configuration. Weakened: a binding, a policy.
    let mark = cluster.audit_mark();
    let consumers = "consumers-enforce.scopedsecrets.io";
    ok(cluster, &["delete", "validatingadmissionpolicybinding", consumers]);
    ok(cluster, &["delete", "validatingwebhookconfiguration", "scoped-secrets"]);
    let audit = r#"{"spec":{"validationActions":["Audit"]}}"#;
    ok(
        cluster,
        &["patch", "validatingadmissionpolicybinding", "boundary.scopedsecrets.io", "--type=merge", "-p", audit],
    );
    let never = r#"{"spec":{"matchConditions":[{"name":"never","expression":"false"}]}}"#;
    ok(cluster, &["patch", "validatingadmissionpolicy", "replication.scopedsecrets.io", "--type=merge", "-p", never]);
    // Our label taken off is none of it: it is looked for by name.
    let label = ["label", "validatingadmissionpolicy", "operator.scopedsecrets.io", "app.kubernetes.io/part-of-"];
    ok(cluster, &label);
    let told: BTreeSet<String> = [
        "ValidatingAdmissionPolicy replication.scopedsecrets.io",
        "ValidatingAdmissionPolicyBinding boundary.scopedsecrets.io",
        "ValidatingAdmissionPolicyBinding consumers-enforce.scopedsecrets.io",
        "ValidatingWebhookConfiguration scoped-secrets",
    ]
    .map(str::to_owned)
    .into();
    let report = scene
        .says("what is missing is told", |s| violating(s, "GuardMissing").into_iter().collect::<BTreeSet<_>>() == told);
    assert_eq!(reason(&report["status"], "Guarded"), "GuardMissing");
    let messages = report["status"]["violations"].to_string();
    for part in [
        "validationActions",
        "matchConditions",
        "it is not there",
        "not there, so that rule Consumers is not kept at admission: install again as it was done",
        "while an upgrade is under way wait, or roll it back; else delete it, and install again as it was done",
    ] {
        assert!(messages.contains(part), "{part} in {messages}");
    }
    for segment in ["payments/staging", "billing/prod"] {
        eventually(segment, SOON, || {
            let other = scene.report(segment).ok_or("none")?;
            let count = violating(&other["status"], "GuardMissing").len();
            if count == violating(&report["status"], "GuardMissing").len() { Ok(()) } else { Err(other.to_string()) }
        });
    }
    for rule in ["Consumers", "Boundary", "Replication", "Claims", "Policies"] {
        missing(rule, 1);
    }
    missing("Operator", 0);
    // Where no tenant reads.
    let about = ok(cluster, &["get", "events", "-n", "kube-system", "-o", "jsonpath={.items[*].reason}"]);
    assert!(about.contains("ViolationsFound"), "{about}");

    // That they were scanned at all is written once.
    for segment in ["payments/prod", "payments/staging", "billing/prod"] {
        eventually("the first scan is noted", SOON, || {
            let report = scene.report(segment).ok_or("none")?;
            if report["status"]["lastScanTime"].is_string() { Ok(()) } else { Err(report["status"].to_string()) }
        });
    }
    let report = scene.report("payments/prod").unwrap();

    // It stays so, and the report is not written again; a restart keeps since when.
    let since = |report: &serde_json::Value| report["status"]["violations"].to_string();
    let quiet = cluster.audit_mark();
    let scene = scene.restarted();
    let cluster = &scene.cluster;
    let looked = || {
        let asked = cluster.audit_since(quiet).user(USER).credential(&scene.operator.credential);
        asked.resource("validatingadmissionpolicybindings").verb("list").len()
    };
    eventually("it has looked again, some times", SOON, || if looked() >= 3 { Ok(()) } else { Err(looked()) });
    assert_eq!(scene.written(quiet), [""; 0]);
    assert_eq!(since(&scene.report("payments/prod").unwrap()), since(&report));
    let put = cluster.audit_since(mark).user(USER).writes();
    let put = put.only(|r| {
        r.resource.starts_with("validatingadmission")
            || r.verb == "create" && r.resource.starts_with("validatingwebhook")
    });
    assert!(put.is_empty(), "{put:?}");

    // Applied again. What was only changed keeps what server-side apply does not own, unless it is deleted first.
    ok(cluster, &["delete", "validatingadmissionpolicybinding", "boundary.scopedsecrets.io"]);
    ok(cluster, &["delete", "validatingadmissionpolicy", "replication.scopedsecrets.io"]);
    crate::support::operator::install(cluster);
    scene.says("all is in place again", |s| {
        reason(s, "Guarded") == "Guarded" && violating(s, "GuardMissing").is_empty()
    });
    let metrics = scene.operator.probe("/metrics").unwrap();
    assert!(!metrics.contains("scoped_secrets_violations{rule=\"Consumers\",reason=\"GuardMissing\""), "{metrics}");

    // A segment without a namespace has no report.
    ok(cluster, &["delete", "namespace", "billing-prod", "--wait=false"]);
    eventually("its report goes", SOON, || match scene.report("billing/prod") {
        None => Ok(()),
        Some(there) => Err(there.to_string()),
    });
    // One that nobody wrote for a segment goes, and one that is edited is written anew.
    crate::support::operator::lift(cluster, "managed-secrets");
    apply(
        cluster,
        "apiVersion: scopedsecrets.io/v1alpha1\nkind: SegmentationReport\nmetadata: {name: stray}\nspec: {segment: payments/prod}\n",
    );
    eventually("a stray report goes", SOON, || match cluster.get_json("segmentationreport", None, "stray") {
        None => Ok(()),
        Some(there) => Err(there.to_string()),
    });
    // What passes for the operator's is found: by its label at once, by another mark by the scan.
    let uid = cluster.get_json("scopedsecret", "payments-prod", "orders").unwrap()["metadata"]["uid"].clone();
    let owner = serde_json::json!([{"apiVersion": "scopedsecrets.io/v1alpha1", "kind": "ScopedSecret", "name": "orders", "uid": uid, "controller": true}]);
    for (name, marks) in [
        ("by-label", serde_json::json!({"labels": {"app.kubernetes.io/managed-by": "scoped-secrets"}})),
        ("by-seal", serde_json::json!({"annotations": {"scopedsecrets.io/seal": "abcdef"}})),
        ("by-owner", serde_json::json!({"ownerReferences": owner})),
    ] {
        let mut secret = serde_json::json!({"apiVersion": "v1", "kind": "Secret", "metadata": marks});
        secret["metadata"]["name"] = name.into();
        secret["metadata"]["namespace"] = "payments-prod".into();
        apply(cluster, &secret.to_string());
    }
    let forged = ["Secret by-label", "Secret by-owner", "Secret by-seal"];
    scene.says("each is told", |s| violating(s, "ReservedMetadata") == forged);
    ok(cluster, &["delete", "secret", "by-label", "by-seal", "by-owner", "-n", "payments-prod"]);
    all_is_well(cluster, &scene.operator);
}
