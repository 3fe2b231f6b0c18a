//! The one policy that is written.

use super::keys::Whole;
use super::secrets::Draft;
use super::segments::{Pattern, pattern};
use super::{Told, object};
use crate::api::{NAMESPACE_NAME_LABEL, Reason};
use crate::cli::init::found::Found;
use crate::cli::init::written::Document;
use crate::cli::report::{Finding, Rule, Severity, Subject};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The one policy, as it grows.
pub struct Policy<'a> {
    labels: &'a [String],
    /// Those that it governs, where they are named.
    pub namespaces: Vec<String>,
    /// By store: patterns, and whether any version is read.
    pub allowed: BTreeMap<String, (BTreeSet<Pattern>, bool)>,
    scopes: BTreeMap<Whole, BTreeSet<String>>,
    types: BTreeSet<String>,
    retain: bool,
}

/// Types that every policy allows.
const PLAIN: [&str; 5] = [
    "Opaque",
    "kubernetes.io/tls",
    "kubernetes.io/dockerconfigjson",
    "kubernetes.io/basic-auth",
    "kubernetes.io/ssh-auth",
];

impl<'a> Policy<'a> {
    /// One that allows nothing yet.
    pub fn new(labels: &'a [String]) -> Self {
        Self {
            labels,
            namespaces: Vec::new(),
            allowed: BTreeMap::new(),
            scopes: BTreeMap::new(),
            types: BTreeSet::new(),
            retain: false,
        }
    }

    /// Allows what is left of a draft.
    pub fn allow(&mut self, draft: &Draft<'_>, found: &Found, spec: &Value) {
        let namespace = draft.theirs.namespace.as_str();
        let (Some(store), Some(own)) = (draft.store, found.namespaces.get(namespace)) else { return };
        let (patterns, any_version) = self.allowed.entry(store.name.clone()).or_default();
        for (place, item) in draft.placed() {
            patterns.insert(pattern(&item.key, self.labels, namespace, own));
            *any_version |= item.any_version;
            let scope = self.scopes.entry((place, item.key.as_written().to_owned())).or_default();
            scope.insert(namespace.to_owned());
        }
        let kind = spec["target"]["type"].as_str().filter(|kind| !PLAIN.contains(kind));
        self.types.extend(kind.map(str::to_owned));
        self.retain |= spec["deletionPolicy"] == "Retain";
    }

    /// As it is written.
    pub fn document(&self, told: &mut Vec<Told>) -> Document {
        let by_name = self.labels == [NAMESPACE_NAME_LABEL];
        let selector: Vec<Value> = if by_name {
            vec![json!({"key": NAMESPACE_NAME_LABEL, "operator": "In", "values": self.namespaces})]
        } else {
            self.labels.iter().map(|label| json!({"key": label, "operator": "Exists"})).collect()
        };
        let mut comments = vec![if by_name {
            "No label of the namespaces is a part of the keys, so that each namespace is a segment of its own (--labels names others).".to_owned()
        } else {
            format!(
                "A segment is named by these labels: {}. Look whether those are yours (--labels names others).",
                self.labels.join(", ")
            )
        }];
        let mut allow = Vec::new();
        for (store, (patterns, any_version)) in &self.allowed {
            for shared in patterns.iter().filter(|pattern| !pattern.separates) {
                let message = format!(
                    "the pattern {:?} names no segment, so that every segment may claim what it covers, if nobody has it yet: store it under a key that has the segment's labels in it",
                    shared.text
                );
                comments.push(format!("OTHERWISE THAN BEFORE: {message}."));
                told.push(Finding::live(
                    Severity::Warning,
                    Rule::Policies,
                    Reason::SharedPattern,
                    Subject::cluster("SegmentationPolicy", NAME),
                    message,
                ));
            }
            let all: Vec<&str> = patterns.iter().map(|pattern| pattern.text.as_str()).collect();
            for some in all.chunks(16) {
                let mut entry = json!({"storeRef": {"name": store}, "keys": some});
                if *any_version {
                    entry["actions"] = json!(["Read", "ReadAnyVersion"]);
                }
                allow.push(entry);
            }
        }
        let mut rules = Map::new();
        if self.scopes.values().any(|namespaces| namespaces.len() > 1) {
            comments.push("Namespaces of one segment share keys, hence exclusiveKeys: Segment.".into());
            rules.insert("exclusiveKeys".into(), "Segment".into());
        }
        if !self.types.is_empty() {
            rules.insert("targetTypes".into(), json!(self.types));
        }
        if self.retain {
            comments.push("A creationPolicy was Orphan, hence allowRetain.".into());
            rules.insert("allowRetain".into(), true.into());
        }
        let mut spec = json!({
            "segment": {"labels": self.labels}, "namespaceSelector": {"matchExpressions": selector}, "allow": allow,
        });
        if !rules.is_empty() {
            spec["rules"] = rules.into();
        }
        Document::Object(comments, Some(object("SegmentationPolicy", None, NAME, spec)))
    }
}

/// Of the policy.
const NAME: &str = "tenants";
