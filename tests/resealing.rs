//! The seal key grows old: it is rotated, every Secret is sealed anew as it is refreshed and otherwise left as it is, and an
//! old generation is kept for as long as a seal needs it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod support;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use std::path::PathBuf;
use support::cluster::Cluster;
use support::events;
use support::operator::{NAMESPACE, Operator, USER, install};
use support::oracle::all_is_well;
use support::stub_manager::{Says, StubManager};
use support::tenants::*;
use support::wait::eventually;

/// The ids of the key's generations, the newest first.
fn generations(cluster: &Cluster) -> Vec<String> {
    let secret = cluster.get_json("secret", NAMESPACE, "scoped-secrets-keys").expect("the seal key");
    let stored = STANDARD.decode(secret["data"]["generations"].as_str().unwrap()).unwrap();
    let stored: Value = serde_json::from_slice(&stored).unwrap();
    stored.as_array().unwrap().iter().map(|g| g["id"].as_str().unwrap().to_owned()).collect()
}

fn secret(cluster: &Cluster, name: &str) -> Value {
    cluster.get_json("secret", "payments-prod", name).expect("a Secret")
}

/// The generation that sealed a Secret.
fn sealed_by(secret: &Value) -> String {
    let seal = secret["metadata"]["annotations"]["scopedsecrets.io/seal"].as_str().expect("a seal");
    seal.split('.').nth(1).unwrap().to_owned()
}

fn changed_at(cluster: &Cluster, name: &str) -> Value {
    cluster.get_json("scopedsecret", "payments-prod", name).unwrap()["status"]["lastChangeTime"].clone()
}

