//! Changes of policies that admission let through a moment ago, before the watch has shown them, and deletions that somebody's
//! finalizer holds up. Two that each leave the claims to the other (one policy is deleted, and so is the one that allows the same)
//! must not both pass.

use crate::segmentation::policy::Policy;
use crate::segmentation::world::PolicyState;
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;
use std::sync::Arc;

/// So long a watch may take. A change that was let through and then not written is forgotten by then.
const WATCH_LAG: SignedDuration = SignedDuration::from_secs(10);

/// By policy, when it was let through and what the policy becomes; None: it goes.
#[derive(Debug, Default)]
pub struct Coming(BTreeMap<String, (Timestamp, Option<Arc<Policy>>)>);

impl Coming {
    /// Takes in a change that may be written now. One that is new counts once it is seen: it may not be written, and what another
    /// leaves to it would be lost.
    pub fn note(&mut self, name: &str, was_there: bool, becomes: Option<Arc<Policy>>, now: Timestamp) {
        self.0.remove(name);
        if was_there {
            self.0.insert(name.to_owned(), (now, becomes));
        }
    }

    /// The policies as they may be in a moment, without those that are being deleted already; None: as they are.
    pub fn over<'p>(
        &mut self,
        policies: &BTreeMap<String, PolicyState>,
        going: impl Iterator<Item = &'p str>,
        now: Timestamp,
    ) -> Option<BTreeMap<String, PolicyState>> {
        self.0.retain(|_, (then, _)| now.duration_since(*then) < WATCH_LAG);
        let mut all = policies.clone();
        going.for_each(|name| drop(all.remove(name)));
        for (name, (_, becomes)) in &self.0 {
            match (becomes, all.contains_key(name)) {
                (Some(policy), true) => drop(all.insert(name.clone(), PolicyState::Known(policy.clone()))),
                _ => drop(all.remove(name)),
            }
        }
        (all != *policies).then_some(all)
    }
}
