//! The rule over an index, as tables.

use super::*;
use crate::api::Reason;
use crate::segmentation::fixtures::{TENANTS, at, claim, now, policy};
use crate::segmentation::foreign::Record;
use crate::segmentation::world::{Claim, StoreState, World};
use serde_json::json;
use std::sync::Arc;

const GOVERNS: &str = "rules: {governs: [ExternalSecrets, VaultSecrets, SecretProviderClasses]}\n";

fn findings(world: &World, now: jiff::Timestamp) -> Vec<crate::segmentation::violation::Violation> {
    Foreigners::new(world, now).findings()
}

fn governed(more: &str) -> String {
    format!("{TENANTS}{GOVERNS}{more}")
}

/// The tenants, with the SecretStore `aws` in each namespace and the ClusterSecretStore `shared`.
fn index(yaml: &str) -> Index {
    let mut index = Index::default();
    index.world = World::with_tenants().under([policy("tenants", yaml)]);
    let foreign = &mut index.world.foreign;
    for kind in ForeignKind::ALL {
        foreign.set_read(*kind, true);
    }
    let region = |more: Value| {
        let mut aws = json!({"service": "SecretsManager", "region": "eu-west-1"});
        aws.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        foreign::store(&json!({"provider": {"aws": aws}}))
    };
    for namespace in ["payments-prod", "payments-prod-2", "payments-staging", "billing-prod", "plain"] {
        foreign.put_store(ForeignName::new(ForeignKind::SecretStore, Some(namespace), "aws"), region(json!({})));
    }
    let role = |account: &str| json!({"role": format!("arn:aws:iam::{account}:role/r")});
    let own = |name: &str| ForeignName::new(ForeignKind::SecretStore, Some("payments-prod"), name);
    foreign.put_store(own("own-role"), region(role("123456789012")));
    foreign.put_store(own("foreign-role"), region(role("999999999999")));
    foreign.put_store(own("prefixed"), region(json!({"prefix": "payments/prod/"})));
    foreign.put_store(own("elsewhere"), foreign::store(&json!({"provider": {"aws": {"region": "us-east-1"}}})));
    foreign.put_store(own("vault"), foreign::store(&json!({"provider": {"vault": {}}})));
    foreign.put_store(ForeignName::new(ForeignKind::ClusterSecretStore, None, "shared"), region(json!({})));
    index
}

fn request(
    kind: ForeignKind,
    namespace: Option<&str>,
    name: &str,
    spec: &Value,
    old: Option<&Value>,
) -> AdmissionRequest<DynamicObject> {
    let object = |spec: &Value| {
        json!({
            "apiVersion": format!("{}/{}", kind.group(), kind.versions()[0]), "kind": kind.kind(),
            "metadata": {"name": name, "namespace": namespace, "uid": name, "creationTimestamp": "2026-01-01T00:00:00Z"}, "spec": spec,
        })
    };
    serde_json::from_value(json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "uid": "1", "name": name, "namespace": namespace,
        "operation": if old.is_some() { "UPDATE" } else { "CREATE" },
        "kind": {"group": kind.group(), "version": kind.versions()[0], "kind": kind.kind()},
        "resource": {"group": kind.group(), "version": kind.versions()[0], "resource": kind.plural()},
        "userInfo": {"username": "ada"}, "object": object(spec), "oldObject": old.map(object),
    }))
    .unwrap()
}

/// `passes`, `warns REASON`, or `REASON`.
fn told(index: &Index, request: &AdmissionRequest<DynamicObject>) -> String {
    let answer = judge(request, index, now());
    match (answer.allowed, answer.warnings) {
        (false, _) => answer.result.reason,
        (true, None) => "passes".into(),
        (true, Some(warnings)) => format!("warns {}", warnings[0].split([',', ':']).nth(1).unwrap().trim()),
    }
}

fn message(index: &Index, request: &AdmissionRequest<DynamicObject>) -> String {
    judge(request, index, now()).result.message
}

fn external(store: &str, key: &str) -> Value {
    json!({"secretStoreRef": {"name": store}, "data": [{"secretKey": "p", "remoteRef": {"key": key}}]})
}

fn create(namespace: &str, spec: &Value) -> AdmissionRequest<DynamicObject> {
    request(ForeignKind::ExternalSecret, Some(namespace), "x", spec, None)
}

