//! Access that is lent: by whom, to whom, for how long; and that it ends, whoever is away.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod bad_input;
mod crashes;
mod debt;
mod ends;
#[path = "../support/mod.rs"]
mod support;

use serde_json::Value;
use support::cluster::Cluster;
use support::events::told_of;
use support::inside::{Clock, Gate, settles};
use support::operator::{Operator, install};
use support::relay::Relay;
use support::stub_manager::{Says, StubManager};
use support::tenants::*;
use support::wait::eventually;

const NAMESPACE: &str = "payments-prod";
/// Who may give access to `orders`, and create grants.
const LEAD: &str = "lead@example.com";
/// Who may approve it, and change grants.
const BOB: &str = "bob@example.com";
/// Who gets it.
const ADA: &str = "ada@example.com";

/// Who may do what, by RBAC alone: `lead` gives, `bob` approves, both may write grants.
const RIGHTS: &str = r#"
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: lends, namespace: payments-prod}
rules:
- {apiGroups: [scopedsecrets.io], resources: [secretgrants], verbs: [get, create, update, patch, delete]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: lends, namespace: payments-prod}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: lends}
subjects:
- {apiGroup: rbac.authorization.k8s.io, kind: User, name: lead@example.com}
- {apiGroup: rbac.authorization.k8s.io, kind: User, name: bob@example.com}
- {apiGroup: rbac.authorization.k8s.io, kind: User, name: ada@example.com}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: gives, namespace: payments-prod}
rules:
- {apiGroups: [scopedsecrets.io], resources: [scopedsecrets], resourceNames: [orders, later], verbs: [grant]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: gives, namespace: payments-prod}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: gives}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: lead@example.com}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: approves, namespace: payments-prod}
rules:
- {apiGroups: [scopedsecrets.io], resources: [scopedsecrets], resourceNames: [orders], verbs: [approve]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: approves, namespace: payments-prod}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: approves}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: bob@example.com}]
"#;

/// A cluster, its manager, and an operator.
pub struct Scene {
    operator: Option<Operator>,
    cluster: Cluster,
    stub: StubManager,
    clock: Clock,
    gate: Gate,
}

impl Scene {
    /// `orders` and `reports` are projected.
    fn set_up() -> Self {
        let (cluster, stub) = (Cluster::start(), StubManager::start());
        install(&cluster);
        let (clock, gate) = (Clock::default(), Gate::default());
        let mut scene = Self { cluster, stub, clock, gate, operator: None };
        scene.start();
        set_up_inside(&scene.cluster, &scene.stub.endpoint);
        apply(&scene.cluster, RIGHTS);
        for name in ["orders", "reports"] {
            scene.claim(name, "");
        }
        scene
    }

    fn start(&mut self) {
        self.gate = Gate::default();
        self.operator = Some(Operator::inside(&self.cluster, &self.clock, &self.gate));
    }

    /// Starts one that reaches the API server by a relay.
    fn start_by_relay(&mut self) -> Relay {
        let mut relay = None;
        let by = |address: &str| relay.insert(Relay::to(address)).address.clone();
        self.gate = Gate::default();
        self.operator = Some(Operator::inside_by(by, &self.cluster, &self.clock, &self.gate));
        relay.expect("it was asked for")
    }

    fn kill(&mut self) {
        self.operator.take().expect("it runs").kill();
    }

    fn claim(&self, name: &str, more: &str) {
        let key = format!("payments/prod/{name}");
        self.stub.put(&key, Says::Text(format!("canary-{name}-kX9mQ2vL8nR5wT3z")));
        let spec = format!("data: [{{secretKey: value, remoteRef: {{key: {key}}}}}]\n{more}");
        eventually("it may be claimed", SOON, || self.cluster.apply(&scoped_secret(NAMESPACE, name, &spec)));
        eventually("it is projected", SOON, || ready(&self.cluster, "scopedsecret", Some(NAMESPACE), name));
    }

