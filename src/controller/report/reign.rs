//! What a leader knows beside the index, and when it has the cluster scanned.

use super::guards::Looked;
use super::judge_access;
use super::known::membership;
use super::tally::Tally;
use crate::api::Reason;
use crate::api::policy::{ExceptedRule, Within};
use crate::api::segmentation_report::NAMESPACES;
use crate::controller::context::Context;
use crate::controller::index::Index;
use crate::controller::scan::{self, Place, Scan, ScanError, due};
use crate::segmentation::violation::Violation;
use crate::segmentation::world::PolicyState;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// A restart or another leader takes less: what came in while nobody led for longer is looked for by a scan.
const VACANCY: Duration = Duration::from_secs(120);

/// What a leader knows beside the index.
#[derive(Default)]
pub(super) struct Reign {
    /// What is missing at admission, and when that was looked at.
    pub(super) guards: Looked,
    pub(super) looked: Option<Instant>,
    /// Since when that could not be looked at.
    pub(super) blind_since: Option<Instant>,
    /// Of which rules the leader before has told that so many objects are missing, until that was looked at.
    pub(super) told_missing: BTreeMap<String, i64>,
    /// Who gets at Secrets across a boundary by RBAC, as of then.
    pub(super) access: Vec<Violation>,
    /// What other operators are asked for and may not be.
    pub(super) foreign: Vec<Violation>,
    /// Not looked at again before then.
    pub(super) foreign_rest: Option<Instant>,
    /// A rule was not kept for a while: what came in meanwhile is looked for.
    gap: bool,
    /// Whether a rule of whose breaches only a scan tells was tried out when last looked at.
    tried: bool,
    /// Which policies keep values apart, as last looked at.
    compare: Option<BTreeSet<String>>,
    /// Which exceptions let something through of which nothing but a scan tells, likewise.
    lifted: BTreeSet<String>,
    /// The scan that runs; it ends with the reign.
    running: JoinSet<Result<Scan, ScanError>>,
    /// The last scan of this reign.
    pub(super) scan: Option<Scan>,
    /// When this leader last began one, and how many in a row ended early.
    began: Option<Timestamp>,
    failures: u32,
    /// The namespaces that a scan has seen where they are. One that leaves its segment, or is made again, is not among them any
    /// more.
    pub(super) seen: BTreeMap<Arc<str>, Place>,
}

impl Reign {
    /// What the leader before has seen. While nobody led for a while, something may have got past that nobody told of.
    pub(super) fn after(index: &Index, vacancy: Option<Duration>, now: Timestamp) -> Self {
        let scanned = index.reports.values().filter(|report| report.status.last_scan_time.is_some());
        let named = scanned.flat_map(|report| report.status.namespaces.iter().map(move |name| (name, report)));
        let named = named.map(|(name, report)| (name.as_str().into(), report.segment.clone()));
        let mut named: BTreeMap<Arc<str>, Arc<str>> = named.collect();
        // Of a segment of more namespaces than a report lists, all were scanned.
        let full = index
            .reports
            .values()
            .filter(|report| report.status.last_scan_time.is_some() && report.status.namespaces.len() >= NAMESPACES);
        let full: BTreeSet<&Arc<str>> = full.map(|report| &report.segment).collect();
        if !full.is_empty() {
            let members = membership(index, now).into_iter().filter(|(_, segment)| full.contains(segment));
            for (name, segment) in members {
                named.entry(name).or_insert(segment);
            }
        }
        let seen = Place::all(index, &named);
        let gone = Reason::GuardMissing.as_str();
        let told = index.reports.values().flat_map(|report| &report.status.counts).filter(|count| count.reason == gone);
        let told_missing = told.map(|count| (count.rule.clone(), count.count)).collect();
        let mut reign = Self { seen, told_missing, ..Self::default() };
        if vacancy.is_none_or(|vacancy| vacancy > VACANCY) {
            reign.begins_anew();
        }
        reign
    }

    /// Something may have got past since the last scan: until the next the reports say that they do not tell all, whoever leads then.
    pub(super) fn begins_anew(&mut self) {
        self.gap = true;
        self.seen.clear();
    }

