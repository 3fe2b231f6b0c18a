//! What the authoriser answers, as tables.

use super::authorize::{Retention, authorize, owners, owners_of_weak, retention};
use super::copies::Marks;
use super::fingerprint::Fingerprint;
use super::fixtures::*;
use super::key::{Realm, RemoteKey};
use super::revoked::Revocation;
use super::verdict::Verdict;
use super::world::{Claim, Holding, ObjectName, PolicyState, StoreState, VersionAsked, World};
use crate::api::Reason;

fn reason(claim: &Claim, world: &World) -> Option<Reason> {
    match authorize(claim, world, now()) {
        Verdict::Allowed(_) => None,
        Verdict::Refused(refusal) | Verdict::Undecided(refusal) => Some(refusal.reason),
    }
}

fn message(claim: &Claim, world: &World) -> String {
    match authorize(claim, world, now()) {
        Verdict::Allowed(_) => "allowed".into(),
        Verdict::Refused(refusal) | Verdict::Undecided(refusal) => refusal.message,
    }
}

#[test]
fn each_namespace_gets_its_own_segment_and_nothing_else() {
    let world = World::with_tenants();
    for (namespace, key, expected) in [
        ("payments-prod", "payments/prod/db", None),
        ("payments-staging", "payments/staging/db", None),
        ("payments-staging", "payments/prod/db", Some(Reason::KeyNotAllowed)),
        ("billing-prod", "payments/prod/db", Some(Reason::KeyNotAllowed)),
        ("plain", "payments/prod/db", Some(Reason::NoPolicy)),
        ("payments-prod", "payments/prod/../staging/db", Some(Reason::InvalidKey)),
        ("payments-prod", "payments/prod/*", Some(Reason::InvalidKey)),
        ("payments-prod", "payments/prod/", Some(Reason::InvalidKey)),
        ("payments-prod", "payments/prod", Some(Reason::KeyNotAllowed)),
        ("payments-prod", "/payments/prod/db", Some(Reason::KeyNotAllowed)),
        ("payments-prod", "arn:aws:secretsmanager:eu-west-1:123456789012:secret:payments/prod/db-AbCdEf", None),
        (
            "payments-prod",
            "arn:aws:secretsmanager:eu-west-1:999999999999:secret:payments/prod/db-AbCdEf",
            Some(Reason::KeyNotAllowed),
        ),
        (
            "payments-prod",
            "arn:aws:secretsmanager:us-east-1:123456789012:secret:payments/prod/db-AbCdEf",
            Some(Reason::WrongRegion),
        ),
        (
            "payments-prod",
            "arn:aws:secretsmanager:eu-west-1:123456789012:secret:payments/prod/db",
            Some(Reason::InvalidKey),
        ),
    ] {
        assert_eq!(reason(&claim(namespace, "x").of(key), &world), expected, "{namespace} {key}");
    }
}

#[test]
fn a_refusal_says_which_label_and_policy_decide_and_no_other_tenant() {
    let world = World::with_tenants();
    let text = message(&claim("billing-prod", "x").of("payments/prod/db"), &world);
    for part in ["\"tenants\"", "tenant=billing", "environment=prod", "billing/prod/**"] {
        assert!(text.contains(part), "{part} is missing in: {text}");
    }
    let mut world = World::with_tenants();
    world.namespace("half", &[("tenant", "payments"), ("environment", "")]);
    let text = message(&claim("half", "x").of("payments/prod/db"), &world);
    assert!(text.contains("environment") && text.contains("tenants"), "{text}");
    assert_eq!(reason(&claim("half", "x").of("payments/prod/db"), &world), Some(Reason::SegmentLabelMissing));
}

#[test]
fn literal_patterns_of_others_are_not_shown() {
    let world = World::with_tenants().under([policy(
        "mixed",
        r#"{segment: {labels: [tenant]}, allow: [{storeRef: {name: aws}, keys: ["acme/**", "${label:tenant}/**"]}]}"#,
    )]);
    let text = message(&claim("billing-prod", "x").of("other/db"), &world);
    assert!(text.contains("billing/**") && !text.contains("acme"), "{text}");
}

