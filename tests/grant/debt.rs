//! `rotateAfter`: somebody has seen the value, so that it is owed a rotation, which outlives the grant and the operator.

use super::*;
use crate::support::inside::Moment;
use crate::support::oracle::guarantees_hold_at;
use crate::support::stub_manager::{Mood, Then};
use jiff::SignedDuration;
use std::sync::Mutex;
use std::sync::mpsc::channel;

impl Scene {
    /// So many versions of the key were made, and the Secret has the last; nothing is owed any more.
    fn is_paid(&self, grant: &str, versions: usize) {
        eventually(&format!("{versions} versions"), SOON, || {
            let all = self.stub.versions("payments/prod/later");
            let current = all.iter().find(|v| v.stages.iter().any(|stage| stage == "AWSCURRENT")).ok_or("none")?;
            let object = self.cluster.get_json("scopedsecret", NAMESPACE, "later").ok_or("gone")?;
            let shown = &object["status"]["remoteVersions"][0]["versionId"];
            let right = all.len() == versions && *shown == *current.id;
            if right { Ok(()) } else { Err(format!("{all:?} {}", object["status"])) }
        });
        self.is_gone(grant);
        self.cannot_read(ADA, "later");
    }
}

#[test]
fn a_value_that_somebody_has_seen_is_rotated_once() {
    let mut scene = Scene::set_up();
    apply(&scene.cluster, &format!("{POLICY}    actions: [Read, Generate]\n  rules: {{grants: {{maxTTL: 99h}}}}\n"));
    let lent = "scopedSecretRef: {name: later}\nrotateAfter: true\nttl: 1h";
    // A claim that does not rotate owes nothing, so that nothing is lent.
    scene.claim("later", "");
    scene.as_user(LEAD, "create -f -", &grant("never", lent)).unwrap();
    scene.is_closed("never", "RotationNotDeclared");
    scene.told("SecretGrant", "never", "RotationNotDeclared");
    scene.as_user(LEAD, "delete secretgrant never -n payments-prod", "").unwrap();
    let keyed = |key: &str| {
        let spec = "data: [{secretKey: value, remoteRef: {key: payments/prod/KEY}}]\nrotation: {strategy: Generate}\n";
        scoped_secret(NAMESPACE, "later", &spec.replace("KEY", key))
    };
    eventually("it may rotate", SOON, || scene.cluster.apply(&keyed("later")));

    // The key leaks: the value that is owed is not made in the same second, in which it would be revoked as well.
    scene.lends("leaked", lent);
    apply(
        &scene.cluster,
        "apiVersion: scopedsecrets.io/v1alpha1\nkind: KeyRevocation\nmetadata: {name: later}\nspec: {storeRef: {name: aws}, key: payments/prod/later, reason: seen in a build log}\n",
    );
    scene.is_closed("leaked", "KeyRevoked");
    scene.is_paid("leaked", 2);
    eventually("it is projected again", SOON, || ready(&scene.cluster, "scopedsecret", Some(NAMESPACE), "later"));
    scene.cluster.submit(&["delete", "keyrevocation", "later"], "").unwrap();
    let made = scene.stub.versions("payments/prod/later").len();

    // By its time.
    scene.lends("timed", lent);
    scene.can_read(ADA, "later");
    scene.clock.advance(SignedDuration::from_hours(1));
    scene.is_closed("timed", "Expired");
    scene.is_paid("timed", made + 1);

    // It is deleted while nobody is there to see it.
    scene.lends("deleted", &lent.replace("1h", "8h"));
    scene.can_read(ADA, "later");
    scene.clock.advance(SignedDuration::from_hours(1));
    scene.kill();
    scene.as_user(LEAD, "delete secretgrant deleted -n payments-prod", "").unwrap();
    scene.start();
    scene.is_paid("deleted", made + 2);
    // The garbage collector was faster, and it is told all the same.
    let line = scene.recorded("GrantEnded", "deleted");
    assert_eq!((&line["rule"], &line["secret"]), (&"Grants".into(), &"later".into()), "{line}");

    // Two that end together are paid by one.
    scene.clock.advance(SignedDuration::from_hours(1));
    // Reckoned from a creation by the API server's clock, which is three hours behind by now.
    let lent = &lent.replace("1h", "4h");
    scene.lends("one", lent);
    scene.lends(
        "two",
        &lent.replace("scopedSecretRef", "subject: {kind: User, name: bob@example.com}\nscopedSecretRef"),
    );
    scene.can_read(ADA, "later");
    // The new value cannot be read for a moment once it is current: it is projected by the next attempt, and pays for both.
    let (reached, at) = channel();
    let (goes_on, wait) = channel();
    let wait = Mutex::new(wait);
    scene.stub.on_write(move |write| {
        if (&*write.operation, write.moment) == ("UpdateSecretVersionStage", Moment::After) && reached.send(()).is_ok()
        {
            let _ = wait.lock().unwrap().recv();
        }
        Then::GoOn
    });
    scene.clock.advance(SignedDuration::from_hours(1));
    scene.is_closed("one", "Expired");
    scene.is_closed("two", "Expired");
    at.recv_timeout(SOON).expect("a value is brought into use");
    drop(at);
    scene.stub.set_mood(Mood::KeepsValues);
    goes_on.send(()).unwrap();
    becomes(&scene.cluster, NAMESPACE, "later", "Synced", "False", "ProviderUnavailable");
    scene.stub.unwatch();
    scene.stub.set_mood(Mood::Well);
    scene.is_paid("one", made + 3);
    scene.is_paid("two", made + 3);

    // Paid once: not again by another operator, nor by time.
    scene.kill();
    scene.start();
    scene.clock.advance(SignedDuration::from_hours(2));
    settles(&scene.gate);
    scene.is_paid("two", made + 3);

    // It names another key meanwhile: that is not rotated, and what is owed stays until it names the key again.
    scene.stub.put("payments/prod/never-seen", Says::Text("canary-never-seen-kX9mQ2vL8nR5wT3z".to_owned()));
    scene.lends("dodged", &lent.replace("4h", "40h"));
    scene.can_read(ADA, "later");
    apply(&scene.cluster, &keyed("never-seen"));
    let closed = scene.is_closed("dodged", "GrantOutdated");
    scene.cannot_read(ADA, "later");
    eventually("it is told what is owed", SOON, || {
        let grant = scene.grant("dodged");
        let owed = condition(&grant, "Rotated").cloned().unwrap_or_default();
        let right = owed["reason"] == "RotationOwed"
            && owed["message"].as_str().is_some_and(|text| text.contains("payments/prod/later"));
        if right { Ok(()) } else { Err(closed["status"].to_string()) }
    });
    scene.told("ScopedSecret", "later", "RotationOwed");
    scene.kill();
    scene.as_user(LEAD, "delete secretgrant dodged -n payments-prod", "").unwrap();
    scene.start();
    scene.clock.advance(SignedDuration::from_hours(1));
    scene.told("ScopedSecret", "later", "RotationOwed");
    settles(&scene.gate);
    assert_eq!(scene.stub.versions("payments/prod/never-seen").len(), 1, "nobody has seen it");
    assert_eq!(scene.lent("roles").len(), 1, "it is still owed");
    apply(&scene.cluster, &keyed("later"));
    scene.is_paid("dodged", made + 4);
    assert_eq!(scene.stub.versions("payments/prod/never-seen").len(), 1);

    // The manager's clock was not moved, by which the ends of these are later than what paid for them.
    for grant in ["leaked", "timed", "one", "two"] {
        scene.as_user(LEAD, &format!("delete secretgrant {grant} -n payments-prod"), "").unwrap();
    }
    // Its ScopedSecret is deleted, and what belongs to it is told to stay: whoever has its name and its key pays.
    scene.clock.advance(SignedDuration::from_hours(1));
    scene.lends("orphan", &lent.replace("4h", "40h"));
    scene.can_read(ADA, "later");
    let parts = |scene: &Scene| {
        scene.cluster.submit(&["delete", "scopedsecret", "later", "-n", NAMESPACE, "--cascade=orphan"], "").unwrap();
    };
    parts(&scene);
    scene.is_closed("orphan", "GrantOutdated");
    eventually("it is claimed anew", SOON, || scene.cluster.apply(&keyed("later")));
    scene.is_closed("orphan", "GrantOutdated");
    scene.clock.advance(SignedDuration::from_hours(1));
    scene.is_paid("orphan", made + 5);
    // Nobody has, and the grant is gone, too: nothing of it is left for ever.
    scene.clock.advance(SignedDuration::from_hours(1));
    scene.lends("left", &lent.replace("4h", "40h"));
    parts(&scene);
    scene.is_closed("left", "GrantOutdated");
    scene.as_user(LEAD, "delete secretgrant left -n payments-prod", "").unwrap();
    scene.is_gone("left");

    // Its ScopedSecret is deleted with all that belongs to it, and created anew with the value that was seen: the grant says what is
    // owed. It is paid once, whoever leads.
    scene.as_user(LEAD, "delete secretgrant orphan -n payments-prod", "").unwrap();
    eventually("it is claimed anew", SOON, || scene.cluster.apply(&keyed("later")));
    eventually("it is projected again", SOON, || ready(&scene.cluster, "scopedsecret", Some(NAMESPACE), "later"));
    scene.lends("replaced", &lent.replace("4h", "60h"));
    scene.can_read(ADA, "later");
    scene.cluster.submit(&["delete", "scopedsecret", "later", "-n", NAMESPACE], "").unwrap();
    scene.is_closed("replaced", "GrantOutdated");
    // While the manager refuses it names another key: that one is not rotated instead.
    scene.stub.on_write(|_| Then::Refuse("AccessDeniedException"));
    eventually("it is claimed anew", SOON, || scene.cluster.apply(&keyed("later")));
    scene.is_closed("replaced", "GrantOutdated");
    becomes(&scene.cluster, NAMESPACE, "later", "Rotated", "False", "WriteDenied");
    apply(&scene.cluster, &keyed("never-seen"));
    becomes(&scene.cluster, NAMESPACE, "later", "Rotated", "True", "RotationIdle");
    scene.stub.unwatch();
    scene.clock.advance(SignedDuration::from_hours(1));
    settles(&scene.gate);
    assert_eq!(scene.stub.versions("payments/prod/never-seen").len(), 1, "nobody has seen it");
    apply(&scene.cluster, &keyed("later"));
    scene.is_paid("replaced", made + 6);
    scene.kill();
    scene.start();
    scene.clock.advance(SignedDuration::from_hours(1));
    settles(&scene.gate);
    scene.is_paid("replaced", made + 6);
    guarantees_hold_at(&scene.cluster, || scene.clock.now());
}

