//! Seals that are forged, moved or outdated; the seal key lost; and what gets past admission.

use crate::bed::{Case, How, whole};
use crate::support::operator::{NAMESPACE, USER};
use crate::support::oracle::guarantees_hold;
use crate::support::stub_manager::{Mood, Says};
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
    // The rule Copies is another story: here the copy got past it.
    case.bed.apply(&case.policy("reportOnly: [Copies]"));
    case.settled();
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

/// Two namespaces that may both claim shared/** in the first one's store, one at a time.
struct Shared<'a> {
    was: &'a Case,
    is: &'a Case,
}

impl<'a> Shared<'a> {
    fn between(was: &'a Case, is: &'a Case) -> Self {
        for case in [was, is] {
            // What a restore carries along is not what rule Copies is for here.
            let rules = "  rules: {exclusiveKeys: Namespace}\n  reportOnly: [Copies]\n  namespaceSelector";
            let allow = format!("  allow:\n  - storeRef: {{name: {}}}\n    keys: [\"{}/**\"]\n", was.name, shared(was));
            let policy = case.policy("").replace("  namespaceSelector", rules).replace("  allow:\n", &allow);
            case.bed.apply(&policy);
            case.settled();
        }
        let says = |key: &str| was.stub.put(&format!("{}/{key}", shared(was)), Says::Text(value(was, key)));
        says("db");
        says("other");
        Self { was, is }
    }

    fn yaml(&self, case: &Case, key: &str) -> String {
        case.yaml("db", &format!("data: [{{secretKey: value, remoteRef: {{key: {}/{key}}}}}]", shared(self.was)))
            .replace(&format!("storeRef: {{name: {}}}", case.name), &format!("storeRef: {{name: {}}}", self.was.name))
    }

    fn claim(&self, case: &Case, key: &str) -> Value {
        case.bed.apply(&self.yaml(case, key));
        case.is_ready("db");
        case.holds("db", "value", &value(self.was, key));
        case.secret("db").unwrap()
    }

    /// Seals count in seconds: who claims now is later than who has claimed.
    fn a_second_passes(&self) {
        let then = jiff::Timestamp::now().as_second();
        eventually("a second passes", SOON, || {
            let now = jiff::Timestamp::now().as_second();
            if now > then + 1 { Ok(()) } else { Err(now.to_string()) }
        });
    }

    /// The owner has lost nothing, not even for a moment.
    fn is_still_owner(&self, owned: &Value) {
        self.still_owned_by(self.is, owned);
    }

    fn still_owned_by(&self, owner: &Case, owned: &Value) {
        owner.is_ready("db");
        let now = owner.secret("db").unwrap();
        assert_eq!(now["metadata"]["uid"], owned["metadata"]["uid"], "the owner's Secret was taken away");
        assert_eq!(now["data"], owned["data"]);
        let events = owner.bed.kubectl(&["get", "events", "-n", owner.name, "-o", "yaml"]);
        assert!(!events.contains("reason: Withdrawn"), "{events}");
    }
}

/// The keys in this one's store that both may claim.
fn shared(was: &Case) -> String {
    format!("shared/{}", was.name)
}

fn value(case: &Case, key: &str) -> String {
    format!("canary-{}-{key}-kX9mQ2vL8nR5wT3", case.name)
}

/// Who once held a key does not get it back from its owner by an old seal.
#[test]
fn an_outdated_seal_takes_no_key_from_its_owner() {
    let was = Case::new("once-owner");
    let is = was.beside("now-owner");
    let shared = Shared::between(&was, &is);
    let old = seal_of(&shared.claim(&was, "db")).to_owned();
    shared.claim(&was, "other");
    shared.a_second_passes();
    let owned = shared.claim(&is, "db");
    was.set_seal("db", &old);
    was.sealed_anew("db", &[&old]);
    was.is_ready("db");
    shared.is_still_owner(&owned);
    // Nor if it cannot be mended by fetching: the Secret says that it holds what is another's, and goes.
    was.stub.remove("shared/once-owner/other");
    was.refresh("db");
    was.becomes("db", "Synced", "False", "RemoteMissing");
    was.set_seal("db", &old);
    was.secret_goes("db");
    shared.is_still_owner(&owned);
}

