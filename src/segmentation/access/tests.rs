//! The analysis as tables: roles, bindings and subjects in the tenants' world.

use super::aggregation::Aggregation;
use super::findings::{Left, findings, findings_in};
use super::role::Role;
use super::role::tests::rule;
use super::subject::Subject;
use super::{Access, Binding, RbacName};
use crate::api::Reason;
use crate::segmentation::fixtures::{TENANTS, at, claim, now, policy};
use crate::segmentation::violation::Violation;
use crate::segmentation::world::World;
use k8s_openapi::api::rbac::v1::{self, PolicyRule};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use proptest::prelude::*;

/// `kind name`, or `kind namespace:name`.
fn subject(text: &str, namespace: Option<&str>) -> Subject {
    let (kind, name) = text.split_once(' ').unwrap();
    let (own, name) = match name.split_once(':').filter(|_| kind == "ServiceAccount") {
        Some((own, name)) => (Some(own.to_owned()), name),
        None => (None, name),
    };
    Subject::of(&v1::Subject { api_group: None, kind: kind.into(), name: name.into(), namespace: own }, namespace)
        .unwrap()
}

/// Rules, each a text, divided by semicolons.
fn rules(text: &str) -> Vec<PolicyRule> {
    text.split("; ").filter(|text| !text.is_empty()).map(rule).collect()
}

impl Access {
    fn with_role(mut self, namespace: Option<&str>, name: &str, text: &str) -> Self {
        self.put_role(RbacName::new(namespace, name), Role::of(&rules(text)));
        self
    }

    /// The namespaces' own role where it starts with a dot.
    fn bound(mut self, namespace: Option<&str>, name: &str, role: &str, subjects: &[&str]) -> Self {
        let role = match role.strip_prefix('.') {
            Some(own) => RbacName::new(namespace, own),
            None => RbacName::new(None, role),
        };
        let subjects = subjects.iter().map(|text| subject(text, namespace)).collect();
        self.put_binding(RbacName::new(namespace, name), Binding { role, subjects });
        self
    }
}

/// `segment reason kind/namespace/name`, of each.
pub(super) fn told(found: &[Violation]) -> Vec<String> {
    let place = |v: &Violation| v.object.namespace.as_deref().map(|n| format!("{n}/")).unwrap_or_default();
    found
        .iter()
        .map(|v| format!("{} {} {} {}{}", v.segment, v.reason, v.object.kind, place(v), v.object.name))
        .collect()
}

const READ: &str = "get,list,watch secrets";

/// A world in which payments-prod has the projected Secret `orders`.
fn world() -> World {
    let mut world = World::with_tenants();
    world.holds(claim("payments-prod", "orders").of("payments/prod/db"), at(1));
    world
}

fn under(more: &str) -> World {
    world().under([policy("tenants", &format!("{TENANTS}{more}"))])
}

/// Whether one RoleBinding in payments-prod to a role with these rules is found.
fn crosses(world: &World, rules: &str, who: &str) -> bool {
    let access = Access::default()
        .with_role(Some("payments-prod"), "r", rules)
        .with_role(None, "view", "get,list pods")
        .with_role(None, "edit", "get secrets")
        .with_role(None, "binds-edit", "rbac.authorization.k8s.io|bind clusterroles edit")
        .bound(Some("payments-prod"), "b", ".r", &[who]);
    let found = findings(&access, world, now());
    assert!(
        found.iter().all(|v| v.reason == Reason::CrossSegmentAccess && &*v.segment == "payments/prod"),
        "{found:?}"
    );
    !found.is_empty()
}

