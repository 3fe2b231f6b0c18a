//! The SegmentGuard of each namespace: what the API server must know there to keep the rules Consumers and Replication alone.
//!
//! ```text
//!   claim allowed, not in the guard ─► waits ─► Job::Guard ─► plan ─► write ─► the claim is fetched
//!   policy, claim, Secret or guard changed ───► Job::Guard ─► plan ─► write, or nothing
//! ```
//!
//! A claim is not fetched before the guard names its Secret, so that no pod finds one that is not guarded yet, and before the
//! pods that were there already were looked through, once for all that wait (`pods`). A few writes are
//! made at once, more of them every few seconds: each for all the claims that came meanwhile.
//!
//! What the annotation `revoke` asks for is written there, too, before a KeyRevocation is created ([`asked`]).

pub mod asked;
mod known;
pub mod plan;
mod pods;
mod revoke;
mod room;

pub use known::{Guards, Known};
pub use revoke::revocable;

use super::context::{Context, Job};
use super::grant::plan::Guarded;
use super::index::Index;
use super::queue::Lane;
use super::scoped_secret::plan::{Failure, Guarding};
use super::watch::View;
use crate::api::segment_guard::SEGMENT_GUARD;
use crate::api::{FIELD_MANAGER, Reason, ScopedSecretSpec, SegmentGuard, SegmentGuardSpec};
use crate::client::errors::brief;
use crate::segmentation::authorize::{Governance, authorize, governance};
use crate::segmentation::verdict::Verdict;
use crate::segmentation::world::ObjectName;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, DeleteParams, PostParams, Preconditions};
use plan::{Claimant, Content, Observed, Plan, Standing, Target};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long until a KeyRevocation that could not be created is tried again.
const AGAIN: Duration = Duration::from_secs(5);

/// Whether a claim may be fetched as far as the guard goes. One that may not waits for it.
pub fn standing(cx: &Context, index: &Index, claim: &ObjectName, target: &ObjectName) -> Guarding {
    if is_in_place(cx, index, target, &observe_target(index, target, cx.now())) {
        match pods::stands_in_the_way(cx, index, target) {
            Some(None) => return Guarding::InPlace,
            Some(Some(failure)) => return Guarding::Failed(failure),
            None => {}
        }
    } else if cx.guards.leaves_out(claim) {
        let text = "the SegmentGuard of this namespace, which names every projected Secret with its consumers, has no room for this one: have fewer ScopedSecrets here, or fewer consumers in them";
        return Guarding::Failed(Failure::new(Reason::GuardFull, text));
    }
    cx.guards.wait(claim).map_or(Guarding::Awaited, Guarding::Failed)
}

/// Queues the guard of a namespace if it does not say of a Secret what it ought to.
pub fn look(cx: &Context, target: &ObjectName) {
    let in_place = {
        let index = cx.index();
        let observed = observe_target(&index, target, cx.now());
        is_in_place(cx, &index, target, &observed) && names_free(cx, target, &observed)
    };
    if !in_place {
        queue(cx, &target.namespace);
    }
    let index = cx.index();
    let others: BTreeSet<Arc<str>> =
        index.claims_for(target).flat_map(|claim| revoke::untold_others(cx, &index, claim)).collect();
    drop(index);
    others.iter().for_each(|namespace| queue(cx, namespace));
}

/// Queues the guard of a namespace.
pub fn queue(cx: &Context, namespace: &str) {
    cx.queue.add(Job::Guard(namespace.into()), Lane::Urgent);
}

/// Queues every guard that is, or may be wanted.
pub fn queue_all(cx: &Context) {
    let (index, now) = (cx.index(), cx.now());
    let named = index.secrets.keys().map(|name| name.namespace.clone());
    let governed = |name: &&Arc<str>| matches!(governance(name, &index.world, now), Governance::Governed { .. });
    let governed = index.world.namespaces.keys().filter(governed).cloned();
    let there = cx.guards.namespaces().into_iter().map(Arc::from);
    let namespaces: BTreeSet<Arc<str>> = named.chain(governed).chain(there).collect();
    drop(index);
    namespaces.iter().for_each(|namespace| cx.queue.add(Job::Guard(namespace.clone()), Lane::Routine));
}

/// Whether the guard, if there is one, says of a Secret that every pod may reference it where that is so. Nothing waits for that.
fn names_free(cx: &Context, target: &ObjectName, observed: &Target) -> bool {
    let said = cx.guards.content(&target.namespace, |said| {
        (said.free.contains(&*target.name), said.targets.contains_key(&*target.name))
    });
    said.is_none_or(|(free, named)| free == (plan::is_free(observed) && !named))
}

fn is_in_place(cx: &Context, index: &Index, target: &ObjectName, observed: &Target) -> bool {
    let said = cx.guards.said(&target.namespace, &target.name);
    let wanted = plan::consumers(observed, said.as_ref());
    match cx.guards.says(&target.namespace, &target.name) {
        Some(says) => says == wanted && index.claims_for(target).all(|claim| revoke::is_told(cx, index, claim)),
        // Without consumers to speak of, a namespace with a claim has a guard all the same.
        None => !observed.held && observed.claimants.iter().all(|c| c.standing != Standing::Allowed),
    }
}

