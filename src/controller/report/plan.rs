//! What the report of a segment ought to say. Pure.
//!
//! ```text
//!   what is watched ─┐
//!   the last scan ───┼─► status ─► equal to what stands: nothing; else one write
//!   what stands ─────┘
//! ```
//!
//! What stands is asked for three things only: since when a violation is known, what the scan before found (until this process
//! has scanned itself), and which annotation was acted on.

use super::tally::{Kind, Tally};
use crate::admission::guard::INSTALL_AGAIN;
use crate::api::Reason;
use crate::api::condition::{ConditionType, Wanted, merge};
use crate::api::policy::AcceptedViolations;
use crate::api::segmentation_report::{
    EXCEPTIONS, ExceptionInForce, FoundBy, NAMESPACES, ReportedViolation, SegmentationReportStatus, ViolationCount,
};
use crate::controller::schedule;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use std::collections::{BTreeSet, HashMap};

/// What is known of a segment.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// Its namespaces.
    pub namespaces: BTreeSet<String>,
    /// The violations that what is watched shows now.
    pub watched: Tally,
    /// The violations that the last scan found; None: this process has not scanned, and what stands is what is known.
    pub scanned: Option<Tally>,
    /// What was seen besides, and stays until the next scan.
    pub sighted: Tally,
    /// When that scan ended.
    pub scanned_at: Option<Timestamp>,
    /// Whether a namespace of the segment has not been scanned yet: what the scans before found is not all.
    pub unscanned: bool,
    /// Rules that are not kept at admission.
    pub unguarded: BTreeSet<&'static str>,
    /// Exceptions in force.
    pub exceptions: Vec<ExceptionInForce>,
    /// Secrets that would be withdrawn, and wait for somebody's word.
    pub paused: usize,
    /// The annotation accept-violations, and how far it is.
    pub accepted: Option<AcceptedViolations>,
}

impl Observed {
    /// The uid of what breaks a rule, as far as whoever saw it last has seen that.
    pub fn uid(&self, violation: &ReportedViolation) -> Option<&str> {
        let seen = [Some(&self.sighted), self.scanned.as_ref()];
        seen.into_iter().flatten().find_map(|tally| tally.uid(violation))
    }
}

/// A scan that changed nothing is noted after this long.
const NOTED: SignedDuration = SignedDuration::from_hours(24);

/// The status that a report of this generation deserves, where `live` stands. It equals `live` where nothing changed.
pub fn status(
    observed: &Observed,
    live: &SegmentationReportStatus,
    generation: i64,
    now: Timestamp,
) -> SegmentationReportStatus {
    let last = live.last_scan_time.as_ref().map(|t| t.0).filter(|_| !observed.unscanned);
    let own = observed.scanned_at.map(whole_second).filter(|_| !observed.unscanned);
    // What a clock that was ahead has noted stands until a scan ends by one that is right.
    let sound = |time: Option<Timestamp>| time.filter(|time| !schedule::is_ahead(*time, now));
    let scanned_at = sound(own).max(sound(last)).or(last);
    let unchanged = draft(observed, live, last, generation, now);
    let overdue = match (sound(last), scanned_at) {
        (None, scanned) => scanned.is_some(),
        (Some(last), Some(scanned)) => scanned.duration_since(last) >= NOTED,
        (Some(_), None) => false,
    };
    if unchanged == *live && !overdue { unchanged } else { draft(observed, live, scanned_at, generation, now) }
}

fn draft(
    observed: &Observed,
    live: &SegmentationReportStatus,
    scanned_at: Option<Timestamp>,
    generation: i64,
    now: Timestamp,
) -> SegmentationReportStatus {
    let mut tally = observed.watched.clone();
    match &observed.scanned {
        Some(scanned) => tally.extend(scanned),
        None => tally.recall(&live.violations, &recalled(live), FoundBy::Scan),
    }
    tally.extend(&observed.sighted);
    let known: HashMap<_, _> = live.violations.iter().map(|v| ((&*v.rule, &*v.reason, &v.object), &v.since)).collect();
    let since = |kind: &Kind, object| known.get(&(&*kind.rule, &*kind.reason, object)).map(|since| (*since).clone());
    let listed = tally.listed().into_iter().map(|(kind, object, message)| ReportedViolation {
        rule: kind.rule.clone(),
        reason: kind.reason.clone(),
        object: object.clone(),
        since: since(kind, object).unwrap_or_else(|| Time(whole_second(now))),
        message: message.to_owned(),
        found_by: kind.found_by,
    });
    let violations: Vec<ReportedViolation> = listed.collect();
    let counts = tally.counts().map(|(kind, count)| ViolationCount {
        rule: kind.rule.clone(),
        reason: kind.reason.clone(),
        found_by: kind.found_by,
        count: number(count),
    });
    let conditions = conditions(observed, tally.total(), scanned_at.is_some());
    SegmentationReportStatus {
        conditions: merge(&live.conditions, &conditions, generation, now),
        observed_generation: Some(generation),
        total: Some(number(tally.total())),
        counts: counts.collect(),
        unlisted: some(tally.total() - violations.len()),
        violations,
        paused_withdrawals: some(observed.paused),
        exceptions: observed.exceptions.iter().take(EXCEPTIONS).cloned().collect(),
        namespaces: observed.namespaces.iter().take(NAMESPACES).cloned().collect(),
        last_scan_time: scanned_at.map(Time),
        accepted: observed.accepted.clone(),
    }
}

/// How many of each kind a report says there are.
fn recalled(live: &SegmentationReportStatus) -> Vec<(Kind, usize)> {
    let kind = |c: &ViolationCount| Kind { rule: c.rule.clone(), reason: c.reason.clone(), found_by: c.found_by };
    live.counts.iter().map(|c| (kind(c), usize::try_from(c.count).unwrap_or(0))).collect()
}

fn conditions(observed: &Observed, total: usize, scanned: bool) -> Vec<Wanted> {
    use ConditionType::{Clean, Guarded, Ready};
    let clean = match total {
        0 if scanned => Wanted::yes(Clean, Reason::NothingFound, "nothing was found"),
        0 => Wanted::unknown(Clean, Reason::Pending, "nothing was found so far; the cluster is scanned soon"),
        n => {
            let text = format!("{n} {} found", if n == 1 { "violation was" } else { "violations were" });
            Wanted::no(Clean, Reason::ViolationsFound, text)
        }
    };
    let guarded = if observed.unguarded.is_empty() {
        Wanted::yes(Guarded, Reason::Guarded, "every rule is kept at admission")
    } else {
        let rules = observed.unguarded.iter().copied().collect::<Vec<_>>().join(", ");
        let text = format!("not kept at admission, or not as installed: {rules}; to have it back, {INSTALL_AGAIN}");
        Wanted::no(Guarded, Reason::GuardMissing, text)
    };
    vec![Wanted::yes(Ready, Reason::Reported, "what is known is in this report"), clean, guarded]
}

fn whole_second(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// None is written where there is none.
fn some(count: usize) -> Option<i64> {
    (count > 0).then(|| number(count))
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
