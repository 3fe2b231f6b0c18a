//! Rule `Boundary`: who moves a namespace into a segment, or out of it.

use crate::support::cluster::Cluster;
use crate::support::operator::install;
use crate::support::tenants::{POLICY, SOON, apply};
use crate::support::wait::eventually;
use crate::{ADMIN, PASSES, hold, ok};
use serde_json::{Value, json};

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
    eventually("who may what is known", SOON, || {
        let may = cluster.submit(&["auth", "can-i", "create", "namespaces", "--as", "nora"], "")?;
        if may.trim() == "yes" { Ok(()) } else { Err(may) }
    });
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

    // Where the name is the segment, only namespaces that are selected by it are asked about.
    let named = "apiVersion: scopedsecrets.io/v1alpha1\nkind: SegmentationPolicy\nmetadata: {name: named}\nspec:\n  segment: {labels: [kubernetes.io/metadata.name]}\n  namespaceSelector: {matchExpressions: [{key: kubernetes.io/metadata.name, operator: In, values: [sandbox]}]}\n";
    apply(&cluster, named);
    eventually("the policy by name is seen", SOON, || {
        match cluster.submit(&["create", "--dry-run=server", "--as=nora", "-f", "-"], &namespace("sandbox", "")) {
            Err(refusal) if refusal.contains("segment \"sandbox\"") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    hold(
        &cluster,
        "Boundary",
        &[
            ("nora", "create -f -", &namespace("sandbox-2", ""), PASSES),
            (
                "nora",
                "create --dry-run=server -f -",
                &namespace("x", "").replace("name: x", "generateName: sandbox"),
                PASSES,
            ),
            ("nora", "label namespace sandbox-2 color=blue", "", PASSES),
            ("nora", "delete namespace sandbox-2 --wait=false", "", PASSES),
            (ADMIN, "delete segmentationpolicy named", "", PASSES),
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
