//! Two replicas that both believe they lead, from the beginning to the end of every flow: each ends as with one, with one new version,
//! one revocation and one end. Of one that was deposed in the middle of a fetch is `replicas`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod support;

use jiff::SignedDuration;
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;
use support::canary;
use support::cluster::Cluster;
use support::inside::{Clock, Gate, OTHER_LEASE, settles};
use support::operator::{self, Operator, all_recorded, count_recorded, install};
use support::oracle::guarantees_hold_at;
use support::stub_manager::{Lambda, Says, StubManager, Version};
use support::tenants::*;
use support::wait::{eventually, second_is_over};

const NAMESPACE: &str = "payments-prod";
/// Of each flow so many at once, so that each replica comes first with some.
const MANY: usize = 6;

/// What an operator needs for a Lease of its own.
fn other_lease() -> String {
    let object = |kind: &str, rest: Value| {
        let mut object = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind,
            "metadata": {"name": OTHER_LEASE, "namespace": operator::NAMESPACE}});
        object.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        object
    };
    let rule = json!({"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "resourceNames": [OTHER_LEASE],
        "verbs": ["get", "update"]});
    let account = json!({"kind": "ServiceAccount", "name": operator::NAMESPACE, "namespace": operator::NAMESPACE});
    let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": OTHER_LEASE});
    json!({"apiVersion": "v1", "kind": "List", "items": [
        object("Role", json!({"rules": [rule]})),
        object("RoleBinding", json!({"roleRef": role, "subjects": [account]})),
    ]})
    .to_string()
}

struct Scene {
    operators: [Operator; 2],
    gates: [Gate; 2],
    cluster: Cluster,
    stub: StubManager,
    clock: Clock,
}

fn key(name: &str) -> String {
    format!("payments/prod/{name}")
}

impl Scene {
    fn set_up() -> Self {
        let (cluster, stub, clock) = (Cluster::start(), StubManager::start(), Clock::default());
        install(&cluster);
        apply(&cluster, &other_lease());
        let gates = [Gate::default(), Gate::beside()];
        let first = Operator::inside(&cluster, &clock, &gates[0]);
        // Both are behind one Service.
        let url = format!("https://{}", first.webhook);
        let second = Operator::launch_inside(&cluster, &clock, &gates[1], &["--webhook-url", &url]);
        eventually("the second is ready", SOON, || second.probe("/readyz"));
        let operators = [first, second];
        set_up_inside(&cluster, &stub.endpoint);
        let more = "    actions: [Read, Rotate, Generate]\n  rules: {grants: {maxTTL: 99h}}\n";
        apply(&cluster, &format!("{POLICY}{more}"));
        let scene = Self { operators, gates, cluster, stub, clock };
        scene.both_lead();
        scene
    }

    fn both_lead(&self) {
        for operator in &self.operators {
            eventually("it leads", SOON, || operator.leads());
        }
    }

    fn rest(&self) {
        self.gates.iter().for_each(settles);
    }

    fn kubectl(&self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        self.cluster.submit(&words, "").unwrap();
    }

    /// As many as there are to be, each with a key of its own, and projected.
    fn claims(&self, prefix: &str, more: &str) -> Vec<String> {
        let names: Vec<String> = (0..MANY).map(|i| format!("{prefix}-{i}")).collect();
        for name in &names {
            self.stub.put(&key(name), Says::Text(format!("canary-{name}-kX9mQ2vL8nR5wT3z")));
            let spec = format!("data: [{{secretKey: value, remoteRef: {{key: {}}}}}]\n{more}", key(name));
            eventually("it may be claimed", SOON, || self.cluster.apply(&scoped_secret(NAMESPACE, name, &spec)));
        }
        names.iter().for_each(|name| self.is_projected(name));
        self.rest();
        names
    }

    fn is_projected(&self, name: &str) {
        eventually(&format!("{name} is projected"), SOON, || {
            ready(&self.cluster, "scopedsecret", Some(NAMESPACE), name)
        });
    }

