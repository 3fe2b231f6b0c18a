//! Who is connected, and who goes when there is no room: the idlest stranger, at once; else the idlest of all.

use super::server::Limits;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// The open connections.
pub(super) struct Crowd {
    limit: usize,
    open: Arc<Mutex<Open>>,
}

#[derive(Default)]
struct Open {
    next: u64,
    activities: HashMap<u64, Arc<Activity>>,
}

/// One connection's place; it is free again when this is dropped.
pub(super) struct Seat {
    id: u64,
    activity: Arc<Activity>,
    open: Arc<Mutex<Open>>,
}

/// What one connection does.
pub(super) struct Activity {
    state: Mutex<State>,
    evict: Notify,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct State {
    /// Requests in flight.
    busy: usize,
    /// Whether it ever had a good answer.
    known: bool,
    /// Whether it ever sent a complete head.
    spoke: bool,
    /// When it was opened, or when its last request ended.
    since: Instant,
}

impl Crowd {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, open: Arc::default() }
    }

    /// A place for a newcomer; None if everyone there is busy, or known and was busy a moment ago.
    pub(super) fn admit(&self, now: Instant) -> Option<Seat> {
        let mut open = lock(&self.open);
        if open.activities.len() >= self.limit {
            let states = open.activities.iter().map(|(id, activity)| (*id, *lock(&activity.state)));
            let leaver = idlest(states, now)?;
            let leaver = open.activities.remove(&leaver)?;
            leaver.evict.notify_one();
        }
        let state = State { busy: 0, known: false, spoke: false, since: now };
        let activity = Arc::new(Activity { state: Mutex::new(state), evict: Notify::new() });
        let id = open.next;
        open.next += 1;
        open.activities.insert(id, activity.clone());
        Some(Seat { id, activity, open: self.open.clone() })
    }
}

/// So long may who had a good answer rest undisturbed: one good answer is no right to a place for ever.
const REST: Duration = Duration::from_secs(1);

/// Who has been without a request longest; strangers before those that had a good answer.
fn idlest(states: impl Iterator<Item = (u64, State)>, now: Instant) -> Option<u64> {
    let may_go = |state: &State| !state.known || now.saturating_duration_since(state.since) > REST;
    let idle = states.filter(|(_, state)| state.busy == 0 && may_go(state));
    idle.min_by_key(|(_, state)| (state.known, state.since)).map(|(id, _)| id)
}

impl Seat {
    pub(super) fn activity(&self) -> Arc<Activity> {
        self.activity.clone()
    }

    /// Waits until its place is given to another.
    pub(super) async fn evicted(&self) {
        self.activity.evict.notified().await;
    }

    /// How long until it is worth looking again whether it is idle.
    pub(super) fn patience(&self, limits: &Limits, now: Instant) -> Duration {
        let state = *lock(&self.activity.state);
        let busy = if state.busy > 0 { limits.head } else { Duration::ZERO };
        state.allowed(limits).saturating_sub(now.saturating_duration_since(state.since)).max(busy)
    }

    /// Whether it has been without a request for longer than it may.
    pub(super) fn is_idle(&self, limits: &Limits, now: Instant) -> bool {
        let state = *lock(&self.activity.state);
        state.busy == 0 && now.saturating_duration_since(state.since) >= state.allowed(limits)
    }
}

impl State {
    fn allowed(&self, limits: &Limits) -> Duration {
        if self.spoke { limits.idle } else { limits.handshake + limits.head }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        lock(&self.open).activities.remove(&self.id);
    }
}

/// A request in flight.
pub(super) struct Busy(Arc<Activity>);

impl Activity {
    pub(super) fn begin(self: &Arc<Self>) -> Busy {
        let mut state = lock(&self.state);
        state.busy += 1;
        state.spoke = true;
        Busy(self.clone())
    }
}

impl Busy {
    /// It was answered, well or not.
    pub(super) fn done(self, well: bool) {
        lock(&self.0.state).known |= well;
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut state = lock(&self.0.state);
        state.busy -= 1;
        state.since = Instant::now();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_idlest_stranger_goes() {
        let start = Instant::now();
        let state = |busy, known, since| State { busy, known, spoke: known, since: start + Duration::from_secs(since) };
        for (what, states, leaver) in [
            ("nobody there", vec![], None),
            ("all busy", vec![state(1, false, 0), state(2, true, 0)], None),
            ("known, and at rest for a moment", vec![state(0, true, 9)], None),
            ("known, and at rest for long", vec![state(0, true, 8), state(0, true, 7)], Some(1)),
            ("the oldest", vec![state(0, false, 5), state(0, false, 3), state(0, false, 4)], Some(1)),
            ("a stranger before one that is known", vec![state(0, true, 0), state(0, false, 9)], Some(1)),
        ] {
            assert_eq!(idlest((0..).zip(states), start + Duration::from_secs(10)), leaver, "{what}");
        }
    }

    #[test]
    fn a_place_is_free_again() {
        let crowd = Crowd::new(1);
        let now = Instant::now();
        let seat = crowd.admit(now).unwrap();
        let busy = seat.activity().begin();
        assert!(crowd.admit(now).is_none(), "the only place is busy");
        busy.done(true);
        assert!(crowd.admit(now).is_none(), "and then known");
        drop(seat);
        assert!(crowd.admit(now).is_some());
    }
}
