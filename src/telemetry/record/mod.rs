//! The record of what happened: every denial, withdrawal, expiry, revocation, rotation and grant as one line of the log, numbered
//! and signed, so that a line that was removed, altered, made up or moved is found, and so is an end that is missing.
//!
//! ```text
//!   cx.record(happening) ─────────────► chain: number, mac of the line before, mac ──► the log, whatever its level
//!   admission ──► flood (counts) ──► run ──┘        ▲
//!                                     └── each minute: a mark
//! ```
//!
//! Each process has a chain of its own, under a key that is derived from the seal key and the random id of the process ([`keys`]).
//! Until the seal key is there nothing can be signed: what happens before waits in memory, and comes after the first line. When the
//! seal key is rotated the chain goes on; each line names the generation that it is signed under.
//!
//! The lines pass by the log's level ([`super::logs`]): a record that can be turned off says nothing. [`verify`] checks a log.

pub mod flood;
pub mod happening;
pub mod keys;
pub mod line;
pub mod verify;

pub use happening::{Happening, What};

use crate::segmentation::seal::SealKeys;
use aws_lc_rs::hmac;
use flood::{Entry, Flood};
use jiff::Timestamp;
use keys::RecordKey;
use line::Place;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// The time between two marks. What a process did after its last mark may be missing without a trace if it was killed.
pub const MARK: Duration = Duration::from_secs(60);
/// So much waits for the seal key; what comes beyond is counted.
const EARLY: usize = 1024;

/// Where lines go.
type Out = Box<dyn Fn(&str) + Send + Sync>;

/// The record of one process.
pub struct Record {
    process: String,
    pod: String,
    chain: Mutex<Chain>,
    flood: Mutex<Flood>,
    wake: Notify,
    out: Out,
}

#[derive(Default)]
struct Chain {
    /// The generation, and the key of this process under it.
    key: Option<(String, hmac::Key)>,
    /// Lines so far.
    number: u64,
    /// The mac of the last one.
    after: String,
    /// What waits for a key.
    early: Flood,
    waiting: Vec<Entry>,
    /// The process is ending: each line may be the last.
    closing: bool,
}

impl Record {
    /// Of a process with this random id, in this pod. Lines go to the log.
    pub fn new(random: [u8; 8], pod: &str) -> Self {
        Self::to(random, pod, Box::new(|line| tracing::info!(target: line::TARGET, line)))
    }

    /// Likewise, with lines that go elsewhere.
    pub fn to(random: [u8; 8], pod: &str, out: Out) -> Self {
        Self {
            process: random.iter().map(|byte| format!("{byte:02x}")).collect(),
            pod: pod.to_owned(),
            chain: Mutex::default(),
            flood: Mutex::default(),
            wake: Notify::new(),
            out,
        }
    }

    /// The id of the process.
    pub fn process(&self) -> &str {
        &self.process
    }

    /// Takes the seal key into use. The first one begins the record, and what waited for it follows.
    pub fn use_keys(&self, keys: &SealKeys, now: Timestamp) {
        let generation = keys.current();
        let Ok(bytes) = generation.record_key() else {
            tracing::error!("no key for the record can be derived: what happens waits in memory");
            return;
        };
        let key = RecordKey::new(&bytes).of_process(&self.process);
        let mut chain = self.chain();
        let begins = chain.key.is_none();
        chain.key = Some((generation.id.clone(), key));
        if begins {
            self.sign(&mut chain, &Entry::one(now, Happening::of(What::Started)));
            let mut waiting = std::mem::take(&mut chain.waiting);
            waiting.append(&mut chain.early.all());
            waiting.iter().for_each(|entry| self.sign(&mut chain, entry));
        }
    }

    /// Writes one line.
    pub fn write(&self, at: Timestamp, happening: Happening) {
        self.append(&mut self.chain(), vec![Entry::one(at, happening)]);
    }

    /// Takes a denial in; [`Record::tell`] writes it. Neither waits for anything: admission may call it.
    pub fn deny(&self, at: Timestamp, happening: Happening) {
        self.flood().add(at, happening);
        self.wake.notify_one();
    }

    /// Writes the denials that have lines of their own.
    pub fn tell(&self) {
        let mut chain = self.chain();
        let told = self.flood().alone();
        self.append(&mut chain, told);
    }

    /// Writes what was counted, and a mark.
    pub fn mark(&self, now: Timestamp) {
        let mut chain = self.chain();
        let told = self.flood().all();
        self.append(&mut chain, told);
        if chain.key.is_some() {
            self.sign(&mut chain, &Entry::one(now, Happening::of(What::Mark)));
        }
    }

    /// Writes what was counted, and the closing line. What happens after all the same is written, and closed again.
    pub fn close(&self, now: Timestamp) {
        let mut chain = self.chain();
        let told = self.flood().all();
        self.append(&mut chain, told);
        chain.closing = true;
        if chain.key.is_some() {
            self.sign(&mut chain, &Entry::one(now, Happening::of(What::Ended)));
        }
    }

    /// Tells denials as they come, and marks, for as long as the process runs.
    pub async fn run(&self, now: impl Fn() -> Timestamp) {
        let mut next = tokio::time::Instant::now() + MARK;
        loop {
            tokio::select! {
                () = self.wake.notified() => self.tell(),
                () = tokio::time::sleep_until(next) => {
                    self.mark(now());
                    next = tokio::time::Instant::now() + MARK;
                }
            }
        }
    }

    fn append(&self, chain: &mut Chain, entries: Vec<Entry>) {
        for entry in entries {
            if chain.key.is_some() {
                self.sign(chain, &entry);
                if chain.closing {
                    self.sign(chain, &Entry::one(entry.at, Happening::of(What::Ended)));
                }
            } else if chain.waiting.len() < EARLY {
                chain.waiting.push(entry);
            } else {
                chain.early.add_all(entry);
            }
        }
    }

    fn sign(&self, chain: &mut Chain, entry: &Entry) {
        let Some((generation, key)) = &chain.key else { return };
        let what = entry.happening.what;
        let place = Place {
            process: &self.process,
            number: chain.number + 1,
            key: generation,
            after: &chain.after,
            count: entry.count,
            since: entry.since,
            every: matches!(what, What::Started | What::Mark).then_some(MARK.as_secs()),
            pod: (what == What::Started).then_some(&self.pod),
        };
        if let Some((line, mac)) = line::write(&place, entry.at, &entry.happening, key) {
            (self.out)(&line);
            chain.number += 1;
            chain.after = mac;
        }
    }

    fn chain(&self) -> MutexGuard<'_, Chain> {
        self.chain.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn flood(&self) -> MutexGuard<'_, Flood> {
        self.flood.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
