//! The SegmentationReports: what reconcile and the scan found and could not put right, one report a segment.
//!
//! ```text
//!   index ─► found (pure) ──┐
//!   guards (small lists) ───┼─► plan::status (pure) ─► what stands? ─► create, write, remove, or nothing
//!   scan (paged lists) ─────┘
//! ```
//!
//! The leader looks every few seconds and writes only what differs. What it needs to go on after another leader is in the
//! reports themselves: since when, what the scan before found, and which annotation was acted on.

mod found;
pub mod guards;
pub mod known;
mod news;
pub mod plan;
mod reign;
mod tally;

pub use found::forged;
pub use tally::Tally;

use super::context::Context;
use super::events::{self, Told};
use super::queue::Lane;
use super::scan::Place;
use super::scoped_secret::is_paused;
use super::synced::Synced;
use super::watch::{self, View};
use crate::admission::identities::Installation;
use crate::admission::rules;
use crate::api::policy::{ModalRule, Mode};
use crate::api::segmentation_report::{
    FoundBy, SegmentationReport, SegmentationReportSpec, SegmentationReportStatus, report_name,
};
use crate::api::{FIELD_MANAGER, GROUP, Reason};
use crate::client::errors::brief;
use crate::leader::Leadership;
use crate::segmentation::access::findings::findings_in;
use crate::segmentation::access::jurisdiction::Jurisdiction;
use crate::segmentation::authorize::answer;
use crate::segmentation::authorize::foreign::Foreigners;
use crate::segmentation::foreign::ForeignName;
use crate::segmentation::verdict::Refusal;
use crate::segmentation::violation::ObjectRef;
use crate::segmentation::world::{Holding, ObjectName, World};
use jiff::Timestamp;
use known::{Known, left};
use kube::ResourceExt;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, PostParams, Preconditions};
use kube::runtime::events::EventType;
use plan::Observed;
use reign::Reign;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::sync::watch::Receiver;
use tokio::time::Instant;

/// So long a new leader waits until all is listed that reports tell of.
const WAITS: Duration = Duration::from_secs(30);

/// Between two looks at the objects of other operators it rests so many times as long as one takes.
const REST: u32 = 20;

/// How often the leader looks whether a report is to be written.
const TICK: Duration = Duration::from_secs(5);

/// What the leader is told at its start.
#[derive(Debug, Clone)]
pub struct Terms {
    /// Where the operator is installed, and as whom: the rules kept at admission name both.
    pub installation: Installation,
    /// How often they are looked at.
    pub guards: Duration,
    /// How often the cluster is scanned.
    pub scan: Duration,
}

/// Keeps the reports, whenever this replica leads.
pub async fn run(cx: Arc<Context>, mut leadership: Leadership, synced: Receiver<Synced>, terms: Terms) {
    loop {
        leadership.gained().await;
        let mut reign: Option<Reign> = None;
        let mut since: Option<Instant> = None;
        while leadership.leads() {
            // What only reports tell of is waited for, but not for ever: a kind may not be listed at all.
            let waited = || since.is_some_and(|since| since.elapsed() >= WAITS);
            let ready = cx.leads() && (reign.is_some() || synced.borrow().all() || waited());
            since = since.or_else(|| cx.leads().then(Instant::now));
            if ready {
                let reign = reign.get_or_insert_with(|| Reign::after(&cx.index(), leadership.vacancy(), cx.now()));
                if cx.entries_were_changed.swap(false, Ordering::Relaxed) {
                    tracing::info!(
                        "the webhook's entries had been taken away or weakened; what came in meanwhile is looked for"
                    );
                    reign.begins_anew();
                }
                look_at_guards(&cx, &terms, reign).await;
                judge_foreign(&cx, reign).await;
                keep(&cx, reign).await;
                reign.scan(&cx, terms.scan);
            }
            let mut changed = leadership.clone();
            tokio::select! {
                () = changed.changed() => break,
                () = tokio::time::sleep(TICK.min(terms.guards)) => {}
            }
        }
        cx.metrics.forget_reports();
    }
}

/// Roles and bindings are many, and change for other reasons: judged as often as the guards are looked at. While a policy is
/// unknown, what was found stands.
fn judge_access(cx: &Context, reign: &mut Reign) {
    let index = cx.index();
    if Jurisdiction::all(&index.world).is_ok() {
        let (world, now) = (&index.world, cx.now());
        reign.access = findings_in(&index.access, world, &left(&index, now), now);
    }
}