fn observed(index: &mut Index, kind: ForeignKind, namespace: Option<&str>, name: &str, created: i64, spec: &Value) {
    let request = request(kind, namespace, name, spec, None);
    let record = Record { created: at(created), ..record_of(kind, request.object.as_ref().unwrap()) };
    index.world.foreign.put(ForeignName::new(kind, namespace, name), record);
}

#[test]
fn a_key_is_allowed_as_a_scoped_secrets_is() {
    let index = index(&governed(""));
    let arn = |account: &str, region: &str| {
        format!("arn:aws:secretsmanager:{region}:{account}:secret:payments/prod/db-AbCdEf")
    };
    for (namespace, store, key, expected) in [
        ("payments-prod", "aws", "payments/prod/db", "passes"),
        ("payments-prod", "aws", "payments/staging/db", "KeyNotAllowed"),
        ("payments-prod", "aws", "billing/prod/db", "KeyNotAllowed"),
        ("payments-prod", "aws", "payments/prod/../staging/db", "InvalidKey"),
        ("payments-prod", "aws", "payments/prod/{{ .key }}", "InvalidKey"),
        ("payments-prod", "aws", "payments/prod/*", "InvalidKey"),
        ("payments-prod", "aws", &arn("123456789012", "eu-west-1"), "passes"),
        ("payments-prod", "aws", &arn("999999999999", "eu-west-1"), "KeyNotAllowed"),
        ("payments-prod", "aws", &arn("123456789012", "us-east-1"), "WrongRegion"),
        ("payments-prod", "aws", "arn:aws:secretsmanager:eu-west-1:123456789012:secret:payments/prod/db", "InvalidKey"),
        ("payments-prod", "own-role", "payments/prod/db", "passes"),
        ("payments-prod", "foreign-role", "payments/prod/db", "KeyNotAllowed"),
        ("payments-prod", "prefixed", "db", "passes"),
        ("payments-prod", "prefixed", "payments/prod/db", "passes"),
        ("payments-prod", "elsewhere", "payments/prod/db", "KeyNotAllowed"),
        ("payments-prod", "vault", "payments/prod/db", "StoreUnresolved"),
        ("payments-prod", "missing", "payments/prod/db", "StoreUnresolved"),
        ("payments-staging", "aws", "payments/staging/db", "passes"),
        ("payments-staging", "own-role", "payments/staging/db", "StoreUnresolved"),
        ("plain", "aws", "billing/prod/db", "passes"),
    ] {
        assert_eq!(told(&index, &create(namespace, &external(store, key))), expected, "{namespace} {store} {key}");
    }
    let shared = json!({"secretStoreRef": {"name": "shared", "kind": "ClusterSecretStore"}, "dataFrom": [{"extract": {"key": "payments/prod/db"}}]});
    assert_eq!(told(&index, &create("payments-prod", &shared)), "passes");
    assert_eq!(told(&index, &create("billing-prod", &shared)), "KeyNotAllowed");
    let find =
        json!({"secretStoreRef": {"name": "aws"}, "dataFrom": [{"find": {"name": {"regexp": "^payments/prod/"}}}]});
    assert_eq!(told(&index, &create("payments-prod", &find)), "KeyNotExact");
    let versioned = json!({"secretStoreRef": {"name": "aws"}, "data": [{"remoteRef": {"key": "payments/prod/db", "version": "AWSPREVIOUS"}}]});
    assert_eq!(told(&index, &create("payments-prod", &versioned)), "ActionNotAllowed");
}

