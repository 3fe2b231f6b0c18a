//! `SegmentationPolicy`: the platform team's; who may claim what.

use super::condition::{conditions_schema, time_schema};
use super::scoped_secret::StoreRef;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::CustomResource;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Which namespaces make which segment, and which remote keys each may claim. No policy, no access.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "scopedsecrets.io",
    version = "v1alpha1",
    kind = "SegmentationPolicy",
    status = "SegmentationPolicyStatus",
    shortname = "segpol",
    category = "scoped-secrets",
    doc = "Which namespaces make which segment, and which remote keys each may claim. No policy, no access.",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(
        name = "Separated",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Separated\")].status",
        description = "Whether every pattern keeps segments apart"
    ),
    printcolumn(name = "Mode", type_ = "string", json_path = ".status.effective.mode"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[kube(derive = "PartialEq")]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "!has(self.namespaceSelector) || !has(self.namespaceSelector.matchLabels) || self.namespaceSelector.matchLabels.all(k, k == 'kubernetes.io/metadata.name' || k in self.segment.labels)",
     "message": "namespaceSelector may use only the labels in segment.labels and kubernetes.io/metadata.name: anybody who edits a namespace can set any other label"},
    {"rule": "!has(self.namespaceSelector) || !has(self.namespaceSelector.matchExpressions) || self.namespaceSelector.matchExpressions.all(e, e.key == 'kubernetes.io/metadata.name' || e.key in self.segment.labels)",
     "message": "namespaceSelector may use only the labels in segment.labels and kubernetes.io/metadata.name: anybody who edits a namespace can set any other label"},
    {"rule": "!has(self.allow) || self.allow.all(a, a.keys.all(k, k.findAll('label:[^}]*').all(p, p == 'label:kubernetes.io/metadata.name' || p.substring(6) in self.segment.labels)))",
     "message": "a ${label:KEY} in a key pattern must name one of segment.labels, or kubernetes.io/metadata.name: other labels can be set by anybody who edits a namespace"}
]))]
pub struct SegmentationPolicySpec {
    /// What names a segment.
    pub segment: SegmentRule,
    /// Which namespaces this policy governs: those selected that carry every segment label. Absent: all that do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<NamespaceSelector>,
    /// How a violation is answered at admission. It never decides whether a value is fetched. Default: Enforce.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// Rules that are only reported, even in mode Enforce: for clusters that are not clean yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "set"))]
    pub report_only: Vec<ModalRule>,
    /// Which keys a governed namespace may claim. Several policies over one namespace: the union.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "atomic"))]
    pub allow: Vec<Allow>,
    /// Rules for claims. Several policies over one namespace: the strictest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rules: Option<Rules>,
    /// Named rules that are lifted for a while, with a reason and an end at most 90 days ahead.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["rule", "reason", "expirationTime"]))]
    pub exceptions: Vec<Exception>,
}

/// The namespace labels whose values, in this order, name the segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SegmentRule {
    /// Label keys, such as [tenant, environment]: a namespace with tenant=payments, environment=prod is in segment payments/prod.
    #[schemars(schema_with = "label_keys_schema")]
    pub labels: Vec<String>,
}

fn label_keys_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "minItems": 1,
        "maxItems": 8,
        "x-kubernetes-list-type": "set",
        "items": {"type": "string", "minLength": 1, "maxLength": 317,
                  "pattern": r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$",
                  "x-kubernetes-validations": [{"rule": "self.indexOf('/') <= 253", "message": "what is before the slash of a label's key has at most 253 characters"}]}
    })
}

/// A label selector over namespaces, limited to segment labels and kubernetes.io/metadata.name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NamespaceSelector {
    /// Labels that must have exactly these values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16, "additionalProperties" = label_value()))]
    pub match_labels: BTreeMap<String, String>,
    /// Expressions that must all hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    pub match_expressions: Vec<SelectorRequirement>,
}

