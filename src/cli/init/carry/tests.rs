use super::*;
use crate::api::NAMESPACE_NAME_LABEL;
use crate::cli::init::found::Namespaces;
use serde_json::json;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn namespaces() -> Namespaces {
    [("payments-prod", "payments", "prod"), ("payments-jobs", "payments", "prod"), ("billing-prod", "billing", "prod")]
        .map(|(name, tenant, environment)| {
            let labels = [("tenant", tenant), ("environment", environment), (NAMESPACE_NAME_LABEL, name)];
            (name.to_owned(), labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into())
        })
        .into_iter()
        .chain([("plain".to_owned(), BTreeMap::new())])
        .collect()
}

fn theirs(kind: ForeignKind, namespace: &str, name: &str, spec: Value) -> Foreign {
    Foreign { kind, namespace: namespace.into(), name: name.into(), spec }
}

/// A store for all, with these fields beside its region.
fn store(more: Value) -> Foreign {
    let mut aws = json!({"service": "SecretsManager", "region": "eu-west-1"});
    aws.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    theirs(ForeignKind::ClusterSecretStore, "", "aws", json!({"provider": {"aws": aws}}))
}

fn takes(namespace: &str, name: &str, more: Value) -> Foreign {
    let mut spec = json!({"secretStoreRef": {"kind": "ClusterSecretStore", "name": "aws"}});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    theirs(ForeignKind::ExternalSecret, namespace, name, spec)
}

fn one(key: &str) -> Value {
    json!({"data": [{"secretKey": "value", "remoteRef": {"key": key}}]})
}

/// Everybody uses everything, under an account of the Secret's name.
fn made_with(objects: Vec<Foreign>, wishes: &Wishes) -> Made {
    let mut found = Found { namespaces: namespaces(), objects, ..Found::default() };
    for object in found.objects.clone() {
        let secret = object.spec["target"]["name"].as_str().unwrap_or(&object.name).to_owned();
        found.uses(&object.namespace, &secret, "web");
    }
    carry(&found.in_order(), wishes, NOW)
}

fn made(objects: Vec<Foreign>) -> Made {
    made_with(objects, &Wishes { labels: vec!["tenant".into(), "environment".into()], ..Wishes::default() })
}

fn told(made: &Made) -> Vec<(Severity, Reason)> {
    made.findings.iter().map(|finding| (finding.severity, finding.reason)).collect()
}

/// The spec that was written for this kind and name.
fn spec<'a>(made: &'a Made, kind: &str, name: &str) -> Option<&'a Value> {
    made.files.iter().flat_map(|file| &file.documents).find_map(|document| match document {
        Document::Object(_, Some(object)) if object["kind"] == kind && object["metadata"]["name"] == name => {
            Some(&object["spec"])
        }
        _ => None,
    })
}

