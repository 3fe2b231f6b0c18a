//! Rule `Rbac`: who can get at the Secrets of which namespace, and by which path.
//!
//! ```text
//!   Role, ClusterRole (as the API server has aggregated it) ─ Role { powers } ┐
//!   RoleBinding, ClusterRoleBinding ─ Binding { role, subjects } ─────────────┼─► Access ─► judge ─► admission's answer
//!   World: segments, policies, projected Secrets ─────────────────────────────┘         └─► findings ─► reports
//! ```
//!
//! | what gives a power over Secrets | to whom | answer |
//! |-|-|-|
//! | a RoleBinding in a governed namespace | a ServiceAccount of another segment, or everybody | refused, and found |
//! | a ClusterRoleBinding, of the Secrets themselves | whoever is not among the `readers` of each policy | refused, and found |
//! | a ClusterRoleBinding, of what leads to them | likewise | found |
//!
//! Never a breach: people and ordinary groups in a namespace (their segment is not known), a segment's own ServiceAccounts,
//! readers, the control plane ([`Subject::is_the_platform`]), and the operator's own account for as much as it needs.
//!
//! One who is bound twice is judged by both ([`joined`]).
//!
//! Not looked at: roles of an authoriser other than RBAC, and ways that lead over a node's disk or another's webhook.

pub mod aggregation;
pub mod answers;
pub mod everywhere;
pub mod findings;
mod joined;
pub mod judge;
pub mod jurisdiction;
pub mod powers;
pub mod reviewed;
pub mod role;
pub mod subject;
pub mod written;

#[cfg(test)]
mod tests;

use super::few::Few;
use super::world::ObjectName;
use crate::digest;
use aggregation::Aggregation;
use jiff::Timestamp;
use powers::Powers;
use reviewed::Reviewed;
use role::{Bindable, Role};
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, LazyLock};
use subject::Subject;

/// The rule's name.
pub const RULE: &str = "Rbac";

/// A role or a binding, with a namespace or of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RbacName {
    /// None: a ClusterRole or ClusterRoleBinding.
    pub namespace: Option<Arc<str>>,
    /// Its name.
    pub name: Arc<str>,
}

impl RbacName {
    /// From texts.
    pub fn new(namespace: Option<&str>, name: &str) -> Self {
        Self { namespace: namespace.map(Into::into), name: name.into() }
    }

    /// Of the whole cluster.
    pub fn of_cluster(name: &Arc<str>) -> Self {
        Self { namespace: None, name: name.clone() }
    }

    /// As a role: its kind and name.
    pub fn role(&self) -> impl fmt::Display {
        format!("{} {:?}", if self.namespace.is_some() { "Role" } else { "ClusterRole" }, digest::shown(&self.name))
    }
}

/// What is kept of a binding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// The role that it gives.
    pub role: RbacName,
    /// To whom; of a RoleBinding, only who may be of another segment.
    pub subjects: Box<[Subject]>,
}

/// Roles and bindings as far as they lead to Secrets.
#[derive(Debug)]
pub struct Access {
    /// The operator's own ServiceAccount.
    pub operator: ObjectName,
    /// Whether it has roles in the namespaces that it serves: it was told which these are.
    pub has_roles_there: bool,
    /// Every role that exists; boxed where it has powers, since few have.
    roles: HashMap<RbacName, Option<Box<Role>>>,
    /// Of namespaces, those that have powers.
    by_name: HashMap<Arc<str>, Few<RbacName>>,
    /// The roles that let one of a name be bound.
    binders: HashMap<Bindable, Few<RbacName>>,
    bindings: HashMap<RbacName, Box<Binding>>,
    by_role: HashMap<RbacName, Few<RbacName>>,
    by_subject: HashMap<Subject, Few<RbacName>>,
    aggregation: BTreeMap<Arc<str>, Aggregation>,
    reviewed: Reviewed,
    changes: u64,
}

impl Default for Access {
    fn default() -> Self {
        Self {
            operator: ObjectName::new("scoped-secrets", "scoped-secrets"),
            has_roles_there: false,
            roles: HashMap::default(),
            by_name: HashMap::default(),
            binders: HashMap::default(),
            bindings: HashMap::default(),
            by_role: HashMap::default(),
            by_subject: HashMap::default(),
            aggregation: BTreeMap::default(),
            reviewed: Reviewed::default(),
            changes: 0,
        }
    }
}

fn forget<K: Eq + Hash>(by: &mut HashMap<K, Few<RbacName>>, key: K, name: &RbacName) {
    if let Entry::Occupied(mut names) = by.entry(key) {
        names.get_mut().remove(name);
        if names.get().is_empty() {
            names.remove();
        }
    }
}

impl Access {
    /// Records a role.
    pub fn put_role(&mut self, name: RbacName, role: Role) {
        let role = (!role.is_powerless()).then(|| Box::new(role));
        if self.roles.get(&name) == Some(&role) {
            return;
        }
        self.changes += 1;
        self.forget_bindable(&name);
        for bindable in role.iter().flat_map(|role| &role.bindable) {
            self.binders.entry(bindable.clone()).or_default().insert(name.clone());
        }
        if name.namespace.is_some() {
            match role {
                Some(_) => self.by_name.entry(name.name.clone()).or_default().insert(name.clone()),
                None => forget(&mut self.by_name, name.name.clone(), &name),
            }
        }
        self.roles.insert(name, role);
    }

