//! A workload as far as a restart goes: which Secrets its pods name, under whom they run, and how far its rollout is. Pure.

use crate::api::RESTARTED_FOR_ANNOTATION;
use crate::segmentation::references::{account_of, names, of_pods};
use crate::segmentation::workload::RunsPods;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::collections::BTreeSet;
use std::fmt;

/// The kinds that are restarted. Jobs are left to finish.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A Deployment.
    Deployment,
    /// A StatefulSet.
    StatefulSet,
    /// A DaemonSet.
    DaemonSet,
}

/// Which workload of a namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Named {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: String,
}

/// Such as `Deployment "web"`.
impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?}", self.kind, self.name)
    }
}

/// What is observed of a workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    /// Which one.
    pub named: Named,
    /// Its uid.
    pub uid: String,
    /// Its resourceVersion.
    pub resource_version: String,
    /// The ServiceAccount that its pods run under.
    pub account: String,
    /// The Secrets that its pods name.
    pub secrets: BTreeSet<String>,
    /// The annotation on its pod template.
    pub restarted_for: Option<String>,
    /// Who replaces its pods when the template changes.
    pub replaces: Replaces,
    /// How far they are replaced.
    pub rollout: Rollout,
    /// How many of its pods have the template that it has now, and how many are ready: more of either is progress.
    pub progress: (i32, i32),
}

/// Who replaces pods when their template changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replaces {
    /// Kubernetes, step by step.
    Itself,
    /// Nobody, until the Deployment is resumed.
    Paused,
    /// Whoever deletes them: strategy OnDelete.
    OnDelete,
    /// Kubernetes, but for those below the partition of a StatefulSet.
    Partition,
}

/// How far a workload is with the template that it has now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rollout {
    /// It has no pods.
    Empty,
    /// Pods are being replaced, or the new ones do not run yet.
    Rolling,
    /// All that the partition of a StatefulSet lets be replaced is new, and available.
    Partial,
    /// That has not ended in the time that the Deployment gives it.
    Stuck,
    /// Every pod is of that template and available.
    Done,
}

impl Workload {
    fn new(
        kind: Kind,
        metadata: &ObjectMeta,
        template: &PodTemplateSpec,
        replaces: Replaces,
        rollout: Rollout,
        progress: (i32, i32),
    ) -> Option<Self> {
        let pods = template.spec.as_ref().filter(|_| metadata.deletion_timestamp.is_none())?;
        Some(Self {
            named: Named { kind, name: metadata.name.clone()? },
            uid: metadata.uid.clone()?,
            resource_version: metadata.resource_version.clone()?,
            account: account_of(pods).to_owned(),
            secrets: names(&of_pods(pods)).into_iter().map(str::to_owned).collect(),
            restarted_for: annotation(template.metadata.as_ref()),
            replaces,
            rollout,
            progress,
        })
    }

    /// A Deployment; None: it is being deleted.
    pub fn of_deployment(object: &Deployment) -> Option<Self> {
        let spec = object.spec.as_ref()?;
        let status = object.status.clone().unwrap_or_default();
        let wanted = spec.replicas.unwrap_or(1);
        let seen = is_seen(&object.metadata, status.observed_generation);
        let (updated, all) = (status.updated_replicas.unwrap_or(0), status.replicas.unwrap_or(0));
        let failed = status.conditions.iter().flatten().any(|condition| {
            condition.type_ == "Progressing" && condition.reason.as_deref() == Some("ProgressDeadlineExceeded")
        });
        let rollout = match seen {
            _ if wanted == 0 => Rollout::Empty,
            true if updated >= wanted && all == updated && status.available_replicas.unwrap_or(0) >= updated => {
                Rollout::Done
            }
            true if failed => Rollout::Stuck,
            _ => Rollout::Rolling,
        };
        let replaces = if spec.paused == Some(true) { Replaces::Paused } else { Replaces::Itself };
        let progress = if seen { (updated, status.available_replicas.unwrap_or(0)) } else { (0, 0) };
        Self::new(Kind::Deployment, &object.metadata, &spec.template, replaces, rollout, progress)
    }

