//! Access that was lent is taken back: at its end, on delete, on revocation, and where what it needs is gone.

use crate::support::canary;
use crate::support::foreign_policy;
use crate::support::inside::{Moment, settles};
use crate::support::operator::{install, lift};
use crate::support::oracle::guarantees_hold_at;
use crate::support::stub_manager::Says;
use crate::support::tenants::*;
use crate::support::wait::eventually;
use crate::{ADA, BOB, LEAD, NAMESPACE, Scene, grant};
use jiff::SignedDuration;

#[test]
fn whatever_was_lent_is_taken_back() {
    let mut scene = Scene::set_up();

    // Its time is over.
    scene.lends("timed", "");
    scene.can_read(ADA, "orders");
    scene.clock.advance(SignedDuration::from_mins(31));
    scene.is_closed("timed", "Expired");
    scene.is_gone("timed");
    scene.cannot_read(ADA, "orders");
    scene.told("ScopedSecret", "orders", "GrantEnded");

    // It is deleted. Of the clock's half hour a new grant has that much less.
    scene.lends("deleted", "ttl: 2h");
    scene.can_read(ADA, "orders");
    scene.as_user(LEAD, "delete secretgrant deleted -n payments-prod", "").unwrap();
    scene.is_gone("deleted");
    scene.cannot_read(ADA, "orders");

    // It ends, and another is deleted, while no operator is there; whoever comes next sees to it first.
    scene.lends("missed", "ttl: 1h");
    scene.lends("left", "ttl: 2h");
    scene.kill();
    scene.as_user(LEAD, "delete secretgrant left -n payments-prod", "").unwrap();
    scene.clock.advance(SignedDuration::from_mins(40));
    scene.start();
    scene.is_closed("missed", "Expired");
    scene.is_gone("missed");
    scene.is_gone("left");
    scene.cannot_read(ADA, "orders");

    // One ends while the API server is away for the operator, and one is deleted then, which no watch tells.
    scene.kill();
    let relay = scene.start_by_relay();
    scene.lends("away", "ttl: 4h");
    scene.lends("deleted-away", "ttl: 8h");
    relay.cut();
    scene.as_user(LEAD, "delete secretgrant deleted-away -n payments-prod --wait=false", "").unwrap();
    // The RoleBinding goes with the grant by itself. The Role is the operator's to take, which it cannot have heard of.
    let roles = scene.lent("roles");
    assert!(roles.iter().any(|role| role.starts_with("grant-deleted-away-")), "{roles:?}");
    scene.cluster.kill_apiserver();
    relay.mend();
    scene.clock.advance(SignedDuration::from_hours(3));
    scene.cluster.start_apiserver();
    scene.is_closed("away", "Expired");
    scene.is_gone("away");
    scene.is_gone("deleted-away");
    scene.cannot_read(ADA, "orders");

    // Nobody but the operator touches what it gave, whoever it is; what got past is put right.
    scene.lends("held", "ttl: 6h");
    let handle = scene.lent("rolebindings").remove(0);
    for line in [
        format!("delete rolebinding {handle} -n {NAMESPACE}"),
        format!("delete role {handle} -n {NAMESPACE}"),
        format!("label role {handle} -n {NAMESPACE} app.kubernetes.io/managed-by-"),
        format!("annotate role {handle} -n {NAMESPACE} scopedsecrets.io/granted=2030-01-01T00:00:00Z --overwrite"),
    ] {
        let words: Vec<&str> = line.split(' ').collect();
        let told = scene.cluster.submit(&words, "");
        assert!(
            told.as_ref().is_err_and(|text| text.contains("rule ManagedSecrets, SecretManaged")),
            "{line}: {told:?}"
        );
    }
    let forged = scene.cluster.get_json("rolebinding", NAMESPACE, &handle).unwrap();
    let forged = forged.to_string().replace(&handle, "forged").replace(ADA, "mallory@example.com");
    let told = scene.cluster.submit(&["create", "-f", "-"], &forged);
    assert!(told.as_ref().is_err_and(|text| text.contains("rule ManagedSecrets, ReservedMetadata")), "{told:?}");

    // The key is revoked.
    apply(
        &scene.cluster,
        "apiVersion: scopedsecrets.io/v1alpha1\nkind: KeyRevocation\nmetadata: {name: leak}\nspec: {storeRef: {name: aws}, key: payments/prod/orders, reason: seen in a build log}\n",
    );
    eventually("it is taken back", SOON, || {
        let standing = scene.lent("rolebindings");
        if standing.is_empty() { Ok(()) } else { Err(standing.join(" ")) }
    });
    scene.is_gone("held");
    eventually("it is lifted", SOON, || scene.cluster.submit(&["delete", "keyrevocation", "leak"], ""));
    eventually("it is projected again", SOON, || ready(&scene.cluster, "scopedsecret", Some(NAMESPACE), "orders"));
    // Whoever was given it asks again: what a revocation has ended does not come back with the Secret, whoever runs.
    scene.is_closed("held", "KeyRevoked");
    scene.kill();
    scene.start();
    settles(&scene.gate);
    scene.is_closed("held", "KeyRevoked");
    scene.is_gone("held");
    scene.as_user(LEAD, "delete secretgrant held -n payments-prod", "").unwrap();

    // The rule is in another form, as while an upgrade goes on: what stands stays, and what comes waits.
    scene.lends("kept", "ttl: 6h");
    scene.can_read(ADA, "orders");
    let other = r#"[{"op": "add", "path": "/spec/validations/0/message", "value": "another form"}]"#;
    let patch = "patch validatingadmissionpolicy grants.scopedsecrets.io --type=json -p";
    let words: Vec<&str> = patch.split(' ').chain([other]).collect();
    scene.cluster.submit(&words, "").unwrap();
    let bob = "ttl: 6h\nsubject: {kind: User, name: bob@example.com}";
    eventually("it waits", SOON, || {
        let _ = scene.as_user(LEAD, "delete secretgrant waits -n payments-prod --ignore-not-found", "");
        scene.as_user(LEAD, "create -f -", &grant("waits", bob))?;
        eventually("it is judged", SOON, || {
            let status = &scene.grant("waits")["status"];
            if status["conditions"].is_array() { Ok(()) } else { Err(status.to_string()) }
        });
        let grant = scene.grant("waits");
        let ready = condition(&grant, "Ready").cloned().unwrap_or_default();
        let waits = ready["message"].as_str().is_some_and(|text| text.contains("in another form"));
        if waits && ready["reason"] == "GuardMissing" { Ok(()) } else { Err(ready.to_string()) }
    });
    settles(&scene.gate);
    assert!(scene.reads(ADA, "orders") && !scene.reads("bob@example.com", "orders"));
    install(&scene.cluster);
    scene.is_open("waits");
    scene.is_open("kept");
    scene.as_user(LEAD, "delete secretgrant kept waits -n payments-prod", "").unwrap();

    // Nobody is asked any more who may give access: what stands goes, and what comes is not honoured, nor ever will be.
    scene.lends("guarded", "ttl: 6h");
    scene.can_read(ADA, "orders");
    lift(&scene.cluster, "grants");
    scene.is_closed("guarded", "GuardMissing");
    scene.is_gone("guarded");
    scene.cannot_read(ADA, "orders");
    eventually("nobody asks", SOON, || {
        scene.as_user(
            ADA,
            "create -f -",
            &grant("sneaked", "ttl: 6h\nsubject: {kind: User, name: mallory@example.com}"),
        )
    });
    scene.is_closed("sneaked", "GuardMissing");
    install(&scene.cluster);
    eventually("it is asked again", SOON, || match scene.as_user(ADA, "create -f -", &grant("asked", "")) {
        Err(refusal) if refusal.contains("rule Grants, GrantNotAllowed") => Ok(()),
        other => Err(format!("{other:?}")),
    });
    eventually("the rule is seen to be in force", SOON, || {
        let text = scene.grant("sneaked")["status"].to_string();
        if text.contains("before rule Grants was in force") { Ok(()) } else { Err(text) }
    });
    assert!(!scene.reads("mallory@example.com", "orders"));
    // A rule that is a moment old may have missed what came with it.
    eventually("a new grant is honoured", SOON, || {
        let _ = scene.as_user(LEAD, "delete secretgrant again -n payments-prod --ignore-not-found", "");
        scene.as_user(LEAD, "create -f -", &grant("again", "ttl: 6h"))?;
        scene
            .cluster
            .submit(&["wait", "--for=condition=Ready", "--timeout=3s", "secretgrant/again", "-n", NAMESPACE], "")
    });

    // Its ScopedSecret is gone.
    scene.can_read(ADA, "orders");
    scene.cluster.submit(&["delete", "scopedsecret", "orders", "-n", NAMESPACE], "").unwrap();
    scene.is_closed("again", "GrantOutdated");
    scene.is_gone("again");
    scene.cannot_read(ADA, "orders");
    // Another one of its name, with a key that nobody gave.
    let root = scoped_secret(NAMESPACE, "orders", "data: [{secretKey: value, remoteRef: {key: payments/prod/root}}]\n");
    scene.stub.put("payments/prod/root", Says::Text("canary-root-kX9mQ2vL8nR5wT3z".to_owned()));
    eventually("it is claimed anew", SOON, || scene.cluster.apply(&root));
    eventually("it is projected", SOON, || ready(&scene.cluster, "scopedsecret", Some(NAMESPACE), "orders"));
    scene.is_closed("again", "GrantOutdated");
    assert!(scene.lent("rolebindings").is_empty());
    // The same one with another key, and with the first again; its grant is over, whoever runs.
    scene.lends("edited", "ttl: 6h");
    scene.can_read(ADA, "orders");
    apply(&scene.cluster, &root.replace("prod/root", "prod/orders"));
    scene.is_closed("edited", "GrantOutdated");
    scene.is_gone("edited");
    scene.cannot_read(ADA, "orders");
    apply(&scene.cluster, &root);
    scene.kill();
    scene.start();
    eventually("it is projected", SOON, || ready(&scene.cluster, "scopedsecret", Some(NAMESPACE), "orders"));
    settles(&scene.gate);
    scene.is_closed("edited", "GrantOutdated");
    scene.is_gone("edited");
    // Given by who was killed before status said what; deleted while nobody is there to see it.
    scene.gate.arm(1, Moment::After);
    scene.as_user(LEAD, "create -f -", &grant("unsaid", "ttl: 6h")).unwrap();
    assert!(scene.gate.dies_within(SOON), "{:?}", scene.gate.writes());
    scene.kill();
    scene.cluster.submit(&["delete", "scopedsecret", "orders", "-n", NAMESPACE], "").unwrap();
    scene.start();
    scene.is_closed("unsaid", "GrantOutdated");
    eventually("it is claimed anew", SOON, || scene.cluster.apply(&root));
    scene.is_closed("unsaid", "GrantOutdated");
    scene.is_gone("unsaid");
    scene.recorded("Granted", "unsaid");
    scene.recorded("GrantEnded", "unsaid");

    guarantees_hold_at(&scene.cluster, || scene.clock.now());
    canary::scan(&scene.cluster, scene.operator.as_ref().unwrap(), &[canary::CANARY]);
}

