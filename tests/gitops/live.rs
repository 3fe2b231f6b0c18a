//! One cluster: everything comes with one commit, before there is an operator; then the operator, an outage, what ends and what is
//! revoked. At each step Flux, Helm and Argo CD are asked; at rest nothing differs from Git.

mod drift;
mod helm;

use super::judge::{SCRIPTS, ask, of};
use super::order::applies_beside_others;
use super::support::cluster::Cluster;
use super::support::operator::{Operator, install};
use super::support::oracle::all_is_well;
use super::support::stub_manager::{Lambda, Mood, Says, StubManager};
use super::support::tenants::{SOON, condition, set_up};
use super::support::wait::eventually;
use super::written::{files, objects, text};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// As Argo CD applies with ServerSideApply=true.
const ARGO_CD: &str = "argocd-controller";

/// What is in Git, in the order of its folders. Namespaces first, as every GitOps tool has it.
fn in_git(endpoint: &str) -> Vec<Value> {
    let place = format!("endpoint: \"{endpoint}\"\n    accountId: \"123456789012\"\n    auth: {{}}");
    let files = [
        "examples/payments/namespaces.yaml",
        "examples/billing/namespaces.yaml",
        "examples/platform/store.yaml",
        "examples/platform/policy.yaml",
        "examples/payments/orders-prod.yaml",
        "examples/payments/orders-staging.yaml",
        "examples/billing/invoices-prod.yaml",
        "examples/billing/invoices-staging.yaml",
    ];
    let mut all: Vec<Value> = files.iter().flat_map(|file| objects(&text(file).replace("auth: {}", &place))).collect();
    all.extend(objects(RICH));
    all
}

/// Claims with every field, and what they need.
const RICH: &str = include_str!("live/rich.yaml");

fn put(stub: &StubManager, key: &str, value: &Value) {
    stub.put(key, Says::Text(value.to_string()));
}

fn fill(stub: &StubManager) {
    for (tenant, environment) in
        [("payments", "prod"), ("payments", "staging"), ("billing", "prod"), ("billing", "staging")]
    {
        let name = if tenant == "payments" { "orders-db" } else { "invoices-api" };
        let value = json!({"username": "app", "password": format!("canary-{tenant}-{environment}-kX9mQ2vL8n")});
        put(stub, &format!("{tenant}/{environment}/{name}"), &value);
    }
    for (name, property) in [("static", "password"), ("rotates", "password"), ("whole", "token")] {
        put(stub, &format!("rich/prod/{name}"), &json!({property: format!("canary-rich-{name}-kX9mQ2vL8nR5")}));
    }
    for name in ["short", "quick", "turns", "pressed", "charted", "taken", "elsewhere"] {
        stub.put(&format!("rich/prod/{name}"), Says::Text(format!("canary-{name}-kX9mQ2vL8nR5wT3z")));
    }
}

struct Story {
    cluster: Cluster,
    stub: StubManager,
}

impl Story {
    fn get(&self, kind: &str, namespace: Option<&str>, name: &str) -> Value {
        self.cluster.get_json(kind, namespace, name).unwrap_or_else(|| panic!("no {kind} {name}"))
    }

    fn claim(&self, namespace: &str, name: &str) -> Value {
        self.get("scopedsecret", Some(namespace), name)
    }

    /// Applies without a tool's own field manager.
    fn apply(&self, yaml: &str) {
        self.cluster.apply(yaml).unwrap_or_else(|refusal| panic!("{refusal}\n{yaml}"));
    }

    /// Waits until kstatus and Argo CD say this of a live object; the object.
    fn becomes(&self, kind: &str, namespace: Option<&str>, name: &str, says: (&str, &str)) -> Value {
        let what = format!("{kind} {name} is {says:?}");
        eventually(&what, SOON, || {
            let object = self.get(kind, namespace, name);
            let found = of(&object);
            if (found.0.as_str(), found.1.as_str()) == says {
                Ok(object)
            } else {
                Err(format!("{found:?} {}", object["status"]))
            }
        })
    }
}

/// A claim of one whole key in namespace rich-prod.
fn simple(name: &str, more: &str) -> String {
    format!(
        "apiVersion: scopedsecrets.io/v1alpha1\nkind: ScopedSecret\nmetadata: {{name: {name}, namespace: rich-prod}}\nspec:\n  storeRef: {{name: main}}\n  consumers: [{{serviceAccountName: {name}}}]\n  data: [{{secretKey: value, remoteRef: {{key: rich/prod/{name}}}}}]\n{more}"
    )
}

