//! What the API server refuses on its own: the rules Boundary, ManagedSecrets and Operator, each with the ways around it. Each
//! row says who tries what with kubectl, and what comes of it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod support;

use serde_json::{Value, json};
use support::cluster::Cluster;
use support::operator::{NAMESPACE, Operator, USER, install, lift};
use support::oracle::all_is_well;
use support::stub_manager::{Says, StubManager};
use support::tenants::*;
use support::wait::eventually;

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

fn namespace(name: &str, labels: &str) -> String {
    format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}, labels: {{{labels}}}}}\n")
}

/// nora writes namespaces, and may join nothing; paula may join and leave what is of payments; lena may only leave.
const PEOPLE: &str = r#"
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: namespaces}
rules: [{apiGroups: [""], resources: [namespaces, namespaces/status, namespaces/finalize], verbs: ["*"]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: payments}
rules: [{apiGroups: [scopedsecrets.io], resources: [segments], resourceNames: [payments/prod, payments/staging, payments], verbs: [join, leave]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: leavers}
rules: [{apiGroups: [scopedsecrets.io], resources: [segments], verbs: [leave]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: namespaces}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: namespaces}
subjects: [{kind: User, name: nora}, {kind: User, name: paula}, {kind: User, name: lena}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: payments}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: payments}
subjects: [{kind: User, name: paula}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: leavers}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: leavers}
subjects: [{kind: User, name: lena}]
"#;

