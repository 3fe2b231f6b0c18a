//! KeyRevocations: takes every projection of a leaked key away, and follows it until nothing holds an old value.
//!
//! What goes, and that it stays gone, follows from the revocation itself (`segmentation/revoked.rs`) as soon as the watch has seen
//! it. This job says so: what was withdrawn, which pods still run with it, and when it was over.

mod plan;

use super::context::{Context, Job};
use super::events::{self, Told};
use super::index::Index;
use super::queue::Lane;
use super::scan::running;
use super::store::brief;
use super::watch::View;
use crate::api::key_revocation::{InNamespace, KeyRevocation, KeyRevocationStatus};
use crate::api::{FIELD_MANAGER, GROUP, Reason};
use crate::provider::Ask;
use crate::segmentation::key::{CanonicalKey, RemoteKey};
use crate::segmentation::references::of_pods;
use crate::segmentation::revoked::{Meant, Revocation, meant};
use crate::segmentation::violation::ObjectRef;
use crate::segmentation::world::{ObjectName, StoreState};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, ApiResource, DynamicObject, ListParams, PostParams};
use kube::runtime::events::EventType;
use plan::Observed;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
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
    };
    let versions = Some(&known.status.revoked_versions).filter(|list| !list.is_empty());
    let revoked = Revocation {
        store: revocation.spec.store_ref.name,
        key,
        created: object.creation_timestamp().map_or(Timestamp::MAX, |made| made.0),
        versions: versions.map(|list| list.iter().cloned().collect()),
    };
    let mut index = cx.index_mut();
    let before = index.revocations.get(&name);
    if before.is_some_and(|b| b.uid == known.uid && view.is_passed_over(&known.resource_version, &b.resource_version)) {
        return;
    }
    let changed = index.world.revocations.get(&name) != Some(&revoked);
    index.world.put_revocation(&name, Some(revoked));
    index.revocations.insert(name.clone(), known);
    drop(index);
    if changed {
        look_at_claims(cx, &name);
    }
    cx.queue.add(Job::Revocation(name), Lane::Urgent);
}

/// A KeyRevocation is gone: what it was for may be projected again.
pub fn gone(cx: &Context, name: &str) {
    let affected = affected(&cx.index(), name);
    let mut index = cx.index_mut();
    index.world.put_revocation(name, None);
    index.revocations.remove(name);
    drop(index);
    let claims =
        affected.into_iter().filter_map(|(job, _)| if let Job::Claim(claim) = job { Some(claim) } else { None });
    cx.retry(claims.collect());
}

/// Queues those that are picked.
pub fn queue(cx: &Context, pick: impl Fn(&Revocation) -> bool) {
    let index = cx.index();
    let revocations = &index.world.revocations;
    let names: Vec<String> =
        revocations.names().filter(|name| revocations.get(name).is_some_and(&pick)).cloned().collect();
    drop(index);
    for name in names {
        look_at_claims(cx, &name);
        cx.queue.add(Job::Revocation(name), Lane::Urgent);
    }
}

/// Whatever names or holds the key is judged anew.
fn look_at_claims(cx: &Context, name: &str) {
    let affected = affected(&cx.index(), name);
    affected.into_iter().for_each(|(job, _)| cx.queue.add(job, Lane::Urgent));
}

fn key_of(index: &Index, name: &str) -> Option<CanonicalKey> {
    let revocation = index.world.revocations.get(name)?;
    if let Meant::Key(key) = meant(revocation, &index.world.stores) { Some(key) } else { None }
}

/// Who names or holds the key, each with its Secret.
fn affected(index: &Index, name: &str) -> Vec<(Job, ObjectName)> {
    let Some(key) = key_of(index, name) else { return Vec::new() };
    let claims = index.world.claims_on(&key).map(|claim| {
        let secret = ObjectName { namespace: claim.object.namespace.clone(), name: claim.target.clone() };
        (Job::Claim(claim.object.clone()), secret)
    });
    let held = index.world.holdings_on(&key).map(|(secret, held)| {
        let claim = ObjectName { namespace: secret.namespace.clone(), name: held.claim.clone() };
        let job = if index.claims.contains_key(&claim) { Job::Claim(claim) } else { Job::Orphan(secret.clone()) };
        (job, secret.clone())
    });
    claims.chain(held).collect()
}

