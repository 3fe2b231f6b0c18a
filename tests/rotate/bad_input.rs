//! What goes wrong, and what cannot be: told in words, with what to do; what consumers have stays.

use crate::support::inside::settles;
use crate::support::oracle::guarantees_hold_at;
use crate::support::stub_manager::{AWS_SAYS, Lambda, Says, Then};
use crate::support::tenants::*;
use crate::support::wait::eventually;
use crate::{NAMESPACE, Scene, key, minutes, policy};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use std::time::Duration;

fn document(value: &str) -> String {
    json!({"username": "db", "password": value}).to_string()
}

impl Scene {
    /// Nobody has lost what he had.
    fn keeps(&self, name: &str) {
        let object = self.object(name);
        assert_eq!(condition(&object, "Ready").unwrap()["status"], "True", "{}", object["status"]);
        assert_eq!(self.value(name, "password"), Some(format!("canary-{name}-kX9mQ2vL8nR5wT3z")));
    }
}

#[test]
fn the_manager_rotates_and_what_goes_wrong_is_told() {
    let scene = Scene::set_up();
    let name = "managed";
    let provider = "{strategy: Provider}";
    scene.claims(name, provider);
    scene.asks(name, "none");
    scene.says(name, "False", "RotationNotConfigured");
    // Configured, it is asked with the next attempt, whichever that is.
    scene.stub.rotates(&key(name), Lambda::Succeeds(Duration::ZERO, document("canary-second-kX9mQ2vL8nR5")));
    scene.clock.advance(minutes(16));
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

    // It fails: what it stored is never current, and once it is mended another attempt makes the value.
    scene.claims("failing", provider);
    scene.stub.rotates(&key("failing"), Lambda::Fails);
    scene.asks("failing", "now");
    // The manager's clock is not moved: by the operator's it is at it for longer than an hour at once.
    let text = scene.says("failing", "False", "RotationTimedOut");
    scene.clock.advance(minutes(41));
    assert!(text.contains("which fails or never ends") && text.contains("--remove-from-version-id"), "{text}");
    scene.keeps("failing");
    scene.stub.end_pending(&key("failing"));
    scene.stub.rotates(&key("failing"), Lambda::Succeeds(Duration::ZERO, document("canary-mended-kX9mQ2vL8nR5wT")));
    scene.clock.advance(minutes(16));
    scene.has_versions("failing", 3);

    // It never stores anything, and is ended as the condition says: the manager has had that token, and another is asked with.
    scene.claims("silent", provider);
    scene.stub.rotates(&key("silent"), Lambda::Waits);
    scene.asks("silent", "now");
    scene.says("silent", "False", "RotationTimedOut");
    scene.clock.advance(minutes(41));
    scene.stub.end_pending(&key("silent"));
    scene.stub.rotates(&key("silent"), Lambda::Succeeds(Duration::ZERO, document("canary-spoken-kX9mQ2vL8nR5wT")));
    scene.clock.advance(minutes(16));
    scene.has_versions("silent", 3);

    // The manager does not let it write, or ask for a rotation: nothing is made, and once it may it goes on.
    for (name, rotation, operation) in [
        ("unwritable", "{strategy: Generate, generate: {property: password}}", "PutSecretValue"),
        ("unrotatable", provider, "RotateSecret"),
    ] {
        scene.claims(name, rotation);
        if rotation == provider {
            let made = document("canary-allowed-kX9mQ2vL8nR5");
            scene.stub.rotates(&key(name), Lambda::Succeeds(Duration::ZERO, made));
        }
        let refused = |value: &str| {
            scene.stub.on_write(move |write| match write.operation == operation {
                true => Then::Refuse("AccessDeniedException"),
                false => Then::GoOn,
            });
            scene.asks(name, value);
            scene.says(name, "False", "WriteDenied")
        };
        let text = refused("now");
        assert!(text.contains(&key(name)) && !text.contains(AWS_SAYS), "{text}");
        scene.keeps(name);
        scene.stub.unwatch();
        scene.clock.advance(minutes(16));
        scene.has_versions(name, 2);
        if rotation == provider {
            continue;
        }
        // However often it failed: who mends it and asks again does not wait for its next turn.
        scene.clock.advance(minutes(11));
        refused("again");
        for _ in 0..8 {
            scene.clock.advance(minutes(3));
            settles(&scene.gate);
        }
        scene.stub.unwatch();
        scene.asks(name, "mended");
        scene.has_versions(name, 3);
    }

    // It leaked: asked to, or by its schedule, the operator makes the value that brings it back, and not before.
    let slot = scene.clock.now() + SignedDuration::from_hours(3);
    let slot = slot.to_zoned(jiff::tz::TimeZone::UTC).strftime("%M %H %d %m *").to_string();
    scene.claims("leaked", "{strategy: Generate, generate: {property: password}}");
    scene.claims("dated", &format!("{{schedule: \"{slot}\", strategy: Generate, generate: {{property: password}}}}"));
    for name in ["leaked", "dated"] {
        let revocation = format!(
            "apiVersion: scopedsecrets.io/v1alpha1\nkind: KeyRevocation\nmetadata: {{name: {name}}}\nspec: {{storeRef: {{name: aws}}, key: {}, reason: seen in a build log}}\n",
            key(name)
        );
        apply(&scene.cluster, &revocation);
        becomes(&scene.cluster, NAMESPACE, name, "Authorized", "False", "KeyRevoked");
        let text = scene.says(name, "False", "RotationWaits");
        assert!(text.contains("scopedsecrets.io/rotate-at"), "{text}");
        assert_eq!((scene.stub.versions(&key(name)).len(), scene.value(name, "password")), (1, None));
    }
    // The later of the two: what is made within its second counts as revoked, and the manager's clock is not moved.
    let revoked = scene.cluster.get_json("keyrevocation", None, "dated").unwrap();
    let revoked: Timestamp = revoked["metadata"]["creationTimestamp"].as_str().unwrap().parse().unwrap();
    eventually("the second of the revocation is over", SOON, || match Timestamp::now().duration_since(revoked) {
        passed if passed > SignedDuration::from_secs(1) => Ok(()),
        passed => Err(format!("{passed:?}")),
    });
    scene.asks("leaked", "now");
    scene.has_versions("leaked", 2);
    eventually("the leak is over", SOON, || {
        let revocation = scene.cluster.get_json("keyrevocation", None, "leaked").ok_or("gone")?;
        let complete = condition(&revocation, "Complete").is_some_and(|c| c["status"] == "True");
        if complete { Ok(()) } else { Err(revocation["status"].to_string()) }
    });
    assert!(scene.next_rotation("dated") > scene.clock.now(), "status says when");
    scene.clock.advance(SignedDuration::from_hours(5));
    scene.has_versions("dated", 2);

    // Somebody else's rotation was never finished.
    let generated = "{strategy: Generate, generate: {property: password}}";
    scene.claims("stuck", generated);
    scene.stub.put_pending(&key("stuck"), "11111111-2222-4333-8444-555555555555", Says::Text(document("half")));
    scene.asks("stuck", "now");
    let text = scene.says("stuck", "False", "PendingStuck");
    assert!(text.contains("--remove-from-version-id 11111111-2222-4333-8444-555555555555"), "{text}");
    assert_eq!(scene.stub.versions(&key("stuck")).len(), 2, "nothing more is stored");

    // The manager rotates it already; what cannot be is refused, and who may not rotate says so.
    scene.claims("owned", generated);
    scene.stub.rotates(&key("owned"), Lambda::Waits);
    scene.asks("owned", "now");
    scene.says("owned", "False", "RotationOwnedElsewhere");
    // Who makes a value hears at once of another who comes to read it, and when that is over.
    scene.claims("read", generated);
    let data = format!("data: [{{secretKey: password, remoteRef: {{key: {}, property: password}}}}]\n", key("read"));
    apply(&scene.cluster, &scoped_secret(NAMESPACE, "reader", &data));
    let text = scene.says("read", "False", "RotationOwnedElsewhere");
    assert!(text.contains("ScopedSecret \"reader\" of this namespace"), "{text}");
    scene.cluster.submit(&["delete", "-n", NAMESPACE, "scopedsecret", "reader"], "").unwrap();
    scene.says("read", "True", "RotationIdle");
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
    // Who may not rotate any more reads on.
    apply(&scene.cluster, &policy("[Read]"));
    scene.asks(name, "refused");
    let text = scene.says(name, "False", "ActionNotAllowed");
    assert!(text.contains("(action Rotate)"), "{text}");
    // Nor does a refresh by a clock that is far ahead for a moment stop those that come after it.
    let calls = scene.stub.calls().len();
    scene.clock.advance(SignedDuration::from_hours(24 * 10));
    eventually("it is refreshed", SOON, || match scene.stub.calls().len() {
        now if now > calls => Ok(()),
        now => Err(now),
    });
    settles(&scene.gate);
    scene.clock.advance(SignedDuration::from_hours(-24 * 10));
    let (by_hand, versions) = ("canary-by-hand-kX9mQ2vL8nR5wT3z", scene.stub.versions(&key(name)).len());
    scene.stub.put(&key(name), Says::Text(document(by_hand)));
    scene.clock.advance(minutes(61));
    eventually("what somebody else stored is projected", SOON, || match scene.value(name, "password") {
        Some(value) if value == by_hand => Ok(()),
        _ => Err(scene.object(name)["status"].to_string()),
    });
    becomes(&scene.cluster, NAMESPACE, name, "Ready", "True", "Ready");
    assert_eq!(scene.stub.versions(&key(name)).len(), versions + 1, "nothing is rotated");
    eventually("it is refused at apply", SOON, || match scene.cluster.apply(&scene.yaml("new", generated)) {
        Err(text) if text.contains("ActionNotAllowed") && text.contains("Generate") => Ok(()),
        other => Err(format!("{other:?}")),
    });
    guarantees_hold_at(&scene.cluster, || scene.clock.now());
}

