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
