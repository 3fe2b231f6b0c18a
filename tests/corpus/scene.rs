//! The scene: what is there before any case, as plain objects, and who asks.

use super::case::{expanded, folder};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scene {
    pub namespaces: BTreeMap<String, BTreeMap<String, String>>,
    accounts: BTreeMap<String, Vec<String>>,
    pub people: BTreeMap<String, Person>,
    roles: BTreeMap<String, Vec<Value>>,
    stores: BTreeMap<String, Value>,
    policies: BTreeMap<String, Value>,
    /// NAMESPACE/NAME: its key, and its consumer.
    pub claims: BTreeMap<String, [String; 2]>,
    objects: Vec<Map<String, Value>>,
}

/// Somebody who asks.
#[derive(Deserialize, Clone)]
#[serde(deny_unknown_fields)]
pub struct Person {
    /// The user's name; the person's own unless given.
    pub user: Option<String>,
    #[serde(default)]
    pub groups: Vec<String>,
    /// Namespaces in which the ClusterRole edit is bound.
    #[serde(default)]
    pub edits: Vec<String>,
    /// ClusterRoles for the whole cluster.
    #[serde(default)]
    pub has: Vec<String>,
}

impl Person {
    /// The platform's people may be told of every tenant.
    fn is_of_the_platform(&self) -> bool {
        !self.groups.is_empty() || self.has.iter().any(|role| ["writes-policies", "cluster-admin"].contains(&&**role))
    }
}

/// apiVersion and plural of a kind.
pub fn resource(kind: &str) -> (&'static str, String) {
    let version = match kind {
        "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" => "apps/v1",
        "Job" | "CronJob" => "batch/v1",
        "Role" | "RoleBinding" | "ClusterRole" | "ClusterRoleBinding" => "rbac.authorization.k8s.io/v1",
        "Lease" => "coordination.k8s.io/v1",
        "StorageClass" => "storage.k8s.io/v1",
        "ValidatingWebhookConfiguration" => "admissionregistration.k8s.io/v1",
        "CustomResourceDefinition" => "apiextensions.k8s.io/v1",
        "PushSecret" => "external-secrets.io/v1alpha1",
        "ExternalSecret" | "ClusterExternalSecret" | "SecretStore" => "external-secrets.io/v1",
        "VaultStaticSecret" => "secrets.hashicorp.com/v1beta1",
        "SecretProviderClass" => "secrets-store.csi.x-k8s.io/v1",
        "SecretExport" | "SecretImport" => "secretgen.carvel.dev/v1alpha1",
        "ScopedSecret" | "SecretGrant" | "ScopedSecretStore" | "SegmentationPolicy" | "SegmentGuard"
        | "SegmentationReport" => "scopedsecrets.io/v1alpha1",
        _ => "v1",
    };
    let lower = kind.to_lowercase();
    let plural = match lower.strip_suffix('y') {
        Some(stem) => format!("{stem}ies"),
        None if lower.ends_with("ss") => format!("{lower}es"),
        None => format!("{lower}s"),
    };
    (version, plural)
}

const CLUSTER_SCOPED: [&str; 11] = [
    "ClusterExternalSecret",
    "SegmentationReport",
    "Namespace",
    "ClusterRole",
    "ClusterRoleBinding",
    "ValidatingWebhookConfiguration",
    "CustomResourceDefinition",
    "ScopedSecretStore",
    "SegmentationPolicy",
    "PersistentVolume",
    "StorageClass",
];

pub fn is_namespaced(kind: &str) -> bool {
    !CLUSTER_SCOPED.contains(&kind)
}

impl Scene {
    pub fn read() -> Self {
        let text = std::fs::read_to_string(folder().join("scene.yaml")).expect("the scene");
        let value: Value = serde_saphyr::from_str(&text).expect("scene.yaml");
        serde_json::from_value(expanded(value)).expect("scene.yaml")
    }

    pub fn person(&self, name: &str) -> &Person {
        self.people.get(name).unwrap_or_else(|| panic!("nobody in scene.yaml is called {name}"))
    }

    /// Everything that decides about claims: namespaces, stores, policies, ScopedSecrets, in this order.
    pub fn deciding(&self, endpoint: &str) -> Vec<Value> {
        let namespaces = self
            .namespaces
            .iter()
            .map(|(name, labels)| cluster_object("Namespace", name, json!({"metadata": {"labels": labels}})));
        let stores = self.stores.iter().map(|(name, aws)| {
            let mut aws = aws.clone();
            if aws["endpoint"] == "ENDPOINT" {
                aws["endpoint"] = endpoint.into();
            }
            cluster_object("ScopedSecretStore", name, json!({"spec": {"aws": aws}}))
        });
        let policies =
            self.policies.iter().map(|(name, spec)| cluster_object("SegmentationPolicy", name, json!({"spec": spec})));
        namespaces.chain(stores).chain(policies).chain(self.claims.keys().map(|name| self.claim(name))).collect()
    }

    /// Whether a request is about a ScopedSecret of the scene, or its Secret.
    pub fn has_claim(&self, step: &super::case::Step) -> bool {
        let place = step.namespace.as_deref().unwrap_or_default();
        let is_one = ["ScopedSecret", "Secret"].contains(&&*step.kind);
        is_one && self.claims.contains_key(&format!("{place}/{}", step.name))
    }