fn observe_target(index: &Index, target: &ObjectName, now: Timestamp) -> Target {
    let holding = index.world.holding(target);
    let owner = index.secret(target).and_then(|secret| secret.owner.as_deref());
    let claimants = index.claims_for(target).filter_map(|name| {
        let (record, claim) = (index.claims.get(name)?, index.world.claim(name)?);
        let spec = record.spec.as_deref().and_then(|bytes| serde_json::from_slice::<ScopedSecretSpec>(bytes).ok())?;
        let standing = match authorize(claim, &index.world, now) {
            Verdict::Allowed(_) if !record.deleting => Standing::Allowed,
            Verdict::Undecided(_) if !record.deleting => Standing::Undecided,
            _ => Standing::Refused,
        };
        Some(Claimant {
            consumers: spec.consumers.into_iter().map(|consumer| consumer.service_account_name).collect(),
            standing,
            holds: owner == Some(&*record.uid) || holding.is_some_and(|held| held.claim == name.name),
            barred: record.target_taken,
            since: (claim.created, claim.uid.clone()),
        })
    });
    Target {
        held: holding.is_some() || owner.is_some(),
        free: holding.is_some_and(|held| !held.consumed),
        claimants: claimants.collect(),
    }
}

fn plan_for(cx: &Context, namespace: &str, known: Option<&Known>, guarded: Option<Guarded>) -> Plan {
    let now = cx.now();
    let here = |name: &&ObjectName| &*name.namespace == namespace;
    let (names, governance, terminating) = {
        let index = cx.index();
        let claimed = index.world.claims().filter(|c| here(&&c.object)).map(|claim| claim.target.clone());
        let held = index.secrets.keys().chain(index.world.holdings().map(|(name, _)| name)).filter(here);
        let listed = known.iter().flat_map(|known| known.content.targets.keys().chain(&known.content.free));
        let listed = listed.map(|name| Arc::from(name.as_str()));
        let names: BTreeSet<Arc<str>> = claimed.chain(held.map(|name| name.name.clone())).chain(listed).collect();
        (names, governance(namespace, &index.world, now), index.world.terminating.contains(namespace))
    };
    let shared: Arc<str> = namespace.into();
    // Each by itself: who waits for the index waits for one. What changes meanwhile queues the guard again.
    let targets = names.into_iter().map(|name| {
        let target = ObjectName::of(shared.clone(), name);
        (target.name.to_string(), observe_target(&cx.index(), &target, now))
    });
    plan::plan(&Observed {
        governance,
        terminating,
        known: known.map(|known| &known.content),
        there: known.is_some_and(|known| known.there),
        targets: targets.collect(),
        askers: revoke::askers(cx, namespace, |_| true, guarded, now),
        now,
    })
}

/// Brings the guard of a namespace up to date. The leader's.
pub async fn reconcile(cx: &Context, namespace: &Arc<str>) {
    let now = Instant::now();
    if let Some(at) = cx.guards.not_before(namespace, now) {
        cx.queue.add_at(Job::Guard(namespace.clone()), at);
        return;
    }
    let guarded = match revoke::look(cx, namespace).await {
        Ok(guarded) => guarded,
        Err(failure) => return told(cx, namespace, failure, false, now),
    };
    if cx.guards.hold_up(namespace, guarded == Some(Guarded::Another)) {
        tracing::warn!(%namespace, "an annotation revoke waits: the rule that asks for the verb is in another form than this operator's, by an upgrade that is under way or by somebody who changed it");
    }
    let known = cx.guards.known(namespace);
    let plan = plan_for(cx, namespace, known.as_ref(), guarded);
    if plan != Plan::Leave {
        if !cx.leads() {
            return;
        }
        cx.guards.tries(namespace, now);
        let before = known.as_ref().map(|known| known.content.clone()).unwrap_or_default();
        let written = if let Plan::Write(content) = &plan { Some(content.clone()) } else { None };
        if let Err(error) = act(cx, namespace, known, plan).await {
            let conflict = matches!(&error, kube::Error::Api(status) if [404, 409].contains(&status.code));
            let text = format!(
                "the SegmentGuard, without which nothing is fetched, could not be written, it is tried again: {}",
                brief(&error)
            );
            tracing::warn!(%namespace, error = %brief(&error), "a SegmentGuard was not written; it is tried again");
            return told(cx, namespace, Failure::new(Reason::WriteFailed, text), conflict, now);
        }
        if let Some(written) = written {
            revoke::tell_dismissed(cx, namespace, &before, &written).await;
        }
    }
    let is_news = cx.guards.content(namespace, Content::is_news) == Some(true);
    let again = match guarded {
        Some(Guarded::Another) => Some(AGAIN),
        _ => is_news.then_some(asked::WATCHED),
    };
    if let Some(again) = again {
        // It is watched since the answer to the write.
        cx.queue.add_at(Job::Guard(namespace.clone()), Instant::now() + again);
    }
    if let Err(error) = revoke::carry_out(cx, namespace).await {
        tracing::warn!(%namespace, error = %brief(&error), "a KeyRevocation that was asked for by annotation was not created, or not noted; it is tried again");
        cx.queue.add_at(Job::Guard(namespace.clone()), now + AGAIN);
    }
    if let Err(error) = pods::look(cx, namespace).await {
        tracing::warn!(%namespace, error = %brief(&error), "the pods of a namespace could not be listed; it is tried again");
        let text = format!(
            "the pods that are there already could not be listed, without which nothing is fetched; it is tried again: {}",
            brief(&error)
        );
        told(cx, namespace, Failure::new(Reason::WriteFailed, text), false, now);
        return;
    }
    cx.retry(cx.guards.settled(namespace).into_iter().collect());
    cx.retry(make_room(cx, namespace));
}

