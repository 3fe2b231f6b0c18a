//! What crosses a boundary is refused, by whatever path; what does not passes.

use crate::support::oracle::all_is_well;
use crate::support::tenants::SOON;
use crate::support::wait::eventually;
use crate::{Scene, bound, cluster_role, cluster_wide, everybody, kubectl, role, scene, subject};
use serde_json::{Value, json};

const STRANGER: (&str, &str) = ("ServiceAccount", "billing-prod:thief");

fn to(role: &str, (kind, name): (&str, &str)) -> Value {
    bound("payments-prod", &format!("to-{role}"), "ClusterRole", role, &[subject(kind, name)])
}

#[test]
fn nothing_is_bound_across_a_boundary() {
    let scene = scene();
    strangers_in_a_namespace(&scene);
    powers_in_a_namespace(&scene);
    a_role_that_grows(&scene);
    readers_of_the_cluster(&scene);
    what_must_pass(&scene);
    all_is_well(&scene.cluster, &scene.operator);
}

fn strangers_in_a_namespace(scene: &Scene) {
    for (kind, name) in [
        STRANGER,
        ("ServiceAccount", "payments-staging:app"),
        ("ServiceAccount", "plain:app"),
        ("ServiceAccount", "not-there:app"),
        ("User", "system:serviceaccount:billing-prod:thief"),
        ("User", "system:anonymous"),
        ("Group", "system:authenticated"),
        ("Group", "system:unauthenticated"),
        ("Group", "system:serviceaccounts"),
        ("Group", "system:serviceaccounts:billing-prod"),
    ] {
        let text = scene.refused("CrossSegmentAccess", &to("edit", (kind, name)));
        assert!(text.contains("rules.readers"), "{text}");
    }
    // What is there already may be changed, and a stranger may not be added to it.
    let mut own = to("edit", ("User", "ada"));
    scene.passes(&[own.clone()]);
    own["metadata"]["labels"] = json!({"a": "b"});
    scene.passes(&[own.clone()]);
    own["subjects"].as_array_mut().unwrap().push(subject(STRANGER.0, STRANGER.1));
    scene.refused("CrossSegmentAccess", &own);
    let patch = json!([{"op": "add", "path": "/subjects/-", "value": subject(STRANGER.0, STRANGER.1)}]).to_string();
    let patch = format!("patch rolebinding to-edit -n payments-prod --type=json -p {patch}");
    let told = kubectl(&scene.cluster, &patch);
    assert!(told.as_ref().is_err_and(|text| text.contains("CrossSegmentAccess")), "{told:?}");
    let dry = scene.cluster.submit(&["create", "--dry-run=server", "-f", "-"], &to("admin", STRANGER).to_string());
    assert!(dry.is_err_and(|text| text.contains("CrossSegmentAccess")));
    let unknown = scene.refused("RoleUnknown", &to("not-there", STRANGER));
    assert!(unknown.contains("create the role first"), "{unknown}");
}

fn powers_in_a_namespace(scene: &Scene) {
    for (i, (verbs, resources, refused)) in [
        ("get", "secrets", true),
        ("list", "secrets", true),
        ("watch", "secrets", true),
        ("patch", "secrets", true),
        ("update", "secrets", true),
        ("delete", "secrets", true),
        ("deletecollection", "secrets", true),
        ("*", "*", true),
        ("impersonate", "serviceaccounts", true),
        ("create", "serviceaccounts/token", true),
        ("create", "pods/exec", true),
        ("create", "*/exec", true),
        ("create", "pods/attach", true),
        ("patch", "pods/ephemeralcontainers", true),
        ("create", "pods", true),
        ("create", "deployments", true),
        ("escalate", "roles", true),
        ("bind", "clusterroles", true),
        ("create", "secrets", false),
        ("get,list,watch", "pods,configmaps,services", false),
        ("get", "nodes/proxy", false),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("power-{i}");
        scene.passes(&[role("payments-prod", &name, verbs, resources)]);
        let binding = bound("payments-prod", &name, "Role", &name, &[subject(STRANGER.0, STRANGER.1)]);
        let told = scene.cluster.apply(&binding.to_string());
        let right = match &told {
            Ok(_) => !refused,
            Err(text) => refused && text.contains("rule Rbac, CrossSegmentAccess: "),
        };
        assert!(right, "{verbs} {resources}: {told:?}");
    }
}

