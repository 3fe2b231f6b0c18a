//! Which namespaces are governed, as the API server can tell it: by the labels that they carry.

use crate::api::policy::Governs;
use std::collections::{BTreeMap, BTreeSet};

/// The labels that name the segments of a policy, in alphabetical order: policies that differ in their order alone select
/// the same namespaces.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LabelSet(Box<[String]>);

impl LabelSet {
    /// Of `segment.labels`.
    pub fn of(labels: &[String]) -> Self {
        Self(labels.iter().cloned().collect::<BTreeSet<_>>().into_iter().collect())
    }

    /// The labels.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// A short name for the set, as part of a DNS name.
    pub fn slug(&self) -> String {
        crate::digest::sha256_hex(self.0.join(",").as_bytes())[..10].to_owned()
    }
}

/// Every set of segment labels of the policies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Governed {
    sets: BTreeSet<LabelSet>,
    /// Of which other operators objects are held to the rules, where there are any.
    governs: BTreeMap<LabelSet, BTreeSet<Governs>>,
    /// Whether a policy cannot be understood: it may have labels that are not among the sets.
    uncertain: bool,
}

impl Governed {
    /// From the labels of each policy that is understood.
    pub fn new(sets: impl IntoIterator<Item = LabelSet>, uncertain: bool) -> Self {
        Self { sets: sets.into_iter().collect(), governs: BTreeMap::new(), uncertain }
    }

    /// And what each policy governs beyond our own kinds.
    pub fn holding(mut self, governs: impl IntoIterator<Item = (LabelSet, BTreeSet<Governs>)>) -> Self {
        for (labels, governs) in governs.into_iter().filter(|(_, governs)| !governs.is_empty()) {
            self.governs.entry(labels).or_default().extend(governs);
        }
        self
    }

    /// Whether objects of these other operators are held to the rules where a namespace has these labels.
    pub fn holds(&self, labels: &LabelSet, operators: Governs) -> bool {
        self.governs.get(labels).is_some_and(|held| held.contains(&operators))
    }

    /// Of which other operators objects are held to the rules anywhere.
    pub fn operators(&self) -> BTreeSet<Governs> {
        self.governs.values().flatten().copied().collect()
    }

    /// The sets.
    pub fn sets(&self) -> impl Iterator<Item = &LabelSet> {
        self.sets.iter()
    }

    /// With what is in use already, as long as a policy cannot be understood: what is guarded stays so.
    pub fn with_those_in_use(&self, in_use: impl IntoIterator<Item = (LabelSet, BTreeSet<Governs>)>) -> Self {
        let mut all = self.clone();
        if self.uncertain {
            let in_use: Vec<_> = in_use.into_iter().collect();
            all.sets.extend(in_use.iter().map(|(labels, _)| labels.clone()));
            all = all.holding(in_use);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(labels: &[&str]) -> LabelSet {
        LabelSet::of(&labels.iter().map(|l| (*l).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn what_is_in_use_stays_while_a_policy_is_unknown() {
        let in_use = || [(set(&["team"]), BTreeSet::from([Governs::VaultSecrets]))];
        let known = Governed::new([set(&["tenant"])], false);
        assert_eq!(known.with_those_in_use(in_use()), known);
        let uncertain = Governed::new([set(&["tenant"])], true).with_those_in_use(in_use());
        assert_eq!(uncertain.sets().cloned().collect::<Vec<_>>(), [set(&["team"]), set(&["tenant"])]);
        assert!(uncertain.holds(&set(&["team"]), Governs::VaultSecrets));
    }

    #[test]
    fn only_what_a_policy_asks_for_is_held() {
        let asked = [(set(&["tenant"]), BTreeSet::from([Governs::ExternalSecrets])), (set(&["team"]), BTreeSet::new())];
        let governed = Governed::new([set(&["tenant"]), set(&["team"])], false).holding(asked);
        assert!(governed.holds(&set(&["tenant"]), Governs::ExternalSecrets));
        assert!(!governed.holds(&set(&["tenant"]), Governs::VaultSecrets));
        assert!(!governed.holds(&set(&["team"]), Governs::ExternalSecrets));
        assert_eq!(governed.operators(), BTreeSet::from([Governs::ExternalSecrets]));
    }

    #[test]
    fn the_order_of_labels_makes_no_other_set() {
        assert_eq!(set(&["a", "b"]), set(&["b", "a"]));
        assert_ne!(set(&["a", "b"]).slug(), set(&["a"]).slug());
    }
}