/// `deploy/` and what uses it as one stream, Namespaces and ServiceAccounts first as Argo CD has them, applied again until it passes as
/// its retry does: the first time the kinds are not served yet, and all but their objects is taken.
fn comes_as_one_stream(cluster: &Cluster, git: &[Value]) {
    let overlay = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/overlays/out-of-cluster");
    let deploy = cluster.submit(&["kustomize", overlay], "").unwrap_or_else(|said| panic!("{said}"));
    let is_ours = |object: &&Value| object["apiVersion"].as_str().is_some_and(|v| v.starts_with("scopedsecrets.io/"));
    let (ours, plain): (Vec<&Value>, Vec<&Value>) = git.iter().partition(is_ours);
    let documents =
        |objects: &[&Value]| -> String { objects.iter().map(|object| format!("---\n{object}\n")).collect() };
    let stream = format!("{}---\n{deploy}\n{}", documents(&plain), documents(&ours));
    let apply = || cluster.submit(&["apply", "--server-side", "--field-manager", ARGO_CD, "-f", "-"], &stream);
    let told = apply().expect_err("its kinds were there before");
    let expected = ["no matches for kind", "ensure CRDs are installed first", "Warning: "];
    let is_expected = |line: &&str| line.trim().is_empty() || expected.iter().any(|part| line.contains(part));
    let other: Vec<&str> = told.lines().filter(|line| !is_expected(line)).collect();
    assert!(other.is_empty(), "{other:#?}");
    for object in &ours {
        let (kind, name) = (object["kind"].as_str().unwrap(), object["metadata"]["name"].as_str().unwrap());
        let refused = told.lines().any(|line| {
            line.contains(&format!("no matches for kind \"{kind}\"")) && line.contains(&format!("name: \"{name}\""))
        });
        assert!(refused, "{kind} {name}: {told}");
    }
    eventually("the same stream passes", SOON, apply);
}

const GOOD: (&str, &str) = ("Current", "Healthy");
const WAITS: (&str, &str) = ("InProgress", "Progressing");
const BAD: (&str, &str) = ("Failed", "Degraded");

