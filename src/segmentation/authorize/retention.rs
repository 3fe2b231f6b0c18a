//! What becomes of a Secret that stands when policies, or what they speak of, have changed.

use super::{Coverage, Form, Scope, Unscoped, View, expired, is_over, permit_in, rival_is_permitted, scope_of};
use crate::api::Reason;
use crate::api::policy::Action;
use crate::segmentation::key::CanonicalKey;
use crate::segmentation::policy::AllowEntry;
use crate::segmentation::verdict::Refusal;
use crate::segmentation::world::{Claim, Holding, ObjectName, VersionAsked};
use jiff::Timestamp;
use std::collections::BTreeSet;

/// What becomes of values that were projected while their claim was allowed, now that it is refused.
#[derive(Debug, Clone, PartialEq)]
pub enum Retention {
    /// Its keys are still allowed here (the claim was edited, or breaks a rule of form): the last good value stays.
    Keep,
    /// Policy does not allow its keys any more.
    Withdraw(Refusal),
    /// That cannot be told now.
    Unknown(Refusal),
}

/// Judges what a Secret holds, key by key, whatever its claim says by now.
pub fn retention<'w>(secret: &ObjectName, holding: &Holding, world: impl Into<View<'w>>, now: Timestamp) -> Retention {
    Standing::in_namespace(&secret.namespace, world, now).retention(secret, holding)
}

/// What stands in one namespace is judged by the same policies: they are looked up once.
pub struct Standing<'w> {
    world: View<'w>,
    scope: Result<Scope<'w>, Unscoped>,
    now: Timestamp,
}

const STORE_UNKNOWN: &str =
    "the store that reaches this key is gone, or its account is not known now; nothing is withdrawn until it is";

impl<'w> Standing<'w> {
    /// What stands in a namespace.
    pub fn in_namespace(namespace: &str, world: impl Into<View<'w>>, now: Timestamp) -> Self {
        let world = world.into();
        Self { world, scope: scope_of(namespace, world), now }
    }

    /// Judges what a Secret of the namespace holds.
    pub fn retention(&self, secret: &ObjectName, holding: &Holding) -> Retention {
        let (world, now) = (self.world, self.now);
        if is_over(holding.ends, now) {
            return Retention::Withdraw(expired(holding.ends));
        }
        // Likewise a leak.
        if holding.versions.iter().any(|version| world.revocations.revoke(version)) {
            let text = "the Secret held a version of a key that was revoked: it is projected again once the manager has a newer one";
            return Retention::Withdraw(Refusal::new(Reason::KeyRevoked, text));
        }
        let scope = match &self.scope {
            Ok(scope) => scope,
            Err(Unscoped::Refused(refusal)) => return Retention::Withdraw(refusal.clone()),
            Err(Unscoped::Undecided(refusal)) => return Retention::Unknown(refusal.clone()),
        };
        let claim = ObjectName::of(secret.namespace.clone(), holding.claim.clone());
        let claim = world.world.claim(&claim);
        let form = Form {
            has_consumers: holding.consumed,
            // Without its claim it is judged by its keys.
            retain: holding.retain && claim.is_some(),
            target_type: holding.target_type.as_deref(),
        };
        if let Some((reason, message)) = scope.breach_of_form(&form) {
            return Retention::Withdraw(Refusal { mode: scope.mode(), ..Refusal::new(reason, message) });
        }
        let needed = needed(holding);
        for key in holding.keys() {
            match scope.permits_canonical(key, needed, world) {
                Coverage::Covered => {}
                Coverage::Unknown => return Retention::Unknown(Refusal::new(Reason::AccountUnknown, STORE_UNKNOWN)),
                Coverage::Not => {
                    let text = format!(
                        "{} this namespace the key that its Secret holds, or not in this way; ask for another key, or for an allow entry",
                        scope.policies_that("no longer allows", "no longer allow")
                    );
                    return Retention::Withdraw(Refusal::new(Reason::KeyNotAllowed, text));
                }
            }
            if world.others_hold(key, secret) && self.loses(secret, holding, key, scope) {
                return Retention::Withdraw(Refusal::new(
                    Reason::KeyClaimed,
                    "another scope has owned this key for longer, and the policy lets one scope own a key",
                ));
            }
        }
        match claim.and_then(|claim| self.taken_back(claim, holding, scope)) {
            Some(refusal) => Retention::Withdraw(refusal),
            None => Retention::Keep,
        }
    }

