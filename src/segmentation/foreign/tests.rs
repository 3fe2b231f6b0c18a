//! What each kind asks for, and that nothing written in it makes a reader panic.

use super::*;
use proptest::prelude::*;
use serde_json::json;

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap()
}

/// An ask in one word: `read STORE KEY`, `any ...` with another version, `write KEY`, `push SECRET`, or the reason.
fn told(ask: &Ask) -> String {
    let from = |from: &Source| match from {
        Source::Store { cluster: true, name } => format!("cluster:{name}"),
        Source::Store { cluster: false, name } => name.to_string(),
        Source::Region(region) => format!("in:{region}"),
        Source::NodeRegion => "node".into(),
    };
    match &ask.what {
        What::Read { from: store, any_version: false } => format!("read {} {}", from(store), ask.key),
        What::Read { from: store, any_version: true } => format!("any {} {}", from(store), ask.key),
        What::Write { into } if into.is_empty() => format!("write {}", ask.key).trim_end().to_owned(),
        What::Write { into } => {
            let into: Vec<String> = into.iter().map(from).collect();
            format!("write {} into {}", ask.key, into.join(" and "))
        }
        What::Push(secret) => format!("push {}", secret.as_deref().unwrap_or("by labels")),
        What::Outside(reason, _) => format!("{reason:?} {}", ask.key).trim_end().to_owned(),
    }
}

fn hold(kind: ForeignKind, rows: &[(&str, &[&str])]) {
    for (spec, expected) in rows {
        let found: Vec<String> = asks(kind, &yaml(spec)).iter().map(told).collect();
        assert_eq!(found, *expected, "{kind:?} {spec}");
    }
}

#[test]
fn external_secrets() {
    hold(
        ForeignKind::ExternalSecret,
        &[
            ("{}", &[]),
            (
                "{secretStoreRef: {name: aws}, data: [{secretKey: p, remoteRef: {key: a/b, property: c}}]}",
                &["read aws a/b"],
            ),
            (
                "{secretStoreRef: {name: aws, kind: ClusterSecretStore}, data: [{remoteRef: {key: a}}, {remoteRef: {key: a}}]}",
                &["read cluster:aws a"],
            ),
            (
                "{secretStoreRef: {name: aws}, data: [{remoteRef: {key: a}, sourceRef: {storeRef: {name: own, kind: SecretStore}}}]}",
                &["read own a"],
            ),
            ("{secretStoreRef: {name: aws}, data: [{remoteRef: {key: a, version: AWSCURRENT}}]}", &["read aws a"]),
            ("{secretStoreRef: {name: aws}, data: [{remoteRef: {key: a, version: AWSPREVIOUS}}]}", &["any aws a"]),
            ("{secretStoreRef: {name: aws}, data: [{remoteRef: {key: a, version: uuid/1}}]}", &["any aws a"]),
            ("{secretStoreRef: {name: aws}, data: [{remoteRef: {key: a, version: 7}}]}", &["any aws a"]),
            ("{data: [{remoteRef: {key: a}}]}", &["StoreUnresolved a"]),
            ("{secretStoreRef: {name: aws, kind: Other}, data: [{remoteRef: {key: a}}]}", &["StoreUnresolved a"]),
            ("{secretStoreRef: {name: aws}, data: [{remoteRef: {key: 7}}, {}, 3, null]}", &["KeyNotExact"]),
            ("{secretStoreRef: {name: aws}, data: {key: a}}", &["KeyNotExact"]),
            ("{secretStoreRef: {name: aws}, dataFrom: [{extract: {key: a/b}}]}", &["read aws a/b"]),
            (
                "{secretStoreRef: {name: aws}, dataFrom: [{extract: {key: a}, rewrite: [{regexp: {source: x, target: y}}]}]}",
                &["KeyNotExact a"],
            ),
            ("{secretStoreRef: {name: aws}, dataFrom: [{extract: {key: a}, rewrite: []}]}", &["read aws a"]),
            ("{secretStoreRef: {name: aws}, dataFrom: [{find: {name: {regexp: .*}}}]}", &["KeyNotExact"]),
            (
                "{secretStoreRef: {name: aws}, dataFrom: [{find: {path: a}, extract: {key: b}}]}",
                &["KeyNotExact", "read aws b"],
            ),
            ("{dataFrom: [{sourceRef: {generatorRef: {kind: Password, name: p}}}]}", &[]),
            ("{dataFrom: [{sourceRef: {generatorRef: {kind: ECRAuthorizationToken, name: p}}}]}", &["KeyNotExact"]),
            ("{dataFrom: [{sourceRef: {generatorRef: 7}}]}", &["KeyNotExact"]),
            ("{dataFrom: [{}]}", &["KeyNotExact"]),
            ("{dataFrom: all}", &["KeyNotExact"]),
            (
                "{target: {template: {templateFrom: [{target: Data, secret: {name: orders, items: [{key: p}]}}, {configMap: {name: c}}, {literal: x}]}}}",
                &["push orders"],
            ),
        ],
    );
    hold(
        ForeignKind::ClusterExternalSecret,
        &[
            ("{externalSecretSpec: {secretStoreRef: {name: aws}, data: [{remoteRef: {key: a}}]}}", &["read aws a"]),
            ("{}", &[]),
        ],
    );
}

