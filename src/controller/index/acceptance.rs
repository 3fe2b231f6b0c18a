//! Withdrawals that wait for somebody's word, and how far the words are that were given (the annotation accept-violations).

use super::{Index, PolicyFacts, state_of};
use crate::api::Reason;
use crate::segmentation::authorize::{Retention, View, retention};
use crate::segmentation::policy::Policy;
use crate::segmentation::verdict::Refusal;
use crate::segmentation::world::{Holding, ObjectName};
use jiff::Timestamp;
use std::collections::BTreeMap;

/// How far a number is that somebody accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Acceptance {
    /// It counts for the change that it came with.
    Fresh,
    /// Something is withdrawn by it.
    Serving,
    /// It came alone, and nothing was withdrawn by it; it counts for the policy's deletion, which cannot bring one.
    Settled,
    /// It has served.
    Spent,
}

/// A withdrawal that is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Withdrawal<'a> {
    /// How many there are for the same cause.
    pub count: usize,
    /// Why.
    pub why: &'a Refusal,
    /// Since when what is to go has been there, if that is known.
    pub since: Option<Timestamp>,
    /// Whether it was told that it waits for somebody's word.
    pub waits: bool,
}

/// What [`Index::settled_acceptances`] found.
#[derive(Debug)]
pub struct Settled {
    causes: u64,
    over: BTreeMap<String, (String, Acceptance)>,
}

impl Index {
    /// The Secrets that policy wants taken away now.
    pub fn withdrawals(&self, now: Timestamp) -> usize {
        withdrawals((&self.world).into(), now)
    }

    /// Whether so many withdrawals may go ahead: few may, many only if somebody accepted that number for this change. Where
    /// the policies may have gone with their kind, the first that comes back is no word on what the others allowed, nor is a number that
    /// it brings along. One that waits already goes on waiting, however few are left of its kind.
    pub fn may_withdraw(&self, ask: &Withdrawal<'_>) -> bool {
        if ask.why.reason.is_an_end() {
            return true;
        }
        let older = self.policies_since.is_some_and(|made| ask.since.is_none_or(|since| since < made));
        let doubtful = older && ask.why.reason.is_of_scope();
        let few = ask.count <= pause_threshold(self.world.holdings().count());
        (few && !doubtful && !ask.waits) || self.accepts(ask.count, doubtful)
    }

    /// Whether somebody accepted so many withdrawals for this change; in doubt, by a number that was seen to be set.
    fn accepts(&self, count: usize, doubtful: bool) -> bool {
        let accepted = self.policies.iter().any(|(name, policy)| {
            let Some(value) = &policy.accept else { return false };
            value.parse::<usize>().is_ok_and(|n| n >= count)
                && (policy.set || !doubtful)
                && self.acceptance(name, policy, value) <= Acceptance::Serving
        });
        accepted || self.accepted_deletion.is_some_and(|n| n >= count)
    }

    /// How far an acceptance is: as this process knows, and as was recorded.
    fn acceptance(&self, name: &str, policy: &PolicyFacts, value: &str) -> Acceptance {
        let known = self.acceptances.get(name).filter(|(known, _)| known == value).map(|(_, how)| *how);
        let recorded = policy.accepted.as_ref().filter(|a| a.value == value).map(|a| match a {
            a if a.spent || a.generation != policy.generation => Acceptance::Spent,
            a if a.settled => Acceptance::Settled,
            _ => Acceptance::Fresh,
        });
        known.max(recorded).unwrap_or(Acceptance::Fresh)
    }

    /// How far what a policy's annotation accepts is, as this process knows.
    pub fn acceptance_of(&self, name: &str, value: &str) -> Acceptance {
        self.policies.get(name).map_or(Acceptance::Fresh, |policy| self.acceptance(name, policy, value))
    }

