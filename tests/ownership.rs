//! Who owns what: drift is put right, restored and orphaned Secrets are taken up, deletion policies hold, and what is not
//! ours is left alone. One cluster; each story has keys and names of its own. The rule ManagedSecrets is lifted: this is what
//! holds without it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod support;

use serde_json::Value;
use std::sync::OnceLock;
use support::cluster::Cluster;
use support::emulator::Emulator;
use support::operator::{Operator, install_unguarded};
use support::oracle::all_is_well;
use support::tenants::*;
use support::wait::eventually;

struct Stage {
    cluster: Cluster,
    aws: Emulator,
    operator: Operator,
}

fn stage() -> &'static Stage {
    static STAGE: OnceLock<Stage> = OnceLock::new();
    STAGE.get_or_init(|| {
        let (cluster, aws) = (Cluster::start(), Emulator::start());
        install_unguarded(&cluster);
        let operator = Operator::start(&cluster);
        set_up(&cluster, &aws.endpoint);
        apply(&cluster, RETAINING);
        Stage { cluster, aws, operator }
    })
}

/// A tenant whose policy allows Retain.
const RETAINING: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: keeper, labels: {team: keeper}}
---
apiVersion: scopedsecrets.io/v1alpha1
kind: SegmentationPolicy
metadata: {name: keepers}
spec:
  segment: {labels: [team]}
  namespaceSelector: {matchLabels: {team: keeper}}
  allow: [{storeRef: {name: aws}, keys: ["${label:team}/**"]}]
  rules: {allowRetain: true}
"#;

/// Another such tenant.
fn retaining(team: &str) -> String {
    RETAINING.replace("keeper", team)
}

/// Tiers of a team have segments of their own, and keys in common.
const SHARERS: &str = r#"
apiVersion: scopedsecrets.io/v1alpha1
kind: SegmentationPolicy
metadata: {name: sharers}
spec:
  segment: {labels: [team, tier]}
  namespaceSelector: {matchExpressions: [{key: tier, operator: Exists}]}
  allow: [{storeRef: {name: aws}, keys: ["${label:team}/*"]}]
"#;

