//! Whether somebody gets at Secrets across a boundary.

use super::jurisdiction::Jurisdiction;
use super::powers::Powers;
use super::role::Role;
use super::subject::Subject;
use super::{Access, RbacName};
use crate::api::policy::Mode;
use crate::segmentation::authorize::segment_of;
use crate::segmentation::segment::Segment;
use crate::segmentation::verdict::Refusal;
use crate::segmentation::world::World;
use jiff::Timestamp;
use std::cell::OnceCell;
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

/// Somebody who gets at Secrets across a boundary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breach<'a> {
    /// Who.
    pub subject: &'a Subject,
    /// In which ways.
    pub powers: Powers,
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
    pub fn powers(&self, role: &Role, place: Place<'_>, world: &World) -> Powers {
        let look = Look { access: self, world, place, projected: OnceCell::new() };
        let direct = look.direct(role);
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
        let powers = self.powers(role, Place::Namespace(namespace), world);
        let suspects = subjects.iter().filter(|s| s.may_be_foreign(namespace) && !self.is_trusted(s, powers));
        let suspects: Vec<&Subject> = suspects.collect();
        if powers.is_empty() || suspects.is_empty() {
            return Ok(Vec::new());
        }
        let Some(here) = Jurisdiction::of(namespace, world)? else { return Ok(Vec::new()) };
        let segment = segment_of(namespace, world)?;
        let foreign = suspects.into_iter().filter(|subject| is_foreign(subject, &segment, world));
        Ok(foreign.filter_map(|subject| Some(Breach { subject, powers, mode: here.answer(subject, now)? })).collect())
    }

    /// Those subjects of a ClusterRoleBinding who are no readers in a jurisdiction, if its role leads to Secrets.
    pub fn strangers<'a>(
        &self,
        subjects: &'a [Subject],
        powers: Powers,
        jurisdiction: &Jurisdiction,
        now: Timestamp,
    ) -> Vec<Breach<'a>> {
        if powers.is_empty() {
            return Vec::new();
        }
        let suspects = subjects.iter().filter(|subject| !self.is_trusted(subject, powers));
        suspects.filter_map(|s| Some(Breach { subject: s, powers, mode: jurisdiction.answer(s, now)? })).collect()
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
    /// The names of all projected Secrets, once they are asked for.
    projected: OnceCell<HashSet<&'a str>>,
}

impl<'a> Look<'a> {
    /// What a role gives there by itself.
    fn direct(&self, role: &Role) -> Powers {
        let mut powers = role.powers;
        for (name, over) in &role.secrets {
            if !over.within(powers) && self.counts(name) {
                powers |= *over;
            }
        }
        match self.place {
            Place::Namespace(_) => powers.in_a_namespace(),
            Place::Cluster => powers,
        }
    }

    /// Whether some role that it lets be bound by this power, or that one of those lets be bound, gives something there. Each
    /// is looked at once, however they lead to each other.
    fn leads_on(&self, role: &Role, power: Powers) -> bool {
        let mut next: VecDeque<RbacName> = self.bindable(role).filter(|(by, _)| *by == power).map(|(_, r)| r).collect();
        let mut seen: HashSet<RbacName> = next.iter().cloned().collect();
        while let Some(name) = next.pop_front() {
            let Some(role) = self.access.role(&name) else { continue };
            if !self.direct(role).is_empty() {
                return true;
            }
            next.extend(self.bindable(role).map(|(_, role)| role).filter(|role| seen.insert(role.clone())));
        }
        false
    }

    /// The roles that a role lets be bound there, with the power that lets it.
    fn bindable<'r>(&self, role: &'r Role) -> impl Iterator<Item = (Powers, RbacName)> + use<'r, 'a> {
        let namespace = match self.place {
            Place::Namespace(name) => self.world.namespaces.get_key_value(name).map(|(name, _)| name),
            Place::Cluster => None,
        };
        role.bindable.iter().map(move |bindable| (bindable.power(), bindable.role(namespace)))
    }

    /// Whether a Secret of this name matters. In a governed namespace each does: it may be projected later, or hold the token of a
    /// ServiceAccount that reads the others. Across the cluster, where charts name Secrets of their own, those that are projected.
    fn counts(&self, name: &str) -> bool {
        match self.place {
            Place::Namespace(_) => true,
            Place::Cluster => self.projected.get_or_init(|| projected(self.world)).contains(name),
        }
    }
}

/// The names of all Secrets that are, or will be, projected.
fn projected(world: &World) -> HashSet<&str> {
    let claimed = world.claims().map(|claim| &*claim.target);
    claimed.chain(world.holdings().map(|(secret, _)| &*secret.name)).collect()
}

/// A role in a binding's path, for a reader.
pub fn path(role: &RbacName, powers: Powers) -> String {
    format!("{} gives {powers}", role.role())
}
