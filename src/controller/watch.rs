//! The watches: what they see goes into the index as compact records; whatever it may change is queued.
//!
//! Our own kinds are watched as plain JSON and decoded one by one: an object that cannot be decoded must not hide the others.

use super::context::{Context, Job};
use super::index::{Gone, Index, OnDemand, PolicyFacts, accept_violations, is_older, object_name, secret_facts};
use super::queue::Lane;
use super::report;
use super::revocation;
use super::scoped_secret::told::Told;
use super::seen_claim::SeenClaim;
use super::served::Place;
use super::synced::Synced;
use super::{foreign, grant, guard, joined};
use super::{keys, providers::declared_realm, watch_grants, watch_rbac};
use crate::api::segment_guard::SEGMENT_GUARD;
use crate::api::{
    KeyRevocation, MANAGED_BY, MANAGED_BY_LABEL, ScopedSecret, ScopedSecretStore, SecretGrant, SegmentGuard,
    SegmentGuardSpec, SegmentationPolicy, SegmentationReport,
};
use crate::segmentation::policy::Policy;
use crate::segmentation::world::ObjectName;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, ApiResource, DynamicObject, ListParams};
use kube::core::PartialObjectMeta;
use kube::runtime::WatchStreamExt;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Config, Event};
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Runs every watch until the process ends. Where it is asked for, all list anew.
pub async fn run(cx: Arc<Context>, synced: watch::Sender<Synced>) {
    loop {
        tokio::select! {
            () = follow_all(&cx, &synced) => return,
            () = cx.relist.notified() => {}
            () = cx.leadership.set_back() => {}
        }
        synced.send_modify(|s| *s = s.begun_anew());
    }
}

async fn follow_all(cx: &Arc<Context>, synced: &watch::Sender<Synced>) {
    let done = |name: &'static str| {
        let synced = synced.clone();
        move || {
            synced.send_if_modified(|s| s.note(name, Instant::now()));
        }
    };
    tokio::join!(
        policies(cx, done("policies")),
        stores(cx, done("stores")),
        namespaces(cx, done("namespaces")),
        secrets(cx, done("secrets")),
        claims(cx, done("claims")),
        guards(cx, done("guards")),
        reports(cx, done("reports")),
        revocations(cx, done("revocations")),
        watch_grants::grants(cx, namespaced::<SecretGrant>(cx), done("grants")),
        watch_grants::roles(cx, done("grants' roles")),
        watch_grants::bindings(cx, done("grants' bindings")),
        own_secrets(cx, done("own")),
        watch_rbac::roles::<Role>(cx, cx.served.namespaced(&cx.client), "Role", false, done("roles")),
        watch_rbac::roles::<ClusterRole>(cx, whole_cluster(cx), "ClusterRole", true, done("clusterroles")),
        watch_rbac::bindings::<RoleBinding>(
            cx,
            cx.served.namespaced(&cx.client),
            "RoleBinding",
            false,
            done("rolebindings")
        ),
        watch_rbac::bindings::<ClusterRoleBinding>(
            cx,
            whole_cluster(cx),
            "ClusterRoleBinding",
            true,
            done("clusterrolebindings")
        ),
        // No part of readiness: most clusters have none, and what has not been read yet counts as outside.
        foreign::run(cx),
    );
}

/// Feeds a watch: objects that are there, objects that went, and the end of each full listing.
pub(super) async fn follow<K: Clone, S>(what: &'static str, stream: S, mut each: impl FnMut(Seen<K>))
where
    S: Stream<Item = Result<Event<K>, watcher::Error>>,
{
    let mut stream = std::pin::pin!(stream);
    while let Some(event) = stream.next().await {
        match event {
            Ok(Event::Apply(object)) => each(Seen::There(object)),
            Ok(Event::Delete(object)) => each(Seen::Gone(object)),
            Ok(Event::Init) => each(Seen::ListBegins),
            Ok(Event::InitApply(object)) => each(Seen::Listed(object)),
            Ok(Event::InitDone) => each(Seen::ListEnds),
            Err(error) => {
                tracing::warn!(what, error = %error, "a watch was interrupted; it is resumed");
                each(Seen::Broken(missing_kind(&error)));
            }
        }
    }
}

/// How an object came into view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// In a full listing: what is there, even if it is older than what was known (etcd was restored from a backup).
    Listed,
    /// By itself: an older view of what is known already says nothing.
    Newest,
    /// In the answer to a request of ours: nor does one of what its watch has seen to go meanwhile.
    Answer,
}

