//! The test bed itself: a cluster that rolls out pods and tells who asked for what, and an AWS.

#![allow(clippy::expect_used, reason = "a story ends where its ground is missing")]

mod support;

use std::time::Duration;

use serde_json::json;
use support::cluster::Cluster;
use support::emulator::Emulator;
use support::wait::eventually;

#[test]
fn a_cluster_keeps_what_is_applied_and_says_who_asked() {
    let cluster = Cluster::shared_with_pods();
    let mark = cluster.audit_mark();

    cluster.apply(&namespace("kept")).expect("a namespace is accepted");

    let kept = cluster.get_json("namespace", None, "kept").expect("it is there");
    assert_eq!(kept["metadata"]["labels"]["tenant"], "kept");
    assert_eq!(cluster.get_json("namespace", None, "never-made"), None);
    let refused = cluster.apply(&namespace("Not_A_Name")).expect_err("a bad name");
    assert!(refused.contains("Invalid value"), "{refused}");

    let writes = cluster.audit_since(mark).user("test-admin").user_agent("kubectl").resource("namespaces").writes();
    let ours = writes.only(|write| ["kept", "Not_A_Name"].contains(&&*write.name)); // the cluster is shared
    let answers: Vec<_> = ours.iter().map(|write| (write.verb.as_str(), write.name.as_str(), write.code)).collect();
    assert_eq!(answers, [("create", "kept", 201), ("create", "Not_A_Name", 422)]);
}

#[test]
fn a_deployment_rolls_out() {
    let cluster = Cluster::shared_with_pods();
    cluster.apply(&namespace("rolls")).expect("a namespace is accepted");
    cluster.apply(DEPLOYMENT).expect("a Deployment is accepted");
    eventually("Deployment with two ready pods", Duration::from_secs(60), || {
        let deployment = cluster.get_json("deployment", "rolls", "web").ok_or("no Deployment")?;
        let ready = deployment["status"]["readyReplicas"].clone();
        if ready == json!(2) { Ok(()) } else { Err(format!("readyReplicas: {ready}")) }
    });
}

#[test]
fn an_emulator_answers_a_batch_in_part() {
    let aws = Emulator::start();
    let first = aws.put("payments/prod/orders-db", r#"{"password":"one"}"#);
    let second = aws.put("payments/prod/orders-db", r#"{"password":"two"}"#);
    assert_ne!(first, second);
    aws.put_binary("payments/prod/tls", b"\x00\xff");
    aws.put("payments/prod/gone", "x");
    aws.delete("payments/prod/gone");

    let batch = ["payments/prod/orders-db", "payments/prod/tls", "payments/prod/gone", "payments/prod/never"];
    let answer = aws.call("BatchGetSecretValue", &json!({"SecretIdList": batch}));

    assert_eq!(answer["SecretValues"][0]["VersionId"], second);
    assert_eq!(answer["SecretValues"][0]["SecretString"], r#"{"password":"two"}"#);
    assert_eq!(answer["SecretValues"][1]["SecretBinary"], "AP8=");
    assert_eq!(answer["Errors"][0]["ErrorCode"], "InvalidRequestException");
    assert_eq!(answer["Errors"][1]["ErrorCode"], "ResourceNotFoundException");
    aws.restore("payments/prod/gone");
    assert_eq!(aws.call("GetSecretValue", &json!({"SecretId": "payments/prod/gone"}))["SecretString"], "x");
    assert_eq!(aws.calls(), [], "the harness's own calls do not count");
}

fn namespace(name: &str) -> String {
    format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}, labels: {{tenant: {name}}}}}")
}

const DEPLOYMENT: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: rolls}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: never-pulled}]}
";
