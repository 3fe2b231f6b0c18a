//! Things go wrong one after the other, and each is found, with its mend.

use super::*;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use support::operator::lift;

#[test]
fn each_finding_is_a_real_one() {
    let mut scene = scene();
    let cluster = &scene.cluster;
    the_glass_is_broken(cluster);
    scene.operator.terminate();
    an_operator_is_gone(cluster);
    what_got_past_is_found(cluster);
    scene.operator = Operator::start(cluster);
    it_is_refused_and_told(cluster);
    support::oracle::all_is_well(cluster, &scene.operator);
}

/// A binding is gone, and another says less.
fn the_glass_is_broken(cluster: &Cluster) {
    lift(cluster, "consumers-enforce");
    let weaken = r#"{"spec": {"validationActions": ["Audit"]}}"#;
    let weaker = "replication-enforce.scopedsecrets.io";
    kubectl(cluster, &["patch", "validatingadmissionpolicybinding", weaker, "--type=merge", "-p", weaken]);
    let check = plugin(cluster, &["check", "-o", "json"]).says(1, &[]);
    let kind = "ValidatingAdmissionPolicyBinding";
    check.finds("GuardMissing", kind, "consumers-enforce.scopedsecrets.io");
    check.finds("GuardMissing", kind, weaker);
    assert_eq!(check.json()["summary"]["errors"], 2, "{}", check.out);
    let text = plugin(cluster, &["check"]).says(
        1,
        &[
            "GuardMissing",
            "to mend: install again as it was done",
            "to mend: while an upgrade is under way wait, or roll it back; else delete it, then",
            "2 findings",
        ],
    );
    assert!(text.out.contains("it is not there, so that rule Consumers is not kept"), "{}", text.out);
    is_sarif(&plugin(cluster, &["check", "-o", "sarif"]));
}

/// Nobody leads, and the webhook configuration is emptied.
fn an_operator_is_gone(cluster: &Cluster) {
    let empty = r#"{"webhooks": []}"#;
    let configuration = ["patch", "validatingwebhookconfiguration", "scoped-secrets", "--type=merge", "-p", empty];
    kubectl(cluster, &configuration);
    let check = plugin(cluster, &["check", "-o", "json"]).says(1, &[]);
    check.finds("GuardMissing", "ValidatingWebhookConfiguration", "scoped-secrets");
    check.finds("OperatorDown", "Lease", "scoped-secrets");
    let waited = plugin(cluster, &["check", "--wait", "--timeout", "3s"]);
    waited.says(1, &["nobody leads"]);
}

/// With the door open: a foreign key, a foreign pod, a copy, a role across, a Secret in default.
fn what_got_past_is_found(cluster: &Cluster) {
    apply(cluster, &scoped_secret("billing-prod", "stolen", &whole("payments/prod/db")));
    let why = plugin(cluster, &["why", "stolen", "-n", "billing-prod"]);
    why.says(1, &["refused", "KeyNotAllowed", "tenant=billing", "has not looked at its last change"]);

    eventually("the pod is let in", SOON, || {
        cluster.apply(&pod("payments-prod", "thief", "thief", "orders").to_string())
    });
    let trace = plugin(cluster, &["trace", "thief", "-n", "payments-prod"]);
    trace.says(1, &["ForeignConsumer", "its ServiceAccount is no consumer"]);
    let json = plugin(cluster, &["trace", "thief", "-n", "payments-prod", "-o", "json"]).says(1, &[]).json();
    assert_eq!(json["findings"][0]["reason"], "ForeignConsumer");
    let sarif =
        plugin(cluster, &["trace", "thief", "-n", "payments-prod", "-o", "sarif"]).says(1, &["ForeignConsumer"]);
    is_sarif(&sarif);

    apply(cluster, &secret("billing-prod", "copy", VALUE));
    let coded = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings", "namespace": "billing-prod"},
        "data": {"auth.json": json!({"auth": BASE64_STANDARD.encode(format!("app:{VALUE}"))}).to_string()},
    });
    apply(cluster, &coded.to_string());
    let pods = json!({"metadata": {"labels": {"app": "steals"}}, "spec": pod("", "", "thief", "orders")["spec"]});
    let workload = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "steals", "namespace": "payments-prod"},
        "spec": {"selector": {"matchLabels": {"app": "steals"}}, "template": pods},
    });
    apply(cluster, &workload.to_string());
    eventually("its pod is there", SOON, || {
        let pods = kubectl(cluster, &["get", "pods", "-n", "payments-prod", "-l", "app=steals", "-o", "name"]);
        if pods.is_empty() { Err("none") } else { Ok(()) }
    });
    apply(cluster, &secret("default", "lost", "x"));
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
    let audit = plugin(cluster, &["audit", "-o", "json"]).says(1, &[]);
    audit.finds("ForeignConsumer", "Pod", "thief");
    audit.finds("ForeignConsumer", "Deployment", "steals");
    assert!(
        !audit.out.contains("ReplicaSet") && !audit.out.contains("\"steals-"),
        "the topmost is told: {}",
        audit.out
    );
    audit.finds("ValueCopied", "Secret", "copy");
    audit.finds("ValueCopied", "ConfigMap", "settings");
    audit.finds("CrossSegmentAccess", "RoleBinding", "across");
    audit.finds("SecretInDefault", "Secret", "lost");
    let text = plugin(cluster, &["audit"]).says(1, &["to mend: Leave the value out", "segment payments/prod"]);
    assert!(text.out.contains("Secret billing-prod/copy: [ValueCopied]"), "{}", text.out);
    is_sarif(&plugin(cluster, &["audit", "-o", "sarif"]));
    let blind = plugin(cluster, &["audit", "--metadata-only"]).says(1, &["ForeignConsumer"]);
    assert!(!blind.out.contains("ValueCopied"), "no value was read: {}", blind.out);
    let here = plugin(cluster, &["audit", "-n", "billing-prod"]).says(1, &["ValueCopied"]);
    assert!(!here.out.contains("RoleBinding payments-prod"), "{}", here.out);
    let missing = pod("payments-prod", "lonely", "orders", "nothing").to_string();
    apply(cluster, &missing);
    plugin(cluster, &["trace", "lonely", "-n", "payments-prod"]).says(1, &["nothing: not there"]);
}

/// The operator is back and says why not.
fn it_is_refused_and_told(cluster: &Cluster) {
    becomes(cluster, "billing-prod", "stolen", "Authorized", "False", "KeyNotAllowed");
    let check = plugin(cluster, &["check", "-o", "json"]).says(1, &[]);
    check.finds("KeyNotAllowed", "ScopedSecret", "stolen");
    plugin(cluster, &["check", "-n", "payments-prod", "-o", "json"]).says(1, &[]).finds(
        "GuardMissing",
        "ValidatingAdmissionPolicyBinding",
        "consumers-enforce.scopedsecrets.io",
    );
    eventually("the refusal is in its history", SOON, || {
        let why = plugin(cluster, &["why", "stolen", "-n", "billing-prod"]);
        let told = why.out.contains("history") && why.out.contains("Authorized False") && why.code == Some(1);
        if told { Ok(()) } else { Err(why.out) }
    });
}
