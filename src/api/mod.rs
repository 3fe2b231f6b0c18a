//! The user-facing kinds, one file each: types, the CRDs' own CEL rules, printer columns and field docs.
//!
//! Field names, condition types and annotations are a contract with users' YAML.

pub mod condition;
pub mod duration;
pub mod key_revocation;
pub mod label;
pub mod policy;
pub mod reason;
pub mod rotation;
mod schema;
pub mod scope;
pub mod scoped_secret;
pub mod secret_grant;
pub mod segment_guard;
pub mod segmentation_report;
pub mod store;

pub use key_revocation::{KeyRevocation, KeyRevocationSpec, KeyRevocationStatus};
pub use policy::{SegmentationPolicy, SegmentationPolicySpec, SegmentationPolicyStatus};
pub use reason::Reason;
pub use rotation::Rotation;
pub use scoped_secret::{ScopedSecret, ScopedSecretSpec, ScopedSecretStatus};
pub use secret_grant::{Lendable, SecretGrant, SecretGrantSpec, SecretGrantStatus};
pub use segment_guard::{SegmentGuard, SegmentGuardSpec};
pub use segmentation_report::{SegmentationReport, SegmentationReportSpec, SegmentationReportStatus};
pub use store::{ScopedSecretStore, ScopedSecretStoreSpec, ScopedSecretStoreStatus};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

/// The API group of every kind here.
pub const GROUP: &str = "scopedsecrets.io";
/// Field manager of every write of the operator.
pub const FIELD_MANAGER: &str = "scoped-secrets";
/// Label on every Secret that the operator manages.
pub const MANAGED_BY_LABEL: &str = "app.kubernetes.io/managed-by";
/// Value of [`MANAGED_BY_LABEL`].
pub const MANAGED_BY: &str = "scoped-secrets";
/// On a managed Secret: the sealed record of what it holds.
pub const SEAL_ANNOTATION: &str = "scopedsecrets.io/seal";
/// On a ScopedSecret: any new value refreshes once.
pub const REFRESH_AT_ANNOTATION: &str = "scopedsecrets.io/refresh-at";
/// On a ScopedSecret: any new value rotates its key once.
pub const ROTATE_AT_ANNOTATION: &str = "scopedsecrets.io/rotate-at";
/// On a ScopedSecret, `"true"`: its keys have leaked.
pub const REVOKE_ANNOTATION: &str = "scopedsecrets.io/revoke";
/// On a policy: how many violations a change may cause. On a report: how many withdrawals that wait may go on.
pub const ACCEPT_VIOLATIONS_ANNOTATION: &str = "scopedsecrets.io/accept-violations";
/// On the Role of a grant: the grant's name.
pub const GRANT_ANNOTATION: &str = "scopedsecrets.io/grant";
/// On the Role of a grant: the grant's uid.
pub const GRANT_UID_ANNOTATION: &str = "scopedsecrets.io/grant-uid";
/// On the Role of a grant: since when the grant's time runs.
pub const GRANTED_ANNOTATION: &str = "scopedsecrets.io/granted";
/// On the Role of a grant: who may read, for what is told when it ends.
pub const GRANTED_TO_ANNOTATION: &str = "scopedsecrets.io/granted-to";
/// On the Role and the RoleBinding of a grant: the ScopedSecret that access was given to, by name, uid and canonical keys.
pub const GRANTED_OF_ANNOTATION: &str = "scopedsecrets.io/granted-of";
/// On the Role of a grant with rotateAfter: the value is owed a rotation once the access has ended.
pub const ROTATE_AFTER_ANNOTATION: &str = "scopedsecrets.io/rotate-after";
/// On a workload's pod template: which content of its Secrets its pods were last restarted for.
pub const RESTARTED_FOR_ANNOTATION: &str = "scopedsecrets.io/restarted-for";
/// On the webhook configuration: the first part of its path that comes next.
pub const DOOR_ANNOTATION: &str = "scopedsecrets.io/door";
/// On the webhook configuration: a digest of the operator's entries as it last wrote them.
pub const ENTRIES_ANNOTATION: &str = "scopedsecrets.io/entries";
/// On a SegmentGuard: how a breach is answered in its namespace.
pub const MODE_LABEL: &str = "scopedsecrets.io/mode";

/// On a SegmentGuard: when `spec.shared` last gained a name, in seconds since 1970. It goes once one operator has watched for long
/// enough what comes: who begins sees by it whether somebody may have set an annotation `revoke` that nobody was asked for.
pub const SHARED_SINCE_LABEL: &str = "scopedsecrets.io/shared-since";
/// The label that Kubernetes itself puts on every namespace.
pub const NAMESPACE_NAME_LABEL: &str = "kubernetes.io/metadata.name";
/// How often a claim is refreshed unless it says otherwise.
pub const DEFAULT_REFRESH_INTERVAL: std::time::Duration = std::time::Duration::from_secs(3600);

/// Every CRD, finished as it is to be applied.
pub fn crds() -> Vec<CustomResourceDefinition> {
    [
        ScopedSecret::crd(),
        ScopedSecretStore::crd(),
        SegmentationPolicy::crd(),
        SegmentGuard::crd(),
        SegmentationReport::crd(),
        KeyRevocation::crd(),
        SecretGrant::crd(),
    ]
    .map(schema::finish)
    .into()
}
