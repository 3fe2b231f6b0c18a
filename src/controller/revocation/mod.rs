//! KeyRevocations: takes every projection of a leaked key away, and follows it until nothing holds an old value.
//!
//! What goes, and that it stays gone, follows from the revocation itself (`segmentation/revoked.rs`) as soon as the watch has seen
//! it; who works on the ScopedSecret takes it away. This job says so: what was withdrawn, which pods still run with it, and when
//! it was over. One thing is written ahead: that a Secret is about to go, since afterwards nothing would tell which pods had it.

pub mod plan;
mod pods;
mod versions;

pub use versions::names_of;

use super::context::{Context, Job};
use super::events::{self, Told};
use super::index::Index;
use super::queue::Lane;
use super::watch::View;
use crate::api::key_revocation::{InNamespace, KeyRevocation, KeyRevocationStatus};
use crate::api::{FIELD_MANAGER, GROUP, Reason};
use crate::client::errors::brief;
use crate::segmentation::key::{CanonicalKey, RemoteKey};
use crate::segmentation::revoked::{Meant, Revocation, meant};
use crate::segmentation::violation::ObjectRef;
use crate::segmentation::world::{Holding, KeyVersion, ObjectName};
use crate::telemetry::record::{Happening, What};
use jiff::Timestamp;
use kube::ResourceExt;
use kube::api::{Api, ApiResource, DynamicObject, PostParams};
use kube::runtime::events::EventType;
use plan::Observed;
use serde_json::json;
use std::collections::BTreeSet;
use std::time::Duration;

/// How long until pods, or a store that could not be read, are looked at again.
const AGAIN: Duration = Duration::from_secs(15);

/// What is kept of a KeyRevocation.
#[derive(Debug, Clone)]
pub struct Known {
    /// Its uid.
    pub uid: String,
    /// metadata.resourceVersion.
    pub resource_version: String,
    /// metadata.generation.
    pub generation: i64,
    /// The spec, as it was written.
    pub spec: serde_json::Value,
    /// What its status says.
    pub status: KeyRevocationStatus,
    /// What this process has put on the record of it.
    pub recorded: Recorded,
}

/// What is put on the record of a KeyRevocation once: before status says it, for whoever comes after.
#[derive(Debug, Clone, Copy, Default)]
pub struct Recorded {
    /// That the key is revoked.
    pub revoked: bool,
    /// That nothing holds it any more.
    pub complete: bool,
    /// Whether an event has told that the key is revoked.
    pub told: bool,
}

/// Takes a KeyRevocation into the index; what it is for is looked at at once.
pub fn observe(cx: &Context, object: &DynamicObject, view: View) {
    let name = object.name_any();
    let decoded = object.clone().try_parse::<KeyRevocation>();
    let key = decoded.as_ref().ok().and_then(|revocation| RemoteKey::parse(&revocation.spec.key).ok());
    let (Ok(revocation), Some(key)) = (decoded, key) else {
        tracing::warn!(revocation = name, "a KeyRevocation cannot be understood: it revokes nothing; write it anew");
        return;
    };
    let known = Known {
        uid: object.uid().unwrap_or_default(),
        resource_version: object.resource_version().unwrap_or_default(),
        generation: object.metadata.generation.unwrap_or(0),
        spec: object.data.get("spec").cloned().unwrap_or_default(),
        status: revocation.status.unwrap_or_default(),
        recorded: Recorded::default(),
    };
    let versions =
        Some(&known.status.revoked_versions).filter(|_| known.status.revoked_versions_complete == Some(true));
    let revoked = Revocation {
        store: revocation.spec.store_ref.name,
        key,
        created: object.creation_timestamp().map_or(Timestamp::MAX, |made| made.0),
        versions: versions.map(|list| list.iter().cloned().collect()),
    };
    let mut index = cx.index_mut();
    let before = index.revocations.get(&name);
    if view.says_nothing(&object.metadata, before.map(|known| &*known.resource_version), &index.gone) {
        return;
    }
    let changed = index.world.revocations.get(&name) != Some(&revoked);
    // Of that name there was another, whose end was not seen.
    let lifted =
        if changed && before.is_some_and(|b| b.uid != known.uid) { affected(&index, &name) } else { Vec::new() };
    index.world.put_revocation(&name, Some(revoked));
    let before = index.revocations.get(&name).filter(|before| before.uid == known.uid);
    let mut recorded = before.map(|before| before.recorded).unwrap_or_default();
    // What got past undid its end: the next one is told as well.
    let undone = before.is_some_and(|before| before.status.completion_time.is_some());
    recorded.complete &= !(undone && known.status.completion_time.is_none());
    index.revocations.insert(name.clone(), Known { recorded, ..known });
    drop(index);
    cx.retry(claims_among(lifted));
    if changed {
        look_at_claims(cx, &name);
    }
    cx.queue.add(Job::Revocation(name), Lane::Urgent);
}

