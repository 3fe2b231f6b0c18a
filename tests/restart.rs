//! `restart: Consumers`: when a value changes, who uses it is rolled out once, and never for anything else.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod support;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use support::cluster::Cluster;
use support::events::told_of;
use support::inside::{Clock, Gate, Moment, TURNS, is_owed, settles};
use support::operator::{Operator, install};
use support::oracle::all_is_well;
use support::stub_manager::{Says, StubManager};
use support::tenants::*;
use support::wait::eventually;

const NAMESPACE: &str = "payments-prod";
const ANNOTATION: &str = "scopedsecrets.io/restarted-for";
const PERMISSION: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/components/restart/rbac.yaml");
/// Under what the claims' consumers run.
const ACCOUNT: &str = "shop";

struct Scene {
    cluster: Cluster,
    stub: StubManager,
}

impl Scene {
    fn set_up() -> Self {
        let scene = Self { cluster: Cluster::start_with_pods(), stub: StubManager::start() };
        install(&scene.cluster);
        scene
    }

    fn furnish(&self) {
        set_up(&self.cluster, &self.stub.endpoint);
        self.kubectl(&format!("create serviceaccount {ACCOUNT} -n {NAMESPACE}"));
    }

    fn allow(&self) {
        self.kubectl(&format!("apply -f {PERMISSION}"));
    }

    fn kubectl(&self, words: &str) -> String {
        let words: Vec<&str> = words.split(' ').collect();
        let out = self.cluster.kubectl(&words);
        assert!(out.status.success(), "{words:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8_lossy(&out.stdout).into_owned()
    }

    /// The manager has a new version of a key.
    fn put(&self, name: &str, value: &str) {
        self.stub.put(&format!("payments/prod/{name}"), Says::Text(format!("canary-{value}-kX9mQ2vL8nR5wT3z")));
    }

    fn claim(&self, name: &str) {
        self.claim_with(name, "");
    }

    fn claim_with(&self, name: &str, more: &str) {
        self.put(name, &format!("{name}-first"));
        let yaml = format!(
            "apiVersion: scopedsecrets.io/v1alpha1\nkind: ScopedSecret\nmetadata: {{name: {name}, namespace: {NAMESPACE}}}\nspec:\n  storeRef: {{name: aws}}\n  consumers: [{{serviceAccountName: {ACCOUNT}}}]\n  data: [{{secretKey: value, remoteRef: {{key: payments/prod/{name}}}}}]\n  restart: Consumers\n{more}"
        );
        eventually("it may be claimed", SOON, || self.cluster.apply(&yaml));
        eventually("it is ready", SOON, || ready(&self.cluster, "scopedsecret", Some(NAMESPACE), name));
    }

    /// A new version, asked for at once.
    fn renew(&self, name: &str, value: &str) {
        static TURN: AtomicU32 = AtomicU32::new(0);
        self.put(name, value);
        let turn = TURN.fetch_add(1, Ordering::Relaxed);
        self.kubectl(&format!(
            "annotate scopedsecret {name} -n {NAMESPACE} scopedsecrets.io/refresh-at=t{turn} --overwrite"
        ));
    }

    /// A workload whose pods read these Secrets, rolled out.
    fn deploy(&self, kind: &str, name: &str, secrets: &[&str], more: Value) {
        let from: Vec<Value> = secrets.iter().map(|name| json!({"secretRef": {"name": name}})).collect();
        let container = json!({"name": "app", "image": "app", "envFrom": from});
        let pods = json!({
            "serviceAccountName": ACCOUNT, "automountServiceAccountToken": false, "containers": [container],
            "terminationGracePeriodSeconds": 0,
        });
        let mut spec = json!({
            "replicas": 1, "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": pods},
        });
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let metadata = json!({"name": name, "namespace": NAMESPACE});
        let object = json!({"apiVersion": "apps/v1", "kind": kind, "metadata": metadata, "spec": spec});
        eventually("it may be deployed", SOON, || self.cluster.apply(&object.to_string()));
        let kind = kind.to_lowercase();
        eventually(&format!("{name} is rolled out"), SOON, || {
            let object = self.cluster.get_json(&kind, NAMESPACE, name).ok_or("none")?;
            let right = object["status"]["availableReplicas"] == 1 && object["status"]["updatedReplicas"] == 1;
            if right { Ok(()) } else { Err(object["status"].to_string()) }
        });
    }

