//! What several bindings give together to one who is bound by each.
//!
//! Whoever may create Secrets makes one for a ServiceAccount's token, under a name of their own choice, and reads it if they
//! may get a Secret of that name: by one role that is told from its rules (see [`Role::of`]), by two bindings only from whom
//! they name. People's groups are not known: a user and a group are one only where everybody is meant.

use super::powers::Powers;
use super::role::Role;
use super::subject::Subject;
use super::{Access, Binding, RbacName};
use jiff::Timestamp;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// What a role that is bound across the cluster gives somebody, together with what else binds them.
#[derive(Debug, Default)]
pub(super) struct Joined {
    /// Over the Secrets of every namespace.
    pub everywhere: Powers,
    /// Over those of the namespaces in which they may create some.
    pub there: Powers,
    /// Those namespaces.
    pub namespaces: HashSet<Arc<str>>,
}

impl Access {
    /// What a role adds to the powers that it gives by itself, bound across the cluster.
    pub(super) fn joined(&self, subject: &Subject, role: &Role, now: Timestamp) -> Joined {
        let mut joined = Joined { there: role.named(), ..Joined::default() };
        if role.creates {
            joined.everywhere |= self.named_everywhere(subject, now);
        }
        if joined.there.is_empty() {
            return joined;
        }
        // Many are bound to few roles.
        let mut known: HashMap<&RbacName, bool> = HashMap::new();
        let mut creates =
            |role| *known.entry(role).or_insert_with(|| self.role_by_now(role, now).is_some_and(|role| role.creates));
        for (name, _) in self.bound_to(subject, now).filter(|(_, binding)| creates(&binding.role)) {
            match &name.namespace {
                Some(namespace) => drop(joined.namespaces.insert(namespace.clone())),
                None => joined.everywhere |= joined.there,
            }
        }
        joined
    }

    /// What somebody may do across the cluster with Secrets of some names.
    pub(super) fn named_everywhere(&self, subject: &Subject, now: Timestamp) -> Powers {
        let everywhere = self.bound_to(subject, now).filter(|(name, _)| name.namespace.is_none());
        let roles: HashSet<&RbacName> = everywhere.map(|(_, binding)| &binding.role).collect();
        let roles = roles.into_iter().filter_map(|role| self.role_by_now(role, now));
        roles.fold(Powers::NONE, |all, role| all | role.named())
    }

    /// The kept bindings, and those that may be there in a moment, that name somebody, or somebody who may be the same.
    fn bound_to(&self, subject: &Subject, now: Timestamp) -> impl Iterator<Item = (&RbacName, &Binding)> {
        let names: Vec<&RbacName> = match subject.also() {
            Some(also) => {
                let known = [subject.clone()].into_iter().chain(also);
                known.filter_map(|who| self.by_subject.get(&who)).flat_map(|names| names.iter()).collect()
            }
            // Many are one of these.
            None => {
                let overlapping = self.by_subject.iter().filter(|(other, _)| subject.may_be(other));
                overlapping.flat_map(|(_, names)| names.iter()).collect()
            }
        };
        let known = names.into_iter().filter_map(|name| self.bindings.get_key_value(name));
        let coming =
            self.coming_bindings(now).filter(|(_, binding)| binding.subjects.iter().any(|s| subject.may_be(s)));
        known.map(|(name, binding)| (name, &**binding)).chain(coming)
    }
}

#[cfg(test)]
mod tests {
    use super::super::findings::findings;
    use super::super::role::Role;
    use super::super::role::tests::rule;
    use super::super::tests::told;
    use super::super::{Access, RbacName};
    use super::*;
    use crate::segmentation::fixtures::{at, claim, now};
    use crate::segmentation::world::{ObjectName, World};

    fn account(namespace: &str, name: &str) -> Subject {
        Subject::Account(ObjectName::new(namespace, name))
    }

    fn bind(access: &mut Access, namespace: Option<&str>, role: &str, whom: Subject) {
        let role = RbacName::new(None, role);
        let name = format!("{}-{whom}", role.name);
        access.put_binding(RbacName::new(namespace, &name), Binding { role, subjects: [whom].into() });
    }

    fn access() -> Access {
        let mut access = Access::default();
        for (name, text) in [("maker", "create secrets"), ("reader", "get secrets token"), ("viewer", "get pods")] {
            access.put_role(RbacName::new(None, name), Role::of(&[rule(text)]));
        }
        access
    }

    fn world() -> World {
        let mut world = World::with_tenants();
        world.holds(claim("payments-prod", "orders").of("payments/prod/db"), at(1));
        world
    }

