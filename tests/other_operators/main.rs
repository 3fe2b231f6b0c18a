//! Objects of other operators under the rules of a policy that governs them: as a platform sees it that has not migrated yet.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

#[path = "../support/mod.rs"]
mod support;

use serde_json::{Value, json};
use support::cluster::Cluster;
use support::operator::{Operator, install};
use support::oracle::all_is_well;
use support::stub_manager::{Says, StubManager};
use support::tenants::*;
use support::wait::eventually;

const CRDS: &str = include_str!("crds.yaml");
const VALUE: &str = "canary-foreign-kX9mQ2vL8nR5wT3z1pQ";
const GOVERNS: &str = "  rules: {governs: [ExternalSecrets, VaultSecrets, SecretProviderClasses]}\n";
const DRY: [&str; 4] = ["create", "--dry-run=server", "-f", "-"];

/// What is said to an object.
#[derive(Debug, PartialEq)]
enum Told {
    Passes,
    Warned(String),
    Refused(String),
}

struct Scene {
    operator: Operator,
    cluster: Cluster,
    stub: StubManager,
}

impl Scene {
    fn policy(&self, more: &str) {
        apply(&self.cluster, &accepted(&format!("{}{more}", POLICY.replace("/**\"]", "/**\", \"shared/*\"]"))));
    }

    /// Tries it without writing it: the reason of a refusal or a warning.
    fn told(&self, object: &Value) -> Told {
        let reason = |text: &str| {
            let (_, after) = text.split_once("rule OtherOperators, ")?;
            Some(after.split(':').next().unwrap_or_default().to_owned())
        };
        let file = self.cluster.dir.join("foreign.json");
        std::fs::write(&file, object.to_string()).unwrap();
        let out = self.cluster.kubectl(&["create", "--dry-run=server", "-f", file.to_str().unwrap()]);
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        match (out.status.success(), reason(&said)) {
            (true, None) => Told::Passes,
            (true, Some(reason)) => Told::Warned(reason),
            (false, Some(reason)) => Told::Refused(reason),
            (false, None) => panic!("{object}: {said}"),
        }
    }

    fn becomes(&self, object: &Value, wanted: &Told) {
        eventually(&format!("{wanted:?} to {object}"), SOON, || {
            let told = self.told(object);
            if told == *wanted { Ok(()) } else { Err(format!("{told:?}")) }
        });
    }

    fn create(&self, object: &Value) {
        apply(&self.cluster, &object.to_string());
    }

    fn remove(&self, namespace: &str, name: &str) {
        let out = self.cluster.kubectl(&["delete", "externalsecret", name, "-n", namespace]);
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    }

    fn reports(&self) -> String {
        self.cluster.submit(&["get", "segmentationreports", "-o", "json"], "").unwrap_or_default()
    }

    /// Waits until the report of a segment lists an ExternalSecret.
    fn reported(&self, segment: &str, reason: &str, name: &str) {
        eventually(&format!("{segment} {reason} {name} is reported"), SOON, || {
            let reports: Value = serde_json::from_str(&self.reports()).map_err(|e| e.to_string())?;
            let all = reports["items"].as_array().cloned().unwrap_or_default();
            let of = all.iter().find(|report| report["spec"]["segment"] == segment).ok_or("no report")?;
            let listed = of["status"]["violations"].as_array().cloned().unwrap_or_default();
            let found = listed.iter().any(|violation| {
                violation["rule"] == "OtherOperators"
                    && violation["reason"] == reason
                    && violation["object"]["name"] == name
            });
            if found { Ok(()) } else { Err(of["status"].to_string()) }
        });
    }

    fn refused(&self, object: &Value) -> String {
        self.cluster.submit(&DRY, &object.to_string()).expect_err("it is refused")
    }
}

fn object(api_version: &str, kind: &str, namespace: Option<&str>, name: &str, spec: Value) -> Value {
    json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name, "namespace": namespace}, "spec": spec})
}

fn external(namespace: &str, name: &str, key: &str) -> Value {
    let spec = json!({"secretStoreRef": {"name": "aws"}, "data": [{"secretKey": "p", "remoteRef": {"key": key}}]});
    object("external-secrets.io/v1", "ExternalSecret", Some(namespace), name, spec)
}

fn store(namespace: &str, more: Value) -> Value {
    let mut aws = json!({"service": "SecretsManager", "region": "eu-west-1"});
    aws.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    object("external-secrets.io/v1", "SecretStore", Some(namespace), "aws", json!({"provider": {"aws": aws}}))
}

fn refused(reason: &str) -> Told {
    Told::Refused(reason.into())
}