#[test]
fn every_other_kind() {
    let mut index = index(&governed(""));
    index.world.holds(claim("payments-prod", "orders").of("payments/prod/orders"), at(1_000_000));
    // Not projected yet, and under another name.
    let late = Claim { target: "late-db".into(), ..claim("payments-prod", "late").of("payments/prod/late") };
    index.world.put_claim(late);
    let class = |key: &str| json!({"provider": "aws", "parameters": {"region": "eu-west-1", "objects": format!("- objectName: {key}\n  objectType: secretsmanager\n")}});
    let push = |secret: &str, data: Value| json!({"secretStoreRefs": [{"name": "aws"}], "selector": {"secret": {"name": secret}}, "data": data});
    let copies =
        |secret: &str| json!({"target": {"template": {"templateFrom": [{"secret": {"name": secret, "items": []}}]}}});
    let written = json!([{"match": {"remoteRef": {"remoteKey": "payments/prod/db"}}}]);
    for (kind, spec, expected) in [
        (ForeignKind::SecretProviderClass, class("payments/prod/db"), "passes"),
        (ForeignKind::SecretProviderClass, class("billing/prod/db"), "KeyNotAllowed"),
        (ForeignKind::VaultStaticSecret, json!({"mount": "kv", "path": "payments/prod/db"}), "KeyNotAllowed"),
        (ForeignKind::PushSecret, push("mine", written), "WriteNotAllowed"),
        (ForeignKind::PushSecret, push("mine", json!([])), "passes"),
        (ForeignKind::PushSecret, push("orders", json!([])), "ReplicatedOut"),
        (ForeignKind::PushSecret, json!({"selector": {"secret": {"selector": {}}}}), "ReplicatedOut"),
        (ForeignKind::ExternalSecret, copies("orders"), "ReplicatedOut"),
        (ForeignKind::ExternalSecret, copies("late-db"), "ReplicatedOut"),
        (ForeignKind::PushSecret, push("late-db", json!([])), "ReplicatedOut"),
        (ForeignKind::PushSecret, push("late", json!([])), "passes"),
        (ForeignKind::ExternalSecret, copies("mine"), "passes"),
    ] {
        let request = request(kind, Some("payments-prod"), "x", &spec, None);
        assert_eq!(told(&index, &request), expected, "{kind:?} {spec}");
    }
    let said = message(
        &index,
        &request(
            ForeignKind::VaultStaticSecret,
            Some("payments-prod"),
            "x",
            &json!({"mount": "kv", "path": "a"}),
            None,
        ),
    );
    assert!(said.contains("no ScopedSecretStore reaches Vault yet") && said.contains("\"kv/a\""), "{said}");
}

#[test]
fn a_refusal_names_the_key_and_what_would_be_allowed_and_no_other_tenant() {
    let mut index = index(&governed(""));
    let said = message(&index, &create("payments-prod", &external("aws", "payments/staging/db")));
    for part in [
        "rule OtherOperators, KeyNotAllowed: ExternalSecret payments-prod/x: ",
        "policy \"tenants\"",
        "tenant=payments, environment=prod",
        "\"payments/staging/db\" of account 123456789012 in eu-west-1",
        "allowed here: payments/prod/**",
    ] {
        assert!(said.contains(part), "{part:?} in {said}");
    }
    index.world = World::with_tenants().under([policy(
        "tenants",
        &format!("segment: {{labels: [tenant, environment]}}\nallow: [{{storeRef: {{name: aws}}, keys: [shared/db, billing/secret]}}]\n{GOVERNS}"),
    )]);
    index.world.foreign.put_store(
        ForeignName::new(ForeignKind::SecretStore, Some("payments-prod"), "aws"),
        foreign::store(&json!({"provider": {"aws": {"region": "eu-west-1"}}})),
    );
    index.world.holds(claim("billing-prod", "bills").of("shared/db"), at(1_000_000));
    let said = message(&index, &create("payments-prod", &external("aws", "shared/db")));
    assert!(said.contains("KeyClaimed") && said.contains("owned by another namespace"), "{said}");
    let refused = message(&index, &create("payments-prod", &external("aws", "none/db")));
    assert!(!said.contains("bill") && !refused.contains("bill"), "{said} {refused}");
}

#[test]
fn a_refusal_says_that_nothing_is_allowed_there_only_where_it_is_so() {
    let refused = |keys: &str| {
        let yaml = format!(
            "segment: {{labels: [tenant, environment]}}\nallow: [{{storeRef: {{name: aws}}, keys: [{keys}]}}]\n{GOVERNS}"
        );
        message(&index(&yaml), &create("payments-prod", &external("aws", "none/db")))
    };
    let elsewhere = "\"arn:aws:secretsmanager:eu-west-1:999999999999:secret:${label:tenant}/**\"";
    for (keys, said) in [
        ("\"${label:tenant}/${label:environment}/**\"", "in eu-west-1; allowed here: payments/prod/**"),
        ("\"${label:tenant}/live/**\"", "in eu-west-1; ask the platform team which keys this namespace may claim"),
        ("shared/**", "in eu-west-1; ask the platform team which keys this namespace may claim"),
        (elsewhere, "in eu-west-1, nor any other there"),
    ] {
        let refused = refused(keys);
        assert!(refused.ends_with(said), "{said} in {refused}");
    }
}