    /// The annotation on the template.
    fn restarted_for(&self, kind: &str, name: &str) -> Option<String> {
        let object = self.cluster.get_json(kind, NAMESPACE, name).expect("it is there");
        object["spec"]["template"]["metadata"]["annotations"][ANNOTATION].as_str().map(str::to_owned)
    }

    /// So many templates a Deployment has had.
    fn templates(&self, name: &str) -> usize {
        let sets = self.cluster.list_json("replicasets", &format!("?labelSelector=app={name}"));
        sets.len()
    }

    /// The version that stands in the Secret.
    fn version(&self, name: &str) -> String {
        let claim = self.cluster.get_json("scopedsecret", NAMESPACE, name).unwrap();
        claim["status"]["remoteVersions"][0]["versionId"].as_str().unwrap().to_owned()
    }

    fn rotated(&self, name: &str, status: &str, reason: &str) -> String {
        let object = becomes(&self.cluster, NAMESPACE, name, "Rotated", status, reason);
        assert_eq!(condition(&object, "Ready").unwrap()["status"], "True", "{}", object["status"]);
        condition(&object, "Rotated").unwrap()["message"].as_str().unwrap().to_owned()
    }

    /// Waits until a claim holds another version than this one and its consumers run with it.
    fn rolled_out(&self, name: &str, before: &str) {
        eventually(&format!("{name} is rolled out"), SOON * 2, || {
            let claim = self.cluster.get_json("scopedsecret", NAMESPACE, name).ok_or("none")?;
            let rotated = condition(&claim, "Rotated").cloned().unwrap_or_default();
            let right = claim["status"]["remoteVersions"][0]["versionId"] != before && rotated["status"] == "True";
            if right { Ok(()) } else { Err(claim["status"].to_string()) }
        });
    }
}

impl Scene {
    /// Of a rotation and the rollout that it causes, whoever watches sees each step.
    fn every_step_is_told(&self) {
        apply(&self.cluster, &format!("{POLICY}    actions: [Read, Generate]\n"));
        self.claim_with("spun", "  rotation: {strategy: Generate}\n");
        self.deploy("Deployment", "spinner", &["spun"], json!({}));
        self.rotated("spun", "True", "RotationIdle");
        let before = self.version("spun");
        let claim = self.cluster.get_json("scopedsecret", NAMESPACE, "spun").unwrap();
        self.kubectl(&format!("annotate scopedsecret spun -n {NAMESPACE} scopedsecrets.io/rotate-at=now"));
        self.rolled_out("spun", &before);
        self.rotated("spun", "True", "Verified");
        // What whoever had watched since then has seen.
        let all = format!("/apis/scopedsecrets.io/v1alpha1/namespaces/{NAMESPACE}/scopedsecrets");
        let since = claim["metadata"]["resourceVersion"].as_str().unwrap();
        let watch =
            format!("{all}?watch=true&timeoutSeconds=6&fieldSelector=metadata.name%3Dspun&resourceVersion={since}");
        let reason = |line: &str| {
            let event: Value = serde_json::from_str(line).unwrap();
            condition(&event["object"], "Rotated").and_then(|c| c["reason"].as_str().map(str::to_owned))
        };
        let mut steps: Vec<String> = self.cluster.raw(&watch).unwrap().lines().filter_map(reason).collect();
        steps.dedup();
        assert!(steps.ends_with(&["Stored", "Projected", "RolledOut", "Verified"].map(str::to_owned)), "{steps:?}");
        assert_eq!(self.templates("spinner"), 2);
    }

    /// The rollout of a rotation never completes: who still runs with the old value is told until it does.
    fn a_rotation_waits_for_its_rollout(&self) {
        self.claim_with("halted", "  rotation: {strategy: Generate}\n");
        self.deploy("Deployment", "halter", &["halted"], json!({"progressDeadlineSeconds": 2}));
        self.rotated("halted", "True", "RotationIdle");
        let before = self.version("halted");
        self.kubectl("cordon kwok-0");
        self.kubectl(&format!("annotate scopedsecret halted -n {NAMESPACE} scopedsecrets.io/rotate-at=now"));
        let told = self.rotated("halted", "False", "RolloutStuck");
        assert!(told.contains("pods that still run with the old value: halter-"), "{told}");
        assert_ne!(self.version("halted"), before, "the Secret has the new value");
        self.kubectl("uncordon kwok-0");
        self.rolled_out("halted", &before);
        self.rotated("halted", "True", "Verified");
        assert_eq!(self.templates("halter"), 2);
    }
}

