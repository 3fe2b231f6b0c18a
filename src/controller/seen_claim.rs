//! A ScopedSecret as the watch reads it, ten thousand of them at a start: managedFields and foreign annotations, which are
//! most of an object, are passed over unread, and one that cannot be decoded does not hide the others.

use crate::api::scoped_secret::ScopedSecretStatus;
use crate::api::{GROUP, ScopedSecret, ScopedSecretSpec};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::Resource;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// What is read of a ScopedSecret.
#[derive(Debug, Clone, Deserialize)]
pub struct SeenClaim {
    /// Names, revisions, times, and annotations of ours.
    #[serde(deserialize_with = "metadata")]
    pub metadata: ObjectMeta,
    /// None if it cannot be understood.
    #[serde(default, deserialize_with = "lenient")]
    pub spec: Option<ScopedSecretSpec>,
    /// None if there is none, or it cannot be understood.
    #[serde(default, deserialize_with = "lenient")]
    pub status: Option<ScopedSecretStatus>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    generation: Option<i64>,
    creation_timestamp: Option<Time>,
    deletion_timestamp: Option<Time>,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

fn metadata<'de, D: Deserializer<'de>>(input: D) -> Result<ObjectMeta, D::Error> {
    let read = Metadata::deserialize(input)?;
    let annotations = read.annotations.map(|mut all| {
        all.retain(|key, _| key.split_once('/').is_some_and(|(domain, _)| domain == GROUP));
        all
    });
    Ok(ObjectMeta {
        name: read.name,
        namespace: read.namespace,
        uid: read.uid,
        resource_version: read.resource_version,
        generation: read.generation,
        creation_timestamp: read.creation_timestamp,
        deletion_timestamp: read.deletion_timestamp,
        annotations: annotations.filter(|ours| !ours.is_empty()),
        ..ObjectMeta::default()
    })
}

fn lenient<'de, D: Deserializer<'de>, T: DeserializeOwned>(input: D) -> Result<Option<T>, D::Error> {
    let value = serde_json::Value::deserialize(input)?;
    Ok(serde_json::from_value(value).ok())
}

impl Resource for SeenClaim {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        ScopedSecret::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        ScopedSecret::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        ScopedSecret::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        ScopedSecret::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn seen(spec: serde_json::Value) -> SeenClaim {
        let object = json!({
            "apiVersion": "scopedsecrets.io/v1alpha1", "kind": "ScopedSecret", "spec": spec,
            "metadata": {
                "name": "orders", "namespace": "payments-prod", "uid": "u", "resourceVersion": "7", "generation": 2,
                "creationTimestamp": "2026-01-01T00:00:00Z", "managedFields": [{"manager": "kubectl"}],
                "annotations": {"scopedsecrets.io/refresh-at": "now", "kubectl.kubernetes.io/last-applied-configuration": "{}"}
            },
            "status": {"observedGeneration": 1}
        });
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn keeps_what_decides_and_nothing_else() {
        let claim = seen(json!({"storeRef": {"name": "aws"}, "dataFrom": [{"remoteRef": {"key": "a/b"}}]}));
        assert_eq!(claim.spec.map(|s| s.store_ref.name).as_deref(), Some("aws"));
        assert_eq!(claim.status.and_then(|s| s.observed_generation), Some(1));
        assert_eq!(
            claim.metadata.annotations.map(|all| all.into_keys().collect::<Vec<_>>()).unwrap(),
            ["scopedsecrets.io/refresh-at"]
        );
        assert!(claim.metadata.managed_fields.is_none());
        assert_eq!((claim.metadata.generation, claim.metadata.resource_version.as_deref()), (Some(2), Some("7")));
    }

    #[test]
    fn what_cannot_be_understood_is_still_seen() {
        let claim = seen(json!({"storeRef": 7}));
        assert!(claim.spec.is_none() && claim.metadata.name.as_deref() == Some("orders"));
    }
}