impl Stage {
    /// A projected Secret of one password.
    fn project(&self, namespace: &str, name: &str, key: &str, extra: &str) -> Value {
        self.aws.put(key, &format!(r#"{{"password": "canary-{name}-kX9mQ2vL8nR5wT3z"}}"#));
        let spec = format!("data: [{{secretKey: password, remoteRef: {{key: {key}, property: password}}}}]\n{extra}");
        apply(&self.cluster, &scoped_secret(namespace, name, &spec));
        eventually("it is projected", SOON, || ready(&self.cluster, "scopedsecret", Some(namespace), name));
        self.cluster.get_json("secret", namespace, name).expect("a Secret")
    }

    fn ok(&self, arguments: &[&str]) {
        let out = self.cluster.kubectl(arguments);
        assert!(out.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&out.stderr));
    }

    fn holds(&self, namespace: &str, name: &str, value: &str) {
        eventually(&format!("{namespace}/{name} holds its value"), SOON, || {
            match secret_value(&self.cluster, namespace, name, "password") {
                Some(found) if found == value => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
    }

    fn gone(&self, kind: &str, namespace: &str, name: &str) {
        // The garbage collector learns of new kinds only every 30 s.
        eventually(&format!("{kind} {namespace}/{name} goes"), SOON * 3, || {
            match self.cluster.get_json(kind, namespace, name) {
                None => Ok(()),
                Some(_) => Err("still there"),
            }
        });
    }
}

#[test]
fn drift_is_put_right() {
    let s = stage();
    s.project("payments-prod", "drift", "payments/prod/drift", "");
    let value = "canary-drift-kX9mQ2vL8nR5wT3z";
    s.ok(&["patch", "secret", "drift", "-n", "payments-prod", "-p", r#"{"stringData":{"password":"forged"}}"#]);
    s.holds("payments-prod", "drift", value);
    s.ok(&["patch", "secret", "drift", "-n", "payments-prod", "-p", r#"{"stringData":{"extra":"smuggled"}}"#]);
    eventually("what was added goes", SOON, || match secret_value(&s.cluster, "payments-prod", "drift", "extra") {
        None => Ok(()),
        Some(_) => Err("still there"),
    });
    s.ok(&["label", "secret", "drift", "-n", "payments-prod", "app.kubernetes.io/managed-by-"]);
    eventually("the label is back", SOON, || {
        let secret = s.cluster.get_json("secret", "payments-prod", "drift").ok_or("gone")?;
        if secret["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "scoped-secrets" {
            Ok(())
        } else {
            Err("not yet")
        }
    });
    s.ok(&["delete", "secret", "drift", "-n", "payments-prod"]);
    s.holds("payments-prod", "drift", value);
    // A label of somebody else is not drift: it stays, and nothing is written.
    s.ok(&["label", "secret", "drift", "-n", "payments-prod", "backup.example.com/wave=1"]);
    eventually("the new revision is verified", SOON, || {
        let secret = s.cluster.get_json("secret", "payments-prod", "drift").ok_or("gone")?;
        let object = s.cluster.get_json("scopedsecret", "payments-prod", "drift").ok_or("gone")?;
        let same = object["status"]["secretRef"]["resourceVersion"] == secret["metadata"]["resourceVersion"];
        if same && secret["metadata"]["labels"]["backup.example.com/wave"] == "1" {
            Ok(())
        } else {
            Err(format!("{}", object["status"]))
        }
    });
    all_is_well(&s.cluster, &s.operator);
}

/// An earlier state of a Secret, with the seal of then, is no proof of what is current: a value that was rotated since does not come back.
#[test]
fn a_secret_that_is_set_back_is_put_right() {
    let s = stage();
    let before = s.project("payments-prod", "earlier", "payments/prod/earlier", "refreshInterval: 0s");
    let versions =
        || s.cluster.get_json("scopedsecret", "payments-prod", "earlier").unwrap()["status"]["remoteVersions"].clone();
    let first = versions();
    let later = "canary-later-one-kX9mQ2vL8nR5wT3z";
    s.aws.put("payments/prod/earlier", &format!(r#"{{"password": "{later}"}}"#));
    s.ok(&["annotate", "scopedsecret", "earlier", "-n", "payments-prod", "scopedsecrets.io/refresh-at=one"]);
    s.holds("payments-prod", "earlier", later);
    eventually("status tells of it", SOON, || if versions() == first { Err("not yet") } else { Ok(()) });
    let patch =
        serde_json::json!({"data": before["data"], "metadata": {"annotations": before["metadata"]["annotations"]}});
    s.ok(&["patch", "secret", "earlier", "-n", "payments-prod", "--type=merge", "-p", &patch.to_string()]);
    s.holds("payments-prod", "earlier", later);
    eventually("it is told", SOON, || {
        let told = support::events::told(&s.cluster, "payments-prod", "earlier");
        if told.contains_key("Restored") { Ok(()) } else { Err(format!("{told:?}")) }
    });
    all_is_well(&s.cluster, &s.operator);
}

/// What would carry a Secret away, keep it alive or hide it from the operator is put right without asking the manager.
#[test]
fn bent_metadata_is_put_right() {
    let s = stage();
    let before = s.project("payments-prod", "bent", "payments/prod/bent", "refreshInterval: 0s");
    s.ok(&["create", "configmap", "anchor", "-n", "payments-prod"]);
    let anchor = s.cluster.get_json("configmap", "payments-prod", "anchor").unwrap()["metadata"]["uid"].clone();
    // The value is gone from the manager: metadata is mended all the same.
    s.aws.delete_for_good("payments/prod/bent");
    let owner = format!(
        r#"{{"metadata": {{"ownerReferences": [{{"apiVersion": "v1", "kind": "ConfigMap", "name": "anchor", "uid": {anchor}}}]}}}}"#
    );
    for bend in [
        r#"{"metadata": {"annotations": {"replicator.v1.mittwald.de/replicate-to": "billing-prod"}}}"#,
        r#"{"metadata": {"annotations": {"reflector.v1.k8s.emberstack.com/reflection-allowed": "true"}}}"#,
        r#"{"metadata": {"annotations": {"scopedsecrets.io/rotated": "never"}}}"#,
        r#"{"metadata": {"finalizers": ["example.com/hold"]}}"#,
        r#"{"metadata": {"labels": {"app.kubernetes.io/managed-by": "somebody"}}}"#,
        &owner,
    ] {
        s.ok(&["patch", "secret", "bent", "-n", "payments-prod", "-p", bend]);
        eventually(&format!("{bend} is taken back"), SOON, || {
            let secret = s.cluster.get_json("secret", "payments-prod", "bent").ok_or("gone")?;
            let meta = |field: &str| secret["metadata"][field] == before["metadata"][field];
            if ["labels", "annotations", "finalizers", "ownerReferences", "uid"].into_iter().all(meta) {
                Ok(())
            } else {
                Err(secret["metadata"].to_string())
            }
        });
    }
    s.holds("payments-prod", "bent", "canary-bent-kX9mQ2vL8nR5wT3z");
    let told = support::events::told(&s.cluster, "payments-prod", "bent");
    assert!(told.get("Restored").is_some_and(|times| *times > 0), "{told:?}");
    s.ok(&["delete", "scopedsecret", "bent", "-n", "payments-prod"]);
    s.gone("secret", "payments-prod", "bent");
    all_is_well(&s.cluster, &s.operator);
}

#[test]
fn a_secret_goes_with_its_scoped_secret_and_a_namesake_starts_anew() {
    let s = stage();
    s.project("payments-prod", "mortal", "payments/prod/mortal", "");
    s.ok(&["delete", "scopedsecret", "mortal", "-n", "payments-prod"]);
    s.gone("secret", "payments-prod", "mortal");
    s.project("payments-prod", "mortal", "payments/prod/mortal", "");
    s.holds("payments-prod", "mortal", "canary-mortal-kX9mQ2vL8nR5wT3z");
    all_is_well(&s.cluster, &s.operator);
}

#[test]
fn an_orphaned_secret_without_retain_goes() {
    let s = stage();
    let mut backup = s.project("payments-prod", "orphan", "payments/prod/orphan", "");
    s.ok(&["delete", "scopedsecret", "orphan", "-n", "payments-prod", "--cascade=orphan"]);
    s.gone("secret", "payments-prod", "orphan");
    // So does one whose owner is no more, though somebody's finalizer would keep it readable.
    for field in ["uid", "resourceVersion", "creationTimestamp", "managedFields"] {
        backup["metadata"].as_object_mut().unwrap().remove(field);
    }
    backup["metadata"]["finalizers"] = serde_json::json!(["example.com/hold"]);
    apply(&s.cluster, &backup.to_string());
    s.gone("secret", "payments-prod", "orphan");
}

#[test]
fn a_restored_secret_is_taken_up_again() {
    let s = stage();
    let backup = s.project("payments-staging", "restored", "payments/staging/restored", "");
    s.ok(&["delete", "scopedsecret", "restored", "-n", "payments-staging"]);
    s.gone("secret", "payments-staging", "restored");
    // A restore writes the Secret first, with the uid of an owner that is no more, then its ScopedSecret.
    let mut backup = backup;
    for field in ["uid", "resourceVersion", "creationTimestamp", "managedFields"] {
        backup["metadata"].as_object_mut().unwrap().remove(field);
    }
    backup["metadata"]["ownerReferences"][0]["uid"] = "00000000-0000-4000-8000-000000000000".into();
    apply(
        &s.cluster,
        &scoped_secret(
            "payments-staging",
            "restored",
            "data: [{secretKey: password, remoteRef: {key: payments/staging/restored, property: password}}]",
        ),
    );
    let _ = s.cluster.apply(&format!("# a backup\n{backup}"));
    s.holds("payments-staging", "restored", "canary-restored-kX9mQ2vL8nR5wT3z");
    eventually("it is owned again", SOON, || {
        let owner =
            s.cluster.get_json("scopedsecret", "payments-staging", "restored").ok_or("gone")?["metadata"]["uid"]
                .clone();
        let secret = s.cluster.get_json("secret", "payments-staging", "restored").ok_or("gone")?;
        if secret["metadata"]["ownerReferences"][0]["uid"] == owner {
            Ok(())
        } else {
            Err(secret["metadata"].to_string())
        }
    });
    all_is_well(&s.cluster, &s.operator);
}

#[test]
fn a_retained_secret_stays_and_goes_when_policy_says_so() {
    let s = stage();
    let secret = s.project("keeper", "kept", "keeper/kept", "deletionPolicy: Retain");
    assert!(secret["metadata"]["ownerReferences"].is_null(), "no ownerReference from the start");
    s.ok(&["delete", "scopedsecret", "kept", "-n", "keeper"]);
    s.holds("keeper", "kept", "canary-kept-kX9mQ2vL8nR5wT3z");
    // A ScopedSecret of the same name takes it up again.
    s.project("keeper", "kept", "keeper/kept", "deletionPolicy: Retain");
    s.ok(&["delete", "scopedsecret", "kept", "-n", "keeper"]);
    s.holds("keeper", "kept", "canary-kept-kX9mQ2vL8nR5wT3z");
    // Its key still belongs to that namespace; once the namespace loses its label, the Secret goes.
    s.ok(&["label", "namespace", "keeper", "team-"]);
    s.gone("secret", "keeper", "kept");
    s.ok(&["label", "namespace", "keeper", "team=keeper"]);
}

/// Without its ScopedSecret and without our label it is still ours: found again, and withdrawn when policy says so.
#[test]
fn a_retained_secret_that_loses_its_label_is_not_lost() {
    let s = stage();
    apply(&s.cluster, &retaining("hider"));
    s.project("hider", "hidden", "hider/hidden", "deletionPolicy: Retain");
    s.ok(&["delete", "scopedsecret", "hidden", "-n", "hider"]);
    s.ok(&["label", "secret", "hidden", "-n", "hider", "app.kubernetes.io/managed-by-"]);
    eventually("the label is back", SOON, || {
        let secret = s.cluster.get_json("secret", "hider", "hidden").ok_or("gone")?;
        let label = &secret["metadata"]["labels"]["app.kubernetes.io/managed-by"];
        if label == "scoped-secrets" { Ok(()) } else { Err(secret["metadata"].to_string()) }
    });
    s.holds("hider", "hidden", "canary-hidden-kX9mQ2vL8nR5wT3z");
    s.ok(&["label", "namespace", "hider", "team-"]);
    s.gone("secret", "hider", "hidden");
    all_is_well(&s.cluster, &s.operator);
}

/// A retained Secret under the target name of another ScopedSecret: neither's way is in the other's.
#[test]
fn an_orphan_in_anothers_shadow() {
    let s = stage();
    apply(&s.cluster, &retaining("shady"));
    s.project("shady", "old", "shady/old", "deletionPolicy: Retain");
    s.ok(&["delete", "scopedsecret", "old", "-n", "shady"]);
    s.aws.put("shady/new", r#"{"password": "canary-shady-new-kX9mQ2vL8nR5wT"}"#);
    let new = "target: {name: old}\ndata: [{secretKey: password, remoteRef: {key: shady/new, property: password}}]";
    apply(&s.cluster, &scoped_secret("shady", "new", new));
    becomes(&s.cluster, "shady", "new", "Ready", "False", "TargetConflict");
    s.holds("shady", "old", "canary-old-kX9mQ2vL8nR5wT3z");
    // Policy takes the old one's key away: it goes, and the name is free.
    let narrowed = retaining("shady").replace("\"${label:team}/**\"", "shady/new");
    let accepted =
        narrowed.replace("{name: shadys}", "{name: shadys, annotations: {scopedsecrets.io/accept-violations: \"1\"}}");
    apply(&s.cluster, &accepted);
    s.holds("shady", "old", "canary-shady-new-kX9mQ2vL8nR5wT");
    eventually("the new one is ready", SOON, || ready(&s.cluster, "scopedsecret", Some("shady"), "new"));
    all_is_well(&s.cluster, &s.operator);
}

/// Deleted behind the operator's back while its manager is away: the key stays its claim's, and nobody steps in between.
#[test]
fn a_deleted_secret_keeps_its_key() {
    let s = stage();
    for namespace in ["shared-1", "shared-2"] {
        let labels = "{tenant: shared, environment: prod}";
        let yaml = format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {namespace}, labels: {labels}}}\n");
        apply(&s.cluster, &yaml);
    }
    // Its claim is the older one; it waits for a key that the other has.
    let claim = "data: [{secretKey: password, remoteRef: {key: shared/prod/db, property: password}}]";
    let elsewhere = claim.replace("/db", "/elsewhere");
    s.aws.put("shared/prod/elsewhere", r#"{"password": "canary-elsewhere-kX9mQ2vL8nR5wT"}"#);
    apply(&s.cluster, &scoped_secret("shared-2", "waits", &elsewhere));
    eventually("it has another key", SOON, || ready(&s.cluster, "scopedsecret", Some("shared-2"), "waits"));
    s.project("shared-1", "owner", "shared/prod/db", "refreshInterval: 0s");
    s.aws.delete_for_good("shared/prod/db");
    s.ok(&["delete", "secret", "owner", "-n", "shared-1"]);
    becomes(&s.cluster, "shared-1", "owner", "Ready", "False", "RemoteMissing");
    let refusal = s.cluster.apply(&scoped_secret("shared-2", "waits", claim)).expect_err("the key is the owner's");
    assert!(refusal.contains("KeyClaimed"), "{refusal}");
    s.project("shared-1", "owner", "shared/prod/db", "refreshInterval: 0s");
    // Once the owner is gone the key is free.
    s.ok(&["delete", "scopedsecret", "owner", "-n", "shared-1"]);
    s.gone("secret", "shared-1", "owner");
    eventually("the key is free", SOON, || s.cluster.apply(&scoped_secret("shared-2", "waits", claim)));
    s.holds("shared-2", "waits", "canary-owner-kX9mQ2vL8nR5wT3z");
    all_is_well(&s.cluster, &s.operator);
}

#[test]
fn what_is_not_ours_is_untouched() {
    let s = stage();
    s.ok(&["create", "secret", "generic", "theirs", "-n", "payments-prod", "--from-literal=password=their-own"]);
    let before = s.cluster.get_json("secret", "payments-prod", "theirs").unwrap();
    s.aws.put("payments/prod/theirs", r#"{"password": "canary-theirs-kX9mQ2vL8nR5wT3z"}"#);
    apply(
        &s.cluster,
        &scoped_secret(
            "payments-prod",
            "theirs",
            "data: [{secretKey: password, remoteRef: {key: payments/prod/theirs, property: password}}]",
        ),
    );
    let object = becomes(&s.cluster, "payments-prod", "theirs", "Ready", "False", "TargetConflict");
    assert_eq!(condition(&object, "Stalled").unwrap()["status"], "True");
    assert_eq!(s.cluster.get_json("secret", "payments-prod", "theirs").unwrap(), before);
    // Nor are its pods locked out.
    eventually("the guard says nothing of it", SOON, || {
        let guard = s.cluster.get_json("segmentguard", "payments-prod", "scoped-secrets").unwrap_or_default();
        let targets = &guard["spec"]["targets"];
        if targets.is_object() && targets.get("theirs").is_none() { Ok(()) } else { Err(guard.to_string()) }
    });
    s.ok(&["delete", "secret", "theirs", "-n", "payments-prod"]);
    s.holds("payments-prod", "theirs", "canary-theirs-kX9mQ2vL8nR5wT3z");
    // Another ScopedSecret cannot take it over either.
    s.aws.put("payments/prod/second", r#"{"password": "canary-second-kX9mQ2vL8nR5wT3z"}"#);
    let second = "target: {name: theirs}\ndata: [{secretKey: password, remoteRef: {key: payments/prod/second, property: password}}]";
    apply(&s.cluster, &scoped_secret("payments-prod", "second", second));
    becomes(&s.cluster, "payments-prod", "second", "Ready", "False", "TargetConflict");
    s.holds("payments-prod", "theirs", "canary-theirs-kX9mQ2vL8nR5wT3z");
    s.ok(&["delete", "scopedsecret", "second", "-n", "payments-prod"]);
    s.holds("payments-prod", "theirs", "canary-theirs-kX9mQ2vL8nR5wT3z");
    all_is_well(&s.cluster, &s.operator);
}

#[test]
fn types_templates_and_immutability() {
    let s = stage();
    s.aws.put("payments/prod/typed", r#"{"username": "orders", "password": "canary p@ss/wörd-kX9mQ2vL8nR5wT3z"}"#);
    let spec = |target: &str| {
        let data = "dataFrom: [{remoteRef: {key: payments/prod/typed}}]";
        scoped_secret("payments-prod", "typed", &format!("{data}\ntarget: {target}"))
    };
    apply(
        &s.cluster,
        &spec(
            r#"{template: {labels: {app: orders}, data: {URL: "postgres://{{ username }}:{{ password | urlencode }}@db/orders"}}}"#,
        ),
    );
    eventually("it is projected", SOON, || ready(&s.cluster, "scopedsecret", Some("payments-prod"), "typed"));
    let url = secret_value(&s.cluster, "payments-prod", "typed", "URL").unwrap();
    assert_eq!(url, "postgres://orders:canary%20p%40ss%2Fw%C3%B6rd-kX9mQ2vL8nR5wT3z@db/orders");
    let secret = s.cluster.get_json("secret", "payments-prod", "typed").unwrap();
    assert_eq!(secret["metadata"]["labels"]["app"], "orders");
    // Another type cannot be patched into a Secret: it is made anew.
    apply(&s.cluster, &spec("{type: kubernetes.io/basic-auth}"));
    eventually("it has its new type", SOON, || {
        let secret = s.cluster.get_json("secret", "payments-prod", "typed").ok_or("gone")?;
        if secret["type"] == "kubernetes.io/basic-auth" { Ok(()) } else { Err(secret["type"].to_string()) }
    });
    apply(&s.cluster, &spec("{type: kubernetes.io/basic-auth, immutable: true}"));
    eventually("it is immutable", SOON, || {
        let secret = s.cluster.get_json("secret", "payments-prod", "typed").ok_or("gone")?;
        if secret["immutable"] == true { Ok(()) } else { Err(secret["metadata"].to_string()) }
    });
    s.aws.put("payments/prod/typed", r#"{"username": "orders", "password": "canary-later-kX9mQ2vL8nR5wT3z"}"#);
    apply(
        &s.cluster,
        &spec(r#"{type: kubernetes.io/basic-auth, immutable: true, template: {data: {more: "{{ username }}"}}}"#),
    );
    becomes(&s.cluster, "payments-prod", "typed", "Ready", "False", "TargetImmutable");
    all_is_well(&s.cluster, &s.operator);
}

#[test]
fn one_value_stays_in_one_segment() {
    let s = stage();
    s.project("payments-prod", "unique", "payments/prod/unique", "");
    s.aws.put("payments/staging/unique", r#"{"password": "canary-unique-kX9mQ2vL8nR5wT3z"}"#);
    let copy = "data: [{secretKey: password, remoteRef: {key: payments/staging/unique, property: password}}]\nrefreshInterval: 2s";
    apply(&s.cluster, &scoped_secret("payments-staging", "unique", copy));
    let object = becomes(&s.cluster, "payments-staging", "unique", "Unique", "False", "ValueShared");
    assert!(!object["status"].to_string().contains("payments-prod"), "no other namespace is named");
    assert!(s.cluster.get_json("secret", "payments-staging", "unique").is_none());
    // A value of its own heals it at the next refresh.
    s.aws.put("payments/staging/unique", r#"{"password": "canary-staging-own-vL8nR5wT3zkX9"}"#);
    s.holds("payments-staging", "unique", "canary-staging-own-vL8nR5wT3zkX9");
    // Its own refresh into a shared value: what was projected stays.
    s.aws.put("payments/staging/unique", r#"{"password": "canary-unique-kX9mQ2vL8nR5wT3z"}"#);
    becomes(&s.cluster, "payments-staging", "unique", "Unique", "False", "ValueShared");
    s.holds("payments-staging", "unique", "canary-staging-own-vL8nR5wT3zkX9");
    all_is_well(&s.cluster, &s.operator);
}

/// Two namespaces of one segment may share a value; once one of them is another segment's, the later one says so.
#[test]
fn a_value_that_comes_to_stand_in_two_segments_is_found() {
    let s = stage();
    let tier = |namespace: &str, tier: &str| {
        apply(
            &s.cluster,
            &format!(
                "apiVersion: v1\nkind: Namespace\nmetadata: {{name: {namespace}, labels: {{team: sharer, tier: {tier}}}}}\n"
            ),
        );
    };
    tier("sharer-1", "gold");
    tier("sharer-2", "gold");
    apply(&s.cluster, SHARERS);
    s.project("sharer-1", "one", "sharer/one", "");
    s.aws.put("sharer/two", r#"{"password": "canary-one-kX9mQ2vL8nR5wT3z"}"#);
    let two = "data: [{secretKey: password, remoteRef: {key: sharer/two, property: password}}]";
    apply(&s.cluster, &scoped_secret("sharer-2", "two", two));
    eventually("the two share it", SOON, || ready(&s.cluster, "scopedsecret", Some("sharer-2"), "two"));
    let before = s.cluster.get_json("secret", "sharer-2", "two").unwrap();
    // The earlier one moves: it is the later one that loses, and keeps its last good value.
    tier("sharer-1", "silver");
    becomes(&s.cluster, "sharer-2", "two", "Unique", "False", "ValueShared");
    assert_eq!(s.cluster.get_json("secret", "sharer-2", "two").unwrap(), before);
    eventually("the earlier one has its value", SOON, || ready(&s.cluster, "scopedsecret", Some("sharer-1"), "one"));
    all_is_well(&s.cluster, &s.operator);
    // The earlier one goes: at once the value is the other's alone.
    s.ok(&["delete", "scopedsecret", "one", "-n", "sharer-1"]);
    eventually("it is its own", SOON * 3, || ready(&s.cluster, "scopedsecret", Some("sharer-2"), "two"));
    all_is_well(&s.cluster, &s.operator);
}

#[test]
fn an_incumbent_keeps_its_key() {
    let s = stage();
    s.project("payments-prod", "incumbent", "payments/prod/incumbent", "");
    // The same segment, another namespace: exclusiveKeys is Namespace by default.
    apply(
        &s.cluster,
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: payments-prod-2, labels: {tenant: payments, environment: prod}}\n",
    );
    let refused = eventually("the newcomer is refused", SOON, || {
        let yaml = scoped_secret(
            "payments-prod-2",
            "newcomer",
            "data: [{secretKey: password, remoteRef: {key: payments/prod/incumbent, property: password}}]",
        );
        match s.cluster.apply(&yaml) {
            Err(text) if text.contains("KeyClaimed") => Ok(text),
            other => Err(format!("{other:?}")),
        }
    });
    assert!(!refused.contains("namespace \"payments-prod\""), "{refused}");
}
