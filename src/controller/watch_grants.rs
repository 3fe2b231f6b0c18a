//! The watches of SecretGrants, and of the Roles and RoleBindings that carry our label.

use super::context::Context;
use super::grant::{self, known::Lent};
use super::index::object_name;
use super::watch::{Seen, View, follow, pages};
use crate::api::{MANAGED_BY, MANAGED_BY_LABEL};
use crate::segmentation::world::ObjectName;
use futures::Stream;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::{Api, DynamicObject};
use kube::runtime::watcher::{self, Event, watcher};
use kube::runtime::{WatchStreamExt, watcher::Config};
use std::collections::BTreeSet;

/// Whether something of a kind is known under a handle.
type Stored = fn(&Lent) -> bool;

/// SecretGrants.
pub(super) async fn grants<S>(cx: &Context, stream: S, synced: impl Fn())
where
    S: Stream<Item = Result<Event<DynamicObject>, watcher::Error>>,
{
    let name = |object: &DynamicObject| Some((grant::handle_of(&object.metadata)?, None));
    let put = |object: &DynamicObject, view| grant::observe(cx, object, view);
    let gone = |handle: &ObjectName, _: Option<&str>| grant::gone(cx, handle);
    keep(cx, "SecretGrant", stream, name, put, |lent| lent.grant.is_some(), gone, synced).await;
}

fn ours() -> Config {
    pages().labels(&format!("{MANAGED_BY_LABEL}={MANAGED_BY}"))
}

/// The Roles of grants.
pub(super) async fn roles(cx: &Context, synced: impl Fn()) {
    let stream = watcher(Api::<Role>::all(cx.client.clone()), ours()).default_backoff();
    let name = |object: &Role| Some((object_name(&object.metadata)?, object.metadata.uid.clone()));
    let put = |object: &Role, view| grant::observe_role(cx, object, view);
    let gone = |handle: &ObjectName, uid: Option<&str>| grant::role_gone(cx, handle, uid);
    keep(cx, "Role of a grant", stream, name, put, |lent| lent.role.is_some(), gone, synced).await;
}

/// The RoleBindings of grants.
pub(super) async fn bindings(cx: &Context, synced: impl Fn()) {
    let stream = watcher(Api::<RoleBinding>::all(cx.client.clone()), ours()).default_backoff();
    let name = |object: &RoleBinding| Some((object_name(&object.metadata)?, object.metadata.uid.clone()));
    let put = |object: &RoleBinding, view| grant::observe_binding(cx, object, view);
    let gone = |handle: &ObjectName, uid: Option<&str>| grant::binding_gone(cx, handle, uid);
    keep(cx, "RoleBinding of a grant", stream, name, put, |lent| lent.binding.is_some(), gone, synced).await;
}

/// Keeps the index as a watch sees it. What a full listing no longer has is gone.
async fn keep<K: Clone, S>(
    cx: &Context,
    what: &'static str,
    stream: S,
    name: impl Fn(&K) -> Option<(ObjectName, Option<String>)>,
    put: impl Fn(&K, View),
    stored: Stored,
    gone: impl Fn(&ObjectName, Option<&str>),
    synced: impl Fn(),
) where
    S: Stream<Item = Result<Event<K>, watcher::Error>>,
{
    let mut listed: BTreeSet<ObjectName> = BTreeSet::new();
    follow(what, stream, |seen| match seen {
        Seen::ListBegins => listed.clear(),
        Seen::Listed(object) => {
            listed.extend(name(&object).map(|(handle, _)| handle));
            put(&object, View::Listed);
        }
        Seen::There(object) => put(&object, View::Newest),
        Seen::Gone(object) => {
            if let Some((handle, uid)) = name(&object) {
                gone(&handle, uid.as_deref());
            }
        }
        Seen::ListEnds => {
            let known: Vec<ObjectName> =
                cx.index().grants.iter().filter(|(_, lent)| stored(lent)).map(|(handle, _)| handle.clone()).collect();
            known.iter().filter(|handle| !listed.contains(*handle)).for_each(|handle| gone(handle, None));
            synced();
        }
        Seen::Broken(_) => {}
    })
    .await;
}
