//! `rules.maxAge`: how old the current version of a key may become. Pure.
//!
//! By the manager's date, which is in the seal. What has none is not judged, nor what a claim has pinned. It is told, and takes
//! nothing away: an old value that works is better than none.

use super::authorize::scope_of;
use super::policy::MaxAge;
use super::second::Second;
use super::world::{Holding, KeyVersion, ObjectName, World};
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeSet;

/// A value that is older than a policy allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TooOld<'w> {
    /// The Secret that holds it.
    pub secret: &'w ObjectName,
    /// For whom it was projected.
    pub claim: ObjectName,
    /// Which version of which key.
    pub version: &'w KeyVersion,
    /// When the manager made it.
    pub created: Second,
    /// How old it may be.
    pub limit: MaxAge,
}

/// The strictest limit of the policies over a namespace.
pub fn limit(namespace: &str, world: &World) -> Option<MaxAge> {
    let scope = scope_of(namespace, world).ok()?;
    scope.policies.iter().filter_map(|policy| policy.max_age.clone()).min()
}

/// The current versions that a Secret holds: of a key that was rotated, without the one before.
pub fn current_versions(held: &Holding) -> impl Iterator<Item = &KeyVersion> {
    let mut seen = BTreeSet::new();
    held.versions.iter().filter(move |version| !held.pinned && seen.insert(&version.key))
}

/// Every value that is too old, the oldest of each Secret.
pub fn too_old(world: &World, now: Timestamp) -> Vec<TooOld<'_>> {
    let mut found = Vec::new();
    let mut here: Option<(&str, Option<MaxAge>)> = None;
    // Ordered by namespace: each is asked about once.
    for (secret, held) in world.holdings() {
        let limit = match &here {
            Some((namespace, limit)) if **namespace == *secret.namespace => limit.clone(),
            _ => {
                let limit = limit(&secret.namespace, world);
                here = Some((&secret.namespace, limit.clone()));
                limit
            }
        };
        let Some(limit) = limit else { continue };
        let oldest = current_versions(held).filter_map(|v| Some((v.created?, v))).min_by_key(|(created, _)| *created);
        if let Some((created, version)) = oldest.filter(|(created, _)| limit.is_over(*created, now)) {
            let claim = ObjectName::of(secret.namespace.clone(), held.claim.clone());
            found.push(TooOld { secret, claim, version, created, limit });
        }
    }
    found
}

impl MaxAge {
    /// Whether what was made then is older than this.
    pub fn is_over(&self, created: Second, now: Timestamp) -> bool {
        let age = SignedDuration::try_from(self.age).unwrap_or(SignedDuration::MAX);
        now.duration_since(created.into()) > age
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segmentation::fixtures::{TENANTS, claim, now, policy};

    const DAY: i64 = 86_400;

    /// payments-prod/db holds one version that is so many days old.
    fn world(policies: &[&str], days: Option<i64>) -> World {
        let all = policies.iter().enumerate().map(|(i, rules)| policy(&format!("p{i}"), &format!("{TENANTS}{rules}")));
        let mut world = World::with_tenants().under(all);
        world.holds(claim("payments-prod", "db").of("payments/prod/db"), now());
        let secret = ObjectName::new("payments-prod", "db");
        let mut held = (**world.holding(&secret).unwrap()).clone();
        held.versions[0].created = days.and_then(|days| Second::from_unix(now().as_second() - days * DAY));
        world.put_holding(secret, held.into());
        world
    }

    #[test]
    fn what_is_older_than_the_strictest_policy_allows_is_told() {
        let (month, quarter) = ("\nrules: {maxAge: 30d}", "\nrules: {maxAge: 90d}");
        for (policies, days, limit) in [
            (&[""][..], Some(4_000), None),
            (&[quarter][..], Some(89), None),
            (&[quarter], Some(90), None),
            (&[quarter], Some(91), Some("90d")),
            (&[quarter, month], Some(31), Some("30d")),
            (&[quarter, "", month], Some(29), None),
            (&[month], None, None),
        ] {
            let world = world(policies, days);
            let found: Vec<String> = too_old(&world, now()).into_iter().map(|old| old.limit.text).collect();
            assert_eq!(found, limit.into_iter().collect::<Vec<_>>(), "{policies:?} {days:?}");
        }
    }

    #[test]
    fn what_is_pinned_or_was_before_a_rotation_is_not_judged() {
        let mut world = world(&["\nrules: {maxAge: 30d}"], Some(31));
        let secret = ObjectName::new("payments-prod", "db");
        let old = (**world.holding(&secret).unwrap()).clone();
        world.put_holding(secret.clone(), Holding { pinned: true, ..old.clone() }.into());
        assert_eq!(too_old(&world, now()), []);
        let fresh = KeyVersion { id: "v2".into(), created: Some(now().into()), ..old.versions[0].clone() };
        let versions = [fresh, old.versions[0].clone()].into();
        world.put_holding(secret, Holding { versions, ..old }.into());
        assert_eq!(too_old(&world, now()), []);
    }
}
