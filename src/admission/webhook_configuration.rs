//! The ValidatingWebhookConfiguration `scoped-secrets`, as it should be.
//!
//! Who writes what: `deploy/` (and a chart) *creates* the object, without a `webhooks` field; the operator fills in the
//! entries by server-side apply. So the object is harmless until an operator with a certificate runs, applying the
//! manifest again fights over nothing (client-side apply touches only what it once set, server-side apply only what it
//! owns), and a GitOps tool sees no drift. The operator never creates it: to break glass, *delete* the object; it stays
//! away until somebody applies the manifest again. Entries edited away are put back.

use super::bundle::Published;
use super::identities::Installation;
use super::rules::copies;
use crate::api::policy::{Governs, ModalRule};
use crate::api::{DOOR_ANNOTATION, ENTRIES_ANNOTATION, GROUP, NAMESPACE_NAME_LABEL};
use crate::controller::served::Served;
use crate::segmentation::governed::{Governed, LabelSet, Picked};
use axum::http::Uri;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use k8s_openapi::api::admissionregistration::v1::{ValidatingWebhook, ValidatingWebhookConfiguration};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Name of the object.
pub const CONFIGURATION: &str = "scoped-secrets";
/// Where ScopedSecrets are reviewed.
pub const SCOPED_SECRETS_PATH: &str = "/admission/scopedsecrets";
/// Where SegmentationPolicies are reviewed.
pub const SEGMENTATION_POLICIES_PATH: &str = "/admission/segmentationpolicies";

/// Where roles and bindings are reviewed.
pub const RBAC_PATH: &str = "/admission/rbac";

/// How long the API server waits for an answer, unless it is told otherwise.
pub const TIMEOUT_SECONDS: u8 = 2;

/// Reads how long it waits: whole seconds, such as `2s`; the API server takes 1 to 30.
pub fn read_timeout(text: &str) -> Result<u8, String> {
    let wrong = || "write whole seconds from 1s to 30s, as the API server takes them".to_owned();
    let duration = crate::api::duration::parse(text).map_err(|_| wrong())?;
    let whole = duration.subsec_nanos() == 0 && (1..=30).contains(&duration.as_secs());
    u8::try_from(duration.as_secs()).ok().filter(|_| whole).ok_or_else(wrong)
}

/// How the API server reaches the webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The operator's namespace.
    pub namespace: String,
    /// The Service in it.
    pub service: String,
    /// Instead of the Service.
    pub url: Option<WebhookUrl>,
    /// How long it waits for an answer.
    pub timeout_seconds: u8,
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

/// An entry beside those of our own kinds.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// The first part of its name.
    pub name: &'static str,
    /// The path of its route.
    pub path: &'static str,
    /// What it reviews: group, version, resources.
    pub kinds: &'static [(&'static str, &'static str, &'static [&'static str])],
    /// When.
    pub operations: &'static [&'static str],
    /// Which requests need a review, beyond what every entry asks: name and CEL expression.
    pub conditions: &'static [(&'static str, &'static str)],
}

/// Entries for governed namespaces, one for each set of segment labels, with the rule that they are for: where a policy has it
/// answered by refusing, what they review waits while the webhook is down; where it is only tried out, it passes.
pub const GOVERNED_ENTRIES: &[(ModalRule, Entry)] = &[(ModalRule::Copies, COPIES), (ModalRule::Rbac, RBAC)];

