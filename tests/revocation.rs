//! A leaked key: every Secret that holds it goes, stays gone until the manager has a newer version, and who still runs with the
//! old value is told.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod support;

use serde_json::{Value, json};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;
use support::cluster::Cluster;
use support::operator::{Operator, install_unguarded};
use support::oracle::all_is_well;
use support::stub_manager::{Mood, Says, StubManager};
use support::tenants::*;
use support::wait::{eventually, second_is_over};

/// Everybody may share `shared/`; files are below the segment.
const SHARING: &str = r#"
  - storeRef: {name: aws}
    keys: ["shared/**"]
    actions: [Read, ReadAnyVersion]
  - storeRef: {name: files}
    keys: ["${label:tenant}/${label:environment}/**"]
  rules: {exclusiveKeys: Unlimited, uniqueValues: {within: None}, allowRetain: true}
"#;
const SHARED: &str = "data: [{secretKey: value, remoteRef: {key: shared/db}}]\n";
const LEAKED: &str = "canary-leaked-kX9mQ2vL8nR5wT3z1pQ";
const NEWER: &str = "canary-newer-hG7fD4sA9pL2oI6u3eW";

fn policy() -> String {
    format!("{}{}", POLICY.trim_end(), SHARING)
}

fn revocation(name: &str, store: &str, key: &str) -> String {
    format!(
        "apiVersion: scopedsecrets.io/v1alpha1\nkind: KeyRevocation\nmetadata: {{name: {name}}}\nspec: {{storeRef: {{name: {store}}}, key: {key}, reason: seen in a build log}}\n"
    )
}

struct Scene {
    cluster: Cluster,
    stub: StubManager,
}

impl Scene {
    fn set_up(cluster: Cluster) -> (Self, Operator) {
        let stub = StubManager::start();
        install_unguarded(&cluster);
        let operator = Operator::start(&cluster);
        set_up(&cluster, &stub.endpoint);
        apply(&cluster, &policy());
        (Self { cluster, stub }, operator)
    }

    fn kubectl(&self, words: &str) {
        let words: Vec<&str> = words.split(' ').collect();
        let out = self.cluster.kubectl(&words);
        assert!(out.status.success(), "{words:?}: {}", String::from_utf8_lossy(&out.stderr));
    }

    fn own(&self, name: &str) -> String {
        let key = format!("payments/prod/{name}");
        self.stub.put(&key, Says::Text(format!("canary-{name}-kX9mQ2vL8nR5wT3z")));
        format!("data: [{{secretKey: value, remoteRef: {{key: {key}}}}}]\n")
    }

    /// A ScopedSecret, once it may: the policy may be a moment away.
    fn claim(&self, namespace: &str, name: &str, spec: &str) {
        let yaml = scoped_secret(namespace, name, spec);
        eventually("it may be claimed", SOON, || self.cluster.apply(&yaml));
        self.is_ready(namespace, name);
    }

    fn is_ready(&self, namespace: &str, name: &str) {
        eventually(&format!("{name} is ready"), SOON, || ready(&self.cluster, "scopedsecret", Some(namespace), name));
    }

    fn secret(&self, namespace: &str, name: &str) -> Option<Value> {
        self.cluster.get_json("secret", namespace, name)
    }