    /// The Secret of a ScopedSecret of the scene, as the operator writes it, without its values.
    pub fn projected(&self, full_name: &str) -> Value {
        let (namespace, name) = full_name.split_once('/').expect("NAMESPACE/NAME");
        let owner = json!({
            "apiVersion": "scopedsecrets.io/v1alpha1", "kind": "ScopedSecret", "name": name,
            "uid": "00000000-0000-4000-8000-000000000001", "controller": true,
        });
        let metadata = json!({
            "labels": {"app.kubernetes.io/managed-by": "scoped-secrets"},
            "annotations": {"scopedsecrets.io/seal": "v1.sealed"}, "ownerReferences": [owner],
        });
        object("Secret", namespace, name, json!({"metadata": metadata, "type": "Opaque"}))
    }

    /// A ScopedSecret of the scene.
    pub fn claim(&self, full_name: &str) -> Value {
        let (namespace, name) = full_name.split_once('/').expect("NAMESPACE/NAME");
        let [key, consumer] = &self.claims[full_name];
        object(
            "ScopedSecret",
            namespace,
            name,
            json!({"spec": {
                "storeRef": {"name": "aws"}, "consumers": [{"serviceAccountName": consumer}], "refreshInterval": "0s",
                "data": [{"secretKey": "value", "remoteRef": {"key": key}}],
            }}),
        )
    }

    /// All else, in the order in which it can be made.
    pub fn surroundings(&self) -> Vec<Value> {
        let mut all = vec![];
        for (namespace, names) in &self.accounts {
            all.extend(names.iter().map(|name| object("ServiceAccount", namespace, name, json!({}))));
        }
        let edit = json!({
            "metadata": {"labels": {"rbac.authorization.k8s.io/aggregate-to-edit": "true"}},
            "rules": [{
                "apiGroups": [
                    "scopedsecrets.io", "external-secrets.io", "secrets.hashicorp.com", "secrets-store.csi.x-k8s.io",
                    "secretgen.carvel.dev",
                ],
                "resources": ["*"], "verbs": ["*"],
            }],
        });
        all.push(cluster_object("ClusterRole", "edit-scoped-secrets", edit));
        for (name, rules) in &self.roles {
            let rule = |rule: &Value| {
                let mut whole = json!({"apiGroups": [rule[0]], "resources": [rule[1]], "verbs": rule[2]});
                if rule[3].is_array() {
                    whole["resourceNames"] = rule[3].clone();
                }
                whole
            };
            let rules: Vec<Value> = rules.iter().map(rule).collect();
            all.push(cluster_object("ClusterRole", name, json!({"rules": rules})));
        }
        for (name, person) in &self.people {
            let subject = json!([{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": person.user.as_ref().unwrap_or(name)}]);
            let role =
                |role: &str| json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role});
            let bound = |name: &str| json!({"roleRef": role(name), "subjects": subject});
            all.extend(person.edits.iter().map(|place| object("RoleBinding", place, name, bound("edit"))));
            let whole = person.has.iter();
            all.extend(whole.map(|role| cluster_object("ClusterRoleBinding", &format!("{name}-{role}"), bound(role))));
        }
        all.extend(self.objects.iter().map(|fields| {
            let text = |field: &str| fields[field].as_str().expect("a text");
            let rest = fields.iter().filter(|(key, _)| !["kind", "in", "name"].contains(&key.as_str()));
            let rest: Map<String, Value> = rest.map(|(key, value)| (key.clone(), value.clone())).collect();
            object(text("kind"), text("in"), text("name"), rest.into())
        }));
        all
    }

    /// Words that this person must not be told: names of what is in namespaces that are not theirs.
    pub fn secrets_from(&self, name: &str) -> BTreeSet<String> {
        let person = self.person(name);
        if person.is_of_the_platform() {
            return BTreeSet::new();
        }
        let user = person.user.as_deref().unwrap_or_default();
        let own_account = user.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split(':').next());
        let own = |namespace: &str| person.edits.iter().any(|n| n == namespace) || own_account == Some(namespace);
        // Who writes namespaces reads them and their labels; every cluster has `default`.
        let reads_namespaces = person.has.iter().any(|role| role == "writes-namespaces");
        let (mut mine, mut theirs) = (BTreeSet::new(), BTreeSet::new());
        for (namespace, labels) in &self.namespaces {
            let known = own(namespace) || reads_namespaces || namespace == "default";
            let words = if known { &mut mine } else { &mut theirs };
            words.insert(namespace.clone());
            words.extend(labels.get("tenant").cloned());
            words.extend(labels.get("team").cloned());
        }
        for (claim, [key, consumer]) in &self.claims {
            let (namespace, name) = claim.split_once('/').expect("NAMESPACE/NAME");
            let words = if own(namespace) { &mut mine } else { &mut theirs };
            words.extend([name.to_owned(), key.clone(), consumer.clone()]);
            words.extend(key.rsplit('/').next().map(str::to_owned));
        }
        theirs.difference(&mine).cloned().collect()
    }
}

fn cluster_object(kind: &str, name: &str, more: Value) -> Value {
    let mut whole = json!({"apiVersion": resource(kind).0, "kind": kind, "metadata": {"name": name}});
    super::case::merge(&mut whole, &more);
    whole
}

fn object(kind: &str, namespace: &str, name: &str, more: Value) -> Value {
    let mut whole = cluster_object(kind, name, more);
    whole["metadata"]["namespace"] = namespace.into();
    whole
}