const COPIES: Entry = Entry {
    name: "copies",
    path: copies::PATH,
    kinds: &[("", "v1", &["secrets", "configmaps"])],
    operations: &["CREATE", "UPDATE"],
    conditions: &[
        // An update of nothing that is compared: owners, finalizers, the field managers. On a projected Secret, whose label
        // nobody else can write, nothing so short that it is no value, nor a key that is a plain domain and a short name: with
        // the operator gone, it can be noted on.
        (
            "something-changes",
            "request.operation != 'UPDATE' \
             || has(object.data) != has(oldObject.data) || (has(object.data) && object.data != oldObject.data) \
             || has(object.binaryData) != has(oldObject.binaryData) || (has(object.binaryData) && object.binaryData != oldObject.binaryData) \
             || (request.resource.resource == 'secrets' && oldObject.metadata.?labels[?'app.kubernetes.io/managed-by'].orValue('') == 'scoped-secrets' \
                 ? object.metadata.?labels.orValue({}).exists(k, (k.replace('k8s.io/', '/').matches('[^.]{16}|[^/]{16}$|[A-Z0-9].*/') || size(bytes(object.metadata.labels[k])) >= 16) && oldObject.metadata.?labels[?k] != object.metadata.?labels[?k]) \
                   || object.metadata.?annotations.orValue({}).exists(k, (k.replace('k8s.io/', '/').matches('[^.]{16}|[^/]{16}$|[A-Z0-9].*/') || size(bytes(object.metadata.annotations[k])) >= 16) && oldObject.metadata.?annotations[?k] != object.metadata.?annotations[?k]) \
                 : has(object.metadata.labels) != has(oldObject.metadata.labels) || (has(object.metadata.labels) && object.metadata.labels != oldObject.metadata.labels) \
                   || has(object.metadata.annotations) != has(oldObject.metadata.annotations) || (has(object.metadata.annotations) && object.metadata.annotations != oldObject.metadata.annotations))",
        ),
        // Every namespace gets it at once, and no pod starts without.
        (
            "not-the-root-certificate",
            "!(request.name == 'kube-root-ca.crt' && request.userInfo.username == 'system:serviceaccount:kube-system:root-ca-cert-publisher')",
        ),
    ],
};

const RBAC: Entry = Entry {
    name: "rbac",
    path: RBAC_PATH,
    kinds: &[("rbac.authorization.k8s.io", "v1", &["roles", "rolebindings"])],
    operations: &["CREATE", "UPDATE"],
    conditions: &[],
};

/// Entries for what is cluster-scoped: what they review passes while the webhook is down, and the scan finds it.
pub const CLUSTER_ENTRIES: &[Entry] = &[Entry {
    name: "rbac",
    path: RBAC_PATH,
    kinds: &[("rbac.authorization.k8s.io", "v1", &["clusterroles", "clusterrolebindings"])],
    operations: &["CREATE", "UPDATE"],
    conditions: &[],
}];

/// Where objects of other operators are reviewed.
pub const OTHER_OPERATORS_PATH: &str = "/admission/otheroperators";

/// Entries for governed namespaces, registered only where a policy asks for it: a cluster that does not pays nothing.
pub const FOREIGN_ENTRIES: &[(Governs, Entry)] = &[
    (
        Governs::ExternalSecrets,
        Entry {
            name: "externalsecrets",
            path: OTHER_OPERATORS_PATH,
            kinds: &[
                ("external-secrets.io", "v1", &["externalsecrets", "secretstores"]),
                ("external-secrets.io", "v1beta1", &["externalsecrets", "secretstores"]),
                ("external-secrets.io", "v1alpha1", &["pushsecrets"]),
            ],
            operations: &["CREATE", "UPDATE"],
            conditions: &[],
        },
    ),
    (
        Governs::VaultSecrets,
        Entry {
            name: "vaultsecrets",
            path: OTHER_OPERATORS_PATH,
            kinds: &[("secrets.hashicorp.com", "v1beta1", &["vaultstaticsecrets"])],
            operations: &["CREATE", "UPDATE"],
            conditions: &[],
        },
    ),
    (
        Governs::SecretProviderClasses,
        Entry {
            name: "secretproviderclasses",
            path: OTHER_OPERATORS_PATH,
            kinds: &[("secrets-store.csi.x-k8s.io", "v1", &["secretproviderclasses"])],
            operations: &["CREATE", "UPDATE"],
            conditions: &[],
        },
    ),
];

/// Likewise for what is cluster-scoped.
pub const FOREIGN_CLUSTER_ENTRIES: &[(Governs, Entry)] = &[(
    Governs::ExternalSecrets,
    Entry {
        name: "clusterexternalsecrets",
        path: OTHER_OPERATORS_PATH,
        kinds: &[
            ("external-secrets.io", "v1", &["clusterexternalsecrets", "clustersecretstores"]),
            ("external-secrets.io", "v1beta1", &["clusterexternalsecrets", "clustersecretstores"]),
        ],
        operations: &["CREATE", "UPDATE"],
        conditions: &[],
    },
)];

