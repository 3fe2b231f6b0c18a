//! Aggregated ClusterRoles: whose rules become whose.
//!
//! The control plane writes the rules of a ClusterRole with an aggregationRule from those of all that its selectors pick. That
//! write is never refused; what leads to it is. It may come late, or not before somebody is bound: so whoever takes rules is judged as
//! if it had them.

use super::role::Role;
use super::{Access, RbacName};
use jiff::Timestamp;
use k8s_openapi::api::rbac::v1::AggregationRule;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What decides where the rules of a ClusterRole go, and where they come from.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Aggregation {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Whose rules become its own.
    pub selectors: Vec<LabelSelector>,
}

impl Aggregation {
    /// Of a ClusterRole.
    pub fn of(labels: Option<&BTreeMap<String, String>>, rule: Option<&AggregationRule>) -> Self {
        let selectors = rule.and_then(|rule| rule.cluster_role_selectors.clone()).unwrap_or_default();
        Self { labels: labels.cloned().unwrap_or_default(), selectors }
    }

    fn takes_from(&self, other: &Self) -> bool {
        self.selectors.iter().any(|selector| picks(selector, &other.labels))
    }
}

/// Whether a selector picks labels. One that is empty picks all.
fn picks(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    let equal = selector.match_labels.iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
    equal
        && selector.match_expressions.iter().flatten().all(|e| {
            let listed = |value: &String| e.values.iter().flatten().any(|v| v == value);
            match (e.operator.as_str(), labels.get(&e.key)) {
                ("In", value) => value.is_some_and(listed),
                ("NotIn", value) => !value.is_some_and(listed),
                ("Exists", value) => value.is_some(),
                ("DoesNotExist", value) => value.is_none(),
                _ => false,
            }
        })
}

impl Access {
    /// Records a ClusterRole. Labels are kept only of those that have powers, or may be given some.
    pub fn put_cluster_role(&mut self, name: RbacName, role: Role, aggregation: Aggregation) {
        if aggregation.selectors.is_empty() && role.is_powerless() {
            self.aggregation.remove(&name.name);
        } else {
            self.aggregation.insert(name.name.clone(), aggregation);
        }
        self.put_role(name, role);
    }

    /// Gives each ClusterRole the rules that it takes from others, as the control plane does: for roles as files have them.
    pub fn aggregate(&mut self) {
        let all: Vec<(Arc<str>, Aggregation)> =
            self.aggregation.iter().map(|(name, aggregation)| (name.clone(), aggregation.clone())).collect();
        for (name, aggregation) in all {
            let Some(role) = self.role(&RbacName::of_cluster(&name)).cloned() else { continue };
            for (taker, gained) in self.consequences(&name, &role, &role, &aggregation, Timestamp::MAX) {
                let whole = self.role(&taker).map_or_else(|| gained.clone(), |known| known.with(&gained));
                self.put_role(taker, whole);
            }
        }
    }

    /// Where rules of ClusterRoles go and come from, as it is known and as it may be in a moment.
    fn aggregations(&self, now: Timestamp) -> impl Iterator<Item = (&Arc<str>, &Aggregation)> {
        self.aggregation.iter().chain(self.coming_aggregations(now))
    }

    /// The ClusterRoles whose rules become those of a role, each once.
    pub(super) fn pieces_by_now(&self, name: &RbacName, now: Timestamp) -> Vec<RbacName> {
        if name.namespace.is_some() {
            return Vec::new();
        }
        let known = self.aggregation.get(&name.name).map(|aggregation| (&name.name, aggregation));
        let coming = self.coming_aggregations(now).filter(|(other, _)| **other == name.name);
        if known.into_iter().chain(coming).all(|(_, aggregation)| aggregation.selectors.is_empty()) {
            return Vec::new();
        }
        self.reached(name, now, Aggregation::takes_from)
    }

    /// The ClusterRoles that a role's rules become part of, each once.
    pub(super) fn takers_by_now(&self, name: &RbacName, now: Timestamp) -> Vec<RbacName> {
        if name.namespace.is_some() {
            return Vec::new();
        }
        self.reached(name, now, |piece, taker| taker.takes_from(piece))
    }

    /// The ClusterRoles that one leads to, step by step, each once.
    fn reached(
        &self,
        from: &RbacName,
        now: Timestamp,
        leads: impl Fn(&Aggregation, &Aggregation) -> bool,
    ) -> Vec<RbacName> {
        // One that is known, and is written anew, is there twice.
        let all: Vec<(&Arc<str>, &Aggregation)> = self.aggregations(now).collect();
        let mut next: Vec<usize> = (0..all.len()).filter(|at| *all[*at].0 == from.name).collect();
        let mut reached = vec![false; all.len()];
        while let Some(here) = next.pop() {
            for (at, (_, there)) in all.iter().enumerate() {
                if !reached[at] && leads(all[here].1, there) {
                    reached[at] = true;
                    next.push(at);
                }
            }
        }
        let names: BTreeSet<&Arc<str>> =
            all.iter().zip(reached).filter(|(_, reached)| *reached).map(|((name, _), _)| *name).collect();
        names.into_iter().map(RbacName::of_cluster).collect()
    }

    /// What ClusterRoles will give that they did not, once one is written like this: itself, beyond what it gave before, and
    /// those that take its rules, beyond what is known of them.
    pub fn consequences(
        &self,
        name: &str,
        before: &Role,
        role: &Role,
        aggregation: &Aggregation,
        now: Timestamp,
    ) -> Vec<(RbacName, Role)> {
        // One that is known, and is written anew, is there twice: its rules go where either says.
        let all: Vec<(&Arc<str>, &Aggregation)> =
            self.aggregations(now).filter(|(other, _)| &***other != name).collect();
        // Its own rules are replaced by those that it takes.
        let taken = all.iter().filter(|(_, theirs)| aggregation.takes_from(theirs));
        let taken = taken.filter_map(|(other, _)| self.role_by_now(&RbacName::of_cluster(other), now));
        let whole = taken.fold(role.clone(), |all, role| all.with(&role));
        let mut gains = vec![(RbacName::new(None, name), whole.beyond(before))];
        let mut taken = vec![false; all.len()];
        let mut next: Vec<(&Aggregation, Role)> = vec![(aggregation, whole)];
        while let Some((source, gives)) = next.pop() {
            for (at, (taker, theirs)) in all.iter().enumerate() {
                if taken[at] || !theirs.takes_from(source) {
                    continue;
                }
                let taker = RbacName::of_cluster(taker);
                let known = self.role(&taker);
                let gained = known.map_or_else(|| gives.clone(), |known| gives.beyond(known));
                if gained.is_powerless() {
                    continue;
                }
                taken[at] = true;
                next.push((theirs, gained.clone()));
                if gains.iter().all(|(gainer, _)| *gainer != taker) {
                    gains.push((taker, gained));
                }
            }
        }
        gains.retain(|(_, gained)| !gained.is_powerless());
        gains
    }
}
