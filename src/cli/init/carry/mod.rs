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

mod keys;
mod policy;
mod secrets;
mod segments;
mod stores;
mod target;
mod template;

use super::found::{Foreign, Found};
use super::written::{Document, File, yaml};
use crate::api::Reason;
use crate::cli::report::{Finding, Rule, Severity, Subject};
use crate::cli::simulate::accounts::{ASSUMED, Accounts};
use crate::cli::simulate::object::{OUR_VERSION, Source};
use crate::cli::simulate::{Options, simulate};
use crate::segmentation::foreign::ForeignKind;
use jiff::Timestamp;
use keys::Keys;
use policy::Policy;
use secrets::Draft;
use serde_json::{Value, json};
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
    apart(&mut platform);
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
    File {
        path: format!("{}/{}.yaml", folded(namespace), folded(name)),
        documents: vec![Document::Object(comments, object)],
    }
}

/// A name as a part of a path: what no Kubernetes name has in it might lead elsewhere.
fn folded(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    let inner = |(at, c): (usize, char)| if c == '.' && at > 0 { c } else { plain(c) };
    let folded: String = name.chars().enumerate().map(inner).collect();
    if folded.is_empty() { "_".to_owned() } else { folded }
}

/// Each has a path of its own, whatever the names are.
fn apart(files: &mut [File]) {
    let mut taken = BTreeSet::new();
    for file in files {
        while !taken.insert(file.path.clone()) {
            file.path = file.path.replace(".yaml", "_.yaml");
        }
    }
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
