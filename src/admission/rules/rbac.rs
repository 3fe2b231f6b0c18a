//! Rule `Rbac`: no role carries a Secret across a boundary. Asked when Roles, ClusterRoles and their bindings are written; only
//! what is new is judged.
//!
//! | written | refused |
//! |-|-|
//! | RoleBinding in a governed namespace | if it names a ServiceAccount of another segment, or everybody, and its role has a power over Secrets |
//! | Role there | if it gains such a power while such a binding is there |
//! | ClusterRoleBinding | if its role returns Secrets, and it names somebody who is not among the `readers` of each policy that governs a namespace |
//! | ClusterRole | if it, or one that it is aggregated into, gains such a power while such a binding is there |
//!
//! What is of the cluster passes while the webhook is down; it, and what else leads to Secrets across the cluster, is found by
//! [`crate::segmentation::access::findings`]. What the control plane aggregates is not refused, but what makes it do so is, and who is
//! bound to a role that will have it.

use crate::admission::answer::{admit, answer_by, deny, deny_as, name_of};
use crate::admission::review::Review;
use crate::admission::unread::Unread;
use crate::api::Reason;
use crate::api::policy::ModalRule;
use crate::controller::context::Context;
use crate::controller::index::Index;
use crate::segmentation::access::aggregation::Aggregation;
use crate::segmentation::access::answers::Asking;
use crate::segmentation::access::reviewed::Coming;
use crate::segmentation::access::role::Role;
use crate::segmentation::access::subject::Subject;
use crate::segmentation::access::written::{Bound, Rules};
use crate::segmentation::access::{Binding, RbacName};
use jiff::Timestamp;
use kube::core::DynamicObject;
use kube::core::admission::{AdmissionRequest, AdmissionResponse, Operation};
use serde::de::DeserializeOwned;
use std::collections::HashSet;
use std::sync::Arc;

pub use crate::segmentation::access::RULE;

/// What the rule reviews.
pub const KINDS: &[(&str, &str)] = &[
    ("rbac.authorization.k8s.io", "Role"),
    ("rbac.authorization.k8s.io", "RoleBinding"),
    ("rbac.authorization.k8s.io", "ClusterRole"),
    ("rbac.authorization.k8s.io", "ClusterRoleBinding"),
];

/// The controller that writes the rules of aggregated ClusterRoles, where controllers have accounts of their own.
const AGGREGATOR: &str = "system:serviceaccount:kube-system:clusterrole-aggregation-controller";

/// The bindings by which an installation gives the operator what it needs, each to the role of its name.
const OWN: [&str; 3] = ["scoped-secrets", "scoped-secrets-namespace", "scoped-secrets-restart"];

/// The rule over this replica's index.
pub struct Rbac(pub Arc<Context>);

impl Review for Rbac {
    fn review(&self, request: &AdmissionRequest<DynamicObject>) -> AdmissionResponse {
        let now = self.0.now();
        let asked = Asked::of(request);
        let coming = coming(request, &asked);
        let answer = asked.answer(request, &self.0.index(), now);
        if let Some((name, coming)) = coming.filter(|_| answer.allowed) {
            self.0.index_mut().access.reviewed(name, coming, now);
        }
        answer
    }

    fn refuses_unread(&self, unread: &Unread<'_>) -> bool {
        self.0.index().enforces(ModalRule::Rbac, unread.namespace)
    }
}

type Request = AdmissionRequest<DynamicObject>;

/// What a request asks for, as far as it can be told without the index: whoever sends large objects must not make others wait
/// for it.
enum Asked {
    /// Nothing that is judged here.
    Nothing,
    /// Something that cannot be understood.
    Unclear,
    /// A binding in a namespace, with the subjects that are new, and those that go.
    RoleBinding(Binding, Vec<Subject>),
    /// One of the cluster, likewise.
    ClusterRoleBinding(Binding, Vec<Subject>),
    /// A role of a namespace: itself, and what it gains.
    Role { whole: Role, gained: Role },
    /// One of the cluster: before and after.
    ClusterRole { before: Role, whole: Role, aggregation: Aggregation },
}

/// The answer to a request. Pure.
pub fn judge(request: &Request, index: &Index, now: Timestamp) -> AdmissionResponse {
    Asked::of(request).answer(request, index, now)
}

impl Asked {
    fn of(request: &Request) -> Self {
        let Some(object) = request.object.as_ref() else { return Self::Nothing };
        let namespace = request.namespace.as_deref().unwrap_or_default();
        let asked = match request.kind.kind.as_str() {
            "RoleBinding" => changed(request, Some(namespace)).map(|(binding, gone)| Self::RoleBinding(binding, gone)),
            "ClusterRoleBinding" => {
                changed(request, None).map(|(binding, gone)| Self::ClusterRoleBinding(binding, gone))
            }
            "Role" => read(request).map(|(new, old)| {
                let (whole, before) = (role_of(Some(new)), role_of(old));
                Self::Role { gained: whole.beyond(&before), whole }
            }),
            _ => read(request).map(|(new, old): (Rules, _)| {
                let aggregation = new.aggregation(object.metadata.labels.as_ref());
                Self::ClusterRole { before: role_of(old), whole: role_of(Some(new)), aggregation }
            }),
        };
        asked.unwrap_or(Self::Unclear)
    }

