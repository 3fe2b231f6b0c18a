//! `SecretGrant`: one person, or one ServiceAccount of the same namespace, may read exactly one projected Secret, for a while.
//!
//! What of it needs no question to anybody is refused by the CRD: who a subject may be, and that nothing changes afterwards but
//! `approvedBy`, once. Who may make and approve one is rule Grants ([`crate::admission::rules::grants`]).

use super::condition::{conditions_schema, time_schema};
use super::duration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Time-bound access to one projected Secret, for a person or a ServiceAccount of the same namespace.
#[derive(CustomResource, Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "scopedsecrets.io",
    version = "v1alpha1",
    kind = "SecretGrant",
    namespaced,
    status = "SecretGrantStatus",
    shortname = "sgrant",
    category = "scoped-secrets",
    doc = "Time-bound access to one projected Secret, for a person or a ServiceAccount of the same namespace. Deleting it takes the access back.",
    printcolumn(name = "Secret", type_ = "string", json_path = ".spec.scopedSecretRef.name"),
    printcolumn(name = "Subject", type_ = "string", json_path = ".spec.subject.name"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.reason",
        description = "Why it gives no access"
    ),
    printcolumn(
        name = "Ends",
        type_ = "string",
        json_path = ".status.expirationTime",
        description = "When the access ends"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[kube(derive = "PartialEq")]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "self.scopedSecretRef == oldSelf.scopedSecretRef && self.subject == oldSelf.subject && self.ttl == oldSelf.ttl && self.reason == oldSelf.reason && has(self.rotateAfter) == has(oldSelf.rotateAfter) && (!has(self.rotateAfter) || self.rotateAfter == oldSelf.rotateAfter) && has(self.requestedBy) == has(oldSelf.requestedBy) && (!has(self.requestedBy) || self.requestedBy == oldSelf.requestedBy)",
     "message": "a SecretGrant is immutable but for approvedBy: delete it, which takes the access back, and create another"},
    {"rule": "!has(oldSelf.approvedBy) || (has(self.approvedBy) && self.approvedBy == oldSelf.approvedBy)",
     "message": "approvedBy is set once: delete the SecretGrant, which takes the access back, and create another"}
]))]
pub struct SecretGrantSpec {
    /// The ScopedSecret, of the same namespace, whose Secret may be read.
    pub scoped_secret_ref: ScopedSecretRef,
    /// Who may read it.
    pub subject: GrantSubject,
    /// How long: `30m`, `8h` or whole days `1d`, from its creation, or from its approval where the policy requires one. At most
    /// the policy's rules.grants.maxTTL.
    #[schemars(length(max = 32), extend("x-kubernetes-validations" = duration::validations("ttl", None, 365)))]
    pub ttl: String,
    /// Why, such as an incident.
    #[schemars(length(min = 1, max = 1024))]
    pub reason: String,
    /// Whether the value is rotated when the access ends, since somebody has seen it. The ScopedSecret needs spec.rotation.
    /// Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotate_after: Option<bool>,
    /// Who asks for it: the user name of whoever creates it. Only where the policy requires an approval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub requested_by: Option<String>,
    /// Who approves it: set afterwards, once, by another user, to their own user name. Only where the policy requires an approval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub approved_by: Option<String>,
}

/// What access was given to: one ScopedSecret with the keys that it had then. Another one of that name, or other keys, is
/// something else, which nobody gave.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Lendable {
    /// The ScopedSecret's uid.
    #[schemars(length(max = 64))]
    pub uid: String,
    /// Its remote keys, in canonical form.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 144), inner(length(max = 2048)), extend("x-kubernetes-list-type" = "atomic"))]
    pub keys: Vec<String>,
}

/// A ScopedSecret of the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ScopedSecretRef {
    /// Its name.
    #[schemars(length(min = 1, max = 253), extend("x-kubernetes-validations" = super::schema::object_name("scopedSecretRef.name")))]
    pub name: String,
}

/// Who may read.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "self.kind != 'User' || !self.name.startsWith('system:')",
     "message": "a subject of kind User is a person: for a ServiceAccount of this namespace write kind ServiceAccount and its bare name; nothing else that begins with system: can be given a Secret"},
    {"rule": "self.kind != 'ServiceAccount' || self.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",
     "message": "a subject of kind ServiceAccount is one of this namespace: write its bare name, without a namespace"}
]))]
pub struct GrantSubject {
    /// User or ServiceAccount.
    pub kind: GrantSubjectKind,
    /// The user name, as the API server knows it; the bare name of a ServiceAccount of this namespace.
    #[schemars(length(min = 1, max = 512))]
    pub name: String,
}

/// The kinds of subjects that a Secret can be granted to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum GrantSubjectKind {
    /// A person, or whoever else authenticates to the API server as a user.
    User,
    /// A ServiceAccount of the same namespace.
    ServiceAccount,
}

impl GrantSubjectKind {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "User",
            Self::ServiceAccount => "ServiceAccount",
        }
    }
}

impl std::fmt::Display for GrantSubject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?}", self.kind.as_str(), self.name)
    }
}

/// How it stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretGrantStatus {
    /// Ready: the subject may read the Secret. Reconciling, Stalled and Expired only while true.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions_schema")]
    pub conditions: Vec<Condition>,
    /// The metadata.generation that this status speaks of; -1 before the first look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Why it gives no access; absent while it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub reason: Option<String>,
    /// The Secret that may be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub secret: Option<String>,
    /// The Role and the RoleBinding by which it may be read; absent once they are gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub role: Option<String>,
    /// The ScopedSecret as it was when access was first given. The grant is over once that is another, or has other keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scoped_secret: Option<Lendable>,
    /// When it ended, for good: status.reason says why, and nothing opens it again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "time_schema")]
    pub end_time: Option<Time>,
    /// Since when its time runs: its creation, or its approval where that was required. Once known it never moves later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "time_schema")]
    pub start_time: Option<Time>,
    /// When the access ends, or ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "time_schema")]
    pub expiration_time: Option<Time>,
}
