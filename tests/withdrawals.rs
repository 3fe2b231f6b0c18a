//! Policies that take away: accepted by number at admission, paused where admission was bypassed, nothing where what is in
//! force cannot be told. One cluster; the stories follow one another, since a withdrawal counts the whole cluster.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod support;

use serde_json::Value;
use support::bed::{Case, whole};
use support::cluster_audit::AuditMark;
use support::operator::{USER, install_unguarded};
use support::oracle::guarantees_hold;
use support::tenants::{SOON, condition, ready};
use support::wait::eventually;

/// One more than may go without a word.
const MANY: usize = 12;
const FEW: usize = 10;
const STANDING: usize = 8;

fn name(i: usize) -> String {
    format!("k{i}")
}

trait Withdrawals {
    /// The policy that allows only what is written here, of this namespace's keys.
    fn allowing(&self, keys: &str, accept: Option<&str>) -> String;
    fn claims(&self, count: usize);
    fn secrets(&self, count: usize) -> Vec<Value>;
    fn all_gone(&self, count: usize);
    fn all_ready(&self, count: usize);
    fn all_paused(&self, count: usize);
    fn writes(&self, mark: AuditMark) -> usize;
}

impl Withdrawals for Case {
    fn allowing(&self, keys: &str, accept: Option<&str>) -> String {
        let note = accept
            .map(|n| format!(", annotations: {{scopedsecrets.io/accept-violations: \"{n}\"}}"))
            .unwrap_or_default();
        self.policy("")
            .replace("${label:tenant}/${label:environment}/**", &format!("{}/prod/{keys}", self.name))
            .replace(&format!("metadata: {{name: {}", self.name), &format!("metadata: {{name: {}{note}", self.name))
    }

    fn claims(&self, count: usize) {
        for i in 0..count {
            self.text(&name(i), &format!("canary-{}-{i}-kX9mQ2vL8nR5wT3z", self.name));
        }
        let all: Vec<String> = (0..count).map(|i| self.yaml(&name(i), &whole(&name(i)))).collect();
        self.bed.apply(&all.join("---\n"));
        self.all_ready(count);
    }

    fn secrets(&self, count: usize) -> Vec<Value> {
        (0..count).map(|i| self.secret(&name(i)).unwrap_or_default()).collect()
    }

    fn all_gone(&self, count: usize) {
        for i in 0..count {
            self.becomes(&name(i), "Authorized", "False", "KeyNotAllowed");
            let object = self.becomes(&name(i), "Ready", "False", "KeyNotAllowed");
            assert_eq!(condition(&object, "Stalled").unwrap()["status"], "True");
            assert!(self.secret(&name(i)).is_none(), "{}/{}: its Secret stands", self.name, name(i));
        }
    }

    fn all_ready(&self, count: usize) {
        for i in 0..count {
            self.becomes(&name(i), "Authorized", "True", "Allowed");
            self.is_ready(&name(i));
        }
    }

    fn all_paused(&self, count: usize) {
        for i in 0..count {
            let object = self.becomes(&name(i), "Authorized", "False", "WithdrawalPaused");
            assert_eq!(condition(&object, "Ready").unwrap()["status"], "True", "unchanged: {}", object["status"]);
            assert!(condition(&object, "Stalled").is_none(), "somebody else has to act: {}", object["status"]);
            let text = condition(&object, "Authorized").unwrap()["message"].as_str().unwrap();
            let number = format!("accept-violations: \"{count}\"");
            assert!(text.contains(&number) && text.contains("revert the change"), "{text}");
        }
    }

    /// The operator's writes to tenants' Secrets.
    fn writes(&self, mark: AuditMark) -> usize {
        self.bed.cluster.audit_since(mark).user(USER).resource("secrets").namespace(self.name).writes().len()
    }
}

#[test]
fn a_policy_takes_away() {
    let mut many = Case::alone("many");
    many.claims(MANY);
    many.projected("kept", "canary-many-kept-kX9mQ2vL8nR5wT3");
    accepted_at_admission(&many);
    paused_without_admission(&mut many);
    deleted_with_a_spent_number(&many);
    few_go_at_once(&many);
    guarantees_hold(&many.bed.cluster);
    many.admission_on();
    what_cannot_be_decoded(&many);
    a_kind_that_is_gone(&mut many);
    many.all_is_well();
}

