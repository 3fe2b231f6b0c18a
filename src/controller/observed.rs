//! Deleting and replacing the object that was observed, and no other: exactly that revision, or, where others have touched it
//! since, the same object as long as it is still what was judged. Whoever changes it all the time holds nothing up.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::api::{Api, DeleteParams, PostParams, Preconditions};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;

/// So often a write that somebody's edits overtook is tried at once.
const TRIES: usize = 16;

/// Which object was observed, and in which revision.
#[derive(Debug, Clone, Copy)]
pub struct Observed<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its uid.
    pub uid: &'a str,
    /// Its resourceVersion.
    pub revision: &'a str,
}

/// Deletes the object that was observed; of another revision of it `is_same` says whether it is still what was judged. False: it
/// is another by now. That it is gone already is as good.
pub async fn delete_observed<K>(
    api: &Api<K>,
    seen: Observed<'_>,
    is_same: impl Fn(&ObjectMeta) -> bool,
) -> kube::Result<bool>
where
    K: Clone + Debug + DeserializeOwned,
{
    let delete = async |revision: Option<&str>| {
        let same = Preconditions { uid: Some(seen.uid.into()), resource_version: revision.map(str::to_owned) };
        match api.delete(seen.name, &DeleteParams::default().preconditions(same)).await {
            Ok(_) => Ok(true),
            Err(error) if is(&error, 404) => Ok(true),
            Err(error) if is(&error, 409) => Ok(false),
            Err(error) => Err(error),
        }
    };
    if delete(Some(seen.revision)).await? {
        return Ok(true);
    }
    let Some(fresh) = api.get_metadata_opt(seen.name).await? else { return Ok(true) };
    if fresh.metadata.uid.as_deref() != Some(seen.uid) || !is_same(&fresh.metadata) {
        return Ok(false);
    }
    delete(None).await
}

/// Replaces the object that was observed; of another revision of it `is_same` says whether only that has changed which is about
/// to be replaced, or is nobody's concern. A conflict (409): it is another by now, or changes faster than it can be written.
pub async fn replace_observed<K>(
    api: &Api<K>,
    params: &PostParams,
    seen: Observed<'_>,
    object: &mut K,
    is_same: impl Fn(&K) -> bool,
) -> kube::Result<K>
where
    K: Resource + Clone + Debug + Serialize + DeserializeOwned,
{
    object.meta_mut().uid = Some(seen.uid.into());
    object.meta_mut().resource_version = Some(seen.revision.into());
    for _ in 1..TRIES {
        let overtaken = match api.replace(seen.name, params, object).await {
            Err(error) if is(&error, 409) => error,
            result => return result,
        };
        match api.get_opt(seen.name).await? {
            Some(fresh) if fresh.meta().uid.as_deref() == Some(seen.uid) && is_same(&fresh) => {
                object.meta_mut().resource_version.clone_from(&fresh.meta().resource_version);
            }
            _ => return Err(overtaken),
        }
    }
    api.replace(seen.name, params, object).await
}

