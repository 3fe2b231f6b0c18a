//! What the operator may do: at least what `deploy/base` gives it.

use super::installed::{Installed, NAME, NAMESPACE_ROLE};
use crate::admission::identities::Installation;
use crate::api::Reason;
use crate::api::scope::is_cluster_scoped;
use crate::cli::cluster::Seen;
use crate::cli::report::{Outcome, Rule, Severity, Subject};
use crate::controller::served::Served;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, Subject as Bound};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The operator's roles and their bindings.
pub struct Wanted {
    /// In the whole cluster.
    pub cluster_role: ClusterRole,
    /// Bound to the operator's account.
    pub cluster_role_binding: ClusterRoleBinding,
    /// In its own namespace.
    pub role: Role,
    /// Bound to the operator's account.
    pub role_binding: RoleBinding,
    /// In each namespace, where it serves a list of them.
    pub namespace_rules: Vec<PolicyRule>,
}

const CLUSTER: &str = include_str!("../../../deploy/base/rbac-cluster.yaml");
const NAMESPACE: &str = include_str!("../../../deploy/base/rbac-namespace.yaml");

/// As `deploy/` has them, for this installation. Where a list of namespaces is served, what is namespaced is taken out of the ClusterRole.
pub fn wanted(installation: &Installation, served: &Served) -> Wanted {
    let mut wanted = Wanted {
        cluster_role: of_kind(CLUSTER, "ClusterRole"),
        cluster_role_binding: of_kind(CLUSTER, "ClusterRoleBinding"),
        role: of_kind(NAMESPACE, "Role"),
        role_binding: of_kind(NAMESPACE, "RoleBinding"),
        namespace_rules: Vec::new(),
    };
    if served.listed().is_some() {
        let all = wanted.cluster_role.rules.take().unwrap_or_default();
        wanted.namespace_rules = all.iter().filter_map(|rule| of_scope(rule, false)).collect();
        wanted.cluster_role.rules = Some(all.iter().filter_map(|rule| of_scope(rule, true)).collect());
    }
    let subjects = [&mut wanted.cluster_role_binding.subjects, &mut wanted.role_binding.subjects];
    for subject in subjects.into_iter().flatten().flatten() {
        subject.namespace = Some(installation.namespace.clone());
        subject.name = installation.service_account.clone();
    }
    wanted
}

/// What of a rule speaks of cluster-scoped resources, or of namespaced ones.
fn of_scope(rule: &PolicyRule, cluster: bool) -> Option<PolicyRule> {
    let group = rule.api_groups.iter().flatten().next().cloned().unwrap_or_default();
    let mut part = rule.clone();
    let resources = part.resources.as_mut()?;
    resources.retain(|resource| is_cluster_scoped(&group, resource) == cluster);
    (!resources.is_empty()).then_some(part)
}

/// The document of a kind. They are ours, and a test reads them: without one, nothing is wanted.
fn of_kind<K: DeserializeOwned + Default>(text: &str, kind: &str) -> K {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).unwrap_or_default();
    let document = documents.into_iter().find(|document| document["kind"] == kind);
    document.and_then(|document| serde_json::from_value(document).ok()).unwrap_or_default()
}

/// Whether the operator has what it needs.
pub fn judge(found: &Installed, outcome: &mut Outcome) {
    let wanted = wanted(&found.installation, &found.served());
    let place = &found.installation.namespace;
    let seen = found.cluster_role != Seen::Barred && found.role != Seen::Barred;
    let lacks = |outcome: &mut Outcome, subject, message: String| {
        outcome.find(Severity::Error, Rule::Installation, Reason::PermissionMissing, subject, message);
    };
    let judge = |outcome: &mut Outcome| {
        let mut roles = vec![
            (
                Subject::cluster("ClusterRole", NAME),
                wanted.cluster_role.rules,
                rules(&found.cluster_role, |r| &r.rules),
            ),
            (Subject::namespaced("Role", place, NAME), wanted.role.rules, rules(&found.role, |r| &r.rules)),
        ];
        let mut bindings = vec![
            (Subject::cluster("ClusterRoleBinding", NAME), bound(&found.cluster_role_binding, |b| &b.subjects)),
            (Subject::namespaced("RoleBinding", place, NAME), bound(&found.role_binding, |b| &b.subjects)),
        ];
        // Of one that is not there another finding says so.
        let there = |namespace: &str| {
            !found.observed.every_namespace || found.observed.world.namespaces.contains_key(namespace)
        };
        for (namespace, (role, binding)) in found.namespaces.iter().filter(|(namespace, _)| there(namespace)) {
            let named = |kind| Subject::namespaced(kind, namespace, NAMESPACE_ROLE);
            roles.push((named("Role"), Some(wanted.namespace_rules.clone()), rules(role, |r| &r.rules)));
            bindings.push((named("RoleBinding"), bound(binding, |b| &b.subjects)));
        }
        for (subject, wanted, live) in roles {
            let Some(live) = live else { continue };
            let missing: Vec<String> = wanted.iter().flatten().flat_map(|rule| uncovered(rule, &live)).collect();
            if !missing.is_empty() {
                lacks(outcome, subject, format!("the operator may not {}", missing.join("; ")));
            }
        }
        let own = &wanted.role_binding.subjects;
        for (subject, live) in bindings {
            let Some(live) = live else { continue };
            let binds = |bound: &Bound| {
                live.iter().any(|l| l.kind == bound.kind && l.name == bound.name && l.namespace == bound.namespace)
            };
            if !own.iter().flatten().all(binds) {
                lacks(outcome, subject, format!("it does not bind {}", found.installation.user()));
            }
        }
    };
    if seen {
        outcome.part(|| "the operator's roles are there and bound".to_owned(), judge);
    } else {
        judge(outcome);
    }
}

