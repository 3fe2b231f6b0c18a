//! The scan: what is in the cluster and no watch shows, read page by page and never kept.
//!
//! ```text
//!   due (pure) ─► walk: list a page ─► judge it (pure, from the index) ─► tally ─► rest ─► the next page
//! ```
//!
//! Only the leader scans, one page after the other with a rest between. A scan that ends early (an error, the lease lost) says
//! nothing: what the one before found stands until one comes to its end.

mod consumers;
mod contents;
pub mod due;
mod pages;
pub mod secretgen;
mod seen_content;
mod volumes;

use super::context::Context;
use super::index::Index;
use super::report::Tally;
use super::report::known::membership;
use crate::api::segmentation_report::FoundBy;
use crate::segmentation::violation::Violation;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a scan found.
#[derive(Debug, Clone)]
pub struct Scan {
    /// When it began.
    pub began: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// How long it took.
    pub took: Duration,
    /// The namespaces that were in a segment when it began.
    pub namespaces: BTreeMap<Arc<str>, Place>,
    /// The violations, by segment.
    pub found: BTreeMap<Arc<str>, Tally>,
}

/// Why a scan ended early.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// The API server did not answer a list.
    #[error("{what} could not be listed: {why}")]
    List {
        /// Of what kind.
        what: String,
        /// What it said.
        why: String,
    },
    /// Another replica leads.
    #[error("this replica does not lead any more")]
    LeaseLost,
}

/// What every part of a scan knows.
struct Walk<'c> {
    cx: &'c Context,
    /// The segment of each namespace that is in one.
    members: BTreeMap<Arc<str>, Arc<str>>,
    found: BTreeMap<Arc<str>, Tally>,
}

impl Walk<'_> {
    /// Adds what an object breaks.
    fn add(&mut self, object: &ObjectMeta, violations: impl IntoIterator<Item = Violation>) {
        for violation in violations {
            let tally = self.found.entry(violation.segment.clone()).or_default();
            tally.add_of(FoundBy::Scan, violation, object.uid.as_deref());
        }
    }
}

/// Which namespace of a name is meant, and in which segment: a scan tells nothing of one that was made again or has moved since.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Its uid.
    pub uid: Box<str>,
    /// The name of its segment.
    pub segment: Arc<str>,
    /// How often it had changed that: it may be back.
    pub moves: u32,
}

impl Place {
    /// Those of all members.
    pub fn all(index: &Index, members: &BTreeMap<Arc<str>, Arc<str>>) -> BTreeMap<Arc<str>, Self> {
        members.iter().map(|(name, segment)| (name.clone(), Self::of(index, name, segment))).collect()
    }

    /// That of a member of a segment.
    fn of(index: &Index, name: &str, segment: &Arc<str>) -> Self {
        let moves = index.namespace_moves.get(name).copied().unwrap_or_default();
        Self { uid: index.namespace_uid(name), segment: segment.clone(), moves }
    }

    /// Whether each of these members of a segment was seen where it is now.
    pub fn were_seen(
        index: &Index,
        names: &BTreeSet<String>,
        segment: &Arc<str>,
        seen: &BTreeMap<Arc<str>, Self>,
    ) -> bool {
        names.iter().all(|name| seen.get(name.as_str()) == Some(&Self::of(index, name, segment)))
    }
}

/// Scans the cluster.
pub async fn scan(cx: &Context) -> Result<Scan, ScanError> {
    let (began, start) = (cx.now(), Instant::now());
    let (members, namespaces) = {
        let index = cx.index();
        let members = membership(&index, began);
        let namespaces = Place::all(&index, &members);
        (members, namespaces)
    };
    let mut walk = Walk { cx, members, found: BTreeMap::new() };
    consumers::walk(&mut walk).await?;
    volumes::walk(&mut walk).await?;
    secretgen::walk(&mut walk).await?;
    contents::walk(&mut walk).await?;
    Ok(Scan { began, ended: cx.now(), took: start.elapsed(), namespaces, found: walk.found })
}
