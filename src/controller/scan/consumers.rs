//! Who references a managed Secret without being its consumer: pods, what makes pods, and ServiceAccounts.
//!
//! Of a Deployment, its ReplicaSet and its pods only the Deployment is told: it is what has to be mended.

use super::{ScanError, Walk, pages};
use crate::segmentation::consumers::{Referrer, foreign};
use crate::segmentation::references::{account_of, names, of_account, of_pods};
use crate::segmentation::violation::Violation;
use crate::segmentation::workload::RunsPods;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{Pod, PodTemplate, ReplicationController, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::NamespaceResourceScope;
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;
use std::collections::HashSet;
use std::fmt::Debug;

/// Lists them all. What controls others comes first.
pub(super) async fn walk(walk: &mut Walk<'_>) -> Result<(), ScanError> {
    let mut told = HashSet::new();
    each::<Deployment>(walk, &mut told).await?;
    each::<StatefulSet>(walk, &mut told).await?;
    each::<DaemonSet>(walk, &mut told).await?;
    each::<CronJob>(walk, &mut told).await?;
    each::<ReplicationController>(walk, &mut told).await?;
    each::<PodTemplate>(walk, &mut told).await?;
    each::<ReplicaSet>(walk, &mut told).await?;
    each::<Job>(walk, &mut told).await?;
    each::<Pod>(walk, &mut told).await?;
    accounts(walk).await
}

async fn each<K>(walk: &mut Walk<'_>, told: &mut HashSet<String>) -> Result<(), ScanError>
where
    K: RunsPods + Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
{
    let (kind, api_version) = (K::kind(&()), K::api_version(&()));
    let cx = walk.cx;
    pages::each(cx, &kind, &cx.served.namespaced::<K>(&cx.client), |page| {
        for object in page {
            let Some(pods) = object.pods().filter(|_| object.is_alive()) else { continue };
            let name = object.name_any();
            let referrer = Referrer {
                api_version: &api_version,
                kind: &kind,
                name: &name,
                account: account_of(pods),
                secrets: names(&of_pods(pods)),
            };
            let Some(violation) = judge(walk, object.meta(), &referrer) else { continue };
            let covered = controller(object.meta()).is_some_and(|uid| told.contains(uid));
            told.extend(object.uid());
            if !covered {
                walk.add(object.meta(), [violation]);
            }
        }
    })
    .await
}

async fn accounts(walk: &mut Walk<'_>) -> Result<(), ScanError> {
    let cx = walk.cx;
    pages::each(cx, "ServiceAccount", &cx.served.namespaced::<ServiceAccount>(&cx.client), |page| {
        for object in page {
            let name = object.name_any();
            let referrer = Referrer {
                api_version: "v1",
                kind: "ServiceAccount",
                name: &name,
                account: &name,
                secrets: names(&of_account(&object)),
            };
            let violation = judge(walk, &object.metadata, &referrer);
            walk.add(&object.metadata, violation);
        }
    })
    .await
}

/// By the SegmentGuard of the namespace, as the API server judges.
fn judge(walk: &Walk<'_>, metadata: &ObjectMeta, referrer: &Referrer<'_>) -> Option<Violation> {
    if referrer.secrets.is_empty() {
        return None;
    }
    let (namespace, segment) = walk.members.get_key_value(metadata.namespace.as_deref()?)?;
    let guard = walk.cx.guards.known(namespace).filter(|guard| guard.there)?;
    foreign(referrer, namespace, &guard.content.targets, segment)
}

fn controller(metadata: &ObjectMeta) -> Option<&str> {
    let owners = metadata.owner_references.as_deref().unwrap_or_default();
    owners.iter().find(|owner| owner.controller == Some(true)).map(|owner| owner.uid.as_str())
}
