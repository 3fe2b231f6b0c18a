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
//! [`crate::segmentation::access::findings`]. What the control plane aggregates is not refused, but what makes it do so is.

use crate::admission::answer::{admit, deny, deny_as, name_of, warn};
use crate::admission::review::Review;
use crate::api::Reason;
use crate::api::policy::Mode;
use crate::controller::context::Context;
use crate::controller::index::Index;
use crate::controller::seen_rbac::{Bound, Rules};
use crate::segmentation::access::findings::named;
use crate::segmentation::access::judge::{Breach, Place, path};
use crate::segmentation::access::powers::Powers;
use crate::segmentation::access::role::Role;
use crate::segmentation::access::subject::Subject;
use crate::segmentation::access::{Binding, RbacName};
use crate::segmentation::verdict::Refusal;
use jiff::Timestamp;
use kube::core::DynamicObject;
use kube::core::admission::{AdmissionRequest, AdmissionResponse, Operation};
use serde::de::DeserializeOwned;
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

/// The rule over this replica's index.
pub struct Rbac(pub Arc<Context>);

impl Review for Rbac {
    fn review(&self, request: &AdmissionRequest<DynamicObject>) -> AdmissionResponse {
        let now = self.0.now();
        let answer = judge(request, &self.0.index(), now);
        if let Some((name, role)) = coming(request).filter(|_| answer.allowed) {
            self.0.index_mut().access.reviewed(name, role, now);
        }
        answer
    }
}

type Request = AdmissionRequest<DynamicObject>;

/// The answer to a request. Pure.
pub fn judge(request: &Request, index: &Index, now: Timestamp) -> AdmissionResponse {
    let aggregated = request.user_info.username.as_deref() == Some(AGGREGATOR);
    let Some(object) = request.object.as_ref().filter(|_| !aggregated) else { return admit(request) };
    let verdict = match request.kind.kind.as_str() {
        "RoleBinding" => read(request).map(|(new, old)| role_binding(request, new, old, index, now)),
        "ClusterRoleBinding" => read(request).map(|(new, old)| cluster_role_binding(new, old, index, now)),
        "Role" => read(request).map(|(new, old)| role(request, new, old, index, now)),
        _ => read(request).map(|(new, old)| cluster_role(request, object, new, old, index, now)),
    };
    let Some(verdict) = verdict else {
        return deny(request, RULE, Reason::SpecInvalid, "the object cannot be understood");
    };
    match verdict {
        Ok(None) => admit(request),
        Ok(Some(refusal)) => match refusal.mode {
            Mode::Enforce => deny_as(request, RULE, refusal.reason, &refusal.message, 403),
            Mode::Warn => warn(request, RULE, refusal.reason, &refusal.message),
            Mode::Audit => admit(request),
        },
        Err(unknown) => deny_as(request, RULE, unknown.reason, &unknown.message, 403),
    }
}

/// A refusal by the mode, or why it cannot be told.
type Verdict = Result<Option<Refusal>, Refusal>;

/// The object and what it was. None: one of them cannot be understood.
fn read<B: DeserializeOwned>(request: &Request) -> Option<(B, Option<B>)> {
    let body = |object: &DynamicObject| serde_json::from_value(object.data.clone()).ok();
    let old = match &request.old_object {
        Some(old) => Some(body(old)?),
        None => None,
    };
    Some((body(request.object.as_ref()?)?, old))
}

/// The role that may be written now.
fn coming(request: &Request) -> Option<(RbacName, Role)> {
    let cluster = match request.kind.kind.as_str() {
        "Role" => false,
        "ClusterRole" => true,
        _ => return None,
    };
    let written = !request.dry_run && matches!(request.operation, Operation::Create | Operation::Update);
    let (rules, _) = read::<Rules>(request).filter(|_| written)?;
    let namespace = request.namespace.as_deref().filter(|_| !cluster);
    Some((RbacName::new(namespace, name_of(request)), rules.role().clone()))
}

/// The subjects that a binding did not have before.
fn added(new: Binding, old: Option<Binding>) -> Binding {
    let known = |subject: &Subject| old.as_ref().is_some_and(|o| o.role == new.role && o.subjects.contains(subject));
    let subjects = new.subjects.iter().filter(|subject| !known(subject)).cloned().collect();
    Binding { role: new.role.clone(), subjects }
}

fn role_binding(request: &Request, new: Bound, old: Option<Bound>, index: &Index, now: Timestamp) -> Verdict {
    let namespace = request.namespace.as_deref().unwrap_or_default();
    let own = |bound: Bound| bound.binding(Some(namespace));
    let binding = added(own(new), old.map(own));
    let judged = |role: &Role| index.access.crossings(namespace, &binding.subjects, role, &index.world, now);
    let Some(role) = index.access.role_by_now(&binding.role, now) else {
        let whatever = Role { powers: Powers::READS, ..Role::default() };
        return Ok(refuse(&judged(&whatever)?, |breaches| {
            let text = format!(
                "the {} is not known, so that it cannot be told what it would give to {}, which is not of this namespace's segment: create the role first, then the binding; if it was created a moment ago, try again",
                binding.role.role(),
                named(breaches)
            );
            (Reason::RoleUnknown, text)
        }));
    };
    Ok(refuse(&judged(&role)?, |breaches| {
        let text = format!(
            "{} to {}, which is not, or not only, of this namespace's segment: bind ServiceAccounts of this segment, or a role without these; whoever has to read across segments, the platform team lists in rules.readers of the policy",
            path(&binding.role, powers(breaches)),
            named(breaches)
        );
        (Reason::CrossSegmentAccess, text)
    }))
}

