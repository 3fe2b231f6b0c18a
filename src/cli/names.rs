//! Names of objects: read as they are written, and, for completion, asked of the cluster and given up soon.

use super::cluster::{Cluster, ClusterArgs, Failure};
use crate::api::label::is_subdomain;
use crate::api::{ScopedSecret, ScopedSecretStore};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::ResourceExt;
use kube::api::{Api, ApiResource, DynamicObject, ListParams};
use std::time::Duration;

/// A person waits.
const PATIENCE: Duration = Duration::from_secs(2);

/// A name that is written. It becomes a part of a path, so that what no object can be named is told here.
pub fn read_name(text: &str) -> Result<String, String> {
    let tidy = text.trim();
    let alone = text.rsplit_once('/').map(|(_, name)| name).filter(|name| is_subdomain(name));
    match alone {
        _ if tidy.is_empty() => Err("the name is missing: write the name of the object".to_owned()),
        Some(name) => Err(format!("write the name alone: {name}")),
        None if !is_subdomain(tidy) => Err(
            "no object can have this name: write lowercase letters, digits, '-' and '.', with a letter or digit at both ends"
                .to_owned(),
        ),
        None if tidy != text => Err(format!("a name has no blanks: write {tidy}")),
        None => Ok(text.to_owned()),
    }
}

/// Likewise, with its kind or without.
pub fn read_kind_and_name(text: &str) -> Result<String, String> {
    let (kind, name) = text.rsplit_once('/').unwrap_or(("", text));
    if !kind.is_empty() && name.trim().is_empty() {
        return Err(format!("the name is missing: write {kind}/NAME"));
    }
    read_name(name).map(|_| text.to_owned())
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_that_an_object_can_have() {
        let missing = "the name is missing: write the name of the object";
        let never = "no object can have this name";
        for (text, alone, with_kind) in [
            ("orders", "", ""),
            ("orders.v1-2", "", ""),
            ("9", "", ""),
            ("scopedsecret/orders", "write the name alone: orders", ""),
            ("", missing, missing),
            (" ", missing, missing),
            ("pod/", never, "the name is missing: write pod/NAME"),
            ("pod/ ", never, "the name is missing: write pod/NAME"),
            ("db ", "a name has no blanks: write db", "a name has no blanks: write db"),
            ("pod/db ", never, "a name has no blanks: write db"),
            ("d b", never, never),
            ("Orders", never, never),
            ("a?b", never, never),
            ("-a", never, never),
            ("a..b", never, never),
            ("a".repeat(254).as_str(), never, never),
        ] {
            for (found, expected) in [(read_name(text), alone), (read_kind_and_name(text), with_kind)] {
                match (expected, found) {
                    ("", found) => assert_eq!(found.as_deref(), Ok(text)),
                    (expected, found) => {
                        let told = found.unwrap_err();
                        assert!(told.starts_with(expected), "{text:?}: {told}");
                    }
                }
            }
        }
    }
}