/// Looks how far it is, and says so.
pub async fn reconcile(cx: &Context, name: &str) {
    let Some((known, mut observed)) = look(cx, name) else { return };
    if let Err(error) = find_versions(cx, name, &mut observed).await {
        tracing::debug!(revocation = name, error, "a revoked key could not be read; it is tried again");
    }
    match pods(cx, name, &known.status, &observed).await {
        Ok(pods) => observed.pods = pods,
        Err(error) => {
            tracing::warn!(revocation = name, error = %brief(&error), "the pods of a revoked key could not be looked at; it is tried again");
            cx.queue.add_at(Job::Revocation(name.to_owned()), tokio::time::Instant::now() + AGAIN);
            return;
        }
    }
    let status = plan::status(&observed, &known.status, cx.now());
    let open = status.completion_time.is_none();
    if status != known.status {
        write(cx, name, &known, &status).await;
    }
    if open {
        cx.queue.add_at(Job::Revocation(name.to_owned()), tokio::time::Instant::now() + AGAIN);
    }
}

fn look(cx: &Context, name: &str) -> Option<(Known, Observed)> {
    let index = cx.index();
    let known = index.revocations.get(name)?.clone();
    let revocation = index.world.revocations.get(name)?;
    let meant = meant(revocation, &index.world.stores);
    let mut standing = BTreeSet::new();
    if let Meant::Key(key) = &meant {
        let held = index.world.holdings_on(key);
        let leaked = held.filter(|(_, held)| held.versions.iter().any(|v| v.key == *key && revocation.covers(v)));
        standing.extend(leaked.map(|(secret, _)| in_namespace(&secret.namespace, &secret.name)));
    }
    let observed = Observed {
        created: revocation.created,
        generation: known.generation,
        meant,
        standing,
        versions_open: false,
        versions: revocation.versions.clone().unwrap_or_default(),
        pods: BTreeSet::new(),
    };
    Some((known, observed))
}

fn in_namespace(namespace: &str, name: &str) -> InNamespace {
    InNamespace { namespace: namespace.to_owned(), name: name.to_owned() }
}

/// A directory of files has no dates: what is there now, and what was projected, is revoked.
async fn find_versions(cx: &Context, name: &str, observed: &mut Observed) -> Result<(), String> {
    let Meant::Key(key) = observed.meant.clone() else { return Ok(()) };
    if !key.is_file() || !observed.versions.is_empty() {
        return Ok(());
    }
    observed.versions_open = true;
    let (store, ask) = {
        let index = cx.index();
        let revocation = index.world.revocations.get(name).ok_or("it is gone")?;
        let realm = index.world.stores.get(&revocation.store).and_then(StoreState::realm).ok_or("no store")?;
        let (_, ask) = realm.resolve(&revocation.key).map_err(|why| why.to_string())?;
        let held = index.world.holdings_on(&key).flat_map(|(_, held)| held.versions.iter());
        observed.versions.extend(held.filter(|v| v.key == key && !v.id.is_empty()).map(|v| v.id.to_string()));
        (revocation.store.clone(), ask)
    };
    let keys = cx.keys().ok_or("there is no seal key yet")?;
    let provider = cx.providers.connect(&store, None, &keys).await.map_err(|failure| failure.message)?;
    match provider.fetch(Ask::current(ask)).await {
        Ok(answer) => observed.versions.extend([answer.version_id.clone()]),
        // What is not there now cannot be known again by its digest: what comes is new.
        Err(error) if !observed.versions.is_empty() => tracing::debug!(%error, "a revoked key has no current version"),
        Err(error) => return Err(error.to_string()),
    }
    observed.versions_open = false;
    Ok(())
}