impl View {
    /// Whether what is seen at one revision says nothing beside what is known at another.
    pub fn is_passed_over(self, seen: &str, known: &str) -> bool {
        self != Self::Listed && is_older(seen, known)
    }

    /// Likewise where nothing may be known of it: it may have gone meanwhile.
    pub fn says_nothing(self, seen: &ObjectMeta, known: Option<&str>, gone: &Gone) -> bool {
        let revision = seen.resource_version.as_deref().unwrap_or_default();
        match known {
            Some(known) => self.is_passed_over(revision, known),
            None => self == Self::Answer && gone.is_after(seen.uid.as_deref().unwrap_or_default(), revision),
        }
    }
}

pub(super) enum Seen<K> {
    There(K),
    Listed(K),
    Gone(K),
    ListBegins,
    ListEnds,
    /// Interrupted; true if the kind itself is gone.
    Broken(bool),
}

fn missing_kind(error: &watcher::Error) -> bool {
    let api = |e: &kube::Error| matches!(e, kube::Error::Api(status) if status.code == 404);
    match error {
        watcher::Error::InitialListFailed(e) | watcher::Error::WatchStartFailed(e) | watcher::Error::WatchFailed(e) => {
            api(e)
        }
        watcher::Error::WatchError(status) => status.code == 404,
        _ => false,
    }
}

/// Small pages: a page is in memory as a whole before the first of its objects is a record.
pub(super) fn pages() -> Config {
    Config::default().page_size(100)
}

/// When a watch that failed asks anew: as the library does by default, but after ten seconds at most instead of a minute, since
/// nothing is decided in the meantime. So few requests do not slow down an API server that is away.
#[derive(Default)]
pub(super) struct Patience(watcher::DefaultBackoff);

impl Iterator for Patience {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.0.next().map(|wait| wait.min(Duration::from_secs(10)))
    }
}

impl Backoff for Patience {
    fn reset(&mut self) {
        self.0.reset();
    }
}

fn dynamic<K: Resource<DynamicType = ()>>(cx: &Context) -> Api<DynamicObject> {
    Api::all_with(cx.client.clone(), &ApiResource::erase::<K>(&()))
}

fn objects<K: Resource<DynamicType = ()>>(
    cx: &Context,
) -> impl Stream<Item = Result<Event<DynamicObject>, watcher::Error>> + use<K> {
    let stream = watcher::watcher(dynamic::<K>(cx), pages()).backoff(Patience::default());
    stream.modify(|object| object.managed_fields_mut().clear())
}

/// A kind in the whole cluster.
fn whole_cluster<K: Resource<DynamicType = ()>>(cx: &Context) -> Vec<Place<K>> {
    Place::everywhere(Api::all(cx.client.clone()))
}

/// Likewise of a namespaced kind, where it is served.
fn namespaced<'c, K: Resource<DynamicType = ()>>(
    cx: &'c Context,
) -> impl Stream<Item = Result<Event<DynamicObject>, watcher::Error>> + use<'c, K> {
    let places = cx.served.namespaced_with(&cx.client, &ApiResource::erase::<K>(&()));
    places_watched(cx, places, pages()).modify(|object| object.managed_fields_mut().clear())
}

/// Watches a kind in each of these places, as one.
pub(super) fn places_watched<K>(
    cx: &Context,
    places: Vec<Place<K>>,
    config: Config,
) -> BoxStream<'_, Result<Event<K>, watcher::Error>>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let absent = |namespace: &str| {
        let index = cx.index();
        index.namespaces_synced && !index.world.namespaces.contains_key(namespace)
    };
    joined::watch(places, config, absent)
}

