//! `KeyRevocation`: the platform team's; a leaked key. Its projections go at once, and stay gone until the key has a version that
//! was not revoked.
//!
//! Revoked are the versions that were created, by the manager's date, up to this object's creationTimestamp. A directory of files has
//! no such date: there the versions that were current then are listed in status, which only the operator may write.

use super::condition::{conditions_schema, time_schema};
use super::scoped_secret::{StoreRef, remote_key_schema};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// So many Secrets that were withdrawn are listed.
pub const WITHDRAWN: usize = 1024;
/// So many pods that hold an old value are listed.
pub const PODS: usize = 128;
/// So many revoked versions of a file are listed.
pub const VERSIONS: usize = 256;

/// A leaked key: its projections go at once, and stay gone until the key has a version that was not revoked.
#[derive(CustomResource, Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "scopedsecrets.io",
    version = "v1alpha1",
    kind = "KeyRevocation",
    status = "KeyRevocationStatus",
    shortname = "keyrev",
    category = "scoped-secrets",
    doc = "A leaked key: its projections go at once, and stay gone until the key has a version that was not revoked. Deleting it lifts it early.",
    printcolumn(name = "Store", type_ = "string", json_path = ".spec.storeRef.name"),
    printcolumn(name = "Key", type_ = "string", json_path = ".spec.key"),
    printcolumn(name = "Complete", type_ = "string", json_path = ".status.conditions[?(@.type==\"Complete\")].status"),
    printcolumn(
        name = "Pods",
        type_ = "integer",
        json_path = ".status.podCount",
        description = "Pods that still hold a revoked value"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[kube(derive = "PartialEq")]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "self == oldSelf", "message": "a KeyRevocation is immutable: delete it, which lifts it, and create another"}
]))]
pub struct KeyRevocationSpec {
    /// The ScopedSecretStore that holds the key.
    pub store_ref: StoreRef,
    /// The key's name in the manager, exact; a full ARN only for a secret of another account.
    #[schemars(schema_with = "remote_key_schema")]
    pub key: String,
    /// Why, such as an incident.
    #[schemars(length(min = 1, max = 1024))]
    pub reason: String,
}

/// How far it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyRevocationStatus {
    /// Complete: no Secret and no pod holds a revoked version. Reconciling and Stalled only while true.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions_schema")]
    pub conditions: Vec<Condition>,
    /// The metadata.generation that this status speaks of; -1 before the first look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The Secrets that held a revoked version, each written here before it is taken away. The first 1024.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1024), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["namespace", "name"]))]
    pub withdrawn: Vec<WithdrawnSecret>,
    /// The pods that may still hold a revoked value, since they were started with it. The first 128.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["namespace", "name"]))]
    pub pods: Vec<InNamespace>,
    /// How many such pods there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_count: Option<i64>,
    /// Of a directory of files: the versions that are revoked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(max = 128)), extend("x-kubernetes-list-type" = "set"))]
    pub revoked_versions: Vec<String>,
    /// Whether revokedVersions has them all; before the directory could be read every version counts as revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_versions_complete: Option<bool>,
    /// When nothing held a revoked version any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "time_schema")]
    pub completion_time: Option<Time>,
}

/// An object of a namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct InNamespace {
    /// Its namespace.
    #[schemars(length(max = 63))]
    pub namespace: String,
    /// Its name.
    #[schemars(length(max = 253))]
    pub name: String,
}

/// A Secret that held a revoked version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WithdrawnSecret {
    /// Its namespace.
    #[schemars(length(max = 63))]
    pub namespace: String,
    /// Its name.
    #[schemars(length(max = 253))]
    pub name: String,
    /// When it was seen to hold no revoked version any more; absent while it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "time_schema")]
    pub withdrawal_time: Option<Time>,
}
