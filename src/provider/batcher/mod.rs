//! Turns many asks into few calls.
//!
//! Asks that arrive within [`WINDOW`] share calls of up to [`BATCH_LIMIT`] keys (an incomplete batch waits a little longer
//! while others are under way, or more asks keep coming); equal asks in flight share one answer. A call that fails because of
//! one key is bisected (see `resolve`), and that key is asked alone until it succeeds, so that the search is paid once.
//! Cost: n asks at once are ⌈n / 20⌉ calls, four at a time.
//!
//! A write ends an era: asks that are made after it share no flight with those from before, whatever key it was of, since one
//! key has two names. What still waits to be sent is read after the write in any case.
//!
//! Needs a tokio runtime when a fetch is first polled. The work runs in tasks of its own, so that whoever gives up
//! waiting takes nothing from the others; an ask that nobody waits for any more is dropped before it is sent.

mod resolve;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::Instant;

use super::{Answer, Ask, FetchError, VersionRef};

/// How long an ask waits for company.
pub const WINDOW: Duration = Duration::from_millis(10);
/// How long an incomplete batch waits for more, at most: while other calls are under way its asks would hardly be served
/// sooner, and while more come in each window it is about to be full.
const PATIENCE: Duration = Duration::from_millis(100);
/// Keys in one call: BatchGetSecretValue takes "up to 20 secrets" in SecretIdList (AWS API reference).
pub const BATCH_LIMIT: usize = 20;
/// Calls at the same time, for one identity in one region.
const CALLS_AT_ONCE: usize = 4;
/// How long a key, or all of them, are asked alone after it turned out that only single calls are allowed for them.
const BATCHING_REFUSED_FOR: Duration = Duration::from_secs(600);
/// Keys remembered as asked alone; beyond it the memory starts anew, at the price of bisecting again.
const ALONE_LIMIT: usize = 4_096;

/// What an ask comes to.
pub type Outcome = Result<Arc<Answer>, FetchError>;

/// One page of a batch's answer.
#[derive(Default)]
pub struct Page {
    /// The secrets that were found.
    pub answers: Vec<Answer>,
    /// Keys, as they were asked, that failed on their own.
    pub failures: Vec<(String, FetchError)>,
    /// Entries that do not even say whose they are.
    pub nameless: usize,
    /// Asks for the next page.
    pub next: Option<String>,
}

/// The two calls of a secrets manager that a [`Batcher`] needs.
pub trait BatchSource: Send + Sync + 'static {
    /// The current versions of up to [`BATCH_LIMIT`] keys; `next` continues an earlier page.
    fn batch<'a>(&'a self, ids: &'a [String], next: Option<String>) -> BoxFuture<'a, Result<Page, FetchError>>;

    /// Any version of one key.
    fn single<'a>(&'a self, ask: &'a Ask) -> BoxFuture<'a, Result<Answer, FetchError>>;
}

/// Batches, single-flights and bounds the calls to one [`BatchSource`].
pub struct Batcher<S> {
    desk: Arc<Desk<S>>,
}

impl<S: BatchSource> Batcher<S> {
    /// One per identity and region.
    pub fn new(source: S) -> Self {
        let calls = Semaphore::new(CALLS_AT_ONCE);
        Self { desk: Arc::new(Desk { source, calls, queue: Mutex::default() }) }
    }

    /// Waits for the ask's answer, together with everybody who asks the same.
    pub async fn fetch(&self, ask: Ask) -> Outcome {
        let answer = self.desk.join(ask);
        answer.await.unwrap_or_else(|_| Err(interrupted()))
    }

    /// To be held during a write: once it is dropped, nothing that was read before is handed out to whoever asks then.
    pub fn anew_after(&self) -> AnewAfter<'_> {
        AnewAfter(&self.desk.queue)
    }
}

/// Ends an era of a [`Batcher`] when it is dropped.
pub struct AnewAfter<'a>(&'a Mutex<Queue>);

impl Drop for AnewAfter<'_> {
    fn drop(&mut self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).begin_anew();
    }
}

/// An ask under way: equal asks of one era share it.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Flight {
    ask: Ask,
    era: u64,
}

/// Where asks wait and answers are handed out. Invariant: a key in `waiting` has a flight, and every flight is either
/// waiting or in the hands of exactly one [`Trip`].
struct Desk<S> {
    source: S,
    calls: Semaphore,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    flights: HashMap<Flight, Vec<oneshot::Sender<Outcome>>>,
    /// Not sent yet, and so always of this era.
    waiting: Vec<Flight>,
    /// How many writes there have been.
    era: u64,
    /// Keys that make a whole call fail: until they succeed by themselves, or, if they already do, until then.
    alone: HashMap<String, Option<Instant>>,
    batching_refused_until: Option<Instant>,
}

impl Queue {
    fn may_batch(&self, ask: &Ask, now: Instant) -> bool {
        let past = |until: &Instant| *until <= now;
        ask.version == VersionRef::Current
            && self.alone.get(&ask.id).is_none_or(|until| until.as_ref().is_some_and(past))
            && self.batching_refused_until.as_ref().is_none_or(past)
    }