async fn policies(cx: &Context, synced: impl Fn()) {
    let mut listed: BTreeSet<String> = BTreeSet::new();
    follow("SegmentationPolicy", objects::<SegmentationPolicy>(cx), |seen| match seen {
        Seen::ListBegins => listed.clear(),
        Seen::Listed(object) => {
            listed.insert(object.name_any());
            observe_policy(cx, &object, View::Listed);
        }
        Seen::ListEnds => {
            let gone: Vec<String> = cx.index().policies.keys().filter(|p| !listed.contains(*p)).cloned().collect();
            let mut index = cx.index_mut();
            gone.iter().for_each(|name| index.remove_policy(name));
            index.set_policies_synced(true);
            drop(index);
            synced();
            judge_all(cx);
        }
        Seen::There(object) => {
            let changed = observe_policy(cx, &object, View::Newest);
            // They may have been unknown because there was none.
            let known_again = !std::mem::replace(&mut cx.index_mut().world.policies_synced, true);
            if changed || known_again {
                judge_all(cx);
            }
        }
        Seen::Gone(object) => {
            observe_policy(cx, &object, View::Newest);
            let mut index = cx.index_mut();
            index.gone.note(&object.metadata);
            index.remove_policy(&object.name_any());
            drop(index);
            judge_all(cx);
        }
        Seen::Broken(kind_gone) => {
            if kind_gone {
                cx.index_mut().set_policies_synced(false);
                judge_all(cx);
            }
        }
    })
    .await;
}

/// Takes a policy into the index; true if it decides differently now.
fn observe_policy(cx: &Context, object: &DynamicObject, view: View) -> bool {
    let name = object.name_any();
    let decoded: Result<SegmentationPolicy, _> = object.clone().try_parse();
    let (compiled, accepted) = match &decoded {
        Ok(policy) => (
            Policy::compile(&name, &policy.spec).map_err(|why| why.to_string()),
            policy.status.as_ref().and_then(|s| s.accepted.clone()),
        ),
        Err(_) => (Err("the object cannot be decoded".to_owned()), None),
    };
    if let Err(why) = &compiled {
        tracing::warn!(
            policy = name,
            why,
            "a policy cannot be understood: nothing new is granted, nothing is withdrawn"
        );
    }
    let resource_version = object.metadata.resource_version.clone().unwrap_or_default();
    let says_nothing = |index: &Index| {
        let known = index.policies.get(&name).map(|known| &*known.resource_version);
        view.says_nothing(&object.metadata, known, &index.gone)
    };
    if says_nothing(&cx.index()) {
        return false;
    }
    let facts = PolicyFacts {
        generation: object.metadata.generation.unwrap_or(0),
        accept: accept_violations(&object.metadata),
        alone: false,
        set: false,
        accepted,
        resource_version,
        deleting: object.metadata.deletion_timestamp.is_some(),
    };
    // Counting what it withdraws takes a while: others read meanwhile, and a newer one may come.
    let serves = cx.index().acceptance_serves(&name, &compiled, &facts, cx.now());
    let mut index = cx.index_mut();
    if says_nothing(&index) {
        return false;
    }
    let before = (index.world.policies.get(&name).cloned(), index.policies.get(&name).map(|f| f.accept.clone()));
    index.put_policy(&name, compiled, facts, serves);
    let after = (index.world.policies.get(&name).cloned(), index.policies.get(&name).map(|f| f.accept.clone()));
    drop(index);
    cx.queue.add(Job::Policy(name), Lane::Urgent);
    before != after
}

/// Reads every policy anew.
pub async fn relist_policies(cx: &Context) -> Result<(), kube::Error> {
    let list = dynamic::<SegmentationPolicy>(cx).list(&ListParams::default()).await?;
    let names: BTreeSet<String> = list.items.iter().map(ResourceExt::name_any).collect();
    let mut changed = false;
    for object in &list.items {
        changed |= observe_policy(cx, object, View::Answer);
    }
    let as_of = list.metadata.resource_version.unwrap_or_default();
    let mut index = cx.index_mut();
    // What the watch has seen come since is not gone.
    let listed_away =
        |(name, facts): &(&String, &PolicyFacts)| !names.contains(*name) && is_older(&facts.resource_version, &as_of);
    let gone: Vec<String> = index.policies.iter().filter(listed_away).map(|(name, _)| name.clone()).collect();
    gone.iter().for_each(|name| index.remove_policy(name));
    if !index.world.policies_synced {
        index.set_policies_synced(true);
        changed = true;
    }
    drop(index);
    if changed || !gone.is_empty() {
        judge_all(cx);
    }
    Ok(())
}