#[test]
fn what_is_not_known_grants_nothing_and_withdraws_nothing() {
    let mine = claim("payments-prod", "a").of("payments/prod/db");
    let mut world = World::with_tenants();
    world.holds(mine.clone(), at(5));
    let secret = ObjectName::new("payments-prod", "a");

    let check = |world: &World, expected: Reason| {
        let verdict = authorize(&mine, world, now());
        assert!(matches!(&verdict, Verdict::Undecided(r) if r.reason == expected), "{verdict:?}");
        let kept = retention(&secret, world.holding(&secret).unwrap(), world, now());
        assert!(!matches!(kept, Retention::Withdraw(_)), "{kept:?}");
    };
    world.policies_synced = false;
    check(&world, Reason::PolicyUnknown);
    world.policies_synced = true;
    world.policies.insert("broken".into(), PolicyState::Unknown("pattern".into()));
    check(&world, Reason::PolicyUnknown);
    world.policies.remove("broken");
    world.put_store("aws", Some(StoreState::AccountUnknown { region: "eu-west-1".into() }));
    check(&world, Reason::AccountUnknown);
    world.put_store("aws", None);
    check(&world, Reason::StoreNotFound);
    world.policies.extend([policy("other", "{segment: {labels: [tenant]}}")]);
    check(&world, Reason::SegmentConflict);
}

