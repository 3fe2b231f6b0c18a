//! Of a key in a namespace: may it be claimed here, by which pattern, and who claims it. Pure.

use super::answer::Answer;
use crate::cli::observed::Observed;
use crate::cli::report::Subject;
use crate::segmentation::world::{Claim, ObjectName, VersionAsked};
use jiff::Timestamp;
use std::collections::BTreeSet;

/// Which store is meant: the one that is named, the only one, or the only one that the namespace's policies speak of.
pub fn store(observed: &Observed, namespace: &str, named: Option<&str>) -> Result<String, String> {
    if let Some(named) = named {
        return Ok(named.to_owned());
    }
    let all: BTreeSet<&str> = observed.world.stores.keys().map(String::as_str).collect();
    let allowed = observed.policies_over(namespace).flat_map(|policy| &policy.allow).map(|entry| entry.store.as_str());
    let allowed: BTreeSet<&str> = allowed.collect();
    for stores in [&allowed, &all] {
        if let ([one], true) = (stores.iter().collect::<Vec<_>>().as_slice(), stores.len() == 1) {
            return Ok((**one).to_owned());
        }
    }
    let list = all.union(&allowed).copied().collect::<Vec<_>>().join(", ");
    Err(match list.as_str() {
        "" => "which store? None is seen here, for there is none, or you may not list scopedsecretstores: write --store with its name".to_owned(),
        list => format!("which store? Write --store with one of: {list}"),
    })
}

/// As if somebody claimed it there now.
pub fn answer(observed: &Observed, namespace: &str, store: &str, key: &str, now: Timestamp) -> Answer {
    let own: Vec<&Claim> = observed.world.claims().filter(|claim| names(claim, store, key)).collect();
    // A namespace that has it already asks for nothing new.
    let there = own.iter().find(|claim| &*claim.object.namespace == namespace);
    let asked = Claim {
        // No ScopedSecret can have this name.
        object: ObjectName::new(namespace, "(asked)"),
        uid: "".into(),
        created: Timestamp::MAX,
        store: store.into(),
        target: "(asked)".into(),
        target_type: None,
        has_consumers: true,
        retain: false,
        ends: None,
        rotates: None,
        asks: [(key.into(), VersionAsked::Current)].into(),
    };
    let about = Subject::cluster(&format!("key {key} of store {store} in namespace"), namespace);
    let mut answer = Answer::of_claim(&about, there.copied().unwrap_or(&asked), observed, now);
    if there.is_some() {
        answer.allowed_by.retain(|covering| covering.key == key);
    }
    let mut claimants: Vec<String> = own.iter().map(|claim| format!("ScopedSecret {}", claim.object)).collect();
    claimants.sort();
    answer.claimed_by = claimants;
    if answer.verdict.answer == "allowed" {
        answer.next(match there {
            Some(claim) => format!("nothing: ScopedSecret {} claims it", claim.object),
            None => format!("claim it: a ScopedSecret in {namespace} with storeRef {store} and remoteRef key {key}"),
        });
        if !observed.every_claim {
            answer.next("you may not see ScopedSecrets of other namespaces: one of them may own the key");
        }
    }
    answer
}

fn names(claim: &Claim, store: &str, key: &str) -> bool {
    &*claim.store == store && claim.asks.iter().any(|(asked, _)| &**asked == key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::observed::tests::{claim, facts, now};
    use crate::cli::observed::{Facts, build};

    #[test]
    fn a_key_may_be_claimed_or_not() {
        let observed = build(facts(&[claim("payments-prod", "a", "payments/prod/a", 1, true)]));
        for (namespace, key, verdict, reason, claimants) in [
            ("payments-prod", "payments/prod/new", "allowed", "Allowed", 0),
            ("payments-prod", "payments/prod/a", "allowed", "Allowed", 1),
            ("billing-prod", "payments/prod/a", "refused", "KeyNotAllowed", 1),
            ("plain", "payments/prod/a", "refused", "SegmentLabelMissing", 1),
            ("payments-prod", "payments/prod/*", "refused", "InvalidKey", 0),
            ("nowhere", "a", "undecided", "PolicyUnknown", 0),
        ] {
            let answer = answer(&observed, namespace, "aws", key, now());
            assert_eq!(
                (answer.verdict.answer, answer.verdict.reason.as_str(), answer.claimed_by.len()),
                (verdict, reason, claimants),
                "{namespace} {key}"
            );
        }
        let answer = answer(&observed, "payments-prod", "aws", "payments/prod/new", now());
        assert_eq!(answer.allowed_by[0].pattern, "${label:tenant}/${label:environment}/**");
    }

    #[test]
    fn the_only_store_need_not_be_named() {
        let observed = build(facts(&[]));
        assert_eq!(store(&observed, "payments-prod", None).as_deref(), Ok("aws"));
        assert_eq!(store(&observed, "payments-prod", Some("x")).as_deref(), Ok("x"));
        let none = build(Facts { stores: crate::cli::cluster::Seen::There(vec![]), ..facts(&[]) });
        assert_eq!(store(&none, "payments-prod", None).as_deref(), Ok("aws"), "the policy names one");
        assert!(store(&none, "nowhere", None).is_err());
    }
}
