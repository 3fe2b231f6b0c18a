//! The chart's value `namespaces`: the operator has Roles in the namespaces of a list and nothing in others, does there all that
//! it does elsewhere, and meets no denial. The list becomes longer by an upgrade and shorter by a rollback, and the release goes.

use super::helm::{CHART, Version, online};
use super::permissions::denied;
use super::release::{nothing_blocks, ours};
use super::support::cluster::Cluster;
use super::support::cluster_audit::Audit;
use super::support::operator::{Operator, USER, lift};
use super::support::oracle::{all_is_well, guarantees_hold};
use super::support::stub_manager::{Says, StubManager};
use super::support::tenants::*;
use super::support::wait::eventually;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::process::Command;

const SERVED: [&str; 2] = ["payments-prod", "billing-prod"];
const LIST: &str = "payments-prod,billing-prod";
const PLACE: &str = "payments-prod";
/// A namespace that comes onto the list later.
const ADDED: &str = "payments-staging";
const FOREIGN: &str = include_str!("../other_operators/crds.yaml");

/// A step in the life of the release, which must succeed.
fn helm(cluster: &Cluster, arguments: &[&str]) {
    let within = ["-n", "scoped-secrets"];
    online(Version::Three, cluster, &[arguments, &within].concat())
        .unwrap_or_else(|said| panic!("{arguments:?}: {said}"));
}

/// The chart's values for a list.
fn values(list: &str) -> String {
    format!("namespaces={{{list}}},restart.enabled=true")
}

fn serve(cluster: &Cluster, list: &str) -> Operator {
    let flags = ["--namespaces", list, "--scan-interval", "10s", "--guard-interval", "1s", "--restarts-at-once", "9"];
    Operator::start_with(cluster, &flags)
}

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

#[test]
fn a_list_of_namespaces_is_served_and_nothing_else_is_touched() {
    let (cluster, stub) = (Cluster::start_with_pods(), StubManager::start());
    apply(&cluster, FOREIGN);
    for namespace in SERVED {
        kubectl(&cluster, &format!("create namespace {namespace}"));
    }
    helm(&cluster, &["install", "scoped-secrets", CHART, "--create-namespace", "--set", &values(LIST)]);
    let operator = serve(&cluster, LIST);
    set_up(&cluster, &stub.endpoint);
    let governs = "governs: [ExternalSecrets, VaultSecrets, SecretProviderClasses]";
    apply(&cluster, &accepted(&policy(governs)));

    elsewhere_nothing_is_promised(&cluster, &stub);
    let stranger = a_stranger(&cluster);
    it_rotates_and_restarts(&cluster, &stub);
    it_lends(&cluster);
    it_ends(&cluster, &stub);
    it_scans(&cluster, stranger);
    it_puts_right(&cluster);
    it_leaves(&cluster, &stub);
    all_is_well(&cluster, &operator);
    let longer = format!("{LIST},{ADDED}");
    helm(&cluster, &["upgrade", "scoped-secrets", CHART, "--set", &values(&longer)]);
    operator.terminate();

    let audit = cluster.audit().user(USER);
    assert_eq!(denied(&audit), [] as [&str; 0]);
    nothing_elsewhere(&audit);
    it_serves_one_more(&cluster, &stub, &longer);
    it_is_rolled_back_and_goes(&cluster, &stub);
}

fn revision(cluster: &Cluster, namespace: &str, name: &str) -> (Value, Value) {
    let secret = cluster.get_json("secret", namespace, name).unwrap_or_else(|| panic!("no Secret {name}"));
    (secret["metadata"]["uid"].clone(), secret["metadata"]["resourceVersion"].clone())
}

