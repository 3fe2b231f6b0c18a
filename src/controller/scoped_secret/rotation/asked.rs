//! What the manager was asked for, by key: whichever ScopedSecret asks, and however often it is edited or made anew, a function that
//! comes to nothing is not run again at once. Losing it, with the process, costs one run.

use crate::rotation::slot::Trigger;
use crate::segmentation::key::CanonicalKey;
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What was asked for one key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Asked {
    /// When the manager's own rotation was last asked for, or seen under way, and nothing has come of it yet.
    pub(super) at: Option<Timestamp>,
    /// So many attempts at each the manager has taken for its own rotation.
    pub(super) taken: BTreeMap<Trigger, usize>,
}

/// What was asked for every key.
#[derive(Default)]
pub struct AskedOf(Mutex<HashMap<CanonicalKey, Asked>>);

/// What was asked so long ago holds up nothing any more.
const FORGOTTEN: SignedDuration = SignedDuration::from_hours(1);

impl AskedOf {
    pub(super) fn of(&self, key: &CanonicalKey) -> Asked {
        self.all().get(key).cloned().unwrap_or_default()
    }

    pub(super) fn put(&self, key: &CanonicalKey, asked: Asked, now: Timestamp) {
        let mut all = self.all();
        all.insert(key.clone(), asked);
        // The attempts that were taken count for as long as what they were for is due, however long ago that was.
        all.retain(|_, asked| {
            asked.at = asked.at.filter(|at| now.duration_since(*at).abs() < FORGOTTEN);
            *asked != Asked::default()
        });
    }

    fn all(&self) -> MutexGuard<'_, HashMap<CanonicalKey, Asked>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segmentation::fixtures::at;

    #[test]
    fn it_is_kept_by_key_for_an_hour() {
        let key = |name: &str| CanonicalKey::from_sealed(&format!("aws:123456789012:eu-west-1:{name}"));
        let (all, asked) = (AskedOf::default(), |then| Asked { at: Some(at(then)), ..Asked::default() });
        all.put(&key("a"), asked(0), at(0));
        all.put(&key("b"), asked(600), at(600));
        assert_eq!((all.of(&key("a")), all.of(&key("b"))), (asked(0), asked(600)));
        all.put(&key("b"), Asked::default(), at(700));
        assert_eq!((all.of(&key("a")), all.of(&key("b"))), (asked(0), Asked::default()));
        let taken = BTreeMap::from([(Trigger::Grant("a".into()), 1)]);
        all.put(&key("b"), Asked { taken: taken.clone(), ..asked(700) }, at(700));
        all.put(&key("c"), asked(5_000), at(5_000));
        assert_eq!(all.of(&key("a")), Asked::default());
        assert_eq!(all.of(&key("b")), Asked { at: None, taken }, "what was taken is taken");
        assert_eq!(all.all().len(), 2);
    }
}