/// Every claim is judged anew, and every Secret without one.
pub(super) fn judge_all(cx: &Context) {
    cx.requeue_claims(|_| true, Lane::Urgent);
    requeue_orphans(cx, |_| true);
    guard::queue_all(cx);
    grant::queue_all(cx);
    cx.publish_governed();
}

/// Secrets without an owner may have lost their ScopedSecret.
pub(super) fn requeue_orphans(cx: &Context, pick: impl Fn(&ObjectName) -> bool) {
    let index = cx.index();
    let ownerless = index.secrets.iter().filter(|(name, secret)| secret.owner.is_none() && pick(name));
    let orphans: Vec<ObjectName> = ownerless.map(|(name, _)| name.clone()).collect();
    drop(index);
    orphans.into_iter().for_each(|name| cx.queue.add(Job::Orphan(name), Lane::Routine));
}

async fn stores(cx: &Context, synced: impl Fn()) {
    let mut listed: BTreeSet<String> = BTreeSet::new();
    follow("ScopedSecretStore", objects::<ScopedSecretStore>(cx), |seen| match seen {
        Seen::ListBegins => listed.clear(),
        Seen::Listed(object) | Seen::There(object) => {
            listed.insert(object.name_any());
            observe_store(cx, object);
        }
        Seen::Gone(object) => store_gone(cx, &object.name_any()),
        Seen::ListEnds => {
            let gone: Vec<String> = cx.index().world.stores.keys().filter(|s| !listed.contains(*s)).cloned().collect();
            for name in gone {
                store_gone(cx, &name);
            }
            synced();
        }
        Seen::Broken(_) => {}
    })
    .await;
}

fn observe_store(cx: &Context, object: DynamicObject) {
    let name = object.name_any();
    let Ok(store) = object.try_parse::<ScopedSecretStore>() else {
        tracing::warn!(store = name, "a store cannot be decoded; what is known of it stays");
        return;
    };
    let declared = declared_realm(&store.spec);
    if cx.providers.put(&name, store.spec) {
        cx.index_mut().put_store(&name, declared);
        requeue_store(cx, &name);
    }
    cx.queue.add(Job::Store(name), Lane::Urgent);
}

fn store_gone(cx: &Context, name: &str) {
    cx.providers.remove(name);
    cx.index_mut().put_store(name, None);
    requeue_store(cx, name);
}

fn requeue_store(cx: &Context, name: &str) {
    // Who names it, and who makes a value that others may read by it now.
    cx.requeue_known(|claim| &*claim.store == name || claim.rotates.is_some());
    revocation::queue(cx, |revocation| revocation.store == name);
}

async fn namespaces(cx: &Context, synced: impl Fn()) {
    let stream = watcher::watcher(Api::<PartialObjectMeta<Namespace>>::all(cx.client.clone()), pages())
        .backoff(Patience::default());
    let mut listed: BTreeSet<String> = BTreeSet::new();
    follow("Namespace", stream, |seen: Seen<PartialObjectMeta<Namespace>>| match seen {
        Seen::ListBegins => listed.clear(),
        Seen::Listed(object) => {
            listed.insert(object.name_any());
            observe_namespace(cx, &object.metadata, View::Listed);
        }
        Seen::There(object) => observe_namespace(cx, &object.metadata, View::Newest),
        Seen::Gone(object) => {
            cx.index_mut().gone.note(&object.metadata);
            forget_namespace(cx, &object.name_any());
        }
        Seen::ListEnds => {
            let gone: Vec<Arc<str>> =
                cx.index().world.namespaces.keys().filter(|n| !listed.contains(&***n)).cloned().collect();
            gone.iter().for_each(|name| forget_namespace(cx, name));
            cx.index_mut().namespaces_synced = true;
            synced();
        }
        Seen::Broken(_) => {}
    })
    .await;
}

