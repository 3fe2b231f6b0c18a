//! By whom, by what verb and in what form, and what passes.

use crate::support::oracle::all_is_well;
use crate::support::stub_manager::Says;
use crate::support::tenants::{SOON, apply, ready, scoped_secret};
use crate::support::wait::eventually;
use crate::{DRY, VALUE, WEAK, config_map, object, scene};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

#[test]
fn copies_are_refused_in_every_form_and_by_every_verb() {
    let scene = scene();
    let once = STANDARD.encode(VALUE);
    let twice = STANDARD.encode(&once);
    let auth = STANDARD.encode(format!("robot:{VALUE}"));
    let docker = json!({"auths": {"registry.example.com": {"username": "robot", "auth": auth}}}).to_string();
    let secret = |more| object("Secret", "billing-prod", "copy", more).to_string();
    let map = |more| object("ConfigMap", "billing-prod", "copy", more).to_string();
    let percent = VALUE.replace('#', "%23").replace('$', "%24").replace('@', "%40").replace('!', "%21");
    scene.hold(&[
        ("a Secret's data", DRY, secret(json!({"data": {"a": once}})), true),
        ("a Secret's stringData", DRY, secret(json!({"stringData": {"a": VALUE}})), true),
        ("base64 once more", DRY, secret(json!({"data": {"a": twice}})), true),
        ("base64 twice more", DRY, secret(json!({"data": {"a": STANDARD.encode(&twice)}})), true),
        (
            "a docker config",
            DRY,
            secret(json!({"type": "kubernetes.io/dockerconfigjson", "stringData": {".dockerconfigjson": docker}})),
            true,
        ),
        ("a ConfigMap", DRY, map(json!({"data": {"a": VALUE}})), true),
        ("in a text", DRY, map(json!({"data": {"app.conf": format!("user = app\npassword = \"{VALUE}\"\n")}})), true),
        ("a connection string", DRY, map(json!({"data": {"url": format!("postgres://app:{percent}@db/orders")}})), true),
        ("base64 in YAML", DRY, map(json!({"data": {"a": format!("auth:\n  password: {once}\n")}})), true),
        ("binaryData", DRY, map(json!({"binaryData": {"a": once}})), true),
        ("binaryData, coded", DRY, map(json!({"binaryData": {"a": twice}})), true),
        (
            "an annotation",
            DRY,
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "copy", "namespace": "billing-prod", "annotations": {"note": VALUE}}}).to_string(),
            true,
        ),
        ("in earnest", "create -f -", map(json!({"data": {"a": VALUE}})), true),
        (
            "generateName",
            "create -f -",
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"generateName": "copy-", "namespace": "billing-prod"}, "stringData": {"a": VALUE}}).to_string(),
            true,
        ),
        ("apply", "apply -f -", map(json!({"data": {"a": VALUE}})), true),
        ("server-side apply", "apply --server-side -f -", secret(json!({"stringData": {"a": VALUE}})), true),
        ("in another environment", DRY, map(json!({"data": {"a": VALUE}})).replace("billing-prod", "payments-staging"), true),
    ]);

    // By a change of what is there.
    scene.hold(&[
        ("to begin with", "create -f -", map(json!({"data": {"a": "b"}})), false),
        ("replace", "replace -f -", map(json!({"data": {"a": VALUE}})), true),
        ("apply onto it", "apply -f -", map(json!({"data": {"a": VALUE}})), true),
        (
            "steal its fields",
            "apply --server-side --force-conflicts --field-manager=thief -f -",
            map(json!({"data": {"a": VALUE}})),
            true,
        ),
        ("a harmless change", "replace -f -", map(json!({"data": {"a": "c"}})), false),
    ]);
    for kind in ["merge", "strategic"] {
        let patch = json!({"data": {"a": once}}).to_string();
        scene.hold(&[(
            "patch",
            &format!("patch configmap copy -n billing-prod --type={kind} -p {patch}"),
            String::new(),
            true,
        )]);
    }
    let patch = json!([{"op": "add", "path": "/data/b", "value": once}]).to_string();
    scene.hold(&[(
        "JSON patch",
        &format!("patch configmap copy -n billing-prod --type=json -p {patch}"),
        String::new(),
        true,
    )]);
    all_is_well(&scene.cluster, scene.operator());
}

