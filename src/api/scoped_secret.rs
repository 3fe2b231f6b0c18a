//! `ScopedSecret`: the application team's claim on its own secret, in its own namespace.

use super::condition::{conditions_schema, time_schema};
use super::duration;
use super::rotation::Rotation;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::CustomResource;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A claim on one or more remote keys, projected as one Secret in the same namespace.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "scopedsecrets.io",
    version = "v1alpha1",
    kind = "ScopedSecret",
    namespaced,
    status = "ScopedSecretStatus",
    shortname = "scs",
    category = "scoped-secrets",
    selectable = ".spec.storeRef.name",
    selectable = ".spec.target.name",
    doc = "A claim on one or more remote keys, projected as one Secret in the same namespace.",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.reason", description = "Why it is not ready"),
    printcolumn(name = "Segment", type_ = "string", json_path = ".status.segment"),
    printcolumn(name = "Store", type_ = "string", json_path = ".spec.storeRef.name"),
    printcolumn(name = "Next Rotation", type_ = "date", json_path = ".status.nextRotationTime", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[kube(derive = "PartialEq")]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "(has(self.data) && size(self.data) > 0) || (has(self.dataFrom) && size(self.dataFrom) > 0)",
     "message": "nothing is claimed: write at least one entry in data (one value) or dataFrom (every property of one key)"},
    {"rule": "!(has(self.ttl) && has(self.expirationTime))",
     "message": "write ttl (from creation) or expirationTime (a point in time), not both"},
    {"rule": "!has(self.restart) || self.restart != 'Consumers' || (has(self.consumers) && size(self.consumers) > 0)",
     "message": "restart: Consumers has nobody to restart: list the ServiceAccounts in consumers, or leave restart out"},
    {"rule": "!has(self.restart) || self.restart != 'Consumers' || !has(self.target) || !has(self.target.immutable) || !self.target.immutable",
     "message": "an immutable Secret never gets a new value, so that nobody would ever be restarted: write target.immutable: false, or leave restart out"},
    {"rule": "(has(self.target) && has(self.target.name)) == (has(oldSelf.target) && has(oldSelf.target.name)) && (!has(self.target) || !has(self.target.name) || self.target.name == oldSelf.target.name)",
     "message": "target.name is immutable: workloads refer to it; create another ScopedSecret with the new name and delete this one"},
    {"rule": "!has(self.rotation) || ((has(self.data) && size(self.data) > 0) ? (self.data.all(d, d.remoteRef.key == self.data[0].remoteRef.key) && (!has(self.dataFrom) || self.dataFrom.all(d, d.remoteRef.key == self.data[0].remoteRef.key))) : (!has(self.dataFrom) || self.dataFrom.all(d, d.remoteRef.key == self.dataFrom[0].remoteRef.key)))",
     "message": "a ScopedSecret that rotates has exactly one remote key: write a ScopedSecret of its own for each key"},
    {"rule": "!has(self.rotation) || ((!has(self.data) || self.data.all(d, !has(d.remoteRef.versionId) && (!has(d.remoteRef.versionStage) || d.remoteRef.versionStage == 'AWSCURRENT'))) && (!has(self.dataFrom) || self.dataFrom.all(d, !has(d.remoteRef.versionId) && (!has(d.remoteRef.versionStage) || d.remoteRef.versionStage == 'AWSCURRENT'))))",
     "message": "a pinned version does not rotate: remove versionId and versionStage, or rotation"},
    {"rule": "!has(self.rotation) || !has(self.target) || !has(self.target.immutable) || !self.target.immutable",
     "message": "an immutable Secret cannot take a new value: remove target.immutable, or rotation"}
]))]
pub struct ScopedSecretSpec {
    /// The ScopedSecretStore that holds the remote keys.
    pub store_ref: StoreRef,
    /// The ServiceAccounts of this namespace whose pods may use the projected Secret.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["serviceAccountName"]))]
    pub consumers: Vec<Consumer>,
    /// One value each: a key of the Secret, and where its value is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["secretKey"]))]
    pub data: Vec<DataItem>,
    /// Every property of one exact remote key (a JSON object); no search, no regular expression.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    pub data_from: Vec<DataFromItem>,
    /// The Secret to write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
    /// How often the manager is asked: `90s`, `1h30m` or whole days `90d`; `0s` = only on change or on demand. Default: 1h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), extend("x-kubernetes-validations" = duration::validations("refreshInterval", Some("only on change or on demand"), 365)))]
    pub refresh_interval: Option<String>,
    /// What is restarted when the value changes: Consumers rolls the Deployments, StatefulSets and DaemonSets whose pods run under a
    /// consumer and use the Secret, once a value. Jobs are left to finish. Needs the operator's permission to (off by default).
    /// Default: None.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart: Option<RestartPolicy>,
    /// How long the claim lasts from its creation: `90s`, `12h` or whole days `30d`, at least 1s. At the end its Secret is
    /// taken away. Not with expirationTime. Default: no end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), extend("x-kubernetes-validations" = duration::validations("ttl", None, 3650)))]
    pub ttl: Option<String>,
    /// When the claim ends, such as 2030-01-01T00:00:00Z; its Secret is then taken away. Not with ttl. Default: no end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "end_schema")]
    pub expiration_time: Option<Time>,
    /// What becomes of the Secret when this object is deleted. Retain needs a policy with allowRetain. Default: Delete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_policy: Option<DeletionPolicy>,
    /// When the one remote key gets a new value, and who makes it. Needs the policy's action Rotate or Generate. Default: the
    /// operator never rotates it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation: Option<Rotation>,
}

