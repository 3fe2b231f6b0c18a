//! What this process knows of restarts under way. Losing it costs one look at each namespace that has one.

use crate::api::condition::Wanted;
use crate::rotation::restart::annotation::RestartedFor;
use crate::rotation::restart::workload::{Named, Rollout, Workload};
use crate::rotation::restart::{Consumed, Progress, progress};
use crate::segmentation::restart::Due;
use crate::segmentation::world::ObjectName;
use k8s_openapi::api::apps::v1::Deployment;
use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// So many workloads of a namespace are restarted at once, unless the operator was told otherwise.
pub const AT_ONCE: usize = 3;

/// What Kubernetes gives a Deployment unless it says otherwise; the other kinds have no such limit of their own.
const PATIENCE: Duration = Duration::from_secs(600);

/// Whether Kubernetes itself says when a Deployment's rollout takes too long. The longest deadline that can be written is none to it
/// (`HasProgressDeadline` in its pkg/controller/deployment/util).
pub(super) fn has_deadline(object: &Deployment) -> bool {
    let deadline = object.spec.as_ref().and_then(|spec| spec.progress_deadline_seconds);
    deadline.is_some_and(|seconds| seconds < i32::MAX)
}

/// Restarts under way.
pub struct Restarts {
    at_once: AtomicUsize,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// By ScopedSecret: for which value, and how far.
    claims: HashMap<ObjectName, (Box<str>, How)>,
    /// For which value somebody was asked to restart by hand.
    by_hand: HashMap<ObjectName, Box<str>>,
    workloads: HashMap<(Arc<str>, Named), Seen>,
}

/// A workload that is followed.
struct Seen {
    uid: String,
    /// The annotation that this process wrote.
    wrote: Option<String>,
    /// When it wrote it, or saw the workload first.
    since: Instant,
    /// The furthest that it was seen to have come.
    progress: (i32, i32),
}

/// How far the restart for one ScopedSecret is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum How {
    /// As far as was seen.
    Seen(Progress),
    /// The operator lacks this verb.
    NotAllowed(&'static str),
}

impl Default for Restarts {
    fn default() -> Self {
        Self { at_once: AtomicUsize::new(AT_ONCE), known: Mutex::default() }
    }
}

impl Restarts {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// So many workloads of a namespace are restarted at once; one at least.
    pub fn limit(&self, at_once: usize) {
        self.at_once.store(at_once.max(1), Ordering::Relaxed);
    }

    pub(super) fn at_once(&self) -> usize {
        self.at_once.load(Ordering::Relaxed)
    }

    /// The restart of a ScopedSecret's consumers that is over, by its token, until the seal says so.
    pub fn over(&self, claim: &ObjectName) -> Option<Box<str>> {
        let known = self.known();
        let (token, how) = known.claims.get(claim)?;
        matches!(how, How::Seen(progress) if progress.is_over()).then(|| token.clone())
    }

    /// What is said of a restart that is due.
    pub(super) fn condition(&self, claim: &ObjectName, due: &Due) -> Wanted {
        match self.known().claims.get(claim).filter(|(token, _)| *token == due.token) {
            Some((_, How::Seen(progress))) => progress.condition(),
            Some((_, How::NotAllowed(verb))) => progress::not_allowed(verb),
            None => progress::begun(),
        }
    }

    /// Whether this restart is being followed.
    pub(super) fn follows(&self, claim: &ObjectName, due: &Due) -> bool {
        self.known().claims.get(claim).is_some_and(|(token, _)| *token == due.token)
    }

    /// Takes down how far a restart is; whether that is news.
    pub(super) fn tell(&self, claim: &ObjectName, due: &Due, how: How) -> bool {
        let mut known = self.known();
        if matches!(how, How::NotAllowed(_)) {
            known.by_hand.insert(claim.clone(), due.token.clone());
        }
        let new = (due.token.clone(), how);
        known.claims.insert(claim.clone(), new.clone()).is_none_or(|old| old != new)
    }

    /// Whether it was said of this restart that the operator may not do it, so that somebody else is asked to.
    pub(super) fn is_by_hand(&self, claim: &ObjectName, due: &Due) -> bool {
        self.known().by_hand.get(claim) == Some(&due.token)
    }

