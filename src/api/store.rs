//! `ScopedSecretStore`: the platform team's; how to reach a secrets manager.

use super::condition::conditions_schema;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How to reach a secrets manager. It grants nothing: a SegmentationPolicy does.
#[derive(CustomResource, Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "scopedsecrets.io",
    version = "v1alpha1",
    kind = "ScopedSecretStore",
    status = "ScopedSecretStoreStatus",
    shortname = "scstore",
    category = "scoped-secrets",
    doc = "How to reach a secrets manager. It grants nothing: a SegmentationPolicy does.",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.status==\"False\")].reason",
        description = "Why it is not ready"
    ),
    printcolumn(name = "Account", type_ = "string", json_path = ".status.identity.accountId"),
    printcolumn(name = "Region", type_ = "string", json_path = ".status.identity.region"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[kube(derive = "PartialEq")]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "has(self.aws) != has(self.file)", "message": "write exactly one provider block: aws or file"}
]))]
pub struct ScopedSecretStoreSpec {
    /// AWS Secrets Manager.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aws: Option<AwsStore>,
    /// A directory of JSON files, for trying it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<FileStore>,
}

/// AWS Secrets Manager in one region, reached as one identity (or one a namespace, by assumeRole).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AwsStore {
    /// The AWS region, such as eu-west-1.
    #[schemars(length(min = 1, max = 64), extend("x-kubernetes-validations" = [
        {"rule": "self.matches('^[a-z]{2,}(-[a-z]+)+-[0-9]+$')", "message": "region is an AWS region, such as eu-west-1"}
    ]))]
    pub region: String,
    /// The twelve digits of the account. Absent: observed by sts:GetCallerIdentity and shown in status.identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 12), extend("x-kubernetes-validations" = [
        {"rule": "self.matches('^[0-9]{12}$')", "message": "accountId is the twelve digits of an AWS account, in quotes"}
    ]))]
    pub account_id: Option<String>,
    /// A VPC endpoint or an emulator: https://..., or http:// for an emulator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048), extend("x-kubernetes-validations" = [
        {"rule": "isURL(self) && (self.startsWith('http://') || self.startsWith('https://')) && url(self).getHostname() != ''",
         "message": "endpoint is a URL: https://HOST[:PORT], or http:// for an emulator"}
    ]))]
    pub endpoint: Option<String>,
    /// Whose credentials. `{}` or absent: the operator's own AWS credential chain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<AwsAuth>,
}

/// Whose credentials are used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "!(has(self.secretRef) && has(self.assumeRole))", "message": "write secretRef or assumeRole, not both; {} uses the operator's own AWS credentials"}
]))]
pub struct AwsAuth {
    /// Static keys (accessKeyId, secretAccessKey, optional sessionToken) in a Secret of the operator's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<CredentialsRef>,
    /// A role per namespace, assumed from the operator's identity with the session tags namespace and segment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assume_role: Option<AssumeRole>,
}

/// A Secret of the operator's namespace.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct CredentialsRef {
    /// The Secret's name.
    #[schemars(length(min = 1, max = 253), extend("x-kubernetes-validations" = super::schema::object_name("secretRef.name")))]
    pub name: String,
}

/// A role to assume.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AssumeRole {
    /// The role's ARN; `${namespace}` stands for the ScopedSecret's namespace.
    #[schemars(length(min = 1, max = 2048), extend("x-kubernetes-validations" = [
        {"rule": "self.matches('^arn:aws[a-z-]*:iam::[0-9]{12}:role/([A-Za-z0-9+=,.@_/-]|[$][{]namespace[}])+$')",
         "message": "roleArn is arn:aws:iam::ACCOUNT:role/NAME, in which ${namespace} may stand for the namespace"}
    ]))]
    pub role_arn: String,
}

/// A directory of JSON files.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct FileStore {
    /// The directory, absolute, as the operator sees it. The key a/b is the file a/b.json or a/b below it.
    #[schemars(length(min = 2, max = 1024), extend("x-kubernetes-validations" = [
        {"rule": "self.startsWith('/') && !self.matches('(^|/)[.][.]?(/|$)') && !self.contains('//')",
         "message": "path is absolute and has no empty part, '.' or '..'"},
        {"rule": "!self.matches('^/(proc|sys|dev)(/|$)') && !self.matches('^(/var)?/run/secrets(/|$)')",
         "message": "path must not be a token, proc, sys or dev directory: mount the files elsewhere"}
    ]))]
    pub path: String,
}

/// What the operator observed of a store.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScopedSecretStoreStatus {
    /// Ready; Reconciling and Stalled only while true.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions_schema")]
    pub conditions: Vec<Condition>,
    /// The metadata.generation that this status speaks of; -1 before the first look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Whose secrets these are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<StoreIdentity>,
}

/// The account and region that canonical keys of this store carry.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StoreIdentity {
    /// The AWS account.
    #[schemars(length(max = 12))]
    pub account_id: String,
    /// The AWS region.
    #[schemars(length(max = 64))]
    pub region: String,
}