/// Notes whether the guard is full; the claims that it had no room for, and now has.
fn make_room(cx: &Context, namespace: &str) -> Vec<ObjectName> {
    let is_full = cx.guards.content(namespace, room::is_full) == Some(true);
    let index = cx.index();
    let has_room = |claim: &&ObjectName| {
        let target = index.world.claim(claim).map(|known| ObjectName::new(&claim.namespace, &known.target));
        !is_full
            || target.is_none_or(|target| is_in_place(cx, &index, &target, &observe_target(&index, &target, cx.now())))
    };
    let freed: Vec<ObjectName> = cx.guards.left_out(namespace).iter().filter(has_room).cloned().collect();
    cx.guards.fills(namespace, is_full, &freed);
    freed
}

/// What could not be done is told to those who wait for it, and is tried again.
fn told(cx: &Context, namespace: &str, failure: Failure, conflict: bool, now: Instant) {
    let waiting = cx.guards.failed(namespace, failure, conflict, now);
    waiting.into_iter().for_each(|claim| cx.queue.add(Job::Claim(claim), Lane::Urgent));
    queue(cx, namespace);
}

async fn act(cx: &Context, namespace: &str, known: Option<Known>, plan: Plan) -> Result<(), kube::Error> {
    let api: Api<SegmentGuard> = Api::namespaced(cx.client.clone(), namespace);
    let there = known.filter(|known| known.there);
    let params = PostParams { field_manager: Some(FIELD_MANAGER.into()), ..PostParams::default() };
    match (plan, there) {
        (Plan::Leave, _) => {}
        (Plan::Write(content), None) => {
            let created = api.create(&params, &object(content, None)).await?;
            if !View::Answer.says_nothing(&created.metadata, None, &cx.index().gone) {
                cx.guards.put(namespace, seen(&created.metadata, created.spec), View::Answer);
            }
        }
        (Plan::Write(content), Some(known)) => {
            let written = api.replace(SEGMENT_GUARD, &params, &object(content, Some(known.resource_version))).await;
            if matches!(&written, Err(kube::Error::Api(status)) if status.code == 404) {
                cx.guards.gone(namespace, Some(&known.uid));
            }
            let written = written?;
            cx.guards.put(namespace, seen(&written.metadata, written.spec), View::Answer);
        }
        (Plan::Remove, None) => cx.guards.forget(namespace),
        (Plan::Remove, Some(known)) => {
            let params = DeleteParams::default()
                .preconditions(Preconditions { uid: Some(known.uid), resource_version: Some(known.resource_version) });
            match api.delete(SEGMENT_GUARD, &params).await {
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                other => drop(other?),
            }
            cx.guards.forget(namespace);
        }
    }
    Ok(())
}

fn object(content: Content, resource_version: Option<String>) -> SegmentGuard {
    SegmentGuard {
        metadata: ObjectMeta {
            name: Some(SEGMENT_GUARD.into()),
            labels: Some(content.labels),
            resource_version,
            ..ObjectMeta::default()
        },
        spec: SegmentGuardSpec {
            targets: content.targets,
            free: content.free.into_iter().collect(),
            grants: content.grants,
            shared: content.shared.into_iter().collect(),
            revocations: content.revocations,
        },
    }
}

/// What is kept of a guard.
pub fn seen(metadata: &ObjectMeta, mut spec: SegmentGuardSpec) -> Known {
    // A list that was read has room for more than the one consumer that most have.
    spec.targets.values_mut().for_each(Vec::shrink_to_fit);
    let labels: BTreeMap<String, String> = metadata.labels.clone().unwrap_or_default();
    Known {
        uid: metadata.uid.clone().unwrap_or_default(),
        resource_version: metadata.resource_version.clone().unwrap_or_default(),
        content: Content {
            labels,
            targets: spec.targets,
            free: spec.free.into_iter().collect(),
            grants: spec.grants,
            shared: spec.shared.into_iter().collect(),
            revocations: spec.revocations,
        },
        there: metadata.deletion_timestamp.is_none(),
    }
}
