//! Whether somebody gets at Secrets across a boundary.

use super::findings::Left;
use super::joined::Joined;
use super::jurisdiction::Jurisdiction;
use super::powers::Powers;
use super::role::{Bindable, Role};
use super::subject::{CONTROL_PLANE, Subject};
use super::{Access, RbacName};
use crate::api::policy::Mode;
use crate::segmentation::authorize::segment_of;
use crate::segmentation::segment::Segment;
use crate::segmentation::verdict::Refusal;
use crate::segmentation::world::World;
use jiff::Timestamp;
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

/// The operator's own Secrets: its seal key, and the webhook's.
const OWN_SECRETS: [&str; 2] = ["scoped-secrets-keys", "scoped-secrets-webhook-tls"];

/// Somebody who gets at Secrets across a boundary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breach<'a> {
    /// Who.
    pub subject: &'a Subject,
    /// In which ways.
    pub powers: Powers,
    /// Those of them that they have only together with what another binding gives them.
    pub joined: Powers,
    /// How that is answered at admission.
    pub mode: Mode,
}

/// What a role is given over.
#[derive(Debug, Clone, Copy)]
pub enum Place<'a> {
    /// A namespace, by a RoleBinding.
    Namespace(&'a str),
    /// Everything, by a ClusterRoleBinding.
    Cluster,
}

impl Access {
    /// The ways to the Secrets of a place that a role gives there.
    pub fn powers(&self, role: &Role, place: Place<'_>, world: &World, now: Timestamp) -> Powers {
        let look = Look { access: self, world, place, now };
        let direct = look.direct(role, place);
        let leads = |power: Powers| !power.within(direct) && look.leads_on(role, power);
        [Powers::BIND_ROLES, Powers::BIND_CLUSTER_ROLES]
            .into_iter()
            .filter(|power| leads(*power))
            .fold(direct, |all, power| all | power)
    }

    /// Those subjects of a RoleBinding whom a role would let at the Secrets of its governed namespace across a boundary. An
    /// error: that cannot be told.
    pub fn crossings<'a>(
        &self,
        namespace: &str,
        subjects: &'a [Subject],
        role: &Role,
        world: &World,
        now: Timestamp,
    ) -> Result<Vec<Breach<'a>>, Refusal> {
        let suspects = self.suspects(namespace, subjects, role, world, now);
        if suspects.is_empty() {
            return Ok(Vec::new());
        }
        let Some(here) = Jurisdiction::of(namespace, world)? else { return Ok(Vec::new()) };
        let segment = segment_of(namespace, world)?;
        let foreign = suspects.into_iter().filter(|(subject, ..)| is_foreign(subject, &segment, world));
        Ok(breaches(foreign, &here, now))
    }

    /// Likewise in a namespace that no policy governs any more while Secrets of a segment stand in it.
    pub fn crossings_into_left<'a>(
        &self,
        namespace: &str,
        subjects: &'a [Subject],
        role: &Role,
        (here, left): (&Jurisdiction, &Left),
        world: &World,
        now: Timestamp,
    ) -> Vec<Breach<'a>> {
        let is_own = |theirs: &Arc<str>| {
            left.get(theirs) == Some(&here.segment)
                || segment_of(theirs, world).is_ok_and(|theirs| *theirs.name() == *here.segment)
        };
        let suspects = self.suspects(namespace, subjects, role, world, now);
        let foreign = suspects.into_iter().filter(|(subject, ..)| !subject.namespace().is_some_and(is_own));
        breaches(foreign, here, now)
    }

    /// Those subjects of a RoleBinding who may be of elsewhere and are not trusted with what it gives them; with that.
    fn suspects<'a>(
        &self,
        namespace: &str,
        subjects: &'a [Subject],
        role: &Role,
        world: &World,
        now: Timestamp,
    ) -> Vec<(&'a Subject, Powers, Powers)> {
        let powers = self.powers(role, Place::Namespace(namespace), world, now);
        if powers.is_empty() && !role.creates {
            return Vec::new();
        }
        let suspects = subjects.iter().filter(|subject| subject.may_be_foreign(namespace));
        let suspects = suspects.map(|subject| {
            let joined = if role.creates { self.named_everywhere(subject, now) & !powers } else { Powers::NONE };
            (subject, powers | joined, joined)
        });
        suspects.filter(|(subject, powers, _)| !powers.is_empty() && !self.is_trusted(subject, *powers)).collect()
    }

    /// Whether the Secrets of a namespace open those of every other: controllers' tokens, the seal key, stores' credentials.
    pub fn is_central(&self, namespace: &str) -> bool {
        namespace == CONTROL_PLANE || *namespace == *self.operator.namespace
    }

    /// Those subjects of a RoleBinding who are of the tenants of other segments, or everybody, and whom it lets at the Secrets and
    /// tokens of its namespace.
    pub fn tenants_at<'a>(
        &self,
        namespace: &str,
        subjects: &'a [Subject],
        role: &Role,
        world: &World,
        now: Timestamp,
    ) -> Vec<(&'a Subject, Powers)> {
        let here = segment_of(namespace, world).ok();
        let of_another =
            |theirs: &Arc<str>| segment_of(theirs, world).is_ok_and(|theirs| here.as_ref() != Some(&theirs));
        let tenants = |subject: &&Subject| subject.is_everybody() || subject.namespace().is_some_and(of_another);
        let mut tenants = subjects.iter().filter(tenants).peekable();
        if tenants.peek().is_none() {
            return Vec::new();
        }
        let powers = self.powers(role, Place::Namespace(namespace), world, now);
        tenants.filter(|_| !powers.is_empty()).map(|subject| (subject, powers)).collect()
    }

    /// What a role gives each of the subjects of a ClusterRoleBinding, who are not trusted with it.
    pub fn spread<'a>(&self, subjects: &'a [Subject], role: &Role, world: &World, now: Timestamp) -> Vec<Spread<'a>> {
        let powers = self.powers(role, Place::Cluster, world, now);
        let narrow = role.creates || !role.secrets.is_empty();
        let each = |subject| {
            let joined = if narrow { self.joined(subject, role, now) } else { Joined::default() };
            Spread { subject, powers, joined }
        };
        let all = subjects.iter().map(each).filter(|spread| {
            let most = spread.powers | spread.joined.everywhere | spread.joined.there;
            let some = !(spread.powers | spread.joined.everywhere).is_empty() || !spread.joined.namespaces.is_empty();
            some && !self.is_trusted(spread.subject, most)
        });
        all.collect()
    }
}

