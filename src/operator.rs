//! The operator's wiring: what listens, what watches, who leads, and how all of it ends. The clock, the dice and the
//! connection to the API server are arguments, so that a test can own them.

use crate::admission::ServingArgs;
use crate::admission::breaches;
use crate::admission::certificate_keeper::{Gates, Keeper, Signals};
use crate::admission::health::{self, Readiness};
use crate::admission::identities::Installation;
use crate::admission::recorded::recorded;
use crate::admission::review::{self, Route};
use crate::admission::rules::{claims, copies, other_operators, policies, rbac};
use crate::admission::server::{self, Limits, Transport};
use crate::admission::tls::{CertificateCell, server_config};
use crate::admission::webhook_configuration::{
    Endpoint, OTHER_OPERATORS_PATH, RBAC_PATH, SCOPED_SECRETS_PATH, SEGMENTATION_POLICIES_PATH, Wanted,
};
use crate::api::{FIELD_MANAGER, GROUP};
use crate::controller::context::{Context, Nature};
use crate::controller::providers::Providers;
use crate::controller::restart::AT_ONCE;
use crate::controller::served::{Served, read_namespace};
use crate::controller::synced::Synced;
use crate::controller::{self, keys, report, watch};
use crate::leader::{self, Elector, LeaderArgs, Leadership};
use crate::segmentation::world::ObjectName;
use crate::telemetry::logs::LogArgs;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::traces::TraceArgs;
use kube::Client;
use kube::runtime::events::Reporter;
use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch as channel;

/// All that the program is told when it runs as the operator.
#[derive(Debug, Clone, clap::Args)]
#[allow(missing_docs)]
pub struct Settings {
    #[command(flatten)]
    pub operator: OperatorArgs,
    #[command(flatten)]
    pub logs: LogArgs,
    #[command(flatten)]
    pub traces: TraceArgs,
}

/// How the operator runs.
#[derive(Debug, Clone, clap::Args)]
pub struct OperatorArgs {
    /// The operator's own namespace: its Lease, seal key, webhook certificate and stores' credentials are there.
    #[arg(long, env = "SCOPED_SECRETS_NAMESPACE", default_value = "scoped-secrets")]
    pub namespace: String,
    /// The operator's ServiceAccount, in that namespace: admission does not review its own requests.
    #[arg(long, env = "SCOPED_SECRETS_SERVICE_ACCOUNT", default_value = "scoped-secrets")]
    pub service_account: String,
    /// Serve only these namespaces, with a comma between: it then asks for nothing of any other. Its account needs Roles there, and
    /// no permission on Secrets in the whole cluster. Default: all namespaces.
    #[arg(
        long, env = "SCOPED_SECRETS_NAMESPACES", value_name = "NAMESPACE,...", value_delimiter = ',', value_parser = read_namespace
    )]
    pub namespaces: Vec<String>,
    /// This replica's name, in the Lease and in events. Default: the environment's HOSTNAME.
    #[arg(long, env = "SCOPED_SECRETS_POD_NAME")]
    pub pod_name: Option<String>,
    /// How old a seal key becomes before a new one is made (90d, 720h; 0s = never). Secrets are sealed anew as they are
    /// refreshed.
    #[arg(long, env = "SCOPED_SECRETS_SEAL_KEY_MAX_AGE", default_value = "90d", value_parser = duration)]
    pub seal_key_max_age: Duration,
    /// How often the leader looks whether the rules that the API server keeps are there as installed (30s, 10m). What is
    /// missing is reported, and never put back.
    #[arg(long, env = "SCOPED_SECRETS_GUARD_INTERVAL", default_value = "1m", value_parser = interval)]
    pub guard_interval: Duration,
    /// How often the leader scans the cluster for what got past admission (12h, 7d; 10s at least).
    #[arg(long, env = "SCOPED_SECRETS_SCAN_INTERVAL", default_value = "24h", value_parser = scan_interval)]
    pub scan_interval: Duration,
    /// How long an operator that is told to stop (SIGTERM) goes on as before: API servers ask it until they have heard that it is no
    /// endpoint any more (0s, 5s; a minute at most). A second signal ends it at once.
    #[arg(long, env = "SCOPED_SECRETS_SHUTDOWN_DELAY", default_value = "5s", value_parser = shutdown_delay)]
    pub shutdown_delay: Duration,
    /// How many workloads of one namespace are restarted at once for Secrets with a new value (restart: Consumers). One whose
    /// rollout is stuck keeps its place.
    #[arg(long, env = "SCOPED_SECRETS_RESTARTS_AT_ONCE", default_value_t = AT_ONCE, value_parser = at_once)]
    pub restarts_at_once: usize,
    /// Where it listens.
    #[command(flatten)]
    pub serving: ServingArgs,
    /// How leadership changes hands.
    #[command(flatten)]
    pub leader: LeaderArgs,
}

fn duration(text: &str) -> Result<Duration, String> {
    crate::api::duration::parse(text).map_err(|e| e.to_string())
}