/// Another team's policy keeps the RoleBinding for a while: that is told for as long, and then it goes.
#[test]
fn what_cannot_be_taken_back_is_told_and_goes_when_it_can() {
    let scene = Scene::set_up();
    scene.limit("maxTTL: 8h, approval: None");
    scene.lends("kept", "ttl: 1h");
    scene.can_read(ADA, "orders");
    let bindings = "resourceRules: [{apiGroups: [rbac.authorization.k8s.io], apiVersions: [v1], operations: [DELETE], resources: [rolebindings]}]";
    foreign_policy::deny(&scene.cluster, "keeps.example.com", &[bindings], "message: not now");
    let delete = ["delete", "rolebinding", "approves", "-n", NAMESPACE, "--dry-run=server"];
    eventually("it is in force", SOON, || match scene.cluster.submit(&delete, "") {
        Err(text) if text.contains("not now") => Ok(()),
        other => Err(format!("{other:?}")),
    });
    scene.clock.advance(SignedDuration::from_mins(61));
    eventually("it says so", SOON, || {
        let grant = scene.grant("kept");
        let told = condition(&grant, "Ready").cloned().unwrap_or_default();
        let text = told["message"].as_str().unwrap_or_default();
        let says = ["may still read", "could not be taken back", "keeps.example.com"];
        let right = told["reason"] == "WriteFailed" && says.iter().all(|part| text.contains(part));
        if right { Ok(()) } else { Err(grant["status"].to_string()) }
    });
    assert!(scene.reads(ADA, "orders"));
    foreign_policy::lift(&scene.cluster, "keeps.example.com");
    eventually("it goes", SOON * 4, || match scene.lent("rolebindings").is_empty() {
        true => Ok(()),
        false => Err(scene.grant("kept")["status"].to_string()),
    });
    scene.is_closed("kept", "Expired");
    scene.cannot_read(ADA, "orders");
    guarantees_hold_at(&scene.cluster, || scene.clock.now());
}