    /// A StatefulSet; None: it is being deleted.
    pub fn of_stateful_set(object: &StatefulSet) -> Option<Self> {
        let spec = object.spec.as_ref()?;
        let status = object.status.clone().unwrap_or_default();
        let wanted = spec.replicas.unwrap_or(1);
        let strategy = spec.update_strategy.clone().unwrap_or_default();
        let partition = strategy.rolling_update.and_then(|rolling| rolling.partition).unwrap_or(0);
        let replaces = match strategy.type_.as_deref() {
            Some("OnDelete") => Replaces::OnDelete,
            _ if partition > 0 => Replaces::Partition,
            _ => Replaces::Itself,
        };
        let ready = status.ready_replicas.unwrap_or(0) >= wanted;
        let updated = status.updated_replicas.unwrap_or(0);
        let seen = is_seen(&object.metadata, status.observed_generation);
        let rollout = match seen {
            _ if wanted == 0 => Rollout::Empty,
            true if updated >= wanted && ready => Rollout::Done,
            true if replaces == Replaces::Partition && updated >= wanted.saturating_sub(partition) && ready => {
                Rollout::Partial
            }
            _ => Rollout::Rolling,
        };
        let progress = if seen { (updated, status.ready_replicas.unwrap_or(0)) } else { (0, 0) };
        Self::new(Kind::StatefulSet, &object.metadata, &spec.template, replaces, rollout, progress)
    }

    /// A DaemonSet; None: it is being deleted.
    pub fn of_daemon_set(object: &DaemonSet) -> Option<Self> {
        let spec = object.spec.as_ref()?;
        let status = object.status.clone().unwrap_or_default();
        let on_delete = spec.update_strategy.as_ref().is_some_and(|s| s.type_.as_deref() == Some("OnDelete"));
        let replaces = if on_delete { Replaces::OnDelete } else { Replaces::Itself };
        let wanted = status.desired_number_scheduled;
        let updated = status.updated_number_scheduled.unwrap_or(0);
        let available = status.number_available.unwrap_or(0);
        let seen = is_seen(&object.metadata, status.observed_generation);
        let rollout = match seen {
            true if wanted == 0 => Rollout::Empty,
            true if updated >= wanted && available >= wanted => Rollout::Done,
            _ => Rollout::Rolling,
        };
        let progress = if seen { (updated, available) } else { (0, 0) };
        Self::new(Kind::DaemonSet, &object.metadata, &spec.template, replaces, rollout, progress)
    }
}

/// Whether a status speaks of the spec as it is.
fn is_seen(metadata: &ObjectMeta, observed: Option<i64>) -> bool {
    observed >= metadata.generation
}

fn annotation(metadata: Option<&ObjectMeta>) -> Option<String> {
    metadata?.annotations.as_ref()?.get(RESTARTED_FOR_ANNOTATION).cloned()
}

/// A pod as far as it may hold an old value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// Its name.
    pub name: String,
    /// The workload that it is of; of a ReplicaSet, the Deployment that such are named after.
    pub of: Named,
    /// The ServiceAccount that it runs under.
    pub account: String,
    /// The Secrets that it names.
    pub secrets: BTreeSet<String>,
    /// The annotation that it got from its template.
    pub restarted_for: Option<String>,
    /// When it was started.
    pub started: Timestamp,
}

impl Running {
    /// A pod that has started, has not ended, and is there to stay: one of a Job's is left to finish.
    pub fn of(pod: &Pod) -> Option<Self> {
        let spec = pod.pods().filter(|_| pod.is_alive())?;
        let owner = pod.metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))?;
        let (kind, of) = match &*owner.kind {
            "ReplicaSet" => (Kind::Deployment, owner.name.rsplit_once('-').map_or(&*owner.name, |(name, _)| name)),
            "StatefulSet" => (Kind::StatefulSet, &*owner.name),
            "DaemonSet" => (Kind::DaemonSet, &*owner.name),
            _ => return None,
        };
        Some(Self {
            name: pod.metadata.name.clone()?,
            of: Named { kind, name: of.to_owned() },
            account: account_of(spec).to_owned(),
            secrets: names(&of_pods(spec)).into_iter().map(str::to_owned).collect(),
            restarted_for: annotation(Some(&pod.metadata)),
            started: pod.status.as_ref()?.start_time.as_ref()?.0,
        })
    }
}

#[cfg(test)]
#[path = "workload_tests.rs"]
mod tests;
