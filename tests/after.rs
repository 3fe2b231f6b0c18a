//! `rotation.after`: a key is rotated after a rollout of its consumers and after a change of their RBAC, and after nothing else.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod support;

use jiff::SignedDuration;
use serde_json::json;
use support::cluster::Cluster;
use support::emulator::Emulator;
use support::inside::{Clock, Gate, settles};
use support::operator::{Operator, USER, install};
use support::oracle::guarantees_hold_at;
use support::tenants::*;
use support::wait::eventually;

const NAMESPACE: &str = "payments-prod";
const KEY: &str = "payments/prod/db";
const PERMISSION: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/components/restart/rbac.yaml");

struct Scene {
    cluster: Cluster,
    aws: Emulator,
    clock: Clock,
}

impl Scene {
    fn kubectl(&self, words: &str) {
        let words: Vec<&str> = words.split(' ').collect();
        let out = self.cluster.kubectl(&words);
        assert!(out.status.success(), "{words:?}: {}", String::from_utf8_lossy(&out.stderr));
    }

    /// The versions that the manager has of the key.
    fn versions(&self) -> usize {
        let all = self.aws.call("ListSecretVersionIds", &json!({"SecretId": KEY, "IncludeDeprecated": true}));
        all["Versions"].as_array().expect("a list").len()
    }

    /// Waits until the key has so many versions, of which the last is in the Secret and in every pod.
    fn rotated(&self, versions: usize) {
        eventually(&format!("{versions} versions"), SOON * 2, || {
            let claim = self.cluster.get_json("scopedsecret", NAMESPACE, "db").ok_or("none")?;
            let done = condition(&claim, "Rotated").is_some_and(|c| c["status"] == "True");
            let web = self.cluster.get_json("deployment", NAMESPACE, "web").ok_or("none")?;
            let template = &web["spec"]["template"]["metadata"]["annotations"]["scopedsecrets.io/restarted-for"];
            let current = &claim["status"]["remoteVersions"][0]["versionId"];
            let right = done && self.versions() == versions && template == current;
            if right { Ok(()) } else { Err(format!("{} versions, {}", self.versions(), claim["status"])) }
        });
    }

    /// `web` runs as it is written.
    fn is_rolled_out(&self) {
        eventually("web is rolled out", SOON, || {
            let web = self.cluster.get_json("deployment", NAMESPACE, "web").ok_or("none")?;
            let status = &web["status"];
            let all = ["updatedReplicas", "availableReplicas", "replicas"].iter().all(|count| status[count] == 1);
            let seen = status["observedGeneration"] == web["metadata"]["generation"];
            if all && seen { Ok(()) } else { Err(status.to_string()) }
        });
    }

    /// The operator has looked at the workloads from the beginning, and has written down what it saw.
    fn is_looked_at(&self, gate: &Gate) {
        let mark = self.cluster.audit_mark();
        eventually("two looks", SOON, || {
            let looks = self.cluster.audit_since(mark).user(USER).verb("list").resource("deployments");
            let looks = looks.namespace(NAMESPACE).len();
            // The first may have begun before.
            if looks >= 2 { Ok(()) } else { Err(looks) }
        });
        settles(gate);
    }

    /// Nothing more is rotated, however often it is looked.
    fn rests(&self, gate: &Gate, versions: usize) {
        self.is_looked_at(gate);
        self.is_looked_at(gate);
        assert_eq!(self.versions(), versions);
    }
}

#[test]
fn a_key_is_rotated_after_what_its_consumers_do() {
    let scene = Scene { cluster: Cluster::start_with_pods(), aws: Emulator::start(), clock: Clock::default() };
    install(&scene.cluster);
    scene.kubectl(&format!("apply -f {PERMISSION}"));
    let gate = Gate::default();
    let mut operator = Operator::inside(&scene.cluster, &scene.clock, &gate);
    scene.aws.put(KEY, "canary-first-kX9mQ2vL8nR5wT3z1pQ");
    set_up_inside(&scene.cluster, &scene.aws.endpoint);
    apply(&scene.cluster, &POLICY.replace("**\"]", "**\"]\n    actions: [Read, Generate]"));
    scene.kubectl(&format!("create serviceaccount db -n {NAMESPACE}"));
    let spec = "data: [{secretKey: password, remoteRef: {key: payments/prod/db}}]\nrestart: Consumers\nrotation: {strategy: Generate, generate: {length: 32}, after: [Rollout, RoleChange]}\n";
    let yaml = scoped_secret(NAMESPACE, "db", spec);
    eventually("it may be claimed", SOON, || scene.cluster.apply(&yaml));
    eventually("it is ready", SOON, || ready(&scene.cluster, "scopedsecret", Some(NAMESPACE), "db"));
    let container = json!({"name": "app", "image": "app", "envFrom": [{"secretRef": {"name": "db"}}]});
    let pods = json!({"serviceAccountName": "db", "automountServiceAccountToken": false, "containers": [container]});
    let web = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": NAMESPACE},
        "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": pods},
        },
    });
    eventually("it may be deployed", SOON, || scene.cluster.apply(&web.to_string()));
    scene.is_rolled_out();
    scene.rests(&gate, 1);

    // A rollout is followed by one rotation, and that by a restart, which is followed by nothing.
    scene.kubectl(&format!("set env deployment/web -n {NAMESPACE} ROUND=1"));
    scene.rotated(2);
    scene.rests(&gate, 2);

    // Not by another one within the hour, whoever leads.
    scene.kubectl(&format!("set env deployment/web -n {NAMESPACE} ROUND=2"));
    scene.rests(&gate, 2);
    drop(operator);
    let gate = Gate::default();
    operator = Operator::inside(&scene.cluster, &scene.clock, &gate);
    scene.rests(&gate, 2);
    scene.clock.advance(SignedDuration::from_mins(61));
    scene.rotated(3);

    // What a role gives counts, and not that somebody else is bound.
    scene.clock.advance(SignedDuration::from_mins(61));
    scene.rests(&gate, 3);
    scene.kubectl(&format!("create role reader -n {NAMESPACE} --verb=get --resource=pods"));
    scene.kubectl(&format!(
        "create rolebinding other -n {NAMESPACE} --role=reader --serviceaccount={NAMESPACE}:default"
    ));
    scene.rests(&gate, 3);
    scene.kubectl(&format!("create rolebinding db -n {NAMESPACE} --role=reader --serviceaccount={NAMESPACE}:db"));
    scene.rotated(4);
    scene.rests(&gate, 4);
    guarantees_hold_at(&scene.cluster, || scene.clock.now());
    support::canary::scan(&scene.cluster, &operator, &[support::canary::CANARY]);
}
