//! `rotateAfter`: somebody has seen the value, so that it is owed a rotation, which outlives the grant and the operator.

use super::*;
use jiff::SignedDuration;

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
    apply(&scene.cluster, &format!("{POLICY}    actions: [Read, Generate]\n"));
    let lent = "scopedSecretRef: {name: later}\nrotateAfter: true\nttl: 1h";
    // A claim that does not rotate owes nothing, so that nothing is lent.
    scene.claim("later", "");
    scene.as_user(LEAD, "create -f -", &grant("never", lent)).unwrap();
    scene.is_closed("never", "RotationNotDeclared");
    scene.as_user(LEAD, "delete secretgrant never -n payments-prod", "").unwrap();
    scene.claim("later", "rotation: {strategy: Generate}\n");
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
    scene.clock.advance(SignedDuration::from_hours(1));
    scene.is_closed("one", "Expired");
    scene.is_closed("two", "Expired");
    scene.is_paid("one", made + 3);
    scene.is_paid("two", made + 3);

    // Paid once: not again by another operator, nor by time.
    scene.kill();
    scene.start();
    scene.clock.advance(SignedDuration::from_hours(2));
    settles(&scene.gate);
    scene.is_paid("two", made + 3);
}
