//! What an audit looks at, as plain values.

use super::external::{self, ExternalClaim};
use super::roles::Bindings;
use super::values::Values;
use crate::api::{MANAGED_BY, MANAGED_BY_LABEL, SEAL_ANNOTATION};
use crate::cli::cluster::{Cluster, Failure, Seen};
use crate::cli::observed::{Observed, observe};
use crate::cli::references::{self, Reference};
use crate::controller::index::object_name;
use crate::segmentation::world::ObjectName;
use k8s_openapi::api::core::v1::{Pod, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, ListParams};
use std::collections::BTreeMap;

/// A cluster as an audit sees it.
pub struct Sighted {
    /// Policies, stores, namespaces, ScopedSecrets.
    pub observed: Observed,
    /// Secrets that people and operators write; none of the cluster's own.
    pub secrets: BTreeMap<ObjectName, SecretSeen>,
    /// Whether every Secret could be listed.
    pub every_secret: bool,
    /// Their values; None if they were not read.
    pub values: Option<Values>,
    /// Pods that name Secrets.
    pub pods: Vec<PodSeen>,
    /// Who may read Secrets.
    pub bindings: Bindings,
    /// ExternalSecrets; None where there is no such kind.
    pub external: Option<Vec<ExternalClaim>>,
}

/// A Secret's metadata.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SecretSeen {
    /// Whether it carries our label.
    pub managed: bool,
    /// Whether it carries a seal.
    pub sealed: bool,
    /// The uid in its controller reference.
    pub owner: Option<String>,
}

/// A pod that names Secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodSeen {
    /// Which.
    pub name: ObjectName,
    /// Its ServiceAccount.
    pub account: String,
    /// What it names.
    pub named: Vec<Reference>,
}

/// The cluster's own, or of a tool that keeps its state in Secrets.
const STATE: [&str; 3] = ["kubernetes.io/service-account-token", "bootstrap.kubernetes.io/token", "helm.sh/release.v1"];

/// Looks. With `values`, Secrets are read; each page is forgotten when it was digested.
pub async fn look(cluster: &Cluster, values: bool) -> Result<Sighted, Failure> {
    let observed = observe(cluster, &cluster.namespace).await?;
    let (all, own): (Api<Secret>, Api<Secret>) =
        (Api::all(cluster.client.clone()), Api::namespaced(cluster.client.clone(), &cluster.namespace));
    let mut found = Found { secrets: BTreeMap::new(), values: values.then(|| Values::new(&random())) };
    let mut every_secret = true;
    if found.read(cluster, &all).await? == Seen::Barred {
        every_secret = false;
        if found.read(cluster, &own).await? == Seen::Barred {
            found.values = None;
        }
    }
    let mut pods = Vec::new();
    let (all, own): (Api<Pod>, Api<Pod>) =
        (Api::all(cluster.client.clone()), Api::namespaced(cluster.client.clone(), &cluster.namespace));
    if cluster.each_page(&all, ListParams::default(), |page| pods.extend(page.iter().filter_map(pod_seen))).await?
        == Seen::Barred
    {
        cluster.each_page(&own, ListParams::default(), |page| pods.extend(page.iter().filter_map(pod_seen))).await?;
    }
    Ok(Sighted {
        observed,
        secrets: found.secrets,
        every_secret,
        values: found.values,
        pods,
        bindings: Bindings::look(cluster).await?,
        external: external::look(cluster).await?,
    })
}

/// Without randomness there is no key, and a fixed one would be no secret: all the same, it never leaves the process.
fn random() -> [u8; 32] {
    let mut random = [0; 32];
    let _ = aws_lc_rs::rand::fill(&mut random);
    random
}

struct Found {
    secrets: BTreeMap<ObjectName, SecretSeen>,
    values: Option<Values>,
}

impl Found {
    async fn read(&mut self, cluster: &Cluster, api: &Api<Secret>) -> Result<Seen<()>, Failure> {
        let Self { secrets, values } = self;
        // Of helm's releases only the type matters, and it is the API server that leaves them out.
        let params = ListParams::default().fields(&STATE.map(|kind| format!("type!={kind}")).join(","));
        let mut keep = |metadata: &ObjectMeta| {
            let name = object_name(metadata)?;
            secrets.insert(name.clone(), secret_seen(metadata));
            Some(name)
        };
        let Some(values) = values else {
            return Ok(cluster.list_metadata(api, params).await?.map(|list| {
                list.iter().for_each(|secret| _ = keep(&secret.metadata));
            }));
        };
        cluster
            .each_page(api, params, |page| {
                for secret in page {
                    let Some(name) = keep(&secret.metadata) else { continue };
                    for (key, value) in secret.data.iter().flatten() {
                        values.add(&name, key, &value.0);
                    }
                }
            })
            .await
    }
}

fn secret_seen(metadata: &ObjectMeta) -> SecretSeen {
    let label = metadata.labels.as_ref().and_then(|labels| labels.get(MANAGED_BY_LABEL));
    let seal = metadata.annotations.as_ref().and_then(|all| all.get(SEAL_ANNOTATION));
    let owners = metadata.owner_references.as_deref().unwrap_or_default();
    SecretSeen {
        managed: label.is_some_and(|by| by == MANAGED_BY),
        sealed: seal.is_some_and(|seal| seal.starts_with("v1.")),
        owner: owners.iter().find(|owner| owner.controller == Some(true)).map(|owner| owner.uid.clone()),
    }
}

fn pod_seen(pod: &Pod) -> Option<PodSeen> {
    let spec = pod.spec.as_ref()?;
    let over = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    let named = references::of_pod(spec);
    let runs = !matches!(over, Some("Succeeded" | "Failed")) && !named.is_empty();
    let name = object_name(&pod.metadata).filter(|_| runs)?;
    Some(PodSeen { name, account: references::account(spec).to_owned(), named })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::cli::observed::build;
    use crate::cli::observed::tests::facts;
    use serde_json::Value;

    /// The small cluster with these ScopedSecrets, and Secrets as `namespace/name`, key, value.
    pub fn sighted(claims: &[Value], secrets: &[(&str, &str, &[u8])]) -> Sighted {
        let mut values = Values::new(&[7; 32]);
        let mut seen = BTreeMap::new();
        for (name, key, value) in secrets {
            let (namespace, name) = name.split_once('/').unwrap();
            let name = ObjectName::new(namespace, name);
            values.add(&name, key, value);
            seen.insert(name, SecretSeen::default());
        }
        Sighted {
            observed: build(facts(claims)),
            secrets: seen,
            every_secret: true,
            values: Some(values),
            pods: Vec::new(),
            bindings: Bindings::default(),
            external: None,
        }
    }

    #[test]
    fn what_matters_of_a_secret() {
        let metadata: ObjectMeta = serde_json::from_value(serde_json::json!({
            "name": "a", "namespace": "b", "labels": {"app.kubernetes.io/managed-by": "scoped-secrets"},
            "annotations": {"scopedsecrets.io/seal": "v1.0.x"},
            "ownerReferences": [{"apiVersion": "v1", "kind": "K", "name": "n", "uid": "u", "controller": true}],
        }))
        .unwrap();
        assert_eq!(secret_seen(&metadata), SecretSeen { managed: true, sealed: true, owner: Some("u".into()) });
        assert_eq!(secret_seen(&ObjectMeta::default()), SecretSeen::default());
    }
}
