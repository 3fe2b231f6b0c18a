//! What holds when the operator does not: every replica killed, a webhook that points at nothing, and those who have nothing to
//! do with us, who notice neither.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod support;

use serde_json::{Value, json};
use std::time::{Duration, Instant};
use support::cluster::Cluster;
use support::operator::{Operator, install};
use support::oracle::all_is_well;
use support::stub_manager::{Says, StubManager};
use support::tenants::{self, *};
use support::wait::eventually;

const PASSES: &str = "";
/// What the API server says when nobody answers a review that must be.
const WAITS: &str = "failed calling webhook";

fn ok(cluster: &Cluster, arguments: &[&str]) -> String {
    let out = cluster.kubectl(arguments);
    assert!(out.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).into_owned()
}

fn claim(name: &str) -> String {
    let spec = format!("data: [{{secretKey: value, remoteRef: {{key: payments/prod/{name}}}}}]");
    scoped_secret("payments-prod", name, &spec)
}

/// Applies a new ScopedSecret, as soon as it is reviewed, and waits for its Secret.
fn projects(cluster: &Cluster, stub: &StubManager, name: &str) {
    let value = format!("canary-{name}-kX9mQ2vL8nR5wT3z1pQ");
    stub.put(&format!("payments/prod/{name}"), Says::Text(value.clone()));
    eventually("it is reviewed and taken", SOON, || cluster.apply(&claim(name)));
    eventually(&format!("{name} is ready"), SOON, || ready(cluster, "scopedsecret", Some("payments-prod"), name));
    assert_eq!(secret_value(cluster, "payments-prod", name, "value"), Some(value));
}

fn pod(namespace: &str, account: &str, secret: &str) -> String {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "p-", "namespace": namespace},
        "spec": {"serviceAccountName": account, "containers": [{"name": "web", "image": "web", "envFrom": [{"secretRef": {"name": secret}}]}]},
    })
    .to_string()
}

/// Tries each line, in order, as an admin would; what came out otherwise.
fn hold(cluster: &Cluster, rows: &[(&str, &str, &str)]) {
    let differs = |(line, stdin, says): &(&str, &str, &str)| {
        let told = cluster.submit(&line.split_whitespace().collect::<Vec<_>>(), stdin);
        let right = match &told {
            Ok(_) => *says == PASSES,
            Err(text) => *says != PASSES && text.contains(says),
        };
        (!right).then(|| format!("{line}\n{stdin}\n  expected {says:?}, and it said {told:?}"))
    };
    let wrong: Vec<String> = rows.iter().filter_map(differs).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// Two tenants, and a policy that leaves a namespace out by its name.
fn set_up(cluster: &Cluster, endpoint: &str) {
    tenants::set_up(cluster, endpoint);
    let all = "namespaceSelector: {matchExpressions: [";
    assert!(tenants::POLICY.contains(all));
    let out = "{key: kubernetes.io/metadata.name, operator: NotIn, values: [left-out]}, ";
    apply(cluster, &tenants::POLICY.replace(all, &format!("{all}{out}")));
    eventually("the webhook leaves it out", SOON, || {
        let live = cluster.get_json("validatingwebhookconfiguration", None, "scoped-secrets").ok_or("gone")?;
        live.to_string().contains("\"left-out\"").then_some(()).ok_or(live["webhooks"].to_string())
    });
}

/// What was written by people who have nothing to do with us.
fn everyday(cluster: &Cluster, round: &str) {
    // Who has a segment label with nothing in it is in no segment.
    let half = "apiVersion: v1\nkind: Namespace\nmetadata: {name: half-labelled, labels: {tenant: payments, environment: \"\"}}\n";
    hold(cluster, &[("apply -f -", half, PASSES)]);
    // Nor who has them and is left out.
    let left_out =
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: left-out, labels: {tenant: payments, environment: prod}}\n";
    hold(cluster, &[("apply -f -", left_out, PASSES)]);
    for namespace in ["plain", "half-labelled", "left-out", "kube-system"] {
        let name = format!("everyday-{round}");
        let lines = [
            format!("create secret generic {name} -n {namespace} --from-literal=a=b"),
            format!("label secret {name} -n {namespace} a=b"),
            format!("create configmap {name} -n {namespace} --from-literal=a=b"),
            format!("create serviceaccount {name} -n {namespace}"),
            format!("create deployment {name} -n {namespace} --image=web"),
            format!("create role {name} -n {namespace} --verb=get --resource=pods"),
            format!("create rolebinding {name} -n {namespace} --role={name} --user=ada"),
            format!("delete secret {name} -n {namespace}"),
        ];
        let rows: Vec<(&str, &str, &str)> = lines.iter().map(|line| (line.as_str(), "", PASSES)).collect();
        hold(cluster, &rows);
    }
    hold(cluster, &[("create -f -", &pod("plain", "default", "whatever"), PASSES)]);
}