/// A ScopedSecretStore, by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct StoreRef {
    /// The name of a ScopedSecretStore.
    #[schemars(length(min = 1, max = 253), extend("x-kubernetes-validations" = super::schema::object_name("storeRef.name")))]
    pub name: String,
}

/// A ServiceAccount of the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Consumer {
    /// The ServiceAccount's name.
    #[schemars(length(min = 1, max = 253), extend("x-kubernetes-validations" = super::schema::object_name("serviceAccountName")))]
    pub service_account_name: String,
}

/// One key of the Secret and the remote value behind it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DataItem {
    /// The key in the Secret's data.
    #[schemars(length(min = 1, max = 253), extend("x-kubernetes-validations" = [
        {"rule": "self.matches('^[-._a-zA-Z0-9]+$') && self != '.' && !self.startsWith('..')",
         "message": "secretKey is a key of a Secret: letters, digits, '-', '_' and '.', and not '.' or '..' at its start"},
        {"rule": "!self.startsWith('previous.')",
         "message": "secretKeys that start with 'previous.' are reserved for the value before a rotation: choose another name"}
    ]))]
    pub secret_key: String,
    /// Where the value is.
    pub remote_ref: RemoteRef,
}

/// Every property of one key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DataFromItem {
    /// Which key, and which version of it.
    pub remote_ref: WholeRemoteRef,
}

/// One value in the secrets manager.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "!(has(self.versionStage) && has(self.versionId))", "message": "write versionStage or versionId, not both"}
]))]
pub struct RemoteRef {
    /// The key's name in the manager, exact; a full ARN only for a secret of another account.
    #[schemars(schema_with = "remote_key_schema")]
    pub key: String,
    /// A top-level name in the value's JSON, exact; or, with a leading `/`, a JSON pointer. Absent: the whole value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub property: Option<String>,
    /// A staging label other than AWSCURRENT; needs the policy's action ReadAnyVersion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub version_stage: Option<String>,
    /// One exact version; needs the policy's action ReadAnyVersion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub version_id: Option<String>,
}

/// A whole key in the secrets manager.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "!(has(self.versionStage) && has(self.versionId))", "message": "write versionStage or versionId, not both"}
]))]
pub struct WholeRemoteRef {
    /// The key's name in the manager, exact; a full ARN only for a secret of another account.
    #[schemars(schema_with = "remote_key_schema")]
    pub key: String,
    /// A staging label other than AWSCURRENT; needs the policy's action ReadAnyVersion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub version_stage: Option<String>,
    /// One exact version; needs the policy's action ReadAnyVersion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub version_id: Option<String>,
}

/// One exact remote key: what AWS Secrets Manager allows in a name, or a complete ARN.
pub(super) fn remote_key_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "minLength": 1,
        "maxLength": 2048,
        "x-kubernetes-validations": [
        {"rule": "self.startsWith('arn:') || (size(self) <= 512 && self.matches('^/?[A-Za-z0-9_+=.@-]+(/[A-Za-z0-9_+=.@-]+)*$'))",
         "message": "key is one exact name: letters, digits and _+=.@- in parts divided by single slashes, at most 512 characters; no wildcard, no empty part (patterns belong in a SegmentationPolicy)"},
        {"rule": "!self.matches('(^|/)[.][.]?(/|$)')", "message": "key has a part '.' or '..': write the exact name as the manager shows it"},
        {"rule": "!self.startsWith('arn:') || self.matches('^arn:aws[a-z-]*:secretsmanager:[a-z0-9-]+:[0-9]{12}:secret:/?[A-Za-z0-9_+=.@-]+(/[A-Za-z0-9_+=.@-]+)*-[A-Za-z0-9]{6}$')",
         "message": "an ARN must be complete, with the six characters that Secrets Manager appended (arn:aws:secretsmanager:REGION:ACCOUNT:secret:NAME-AbCdEf); in the store's own account write the name"}
    ]
    })
}