/// A duration between one second and a year.
fn interval(text: &str) -> Result<Duration, String> {
    let longest = Duration::from_secs(366 * 86_400);
    match duration(text)? {
        some if some < Duration::from_secs(1) => Err("write a second at least, such as 30s".into()),
        some if some > longest => Err("write a year at most, such as 365d".into()),
        some => Ok(some),
    }
}

fn shutdown_delay(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        some if some > Duration::from_secs(60) => Err("write a minute at most, such as 5s".into()),
        some => Ok(some),
    }
}

fn at_once(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("write a number of workloads, 1 at least".into()),
        Ok(some) => Ok(some),
    }
}

fn scan_interval(text: &str) -> Result<Duration, String> {
    match interval(text)? {
        some if some < Duration::from_secs(10) => Err("write 10s at least: a scan lists much of the cluster".into()),
        some => Ok(some),
    }
}

/// For what is in flight when the operator is told to stop.
const FAREWELL: Duration = Duration::from_secs(4);

/// What the operator does not make itself.
pub struct Surroundings {
    /// The clock and the dice.
    pub nature: Nature,
    /// Connects to the API server. Called on the runtime that will use the connection.
    pub connect: Box<dyn Fn() -> Result<Client, kube::Error> + Send>,
}

/// Runs the operator until `told` says that it is to stop.
pub async fn run(
    args: OperatorArgs,
    around: Surroundings,
    told: impl Future<Output = ()>,
) -> Result<(), Box<dyn Error>> {
    let terms = args.leader.terms()?;
    let pod =
        args.pod_name.clone().or_else(|| std::env::var("HOSTNAME").ok()).unwrap_or_else(|| "scoped-secrets".into());
    let client = (around.connect)()?;
    let metrics = Arc::new(Metrics::new());
    let readiness = Readiness::default();
    let (stopper, stop) = channel::channel(false);

    // Probes and metrics first, so that a start that waits can be seen to wait.
    let caches = readiness.gate("caches");
    let (served_gate, registered) = (readiness.gate("certificate"), readiness.gate("webhook entries"));
    let plain = bind("--metrics-address", args.serving.metrics_address).await?;
    let probes = health::router(readiness.clone(), metrics.clone());
    let probes = tokio::spawn(server::serve(plain, Transport::Plain, probes, Limits::default(), stopped(stop.clone())));

    // On a runtime and with a connection of its own: a busy controller must not lose the lease.
    let alone = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let lease_client = {
        let _guard = alone.enter();
        (around.connect)()?
    };
    let (elector, leadership) =
        Elector::new(lease_client, &args.namespace, leader::identity(&pod)?, terms, metrics.clone());
    // The lease is handed over only after the work has stopped.
    let (release, released) = channel::channel(false);
    let elector = tokio::task::spawn_blocking(move || alone.block_on(elector.run(stopped(released))));

    let cell = Arc::new(CertificateCell::default());
    let endpoint = Endpoint {
        namespace: args.namespace.clone(),
        service: args.serving.webhook_service.clone(),
        url: args.serving.webhook_url.clone(),
        timeout_seconds: args.serving.webhook_timeout,
    };
    let served = Served::of(&args.namespaces);
    let wanted = Wanted { endpoint, service_account: args.service_account.clone(), served: served.clone() };
    let reporter = Reporter { controller: format!("{GROUP}/{FIELD_MANAGER}"), instance: Some(pod) };
    let providers = Providers::new(metrics.clone());
    let mut context = Context::new(
        client,
        reporter,
        args.namespace.clone(),
        providers,
        metrics.clone(),
        leadership.clone(),
        around.nature,
    );
    context.served = served;
    let cx = Arc::new(context);

    cx.restarts.limit(args.restarts_at_once);
    cx.index_mut().access.operator = ObjectName::new(&args.namespace, &args.service_account);
    cx.index_mut().access.has_roles_there = cx.served.listed().is_some();

    let signals =
        Signals { governed: cx.governed.subscribe(), leadership: leadership.clone(), reigns: cx.reigns.subscribe() };
    let gates = Gates { served: served_gate, registered, were_changed: cx.entries_were_changed.clone() };
    let keeper = Keeper::new(cx.client.clone(), wanted, cell.clone(), gates, signals, metrics.clone());
    let keeper = tokio::spawn(keeper.run(stopped(stop.clone())));

    let https = bind("--webhook-address", args.serving.webhook_address).await?;
    let routes = vec![
        Route {
            path: SCOPED_SECRETS_PATH,
            rule: claims::RULE,
            kinds: &[(GROUP, "ScopedSecret")],
            review: Arc::new(claims::Claims(cx.clone())),
        },
        Route {
            path: SEGMENTATION_POLICIES_PATH,
            rule: policies::RULE,
            kinds: &[(GROUP, "SegmentationPolicy")],
            review: Arc::new(policies::Policies::new(cx.clone())),
        },
        Route {
            path: OTHER_OPERATORS_PATH,
            rule: other_operators::RULE,
            kinds: other_operators::KINDS,
            review: Arc::new(other_operators::OtherOperators(cx.clone())),
        },
        Route {
            path: copies::PATH,
            rule: copies::RULE,
            kinds: &[("", "Secret"), ("", "ConfigMap")],
            review: Arc::new(copies::Copies::new(cx.clone())),
        },
        Route { path: RBAC_PATH, rule: rbac::RULE, kinds: rbac::KINDS, review: Arc::new(rbac::Rbac(cx.clone())) },
    ];
    let routes = recorded(routes, &cx);
    let (routes, let_through) = breaches::told(routes);
    let telling = tokio::spawn(breaches::tell(cx.clone(), let_through));
    let admission = review::router(routes, cell.clone(), &caches, metrics.clone());
    let admission = tokio::spawn(server::serve(
        https,
        Transport::Tls(server_config(cell)?),
        admission,
        Limits::default(),
        stopped(stop.clone()),
    ));

    let (synced_sender, synced) = channel::channel(Synced::default());
    let terms = report::Terms {
        installation: Installation { namespace: args.namespace.clone(), service_account: args.service_account.clone() },
        guards: args.guard_interval,
        scan: args.scan_interval,
    };
    let recording = tokio::spawn({
        let cx = cx.clone();
        async move { cx.record.run(|| cx.now()).await }
    });
    let work = tokio::spawn(work(cx.clone(), leadership, synced_sender, synced, caches, args.seal_key_max_age, terms));
    tracing::info!(version = env!("CARGO_PKG_VERSION"), namespace = args.namespace, "the operator starts");

    told.await;
    tracing::info!("the operator stops");
    stopper.send_replace(true);
    work.abort();
    telling.abort();
    let _ = tokio::time::timeout(FAREWELL, async {
        let _ = work.await;
        release.send_replace(true);
        let _ = tokio::join!(elector, keeper, admission, probes);
    })
    .await;
    recording.abort();
    cx.record.close(cx.now());
    Ok(())
}