/// What the entries are made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Where the webhook is.
    pub endpoint: Endpoint,
    /// The operator's own ServiceAccount.
    pub service_account: String,
    /// Which namespaces it serves.
    pub served: Served,
}

impl Wanted {
    /// The entries. Every field is written out, also those at their default, so that whatever somebody changes shows as
    /// a difference.
    pub fn webhooks(&self, published: &Published, governed: &Governed) -> Vec<Value> {
        let ours = |name, path, kinds, operations| Entry { name, path, kinds, operations, conditions: &[] };
        let claims = ours(
            "scopedsecrets",
            SCOPED_SECRETS_PATH,
            &[(GROUP, "v1alpha1", &["scopedsecrets"])],
            &["CREATE", "UPDATE"],
        );
        let policies = ours(
            "segmentationpolicies",
            SEGMENTATION_POLICIES_PATH,
            &[(GROUP, "v1alpha1", &["segmentationpolicies"])],
            &["CREATE", "UPDATE", "DELETE"],
        );
        let everywhere = json!({"matchExpressions": [self.elsewhere()]});
        let mut all = vec![
            self.entry(&claims, claims.name, "Namespaced", "Fail", everywhere, published),
            self.entry(&policies, policies.name, "Cluster", "Fail", json!({}), published),
        ];
        let mut here = |entry: &Entry, rule, labels: &LabelSet| {
            let name = format!("{}-{}", entry.name, labels.slug());
            let answer = if governed.waits(labels, rule) { "Fail" } else { "Ignore" };
            all.push(self.entry(
                entry,
                &name,
                "Namespaced",
                answer,
                self.governed_by(labels, &governed.picked(labels)),
                published,
            ));
        };
        for (rule, entry) in GOVERNED_ENTRIES {
            governed.sets().for_each(|labels| here(entry, *rule, labels));
        }
        for (operators, entry) in FOREIGN_ENTRIES {
            governed.sets_holding(*operators).for_each(|labels| here(entry, ModalRule::OtherOperators, labels));
        }
        let operators = governed.operators();
        let foreign = FOREIGN_CLUSTER_ENTRIES.iter().filter(|(asked, _)| operators.contains(asked));
        for entry in CLUSTER_ENTRIES.iter().chain(foreign.map(|(_, entry)| entry)) {
            all.push(self.entry(entry, entry.name, "Cluster", "Ignore", json!({}), published));
        }
        all
    }

    /// Neither the control plane's namespace nor ours: by the name, which nobody can forge.
    fn elsewhere(&self) -> Value {
        json!({"key": NAMESPACE_NAME_LABEL, "operator": "NotIn", "values": ["kube-system", self.endpoint.namespace]})
    }

    /// Namespaces with every one of these labels, none empty, with and without the values that are picked and left out; but for the control
    /// plane's and ours, and of those that are served: in others the webhook knows nothing.
    fn governed_by(&self, labels: &LabelSet, picked: &Picked) -> Value {
        let carried = labels.iter().flat_map(|label| {
            [json!({"key": label, "operator": "Exists"}), json!({"key": label, "operator": "NotIn", "values": [""]})]
        });
        let valued = |operator, values: &BTreeMap<_, _>| -> Vec<Value> {
            let said = |(label, values)| json!({"key": label, "operator": operator, "values": values});
            values.iter().map(said).collect()
        };
        let (within, without) = (valued("In", &picked.one_of), valued("NotIn", &picked.none_of));
        let served = self
            .served
            .listed()
            .map(|listed| json!({"key": NAMESPACE_NAME_LABEL, "operator": "In", "values": listed.collect::<Vec<_>>()}));
        json!({"matchExpressions": carried.chain(within).chain(without).chain([self.elsewhere()]).chain(served).collect::<Vec<_>>()})
    }