#[test]
fn what_has_a_match_is_carried_whole() {
    let full = json!({
        "refreshInterval": "90m0s", "syncWindows": {"deny": []},
        "target": {"name": "db", "immutable": true, "creationPolicy": "Orphan", "template": {
            "type": "example.com/db", "mergePolicy": "Merge",
            "metadata": {"labels": {"team": "a"}, "annotations": {"note": "b"}},
            "data": {"URL": "{{ .password | b64enc }}"},
        }},
        "data": [
            {"secretKey": "password", "remoteRef": {"key": "payments/prod/db", "property": "password", "version": "uuid/11111111-2222-3333-4444-555555555555"}},
            {"secretKey": "old", "remoteRef": {"key": "payments/prod/db", "version": "AWSPREVIOUS", "property": "password"}},
        ],
        "dataFrom": [{"extract": {"key": "payments/prod/more", "version": "AWSCURRENT"}}],
    });
    let made = made(vec![store(json!({})), takes("payments-prod", "a", full)]);
    assert_eq!(told(&made), [(Severity::Warning, Reason::NotCarriedOver); 2], "{:?}", made.findings);
    // Only the values tell whether one of its names comes twice.
    for (finding, word) in made.findings.iter().zip(["DuplicateSecretKey", "syncWindows"]) {
        assert!(finding.message.contains(word), "{word}: {}", finding.message);
    }
    assert_eq!(
        spec(&made, "ScopedSecret", "a").unwrap(),
        &json!({
            "storeRef": {"name": "aws"}, "consumers": [{"serviceAccountName": "web"}], "refreshInterval": "1h30m", "deletionPolicy": "Retain",
            "data": [
                {"secretKey": "password", "remoteRef": {"key": "payments/prod/db", "property": "password", "versionId": "11111111-2222-3333-4444-555555555555"}},
                {"secretKey": "old", "remoteRef": {"key": "payments/prod/db", "property": "password", "versionStage": "AWSPREVIOUS"}},
            ],
            "dataFrom": [{"remoteRef": {"key": "payments/prod/more"}}],
            "target": {"name": "db", "immutable": true, "type": "example.com/db", "template": {
                "labels": {"team": "a"}, "annotations": {"note": "b"}, "data": {"URL": "{{ password | b64encode }}"},
            }},
        })
    );
    assert_eq!(
        spec(&made, "SegmentationPolicy", "tenants").unwrap(),
        &json!({
            "segment": {"labels": ["tenant", "environment"]},
            "namespaceSelector": {"matchExpressions": [{"key": "tenant", "operator": "Exists"}, {"key": "environment", "operator": "Exists"}]},
            "allow": [{"storeRef": {"name": "aws"}, "keys": ["${label:tenant}/${label:environment}/**"], "actions": ["Read", "ReadAnyVersion"]}],
            "rules": {"targetTypes": ["example.com/db"], "allowRetain": true},
        })
    );
    assert_eq!(spec(&made, "ScopedSecretStore", "aws").unwrap(), &json!({"aws": {"region": "eu-west-1", "auth": {}}}));
}

#[test]
fn what_has_no_match_is_told_and_never_left_out_silently() {
    use Reason::{InvalidKey, KeyNotExact, NotCarriedOver, StoreUnresolved};
    let data = |more: Value| {
        let mut remote = json!({"key": "payments/prod/db"});
        remote.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"data": [{"secretKey": "value", "remoteRef": remote}]})
    };
    let with = |field: &str, value: Value| {
        let mut spec = data(json!({}));
        spec[field] = value;
        spec
    };
    for (asked, reason, word) in [
        (json!({"dataFrom": [{"find": {"name": {"regexp": ".*"}}}]}), KeyNotExact, "find"),
        (
            json!({"dataFrom": [{"extract": {"key": "payments/prod/db"}, "rewrite": [{"regexp": {}}]}]}),
            KeyNotExact,
            "rewrite",
        ),
        (json!({"dataFrom": [{"extract": {"key": "payments/prod/db", "property": "a"}}]}), NotCarriedOver, "property"),
        (
            json!({"dataFrom": [{"sourceRef": {"generatorRef": {"kind": "Password", "name": "p"}}}]}),
            NotCarriedOver,
            "generator",
        ),
        (data(json!({"property": "a.#.b"})), NotCarriedOver, "a.#.b"),
        (data(json!({"decodingStrategy": "Base64"})), NotCarriedOver, "decodingStrategy"),
        (data(json!({"metadataPolicy": "Fetch"})), NotCarriedOver, "metadataPolicy"),
        (data(json!({"nullBytePolicy": "Fail"})), NotCarriedOver, "nullBytePolicy"),
        (data(json!({"key": "payments/*"})), InvalidKey, "payments/*"),
        (with("secretStoreRef", json!({"name": "gone"})), StoreUnresolved, "gone"),
        (with("refreshInterval", json!("often")), NotCarriedOver, "often"),
        (with("target", json!({"creationPolicy": "Merge"})), NotCarriedOver, "Merge"),
        (with("target", json!({"creationPolicy": "None"})), NotCarriedOver, "None"),
        (with("target", json!({"manifest": {"kind": "ConfigMap"}})), NotCarriedOver, "manifest"),
        (with("target", json!({"template": {"templateFrom": [{"configMap": {}}]}})), NotCarriedOver, "templateFrom"),
        (with("target", json!({"template": {"metadata": {"finalizers": ["a/b"]}}})), NotCarriedOver, "finalizers"),
        (
            with("target", json!({"template": {"metadata": {"labels": {"app.kubernetes.io/name": "a"}}}})),
            NotCarriedOver,
            "app.kubernetes.io/name",
        ),
        (
            with("target", json!({"template": {"metadata": {"annotations": {"a": "{{ .value }}"}}}})),
            NotCarriedOver,
            "literal",
        ),
        (
            with("target", json!({"template": {"mergePolicy": "Merge", "data": {"a": "{{ .value | quote }}"}}})),
            NotCarriedOver,
            "quote",
        ),
        (
            with("target", json!({"template": {"mergePolicy": "Merge", "data": {"a": "{{ .other }}"}}})),
            NotCarriedOver,
            "other",
        ),
        (with("target", json!({"template": {"type": "kubernetes.io/tls"}})), NotCarriedOver, "tls.crt"),
        (with("target", json!({"template": {"type": "helm.sh/release.v1"}})), NotCarriedOver, "cluster's own"),
    ] {
        let made = made(vec![store(json!({})), takes("payments-prod", "a", asked.clone())]);
        let errors: Vec<_> = made.findings.iter().filter(|finding| finding.severity == Severity::Error).collect();
        assert_eq!(errors.iter().map(|finding| finding.reason).collect::<Vec<_>>(), [reason], "{asked}: {errors:?}");
        assert!(errors[0].message.contains(word), "{word}: {errors:?}");
        let text = made.files.iter().find(|file| file.path == "payments-prod/a.yaml").unwrap().text();
        assert!(text.contains("NOT CARRIED OVER: "), "{text}");
    }
}