async fn bind(flag: &str, address: SocketAddr) -> Result<TcpListener, String> {
    let address = listened_on(address, TcpSocket::new_v6().is_ok());
    TcpListener::bind(address).await.map_err(|error| format!("{flag} {address} cannot be listened on: {error}"))
}

/// On Linux `[::]` takes IPv4 as well. Where the kernel has no IPv6 every address is every one of IPv4.
fn listened_on(address: SocketAddr, has_ipv6: bool) -> SocketAddr {
    match address {
        SocketAddr::V6(v6) if v6.ip().is_unspecified() && !has_ipv6 => (Ipv4Addr::UNSPECIFIED, v6.port()).into(),
        other => other,
    }
}

/// The controller: seal key, watches, queue.
async fn work(
    cx: Arc<Context>,
    leadership: Leadership,
    synced_sender: channel::Sender<Synced>,
    mut synced: channel::Receiver<Synced>,
    caches: health::Gate,
    seal_key_max_age: Duration,
    terms: report::Terms,
) {
    // Without the key no seal says anything: it comes before the watches.
    let mut next = leadership.clone();
    while let Err(error) = keys::ensure(&cx, leadership.leads()).await {
        if !matches!(error, keys::KeyError::NotYet) {
            tracing::warn!(%error, "waiting for the seal key");
        }
        tokio::select! {
            () = next.changed() => {}
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
        }
    }
    let act = async {
        // Nothing is decided from half a view.
        if synced.wait_for(Synced::all).await.is_ok() {
            caches.set(true);
            tokio::join!(
                controller::run(cx.clone()),
                controller::lead(&cx, leadership.clone(), synced.clone(), seal_key_max_age),
                report::run(cx.clone(), leadership.clone(), synced.clone(), terms),
            );
        }
    };
    tokio::join!(watch::run(cx.clone(), synced_sender), act);
}

async fn stopped(mut stop: channel::Receiver<bool>) {
    let _ = stop.wait_for(|stopped| *stopped).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv6Addr;
    use tokio::net::TcpStream;

    #[test]
    fn every_address_is_what_the_kernel_has() {
        for (asked, without_ipv6) in [
            ("[::]:9443", "0.0.0.0:9443"),
            ("[::1]:9443", "[::1]:9443"),
            ("0.0.0.0:9443", "0.0.0.0:9443"),
            ("127.0.0.1:9443", "127.0.0.1:9443"),
        ] {
            let address: SocketAddr = asked.parse().unwrap();
            assert_eq!(listened_on(address, true), address);
            assert_eq!(listened_on(address, false).to_string(), without_ipv6, "{asked}");
        }
    }

    #[tokio::test]
    async fn one_listener_is_for_both_families() {
        let listener = bind("--metrics-address", "[::]:0".parse().unwrap()).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
        // Not every machine that tests has it.
        if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).await.is_ok() {
            TcpStream::connect((Ipv6Addr::LOCALHOST, port)).await.unwrap();
        }
    }
}
