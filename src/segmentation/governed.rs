//! Which namespaces are governed, as the API server can tell it: by the labels that they carry.

use crate::api::policy::{Governs, ModalRule};
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

    /// Whether every namespace that carries these labels carries those as well.
    pub fn includes(&self, others: &Self) -> bool {
        others.0.iter().all(|label| self.0.binary_search(label).is_ok())
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

/// Values of labels.
pub type Values = BTreeMap<String, BTreeSet<String>>;

/// What a selector says of the values of labels.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Picked {
    /// Of each of these labels a namespace must have one of the values.
    pub one_of: Values,
    /// And of each of these none.
    pub none_of: Values,
}

impl Picked {
    fn leaves_out(&self, label: &str, value: &str) -> bool {
        self.none_of.get(label).is_some_and(|values| values.contains(value))
            || self.one_of.get(label).is_some_and(|values| !values.contains(value))
    }
}

/// Every set of segment labels of the policies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Governed {
    sets: BTreeSet<LabelSet>,
    /// Of which other operators objects are held to the rules, where there are any.
    governs: BTreeMap<LabelSet, BTreeSet<Governs>>,
    /// Which rules are answered by refusing, where any is.
    enforced: BTreeMap<LabelSet, BTreeSet<ModalRule>>,
    /// What each policy's selector says of values.
    picked: Vec<(LabelSet, Picked)>,
    /// Whether a policy cannot be understood: it may have labels that are not among the sets.
    uncertain: bool,
}

impl Governed {
    /// From the labels of each policy that is understood.
    pub fn new(sets: impl IntoIterator<Item = LabelSet>, uncertain: bool) -> Self {
        Self { sets: sets.into_iter().collect(), uncertain, ..Self::default() }
    }

    /// And what each policy governs beyond our own kinds.
    pub fn holding(mut self, governs: impl IntoIterator<Item = (LabelSet, BTreeSet<Governs>)>) -> Self {
        for (labels, governs) in governs.into_iter().filter(|(_, governs)| !governs.is_empty()) {
            self.governs.entry(labels).or_default().extend(governs);
        }
        self
    }

    /// And which rules each policy has answered by refusing.
    pub fn enforcing(mut self, rules: impl IntoIterator<Item = (LabelSet, BTreeSet<ModalRule>)>) -> Self {
        for (labels, rules) in rules {
            self.enforced.entry(labels).or_default().extend(rules);
        }
        self
    }

    /// And what each policy's selector says of values.
    pub fn picking(mut self, picked: impl IntoIterator<Item = (LabelSet, Picked)>) -> Self {
        self.picked.extend(picked);
        self
    }

    /// What a namespace with these labels must have, and what not, to be governed, as far as every policy says so: what is not
    /// governed waits for nobody. A policy that cannot be understood may govern any.
    pub fn picked(&self, labels: &LabelSet) -> Picked {
        let of_these = self.picked.iter().filter(|(of, _)| !self.uncertain && of.includes(labels));
        let here: Vec<&Picked> = of_these.map(|(_, picked)| picked).collect();
        let Some((first, others)) = here.split_first() else { return Picked::default() };
        let mut all = Picked { one_of: first.one_of.clone(), none_of: Values::new() };
        for picked in others {
            all.one_of.retain(|label, values| {
                picked.one_of.get(label).is_some_and(|more| {
                    values.extend(more.iter().cloned());
                    true
                })
            });
        }
        let named = here.iter().flat_map(|picked| &picked.none_of);
        for (label, value) in named.flat_map(|(label, values)| values.iter().map(move |value| (label, value))) {
            if here.iter().all(|picked| picked.leaves_out(label, value)) {
                all.none_of.entry(label.clone()).or_default().insert(value.clone());
            }
        }
        all
    }

    /// Whether what a rule reviews where a namespace has these labels waits while nobody reviews it: only where it might be
    /// refused, so that trying the rules out holds nobody up. A copy is answered by the policies of the value's owner, which may
    /// be any; a policy that cannot be understood may be strict.
    pub fn waits(&self, labels: &LabelSet, rule: ModalRule) -> bool {
        let here = |of: &LabelSet| rule == ModalRule::Copies || of.includes(labels);
        self.uncertain || self.enforced.iter().any(|(of, rules)| here(of) && rules.contains(&rule))
    }

    /// Of which other operators objects are held to the rules anywhere.
    pub fn operators(&self) -> BTreeSet<Governs> {
        self.governs.values().flatten().copied().collect()
    }

    /// The sets by which every governed namespace is found, and none of them twice: a namespace with the labels of a set has
    /// those of each set within it.
    pub fn sets(&self) -> impl Iterator<Item = &LabelSet> {
        least(self.sets.iter())
    }

