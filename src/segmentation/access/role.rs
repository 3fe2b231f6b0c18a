//! What a Role or ClusterRole gives, as far as it leads to a Secret.

use super::RbacName;
use super::powers::{Named, Powers, Way, creates_secrets, ways};
use k8s_openapi::api::rbac::v1::PolicyRule;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// So many names of one kind are kept of a role; with more, its powers count as over all. Whoever writes roles cannot make
/// the operator keep more.
pub const MOST_NAMES: usize = 64;

/// No Secret has a longer name.
const LONGEST_NAME: usize = 253;

/// The powers of a role. Most have none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Role {
    /// Over whatever is in the namespace (or the cluster).
    pub powers: Powers,
    /// Only over the Secrets of these names, sorted.
    pub secrets: Box<[(Box<str>, Powers)]>,
    /// Only the roles of these names may be bound; sorted, namespaced ones first.
    pub bindable: Box<[Bindable]>,
    /// Whether it lets Secrets be created: what another binding lets be read by name may then be a ServiceAccount's token.
    pub creates: bool,
}

/// A role that may be bound, by its name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bindable {
    /// Whether it is a ClusterRole.
    pub cluster: bool,
    /// Its name.
    pub name: Arc<str>,
}

impl Bindable {
    /// The verb bind on this kind.
    pub fn power(&self) -> Powers {
        if self.cluster { Powers::BIND_CLUSTER_ROLES } else { Powers::BIND_ROLES }
    }

    /// Which role that is, bound in a namespace.
    pub fn role(&self, namespace: &Arc<str>) -> RbacName {
        RbacName { namespace: (!self.cluster).then(|| namespace.clone()), name: self.name.clone() }
    }
}

impl Role {
    /// Of its rules.
    pub fn of(rules: &[PolicyRule]) -> Self {
        let mut powers = Powers::NONE;
        let mut secrets: BTreeMap<&str, Powers> = BTreeMap::new();
        let mut bindable = BTreeSet::new();
        let creates = rules.iter().any(creates_secrets);
        for rule in rules {
            let names = rule.resource_names.as_deref().unwrap_or_default();
            let narrowed = narrow(names);
            for (bit, way) in ways().filter(|(_, way)| way.is_given_by(rule)) {
                match way.named {
                    _ if !narrowed => powers |= bit,
                    Named::Counts => powers |= bit,
                    Named::Signer if Way::signs_identities(names) => powers |= bit,
                    Named::Signer | Named::Nothing => {}
                    Named::Secret => names.iter().for_each(|name| *secrets.entry(name).or_default() |= bit),
                    Named::Role { cluster } => {
                        bindable.extend(names.iter().map(|name| Bindable { cluster, name: name.as_str().into() }));
                    }
                }
            }
        }
        Self::bounded(powers, secrets, bindable, creates)
    }

    /// With names, as long as they are few.
    fn bounded(
        mut powers: Powers,
        mut secrets: BTreeMap<&str, Powers>,
        mut bindable: BTreeSet<Bindable>,
        creates: bool,
    ) -> Self {
        // A name says little, where Secrets can be made that have it.
        if creates || secrets.len() > MOST_NAMES {
            secrets.values().for_each(|over| powers |= *over);
            secrets.clear();
        }
        if bindable.len() > MOST_NAMES {
            bindable.iter().for_each(|role| powers |= role.power());
            bindable.clear();
        }
        Self {
            powers,
            secrets: secrets.into_iter().map(|(name, powers)| (name.into(), powers)).collect(),
            bindable: bindable.into_iter().collect(),
            creates,
        }
    }

    /// Whether it leads to no Secret at all, nor with another.
    pub fn is_powerless(&self) -> bool {
        self.powers.is_empty() && self.secrets.is_empty() && self.bindable.is_empty() && !self.creates
    }

    /// What it gives over Secrets of some names.
    pub(super) fn named(&self) -> Powers {
        self.secrets.iter().fold(Powers::NONE, |all, (_, powers)| all | *powers)
    }

    /// With what another gives.
    pub fn with(&self, other: &Self) -> Self {
        let mut secrets: BTreeMap<&str, Powers> = BTreeMap::new();
        for (name, powers) in self.secrets.iter().chain(&other.secrets) {
            *secrets.entry(name).or_default() |= *powers;
        }
        let bindable = self.bindable.iter().chain(&other.bindable).cloned().collect();
        Self::bounded(self.powers | other.powers, secrets, bindable, self.creates || other.creates)
    }

