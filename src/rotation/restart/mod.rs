//! `restart: Consumers`: which workloads are restarted now, which wait, which are done, and which are stuck. Pure.
//!
//! ```text
//!   seals: what is due ─┐
//!   workloads, paged ───┼──► plan ──► annotate these now (so many at once) ──► Kubernetes rolls them out
//!   pods, if it is held ┘       └───► Progress of each ScopedSecret ──► Rotated; over: the seal says so
//! ```
//!
//! Nothing is remembered: a template that has the annotation was restarted, whoever did it. So a plan that is made anew after a
//! crash restarts nothing twice.

pub mod annotation;
pub mod progress;
pub mod workload;

pub use progress::{Held, Progress};

use crate::segmentation::second::Second;
use annotation::RestartedFor;
use std::collections::{BTreeMap, BTreeSet};
use workload::{Named, Replaces, Rollout, Running, Workload};

/// A Secret of a ScopedSecret that says `restart: Consumers`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consumed {
    /// The Secret's name.
    pub secret: String,
    /// Its consumers' ServiceAccounts.
    pub consumers: Vec<String>,
    /// By what its content is known.
    pub token: String,
    /// Since when its consumers are to be restarted, if they are.
    pub due: Option<Second>,
}

impl Consumed {
    /// Whether pods under this account that name these Secrets use it.
    fn is_used(&self, account: &str, secrets: &BTreeSet<String>) -> bool {
        secrets.contains(&self.secret) && self.consumers.iter().any(|consumer| consumer == account)
    }

    /// Whether a workload's pods use it.
    pub fn is_used_by(&self, workload: &Workload) -> bool {
        self.is_used(&workload.account, &workload.secrets)
    }

    /// Whether a pod was started before the Secret had what it has now, or so shortly after that it may have been: its node has
    /// a clock of its own.
    pub fn is_older(&self, pod: &Running) -> bool {
        let before = self.due.is_some_and(|since| pod.started.as_second() <= since.get().saturating_add(APART));
        before
            && self.is_used(&pod.account, &pod.secrets)
            && !RestartedFor::read(pod.restarted_for.as_deref(), &[self]).has(self)
    }
}

/// Seconds by which the clock of a node may be ahead of the operator's.
const APART: i64 = 5;

/// What is observed of one namespace.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// Every Secret whose consumers are restarted, due or not.
    pub consumed: Vec<Consumed>,
    /// The workloads that use one that is due.
    pub workloads: Vec<Workload>,
    /// Those whose rollout has taken longer than one may.
    pub overdue: BTreeSet<Named>,
    /// Those from which somebody has taken the annotation off again: they are not annotated a second time.
    pub reverted: BTreeSet<Named>,
    /// Pods that are older than what is due, by Secret, and of which workload; None: they were not looked at.
    pub old_pods: Option<BTreeMap<String, BTreeMap<String, Named>>>,
    /// Whether it was said that the operator may not restart them, so that somebody else is asked to.
    pub by_hand: bool,
    /// So many are in flight at most.
    pub at_once: usize,
}

/// What is to be done in one namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// The annotations to write now, by the place of the workload among those observed.
    pub annotate: Vec<(usize, String)>,
    /// How far it is with each Secret that is due.
    pub progress: BTreeMap<String, Progress>,
}

/// How a workload stands to one Secret.
enum Stands {
    Done,
    Rolling,
    Held(Held),
    /// Its template does not say yet that it was restarted.
    Unmarked,
}

fn stands(observed: &Observed, workload: &Workload, known: &RestartedFor, consumed: &Consumed) -> Stands {
    if workload.rollout == Rollout::Empty {
        return Stands::Done;
    }
    let no_old_pods = || {
        let old = observed.old_pods.as_ref().map(|all| all.get(&consumed.secret));
        old.is_some_and(|pods| !pods.iter().flat_map(|pods| pods.values()).any(|of| *of == workload.named))
    };
    if !known.has(consumed) {
        return match workload.replaces {
            Replaces::Paused if no_old_pods() => Stands::Done,
            Replaces::Paused => Stands::Held(Held::Paused),
            // Else clocks decide nothing: one restart too many rather than pods with an old value.
            _ if observed.by_hand && no_old_pods() => Stands::Done,
            _ if !observed.reverted.contains(&workload.named) => Stands::Unmarked,
            _ if no_old_pods() => Stands::Done,
            _ => Stands::Held(Held::Reverted),
        };
    }
    match (&workload.rollout, workload.replaces) {
        (Rollout::Done | Rollout::Empty, _) => Stands::Done,
        (_, Replaces::Paused) => Stands::Held(Held::Paused),
        (_, Replaces::OnDelete) | (Rollout::Partial, _) if no_old_pods() => Stands::Done,
        (_, Replaces::OnDelete) => Stands::Held(Held::OnDelete),
        (Rollout::Partial, _) => Stands::Held(Held::Partition),
        (Rollout::Stuck, _) => Stands::Held(Held::Stuck),
        (Rollout::Rolling, _) if observed.overdue.contains(&workload.named) => Stands::Held(Held::Stuck),
        (Rollout::Rolling, _) => Stands::Rolling,
    }
}

