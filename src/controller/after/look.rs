//! One look at a namespace: the pod templates of its workloads, and what RBAC gives its ServiceAccounts.

use super::Following;
use crate::api::rotation::After;
use crate::api::{MANAGED_BY, MANAGED_BY_LABEL};
use crate::controller::context::Context;
use crate::controller::paged::each;
use crate::rotation::after::{Seen, Template, given, is_for_a_value, roles_hash, template_hash};
use crate::rotation::restart::workload::{Rollout, Workload};
use crate::segmentation::world::ObjectName;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, ListParams};
use std::collections::{BTreeMap, BTreeSet};

/// What was read once for all namespaces of a round.
#[derive(Default)]
pub(super) struct Cluster {
    /// ClusterRoleBindings: to whom, and which role.
    bindings: Option<Vec<(Vec<Subject>, RoleRef)>>,
    /// The rules of ClusterRoles.
    roles: BTreeMap<String, Vec<PolicyRule>>,
}

/// What is seen of each of these claims of a namespace.
pub(super) async fn look(
    cx: &Context,
    namespace: &str,
    claims: &[Following],
    cluster: &mut Cluster,
) -> Result<Vec<Seen>, kube::Error> {
    let mut all = vec![Seen::default(); claims.len()];
    if claims.iter().any(|claim| claim.after.contains(&After::Rollout)) {
        templates(cx, namespace, claims, &mut all).await?;
    }
    let accounts: BTreeSet<&str> = claims
        .iter()
        .filter(|claim| claim.after.contains(&After::RoleChange))
        .flat_map(|claim| claim.consumers.iter().map(String::as_str))
        .collect();
    if !accounts.is_empty() {
        let given = roles(cx, namespace, &accounts, cluster).await?;
        for (claim, seen) in claims.iter().zip(&mut all).filter(|(claim, _)| claim.after.contains(&After::RoleChange)) {
            let of = |account: &&str| claim.consumers.iter().any(|consumer| consumer == account);
            let own = given.iter().filter(|(account, _)| of(account)).map(|(account, rules)| (*account, rules.clone()));
            seen.roles = Some(roles_hash(&own.collect()));
        }
    }
    Ok(all)
}

async fn templates(cx: &Context, namespace: &str, claims: &[Following], all: &mut [Seen]) -> Result<(), kube::Error> {
    for (claim, seen) in claims.iter().zip(&mut *all) {
        seen.templates = claim.after.contains(&After::Rollout).then(BTreeMap::new);
    }
    let value_since = |secrets: &BTreeSet<String>| {
        let index = cx.index();
        let held = secrets.iter().filter_map(|secret| index.world.holding(&ObjectName::new(namespace, secret)));
        held.filter_map(|held| held.value_since()).max().map(Timestamp::from)
    };
    let mut take = |workload: Option<Workload>, template: Option<&PodTemplateSpec>| {
        let (Some(workload), Some(template)) = (workload, template) else { return };
        let rolled_out = matches!(workload.rollout, Rollout::Done | Rollout::Empty);
        let mut seen_template = None;
        for (claim, seen) in claims.iter().zip(&mut *all) {
            let uses = workload.secrets.contains(&claim.secret) && claim.consumers.contains(&workload.account);
            let Some(templates) = seen.templates.as_mut().filter(|_| uses) else { continue };
            let seen = seen_template.get_or_insert_with(|| Template {
                hash: template_hash(template),
                for_a_value: is_for_a_value(template, value_since(&workload.secrets), cx.now()),
            });
            let name = format!("{:?}/{}", workload.named.kind, workload.named.name);
            templates.insert(name.into(), rolled_out.then(|| seen.clone()));
        }
    };
    let api: Api<Deployment> = Api::namespaced(cx.client.clone(), namespace);
    each(&api, page(), |o| take(Workload::of_deployment(o), o.spec.as_ref().map(|s| &s.template))).await?;
    let api: Api<StatefulSet> = Api::namespaced(cx.client.clone(), namespace);
    each(&api, page(), |o| take(Workload::of_stateful_set(o), o.spec.as_ref().map(|s| &s.template))).await?;
    let api: Api<DaemonSet> = Api::namespaced(cx.client.clone(), namespace);
    each(&api, page(), |o| take(Workload::of_daemon_set(o), o.spec.as_ref().map(|s| &s.template))).await
}

