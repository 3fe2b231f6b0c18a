//! The shell around the pure core: watches fill the [`index`], the [`queue`] says what is next, each job observes, plans
//! and acts.
//!
//! ```text
//!   watch ──► index ──► queue (urgent | routine) ──► scoped_secret: observe ─► plan ─► act ─► status
//!                │                              ├──► guard: what must the API server know of a namespace?
//!                │                              ├──► store: whose secrets are these?
//!                └──► admission (reads)         └──► policy: what is in force?
//! ```
//!
//! Every replica watches, so that admission answers from a warm index; only the leader acts.

pub mod after;
pub mod context;
pub mod events;
pub mod foreign;
pub mod grant;
pub mod guard;
pub mod index;
mod joined;
pub mod keys;
pub mod observed;
pub mod paged;
pub mod policy;
pub mod providers;
pub mod queue;
pub mod report;
pub mod restart;
pub mod revocation;
pub mod scan;
pub mod schedule;
pub mod scoped_secret;
pub mod seen_claim;
pub mod seen_rbac;
pub mod served;
pub mod shares;
pub mod store;
pub mod synced;
pub mod watch;
mod watch_grants;
mod watch_rbac;

use crate::leader::Leadership;
use crate::rotation::triggers::Triggers;
use crate::segmentation::policy::OF_VALUES;
use crate::segmentation::second::Second;
use crate::segmentation::world::ObjectName;
use crate::telemetry::traces::spans;
use context::{Context, Job, Memory};
use queue::Lane;
use shares::Shares;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use synced::Synced;
use tokio::sync::Semaphore;
use tokio::sync::watch::Receiver;
use tokio::task::{self, JoinSet};
use tracing::Instrument;

/// So many objects are worked on at once, in each lane: enough that batches fill.
const AT_ONCE: usize = 512;
/// Of which so many on one store.
const AT_ONCE_PER_STORE: usize = 384;

/// Works on the queue for as long as the process runs. Jobs that write wait until this replica leads.
pub async fn run(cx: Arc<Context>) {
    let failures = Arc::new(Mutex::new(HashMap::new()));
    tokio::join!(work(cx.clone(), Lane::Urgent, failures.clone()), work(cx.clone(), Lane::Routine, failures),);
}

/// What a leader does beside the queue, whenever it leads: looks at everything once, then keeps house.
pub async fn lead(cx: &Context, mut leadership: Leadership, synced: Receiver<Synced>, seal_key_max_age: Duration) {
    loop {
        leadership.gained().await;
        let term = leadership.term();
        tokio::select! {
            () = catch_up(cx, &synced) => {}
            () = leadership.ended(term) => continue,
        }
        take_over(cx, term);
        let mut judged = cx.now();
        while cx.leads() {
            // Whoever waits for an answer meanwhile does not go on in another term.
            tokio::select! {
                () = keep_house(cx, seal_key_max_age) => {}
                () = leadership.ended(term) => break,
            }
            let now = cx.now();
            // What was reckoned by a clock that was ahead is reckoned anew.
            let went_back = schedule::is_ahead(judged, now);
            let turning = cx.index().world.exceptions_turning_between(judged, now);
            if went_back || OF_VALUES.iter().any(|rule| turning.contains(rule)) {
                cx.index_mut().comparisons += 1;
            }
            if went_back || !turning.is_empty() {
                watch::judge_all(cx);
            }
            judged = now;
            tokio::select! {
                // Perhaps it was regained: what was queued meanwhile is gone.
                () = leadership.ended(term) => break,
                () = tokio::time::sleep(cx.nature.housekeeping) => {}
            }
        }
        cx.end_reign();
        cx.metrics.forget_claims();
        // Who follows sees the Secrets that are there, and looks for the others itself.
        let mut index = cx.index_mut();
        index.lost_secrets().iter().for_each(|secret| drop(index.give_up(secret)));
    }
}

async fn keep_house(cx: &Context, seal_key_max_age: Duration) {
    if let Err(error) = keys::rotate_if_old(cx, seal_key_max_age).await {
        tracing::warn!(%error, "the seal key was not rotated");
    }
    cx.count_claims();
    settle_acceptances(cx);
    end_what_is_over(cx);
    grant::keep_house(cx).await;
}

/// What was listed so long ago is as it is.
const FRESH: Duration = Duration::from_secs(5);
/// So long a new leader waits for what is of namespaces, and so often it is told for what it waits.
const WAITS: Duration = Duration::from_secs(30);

