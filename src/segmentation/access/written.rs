//! Roles and bindings as they are written: what decides, and nothing else of an object.

use super::aggregation::Aggregation;
use super::role::{MOST_NAMES, Role};
use super::subject::{MOST_SUBJECTS, Subject};
use super::{Binding, RbacName};
use k8s_openapi::api::rbac::v1::{self, AggregationRule, PolicyRule, RoleRef};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use std::fmt;

/// What is read of a Role or ClusterRole.
#[derive(Deserialize, Clone, Debug)]
#[serde(from = "WrittenRules")]
pub struct Rules {
    pub(crate) metadata: ObjectMeta,
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
    pub(crate) metadata: ObjectMeta,
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{from_value, json};

    #[test]
    fn names_beyond_those_that_are_looked_at_are_not_kept() {
        let names = |text: &str| serde_json::from_str::<FewNames>(text).unwrap().0.len();
        let list = |count: usize| format!("[{}]", vec!["\"a\""; count].join(","));
        assert_eq!([names(&list(0)), names(&list(64)), names(&list(65)), names(&list(300_000))], [0, 64, 65, 65]);
        let many: Vec<String> = (0..1000).map(|i| format!("n{i}")).collect();
        let object = json!({"metadata": {"name": "r", "namespace": "a"}, "rules": [
            {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"], "resourceNames": many}
        ]});
        let rules: Rules = serde_json::from_str(&object.to_string()).unwrap();
        assert_eq!((rules.role().powers.to_string().as_str(), rules.role().secrets.len()), ("get secrets", 0));
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
