//! Restarts the consumers of Secrets with a new value, where their ScopedSecrets say so.
//!
//! ```text
//!   the seal says due ─► Job::Restart(namespace) ─► list its workloads ─► plan ─► annotate ─┐ again, while
//!                              ▲                                            └─► how far ─────┤ anything is open
//!                              └────────────────────────────────────────────────────────────┘
//!   over ─► Job::Claim ─► the seal says so ─► status
//! ```
//!
//! Workloads are not watched: a namespace is looked at, page by page, while a restart is due in it. All that are due are planned at
//! once, so that a workload with two new values is restarted once.

mod known;

pub use known::{AT_ONCE, Restarts};

use super::context::{Context, Job};
use super::events::{self, Told};
use super::index::Index;
use super::paged;
use super::queue::Lane;
use crate::api::condition::Wanted;
use crate::api::{FIELD_MANAGER, RESTARTED_FOR_ANNOTATION, Reason, ScopedSecretSpec};
use crate::client::errors::brief;
use crate::rotation::restart::workload::{Kind, Named, Running, Workload};
use crate::rotation::restart::{Consumed, Observed, is_concerned, plan, progress};
use crate::segmentation::restart::{Due, token};
use crate::segmentation::seal::SealRecord;
use crate::segmentation::violation::ObjectRef;
use crate::segmentation::world::ObjectName;
use crate::telemetry::record::{Happening, What};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::core::v1::Pod;
use known::{How, has_deadline};
use kube::Resource;
use kube::api::{Api, ListParams, Patch, PatchParams};
use kube::runtime::events::EventType;
use serde::de::DeserializeOwned;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long until a rollout under way is looked at again.
const SOON: Duration = Duration::from_secs(3);
/// How long until one is that waits for somebody.
const LATER: Duration = Duration::from_secs(30);

/// What is said of the restart of a ScopedSecret's consumers.
pub fn condition(cx: &Context, claim: &ObjectName, seal: &SealRecord) -> Wanted {
    match due(seal) {
        Some(due) => cx.restarts.condition(claim, due),
        None => progress::over(),
    }
}

fn due(seal: &SealRecord) -> Option<&Due> {
    seal.restart.as_ref()?.due.as_ref()
}

/// Queues the namespace of a ScopedSecret if a restart is due that nobody follows yet.
pub fn look(cx: &Context, claim: &ObjectName, secret: &ObjectName, spec: &ScopedSecretSpec) {
    let seal = cx.index().secret(secret).and_then(|facts| facts.seal.as_ref().ok().cloned());
    match seal.as_deref().and_then(due).filter(|_| spec.restarts()) {
        Some(due) if cx.restarts.follows(claim, due) => {}
        Some(_) => cx.queue.add(Job::Restart(claim.namespace.clone()), Lane::Urgent),
        None => cx.restarts.forget(claim),
    }
}

/// A ScopedSecret whose consumers are restarted, with what is due.
struct Restarting {
    claim: ObjectName,
    due: Option<Due>,
    consumed: Consumed,
}

/// Those of a namespace whose Secret stands.
fn restarting(index: &Index, namespace: &str) -> Vec<Restarting> {
    let held = index.world.holdings_in(namespace);
    held.filter_map(|(secret, held)| {
        let seal = index.secret(secret)?.seal.as_ref().ok()?;
        seal.restart.as_ref()?;
        let claim = ObjectName::of(secret.namespace.clone(), held.claim.clone());
        let record = index.claims.get(&claim).filter(|record| !record.deleting)?;
        let spec: ScopedSecretSpec = serde_json::from_slice(record.spec.as_deref()?).ok()?;
        if !spec.restarts() || spec.target_name(&claim.name) != &*secret.name {
            return None;
        }
        let due = due(seal).cloned();
        let consumed = Consumed {
            secret: secret.name.to_string(),
            consumers: spec.consumers.into_iter().map(|consumer| consumer.service_account_name).collect(),
            token: due.as_ref().map_or_else(|| token(held, None), |due| due.token.clone()).into(),
            due: due.as_ref().map(|due| due.since),
        };
        Some(Restarting { claim, due, consumed })
    })
    .collect()
}

