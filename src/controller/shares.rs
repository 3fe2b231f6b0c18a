//! Shares of a lane: a store whose manager hangs leaves room for the others. Pure.

use crate::provider::batcher::BATCH_LIMIT;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// So many that wait are admitted together, since a call to a manager fetches as many keys: one by one, each would be a call.
const TOGETHER: usize = BATCH_LIMIT;

/// Who works on what, and what waits for its store's turn.
pub struct Shares<J> {
    limit: usize,
    stores: HashMap<Arc<str>, Share<J>>,
}

struct Share<J> {
    busy: usize,
    aside: VecDeque<J>,
}

impl<J> Shares<J> {
    /// Each store may have so many at once.
    pub fn new(limit: usize) -> Self {
        Self { limit, stores: HashMap::new() }
    }

    /// Gives the job back if it may run now; else it is put aside until another of its store is done.
    pub fn admit(&mut self, store: &Arc<str>, job: J) -> Option<J> {
        let share = self.stores.entry(store.clone()).or_insert(Share { busy: 0, aside: VecDeque::new() });
        if share.busy >= self.limit || !share.aside.is_empty() {
            share.aside.push_back(job);
            return None;
        }
        share.busy += 1;
        Some(job)
    }

    /// One of this store is done; those that may run in the place of what is done by now, if enough is.
    pub fn done(&mut self, store: &Arc<str>) -> Vec<J> {
        let Some(share) = self.stores.get_mut(store) else { return Vec::new() };
        share.busy = share.busy.saturating_sub(1);
        let (room, waiting) = (self.limit - share.busy, share.aside.len());
        if room < TOGETHER.min(waiting).min(self.limit) {
            return Vec::new();
        }
        let next: Vec<J> = share.aside.drain(..room.min(waiting)).collect();
        share.busy += next.len();
        if share.busy == 0 {
            self.stores.remove(store);
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_hangs_leaves_room_for_the_others() {
        let (hangs, well): (Arc<str>, Arc<str>) = ("hangs".into(), "well".into());
        let mut shares = Shares::new(2);
        let admitted: Vec<_> = (0..5).filter_map(|job| shares.admit(&hangs, job)).collect();
        assert_eq!(admitted, [0, 1]);
        assert_eq!(shares.admit(&well, 9), Some(9));
        // In their order, as many as there is room for.
        let done: Vec<_> = (0..5).map(|_| shares.done(&hangs)).collect();
        assert_eq!(done, [vec![], vec![2, 3], vec![4], vec![], vec![]]);
        assert!(!shares.stores.contains_key(&hangs), "nothing is kept of what rests");
        assert_eq!(shares.admit(&hangs, 7), Some(7));
    }

    #[test]
    fn who_waits_comes_in_full_batches() {
        let (store, mut shares) = (Arc::from("aws"), Shares::new(3 * TOGETHER));
        let admitted = (0..5 * TOGETHER).filter_map(|job| shares.admit(&store, job)).count();
        assert!((1..TOGETHER).all(|_| shares.done(&store).is_empty()));
        assert_eq!(shares.admit(&store, 0), None, "a newcomer is behind those who wait");
        let mut batches: Vec<usize> = (0..admitted).map(|_| shares.done(&store).len()).collect();
        batches.retain(|batch| *batch > 0);
        assert_eq!(batches, [TOGETHER, TOGETHER, 1]);
    }
}
