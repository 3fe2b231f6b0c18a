//! What is there of the External Secrets Operator in a cluster, as far as the reader may look. No Secret is read.

use super::found::{Foreign, Found, is_meant};
use crate::api::NAMESPACE_NAME_LABEL;
use crate::api::policy::Governs;
use crate::cli::audit::consumers;
use crate::cli::cluster::{Cluster, Failure, Seen};
use crate::controller::foreign::{discover, resource_of};
use crate::segmentation::foreign::ForeignKind;
use k8s_openapi::api::core::v1::Namespace;
use kube::ResourceExt;
use kube::api::{Api, DynamicObject, ListParams};

/// Looks. `only`: one namespace.
pub async fn look(cluster: &Cluster, only: Option<&str>) -> Result<Found, Failure> {
    let mut found = Found::default();
    let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
    let mut seen = cluster.list_metadata(&namespaces, ListParams::default()).await?;
    if let (Seen::Barred, Some(only)) = (&seen, only) {
        seen = cluster.get_metadata(&namespaces, only).await?.map(|one| vec![one]);
    }
    for namespace in seen.found().unwrap_or_default() {
        let name = namespace.name_any();
        let mut labels = namespace.metadata.labels.unwrap_or_default();
        labels.insert(NAMESPACE_NAME_LABEL.into(), name.clone());
        found.namespaces.insert(name, labels);
    }
    let asked = [Governs::ExternalSecrets].into();
    let kinds = cluster.see(discover(&cluster.client, &asked).await, "get", "/apis", None)?;
    for (kind, version) in kinds.found().unwrap_or_default().into_iter().filter(|(kind, _)| is_meant(*kind)) {
        let resource = resource_of(kind, version);
        let take = |page: Vec<DynamicObject>| found.objects.extend(page.into_iter().map(|object| of(kind, object)));
        let all = Api::<DynamicObject>::all_with(cluster.client.clone(), &resource);
        if kind.is_cluster_scoped() {
            cluster.each_page(&all, ListParams::default(), take).await?;
        } else {
            let within = |namespace: Option<&str>| match namespace {
                Some(namespace) => Api::namespaced_with(cluster.client.clone(), namespace, &resource),
                None => all.clone(),
            };
            cluster.each_page_in_reach(within, ListParams::default(), take).await?;
        }
    }
    for user in consumers::look(cluster).await?.all {
        user.secrets.keys().for_each(|secret| found.uses(&user.name.namespace, secret, &user.account));
    }
    found.objects.retain(|object| object.namespace.is_empty() || only.is_none_or(|only| only == object.namespace));
    Ok(found.in_order())
}

fn of(kind: ForeignKind, object: DynamicObject) -> Foreign {
    let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
    let spec = object.data.get("spec").cloned().unwrap_or_default();
    Foreign { kind, namespace, name, spec }
}
