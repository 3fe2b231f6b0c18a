//! Killed before and after each write, the operator gives what was lent once, and takes all of it back.

use crate::support::inside::{Moment, NthWrite, settles};
use crate::support::oracle::guarantees_hold_at;
use crate::support::tenants::SOON;
use crate::support::wait::eventually;
use crate::{ADA, BOB, LEAD, NAMESPACE, Scene, grant};
use jiff::SignedDuration;
use std::time::Duration;

#[test]
fn a_kill_at_any_write_leaves_nothing_half_done() {
    let mut scene = Scene::set_up();
    // Each run makes the operator's clock, which no ttl knows of, an hour faster.
    scene.limit("maxTTL: 23h, approval: None");
    let [given, taken] = undisturbed(&scene);
    let told = |writes: &[String]| writes.iter().position(|write| is_status(write)).expect("status says it");
    for number in 0..given.len().max(taken.len()) {
        for moment in [Moment::Before, Moment::After] {
            let name = format!("g{number}-{}", format!("{moment:?}").to_lowercase());
            settles(&scene.gate);
            if number < given.len() {
                scene.gate.arm(number, moment);
            }
            // By the API server's clock, which the operator's is ahead of.
            let hours = scene.clock.moved().as_hours() + 1;
            scene.as_user(LEAD, "create -f -", &grant(&name, &format!("ttl: {hours}h"))).unwrap();
            if number < given.len() {
                dies(&mut scene);
            }
            scene.is_open(&name);
            scene.can_read(ADA, "orders");
            if number < told(&given) || (number == told(&given) && moment == Moment::Before) {
                // Who was killed told nobody, or nobody knows whether.
                let line = scene.recorded("Granted", &name);
                assert_eq!((&line["rule"], &line["secret"]), (&"Grants".into(), &"orders".into()), "{line}");
                let key = line["versions"][0]["key"].as_str().unwrap_or_default();
                assert!(key.ends_with("payments/prod/orders"), "{line}");
            }
            assert_eq!((scene.lent("roles").len(), scene.lent("rolebindings").len()), (1, 1), "{name}");

            settles(&scene.gate);
            if number < taken.len() {
                scene.gate.arm(number, moment);
            }
            scene.clock.advance(SignedDuration::from_mins(61));
            if number < taken.len() {
                dies(&mut scene);
            }
            scene.is_closed(&name, "Expired");
            scene.is_gone(&name);
            scene.cannot_read(ADA, "orders");
            if taken.get(number).is_some_and(|write| write.contains("/rolebindings/")) {
                // Who was killed never heard that the RoleBinding was gone, and told nobody.
                scene.recorded("GrantEnded", &name);
            }
        }
    }
    guarantees_hold_at(&scene.cluster, || scene.clock.now());
}

/// The writes of a grant that nobody disturbs: those that give it, and those that take it back.
fn undisturbed(scene: &Scene) -> [Vec<String>; 2] {
    settles(&scene.gate);
    scene.gate.count();
    scene.lends("whole", "");
    settles(&scene.gate);
    let given = scene.gate.writes();
    scene.gate.count();
    scene.clock.advance(SignedDuration::from_mins(31));
    scene.is_closed("whole", "Expired");
    scene.is_gone("whole");
    settles(&scene.gate);
    let taken = scene.gate.writes();
    println!("given: {given:#?}\ntaken: {taken:#?}");
    for writes in [&given, &taken] {
        let of = |kind: &str| writes.iter().filter(|write| write.contains(kind)).count();
        let counted =
            [of("/roles"), of("/rolebindings"), of("/events"), writes.iter().filter(|w| is_status(w)).count()];
        assert_eq!(counted, [1, 1, 2, 1], "{writes:?}");
    }
    [given, taken]
}

fn is_status(write: &str) -> bool {
    write.contains("/secretgrants/") && write.ends_with("/status")
}

/// The operator is killed at the write that was named, and another one starts.
fn dies(scene: &mut Scene) {
    assert!(scene.gate.dies_within(Duration::from_secs(30)), "it wrote less: {:?}", scene.gate.writes());
    scene.kill();
    scene.start();
}

