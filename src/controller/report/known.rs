//! The reports as they stand, in the index: what each says, and what somebody accepts by annotating it.
//!
//! An annotation on a report releases the withdrawals that wait in its segment, and no others. As on a policy it counts for the
//! change that sets or alters it: once nothing is left to withdraw it is spent, and that is written down in the report.

use crate::api::policy::AcceptedViolations;
use crate::api::segmentation_report::{SegmentationReport, SegmentationReportStatus, report_name};
use crate::controller::context::{Context, Recount};
use crate::controller::index::{Index, accept_violations};
use crate::segmentation::access::findings::Left;
use crate::segmentation::authorize::{Governance, Retention, governance, retention, segment_of};
use crate::segmentation::world::ObjectName;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::DynamicObject;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A report as it was last seen or written.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Known {
    /// Its uid.
    pub uid: String,
    /// Its resourceVersion.
    pub resource_version: String,
    /// metadata.generation.
    pub generation: i64,
    /// Its segment.
    pub segment: Arc<str>,
    /// The annotation accept-violations.
    pub accept: Option<String>,
    /// What it says.
    pub status: SegmentationReportStatus,
}

impl Known {
    /// What is kept of a report. One that cannot be understood says nothing, and is written anew.
    pub fn of(object: &DynamicObject) -> Self {
        let ObjectMeta { uid, resource_version, generation, .. } = object.metadata.clone();
        let parsed = object.clone().try_parse::<SegmentationReport>().ok();
        let (segment, status) = parsed.map(|r| (r.spec.segment, r.status.unwrap_or_default())).unwrap_or_default();
        Self {
            uid: uid.unwrap_or_default(),
            resource_version: resource_version.unwrap_or_default(),
            generation: generation.unwrap_or(0),
            segment: segment.into(),
            accept: accept_violations(&object.metadata),
            status,
        }
    }

    /// The number that its annotation accepts, unless that is spent.
    fn accepts(&self) -> Option<usize> {
        let value = self.accept.as_deref()?;
        let recorded = self.status.accepted.as_ref().filter(|known| known.value == value);
        value.parse().ok().filter(|_| recorded.is_none_or(|known| !known.spent))
    }

    /// What its status says of the annotation from now on.
    pub fn accepted(&self, open: bool) -> Option<AcceptedViolations> {
        let value = self.accept.clone()?;
        let known = self.status.accepted.as_ref().filter(|known| known.value == value);
        let over = !open || known.is_some_and(|known| known.spent);
        let generation = known.map_or(self.generation, |known| known.generation);
        Some(AcceptedViolations { value, generation, settled: over, spent: over })
    }
}

/// Which segment each namespace is in. One of which that cannot be told now, or which policy does not govern any more while a
/// Secret stands in it, is where its segment's report had it.
pub fn membership(index: &Index, now: Timestamp) -> BTreeMap<Arc<str>, Arc<str>> {
    let holders: BTreeSet<&Arc<str>> = index.world.holdings().map(|(secret, _)| &secret.namespace).collect();
    let mut segments: BTreeMap<String, Arc<str>> = BTreeMap::new();
    let mut members = BTreeMap::new();
    for namespace in index.world.namespaces.keys() {
        let segment = match segment_of(namespace, &index.world) {
            Ok(segment) => {
                let name = segment.name();
                Some(segments.entry(name.to_owned()).or_insert_with(|| name.into()).clone())
            }
            Err(_) => {
                let unknown = governance(namespace, &index.world, now) == Governance::Unknown;
                (unknown || holders.contains(namespace)).then(|| index.reported_in(namespace)).flatten()
            }
        };
        members.extend(segment.map(|segment| (namespace.clone(), segment)));
    }
    members
}

/// Namespaces that no policy governs any more, and where Secrets of a segment still stand.
pub fn left(index: &Index, now: Timestamp) -> Left {
    let has_left = |namespace: &str| governance(namespace, &index.world, now) == Governance::Ungoverned;
    membership(index, now).into_iter().filter(|(namespace, _)| has_left(namespace)).collect()
}

impl Index {
    /// The segment whose report names a namespace.
    fn reported_in(&self, namespace: &str) -> Option<Arc<str>> {
        let mut reports = self.reports.values();
        reports.find(|report| report.status.namespaces.iter().any(|n| n == namespace)).map(|r| r.segment.clone())
    }

    /// The report over a namespace, by name, if there is one.
    pub fn report_over(&self, namespace: &str) -> Option<(&String, &Known)> {
        let segment = match segment_of(namespace, &self.world) {
            Ok(segment) => segment.name().into(),
            Err(_) => self.reported_in(namespace)?,
        };
        self.reports.get_key_value(&report_name(&segment))
    }

    /// The Secrets of a report's segment that policy wants taken away; None while that cannot be told of all of them.
    pub fn withdrawals_under(&self, report: &str, now: Timestamp) -> Option<usize> {
        let over: BTreeMap<&Arc<str>, bool> = self
            .world
            .holdings()
            .map(|(name, _)| (&name.namespace, ()))
            .collect::<BTreeMap<_, _>>()
            .into_keys()
            .map(|namespace| (namespace, self.report_over(namespace).is_some_and(|(name, _)| name == report)))
            .collect();
        let held = self.world.holdings().filter(|(name, _)| over.get(&name.namespace) == Some(&true));
        let mut count = 0;
        for (name, held) in held {
            match retention(name, held, &self.world, now) {
                Retention::Withdraw(why) => count += usize::from(!why.reason.is_an_end()),
                Retention::Keep => {}
                Retention::Unknown(_) => return None,
            }
        }
        Some(count)
    }
}

/// Whether somebody accepted the withdrawals that wait in the segment of a Secret.
pub fn is_released(cx: &Context, index: &Index, secret: &ObjectName) -> bool {
    let Some((name, report)) = index.report_over(&secret.namespace) else { return false };
    report.accepts().is_some_and(|number| number >= pending(cx, index, name))
}

/// The report that would release a Secret's withdrawal, and the number that it takes.
pub fn releasing(cx: &Context, index: &Index, secret: &ObjectName) -> Option<(String, usize)> {
    let (name, _) = index.report_over(&secret.namespace)?;
    Some((name.clone(), pending(cx, index, name)))
}

fn pending(cx: &Context, index: &Index, report: &str) -> usize {
    cx.recounted(index, &Recount::Under(report.to_owned()), || {
        index.withdrawals_under(report, cx.now()).unwrap_or(0).max(1)
    })
}
