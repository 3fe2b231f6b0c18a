//! From what the External Secrets Operator was told to what says the same here. Pure.
//!
//! ```text
//!   SecretStores ────► stores ──► ScopedSecretStores
//!   ExternalSecrets ─► secrets ─► drafts ─┬─► segments ─► one SegmentationPolicy
//!   pods, workloads ──────────────────────┴────────────► ScopedSecrets, with their consumers
//! ```
//!
//! What has no match is told, as a finding and as a comment beside what is written; nothing is left out silently. In the end
//! everything is judged by [`simulate`], so that what is written is what a cluster would take.

mod secrets;
mod segments;
mod stores;
mod template;

use super::found::{Foreign, Found};
use super::written::{Document, File, yaml};
use crate::api::{NAMESPACE_NAME_LABEL, Reason};
use crate::cli::report::{Finding, Rule, Severity, Subject};
use crate::cli::simulate::accounts::{ASSUMED, Accounts};
use crate::cli::simulate::object::{OUR_VERSION, Source};
use crate::cli::simulate::{Options, simulate};
use crate::segmentation::foreign::ForeignKind;
use crate::segmentation::key::RemoteKey;
use crate::segmentation::pattern::{Binding, KeyPattern, Place};
use jiff::Timestamp;
use secrets::{Draft, Item};
use segments::{Pattern, pattern, segment_of};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use stores::Stores;

/// What is said of one of their objects.
pub type Told = Finding;

fn note(theirs: &Foreign, severity: Severity, reason: Reason, message: &str) -> Told {
    let namespace = Some(theirs.namespace.clone()).filter(|namespace| !namespace.is_empty());
    let subject = Subject { kind: theirs.kind.kind().into(), namespace, name: theirs.name.clone() };
    Finding::live(severity, Rule::OtherOperators, reason, subject, message)
}

/// What the reader decides.
#[derive(Debug, Clone, Default)]
pub struct Wishes {
    /// The labels that name a segment; empty: those that the keys tell.
    pub labels: Vec<String>,
    /// Accounts of stores that name none.
    pub accounts: Accounts,
    /// What is put behind every Secret's name, so that both operators can have theirs at once.
    pub suffix: String,
}

/// What was made.
#[derive(Debug, Default)]
pub struct Made {
    /// The files, in the order in which they are applied.
    pub files: Vec<File>,
    /// What could not be carried over, or only otherwise.
    pub findings: Vec<Finding>,
}

/// Where a key lives, and which it is.
type Whole = ((String, String), RemoteKeyText);
type RemoteKeyText = String;

/// Makes of what is there what says the same here.
pub fn carry(found: &Found, wishes: &Wishes, now: Timestamp) -> Made {
    let mut told = Vec::new();
    let stores = Stores::of(found, &wishes.accounts, &mut told);
    let secrets = found.objects.iter().filter(|object| object.kind == ForeignKind::ExternalSecret);
    let mut drafts: Vec<Draft<'_>> = secrets.map(|secret| Draft::of(secret, &stores)).collect();
    let labels = if wishes.labels.is_empty() {
        let keys = drafts.iter().flat_map(|draft| draft.items.iter().map(|item| (&*draft.theirs.namespace, &item.key)));
        segments::guess(&found.namespaces, keys)
    } else {
        wishes.labels.clone()
    };
    let keys = Keys::of(found, &labels, &drafts);
    drafts.iter_mut().for_each(|draft| keys.leave_out(draft));
    twins(&mut drafts);
    let mut policy = Policy::new(&labels);
    let mut files = Vec::new();
    for draft in &mut drafts {
        let namespace = draft.theirs.namespace.clone();
        let users = found.users.get(&(namespace.clone(), draft.target.clone()));
        if users.is_none() && !draft.items.is_empty() {
            draft.say(Severity::Error, Reason::ConsumersRequired, format!(
                "no pod, workload or ServiceAccount uses the Secret {:?}: write into consumers the ServiceAccounts whose pods are to use it, or leave it behind", draft.target
            ));
        }
        let spec = draft.spec(users, &wishes.suffix);
        if let Some(spec) = &spec {
            if let Some(why) = secrets::refused(spec) {
                draft.say(Severity::Error, Reason::NotCarriedOver, why);
            }
            policy.allow(draft, found, spec);
        }
        files.push(file_of(draft, spec));
        told.append(&mut draft.told);
    }
    told.extend(found.objects.iter().filter_map(beside));
    let mut platform: Vec<File> = Vec::new();
    let used: BTreeSet<&str> = policy.allowed.keys().map(String::as_str).collect();
    let documents = stores.specs.iter().filter(|(name, _)| used.contains(name.as_str())).map(|(name, spec)| {
        let comments = stores.comments.get(name).cloned().unwrap_or_default();
        Document::Object(comments, Some(object("ScopedSecretStore", None, name, spec.clone())))
    });
    platform.push(File { path: "platform/stores.yaml".into(), documents: documents.collect() });
    if !policy.allowed.is_empty() {
        policy.namespaces = keys.segments.keys().map(|namespace| (*namespace).to_owned()).collect();
        platform.push(File { path: "platform/policy.yaml".into(), documents: vec![policy.document(&mut told)] });
    }
    platform.retain(|file| !file.documents.is_empty());
    platform.append(&mut files);
    told.extend(judged(&platform, found, wishes, now, &told));
    Made { files: platform, findings: told }
}