/// What is there; nothing, if the object is gone; None if it may not be looked at.
fn rules<K>(seen: &Seen<K>, of: impl Fn(&K) -> &Option<Vec<PolicyRule>>) -> Option<Vec<PolicyRule>> {
    match seen {
        Seen::There(role) => Some(of(role).clone().unwrap_or_default()),
        Seen::Absent => Some(Vec::new()),
        Seen::Barred => None,
    }
}

fn bound<K>(seen: &Seen<K>, of: impl Fn(&K) -> &Option<Vec<Bound>>) -> Option<Vec<Bound>> {
    match seen {
        Seen::There(binding) => Some(of(binding).clone().unwrap_or_default()),
        Seen::Absent => Some(Vec::new()),
        Seen::Barred => None,
    }
}

/// What of a rule no live rule gives, such as `list, watch secrets`.
fn uncovered(wanted: &PolicyRule, live: &[PolicyRule]) -> Vec<String> {
    let mut found = Vec::new();
    for group in wanted.api_groups.iter().flatten() {
        for resource in wanted.resources.iter().flatten() {
            let gives = |rule: &PolicyRule, verb: &str| {
                let has = |list: &[String], one: &str| list.iter().any(|l| l == "*" || l == one);
                let named = rule.resource_names.as_deref().unwrap_or_default();
                let names = wanted.resource_names.as_deref().unwrap_or_default();
                has(rule.api_groups.as_deref().unwrap_or_default(), group)
                    && has(rule.resources.as_deref().unwrap_or_default(), resource)
                    && has(&rule.verbs, verb)
                    && (named.is_empty() || (!names.is_empty() && names.iter().all(|name| named.contains(name))))
            };
            let missing: Vec<&str> = wanted
                .verbs
                .iter()
                .map(String::as_str)
                .filter(|verb| !live.iter().any(|rule| gives(rule, verb)))
                .collect();
            if !missing.is_empty() {
                let dot = if group.is_empty() { "" } else { "." };
                found.push(format!("{} {resource}{dot}{group}", missing.join(", ")));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::installed::tests::healthy;
    use super::*;

    #[test]
    fn what_deploy_has_is_read() {
        let installation = Installation { namespace: "elsewhere".into(), service_account: "keeper".into() };
        let wanted = super::wanted(&installation, &Served::default());
        assert!(wanted.cluster_role.rules.unwrap().len() > 5 && !wanted.role.rules.unwrap().is_empty());
        let bound = &wanted.cluster_role_binding.subjects.unwrap()[0];
        assert_eq!((bound.namespace.as_deref(), bound.name.as_str()), (Some("elsewhere"), "keeper"));
        assert_eq!(wanted.role_binding.subjects.unwrap().len(), 1);
    }

    #[test]
    fn what_the_operator_lacks_is_said() {
        let said = |bend: &dyn Fn(&mut Installed)| {
            let mut found = healthy(&[]);
            bend(&mut found);
            let mut outcome = Outcome::default();
            judge(&found, &mut outcome);
            outcome.findings.into_iter().map(|f| f.message).collect::<Vec<_>>()
        };
        assert_eq!(said(&|_| {}), [] as [&str; 0]);
        let narrowed = said(&|f| {
            let Seen::There(role) = &mut f.cluster_role else { panic!("it is there") };
            for rule in role.rules.iter_mut().flatten() {
                if rule.resources.as_ref().is_some_and(|r| r.contains(&"secrets".to_owned())) {
                    rule.verbs.retain(|verb| verb != "delete");
                }
            }
        });
        assert_eq!(narrowed, ["the operator may not delete secrets"]);
        let all = said(&|f| {
            f.cluster_role = Seen::There(ClusterRole {
                rules: Some(vec![PolicyRule {
                    api_groups: Some(vec!["*".into()]),
                    resources: Some(vec!["*".into()]),
                    verbs: vec!["*".into()],
                    ..PolicyRule::default()
                }]),
                ..ClusterRole::default()
            })
        });
        assert_eq!(all, [] as [&str; 0]);
        let unbound = said(&|f| f.role_binding = Seen::Absent);
        assert_eq!(unbound, ["it does not bind system:serviceaccount:scoped-secrets:scoped-secrets"]);
        assert_eq!(said(&|f| f.cluster_role = Seen::Barred), [] as [&str; 0]);
    }
}
