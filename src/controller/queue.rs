//! The work queue: each object at most once at a time, two lanes, and times at which objects come due.
//!
//! What users wait for (a new object, a change) has a lane of its own and never waits behind refreshes.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;
use tokio::time::Instant;

/// Which lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// Somebody waits for it.
    Urgent,
    /// Refreshes and retries.
    Routine,
}

/// A time this little after one that is set already is the same time.
const SAME_TIME: std::time::Duration = std::time::Duration::from_millis(500);

/// A queue of keys.
pub struct Queue<K> {
    inner: Mutex<Inner<K>>,
    changed: Notify,
}

struct Inner<K> {
    urgent: VecDeque<K>,
    routine: VecDeque<K>,
    /// The lane in which a key waits now.
    waiting: HashMap<K, Lane>,
    running: HashSet<K>,
    /// Came again while it was running.
    again: HashMap<K, Lane>,
    timers: BinaryHeap<Reverse<(Instant, K)>>,
    /// The one time that counts for a key; other timers of it are void.
    due: HashMap<K, Instant>,
}

impl<K: Clone + Eq + Hash + Ord> Default for Queue<K> {
    fn default() -> Self {
        let inner = Inner {
            urgent: VecDeque::new(),
            routine: VecDeque::new(),
            waiting: HashMap::new(),
            running: HashSet::new(),
            again: HashMap::new(),
            timers: BinaryHeap::new(),
            due: HashMap::new(),
        };
        Self { inner: Mutex::new(inner), changed: Notify::new() }
    }
}

impl<K: Clone + Eq + Hash + Ord> Queue<K> {
    /// Adds a key now. One that runs is run again afterwards; one that waits moves to the more urgent lane.
    pub fn add(&self, key: K, lane: Lane) {
        self.lock().add(key, lane);
        self.changed.notify_waiters();
    }

    /// Lets a key come due at a time, instead of any time set before.
    pub fn add_at(&self, key: K, at: Instant) {
        self.lock().set_timer(key, at);
        self.changed.notify_waiters();
    }

    /// Takes away any time that was set for a key.
    pub fn forget(&self, key: &K) {
        self.lock().due.remove(key);
    }

    /// The next key of a lane. It counts as running until [`Queue::done`].
    pub async fn next(&self, lane: Lane) -> K {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let timer = {
                let mut inner = self.lock();
                inner.release_due(Instant::now());
                if let Some(key) = inner.take(lane) {
                    return key;
                }
                inner.timers.peek().map(|Reverse((at, _))| *at)
            };
            match timer {
                Some(at) => {
                    tokio::select! {
                        () = tokio::time::sleep_until(at) => {}
                        () = changed => {}
                    }
                }
                None => changed.await,
            }
        }
    }

    /// Says that a key no longer runs.
    pub fn done(&self, key: &K) {
        let mut inner = self.lock();
        inner.running.remove(key);
        if let Some(lane) = inner.again.remove(key) {
            inner.add(key.clone(), lane);
            drop(inner);
            self.changed.notify_waiters();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner<K>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Clone + Eq + Hash + Ord> Inner<K> {
    fn add(&mut self, key: K, lane: Lane) {
        if self.running.contains(&key) {
            let kept = self.again.get(&key).map_or(lane, |old| lane.min(*old));
            self.again.insert(key, kept);
            return;
        }
        match self.waiting.get(&key) {
            Some(old) if *old <= lane => return,
            _ => {}
        }
        self.waiting.insert(key.clone(), lane);
        match lane {
            Lane::Urgent => self.urgent.push_back(key),
            Lane::Routine => self.routine.push_back(key),
        }
    }

    fn set_timer(&mut self, key: K, at: Instant) {
        let close = |old: &Instant| *old <= at && at.duration_since(*old) < SAME_TIME;
        if self.due.get(&key).is_some_and(close) {
            return;
        }
        self.due.insert(key.clone(), at);
        self.timers.push(Reverse((at, key)));
        if self.timers.len() > 2 * self.due.len() + 64 {
            let due = &self.due;
            self.timers.retain(|Reverse((at, key))| due.get(key) == Some(at));
        }
    }

    fn release_due(&mut self, now: Instant) {
        while let Some(Reverse((at, _))) = self.timers.peek() {
            if *at > now {
                break;
            }
            let Some(Reverse((at, key))) = self.timers.pop() else { break };
            if self.due.get(&key) == Some(&at) {
                self.due.remove(&key);
                self.add(key, Lane::Routine);
            }
        }
    }

    /// Once a burst is worked off, its room goes.
    fn give_back(&mut self) {
        const SMALL: usize = 256;
        if self.waiting.is_empty() && self.waiting.capacity() > 2 * SMALL {
            self.waiting.shrink_to(SMALL);
            self.urgent.clear();
            self.urgent.shrink_to(SMALL);
            self.routine.clear();
            self.routine.shrink_to(SMALL);
        }
    }

    fn take(&mut self, lane: Lane) -> Option<K> {
        loop {
            let key = match lane {
                Lane::Urgent => self.urgent.pop_front()?,
                Lane::Routine => self.routine.pop_front()?,
            };
            // A key that moved to the other lane left a copy behind.
            if self.waiting.get(&key) == Some(&lane) {
                self.waiting.remove(&key);
                self.running.insert(key.clone());
                self.give_back();
                return Some(key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn urgent_work_never_waits_behind_refreshes() {
        let queue = Queue::default();
        (0..1_000).for_each(|i| queue.add(i, Lane::Routine));
        queue.add(5_000, Lane::Urgent);
        assert_eq!(queue.next(Lane::Urgent).await, 5_000);
        queue.add(7, Lane::Urgent);
        assert_eq!(queue.next(Lane::Urgent).await, 7, "it moves over");
        for expected in [0, 1, 2, 3, 4, 5, 6, 8] {
            assert_eq!(queue.next(Lane::Routine).await, expected);
        }
    }

    #[tokio::test]
    async fn a_running_key_comes_once_more_afterwards() {
        let queue = Queue::default();
        queue.add("a", Lane::Urgent);
        queue.add("a", Lane::Urgent);
        assert_eq!(queue.next(Lane::Urgent).await, "a");
        queue.add("a", Lane::Routine);
        assert!(tokio::time::timeout(Duration::from_millis(20), queue.next(Lane::Routine)).await.is_err());
        queue.done(&"a");
        assert_eq!(queue.next(Lane::Routine).await, "a");
    }

    #[tokio::test]
    async fn the_last_time_set_counts() {
        let queue = Queue::default();
        let start = Instant::now();
        queue.add_at("a", start + Duration::from_secs(600));
        queue.add_at("a", start + Duration::from_millis(60));
        assert_eq!(queue.next(Lane::Routine).await, "a");
        assert!(start.elapsed() >= Duration::from_millis(60));
    }

    #[tokio::test]
    async fn void_timers_do_not_pile_up() {
        let queue = Queue::default();
        let start = Instant::now();
        (0..10_000u64).for_each(|i| queue.add_at("a", start + Duration::from_secs(3600 + i * 10)));
        assert!(queue.lock().timers.len() < 100);
    }
}
