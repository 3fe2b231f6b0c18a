//! Which resources are cluster-scoped, of those that a role of the operator's may name.

use super::GROUP;
use crate::segmentation::foreign::ForeignKind;

/// Kubernetes' own.
const CLUSTER_SCOPED: &[(&str, &[&str])] = &[
    ("", &["namespaces", "persistentvolumes"]),
    (
        "admissionregistration.k8s.io",
        &["validatingadmissionpolicies", "validatingadmissionpolicybindings", "validatingwebhookconfigurations"],
    ),
    ("apiextensions.k8s.io", &["customresourcedefinitions"]),
    ("rbac.authorization.k8s.io", &["clusterroles", "clusterrolebindings"]),
    ("storage.k8s.io", &["storageclasses"]),
    ("snapshot.storage.k8s.io", &["volumesnapshotclasses"]),
];

/// Whether a resource (or its subresource, `NAME/status`) is cluster-scoped.
pub fn is_cluster_scoped(group: &str, resource: &str) -> bool {
    let name = resource.split('/').next().unwrap_or_default();
    let ours = || super::crds().into_iter().any(|crd| crd.spec.names.plural == name && crd.spec.scope == "Cluster");
    let foreign = |kind: &ForeignKind| kind.group() == group && kind.plural() == name && kind.is_cluster_scoped();
    CLUSTER_SCOPED.iter().any(|(of, names)| *of == group && names.contains(&name))
        || (group == GROUP && ours())
        || ForeignKind::ALL.iter().any(foreign)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_known() {
        for (group, resource, cluster) in [
            ("", "secrets", false),
            ("", "namespaces", true),
            ("rbac.authorization.k8s.io", "roles", false),
            ("rbac.authorization.k8s.io", "clusterroles", true),
            (GROUP, "scopedsecrets/status", false),
            (GROUP, "segmentationpolicies/status", true),
            ("external-secrets.io", "externalsecrets", false),
            ("external-secrets.io", "clusterexternalsecrets", true),
        ] {
            assert_eq!(is_cluster_scoped(group, resource), cluster, "{group} {resource}");
        }
    }
}
