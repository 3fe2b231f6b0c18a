//! Rule `Operator`: the operator's account writes nothing but what the operator writes.

use crate::support::cluster::Cluster;
use crate::support::operator::{NAMESPACE, USER, install, lift};
use crate::support::tenants::{POLICY, SOON, apply, scoped_secret};
use crate::support::wait::eventually;
use crate::{PASSES, Row, hold, label, marked, ok};
use serde_json::json;

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
        ("delete rolebinding grant-ada-0123456789 -n plain", "", PASSES),
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
        told.contains("Secret plain/theirs: the account of the operator may not delete this") && told.len() < 700,
        "{told}"
    );
    assert_eq!(NAMESPACE, "scoped-secrets", "the rules name it");
}

/// A RoleBinding as a grant has it.
fn grant(owner: &str, role: &str) -> String {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": {
            "name": "grant-ada-0123456789", "namespace": "plain", "labels": {"app.kubernetes.io/managed-by": "scoped-secrets"},
            "ownerReferences": [{"apiVersion": owner, "kind": "SecretGrant", "name": "ada", "uid": "00000000-0000-4000-8000-000000000000", "controller": true}],
        },
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": role, "name": "grant-ada-0123456789"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "ada"}],
    })
    .to_string()
}
