//! Which rotations are asked for beside the schedule and rotate-at, and which of them were made.
//!
//! In memory alone. Whoever adds a trigger keeps what it came from where it outlives a crash (the seal's template hashes, the
//! Role of a grant), adds it again after a restart, and takes that away only once the trigger is [`State::Done`].

use super::slot::Trigger;
use crate::segmentation::world::ObjectName;
use std::collections::{BTreeMap, HashMap};

/// How far a trigger is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The key is still to be rotated for it.
    Pending,
    /// The key was rotated for it, and the Secret has the new value.
    Done,
}

/// The triggers of all claims.
#[derive(Debug, Default)]
pub struct Triggers(HashMap<ObjectName, BTreeMap<Trigger, State>>);

/// So many triggers of one claim wait: a tenant who makes thousands of grants pays for them himself. Whoever adds one that
/// is not taken tries again later.
const LIMIT: usize = 64;

impl Triggers {
    /// Asks for a rotation; false if it is asked for already, was made, or there are too many. Queue the claim if true.
    pub fn add(&mut self, claim: &ObjectName, trigger: Trigger) -> bool {
        let of_claim = self.0.entry(claim.clone()).or_default();
        let waiting = of_claim.values().filter(|state| **state == State::Pending).count();
        if of_claim.contains_key(&trigger) || waiting >= LIMIT {
            return false;
        }
        of_claim.insert(trigger, State::Pending);
        true
    }

    /// How far a trigger is; None: it is not known.
    pub fn state(&self, claim: &ObjectName, trigger: &Trigger) -> Option<State> {
        self.0.get(claim)?.get(trigger).copied()
    }

    /// Those that the key is still to be rotated for, in a fixed order.
    pub fn pending(&self, claim: &ObjectName) -> impl Iterator<Item = &Trigger> {
        let of_claim = self.0.get(claim).into_iter().flatten();
        of_claim.filter(|(_, state)| **state == State::Pending).map(|(trigger, _)| trigger)
    }

    /// The key was rotated for it.
    pub fn done(&mut self, claim: &ObjectName, trigger: &Trigger) {
        if let Some(state) = self.0.get_mut(claim).and_then(|of_claim| of_claim.get_mut(trigger)) {
            *state = State::Done;
        }
    }

    /// What it came from is settled, or is no more.
    pub fn remove(&mut self, claim: &ObjectName, trigger: &Trigger) {
        if let Some(of_claim) = self.0.get_mut(claim) {
            of_claim.remove(trigger);
            if of_claim.is_empty() {
                self.0.remove(claim);
            }
        }
    }

    /// The claim is gone, or its rotation is.
    pub fn forget(&mut self, claim: &ObjectName) {
        self.0.remove(claim);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trigger_is_pending_until_it_is_done() {
        let claim = ObjectName::new("payments-prod", "orders");
        let grant = |uid: &str| Trigger::Grant(uid.into());
        let mut all = Triggers::default();
        assert!(all.add(&claim, grant("a")) && !all.add(&claim, grant("a")));
        assert_eq!(all.pending(&claim).collect::<Vec<_>>(), [&grant("a")]);
        all.done(&claim, &grant("a"));
        all.done(&claim, &grant("b"));
        assert_eq!(all.state(&claim, &grant("a")), Some(State::Done));
        assert_eq!(all.state(&claim, &grant("b")), None);
        assert_eq!(all.pending(&claim).count(), 0);
        assert!(!all.add(&claim, grant("a")), "not again for the same");
        all.remove(&claim, &grant("a"));
        assert!(all.0.is_empty());
        let taken = (0..100).filter(|n| all.add(&claim, grant(&n.to_string()))).count();
        assert_eq!(taken, LIMIT);
        assert_eq!(all.pending(&claim).count(), LIMIT);
        all.forget(&claim);
        assert!(all.0.is_empty());
    }
}
