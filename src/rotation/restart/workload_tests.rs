use super::*;
use serde_json::{Value, from_value, json};

fn metadata(generation: i64) -> Value {
    json!({"name": "web", "uid": "u", "resourceVersion": "7", "generation": generation})
}

fn template() -> Value {
    json!({
        "metadata": {"annotations": {RESTARTED_FOR_ANNOTATION: "v1"}},
        "spec": {"serviceAccountName": "orders", "containers": [{
            "name": "c", "envFrom": [{"secretRef": {"name": "db"}}],
            "env": [{"name": "X", "valueFrom": {"secretKeyRef": {"name": "api", "key": "k"}}}]
        }]}
    })
}

#[test]
fn a_deployment_is_done_when_only_new_pods_are_there_and_available() {
    let of = |spec: Value, status: Value| {
        let mut whole = json!({"template": template()});
        whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        let object = json!({"metadata": metadata(3), "spec": whole, "status": status});
        Workload::of_deployment(&from_value(object).unwrap()).unwrap()
    };
    let status = |seen: i64, all: i32, updated: i32, available: i32| json!({"observedGeneration": seen, "replicas": all, "updatedReplicas": updated, "availableReplicas": available});
    let two = json!({"replicas": 2});
    for (status, rollout) in [
        (status(3, 2, 2, 2), Rollout::Done),
        (status(2, 2, 2, 2), Rollout::Rolling),
        (status(3, 3, 2, 3), Rollout::Rolling),
        (status(3, 2, 1, 2), Rollout::Rolling),
        (status(3, 2, 2, 1), Rollout::Rolling),
        (json!({}), Rollout::Rolling),
    ] {
        assert_eq!(of(two.clone(), status.clone()).rollout, rollout, "{status}");
    }
    let mut stuck = status(3, 3, 1, 2);
    stuck["conditions"] = json!([{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}]);
    assert_eq!(of(two.clone(), stuck.clone()).rollout, Rollout::Stuck);
    stuck["observedGeneration"] = json!(2);
    assert_eq!(of(two.clone(), stuck).rollout, Rollout::Rolling, "that was the template before");
    assert_eq!(of(json!({"replicas": 0}), status(3, 0, 0, 0)).rollout, Rollout::Empty);
    let web = of(json!({"paused": true}), status(3, 1, 1, 1));
    assert_eq!((web.replaces, web.account.as_str()), (Replaces::Paused, "orders"));
    assert_eq!(web.secrets, ["api".to_owned(), "db".to_owned()].into());
    assert_eq!(web.restarted_for.as_deref(), Some("v1"));
    assert_eq!(web.named.to_string(), "Deployment \"web\"");
}

#[test]
fn the_other_kinds() {
    let of = |strategy: Value, status: Value| {
        let spec = json!({"replicas": 2, "serviceName": "", "selector": {}, "template": template(), "updateStrategy": strategy});
        let object = json!({"metadata": metadata(1), "spec": spec, "status": status});
        let set = Workload::of_stateful_set(&from_value(object).unwrap()).unwrap();
        (set.replaces, set.rollout)
    };
    let status =
        |updated: i32| json!({"observedGeneration": 1, "replicas": 2, "readyReplicas": 2, "updatedReplicas": updated});
    assert_eq!(of(json!({}), status(2)), (Replaces::Itself, Rollout::Done));
    assert_eq!(of(json!({"type": "OnDelete"}), status(0)), (Replaces::OnDelete, Rollout::Rolling));
    let parted = |partition: i32, updated: i32| of(json!({"rollingUpdate": {"partition": partition}}), status(updated));
    for (partition, updated, rollout) in
        [(1, 0, Rollout::Rolling), (1, 1, Rollout::Partial), (9, 0, Rollout::Partial), (1, 2, Rollout::Done)]
    {
        assert_eq!(parted(partition, updated), (Replaces::Partition, rollout), "{updated} beside {partition}");
    }
    assert_eq!(of(json!({"rollingUpdate": {"partition": 0}}), status(1)), (Replaces::Itself, Rollout::Rolling));

    let of = |strategy: Value, wanted: i32, updated: i32| {
        let spec = json!({"selector": {}, "template": template(), "updateStrategy": strategy});
        let status = json!({
            "observedGeneration": 1, "currentNumberScheduled": wanted, "numberMisscheduled": 0, "numberReady": wanted,
            "desiredNumberScheduled": wanted, "updatedNumberScheduled": updated, "numberAvailable": wanted
        });
        let object = json!({"metadata": metadata(1), "spec": spec, "status": status});
        let set = Workload::of_daemon_set(&from_value(object).unwrap()).unwrap();
        (set.replaces, set.rollout)
    };
    assert_eq!(of(json!({}), 3, 3), (Replaces::Itself, Rollout::Done));
    assert_eq!(of(json!({}), 3, 2), (Replaces::Itself, Rollout::Rolling));
    assert_eq!(of(json!({}), 0, 0), (Replaces::Itself, Rollout::Empty));
    assert_eq!(of(json!({"type": "OnDelete"}), 3, 0), (Replaces::OnDelete, Rollout::Rolling));
}

#[test]
fn what_is_being_deleted_is_left_alone() {
    let mut object = json!({"metadata": metadata(1), "spec": {"selector": {}, "template": template()}});
    assert!(Workload::of_deployment(&from_value(object.clone()).unwrap()).is_some());
    object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    assert!(Workload::of_deployment(&from_value(object).unwrap()).is_none());
}

#[test]
fn a_pod_of_a_job_is_left_to_finish() {
    let of = |owner: &str, status: Value| {
        let owner = json!([{"apiVersion": "x", "kind": owner, "name": "o", "uid": "o", "controller": true}]);
        let metadata = json!({"name": "p", "ownerReferences": owner, "annotations": {RESTARTED_FOR_ANNOTATION: "v1"}});
        let pod = json!({"metadata": metadata, "spec": template()["spec"], "status": status});
        Running::of(&from_value(pod).unwrap())
    };
    let running = json!({"phase": "Running", "startTime": "2026-01-01T00:00:00Z"});
    let pod = of("ReplicaSet", running.clone()).unwrap();
    assert_eq!((pod.name.as_str(), pod.restarted_for.as_deref()), ("p", Some("v1")));
    assert!(of("Job", running).is_none());
    assert!(of("ReplicaSet", json!({"phase": "Pending"})).is_none(), "it has not started");
    assert!(of("ReplicaSet", json!({"phase": "Failed", "startTime": "2026-01-01T00:00:00Z"})).is_none());
}