/// A watch that was cut off for a while, and resumes at its own pace, shows the past: before anything is written all that there is is
/// listed anew. It waits for every kind by which something is decided, for as long as that takes. Where a list of namespaces is served,
/// it waits only a while for what is in them, since one in which nothing may be listed must not hold up the others.
async fn catch_up(cx: &Context, synced: &Receiver<Synced>) {
    let (turn, age) = {
        let seen = synced.borrow();
        (seen.turn, seen.age(tokio::time::Instant::now()))
    };
    if age.is_some_and(|age| age < FRESH) {
        return;
    }
    cx.relist.notify_one();
    let mut waiting = synced.clone();
    let mut all = std::pin::pin!(waiting.wait_for(|seen| seen.turn > turn && seen.decides()));
    while tokio::time::timeout(WAITS, all.as_mut()).await.is_err() {
        let seen = synced.borrow().clone();
        let missing = seen.missing().join(", ");
        if seen.turn > turn && seen.knows_the_cluster() && cx.served.listed().is_some() {
            tracing::warn!(missing, "these could not be listed anew; this replica leads with what it has seen of them");
            return;
        }
        tracing::warn!(missing, "this replica holds the lease and writes nothing before these are listed anew");
    }
}

/// Queues every Secret whose end has come and that still stands: timers run by another clock than ends, and what outlived its
/// ScopedSecret has none.
fn end_what_is_over(cx: &Context) {
    let (now, index) = (cx.now(), cx.index());
    let over = |end: Option<Second>| end.is_some_and(|end| end <= now.into());
    let standing = index.world.holdings().filter_map(|(secret, held)| {
        let name = ObjectName::of(secret.namespace.clone(), held.claim.clone());
        match index.world.claim(&name) {
            Some(claim) => over(claim.ends).then_some(Job::Claim(name)),
            None => over(held.ends).then(|| Job::Orphan(secret.clone())),
        }
    });
    // The value before a rotation that is there for longer than it is to be.
    let overlapping = index.secrets.iter().filter_map(|(secret, facts)| {
        let seal = facts.seal.as_ref().ok()?;
        let until = seal.rotation.as_ref()?.overlaps_until;
        let name = ObjectName::of(secret.namespace.clone(), seal.holding.claim.clone());
        (over(until) && index.claims.contains_key(&name)).then_some(Job::Claim(name))
    });
    let mut jobs: Vec<Job> = standing.chain(overlapping).chain(grant::over(&index, now)).collect();
    drop(index);
    let is_due = |memory: &Memory| memory.rotation.as_ref().and_then(|r| r.wake).is_some_and(|at| at <= now);
    jobs.extend(cx.memory().iter().filter(|(_, memory)| is_due(memory)).map(|(name, _)| Job::Claim(name.clone())));
    jobs.into_iter().for_each(|job| cx.queue.add(job, Lane::Urgent));
}

type Failures = Arc<Mutex<HashMap<String, u32>>>;

async fn work(cx: Arc<Context>, lane: Lane, failures: Failures) {
    let permits = Arc::new(Semaphore::new(AT_ONCE));
    // Ends what it has begun when it is dropped: nothing is written after the lease is handed over.
    let mut jobs = JoinSet::new();
    let mut shares = Shares::new(AT_ONCE_PER_STORE);
    let mut stores: HashMap<task::Id, Arc<str>> = HashMap::new();
    let mut next: VecDeque<(Job, Option<Arc<str>>)> = VecDeque::new();
    loop {
        let Ok(permit) = permits.clone().acquire_owned().await else { return };
        let (job, store) = loop {
            if let Some(admitted) = next.pop_front() {
                break admitted;
            }
            tokio::select! {
                job = cx.queue.next(lane) => {
                    match store_of(&cx, &job) {
                        Some(store) => next.extend(shares.admit(&store, job).map(|job| (job, Some(store)))),
                        None => next.push_back((job, None)),
                    }
                }
                Some(ended) = jobs.join_next_with_id() => {
                    let id = ended.map_or_else(|panicked| panicked.id(), |(id, ())| id);
                    if let Some(store) = stores.remove(&id) {
                        next.extend(shares.done(&store).into_iter().map(|job| (job, Some(store.clone()))));
                    }
                }
            }
        };
        let (cx, failures, term) = (cx.clone(), failures.clone(), cx.term());
        let of_term = term.filter(|_| !matches!(job, Job::Store(_) | Job::Key));
        let done = Done { cx: cx.clone(), job: job.clone() };
        let running = jobs.spawn(async move {
            tokio::select! {
                biased;
                // What a leader has begun does not go on in another term, by what it knew in this one. While there is none, it begins
                // no write, and hears what becomes of the last.
                () = another_begins(&cx.leadership, of_term) => {}
                () = perform(&cx, &job, term.is_some(), &failures) => {}
            }
            drop(done);
            drop(permit);
        });
        stores.extend(store.map(|store| (running.id(), store)));
    }
}