/// Plans one namespace. One whose rollout is stuck keeps its place among those in flight: a value that does not work must not
/// take everything down.
pub fn plan(observed: &Observed) -> Plan {
    let mut plan = Plan::default();
    for due in observed.consumed.iter().filter(|consumed| consumed.due.is_some()) {
        let pods = observed.old_pods.as_ref().and_then(|all| all.get(&due.secret));
        let pods = pods.map(|pods| pods.keys().cloned().collect()).unwrap_or_default();
        plan.progress.insert(due.secret.clone(), Progress { pods, ..Progress::default() });
    }
    let mut unmarked: Vec<(usize, Vec<&Consumed>)> = Vec::new();
    let (mut in_flight, mut before) = (BTreeSet::new(), BTreeSet::new());
    for (place, workload) in observed.workloads.iter().enumerate() {
        let uses: Vec<&Consumed> = observed.consumed.iter().filter(|c| c.is_used_by(workload)).collect();
        let known = RestartedFor::read(workload.restarted_for.as_deref(), &uses);
        let mut missing = Vec::new();
        for due in uses.into_iter().filter(|consumed| consumed.due.is_some()) {
            let Some(progress) = plan.progress.get_mut(&due.secret) else { continue };
            let named = workload.named.clone();
            match stands(observed, workload, &known, due) {
                Stands::Done => progress.done += 1,
                Stands::Rolling => {
                    in_flight.insert(place);
                    progress.rolling.insert(named);
                }
                Stands::Held(held) => {
                    if held == Held::Stuck {
                        in_flight.insert(place);
                    }
                    progress.held.insert(named, held);
                }
                Stands::Unmarked => {
                    // It rolls, or is stuck, with the value before: that is its place, and only the new value heals it.
                    let rolls = matches!(workload.rollout, Rollout::Rolling | Rollout::Stuck);
                    if rolls && workload.restarted_for.is_some() && workload.replaces != Replaces::OnDelete {
                        before.insert(place);
                    }
                    missing.push(due);
                }
            }
        }
        if !missing.is_empty() {
            unmarked.push((place, missing));
        }
    }
    // One that rolls already is not one more in flight.
    before.retain(|place| !in_flight.contains(place));
    unmarked.sort_by_key(|(place, _)| {
        let rolls = in_flight.contains(place) || before.contains(place);
        (!rolls, observed.workloads[*place].named.clone())
    });
    for (place, missing) in unmarked {
        let workload = &observed.workloads[place];
        let by_hand = workload.replaces == Replaces::OnDelete;
        let others = if before.contains(&place) { 0 } else { before.len() };
        let now = by_hand || in_flight.contains(&place) || in_flight.len() + others < observed.at_once;
        for due in &missing {
            let Some(progress) = plan.progress.get_mut(&due.secret) else { continue };
            if now { &mut progress.rolling } else { &mut progress.queued }.insert(workload.named.clone());
        }
        if !now {
            continue;
        }
        if !by_hand {
            in_flight.insert(place);
            before.remove(&place);
        }
        let uses: Vec<&Consumed> = observed.consumed.iter().filter(|c| c.is_used_by(workload)).collect();
        let known = RestartedFor::read(workload.restarted_for.as_deref(), &uses);
        plan.annotate.push((place, known.with(&missing, &uses)));
    }
    plan
}

/// Whether a workload uses a Secret that is due.
pub fn is_concerned(consumed: &[Consumed], workload: &Workload) -> bool {
    consumed.iter().any(|consumed| consumed.due.is_some() && consumed.is_used_by(workload))
}

#[cfg(test)]
mod tests;
