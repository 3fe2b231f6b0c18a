//! Which operator is meant, where nobody says it: the one that its ClusterRoleBinding is for, or, where that is none, the one that
//! the rule Operator pins.

use super::cluster::{Cluster, Failure};
use super::names::read_name;
use crate::admission::identities::Installation;
use crate::admission::rules::operator;
use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicy;
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use kube::Api;

/// The binding's name, wherever the operator is installed.
const NAME: &str = "scoped-secrets";

/// Flags that say where the operator is.
#[derive(Debug, Default, clap::Args)]
pub struct InstallationArgs {
    /// The operator's namespace [default: as its ClusterRoleBinding or the rule Operator says, else scoped-secrets].
    #[arg(long, value_name = "NAMESPACE", value_parser = read_name)]
    pub operator_namespace: Option<String>,
    /// The operator's ServiceAccount in it [default: likewise].
    #[arg(long, value_name = "NAME", value_parser = read_name)]
    pub operator_service_account: Option<String>,
}

impl InstallationArgs {
    /// The installation that is meant. Who may not read the binding is taken to mean the usual one.
    pub async fn find(&self, cluster: &Cluster) -> Result<Installation, Failure> {
        let found = installed(cluster).await?.unwrap_or_default();
        Ok(Installation {
            namespace: self.operator_namespace.clone().unwrap_or(found.namespace),
            service_account: self.operator_service_account.clone().unwrap_or(found.service_account),
        })
    }
}

/// The one that the cluster has: None where it has none, or the reader may look at neither.
pub async fn installed(cluster: &Cluster) -> Result<Option<Installation>, Failure> {
    let bindings: Api<ClusterRoleBinding> = Api::all(cluster.client.clone());
    if let Some(found) = cluster.peek(&bindings, NAME).await?.and_then(|binding| bound(&binding)) {
        return Ok(Some(found));
    }
    let guards: Api<ValidatingAdmissionPolicy> = Api::all(cluster.client.clone());
    let guard = operator::guard(&Installation::default()).name();
    Ok(cluster.peek(&guards, &guard).await?.and_then(|guard| pinned(&guard)))
}

/// The one ServiceAccount that a binding is for.
fn bound(binding: &ClusterRoleBinding) -> Option<Installation> {
    let [account] = &**binding.subjects.as_ref()? else { return None };
    let namespace = account.namespace.clone().filter(|_| account.kind == "ServiceAccount")?;
    Some(Installation { namespace, service_account: account.name.clone() })
}

/// The ServiceAccount that the rule Operator is about.
fn pinned(guard: &ValidatingAdmissionPolicy) -> Option<Installation> {
    let conditions = guard.spec.as_ref()?.match_conditions.as_ref()?;
    let user = conditions.iter().find_map(|condition| condition.expression.split('\'').nth(1))?;
    let (namespace, account) = user.strip_prefix("system:serviceaccount:")?.split_once(':')?;
    Some(Installation { namespace: namespace.to_owned(), service_account: account.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_one_account_that_is_pinned() {
        let ours = Installation { namespace: "elsewhere".into(), service_account: "operator".into() };
        let guard = operator::guard(&ours).objects().swap_remove(0);
        assert_eq!(pinned(&serde_json::from_value(guard).unwrap()), Some(ours));
        assert_eq!(pinned(&ValidatingAdmissionPolicy::default()), None);
    }

    #[test]
    fn the_one_account_that_is_bound() {
        let account =
            |namespace: &str, name: &str| json!({"kind": "ServiceAccount", "namespace": namespace, "name": name});
        let ours = Installation { namespace: "elsewhere".into(), service_account: "operator".into() };
        for (subjects, expected) in [
            (json!([account("elsewhere", "operator")]), Some(ours)),
            (json!([account("a", "b"), account("c", "d")]), None),
            (json!([{"kind": "User", "name": "ada"}]), None),
            (json!([]), None),
            (json!(null), None),
        ] {
            let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": NAME});
            let binding = json!({"metadata": {"name": NAME}, "roleRef": role, "subjects": subjects});
            assert_eq!(bound(&serde_json::from_value(binding).unwrap()), expected, "{subjects}");
        }
    }
}
