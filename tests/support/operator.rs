//! The operator as a user runs it: the built binary, with exactly the permissions of `deploy/`.

use super::cluster::Cluster;
use super::inside::Inside;
use super::permissions::Permissions;
use super::wait::eventually;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use scoped_secrets::telemetry::metrics::{catalogue, served};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

/// The operator's namespace and the name of its ServiceAccount.
pub const NAMESPACE: &str = "scoped-secrets";
/// Its user name in the audit log.
pub const USER: &str = "system:serviceaccount:scoped-secrets:scoped-secrets";

/// What begins, begins within that, on a busy machine as well.
pub(super) const LONG: Duration = Duration::from_secs(60);

/// A running operator; killed when dropped.
pub struct Operator {
    process: Process,
    /// Everything it has logged, at trace level.
    pub log: PathBuf,
    /// Where /metrics is.
    pub metrics: String,
    /// Where its webhook is.
    pub webhook: String,
    /// Its token's id, by which the audit log tells replicas apart.
    pub credential: String,
    permissions: Permissions,
}

enum Process {
    /// The built binary. The watchdog ends it when this process ends, however it does: one in a static is never dropped.
    Child { child: Child, watchdog: Child },
    /// In this process.
    Inside(Inside),
}

/// What an operator is started with.
pub(super) struct Started {
    pub(super) log: PathBuf,
    pub(super) kubeconfig: PathBuf,
    pub(super) flags: Vec<String>,
    metrics: String,
    webhook: String,
    credential: String,
    permissions: Permissions,
}

impl Started {
    /// Free ports, a log of its own, and a token of the operator's ServiceAccount.
    pub(super) fn prepare(cluster: &Cluster) -> Self {
        Self::prepare_as(cluster, NAMESPACE, NAMESPACE)
    }

    /// With a token of this account, in this namespace.
    fn prepare_as(cluster: &Cluster, namespace: &str, account: &str) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let [webhook, metrics] = free_ports().map(|port| format!("127.0.0.1:{port}"));
        let (kubeconfig, credential) = kubeconfig(cluster, namespace, account, number);
        let name = format!("operator-{number}");
        let url = format!("https://{webhook}");
        let flags = [
            ["--webhook-address", &webhook],
            ["--metrics-address", &metrics],
            ["--webhook-url", &url],
            ["--pod-name", &name],
            ["--lease-duration", "4s"],
            ["--lease-renew-deadline", "3s"],
            ["--lease-retry", "1s"],
            ["--shutdown-delay", "0s"],
            // A machine that hangs for a moment refuses nobody's write.
            ["--webhook-timeout", "10s"],
        ];
        let flags = flags.concat().into_iter().map(str::to_owned).collect();
        let log = cluster.dir.join(format!("{name}.log"));
        let permissions = Permissions::of(cluster, namespace, &credential);
        Self { log, kubeconfig, flags, metrics, webhook, credential, permissions }
    }

    /// With a relay on its way to the API server.
    pub(super) fn by(self, relay: impl FnOnce(&str) -> String) -> Self {
        let text = std::fs::read_to_string(&self.kubeconfig).expect("it was just written");
        let mut config: serde_json::Value = serde_json::from_str(&text).expect("our own JSON");
        let server = &mut config["clusters"][0]["cluster"]["server"];
        let address =
            server.as_str().and_then(|url| url.strip_prefix("https://")).expect("by TLS").trim_end_matches('/');
        *server = format!("https://{}", relay(address)).into();
        std::fs::write(&self.kubeconfig, config.to_string()).expect("the cluster's folder can be written");
        self
    }
}