    /// Likewise for the namespaces where objects of these other operators are held to the rules.
    pub fn sets_holding(&self, operators: Governs) -> impl Iterator<Item = &LabelSet> {
        least(self.governs.iter().filter(move |(_, held)| held.contains(&operators)).map(|(labels, _)| labels))
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

/// Those of which no other is a part.
fn least<'s>(sets: impl Iterator<Item = &'s LabelSet> + Clone) -> impl Iterator<Item = &'s LabelSet> {
    let all = sets.clone();
    sets.filter(move |set| all.clone().all(|other| other == *set || !set.includes(other)))
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
        assert_eq!(uncertain.sets_holding(Governs::VaultSecrets).collect::<Vec<_>>(), [&set(&["team"])]);
    }

    #[test]
    fn only_what_a_policy_asks_for_is_held() {
        let asked = [(set(&["tenant"]), BTreeSet::from([Governs::ExternalSecrets])), (set(&["team"]), BTreeSet::new())];
        let governed = Governed::new([set(&["tenant"]), set(&["team"])], false).holding(asked);
        assert_eq!(governed.sets_holding(Governs::ExternalSecrets).collect::<Vec<_>>(), [&set(&["tenant"])]);
        assert_eq!(governed.sets_holding(Governs::VaultSecrets).count(), 0);
        assert_eq!(governed.operators(), BTreeSet::from([Governs::ExternalSecrets]));
    }

    #[test]
    fn what_is_only_tried_out_waits_for_nobody() {
        let (team, tenant) = (set(&["team"]), set(&["tenant"]));
        let sets = [team.clone(), tenant.clone()];
        let waits = |enforced: &[(&LabelSet, &[ModalRule])], uncertain| {
            let enforced = enforced.iter().map(|(labels, rules)| ((*labels).clone(), rules.iter().copied().collect()));
            let governed = Governed::new(sets.clone(), uncertain).enforcing(enforced);
            let rules = [ModalRule::Copies, ModalRule::Rbac, ModalRule::OtherOperators];
            sets.each_ref().map(|labels| rules.map(|rule| governed.waits(labels, rule)))
        };
        let (copies, rbac) = (ModalRule::Copies, ModalRule::Rbac);
        assert_eq!(waits(&[], false), [[false; 3]; 2]);
        assert_eq!(waits(&[], true), [[true; 3]; 2], "a policy that cannot be understood");
        assert_eq!(waits(&[(&team, &[])], false), [[false; 3]; 2]);
        assert_eq!(waits(&[(&team, &[rbac])], false), [[false, true, false], [false; 3]]);
        let anywhere = waits(&[(&team, &[copies])], false);
        assert_eq!(anywhere, [[true, false, false]; 2], "the owner's policy answers, wherever a copy lands");
        let both = set(&["team", "environment"]);
        assert_eq!(waits(&[(&both, &[rbac])], false), [[false, true, false], [false; 3]], "it has the label team, too");
    }

    #[test]
    fn no_namespace_is_reviewed_twice() {
        let sets = [set(&["tenant", "environment"]), set(&["tenant"]), set(&["team"])];
        let held = [sets[0].clone(), sets[2].clone()].map(|labels| (labels, BTreeSet::from([Governs::VaultSecrets])));
        let governed = Governed::new(sets.clone(), false).holding(held);
        assert_eq!(governed.sets().collect::<Vec<_>>(), [&sets[2], &sets[1]]);
        let held: Vec<_> = governed.sets_holding(Governs::VaultSecrets).collect();
        assert_eq!(held, [&sets[0], &sets[2]], "of those that hold them");
        assert_eq!(governed.sets_holding(Governs::ExternalSecrets).count(), 0);
    }

    #[test]
    fn values_that_every_policy_lists_or_leaves_out() {
        let values = |labels: &[(&str, &[&str])]| -> Values {
            let owned = |values: &[&str]| values.iter().map(|v| (*v).to_owned()).collect();
            labels.iter().map(|(label, values)| ((*label).to_owned(), owned(values))).collect()
        };
        type Said<'s> = &'s [(&'s str, &'s [&'s str])];
        let picked = |one_of: Said, none_of: Said| Picked { one_of: values(one_of), none_of: values(none_of) };
        let (tenant, both) = (set(&["tenant"]), set(&["tenant", "environment"]));
        let governed = |uncertain, policies: &[(&LabelSet, Picked)]| {
            Governed::new(policies.iter().map(|(labels, _)| (*labels).clone()), uncertain)
                .picking(policies.iter().map(|(labels, picked)| ((*labels).clone(), picked.clone())))
        };
        let red = picked(&[("tenant", &["red"]), ("name", &["a"])], &[]);
        let blue = picked(&[("tenant", &["blue"])], &[]);
        assert_eq!(governed(false, &[(&tenant, red.clone())]).picked(&tenant), red);
        assert_eq!(governed(true, &[(&tenant, red.clone())]).picked(&tenant), Picked::default());
        let two = governed(false, &[(&tenant, red.clone()), (&both, blue.clone())]);
        assert_eq!(two.picked(&tenant), picked(&[("tenant", &["blue", "red"])], &[]), "its entry is for both");
        assert_eq!(two.picked(&both), blue);
        let any = governed(false, &[(&tenant, red.clone()), (&tenant, Picked::default())]);
        assert_eq!(any.picked(&tenant), Picked::default());

        let not_green = picked(&[], &[("tenant", &["green", "blue"])]);
        assert_eq!(governed(false, &[(&tenant, not_green.clone())]).picked(&tenant), not_green);
        let both_not = governed(false, &[(&tenant, not_green.clone()), (&tenant, red)]);
        assert_eq!(both_not.picked(&tenant), not_green, "who lists others leaves them out");
        let blue_too = governed(false, &[(&tenant, not_green.clone()), (&tenant, blue)]);
        assert_eq!(blue_too.picked(&tenant), picked(&[], &[("tenant", &["green"])]));
        let any = governed(false, &[(&tenant, Picked::default()), (&tenant, not_green)]);
        assert_eq!(any.picked(&tenant), Picked::default());
    }

    #[test]
    fn the_order_of_labels_makes_no_other_set() {
        assert_eq!(set(&["a", "b"]), set(&["b", "a"]));
        assert_ne!(set(&["a", "b"]).slug(), set(&["a"]).slug());
    }
}