/// The pods that were started while a revoked version was in their Secret, and still run.
async fn pods(
    cx: &Context,
    name: &str,
    old: &KeyRevocationStatus,
    observed: &Observed,
) -> Result<BTreeSet<InNamespace>, kube::Error> {
    let mut secrets: BTreeMap<String, BTreeMap<String, Timestamp>> = BTreeMap::new();
    {
        let index = cx.index();
        let withdrawn = old.withdrawn.iter().chain(&observed.standing).cloned();
        for InNamespace { namespace, name } in withdrawn {
            let secret = ObjectName::new(&namespace, &name);
            secrets.entry(namespace).or_default().insert(name, renewed(&index, &secret));
        }
        // Those that were withdrawn and are not listed, since the operator ended in between.
        let refused = affected(&index, name).into_iter().filter_map(|(job, secret)| match job {
            Job::Claim(claim) if index.claims.get(&claim)?.status.ready_reason() == Some(Reason::KeyRevoked) => {
                Some(secret)
            }
            _ => None,
        });
        for secret in refused {
            let until = renewed(&index, &secret);
            secrets.entry(secret.namespace.to_string()).or_default().insert(secret.name.to_string(), until);
        }
    }
    let mut found = BTreeSet::new();
    for (namespace, secrets) in secrets {
        let api: Api<Pod> = Api::namespaced(cx.client.clone(), &namespace);
        let mut token = None;
        loop {
            let params = ListParams { limit: Some(100), continue_token: token, ..ListParams::default() };
            let page = api.list(&params).await?;
            for pod in &page.items {
                let started = pod.status.as_ref().and_then(|status| status.start_time.as_ref());
                let (Some(spec), Some(started)) = (running(pod), started) else { continue };
                if of_pods(spec).iter().any(|secret| secrets.get(*secret).is_some_and(|until| started.0 < *until)) {
                    found.insert(in_namespace(&namespace, &pod.name_any()));
                }
            }
            token = page.metadata.continue_.filter(|next| !next.is_empty());
            if token.is_none() {
                break;
            }
        }
    }
    Ok(found)
}

/// From when on a pod that starts has a newer version: the last change of the Secret, once it has one.
fn renewed(index: &Index, secret: &ObjectName) -> Timestamp {
    let held = index.world.holding(secret);
    let clean = held.is_some_and(|held| !held.versions.iter().any(|version| index.world.revocations.revoke(version)));
    let claims = index.claims_for(secret).filter_map(|claim| index.claims.get(claim));
    let changed = claims.filter_map(|record| record.status.recall().last_change_time.map(|time| time.0)).max();
    changed.filter(|_| clean).unwrap_or(Timestamp::MAX)
}

async fn write(cx: &Context, name: &str, known: &Known, status: &KeyRevocationStatus) {
    if !cx.leads() {
        return;
    }
    let object = json!({
        "apiVersion": format!("{GROUP}/v1alpha1"),
        "kind": "KeyRevocation",
        "metadata": {"name": name, "uid": known.uid, "resourceVersion": known.resource_version},
        "spec": known.spec,
        "status": status,
    });
    let Ok(object) = serde_json::from_value::<DynamicObject>(object) else { return };
    let api: Api<DynamicObject> = Api::all_with(cx.client.clone(), &ApiResource::erase::<KeyRevocation>(&()));
    let params = PostParams { field_manager: Some(FIELD_MANAGER.into()), ..PostParams::default() };
    match api.replace_status(name, &params, &object).await {
        Ok(written) => {
            observe(cx, &written, View::Newest);
            tell(cx, name, known, status).await;
        }
        // Its event is on the way.
        Err(kube::Error::Api(refusal)) if [404, 409].contains(&refusal.code) => {}
        Err(error) => {
            tracing::warn!(revocation = name, error = %brief(&error), "the status of a KeyRevocation was not written; it is tried again");
        }
    }
}

/// One event when it is over.
async fn tell(cx: &Context, name: &str, known: &Known, status: &KeyRevocationStatus) {
    if status.completion_time.is_none() || known.status.completion_time.is_some() {
        return;
    }
    let about = ObjectRef {
        api_version: format!("{GROUP}/v1alpha1"),
        kind: "KeyRevocation".into(),
        namespace: None,
        name: name.to_owned(),
    };
    let message = status.conditions.iter().find(|c| c.type_ == "Complete").map_or("", |c| &c.message);
    let (reason, action, type_) = (Reason::RevocationComplete.as_str(), "Revoke", EventType::Normal);
    events::publish(cx, Told { about: &about, uid: Some(&known.uid), type_, reason, action, message }).await;
}
