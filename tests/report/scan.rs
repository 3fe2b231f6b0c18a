//! A brownfield cluster in mode Audit: the report lists what Enforce would refuse, found by watching and by scanning.

use crate::support::cluster::Cluster;
use crate::support::foreign_kind;
use crate::support::operator::{Operator, USER};
use crate::support::oracle::all_is_well;
use crate::support::stub_manager::Says;
use crate::support::tenants::*;
use crate::support::wait::eventually;
use crate::{OFTEN, Scene, ok, reason, scene, violating};
use serde_json::Value;
use std::collections::BTreeSet;

const FOREIGN: &str = r#"
apiVersion: v1
kind: ServiceAccount
metadata: {name: thief, namespace: payments-prod}
imagePullSecrets: [{name: orders}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: payments-prod}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      serviceAccountName: thief
      containers: [{name: web, image: web, envFrom: [{secretRef: {name: orders}}]}]
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: nightly, namespace: payments-prod}
spec:
  schedule: "0 0 1 1 *"
  jobTemplate:
    spec:
      template:
        spec:
          restartPolicy: Never
          containers: [{name: web, image: web}]
          volumes: [{name: v, secret: {secretName: orders}}]
---
apiVersion: v1
kind: Pod
metadata: {name: lone, namespace: payments-prod}
spec:
  serviceAccountName: thief
  containers: [{name: web, image: web, env: [{name: V, valueFrom: {secretKeyRef: {name: orders, key: value}}}]}]
---
apiVersion: v1
kind: Pod
metadata: {name: fine, namespace: payments-prod}
spec:
  serviceAccountName: orders
  containers: [{name: web, image: web, env: [{name: V, valueFrom: {secretKeyRef: {name: orders, key: value}}}]}]
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: peeping}
spec:
  capacity: {storage: 1Gi}
  accessModes: [ReadWriteOnce]
  csi: {driver: csi.example.com, volumeHandle: h, nodeStageSecretRef: {namespace: payments-prod, name: orders}}
---
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: peeping}
provisioner: csi.example.com
parameters:
  csi.storage.k8s.io/provisioner-secret-name: orders
  csi.storage.k8s.io/provisioner-secret-namespace: payments-prod
---
apiVersion: snapshot.storage.k8s.io/v1
kind: VolumeSnapshotClass
metadata: {name: peeping}
driver: csi.example.com
deletionPolicy: Delete
parameters:
  csi.storage.k8s.io/snapshotter-secret-name: orders
  csi.storage.k8s.io/snapshotter-secret-namespace: payments-prod
---
apiVersion: secretgen.carvel.dev/v1alpha1
kind: SecretImport
metadata: {name: imported, namespace: payments-prod}
spec: {fromNamespace: billing-prod}
---
apiVersion: v1
kind: Secret
metadata:
  name: pulled
  namespace: payments-prod
  annotations: {replicator.v1.mittwald.de/replicate-from: billing-prod/db}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: leaked, namespace: plain}
data: {settings: "url=postgres://orders:canary-orders-kX9mQ2vL8nR5wT3z1pQ@db/orders"}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: guessed, namespace: plain}
data: {pin: "canary-kX9#mQ2$", not: "it is canary-kX9#mQ2$"}
"#;

fn all(status: &Value) -> BTreeSet<String> {
    let rows = status["violations"].as_array().into_iter().flatten().map(|v| {
        let text = |path: &str| v.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
        format!("{} {} {} {}", text("/rule"), text("/reason"), text("/object/kind"), text("/object/name"))
    });
    rows.collect()
}

/// The objects of which an event tells a breach of a rule that the API server keeps alone, each with how often it was told.
fn events(cluster: &Cluster) -> BTreeSet<(String, i64)> {
    let all: Value = serde_json::from_str(&ok(cluster, &["get", "events", "-A", "-o", "json"])).unwrap();
    let ours = all["items"].as_array().unwrap().iter().filter(|e| {
        let note = e["message"].as_str().unwrap_or_default();
        e["type"] == "Warning" && ["rule Consumers, ", "rule Replication, "].iter().any(|rule| note.starts_with(rule))
    });
    let told = ours.map(|e| {
        let (object, times) = (&e["involvedObject"], e["series"]["count"].as_i64().unwrap_or(1));
        assert!(object["uid"].is_string(), "kubectl describe does not show it: {e}");
        (format!("{} {}", object["kind"].as_str().unwrap(), object["name"].as_str().unwrap()), times)
    });
    // The Deployment's pod was looked at before the claim was projected, and is the Deployment's from the scan on.
    told.filter(|(object, _)| !object.starts_with("Pod web-")).collect()
}

