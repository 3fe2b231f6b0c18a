//! The SegmentGuard itself: there before the Secret, right after every change, put back, and gone with the segment.

use crate::support::operator::{Operator, USER, lift};
use crate::support::oracle::all_is_well;
use crate::support::stub_manager::Says;
use crate::support::tenants::*;
use crate::support::wait::eventually;
use crate::{DRY, Scene, VALUE, claim, env, hold, ok, pod, refusal, scene};
use serde_json::{Value, json};
use std::fmt::Write;
use std::time::{Duration, Instant};

fn enforce() -> Value {
    json!({"scopedsecrets.io/mode": "Enforce"})
}

/// The operator's writes of guards and Secrets in payments-prod, in the order of their answers.
fn writes(scene: &Scene) -> Vec<String> {
    let writes = scene.cluster.audit().user(USER).namespace("payments-prod").writes();
    let ours = writes.only(|r| ["segmentguards", "secrets"].contains(&&*r.resource));
    ours.iter().map(|r| format!("{} {} {}", r.verb, r.resource, r.code)).collect()
}

/// Somebody else's policy, in the way of the operator's writes in payments-staging.
const NO_GUARDS: &str = r#"
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: no-guards}
spec:
  matchConstraints:
    resourceRules: [{apiGroups: [scopedsecrets.io], apiVersions: [v1alpha1], operations: [CREATE, UPDATE], resources: [segmentguards]}]
  validations: [{expression: "request.namespace != 'payments-staging'", message: none today}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: no-guards}
spec: {policyName: no-guards, validationActions: [Deny]}
"#;

#[test]
fn it_follows_the_claims_and_is_put_back() {
    let scene = scene();
    let cluster = &scene.cluster;
    // The first thing that is written, before the manager is asked.
    assert_eq!(writes(&scene), ["create segmentguards 201", "update segmentguards 200", "create secrets 201"]);
    let guard = scene.guard_becomes(&enforce(), &json!({"orders": ["orders"]}));
    assert_eq!(scene.stub.asked("payments/prod/orders"), 1);
    // Whoever is governed has one: what a replicator would pull in is nobody's claim.
    for namespace in ["payments-staging", "billing-prod"] {
        let guard = cluster.get_json("segmentguard", namespace, "scoped-secrets").unwrap();
        assert!(guard["spec"]["targets"].as_object().is_none_or(serde_json::Map::is_empty), "{namespace}: {guard}");
    }
    assert_eq!(cluster.get_json("segmentguard", "plain", "scoped-secrets"), None);

    // Nothing is fetched while it cannot be written; then everything is.
    apply(cluster, NO_GUARDS);
    eventually("guards are refused", SOON, || {
        let guard = "apiVersion: scopedsecrets.io/v1alpha1\nkind: SegmentGuard\nmetadata: {name: scoped-secrets, namespace: plain}\nspec: {}\n";
        let told = cluster.submit(&["create", "--dry-run=server", "--as", USER, "-f", "-"], guard);
        told.err().filter(|text| text.contains("no-guards")).ok_or("they are taken")
    });
    scene.stub.put("payments/staging/held", Says::Text("canary-held-up-kX9mQ2vL8nR5wT3z1".into()));
    let spec = "data: [{secretKey: value, remoteRef: {key: payments/staging/held}}]";
    apply(cluster, &scoped_secret("payments-staging", "held", spec));
    becomes(cluster, "payments-staging", "held", "Synced", "False", "WriteFailed");
    assert_eq!(scene.stub.asked("payments/staging/held"), 0, "not before it is guarded");
    ok(cluster, &["delete", "validatingadmissionpolicybinding", "no-guards"]);
    eventually("held is ready", SOON, || ready(cluster, "scopedsecret", Some("payments-staging"), "held"));

    // Another claim, other consumers, another target.
    scene.project("more");
    scene.guard_becomes(&enforce(), &json!({"orders": ["orders"], "more": ["more"]}));
    let consumers = r#"{"spec":{"consumers":[{"serviceAccountName":"orders"},{"serviceAccountName":"thief"}]}}"#;
    ok(cluster, &["patch", "scopedsecret", "orders", "-n", "payments-prod", "--type=merge", "-p", consumers]);
    let both = json!({"orders": ["orders", "thief"], "more": ["more"]});
    scene.guard_becomes(&enforce(), &both);
    let foreign = pod("p", "thief", env("orders")).to_string();
    eventually("thief is a consumer now", SOON, || cluster.submit(&DRY, &foreign));

    // Nobody else writes it; past the guard, it is put back.
    let edit = r#"{"metadata":{"labels":{"scopedsecrets.io/mode":"Audit"}},"spec":{"targets":{"orders":["thief"]}}}"#;
    let patch = ["patch", "segmentguard", "scoped-secrets", "-n", "payments-prod", "--type=merge", "-p", edit];
    let delete = ["delete", "segmentguard", "scoped-secrets", "-n", "payments-prod"];
    for line in [patch.as_slice(), &delete] {
        let told = cluster.submit(line, "").unwrap_err();
        assert!(told.contains("rule ManagedSecrets, OperatorOnly"), "{told}");
    }
    lift(cluster, "managed-secrets");
    let uid = guard["metadata"]["uid"].clone();
    ok(cluster, &patch);
    assert_eq!(scene.guard_becomes(&enforce(), &both)["metadata"]["uid"], uid);
    ok(cluster, &delete);
    assert_ne!(scene.guard_becomes(&enforce(), &both)["metadata"]["uid"], uid);

    // A target goes after its Secret.
    let mark = cluster.audit_mark();
    ok(cluster, &["delete", "scopedsecret", "more", "-n", "payments-prod"]);
    // The garbage collector looks for new kinds every half minute.
    eventually("the Secret is gone", Duration::from_secs(90), || {
        cluster.get_json("secret", "payments-prod", "more").map_or(Ok(()), |there| Err(there["metadata"].to_string()))
    });
    scene.guard_becomes(&enforce(), &json!({"orders": ["orders", "thief"]}));
    let verbs: Vec<_> = cluster
        .audit_since(mark)
        .namespace("payments-prod")
        .writes()
        .only(|r| ["secrets", "segmentguards"].contains(&&*r.resource))
        .iter()
        .map(|r| format!("{} {}", r.verb, r.resource))
        .collect();
    assert_eq!(verbs, ["delete secrets", "update segmentguards"]);
    all_is_well(cluster, &scene.operator);
}