    #[test]
    fn who_creates_by_one_binding_and_reads_by_another() {
        let thief = || account("billing-prod", "thief");
        let group = |name: &str| Subject::Group(name.into());
        let all: &[&str] = &["billing/prod", "payments/prod", "payments/staging"];
        for (what, make_in, maker, reader, found) in [
            ("in a namespace of others", Some("payments-prod"), thief(), thief(), &["payments/prod"][..]),
            ("everywhere", None, thief(), thief(), all),
            ("a person everywhere", None, Subject::User("ada".into()), Subject::User("ada".into()), all),
            (
                "in a namespace of one's own segment",
                Some("payments-prod-2"),
                account("payments-prod", "x"),
                account("payments-prod", "x"),
                &[],
            ),
            ("in one that is not governed", Some("plain"), thief(), thief(), &[]),
            ("somebody else", Some("payments-prod"), account("billing-prod", "other"), thief(), &[]),
            (
                "by a group of theirs",
                Some("payments-prod"),
                Subject::AccountsOf("billing-prod".into()),
                thief(),
                &["payments/prod"],
            ),
            ("by a group of all", Some("payments-prod"), group("system:serviceaccounts"), thief(), &["payments/prod"]),
            (
                "and the group reads",
                Some("payments-prod"),
                thief(),
                Subject::AccountsOf("billing-prod".into()),
                &["payments/prod"],
            ),
            ("and everybody reads", Some("payments-prod"), thief(), group("system:authenticated"), &["payments/prod"]),
            ("a group of others", Some("payments-prod"), Subject::AccountsOf("plain".into()), thief(), &[]),
        ] {
            let mut access = access();
            bind(&mut access, make_in, "maker", maker);
            bind(&mut access, None, "reader", reader);
            let found_in: std::collections::BTreeSet<String> =
                findings(&access, &world(), now()).iter().map(|v| v.segment.to_string()).collect();
            assert_eq!(found_in, found.iter().map(|s| (*s).to_owned()).collect(), "{what}");
        }
    }

    #[test]
    fn each_alone_is_none_and_what_is_taken_away_joins_no_more() {
        let thief = || account("billing-prod", "thief");
        let mut access = access();
        bind(&mut access, Some("payments-prod"), "maker", thief());
        assert_eq!(told(&findings(&access, &world(), now())), Vec::<String>::new());
        bind(&mut access, None, "viewer", thief());
        assert_eq!(told(&findings(&access, &world(), now())), Vec::<String>::new());
        bind(&mut access, None, "reader", thief());
        let found = findings(&access, &world(), now());
        assert_eq!(found.len(), 2, "both bindings, each of which could go: {found:?}");
        assert!(found[0].message.contains("get secrets") && found[0].message.contains("together with"), "{found:?}");
        for (name, _) in
            access.bindings(false).map(|(name, binding)| (name.clone(), binding.clone())).collect::<Vec<_>>()
        {
            access.remove_binding(&name);
        }
        assert_eq!(told(&findings(&access, &world(), now())), Vec::<String>::new());
        // By one role the names narrow nothing.
        access.put_role(RbacName::new(None, "reader"), Role::of(&[rule("get secrets token"), rule("create secrets")]));
        assert_eq!(findings(&access, &world(), now()).len(), 3);
    }

    #[test]
    fn roles_of_a_name_that_may_be_bound_in_every_namespace() {
        let mut access = Access::default();
        let binder = Role::of(&[rule("rbac.authorization.k8s.io|bind roles deployer")]);
        access.put_role(RbacName::new(None, "binder"), binder);
        bind(&mut access, None, "binder", Subject::User("ada".into()));
        let count = |access: &Access| findings(access, &world(), now()).len();
        // A ClusterRole of that name is another's.
        access.put_role(RbacName::new(None, "deployer"), Role::of(&[rule("get secrets")]));
        access.put_role(RbacName::new(Some("plain"), "deployer"), Role::of(&[rule("get secrets")]));
        access.put_role(RbacName::new(Some("payments-prod"), "other"), Role::of(&[rule("get secrets")]));
        assert_eq!(count(&access), 0);
        let leads = Role::of(&[rule("rbac.authorization.k8s.io|bind roles other")]);
        access.put_role(RbacName::new(Some("payments-prod"), "deployer"), leads);
        assert_eq!(count(&access), 3, "by way of another role there");
    }

    #[test]
    fn the_operators_own_secrets_by_name() {
        let found = |name: &str| {
            let mut access = Access::default();
            access.put_role(RbacName::new(None, "r"), Role::of(&[rule(&format!("get secrets {name}"))]));
            bind(&mut access, None, "r", Subject::User("ada".into()));
            findings(&access, &world(), now()).len()
        };
        assert_eq!([found("scoped-secrets-keys"), found("orders"), found("other")], [3, 3, 0]);
    }
}
