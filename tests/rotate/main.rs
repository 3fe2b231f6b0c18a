//! Rotation: each slot makes one version, whoever makes the value and whenever the operator dies; time is the test's.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod bad_input;
#[path = "../support/mod.rs"]
mod support;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::process::Command;
use support::cluster::Cluster;
use support::inside::{Clock, Gate, Moment, settles};
use support::operator::{Operator, install, lift};
use support::oracle::guarantees_hold_at;
use support::stub_manager::{Mood, Says, StubManager, Then};
use support::tenants::*;
use support::wait::eventually;

const NAMESPACE: &str = "payments-prod";

struct Scene {
    operator: Option<Operator>,
    cluster: Cluster,
    stub: StubManager,
    clock: Clock,
    gate: Gate,
}

fn key(name: &str) -> String {
    format!("payments/prod/{name}")
}

/// The policy of all stories, and what may be done with keys.
fn policy(actions: &str) -> String {
    format!("{POLICY}    actions: {actions}\n")
}

fn minutes(number: i64) -> SignedDuration {
    SignedDuration::from_mins(number)
}

impl Scene {
    fn set_up() -> Self {
        let (cluster, stub) = (Cluster::start(), StubManager::start());
        install(&cluster);
        let mut scene = Self { cluster, stub, clock: Clock::default(), gate: Gate::default(), operator: None };
        scene.restart();
        set_up_inside(&scene.cluster, &scene.stub.endpoint);
        apply(&scene.cluster, &policy("[Read, Rotate, Generate]"));
        scene
    }

    fn restart(&mut self) {
        self.operator.take().into_iter().for_each(Operator::kill);
        self.gate = Gate::default();
        self.operator = Some(Operator::inside(&self.cluster, &self.clock, &self.gate));
    }

    fn yaml(&self, name: &str, rotation: &str) -> String {
        let spec = format!(
            "data: [{{secretKey: password, remoteRef: {{key: {}, property: password}}}}]\nrotation: {rotation}\n",
            key(name)
        );
        scoped_secret(NAMESPACE, name, &spec)
    }

    /// A key of its own, claimed and in sync.
    fn claims(&self, name: &str, rotation: &str) {
        let value = json!({"username": name, "password": format!("canary-{name}-kX9mQ2vL8nR5wT3z")});
        self.stub.put(&key(name), Says::Text(value.to_string()));
        eventually("it may be claimed", SOON, || self.cluster.apply(&self.yaml(name, rotation)));
        becomes(&self.cluster, NAMESPACE, name, "Rotated", "True", "RotationIdle");
    }

    fn asks(&self, name: &str, value: &str) {
        let annotation = format!("scopedsecrets.io/rotate-at={value}");
        let out =
            self.cluster.kubectl(&["annotate", "scopedsecret", name, "-n", NAMESPACE, "--overwrite", &annotation]);
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    }

    fn says(&self, name: &str, status: &str, reason: &str) -> String {
        let object = becomes(&self.cluster, NAMESPACE, name, "Rotated", status, reason);
        condition(&object, "Rotated").unwrap()["message"].as_str().unwrap_or_default().to_owned()
    }

    /// It was rotated until there are so many versions, and the Secret has the last.
    fn has_versions(&self, name: &str, count: usize) {
        eventually(&format!("{name} has {count} versions"), SOON, || {
            let versions = self.stub.versions(&key(name));
            if versions.len() != count {
                return Err(format!("{versions:?}"));
            }
            let current =
                versions.iter().find(|v| v.stages.iter().any(|s| s == "AWSCURRENT")).ok_or("none is current")?;
            let half_done = versions.iter().find(|v| v.stages.iter().any(|s| s == "AWSPENDING"));
            let object = self.object(name);
            let shown = &object["status"]["remoteVersions"][0]["versionId"];
            match half_done.is_none()
                && *shown == json!(current.id)
                && self.value(name, "password") == password(current)
            {
                true => Ok(()),
                false => Err(format!("{}\n{versions:?}", object["status"])),
            }
        });
        self.says(name, "True", "Verified");
        let object = self.object(name);
        assert_eq!(condition(&object, "Ready").unwrap()["status"], "True");
    }

    fn object(&self, name: &str) -> Value {
        self.cluster.get_json("scopedsecret", NAMESPACE, name).unwrap()
    }

    fn value(&self, name: &str, key: &str) -> Option<String> {
        secret_value(&self.cluster, NAMESPACE, name, key)
    }

    fn next_rotation(&self, name: &str) -> Timestamp {
        self.object(name)["status"]["nextRotationTime"].as_str().unwrap().parse().unwrap()
    }
}

fn document(version: &support::stub_manager::Version) -> Value {
    match &version.says {
        Says::Text(text) => serde_json::from_str(text).unwrap_or_default(),
        _ => Value::Null,
    }
}

fn password(version: &support::stub_manager::Version) -> Option<String> {
    document(version)["password"].as_str().map(str::to_owned)
}

