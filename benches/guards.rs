//! What each ValidatingAdmissionPolicy adds to a write in a governed namespace: the API server's time for a pod and for a
//! Secret (dry run) with one guard in force, against the same request without any. Each line: the median, and its multiple of
//! the median without guards in the same run, since machines differ.
//!
//! Then a pod with all guards in force, in a namespace that is not governed, in one whose SegmentGuard names one Secret, and in one that
//! names five hundred: the three by turns, so that a busy machine is busy for all. It fails if five hundred cost more than one.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a bench")]

#[path = "../tests/support/mod.rs"]
mod support;

use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use support::cluster::Cluster;
use support::operator::{Operator, USER, install};
use support::stub_manager::{Says, StubManager};
use support::tenants::*;
use support::wait::eventually;
use tokio::runtime::Runtime;

const GUARDS: [&str; 5] = ["managed-secrets", "operator", "boundary", "consumers", "replication"];
const RUNS: usize = 300;

struct Bench {
    cluster: Cluster,
    runtime: Runtime,
    client: Client,
}

impl Bench {
    fn kubectl(&self, arguments: &[&str]) {
        let out = self.cluster.kubectl(arguments);
        assert!(out.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&out.stderr));
    }

    fn lift(&self, guard: &str) {
        let file = manifest(guard);
        let file = file.to_str().unwrap();
        self.kubectl(&["delete", "--ignore-not-found", "-f", file]);
    }

    fn put(&self, guard: &str) {
        let file = manifest(guard);
        self.kubectl(&["apply", "--server-side", "--force-conflicts", "-f", file.to_str().unwrap()]);
    }

    /// The median of a write that changes nothing.
    fn write(&self, resource: &str, object: &Value) -> Duration {
        let once = || self.create("payments-prod", resource, object);
        (0..RUNS / 10).for_each(|_| _ = once());
        let mut took: Vec<Duration> = (0..RUNS).map(|_| once()).collect();
        took.sort();
        took[RUNS / 2]
    }

    /// How long a dry run takes.
    fn create(&self, namespace: &str, resource: &str, object: &Value) -> Duration {
        let path = format!("/api/v1/namespaces/{namespace}/{resource}?dryRun=All");
        let body = Body::from(serde_json::to_vec(object).unwrap());
        let request =
            http::Request::post(&path).header(http::header::CONTENT_TYPE, "application/json").body(body).unwrap();
        let start = Instant::now();
        let status = self.runtime.block_on(self.client.send(request)).unwrap().status();
        assert!(status.is_success(), "{resource}: {status}");
        start.elapsed()
    }

    /// Returns once these guards are in force, each by a request that it refuses, and no other is.
    fn settles(&self, guards: &[&str]) {
        for (guard, rule, who, object) in probes() {
            let wanted = guards.contains(&guard);
            eventually(&format!("{guard} is in force: {wanted}"), SOON, || {
                let asked = ["create", "--dry-run=server", "-f", "-", "--as", who];
                let refused = match self.cluster.submit(&asked, &object.to_string()) {
                    Ok(_) => false,
                    Err(said) if said.contains(&format!("rule {rule}, ")) => true,
                    Err(said) => return Err(said),
                };
                if refused == wanted { Ok(()) } else { Err(format!("refused: {refused}")) }
            });
        }
    }

    fn both(&self, guards: &[&str]) -> [Duration; 2] {
        self.settles(guards);
        [self.write("pods", &pod()), self.write("secrets", &secret())]
    }
}

fn manifest(guard: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("deploy/base/guards/{guard}.yaml"))
}

fn pod() -> Value {
    let from = json!({"secretKeyRef": {"name": "orders", "key": "value"}});
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "probe"},
        "spec": {
            "serviceAccountName": "orders",
            "containers": [{"name": "web", "image": "web", "env": [{"name": "A", "value": "b"}, {"name": "V", "valueFrom": from}]}],
            "volumes": [{"name": "s", "secret": {"secretName": "orders"}}],
        },
    })
}

fn secret() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "probe", "labels": {"app": "web"}, "annotations": {"example.com/note": "mine"}},
        "stringData": {"a": "b"},
    })
}

/// Who may ask for everything by RBAC, and is nobody to the guards.
const PROBER: &str = "prober";

/// What each guard refuses, if it is asked by this user.
fn probes() -> [(&'static str, &'static str, &'static str, Value); 5] {
    let with = |field: &str, key: &str, value: &str| {
        let mut secret = secret();
        secret["metadata"]["namespace"] = "payments-prod".into();
        secret["metadata"][field][key] = value.into();
        secret
    };
    let mut stranger = pod();
    stranger["metadata"]["namespace"] = "payments-prod".into();
    stranger["spec"]["serviceAccountName"] = "default".into();
    let joins = json!({"apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": "joins", "labels": {"tenant": "payments", "environment": "prod"}}});
    [
        ("managed-secrets", "ManagedSecrets", PROBER, with("labels", "app.kubernetes.io/managed-by", "scoped-secrets")),
        ("operator", "Operator", USER, with("labels", "app", "its-own")),
        ("boundary", "Boundary", PROBER, joins),
        ("consumers", "Consumers", PROBER, stranger),
        (
            "replication",
            "Replication",
            PROBER,
            with("annotations", "reflector.v1.k8s.emberstack.com/reflects", "billing-prod/db"),
        ),
    ]
}