#[test]
fn only_where_a_policy_asks_and_as_it_says() {
    let bad = external("aws", "billing/prod/db");
    let end = "2026-01-02T00:00:00Z";
    let exception =
        |what: &str| format!("exceptions: [{{rule: OtherOperators, {what}, reason: moving, expirationTime: {end}}}]\n");
    let second = "segment: {labels: [tenant, environment]}\n";
    for (yaml, other, expected) in [
        (TENANTS.to_owned(), None, "passes"),
        (format!("{TENANTS}rules: {{governs: [VaultSecrets]}}\n"), None, "passes"),
        (governed(""), None, "KeyNotAllowed"),
        (governed("mode: Warn\n"), None, "warns KeyNotAllowed"),
        (governed("mode: Audit\n"), None, "passes"),
        (governed("reportOnly: [OtherOperators]\n"), None, "passes"),
        (governed("reportOnly: [Consumers]\n"), None, "KeyNotAllowed"),
        (governed(&exception("namespaces: [payments-prod]")), None, "passes"),
        (governed(&exception("namespaces: [billing-prod]")), None, "KeyNotAllowed"),
        (governed(&exception("keys: [billing/prod/db]")), None, "passes"),
        (
            governed(&exception(
                "keys: [\"arn:aws:secretsmanager:eu-west-1:123456789012:secret:billing/prod/db-AbCdEf\"]",
            )),
            None,
            "passes",
        ),
        (governed(&exception("keys: [other]")), None, "KeyNotAllowed"),
        // Of two policies governs is the union, and the answer the strictest.
        (governed("mode: Audit\n"), Some(format!("{second}mode: Warn\n")), "warns KeyNotAllowed"),
        (governed("reportOnly: [OtherOperators]\n"), Some(second.to_owned()), "KeyNotAllowed"),
    ] {
        let mut index = index(&yaml);
        index.world.policies.extend(other.map(|other| policy("second", &other)));
        assert_eq!(told(&index, &create("payments-prod", &bad)), expected, "{yaml}");
        let reported = findings(&index.world, now());
        assert!(reported.is_empty(), "nothing is there yet");
        observed(&mut index, ForeignKind::ExternalSecret, Some("payments-prod"), "x", 1_000_000, &bad);
        let held = index.world.policies.values().any(|p| matches!(p, crate::segmentation::world::PolicyState::Known(p) if p.governs.contains(&crate::api::policy::Governs::ExternalSecrets)));
        let reported: Vec<(String, Reason)> =
            findings(&index.world, now()).into_iter().map(|found| (found.segment.to_string(), found.reason)).collect();
        let lifted = expected == "passes" && yaml.contains("exceptions");
        let expected = if held && !lifted { vec![("payments/prod".to_owned(), Reason::KeyNotAllowed)] } else { vec![] };
        assert_eq!(reported, expected, "the report shows it in every mode, but where an exception lifts it: {yaml}");
    }
}

#[test]
fn an_exception_of_a_key_is_none_of_what_a_store_makes_of_it() {
    let except = |key: &str| {
        let end = "2026-01-02T00:00:00Z";
        governed(&format!(
            "exceptions: [{{rule: OtherOperators, keys: [{key}], reason: moving, expirationTime: {end}}}]\n"
        ))
    };
    for (excepted, expected) in [("db", "KeyNotAllowed"), ("billing/prod/db", "passes")] {
        let mut index = index(&except(excepted));
        let store = ForeignName::new(ForeignKind::SecretStore, Some("payments-prod"), "theirs");
        let prefixed = json!({"service": "SecretsManager", "region": "eu-west-1", "prefix": "billing/prod/"});
        index.world.foreign.put_store(store, foreign::store(&json!({"provider": {"aws": prefixed}})));
        assert_eq!(told(&index, &create("payments-prod", &external("theirs", "db"))), expected, "{excepted}");
    }
}

#[test]
fn what_does_not_change_what_is_asked_passes() {
    let index = index(&governed(""));
    let bad = external("aws", "billing/prod/db");
    let update =
        |old: &Value, new: &Value| request(ForeignKind::ExternalSecret, Some("payments-prod"), "x", new, Some(old));
    assert_eq!(told(&index, &update(&bad, &bad)), "passes");
    assert_eq!(told(&index, &update(&external("aws", "payments/prod/db"), &bad)), "KeyNotAllowed");
    for (old, answer) in [(&bad, "passes"), (&external("aws", "a"), "KeyNotAllowed")] {
        let mut going = update(old, &bad);
        let deleted = serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
        going.object.as_mut().unwrap().metadata.deletion_timestamp = Some(deleted);
        assert_eq!(told(&index, &going), answer, "its finalizers may be removed, and may keep it in use");
    }
}