/// Applies `deploy/` without pods: CRDs, permissions, the webhook's registration, and the rules that the API server keeps,
/// which are in force when this returns.
pub fn install(cluster: &Cluster) {
    let overlay = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/overlays/out-of-cluster");
    let applied = cluster.kubectl(&["apply", "-k", overlay, "--server-side", "--force-conflicts"]);
    assert!(applied.status.success(), "{}", String::from_utf8_lossy(&applied.stderr));
    let crds = [
        "crd/scopedsecrets.scopedsecrets.io",
        "crd/segmentationpolicies.scopedsecrets.io",
        "crd/scopedsecretstores.scopedsecrets.io",
        "crd/segmentguards.scopedsecrets.io",
        "crd/segmentationreports.scopedsecrets.io",
        "crd/keyrevocations.scopedsecrets.io",
        "crd/secretgrants.scopedsecrets.io",
    ];
    for crd in crds {
        let ready = cluster.kubectl(&["wait", "--for=condition=Established", "--timeout=60s", crd]);
        assert!(ready.status.success(), "{}", String::from_utf8_lossy(&ready.stderr));
    }
    // The API server takes them up together, a moment later.
    eventually("the guards are in force", LONG, || match forge(cluster) {
        Err(refusal) if refusal.contains("rule ManagedSecrets, ReservedMetadata") => Ok(()),
        other => Err(format!("{other:?}")),
    });
}

/// Like [`install`], with the rules lifted that keep others' hands off a managed Secret: for what gets past them.
pub fn install_unguarded(cluster: &Cluster) {
    install(cluster);
    // Before the one that is waited for: the API server takes them up in order.
    lift(cluster, "replication-enforce");
    lift(cluster, "managed-secrets");
}

/// Breaks the glass: takes a rule's binding away.
pub fn lift(cluster: &Cluster, rule: &str) {
    let binding = format!("{rule}.scopedsecrets.io");
    let gone = cluster.kubectl(&["delete", "validatingadmissionpolicybinding", &binding]);
    assert!(gone.status.success(), "{}", String::from_utf8_lossy(&gone.stderr));
    if rule == "managed-secrets" {
        eventually("the guard is lifted", LONG, || forge(cluster));
    }
}

/// Breaks all of the glass: no binding, and no webhook.
pub fn lift_all(cluster: &Cluster) {
    let ours = "app.kubernetes.io/part-of=scoped-secrets";
    for kind in ["validatingadmissionpolicybindings", "validatingadmissionpolicies", "validatingwebhookconfigurations"]
    {
        let gone = cluster.kubectl(&["delete", kind, "-l", ours]);
        assert!(gone.status.success(), "{}", String::from_utf8_lossy(&gone.stderr));
    }
    eventually("the guards are lifted", LONG, || forge(cluster));
}

/// The lines of the record of every operator that this cluster has had, dead or alive.
pub fn all_recorded(cluster: &Cluster) -> Vec<Value> {
    let files = std::fs::read_dir(&cluster.dir).expect("it is there").flatten().map(|entry| entry.path());
    let logs = files.filter(|path| path.extension().is_some_and(|extension| extension == "log"));
    logs.flat_map(|log| record_in(&String::from_utf8_lossy(&std::fs::read(log).unwrap_or_default()))).collect()
}

fn record_in(log: &str) -> Vec<Value> {
    let lines = log.lines().filter(|line| line.contains("scoped_secrets::record"));
    lines.filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// How many lines of a record say that this happened to what has this name.
pub fn count_recorded(record: &[Value], what: &str, name: &str) -> usize {
    record.iter().filter(|line| line["what"] == what && line["name"] == name).count()
}

/// Whether a Secret may be created that looks like the operator's; it is not.
fn forge(cluster: &Cluster) -> Result<String, String> {
    let probe = json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "probe", "namespace": "default", "labels": {"app.kubernetes.io/managed-by": "scoped-secrets"}},
    });
    cluster.submit(&["create", "--dry-run=server", "-f", "-"], &probe.to_string())
}

impl Operator {
    /// Starts one and waits until it is ready. Call [`install`] first.
    pub fn start(cluster: &Cluster) -> Self {
        Self::start_with(cluster, &[])
    }

    /// With more arguments.
    pub fn start_with(cluster: &Cluster, arguments: &[&str]) -> Self {
        let operator = Self::launch(cluster, arguments);
        eventually("the operator is ready", LONG, || operator.probe("/readyz"));
        operator
    }

    /// Under an account of another name, in another namespace; the arguments tell it so.
    pub fn start_as(cluster: &Cluster, namespace: &str, account: &str, arguments: &[&str]) -> Self {
        let operator = Self::launch_as(cluster, namespace, account, arguments);
        eventually("the operator is ready", LONG, || operator.probe("/readyz"));
        operator
    }

