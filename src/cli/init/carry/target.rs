//! What an ExternalSecret says of the Secret to write: its name, its type, and its templates.

use super::secrets::{Draft, list, refused};
use super::template;
use crate::api::Reason;
use crate::cli::report::Severity;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Types on which the cluster itself acts.
const CLUSTERS_OWN: [&str; 3] =
    ["kubernetes.io/service-account-token", "bootstrap.kubernetes.io/token", "helm.sh/release.v1"];

impl Draft<'_> {
    /// The target, and the secretKeys that have another name, since a template takes theirs.
    pub fn target(&mut self, suffix: &str) -> (Map<String, Value>, BTreeMap<String, String>) {
        let theirs = &self.theirs.spec["target"];
        let mut target = Map::new();
        let name = format!("{}{suffix}", self.target);
        if name != self.theirs.name {
            target.insert("name".into(), name.into());
        }
        if theirs["immutable"] == true {
            target.insert("immutable".into(), true.into());
        }
        if !theirs["manifest"].is_null() {
            self.lost("target.manifest makes another kind of object: a ScopedSecret makes a Secret");
        }
        let template = &theirs["template"];
        match template["type"].as_str().unwrap_or_default() {
            "" | "Opaque" => {}
            kind if CLUSTERS_OWN.contains(&kind) => {
                self.lost(format!(
                    "target.template.type {kind:?} is the cluster's own, and nobody else makes such Secrets"
                ));
            }
            kind => drop(target.insert("type".into(), kind.into())),
        }
        if !list(&template["templateFrom"]).is_empty() {
            self.lost("target.template.templateFrom has no match: write its text into target.template.data");
        }
        if !list(&template["metadata"]["finalizers"]).is_empty() {
            self.lost("target.template.metadata.finalizers has no match: a Secret that is withdrawn has to go");
        }
        let mut ours = Map::new();
        for field in ["labels", "annotations"] {
            let kept = self.metadata(field, &template["metadata"][field]);
            if !kept.is_empty() {
                ours.insert(field.into(), kept.into());
            }
        }
        let (data, renamed) = self.data(template);
        if !data.is_empty() {
            ours.insert("data".into(), data.into());
        }
        if !ours.is_empty() {
            target.insert("template".into(), ours.into());
        }
        (target, renamed)
    }

    /// Labels or annotations that may be written.
    fn metadata(&mut self, field: &str, theirs: &Value) -> Map<String, Value> {
        let mut kept = Map::new();
        for (key, value) in theirs.as_object().into_iter().flatten() {
            let text = value.as_str().unwrap_or_default();
            let alone = json!({"storeRef": {"name": "a"}, "dataFrom": [{"remoteRef": {"key": "a"}}],
                "target": {"template": {field: {key: text}}}});
            if text.contains("{{") {
                self.lost(format!("target.template.{field}: the value of {key:?} is a template, and labels and annotations are literal here"));
            } else if let Some(why) = refused(&alone) {
                self.lost(why);
            } else {
                kept.insert(key.clone(), text.into());
            }
        }
        kept
    }

    /// The keys that templates add.
    fn data(&mut self, template: &Value) -> (Map<String, Value>, BTreeMap<String, String>) {
        let theirs = template["data"].as_object().cloned().unwrap_or_default();
        let own: BTreeSet<String> = self.items.iter().filter_map(|item| item.secret_key.clone()).collect();
        let any = self.items.iter().any(|item| item.secret_key.is_none());
        let same = |key: &str, text: &str| (own.contains(key) || any) && is_own_value(key, text);
        let added: Vec<(&String, &str)> = theirs
            .iter()
            .map(|(key, text)| (key, text.as_str().unwrap_or_default()))
            .filter(|(key, text)| !same(key, text))
            .collect();
        let renamed: BTreeMap<String, String> = added
            .iter()
            .filter(|(key, _)| own.contains(*key))
            .map(|(key, _)| ((*key).clone(), format!("{key}-source")))
            .collect();
        let mut kept = Map::new();
        for (key, text) in &added {
            match template::carry(text, &renamed) {
                Ok(carried) => {
                    let unknown = carried.variables.iter().find(|variable| !any && !own.contains(*variable));
                    match unknown {
                        Some(variable) => self.lost(format!("target.template.data: the template of {key:?} asks for {variable:?}, which is not carried over")),
                        None => drop(kept.insert((*key).clone(), carried.text.into())),
                    }
                }
                Err(what) => {
                    self.lost(format!("target.template.data: the template of {key:?} has no match here: {what}"))
                }
            }
        }
        let dropped = !theirs.is_empty() && template["mergePolicy"].as_str() != Some("Merge");
        let beside: Vec<String> =
            own.iter().filter(|key| !theirs.contains_key(*key)).cloned().chain(renamed.values().cloned()).collect();
        if dropped && (any || !beside.is_empty()) {
            let which = if any { "every property that is claimed".to_owned() } else { beside.join(", ") };
            self.say(Severity::Warning, Reason::NotCarriedOver, format!("target.template.data was all of the Secret there (mergePolicy Replace); here it is added, so that the Secret has {which}, too"));
        }
        (kept, renamed)
    }
}

/// Whether a template gives a key's own value and nothing else.
fn is_own_value(key: &str, text: &str) -> bool {
    let inner = text.trim().strip_prefix("{{").and_then(|rest| rest.strip_suffix("}}"));
    inner.and_then(|inner| inner.trim().strip_prefix('.')) == Some(key)
}