#[test]
fn push_secrets() {
    hold(
        ForeignKind::PushSecret,
        &[
            ("{}", &[]),
            (
                "{selector: {secret: {name: orders}}, data: [{match: {secretKey: p, remoteRef: {remoteKey: a/b}}}]}",
                &["push orders", "write a/b"],
            ),
            (
                "{selector: {secret: {selector: {matchLabels: {a: b}}}}, dataTo: [{remoteKey: x}]}",
                &["push by labels", "write x"],
            ),
            (
                "{secretStoreRefs: [{name: s}, {name: c, kind: ClusterSecretStore}, {labelSelector: {}}], dataTo: [{remoteKey: x}]}",
                &["write x into s and cluster:c"],
            ),
            ("{selector: {generatorRef: {kind: Password, name: p}}, data: [{}]}", &["write"]),
            (
                "{selector: {secret: {name: own}}, template: {templateFrom: [{secret: {name: orders}}, {literal: x}]}}",
                &["push own", "push orders"],
            ),
            ("{data: 3}", &["KeyNotExact"]),
        ],
    );
}

#[test]
fn vault_static_secrets() {
    hold(
        ForeignKind::VaultStaticSecret,
        &[
            ("{mount: kvv2, path: /payments/prod/db, type: kv-v2}", &["KeyNotAllowed kvv2/payments/prod/db"]),
            ("{mount: [], path: 7}", &["KeyNotAllowed"]),
        ],
    );
}

#[test]
fn secret_provider_classes() {
    let class = |parameters: Value| {
        asks(ForeignKind::SecretProviderClass, &json!({"provider": "aws", "parameters": parameters}))
    };
    let arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:a/b-AbCdEf";
    for (region, objects, expected) in [
        ("eu-west-1", "- objectName: a/b\n  objectType: secretsmanager\n", &["read in:eu-west-1 a/b"][..]),
        (
            "eu-west-1",
            "- {objectName: a, objectType: secretsmanager, objectVersionLabel: AWSCURRENT}",
            &["read in:eu-west-1 a"],
        ),
        ("eu-west-1", "- {objectName: a, objectType: secretsmanager, objectVersion: v1}", &["any in:eu-west-1 a"]),
        ("eu-west-1", "- {objectName: a, objectType: ssmparameter}", &["KeyNotAllowed a"]),
        ("eu-west-1", "- {objectName: a}", &["KeyNotExact a"]),
        ("", "- {objectName: a, objectType: secretsmanager}", &["read node a"]),
        ("", &format!("- {{objectName: \"{arn}\"}}"), &[&*format!("read node {arn}")]),
        ("eu-west-1:x", "- {objectName: a, objectType: secretsmanager}", &["StoreUnresolved"]),
        ("eu-west-1", "", &[]),
        ("eu-west-1", "a: b", &["KeyNotExact"]),
        ("eu-west-1", "- {", &["KeyNotExact"]),
        ("eu-west-1", "- a", &["KeyNotExact"]),
        ("eu-west-1", "- {objectName: 7, objectType: secretsmanager}", &["KeyNotExact"]),
        // Go takes a field in any case, and of two the last.
        ("eu-west-1", "- {objectName: a, objectname: b, objectType: secretsmanager}", &["KeyNotExact"]),
        ("eu-west-1", "- {objectName: a, objectName: b, objectType: secretsmanager}", &["KeyNotExact"]),
        ("eu-west-1", "- {objectName: a, objectType: secretsmanager, ob\u{17f}ectVersion: b}", &["KeyNotExact"]),
        (
            "eu-west-1",
            "---\n- {objectName: a, objectType: secretsmanager}\n---\n- {objectName: b, objectType: secretsmanager}",
            &["KeyNotExact"],
        ),
        (
            "eu-west-1",
            "- &x {objectName: a, objectType: secretsmanager}\n- {<<: *x, objectName: b}",
            &["read in:eu-west-1 a", "read in:eu-west-1 b"],
        ),
        (
            "eu-west-1",
            "- {objectName: a, objectType: secretsmanager, failoverObject: {objectName: b}}",
            &["read in:eu-west-1 a", "read node b"],
        ),
    ] {
        let found: Vec<String> = class(json!({"region": region, "objects": objects})).iter().map(told).collect();
        assert_eq!(found, expected, "{objects}");
    }
    let failover = class(json!({
        "region": "eu-west-1", "failoverRegion": "eu-central-1",
        "objects": "- {objectName: a, objectType: secretsmanager, failoverObject: {objectName: b}}\n- {objectName: c, objectType: secretsmanager}",
    }));
    assert_eq!(
        failover.iter().map(told).collect::<Vec<_>>(),
        ["read in:eu-west-1 a", "read in:eu-central-1 b", "read in:eu-west-1 c", "read in:eu-central-1 c"]
    );
    hold(
        ForeignKind::SecretProviderClass,
        &[
            ("{provider: vault, parameters: {objects: x}}", &["StoreUnresolved"]),
            ("{provider: aws}", &["KeyNotExact"]),
            ("{}", &["StoreUnresolved"]),
        ],
    );
    let huge = format!("- {{objectName: {}}}", "a".repeat(100_000));
    assert_eq!(class(json!({"objects": huge})).iter().map(told).collect::<Vec<_>>(), ["KeyNotExact"]);
}

