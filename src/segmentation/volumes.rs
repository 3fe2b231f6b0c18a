//! PersistentVolumes, StorageClasses and VolumeSnapshotClasses whose secret reference points into a governed namespace. Pure.

use super::consumers::RULE;
use super::references::{of_parameters, of_persistent_volume};
use super::violation::{ObjectRef, Violation};
use crate::api::Reason;
use k8s_openapi::api::core::v1::PersistentVolume;
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::DynamicObject;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The group of VolumeSnapshotClasses, a kind that need not be there.
pub const SNAPSHOTS: &str = "snapshot.storage.k8s.io";

/// What is known of the namespaces.
pub struct Governed<'a> {
    /// The segment of each that is in one.
    pub segments: &'a BTreeMap<Arc<str>, Arc<str>>,
    /// The managed Secrets, as (namespace, name).
    pub managed: &'a BTreeSet<(Arc<str>, Arc<str>)>,
}

impl Governed<'_> {
    fn is_managed(&self, namespace: &str, name: &str) -> bool {
        self.managed.contains(&(namespace.into(), name.into()))
    }

    /// What a PersistentVolume may not name: a managed Secret, or any in a governed namespace that is not its claim's.
    pub fn of_volume(&self, volume: &PersistentVolume) -> Vec<Violation> {
        let (secrets, bound) = of_persistent_volume(volume);
        let breaks = |(namespace, name)| {
            let segment = self.segments.get(namespace)?;
            let foreign = bound != Some(namespace);
            (foreign || self.is_managed(namespace, name)).then(|| (segment.clone(), namespace, name))
        };
        self.told("v1", "PersistentVolume", name_of(&volume.metadata), secrets.into_iter().filter_map(breaks))
    }

    /// What a StorageClass may not name: a Secret in a governed namespace; where the namespace is filled in for each claim, a
    /// name that a managed Secret has, or one that is filled in as well, where there is a managed Secret.
    pub fn of_class(&self, class: &StorageClass) -> Vec<Violation> {
        let parameters = class.parameters.clone().unwrap_or_default();
        self.of_parameters("storage.k8s.io/v1", "StorageClass", name_of(&class.metadata), &parameters)
    }

    /// Likewise a VolumeSnapshotClass.
    pub fn of_snapshot_class(&self, class: &DynamicObject) -> Vec<Violation> {
        let parameters = class.data.get("parameters").and_then(|all| all.as_object()).into_iter().flatten();
        let parameters =
            parameters.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect();
        self.of_parameters(&format!("{SNAPSHOTS}/v1"), "VolumeSnapshotClass", name_of(&class.metadata), &parameters)
    }

    fn of_parameters(
        &self,
        api_version: &str,
        kind: &str,
        class: &str,
        parameters: &BTreeMap<String, String>,
    ) -> Vec<Violation> {
        let named = of_parameters(parameters).into_iter().flat_map(|(namespace, name)| match (namespace, name) {
            (Some(namespace), name) => vec![(namespace, name.unwrap_or("..."))],
            (None, Some(name)) => {
                let alike = self.managed.iter().filter(|(_, managed)| **managed == *name);
                alike.map(|(namespace, _)| (&**namespace, name)).collect()
            }
            // Whoever writes a claim for a volume says which.
            (None, None) => self.managed.iter().map(|(namespace, _)| (&**namespace, "...")).collect(),
        });
        let inside: Vec<_> = named.filter_map(|(ns, name)| Some((self.segments.get(ns)?.clone(), ns, name))).collect();
        self.told(api_version, kind, class, inside.into_iter())
    }

    /// One violation a segment.
    fn told<'s>(
        &self,
        api_version: &str,
        kind: &str,
        name: &str,
        references: impl Iterator<Item = (Arc<str>, &'s str, &'s str)>,
    ) -> Vec<Violation> {
        let mut by_segment: BTreeMap<Arc<str>, BTreeSet<String>> = BTreeMap::new();
        for (segment, namespace, secret) in references {
            by_segment.entry(segment).or_default().insert(format!("{namespace}/{secret}"));
        }
        let violation = |(segment, secrets): (Arc<str>, BTreeSet<String>)| Violation {
            segment,
            rule: RULE,
            reason: Reason::ForeignConsumer,
            object: ObjectRef {
                api_version: api_version.into(),
                kind: kind.into(),
                namespace: None,
                name: name.into(),
            },
            message: format!(
                "its secret reference points into a governed namespace ({}), so that whoever mounts it has that Secret's values used, or shown, past the consumers: keep a storage driver's credentials in a namespace of its own",
                secrets.iter().take(5).cloned().collect::<Vec<_>>().join(", ")
            ),
        };
        by_segment.into_iter().map(violation).collect()
    }
}