    fn answer(&self, request: &Request, index: &Index, now: Timestamp) -> AdmissionResponse {
        let namespace = request.namespace.as_deref().unwrap_or_default();
        let jurisdictions = || index.jurisdictions();
        let asking = Asking { access: &index.access, world: &index.world, jurisdictions: &jurisdictions, now };
        // Of its own bindings alone: those that others make for it are nobody's to inherit.
        let access = &index.access;
        let stands = namespace.is_empty() || *namespace == *access.operator.namespace || access.has_roles_there;
        let is_own =
            |binding: &Binding| stands && OWN.contains(&name_of(request)) && *binding.role.name == *name_of(request);
        let succeeded = |binding: &Binding, gone: &[Subject]| {
            index.access.succeeded(gone, &binding.subjects).filter(|_| is_own(binding))
        };
        let judged = |binding: &Binding, gone: &[Subject]| match succeeded(binding, gone) {
            Some(operator) => Binding { subjects: [operator].into(), ..binding.clone() },
            None => binding.clone(),
        };
        let verdict = match self {
            _ if request.user_info.username.as_deref() == Some(AGGREGATOR) => return admit(request),
            Self::Nothing => return admit(request),
            Self::Unclear => return deny(request, RULE, Reason::SpecInvalid, "the object cannot be understood"),
            Self::RoleBinding(binding, gone) => asking.role_binding(namespace, &judged(binding, gone)),
            Self::ClusterRoleBinding(binding, gone) => asking.cluster_role_binding(&judged(binding, gone)),
            Self::Role { gained, .. } => asking.role(namespace, name_of(request), gained),
            Self::ClusterRole { before, whole, aggregation } => {
                let gains = index.access.consequences(name_of(request), before, whole, aggregation, now);
                asking.cluster_role(&gains)
            }
        };
        match verdict {
            Ok(None) => admit(request),
            Ok(Some(refusal)) => answer_by(refusal.mode, request, RULE, refusal.reason, &refusal.message),
            Err(unknown) => deny_as(request, RULE, unknown.reason, &unknown.message, 403),
        }
    }
}

/// The object and what it was. None: one of them cannot be understood.
fn read<B: DeserializeOwned>(request: &Request) -> Option<(B, Option<B>)> {
    let body = |object: &DynamicObject| B::deserialize(&object.data).ok();
    let old = match &request.old_object {
        Some(old) => Some(body(old)?),
        None => None,
    };
    Some((body(request.object.as_ref()?)?, old))
}

fn role_of(rules: Option<Rules>) -> Role {
    rules.map(|rules| rules.role().clone()).unwrap_or_default()
}

/// The role that may be written now.
fn coming(request: &Request, asked: &Asked) -> Option<(RbacName, Coming)> {
    let here = request.namespace.as_deref();
    let (namespace, coming) = match asked {
        Asked::Role { whole, .. } => (here, Coming::Role(whole.clone(), Aggregation::default())),
        Asked::ClusterRole { whole, aggregation, .. } => (None, Coming::Role(whole.clone(), aggregation.clone())),
        Asked::RoleBinding(binding, _) if !binding.subjects.is_empty() => (here, Coming::Binding(binding.clone())),
        Asked::ClusterRoleBinding(binding, _) if !binding.subjects.is_empty() => {
            (None, Coming::Binding(binding.clone()))
        }
        _ => return None,
    };
    let written = !request.dry_run && matches!(request.operation, Operation::Create | Operation::Update);
    written.then(|| (RbacName::new(namespace, name_of(request)), coming))
}

/// A binding with the subjects that it did not have before, and those that it has no more. Those that are not looked at count as new,
/// unless the whole list is as it was. None: it cannot be understood.
fn changed(request: &Request, namespace: Option<&str>) -> Option<(Binding, Vec<Subject>)> {
    let (new, old) = read::<Bound>(request)?;
    let (new, old) = (new.binding(namespace), old.map(|old| old.binding(namespace)));
    let old = old.filter(|old| old.role == new.role);
    let known: HashSet<&Subject> = old.iter().flat_map(|old| &old.subjects).collect();
    let same = || listed(request.object.as_ref()) == listed(request.old_object.as_ref());
    let had = |subject: &Subject| known.contains(subject) && (*subject != Subject::Others || same());
    let subjects = new.subjects.iter().filter(|subject| !had(subject)).cloned().collect();
    let gone =
        known.iter().filter(|subject| !new.subjects.contains(subject)).map(|subject| (*subject).clone()).collect();
    Some((Binding { role: new.role, subjects }, gone))
}

/// The subjects as they are written.
fn listed(object: Option<&DynamicObject>) -> Option<&serde_json::Value> {
    object.and_then(|object| object.data.get("subjects"))
}

#[cfg(test)]
#[path = "rbac_tests.rs"]
mod tests;
