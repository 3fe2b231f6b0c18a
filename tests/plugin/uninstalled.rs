//! A cluster without Scoped Secrets: what an audit finds there, and whether it can be installed.

use super::*;
use crate::support::foreign_kind;

/// As much of external-secrets.io as an audit reads.
const EXTERNAL_SECRETS: &str = include_str!("external-secrets.yaml");

fn external(namespace: &str, name: &str, store: &str, rest: &str) -> String {
    format!(
        "apiVersion: external-secrets.io/v1\nkind: ExternalSecret\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec:\n  secretStoreRef: {{name: {store}, kind: ClusterSecretStore}}\n  {rest}\n"
    )
}

#[test]
fn an_audit_before_anything_is_installed() {
    let cluster = &Cluster::start();
    plugin(cluster, &["check", "--pre"]).says(0, &["you may install", "nothing is in the way", "clean"]);
    plugin(cluster, &["check"]).says(1, &["is not installed", "check --pre"]);
    plugin(cluster, &["audit"]).says(0, &["is not installed", "clean"]);
    plugin(cluster, &["why", "a"]).says(2, &["not installed"]);

    brownfield(cluster);
    let audit = plugin(cluster, &["audit", "--labels", "tenant,environment", "-o", "json"]).says(1, &[]);
    audit.finds("ValueRepeated", "Secret", "db");
    audit.finds("SecretShared", "Secret", "db");
    audit.finds("SecretInDefault", "Secret", "lost");
    audit.finds("CrossSegmentAccess", "RoleBinding", "across");
    audit.finds("ClusterWideAccess", "ClusterRoleBinding", "everybody");
    audit.finds("KeyShared", "ExternalSecret", "reports");
    audit.finds("KeyNotExact", "ExternalSecret", "greedy");
    audit.finds("ReplicatedIn", "SecretImport", "carried");
    let report = audit.json();
    let findings = report["findings"].as_array().unwrap();
    let severity = |reason: &str| &findings.iter().find(|f| f["reason"] == reason).unwrap()["severity"];
    assert_eq!((severity("ValueRepeated"), severity("KeyShared")), (&json!("error"), &json!("error")));
    let named = report.to_string();
    assert!(
        named.contains("of ConfigMap billing-staging/settings (segment billing/staging)"),
        "inside a text: {report:#}"
    );
    assert!(named.contains("segment payments/prod") && !named.contains("apart"), "{report:#}");
    is_sarif(&plugin(cluster, &["audit", "-o", "sarif"]));

    let alone = plugin(cluster, &["audit"]).says(1, &["(namespace payments-prod)", "ValueRepeated", "KeyShared"]);
    assert!(!alone.out.contains("segment payments"), "{}", alone.out);
    let tenants = plugin(cluster, &["audit", "--labels", "company"]).says(1, &["SecretShared"]);
    assert!(!tenants.out.contains("KeyShared"), "one segment: {}", tenants.out);

    let told = |namespace: &str, about: &str| {
        plugin(cluster, &["audit", "--labels", "tenant,environment", "-n", namespace]).says(1, &[about]);
    };
    told("payments-prod", "Secret payments-prod/db: [ValueRepeated]");
    told("billing-staging", "ConfigMap billing-staging/settings: [ValueRepeated]");
    told("payments-prod", "ExternalSecret payments-prod/orders: [KeyShared]");

    a_policy_is_tried(cluster);
    what_is_misspelt_is_told(cluster);
    plugin(cluster, &["trace", "a", "-n", "payments-prod"]).says(0, &["in no segment", "not managed"]);
    let reader = ["--as", "system:serviceaccount:payments-prod:a"];
    plugin(cluster, &[&["check", "--pre"][..], &reader].concat()).says(1, &["PermissionMissing"]);
    plugin(cluster, &[&["audit"][..], &reader].concat()).says(1, &["you may not list secrets"]);
}

/// Before anything is installed, and without writing anything.
fn a_policy_is_tried(cluster: &Cluster) {
    let policy = "apiVersion: scopedsecrets.io/v1alpha1
kind: SegmentationPolicy
metadata: {name: tenants}
spec:
  segment: {labels: [tenant, environment]}
  namespaceSelector: {matchExpressions: [{key: tenant, operator: Exists}]}
  allow: [{storeRef: {name: main}, keys: ['${label:tenant}/${label:environment}/**']}]
  rules: {governs: [ExternalSecrets]}
---
apiVersion: scopedsecrets.io/v1alpha1
kind: ScopedSecretStore
metadata: {name: main}
spec: {aws: {region: eu-west-1, accountId: '123456789012'}}
";
    let tried = plugin_with(cluster, &["audit", "-f", "-", "-o", "json"], policy).says(1, &[]);
    for name in ["orders", "reports"] {
        tried.finds("KeyNotAllowed", "ExternalSecret", name);
    }
    tried.finds("KeyNotExact", "ExternalSecret", "greedy");
    tried.finds("CrossSegmentAccess", "RoleBinding", "across");
    let out = &tried.out;
    assert!(
        !out.contains("KeyShared") && !out.contains("\"own\"") && out.contains("allowed here: billing/prod/**"),
        "{out}"
    );
    let unknown = policy.replace(", accountId: '123456789012'", "");
    plugin_with(cluster, &["audit", "-f", "-"], &unknown).says(2, &["accountId"]);
    plugin_with(cluster, &["audit", "-f", "-"], &policy.replace("segment:", "segmnt:"))
        .says(2, &["stdin:5:", "segmnt"]);
    assert!(!kubectl(cluster, &["get", "crds", "-o", "name"]).contains("scopedsecrets.io"), "nothing is written");
}