fn role(request: &Request, new: Rules, old: Option<Rules>, index: &Index, now: Timestamp) -> Verdict {
    let namespace = request.namespace.as_deref().unwrap_or_default();
    let gained = new.role().beyond(&old.map(|old| old.role().clone()).unwrap_or_default());
    if gained.is_powerless() {
        return Ok(None);
    }
    let mut all = Vec::new();
    let mut by = Vec::new();
    for (name, binding) in index.access.bindings_of(&RbacName::new(Some(namespace), name_of(request))) {
        let breaches = index.access.crossings(namespace, &binding.subjects, &gained, &index.world, now)?;
        if !breaches.is_empty() {
            by.push(format!("{:?}", &*name.name));
            all.extend(breaches);
        }
    }
    Ok(refuse(&all, |breaches| {
        let text = format!(
            "this would give {} to somebody of another segment, by the RoleBinding {}: take them out of that binding first, or leave these powers out",
            powers(breaches),
            by.join(", ")
        );
        (Reason::CrossSegmentAccess, text)
    }))
}

fn cluster_role_binding(new: Bound, old: Option<Bound>, index: &Index, now: Timestamp) -> Verdict {
    let binding = added(new.binding(None), old.map(|old| old.binding(None)));
    // Of one that is not there nothing is said: it is judged when it comes.
    let Some(role) = index.access.role_by_now(&binding.role, now) else { return Ok(None) };
    let powers_given = index.access.powers(&role, Place::Cluster, &index.world) & Powers::READS;
    Ok(refuse(&strangers(&binding.subjects, powers_given, index, now)?, |breaches| {
        let text = format!(
            "{} of every namespace to {}, which is not in rules.readers of every SegmentationPolicy: bind the role by a RoleBinding in the namespaces that need it, or list the subject there",
            path(&binding.role, powers(breaches)),
            named(breaches)
        );
        (Reason::ClusterWideAccess, text)
    }))
}

fn cluster_role(
    request: &Request,
    object: &DynamicObject,
    new: Rules,
    old: Option<Rules>,
    index: &Index,
    now: Timestamp,
) -> Verdict {
    let before = old.map(|old| old.role().clone()).unwrap_or_default();
    let aggregation = new.aggregation(object.metadata.labels.as_ref());
    let (mut crossing, mut wide) = (Vec::new(), Vec::new());
    for (role, gained) in index.access.consequences(name_of(request), &before, new.role(), &aggregation) {
        for (name, binding) in index.access.bindings_of(&role) {
            match &name.namespace {
                Some(namespace) => {
                    crossing.extend(index.access.crossings(
                        namespace,
                        &binding.subjects,
                        &gained,
                        &index.world,
                        now,
                    )?);
                }
                None => {
                    let powers = index.access.powers(&gained, Place::Cluster, &index.world) & Powers::READS;
                    wide.extend(strangers(&binding.subjects, powers, index, now)?);
                }
            }
        }
    }
    let (reason, who) = match (wide.is_empty(), crossing.is_empty()) {
        (false, _) => (Reason::ClusterWideAccess, "across the cluster"),
        (true, _) => (Reason::CrossSegmentAccess, "across segments"),
    };
    let all: Vec<Breach<'_>> = wide.into_iter().chain(crossing).collect();
    // Whom, is not said: it may be a tenant's name.
    Ok(refuse(&all, |breaches| {
        let text = format!(
            "this would give {} to {} who would have it {who}, by bindings of this role or of one that it is aggregated into: take them out of those bindings first, or leave these powers out, or list who has to have them in rules.readers of every SegmentationPolicy",
            powers(breaches),
            if breaches.len() == 1 { "a subject".to_owned() } else { format!("{} subjects", breaches.len()) },
        );
        (reason, text)
    }))
}

/// Those who are no readers somewhere, each once with the strictest answer.
fn strangers<'a>(
    subjects: &'a [Subject],
    powers: Powers,
    index: &Index,
    now: Timestamp,
) -> Result<Vec<Breach<'a>>, Refusal> {
    if powers.is_empty() || subjects.iter().all(|subject| index.access.is_trusted(subject, powers)) {
        return Ok(Vec::new());
    }
    let jurisdictions = index.jurisdictions();
    let jurisdictions = jurisdictions.as_ref().as_ref().map_err(Clone::clone)?;
    let mut all: Vec<Breach<'a>> = Vec::new();
    for jurisdiction in jurisdictions {
        for breach in index.access.strangers(subjects, powers, jurisdiction, now) {
            match all.iter_mut().find(|known| known.subject == breach.subject) {
                Some(known) => known.mode = known.mode.max(breach.mode),
                None => all.push(breach),
            }
        }
    }
    Ok(all)
}

/// What the strictest of the breaches is answered; none, nothing.
fn refuse<'a>(breaches: &[Breach<'a>], says: impl FnOnce(&[Breach<'a>]) -> (Reason, String)) -> Option<Refusal> {
    let mode = breaches.iter().map(|breach| breach.mode).max()?;
    let strictest: Vec<Breach<'a>> = breaches.iter().filter(|breach| breach.mode == mode).cloned().collect();
    let (reason, message) = says(&strictest);
    Some(Refusal { reason, message, mode })
}

fn powers(breaches: &[Breach<'_>]) -> Powers {
    breaches.iter().fold(Powers::NONE, |all, breach| all | breach.powers)
}

#[cfg(test)]
#[path = "rbac_tests.rs"]
mod tests;