#[test]
fn with_every_replica_killed() {
    let (cluster, stub) = (Cluster::start(), StubManager::start());
    install(&cluster);
    let replicas = [Operator::start(&cluster), Operator::start(&cluster)];
    set_up(&cluster, &stub.endpoint);
    ok(&cluster, &["create", "serviceaccount", "orders", "-n", "payments-prod"]);
    ok(&cluster, &["create", "clusterrole", "writes-namespaces", "--verb=*", "--resource=namespaces"]);
    ok(&cluster, &["create", "clusterrolebinding", "nora", "--clusterrole=writes-namespaces", "--user=nora"]);
    projects(&cluster, &stub, "orders");
    let before = cluster.get_json("secret", "payments-prod", "orders").unwrap();
    replicas.into_iter().for_each(Operator::kill);

    let foreign =
        scoped_secret("billing-prod", "thief", "data: [{secretKey: v, remoteRef: {key: payments/prod/orders}}]");
    hold(
        &cluster,
        &[
            // What the webhook must see waits: a claim, a policy, what may carry a value into a governed namespace.
            ("create configmap new -n payments-prod --from-literal=a=b", "", WAITS),
            ("create -f -", &claim("new"), WAITS),
            ("create -f -", &foreign, WAITS),
            (
                "patch scopedsecret orders -n payments-prod --type=merge -p {\"spec\":{\"refreshInterval\":\"2h\"}}",
                "",
                WAITS,
            ),
            ("patch segmentationpolicy tenants --type=merge -p {\"spec\":{\"allow\":[]}}", "", WAITS),
            ("delete segmentationpolicy tenants", "", WAITS),
            // The guards need nobody.
            (
                "patch secret orders -n payments-prod -p {\"stringData\":{\"value\":\"forged\"}}",
                "",
                "rule ManagedSecrets, SecretManaged",
            ),
            ("delete secret orders -n payments-prod", "", "rule ManagedSecrets, SecretManaged"),
            ("delete segmentguard scoped-secrets -n payments-prod", "", "rule ManagedSecrets, OperatorOnly"),
            ("create -f -", &pod("payments-prod", "default", "orders"), "rule Consumers, ForeignConsumer"),
            ("annotate secret orders -n payments-prod kubed.appscode.com/sync=", "", "rule Replication, ReplicatedOut"),
            (
                "label namespace payments-staging environment=prod --overwrite --as=nora",
                "",
                "rule Boundary, JoinNotAllowed",
            ),
            // What is projected is there, and who may use it uses it.
            ("get secret orders -n payments-prod", "", PASSES),
            ("create -f -", &pod("payments-prod", "orders", "orders"), PASSES),
            ("create deployment web -n payments-prod --image=web", "", PASSES),
            ("scale deployment web -n payments-prod --replicas=2", "", PASSES),
        ],
    );
    everyday(&cluster, "orphaned");
    assert_eq!(stub.asked("payments/prod/orders"), 1);
    assert_eq!(cluster.get_json("secret", "payments-prod", "orders").unwrap(), before);

    // The first that comes back takes up what waited.
    let operator = Operator::start(&cluster);
    projects(&cluster, &stub, "new");
    assert_eq!(cluster.get_json("secret", "payments-prod", "orders").unwrap(), before);
    all_is_well(&cluster, &operator);
}

