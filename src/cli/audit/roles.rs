//! Who of another scope may read Secrets, by the roles that are bound: what can be told without following every path.

use super::look::Sighted;
use super::scopes::Scopes;
use crate::api::Reason;
use crate::cli::cluster::{Cluster, Failure};
use crate::cli::report::{Outcome, Rule, Severity, Subject};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, Subject as Bound};
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use std::collections::BTreeMap;

/// Roles that read Secrets, and whom they are bound to.
#[derive(Debug, Default)]
pub struct Bindings {
    /// ClusterRoles that read Secrets.
    pub cluster_roles: Vec<String>,
    /// Roles that do: namespace, name.
    pub roles: Vec<(String, String)>,
    /// RoleBindings: namespace, name, the role's kind and name, subjects.
    pub bindings: Vec<(String, String, (String, String), Vec<Bound>)>,
    /// ClusterRoleBindings: name, ClusterRole, subjects.
    pub cluster_bindings: Vec<(String, String, Vec<Bound>)>,
    /// How many bindings were seen.
    pub seen: usize,
}

impl Bindings {
    /// Looks.
    pub async fn look(cluster: &Cluster) -> Result<Self, Failure> {
        let all = ListParams::default;
        let client = || cluster.client.clone();
        let cluster_roles: Api<ClusterRole> = Api::all(client());
        let roles: Api<Role> = Api::all(client());
        let bindings: Api<RoleBinding> = Api::all(client());
        let cluster_bindings: Api<ClusterRoleBinding> = Api::all(client());
        let mut found = Self::default();
        cluster
            .each_page(&cluster_roles, all(), |page| {
                let readers = page.into_iter().filter(|role| reads(role.rules.as_deref().unwrap_or_default()));
                found.cluster_roles.extend(readers.map(|role| role.name_any()));
            })
            .await?;
        cluster
            .each_page(&roles, all(), |page| {
                let readers = page.into_iter().filter(|role| reads(role.rules.as_deref().unwrap_or_default()));
                found.roles.extend(readers.map(|role| (role.namespace().unwrap_or_default(), role.name_any())));
            })
            .await?;
        cluster
            .each_page(&bindings, all(), |page| {
                found.bindings.extend(page.into_iter().map(|binding| {
                    let place = (binding.namespace().unwrap_or_default(), binding.name_any());
                    let role = (binding.role_ref.kind, binding.role_ref.name);
                    (place.0, place.1, role, binding.subjects.unwrap_or_default())
                }));
            })
            .await?;
        cluster
            .each_page(&cluster_bindings, all(), |page| {
                found.cluster_bindings.extend(
                    page.into_iter().map(|binding| {
                        (binding.name_any(), binding.role_ref.name, binding.subjects.unwrap_or_default())
                    }),
                );
            })
            .await?;
        found.seen = found.bindings.len() + found.cluster_bindings.len();
        Ok(found)
    }
}

/// Whether rules read Secrets that they do not name.
fn reads(rules: &[PolicyRule]) -> bool {
    let any =
        |list: Option<&Vec<String>>, of: &[&str]| list.into_iter().flatten().any(|one| of.contains(&one.as_str()));
    rules.iter().any(|rule| {
        any(rule.api_groups.as_ref(), &["", "*"])
            && any(rule.resources.as_ref(), &["secrets", "*"])
            && any(Some(&rule.verbs), &["get", "list", "watch", "*"])
            && rule.resource_names.as_ref().is_none_or(Vec::is_empty)
    })
}

/// Everybody, or every ServiceAccount.
const CROWDS: [&str; 3] = ["system:authenticated", "system:unauthenticated", "system:serviceaccounts"];

/// The namespace of a ServiceAccount, as a subject or a user.
fn home(bound: &Bound) -> Option<&str> {
    match bound.kind.as_str() {
        "ServiceAccount" => bound.namespace.as_deref(),
        "User" => bound.name.strip_prefix("system:serviceaccount:")?.split(':').next(),
        "Group" => bound.name.strip_prefix("system:serviceaccounts:"),
        _ => None,
    }
}

fn shown(bound: &Bound) -> String {
    match &bound.namespace {
        Some(namespace) => format!("{} {namespace}/{}", bound.kind, bound.name),
        None => format!("{} {}", bound.kind, bound.name),
    }
}

/// Judges.
pub fn judge(sighted: &Sighted, scopes: &Scopes<'_>, outcome: &mut Outcome) {
    let all = &sighted.bindings;
    if all.seen == 0 {
        return;
    }
    outcome.part(
        || "no binding lets another segment read Secrets".to_owned(),
        |outcome| {
            let find = |outcome: &mut Outcome, severity, subject, message: String| {
                outcome.find(severity, Rule::Rbac, Reason::ReadsAcross, subject, message);
            };
            for (namespace, name, (kind, role), subjects) in &all.bindings {
                let reads = match kind.as_str() {
                    "ClusterRole" => all.cluster_roles.contains(role),
                    _ => all.roles.contains(&(namespace.clone(), role.clone())),
                };
                if !reads || namespace == "kube-system" {
                    continue;
                }
                let foreign = |bound: &&Bound| {
                    let crowd = bound.kind == "Group" && CROWDS.contains(&bound.name.as_str());
                    let elsewhere = home(bound)
                        .is_some_and(|home| home != "kube-system" && scopes.of(home) != scopes.of(namespace));
                    crowd || elsewhere
                };
                let who: Vec<String> = subjects.iter().filter(foreign).map(shown).collect();
                if !who.is_empty() {
                    let subject = Subject::namespaced("RoleBinding", namespace, name);
                    let message =
                        format!("it lets {} read every Secret of the namespace ({kind} {role})", who.join(", "));
                    find(outcome, Severity::Error, subject, message);
                }
            }
            for (name, who, crowd) in cluster_wide(all) {
                let severity = if crowd { Severity::Error } else { Severity::Warning };
                let message = format!("it lets {} read every Secret of the cluster", who.join(", "));
                find(outcome, severity, Subject::cluster("ClusterRoleBinding", &name), message);
            }
        },
    );
}