#[test]
fn what_is_otherwise_here_is_told() {
    for (asked, word) in [
        (
            json!({"refreshInterval": "15s500ms", "data": [{"secretKey": "value", "remoteRef": {"key": "payments/prod/db"}}]}),
            "\"15s500ms\": it is written as 15s",
        ),
        (
            json!({"target": {"deletionPolicy": "Delete"}, "data": [{"secretKey": "value", "remoteRef": {"key": "payments/prod/db"}}]}),
            "RemoteMissing",
        ),
        (
            json!({"data": [{"secretKey": "value", "remoteRef": {"key": "payments/prod/db", "property": "a.b"}}]}),
            "\"/a/b\"",
        ),
        (
            json!({"target": {"template": {"data": {"value": "x{{ .value }}"}}}, "data": [{"secretKey": "value", "remoteRef": {"key": "payments/prod/db"}}]}),
            "value-source",
        ),
    ] {
        let made = made(vec![store(json!({})), takes("payments-prod", "a", asked)]);
        assert_eq!(told(&made), [(Severity::Warning, Reason::NotCarriedOver)], "{:?}", made.findings);
        assert!(made.findings[0].message.contains(word), "{:?}", made.findings);
    }
    let same = json!({"target": {"template": {"data": {"value": "{{ .value }}"}}}, "data": [{"secretKey": "value", "remoteRef": {"key": "payments/prod/db"}}]});
    let made = made(vec![store(json!({})), takes("payments-prod", "a", same)]);
    assert_eq!(told(&made), [], "a template of nothing but the value is the value");
    assert_eq!(spec(&made, "ScopedSecret", "a").unwrap().get("target"), None);
}

#[test]
fn a_key_goes_to_one_segment_alone() {
    let of = |objects: Vec<Foreign>| made([vec![store(json!({}))], objects].concat());
    let shared = of(vec![takes("payments-prod", "a", one("shared/db")), takes("billing-prod", "b", one("shared/db"))]);
    assert_eq!(told(&shared), [(Severity::Error, Reason::KeyShared); 2], "{:?}", shared.findings);
    assert!(shared.files.iter().all(|file| !file.text().contains("kind: ScopedSecret\n")), "neither has it");
    for finding in &shared.findings {
        assert!(!finding.message.contains("payments") && !finding.message.contains("billing"), "{finding:?}");
    }
    let stolen = of(vec![
        takes("payments-prod", "a", one("payments/prod/db")),
        takes("billing-prod", "b", one("payments/prod/other")),
    ]);
    assert_eq!(told(&stolen), [(Severity::Error, Reason::KeyNotAllowed)], "{:?}", stolen.findings);
    // By its name it is payments', who keeps it, and hears that it was known elsewhere.
    let named = of(vec![
        takes("payments-prod", "a", one("payments/prod/db")),
        takes("billing-prod", "b", one("payments/prod/db")),
    ]);
    let expected = [(Severity::Error, Reason::KeyNotAllowed), (Severity::Warning, Reason::KeyShared)];
    assert_eq!(told(&named), expected, "{:?}", named.findings);
    assert!(spec(&named, "ScopedSecret", "a").is_some() && spec(&named, "ScopedSecret", "b").is_none());
    let within = of(vec![
        takes("payments-prod", "a", one("payments/prod/db")),
        takes("payments-jobs", "b", one("payments/prod/db")),
    ]);
    assert_eq!(told(&within), [], "{:?}", within.findings);
    assert_eq!(spec(&within, "SegmentationPolicy", "tenants").unwrap()["rules"], json!({"exclusiveKeys": "Segment"}));
    let alone = of(vec![takes("payments-prod", "a", one("legacy/db"))]);
    assert_eq!(told(&alone), [(Severity::Warning, Reason::SharedPattern)], "{:?}", alone.findings);
    let outside = of(vec![takes("plain", "a", one("legacy/db"))]);
    assert_eq!(told(&outside), [(Severity::Error, Reason::SegmentLabelMissing)], "{:?}", outside.findings);
    let twins = of(vec![
        takes("payments-prod", "a", one("payments/prod/db")),
        takes(
            "payments-prod",
            "b",
            json!({"target": {"name": "a"}, "data": [{"secretKey": "x", "remoteRef": {"key": "payments/prod/db"}}]}),
        ),
    ]);
    assert_eq!(told(&twins), [(Severity::Error, Reason::NotCarriedOver)], "{:?}", twins.findings);
}