/// What is beside ExternalSecrets and has no match.
fn beside(theirs: &Foreign) -> Option<Told> {
    let (reason, message) = match theirs.kind {
        ForeignKind::ClusterExternalSecret => (
            Reason::NotCarriedOver,
            "it spreads one ExternalSecret over namespaces: here each namespace has a ScopedSecret of its own. What it made in a cluster was read there; delete it before those",
        ),
        ForeignKind::PushSecret => (
            Reason::WriteNotAllowed,
            "it writes a Secret into a manager, which no policy allows: let whoever makes the value store it, or have it made by spec.rotation with strategy Generate",
        ),
        _ => return None,
    };
    Some(note(theirs, Severity::Error, reason, message))
}

fn object(kind: &str, namespace: Option<&str>, name: &str, spec: Value) -> Value {
    let mut metadata = json!({"name": name});
    if let Some(namespace) = namespace {
        metadata["namespace"] = namespace.into();
    }
    json!({"apiVersion": OUR_VERSION, "kind": kind, "metadata": metadata, "spec": spec})
}

fn file_of(draft: &Draft<'_>, spec: Option<Value>) -> File {
    let Foreign { namespace, name, .. } = draft.theirs;
    let mut comments = vec![match spec {
        Some(_) => format!("Was ExternalSecret {namespace}/{name}."),
        None => format!("Nothing of ExternalSecret {namespace}/{name} could be carried over."),
    }];
    comments.extend(draft.told.iter().map(|told| match told.severity {
        Severity::Error => format!("NOT CARRIED OVER: {}.", told.message),
        _ => format!("OTHERWISE THAN BEFORE: {}.", told.message),
    }));
    let object = spec.map(|spec| object("ScopedSecret", Some(namespace), name, spec));
    File { path: format!("{namespace}/{name}.yaml"), documents: vec![Document::Object(comments, object)] }
}

/// Two that write one Secret: the second was merged into it, which nothing here does.
fn twins(drafts: &mut [Draft<'_>]) {
    let mut seen: BTreeMap<(String, String), String> = BTreeMap::new();
    for draft in drafts {
        let secret = (draft.theirs.namespace.clone(), draft.target.clone());
        if let Some(first) = seen.get(&secret) {
            let message = format!(
                "ExternalSecret {first:?} writes the Secret {:?}, too: put both into one ScopedSecret",
                draft.target
            );
            draft.say(Severity::Error, Reason::NotCarriedOver, message);
            draft.items.clear();
        } else {
            seen.insert(secret, draft.theirs.name.clone());
        }
    }
}

/// Which keys may be whose.
struct Keys<'a> {
    labels: &'a [String],
    found: &'a Found,
    /// By namespace; only those that have every label.
    segments: BTreeMap<&'a str, String>,
    /// Who asks for a key.
    askers: BTreeMap<Whole, BTreeSet<String>>,
    /// Patterns that name a segment, with the place that they speak of.
    apart: BTreeSet<((String, String), Pattern)>,
}