const SHARED: &str =
    "segment: {labels: [tenant, environment]}\nallow: [{storeRef: {name: aws}, keys: [\"shared/*\"]}]\n";

#[test]
fn a_key_of_another_scope() {
    let index_of = |exclusivity: &str| {
        index(&format!("{SHARED}rules: {{governs: [ExternalSecrets], exclusiveKeys: {exclusivity}}}\n"))
    };
    let key = external("aws", "shared/db");
    // Held, or claimed first, by a ScopedSecret.
    for (exclusivity, same_namespace, same_segment, other) in [
        ("Workload", "KeyClaimed", "KeyClaimed", "KeyClaimed"),
        ("Namespace", "passes", "KeyClaimed", "KeyClaimed"),
        ("Segment", "passes", "passes", "KeyClaimed"),
        ("Unlimited", "passes", "passes", "passes"),
    ] {
        for held in [true, false] {
            let mut index = index_of(exclusivity);
            let rival = claim("payments-prod", "orders").of("shared/db");
            if held {
                index.world.holds(rival, at(1_000_000))
            } else {
                index.world.put_claim(rival)
            }
            for (namespace, expected) in
                [("payments-prod", same_namespace), ("payments-prod-2", same_segment), ("billing-prod", other)]
            {
                assert_eq!(told(&index, &create(namespace, &key)), expected, "{exclusivity} {held} {namespace}");
            }
        }
    }
    // Had by an ExternalSecret.
    let mut index = index_of("Namespace");
    observed(&mut index, ForeignKind::ExternalSecret, Some("payments-prod"), "first", 1_000_000, &key);
    assert_eq!(told(&index, &create("billing-prod", &key)), "KeyClaimed");
    assert_eq!(told(&index, &create("payments-prod", &key)), "passes");
    // Of two that have it, the older one may be changed.
    observed(&mut index, ForeignKind::ExternalSecret, Some("billing-prod"), "x", 2_000_000, &key);
    let mut more = key.clone();
    more["refreshInterval"] = "2h".into();
    let update =
        |namespace: &str, name: &str| request(ForeignKind::ExternalSecret, Some(namespace), name, &more, Some(&key));
    let of_age = |mut request: AdmissionRequest<DynamicObject>, seconds: i64| {
        let metadata = &mut request.object.as_mut().unwrap().metadata;
        metadata.creation_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(seconds)));
        request
    };
    assert_eq!(told(&index, &of_age(update("payments-prod", "first"), 1_000_000)), "passes");
    assert_eq!(told(&index, &of_age(update("billing-prod", "x"), 2_000_000)), "KeyClaimed");
    // Age alone takes nothing: who asks for a key only now comes after those who have it.
    let mut index = index_of("Namespace");
    observed(
        &mut index,
        ForeignKind::ExternalSecret,
        Some("billing-prod"),
        "x",
        1_000_000,
        &external("aws", "shared/other"),
    );
    observed(&mut index, ForeignKind::ExternalSecret, Some("payments-prod"), "first", 2_000_000, &key);
    assert_eq!(told(&index, &of_age(update("billing-prod", "x"), 1_000_000)), "KeyClaimed");
    // One whose policy does not allow it the key has no claim on it.
    let mut index = self::index(&governed(""));
    observed(
        &mut index,
        ForeignKind::ExternalSecret,
        Some("billing-prod"),
        "thief",
        1,
        &external("aws", "payments/prod/db"),
    );
    assert_eq!(told(&index, &create("payments-prod", &external("aws", "payments/prod/db"))), "passes");
}

