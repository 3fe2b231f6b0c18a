//! Rule `ManagedSecrets`: nobody but the operator writes what the operator writes.

use crate::support::cluster::Cluster;
use crate::support::operator::{NAMESPACE, Operator, USER, install, lift};
use crate::support::oracle::all_is_well;
use crate::support::stub_manager::{Says, StubManager};
use crate::support::tenants::*;
use crate::support::wait::eventually;
use crate::{ADMIN, PASSES, Row, hold, label, marked, ok};
use serde_json::{Value, json};

fn owned_by(api_version: &str) -> Value {
    json!({"ownerReferences": [{"apiVersion": api_version, "kind": "ScopedSecret", "name": "orders", "uid": "00000000-0000-4000-8000-000000000000", "controller": true}]})
}

const TENANT: &str = r#"
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: tess, namespace: payments-prod}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: admin}
subjects: [{kind: User, name: tess}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: tess, namespace: scoped-secrets}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: admin}
subjects: [{kind: User, name: tess}]
"#;

const SEGMENT_GUARD: &str = "apiVersion: scopedsecrets.io/v1alpha1\nkind: SegmentGuard\nmetadata: {name: scoped-secrets, namespace: payments-prod, labels: {scopedsecrets.io/mode: Enforce}}\nspec: {targets: {}}\n";

