//! `SegmentationReport`: the operator's; what in one segment is not as it should be, and could not be put right.
//!
//! One a segment, empty where nothing was found. It is written only when something changes: violations come and go with what
//! causes them, and each keeps the time at which it was first seen, through restarts and changes of leader.

use super::condition::{conditions_schema, time_schema};
use super::policy::AcceptedViolations;
use crate::digest::sha256_hex;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::CustomResource;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// So many violations are listed; `counts` has the number of all.
pub const LISTED: usize = 100;
/// So many namespaces of a segment are listed.
pub const NAMESPACES: usize = 256;
/// So many exceptions are listed.
pub const EXCEPTIONS: usize = 128;
/// The longest message of a violation.
pub const MESSAGE: usize = 1024;

/// What in one segment is not as it should be, and could not be put right. Only the operator writes it.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "scopedsecrets.io",
    version = "v1alpha1",
    kind = "SegmentationReport",
    status = "SegmentationReportStatus",
    shortname = "segreport",
    category = "scoped-secrets",
    doc = "What in one segment is not as it should be, and could not be put right. Only the operator writes it.",
    printcolumn(name = "Segment", type_ = "string", json_path = ".spec.segment"),
    printcolumn(name = "Violations", type_ = "integer", json_path = ".status.total"),
    printcolumn(
        name = "Paused",
        type_ = "integer",
        json_path = ".status.pausedWithdrawals",
        description = "Secrets that would be withdrawn, and wait for somebody's word",
        priority = 1
    ),
    printcolumn(name = "Last scan", type_ = "date", json_path = ".status.lastScanTime"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[kube(derive = "PartialEq")]
#[serde(rename_all = "camelCase")]
pub struct SegmentationReportSpec {
    /// The segment: the values of its labels, such as payments/prod.
    #[schemars(length(min = 1, max = 511))]
    pub segment: String,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SegmentationReportStatus {
    /// Ready: the report is written. Clean: there is no violation. Guarded: every rule that the API server keeps is in force.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions_schema")]
    pub conditions: Vec<Condition>,
    /// The metadata.generation that this status speaks of; -1 before the first look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// How many violations there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<i64>,
    /// How many of them there are of each kind.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["rule", "reason", "foundBy"]))]
    pub counts: Vec<ViolationCount>,
    /// The violations, at most a hundred: of each kind some.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), extend("x-kubernetes-list-type" = "atomic"))]
    pub violations: Vec<ReportedViolation>,
    /// How many more there are than are listed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unlisted: Option<i64>,
    /// How many Secrets of this segment would be withdrawn, and wait for somebody's word: revert the change, or annotate this
    /// report with scopedsecrets.io/accept-violations and this number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused_withdrawals: Option<i64>,
    /// Exceptions that lift a rule for this segment now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["policy", "rule", "reason", "expirationTime"]))]
    pub exceptions: Vec<ExceptionInForce>,
    /// The namespaces of the segment, at most 256 of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "names_schema")]
    pub namespaces: Vec<String>,
    /// When the segment was last scanned; not set while one of its namespaces has not been. A scan that changed nothing is noted once a day; the metric
    /// scoped_secrets_scan_last_success_timestamp_seconds has each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "time_schema")]
    pub last_scan_time: Option<Time>,
    /// The accept-violations that was last acted on: unchanged, it accepts nothing more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted: Option<AcceptedViolations>,
}

/// How a violation is found, and so when it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum FoundBy {
    /// The operator watches what causes it: it goes within seconds.
    Watch,
    /// The scan found it: it goes with the next scan that does not.
    Scan,
}

/// How many violations there are of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ViolationCount {
    /// The rule.
    #[schemars(length(max = 64))]
    pub rule: String,
    /// A stable word; each has a page in the docs.
    #[schemars(length(max = 64))]
    pub reason: String,
    /// How they are found.
    pub found_by: FoundBy,
    /// How many.
    pub count: i64,
}

/// One breach of one rule by one object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReportedViolation {
    /// The rule.
    #[schemars(length(max = 64))]
    pub rule: String,
    /// A stable word; each has a page in the docs.
    #[schemars(length(max = 64))]
    pub reason: String,
    /// What breaks it.
    pub object: ViolatingObject,
    /// When it was first seen.
    #[schemars(schema_with = "time_schema")]
    pub since: Time,
    /// What is wrong, and how to mend it.
    #[schemars(length(max = 1024))]
    pub message: String,
    /// How it was found, and so when it goes.
    pub found_by: FoundBy,
}

/// An object of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ViolatingObject {
    /// Such as v1 or rbac.authorization.k8s.io/v1.
    #[schemars(length(max = 317))]
    pub api_version: String,
    /// Such as Secret.
    #[schemars(length(max = 63))]
    pub kind: String,
    /// Absent: it is cluster-scoped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub namespace: Option<String>,
    /// Its name.
    #[schemars(length(max = 253))]
    pub name: String,
}

/// An exception of a policy, while it lifts a rule for this segment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExceptionInForce {
    /// The SegmentationPolicy.
    #[schemars(length(max = 253))]
    pub policy: String,
    /// The rule that is lifted.
    #[schemars(length(max = 64))]
    pub rule: String,
    /// Why, as the policy says.
    #[schemars(length(max = 1024))]
    pub reason: String,
    /// When it ends.
    #[schemars(schema_with = "time_schema")]
    pub expiration_time: Time,
    /// For which keys, namespaces or subjects.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "lifted_schema")]
    pub lifts: Vec<String>,
}

fn names_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "array", "maxItems": 256, "x-kubernetes-list-type": "set", "items": {"type": "string", "maxLength": 63}})
}

fn lifted_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "array", "maxItems": 64, "x-kubernetes-list-type": "atomic", "items": {"type": "string", "maxLength": 2048}})
}

/// The name of a segment's report: what can be read of its name, and a short hash that tells `a-b/c` from `a/b-c`.
pub fn report_name(segment: &str) -> String {
    const READABLE: usize = 52;
    let mut slug = String::new();
    for letter in segment.chars().map(|c| c.to_ascii_lowercase()) {
        let plain = letter.is_ascii_lowercase() || letter.is_ascii_digit();
        if plain {
            slug.push(letter);
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
        if slug.len() == READABLE {
            break;
        }
    }
    format!("{}-{}", slug.trim_matches('-'), &sha256_hex(segment.as_bytes())[..8]).trim_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_named_after_their_segments() {
        let long = "a".repeat(63) + "/" + &"b".repeat(63);
        let names = ["payments/prod", "payments-prod", "Payments/Prod", "a_b.c/d", "_/_", &long].map(report_name);
        assert!(names[0].starts_with("payments-prod-") && names[0].len() == "payments-prod-".len() + 8, "{names:?}");
        assert!(names[3].starts_with("a-b-c-d-"), "{names:?}");
        let distinct: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!(distinct.len(), names.len(), "{names:?}");
        for name in &names {
            let plain = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
            assert!(plain && name.len() <= 63 && !name.starts_with('-') && !name.ends_with('-'), "{name}");
        }
    }
}