    /// Whether the annotation of a policy, in this generation, speaks for its deletion, which cannot bring one: it was set for that, alone.
    /// What came with a change was for that change.
    pub fn accepts_deletion(&self, name: &str, value: &str, generation: i64) -> bool {
        match self.policies.get(name) {
            Some(known) if known.accept.as_deref() == Some(value) => match self.acceptance(name, known, value) {
                Acceptance::Fresh | Acceptance::Serving => known.alone,
                Acceptance::Settled => true,
                Acceptance::Spent => false,
            },
            // It was set a moment ago.
            Some(known) => known.generation == generation,
            None => false,
        }
    }

    /// Whether what a policy accepts, as it comes, has something to withdraw: more than without it, or what waits already. Looks at
    /// every holding, and changes nothing: see [`Self::put_policy`].
    pub fn acceptance_serves(
        &self,
        name: &str,
        policy: &Result<Policy, String>,
        facts: &PolicyFacts,
        now: Timestamp,
    ) -> bool {
        let known = self.policies.get(name).and_then(|policy| policy.accept.as_ref());
        if !self.secrets_synced || facts.accept.is_none() || facts.accept.as_ref() == known {
            return false;
        }
        let before = self.withdrawals(now);
        let mut policies = self.world.policies.clone();
        policies.insert(name.to_owned(), state_of(policy.clone()));
        let after = || withdrawals(View::under(&self.world, &policies), now);
        before > pause_threshold(self.world.holdings().count()) || after() > before
    }

    /// Once nothing is left to withdraw, what was accepted for a change is over with it: the policies that it was on, and how
    /// far what each accepts is then. Looks at every holding, and changes nothing: see [`Self::settle`].
    pub fn settled_acceptances(&self, now: Timestamp) -> Option<Settled> {
        let ended = |(name, policy): (&String, &PolicyFacts)| {
            let value = policy.accept.clone()?;
            let how = match self.acceptance(name, policy, &value) {
                Acceptance::Fresh if policy.alone => Acceptance::Settled,
                Acceptance::Fresh | Acceptance::Serving => Acceptance::Spent,
                Acceptance::Settled | Acceptance::Spent => return None,
            };
            Some((name.clone(), (value, how)))
        };
        let over: BTreeMap<_, _> = self.policies.iter().filter_map(ended).collect();
        if over.is_empty() && self.accepted_deletion.is_none() {
            return None;
        }
        // What cannot be told now may turn out to be withdrawn by it; what can never be told holds nothing up.
        let account_pending = self.world.stores.values().any(|store| store.realm().is_none());
        let open = |(name, held)| match retention(name, held, &self.world, now) {
            Retention::Keep => false,
            Retention::Withdraw(_) => true,
            Retention::Unknown(why) => why.reason == Reason::PolicyUnknown || account_pending,
        };
        (!self.world.holdings().any(open)).then_some(Settled { causes: self.causes, over })
    }

    /// Takes down what was found to be over, unless something that may cause withdrawals has changed since. The policies.
    pub fn settle(&mut self, settled: Settled) -> Vec<String> {
        if settled.causes != self.causes {
            return Vec::new();
        }
        self.accepted_deletion = None;
        let policies = &self.policies;
        self.acceptances
            .retain(|name, (value, _)| policies.get(name).is_some_and(|p| p.accept.as_ref() == Some(value)));
        let names = settled.over.keys().cloned().collect();
        self.acceptances.extend(settled.over);
        names
    }
}

/// The Secrets that policies want taken away; ends are not their word.
fn withdrawals(view: View<'_>, now: Timestamp) -> usize {
    let withdrawn = |(name, held): &(&ObjectName, &Holding)| match retention(name, held, view, now) {
        Retention::Withdraw(why) => !why.reason.is_an_end(),
        Retention::Keep | Retention::Unknown(_) => false,
    };
    view.holdings().filter(withdrawn).count()
}

/// More withdrawals than this for one cause wait for somebody: ten, or one in twenty.
pub fn pause_threshold(holdings: usize) -> usize {
    (holdings / 20).max(10)
}