    /// Starts one without waiting.
    pub fn launch(cluster: &Cluster, arguments: &[&str]) -> Self {
        Self::launch_as(cluster, NAMESPACE, NAMESPACE, arguments)
    }

    /// One that reaches the API server by a relay.
    pub fn start_by(relay: impl FnOnce(&str) -> String, cluster: &Cluster, arguments: &[&str]) -> Self {
        let operator = Self::run(Started::prepare(cluster).by(relay), arguments);
        eventually("the operator is ready", LONG, || operator.probe("/readyz"));
        operator
    }

    fn launch_as(cluster: &Cluster, namespace: &str, account: &str, arguments: &[&str]) -> Self {
        Self::run(Started::prepare_as(cluster, namespace, account), arguments)
    }

    fn run(started: Started, arguments: &[&str]) -> Self {
        let file = File::create(&started.log).expect("the cluster's folder can be written");
        let child = Command::new(env!("CARGO_BIN_EXE_scoped-secrets"))
            .args(&started.flags)
            .args(["--log-format", "json", "--log-level", "trace"])
            .args(arguments)
            .env("KUBECONFIG", &started.kubeconfig)
            .env("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
            .env("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI-ambient-EXAMPLEKEY")
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("RUST_LOG", "trace")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .expect("the operator was built");
        let watchdog = Command::new("sh")
            .args(["-c", "cat; kill -9 \"$0\"", &child.id().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("sh is part of every POSIX system");
        Self::new(started, Process::Child { child, watchdog })
    }

    fn new(started: Started, process: Process) -> Self {
        let Started { log, metrics, webhook, credential, permissions, .. } = started;
        Self { process, log, metrics, webhook, credential, permissions }
    }

    pub(super) fn from_inside(started: Started, inside: Inside) -> Self {
        Self::new(started, Process::Inside(inside))
    }

    /// The binary's process id.
    fn id(&self) -> u32 {
        match &self.process {
            Process::Child { child, .. } => child.id(),
            Process::Inside(_) => panic!("it is no process of its own"),
        }
    }

    /// Bytes of its heap and stacks. Not counted is what the loader changed in the program's own pages: one megabyte of a release,
    /// three of a debug build.
    pub fn memory(&self) -> usize {
        let maps = std::fs::read_to_string(format!("/proc/{}/smaps", self.id())).expect("it runs, on Linux");
        let mut of_file = false;
        let mut kilobytes = 0;
        for line in maps.lines() {
            let mut words = line.split_whitespace();
            match (words.next(), words.next()) {
                (Some("Anonymous:"), Some(size)) if !of_file => kilobytes += size.parse::<usize>().expect("a number"),
                // The head of a mapping: addresses, permissions, offset, device, inode, path.
                (Some(first), _) if !first.ends_with(':') => {
                    of_file = words.next_back().is_some_and(|p| p.starts_with('/'))
                }
                _ => {}
            }
        }
        kilobytes * 1024
    }

    /// GET on the plain server: the body if the answer is 200, else what it said.
    pub fn probe(&self, path: &str) -> Result<String, String> {
        let mut stream = TcpStream::connect(&self.metrics).map_err(|e| e.to_string())?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: operator\r\nAccept: application/openmetrics-text\r\nConnection: close\r\n\r\n"
        )
        .map_err(|e| e.to_string())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map_err(|e| e.to_string())?;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        if path == "/metrics" {
            is_documented(body);
        }
        if head.starts_with("HTTP/1.1 200") { Ok(body.to_owned()) } else { Err(answer) }
    }

    /// A metric without labels.
    pub fn metric(&self, name: &str) -> Result<f64, String> {
        let text = self.probe("/metrics")?;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.parse().ok()).ok_or_else(|| format!("no {name}"))
    }

    /// Ok while it leads.
    pub fn leads(&self) -> Result<(), String> {
        if self.metric("scoped_secrets_leader")? > 0.0 { Ok(()) } else { Err("it does not lead".to_owned()) }
    }

    /// Stops its clockwork, as a machine that hangs does (SIGSTOP).
    pub fn freeze(&self) {
        self.signal("-STOP");
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.id().to_string()]).status();
        assert!(sent.is_ok_and(|s| s.success()), "kill is part of every POSIX system");
    }

    /// What it asked the API server for was given: see [`Permissions::were_enough`].
    pub fn met_no_denial(&self) {
        self.permissions.were_enough();
    }

    /// The lines of its record so far.
    pub fn recorded(&self) -> Vec<Value> {
        record_in(&self.logged())
    }

    /// Everything it has logged so far.
    pub fn logged(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Ends it at once, as a crash would.
    pub fn kill(self) {
        drop(self);
    }

    /// Asks it to end (SIGTERM) and waits; how long it took.
    pub fn terminate(mut self) -> Duration {
        let asked = std::time::Instant::now();
        self.signal("-TERM");
        let Process::Child { child, watchdog } = &mut self.process else { panic!("it is no process of its own") };
        dismiss(watchdog);
        let ended = child.wait().expect("it is our child");
        assert!(ended.success(), "{ended}: {}", self.logged());
        asked.elapsed()
    }
}

