//! Rotation: each slot makes one version, whoever makes the value and whenever the operator dies; time is the test's.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod support;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::time::Duration;
use support::cluster::Cluster;
use support::inside::{Clock, Gate, Moment, settles};
use support::operator::{Operator, install};
use support::oracle::guarantees_hold_at;
use support::stub_manager::{Lambda, Mood, Says, StubManager};
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

    // The overlap ends while the manager is away.
    scene.stub.set_mood(Mood::Down);
    scene.clock.advance(minutes(151));
    eventually("the value before goes", SOON, || match scene.value(name, "previous.password") {
        None => Ok(()),
        Some(_) => Err("it is there"),
    });
    assert_eq!(scene.value(name, "password"), Some(new));
    scene.stub.set_mood(Mood::Well);

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

#[test]
fn the_manager_rotates_and_what_goes_wrong_is_told() {
    let scene = Scene::set_up();
    let document = |value: &str| json!({"username": "db", "password": value}).to_string();
    let name = "managed";
    let provider = "{strategy: Provider}";
    scene.claims(name, provider);
    scene.asks(name, "none");
    scene.says(name, "False", "RotationNotConfigured");
    scene
        .stub
        .rotates(&key(name), Lambda::Succeeds(Duration::from_millis(300), document("canary-second-kX9mQ2vL8nR5")));
    scene.asks(name, "good");
    scene.has_versions(name, 2);

    // It never finishes: told after a while, and what it makes at last is taken.
    scene.stub.rotates(&key(name), Lambda::Waits);
    scene.clock.advance(minutes(11));
    scene.asks(name, "slow");
    scene.says(name, "False", "Requested");
    scene.clock.advance(minutes(41));
    let text = scene.says(name, "False", "RotationTimedOut");
    assert!(text.contains("update-secret-version-stage") && text.contains(&key(name)), "{text}");
    assert_eq!(condition(&scene.object(name), "Ready").unwrap()["status"], "True");
    scene.stub.finish_rotation(&key(name), &document("canary-third-kX9mQ2vL8nR5wT"));
    scene.clock.advance(minutes(16));
    scene.has_versions(name, 3);

    // Somebody else's rotation was never finished.
    let generated = "{strategy: Generate, generate: {property: password}}";
    scene.claims("stuck", generated);
    scene.stub.put_pending(&key("stuck"), "11111111-2222-4333-8444-555555555555", Says::Text(document("half")));
    scene.asks("stuck", "now");
    let text = scene.says("stuck", "False", "PendingStuck");
    assert!(text.contains("--remove-from-version-id 11111111-2222-4333-8444-555555555555"), "{text}");
    assert!(!scene.stub.writes().contains(&"PutSecretValue".to_owned()));

    // The manager rotates it already; what cannot be is refused, and who may not rotate says so.
    scene.claims("owned", generated);
    scene.stub.rotates(&key("owned"), Lambda::Waits);
    scene.asks("owned", "now");
    scene.says("owned", "False", "RotationOwnedElsewhere");
    for (rotation, says) in [
        ("{strategy: Provider, schedule: \"0 3 31 2 *\"}", "never fires"),
        ("{strategy: Provider, schedule: \"*/5 * * * *\"}", "less than ten minutes apart"),
        ("{strategy: Provider, schedule: \"0 3 * * *\", timeZone: Europe/Nowhere}", "is not known"),
        ("{strategy: Provider, schedule: \"0 3 * * *\", overlap: 24h}", "shorter overlap"),
        ("{strategy: Provider, schedule: \"whenever\"}", "five fields"),
        ("{strategy: Provider, generate: {length: 20}}", "is for strategy Generate"),
        ("{strategy: Provider, timeZone: UTC}", "write a schedule"),
    ] {
        let told = scene.cluster.apply(&scene.yaml("wrong", rotation));
        assert!(told.as_ref().is_err_and(|text| text.contains(says)), "{told:?}\n{rotation}");
    }
    apply(&scene.cluster, &policy("[Read]"));
    becomes(&scene.cluster, NAMESPACE, name, "Authorized", "False", "ActionNotAllowed");
    assert!(scene.value(name, "password").is_some(), "who may not rotate may have read");
    eventually("it is refused at apply", SOON, || match scene.cluster.apply(&scene.yaml("new", generated)) {
        Err(text) if text.contains("ActionNotAllowed") && text.contains("Generate") => Ok(()),
        other => Err(format!("{other:?}")),
    });
    guarantees_hold_at(&scene.cluster, || scene.clock.now());
}

/// The calls that a rotation writes the manager by: the value, AWSCURRENT, and AWSPENDING off it.
const WRITES: usize = 3;

#[test]
fn killed_at_every_write_to_the_manager_one_version_comes_of_it() {
    let mut scene = Scene::set_up();
    for number in 0..WRITES {
        for moment in [Moment::Before, Moment::After] {
            let name = format!("killed-{number}-{}", format!("{moment:?}").to_lowercase());
            scene.claims(&name, "{strategy: Generate, generate: {property: password}}");
            settles(&scene.gate);
            scene.stub.kill_at(&scene.gate, number, moment);
            scene.asks(&name, "now");
            assert!(scene.gate.dies_within(SOON), "{name}: {:?}", scene.stub.writes());
            scene.stub.unwatch();
            scene.restart();
            scene.has_versions(&name, 2);
            guarantees_hold_at(&scene.cluster, || scene.clock.now());
        }
    }
    // Between storing and bringing into use, somebody stores a value of their own; or takes the label away.
    let by_hand = "canary-by-hand-kX9mQ2vL8nR5wT3z";
    for stores in [true, false] {
        let name = if stores { "stored-meanwhile" } else { "stripped" };
        scene.claims(name, "{strategy: Generate, generate: {property: password}}");
        settles(&scene.gate);
        scene.stub.kill_at(&scene.gate, 0, Moment::After);
        scene.asks(name, "now");
        assert!(scene.gate.dies_within(SOON), "{name}: {:?}", scene.stub.writes());
        scene.stub.unwatch();
        match stores {
            true => {
                let value = json!({"username": "renamed", "password": by_hand, "more": "canary-more-Q2vL8nR5wT3z"});
                scene.stub.put(&key(name), Says::Text(value.to_string()));
            }
            // By a rotation of somebody else's, which is then ended as the condition says.
            false => {
                scene.stub.put_pending(&key(name), "11111111-2222-4333-8444-555555555555", Says::Text("{}".into()));
                scene.stub.end_pending(&key(name));
            }
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