/// Each of many grants stops at a write of its own, and the operator dies once for all of them: as they are approved, and as
/// they are deleted.
#[test]
fn a_kill_at_any_write_leaves_nothing_half_done_of_what_was_approved_or_deleted() {
    let mut scene = Scene::set_up();
    scene.limit("maxTTL: 8h, approval: Required");
    let whole = ["whole".to_owned()];
    ask(&scene, &whole);
    let given = writes_of(&scene, "whole", || {
        approve(&scene, &whole);
        scene.is_open("whole");
    });
    let taken = writes_of(&scene, "whole", || {
        delete(&scene, &whole);
        scene.is_gone("whole");
    });
    println!("given: {given:#?}\ntaken: {taken:#?}");
    let has = |writes: &[NthWrite], what: &str| writes.iter().any(|write| write.what.contains(what));
    for what in ["/roles", "/rolebindings", "/status"] {
        assert!(has(&given, what), "{what}: {given:?}");
    }
    assert!(has(&taken, "/roles/NAME"), "{taken:?}");

    let (giving, taking) = (sides(&given), sides(&taken));
    let names: Vec<String> = (0..giving.len().max(taking.len())).map(|number| format!("at-{number}-each")).collect();
    ask(&scene, &names);
    settles(&scene.gate);
    scene.gate.stop_each(stops(&names, &giving));
    approve(&scene, &names);
    eventually("each stops where it is to", SOON, || going_on(&scene, |_| false));
    scene.kill();
    scene.start();
    for name in &names {
        scene.is_open(name);
    }
    scene.can_read(ADA, "orders");
    assert_eq!((scene.lent("roles").len(), scene.lent("rolebindings").len()), (names.len(), names.len()));

    settles(&scene.gate);
    scene.gate.stop_each(stops(&names, &taking));
    delete(&scene, &names);
    // The API server's own collector of garbage takes a RoleBinding whose grant is gone, and may be there first.
    let may_be_left_out = |write: &NthWrite| write.what.contains("/rolebindings/");
    eventually("each stops where it is to", SOON, || going_on(&scene, may_be_left_out));
    settles(&scene.gate);
    println!("these were taken by others first: {:?}", scene.gate.going_on());
    scene.kill();
    scene.start();
    for name in &names {
        scene.is_gone(name);
    }
    scene.cannot_read(ADA, "orders");
    guarantees_hold_at(&scene.cluster, || scene.clock.now());
}

/// They are asked for, and wait.
fn ask(scene: &Scene, names: &[String]) {
    let spec = format!("ttl: 1h\nrequestedBy: {LEAD}");
    let yaml: Vec<String> = names.iter().map(|name| grant(name, &spec)).collect();
    scene.as_user(LEAD, "create -f -", &yaml.join("---\n")).unwrap();
    for name in names {
        scene.is_closed(name, "AwaitsApproval");
    }
}

fn approve(scene: &Scene, names: &[String]) {
    for name in names {
        let patch = format!(r#"{{"spec":{{"approvedBy":"{BOB}"}}}}"#);
        let line = format!("patch secretgrant {name} -n {NAMESPACE} --type=merge -p {patch}");
        scene.as_user(BOB, &line, "").unwrap();
    }
}

fn delete(scene: &Scene, names: &[String]) {
    let line = format!("delete secretgrant {} -n {NAMESPACE} --wait=false", names.join(" "));
    scene.as_user(LEAD, &line, "").unwrap();
}

/// What is written of a grant when something happens to it that nobody disturbs.
fn writes_of(scene: &Scene, name: &str, happens: impl FnOnce()) -> Vec<NthWrite> {
    settles(&scene.gate);
    scene.gate.stop_each([(name.to_owned(), None)]);
    happens();
    settles(&scene.gate);
    scene.gate.writes_of(name)
}

/// Where a grant stops.
type Side = (NthWrite, Moment);

/// Both sides of each write.
fn sides(writes: &[NthWrite]) -> Vec<Side> {
    writes.iter().flat_map(|write| [Moment::Before, Moment::After].map(|moment| (write.clone(), moment))).collect()
}

/// Each at another, as far as they go.
fn stops(names: &[String], sides: &[Side]) -> Vec<(String, Option<Side>)> {
    names.iter().enumerate().map(|(number, name)| (name.clone(), sides.get(number).cloned())).collect()
}

/// Ok when each has stopped that is to, but for these.
fn going_on(scene: &Scene, may_be_left_out: impl Fn(&NthWrite) -> bool) -> Result<(), String> {
    let mut going = scene.gate.going_on();
    going.retain(|(_, write)| !may_be_left_out(write));
    if going.is_empty() { Ok(()) } else { Err(format!("{going:?}")) }
}
