//! A secrets manager without a network, whose faults a test chooses.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::FutureExt;

use super::super::*;
use super::DENIED;
use crate::provider::RemoteValue;

/// A secrets manager that has every key, but for what a test makes of it.
#[derive(Clone)]
pub(super) struct Manager(pub(super) Arc<State>);

pub(super) struct State {
    pub(super) batches: AtomicUsize,
    pub(super) singles: AtomicUsize,
    pub(super) faults: Mutex<Faults>,
    /// Calls that may be made; tests that hold calls back start with none.
    pub(super) open: Semaphore,
    pub(super) at_once: AtomicUsize,
    pub(super) most_at_once: AtomicUsize,
}

#[derive(Default, Clone)]
pub(super) struct Faults {
    /// Fail the whole batch they are in, and alone.
    pub(super) denied: HashSet<String>,
    /// Fail the whole batch they are in, and succeed alone.
    pub(super) unbatchable: HashSet<String>,
    /// Fail in the list of errors.
    pub(super) missing: HashSet<String>,
    /// Are in neither list, this many times.
    pub(super) left_out: HashMap<String, usize>,
    /// Are answered with a secret of another name.
    pub(super) strange: HashSet<String>,
    /// Every call fails.
    pub(super) all: Option<FetchError>,
    /// Every batch fails.
    pub(super) batching: Option<FetchError>,
    pub(super) page_size: Option<usize>,
    pub(super) panic: bool,
}

pub(super) fn answer(name: &str, version_id: &str) -> Answer {
    Answer {
        id: format!("arn:{name}"),
        name: name.to_owned(),
        version_id: version_id.to_owned(),
        stages: vec!["AWSCURRENT".to_owned()],
        created: None,
        value: RemoteValue::from_bytes(format!("value of {name}").into_bytes()),
    }
}

impl Manager {
    pub(super) fn new() -> Self {
        Self::with(Faults::default())
    }

    pub(super) fn with(faults: Faults) -> Self {
        Self(Arc::new(State {
            batches: AtomicUsize::new(0),
            singles: AtomicUsize::new(0),
            faults: Mutex::new(faults),
            open: Semaphore::new(Semaphore::MAX_PERMITS),
            at_once: AtomicUsize::new(0),
            most_at_once: AtomicUsize::new(0),
        }))
    }

    pub(super) fn held(self) -> Self {
        self.0.open.forget_permits(Semaphore::MAX_PERMITS);
        self
    }

    pub(super) fn release(&self) {
        self.0.open.add_permits(1_000);
    }

    pub(super) fn batcher(&self) -> Batcher<Manager> {
        Batcher::new(self.clone())
    }

    /// Calls since the last look: batches and singles.
    pub(super) fn calls(&self) -> (usize, usize) {
        (self.0.batches.swap(0, Ordering::SeqCst), self.0.singles.swap(0, Ordering::SeqCst))
    }

    pub(super) fn faults(&self) -> MutexGuard<'_, Faults> {
        self.0.faults.lock().unwrap()
    }

    async fn turn(&self) {
        let now = self.0.at_once.fetch_add(1, Ordering::SeqCst) + 1;
        self.0.most_at_once.fetch_max(now, Ordering::SeqCst);
        self.0.open.acquire().await.unwrap().forget();
        tokio::task::yield_now().await;
        self.0.at_once.fetch_sub(1, Ordering::SeqCst);
    }
}

impl BatchSource for Manager {
    fn batch<'a>(&'a self, ids: &'a [String], next: Option<String>) -> BoxFuture<'a, Result<Page, FetchError>> {
        async move {
            assert!(ids.len() <= BATCH_LIMIT);
            self.0.batches.fetch_add(1, Ordering::SeqCst);
            self.turn().await;
            let mut faults = self.faults();
            if faults.panic {
                drop(faults);
                panic!("a bug in the source");
            }
            if let Some(error) = faults.all.clone().or(faults.batching.clone()) {
                return Err(error);
            }
            if ids.iter().any(|id| faults.denied.contains(id) || faults.unbatchable.contains(id)) {
                return Err(DENIED);
            }
            let from: usize = next.map_or(0, |next| next.parse().unwrap());
            let to = faults.page_size.map_or(ids.len(), |size| ids.len().min(from + size));
            let mut page = Page { next: (to < ids.len()).then(|| to.to_string()), ..Page::default() };
            for id in &ids[from..to] {
                if faults.missing.contains(id) {
                    page.failures.push((id.clone(), FetchError::Missing));
                } else if faults.strange.contains(id) {
                    page.answers.push(answer(&format!("{id}-of-another"), "v1"));
                } else if let Some(times) = faults.left_out.get_mut(id).filter(|times| **times > 0) {
                    *times -= 1;
                } else {
                    page.answers.push(answer(id.strip_prefix("arn:").unwrap_or(id), "v1"));
                }
            }
            Ok(page)
        }
        .boxed()
    }

    fn single<'a>(&'a self, ask: &'a Ask) -> BoxFuture<'a, Result<Answer, FetchError>> {
        async move {
            self.0.singles.fetch_add(1, Ordering::SeqCst);
            self.turn().await;
            let faults = self.faults();
            if let Some(error) = &faults.all {
                return Err(error.clone());
            }
            if faults.denied.contains(&ask.id) {
                return Err(DENIED);
            }
            if faults.strange.contains(&ask.id) {
                return Ok(answer("somebody-elses", "v1"));
            }
            let version = match &ask.version {
                VersionRef::Id(id) => id,
                VersionRef::Current | VersionRef::Stage(_) => "v1",
            };
            Ok(answer(&ask.id, version))
        }
        .boxed()
    }
}
