//! What its roles give an operator, against what it asks for. Too little is a denial: there must be none, in any story. Too much is
//! known only when all stories have run: each notes what was used, and `tests/permissions.rs` reads that in the end.

use super::cluster::Cluster;
use super::cluster_audit::{Request, parse};
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Names the folder for notes of what was used; `tests/stories` sets it.
pub const NOTES: &str = "SCOPED_SECRETS_PERMISSIONS";

/// Whether something was asked for in the operator's own namespace alone, where it has a Role of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    Own,
    Elsewhere,
}

/// What was asked for. As text: `list apps/deployments Elsewhere`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Used {
    pub verb: String,
    /// `GROUP/RESOURCE[/SUBRESOURCE]`
    pub resource: String,
    pub place: Place,
}

impl Used {
    fn of(request: &Request, own: &str) -> Self {
        let sub = Some(request.subresource.as_str()).filter(|sub| !sub.is_empty());
        let resource = [Some(request.group.as_str()), Some(request.resource.as_str()), sub];
        Self {
            verb: request.verb.clone(),
            resource: resource.into_iter().flatten().collect::<Vec<_>>().join("/"),
            place: if request.namespace == own { Place::Own } else { Place::Elsewhere },
        }
    }

    /// A line of a note.
    pub fn read(line: &str) -> Option<Self> {
        let [verb, resource, place] = line.split(' ').collect::<Vec<_>>().try_into().ok()?;
        let place = [Place::Own, Place::Elsewhere].into_iter().find(|known| format!("{known:?}") == place)?;
        Some(Self { verb: verb.to_owned(), resource: resource.to_owned(), place })
    }
}

impl fmt::Display for Used {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {:?}", self.verb, self.resource, self.place)
    }
}

/// Times in which denials are excused.
#[derive(Clone, Default)]
pub(super) struct Excuses(Arc<Mutex<Vec<Range<Timestamp>>>>);

impl Excuses {
    pub(super) fn begin(&self) -> Excused {
        let mut spans = self.spans();
        spans.push(Timestamp::now()..Timestamp::MAX);
        Excused { excuses: self.clone(), number: spans.len() - 1 }
    }

    fn cover(&self, at: Timestamp) -> bool {
        self.spans().iter().any(|span| span.contains(&at))
    }

    fn spans(&self) -> MutexGuard<'_, Vec<Range<Timestamp>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// As long as this is kept, no denial that is met is one too many.
#[must_use = "what is denied is excused until it is dropped"]
pub struct Excused {
    excuses: Excuses,
    number: usize,
}

impl Drop for Excused {
    fn drop(&mut self) {
        self.excuses.spans()[self.number].end = Timestamp::now();
    }
}

/// The requests of one operator.
pub(super) struct Permissions {
    log: PathBuf,
    credential: String,
    /// Its namespace.
    own: String,
    excuses: Excuses,
    /// How far the log was read.
    read: AtomicU64,
    used: Mutex<BTreeSet<Used>>,
}

impl Permissions {
    pub(super) fn of(cluster: &Cluster, namespace: &str, credential: &str) -> Self {
        let log = cluster.audit_log();
        // Its token was made just now.
        let begun = log.metadata().map_or(0, |file| file.len());
        Self {
            log,
            credential: credential.to_owned(),
            own: namespace.to_owned(),
            excuses: cluster.excuses(),
            read: AtomicU64::new(begun),
            used: Mutex::default(),
        }
    }

    /// Notes what was used since the last time.
    ///
    /// # Panics
    /// If something was denied (by RBAC: a refusal by a rule at admission is no denial), unless the test fails already.
    pub(super) fn were_enough(&self) {
        if std::thread::panicking() {
            return;
        }
        let (mut given, mut denied) = (Vec::new(), Vec::new());
        for request in self.requests() {
            if request.allowed {
                given.push(request);
            } else if !self.excuses.cover(request.received) {
                denied.push(format!("{} {}", request.verb, request.uri));
            }
        }
        self.note(&given);
        assert!(denied.is_empty(), "the operator lacks permissions: {denied:#?}");
    }

    /// Its requests for resources, since the last time.
    fn requests(&self) -> Vec<Request> {
        let mut log =
            File::open(&self.log).expect("an operator ends before its cluster: its field stands above the cluster's");
        let mut at = self.read.load(Ordering::Relaxed);
        log.seek(SeekFrom::Start(at)).expect("the log grows");
        let (mut found, mut line, mut log) = (Vec::new(), String::new(), BufReader::new(log));
        // A line that is still being written is one the next time.
        while log.read_line(&mut line).is_ok_and(|read| read > 0) && line.ends_with('\n') {
            at += line.len() as u64;
            if line.contains(&self.credential) {
                found.push(parse(&line));
            }
            line.clear();
        }
        self.read.store(at, Ordering::Relaxed);
        found.retain(|request| !request.resource.is_empty());
        found
    }

    fn note(&self, given: &[Request]) {
        let Some(folder) = std::env::var_os(NOTES).map(PathBuf::from) else { return };
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.extend(given.iter().map(|request| Used::of(request, &self.own)));
        let text: String = used.iter().map(|used| format!("{used}\n")).collect();
        let name = self.credential.trim_start_matches("JTI=");
        std::fs::write(folder.join(name), text).expect("the folder for notes can be written");
    }
}