/// Who reads every Secret: ServiceAccounts that are not the control plane's or this operator's, and crowds.
fn cluster_wide(all: &Bindings) -> Vec<(String, Vec<String>, bool)> {
    let mut found: BTreeMap<&String, (Vec<String>, bool)> = BTreeMap::new();
    for (name, role, subjects) in &all.cluster_bindings {
        if !all.cluster_roles.contains(role) || (name == "scoped-secrets" && role == "scoped-secrets") {
            continue;
        }
        for bound in subjects {
            let crowd = bound.kind == "Group" && CROWDS.contains(&bound.name.as_str());
            if crowd || home(bound).is_some_and(|home| home != "kube-system") {
                let entry = found.entry(name).or_default();
                entry.0.push(shown(bound));
                entry.1 |= crowd;
            }
        }
    }
    found.into_iter().map(|(name, (who, crowd))| (name.clone(), who, crowd)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::look::tests::sighted;
    use super::*;

    fn bound(kind: &str, namespace: Option<&str>, name: &str) -> Bound {
        Bound { kind: kind.into(), name: name.into(), namespace: namespace.map(Into::into), api_group: None }
    }

    fn found(bindings: Bindings) -> Vec<(Severity, String)> {
        let mut sighted = sighted(&[], &[]);
        sighted.bindings = Bindings { seen: 1, ..bindings };
        let mut outcome = Outcome::default();
        judge(&sighted, &Scopes::new(&sighted.observed, &[]), &mut outcome);
        outcome.findings.into_iter().map(|f| (f.severity, f.subject.to_string())).collect()
    }

    fn in_namespace(subject: Bound) -> Bindings {
        let role = ("ClusterRole".to_owned(), "readers".to_owned());
        Bindings {
            cluster_roles: vec!["readers".into()],
            bindings: vec![("payments-prod".into(), "b".into(), role, vec![subject])],
            ..Bindings::default()
        }
    }

    #[test]
    fn who_of_another_scope_reads() {
        let across = [(Severity::Error, "RoleBinding payments-prod/b".to_owned())];
        for subject in [
            bound("ServiceAccount", Some("billing-prod"), "x"),
            bound("User", None, "system:serviceaccount:billing-prod:x"),
            bound("Group", None, "system:serviceaccounts:billing-prod"),
            bound("Group", None, "system:authenticated"),
        ] {
            assert_eq!(found(in_namespace(subject.clone())), across, "{subject:?}");
        }
        for subject in [
            bound("ServiceAccount", Some("payments-prod"), "x"),
            bound("ServiceAccount", Some("kube-system"), "x"),
            bound("User", None, "ada"),
            bound("Group", None, "payments-admins"),
        ] {
            assert_eq!(found(in_namespace(subject.clone())), [], "{subject:?}");
        }
        let without = Bindings { cluster_roles: vec![], ..in_namespace(bound("Group", None, "system:authenticated")) };
        assert_eq!(found(without), []);
    }

    #[test]
    fn who_reads_everything() {
        let cluster = |subject| Bindings {
            cluster_roles: vec!["readers".into(), "scoped-secrets".into()],
            cluster_bindings: vec![
                ("all".into(), "readers".into(), vec![subject]),
                (
                    "scoped-secrets".into(),
                    "scoped-secrets".into(),
                    vec![bound("ServiceAccount", Some("scoped-secrets"), "s")],
                ),
            ],
            ..Bindings::default()
        };
        let warned = [(Severity::Warning, "ClusterRoleBinding all".to_owned())];
        assert_eq!(found(cluster(bound("ServiceAccount", Some("tools"), "backup"))), warned);
        assert_eq!(found(cluster(bound("Group", None, "system:serviceaccounts")))[0].0, Severity::Error);
        assert_eq!(found(cluster(bound("Group", None, "system:masters"))), []);
    }

    #[test]
    fn rules_that_read() {
        let rule = |groups: &[&str], resources: &[&str], verbs: &[&str], names: &[&str]| {
            let own = |list: &[&str]| list.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>();
            [PolicyRule {
                api_groups: Some(own(groups)),
                resources: Some(own(resources)),
                verbs: own(verbs),
                resource_names: Some(own(names)),
                ..PolicyRule::default()
            }]
        };
        assert!(reads(&rule(&[""], &["secrets"], &["list"], &[])) && reads(&rule(&["*"], &["*"], &["*"], &[])));
        assert!(
            !reads(&rule(&[""], &["secrets"], &["create"], &[])) && !reads(&rule(&["apps"], &["*"], &["get"], &[]))
        );
        assert!(!reads(&rule(&[""], &["secrets"], &["get"], &["one"])));
    }
}
