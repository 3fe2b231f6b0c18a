//! Whose keys are whose, as Secrets come, go and come back.

use super::facts::REMEMBERED;
use super::*;
use crate::api::SEAL_ANNOTATION;
use crate::segmentation::fixtures::{at, now};
use crate::segmentation::seal::{Generation, SealKeys, SealRecord};
use crate::segmentation::verdict::Refusal;
use crate::segmentation::world::KeyVersion;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

fn keys() -> SealKeys {
    SealKeys::new(Generation::from_random(&[1; 36], at(0)).unwrap())
}

fn key(name: &str) -> CanonicalKey {
    CanonicalKey::from_sealed(&format!("aws:123456789012:eu-west-1:{name}"))
}

/// The metadata of a Secret made at a time, whose seal says that it has held a key since another.
fn sealed(name: &ObjectName, held: &str, since: i64, made: i64) -> ObjectMeta {
    let keys = keys();
    let holding = Holding {
        claim: name.name.clone(),
        versions: [KeyVersion::undated(key(held), "v1")].into(),
        fingerprints: [].into(),
        marks: Default::default(),
        held_since: at(since),
        retain: false,
        ends: None,
        consumed: true,
        pinned: false,
        target_type: None,
    };
    let record = SealRecord {
        holding: holding.into(),
        spec: keys.digest(b"spec"),
        content: keys.digest(b"content"),
        ignore: keys.digest(b"ignore"),
        refresh_at: None,
        restart: None,
        rotation: None,
        followed: None,
    };
    let label = (crate::api::MANAGED_BY_LABEL.to_owned(), crate::api::MANAGED_BY.to_owned());
    let seal = (SEAL_ANNOTATION.to_owned(), keys.seal(name, &record, [7; 12]).unwrap());
    ObjectMeta {
        uid: Some(format!("{name}-{made}")),
        resource_version: Some("7".into()),
        creation_timestamp: Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(made))),
        labels: Some([label].into()),
        annotations: Some([seal].into()),
        ..ObjectMeta::default()
    }
}

fn facts(name: &ObjectName, metadata: &ObjectMeta) -> SecretFacts {
    secret_facts(name, metadata, &keys())
}

fn since(index: &Index, name: &ObjectName) -> Timestamp {
    index.world.holding(name).unwrap().held_since
}

#[test]
fn a_seal_that_comes_back_does_not_move_a_key() {
    let (old, new) = (ObjectName::new("payments-prod", "old"), ObjectName::new("payments-prod-2", "new"));
    let mut index = Index::default();
    // Listed at a start: each as its seal says.
    index.observe_secret(old.clone(), facts(&old, &sealed(&old, "other", 10, 10)), now());
    index.observe_secret(new.clone(), facts(&new, &sealed(&new, "db", 50, 50)), now());
    index.secrets_synced = true;
    assert_eq!([since(&index, &old), since(&index, &new)], [at(10), at(50)]);
    // Somebody puts the seal of an earlier day back, by which it held the key before the other did.
    index.observe_secret(old.clone(), facts(&old, &sealed(&old, "db", 10, 10)), at(90));
    assert_eq!([since(&index, &old), since(&index, &new)], [at(90), at(50)]);
    // Seen again, by a watch that begins anew, it is no older.
    index.observe_secret(old.clone(), facts(&old, &sealed(&old, "db", 10, 10)), at(95));
    assert_eq!([since(&index, &old), since(&index, &new)], [at(90), at(50)]);
}

#[test]
fn a_secret_that_was_made_again_has_held_its_keys_since_then() {
    let name = ObjectName::new("payments-prod", "orders");
    let mut index = Index::default();
    index.observe_secret(name.clone(), facts(&name, &sealed(&name, "db", 10, 60)), now());
    assert_eq!(since(&index, &name), at(60));
}

#[test]
fn a_lost_secret_keeps_its_keys_until_they_are_given_up() {
    let name = ObjectName::new("payments-prod", "orders");
    let mut index = Index::default();
    index.observe_secret(name.clone(), facts(&name, &sealed(&name, "db", 10, 10)), now());
    assert!(index.give_up(&name).is_empty() && index.world.holding(&name).is_some(), "it is there");
    assert!(index.lose_secret(&name).is_some());
    assert_eq!(index.lost_secrets(), std::slice::from_ref(&name));
    assert_eq!(index.world.holdings_on(&key("db")).count(), 1);
    index.give_up(&name);
    assert_eq!(index.world.holdings_on(&key("db")).count(), 0);
}