/// Takes a namespace's labels into the index, if it is served; its claims, and those that may have waited for them, are judged anew.
pub fn observe_namespace(cx: &Context, metadata: &ObjectMeta, view: View) {
    let Some(name) = metadata.name.as_deref().filter(|name| cx.served.holds(name)) else { return };
    let labels: BTreeMap<String, String> = metadata.labels.clone().unwrap_or_default();
    let revision = metadata.resource_version.as_deref().unwrap_or_default();
    let mut index = cx.index_mut();
    if view.says_nothing(metadata, index.namespace_revisions.get(name).map(|known| &**known), &index.gone) {
        return;
    }
    let changed = index.put_namespace(name, labels, metadata.deletion_timestamp.is_some(), revision, cx.now());
    index.namespace_uids.insert(name.into(), metadata.uid.as_deref().unwrap_or_default().into());
    drop(index);
    if changed {
        cx.requeue_claims(|claim| &*claim.namespace == name, Lane::Urgent);
        guard::queue(cx, name);
        // A value that it shares within its segment may be shared across two now.
        let index = cx.index();
        let held = index.world.holdings_in(name);
        let rivals: Vec<ObjectName> = held.flat_map(|(secret, held)| index.rivals(secret, held)).collect();
        drop(index);
        cx.retry(rivals);
        requeue_orphans(cx, |secret| &*secret.namespace == name);
    }
}

fn forget_namespace(cx: &Context, name: &str) {
    cx.index_mut().remove_namespace(name);
    cx.guards.forget(name);
}

async fn claims(cx: &Context, synced: impl Fn()) {
    let mut listed: BTreeSet<ObjectName> = BTreeSet::new();
    let stream = places_watched(cx, cx.served.namespaced::<SeenClaim>(&cx.client), pages());
    follow("ScopedSecret", stream, |seen: Seen<SeenClaim>| match seen {
        Seen::ListBegins => listed.clear(),
        Seen::Listed(object) => {
            listed.extend(object_name(&object.metadata));
            observe_claim(cx, object, View::Listed);
        }
        Seen::There(object) => observe_claim(cx, object, View::Newest),
        Seen::Gone(object) => {
            if let Some(name) = object_name(&object.metadata) {
                claim_gone(cx, &name);
            }
        }
        Seen::ListEnds => {
            let gone: Vec<ObjectName> = cx.index().claims.keys().filter(|c| !listed.contains(*c)).cloned().collect();
            gone.iter().for_each(|name| claim_gone(cx, name));
            listed.clear();
            synced();
        }
        Seen::Broken(_) => {}
    })
    .await;
}

/// Takes in the answer to a request of ours.
pub fn learn_claim(cx: &Context, answer: ScopedSecret) {
    let ScopedSecret { metadata, spec, status } = answer;
    observe_claim(cx, SeenClaim { metadata, spec: Some(spec), status }, View::Answer);
}