#[test]
fn a_new_value_restarts_its_consumers_once() {
    let scene = Scene::set_up();
    // It may not restart anything at first.
    let excused = scene.cluster.excuse_denials();
    let mut operator = Operator::start_with(&scene.cluster, &["--restarts-at-once", "2"]);
    scene.furnish();
    scene.claim("db");
    scene.deploy("Deployment", "web", &["db"], json!({}));
    scene.deploy("Deployment", "other", &[], json!({}));
    scene.rotated("db", "True", "Restarted");
    assert_eq!((scene.templates("web"), scene.restarted_for("deployment", "web")), (1, None));

    // Without the permission the Secret has its new value all the same, and the condition says what to grant.
    let first = scene.version("db");
    scene.renew("db", "db-second");
    let told = scene.rotated("db", "False", "RestartNotAllowed");
    for part in ["lacks the verb patch", "kubectl apply -f deploy/components/restart/rbac.yaml", "restart.enabled=true"]
    {
        assert!(told.contains(part), "{part:?} is missing in {told:?}");
    }
    assert_ne!(scene.version("db"), first);
    assert_eq!(scene.templates("web"), 1);

    // Who restarts it by hand, as it says there, has done what was to be done.
    let claim = scene.cluster.get_json("scopedsecret", NAMESPACE, "db").unwrap();
    let written: Timestamp = claim["status"]["lastChangeTime"].as_str().unwrap().parse().unwrap();
    eventually("clocks of nodes make no difference any more", SOON, || {
        let passed = Timestamp::now().duration_since(written);
        if passed > SignedDuration::from_secs(7) { Ok(()) } else { Err(format!("{passed:?}")) }
    });
    scene.kubectl(&format!("rollout restart deployment/web -n {NAMESPACE}"));
    scene.rolled_out("db", &first);
    scene.allow();
    assert_eq!((scene.templates("web"), scene.restarted_for("deployment", "web")), (2, None));

    // With the permission the workload is rolled out, once.
    let first = scene.version("db");
    scene.renew("db", "db-again");
    scene.rolled_out("db", &first);
    drop(excused);
    let second = scene.version("db");
    assert_eq!((scene.templates("web"), scene.restarted_for("deployment", "web")), (3, Some(second.clone())));
    assert_eq!(scene.templates("other"), 1, "it does not use the Secret");
    assert_eq!(told_of(&scene.cluster, NAMESPACE, "Deployment", "web").get("RollingOut"), Some(&1));
    assert_eq!(told_of(&scene.cluster, NAMESPACE, "Deployment", "other").get("RollingOut"), None);

    // Not when the operator starts anew, nor for a new version of the same value.
    operator.terminate();
    operator = Operator::start_with(&scene.cluster, &["--restarts-at-once", "2"]);
    scene.renew("db", "db-again");
    scene.rolled_out("db", &second);
    assert_eq!((scene.templates("web"), scene.restarted_for("deployment", "web")), (3, Some(second)));

    // A paused one waits, and says so.
    scene.kubectl(&format!("rollout pause deployment/web -n {NAMESPACE}"));
    let before = scene.version("db");
    scene.renew("db", "db-third");
    let told = scene.rotated("db", "False", "RolloutWaits");
    assert!(told.contains("Deployment \"web\" is paused"), "{told}");
    assert!(told.contains("pods that still run with the old value: web-"), "{told}");
    assert_eq!(scene.templates("web"), 3);
    scene.kubectl(&format!("rollout resume deployment/web -n {NAMESPACE}"));
    scene.rolled_out("db", &before);
    assert_eq!(scene.templates("web"), 4);

    // One workload that uses two, and one whose pods somebody deletes.
    scene.claim("api");
    scene.deploy("Deployment", "both", &["db", "api"], json!({"progressDeadlineSeconds": 2}));
    let by_hand = json!({"serviceName": "set", "updateStrategy": {"type": "OnDelete"}});
    scene.deploy("StatefulSet", "set", &["api"], by_hand);
    let before = scene.version("api");
    scene.renew("api", "api-second");
    let told = scene.rotated("api", "False", "RolloutWaits");
    assert!(told.contains("StatefulSet \"set\" has strategy OnDelete") && told.contains("set-0"), "{told}");
    scene.kubectl(&format!("delete pod set-0 -n {NAMESPACE} --wait=true"));
    scene.rolled_out("api", &before);
    assert_eq!((scene.templates("both"), scene.restarted_for("deployment", "both")), (2, Some(scene.version("api"))));

    // No more than two at once: new pods find no node, which is told with the pods that are old.
    for name in ["a", "b"] {
        scene.deploy("Deployment", name, &["db"], json!({"progressDeadlineSeconds": 2}));
    }
    scene.kubectl("cordon kwok-0");
    let before = scene.version("db");
    scene.renew("db", "db-fourth");
    let told = scene.rotated("db", "False", "RolloutStuck");
    for part in [
        "does not come to an end",
        "later, so that not all restart at once: ",
        "pods that still run with the old value: ",
    ] {
        assert!(told.contains(part), "{part:?} is missing in {told:?}");
    }
    let now = scene.version("db");
    let marked = |name: &&&str| scene.restarted_for("deployment", name).is_some_and(|value| value.contains(&now));
    let all = ["a", "b", "both", "web"];
    assert_eq!(all.iter().filter(marked).count(), 2, "{told}");
    eventually("it is counted", SOON, || match operator.metric("scoped_secrets_rollouts_stuck") {
        Ok(2.0) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    operator.kill();
    operator = Operator::start_with(&scene.cluster, &["--restarts-at-once", "2"]);
    scene.kubectl("uncordon kwok-0");
    scene.rolled_out("db", &before);
    assert_eq!(all.map(|name| scene.templates(name)), [2, 2, 3, 5]);
    let named = format!("api={},db={now}", scene.version("api"));
    assert_eq!(scene.restarted_for("deployment", "both"), Some(named));
    assert_eq!(operator.metric("scoped_secrets_rollouts_stuck"), Ok(0.0));
    scene.every_step_is_told();
    scene.a_rotation_waits_for_its_rollout();
    all_is_well(&scene.cluster, &operator);
}

#[test]
fn killed_at_every_write_it_restarts_once() {
    let (scene, clock) = (Scene::set_up(), Clock::default());
    scene.allow();
    let mut gate = Gate::default();
    let mut operator = Some(Operator::inside(&scene.cluster, &clock, &gate));
    set_up_inside(&scene.cluster, &scene.stub.endpoint);
    scene.kubectl(&format!("create serviceaccount {ACCOUNT} -n {NAMESPACE}"));
    scene.claim("db");
    scene.deploy("Deployment", "web", &["db"], json!({"revisionHistoryLimit": 100}));
    let before = scene.version("db");
    settles(&gate);
    gate.count();
    scene.renew("db", "undisturbed");
    scene.rolled_out("db", &before);
    settles(&gate);
    let writes = gate.nth_writes("db");
    println!("{writes:#?}");
    assert_eq!(gate.count_of("deployments"), 1);
    let mut templates = 2;
    let mut died = Vec::new();
    let all: Vec<_> =
        (0..writes.len()).flat_map(|number| [(number, Moment::Before), (number, Moment::After)]).collect();
    for turn in 0..TURNS {
        for &(number, moment) in &all {
            if turn > 0 && !is_owed(&writes[number], moment, &died) {
                continue;
            }
            let before = scene.version("db");
            match turn {
                0 => gate.arm(number, moment),
                _ => gate.arm_at("db", &writes[number], moment),
            }
            scene.renew("db", &format!("killed-{moment:?}-{turn}-{number}"));
            // Writes are not always as many: a status may tell two things at once.
            let is_killed = gate.dies_within(Duration::from_secs(30));
            if !is_killed {
                println!("{moment:?} write {number} never came: {:?}", gate.writes());
            }
            let by_number = gate.nth_writes("db").into_iter().nth(number);
            let write = if turn == 0 { by_number } else { Some(writes[number].clone()) };
            died.extend(write.filter(|_| is_killed).map(|write| (write, moment)));
            drop(operator.take());
            gate = Gate::default();
            operator = Some(Operator::inside(&scene.cluster, &clock, &gate));
            scene.rolled_out("db", &before);
            templates += 1;
            assert_eq!(scene.templates("web"), templates, "killed {moment:?} write {number} of {writes:#?}");
            assert_eq!(scene.restarted_for("deployment", "web"), Some(scene.version("db")));
            settles(&gate);
        }
    }
    let missed: Vec<_> = all.iter().filter(|(number, moment)| is_owed(&writes[*number], *moment, &died)).collect();
    assert!(missed.is_empty(), "never killed at {missed:?} of {writes:#?}, but at {died:#?}");
    all_is_well(&scene.cluster, operator.as_ref().unwrap());
}