    fn annotate(&self, name: &str, annotation: &str) {
        self.kubectl(&format!("annotate scopedsecret {name} -n {NAMESPACE} scopedsecrets.io/{annotation}"));
    }

    /// So many versions were made of it, and the Secret has the last.
    fn has_versions(&self, name: &str, count: usize) {
        eventually(&format!("{name} has {count} versions"), SOON, || {
            let versions = self.stub.versions(&key(name));
            let current = versions.iter().find(|v| v.stages.iter().any(|s| s == "AWSCURRENT"));
            let is_pending = versions.iter().any(|v| v.stages.iter().any(|s| s == "AWSPENDING"));
            let held = secret_value(&self.cluster, NAMESPACE, name, "value");
            let right = versions.len() == count && !is_pending && held.is_some() && held == current.and_then(text);
            if right { Ok(()) } else { Err(format!("{versions:?} {held:?}")) }
        });
        becomes(&self.cluster, NAMESPACE, name, "Rotated", "True", "Verified");
    }

    fn is_gone(&self, name: &str) {
        eventually(&format!("Secret {name} is gone"), SOON, || {
            self.cluster.get_json("secret", NAMESPACE, name).map_or(Ok(()), |_| Err("it stands"))
        });
    }

    /// Names of what is ours of this kind.
    fn ours(&self, kind: &str) -> Vec<String> {
        let ours = self.cluster.list_json(kind, "?labelSelector=app.kubernetes.io/managed-by=scoped-secrets");
        ours.iter().map(|object| object["metadata"]["name"].as_str().unwrap().to_owned()).collect()
    }

    fn revocations(&self) -> usize {
        self.cluster.list_json("keyrevocations", "").len()
    }
}

fn text(version: &Version) -> Option<String> {
    match &version.says {
        Says::Text(text) => Some(text.clone()),
        _ => None,
    }
}

