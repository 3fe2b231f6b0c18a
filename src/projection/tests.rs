//! Whole projections, as tables.

use std::collections::HashMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// Stands in every remote value; must stand in no message.
const CANARY: &str = "CANARY-kX9mQ2vL8nR5wT3z";
/// A property name that only the remote has.
const REMOTE_NAME: &str = "remoteonly";

fn remote() -> HashMap<(String, VersionAsked), RemoteValue> {
    let long = "x".repeat(65_536);
    let many: serde_json::Map<String, Value> = (0..513).map(|n| (format!("k{n}"), json!("v"))).collect();
    let wide = |n: usize| (0..n).map(|n| (format!("w{n}"), json!(long))).collect::<serde_json::Map<_, _>>();
    let values: Vec<(&str, Vec<u8>)> = vec![
        (
            "db",
            format!(
                r#"{{"username":"app","password":"{CANARY}","port":5432,"rate":1.10,"tls":true,"empty":"","none":null,"deep":{{"pw":"{CANARY}","n":[1]}}}}"#
            )
            .into(),
        ),
        ("api", format!(r#"{{"token":"{CANARY}","{REMOTE_NAME}":"","limit":1e3}}"#).into()),
        ("api2", format!(r#"{{"{REMOTE_NAME}":"{CANARY}"}}"#).into()),
        ("nested", format!(r#"{{"{REMOTE_NAME}":{{"a":"{CANARY}"}}}}"#).into()),
        ("null", format!(r#"{{"{REMOTE_NAME}":null}}"#).into()),
        ("badname", format!(r#"{{"{REMOTE_NAME} x":"{CANARY}"}}"#).into()),
        ("previous", format!(r#"{{"previous.{REMOTE_NAME}":"{CANARY}"}}"#).into()),
        ("longname", format!(r#"{{"{}":"{CANARY}"}}"#, REMOTE_NAME.repeat(26)).into()),
        ("twice", format!(r#"{{"{REMOTE_NAME}":"{CANARY}","{REMOTE_NAME}":"b","p":"c"}}"#).into()),
        ("surrogate", format!(r#"{{"{REMOTE_NAME}":"{CANARY}\ud800"}}"#).into()),
        ("inner", json!({"key.json": format!("\u{feff}{{\"private\": \"{CANARY}\"}}")}).to_string().into()),
        ("text", CANARY.into()),
        ("jsontext", format!("\"{CANARY}\"").into()),
        ("binary", [&[0xff], CANARY.as_bytes()].concat()),
        ("empty", Vec::new()),
        ("noprops", b"{}".to_vec()),
        ("long", long.clone().into()),
        ("wide16", serde_json::to_vec(&wide(16)).unwrap()),
        ("wide17", serde_json::to_vec(&wide(17)).unwrap()),
        ("many", serde_json::to_vec(&many).unwrap()),
        ("docker", br#"{"auths":{}}"#.to_vec()),
    ];
    let mut remote: HashMap<_, _> = values
        .into_iter()
        .map(|(key, bytes)| ((key.to_owned(), VersionAsked::Current), RemoteValue::from_bytes(bytes)))
        .collect();
    remote.insert(("db".into(), VersionAsked::Stage("AWSPREVIOUS".into())), RemoteValue::from_bytes(b"old".to_vec()));
    remote.insert(("db".into(), VersionAsked::Id("v1".into())), RemoteValue::from_bytes(b"first".to_vec()));
    remote
}

fn spec(parts: Value) -> ScopedSecretSpec {
    let mut whole = json!({"storeRef": {"name": "s"}});
    for (key, value) in parts.as_object().unwrap() {
        whole[key] = value.clone();
    }
    serde_json::from_value(whole).unwrap()
}

fn try_project(parts: Value) -> Result<Projection, ProjectionError> {
    let remote = remote();
    project(&spec(parts), &|key, asked| remote.get(&(key.to_owned(), asked.clone())))
}

/// `a=db#password` takes a property, `a=text` a whole value, `*=api` all properties.
fn sources(entries: &[&str]) -> Value {
    let (mut data, mut data_from) = (Vec::new(), Vec::new());
    for entry in entries {
        let (secret_key, from) = entry.split_once('=').unwrap();
        let (key, property) = from.split_once('#').map_or((from, None), |(k, p)| (k, Some(p)));
        if secret_key == "*" {
            data_from.push(json!({"remoteRef": {"key": key}}));
        } else {
            let mut remote_ref = json!({"key": key});
            if let Some(property) = property {
                remote_ref["property"] = json!(property);
            }
            data.push(json!({"secretKey": secret_key, "remoteRef": remote_ref}));
        }
    }
    json!({"data": data, "dataFrom": data_from})
}

fn with(entries: &[&str], target: Value) -> Value {
    let mut parts = sources(entries);
    parts["target"] = target;
    parts
}

fn shown(projection: &Projection) -> Vec<String> {
    projection.data.iter().map(|(k, v)| format!("{k}={}", String::from_utf8_lossy(v.expose()))).collect()
}

#[test]
fn values_arrive_as_they_are() {
    for (entries, expected) in [
        (&["a=text"][..], vec![format!("a={CANARY}")]),
        (&["a=db#password", "b=db#/deep/pw"], vec![format!("a={CANARY}"), format!("b={CANARY}")]),
        (
            &["a=db#port", "b=db#rate", "c=db#tls", "d=db#/deep/n/0"],
            vec!["a=5432".into(), "b=1.10".into(), "c=true".into(), "d=1".into()],
        ),
        (&["*=api"], vec!["limit=1e3".into(), format!("{REMOTE_NAME}="), format!("token={CANARY}")]),
        (
            &["*=api", "a=db#port"],
            vec!["a=5432".into(), "limit=1e3".into(), format!("{REMOTE_NAME}="), format!("token={CANARY}")],
        ),
    ] {
        assert_eq!(shown(&try_project(sources(entries)).unwrap()), expected, "{entries:?}");
    }
    let binary = try_project(sources(&["a=binary"])).unwrap();
    assert_eq!(binary.data["a"].expose()[0], 0xff);
}

#[test]
fn the_version_asked_for_is_the_one_taken() {
    let parts = json!({"data": [
        {"secretKey": "a", "remoteRef": {"key": "db", "versionStage": "AWSPREVIOUS"}},
        {"secretKey": "b", "remoteRef": {"key": "db", "versionId": "v1"}},
    ]});
    assert_eq!(shown(&try_project(parts).unwrap()), ["a=old", "b=first"]);
}

#[test]
fn templates_add_to_the_data() {
    let target = json!({"template": {
        "labels": {"team": "payments"}, "annotations": {"example.com/a": "{{ literal }}"},
        "data": {"URL": "postgres://{{ username }}:{{ password | urlencode }}@db:{{ secrets['p.x'] }}/orders"}}});
    let projection =
        try_project(with(&["username=db#username", "password=db#password", "p.x=db#port"], target)).unwrap();
    assert_eq!(projection.data["URL"].expose(), format!("postgres://app:{CANARY}@db:5432/orders").as_bytes());
    assert_eq!(projection.data.len(), 4);
    assert_eq!(projection.labels["team"], "payments");
    assert_eq!(projection.annotations["example.com/a"], "{{ literal }}");
    assert_eq!(projection.compared.len(), 3, "templates are not compared");
}

#[test]
fn each_fault_has_its_reason_and_gives_nothing_away() {
    let text = |source: &str| json!({"template": {"data": {"OUT": source}}});
    for (parts, reason, told) in [
        (sources(&["a=absent"]), Reason::RemoteIncomplete, "\"a\""),
        (sources(&["a=db#passwrod"]), Reason::PropertyMissing, "passwrod"),
        (sources(&["a=db#/deep/no"]), Reason::PropertyMissing, "/deep/no"),
        (sources(&["a=db#deep"]), Reason::PropertyInvalid, "\"deep\""),
        (sources(&["a=db#/deep/n"]), Reason::PropertyInvalid, "/deep/n"),
        (sources(&["a=db#none"]), Reason::PropertyInvalid, "\"none\""),
        (sources(&["a=text#p"]), Reason::NotJson, "\"a\""),
        (sources(&["a=text#/p"]), Reason::NotJson, "\"a\""),
        (sources(&["a=jsontext#p"]), Reason::NotJson, "\"a\""),
        (sources(&["a=binary#p"]), Reason::NotJson, "binary"),
        (sources(&["a=twice#p"]), Reason::NotJson, "two properties"),
        (sources(&["a=empty"]), Reason::EmptyValue, "\"a\""),
        (sources(&["a=empty#p"]), Reason::EmptyValue, "\"a\""),
        (sources(&["a=db#empty"]), Reason::EmptyValue, "\"empty\""),
        (sources(&["*=empty"]), Reason::EmptyValue, "dataFrom[0]"),
        (sources(&["*=noprops"]), Reason::EmptyValue, "dataFrom[0]"),
        (sources(&["*=text"]), Reason::NotJson, "data"),
        (sources(&["*=jsontext"]), Reason::NotJson, "data"),
        (sources(&["*=binary"]), Reason::NotJson, "binary"),
        (sources(&["*=twice"]), Reason::NotJson, "two properties"),
        (sources(&["*=surrogate"]), Reason::NotJson, "\"surrogate\""),
        (sources(&["*=nested"]), Reason::PropertyInvalid, "\"nested\""),
        (sources(&["*=null"]), Reason::PropertyInvalid, "\"null\""),
        (sources(&["*=badname"]), Reason::InvalidSecretKey, "\"badname\""),
        (sources(&["*=previous"]), Reason::InvalidSecretKey, "\"previous\""),
        (sources(&["*=longname"]), Reason::InvalidSecretKey, "\"longname\""),
        (sources(&["previous.a=text"]), Reason::InvalidSecretKey, "previous.a"),
        (sources(&["..a=text"]), Reason::InvalidSecretKey, "..a"),
        (sources(&["a=text", "a=text"]), Reason::DuplicateSecretKey, "\"a\""),
        (sources(&["token=text", "*=api"]), Reason::DuplicateSecretKey, "\"token\""),
        (sources(&["*=api", "*=api2"]), Reason::DuplicateSecretKey, "\"api2\""),
        (with(&["OUT=text"], text("x")), Reason::DuplicateSecretKey, "\"OUT\""),
        (with(&["*=api"], json!({"template": {"data": {"token": "x"}}})), Reason::DuplicateSecretKey, "\"token\""),
        (with(&["a=text"], json!({"template": {"data": {"a b": "x"}}})), Reason::InvalidSecretKey, "a b"),
        (with(&["a=text"], text("{{ b }}")), Reason::TemplateFailed, "\"OUT\", line 1,"),
        (with(&["a=text"], text("{{ a")), Reason::TemplateFailed, "\"OUT\""),
        (with(&["a=text"], text("{{ a | b64decode }}")), Reason::TemplateFailed, "\"OUT\""),
        (with(&["a=text"], text("{{ a | int }}")), Reason::TemplateFailed, "\"OUT\""),
        (with(&["a=text"], text("{{ a.b.c }}")), Reason::TemplateFailed, "\"OUT\""),
        (with(&["a=text"], text("{{ a | nofilter }}")), Reason::TemplateFailed, "nofilter"),
        (with(&["a=binary"], text("{{ a }}")), Reason::TemplateFailed, "\"OUT\""),
        (with(&["*=api"], text("{{ nothing }}")), Reason::TemplateFailed, "nothing"),
        (
            with(&["a=text"], json!({"template": {"labels": {"app.kubernetes.io/name": "x"}}})),
            Reason::TemplateMetadataNotAllowed,
            "app.kubernetes.io/name",
        ),
        (with(&["a=text"], json!({"type": "kubernetes.io/tls"})), Reason::TargetTypeInvalid, "tls.crt"),
        (
            with(&[".dockerconfigjson=text"], json!({"type": "kubernetes.io/dockerconfigjson"})),
            Reason::TargetTypeInvalid,
            ".dockerconfigjson",
        ),
        (sources(&["*=wide17"]), Reason::SecretTooLarge, "1048576"),
        (sources(&["*=wide16", "a=text"]), Reason::SecretTooLarge, "1048576"),
        (sources(&["*=many"]), Reason::SecretTooLarge, "512"),
    ] {
        let error = try_project(parts.clone()).expect_err(&parts.to_string());
        assert_eq!(error.reason, reason, "{parts}: {}", error.message);
        assert!(error.message.contains(told), "{parts}: {}", error.message);
        for secret in [CANARY, REMOTE_NAME] {
            assert!(!format!("{error} {error:?}").contains(secret), "{parts}: {}", error.message);
        }
        assert!(error.message.len() < 1024, "{}", error.message);
    }
}

#[test]
fn a_secret_of_exactly_the_limit_is_fine() {
    assert!(try_project(sources(&["*=wide16"])).is_ok());
    assert!(
        try_project(with(&[".dockerconfigjson=docker"], json!({"type": "kubernetes.io/dockerconfigjson"}))).is_ok()
    );
}

#[test]
fn a_value_is_compared_alone_and_inside_its_document() {
    let compared = |entries: &[&str]| -> Vec<String> {
        let projection = try_project(sources(entries)).unwrap();
        projection
            .compared
            .iter()
            .filter(|c| c.value.expose() == CANARY.as_bytes())
            .map(|c| c.names.join(","))
            .collect()
    };
    assert_eq!(compared(&["username=text"]), [""], "the tenant's choice of a secretKey hides nothing");
    assert_eq!(compared(&["username=db#password"]), ["password"], "renaming does not hide it from comparison");
    assert_eq!(compared(&["username=db#/deep/pw"]), ["/deep/pw,pw"]);
    assert_eq!(compared(&["username=db"]), ["password", "pw"]);
    assert_eq!(compared(&["username=jsontext"]), [""]);
    assert_eq!(compared(&["*=api"]), ["token"]);
    for (entry, names) in [
        ("a=inner#key.json", "key.json,private"),
        ("private=inner#/key.json", "/key.json,key.json,private"),
        ("*=inner", "key.json,private"),
    ] {
        assert_eq!(compared(&[entry]), [names], "a document in a property: {entry}");
    }
    let whole = try_project(sources(&["username=db"])).unwrap();
    assert!(whole.compared.iter().any(|c| c.names.is_empty() && c.value.expose().starts_with(b"{")));
}

#[test]
fn what_needs_no_value_is_checked_without() {
    let text = |source: &str| json!({"template": {"data": {"OUT": source}}});
    for (parts, expected) in [
        (sources(&["a=text"]), None),
        (with(&["*=api"], text("{{ token }}")), None),
        (with(&["*=api"], json!({"type": "kubernetes.io/tls"})), None),
        (with(&["tls.crt=a", "tls.key=b"], json!({"type": "kubernetes.io/tls"})), None),
        (with(&["username=a"], json!({"type": "kubernetes.io/basic-auth"})), None),
        (with(&["a=a"], json!({"type": "kubernetes.io/basic-auth"})), Some(Reason::TargetTypeInvalid)),
        (with(&["a=a"], json!({"type": "kubernetes.io/tls"})), Some(Reason::TargetTypeInvalid)),
        (sources(&["a=a", "a=b"]), Some(Reason::DuplicateSecretKey)),
        (with(&["OUT=a"], text("x")), Some(Reason::DuplicateSecretKey)),
        (with(&["a=a"], text("{{ a")), Some(Reason::TemplateFailed)),
        (with(&["a=a"], text("{% include 'x' %}")), Some(Reason::TemplateFailed)),
        (with(&["a=a"], json!({"template": {"data": {"previous.a": "x"}}})), Some(Reason::InvalidSecretKey)),
        (
            with(&["a=a"], json!({"template": {"labels": {"helm.sh/chart": "x"}}})),
            Some(Reason::TemplateMetadataNotAllowed),
        ),
    ] {
        assert_eq!(check_spec(&spec(parts.clone())).map_err(|e| e.reason).err(), expected, "{parts}");
    }
}

#[test]
fn a_projection_and_its_secret_read_back_have_the_same_content() {
    use k8s_openapi::ByteString;
    use k8s_openapi::api::core::v1::Secret;
    let projection = try_project(with(&["a=text"], json!({"template": {"labels": {"team": "x"}}}))).unwrap();
    let mut live = Secret {
        type_: Some("Opaque".into()),
        data: Some(projection.data.iter().map(|(k, v)| (k.clone(), ByteString(v.expose().to_vec()))).collect()),
        ..Secret::default()
    };
    live.metadata.labels = Some([("team".into(), "x".into()), ("foreign".into(), "y".into())].into());
    let expected = content_bytes(
        "Opaque",
        false,
        projection.data.iter().map(|(k, v)| (k.as_str(), v.expose())),
        projection.labels.iter().map(|(k, v)| (k.as_str(), v.as_str())),
        std::iter::empty(),
    );
    let read_back = |live: &Secret| {
        content_bytes(
            live.type_.as_deref().unwrap(),
            live.immutable.unwrap_or(false),
            live.data.iter().flatten().map(|(k, v)| (k.as_str(), v.0.as_slice())),
            live.metadata
                .labels
                .iter()
                .flatten()
                .filter(|(k, _)| projection.labels.contains_key(*k))
                .map(|(k, v)| (k.as_str(), v.as_str())),
            std::iter::empty(),
        )
    };
    assert_eq!(*read_back(&live), *expected);
    live.metadata.labels.as_mut().unwrap().remove("team");
    assert_ne!(*read_back(&live), *expected);
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map("[a-e./~ ]{0,4}", inner, 0..6)
                .prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

fn any_template() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("{{ "),
        Just(" }}"),
        Just("{% if "),
        Just("{% for x in "),
        Just(" %}"),
        Just("{% endif %}"),
        Just("{% endfor %}"),
        Just("{% set x = "),
        Just("a"),
        Just("x"),
        Just("secrets"),
        Just("['a']"),
        Just(" ~ "),
        Just(" + "),
        Just(" | tojson"),
        Just(" | b64encode"),
        Just(" | split"),
        Just(" | join"),
        Just("[a, 1]"),
        Just("{'k': a}"),
        Just("'s'"),
        Just("-1"),
        Just("[1:]"),
        Just(" in "),
        Just(" is defined"),
        Just(" * 9"),
        Just("("),
        Just(")"),
        Just("\n"),
        Just("å"),
        Just("{#"),
        Just("\\"),
    ];
    prop_oneof![prop::collection::vec(piece, 0..24).prop_map(|p| p.concat()), "\\PC{0,64}"]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_panics_and_no_error_shows_a_value(
        value in any_json(), bytes in prop::collection::vec(any::<u8>(), 0..64), cut in any::<prop::sample::Index>(),
        property in "[a-e./~0-9]{0,6}", template in any_template(),
    ) {
        let mut text = json!({"a": CANARY, "v": value}).to_string().into_bytes();
        if cut.index(4) == 0 {
            text.truncate(cut.index(text.len()));
        }
        let values = [RemoteValue::from_bytes(text), RemoteValue::from_bytes(bytes), RemoteValue::from_bytes(value.to_string().into())];
        let fetched = |key: &str, _: &VersionAsked| key.parse::<usize>().ok().and_then(|n| values.get(n));
        for entries in [vec![format!("a=0#{property}")], vec![format!("a=0#/{property}")], vec!["*=0".into()], vec!["*=2".into()],
                        vec!["a=0#a".into(), "b=1".into()], vec!["a=0".into(), "c=2".into()]] {
            let entries: Vec<&str> = entries.iter().map(String::as_str).collect();
            let spec = spec(with(&entries, json!({"template": {"data": {"OUT": template}}})));
            let checked = check_spec(&spec);
            match project(&spec, &fetched) {
                Ok(projection) => {
                    prop_assert!(checked.is_ok());
                    prop_assert!(projection.data.keys().all(|key| secret::is_key(key)));
                }
                Err(error) => prop_assert!(!error.to_string().contains(CANARY), "{}", error),
            }
        }
    }
}