/// A directory that the operator reads: its versions depend on the seal key.
fn files(cluster: &Cluster) -> PathBuf {
    let root = cluster.dir.join("files");
    std::fs::create_dir_all(root.join("payments/prod")).unwrap();
    std::fs::write(root.join("payments/prod/file.json"), r#"{"value": "canary-file-kX9mQ2vL8nR5wT3z1pQ"}"#).unwrap();
    root
}

#[test]
fn the_seal_key_is_rotated() {
    let (cluster, stub) = (Cluster::start(), StubManager::start());
    install(&cluster);
    let operator = Operator::start(&cluster);
    set_up(&cluster, &stub.endpoint);
    let root = files(&cluster);
    apply(
        &cluster,
        &format!(
            "apiVersion: scopedsecrets.io/v1alpha1\nkind: ScopedSecretStore\nmetadata: {{name: files}}\nspec: {{file: {{path: {}}}}}\n",
            root.display()
        ),
    );
    apply(
        &cluster,
        &format!(
            "{POLICY}  - storeRef: {{name: files}}\n    keys: [\"${{label:tenant}}/${{label:environment}}/**\"]\n"
        ),
    );
    eventually("the policy is ready", SOON, || ready(&cluster, "segmentationpolicy", None, "tenants"));

    let names = ["one", "two", "late", "manual", "file"];
    for (name, interval) in [("one", "1s"), ("two", "2s"), ("late", "1s"), ("manual", "0s")] {
        stub.put(&format!("payments/prod/{name}"), Says::Text(format!("canary-{name}-kX9mQ2vL8nR5wT3z1pQ")));
        let spec = format!(
            "data: [{{secretKey: value, remoteRef: {{key: payments/prod/{name}}}}}]\nrefreshInterval: {interval}"
        );
        apply(&cluster, &scoped_secret("payments-prod", name, &spec));
    }
    let spec = "data: [{secretKey: value, remoteRef: {key: payments/prod/file, property: value}}]\nrefreshInterval: 1s";
    apply(&cluster, &scoped_secret("payments-prod", "file", spec).replace("{name: aws}", "{name: files}"));
    for name in names {
        eventually(&format!("{name} is ready"), SOON, || ready(&cluster, "scopedsecret", Some("payments-prod"), name));
    }
    let before = names.map(|name| (secret(&cluster, name), changed_at(&cluster, name)));
    let first = generations(&cluster);
    assert_eq!(first.len(), 1);
    let same = |name: &str| {
        let (old, changed) = &before[names.iter().position(|n| *n == name).unwrap()];
        let now = secret(&cluster, name);
        assert_eq!((&now["data"], &now["metadata"]["uid"]), (&old["data"], &old["metadata"]["uid"]), "{name}");
        assert_eq!(changed_at(&cluster, name), *changed, "{name}: the content did not change");
        let told = events::told(&cluster, "payments-prod", name);
        assert!(!told.contains_key("Updated") && !told.contains_key("Restored"), "{name}: {told:?}");
    };

    // One cannot be asked for when the key changes.
    stub.put("payments/prod/late", Says::Error("AccessDeniedException"));
    becomes(&cluster, "payments-prod", "late", "Synced", "False", "AccessDenied");
    operator.terminate();
    let manual_asked = stub.asked("payments/prod/manual");
    let operator = Operator::start_with(&cluster, &["--seal-key-max-age", "1s"]);
    let second = eventually("the key is rotated", SOON, || match generations(&cluster) {
        two if two.len() == 2 => Ok(two),
        other => Err(format!("{other:?}")),
    });
    assert_eq!(second[1], first[0], "the one before is kept");
    for name in ["one", "two", "file"] {
        eventually(&format!("{name} is sealed anew"), SOON, || match sealed_by(&secret(&cluster, name)) {
            by if by == second[0] => Ok(()),
            other => Err(other),
        });
        same(name);
    }
    assert_eq!(sealed_by(&secret(&cluster, "late")), first[0], "nothing is written without an answer");

    // The leader looks after the key whenever it counts claims; for as long as a seal needs the old generation, it stays.
    for name in ["witness-1", "witness-2"] {
        stub.put(&format!("payments/prod/{name}"), Says::Text(format!("canary-{name}-kX9mQ2vL8nR5wT3z1pQ")));
        let spec =
            format!("data: [{{secretKey: value, remoteRef: {{key: payments/prod/{name}}}}}]\nrefreshInterval: 1s");
        apply(&cluster, &scoped_secret("payments-prod", name, &spec));
        // Beside them one is stale.
        let count = if name == "witness-1" { 5 } else { 6 };
        eventually("the leader has counted it", SOON, || {
            let metrics = operator.probe("/metrics")?;
            let line = format!("scoped_secrets_claims{{reason=\"Ready\"}} {count}");
            if metrics.contains(&line) { Ok(()) } else { Err(metrics) }
        });
    }
    assert_eq!(generations(&cluster), second, "a seal still needs the old generation");
    for name in names {
        same(name);
    }
    assert_eq!(stub.asked("payments/prod/manual"), manual_asked, "0s: a new key is no reason to ask");

    // Whoever asks for them has the last ones sealed anew.
    stub.put("payments/prod/late", Says::Text("canary-late-later-kX9mQ2vL8nR5wT".into()));
    let mark = cluster.audit_mark();
    for name in ["late", "manual"] {
        let refresh = ["annotate", "scopedsecret", name, "-n", "payments-prod", "scopedsecrets.io/refresh-at=now"];
        assert!(cluster.kubectl(&refresh).status.success());
    }
    becomes(&cluster, "payments-prod", "late", "Synced", "True", "Synced");
    let third = eventually("the key is rotated once more", SOON * 2, || match generations(&cluster) {
        two if two[0] != second[0] => Ok(two),
        other => Err(format!("{other:?}")),
    });
    assert_eq!(third[1], second[0]);
    assert!(!third.contains(&first[0]), "nobody needs the first");
    for name in ["one", "late"] {
        eventually(&format!("{name} is sealed anew"), SOON, || match sealed_by(&secret(&cluster, name)) {
            by if by != first[0] && by != second[0] => Ok(()),
            other => Err(other),
        });
    }
    names.iter().filter(|name| **name != "late").for_each(|name| same(name));
    let asked = cluster.audit_since(mark).user(USER).namespace("payments-prod").resource("secrets");
    assert!(asked.iter().all(|request| request.verb == "update"), "no Secret is read, none made: {asked:?}");
    all_is_well(&cluster, &operator);
}

/// What is retained has no owner, and no seal that says whose it is any more: status does.
#[test]
fn a_retained_secret_outlives_the_seal_key() {
    let (cluster, stub) = (Cluster::start(), StubManager::start());
    install(&cluster);
    let operator = Operator::start(&cluster);
    set_up(&cluster, &stub.endpoint);
    apply(&cluster, &format!("{POLICY}  rules: {{allowRetain: true}}\n"));
    stub.put("payments/prod/kept", Says::Text("canary-kept-kX9mQ2vL8nR5wT3z1pQ".into()));
    let spec = "data: [{secretKey: value, remoteRef: {key: payments/prod/kept}}]\ndeletionPolicy: Retain";
    eventually("it may be retained", SOON, || cluster.apply(&scoped_secret("payments-prod", "kept", spec)));
    // Ready is also whoever keeps the last good value: that status speaks of this revision is what a lost key leaves.
    let is_told = || {
        eventually("status speaks of it", SOON, || {
            ready(&cluster, "scopedsecret", Some("payments-prod"), "kept")?;
            let claim = cluster.get_json("scopedsecret", "payments-prod", "kept").ok_or("it is gone")?;
            let (told, there) =
                (&claim["status"]["secretRef"], &secret(&cluster, "kept")["metadata"]["resourceVersion"]);
            if told["resourceVersion"] == *there { Ok(()) } else { Err(format!("{told}, and {there} is there")) }
        });
    };
    is_told();
    let (before, first) = (secret(&cluster, "kept"), generations(&cluster));
    operator.terminate();
    assert!(cluster.kubectl(&["delete", "secret", "scoped-secrets-keys", "-n", NAMESPACE]).status.success());

    let operator = Operator::start(&cluster);
    eventually("it is sealed anew", SOON, || match sealed_by(&secret(&cluster, "kept")) {
        by if by != first[0] => Ok(()),
        other => Err(other),
    });
    is_told();
    let after = secret(&cluster, "kept");
    assert_eq!((&after["data"], &after["metadata"]["uid"]), (&before["data"], &before["metadata"]["uid"]));
    assert!(after["metadata"]["ownerReferences"].is_null(), "{}", after["metadata"]);
    all_is_well(&cluster, &operator);

    // Once more, and the manager is away meanwhile.
    let second = generations(&cluster);
    operator.terminate();
    assert!(cluster.kubectl(&["delete", "secret", "scoped-secrets-keys", "-n", NAMESPACE]).status.success());
    stub.put("payments/prod/kept", Says::Error("InternalServiceError"));
    let operator = Operator::start(&cluster);
    let told = becomes(&cluster, "payments-prod", "kept", "Synced", "False", "ProviderUnavailable");
    assert_eq!(told["status"]["secretRef"]["uid"], after["metadata"]["uid"], "{}", told["status"]);
    stub.put("payments/prod/kept", Says::Text("canary-kept-kX9mQ2vL8nR5wT3z1pQ".into()));
    eventually("it is sealed anew", SOON, || match sealed_by(&secret(&cluster, "kept")) {
        by if by != first[0] && by != second[0] => Ok(()),
        other => Err(other),
    });
    is_told();

    // And a leak of its key takes it, also where its seal is lost.
    operator.terminate();
    assert!(cluster.kubectl(&["delete", "secret", "scoped-secrets-keys", "-n", NAMESPACE]).status.success());
    let leak = "apiVersion: scopedsecrets.io/v1alpha1\nkind: KeyRevocation\nmetadata: {name: kept}\nspec: {storeRef: {name: aws}, key: payments/prod/kept, reason: seen in a build log}\n";
    apply(&cluster, leak);
    let operator = Operator::start(&cluster);
    eventually("it goes", SOON, || match cluster.get_json("secret", "payments-prod", "kept") {
        None => Ok(()),
        Some(there) => Err(there["metadata"].to_string()),
    });
    all_is_well(&cluster, &operator);
}