/// What other operators are asked for, object by object, so that nobody waits for all of them. Where they take long they are looked at
/// less often. While a policy is unknown, what was found stands.
async fn judge_foreign(cx: &Context, reign: &mut Reign) {
    let (began, now) = (Instant::now(), cx.now());
    if reign.foreign_rest.is_some_and(|until| began < until) {
        return;
    }
    let names: Vec<ForeignName> = cx.index().world.foreign.objects().map(|(name, _)| name.clone()).collect();
    let mut found = Vec::new();
    for name in names {
        {
            let index = cx.index();
            if !index.world.knows_policies() {
                return;
            }
            let judge = Foreigners::new(&index.world, now);
            found.extend(index.world.foreign.object(&name).map(|record| judge.findings_of(&name, record)));
        }
        tokio::task::yield_now().await;
    }
    reign.foreign = found.concat();
    reign.foreign_rest = Some(Instant::now() + began.elapsed() * REST);
}

async fn look_at_guards(cx: &Context, terms: &Terms, reign: &mut Reign) {
    if reign.looked.is_some_and(|at| at.elapsed() < terms.guards) {
        return;
    }
    judge_access(cx, reign);
    match guards::look(&cx.client, &terms.installation).await {
        Ok(looked) => {
            let (missing, before) = (&looked.missing, &reign.guards.missing);
            for gone in missing.iter().filter(|m| !before.contains(m)) {
                tracing::warn!(rule = gone.rule, kind = gone.kind, name = gone.name, differs = ?gone.differs, "a rule is not kept at admission; the operator does not put it back");
            }
            let told = std::mem::take(&mut reign.told_missing);
            let are_fewer = |(rule, before): (&String, &i64)| {
                let now = missing.iter().filter(|m| m.rule == rule).count();
                i64::try_from(now).is_ok_and(|now| now < *before)
            };
            let back = before.iter().any(|m| !missing.contains(m)) || told.iter().any(are_fewer);
            if back || looked.had_a_gap_since(&reign.guards) {
                reign.begins_anew();
                tracing::info!("a rule is kept at admission again; what came in meanwhile is looked for");
            }
            let all = rules::guards(&terms.installation).into_iter().map(|guard| guard.rule);
            let all = all.chain(rules::REVIEWED.iter().copied());
            cx.metrics.set_guards_missing(all.map(|rule| (rule, missing.iter().any(|m| m.rule == rule))));
            reign.guards = looked;
            reign.looked = Some(Instant::now());
            reign.blind_since = None;
        }
        Err(error) => {
            tracing::warn!(error = %brief(&error), "the rules kept at admission could not be looked at; it is tried again");
            // After two looks that should have been nobody can say that a rule is kept: the metric does not.
            if reign.blind_since.get_or_insert_with(Instant::now).elapsed() >= terms.guards * 2 {
                let all = rules::guards(&terms.installation).into_iter().map(|guard| guard.rule);
                cx.metrics.set_guards_missing(all.chain(rules::REVIEWED.iter().copied()).map(|rule| (rule, true)));
            }
        }
    }
}

/// One look at every segment: writes what differs.
async fn keep(cx: &Context, reign: &Reign) {
    // Before the first look at the guards, a report would say that they are there; while a policy is unknown, that nothing is wrong.
    if reign.looked.is_none() || !cx.index().world.knows_policies() {
        return;
    }
    let now = cx.now();
    let mut segments = observe_all(cx, reign, now);
    let known = cx.index().reports.clone();
    for (name, report) in &known {
        let observed = segments.get(&report.segment).filter(|_| report_name(&report.segment) == **name);
        if observed.is_none() {
            remove(cx, name, report).await;
        }
    }
    let mut counts = BTreeMap::new();
    for (segment, observed) in &mut segments {
        let name = report_name(segment);
        let report = known.get(&name);
        observed.accepted = report.and_then(|report| {
            // What cannot be told now may turn out to be withdrawn by it.
            let open = report.accept.is_some() && cx.index().withdrawals_under(&name, now) != Some(0);
            report.accepted(open)
        });
        if let Some(status) = bring_up_to_date(cx, segment, &name, report, observed, now).await {
            // Metrics are for many to read: what is easy to guess is told in the report alone.
            for count in status.counts.into_iter().filter(|count| count.reason != Reason::WeakValueCopied.as_str()) {
                let mode = mode(&count.rule, observed, &cx.index().world, now);
                *counts.entry((count.rule, count.reason, mode)).or_default() +=
                    usize::try_from(count.count).unwrap_or(0);
            }
        }
    }
    cx.metrics.set_violations(&counts);
}