    fn remember_alone(&mut self, key: &str, until: Option<Instant>) {
        if self.alone.len() >= ALONE_LIMIT {
            self.alone.clear();
        }
        self.alone.insert(key.to_owned(), until);
    }

    fn succeeded_alone(&mut self, key: &str) {
        if self.alone.get(key) == Some(&None) {
            self.alone.remove(key);
        }
    }

    fn begin_anew(&mut self) {
        self.era += 1;
        for flight in &mut self.waiting {
            let waiters = self.flights.remove(flight);
            flight.era = self.era;
            if let Some(waiters) = waiters {
                self.flights.insert(flight.clone(), waiters);
            }
        }
    }

    /// Takes what is to be sent now: only full batches if there is reason to be patient. The second says whether anything
    /// waits on.
    fn take_batches(&mut self, patient: bool) -> (Vec<Flight>, bool) {
        let mut flights = self.collect();
        if patient {
            self.waiting = flights.split_off(flights.len() / BATCH_LIMIT * BATCH_LIMIT);
        }
        (flights, !self.waiting.is_empty())
    }

    /// Takes what waits and is still wanted.
    fn collect(&mut self) -> Vec<Flight> {
        let mut waiting = std::mem::take(&mut self.waiting);
        waiting.retain(|flight| {
            let waiters = self.flights.get(flight);
            let wanted = waiters.is_some_and(|waiters| waiters.iter().any(|waiter| !waiter.is_closed()));
            if !wanted {
                self.flights.remove(flight);
            }
            wanted
        });
        waiting
    }
}

impl<S: BatchSource> Desk<S> {
    fn join(self: &Arc<Self>, ask: Ask) -> oneshot::Receiver<Outcome> {
        let (waiter, answer) = oneshot::channel();
        let mut queue = self.queue();
        let flight = Flight { ask, era: queue.era };
        if let Some(waiters) = queue.flights.get_mut(&flight) {
            waiters.push(waiter);
            return answer;
        }
        queue.flights.insert(flight.clone(), vec![waiter]);
        if !queue.may_batch(&flight.ask, Instant::now()) {
            let trip = Trip { desk: Arc::clone(self), open: vec![flight] };
            tokio::spawn(trip.alone());
            return answer;
        }
        if queue.waiting.is_empty() {
            tokio::spawn(Arc::clone(self).depart());
        }
        queue.waiting.push(flight);
        answer
    }

    async fn depart(self: Arc<Self>) {
        let (mut since, mut seen) = (Instant::now(), 1);
        loop {
            tokio::time::sleep(WINDOW).await;
            let busy = self.calls.available_permits() < CALLS_AT_ONCE;
            let mut queue = self.queue();
            let patient = is_patient(busy, queue.waiting.len() > seen, since.elapsed());
            let (flights, waiting) = queue.take_batches(patient);
            seen = queue.waiting.len();
            drop(queue);
            if !flights.is_empty() {
                since = Instant::now();
            }
            for open in flights.chunks(BATCH_LIMIT) {
                let trip = Trip { desk: Arc::clone(&self), open: open.to_vec() };
                tokio::spawn(trip.together());
            }
            if !waiting {
                return;
            }
        }
    }
}

/// Whether an incomplete batch waits for more: `coming`, if asks have come since the last look.
fn is_patient(busy: bool, coming: bool, waited: Duration) -> bool {
    (busy || coming) && waited < PATIENCE
}

impl<S> Desk<S> {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Nothing that holds the lock leaves the queue half changed.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn settle(&self, flight: &Flight, outcome: Outcome) {
        let waiters = self.queue().flights.remove(flight).unwrap_or_default();
        for waiter in waiters {
            // Whoever gave up waiting does not mind.
            let _ = waiter.send(outcome.clone());
        }
    }
}

/// Asks on their way. Whatever is still open when it ends (a panic in the source, a runtime that shuts down) fails,
/// rather than leaving its waiters, and everybody who joins them, waiting for ever.
struct Trip<S> {
    desk: Arc<Desk<S>>,
    open: Vec<Flight>,
}

impl<S> Trip<S> {
    /// The asks that are not answered yet; no two are equal, since all were sent in one era.
    fn asks(&self) -> Vec<Ask> {
        self.open.iter().map(|flight| flight.ask.clone()).collect()
    }

    /// Hands an outcome out once: a second one could reach a later flight of the same ask.
    fn settle(&mut self, ask: &Ask, outcome: Outcome) {
        if let Some(at) = self.open.iter().position(|open| open.ask == *ask) {
            let flight = self.open.swap_remove(at);
            self.desk.settle(&flight, outcome);
        }
    }

    /// Fails what is still open.
    fn give_up(&mut self, error: &FetchError) {
        for flight in std::mem::take(&mut self.open) {
            self.desk.settle(&flight, Err(error.clone()));
        }
    }
}

impl<S> Drop for Trip<S> {
    fn drop(&mut self) {
        self.give_up(&interrupted());
    }
}

fn interrupted() -> FetchError {
    FetchError::unavailable("the fetch was interrupted")
}