#[test]
fn nobody_is_made_a_consumer_who_was_not_seen() {
    let found = Found {
        namespaces: namespaces(),
        objects: vec![store(json!({})), takes("payments-prod", "a", one("payments/prod/db"))],
        ..Found::default()
    };
    let made = carry(&found, &Wishes::default(), NOW);
    assert_eq!(told(&made), [(Severity::Error, Reason::ConsumersRequired)], "{:?}", made.findings);
    assert_eq!(spec(&made, "ScopedSecret", "a").unwrap().get("consumers"), None);
}

#[test]
fn stores_of_one_identity_become_one() {
    let own = |namespace: &str, more: Value| Foreign {
        kind: ForeignKind::SecretStore,
        namespace: namespace.into(),
        ..store(more)
    };
    let takes = |namespace: &str| {
        let spec =
            json!({"secretStoreRef": {"name": "aws"}, "data": [{"secretKey": "value", "remoteRef": {"key": "db"}}]});
        theirs(ForeignKind::ExternalSecret, namespace, "a", spec)
    };
    let role = |account: &str| json!({"role": format!("arn:aws:iam::{account}:role/eso")});
    let prefix = |tenant: &str| json!({"prefix": format!("{tenant}/prod/")});
    let both = made(vec![
        own("payments-prod", prefix("payments")),
        own("billing-prod", prefix("billing")),
        takes("payments-prod"),
        takes("billing-prod"),
    ]);
    assert_eq!(told(&both), [], "{:?}", both.findings);
    assert_eq!(
        spec(&both, "ScopedSecret", "a").unwrap()["data"][0]["remoteRef"]["key"],
        "billing/prod/db",
        "the prefix is in the key"
    );
    assert_eq!(both.files[0].documents.len(), 1);
    let apart = made(vec![
        own("payments-prod", role("111111111111")),
        own("billing-prod", role("222222222222")),
        takes("payments-prod"),
        takes("billing-prod"),
    ]);
    let stores = ["aws", "aws-payments-prod"]
        .map(|name| spec(&apart, "ScopedSecretStore", name).unwrap()["aws"]["accountId"].clone());
    assert_eq!(stores, [json!("222222222222"), json!("111111111111")]);
    let losses: Vec<_> = told(&apart).into_iter().filter(|(_, reason)| *reason == Reason::NotCarriedOver).collect();
    assert_eq!(
        losses,
        [(Severity::Warning, Reason::NotCarriedOver); 2],
        "who must be trusted now: {:?}",
        apart.findings
    );
    let keys = json!({"auth": {"secretRef": {"accessKeyIDSecretRef": {"name": "k", "key": "a"}, "secretAccessKeySecretRef": {"name": "k", "key": "b"}}}});
    let keyed = made(vec![own("payments-prod", keys), takes("payments-prod")]);
    assert_eq!(
        spec(&keyed, "ScopedSecretStore", "aws").unwrap()["aws"]["auth"],
        json!({"secretRef": {"name": "aws-credentials"}})
    );
}

