//! Rule `Replication`: the marks by which a replicator would carry a Secret across a boundary. Pure.
//!
//! What the guard says in CEL (`admission::rules::replication`), for what came in past it, and for files.

use super::violation::{ObjectRef, Violation};
use super::world::ObjectName;
use crate::api::Reason;
use crate::projection::is_replicators;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;
use std::sync::Arc;

/// The rule's name.
pub const RULE: &str = "Replication";

/// The name parts of annotations that say `NAMESPACE/NAME` of a source.
pub const SOURCES: [&str; 2] = ["reflects", "replicate-from"];

/// The name parts of annotations that say no source: the Secret is filled with whatever others offer to its namespace.
pub const PLACEHOLDERS: [&str; 1] = ["image-pull-secret"];

/// A mark that breaks the rule, by its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carried<'m> {
    /// It offers a projected Secret to others.
    Out(&'m str),
    /// It has a Secret filled from another namespace.
    In {
        /// The mark.
        key: &'m str,
        /// The namespace.
        source: &'m str,
    },
    /// It has a Secret filled with what any other namespace offers.
    Open(&'m str),
}

impl Carried<'_> {
    /// The first mark on a Secret of a governed namespace that breaks the rule.
    pub fn of<'m>(metadata: &'m ObjectMeta, namespace: &str, managed: bool) -> Option<Carried<'m>> {
        let annotations = || metadata.annotations.iter().flatten();
        if managed {
            let all = annotations().chain(metadata.labels.iter().flatten());
            return all.map(|(key, _)| key.as_str()).find(|key| is_replicators(key)).map(Carried::Out);
        }
        annotations().find_map(|(key, value)| {
            let named = |source| Carried::In { key, source };
            source_elsewhere(key, value, namespace)
                .map(named)
                .or_else(|| is_placeholder(key).then_some(Carried::Open(key)))
        })
    }

    /// The mark.
    pub fn key(&self) -> &str {
        match self {
            Self::Out(key) | Self::In { key, .. } | Self::Open(key) => key,
        }
    }

    /// Why not.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Out(_) => Reason::ReplicatedOut,
            Self::In { .. } | Self::Open(_) => Reason::ReplicatedIn,
        }
    }

    /// What is wrong, and what to write instead.
    pub fn message(&self) -> String {
        match self {
            Self::Out(key) => format!(
                "{key:?} lets a replicator carry a projected Secret into another namespace: leave it out, and let the other namespace claim a key of its own with a ScopedSecret"
            ),
            Self::In { key, source } => format!(
                "{key:?} lets a replicator fill it from namespace {source:?}, and this namespace is governed: delete it, and write a ScopedSecret with a key of this namespace's own"
            ),
            Self::Open(key) => format!(
                "{key:?} lets a replicator fill it with what other namespaces offer, and this namespace is governed: delete it, and write a ScopedSecret with a key of this namespace's own"
            ),
        }
    }
}

/// The other namespace from which a replicator would fill a Secret with this annotation.
fn source_elsewhere<'v>(key: &str, value: &'v str, namespace: &str) -> Option<&'v str> {
    let (_, name) = key.split_once('/').filter(|_| is_replicators(key))?;
    let (source, _) = value.split_once('/').filter(|_| SOURCES.contains(&name))?;
    (source != namespace).then_some(source)
}

fn is_placeholder(key: &str) -> bool {
    key.split_once('/').is_some_and(|(_, name)| PLACEHOLDERS.contains(&name)) && is_replicators(key)
}

/// Of a Secret that is not managed, in a governed namespace. On a managed one the operator takes the marks off itself.
pub fn found(metadata: &ObjectMeta, namespace: &Arc<str>, segment: &Arc<str>) -> Option<Violation> {
    let carried = Carried::of(metadata, namespace, false)?;
    Some(Violation {
        segment: segment.clone(),
        rule: RULE,
        reason: carried.reason(),
        object: ObjectRef {
            api_version: "v1".into(),
            kind: "Secret".into(),
            namespace: Some(namespace.clone()),
            name: metadata.name.clone().unwrap_or_default(),
        },
        message: carried.message(),
    })
}

/// The group of the kinds by which carvel's secretgen-controller is told.
pub const SECRETGEN: &str = "secretgen.carvel.dev";