#[test]
fn a_cluster_external_secret_is_judged_wherever_it_goes() {
    let own = |selector: Value, key: &str| json!({"namespaceSelectors": [selector], "externalSecretSpec": external("aws", key)});
    let tenant = |tenant: &str| json!({"matchLabels": {"tenant": tenant}});
    let prod = json!({"matchLabels": {"kubernetes.io/metadata.name": "payments-prod"}});
    let ask =
        |index: &Index, spec: &Value| told(index, &request(ForeignKind::ClusterExternalSecret, None, "x", spec, None));
    let strict = index(&governed(""));
    for (spec, expected) in [
        (own(prod.clone(), "payments/prod/db"), "passes"),
        (own(prod, "payments/staging/db"), "KeyNotAllowed"),
        (own(tenant("payments"), "payments/prod/db"), "KeyNotAllowed"),
        (own(tenant("nobody"), "payments/prod/db"), "passes"),
        (own(json!({"matchLabels": 7}), "payments/prod/db"), "KeyNotAllowed"),
    ] {
        assert_eq!(ask(&strict, &spec), expected, "{spec}");
    }
    for (exclusivity, expected) in [("Namespace", "KeyClaimed"), ("Segment", "KeyClaimed"), ("Unlimited", "passes")] {
        let shared = index(&format!("{SHARED}rules: {{governs: [ExternalSecrets], exclusiveKeys: {exclusivity}}}\n"));
        assert_eq!(ask(&shared, &own(tenant("payments"), "shared/db")), expected, "{exclusivity}");
        let same = json!({"matchLabels": {"tenant": "payments", "environment": "prod"}});
        let expected = if exclusivity == "Namespace" { "KeyClaimed" } else { "passes" };
        assert_eq!(ask(&shared, &own(same, "shared/db")), expected, "{exclusivity} within one segment");
    }
    // Whom an exception names may share with all; that lifts nothing between the others.
    let end = "2026-01-02T00:00:00Z";
    let lifted =
        format!("exceptions: [{{rule: ExclusiveKeys, namespaces: [billing-prod], reason: x, expirationTime: {end}}}]");
    let shared = index(&format!("{SHARED}rules: {{governs: [ExternalSecrets], exclusiveKeys: Namespace}}\n{lifted}\n"));
    let named = |names: &[&str]| {
        let values = json!({"key": "kubernetes.io/metadata.name", "operator": "In", "values": names});
        ask(&shared, &own(json!({"matchExpressions": [values]}), "shared/db"))
    };
    assert_eq!(named(&["billing-prod", "payments-prod"]), "passes");
    assert_eq!(named(&["billing-prod", "payments-prod", "payments-staging"]), "KeyClaimed");
    let mut wide = index(&governed(""));
    let labels =
        || [("tenant", "payments"), ("environment", "prod")].map(|(key, value)| (key.to_owned(), value.to_owned()));
    wide.world.namespaces.extend((0..30).map(|n| (Arc::from(format!("wide-{n}")), labels().into())));
    let mut many = own(tenant("payments"), "payments/prod/db");
    let data = (0..400).map(|n| json!({"remoteRef": {"key": format!("payments/prod/{n}")}}));
    many["externalSecretSpec"]["data"] = data.collect();
    assert_eq!(ask(&wide, &many), "KeyNotExact", "more than are judged at once");
    let mut found = index(&governed(""));
    observed(
        &mut found,
        ForeignKind::ClusterExternalSecret,
        None,
        "x",
        1,
        &own(tenant("payments"), "payments/prod/db"),
    );
    let segments: Vec<String> =
        findings(&found.world, now()).iter().map(|v| format!("{} {:?}", v.segment, v.reason)).collect();
    assert!(segments.contains(&"payments/staging KeyNotAllowed".to_owned()), "{segments:?}");
}

#[test]
fn a_store_may_not_be_turned_elsewhere_under_an_object() {
    let mut index = index(&governed(""));
    observed(&mut index, ForeignKind::ExternalSecret, Some("payments-prod"), "x", 1, &external("prefixed", "db"));
    observed(&mut index, ForeignKind::ExternalSecret, Some("payments-prod"), "old", 1, &external("prefixed", "../db"));
    let store = |prefix: &str| json!({"provider": {"aws": {"service": "SecretsManager", "region": "eu-west-1", "prefix": prefix}}});
    let change = |name: &str, spec: &Value| {
        request(ForeignKind::SecretStore, Some("payments-prod"), name, spec, Some(&json!({})))
    };
    for (name, spec, expected) in [
        ("prefixed", store("billing/prod/"), "KeyNotAllowed"),
        ("prefixed", store("payments/prod/new/"), "passes"),
        ("prefixed", json!({"provider": {"vault": {}}}), "StoreUnresolved"),
        ("nobodys", store("billing/prod/"), "passes"),
    ] {
        assert_eq!(told(&index, &change(name, &spec)), expected, "{name} {spec}");
    }
    let said = message(&index, &change("prefixed", &store("billing/prod/")));
    assert!(
        said.contains("ExternalSecret \"x\", which asks this store, would be refused") && !said.contains("old"),
        "{said}"
    );
}

