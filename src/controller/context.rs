//! What every part of the controller shares. Clock and randomness are fields, so that a simulator can own them.

use super::index::Index;
use super::providers::Providers;
use super::queue::{Lane, Queue};
use crate::api::Reason;
use crate::segmentation::seal::SealKeys;
use crate::segmentation::world::ObjectName;
use crate::telemetry::metrics::Metrics;
use jiff::Timestamp;
use kube::Client;
use kube::runtime::events::Recorder;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

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
    /// The seal key.
    Key,
}

/// The clock and the dice.
pub struct Nature {
    /// The time.
    pub now: Box<dyn Fn() -> Timestamp + Send + Sync>,
    /// Fills with random bytes; false if it cannot.
    pub random: Box<dyn Fn(&mut [u8]) -> bool + Send + Sync>,
}

impl Nature {
    /// The machine's own.
    pub fn real() -> Self {
        Self { now: Box::new(Timestamp::now), random: Box::new(|bytes| aws_lc_rs::rand::fill(bytes).is_ok()) }
    }
}

/// What this process remembers of a ScopedSecret. Losing it costs at most one read.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    /// The revision of its Secret that was written or verified: (uid, resourceVersion).
    pub verified: Option<(Box<str>, Box<str>)>,
    /// When the manager last answered.
    pub last_good: Option<Timestamp>,
    /// Failures in a row.
    pub failures: u32,
    /// The last failure, until an attempt succeeds.
    pub failure: Option<super::scoped_secret::plan::Failure>,
    /// When the next refresh or retry is due.
    pub due_at: Option<Timestamp>,
    /// The generation and refresh-at of the last attempt: a change of either is tried at once.
    pub attempted: Option<(i64, Option<Box<str>>)>,
    /// A foreign Secret stood in the way.
    pub blocked: bool,
}

/// What every part shares.
pub struct Context {
    /// The API server.
    pub client: Client,
    /// What was observed.
    index: RwLock<Index>,
    /// What is to be done.
    pub queue: Queue<Job>,
    /// Connections to secrets managers.
    pub providers: Providers,
    /// What is remembered.
    memory: Mutex<HashMap<ObjectName, Memory>>,
    /// Events.
    pub recorder: Recorder,
    /// The operator's own namespace.
    pub namespace: String,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// The clock and the dice.
    pub nature: Nature,
    /// The seal key and when its Secret was made.
    keys: RwLock<Option<(Arc<SealKeys>, Timestamp)>>,
}

impl Context {
    /// A context that has observed nothing yet.
    pub fn new(
        client: Client,
        recorder: Recorder,
        namespace: String,
        providers: Providers,
        metrics: Arc<Metrics>,
        nature: Nature,
    ) -> Self {
        Self {
            client,
            index: RwLock::default(),
            queue: Queue::default(),
            providers,
            memory: Mutex::default(),
            recorder,
            namespace,
            metrics,
            nature,
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
    pub fn memory(&self) -> MutexGuard<'_, HashMap<ObjectName, Memory>> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The seal key and when its Secret was made; None before it was loaded.
    pub fn keys(&self) -> Option<(Arc<SealKeys>, Timestamp)> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes a seal key into use.
    pub fn use_keys(&self, keys: SealKeys, made: Timestamp) {
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Some((Arc::new(keys), made));
    }

    /// Counts the claims by the reason of their condition Ready, for the metrics.
    pub fn count_claims(&self) {
        let mut counts = BTreeMap::new();
        for record in self.index().claims.values() {
            let ready = record.status.ready_reason().unwrap_or(Reason::Pending);
            *counts.entry(ready).or_default() += 1;
        }
        self.metrics.set_claims(&counts);
    }

    /// Queues every claim that a predicate picks.
    pub fn requeue_claims(&self, pick: impl Fn(&ObjectName) -> bool, lane: Lane) {
        let names: Vec<ObjectName> = self.index().claims.keys().filter(|name| pick(name)).cloned().collect();
        names.into_iter().for_each(|name| self.queue.add(Job::Claim(name), lane));
    }
}