/// One expression of a label selector.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "self.operator in ['Exists', 'DoesNotExist'] ? (!has(self.values) || size(self.values) == 0) : (has(self.values) && size(self.values) > 0)",
     "message": "In and NotIn need values; Exists and DoesNotExist take none"}
]))]
pub struct SelectorRequirement {
    /// The label's key.
    #[schemars(length(min = 1, max = 317))]
    pub key: String,
    /// In, NotIn, Exists or DoesNotExist.
    pub operator: SelectorOperator,
    /// Values for In and NotIn.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "label_values_schema")]
    pub values: Vec<String>,
}

fn label_values_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "array", "maxItems": 256, "x-kubernetes-list-type": "atomic", "items": label_value()})
}

/// What no label can have as its value would make a selector that the API server refuses.
fn label_value() -> serde_json::Value {
    serde_json::json!({"type": "string", "maxLength": 63, "x-kubernetes-validations": [
        {"rule": "self.matches('^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$')",
         "message": "no label can have this value: write at most 63 letters, digits, '-', '_' and '.', a letter or digit at both ends"}
    ]})
}

/// The operators of a label selector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs)]
pub enum SelectorOperator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
}

/// How a violation is answered at admission; it never decides whether a value is fetched. Default: Enforce.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Mode {
    /// Only report.
    Audit,
    /// Let through, with a warning that kubectl prints.
    Warn,
    /// Refuse.
    #[default]
    Enforce,
}

impl Mode {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Audit => "Audit",
            Self::Warn => "Warn",
            Self::Enforce => "Enforce",
        }
    }
}

/// A rule that follows the mode, and that a policy may have only reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum ModalRule {
    /// Only pods under a consumer's ServiceAccount reference a projected Secret.
    Consumers,
    /// No replicator carries a Secret into or out of a governed namespace.
    Replication,
    /// Objects of other operators ask only for keys that the namespace may claim.
    OtherOperators,
    /// No Secret or ConfigMap carries a projected value into another segment.
    Copies,
    /// No role carries a Secret across a boundary.
    Rbac,
}

impl ModalRule {
    /// Each of them.
    pub const ALL: [Self; 5] = [Self::Consumers, Self::Replication, Self::OtherOperators, Self::Copies, Self::Rbac];

    /// The rule of this name, if it follows the mode.
    pub fn from_text(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|rule| rule.as_str() == text)
    }

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Consumers => "Consumers",
            Self::Replication => "Replication",
            Self::OtherOperators => "OtherOperators",
            Self::Copies => "Copies",
            Self::Rbac => "Rbac",
        }
    }
}

/// Keys of one store that governed namespaces may claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Allow {
    /// The store.
    pub store_ref: StoreRef,
    /// Key patterns, anchored. `*` is one part, `**` (last only) one or more; `${namespace}` and `${label:KEY}` fill a
    /// whole part. A pattern speaks of the store's own account; another account's keys need its full ARN prefix.
    #[schemars(schema_with = "key_patterns_schema")]
    pub keys: Vec<String>,
    /// What may be done with them: Read (AWSCURRENT), ReadAnyVersion, Rotate (the manager's own rotation) or Generate (the
    /// operator stores a value of its making). Reading never implies writing. Default: [Read].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "set"))]
    pub actions: Vec<Action>,
}

fn key_patterns_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "minItems": 1,
        "maxItems": 16,
        "x-kubernetes-list-type": "set",
        "items": {"type": "string", "minLength": 1, "maxLength": 256, "x-kubernetes-validations": [
            {"rule": "self.matches('^(arn:aws[a-z-]*:secretsmanager:[a-z0-9-]+:[0-9]{12}:secret:)?/?([*]|[$][{]namespace[}]|[$][{]label:[A-Za-z0-9./_-]+[}]|[A-Za-z0-9_+=.@-]+)(/([*]|[$][{]namespace[}]|[$][{]label:[A-Za-z0-9./_-]+[}]|[A-Za-z0-9_+=.@-]+))*(/[*][*])?$') || self.matches('^(arn:aws[a-z-]*:secretsmanager:[a-z0-9-]+:[0-9]{12}:secret:)?/?[*][*]$')",
             "message": "a key pattern is parts divided by single slashes; a part is a literal, '*' (exactly one part), '**' (one or more, only as the last part), ${namespace} or ${label:KEY}; wildcards and placeholders fill a whole part"},
            {"rule": "!self.matches('(^|/)[.][.]?(/|$)')", "message": "a key pattern has no part '.' or '..'"}
        ]}
    })
}