#[test]
fn an_object_with_too_many_keys_is_not_judged_key_by_key() {
    let data: Vec<Value> = (0..600).map(|i| json!({"remoteRef": {"key": format!("k{i}")}})).collect();
    let found = asks(ForeignKind::ExternalSecret, &json!({"secretStoreRef": {"name": "aws"}, "data": data}));
    assert_eq!(found.iter().map(told).collect::<Vec<_>>(), ["KeyNotExact"]);
}

#[test]
fn stores() {
    let role = "arn:aws:iam::123456789012:role/r";
    let aws = |region: &str, account: Option<&str>, prefix: &str| {
        Some((region.to_owned(), account.map(str::to_owned), prefix.to_owned()))
    };
    for (spec, expected) in [
        ("{provider: {aws: {service: SecretsManager, region: eu-west-1}}}".to_owned(), aws("eu-west-1", None, "")),
        (
            format!("{{provider: {{aws: {{region: eu-west-1, role: \"{role}\", prefix: a/}}}}}}"),
            aws("eu-west-1", Some("123456789012"), "a/"),
        ),
        (
            format!("{{provider: {{aws: {{region: eu-west-1, additionalRoles: [x, \"{role}\"]}}}}}}"),
            aws("eu-west-1", Some("123456789012"), ""),
        ),
        ("{provider: {aws: {region: eu-west-1, role: admin}}}".into(), None),
        ("{provider: {aws: {region: eu-west-1, role: \"arn:aws:iam::1:role/r\"}}}".into(), None),
        ("{provider: {aws: {region: eu-west-1, prefix: 7}}}".into(), None),
        ("{provider: {aws: {region: \"eu-west-1:a\"}}}".into(), None),
        ("{provider: {aws: {}}}".into(), None),
        ("{provider: {aws: {service: ParameterStore, region: eu-west-1}}}".into(), None),
        ("{provider: {vault: {}}}".into(), None),
        ("{provider: {aws: {region: eu-west-1}, fake: {}}}".into(), None),
        ("{provider: 7}".into(), None),
        ("{}".into(), None),
    ] {
        let found = match store(&yaml(&spec)) {
            ForeignStore::Aws { region, account, prefix, .. } => {
                Some((region.into_string(), account.map(Into::into), prefix.into_string()))
            }
            ForeignStore::Unclear(why) => {
                assert!(!why.is_empty());
                None
            }
        };
        assert_eq!(found, expected, "{spec}");
    }
}

