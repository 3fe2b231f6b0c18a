//! Asks `judge/`.

use super::support::service::ensure;
use serde::Deserialize;
use serde_json::Value;
use std::io::Write;
use std::process::{Command, Stdio};

/// The repository.
pub const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// Argo CD's scripts.
pub const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/argocd/resource_customizations");

/// A word and why.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Verdict {
    pub status: String,
    pub message: String,
}

/// What it answers to this on its stdin; or what it says instead.
pub fn ask(arguments: &[&str], input: &Value) -> Result<Value, String> {
    let mut child = Command::new(ensure("judge").join("judge"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("judge was built");
    // It may end without reading.
    let _ = child.stdin.take().unwrap().write_all(input.to_string().as_bytes());
    let output = child.wait_with_output().unwrap();
    if output.status.success() {
        Ok(serde_json::from_slice(&output.stdout).unwrap())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

fn verdicts<T: serde::de::DeserializeOwned>(arguments: &[&str], objects: &[Value]) -> Vec<T> {
    let answer = ask(arguments, &Value::from(objects.to_vec())).unwrap_or_else(|said| panic!("{arguments:?}: {said}"));
    let all: Vec<T> = serde_json::from_value(answer).unwrap();
    assert_eq!(all.len(), objects.len());
    all
}

/// Flux and helm 4 --wait.
pub fn kstatus(objects: &[Value]) -> Vec<Verdict> {
    verdicts(&["kstatus"], objects)
}

/// Argo CD. None: it has no script for that kind.
pub fn health(objects: &[Value]) -> Vec<Option<Verdict>> {
    verdicts(&["health", SCRIPTS], objects)
}

/// kubeconform.
pub fn schema(objects: &[Value]) -> Vec<Verdict> {
    verdicts(&["schema", concat!(env!("CARGO_MANIFEST_DIR"), "/schemas")], objects)
}

/// Flux's controllers.
pub fn flux(objects: &[Value]) -> Vec<Verdict> {
    verdicts(&["flux"], objects)
}

/// kstatus and health of one live object, in short.
pub fn of(object: &Value) -> (String, String) {
    let one = std::slice::from_ref(object);
    let health = health(one).remove(0).map_or("none".to_owned(), |health| health.status);
    (kstatus(one).remove(0).status, health)
}
