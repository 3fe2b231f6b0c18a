//! Rule `Consumers`: only pods under a consumer's ServiceAccount reference a projected Secret.
//!
//! | what | which references |
//! |-|-|
//! | pods, at creation, update, and with an ephemeral container | every one that Kubernetes' own `VisitPodSecretNames` (pkg/api/v1/pod) visits: environment, volumes of each type, pull secrets |
//! | pod templates: Deployments, StatefulSets, DaemonSets, ReplicaSets, Jobs, CronJobs, ReplicationControllers, PodTemplates | the same, so that their author is told, and not only the controller that makes the pods |
//! | ServiceAccounts | `secrets` and `imagePullSecrets`, which every pod under it has |
//!
//! Whoever asks: the controllers that make pods for a workload ask under their own accounts. The SegmentGuard of the namespace
//! says which Secrets are projected and whose pods may reference them, before the first of them appears.
//!
//! What passes: an update that references nothing that it did not reference before under the same account. What runs since before
//! a claim is not wedged: it can be scaled, labelled and ended, and only its next pod is refused. A Secret that a pod names only
//! through another object (a PersistentVolume) is not seen.

use crate::admission::guard::{Guard, Parameter, Validation};
use crate::api::Reason;
use serde_json::json;

pub use crate::segmentation::consumers::RULE;

/// Where a volume names a Secret of its pod's namespace, as `VisitPodSecretNames` has it; projected volumes beside.
const VOLUMES: [&str; 10] = [
    "secret.?secretName",
    "csi.?nodePublishSecretRef.?name",
    "azureFile.?secretName",
    "cephfs.?secretRef.?name",
    "cinder.?secretRef.?name",
    "flexVolume.?secretRef.?name",
    "iscsi.?secretRef.?name",
    "rbd.?secretRef.?name",
    "scaleIO.?secretRef.?name",
    "storageos.?secretRef.?name",
];

const CONTAINERS: [&str; 3] = ["containers", "initContainers", "ephemeralContainers"];

/// The spec of the pods that `object` is or makes.
fn pods(object: &str) -> String {
    format!(
        "request.kind.kind == 'Pod' ? dyn({object}.spec)
: request.kind.kind == 'CronJob' ? dyn({object}.spec.jobTemplate.spec.template.spec)
: request.kind.kind == 'PodTemplate' ? dyn({object}.?template.?spec.orValue({{}}))
: dyn({object}.?spec.?template.?spec.orValue({{}}))"
    )
}

/// The account that those run under.
fn account(object: &str, pods: &str) -> String {
    format!(
        "request.kind.kind == 'ServiceAccount' ? {object}.metadata.name
: {pods}.?serviceAccountName.orValue('') == '' ? 'default' : {pods}.serviceAccountName"
    )
}

/// The names of Secrets that `object` references, in lists; an empty name is none.
fn references(object: &str, pods: &str) -> String {
    let names = |of: &str, name: &str| format!("{of}.orValue([]).map(r, r.?{name}.orValue(''))");
    let containers = CONTAINERS.map(|kind| format!("{pods}.?{kind}.orValue([])")).join(" + ");
    let volumes = VOLUMES.map(|path| format!("v.?{path}.orValue('')")).join(", ");
    let (pull, secrets) =
        (names(&format!("{object}.?imagePullSecrets"), "name"), names(&format!("{object}.?secrets"), "name"));
    let (env, env_from) = (names("c.?env", "valueFrom.?secretKeyRef.?name"), names("c.?envFrom", "secretRef.?name"));
    let projected = names("v.?projected.?sources", "secret.?name");
    let pods_pull = names(&format!("{pods}.?imagePullSecrets"), "name");
    format!(
        "request.kind.kind == 'ServiceAccount' ? [{pull}, {secrets}]
: [{pods_pull}]
+ ({containers}).map(c, {env} + {env_from})
+ {pods}.?volumes.orValue([]).map(v, [{volumes}] + {projected})"
    )
}