#[test]
fn a_retained_secret_stays_guarded_and_the_guard_goes_with_the_segment() {
    let scene = scene();
    let cluster = &scene.cluster;
    apply(cluster, &format!("{POLICY}  rules: {{allowRetain: true, requireConsumers: false}}\n"));
    scene.stub.put("payments/prod/kept", Says::Text(VALUE.into()));
    apply(cluster, &format!("{}  deletionPolicy: Retain\n", claim("kept")));
    eventually("kept is ready", SOON, || ready(cluster, "scopedsecret", Some("payments-prod"), "kept"));
    // One that names no consumers is every pod's.
    scene.stub.put("payments/prod/free", Says::Text(VALUE.into()));
    apply(cluster, &claim("free").replace("  consumers: [{serviceAccountName: free}]\n", ""));
    eventually("free is ready", SOON, || ready(cluster, "scopedsecret", Some("payments-prod"), "free"));
    ok(cluster, &["delete", "scopedsecret", "kept", "-n", "payments-prod"]);

    // Also by the operator that starts anew.
    let both = json!({"orders": ["orders"], "kept": ["kept"]});
    scene.guard_becomes(&enforce(), &both);
    scene.operator.kill();
    let scene = Scene { operator: Operator::start(&scene.cluster), ..scene };
    let cluster = &scene.cluster;
    eventually("it leads", SOON, || scene.operator.leads());
    scene.project("after");
    let guard = scene.guard_becomes(&enforce(), &json!({"orders": ["orders"], "kept": ["kept"], "after": ["after"]}));
    hold(
        cluster,
        &[
            ("kept", &DRY, pod("p", "thief", env("kept")).to_string(), true),
            ("free", &DRY, pod("p", "thief", env("free")).to_string(), false),
        ],
    );

    // The policy goes, and all that it allowed.
    let told = ["annotate", "segmentationpolicy", "tenants", "scopedsecrets.io/accept-violations=4"];
    ok(cluster, &told);
    ok(cluster, &["delete", "segmentationpolicy", "tenants"]);
    eventually("the guard is gone", SOON, || match scene.guard() {
        None => Ok(()),
        Some(there) => Err(there.to_string()),
    });
    for name in ["orders", "kept", "free", "after"] {
        assert_eq!(cluster.get_json("secret", "payments-prod", name), None, "{name}");
    }
    assert!(guard["spec"]["targets"].is_object());
    let foreign = pod("p", "thief", env("orders")).to_string();
    eventually("a namespace that is not governed feels nothing", SOON, || cluster.submit(&DRY, &foreign));
}

#[test]
fn five_hundred_claims_cost_few_writes_and_are_one_parameter_of_the_guards() {
    let scene = scene();
    let mut yaml = String::new();
    for i in 0..500 {
        scene.stub.put(&format!("payments/prod/s{i}"), Says::Text(format!("canary-{i}-kX9mQ2vL8nR5wT3z1pQ")));
        write!(yaml, "---\n{}", claim(&format!("s{i}"))).unwrap();
    }
    let mark = scene.cluster.audit_mark();
    let begin = Instant::now();
    apply(&scene.cluster, &yaml);
    eventually("all are projected", Duration::from_secs(180), || {
        let names = ok(&scene.cluster, &["get", "secrets", "-n", "payments-prod", "-o", "name"]);
        if names.lines().count() >= 501 { Ok(()) } else { Err(names.lines().count()) }
    });
    let seconds = begin.elapsed().as_secs() as usize;
    let written = scene.cluster.audit_since(mark).user(USER).resource("segmentguards").writes().len();
    println!("500 claims within {seconds} s: {written} writes of the guard");
    assert!(written <= seconds / 4 + 6, "{written} writes in {seconds} s");
    let targets = scene.guard().unwrap()["spec"]["targets"].as_object().unwrap().len();
    assert_eq!(targets, 501);
    // What a pod costs is that of one object (`make bench` has the times), and each of its names counts.
    let guards = ok(&scene.cluster, &["get", "segmentguards", "-n", "payments-prod", "-o", "name"]);
    assert_eq!(guards.lines().count(), 1, "{guards}");
    eventually("the API server knows", SOON, || {
        let told = scene.cluster.submit(&DRY, &pod("p", "thief", env("s499")).to_string());
        refusal(&told).map(|_| ()).ok_or("not yet")
    });
    let judged = |account: &str, secret: &str| {
        refusal(&scene.cluster.submit(&DRY, &pod("p", account, env(secret)).to_string())).is_some()
    };
    for name in ["orders", "s0", "s250", "s499"] {
        assert!(judged("thief", name) && !judged(name, name), "{name}");
    }
    all_is_well(&scene.cluster, &scene.operator);
}