/// It is run once in ten minutes, however often that is looked at, and for whatever it is due.
#[test]
fn a_function_that_fails_and_cleans_up_is_not_run_again_at_once() {
    let scene = Scene::set_up();
    let (at_once, soon) = (Duration::ZERO, Duration::from_secs(1));
    let cases = [("tidy", soon, false), ("swift", at_once, false), ("loose", soon, true), ("brisk", at_once, true)];
    let runs = |name: &str| {
        let is = |keys: &[String]| keys.iter().any(|arn| arn.contains(&key(name)));
        scene.stub.calls().iter().filter(|(operation, keys)| operation == "RotateSecret" && is(keys)).count()
    };
    let all_ran = |times: usize| {
        for _ in 0..6 {
            scene.clock.advance(minutes(1));
            settles(&scene.gate);
        }
        assert_eq!(cases.map(|(name, ..)| (name, runs(name))), cases.map(|(name, ..)| (name, times)));
    };
    // One slot in the 26 hours of this story, whatever the time of day.
    let slot = (scene.clock.now() + SignedDuration::from_hours(12)).to_zoned(jiff::tz::TimeZone::UTC);
    let rotation = format!("{{strategy: Provider, schedule: \"{}\"}}", slot.strftime("%M %H * * *"));
    for (name, after, keeps) in cases {
        scene.claims(name, &rotation);
        scene.stub.rotates(&key(name), Lambda::GivesUp { after, keeps });
        scene.asks(name, "now");
    }
    for (name, ..) in cases {
        let text = scene.says(name, "False", "RotationFailed");
        assert!(text.contains("gave up") && text.contains("CloudWatch"), "{name}: {text}");
    }
    // Nor for a ScopedSecret that is made anew, or whose rotation is taken off and put back.
    let kubectl = |arguments: &[&str]| {
        let out = scene.cluster.kubectl(&[arguments, &["-n", NAMESPACE]].concat());
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    };
    for name in ["swift", "brisk"] {
        kubectl(&["delete", "scopedsecret", name]);
        // There is no garbage collector here, and the operator may be faster.
        let collector = "--as=system:serviceaccount:kube-system:generic-garbage-collector";
        kubectl(&["delete", "secret", name, "--ignore-not-found", collector, "--as-group=system:masters"]);
    }
    let off = r#"[{"op": "remove", "path": "/spec/rotation"}]"#;
    kubectl(&["patch", "scopedsecret", "tidy", "--type=json", "-p", off]);
    settles(&scene.gate);
    for name in ["swift", "brisk", "tidy"] {
        let yaml = scene.yaml(name, &rotation);
        eventually("it may be claimed", SOON, || scene.cluster.apply(&yaml));
        scene.asks(name, "now");
        scene.says(name, "False", "RotationFailed");
    }
    all_ran(1);
    // With a slot of the schedule, there are two things to rotate for.
    scene.clock.advance(SignedDuration::from_hours(25));
    for (name, ..) in cases {
        eventually(&format!("{name} is asked for again"), SOON, || match runs(name) {
            2 => Ok(()),
            runs => Err(runs),
        });
    }
    all_ran(2);
    for (name, ..) in cases {
        scene.keeps(name);
        let value = document(&format!("canary-{name}-again-kX9mQ2vL8nR5"));
        scene.stub.rotates(&key(name), Lambda::Succeeds(Duration::ZERO, value));
    }
    // One of the two after the other.
    scene.clock.advance(minutes(16));
    for (name, ..) in cases {
        scene.says(name, "False", "RotationWaits");
        assert_eq!(runs(name), 3, "{name}");
    }
    scene.clock.advance(minutes(16));
    for (name, _, keeps) in cases {
        // Two that stay and have no value, of which nothing can be known, and one for each of what it is due for.
        scene.has_versions(name, if keeps { 5 } else { 3 });
    }
    guarantees_hold_at(&scene.cluster, || scene.clock.now());
}