/// How breaches of a rule are answered in a segment: as in that of its namespaces where they are most strictly. What does not
/// follow the mode is refused.
fn mode(rule: &str, observed: &Observed, world: &World, now: Timestamp) -> &'static str {
    let Some(rule) = ModalRule::from_text(rule) else { return Mode::Enforce.as_str() };
    let answers = observed.namespaces.iter().filter_map(|namespace| answer(rule, namespace, world, now));
    answers.max().map_or("Unknown", Mode::as_str)
}

fn observe_all(cx: &Context, reign: &Reign, now: Timestamp) -> BTreeMap<Arc<str>, Observed> {
    let index = cx.index();
    let pauses = |secret: &ObjectName, held: &Holding, why: &Refusal| is_paused(cx, &index, secret, held, why);
    let judged = [&reign.access[..], &reign.foreign].concat();
    let mut segments = found::found(&index, &reign.guards.missing, &judged, &pauses, now);
    let lifted = |kind: &tally::Kind, object: &_| found::is_lifted(&index, &kind.rule, object, now);
    let sightings = cx.sightings.lock().unwrap_or_else(PoisonError::into_inner);
    for (segment, observed) in &mut segments {
        let mut sighted = Tally::default();
        for seen in sightings.iter().filter(|seen| seen.violation.segment == *segment) {
            sighted.add_of(FoundBy::Scan, seen.violation.clone(), seen.uid.as_deref());
        }
        observed.sighted = sighted.without(lifted);
        // One that has just moved is among them where it was.
        let were_seen = |places| Place::were_seen(&index, &observed.namespaces, segment, places);
        observed.unscanned = !were_seen(&reign.seen);
        if let Some(scan) = &reign.scan {
            observed.scanned = Some(scan.found.get(segment).map(|tally| tally.without(lifted)).unwrap_or_default());
            // A segment that is newer than the scan was not scanned.
            observed.scanned_at = were_seen(&scan.namespaces).then_some(scan.ended);
        }
    }
    drop(sightings);
    let paused = index.claims.values().filter(|record| record.status.is_paused()).count();
    cx.metrics.set_withdrawals_paused(paused);
    segments
}

/// Creates or writes a report if it is not as it ought to be; what it says then.
async fn bring_up_to_date(
    cx: &Context,
    segment: &Arc<str>,
    name: &str,
    report: Option<&Known>,
    observed: &Observed,
    now: Timestamp,
) -> Option<SegmentationReportStatus> {
    let created;
    let report = match report {
        Some(report) => report,
        None => {
            created = create(cx, segment, name).await?;
            &created
        }
    };
    let status = plan::status(observed, &report.status, report.generation, now);
    if status != report.status {
        write(cx, name, report, &status, observed).await;
    }
    Some(status)
}

fn api(cx: &Context) -> Api<DynamicObject> {
    Api::all_with(cx.client.clone(), &ApiResource::erase::<SegmentationReport>(&()))
}

fn params() -> PostParams {
    PostParams { field_manager: Some(FIELD_MANAGER.into()), ..PostParams::default() }
}

fn failed(what: &str, name: &str, error: &kube::Error) {
    tracing::warn!(report = name, error = %brief(error), "a report was not {what}; it is tried again");
}

async fn create(cx: &Context, segment: &Arc<str>, name: &str) -> Option<Known> {
    if !cx.leads() {
        return None;
    }
    let report = SegmentationReport::new(name, SegmentationReportSpec { segment: segment.to_string() });
    let object = serde_json::from_value(json!(report)).ok()?;
    match api(cx).create(&params(), &object).await {
        Ok(created) => {
            observe(cx, &created, View::Answer);
            Some(Known::of(&created))
        }
        // Its event is on the way.
        Err(kube::Error::Api(status)) if status.code == 409 => None,
        Err(error) => {
            failed("created", name, &error);
            None
        }
    }
}

