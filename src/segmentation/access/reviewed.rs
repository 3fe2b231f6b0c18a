//! Roles and bindings that admission has let through a moment ago: what is asked next often comes before the watch has shown them.

use super::aggregation::Aggregation;
use super::role::{Bindable, Role};
use super::{Access, Binding, RbacName};
use jiff::{SignedDuration, Timestamp};
use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;

/// So long a watch may take. What was let through and then not written is forgotten by then.
const WATCH_LAG: SignedDuration = SignedDuration::from_secs(10);
/// So many are remembered.
const LIMIT: usize = 256;

/// What may be written now.
#[derive(Debug)]
pub enum Coming {
    /// A role, and of one of the cluster where its rules go and come from.
    Role(Role, Aggregation),
    /// A binding, with the subjects that it gains.
    Binding(Binding),
}

/// What was let through, the newest last.
#[derive(Debug, Default)]
pub struct Reviewed(VecDeque<(Timestamp, RbacName, Coming)>);

impl Access {
    /// Remembers what may be written now.
    pub fn reviewed(&mut self, name: RbacName, coming: Coming, now: Timestamp) {
        let all = &mut self.reviewed.0;
        if all.len() >= LIMIT {
            all.pop_front();
        }
        all.push_back((now, name, coming));
    }

    fn coming(&self, now: Timestamp) -> impl Iterator<Item = (&RbacName, &Coming)> {
        let recent = self.reviewed.0.iter().rev();
        let recent = recent.take_while(move |(then, ..)| now.duration_since(*then) < WATCH_LAG);
        recent.map(|(_, name, coming)| (name, coming))
    }

    fn coming_roles(&self, now: Timestamp) -> impl Iterator<Item = (&RbacName, &Role)> {
        self.coming(now)
            .filter_map(|(name, coming)| if let Coming::Role(role, _) = coming { Some((name, role)) } else { None })
    }

    /// Where the rules of ClusterRoles may go in a moment, and where they come from.
    pub(super) fn coming_aggregations(&self, now: Timestamp) -> impl Iterator<Item = (&Arc<str>, &Aggregation)> {
        self.coming(now).filter_map(|(name, coming)| match coming {
            Coming::Role(_, aggregation) if name.namespace.is_none() => Some((&name.name, aggregation)),
            _ => None,
        })
    }

    /// The bindings of a role that are there, and those that may be in a moment.
    pub fn bindings_by_now(&self, role: &RbacName, now: Timestamp) -> Vec<(&RbacName, &Binding)> {
        let known: Vec<_> = self.bindings_of(role).collect();
        let is_known = |name: &RbacName, coming: &Binding| {
            known
                .iter()
                .any(|(known, binding)| *known == name && coming.subjects.iter().all(|s| binding.subjects.contains(s)))
        };
        let is_new = |(name, binding): &(&RbacName, &Binding)| binding.role == *role && !is_known(name, binding);
        let coming: Vec<_> = self.coming_bindings(now).filter(is_new).collect();
        known.into_iter().chain(coming).collect()
    }

    /// The bindings that may be there in a moment.
    pub(super) fn coming_bindings(&self, now: Timestamp) -> impl Iterator<Item = (&RbacName, &Binding)> {
        self.coming(now).filter_map(|(name, coming)| match coming {
            Coming::Binding(binding) => Some((name, binding)),
            Coming::Role(..) => None,
        })
    }

    /// The roles that may be there in a moment and let another be bound by its name.
    pub(super) fn coming_binders(&self, bindable: &Bindable, now: Timestamp) -> impl Iterator<Item = &RbacName> {
        self.coming_roles(now).filter(move |(_, role)| role.bindable.contains(bindable)).map(|(name, _)| name)
    }

    /// A role as it is known, and as it may be in a moment, by what was written or by what the control plane makes of that: None if it
    /// is not there.
    pub fn role_by_now(&self, name: &RbacName, now: Timestamp) -> Option<Cow<'_, Role>> {
        let written = self.written_by_now(name, now)?;
        let pieces = self.pieces_by_now(name, now);
        let pieces = pieces.into_iter().filter_map(|piece| self.written_by_now(&piece, now));
        Some(pieces.fold(written, |all, piece| joined(all, &piece)))
    }

    /// Likewise, as it is written.
    fn written_by_now(&self, name: &RbacName, now: Timestamp) -> Option<Cow<'_, Role>> {
        let coming = self.coming_roles(now).filter(|(reviewed, _)| *reviewed == name).map(|(_, role)| role);
        let known = self.role(name).map(Cow::Borrowed);
        coming.fold(known, |all, role| Some(all.map_or(Cow::Borrowed(role), |all| joined(all, role))))
    }
}

/// A role with what another gives; as it is where that is nothing more.
fn joined<'r>(all: Cow<'r, Role>, more: &Role) -> Cow<'r, Role> {
    if more.beyond(&all).is_powerless() { all } else { Cow::Owned(all.with(more)) }
}

#[cfg(test)]
mod tests {
    use super::super::role::tests::rule;
    use super::*;
    use crate::segmentation::fixtures::at;

    #[test]
    fn a_role_is_known_before_the_watch_shows_it_and_not_for_ever() {
        let (name, other) = (RbacName::new(None, "r"), RbacName::new(None, "other"));
        let mut access = Access::default();
        access.reviewed(name.clone(), Coming::Role(Role::of(&[rule("get secrets")]), Aggregation::default()), at(100));
        let powers =
            |access: &Access, second| access.role_by_now(&name, at(second)).map(|role| role.powers.to_string());
        assert_eq!(powers(&access, 101).as_deref(), Some("get secrets"));
        assert_eq!(powers(&access, 110), None);
        assert_eq!(access.role_by_now(&other, at(101)), None);
        access.put_role(name.clone(), Role::of(&[rule("list secrets")]));
        assert_eq!(powers(&access, 101).as_deref(), Some("get, list secrets"), "until it is known which is the later");
        assert_eq!(powers(&access, 110).as_deref(), Some("list secrets"));
        for i in 0..LIMIT {
            access.reviewed(
                other.clone(),
                Coming::Role(Role::default(), Aggregation::default()),
                at(101 + i as i64 % 2),
            );
        }
        assert_eq!(access.reviewed.0.len(), LIMIT);
    }
}