/// What it serves is what docs/metrics.md is made from, by name, kind and label.
fn is_documented(text: &str) {
    let known = catalogue();
    for one in served(text) {
        let documented = known.iter().find(|known| known.name == one.name);
        let right = documented.is_some_and(|known| known.kind == one.kind && one.labels.is_subset(&known.labels));
        assert!(right, "{one:?} is served, and documented as {documented:?}");
    }
}

/// Before its operator is waited for: after that the process id may be somebody else's.
fn dismiss(watchdog: &mut Child) {
    let _ = watchdog.kill();
    let _ = watchdog.wait();
}

impl Drop for Operator {
    fn drop(&mut self) {
        match &mut self.process {
            Process::Child { child, watchdog } => {
                dismiss(watchdog);
                let _ = child.kill();
                let _ = child.wait();
            }
            Process::Inside(inside) => inside.end(),
        }
        self.permissions.were_enough();
    }
}

/// A kubeconfig with a token of the ServiceAccount's and nothing else, and the token's id.
fn kubeconfig(cluster: &Cluster, namespace: &str, account: &str, number: usize) -> (PathBuf, String) {
    let token = cluster.kubectl(&["create", "token", account, "-n", namespace, "--duration=2h"]);
    assert!(token.status.success(), "{}", String::from_utf8_lossy(&token.stderr));
    let token = String::from_utf8_lossy(&token.stdout).trim().to_owned();
    let admin = cluster.kubectl(&["config", "view", "--raw", "-o", "json"]);
    let admin: serde_json::Value = serde_json::from_slice(&admin.stdout).expect("kubectl prints JSON");
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "operator",
        "clusters": [{"name": "test", "cluster": admin["clusters"][0]["cluster"]}],
        "users": [{"name": "operator", "user": {"token": token}}],
        "contexts": [{"name": "operator", "context": {"cluster": "test", "user": "operator", "namespace": namespace}}],
    });
    let path = cluster.dir.join(format!("operator-{number}.kubeconfig"));
    std::fs::write(&path, config.to_string()).expect("the cluster's folder can be written");
    let claims = token.split('.').nth(1).and_then(|part| URL_SAFE_NO_PAD.decode(part).ok()).expect("a JWT");
    let claims: serde_json::Value = serde_json::from_slice(&claims).expect("a JWT");
    (path, format!("JTI={}", claims["jti"].as_str().expect("each token has an id")))
}

/// Two that nobody has, below those that the kernel gives to whoever asks for any, and those that a test cluster takes: nobody else gets
/// them before the operator does.
fn free_ports() -> [u16; 2] {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let mut held: Vec<TcpListener> = Vec::new();
    for _ in 0..1_000 {
        // Another process begins elsewhere: 64 by the next number, and 156 of them go round once.
        let at = std::process::id().wrapping_mul(64).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = 10_000 + u16::try_from(at % 10_000).unwrap_or_default();
        held.extend(TcpListener::bind(("127.0.0.1", port)));
        if let [one, other] = &held[..] {
            return [one, other].map(|listener| listener.local_addr().expect("it is bound").port());
        }
    }
    panic!("loopback has no free ports");
}