fn observe_claim(cx: &Context, object: SeenClaim, view: View) {
    let SeenClaim { metadata, spec, status } = object;
    let Some(name) = object_name(&metadata) else { return };
    let revision = metadata.resource_version.as_deref().unwrap_or_default();
    let mut index = cx.index_mut();
    let before =
        index.claims.get(&name).map(|r| (r.uid.clone(), r.generation, r.asks.clone(), r.deleting, r.status.clone()));
    if view == View::Answer && before.as_ref().is_none_or(|(uid, ..)| Some(&**uid) != metadata.uid.as_deref()) {
        // Its event says that it came, or that it went, or that another followed it.
        return;
    }
    let same_uid = before.as_ref().is_some_and(|(uid, ..)| Some(&**uid) == metadata.uid.as_deref());
    let known = index.claims.get(&name).filter(|_| same_uid);
    if known.is_some_and(|known| view.is_passed_over(revision, &known.resource_version)) {
        return;
    }
    let absent = known.map(|known| known.resource_version.clone());
    let waiting = rivals(&index, &name);
    if let Some((uid, ..)) = &before
        && Some(&**uid) != metadata.uid.as_deref()
    {
        index.gone.note_absence(uid);
    }
    match spec {
        Some(spec) => index.put_claim(&ScopedSecret { metadata, spec, status }),
        None => index.put_broken_claim(&metadata, status.as_ref().map(Told::of).unwrap_or_default()),
    }
    // As the index has it, for the queue and what is remembered.
    let name = index.shared(name);
    let after =
        index.claims.get(&name).map(|r| (r.uid.clone(), r.generation, r.asks.clone(), r.deleting, r.status.clone()));
    let edited = before.as_ref().map(|b| b.1) != after.as_ref().map(|a| a.1);
    // Whoever makes the value of a key hears of those that come to read it. In a listing all are about to be looked at.
    let makers = if edited && view == View::Newest { rivals(&index, &name) } else { Vec::new() };
    let rotates = |claim: &ObjectName| index.world.claim(claim).is_some_and(|claim| claim.rotates.is_some());
    let makers: Vec<ObjectName> = makers.into_iter().filter(rotates).collect();
    drop(index);
    let asks = |asks: &Option<Box<OnDemand>>| asks.as_ref().is_some_and(|asks| asks.revoke);
    if same_uid
        && before.as_ref().is_some_and(|b| !asks(&b.2))
        && let Some(came) = after.as_ref().filter(|a| asks(&a.2))
    {
        let anew = guard::asked::Anew { uid: came.0.clone(), absent: absent.unwrap_or_default(), seen: Instant::now() };
        cx.guards.asks_anew(&name, anew);
    }
    if before != after {
        cx.queue.add(Job::Claim(name), Lane::Urgent);
    }
    makers.into_iter().for_each(|claim| cx.queue.add(Job::Claim(claim), Lane::Urgent));
    if edited && before.is_some() {
        // Whoever waited for a key that it gave up may have it now.
        waiting.into_iter().for_each(|claim| cx.queue.add(Job::Claim(claim), Lane::Urgent));
    }
}

fn claim_gone(cx: &Context, name: &ObjectName) {
    let mut index = cx.index_mut();
    let waiting: Vec<ObjectName> = rivals(&index, name);
    if let Some(record) = index.remove_claim(name) {
        index.gone.note_absence(&record.uid);
    }
    let orphans: Vec<ObjectName> = index
        .world
        .holdings_in(&name.namespace)
        .filter(|(_, held)| held.claim == name.name)
        .map(|(secret, _)| secret.clone())
        .collect();
    drop(index);
    cx.queue.add(Job::Claim(name.clone()), Lane::Routine);
    orphans.into_iter().for_each(|secret| cx.queue.add(Job::Orphan(secret), Lane::Routine));
    waiting.into_iter().for_each(|claim| cx.queue.add(Job::Claim(claim), Lane::Urgent));
}

/// The other claims on a claim's keys, as far as it makes a difference to them.
fn rivals(index: &Index, name: &ObjectName) -> Vec<ObjectName> {
    let Some(claim) = index.world.claim(name) else { return Vec::new() };
    let keys = index.world.canonical_keys(claim);
    let judged = index.judged_by(&name.namespace, &keys).map(|claim| &claim.object);
    judged.filter(|other| *other != name).cloned().collect()
}

/// Begins anew when the seal key changes: seals that could not be opened may be readable now.
async fn secrets(cx: &Context, synced: impl Fn()) {
    loop {
        tokio::select! {
            () = managed_secrets(cx, &synced) => {}
            () = cx.keys_changed.notified() => {}
        }
    }
}