#[test]
fn policies_over_one_namespace_add_up_in_keys_and_tighten_in_rules() {
    let world = World::with_tenants().under([
        policy("tenants", TENANTS),
        policy("more", r#"{segment: {labels: [tenant, environment]}, allow: [{storeRef: {name: aws}, keys: ["${namespace}/**"]}], rules: {requireConsumers: false}}"#),
    ]);
    assert_eq!(reason(&claim("payments-prod", "x").of("payments-prod/db"), &world), None);
    assert_eq!(reason(&claim("payments-prod", "x").of("payments/prod/db"), &world), None);
    let nobody = Claim { has_consumers: false, ..claim("payments-prod", "x").of("payments/prod/db") };
    assert_eq!(reason(&nobody, &world), Some(Reason::ConsumersRequired), "the strictest of the two");
}

#[test]
fn what_several_policies_do_not_compare() {
    let ignored = |rules: [&str; 2]| {
        let [one, other] = rules.map(|rules| format!("{TENANTS}rules: {{uniqueValues: {{{rules}}}}}\n"));
        let world = World::with_tenants().under([policy("one", &one), policy("other", &other)]);
        match authorize(&claim("payments-prod", "x").of("payments/prod/db"), &world, now()) {
            Verdict::Allowed(grant) => grant.ignore.into_iter().collect::<Vec<_>>().join(","),
            Verdict::Refused(refusal) | Verdict::Undecided(refusal) => refusal.message,
        }
    };
    for (one, other, expected) in [
        ("ignore: [tls.key, host]", "ignore: [host, port]", "host"),
        ("ignore: [tls.key]", "within: None", "tls.key"),
        ("within: None", "ignore: []", ""),
        ("within: None, ignore: [a, b]", "within: None, ignore: [b, c]", "b"),
    ] {
        assert_eq!(ignored([one, other]), expected, "{one} and {other}");
        assert_eq!(ignored([other, one]), expected, "{other} and {one}");
    }
}

#[test]
fn rules_of_form() {
    let world = World::with_tenants();
    let base = || claim("payments-prod", "x").of("payments/prod/db");
    assert_eq!(reason(&Claim { has_consumers: false, ..base() }, &world), Some(Reason::ConsumersRequired));
    assert_eq!(reason(&Claim { retain: true, ..base() }, &world), Some(Reason::RetainNotAllowed));
    assert_eq!(
        reason(&Claim { target_type: Some("example.com/own".into()), ..base() }, &world),
        Some(Reason::TargetTypeNotAllowed)
    );
    let pinned =
        Claim { asks: [("payments/prod/db".into(), VersionAsked::Stage("AWSPREVIOUS".into()))].into(), ..base() };
    assert_eq!(reason(&pinned, &world), Some(Reason::ActionNotAllowed));
}

const SHARED: &str = r#"{segment: {labels: [tenant]}, allow: [{storeRef: {name: aws}, keys: ["shared/**"]}], rules: {exclusiveKeys: LEVEL}}"#;

fn shared(level: &str) -> World {
    World::with_tenants().under([policy("shared", &SHARED.replace("LEVEL", level))])
}

#[test]
fn how_far_a_key_may_be_shared() {
    for (level, same_namespace, same_segment, other_segment) in [
        ("Workload", false, false, false),
        ("Namespace", true, false, false),
        ("Segment", true, true, false),
        ("Unlimited", true, true, true),
    ] {
        let mut world = shared(level);
        world.put_claim(claim("payments-prod", "first").of("shared/db").created_at(1));
        for (namespace, allowed) in
            [("payments-prod", same_namespace), ("payments-staging", same_segment), ("billing-prod", other_segment)]
        {
            let second = claim(namespace, "second").of("shared/db").created_at(2);
            world.put_claim(second.clone());
            assert_eq!(reason(&second, &world).is_none(), allowed, "{level} {namespace}");
            world.remove_claim(&second.object);
        }
    }
}

#[test]
fn the_incumbent_then_the_earlier_then_the_uid() {
    let first = claim("payments-prod", "a").of("shared/db").created_at(1);
    let second = claim("billing-prod", "b").of("shared/db").created_at(2);
    let mut world = shared("Namespace");
    world.put_claim(first.clone());
    world.put_claim(second.clone());
    assert_eq!((reason(&first, &world), reason(&second, &world)), (None, Some(Reason::KeyClaimed)));
    // A restore gives the newcomer an older timestamp; the incumbent keeps its key.
    world.holds(second.clone(), at(3));
    assert_eq!((reason(&first, &world), reason(&second, &world)), (Some(Reason::KeyClaimed), None));
    // Alike in time: the uid decides, and it decides for one of them.
    let mut world = shared("Namespace");
    let twins = [claim("payments-prod", "a").of("shared/db"), claim("billing-prod", "b").of("shared/db")];
    twins.iter().for_each(|c| world.put_claim(c.clone()));
    assert_eq!(twins.iter().filter(|c| reason(c, &world).is_none()).count(), 1);
}

/// Who stays has the key.
#[test]
fn a_namespace_that_moves_takes_no_key_along() {
    let moved = claim("payments-prod-2", "a").of("shared/db").created_at(1);
    let stays = claim("payments-prod", "b").of("shared/db").created_at(2);
    let mut world = shared("Segment");
    world.holds(moved.clone(), at(3));
    world.holds(stays.clone(), at(4));
    let lost = |world: &World| {
        [&moved, &stays].map(|claim| {
            let secret = claim.secret();
            matches!(retention(&secret, world.holding(&secret).unwrap(), world, now()), Retention::Withdraw(_))
        })
    };
    assert_eq!((reason(&moved, &world), reason(&stays, &world), lost(&world)), (None, None, [false, false]));
    let elsewhere = world.namespaces["billing-prod"].clone();
    world.namespaces.insert("payments-prod-2".into(), elsewhere);
    assert_eq!(lost(&world), [false, true], "nobody saw it come");
    world.entered.insert("payments-prod-2".into(), at(9));
    assert_eq!((reason(&moved, &world), reason(&stays, &world)), (Some(Reason::KeyClaimed), None));
    assert_eq!(lost(&world), [true, false]);
}

#[test]
fn a_refused_claim_owns_nothing() {
    let mut world = shared("Namespace");
    // The earlier one waits for another key that somebody holds, so it does not own shared/b either.
    world.holds(claim("payments-staging", "holder").of("shared/a"), at(1));
    world.put_claim(claim("payments-prod", "waiting").of("shared/b").of("shared/a").created_at(1));
    assert_eq!(reason(&claim("billing-prod", "later").of("shared/b").created_at(2), &world), None);
}

#[test]
fn two_stores_of_one_account_are_one_key() {
    let mut world = shared("Namespace");
    world.put_store(
        "twin",
        Some(StoreState::Known(Realm::Aws { account: "123456789012".into(), region: "eu-west-1".into() })),
    );
    world.policies.extend([policy(
        "twin",
        r#"{segment: {labels: [tenant]}, allow: [{storeRef: {name: twin}, keys: ["shared/**"]}]}"#,
    )]);
    world.put_claim(claim("payments-prod", "a").of("shared/db").created_at(1));
    let second = Claim { store: "twin".into(), ..claim("billing-prod", "b").of("shared/db").created_at(2) };
    assert_eq!(reason(&second, &world), Some(Reason::KeyClaimed));
}

#[test]
fn an_exception_lifts_its_rule_until_its_end() {
    for (end, expected) in [
        ("2026-01-31T00:00:00Z", None),
        ("2025-12-01T00:00:00Z", Some(Reason::KeyClaimed)),
        ("2026-12-01T00:00:00Z", Some(Reason::KeyClaimed)),
    ] {
        let yaml = SHARED.replace("LEVEL", "Namespace").replace(
            "rules:",
            &format!("exceptions: [{{rule: ExclusiveKeys, keys: [shared/db], reason: JIRA-1, expirationTime: \"{end}\"}}], rules:"),
        );
        let mut world = World::with_tenants().under([policy("shared", &yaml)]);
        world.put_claim(claim("payments-prod", "a").of("shared/db").created_at(1));
        assert_eq!(reason(&claim("billing-prod", "b").of("shared/db").created_at(2), &world), expected, "{end}");
    }
}

#[test]
fn the_owner_is_named_only_at_home() {
    let mut world = shared("Workload");
    world.put_claim(claim("payments-prod", "owner").of("shared/db").created_at(1));
    assert!(message(&claim("payments-prod", "b").of("shared/db").created_at(2), &world).contains("\"owner\""));
    let text = message(&claim("billing-prod", "b").of("shared/db").created_at(2), &world);
    assert!(!text.contains("owner\"") && !text.contains("payments"), "{text}");
}

#[test]
fn what_is_held_is_kept_or_withdrawn_by_its_own_keys() {
    let secret = ObjectName::new("payments-prod", "a");
    let verdict = |world: &World| retention(&secret, world.holding(&secret).unwrap(), world, now());
    let mut world = World::with_tenants();
    world.holds(claim("payments-prod", "a").of("payments/prod/db"), at(5));
    assert_eq!(verdict(&world), Retention::Keep);
    // Edited past admission to a key that is refused: the old value stays.
    world.put_claim(claim("payments-prod", "a").of("billing/prod/db"));
    assert_eq!(verdict(&world), Retention::Keep);
    // The namespace loses its labels: what it holds goes.
    world.namespace("payments-prod", &[]);
    assert!(matches!(verdict(&world), Retention::Withdraw(r) if r.reason == Reason::NoPolicy));
    // The policy is narrowed.
    let mut world = world.under([policy("tenants", "{segment: {labels: [tenant, environment]}}")]);
    world.namespace("payments-prod", &[("tenant", "payments"), ("environment", "prod")]);
    assert!(matches!(verdict(&world), Retention::Withdraw(r) if r.reason == Reason::KeyNotAllowed));
}

#[test]
fn a_store_that_moved_to_another_account_does_not_cover_the_old_keys() {
    let mut world = World::with_tenants();
    let mine = claim("payments-prod", "a").of("payments/prod/db");
    world.holds(mine.clone(), at(5));
    world.put_store(
        "aws",
        Some(StoreState::Known(Realm::Aws { account: "999999999999".into(), region: "eu-west-1".into() })),
    );
    assert_eq!(reason(&mine, &world), None, "its new key is authorised anew");
    let secret = ObjectName::new("payments-prod", "a");
    assert!(matches!(retention(&secret, world.holding(&secret).unwrap(), &world, now()), Retention::Withdraw(_)));
}

#[test]
fn piled_up_claims_are_bounded_and_refuse_the_later() {
    let mut world = shared("Workload");
    for i in 0..2_000 {
        world.put_claim(
            claim("payments-prod", &format!("c{i}")).of("shared/db").of(&format!("shared/{}", i % 7)).created_at(i),
        );
    }
    assert_eq!(
        reason(&claim("billing-prod", "late").of("shared/db").created_at(9_999), &world),
        Some(Reason::KeyClaimed)
    );
}

#[test]
fn a_weak_value_is_its_owners_for_the_report_alone() {
    let print = Fingerprint([7; 16]);
    let mut world = World::with_tenants();
    let claim = claim("payments-prod", "orders").of("payments/prod/db");
    let marks = Marks::default().beside(&[print], &[]);
    let secret = ObjectName::new("payments-prod", "orders");
    let holding = Holding { marks, ..Holding::of_claim(&claim, world.canonical_keys(&claim)) };
    world.put_holding(secret.clone(), holding.into());
    let whose = |namespace: &str, world: &World| {
        let owners = owners_of_weak(&print, namespace, world, now()).into_iter();
        owners.map(|owner| owner.segment).collect::<Vec<_>>()
    };
    for (namespace, expected) in [
        ("billing-prod", &["payments/prod"][..]),
        ("plain", &["payments/prod"]),
        ("payments-prod-2", &[]),
        ("payments-prod", &[]),
    ] {
        assert_eq!(whose(namespace, &world), expected, "{namespace}");
        assert_eq!(owners(&print, namespace, &world, now()), [], "{namespace}: nobody else hears of it");
    }
    // It has left its segment, and may wait for somebody's word before it is withdrawn.
    let labels = world.namespaces.insert("payments-prod".into(), Default::default()).unwrap();
    assert_eq!(whose("billing-prod", &world), [""], "whose policy answers cannot be told");
    world.namespaces.insert("payments-prod".into(), labels);
    world.remove_holding(&secret);
    assert_eq!(whose("billing-prod", &world), [""; 0]);
}

#[test]
fn an_end_waits_for_nothing_and_frees_the_key() {
    let ended =
        |seconds| Claim { ends: Some(at(seconds).into()), ..claim("payments-prod", "a").of("payments/prod/db") };
    let (past, ahead) = (now().as_second(), now().as_second() + 1);
    let world = World::with_tenants();
    assert_eq!(reason(&ended(past), &world), Some(Reason::Expired));
    assert_eq!(reason(&ended(ahead), &world), None);
    let mut unknown = World::with_tenants();
    unknown.policies_synced = false;
    assert_eq!(reason(&ended(past), &unknown), Some(Reason::Expired), "no policy is needed to end");
    assert_eq!(reason(&ended(ahead), &unknown), Some(Reason::PolicyUnknown));

    let mut world = World::with_tenants();
    world.holds(ended(past), at(1));
    let secret = ObjectName::new("payments-prod", "a");
    let kept = |world: &World| retention(&secret, world.holding(&secret).unwrap(), world, now());
    assert!(matches!(kept(&world), Retention::Withdraw(refusal) if refusal.reason == Reason::Expired));
    world.policies_synced = false;
    assert!(matches!(kept(&world), Retention::Withdraw(refusal) if refusal.reason == Reason::Expired));
    world.policies_synced = true;
    // Who comes after it waits for its Secret to go, as for any holder, and for nothing more.
    let next = claim("payments-prod-2", "b").of("payments/prod/db").created_at(2_000_000);
    assert_eq!(reason(&next, &world), Some(Reason::KeyClaimed));
    let mut world = World::with_tenants();
    world.put_claim(ended(past));
    assert_eq!(reason(&next, &world), None);
}

#[test]
fn a_leak_waits_for_nothing_and_takes_only_its_own() {
    let leak = |key: &str, created| Revocation {
        store: "aws".into(),
        key: RemoteKey::parse(key).unwrap(),
        created: at(created),
        versions: None,
    };
    let mut world = World::with_tenants();
    let mine = claim("payments-prod", "a").of("payments/prod/db").of("payments/prod/api");
    world.holds(mine.clone(), at(5));
    world.holds(claim("billing-prod", "b").of("billing/prod/db"), at(5));
    let (secret, other) = (ObjectName::new("payments-prod", "a"), ObjectName::new("billing-prod", "b"));
    let kept = |world: &World, secret: &ObjectName| retention(secret, world.holding(secret).unwrap(), world, now());
    let goes = |world: &World| match kept(world, &secret) {
        Retention::Withdraw(refusal) => Some(refusal.reason),
        _ => None,
    };
    world.put_revocation("leak", Some(leak("payments/prod/db", 1_000)));
    assert_eq!(goes(&world), Some(Reason::KeyRevoked));
    assert_eq!(kept(&world, &other), Retention::Keep);
    assert_eq!(
        reason(&mine, &world),
        None,
        "whether there is a newer version is not known before the manager was asked"
    );
    world.policies_synced = false;
    assert_eq!(goes(&world), Some(Reason::KeyRevoked));
    world.policies_synced = true;
    world.put_revocation("leak", None);
    assert_eq!(kept(&world, &secret), Retention::Keep, "it was lifted");
    // One of two keys is enough, and a version of after the leak is not.
    for (created, reason) in [(1_000, Some(Reason::KeyRevoked)), (999, None)] {
        let mut held = (**world.holding(&secret).unwrap()).clone();
        held.versions.iter_mut().for_each(|version| version.created = Some(at(1_000).into()));
        world.put_holding(secret.clone(), held.into());
        world.put_revocation("leak", Some(leak("payments/prod/api", created)));
        assert_eq!(goes(&world), reason);
    }
    // Of a key whose store is not there nothing is known; it counts as soon as it is.
    world.put_revocation("leak", Some(Revocation { store: "late".into(), ..leak("payments/prod/db", 1_000) }));
    assert_eq!(goes(&world), None);
    let realm = world.stores["aws"].clone();
    world.put_store("late", Some(realm));
    assert_eq!(goes(&world), Some(Reason::KeyRevoked), "by whatever store it is reached");
}

#[test]
fn what_a_policy_takes_back_goes_though_another_store_reaches_it() {
    let by = |store: &str| TENANTS.replace("name: aws", &format!("name: {store}"));
    let both = [policy("tenants", TENANTS), policy("second", &by("twin"))];
    let mut world = World::with_tenants().under(both);
    world.put_store("twin", world.stores.get("aws").cloned());
    let asked = Claim { store: "twin".into(), ..claim("payments-prod", "a").of("payments/prod/db") };
    world.holds(asked.clone(), at(1));
    let secret = ObjectName::new("payments-prod", "a");
    let kept = |world: &World| retention(&secret, world.holding(&secret).unwrap(), world, now());
    assert_eq!(kept(&world), Retention::Keep);
    world.policies.remove("second");
    assert!(matches!(kept(&world), Retention::Withdraw(refusal) if refusal.reason == Reason::KeyNotAllowed));
    // Edited past admission to a key that it may not have: what it held is still allowed.
    world.put_claim(claim("payments-prod", "a").of("billing/prod/db"));
    assert_eq!(kept(&world), Retention::Keep);
}

#[test]
fn a_refusal_says_what_to_ask_instead_and_names_nobody() {
    let said = |keys: &str, store: &str| {
        let spec = format!(
            "segment: {{labels: [tenant, environment]}}\nallow: [{{storeRef: {{name: aws}}, keys: [{keys:?}]}}, {{storeRef: {{name: billing}}, keys: [\"billing/**\", {keys:?}]}}]"
        );
        let world = World::with_tenants().under([policy("tenants", &spec)]);
        let asked = Claim { store: store.into(), ..claim("payments-prod", "orders").of("payments/else/db") };
        match authorize(&asked, &world, now()) {
            Verdict::Refused(refusal) => refusal.message,
            other => panic!("{other:?}"),
        }
    };
    let own = "${label:tenant}/${label:environment}/**";
    for (keys, store, end) in [
        (own, "nowhere", "nothing in that store; in another: payments/prod/**"),
        (own, "aws", "; allowed here: payments/prod/**"),
        (
            "${label:tenant}/live/**",
            "nowhere",
            "nothing in that store; ask the platform team which keys this namespace may claim",
        ),
        ("${label:tenant}/live/**", "aws", "; ask the platform team which keys this namespace may claim"),
    ] {
        let said = said(keys, store);
        assert!(said.ends_with(end) && !said.contains("billing"), "{said}");
    }
}
