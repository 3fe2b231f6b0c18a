//! What a kustomization says of the files in its folder: which it takes, and what it makes of them. Pure.

use crate::yaml::{Entry, Node, Value, compose, decode_text, split};
use std::sync::Arc;

/// What its file may be called.
pub const NAMES: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];

/// Fields by which nothing changes that is judged: what images, replicas and ConfigMaps are is not.
const UNCHANGING: [&str; 16] = [
    "apiVersion",
    "kind",
    "metadata",
    "resources",
    "bases",
    "images",
    "imageTags",
    "replicas",
    "configMapGenerator",
    "generatorOptions",
    "configurations",
    "crds",
    "openapi",
    "buildMetadata",
    "sortOptions",
    "validators",
];

/// What matters to who reads the files and builds nothing.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Kustomization {
    /// Fields by which it builds something else than its resources.
    pub changes: Vec<String>,
    /// Paths and addresses of files and folders that it takes.
    pub resources: Vec<String>,
    /// Paths of its patches, as far as they are paths.
    pub patches: Vec<String>,
    /// Whether it is built only together with what takes it.
    pub is_component: bool,
}

impl Kustomization {
    /// Of the bytes of its file; none if that is no kustomization, or no YAML.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let text = decode_text(bytes).ok()?;
        let node = split(&text).ok()?.into_iter().find_map(|chunk| compose(chunk).ok().flatten())?;
        // Flux has a kind of the same name.
        if node.text_at(&["apiVersion"]).is_some_and(|version| !version.starts_with("kustomize.config.k8s.io/")) {
            return None;
        }
        let changes = node.entries().iter().filter(|entry| !UNCHANGING.contains(&&*entry.key) && is_set(entry));
        let texts = |fields: &[&str]| -> Vec<String> {
            let items = fields.iter().flat_map(|field| listed(&node, field));
            items.filter_map(|item| item.text().or_else(|| item.text_at(&["path"]))).map(str::to_owned).collect()
        };
        Some(Self {
            changes: changes.map(|entry| entry.key.clone()).collect(),
            resources: texts(&["resources", "bases"]),
            patches: texts(&["patches", "patchesStrategicMerge", "patchesJson6902"]),
            is_component: node.text_at(&["kind"]) == Some("Component"),
        })
    }
}

fn listed<'a>(node: &'a Node, field: &str) -> &'a [Arc<Node>] {
    node.get(field).and_then(Node::items).unwrap_or_default()
}

fn is_set(entry: &Entry) -> bool {
    match &entry.value.value {
        Value::Null => false,
        Value::Text(text) => !text.is_empty(),
        Value::List(items) => !items.is_empty(),
        Value::Map(fields) => !fields.is_empty(),
        Value::Bool(..) | Value::Number(..) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_more_than_the_files_is_known() {
        let cases: [(&str, &[&str]); 6] = [
            ("resources: [a.yaml, ../base]\n", &[]),
            ("# of a team\n---\nkind: Kustomization\nresources: [a.yaml]\nnamespace: a\n", &["namespace"]),
            ("images: [{name: a, newTag: b}]\nconfigMapGenerator: [{name: a}]\npatches: []\nnamePrefix: ''\n", &[]),
            ("namePrefix: a-\npatches: [{patch: 'a: b'}]\n", &["namePrefix", "patches"]),
            ("labels: [{pairs: {a: b}}]\nsecretGenerator: [{name: a}]\n", &["labels", "secretGenerator"]),
            ("components: [../a]\nof-a-later-version: 1\n", &["components", "of-a-later-version"]),
        ];
        for (text, changes) in cases {
            assert_eq!(Kustomization::read(text.as_bytes()).unwrap().changes, changes, "{text}");
        }
        for text in ["apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nspec: {}\n", "a: [", ""] {
            assert_eq!(Kustomization::read(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn patches_are_named_in_three_ways() {
        let text = "apiVersion: kustomize.config.k8s.io/v1alpha1
kind: Component
resources: [a.yaml]
patches: [{path: b.yaml, target: {kind: ScopedSecret}}, {patch: 'a: b'}]
patchesStrategicMerge: [c.yaml]
patchesJson6902: [{target: {kind: ScopedSecret}, path: d.yaml}]
";
        let read = Kustomization::read(text.as_bytes()).unwrap();
        assert_eq!((read.resources, read.is_component), (vec!["a.yaml".to_owned()], true));
        assert_eq!(read.patches, ["b.yaml", "c.yaml", "d.yaml"]);
    }
}