/// Why a look at a namespace ended early.
enum Ended {
    /// The operator lacks this verb.
    NotAllowed(&'static str),
    /// It is tried again.
    Failed(kube::Error),
}

fn ended(verb: &'static str) -> impl Fn(kube::Error) -> Ended {
    move |error| match error {
        // Not what an admission policy says, which may be about one workload alone.
        kube::Error::Api(status)
            if status.code == 403 && status.message.contains(&format!("cannot {verb} resource")) =>
        {
            Ended::NotAllowed(verb)
        }
        other => Ended::Failed(other),
    }
}

/// Whether a write was refused, by the API server or for a webhook of somebody's that denies it or is away, rather than not answered.
fn is_refusal(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else { return false };
    let refused = (400..500).contains(&status.code) && status.code != 429;
    refused || status.message.contains("webhook \"")
}

/// Looks at the workloads of a namespace and restarts those whose turn it is.
pub async fn reconcile(cx: &Context, namespace: &Arc<str>) {
    let all = restarting(&cx.index(), namespace);
    cx.restarts.retain(namespace, |claim| all.iter().any(|restarting| restarting.claim == *claim));
    let consumed: Vec<Consumed> = all.iter().map(|restarting| restarting.consumed.clone()).collect();
    if all.iter().all(|restarting| restarting.due.is_none()) {
        cx.restarts.done(namespace);
        tell_stuck(cx);
        return;
    }
    let is_by_hand = |r: &Restarting| r.due.as_ref().is_some_and(|due| cx.restarts.is_by_hand(&r.claim, due));
    let by_hand = all.iter().any(is_by_hand);
    let again = |wait| cx.queue.add_at(Job::Restart(namespace.clone()), Instant::now() + wait);
    let (hows, wait) = match act(cx, namespace, consumed, by_hand).await {
        Ok((mut progress, denied)) => {
            let soon = progress.values().any(|progress| !progress.is_over() && !progress.is_held());
            let how = |r: &Restarting| {
                let progress = progress.remove(&r.consumed.secret)?;
                Some(match denied {
                    Some(verb) if !progress.is_over() => How::NotAllowed(verb),
                    _ => How::Seen(progress),
                })
            };
            (all.iter().map(how).collect::<Vec<_>>(), if soon && denied.is_none() { SOON } else { LATER })
        }
        Err(Ended::NotAllowed(verb)) => (all.iter().map(|_| Some(How::NotAllowed(verb))).collect(), LATER),
        Err(Ended::Failed(error)) => {
            tracing::warn!(%namespace, error = %brief(&error), "the consumers of a new value were not restarted; it is tried again");
            return again(SOON);
        }
    };
    let mut open = false;
    for (restarting, how) in all.iter().zip(hows) {
        let (Some(due), Some(how)) = (&restarting.due, how) else { continue };
        open |= !matches!(&how, How::Seen(progress) if progress.is_over());
        if cx.restarts.tell(&restarting.claim, due, how) {
            cx.queue.add(Job::Claim(restarting.claim.clone()), Lane::Urgent);
        }
    }
    tell_stuck(cx);
    if open {
        again(wait);
    }
}

/// The leader's alone: it may have been deposed while it looked.
fn tell_stuck(cx: &Context) {
    if cx.leads() {
        cx.metrics.set_rollouts_stuck(cx.restarts.stuck());
    }
}

/// How far each Secret's consumers are, and the verb that the operator lacks for what is still to be restarted.
async fn act(
    cx: &Context,
    namespace: &Arc<str>,
    consumed: Vec<Consumed>,
    by_hand: bool,
) -> Result<(BTreeMap<String, progress::Progress>, Option<&'static str>), Ended> {
    let (workloads, limited) = workloads(cx, namespace, &consumed).await?;
    let (reverted, overdue) = cx.restarts.judge(namespace, &workloads, &consumed, &limited, Instant::now());
    let mut observed =
        Observed { consumed, workloads, overdue, reverted, old_pods: None, by_hand, at_once: cx.restarts.at_once() };
    let mut planned = plan(&observed);
    if by_hand || planned.progress.values().any(|progress| !progress.held.is_empty()) {
        observed.old_pods = Some(old_pods(cx, namespace, &observed.consumed).await?);
        planned = plan(&observed);
    }
    for (place, value) in &planned.annotate {
        let workload = &observed.workloads[*place];
        match annotate(cx, namespace, workload, value).await {
            Ok(false) => break,
            Ok(true) => {
                cx.restarts.annotated(namespace, workload, value, Instant::now());
                cx.metrics.restarted();
                let object = ObjectName::new(namespace, &workload.named.name);
                let restarted =
                    Happening::of(What::WorkloadRestarted).on(&format!("{:?}", workload.named.kind), &object);
                cx.record(restarted.version_id(value));
                tell(cx, namespace, workload, &planned.progress).await;
                tracing::info!(%namespace, workload = %workload.named, "a consumer of a new value is restarted");
            }
            // It has changed, or is gone: it is looked at again.
            Err(kube::Error::Api(status)) if [404, 409].contains(&status.code) => {}
            Err(error) => match ended("patch")(error) {
                Ended::Failed(error) => {
                    tracing::warn!(%namespace, workload = %workload.named, error = %brief(&error), "a consumer of a new value was not restarted; it is tried again");
                    if is_refusal(&error) {
                        planned.progress.values_mut().for_each(|progress| progress.refuse(&workload.named));
                    }
                }
                Ended::NotAllowed(verb) => return Ok((planned.progress, Some(verb))),
            },
        }
    }
    Ok((planned.progress, None))
}

/// One event of a workload that is restarted.
async fn tell(
    cx: &Context,
    namespace: &Arc<str>,
    workload: &Workload,
    progress: &BTreeMap<String, progress::Progress>,
) {
    let about = ObjectRef {
        api_version: "apps/v1".into(),
        kind: format!("{:?}", workload.named.kind),
        namespace: Some(namespace.clone()),
        name: workload.named.name.clone(),
    };
    let due = progress.iter().filter(|(_, progress)| progress.rolling.contains(&workload.named));
    let secrets: Vec<String> = due.map(|(secret, _)| format!("{secret:?}")).collect();
    let message = format!("it is restarted, so that its pods take the new value of Secret {}", secrets.join(", "));
    let (reason, type_) = (Reason::RollingOut.as_str(), EventType::Normal);
    let told = Told { about: &about, uid: Some(&workload.uid), type_, reason, action: "Restart", message: &message };
    events::publish(cx, told).await;
}

/// The workloads of a namespace that use a Secret that is due, and the Deployments with a deadline of their own.
async fn workloads(
    cx: &Context,
    namespace: &str,
    consumed: &[Consumed],
) -> Result<(Vec<Workload>, BTreeSet<Named>), Ended> {
    let (mut found, mut limited) = (Vec::new(), BTreeSet::new());
    let mut take = |workload: Option<Workload>| found.extend(workload.filter(|w| is_concerned(consumed, w)));
    each::<Deployment>(cx, namespace, |object| {
        let workload = Workload::of_deployment(object);
        limited.extend(workload.iter().filter(|_| has_deadline(object)).map(|workload| workload.named.clone()));
        take(workload);
    })
    .await?;
    each::<StatefulSet>(cx, namespace, |object| take(Workload::of_stateful_set(object))).await?;
    each::<DaemonSet>(cx, namespace, |object| take(Workload::of_daemon_set(object))).await?;
    Ok((found, limited))
}

/// The pods that were started before what is due, by Secret.
async fn old_pods(
    cx: &Context,
    namespace: &str,
    consumed: &[Consumed],
) -> Result<BTreeMap<String, BTreeMap<String, Named>>, Ended> {
    let mut found: BTreeMap<String, BTreeMap<String, Named>> = BTreeMap::new();
    each::<Pod>(cx, namespace, |pod| {
        let Some(running) = Running::of(pod) else { return };
        for consumed in consumed.iter().filter(|consumed| consumed.is_older(&running)) {
            found.entry(consumed.secret.clone()).or_default().insert(running.name.clone(), running.of.clone());
        }
    })
    .await?;
    Ok(found)
}

/// Everything of a kind in a namespace.
async fn each<K>(cx: &Context, namespace: &str, look: impl FnMut(&K)) -> Result<(), Ended>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
{
    let api: Api<K> = Api::namespaced(cx.client.clone(), namespace);
    paged::each(&api, ListParams::default().limit(50), look).await.map_err(ended("list"))
}

/// Writes the annotation on exactly the revision that was observed; false if another replica leads by now.
async fn annotate(cx: &Context, namespace: &str, workload: &Workload, value: &str) -> Result<bool, kube::Error> {
    if !cx.leads() {
        return Ok(false);
    }
    let patch = json!({
        "metadata": {"uid": workload.uid, "resourceVersion": workload.resource_version},
        "spec": {"template": {"metadata": {"annotations": {RESTARTED_FOR_ANNOTATION: value}}}},
    });
    match workload.named.kind {
        Kind::Deployment => write::<Deployment>(cx, namespace, &workload.named.name, &patch).await,
        Kind::StatefulSet => write::<StatefulSet>(cx, namespace, &workload.named.name, &patch).await,
        Kind::DaemonSet => write::<DaemonSet>(cx, namespace, &workload.named.name, &patch).await,
    }
}

async fn write<K>(cx: &Context, namespace: &str, name: &str, patch: &serde_json::Value) -> Result<bool, kube::Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
{
    let api: Api<K> = Api::namespaced(cx.client.clone(), namespace);
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() };
    api.patch_metadata(name, &params, &Patch::Merge(patch)).await.map(|_| true)
}
