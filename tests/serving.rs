//! The serving shell on a real API server, with exactly the permissions of `deploy/`: certificates, the webhook's
//! registration, leadership.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod support;

use kube::core::DynamicObject;
use kube::core::admission::{AdmissionRequest, AdmissionResponse};
use scoped_secrets::admission::certificate_keeper::{Gates, Keeper, SECRET, Signals};
use scoped_secrets::admission::health::Readiness;
use scoped_secrets::admission::review::{self, Review, Route};
use scoped_secrets::admission::server::{Limits, Transport, serve};
use scoped_secrets::admission::tls::{CertificateCell, server_config};
use scoped_secrets::admission::unread::Unread;
use scoped_secrets::admission::webhook_configuration::{
    CLUSTER_ENTRIES, Endpoint, SCOPED_SECRETS_PATH, SEGMENTATION_POLICIES_PATH, Wanted, WebhookUrl,
};
use scoped_secrets::controller::served::Served;
use scoped_secrets::leader::candidate::Terms;
use scoped_secrets::leader::{Elector, Leadership, identity};
use scoped_secrets::segmentation::governed::Governed;
use scoped_secrets::telemetry::metrics::Metrics;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::cluster::Cluster;
use support::operator::lift;
use support::wait::eventually;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

const SOON: Duration = Duration::from_secs(20);
const NAMESPACE: &str = "scoped-secrets";

/// Denies what is called `refused`.
struct ByName;

impl Review for ByName {
    fn review(&self, request: &AdmissionRequest<DynamicObject>) -> AdmissionResponse {
        let response = AdmissionResponse::from(request);
        if request.name == "refused" { response.deny("refused by the story") } else { response }
    }

    fn refuses_unread(&self, _: &Unread<'_>) -> bool {
        true
    }
}

/// One replica, wired as main does.
struct Replica {
    leadership: Leadership,
    readiness: Readiness,
    metrics: Arc<Metrics>,
    /// Ends the election, gracefully.
    retire: Option<oneshot::Sender<()>>,
}

async fn replica(cluster: &Cluster, token: &str, terms: Terms, name: &str) -> Replica {
    let kubeconfig = kube::config::Kubeconfig::read_from(&cluster.kubeconfig).unwrap();
    let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await.unwrap();
    config.auth_info = kube::config::AuthInfo { token: Some(token.to_owned().into()), ..Default::default() };
    let client = kube::Client::try_from(config).unwrap();

    let metrics = Arc::new(Metrics::new());
    let (elector, leadership) =
        Elector::new(client.clone(), NAMESPACE, identity(name).unwrap(), terms, metrics.clone());
    let (retire, retired) = oneshot::channel::<()>();
    tokio::spawn(elector.run(async move { drop(retired.await) }));

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = WebhookUrl::parse(&format!("https://{}", listener.local_addr().unwrap())).unwrap();
    let endpoint = Endpoint {
        namespace: NAMESPACE.into(),
        service: "scoped-secrets-webhook".into(),
        url: Some(url),
        timeout_seconds: 10,
    };
    let wanted = Wanted { endpoint, service_account: "scoped-secrets".into(), served: Served::default() };
    let (cell, readiness) = (Arc::new(CertificateCell::default()), Readiness::default());
    let governed = tokio::sync::watch::Sender::new(Some(Governed::default()));
    let gates = Gates {
        served: readiness.gate("certificate"),
        registered: readiness.gate("webhook entries"),
        were_changed: Arc::default(),
    };
    let reigns = tokio::sync::watch::Sender::new(1);
    let signals =
        Signals { governed: governed.subscribe(), leadership: leadership.clone(), reigns: reigns.subscribe() };
    let keeper = Keeper::new(client, wanted, cell.clone(), gates, signals, metrics.clone());
    tokio::spawn(keeper.run(std::future::pending()));

    let route = |path, kinds| Route { path, rule: "Claims", kinds, review: Arc::new(ByName) };
    let routes = vec![
        route(SCOPED_SECRETS_PATH, &[("scopedsecrets.io", "ScopedSecret")]),
        route(SEGMENTATION_POLICIES_PATH, &[("scopedsecrets.io", "SegmentationPolicy")]),
    ];
    let caches = readiness.gate("caches");
    caches.set(true);
    let router = review::router(routes, cell.clone(), &caches, metrics.clone());
    let transport = Transport::Tls(server_config(cell).unwrap());
    tokio::spawn(serve(listener, transport, router, Limits::default(), std::future::pending()));
    Replica { leadership, readiness, metrics, retire: Some(retire) }
}