#[test]
fn segmentation_without_migrating_first() {
    let (cluster, stub) = (Cluster::start(), StubManager::start());
    install(&cluster);
    let operator = Operator::start(&cluster);
    set_up(&cluster, &stub.endpoint);
    let scene = Scene { cluster, stub, operator };
    the_kinds_come_after_the_operator(&scene);
    each_kind(&scene);
    keys_of_others(&scene);
    as_the_policies_say(&scene);
    a_cluster_wide_one(&scene);
    off_again(&scene);
    moved_by_init(&scene);
    all_is_well(&scene.cluster, &scene.operator);
}

/// A policy governs kinds that are not there yet; that costs nothing, and they are governed once they come.
fn the_kinds_come_after_the_operator(scene: &Scene) {
    scene.policy(GOVERNS);
    eventually("the entries are registered", SOON, || {
        let live =
            scene.cluster.get_json("validatingwebhookconfiguration", None, "scoped-secrets").unwrap().to_string();
        let all = ["\"externalsecrets-", "\"vaultsecrets-", "\"secretproviderclasses-", "\"clusterexternalsecrets."];
        if all.iter().all(|entry| live.contains(entry)) { Ok(()) } else { Err(live) }
    });
    apply(&scene.cluster, CRDS);
    eventually("they are served", SOON, || {
        scene
            .cluster
            .submit(&["get", "externalsecrets,secretstores,vaultstaticsecrets,secretproviderclasses", "-A"], "")
            .map(drop)
    });
    for namespace in ["payments-prod", "payments-staging", "billing-prod", "plain"] {
        eventually("stores", SOON, || scene.cluster.apply(&store(namespace, json!({})).to_string()).map(drop));
    }
    scene.becomes(&external("payments-prod", "x", "payments/prod/db"), &Told::Passes);
}

fn each_kind(scene: &Scene) {
    let here = Some("payments-prod");
    let class = |key: &str| {
        let objects = format!("- objectName: {key}\n  objectType: secretsmanager\n");
        let spec = json!({"provider": "aws", "parameters": {"region": "eu-west-1", "objects": objects}});
        object("secrets-store.csi.x-k8s.io/v1", "SecretProviderClass", here, "x", spec)
    };
    let vault = |path: &str| {
        let spec = json!({"mount": "kv", "type": "kv-v2", "path": path, "destination": {"name": "x"}});
        object("secrets.hashicorp.com/v1beta1", "VaultStaticSecret", here, "x", spec)
    };
    let push = |secret: &str| {
        let spec = json!({
            "secretStoreRefs": [{"name": "aws"}], "selector": {"secret": {"name": secret}},
            "data": [{"match": {"remoteRef": {"remoteKey": "payments/prod/db"}}}],
        });
        object("external-secrets.io/v1alpha1", "PushSecret", here, "x", spec)
    };
    let with = |spec: Value| object("external-secrets.io/v1beta1", "ExternalSecret", here, "x", spec);
    let from = |more: Value| {
        let mut spec = json!({"secretStoreRef": {"name": "aws"}});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        with(spec)
    };
    for (what, asked, expected) in [
        ("own key", external("payments-prod", "x", "payments/prod/db"), Told::Passes),
        ("another environment's", external("payments-prod", "x", "payments/staging/db"), refused("KeyNotAllowed")),
        ("another tenant's", external("billing-prod", "x", "payments/prod/db"), refused("KeyNotAllowed")),
        ("an ungoverned namespace", external("plain", "x", "payments/prod/db"), Told::Passes),
        ("a pattern", external("payments-prod", "x", "payments/prod/*"), refused("InvalidKey")),
        ("a template", external("payments-prod", "x", "payments/prod/{{ .x }}"), refused("InvalidKey")),
        ("by v1beta1", from(json!({"data": [{"remoteRef": {"key": "billing/prod/db"}}]})), refused("KeyNotAllowed")),
        ("extract", from(json!({"dataFrom": [{"extract": {"key": "payments/prod/db"}}]})), Told::Passes),
        (
            "extract and rewrite",
            from(
                json!({"dataFrom": [{"extract": {"key": "payments/prod/db"}, "rewrite": [{"regexp": {"source": "a", "target": "b"}}]}]}),
            ),
            refused("KeyNotExact"),
        ),
        ("find", from(json!({"dataFrom": [{"find": {"name": {"regexp": ".*"}}}]})), refused("KeyNotExact")),
        (
            "a store that is not there",
            with(json!({"secretStoreRef": {"name": "none"}, "data": [{"remoteRef": {"key": "payments/prod/db"}}]})),
            refused("StoreUnresolved"),
        ),
        (
            "an older version",
            from(json!({"data": [{"remoteRef": {"key": "payments/prod/db", "version": "AWSPREVIOUS"}}]})),
            refused("ActionNotAllowed"),
        ),
        ("own key by the CSI driver", class("payments/prod/db"), Told::Passes),
        ("another's by the CSI driver", class("billing/prod/db"), refused("KeyNotAllowed")),
        ("Vault", vault("payments/prod/db"), refused("KeyNotAllowed")),
        ("to write", push("mine"), refused("WriteNotAllowed")),
    ] {
        // What was created a moment ago may not be known yet.
        eventually(what, SOON, || {
            let told = scene.told(&asked);
            if told == expected { Ok(()) } else { Err(format!("{told:?} to {asked}")) }
        });
    }
    let said = scene.refused(&external("payments-prod", "x", "payments/staging/db"));
    for part in ["policy \"tenants\"", "\"payments/staging/db\" of account", "allowed here: payments/prod/**"] {
        assert!(said.contains(part), "{part:?} in {said}");
    }
}