#[test]
fn each_flow_ends_as_with_one() {
    let scene = Scene::set_up();

    // Generated: on demand, and on a schedule whose next slot is within the hour.
    let hour = (scene.clock.now() + SignedDuration::from_hours(1)).to_zoned(TimeZone::UTC).hour();
    let rotation = format!("rotation: {{strategy: Generate, schedule: \"0 {hour} * * *\"}}\n");
    let generated = scene.claims("generated", &rotation);
    generated.iter().for_each(|name| scene.annotate(name, "rotate-at=now"));
    generated.iter().for_each(|name| scene.has_versions(name, 2));
    scene.rest();
    scene.clock.advance(SignedDuration::from_hours(4));
    generated.iter().for_each(|name| scene.has_versions(name, 3));

    // By the manager's function.
    let provided = scene.claims("provided", "rotation: {strategy: Provider}\n");
    for name in &provided {
        let value = format!("canary-rotated-{name}-hG7fD4sA9pL2");
        scene.stub.rotates(&key(name), Lambda::Succeeds(Duration::from_millis(300), value));
        scene.annotate(name, "rotate-at=now");
    }
    provided.iter().for_each(|name| scene.has_versions(name, 2));

    // Lent, and taken back: owed one rotation each, which a deleted grant's is as well.
    let seen = scene.claims("seen", "rotation: {strategy: Generate}\n");
    let deleted = scene.claims("unseen", "rotation: {strategy: Generate}\n");
    for (names, ttl) in [(&seen, "1h"), (&deleted, "9h")] {
        for name in names {
            // Reckoned from a creation by the API server's clock, which is behind.
            let hours = 4 + ttl.trim_end_matches('h').parse::<i64>().unwrap();
            let grant = json!({"apiVersion": "scopedsecrets.io/v1alpha1", "kind": "SecretGrant",
                "metadata": {"name": name, "namespace": NAMESPACE},
                "spec": {"scopedSecretRef": {"name": name}, "subject": {"kind": "User", "name": "ada@example.com"},
                    "reason": "incident", "ttl": format!("{hours}h"), "rotateAfter": true}});
            eventually("it may be lent", SOON, || scene.cluster.apply(&grant.to_string()));
        }
    }
    for name in seen.iter().chain(&deleted) {
        eventually(&format!("grant {name} is honoured"), SOON, || {
            ready(&scene.cluster, "secretgrant", Some(NAMESPACE), name)
        });
    }
    scene.rest();
    assert_eq!(scene.ours("rolebindings").len(), 2 * MANY);
    scene.clock.advance(SignedDuration::from_hours(2));
    deleted.iter().for_each(|name| scene.kubectl(&format!("delete secretgrant {name} -n {NAMESPACE} --wait=false")));
    seen.iter().chain(&deleted).for_each(|name| scene.has_versions(name, 2));
    eventually("nothing is lent or owed", SOON, || match (scene.ours("rolebindings"), scene.ours("roles")) {
        (bindings, roles) if bindings.is_empty() && roles.is_empty() => Ok(()),
        other => Err(format!("{other:?}")),
    });

    // Revoked by an annotation: once each, until somebody lifts it, and not again.
    let leaked = scene.claims("leaked", "");
    leaked.iter().for_each(|name| scene.annotate(name, "revoke=true"));
    for name in &leaked {
        becomes(&scene.cluster, NAMESPACE, name, "Ready", "False", "KeyRevoked");
        scene.is_gone(name);
    }
    assert_eq!(scene.revocations(), MANY);
    let (lifted, renewed) = leaked.split_at(MANY / 2);
    scene.cluster.list_json("keyrevocations", "").iter().for_each(second_is_over);
    for name in renewed {
        scene.stub.put(&key(name), Says::Text(format!("canary-renewed-{name}-hG7fD4sA9pL2")));
        scene.annotate(name, "refresh-at=now");
        scene.is_projected(name);
    }
    scene.rest();
    scene.kubectl("delete keyrevocations --all");
    lifted.iter().for_each(|name| scene.is_projected(name));
    scene.rest();
    assert_eq!(scene.revocations(), 0, "nothing is revoked anew");

    // Ended.
    let brief = scene.claims("brief", "ttl: 16h\n");
    scene.clock.advance(SignedDuration::from_hours(12));
    for name in &brief {
        becomes(&scene.cluster, NAMESPACE, name, "Ready", "False", "Expired");
        scene.is_gone(name);
    }

    // Nothing more comes of it.
    scene.rest();
    for (names, count) in [(&generated, 3), (&provided, 2), (&seen, 2), (&deleted, 2)] {
        for name in names {
            let versions = scene.stub.versions(&key(name));
            assert_eq!(versions.len(), count, "{name}: {versions:?}");
        }
    }
    // Each of them writes a record of its own; what happened is on one at least.
    let record = all_recorded(&scene.cluster);
    let happened: [(&str, &[String]); 9] = [
        ("RotationBegun", &generated),
        ("Rotated", &generated),
        ("Rotated", &provided),
        ("Granted", &seen),
        ("GrantEnded", &seen),
        ("GrantEnded", &deleted),
        ("Rotated", &deleted),
        ("Revoked", &leaked),
        ("Expired", &brief),
    ];
    for (what, names) in happened {
        let missing: Vec<_> = names.iter().filter(|name| count_recorded(&record, what, name) == 0).collect();
        assert!(missing.is_empty(), "{what} is not on the record of {missing:?}");
    }
    for what in ["KeyRevoked", "RevocationComplete"] {
        let of: BTreeSet<&str> =
            record.iter().filter(|line| line["what"] == what).filter_map(|line| line["name"].as_str()).collect();
        assert_eq!(of.len(), MANY, "{what}: {of:?}");
    }
    scene.both_lead();
    guarantees_hold_at(&scene.cluster, || scene.clock.now());
    for operator in &scene.operators {
        canary::scan(&scene.cluster, operator, &[canary::CANARY]);
        operator.met_no_denial();
    }
}
