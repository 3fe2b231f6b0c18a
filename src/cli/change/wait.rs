//! Waits until the operator has done what was asked of it.

use super::look::kind;
use crate::cli::cluster::{Cluster, Failure};
use jiff::Timestamp;
use kube::api::{Api, DynamicObject};
use serde_json::Value;
use std::time::Duration;

/// How far it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// Not done yet: what is seen.
    Open(String),
    /// What was refused before is refused still: it will not be done, unless the operator has yet to see it.
    Refused(String),
    /// Done.
    Done(String),
    /// It will not be done as it stands.
    Bad(String),
}

/// Says how far it is from an object as it stands; None: it is gone.
pub type Judge = Box<dyn Fn(Option<&Value>) -> Progress>;

/// What to look at, and what to make of it.
pub struct Wait {
    /// The kind.
    pub kind: &'static str,
    /// Whether it is in the namespace.
    pub namespaced: bool,
    /// The name.
    pub name: String,
    /// How far it is.
    pub judge: Judge,
}

/// How long the cluster is let be between two looks.
const PAUSE: Duration = Duration::from_millis(500);

/// How long the operator is given to see what was asked.
const SEEN: Duration = Duration::from_secs(10);

/// Looks until it is done, will not be, or time is over.
pub async fn until(
    cluster: &Cluster,
    wait: &Wait,
    timeout: Duration,
    clock: &dyn Fn() -> Timestamp,
) -> Result<Progress, Failure> {
    let of = kind(wait.kind);
    let api: Api<DynamicObject> = match wait.namespaced {
        true => Api::namespaced_with(cluster.client.clone(), &cluster.namespace, &of),
        false => Api::all_with(cluster.client.clone(), &of),
    };
    let began = clock();
    loop {
        let seen = cluster.get(&api, &wait.name).await?;
        if seen == crate::cli::cluster::Seen::Barred {
            let text = format!("you may not get {}.{}: how far it is cannot be told", of.plural, of.group);
            return Ok(Progress::Bad(text));
        }
        let value = seen.found().and_then(|object| serde_json::to_value(object).ok());
        let waited = clock().duration_since(began).unsigned_abs();
        let over = waited + PAUSE > timeout;
        match (wait.judge)(value.as_ref()) {
            Progress::Refused(text) if over || waited > SEEN => return Ok(Progress::Bad(text)),
            Progress::Open(_) | Progress::Refused(_) if !over => {}
            progress => return Ok(progress),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// A text of an object; empty if there is none.
pub fn text<'v>(object: &'v Value, path: &str) -> &'v str {
    object.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

/// A condition of an object: its status, reason and message.
pub fn condition<'v>(object: &'v Value, kind: &str) -> Option<(&'v str, &'v str, &'v str)> {
    let conditions = object.pointer("/status/conditions")?.as_array()?;
    let found = conditions.iter().find(|c| c["type"] == kind)?;
    let text = |key: &str| found.get(key).and_then(Value::as_str).unwrap_or_default();
    Some((text("status"), text("reason"), text("message")))
}

/// A condition in words.
pub fn told(object: &Value, kind: &str) -> String {
    match condition(object, kind) {
        Some((status, reason, message)) => format!("{kind}={status} [{reason}] {message}"),
        None => format!("there is no condition {kind} yet"),
    }
}
