//! Roles and bindings as the watches read them: what decides, and nothing else of an object.

pub use crate::segmentation::access::written::{Bound, Rules};

use crate::segmentation::access::RbacName;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::Deserialize;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

/// What a watch can read of an object.
pub trait Body {
    /// Its metadata.
    fn metadata(&self) -> &ObjectMeta;
    /// To be changed.
    fn metadata_mut(&mut self) -> &mut ObjectMeta;
}

impl Body for Rules {
    fn metadata(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl Body for Bound {
    fn metadata(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// An object of kind `K`, with what is read of it. Nothing is flattened: that would keep all of the object meanwhile.
#[derive(Deserialize)]
#[serde(transparent, bound(deserialize = "B: Deserialize<'de>"))]
pub struct Seen<K, B> {
    /// What is read.
    pub body: B,
    #[serde(skip)]
    kind: PhantomData<fn() -> K>,
}

impl<K, B: Clone> Clone for Seen<K, B> {
    fn clone(&self) -> Self {
        Self { body: self.body.clone(), kind: PhantomData }
    }
}

impl<K, B: Body> fmt::Debug for Seen<K, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seen").field("name", &self.body.metadata().name).finish_non_exhaustive()
    }
}

impl<K, B: Body> Seen<K, B> {
    /// Its namespace and name.
    pub fn name(&self) -> RbacName {
        let metadata = self.body.metadata();
        RbacName::new(metadata.namespace.as_deref(), metadata.name.as_deref().unwrap_or_default())
    }

    /// Its labels.
    pub fn labels(&self) -> Option<&BTreeMap<String, String>> {
        self.body.metadata().labels.as_ref()
    }
}

impl<K: Resource<DynamicType = ()>, B: Body> Resource for Seen<K, B> {
    type DynamicType = ();
    type Scope = K::Scope;

    fn kind((): &()) -> Cow<'_, str> {
        K::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        K::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        K::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        K::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        self.body.metadata()
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        self.body.metadata_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::rbac::v1;
    use serde_json::{from_value, json};

    #[test]
    fn keeps_what_decides() {
        let object = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
            "metadata": {
                "name": "view", "uid": "u", "resourceVersion": "7", "managedFields": [{"manager": "x"}],
                "labels": {"a": "b"}, "annotations": {"c": "d"}
            },
            "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"e": "f"}}]},
            "rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}]
        });
        let seen: Seen<v1::ClusterRole, Rules> = from_value(object).unwrap();
        assert_eq!(seen.body.role().powers.to_string(), "get secrets");
        assert_eq!(seen.body.aggregation(seen.labels()).selectors.len(), 1);
        assert!(seen.meta().managed_fields.is_none() && seen.meta().annotations.is_none());
        assert_eq!((seen.name(), seen.meta().resource_version.as_deref()), (RbacName::new(None, "view"), Some("7")));
        // As the API server writes a role without rules.
        let empty = json!({"metadata": {"name": "x"}, "rules": null});
        assert!(from_value::<Seen<v1::ClusterRole, Rules>>(empty).unwrap().body.role().is_powerless());
    }

    #[test]
    fn a_binding_names_a_role_of_its_own_namespace_or_of_the_cluster() {
        for (kind, namespace) in [("Role", Some("a")), ("ClusterRole", None)] {
            let object = json!({
                "metadata": {"name": "b", "namespace": "a"},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": "r"},
                "subjects": [{"kind": "ServiceAccount", "name": "x"}]
            });
            let seen: Seen<v1::RoleBinding, Bound> = from_value(object).unwrap();
            let binding = seen.body.binding(Some("a"));
            assert_eq!((binding.role, binding.subjects.len()), (RbacName::new(namespace, "r"), 1));
        }
    }
}