/// No operator runs: the API server needs none for this.
#[test]
fn a_segment_is_joined_and_left_by_who_may() {
    let cluster = Cluster::start();
    install(&cluster);
    apply(&cluster, PEOPLE);
    let half = namespace("half", "tenant: payments");
    let prod = namespace("prod", "tenant: payments, environment: prod");
    let staging = namespace("staging", "tenant: payments, environment: staging");
    let billing = namespace("billing", "tenant: billing, environment: prod");
    hold(
        &cluster,
        "Boundary",
        &[("nora", "create -f -", &namespace("early", "tenant: payments, environment: prod"), PASSES)],
    );

    apply(&cluster, POLICY);
    eventually("the policy is seen", SOON, || {
        match cluster.submit(&["create", "--dry-run=server", "--as=nora", "-f", "-"], &prod) {
            Err(refusal) if refusal.contains("rule Boundary") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    let (join, leave) = ("JoinNotAllowed", "LeaveNotAllowed");
    hold(
        &cluster,
        "Boundary",
        &[
            // By creation.
            ("nora", "create namespace plain", "", PASSES),
            ("nora", "create -f -", &half, PASSES),
            ("nora", "create -f -", &namespace("empty", "tenant: payments, environment: ''"), PASSES),
            ("nora", "create -f -", &prod, join),
            ("nora", "apply -f -", &prod, join),
            ("nora", "apply --server-side -f -", &prod, join),
            ("nora", "create --dry-run=server -f -", &prod, join),
            ("nora", "create -f -", &prod.replace("name: prod", "generateName: prod-"), join),
            ("paula", "create -f -", &billing, join),
            ("paula", "create -f -", &prod, PASSES),
            ("paula", "apply --server-side --field-manager=paula -f -", &staging, PASSES),
            (ADMIN, "create -f -", &billing, PASSES),
            // By completing half of it.
            ("nora", "label namespace half environment=prod", "", join),
            ("nora", "label namespace half environment=prod --dry-run=server", "", join),
            ("nora", "label namespace empty environment=prod --overwrite", "", join),
            (
                "nora",
                r#"patch namespace half --subresource=status --type=merge -p {"metadata":{"labels":{"environment":"prod"}}}"#,
                "",
                join,
            ),
            (
                "nora",
                r#"patch namespace half --type=json -p [{"op":"add","path":"/metadata/labels/environment","value":"prod"}]"#,
                "",
                join,
            ),
            ("nora", "apply --server-side --field-manager=nora -f -", &namespace("half", "environment: prod"), join),
            (
                "nora",
                "replace --raw /api/v1/namespaces/half/finalize -f -",
                &finalize("half", "tenant: payments, environment: prod"),
                join,
            ),
            ("nora", "label namespace plain tenant=payments environment=prod", "", join),
            ("paula", "label namespace half environment=prod", "", PASSES),
            // By changing it: both are asked.
            ("nora", "label namespace half environment=staging --overwrite", "", join),
            ("lena", "label namespace half environment=staging --overwrite", "", join),
            ("paula", "label namespace half tenant=billing --overwrite", "", join),
            ("paula", "label namespace half environment=staging --overwrite", "", PASSES),
            // By taking a part of it away.
            ("nora", "label namespace half environment-", "", leave),
            ("nora", "label namespace half environment= --overwrite", "", leave),
            (
                "nora",
                r#"patch namespace half --subresource=status --type=merge -p {"metadata":{"labels":null}}"#,
                "",
                leave,
            ),
            (
                "nora",
                "replace --raw /api/v1/namespaces/half/finalize -f -",
                &finalize("half", "tenant: payments"),
                leave,
            ),
            ("nora", "replace -f -", &half, leave),
            ("nora", "apply --server-side --field-manager=paula -f -", &namespace("staging", ""), leave),
            // In two steps: the first is refused, or the second.
            ("lena", "label namespace half environment-", "", PASSES),
            ("nora", "label namespace half environment=staging", "", join),
            ("lena", "label namespace half environment=staging", "", join),
            // Whatever else is written there.
            ("nora", "label namespace prod color=blue", "", PASSES),
            ("nora", "annotate namespace prod color=blue", "", PASSES),
            ("nora", "label namespace half tenant=billing --overwrite", "", PASSES),
            ("nora", "label namespace half tenant-", "", PASSES),
            (
                "nora",
                "replace --raw /api/v1/namespaces/prod/finalize -f -",
                &finalize("prod", "tenant: payments, environment: prod"),
                PASSES,
            ),
            // A deletion takes along what was in it; the name does not come back with the labels.
            ("nora", "delete namespace prod --wait=false", "", PASSES),
        ],
    );
    eventually("the namespace is gone", SOON, || {
        cluster.get_json("namespace", None, "prod").map_or(Ok(()), |_| Err("still there"))
    });
    // What stood there before the policy did is in the segment, too.
    hold(
        &cluster,
        "Boundary",
        &[
            ("nora", "create -f -", &prod, join),
            ("nora", "label namespace early tenant-", "", leave),
            ("nora", "label namespace early color=blue", "", PASSES),
        ],
    );

    // A second policy that names segments otherwise asks by itself.
    apply(
        &cluster,
        &POLICY
            .replace("name: tenants", "name: teams")
            .replace("[tenant, environment]", "[tenant]")
            .replace(", {key: environment, operator: Exists}", "")
            .replace("/${label:environment}", ""),
    );
    eventually("the second policy is seen", SOON, || {
        match cluster
            .submit(&["create", "--dry-run=server", "--as=nora", "-f", "-"], &namespace("half-2", "tenant: payments"))
        {
            Err(refusal) if refusal.contains("segment \"payments\"") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    hold(
        &cluster,
        "Boundary",
        &[
            ("paula", "create -f -", &namespace("half-2", "tenant: payments"), PASSES),
            ("paula", "label namespace half-2 environment=prod", "", PASSES),
            ("nora", "label namespace half-2 environment-", "", leave),
        ],
    );
    let told = cluster
        .submit(&["create", "--as=nora", "-f", "-"], &namespace("new", "tenant: payments, environment: test"))
        .unwrap_err();
    for part in ["Namespace new: ", "tenant=payments", "the verb join on segments.scopedsecrets.io \"payments"] {
        assert!(told.contains(part), "{part:?} is missing in {told}");
    }
    assert!(!told.contains("billing"), "{told}");

    // Without the kind there is no segment, and nothing is held up.
    ok(&cluster, &["delete", "crd", "segmentationpolicies.scopedsecrets.io"]);
    eventually("namespaces are written", SOON, || {
        cluster.submit(&["label", "namespace", "plain", "tenant=payments", "environment=prod", "--as=nora"], "")
    });
}

/// What the subresource finalize takes: a whole namespace.
fn finalize(name: &str, labels: &str) -> String {
    let labels: Value = labels
        .split(", ")
        .map(|label| label.split_once(": ").map(|(k, v)| (k.to_owned(), Value::from(v))).unwrap())
        .collect::<serde_json::Map<_, _>>()
        .into();
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}, "spec": {"finalizers": ["kubernetes"]}}).to_string()
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

/// The kind itself is not there yet; the rule is.
const SEGMENT_GUARDS: &str = r#"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: segmentguards.scopedsecrets.io}
spec:
  group: scopedsecrets.io
  names: {kind: SegmentGuard, plural: segmentguards, singular: segmentguard}
  scope: Namespaced
  versions:
  - name: v1alpha1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, x-kubernetes-preserve-unknown-fields: true}}}}
"#;
const SEGMENT_GUARD: &str = "apiVersion: scopedsecrets.io/v1alpha1\nkind: SegmentGuard\nmetadata: {name: scoped-secrets, namespace: payments-prod, labels: {scopedsecrets.io/mode: Enforce}}\nspec: {targets: {}}\n";