/// A KeyRevocation is gone: what it was for may be projected again.
pub fn gone(cx: &Context, name: &str) {
    gone_if(cx, name, |_| true);
}

fn gone_if(cx: &Context, name: &str, is_it: impl Fn(&Known) -> bool) {
    let mut index = cx.index_mut();
    if !index.revocations.get(name).is_none_or(is_it) {
        return;
    }
    let lifted = affected(&index, name);
    index.world.put_revocation(name, None);
    let known = index.revocations.remove(name).filter(|_| cx.leadership.leads());
    if let Some(known) = &known {
        index.lifted.entry(name.to_owned()).or_default().push(known.uid.clone());
    }
    drop(index);
    if let Some(known) = known {
        record(cx, What::RevocationLifted, name, &known);
        cx.queue.add(Job::Revocation(name.to_owned()), Lane::Routine);
    }
    cx.retry(claims_among(lifted));
}

fn claims_among(jobs: Vec<Job>) -> Vec<ObjectName> {
    jobs.into_iter().filter_map(|job| if let Job::Claim(claim) = job { Some(claim) } else { None }).collect()
}

/// Queues those that are picked.
pub fn queue(cx: &Context, pick: impl Fn(&Revocation) -> bool) {
    let index = cx.index();
    let picked = index.world.revocations.iter().filter(|(_, revocation)| pick(revocation));
    let names: Vec<String> = picked.map(|(name, _)| name.clone()).collect();
    drop(index);
    for name in names {
        look_at_claims(cx, &name);
        cx.queue.add(Job::Revocation(name), Lane::Urgent);
    }
}

/// Whatever names or holds the key is judged anew.
fn look_at_claims(cx: &Context, name: &str) {
    let affected = affected(&cx.index(), name);
    affected.into_iter().for_each(|job| cx.queue.add(job, Lane::Urgent));
}

fn key_of(index: &Index, name: &str) -> Option<CanonicalKey> {
    let revocation = index.world.revocations.get(name)?;
    if let Meant::Key(key) = meant(revocation, &index.world.stores) { Some(key) } else { None }
}

/// Who names or holds the key.
fn affected(index: &Index, name: &str) -> Vec<Job> {
    let Some(key) = key_of(index, name) else { return Vec::new() };
    let claims = index.world.claims_on(&key).map(|claim| Job::Claim(claim.object.clone()));
    let held = index.world.holdings_on(&key).map(|(secret, held)| {
        let claim = index.claims_for(secret).find(|claim| claim.name == held.claim);
        claim.map_or_else(|| Job::Orphan(secret.clone()), |claim| Job::Claim(claim.clone()))
    });
    claims.chain(held).collect()
}

