//! What every part of the controller shares. Clock and randomness are fields, so that a simulator can own them.

use super::after::Afters;
use super::guard::Guards;
use super::index::{Index, Revision};
use super::providers::Providers;
use super::queue::{Lane, Queue};
use super::restart::Restarts;
use super::scoped_secret::rotation::asked::AskedOf;
use super::served::Served;
use crate::admission::rules::copies::Limit;
use crate::api::Reason;
use crate::api::policy::{ModalRule, Mode};
use crate::leader::Leadership;
use crate::rotation::schedule::FLOOR;
use crate::segmentation::authorize::{Governance, answer, governance};
use crate::segmentation::governed::Governed;
use crate::segmentation::max_age::current_versions;
use crate::segmentation::seal::SealKeys;
use crate::segmentation::violation::Violation;
use crate::segmentation::world::{Claim, ObjectName, World};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::record::{Happening, Record};
use jiff::Timestamp;
use kube::Client;
use kube::runtime::events::Reporter;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};

/// Something to reconcile.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Job {
    /// A ScopedSecret.
    Claim(ObjectName),
    /// A sealed Secret whose ScopedSecret is not there.
    Orphan(ObjectName),
    /// A ScopedSecretStore.
    Store(String),
    /// A SegmentationPolicy.
    Policy(String),
    /// The SegmentGuard of a namespace.
    Guard(Arc<str>),
    /// A KeyRevocation.
    Revocation(String),
    /// What belongs to a SecretGrant: the name of its Role and RoleBinding.
    Grant(ObjectName),
    /// The workloads of a namespace whose Secrets have a new value.
    Restart(Arc<str>),
    /// What rotations come after.
    After,
    /// The seal key.
    Key,
}

/// Fills with random bytes; false if it cannot.
pub type Random = Box<dyn Fn(&mut [u8]) -> bool + Send + Sync>;

/// The clock and the dice.
pub struct Nature {
    /// The time.
    pub now: Box<dyn Fn() -> Timestamp + Send + Sync>,
    /// Fills with random bytes; false if it cannot.
    pub random: Random,
    /// How often a leader looks after the seal key and what has ended: timers run by another clock than ends.
    pub housekeeping: Duration,
}

impl Nature {
    /// The machine's own.
    pub fn real() -> Self {
        Self {
            now: Box::new(Timestamp::now),
            random: Box::new(|bytes| aws_lc_rs::rand::fill(bytes).is_ok()),
            housekeeping: Duration::from_secs(15),
        }
    }
}

/// What this process remembers of a ScopedSecret. Losing it costs at most one read.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    /// The revision of its Secret that was written or verified.
    pub verified: Option<Revision>,
    /// When the Secret's content last changed.
    pub last_change: Option<Timestamp>,
    /// When the manager last answered.
    pub last_good: Option<Timestamp>,
    /// Failures in a row.
    pub failures: u32,
    /// How often in a row its status could not be written, as the object is another by now.
    pub conflicts: u32,
    /// The last failure, until an attempt succeeds.
    pub failure: Option<Box<super::scoped_secret::plan::Failure>>,
    /// When the next refresh or retry is due.
    pub due_at: Option<Timestamp>,
    /// The uid, generation and refresh-at that were last looked at: another object is another memory, a change of the
    /// others retries a failure at once.
    pub looked_at: Option<(Arc<str>, i64, Option<Box<str>>)>,
    /// The end of which a warning was given.
    pub warned_of: Option<Timestamp>,
    /// The Secret was looked for under its name, and is not there.
    pub searched: bool,
    /// When it was last looked at, it could not be told whether it is allowed, or it was not.
    pub undecided: bool,
    /// Its Secret was taken away, which is on the record.
    pub withdrawn: bool,
    /// The refusal that is on the record, until status says it.
    pub refusal: Option<Reason>,
    /// How often it was to be tried again at once.
    pub retried: u32,
    /// Of its rotation, if it has one.
    pub rotation: Option<Box<super::scoped_secret::rotation::Memory>>,
    /// What a rotation has made, until the Secret has it and that is told.
    pub news: Option<Box<super::scoped_secret::rotation::News>>,
    /// The version of which the record has that the key was rotated to it.
    pub rotated: Option<Box<str>>,
    /// What was last told of a rollout that needs somebody.
    pub held_up: Option<Reason>,
    /// What decided about values of several segments when it was last looked at: [`Index::comparisons`].
    pub comparisons: u64,
}

