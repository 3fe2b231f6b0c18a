//! A Secret that is not ours is never overwritten, adopted or deleted; and what becomes of ours when things go.

use crate::bed::{Case, How, whole};
use crate::support::foreign_policy;
use crate::support::operator::USER;
use crate::support::stub_manager::Mood;
use crate::support::tenants::{SOON, condition};
use crate::support::wait::eventually;

#[test]
fn a_target_that_is_not_ours() {
    let case = Case::new("foreign");
    let foreign = "apiVersion: v1\nkind: Secret\nmetadata: {name: db, namespace: foreign}\nstringData: {mine: canary-foreign-own-kX9mQ2vL8nR}\n";
    case.bed.apply(foreign);
    let before = case.secret("db").unwrap();
    case.text("db", "canary-foreign-kX9mQ2vL8nR5wT3z1");
    case.claim("db", &whole("db"));
    case.told(
        "db",
        How::Invalid,
        "TargetConflict",
        &["\"db\"", "it is untouched", "choose another target.name, or delete"],
    );
    case.refresh("db");
    case.told("db", How::Invalid, "TargetConflict", &[]);
    assert_eq!(case.secret("db").unwrap(), before, "untouched");
    // One that pretends: our label, and a seal of nobody's.
    case.bed.kubectl(&["label", "secret", "db", "-n", case.name, "app.kubernetes.io/managed-by=scoped-secrets"]);
    case.bed.kubectl(&["annotate", "secret", "db", "-n", case.name, "scopedsecrets.io/seal=v1.00000000.AAAA"]);
    case.told("db", How::Invalid, "TargetConflict", &[]);
    let status = case.bed.cluster.get_json("scopedsecret", case.name, "db").unwrap()["status"].clone();
    assert!(status["secretRef"].is_null() && status["binding"].is_null(), "{status}");
    assert_eq!(case.secret("db").unwrap()["data"], before["data"]);
    case.bed.kubectl(&["delete", "secret", "db", "-n", case.name]);
    case.is_ready("db");
    case.holds("db", "value", "canary-foreign-kX9mQ2vL8nR5wT3z1");
}

/// Nobody watches a Secret without our label: the operator must come back by itself.
#[test]
fn a_target_that_is_not_ours_goes() {
    let case = Case::new("foreign-goes");
    case.bed.apply("apiVersion: v1\nkind: Secret\nmetadata: {name: db, namespace: foreign-goes}\n");
    case.text("db", "canary-foreign-goes-kX9mQ2vL8nR5");
    case.claim("db", &whole("db"));
    case.told("db", How::Invalid, "TargetConflict", &[]);
    case.bed.kubectl(&["delete", "secret", "db", "-n", case.name]);
    case.is_ready("db");
    case.holds("db", "value", "canary-foreign-goes-kX9mQ2vL8nR5");
}

#[test]
fn a_target_of_another_scoped_secret() {
    let case = Case::new("two-owners");
    case.projected("db", "canary-two-owners-first-kX9mQ2vL");
    let before = case.secret("db").unwrap();
    case.text("second", "canary-two-owners-second-kX9mQ2v");
    case.claim("second", &format!("{}\ntarget: {{name: db}}", whole("second")));
    case.told("second", How::Invalid, "TargetConflict", &["\"db\"", "choose another target.name"]);
    case.refresh("second");
    case.told("second", How::Invalid, "TargetConflict", &[]);
    case.is_ready("db");
    assert_eq!(case.secret("db").unwrap(), before, "untouched");
    case.bed.kubectl(&["delete", "scopedsecret", "db", "-n", case.name]);
    case.is_ready("second");
    case.holds("db", "value", "canary-two-owners-second-kX9mQ2v");
}

#[test]
fn a_scoped_secret_deleted_while_its_provider_is_down() {
    let case = Case::new("deleted-down");
    case.projected("db", "canary-deleted-down-kX9mQ2vL8nR5");
    case.text("never", "canary-deleted-down-never-kX9mQ2");
    case.stub.set_mood(Mood::Down);
    case.refresh("db");
    case.told("db", How::LastGood, "ProviderUnavailable", &[]);
    case.claim("never", &whole("never"));
    case.told("never", How::Waiting, "ProviderUnavailable", &[]);
    // No finalizer: kubectl returns at once.
    case.bed.kubectl(&["delete", "scopedsecret", "db", "never", "-n", case.name, "--timeout=10s"]);
    case.secret_goes("db");
    case.no_secret("never");
}

