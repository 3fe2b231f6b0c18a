//! How far the restart for one new value is, and what is said of it. Pure.

use super::workload::Named;
use crate::api::Reason;
use crate::api::condition::{ConditionType::Rotated, Wanted};
use std::collections::{BTreeMap, BTreeSet};

/// Why a rollout does not go on by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Held {
    /// The Deployment is paused.
    Paused,
    /// Its pods are replaced when somebody deletes them.
    OnDelete,
    /// Some of its pods are below the partition.
    Partition,
    /// Its new pods do not become available.
    Stuck,
    /// Somebody takes the annotation off again.
    Reverted,
    /// The API server does not take the annotation.
    Refused,
}

impl Held {
    fn says(self) -> &'static str {
        match self {
            Self::Paused => "is paused; it is restarted once it is resumed (kubectl rollout resume)",
            Self::OnDelete => "has strategy OnDelete: delete its pods for them to be replaced",
            Self::Partition => "has a partition: lower it, or delete the pods below it",
            Self::Stuck => {
                "does not come to an end: its new pods do not become available; see kubectl rollout status and its events"
            }
            Self::Reverted => {
                "had the annotation scopedsecrets.io/restarted-for taken off its template again by somebody: leave it, or restart it by kubectl rollout restart"
            }
            Self::Refused => {
                "cannot be annotated: another admission policy or webhook refuses that; allow the operator to set scopedsecrets.io/restarted-for on its pod template, or restart it by kubectl rollout restart"
            }
        }
    }
}

/// How far it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// So many workloads run with the new value.
    pub done: usize,
    /// Those that are being rolled out.
    pub rolling: BTreeSet<Named>,
    /// Those whose turn comes later.
    pub queued: BTreeSet<Named>,
    /// Those that wait for somebody.
    pub held: BTreeMap<Named, Held>,
    /// The pods that still run with the old value, where they were looked at.
    pub pods: BTreeSet<String>,
}

/// So many names stand in a message.
const NAMED: usize = 5;

fn some<T: ToString>(names: impl ExactSizeIterator<Item = T>) -> String {
    let count = names.len();
    let mut text = names.take(NAMED).map(|name| name.to_string()).collect::<Vec<_>>().join(", ");
    if count > NAMED {
        text.push_str(&format!(" and {} more", count - NAMED));
    }
    text
}

impl Progress {
    /// Whether every workload runs with the new value.
    pub fn is_over(&self) -> bool {
        self.rolling.is_empty() && self.queued.is_empty() && self.held.is_empty()
    }

    /// Whether nothing more happens unless somebody does something.
    pub fn is_held(&self) -> bool {
        !self.held.is_empty() && self.rolling.is_empty() && self.is_blocked()
    }

    /// Whether those whose turn comes later wait for one that is stuck.
    fn is_blocked(&self) -> bool {
        self.queued.is_empty() || self.is_stuck()
    }

    /// Whether a rollout does not come to its end.
    pub fn is_stuck(&self) -> bool {
        self.stuck().next().is_some()
    }

    /// Those whose rollout does not come to its end.
    pub fn stuck(&self) -> impl Iterator<Item = &Named> {
        self.held.iter().filter(|(_, held)| **held == Held::Stuck).map(|(named, _)| named)
    }

    /// The API server does not take the annotation of a workload.
    pub fn refuse(&mut self, named: &Named) {
        if self.rolling.remove(named) {
            self.held.insert(named.clone(), Held::Refused);
        }
    }

    /// The condition.
    pub fn condition(&self) -> Wanted {
        if self.is_over() {
            return over();
        }
        let reason = match () {
            () if self.is_stuck() => Reason::RolloutStuck,
            () if self.held.is_empty() => Reason::RollingOut,
            () => Reason::RolloutWaits,
        };
        let mut parts: Vec<String> = Vec::new();
        parts.extend(self.held.iter().take(NAMED).map(|(named, held)| format!("{named} {}", held.says())));
        if !self.rolling.is_empty() {
            parts.push(format!("being restarted: {}", some(self.rolling.iter())));
        }
        if !self.queued.is_empty() {
            parts.push(format!("later, so that not all restart at once: {}", some(self.queued.iter())));
        }
        if !self.pods.is_empty() {
            parts.push(format!("pods that still run with the old value: {}", some(self.pods.iter())));
        }
        Wanted::no(Rotated, reason, format!("the Secret has a new value; {}", parts.join("; ")))
    }
}

/// Every consumer runs with what the Secret holds.
pub fn over() -> Wanted {
    Wanted::yes(Rotated, Reason::Restarted, "no workload of a consumer has to be restarted for what the Secret holds")
}

/// What is due has not been looked at yet.
pub fn begun() -> Wanted {
    let text = "the Secret has a new value; the workloads of its consumers are about to be restarted";
    Wanted::no(Rotated, Reason::RollingOut, text)
}

/// RBAC does not let the operator restart workloads.
pub fn not_allowed(verb: &str) -> Wanted {
    let text = format!(
        "the Secret has a new value, and the operator may not restart its consumers: it lacks the verb {verb} on deployments, statefulsets and daemonsets (apps), which is off by default. Platform team: --set restart.enabled=true where it is installed by Helm, else kubectl apply -f deploy/components/restart/rbac.yaml, in a namespace of another name by the component deploy/components/restart in your overlay. Until then restart them by kubectl rollout restart, or set spec.restart: None"
    );
    Wanted::no(Rotated, Reason::RestartNotAllowed, text)
}
