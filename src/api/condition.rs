//! Conditions, in the shape and order that kubectl, Flux, Argo CD and Helm read.

use super::reason::Reason;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// The condition types of this API group. kstatus reads `Reconciling` and `Stalled`, which exist only while true.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum ConditionType {
    /// The projected Secret is there and usable.
    Ready,
    /// Policy allows the claim.
    Authorized,
    /// The last contact with the secrets manager succeeded.
    Synced,
    /// No other segment holds the same value.
    Unique,
    /// The last rotation is done, or none is due, and the consumers run with what the Secret holds; there where the spec has a
    /// rotation, or restarts them.
    Rotated,
    /// Work is under way; it will be retried.
    Reconciling,
    /// Nothing will change until somebody changes something.
    Stalled,
    /// The claim has ended; it exists only while true.
    Expired,
    /// On a KeyRevocation: nothing holds a revoked version any more.
    Complete,
    /// On a SegmentationPolicy: no pattern lets two segments claim the same key.
    Separated,
    /// On a SegmentationReport: nothing was found.
    Clean,
    /// On a SegmentationReport: every rule that the API server keeps is in force.
    Guarded,
}

impl ConditionType {
    const ALL: [Self; 12] = [
        Self::Ready,
        Self::Authorized,
        Self::Synced,
        Self::Unique,
        Self::Rotated,
        Self::Reconciling,
        Self::Stalled,
        Self::Expired,
        Self::Complete,
        Self::Separated,
        Self::Clean,
        Self::Guarded,
    ];

    /// The condition of this name.
    pub fn from_text(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }

    /// The name as it stands in `status.conditions[].type`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Authorized => "Authorized",
            Self::Synced => "Synced",
            Self::Unique => "Unique",
            Self::Rotated => "Rotated",
            Self::Reconciling => "Reconciling",
            Self::Stalled => "Stalled",
            Self::Expired => "Expired",
            Self::Complete => "Complete",
            Self::Separated => "Separated",
            Self::Clean => "Clean",
            Self::Guarded => "Guarded",
        }
    }
}

/// A condition as a plan wants it; the time of its last transition is filled in when it is merged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Which condition.
    pub kind: ConditionType,
    /// `True`, `False`, or (None) `Unknown`.
    pub status: Option<bool>,
    /// The stable reason, one page each in the docs.
    pub reason: Reason,
    /// What is wrong, why, and what to do instead.
    pub message: String,
}

impl Wanted {
    /// A condition that is true.
    pub fn yes(kind: ConditionType, reason: Reason, message: impl Into<String>) -> Self {
        Self { kind, status: Some(true), reason, message: message.into() }
    }
    /// A condition that is false.
    pub fn no(kind: ConditionType, reason: Reason, message: impl Into<String>) -> Self {
        Self { kind, status: Some(false), reason, message: message.into() }
    }
    /// A condition that cannot be told now.
    pub fn unknown(kind: ConditionType, reason: Reason, message: impl Into<String>) -> Self {
        Self { kind, status: None, reason, message: message.into() }
    }
    fn status_text(&self) -> &'static str {
        match self.status {
            Some(true) => "True",
            Some(false) => "False",
            None => "Unknown",
        }
    }
}

/// Turns wanted conditions into the stored list: a condition whose status did not change keeps its transition time.
pub fn merge(old: &[Condition], wanted: &[Wanted], generation: i64, now: jiff::Timestamp) -> Vec<Condition> {
    wanted
        .iter()
        .map(|w| {
            let kept = old.iter().find(|c| c.type_ == w.kind.as_str() && c.status == w.status_text());
            Condition {
                type_: w.kind.as_str().to_owned(),
                status: w.status_text().to_owned(),
                reason: w.reason.as_str().to_owned(),
                message: truncate(&w.message, MESSAGE_LIMIT),
                observed_generation: Some(generation),
                last_transition_time: kept
                    .map_or_else(|| Time(now_in_seconds(now)), |c| c.last_transition_time.clone()),
            }
        })
        .collect()
}

/// Kubernetes allows 32 KiB; a screen is enough.
const MESSAGE_LIMIT: usize = 2048;

fn truncate(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.to_owned();
    }
    let end = (0..=limit - 3).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0);
    format!("{}...", &text[..end])
}

fn now_in_seconds(now: jiff::Timestamp) -> jiff::Timestamp {
    jiff::Timestamp::from_second(now.as_second()).unwrap_or(now)
}

/// The schema of `status.conditions`, as in `meta/v1`, keyed by type.
pub fn conditions_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 16,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "required": ["type", "status", "reason", "message", "lastTransitionTime"],
            "properties": {
                "type": {"type": "string", "maxLength": 316, "description": "Ready, Authorized, Synced, Unique; Reconciling, Stalled and Expired only while true."},
                "status": {"type": "string", "enum": ["True", "False", "Unknown"], "description": "True, False or Unknown."},
                "reason": {"type": "string", "maxLength": 1024, "minLength": 1, "description": "A stable word; each has a page in the docs."},
                "message": {"type": "string", "maxLength": 32768, "description": "What is wrong, why, and what to do instead."},
                "observedGeneration": {"type": "integer", "format": "int64", "minimum": 0, "description": "The metadata.generation that this condition speaks of."},
                "lastTransitionTime": {"type": "string", "format": "date-time", "maxLength": 64, "description": "When status last changed."}
            }
        }
    })
}

/// The schema of a point in time (RFC 3339).
pub fn time_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "format": "date-time", "maxLength": 64})
}
