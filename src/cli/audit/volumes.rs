//! PersistentVolumes, StorageClasses and VolumeSnapshotClasses whose secret reference points into a segment, as the operator's scan judges them.

use super::look::Sighted;
use super::scopes::Scopes;
use super::told::tell;
use crate::cli::cluster::{Cluster, Failure};
use crate::cli::report::Outcome;
use crate::segmentation::volumes::{Governed, SNAPSHOTS};
use k8s_openapi::api::core::v1::PersistentVolume;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, ListParams};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What was seen of each; None where the reader may not look.
#[derive(Debug, Default)]
pub struct Storage {
    volumes: Option<Vec<PersistentVolume>>,
    classes: Option<Vec<StorageClass>>,
    /// None, too, where there is no such kind.
    snapshots: Option<Vec<DynamicObject>>,
}

/// Looks.
pub async fn look(cluster: &Cluster) -> Result<Storage, Failure> {
    let (volumes, classes) = (Api::all(cluster.client.clone()), Api::all(cluster.client.clone()));
    Ok(Storage {
        volumes: cluster.list(&volumes, ListParams::default()).await?.found(),
        classes: cluster.list(&classes, ListParams::default()).await?.found(),
        snapshots: snapshots(cluster).await?,
    })
}

/// Who may not list what is not there is told nothing of it.
async fn snapshots(cluster: &Cluster) -> Result<Option<Vec<DynamicObject>>, Failure> {
    let groups = cluster.see(cluster.client.list_api_groups().await, "get", "/apis", None)?.found();
    if !groups.is_some_and(|groups| groups.groups.iter().any(|group| group.name == SNAPSHOTS)) {
        return Ok(None);
    }
    let kind = GroupVersionKind::gvk(SNAPSHOTS, "v1", "VolumeSnapshotClass");
    let kind = ApiResource::from_gvk_with_plural(&kind, "volumesnapshotclasses");
    let all = Api::<DynamicObject>::all_with(cluster.client.clone(), &kind);
    Ok(cluster.list(&all, ListParams::default()).await?.found())
}

/// Judges. Namespaces in no segment are left out: a storage driver's own may be one of them.
pub fn judge(sighted: &Sighted, scopes: &Scopes, outcome: &mut Outcome) {
    let namespaces = sighted.observed.world.namespaces.keys();
    let segments: BTreeMap<Arc<str>, Arc<str>> =
        namespaces.filter_map(|name| Some((name.clone(), scopes.of(name).segment()?.into()))).collect();
    let managed: BTreeSet<(Arc<str>, Arc<str>)> = {
        let managed = sighted.secrets.iter().filter(|(_, secret)| secret.managed);
        managed.map(|(secret, _)| (secret.namespace.clone(), secret.name.clone())).collect()
    };
    let governed = Governed { segments: &segments, managed: &managed };
    let Storage { volumes, classes, snapshots } = &sighted.storage;
    let before = outcome.findings.len();
    let volumes_found = volumes.iter().flatten().flat_map(|volume| governed.of_volume(volume));
    let classes_found = classes.iter().flatten().flat_map(|class| governed.of_class(class));
    let snapshots_found = snapshots.iter().flatten().flat_map(|class| governed.of_snapshot_class(class));
    tell(volumes_found.chain(classes_found).chain(snapshots_found).collect(), scopes, outcome);
    if outcome.findings.len() == before && volumes.is_some() && classes.is_some() {
        outcome.pass("no PersistentVolume or StorageClass names a Secret of a segment");
    }
}

#[cfg(test)]
mod tests {
    use super::super::look::tests::{judged, sighted};
    use super::*;
    use serde_json::json;

    #[test]
    fn storage_that_points_into_a_segment() {
        let found = |namespace: &str, labels: &[&str]| -> Vec<String> {
            let parameters = json!({
                "csi.storage.k8s.io/node-stage-secret-name": "ceph", "csi.storage.k8s.io/node-stage-secret-namespace": namespace,
            });
            let class = json!({"metadata": {"name": "c"}, "provisioner": "d", "parameters": parameters});
            let volume = json!({"metadata": {"name": "v"}, "spec": {
                "claimRef": {"namespace": "plain", "name": "c"},
                "csi": {"driver": "d", "volumeHandle": "h", "nodeStageSecretRef": {"namespace": namespace, "name": "ceph"}},
            }});
            let mut sighted = sighted(&[], &[]);
            sighted.storage = Storage {
                volumes: Some(vec![serde_json::from_value(volume).unwrap()]),
                classes: Some(vec![serde_json::from_value(class.clone()).unwrap()]),
                snapshots: Some(vec![serde_json::from_value(class).unwrap()]),
            };
            let outcome = judged(sighted, labels, |sighted, scopes, _, outcome| judge(sighted, scopes, outcome));
            outcome.findings.iter().map(|finding| finding.subject.to_string()).collect()
        };
        assert_eq!(found("payments-prod", &[]), ["VolumeSnapshotClass c", "StorageClass c", "PersistentVolume v"]);
        assert_eq!(found("plain", &[]), Vec::<String>::new(), "in no segment");
    }
}
