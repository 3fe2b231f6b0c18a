//! Shares of a lane: a store whose manager hangs leaves room for the others. Pure.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

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
        if share.busy >= self.limit {
            share.aside.push_back(job);
            return None;
        }
        share.busy += 1;
        Some(job)
    }

    /// One of this store is done; the one that may run in its place, if any waits.
    pub fn done(&mut self, store: &Arc<str>) -> Option<J> {
        let share = self.stores.get_mut(store)?;
        let next = share.aside.pop_front();
        if next.is_none() {
            share.busy = share.busy.saturating_sub(1);
        }
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
        // In their order, one for one.
        assert_eq!([shares.done(&hangs), shares.done(&hangs), shares.done(&hangs)], [Some(2), Some(3), Some(4)]);
        assert_eq!([shares.done(&hangs), shares.done(&hangs)], [None, None]);
        assert!(!shares.stores.contains_key(&hangs), "nothing is kept of what rests");
        assert_eq!(shares.admit(&hangs, 7), Some(7));
    }
}