    /// Nothing is due any more.
    pub(super) fn forget(&self, claim: &ObjectName) {
        let mut known = self.known();
        known.claims.remove(claim);
        known.by_hand.remove(claim);
    }

    /// The ScopedSecrets of a namespace whose consumers are restarted are these: of others nothing is under way.
    pub(super) fn retain(&self, namespace: &str, is_one: impl Fn(&ObjectName) -> bool) {
        let stays = |claim: &ObjectName| *claim.namespace != *namespace || is_one(claim);
        let mut known = self.known();
        known.claims.retain(|claim, _| stays(claim));
        known.by_hand.retain(|claim, _| stays(claim));
    }

    /// Another reign: what was known may be old.
    pub fn clear(&self) {
        *self.known() = Known::default();
    }

    /// So many workloads do not come to their end.
    pub(super) fn stuck(&self) -> usize {
        let known = self.known();
        let stuck = known.claims.iter().filter_map(|(claim, (_, how))| match how {
            How::Seen(progress) => Some(progress.stuck().map(move |named| (&claim.namespace, named))),
            How::NotAllowed(_) => None,
        });
        stuck.flatten().collect::<BTreeSet<_>>().len()
    }

    /// Takes down that a workload was annotated.
    pub(super) fn annotated(&self, namespace: &Arc<str>, workload: &Workload, value: &str, now: Instant) {
        let seen = Seen { uid: workload.uid.clone(), wrote: Some(value.to_owned()), since: now, progress: (0, 0) };
        self.known().workloads.insert((namespace.clone(), workload.named.clone()), seen);
    }

    /// Of these workloads those from which somebody took the annotation off again, and those that take longer than a rollout
    /// may. Who is not among the `limited`, which have a limit of their own, is given [`PATIENCE`] from its last progress.
    pub(super) fn judge(
        &self,
        namespace: &Arc<str>,
        workloads: &[Workload],
        consumed: &[Consumed],
        limited: &BTreeSet<Named>,
        now: Instant,
    ) -> (BTreeSet<Named>, BTreeSet<Named>) {
        let (mut reverted, mut overdue) = (BTreeSet::new(), BTreeSet::new());
        let mut known = self.known();
        for workload in workloads {
            let new = || Seen { uid: workload.uid.clone(), wrote: None, since: now, progress: workload.progress };
            let seen = known.workloads.entry((namespace.clone(), workload.named.clone())).or_insert_with(new);
            if seen.uid != workload.uid {
                *seen = new();
            }
            // As Kubernetes reckons its own deadline: from the last pod that came on.
            if workload.progress > seen.progress {
                (seen.progress, seen.since) = (workload.progress, now);
            }
            // What was written for a value before says nothing of this one.
            let uses: Vec<&Consumed> = consumed.iter().filter(|consumed| consumed.is_used_by(workload)).collect();
            let wrote = RestartedFor::read(seen.wrote.as_deref(), &uses);
            let for_this = uses.iter().any(|consumed| consumed.due.is_some() && wrote.has(consumed));
            if for_this && seen.wrote != workload.restarted_for {
                reverted.insert(workload.named.clone());
            }
            let is_late = now.duration_since(seen.since) > PATIENCE && !limited.contains(&workload.named);
            if is_late && workload.rollout == Rollout::Rolling {
                overdue.insert(workload.named.clone());
            }
        }
        (reverted, overdue)
    }

