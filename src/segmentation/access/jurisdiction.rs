//! Which policies speak for which namespaces: who is a reader there, and how a breach is answered.

use super::Access;
use super::powers::Powers;
use super::subject::Subject;
use crate::api::policy::{ExceptedRule, ModalRule, Mode};
use crate::segmentation::authorize::{Unscoped, View, doubt, scope_of};
use crate::segmentation::policy::Policy;
use crate::segmentation::verdict::Refusal;
use crate::segmentation::world::World;
use jiff::Timestamp;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

/// Governed namespaces of one segment under the same policies.
#[derive(Debug, Clone, PartialEq)]
pub struct Jurisdiction {
    /// The segment's name.
    pub segment: Arc<str>,
    /// The policies, at least one.
    pub policies: Vec<Arc<Policy>>,
    /// The namespaces, at least one.
    pub namespaces: Vec<Arc<str>>,
}

/// All of them, or why that cannot be told.
pub type Jurisdictions = Result<Vec<Jurisdiction>, Refusal>;

impl Jurisdiction {
    /// That of one namespace: None if it is not governed, an error if that cannot be told.
    pub fn of(namespace: &str, world: &World) -> Result<Option<Self>, Refusal> {
        match scope_of(namespace, world) {
            Ok(scope) => Ok(Some(Self {
                segment: scope.segment.name().into(),
                policies: scope.policies.into_iter().cloned().collect(),
                namespaces: vec![namespace.into()],
            })),
            Err(Unscoped::Refused(_)) => Ok(None),
            Err(Unscoped::Undecided(why)) => Err(why),
        }
    }

    /// That of a namespace which no policy governs any more while Secrets of a segment stand in it: all policies speak for it.
    pub fn left(namespace: &Arc<str>, segment: &Arc<str>, world: &World) -> Self {
        let policies = View::from(world).known_policies().cloned().collect();
        Self { segment: segment.clone(), policies, namespaces: vec![namespace.clone()] }
    }

    /// Every one. A namespace whose policies disagree on its segment is in none.
    pub fn all(world: &World) -> Jurisdictions {
        let mut all: BTreeMap<(Arc<str>, Vec<String>), Self> = BTreeMap::new();
        if let Some(why) = doubt(world) {
            return Err(why);
        }
        for namespace in world.namespaces.keys() {
            let Ok(Some(one)) = Self::of(namespace, world) else { continue };
            let names = one.policies.iter().map(|policy| policy.name.clone()).collect();
            let known = all.entry((one.segment.clone(), names)).or_insert(Self { namespaces: Vec::new(), ..one });
            known.namespaces.push(namespace.clone());
        }
        Ok(all.into_values().collect())
    }

    /// How it is answered that somebody has powers here whom no boundary lets have them; None if every policy lets them. The
    /// strictest of the policies: each must name a reader, or lift the rule.
    pub fn answer(&self, subject: &Subject, now: Timestamp) -> Option<Mode> {
        let lifted = |policy: &Policy| {
            let there = |namespace: &Arc<str>| policy.lifts(ExceptedRule::Rbac, None, &[namespace], now);
            policy.lifts_for(subject, now) || self.namespaces.iter().all(there)
        };
        let allowed = |policy: &Arc<Policy>| policy.readers.iter().any(|r| r.covers(subject)) || lifted(policy);
        if self.policies.iter().all(allowed) {
            return None;
        }
        let answer = |policy: &Arc<Policy>| match policy.report_only.contains(&ModalRule::Rbac) || lifted(policy) {
            true => Mode::Audit,
            false => policy.mode,
        };
        self.policies.iter().map(answer).max()
    }

    /// The namespaces of the ServiceAccounts that are readers here, or excepted: whoever takes the token of one reads as it does.
    pub fn homes(&self, now: Timestamp) -> HashSet<Arc<str>> {
        let readers =
            |policy: &Arc<Policy>| policy.readers.iter().cloned().chain(policy.excepted(now)).collect::<Vec<_>>();
        self.policies.iter().flat_map(readers).filter_map(|reader| reader.namespace().cloned()).collect()
    }
}

impl Access {
    /// Whoever is judged where an account takes the operator's place in a binding, as an upgrade that gives it another name does: the
    /// operator itself, for as much as it needs. One for one, of its own namespace, where whoever makes pods may use either.
    pub fn succeeded(&self, gone: &[Subject], come: &[Subject]) -> Option<Subject> {
        match (gone, come) {
            ([Subject::Account(old)], [Subject::Account(new)])
                if *old == self.operator && new.namespace == old.namespace =>
            {
                Some(gone[0].clone())
            }
            _ => None,
        }
    }

    /// Whether somebody may have any power anywhere: the control plane, and the operator for as much as it needs.
    pub fn is_trusted(&self, subject: &Subject, powers: Powers) -> bool {
        let operator = matches!(subject, Subject::Account(account) if *account == self.operator);
        subject.is_the_platform() || (operator && powers.within(Powers::OPERATORS))
    }
}
