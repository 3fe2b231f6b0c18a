//! What of a rotation outlives a crash: a part of the seal.

use super::second::Second;
use serde::{Deserialize, Serialize};

/// How far the rotations of a claim's key are. Short names keep the annotation small.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotated {
    /// The schedule that `until` speaks of, by what tells it from others.
    #[serde(rename = "r", default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<Box<str>>,
    /// Slots of that schedule up to here were rotated, or came before it did.
    #[serde(rename = "u", default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Second>,
    /// The rotate-at that was handled.
    #[serde(rename = "a", default, skip_serializing_if = "Option::is_none")]
    pub rotate_at: Option<Box<str>>,
    /// When the key was last rotated.
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Second>,
    /// Until when the Secret has the value before, too; its version stands after the current one among the holding's.
    #[serde(rename = "o", default, skip_serializing_if = "Option::is_none")]
    pub overlaps_until: Option<Second>,
}
