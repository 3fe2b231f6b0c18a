//! The watches of roles and bindings: what of them leads to Secrets goes into the index.

use super::context::Context;
use super::seen_rbac::{Body, Bound, Rules, Seen as Object};
use super::served::Place;
use super::watch::{Seen, follow, pages, places_watched};
use crate::segmentation::access::RbacName;
use kube::Resource;
use serde::de::DeserializeOwned;
use std::collections::HashSet;

/// So many objects are asked for at a time: each may be as large as the API server takes.
const PAGE: u32 = 20;

/// Roles, or ClusterRoles.
pub(super) async fn roles<K>(
    cx: &Context,
    places: Vec<Place<Object<K, Rules>>>,
    what: &'static str,
    cluster: bool,
    synced: impl Fn(),
) where
    K: Resource<DynamicType = ()> + 'static,
{
    let put = |object: &Object<K, Rules>| {
        let role = object.body.role().clone();
        let mut index = cx.index_mut();
        let name = index.shared_rbac(object.name());
        match cluster {
            true => index.access.put_cluster_role(name, role, object.body.aggregation(object.labels())),
            false => index.access.put_role(name, role),
        }
    };
    let known = || cx.index().access.roles(cluster).cloned().collect();
    let remove = |name: &RbacName| cx.index_mut().access.remove_role(name);
    keep::<K, Rules>(cx, places, what, put, known, remove, synced).await;
}

/// RoleBindings, or ClusterRoleBindings.
pub(super) async fn bindings<K>(
    cx: &Context,
    places: Vec<Place<Object<K, Bound>>>,
    what: &'static str,
    cluster: bool,
    synced: impl Fn(),
) where
    K: Resource<DynamicType = ()> + 'static,
{
    let put = |object: &Object<K, Bound>| {
        let name = object.name();
        let binding = object.body.binding(name.namespace.as_deref());
        let mut index = cx.index_mut();
        let name = index.shared_rbac(name);
        index.access.put_binding(name, binding);
    };
    let known = || cx.index().access.bindings(cluster).map(|(name, _)| name.clone()).collect();
    let remove = |name: &RbacName| cx.index_mut().access.remove_binding(name);
    keep::<K, Bound>(cx, places, what, put, known, remove, synced).await;
}

/// Keeps the index as a watch sees it. What a full listing no longer has is forgotten.
async fn keep<K, B>(
    cx: &Context,
    places: Vec<Place<Object<K, B>>>,
    what: &'static str,
    put: impl Fn(&Object<K, B>),
    known: impl Fn() -> Vec<RbacName>,
    remove: impl Fn(&RbacName),
    synced: impl Fn(),
) where
    K: Resource<DynamicType = ()> + 'static,
    B: Body + DeserializeOwned + Clone + Send + 'static,
{
    let mut gone: HashSet<RbacName> = HashSet::new();
    follow(what, places_watched(cx, places, pages().page_size(PAGE)), |seen| match seen {
        Seen::ListBegins => gone = known().into_iter().collect(),
        Seen::Listed(object) => {
            gone.remove(&object.name());
            put(&object);
        }
        Seen::There(object) => put(&object),
        Seen::Gone(object) => remove(&object.name()),
        Seen::ListEnds => {
            gone.drain().for_each(|name| remove(&name));
            synced();
        }
        Seen::Broken(_) => {}
    })
    .await;
}