/// What may be done with a key. Reading never implies writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Action {
    /// Read the current version (AWSCURRENT).
    Read,
    /// Read any version, by stage or id.
    ReadAnyVersion,
    /// Have the manager rotate it, by its own rotation.
    Rotate,
    /// Store a new value of the operator's making.
    Generate,
}

/// Rules for claims.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rules {
    /// How far one key may be shared. Default: Namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exclusive_keys: Option<Exclusivity>,
    /// How far one value may be shared. Default: within Segment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unique_values: Option<UniqueValues>,
    /// Whether a ScopedSecret must name its consumers. Default: true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub require_consumers: Option<bool>,
    /// How old the current version of a key may become, by the manager's date: `90d`, `720h`. Older is a violation, and takes
    /// nothing away. Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), extend("x-kubernetes-validations" = super::duration::validations("maxAge", None, 3650)))]
    pub max_age: Option<String>,
    /// Secret types allowed beyond Opaque, tls, dockerconfigjson, basic-auth and ssh-auth.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "target_types_schema")]
    pub target_types: Vec<String>,
    /// Whether deletionPolicy Retain is allowed. Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_retain: Option<bool>,
    /// Time-bound access by SecretGrants. Default: at most 8h, without approval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grants: Option<GrantRules>,
    /// Objects of other operators that are held to the same rules (rule OtherOperators): which keys they may name. Several
    /// policies over one namespace: the union. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "set"))]
    pub governs: Vec<Governs>,
    /// Who may have powers over Secrets across the cluster, or across segments, by RBAC.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["kind", "name"]))]
    pub readers: Vec<SubjectRef>,
}

/// What SecretGrants may give.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GrantRules {
    /// The longest that a grant may last: `30m`, `8h` or whole days `1d`. Several policies over one namespace: the shortest.
    /// Default: 8h.
    #[serde(default, rename = "maxTTL", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), extend("x-kubernetes-validations" = super::duration::validations("maxTTL", None, 365)))]
    pub max_ttl: Option<String>,
    /// Whether another user with the verb approve must approve each grant. Default: None.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<Approval>,
}

/// Whether another user must approve a grant; the order is from lax to strict. Default: None.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Approval {
    /// Whoever has the verb grant gives access alone.
    #[default]
    None,
    /// Another user with the verb approve sets approvedBy.
    Required,
}

impl Approval {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Required => "Required",
        }
    }
}

/// What grants may give, defaults filled in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GrantLimits {
    /// The longest that a grant may last.
    #[serde(rename = "maxTTL")]
    #[schemars(length(max = 32))]
    pub max_ttl: String,
    /// Whether another user with the verb approve must approve each grant.
    pub approval: Approval,
}

/// Objects of other operators that a policy holds to its rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Governs {
    /// ExternalSecrets, ClusterExternalSecrets and PushSecrets of external-secrets.io.
    ExternalSecrets,
    /// VaultStaticSecrets of secrets.hashicorp.com.
    VaultSecrets,
    /// SecretProviderClasses of secrets-store.csi.x-k8s.io.
    SecretProviderClasses,
}