/// The strategy changes while a rotation is half done, and another operator leads by then.
#[test]
fn what_the_other_strategy_began_is_left_alone() {
    let mut scene = Scene::set_up();
    let (provider, generate) = ("{strategy: Provider}", "{strategy: Generate, generate: {property: password}}");
    let change = |scene: &Scene, name: &str, rotation: &str| {
        eventually("it may be changed", SOON, || scene.cluster.apply(&scene.yaml(name, rotation)));
    };
    let pending = |scene: &Scene, name: &str| {
        let versions = scene.stub.versions(&key(name)).into_iter();
        versions.filter(|v| v.stages.iter().any(|stage| stage == "AWSPENDING")).map(|v| v.id).collect::<Vec<_>>()
    };

    // The function is at work on a value that its database has not heard of.
    scene.claims("made", provider);
    let half_done = json!({"username": "made", "password": "canary-half-done-kX9mQ2vL8nR5"}).to_string();
    scene.stub.rotates(&key("made"), Lambda::Halts(half_done));
    scene.asks("made", "now");
    scene.says("made", "False", "Requested");
    let begun = eventually("its function has begun", SOON, || match pending(&scene, "made") {
        begun if begun.is_empty() => Err("nothing is AWSPENDING"),
        begun => Ok(begun),
    });
    scene.restart();
    change(&scene, "made", generate);
    let text = scene.says("made", "False", "RotationOwnedElsewhere");
    assert!(text.contains("--remove-from-version-id"), "{text}");
    // Whether its rotation is switched off first, or what it began ended first.
    scene.stub.rotates_no_more(&key("made"));
    scene.clock.advance(minutes(16));
    scene.says("made", "False", "PendingStuck");
    scene.keeps("made");
    assert_eq!((pending(&scene, "made"), scene.stub.versions(&key("made")).len()), (begun, 2));
    scene.stub.end_pending(&key("made"));
    scene.clock.advance(minutes(16));
    scene.has_versions("made", 3);

    // The operator has stored a value that it may not bring into use.
    scene.claims("stored", generate);
    scene.stub.on_write(|write| match &*write.operation {
        "UpdateSecretVersionStage" => Then::Refuse("AccessDeniedException"),
        _ => Then::GoOn,
    });
    scene.asks("stored", "now");
    scene.says("stored", "False", "WriteDenied");
    scene.restart();
    scene.stub.unwatch();
    scene.stub.rotates(&key("stored"), Lambda::Succeeds(Duration::ZERO, document("canary-of-the-function-kX9mQ2vL8n")));
    change(&scene, "stored", provider);
    scene.clock.advance(minutes(16));
    scene.has_versions("stored", 3);
    guarantees_hold_at(&scene.cluster, || scene.clock.now());
}
