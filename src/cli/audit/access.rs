//! Who of another segment gets at Secrets, and by which path: roles and bindings as the operator's rule Rbac judges them
//! ([`crate::segmentation::access`]).

use super::look::Sighted;
use super::scopes::Scopes;
use super::told::tell;
use crate::cli::cluster::{Cluster, Failure, Reach, Seen, within};
use crate::cli::report::Outcome;
use crate::controller::seen_rbac::{Bound, Rules, Seen as Object};
use crate::segmentation::access::Access;
use crate::segmentation::access::findings::findings;
use crate::segmentation::world::ObjectName;
use jiff::Timestamp;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use kube::api::{Api, ListParams};

/// Roles and bindings, as far as they lead to Secrets.
#[derive(Debug, Default)]
pub struct Roles {
    /// What was seen.
    pub access: Access,
    /// How far every list of them went.
    pub reach: Option<Reach>,
}

/// Looks.
pub async fn look(cluster: &Cluster, operator: ObjectName) -> Result<Roles, Failure> {
    let (client, all) = (&cluster.client, ListParams::default);
    let mut access = Access::default();
    access.operator = operator;
    let roles: Api<Object<ClusterRole, Rules>> = Api::all(client.clone());
    let clusters_roles = cluster
        .each_page(&roles, all(), |page| {
            for role in page {
                let aggregation = role.body.aggregation(role.labels());
                access.put_cluster_role(role.name(), role.body.role().clone(), aggregation);
            }
        })
        .await?;
    let roles = cluster
        .each_page_in_reach(within::<Object<Role, Rules>>(client), all(), |page| {
            page.iter().for_each(|role| access.put_role(role.name(), role.body.role().clone()));
        })
        .await?;
    let put = |access: &mut Access, name: crate::segmentation::access::RbacName, bound: &Bound| {
        let binding = bound.binding(name.namespace.as_deref());
        access.put_binding(name, binding);
    };
    let bindings = cluster
        .each_page_in_reach(within::<Object<RoleBinding, Bound>>(client), all(), |page| {
            page.iter().for_each(|binding| put(&mut access, binding.name(), &binding.body));
        })
        .await?;
    let of_cluster: Api<Object<ClusterRoleBinding, Bound>> = Api::all(client.clone());
    let clusters_bindings = cluster
        .each_page(&of_cluster, all(), |page| {
            page.iter().for_each(|binding| put(&mut access, binding.name(), &binding.body));
        })
        .await?;
    let whole = [clusters_roles, clusters_bindings].iter().all(|seen| *seen != Seen::Barred);
    let reach = roles.min(bindings).min(if whole { Reach::Everywhere } else { Reach::Here });
    Ok(Roles { access, reach: Some(reach) })
}

/// Judges.
pub fn judge(sighted: &Sighted, scopes: &Scopes, now: Timestamp, outcome: &mut Outcome) {
    let found = findings(&sighted.roles.access, &sighted.observed.world, now);
    let before = outcome.findings.len();
    tell(found, scopes, outcome);
    if outcome.findings.len() == before && sighted.roles.reach == Some(Reach::Everywhere) {
        outcome.pass("no role lets anybody at the Secrets of another segment");
    }
}

#[cfg(test)]
mod tests {
    use super::super::look::tests::{judged, sighted};
    use super::*;
    use crate::cli::report::Severity;
    use serde_json::{Value, json};

    /// ClusterRoles `readers` (get secrets) and `makers` (create pods), and what is bound to them.
    fn roles(bindings: &[(Option<&str>, &str, Value)]) -> Roles {
        let mut access = Access::default();
        for (name, verb, resource) in
            [("readers", "get", "secrets"), ("makers", "create", "pods"), ("idle", "get", "configmaps")]
        {
            let object = json!({"metadata": {"name": name}, "rules": [{"apiGroups": [""], "resources": [resource], "verbs": [verb]}]});
            let role: Object<ClusterRole, Rules> = serde_json::from_value(object).unwrap();
            access.put_cluster_role(role.name(), role.body.role().clone(), role.body.aggregation(None));
        }
        for (namespace, role, subject) in bindings {
            let reference = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role});
            let object =
                json!({"metadata": {"name": "b", "namespace": namespace}, "roleRef": reference, "subjects": [subject]});
            let bound: Object<RoleBinding, Bound> = serde_json::from_value(object).unwrap();
            access.put_binding(bound.name(), bound.body.binding(*namespace));
        }
        Roles { access, reach: Some(Reach::Everywhere) }
    }

    fn found(namespace: Option<&str>, role: &str, subject: Value) -> Vec<(Severity, String)> {
        let mut sighted = sighted(&[], &[]);
        sighted.roles = roles(&[(namespace, role, subject)]);
        let all = judged(sighted, &[], judge);
        all.findings.into_iter().map(|f| (f.severity, f.subject.to_string())).collect()
    }

    fn account(namespace: &str) -> Value {
        json!({"kind": "ServiceAccount", "name": "x", "namespace": namespace})
    }

    fn group(name: &str) -> Value {
        json!({"kind": "Group", "name": name})
    }

    #[test]
    fn who_of_another_segment_gets_at_secrets() {
        let here = Some("payments-prod");
        let across = [(Severity::Error, "RoleBinding payments-prod/b".to_owned())];
        for (role, subject) in [
            ("readers", account("billing-prod")),
            ("readers", json!({"kind": "User", "name": "system:serviceaccount:billing-prod:x"})),
            ("readers", group("system:serviceaccounts:billing-prod")),
            ("readers", group("system:authenticated")),
            // A path that the audit's own judge did not know.
            ("makers", account("billing-prod")),
        ] {
            assert_eq!(found(here, role, subject.clone()), across, "{role} {subject}");
        }
        for (role, subject) in [
            ("readers", account("payments-prod")),
            ("readers", account("kube-system")),
            ("readers", json!({"kind": "User", "name": "ada"})),
            ("idle", group("system:authenticated")),
        ] {
            assert_eq!(found(here, role, subject.clone()), [], "{role} {subject}");
        }
        let alone = [(Severity::Warning, "RoleBinding plain/b".to_owned())];
        assert_eq!(found(Some("plain"), "readers", account("other")), alone, "nobody put it into a segment");
    }

    #[test]
    fn who_gets_at_everything_is_told_once() {
        let all = [(Severity::Error, "ClusterRoleBinding b".to_owned())];
        for subject in [account("tools"), group("system:serviceaccounts"), json!({"kind": "User", "name": "ada"})] {
            assert_eq!(found(None, "readers", subject.clone()), all, "{subject}");
        }
        for subject in [
            group("system:masters"),
            account("kube-system"),
            json!({"kind": "ServiceAccount", "name": "scoped-secrets", "namespace": "scoped-secrets"}),
        ] {
            assert_eq!(found(None, "readers", subject.clone()), [], "{subject}");
        }
    }

    #[test]
    fn what_was_not_looked_at_is_not_well() {
        for (reach, well) in [(Reach::Everywhere, true), (Reach::Here, false)] {
            let mut sighted = sighted(&[], &[]);
            sighted.roles.reach = Some(reach);
            let all = judged(sighted, &[], judge);
            assert_eq!(all.passed.len(), usize::from(well));
        }
    }
}