async fn managed_secrets(cx: &Context, synced: &impl Fn()) {
    let config = pages().labels(&format!("{MANAGED_BY_LABEL}={MANAGED_BY}"));
    let stream = places_watched(cx, cx.served.namespaced::<PartialObjectMeta<Secret>>(&cx.client), config);
    let mut listed: BTreeSet<ObjectName> = BTreeSet::new();
    follow("Secret", stream, |seen: Seen<PartialObjectMeta<Secret>>| match seen {
        Seen::ListBegins => listed.clear(),
        Seen::Listed(object) => {
            listed.extend(object_name(&object.metadata));
            observe_secret(cx, &object.metadata, View::Listed);
        }
        Seen::There(object) => observe_secret(cx, &object.metadata, View::Newest),
        Seen::Gone(object) => {
            cx.index_mut().gone.note(&object.metadata);
            if let Some(name) = object_name(&object.metadata) {
                secret_gone(cx, &name, object.metadata.uid.as_deref());
            }
        }
        Seen::ListEnds => {
            let gone: Vec<ObjectName> = cx.index().secrets.keys().filter(|s| !listed.contains(*s)).cloned().collect();
            gone.iter().for_each(|name| secret_gone(cx, name, None));
            listed.clear();
            cx.index_mut().secrets_synced = true;
            synced();
        }
        Seen::Broken(_) => {}
    })
    .await;
}

fn observe_secret(cx: &Context, metadata: &ObjectMeta, view: View) {
    let (Some(name), Some(keys)) = (object_name(metadata), cx.keys()) else { return };
    let facts = secret_facts(&name, metadata, &keys);
    let mut index = cx.index_mut();
    let known_already = index.secret(&name) == Some(&facts);
    // An older view of what this process has written since.
    let older = index.secrets.get(&name).is_some_and(|known| {
        known.uid == facts.uid && view.is_passed_over(&facts.resource_version, &known.resource_version)
    });
    if known_already || older {
        return;
    }
    let known = index.secrets.get(&name);
    let is_earlier = known.is_none_or(|known| is_older(&facts.resource_version, &known.resource_version));
    if view == View::Newest {
        // Somebody has written it since.
        index.put_back.remove(&name);
    } else if view == View::Listed && index.secrets_synced && is_earlier && index.claims_for(&name).next().is_some() {
        index.put_back.insert(name.clone());
    }
    let before = index.world.holding(&name).cloned();
    index.observe_secret(name.clone(), facts, cx.now());
    let after = index.world.holding(&name).cloned();
    // Who waited for what it gave up, and who shares what it has now.
    let pairs = [(&before, &after), (&after, &before)];
    let changed =
        pairs.into_iter().filter_map(|(a, b)| a.as_ref().filter(|a| b.as_ref().is_none_or(|b| a.gives_up_for(b))));
    let rivals: Vec<ObjectName> = changed.flat_map(|held| index.rivals(&name, held)).collect();
    let claims: Vec<ObjectName> = index.claims_for(&name).cloned().collect();
    drop(index);
    cx.retry(rivals);
    if claims.is_empty() {
        cx.queue.add(Job::Orphan(name), Lane::Routine);
    }
    claims.into_iter().for_each(|claim| cx.queue.add(Job::Claim(claim), Lane::Urgent));
}

/// A Secret is gone, or has lost our label: which of the two is seen by looking. Until then its keys are not free.
fn secret_gone(cx: &Context, name: &ObjectName, uid: Option<&str>) {
    let mut index = cx.index_mut();
    if uid.is_some_and(|uid| index.secrets.get(name).is_some_and(|known| &*known.uid != uid)) {
        return;
    }
    let held = index.lose_secret(name);
    // Only the leader looks, and gives up what it finds gone.
    let rivals = if cx.leads() { Vec::new() } else { index.give_up(name) };
    let claims: Vec<ObjectName> = index.claims_for(name).cloned().collect();
    drop(index);
    guard::queue(cx, &name.namespace);
    cx.retry(rivals);
    if held.is_some_and(|held| claims.iter().all(|claim| claim.name != held.claim)) {
        cx.queue.add(Job::Orphan(name.clone()), Lane::Routine);
    }
    claims.into_iter().for_each(|claim| cx.queue.add(Job::Claim(claim), Lane::Urgent));
}