    /// A policy whose grants are limited so, once the SegmentGuard says it.
    fn limit(&self, grants: &str) {
        apply(&self.cluster, &format!("{}  rules: {{grants: {{{grants}}}}}\n", POLICY.trim_end().to_owned() + "\n"));
        let wanted: Vec<&str> = grants.split(", ").map(|limit| limit.split(": ").nth(1).unwrap()).collect();
        eventually("the SegmentGuard says so", SOON, || {
            let guard = self.cluster.get_json("segmentguard", NAMESPACE, "scoped-secrets").ok_or("none")?;
            let says = &guard["spec"]["grants"];
            let right = says["maxTTL"] == wanted[0] && says["approval"] == wanted[1];
            if right { Ok(()) } else { Err(guard["spec"].to_string()) }
        });
    }

    /// kubectl as somebody; what it said.
    fn as_user(&self, user: &str, line: &str, stdin: &str) -> Result<String, String> {
        let mut words: Vec<&str> = line.split_whitespace().collect();
        words.extend(["--as", user]);
        self.cluster.submit(&words, stdin)
    }

    /// `lead` lends it; it is honoured.
    fn lends(&self, name: &str, more: &str) {
        // An API server that has just started does not know the rule's parameters yet, and refuses.
        eventually("it may be lent", SOON, || self.as_user(LEAD, "create -f -", &grant(name, more)));
        self.is_open(name);
    }

    fn grant(&self, name: &str) -> Value {
        self.cluster.get_json("secretgrant", NAMESPACE, name).expect("it is there")
    }

    fn is_open(&self, name: &str) {
        eventually(&format!("grant {name} is honoured"), SOON, || {
            ready(&self.cluster, "secretgrant", Some(NAMESPACE), name)
        });
    }

    /// Waits until it gives no access for this reason.
    fn is_closed(&self, name: &str, reason: &str) -> Value {
        eventually(&format!("grant {name} is closed: {reason}"), SOON, || {
            let grant = self.grant(name);
            let ready = condition(&grant, "Ready").cloned().unwrap_or_default();
            let right = ready["status"] == "False" && ready["reason"] == reason && grant["status"]["role"].is_null();
            if right { Ok(grant) } else { Err(grant["status"].to_string()) }
        })
    }

    /// Whether somebody may read a Secret, by trying.
    fn reads(&self, user: &str, secret: &str) -> bool {
        match self.as_user(user, &format!("get secret {secret} -n {NAMESPACE} -o name"), "") {
            Ok(_) => true,
            // Who may not is not told that either.
            Err(refusal) if refusal.contains("NotFound") => true,
            Err(refusal) => {
                assert!(refusal.contains("Forbidden"), "{refusal}");
                false
            }
        }
    }

    fn can_read(&self, user: &str, secret: &str) {
        // The API server's authoriser sees a new binding a moment later.
        eventually(
            &format!("{user} reads {secret}"),
            SOON,
            || if self.reads(user, secret) { Ok(()) } else { Err("no") },
        );
    }

    fn cannot_read(&self, user: &str, secret: &str) {
        eventually(&format!("{user} reads {secret} no more"), SOON, || {
            if self.reads(user, secret) { Err("still") } else { Ok(()) }
        });
    }

    /// Roles and RoleBindings of grants that stand, by grant's name.
    fn lent(&self, kind: &str) -> Vec<String> {
        let ours = self.cluster.list_json(kind, "?labelSelector=app.kubernetes.io/managed-by=scoped-secrets");
        ours.iter().map(|object| object["metadata"]["name"].as_str().unwrap().to_owned()).collect()
    }

    /// Nothing of a grant stands.
    fn is_gone(&self, name: &str) {
        let handle = format!("grant-{name}-");
        for kind in ["rolebindings", "roles"] {
            eventually(&format!("the {kind} of {name} go"), SOON, || {
                let standing = self.lent(kind);
                if standing.iter().any(|found| found.starts_with(&handle)) { Err(standing.join(" ")) } else { Ok(()) }
            });
        }
    }