/// What is not there is no clean cluster.
fn what_is_misspelt_is_told(cluster: &Cluster) {
    let missing = "there is no namespace \"payment-prod\"; did you mean \"payments-prod\"?";
    for verb in [&["audit"][..], &["check"], &["why", "a"], &["why", "--key", "k"]] {
        plugin(cluster, &[verb, &["-n", "payment-prod"]].concat()).says(2, &[missing]);
    }
    plugin(cluster, &["trace", "a", "-n", "payment-prod"]).says(2, &["there is no namespace"]);
    plugin(cluster, &["trace", "nobody", "-n", "payments-prod"]).says(2, &["there is none", "deployment/nobody"]);
    plugin(cluster, &["audit", "--labels", "tennant"]).says(2, &["did you mean \"tenant\"?"]);
}

/// A database password in two environments and in two workloads, roles across, and two ExternalSecrets on one key.
fn brownfield(cluster: &Cluster) {
    for (tenant, environment) in [("payments", "prod"), ("billing", "prod"), ("billing", "staging")] {
        apply(
            cluster,
            &format!(
                "apiVersion: v1\nkind: Namespace\nmetadata: {{name: {tenant}-{environment}, labels: {{company: one, tenant: {tenant}, environment: {environment}}}}}\n"
            ),
        );
    }
    for namespace in ["payments-prod", "billing-prod"] {
        apply(cluster, &secret(namespace, "db", VALUE));
    }
    let settings = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings", "namespace": "billing-staging"},
        "data": {"app.env": format!("URL=postgres://app:{VALUE}@db/orders\n")},
    });
    apply(cluster, &settings.to_string());
    apply(cluster, &secret("billing-staging", "apart", "canary-another-wT3zkX9mQ2vL8nR5"));
    apply(cluster, &secret("default", "lost", "canary-x"));
    for account in ["a", "b"] {
        kubectl(cluster, &["create", "serviceaccount", account, "-n", "payments-prod"]);
        apply(cluster, &pod("payments-prod", account, account, "db").to_string());
    }
    kubectl(
        cluster,
        &[
            "create",
            "rolebinding",
            "across",
            "-n",
            "payments-prod",
            "--clusterrole=admin",
            "--serviceaccount=billing-prod:x",
        ],
    );
    kubectl(
        cluster,
        &[
            "create",
            "rolebinding",
            "own",
            "-n",
            "payments-prod",
            "--clusterrole=admin",
            "--serviceaccount=payments-prod:a",
        ],
    );
    kubectl(cluster, &["create", "clusterrole", "readers", "--verb=get,list", "--resource=secrets"]);
    apply(cluster, EXTERNAL_SECRETS);
    for crd in ["externalsecrets", "clustersecretstores", "secretstores"] {
        let name = format!("crd/{crd}.external-secrets.io");
        kubectl(cluster, &["wait", "--for=condition=Established", "--timeout=20s", &name]);
    }
    foreign_kind::install(cluster, "secretgen.carvel.dev", "v1alpha1", ("SecretImport", "secretimports"), "Namespaced");
    let carried = "apiVersion: secretgen.carvel.dev/v1alpha1\nkind: SecretImport\nmetadata: {name: carried, namespace: payments-prod}\nspec: {fromNamespace: billing-prod}\n";
    eventually("the kind is served", SOON, || cluster.apply(carried));
    for store in ["main", "same"] {
        let yaml = format!(
            "apiVersion: external-secrets.io/v1\nkind: ClusterSecretStore\nmetadata: {{name: {store}}}\nspec: {{provider: {{aws: {{service: SecretsManager, region: eu-west-1}}}}}}\n"
        );
        eventually("the kind is served", SOON, || cluster.apply(&yaml));
    }
    let one = "data: [{secretKey: a, remoteRef: {key: shared/db}}]";
    eventually("the kind is served", SOON, || cluster.apply(&external("payments-prod", "orders", "main", one)));
    apply(cluster, &external("billing-prod", "reports", "same", one));
    apply(cluster, &external("billing-staging", "own", "main", "dataFrom: [{extract: {key: billing/staging/db}}]"));
    apply(cluster, &external("billing-staging", "greedy", "main", "dataFrom: [{find: {name: {regexp: '.*'}}}]"));
    kubectl(
        cluster,
        &[
            "create",
            "clusterrolebinding",
            "everybody",
            "--clusterrole=readers",
            "--group=system:serviceaccounts:billing-prod",
        ],
    );
}