fn a_role_that_grows(scene: &Scene) {
    let grown = |verbs| role("payments-prod", "grows", verbs, "secrets");
    scene.passes(&[
        grown("create"),
        bound("payments-prod", "grows", "Role", "grows", &[subject(STRANGER.0, STRANGER.1)]),
    ]);
    eventually("the binding is known", SOON, || {
        let told = scene.cluster.submit(&["apply", "--dry-run=server", "-f", "-"], &grown("get").to_string());
        match told {
            Err(text) if text.contains("rule Rbac, CrossSegmentAccess: ") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    let text = scene.refused("CrossSegmentAccess", &grown("create,get"));
    assert!(text.contains("RoleBinding \"grows\"") && !text.contains("billing"), "{text}");
    // A ClusterRole, by itself and by one that it is aggregated into.
    let labelled = |name: &str, verbs: &str| {
        let mut role = cluster_role(name, verbs, "secrets");
        role["metadata"]["labels"] = json!({"example.com/to-whole": "true"});
        role
    };
    let mut whole = cluster_role("whole", "create", "configmaps");
    whole["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": {"example.com/to-whole": "true"}}]});
    scene.passes(&[whole, labelled("part", "create"), to("whole", STRANGER)]);
    eventually("the binding is known", SOON, || {
        let part = labelled("part", "create,get").to_string();
        match scene.cluster.submit(&["apply", "--dry-run=server", "-f", "-"], &part) {
            Err(text) if text.contains("rule Rbac, CrossSegmentAccess: ") && !text.contains("billing") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    scene.refused("CrossSegmentAccess", &labelled("another-part", "list"));
    scene.passes(&[cluster_role("another-part", "list", "secrets")]);
    // The control plane still aggregates what harms nobody.
    let mut harmless = labelled("harmless", "create");
    harmless["rules"][0]["resources"] = json!(["events"]);
    scene.passes(&[harmless]);
    eventually("it is aggregated", SOON, || {
        let whole = scene.cluster.get_json("clusterrole", None, "whole").unwrap();
        if whole["rules"].to_string().contains("events") { Ok(()) } else { Err(whole["rules"].to_string()) }
    });
}

fn readers_of_the_cluster(scene: &Scene) {
    for (i, (kind, name)) in [
        ("User", "ada"),
        ("Group", "developers"),
        ("Group", "system:authenticated"),
        ("ServiceAccount", "plain:app"),
        ("ServiceAccount", "payments-prod:orders"),
    ]
    .into_iter()
    .enumerate()
    {
        scene.refused("ClusterWideAccess", &cluster_wide(&format!("wide-{i}"), "cluster-admin", kind, name));
    }
    // Applied together with its role.
    let both = [cluster_role("reads", "list", "secrets"), cluster_wide("reads", "reads", "User", "ada")];
    let told = scene.tries("", &both);
    assert!(told.as_ref().is_err_and(|text| text.contains("rule Rbac, ClusterWideAccess: ")), "{told:?}");
    // What leads to Secrets without returning them is found, not refused; so is the rest of a cluster's own.
    scene.passes(&[
        cluster_role("execs", "create", "pods/exec"),
        cluster_wide("execs", "execs", "User", "ada"),
        cluster_wide("views", "view", "Group", "developers"),
        cluster_wide("masters", "cluster-admin", "Group", "system:masters"),
        cluster_wide("addon", "reads", "ServiceAccount", "kube-system:addon"),
        cluster_wide("operator", "reads", "ServiceAccount", "scoped-secrets:scoped-secrets"),
    ]);
}

fn what_must_pass(scene: &Scene) {
    // The default roles inside a segment.
    for (i, (kind, name)) in [
        ("User", "ada"),
        ("Group", "payments-developers"),
        ("ServiceAccount", "payments-prod:deployer"),
        ("ServiceAccount", "payments-prod-2:deployer"),
        ("Group", "system:serviceaccounts:payments-prod"),
    ]
    .into_iter()
    .enumerate()
    {
        for role in ["admin", "edit", "view"] {
            let name_of = format!("inside-{i}-{role}");
            scene.passes(&[bound("payments-prod", &name_of, "ClusterRole", role, &[subject(kind, name)])]);
        }
    }
    // A chart of one namespace, by its admin.
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "web", "namespace": "payments-prod"}});
    let chart = [
        account,
        role("payments-prod", "web", "get,list,watch", "secrets,configmaps"),
        bound("payments-prod", "web", "Role", "web", &[subject("ServiceAccount", "payments-prod:web")]),
    ];
    let text = chart.iter().map(Value::to_string).collect::<Vec<_>>().join("\n---\n");
    let installed = scene.cluster.submit(&["create", "-f", "-", "--as", "ada"], &text.replace("\"web\"", "\"chart\""));
    assert!(installed.is_ok(), "{installed:?}");
    scene.passes(&chart);
    // Namespaces that are none of its business.
    for namespace in ["plain", "kube-system", "default", "scoped-secrets"] {
        let stranger = bound(namespace, "stranger", "ClusterRole", "edit", &[subject(STRANGER.0, STRANGER.1)]);
        scene.passes(&[role(namespace, "reader", "get", "secrets"), stranger, everybody(namespace, "edit")]);
    }
    let gone = kubectl(&scene.cluster, "delete rolebinding,role --all -n payments-prod");
    assert!(gone.is_ok(), "{gone:?}");
}
