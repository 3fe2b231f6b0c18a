//! What the SegmentGuard of a namespace ought to be. Pure.
//!
//! ```text
//!   policies ─ Governance ┐
//!   claims ─ Claimant ┐   ├─► plan ─► Leave | Write | Remove
//!   Secrets ─ held ───┴─ Target
//! ```
//!
//! A target is in the guard from before its first provider call until its Secret is gone.

use crate::api::MODE_LABEL;
use crate::api::policy::Mode;
use crate::api::segment_guard::lowered_label;
use crate::segmentation::authorize::Governance;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The content of a guard: its labels and targets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Content {
    /// How breaches are answered.
    pub labels: BTreeMap<String, String>,
    /// The projected Secrets, each with its consumers.
    pub targets: BTreeMap<String, Vec<String>>,
}

/// What is observed of a namespace.
#[derive(Debug)]
pub struct Observed<'a> {
    /// What policy says of it.
    pub governance: Governance,
    /// Whether it is being deleted: nothing can be created in it, and all goes with it.
    pub terminating: bool,
    /// What its guard was when it was last seen or written.
    pub known: Option<&'a Content>,
    /// Whether that guard is there.
    pub there: bool,
    /// Every Secret that is claimed, held, or in the guard.
    pub targets: BTreeMap<String, Target>,
}

/// One projected Secret, there or to come.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Target {
    /// Whether the Secret is there, or is not known to be gone.
    pub held: bool,
    /// Whether it was projected for a ScopedSecret that names no consumers.
    pub free: bool,
    /// The ScopedSecrets that have it as their target.
    pub claimants: Vec<Claimant>,
}

/// A ScopedSecret and its target.
#[derive(Debug, Clone, PartialEq)]
pub struct Claimant {
    /// Its consumers' ServiceAccounts.
    pub consumers: Vec<String>,
    /// The authoriser's answer.
    pub standing: Standing,
    /// Whether the Secret was projected for it.
    pub holds: bool,
    /// Its creationTimestamp, then its uid: of two, the earlier one goes first.
    pub since: (Timestamp, Arc<str>),
}

/// The authoriser's answer to a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Every key may be fetched.
    Allowed,
    /// Policy says no.
    Refused,
    /// That cannot be told now.
    Undecided,
}

/// What is to be done about a guard.
#[derive(Debug, PartialEq, Eq)]
pub enum Plan {
    /// Nothing.
    Leave,
    /// It is created, or replaced by this.
    Write(Content),
    /// It is deleted.
    Remove,
}

/// Who may reference a Secret: None if it is not in the guard. `known` is what the guard says so far, which stands for whatever
/// cannot be told now: a claim that policy does not allow (any more), a Secret that outlives its ScopedSecret.
pub fn consumers(target: &Target, known: Option<&Vec<String>>) -> Option<Vec<String>> {
    let named = |claimant: &Claimant| (!claimant.consumers.is_empty()).then(|| claimant.consumers.clone());
    let allowed = target.claimants.iter().filter(|c| c.standing == Standing::Allowed);
    let holder = target.claimants.iter().find(|c| c.holds);
    match holder.or_else(|| allowed.min_by_key(|c| &c.since)) {
        Some(claimant) if claimant.standing == Standing::Allowed => named(claimant),
        Some(claimant) => known.cloned().or_else(|| named(claimant)),
        None if target.held && target.free => None,
        None if target.held => Some(known.cloned().unwrap_or_default()),
        None if target.claimants.iter().any(|c| c.standing == Standing::Undecided) => known.cloned(),
        None => None,
    }
}

/// What is to be done.
pub fn plan(o: &Observed<'_>) -> Plan {
    let known = |name: &str| o.known.and_then(|known| known.targets.get(name));
    let targets: BTreeMap<String, Vec<String>> =
        o.targets.iter().filter_map(|(name, target)| Some((name.clone(), consumers(target, known(name))?))).collect();
    let governed = matches!(o.governance, Governance::Governed { .. });
    let held = o.targets.values().any(|target| target.held);
    if o.terminating || (!o.there && !governed && !held && targets.is_empty()) {
        return Plan::Leave;
    }
    if o.governance == Governance::Ungoverned && !held && targets.is_empty() {
        return Plan::Remove;
    }
    let labels = labels(o.governance).unwrap_or_else(|| {
        // What policy no longer says, or does not say now, is as it was.
        o.known.map(|known| &known.labels).filter(|l| l.contains_key(MODE_LABEL)).cloned().unwrap_or_else(strictest)
    });
    let wanted = Content { labels, targets };
    if o.there && o.known == Some(&wanted) { Plan::Leave } else { Plan::Write(wanted) }
}

/// The labels that say how breaches are answered, where policy says it.
fn labels(governance: Governance) -> Option<BTreeMap<String, String>> {
    let Governance::Governed { mode, consumers, replication } = governance else { return None };
    let mut labels = BTreeMap::from([(MODE_LABEL.to_owned(), mode.as_str().to_owned())]);
    for (rule, answer) in [("consumers", consumers), ("replication", replication)] {
        if answer < mode {
            labels.insert(lowered_label(rule), answer.as_str().to_owned());
        }
    }
    Some(labels)
}

fn strictest() -> BTreeMap<String, String> {
    BTreeMap::from([(MODE_LABEL.to_owned(), Mode::Enforce.as_str().to_owned())])
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