#[test]
fn stores_that_cannot_be_carried_over_are_told() {
    for (more, severity) in [
        (json!({"service": "ParameterStore"}), Severity::Error),
        (json!({"externalID": "x", "role": "arn:aws:iam::111111111111:role/a"}), Severity::Error),
        (json!({"additionalRoles": ["arn:aws:iam::111111111111:role/a"]}), Severity::Error),
        (json!({"auth": {"jwt": {"serviceAccountRef": {"name": "x"}}}}), Severity::Warning),
    ] {
        let made = made(vec![store(more.clone()), takes("payments-prod", "a", one("payments/prod/db"))]);
        let of_store: Vec<_> =
            made.findings.iter().filter(|finding| finding.subject.kind == "ClusterSecretStore").collect();
        assert!(of_store.iter().any(|finding| finding.severity == severity), "{more}: {:?}", made.findings);
    }
    let vault = theirs(ForeignKind::ClusterSecretStore, "", "aws", json!({"provider": {"vault": {"server": "x"}}}));
    let made = made(vec![vault, takes("payments-prod", "a", one("payments/prod/db"))]);
    assert_eq!(told(&made), [(Severity::Error, Reason::NotCarriedOver), (Severity::Error, Reason::StoreUnresolved)]);
    assert_eq!(made.files.len(), 1, "a file that says so, and nothing to apply");
}

#[test]
fn what_spreads_or_writes_is_told() {
    let objects = [(ForeignKind::ClusterExternalSecret, ""), (ForeignKind::PushSecret, "payments-prod")];
    let made = made(objects.map(|(kind, namespace)| theirs(kind, namespace, "x", json!({}))).into());
    assert_eq!(told(&made), [(Severity::Error, Reason::NotCarriedOver), (Severity::Error, Reason::WriteNotAllowed)]);
}

#[test]
fn both_may_have_their_secrets_for_a_while() {
    let wishes = Wishes { suffix: "-scoped".into(), ..Wishes::default() };
    let made = made_with(vec![store(json!({})), takes("payments-prod", "a", one("payments/prod/db"))], &wishes);
    assert_eq!(spec(&made, "ScopedSecret", "a").unwrap()["target"]["name"], "a-scoped");
}

/// Whatever is in their objects: no panic, and every ExternalSecret has a file.
#[test]
fn odd_objects_are_told_too() {
    for odd in [
        json!(null),
        json!([]),
        json!({"data": 1}),
        json!({"data": [null, 1, {"remoteRef": []}]}),
        json!({"dataFrom": {}}),
        json!({"dataFrom": [null, {"extract": 1}]}),
        json!({"target": 1}),
        json!({"target": {"template": []}}),
        json!({"secretStoreRef": 1}),
    ] {
        let made = made(vec![store(json!({})), theirs(ForeignKind::ExternalSecret, "payments-prod", "a", odd.clone())]);
        assert_eq!(made.files.len(), 1, "{odd}");
        assert!(made.files[0].text().starts_with("# Nothing of ExternalSecret"), "{odd}");
    }
}

/// Files may say what no API server would: none of it leads out of the folder, and no file replaces another.
#[test]
fn names_stay_in_the_folder() {
    let objects = ["../../x", "__/__/x", ".._.._x", "a\nb", "", "..", "platform"].map(|name| {
        theirs(ForeignKind::ExternalSecret, if name == "platform" { name } else { "payments-prod" }, name, one("a"))
    });
    let count = objects.len();
    let made = made(objects.into());
    let paths: BTreeSet<&str> = made.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(paths.len(), count, "{paths:?}");
    for path in paths {
        let parts: Vec<&str> = path.split('/').collect();
        assert!(
            parts.len() == 2 && parts.iter().all(|part| !part.starts_with('.')) && !path.contains('\n'),
            "{path:?}"
        );
    }
}

#[test]
fn what_names_no_key_is_told() {
    for spec in [json!({"data": []}), json!({"data": {"secretKey": "a"}}), json!(5), json!({})] {
        let object = theirs(ForeignKind::ExternalSecret, "payments-prod", "none", spec.clone());
        let told = told(&made(vec![store(json!({})), object]));
        assert!(told.contains(&(Severity::Error, Reason::NotCarriedOver)), "{spec}: {told:?}");
    }
}