/// What is claimed in the added namespace is projected, and what is not its own is refused there, by the same rules as elsewhere.
fn it_serves_one_more(cluster: &Cluster, stub: &StubManager, longer: &str) {
    assert!(cluster.get_json("rolebinding", ADDED, "scoped-secrets-namespace").is_some());
    let operator = serve(cluster, longer);
    let retain = policy("governs: [ExternalSecrets, VaultSecrets, SecretProviderClasses], allowRetain: true");
    eventually("the policy is taken", SOON, || cluster.apply(&retain));
    claim(cluster, stub, ADDED, "cart", "");
    claim(cluster, stub, PLACE, "kept", "deletionPolicy: Retain");
    assert!(cluster.get_json("segmentguard", ADDED, "scoped-secrets").is_some());
    let theirs = scoped_secret(ADDED, "theirs", "data: [{secretKey: value, remoteRef: {key: payments/prod/orders}}]");
    let told = cluster.apply(&theirs).unwrap_err();
    assert!(told.contains("rule Claims, KeyNotAllowed"), "{told}");
    let forged = json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "forged", "namespace": ADDED, "labels": {"app.kubernetes.io/managed-by": "scoped-secrets"}},
    });
    let told = cluster.submit(&["create", "-f", "-"], &forged.to_string()).unwrap_err();
    assert!(told.contains("rule ManagedSecrets, ReservedMetadata"), "{told}");
    all_is_well(cluster, &operator);
    operator.terminate();
}

/// The Roles of the added namespace go, and what was projected there stands as it was. Then all of it goes: the Secrets as their
/// deletionPolicy says, and with the release whatever could hold up a write.
fn it_is_rolled_back_and_goes(cluster: &Cluster, stub: &StubManager) {
    let stands = || [revision(cluster, ADDED, "cart"), revision(cluster, PLACE, "kept")];
    let before = stands();
    helm(cluster, &["rollback", "scoped-secrets", "1"]);
    for kind in ["role", "rolebinding"] {
        for name in ["scoped-secrets-namespace", "scoped-secrets-restart"] {
            assert_eq!(cluster.get_json(kind, ADDED, name), None, "{kind} {name}");
            assert!(cluster.get_json(kind, PLACE, name).is_some(), "{kind} {name}");
        }
    }
    let operator = serve(cluster, LIST);
    stub.put("payments/staging/later", Says::Text("canary-later-kX9mQ2vL8nR5wT3z".to_owned()));
    let later = scoped_secret(ADDED, "later", "data: [{secretKey: value, remoteRef: {key: payments/staging/later}}]");
    eventually("it is refused there again", SOON, || match cluster.apply(&later) {
        Err(refusal) if refusal.contains("NamespaceNotServed") => Ok(()),
        Err(refusal) => Err(refusal),
        Ok(_) => Err(kubectl(cluster, &format!("delete scopedsecret later -n {ADDED} --wait=false"))),
    });
    eventually("what is served is ready", SOON, || ready(cluster, "scopedsecret", Some(PLACE), "kept"));
    guarantees_hold(cluster);
    assert_eq!(stands(), before);

    kubectl(cluster, &format!("delete scopedsecrets --all -n {PLACE}"));
    goes(cluster, "secret", PLACE, "orders");
    operator.met_no_denial();
    operator.terminate();
    helm(cluster, &["uninstall", "scoped-secrets"]);
    nothing_blocks(cluster);
    for kind in ["roles", "rolebindings"] {
        assert_eq!(ours(cluster, kind), [] as [&str; 0], "{kind}");
    }
    assert_eq!(ours(cluster, "customresourcedefinitions").len(), scoped_secrets::api::crds().len());
    let kept = [revision(cluster, ADDED, "cart").0, revision(cluster, PLACE, "kept").0];
    assert_eq!(kept, before.map(|(uid, _)| uid));
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
    let why = Command::new(env!("CARGO_BIN_EXE_kubectl-scoped_secrets"))
        .args(["why", "--key", "payments/staging/late", "-n", "payments-staging", "--kubeconfig"])
        .arg(&cluster.kubeconfig)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&why.stdout);
    assert!(
        why.status.code() == Some(1) && said.contains("NamespaceNotServed") && !said.contains("claim it"),
        "{said}"
    );
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
    // Pods that start after the new value was written need no restart.
    for (kind, ready) in
        [("deployment", "readyReplicas"), ("statefulset", "readyReplicas"), ("daemonset", "numberReady")]
    {
        eventually(&format!("the {kind} runs"), SOON, || {
            let status = cluster.get_json(kind, PLACE, kind).ok_or("gone")?["status"].clone();
            if status[ready] == 1 { Ok(()) } else { Err(status.to_string()) }
        });
    }
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
    // What has lost its label, past the rule, and is in the way is looked at.
    lift(cluster, "managed-secrets");
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
    eventually("its Role goes", SOON, || match cluster.list_json("roles", ours) {
        left if left.is_empty() => Ok(()),
        left => Err(format!("{left:?}")),
    });
}