    fn forget_bindable(&mut self, name: &RbacName) {
        for bindable in self.roles.get(name).into_iter().flatten().flat_map(|role| &role.bindable) {
            forget(&mut self.binders, bindable.clone(), name);
        }
    }

    /// Forgets a role.
    pub fn remove_role(&mut self, name: &RbacName) {
        self.changes += 1;
        self.forget_bindable(name);
        self.roles.remove(name);
        match name.namespace {
            Some(_) => forget(&mut self.by_name, name.name.clone(), name),
            None => drop(self.aggregation.remove(&name.name)),
        }
    }

    /// Records a binding. One that names nobody who could be a stranger is not kept.
    pub fn put_binding(&mut self, name: RbacName, mut binding: Binding) {
        if let Some(namespace) = &name.namespace {
            let mut subjects = binding.subjects.into_vec();
            subjects.retain(|subject| subject.may_be_foreign(namespace));
            binding.subjects = subjects.into();
        }
        if let Some((known, _)) = self.roles.get_key_value(&binding.role) {
            binding.role = known.clone();
        }
        if self.bindings.get(&name).is_some_and(|known| **known == binding) {
            return;
        }
        self.remove_binding(&name);
        if binding.subjects.is_empty() {
            return;
        }
        self.changes += 1;
        self.by_role.entry(binding.role.clone()).or_default().insert(name.clone());
        for subject in &binding.subjects {
            self.by_subject.entry(subject.clone()).or_default().insert(name.clone());
        }
        self.bindings.insert(name, binding.into());
    }

    /// Forgets a binding.
    pub fn remove_binding(&mut self, name: &RbacName) {
        let Some(binding) = self.bindings.remove(name) else { return };
        self.changes += 1;
        forget(&mut self.by_role, binding.role, name);
        for subject in binding.subjects {
            forget(&mut self.by_subject, subject, name);
        }
    }

    /// What is known of a role: None if there is none, as far as is known.
    pub fn role(&self, name: &RbacName) -> Option<&Role> {
        static POWERLESS: LazyLock<Role> = LazyLock::new(Role::default);
        self.roles.get(name).map(|role| role.as_deref().unwrap_or(&POWERLESS))
    }

    /// The names of every role, or of those of the cluster.
    pub fn roles(&self, cluster: bool) -> impl Iterator<Item = &RbacName> {
        self.roles.keys().filter(move |name| name.namespace.is_none() == cluster)
    }

    /// The Roles of this name that have powers, of whatever namespace.
    pub fn namesakes(&self, name: &str) -> impl Iterator<Item = &RbacName> {
        self.by_name.get(name).into_iter().flat_map(Few::iter)
    }

    /// The roles that let one be bound by its name, or let one be bound that does, whether or not it is there; with the power that is.
    pub fn binders_of(&self, role: &RbacName, now: Timestamp) -> Vec<(RbacName, Powers)> {
        let mut found: Vec<(RbacName, Powers)> = Vec::new();
        let (mut seen, mut next) = (BTreeSet::new(), vec![role.clone()]);
        while let Some(wanted) = next.pop() {
            let bindable = Bindable { cluster: wanted.namespace.is_none(), name: wanted.name.clone() };
            // A role of a namespace is bound there.
            let may = |name: &&RbacName| {
                name.namespace.is_none() || wanted.namespace.is_none() || name.namespace == wanted.namespace
            };
            let known = self.binders.get(&bindable).into_iter().flat_map(Few::iter);
            for name in known.chain(self.coming_binders(&bindable, now)).filter(may) {
                // With one, those that take its rules were seen.
                if seen.contains(name) {
                    continue;
                }
                // Who will have its rules lets bind as well.
                for name in std::iter::once(name.clone()).chain(self.takers_by_now(name, now)) {
                    if seen.insert(name.clone()) {
                        found.push((name.clone(), bindable.power()));
                        next.push(name);
                    }
                }
            }
        }
        found
    }

    /// The bindings that are kept, of namespaces or of the cluster.
    pub fn bindings(&self, cluster: bool) -> impl Iterator<Item = (&RbacName, &Binding)> {
        let all = self.bindings.iter().filter(move |(name, _)| name.namespace.is_none() == cluster);
        all.map(|(name, binding)| (name, &**binding))
    }

    /// The kept bindings that give a role.
    pub fn bindings_of(&self, role: &RbacName) -> impl Iterator<Item = (&RbacName, &Binding)> {
        let names = self.by_role.get(role).into_iter().flat_map(Few::iter);
        names.filter_map(|name| self.bindings.get_key_value(name).map(|(name, binding)| (name, &**binding)))
    }

    /// Grows with every change that may give somebody another power.
    pub fn changes(&self) -> u64 {
        self.changes
    }
}
