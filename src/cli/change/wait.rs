//! Waits until the operator has done what was asked of it.

use super::look::kind;
use crate::cli::cluster::{Cluster, Failure};
use kube::api::{Api, DynamicObject};
use serde_json::Value;
use std::time::Duration;
use tokio::time::Instant;

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

/// Looks at one after the other until each is done, or will not be, or time is over.
pub async fn until(cluster: &Cluster, all: &[Wait], timeout: Duration) -> Result<Progress, Failure> {
    let began = Instant::now();
    let mut seen = Vec::new();
    for wait in all {
        seen.push((format!("{} {}", wait.kind, wait.name), one(cluster, wait, began, timeout).await?));
    }
    Ok(together(seen))
}

/// What several come to: done if each is; else what is told first is what is not. Pure.
fn together(mut each: Vec<(String, Progress)>) -> Progress {
    if each.len() == 1 {
        return each.remove(0).1;
    }
    let (done, rest): (Vec<_>, Vec<_>) = each.into_iter().partition(|(_, one)| matches!(one, Progress::Done(_)));
    let is_open = |(_, one): &(String, Progress)| matches!(one, Progress::Open(_));
    let all: fn(String) -> Progress = match rest.is_empty() {
        true => Progress::Done,
        false if rest.iter().all(is_open) => Progress::Open,
        false => Progress::Bad,
    };
    let told = rest.into_iter().chain(done).map(|(name, one)| match one {
        Progress::Open(text) | Progress::Refused(text) | Progress::Done(text) | Progress::Bad(text) => {
            format!("{name}: {text}")
        }
    });
    all(told.collect::<Vec<_>>().join("; "))
}

async fn one(cluster: &Cluster, wait: &Wait, began: Instant, timeout: Duration) -> Result<Progress, Failure> {
    let of = kind(wait.kind);
    let api: Api<DynamicObject> = match wait.namespaced {
        true => Api::namespaced_with(cluster.client.clone(), &cluster.namespace, &of),
        false => Api::all_with(cluster.client.clone(), &of),
    };
    loop {
        let waited = began.elapsed();
        let over = waited + PAUSE > timeout;
        let seen = match cluster.get(&api, &wait.name).await {
            // What was written goes on while the API server is away.
            Err(failure @ Failure::Request { .. }) if over => return Ok(Progress::Open(failure.to_string())),
            Err(Failure::Request { .. }) => {
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            seen => seen?,
        };
        if seen == crate::cli::cluster::Seen::Barred {
            let text = format!("you may not get {}.{}: how far it is cannot be told", of.plural, of.group);
            return Ok(Progress::Bad(text));
        }
        let value = seen.found().and_then(|object| serde_json::to_value(object).ok());
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_are_done_when_each_is() {
        let told = |each: &[Progress]| {
            let named = each.iter().zip(["K a", "K b"]).map(|(one, name)| (name.to_owned(), one.clone()));
            together(named.collect())
        };
        let (done, bad, open) =
            (Progress::Done("gone".into()), Progress::Bad("pods remain".into()), Progress::Open("not yet".into()));
        assert_eq!(told(std::slice::from_ref(&bad)), bad, "of one its own words");
        assert_eq!(told(&[done.clone(), done.clone()]), Progress::Done("K a: gone; K b: gone".into()));
        assert_eq!(told(&[done.clone(), bad.clone()]), Progress::Bad("K b: pods remain; K a: gone".into()));
        assert_eq!(told(&[done, open.clone()]), Progress::Open("K b: not yet; K a: gone".into()));
        assert_eq!(told(&[open, bad]), Progress::Bad("K a: not yet; K b: pods remain".into()));
    }
}
