//! The real helm, with nothing of the caller's own.

use super::support::cluster::Cluster;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where the chart is.
pub const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/scoped-secrets");

/// For a chart without its kinds, in a cluster that has those which the guards' parameters are of.
pub const KINDS_ARE_THERE: &[&str] = &[
    "--set",
    "crds.enabled=false",
    "--api-versions",
    "scopedsecrets.io/v1alpha1/SegmentGuard",
    "--api-versions",
    "scopedsecrets.io/v1alpha1/SegmentationPolicy",
];

/// One of the two helms that people use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    Three,
    /// Its `--wait` is kstatus.
    Four,
}

impl Version {
    fn program(self) -> PathBuf {
        let tool = match self {
            Self::Three => "helm3",
            Self::Four => "helm4",
        };
        ensure(tool).join("helm")
    }
}

/// The folder of a tool, which is built first if it never was.
pub fn ensure(tool: &str) -> PathBuf {
    let tools = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cluster/tools");
    let built = Command::new(tools).args(["ensure", tool]).stderr(Stdio::inherit()).output().expect("bash runs it");
    assert!(built.status.success(), "{tool} could not be built; the reason is above");
    PathBuf::from(String::from_utf8(built.stdout).unwrap().trim_end())
}

/// Runs it without a cluster; what it printed, or said instead.
pub fn offline(arguments: &[&str]) -> Result<String, String> {
    run(Version::Three.program().as_path(), Path::new(env!("CARGO_TARGET_TMPDIR")), None, arguments)
}

/// Runs it against a cluster.
pub fn online(version: Version, cluster: &Cluster, arguments: &[&str]) -> Result<String, String> {
    run(&version.program(), &cluster.dir, Some(&cluster.kubeconfig), arguments)
}

fn run(program: &Path, dir: &Path, kubeconfig: Option<&Path>, arguments: &[&str]) -> Result<String, String> {
    let home = dir.join("helm");
    let mut command = Command::new(program);
    command.args(arguments).env_remove("KUBECONFIG").stdin(Stdio::null());
    for name in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
        command.env(name, home.join(name));
    }
    match kubeconfig {
        Some(path) => command.env("KUBECONFIG", path),
        None => command.env("KUBECONFIG", "/nowhere"),
    };
    let output = command.output().expect("helm was built");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

/// What the chart renders with these `--set`s, in this namespace.
pub fn template(namespace: &str, more: &[&str]) -> Result<String, String> {
    let arguments = ["template", "scoped-secrets", CHART, "--kube-version", "1.33.0", "-n", namespace];
    offline(&[&arguments, more].concat())
}

/// Runs kubectl without a cluster; it must work.
pub fn kubectl(arguments: &[&str]) -> String {
    let program = std::env::var_os("KUBECTL").unwrap_or_else(|| "kubectl".into());
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().expect("kubectl is needed");
    assert!(output.status.success(), "kubectl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The objects of a stream of YAML.
pub fn objects(yaml: &str) -> Vec<Value> {
    let all: Vec<Value> = serde_saphyr::from_multiple(yaml).unwrap_or_else(|error| panic!("{error}\n{yaml}"));
    all.into_iter().filter(|object| !object.is_null()).map(plain).collect()
}

/// With whole numbers as such: 128 is the same to all who read it as 128.0.
pub fn plain(value: Value) -> Value {
    match value {
        Value::Number(number) => match number.as_f64() {
            Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() < 1e15 => Value::from(float as i64),
            _ => Value::Number(number),
        },
        Value::Array(items) => items.into_iter().map(plain).collect(),
        Value::Object(fields) => fields.into_iter().map(|(key, value)| (key, plain(value))).collect(),
        other => other,
    }
}

/// By kind, namespace and name; none is there twice.
pub fn by_name(objects: Vec<Value>) -> BTreeMap<String, Value> {
    let mut all = BTreeMap::new();
    for object in objects {
        let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        let metadata = &object["metadata"];
        let name = format!("{} {}/{}", text(&object["kind"]), text(&metadata["namespace"]), text(&metadata["name"]));
        assert!(all.insert(name.clone(), object).is_none(), "{name} is there twice");
    }
    all
}