/// A seal that nobody can read, as after the loss of the seal key, takes nothing from anyone.
#[test]
fn a_seal_of_an_unknown_key_takes_no_key_from_its_owner() {
    let mut is = Case::alone("unread-now");
    let was = is.beside("unread-once");
    let shared = Shared::between(&is, &was);
    // The other one is older, and has a Secret of its own.
    was.stub.put("unread-once/prod/own", Says::Text("canary-unread-once-own-kX9mQ2vL8nR5".into()));
    was.claim("db", "data: [{secretKey: value, remoteRef: {key: KEY/own}}]");
    was.is_ready("db");
    shared.a_second_passes();
    let owned = shared.claim(&is, "db");
    // Past admission its claim names the other's key, and its seal is one of a key that is lost.
    is.admission_off();
    let theirs = shared.yaml(&was, "db");
    is.bypass(&theirs);
    was.told("db", How::Refused, "KeyClaimed", &["another namespace"]);
    was.set_seal("db", "v1.00000000.AAAA");
    was.bed.kubectl(&["annotate", "secret", "db", "-n", was.name, "example.com/touched=1"]);
    shared.still_owned_by(&is, &owned);
    was.told("db", How::Refused, "KeyClaimed", &["another namespace"]);
    // The seal key is lost: nobody can tell who was first, and still nobody loses anything.
    is.stop_operator();
    is.bed.kubectl(&["delete", "secret", "scoped-secrets-keys", "-n", NAMESPACE]);
    is.start_operator();
    is.sealed_anew("db", &[seal_of(&owned)]);
    let shared = Shared { was: &is, is: &was };
    shared.still_owned_by(&is, &owned);
    was.told("db", How::Refused, "KeyClaimed", &["another namespace"]);
    is.admission_on();
    was.bed.kubectl(&["delete", "scopedsecret", "db", "-n", was.name]);
    was.secret_goes("db");
}

/// Who strips the seal neither frees the key nor keeps the Secret.
#[test]
fn a_stripped_seal_does_not_save_a_secret() {
    let case = Case::new("stripped");
    case.projected("db", "canary-stripped-kX9mQ2vL8nR5wT3z");
    case.stub.remove(&case.key("db"));
    case.bed.kubectl(&["annotate", "secret", "db", "-n", case.name, "scopedsecrets.io/seal-"]);
    case.becomes("db", "Synced", "False", "RemoteMissing");
    let narrowed = case.policy("").replace("${label:tenant}/${label:environment}/**", "stripped/prod/other");
    case.bed.refuses(&narrowed, &["ViolationsNotAccepted", "1 live claim"]);
    let accepted = narrowed.replace(
        "metadata: {name: stripped}",
        "metadata: {name: stripped, annotations: {scopedsecrets.io/accept-violations: \"1\"}}",
    );
    case.bed.apply(&accepted);
    case.secret_goes("db");
    case.told("db", How::Refused, "KeyNotAllowed", &[]);
}

/// Nor does one that nobody can read, on a Secret that is younger than the key: no lost key can have made it.
#[test]
fn a_seal_of_an_unknown_key_saves_no_secret() {
    let mut case = Case::alone("unreadable");
    case.projected("db", "canary-unreadable-kX9mQ2vL8nR5wT");
    case.stop_operator();
    case.admission_off();
    case.set_seal("db", "v1.deadbeef.AAAA");
    let narrowed = case.policy("").replace("${label:tenant}/${label:environment}/**", "unreadable/prod/other");
    case.bypass(&narrowed);
    case.start_operator();
    case.secret_goes("db");
    case.told("db", How::Refused, "KeyNotAllowed", &[]);
    // Its label gone after something else was put right: it is looked for again, and goes with its policy, too.
    case.bed.apply(&case.policy(""));
    case.is_ready("db");
    case.bed.kubectl(&["annotate", "secret", "db", "-n", case.name, "replicator.v1.mittwald.de/replicate-to=x"]);
    eventually("it is put right", SOON, || {
        let note =
            case.secret("db").ok_or("gone")?["metadata"]["annotations"]["replicator.v1.mittwald.de/replicate-to"]
                .clone();
        if note.is_null() { Ok(()) } else { Err("still there") }
    });
    case.stub.set_mood(Mood::Down);
    case.bed.kubectl(&["label", "secret", "db", "-n", case.name, "app.kubernetes.io/managed-by-"]);
    eventually("its label is back", SOON, || {
        let label = case.secret("db").ok_or("gone")?["metadata"]["labels"]["app.kubernetes.io/managed-by"].clone();
        if label == "scoped-secrets" { Ok(()) } else { Err("not yet") }
    });
    // A claim on its way out loses its Secret as well, whatever was done to that.
    case.finalizer("db", Some("example.com/stay"));
    case.bed.kubectl(&["delete", "scopedsecret", "db", "-n", case.name, "--wait=false"]);
    case.bed.kubectl(&["annotate", "secret", "db", "-n", case.name, "replicator.v1.mittwald.de/replicate-to=x"]);
    case.bed.apply(&narrowed);
    case.secret_goes("db");
    case.finalizer("db", None);
    case.stub.set_mood(Mood::Well);
    case.admission_on();
}

