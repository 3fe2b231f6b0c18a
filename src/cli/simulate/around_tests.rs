//! What stands beside the ScopedSecrets, by the rules other than Claims and Policies.

use super::report::Finding;
use super::tests::{PLATFORM, line, report, secret};

/// What the platform allows beside, so that each rule has something to say: `RULES` is put into the policy.
fn judged(rules: &str, app: &str) -> Vec<Finding> {
    let platform = PLATFORM.replace(
        "  segment: {labels: [tenant, environment]}\n",
        &format!("  segment: {{labels: [tenant, environment]}}\n{rules}"),
    );
    let claims = secret("payments-prod", "orders", "payments/prod/db")
        + "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: plain}\n";
    report(&[("platform.yaml", &platform), ("claims.yaml", &claims), ("app.yaml", app)]).findings
}

/// `line severity rule reason` of each.
fn found_under(rules: &str, app: &str) -> Vec<String> {
    let told = |f: &Finding| format!("{} {} {} {}", line(f), f.severity.as_str(), f.rule.as_str(), f.reason);
    judged(rules, app).iter().map(told).collect()
}

fn found(app: &str) -> Vec<String> {
    found_under("", app)
}

fn nothing() -> Vec<String> {
    vec![]
}

const POD: &str = "apiVersion: v1
kind: Pod
metadata: {name: orders, namespace: payments-prod, labels: {name: orders}}
spec:
  serviceAccountName: web
  containers:
  - name: orders
    resources: {limits: {cpu: 1, memory: 1073741824}}
    envFrom:
    - secretRef:
        name: orders
  volumes:
  - {name: scratch, emptyDir: {sizeLimit: 1}}
";

#[test]
fn a_pod_under_another_account_is_found_where_it_names_the_secret() {
    assert_eq!(found(POD), ["11 error Consumers ForeignConsumer"]);
    for (app, expected) in [
        (POD.replace("serviceAccountName: web", "serviceAccountName: orders"), nothing()),
        (POD.replace("serviceAccountName: web", "serviceAccount: orders"), nothing()),
        (POD.replace("  serviceAccountName: web\n", ""), vec!["10 error Consumers ForeignConsumer".to_owned()]),
        (POD.replace("        name: orders", "        name: other"), nothing()),
        (POD.replace("payments-prod", "billing-prod"), nothing()),
        (POD.replace("payments-prod", "plain"), nothing()),
        (POD.to_owned() + "status: {phase: Succeeded}\n", nothing()),
    ] {
        assert_eq!(found(&app), expected, "{app}");
    }
    let said = judged("", POD);
    for part in ["\"web\"", "no consumer of Secret \"orders\"", "(orders)", "spec.consumers"] {
        assert!(said[0].message.contains(part), "{part} in {}", said[0].message);
    }
}

#[test]
fn what_makes_pods_is_judged_as_they_are() {
    let template = "{spec: {serviceAccountName: web, containers: [{name: c, env: [{name: V, valueFrom: {secretKeyRef: {name: orders, key: k}}}]}]}}";
    for (version, kind, body) in [
        ("apps/v1", "Deployment", format!("spec: {{template: {template}}}")),
        ("apps/v1", "StatefulSet", format!("spec: {{template: {template}}}")),
        ("apps/v1", "DaemonSet", format!("spec: {{template: {template}}}")),
        ("apps/v1", "ReplicaSet", format!("spec: {{template: {template}}}")),
        ("v1", "ReplicationController", format!("spec: {{template: {template}}}")),
        ("v1", "PodTemplate", format!("template: {template}")),
        ("batch/v1", "Job", format!("spec: {{template: {template}}}")),
        ("batch/v1", "CronJob", format!("spec: {{jobTemplate: {{spec: {{template: {template}}}}}}}")),
        ("v1", "ServiceAccount", "secrets: [{name: orders}]".to_owned()),
        ("v1", "ServiceAccount", "imagePullSecrets: [{name: orders}]".to_owned()),
    ] {
        let app =
            format!("apiVersion: {version}\nkind: {kind}\nmetadata: {{name: web, namespace: payments-prod}}\n{body}\n");
        assert_eq!(found(&app), ["4 error Consumers ForeignConsumer"], "{app}");
        let own =
            app.replace("serviceAccountName: web", "serviceAccountName: orders").replace("{name: web", "{name: orders");
        assert_eq!(found(&own), nothing(), "{own}");
    }
}

