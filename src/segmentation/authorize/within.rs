//! Values of other segments inside what a ScopedSecret projects: in a larger text, coded, or in the text of its template.
//!
//! It is a copy, judged as one: by the policies of the segment that owns the value, and their exceptions. Since reconcile keeps it,
//! it is no matter of mode, as that one value stays in one segment is not; an exception of that rule lifts it, too.

use super::{Unscoped, View, each_key, owners_among, scope_of};
use crate::api::policy::ExceptedRule;
use crate::segmentation::fingerprint::Fingerprint;
use crate::segmentation::policy::Policy;
use crate::segmentation::world::{Holding, ObjectName};
use jiff::Timestamp;

/// Those of some values that may not be inside a Secret that holds, or is to hold, `held`.
pub fn foreign_within<'p, 'w>(
    secret: &ObjectName,
    held: &Holding,
    prints: impl IntoIterator<Item = &'p Fingerprint>,
    world: impl Into<View<'w>>,
    now: Timestamp,
) -> Vec<Fingerprint> {
    let world: View<'w> = world.into();
    let lifts = |policy: &Policy, owner: &ObjectName, owned: &Holding| {
        let spaces = [&*secret.namespace, &*owner.namespace];
        let lifted = |key: Option<&str>| policy.lifts(ExceptedRule::UniqueValues, key, &spaces, now);
        // What is in no segment any more goes, or waits to: nobody else's refreshes wait with it.
        let has_left = || matches!(scope_of(&owner.namespace, world), Err(Unscoped::Refused(_)));
        has_left() || lifted(None) || [owned, held].into_iter().any(|keys| each_key(keys, |name| lifted(Some(name))))
    };
    let foreign = |print: &&Fingerprint| {
        let holdings = world.world.holdings_with(print);
        !owners_among(holdings, &secret.namespace, world, now, lifts).is_empty()
    };
    prints.into_iter().filter(foreign).copied().collect()
}

/// Whether what stands has a value inside that it may not have any more: policies and labels have changed since.
pub fn holds_foreign<'w>(secret: &ObjectName, held: &Holding, world: impl Into<View<'w>>, now: Timestamp) -> bool {
    !foreign_within(secret, held, held.marks.within(), world, now).is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segmentation::copies::Marks;
    use crate::segmentation::fixtures::*;
    use crate::segmentation::world::World;

    const PRINT: Fingerprint = Fingerprint([7; 16]);

    #[test]
    fn an_exception_of_one_key_says_nothing_of_another_beside_it() {
        let world = World::with_tenants();
        let held = |keys: &[&str]| {
            let claim = keys.iter().fold(claim("billing-prod", "orders"), |claim, key| claim.of(key));
            Holding::of_claim(&claim, world.canonical_keys(&claim))
        };
        let excepted = |name: &str| name == "billing/prod/free";
        assert!(each_key(&held(&["billing/prod/free"]), excepted));
        assert!(!each_key(&held(&["billing/prod/free", "billing/prod/db"]), excepted));
        assert!(!each_key(&held(&[]), excepted));
    }

    /// Payments hold a value, and something in `namespace` has it inside.
    fn world(rules: &str, namespace: &str) -> (World, ObjectName) {
        let mut world = World::with_tenants().under([policy("tenants", &format!("{TENANTS}{rules}"))]);
        let secret = |namespace: &str| ObjectName::new(namespace, "orders");
        for (namespace, inside) in [("payments-prod", false), (namespace, true)] {
            let key = format!("{}/db", namespace.trim_end_matches("-2").replace('-', "/"));
            let claim = claim(namespace, "orders").of(&key);
            let (prints, within): (&[_], &[_]) = if inside { (&[], &[PRINT]) } else { (&[PRINT], &[]) };
            let holding = Holding {
                fingerprints: prints.into(),
                marks: Marks::default().beside(&[], within),
                ..Holding::of_claim(&claim, world.canonical_keys(&claim))
            };
            world.put_claim(claim);
            world.put_holding(secret(namespace), holding.into());
        }
        (world, secret(namespace))
    }

    fn is_foreign(rules: &str, namespace: &str) -> bool {
        let (world, secret) = world(rules, namespace);
        holds_foreign(&secret, world.holding(&secret).unwrap(), &world, now())
    }

    #[test]
    fn the_owners_policy_judges() {
        let except = |rule: &str, of: &str| {
            format!("exceptions: [{{rule: {rule}, {of}, reason: JIRA-12, expirationTime: 2026-02-01T00:00:00Z}}]")
        };
        for (what, rules, namespace, expected) in [
            ("another tenant", String::new(), "billing-prod", true),
            ("another environment", String::new(), "payments-staging", true),
            ("the same segment", String::new(), "payments-prod-2", false),
            ("in no mode", "mode: Audit".into(), "billing-prod", true),
            ("nor where copies are only reported", "reportOnly: [Copies]".into(), "billing-prod", true),
            ("values may repeat", "rules: {uniqueValues: {within: None}}".into(), "billing-prod", false),
            ("an exception to Copies", except("Copies", "namespaces: [billing-prod]"), "billing-prod", false),
            ("for another namespace", except("Copies", "namespaces: [elsewhere]"), "billing-prod", true),
            ("for the owner's key", except("Copies", "keys: [payments/prod/db]"), "billing-prod", false),
            ("to UniqueValues", except("UniqueValues", "namespaces: [payments-prod]"), "billing-prod", false),
            ("for its own key", except("UniqueValues", "keys: [billing/prod/db]"), "billing-prod", false),
            ("to something else", except("ExclusiveKeys", "namespaces: [billing-prod]"), "billing-prod", true),
        ] {
            assert_eq!(is_foreign(&rules, namespace), expected, "{what}");
        }
    }

    #[test]
    fn what_nobody_holds_any_more_is_nobodys() {
        let (mut world, secret) = world("", "billing-prod");
        let around = |world: &World| world.holdings_around(&PRINT).map(|(name, _)| name.clone()).collect::<Vec<_>>();
        assert_eq!(around(&world), std::slice::from_ref(&secret));
        let labels = world.namespaces.insert("payments-prod".into(), Default::default()).unwrap();
        assert!(!holds_foreign(&secret, world.holding(&secret).unwrap(), &world, now()), "it has left its segment");
        world.namespaces.insert("payments-prod".into(), labels);
        assert!(holds_foreign(&secret, world.holding(&secret).unwrap(), &world, now()));
        world.remove_holding(&ObjectName::new("payments-prod", "orders"));
        assert!(!holds_foreign(&secret, world.holding(&secret).unwrap(), &world, now()));
        world.remove_holding(&secret);
        assert_eq!(around(&world), []);
    }
}