    /// Takes up a scan that has ended, and begins one that is due.
    pub(super) fn scan(&mut self, cx: &Arc<Context>, interval: Duration) {
        if !cx.index().world.knows_policies() {
            // Whose the values are cannot be told: what was found stands, and one that runs is begun anew.
            self.gap |= !self.running.is_empty();
            self.running = JoinSet::new();
            return;
        }
        while let Some(ended) = self.running.try_join_next() {
            match ended.map_err(|panic| panic.to_string()).and_then(|ended| ended.map_err(|error| error.to_string())) {
                Ok(scan) => {
                    let found: usize = scan.found.values().map(Tally::total).sum();
                    tracing::info!(found, seconds = scan.took.as_secs_f64(), "the cluster was scanned");
                    cx.metrics.scanned(Some((scan.ended, scan.took)));
                    cx.sightings.lock().unwrap_or_else(PoisonError::into_inner).retain(|seen| seen.at > scan.began);
                    // Half of one that ran while something may have got past was before that.
                    if !self.gap {
                        self.seen.extend(scan.namespaces.clone());
                    }
                    self.failures = 0;
                    self.scan = Some(scan);
                    // What a report says from now on is of one time.
                    judge_access(cx, self);
                }
                Err(error) => {
                    tracing::warn!(error, "a scan of the cluster ended early; it is tried again");
                    cx.metrics.scanned(None);
                    self.failures = self.failures.saturating_add(1);
                }
            }
        }
        let (members, last, tried, compare, lifted) = {
            let index = cx.index();
            let noted = index.reports.values().filter_map(|report| report.status.last_scan_time.as_ref());
            let lets_through =
                |state: &PolicyState| matches!(state, PolicyState::Known(policy) if policy.lets_through());
            let tried = index.world.policies.values().any(lets_through);
            let compares = |state: &PolicyState| matches!(state, PolicyState::Known(policy) if policy.unique_within == Within::Segment);
            let compare = index.world.policies.iter().filter(|(_, state)| compares(state));
            let compare: BTreeSet<String> = compare.map(|(name, _)| name.clone()).collect();
            let members = Place::all(&index, &membership(&index, cx.now()));
            let is_the_same = |name: &Arc<str>, place: &mut Place| members.get(name) == Some(place);
            self.seen.retain(is_the_same);
            self.scan.iter_mut().for_each(|scan| scan.namespaces.retain(is_the_same));
            let scanned = [ExceptedRule::Consumers, ExceptedRule::Replication, ExceptedRule::Copies];
            let lifted = index.world.policies.iter().flat_map(|(name, state)| match state {
                PolicyState::Known(policy) => scanned
                    .iter()
                    .flat_map(|rule| policy.in_force(*rule, cx.now()))
                    .map(|lifted| {
                        format!(
                            "{name} {:?} {:?} {:?} {:?}",
                            lifted.rule, lifted.keys, lifted.namespaces, lifted.subjects
                        )
                    })
                    .collect(),
                PolicyState::Unknown(_) => Vec::new(),
            });
            let lifted: BTreeSet<String> = lifted.collect();
            (members, noted.map(|time| time.0).max(), tried, compare, lifted)
        };
        // What came in since the last scan, while it was let through, is to be told now that it is not.
        let keeps_more_apart = self.compare.as_ref().is_some_and(|before| !compare.is_subset(before));
        if self.tried && !tried || keeps_more_apart || !self.lifted.is_subset(&lifted) {
            self.begins_anew();
        }
        (self.tried, self.compare, self.lifted) = (tried, Some(compare), lifted);
        let known = due::Known {
            last: self.scan.as_ref().map(|scan| scan.ended).max(last),
            began: self.began,
            took: self.scan.as_ref().map_or(Duration::ZERO, |scan| scan.took),
            failures: self.failures,
            wanted: self.gap || members.keys().any(|namespace| !self.seen.contains_key(namespace)),
            tried,
        };
        if self.running.is_empty() && !members.is_empty() && due::is_due(&known, interval, cx.now()) {
            (self.began, self.gap) = (Some(cx.now()), false);
            let cx = cx.clone();
            self.running.spawn(async move { scan::scan(&cx).await });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::segmentation_report::SegmentationReportStatus;
    use crate::controller::report::known::Known;
    use crate::segmentation::fixtures::now;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    /// One namespace, which was looked through when it was a part of a segment.
    fn index(segment: &str) -> Index {
        let mut index = Index::default();
        index.namespace_uids.insert("mover".into(), "1".into());
        let status = SegmentationReportStatus {
            namespaces: vec!["mover".into()],
            last_scan_time: Some(Time(now())),
            ..SegmentationReportStatus::default()
        };
        let report = Known { segment: segment.into(), status, ..Known::default() };
        index.reports.insert(segment.to_owned(), report);
        index
    }

    #[test]
    fn what_the_leader_before_has_scanned_counts_unless_nobody_led_for_a_while() {
        let minutes = |minutes: u64| Some(Duration::from_secs(60 * minutes));
        for (vacancy, is_scanned) in [(minutes(1), true), (minutes(3), false), (None, false)] {
            let reign = Reign::after(&index("payments/prod"), vacancy, now());
            assert_eq!((reign.seen.contains_key("mover"), reign.gap), (is_scanned, !is_scanned), "{vacancy:?}");
        }
    }

    #[test]
    fn one_that_moves_or_is_made_again_was_not_scanned() {
        let (before, mut index) =
            (Reign::after(&index("payments/prod"), Some(Duration::ZERO), now()), index("payments/prod"));
        let seen = |index: &Index, segment: &str| {
            Place::were_seen(index, &["mover".to_owned()].into(), &segment.into(), &before.seen)
        };
        assert!(seen(&index, "payments/prod") && !seen(&index, "billing/prod"));
        index.namespace_moves.insert("mover".into(), 2);
        assert!(!seen(&index, "payments/prod"), "it is back, and may bring something along");
        index.namespace_moves.clear();
        index.namespace_uids.insert("mover".into(), "2".into());
        assert!(!seen(&index, "payments/prod"));
    }
}