/// Restored while the manager is away: it is owned again before the garbage collector takes it for an orphan.
#[test]
fn a_restored_secret_is_owned_again_without_the_manager() {
    let case = Case::new("restored-away");
    case.projected("db", "canary-restored-away-kX9mQ2vL8nR");
    let backup = case.secret("db").unwrap();
    case.bed.kubectl(&["delete", "scopedsecret", "db", "-n", case.name]);
    case.secret_goes("db");
    case.stub.set_mood(Mood::Down);
    case.claim("db", &whole("db"));
    case.becomes("db", "Synced", "False", "ProviderUnavailable");
    case.pasted(&backup, case.name, "db");
    let owner = case.bed.cluster.get_json("scopedsecret", case.name, "db").unwrap()["metadata"]["uid"].clone();
    eventually("it is owned again", SOON, || {
        let secret = case.secret("db").ok_or("gone")?;
        if secret["metadata"]["ownerReferences"][0]["uid"] == owner {
            Ok(())
        } else {
            Err(secret["metadata"].to_string())
        }
    });
    case.told("db", How::LastGood, "ProviderUnavailable", &[]);
    // Likewise another deletionPolicy needs no value.
    case.bed.apply(&case.policy("rules: {allowRetain: true}"));
    case.settled();
    case.claim("db", &format!("{}\ndeletionPolicy: Retain", whole("db")));
    eventually("it is nobody's any more", SOON, || {
        let secret = case.secret("db").ok_or("gone")?;
        if secret["metadata"]["ownerReferences"].is_null() { Ok(()) } else { Err(secret["metadata"].to_string()) }
    });
    case.bed.kubectl(&["delete", "scopedsecret", "db", "-n", case.name]);
    case.holds("db", "value", "canary-restored-away-kX9mQ2vL8nR");
    case.stub.set_mood(Mood::Well);
    case.all_is_well();
    case.bed.kubectl(&["delete", "secret", "db", "-n", case.name]);
}

/// A Secret that only looks like ours is no good value.
#[test]
fn a_secret_made_to_look_like_ours() {
    let case = Case::new("made-alike");
    case.claim("db", &whole("db"));
    case.told("db", How::Waiting, "RemoteMissing", &[]);
    let owner = case.bed.cluster.get_json("scopedsecret", case.name, "db").unwrap()["metadata"]["uid"].clone();
    let forged = json!({
        "apiVersion": "v1", "kind": "Secret", "stringData": {"value": "junk"},
        "metadata": {
            "name": "db", "namespace": case.name, "labels": {"app.kubernetes.io/managed-by": "scoped-secrets"},
            "ownerReferences": [{
                "apiVersion": "scopedsecrets.io/v1alpha1", "kind": "ScopedSecret", "name": "db", "uid": owner, "controller": true
            }],
        },
    });
    case.bed.apply(&forged.to_string());
    case.refresh("db");
    let object = case.told("db", How::Waiting, "RemoteMissing", &[]);
    assert!(object["status"]["secretRef"].is_null(), "{}", object["status"]);
    case.text("db", "canary-made-alike-kX9mQ2vL8nR5wT");
    case.refresh("db");
    case.holds("db", "value", "canary-made-alike-kX9mQ2vL8nR5wT");
    case.is_ready("db");
}

/// A backup brings a Secret back, and its claim: the key stays with who has it by now.
#[test]
fn a_restored_secret_takes_no_key_from_its_owner() {
    let mut was = Case::alone("before-restore");
    let is = was.beside("after-restore");
    let shared = Shared::between(&was, &is);
    let backup = shared.claim(&was, "db");
    was.bed.kubectl(&["delete", "scopedsecret", "db", "-n", was.name]);
    was.secret_goes("db");
    shared.a_second_passes();
    let owned = shared.claim(&is, "db");
    // The Secret alone: nobody claims it, and it was not to be retained.
    was.pasted(&backup, was.name, "db");
    was.secret_goes("db");
    shared.is_still_owner(&owned);
    let claim = shared.yaml(&was, "db");
    was.bed.refuses(&claim, &["KeyClaimed"]);
    // While no operator and no webhook is there to see it.
    was.stop_operator();
    was.admission_off();
    was.bypass(&claim);
    was.pasted(&backup, was.name, "db");
    was.start_operator();
    let shared = Shared { was: &was, is: &is };
    was.told("db", How::Refused, "KeyClaimed", &["another namespace"]);
    was.secret_goes("db");
    shared.is_still_owner(&owned);
    was.admission_on();
    guarantees_hold(&was.bed.cluster);
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
    case.admission_off();
    let theirs = "data: [{secretKey: value, remoteRef: {key: victim/prod/db}}]";
    // The API server may hold on to the configuration for a moment.
    case.bypass(&case.yaml("db", theirs));
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
    case.admission_on();
}
