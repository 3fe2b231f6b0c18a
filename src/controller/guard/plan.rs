//! What the SegmentGuard of a namespace ought to be. Pure.
//!
//! ```text
//!   policies ─ Governance ┐
//!   claims ─ Claimant ┐   ├─► plan ─► Leave | Write | Remove
//!   Secrets ─ held ───┴─ Target
//! ```
//!
//! A target is in the guard from before its first provider call until its Secret is gone; not while its name is a Secret's that
//! is not ours, since that Secret's own pods would be locked out.

use super::asked::Askers;
use super::room;
use crate::api::duration::humanize;
use crate::api::policy::{GrantLimits, Mode};
use crate::api::segment_guard::{RevocationAsked, lowered_label};
use crate::api::{MODE_LABEL, SHARED_SINCE_LABEL};
use crate::segmentation::authorize::Governance;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

pub use crate::segmentation::consumers::{Claimant, Standing, Target, consumers, is_free};

/// The content of a guard.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Content {
    /// How breaches are answered.
    pub labels: BTreeMap<String, String>,
    /// The projected Secrets, each with its consumers.
    pub targets: BTreeMap<String, Vec<String>>,
    /// The projected Secrets that name none.
    pub free: BTreeSet<String>,
    /// What grants may give.
    pub grants: Option<GrantLimits>,
    /// The ScopedSecrets whose annotation `revoke` takes the verb.
    pub shared: BTreeSet<String>,
    /// What the annotation `revoke` has asked for.
    pub revocations: BTreeMap<String, RevocationAsked>,
}

impl Content {
    /// Whether `shared` has gained a name that no operator has watched for long enough.
    pub fn is_news(&self) -> bool {
        self.labels.contains_key(SHARED_SINCE_LABEL)
    }
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
    /// The annotations `revoke`.
    pub askers: Askers,
    /// The time.
    pub now: Timestamp,
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

/// What is to be done.
pub fn plan(o: &Observed<'_>) -> Plan {
    let known = |name: &str| o.known.and_then(|known| known.targets.get(name));
    let targets: BTreeMap<String, Vec<String>> =
        o.targets.iter().filter_map(|(name, target)| Some((name.clone(), consumers(target, known(name))?))).collect();
    let free = o.targets.iter().filter(|(name, target)| !targets.contains_key(*name) && is_free(target));
    let free: BTreeSet<String> = free.map(|(name, _)| name.clone()).collect();
    let nothing = Content::default();
    let said = o.known.unwrap_or(&nothing);
    let (shared, revocations) = (o.askers.shared(said), o.askers.revocations(said, o.now));
    let governed = matches!(o.governance, Governance::Governed { .. });
    // A turn of the annotation that was taken is not taken again when the namespace is governed again.
    let held = o.targets.values().any(|target| target.held) || !revocations.is_empty();
    if o.terminating || (!o.there && !governed && !held && targets.is_empty() && free.is_empty()) {
        return Plan::Leave;
    }
    if o.governance == Governance::Ungoverned && !held && targets.is_empty() && free.is_empty() {
        return Plan::Remove;
    }
    let mut labels = labels(o.governance).unwrap_or_else(|| {
        // What policy no longer says, or does not say now, is as it was.
        o.known.map(|known| &known.labels).filter(|l| l.contains_key(MODE_LABEL)).cloned().unwrap_or_else(strictest)
    });
    labels.remove(SHARED_SINCE_LABEL);
    let wanted = Content { labels, targets, free, grants: grants(o), shared, revocations };
    let mut wanted = room::fit(wanted, said, |name| o.targets.get(name).is_some_and(|target| target.held));
    // While there was no guard nobody was asked by it.
    let since = match o.there && wanted.shared.is_subset(&said.shared) {
        true => said
            .labels
            .get(SHARED_SINCE_LABEL)
            .cloned()
            .filter(|_| o.askers.is_news(&wanted.shared, &wanted.revocations)),
        false => Some(o.now.as_second().to_string()).filter(|_| !wanted.shared.is_empty()),
    };
    wanted.labels.extend(since.map(|since| (SHARED_SINCE_LABEL.to_owned(), since)));
    if o.there && o.known == Some(&wanted) { Plan::Leave } else { Plan::Write(wanted) }
}

/// The labels that say how breaches are answered, where policy says it.
fn labels(governance: Governance) -> Option<BTreeMap<String, String>> {
    let Governance::Governed { mode, consumers, replication, .. } = governance else { return None };
    let mut labels = BTreeMap::from([(MODE_LABEL.to_owned(), mode.as_str().to_owned())]);
    for (rule, answer) in [("consumers", consumers), ("replication", replication)] {
        if answer < mode {
            labels.insert(lowered_label(rule), answer.as_str().to_owned());
        }
    }
    Some(labels)
}

/// What grants may give, as policy says it; while that is not known, as it was.
fn grants(o: &Observed<'_>) -> Option<GrantLimits> {
    match o.governance {
        Governance::Governed { max_grant, approval, .. } => {
            Some(GrantLimits { max_ttl: humanize(max_grant), approval })
        }
        Governance::Ungoverned => None,
        Governance::Unknown => o.known.and_then(|known| known.grants.clone()),
    }
}

fn strictest() -> BTreeMap<String, String> {
    BTreeMap::from([(MODE_LABEL.to_owned(), Mode::Enforce.as_str().to_owned())])
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