#[test]
fn the_mode_and_what_lifts_a_rule_are_said() {
    let lifted = "  exceptions: [{rule: Consumers, namespaces: [payments-prod], reason: moving, expirationTime: 2026-02-01T00:00:00Z}]\n";
    for (rules, severity, says) in [
        ("", "error", None),
        ("  mode: Warn\n", "warning", Some("mode Warn")),
        ("  mode: Audit\n", "warning", Some("recorded")),
        ("  reportOnly: [Consumers]\n", "warning", Some("reportOnly")),
        ("  reportOnly: [Rbac]\n", "error", None),
        (lifted, "warning", Some("an exception")),
    ] {
        let found = judged(rules, POD);
        assert_eq!((found.len(), found[0].severity.as_str()), (1, severity), "{rules}");
        assert!(says.is_none_or(|says| found[0].message.contains(says)), "{rules}: {}", found[0].message);
    }
}

#[test]
fn volumes_that_point_into_a_governed_namespace_are_warned_of() {
    let volume = |namespace: &str| {
        format!(
            "apiVersion: v1\nkind: PersistentVolume\nmetadata: {{name: v}}\nspec:\n  capacity: {{storage: 1}}\n  csi: {{driver: d, volumeHandle: h, nodeStageSecretRef: {{namespace: {namespace}, name: orders}}}}\n"
        )
    };
    assert_eq!(found(&volume("payments-prod")), ["4 warning Consumers ForeignConsumer"]);
    assert_eq!(found(&volume("plain")), nothing());
    let class = |namespace: &str| {
        format!(
            "apiVersion: storage.k8s.io/v1\nkind: StorageClass\nmetadata: {{name: c}}\nprovisioner: d\nparameters: {{secretName: x, secretNamespace: {namespace}}}\n"
        )
    };
    assert_eq!(found(&class("billing-prod")), ["5 warning Consumers ForeignConsumer"]);
    assert_eq!(found(&class("plain")), nothing());
}

#[test]
fn secrets_that_pass_for_the_operators_or_are_carried_about_are_found() {
    let secret = |namespace: &str, name: &str, metadata: &str| {
        format!(
            "apiVersion: v1\nkind: Secret\nmetadata:\n  name: {name}\n  namespace: {namespace}\n{metadata}stringData: {{a: b}}\n"
        )
    };
    let (label, seal) = (
        "  labels:\n    app.kubernetes.io/managed-by: scoped-secrets\n",
        "  annotations: {scopedsecrets.io/seal: x}\n",
    );
    let owner = "  ownerReferences: [{apiVersion: scopedsecrets.io/v1alpha1, kind: ScopedSecret, name: x, uid: u, controller: true}]\n";
    let from = "  annotations:\n    replicator.v1.mittwald.de/replicate-from: billing-prod/db\n";
    let offered = "  annotations: {kubed.appscode.com/sync: ''}\n";
    for (app, expected) in [
        (secret("payments-prod", "own", ""), vec![]),
        (secret("payments-prod", "own", label), vec!["7 error ManagedSecrets ReservedMetadata"]),
        (secret("plain", "own", seal), vec!["6 error ManagedSecrets ReservedMetadata"]),
        (secret("kube-system", "own", owner), vec!["6 error ManagedSecrets ReservedMetadata"]),
        (secret("payments-prod", "own", &label.replace("scoped-secrets", "Helm")), vec![]),
        (secret("payments-prod", "orders", ""), vec!["4 error ManagedSecrets SecretManaged"]),
        (secret("plain", "orders", ""), vec![]),
        (secret("payments-prod", "own", from), vec!["7 error Replication ReplicatedIn"]),
        (secret("billing-prod", "own", from), vec![]),
        (secret("plain", "own", from), vec![]),
        (secret("payments-prod", "own", offered), vec![]),
        (
            secret("payments-prod", "orders", offered),
            vec!["4 error ManagedSecrets SecretManaged", "6 error Replication ReplicatedOut"],
        ),
        (secret("payments-prod", "own", "  annotations: {a: 1}\n"), vec!["1 warning Schema SpecInvalid"]),
    ] {
        assert_eq!(found(&app), expected, "{app}");
    }
}