/// Looks how far it is, and says so.
pub async fn reconcile(cx: &Context, name: &str) {
    tell_lifted(cx, name).await;
    let look = look(&cx.index(), name);
    let Some((known, mut observed)) = look else { return };
    if let Err(error) = versions::find(cx, name, &mut observed).await {
        tracing::debug!(revocation = name, error, "a revoked key could not be read; it is tried again");
    }
    let again = || cx.queue.add_at(Job::Revocation(name.to_owned()), tokio::time::Instant::now() + AGAIN);
    match pods::find(cx, &plan::withdrawn(&observed, &known.status, cx.now())).await {
        Ok(pods) => observed.pods = pods,
        Err(error) => {
            tracing::warn!(revocation = name, error = %brief(&error), "the pods of a revoked key could not be looked at; it is tried again");
            return again();
        }
    }
    let status = plan::status(&observed, &known.status, cx.now());
    if status.completion_time.is_none() {
        again();
    }
    if status != known.status {
        let _writing = cx.revoking.lock().await;
        if !write(cx, name, &known, &status).await {
            return again();
        }
    }
    tell_revoked(cx, name).await;
    tell_complete(cx, name, &known, &status).await;
}

/// Writes down that a Secret is about to be taken away, in every revocation that is for it, which is read anew for that. It goes
/// even if that fails: a leak does not wait for a list.
pub async fn list_first(cx: &Context, secret: &ObjectName, held: Option<&Holding>) {
    let names = covering(&cx.index(), secret, held);
    let api: Api<DynamicObject> = Api::all_with(cx.client.clone(), &ApiResource::erase::<KeyRevocation>(&()));
    for name in names {
        let uid = |index: &Index| index.revocations.get(&name).map(|known| known.uid.clone());
        let asked = uid(&cx.index());
        match api.get_opt(&name).await {
            Ok(Some(fresh)) => observe(cx, &fresh, View::Answer),
            // Another of its name may have been made since.
            Ok(None) => gone_if(cx, &name, |known| Some(&known.uid) == asked.as_ref()),
            Err(error) => {
                tracing::debug!(revocation = name, error = %brief(&error), "a KeyRevocation was not read anew")
            }
        }
        let _writing = cx.revoking.lock().await;
        let look = look(&cx.index(), &name);
        let Some((known, mut observed)) = look else { continue };
        let leaked = in_namespace(&secret.namespace, &secret.name);
        let mut standing = known.status.withdrawn.iter().filter(|listed| listed.withdrawal_time.is_none());
        if standing.any(|listed| *listed.namespace == *secret.namespace && *listed.name == *secret.name) {
            continue;
        }
        observed.standing.insert(leaked.clone());
        observed.leaked.insert(leaked);
        observed.pods = known.status.pods.iter().cloned().collect();
        write(cx, &name, &known, &plan::status(&observed, &known.status, cx.now())).await;
    }
}

/// A Secret was taken away: the time of that is noted at once, since pods that start from then on have nothing of it.
pub fn note_gone(cx: &Context, secret: &ObjectName, held: Option<&Holding>) {
    let names = covering(&cx.index(), secret, held);
    names.into_iter().for_each(|name| cx.queue.add(Job::Revocation(name), Lane::Urgent));
}

/// The revocations that are for what a Secret holds, or, where that is not known, for what its claim names.
fn covering(index: &Index, secret: &ObjectName, held: Option<&Holding>) -> BTreeSet<String> {
    let revocations = &index.world.revocations;
    let claimed = index.claims_for(secret).filter_map(|claim| index.world.claim(claim));
    let unknown = |key| KeyVersion::undated(key, "");
    let versions: Vec<KeyVersion> = match held {
        Some(held) => held.versions.to_vec(),
        None => claimed.flat_map(|claim| index.world.canonical_keys(claim)).map(unknown).collect(),
    };
    let names = versions.iter().flat_map(|version| revocations.of_key(&version.key).map(move |name| (name, version)));
    let covers = |name: &str, version| revocations.get(name).is_some_and(|revocation| revocation.covers(version));
    names.filter(|(name, version)| covers(name, version)).map(|(name, _)| name.clone()).collect()
}

/// Whether a revocation of one of these keys has taken this Secret away: pods may run with what it had.
pub fn has_withdrawn<'k>(index: &Index, secret: &ObjectName, mut keys: impl Iterator<Item = &'k CanonicalKey>) -> bool {
    let leaked = in_namespace(&secret.namespace, &secret.name);
    keys.any(|key| {
        let known = index.world.revocations.of_key(key).filter_map(|name| index.revocations.get(name));
        known
            .flat_map(|known| &known.status.withdrawn)
            .any(|w| *w.namespace == leaked.namespace && *w.name == leaked.name)
    })
}

