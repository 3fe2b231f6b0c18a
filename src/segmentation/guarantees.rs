//! The guarantees, as predicates over an observed cluster: what must hold whenever nothing is in flight.
//!
//! The oracle of end-to-end tests, asked at the end of every story. It shares no decision with the controller beyond the
//! authoriser: it looks at what stands, not at what was done.

pub mod lent;

use super::authorize::{Retention, retention, segment_of};
use super::key::CanonicalKey;
use super::policy::Policy;
use super::segment::Segment;
use super::world::{Holding, ObjectName, PolicyState, World};
use crate::api::policy::{ExceptedRule, Exclusivity, Within};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A Secret that carries our label, as it stands.
pub struct Managed {
    /// Which.
    pub name: ObjectName,
    /// The uid in its controller ownerReference.
    pub owner: Option<String>,
    /// Whether its seal opens for this namespace and name; what it says is in the world as a holding.
    pub sealed: bool,
    /// Whether its content is the one that the seal speaks of.
    pub intact: bool,
}

/// A ScopedSecret, as its status tells it.
pub struct Told {
    /// Which.
    pub name: ObjectName,
    /// Its uid.
    pub uid: String,
    /// Conditions that are there, with their status.
    pub conditions: BTreeMap<String, String>,
}

/// A guarantee that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breach {
    /// The guarantee's number in the README.
    pub guarantee: u8,
    /// On which object.
    pub object: ObjectName,
    /// What is wrong.
    pub what: String,
}

/// Every breach in a cluster at rest. `segments` compares hard-to-guess values only; the world has no others.
pub fn breaches(world: &World, managed: &[Managed], told: &[Told], now: Timestamp) -> Vec<Breach> {
    let mut found = authorised(world, now);
    found.extend(one_owner(world, now));
    found.extend(one_segment(world, told, now));
    found.extend(no_theft_no_loss(world, managed, told));
    found.extend(truthful(managed, told));
    found
}

fn breach(guarantee: u8, object: &ObjectName, what: impl Into<String>) -> Breach {
    Breach { guarantee, object: object.clone(), what: what.into() }
}

/// 1: no Secret holds a key that no policy allows its namespace. 5: none outlasts its end.
fn authorised(world: &World, now: Timestamp) -> Vec<Breach> {
    let lost = |(name, held)| match retention(name, held, world, now) {
        Retention::Withdraw(refusal) => Some(breach(
            if refusal.reason.is_an_end() { 5 } else { 1 },
            name,
            format!("{}: {}", refusal.reason, refusal.message),
        )),
        Retention::Keep | Retention::Unknown(_) => None,
    };
    world.holdings().filter_map(lost).collect()
}

/// 2: a remote key belongs to one scope.
fn one_owner(world: &World, now: Timestamp) -> Vec<Breach> {
    let mut found = Vec::new();
    let holdings: BTreeMap<_, _> = world.holdings().collect();
    for (a, held) in &holdings {
        for key in held.keys() {
            for (b, _) in world.holdings_on(key).filter(|(b, _)| *a < b) {
                let level = level(world, a, b, key, now);
                let apart = match level {
                    Exclusivity::Workload => true,
                    Exclusivity::Namespace => a.namespace != b.namespace,
                    Exclusivity::Segment => segment(world, a) != segment(world, b),
                    Exclusivity::Unlimited => false,
                };
                if apart {
                    found.push(breach(2, a, format!("{key} is held by {b} as well ({level:?})")));
                }
            }
        }
    }
    found
}

/// 3: a hard-to-guess value that stands in two segments is found: the later one says so.
fn one_segment(world: &World, told: &[Told], now: Timestamp) -> Vec<Breach> {
    let says_so = |secret: &ObjectName, held: &Holding| {
        told.iter().any(|t| {
            t.name.namespace == secret.namespace
                && t.name.name == held.claim
                && t.conditions.get("Unique").is_some_and(|s| s == "False")
        })
    };
    let mut found = Vec::new();
    let holdings: BTreeMap<_, _> = world.holdings().collect();
    for (a, held) in &holdings {
        for (b, theirs) in held.fingerprints.iter().flat_map(|f| world.holdings_with(f)).filter(|(b, _)| *a < b) {
            let names = [&*a.namespace, &*b.namespace];
            let lifts = |p: &Policy, key: Option<&str>| p.lifts(ExceptedRule::UniqueValues, key, &names, now);
            let lifts_key = |p: &Policy, key: &CanonicalKey| {
                lifts(p, Some(key.as_str())) || key.aws_parts().is_some_and(|(.., name)| lifts(p, Some(name)))
            };
            // Which key a value is of is not known: every key of one of the two.
            let lifted = |p: &Policy| {
                lifts(p, None) || [held, theirs].iter().any(|side| side.keys().all(|key| lifts_key(p, key)))
            };
            let mut governing = policies(world, a).chain(policies(world, b));
            let judged = governing.any(|p| p.unique_within == Within::Segment && !lifted(p));
            if judged && segment(world, a) != segment(world, b) && !says_so(a, held) && !says_so(b, theirs) {
                found.push(breach(3, a, format!("it shares a value with {b}")));
            }
        }
        for (b, theirs) in held.marks.within().iter().flat_map(|f| world.holdings_with(f)) {
            let (names, keys) = ([&*a.namespace, &*b.namespace], || theirs.keys().chain(held.keys()));
            let lifted = |policy: &Arc<Policy>| {
                let keys = keys().filter_map(|key| key.aws_parts().map(|(_, _, name)| name));
                let copies = policy.lifts(ExceptedRule::Copies, None, &names[..1], now);
                keys.map(Some).chain([None]).any(|k| policy.lifts(ExceptedRule::UniqueValues, k, &names, now)) || copies
            };
            let judged = policies(world, b).any(|p| p.unique_within == Within::Segment && !lifted(p));
            if judged && segment(world, a) != segment(world, b) && !says_so(a, held) {
                found.push(breach(3, a, format!("it has a value of {b} inside")));
            }
        }
    }
    found
}