impl<'a> Keys<'a> {
    fn of(found: &'a Found, labels: &'a [String], drafts: &[Draft<'a>]) -> Self {
        let mut keys =
            Self { labels, found, segments: BTreeMap::new(), askers: BTreeMap::new(), apart: BTreeSet::new() };
        for draft in drafts {
            let namespace = draft.theirs.namespace.as_str();
            let Some(own) = found.namespaces.get(namespace) else { continue };
            let Some(segment) = segment_of(labels, own) else { continue };
            keys.segments.insert(namespace, segment.clone());
            for (place, item) in draft.placed() {
                let pattern = pattern(&item.key, labels, namespace, own);
                let asked = keys.askers.entry((place.clone(), item.key.as_written().to_owned())).or_default();
                asked.insert(segment.clone());
                if pattern.separates {
                    keys.apart.insert((place, pattern));
                }
            }
        }
        keys
    }

    /// Takes out of a draft what its namespace may not have.
    fn leave_out(&self, draft: &mut Draft<'_>) {
        let namespace = draft.theirs.namespace.clone();
        if draft.items.is_empty() {
            return;
        }
        let Some(segment) = self.segments.get(namespace.as_str()) else {
            draft.say(Severity::Error, Reason::SegmentLabelMissing, format!(
                "the namespace has not every label that names a segment ({}): label it, or name other labels by --labels", self.labels.join(", ")
            ));
            return draft.items.clear();
        };
        let own = self.found.namespaces.get(namespace.as_str()).cloned().unwrap_or_default();
        let placed: Vec<_> = draft.placed().map(|(place, item)| (place, item.clone())).collect();
        let mut told = BTreeSet::new();
        let mut kept = Vec::new();
        for (place, item) in placed {
            let key = item.key.as_written();
            let asked = self.askers.get(&(place.clone(), key.to_owned()));
            let shared = asked.is_some_and(|segments| segments.len() > 1);
            let belongs = pattern(&item.key, self.labels, &namespace, &own).separates;
            if !belongs && self.is_anothers(&place, &item.key, segment) {
                told.insert((Severity::Error, Reason::KeyNotAllowed, format!(
                    "the key {key:?} is another segment's by its name: store what is needed here under a key of this namespace's own"
                )));
                continue;
            }
            if shared && !belongs {
                let unsure = if place.1 == ASSUMED {
                    " (stores whose account nobody knows are taken for one account: --account-id tells)"
                } else {
                    ""
                };
                told.insert((Severity::Error, Reason::KeyShared, format!(
                    "several segments use the key {key:?}: store a credential of its own for each, under a key of its own{unsure}"
                )));
                continue;
            }
            if shared {
                told.insert((Severity::Warning, Reason::KeyShared, format!(
                    "another segment used the key {key:?}, too, and is refused it here: give it a new value once that is over"
                )));
            }
            kept.push(item);
        }
        draft.items = kept;
        told.into_iter().for_each(|(severity, reason, message)| draft.say(severity, reason, message));
    }

    /// Whether a pattern would give the key to another segment.
    fn is_anothers(&self, place: &(String, String), key: &RemoteKey, segment: &str) -> bool {
        let lives = match key {
            RemoteKey::Name(_) => Place::OWN,
            RemoteKey::Arn(arn) => Place { own: false, at: Some((&arn.region, &arn.account)) },
        };
        let patterns = self.apart.iter().filter(|(at, _)| at == place);
        let mut patterns = patterns.filter_map(|(_, pattern)| KeyPattern::parse(&pattern.text).ok());
        patterns.any(|pattern| {
            self.segments.iter().filter(|(_, other)| *other != segment).any(|(namespace, _)| {
                let labels = self.found.namespaces.get(*namespace);
                labels.is_some_and(|labels| pattern.covers(key.name(), lives, Binding { namespace, labels }))
            })
        })
    }
}

impl Draft<'_> {
    /// What is asked for, with where it lives.
    fn placed(&self) -> impl Iterator<Item = ((String, String), &Item)> {
        let place = self.store.map(|store| store.place.clone()).unwrap_or_default();
        self.items.iter().map(move |item| (place.clone(), item))
    }
}

/// The one policy, as it grows.
struct Policy<'a> {
    labels: &'a [String],
    namespaces: Vec<String>,
    /// By store: patterns, and whether any version is read.
    allowed: BTreeMap<String, (BTreeSet<Pattern>, bool)>,
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
    fn new(labels: &'a [String]) -> Self {
        Self {
            labels,
            namespaces: Vec::new(),
            allowed: BTreeMap::new(),
            scopes: BTreeMap::new(),
            types: BTreeSet::new(),
            retain: false,
        }
    }

    fn allow(&mut self, draft: &Draft<'_>, found: &Found, spec: &Value) {
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

    fn document(&self, told: &mut Vec<Told>) -> Document {
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

/// What a cluster would say of it, beyond what is said already.
fn judged(files: &[File], found: &Found, wishes: &Wishes, now: Timestamp, told: &[Told]) -> Vec<Told> {
    let mut sources: Vec<Source> = files
        .iter()
        .map(|file| Source { name: file.path.as_str().into(), bytes: file.text().into_bytes(), found: true })
        .collect();
    if sources.is_empty() {
        return Vec::new();
    }
    let namespaces = found.namespaces.iter().map(|(name, labels)| {
        yaml(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}))
    });
    let namespaces: Vec<String> = namespaces.collect();
    sources.push(Source { name: "namespaces".into(), bytes: namespaces.join("---\n").into_bytes(), found: true });
    let accounts = Accounts { default: Some(ASSUMED.into()), by_store: wishes.accounts.by_store.clone() };
    let report = simulate(&sources, now, &Options { namespace: None, accounts });
    let said: BTreeSet<(Reason, Option<&str>)> =
        told.iter().map(|told| (told.reason, told.subject.namespace.as_deref())).collect();
    report
        .findings
        .iter()
        .filter(|finding| finding.severity != Severity::Note)
        .filter(|finding| !said.contains(&(finding.reason, finding.subject.namespace.as_deref())))
        .filter(|finding| told.iter().all(|told| told.message != finding.message))
        .cloned()
        .collect()
}

#[cfg(test)]
mod tests;