fn accepted_at_admission(many: &Case) {
    let narrowed = |accept| many.allowing("kept", accept);
    let says = ["ViolationsNotAccepted", "12 live claims", "accept-violations: \"12\"", "and 2 more"];
    many.bed.refuses(&narrowed(None), &says);
    many.bed.refuses(&narrowed(Some("11")), &says);
    many.all_ready(MANY);
    many.bed.apply(&narrowed(Some("12")));
    many.all_gone(MANY);
    many.is_ready("kept");
    for i in 0..MANY {
        let told = support::events::told(&many.bed.cluster, many.name, &name(i));
        assert_eq!(told.get("Withdrawn"), Some(&1), "{told:?}");
    }
    let asked = many.stub.asked(&many.key("k0"));
    // What was accepted was accepted once.
    many.bed.apply(&many.allowing("**", Some("12")));
    many.all_ready(MANY);
    assert_eq!(many.stub.asked(&many.key("k0")), asked + 1);
    many.bed.refuses(&narrowed(Some("12")), &says);
    many.all_ready(MANY);
}

fn paused_without_admission(many: &mut Case) {
    let before = many.secrets(MANY);
    let (mark, asked) = (many.bed.cluster.audit_mark(), many.stub.calls().len());
    // A number on a policy that takes nothing away is over at once.
    let other = many
        .allowing("**", Some("50"))
        .replace(&format!("{{name: {}, annotations", many.name), "{name: other, annotations");
    let other = other.replace(&format!("matchLabels: {{tenant: {}}}", many.name), "matchLabels: {tenant: nobody}");
    many.bed.apply(&other);
    eventually("its change is over", SOON, || {
        let policy = many.bed.cluster.get_json("segmentationpolicy", None, "other").ok_or("gone")?;
        if policy["status"]["accepted"]["settled"] == true { Ok(()) } else { Err(policy["status"].to_string()) }
    });
    many.admission_off();
    // The annotation of the change before still stands; it accepts nothing more.
    many.bypass(&many.allowing("kept", Some("12")));
    many.all_paused(MANY);
    many.is_ready("kept");
    // Put right again: as if nothing had been.
    many.bed.apply(&many.allowing("**", Some("12")));
    many.all_ready(MANY);
    assert_eq!(many.secrets(MANY), before);
    assert_eq!(many.writes(mark), 0);
    assert_eq!(many.stub.calls().len(), asked, "nobody had to be asked");

    // While no operator runs, and without any annotation.
    many.stop_operator();
    many.bed.apply(&many.allowing("kept", None));
    many.start_operator();
    many.all_paused(MANY);
    many.stop_operator();
    many.start_operator();
    many.all_paused(MANY);
    assert_eq!(many.secrets(MANY), before);
    // A number that is too small is not enough, nor is what is no number.
    for accept in ["11", "all"] {
        many.bed.apply(&many.allowing("kept", Some(accept)));
        acted_upon(many, accept);
        many.all_paused(MANY);
        assert_eq!(many.secrets(MANY), before, "{accept}");
    }
    assert_eq!(many.writes(mark), 0);
    many.bed.apply(&many.allowing("kept", Some("12")));
    many.all_gone(MANY);
    many.is_ready("kept");
    many.bed.apply(&many.allowing("**", Some("12")));
    many.all_ready(MANY);
    spent(many);
    // A restart does not make it valid again.
    many.stop_operator();
    many.start_operator();
    many.bypass(&many.allowing("kept", Some("12")));
    many.all_paused(MANY);
    many.bed.apply(&many.allowing("**", None));
    many.all_ready(MANY);
}

/// Waits until the operator has seen the annotation on the policy.
fn acted_upon(many: &Case, accept: &str) {
    eventually("the policy's annotation is seen", SOON, || {
        let policy = many.bed.cluster.get_json("segmentationpolicy", None, many.name).ok_or("gone")?;
        if policy["status"]["accepted"]["value"] == accept { Ok(()) } else { Err(policy["status"].to_string()) }
    });
}

fn spent(many: &Case) {
    eventually("what was accepted has served", SOON, || {
        let policy = many.bed.cluster.get_json("segmentationpolicy", None, many.name).ok_or("gone")?;
        if policy["status"]["accepted"]["spent"] == true { Ok(()) } else { Err(policy["status"].to_string()) }
    });
}

