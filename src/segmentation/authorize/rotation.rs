//! Who may rotate a key: one claim whose policy has the action for it, and with strategy Generate only one that nobody else
//! reads. Whoever may not goes on reading: this is asked beside the verdict, and never decides what is fetched.

use super::{Permit, View, permit, scope_of};
use crate::api::Reason;
use crate::api::policy::Action;
use crate::api::rotation::Strategy;
use crate::segmentation::key::{CanonicalKey, RemoteKey};
use crate::segmentation::verdict::{Refusal, Verdict};
use crate::segmentation::world::{Claim, Holding, ObjectName, StoreState};
use jiff::Timestamp;

/// What a policy must allow for a strategy.
fn action(strategy: Strategy) -> Action {
    match strategy {
        Strategy::Provider => Action::Rotate,
        Strategy::Generate => Action::Generate,
    }
}

/// So many other claims of a key are looked at; with more it is not this claim's to rotate.
const LIMIT: usize = 128;

/// Why a claim may not rotate its key now, beside what [`super::authorize`] says; None: it may, or does not ask to.
pub fn rotation<'w>(claim: &Claim, world: impl Into<View<'w>>, now: Timestamp) -> Option<Refusal> {
    let world = world.into();
    let strategy = claim.rotates?;
    if let Some(refusal) = lacks_action(claim, world) {
        return Some(refusal);
    }
    let keys = world.canonical_keys(claim);
    let refused = |text: String| Some(Refusal::new(Reason::RotationOwnedElsewhere, text));
    if keys.len() > 1 {
        let text =
            "a ScopedSecret that rotates has exactly one remote key: write a ScopedSecret of its own for each key";
        return Some(Refusal::new(Reason::InvalidRotation, text));
    }
    // Where the account is not known, nothing is granted at all.
    let key = keys.first()?;
    if key.is_file() {
        let text = "a directory of files cannot be rotated: remove spec.rotation, or use a store of a secrets manager";
        return Some(Refusal::new(Reason::InvalidRotation, text));
    }
    let others = world.claims_on(key).filter(|other| other.object != claim.object);
    for (count, other) in others.enumerate() {
        let whose = || whose(claim, other);
        let rivals =
            other.rotates.is_some() && goes_first(other, claim, key, world) && lacks_action(other, world).is_none();
        if !rivals && strategy == Strategy::Provider {
            continue;
        }
        if count >= LIMIT || (if rivals { may_have(other, world, now) } else { reads(other, key, world, now) }) {
            return match (rivals, strategy) {
                (true, _) => refused(format!(
                    "the key is rotated by {} already, and one rotates it: remove spec.rotation here or there",
                    whose()
                )),
                (false, _) => refused(format!(
                    "{} reads the key as well, and with strategy Generate it is one claim's alone: give each a key of its own, or use strategy Provider",
                    whose()
                )),
            };
        }
    }
    // One whose store is gone or not known now names no key: what it holds, it goes on reading.
    let names_none = |other: &Claim| world.stores.get(&*other.store).and_then(StoreState::realm).is_none();
    let held = world.holdings_on(key).find(|(secret, held)| {
        let own = *secret.namespace == *claim.object.namespace && held.claim == claim.object.name;
        strategy == Strategy::Generate && !own && world.claim(&owner(secret, held)).is_none_or(names_none)
    });
    held.and_then(|(secret, held)| {
        let is_here = *secret.namespace == *claim.object.namespace;
        let (whose, mend) = match (world.claim(&owner(secret, held)).is_some(), is_here) {
            (false, true) => (format!("the retained Secret {:?} of this namespace", &*secret.name), "delete that Secret"),
            (false, false) => ("a retained Secret of another namespace".to_owned(), "delete that Secret"),
            (true, true) => (
                format!("the Secret {:?} of this namespace, whose ScopedSecret's store is not known now,", &*secret.name),
                "see that store's status",
            ),
            (true, false) => (
                "a Secret of another namespace, whose ScopedSecret's store is not known now,".to_owned(),
                "see the stores' status",
            ),
        };
        refused(format!(
            "{whose} holds the key as well, and with strategy Generate it is one claim's alone: {mend}, or use strategy Provider"
        ))
    })
}