/// The deadlock that webhooks are known for: what must start to answer may not be held up by nobody's answering.
#[test]
fn an_operator_starts_although_its_webhook_points_at_nothing() {
    let (cluster, stub) = (Cluster::start(), StubManager::start());
    install(&cluster);
    let operator = Operator::start(&cluster);
    set_up(&cluster, &stub.endpoint);
    projects(&cluster, &stub, "orders");
    operator.kill();

    // Nobody is where it points, nobody's certificate would be trusted, and what the operator had is gone with it.
    let live = cluster.get_json("validatingwebhookconfiguration", None, "scoped-secrets").unwrap();
    let entries = live["webhooks"].as_array().unwrap();
    assert!(!entries.is_empty());
    let nowhere: Vec<Value> = (0..entries.len())
        .map(|i| json!({"op": "replace", "path": format!("/webhooks/{i}/clientConfig/url"), "value": "https://127.0.0.1:1/nobody"}))
        .collect();
    let patch = serde_json::to_string(&nowhere).unwrap();
    ok(&cluster, &["patch", "validatingwebhookconfiguration", "scoped-secrets", "--type=json", "-p", &patch]);
    for name in ["scoped-secrets-webhook-tls", "scoped-secrets-keys"] {
        ok(&cluster, &["delete", "secret", name, "-n", "scoped-secrets"]);
    }
    ok(&cluster, &["delete", "lease", "scoped-secrets", "-n", "scoped-secrets"]);
    eventually("claims wait", SOON, || match cluster.apply(&claim("waiting")) {
        Err(text) if text.contains(WAITS) => Ok(()),
        other => Err(format!("{other:?}")),
    });

    let operator = Operator::start(&cluster);
    eventually("it leads", SOON, || operator.leads());
    projects(&cluster, &stub, "waiting");
    let told = cluster.apply(&scoped_secret(
        "billing-prod",
        "thief",
        "data: [{secretKey: v, remoteRef: {key: payments/prod/orders}}]",
    ));
    assert!(told.as_ref().is_err_and(|text| text.contains("rule Claims, KeyNotAllowed")), "{told:?}");
    all_is_well(&cluster, &operator);
}

/// How many reviews the operator has answered.
fn reviews(operator: &Operator) -> f64 {
    let text = operator.probe("/metrics").unwrap();
    let counts = text.lines().filter(|line| line.starts_with("scoped_secrets_admission") && line.contains("_count"));
    counts.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

#[test]
fn who_is_not_governed_never_notices() {
    let (cluster, stub) = (Cluster::start(), StubManager::start());
    install(&cluster);
    let operator = Operator::start(&cluster);
    set_up(&cluster, &stub.endpoint);
    projects(&cluster, &stub, "orders");
    let before = reviews(&operator);
    assert!(before >= 1.0, "reviews are counted: {before}");
    everyday(&cluster, "healthy");
    assert_eq!(reviews(&operator), before, "nobody asked about them");

    // An operator that hangs is worse than none: each review would take its ten seconds.
    operator.freeze();
    let begun = Instant::now();
    let rows = 35;
    everyday(&cluster, "hanging");
    let took = begun.elapsed() / rows;
    assert!(took < Duration::from_secs(5), "{took:?} for each write");
    operator.thaw();
    everyday(&cluster, "thawed");
    assert_eq!(reviews(&operator), before, "nobody asked about them");
    all_is_well(&cluster, &operator);
}
