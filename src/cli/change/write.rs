//! What is written, and what a refusal means.

use super::look::kind;
use crate::cli::cluster::{Cluster, Failure};
use kube::Error;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

/// Who wrote it, in managedFields.
pub const FIELD_MANAGER: &str = "kubectl-scoped-secrets";

/// A write. Each touches nothing but what it is for.
#[derive(Debug, Clone, PartialEq)]
pub enum Write {
    /// A merge patch of an object in the namespace. What it carries in its metadata (uid, resourceVersion) must hold still.
    Patch {
        /// The kind.
        kind: &'static str,
        /// The name.
        name: String,
        /// What changes.
        patch: Value,
    },
    /// A new object.
    Create {
        /// The kind.
        kind: &'static str,
        /// Whether it is in the namespace.
        namespaced: bool,
        /// The object.
        object: Value,
    },
}

impl Write {
    /// Sets one annotation of a ScopedSecret, if that is still the object that was looked at.
    pub fn annotate(name: &str, uid: Option<&str>, key: &str, value: &str) -> Self {
        let patch = json!({"metadata": {"uid": uid, "annotations": {key: value}}});
        Self::Patch { kind: "ScopedSecret", name: name.to_owned(), patch }
    }

    fn of(&self) -> (ApiResource, bool, &'static str) {
        match self {
            Self::Patch { kind: of, .. } => (kind(of), true, "patch"),
            Self::Create { kind: of, namespaced, .. } => (kind(of), *namespaced, "create"),
        }
    }
}

/// Sends it, or only asks whether it would be taken; what the API server made of it.
pub async fn send(cluster: &Cluster, write: &Write, dry_run: bool) -> Result<Value, Failure> {
    let (of, namespaced, verb) = write.of();
    let api: Api<DynamicObject> = match namespaced {
        true => Api::namespaced_with(cluster.client.clone(), &cluster.namespace, &of),
        false => Api::all_with(cluster.client.clone(), &of),
    };
    let answer = match write {
        Write::Patch { name, patch, .. } => {
            let params = PatchParams { dry_run, field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() };
            api.patch(name, &params, &Patch::Merge(patch)).await
        }
        Write::Create { object, .. } => {
            let params = PostParams { dry_run, field_manager: Some(FIELD_MANAGER.into()) };
            match serde_json::from_value(object.clone()) {
                Ok(object) => api.create(&params, &object).await,
                Err(error) => return Err(Failure::Usage(format!("this is no object: {error}"))),
            }
        }
    };
    match answer {
        Ok(written) => serde_json::to_value(written).map_err(|error| Failure::Usage(error.to_string())),
        Err(error) => {
            let place = if namespaced { format!(" in namespace {}", cluster.namespace) } else { String::new() };
            let refusal = if let Error::Api(status) = &error {
                told(status.code, &status.message, verb, &of, &place)
            } else {
                None
            };
            Err(refusal.map_or_else(|| cluster.failure(&error, verb, api.resource_url()), Failure::Usage))
        }
    }
}

/// What a refusal means, if more can be said than the API server does. Pure.
fn told(code: u16, message: &str, verb: &str, of: &ApiResource, place: &str) -> Option<String> {
    let resource = format!("{}.{}", of.plural, of.group);
    match code {
        // Admission refuses with 403, too, and says what to do.
        403 if message.contains(&format!("cannot {verb} resource")) => Some(format!(
            "you may not {verb} {resource}{place}: ask for the verb {verb} on {resource}{place}, or run this as who has it (--as, --context)"
        )),
        404 if verb == "create" => Some(format!(
            "the cluster has no {resource}: install Scoped Secrets first, or its kinds alone: kubectl apply --server-side -k crds/"
        )),
        404 => Some("it was deleted meanwhile: nothing was changed".to_owned()),
        409 => Some("it was changed or made anew meanwhile, and nothing was written: look again".to_owned()),
        400..500 => Some(format!("the API server refuses it: {message}")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_what_to_ask_for() {
        let of = kind("ScopedSecret");
        for (code, message, part) in [
            (
                403,
                "scopedsecrets.scopedsecrets.io \"a\" is forbidden: User \"eve\" cannot patch resource \"scopedsecrets\"",
                "ask for the verb patch on scopedsecrets.scopedsecrets.io in namespace a",
            ),
            (
                403,
                "admission webhook denied the request: rule Claims, KeyNotAllowed: no",
                "rule Claims, KeyNotAllowed: no",
            ),
            (422, "spec.ttl: too long", "spec.ttl: too long"),
            (409, "the UID in the precondition does not match", "look again"),
            (404, "not found", "deleted meanwhile"),
        ] {
            let text = told(code, message, "patch", &of, " in namespace a").unwrap();
            assert!(text.contains(part), "{text}");
        }
        assert!(told(404, "", "create", &of, "").unwrap().contains("kubectl apply --server-side -k crds/"));
        assert_eq!(told(503, "", "create", &of, ""), None);
    }

    #[test]
    fn an_annotation_is_all_that_is_sent() {
        let Write::Patch { patch, .. } = Write::annotate("a", Some("u"), "k", "v") else { panic!("a patch") };
        assert_eq!(patch, json!({"metadata": {"uid": "u", "annotations": {"k": "v"}}}));
    }
}
