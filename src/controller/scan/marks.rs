//! Replicators' marks on Secrets of governed namespaces that came in past the rule Replication. Pure.
//!
//! On a managed Secret the operator takes them off itself; elsewhere they are told, and stay.

use crate::admission::rules::replication::{RULE, source_elsewhere};
use crate::api::Reason;
use crate::segmentation::violation::{ObjectRef, Violation};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::sync::Arc;

/// A mark that lets a replicator fill a Secret from another namespace.
pub(super) fn judge(metadata: &ObjectMeta, namespace: &Arc<str>, segment: &Arc<str>) -> Option<Violation> {
    let annotations = metadata.annotations.iter().flatten();
    let mut sources = annotations.filter_map(|(key, value)| Some((key, source_elsewhere(key, value, namespace)?)));
    let (key, source) = sources.next()?;
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
        let told = |key: &str, value: &str| {
            let metadata = serde_json::json!({"name": "s", "annotations": {key: value}});
            judge(&serde_json::from_value(metadata).unwrap(), &"payments-prod".into(), &"payments/prod".into())
        };
        let (reflects, from) = ("reflector.v1.k8s.emberstack.com/reflects", "replicator.v1.mittwald.de/replicate-from");
        for (key, value, found) in [
            (reflects, "billing-prod/db", true),
            (from, "billing-prod/db", true),
            (from, "payments-prod/db", false),
            (from, "db", false),
            ("reflector.v1.k8s.emberstack.com/reflection-allowed", "true", false),
            ("example.com/replicate-from", "billing-prod/db", false),
        ] {
            assert_eq!(told(key, value).is_some(), found, "{key} {value}");
        }
    }
}