fn binding(kind: &str, namespace: &str, role: &str, subject: &str) -> String {
    let space = if kind == "RoleBinding" { format!(", namespace: {namespace}") } else { String::new() };
    let (role_kind, role) = role.split_once('/').unwrap_or(("ClusterRole", role));
    format!(
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: {kind}\nmetadata: {{name: b{space}}}\nroleRef: {{apiGroup: rbac.authorization.k8s.io, kind: {role_kind}, name: {role}}}\nsubjects:\n- {subject}\n"
    )
}

#[test]
fn bindings_across_a_boundary_are_found() {
    let account = |namespace: &str| format!("{{kind: ServiceAccount, name: x, namespace: {namespace}}}");
    let ada = "{kind: User, apiGroup: rbac.authorization.k8s.io, name: ada}";
    let role = |kind: &str, name: &str, space: &str, labels: &str, resource: &str| {
        format!(
            "---\napiVersion: rbac.authorization.k8s.io/v1\nkind: {kind}\nmetadata: {{name: {name}{space}{labels}}}\nrules: [{{apiGroups: [''], resources: [{resource}], verbs: [get]}}]\n"
        )
    };
    let crossing = vec!["5 error Rbac CrossSegmentAccess".to_owned()];
    let in_payments = |role: &str, subject: &str| binding("RoleBinding", "payments-prod", role, subject);
    let own_role = ", namespace: payments-prod";
    let aggregated = ", labels: {rbac.authorization.k8s.io/aggregate-to-view: 'true'}";
    for (app, expected) in [
        (in_payments("edit", &account("payments-prod")), nothing()),
        (in_payments("edit", &account("billing-prod")), crossing.clone()),
        (in_payments("admin", &account("plain")), crossing.clone()),
        (in_payments("view", &account("billing-prod")), nothing()),
        (in_payments("edit", ada), nothing()),
        (in_payments("edit", "{kind: Group, apiGroup: x, name: 'system:authenticated'}"), crossing.clone()),
        (binding("RoleBinding", "plain", "edit", &account("billing-prod")), nothing()),
        // A namespace of which nothing is known is not taken for a governed one, and that is said.
        (
            binding("RoleBinding", "unknown", "edit", &account("billing-prod")),
            vec!["3 note Rbac PolicyUnknown".to_owned()],
        ),
        (in_payments("Role/reads", &account("billing-prod")), vec!["5 error Rbac RoleUnknown".to_owned()]),
        (
            in_payments("Role/reads", &account("billing-prod")) + &role("Role", "reads", own_role, "", "secrets"),
            crossing.clone(),
        ),
        (in_payments("Role/reads", &account("billing-prod")) + &role("Role", "reads", own_role, "", "pods"), nothing()),
        (
            in_payments("view", &account("billing-prod")) + &role("ClusterRole", "more", "", aggregated, "secrets"),
            crossing,
        ),
        (binding("ClusterRoleBinding", "", "cluster-admin", ada), vec!["5 error Rbac ClusterWideAccess".to_owned()]),
        (binding("ClusterRoleBinding", "", "view", ada), nothing()),
        (
            binding("ClusterRoleBinding", "", "runs", ada) + &role("ClusterRole", "runs", "", "", "pods/exec"),
            vec!["5 warning Rbac ClusterWideAccess".to_owned()],
        ),
        (
            binding("ClusterRoleBinding", "", "cluster-admin", "{kind: Group, apiGroup: x, name: 'system:masters'}"),
            nothing(),
        ),
    ] {
        assert_eq!(found(&app), expected, "{app}");
    }
    let readers = "  rules: {readers: [{kind: User, name: ada}]}\n";
    assert_eq!(found_under(readers, &binding("ClusterRoleBinding", "", "cluster-admin", ada)), nothing());
}