/// A store of one's own by which something of the platform's would come there: nothing of what is asked for elsewhere is told.
#[test]
fn a_store_that_is_asked_from_everywhere() {
    let store = json!({"provider": {"aws": {"service": "SecretsManager", "region": "eu-west-1"}}});
    let spread = |key: &str| json!({"namespaceSelectors": [{}], "externalSecretSpec": external("big", key)});
    let made = |index: &Index| {
        let request = request(ForeignKind::SecretStore, Some("billing-prod"), "big", &store, None);
        (told(index, &request), message(index, &request))
    };
    let shared = format!("{SHARED}rules: {{governs: [ExternalSecrets], exclusiveKeys: Namespace}}\n");
    for (yaml, key, expected) in [
        (governed(""), "payments/prod/feed", "KeyNotAllowed"),
        (governed(""), "billing/prod/feed", "passes"),
        (shared.clone(), "shared/feed", "KeyClaimed"),
    ] {
        let mut index = index(&yaml);
        let theirs = ForeignName::new(ForeignKind::SecretStore, Some("payments-prod"), "big");
        index.world.foreign.put_store(theirs, foreign::store(&store));
        observed(&mut index, ForeignKind::ClusterExternalSecret, None, "feed", 1, &spread(key));
        let (told, said) = made(&index);
        assert_eq!(told, expected, "{key}: {said}");
        assert!(!said.contains("payments") && !said.contains("feed"), "{said}");
    }
    // What nobody else has comes to one alone.
    let mut alone = index(&shared);
    observed(&mut alone, ForeignKind::ClusterExternalSecret, None, "feed", 1, &spread("shared/feed"));
    assert_eq!(made(&alone).0, "passes");
}

/// Whoever has many objects with many keys holds nobody up.
#[test]
fn many_keys_take_no_time() {
    let mut index = index(&governed(""));
    let many = |object: usize, count: usize| {
        let keys = (0..count).map(|n| json!({"remoteRef": {"key": format!("billing/prod/e{object}/k{n}")}}));
        json!({"secretStoreRef": {"name": "mine"}, "data": keys.collect::<Vec<_>>()})
    };
    let store = |region: &str| json!({"provider": {"aws": {"service": "SecretsManager", "region": region}}});
    let mine = ForeignName::new(ForeignKind::SecretStore, Some("billing-prod"), "mine");
    index.world.foreign.put_store(mine, foreign::store(&store("eu-west-1")));
    let start = std::time::Instant::now();
    for object in 0..30 {
        let name = format!("e{object}");
        observed(&mut index, ForeignKind::ExternalSecret, Some("billing-prod"), &name, 1, &many(object, 512));
    }
    let change = |spec: &Value| request(ForeignKind::SecretStore, Some("billing-prod"), "mine", spec, Some(&json!({})));
    assert_eq!(told(&index, &change(&store("us-east-1"))), "KeyNotExact", "more than are judged at once");
    assert_eq!(told(&index, &change(&store("eu-west-1"))), "passes", "it changes nothing");
    let again = request(ForeignKind::ExternalSecret, Some("billing-prod"), "e0", &many(0, 511), Some(&json!({})));
    assert_eq!(told(&index, &again), "passes");
    assert_eq!(findings(&index.world, now()), []);
    // A debug build on a busy machine: each key held against all others of its object took minutes.
    assert!(start.elapsed() < std::time::Duration::from_secs(30), "{:?}", start.elapsed());
}