/// Those whom no policy of a jurisdiction lets have what they would have.
fn breaches<'a>(
    foreign: impl Iterator<Item = (&'a Subject, Powers, Powers)>,
    here: &Jurisdiction,
    now: Timestamp,
) -> Vec<Breach<'a>> {
    let breach = |(subject, powers, joined)| Some(Breach { subject, powers, joined, mode: here.answer(subject, now)? });
    foreign.filter_map(breach).collect()
}

/// What a role that is bound across the cluster gives somebody.
pub struct Spread<'a> {
    subject: &'a Subject,
    powers: Powers,
    joined: Joined,
}

impl<'a> Spread<'a> {
    /// Whether some of it returns Secrets themselves.
    pub fn returns_secrets(&self) -> bool {
        let all = self.powers | self.joined.everywhere | self.joined.there;
        !(all & Powers::READS).is_empty()
    }

    /// What of it crosses the boundaries of a jurisdiction, as far as it is among these powers.
    pub fn breach(
        &self,
        counted: Powers,
        jurisdiction: &Jurisdiction,
        world: &World,
        now: Timestamp,
    ) -> Option<Breach<'a>> {
        let makes = |namespace: &Arc<str>| {
            let foreign = || segment_of(namespace, world).is_ok_and(|here| is_foreign(self.subject, &here, world));
            self.joined.namespaces.contains(namespace) && foreign()
        };
        let there = if jurisdiction.namespaces.iter().any(makes) { self.joined.there } else { Powers::NONE };
        let joined = (self.joined.everywhere | there) & counted & !self.powers;
        let powers = (self.powers & counted) | joined;
        if powers.is_empty() {
            return None;
        }
        Some(Breach { subject: self.subject, powers, joined, mode: jurisdiction.answer(self.subject, now)? })
    }
}