#[test]
fn who_is_a_stranger_in_a_namespace() {
    let world = world();
    for (who, foreign) in [
        ("ServiceAccount billing-prod:thief", true),
        ("ServiceAccount payments-staging:app", true),
        ("ServiceAccount payments-prod:orders", false),
        ("ServiceAccount orders", false),
        // Another namespace of the same segment.
        ("ServiceAccount payments-prod-2:app", false),
        ("ServiceAccount plain:app", true),
        ("ServiceAccount not-there:app", true),
        ("ServiceAccount kube-system:job-controller", false),
        ("ServiceAccount scoped-secrets:scoped-secrets", false),
        ("ServiceAccount scoped-secrets:other", true),
        ("User system:serviceaccount:billing-prod:thief", true),
        ("User system:serviceaccount:payments-prod:orders", false),
        ("User system:anonymous", true),
        ("User ada@example.com", false),
        ("Group developers", false),
        ("Group system:masters", false),
        ("Group system:authenticated", true),
        ("Group system:unauthenticated", true),
        ("Group system:serviceaccounts", true),
        ("Group system:serviceaccounts:billing-prod", true),
        ("Group system:serviceaccounts:payments-prod", false),
        ("Group system:serviceaccounts:payments-prod-2", false),
    ] {
        assert_eq!(crosses(&world, READ, who), foreign, "{who}");
        assert!(!crosses(&world, "get configmaps", who), "{who}");
    }
    // The operator for what it needs, and not for more.
    for (rules, foreign) in [
        ("create pods/exec", true),
        ("patch secrets", true),
        ("get,list,watch,update,delete secrets", false),
        ("apps|update deployments", false),
    ] {
        assert_eq!(crosses(&world, rules, "ServiceAccount scoped-secrets:scoped-secrets"), foreign, "{rules}");
    }
}

#[test]
fn what_is_a_power_in_a_namespace() {
    let world = world();
    for (rules, power) in [
        ("get secrets", true),
        ("list secrets", true),
        ("watch secrets", true),
        ("patch secrets", true),
        ("update secrets", true),
        ("delete secrets", true),
        ("deletecollection secrets", true),
        ("create secrets", false),
        ("* *", true),
        ("*|* *", true),
        ("get configmaps; get secrets", true),
        ("impersonate serviceaccounts", true),
        ("create serviceaccounts/token", true),
        ("create pods", true),
        ("create pods/exec", true),
        ("create pods/attach", true),
        ("patch pods/ephemeralcontainers", true),
        ("apps|create deployments", true),
        ("rbac.authorization.k8s.io|escalate roles", true),
        ("rbac.authorization.k8s.io|bind clusterroles", true),
        ("get,list,watch pods,services,endpoints,configmaps", false),
        // What has no namespace is not given by a RoleBinding.
        ("impersonate users,groups", false),
        ("get nodes/proxy", false),
        ("rbac.authorization.k8s.io|escalate clusterroles", false),
        ("certificates.k8s.io|approve signers", false),
        // Whoever gives grants of our own lets at Secrets whom he likes.
        ("scopedsecrets.io|grant scopedsecrets", true),
        ("scopedsecrets.io|grant scopedsecrets orders", true),
        ("scopedsecrets.io|get,create scopedsecrets,secretgrants", false),
        // Names: each of a Secret, which may be projected later or hold a token; of roles those that lead to some.
        ("get secrets orders", true),
        ("get secrets other", true),
        ("get secrets other,orders", true),
        ("rbac.authorization.k8s.io|bind clusterroles view", false),
        ("rbac.authorization.k8s.io|bind clusterroles view,edit", true),
        ("rbac.authorization.k8s.io|bind clusterroles binds-edit", true),
        ("rbac.authorization.k8s.io|bind clusterroles not-there", false),
        ("rbac.authorization.k8s.io|bind roles edit", false),
    ] {
        assert_eq!(crosses(&world, rules, "ServiceAccount billing-prod:thief"), power, "{rules}");
    }
}

#[test]
fn roles_that_lead_to_each_other_are_looked_at_once() {
    let names = |layer: usize| (0..60).map(|i| format!("l{layer}-{i}")).collect::<Vec<_>>().join(",");
    let binds = |names: &str| format!("rbac.authorization.k8s.io|bind roles {names}");
    let layers = |last: &str| {
        let mut access = Access::default().with_role(Some("payments-prod"), "r", &binds("l0-0"));
        for layer in 0..8 {
            // Each leads to all of the next layer, and the last to the first.
            let rules = if layer < 7 { binds(&names(layer + 1)) } else { format!("{}; {last}", binds(&names(0))) };
            for i in 0..60 {
                access = access.with_role(Some("payments-prod"), &format!("l{layer}-{i}"), &rules);
            }
        }
        access.bound(Some("payments-prod"), "b", ".r", &["Group system:authenticated"])
    };
    let crosses = |last: &str| !findings(&layers(last), &world(), now()).is_empty();
    assert!(!crosses("get pods"));
    assert!(crosses("get secrets") && crosses("get secrets orders"), "however far");
}