#[test]
fn what_could_not_be_told_is_no_licence_for_a_store() {
    let store = |prefix: &str| json!({"provider": {"aws": {"service": "SecretsManager", "region": "eu-west-1", "prefix": prefix}}});
    let of_trick = ForeignName::new(ForeignKind::SecretStore, Some("billing-prod"), "trick");
    let made = |index: &Index, spec: &Value| {
        told(index, &request(ForeignKind::SecretStore, Some("billing-prod"), "trick", spec, None))
    };
    let mut index = index(&governed(""));
    index.world.foreign.put_store(of_trick.clone(), foreign::store(&store("billing/prod/")));
    let spec = external("trick", "orders-db");
    assert_eq!(told(&index, &request(ForeignKind::ExternalSecret, Some("billing-prod"), "x", &spec, None)), "passes");
    observed(&mut index, ForeignKind::ExternalSecret, Some("billing-prod"), "x", 1, &spec);
    // The store is deleted, and made anew with another prefix.
    index.world.foreign.remove(&of_trick);
    assert_eq!(made(&index, &store("payments/prod/")), "KeyNotAllowed");
    assert_eq!(made(&index, &store("billing/prod/")), "passes");
    assert_eq!(made(&index, &json!({"provider": {"vault": {}}})), "StoreUnresolved");
    // One refusal is no licence for another: of another key, or for another reason.
    for before in [store("payments/staging/"), store("payments/prod/../"), json!({"provider": {"vault": {}}})] {
        index.world.foreign.put_store(of_trick.clone(), foreign::store(&before));
        assert_eq!(made(&index, &store("payments/prod/")), "KeyNotAllowed", "{before}");
    }
    // What is refused already, and stays so, holds nobody up.
    let own_role = |role: &str| {
        let mut spec = store("payments/prod/");
        spec["provider"]["aws"]["role"] = role.into();
        spec
    };
    index.world.foreign.put_store(of_trick.clone(), foreign::store(&store("payments/prod/")));
    assert_eq!(made(&index, &own_role("arn:aws:iam::123456789012:role/r")), "passes");
    assert_eq!(made(&index, &own_role("arn:aws:iam::999999999999:role/r")), "KeyNotAllowed");
    // Nor while the account is not known.
    index.world.put_store("aws", Some(StoreState::AccountUnknown { region: "eu-west-1".into() }));
    index.world.foreign.put_store(of_trick, foreign::store(&store("billing/prod/")));
    assert_eq!(made(&index, &store("payments/prod/")), "AccountUnknown");
}

#[test]
fn what_cannot_be_told_now() {
    use crate::segmentation::world::PolicyState;
    let good = external("aws", "payments/prod/db");
    let mut unread = index(&governed(""));
    unread.world.foreign = Default::default();
    let said = message(&unread, &create("payments-prod", &good));
    assert!(said.contains("StoreUnresolved") && said.contains("has not been read yet"), "{said}");
    let mut unknown = index(&governed(""));
    unknown.world.put_store("aws", Some(StoreState::AccountUnknown { region: "eu-west-1".into() }));
    assert_eq!(told(&unknown, &create("payments-prod", &good)), "AccountUnknown");
    let mut broken = index(&governed(""));
    broken.world.policies.insert("second".into(), PolicyState::Unknown("?".into()));
    assert_eq!(told(&broken, &create("payments-prod", &good)), "PolicyUnknown");
    let fresh = index(&governed(""));
    assert_eq!(told(&fresh, &create("new-namespace", &good)), "PolicyUnknown", "its labels are not known yet");
    let mut two = index(&format!("{TENANTS}rules: {{governs: [ExternalSecrets]}}\n"));
    two.world.put_store(
        "other",
        Some(StoreState::Known(crate::segmentation::key::Realm::Aws {
            account: "210987654321".into(),
            region: "eu-west-1".into(),
        })),
    );
    let second =
        "segment: {labels: [tenant, environment]}\nallow: [{storeRef: {name: other}, keys: [\"${namespace}/**\"]}]\n";
    two.world.policies.extend([policy("second", second)]);
    let said = message(&two, &create("payments-prod", &good));
    assert!(said.contains("StoreUnresolved") && said.contains("\"tenants\" allow keys of several accounts"), "{said}");
    assert_eq!(told(&two, &create("payments-prod", &external("own-role", "payments/prod/db"))), "passes");
}

#[test]
fn ten_thousand_objects_are_no_burden() {
    let mut index = index(&governed(""));
    for i in 0..10_000 {
        let namespace = ["payments-prod", "billing-prod"][i % 2];
        observed(
            &mut index,
            ForeignKind::ExternalSecret,
            Some(namespace),
            &format!("n{i}"),
            1,
            &external("aws", "payments/prod/db"),
        );
    }
    let request = create("payments-staging", &external("aws", "payments/staging/db"));
    let rival = create("payments-prod-2", &external("aws", "payments/prod/db"));
    let start = std::time::Instant::now();
    for _ in 0..100 {
        assert_eq!(told(&index, &request), "passes");
        assert_eq!(told(&index, &rival), "KeyClaimed");
    }
    // A debug build on a busy machine: what is meant is that it does not grow with what is there.
    assert!(start.elapsed() < std::time::Duration::from_secs(10), "{:?}", start.elapsed());
}
