//! Pods that are older than a claim and reference its Secret without being its consumers.
//!
//! The API server refuses those that come once the guard names the Secret. Those that were there are looked through once then,
//! for all claims that wait, before the first of them is fetched. In mode Enforce a foreign one stops the claim until it is gone;
//! else it is only reported. Pods are not watched: a claim that was stopped looks again when it is tried again, which it is
//! more and more rarely, at the latest after a quarter of an hour.

use crate::api::policy::Mode;
use crate::api::{REFRESH_AT_ANNOTATION, Reason};
use crate::controller::context::{Context, Sighting};
use crate::controller::index::Index;
use crate::controller::paged;
use crate::controller::scoped_secret::plan::Failure;
use crate::segmentation::authorize::{Governance, governance, segment_of};
use crate::segmentation::consumers::{Referrer, foreign};
use crate::segmentation::references::{account_of, names, of_pods};
use crate::segmentation::workload::RunsPods;
use crate::segmentation::world::ObjectName;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};
use tokio::time::Instant;

/// What of the pods stops a Secret from being projected, None inside for nothing; None: they have to be looked through first.
pub(super) fn stands_in_the_way(cx: &Context, index: &Index, target: &ObjectName) -> Option<Option<Failure>> {
    let open = cx.guards.said(&target.namespace, &target.name).is_none();
    if stands(index, target) || open {
        return Some(None);
    }
    let found = cx.guards.looked(&target.namespace, &target.name, Instant::now())?;
    Some(found.filter(|_| is_enforced(cx, index, &target.namespace)))
}

/// Whether a Secret has been written, so that the first write is long done.
fn stands(index: &Index, target: &ObjectName) -> bool {
    index.secret(target).is_some() || index.world.holding(target).is_some()
}

fn is_enforced(cx: &Context, index: &Index, namespace: &str) -> bool {
    match governance(namespace, &index.world, cx.now()) {
        Governance::Governed { consumers, .. } => consumers == Mode::Enforce,
        Governance::Ungoverned | Governance::Unknown => true,
    }
}

/// Looks through the pods of a namespace, if a claim waits for that.
pub(super) async fn look(cx: &Context, namespace: &Arc<str>) -> Result<(), kube::Error> {
    let Some(known) = cx.guards.known(namespace).filter(|known| known.there) else { return Ok(()) };
    let mut targets = known.content.targets;
    {
        let index = cx.index();
        let target = |name: &str| ObjectName::of(namespace.clone(), name.into());
        targets.retain(|name, _| !stands(&index, &target(name)));
        let waiting = cx.guards.waiting(namespace);
        let awaited = waiting.iter().filter_map(|claim| index.world.claim(claim)).map(|claim| &*claim.target);
        let awaited: BTreeSet<&str> = awaited.filter(|name| targets.contains_key(*name)).collect();
        if awaited.iter().all(|name| cx.guards.looked(namespace, name, Instant::now()).is_some()) {
            cx.guards.looks_only_for(namespace, |name| targets.contains_key(name));
            return Ok(());
        }
    }
    let api: Api<Pod> = Api::namespaced(cx.client.clone(), namespace);
    let mut found = Found::new();
    paged::each(&api, ListParams::default().limit(100), |pod| judge(pod, &targets, &mut found)).await?;
    report(cx, namespace, &targets, &found);
    let looks = targets.into_iter().map(|(target, consumers)| {
        let failure = found.get(&target).map(|pods| failure(&target, &consumers, pods));
        (target, consumers, failure)
    });
    cx.guards.looked_through(namespace, looks, Instant::now());
    Ok(())
}

/// For each Secret the foreign pods, by name.
type Found = BTreeMap<String, BTreeMap<String, ForeignPod>>;

/// What is kept of a foreign pod.
struct ForeignPod {
    /// The ServiceAccount that it runs under.
    account: String,
    uid: Option<String>,
}

fn judge(pod: &Pod, targets: &BTreeMap<String, Vec<String>>, found: &mut Found) {
    let Some(spec) = pod.pods().filter(|_| pod.is_alive()) else { return };
    let account = account_of(spec);
    for secret in names(&of_pods(spec)) {
        if targets.get(secret).is_some_and(|consumers| !consumers.iter().any(|name| name == account)) {
            let foreign = ForeignPod { account: account.to_owned(), uid: pod.uid() };
            found.entry(secret.to_owned()).or_default().insert(pod.name_any(), foreign);
        }
    }
}

