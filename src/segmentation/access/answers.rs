//! What is answered to a binding or a role: by the strictest of the policies that it breaks.

use super::findings::named;
use super::judge::{Breach, Spread, path, powers_of, together};
use super::jurisdiction::Jurisdictions;
use super::powers::Powers;
use super::role::Role;
use super::subject::Subject;
use super::{Access, Binding, RbacName};
use crate::api::Reason;
use crate::segmentation::verdict::Refusal;
use crate::segmentation::world::World;
use jiff::Timestamp;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// A refusal by the mode; an error: that it cannot be told, and why.
pub type Verdict = Result<Option<Refusal>, Refusal>;

/// What is asked.
#[derive(Clone, Copy)]
pub struct Asking<'w> {
    /// The roles and bindings that are there.
    pub access: &'w Access,
    /// What else is.
    pub world: &'w World,
    /// Which policies speak for which namespaces; not looked up unless it matters.
    pub jurisdictions: &'w dyn Fn() -> Arc<Jurisdictions>,
    /// The time.
    pub now: Timestamp,
}

impl Asking<'_> {
    /// A RoleBinding, with the subjects that are judged.
    pub fn role_binding(&self, namespace: &str, binding: &Binding) -> Verdict {
        let judged = |role: &Role| self.access.crossings(namespace, &binding.subjects, role, self.world, self.now);
        let Some(role) = self.access.role_by_now(&binding.role, self.now) else {
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
                path(&binding.role, breaches),
                named(breaches)
            );
            (Reason::CrossSegmentAccess, text)
        }))
    }

    /// A Role that gains powers, by the bindings that are there.
    pub fn role(&self, namespace: &str, name: &str, gained: &Role) -> Verdict {
        if gained.is_powerless() {
            return Ok(None);
        }
        let mut all = Vec::new();
        let mut by = Vec::new();
        for (name, binding) in self.access.bindings_by_now(&RbacName::new(Some(namespace), name), self.now) {
            let breaches = self.access.crossings(namespace, &binding.subjects, gained, self.world, self.now)?;
            if !breaches.is_empty() {
                by.push(format!("{:?}", &*name.name));
                all.extend(breaches);
            }
        }
        for (name, breaches) in self.by_binders(&RbacName::new(Some(namespace), name))? {
            by.push(format!("{:?}", &*name.name));
            all.extend(breaches);
        }
        Ok(refuse(&all, |breaches| {
            let text = format!(
                "this would give {}{} to somebody of another segment, by the RoleBinding {}: take them out of that binding first, or leave these powers out",
                powers_of(breaches),
                together(breaches),
                by.join(", ")
            );
            (Reason::CrossSegmentAccess, text)
        }))
    }

    /// A ClusterRoleBinding, with the subjects that are judged.
    pub fn cluster_role_binding(&self, binding: &Binding) -> Verdict {
        // Of one that is not there nothing is said: it is judged when it comes.
        let Some(role) = self.access.role_by_now(&binding.role, self.now) else { return Ok(None) };
        Ok(refuse(&self.strangers(&binding.subjects, &role)?, |breaches| {
            let text = format!(
                "{} of every namespace to {}, which is not in rules.readers of every SegmentationPolicy: bind the role by a RoleBinding in the namespaces that need it, or list the subject there",
                path(&binding.role, breaches),
                named(breaches)
            );
            (Reason::ClusterWideAccess, text)
        }))
    }

    /// ClusterRoles that gain powers, by the bindings that are there.
    pub fn cluster_role(&self, gains: &[(RbacName, Role)]) -> Verdict {
        let (mut crossing, mut wide) = (Vec::new(), Vec::new());
        for (role, gained) in gains {
            for (name, binding) in self.access.bindings_by_now(role, self.now) {
                match &name.namespace {
                    Some(namespace) => {
                        let subjects = &binding.subjects;
                        crossing.extend(self.access.crossings(namespace, subjects, gained, self.world, self.now)?);
                    }
                    None => {
                        wide.extend(self.strangers(&binding.subjects, gained)?);
                    }
                }
            }
            if !gained.is_powerless() {
                crossing.extend(self.by_binders(role)?.into_iter().flat_map(|(_, breaches)| breaches));
            }
        }
        let (reason, who) = match (wide.is_empty(), crossing.is_empty()) {
            (false, true) => (Reason::ClusterWideAccess, "across the cluster"),
            (false, false) => (Reason::ClusterWideAccess, "across the cluster or across segments"),
            (true, _) => (Reason::CrossSegmentAccess, "across segments"),
        };
        let all: Vec<Breach<'_>> = wide.into_iter().chain(crossing).collect();
        // Whom, is not said: it may be a tenant's name.
        Ok(refuse(&all, |breaches| {
            let text = format!(
                "this would give {}{} to {} who would have it {who}, by bindings of this role or of one that it is aggregated into: take them out of those bindings first, or leave these powers out, or list who has to have them in rules.readers of every SegmentationPolicy",
                powers_of(breaches),
                together(breaches),
                match breaches.iter().map(|breach| breach.subject).collect::<HashSet<_>>().len() {
                    1 => "a subject".to_owned(),
                    many => format!("{many} subjects"),
                },
            );
            (reason, text)
        }))
    }

    /// Those of another segment who may bind a role, by the RoleBindings of those that let them, where it has given nothing in a
    /// namespace until now: who was let bind what gives something there was judged by that.
    fn by_binders(&self, role: &RbacName) -> Result<Vec<(&RbacName, Vec<Breach<'_>>)>, Refusal> {
        let gives = |role: &Role| !role.powers.in_a_namespace().is_empty() || !role.secrets.is_empty();
        let gave = self.access.role(role).is_some_and(gives);
        let mut all = Vec::new();
        let binders = if gave { Vec::new() } else { self.access.binders_of(role, self.now) };
        for (binder, power) in binders {
            let lets_bind = Role { powers: power, ..Role::default() };
            for (name, binding) in self.access.bindings_by_now(&binder, self.now) {
                let Some(namespace) = name.namespace.as_ref().filter(|namespace| match &role.namespace {
                    Some(own) => own == *namespace,
                    None => true,
                }) else {
                    continue;
                };
                let breaches = self.access.crossings(namespace, &binding.subjects, &lets_bind, self.world, self.now)?;
                if !breaches.is_empty() {
                    all.push((name, breaches));
                }
            }
        }
        Ok(all)
    }

    /// Those who are no readers somewhere, each once with the strictest answer: of what returns Secrets.
    fn strangers<'a>(&self, subjects: &'a [Subject], role: &Role) -> Result<Vec<Breach<'a>>, Refusal> {
        let spread = self.access.spread(subjects, role, self.world, self.now);
        if spread.iter().all(|spread| !spread.returns_secrets()) {
            return Ok(Vec::new());
        }
        let jurisdictions = (self.jurisdictions)();
        let jurisdictions = jurisdictions.as_ref().as_ref().map_err(Clone::clone)?;
        let mut all: Vec<Breach<'a>> = Vec::new();
        let mut places: HashMap<&Subject, usize> = HashMap::new();
        for jurisdiction in jurisdictions {
            let breach = |spread: &Spread<'a>| spread.breach(Powers::READS, jurisdiction, self.world, self.now);
            for breach in spread.iter().filter_map(breach) {
                let place = *places.entry(breach.subject).or_insert(all.len());
                match all.get_mut(place) {
                    Some(known) => {
                        known.mode = known.mode.max(breach.mode);
                        known.powers |= breach.powers;
                        known.joined |= breach.joined;
                    }
                    None => all.push(breach),
                }
            }
        }
        Ok(all)
    }
}

/// What the strictest of the breaches is answered; none, nothing.
fn refuse<'a>(breaches: &[Breach<'a>], says: impl FnOnce(&[Breach<'a>]) -> (Reason, String)) -> Option<Refusal> {
    let mode = breaches.iter().map(|breach| breach.mode).max()?;
    let strictest: Vec<Breach<'a>> = breaches.iter().filter(|breach| breach.mode == mode).cloned().collect();
    let (reason, message) = says(&strictest);
    Some(Refusal { reason, message, mode })
}
