//! Values that cannot become a Secret: nothing is half-written, and the message names what the user wrote.

use crate::bed::{Case, How, whole};
use crate::support::stub_manager::Says;

/// What the manager has under the key of the ScopedSecret's name.
fn remote(case: &Case) {
    let long = |n: usize| format!("canary-projection-long-{}", "x".repeat(n));
    let document = r#"{"password": "canary-projection-kX9mQ2vL8nR", "port": 5432, "on": true, "nothing": null, "empty": "",
        "database": {"password": "canary-projection-nested-kX9"}, "list": ["canary-projection-list-kX9mQ"]}"#;
    for name in
        ["missing", "object", "list", "nothing", "empty-property", "scalars", "pointer", "no-pointer", "from-nested"]
    {
        case.text(name, document);
    }
    case.text("no-json", "canary-projection-plain-text-kX9");
    case.text("broken-json", r#"{"password": "canary-projection-broken-kX9"#);
    case.text("array", r#"["canary-projection-array-kX9mQ2v"]"#);
    case.text("twice", r#"{"password": "canary-projection-twice-1-kX9", "password": "canary-projection-twice-2-kX9"}"#);
    case.text("from-text", "canary-projection-from-text-kX9m");
    case.text("bad-name", r#"{"canary-projection bad name": "canary-projection-bad-name-kX9"}"#);
    for name in ["binary", "from-binary", "binary-whole"] {
        case.says(name, Says::Binary(b"\xff\x00canary-projection-binary-kX9".to_vec()));
    }
    case.text("empty", "");
    case.text("long", &long(70 * 1024));
    (0..18).for_each(|i| case.text(&format!("part-{i}"), &long(60_000 + i)));
    case.text("alike", r#"{"password": "canary-projection-alike-1-kX9"}"#);
    case.text("alike-2", r#"{"password": "canary-projection-alike-2-kX9"}"#);
    case.text("from-alike", r#"{"user": "canary-projection-alike-3-kX9"}"#);
    case.text("from-alike-2", r#"{"user": "canary-projection-alike-4-kX9"}"#);
    for name in ["template-unknown", "template-fails", "template-binary", "half-tls"] {
        case.text(name, r#"{"a": "canary-projection-template-kX9!"}"#);
    }
    case.says("template-binary", Says::Binary(b"\xfe\x00canary-projection-in-template".to_vec()));
}

fn property(key: &str, property: &str) -> String {
    format!("data: [{{secretKey: value, remoteRef: {{key: KEY/{key}, property: {property}}}}}]")
}

fn every(key: &str) -> String {
    format!("dataFrom: [{{remoteRef: {{key: KEY/{key}}}}}]")
}

fn template(key: &str, text: &str) -> String {
    format!("{}\ntarget: {{template: {{data: {{rendered: '{text}'}}}}}}", every(key))
}

#[test]
fn nothing_is_half_written() {
    let case = Case::new("projection");
    remote(&case);
    let parts: String =
        (0..18).map(|i| format!("- {{secretKey: part-{i}, remoteRef: {{key: KEY/part-{i}}}}}\n")).collect();
    let here = "secretKey \"value\"";
    let table: Vec<(&str, String, &str, Vec<&str>)> = vec![
        ("missing", property("missing", "passwrd"), "PropertyMissing", vec![here, "\"passwrd\"", "correct property"]),
        ("no-pointer", property("no-pointer", "/database/user"), "PropertyMissing", vec![here, "\"/database/user\""]),
        ("object", property("object", "database"), "PropertyInvalid", vec![here, "\"database\"", "/database/password"]),
        ("list", property("list", "list"), "PropertyInvalid", vec![here, "\"list\""]),
        ("nothing", property("nothing", "nothing"), "PropertyInvalid", vec![here, "\"nothing\""]),
        ("empty-property", property("empty-property", "empty"), "EmptyValue", vec![here, "store a value"]),
        ("no-json", property("no-json", "password"), "NotJson", vec![here, "take it whole"]),
        ("broken-json", property("broken-json", "password"), "NotJson", vec![here, "store JSON"]),
        ("array", property("array", "password"), "NotJson", vec![here, "not a JSON object"]),
        ("twice", property("twice", "password"), "NotJson", vec![here, "two properties of one name"]),
        ("binary", property("binary", "password"), "NotJson", vec![here, "binary", "take it whole"]),
        ("from-binary", every("from-binary"), "NotJson", vec!["dataFrom[0]", "binary", "take it by data"]),
        ("from-text", every("from-text"), "NotJson", vec!["dataFrom[0]", "take it by data"]),
        ("from-nested", every("from-nested"), "PropertyInvalid", vec!["dataFrom[0]", "JSON pointer"]),
        ("bad-name", every("bad-name"), "InvalidSecretKey", vec!["dataFrom[0]", "secretKey of your own"]),
        ("empty", whole("empty"), "EmptyValue", vec![here, "the remote value is empty"]),
        ("long", whole("long"), "RemoteTooLarge", vec!["KEY/long", "65536 bytes", "split it"]),
        ("parts", format!("data:\n{parts}"), "SecretTooLarge", vec!["1048576 bytes", "claim less here"]),
        (
            "alike",
            format!("data: [{{secretKey: password, remoteRef: {{key: KEY/alike-2}}}}]\n{}", every("alike")),
            "DuplicateSecretKey",
            vec!["\"password\"", "rename or remove one"],
        ),
        (
            "from-alike",
            "dataFrom: [{remoteRef: {key: KEY/from-alike}}, {remoteRef: {key: KEY/from-alike-2}}]".into(),
            "DuplicateSecretKey",
            vec!["KEY/from-alike-2", "take one of them by data"],
        ),
        (
            "template-unknown",
            template("template-unknown", "{{ a }} {{ b }}"),
            "TemplateFailed",
            vec!["\"rendered\"", "(b)", "correct it"],
        ),
        ("template-fails", template("template-fails", "{{ a | b64decode }}"), "TemplateFailed", vec!["\"rendered\""]),
        (
            "template-binary",
            "data: [{secretKey: a, remoteRef: {key: KEY/template-binary}}]\ntarget: {template: {data: {rendered: 'x{{ a }}'}}}".into(),
            "TemplateFailed",
            vec!["\"rendered\"", "b64encode"],
        ),
        (
            "half-tls",
            format!("{}\ntarget: {{type: kubernetes.io/tls}}", every("half-tls")),
            "TargetTypeInvalid",
            vec!["kubernetes.io/tls", "tls.crt"],
        ),
    ];
    let yaml: Vec<String> = table.iter().map(|(name, spec, ..)| case.yaml(name, spec)).collect();
    case.bed.apply(&yaml.join("---\n"));
    for (name, _, reason, says) in &table {
        case.told(name, How::Invalid, reason, says);
        case.no_secret(name);
    }
    // What works beside it.
    case.claim(
        "scalars",
        "data:\n- {secretKey: port, remoteRef: {key: KEY/scalars, property: port}}\n- {secretKey: \"on\", remoteRef: {key: KEY/scalars, property: \"on\"}}",
    );
    case.claim("pointer", &property("pointer", "/database/password"));
    case.claim("binary-whole", &whole("binary-whole"));
    case.is_ready("scalars");
    case.holds("scalars", "port", "5432");
    case.holds("scalars", "on", "true");
    case.is_ready("pointer");
    case.holds("pointer", "value", "canary-projection-nested-kX9");
    case.is_ready("binary-whole");
    assert_eq!(
        case.secret("binary-whole").unwrap()["data"]["value"],
        "/wBjYW5hcnktcHJvamVjdGlvbi1iaW5hcnkta1g5",
        "bytes as they are"
    );
}

#[test]
fn what_stands_stays_when_the_remote_turns_bad() {
    let case = Case::new("turned-bad");
    case.text("db", r#"{"password": "canary-turned-bad-good-kX9mQ2"}"#);
    case.claim("db", &property("db", "password"));
    case.is_ready("db");
    let before = case.secret("db").unwrap();
    for (text, reason) in [
        (r#"{"passwort": "canary-turned-bad-renamed-kX9"}"#, "PropertyMissing"),
        ("canary-turned-bad-no-json-kX9mQ2", "NotJson"),
        (r#"{"password": ""}"#, "EmptyValue"),
    ] {
        case.text("db", text);
        case.refresh("db");
        case.told("db", How::Invalid, reason, &["secretKey \"value\""]);
        let after = case.secret("db").unwrap();
        assert_eq!(before, after, "{reason}: the last good value stays as it is");
    }
    case.text("db", r#"{"password": "canary-turned-bad-better-kX9m"}"#);
    case.refresh("db");
    case.is_ready("db");
    case.holds("db", "value", "canary-turned-bad-better-kX9m");
}

#[test]
fn what_can_be_seen_in_the_spec_is_refused_at_apply() {
    let case = Case::new("spec-alone");
    let data = "data: [{secretKey: a, remoteRef: {key: KEY/x}}]";
    for (spec, parts) in [
        (
            format!("{data}\ntarget: {{template: {{data: {{b: '{{{{ a'}}}}}}"),
            ["TemplateFailed", "is not a valid template"],
        ),
        (format!("{data}\ntarget: {{template: {{data: {{b: '{{% include a %}}'}}}}}}"), ["TemplateFailed", "\"b\""]),
        // What could loop or grow without bounds is not in the language.
        (
            format!(
                "{data}\ntarget: {{template: {{data: {{b: '{{% for i in range(9000) %}}{{{{ a }}}}{{% endfor %}}'}}}}}}"
            ),
            ["TemplateFailed", "there are only filters"],
        ),
        (
            format!("{data}\ntarget: {{template: {{data: {{b: '{{{{ a * 1000000000 }}}}'}}}}}}"),
            ["TemplateFailed", "\"b\""],
        ),
        (format!("{data}\ntarget: {{template: {{data: {{a: x}}}}}}"), ["DuplicateSecretKey", "rename or remove one"]),
        (format!("{data}\ntarget: {{template: {{data: {{'..b': x}}}}}}"), ["InvalidSecretKey", "\"..b\""]),
        (format!("{data}\ntarget: {{type: kubernetes.io/tls}}"), ["TargetTypeInvalid", "tls.crt"]),
        (
            format!("{data}\ntarget: {{template: {{labels: {{app.kubernetes.io/name: x}}}}}}"),
            ["TemplateMetadataNotAllowed", "remove it"],
        ),
        (
            format!("{data}\ntarget: {{template: {{annotations: {{scopedsecrets.io/seal: x}}}}}}"),
            ["TemplateMetadataNotAllowed", "scopedsecrets.io"],
        ),
        (format!("{data}\ntarget: {{type: example.com/own}}"), ["TargetTypeNotAllowed", "rules.targetTypes"]),
        (format!("{data}\ndeletionPolicy: Retain"), ["RetainNotAllowed", "remove it"]),
        (
            "data: [{secretKey: a, remoteRef: {key: KEY/x, versionStage: AWSPREVIOUS}}]".into(),
            ["ActionNotAllowed", "remove them"],
        ),
    ] {
        case.bed.refuses(&case.yaml("refused", &spec), &parts);
    }
    let no_consumers =
        case.yaml("refused", data).replace("consumers: [{serviceAccountName: refused}]", "consumers: []");
    case.bed.refuses(&no_consumers, &["ConsumersRequired", "spec.consumers"]);
}

/// AWSCURRENT spelt out is what is read anyway.
#[test]
fn the_current_stage_by_its_name() {
    let case = Case::new("current-stage");
    case.text("db", "canary-current-stage-kX9mQ2vL8nR5");
    case.claim("db", "data: [{secretKey: value, remoteRef: {key: KEY/db, versionStage: AWSCURRENT}}]");
    case.is_ready("db");
    case.holds("db", "value", "canary-current-stage-kX9mQ2vL8nR5");
}