#[test]
fn a_managed_secret_is_the_operators_also_while_it_is_gone() {
    let (cluster, stub) = (Cluster::start(), StubManager::start());
    install(&cluster);
    let operator = Operator::start(&cluster);
    set_up(&cluster, &stub.endpoint);
    apply(&cluster, TENANT);
    apply(&cluster, SEGMENT_GUARDS);
    let value = "canary-orders-kX9mQ2vL8nR5wT3z1pQ";
    stub.put("payments/prod/orders", Says::Text(value.into()));
    apply(
        &cluster,
        &scoped_secret("payments-prod", "orders", "data: [{secretKey: value, remoteRef: {key: payments/prod/orders}}]"),
    );
    eventually("orders is ready", SOON, || ready(&cluster, "scopedsecret", Some("payments-prod"), "orders"));
    ok(&cluster, &["create", "secret", "generic", "plain", "-n", "payments-prod", "--from-literal=mine=1"]);
    operator.kill();

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
                ("create --dry-run=server -f -", &marked("forged", label()).replace("payments-prod", NAMESPACE), reserved),
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
        ("system:serviceaccount:scoped-secrets:scoped-secrets", "create --as-group=system:masters -f -", SEGMENT_GUARD, PASSES),
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

/// Somebody has the operator's token, and somebody bound it to cluster-admin.
#[test]
fn the_operators_account_writes_what_the_operator_writes() {
    let cluster = Cluster::start();
    install(&cluster);
    for namespace in ["payments-prod", "plain"] {
        ok(&cluster, &["create", "namespace", namespace]);
    }
    ok(&cluster, &["create", "clusterrolebinding", "too-much", "--clusterrole=cluster-admin", "--user", USER]);
    ok(&cluster, &["create", "secret", "generic", "theirs", "-n", "plain", "--from-literal=password=theirs"]);
    ok(&cluster, &["create", "deployment", "web", "-n", "plain", "--image=web"]);
    ok(&cluster, &["run", "pod", "-n", "plain", "--image=web"]);
    let pinned = "OperatorPinned";
    let lines = |rows: &[(&str, &str, &str)]| {
        let rows: Vec<Row> = rows.iter().map(|(line, stdin, reason)| (USER, *line, *stdin, *reason)).collect();
        hold(&cluster, "Operator", &rows);
    };
    let token = marked("token", label())
        .replace("\"kind\":\"Secret\"", "\"kind\":\"Secret\",\"type\":\"kubernetes.io/service-account-token\"");
    let token =
        token.replace("\"labels\"", "\"annotations\":{\"kubernetes.io/service-account.name\":\"default\"},\"labels\"");
    eventually("the guard is in force", SOON, || {
        match cluster.submit(&["create", "namespace", "x", "--dry-run=server", "--as", USER], "") {
            Err(refusal) if refusal.contains("rule Operator") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    // Secrets.
    lines(&[
        ("create secret generic new -n plain --from-literal=a=b", "", pinned),
        (r#"patch secret theirs -n plain -p {"stringData":{"password":"forged"}}"#, "", pinned),
        ("label secret theirs -n plain app.kubernetes.io/managed-by=scoped-secrets", "", pinned),
        (
            "apply --server-side --force-conflicts -f -",
            &marked("theirs", label()).replace("payments-prod", "plain"),
            pinned,
        ),
        ("delete secret theirs -n plain", "", pinned),
        ("delete --raw /api/v1/namespaces/plain/secrets", "", pinned),
        ("delete secret theirs -n plain --dry-run=server", "", pinned),
        ("create secret generic credentials -n scoped-secrets --from-literal=a=b", "", pinned),
        ("create secret generic scoped-secrets-keys -n plain --from-literal=a=b", "", pinned),
        ("create -f -", &token, pinned),
        ("create secret generic scoped-secrets-keys -n scoped-secrets --from-literal=a=b", "", PASSES),
        (r#"patch secret scoped-secrets-keys -n scoped-secrets -p {"stringData":{"a":"c"}}"#, "", PASSES),
        ("create -f -", &marked("ours", label()), PASSES),
        (r#"patch secret ours -n payments-prod -p {"stringData":{"value":"later"}}"#, "", PASSES),
        ("annotate secret ours -n payments-prod scopedsecrets.io/seal=v1.x", "", PASSES),
        ("label secret ours -n payments-prod app.kubernetes.io/managed-by-", "", pinned),
    ]);
    // One that lost its label, past the guard, is still put right.
    lift(&cluster, "managed-secrets");
    ok(&cluster, &["label", "secret", "ours", "-n", "payments-prod", "app.kubernetes.io/managed-by-"]);
    lines(&[
        (r#"patch secret ours -n payments-prod -p {"metadata":{"finalizers":null}}"#, "", PASSES),
        ("label secret ours -n payments-prod app.kubernetes.io/managed-by=scoped-secrets", "", PASSES),
        ("delete secret ours -n payments-prod", "", PASSES),
    ]);
    // Workloads: one annotation of their pods.
    let restart = |extra: &str, more: &str| {
        format!(
            r#"patch deployment web -n plain -p {{"spec":{{{more}"template":{{"metadata":{{"annotations":{{"scopedsecrets.io/restarted-for":"1"{extra}}}}}}}}}}}"#
        )
    };
    lines(&[
        (&restart("", ""), "", PASSES),
        (&restart(r#","other":"1""#, ""), "", pinned),
        (&restart("", r#""replicas":3,"#), "", pinned),
        (
            r#"patch deployment web -n plain -p {"spec":{"template":{"spec":{"serviceAccountName":"thief"}}}}"#,
            "",
            pinned,
        ),
        (r#"patch deployment web -n plain -p {"spec":{"template":{"metadata":{"labels":{"a":"b"}}}}}"#, "", pinned),
        ("label deployment web -n plain a=b", "", pinned),
        ("scale deployment web -n plain --replicas=3", "", pinned),
        ("delete deployment web -n plain", "", pinned),
        ("create deployment new -n plain --image=web", "", pinned),
        ("run new -n plain --image=web", "", pinned),
        ("create --raw /api/v1/namespaces/plain/pods/pod/exec?command=id -f -", "{}", pinned),
        (
            "create --raw /api/v1/namespaces/plain/pods/pod/eviction -f -",
            r#"{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":"pod","namespace":"plain"}}"#,
            pinned,
        ),
        ("get --raw /api/v1/namespaces/plain/pods/pod/proxy/", "", pinned),
        ("delete pod pod -n plain --dry-run=server", "", pinned),
    ]);
    // Whatever would make it more than it is.
    lines(&[
        ("create token default -n plain", "", pinned),
        ("create serviceaccount new -n plain", "", pinned),
        ("create clusterrole new --verb=get --resource=secrets", "", pinned),
        ("create clusterrolebinding new --clusterrole=cluster-admin --user=thief", "", pinned),
        ("create role new -n plain --verb=get --resource=secrets", "", pinned),
        ("create -f -", &grant("scopedsecrets.io/v1alpha1", "Role"), PASSES),
        ("delete rolebinding grant -n plain", "", PASSES),
        ("create -f -", &grant("scopedsecrets.io/v1alpha1", "ClusterRole"), pinned),
        ("create -f -", &grant("example.com/v1", "Role"), pinned),
        ("create namespace new", "", pinned),
        ("label namespace plain tenant=payments", "", pinned),
        ("create configmap new -n plain", "", pinned),
        ("delete validatingwebhookconfiguration scoped-secrets", "", pinned),
        ("annotate validatingwebhookconfiguration scoped-secrets example.com/note=1", "", PASSES),
        ("delete crd segmentationpolicies.scopedsecrets.io", "", pinned),
    ]);
    // Of its own kinds it writes findings, never what it is told to do.
    let claim = scoped_secret("plain", "claim", "data: [{secretKey: value, remoteRef: {key: payments/prod/orders}}]");
    apply(&cluster, &claim);
    apply(&cluster, POLICY);
    lines(&[
        ("create -f -", &claim.replace("name: claim", "name: other"), pinned),
        ("delete scopedsecret claim -n plain", "", pinned),
        ("annotate scopedsecret claim -n plain scopedsecrets.io/refresh-at=now", "", pinned),
        (r#"patch segmentationpolicy tenants --type=merge -p {"spec":{"mode":"Audit"}}"#, "", pinned),
        ("delete segmentationpolicy tenants", "", pinned),
        (
            r#"patch scopedsecret claim -n plain --subresource=status --type=merge -p {"status":{"segment":"payments/prod"}}"#,
            "",
            PASSES,
        ),
        ("auth can-i create pods -n plain", "", PASSES),
        (
            "create -f -",
            "apiVersion: coordination.k8s.io/v1\nkind: Lease\nmetadata: {name: x, namespace: scoped-secrets}\n",
            PASSES,
        ),
    ]);
    // Nobody else notices.
    assert!(ok(&cluster, &["create", "token", "default", "-n", "plain"]).len() > 100);
    let told = cluster.submit(&["delete", "secret", "theirs", "-n", "plain", "--as", USER], "").unwrap_err();
    assert!(
        told.contains(&format!("Secret plain/theirs: the account of the operator may not delete this"))
            && told.len() < 700,
        "{told}"
    );
    assert_eq!(NAMESPACE, "scoped-secrets", "the rules name it");
}

/// A RoleBinding as a grant has it.
fn grant(owner: &str, role: &str) -> String {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": {
            "name": "grant", "namespace": "plain", "labels": {"app.kubernetes.io/managed-by": "scoped-secrets"},
            "ownerReferences": [{"apiVersion": owner, "kind": "SecretGrant", "name": "ada", "uid": "00000000-0000-4000-8000-000000000000", "controller": true}],
        },
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": role, "name": "grant"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "ada"}],
    })
    .to_string()
}
