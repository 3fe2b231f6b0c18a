//! The ValidatingWebhookConfiguration `scoped-secrets`, as it should be.
//!
//! Who writes what: `deploy/` (and a chart) *creates* the object, without a `webhooks` field; the operator fills in the
//! entries by server-side apply. So the object is harmless until an operator with a certificate runs, applying the
//! manifest again fights over nothing (client-side apply touches only what it once set, server-side apply only what it
//! owns), and a GitOps tool sees no drift. The operator never creates it: to break glass, *delete* the object; it stays
//! away until somebody applies the manifest again. Entries edited away are put back.

use super::bundle::Published;
use super::identities::Installation;
use crate::api::{GROUP, NAMESPACE_NAME_LABEL};
use axum::http::Uri;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhook;
use serde_json::{Value, json};

/// Name of the object.
pub const CONFIGURATION: &str = "scoped-secrets";
/// Where ScopedSecrets are reviewed.
pub const SCOPED_SECRETS_PATH: &str = "/admission/scopedsecrets";
/// Where SegmentationPolicies are reviewed.
pub const SEGMENTATION_POLICIES_PATH: &str = "/admission/segmentationpolicies";

/// How the API server reaches the webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The operator's namespace.
    pub namespace: String,
    /// The Service in it.
    pub service: String,
    /// Instead of the Service.
    pub url: Option<WebhookUrl>,
}

/// An https URL without path, and its host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookUrl {
    base: String,
    host: String,
}

impl WebhookUrl {
    /// Reads `https://host[:port]`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong =
            || "write https://HOST:PORT, without path or user, as the API server reaches this operator".to_owned();
        let uri: Uri = text.parse().map_err(|_| wrong())?;
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(wrong)?;
        let bare = uri.path().trim_matches('/').is_empty() && uri.query().is_none();
        let user = uri.authority().is_some_and(|authority| authority.as_str().contains('@'));
        if uri.scheme_str() != Some("https") || !bare || user {
            return Err(wrong());
        }
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Self { base: text.trim_end_matches('/').to_owned(), host })
    }
}

impl Endpoint {
    /// The names that the API server may know the webhook by: what the certificate must be for.
    pub fn names(&self) -> Vec<String> {
        let service = format!("{}.{}.svc", self.service, self.namespace);
        let local = format!("{service}.cluster.local");
        [service, local].into_iter().chain(self.url.as_ref().map(|url| url.host.clone())).collect()
    }

    fn client_config(&self, path: &str, published: &Published) -> Value {
        let ca_bundle = BASE64_STANDARD.encode(&published.ca_bundle);
        let path = format!("/{}{path}", published.door);
        match &self.url {
            Some(url) => json!({"url": format!("{}{path}", url.base), "caBundle": ca_bundle}),
            None => json!({
                "service": {"namespace": self.namespace, "name": self.service, "path": path, "port": 443},
                "caBundle": ca_bundle,
            }),
        }
    }
}

/// What the entries are made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Where the webhook is.
    pub endpoint: Endpoint,
    /// The operator's own ServiceAccount.
    pub service_account: String,
}

impl Wanted {
    /// The entries. Every field is written out, also those at their default, so that whatever somebody changes shows as
    /// a difference.
    pub fn webhooks(&self, published: &Published) -> Vec<Value> {
        let namespaces = json!({"matchExpressions": [{
            "key": NAMESPACE_NAME_LABEL, "operator": "NotIn", "values": ["kube-system", self.endpoint.namespace],
        }]});
        vec![
            self.entry(
                "scopedsecrets",
                "Namespaced",
                &["CREATE", "UPDATE"],
                namespaces,
                SCOPED_SECRETS_PATH,
                published,
            ),
            self.entry(
                "segmentationpolicies",
                "Cluster",
                &["CREATE", "UPDATE", "DELETE"],
                json!({}),
                SEGMENTATION_POLICIES_PATH,
                published,
            ),
        ]
    }

    fn entry(
        &self,
        resource: &str,
        scope: &str,
        operations: &[&str],
        namespaces: Value,
        path: &str,
        published: &Published,
    ) -> Value {
        json!({
            "name": format!("{resource}.{GROUP}"),
            "clientConfig": self.endpoint.client_config(path, published),
            "rules": [{
                "apiGroups": [GROUP], "apiVersions": ["v1alpha1"], "resources": [resource],
                "operations": operations, "scope": scope,
            }],
            "failurePolicy": "Fail",
            "matchPolicy": "Equivalent",
            "namespaceSelector": namespaces,
            "objectSelector": {},
            "sideEffects": "NoneOnDryRun",
            "timeoutSeconds": 2,
            "admissionReviewVersions": ["v1"],
            "matchConditions": self.match_conditions(),
        })
    }

    /// The requests of the control plane itself, and ours, need no review; were they held up while the webhook is down,
    /// the cluster could not clean up.
    fn match_conditions(&self) -> Value {
        let installation =
            Installation { namespace: self.endpoint.namespace.clone(), service_account: self.service_account.clone() };
        let users = json!(installation.trusted_users());
        json!([
            {"name": "not-the-control-plane", "expression": format!("!(request.userInfo.username in {users})")},
            {"name": "not-a-node", "expression": "!('system:nodes' in request.userInfo.groups)"},
        ])
    }

