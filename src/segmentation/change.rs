//! What a change of one policy would break of what lives under the policies. Pure, and only over the namespaces that the
//! policy selects before or after.

use super::authorize::{Retention, View, authorize, holds_foreign, retention, segment_of, shared_value};
use super::policy::Policy;
use super::segment::Segment;
use super::verdict::Verdict;
use super::world::{Holding, ObjectName, PolicyState, World};
use crate::api::Reason;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

/// What a change would break.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Broken {
    /// Secrets that would be withdrawn.
    pub stranded: BTreeSet<ObjectName>,
    /// Secrets that would share a value with another segment, and would not be refreshed any more.
    pub sharing: BTreeSet<ObjectName>,
    /// Segments whose namespaces hold Secrets and would become one, each group with the segment that it would become.
    pub merged: BTreeMap<Segment, BTreeSet<Segment>>,
    /// A namespace whose policies would disagree on its segment.
    pub torn: Option<Arc<str>>,
}

impl Broken {
    /// How many violations somebody would have to accept.
    pub fn count(&self) -> usize {
        self.stranded.len() + self.sharing.len() + self.merged.values().map(BTreeSet::len).sum::<usize>()
    }
}

/// What breaks if the policy `name` becomes `new` (None: is deleted).
pub fn broken_by(name: &str, new: Option<PolicyState>, world: &World, now: Timestamp) -> Broken {
    let mut policies = world.policies.clone();
    let old = match new {
        Some(new) => policies.insert(name.to_owned(), new),
        None => policies.remove(name),
    };
    let change =
        Change { old, new: policies.get(name), before: world.into(), after: View::under(world, &policies), now };
    let touched: Vec<&Arc<str>> = world
        .namespaces
        .iter()
        .filter(|(namespace, labels)| change.touches(namespace, labels))
        .map(|(namespace, _)| namespace)
        .collect();
    Broken {
        stranded: change.stranded(&touched, world),
        sharing: change.sharing(&touched, world),
        merged: change.merged(&touched, world),
        torn: touched.iter().find(|namespace| change.tears(namespace)).map(|namespace| (*namespace).clone()),
    }
}

struct Change<'w> {
    old: Option<PolicyState>,
    new: Option<&'w PolicyState>,
    before: View<'w>,
    after: View<'w>,
    now: Timestamp,
}