/// Why no policy lets a claim rotate its key, as far as that can be told.
fn lacks_action(claim: &Claim, world: View<'_>) -> Option<Refusal> {
    let needed = action(claim.rotates?);
    let scope = scope_of(&claim.object.namespace, world).ok()?;
    let realm = world.stores.get(&*claim.store).and_then(StoreState::realm);
    claim.asks.iter().find_map(|(written, _)| {
        let key = RemoteKey::parse(written).ok()?;
        let (reason, message) = scope.permits(&claim.store, &key, needed, realm).err()?;
        Some(Refusal { mode: scope.mode(), ..Refusal::new(reason, message) })
    })
}

fn owner(secret: &ObjectName, held: &Holding) -> ObjectName {
    ObjectName::of(secret.namespace.clone(), held.claim.clone())
}

/// Of two that rotate a key, who has held it for longer, then the older.
fn goes_first(one: &Claim, other: &Claim, key: &CanonicalKey, world: View<'_>) -> bool {
    let since = |claim: &Claim| holding_with(claim, key, &world).map_or(Timestamp::MAX, |held| held.held_since);
    (since(one), one.created, &one.uid) < (since(other), other.created, &other.uid)
}

/// Whether policy lets a claim have its keys, as far as that can be told: who may not is in nobody's way.
fn may_have(claim: &Claim, world: View<'_>, now: Timestamp) -> bool {
    !matches!(permit(claim, world, now), Permit::Refused(_))
}

/// Whether a claim reads a key: who is refused, as another owns it, does not, unless its Secret stands.
fn reads(claim: &Claim, key: &CanonicalKey, world: View<'_>, now: Timestamp) -> bool {
    !matches!(super::authorize(claim, world, now), Verdict::Refused(_)) || holding_with(claim, key, &world).is_some()
}

/// What a claim's Secret holds, if that is of this key.
fn holding_with<'w>(claim: &Claim, key: &CanonicalKey, world: &'w View<'_>) -> Option<&'w Holding> {
    world.holding_of(claim).filter(|held| held.keys().any(|held| held == key))
}