/// A deletion cannot set an annotation: the one that stands counts, unless it has served before.
fn deleted_with_a_spent_number(many: &Case) {
    many.admission_on();
    let standing = (MANY + 1).to_string();
    many.bed.apply(&many.allowing("kept", Some(&standing)));
    many.all_gone(MANY);
    many.bed.apply(&many.allowing("**", Some(&standing)));
    many.all_ready(MANY);
    spent(many);
    let before = many.secrets(MANY);
    let delete = ["delete", "segmentationpolicy", many.name];
    let refused = many.bed.cluster.kubectl(&delete);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("ViolationsNotAccepted"), "{said}");
    many.admission_off();
    eventually("nobody reviews", SOON, || {
        let done = many.bed.cluster.kubectl(&delete);
        if done.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&done.stderr).into_owned()) }
    });
    for i in 0..MANY {
        many.becomes(&name(i), "Authorized", "False", "WithdrawalPaused");
    }
    assert_eq!(many.secrets(MANY), before);
    many.bed.apply(&many.allowing("**", None));
    many.all_ready(MANY);
    assert_eq!(many.secrets(MANY), before);
}

fn few_go_at_once(many: &Case) {
    for i in FEW..MANY {
        many.bed.kubectl(&["delete", "scopedsecret", &name(i), "-n", many.name]);
        many.secret_goes(&name(i));
    }
    many.bypass(&many.allowing("kept", None));
    many.all_gone(FEW);
    many.is_ready("kept");
    many.bypass(&many.allowing("**", None));
    many.all_ready(FEW);
}

