//! Stores that are not there, not reachable, or not let in.

use crate::bed::{Case, How, whole};
use crate::support::stub_manager::{Mood, Says};
use crate::support::tenants::{SOON, condition};
use crate::support::wait::eventually;

#[test]
fn an_unknown_store() {
    let case = Case::bare("unknown-store");
    case.bed.apply(&case.namespace());
    case.bed.apply(&case.policy(""));
    eventually("the policy is ready", SOON, || {
        crate::support::tenants::ready(&case.bed.cluster, "segmentationpolicy", None, case.name)
    });
    case.text("db", "canary-unknown-store-kX9mQ2vL8nR5");
    case.claim("db", &whole("db"));
    case.told(
        "db",
        How::Undecided,
        "StoreNotFound",
        &["\"unknown-store\"", "create it, or correct spec.storeRef.name"],
    );
    case.no_secret("db");
    case.bed.apply(&case.store(&case.stub.endpoint));
    case.is_ready("db");
}

#[test]
fn a_store_that_no_policy_allows() {
    let case = Case::new("other-store");
    let yaml = case.yaml("db", &whole("db")).replace("storeRef: {name: other-store}", "storeRef: {name: nowhere}");
    case.bed.refuses(&yaml, &["KeyNotAllowed", "it allows this namespace nothing in that store"]);
}

/// An address where nobody listens.
fn closed_port() -> String {
    "http://127.0.0.1:1".to_owned()
}

#[test]
fn a_store_that_cannot_be_reached() {
    let case = Case::new("unreachable");
    case.projected("before", "canary-before-unreachable-kX9mQ2");
    case.text("db", "canary-unreachable-kX9mQ2vL8nR5wT");
    case.bed.apply(&case.store(&closed_port()));
    case.claim("db", &whole("db"));
    let says = ["KEY/db", "connection refused", "it will be asked again"];
    case.told("db", How::Waiting, "ProviderUnavailable", &says);
    case.no_secret("db");
    case.refresh("before");
    case.told("before", How::LastGood, "ProviderUnavailable", &["connection refused"]);
    case.holds("before", "value", "canary-before-unreachable-kX9mQ2");
    case.bed.apply(&case.store(&case.stub.endpoint));
    case.is_ready("db");
    eventually("the outage is over", SOON, || {
        let object = case.bed.cluster.get_json("scopedsecret", case.name, "before").ok_or("gone")?;
        let synced = condition(&object, "Synced").cloned().unwrap_or_default();
        if synced["status"] == "True" { Ok(()) } else { Err(synced.to_string()) }
    });
}

#[test]
fn a_store_whose_account_cannot_be_asked_for() {
    let case = Case::bare("no-account");
    case.bed.apply(&case.namespace());
    case.bed.apply(&case.policy(""));
    let store = |endpoint: &str| case.store(endpoint).replace("accountId: \"123456789012\", ", "");
    case.bed.apply(&store(&closed_port()));
    let failing = |reason: &str| {
        eventually(&format!("the store says {reason}"), SOON, || {
            let store = case.bed.cluster.get_json("scopedsecretstore", None, case.name).ok_or("gone")?;
            let ready = condition(&store, "Ready").cloned().unwrap_or_default();
            let right = ready["reason"] == reason && condition(&store, "Reconciling").is_some();
            if right { Ok(ready["message"].as_str().unwrap_or_default().to_owned()) } else { Err(store.to_string()) }
        })
    };
    let text = failing("ProviderUnavailable");
    assert!(text.contains("sts:GetCallerIdentity") && text.contains("set spec.aws.accountId"), "{text}");
    case.text("db", "canary-no-account-kX9mQ2vL8nR5wT3");
    case.claim("db", &whole("db"));
    case.told("db", How::Undecided, "AccountUnknown", &["\"no-account\"", "see the store's status"]);
    case.no_secret("db");
    case.stub.set_mood(Mood::Fails(403, "InvalidClientTokenId"));
    case.bed.apply(&store(&case.stub.endpoint));
    let text = failing("CredentialsInvalid");
    assert!(text.contains("replace them"), "{text}");
    case.stub.set_mood(Mood::Well);
    case.is_ready("db");
}

#[test]
fn a_manager_that_refuses_every_call() {
    let case = Case::new("refusing");
    case.projected("before", "canary-before-refusing-kX9mQ2vL8");
    let moods = [
        ("unknown-key", Mood::Fails(400, "UnrecognizedClientException"), "CredentialsInvalid", "replace them"),
        ("expired", Mood::Fails(400, "ExpiredTokenException"), "CredentialsInvalid", "they have expired; renew them"),
        ("signature", Mood::Fails(400, "InvalidSignatureException"), "CredentialsInvalid", "refused the signature"),
        ("denied", Mood::Fails(400, "AccessDeniedException"), "AccessDenied", "allow it in the identity's policy"),
        ("throttled", Mood::Fails(400, "ThrottlingException"), "Throttled", "more slowly"),
        ("broken", Mood::Fails(500, "InternalServiceError"), "ProviderUnavailable", "internal error"),
        ("proxy", Mood::Html(502), "ProviderUnavailable", "not one of AWS's"),
        ("down", Mood::Down, "ProviderUnavailable", "it will be asked again"),
    ];
    for (name, mood, reason, says) in moods.clone() {
        case.text(name, &format!("canary-refusing-{name}-kX9mQ2vL8"));
        case.stub.set_mood(mood);
        case.claim(name, &whole(name));
        case.told(name, How::Waiting, reason, &[&format!("KEY/{name}"), "\"refusing\"", says]);
        case.no_secret(name);
    }
    case.refresh("before");
    case.told("before", How::LastGood, "ProviderUnavailable", &[]);
    case.holds("before", "value", "canary-before-refusing-kX9mQ2vL8");
    case.stub.set_mood(Mood::Well);
    for (name, ..) in moods {
        case.is_ready(name);
    }
}

