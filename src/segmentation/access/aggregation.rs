//! Aggregated ClusterRoles: whose rules become whose.
//!
//! The control plane writes the rules of a ClusterRole with an aggregationRule from those of all that its selectors pick. That
//! write is never refused; what leads to it is.

use super::role::Role;
use super::{Access, RbacName};
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
            let Some(role) = self.role(&RbacName { namespace: None, name: name.clone() }).cloned() else { continue };
            for (taker, gained) in self.consequences(&name, &role, &role, &aggregation) {
                let whole = self.role(&taker).map_or_else(|| gained.clone(), |known| known.with(&gained));
                self.put_role(taker, whole);
            }
        }
    }

    /// What ClusterRoles will give that they did not, once one is written like this: itself, beyond what it gave before, and
    /// those that take its rules, beyond what is known of them.
    pub fn consequences(
        &self,
        name: &str,
        before: &Role,
        role: &Role,
        aggregation: &Aggregation,
    ) -> Vec<(RbacName, Role)> {
        // Its own rules are replaced by those that it takes.
        let taken =
            self.aggregation.iter().filter(|(other, theirs)| &***other != name && aggregation.takes_from(theirs));
        let known = |name: &Arc<str>| self.role(&RbacName { namespace: None, name: name.clone() });
        let whole = taken.filter_map(|(other, _)| known(other)).fold(role.clone(), |all, role| all.with(role));
        let mut gains = vec![(RbacName::new(None, name), whole.beyond(before))];
        let mut seen: BTreeSet<&str> = [name].into();
        let mut next: Vec<(&Aggregation, Role)> = vec![(aggregation, whole)];
        while let Some((source, gives)) = next.pop() {
            for (taker, theirs) in self.aggregation.iter().filter(|(_, theirs)| theirs.takes_from(source)) {
                let gained = known(taker).map_or_else(|| gives.clone(), |known| gives.beyond(known));
                if !gained.is_powerless() && seen.insert(taker) {
                    gains.push((RbacName { namespace: None, name: taker.clone() }, gained.clone()));
                    next.push((theirs, gained));
                }
            }
        }
        gains.retain(|(_, gained)| !gained.is_powerless());
        gains
    }
}
