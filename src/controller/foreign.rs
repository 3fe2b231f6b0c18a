//! Watches the objects of other operators, only while a policy asks for it (`rules.governs`) and their kinds are there.
//!
//! Whether they are is asked now and then (`/apis`): nothing is ever watched that does not exist.

use super::context::Context;
use super::served::Place;
use super::watch::{Seen, follow, pages, places_watched};
use crate::api::policy::Governs;
use crate::segmentation::foreign::{self, ForeignKind, ForeignName, Record};
use jiff::Timestamp;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind};
use kube::runtime::WatchStreamExt;
use kube::{Client, ResourceExt};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::{AbortHandle, JoinSet};

/// How often it is asked which kinds are there.
const DISCOVERY: Duration = Duration::from_secs(10);
/// After an answer that did not come.
const SOON: Duration = Duration::from_secs(2);

/// Runs until the process ends.
pub async fn run(cx: &Arc<Context>) {
    let mut governed = cx.governed.subscribe();
    // Ends its watches when it is dropped.
    let mut tasks = JoinSet::new();
    let mut watched: BTreeMap<ForeignKind, (&'static str, AbortHandle)> = BTreeMap::new();
    loop {
        let asked = governed.borrow_and_update().as_ref().map(|governed| governed.operators()).unwrap_or_default();
        let found = if asked.is_empty() { Some(BTreeMap::new()) } else { discover(&cx.client, &asked).await.ok() };
        let pause = if found.is_some() { DISCOVERY } else { SOON };
        if let Some(found) = found {
            let gone =
                |(kind, (version, _)): &(&ForeignKind, &(&'static str, AbortHandle))| found.get(*kind) != Some(version);
            let gone: Vec<ForeignKind> = watched.iter().filter(gone).map(|(kind, _)| *kind).collect();
            for kind in gone {
                if let Some((_, task)) = watched.remove(&kind) {
                    task.abort();
                }
                // What it may still have been about to say is not heard after this.
                while tasks.len() > watched.len() && tasks.join_next().await.is_some() {}
                forget(cx, kind);
            }
            for (kind, version) in found {
                watched.entry(kind).or_insert_with(|| (version, tasks.spawn(follow_kind(cx.clone(), kind, version))));
            }
        }
        let changed = async {
            if governed.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        if asked.is_empty() {
            changed.await;
        } else {
            let _ = tokio::time::timeout(pause, changed).await;
        }
    }
}

/// The kinds that the API server has, each with the best version.
pub async fn discover(
    client: &Client,
    asked: &BTreeSet<Governs>,
) -> Result<BTreeMap<ForeignKind, &'static str>, kube::Error> {
    let groups = client.list_api_groups().await?;
    let served = |group: &str, version: &str| {
        let known = groups.groups.iter().find(|known| known.name == group);
        known.is_some_and(|known| known.versions.iter().any(|served| served.version == version))
    };
    let mut resources: BTreeMap<(&str, &str), BTreeSet<String>> = BTreeMap::new();
    let mut found = BTreeMap::new();
    for kind in ForeignKind::ALL.iter().copied().filter(|kind| asked.contains(&kind.governs())) {
        for version in kind.versions().iter().copied().filter(|version| served(kind.group(), version)) {
            let names = match resources.entry((kind.group(), version)) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(unknown) => {
                    let path = format!("{}/{version}", kind.group());
                    let list = client.list_api_group_resources(&path).await?;
                    unknown.insert(list.resources.into_iter().map(|resource| resource.name).collect())
                }
            };
            if names.contains(kind.plural()) {
                found.entry(kind).or_insert(version);
            }
        }
    }
    Ok(found)
}

fn forget(cx: &Context, kind: ForeignKind) {
    let mut index = cx.index_mut();
    index.world.foreign.set_read(kind, false);
    index.world.foreign.retain(kind, &BTreeSet::new());
}

async fn follow_kind(cx: Arc<Context>, kind: ForeignKind, version: &'static str) {
    let resource = resource_of(kind, version);
    let places = match kind.is_cluster_scoped() {
        true => Place::everywhere(Api::all_with(cx.client.clone(), &resource)),
        false => cx.served.namespaced_with(&cx.client, &resource),
    };
    let stream = places_watched(&cx, places, pages()).modify(|object| object.managed_fields_mut().clear());
    let mut listed: BTreeSet<ForeignName> = BTreeSet::new();
    follow(kind.kind(), stream, |seen| match seen {
        Seen::ListBegins => listed.clear(),
        Seen::Listed(object) => {
            let name = name_of(kind, &object);
            listed.insert(name.clone());
            observe(&cx, name, &object);
        }
        Seen::There(object) => observe(&cx, name_of(kind, &object), &object),
        Seen::Gone(object) => cx.index_mut().world.foreign.remove(&name_of(kind, &object)),
        Seen::ListEnds => {
            let mut index = cx.index_mut();
            index.world.foreign.retain(kind, &listed);
            index.world.foreign.set_read(kind, true);
            listed.clear();
        }
        Seen::Broken(_) => {}
    })
    .await;
}

/// How a kind is asked for.
pub fn resource_of(kind: ForeignKind, version: &str) -> ApiResource {
    let gvk = GroupVersionKind::gvk(kind.group(), version, kind.kind());
    ApiResource::from_gvk_with_plural(&gvk, kind.plural())
}

/// The name of an object or a store.
pub fn name_of(kind: ForeignKind, object: &DynamicObject) -> ForeignName {
    let namespace = object.metadata.namespace.as_deref().filter(|_| !kind.is_cluster_scoped());
    ForeignName::new(kind, namespace, &object.name_any())
}

fn observe(cx: &Context, name: ForeignName, object: &DynamicObject) {
    if name.kind.is_store() {
        let store = foreign::store(&object.data["spec"]);
        let known = cx.index().world.foreign.store(&name) == Some(&store);
        if !known {
            cx.index_mut().world.foreign.put_store(name, store);
        }
        return;
    }
    let record = record_of(name.kind, object);
    // Its status changes more often than what it asks for.
    let known = cx.index().world.foreign.object(&name) == Some(&record);
    if !known {
        cx.index_mut().world.foreign.put(name, record);
    }
}

/// What is kept of an object, or judged of one that is about to be.
pub fn record_of(kind: ForeignKind, object: &DynamicObject) -> Record {
    let spec = &object.data["spec"];
    let created = object.metadata.creation_timestamp.as_ref().map_or(Timestamp::MAX, |time| time.0);
    Record::of(kind, spec, object.metadata.uid.as_deref().unwrap_or_default(), created)
}