#[test]
fn a_manager_that_never_answers() {
    let case = Case::new("hanging");
    case.text("db", "canary-hanging-kX9mQ2vL8nR5wT3z1p");
    case.stub.set_mood(Mood::Hangs);
    case.claim("db", &whole("db"));
    case.told("db", How::Waiting, "ProviderUnavailable", &["no answer in time"]);
    case.no_secret("db");
    case.stub.set_mood(Mood::Well);
    case.is_ready("db");
}

#[test]
fn one_bad_key_in_a_batch() {
    let case = Case::new("partial");
    case.says("denied", Says::Error("AccessDeniedException"));
    case.says("undecipherable", Says::Error("DecryptionFailure"));
    case.says("left-out", Says::Nothing);
    case.text("healthy", "canary-partial-healthy-kX9mQ2vL8n");
    let all = ["denied", "undecipherable", "left-out", "healthy"].map(|name| case.yaml(name, &whole(name)));
    case.bed.apply(&all.join("---\n"));
    case.is_ready("healthy");
    case.told("denied", How::Waiting, "AccessDenied", &["KEY/denied", "secretsmanager:GetSecretValue"]);
    case.told("undecipherable", How::Waiting, "DecryptionFailed", &["KEY/undecipherable", "encryption key is enabled"]);
    case.told("left-out", How::Waiting, "RemoteIncomplete", &["KEY/left-out", "it will be asked again"]);
    for name in ["denied", "undecipherable", "left-out"] {
        case.no_secret(name);
    }
    // One claim of a good and a bad key is all or nothing.
    case.claim(
        "both",
        "data:\n- {secretKey: a, remoteRef: {key: KEY/healthy}}\n- {secretKey: b, remoteRef: {key: KEY/denied}}",
    );
    case.told("both", How::Waiting, "AccessDenied", &["KEY/denied"]);
    case.no_secret("both");
}

#[test]
fn credentials_missing_incomplete_wrong_and_repaired() {
    let case = Case::bare("credentials");
    case.bed.apply(&case.namespace());
    case.bed.apply(&case.policy(""));
    case.bed.apply(
        &case.store(&case.stub.endpoint).replace("auth: {}", "auth: {secretRef: {name: credentials-of-a-store}}"),
    );
    case.stub.set_mood(Mood::Knows("AKIAGOOD"));
    case.text("db", "canary-credentials-kX9mQ2vL8nR5wT");
    let store_says = |status: &str, reason: &str, says: &str| {
        eventually(&format!("the store says {reason}"), SOON, || {
            let store = case.bed.cluster.get_json("scopedsecretstore", None, case.name).ok_or("gone")?;
            let ready = condition(&store, "Ready").cloned().unwrap_or_default();
            let text = ready["message"].as_str().unwrap_or_default();
            let right = ready["status"] == status && ready["reason"] == reason && text.contains(says);
            if right { Ok(()) } else { Err(store["status"].to_string()) }
        });
    };
    let credentials = |id: &str, key: &str| {
        format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: credentials-of-a-store, namespace: scoped-secrets}}\nstringData: {{accessKeyId: \"{id}\", secretAccessKey: \"{key}\"}}\n"
        )
    };
    store_says("False", "CredentialsMissing", "create it with accessKeyId and secretAccessKey");
    case.claim("db", &whole("db"));
    case.told("db", How::Waiting, "CredentialsMissing", &["is missing or incomplete"]);
    case.no_secret("db");

    case.bed.apply(&credentials("AKIAGOOD", ""));
    store_says("False", "CredentialsMissing", "has no usable key \"secretAccessKey\"");
    case.told("db", How::Waiting, "CredentialsMissing", &[]);

    case.bed.apply(&credentials("AKIAWRONG", "canary-access-key-wrong-kX9mQ2vL8"));
    case.told("db", How::Waiting, "CredentialsInvalid", &["replace them"]);
    case.no_secret("db");

    // It must not wait for the backoff of what failed before.
    let repaired = std::time::Instant::now();
    case.bed.apply(&credentials("AKIAGOOD", "canary-access-key-good-kX9mQ2vL8n"));
    case.is_ready("db");
    assert!(repaired.elapsed() < std::time::Duration::from_secs(10), "{:?}", repaired.elapsed());
    store_says("True", "Reachable", "");

    case.bed.kubectl(&["delete", "secret", "credentials-of-a-store", "-n", "scoped-secrets"]);
    store_says("False", "CredentialsMissing", "");
    case.refresh("db");
    case.told("db", How::LastGood, "CredentialsMissing", &[]);
    case.holds("db", "value", "canary-credentials-kX9mQ2vL8nR5wT");
}
