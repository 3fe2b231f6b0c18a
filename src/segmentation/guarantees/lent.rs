//! 5: access that was lent ends. Nobody is bound by us without a living grant within its time, which no policy cuts shorter.

use super::{Breach, breach};
use crate::segmentation::authorize::{Governance, governance};
use crate::segmentation::world::{ObjectName, World};
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;

/// A RoleBinding that carries our label, as it stands.
pub struct Lent {
    /// Which.
    pub name: ObjectName,
    /// The uid of the SecretGrant that controls it.
    pub grant: Option<String>,
}

/// A SecretGrant, as it is written.
pub struct Granted {
    /// Its uid.
    pub uid: String,
    /// Since when its time runs: its creationTimestamp, or, where it was approved, what its status tells.
    pub start: Option<Timestamp>,
    /// Its ttl; None: no duration.
    pub ttl: Option<Duration>,
}

/// Every RoleBinding that should not stand.
pub fn breaches(world: &World, lent: &[Lent], granted: &[Granted], now: Timestamp) -> Vec<Breach> {
    let judge = |lent: &Lent| {
        let grant = granted.iter().find(|grant| lent.grant.as_deref() == Some(&*grant.uid));
        let what = match (grant, grant.and_then(|grant| Some((grant.start?, grant.ttl?)))) {
            (None, _) => "it carries our label, and no living SecretGrant controls it",
            (Some(_), None) => "its SecretGrant's time does not run",
            (Some(_), Some((start, ttl))) => {
                let end = SignedDuration::try_from(ttl).ok().and_then(|ttl| start.checked_add(ttl).ok());
                match governance(&lent.name.namespace, world, now) {
                    _ if end.is_some_and(|end| end <= now) => "its SecretGrant's time is over",
                    Governance::Governed { max_grant, .. } if ttl > max_grant => {
                        "its SecretGrant is longer than the policy allows"
                    }
                    Governance::Ungoverned => "no policy governs its namespace",
                    Governance::Governed { .. } | Governance::Unknown => return None,
                }
            }
        };
        Some(breach(5, &lent.name, what))
    };
    lent.iter().filter_map(judge).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segmentation::fixtures::*;

    #[test]
    fn sees_what_stands_and_should_not() {
        let world = World::with_tenants();
        let lent = |namespace: &str, grant: Option<&str>| Lent {
            name: ObjectName::new(namespace, "grant-ada"),
            grant: grant.map(str::to_owned),
        };
        let ago = |minutes: i64| Some(now() - SignedDuration::from_mins(minutes));
        let granted =
            |start, hours: u64| Granted { uid: "g".into(), start, ttl: Some(Duration::from_secs(hours * 3600)) };
        let found = |lent: Lent, granted: Granted| {
            breaches(&world, &[lent], &[granted], now()).into_iter().map(|b| b.what).collect::<Vec<_>>()
        };
        let here = || lent("payments-prod", Some("g"));
        assert_eq!(found(here(), granted(ago(59), 1)), [] as [String; 0]);
        assert_eq!(found(here(), granted(ago(60), 1)), ["its SecretGrant's time is over"]);
        assert_eq!(found(here(), granted(ago(1), 9)), ["its SecretGrant is longer than the policy allows"]);
        assert_eq!(found(here(), granted(None, 1)), ["its SecretGrant's time does not run"]);
        assert_eq!(found(lent("plain", Some("g")), granted(ago(1), 1)), ["no policy governs its namespace"]);
        for stranger in [None, Some("another")] {
            let told = found(lent("payments-prod", stranger), granted(ago(1), 1));
            assert_eq!(told, ["it carries our label, and no living SecretGrant controls it"]);
        }
    }
}
