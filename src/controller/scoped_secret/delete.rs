//! Deleting the Secret that was observed, and no other.

use crate::controller::index::{SecretFacts, secret_facts};
use crate::segmentation::seal::SealKeys;
use crate::segmentation::world::ObjectName;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, DeleteParams, Preconditions};

/// Deletes the Secret that was observed: exactly that revision, or, where others have touched it since, the same object under the
/// same seal and owner. Whoever changes an annotation all the time keeps no Secret. False: it is another by now.
pub async fn delete_observed(
    api: &Api<Secret>,
    name: &ObjectName,
    facts: &SecretFacts,
    keys: &SealKeys,
) -> kube::Result<bool> {
    let delete = async |revision: Option<String>| {
        let same = Preconditions { uid: Some(facts.uid.to_string()), resource_version: revision };
        match api.delete(&name.name, &DeleteParams::default().preconditions(same)).await {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(true),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(error) => Err(error),
        }
    };
    if delete(Some(facts.resource_version.to_string())).await? {
        return Ok(true);
    }
    let Some(fresh) = api.get_metadata_opt(&name.name).await? else { return Ok(true) };
    if !secret_facts(name, &fresh.metadata, keys).is_same_but_for_others(facts) {
        return Ok(false);
    }
    delete(None).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segmentation::seal::Generation;
    use http::{Method, Request, Response, StatusCode};
    use jiff::Timestamp;
    use kube::Client;
    use kube::client::Body;
    use serde_json::{Value, json};
    use std::sync::{Arc, Mutex};

    fn secret(uid: &str, revision: u64, owner: &str) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {
                "name": "orders", "namespace": "payments-prod", "uid": uid, "resourceVersion": revision.to_string(),
                "labels": {"app.kubernetes.io/managed-by": "scoped-secrets"}, "annotations": {"example.com/n": revision.to_string()},
                "ownerReferences": [{"apiVersion": "scopedsecrets.io/v1alpha1", "kind": "ScopedSecret", "name": "orders", "uid": owner, "controller": true}],
            },
        })
    }

    /// An API server in which somebody has changed the Secret just before each request that names a revision. What is asked of it.
    fn overtaken(stands: Value) -> (Api<Secret>, Arc<Mutex<Vec<Value>>>) {
        let asked: Arc<Mutex<Vec<Value>>> = Arc::default();
        let seen = asked.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let (stands, seen) = (stands.clone(), seen.clone());
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect_bytes().await.unwrap();
                let (code, answer) = match parts.method {
                    Method::DELETE => {
                        let wanted: Value = serde_json::from_slice::<Value>(&body).unwrap()["preconditions"].take();
                        let same = wanted["uid"] == stands["metadata"]["uid"] && wanted["resourceVersion"].is_null();
                        seen.lock().unwrap().push(wanted);
                        let conflict = json!({"kind": "Status", "status": "Failure", "reason": "Conflict", "message": "", "code": 409});
                        if same { (StatusCode::OK, stands) } else { (StatusCode::CONFLICT, conflict) }
                    }
                    _ => (StatusCode::OK, stands),
                };
                let body = Body::from(serde_json::to_vec(&answer).unwrap());
                Ok::<_, std::convert::Infallible>(Response::builder().status(code).body(body).unwrap())
            }
        });
        (Api::namespaced(Client::new(service, "payments-prod"), "payments-prod"), asked)
    }

    #[tokio::test]
    async fn whoever_changes_it_all_the_time_does_not_keep_it() {
        let keys = SealKeys::new(Generation::from_random(&[7; 36], Timestamp::UNIX_EPOCH).unwrap());
        let name = ObjectName::new("payments-prod", "orders");
        let facts = |object: &Value| {
            let secret: Secret = serde_json::from_value(object.clone()).unwrap();
            secret_facts(&name, &secret.metadata, &keys)
        };
        let judged = facts(&secret("a", 7, "claim"));
        for (what, stands, deleted) in [
            ("an annotation", secret("a", 8, "claim"), true),
            ("another of its name", secret("b", 8, "claim"), false),
            ("another owner", secret("a", 8, "stranger"), false),
        ] {
            let (api, asked) = overtaken(stands);
            assert_eq!(delete_observed(&api, &name, &judged, &keys).await.unwrap(), deleted, "{what}");
            let asked = asked.lock().unwrap();
            assert_eq!(asked[0], json!({"uid": "a", "resourceVersion": "7"}), "{what}");
            assert_eq!(asked.get(1), deleted.then(|| json!({"uid": "a"})).as_ref(), "{what}");
        }
    }
}