    /// What it gives that another does not.
    pub fn beyond(&self, other: &Self) -> Self {
        let known = |name: &str| match other.secrets.binary_search_by(|(n, _)| (**n).cmp(name)) {
            Ok(i) => other.secrets.get(i).map_or(Powers::NONE, |(_, powers)| *powers),
            Err(_) => Powers::NONE,
        };
        let had = |b: &Bindable| b.power().within(other.powers) || other.bindable.binary_search(b).is_ok();
        let secrets = self.secrets.iter().map(|(name, p)| (name.clone(), *p & !known(name) & !other.powers));
        let bindable = self.bindable.iter().filter(|b| !had(b));
        Self {
            powers: self.powers & !other.powers,
            secrets: secrets.filter(|(_, powers)| !powers.is_empty()).collect(),
            bindable: bindable.cloned().collect(),
            creates: self.creates && !other.creates,
        }
    }
}

/// Whether a rule's names narrow it: there are some, and few enough to keep. The empty name is that of every request without
/// one.
fn narrow(names: &[String]) -> bool {
    let sound = |name: &String| !name.is_empty() && name.len() <= LONGEST_NAME;
    (1..=MOST_NAMES).contains(&names.len()) && names.iter().all(sound)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// `verbs resources [names]`, or with a group before a bar: `rbac.authorization.k8s.io|bind clusterroles view`.
    pub(in super::super) fn rule(text: &str) -> PolicyRule {
        let (group, text) = text.split_once('|').unwrap_or(("", text));
        let list = |text: &str| text.split(',').map(str::to_owned).collect::<Vec<_>>();
        let mut parts = text.split(' ');
        PolicyRule {
            api_groups: Some(list(group)),
            verbs: list(parts.next().unwrap()),
            resources: parts.next().map(list),
            resource_names: parts.next().map(list),
            ..PolicyRule::default()
        }
    }

    const RBAC: &str = "rbac.authorization.k8s.io";

    #[test]
    fn what_a_rule_gives() {
        for (text, gives) in [
            ("get secrets", "get secrets"),
            ("get,list,watch secrets", "get, list, watch secrets"),
            ("patch,update,delete,deletecollection secrets", "patch, update, delete, deletecollection secrets"),
            ("create secrets", ""),
            ("get configmaps", ""),
            ("apps|get secrets", ""),
            ("*|get secrets", "get secrets"),
            ("*|get *", "get secrets; create pods/exec; create pods/attach; get nodes/proxy"),
            ("create serviceaccounts/token", "create serviceaccounts/token"),
            ("create serviceaccounts", ""),
            ("create serviceaccounts/*", ""),
            ("create */token", "create serviceaccounts/token"),
            ("create */exec", "create pods/exec"),
            ("get pods/exec", "create pods/exec"),
            ("create pods/attach", "create pods/attach"),
            ("create pods/log,pods/portforward", ""),
            ("get,list,watch pods", ""),
            ("create pods", "create pods"),
            ("patch pods", "update pods"),
            ("patch pods/ephemeralcontainers", "update pods/ephemeralcontainers"),
            ("update pods/status", ""),
            ("apps|create deployments", "create workloads"),
            ("apps|get,list deployments", ""),
            ("apps|patch statefulsets", "update workloads"),
            ("apps|patch deployments/scale", ""),
            ("batch|create cronjobs", "create workloads"),
            ("extensions|create deployments", ""),
            ("impersonate serviceaccounts", "impersonate serviceaccounts"),
            ("impersonate users,groups", "impersonate users; impersonate groups"),
            ("authentication.k8s.io|impersonate:user-info users", "impersonate users"),
            ("authentication.k8s.io|impersonate:arbitrary-node nodes", "impersonate nodes"),
            ("rbac.authorization.k8s.io|escalate roles", "escalate roles"),
            ("rbac.authorization.k8s.io|escalate clusterroles", "escalate clusterroles"),
            ("rbac.authorization.k8s.io|bind roles,clusterroles", "bind roles; bind clusterroles"),
            ("rbac.authorization.k8s.io|create,update roles", ""),
            ("get nodes/proxy", "get nodes/proxy"),
            ("get nodes", ""),
            ("certificates.k8s.io|approve signers", "approve signers"),
            ("certificates.k8s.io|approve signers example.com/mine", ""),
            ("certificates.k8s.io|approve signers kubernetes.io/kube-apiserver-client", "approve signers"),
            ("certificates.k8s.io|sign signers", ""),
            // Names.
            ("create pods web", ""),
            ("create,update pods web", "update pods"),
            ("deletecollection secrets web", ""),
            ("create serviceaccounts/token web", "create serviceaccounts/token"),
            ("get secrets ,web", "get secrets"),
            ("get secrets web", ""),
        ] {
            assert_eq!(Role::of(&[rule(text)]).powers.to_string(), gives, "{text}");
        }
    }

    #[test]
    fn names_narrow() {
        let role = Role::of(&[rule("get,deletecollection secrets a,b"), rule("patch secrets b")]);
        assert_eq!(role.powers, Powers::NONE);
        let told: Vec<String> = role.secrets.iter().map(|(name, powers)| format!("{name}: {powers}")).collect();
        assert_eq!(told, ["a: get secrets", "b: get, patch secrets"]);
        let role =
            Role::of(&[rule(&format!("{RBAC}|bind clusterroles view,edit")), rule(&format!("{RBAC}|bind roles x"))]);
        let told: Vec<_> = role.bindable.iter().map(|b| (b.cluster, &*b.name, b.power().to_string())).collect();
        assert_eq!(
            told,
            [
                (false, "x", "bind roles".into()),
                (true, "edit", "bind clusterroles".into()),
                (true, "view", "bind clusterroles".into())
            ]
        );
        assert!(!role.is_powerless() && Role::of(&[rule("get pods")]).is_powerless());
    }

    #[test]
    fn names_do_not_narrow_where_secrets_can_be_created() {
        for (create, gives) in [
            ("create secrets", "get, list secrets"),
            ("create,patch secrets b", "get, list, patch secrets"),
            ("create *", "get, list secrets; create serviceaccounts/token; create pods/exec"),
            ("create configmaps", ""),
            ("apps|create secrets", ""),
        ] {
            let role = Role::of(&[rule("get,list secrets a"), rule(create)]);
            let told = role.powers.to_string();
            assert!(told.starts_with(gives) && told.is_empty() == gives.is_empty(), "{create}: {told}");
            assert_eq!(role.secrets.is_empty(), !gives.is_empty(), "{create}");
        }
        let before = Role::of(&[rule("get secrets a")]);
        let after = Role::of(&[rule("get secrets a"), rule("create secrets")]);
        assert_eq!(after.beyond(&before).powers.to_string(), "get secrets");
    }

    #[test]
    fn too_many_names_do_not_narrow() {
        let names = |from: usize, count: usize| (from..from + count).map(|i| format!("n{i:03}")).collect::<Vec<_>>();
        let of = |text: &str, names: &[String]| rule(&format!("{text} {}", names.join(",")));
        let binds = format!("{RBAC}|bind roles,clusterroles");
        let few = Role::of(&[of("get secrets", &names(0, 64)), of(&format!("{RBAC}|bind roles"), &names(0, 64))]);
        assert_eq!((few.powers, few.secrets.len(), few.bindable.len()), (Powers::NONE, 64, 64));
        let all = "get secrets; bind roles; bind clusterroles";
        let same = vec!["a".to_owned(); 65];
        let long = ["x".repeat(254)];
        for rules in [
            vec![of("get secrets", &names(0, 65)), of(&binds, &names(0, 65))],
            // In several rules.
            vec![of("get secrets", &names(0, 64)), of("get secrets", &names(64, 1)), of(&binds, &names(0, 33))],
            // What is repeated may hide what is not looked at.
            vec![of("get secrets", &same), of(&binds, &same)],
            vec![of("get secrets", &long), of(&binds, &long)],
        ] {
            let role = Role::of(&rules);
            assert_eq!((role.powers.to_string().as_str(), role.secrets.len() + role.bindable.len()), (all, 0));
            assert!(!role.beyond(&few).is_powerless() && few.beyond(&role).is_powerless());
        }
        let both = Role::of(&[of("get secrets", &names(0, 40))]).with(&Role::of(&[of("list secrets", &names(40, 40))]));
        assert_eq!((both.powers.to_string().as_str(), both.secrets.len()), ("get, list secrets", 0));
    }

    #[test]
    fn what_is_new() {
        let (few, many) =
            (Role::of(&[rule("get secrets a")]), Role::of(&[rule("get,list secrets a,b"), rule("create pods")]));
        let new = many.beyond(&few);
        assert_eq!(new, Role::of(&[rule("list secrets a"), rule("get,list secrets b"), rule("create pods")]));
        assert!(few.beyond(&many).is_powerless());
        assert!(few.beyond(&Role::of(&[rule("get secrets")])).is_powerless(), "what was had over all");
        assert_eq!(few.with(&new), many);
    }
}