/// Names the other claim only inside the claim's own namespace.
fn whose(claim: &Claim, other: &Claim) -> String {
    if other.object.namespace == claim.object.namespace {
        format!("ScopedSecret {:?} of this namespace", &*other.object.name)
    } else {
        "a claim of another namespace".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segmentation::authorize::authorize;
    use crate::segmentation::fixtures::{TENANTS, at, claim, policy};
    use crate::segmentation::world::World;

    fn world(actions: &str, exclusive: &str) -> World {
        World::with_tenants().under([policy(
            "tenants",
            &format!("{TENANTS}  actions: {actions}\nrules: {{exclusiveKeys: {exclusive}}}\n"),
        )])
    }

    fn told(claim: &Claim, world: &World) -> Option<(Reason, String)> {
        rotation(claim, world, at(2_000_000)).map(|refusal| (refusal.reason, refusal.message))
    }

    #[test]
    fn reading_implies_no_writing_and_one_way_of_writing_no_other() {
        for (actions, strategy, allowed) in [
            ("[Read]", Strategy::Provider, false),
            ("[Read]", Strategy::Generate, false),
            ("[ReadAnyVersion]", Strategy::Generate, false),
            ("[Read, Rotate]", Strategy::Provider, true),
            ("[Read, Rotate]", Strategy::Generate, false),
            ("[Read, Generate]", Strategy::Generate, true),
            ("[Read, Generate]", Strategy::Provider, false),
            ("[Generate]", Strategy::Generate, true),
        ] {
            let mut world = world(actions, "Namespace");
            let claim = claim("payments-prod", "orders").of("payments/prod/db").rotating(strategy);
            world.put_claim(claim.clone());
            let refused = told(&claim, &world).map(|(reason, _)| reason);
            assert_eq!(refused, (!allowed).then_some(Reason::ActionNotAllowed), "{actions} {strategy:?}");
            let reads = matches!(authorize(&claim, &world, at(2_000_000)), Verdict::Allowed(_));
            assert_eq!(reads, actions != "[Generate]", "who may not rotate reads on, and writing implies no reading");
        }
    }

    #[test]
    fn who_may_not_rotate_holds_up_nobody_who_may() {
        let turning = TENANTS.replace("name: aws", "name: turning").split_once("allow:\n").unwrap().1.to_owned();
        let mut world = World::with_tenants().under([policy(
            "tenants",
            &format!("{TENANTS}{turning}  actions: [Read, Rotate]\nrules: {{exclusiveKeys: Segment}}\n"),
        )]);
        let realm = world.stores["aws"].clone();
        world.put_store("turning", Some(realm));
        let elder = claim("payments-prod", "elder").of("payments/prod/db").rotating(Strategy::Provider).created_at(1);
        let younger = claim("payments-prod-2", "younger").of("payments/prod/db").rotating(Strategy::Provider);
        let younger = Claim { store: "turning".into(), ..younger };
        world.holds(elder.clone(), at(1_500_000));
        world.put_claim(younger.clone());
        assert_eq!(told(&elder, &world).unwrap().0, Reason::ActionNotAllowed);
        assert_eq!(told(&younger, &world), None);
        // But with strategy Generate it holds up whoever would change what it reads.
        let younger = younger.rotating(Strategy::Generate);
        world.put_claim(younger.clone());
        assert_eq!(told(&younger, &world).unwrap().0, Reason::ActionNotAllowed);
    }

    #[test]
    fn who_is_refused_the_key_is_in_nobodys_way() {
        let mut world = world("[Read, Generate]", "Namespace");
        let owner = claim("payments-prod", "orders").of("payments/prod/db").rotating(Strategy::Generate);
        world.holds(owner.clone(), at(1_000_000));
        world.put_claim(owner.clone());
        let reader = claim("payments-prod-2", "reader").of("payments/prod/db").created_at(1);
        world.put_claim(reader.clone());
        assert!(matches!(authorize(&reader, &world, at(2_000_000)), Verdict::Refused(_)));
        assert_eq!(told(&owner, &world), None);
        // Its Secret stands, as where its withdrawal waits for somebody's word.
        world.holds(reader, at(1_900_000));
        assert_eq!(told(&owner, &world).unwrap().0, Reason::RotationOwnedElsewhere);
    }

    #[test]
    fn one_rotates_a_key_and_generates_only_what_nobody_else_reads() {
        let mut world = world("[Read, Rotate, Generate]", "Segment");
        let reader = claim("payments-prod-2", "reader").of("payments/prod/db").created_at(1_500_000);
        let outsider =
            claim("billing-prod", "outsider").of("payments/prod/db").rotating(Strategy::Generate).created_at(1);
        let generating = claim("payments-prod", "orders").of("payments/prod/db").rotating(Strategy::Generate);
        let rotating = claim("payments-prod", "orders").of("payments/prod/db").rotating(Strategy::Provider);
        world.put_claim(outsider);
        assert_eq!(told(&generating, &world), None, "who may not have the key is in nobody's way");
        world.put_claim(reader.clone());
        let (reason, text) = told(&generating, &world).unwrap();
        assert_eq!(reason, Reason::RotationOwnedElsewhere);
        assert!(text.contains("another namespace") && !text.contains("prod-2") && !text.contains("reader"), "{text}");
        assert_eq!(told(&rotating, &world), None, "the manager's own rotation is meant for many readers");
        assert_eq!(told(&reader, &world), None);
        // The elder of two rotates.
        world.put_claim(reader.rotating(Strategy::Provider));
        world.put_claim(rotating.clone());
        assert_eq!(told(&rotating, &world), None);
        let younger = world.claim(&ObjectName::new("payments-prod-2", "reader")).unwrap().clone();
        assert_eq!(told(&younger, &world).unwrap().0, Reason::RotationOwnedElsewhere);
        // But not before who has held it.
        world.holds(younger.clone(), at(1_600_000));
        assert_eq!(told(&younger, &world), None);
        assert!(told(&rotating, &world).is_some());
        let neighbour = claim("payments-prod", "other").of("payments/prod/db");
        world.remove_claim(&younger.object);
        world.put_claim(neighbour);
        assert!(told(&generating, &world).unwrap().1.contains("ScopedSecret \"other\" of this namespace"));
    }
}