/// Those kinds, and how a path names them.
pub const SECRETGEN_KINDS: [(&str, &str); 2] = [("SecretExport", "secretexports"), ("SecretImport", "secretimports")];

/// Of a SecretExport, which has the name of the Secret that it offers (`managed`: one that is projected), or a SecretImport, in a
/// governed namespace.
pub fn of_secretgen(
    kind: &str,
    name: &ObjectName,
    spec: &Value,
    managed: bool,
    segment: &Arc<str>,
) -> Option<Violation> {
    let (reason, message) = match (kind, spec["fromNamespace"].as_str()) {
        ("SecretExport", _) if managed => (
            Reason::ReplicatedOut,
            format!(
                "it offers Secret {:?}, which a ScopedSecret projects, to other namespaces: delete it, and let the other namespace claim a key of its own with a ScopedSecret",
                name.name
            ),
        ),
        ("SecretImport", Some(source)) if *source != *name.namespace => (
            Reason::ReplicatedIn,
            format!(
                "it fills a Secret from namespace {source:?}, and this namespace is governed: delete it, and write a ScopedSecret with a key of this namespace's own"
            ),
        ),
        _ => return None,
    };
    let object = ObjectRef {
        api_version: format!("{SECRETGEN}/v1alpha1"),
        kind: kind.into(),
        namespace: Some(name.namespace.clone()),
        name: name.name.to_string(),
    };
    Some(Violation { segment: segment.clone(), rule: RULE, reason, object, message })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_secretgen_is_told_to_carry() {
        let told = |kind: &str, spec: Value, managed: bool| {
            let name = ObjectName::new("payments-prod", "orders");
            of_secretgen(kind, &name, &spec, managed, &"payments/prod".into()).map(|violation| violation.reason)
        };
        let everywhere = serde_json::json!({"toNamespaces": ["*"]});
        assert_eq!(told("SecretExport", everywhere.clone(), true), Some(Reason::ReplicatedOut));
        assert_eq!(told("SecretExport", everywhere, false), None, "what is not projected is not ours to keep");
        let from = |namespace: &str| serde_json::json!({"fromNamespace": namespace});
        assert_eq!(told("SecretImport", from("billing-prod"), false), Some(Reason::ReplicatedIn));
        assert_eq!(told("SecretImport", from("payments-prod"), true), None);
        assert_eq!(told("SecretImport", Value::Null, false), None);
    }

    #[test]
    fn a_source_in_another_namespace_and_a_mark_on_a_projected_secret_are_told() {
        let told = |field: &str, key: &str, value: &str, managed: bool| {
            let metadata = serde_json::json!({"name": "s", field: {key: value}});
            let metadata: ObjectMeta = serde_json::from_value(metadata).unwrap();
            Carried::of(&metadata, "payments-prod", managed).map(|carried| carried.reason())
        };
        let (reflects, from) = ("reflector.v1.k8s.emberstack.com/reflects", "replicator.v1.mittwald.de/replicate-from");
        let (offered, note) = ("reflector.v1.k8s.emberstack.com/reflection-allowed", "example.com/replicate-from");
        let (into, out) = (Some(Reason::ReplicatedIn), Some(Reason::ReplicatedOut));
        for (field, key, value, plain, managed) in [
            ("annotations", reflects, "billing-prod/db", into, out),
            ("annotations", from, "billing-prod/db", into, out),
            ("annotations", from, "payments-prod/db", None, out),
            ("annotations", "v1.kubernetes-replicator.olli.com/replicate-from", "billing-prod/db", into, out),
            ("annotations", from, "db", None, out),
            ("annotations", offered, "true", None, out),
            ("labels", from, "billing-prod", None, out),
            ("annotations", note, "billing-prod/db", None, None),
            ("annotations", "secretgen.carvel.dev/image-pull-secret", "", into, out),
            ("annotations", "example.com/image-pull-secret", "", None, None),
            ("labels", "secretgen.carvel.dev/image-pull-secret", "", None, out),
        ] {
            assert_eq!(told(field, key, value, false), plain, "{key} {value}");
            assert_eq!(told(field, key, value, true), managed, "{key} {value}");
        }
    }
}