/// Somebody, as RBAC names them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "self.kind != 'ServiceAccount' || self.name.matches('^[^:]+:[^:]+$')",
     "message": "a ServiceAccount is written NAMESPACE:NAME, as in kubectl create rolebinding --serviceaccount=NAMESPACE:NAME"}
]))]
pub struct SubjectRef {
    /// User, Group or ServiceAccount.
    pub kind: SubjectKind,
    /// The name of the user or group; NAMESPACE:NAME of a ServiceAccount. The group system:serviceaccounts:NAMESPACE is every
    /// ServiceAccount of a namespace.
    #[schemars(length(min = 1, max = 512))]
    pub name: String,
}

/// The kinds of subjects of a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs)]
pub enum SubjectKind {
    User,
    Group,
    ServiceAccount,
}

fn target_types_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "array", "maxItems": 16, "x-kubernetes-list-type": "set", "items": {"type": "string", "minLength": 1, "maxLength": 253,
    "x-kubernetes-validations": [
        {"rule": "!(self in ['kubernetes.io/service-account-token', 'bootstrap.kubernetes.io/token', 'helm.sh/release.v1'])",
         "message": "this type is the cluster's own and would be acted on: no ScopedSecret can have it, leave it out"}
    ]}})
}

/// How far one remote key may be shared; the order is from strict to lax. Default: Namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Exclusivity {
    /// By one ScopedSecret.
    Workload,
    /// By the ScopedSecrets of one namespace.
    #[default]
    Namespace,
    /// By the namespaces of one segment.
    Segment,
    /// By anyone whom a policy allows the key.
    Unlimited,
}

/// How far one value may be shared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UniqueValues {
    /// Segment: a value may repeat inside a segment, never across two. None: not looked at. Default: Segment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<Within>,
    /// Properties that may be alike everywhere, as the manager names them; of one that is JSON also what is inside.
    /// Default: [username, host, port, dbname, engine].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "ignore_schema")]
    pub ignore: Option<Vec<String>>,
}

fn ignore_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "array", "maxItems": 64, "x-kubernetes-list-type": "set", "items": {"type": "string", "minLength": 1, "maxLength": 253}})
}

/// The scope inside which a value may repeat, and never across two; None: not looked at. Default: Segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Within {
    /// Inside one segment.
    #[default]
    Segment,
    /// Anywhere: values are not compared.
    None,
}

/// A named rule lifted for some keys, namespaces or subjects, for a reason, until an end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "[has(self.keys) && size(self.keys) > 0, has(self.namespaces) && size(self.namespaces) > 0, has(self.subjects) && size(self.subjects) > 0].filter(given, given).size() == 1",
     "message": "an exception names what it is for: exactly one non-empty list of keys, namespaces or subjects"},
    {"rule": "!has(self.subjects) || size(self.subjects) == 0 || self.rule == 'Rbac'",
     "message": "only an exception to Rbac is for subjects: write keys or namespaces instead"},
    {"rule": "self.rule != 'Rbac' || !has(self.keys) || size(self.keys) == 0",
     "message": "an exception to Rbac is for namespaces or subjects: write one of them instead of keys"},
    {"rule": "!(self.rule in ['Consumers', 'Replication']) || (has(self.namespaces) && size(self.namespaces) > 0)",
     "message": "an exception to Consumers or Replication is for namespaces: write namespaces instead of keys"}
]))]
pub struct Exception {
    /// The rule that is lifted.
    pub rule: ExceptedRule,
    /// Exact keys. Of a ScopedSecret with several keys, values are excepted (rules UniqueValues and Copies) only if each is named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "exact_keys_schema")]
    pub keys: Vec<String>,
    /// Namespaces of what breaks the rule: of the pod, the binding, the claim; for the rule Copies those that a copy is in, whose
    /// own policies have no say in it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "namespaces_schema")]
    pub namespaces: Vec<String>,
    /// Subjects of bindings, for the rule Rbac.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["kind", "name"]))]
    pub subjects: Vec<SubjectRef>,
    /// Why, such as a ticket.
    #[schemars(length(min = 1, max = 1024))]
    pub reason: String,
    /// When it ends: at most 90 days after it is written.
    #[schemars(schema_with = "time_schema")]
    pub expiration_time: Time,
}

