//! What a claim's key is rotated after, as it was last seen: a part of the seal.

use super::second::Second;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What of a claim's consumers is followed. Short names keep the annotation small.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Followed {
    /// The pod templates of the workloads that use the Secret, by a hash; None: not looked at yet.
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    pub templates: Option<BTreeMap<Box<str>, Box<str>>>,
    /// What RBAC gives the consumers, by a hash.
    #[serde(rename = "r", default, skip_serializing_if = "Option::is_none")]
    pub roles: Option<Box<str>>,
    /// The rollout that the key is still to be rotated after.
    #[serde(rename = "d", default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<Box<str>>,
    /// When a rollout last asked for that.
    #[serde(rename = "a", default, skip_serializing_if = "Option::is_none")]
    pub rollout_at: Option<Second>,
    /// The change of a role that the key is still to be rotated after.
    #[serde(rename = "e", default, skip_serializing_if = "Option::is_none")]
    pub role_change: Option<Box<str>>,
    /// When one last asked for that.
    #[serde(rename = "b", default, skip_serializing_if = "Option::is_none")]
    pub role_change_at: Option<Second>,
}