/// The Secret to write.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Target {
    /// The Secret's name. Default: the ScopedSecret's name. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), extend("x-kubernetes-validations" = super::schema::object_name("target.name")))]
    pub name: Option<String>,
    /// The Secret's type: Opaque, kubernetes.io/tls, kubernetes.io/dockerconfigjson, kubernetes.io/basic-auth,
    /// kubernetes.io/ssh-auth, or one that the policy's targetTypes lists. Default: Opaque.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), extend("x-kubernetes-validations" = [
        {"rule": "!(self in ['kubernetes.io/service-account-token', 'bootstrap.kubernetes.io/token', 'helm.sh/release.v1'])",
         "message": "this type is the cluster's own and would be acted on: use Opaque, kubernetes.io/tls, kubernetes.io/dockerconfigjson, kubernetes.io/basic-auth or kubernetes.io/ssh-auth"}
    ]))]
    pub kind: Option<String>,
    /// Write the Secret once and mark it immutable; it is then never refreshed. Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub immutable: Option<bool>,
    /// What to add to the Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<Template>,
}

/// Labels, annotations and rendered keys that are added to the Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Template {
    /// Labels, literal. None of `*.kubernetes.io`, `*.k8s.io`, `argocd.argoproj.io`, `helm.sh`, replicators, or ours.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32, "additionalProperties" = {"type": "string", "maxLength": 63}))]
    pub labels: BTreeMap<String, String>,
    /// Annotations, literal, under the same rules.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32, "additionalProperties" = {"type": "string", "maxLength": 16384}))]
    pub annotations: BTreeMap<String, String>,
    /// Keys to add to the Secret, each a template whose variables are the secretKeys, or `secrets["a.b"]`;
    /// filters: b64decode, b64encode, urlencode, tojson, and of minijinja's own bool, capitalize, count, default,
    /// escape, first, float, indent, int, join, last, length, lines, lower, replace, split, string, title, trim, upper.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64, "additionalProperties" = {"type": "string", "maxLength": 16384}))]
    pub data: BTreeMap<String, String>,
}

/// What becomes of the Secret when its ScopedSecret is deleted. Retain needs a policy with allowRetain. Default: Delete.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// It goes with the ScopedSecret.
    #[default]
    Delete,
    /// It stays, sealed; it has no ownerReference from the start.
    Retain,
}

/// What is restarted when the value of a Secret changes. Default: None.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RestartPolicy {
    /// Nothing.
    #[default]
    None,
    /// The workloads of the consumers that use it.
    Consumers,
}

/// What the operator observed. It reports; nothing is decided from it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScopedSecretStatus {
    /// Ready, Authorized, Synced, Unique; Rotated where spec.rotation is set or consumers are restarted; Reconciling, Stalled and
    /// Expired only while true.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions_schema")]
    pub conditions: Vec<Condition>,
    /// Why it is not ready, in a word; absent while it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub reason: Option<String>,
    /// The metadata.generation that this status speaks of; -1 before the first look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The segment of the namespace: the values of its segment labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub segment: Option<String>,
    /// The Secret's name, as servicebinding.io reads it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binding: Option<Binding>,
    /// The projected Secret. An equal resourceVersion means that it need not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretRef>,
    /// Which version of each key stands in the Secret.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 144), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["key"]))]
    pub remote_versions: Vec<RemoteVersion>,
    /// When the Secret's content last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "time_schema")]
    pub last_change_time: Option<Time>,
    /// When the key is rotated next by its schedule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "time_schema")]
    pub next_rotation_time: Option<Time>,
    /// When the key was last rotated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "time_schema")]
    pub last_rotation_time: Option<Time>,
}

/// A Secret by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Binding {
    /// The Secret's name.
    #[schemars(length(max = 253))]
    pub name: String,
}

