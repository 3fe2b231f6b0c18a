//! Every way in which a pod names a Secret, as Kubernetes' own pod secret visitor has them. Pure.

use k8s_openapi::api::core::v1::{EnvFromSource, EnvVar, PodSpec, ServiceAccount};

/// A place in a pod that names a Secret.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference {
    /// The Secret's name.
    pub secret: String,
    /// How, such as `env PASSWORD of container web`.
    pub by: String,
    /// Whether the pod starts without it.
    pub optional: bool,
}

/// The Secrets that a pod names, in its own order, each as often as it does.
pub fn of_pod(spec: &PodSpec) -> Vec<Reference> {
    let mut found = Found::default();
    for reference in spec.image_pull_secrets.iter().flatten() {
        found.add(Some(&reference.name), "imagePullSecrets".to_owned(), true);
    }
    for container in spec.init_containers.iter().flatten().chain(&spec.containers) {
        found.container(&container.name, container.env.as_deref(), container.env_from.as_deref());
    }
    for container in spec.ephemeral_containers.iter().flatten() {
        found.container(&container.name, container.env.as_deref(), container.env_from.as_deref());
    }
    for volume in spec.volumes.iter().flatten() {
        let by = format!("volume {}", volume.name);
        if let Some(secret) = &volume.secret {
            found.add(secret.secret_name.as_ref(), by.clone(), secret.optional.unwrap_or(false));
        }
        for source in volume.projected.iter().filter_map(|p| p.sources.as_ref()).flatten() {
            if let Some(secret) = &source.secret {
                found.add(Some(&secret.name), by.clone(), secret.optional.unwrap_or(false));
            }
        }
        let local = [
            volume.csi.as_ref().and_then(|v| v.node_publish_secret_ref.as_ref()),
            volume.cephfs.as_ref().and_then(|v| v.secret_ref.as_ref()),
            volume.cinder.as_ref().and_then(|v| v.secret_ref.as_ref()),
            volume.flex_volume.as_ref().and_then(|v| v.secret_ref.as_ref()),
            volume.iscsi.as_ref().and_then(|v| v.secret_ref.as_ref()),
            volume.rbd.as_ref().and_then(|v| v.secret_ref.as_ref()),
            volume.scale_io.as_ref().map(|v| &v.secret_ref),
            volume.storageos.as_ref().and_then(|v| v.secret_ref.as_ref()),
        ];
        for reference in local.into_iter().flatten() {
            found.add(Some(&reference.name), by.clone(), false);
        }
        found.add(volume.azure_file.as_ref().map(|v| &v.secret_name), by, false);
    }
    found.0
}

/// The Secrets that a ServiceAccount gives to its pods.
pub fn of_account(account: &ServiceAccount) -> Vec<Reference> {
    let mut found = Found::default();
    for reference in account.image_pull_secrets.iter().flatten() {
        found.add(Some(&reference.name), "imagePullSecrets of its ServiceAccount".to_owned(), true);
    }
    found.0
}

/// The ServiceAccount that a pod runs under.
pub fn account(spec: &PodSpec) -> &str {
    spec.service_account_name.as_deref().filter(|name| !name.is_empty()).unwrap_or("default")
}

#[derive(Default)]
struct Found(Vec<Reference>);

impl Found {
    fn add(&mut self, secret: Option<&String>, by: String, optional: bool) {
        if let Some(secret) = secret.filter(|name| !name.is_empty()) {
            self.0.push(Reference { secret: secret.clone(), by, optional });
        }
    }

    fn container(&mut self, name: &str, env: Option<&[EnvVar]>, env_from: Option<&[EnvFromSource]>) {
        for variable in env.into_iter().flatten() {
            let secret = variable.value_from.as_ref().and_then(|from| from.secret_key_ref.as_ref());
            if let Some(secret) = secret {
                let by = format!("env {} of container {name}", variable.name);
                self.add(Some(&secret.name), by, secret.optional.unwrap_or(false));
            }
        }
        for source in env_from.into_iter().flatten() {
            if let Some(secret) = &source.secret_ref {
                self.add(Some(&secret.name), format!("envFrom of container {name}"), secret.optional.unwrap_or(false));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn sees_every_way() {
        let spec: PodSpec = serde_json::from_value(json!({
            "serviceAccountName": "orders",
            "imagePullSecrets": [{"name": "pull"}],
            "initContainers": [{"name": "i", "envFrom": [{"secretRef": {"name": "init"}}]}],
            "containers": [{"name": "c", "env": [
                {"name": "A", "value": "b"},
                {"name": "P", "valueFrom": {"secretKeyRef": {"name": "env", "key": "k", "optional": true}}},
            ]}],
            "ephemeralContainers": [{"name": "e", "env": [{"name": "Q", "valueFrom": {"secretKeyRef": {"name": "debug", "key": "k"}}}]}],
            "volumes": [
                {"name": "v", "secret": {"secretName": "volume"}},
                {"name": "p", "projected": {"sources": [{"secret": {"name": "projected"}}]}},
                {"name": "d", "csi": {"driver": "x", "nodePublishSecretRef": {"name": "csi"}}},
                {"name": "z", "azureFile": {"secretName": "azure", "shareName": "s"}},
                {"name": "s", "scaleIO": {"gateway": "g", "system": "s", "secretRef": {"name": "scale"}}},
            ],
        }))
        .unwrap();
        let names: Vec<String> = of_pod(&spec).into_iter().map(|r| r.secret).collect();
        assert_eq!(names, ["pull", "init", "env", "debug", "volume", "projected", "csi", "azure", "scale"]);
        let env = &of_pod(&spec)[2];
        assert_eq!((env.by.as_str(), env.optional), ("env P of container c", true));
        assert_eq!(account(&spec), "orders");
        assert_eq!(account(&PodSpec::default()), "default");
    }
}