const STORE: &str = "---\napiVersion: external-secrets.io/v1\nkind: SecretStore\nmetadata: {name: aws, namespace: payments-prod}\nspec: {provider: {aws: {service: SecretsManager, region: eu-west-1}}}\n";

fn external(namespace: &str, key: &str) -> String {
    format!(
        "apiVersion: external-secrets.io/v1\nkind: ExternalSecret\nmetadata: {{name: x, namespace: {namespace}}}\nspec:\n  secretStoreRef: {{name: aws}}\n  data:\n  - secretKey: p\n    remoteRef:\n      key: {key}\n"
    )
}

#[test]
fn what_other_operators_are_asked_for_is_judged_where_a_policy_governs_it() {
    let governs = "  rules: {governs: [ExternalSecrets, VaultSecrets, SecretProviderClasses]}\n";
    let of = |namespace: &str, key: &str| external(namespace, key) + &STORE.replace("payments-prod", namespace);
    let class = "apiVersion: secrets-store.csi.x-k8s.io/v1\nkind: SecretProviderClass\nmetadata: {name: x, namespace: billing-prod}\nspec:\n  provider: aws\n  parameters:\n    region: eu-west-1\n    objects: |\n      - objectName: payments/prod/db\n        objectType: secretsmanager\n";
    let push = "apiVersion: external-secrets.io/v1alpha1\nkind: PushSecret\nmetadata: {name: x, namespace: payments-prod}\nspec: {secretStoreRefs: [{name: aws}], selector: {secret: {name: orders}}}\n";
    let spread = "apiVersion: external-secrets.io/v1\nkind: ClusterExternalSecret\nmetadata: {name: x}\nspec:\n  namespaces: [payments-prod, billing-prod]\n  externalSecretSpec: {secretStoreRef: {name: aws}, data: [{remoteRef: {key: shared/x}}]}\n";
    for (app, expected) in [
        (of("payments-prod", "payments/prod/other"), nothing()),
        (of("payments-prod", "billing/prod/db"), vec!["9 error OtherOperators KeyNotAllowed".to_owned()]),
        (of("plain", "billing/prod/db"), nothing()),
        (of("unknown", "billing/prod/db"), vec!["3 error OtherOperators PolicyUnknown".to_owned()]),
        (external("payments-prod", "payments/prod/other"), vec!["9 error OtherOperators StoreUnresolved".to_owned()]),
        (class.to_owned(), vec!["9 error OtherOperators KeyNotAllowed".to_owned()]),
        (push.to_owned() + STORE, vec!["4 error OtherOperators ReplicatedOut".to_owned()]),
        (
            spread.to_owned() + STORE + &STORE.replace("payments-prod", "billing-prod"),
            vec!["6 error OtherOperators KeyNotAllowed".to_owned()],
        ),
    ] {
        assert_eq!(found_under(governs, &app), expected, "{app}");
        assert_eq!(found(&app), nothing(), "nobody governs it: {app}");
    }
    let audit = found_under(&format!("{governs}  mode: Audit\n"), &of("payments-prod", "billing/prod/db"));
    assert_eq!(audit, ["9 warning OtherOperators KeyNotAllowed"]);
}

