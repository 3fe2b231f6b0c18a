//! The rules, one file each: those that the webhook asks of its index, and those that the API server keeps on its own.
//!
//! | rule | refuses | kept by |
//! |-|-|-|
//! | [`claims`] | a ScopedSecret that the authoriser refuses | webhook |
//! | [`policies`] | a change of policy that would take Secrets from live claims, or make one segment of several | webhook |
//! | [`other_operators`] | an ExternalSecret and its kin that names a key outside the namespace's, or another scope's | webhook, by the mode |
//! | [`copies`] | a Secret or ConfigMap with a value of another segment | webhook, by the mode |
//! | [`rbac`] | a role or a binding that would let somebody of another segment, everybody, or a stranger across the cluster, at Secrets | webhook, by the mode; what passes it is reported |
//! | [`managed_secrets`] | whoever but the operator writes a managed Secret, a status, or what is the operator's | guard |
//! | [`operator`] | what the operator's own account is not for | guard |
//! | [`boundary`] | who may not, moving a namespace into or out of a segment | guard |
//! | [`consumers`] | a pod, a workload or a ServiceAccount that references a projected Secret and is no consumer's | guard, by the mode |
//! | [`grants`] | access to a projected Secret that whoever asks may not give, or approve | guard |
//! | [`revocations`] | saying that a key has leaked, where others would lose it and who says it may not take it from them | guard |
//! | [`replication`] | annotations by which a replicator would carry a Secret across a boundary | guard, by the mode |
//!
//! A guard ([`super::guard`]) needs no index and holds with the operator gone.

pub mod boundary;
pub mod claims;
pub mod consumers;
pub mod copies;
pub mod grants;
pub mod managed_secrets;
pub mod operator;
pub mod other_operators;
pub mod policies;
pub mod rbac;
pub mod replication;
pub mod revocations;

use super::guard::Guard;
use super::identities::Installation;

/// The rules that the webhook is asked about: without its configuration nobody asks.
pub const REVIEWED: &[&str] = &[claims::RULE, policies::RULE, copies::RULE, rbac::RULE, other_operators::RULE];

/// Every rule that the API server keeps on its own.
pub fn guards(installation: &Installation) -> Vec<Guard> {
    vec![
        managed_secrets::guard(installation),
        operator::guard(installation),
        boundary::guard(),
        consumers::guard(),
        grants::guard(),
        revocations::guard(),
        replication::guard(),
    ]
}