/// Waits until the operator that runs now has scanned so many times more.
fn scanned(scene: &Scene, times: usize) {
    let mark = scene.cluster.audit_mark();
    eventually("it scans", SOON * 4, || {
        let own = scene.cluster.audit_since(mark).user(USER).credential(&scene.operator.credential);
        // The last part of a scan.
        let seen = own.verb("list").resource("configmaps").only(|r| r.namespace.is_empty()).len();
        if seen > times { Ok(()) } else { Err(seen) }
    });
}

#[test]
fn what_enforce_would_refuse_is_listed_in_mode_audit() {
    let accounts = ["orders", "other"];
    let scene = scene();
    let cluster = &scene.cluster;
    apply(cluster, &format!("{POLICY}  mode: Audit\n"));
    eventually("the mode is Audit", SOON, || {
        let policy = cluster.get_json("segmentationpolicy", None, "tenants").ok_or("gone")?;
        if policy["status"]["effective"]["mode"] == "Audit" { Ok(()) } else { Err(policy["status"].to_string()) }
    });
    for account in accounts {
        ok(cluster, &["create", "serviceaccount", account, "-n", "payments-prod"]);
    }
    let snapshots = ("VolumeSnapshotClass", "volumesnapshotclasses");
    foreign_kind::install(cluster, "snapshot.storage.k8s.io", "v1", snapshots, "Cluster");
    let imports = ("SecretImport", "secretimports");
    foreign_kind::install(cluster, "secretgen.carvel.dev", "v1alpha1", imports, "Namespaced");
    apply(cluster, FOREIGN);
    // What another segment projects has had the value inside for longer: it stays, and is told.
    scene.stub.put("billing/prod/bill", Says::Text("jdbc:canary-orders-kX9mQ2vL8nR5wT3z1pQ@db/orders".into()));
    let bill = crate::claim("bill").replace("payments", "billing");
    apply(cluster, &bill);
    eventually("it is projected", SOON, || ready(cluster, "scopedsecret", Some("billing-prod"), "bill"));
    // A pod that is older than the claim stops nothing in this mode, and is told at once.
    scene.project("orders");
    // Easy to guess: refused nowhere, and told here alone.
    scene.stub.put("payments/prod/pin", Says::Text("canary-kX9#mQ2$".into()));
    apply(cluster, &crate::claim("pin"));
    eventually("it is projected", SOON, || ready(cluster, "scopedsecret", Some("payments-prod"), "pin"));
    scene.stub.put("billing/prod/db", Says::Text("canary-billing-kX9mQ2vL8nR5wT3z1pQ".into()));
    let theirs = crate::claim("stray").replace("payments/prod/stray", "billing/prod/db");
    apply(cluster, &theirs);
    let told: BTreeSet<String> = [
        "Claims KeyNotAllowed ScopedSecret stray",
        "Copies ValueCopied ConfigMap leaked",
        "Copies ValueCopied Secret bill",
        "Copies WeakValueCopied ConfigMap guessed",
        "Consumers ForeignConsumer CronJob nightly",
        "Consumers ForeignConsumer Deployment web",
        "Consumers ForeignConsumer PersistentVolume peeping",
        "Consumers ForeignConsumer Pod lone",
        "Consumers ForeignConsumer ServiceAccount thief",
        "Consumers ForeignConsumer StorageClass peeping",
        "Consumers ForeignConsumer VolumeSnapshotClass peeping",
        "Replication ReplicatedIn Secret pulled",
        "Replication ReplicatedIn SecretImport imported",
    ]
    .map(str::to_owned)
    .into();
    let report = eventually("all of it is listed", SOON * 3, || {
        let report = scene.report("payments/prod").ok_or("none")?;
        if all(&report["status"]) == told { Ok(report) } else { Err(report["status"].to_string()) }
    });
    assert_eq!(scene.stub.asked("billing/prod/db"), 0);
    assert_eq!(
        (&report["status"]["total"], reason(&report["status"], "Clean").as_str()),
        (&13.into(), "ViolationsFound")
    );
    assert!(report["status"]["lastScanTime"].is_string(), "{report}");
    let messages = report["status"]["violations"].to_string();
    for part in
        ["add this one to spec.consumers", "keep a storage driver's credentials", "from namespace \\\"billing-prod\\\""]
    {
        assert!(messages.contains(part), "{part} in {messages}");
    }
    // Once all reports of the round are written.
    let metrics = eventually("it is counted", SOON, || {
        let metrics = scene.operator.probe("/metrics")?;
        let counted = r#"scoped_secrets_violations{rule="Consumers",reason="ForeignConsumer",mode="Audit"} 7"#;
        if metrics.contains(counted) { Ok(metrics) } else { Err(metrics) }
    });
    assert!(!metrics.contains("WeakValueCopied"), "who reads metrics must not learn it");
    // What the API server lets through without asking anybody is an event of the object, once, and counted by the mode.
    let expected: BTreeSet<(String, i64)> = [
        "CronJob nightly",
        "Deployment web",
        "PersistentVolume peeping",
        "Pod lone",
        "Secret pulled",
        "SecretImport imported",
        "ServiceAccount thief",
        "StorageClass peeping",
        "VolumeSnapshotClass peeping",
    ]
    .map(|object| (object.to_owned(), 1))
    .into();
    eventually("each is an event", SOON, || match events(cluster) {
        found if found == expected => Ok(()),
        found => Err(format!("{found:?}")),
    });
    let metrics = scene.operator.probe("/metrics").unwrap();
    for (rule, reason) in [("Consumers", "ForeignConsumer"), ("Replication", "ReplicatedIn")] {
        let labels = format!("{{rule={rule:?},reason={reason:?},answer=\"Audit\"}}");
        assert!(metrics.contains(&format!("scoped_secrets_admission_breaches_total{labels}")), "{metrics}");
    }
    // Others' reports have none of it.
    assert_eq!(scene.report("billing/prod").unwrap()["status"]["total"], 0);

    // Scans that change nothing write nothing; nor do a crash in the middle of one, and another leader.
    let mark = cluster.audit_mark();
    scanned(&scene, 2);
    let Scene { cluster, stub, operator } = scene;
    operator.kill();
    let operator = Operator::start_with(&cluster, &OFTEN);
    let scene = Scene { cluster, stub, operator };
    let cluster = &scene.cluster;
    eventually("it leads", SOON, || scene.operator.leads());
    scanned(&scene, 1);
    assert_eq!(scene.written(mark), [""; 0]);
    assert_eq!(scene.report("payments/prod").unwrap()["status"], report["status"], "with the same times");
    assert_eq!(events(cluster), expected, "nothing is told twice");

    // An exception lifts a rule, and shows while it lasts.
    let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24);
    let lifted = format!(
        "{POLICY}  mode: Audit\n  exceptions: [{{rule: Consumers, namespaces: [payments-prod], reason: JIRA-12, expirationTime: {}}}]\n",
        soon.strftime("%Y-%m-%dT%H:%M:%SZ")
    );
    apply(cluster, &lifted);
    let report = scene.says("the rule is lifted", |s| !all(s).contains("Consumers ForeignConsumer Pod lone"));
    let exception = &report["status"]["exceptions"][0];
    assert_eq!((&exception["rule"], &exception["reason"]), (&"Consumers".into(), &"JIRA-12".into()));
    assert_eq!(exception["lifts"], serde_json::json!(["payments-prod"]));
    apply(cluster, &format!("{POLICY}  mode: Audit\n  exceptions: []\n"));
    scene.says("it is not lifted any more", |s| all(s) == told && s["exceptions"].is_null());

    // Mended, all of it; the scan sees that.
    ok(cluster, &["delete", "scopedsecret", "stray", "-n", "payments-prod"]);
    ok(cluster, &["delete", "scopedsecret", "bill", "-n", "billing-prod"]);
    ok(
        cluster,
        &[
            "delete",
            "deployment/web",
            "cronjob/nightly",
            "pod/lone",
            "secret/pulled",
            "secretimport/imported",
            "serviceaccount/thief",
            "-n",
            "payments-prod",
        ],
    );
    ok(cluster, &["delete", "storageclass/peeping", "volumesnapshotclass/peeping"]);
    // The controller that would let it go does not run here.
    ok(cluster, &["patch", "persistentvolume", "peeping", "-p", r#"{"metadata":{"finalizers":null}}"#]);
    ok(cluster, &["delete", "persistentvolume", "peeping"]);
    ok(cluster, &["delete", "configmap", "leaked", "guessed", "-n", "plain"]);
    eventually("the segment is clean", SOON * 3, || {
        let report = scene.report("payments/prod").ok_or("none")?;
        let status = &report["status"];
        if reason(status, "Clean") == "NothingFound" && status["total"] == 0 { Ok(()) } else { Err(status.to_string()) }
    });
    assert!(violating(&scene.report("payments/prod").unwrap()["status"], "ForeignConsumer").is_empty());
    all_is_well(cluster, &scene.operator);
}
