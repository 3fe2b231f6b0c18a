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

use crate::admission::answer::{admit, answer_by, deny, deny_as, name_of};
use crate::admission::review::Review;
use crate::api::Reason;
use crate::controller::context::Context;
use crate::controller::index::Index;
use crate::controller::seen_rbac::{Bound, Rules};
use crate::segmentation::access::aggregation::Aggregation;
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
use std::collections::{HashMap, HashSet};
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
        let asked = Asked::of(request);
        let coming = coming(request, &asked);
        let answer = asked.answer(request, &self.0.index(), now);
        if let Some((name, role)) = coming.filter(|_| answer.allowed) {
            self.0.index_mut().access.reviewed(name, role, now);
        }
        answer
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
    /// A binding in a namespace, with the subjects that are new.
    RoleBinding(Binding),
    /// One of the cluster.
    ClusterRoleBinding(Binding),
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
            "RoleBinding" => added(request, Some(namespace)).map(Self::RoleBinding),
            "ClusterRoleBinding" => added(request, None).map(Self::ClusterRoleBinding),
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
        let verdict = match self {
            _ if request.user_info.username.as_deref() == Some(AGGREGATOR) => return admit(request),
            Self::Nothing => return admit(request),
            Self::Unclear => return deny(request, RULE, Reason::SpecInvalid, "the object cannot be understood"),
            Self::RoleBinding(binding) => role_binding(request, binding, index, now),
            Self::ClusterRoleBinding(binding) => cluster_role_binding(binding, index, now),
            Self::Role { gained, .. } => role(request, gained, index, now),
            Self::ClusterRole { before, whole, aggregation } => {
                let gains = index.access.consequences(name_of(request), before, whole, aggregation);
                cluster_role(&gains, index, now)
            }
        };
        match verdict {
            Ok(None) => admit(request),
            Ok(Some(refusal)) => answer_by(refusal.mode, request, RULE, refusal.reason, &refusal.message),
            Err(unknown) => deny_as(request, RULE, unknown.reason, &unknown.message, 403),
        }
    }
}

/// A refusal by the mode, or why it cannot be told.
type Verdict = Result<Option<Refusal>, Refusal>;

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
fn coming(request: &Request, asked: &Asked) -> Option<(RbacName, Role)> {
    let (namespace, role) = match asked {
        Asked::Role { whole, .. } => (request.namespace.as_deref(), whole),
        Asked::ClusterRole { whole, .. } => (None, whole),
        _ => return None,
    };
    let written = !request.dry_run && matches!(request.operation, Operation::Create | Operation::Update);
    written.then(|| (RbacName::new(namespace, name_of(request)), role.clone()))
}

/// A binding with the subjects that it did not have before. Those that are not looked at count as new, unless the whole list
/// is as it was. None: it cannot be understood.
fn added(request: &Request, namespace: Option<&str>) -> Option<Binding> {
    let (new, old) = read::<Bound>(request)?;
    let (new, old) = (new.binding(namespace), old.map(|old| old.binding(namespace)));
    let old = old.filter(|old| old.role == new.role);
    let known: HashSet<&Subject> = old.iter().flat_map(|old| &old.subjects).collect();
    let same = || listed(request.object.as_ref()) == listed(request.old_object.as_ref());
    let had = |subject: &Subject| known.contains(subject) && (*subject != Subject::Others || same());
    let subjects = new.subjects.iter().filter(|subject| !had(subject)).cloned().collect();
    Some(Binding { role: new.role, subjects })
}

/// The subjects as they are written.
fn listed(object: Option<&DynamicObject>) -> Option<&serde_json::Value> {
    object.and_then(|object| object.data.get("subjects"))
}

fn role_binding(request: &Request, binding: &Binding, index: &Index, now: Timestamp) -> Verdict {
    let namespace = request.namespace.as_deref().unwrap_or_default();
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

fn role(request: &Request, gained: &Role, index: &Index, now: Timestamp) -> Verdict {
    let namespace = request.namespace.as_deref().unwrap_or_default();
    if gained.is_powerless() {
        return Ok(None);
    }
    let mut all = Vec::new();
    let mut by = Vec::new();
    for (name, binding) in index.access.bindings_of(&RbacName::new(Some(namespace), name_of(request))) {
        let breaches = index.access.crossings(namespace, &binding.subjects, gained, &index.world, now)?;
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

fn cluster_role_binding(binding: &Binding, index: &Index, now: Timestamp) -> Verdict {
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

fn cluster_role(gains: &[(RbacName, Role)], index: &Index, now: Timestamp) -> Verdict {
    let (mut crossing, mut wide) = (Vec::new(), Vec::new());
    for (role, gained) in gains {
        for (name, binding) in index.access.bindings_of(role) {
            match &name.namespace {
                Some(namespace) => {
                    let subjects = &binding.subjects;
                    crossing.extend(index.access.crossings(namespace, subjects, gained, &index.world, now)?);
                }
                None => {
                    let powers = index.access.powers(gained, Place::Cluster, &index.world) & Powers::READS;
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
    let mut places: HashMap<&Subject, usize> = HashMap::new();
    for jurisdiction in jurisdictions {
        for breach in index.access.strangers(subjects, powers, jurisdiction, now) {
            let place = *places.entry(breach.subject).or_insert(all.len());
            match all.get_mut(place) {
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