    /// The object for server-side apply. Its uid makes the API server refuse, not create, if the object is gone.
    pub fn patch(&self, uid: &str, published: &Published) -> Value {
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": CONFIGURATION, "uid": uid},
            "webhooks": self.webhooks(published),
        })
    }

    /// Whether the live entries hold ours exactly; entries of others are none of our business.
    pub fn holds(&self, live: &[ValidatingWebhook], published: &Published) -> bool {
        let ours = self.typed(published);
        !ours.is_empty() && ours.iter().all(|entry| live.contains(entry))
    }

    /// The live entries with ours put right, for a replace: server-side apply cannot remove what another manager added
    /// to a list inside an entry of ours (a matchCondition that never matches, say).
    pub fn replaced(&self, live: &[ValidatingWebhook], published: &Published) -> Vec<ValidatingWebhook> {
        let ours = self.typed(published);
        let others = live.iter().filter(|entry| ours.iter().all(|our| our.name != entry.name)).cloned();
        others.chain(ours.clone()).collect()
    }

    fn typed(&self, published: &Published) -> Vec<ValidatingWebhook> {
        // Our own JSON always has the shape (there is a test); if it had not, `holds` would be false for ever.
        serde_json::from_value(self.webhooks(published).into()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(url: Option<&str>) -> Wanted {
        let url = url.map(|url| WebhookUrl::parse(url).unwrap());
        let endpoint = Endpoint { namespace: "scoped-secrets".into(), service: "scoped-secrets-webhook".into(), url };
        Wanted { endpoint, service_account: "scoped-secrets".into() }
    }

    fn published(ca_bundle: &str) -> Published {
        Published { ca_bundle: ca_bundle.into(), door: "door".into() }
    }

    #[test]
    fn through_the_service() {
        let entries = wanted(None).webhooks(&published("PEM"));
        assert_eq!(
            entries[0],
            json!({
                "name": "scopedsecrets.scopedsecrets.io",
                "clientConfig": {
                    "service": {
                        "namespace": "scoped-secrets", "name": "scoped-secrets-webhook",
                        "path": "/door/admission/scopedsecrets", "port": 443
                    },
                    "caBundle": "UEVN",
                },
                "rules": [{
                    "apiGroups": ["scopedsecrets.io"], "apiVersions": ["v1alpha1"], "resources": ["scopedsecrets"],
                    "operations": ["CREATE", "UPDATE"], "scope": "Namespaced",
                }],
                "failurePolicy": "Fail",
                "matchPolicy": "Equivalent",
                "namespaceSelector": {"matchExpressions": [
                    {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["kube-system", "scoped-secrets"]}
                ]},
                "objectSelector": {},
                "sideEffects": "NoneOnDryRun",
                "timeoutSeconds": 2,
                "admissionReviewVersions": ["v1"],
                "matchConditions": [
                    {
                        "name": "not-the-control-plane",
                        "expression": "!(request.userInfo.username in [\"system:serviceaccount:scoped-secrets:scoped-secrets\",\
                                       \"system:apiserver\",\"system:kube-controller-manager\",\
                                       \"system:serviceaccount:kube-system:generic-garbage-collector\",\
                                       \"system:serviceaccount:kube-system:namespace-controller\"])",
                    },
                    {"name": "not-a-node", "expression": "!('system:nodes' in request.userInfo.groups)"},
                ],
            })
        );
        assert_eq!(entries[1]["rules"][0]["operations"], json!(["CREATE", "UPDATE", "DELETE"]));
        assert_eq!(entries[1]["namespaceSelector"], json!({}), "the kind is cluster-scoped");
    }

    #[test]
    fn by_url() {
        let entries = wanted(Some("https://127.0.0.1:9443/")).webhooks(&published("PEM"));
        let expected = json!({"url": "https://127.0.0.1:9443/door/admission/scopedsecrets", "caBundle": "UEVN"});
        assert_eq!(entries[0]["clientConfig"], expected);
    }

    #[test]
    fn the_names_of_the_certificate() {
        let names = wanted(Some("https://[::1]:9443")).endpoint.names();
        let service = "scoped-secrets-webhook.scoped-secrets.svc";
        assert_eq!(names, [service, &format!("{service}.cluster.local"), "::1"]);
    }

    #[test]
    fn urls_that_cannot_be() {
        for text in [
            "",
            "127.0.0.1:9443",
            "http://a:1",
            "https://a/path",
            "https://a?q",
            "https://u@a",
            "https://",
            "https://:1",
        ] {
            assert!(WebhookUrl::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_change_by_others_is_seen_and_put_right() {
        let wanted = wanted(None);
        let right = wanted.typed(&published("PEM"));
        assert_eq!(right.len(), 2);
        let foreign = ValidatingWebhook { name: "other.example.com".into(), ..ValidatingWebhook::default() };
        let with_foreign: Vec<_> = right.iter().cloned().chain([foreign.clone()]).collect();
        assert!(wanted.holds(&with_foreign, &published("PEM")));
        assert!(!wanted.holds(&with_foreign, &published("NEW")));
        assert!(!wanted.holds(&[], &published("PEM")));
        let mut weakened = with_foreign;
        weakened[0].failure_policy = Some("Ignore".into());
        assert!(!wanted.holds(&weakened, &published("PEM")));
        let mended = wanted.replaced(&weakened, &published("PEM"));
        assert!(wanted.holds(&mended, &published("PEM")) && mended.contains(&foreign) && mended.len() == 3);
    }
}
