//! Of a key in a namespace: may it be claimed here, by which pattern, and who claims it. Pure.

use super::answer::Answer;
use crate::cli::observed::Observed;
use crate::cli::report::Subject;
use crate::segmentation::authorize::authorize;
use crate::segmentation::verdict::Verdict;
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

/// As if somebody claimed it there now: by this store, for this key alone.
pub fn answer(observed: &Observed, namespace: &str, store: &str, key: &str, now: Timestamp) -> Answer {
    let world = &observed.world;
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
    let own: Vec<&Claim> = match world.canonical_keys(&asked).first() {
        Some(canonical) => world.claims_on(canonical).collect(),
        // Where the store reaches is not known.
        None => world.claims().filter(|claim| names(claim, store, key)).collect(),
    };
    let refused = |claim: &Claim| matches!(authorize(claim, world, now), Verdict::Refused(_));
    // A namespace that has it already asks for nothing new.
    let has = |claim: &Claim| Claim {
        object: claim.object.clone(),
        uid: claim.uid.clone(),
        created: claim.created,
        target: claim.target.clone(),
        ..asked.clone()
    };
    let mut here: Vec<&Claim> = own.iter().copied().filter(|claim| &*claim.object.namespace == namespace).collect();
    here.sort_by_cached_key(|claim| (refused(&has(claim)), refused(claim), claim.object.clone()));
    let there = here.first().copied();
    let about = Subject::cluster(&format!("key {key} of store {store} in namespace"), namespace);
    let judged = there.map(has);
    let mut answer = Answer::of_claim(&about, judged.as_ref().unwrap_or(&asked), observed, now);
    let mut claimants: Vec<String> = own.iter().map(|claim| format!("ScopedSecret {}", claim.object)).collect();
    claimants.sort();
    answer.claimed_by = claimants;
    if answer.verdict.answer == "allowed" {
        let unready = there.and_then(|claim| unready(observed, claim));
        answer.next(match (there, unready) {
            (Some(claim), _) if refused(claim) => format!(
                "nothing for this key; ScopedSecret {} claims it, and is refused for something else: kubectl scoped-secrets why {} -n {namespace}",
                claim.object, claim.object.name
            ),
            // Of a revocation, for one, policies know nothing.
            (Some(claim), Some(reason)) => format!(
                "ScopedSecret {} claims it, and is not ready [{reason}]: kubectl scoped-secrets why {} -n {namespace}",
                claim.object, claim.object.name
            ),
            (Some(claim), None) => format!("nothing: ScopedSecret {} claims it", claim.object),
            (None, _) => format!("claim it: a ScopedSecret in {namespace} with storeRef {store} and remoteRef key {key}"),
        });
        if !observed.every_claim {
            answer.next("you may not see ScopedSecrets of other namespaces: one of them may own the key");
        }
    }
    answer
}

/// Why a ScopedSecret is not ready, as its status says.
fn unready<'o>(observed: &'o Observed, claim: &Claim) -> Option<&'o str> {
    let conditions = &observed.claim(&claim.object)?.status.as_ref()?.conditions;
    let ready = conditions.iter().find(|condition| condition.type_ == "Ready" && condition.status == "False")?;
    Some(ready.reason.as_str())
}

fn names(claim: &Claim, store: &str, key: &str) -> bool {
    &*claim.store == store && claim.asks.iter().any(|(asked, _)| &**asked == key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::cluster::Seen;
    use crate::cli::observed::tests::{claim, facts, now};
    use crate::cli::observed::{Facts, build};
    use serde_json::json;

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
    fn a_key_is_one_by_whichever_store_and_form_it_is_named() {
        let arn = |account: &str| format!("arn:aws:secretsmanager:eu-west-1:{account}:secret:payments/prod/db-AbC12x");
        let mut by_store = claim("payments-prod", "store", "payments/prod/db", 1, true);
        by_store["spec"]["storeRef"]["name"] = "twin".into();
        let by_arn = claim("payments-prod", "arn", &arn("123456789012"), 2, true);
        let other_account = claim("payments-prod", "other", &arn("999999999999"), 3, false);
        let mut all = facts(&[by_store, by_arn, other_account]);
        let twin = json!({
            "apiVersion": "scopedsecrets.io/v1alpha1", "kind": "ScopedSecretStore", "metadata": {"name": "twin"},
            "spec": {"aws": {"region": "eu-west-1", "accountId": "123456789012"}},
        });
        if let Seen::There(stores) = &mut all.stores {
            stores.push(serde_json::from_value(twin).unwrap());
        }
        let observed = build(all);
        let as_arn = arn("123456789012");
        for key in ["payments/prod/db", as_arn.as_str()] {
            let answer = answer(&observed, "payments-prod", "aws", key, now());
            assert_eq!(answer.verdict.answer, "allowed", "{key}: {}", answer.verdict.message);
            let claimants = ["ScopedSecret payments-prod/arn", "ScopedSecret payments-prod/store"];
            assert_eq!(answer.claimed_by, claimants, "{key}");
            assert!(answer.allowed_by.iter().all(|covering| covering.key == key), "{:?}", answer.allowed_by);
        }
    }

    #[test]
    fn what_else_a_scoped_secret_asks_for_is_another_matter() {
        let mut own = claim("payments-prod", "a", "payments/prod/a", 1, true);
        let foreign = json!({"secretKey": "b", "remoteRef": {"key": "billing/prod/b"}});
        own["spec"]["data"].as_array_mut().unwrap().push(foreign);
        own["spec"]["consumers"] = json!([]);
        let observed = build(facts(&[own]));
        let asked = |key: &str| answer(&observed, "payments-prod", "aws", key, now());
        let allowed = asked("payments/prod/a");
        assert_eq!((allowed.verdict.answer, allowed.allowed_by.len()), ("allowed", 1), "{}", allowed.verdict.message);
        assert!(allowed.next[0].ends_with("kubectl scoped-secrets why a -n payments-prod"), "{:?}", allowed.next);
        let refused = asked("billing/prod/b");
        assert_eq!((refused.verdict.answer, refused.verdict.reason.as_str()), ("refused", "KeyNotAllowed"));
        assert!(refused.verdict.message.contains("billing/prod/b"), "{}", refused.verdict.message);
    }

    #[test]
    fn that_its_claim_is_not_ready_is_told() {
        let of = |ready: bool| {
            let claim = claim("payments-prod", "a", "payments/prod/a", 1, ready);
            let revoked: serde_json::Value =
                serde_json::from_str(&claim.to_string().replace("KeyNotAllowed", "KeyRevoked")).unwrap();
            answer(&build(facts(&[revoked])), "payments-prod", "aws", "payments/prod/a", now()).next
        };
        assert_eq!(of(true), ["nothing: ScopedSecret payments-prod/a claims it"]);
        let why = "ScopedSecret payments-prod/a claims it, and is not ready [KeyRevoked]: kubectl scoped-secrets why a -n payments-prod";
        assert_eq!(of(false), [why]);
    }

    #[test]
    fn the_only_store_need_not_be_named() {
        let observed = build(facts(&[]));
        assert_eq!(store(&observed, "payments-prod", None).as_deref(), Ok("aws"));
        assert_eq!(store(&observed, "payments-prod", Some("x")).as_deref(), Ok("x"));
        let none = build(Facts { stores: Seen::There(vec![]), ..facts(&[]) });
        assert_eq!(store(&none, "payments-prod", None).as_deref(), Ok("aws"), "the policy names one");
        assert!(store(&none, "nowhere", None).is_err());
    }
}