impl Memory {
    /// What it failed for may be otherwise now.
    fn try_again(&mut self, now: Timestamp) {
        if self.failure.is_some() {
            (self.failures, self.due_at) = (0, Some(now));
        }
    }

    /// Who was refused for a value of another segment asks once more where what decides about that has changed; if it is refused
    /// again, it goes on to wait as long as before.
    pub fn compare_anew(&mut self, comparisons: u64, now: Timestamp) {
        let refused = self.failure.as_ref().is_some_and(|failure| failure.reason == Reason::ValueShared);
        if refused && self.comparisons != comparisons {
            self.due_at = Some(now);
        }
        self.comparisons = comparisons;
    }
}

/// A breach that was seen beside the scan.
#[derive(Debug, Clone)]
pub struct Sighting {
    /// When.
    pub at: Timestamp,
    /// The breach.
    pub violation: Violation,
    /// The uid of what breaks the rule.
    pub uid: Option<String>,
}

/// How long a count of withdrawals is good for.
const RECOUNT: Duration = Duration::from_secs(10);

/// Which withdrawals are counted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Recount {
    /// All.
    Cluster,
    /// Those in the segment of a report.
    Under(String),
}

/// When this replica led.
#[derive(Debug, Default)]
struct Reign {
    since: Option<Timestamp>,
    ended: Option<Timestamp>,
}

/// What every part shares.
pub struct Context {
    /// The API server.
    pub client: Client,
    /// What was observed.
    index: RwLock<Index>,
    /// What is to be done.
    pub queue: Queue<Job>,
    /// What is known of the SegmentGuards.
    pub guards: Guards,
    /// What managers were asked for.
    pub asked: AskedOf,
    /// Somebody else had changed the webhook's entries, and nobody has looked yet for what came in.
    pub entries_were_changed: Arc<AtomicBool>,
    /// Connections to secrets managers.
    pub providers: Providers,
    /// What is remembered.
    memory: Mutex<HashMap<ObjectName, Box<Memory>>>,
    /// Who writes them.
    pub reporter: Reporter,
    /// The operator's own namespace.
    pub namespace: String,
    /// Which namespaces it serves: all, unless it is told otherwise.
    pub served: Served,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// The clock and the dice.
    pub nature: Nature,
    /// Whether this replica leads.
    pub leadership: Leadership,
    /// The term of the lease for which this replica has taken over: what it remembered of an earlier reign is forgotten, and all is
    /// queued; 0: none.
    pub reigns: watch::Sender<u64>,
    /// Since when it has, or had.
    reign: Mutex<Reign>,
    /// Which namespaces are governed, once every policy was seen.
    pub governed: watch::Sender<Option<Governed>>,
    /// Told when another seal key is in use.
    pub keys_changed: Notify,
    /// Told when every watch is to list anew.
    pub relist: Notify,
    /// How many withdrawals wait, and for which state of their causes.
    pending: Mutex<HashMap<Recount, (u64, Instant, usize)>>,
    /// Held by who writes down what a KeyRevocation is about to take away.
    pub revoking: tokio::sync::Mutex<()>,
    /// Whether rule Grants is in force, as last looked at.
    pub grants_guarded: Mutex<super::grant::Look>,
    /// What is known of restarts under way.
    pub restarts: Restarts,
    /// What rotations come after, as it was last seen.
    pub after: Afters,
    /// What was seen beside the scan: it stays until the next one.
    pub sightings: Mutex<Vec<Sighting>>,
    /// How many values of other segments the ScopedSecrets of a namespace have heard to be in texts that they were written with.
    pub heard: Limit,
    /// What happened, for the log.
    pub record: Record,
    /// The seal key.
    keys: RwLock<Option<Arc<SealKeys>>>,
}