    fn holds(&self, namespace: &str, name: &str, value: &str) {
        eventually(&format!("{name} holds {value}"), SOON, || {
            match secret_value(&self.cluster, namespace, name, "value") {
                Some(held) if held == value => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
    }

    fn goes(&self, namespace: &str, name: &str) {
        eventually(&format!("Secret {namespace}/{name} goes"), SOON, || {
            self.secret(namespace, name).map_or(Ok(()), |_| Err("it stands"))
        });
    }

    /// What the design's table says of a revoked claim.
    fn revoked(&self, namespace: &str, name: &str) {
        becomes(&self.cluster, namespace, name, "Ready", "False", "KeyRevoked");
        let object = becomes(&self.cluster, namespace, name, "Authorized", "False", "KeyRevoked");
        assert_eq!(condition(&object, "Stalled").unwrap()["status"], "True");
        assert!(condition(&object, "Reconciling").is_none());
        assert!(object["status"]["secretRef"].is_null(), "{}", object["status"]);
        assert!(self.secret(namespace, name).is_none());
    }

    fn refresh(&self, namespace: &str, name: &str) {
        static TURN: AtomicU32 = AtomicU32::new(0);
        let turn = TURN.fetch_add(1, Ordering::Relaxed);
        self.kubectl(&format!(
            "annotate scopedsecret {name} -n {namespace} scopedsecrets.io/refresh-at=t{turn} --overwrite"
        ));
    }

    /// Asks for it now, and waits until the manager was asked and nothing came of it.
    fn stays_gone(&self, namespace: &str, name: &str) {
        let asked = self.stub.asked("shared/db");
        self.refresh(namespace, name);
        eventually("the manager is asked", SOON, || {
            if self.stub.asked("shared/db") > asked { Ok(()) } else { Err("not yet") }
        });
        self.revoked(namespace, name);
    }

    /// Waits until Complete has this status and reason; the KeyRevocation.
    fn complete(&self, name: &str, status: &str, reason: &str) -> Value {
        eventually(&format!("{name} Complete={status}/{reason}"), SOON, || {
            let object = self.cluster.get_json("keyrevocation", None, name).ok_or("not there")?;
            let found = condition(&object, "Complete").cloned().unwrap_or_default();
            let right = found["status"] == status && found["reason"] == reason;
            if right { Ok(object) } else { Err(object["status"].to_string()) }
        })
    }

    /// One event of a KeyRevocation with this reason.
    fn told_once(&self, name: &str, reason: &str) {
        eventually(&format!("{name} is told {reason}"), SOON, || {
            let all = self.cluster.list_json("events", "");
            let ours = |event: &&Value| {
                let about = &event["involvedObject"];
                about["kind"] == "KeyRevocation" && about["name"] == name && event["reason"] == reason
            };
            let told: Vec<&Value> = all.iter().filter(ours).collect();
            let is_right = told.len() == 1 && told[0]["involvedObject"]["uid"].is_string();
            if is_right { Ok(()) } else { Err(format!("{told:?}")) }
        });
    }

    /// A pod under the claim's own ServiceAccount that reads its Secret; returns once it runs.
    fn pod(&self, namespace: &str, claim: &str, name: &str) {
        let account =
            json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": claim, "namespace": namespace}});
        apply(&self.cluster, &account.to_string());
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace},
            "spec": {
                "serviceAccountName": claim, "automountServiceAccountToken": false,
                "containers": [{"name": "app", "image": "app", "envFrom": [{"secretRef": {"name": claim}}]}],
            },
        });
        eventually("the pod may be made", SOON, || self.cluster.apply(&pod.to_string()));
        eventually("the pod runs", SOON, || {
            let pod = self.cluster.get_json("pod", namespace, name).ok_or("none")?;
            if pod["status"]["phase"] == "Running" { Ok(()) } else { Err(pod["status"].to_string()) }
        });
    }

    /// The value is another from the next second on: a version of the same second as a revocation counts as revoked.
    fn put_newer(&self, key: &str, revocation: &str, value: &str) {
        let made = self.cluster.get_json("keyrevocation", None, revocation).unwrap();
        second_is_over(&made);
        self.stub.put(key, Says::Text(value.to_owned()));
    }
}

fn names(object: &Value, field: &str) -> Vec<String> {
    let list = object["status"][field].as_array().cloned().unwrap_or_default();
    list.iter().map(|o| format!("{}/{}", o["namespace"].as_str().unwrap(), o["name"].as_str().unwrap())).collect()
}

/// The generation of the seal key that sealed a Secret.
fn sealed_by(scene: &Scene, name: &str) -> String {
    let secret = scene.secret("payments-prod", name).expect("a Secret");
    let seal = secret["metadata"]["annotations"]["scopedsecrets.io/seal"].as_str().expect("a seal").to_owned();
    seal.split('.').nth(1).unwrap().to_owned()
}

