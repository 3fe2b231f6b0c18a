//! The main job: a ScopedSecret becomes a Secret, follows its value, and is refused what is not its own.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod support;

use support::cluster::Cluster;
use support::emulator::Emulator;
use support::operator::{Operator, install};
use support::oracle::all_is_well;
use support::tenants::*;
use support::wait::eventually;

#[test]
fn from_nothing_to_a_working_secret() {
    let (cluster, aws) = (Cluster::start(), Emulator::start());
    install(&cluster);
    let operator = Operator::start(&cluster);
    set_up(&cluster, &aws.endpoint);

    aws.put(
        "payments/prod/orders-db",
        r#"{"username": "orders", "password": "canary-kX9mQ2vL8nR5wT3z", "port": 5432}"#,
    );
    apply(
        &cluster,
        &scoped_secret(
            "payments-prod",
            "orders",
            "data: [{secretKey: password, remoteRef: {key: payments/prod/orders-db, property: password}}]",
        ),
    );
    let object =
        eventually("the Secret is there", SOON, || ready(&cluster, "scopedsecret", Some("payments-prod"), "orders"));
    assert_eq!(object["status"]["segment"], "payments/prod");
    assert_eq!(
        secret_value(&cluster, "payments-prod", "orders", "password").as_deref(),
        Some("canary-kX9mQ2vL8nR5wT3z")
    );

    what_kubectl_shows(&cluster);

    let refused = cluster
        .apply(&scoped_secret("billing-prod", "thief", "dataFrom: [{remoteRef: {key: payments/prod/orders-db}}]"))
        .unwrap_err();
    for part in ["KeyNotAllowed", "tenant=billing", "tenants"] {
        assert!(refused.contains(part), "{part} is missing in {refused}");
    }

    aws.put(
        "payments/prod/orders-db",
        r#"{"username": "orders", "password": "canary-second-wT3zkX9mQ2vL8nR5", "port": 5432}"#,
    );
    let patch = cluster.kubectl(&[
        "annotate",
        "scopedsecret",
        "orders",
        "-n",
        "payments-prod",
        "scopedsecrets.io/refresh-at=now",
    ]);
    assert!(patch.status.success());
    eventually("the new value arrives", SOON, || match secret_value(&cluster, "payments-prod", "orders", "password") {
        Some(value) if value.contains("second") => Ok(()),
        other => Err(format!("{other:?}")),
    });
    all_is_well(&cluster, &operator);
    let took = operator.terminate();
    assert!(took.as_secs() < 5, "{took:?}");
}

fn what_kubectl_shows(cluster: &Cluster) {
    let shown = |arguments: &[&str]| {
        let out = cluster.kubectl(arguments);
        assert!(out.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8_lossy(&out.stdout).into_owned()
    };
    let table = shown(&["get", "scs", "-n", "payments-prod"]);
    let (head, row) = table.split_once('\n').expect("a head and a row");
    assert_eq!(
        head.split_whitespace().collect::<Vec<_>>(),
        ["NAME", "READY", "REASON", "SEGMENT", "STORE", "AGE"],
        "{table}"
    );
    assert_eq!(
        row.split_whitespace().take(4).collect::<Vec<_>>(),
        ["orders", "True", "payments/prod", "aws"],
        "{table}"
    );
    for (selector, expected) in [
        ("spec.storeRef.name=aws", "scopedsecret.scopedsecrets.io/orders\n"),
        ("spec.storeRef.name=other", ""),
        ("spec.target.name=orders", ""),
    ] {
        let found = shown(&["get", "scopedsecrets", "-A", "-o", "name", "--field-selector", selector]);
        assert_eq!(found, expected, "{selector}");
    }
    let category = shown(&["get", "scoped-secrets", "-A", "-o", "name"]);
    for kind in ["scopedsecret.", "scopedsecretstore.", "segmentationpolicy."] {
        assert!(category.contains(kind), "{category}");
    }
    for (field, says) in [
        ("scs.spec.data.remoteRef.key", "exact; a full ARN"),
        ("scs.spec.refreshInterval", "0s"),
        ("scstore.spec.aws.auth.assumeRole.roleArn", "${namespace}"),
        ("segpol.spec.allow.keys", "`${label:KEY}` fill a"),
    ] {
        let explained = shown(&["explain", field]);
        assert!(explained.contains(says), "{field}: {explained}");
    }
}