/// The SegmentGuards: one that is not as it was written is put right.
async fn guards(cx: &Context, synced: impl Fn()) {
    let mut listed: BTreeSet<String> = BTreeSet::new();
    let namespace = |object: &DynamicObject| object.namespace().filter(|_| object.name_any() == SEGMENT_GUARD);
    follow("SegmentGuard", namespaced::<SegmentGuard>(cx), |seen| match seen {
        Seen::ListBegins => listed.clear(),
        Seen::Listed(object) => {
            listed.extend(namespace(&object));
            observe_guard(cx, object, View::Listed);
        }
        Seen::There(object) => observe_guard(cx, object, View::Newest),
        Seen::Gone(object) => {
            cx.index_mut().gone.note(&object.metadata);
            if let Some(namespace) = namespace(&object)
                && cx.guards.gone(&namespace, object.metadata.uid.as_deref())
            {
                guard::queue(cx, &namespace);
            }
        }
        Seen::ListEnds => {
            for namespace in cx.guards.namespaces().into_iter().filter(|n| !listed.contains(n)) {
                if cx.guards.gone(&namespace, None) {
                    guard::queue(cx, &namespace);
                }
            }
            synced();
        }
        Seen::Broken(_) => {}
    })
    .await;
}

fn observe_guard(cx: &Context, object: DynamicObject, view: View) {
    let Some(namespace) = object.namespace().filter(|_| object.name_any() == SEGMENT_GUARD) else { return };
    // One that cannot be understood says nothing, and is written anew.
    let (metadata, spec) = match object.clone().try_parse::<SegmentGuard>() {
        Ok(guard) => (guard.metadata, guard.spec),
        Err(_) => (object.metadata, SegmentGuardSpec::default()),
    };
    if cx.guards.put(&namespace, guard::seen(&metadata, spec), view) {
        guard::queue(cx, &namespace);
    }
}

/// The reports: what somebody accepts by annotating one, and what the leader before wrote.
async fn reports(cx: &Context, synced: impl Fn()) {
    let known = |index: &Index| index.reports.keys().cloned().collect();
    each_named::<SegmentationReport>(cx, "SegmentationReport", known, report::observe, report::gone, synced).await;
}

/// The KeyRevocations: what they are for goes at once.
async fn revocations(cx: &Context, synced: impl Fn()) {
    let known = |index: &Index| index.revocations.keys().cloned().collect();
    each_named::<KeyRevocation>(cx, "KeyRevocation", known, revocation::observe, revocation::gone, synced).await;
}

/// A cluster-scoped kind, of which each object is observed by itself; what a full listing does not show is gone.
async fn each_named<K: Resource<DynamicType = ()>>(
    cx: &Context,
    kind: &'static str,
    known: fn(&Index) -> Vec<String>,
    observe: fn(&Context, &DynamicObject, View),
    gone: fn(&Context, &str),
    synced: impl Fn(),
) {
    let mut listed: BTreeSet<String> = BTreeSet::new();
    follow(kind, objects::<K>(cx), |seen| match seen {
        Seen::ListBegins => listed.clear(),
        Seen::Listed(object) => {
            listed.insert(object.name_any());
            observe(cx, &object, View::Listed);
        }
        Seen::There(object) => observe(cx, &object, View::Newest),
        Seen::Gone(object) => {
            cx.index_mut().gone.note(&object.metadata);
            gone(cx, &object.name_any());
        }
        Seen::ListEnds => {
            let before = known(&cx.index());
            before.iter().filter(|name| !listed.contains(*name)).for_each(|name| gone(cx, name));
            synced();
        }
        Seen::Broken(_) => {}
    })
    .await;
}

/// Secrets of the operator's own namespace: the seal key and stores' credentials.
async fn own_secrets(cx: &Context, synced: impl Fn()) {
    let api = Api::<PartialObjectMeta<Secret>>::namespaced(cx.client.clone(), &cx.namespace);
    let stream = watcher::watcher(api, pages()).backoff(Patience::default());
    follow("the operator's own Secrets", stream, |seen: Seen<PartialObjectMeta<Secret>>| match seen {
        Seen::Listed(object) | Seen::There(object) | Seen::Gone(object) => {
            let name = object.name_any();
            if name == keys::KEY_SECRET {
                cx.queue.add(Job::Key, Lane::Urgent);
            }
            for store in cx.providers.stores_with_credentials(&name) {
                cx.queue.add(Job::Store(store), Lane::Urgent);
            }
        }
        Seen::ListEnds => synced(),
        Seen::ListBegins | Seen::Broken(_) => {}
    })
    .await;
}