#[test]
fn where_it_counts() {
    let access = Access::default()
        .with_role(None, "edit", READ)
        .bound(Some("plain"), "b", "edit", &["ServiceAccount billing-prod:thief", "Group system:authenticated"])
        .bound(Some("payments-prod"), "admins", "edit", &["Group payments", "User ada", "ServiceAccount orders"])
        .bound(Some("kube-system"), "b", "edit", &["ServiceAccount plain:app", "Group payments"]);
    assert_eq!(told(&findings(&access, &world(), now())), Vec::<String>::new());
    // Only strangers are kept.
    assert_eq!(access.bindings(false).count(), 2);
}

#[test]
fn the_secrets_that_open_every_other() {
    let found = |namespace: &str, rules: &str, who: &str| {
        let access = Access::default().with_role(None, "r", rules).bound(Some(namespace), "b", "r", &[who]);
        let all = findings(&access, &world(), now());
        assert!(all.iter().all(|v| v.reason == Reason::ClusterWideAccess && v.object.kind == "RoleBinding"), "{all:?}");
        all.into_iter().map(|v| v.segment.to_string()).collect::<Vec<_>>()
    };
    let others = ["payments/prod", "payments/staging"];
    let thief = "ServiceAccount billing-prod:thief";
    for namespace in ["kube-system", "scoped-secrets"] {
        assert_eq!(found(namespace, READ, thief), others);
        assert_eq!(found(namespace, "get secrets scoped-secrets-keys", thief), others);
        assert_eq!(found(namespace, "create serviceaccounts/token", thief), others);
        assert_eq!(found(namespace, "get configmaps; get leases", thief), [] as [&str; 0]);
        assert_eq!(found(namespace, READ, "ServiceAccount plain:cert-manager"), [] as [&str; 0], "the platform's");
        assert_eq!(found(namespace, READ, "Group system:authenticated").len(), 3);
    }
    assert_eq!(found("plain", READ, thief), [] as [&str; 0]);
}

/// Where Secrets still stand that wait for somebody's word.
#[test]
fn a_namespace_that_left_its_segment() {
    let mut world = world();
    world.namespaces.insert("payments-prod".into(), Default::default());
    let left = Left::from([("payments-prod".into(), "payments/prod".into())]);
    let found = |namespace: Option<&str>, who: &str, left: &Left| {
        let access = Access::default().with_role(None, "r", READ).bound(namespace, "b", "r", &[who]);
        let found = findings_in(&access, &world, left, now()).into_iter();
        found.filter(|v| &*v.segment == "payments/prod").map(|v| v.reason).collect::<Vec<_>>()
    };
    for (who, expected) in [
        ("ServiceAccount billing-prod:thief", Some(Reason::CrossSegmentAccess)),
        ("Group system:authenticated", Some(Reason::CrossSegmentAccess)),
        ("ServiceAccount payments-prod-2:orders", None),
        ("ServiceAccount payments-prod:orders", None),
        ("User ada", None),
    ] {
        assert_eq!(found(Some("payments-prod"), who, &left), Vec::from_iter(expected), "{who}");
        assert_eq!(found(Some("payments-prod"), who, &Left::new()), [], "{who}: nothing stands there");
    }
    assert_eq!(found(None, "User ada", &left), [Reason::ClusterWideAccess]);
    // All of a segment may leave at once.
    let both =
        Left::from(["payments-prod", "payments-prod-2"].map(|namespace| (namespace.into(), "payments/prod".into())));
    world.namespaces.insert("payments-prod-2".into(), Default::default());
    let access = Access::default().with_role(None, "r", READ);
    let access = access.bound(Some("payments-prod"), "b", "r", &["ServiceAccount payments-prod-2:orders"]);
    assert_eq!(findings_in(&access, &world, &both, now()), []);
    assert_eq!(findings_in(&access, &world, &left, now()).len(), 1, "nothing says where that one was");
}

/// An exception that ends in so many seconds.
fn exception(what: &str, end: i64) -> World {
    let end = at(now().as_second() + end);
    under(&format!("exceptions: [{{rule: Rbac, {what}, reason: moving, expirationTime: \"{end}\"}}]\n"))
}

