//! What stands in the cluster of an installation.

use super::served::served;
use crate::admission::identities::Installation;
use crate::admission::webhook_configuration::CONFIGURATION;
use crate::api::{self, SegmentationReport};
use crate::cli::cluster::{Cluster, Failure, Seen};
use crate::cli::lent::{self, Grants};
use crate::cli::observed::{Observed, observe};
use crate::controller::keys::KEY_SECRET;
use crate::controller::served::Served;
use crate::leader::LEASE;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding, ValidatingWebhookConfiguration,
};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ListParams};
use kube::{Resource, ResourceExt};
use std::collections::BTreeMap;

/// The operator's Deployment, ClusterRole, Role and their bindings.
pub const NAME: &str = "scoped-secrets";
/// What it has in each namespace, where it serves a list of them.
pub const NAMESPACE_ROLE: &str = "scoped-secrets-namespace";
/// The webhook's Service.
pub const SERVICE: &str = "scoped-secrets-webhook";

/// Every admission policy of the cluster, and every binding, by name.
pub struct Guards {
    /// The policies.
    pub policies: Seen<BTreeMap<String, ValidatingAdmissionPolicy>>,
    /// Their bindings.
    pub bindings: Seen<BTreeMap<String, ValidatingAdmissionPolicyBinding>>,
}

impl Guards {
    /// Looks.
    pub async fn look(cluster: &Cluster) -> Result<Self, Failure> {
        let policies: Api<ValidatingAdmissionPolicy> = Api::all(cluster.client.clone());
        let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(cluster.client.clone());
        Ok(Self {
            policies: cluster.list(&policies, ListParams::default()).await?.map(by_name),
            bindings: cluster.list(&bindings, ListParams::default()).await?.map(by_name),
        })
    }
}

/// What was found, each as the API server tells it.
pub struct Installed {
    /// Where the operator is.
    pub installation: Installation,
    /// Each kind of ours by its CRD's name.
    pub kinds: BTreeMap<String, Seen<CustomResourceDefinition>>,
    /// The Deployment.
    pub deployment: Seen<Deployment>,
    /// The Lease.
    pub lease: Seen<Lease>,
    /// Whether the seal key's Secret is there.
    pub seal_key: Seen<()>,
    /// The webhook configuration.
    pub configuration: Seen<ValidatingWebhookConfiguration>,
    /// How many ready pods are behind the webhook's Service.
    pub ready_endpoints: Seen<usize>,
    /// The rules that the API server keeps.
    pub guards: Guards,
    /// The operator's ClusterRole.
    pub cluster_role: Seen<ClusterRole>,
    /// Its binding.
    pub cluster_role_binding: Seen<ClusterRoleBinding>,
    /// The operator's Role.
    pub role: Seen<Role>,
    /// Its binding.
    pub role_binding: Seen<RoleBinding>,
    /// Its Role and RoleBinding in each namespace of its list, where it serves no other.
    pub namespaces: BTreeMap<String, (Seen<Role>, Seen<RoleBinding>)>,
    /// What the operator reports of each segment.
    pub reports: Seen<Vec<SegmentationReport>>,
    /// SecretGrants.
    pub grants: Grants,
    /// Stores, policies, namespaces, ScopedSecrets.
    pub observed: Observed,
}

impl Installed {
    /// Which namespaces the operator serves.
    pub fn served(&self) -> Served {
        served(self.deployment.get(), self.configuration.get())
    }

    /// Whether nothing of it is there.
    pub fn is_nothing(&self) -> bool {
        self.kinds.values().all(|kind| *kind == Seen::Absent)
            && !self.observed.installed
            && self.deployment == Seen::Absent
            && self.configuration == Seen::Absent
    }
}

/// Looks.
pub async fn look(cluster: &Cluster, installation: Installation) -> Result<Installed, Failure> {
    let place = installation.namespace.clone();
    let mut kinds = BTreeMap::new();
    let crds: Api<CustomResourceDefinition> = Api::all(cluster.client.clone());
    for crd in api::crds() {
        let name = crd.name_any();
        let found = cluster.get(&crds, &name).await?;
        kinds.insert(name, found);
    }
    let own = |cluster: &Cluster| cluster.client.clone();
    let secrets: Api<Secret> = Api::namespaced(own(cluster), &place);
    let deployment = cluster.get(&here::<Deployment>(cluster, &place), NAME).await?;
    let configuration = cluster.get(&Api::all(own(cluster)), CONFIGURATION).await?;
    let mut namespaces = BTreeMap::new();
    for namespace in served(deployment.get(), configuration.get()).listed().into_iter().flatten() {
        let role = cluster.get(&here::<Role>(cluster, namespace), NAMESPACE_ROLE).await?;
        let binding = cluster.get(&here::<RoleBinding>(cluster, namespace), NAMESPACE_ROLE).await?;
        namespaces.insert(namespace.to_owned(), (role, binding));
    }
    Ok(Installed {
        deployment,
        lease: cluster.get(&here::<Lease>(cluster, &place), LEASE).await?,
        seal_key: cluster.get_metadata(&secrets, KEY_SECRET).await?.map(|_| ()),
        configuration,
        namespaces,
        ready_endpoints: endpoints(cluster, &place).await?,
        guards: Guards::look(cluster).await?,
        cluster_role: cluster.get(&Api::all(own(cluster)), NAME).await?,
        cluster_role_binding: cluster.get(&Api::all(own(cluster)), NAME).await?,
        role: cluster.get(&here::<Role>(cluster, &place), NAME).await?,
        role_binding: cluster.get(&here::<RoleBinding>(cluster, &place), NAME).await?,
        reports: cluster.list(&Api::all(own(cluster)), ListParams::default()).await?,
        grants: lent::look(cluster).await?,
        observed: observe(cluster, &cluster.namespace).await?,
        kinds,
        installation,
    })
}