fn keys_of_others(scene: &Scene) {
    // Projected by a ScopedSecret of another namespace.
    scene.stub.put("shared/db", Says::Text(VALUE.into()));
    apply(
        &scene.cluster,
        &scoped_secret("payments-prod", "orders", "data: [{secretKey: value, remoteRef: {key: shared/db}}]"),
    );
    eventually("it is projected", SOON, || ready(&scene.cluster, "scopedsecret", Some("payments-prod"), "orders"));
    scene.becomes(&external("billing-prod", "x", "shared/db"), &refused("KeyClaimed"));
    assert_eq!(scene.told(&external("payments-prod", "x", "shared/db")), Told::Passes, "it migrates");
    let said = scene.refused(&external("billing-prod", "x", "shared/db"));
    assert!(said.contains("owned by another namespace") && !said.contains("payments"), "{said}");
    let carry = json!({"secretStoreRefs": [{"name": "aws"}], "selector": {"secret": {"name": "orders"}}});
    let carry = object("external-secrets.io/v1alpha1", "PushSecret", Some("payments-prod"), "x", carry);
    assert_eq!(scene.told(&carry), refused("ReplicatedOut"));
    // Taken by an ExternalSecret of another namespace.
    scene.create(&external("payments-prod", "first", "shared/other"));
    scene.becomes(&external("billing-prod", "x", "shared/other"), &refused("KeyClaimed"));
    // The store under it may not be turned to another's keys.
    let turned = scene.cluster.apply(&store("payments-prod", json!({"prefix": "billing/prod/"})).to_string());
    assert!(
        turned.as_ref().is_err_and(|said| said.contains("ExternalSecret \"first\", which asks this store")),
        "{turned:?}"
    );
    // A ScopedSecret goes before it.
    scene.stub.put("shared/third", Says::Text(VALUE.replace("foreign", "third")));
    scene.create(&external("billing-prod", "third", "shared/third"));
    apply(
        &scene.cluster,
        &scoped_secret("payments-prod", "third", "data: [{secretKey: value, remoteRef: {key: shared/third}}]"),
    );
    eventually("it is projected", SOON, || ready(&scene.cluster, "scopedsecret", Some("payments-prod"), "third"));
    scene.becomes(&external("billing-prod", "x", "shared/third"), &refused("KeyClaimed"));
    scene.reported("billing/prod", "KeyClaimed", "third");
    scene.remove("billing-prod", "third");
}

fn as_the_policies_say(scene: &Scene) {
    let thief = external("payments-prod", "x", "billing/prod/db");
    let end =
        (jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24)).strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let exception = |what: &str| {
        format!("  exceptions: [{{rule: OtherOperators, {what}, reason: moving, expirationTime: \"{end}\"}}]\n")
    };
    let warned = Told::Warned("KeyNotAllowed".into());
    // What stands when a policy begins to enforce has to be accepted, or mended.
    scene.policy(&format!("{GOVERNS}  mode: Audit\n"));
    scene.becomes(&thief, &Told::Passes);
    scene.create(&external("payments-prod", "standing", "billing/prod/db"));
    scene.reported("payments/prod", "KeyNotAllowed", "standing");
    eventually("every segment was scanned", SOON * 4, || {
        let reports = scene.cluster.list_json("segmentationreports", "");
        let scanned = |report: &Value| report["status"]["lastScanTime"].is_string();
        if reports.len() == 3 && reports.iter().all(scanned) { Ok(()) } else { Err(format!("{reports:?}")) }
    });
    let enforced = POLICY.replace("/**\"]", "/**\", \"shared/*\"]") + GOVERNS;
    let refusal = scene.cluster.apply(&enforced).expect_err("a violation is open");
    for part in
        ["rule Policies, ViolationsNotAccepted", "1 violation is open", "payments/prod", "accept-violations: \"1\""]
    {
        assert!(refusal.contains(part), "{part:?} in {refusal}");
    }
    let accept = "metadata: {name: tenants, annotations: {scopedsecrets.io/accept-violations: \"1\"}}";
    apply(&scene.cluster, &enforced.replace("metadata: {name: tenants}", accept));
    scene.becomes(&thief, &refused("KeyNotAllowed"));
    scene.remove("payments-prod", "standing");
    eventually("it is reported no more", SOON, || {
        let reports = scene.reports();
        if reports.contains("standing") { Err(reports) } else { Ok(()) }
    });
    for (more, expected) in [
        ("  mode: Warn\n".to_owned(), warned),
        ("  mode: Audit\n".into(), Told::Passes),
        (String::new(), refused("KeyNotAllowed")),
        ("  reportOnly: [OtherOperators]\n".into(), Told::Passes),
        ("  reportOnly: [Consumers]\n".into(), refused("KeyNotAllowed")),
        (exception("namespaces: [payments-prod]"), Told::Passes),
        (exception("namespaces: [billing-prod]"), refused("KeyNotAllowed")),
        (exception("keys: [billing/prod/db]"), Told::Passes),
        (String::new(), refused("KeyNotAllowed")),
    ] {
        scene.policy(&format!("{GOVERNS}{more}"));
        scene.becomes(&thief, &expected);
    }
}

