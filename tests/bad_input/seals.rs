//! Seals that are forged, moved or outdated; the seal key lost; and what gets past admission.

use crate::bed::{Case, How, whole};
use crate::support::operator::{NAMESPACE, USER};
use crate::support::oracle::guarantees_hold;
use crate::support::tenants::SOON;
use crate::support::wait::eventually;
use serde_json::{Value, json};

fn seal_of(secret: &Value) -> &str {
    secret["metadata"]["annotations"]["scopedsecrets.io/seal"].as_str().expect("a seal")
}

impl Case {
    fn set_seal(&self, name: &str, seal: &str) {
        let note = format!("scopedsecrets.io/seal={seal}");
        self.bed.kubectl(&["annotate", "secret", name, "-n", self.name, "--overwrite", &note]);
    }

    /// Waits until the Secret carries a seal that is none of these.
    fn sealed_anew(&self, name: &str, none_of: &[&str]) {
        eventually(&format!("{name} is sealed anew"), SOON, || {
            let secret = self.secret(name).ok_or("gone")?;
            let seal =
                secret["metadata"]["annotations"]["scopedsecrets.io/seal"].as_str().unwrap_or_default().to_owned();
            if seal.starts_with("v1.") && !none_of.contains(&&*seal) { Ok(()) } else { Err(format!("{seal:?}")) }
        });
    }

    /// A Secret as it would be pasted somewhere else.
    fn pasted(&self, secret: &Value, namespace: &str, name: &str) {
        let mut copy = secret.clone();
        copy["metadata"] = json!({
            "name": name, "namespace": namespace, "labels": secret["metadata"]["labels"],
            "annotations": secret["metadata"]["annotations"],
        });
        let out = self.bed.cluster.apply(&copy.to_string());
        assert!(out.is_ok(), "{out:?}");
    }
}

