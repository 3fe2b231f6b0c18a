//! The ClusterRoles for people that every cluster has: for roles and bindings that are read from files, where these are not.
//!
//! Source: Kubernetes' `plugin/pkg/auth/authorizer/rbac/bootstrappolicy` (`ClusterRoles`, `editRules`, `adminRules`, `viewRules`);
//! of their rules, those that lead to Secrets.

use super::aggregation::Aggregation;
use super::role::Role;
use super::{Access, RbacName};
use k8s_openapi::api::rbac::v1::PolicyRule;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

const READ: &[&str] = &["get", "list", "watch"];
const WRITE: &[&str] = &["create", "delete", "deletecollection", "patch", "update"];
const ALL: &[&str] = &["*"];

/// What edit gives, and admin as well: verbs, group, resources.
const EDIT: &[(&[&str], &str, &[&str])] = &[
    (READ, "", &["pods/attach", "secrets"]),
    (&["impersonate"], "", &["serviceaccounts"]),
    (WRITE, "", &["pods", "pods/attach", "pods/exec"]),
    (WRITE, "", &["replicationcontrollers", "secrets", "serviceaccounts"]),
    (&["create"], "", &["serviceaccounts/token"]),
    (WRITE, "apps", &["daemonsets", "deployments", "replicasets", "statefulsets"]),
    (WRITE, "batch", &["cronjobs", "jobs"]),
];

fn role(rules: &[(&[&str], &str, &[&str])]) -> Role {
    let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
    let rule = |(verbs, group, resources): &(&[&str], &str, &[&str])| PolicyRule {
        verbs: texts(verbs),
        api_groups: Some(texts(&[group])),
        resources: Some(texts(resources)),
        ..PolicyRule::default()
    };
    Role::of(&rules.iter().map(rule).collect::<Vec<_>>())
}

fn label(of: &str) -> (String, String) {
    (format!("rbac.authorization.k8s.io/aggregate-to-{of}"), "true".to_owned())
}

impl Access {
    /// Records `cluster-admin`, `admin`, `edit` and `view`, and which rules the last three take from others.
    pub fn put_default_roles(&mut self) {
        let mut put = |name: &str, role: Role, taken_by: Option<&str>| {
            let selector = LabelSelector { match_labels: Some([label(name)].into()), ..LabelSelector::default() };
            let aggregation =
                Aggregation { labels: taken_by.map(label).into_iter().collect(), selectors: vec![selector] };
            self.put_cluster_role(RbacName::new(None, name), role, aggregation);
        };
        put("admin", role(EDIT), None);
        put("edit", role(EDIT), Some("admin"));
        put("view", Role::default(), Some("edit"));
        self.put_role(RbacName::new(None, "cluster-admin"), role(&[(ALL, "*", ALL)]));
    }
}

#[cfg(test)]
mod tests {
    use super::super::role::tests::rule;
    use super::*;

    #[test]
    fn what_every_cluster_has_takes_what_is_labelled_for_it() {
        let mut access = Access::default();
        access.put_default_roles();
        let powers = |access: &Access, name: &str| access.role(&RbacName::new(None, name)).unwrap().powers.to_string();
        assert_eq!(powers(&access, "view"), "");
        let edit = powers(&access, "edit");
        for part in ["get, list, watch, patch, update, delete, deletecollection secrets", "pods/exec", "workloads"] {
            assert!(edit.contains(part) && !edit.contains("bind"), "{part} in {edit}");
        }
        assert!(powers(&access, "cluster-admin").contains("nodes/proxy"));
        let labelled = |to: &str| Aggregation { labels: [label(to)].into(), selectors: vec![] };
        let reads = Role::of(&[rule("get secrets")]);
        access.put_cluster_role(RbacName::new(None, "lists"), reads, labelled("view"));
        access.put_cluster_role(RbacName::new(None, "proxies"), Role::of(&[rule("get nodes/proxy")]), labelled("edit"));
        access.aggregate();
        assert_eq!(powers(&access, "view"), "get secrets");
        for name in ["edit", "admin"] {
            assert!(powers(&access, name).contains("nodes/proxy"), "{name}");
        }
    }
}