/// Where an approval is required the time runs from it, whoever was away, and ends once.
#[test]
fn what_needs_an_approval_waits_for_it() {
    let mut scene = Scene::set_up();
    scene.limit("maxTTL: 8h, approval: Required");
    let asked = format!("ttl: 1h\nrequestedBy: {LEAD}");
    scene.as_user(LEAD, "create -f -", &grant("ada", &asked)).unwrap();
    scene.is_closed("ada", "AwaitsApproval");
    // However long it waits.
    scene.clock.advance(SignedDuration::from_hours(5));
    assert!(!scene.reads(ADA, "orders"));
    let approve = |by: &str, says: &str| {
        let patch = format!(r#"{{"spec":{{"approvedBy":"{says}"}}}}"#);
        scene.as_user(by, &format!("patch secretgrant ada -n payments-prod --type=merge -p {patch}"), "")
    };
    for (by, says) in [(LEAD, LEAD), (LEAD, BOB), (ADA, ADA), (ADA, BOB), (BOB, LEAD)] {
        let told = approve(by, says);
        assert!(
            told.as_ref().is_err_and(|text| text.contains("rule Grants, ApprovalNotAllowed")),
            "{by} as {says}: {told:?}"
        );
    }
    // The machine's clock says when; the operator's is five hours ahead: its time is over before it was seen.
    approve(BOB, BOB).unwrap();
    scene.is_closed("ada", "Expired");
    let told = approve(BOB, LEAD);
    assert!(told.as_ref().is_err_and(|text| text.contains("approvedBy is set once")), "{told:?}");

    scene.as_user(LEAD, "create -f -", &grant("eve", &asked.replace("1h", "8h"))).unwrap();
    let patch = format!(r#"{{"spec":{{"approvedBy":"{BOB}"}}}}"#);
    scene.as_user(BOB, &format!("patch secretgrant eve -n payments-prod --type=merge -p {patch}"), "").unwrap();
    scene.is_open("eve");
    scene.can_read(ADA, "orders");
    let (start, end) = term(&scene, "eve");
    // Who takes the note away gains no time.
    scene.kill();
    lift(&scene.cluster, "managed-secrets");
    let handle = scene.lent("roles").remove(0);
    scene.cluster.submit(&["delete", "role", &handle, "-n", NAMESPACE], "").unwrap();
    scene.clock.advance(SignedDuration::from_mins(30));
    scene.start();
    eventually("it is given again", SOON, || if scene.lent("roles").is_empty() { Err("no Role") } else { Ok(()) });
    scene.can_read(ADA, "orders");
    assert_eq!(term(&scene, "eve"), (start, end));
    scene.clock.advance(SignedDuration::from_hours(3));
    scene.is_closed("eve", "Expired");
    scene.is_gone("eve");
    // It is over for good, whoever starts.
    scene.kill();
    scene.start();
    scene.is_closed("eve", "Expired");
    assert!(scene.lent("roles").is_empty() && scene.lent("rolebindings").is_empty());

    // The time runs from the approval though it gives no access yet.
    apply(
        &scene.cluster,
        "apiVersion: scopedsecrets.io/v1alpha1\nkind: KeyRevocation\nmetadata: {name: approved}\nspec: {storeRef: {name: aws}, key: payments/prod/orders, reason: seen in a build log}\n",
    );
    becomes(&scene.cluster, NAMESPACE, "orders", "Authorized", "False", "KeyRevoked");
    scene.as_user(LEAD, "create -f -", &grant("kim", &asked.replace("1h", "8h"))).unwrap();
    scene.is_closed("kim", "AwaitsApproval");
    scene.as_user(BOB, &format!("patch secretgrant kim -n payments-prod --type=merge -p {patch}"), "").unwrap();
    scene.is_closed("kim", "Expired");
    scene.cluster.submit(&["delete", "keyrevocation", "approved"], "").unwrap();

    // Without an approval none is honoured, even if it was made before one was required.
    scene.limit("maxTTL: 30m, approval: None");
    guarantees_hold_at(&scene.cluster, || scene.clock.now());
}

fn term(scene: &Scene, name: &str) -> (String, String) {
    let status = scene.grant(name)["status"].clone();
    (status["startTime"].to_string(), status["expirationTime"].to_string())
}
