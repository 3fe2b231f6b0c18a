//! What is not as it should be and cannot be undone, since it is not the operator's: for the report of a segment.

use crate::api::Reason;
use std::sync::Arc;

/// One breach of one rule by one object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// The segment whose report shows it, such as `payments/prod`.
    pub segment: Arc<str>,
    /// The rule.
    pub rule: &'static str,
    /// The stable reason.
    pub reason: Reason,
    /// What breaks it.
    pub object: ObjectRef,
    /// What is wrong and how to mend it. For the platform team: it may name tenants, never a value.
    pub message: String,
}

/// An object of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectRef {
    /// Such as `v1` or `rbac.authorization.k8s.io/v1`.
    pub api_version: String,
    /// Such as `Secret`.
    pub kind: String,
    /// None: it is cluster-scoped.
    pub namespace: Option<Arc<str>>,
    /// Its name.
    pub name: String,
}
