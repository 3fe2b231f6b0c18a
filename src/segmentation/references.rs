//! Every way that Kubernetes names a Secret beside reading it: pods, ServiceAccounts, volumes and storage classes. Pure.
//!
//! What the rule Consumers says in CEL, in Rust, for what was there before the rule or came in past it. The sources are
//! Kubernetes' own `VisitPodSecretNames` (pkg/api/v1/pod) and `VisitPVSecretNames` (pkg/api/v1/persistentvolume), and, for
//! StorageClasses, the parameters of the CSI sidecars (kubernetes-csi.github.io, "Secrets and credentials").

use k8s_openapi::api::core::v1::{
    EnvFromSource, EnvVar, PersistentVolume, PodSpec, SecretReference, ServiceAccount, Volume,
};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A place that names a Secret of its own namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference<'a> {
    /// The Secret's name.
    pub secret: &'a str,
    /// How.
    pub by: By<'a>,
    /// Whether pods start without it.
    pub optional: bool,
}

/// How a Secret is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum By<'a> {
    /// A pod's imagePullSecrets.
    Pull,
    /// A variable of a container.
    Env {
        /// Which variable.
        variable: &'a str,
        /// Of which container.
        container: &'a str,
    },
    /// All variables of a container.
    EnvFrom(&'a str),
    /// A volume.
    Volume(&'a str),
    /// A ServiceAccount's imagePullSecrets, which its pods are given if they have none of their own.
    AccountPull,
    /// A ServiceAccount's list of Secrets that its pods may use.
    AccountSecret,
}

impl By<'_> {
    /// Whether it is for the node, to pull images with: such a Secret is shared by its nature.
    pub fn is_pull(self) -> bool {
        matches!(self, Self::Pull | Self::AccountPull)
    }
}

/// Such as `env PASSWORD of container web`.
impl fmt::Display for By<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pull => f.write_str("imagePullSecrets"),
            Self::Env { variable, container } => write!(f, "env {variable} of container {container}"),
            Self::EnvFrom(container) => write!(f, "envFrom of container {container}"),
            Self::Volume(name) => write!(f, "volume {name}"),
            Self::AccountPull => f.write_str("imagePullSecrets of its ServiceAccount"),
            Self::AccountSecret => f.write_str("secrets of its ServiceAccount"),
        }
    }
}

/// The account that pods of this spec run under.
pub fn account_of(pods: &PodSpec) -> &str {
    pods.service_account_name.as_deref().filter(|name| !name.is_empty()).unwrap_or("default")
}

/// Every place where pods of this spec name a Secret, in the spec's own order.
pub fn of_pods(pods: &PodSpec) -> Vec<Reference<'_>> {
    let mut found = Found::default();
    pods.image_pull_secrets.iter().flatten().for_each(|pull| found.add(Some(&pull.name), By::Pull, Some(true)));
    for container in pods.init_containers.iter().flatten().chain(&pods.containers) {
        found.environment(&container.name, container.env.as_deref(), container.env_from.as_deref());
    }
    for container in pods.ephemeral_containers.iter().flatten() {
        found.environment(&container.name, container.env.as_deref(), container.env_from.as_deref());
    }
    pods.volumes.iter().flatten().for_each(|volume| found.volume(volume));
    found.0
}

/// Every place where a ServiceAccount names a Secret for its pods.
pub fn of_account(account: &ServiceAccount) -> Vec<Reference<'_>> {
    let mut found = Found::default();
    let listed = account.secrets.iter().flatten();
    listed.for_each(|listed| found.add(listed.name.as_deref(), By::AccountSecret, Some(true)));
    let pull = account.image_pull_secrets.iter().flatten();
    pull.for_each(|pull| found.add(Some(&pull.name), By::AccountPull, Some(true)));
    found.0
}

/// The Secrets that are named, each once.
pub fn names<'a>(references: &[Reference<'a>]) -> BTreeSet<&'a str> {
    references.iter().map(|reference| reference.secret).collect()
}

#[derive(Default)]
struct Found<'a>(Vec<Reference<'a>>);

impl<'a> Found<'a> {
    fn add(&mut self, secret: Option<&'a str>, by: By<'a>, optional: Option<bool>) {
        if let Some(secret) = secret.filter(|name| !name.is_empty()) {
            self.0.push(Reference { secret, by, optional: optional.unwrap_or(false) });
        }
    }

    fn environment(&mut self, container: &'a str, env: Option<&'a [EnvVar]>, from: Option<&'a [EnvFromSource]>) {
        for variable in env.into_iter().flatten() {
            if let Some(secret) = variable.value_from.as_ref().and_then(|from| from.secret_key_ref.as_ref()) {
                self.add(Some(&secret.name), By::Env { variable: &variable.name, container }, secret.optional);
            }
        }
        for secret in from.into_iter().flatten().filter_map(|from| from.secret_ref.as_ref()) {
            self.add(Some(&secret.name), By::EnvFrom(container), secret.optional);
        }
    }

    fn volume(&mut self, volume: &'a Volume) {
        let by = By::Volume(&volume.name);
        if let Some(secret) = &volume.secret {
            self.add(secret.secret_name.as_deref(), by, secret.optional);
        }
        let sources = volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten());
        for secret in sources.filter_map(|source| source.secret.as_ref()) {
            self.add(Some(&secret.name), by, secret.optional);
        }
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
        references.into_iter().flatten().for_each(|reference| self.add(Some(&reference.name), by, None));
        self.add(volume.azure_file.as_ref().map(|v| v.secret_name.as_str()), by, None);
    }
}

/// The Secrets, as (namespace, name), that a PersistentVolume names, and the namespace of the claim that it is bound to.
pub fn of_persistent_volume(volume: &PersistentVolume) -> (BTreeSet<(&str, &str)>, Option<&str>) {
    let mut names = BTreeSet::new();
    // By which the provisioner deletes it: they stay behind when the StorageClass is gone.
    let noted = |what: &str| {
        let key = format!("volume.kubernetes.io/provisioner-deletion-secret-{what}");
        volume.metadata.annotations.as_ref()?.get(&key).map(String::as_str).filter(|text| !text.is_empty())
    };
    names.extend(noted("namespace").zip(noted("name")));
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
        // Without one it is the claim's, or the pod's.
        names.insert((namespace.and_then(|(_, namespace)| literal(namespace)), literal(name)));
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