/// What expires and what is revoked goes.
fn it_ends(cluster: &Cluster, stub: &StubManager) {
    let end = (Timestamp::now() + SignedDuration::from_secs(25)).strftime("%Y-%m-%dT%H:%M:%SZ");
    claim(cluster, stub, "billing-prod", "short", &format!("expirationTime: {end}"));
    claim(cluster, stub, "billing-prod", "leaked", "");
    apply(
        cluster,
        "apiVersion: scopedsecrets.io/v1alpha1\nkind: KeyRevocation\nmetadata: {name: leaked}\nspec: {storeRef: {name: aws}, key: billing/prod/leaked, reason: seen}\n",
    );
    goes(cluster, "secret", "billing-prod", "leaked");
    goes(cluster, "secret", "billing-prod", "short");
}

/// A Deployment that names the Secret `orders` before there is one, under an account that will be no consumer of it: nobody refuses
/// that, and without pods nobody waits for it.
fn a_stranger(cluster: &Cluster) -> &'static str {
    let pod = json!({"containers": [{"name": "app", "image": "app", "envFrom": [{"secretRef": {"name": "orders"}}]}]});
    let template = json!({"metadata": {"labels": {"app": "stranger"}}, "spec": pod});
    let spec = json!({"replicas": 0, "selector": {"matchLabels": {"app": "stranger"}}, "template": template});
    let metadata = json!({"name": "stranger", "namespace": PLACE});
    apply(
        cluster,
        &json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}).to_string(),
    );
    "stranger"
}

/// The scan comes to its end in each segment, and finds what no watch shows.
fn it_scans(cluster: &Cluster, stranger: &str) {
    eventually("the scan finds the stranger", SOON, || {
        let reports = cluster.list_json("segmentationreports", "");
        let of = |segment: &str| reports.iter().find(|report| report["spec"]["segment"] == segment);
        let ended = |segment: &str| of(segment).is_some_and(|report| report["status"]["lastScanTime"].is_string());
        let found = of("payments/prod")
            .and_then(|report| report["status"]["violations"].as_array())
            .is_some_and(|all| all.iter().any(|v| v["reason"] == "ForeignConsumer" && v["object"]["name"] == stranger));
        if found && ended("payments/prod") && ended("billing/prod") { Ok(()) } else { Err(format!("{reports:?}")) }
    });
}

/// What others change of the webhook's entries.
fn it_puts_right(cluster: &Cluster) {
    let never = json!({"name": "never", "expression": "false"});
    let patch = json!([{"op": "add", "path": "/webhooks/0/matchConditions/-", "value": never}]).to_string();
    let patched = ["patch", "validatingwebhookconfiguration", "scoped-secrets", "--type=json", "-p", &patch];
    let out = cluster.kubectl(&patched);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    eventually("the entry is put right", SOON, || {
        let live = cluster.get_json("validatingwebhookconfiguration", None, "scoped-secrets").unwrap();
        if live.to_string().contains("\"never\"") { Err("not yet") } else { Ok(()) }
    });
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

/// Of namespaced kinds only what is in a namespace of the list, in the operator's own, or (events of what is cluster-scoped) in `kube-system`.
fn nothing_elsewhere(audit: &Audit) {
    let cluster_scoped = |resource: &str| {
        [
            "namespaces",
            "persistentvolumes",
            "storageclasses",
            "volumesnapshotclasses",
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
        let own = place == "scoped-secrets" || (place == "kube-system" && request.resource == "events");
        assert!(SERVED.contains(&place) || own, "{} {}", request.verb, request.uri);
    }
    assert!(audit.iter().any(|request| request.resource == "secrets" && request.namespace == PLACE));
}
