//! The way back: the manager has a newer version of a key that was revoked, and the Secret is written again. Many at once, each
//! stopped before or after one of its own writes; then the operator dies, and another one brings all of them back.

use crate::many::may_be_left_out;
use crate::support::canary;
use crate::support::inside::{Moment, NthWrite, settles};
use crate::support::oracle::guarantees_hold_at;
use crate::support::stub_manager::Says;
use crate::support::tenants::*;
use crate::support::wait::{eventually, second_is_over};
use crate::{NAMESPACE, Scene, key};

#[test]
fn what_was_revoked_comes_back_once_wherever_the_operator_dies() {
    let scene = &mut Scene::set_up();
    let whole = ["restored-whole".to_owned()];
    scene.lose(&whole);
    scene.gate.stop_each(whole.iter().map(|name| (name.clone(), None)));
    scene.renew(&whole);
    eventually("undisturbed: it is back", SOON, || scene.are_back(&whole));
    settles(&scene.gate);
    let mut writes = scene.gate.writes_of(&whole[0]);
    println!("restored: {writes:#?}");
    for what in ["/secrets", "/scopedsecrets/NAME/status"] {
        assert!(writes.iter().any(|write| write.what.contains(what)), "{what}: {writes:?}");
    }

    // Of all revocations one is written at a time: who stops at one stops the others. And what was found before it was asked for has
    // the request sealed by a second write, which not all have.
    writes.retain(|write| !write.what.contains("/keyrevocations/") && !write.what.contains("/secrets/"));
    let sides = writes.iter().flat_map(|write| [Moment::Before, Moment::After].map(|moment| (write.clone(), moment)));
    let stops: Vec<(String, Option<(NthWrite, Moment)>)> =
        sides.enumerate().map(|(number, side)| (format!("restored-{number}-each"), Some(side))).collect();
    let names: Vec<String> = stops.iter().map(|(name, _)| name.clone()).collect();
    scene.lose(&names);
    scene.gate.stop_each(stops);
    scene.renew(&names);
    eventually("each stops where it is to", SOON * 2, || {
        let mut going = scene.gate.going_on();
        going.retain(|(_, write)| !may_be_left_out(write));
        if going.is_empty() { Ok(()) } else { Err(format!("{going:?}")) }
    });
    settles(&scene.gate);
    println!("these had less to tell: {:?}", scene.gate.going_on());
    scene.restart();
    eventually("all are back", SOON * 2, || scene.are_back(&names));
    let gate = scene.restart();
    settles(&gate);
    assert!(gate.count_of("secrets") == 0, "one more start writes no Secret: {:?}", gate.writes());
    guarantees_hold_at(&scene.cluster, || scene.clock.now());
    canary::scan(&scene.cluster, scene.operator.as_ref().unwrap(), &[canary::CANARY]);
}

fn newer(name: &str) -> String {
    format!("canary-{name}-newer-kX9mQ2vL8nR5wT3z")
}

impl Scene {
    /// They are projected, revoked, gone, and at rest.
    fn lose(&self, names: &[String]) {
        for name in names {
            self.stores(name);
            self.claims(name, "");
        }
        for name in names {
            eventually("it is projected", SOON, || self.is_projected(name));
            self.revokes(name);
        }
        for name in names {
            eventually("it is gone", SOON, || {
                self.is_gone(name)?;
                self.says(name, "Authorized", "False", "KeyRevoked")?;
                self.is_complete(name)
            });
        }
        settles(&self.gate);
    }

    /// The manager has a newer version of each than what was revoked, which is asked for.
    fn renew(&self, names: &[String]) {
        for name in names {
            let revocation = self.cluster.get_json("keyrevocation", None, name).expect("it is there");
            second_is_over(&revocation);
            self.stub.put(&key(name), Says::Text(newer(name)));
        }
        let words = ["annotate", "-n", NAMESPACE, "scopedsecret"].into_iter().chain(names.iter().map(|name| &**name));
        let words: Vec<&str> = words.chain(["scopedsecrets.io/refresh-at=now"]).collect();
        self.cluster.submit(&words, "").unwrap();
    }

    /// Each Secret has the newer version, and nothing holds the other one.
    fn are_back(&self, names: &[String]) -> Result<(), String> {
        for name in names {
            self.is_projected(name).map_err(|why| format!("{name}: {why}"))?;
            let held = secret_value(&self.cluster, NAMESPACE, name, "value");
            let is_newer = held.is_some_and(|held| held == newer(name));
            is_newer.then_some(()).ok_or_else(|| format!("{name} has another value"))?;
            let versions = self.stub.versions(&key(name));
            let claim = self.cluster.get_json("scopedsecret", NAMESPACE, name).ok_or("not there")?;
            let shown = &claim["status"]["remoteVersions"][0]["versionId"];
            let is_shown = versions.len() == 2 && *shown == *versions[1].id;
            is_shown.then_some(()).ok_or_else(|| format!("{name}: {}", claim["status"]))?;
            self.is_complete(name)?;
        }
        Ok(())
    }
}
