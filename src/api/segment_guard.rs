//! `SegmentGuard`: the operator's; what the rules that the API server keeps on its own must know of one namespace.
//!
//! One object per namespace, whatever it holds: a ValidatingAdmissionPolicy is evaluated once for each of its parameters, so one
//! parameter a claim would cost every pod more with each claim.
//!
//! Its labels say how a breach is answered. [`super::MODE_LABEL`] is the mode of the policies over the namespace, and a binding
//! selects it. A rule that they only report there, or that an exception lifts, has a label of its own with the lower mode
//! ([`lowered_label`]): it takes the guard out of that rule's bindings for the mode, and into the one for the lower mode. So the
//! mode's label alone always says how every other rule is answered, and a guard without more is complete.

use super::condition::time_schema;
use super::policy::GrantLimits;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The name of the one SegmentGuard of a namespace.
pub const SEGMENT_GUARD: &str = "scoped-secrets";

/// The label that says that a rule is answered by less than the mode, such as `scopedsecrets.io/mode-consumers`.
pub fn lowered_label(rule_slug: &str) -> String {
    format!("{}-{rule_slug}", super::MODE_LABEL)
}

/// What the API server must know of one namespace to guard it without the operator. Only the operator writes it.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "scopedsecrets.io",
    version = "v1alpha1",
    kind = "SegmentGuard",
    namespaced,
    category = "scoped-secrets",
    doc = "What the API server must know of one namespace to guard it without the operator. Only the operator writes it.",
    printcolumn(name = "Mode", type_ = "string", json_path = ".metadata.labels.scopedsecrets\\.io/mode"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[kube(derive = "PartialEq")]
#[serde(rename_all = "camelCase")]
pub struct SegmentGuardSpec {
    /// The projected Secrets, each with the ServiceAccounts whose pods may reference it; with none, nobody's may. A Secret
    /// whose ScopedSecret names no consumers is in `free` instead: every pod may.
    #[serde(default)]
    #[schemars(schema_with = "targets_schema")]
    pub targets: BTreeMap<String, Vec<String>>,
    /// The projected Secrets whose ScopedSecrets name no consumers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10000), inner(length(max = 253)), extend("x-kubernetes-list-type" = "set"))]
    pub free: Vec<String>,
    /// What SecretGrants may give here, by the policies over the namespace; absent: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grants: Option<GrantLimits>,
    /// The ScopedSecrets of which others claim a key, too: to have those revoked by the annotation takes the verb `revoke`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10000), inner(length(max = 253)), extend("x-kubernetes-list-type" = "set"))]
    pub shared: Vec<String>,
    /// The ScopedSecrets that carry the annotation `revoke`, each since it was first seen there: it acts once.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 10000))]
    pub revocations: BTreeMap<String, RevocationAsked>,
}

/// What the annotation `revoke` of one ScopedSecret asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RevocationAsked {
    /// The ScopedSecret's uid.
    #[schemars(length(max = 64))]
    pub uid: String,
    /// When the annotation was seen.
    #[schemars(schema_with = "time_schema")]
    pub seen_time: Time,
    /// The ScopedSecret's resourceVersion then: an annotation that came before is of this turn, whoever sees it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub resource_version: Option<String>,
    /// The ScopedSecretStore that it names.
    #[schemars(length(max = 253))]
    pub store: String,
    /// The keys whose KeyRevocations are still to be created.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 512), inner(length(max = 2048)), extend("x-kubernetes-list-type" = "atomic"))]
    pub keys: Vec<String>,
}

fn targets_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 10000,
        "additionalProperties": {
            "type": "array", "maxItems": 32, "x-kubernetes-list-type": "set", "items": {"type": "string", "maxLength": 253}
        }
    })
}