fn look(index: &Index, name: &str) -> Option<(Known, Observed)> {
    let known = index.revocations.get(name)?.clone();
    let revocation = index.world.revocations.get(name)?;
    let mut observed = Observed {
        created: revocation.created,
        generation: known.generation,
        meant: meant(revocation, &index.world.stores),
        standing: BTreeSet::new(),
        leaked: BTreeSet::new(),
        moved: BTreeSet::new(),
        earlier: Vec::new(),
        versions_open: false,
        versions: known.status.revoked_versions.iter().cloned().collect(),
        pods: BTreeSet::new(),
    };
    let Meant::Key(key) = &observed.meant else { return Some((known, observed)) };
    observed.versions_open = key.is_file() && revocation.versions.is_none();
    for (secret, held) in index.world.holdings_on(key) {
        let secret = in_namespace(&secret.namespace, &secret.name);
        for version in held.versions.iter().filter(|v| v.key == *key && revocation.covers(v)) {
            observed.standing.insert(secret.clone());
            if version.is_known() {
                observed.leaked.insert(secret.clone());
            }
            if observed.versions_open && version.is_known() {
                observed.versions.insert(version.id.to_string());
            }
        }
    }
    observed.moved = moved(index, revocation, key);
    // What was withdrawn for a revocation before this one held versions that this one is for, too.
    let others = index.world.revocations.of_key(key).filter(|other| *other != name);
    for other in others.filter_map(|other| Some((index.world.revocations.get(other)?, index.revocations.get(other)?))) {
        if other.0.created <= revocation.created {
            observed.earlier.extend(other.1.status.withdrawn.iter().cloned());
        }
    }
    Some((known, observed))
}

/// The Secrets that hold a revoked version of the key of that name where the store was before it was changed: those of its own claims,
/// and whoever's, where no store reaches that place any more.
fn moved(index: &Index, revocation: &Revocation, key: &CanonicalKey) -> BTreeSet<InNamespace> {
    let world = &index.world;
    let by_this_store = |secret: &ObjectName, held: &Holding| {
        let claim = ObjectName::of(secret.namespace.clone(), held.claim.clone());
        world.claim(&claim).is_some_and(|claim| *claim.store == *revocation.store)
    };
    let mut moved = BTreeSet::new();
    for former in world.former_keys(&revocation.store, key) {
        let is_leaked = |version: &KeyVersion| version.key == former && revocation.covers(version);
        let unreached = !world.is_reached(&former);
        let holders = world.holdings_on(&former).filter(|(_, held)| held.versions.iter().any(is_leaked));
        let meant = holders.filter(|(secret, held)| unreached || by_this_store(secret, held));
        moved.extend(meant.map(|(secret, _)| in_namespace(&secret.namespace, &secret.name)));
    }
    moved
}

fn in_namespace(namespace: &str, name: &str) -> InNamespace {
    InNamespace { namespace: namespace.to_owned(), name: name.to_owned() }
}

/// Whether it was written. Called with [`Context::revoking`] held.
async fn write(cx: &Context, name: &str, known: &Known, status: &KeyRevocationStatus) -> bool {
    if !cx.leads() {
        return false;
    }
    let object = json!({
        "apiVersion": format!("{GROUP}/v1alpha1"),
        "kind": "KeyRevocation",
        "metadata": {"name": name, "uid": known.uid, "resourceVersion": known.resource_version},
        "spec": known.spec,
        "status": status,
    });
    let Ok(object) = serde_json::from_value::<DynamicObject>(object) else { return false };
    let api: Api<DynamicObject> = Api::all_with(cx.client.clone(), &ApiResource::erase::<KeyRevocation>(&()));
    let params = PostParams { field_manager: Some(FIELD_MANAGER.into()), ..PostParams::default() };
    record_news(cx, name, known, status);
    match api.replace_status(name, &params, &object).await {
        Ok(written) => {
            observe(cx, &written, View::Answer);
            true
        }
        // Its event is on the way; it may not be over by then.
        Err(kube::Error::Api(refusal)) if [404, 409].contains(&refusal.code) => {
            if let Some(kept) = cx.index_mut().revocations.get_mut(name).filter(|kept| kept.uid == known.uid) {
                kept.recorded.complete = false;
            }
            false
        }
        Err(error) => {
            tracing::warn!(revocation = name, error = %brief(&error), "the status of a KeyRevocation was not written; it is tried again");
            false
        }
    }
}