    /// The line of the record of the operator that runs; waits for it.
    fn recorded(&self, what: &str, grant: &str) -> Value {
        let operator = self.operator.as_ref().expect("it runs");
        eventually(&format!("{what} of {grant} is in the record"), SOON, || {
            let lines: Vec<Value> =
                operator.recorded().into_iter().filter(|line| line["kind"] == "SecretGrant").collect();
            let found = lines.iter().find(|line| line["what"] == what && line["name"] == grant).cloned();
            found.ok_or_else(|| format!("{lines:?}"))
        })
    }

    fn told(&self, kind: &str, name: &str, reason: &str) {
        eventually(&format!("{kind} {name} is told {reason}"), SOON, || {
            let told = told_of(&self.cluster, NAMESPACE, kind, name);
            if told.contains_key(reason) { Ok(()) } else { Err(format!("{told:?}")) }
        });
    }
}

/// A grant of `orders` to ada for half an hour, with these lines in its spec; a line that is there already is replaced.
pub fn grant(name: &str, more: &str) -> String {
    let mut lines = vec![
        "scopedSecretRef: {name: orders}".to_owned(),
        format!("subject: {{kind: User, name: {ADA}}}"),
        "ttl: 30m".to_owned(),
        "reason: INC-1".to_owned(),
    ];
    for line in more.lines().filter(|line| !line.is_empty()) {
        let field = line.split(':').next().unwrap();
        lines.retain(|known| !known.starts_with(&format!("{field}:")));
        lines.push(line.to_owned());
    }
    let spec: String = lines.iter().map(|line| format!("  {line}\n")).collect();
    format!(
        "apiVersion: scopedsecrets.io/v1alpha1\nkind: SecretGrant\nmetadata: {{name: {name}, namespace: {NAMESPACE}}}\nspec:\n{spec}"
    )
}

/// Exactly one Secret, to read, and nothing when nothing changes.
#[test]
fn one_secret_is_lent_and_nothing_else() {
    let mut scene = Scene::set_up();
    assert!(!scene.reads(ADA, "orders"));
    scene.gate.count();
    scene.lends("ada", "");
    scene.can_read(ADA, "orders");
    for (line, what) in [
        ("get secret reports -n payments-prod", "another Secret"),
        ("get secrets -n payments-prod", "all Secrets"),
        ("get secret orders -n payments-staging", "another namespace's"),
        ("delete secret orders -n payments-prod", "to delete it"),
        ("label secret orders -n payments-prod a=b", "to change it"),
        ("get secret orders -n payments-prod --watch", "to watch it"),
    ] {
        let told = scene.as_user(ADA, line, "");
        assert!(told.as_ref().is_err_and(|text| text.contains("orbidden")), "{what}: {told:?}");
    }
    let status = scene.grant("ada")["status"].clone();
    assert_eq!((&status["secret"], &status["reason"]), (&"orders".into(), &Value::Null), "{status}");
    settles(&scene.gate);
    let writes = scene.gate.writes();
    let of = |kind: &str| writes.iter().filter(|write| write.contains(kind)).count();
    assert_eq!((of("/roles"), of("/rolebindings"), of("/secretgrants")), (1, 1, 1), "{writes:?}");
    scene.told("ScopedSecret", "orders", "Granted");
    scene.told("SecretGrant", "ada", "Granted");
    // A ServiceAccount of the same namespace, by its bare name.
    scene.lends("job", "subject: {kind: ServiceAccount, name: job}");
    scene.can_read("system:serviceaccount:payments-prod:job", "orders");
    assert!(!scene.reads("system:serviceaccount:payments-staging:job", "orders"));
    // Another operator finds all as it ought to be.
    scene.kill();
    scene.start();
    settles(&scene.gate);
    let writes = scene.gate.writes();
    assert!(
        !writes.iter().any(|w| w.contains("/roles") || w.contains("/rolebindings") || w.contains("/secretgrants")),
        "{writes:?}"
    );
    support::oracle::guarantees_hold(&scene.cluster);
}