#[test]
fn a_forged_seal() {
    let case = Case::new("forged-seal");
    let value = "canary-forged-seal-kX9mQ2vL8nR5wT";
    case.projected("db", value);
    let secret = case.secret("db").unwrap();
    let honest = seal_of(&secret).to_owned();
    let generation = honest.split('.').nth(1).unwrap();
    let mut broken = honest.clone();
    let last = if broken.pop() == Some('A') { 'B' } else { 'A' };
    broken.push(last);
    for forged in [
        format!("v1.{generation}.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
        "v1.ffffffff.AAAA".into(),
        "x".into(),
        broken,
    ] {
        case.set_seal("db", &forged);
        case.sealed_anew("db", &[&forged]);
        case.holds("db", "value", value);
        case.is_ready("db");
    }
    assert_eq!(case.secret("db").unwrap()["metadata"]["uid"], secret["metadata"]["uid"], "one and the same Secret");
    // With no seal at all.
    case.bed.kubectl(&["annotate", "secret", "db", "-n", case.name, "scopedsecrets.io/seal-"]);
    case.sealed_anew("db", &[]);
    case.is_ready("db");
}

/// A seal opens on its own Secret only: a copy is nobody's.
#[test]
fn a_moved_seal() {
    let case = Case::new("moved-seal");
    case.projected("db", "canary-moved-seal-kX9mQ2vL8nR5wT3");
    let secret = case.secret("db").unwrap();
    // Under another name, whose claim comes afterwards.
    case.pasted(&secret, case.name, "copy");
    let pasted = case.secret("copy").unwrap();
    case.text("copy", "canary-moved-seal-copy-kX9mQ2vL8n");
    case.claim("copy", &whole("copy"));
    case.told("copy", How::Invalid, "TargetConflict", &["it is untouched"]);
    assert_eq!(case.secret("copy").unwrap(), pasted);
    // In another namespace, under the same name.
    let thief = case.beside("moved-seal-thief");
    thief.pasted(&secret, thief.name, "db");
    thief.text("db", "canary-moved-seal-thief-kX9mQ2vL8");
    thief.claim("db", &whole("db"));
    thief.told("db", How::Invalid, "TargetConflict", &["it is untouched"]);
    let told = thief.bed.cluster.get_json("scopedsecret", thief.name, "db").unwrap()["status"].clone();
    assert!(told["secretRef"].is_null() && told["remoteVersions"].is_null(), "{told}");
    // Its owner lost nothing by it.
    case.is_ready("db");
    assert_eq!(case.secret("db").unwrap(), secret);
    case.bed.kubectl(&["delete", "secret", "copy", "-n", case.name]);
    thief.bed.kubectl(&["delete", "secret", "db", "-n", thief.name]);
    case.is_ready("copy");
    thief.is_ready("db");
}

/// An older seal of the same Secret opens, and does not fit what the Secret holds.
#[test]
fn an_outdated_seal() {
    let case = Case::new("outdated-seal");
    case.projected("db", "canary-outdated-seal-first-kX9mQ2");
    let first = seal_of(&case.secret("db").unwrap()).to_owned();
    case.text("db", "canary-outdated-seal-second-kX9mQ");
    case.refresh("db");
    case.holds("db", "value", "canary-outdated-seal-second-kX9mQ");
    let second = seal_of(&case.secret("db").unwrap()).to_owned();
    case.set_seal("db", &first);
    case.sealed_anew("db", &[&first]);
    case.holds("db", "value", "canary-outdated-seal-second-kX9mQ");
    case.is_ready("db");
    // With its old value, too: the whole Secret of yesterday.
    case.bed.kubectl(&[
        "patch",
        "secret",
        "db",
        "-n",
        case.name,
        "-p",
        r#"{"stringData":{"value":"canary-outdated-seal-first-kX9mQ2"}}"#,
    ]);
    case.holds("db", "value", "canary-outdated-seal-second-kX9mQ");
    case.sealed_anew("db", &[&first, &second]);
}

/// Who once held a key does not get it back from its owner by an old seal.
#[test]
fn an_outdated_seal_takes_no_key_from_its_owner() {
    let was = Case::new("once-owner");
    let is = was.beside("now-owner");
    // Both may claim shared/**, one at a time.
    for case in [&was, &is] {
        let policy =
            case.policy("").replace("  namespaceSelector", "  rules: {exclusiveKeys: Namespace}\n  namespaceSelector");
        let policy =
            policy.replace("  allow:\n", "  allow:\n  - storeRef: {name: once-owner}\n    keys: [\"shared/**\"]\n");
        case.bed.apply(&policy);
        case.settled();
    }
    was.stub.put("shared/db", crate::support::stub_manager::Says::Text("canary-once-owner-kX9mQ2vL8nR5wT3".into()));
    was.stub.put("shared/other", crate::support::stub_manager::Says::Text("canary-once-owner-other-kX9mQ2vL8".into()));
    let of = |case: &Case, key: &str| {
        case.yaml("db", &format!("data: [{{secretKey: value, remoteRef: {{key: shared/{key}}}}}]"))
            .replace(&format!("storeRef: {{name: {}}}", case.name), "storeRef: {name: once-owner}")
    };
    was.bed.apply(&of(&was, "db"));
    was.is_ready("db");
    let old = seal_of(&was.secret("db").unwrap()).to_owned();
    was.bed.apply(&of(&was, "other"));
    was.is_ready("db");
    was.holds("db", "value", "canary-once-owner-other-kX9mQ2vL8");
    // Seals count in seconds: the new owner's are later.
    let changed = was.bed.cluster.get_json("scopedsecret", was.name, "db").unwrap()["status"]["lastChangeTime"].clone();
    eventually("a second passes", SOON, || {
        let now = jiff::Timestamp::now();
        let then: jiff::Timestamp = changed.as_str().unwrap().parse().unwrap();
        if now.as_second() > then.as_second() + 1 { Ok(()) } else { Err(now.to_string()) }
    });
    is.bed.apply(&of(&is, "db"));
    is.is_ready("db");
    let owned = is.secret("db").unwrap();
    was.set_seal("db", &old);
    was.sealed_anew("db", &[&old]);
    was.is_ready("db");
    is.is_ready("db");
    let now = is.secret("db").unwrap();
    assert_eq!(now["metadata"]["uid"], owned["metadata"]["uid"], "the owner's Secret was taken away");
    assert_eq!(now["data"], owned["data"]);
    let events = is.bed.kubectl(&["get", "events", "-n", is.name, "-o", "yaml"]);
    assert!(!events.contains("reason: Withdrawn"), "{events}");
}

#[test]
fn the_seal_key_lost() {
    let mut case = Case::alone("seal-key");
    let names = ["one", "two", "three"];
    for name in names {
        case.projected(name, &format!("canary-seal-key-{name}-kX9mQ2vL8nR"));
    }
    let before = names.map(|name| case.secret(name).unwrap());
    let key = || case.bed.cluster.get_json("secret", NAMESPACE, "scoped-secrets-keys");
    let old_key = key().unwrap();
    // While it runs, the key is put back as it was.
    case.bed.kubectl(&["delete", "secret", "scoped-secrets-keys", "-n", NAMESPACE]);
    eventually("the key is back", SOON, || key().ok_or("none"));
    assert_eq!(key().unwrap()["data"], old_key["data"]);
    for (name, before) in names.iter().zip(&before) {
        case.is_ready(name);
        assert_eq!(case.secret(name).unwrap(), *before, "{name}");
    }
    // While it does not, the key is made anew, and every Secret read and sealed once more.
    case.stop_operator();
    case.bed.kubectl(&["delete", "secret", "scoped-secrets-keys", "-n", NAMESPACE]);
    let mark = case.bed.cluster.audit_mark();
    case.start_operator();
    for (name, before) in names.iter().zip(&before) {
        case.sealed_anew(name, &[seal_of(before)]);
        case.is_ready(name);
        let after = case.secret(name).unwrap();
        assert_eq!(after["metadata"]["uid"], before["metadata"]["uid"], "{name} was never withdrawn");
        assert_eq!(after["data"], before["data"], "{name}");
    }
    let new_key = case.bed.cluster.get_json("secret", NAMESPACE, "scoped-secrets-keys").unwrap();
    assert_ne!(new_key["data"], old_key["data"]);
    let asked = case.bed.cluster.audit_since(mark).user(USER).namespace(case.name).resource("secrets");
    for name in names {
        let verbs: Vec<_> = asked.iter().filter(|r| r.name == name).map(|r| (&*r.verb, r.code)).collect();
        assert!(verbs.iter().filter(|(verb, _)| *verb == "get").count() <= 1, "{name}: one read at most: {verbs:?}");
        assert_eq!(verbs.iter().filter(|(verb, _)| *verb == "update").count(), 1, "{name}: one write: {verbs:?}");
        assert!(!verbs.iter().any(|(verb, _)| *verb == "delete"), "{name}: {verbs:?}");
    }
    guarantees_hold(&case.bed.cluster);
}

/// With the webhook gone a claim can be edited to anything: it is fetched nothing, and keeps what it had.
#[test]
fn a_claim_edited_past_admission() {
    let mut case = Case::alone("edited");
    case.projected("db", "canary-edited-own-kX9mQ2vL8nR5wT3");
    case.stub
        .put("victim/prod/db", crate::support::stub_manager::Says::Text("canary-edited-victim-kX9mQ2vL8nR".into()));
    let before = case.secret("db").unwrap();
    let webhook = "validatingwebhookconfigurations";
    let configurations = case.bed.kubectl(&["get", webhook, "-o", "name"]);
    for name in configurations.split_whitespace() {
        case.bed.kubectl(&["delete", name]);
    }
    let theirs = "data: [{secretKey: value, remoteRef: {key: victim/prod/db}}]";
    // The API server may hold on to the configuration for a moment.
    eventually("nobody reviews", SOON, || case.bed.cluster.apply(&case.yaml("db", theirs)).map(|_| ()));
    case.told(
        "db",
        How::Refused,
        "KeyNotAllowed",
        &["policy \"edited\"", "\"victim/prod/db\"", "allowed here: edited/prod/**"],
    );
    assert_eq!(case.secret("db").unwrap(), before, "it keeps its old Secret");
    case.claim("new", theirs);
    case.told("new", How::Refused, "KeyNotAllowed", &[]);
    case.no_secret("new");
    // Half of it its own, half of it another's: nothing of it is fetched.
    case.text("half", "canary-edited-half-kX9mQ2vL8nR5wT");
    case.claim(
        "half",
        "data:\n- {secretKey: a, remoteRef: {key: KEY/half}}\n- {secretKey: b, remoteRef: {key: victim/prod/db}}",
    );
    case.told("half", How::Refused, "KeyNotAllowed", &[]);
    case.no_secret("half");
    // It is unrefreshed: even on demand, and after a restart.
    case.text("db", "canary-edited-own-newer-kX9mQ2vL8");
    case.refresh("db");
    case.told("db", How::Refused, "KeyNotAllowed", &[]);
    let mark = case.bed.cluster.audit_mark();
    case.stop_operator();
    case.start_operator();
    eventually("the new operator has looked", SOON, || {
        let seen = case.bed.cluster.audit_since(mark).user(USER).only(|r| r.resource == "scopedsecrets");
        if seen.is_empty() { Err("nothing asked") } else { Ok(()) }
    });
    case.told("db", How::Refused, "KeyNotAllowed", &[]);
    assert_eq!(case.secret("db").unwrap(), before, "it keeps its old Secret");
    assert_eq!(case.stub.asked("victim/prod/db"), 0, "authorised before fetched: {:?}", case.stub.calls());
    assert_eq!(case.stub.asked(&case.key("half")), 0, "all or nothing: {:?}", case.stub.calls());
    // Without the policy on its old key, it goes.
    case.bed.apply(&case.policy("").replace("${label:tenant}/${label:environment}/**", "edited/prod/other"));
    case.secret_goes("db");
    // Put back for the cases that come after; the operator fills in the rest.
    crate::support::operator::install_unguarded(&case.bed.cluster);
    eventually("claims are reviewed again", SOON, || match case.bed.cluster.apply(&case.yaml("new-2", theirs)) {
        Err(refusal) if refusal.contains("KeyNotAllowed") => Ok(()),
        other => {
            case.bed.kubectl(&["delete", "scopedsecret", "new-2", "-n", case.name, "--ignore-not-found"]);
            Err(format!("{other:?}"))
        }
    });
}