/// What status is about to say for the first time, into the record: once a process, unless it came undone.
fn record_news(cx: &Context, name: &str, known: &Known, status: &KeyRevocationStatus) {
    let completes = known.status.completion_time.is_none() && status.completion_time.is_some();
    let news = [(What::KeyRevoked, known.status.conditions.is_empty()), (What::RevocationComplete, completes)];
    for (what, _) in news.into_iter().filter(|(_, is_news)| *is_news) {
        let told = {
            let mut index = cx.index_mut();
            // Of another revision the write is refused, and what it would say is looked at anew.
            let is_known =
                |kept: &&mut Known| (&kept.uid, &kept.resource_version) == (&known.uid, &known.resource_version);
            let Some(kept) = index.revocations.get_mut(name).filter(is_known) else { continue };
            let told = if what == What::KeyRevoked { &mut kept.recorded.revoked } else { &mut kept.recorded.complete };
            std::mem::replace(told, true)
        };
        if !told {
            record(cx, what, name, known);
        }
    }
}

/// Into the record, with the key as the KeyRevocation names it.
fn record(cx: &Context, what: What, name: &str, known: &Known) {
    let key = known.spec.get("key").and_then(|key| key.as_str()).unwrap_or_default();
    cx.record(Happening::of(what).cluster("KeyRevocation", name).key(key));
}

/// One event when it has begun: once that is on the record, which who takes a Secret away may have seen to, and does not wait for this.
async fn tell_revoked(cx: &Context, name: &str) {
    let news = {
        let mut index = cx.index_mut();
        let untold = |kept: &&mut Known| kept.recorded.revoked && !kept.recorded.told;
        index.revocations.get_mut(name).filter(untold).map(|kept| {
            kept.recorded.told = true;
            (kept.uid.clone(), how_far(&kept.status).to_owned())
        })
    };
    if let Some((uid, how_far)) = news {
        let text = format!("a revocation of the key has begun: {how_far}");
        publish(cx, name, &uid, EventType::Warning, Reason::KeyRevoked, &text).await;
    }
}

/// One event when it is over.
async fn tell_complete(cx: &Context, name: &str, known: &Known, status: &KeyRevocationStatus) {
    if status.completion_time.is_some() && known.status.completion_time.is_none() {
        publish(cx, name, &known.uid, EventType::Normal, Reason::RevocationComplete, how_far(status)).await;
    }
}

/// One event of each of this name that was lifted. It is gone by then.
async fn tell_lifted(cx: &Context, name: &str) {
    let lifted = cx.index_mut().lifted.remove(name).unwrap_or_default();
    for uid in lifted {
        let text = "the KeyRevocation was deleted: what it was for may be projected again";
        publish(cx, name, &uid, EventType::Normal, Reason::RevocationLifted, text).await;
    }
}

/// How far a revocation is, as its status says it.
fn how_far(status: &KeyRevocationStatus) -> &str {
    status.conditions.iter().find(|c| c.type_ == "Complete").map_or("", |c| &c.message)
}

async fn publish(cx: &Context, name: &str, uid: &str, type_: EventType, reason: Reason, message: &str) {
    let about = ObjectRef {
        api_version: format!("{GROUP}/v1alpha1"),
        kind: "KeyRevocation".into(),
        namespace: None,
        name: name.to_owned(),
    };
    let told = Told { about: &about, uid: Some(uid), type_, reason: reason.as_str(), action: "Revoke", message };
    events::publish(cx, told).await;
}