/// Waits until a term of the lease begins that is another than this one; for ever if the job is of none.
async fn another_begins(leadership: &Leadership, term: Option<u64>) {
    match term {
        Some(term) => leadership.begun_after(term).await,
        None => std::future::pending().await,
    }
}

/// The store that a job waits for.
fn store_of(cx: &Context, job: &Job) -> Option<Arc<str>> {
    let Job::Claim(name) = job else { return None };
    cx.index().world.claim(name).map(|claim| claim.store.clone())
}

/// Says that a job no longer runs, even if it panicked.
struct Done {
    cx: Arc<Context>,
    job: Job,
}

impl Drop for Done {
    fn drop(&mut self) {
        self.cx.queue.done(&self.job);
    }
}

async fn perform(cx: &Context, job: &Job, leader: bool, failures: &Failures) {
    match job {
        Job::Claim(name) if leader => {
            let start = std::time::Instant::now();
            let span = spans::reconcile(&name.namespace, &name.name);
            let outcome = scoped_secret::reconcile(cx, name).instrument(span.clone()).await;
            spans::ended(&span, outcome);
            cx.metrics.reconciled(outcome, start.elapsed());
        }
        Job::Orphan(secret) if leader => scoped_secret::reconcile_orphan(cx, secret).await,
        Job::Policy(name) if leader => {
            settle_acceptances(cx);
            policy::reconcile(cx, name).await;
        }
        Job::Guard(namespace) if leader => guard::reconcile(cx, namespace).await,
        Job::Revocation(name) if leader => revocation::reconcile(cx, name).await,
        Job::Grant(handle) if leader => grant::reconcile(cx, handle).await,
        Job::Restart(namespace) if leader => restart::reconcile(cx, namespace).await,
        Job::After if leader => after::reconcile(cx).await,
        Job::Claim(_)
        | Job::Orphan(_)
        | Job::Policy(_)
        | Job::Guard(_)
        | Job::Revocation(_)
        | Job::Restart(_)
        | Job::After
        | Job::Grant(_) => {}
        Job::Store(name) => {
            let before = failures.lock().unwrap_or_else(PoisonError::into_inner).get(name).copied().unwrap_or(0);
            let outcome = store::reconcile(cx, name, before, leader).await;
            let now = if outcome.is_ok() { 0 } else { before.saturating_add(1) };
            failures.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone(), now);
        }
        Job::Key => {
            if let Err(error) = keys::ensure(cx, leader).await {
                tracing::warn!(%error, "the seal key");
                cx.queue.add_at(Job::Key, tokio::time::Instant::now() + Duration::from_secs(5));
            }
        }
    }
}

/// Once nothing is left to withdraw, what was accepted has served.
fn settle_acceptances(cx: &Context) {
    let Some(settled) = cx.index().settled_acceptances(cx.now()) else { return };
    let policies = cx.index_mut().settle(settled);
    policies.into_iter().for_each(|name| cx.queue.add(Job::Policy(name), Lane::Routine));
}

/// What a new leader does first: everything is looked at once. What it remembers from an earlier reign is void, but for the
/// revisions that it has verified: those are what they were.
pub fn take_over(cx: &Context, term: u64) {
    for memory in cx.memory().values_mut() {
        let before = std::mem::take(&mut **memory);
        **memory = Memory { verified: before.verified, ..Memory::default() };
    }
    // Whoever led meanwhile has told of them.
    cx.index_mut().lifted.clear();
    cx.restarts.clear();
    cx.after.clear();
    // Whoever asked in another reign asks again, if it is still so.
    cx.index_mut().triggers = Triggers::default();
    cx.index_mut().unreserve_all();
    cx.index_mut().grants.forget_reign();
    cx.begin_reign(term);
    // What ended while nobody led, before anything else.
    end_what_is_over(cx);
    cx.requeue_claims(|_| true, Lane::Routine);
    let index = cx.index();
    let policies: Vec<String> = index.policies.keys().cloned().collect();
    let stores: Vec<String> = index.world.stores.keys().cloned().collect();
    let orphans: Vec<_> = index.secrets.keys().filter(|s| index.claims_for(s).next().is_none()).cloned().collect();
    drop(index);
    policies.into_iter().for_each(|name| cx.queue.add(Job::Policy(name), Lane::Routine));
    stores.into_iter().for_each(|name| cx.queue.add(Job::Store(name), Lane::Routine));
    orphans.into_iter().for_each(|name| cx.queue.add(Job::Orphan(name), Lane::Routine));
    guard::queue_all(cx);
    revocation::queue(cx, |_| true);
    cx.queue.add(Job::After, Lane::Routine);
    grant::queue_all(cx);
    cx.queue.add(Job::Key, Lane::Urgent);
}
