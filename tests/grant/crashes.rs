//! Killed before and after each write, the operator gives what was lent once, and takes all of it back.

use crate::support::inside::{Moment, settles};
use crate::support::oracle::guarantees_hold_at;
use crate::{ADA, LEAD, Scene, grant};
use jiff::SignedDuration;
use std::time::Duration;

/// Given: Role, RoleBinding, two events, status. Taken back: RoleBinding, two events, status, Role.
const KILLED_AT: [usize; 3] = [0, 1, 4];

#[test]
fn a_kill_at_any_write_leaves_nothing_half_done() {
    let mut scene = Scene::set_up();
    for number in KILLED_AT {
        for moment in [Moment::Before, Moment::After] {
            let name = format!("g{number}-{}", format!("{moment:?}").to_lowercase());
            settles(&scene.gate);
            scene.gate.arm(number, moment);
            // By the API server's clock, which the operator's is ahead of.
            let hours = scene.clock.moved().as_hours() + 1;
            scene.as_user(LEAD, "create -f -", &grant(&name, &format!("ttl: {hours}h"))).unwrap();
            dies(&mut scene);
            scene.is_open(&name);
            scene.can_read(ADA, "orders");
            if number < 4 || moment == Moment::Before {
                // Who was killed told nobody, or nobody knows whether.
                let line = scene.recorded("Granted", &name);
                assert_eq!((&line["rule"], &line["secret"]), (&"Grants".into(), &"orders".into()), "{line}");
                let key = line["versions"][0]["key"].as_str().unwrap_or_default();
                assert!(key.ends_with("payments/prod/orders"), "{line}");
            }
            assert_eq!((scene.lent("roles").len(), scene.lent("rolebindings").len()), (1, 1), "{name}");

            settles(&scene.gate);
            scene.gate.arm(number, moment);
            scene.clock.advance(SignedDuration::from_mins(61));
            dies(&mut scene);
            scene.is_closed(&name, "Expired");
            scene.is_gone(&name);
            scene.cannot_read(ADA, "orders");
        }
    }
    guarantees_hold_at(&scene.cluster, || scene.clock.now());
}

/// The operator is killed at the write that was named, and another one starts.
fn dies(scene: &mut Scene) {
    assert!(scene.gate.dies_within(Duration::from_secs(15)), "it wrote less: {:?}", scene.gate.writes());
    scene.kill();
    scene.start();
}