impl Context {
    /// A context that has observed nothing yet, and serves every namespace.
    pub fn new(
        client: Client,
        reporter: Reporter,
        namespace: String,
        providers: Providers,
        metrics: Arc<Metrics>,
        leadership: Leadership,
        nature: Nature,
    ) -> Self {
        let mut process = [0; 8];
        if !(nature.random)(&mut process) {
            // Two processes of one second would be taken for one, and each line of the second for one of the first.
            process = (nature.now)().as_second().to_be_bytes();
        }
        let record = Record::new(process, reporter.instance.as_deref().unwrap_or_default());
        Self {
            record,
            reporter,
            client,
            index: RwLock::default(),
            queue: Queue::default(),
            guards: Guards::default(),
            asked: AskedOf::default(),
            entries_were_changed: Arc::default(),
            providers,
            memory: Mutex::default(),
            namespace,
            served: Served::default(),
            metrics,
            nature,
            leadership,
            reigns: watch::Sender::new(0),
            reign: Mutex::default(),
            governed: watch::Sender::new(None),
            keys_changed: Notify::new(),
            relist: Notify::new(),
            pending: Mutex::default(),
            revoking: tokio::sync::Mutex::default(),
            grants_guarded: Mutex::default(),
            restarts: Restarts::default(),
            after: Afters::default(),
            sightings: Mutex::default(),
            heard: Limit::default(),
            keys: RwLock::default(),
        }
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        (self.nature.now)()
    }

    /// Reads the index. Never held across an await.
    pub fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes the index. Never held across an await.
    pub fn index_mut(&self) -> RwLockWriteGuard<'_, Index> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The memories.
    pub fn memory(&self) -> MutexGuard<'_, HashMap<ObjectName, Box<Memory>>> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The seal key; None before it was loaded.
    pub fn keys(&self) -> Option<Arc<SealKeys>> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Writes down that something happened.
    pub fn record(&self, happening: Happening) {
        self.record.write(self.now(), happening);
    }