fn a_cluster_wide_one(scene: &Scene) {
    let spread = |tenant: &str, key: &str| {
        let spec = json!({
            "namespaceSelectors": [{"matchLabels": {"tenant": tenant}}],
            "externalSecretSpec": {"secretStoreRef": {"name": "aws"}, "data": [{"remoteRef": {"key": key}}]},
        });
        object("external-secrets.io/v1", "ClusterExternalSecret", None, "x", spec)
    };
    assert_eq!(scene.told(&spread("billing", "billing/prod/db")), Told::Passes);
    assert_eq!(scene.told(&spread("payments", "payments/prod/db")), refused("KeyNotAllowed"));
    assert_eq!(scene.told(&spread("payments", "shared/everywhere")), refused("KeyClaimed"));
    assert_eq!(scene.told(&spread("nobody", "payments/prod/db")), Told::Passes);
}

fn off_again(scene: &Scene) {
    let thief = external("payments-prod", "x", "billing/prod/db");
    scene.policy("");
    scene.becomes(&thief, &Told::Passes);
    eventually("the entries are gone", SOON, || {
        let live =
            scene.cluster.get_json("validatingwebhookconfiguration", None, "scoped-secrets").unwrap().to_string();
        if live.contains("externalsecrets") { Err(live) } else { Ok(()) }
    });
}

/// A namespace whose Secret the External Secrets Operator has made is moved by what `init` writes of it.
fn moved_by_init(scene: &Scene) {
    let (cluster, namespace) = (&scene.cluster, "payments-staging");
    scene.create(&external(namespace, "web", "payments/staging/web"));
    let pods = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": namespace},
        "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"serviceAccountName": "web", "containers": [{"name": "web", "image": "web", "envFrom": [{"secretRef": {"name": "web"}}]}]},
        }},
    });
    scene.create(&pods);
    let value = VALUE.replace("foreign", "moved");
    let theirs = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "web", "namespace": namespace}, "stringData": {"p": value},
    });
    scene.create(&theirs);
    scene.stub.put("payments/staging/web", Says::Text(value.clone()));
    let folder = cluster.dir.join("migrated");
    let run = std::process::Command::new(env!("CARGO_BIN_EXE_kubectl-scoped_secrets"))
        .args(["init", "--from-external-secrets", "-n", namespace, "-o", folder.to_str().unwrap(), "--kubeconfig"])
        .arg(&cluster.kubeconfig)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stderr).into_owned();
    assert_eq!(run.status.code(), Some(0), "{said}");
    let read = |path: &str| std::fs::read_to_string(folder.join(path)).unwrap();
    // The store reaches AWS, not the stub; and there is a policy already.
    for (path, name, other) in [("stores", "name: aws", "name: written"), ("policy", "name: tenants", "name: written")]
    {
        let object = read(&format!("platform/{path}.yaml")).replace(name, other);
        cluster.submit(&DRY, &object).unwrap_or_else(|refusal| panic!("{refusal}\n{object}"));
    }
    assert!(read("platform/policy.yaml").contains("${label:tenant}/${label:environment}/**"));
    let claim = read(&format!("{namespace}/web.yaml"));
    apply(cluster, &claim);
    becomes(cluster, namespace, "web", "Ready", "False", "TargetConflict");
    scene.remove(namespace, "web");
    let out = cluster.kubectl(&["delete", "secret", "web", "-n", namespace]);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    eventually("the Secret has its name again", SOON * 3, || ready(cluster, "scopedsecret", Some(namespace), "web"));
    assert_eq!(secret_value(cluster, namespace, "web", "p"), Some(value));
}