/// A Secret at one revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretRef {
    /// The Secret's name.
    #[schemars(length(max = 253))]
    pub name: String,
    /// The Secret's uid.
    #[schemars(length(max = 64))]
    pub uid: String,
    /// The revision that the operator wrote or verified.
    #[schemars(length(max = 64))]
    pub resource_version: String,
}

/// A key and the version of it that is projected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RemoteVersion {
    /// The key as the spec names it. One that the Secret still has and the spec does not: its name, or, where the store does not reach it, `aws:ACCOUNT:REGION:NAME`.
    #[schemars(length(max = 2048))]
    pub key: String,
    /// The manager's version id.
    #[schemars(length(max = 128))]
    pub version_id: String,
}

/// A time that can be reckoned with.
fn end_schema(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = time_schema(generator);
    let message = "write a time before the year 9999, or leave it out where there is no end";
    let rule = serde_json::json!({"rule": "self < timestamp('9999-12-30T00:00:00Z')", "message": message});
    schema.insert("x-kubernetes-validations".to_owned(), serde_json::json!([rule]));
    schema
}

impl ScopedSecretSpec {
    /// The type of the Secret to write; Opaque unless the spec says otherwise.
    pub fn target_type(&self) -> &str {
        self.target.as_ref().and_then(|t| t.kind.as_deref()).unwrap_or("Opaque")
    }

    /// The name of the Secret to write; the ScopedSecret's own unless the spec says otherwise.
    pub fn target_name<'a>(&'a self, own_name: &'a str) -> &'a str {
        self.target.as_ref().and_then(|t| t.name.as_deref()).unwrap_or(own_name)
    }

    /// Whether the Secret is to be immutable.
    pub fn immutable(&self) -> bool {
        self.target.as_ref().and_then(|t| t.immutable).unwrap_or(false)
    }

    /// Whether its consumers are restarted when the value changes.
    pub fn restarts(&self) -> bool {
        self.restart == Some(RestartPolicy::Consumers) && !self.immutable() && !self.consumers.is_empty()
    }

    /// Whether the Secret outlives the ScopedSecret.
    pub fn retain(&self) -> bool {
        self.deletion_policy == Some(DeletionPolicy::Retain)
    }

    /// When a claim that was created at this time ends, in whole seconds; the earlier where both fields got past the schema.
    pub fn end(&self, created: Timestamp) -> Option<Timestamp> {
        let ttl = self.ttl.as_deref().map(|ttl| {
            let length = duration::parse(ttl).ok().and_then(|ttl| SignedDuration::try_from(ttl).ok());
            // One that cannot be read does not make a claim endless.
            length.map_or(created, |ttl| created.checked_add(ttl).unwrap_or(Timestamp::MAX))
        });
        let end = ttl.into_iter().chain(self.expiration_time.as_ref().map(|time| time.0)).min()?;
        Some(Timestamp::from_second(end.as_second()).unwrap_or(end))
    }

    /// Every reference to a remote key, in the order of the spec: (key, stage, version id).
    pub fn remote_refs(&self) -> impl Iterator<Item = (&str, Option<&str>, Option<&str>)> {
        self.data
            .iter()
            .map(|d| {
                (d.remote_ref.key.as_str(), d.remote_ref.version_stage.as_deref(), d.remote_ref.version_id.as_deref())
            })
            .chain(self.data_from.iter().map(|d| {
                (d.remote_ref.key.as_str(), d.remote_ref.version_stage.as_deref(), d.remote_ref.version_id.as_deref())
            }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_reckoned_from_creation_or_given() {
        let created = Timestamp::from_second(1_000).unwrap();
        let end = |fields: &str| {
            let spec: ScopedSecretSpec = serde_saphyr::from_str(&format!("storeRef: {{name: s}}\n{fields}")).unwrap();
            spec.end(created).map(|end| end.as_second())
        };
        assert_eq!(end(""), None);
        assert_eq!(end("ttl: 90s"), Some(1_090));
        assert_eq!(end("ttl: 1d"), Some(87_400));
        assert_eq!(end("ttl: 1.9s"), Some(1_001), "in whole seconds");
        assert_eq!(end("ttl: forever"), Some(1_000), "what cannot be read is no eternity");
        assert_eq!(end("expirationTime: 1970-01-01T01:00:00Z"), Some(3_600));
        assert_eq!(end("expirationTime: 1970-01-01T01:00:00Z\nttl: 1s"), Some(1_001));
    }
}
