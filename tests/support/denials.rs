//! No operator asks the API server for what its roles do not give it: looked at whenever one ends, in every story.

use super::cluster::Cluster;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// As the API server's audit log has it; a refusal by a rule at admission is none.
const DENIED: &str = "\"authorization.k8s.io/decision\":\"forbid\"";

/// Where the denials of one operator would be.
pub(super) struct Denials {
    log: PathBuf,
    credential: String,
    excused: Arc<AtomicBool>,
}

impl Denials {
    pub(super) fn of(cluster: &Cluster, credential: &str) -> Self {
        Self { log: cluster.audit_log(), credential: credential.to_owned(), excused: cluster.denials_excused() }
    }

    /// # Panics
    /// If there is one, unless the test fails already.
    pub(super) fn are_none(&self) {
        if std::thread::panicking() || self.excused.load(Ordering::Relaxed) {
            return;
        }
        // It ends with its cluster.
        let Ok(log) = File::open(&self.log) else { return };
        let lines = BufReader::new(log).lines().map_while(Result::ok);
        let denied: Vec<String> =
            lines.filter(|line| line.contains(DENIED) && line.contains(&self.credential)).take(5).collect();
        assert!(denied.is_empty(), "the operator lacks a permission: {denied:#?}");
    }
}
