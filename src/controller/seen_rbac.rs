//! Roles and bindings as the watches read them: what decides, and nothing else of an object.

use crate::segmentation::access::aggregation::Aggregation;
use crate::segmentation::access::role::Role;
use crate::segmentation::access::subject::Subject;
use crate::segmentation::access::{Binding, RbacName};
use k8s_openapi::api::rbac::v1::{self, AggregationRule, PolicyRule, RoleRef};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::{Deserialize, Deserializer};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

/// What is read of a Role or ClusterRole.
#[derive(Deserialize, Clone, Debug)]
#[serde(rename_all = "camelCase")]
pub struct Rules {
    #[serde(default)]
    rules: Option<Vec<PolicyRule>>,
    #[serde(default)]
    aggregation_rule: Option<AggregationRule>,
}

/// What is read of a RoleBinding or ClusterRoleBinding.
#[derive(Deserialize, Clone, Debug)]
#[serde(rename_all = "camelCase")]
pub struct Bound {
    role_ref: RoleRef,
    #[serde(default)]
    subjects: Option<Vec<v1::Subject>>,
}

impl Rules {
    /// The powers.
    pub fn role(&self) -> Role {
        Role::of(self.rules.as_deref().unwrap_or_default())
    }

    /// Where a ClusterRole's rules go and come from.
    pub fn aggregation(&self, labels: Option<&BTreeMap<String, String>>) -> Aggregation {
        Aggregation::of(labels, self.aggregation_rule.as_ref())
    }
}

impl Bound {
    /// The binding, of a namespace or of the cluster.
    pub fn binding(&self, namespace: Option<&str>) -> Binding {
        let own = namespace.filter(|_| self.role_ref.kind != "ClusterRole");
        let subjects = self.subjects.iter().flatten().filter_map(|subject| Subject::of(subject, namespace));
        Binding { role: RbacName::new(own, &self.role_ref.name), subjects: subjects.collect() }
    }
}

/// An object of kind `K`, with what is read of it.
#[derive(Deserialize)]
#[serde(bound(deserialize = "B: Deserialize<'de>"))]
pub struct Seen<K, B> {
    #[serde(deserialize_with = "metadata")]
    metadata: ObjectMeta,
    /// The rest.
    #[serde(flatten)]
    pub body: B,
    #[serde(skip)]
    kind: PhantomData<fn() -> K>,
}

impl<K, B: Clone> Clone for Seen<K, B> {
    fn clone(&self) -> Self {
        Self { metadata: self.metadata.clone(), body: self.body.clone(), kind: PhantomData }
    }
}

impl<K, B> fmt::Debug for Seen<K, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seen").field("name", &self.metadata.name).finish_non_exhaustive()
    }
}

impl<K, B> Seen<K, B> {
    /// Its namespace and name.
    pub fn name(&self) -> RbacName {
        RbacName::new(self.metadata.namespace.as_deref(), self.metadata.name.as_deref().unwrap_or_default())
    }

    /// Its labels.
    pub fn labels(&self) -> Option<&BTreeMap<String, String>> {
        self.metadata.labels.as_ref()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    name: Option<String>,
    namespace: Option<String>,
    resource_version: Option<String>,
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
}

fn metadata<'de, D: Deserializer<'de>>(input: D) -> Result<ObjectMeta, D::Error> {
    let read = Metadata::deserialize(input)?;
    Ok(ObjectMeta {
        name: read.name,
        namespace: read.namespace,
        resource_version: read.resource_version,
        labels: read.labels,
        ..ObjectMeta::default()
    })
}

impl<K: Resource<DynamicType = ()>, B> Resource for Seen<K, B> {
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
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