/// Whoever takes the token of a reader reads as it does, and so of one that is excepted.
#[test]
fn the_namespace_of_a_reader() {
    let reader = under("rules: {readers: [{kind: ServiceAccount, name: \"velero:velero\"}]}\n");
    let found = |world: &World, namespace: &str, rules: &str, who: &str| {
        let access = Access::default().with_role(None, "r", rules).bound(Some(namespace), "b", "r", &[who]);
        findings(&access, world, now()).into_iter().map(|v| v.segment.to_string()).collect::<Vec<_>>()
    };
    let (thief, none) = ("ServiceAccount billing-prod:thief", [] as [&str; 0]);
    let others = ["payments/prod", "payments/staging"];
    for rules in [READ, "create serviceaccounts/token", "create pods"] {
        assert_eq!(found(&reader, "velero", rules, thief), others, "{rules}");
    }
    assert_eq!(found(&reader, "velero", "get configmaps", thief), none);
    assert_eq!(found(&reader, "velero", READ, "ServiceAccount plain:ci"), none, "the platform's");
    assert_eq!(found(&reader, "plain", READ, thief), none, "nobody's home");
    assert_eq!(found(&world(), "velero", READ, thief), none, "no reader");
    let excepted = |end| exception("subjects: [{kind: ServiceAccount, name: \"velero:velero\"}]", end);
    assert_eq!(found(&excepted(3600), "velero", READ, thief), others);
    assert_eq!(found(&excepted(-1), "velero", READ, thief), none, "it has ended");
}

#[test]
fn across_the_cluster() {
    let all = |reason: &str| {
        ["billing/prod", "payments/prod", "payments/staging"]
            .map(|s| format!("{s} {reason} ClusterRoleBinding b"))
            .to_vec()
    };
    let wide = all("ClusterWideAccess");
    let none = Vec::new();
    for (rules, who, expected) in [
        (READ, "User ada", &wide),
        (READ, "Group backup-operators", &wide),
        (READ, "ServiceAccount plain:app", &wide),
        (READ, "ServiceAccount payments-prod:orders", &wide),
        (READ, "Group system:authenticated", &wide),
        ("create pods/exec", "User ada", &wide),
        ("get nodes/proxy", "User ada", &wide),
        ("impersonate users", "User ada", &wide),
        ("rbac.authorization.k8s.io|escalate clusterroles", "User ada", &wide),
        ("certificates.k8s.io|approve signers", "User ada", &wide),
        ("scopedsecrets.io|grant scopedsecrets", "User ada", &wide),
        ("get secrets orders", "User ada", &wide),
        ("get secrets other", "User ada", &none),
        ("get pods", "User ada", &none),
        ("*|* *", "Group system:masters", &none),
        ("*|* *", "User system:kube-controller-manager", &none),
        ("*|* *", "ServiceAccount kube-system:generic-garbage-collector", &none),
        ("get,list,watch,update,delete secrets", "ServiceAccount scoped-secrets:scoped-secrets", &none),
        ("*|* *", "ServiceAccount scoped-secrets:scoped-secrets", &wide),
    ] {
        let access = Access::default().with_role(None, "r", rules).bound(None, "b", "r", &[who]);
        assert_eq!(told(&findings(&access, &world(), now())), *expected, "{rules} to {who}");
    }
}

