//! The chart's value `namespaces`: the operator has Roles in the namespaces of a list and nothing in others, does there all that
//! it does elsewhere, and uses every permission that the chart gives it.

use super::helm::{CHART, Version, online};
use super::permissions::{denied, given, used};
use super::support::cluster::Cluster;
use super::support::cluster_audit::Audit;
use super::support::operator::{Operator, USER};
use super::support::stub_manager::{Says, StubManager};
use super::support::tenants::*;
use super::support::wait::eventually;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const SERVED: [&str; 2] = ["payments-prod", "billing-prod"];
const LIST: &str = "payments-prod,billing-prod";
const PLACE: &str = "payments-prod";
const FOREIGN: &str = include_str!("../other_operators/crds.yaml");

fn kubectl(cluster: &Cluster, line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    let out = cluster.kubectl(&words);
    assert!(out.status.success(), "{line}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).into_owned()
}

fn policy(rules: &str) -> String {
    accepted(&format!("{POLICY}    actions: [Read, Rotate, Generate]\n  rules: {{{rules}}}\n"))
}

/// A ScopedSecret of its own key, projected.
fn claim(cluster: &Cluster, stub: &StubManager, namespace: &str, name: &str, more: &str) {
    let key = format!("{}/{name}", namespace.replace('-', "/"));
    stub.put(&key, Says::Text(json!({"password": format!("canary-{name}-kX9mQ2vL8nR5wT3z")}).to_string()));
    let data = format!("data: [{{secretKey: password, remoteRef: {{key: {key}, property: password}}}}]\n{more}");
    let yaml = scoped_secret(namespace, name, &data);
    eventually(&format!("{name} may be claimed"), SOON, || cluster.apply(&yaml));
    eventually(&format!("{name} is ready"), SOON, || ready(cluster, "scopedsecret", Some(namespace), name));
}

fn goes(cluster: &Cluster, kind: &str, namespace: &str, name: &str) {
    eventually(&format!("{kind} {namespace}/{name} goes"), SOON, || {
        if cluster.get_json(kind, namespace, name).is_none() { Ok(()) } else { Err("still there") }
    });
}

fn workloads(cluster: &Cluster) {
    kubectl(cluster, &format!("create serviceaccount orders -n {PLACE}"));
    for kind in ["Deployment", "StatefulSet", "DaemonSet"] {
        let pods = json!({
            "metadata": {"labels": {"app": kind}},
            "spec": {"serviceAccountName": "orders", "automountServiceAccountToken": false, "terminationGracePeriodSeconds": 0, "containers": [
                {"name": "app", "image": "app", "envFrom": [{"secretRef": {"name": "orders"}}]},
            ]},
        });
        let mut spec = json!({"selector": {"matchLabels": {"app": kind}}, "template": pods});
        if kind == "StatefulSet" {
            spec["serviceName"] = json!("none");
        }
        let metadata = json!({"name": kind.to_lowercase(), "namespace": PLACE});
        apply(cluster, &json!({"apiVersion": "apps/v1", "kind": kind, "metadata": metadata, "spec": spec}).to_string());
    }
}

/// All that is bound to the operator.
fn roles(cluster: &Cluster) -> Vec<Value> {
    let bound = |kind: &str| {
        let ours = cluster.list_json(kind, "?labelSelector=app.kubernetes.io/part-of=scoped-secrets");
        ours.into_iter().filter(|binding| binding["subjects"][0]["name"] == "scoped-secrets").collect::<Vec<_>>()
    };
    let of = |binding: &Value| {
        let (kind, name) = (&binding["roleRef"]["kind"], binding["roleRef"]["name"].as_str().unwrap());
        let namespace = binding["metadata"]["namespace"].as_str().filter(|_| kind == "Role");
        cluster
            .get_json(&kind.as_str().unwrap().to_lowercase(), namespace, name)
            .expect("a role that is bound is there")
    };
    bound("clusterrolebindings").iter().chain(&bound("rolebindings")).map(of).collect()
}

/// Whether a scan has ended for each of these segments.
fn scanned(cluster: &Cluster, segments: &[&str]) {
    eventually("the segments are scanned", SOON, || {
        let reports = cluster.list_json("segmentationreports", "");
        let done: BTreeSet<&str> = reports
            .iter()
            .filter(|report| report["status"]["lastScanTime"].is_string())
            .filter_map(|report| report["spec"]["segment"].as_str())
            .collect();
        if segments.iter().all(|segment| done.contains(segment)) { Ok(()) } else { Err(format!("{reports:?}")) }
    });
}

#[test]
fn a_list_of_namespaces_is_served_and_nothing_else_is_touched() {
    let (cluster, stub) = (Cluster::start_with_pods(), StubManager::start());
    apply(&cluster, FOREIGN);
    for namespace in SERVED {
        kubectl(&cluster, &format!("create namespace {namespace}"));
    }
    let values = format!("namespaces={{{LIST}}},restart.enabled=true");
    let install = ["install", "scoped-secrets", CHART, "--create-namespace", "-n", "scoped-secrets", "--set", &values];
    online(Version::Three, &cluster, &install).unwrap_or_else(|said| panic!("{said}"));
    // No pod ever rolls out here, so that each restart keeps its place.
    let flags = ["--namespaces", LIST, "--scan-interval", "10s", "--guard-interval", "1s", "--restarts-at-once", "9"];
    let operator = Operator::start_with(&cluster, &flags);
    set_up(&cluster, &stub.endpoint);
    let governs = "governs: [ExternalSecrets, VaultSecrets, SecretProviderClasses]";
    apply(&cluster, &policy(governs));

    elsewhere_nothing_is_promised(&cluster, &stub);
    it_rotates_and_restarts(&cluster, &stub);
    it_lends(&cluster);
    it_ends(&cluster, &stub);
    scanned(&cluster, &["payments/prod", "billing/prod"]);
    it_puts_right(&cluster);
    it_leaves(&cluster, &stub);
    operator.terminate();
    it_renews_its_keys(&cluster, &flags);

    let audit = cluster.audit().user(USER);
    assert_eq!(denied(&audit), [] as [&str; 0]);
    nothing_elsewhere(&audit);
    let (given, used) = (given(&roles(&cluster)), used(&audit));
    let unused: Vec<_> = given.difference(&used).collect();
    assert!(unused.is_empty(), "the chart gives what the operator never asked for: {unused:?}");
}

/// Who writes a ScopedSecret where nobody would look at it is told so at once, and by `check`, if it was there before.
fn elsewhere_nothing_is_promised(cluster: &Cluster, stub: &StubManager) {
    let data = "data: [{secretKey: password, remoteRef: {key: payments/staging/late}}]";
    stub.put("payments/staging/late", Says::Text("canary-late-kX9mQ2vL8nR5wT3z".to_owned()));
    eventually("it is refused elsewhere", SOON, || {
        match cluster.apply(&scoped_secret("payments-staging", "late", data)) {
            Err(refusal) if refusal.contains("NamespaceNotServed") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    // Others' writes there need no webhook: it would know nothing.
    kubectl(cluster, "create configmap free -n payments-staging --from-literal=a=b");
    let configuration = cluster.get_json("validatingwebhookconfiguration", None, "scoped-secrets").unwrap();
    let entries = configuration["webhooks"].as_array().unwrap();
    let copies = entries.iter().find(|entry| entry["name"].as_str().unwrap().starts_with("copies-"));
    let expressions = copies.expect("a policy is there")["namespaceSelector"]["matchExpressions"].as_array().unwrap();
    let listed =
        json!({"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["billing-prod", "payments-prod"]});
    assert!(expressions.contains(&listed), "{expressions:?}");
}

fn it_rotates_and_restarts(cluster: &Cluster, stub: &StubManager) {
    let rotation = "restart: Consumers\nrotation: {strategy: Generate, generate: {property: password, length: 24}, schedule: \"0 3 * * *\", after: [Rollout, RoleChange]}";
    claim(cluster, stub, PLACE, "orders", rotation);
    workloads(cluster);
    let before = secret_value(cluster, PLACE, "orders", "password");
    for turn in ["one", "two"] {
        kubectl(
            cluster,
            &format!("annotate scopedsecret orders -n {PLACE} scopedsecrets.io/refresh-at={turn} --overwrite"),
        );
    }
    kubectl(cluster, &format!("annotate scopedsecret orders -n {PLACE} scopedsecrets.io/rotate-at=one"));
    eventually("it is rotated", SOON, || {
        let now = secret_value(cluster, PLACE, "orders", "password");
        if now.is_some() && now != before {
            Ok(())
        } else {
            Err(format!("{:?}", cluster.get_json("scopedsecret", PLACE, "orders")))
        }
    });
    for kind in ["deployment", "statefulset", "daemonset"] {
        eventually(&format!("the {kind} is restarted"), SOON, || {
            let object = cluster.get_json(kind, PLACE, kind).ok_or("gone")?;
            match &object["spec"]["template"]["metadata"]["annotations"]["scopedsecrets.io/restarted-for"] {
                Value::String(_) => Ok(()),
                _ => Err("not yet"),
            }
        });
    }
}

fn it_lends(cluster: &Cluster) {
    let grant = "apiVersion: scopedsecrets.io/v1alpha1\nkind: SecretGrant\nmetadata: {name: ada, namespace: payments-prod}\nspec: {scopedSecretRef: {name: orders}, subject: {kind: User, name: ada@example.com}, ttl: 30m, reason: INC-1}\n";
    eventually("it may be lent", SOON, || cluster.apply(grant));
    eventually("it is honoured", SOON, || ready(cluster, "secretgrant", Some(PLACE), "ada"));
    let reads = || {
        let out = cluster.kubectl(&["get", "secret", "orders", "-n", PLACE, "--as", "ada@example.com", "-o", "name"]);
        if out.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&out.stderr).into_owned()) }
    };
    eventually("she reads it", SOON, reads);
    // What has lost its label, and is in the way, is looked at.
    let ours = "?labelSelector=app.kubernetes.io/managed-by=scoped-secrets";
    for kind in ["role", "rolebinding"] {
        let all = cluster.list_json(&format!("{kind}s"), ours);
        let name = all[0]["metadata"]["name"].as_str().unwrap();
        kubectl(cluster, &format!("label {kind} {name} -n {PLACE} app.kubernetes.io/managed-by-"));
        eventually(&format!("the {kind} is made again"), SOON, || {
            if cluster.list_json(&format!("{kind}s"), ours).is_empty() { Err("not yet") } else { Ok(()) }
        });
    }
    kubectl(cluster, &format!("delete secretgrant ada -n {PLACE}"));
    eventually("it ends", SOON, || if reads().is_err() { Ok(()) } else { Err("she still reads it") });
    eventually("its Role goes", SOON, || {
        if cluster.list_json("roles", ours).is_empty() { Ok(()) } else { Err("still there") }
    });
}

fn it_ends(cluster: &Cluster, stub: &StubManager) {
    let end = (Timestamp::now() + SignedDuration::from_secs(12)).strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    claim(cluster, stub, "billing-prod", "short", &format!("expirationTime: {end}"));
    // Of the same consumer, who is told twice.
    let twin = "data: [{secretKey: password, remoteRef: {key: billing/prod/twin, property: password}}]";
    stub.put("billing/prod/twin", Says::Text(json!({"password": "canary-twin-kX9mQ2vL8nR5wT3z"}).to_string()));
    let twin = scoped_secret("billing-prod", "twin", &format!("{twin}\nexpirationTime: {end}"));
    apply(cluster, &twin.replace("serviceAccountName: twin", "serviceAccountName: short"));
    eventually("it is ready", SOON, || ready(cluster, "scopedsecret", Some("billing-prod"), "twin"));
    goes(cluster, "secret", "billing-prod", "short");
    goes(cluster, "secret", "billing-prod", "twin");
    claim(cluster, stub, "billing-prod", "leaked", "");
    apply(
        cluster,
        "apiVersion: scopedsecrets.io/v1alpha1\nkind: KeyRevocation\nmetadata: {name: leaked}\nspec: {storeRef: {name: aws}, key: billing/prod/leaked, reason: seen}\n",
    );
    goes(cluster, "secret", "billing-prod", "leaked");
}

/// What others change of its own.
fn it_puts_right(cluster: &Cluster) {
    let patch = json!([{"op": "add", "path": "/webhooks/0/matchConditions/-", "value": {"name": "never", "expression": "false"}}]);
    let path = cluster.dir.join("never.json");
    std::fs::write(&path, patch.to_string()).unwrap();
    kubectl(
        cluster,
        &format!("patch validatingwebhookconfiguration scoped-secrets --type=json --patch-file={}", path.display()),
    );
    eventually("the entry is put right", SOON, || {
        let live = cluster.get_json("validatingwebhookconfiguration", None, "scoped-secrets").unwrap();
        if live.to_string().contains("\"never\"") { Err("not yet") } else { Ok(()) }
    });
    // Without our label the rules are looked for by name.
    for kind in ["validatingadmissionpolicy", "validatingadmissionpolicybinding"] {
        kubectl(cluster, &format!("label {kind} boundary.scopedsecrets.io app.kubernetes.io/part-of-"));
        let looks = || cluster.audit().user(USER).verb("get").only(|request| request.resource.starts_with(kind)).len();
        eventually(&format!("it looks for the {kind}"), SOON, || if looks() > 0 { Ok(()) } else { Err("not yet") });
    }
}

/// A namespace that is governed no more.
fn it_leaves(cluster: &Cluster, stub: &StubManager) {
    claim(cluster, stub, "billing-prod", "invoices", "");
    kubectl(cluster, "label namespace billing-prod tenant-");
    goes(cluster, "secret", "billing-prod", "invoices");
    goes(cluster, "segmentguard", "billing-prod", "scoped-secrets");
    eventually("the segment's report goes", SOON, || {
        let left = cluster.list_json("segmentationreports", "");
        if left.iter().any(|report| report["spec"]["segment"] == "billing/prod") { Err("still there") } else { Ok(()) }
    });
}

/// The next operator finds the seal key old.
fn it_renews_its_keys(cluster: &Cluster, flags: &[&str]) {
    let operator = Operator::start_with(cluster, &[flags, &["--seal-key-max-age", "1s"]].concat());
    eventually("the key is renewed", SOON, || {
        let written = cluster.audit().user(USER).verb("update").only(|request| request.name == "scoped-secrets-keys");
        if written.is_empty() { Err("not yet") } else { Ok(()) }
    });
    operator.terminate();
}

/// Of namespaced kinds only what is in a namespace of the list, in the operator's own, or (events of what is cluster-scoped) in `default`.
fn nothing_elsewhere(audit: &Audit) {
    let cluster_scoped = |resource: &str| {
        [
            "namespaces",
            "persistentvolumes",
            "storageclasses",
            "clusterroles",
            "clusterrolebindings",
            "customresourcedefinitions",
        ]
        .contains(&resource)
            || ["validating", "segmentation", "keyrevocations", "scopedsecretstores", "cluster"]
                .iter()
                .any(|start| resource.starts_with(start))
    };
    for request in audit.iter().filter(|request| !request.resource.is_empty() && !cluster_scoped(&request.resource)) {
        let place = request.namespace.as_str();
        let own = place == "scoped-secrets" || (place == "default" && request.resource == "events");
        assert!(SERVED.contains(&place) || own, "{} {}", request.verb, request.uri);
    }
    assert!(audit.iter().any(|request| request.resource == "secrets" && request.namespace == PLACE));
}