    fn entry(
        &self,
        entry: &Entry,
        name: &str,
        scope: &str,
        failure_policy: &str,
        namespaces: Value,
        published: &Published,
    ) -> Value {
        let rules = entry.kinds.iter().map(|(group, version, resources)| {
            json!({
                "apiGroups": [group], "apiVersions": [version], "resources": resources,
                "operations": entry.operations, "scope": scope,
            })
        });
        json!({
            "name": format!("{name}.{GROUP}"),
            "clientConfig": self.endpoint.client_config(entry.path, published),
            "rules": rules.collect::<Vec<_>>(),
            "failurePolicy": failure_policy,
            "matchPolicy": "Equivalent",
            "namespaceSelector": namespaces,
            "objectSelector": {},
            "sideEffects": "NoneOnDryRun",
            "timeoutSeconds": self.endpoint.timeout_seconds,
            "admissionReviewVersions": ["v1"],
            "matchConditions": self.match_conditions(entry),
        })
    }

    /// The requests of the control plane itself, and ours, need no review; were they held up while the webhook is down,
    /// the cluster could not clean up.
    fn match_conditions(&self, entry: &Entry) -> Value {
        let installation =
            Installation { namespace: self.endpoint.namespace.clone(), service_account: self.service_account.clone() };
        let users = json!(installation.trusted_users());
        let ours = [
            ("not-the-control-plane", format!("!(request.userInfo.username in {users})")),
            ("not-a-node", "!('system:nodes' in request.userInfo.groups)".to_owned()),
        ];
        let more = entry.conditions.iter().map(|(name, expression)| (*name, (*expression).to_owned()));
        ours.into_iter().chain(more).map(|(name, expression)| json!({"name": name, "expression": expression})).collect()
    }

    /// The object for server-side apply, with the door that is announced. Its uid makes the API server refuse, not create, if the
    /// object is gone.
    pub fn patch(&self, uid: &str, announced: &str, published: &Published, governed: &Governed) -> Value {
        let entries = entries_digest(&self.typed(published, governed));
        let annotations = json!({DOOR_ANNOTATION: announced, ENTRIES_ANNOTATION: entries});
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": CONFIGURATION, "uid": uid, "annotations": annotations},
            "webhooks": self.webhooks(published, governed),
        })
    }

    /// Whether the live entries hold ours exactly, and none of ours that has served; entries of others are none of our
    /// business.
    pub fn holds(&self, live: &[ValidatingWebhook], published: &Published, governed: &Governed) -> bool {
        let ours = self.typed(published, governed);
        let stale = |entry: &ValidatingWebhook| is_ours(entry) && !ours.contains(entry);
        !ours.is_empty() && ours.iter().all(|entry| live.contains(entry)) && !live.iter().any(stale)
    }

    /// The live entries with ours put right, for a replace: server-side apply cannot remove what another manager added
    /// to a list inside an entry of ours (a matchCondition that never matches, say).
    pub fn replaced(
        &self,
        live: &[ValidatingWebhook],
        published: &Published,
        governed: &Governed,
    ) -> Vec<ValidatingWebhook> {
        let others = live.iter().filter(|entry| !is_ours(entry)).cloned();
        others.chain(self.typed(published, governed)).collect()
    }

    fn typed(&self, published: &Published, governed: &Governed) -> Vec<ValidatingWebhook> {
        // Our own JSON always has the shape (there is a test); if it had not, `holds` would be false for ever.
        serde_json::from_value(self.webhooks(published, governed).into()).unwrap_or_default()
    }
}

/// Tells our entries apart as they were written, with door and certificate.
fn entries_digest(entries: &[ValidatingWebhook]) -> String {
    let mut ours: Vec<String> = entries.iter().filter(|entry| is_ours(entry)).flat_map(serde_json::to_string).collect();
    ours.sort();
    crate::digest::sha256_hex(ours.join("\n").as_bytes())
}

/// Whether the entries are as the operator last wrote them. Those that nobody has written yet are not.
pub fn are_as_written(live: &ValidatingWebhookConfiguration) -> bool {
    let written = live.metadata.annotations.as_ref().and_then(|all| all.get(ENTRIES_ANNOTATION));
    written.is_some_and(|written| *written == entries_digest(live.webhooks.as_deref().unwrap_or_default()))
}

/// Whether somebody else has taken entries of ours away or changed them since. A configuration that was just created has none yet.
pub fn were_changed(live: &ValidatingWebhookConfiguration) -> bool {
    live.metadata.generation != Some(1) && !are_as_written(live)
}