    /// Takes a seal key into use.
    pub fn use_keys(&self, keys: SealKeys) {
        self.record.use_keys(&keys, self.now());
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(keys));
    }

    /// Publishes which namespaces are governed, if that is known.
    pub fn publish_governed(&self) {
        let Some(governed) = self.index().world.governed() else { return };
        self.governed.send_if_modified(|known| {
            let changed = known.as_ref() != Some(&governed);
            *known = Some(governed);
            changed
        });
    }

    /// Counts the claims by their conditions, for the metrics.
    pub fn count_claims(&self) {
        let (mut counts, mut conditions) = (BTreeMap::new(), BTreeMap::new());
        let mut residents: BTreeMap<&str, i64> = BTreeMap::new();
        let now = self.now();
        let index = self.index();
        for (name, record) in &index.claims {
            *residents.entry(&name.namespace).or_default() += 1;
            let ready = record.status.ready_reason().unwrap_or(Reason::Pending);
            *counts.entry(ready).or_default() += 1;
            for stated in record.status.stated() {
                *conditions.entry(stated).or_default() += 1;
            }
        }
        // Nothing is asked for who is refused, so that nobody would see that a store answers again.
        let asks = |claim: &&Claim| index.claims.get(&claim.object).is_none_or(|record| !record.status.is_refused());
        let used: BTreeSet<&str> = index.world.claims().filter(asks).map(|claim| &*claim.store).collect();
        self.metrics.set_stores(&self.providers.count(|name| used.contains(name)));
        self.metrics.set_claims(&counts);
        self.metrics.set_governed_claims(&by_rule_and_mode(&residents, &index.world, now));
        self.metrics.set_conditions(&conditions);
        let current = index.world.holdings().flat_map(|(_, held)| current_versions(held));
        self.metrics.set_oldest_version(current.filter_map(|version| version.created).min().map(Timestamp::from));
        self.metrics.set_next_expiry(
            index.world.claims().filter_map(|claim| claim.ends).map(Timestamp::from).filter(|end| *end > now).min(),
        );
        // Of what was never rotated, since when its slots count.
        let scheduled = index.secrets.values().filter_map(|secret| secret.seal.as_ref().ok()?.rotation.as_deref());
        let rotated = scheduled.filter_map(|rotated| rotated.until.map(|until| rotated.at.unwrap_or(until)));
        let oldest = rotated.min().map(Timestamp::from);
        drop(index);
        let memory = self.memory();
        let rotations = || memory.values().filter_map(|memory| memory.rotation.as_ref());
        let next = rotations().filter_map(|rotation| rotation.wake).filter(|at| *at > now).min();
        let due_since = rotations().filter_map(|rotation| rotation.due_since).min();
        self.metrics.set_rotations(next, oldest, due_since);
    }

    /// Whether this replica may write now. Asked before each write.
    pub fn leads(&self) -> bool {
        self.term().is_some()
    }

    /// The term of the lease in which this replica may write now: it leads, and has taken over in it.
    pub fn term(&self) -> Option<u64> {
        let term = *self.reigns.borrow();
        (self.leadership.leads() && self.leadership.term() == term).then_some(term)
    }

    /// It has taken over, for this term.
    pub fn begin_reign(&self, term: u64) {
        let now = self.now();
        let mut reign = self.reign.lock().unwrap_or_else(PoisonError::into_inner);
        let was_short = reign.ended.is_some_and(|ended| now.duration_since(ended).abs() < FLOOR);
        reign.since = reign.since.filter(|_| was_short).or(Some(now));
        drop(reign);
        self.reigns.send_replace(term);
    }

    /// It leads no more.
    pub fn end_reign(&self) {
        self.reigns.send_replace(0);
        self.reign.lock().unwrap_or_else(PoisonError::into_inner).ended = Some(self.now());
    }

    /// Since when this replica works as the leader, but for moments without the lease: what was missed before that is spread, and one
    /// who loses the lease now and then would put it off for ever.
    pub fn reigns_since(&self) -> Option<Timestamp> {
        self.reign.lock().unwrap_or_else(PoisonError::into_inner).since
    }

    /// How many Secrets policy wants taken away. Counting looks at every holding, so that for one state of the causes it
    /// is done at most once in a while, and the number only grows: one cause is told by one number.
    pub fn pending_withdrawals(&self, index: &Index) -> usize {
        self.recounted(index, &Recount::Cluster, || index.withdrawals(self.now()))
    }

    /// A count of withdrawals, made anew once in a while.
    pub fn recounted(&self, index: &Index, which: &Recount, count: impl FnOnce() -> usize) -> usize {
        let causes = index.causes();
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        pending.retain(|_, (at, ..)| *at == causes);
        let known = pending.get(which).copied();
        if let Some((_, when, count)) = known
            && when.elapsed() < RECOUNT
        {
            return count;
        }
        let count = count().max(known.map_or(0, |(.., count)| count));
        pending.insert(which.clone(), (causes, Instant::now(), count));
        count
    }

    /// Forgets failures of a store's claims, so that they are tried at once: its spec or credentials are new.
    pub fn retry_claims_of(&self, store: &str) {
        let index = self.index();
        let claims: Vec<ObjectName> =
            index.world.claims().filter(|c| &*c.store == store).map(|c| c.object.clone()).collect();
        drop(index);
        self.retry(claims);
    }

    /// Queues claims, and lets those that failed try again at once: what they failed for may be otherwise now.
    pub fn retry(&self, claims: Vec<ObjectName>) {
        let now = self.now();
        let mut memory = self.memory();
        for claim in &claims {
            let Some(known) = memory.get_mut(claim) else { continue };
            known.retried = known.retried.wrapping_add(1);
            known.try_again(now);
        }
        drop(memory);
        claims.into_iter().for_each(|claim| self.queue.add(Job::Claim(claim), Lane::Urgent));
    }

    /// Keeps what is known of a claim after a run, unless it was to be tried again meanwhile.
    pub fn remember(&self, claim: &ObjectName, mut memory: Box<Memory>) {
        let mut all = self.memory();
        if let Some(known) = all.get(claim).filter(|known| known.retried != memory.retried) {
            memory.retried = known.retried;
            memory.try_again(self.now());
        }
        all.insert(claim.clone(), memory);
    }

    /// Queues the claims that a predicate picks of those that can be understood.
    pub fn requeue_known(&self, pick: impl Fn(&Claim) -> bool) {
        let index = self.index();
        let names: Vec<ObjectName> = index.world.claims().filter(|c| pick(c)).map(|c| c.object.clone()).collect();
        drop(index);
        names.into_iter().for_each(|name| self.queue.add(Job::Claim(name), Lane::Urgent));
    }

    /// Queues every claim that a predicate picks.
    pub fn requeue_claims(&self, pick: impl Fn(&ObjectName) -> bool, lane: Lane) {
        let names: Vec<ObjectName> = self.index().claims.keys().filter(|name| pick(name)).cloned().collect();
        names.into_iter().for_each(|name| self.queue.add(Job::Claim(name), lane));
    }
}

