//! What a change of one policy would break of what lives under the policies. Pure, and only over what the difference between
//! before and after can touch: most changes touch nothing, a lost allow entry what it covered.

use super::alike::Group;
use super::authorize::foreign::Compared;
use super::authorize::{Retention, Standing, View, authorize, holds_foreign, retention, segment_of, shared_value};
use super::few::Few;
use super::foreign::ForeignName;
use super::key::CanonicalKey;
use super::namesakes::told;
use super::policy::AllowEntry;
use super::segment::Segment;
use super::verdict::Verdict;
use super::world::{Holding, ObjectName, PolicyState, World};
use crate::api::Reason;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

/// What a change would break.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Broken<'w> {
    /// Secrets that would be withdrawn.
    pub stranded: Lost<'w>,
    /// Secrets that would share a value with another segment, and would not be refreshed any more.
    pub sharing: BTreeSet<ObjectName>,
    /// Objects of other operators that would be refused, in mode Enforce, for what they may ask for now.
    pub foreign: Vec<ForeignName>,
    /// Segments whose namespaces hold Secrets and would become one, each group with the segment that it would become.
    pub merged: BTreeMap<Segment, BTreeSet<Segment>>,
    /// Namespaces whose policies would disagree on their segment.
    pub torn: BTreeSet<Arc<str>>,
    /// What is wrong with segments that would come to bear one name by other labels.
    pub namesakes: Option<String>,
}

/// Secrets: of a group that is lost as a whole only those are named that are not.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Lost<'w> {
    groups: Vec<LostGroup<'w>>,
    others: BTreeSet<ObjectName>,
}

#[derive(Debug, PartialEq, Eq)]
struct LostGroup<'w> {
    namespace: &'w Arc<str>,
    names: &'w Few<Arc<str>>,
    but: BTreeSet<&'w Arc<str>>,
}

impl LostGroup<'_> {
    fn iter(&self) -> impl Iterator<Item = ObjectName> {
        let lost = self.names.iter().filter(|name| !self.but.contains(name));
        lost.map(|name| ObjectName::of(self.namespace.clone(), name.clone()))
    }
}

impl Lost<'_> {
    /// How many.
    pub fn len(&self) -> usize {
        self.groups.iter().map(|group| group.names.len() - group.but.len()).sum::<usize>() + self.others.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Each.
    pub fn iter(&self) -> impl Iterator<Item = ObjectName> {
        self.groups.iter().flat_map(LostGroup::iter).chain(self.others.iter().cloned())
    }
}

impl Broken<'_> {
    /// How many violations somebody would have to accept.
    pub fn count(&self) -> usize {
        self.stranded.len()
            + self.sharing.len()
            + self.foreign.len()
            + self.merged.values().map(BTreeSet::len).sum::<usize>()
    }
}

/// So many names of what would break are shown.
const SHOWN: usize = 10;

/// The first of so many.
pub fn first_of(all: impl Iterator<Item = String>, count: usize) -> String {
    let mut shown = all.take(SHOWN).collect::<Vec<_>>().join(", ");
    if count > SHOWN {
        shown.push_str(&format!(" and {} more", count - SHOWN));
    }
    shown
}

/// What is wrong with a policy by which these namespaces would be torn; there is at least one.
pub fn disagreement(torn: &BTreeSet<Arc<str>>) -> String {
    let names = first_of(torn.iter().map(|namespace| format!("{namespace:?}")), torn.len());
    let (noun, whose) = if torn.len() == 1 { ("namespace", "its") } else { ("namespaces", "their") };
    format!(
        "this policy and another one over {noun} {names} would disagree on {whose} segment: make their segment.labels alike, or narrow a namespaceSelector"
    )
}

/// What breaks if the policy `name` becomes `new` (None: is deleted).
pub fn broken_by<'w>(name: &str, new: Option<PolicyState>, world: &'w World, now: Timestamp) -> Broken<'w> {
    broken_among(name, new, world, &world.policies, now)
}