/// Of those, the Secrets that may not be referenced under `account`.
fn foreign(references: &str, account: &str) -> String {
    format!(
        "{references}.map(names, names.filter(n, n in params.spec.targets && !({account} in params.spec.targets[n])))
  .filter(names, size(names) > 0)"
    )
}

/// More than ten consumers are counted: a message beyond 5 KiB is not shown at all.
const SAYS: &str = "\
(request.kind.kind == 'ServiceAccount' ? 'it is' : 'its pods run under ServiceAccount \"' + variables.account + '\", which is')
+ ' no consumer of Secret \"' + variables.fresh[0][0] + '\", and only the consumers of a projected Secret may reference it ('
+ (size(params.spec.targets[variables.fresh[0][0]]) == 0 ? 'it has none now'
  : size(params.spec.targets[variables.fresh[0][0]]) > 10 ? string(size(params.spec.targets[variables.fresh[0][0]])) + ' ServiceAccounts'
  : params.spec.targets[variables.fresh[0][0]].join(', '))
+ '): use the ServiceAccount of a consumer, or add this one to spec.consumers of the ScopedSecret, or write a ScopedSecret with a key of its own for it'
";

/// The guard.
pub fn guard() -> Guard {
    let resources = |group: &str, resources: &[&str]| {
        json!({
            "apiGroups": [group], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"],
            "resources": resources, "scope": "Namespaced",
        })
    };
    let old = |expression: String, nothing: &str| format!("oldObject == null ? {nothing} : ({expression})");
    Guard {
        rule: RULE,
        parameter: Parameter::SegmentGuard,
        requests: vec![
            resources(
                "",
                &["pods", "pods/ephemeralcontainers", "serviceaccounts", "replicationcontrollers", "podtemplates"],
            ),
            resources("apps", &["deployments", "statefulsets", "daemonsets", "replicasets"]),
            resources("batch", &["jobs", "cronjobs"]),
        ],
        conditions: vec![],
        variables: vec![
            ("pods", pods("object")),
            ("account", account("object", "variables.pods")),
            ("foreign", foreign(&format!("({})", references("object", "variables.pods")), "variables.account")),
            ("oldPods", old(pods("oldObject"), "dyn({})")),
            ("oldAccount", old(account("oldObject", "variables.oldPods"), "''")),
            // Under another account everything is referenced anew.
            (
                "oldForeign",
                format!(
                    "variables.oldAccount != variables.account ? [] : ({})",
                    foreign(&format!("({})", references("oldObject", "variables.oldPods")), "variables.oldAccount")
                ),
            ),
            (
                "fresh",
                "variables.foreign
  .map(names, names.filter(n, !variables.oldForeign.exists(before, n in before)))
  .filter(names, size(names) > 0)"
                    .to_owned(),
            ),
        ],
        validations: vec![Validation {
            holds: "size(variables.foreign) == 0 || size(variables.fresh) == 0".to_owned(),
            reason: Reason::ForeignConsumer,
            says: SAYS.to_owned(),
        }],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segmentation::filled::{filled, secrets_in};
    use k8s_openapi::api::core::v1::PodSpec;

    /// By the list of fields of Kubernetes' own type, whatever comes to it.
    #[test]
    fn no_field_that_names_a_secret_is_left_out() {
        let text = references("object", "pods");
        for path in secrets_in(&filled::<PodSpec>()) {
            let optional: Vec<String> = path.split("[].").map(|part| part.replace('.', ".?")).collect();
            let said = match &*optional.iter().map(String::as_str).collect::<Vec<_>>() {
                ["volumes", name] => vec!["pods.?volumes.orValue([])".to_owned(), format!("v.?{name}.orValue('')")],
                [list, name] => vec![format!("pods.?{list}.orValue([]).map(r, r.?{name}.orValue(''))")],
                [list, inner, name] => vec![
                    format!("pods.?{list}.orValue([])"),
                    format!(".?{inner}.orValue([]).map(r, r.?{name}.orValue(''))"),
                ],
                _ => vec![],
            };
            assert!(!said.is_empty() && said.iter().all(|part| text.contains(part)), "{path}: {said:?} in {text}");
        }
    }
}