#[test]
fn a_leaked_key() {
    let (scene, mut operator) = Scene::set_up(Cluster::start_with_pods());
    let cluster = &scene.cluster;

    // One key in three namespaces: by its current version, pinned, and in a Secret that outlived its ScopedSecret.
    scene.stub.put("shared/db", Says::Text(LEAKED.into()));
    let other = scene.own("other");
    scene.claim("payments-prod", "other", &other);
    scene.claim("payments-prod", "one", SHARED);
    scene.claim("billing-prod", "two", SHARED);
    let one = cluster.get_json("scopedsecret", "payments-prod", "one").unwrap();
    let version = one["status"]["remoteVersions"][0]["versionId"].as_str().unwrap().to_owned();
    let pinned = SHARED.replace("shared/db", &format!("shared/db, versionId: {version}"));
    scene.claim("payments-staging", "pinned", &pinned);
    scene.claim("payments-staging", "kept", &format!("{SHARED}deletionPolicy: Retain\n"));
    scene.kubectl("delete scopedsecret kept -n payments-staging");
    scene.pod("payments-prod", "one", "one-1");
    scene.pod("billing-prod", "two", "two-1");
    scene.pod("payments-prod", "other", "other-1");
    assert!(scene.secret("payments-staging", "kept").is_some(), "it is retained");

    // What cannot be is refused as it is written.
    for (key, says) in [("\"\"", "spec.key"), ("'a key'", "spec.key"), ("'shared//db'", "spec.key")] {
        let told = cluster.apply(&revocation("wrong", "aws", key));
        assert!(told.as_ref().is_err_and(|text| text.contains(says)), "{told:?}");
    }
    let told = cluster.apply(&revocation("wrong", "aws", "a/b").replace("seen in a build log", "\"\""));
    assert!(told.as_ref().is_err_and(|text| text.contains("spec.reason")), "{told:?}");

    // All of it goes at once, and nothing else.
    let began = Instant::now();
    apply(cluster, &revocation("leak", "aws", "shared/db"));
    for (namespace, name) in [
        ("payments-prod", "one"),
        ("billing-prod", "two"),
        ("payments-staging", "pinned"),
        ("payments-staging", "kept"),
    ] {
        scene.goes(namespace, name);
    }
    assert!(began.elapsed().as_secs() < 15, "it took {:?}", began.elapsed());
    for (namespace, name) in [("payments-prod", "one"), ("billing-prod", "two"), ("payments-staging", "pinned")] {
        scene.revoked(namespace, name);
    }
    let leak = scene.complete("leak", "False", "PodsRemain");
    let all = ["billing-prod/two", "payments-prod/one", "payments-staging/kept", "payments-staging/pinned"];
    assert_eq!(names(&leak, "withdrawn"), all);
    assert_eq!(names(&leak, "pods"), ["billing-prod/two-1", "payments-prod/one-1"]);
    assert_eq!(leak["status"]["podCount"], 2);
    assert_eq!(condition(&leak, "Reconciling").unwrap()["status"], "True");
    assert!(leak["status"]["revokedVersions"].is_null(), "the manager has dates");
    let told = cluster.apply(&revocation("leak", "aws", "shared/other"));
    assert!(told.as_ref().is_err_and(|text| text.contains("a KeyRevocation is immutable")), "{told:?}");

    // While the old version is the current one, nothing is projected: asked for, claimed anew, or after a restart.
    scene.stays_gone("payments-prod", "one");
    apply(cluster, &scoped_secret("payments-staging", "kept", SHARED));
    scene.revoked("payments-staging", "kept");
    operator.terminate();
    operator = Operator::start(cluster);
    scene.stays_gone("billing-prod", "two");
    assert_eq!(names(&scene.complete("leak", "False", "PodsRemain"), "withdrawn"), all);

    // A newer one brings them back; a pin on the old one stays refused.
    scene.put_newer("shared/db", "leak", NEWER);
    for (namespace, name) in [("payments-prod", "one"), ("billing-prod", "two")] {
        scene.refresh(namespace, name);
        scene.is_ready(namespace, name);
        scene.holds(namespace, name, NEWER);
    }
    scene.stays_gone("payments-staging", "pinned");
    // Who was started with the new value is not looked for; who still has the old one is, until it is gone.
    scene.pod("payments-prod", "one", "one-2");
    scene.kubectl("delete pod one-1 -n payments-prod --grace-period=0 --force");
    eventually("one pod is left", SOON, || {
        let leak = scene.complete("leak", "False", "PodsRemain");
        if names(&leak, "pods") == ["billing-prod/two-1"] { Ok(()) } else { Err(leak["status"].to_string()) }
    });
    scene.kubectl("delete pod two-1 -n billing-prod --grace-period=0 --force");
    let leak = scene.complete("leak", "True", "RevocationComplete");
    let text = condition(&leak, "Complete").unwrap()["message"].as_str().unwrap().to_owned();
    assert!(text.contains("4 Secrets were withdrawn; it took "), "{text}");
    assert!(leak["status"]["completionTime"].is_string() && leak["status"]["podCount"] == 0, "{leak}");
    assert!(condition(&leak, "Reconciling").is_none());
    scene.told_once("leak", "KeyRevoked");
    scene.told_once("leak", "RevocationComplete");

    // That stays as it is over a restart, before the account of its store is known again.
    let asked = scene.stub.asked("shared/db");
    operator.terminate();
    operator = Operator::start(cluster);
    scene.refresh("payments-prod", "one");
    eventually("the manager is asked", SOON, || {
        if scene.stub.asked("shared/db") > asked { Ok(()) } else { Err("not yet") }
    });
    let after = scene.complete("leak", "True", "RevocationComplete");
    assert_eq!(after["metadata"]["resourceVersion"], leak["metadata"]["resourceVersion"], "{}", after["status"]);
    scene.told_once("leak", "RevocationComplete");

    // Leaked once more, and lifted early: the same value is back.
    apply(cluster, &revocation("again", "aws", "shared/db"));
    scene.goes("payments-prod", "one");
    scene.revoked("billing-prod", "two");
    scene.kubectl("delete keyrevocation again");
    scene.told_once("again", "RevocationLifted");
    for (namespace, name) in [("payments-prod", "one"), ("billing-prod", "two")] {
        scene.is_ready(namespace, name);
        scene.holds(namespace, name, NEWER);
    }

    // While the manager is away nothing is known of a newer version.
    scene.stub.set_mood(Mood::Down);
    apply(cluster, &revocation("away", "aws", "shared/db"));
    scene.goes("payments-prod", "one");
    scene.revoked("payments-prod", "one");
    scene.stub.set_mood(Mood::Well);
    scene.kubectl("delete keyrevocation away");
    for (namespace, name) in [("payments-prod", "one"), ("billing-prod", "two")] {
        scene.is_ready(namespace, name);
        scene.holds(namespace, name, NEWER);
    }

    // A store that is not there yet: it counts as soon as it is, by whatever name the key is reached.
    apply(cluster, &revocation("early", "later", "payments/prod/other"));
    scene.complete("early", "False", "StoreNotFound");
    assert!(scene.secret("payments-prod", "other").is_some());
    apply(cluster, &store("later", &scene.stub.endpoint));
    scene.goes("payments-prod", "other");
    scene.revoked("payments-prod", "other");
    assert_eq!(names(&scene.complete("early", "False", "PodsRemain"), "pods"), ["payments-prod/other-1"]);

    // Nobody can tell what the policies say: what has leaked goes all the same, and nothing else.
    let blind = scene.own("blind");
    scene.claim("payments-prod", "blind", &blind);
    scene.kubectl("delete crd segmentationpolicies.scopedsecrets.io --wait=false");
    apply(cluster, &revocation("blind", "aws", "payments/prod/blind"));
    scene.goes("payments-prod", "blind");
    assert!(scene.secret("payments-prod", "one").is_some(), "an outage takes nothing");
    eventually("the kind is gone", SOON, || {
        let kind = cluster.get_json("crd", None, "segmentationpolicies.scopedsecrets.io");
        kind.map_or(Ok(()), |kind| Err(kind["status"].to_string()))
    });
    install_unguarded(cluster);
    apply(cluster, &policy());
    eventually("the policy is back", SOON, || ready(cluster, "segmentationpolicy", None, "tenants"));
    scene.revoked("payments-prod", "blind");
    scene.complete("blind", "True", "RevocationComplete");
    all_is_well(cluster, &operator);
}