fn is(error: &kube::Error, code: u16) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{Method, Request, Response, StatusCode};
    use k8s_openapi::api::core::v1::Secret;
    use k8s_openapi::api::rbac::v1::RoleBinding;
    use kube::Client;
    use kube::client::Body;
    use serde_json::{Value, json};
    use std::sync::{Arc, Mutex};

    /// What stands, and who else writes it: so many times, just before each request that names a revision.
    struct Neighbour {
        stands: Value,
        edits: usize,
        /// The preconditions that were named, in order.
        asked: Vec<Value>,
    }

    fn object(kind: &str, uid: &str, revision: u64, owner: &str) -> Value {
        let group = if kind == "Secret" { "v1" } else { "rbac.authorization.k8s.io/v1" };
        json!({
            "apiVersion": group, "kind": kind,
            "metadata": {
                "name": "orders", "namespace": "payments-prod", "uid": uid, "resourceVersion": revision.to_string(),
                "labels": {"owner": owner}, "annotations": {},
            },
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "orders"},
        })
    }

    /// An API server in which somebody else writes as well.
    fn beside<K>(stands: Value, edits: usize) -> (Api<K>, Arc<Mutex<Neighbour>>)
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        let server = Arc::new(Mutex::new(Neighbour { stands, edits, asked: Vec::new() }));
        let serving = server.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let serving = serving.clone();
            async move {
                let (parts, body) = request.into_parts();
                let body: Value = serde_json::from_slice(&body.collect_bytes().await.unwrap()).unwrap_or_default();
                let (code, answer) = serving.lock().unwrap().answer(&parts.method, &body);
                let body = Body::from(serde_json::to_vec(&answer).unwrap());
                Ok::<_, std::convert::Infallible>(Response::builder().status(code).body(body).unwrap())
            }
        });
        (Api::namespaced(Client::new(service, "payments-prod"), "payments-prod"), server)
    }

    impl Neighbour {
        fn answer(&mut self, method: &Method, body: &Value) -> (StatusCode, Value) {
            let wanted = match *method {
                Method::DELETE => &body["preconditions"],
                Method::PUT => &body["metadata"],
                _ => return (StatusCode::OK, self.stands.clone()),
            };
            let wanted = json!({"uid": wanted["uid"], "resourceVersion": wanted["resourceVersion"]});
            self.asked.push(wanted.clone());
            if self.edits > 0 && wanted["resourceVersion"].is_string() {
                self.edits -= 1;
                let revision: u64 = self.stands["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
                self.stands["metadata"]["resourceVersion"] = json!((revision + 1).to_string());
                self.stands["metadata"]["annotations"]["example.com/n"] = json!(revision.to_string());
            }
            let stands = &self.stands["metadata"];
            let same = |field: &str| wanted[field].is_null() || wanted[field] == stands[field];
            if same("uid") && same("resourceVersion") {
                return (StatusCode::OK, self.stands.clone());
            }
            let conflict =
                json!({"kind": "Status", "status": "Failure", "reason": "Conflict", "message": "", "code": 409});
            (StatusCode::CONFLICT, conflict)
        }
    }

    const SEEN: Observed<'static> = Observed { name: "orders", uid: "a", revision: "7" };

    fn is_ours(metadata: &ObjectMeta) -> bool {
        metadata.labels.as_ref().is_some_and(|labels| labels["owner"] == "us")
    }

    #[tokio::test]
    async fn whoever_changes_it_all_the_time_does_not_keep_it() {
        for (what, stands, edits, deleted, asked) in [
            ("nobody else", object("Secret", "a", 7, "us"), 0, true, 1),
            ("an annotation, all the time", object("Secret", "a", 7, "us"), usize::MAX, true, 2),
            ("another of its name", object("Secret", "b", 8, "us"), 0, false, 1),
            ("another owner", object("Secret", "a", 8, "them"), 0, false, 1),
        ] {
            let (api, server) = beside::<Secret>(stands.clone(), edits);
            assert_eq!(delete_observed(&api, SEEN, is_ours).await.unwrap(), deleted, "{what}");
            let all = server.lock().unwrap().asked.clone();
            assert_eq!((all.len(), &all[0]), (asked, &json!({"uid": "a", "resourceVersion": "7"})), "{what}");
            assert!(all[1..].iter().all(|asked| *asked == json!({"uid": "a", "resourceVersion": null})), "{what}");
        }
        // What a grant gave goes likewise.
        let (api, _) = beside::<RoleBinding>(object("RoleBinding", "a", 7, "us"), usize::MAX);
        assert!(delete_observed(&api, SEEN, is_ours).await.unwrap());
    }

    #[tokio::test]
    async fn whoever_changes_it_all_the_time_holds_up_no_new_value() {
        for (what, stands, edits, written, tries) in [
            ("nobody else", object("Secret", "a", 7, "us"), 0, true, 1),
            ("an annotation, three times", object("Secret", "a", 7, "us"), 3, true, 4),
            ("an annotation, faster than it can be written", object("Secret", "a", 7, "us"), usize::MAX, false, TRIES),
            ("another of its name", object("Secret", "b", 8, "us"), 0, false, 1),
            ("what is not others' to change", object("Secret", "a", 8, "them"), 0, false, 1),
        ] {
            let mut new: Secret = serde_json::from_value(object("Secret", "", 0, "us")).unwrap();
            let (api, server) = beside::<Secret>(stands.clone(), edits);
            let same = |fresh: &Secret| is_ours(&fresh.metadata);
            let result = replace_observed(&api, &PostParams::default(), SEEN, &mut new, same).await;
            match &result {
                Ok(_) => assert!(written, "{what}"),
                Err(error) => assert!(!written && is(error, 409), "{what}: {error}"),
            }
            let all = server.lock().unwrap().asked.clone();
            assert_eq!((all.len(), &all[0]), (tries, &json!({"uid": "a", "resourceVersion": "7"})), "{what}");
            assert!(all.iter().all(|asked| asked["uid"] == "a" && asked["resourceVersion"].is_string()), "{what}");
        }
    }
}
