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
use crate::segmentation::world::{ObjectName, World};
use jiff::Timestamp;
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

/// A role that may be bound may let others be bound, and so on: so far it is followed.
const DEPTH: u8 = 4;

impl Access {
    /// The ways to the Secrets of a place that a role gives there.
    pub fn powers(&self, role: &Role, place: Place<'_>, world: &World) -> Powers {
        self.powers_within(role, place, world, DEPTH)
    }

    fn powers_within(&self, role: &Role, place: Place<'_>, world: &World, depth: u8) -> Powers {
        let mut powers = role.powers;
        for (name, over) in &role.secrets {
            if !over.within(powers) && is_projected(name, place, world) {
                powers |= *over;
            }
        }
        let namespace = match place {
            Place::Namespace(name) => world.namespaces.get_key_value(name).map(|(name, _)| name),
            Place::Cluster => None,
        };
        let leads = |role: &Role| depth == 0 || !self.powers_within(role, place, world, depth - 1).is_empty();
        for bindable in &role.bindable {
            if !bindable.power().within(powers) && self.role(&bindable.role(namespace)).is_some_and(leads) {
                powers |= bindable.power();
            }
        }
        match place {
            Place::Namespace(_) => powers.in_a_namespace(),
            Place::Cluster => powers,
        }
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

/// Whether a Secret of this name is, or will be, projected there.
fn is_projected(name: &str, place: Place<'_>, world: &World) -> bool {
    match place {
        Place::Namespace(namespace) => {
            let secret = ObjectName::new(namespace, name);
            let claimed = world.claim(&secret).is_some_and(|claim| &*claim.target == name);
            claimed || world.holding(&secret).is_some()
        }
        Place::Cluster => {
            world.claims().any(|claim| &*claim.target == name)
                || world.holdings().any(|(secret, _)| &*secret.name == name)
        }
    }
}

/// A role in a binding's path, for a reader.
pub fn path(role: &RbacName, powers: Powers) -> String {
    format!("{} gives {powers}", role.role())
}