fn exact_keys_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "array", "maxItems": 64, "x-kubernetes-list-type": "set", "items": {"type": "string", "minLength": 1, "maxLength": 2048}})
}

fn namespaces_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "array", "maxItems": 64, "x-kubernetes-list-type": "set", "items": {"type": "string", "minLength": 1, "maxLength": 63}})
}

/// The rules that an exception can lift; never `allow`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum ExceptedRule {
    /// One owner per remote key.
    ExclusiveKeys,
    /// One value, one segment.
    UniqueValues,
    /// Only its consumers' pods reference a projected Secret.
    Consumers,
    /// No replicator carries a Secret into or out of the namespace.
    Replication,
    /// Objects of other operators ask only for keys that the namespace may claim.
    OtherOperators,
    /// No Secret or ConfigMap carries a projected value into another segment.
    Copies,
    /// No role carries a Secret across a boundary.
    Rbac,
}

/// What the operator observed of a policy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SegmentationPolicyStatus {
    /// Ready, Separated; Stalled only while true.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions_schema")]
    pub conditions: Vec<Condition>,
    /// The metadata.generation that this status speaks of; -1 before the first look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The policy with its defaults filled in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effective: Option<EffectivePolicy>,
    /// The accept-violations that was last acted on: unchanged, it accepts nothing more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted: Option<AcceptedViolations>,
}

/// The rules that hold when the policy leaves them out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EffectivePolicy {
    /// How a violation is answered at admission.
    pub mode: Mode,
    /// How far one key may be shared.
    pub exclusive_keys: Exclusivity,
    /// How far one value may be shared.
    pub unique_values: EffectiveUniqueValues,
    /// Whether a ScopedSecret must name its consumers.
    pub require_consumers: bool,
    /// How old the current version of a key may become; absent: as old as it likes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub max_age: Option<String>,
    /// Every Secret type that is allowed.
    #[schemars(schema_with = "effective_types_schema")]
    pub target_types: Vec<String>,
    /// Whether deletionPolicy Retain is allowed.
    pub allow_retain: bool,
    /// What each allow entry lets be done with its keys, in their order.
    #[serde(default)]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "atomic"))]
    pub actions: Vec<EffectiveActions>,
    /// Rules that are only reported.
    #[serde(default)]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "set"))]
    pub report_only: Vec<ModalRule>,
    /// Who may have powers over Secrets across the cluster.
    #[serde(default)]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "atomic"))]
    pub readers: Vec<SubjectRef>,
    /// Of which other operators objects are held to the rules.
    #[serde(default)]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "set"))]
    pub governs: Vec<Governs>,
    /// What SecretGrants may give.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grants: Option<GrantLimits>,
}

/// What an allow entry lets be done, defaults filled in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EffectiveActions {
    /// The store.
    #[schemars(length(max = 253))]
    pub store: String,
    /// What may be done with its keys.
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "set"))]
    pub actions: Vec<Action>,
}

fn effective_types_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "array", "maxItems": 32, "x-kubernetes-list-type": "atomic", "items": {"type": "string", "maxLength": 253}})
}

/// How far one value may be shared, defaults filled in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EffectiveUniqueValues {
    /// The scope inside which a value may repeat.
    pub within: Within,
    /// Properties that may be alike everywhere.
    #[schemars(schema_with = "ignore_schema")]
    pub ignore: Vec<String>,
}

/// A number of violations that somebody accepted, once, for one change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AcceptedViolations {
    /// The annotation's value.
    #[schemars(length(max = 64))]
    pub value: String,
    /// The generation of the policy that it counts for.
    pub generation: i64,
    /// Whether it came without a change, and nothing was to be withdrawn: it accepts nothing more but this policy's deletion.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub settled: bool,
    /// Whether it has served: it accepts nothing more at all.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub spent: bool,
}