/// What our entries are registered for: the sets of segment labels, and other operators' objects there.
pub fn registered(live: &[ValidatingWebhook]) -> impl Iterator<Item = (LabelSet, BTreeSet<Governs>)> {
    live.iter().filter(|entry| is_ours(entry)).filter_map(|entry| {
        let expressions = entry.namespace_selector.as_ref()?.match_expressions.as_ref()?;
        let labels: Vec<String> =
            expressions.iter().filter(|e| e.operator == "Exists").map(|e| e.key.clone()).collect();
        let operators = FOREIGN_ENTRIES
            .iter()
            .filter(|(_, foreign)| entry.name.strip_prefix(foreign.name).is_some_and(|rest| rest.starts_with('-')))
            .map(|(operators, _)| *operators);
        (!labels.is_empty()).then(|| (LabelSet::of(&labels), operators.collect()))
    })
}

/// Whether an entry has a name of ours.
pub fn is_ours(entry: &ValidatingWebhook) -> bool {
    entry.name.strip_suffix(GROUP).is_some_and(|rest| rest.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(url: Option<&str>) -> Wanted {
        let url = url.map(|url| WebhookUrl::parse(url).unwrap());
        let endpoint = Endpoint {
            namespace: "scoped-secrets".into(),
            service: "scoped-secrets-webhook".into(),
            url,
            timeout_seconds: 2,
        };
        Wanted { endpoint, service_account: "scoped-secrets".into(), served: Served::default() }
    }

    fn published(ca_bundle: &str) -> Published {
        Published { ca_bundle: ca_bundle.into(), door: "door".into() }
    }

    #[test]
    fn through_the_service() {
        let entries = wanted(None).webhooks(&published("PEM"), &Governed::default());
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
        let entries = wanted(Some("https://127.0.0.1:9443/")).webhooks(&published("PEM"), &Governed::default());
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
        let none = Governed::default();
        let right = wanted.typed(&published("PEM"), &none);
        assert_eq!(right.len(), 2 + CLUSTER_ENTRIES.len());
        let foreign = ValidatingWebhook { name: "other.example.com".into(), ..ValidatingWebhook::default() };
        let with_foreign: Vec<_> = right.iter().cloned().chain([foreign.clone()]).collect();
        assert!(wanted.holds(&with_foreign, &published("PEM"), &none));
        assert!(!wanted.holds(&with_foreign, &published("NEW"), &none));
        assert!(!wanted.holds(&[], &published("PEM"), &none));
        let mut weakened = with_foreign;
        weakened[0].failure_policy = Some("Ignore".into());
        assert!(!wanted.holds(&weakened, &published("PEM"), &none));
        let mended = wanted.replaced(&weakened, &published("PEM"), &none);
        assert!(wanted.holds(&mended, &published("PEM"), &none) && mended.contains(&foreign));
        assert_eq!(mended.len(), right.len() + 1);
        let served = ValidatingWebhook { name: format!("copies-x.{GROUP}"), ..ValidatingWebhook::default() };
        let with_served: Vec<_> = right.iter().cloned().chain([served]).collect();
        assert!(!wanted.holds(&with_served, &published("PEM"), &none), "an entry that has served goes");
        assert_eq!(wanted.replaced(&with_served, &published("PEM"), &none), right);
    }

    #[test]
    fn what_others_did_is_told_from_what_is_wished_otherwise_now() {
        let (wanted, none) = (wanted(None), Governed::default());
        let mut live: ValidatingWebhookConfiguration =
            serde_json::from_value(wanted.patch("uid", "door", &published("PEM"), &none)).unwrap();
        assert!(!were_changed(&live));
        assert!(!wanted.holds(live.webhooks.as_deref().unwrap(), &published("NEW"), &none), "another certificate");
        let whole = live.webhooks.clone().unwrap();
        let foreign = ValidatingWebhook { name: "other.example.com".into(), ..ValidatingWebhook::default() };
        live.webhooks = Some(whole.iter().cloned().chain([foreign]).collect());
        assert!(!were_changed(&live), "others' entries are theirs");
        let changes: [fn(&mut ValidatingWebhook); 3] = [
            |entry| entry.failure_policy = Some("Ignore".into()),
            |entry| entry.client_config.ca_bundle = None,
            |entry| entry.client_config.url = Some("https://elsewhere.example.com/door/x".into()),
        ];
        for change in changes {
            live.webhooks = Some(whole.clone());
            change(&mut live.webhooks.as_mut().unwrap()[0]);
            assert!(were_changed(&live));
        }
        live.webhooks = Some(whole[1..].to_vec());
        assert!(were_changed(&live));
        let replaced = ValidatingWebhookConfiguration {
            metadata: kube::api::ObjectMeta { generation: Some(7), ..Default::default() },
            ..Default::default()
        };
        assert!(were_changed(&replaced), "by its manifest");
        let metadata = kube::api::ObjectMeta { generation: Some(1), ..Default::default() };
        let fresh = ValidatingWebhookConfiguration { metadata, ..Default::default() };
        assert!(!were_changed(&fresh), "there were none yet");
    }

    #[test]
    fn governed_namespaces_by_their_labels() {
        let labels = LabelSet::of(&["tenant".to_owned(), "environment".to_owned()]);
        let picked = Picked {
            one_of: [("tenant".to_owned(), ["red".to_owned(), "blue".to_owned()].into())].into(),
            none_of: [("environment".to_owned(), ["test".to_owned()].into())].into(),
        };
        let selector = wanted(None).governed_by(&labels, &picked);
        let live = ValidatingWebhook {
            name: format!("copies-x.{GROUP}"),
            namespace_selector: serde_json::from_value(selector.clone()).unwrap(),
            ..ValidatingWebhook::default()
        };
        assert_eq!(registered(&[live]).collect::<Vec<_>>(), [(labels, BTreeSet::new())]);
        assert_eq!(
            selector,
            json!({"matchExpressions": [
                {"key": "environment", "operator": "Exists"},
                {"key": "environment", "operator": "NotIn", "values": [""]},
                {"key": "tenant", "operator": "Exists"},
                {"key": "tenant", "operator": "NotIn", "values": [""]},
                {"key": "tenant", "operator": "In", "values": ["blue", "red"]},
                {"key": "environment", "operator": "NotIn", "values": ["test"]},
                {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["kube-system", "scoped-secrets"]},
            ]})
        );
    }

    #[test]
    fn other_operators_only_where_a_policy_asks() {
        let labels = |label: &str| LabelSet::of(&[label.to_owned()]);
        let sets = [labels("tenant"), labels("team")];
        let entries = |governed: &Governed| {
            let typed = wanted(None).typed(&published("PEM"), governed);
            let path = |entry: &ValidatingWebhook| entry.client_config.service.as_ref().and_then(|s| s.path.clone());
            let foreign = |entry: &ValidatingWebhook| path(entry).is_some_and(|p| p.ends_with(OTHER_OPERATORS_PATH));
            typed.into_iter().filter(foreign).collect::<Vec<_>>()
        };
        assert_eq!(entries(&Governed::new(sets.clone(), false)), []);
        let asked = [(labels("team"), BTreeSet::from([Governs::ExternalSecrets, Governs::VaultSecrets]))];
        let tried = Governed::new(sets.clone(), false).holding(asked.clone());
        let enforced = [(labels("team"), BTreeSet::from([ModalRule::OtherOperators]))];
        let governed = tried.clone().enforcing(enforced);
        let policy = |entry: &ValidatingWebhook| entry.failure_policy.clone().unwrap();
        assert_eq!(entries(&tried).iter().map(policy).collect::<Vec<_>>(), ["Ignore"; 3]);
        let found = entries(&governed);
        let shown: Vec<(&str, Option<&str>)> =
            found.iter().map(|e| (e.name.split(['-', '.']).next().unwrap(), e.failure_policy.as_deref())).collect();
        assert_eq!(
            shown,
            [
                ("externalsecrets", Some("Fail")),
                ("vaultsecrets", Some("Fail")),
                ("clusterexternalsecrets", Some("Ignore"))
            ]
        );
        // A policy that cannot be understood any more keeps what it had, and may be strict.
        let uncertain = Governed::new([labels("tenant")], true).with_those_in_use(registered(&found));
        assert_eq!(entries(&uncertain), found);
    }
}