#[test]
fn a_leaked_file() {
    let (scene, operator) = Scene::set_up(Cluster::start());
    let cluster = &scene.cluster;
    let folder = cluster.dir.join("files");
    std::fs::create_dir_all(folder.join("payments/prod")).unwrap();
    let write = |value: &str| {
        let (next, file) = (folder.join("next"), folder.join("payments/prod/db.json"));
        std::fs::write(&next, json!({"value": value}).to_string()).unwrap();
        std::fs::rename(next, file).unwrap();
    };
    write(LEAKED);
    apply(
        cluster,
        &format!(
            "apiVersion: scopedsecrets.io/v1alpha1\nkind: ScopedSecretStore\nmetadata: {{name: files}}\nspec: {{file: {{path: {}}}}}\n",
            folder.display()
        ),
    );
    let spec = "data: [{secretKey: value, remoteRef: {key: payments/prod/db, property: value}}]\nrefreshInterval: 1s\n";
    let claim = scoped_secret("payments-prod", "file", spec).replace("{name: aws}", "{name: files}");
    eventually("it may be claimed", SOON, || cluster.apply(&claim));
    scene.is_ready("payments-prod", "file");

    // The versions are those that were current then, whatever the directory's dates say.
    apply(cluster, &revocation("leak", "files", "payments/prod/db"));
    scene.goes("payments-prod", "file");
    let leak = scene.complete("leak", "True", "RevocationComplete");
    assert_eq!(leak["status"]["revokedVersions"].as_array().map(Vec::len), Some(1), "{}", leak["status"]);
    assert_eq!(leak["status"]["revokedVersionsComplete"], true);
    assert_eq!(names(&leak, "withdrawn"), ["payments-prod/file"]);
    scene.refresh("payments-prod", "file");
    scene.revoked("payments-prod", "file");

    // Another value is taken; the old one, put back, is refused, and what was projected since stays.
    write(NEWER);
    scene.refresh("payments-prod", "file");
    scene.is_ready("payments-prod", "file");
    scene.holds("payments-prod", "file", NEWER);
    write(LEAKED);
    becomes(cluster, "payments-prod", "file", "Ready", "False", "KeyRevoked");
    scene.holds("payments-prod", "file", NEWER);

    // Under another seal key it has another name, and is refused all the same.
    let manual = scene.own("manual");
    scene.claim("payments-prod", "manual", &format!("{manual}refreshInterval: 0s\n"));
    let sealed = sealed_by(&scene, "file");
    operator.terminate();
    write(NEWER);
    let operator = Operator::start_with(cluster, &["--seal-key-max-age", "1s"]);
    eventually("it is sealed under the new key", SOON, || match sealed_by(&scene, "file") {
        now if now != sealed => Ok(()),
        other => Err(other),
    });
    assert_eq!(sealed_by(&scene, "manual"), sealed, "which keeps the key of before");
    write(LEAKED);
    becomes(cluster, "payments-prod", "file", "Ready", "False", "KeyRevoked");
    scene.holds("payments-prod", "file", NEWER);
    write(NEWER);
    scene.refresh("payments-prod", "file");
    scene.is_ready("payments-prod", "file");
    all_is_well(cluster, &operator);
}
