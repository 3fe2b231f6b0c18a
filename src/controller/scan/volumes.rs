//! PersistentVolumes, StorageClasses and VolumeSnapshotClasses whose secret reference points into a governed namespace: a way to a Secret past its
//! pods, which no rule at admission sees.

use super::{ScanError, Walk, pages};
use crate::controller::served::Place;
use crate::segmentation::volumes::{Governed, SNAPSHOTS};
use k8s_openapi::api::core::v1::PersistentVolume;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Lists all three.
pub(super) async fn walk(walk: &mut Walk<'_>) -> Result<(), ScanError> {
    let cx = walk.cx;
    let members = walk.members.clone();
    let managed: BTreeSet<(Arc<str>, Arc<str>)> = {
        let index = cx.index();
        let held = index.world.holdings().map(|(secret, _)| secret);
        held.chain(index.secrets.keys()).map(|secret| (secret.namespace.clone(), secret.name.clone())).collect()
    };
    let governed = Governed { segments: &members, managed: &managed };
    let volumes = Place::everywhere(Api::<PersistentVolume>::all(cx.client.clone()));
    pages::each(cx, "PersistentVolume", &volumes, |page| {
        page.iter().for_each(|volume| walk.add(&volume.metadata, governed.of_volume(volume)));
    })
    .await?;
    let classes = Place::everywhere(Api::<StorageClass>::all(cx.client.clone()));
    pages::each(cx, "StorageClass", &classes, |page| {
        page.iter().for_each(|class| walk.add(&class.metadata, governed.of_class(class)))
    })
    .await?;
    let kind = GroupVersionKind::gvk(SNAPSHOTS, "v1", "VolumeSnapshotClass");
    let kind = ApiResource::from_gvk_with_plural(&kind, "volumesnapshotclasses");
    let classes = Place::everywhere(Api::<DynamicObject>::all_with(cx.client.clone(), &kind));
    pages::each(cx, "VolumeSnapshotClass", &classes, |page| {
        page.iter().for_each(|class| walk.add(&class.metadata, governed.of_snapshot_class(class)));
    })
    .await
}