/// What RBAC gives these accounts by name, or as members of the group of their namespace's accounts: what everybody has is nobody's
/// change. The Roles of grants are ours, and none either.
async fn roles<'a>(
    cx: &Context,
    namespace: &str,
    accounts: &BTreeSet<&'a str>,
    cluster: &mut Cluster,
) -> Result<BTreeMap<&'a str, BTreeSet<String>>, kube::Error> {
    let mut bound: Vec<(&str, bool, RoleRef)> = Vec::new();
    let mut bind = |subjects: &[Subject], role: &RoleRef, everywhere: bool| {
        for account in accounts.iter().filter(|account| subjects.iter().any(|s| is(s, namespace, account))) {
            bound.push((account, everywhere, role.clone()));
        }
    };
    let api: Api<RoleBinding> = Api::namespaced(cx.client.clone(), namespace);
    each(&api, page(), |binding| {
        if !is_ours(&binding.metadata) {
            bind(binding.subjects.as_deref().unwrap_or_default(), &binding.role_ref, false);
        }
    })
    .await?;
    if cluster.bindings.is_none() {
        let mut all = Vec::new();
        let api: Api<ClusterRoleBinding> = Api::all(cx.client.clone());
        each(&api, page(), |binding| {
            let accounts: Vec<Subject> = binding.subjects.iter().flatten().filter(|s| may_be(s)).cloned().collect();
            if !accounts.is_empty() {
                all.push((accounts, binding.role_ref.clone()));
            }
        })
        .await?;
        cluster.bindings = Some(all);
    }
    cluster.bindings.iter().flatten().for_each(|(subjects, role)| bind(subjects, role, true));
    let mut own: BTreeMap<String, Vec<PolicyRule>> = BTreeMap::new();
    if bound.iter().any(|(.., role)| role.kind == "Role") {
        let api: Api<Role> = Api::namespaced(cx.client.clone(), namespace);
        each(&api, page(), |role| {
            let named = role.metadata.name.clone().unwrap_or_default();
            if bound.iter().any(|(.., r)| r.kind == "Role" && r.name == named) && !is_ours(&role.metadata) {
                own.insert(named, role.rules.clone().unwrap_or_default());
            }
        })
        .await?;
    }
    let mut found: BTreeMap<&str, BTreeSet<String>> = accounts.iter().map(|a| (*a, BTreeSet::new())).collect();
    for (account, everywhere, role) in bound {
        let rules = match role.kind.as_str() {
            "Role" => own.get(&role.name),
            _ => Some(cluster.role(cx, &role.name).await?),
        };
        let place = if everywhere { "*" } else { namespace };
        let lines = rules.map(|rules| given(place, rules)).unwrap_or_default();
        found.entry(account).or_default().extend(lines);
    }
    Ok(found)
}

impl Cluster {
    /// The rules of a ClusterRole; none if it is not there. By a list of one: get is no verb that the operator has.
    async fn role(&mut self, cx: &Context, name: &str) -> Result<&Vec<PolicyRule>, kube::Error> {
        if !self.roles.contains_key(name) {
            let api: Api<ClusterRole> = Api::all(cx.client.clone());
            let mut rules = Vec::new();
            each(&api, page().fields(&format!("metadata.name={name}")), |role| {
                rules.extend(role.rules.clone().unwrap_or_default())
            })
            .await?;
            self.roles.insert(name.to_owned(), rules);
        }
        Ok(&self.roles[name])
    }
}

fn is_ours(metadata: &ObjectMeta) -> bool {
    metadata.labels.as_ref().and_then(|labels| labels.get(MANAGED_BY_LABEL)).is_some_and(|by| by == MANAGED_BY)
}

/// Whether a subject of the cluster may be some ServiceAccount that is followed.
fn may_be(subject: &Subject) -> bool {
    match subject.kind.as_str() {
        "ServiceAccount" => true,
        "User" => subject.name.starts_with("system:serviceaccount:"),
        _ => subject.name.starts_with("system:serviceaccounts:"),
    }
}

fn is(subject: &Subject, namespace: &str, account: &str) -> bool {
    match subject.kind.as_str() {
        "ServiceAccount" => {
            subject.name == account && subject.namespace.as_deref().is_none_or(|place| place == namespace)
        }
        "User" => subject.name == format!("system:serviceaccount:{namespace}:{account}"),
        "Group" => subject.name == format!("system:serviceaccounts:{namespace}"),
        _ => false,
    }
}

fn page() -> ListParams {
    ListParams::default().limit(50)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_bound_by_its_name_or_its_namespaces_group() {
        let subject = |kind: &str, name: &str, namespace: Option<&str>| Subject {
            kind: kind.into(),
            name: name.into(),
            namespace: namespace.map(str::to_owned),
            api_group: None,
        };
        for (subject, bound) in [
            (subject("ServiceAccount", "orders", Some("shop")), true),
            (subject("ServiceAccount", "orders", Some("other")), false),
            (subject("ServiceAccount", "thief", Some("shop")), false),
            (subject("User", "system:serviceaccount:shop:orders", None), true),
            (subject("User", "orders", None), false),
            (subject("Group", "system:serviceaccounts:shop", None), true),
            (subject("Group", "system:serviceaccounts:other", None), false),
            (subject("Group", "system:serviceaccounts", None), false),
            (subject("Group", "system:authenticated", None), false),
        ] {
            assert_eq!(is(&subject, "shop", "orders"), bound, "{subject:?}");
            assert!(!bound || may_be(&subject));
        }
    }
}