#[test]
fn everything_in_one_commit() {
    let story = Story { cluster: Cluster::start(), stub: StubManager::start() };
    let (cluster, stub) = (&story.cluster, &story.stub);
    fill(stub);
    // One commit: kinds, guards and permissions, and with them all that uses them. The operator's image is still being pulled.
    let git = in_git(&stub.endpoint);
    comes_as_one_stream(cluster, &git);
    // Nothing of the first attempt is stuck: every kind is served, and the guards come into force.
    install(cluster);
    let refused = text("examples/refused/billing-asks-for-payments.yaml");
    story.apply(&refused);
    story.apply(&simple("not-there", ""));
    story.apply(&simple("taken", ""));
    story.apply("apiVersion: v1\nkind: Secret\nmetadata: {name: taken, namespace: rich-prod}\nstringData: {a: b}\n");
    for object in git.iter().filter(|object| object["kind"] == "ScopedSecret") {
        let (namespace, name) =
            (object["metadata"]["namespace"].as_str().unwrap(), object["metadata"]["name"].as_str().unwrap());
        assert_eq!(of(&story.claim(namespace, name)), (WAITS.0.into(), WAITS.1.into()), "{name} was just created");
    }
    assert_eq!(of(&story.get("segmentationpolicy", None, "tenants")).0, "InProgress");

    let operator = Operator::start(cluster);
    for object in
        git.iter().filter(|o| o["apiVersion"].as_str().is_some_and(|version| version.starts_with("scopedsecrets")))
    {
        let metadata = &object["metadata"];
        story.becomes(
            &object["kind"].as_str().unwrap().to_lowercase(),
            metadata["namespace"].as_str(),
            metadata["name"].as_str().unwrap(),
            GOOD,
        );
    }
    let asks = &objects(&refused)[0]["metadata"];
    story.becomes("scopedsecret", asks["namespace"].as_str(), asks["name"].as_str().unwrap(), BAD);
    story.becomes("scopedsecret", Some("rich-prod"), "not-there", WAITS);
    story.becomes("scopedsecret", Some("rich-prod"), "taken", BAD);

    // At rest, and after what people do by hand.
    drift::is_none(cluster, &git);
    by_hand(&story);
    drift::is_none(cluster, &git);
    drift::is_none_after_kubectl_apply(cluster, &simple("quick", "  refreshInterval: 1s\n"));
    applies_beside_others(cluster);
    helm::waits_for_what_is_good_and_not_for_what_is_refused(cluster);

    // An outage turns nothing red, however long it lasts.
    story.becomes("scopedsecret", Some("rich-prod"), "quick", GOOD);
    stub.set_mood(Mood::Down);
    eventually("quick is stale", SOON, || {
        let quick = story.claim("rich-prod", "quick");
        let stale = condition(&quick, "Ready").is_some_and(|ready| ready["reason"] == "Stale");
        if stale { Ok(()) } else { Err(quick["status"].to_string()) }
    });
    story.becomes("scopedsecret", Some("rich-prod"), "quick", WAITS);
    let refresh = [
        "annotate",
        "scopedsecret",
        "orders-db",
        "-n",
        "payments-prod",
        "--overwrite",
        "scopedsecrets.io/refresh-at=down",
    ];
    assert!(cluster.kubectl(&refresh).status.success());
    eventually("orders-db is not in sync", SOON, || {
        let claim = story.claim("payments-prod", "orders-db");
        let down = condition(&claim, "Synced").is_some_and(|synced| synced["reason"] == "ProviderUnavailable");
        if down { Ok(()) } else { Err(claim["status"].to_string()) }
    });
    story.becomes("scopedsecret", Some("payments-prod"), "orders-db", GOOD);
    stub.set_mood(Mood::Well);

    // What ends, and what is revoked.
    story.apply(&simple("short", "  ttl: 3s\n"));
    story.becomes("scopedsecret", Some("rich-prod"), "short", BAD);
    let grant = text("examples/lent/grant.yaml");
    let given = objects(&grant);
    eventually("the grant is taken", SOON, || {
        cluster.submit(&["apply", "--server-side", "--field-manager", ARGO_CD, "-f", "-"], &grant)
    });
    story.becomes("secretgrant", Some("payments-prod"), "ada", GOOD);
    drift::is_none(cluster, &given);
    story.becomes("secretgrant", Some("payments-prod"), "ada", ("Failed", "Suspended"));
    let leaked = objects(&text("examples/leaked/revocation.yaml"));
    drift::apply(cluster, &leaked);
    story.becomes("keyrevocation", None, "orders-db-leak", GOOD);
    story.becomes("scopedsecret", Some("payments-prod"), "orders-db", BAD);
    drift::is_none(cluster, &leaked);
    drift::is_none(cluster, &git);
    all_is_well(cluster, &operator);
}

/// Each example as it stands, with the kinds alone: here no operator, and no refusal, comes in between.
#[test]
fn no_example_drifts() {
    let cluster = Cluster::start();
    let ok = |words: &[&str]| {
        let out = cluster.kubectl(words);
        assert!(out.status.success(), "{words:?}: {}", String::from_utf8_lossy(&out.stderr));
    };
    ok(&["apply", "--server-side", "-k", concat!(env!("CARGO_MANIFEST_DIR"), "/crds")]);
    ok(&["wait", "--for=condition=Established", "--timeout=20s", "crd", "--all"]);
    let (mut tried, mut namespaces) = (0, BTreeSet::new());
    for file in files("examples") {
        let is_ours = |object: &Value| {
            object["apiVersion"].as_str().is_some_and(|version| version.starts_with("scopedsecrets.io/"))
        };
        let ours: Vec<Value> = objects(&std::fs::read_to_string(&file).unwrap()).into_iter().filter(is_ours).collect();
        for namespace in ours.iter().filter_map(|object| object["metadata"]["namespace"].as_str()) {
            if namespaces.insert(namespace.to_owned()) {
                ok(&["create", "namespace", namespace]);
            }
        }
        if !ours.is_empty() {
            drift::apply(&cluster, &ours);
            drift::is_none(&cluster, &ours);
            // Another file may have another object of its name.
            let all = json!({"apiVersion": "v1", "kind": "List", "items": ours}).to_string();
            cluster.submit(&["delete", "-f", "-"], &all).unwrap();
            tried += ours.len();
        }
    }
    assert!(tried >= 20, "{tried}");
}