/// 6: what carries our label is ours and intact; what we projected belongs to a living ScopedSecret or is retained.
fn no_theft_no_loss(world: &World, managed: &[Managed], told: &[Told]) -> Vec<Breach> {
    let alive = |uid: &str| told.iter().any(|t| t.uid == uid);
    // After the loss of the seal key a Secret whose owner lives waits, unsealed, until its values are in hand again.
    let waits =
        |uid: &str| told.iter().any(|t| t.uid == uid && t.conditions.get("Synced").is_some_and(|s| s == "False"));
    let judge = |m: &Managed| {
        let retained = world.holding(&m.name).is_some_and(|h| h.retain);
        match &m.owner {
            Some(uid) if !m.sealed && waits(uid) => None,
            _ if !m.sealed => Some("it carries our label and no seal of ours"),
            _ if !m.intact => Some("its content is not what was projected"),
            None if !retained => Some("it has no owner and is not retained"),
            Some(uid) if !alive(uid) => Some("its owner is gone"),
            _ => None,
        }
        .map(|what| breach(6, &m.name, what))
    };
    managed.iter().filter_map(judge).collect()
}

/// Status tells the truth: what is Ready has its Secret; what is Stalled is not Ready.
fn truthful(managed: &[Managed], told: &[Told]) -> Vec<Breach> {
    let is = |t: &Told, kind: &str| t.conditions.get(kind).is_some_and(|s| s == "True");
    let judge = |t: &Told| {
        let owns = managed
            .iter()
            .any(|m| m.name.namespace == t.name.namespace && m.owner.as_deref().is_none_or(|uid| uid == t.uid));
        let what = match (is(t, "Ready"), is(t, "Stalled"), is(t, "Reconciling")) {
            (true, true, _) => "Ready and Stalled",
            (_, true, true) => "Stalled and Reconciling",
            (true, ..) if !owns => "Ready without a Secret",
            _ => return None,
        };
        Some(breach(6, &t.name, what))
    };
    told.iter().filter_map(judge).collect()
}

fn segment(world: &World, object: &ObjectName) -> Option<Segment> {
    segment_of(&object.namespace, world).ok()
}

fn policies<'w>(world: &'w World, object: &ObjectName) -> impl Iterator<Item = &'w Arc<Policy>> {
    let labels = world.namespaces.get(&object.namespace);
    let namespace = object.namespace.clone();
    world.policies.values().filter_map(move |state| match state {
        PolicyState::Known(policy) if labels.is_some_and(|l| policy.selects(&namespace, l)) => Some(policy),
        _ => None,
    })
}

/// The strictest level that the policies over both set for the key.
fn level(world: &World, a: &ObjectName, b: &ObjectName, key: &CanonicalKey, now: Timestamp) -> Exclusivity {
    let spaces = [&*a.namespace, &*b.namespace];
    let of = |p: &Arc<Policy>| {
        let lifted = world.names_of(key).any(|name| p.lifts(ExceptedRule::ExclusiveKeys, Some(name), &spaces, now));
        if lifted { Exclusivity::Unlimited } else { p.exclusive_keys }
    };
    policies(world, a).chain(policies(world, b)).map(of).min().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::*;
    use super::*;

    fn at_rest(world: &World) -> Vec<u8> {
        breaches(world, &[], &[], now()).into_iter().map(|b| b.guarantee).collect()
    }

    #[test]
    fn sees_each_breach() {
        let mut world = World::with_tenants();
        world.holds(claim("payments-prod", "a").of("payments/prod/db"), at(1));
        assert_eq!(at_rest(&world), [] as [u8; 0]);
        world.holds(claim("billing-prod", "thief").of("payments/prod/db"), at(2));
        assert_eq!(at_rest(&world), [1, 2]);
    }

    #[test]
    fn sees_what_is_not_ours_and_what_is_not_true() {
        let name = ObjectName::new("payments-prod", "a");
        let secret = Managed { name: name.clone(), owner: Some("u".into()), sealed: true, intact: false };
        let told = Told {
            name,
            uid: "u".into(),
            conditions: [("Ready", "True"), ("Stalled", "True")].map(|(k, v)| (k.into(), v.into())).into(),
        };
        let found = breaches(&World::with_tenants(), &[secret], &[told], now());
        assert_eq!(
            found.iter().map(|b| b.what.as_str()).collect::<Vec<_>>(),
            ["its content is not what was projected", "Ready and Stalled"]
        );
    }
}
