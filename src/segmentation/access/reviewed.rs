//! Roles that admission has let through a moment ago: a binding often comes with its role, before the watch has shown it.

use super::role::Role;
use super::{Access, RbacName};
use jiff::{SignedDuration, Timestamp};
use std::borrow::Cow;
use std::collections::VecDeque;

/// So long a watch may take. A role that was let through and then not written is forgotten by then.
const WATCH_LAG: SignedDuration = SignedDuration::from_secs(10);
/// So many are remembered.
const LIMIT: usize = 256;

/// What was let through, the newest last.
#[derive(Debug, Default)]
pub struct Reviewed(VecDeque<(Timestamp, RbacName, Role)>);

impl Access {
    /// Remembers a role that may be written now.
    pub fn reviewed(&mut self, name: RbacName, role: Role, now: Timestamp) {
        let all = &mut self.reviewed.0;
        if all.len() >= LIMIT {
            all.pop_front();
        }
        all.push_back((now, name, role));
    }

    /// A role as it is known, and as it may be in a moment: None if it is not there.
    pub fn role_by_now(&self, name: &RbacName, now: Timestamp) -> Option<Cow<'_, Role>> {
        let recent = self.reviewed.0.iter().rev();
        let recent = recent.take_while(|(then, ..)| now.duration_since(*then) < WATCH_LAG);
        let coming = recent.filter(|(_, reviewed, _)| reviewed == name).map(|(.., role)| role);
        let known = self.role(name).map(Cow::Borrowed);
        coming.fold(known, |all, role| match all {
            None => Some(Cow::Borrowed(role)),
            Some(all) if role.beyond(&all).is_powerless() => Some(all),
            Some(all) => Some(Cow::Owned(all.with(role))),
        })
    }
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
        access.reviewed(name.clone(), Role::of(&[rule("get secrets")]), at(100));
        let powers =
            |access: &Access, second| access.role_by_now(&name, at(second)).map(|role| role.powers.to_string());
        assert_eq!(powers(&access, 101).as_deref(), Some("get secrets"));
        assert_eq!(powers(&access, 110), None);
        assert_eq!(access.role_by_now(&other, at(101)), None);
        access.put_role(name.clone(), Role::of(&[rule("list secrets")]));
        assert_eq!(powers(&access, 101).as_deref(), Some("get, list secrets"), "until it is known which is the later");
        assert_eq!(powers(&access, 110).as_deref(), Some("list secrets"));
        for i in 0..LIMIT {
            access.reviewed(other.clone(), Role::default(), at(101 + i as i64 % 2));
        }
        assert_eq!(access.reviewed.0.len(), LIMIT);
    }
}
