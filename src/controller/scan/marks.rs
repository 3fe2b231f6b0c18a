//! Replicators' marks on Secrets of governed namespaces that came in past the rule Replication. Only metadata is read.
//!
//! On a managed Secret the operator takes them off itself; elsewhere they are told, and stay.

use super::{ScanError, Walk, pages};
use crate::admission::rules::replication::{RULE, source_elsewhere};
use crate::api::{MANAGED_BY, MANAGED_BY_LABEL, Reason};
use crate::segmentation::violation::{ObjectRef, Violation};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use kube::api::Api;
use kube::core::PartialObjectMeta;
use std::sync::Arc;

/// Lists the metadata of every Secret.
pub(super) async fn walk(walk: &mut Walk<'_>) -> Result<(), ScanError> {
    let cx = walk.cx;
    let secrets = Api::<PartialObjectMeta<Secret>>::all(cx.client.clone());
    pages::each(cx, "Secret", &secrets, |page| {
        for secret in page {
            let violation = secret.namespace().and_then(|namespace| {
                let (namespace, segment) = walk.members.get_key_value(&*namespace)?;
                judge(&secret.metadata, namespace, segment)
            });
            walk.add(violation);
        }
    })
    .await
}

/// A mark that lets a replicator fill a Secret from another namespace. Pure.
fn judge(metadata: &ObjectMeta, namespace: &Arc<str>, segment: &Arc<str>) -> Option<Violation> {
    let managed = metadata.labels.iter().flatten().any(|(k, v)| k == MANAGED_BY_LABEL && v == MANAGED_BY);
    let annotations = metadata.annotations.iter().flatten();
    let mut sources = annotations.filter_map(|(key, value)| Some((key, source_elsewhere(key, value, namespace)?)));
    let (key, source) = sources.next().filter(|_| !managed)?;
    Some(Violation {
        segment: segment.clone(),
        rule: RULE,
        reason: Reason::ReplicatedIn,
        object: ObjectRef {
            api_version: "v1".into(),
            kind: "Secret".into(),
            namespace: Some(namespace.clone()),
            name: metadata.name.clone().unwrap_or_default(),
        },
        message: format!(
            "{key:?} lets a replicator fill it from namespace {source:?}, and this namespace is governed: delete it, and write a ScopedSecret with a key of this namespace's own"
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_in_another_namespace_is_told() {
        let told = |key: &str, value: &str, label: &str| {
            let metadata =
                serde_json::json!({"name": "s", "annotations": {key: value}, "labels": {MANAGED_BY_LABEL: label}});
            judge(&serde_json::from_value(metadata).unwrap(), &"payments-prod".into(), &"payments/prod".into())
        };
        let (reflects, from) = ("reflector.v1.k8s.emberstack.com/reflects", "replicator.v1.mittwald.de/replicate-from");
        for (key, value, label, found) in [
            (reflects, "billing-prod/db", "helm", true),
            (from, "billing-prod/db", "helm", true),
            (from, "payments-prod/db", "helm", false),
            (from, "db", "helm", false),
            // The operator takes it off itself.
            (from, "billing-prod/db", MANAGED_BY, false),
            ("reflector.v1.k8s.emberstack.com/reflection-allowed", "true", "helm", false),
            ("example.com/replicate-from", "billing-prod/db", "helm", false),
        ] {
            assert_eq!(told(key, value, label).is_some(), found, "{key} {value} {label}");
        }
    }
}