/// Likewise where these policies stand.
pub fn broken_among<'w>(
    name: &str,
    new: Option<PolicyState>,
    world: &'w World,
    standing: &BTreeMap<String, PolicyState>,
    now: Timestamp,
) -> Broken<'w> {
    let old = standing.get(name);
    // Nearly every change: of the mode, of what is only reported, of readers.
    if let (Some(PolicyState::Known(old)), Some(PolicyState::Known(new))) = (old, &new)
        && old.judges_as(new)
    {
        return Broken::default();
    }
    let mut policies = standing.clone();
    match new {
        Some(new) => policies.insert(name.to_owned(), new),
        None => policies.remove(name),
    };
    let (before, after) = (View::under(world, standing), View::under(world, &policies));
    let change = Change { old, new: policies.get(name), world, before, after, now };
    let touched: HashSet<&Arc<str>> = world
        .namespaces
        .iter()
        .filter(|(namespace, labels)| change.touches(namespace, labels))
        .map(|(namespace, _)| namespace)
        // What is there goes with it, whatever policies say.
        .filter(|namespace| !world.terminating.contains(*namespace))
        .collect();
    let moves = change.moves();
    Broken {
        stranded: change.stranded(&touched),
        sharing: change.sharing(&touched),
        foreign: change.foreign(&touched),
        merged: if moves { change.merged(&touched) } else { BTreeMap::new() },
        torn: touched.iter().filter(|namespace| moves && change.tears(namespace)).map(|n| (*n).clone()).collect(),
        namesakes: moves.then(|| change.namesakes()).flatten(),
    }
}

struct Change<'w, 'p> {
    old: Option<&'p PolicyState>,
    new: Option<&'p PolicyState>,
    world: &'w World,
    before: View<'p>,
    after: View<'p>,
    now: Timestamp,
}