impl Change<'_> {
    /// Whether the policy selects a namespace before or after. One that was not understood held everything in doubt.
    fn touches(&self, namespace: &str, labels: &BTreeMap<String, String>) -> bool {
        let selects = |state: &PolicyState| match state {
            PolicyState::Known(policy) => Policy::selects(policy, namespace, labels),
            PolicyState::Unknown(_) => true,
        };
        self.old.as_ref().is_some_and(selects) || self.new.is_some_and(selects)
    }

    /// A change may also turn the scales between two namespaces that hold one key, of which it selects the other.
    fn stranded(&self, touched: &[&Arc<str>], world: &World) -> BTreeSet<ObjectName> {
        let own = || touched.iter().flat_map(|namespace| world.holdings_in(namespace));
        let touched: HashSet<&Arc<str>> = touched.iter().copied().collect();
        let rivals = own().flat_map(|(_, held)| held.keys()).flat_map(|key| world.holdings_on(key));
        let lost = |(secret, held): &(&ObjectName, &Holding)| {
            let withdrawn = |view: View<'_>| matches!(retention(secret, held, view, self.now), Retention::Withdraw(_));
            withdrawn(self.after) && !withdrawn(self.before)
        };
        let elsewhere = rivals.filter(|(secret, _)| !touched.contains(&secret.namespace));
        own().chain(elsewhere).filter(lost).map(|(secret, _)| secret.clone()).collect()
    }

    /// The rules are the strictest of both sides, so that the later one may be in a namespace that the policy does not select. Hardly
    /// any value has two holders, or is inside another Secret: only those are asked about.
    fn sharing(&self, touched: &[&Arc<str>], world: &World) -> BTreeSet<ObjectName> {
        let own = || touched.iter().flat_map(|namespace| world.holdings_in(namespace));
        let prints = || own().flat_map(|(_, held)| &held.fingerprints);
        let shared = prints().filter(|print| world.holdings_with(print).nth(1).is_some());
        let around = prints().flat_map(|print| world.holdings_around(print));
        let around = around.chain(own().filter(|(_, held)| !held.marks.within.is_empty()));
        let holders: BTreeMap<&ObjectName, &Holding> =
            shared.flat_map(|print| world.holdings_with(print)).chain(around).collect();
        let begins = |(secret, held): &(&ObjectName, &Holding)| {
            let name = ObjectName { namespace: secret.namespace.clone(), name: held.claim.clone() };
            let shares = |view: View<'_>| match world.claim(&name).map(|claim| authorize(claim, view, self.now)) {
                Some(Verdict::Allowed(grant)) => {
                    shared_value(secret, &grant.keys, &held.fingerprints, view, self.now)
                        || holds_foreign(secret, held, view, self.now)
                }
                _ => false,
            };
            shares(self.after) && !shares(self.before)
        };
        holders.into_iter().filter(begins).map(|(secret, _)| secret.clone()).collect()
    }

    fn merged(&self, touched: &[&Arc<str>], world: &World) -> BTreeMap<Segment, BTreeSet<Segment>> {
        let lives = |namespace: &Arc<str>| world.holdings_in(namespace).next().is_some();
        let segments = |namespace: &Arc<str>| {
            Some((segment_of(namespace, self.before).ok()?, segment_of(namespace, self.after).ok()?))
        };
        let moved =
            touched.iter().filter(|n| lives(n)).filter_map(|n| segments(n)).any(|(before, after)| before != after);
        if !moved {
            return BTreeMap::new();
        }
        let mut groups: BTreeMap<Segment, BTreeSet<Segment>> = BTreeMap::new();
        for (before, after) in world.namespaces.keys().filter(|n| lives(n)).filter_map(segments) {
            groups.entry(after).or_default().insert(before);
        }
        groups.retain(|_, segments| segments.len() > 1);
        groups
    }

    fn tears(&self, namespace: &str) -> bool {
        let torn = |view: View<'_>| segment_of(namespace, view).is_err_and(|why| why.reason == Reason::SegmentConflict);
        torn(self.after) && !torn(self.before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segmentation::fingerprint::Fingerprint;
    use crate::segmentation::fixtures::*;
    use crate::segmentation::world::Claim;

    fn world() -> World {
        let mut world = World::with_tenants();
        for (namespace, key) in [("payments-prod", "payments/prod/db"), ("payments-staging", "payments/staging/db")] {
            world.holds(claim(namespace, "orders").of(key), at(1_000_000));
        }
        world
    }

    fn broken(world: &World, name: &str, yaml: Option<&str>) -> Broken {
        broken_by(name, yaml.map(|yaml| policy(name, yaml).1), world, now())
    }

    fn names(broken: &Broken) -> Vec<String> {
        let merged = broken.merged.iter().map(|(one, of)| {
            let of: Vec<&str> = of.iter().map(Segment::name).collect();
            format!("{} -> {one}", of.join(" + "))
        });
        broken.stranded.iter().map(ToString::to_string).chain(merged).collect()
    }

    #[test]
    fn what_each_change_breaks() {
        let fewer_labels =
            "segment: {labels: [tenant]}\nallow: [{storeRef: {name: aws}, keys: [\"${label:tenant}/**\"]}]";
        let only_prod = TENANTS.replace("${label:environment}", "prod");
        let nothing = TENANTS.replace("${label:tenant}", "nobody");
        for (what, yaml, expected) in [
            ("as it is", Some(TENANTS), &[][..]),
            ("deleted", None, &["payments-prod/orders", "payments-staging/orders"]),
            ("narrowed", Some(only_prod.as_str()), &["payments-staging/orders"]),
            ("emptied", Some(nothing.as_str()), &["payments-prod/orders", "payments-staging/orders"]),
            ("a label less", Some(fewer_labels), &["payments/prod + payments/staging -> payments"]),
        ] {
            assert_eq!(names(&broken(&world(), "tenants", yaml)), expected, "{what}");
        }
        assert_eq!(broken(&world(), "tenants", Some(fewer_labels)).count(), 2);
    }

    #[test]
    fn a_claim_by_a_store_that_is_not_allowed_any_more() {
        let mut world = World::with_tenants()
            .under([policy("tenants", TENANTS), policy("second", &TENANTS.replace("name: aws", "name: twin"))]);
        world.put_store("twin", world.stores.get("aws").cloned());
        let asked = Claim { store: "twin".into(), ..claim("payments-prod", "orders").of("payments/prod/db") };
        world.holds(asked, at(1_000_000));
        assert_eq!(names(&broken(&world, "second", None)), ["payments-prod/orders"]);
    }

    #[test]
    fn values_that_two_segments_share_and_may_not_any_more() {
        let lax = format!("{TENANTS}rules: {{uniqueValues: {{within: None}}}}");
        let mut world = World::with_tenants().under([policy("tenants", &lax)]);
        for (namespace, key, since) in
            [("payments-prod", "payments/prod/db", 1), ("billing-prod", "billing/prod/db", 2)]
        {
            world.holds(claim(namespace, "orders").of(key), at(since));
            let secret = ObjectName::new(namespace, "orders");
            let fingerprints = [Fingerprint([7; 16])].into();
            let held = Holding { fingerprints, ..(**world.holding(&secret).unwrap()).clone() };
            world.put_holding(secret, held.into());
        }
        let found = broken(&world, "tenants", Some(TENANTS));
        assert_eq!(found.sharing, [ObjectName::new("billing-prod", "orders")].into(), "the later one");
        assert_eq!((found.stranded.len(), found.count()), (0, 1));
        assert_eq!(broken(&world, "tenants", Some(&lax)).count(), 0);
    }

    #[test]
    fn values_inside_what_another_segment_projects() {
        let lax = format!("{TENANTS}rules: {{uniqueValues: {{within: None}}}}");
        let mut world = World::with_tenants().under([policy("tenants", &lax)]);
        for (namespace, key) in [("payments-prod", "payments/prod/db"), ("billing-prod", "billing/prod/db")] {
            world.holds(claim(namespace, "orders").of(key), at(1));
            let secret = ObjectName::new(namespace, "orders");
            let mut held = (**world.holding(&secret).unwrap()).clone();
            let print = [Fingerprint([7; 16])].into();
            if namespace == "payments-prod" {
                held.fingerprints = print
            } else {
                held.marks.within = print
            }
            world.put_holding(secret, held.into());
        }
        let found = broken(&world, "tenants", Some(TENANTS));
        assert_eq!(found.sharing, [ObjectName::new("billing-prod", "orders")].into());
        assert_eq!(broken(&world, "tenants", Some(&lax)).count(), 0);
    }

    #[test]
    fn segments_in_which_nothing_lives_may_become_one() {
        let mut world = World::with_tenants();
        world.holds(claim("payments-prod", "orders").of("payments/prod/db"), at(1_000_000));
        let fewer = "segment: {labels: [tenant]}\nallow: [{storeRef: {name: aws}, keys: [\"${label:tenant}/**\"]}]";
        assert_eq!(broken(&world, "tenants", Some(fewer)), Broken::default());
    }

    #[test]
    fn policies_that_would_disagree() {
        let found = broken(&world(), "second", Some("segment: {labels: [tenant]}"));
        assert!(found.torn.is_some());
        let elsewhere = "segment: {labels: [tenant]}\nnamespaceSelector: {matchLabels: {tenant: nobody}}";
        assert_eq!(broken(&world(), "second", Some(elsewhere)), Broken::default());
    }

    #[test]
    fn a_stricter_policy_over_one_namespace_takes_a_shared_key_from_another() {
        let shared = |tenant: &str, rules: &str| {
            format!(
                "segment: {{labels: [tenant, environment]}}\nnamespaceSelector: {{matchLabels: {{tenant: {tenant}}}}}\nallow: [{{storeRef: {{name: aws}}, keys: [shared/db]}}]\n{rules}"
            )
        };
        let lax = "rules: {exclusiveKeys: Unlimited}";
        let mut world = World::with_tenants()
            .under([policy("payments", &shared("payments", lax)), policy("billing", &shared("billing", lax))]);
        world.holds(claim("payments-prod", "orders").of("shared/db"), at(1_000_000));
        world.holds(claim("billing-prod", "bills").of("shared/db"), at(2_000_000));
        let found = broken(&world, "payments", Some(&shared("payments", "")));
        assert_eq!(names(&found), ["billing-prod/bills"], "the later one loses, though another policy is over it");
    }

    #[test]
    fn one_that_could_not_be_understood_held_everything_in_doubt() {
        let mut world = world();
        world.policies.insert("tenants".into(), PolicyState::Unknown("?".into()));
        assert_eq!(names(&broken(&world, "tenants", None)), ["payments-prod/orders", "payments-staging/orders"]);
    }
}