/// Such a Secret's own pods would be locked out, if the guard named it; a restart must not name it anew.
#[test]
fn a_name_that_is_somebody_elses_is_remembered_until_it_was_looked_at() {
    let name = ObjectName::new("payments-prod", "legacy");
    let seen = |uid: &str, ready: Option<&str>| {
        let conditions: Vec<_> = ready
            .map(|reason| {
                serde_json::json!({
                    "type": "Ready", "status": "False", "reason": reason, "message": "",
                    "lastTransitionTime": "2026-01-01T00:00:00Z",
                })
            })
            .into_iter()
            .collect();
        serde_json::from_value::<ScopedSecret>(serde_json::json!({
            "apiVersion": "scopedsecrets.io/v1alpha1", "kind": "ScopedSecret",
            "metadata": {"name": "legacy", "namespace": "payments-prod", "uid": uid},
            "spec": {"storeRef": {"name": "aws"}, "consumers": [{"serviceAccountName": "orders"}]},
            "status": {"conditions": conditions},
        }))
        .unwrap()
    };
    let taken = |index: &Index| index.claims[&name].target_taken;
    let mut index = Index::default();
    index.put_claim(&seen("a", None));
    assert!(!taken(&index));
    index.note_target(&name, true);
    index.put_claim(&seen("a", Some("WriteFailed")));
    assert!(taken(&index), "an edit, and another failure, say nothing of it");
    index.note_target(&name, false);
    index.put_claim(&seen("a", Some("Pending")));
    assert!(!taken(&index));
    // After a restart.
    let mut index = Index::default();
    index.put_claim(&seen("a", Some("TargetConflict")));
    assert!(taken(&index));
    index.put_claim(&seen("b", None));
    assert!(!taken(&index), "another ScopedSecret of that name");
}

#[test]
fn bent_metadata_is_seen() {
    let name = ObjectName::new("payments-prod", "orders");
    let bent = |change: fn(&mut ObjectMeta)| {
        let mut metadata = sealed(&name, "db", 10, 10);
        change(&mut metadata);
        facts(&name, &metadata).is_bent()
    };
    let owner = || OwnerReference { kind: "ConfigMap".into(), api_version: "v1".into(), ..OwnerReference::default() };
    assert!(!bent(|_| {}));
    assert!(bent(|m| m.labels = None));
    assert!(bent(|m| m.finalizers = Some(vec!["example.com/hold".into()])));
    assert!(bent(|m| {
        m.annotations.as_mut().unwrap().insert("replicator.v1.mittwald.de/replicate-to".into(), "billing".into());
    }));
    assert!(!bent(|m| {
        m.annotations.as_mut().unwrap().insert("backup.example.com/wave".into(), "1".into());
    }));
    let mut metadata = sealed(&name, "db", 10, 10);
    metadata.owner_references = Some(vec![owner()]);
    assert!(facts(&name, &metadata).is_bent());
}

#[test]
fn a_long_annotation_is_known_by_its_digest() {
    let (a, b) = ("a".repeat(200_000), "b".repeat(200_000));
    assert_eq!(&*remembered("2026-01-01"), "2026-01-01");
    assert!(remembered(&a).len() <= REMEMBERED && remembered(&a) != remembered(&b));
}

#[test]
fn a_leak_is_no_number_that_somebody_must_accept() {
    let mut index = Index::default();
    index.world.policies_synced = true;
    index.put_store(
        "aws",
        Some(StoreState::Known(crate::segmentation::key::Realm::Aws {
            account: "123456789012".into(),
            region: "eu-west-1".into(),
        })),
    );
    let name = ObjectName::new("payments-prod", "a");
    let facts = secret_facts(&name, &sealed(&name, "payments/prod/db", 5, 5), &keys());
    index.put_secret(name, facts);
    assert_eq!(index.withdrawals(now()), 0, "the namespace is not known");
    let leak = crate::segmentation::revoked::Revocation {
        store: "aws".into(),
        key: crate::segmentation::key::RemoteKey::parse("payments/prod/db").unwrap(),
        created: at(1_000),
        versions: None,
    };
    index.world.put_revocation("leak", Some(leak));
    assert_eq!(index.withdrawals(now()), 0, "it goes, and is not counted");
    let why = Refusal::new(Reason::KeyRevoked, "leaked");
    assert!(index.may_withdraw(&Withdrawal { count: 10_000, why: &why, since: None, waits: true }));
}

