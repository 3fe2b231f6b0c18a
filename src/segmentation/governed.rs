//! Which namespaces are governed, as the API server can tell it: by the labels that they carry.

use std::collections::BTreeSet;

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
    /// Whether a policy cannot be understood: it may have labels that are not among the sets.
    uncertain: bool,
}

impl Governed {
    /// From the labels of each policy that is understood.
    pub fn new(sets: impl IntoIterator<Item = LabelSet>, uncertain: bool) -> Self {
        Self { sets: sets.into_iter().collect(), uncertain }
    }

    /// The sets.
    pub fn sets(&self) -> impl Iterator<Item = &LabelSet> {
        self.sets.iter()
    }

    /// With the sets that are in use already, as long as a policy cannot be understood: what is guarded stays so.
    pub fn with_those_in_use(&self, in_use: impl IntoIterator<Item = LabelSet>) -> Self {
        let mut all = self.clone();
        if self.uncertain {
            all.sets.extend(in_use);
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
        let known = Governed::new([set(&["tenant"])], false);
        assert_eq!(known.with_those_in_use([set(&["team"])]), known);
        let uncertain = Governed::new([set(&["tenant"])], true).with_those_in_use([set(&["team"])]);
        assert_eq!(uncertain.sets().cloned().collect::<Vec<_>>(), [set(&["team"]), set(&["tenant"])]);
    }

    #[test]
    fn the_order_of_labels_makes_no_other_set() {
        assert_eq!(set(&["a", "b"]), set(&["b", "a"]));
        assert_ne!(set(&["a", "b"]).slug(), set(&["a"]).slug());
    }
}
