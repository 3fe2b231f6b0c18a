//! Every way that Kubernetes names a Secret beside reading it: pods, ServiceAccounts, volumes and storage classes. Pure.
//!
//! What the rule Consumers says in CEL, in Rust, for what was there before the rule or came in past it. The sources are
//! Kubernetes' own `VisitPodSecretNames` (pkg/api/v1/pod) and `VisitPVSecretNames` (pkg/api/v1/persistentvolume), and, for
//! StorageClasses, the parameters of the CSI sidecars (kubernetes-csi.github.io, "Secrets and credentials").

use k8s_openapi::api::core::v1::{
    Container, EphemeralContainer, PersistentVolume, PodSpec, SecretReference, ServiceAccount, Volume,
};
use std::collections::{BTreeMap, BTreeSet};

/// The account that pods of this spec run under.
pub fn account_of(pods: &PodSpec) -> &str {
    pods.service_account_name.as_deref().filter(|name| !name.is_empty()).unwrap_or("default")
}

/// The Secrets of their own namespace that pods of this spec reference.
pub fn of_pods(pods: &PodSpec) -> BTreeSet<&str> {
    let mut names = BTreeSet::new();
    names.extend(pods.image_pull_secrets.iter().flatten().map(|reference| reference.name.as_str()));
    let containers = pods.containers.iter().chain(pods.init_containers.iter().flatten());
    containers.for_each(|container| of_container(container, &mut names));
    pods.ephemeral_containers.iter().flatten().for_each(|container| of_ephemeral(container, &mut names));
    pods.volumes.iter().flatten().for_each(|volume| of_volume(volume, &mut names));
    names.remove("");
    names
}

/// The Secrets that every pod under a ServiceAccount has.
pub fn of_account(account: &ServiceAccount) -> BTreeSet<&str> {
    let listed = account.secrets.iter().flatten().filter_map(|reference| reference.name.as_deref());
    let pull = account.image_pull_secrets.iter().flatten().map(|reference| reference.name.as_str());
    listed.chain(pull).filter(|name| !name.is_empty()).collect()
}

macro_rules! of_environment {
    ($container:expr, $names:expr) => {{
        let env = $container.env.iter().flatten().filter_map(|env| env.value_from.as_ref()?.secret_key_ref.as_ref());
        $names.extend(env.map(|reference| reference.name.as_str()));
        let from = $container.env_from.iter().flatten().filter_map(|from| from.secret_ref.as_ref());
        $names.extend(from.map(|reference| reference.name.as_str()));
    }};
}

fn of_container<'a>(container: &'a Container, names: &mut BTreeSet<&'a str>) {
    of_environment!(container, names);
}

fn of_ephemeral<'a>(container: &'a EphemeralContainer, names: &mut BTreeSet<&'a str>) {
    of_environment!(container, names);
}

fn of_volume<'a>(volume: &'a Volume, names: &mut BTreeSet<&'a str>) {
    let references = [
        volume.cephfs.as_ref().and_then(|v| v.secret_ref.as_ref()),
        volume.cinder.as_ref().and_then(|v| v.secret_ref.as_ref()),
        volume.csi.as_ref().and_then(|v| v.node_publish_secret_ref.as_ref()),
        volume.flex_volume.as_ref().and_then(|v| v.secret_ref.as_ref()),
        volume.iscsi.as_ref().and_then(|v| v.secret_ref.as_ref()),
        volume.rbd.as_ref().and_then(|v| v.secret_ref.as_ref()),
        volume.scale_io.as_ref().map(|v| &v.secret_ref),
        volume.storageos.as_ref().and_then(|v| v.secret_ref.as_ref()),
    ];
    names.extend(references.into_iter().flatten().map(|reference| reference.name.as_str()));
    names.extend(volume.azure_file.as_ref().map(|v| v.secret_name.as_str()));
    names.extend(volume.secret.as_ref().and_then(|v| v.secret_name.as_deref()));
    let sources = volume.projected.iter().flat_map(|v| v.sources.iter().flatten());
    names.extend(sources.filter_map(|source| source.secret.as_ref()).map(|secret| secret.name.as_str()));
}

/// The Secrets, as (namespace, name), that a PersistentVolume names, and the namespace of the claim that it is bound to.
pub fn of_persistent_volume(volume: &PersistentVolume) -> (BTreeSet<(&str, &str)>, Option<&str>) {
    let mut names = BTreeSet::new();
    let Some(spec) = &volume.spec else { return (names, None) };
    let bound = spec.claim_ref.as_ref().and_then(|claim| claim.namespace.as_deref()).filter(|ns| !ns.is_empty());
    let secrets: [Option<&SecretReference>; 11] = [
        spec.cephfs.as_ref().and_then(|v| v.secret_ref.as_ref()),
        spec.cinder.as_ref().and_then(|v| v.secret_ref.as_ref()),
        spec.flex_volume.as_ref().and_then(|v| v.secret_ref.as_ref()),
        spec.iscsi.as_ref().and_then(|v| v.secret_ref.as_ref()),
        spec.rbd.as_ref().and_then(|v| v.secret_ref.as_ref()),
        spec.scale_io.as_ref().map(|v| &v.secret_ref),
        spec.csi.as_ref().and_then(|v| v.controller_publish_secret_ref.as_ref()),
        spec.csi.as_ref().and_then(|v| v.controller_expand_secret_ref.as_ref()),
        spec.csi.as_ref().and_then(|v| v.node_publish_secret_ref.as_ref()),
        spec.csi.as_ref().and_then(|v| v.node_stage_secret_ref.as_ref()),
        spec.csi.as_ref().and_then(|v| v.node_expand_secret_ref.as_ref()),
    ];
    let secrets = secrets.into_iter().flatten().map(|r| (r.namespace.as_deref(), r.name.as_deref()));
    let storageos = spec.storageos.as_ref().and_then(|v| v.secret_ref.as_ref());
    let storageos = storageos.map(|r| (r.namespace.as_deref(), r.name.as_deref()));
    let azure = spec.azure_file.as_ref().map(|v| (v.secret_namespace.as_deref(), Some(v.secret_name.as_str())));
    for (namespace, name) in secrets.chain(storageos).chain(azure) {
        // Where no namespace is written, it is the claim's.
        let place = namespace.filter(|ns| !ns.is_empty()).or(bound);
        names.extend(place.zip(name.filter(|name| !name.is_empty())));
    }
    (names, bound)
}

/// The Secrets that a StorageClass's parameters name, as (namespace, name); what is filled in for each claim is None.
pub fn of_parameters(parameters: &BTreeMap<String, String>) -> BTreeSet<(Option<&str>, Option<&str>)> {
    let mut names = BTreeSet::new();
    for (key, name) in parameters {
        let Some(namespace_key) = namespace_beside(key) else { continue };
        let namespace = parameters.iter().find(|(other, _)| other.eq_ignore_ascii_case(&namespace_key));
        if let Some((_, namespace)) = namespace {
            names.insert((literal(namespace), literal(name)));
        }
    }
    names
}

/// `...-secret-name` is beside `...-secret-namespace`, `...SecretName` beside `...SecretNamespace`.
fn namespace_beside(key: &str) -> Option<String> {
    let lower = key.to_ascii_lowercase();
    let named = lower.ends_with("secret-name") || lower.ends_with("secretname");
    named.then(|| format!("{lower}space"))
}

/// A text without a placeholder such as `${pvc.namespace}`.
fn literal(text: &str) -> Option<&str> {
    (!text.is_empty() && !text.contains("${")).then_some(text)
}

#[cfg(test)]
#[path = "references_tests.rs"]
mod tests;