/// The answer to a request and the event of a later write come by two connections, in any order.
#[test]
fn an_answer_does_not_undo_what_a_watch_has_seen_since() {
    let name = ObjectName::new("payments-prod", "orders");
    let at_revision = |revision: &str| {
        let metadata = sealed(&name, "db", 10, 10);
        facts(&name, &ObjectMeta { resource_version: Some(revision.into()), ..metadata })
    };
    let known = |index: &Index| index.secret(&name).map(|known| known.resource_version.to_string());
    let mut index = Index::default();
    index.wrote(name.clone(), at_revision("7"));
    // Somebody writes after us, and the watch is faster than the answer.
    index.observe_secret(name.clone(), at_revision("12"), now());
    index.wrote(name.clone(), at_revision("9"));
    assert_eq!(known(&index).as_deref(), Some("12"));
    index.learn_secret(name.clone(), at_revision("10"), now());
    assert_eq!(known(&index).as_deref(), Some("12"));
    index.learn_secret(name.clone(), at_revision("13"), now());
    assert_eq!(known(&index).as_deref(), Some("13"));
    // The key was rotated meanwhile: the watch has read the seal of this revision with the newer one.
    let rotated = SecretFacts { seal_is_current: false, ..at_revision("13") };
    index.observe_secret(name.clone(), rotated, now());
    for answer in [Index::wrote, |index: &mut Index, name, facts| index.learn_secret(name, facts, now())] {
        answer(&mut index, name.clone(), at_revision("13"));
        assert_eq!(index.secret(&name).map(|known| known.seal_is_current), Some(false));
    }
    // It goes, before the answer to our own write is here.
    index.gone.note(&ObjectMeta { resource_version: Some("15".into()), ..sealed(&name, "db", 10, 10) });
    index.lose_secret(&name);
    index.wrote(name.clone(), at_revision("14"));
    index.learn_secret(name.clone(), at_revision("14"), now());
    assert_eq!(known(&index), None);
    // It has only lost our label, and is there.
    index.learn_secret(name.clone(), at_revision("15"), now());
    assert_eq!(known(&index).as_deref(), Some("15"));
}

#[test]
fn a_namespace_has_come_into_its_segment_when_it_was_seen_to() {
    let mut index = Index { world: World::with_tenants(), ..Index::default() };
    let labels = |environment: &str| {
        let all = [("tenant", "payments"), ("environment", environment)];
        all.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
    };
    let mut put = |environment: &str, when: i64| {
        index.put_namespace("new", labels(environment), false, "7", at(when));
        index.world.entered.get("new").copied()
    };
    assert_eq!(put("prod", 1), None, "it was there before anybody looked");
    assert_eq!((put("prod", 2), put("", 3), put("prod", 4)), (None, None, None), "and comes back to where it was");
    assert_eq!((put("staging", 5), put("prod", 6), put("", 7)), (Some(at(5)), Some(at(6)), Some(at(6))));
    assert_eq!(put("staging", 8), Some(at(8)));
}

/// Policies that went with their kind come back, one after the other, with whatever they once accepted.
#[test]
fn a_number_that_comes_back_with_its_policy_accepts_nothing_in_doubt() {
    let why = Refusal::new(Reason::NoPolicy, "no policy governs it");
    for (before, made, expected) in [
        (&[][..], Some(at(50)), false),
        (&[None], Some(at(50)), true),
        (&[Some("7")], Some(at(50)), true),
        (&[Some("40")], Some(at(50)), false),
        (&[], Some(at(5)), true),
        (&[], None, true),
    ] {
        let mut index = Index { world: World::with_tenants(), policies_since: made, ..Index::default() };
        index.policies.clear();
        for accept in before.iter().chain([&Some("40")]) {
            let facts = PolicyFacts { accept: accept.map(str::to_owned), generation: 1, ..PolicyFacts::default() };
            let policy = crate::segmentation::fixtures::policy("tenants", crate::segmentation::fixtures::TENANTS).1;
            let PolicyState::Known(policy) = policy else { panic!("it is right") };
            index.put_policy("tenants", Ok((*policy).clone()), facts, false);
        }
        let ask = Withdrawal { count: 40, why: &why, since: Some(at(10)), waits: true };
        assert_eq!(index.may_withdraw(&ask), expected, "{before:?} {made:?}");
    }
}

/// Whoever was refused for a value of another segment asks once more for each of them, and for nothing else.
#[test]
fn changes_of_what_decides_about_values_of_several_segments_are_counted() {
    use crate::segmentation::fixtures::{TENANTS, policy};
    let mut index = Index::default();
    let mut put = |yaml: Result<&str, &str>| {
        let compiled = yaml.map_err(str::to_owned).map(|yaml| match policy("tenants", yaml).1 {
            PolicyState::Known(policy) => (*policy).clone(),
            PolicyState::Unknown(why) => panic!("{why}"),
        });
        index.put_policy("tenants", compiled, PolicyFacts::default(), false);
        index.comparisons
    };
    let lax = format!("{TENANTS}rules: {{uniqueValues: {{within: None}}}}\n");
    let warning = format!("{TENANTS}mode: Warn\n");
    let steps = [Ok(TENANTS), Ok(TENANTS), Ok(&*warning), Ok(&*lax), Err("?"), Err("?"), Ok(&*lax)];
    assert_eq!(steps.map(&mut put), [1, 1, 1, 2, 3, 3, 4]);
    index.remove_policy("tenants");
    assert_eq!(index.comparisons, 5);
}