impl<'w> Change<'w, '_> {
    /// Whether the policy selects a namespace before or after. One that was not understood held everything in doubt.
    fn touches(&self, namespace: &str, labels: &BTreeMap<String, String>) -> bool {
        [self.old, self.new].into_iter().flatten().any(|state| selects(state, namespace, labels))
    }

    /// Whether a namespace may come into another segment, or out of one.
    fn moves(&self) -> bool {
        match (self.old, self.new) {
            (Some(PolicyState::Known(old)), Some(PolicyState::Known(new))) => !old.selects_as(new),
            _ => true,
        }
    }

    /// The allow entries that only one of both has, where both select a namespace: one that comes may tell what could not be told
    /// before. None: what was before cannot be told.
    fn differing(&self) -> Option<Vec<AllowEntry>> {
        match (self.old, self.new) {
            (Some(PolicyState::Unknown(_)), _) | (_, Some(PolicyState::Unknown(_))) => None,
            (Some(PolicyState::Known(old)), Some(PolicyState::Known(new))) => {
                Some([old.allowed_beyond(new), new.allowed_beyond(old)].concat())
            }
            (Some(PolicyState::Known(one)), None) | (None, Some(PolicyState::Known(one))) => Some(one.allow.clone()),
            (None, None) => Some(Vec::new()),
        }
    }

    /// Only what the difference can touch is judged: what a lost or new entry covers, everything where the rules of form ask for more or
    /// a namespace is in no segment any more, and keys that several hold, of which the change may turn the scales in a namespace that
    /// it does not select.
    fn stranded(&self, touched: &HashSet<&'w Arc<str>>) -> Lost<'w> {
        let differing = self.differing();
        let mut lost = Lost::default();
        for namespace in touched {
            let [before, after] =
                [self.before, self.after].map(|view| Standing::in_namespace(namespace, view, self.now));
            let entries: &[AllowEntry] = match (self.old, self.new, self.world.namespaces.get(*namespace)) {
                // Only one of both selects the namespace: all that it allows comes or goes there.
                (Some(PolicyState::Known(old)), Some(new), Some(labels)) if !selects(new, namespace, labels) => {
                    &old.allow
                }
                (Some(old), Some(PolicyState::Known(new)), Some(labels)) if !selects(old, namespace, labels) => {
                    &new.allow
                }
                _ => differing.as_deref().unwrap_or_default(),
            };
            let thorough = differing.is_none() || !after.asks_no_more(&before);
            if !thorough && entries.is_empty() {
                continue;
            }
            let loses = |secret: &ObjectName, held: &Holding| {
                (thorough || before.is_touched(held, entries))
                    && after.withdraws(secret, held)
                    && !before.withdraws(secret, held)
            };
            self.lost_in(namespace, &[before.last_parts(), after.last_parts()].concat(), loses, &mut lost);
        }
        lost.groups.sort_by_key(|group| (group.namespace, group.names.iter().next()));
        let contested = self.world.contested().map(|key| self.world.holdings_on(key).collect::<Vec<_>>());
        let concerned = contested.filter(|all| all.iter().any(|(secret, _)| touched.contains(&secret.namespace)));
        let begins = |(secret, held): &(&ObjectName, &Holding)| {
            let withdrawn = |view: View<'_>| matches!(retention(secret, held, view, self.now), Retention::Withdraw(_));
            withdrawn(self.after) && !withdrawn(self.before)
        };
        lost.others.extend(concerned.flatten().filter(begins).map(|(secret, _)| secret.clone()));
        lost
    }

    /// What one namespace loses: of a group one Secret is asked about, and each of which its key says more than the others'.
    fn lost_in(
        &self,
        namespace: &'w Arc<str>,
        last_parts: &[&str],
        loses: impl Fn(&ObjectName, &Holding) -> bool,
        lost: &mut Lost<'w>,
    ) {
        let world = self.world;
        let named = |name: &Arc<str>| ObjectName::of(namespace.clone(), name.clone());
        let is_lost = |name: &Arc<str>| world.holding(&named(name)).is_some_and(|held| loses(&named(name), held));
        for Group { alike, names } in world.groups_in(namespace) {
            let first = names.iter().next().and_then(|name| world.holding(&named(name))?.keys().next());
            let Some(key) = first.filter(|_| alike) else {
                lost.others.extend(names.iter().filter(|name| is_lost(name)).map(named));
                continue;
            };
            let in_folder = |other: &&CanonicalKey| other.folder() == key.folder();
            let several = world.contested().chain(world.revocations.keys()).filter(in_folder).cloned();
            let odd = several.chain(last_parts.iter().map(|last| key.beside(last)));
            let odd: BTreeSet<&Arc<str>> = odd
                .flat_map(|key| world.holders_of(&key))
                .filter(|secret| secret.namespace == *namespace)
                .filter_map(|secret| names.get(&secret.name))
                .collect();
            lost.others.extend(odd.iter().filter(|name| is_lost(name)).map(|name| named(name)));
            if names.iter().find(|name| !odd.contains(name)).is_some_and(is_lost) {
                lost.groups.push(LostGroup { namespace, names, but: odd });
            }
        }
    }

    /// The rules are the strictest of both sides, so that the later one may be in a namespace that the policy does not select. Hardly
    /// any value has two holders, or is inside another Secret: only those are asked about.
    fn sharing(&self, touched: &HashSet<&'w Arc<str>>) -> BTreeSet<ObjectName> {
        let world = self.world;
        let is_touched = |(secret, _): &(&ObjectName, &Holding)| touched.contains(&secret.namespace);
        let shared = world.repeated().filter(|print| world.holdings_with(print).any(|held| is_touched(&held)));
        let enclosed = world.enclosed().filter(|print| {
            world.holdings_with(print).chain(world.holdings_around(print)).any(|held| is_touched(&held))
        });
        let around = enclosed.flat_map(|print| world.holdings_around(print));
        let holders: BTreeMap<&ObjectName, &Holding> =
            shared.flat_map(|print| world.holdings_with(print)).chain(around).collect();
        let begins = |(secret, held): &(&ObjectName, &Holding)| {
            let name = ObjectName::of(secret.namespace.clone(), held.claim.clone());
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

    /// Of what both hold to the rules. One that spreads to namespaces may reach any.
    fn foreign(&self, touched: &HashSet<&'w Arc<str>>) -> Vec<ForeignName> {
        let mut judge = Compared::new(self.before, self.after, self.now);
        // Of many in one namespace it is asked once.
        let mut last: Option<(&Arc<str>, bool)> = None;
        let mut is_touched = |namespace: &'w Arc<str>| {
            let known = last.filter(|(known, _)| *known == namespace);
            last.insert(known.unwrap_or_else(|| (namespace, touched.contains(namespace)))).1
        };
        let objects =
            self.world.foreign.objects().filter(|(name, _)| name.namespace.as_ref().is_none_or(&mut is_touched));
        objects.filter(|(name, record)| judge.refuses_more(name, record)).map(|(name, _)| name.clone()).collect()
    }

    fn merged(&self, touched: &HashSet<&'w Arc<str>>) -> BTreeMap<Segment, BTreeSet<Segment>> {
        let world = self.world;
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

    /// Of the first name that several segments would bear, and did not before.
    fn namesakes(&self) -> Option<String> {
        let (before, after) = (self.before.namesakes(), self.after.namesakes());
        let begins = |(name, bearers): &(&String, &BTreeMap<&[String], &Arc<str>>)| {
            before.get(*name).is_none_or(|known| bearers.keys().any(|labels| !known.contains_key(labels)))
        };
        after.iter().find(begins).map(|(name, bearers)| told(name, bearers))
    }

    fn tears(&self, namespace: &str) -> bool {
        let torn = |view: View<'_>| segment_of(namespace, view).is_err_and(|why| why.reason == Reason::SegmentConflict);
        torn(self.after) && !torn(self.before)
    }
}

/// Whether a policy picks a namespace.
fn selects(state: &PolicyState, namespace: &str, labels: &BTreeMap<String, String>) -> bool {
    match state {
        PolicyState::Known(policy) => policy.selects(namespace, labels),
        PolicyState::Unknown(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segmentation::copies::Marks;
    use crate::segmentation::fingerprint::Fingerprint;
    use crate::segmentation::fixtures::*;
    use crate::segmentation::key::RemoteKey;
    use crate::segmentation::revoked::Revocation;
    use crate::segmentation::world::{Claim, VersionAsked};
    use proptest::prelude::*;

    fn world() -> World {
        let mut world = World::with_tenants();
        for (namespace, key) in [("payments-prod", "payments/prod/db"), ("payments-staging", "payments/staging/db")] {
            world.holds(claim(namespace, "orders").of(key), at(1_000_000));
        }
        world
    }

    fn broken<'w>(world: &'w World, name: &str, yaml: Option<&str>) -> Broken<'w> {
        broken_by(name, yaml.map(|yaml| policy(name, yaml).1), world, now())
    }

    fn names(broken: &Broken<'_>) -> Vec<String> {
        let merged = broken.merged.iter().map(|(one, of)| {
            let of: Vec<&str> = of.iter().map(Segment::name).collect();
            format!("{} -> {one}", of.join(" + "))
        });
        broken.stranded.iter().map(|secret| secret.to_string()).chain(merged).collect()
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
            let print = [Fingerprint([7; 16])];
            if namespace == "payments-prod" {
                held.fingerprints = print.into();
            } else {
                held.marks = Marks::default().beside(&[], &print);
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
        let world = world();
        let found = broken(&world, "second", Some("segment: {labels: [tenant]}"));
        let torn: Vec<&str> = found.torn.iter().map(|namespace| &**namespace).collect();
        assert_eq!(torn, ["billing-prod", "payments-prod", "payments-prod-2", "payments-staging"]);
        let elsewhere = "segment: {labels: [tenant]}\nnamespaceSelector: {matchLabels: {tenant: nobody}}";
        assert_eq!(broken(&world, "second", Some(elsewhere)), Broken::default());
    }

    #[test]
    fn each_namespace_that_would_be_torn_is_named_up_to_a_number() {
        let told = |count: usize| disagreement(&(0..count).map(|n| format!("n{n:02}").into()).collect());
        for (count, said) in [
            (1, "over namespace \"n00\" would disagree on its segment: "),
            (2, "over namespaces \"n00\", \"n01\" would disagree on their segment: "),
            (10, "\"n08\", \"n09\" would"),
            (12, "\"n08\", \"n09\" and 2 more would"),
        ] {
            assert!(told(count).contains(said), "{said} in {}", told(count));
        }
    }

    #[test]
    fn segments_that_would_have_one_name() {
        let by_team =
            "segment: {labels: [team, stage]}\nnamespaceSelector: {matchExpressions: [{key: team, operator: Exists}]}";
        let mut world = world();
        assert_eq!(broken(&world, "second", Some(by_team)), Broken::default());
        world.namespace("squad", &[("team", "payments"), ("stage", "prod")]);
        let found = broken(&world, "second", Some(by_team)).namesakes.unwrap();
        for part in [
            "\"payments/prod\"",
            "[team, stage] in namespace \"squad\"",
            "[tenant, environment] in namespace \"payments-prod\"",
        ] {
            assert!(found.contains(part), "{part} in {found}");
        }
        // What stands so already is not this change's.
        world.policies.extend([policy("second", by_team)]);
        let narrowed = format!("{by_team}\nallow: [{{storeRef: {{name: aws}}, keys: [x]}}]")
            .replace("Exists", "In, values: [payments]");
        assert_eq!(broken(&world, "second", Some(&narrowed)), Broken::default());
        assert_eq!(broken(&world, "second", None), Broken::default());
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

    /// What would be found by judging every holding before and after.
    fn plainly(world: &World, name: &str, yaml: Option<&str>) -> BTreeSet<ObjectName> {
        let mut policies = world.policies.clone();
        match yaml {
            Some(yaml) => policies.extend([policy(name, yaml)]),
            None => drop(policies.remove(name)),
        }
        let lost = |(secret, held): &(&ObjectName, &Holding)| {
            let withdrawn = |view: View<'_>| matches!(retention(secret, held, view, now()), Retention::Withdraw(_));
            withdrawn(View::under(world, &policies)) && !withdrawn(world.into())
        };
        world.holdings().filter(lost).map(|(secret, _)| secret.clone()).collect()
    }

    fn any_policy() -> impl Strategy<Value = String> {
        let segment = prop::sample::select(vec![
            ("[tenant, environment]", "{}"),
            ("[tenant, environment]", "{matchLabels: {tenant: payments}}"),
            ("[tenant, environment]", "{matchLabels: {environment: prod}}"),
            ("[tenant, environment]", "{matchLabels: {tenant: nobody}}"),
            ("[tenant]", "{matchLabels: {tenant: payments}}"),
        ]);
        let keys = prop::collection::vec(
            prop::sample::select(vec![
                "${label:tenant}/**",
                "${label:tenant}/prod/**",
                "payments/*/db",
                "payments/prod/*",
                "payments/prod/x",
                "payments/prod/${label:tenant}",
                "shared/*",
                "shared/a",
                "${namespace}/x",
                "**",
            ]),
            1..4,
        );
        let stores = prop::sample::select(vec!["aws", "twin", "gone"]);
        let actions = prop::sample::select(vec!["[Read]", "[ReadAnyVersion]", "[]"]);
        let rules = prop::sample::select(vec![
            "{}",
            "{requireConsumers: false}",
            "{exclusiveKeys: Unlimited}",
            "{exclusiveKeys: Segment}",
            "{exclusiveKeys: Workload}",
            "{allowRetain: true}",
            "{targetTypes: [example.com/x], requireConsumers: false, allowRetain: true}",
            "{uniqueValues: {within: None}, exclusiveKeys: Unlimited}",
        ]);
        (segment, keys, stores, actions, rules).prop_map(|((labels, selector), mut keys, store, actions, rules)| {
            keys.dedup();
            let keys = keys.iter().map(|key| format!("{key:?}")).collect::<Vec<_>>().join(", ");
            format!(
                "segment: {{labels: {labels}}}\nnamespaceSelector: {selector}\nallow: [{{storeRef: {{name: {store}}}, keys: [{keys}], actions: {actions}}}]\nrules: {rules}\n"
            )
        })
    }

    proptest! {
        /// Judging only what the difference can touch finds what judging everything finds.
        #[test]
        fn what_is_not_looked_at_is_not_lost(
            first in any_policy(),
            second in prop::option::of(any_policy()),
            next in prop::option::of(any_policy()),
            held in prop::collection::vec((0usize..4, 0usize..10, 0usize..2, any::<[bool; 5]>(), 1i64..5), 0..16),
            revoked in any::<bool>(),
        ) {
            let mut world = World::with_tenants();
            world.put_store("twin", world.stores.get("aws").cloned());
            for (i, (namespace, key, store, [plain, consumed, retain, typed, pinned], since)) in held.into_iter().enumerate() {
                let namespace = ["payments-prod", "payments-prod-2", "payments-staging", "billing-prod"][namespace];
                let keys =
                    ["payments/prod/db", "payments/prod/x", "payments/prod/payments", "payments/prod/y", "payments/staging/db", "shared/a", "shared/b", "billing/prod/db", "payments-prod/x", "z"];
                let mut asked = claim(namespace, &format!("c{i}")).of(keys[key]);
                asked.store = ["aws", "twin"][store].into();
                (asked.has_consumers, asked.retain) = (plain || consumed, !plain && retain);
                asked.target_type = (!plain && typed).then(|| "example.com/x".into());
                if !plain && pinned {
                    asked.asks.iter_mut().for_each(|(_, version)| *version = VersionAsked::Id("v".into()));
                }
                world.holds(asked, at(since));
            }
            if revoked {
                let key = RemoteKey::parse("payments/prod/y").unwrap();
                let revocation = Revocation { store: "aws".into(), key, created: at(2_000_000_000), versions: None };
                world.put_revocation("leak", Some(revocation));
            }
            let world = world.under([policy("first", &first)].into_iter().chain(second.map(|yaml| policy("second", &yaml))));
            let found = broken(&world, "first", next.as_deref());
            let expected = plainly(&world, "first", next.as_deref());
            prop_assert_eq!(found.stranded.len(), expected.len());
            prop_assert_eq!(found.stranded.iter().collect::<BTreeSet<_>>(), expected);
        }
    }

    #[test]
    fn what_goes_with_its_namespace_is_not_lost_by_a_policy() {
        let mut world = world();
        world.terminating.insert("payments-prod".into());
        assert_eq!(names(&broken(&world, "tenants", None)), ["payments-staging/orders"]);
    }

    #[test]
    fn one_that_could_not_be_understood_held_everything_in_doubt() {
        let mut world = world();
        world.policies.insert("tenants".into(), PolicyState::Unknown("?".into()));
        assert_eq!(names(&broken(&world, "tenants", None)), ["payments-prod/orders", "payments-staging/orders"]);
    }
}