#[test]
fn where_it_spreads_to() {
    let labels = BTreeMap::from([("tenant".to_owned(), "payments".to_owned())]);
    for (spec, expected) in [
        ("{}", false),
        ("{namespaceSelector: {}}", true),
        ("{namespaceSelectors: [{matchLabels: {tenant: billing}}, {matchLabels: {tenant: payments}}]}", true),
        ("{namespaceSelector: {matchLabels: {tenant: billing}}}", false),
        ("{namespaceSelector: {matchExpressions: [{key: tenant, operator: NotIn, values: [billing]}]}}", true),
        ("{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: payments-prod}}}", true),
        ("{namespaces: [payments-prod]}", true),
        ("{namespaces: [other]}", false),
        // What cannot be told may be any.
        ("{namespaceSelector: {matchExpressions: [{key: tenant, operator: Like, values: [x]}]}}", true),
        ("{namespaces: [7]}", true),
        ("{namespaceSelectors: all}", true),
    ] {
        assert_eq!(Spread::of(&yaml(spec)).reaches("payments-prod", &labels), expected, "{spec}");
    }
}

#[test]
fn objects_are_found_by_the_keys_that_they_mean_now() {
    let mut foreign = Foreign::default();
    let store = ForeignName::new(ForeignKind::SecretStore, Some("a"), "aws");
    let object = ForeignName::new(ForeignKind::ExternalSecret, Some("a"), "x");
    let spec = json!({"secretStoreRef": {"name": "aws"}, "data": [{"remoteRef": {"key": "db"}}]});
    let record = Record {
        uid: "1".into(),
        created: jiff::Timestamp::UNIX_EPOCH,
        asks: asks(ForeignKind::ExternalSecret, &spec).into(),
        spread: None,
    };
    let prefixed =
        |prefix: &str| ForeignStore::Aws { region: "r".into(), account: None, prefix: prefix.into(), auth: "".into() };
    let found = |foreign: &Foreign, key: &str| foreign.asking_for(key).count();
    foreign.put(object.clone(), record.clone());
    assert_eq!((found(&foreign, "db"), foreign.asking(&store).count()), (1, 1));
    foreign.put_store(store.clone(), prefixed("team/"));
    assert_eq!((found(&foreign, "db"), found(&foreign, "team/db")), (0, 1));
    foreign.put(object.clone(), record);
    foreign.remove(&store);
    assert_eq!((found(&foreign, "db"), found(&foreign, "team/db")), (1, 0));
    foreign.retain(ForeignKind::ExternalSecret, &Default::default());
    assert_eq!((found(&foreign, "db"), foreign.objects().count()), (0, 0));
    assert!(foreign.by_key.is_empty(), "nothing of it is left");
}

fn any_json() -> impl Strategy<Value = Value> {
    let words = "(data|dataFrom|key|remoteRef|aws|provider|objects|- \\{objectName: a\\}|\\{\\{|[a-z/:{}<&*\u{17f}\\n -]{0,12})";
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        words.prop_map(Value::from)
    ];
    leaf.prop_recursive(5, 48, 6, |inner| {
        let names = "(data|dataFrom|extract|find|key|remoteRef|sourceRef|storeRef|secretStoreRef|generatorRef|kind|name|provider|aws|region|role|prefix|parameters|objects|mount|path|selector|secret|match|remoteKey|externalSecretSpec|namespaces|namespaceSelector|namespaceSelectors|additionalRoles)";
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(names, inner, 0..6).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn never_panics(spec in any_json(), objects in ".{0,200}") {
        for kind in ForeignKind::ALL {
            asks(*kind, &spec);
        }
        store(&spec);
        Spread::of(&spec).reaches("a", &BTreeMap::new());
        asks(ForeignKind::SecretProviderClass, &json!({"provider": "aws", "parameters": {"objects": objects}}));
    }

    #[test]
    fn what_names_a_key_is_never_passed_over(key in "[a-z/]{1,20}", odd in any_json()) {
        // Whatever stands beside it, the one key that is written where the operator reads it is asked about.
        let mut spec = json!({"secretStoreRef": {"name": "aws"}, "data": [{"remoteRef": {"key": key}}]});
        spec["dataFrom"] = odd;
        let found = asks(ForeignKind::ExternalSecret, &spec);
        prop_assert!(found.iter().any(|ask| *ask.key == *key || matches!(ask.what, What::Outside(..))), "{found:?}");
    }
}
