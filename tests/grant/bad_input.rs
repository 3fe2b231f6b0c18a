//! What is refused when it is applied, and what is told of what cannot be.

use crate::support::operator::lift;
use crate::support::oracle::guarantees_hold_at;
use crate::support::tenants::SOON;
use crate::support::wait::eventually;
use crate::{ADA, BOB, LEAD, NAMESPACE, Scene, grant};

/// Who tries it, further lines of the spec, and what the refusal says.
const REFUSED: [(&str, &str, &[&str]); 13] = [
    (ADA, "", &["rule Grants, GrantNotAllowed", "the verb grant", "\"orders\""]),
    (LEAD, "scopedSecretRef: {name: reports}", &["rule Grants, GrantNotAllowed", "\"reports\""]),
    (LEAD, "ttl: 9h", &["rule Grants, GrantTooLong", "write 8h at most"]),
    (LEAD, "ttl: 1d", &["rule Grants, GrantTooLong"]),
    (LEAD, "ttl: 0s", &["ttl is between 1s"]),
    (LEAD, "ttl: soon", &["Go's form"]),
    (LEAD, "subject: {kind: User, name: \"system:masters\"}", &["kind User is a person"]),
    (
        LEAD,
        "subject: {kind: User, name: \"system:serviceaccount:billing-prod:thief\"}",
        &["kind User is a person", "bare name"],
    ),
    (LEAD, "subject: {kind: ServiceAccount, name: \"billing-prod:thief\"}", &["without a namespace"]),
    (LEAD, "subject: {kind: ServiceAccount, name: thief, namespace: billing-prod}", &["unknown field", "namespace"]),
    (LEAD, "subject: {kind: Group, name: everybody}", &["supported values"]),
    (LEAD, "requestedBy: lead@example.com", &["rule Grants, RequesterNotNamed", "requires no approval"]),
    (LEAD, "requestedBy: lead@example.com\napprovedBy: bob@example.com", &["rule Grants, RequesterNotNamed"]),
];

fn refuses(scene: &Scene, who: &str, yaml: &str, says: &[&str]) {
    let told = scene.as_user(who, "create -f -", yaml);
    let right = told.as_ref().is_err_and(|text| says.iter().all(|part| text.contains(part)));
    assert!(right, "{who}, {says:?}: {told:?}\n{yaml}");
}

#[test]
fn what_cannot_be_lent_is_refused_in_words() {
    let mut scene = Scene::set_up();
    for (who, more, says) in REFUSED {
        refuses(&scene, who, &grant("bad", more), says);
    }
    // Nobody governs it, so there is nothing to give.
    let elsewhere = grant("bad", "").replace("payments-prod", "plain");
    let told = scene.cluster.apply(&elsewhere);
    assert!(told.as_ref().is_err_and(|text| text.contains("grants.scopedsecrets.io")), "{told:?}");

    // Nothing of it changes afterwards.
    scene.lends("ada", "");
    for patch in [
        r#"{"spec":{"ttl":"8h"}}"#,
        r#"{"spec":{"subject":{"kind":"User","name":"mallory"}}}"#,
        r#"{"spec":{"scopedSecretRef":{"name":"reports"}}}"#,
        r#"{"spec":{"reason":"another"}}"#,
        r#"{"spec":{"rotateAfter":true}}"#,
        r#"{"spec":{"requestedBy":"lead@example.com"}}"#,
    ] {
        let told =
            scene.cluster.submit(&["patch", "secretgrant", "ada", "-n", NAMESPACE, "--type=merge", "-p", patch], "");
        assert!(told.as_ref().is_err_and(|text| text.contains("immutable but for approvedBy")), "{patch}: {told:?}");
    }
    let told = scene.as_user(
        BOB,
        r#"patch secretgrant ada -n payments-prod --type=merge -p {"spec":{"approvedBy":"bob@example.com"}}"#,
        "",
    );
    assert!(told.as_ref().is_err_and(|text| text.contains("nothing to approve")), "{told:?}");
    let status = r#"patch secretgrant ada -n payments-prod --subresource=status --type=merge -p {"status":{"startTime":"2030-01-01T00:00:00Z"}}"#;
    let words: Vec<&str> = status.split(' ').collect();
    let told = scene.cluster.submit(&words, "");
    assert!(told.as_ref().is_err_and(|text| text.contains("rule ManagedSecrets, OperatorOnly")), "{told:?}");
    // Labels and finalizers are free.
    scene.as_user(LEAD, "label secretgrant ada -n payments-prod a=b", "").unwrap();

    // A ScopedSecret that is not there; it is lent once it is.
    scene.as_user(LEAD, "create -f -", &grant("later", "scopedSecretRef: {name: later}")).unwrap();
    scene.is_closed("later", "SecretNotProjected");
    scene.claim("later", "");
    scene.is_open("later");
    scene.can_read(ADA, "later");

    // Its value could not be rotated afterwards.
    scene.as_user(LEAD, "create -f -", &grant("owed", "rotateAfter: true")).unwrap();
    scene.is_closed("owed", "RotationNotDeclared");

    // The policy is tightened: what is longer than it lets be is taken back.
    scene.limit("maxTTL: 10m, approval: None");
    scene.is_closed("ada", "GrantTooLong");
    scene.cannot_read(ADA, "orders");

    // Without an approval none is honoured where one is required by now.
    scene.as_user(LEAD, "create -f -", &grant("short", "ttl: 5m")).unwrap();
    scene.is_open("short");
    scene.limit("maxTTL: 8h, approval: Required");
    scene.is_closed("short", "ApprovalRequired");
    for (who, more, says) in [
        (LEAD, "", "write requestedBy: lead@example.com"),
        (LEAD, "requestedBy: bob@example.com", "write requestedBy: lead@example.com"),
        (LEAD, "requestedBy: lead@example.com\napprovedBy: bob@example.com", "leave approvedBy out"),
    ] {
        refuses(&scene, who, &grant("bad", more), &["rule Grants, RequesterNotNamed", says]);
    }

    // What the API server did not refuse the operator does not honour.
    scene.kill();
    lift(&scene.cluster, "grants");
    let admin = |yaml: &str| eventually("nobody asks", SOON, || scene.cluster.apply(yaml));
    admin(&grant("forged", "requestedBy: lead@example.com\napprovedBy: lead@example.com"));
    scene.start();
    scene.is_closed("forged", "GuardMissing");
    assert!(!scene.reads(ADA, "orders"));
    guarantees_hold_at(&scene.cluster, || scene.clock.now());
}