/// The installation itself, as `deploy/install.yaml` has it: neither what Kubernetes fills in nor what the operator keeps in its
/// webhook configuration differs from Git.
#[test]
fn the_installation_does_not_drift() {
    let (cluster, stub) = (Cluster::start(), StubManager::start());
    let git = objects(&text("deploy/install.yaml"));
    drift::apply(&cluster, &git);
    let established = cluster.kubectl(&["wait", "--for=condition=Established", "--timeout=60s", "crd", "--all"]);
    assert!(established.status.success(), "{}", String::from_utf8_lossy(&established.stderr));
    eventually("the controllers have seen the Deployment", SOON, || {
        let deployment = cluster.get_json("deployment", "scoped-secrets", "scoped-secrets").ok_or("none")?;
        if deployment["status"]["observedGeneration"] == deployment["metadata"]["generation"] {
            Ok(())
        } else {
            Err(deployment["status"].to_string())
        }
    });
    drift::is_none_by_the_server(&cluster, &git);
    // Without a node its pods wait: this one runs outside.
    let operator = Operator::start(&cluster);
    set_up(&cluster, &stub.endpoint);
    eventually("the webhook is registered", SOON, || {
        let live = cluster.get_json("validatingwebhookconfiguration", None, "scoped-secrets").ok_or("none")?;
        if live["webhooks"].is_array() { Ok(()) } else { Err(live.to_string()) }
    });
    drift::is_none_by_the_server(&cluster, &git);
    all_is_well(&cluster, &operator);
}

/// Argo CD's buttons: what a script makes of the live object is written, and the operator does it.
fn by_hand(story: &Story) {
    let asked = story.stub.asked("payments/prod/orders-db");
    press(story, "refresh", "payments-prod", "orders-db");
    eventually("the manager is asked again", SOON, || {
        let now = story.stub.asked("payments/prod/orders-db");
        if now > asked { Ok(()) } else { Err(format!("{now}")) }
    });
    // As long as a rotation goes on, and when it is over.
    let rotated = |status: &str| {
        eventually("the rotation", SOON, || {
            let turns = story.claim("rich-prod", "turns");
            let found = condition(&turns, "Rotated").is_some_and(|rotated| rotated["status"] == status);
            if found { Ok(()) } else { Err(turns["status"].to_string()) }
        });
        story.becomes("scopedsecret", Some("rich-prod"), "turns", GOOD);
    };
    story.stub.rotates("rich/prod/turns", Lambda::Waits);
    story.apply(&simple("turns", "  rotation: {strategy: Provider}\n"));
    rotated("True");
    press(story, "rotate", "rich-prod", "turns");
    rotated("False");
    story.stub.finish_rotation("rich/prod/turns", "canary-turned-kX9mQ2vL8nR5wT3z");
    rotated("True");
    // A leak: the key is revoked, and its Secret goes.
    story.apply(&simple("pressed", ""));
    story.becomes("scopedsecret", Some("rich-prod"), "pressed", GOOD);
    press(story, "revoke", "rich-prod", "pressed");
    story.becomes("scopedsecret", Some("rich-prod"), "pressed", BAD);
    assert_eq!(story.cluster.get_json("secret", "rich-prod", "pressed"), None);
}

fn press(story: &Story, action: &str, namespace: &str, name: &str) {
    let script = format!("{SCRIPTS}/scopedsecrets.io/ScopedSecret/actions/{action}/action.lua");
    let before = story.claim(namespace, name);
    let after = ask(&["action", &script], &json!([before])).unwrap();
    // As Argo CD does: the difference, as a merge patch.
    let annotations = json!({"metadata": {"annotations": after[0]["metadata"]["annotations"]}}).to_string();
    let patch = ["patch", "scopedsecret", name, "-n", namespace, "--type=merge", "-p", &annotations];
    let patched = story.cluster.kubectl(&patch);
    assert!(patched.status.success(), "{}", String::from_utf8_lossy(&patched.stderr));
    let live = story.claim(namespace, name);
    let annotation =
        format!("scopedsecrets.io/{}", if action == "revoke" { action.to_owned() } else { format!("{action}-at") });
    assert!(live["metadata"]["annotations"][&annotation].is_string(), "{live}");
}