/// How many claims there are under each rule that follows the mode, by how its breaches are answered where they are, of so
/// many claims in each namespace.
fn by_rule_and_mode(
    residents: &BTreeMap<&str, i64>,
    world: &World,
    now: Timestamp,
) -> BTreeMap<(ModalRule, &'static str), i64> {
    let mut counts = BTreeMap::new();
    for (namespace, claims) in residents {
        let governance = governance(namespace, world, now);
        for rule in ModalRule::ALL.into_iter().filter(|_| governance != Governance::Ungoverned) {
            let mode = answer(rule, namespace, world, now).map_or("Unknown", Mode::as_str);
            *counts.entry((rule, mode)).or_default() += claims;
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::super::scoped_secret::plan::{Failure, value_shared};
    use super::*;
    use crate::segmentation::fixtures::{TENANTS, now, policy};
    use crate::segmentation::world::PolicyState;

    #[test]
    fn each_rule_counts_the_claims_by_how_it_is_answered_where_they_are() {
        let residents = BTreeMap::from([("payments-prod", 3), ("payments-staging", 2), ("plain", 9)]);
        let counts = |world: &World| {
            let counts = by_rule_and_mode(&residents, world, now());
            ModalRule::ALL.map(|rule| {
                let of_it = counts.iter().filter(|((counted, _), _)| *counted == rule);
                of_it.map(|((_, mode), claims)| (*mode, *claims)).collect::<Vec<_>>()
            })
        };
        let only_reported = format!("{TENANTS}\nreportOnly: [Copies]\n");
        let world = World::with_tenants().under([policy("tenants", &only_reported)]);
        let [consumers, _, _, copies, _] = counts(&world);
        assert_eq!((consumers, copies), (vec![("Enforce", 5)], vec![("Audit", 5)]));
        let unread = World::with_tenants().under([("tenants".to_owned(), PolicyState::Unknown(String::new()))]);
        assert_eq!(counts(&unread)[0], [("Unknown", 14)]);
    }

    #[test]
    fn a_value_that_is_shared_is_asked_for_once_after_each_change() {
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        let denied = Failure::new(Reason::AccessDenied, "");
        for (failure, expected) in
            [(Some(value_shared()), [900, 20, 900, 40]), (Some(denied), [900; 4]), (None, [900; 4])]
        {
            let failure = failure.map(Into::into);
            let mut memory = Memory { comparisons: 1, failures: 7, failure, ..Memory::default() };
            let mut look = |comparisons, now| {
                memory.due_at = Some(at(900));
                memory.compare_anew(comparisons, at(now));
                memory.due_at.map(Timestamp::as_second)
            };
            let looks = [look(1, 10), look(2, 20), look(2, 30), look(4, 40)];
            assert_eq!(looks, expected.map(Some));
            assert_eq!(memory.failures, 7);
        }
    }
}