#[test]
fn readers_and_exceptions() {
    let everywhere = |world: &World, who: &str| {
        let access = Access::default().with_role(None, "r", READ).bound(None, "b", "r", &[who]);
        told(&findings(&access, world, now())).len()
    };
    let readers = under(
        "rules: {readers: [{kind: Group, name: backup-operators}, {kind: ServiceAccount, name: \"velero:velero\"}, {kind: Group, name: \"system:serviceaccounts:argocd\"}]}\n",
    );
    for (who, found) in [
        ("Group backup-operators", 0),
        ("User backup-operators", 3),
        ("ServiceAccount velero:velero", 0),
        ("User system:serviceaccount:velero:velero", 0),
        ("ServiceAccount velero:other", 3),
        ("ServiceAccount argocd:anything", 0),
    ] {
        assert_eq!(everywhere(&readers, who), found, "{who}");
    }
    assert!(!crosses(&readers, READ, "ServiceAccount velero:velero"), "a reader may be bound in one namespace, too");
    // Every policy must name a reader.
    let second = policy(
        "second",
        "segment: {labels: [tenant, environment]}\nnamespaceSelector: {matchLabels: {tenant: billing}}\n",
    );
    let two = under("rules: {readers: [{kind: Group, name: backup-operators}]}\n");
    let mut policies = two.policies.clone();
    policies.extend([second]);
    assert_eq!(everywhere(&two.under(policies), "Group backup-operators"), 1);

    let (who, soon) = ("ServiceAccount billing-prod:thief", 3600);
    assert!(!crosses(&exception("namespaces: [payments-prod]", soon), READ, who));
    assert!(crosses(&exception("namespaces: [payments-staging]", soon), READ, who));
    assert!(crosses(&exception("namespaces: [payments-prod]", -1), READ, who));
    let account = "subjects: [{kind: ServiceAccount, name: \"billing-prod:thief\"}]";
    assert!(!crosses(&exception(account, soon), READ, who));
    assert!(crosses(&exception(account, 91 * 86_400), READ, who));
    assert!(crosses(&exception(account, soon), READ, "ServiceAccount billing-prod:other"));
    assert_eq!(everywhere(&exception(account, soon), who), 0);
    assert_eq!(everywhere(&exception("namespaces: [payments-staging]", soon), who), 2, "not in that segment");
}

#[test]
fn a_message_has_the_path_and_the_mend() {
    let access = Access::default().with_role(None, "edit", "get,list secrets; create pods/exec").bound(
        Some("payments-prod"),
        "b",
        "edit",
        &["ServiceAccount billing-prod:thief", "Group system:authenticated"],
    );
    let found = findings(&access, &world(), now());
    assert_eq!(
        found[0].message,
        "ClusterRole \"edit\" gives get, list secrets; create pods/exec to ServiceAccount billing-prod/thief, Group \"system:authenticated\": \
         bind a ServiceAccount of this segment, or a role without these; or name the reader in rules.readers"
    );
}

#[test]
fn nothing_is_found_while_a_policy_is_unknown() {
    let access = Access::default().with_role(None, "r", READ).bound(None, "b", "r", &["User ada"]);
    let mut unknown = world();
    unknown.policies_synced = false;
    assert!(findings(&access, &unknown, now()).is_empty());
    let role = Role::of(&rules(READ));
    let who = [subject("Group system:authenticated", None)];
    let told = access.crossings("payments-prod", &who, &role, &unknown, now()).unwrap_err();
    assert_eq!(told.reason, Reason::PolicyUnknown);
}

#[test]
fn what_is_recorded_is_replaced_and_forgotten() {
    let name = RbacName::new(None, "b");
    let mut access = Access::default().with_role(None, "r", READ).with_role(None, "q", "get pods").bound(
        None,
        "b",
        "r",
        &["User ada"],
    );
    let before = access.changes();
    access = access.with_role(None, "r", READ).bound(None, "b", "r", &["User ada"]);
    assert_eq!(access.changes(), before, "nothing changed");
    access = access.bound(None, "b", "q", &["User ada"]);
    assert!(access.changes() > before && findings(&access, &world(), now()).is_empty());
    assert_eq!(access.bindings_of(&RbacName::new(None, "r")).count(), 0);
    access = access.with_role(None, "q", READ);
    assert_eq!(findings(&access, &world(), now()).len(), 3);
    access.remove_role(&RbacName::new(None, "q"));
    assert!(findings(&access, &world(), now()).is_empty() && access.role(&RbacName::new(None, "q")).is_none());
    access.remove_binding(&name);
    assert_eq!(access.bindings(true).count() + access.by_role.len(), 0);
}

