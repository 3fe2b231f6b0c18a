//! Replicators' annotations: out of a governed namespace, and into it.

use crate::support::foreign_kind;
use crate::support::oracle::all_is_well;
use crate::support::stub_manager::Says;
use crate::support::tenants::{POLICY, SOON, apply, ready, scoped_secret};
use crate::support::wait::eventually;
use crate::{DRY, hold, ok, scene};
use serde_json::json;

fn secret(namespace: &str, key: &str, value: &str) -> String {
    json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "copy", "namespace": namespace, "annotations": {key: value}},
    })
    .to_string()
}

/// With so many annotations, each with a long domain.
fn crowded(namespace: &str, marks: usize) -> String {
    let domain = format!("{}.example.com", "x".repeat(50));
    let annotations: serde_json::Map<_, _> =
        (0..marks).map(|i| (format!("{domain}/note-{i}"), serde_json::Value::from("1"))).collect();
    json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "copy", "namespace": namespace, "annotations": annotations},
    })
    .to_string()
}

#[test]
fn no_replicator_carries_a_secret_across() {
    let scene = scene();
    let cluster = &scene.cluster;
    let push = [
        "reflector.v1.k8s.emberstack.com/reflection-allowed=true",
        "reflector.v1.k8s.emberstack.com/reflection-auto-enabled=true",
        "replicator.v1.mittwald.de/replicate-to=billing-prod",
        "replicator.v1.mittwald.de/replication-allowed=true",
        "kubed.appscode.com/sync=",
        "reflector.havulv.io/reflect=true",
        "synator/sync=yes",
        "Kubed.AppsCode.com/sync=",
    ];
    // Out: a managed Secret is offered to nobody.
    for mark in push {
        let line = ["annotate", "--dry-run=server", "secret", "orders", "-n", "payments-prod", mark];
        hold(cluster, &[(mark, &line, String::new(), true)]);
    }
    let label = ["label", "--dry-run=server", "secret", "orders", "-n", "payments-prod", "kubed.appscode.com/sync=yes"];
    let other = ["annotate", "--dry-run=server", "secret", "orders", "-n", "payments-prod", "example.com/note=mine"];
    // In: nothing is filled from another namespace.
    let (reflects, from) = ("reflector.v1.k8s.emberstack.com/reflects", "replicator.v1.mittwald.de/replicate-from");
    hold(
        cluster,
        &[
            ("a label", &label, String::new(), true),
            ("another annotation", &other, String::new(), false),
            ("reflects", &DRY, secret("payments-prod", reflects, "billing-prod/db"), true),
            ("replicate-from", &DRY, secret("payments-prod", from, "billing-prod/db"), true),
            (
                "another's replicate-from",
                &DRY,
                secret("payments-prod", "v1.kubernetes-replicator.olli.com/replicate-from", "billing-prod/db"),
                true,
            ),
            ("200 annotations", &DRY, crowded("payments-prod", 200), false),
            ("2000 annotations", &DRY, crowded("payments-prod", 2000), true),
            ("2000 where nobody governs", &DRY, crowded("plain", 2000), false),
            ("a placeholder", &DRY, secret("payments-prod", "secretgen.carvel.dev/image-pull-secret", ""), true),
            ("a placeholder of nobody's", &DRY, secret("payments-prod", "example.com/image-pull-secret", ""), false),
            ("the same namespace", &DRY, secret("payments-prod", from, "payments-prod/db"), false),
            (
                "what is not managed is not ours to keep",
                &DRY,
                secret("payments-prod", "kubed.appscode.com/sync", ""),
                false,
            ),
            ("an ungoverned namespace", &DRY, secret("plain", reflects, "payments-prod/orders"), false),
        ],
    );
    for kind in [("SecretExport", "secretexports"), ("SecretImport", "secretimports")] {
        foreign_kind::install(cluster, "secretgen.carvel.dev", "v1alpha1", kind, "Namespaced");
    }
    let of = |kind: &str, namespace: &str, name: &str, spec| {
        let metadata = json!({"name": name, "namespace": namespace});
        json!({"apiVersion": "secretgen.carvel.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec})
            .to_string()
    };
    let free = "  rules: {requireConsumers: false, exclusiveKeys: Unlimited, uniqueValues: {within: None}}\n";
    apply(cluster, &format!("{POLICY}{free}"));
    scene.stub.put("payments/prod/anybodys", Says::Text("canary-anybodys-kX9mQ2vL8nR5wT3z".into()));
    let spec = "data: [{secretKey: value, remoteRef: {key: payments/prod/anybodys}}]\n";
    let claim =
        scoped_secret("payments-prod", "anybodys", spec).replace("  consumers: [{serviceAccountName: anybodys}]\n", "");
    eventually("it needs no consumers", SOON, || cluster.apply(&claim));
    eventually("the guard names it", SOON, || {
        let guard = scene.guard().ok_or("none")?;
        if guard["spec"]["free"] == json!(["anybodys"]) { Ok(()) } else { Err(guard["spec"].to_string()) }
    });
    eventually("it is projected", SOON, || ready(cluster, "scopedsecret", Some("payments-prod"), "anybodys"));
    let export = |namespace: &str, name: &str| of("SecretExport", namespace, name, json!({"toNamespaces": ["*"]}));
    let import = |namespace: &str, from: &str| of("SecretImport", namespace, "db", json!({"fromNamespace": from}));
    hold(
        cluster,
        &[
            ("a projected Secret is exported", &DRY, export("payments-prod", "orders"), true),
            ("one without consumers is", &DRY, export("payments-prod", "anybodys"), true),
            ("another is", &DRY, export("payments-prod", "own"), false),
            ("imported from elsewhere", &DRY, import("payments-prod", "billing-prod"), true),
            ("from the same namespace", &DRY, import("payments-prod", "payments-prod"), false),
            ("where nobody governs", &DRY, import("plain", "billing-prod"), false),
        ],
    );
    let told = cluster.submit(&DRY, &secret("payments-prod", reflects, "billing-prod/db")).unwrap_err();
    assert!(told.contains("rule Replication, ReplicatedIn: Secret payments-prod/copy: ") && told.len() < 700, "{told}");
    // Whatever somebody writes, the answer says of what it speaks, in words.
    for (stdin, says) in [
        (secret("payments-prod", reflects, "billing\nprod/db"), "fill it from another namespace"),
        (import("payments-prod", "billing\nprod"), "fills a Secret from another namespace"),
        (crowded("payments-prod", 2000), "leave out all beyond 256"),
    ] {
        let told = cluster.submit(&DRY, &stdin).unwrap_err();
        let begins = ["Secret payments-prod/copy: ", "SecretImport payments-prod/db: "];
        assert!(told.contains(says) && begins.iter().any(|begin| told.contains(begin)), "{told}");
    }

    // What was there before passes, as long as it is left alone or taken off.
    ok(cluster, &["delete", "validatingadmissionpolicybinding", "replication-enforce.scopedsecrets.io"]);
    crate::support::wait::eventually("the rule is lifted", crate::SOON, || {
        cluster.submit(&["create", "-f", "-"], &secret("payments-prod", from, "billing-prod/db"))
    });
    let overlay = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/base/guards/replication.yaml");
    ok(cluster, &["apply", "--server-side", "--force-conflicts", "-f", overlay]);
    // Under another name: `copy` is there by now, so that creating it fails whether the rule is back or not.
    let elsewhere = secret("payments-prod", reflects, "billing-prod/db").replace("\"copy\"", "\"another\"");
    crate::support::wait::eventually("the rule is back", crate::SOON, || {
        let told = cluster.submit(&DRY, &elsewhere);
        crate::refusal(&told).map(str::to_owned).ok_or(format!("{told:?}"))
    });
    let (noted, changed, off) = ("example.com/note=1", format!("{from}=billing-prod/another"), format!("{from}-"));
    let annotate = |change| ["annotate", "--overwrite", "secret", "copy", "-n", "payments-prod", change];
    hold(
        cluster,
        &[
            ("it is left alone", &annotate(noted), String::new(), false),
            ("it is changed", &annotate(&changed), String::new(), true),
            ("it is taken off", &annotate(&off), String::new(), false),
        ],
    );
    all_is_well(cluster, &scene.operator);
}
