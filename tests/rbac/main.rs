//! Rule Rbac: no role carries a Secret across a boundary. What the webhook refuses, and what must pass.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod answers;
mod boundaries;
mod findings;
mod outage;
#[path = "../support/mod.rs"]
mod support;

use serde_json::{Value, json};
use support::cluster::Cluster;
use support::operator::{Operator, install};
use support::stub_manager::StubManager;
use support::tenants::{SOON, apply, set_up};
use support::wait::eventually;

/// A cluster with an operator and the tenants, and another namespace of the segment payments/prod.
struct Scene {
    operator: Operator,
    cluster: Cluster,
    _stub: StubManager,
}

const MORE: &str = "apiVersion: v1\nkind: Namespace\nmetadata: {name: payments-prod-2, labels: {tenant: payments, environment: prod}}\n";

fn scene() -> Scene {
    let (cluster, stub) = (Cluster::start(), StubManager::start());
    install(&cluster);
    // What RBAC lets happen is judged as often as the guards are looked at.
    let operator = Operator::start_with(&cluster, &["--guard-interval", "2s"]);
    set_up(&cluster, &stub.endpoint);
    apply(&cluster, MORE);
    let scene = Scene { cluster, operator, _stub: stub };
    scene.passes(&[cluster_role("probe", "get", "secrets")]);
    for object in [everybody("payments-prod", "probe"), cluster_wide("probe", "probe", "User", "ada")] {
        eventually("the rule is in force", SOON, || {
            match scene.cluster.submit(&["create", "--dry-run=server", "-f", "-"], &object.to_string()) {
                Err(text) if text.contains("rule Rbac, ") => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
    }
    scene
}

impl Scene {
    fn refused(&self, reason: &str, object: &Value) -> String {
        let told = self.cluster.submit(&["apply", "-f", "-"], &object.to_string());
        let text = told.expect_err(&format!("it was taken: {object}"));
        assert!(text.contains(&format!("rule Rbac, {reason}: ")), "{text}\nof {object}");
        text
    }

    fn passes(&self, objects: &[Value]) {
        for object in objects {
            self.cluster
                .submit(&["apply", "-f", "-"], &object.to_string())
                .unwrap_or_else(|e| panic!("{e}\nof {object}"));
        }
    }
}

/// Several objects, applied in this order.
fn list(objects: &[Value]) -> String {
    json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string()
}

fn kubectl(cluster: &Cluster, line: &str) -> Result<String, String> {
    cluster.submit(&line.split_whitespace().collect::<Vec<_>>(), "")
}

const GROUP: &str = "rbac.authorization.k8s.io";

fn rules(verbs: &str, resources: &str) -> Value {
    let list = |text: &str| text.split(',').map(str::to_owned).collect::<Vec<_>>();
    json!([{"apiGroups": ["", "apps", GROUP], "verbs": list(verbs), "resources": list(resources)}])
}

fn object(kind: &str, namespace: &str, name: &str, rest: Value) -> Value {
    let mut object = json!({"apiVersion": format!("{GROUP}/v1"), "kind": kind, "metadata": {"name": name}});
    if !namespace.is_empty() {
        object["metadata"]["namespace"] = namespace.into();
    }
    object.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
    object
}

fn role(namespace: &str, name: &str, verbs: &str, resources: &str) -> Value {
    object("Role", namespace, name, json!({"rules": rules(verbs, resources)}))
}

fn cluster_role(name: &str, verbs: &str, resources: &str) -> Value {
    object("ClusterRole", "", name, json!({"rules": rules(verbs, resources)}))
}

/// A ServiceAccount's name is `namespace:name`.
fn subject(kind: &str, name: &str) -> Value {
    match name.split_once(':').filter(|_| kind == "ServiceAccount") {
        Some((namespace, name)) => json!({"kind": kind, "name": name, "namespace": namespace}),
        None => json!({"kind": kind, "name": name, "apiGroup": GROUP}),
    }
}

fn bound(namespace: &str, name: &str, role_kind: &str, role: &str, subjects: &[Value]) -> Value {
    let kind = if namespace.is_empty() { "ClusterRoleBinding" } else { "RoleBinding" };
    let role = json!({"apiGroup": GROUP, "kind": role_kind, "name": role});
    object(kind, namespace, name, json!({"roleRef": role, "subjects": subjects}))
}

fn everybody(namespace: &str, role: &str) -> Value {
    bound(namespace, "everybody", "ClusterRole", role, &[subject("Group", "system:authenticated")])
}

fn cluster_wide(name: &str, role: &str, kind: &str, who: &str) -> Value {
    bound("", name, "ClusterRole", role, &[subject(kind, who)])
}
