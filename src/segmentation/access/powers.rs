//! The ways in which a role lets somebody get at a Secret's value, as a small set.
//!
//! Sources: Kubernetes' RBAC good practices (privilege escalation risks) and `pkg/registry/rbac/validation`, whose matching of
//! verbs, groups and resources this repeats.

use crate::api::GROUP;
use k8s_openapi::api::rbac::v1::PolicyRule;
use std::fmt;
use std::ops::{BitAnd, BitOr, BitOrAssign, Not};

/// A set of ways.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Powers(u32);

/// What a rule with resourceNames gives of a way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Named {
    /// All of it: what is named may be what leads to the Secret.
    Counts,
    /// Nothing: requests of this kind carry no name when they are authorised.
    Nothing,
    /// That over the Secrets of these names.
    Secret,
    /// That over the roles of these names.
    Role {
        /// Whether they are ClusterRoles.
        cluster: bool,
    },
    /// All of it, if one of the signers makes certificates that the API server takes.
    Signer,
}

/// One way to a Secret's value.
pub(super) struct Way {
    /// What it is called, before the resource.
    verb: &'static str,
    resource: &'static str,
    /// Any of these verbs and groups gives it.
    verbs: &'static [&'static str],
    groups: &'static [&'static str],
    /// On any of these resources; none: on `resource`.
    resources: &'static [&'static str],
    /// Whether it needs a ClusterRoleBinding: the resource has no namespace.
    cluster: bool,
    pub(super) named: Named,
}

const CORE: &[&str] = &[""];
const RBAC: &[&str] = &["rbac.authorization.k8s.io"];
/// Impersonation, and its narrower forms since Kubernetes 1.35.
const IDENTITIES: &[&str] = &["", "authentication.k8s.io"];
const WORKLOADS: &[&str] =
    &["deployments", "statefulsets", "daemonsets", "replicasets", "jobs", "cronjobs", "replicationcontrollers"];
const WORKLOAD_GROUPS: &[&str] = &["apps", "batch", ""];

/// Gives one verb and resource of the core group; the rest is said by the methods below.
const fn way(verb: &'static str, resource: &'static str, verbs: &'static [&'static str]) -> Way {
    Way { verb, resource, verbs, groups: CORE, resources: &[], cluster: false, named: Named::Counts }
}

impl Way {
    const fn of(self, groups: &'static [&'static str]) -> Self {
        Self { groups, ..self }
    }

    const fn on(self, resources: &'static [&'static str]) -> Self {
        Self { resources, ..self }
    }

    const fn of_the_cluster(self) -> Self {
        Self { cluster: true, ..self }
    }

    const fn named(self, named: Named) -> Self {
        Self { named, ..self }
    }
}

/// Every way; a set's bits are in this order.
static WAYS: [Way; 26] = [
    way("get", "secrets", &["get"]).named(Named::Secret),
    way("list", "secrets", &["list"]).named(Named::Secret),
    way("watch", "secrets", &["watch"]).named(Named::Secret),
    // Whoever changes or deletes an object is given it in the answer.
    way("patch", "secrets", &["patch"]).named(Named::Secret),
    way("update", "secrets", &["update"]).named(Named::Secret),
    way("delete", "secrets", &["delete"]).named(Named::Secret),
    way("deletecollection", "secrets", &["deletecollection"]).named(Named::Nothing),
    way("create", "serviceaccounts/token", &["create"]),
    way("impersonate", "serviceaccounts", &["impersonate", "impersonate:serviceaccount"]).of(IDENTITIES),
    way("impersonate", "users", &["impersonate", "impersonate:user-info"]).of(IDENTITIES).of_the_cluster(),
    way("impersonate", "groups", &["impersonate", "impersonate:user-info"]).of(IDENTITIES).of_the_cluster(),
    way("impersonate", "nodes", &["impersonate:arbitrary-node", "impersonate:associated-node"])
        .of(&["authentication.k8s.io"])
        .of_the_cluster(),
    way("escalate", "roles", &["escalate"]).of(RBAC),
    way("escalate", "clusterroles", &["escalate"]).of(RBAC).of_the_cluster(),
    way("bind", "roles", &["bind"]).of(RBAC).named(Named::Role { cluster: false }),
    // Asked in the namespace of the RoleBinding.
    way("bind", "clusterroles", &["bind"]).of(RBAC).named(Named::Role { cluster: true }),
    // A websocket is opened by a GET.
    way("create", "pods/exec", &["create", "get"]),
    way("create", "pods/attach", &["create", "get"]),
    way("update", "pods/ephemeralcontainers", &["patch", "update"]),
    way("create", "pods", &["create"]).named(Named::Nothing),
    // Another image in a running pod.
    way("update", "pods", &["patch", "update"]),
    way("create", "workloads", &["create"]).of(WORKLOAD_GROUPS).on(WORKLOADS).named(Named::Nothing),
    way("update", "workloads", &["patch", "update"]).of(WORKLOAD_GROUPS).on(WORKLOADS),
    // The kubelet's own API runs commands in any pod; a websocket to it is a GET.
    way("get", "nodes/proxy", &["get", "create", "update", "patch", "delete"]).of_the_cluster(),
    // A certificate that says who somebody is.
    way("approve", "signers", &["approve"]).of(&["certificates.k8s.io"]).of_the_cluster().named(Named::Signer),
    // Whoever may give grants has the operator bind a Role that reads the Secret, to whom he likes.
    way("grant", "scopedsecrets", &["grant"]).of(&[GROUP]),
];