#[test]
fn a_namespace_that_terminates() {
    let case = Case::new("terminating");
    case.projected("db", "canary-terminating-kX9mQ2vL8nR5w");
    // Somebody's finalizers keep the ScopedSecret, and the namespace, for a while.
    case.finalizer("db", Some("example.com/waits"));
    case.bed.kubectl(&["delete", "namespace", case.name, "--wait=false"]);
    case.secret_goes("db");
    let mark = case.bed.cluster.audit_mark();
    case.refresh("db");
    case.bed.kubectl(&["patch", "namespace", case.name, "--type=merge", "-p", r#"{"metadata":{"labels":{"x":"y"}}}"#]);
    eventually("the namespace was seen", SOON, || {
        let log = case.operator().unwrap().logged();
        if log.is_empty() { Err("no log") } else { Ok(()) }
    });
    case.no_secret("db");
    case.finalizer("db", None);
    eventually("the namespace goes", SOON * 2, || match case.bed.cluster.get_json("namespace", None, case.name) {
        None => Ok(()),
        Some(left) => Err(left["status"].to_string()),
    });
    let tried = case.bed.cluster.audit_since(mark).user(USER).namespace("terminating").resource("secrets").writes();
    assert!(tried.len() <= 1, "it writes into a namespace that goes: {tried:?}");
}

/// A finalizer of the user's own keeps no Secret from being withdrawn.
#[test]
fn a_deleted_claim_that_lingers_loses_its_secret_with_its_policy() {
    let case = Case::new("lingers");
    case.projected("db", "canary-lingers-kX9mQ2vL8nR5wT3z1");
    case.finalizer("db", Some("example.com/waits"));
    case.bed.kubectl(&["delete", "scopedsecret", "db", "-n", case.name, "--wait=false"]);
    case.bed.kubectl(&["label", "namespace", case.name, "environment=staging", "--overwrite"]);
    case.secret_goes("db");
    case.finalizer("db", None);
}

/// What was forged is put right; nothing was decided from it.
#[test]
fn a_forged_status() {
    let case = Case::new("forged-status");
    case.projected("db", "canary-forged-status-kX9mQ2vL8nR");
    let honest = case.bed.cluster.get_json("scopedsecret", case.name, "db").unwrap()["status"].clone();
    let secret = case.secret("db").unwrap();
    let forged = r#"{"status":{"conditions":[{"type":"Ready","status":"False","reason":"Forged","message":"forged","lastTransitionTime":"2020-01-01T00:00:00Z"}],
        "observedGeneration":99,"segment":"other/segment","binding":{"name":"forged"},"lastChangeTime":"2020-01-01T00:00:00Z",
        "secretRef":{"name":"forged","uid":"forged","resourceVersion":"1"},"remoteVersions":[{"key":"forged","versionId":"forged"}]}}"#;
    let patch = |text: &str| {
        case.bed.kubectl(&[
            "patch",
            "scopedsecret",
            "db",
            "-n",
            case.name,
            "--subresource=status",
            "--type=merge",
            "-p",
            text,
        ]);
    };
    let put_right = |what: &str| {
        eventually(what, SOON, || {
            let status = case.bed.cluster.get_json("scopedsecret", case.name, "db").unwrap()["status"].clone();
            let mut seen = status.clone();
            // When it turned ready again is not known any more.
            for condition in seen["conditions"].as_array_mut().into_iter().flatten() {
                condition["lastTransitionTime"] = serde_json::Value::Null;
            }
            let mut wanted = honest.clone();
            for condition in wanted["conditions"].as_array_mut().into_iter().flatten() {
                condition["lastTransitionTime"] = serde_json::Value::Null;
            }
            if seen == wanted { Ok(()) } else { Err(status.to_string()) }
        });
    };
    patch(forged);
    put_right("a forged status is put right");
    patch(r#"{"status":null}"#);
    put_right("a removed status is put right");
    assert_eq!(case.secret("db").unwrap(), secret, "the Secret is as it was");
    // One that pretends to be ready is not believed.
    case.stub.set_mood(Mood::Down);
    case.text("none", "canary-forged-status-none-kX9mQ2");
    case.claim("none", &whole("none"));
    case.told("none", How::Waiting, "ProviderUnavailable", &[]);
    case.bed.kubectl(&[
        "patch", "scopedsecret", "none", "-n", case.name, "--subresource=status", "--type=merge", "-p",
        r#"{"status":{"conditions":[{"type":"Ready","status":"True","reason":"Ready","message":"x","lastTransitionTime":"2020-01-01T00:00:00Z"}]}}"#,
    ]);
    let object = case.told("none", How::Waiting, "ProviderUnavailable", &[]);
    assert!(condition(&object, "Ready").unwrap()["lastTransitionTime"] != "2020-01-01T00:00:00Z", "{object}");
}

/// What another team's policy says of a Secret may quote it: who refused is told, and not why.
#[test]
fn a_policy_of_others_that_quotes_what_it_refuses() {
    let case = Case::new("quoted");
    let there = [
        "namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: quoted}}",
        "resourceRules: [{apiGroups: [\"\"], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [secrets]}]",
    ];
    let quotes = "messageExpression: \"'not like this: ' + string(object.data.value)\"";
    foreign_policy::deny(&case.bed.cluster, "quotes.example.com", &there, quotes);
    eventually("it is in force", SOON, || {
        let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: mine, namespace: quoted}\ndata: {value: YQ==}\n";
        match case.bed.cluster.submit(&["create", "--dry-run=server", "-f", "-"], secret) {
            Err(text) if text.contains("not like this: YQ==") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    case.text("db", "canary-quoted-kX9mQ2vL8nR5wT3z");
    case.claim("db", &whole("db"));
    case.told("db", How::Waiting, "WriteFailed", &["'quotes.example.com' denied request (413)"]);
    let events = case.bed.cluster.kubectl(&["get", "events", "-n", case.name, "-o", "json"]);
    let events = String::from_utf8_lossy(&events.stdout).into_owned();
    assert!(events.contains("denied request (413)") && !events.contains("not like this"), "{events}");
    foreign_policy::lift(&case.bed.cluster, "quotes.example.com");
    case.refresh("db");
    case.is_ready("db");
}

/// What cannot be taken away now is tried again soon, whatever the refreshInterval: it is not for the next refresh to find.
#[test]
fn a_withdrawal_that_others_refuse_for_a_while() {
    let case = Case::new("kept");
    for name in ["narrowed", "leaked"] {
        case.projected(name, &format!("canary-kept-{name}-kX9mQ2vL8nR5wT3z"));
    }
    let there = [
        "namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kept}}",
        "resourceRules: [{apiGroups: [\"\"], apiVersions: [v1], operations: [DELETE], resources: [secrets]}]",
    ];
    foreign_policy::deny(&case.bed.cluster, "keeps.example.com", &there, "message: not now");
    eventually("it is in force", SOON, || {
        match case.bed.cluster.submit(&["delete", "secret", "leaked", "-n", case.name, "--dry-run=server"], "") {
            Err(text) if text.contains("not now") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    let accepted = "metadata: {name: kept, annotations: {scopedsecrets.io/accept-violations: \"1\"}}";
    case.bed.apply(&case.policy("").replace("/**", "/leaked").replace("metadata: {name: kept}", accepted));
    case.bed.apply(&format!(
        "apiVersion: scopedsecrets.io/v1alpha1\nkind: KeyRevocation\nmetadata: {{name: kept}}\nspec: {{storeRef: {{name: kept}}, key: {}, reason: seen in a build log}}\n",
        case.key("leaked")
    ));
    for (name, reason) in [("narrowed", "KeyNotAllowed"), ("leaked", "KeyRevoked")] {
        case.becomes(name, "Authorized", "False", reason);
        let object = case.becomes(name, "Ready", "False", "WriteFailed");
        let text = condition(&object, "Ready").unwrap()["message"].as_str().unwrap();
        assert!(text.contains("'keeps.example.com' denied request (413)"), "{text}");
        assert!(case.secret(name).is_some(), "{name}");
    }
    foreign_policy::lift(&case.bed.cluster, "keeps.example.com");
    for name in ["narrowed", "leaked"] {
        eventually(&format!("{name} is gone"), SOON * 4, || match case.secret(name) {
            None => Ok(()),
            Some(_) => Err("it stands".to_owned()),
        });
    }
    case.bed.kubectl(&["delete", "keyrevocation", "kept"]);
}
