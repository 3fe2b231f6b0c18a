//! A cluster without Scoped Secrets: what an audit finds there, and whether it can be installed.

use super::*;

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

    plugin(cluster, &["trace", "a", "-n", "payments-prod"]).says(0, &["in no segment", "not managed"]);
    let reader = ["--as", "system:serviceaccount:payments-prod:a"];
    plugin(cluster, &[&["check", "--pre"][..], &reader].concat()).says(1, &["PermissionMissing"]);
    plugin(cluster, &[&["audit"][..], &reader].concat()).says(1, &["you may not list secrets"]);
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