/// Where that stops nothing, it is on the report until the next scan.
fn report(cx: &Context, namespace: &Arc<str>, targets: &BTreeMap<String, Vec<String>>, found: &Found) {
    let segment: Arc<str> = {
        let index = cx.index();
        match segment_of(namespace, &index.world) {
            Ok(segment) if !is_enforced(cx, &index, namespace) => segment.name().into(),
            _ => return,
        }
    };
    let pods = found.iter().flat_map(|(secret, pods)| pods.iter().map(move |(name, pod)| (secret, name, pod)));
    let seen: Vec<Sighting> = pods
        .filter_map(|(secret, name, pod)| {
            let secrets = [secret.as_str()].into();
            let referrer = Referrer { api_version: "v1", kind: "Pod", name, account: &pod.account, secrets };
            let violation = foreign(&referrer, namespace, targets, &segment)?;
            Some(Sighting { at: cx.now(), violation, uid: pod.uid.clone() })
        })
        .collect();
    let mut sightings = cx.sightings.lock().unwrap_or_else(PoisonError::into_inner);
    sightings.retain(|known| seen.iter().all(|new| new.violation.object != known.violation.object));
    sightings.extend(seen);
    let over = sightings.len().saturating_sub(MOST);
    sightings.drain(..over);
}

/// So many sightings are kept until the next scan, which finds them all.
const MOST: usize = 1000;

/// So many pods are named.
const NAMED: usize = 3;

fn failure(target: &str, consumers: &[String], pods: &BTreeMap<String, ForeignPod>) -> Failure {
    let told = |(name, pod): (&String, &ForeignPod)| format!("{name:?} under ServiceAccount {:?}", pod.account);
    let named = pods.iter().take(NAMED).map(told);
    let mut named = named.collect::<Vec<_>>().join(", ");
    if pods.len() > NAMED {
        named.push_str(&format!(" and {} more", pods.len() - NAMED));
    }
    let text = format!(
        "pods of this namespace reference Secret {target:?} already and are not its consumers ({}): {named}; delete them, or run them under a consumer's ServiceAccount, or add theirs to spec.consumers. They are looked at again from time to time, at the latest after 15 minutes, and within seconds when {REFRESH_AT_ANNOTATION} is set anew",
        consumers.join(", ")
    );
    Failure::new(Reason::ForeignConsumer, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_pods_are_found_by_secret_and_named() {
        let targets: BTreeMap<String, Vec<String>> =
            [("orders".to_owned(), vec!["orders".to_owned()]), ("other".to_owned(), vec!["other".to_owned()])].into();
        let mut found = Found::new();
        for (name, account, secret, phase) in [
            ("a", "orders", "orders", "Running"),
            ("b", "thief", "orders", "Running"),
            ("c", "thief", "plain", "Running"),
            ("d", "thief", "orders", "Succeeded"),
            ("e", "default", "orders", "Pending"),
        ] {
            let pod = serde_json::json!({
                "metadata": {"name": name, "uid": format!("of-{name}")},
                "spec": {"serviceAccountName": account, "containers": [], "imagePullSecrets": [{"name": secret}]},
                "status": {"phase": phase},
            });
            judge(&serde_json::from_value(pod).unwrap(), &targets, &mut found);
        }
        assert_eq!(found.keys().collect::<Vec<_>>(), ["orders"]);
        assert_eq!(found["orders"]["b"].uid.as_deref(), Some("of-b"));
        let told = failure("orders", &targets["orders"], &found["orders"]);
        assert_eq!(told.reason, Reason::ForeignConsumer);
        for part in ["(orders)", "\"b\" under ServiceAccount \"thief\", \"e\" under ServiceAccount \"default\";"] {
            assert!(told.message.contains(part), "{part} in {}", told.message);
        }
        let thief = || ForeignPod { account: "thief".to_owned(), uid: None };
        let many = (0..9).map(|i| (format!("pod-{i}"), thief())).collect();
        assert!(failure("orders", &[], &many).message.contains("and 6 more"));
    }
}