/// All that knows of it goes at once, in whatever order.
#[test]
fn what_is_owed_and_that_access_ended_is_on_the_record_once() {
    let scene = Scene::set_up();
    apply(&scene.cluster, &format!("{POLICY}    actions: [Read, Generate]\n  rules: {{grants: {{maxTTL: 99h}}}}\n"));
    let told = |subject: &str| {
        let lines = scene.operator.as_ref().expect("it runs").recorded();
        let of = |pick: &dyn Fn(&Value) -> bool| {
            let about = |line: &&Value| line["to"].as_str().is_some_and(|to| to.contains(subject));
            lines.iter().filter(about).filter(|line| pick(line)).count()
        };
        (of(&|line| line["what"] == "GrantEnded"), of(&|line| line["reason"] == "RotationOwed"))
    };
    let mut subjects = Vec::new();
    for (round, how) in [
        &["delete", "secretgrant,scopedsecret", "--all", "-n", NAMESPACE][..],
        &["delete", "scopedsecret,secretgrant", "--all", "-n", NAMESPACE],
        &["delete", "namespace", NAMESPACE],
    ]
    .iter()
    .enumerate()
    {
        scene.claim("later", "rotation: {strategy: Generate}\n");
        for number in 0..3 {
            let subject = format!("user-{round}-{number}@example.com");
            let more = format!(
                "scopedSecretRef: {{name: later}}\nrotateAfter: true\nttl: 9h\nsubject: {{kind: User, name: {subject}}}"
            );
            scene.lends(&format!("lent-{round}-{number}"), &more);
            subjects.push(subject);
        }
        scene.cluster.submit(how, "").unwrap();
        for subject in &subjects {
            eventually(&format!("it is on the record of {subject}, {how:?}"), SOON, || match told(subject) {
                (1, 1) => Ok(()),
                other => Err(format!("{other:?}")),
            });
        }
    }
    settles(&scene.gate);
    let all: Vec<_> = subjects.iter().map(|subject| told(subject)).collect();
    assert!(all.iter().all(|told| *told == (1, 1)), "{all:?}");
}