fn runtime() -> Runtime {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn installed(cluster: &Cluster) -> String {
    apply_deploy(cluster);
    let token = kubectl(cluster, &["create", "token", "scoped-secrets", "-n", NAMESPACE]);
    token.trim().to_owned()
}

fn apply_deploy(cluster: &Cluster) -> String {
    kubectl(cluster, &["apply", "-k", concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/overlays/out-of-cluster")])
}

fn kubectl(cluster: &Cluster, args: &[&str]) -> String {
    let output = cluster.kubectl(args);
    assert!(output.status.success(), "kubectl {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn webhooks(cluster: &Cluster) -> Result<Vec<Value>, String> {
    let live = cluster.get_json("validatingwebhookconfiguration", None, "scoped-secrets").ok_or("no configuration")?;
    live["webhooks"].as_array().cloned().ok_or_else(|| "no webhooks".to_owned())
}

fn right(cluster: &Cluster) -> Result<(), String> {
    let entries = webhooks(cluster)?;
    let conditions = |e: &Value| e["matchConditions"].as_array().map(Vec::len);
    let fails = entries.iter().filter(|e| e["failurePolicy"] == "Fail").count();
    let ok = fails == 2
        && entries.len() == fails + CLUSTER_ENTRIES.len()
        && entries.iter().all(|entry| conditions(entry) == Some(2));
    if ok { Ok(()) } else { Err(json!(entries).to_string()) }
}

/// The webhook is asked: it refuses what its rule refuses, and nothing else.
fn reviewing(cluster: &Cluster) -> Result<(), String> {
    let claim = |name: &str| {
        json!({
            "apiVersion": "scopedsecrets.io/v1alpha1", "kind": "ScopedSecret", "metadata": {"name": name, "namespace": "default"},
            "spec": {
                "storeRef": {"name": "aws"}, "consumers": [{"serviceAccountName": "orders"}],
                "data": [{"secretKey": "password", "remoteRef": {"key": "payments/prod/orders"}}],
            },
        })
        .to_string()
    };
    match cluster.apply(&claim("refused")) {
        Err(denial) if denial.contains("refused by the story") => {}
        other => return Err(format!("not denied by the webhook: {other:?}")),
    }
    cluster.apply(&claim("orders")).map(drop)
}

#[test]
fn the_webhook_is_registered_kept_right_and_left_alone_when_it_is_deleted() {
    let cluster = Cluster::start();
    let token = installed(&cluster);
    assert!(webhooks(&cluster).is_err(), "harmless as installed");
    let runtime = runtime();
    let terms = Terms::new(Duration::from_secs(15), Duration::from_secs(10), Duration::from_secs(1)).unwrap();
    let replica = runtime.block_on(replica(&cluster, &token, terms, "a"));

    eventually("the webhook is registered and asked", SOON, || right(&cluster).and_then(|()| reviewing(&cluster)));
    assert!(replica.readiness.missing().is_empty());

    // Git is applied again: nothing changes, nobody fights.
    let before = cluster.get_json("validatingwebhookconfiguration", None, "scoped-secrets").unwrap();
    let applied = apply_deploy(&cluster);
    assert!(
        applied.contains("validatingwebhookconfiguration.admissionregistration.k8s.io/scoped-secrets unchanged"),
        "{applied}"
    );
    let after = cluster.get_json("validatingwebhookconfiguration", None, "scoped-secrets").unwrap();
    assert_eq!(before["metadata"]["resourceVersion"], after["metadata"]["resourceVersion"]);

    // Weakened, in a field and by an addition that server-side apply cannot take back.
    for patch in [
        r#"[{"op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Ignore"}]"#,
        r#"[{"op": "add", "path": "/webhooks/0/matchConditions/-", "value": {"name": "never", "expression": "false"}}]"#,
        r#"[{"op": "remove", "path": "/webhooks"}]"#,
    ] {
        kubectl(&cluster, &["patch", "validatingwebhookconfiguration", "scoped-secrets", "--type=json", "-p", patch]);
        eventually("the entries are put right", SOON, || right(&cluster));
    }
    // By another who owns what he adds.
    let theirs = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "scoped-secrets"},
        "webhooks": [{"name": "scopedsecrets.scopedsecrets.io", "matchConditions": [{"name": "never", "expression": "false"}]}],
    });
    let file = cluster.dir.join("theirs.json");
    std::fs::write(&file, theirs.to_string()).unwrap();
    let file = file.to_str().unwrap();
    kubectl(&cluster, &["apply", "--server-side", "--force-conflicts", "--field-manager=mallory", "-f", file]);
    eventually("the addition is gone", SOON, || right(&cluster));

    // The Secret is broken, past the guard, then gone: a new certificate, and the API server trusts it.
    lift(&cluster, "managed-secrets");
    for args in [
        &[
            "patch",
            "secret",
            SECRET,
            "-n",
            NAMESPACE,
            "--type=merge",
            "-p",
            r#"{"data": {"tls.crt": "AAAA", "ca.crt": null}}"#,
        ][..],
        &["delete", "secret", SECRET, "-n", NAMESPACE][..],
    ] {
        let old = webhooks(&cluster).unwrap()[0]["clientConfig"]["caBundle"].clone();
        kubectl(&cluster, args);
        eventually("another authority is trusted", SOON, || match webhooks(&cluster)?[0]["clientConfig"]["caBundle"] {
            ref new if *new != old => reviewing(&cluster),
            _ => Err("still the old".to_owned()),
        });
    }

    // Break-glass: gone is gone, until somebody applies it again.
    kubectl(&cluster, &["delete", "validatingwebhookconfiguration", "scoped-secrets"]);
    eventually("the operator notices", SOON, || {
        let text = replica.metrics.encode();
        if text.contains("scoped_secrets_webhook_configured 0") { Ok(()) } else { Err(text) }
    });
    kubectl(&cluster, &["delete", "secret", SECRET, "-n", NAMESPACE]);
    eventually("the keeper has acted again", SOON, || cluster.get_json("secret", NAMESPACE, SECRET).ok_or("no Secret"));
    assert!(webhooks(&cluster).is_err(), "not put back by the operator");
    apply_deploy(&cluster);
    eventually("the webhook is back", SOON, || right(&cluster).and_then(|()| reviewing(&cluster)));
}

#[test]
fn one_leads_and_stops_when_it_cannot_renew() {
    let cluster = Cluster::start();
    let token = installed(&cluster);
    let runtime = runtime();
    // A released lease is not waited for: one that is not is longer than anything here.
    let terms = Terms::new(SOON * 2, Duration::from_secs(5), Duration::from_secs(1)).unwrap();
    let mut first = runtime.block_on(replica(&cluster, &token, terms, "first"));
    eventually("the first leads", SOON, || first.leadership.leads().then_some(()).ok_or("no"));
    let second = runtime.block_on(replica(&cluster, &token, terms, "second"));
    eventually("the second is ready without leading", SOON, || {
        let missing = second.readiness.missing();
        if missing.is_empty() { Ok(()) } else { Err(missing.join(", ")) }
    });
    assert!(!second.leadership.leads());

    drop(first.retire.take());
    eventually("the second takes over", SOON, || second.leadership.leads().then_some(()).ok_or("no"));
    assert!(!first.leadership.leads());

    cluster.kill_apiserver();
    let gone = Instant::now();
    eventually("nobody leads without an API server", SOON, || {
        if second.leadership.leads() { Err("leads") } else { Ok(()) }
    });
    assert!(gone.elapsed() < Duration::from_secs(15), "before anyone else could: {:?}", gone.elapsed());
    cluster.start_apiserver();
    eventually("it leads again", SOON, || second.leadership.leads().then_some(()).ok_or("no"));
}
