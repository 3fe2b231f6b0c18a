//! Reads a cluster as its admin, on one connection: what a story waits for it looks at many times, and a kubectl for each look
//! would keep the machine busy that the operator runs on.

use std::path::Path;
use std::sync::OnceLock;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

pub struct Reader(Client);

impl Reader {
    pub fn new(kubeconfig: &Path) -> Self {
        // Another reader may have installed it.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let client = runtime().block_on(async {
            let kubeconfig = Kubeconfig::read_from(kubeconfig).expect("the cluster's kubeconfig");
            let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
            scoped_secrets::client::connect(config.expect("the cluster's kubeconfig"))
        });
        Self(client.expect("a client"))
    }

    pub fn get(&self, kind: &str, namespace: Option<&str>, name: &str) -> Option<Value> {
        let uri = format!("{}/{name}", path(kind, Some(namespace)));
        match runtime().block_on(self.0.request::<Value>(request(&uri))) {
            Ok(object) => Some(object),
            Err(kube::Error::Api(status)) if status.code == 404 => None,
            Err(error) => panic!("GET {uri}: {error}"),
        }
    }

    pub fn list(&self, kind: &str, parameters: &str) -> Vec<Value> {
        let uri = format!("{}{parameters}", path(kind, None));
        let list = runtime().block_on(self.0.request::<Value>(request(&uri)));
        match list.unwrap_or_else(|error| panic!("GET {uri}: {error}"))["items"].take() {
            Value::Array(items) => items,
            other => panic!("GET {uri}: items are {other}"),
        }
    }

    pub fn raw(&self, uri: &str) -> Result<String, String> {
        runtime().block_on(self.0.request_text(request(uri))).map_err(|error| error.to_string())
    }
}

/// Connections live on its thread, whoever asks.
fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a thread"))
}

fn request(uri: &str) -> http::Request<Vec<u8>> {
    http::Request::get(uri).body(Vec::new()).expect("a path")
}

/// Of all objects of a kind, or of a namespace's.
///
/// # Panics
/// For a kind that no story has read yet: add a line.
fn path(kind: &str, namespace: Option<Option<&str>>) -> String {
    let kind = kind.strip_suffix('s').unwrap_or(kind);
    let (api, plural, namespaced) = match kind {
        "secret" => ("api/v1", "secrets", true),
        "configmap" => ("api/v1", "configmaps", true),
        "pod" => ("api/v1", "pods", true),
        "serviceaccount" => ("api/v1", "serviceaccounts", true),
        "event" => ("api/v1", "events", true),
        "service" => ("api/v1", "services", true),
        "namespace" => ("api/v1", "namespaces", false),
        "deployment" => ("apis/apps/v1", "deployments", true),
        "statefulset" => ("apis/apps/v1", "statefulsets", true),
        "daemonset" => ("apis/apps/v1", "daemonsets", true),
        "replicaset" => ("apis/apps/v1", "replicasets", true),
        "networkpolicy" => ("apis/networking.k8s.io/v1", "networkpolicies", true),
        "poddisruptionbudget" => ("apis/policy/v1", "poddisruptionbudgets", true),
        "lease" => ("apis/coordination.k8s.io/v1", "leases", true),
        "scopedsecret" => ("apis/scopedsecrets.io/v1alpha1", "scopedsecrets", true),
        "segmentguard" => ("apis/scopedsecrets.io/v1alpha1", "segmentguards", true),
        "scopedsecretstore" => ("apis/scopedsecrets.io/v1alpha1", "scopedsecretstores", false),
        "segmentationreport" => ("apis/scopedsecrets.io/v1alpha1", "segmentationreports", false),
        "secretgrant" => ("apis/scopedsecrets.io/v1alpha1", "secretgrants", true),
        "keyrevocation" => ("apis/scopedsecrets.io/v1alpha1", "keyrevocations", false),
        "segmentationpolicy" | "segmentationpolicie" => {
            ("apis/scopedsecrets.io/v1alpha1", "segmentationpolicies", false)
        }
        "clusterrole" => ("apis/rbac.authorization.k8s.io/v1", "clusterroles", false),
        "clusterrolebinding" => ("apis/rbac.authorization.k8s.io/v1", "clusterrolebindings", false),
        "rolebinding" => ("apis/rbac.authorization.k8s.io/v1", "rolebindings", true),
        "role" => ("apis/rbac.authorization.k8s.io/v1", "roles", true),
        "validatingwebhookconfiguration" => {
            ("apis/admissionregistration.k8s.io/v1", "validatingwebhookconfigurations", false)
        }
        "validatingadmissionpolicy" => ("apis/admissionregistration.k8s.io/v1", "validatingadmissionpolicies", false),
        "validatingadmissionpolicybinding" => {
            ("apis/admissionregistration.k8s.io/v1", "validatingadmissionpolicybindings", false)
        }
        "crd" | "customresourcedefinition" => ("apis/apiextensions.k8s.io/v1", "customresourcedefinitions", false),
        other => panic!("where is {other}?"),
    };
    match namespace {
        Some(namespace) if namespaced => format!("/{api}/namespaces/{}/{plural}", namespace.unwrap_or("default")),
        _ => format!("/{api}/{plural}"),
    }
}