#[test]
fn everybody_else_feels_nothing() {
    let scene = scene();
    // Billing has a value of its own; what is easy to guess may be anywhere.
    scene.stub.put("billing/prod/invoices", Says::Text("canary-billing-jW8#lP1$uK7@mQ4!vS2y".into()));
    let spec = "data: [{secretKey: value, remoteRef: {key: billing/prod/invoices}}]";
    apply(&scene.cluster, &scoped_secret("billing-prod", "invoices", spec));
    eventually("it is projected", SOON, || ready(&scene.cluster, "scopedsecret", Some("billing-prod"), "invoices"));
    let token = "canaryOrdersTokenKX9mQ2vL8nR5wT3z";
    scene.stub.put("payments/prod/token", Says::Text(token.into()));
    let spec = "data: [{secretKey: value, remoteRef: {key: payments/prod/token}}]";
    apply(&scene.cluster, &scoped_secret("payments-prod", "token", spec));
    eventually("it is projected", SOON, || ready(&scene.cluster, "scopedsecret", Some("payments-prod"), "token"));
    let note = |key: &str| {
        let patch = json!({"metadata": {"annotations": {key: "1"}}});
        format!("patch secret invoices -n billing-prod --dry-run=server --type=merge -p {patch}")
    };
    let at = |namespace: &str, data| object("ConfigMap", namespace, "mine", json!({"data": data})).to_string();
    let decoys: String = std::iter::repeat_n(&VALUE[..VALUE.len() - 1], 20_000).collect();
    scene.hold(&[
        ("at home", DRY, at("payments-prod", json!({"a": VALUE})), false),
        ("in the same segment", DRY, at("payments-prod-2", json!({"a": VALUE})), false),
        ("one's own", DRY, at("billing-prod", json!({"a": "canary-billing-jW8#lP1$uK7@mQ4!vS2y"})), false),
        ("something else", DRY, at("billing-prod", json!({"a": "the quick brown fox jumps over"})), false),
        ("easy to guess", DRY, at("billing-prod", json!({"a": WEAK, "b": format!("pin={WEAK}")})), false),
        ("ignored by name", DRY, at("billing-prod", json!({"a": "canary-orders-service-account"})), false),
        (
            "a note on a projected Secret",
            "annotate --dry-run=server secret invoices -n billing-prod example.com/note=this-tells-nothing-to-anybody",
            String::new(),
            false,
        ),
        (
            "a copy noted on it",
            &format!("annotate --dry-run=server secret invoices -n billing-prod example.com/note=see:{VALUE}"),
            String::new(),
            true,
        ),
        ("a copy before the slash of a note's key", &note(&format!("{token}/x")), String::new(), true),
        ("a copy behind it", &note(&format!("x.io/{token}")), String::new(), true),
        ("nearly a megabyte of decoys", DRY, at("billing-prod", json!({"a": decoys})), false),
        (
            "a name of 253 characters",
            DRY,
            at("billing-prod", json!({"a": "x"})).replace("mine", &"n".repeat(253)),
            false,
        ),
    ]);

    // Where nothing is governed the webhook is not asked.
    let asked = || {
        let metrics = scene.operator().probe("/metrics").unwrap();
        metrics
            .lines()
            .filter(|line| line.contains("rule=\"Copies\"") && line.contains("_count"))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let before = asked();
    assert!(!before.is_empty(), "it is counted");
    for namespace in ["plain", "kube-system", "default", "scoped-secrets"] {
        scene.hold(&[("not governed", DRY, at(namespace, json!({"a": VALUE})), false)]);
    }
    assert_eq!(asked(), before);

    // What was there before the value was projected is the scan's: a label may be changed, the same copy not written anew.
    let early = "canary-early-hV7#kN0$tJ6@lP3!uR1x";
    scene.hold(&[(
        "before it is a secret",
        "create -f -",
        config_map("early", json!({"a": early})).to_string(),
        false,
    )]);
    scene.stub.put("payments/prod/early", Says::Text(early.into()));
    let spec = "data: [{secretKey: value, remoteRef: {key: payments/prod/early}}]";
    apply(&scene.cluster, &scoped_secret("payments-prod", "early", spec));
    eventually("it is projected", SOON, || ready(&scene.cluster, "scopedsecret", Some("payments-prod"), "early"));
    scene.hold(&[
        ("it is a secret now", DRY, config_map("late", json!({"a": early})).to_string(), true),
        ("a label", "label configmap early -n billing-prod a=b", String::new(), false),
        ("beside it", "apply -f -", config_map("early", json!({"a": early, "b": "x"})).to_string(), false),
        ("and another copy", "apply -f -", config_map("early", json!({"a": early, "b": VALUE})).to_string(), true),
        ("gone", "apply -f -", config_map("early", json!({"b": "x"})).to_string(), false),
        ("and back", "apply -f -", config_map("early", json!({"a": early})).to_string(), true),
    ]);
    all_is_well(&scene.cluster, scene.operator());
}
