//! Roles and bindings as the watches read them: what decides, and nothing else of an object.

use crate::segmentation::access::aggregation::Aggregation;
use crate::segmentation::access::role::{MOST_NAMES, Role};
use crate::segmentation::access::subject::{MOST_SUBJECTS, Subject};
use crate::segmentation::access::{Binding, RbacName};
use k8s_openapi::api::rbac::v1::{self, AggregationRule, PolicyRule, RoleRef};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

/// What is read of a Role or ClusterRole.
#[derive(Deserialize, Clone, Debug)]
#[serde(from = "WrittenRules")]
pub struct Rules {
    metadata: ObjectMeta,
    role: Role,
    aggregation_rule: Option<AggregationRule>,
}

/// As it is written.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenRules {
    #[serde(default, deserialize_with = "metadata")]
    metadata: ObjectMeta,
    #[serde(default)]
    rules: Option<Vec<WrittenRule>>,
    #[serde(default)]
    aggregation_rule: Option<AggregationRule>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenRule {
    #[serde(default)]
    api_groups: Option<Vec<String>>,
    #[serde(default)]
    resources: Option<Vec<String>>,
    #[serde(default)]
    verbs: Option<Vec<String>>,
    #[serde(default)]
    resource_names: Option<FewNames>,
}

/// The first names, with one more than are looked at if there are more.
struct FewNames(Vec<String>);

/// What is read of a RoleBinding or ClusterRoleBinding.
#[derive(Deserialize, Clone, Debug)]
#[serde(rename_all = "camelCase")]
pub struct Bound {
    #[serde(default, deserialize_with = "metadata")]
    metadata: ObjectMeta,
    role_ref: RoleRef,
    #[serde(default)]
    subjects: Option<FewSubjects>,
}

/// The first subjects, and how many there are: people are no strangers in a namespace, and must hide nobody who is.
#[derive(Clone, Debug, Default)]
struct FewSubjects {
    first: Vec<v1::Subject>,
    people: usize,
    accounts: usize,
}

impl From<WrittenRule> for PolicyRule {
    fn from(rule: WrittenRule) -> Self {
        Self {
            api_groups: rule.api_groups,
            resources: rule.resources,
            verbs: rule.verbs.unwrap_or_default(),
            resource_names: rule.resource_names.map(|names| names.0),
            ..Self::default()
        }
    }
}

impl From<WrittenRules> for Rules {
    fn from(written: WrittenRules) -> Self {
        let rules: Vec<PolicyRule> = written.rules.into_iter().flatten().map(Into::into).collect();
        Self { metadata: written.metadata, role: Role::of(&rules), aggregation_rule: written.aggregation_rule }
    }
}

impl<'de> Deserialize<'de> for FewNames {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        input.deserialize_seq(NamesVisitor)
    }
}

struct NamesVisitor;

impl<'de> Visitor<'de> for NamesVisitor {
    type Value = FewNames;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of names")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<FewNames, A::Error> {
        let mut names = Vec::new();
        while names.len() <= MOST_NAMES {
            let Some(name) = list.next_element()? else { return Ok(FewNames(names)) };
            names.push(name);
        }
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(FewNames(names))
    }
}

impl<'de> Deserialize<'de> for FewSubjects {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        input.deserialize_seq(SubjectsVisitor)
    }
}

struct SubjectsVisitor;

impl<'de> Visitor<'de> for SubjectsVisitor {
    type Value = FewSubjects;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of subjects")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<FewSubjects, A::Error> {
        let mut few = FewSubjects::default();
        while let Some(subject) = list.next_element()? {
            few.add(subject);
        }
        Ok(few)
    }
}

impl FewSubjects {
    fn add(&mut self, subject: v1::Subject) {
        let Some(who) = Subject::of(&subject, None) else { return };
        let count = if who.is_a_person() { &mut self.people } else { &mut self.accounts };
        *count += 1;
        if *count <= MOST_SUBJECTS {
            self.first.push(subject);
        }
    }

    /// Whether there are some, of those who count, that are not looked at.
    fn has_more(&self, namespace: Option<&str>) -> bool {
        self.accounts > MOST_SUBJECTS || (namespace.is_none() && self.people > MOST_SUBJECTS)
    }
}

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

impl Rules {
    /// The powers.
    pub fn role(&self) -> &Role {
        &self.role
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
        let first = self.subjects.iter().flat_map(|few| &few.first).filter_map(|s| Subject::of(s, namespace));
        let more = self.subjects.as_ref().is_some_and(|few| few.has_more(namespace)).then_some(Subject::Others);
        Binding { role: RbacName::new(own, &self.role_ref.name), subjects: first.chain(more).collect() }
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

    #[test]
    fn names_beyond_those_that_are_looked_at_are_not_kept() {
        let names = |text: &str| serde_json::from_str::<FewNames>(text).unwrap().0.len();
        let list = |count: usize| format!("[{}]", vec!["\"a\""; count].join(","));
        assert_eq!([names(&list(0)), names(&list(64)), names(&list(65)), names(&list(300_000))], [0, 64, 65, 65]);
        let many: Vec<String> = (0..1000).map(|i| format!("n{i}")).collect();
        let object = json!({"metadata": {"name": "r", "namespace": "a"}, "rules": [
            {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"], "resourceNames": many}
        ]});
        let seen: Seen<v1::Role, Rules> = serde_json::from_str(&object.to_string()).unwrap();
        assert_eq!((seen.body.role().powers.to_string().as_str(), seen.body.role().secrets.len()), ("get secrets", 0));
    }

    #[test]
    fn subjects_beyond_those_that_are_looked_at_are_everybody() {
        let subjects = |kind: &str, count: usize| {
            let one = |i| json!({"kind": kind, "name": format!("s{i}"), "namespace": "b"});
            (0..count).map(one).collect::<Vec<_>>()
        };
        let bound = |subjects: Vec<serde_json::Value>| {
            let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "r"});
            from_value::<Bound>(json!({"roleRef": role, "subjects": subjects})).unwrap()
        };
        let told = |bound: &Bound, namespace| {
            let subjects = bound.binding(namespace).subjects;
            (subjects.len(), subjects.contains(&Subject::Others))
        };
        let here = Some("a");
        let (few, many) = (bound(subjects("ServiceAccount", 64)), bound(subjects("ServiceAccount", 20_000)));
        assert_eq!((told(&few, here), told(&few, None)), ((64, false), (64, false)));
        assert_eq!((told(&many, here), told(&many, None)), ((65, true), (65, true)));
        // People are no strangers in a namespace, and do not hide those who are.
        let people = bound(subjects("User", 100));
        assert_eq!((told(&people, here), told(&people, None)), ((64, false), (65, true)));
        let last = bound([subjects("User", 100), subjects("ServiceAccount", 1)].concat());
        assert!(last.binding(here).subjects.iter().any(|s| s.to_string() == "ServiceAccount b/s0"));
        assert!(
            Subject::Others.is_everybody()
                && Subject::Others.to_string().starts_with("more subjects than are looked at")
        );
    }
}
