//! With the webhook down: what is of the cluster passes, what is of a governed namespace waits, and nobody else notices.

use crate::support::operator::Operator;
use crate::support::oracle::all_is_well;
use crate::support::tenants::SOON;
use crate::support::wait::eventually;
use crate::{Scene, bound, cluster_role, cluster_wide, everybody, role, scene, subject};

#[test]
fn without_a_webhook_governed_namespaces_wait_and_the_cluster_does_not() {
    let Scene { cluster, operator, _stub } = scene();
    operator.terminate();
    let take = |object: serde_json::Value| cluster.apply(&object.to_string());
    for object in [
        role("payments-prod", "r", "get", "configmaps"),
        everybody("payments-prod", "edit"),
        bound("payments-prod", "own", "ClusterRole", "edit", &[subject("User", "ada")]),
    ] {
        let told = take(object);
        assert!(told.as_ref().is_err_and(|text| text.contains("failed calling webhook")), "{told:?}");
    }
    for object in [
        cluster_role("reads", "get", "secrets"),
        cluster_wide("reads", "reads", "User", "ada"),
        role("plain", "r", "get", "secrets"),
        everybody("plain", "edit"),
        everybody("kube-system", "edit"),
    ] {
        assert_eq!(take(object).map(|_| ()), Ok(()));
    }
    // What came meanwhile is known to the next one: the binding that is there may be changed, and not widened.
    let operator = Operator::start(&cluster);
    eventually("it answers", SOON, || take(role("payments-prod", "r", "get", "configmaps")));
    let mut wider = cluster_wide("reads", "reads", "User", "ada");
    wider["metadata"]["labels"] = serde_json::json!({"a": "b"});
    assert_eq!(take(wider.clone()).map(|_| ()), Ok(()));
    wider["subjects"].as_array_mut().unwrap().push(subject("User", "bob"));
    let told = take(wider);
    assert!(
        told.as_ref().is_err_and(|text| text.contains("ClusterWideAccess") && text.contains("to User \"bob\", which")),
        "{told:?}"
    );
    all_is_well(&cluster, &operator);
}
