//! Argo CD's scripts, in its own test layout and in its ConfigMap.

use super::judge::{ROOT, SCRIPTS, ask};
use super::written::{objects, text};
use scoped_secrets::api::{REFRESH_AT_ANNOTATION, ROTATE_AT_ANNOTATION};
use serde_json::Value;
use std::path::Path;

#[test]
fn the_cases_of_the_scripts_pass() {
    let passed = ask(&["cases", SCRIPTS], &Value::Null).unwrap_or_else(|said| panic!("{said}"));
    let passed: Vec<String> = serde_json::from_value(passed).unwrap();
    for kind in ["ScopedSecret", "ScopedSecretStore", "SegmentationPolicy", "SecretGrant", "KeyRevocation"] {
        assert!(passed.iter().any(|case| case.starts_with("health ") && case.contains(&format!("/{kind}/"))), "{kind}");
    }
    for action in ["discovery", "refresh", "rotate", "revoke"] {
        assert!(passed.iter().any(|case| case.starts_with(action)), "{action}: {passed:?}");
    }
}

/// A case that is wrong fails; a script gets no more than Argo CD gives it.
#[test]
fn the_judge_can_say_no() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let kind = folder.path().join("scopedsecrets.io/ScopedSecret");
    std::fs::create_dir_all(&kind).unwrap();
    let write = |name: &str, text: &str| std::fs::write(kind.join(name), text).unwrap();
    let cases = || ask(&["cases", folder.path().to_str().unwrap()], &Value::Null);
    assert!(cases().unwrap_err().contains("there is no case"));
    write("a.yaml", "{apiVersion: scopedsecrets.io/v1alpha1, kind: ScopedSecret}");
    write("health_test.yaml", "tests: [{inputPath: a.yaml, healthStatus: {status: Healthy, message: a}}]");
    write("health.lua", "return {status = 'Healthy', message = 'a'}");
    cases().unwrap();
    for (script, says) in [
        ("return {status = 'Healthy', message = 'b'}", "expected"),
        ("return {status = 'Fine', message = 'a'}", "does not know"),
        ("return {status = 'Healthy', message = string.sub('ab', 1, 1)}", "index"),
        ("return {status = 'Healthy', message = os.getenv('HOME')}", "call a non-function"),
        ("while true do end", "deadline"),
    ] {
        write("health.lua", script);
        let said = cases().unwrap_err();
        assert!(said.contains(says), "{script}: {said}");
    }
}

#[test]
fn actions_set_the_annotations_that_the_operator_reads() {
    let script = |action: &str| {
        text(&format!(
            "deploy/argocd/resource_customizations/scopedsecrets.io/ScopedSecret/actions/{action}/action.lua"
        ))
    };
    for (action, annotation) in
        [("refresh", REFRESH_AT_ANNOTATION), ("rotate", ROTATE_AT_ANNOTATION), ("revoke", "scopedsecrets.io/revoke")]
    {
        assert!(script(action).contains(&format!("[\"{annotation}\"]")), "{action}");
    }
}

/// What users apply says what was tested.
#[test]
fn the_config_map_has_the_scripts() {
    let map = &objects(&text("deploy/argocd/argocd-cm.yaml"))[0];
    let key = |about: &str, kind: &str| {
        map["data"][format!("resource.customizations.{about}.scopedsecrets.io_{kind}")].as_str().unwrap().to_owned()
    };
    let group = "deploy/argocd/resource_customizations/scopedsecrets.io";
    let health = text(&format!("{group}/ScopedSecret/health.lua"));
    for kind in std::fs::read_dir(Path::new(ROOT).join(group)).unwrap() {
        let kind = kind.unwrap().file_name().into_string().unwrap();
        assert_eq!(key("health", &kind), health, "{kind}");
        assert!(text(&format!("{group}/{kind}/health.lua")).ends_with(&health), "{kind}");
    }
    let actions: Value = serde_saphyr::from_str(&key("actions", "ScopedSecret")).unwrap();
    assert_eq!(actions["discovery.lua"], text(&format!("{group}/ScopedSecret/actions/discovery.lua")));
    let named: Vec<&str> =
        actions["definitions"].as_array().unwrap().iter().map(|a| a["name"].as_str().unwrap()).collect();
    assert_eq!(named, ["refresh", "rotate", "revoke"]);
    for definition in actions["definitions"].as_array().unwrap() {
        let name = definition["name"].as_str().unwrap();
        let path = format!("{group}/ScopedSecret/actions/{name}/action.lua");
        assert_eq!(definition["action.lua"], text(&path), "{name}");
    }
}
