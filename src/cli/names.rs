//! Names of objects, for completion: asked of the cluster, and given up soon.

use super::cluster::{Cluster, ClusterArgs, Failure};
use crate::api::{ScopedSecret, ScopedSecretStore};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::ResourceExt;
use kube::api::{Api, ApiResource, DynamicObject, ListParams};
use std::time::Duration;

/// A person waits.
const PATIENCE: Duration = Duration::from_secs(2);

/// The names of a resource that begin so; none where they cannot be told.
pub async fn of(resource: &str, args: &ClusterArgs, start: &str) -> Result<Vec<String>, Failure> {
    let asked = async {
        let cluster = Cluster::connect(args).await?;
        let client = cluster.client.clone();
        let (kind, namespaced) = match resource {
            "scopedsecrets" => (ApiResource::erase::<ScopedSecret>(&()), true),
            "secretgrants" => (super::change::look::kind("SecretGrant"), true),
            "scopedsecretstores" => (ApiResource::erase::<ScopedSecretStore>(&()), false),
            "namespaces" => (ApiResource::erase::<Namespace>(&()), false),
            _ => (ApiResource::erase::<Pod>(&()), true),
        };
        let api: Api<DynamicObject> = if namespaced {
            Api::namespaced_with(client, &cluster.namespace, &kind)
        } else {
            Api::all_with(client, &kind)
        };
        let found = cluster.list_metadata(&api, ListParams::default()).await?.found().unwrap_or_default();
        Ok(found.iter().map(ResourceExt::name_any).filter(|name| name.starts_with(start)).collect())
    };
    tokio::time::timeout(PATIENCE, asked).await.unwrap_or(Ok(Vec::new()))
}