    /// Whether somebody else has had a key for longer, and the rules let one scope own it.
    fn loses(&self, secret: &ObjectName, holding: &Holding, key: &CanonicalKey, scope: &Scope<'_>) -> bool {
        // Since when it has held the key is not known: nothing is taken for that.
        if holding.held_since == Timestamp::MAX {
            return false;
        }
        let excludes = |rival: &str| scope.excludes(key, key.as_str(), &secret.namespace, rival, self.world, self.now);
        self.world.holdings_on_in(key, excludes).any(|(rival, theirs)| {
            rival != secret
                && (self.world.held_since(rival, theirs), rival) < (self.world.held_since(secret, holding), secret)
                && rival_is_permitted(rival, key, self.world)
        })
    }

    /// A claim that asks for exactly what its Secret holds was not edited: if it is refused that, a policy took it back, even
    /// where another store would still be allowed the same key.
    fn taken_back(&self, claim: &Claim, holding: &Holding, scope: &Scope<'_>) -> Option<Refusal> {
        if is_over(claim.ends, self.now) || scope.covers_all_of(claim, self.world) {
            return None;
        }
        let asked: BTreeSet<CanonicalKey> = self.world.canonical_keys(claim).into_iter().collect();
        let held: BTreeSet<&CanonicalKey> = holding.keys().collect();
        let pinned = claim.asks.iter().any(|(_, version)| *version != VersionAsked::Current);
        if !asked.iter().eq(held) || pinned != holding.pinned {
            return None;
        }
        match permit_in(claim, scope, self.world) {
            Err(Unscoped::Refused(refusal))
                if matches!(refusal.reason, Reason::KeyNotAllowed | Reason::ActionNotAllowed) =>
            {
                Some(refusal)
            }
            _ => None,
        }
    }

    /// Whether a Secret of the namespace goes.
    pub fn withdraws(&self, secret: &ObjectName, holding: &Holding) -> bool {
        matches!(self.retention(secret, holding), Retention::Withdraw(_))
    }

    /// What the patterns here want as the last part of a key, where they do not take any.
    pub fn last_parts(&self) -> Vec<&str> {
        let Ok(scope) = &self.scope else { return Vec::new() };
        scope.entries().flat_map(|entry| &entry.patterns).filter_map(|pattern| pattern.last(scope.binding())).collect()
    }

    /// Whether the policies here ask for no more of the form of what stands than others do, whatever they allow.
    pub fn asks_no_more(&self, before: &Self) -> bool {
        matches!((&self.scope, &before.scope), (Ok(now), Ok(then)) if now.asks_no_more(then))
    }

    /// Whether one of these entries may have covered a key that a Secret holds.
    pub fn is_touched(&self, holding: &Holding, entries: &[AllowEntry]) -> bool {
        let Ok(scope) = &self.scope else { return true };
        let covered = |key| !matches!(scope.coverage(entries.iter(), key, self.world), Coverage::Not);
        holding.keys().any(covered)
    }
}

impl Scope<'_> {
    /// Whether the rules of form ask for no more than those of another scope.
    fn asks_no_more(&self, than: &Self) -> bool {
        let consumers = |scope: &Self| scope.policies.iter().any(|p| p.require_consumers);
        let retain = |scope: &Self| scope.policies.iter().all(|p| p.allow_retain);
        let allowed = |kind: &String| self.policies.iter().all(|p| p.target_types.contains(kind));
        let was = |kind: &&String| than.policies.iter().all(|p| p.target_types.contains(*kind));
        (consumers(than) || !consumers(self))
            && (retain(self) || !retain(than))
            && than.policies.iter().flat_map(|p| &p.target_types).filter(was).all(allowed)
    }
}

/// What must be allowed for what a Secret holds.
fn needed(holding: &Holding) -> Action {
    if holding.pinned { Action::ReadAnyVersion } else { Action::Read }
}