fn name_of(metadata: &ObjectMeta) -> &str {
    metadata.name.as_deref().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn told(object: &Value) -> Vec<String> {
        let segments =
            [("payments-prod".into(), "payments/prod".into()), ("payments-prod-2".into(), "payments/prod".into())];
        let (segments, managed) =
            (BTreeMap::from(segments), BTreeSet::from([("payments-prod".into(), "orders".into())]));
        let governed = Governed { segments: &segments, managed: &managed };
        let found = match object["kind"].as_str() {
            Some("PersistentVolume") => governed.of_volume(&serde_json::from_value(object.clone()).unwrap()),
            Some("VolumeSnapshotClass") => governed.of_snapshot_class(&serde_json::from_value(object.clone()).unwrap()),
            _ => governed.of_class(&serde_json::from_value(object.clone()).unwrap()),
        };
        found
            .into_iter()
            .map(|v| format!("{} {}", v.segment, v.message.split(&['(', ')'][..]).nth(1).unwrap()))
            .collect()
    }

    fn volume(source: Value, bound: &str) -> Value {
        let mut spec = json!({"claimRef": {"namespace": bound, "name": "c"}});
        spec.as_object_mut().unwrap().extend(source.as_object().unwrap().clone());
        json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "v"}, "spec": spec})
    }

    fn csi(namespace: &str, name: &str) -> Value {
        json!({"csi": {"driver": "d", "volumeHandle": "h", "nodeStageSecretRef": {"namespace": namespace, "name": name}}})
    }

    #[test]
    fn a_volume_names_no_managed_secret_and_none_of_a_foreign_namespace() {
        let orders = vec!["payments/prod payments-prod/orders".to_owned()];
        let noted = |namespace: &str| {
            let mut volume = volume(json!({}), "payments-prod");
            volume["metadata"]["annotations"] = json!({
                "volume.kubernetes.io/provisioner-deletion-secret-name": "orders",
                "volume.kubernetes.io/provisioner-deletion-secret-namespace": namespace,
            });
            volume
        };
        for (what, object, expected) in [
            ("a managed one", volume(csi("payments-prod", "orders"), "payments-prod"), orders.clone()),
            ("from elsewhere", volume(csi("payments-prod", "orders"), "plain"), orders),
            ("another of its own claim's", volume(csi("payments-prod", "ceph"), "payments-prod"), vec![]),
            (
                "another's",
                volume(csi("payments-prod", "ceph"), "payments-prod-2"),
                vec!["payments/prod payments-prod/ceph".to_owned()],
            ),
            ("of the driver's own namespace", volume(csi("storage", "ceph"), "payments-prod"), vec![]),
            ("for its deletion", noted("payments-prod"), vec!["payments/prod payments-prod/orders".to_owned()]),
            ("for its deletion, the driver's own", noted("storage"), vec![]),
        ] {
            assert_eq!(told(&object), expected, "{what}");
        }
    }

    #[test]
    fn a_class_names_none_of_a_governed_namespace() {
        let class = |parameters: Value| json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "c"}, "provisioner": "d", "parameters": parameters});
        let pair = |name: &str, namespace: &str| {
            class(json!({
                "csi.storage.k8s.io/node-stage-secret-name": name, "csi.storage.k8s.io/node-stage-secret-namespace": namespace,
            }))
        };
        let snapshots = |name: &str, namespace: &str| {
            json!({"apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshotClass", "metadata": {"name": "c"}, "driver": "d", "parameters": {
                "csi.storage.k8s.io/snapshotter-secret-name": name, "csi.storage.k8s.io/snapshotter-secret-namespace": namespace,
            }})
        };
        for (object, expected) in [
            (pair("orders", "payments-prod"), vec!["payments/prod payments-prod/orders"]),
            (pair("ceph", "payments-prod"), vec!["payments/prod payments-prod/ceph"]),
            (pair("${pvc.name}", "payments-prod"), vec!["payments/prod payments-prod/..."]),
            (pair("orders", "${pvc.namespace}"), vec!["payments/prod payments-prod/orders"]),
            (pair("ceph", "${pvc.namespace}"), vec![]),
            (pair("${pvc.name}", "${pvc.namespace}"), vec!["payments/prod payments-prod/..."]),
            (
                pair("${pvc.annotations['team.example.com/s']}", "${pvc.namespace}"),
                vec!["payments/prod payments-prod/..."],
            ),
            (pair("ceph", "storage"), vec![]),
            (
                class(json!({"secretName": "orders", "secretNamespace": "payments-prod"})),
                vec!["payments/prod payments-prod/orders"],
            ),
            (class(json!({})), vec![]),
            (snapshots("orders", "payments-prod"), vec!["payments/prod payments-prod/orders"]),
            (
                snapshots("${volumesnapshot.name}", "${volumesnapshot.namespace}"),
                vec!["payments/prod payments-prod/..."],
            ),
            (snapshots("ceph", "storage"), vec![]),
        ] {
            assert_eq!(told(&object), expected, "{object}");
        }
    }
}