/// Whether somebody is not, or not only, of a segment. A namespace that is in none, or not there, is foreign.
fn is_foreign(subject: &Subject, segment: &Segment, world: &World) -> bool {
    let own = |namespace: &Arc<str>| segment_of(namespace, world).is_ok_and(|theirs| theirs == *segment);
    subject.is_everybody() || subject.namespace().is_some_and(|namespace| !own(namespace))
}

/// A look from roles at a place.
struct Look<'a> {
    access: &'a Access,
    world: &'a World,
    place: Place<'a>,
    now: Timestamp,
}

impl<'a> Look<'a> {
    /// What a role gives by itself, bound there.
    fn direct(&self, role: &Role, place: Place<'_>) -> Powers {
        let mut powers = role.powers;
        for (name, over) in &role.secrets {
            if !over.within(powers) && self.counts(name, place) {
                powers |= *over;
            }
        }
        match place {
            Place::Namespace(_) => powers.in_a_namespace(),
            Place::Cluster => powers,
        }
    }

    /// Whether some role that it lets be bound by this power, or that one of those lets be bound, gives something there. Each
    /// is looked at once, however they lead to each other.
    fn leads_on(&self, role: &Role, power: Powers) -> bool {
        let first = role.bindable.iter().filter(|bindable| bindable.power() == power);
        let mut next: VecDeque<(Bindable, Place<'a>)> = first.map(|bindable| (bindable.clone(), self.place)).collect();
        let mut seen: HashSet<RbacName> = HashSet::new();
        while let Some((bindable, place)) = next.pop_front() {
            for name in self.bound(&bindable, place) {
                if !seen.insert(name.clone()) {
                    continue;
                }
                let Some(role) = self.access.role_by_now(&name, self.now) else { continue };
                // A role of a namespace is bound there.
                let there = name.namespace.as_deref().and_then(|namespace| self.namespace(namespace));
                let place = there.map_or(self.place, |namespace| Place::Namespace(namespace));
                if !self.direct(&role, place).is_empty() {
                    return true;
                }
                next.extend(role.bindable.iter().map(|bindable| (bindable.clone(), place)));
            }
        }
        false
    }

    /// The roles that one which may be bound means in a place: across the cluster those of its name in every governed namespace.
    fn bound<'b>(&'b self, bindable: &'b Bindable, place: Place<'a>) -> impl Iterator<Item = RbacName> + use<'a, 'b> {
        let named = match place {
            Place::Cluster if !bindable.cluster => Some(self.access.namesakes(&bindable.name)),
            _ => None,
        };
        let governed = |name: &&RbacName| {
            name.namespace.as_deref().is_some_and(|namespace| segment_of(namespace, self.world).is_ok())
        };
        let one = match place {
            Place::Cluster => bindable.cluster.then(|| RbacName::of_cluster(&bindable.name)),
            Place::Namespace(namespace) => self.namespace(namespace).map(|namespace| bindable.role(namespace)),
        };
        named.into_iter().flatten().filter(governed).cloned().chain(one)
    }

    /// A namespace that is there.
    fn namespace(&self, name: &str) -> Option<&'a Arc<str>> {
        self.world.namespaces.get_key_value(name).map(|(name, _)| name)
    }

    /// Whether a Secret of this name matters. In a governed namespace each does: it may be projected later, or hold the token of a
    /// ServiceAccount that reads the others. Across the cluster, where charts name Secrets of their own, those that are projected,
    /// and the operator's: whoever has its key makes seals.
    fn counts(&self, name: &str, place: Place<'_>) -> bool {
        match place {
            Place::Namespace(_) => true,
            Place::Cluster => self.world.is_projected(name) || OWN_SECRETS.contains(&name),
        }
    }
}

/// A role in a binding's path, for a reader.
pub fn path(role: &RbacName, breaches: &[Breach<'_>]) -> String {
    format!("{} gives {}{}", role.role(), powers_of(breaches), together(breaches))
}

/// All powers of the breaches.
pub fn powers_of(breaches: &[Breach<'_>]) -> Powers {
    breaches.iter().fold(Powers::NONE, |all, breach| all | breach.powers)
}

/// Says so where it takes two bindings.
pub fn together(breaches: &[Breach<'_>]) -> &'static str {
    if breaches.iter().all(|breach| breach.joined.is_empty()) {
        return "";
    }
    ", together with another of their bindings (by one a Secret is created that is given a ServiceAccount's token, by the other it is read),"
}
