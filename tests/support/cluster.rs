//! A Kubernetes control plane of the tests' own. `tests/cluster/README.md` says what runs in it.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use serde_json::Value;

use super::deadline::output_within;
use super::permissions::{Excused, Excuses};
use super::reader::Reader;
use super::service::{Service, ensure};

/// A running cluster; it ends when this is dropped, or with the test process.
pub struct Cluster {
    /// Admin credentials (`system:masters`); `kubectl --as` plays everybody else.
    pub kubeconfig: PathBuf,
    /// `https://127.0.0.1:PORT`
    pub server: String,
    /// State and logs. Removed with the cluster, unless `SCOPED_SECRETS_KEEP` is set.
    pub dir: PathBuf,
    service: Mutex<Service>,
    reader: Reader,
    kubectl_calls: AtomicU64,
    excuses: Excuses,
}

/// No kubectl takes longer, unless it waits for what never comes (a finalizer, say).
const KUBECTL: Duration = Duration::from_secs(120);

impl Cluster {
    /// A control plane without nodes: pods can be created, and stay Pending. Ready in about 3 s.
    pub fn start() -> Self {
        Self::launch(false)
    }

    /// With a scheduler and one node (played by kwok), so that pods run and Deployments roll out.
    pub fn start_with_pods() -> Self {
        Self::launch(true)
    }

    /// One cluster for all stories of a test binary: tell them apart by namespace. Do not stop its
    /// API server. (A static is never dropped; the cluster ends with the process.)
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Cluster> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// Like [`Cluster::shared`], with a node.
    pub fn shared_with_pods() -> &'static Self {
        static SHARED: OnceLock<Cluster> = OnceLock::new();
        SHARED.get_or_init(Self::start_with_pods)
    }

    fn launch(pods: bool) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("cluster-")
            .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
            .expect("cargo's folder for tests can be written")
            .keep();
        let mut command = Command::new(ensure("testcluster").join("testcluster"));
        command.args(["run", "--until-stdin-closes", "--audit-log", "--dir"]).arg(&dir);
        command.arg("--bin").arg(ensure("control-plane"));
        if pods {
            command.arg("--kwok").arg(ensure("kwok"));
        }
        if env::var_os("SCOPED_SECRETS_KEEP").is_some() {
            eprintln!("the cluster's state and logs are kept in {}", dir.display());
        } else {
            command.arg("--remove-dir");
        }
        let (service, ready) = Service::start("testcluster", &mut command);
        let field = |name: &str| ready[name].as_str().unwrap_or_else(|| panic!("no {name} in {ready}")).to_owned();
        let kubeconfig = PathBuf::from(field("kubeconfig"));
        Self {
            reader: Reader::new(&kubeconfig),
            kubeconfig,
            server: field("server"),
            dir: field("dir").into(),
            service: Mutex::new(service),
            kubectl_calls: AtomicU64::new(0),
            excuses: Excuses::default(),
        }
    }

    /// Asks the API server to shut down; etcd keeps the state. Open watches make it last the full
    /// three seconds that it is given.
    pub fn stop_apiserver(&self) {
        self.fault("stop kube-apiserver");
    }

    /// Ends the API server at once, as a crash does.
    pub fn kill_apiserver(&self) {
        self.fault("kill kube-apiserver");
    }

    /// Ends etcd, while the API server is stopped; its data stays in the folder `etcd` of [`Self::dir`].
    pub fn stop_etcd(&self) {
        self.fault("stop etcd");
    }

    /// Starts etcd again.
    pub fn start_etcd(&self) {
        self.fault("start etcd");
    }

    /// Starts it again, on the same port, and waits until it is ready.
    pub fn start_apiserver(&self) {
        // Until it is ready it has not read all roles.
        let _excused = self.excuse_denials();
        self.fault("start kube-apiserver");
    }

    /// The story takes permissions away from the operator, or has not given them yet: until the answer is dropped.
    pub fn excuse_denials(&self) -> Excused {
        self.excuses.begin()
    }

    pub(super) fn excuses(&self) -> Excuses {
        self.excuses.clone()
    }

    fn fault(&self, command: &str) {
        let answer = self.service.lock().unwrap().ask(command);
        assert!(answer.get("error").is_none(), "{command}: {answer}");
    }

    /// Runs `kubectl` (or `$KUBECTL`) against this cluster, whatever the caller's own kubeconfig is.
    pub fn kubectl<S: AsRef<OsStr>>(&self, args: &[S]) -> Output {
        output_within(KUBECTL, self.kubectl_command().args(args), "")
    }

    /// Applies YAML (kubectl takes a first line that starts with `{` for JSON). `Err` is what kubectl said,
    /// a denial's message included.
    pub fn apply(&self, yaml: &str) -> Result<String, String> {
        self.submit(&["apply", "-f", "-"], yaml)
    }

    /// Runs kubectl with this on its stdin. `Err` is what it said.
    pub fn submit<S: AsRef<OsStr>>(&self, args: &[S], stdin: &str) -> Result<String, String> {
        let output = output_within(KUBECTL, self.kubectl_command().args(args), stdin);
        if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
    }

    /// One object, or `None` if there is none of that name. A cluster-scoped one has namespace `None`, or is in `default`.
    ///
    /// # Panics
    /// On any other failure: it never reads as "not there".
    pub fn get_json<'a>(&self, kind: &str, namespace: impl Into<Option<&'a str>>, name: &str) -> Option<Value> {
        self.reader.get(kind, namespace.into(), name)
    }

    /// All objects of a kind, in every namespace, with `?parameters` of the API's own if any.
    pub fn list_json(&self, kind: &str, parameters: &str) -> Vec<Value> {
        self.reader.list(kind, parameters)
    }

    /// The body of an answer, if the API server gave one that is no error.
    pub fn raw(&self, uri: &str) -> Result<String, String> {
        self.reader.raw(uri)
    }

    /// The audit log that `tests/support/cluster_audit.rs` reads.
    pub(super) fn audit_log(&self) -> PathBuf {
        self.dir.join("audit.log")
    }

    fn kubectl_command(&self) -> Command {
        let mut command = Command::new(env::var_os("KUBECTL").unwrap_or_else(|| "kubectl".into()));
        // A cache of its own for each call: two at once do not meet in it, and a new CRD is seen at once.
        // It costs nothing that can be measured, as discovery is two requests.
        let call = self.kubectl_calls.fetch_add(1, Ordering::Relaxed);
        let cache = self.dir.join(Path::new("kubectl").join(call.to_string()));
        command.env_remove("KUBECONFIG").arg("--kubeconfig").arg(&self.kubeconfig).arg("--cache-dir").arg(cache);
        command
    }
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8_lossy(&bytes).into_owned()
}