#[test]
fn a_value_is_generated_on_schedule_and_on_demand() {
    let mut scene = Scene::set_up();
    let name = "orders";
    let rotation = "{schedule: \"0 3 * * *\", timeZone: Europe/Stockholm, strategy: Generate, generate: {property: password, length: 40, include: [Lower, Digits]}, overlap: 2h}";
    scene.claims(name, rotation);
    let old = scene.value(name, "password").unwrap();
    settles(&scene.gate);
    let next = scene.next_rotation(name);
    let ahead = next.duration_since(scene.clock.now());
    assert!(ahead > SignedDuration::ZERO && ahead <= SignedDuration::from_hours(26), "{ahead:?}");

    // Not a minute early, and not a call.
    let calls = scene.stub.calls().len();
    scene.clock.advance(ahead - minutes(1));
    settles(&scene.gate);
    assert_eq!(scene.stub.versions(&key(name)).len(), 1);
    assert!(scene.stub.calls().iter().skip(calls).all(|(operation, _)| operation.contains("GetSecretValue")));
    scene.clock.advance(minutes(2));
    scene.has_versions(name, 2);
    let new = scene.value(name, "password").unwrap();
    assert!(new.len() == 40 && new.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()), "length and classes");
    assert_eq!(document(&scene.stub.versions(&key(name))[1])["username"], name, "the rest is as it was");
    assert_eq!(scene.value(name, "previous.password"), Some(old));
    assert!(scene.object(name)["status"]["lastRotationTime"].is_string());
    assert!(scene.next_rotation(name) > scene.clock.now());

    // It is not made again: not by a restart, and not by a clock that goes back.
    scene.restart();
    settles(&scene.gate);
    assert_eq!(scene.gate.count_of("secrets"), 0, "{:?}", scene.gate.writes());
    scene.clock.advance(minutes(-30));
    settles(&scene.gate);
    assert_eq!(scene.stub.versions(&key(name)).len(), 2);
    assert!(scene.value(name, "previous.password").is_some(), "the overlap outlives a restart");

    // The overlap ends while the manager is away, and somebody got past the guard and changed the Secret.
    scene.stub.set_mood(Mood::Down);
    lift(&scene.cluster, "managed-secrets");
    let stray = r#"{"stringData":{"stray":"canary-stray-kX9mQ2vL8nR5"}}"#;
    eventually("nobody asks", SOON, || {
        scene.cluster.submit(&["patch", "secret", name, "-n", NAMESPACE, "--type=merge", "-p", stray], "")
    });
    scene.clock.advance(minutes(151));
    eventually("the value before goes", SOON, || match scene.value(name, "previous.password") {
        None => Ok(()),
        Some(_) => Err("it is there"),
    });
    assert_eq!(scene.value(name, "password"), Some(new));
    assert!(scene.value(name, "stray").is_some(), "that needs the values");
    scene.stub.set_mood(Mood::Well);
    scene.clock.advance(minutes(61));
    eventually("it is put right", SOON, || match scene.value(name, "stray") {
        None => Ok(()),
        Some(_) => Err("it is there"),
    });

    // Many days at once are one rotation.
    scene.clock.advance(SignedDuration::from_hours(24 * 10));
    scene.has_versions(name, 3);
    settles(&scene.gate);
    scene.has_versions(name, 3);

    // On demand, once for each value, and not more often than every ten minutes.
    scene.asks(name, "one");
    scene.says(name, "False", "RotationWaits");
    scene.clock.advance(minutes(11));
    scene.has_versions(name, 4);
    scene.asks(name, "one");
    scene.restart();
    settles(&scene.gate);
    scene.has_versions(name, 4);
    guarantees_hold_at(&scene.cluster, || scene.clock.now());
}

/// A rotation is killed once its value is stored; what becomes of that when people do something meanwhile. Kills at every write
/// are in `tests/crashes`.
#[test]
fn what_was_stored_and_not_brought_into_use() {
    let mut scene = Scene::set_up();
    // Between storing and bringing into use, somebody stores a value of their own; or takes the label away.
    let by_hand = "canary-by-hand-kX9mQ2vL8nR5wT3z";
    for name in ["stored-meanwhile", "stripped", "asked-anew"] {
        let stores = name == "stored-meanwhile";
        scene.claims(name, "{strategy: Generate, generate: {property: password}}");
        settles(&scene.gate);
        scene.stub.kill_at(&scene.gate, 0, Moment::After);
        scene.asks(name, "now");
        assert!(scene.gate.dies_within(SOON), "{name}: {:?}", scene.stub.writes());
        scene.stub.unwatch();
        match name {
            "stored-meanwhile" => {
                let value = json!({"username": "renamed", "password": by_hand, "more": "canary-more-Q2vL8nR5wT3z"});
                scene.stub.put(&key(name), Says::Text(value.to_string()));
            }
            // By a rotation of somebody else's, which is then ended as the condition says.
            "stripped" => {
                scene.stub.put_pending(&key(name), "11111111-2222-4333-8444-555555555555", Says::Text("{}".into()));
                scene.stub.end_pending(&key(name));
            }
            // Nobody knows for what it was made any more, and it holds up nothing.
            _ => scene.asks(name, "again"),
        }
        scene.restart();
        // What was stored a moment ago is left alone for ten minutes.
        settles(&scene.gate);
        scene.clock.advance(minutes(11));
        eventually(&format!("{name} is rotated, and nothing else of it is another"), SOON, || {
            let versions = scene.stub.versions(&key(name));
            let current = versions.iter().find(|v| v.stages.iter().any(|s| s == "AWSCURRENT")).ok_or("none")?;
            let (found, made) = (document(current), password(current).unwrap_or_default());
            let kept =
                found["username"] == if stores { "renamed" } else { name } && found["more"].is_string() == stores;
            let is_new = !made.starts_with("canary-") && scene.value(name, "password").as_ref() == Some(&made);
            if kept && is_new { Ok(()) } else { Err(format!("{versions:?}")) }
        });
        scene.says(name, "True", "Verified");
        guarantees_hold_at(&scene.cluster, || scene.clock.now());
    }
}