#[test]
fn what_must_be_corrected_elsewhere_is_not_said_again() {
    let broken = "  rules: {governs: [ExternalSecrets]}\n  mode: Enforced\n";
    let app = [POD, &external("payments-prod", "billing/prod/db"), STORE.trim_start_matches("---\n")].join("---\n");
    let found = found_under(broken, &app);
    assert!(found.iter().all(|finding| finding.contains("Policies") || finding.contains("Schema")), "{found:?}");
}

#[test]
fn a_thousand_of_them_take_no_time() {
    let pods: String = (0..1000)
        .map(|n| format!("---\n{}", POD.replace("name: orders, namespace", &format!("name: p{n}, namespace"))))
        .collect();
    let bindings: String = (0..300)
        .map(|n| {
            "---\n".to_owned()
                + &binding(
                    "RoleBinding",
                    "payments-prod",
                    "edit",
                    "{kind: ServiceAccount, name: x, namespace: billing-prod}",
                )
                .replace("name: b,", &format!("name: b{n},"))
        })
        .collect();
    let started = std::time::Instant::now();
    let found = found(&(pods + &bindings));
    let took = started.elapsed();
    assert_eq!(found.len(), 1300);
    // Without optimisation, and beside other tests; the plugin takes a tenth.
    assert!(took < std::time::Duration::from_secs(10), "{took:?}");
}

#[test]
fn what_passes_for_the_operators_is_found() {
    let label = "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: r, namespace: payments-prod, labels: {app.kubernetes.io/managed-by: scoped-secrets}}\n";
    let owner = "apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata:\n  name: r\n  namespace: payments-prod\n  ownerReferences: [{apiVersion: scopedsecrets.io/v1alpha1, kind: SecretGrant, name: g, uid: u, controller: true}]\nroleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: r}\n";
    let guard = "apiVersion: scopedsecrets.io/v1alpha1\nkind: SegmentGuard\nmetadata: {name: mine, namespace: payments-prod}\nspec: {targets: {}}\n";
    for (app, expected) in [
        (label.to_owned(), vec!["3 error ManagedSecrets ReservedMetadata"]),
        (label.replace("{name: r,", "{name: r, uid: u,"), vec![]),
        (owner.to_owned(), vec!["6 error ManagedSecrets ReservedMetadata"]),
        (guard.to_owned(), vec!["2 error ManagedSecrets OperatorOnly"]),
        (guard.replace("SegmentGuard", "SegmentationReport"), vec!["2 error ManagedSecrets OperatorOnly"]),
        (guard.replace("{name: mine,", "{name: mine, uid: u,"), vec![]),
    ] {
        assert_eq!(found(&app), expected, "{app}");
    }
}

#[test]
fn what_carvel_would_carry_is_found() {
    let object = |kind: &str, name: &str, namespace: &str, spec: &str| {
        format!(
            "apiVersion: secretgen.carvel.dev/v1alpha1\nkind: {kind}\nmetadata:\n  name: {name}\n  namespace: {namespace}\nspec:\n  {spec}\n"
        )
    };
    let import = object("SecretImport", "x", "payments-prod", "fromNamespace: billing-prod");
    for (app, expected) in [
        (import.clone(), vec!["7 error Replication ReplicatedIn"]),
        (import.replace("namespace: payments-prod", "namespace: plain"), vec![]),
        (import.replace("billing-prod", "payments-prod"), vec![]),
        (
            object("SecretExport", "orders", "payments-prod", "toNamespaces: ['*']"),
            vec!["4 error Replication ReplicatedOut"],
        ),
        (object("SecretExport", "own", "payments-prod", "toNamespaces: ['*']"), vec![]),
    ] {
        assert_eq!(found(&app), expected, "{app}");
    }
    assert_eq!(found_under("  mode: Audit\n", &import), ["7 warning Replication ReplicatedIn"]);
}