fn here<K: Resource<DynamicType = (), Scope = NamespaceResourceScope>>(cluster: &Cluster, namespace: &str) -> Api<K> {
    Api::namespaced(cluster.client.clone(), namespace)
}

async fn endpoints(cluster: &Cluster, namespace: &str) -> Result<Seen<usize>, Failure> {
    let params = ListParams::default().labels(&format!("kubernetes.io/service-name={SERVICE}"));
    let slices = cluster.list(&here::<EndpointSlice>(cluster, namespace), params).await?;
    Ok(slices.map(|slices| {
        let ready = |conditions: Option<bool>| conditions.unwrap_or(true);
        let endpoints = slices.iter().flat_map(|slice| &slice.endpoints);
        endpoints.filter(|e| ready(e.conditions.as_ref().and_then(|c| c.ready))).map(|e| e.addresses.len()).sum()
    }))
}

/// By name.
pub fn by_name<K: Resource>(list: Vec<K>) -> BTreeMap<String, K> {
    list.into_iter().map(|object| (object.meta().name.clone().unwrap_or_default(), object)).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::admission::bundle::Published;
    use crate::admission::rules::guards;
    use crate::admission::webhook_configuration::{Endpoint, TIMEOUT_SECONDS, Wanted};
    use crate::cli::observed::build;
    use crate::cli::observed::tests::{facts, now};
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
    use serde::de::DeserializeOwned;
    use serde_json::{Value, json};

    fn typed<K: DeserializeOwned>(value: Value) -> Seen<K> {
        Seen::There(serde_json::from_value(value).unwrap())
    }

    /// An authority (PEM) that is valid when the tables ask.
    fn authority() -> String {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_before = rcgen::date_time_ymd(2025, 1, 1);
        params.not_after = rcgen::date_time_ymd(2027, 1, 1);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()
    }

    /// A healthy installation with these ScopedSecrets.
    pub fn healthy(claims: &[Value]) -> Installed {
        let installation = Installation::default();
        let observed = build(facts(claims));
        let (ca_bundle, door) = (authority(), "0123456789abcdef".repeat(2));
        let endpoint = Endpoint {
            namespace: installation.namespace.clone(),
            service: SERVICE.into(),
            url: None,
            timeout_seconds: TIMEOUT_SECONDS,
        };
        let wanted =
            Wanted { endpoint, service_account: installation.service_account.clone(), served: Served::default() };
        let entries = wanted.webhooks(&Published { ca_bundle, door }, &observed.world.governed().unwrap());
        let objects: Vec<Value> = guards(&installation).iter().flat_map(|guard| guard.objects()).collect();
        let of = |kind: &str| objects.iter().filter(|o| o["kind"] == kind).cloned().collect::<Vec<_>>();
        let list = |kind: &str| Value::from(of(kind));
        let established = json!({"conditions": [{"type": "Established", "status": "True"}]});
        let kinds = api::crds().into_iter().map(|crd| {
            let mut live = serde_json::to_value(&crd).unwrap();
            live["status"] = established.clone();
            (crd.name_any(), typed(live))
        });
        let rbac = super::super::roles::wanted(&installation, &Served::default());
        Installed {
            kinds: kinds.collect(),
            deployment: typed(
                json!({"metadata": {"generation": 1}, "spec": {"replicas": 2, "selector": {}, "template": {}},
                "status": {"observedGeneration": 1, "readyReplicas": 2}}),
            ),
            lease: typed(json!({"spec": {"holderIdentity": "a_1", "leaseDurationSeconds": 15,
                "renewTime": format!("{:.6}", now())}})),
            seal_key: Seen::There(()),
            configuration: typed(json!({"metadata": {"name": CONFIGURATION}, "webhooks": entries})),
            ready_endpoints: Seen::There(2),
            guards: Guards {
                policies: typed::<Vec<ValidatingAdmissionPolicy>>(list("ValidatingAdmissionPolicy")).map(by_name),
                bindings: typed::<Vec<ValidatingAdmissionPolicyBinding>>(list("ValidatingAdmissionPolicyBinding"))
                    .map(by_name),
            },
            cluster_role: Seen::There(rbac.cluster_role),
            cluster_role_binding: Seen::There(rbac.cluster_role_binding),
            role: Seen::There(rbac.role),
            role_binding: Seen::There(rbac.role_binding),
            namespaces: BTreeMap::new(),
            reports: Seen::There(Vec::new()),
            grants: Grants::default(),
            observed,
            installation,
        }
    }
}