/// Who asked takes that back while the new value is brought into use: consumers have it all the same, and no other is made.
#[test]
fn what_was_brought_into_use_is_projected() {
    let scene = Scene::set_up();
    let name = "taken-back";
    scene.claims(name, "{strategy: Generate, generate: {property: password}}\nrefreshInterval: 0s");
    let kubeconfig = scene.cluster.kubeconfig.clone();
    scene.stub.on_write(move |write| {
        if write.operation.ends_with("UpdateSecretVersionStage") && write.moment == Moment::Before {
            let mut kubectl = Command::new("kubectl");
            kubectl.arg("--kubeconfig").arg(&kubeconfig).args(["annotate", "scopedsecret", name, "-n", NAMESPACE]);
            assert!(kubectl.arg("scopedsecrets.io/rotate-at-").output().unwrap().status.success());
        }
        Then::GoOn
    });
    scene.asks(name, "now");
    eventually("it has the new value", SOON, || {
        let versions = scene.stub.versions(&key(name));
        let current = versions.iter().find(|v| v.stages.iter().any(|s| s == "AWSCURRENT")).ok_or("none")?;
        let has_it = versions.len() == 2 && scene.value(name, "password") == password(current);
        if has_it { Ok(()) } else { Err(format!("{versions:?} {}", scene.object(name)["status"])) }
    });
    settles(&scene.gate);
    assert_eq!(scene.stub.versions(&key(name)).len(), 2);
    scene.says(name, "True", "RotationIdle");
    guarantees_hold_at(&scene.cluster, || scene.clock.now());
}

/// Two segments have one value. Who stores a value of their own, as they are told to, gets it, though the overlap would keep the other.
#[test]
fn a_value_before_that_another_segment_has_holds_up_no_new_one() {
    let scene = Scene::set_up();
    let name = "twin";
    apply(&scene.cluster, &(policy("[Read, Generate]") + "  rules: {uniqueValues: {within: None}}\n"));
    let shared = format!("canary-{name}-kX9mQ2vL8nR5wT3z");
    scene.stub.put("billing/prod/twin", Says::Text(shared.clone()));
    let first = "data: [{secretKey: password, remoteRef: {key: billing/prod/twin}}]\n";
    eventually("it may be claimed", SOON, || scene.cluster.apply(&scoped_secret("billing-prod", name, first)));
    eventually("it is projected", SOON, || ready(&scene.cluster, "scopedsecret", Some("billing-prod"), name));
    scene.claims(name, "{strategy: Generate, generate: {property: password}, overlap: 9h}");
    assert_eq!(scene.value(name, "password"), Some(shared));
    apply(&scene.cluster, &accepted(&policy("[Read, Generate]")));
    becomes(&scene.cluster, NAMESPACE, name, "Unique", "False", "ValueShared");

    let own = json!({"username": name, "password": "canary-own-hG7fD4sA9pL2oI6u"});
    scene.stub.put(&key(name), Says::Text(own.to_string()));
    let words = ["annotate", "scopedsecret", name, "-n", NAMESPACE, "scopedsecrets.io/refresh-at=now"];
    scene.cluster.submit(&words, "").unwrap();
    becomes(&scene.cluster, NAMESPACE, name, "Unique", "True", "NoSharedValues");
    assert_eq!(scene.value(name, "password").as_deref(), own["password"].as_str());
    assert_eq!(scene.value(name, "previous.password"), None);
    let left_out =
        |event: &&Value| event["message"].as_str().is_some_and(|text| text.contains("not kept as previous.*"));
    eventually("that is told once", SOON, || {
        let told = scene.cluster.list_json("events", "").iter().filter(left_out).count();
        if told == 1 { Ok(()) } else { Err(told) }
    });
    guarantees_hold_at(&scene.cluster, || scene.clock.now());
}
