//! The watches of SecretGrants, and of the Roles and RoleBindings that carry our label.

use super::context::Context;
use super::grant::{self, known::Lent};
use super::index::object_name;
use super::watch::{Seen, View, follow, pages, places_watched};
use crate::api::{MANAGED_BY, MANAGED_BY_LABEL};
use crate::segmentation::world::ObjectName;
use futures::Stream;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::DynamicObject;
use kube::runtime::watcher::{self, Config, Error, Event};
use std::collections::BTreeSet;

/// What belongs to a grant, each kind by a watch of its own.
trait Part: Clone {
    const WHAT: &'static str;
    fn handle(&self) -> Option<ObjectName>;
    fn metadata(&self) -> &ObjectMeta;
    fn seen(&self, cx: &Context, view: View);
    fn gone(cx: &Context, handle: &ObjectName, uid: Option<&str>);
    fn is_known(lent: &Lent) -> bool;
}

/// A SecretGrant.
impl Part for DynamicObject {
    const WHAT: &'static str = "SecretGrant";

    fn handle(&self) -> Option<ObjectName> {
        grant::handle_of(&self.metadata)
    }

    fn metadata(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn seen(&self, cx: &Context, view: View) {
        grant::observe(cx, self, view);
    }

    /// Its uid is in the handle.
    fn gone(cx: &Context, handle: &ObjectName, _: Option<&str>) {
        grant::gone(cx, handle);
    }

    fn is_known(lent: &Lent) -> bool {
        lent.grant.is_some()
    }
}

impl Part for Role {
    const WHAT: &'static str = "Role of a grant";

    fn handle(&self) -> Option<ObjectName> {
        object_name(&self.metadata)
    }

    fn metadata(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn seen(&self, cx: &Context, view: View) {
        grant::observe_role(cx, self, view);
    }

    fn gone(cx: &Context, handle: &ObjectName, uid: Option<&str>) {
        grant::role_gone(cx, handle, uid);
    }

    fn is_known(lent: &Lent) -> bool {
        lent.role.is_some()
    }
}

impl Part for RoleBinding {
    const WHAT: &'static str = "RoleBinding of a grant";

    fn handle(&self) -> Option<ObjectName> {
        object_name(&self.metadata)
    }

    fn metadata(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn seen(&self, cx: &Context, view: View) {
        grant::observe_binding(cx, self, view);
    }

    fn gone(cx: &Context, handle: &ObjectName, uid: Option<&str>) {
        grant::binding_gone(cx, handle, uid);
    }

    fn is_known(lent: &Lent) -> bool {
        lent.binding.is_some()
    }
}

/// SecretGrants.
pub(super) async fn grants<S>(cx: &Context, stream: S, synced: impl Fn())
where
    S: Stream<Item = Result<Event<DynamicObject>, watcher::Error>>,
{
    keep(cx, stream, synced).await;
}

fn ours() -> Config {
    pages().labels(&format!("{MANAGED_BY_LABEL}={MANAGED_BY}"))
}

/// The Roles of grants.
pub(super) async fn roles(cx: &Context, synced: impl Fn()) {
    keep(cx, places_watched(cx, cx.served.namespaced::<Role>(&cx.client), ours()), synced).await;
}

/// The RoleBindings of grants.
pub(super) async fn bindings(cx: &Context, synced: impl Fn()) {
    keep(cx, places_watched(cx, cx.served.namespaced::<RoleBinding>(&cx.client), ours()), synced).await;
}

/// Keeps the index as a watch sees it. What a full listing no longer has is gone.
async fn keep<K: Part>(cx: &Context, stream: impl Stream<Item = Result<Event<K>, Error>>, synced: impl Fn()) {
    let mut listed: BTreeSet<ObjectName> = BTreeSet::new();
    follow(K::WHAT, stream, |seen: Seen<K>| match seen {
        Seen::ListBegins => listed.clear(),
        Seen::Listed(object) => {
            listed.extend(object.handle());
            object.seen(cx, View::Listed);
        }
        Seen::There(object) => object.seen(cx, View::Newest),
        Seen::Gone(object) => {
            cx.index_mut().gone.note(object.metadata());
            if let Some(handle) = object.handle() {
                K::gone(cx, &handle, object.metadata().uid.as_deref());
            }
        }
        Seen::ListEnds => {
            let index = cx.index();
            let known = index.grants.iter().filter(|(handle, lent)| K::is_known(lent) && !listed.contains(*handle));
            let gone: Vec<ObjectName> = known.map(|(handle, _)| handle.clone()).collect();
            drop(index);
            gone.iter().for_each(|handle| K::gone(cx, handle, None));
            synced();
        }
        Seen::Broken(_) => {}
    })
    .await;
}
