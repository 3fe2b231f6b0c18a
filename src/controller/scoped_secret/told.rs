//! What is remembered of a ScopedSecret's status: a tenth of its size, and enough to tell a change, to keep transition
//! times, and to see what is worth an event.

use crate::api::Reason;
use crate::api::condition::ConditionType;
use crate::api::scoped_secret::{RemoteVersion, ScopedSecretStatus};
use crate::controller::index::Revision;
use crate::telemetry::metrics::Stated;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use serde::Serialize;
use std::hash::{DefaultHasher, Hasher};

/// A status as it stands in the cluster.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Told {
    digest: u64,
    generation: i64,
    conditions: Box<[Remembered]>,
    last_change: Option<i64>,
    secret: Option<Revision>,
    /// Of the versions that the Secret holds; None: it tells of none.
    versions: Option<u64>,
}

#[derive(Debug, Clone, PartialEq)]
struct Remembered {
    kind: ConditionType,
    /// True, False, or None for Unknown.
    status: Option<bool>,
    /// None: a word that is not ours.
    reason: Option<Reason>,
    /// Seconds.
    since: i64,
}

impl Told {
    /// Remembers a status.
    pub fn of(status: &ScopedSecretStatus) -> Self {
        let remember = |c: &Condition| {
            let kind = ConditionType::from_text(&c.type_)?;
            let status = match c.status.as_str() {
                "True" => Some(true),
                "False" => Some(false),
                _ => None,
            };
            let since = c.last_transition_time.0.as_second();
            Some(Remembered { kind, status, reason: Reason::from_text(&c.reason), since })
        };
        Self {
            digest: digest(status),
            generation: status.observed_generation.unwrap_or(-1),
            conditions: status.conditions.iter().filter_map(remember).collect(),
            last_change: status.last_change_time.as_ref().map(|t| t.0.as_second()),
            secret: status.secret_ref.as_ref().map(|s| Revision::of(&s.uid, &s.resource_version)),
            versions: Some(&status.remote_versions).filter(|all| !all.is_empty()).map(digest),
        }
    }

    /// Whether it tells of other versions than these.
    pub fn has_other_versions(&self, than: &Vec<RemoteVersion>) -> bool {
        self.versions.is_some_and(|told| told != digest(than))
    }

    /// Whether it tells of versions at all.
    pub fn tells_versions(&self) -> bool {
        self.versions.is_some()
    }

    /// Whether this status is, to the letter, the one that stands.
    pub fn is(&self, status: &ScopedSecretStatus) -> bool {
        self.digest == digest(status)
    }

    /// The reason of the condition Ready.
    pub fn ready_reason(&self) -> Option<Reason> {
        self.conditions.iter().find(|c| c.kind == ConditionType::Ready)?.reason
    }

    /// Each condition with its status and reason.
    pub fn stated(&self) -> impl Iterator<Item = Stated> {
        self.conditions.iter().map(|c| (c.kind, c.status, c.reason))
    }

    /// The reason of a condition, if that is False.
    pub fn denied(&self, kind: ConditionType) -> Option<Reason> {
        self.conditions.iter().find(|c| c.kind == kind && c.status == Some(false))?.reason
    }

    /// Whether it says that policy refuses it, or that it has ended: the manager is not asked for it.
    pub fn is_refused(&self) -> bool {
        let refused = self.denied(ConditionType::Authorized).is_some_and(|reason| reason != Reason::KeyRevoked);
        refused || self.ready_reason() == Some(Reason::Expired)
    }

    /// Whether it says that its withdrawal waits for somebody's word.
    pub fn is_paused(&self) -> bool {
        self.denied(ConditionType::Authorized) == Some(Reason::WithdrawalPaused)
    }

    /// Whether it says that this generation of the spec is allowed.
    pub fn allows(&self, generation: i64) -> bool {
        let authorized = self.conditions.iter().find(|c| c.kind == ConditionType::Authorized);
        self.generation == generation && authorized.is_some_and(|c| c.status == Some(true))
    }

    /// The revision of the Secret that it speaks of.
    pub fn secret(&self) -> Option<Revision> {
        self.secret
    }

    /// The status again, as far as it is remembered: without messages, segment, Secret and versions.
    pub fn recall(&self) -> ScopedSecretStatus {
        let recall = |c: &Remembered| Condition {
            type_: c.kind.as_str().to_owned(),
            status: c.status.map_or("Unknown", |s| if s { "True" } else { "False" }).to_owned(),
            reason: c.reason.map_or_else(String::new, |r| r.as_str().to_owned()),
            last_transition_time: time(c.since),
            message: String::new(),
            observed_generation: None,
        };
        ScopedSecretStatus {
            conditions: self.conditions.iter().map(recall).collect(),
            last_change_time: self.last_change.map(time),
            ..ScopedSecretStatus::default()
        }
    }
}

fn time(seconds: i64) -> Time {
    Time(Timestamp::from_second(seconds).unwrap_or_default())
}

/// Equal within a process: nothing more is needed.
fn digest(part: &impl Serialize) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(&serde_json::to_vec(part).unwrap_or_default());
    hasher.finish()
}