/// Signers whose certificates the API server takes for an identity.
const CLIENT_SIGNERS: [&str; 3] =
    ["kubernetes.io/*", "kubernetes.io/kube-apiserver-client", "kubernetes.io/kube-apiserver-client-kubelet"];

/// Every way with its bit.
pub(super) fn ways() -> impl Iterator<Item = (Powers, &'static Way)> {
    WAYS.iter().enumerate().map(|(i, way)| (Powers(1 << i), way))
}

impl Powers {
    /// None.
    pub const NONE: Self = Self(0);
    /// Every one.
    pub const ALL: Self = Self(u32::MAX);
    /// Every verb that returns Secrets themselves.
    pub const READS: Self = Self(0b111_1111);
    /// What the operator's own account needs: get, list, watch, update and delete of Secrets; and, to restart consumers, update of
    /// workloads, of which rule Operator leaves it one annotation.
    pub const OPERATORS: Self = Self(0b011_0111 | 1 << 22);

    pub(super) const BIND_ROLES: Self = Self(1 << 14);
    pub(super) const BIND_CLUSTER_ROLES: Self = Self(1 << 15);

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether all of these are among the others.
    pub fn within(self, others: Self) -> bool {
        (self & !others).is_empty()
    }

    /// Those that a RoleBinding can give.
    pub(super) fn in_a_namespace(self) -> Self {
        let cluster = ways().filter(|(_, way)| way.cluster).fold(Self::NONE, |all, (bit, _)| all | bit);
        self & !cluster
    }
}

impl Way {
    /// Whether a rule gives it, whatever its resourceNames.
    pub(super) fn is_given_by(&self, rule: &PolicyRule) -> bool {
        let has = |list: &[String], wanted: &[&str]| list.iter().any(|l| l == "*" || wanted.contains(&l.as_str()));
        let groups = rule.api_groups.as_deref().unwrap_or_default();
        let wanted = if self.resources.is_empty() { std::slice::from_ref(&self.resource) } else { self.resources };
        let resources = rule.resources.as_deref().unwrap_or_default();
        has(&rule.verbs, self.verbs)
            && has(groups, self.groups)
            && resources.iter().any(|r| wanted.iter().any(|wanted| covers(r, wanted)))
    }

    /// Whether certificates of one of these signers say who somebody is.
    pub(super) fn signs_identities(names: &[String]) -> bool {
        names.iter().any(|name| name == "*" || CLIENT_SIGNERS.contains(&name.as_str()))
    }
}

/// Whether a rule lets Secrets be created. Whoever may make one of the type of a ServiceAccount's token has the token written
/// into it, under a name of their own choice.
pub(super) fn creates_secrets(rule: &PolicyRule) -> bool {
    way("create", "secrets", &["create"]).is_given_by(rule)
}

/// Whether a rule's resource is or covers another: itself, `*`, or `*/subresource`.
fn covers(rule: &str, wanted: &str) -> bool {
    let sub = || rule.strip_prefix("*/").zip(wanted.split_once('/')).is_some_and(|(rule, (_, sub))| rule == sub);
    rule == "*" || rule == wanted || sub()
}

/// As RBAC would write it: `get, list secrets; create pods/exec`.
impl fmt::Display for Powers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut last = "";
        for (_, way) in ways().filter(|(bit, _)| !(*self & *bit).is_empty()) {
            match (last.is_empty(), way.resource == last) {
                (true, _) => {}
                (false, true) => f.write_str(", ")?,
                (false, false) => write!(f, " {last}; ")?,
            }
            f.write_str(way.verb)?;
            last = way.resource;
        }
        if last.is_empty() { Ok(()) } else { write!(f, " {last}") }
    }
}

impl BitOr for Powers {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Powers {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

impl BitAnd for Powers {
    type Output = Self;
    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl Not for Powers {
    type Output = Self;
    fn not(self) -> Self {
        Self(!self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bits_are_those_of_the_table() {
        assert_eq!(Powers::READS.to_string(), "get, list, watch, patch, update, delete, deletecollection secrets");
        assert_eq!(Powers::OPERATORS.to_string(), "get, list, watch, update, delete secrets; update workloads");
        assert_eq!(Powers::BIND_ROLES.to_string(), "bind roles");
        assert_eq!(Powers::BIND_CLUSTER_ROLES.to_string(), "bind clusterroles");
        let ours = PolicyRule {
            api_groups: Some(vec![GROUP.to_owned()]),
            resources: Some(vec!["*".to_owned()]),
            verbs: vec!["*".to_owned()],
            ..PolicyRule::default()
        };
        let given = ways().filter(|(_, way)| way.is_given_by(&ours)).fold(Powers::NONE, |all, (bit, _)| all | bit);
        assert_eq!(given.to_string(), "grant scopedsecrets");
        let all = ways().fold(Powers::NONE, |all, (bit, _)| all | bit);
        assert_eq!(
            (all & !all.in_a_namespace()).to_string(),
            "impersonate users; impersonate groups; impersonate nodes; escalate clusterroles; get nodes/proxy; approve signers"
        );
    }
}
