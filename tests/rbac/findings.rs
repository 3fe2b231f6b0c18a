//! What the analysis finds in a live cluster: nothing in a fresh one with the operator installed, and each way past admission.

use crate::support::cluster::Cluster;
use crate::support::operator::install;
use crate::support::tenants::POLICY;
use crate::{bound, cluster_role, cluster_wide, list, role, subject};
use jiff::Timestamp;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use scoped_secrets::api::SegmentationPolicy;
use scoped_secrets::controller::seen_rbac::{Bound, Rules, Seen};
use scoped_secrets::segmentation::access::Access;
use scoped_secrets::segmentation::access::findings::findings;
use scoped_secrets::segmentation::policy::Policy;
use scoped_secrets::segmentation::world::{PolicyState, World};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

fn all<T: DeserializeOwned>(cluster: &Cluster, kind: &str) -> Vec<T> {
    let out = cluster.kubectl(&["get", kind, "-A", "-o", "json"]);
    let mut all: Value = serde_json::from_slice(&out.stdout).unwrap();
    all["items"].as_array_mut().unwrap().drain(..).map(|item| serde_json::from_value(item).unwrap()).collect()
}

/// Everything that the watches would have shown.
fn access(cluster: &Cluster) -> Access {
    let mut access = Access::default();
    for seen in all::<Seen<Role, Rules>>(cluster, "roles") {
        access.put_role(seen.name(), seen.body.role().clone());
    }
    for seen in all::<Seen<ClusterRole, Rules>>(cluster, "clusterroles") {
        access.put_cluster_role(seen.name(), seen.body.role().clone(), seen.body.aggregation(seen.labels()));
    }
    for seen in all::<Seen<RoleBinding, Bound>>(cluster, "rolebindings") {
        access.put_binding(seen.name(), seen.body.binding(seen.name().namespace.as_deref()));
    }
    for seen in all::<Seen<ClusterRoleBinding, Bound>>(cluster, "clusterrolebindings") {
        access.put_binding(seen.name(), seen.body.binding(None));
    }
    access
}

fn world() -> World {
    let mut world = World::default();
    world.policies_synced = true;
    let policy: SegmentationPolicy = serde_saphyr::from_str(POLICY).unwrap();
    let policy = Policy::compile("tenants", &policy.spec).unwrap();
    world.policies.insert("tenants".into(), PolicyState::Known(policy.into()));
    for (tenant, environment) in [("payments", "prod"), ("billing", "prod")] {
        let labels = [("tenant", tenant), ("environment", environment)].map(|(k, v)| (k.to_owned(), v.to_owned()));
        world.namespaces.insert(format!("{tenant}-{environment}").into(), labels.into());
    }
    world
}

fn told(cluster: &Cluster) -> Vec<String> {
    let found = findings(&access(cluster), &world(), Timestamp::now());
    found.iter().map(|v| format!("{} {} {}", v.segment, v.reason, v.object.name)).collect()
}

#[test]
fn a_fresh_cluster_is_clean_and_what_got_past_admission_is_found() {
    let cluster = Cluster::start();
    install(&cluster);
    assert_eq!(told(&cluster), Vec::<String>::new());

    let made = |name: &str| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    let thief = [subject("ServiceAccount", "billing-prod:thief")];
    let mut part = cluster_role("part", "get", "secrets");
    part["metadata"]["labels"] = json!({"rbac.authorization.k8s.io/aggregate-to-view": "true"});
    // No operator runs, so that nobody refuses it.
    let past = [
        made("payments-prod"),
        made("billing-prod"),
        role("payments-prod", "read", "get", "secrets"),
        bound("payments-prod", "to-thief", "Role", "read", &thief),
        bound("payments-prod", "own", "ClusterRole", "admin", &[subject("User", "ada")]),
        bound("kube-system", "elsewhere", "ClusterRole", "admin", &thief),
        cluster_role("execs", "create", "pods/exec"),
        cluster_wide("execs", "execs", "Group", "developers"),
        cluster_wide("views", "view", "Group", "developers"),
    ];
    cluster.apply(&list(&past)).unwrap();
    let mut expected = vec![
        "billing/prod ClusterWideAccess execs".to_owned(),
        // A stranger in kube-system is one for every other segment.
        "payments/prod ClusterWideAccess elsewhere".to_owned(),
        "payments/prod ClusterWideAccess execs".to_owned(),
        "payments/prod CrossSegmentAccess to-thief".to_owned(),
    ];
    let sorted = |mut found: Vec<String>| {
        found.sort();
        found
    };
    assert_eq!(sorted(told(&cluster)), expected);
    // What the control plane aggregates into `view`, which edit and admin take, too.
    cluster.apply(&part.to_string()).unwrap();
    expected.extend(["billing/prod ClusterWideAccess views".into(), "payments/prod ClusterWideAccess views".into()]);
    crate::support::wait::eventually("it is aggregated", crate::support::tenants::SOON, || {
        let found = sorted(told(&cluster));
        if found == sorted(expected.clone()) { Ok(()) } else { Err(format!("{found:?}")) }
    });
}
