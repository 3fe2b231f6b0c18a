//! Rule `ManagedSecrets`: by which marks a Secret, or a Role or RoleBinding of a grant, is or passes for one that the operator
//! writes. Pure.
//!
//! What the guard says in CEL (`admission::rules::managed_secrets`), for files and for what got past it.

use crate::api::{GROUP, MANAGED_BY, MANAGED_BY_LABEL, SEAL_ANNOTATION};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// What is told of a Secret with a mark that no ScopedSecret projects.
pub const FORGED: &str = "it looks as if the operator had written it, and no ScopedSecret projects it: its seal is forged, was moved, or is not there, or its label was taken off. Nothing reads it as ours. Since only the operator writes what looks so, a cluster-admin deletes it in the operator's name (--as=system:serviceaccount:NAMESPACE:NAME)";

/// A mark of a managed Secret: each by itself makes it one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// Our label.
    Label,
    /// A seal, whatever is in it.
    Seal,
    /// A ScopedSecret or a SecretGrant as its controller, of whichever version of our API.
    Controller,
}

impl Mark {
    /// The first mark of a Secret.
    pub fn of(metadata: &ObjectMeta) -> Option<Self> {
        let labelled =
            metadata.labels.as_ref().is_some_and(|l| l.get(MANAGED_BY_LABEL).is_some_and(|v| v == MANAGED_BY));
        let sealed = || metadata.annotations.as_ref().is_some_and(|all| all.contains_key(SEAL_ANNOTATION));
        let controlled = || {
            metadata.owner_references.iter().flatten().any(|owner| {
                let ours = owner.api_version.split_once('/').is_some_and(|(group, _)| group == GROUP);
                owner.controller == Some(true) && ["ScopedSecret", "SecretGrant"].contains(&&*owner.kind) && ours
            })
        };
        if labelled {
            Some(Self::Label)
        } else if sealed() {
            Some(Self::Seal)
        } else {
            controlled().then_some(Self::Controller)
        }
    }

    /// Where it stands in an object.
    pub fn path(self) -> &'static [&'static str] {
        match self {
            Self::Label => &["metadata", "labels", MANAGED_BY_LABEL],
            Self::Seal => &["metadata", "annotations", SEAL_ANNOTATION],
            Self::Controller => &["metadata", "ownerReferences"],
        }
    }

    /// What is wrong with it on a Secret, or a Role or RoleBinding, that somebody else writes, and what to write instead.
    pub fn message(self, is_secret: bool) -> String {
        let what = match self {
            Self::Label => format!("the label {MANAGED_BY_LABEL}: {MANAGED_BY} is"),
            Self::Seal => format!("the annotation {SEAL_ANNOTATION} is"),
            Self::Controller => "a ScopedSecret or SecretGrant as controller is".to_owned(),
        };
        let instead = match is_secret {
            true => "a ScopedSecret, which projects its Secret itself (after a restore, too)",
            false => "a SecretGrant",
        };
        format!("{what} only on what the operator writes: leave it out, or write {instead}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn each_mark_by_itself() {
        let owner = |api_version: &str, kind: &str, controller: Value| {
            let owner =
                json!({"apiVersion": api_version, "kind": kind, "name": "o", "uid": "u", "controller": controller});
            json!({"ownerReferences": [owner]})
        };
        for (metadata, mark) in [
            (json!({}), None),
            (json!({"labels": {MANAGED_BY_LABEL: MANAGED_BY}}), Some(Mark::Label)),
            (json!({"labels": {MANAGED_BY_LABEL: "Helm"}}), None),
            (json!({"annotations": {SEAL_ANNOTATION: ""}}), Some(Mark::Seal)),
            (json!({"annotations": {"scopedsecrets.io/other": ""}}), None),
            (owner("scopedsecrets.io/v2", "ScopedSecret", json!(true)), Some(Mark::Controller)),
            (owner("scopedsecrets.io/v1alpha1", "ScopedSecret", json!(null)), None),
            (owner("scopedsecrets.io/v1alpha1", "SecretGrant", json!(true)), Some(Mark::Controller)),
            (owner("example.com/v1", "ScopedSecret", json!(true)), None),
            (owner("scopedsecrets.io/v1alpha1", "ScopedSecretStore", json!(true)), None),
        ] {
            let read: ObjectMeta = serde_json::from_value(metadata.clone()).unwrap();
            assert_eq!(Mark::of(&read), mark, "{metadata}");
        }
    }
}