#[test]
fn rules_go_on_to_aggregated_roles() {
    let labels = |key: &str| [(key.to_owned(), "true".to_owned())].into();
    let takes = |key: &str| LabelSelector { match_labels: Some(labels(key)), ..LabelSelector::default() };
    let mut access = Access::default();
    let viewer = Aggregation { labels: labels("to-edit"), selectors: vec![takes("to-view")] };
    access.put_cluster_role(RbacName::new(None, "view"), Role::of(&rules("get pods")), viewer);
    let editor = Aggregation { labels: [].into(), selectors: vec![takes("to-edit")] };
    access.put_cluster_role(RbacName::new(None, "edit"), Role::of(&rules("get secrets")), editor);
    let gains = |name: &str, rules_of: &str, aggregation: &Aggregation| {
        let gains = access.consequences(name, &Role::default(), &Role::of(&rules(rules_of)), aggregation, now());
        gains.iter().map(|(name, role)| format!("{}: {}", name.name, role.powers)).collect::<Vec<_>>()
    };
    let to_view = Aggregation { labels: labels("to-view"), selectors: vec![] };
    assert_eq!(
        gains("more", "get,list secrets", &to_view),
        ["more: get, list secrets", "view: get, list secrets", "edit: list secrets"]
    );
    assert_eq!(gains("more", "get configmaps", &to_view), Vec::<String>::new());
    assert_eq!(gains("more", "get secrets", &Aggregation::default()), ["more: get secrets"]);
    // A new one that takes what is there.
    let taker = Aggregation { labels: [].into(), selectors: vec![LabelSelector::default()] };
    assert_eq!(gains("all", "", &taker), ["all: get secrets"]);
    access.put_cluster_role(RbacName::new(None, "reader"), Role::of(&rules("list secrets")), to_view);
    let gains = access.consequences("all", &Role::default(), &Role::default(), &taker, now());
    assert_eq!(gains[0].1.powers.to_string(), "get, list secrets");
}

fn any_rule() -> impl Strategy<Value = PolicyRule> {
    let some =
        |words: &'static [&'static str], least: usize| prop::collection::vec(prop::sample::select(words), least..3);
    let verbs = some(&["*", "get", "list", "patch", "create", "bind", "escalate", "impersonate", "approve", "x"], 1);
    let resources = some(
        &[
            "*",
            "secrets",
            "pods",
            "pods/exec",
            "*/exec",
            "roles",
            "clusterroles",
            "users",
            "nodes/proxy",
            "deployments",
        ],
        1,
    );
    let groups = some(&["*", "", "apps", "rbac.authorization.k8s.io"], 1);
    let names = some(&["orders", "other", "edit", "r", ""], 0);
    (verbs, resources, groups, names).prop_map(|(verbs, resources, groups, names)| {
        let owned = |words: Vec<&str>| words.into_iter().map(str::to_owned).collect::<Vec<_>>();
        PolicyRule {
            verbs: owned(verbs),
            resources: Some(owned(resources)),
            api_groups: Some(owned(groups)),
            resource_names: Some(owned(names)),
            ..PolicyRule::default()
        }
    })
}

proptest! {
    /// Whatever is bound to whomever: adding a rule to a role, or a subject to a binding, never takes a finding away, and
    /// what is beyond a role is what was added.
    #[test]
    fn more_rules_and_subjects_never_hide_a_finding(
        before in prop::collection::vec(any_rule(), 0..4),
        more in any_rule(),
        whom in prop::collection::vec(prop::sample::select(&[
            "User ada", "Group system:authenticated", "ServiceAccount billing-prod:thief", "ServiceAccount payments-prod:orders",
            "ServiceAccount kube-system:x", "ServiceAccount scoped-secrets:scoped-secrets", "Group system:serviceaccounts:plain",
        ][..]), 0..4),
        other in prop::sample::select(&["Group system:serviceaccounts", "User system:anonymous"][..]),
        cluster in any::<bool>(),
    ) {
        let world = world();
        let namespace = (!cluster).then_some("payments-prod");
        let found = |rules: &[PolicyRule], whom: &[&str]| {
            let mut access = Access::default().with_role(None, "edit", "get secrets");
            access.put_cluster_role(RbacName::new(None, "r"), Role::of(rules), Aggregation::default());
            told(&findings(&access.bound(namespace, "b", "r", whom), &world, now()))
        };
        let few = found(&before, &whom);
        let all: Vec<PolicyRule> = before.iter().cloned().chain([more.clone()]).collect();
        let with_rule = found(&all, &whom);
        prop_assert!(few.iter().all(|f| with_rule.contains(f)), "{few:?} {with_rule:?}");
        let with_subject = found(&before, &whom.iter().copied().chain([other]).collect::<Vec<_>>());
        prop_assert!(few.iter().all(|f| with_subject.contains(f)), "{few:?} {with_subject:?}");
        let (old, new) = (Role::of(&before), Role::of(&all));
        prop_assert!(old.beyond(&new).is_powerless());
        prop_assert_eq!(new.beyond(&new), Role::default());
    }
}