    /// Nothing is under way in a namespace.
    pub(super) fn done(&self, namespace: &str) {
        let mut known = self.known();
        known.workloads.retain(|(place, _), _| **place != *namespace);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rotation::restart::workload::{Kind, Replaces};
    use serde_json::json;

    #[test]
    fn what_is_restarted_by_hand_is_so_for_that_value_and_until_it_is_over() {
        let (restarts, claim) = (Restarts::default(), ObjectName::new("payments-prod", "db"));
        let due = |token: &str| Due { token: token.into(), since: jiff::Timestamp::UNIX_EPOCH.into() };
        restarts.tell(&claim, &due("v2"), How::NotAllowed("patch"));
        restarts.tell(&claim, &due("v2"), How::Seen(Progress::default()));
        assert!(restarts.is_by_hand(&claim, &due("v2")) && !restarts.is_by_hand(&claim, &due("v3")));
        restarts.retain("another", |_| false);
        restarts.retain("payments-prod", |one| *one == claim);
        assert!(restarts.is_by_hand(&claim, &due("v2")));
        restarts.retain("payments-prod", |_| false);
        assert!(!restarts.is_by_hand(&claim, &due("v2")), "it was deleted meanwhile");
        restarts.tell(&claim, &due("v2"), How::NotAllowed("patch"));
        restarts.tell(&claim, &due("v2"), How::Seen(Progress::default()));
        restarts.forget(&claim);
        assert!(!restarts.is_by_hand(&claim, &due("v2")));
    }

    fn web(rollout: Rollout) -> Workload {
        Workload {
            named: Named { kind: Kind::Deployment, name: "web".into() },
            uid: "u".into(),
            resource_version: "1".into(),
            account: "shop".into(),
            secrets: ["db".to_owned()].into(),
            restarted_for: None,
            replaces: Replaces::Itself,
            rollout,
            progress: (0, 0),
        }
    }

    #[test]
    fn a_rollout_without_a_deadline_of_its_own_is_overdue_in_the_end() {
        let deployment = |more: serde_json::Value| -> Deployment {
            let mut spec = json!({"selector": {}, "template": {}});
            spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            serde_json::from_value(json!({"metadata": {}, "spec": spec})).unwrap()
        };
        for (deadline, has) in [(1, true), (600, true), (i32::MAX, false)] {
            assert_eq!(has_deadline(&deployment(json!({"progressDeadlineSeconds": deadline}))), has, "{deadline}");
        }
        let (namespace, started) = (Arc::from("payments-prod"), Instant::now());
        let limit: BTreeSet<Named> = [web(Rollout::Rolling).named].into();
        for (rollout, limited, after, overdue) in [
            (Rollout::Rolling, &BTreeSet::new(), PATIENCE * 2, true),
            (Rollout::Rolling, &BTreeSet::new(), PATIENCE / 2, false),
            (Rollout::Done, &BTreeSet::new(), PATIENCE * 2, false),
            (Rollout::Rolling, &limit, PATIENCE * 2, false),
        ] {
            let (restarts, workloads) = (Restarts::default(), [web(rollout)]);
            restarts.judge(&namespace, &workloads, &[], limited, started);
            let late = restarts.judge(&namespace, &workloads, &[], limited, started + after).1;
            assert_eq!(!late.is_empty(), overdue, "{workloads:?} {limited:?} {after:?}");
        }
    }

    #[test]
    fn one_that_goes_on_is_not_overdue() {
        let (restarts, namespace, started) = (Restarts::default(), Arc::from("payments-prod"), Instant::now());
        let mut web = web(Rollout::Rolling);
        restarts.annotated(&namespace, &web, "v2", started);
        // Each look half the patience later: three pods come on, and then one does not, however often it is ready for a moment.
        for (look, progress, overdue) in [
            (1, (1, 2), false),
            (2, (1, 3), false),
            (3, (2, 2), false),
            (4, (2, 3), false),
            (5, (3, 2), false),
            (6, (3, 2), false),
            (7, (3, 1), false),
            (8, (3, 2), true),
        ] {
            web.progress = progress;
            let now = started + PATIENCE / 2 * look;
            let late = restarts.judge(&namespace, std::slice::from_ref(&web), &[], &BTreeSet::new(), now).1;
            assert_eq!(!late.is_empty(), overdue, "look {look}");
        }
    }

    #[test]
    fn reverted_is_what_was_written_for_this_value_alone() {
        let mut web = web(Rollout::Done);
        let named = web.named.clone();
        let due = |token: &str| Consumed {
            secret: "db".into(),
            consumers: vec!["shop".into()],
            token: token.into(),
            due: Some(jiff::Timestamp::UNIX_EPOCH.into()),
        };
        let (restarts, namespace, now) = (Restarts::default(), Arc::from("payments-prod"), Instant::now());
        restarts.annotated(&namespace, &web, "v2", now);
        let none = BTreeSet::new();
        let reverted =
            |web: &Workload, token| restarts.judge(&namespace, std::slice::from_ref(web), &[due(token)], &none, now).0;
        assert_eq!(reverted(&web, "v2"), [named].into());
        assert_eq!(reverted(&web, "v3"), [].into(), "it was rolled back before that came");
        web.restarted_for = Some("v2".into());
        assert_eq!(reverted(&web, "v2"), [].into());
    }
}