/// The CRD's schema changed under a policy: an older operator cannot read it.
fn what_cannot_be_decoded(many: &Case) {
    let (before, mark) = (many.secrets(FEW), many.bed.cluster.audit_mark());
    let crd = "segmentationpolicies.scopedsecrets.io";
    let mode = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/mode/enum";
    let widen = format!(r#"[{{"op": "add", "path": "{mode}/-", "value": "Prevent"}}]"#);
    many.bed.kubectl(&["patch", "crd", crd, "--type=json", "-p", &widen]);
    // A second policy, so that the first is not the one in doubt: every one counts.
    let odd =
        many.policy("mode: Prevent").replace(&format!("metadata: {{name: {}}}", many.name), "metadata: {name: odd}");
    let odd = odd.replace("${label:tenant}/${label:environment}/**", "odd/**");
    many.admission_off();
    many.bypass(&odd);
    many.bypass(&odd.replace("metadata: {name: odd}", "metadata: {name: even}"));
    for i in 0..FEW {
        let object = many.becomes(&name(i), "Authorized", "Unknown", "PolicyUnknown");
        assert_eq!(condition(&object, "Ready").unwrap()["status"], "True", "{}", object["status"]);
    }
    eventually("the policy says what is wrong with it", SOON, || {
        let policy = many.bed.cluster.get_json("segmentationpolicy", None, "odd").ok_or("gone")?;
        let ready = condition(&policy, "Ready").ok_or("no condition")?;
        let says = ready["message"].as_str().unwrap_or_default();
        if ready["reason"] == "PolicyInvalid" && says.contains("Prevent") { Ok(()) } else { Err(ready.to_string()) }
    });
    many.text("new", "canary-many-new-kX9mQ2vL8nR5wT3z");
    many.bypass(&many.yaml("new", &whole("new")));
    many.becomes("new", "Ready", "False", "PolicyUnknown");
    // Nothing is withdrawn either, whatever the others say.
    many.bed.apply(&many.allowing("kept", None));
    eventually("the narrowed policy is seen", SOON, || ready(&many.bed.cluster, "segmentationpolicy", None, many.name));
    many.becomes("k0", "Authorized", "Unknown", "PolicyUnknown");
    assert_eq!(many.stub.asked(&many.key("new")), 0);
    assert_eq!(many.secrets(FEW), before);
    many.bed.apply(&many.allowing("**", None));
    // With admission, no other policy can be changed before this one is understood.
    install_unguarded(&many.bed.cluster);
    let change = [
        "patch",
        "segmentationpolicy",
        many.name,
        "--type=merge",
        "-p",
        r#"{"spec": {"mode": "Warn"}}"#,
        "--dry-run=server",
    ];
    eventually("changes of policies are reviewed", SOON, || {
        let said = String::from_utf8_lossy(&many.bed.cluster.kubectl(&change).stderr).into_owned();
        if said.contains("PolicyUnknown") && said.contains("\"even\"") { Ok(()) } else { Err(said) }
    });
    many.bed.apply(&many.allowing("**", None));
    // Of two that cannot be understood, each can be mended.
    many.bed.kubectl(&["annotate", "segmentationpolicy", "even", "example.com/note=kept"]);
    many.bed.kubectl(&["patch", "segmentationpolicy", "even", "--type=merge", "-p", r#"{"spec": {"mode": "Audit"}}"#]);
    many.bed.kubectl(&["delete", "segmentationpolicy", "odd", "even"]);
    many.all_ready(FEW);
    many.is_ready("new");
    assert_eq!(many.secrets(FEW), before);
    assert_eq!(many.writes(mark), 1, "the new one's");
    many.admission_on();
}

/// Deleting a CRD deletes its objects: that is nobody's word on what they allowed.
fn a_kind_that_is_gone(many: &mut Case) {
    // So few that nothing would hold them up.
    for other in ["kept", "new", "k8", "k9"] {
        many.bed.kubectl(&["delete", "scopedsecret", other, "-n", many.name]);
        many.secret_goes(other);
    }
    let (before, since, mark) = (many.secrets(STANDING), ready_since(many), many.bed.cluster.audit_mark());
    many.bed.kubectl(&["delete", "crd", "segmentationpolicies.scopedsecrets.io", "--timeout=30s"]);
    for i in 0..STANDING {
        let object = many.becomes(&name(i), "Authorized", "Unknown", "PolicyUnknown");
        assert_eq!(condition(&object, "Ready").unwrap()["status"], "True", "{}", object["status"]);
    }
    many.text("later", "canary-many-later-kX9mQ2vL8nR5wT3");
    many.bed.refuses(&many.yaml("later", &whole("later")), &["PolicyUnknown"]);
    assert_eq!(many.secrets(STANDING), before);
    assert_eq!(many.stub.asked(&many.key("later")), 0);
    assert_eq!(many.writes(mark), 0);
    assert_eq!(ready_since(many), since, "nothing turned red, not even for a moment");
    // The kind is back, without a policy: they went with the kind before, which is nobody's word either. The operator sees
    // it, and so does one that starts then.
    let again = many.bed.cluster.audit_mark();
    install_unguarded(&many.bed.cluster);
    stands_without_policies(many, again, &before);
    many.stop_operator();
    let again = many.bed.cluster.audit_mark();
    many.start_operator();
    stands_without_policies(many, again, &before);
    // The first that comes back is another's: no word on what these were allowed.
    let other =
        many.allowing("**", None).replace(&format!("metadata: {{name: {}}}", many.name), "metadata: {name: first}");
    let other = other.replace(&format!("matchLabels: {{tenant: {}}}", many.name), "matchLabels: {tenant: nobody}");
    eventually("the first policy is taken", SOON, || many.bed.cluster.apply(&other));
    for i in 0..STANDING {
        let object = many.becomes(&name(i), "Authorized", "False", "WithdrawalPaused");
        assert_eq!(condition(&object, "Ready").unwrap()["status"], "True", "{}", object["status"]);
    }
    assert_eq!(many.secrets(STANDING), before);
    bypass_after_install(many);
    many.all_ready(STANDING);
    assert_eq!(many.secrets(STANDING), before);
    assert_eq!(many.writes(mark), 0);
}

/// Once the operator has looked for the kind again, and has seen that there is no policy.
fn stands_without_policies(many: &Case, since: AuditMark, before: &[Value]) {
    eventually("the operator has looked at the kind", SOON, || {
        let asked = many.bed.cluster.audit_since(since).user(USER);
        let looked = asked.resource("customresourcedefinitions").only(|r| r.code == 200);
        if looked.is_empty() { Err("not yet") } else { Ok(()) }
    });
    for i in 0..STANDING {
        many.becomes(&name(i), "Authorized", "Unknown", "PolicyUnknown");
    }
    assert_eq!(many.secrets(STANDING), *before);
}

fn ready_since(many: &Case) -> Vec<String> {
    let since = |i| {
        let object = many.bed.cluster.get_json("scopedsecret", many.name, &name(i)).unwrap();
        condition(&object, "Ready").unwrap()["lastTransitionTime"].to_string()
    };
    (0..STANDING).map(since).collect()
}

fn bypass_after_install(many: &Case) {
    many.admission_off();
    many.bypass(&many.allowing("**", None));
    install_unguarded(&many.bed.cluster);
}