/// What makes the prober one who may.
const MAY: &str = r#"
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: prober}
rules: [{apiGroups: [""], resources: [secrets, pods, namespaces], verbs: [create]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: prober}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: prober}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: prober}]
"#;

fn bench() -> (Bench, Operator, StubManager) {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let (cluster, stub) = (Cluster::start(), StubManager::start());
    install(&cluster);
    let operator = Operator::start(&cluster);
    set_up(&cluster, &stub.endpoint);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let client = runtime.block_on(async {
        let kubeconfig = Kubeconfig::read_from(&cluster.kubeconfig).unwrap();
        Client::try_from(Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap())
    });
    let bench = Bench { client: client.unwrap(), cluster, runtime };
    bench.kubectl(&["create", "serviceaccount", "orders", "-n", "payments-prod"]);
    stub.put("payments/prod/orders", Says::Text("canary-bench-kX9mQ2vL8nR5wT3z1pQ".into()));
    let spec = "data: [{secretKey: value, remoteRef: {key: payments/prod/orders}}]";
    apply(&bench.cluster, &scoped_secret("payments-prod", "orders", spec));
    eventually("it is projected", SOON, || ready(&bench.cluster, "scopedsecret", Some("payments-prod"), "orders"));
    // Its webhook is another bench's.
    bench.kubectl(&["delete", "validatingwebhookconfiguration", "scoped-secrets"]);
    apply(&bench.cluster, MAY);
    GUARDS.iter().for_each(|guard| bench.lift(guard));
    (bench, operator, stub)
}

/// So many names a guard has in the second of two namespaces.
const MANY: usize = 500;
/// By so much five hundred may cost more than one: what a busy machine makes of equal requests is less, and a guard that looks at
/// each name (or one object a ScopedSecret, which costs 0.4 ms for each) comes to much more.
const TOLERANCE: (f64, Duration) = (1.3, Duration::from_millis(1));

impl Bench {
    /// Medians of a pod in each namespace, asked by turns.
    fn by_turns<const N: usize>(&self, namespaces: [&str; N]) -> [Duration; N] {
        let mut took = namespaces.map(|_| Vec::with_capacity(RUNS));
        for run in 0..RUNS + RUNS / 10 {
            for (namespace, took) in namespaces.iter().zip(&mut took) {
                let elapsed = self.create(namespace, "pods", &pod());
                if run >= RUNS / 10 {
                    took.push(elapsed);
                }
            }
        }
        took.map(|mut took| {
            took.sort();
            took[RUNS / 2]
        })
    }

    /// Has the guard of a namespace name so many Secrets. The operator is gone, and so are the guards that would refuse it.
    fn name_many(&self, namespace: &str, count: usize) {
        let targets: serde_json::Map<String, Value> = (0..count)
            .map(|i| (format!("orders-{i}"), json!(["orders"])))
            .chain([("orders".into(), json!(["orders"]))])
            .collect();
        let patch = json!({"spec": {"targets": targets}}).to_string();
        self.kubectl(&["patch", "segmentguard", "scoped-secrets", "-n", namespace, "--type", "merge", "-p", &patch]);
    }
}

/// One and five hundred names, the same.
fn names_cost_nothing(bench: &Bench) -> bool {
    for namespace in ["payments-staging", "plain"] {
        bench.kubectl(&["create", "serviceaccount", "orders", "-n", namespace]);
    }
    bench.name_many("payments-prod", 0);
    bench.name_many("payments-staging", MANY - 1);
    GUARDS.iter().for_each(|guard| bench.put(guard));
    bench.settles(&GUARDS);
    let [plain, one, many] = bench.by_turns(["plain", "payments-prod", "payments-staging"]);
    GUARDS.iter().for_each(|guard| bench.lift(guard));
    println!("a pod under all guards, by turns: not governed {plain:.2?}, one name {one:.2?}, {MANY} names {many:.2?}");
    let (ratio, least) = TOLERANCE;
    many <= one.mul_f64(ratio).max(one + least)
}

fn main() -> ExitCode {
    let (bench, operator, _stub) = bench();
    let none = bench.both(&[]);
    println!("{:<16} {:>10} {:>7} {:>12} {:>7}", "guard", "a pod", "", "a Secret", "");
    let line = |what: &str, took: [Duration; 2]| {
        let [pod, secret] =
            [0, 1].map(|i| (took[i].as_secs_f64() * 1e3, took[i].as_secs_f64() / none[i].as_secs_f64()));
        println!("{what:<16} {:>7.2} ms {:>6.2}x {:>9.2} ms {:>6.2}x", pod.0, pod.1, secret.0, secret.1);
    };
    line("none", none);
    for guard in GUARDS {
        bench.put(guard);
        line(guard, bench.both(&[guard]));
        bench.lift(guard);
    }
    GUARDS.iter().for_each(|guard| bench.put(guard));
    line("all", bench.both(&GUARDS));
    GUARDS.iter().for_each(|guard| bench.lift(guard));
    line("none again", bench.both(&[]));
    operator.kill();
    if names_cost_nothing(&bench) {
        return ExitCode::SUCCESS;
    }
    println!("{MANY} names cost more than one");
    ExitCode::FAILURE
}