/// Replaces the status of exactly the revision that was seen.
async fn write(cx: &Context, name: &str, report: &Known, status: &SegmentationReportStatus, observed: &Observed) {
    if !cx.leads() {
        return;
    }
    let object = json!({
        "apiVersion": format!("{GROUP}/v1alpha1"),
        "kind": "SegmentationReport",
        "metadata": {"name": name, "uid": report.uid, "resourceVersion": report.resource_version},
        "spec": {"segment": &*report.segment},
        "status": status,
    });
    let Ok(object) = serde_json::from_value::<DynamicObject>(object) else { return };
    match api(cx).replace_status(name, &params(), &object).await {
        Ok(written) => {
            observe(cx, &written, View::Answer);
            tell(cx, name, report, status).await;
            news::tell(cx, &report.status, status, observed).await;
        }
        // Somebody annotated it, or it is gone: the event is on the way.
        Err(kube::Error::Api(status)) if [404, 409].contains(&status.code) => {}
        Err(error) => failed("written", name, &error),
    }
}

/// The segment has no namespace any more, or the report is not one that the operator would have written.
async fn remove(cx: &Context, name: &str, report: &Known) {
    if !cx.leads() {
        return;
    }
    let same = Preconditions { uid: Some(report.uid.clone()), resource_version: Some(report.resource_version.clone()) };
    match api(cx).delete(name, &DeleteParams::default().preconditions(same)).await {
        Ok(_) => gone(cx, name),
        Err(kube::Error::Api(status)) if status.code == 404 => gone(cx, name),
        Err(kube::Error::Api(status)) if status.code == 409 => {}
        Err(error) => failed("removed", name, &error),
    }
}

/// One event where a segment is not clean any more, or is again.
async fn tell(cx: &Context, name: &str, report: &Known, status: &SegmentationReportStatus) {
    let clean = |status: &SegmentationReportStatus| {
        let found = status.conditions.iter().find(|c| c.type_ == "Clean");
        found.map(|c| (c.status.clone(), c.message.clone()))
    };
    let Some((is, message)) = clean(status) else { return };
    let was = clean(&report.status).map(|(was, _)| was);
    let (type_, reason) = match (was.as_deref(), is.as_str()) {
        (was, "False") if was != Some("False") => (EventType::Warning, Reason::ViolationsFound),
        (Some("False"), "True") => (EventType::Normal, Reason::NothingFound),
        _ => return,
    };
    let about = ObjectRef {
        api_version: format!("{GROUP}/v1alpha1"),
        kind: "SegmentationReport".into(),
        namespace: None,
        name: name.to_owned(),
    };
    let reason = reason.as_str();
    let told = Told { about: &about, uid: Some(&report.uid), type_, reason, action: "Report", message: &message };
    events::publish(cx, told).await;
}

/// Takes a report into the index. Where somebody annotated it anew, the withdrawals that wait are judged again.
pub fn observe(cx: &Context, object: &DynamicObject, view: View) {
    let name = object.name_any();
    let known = Known::of(object);
    let mut index = cx.index_mut();
    let before = index.reports.get(&name);
    if view.says_nothing(&object.metadata, before.map(|known| &*known.resource_version), &index.gone) {
        return;
    }
    let annotated = known.accept.is_some() && before.is_none_or(|before| before.accept != known.accept);
    index.reports.insert(name.clone(), known);
    drop(index);
    if annotated {
        let index = cx.index();
        let under = |secret: &ObjectName| index.report_over(&secret.namespace).is_some_and(|(over, _)| *over == name);
        let paused = index.claims.iter().filter(|(_, record)| record.status.is_paused());
        let waiting: Vec<ObjectName> = paused.map(|(claim, _)| claim).filter(|c| under(c)).cloned().collect();
        drop(index);
        waiting.into_iter().for_each(|claim| cx.queue.add(super::context::Job::Claim(claim), Lane::Urgent));
        watch::requeue_orphans(cx, |_| true);
    }
}

/// A report is gone; if it is still wanted, it is made anew.
pub fn gone(cx: &Context, name: &str) {
    cx.index_mut().reports.remove(name);
}