#[test]
fn a_managed_secret_is_the_operators_also_while_it_is_gone() {
    let (cluster, stub) = (Cluster::start(), StubManager::start());
    install(&cluster);
    let operator = Operator::start(&cluster);
    set_up(&cluster, &stub.endpoint);
    apply(&cluster, TENANT);
    let value = "canary-orders-kX9mQ2vL8nR5wT3z1pQ";
    stub.put("payments/prod/orders", Says::Text(value.into()));
    apply(
        &cluster,
        &scoped_secret("payments-prod", "orders", "data: [{secretKey: value, remoteRef: {key: payments/prod/orders}}]"),
    );
    eventually("orders is ready", SOON, || ready(&cluster, "scopedsecret", Some("payments-prod"), "orders"));
    ok(&cluster, &["create", "secret", "generic", "plain", "-n", "payments-prod", "--from-literal=mine=1"]);
    whose_seal_nobody_can_read(&cluster);
    operator.kill();
    // What its webhook must see would wait; these rules hold without it.
    ok(&cluster, &["delete", "validatingwebhookconfiguration", "scoped-secrets"]);
    let probe = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: probe, namespace: payments-prod}\n";
    eventually("nobody reviews", SOON, || cluster.submit(&["create", "--dry-run=server", "-f", "-"], probe));

    let secret = cluster.get_json("secret", "payments-prod", "orders").unwrap();
    let both = |who: &str, rows: &[(&str, &str, &str)]| {
        let rows: Vec<Row> = rows.iter().map(|(line, stdin, reason)| (who, *line, *stdin, *reason)).collect();
        hold(&cluster, "ManagedSecrets", &rows);
    };
    let (managed, reserved) = ("SecretManaged", "ReservedMetadata");
    for who in [ADMIN, "tess"] {
        both(
            who,
            &[
                // Changed.
                (r#"patch secret orders -n payments-prod -p {"stringData":{"value":"forged"}}"#, "", managed),
                (r#"patch secret orders -n payments-prod -p {"stringData":{"more":"smuggled"}}"#, "", managed),
                (r#"patch secret orders -n payments-prod -p {"data":null}"#, "", managed),
                (r#"patch secret orders -n payments-prod -p {"immutable":true}"#, "", managed),
                (
                    r#"patch secret orders -n payments-prod --dry-run=server -p {"stringData":{"value":"forged"}}"#,
                    "",
                    managed,
                ),
                (
                    r#"patch secret orders -n payments-prod -p {"metadata":{"finalizers":["example.com/keep"]}}"#,
                    "",
                    managed,
                ),
                (
                    r#"patch secret orders -n payments-prod --type=json -p [{"op":"remove","path":"/metadata/ownerReferences"}]"#,
                    "",
                    managed,
                ),
                (
                    r#"patch secret orders -n payments-prod --type=json -p [{"op":"replace","path":"/metadata/ownerReferences/0/name","value":"other"}]"#,
                    "",
                    managed,
                ),
                (
                    r#"patch secret orders -n payments-prod --type=json -p [{"op":"replace","path":"/metadata/ownerReferences/0/controller","value":false}]"#,
                    "",
                    managed,
                ),
                (
                    r#"patch secret orders -n payments-prod --type=json -p [{"op":"add","path":"/metadata/ownerReferences/-","value":{"apiVersion":"v1","kind":"ConfigMap","name":"x","uid":"x"}}]"#,
                    "",
                    managed,
                ),
                ("label secret orders -n payments-prod app.kubernetes.io/managed-by-", "", managed),
                ("label secret orders -n payments-prod app.kubernetes.io/managed-by=Helm --overwrite", "", managed),
                ("label secret orders -n payments-prod scopedsecrets.io/mode=Audit", "", managed),
                ("annotate secret orders -n payments-prod scopedsecrets.io/seal-", "", managed),
                ("annotate secret orders -n payments-prod scopedsecrets.io/seal=v1.x --overwrite", "", managed),
                // Unmarked and changed at once, by whatever verb.
                ("replace -f -", &marked("orders", json!({})), managed),
                ("apply --server-side --force-conflicts -f -", &marked("orders", json!({})), managed),
                // Deleted.
                ("delete secret orders -n payments-prod", "", managed),
                ("delete secret orders -n payments-prod --cascade=foreground", "", managed),
                ("delete secret orders -n payments-prod --dry-run=server", "", managed),
                ("delete secrets -n payments-prod -l app.kubernetes.io/managed-by=scoped-secrets", "", managed),
                ("delete --raw /api/v1/namespaces/payments-prod/secrets", "", managed),
                // Forged.
                ("create -f -", &marked("forged", label()), reserved),
                ("create --dry-run=server -f -", &marked("forged", label()), reserved),
                ("create -f -", &marked("forged", json!({"annotations": {"scopedsecrets.io/seal": "v1.x"}})), reserved),
                ("create -f -", &marked("forged", owned_by("scopedsecrets.io/v1alpha1")), reserved),
                ("create -f -", &marked("forged", owned_by("scopedsecrets.io/v9")), reserved),
                (
                    "create -f -",
                    &marked("forged", label()).replace("\"name\":\"forged\"", "\"generateName\":\"forged-\""),
                    reserved,
                ),
                ("apply --server-side -f -", &marked("forged", label()), reserved),
                ("create -f -", &copied(&secret, "copy"), reserved),
                ("label secret plain -n payments-prod app.kubernetes.io/managed-by=scoped-secrets", "", reserved),
                ("annotate secret plain -n payments-prod scopedsecrets.io/seal=v1.x", "", reserved),
                ("apply --server-side -f -", &marked("plain", owned_by("scopedsecrets.io/v1alpha1")), reserved),
                (
                    "create --dry-run=server -f -",
                    &marked("forged", label()).replace("payments-prod", NAMESPACE),
                    reserved,
                ),
                // What is not the operator's.
                ("label secret orders -n payments-prod backup.example.com/wave=1 --overwrite", "", PASSES),
                ("annotate secret orders -n payments-prod example.com/note=1 --overwrite", "", PASSES),
                ("label secret orders -n payments-prod backup.example.com/wave-", "", PASSES),
                ("create -f -", &marked("own", owned_by("other.io/v1")), PASSES),
                ("label secret own -n payments-prod app.kubernetes.io/managed-by=Helm", "", PASSES),
                ("delete secret own -n payments-prod", "", PASSES),
            ],
        );
        // Encryption keys rotate, storage versions migrate: every Secret is rewritten as it is.
        let same = ok(&cluster, &["get", "secret", "orders", "-n", "payments-prod", "-o", "json"]);
        both(who, &[("replace -f -", &same, PASSES)]);
    }
    let told = cluster.submit(&["delete", "secret", "orders", "-n", "payments-prod", "--as=tess"], "").unwrap_err();
    assert!(
        told.contains("Secret payments-prod/orders: ") && told.contains("delete ScopedSecret \"orders\" instead"),
        "{told}"
    );
    let after = cluster.get_json("secret", "payments-prod", "orders").unwrap();
    assert_eq!((&after["data"], &after["metadata"]["uid"]), (&secret["data"], &secret["metadata"]["uid"]));

    hold(&cluster, "ManagedSecrets", &own_and_status());
    hold(&cluster, "ManagedSecrets", &the_control_plane());
    hold(&cluster, "ManagedSecrets", &elsewhere());
    the_end_of_a_namespace(&cluster);
    a_large_one(&cluster);

    // A new operator finds everything as it was, writes what it always writes, and is refused nothing.
    let mark = cluster.audit_mark();
    let operator = Operator::start(&cluster);
    stub.put("payments/prod/orders", Says::Text("canary-orders-later-kX9mQ2vL8nR5wT3".into()));
    ok(&cluster, &["annotate", "scopedsecret", "orders", "-n", "payments-prod", "scopedsecrets.io/refresh-at=now"]);
    eventually("the new value arrives", SOON, || match secret_value(&cluster, "payments-prod", "orders", "value") {
        Some(found) if found.contains("later") => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let refused = cluster.audit_since(mark).credential(&operator.credential).only(|r| r.code == 403 || r.code == 422);
    assert!(refused.is_empty(), "{refused:?}");
    all_is_well(&cluster, &operator);

    // The glass broken: what got past is put right, and the binding is not put back.
    lift(&cluster, "managed-secrets");
    ok(&cluster, &["patch", "secret", "orders", "-n", "payments-prod", "-p", r#"{"stringData":{"value":"forged"}}"#]);
    eventually("it is put right", SOON, || match secret_value(&cluster, "payments-prod", "orders", "value") {
        Some(found) if found.contains("later") => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let binding = cluster.get_json("validatingadmissionpolicybinding", None, "managed-secrets.scopedsecrets.io");
    assert!(binding.is_none(), "{binding:?}");
}

/// A managed Secret with everything that marks it, under another name.
fn copied(secret: &Value, name: &str) -> String {
    let mut copy = secret.clone();
    copy["metadata"] = json!({
        "name": name, "namespace": "payments-prod", "labels": secret["metadata"]["labels"],
        "annotations": secret["metadata"]["annotations"], "ownerReferences": secret["metadata"]["ownerReferences"],
    });
    copy.to_string()
}

/// The operator's own two Secrets, its status, its kinds. tess is admin in its namespace, too.
fn own_and_status() -> Vec<Row<'static>> {
    let only = "OperatorOnly";
    let mut rows = vec![];
    for who in [ADMIN, "tess"] {
        rows.extend([
            (
                who,
                r#"patch secret scoped-secrets-keys -n scoped-secrets -p {"stringData":{"generations":"forged"}}"#,
                "",
                only,
            ),
            (
                who,
                r#"patch secret scoped-secrets-webhook-tls -n scoped-secrets -p {"stringData":{"tls.key":"forged"}}"#,
                "",
                only,
            ),
            (
                who,
                "annotate secret scoped-secrets-keys -n scoped-secrets scopedsecrets.io/made=now --overwrite",
                "",
                only,
            ),
            (who, "annotate secret scoped-secrets-keys -n scoped-secrets example.com/note=1 --overwrite", "", PASSES),
            (
                who,
                "create secret generic credentials -n scoped-secrets --from-literal=accessKeyId=x --dry-run=server",
                "",
                PASSES,
            ),
        ]);
    }
    rows.extend([
        // Replaced after a leak: it is made anew. Put back from a backup: only by who may do anything.
        ("tess", "delete secret scoped-secrets-keys -n scoped-secrets", "", PASSES),
        ("tess", "create secret generic scoped-secrets-keys -n scoped-secrets --from-literal=generations=forged", "", only),
        (ADMIN, "create secret generic scoped-secrets-keys -n scoped-secrets --from-literal=generations=old", "", PASSES),
        (ADMIN, "delete secret scoped-secrets-keys -n scoped-secrets", "", PASSES),
        // Status, whoever asks.
        (ADMIN, r#"patch scopedsecret orders -n payments-prod --subresource=status --type=merge -p {"status":{"segment":"forged"}}"#, "", only),
        (ADMIN, r#"patch scopedsecretstore aws --subresource=status --type=merge -p {"status":null}"#, "", only),
        (ADMIN, r#"patch segmentationpolicy tenants --subresource=status --type=merge -p {"status":{"observedGeneration":9}}"#, "", only),
        (ADMIN, "annotate scopedsecretstore aws example.com/note=1", "", PASSES),
        // The kinds that are the operator's.
        (ADMIN, "create -f -", SEGMENT_GUARD, only),
        ("tess", "create --as-group=system:masters -f -", SEGMENT_GUARD, only),
        ("system:serviceaccount:scoped-secrets:scoped-secrets", "annotate --as-group=system:masters segmentguard scoped-secrets -n payments-prod example.com/note=1", "", PASSES),
        (ADMIN, "label segmentguard scoped-secrets -n payments-prod scopedsecrets.io/mode=Audit --overwrite", "", only),
        (ADMIN, "label segmentguard scoped-secrets -n payments-prod scopedsecrets.io/mode-", "", only),
        (ADMIN, r#"patch segmentguard scoped-secrets -n payments-prod --type=merge -p {"spec":{"targets":{"orders":["thief"]}}}"#, "", only),
        (ADMIN, "delete segmentguard scoped-secrets -n payments-prod", "", only),
        (ADMIN, "label segmentguard scoped-secrets -n payments-prod backup.example.com/wave=1", "", PASSES),
    ]);
    rows
}

/// What has nothing to do with us, where a cluster must never be held up.
fn elsewhere() -> Vec<Row<'static>> {
    vec![
        (ADMIN, "create secret generic new -n kube-system --from-literal=a=b", "", PASSES),
        (ADMIN, "label secret new -n kube-system app.kubernetes.io/managed-by=scoped-secrets", "", "ReservedMetadata"),
        (ADMIN, "label secret new -n kube-system app.kubernetes.io/managed-by=Helm", "", PASSES),
        (ADMIN, "delete secret new -n kube-system", "", PASSES),
        (ADMIN, "create secret generic credentials -n scoped-secrets --from-literal=a=b", "", PASSES),
        (ADMIN, "delete secret credentials -n scoped-secrets", "", PASSES),
    ]
}

/// Those who clean up, under whichever name they do.
fn the_control_plane() -> Vec<Row<'static>> {
    let delete = "delete secret orders -n payments-prod --dry-run=server";
    let orphan = r#"patch secret orders -n payments-prod --dry-run=server --type=json -p [{"op":"remove","path":"/metadata/ownerReferences"}]"#;
    vec![
        ("system:serviceaccount:kube-system:generic-garbage-collector", delete, "", PASSES),
        ("system:serviceaccount:kube-system:generic-garbage-collector", orphan, "", PASSES),
        ("system:serviceaccount:kube-system:namespace-controller", delete, "", PASSES),
        ("system:kube-controller-manager", delete, "", PASSES),
    ]
}

/// Restored without the key of its seal: no ScopedSecret takes it over, and nobody but the operator deletes it. The denial says
/// how that is done.
fn whose_seal_nobody_can_read(cluster: &Cluster) {
    let mut lost = label();
    lost["annotations"] = json!({"scopedsecrets.io/seal": "v1.00000000.bm90IG91cnM"});
    cluster.submit(&["create", "--as", USER, "--as-group=system:masters", "-f", "-"], &marked("lost", lost)).unwrap();
    apply(
        cluster,
        &scoped_secret("payments-prod", "lost", "data: [{secretKey: value, remoteRef: {key: payments/prod/orders}}]"),
    );
    becomes(cluster, "payments-prod", "lost", "Ready", "False", "TargetConflict");
    let delete = ["delete", "secret", "lost", "-n", "payments-prod"];
    let denial = cluster.submit(&delete, "").unwrap_err();
    let way = format!("(--as={USER})");
    assert!(denial.contains("rule ManagedSecrets, SecretManaged") && denial.contains(&way), "{denial}");
    cluster.submit(&[&delete[..], &["--as=tess"]].concat(), "").unwrap_err();
    cluster.submit(&[&delete[..], &["--as=tess", "--as-group=system:masters"]].concat(), "").unwrap_err();
    // Whoever may not impersonate it may not go that way.
    ok(cluster, &[&delete[..], &["--as", USER]].concat());
    eventually("it is projected at last", SOON, || ready(cluster, "scopedsecret", Some("payments-prod"), "lost"));
    ok(cluster, &["delete", "scopedsecret", "lost", "-n", "payments-prod"]);
    eventually("it went with it", SOON, || {
        cluster.get_json("secret", "payments-prod", "lost").map_or(Ok(()), |_| Err("still there"))
    });
}

/// In a namespace that is being deleted nothing is held up.
fn the_end_of_a_namespace(cluster: &Cluster) {
    ok(cluster, &["create", "namespace", "doomed"]);
    let mut held = label();
    held["namespace"] = "doomed".into();
    held["finalizers"] = json!(["example.com/keep"]);
    cluster.submit(&["create", "--as", USER, "--as-group=system:masters", "-f", "-"], &marked("held", held)).unwrap();
    let delete = "delete secret held -n doomed --wait=false";
    hold(cluster, "ManagedSecrets", &[(ADMIN, delete, "", "SecretManaged")]);
    ok(cluster, &["delete", "namespace", "doomed", "--wait=false"]);
    eventually("it may be deleted", SOON, || cluster.submit(&delete.split(' ').collect::<Vec<_>>(), ""));
    let free = r#"patch secret held -n doomed --type=json -p [{"op":"remove","path":"/metadata/finalizers"}]"#;
    hold(cluster, "ManagedSecrets", &[(ADMIN, free, "", PASSES)]);
    eventually("the namespace is gone", SOON, || {
        cluster.get_json("namespace", None, "doomed").map_or(Ok(()), |_| Err("still there"))
    });
}

/// What an expression may cost is enough for the largest Secret.
fn a_large_one(cluster: &Cluster) {
    let mut large: Value = serde_json::from_str(&marked("large", label())).unwrap();
    large["stringData"] = (0..1000)
        .map(|i| (format!("key-{i}"), Value::from("x".repeat(1000))))
        .collect::<serde_json::Map<_, _>>()
        .into();
    cluster.submit(&["create", "--as", USER, "--as-group=system:masters", "-f", "-"], &large.to_string()).unwrap();
    hold(
        cluster,
        "ManagedSecrets",
        &[
            (ADMIN, "annotate secret large -n payments-prod example.com/note=1", "", PASSES),
            (ADMIN, r#"patch secret large -n payments-prod -p {"stringData":{"key-999":"y"}}"#, "", "SecretManaged"),
        ],
    );
    ok(cluster, &["delete", "secret", "large", "-n", "payments-prod", "--as", USER, "--as-group=system:masters"]);
}
