//! What carvel's secretgen-controller is told to carry, where it is installed: a SecretExport that offers a managed Secret, and a
//! SecretImport from another namespace into a governed one, that were there before the rule, or got past it.

use super::{ScanError, Walk, pages};
use crate::controller::index::object_name;
use crate::segmentation::replication::{SECRETGEN, SECRETGEN_KINDS, of_secretgen};
use kube::api::{ApiResource, GroupVersionKind};

/// Both, and how they are asked for.
pub fn kinds() -> impl Iterator<Item = (&'static str, ApiResource)> {
    SECRETGEN_KINDS.into_iter().map(|(kind, plural)| {
        (kind, ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(SECRETGEN, "v1alpha1", kind), plural))
    })
}

/// Lists both.
pub(super) async fn walk(walk: &mut Walk<'_>) -> Result<(), ScanError> {
    let cx = walk.cx;
    for (kind, resource) in kinds() {
        let places = cx.served.namespaced_with(&cx.client, &resource);
        pages::each(cx, kind, &places, |page| {
            for object in page {
                let Some(name) = object_name(&object.metadata) else { continue };
                let Some(segment) = walk.members.get(&name.namespace).cloned() else { continue };
                let managed = cx.index().world.holding(&name).is_some();
                walk.add(&object.metadata, of_secretgen(kind, &name, &object.data["spec"], managed, &segment));
            }
        })
        .await?;
    }
    Ok(())
}
