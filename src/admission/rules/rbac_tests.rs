use super::*;
use crate::segmentation::access::aggregation::Aggregation;
use crate::segmentation::fixtures::{TENANTS, now, policy};
use crate::segmentation::world::World;
use k8s_openapi::api::rbac::v1::PolicyRule;
use serde_json::{Value, json};

const GROUP: &str = "rbac.authorization.k8s.io";

fn index(more: &str) -> Index {
    let mut index = Index::default();
    index.world = World::with_tenants().under([policy("tenants", &format!("{TENANTS}{more}"))]);
    index
}

fn rule(verbs: &str, resource: &str) -> Value {
    json!({"apiGroups": [""], "resources": [resource], "verbs": verbs.split(',').collect::<Vec<_>>()})
}

fn powers_of(rules: &[Value]) -> Role {
    let rules: Vec<PolicyRule> = rules.iter().map(|rule| serde_json::from_value(rule.clone()).unwrap()).collect();
    Role::of(&rules)
}

fn put_role(index: &mut Index, namespace: Option<&str>, name: &str, rules: &[Value]) {
    let name = RbacName::new(namespace, name);
    match namespace {
        Some(_) => index.access.put_role(name, powers_of(rules)),
        None => index.access.put_cluster_role(name, powers_of(rules), Aggregation::default()),
    }
}

fn bind(index: &mut Index, namespace: Option<&str>, name: &str, binding: &Value) {
    let bound: Bound = serde_json::from_value(binding.clone()).unwrap();
    index.access.put_binding(RbacName::new(namespace, name), bound.binding(namespace));
}

fn role_object(kind: &str, name: &str, rules: &[Value]) -> Value {
    json!({"apiVersion": format!("{GROUP}/v1"), "kind": kind, "metadata": {"name": name}, "rules": rules})
}

/// `kind name`, of a ServiceAccount `namespace:name`; the role is a ClusterRole, or with a dot in front a Role.
fn binding(kind: &str, role: &str, subjects: &[&str]) -> Value {
    let subject = |text: &&str| {
        let (kind, name) = text.split_once(' ').unwrap();
        match name.split_once(':').filter(|_| kind == "ServiceAccount") {
            Some((namespace, name)) => json!({"kind": kind, "name": name, "namespace": namespace}),
            None => json!({"kind": kind, "name": name, "apiGroup": GROUP}),
        }
    };
    let (role_kind, role) = role.strip_prefix('.').map_or(("ClusterRole", role), |own| ("Role", own));
    json!({
        "apiVersion": format!("{GROUP}/v1"), "kind": kind, "metadata": {"name": "b"},
        "roleRef": {"apiGroup": GROUP, "kind": role_kind, "name": role},
        "subjects": subjects.iter().map(subject).collect::<Vec<_>>()
    })
}

fn request(namespace: &str, object: &Value, old: Option<&Value>) -> Request {
    let review = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "u", "operation": if old.is_some() { "UPDATE" } else { "CREATE" }, "name": object["metadata"]["name"],
            "namespace": namespace, "dryRun": false, "userInfo": {"username": "ada"},
            "kind": {"group": GROUP, "version": "v1", "kind": object["kind"]},
            "resource": {"group": GROUP, "version": "v1", "resource": "x"}, "object": object, "oldObject": old,
        }
    });
    crate::admission::review::decode(review.to_string().as_bytes()).unwrap()
}

/// The refusal, `` if it is let through without a word, or `warned: ...`.
fn said(index: &Index, namespace: &str, object: &Value, old: Option<&Value>) -> String {
    let answer = judge(&request(namespace, object, old), index, now());
    match (answer.allowed, answer.warnings) {
        (false, _) => answer.result.message,
        (true, Some(warnings)) => format!("warned: {}", warnings.join(" ")),
        (true, None) => String::new(),
    }
}

const STRANGER: &str = "ServiceAccount billing-prod:thief";

#[test]
fn a_role_binding_across_a_boundary_is_refused() {
    let mut index = index("");
    put_role(&mut index, None, "edit", &[rule("get,list", "secrets"), rule("create", "pods/exec")]);
    put_role(&mut index, None, "view", &[rule("get", "pods")]);
    put_role(&mut index, Some("payments-prod"), "reader", &[rule("get", "secrets")]);
    let said =
        |namespace: &str, role: &str, whom: &[&str]| said(&index, namespace, &binding("RoleBinding", role, whom), None);
    assert_eq!(
        said("payments-prod", "edit", &[STRANGER]),
        "rule Rbac, CrossSegmentAccess: RoleBinding payments-prod/b: ClusterRole \"edit\" gives get, list secrets; create pods/exec to \
         ServiceAccount billing-prod/thief, which is not, or not only, of this namespace's segment: bind ServiceAccounts of this \
         segment, or a role without these; whoever has to read across segments, the platform team lists in rules.readers of the policy"
    );
    for who in [
        "Group system:authenticated",
        "User system:anonymous",
        "Group system:serviceaccounts",
        "ServiceAccount plain:x",
    ] {
        assert!(said("payments-prod", ".reader", &["User ada", who]).contains("CrossSegmentAccess"), "{who}");
    }
    for (namespace, role, whom) in [
        ("payments-prod", "view", STRANGER),
        ("payments-prod", "edit", "User ada"),
        ("payments-prod", "edit", "Group developers"),
        ("payments-prod", "edit", "ServiceAccount payments-prod:orders"),
        ("payments-prod", "edit", "ServiceAccount payments-prod-2:orders"),
        ("payments-prod", "edit", "ServiceAccount kube-system:x"),
        ("plain", "edit", STRANGER),
        ("plain", "edit", "Group system:authenticated"),
        ("payments-prod", "not-there", "User ada"),
    ] {
        assert_eq!(said(namespace, role, &[whom]), "", "{namespace} {role} {whom}");
    }
    let unknown = said("payments-prod", ".not-there", &[STRANGER]);
    assert!(unknown.contains("rule Rbac, RoleUnknown: ") && unknown.contains("create the role first"), "{unknown}");
}

#[test]
fn only_what_is_new_is_judged() {
    let mut index = index("");
    put_role(&mut index, None, "edit", &[rule("get", "secrets")]);
    let (old, more) =
        (binding("RoleBinding", "edit", &[STRANGER]), binding("RoleBinding", "edit", &[STRANGER, "User ada"]));
    assert_eq!(said(&index, "payments-prod", &more, Some(&old)), "");
    let other = binding("RoleBinding", "edit", &[STRANGER, "ServiceAccount billing-prod:other"]);
    let refusal = said(&index, "payments-prod", &other, Some(&old));
    assert!(refusal.contains("billing-prod/other") && !refusal.contains("thief"), "{refusal}");
    // A role: what it had before passes.
    bind(&mut index, Some("payments-prod"), "b", &binding("RoleBinding", ".r", &[STRANGER]));
    let object = |rules: &[Value]| role_object("Role", "r", rules);
    let (none, read, list) = (object(&[]), object(&[rule("get", "secrets")]), object(&[rule("get,list", "secrets")]));
    assert_eq!(said(&index, "payments-prod", &none, None), "");
    assert_eq!(said(&index, "payments-prod", &read, Some(&read)), "");
    assert_eq!(said(&index, "payments-prod", &read, Some(&list)), "");
    assert_eq!(said(&index, "payments-staging", &read, None), "", "another namespace's role of that name");
    assert_eq!(
        said(&index, "payments-prod", &list, Some(&read)),
        "rule Rbac, CrossSegmentAccess: Role payments-prod/r: this would give list secrets to somebody of another segment, by the \
         RoleBinding \"b\": take them out of that binding first, or leave these powers out"
    );
    assert!(said(&index, "payments-prod", &read, None).contains("CrossSegmentAccess"));
}

#[test]
fn subjects_that_are_not_looked_at_are_judged_as_everybody() {
    let mut index = index("");
    put_role(&mut index, None, "edit", &[rule("get", "secrets")]);
    let accounts = |count: usize| (0..count).map(|i| format!("ServiceAccount payments-prod:a{i}")).collect::<Vec<_>>();
    let bound = |accounts: &[String]| {
        let names: Vec<&str> = accounts.iter().map(String::as_str).collect();
        binding("RoleBinding", "edit", &names)
    };
    let (few, many) = (bound(&accounts(64)), bound(&accounts(70)));
    assert_eq!(said(&index, "payments-prod", &few, None), "");
    let refusal = said(&index, "payments-prod", &many, None);
    assert!(
        refusal.contains("gives get secrets to more subjects than are looked at (64 of a kind; divide"),
        "{refusal}"
    );
    // As it was; and with another in the place of one that was not looked at.
    assert_eq!(said(&index, "payments-prod", &many, Some(&many)), "");
    let mut other = accounts(69);
    other.push(STRANGER.to_owned());
    assert!(said(&index, "payments-prod", &bound(&other), Some(&many)).contains("CrossSegmentAccess"));
}

#[test]
fn large_objects_are_compared_in_a_moment() {
    let names: Vec<String> = (0..100_000).map(|i| format!("ServiceAccount billing-prod:a{i}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let many = binding("RoleBinding", "edit", &names);
    let asked = Asked::of(&request("payments-prod", &many, Some(&many)));
    assert!(matches!(asked, Asked::RoleBinding(binding, _) if binding.subjects.is_empty()));
    let named = json!([{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"], "resourceNames": names}]);
    let role = json!({"kind": "Role", "metadata": {"name": "r"}, "rules": named});
    let asked = Asked::of(&request("payments-prod", &role, Some(&role)));
    assert!(matches!(asked, Asked::Role { gained, .. } if gained.is_powerless()));
}

#[test]
fn a_stranger_across_the_cluster_is_refused() {
    let mut index = index("rules: {readers: [{kind: Group, name: backup-operators}]}\n");
    put_role(&mut index, None, "r", &[rule("get", "secrets")]);
    put_role(&mut index, None, "exec", &[rule("create", "pods/exec")]);
    let say =
        |index: &Index, role: &str, whom: &str| said(index, "", &binding("ClusterRoleBinding", role, &[whom]), None);
    let refusal = say(&index, "r", "User ada");
    assert!(refusal.starts_with("rule Rbac, ClusterWideAccess: ClusterRoleBinding b: ClusterRole \"r\" gives get secrets of every namespace to User \"ada\""), "{refusal}");
    for whom in ["ServiceAccount plain:x", "ServiceAccount payments-prod:orders", "Group system:authenticated"] {
        assert!(say(&index, "r", whom).contains("ClusterWideAccess"), "{whom}");
    }
    for (role, whom) in [
        ("r", "Group backup-operators"),
        ("r", "Group system:masters"),
        ("r", "ServiceAccount kube-system:x"),
        ("r", "ServiceAccount scoped-secrets:scoped-secrets"),
        // Found by the scan instead.
        ("exec", "User ada"),
        ("not-there", "User ada"),
    ] {
        assert_eq!(say(&index, role, whom), "", "{role} {whom}");
    }
    // Nobody is governed.
    index.world.policies.clear();
    index.set_policies_synced(true);
    assert_eq!(say(&index, "r", "User ada"), "");
}

/// An upgrade that gives it another name: one for one, of its own namespace, in its own bindings, and no more than it needs.
#[test]
fn the_operators_account_may_get_another_name() {
    let mut index = index("");
    let names = ["scoped-secrets", "scoped-secrets-restart"];
    for name in names {
        let resource = if name == names[0] { rule("get,list,watch", "secrets") } else { rule("create", "pods/exec") };
        put_role(&mut index, None, name, std::slice::from_ref(&resource));
        put_role(&mut index, Some("payments-prod"), name, &[resource]);
    }
    let (own, keeper) = ("ServiceAccount scoped-secrets:scoped-secrets", "ServiceAccount scoped-secrets:keeper");
    let given = |index: &Index, kind: &str, name: &str, role: &str, subjects: &[&str], before: &[&str]| {
        let [new, old] = [subjects, before].map(|subjects| {
            let mut binding = binding(kind, role, subjects);
            binding["metadata"]["name"] = name.into();
            binding
        });
        said(index, if kind == "RoleBinding" { "payments-prod" } else { "" }, &new, Some(&old))
    };
    // It has none in a tenant's namespace, unless it was given a list of them.
    let there = |index: &Index| given(index, "RoleBinding", names[0], ".scoped-secrets", &[keeper], &[own]);
    assert!(there(&index).contains("CrossSegmentAccess"));
    index.access.has_roles_there = true;
    assert_eq!(there(&index), "");
    let given =
        |kind, name, role, subjects: &[&str], before: &[&str]| given(&index, kind, name, role, subjects, before);
    assert_eq!(given("ClusterRoleBinding", names[0], names[0], &[keeper], &[own]), "");
    for (subjects, before) in [
        (&["ServiceAccount plain:keeper"][..], &[own][..]),
        (&[keeper, own], &[own]),
        (&[keeper, "ServiceAccount scoped-secrets:other"], &[own]),
        (&[keeper], &["User ada"]),
    ] {
        let refusal = given("ClusterRoleBinding", names[0], names[0], subjects, before);
        assert!(refusal.contains("ClusterWideAccess"), "{subjects:?}: {refusal}");
    }
    // Of another's binding, and of what it does not need.
    assert!(given("ClusterRoleBinding", "another", names[0], &[keeper], &[own]).contains("ClusterWideAccess"));
    assert!(
        given("RoleBinding", names[1], ".scoped-secrets-restart", &[keeper], &[own]).contains("CrossSegmentAccess")
    );
}

#[test]
fn a_cluster_role_that_gains_powers_is_judged_by_its_bindings() {
    let mut index = index("");
    put_role(&mut index, None, "r", &[]);
    bind(&mut index, Some("payments-prod"), "b", &binding("RoleBinding", "r", &[STRANGER]));
    let (before, after) =
        (role_object("ClusterRole", "r", &[]), role_object("ClusterRole", "r", &[rule("create", "pods")]));
    let refusal = said(&index, "", &after, Some(&before));
    assert!(
        refusal.contains("rule Rbac, CrossSegmentAccess: ClusterRole r: this would give create pods to a subject who"),
        "{refusal}"
    );
    for tenant in ["payments", "billing", "thief"] {
        assert!(!refusal.contains(tenant), "{refusal}");
    }
    // The control plane writes what it aggregates.
    let mut aggregated = request("", &after, Some(&before));
    aggregated.user_info.username = Some(AGGREGATOR.to_owned());
    assert!(judge(&aggregated, &index, now()).allowed);
    // By way of an aggregated role.
    let takes = json!({"clusterRoleSelectors": [{"matchLabels": {"to": "r"}}]});
    let aggregation = Aggregation::of(None, Some(&serde_json::from_value(takes).unwrap()));
    index.access.put_cluster_role(RbacName::new(None, "r"), Role::default(), aggregation);
    let mut part = role_object("ClusterRole", "part", &[rule("get", "secrets")]);
    assert_eq!(said(&index, "", &part, None), "");
    part["metadata"]["labels"] = json!({"to": "r"});
    assert!(said(&index, "", &part, None).contains("CrossSegmentAccess"));
    // Across the cluster.
    for name in ["wide", "again"] {
        bind(&mut index, None, name, &binding("ClusterRoleBinding", "r", &["User ada"]));
    }
    let refusal = said(&index, "", &part, None);
    assert!(refusal.contains("rule Rbac, ClusterWideAccess: "), "{refusal}");
    assert!(refusal.contains(" to 2 subjects who would have it across the cluster or across segments, "), "{refusal}");
}

/// A write that passes, and that no watch has shown yet.
fn let_through(index: &mut Index, namespace: &str, object: &Value, before: Option<&Value>) {
    let asked = request(namespace, object, before);
    assert!(judge(&asked, index, now()).allowed, "{object:?}");
    let (name, coming) = coming(&asked, &Asked::of(&asked)).unwrap();
    index.access.reviewed(name, coming, now());
}

/// A ClusterRole that takes the rules of those with this label.
fn takes(what: &str) -> Value {
    let mut role = role_object("ClusterRole", &format!("takes-{what}"), &[]);
    role["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": {"to": what}}]});
    role
}

/// One with this label.
fn gives(what: &str, rules: &[Value]) -> Value {
    let mut role = role_object("ClusterRole", &format!("gives-{what}"), rules);
    role["metadata"]["labels"] = json!({"to": what});
    role
}

/// The control plane writes the rules of an aggregated role when it comes to it, which may be after a binding.
#[test]
fn an_aggregated_role_is_judged_by_what_it_will_have() {
    let reads = || gives("a", &[rule("get", "secrets")]);
    // By way of another, which takes them from a third.
    let mut middle = takes("a");
    middle["metadata"]["labels"] = json!({"to": "b"});
    let binds = json!({"apiGroups": [GROUP], "resources": ["clusterroles"], "verbs": ["bind"], "resourceNames": ["r"]});
    for (roles, bound) in [
        (vec![reads(), takes("a")], "takes-a"),
        (vec![takes("a"), reads()], "takes-a"),
        (vec![reads(), middle, takes("b")], "takes-b"),
        (
            vec![
                role_object("ClusterRole", "r", &[rule("get", "secrets")]),
                gives("a", std::slice::from_ref(&binds)),
                takes("a"),
            ],
            "takes-a",
        ),
    ] {
        let bindings =
            [("payments-prod", "RoleBinding", "CrossSegmentAccess"), ("", "ClusterRoleBinding", "ClusterWideAccess")];
        for watched in [true, false] {
            let mut index = index("");
            for role in &roles {
                let asked = request("", role, None);
                assert!(judge(&asked, &index, now()).allowed, "{role}");
                let (name, coming) = coming(&asked, &Asked::of(&asked)).unwrap();
                match coming {
                    Coming::Role(role, aggregation) if watched => {
                        index.access.put_cluster_role(name, role, aggregation);
                    }
                    coming => index.access.reviewed(name, coming, now()),
                }
            }
            for (namespace, kind, reason) in &bindings[..if roles[0]["metadata"]["name"] == "r" { 1 } else { 2 }] {
                let answer = said(&index, namespace, &binding(kind, bound, &[STRANGER]), None);
                assert!(answer.contains(reason), "{bound}, {watched}: {answer}");
            }
        }
    }
    // Or the binding comes first, and what makes it take something a moment after what it takes.
    let mut index = index("");
    put_role(&mut index, None, "takes-a", &[]);
    bind(&mut index, Some("payments-prod"), "b", &binding("RoleBinding", "takes-a", &[STRANGER]));
    let_through(&mut index, "", &reads(), None);
    let refusal = said(&index, "", &takes("a"), Some(&role_object("ClusterRole", "takes-a", &[])));
    assert!(refusal.contains("CrossSegmentAccess"), "{refusal}");
}

/// What is let through in the midst of it counts as well, and by whatever way.
#[test]
fn aggregation_is_judged_before_the_control_plane_has_written_it() {
    let known = |roles: &[&Value]| {
        let mut index = index("");
        for role in roles {
            let asked = request("", role, None);
            let Some((name, Coming::Role(role, aggregation))) = coming(&asked, &Asked::of(&asked)) else {
                panic!("{role}")
            };
            index.access.put_cluster_role(name, role, aggregation);
        }
        index
    };
    let refused = |index: &Index, role: &Value, before: Option<&Value>| {
        let refusal = said(index, "", role, before);
        assert!(refusal.contains("CrossSegmentAccess"), "{refusal}");
    };
    // One that takes is to give on, a moment before there is something to take.
    let mut index = known(&[&takes("a"), &takes("b")]);
    bind(&mut index, Some("payments-prod"), "b", &binding("RoleBinding", "takes-b", &[STRANGER]));
    let mut middle = takes("a");
    middle["metadata"]["labels"] = json!({"to": "b"});
    let_through(&mut index, "", &middle, Some(&takes("a")));
    refused(&index, &gives("a", &[rule("get", "secrets")]), Some(&gives("a", &[])));
    // What somebody will be let bind comes after he was bound.
    let binds = json!({"apiGroups": [GROUP], "resources": ["clusterroles"], "verbs": ["bind"], "resourceNames": ["r"]});
    let mut index = known(&[&gives("a", &[binds]), &takes("a")]);
    let to_stranger = binding("RoleBinding", "takes-a", &[STRANGER]);
    assert_eq!(said(&index, "payments-prod", &to_stranger, None), "", "there is nothing to bind");
    bind(&mut index, Some("payments-prod"), "b", &to_stranger);
    refused(&index, &role_object("ClusterRole", "r", &[rule("get", "secrets")]), None);
}

/// Who may bind a role by its name is held against what that gains later, whether it was there or not.
#[test]
fn a_role_that_a_stranger_may_bind_gains_nothing() {
    let here = Some("payments-prod");
    let binds = |resource: &str, name: &str| json!({"apiGroups": [GROUP], "resources": [resource], "verbs": ["bind"], "resourceNames": [name]});
    let mut all = index("");
    put_role(&mut all, here, "binder", &[binds("roles", "later"), binds("clusterroles", "wide")]);
    put_role(&mut all, here, "binders-binder", &[binds("roles", "binder")]);
    put_role(&mut all, None, "reads", &[rule("get", "secrets")]);
    bind(&mut all, here, "b", &binding("RoleBinding", ".binder", &[STRANGER, "ServiceAccount payments-prod:own"]));
    let harmless = [rule("get", "configmaps")];
    for (kind, namespace, name, refused) in [
        ("Role", "payments-prod", "later", true),
        ("Role", "payments-prod", "other", false),
        ("Role", "payments-staging", "later", false),
        ("ClusterRole", "", "wide", true),
        ("ClusterRole", "", "later", false),
    ] {
        let reads = role_object(kind, name, &[rule("get", "secrets")]);
        for old in [None, Some(role_object(kind, name, &harmless))] {
            let answer = said(&all, namespace, &reads, old.as_ref());
            assert_eq!(answer.contains("CrossSegmentAccess"), refused, "{kind} {name} {old:?}: {answer}");
            assert_eq!(answer.contains("bind "), refused, "{answer}");
        }
        assert_eq!(said(&all, namespace, &role_object(kind, name, &harmless), None), "");
    }
    // Through one that lets that one be bound; and who is of this segment may have all of it.
    for (whom, refused) in [(STRANGER, true), ("ServiceAccount payments-prod:own", false)] {
        bind(&mut all, here, "b", &binding("RoleBinding", ".binders-binder", &[whom]));
        let answer = said(&all, "payments-prod", &role_object("Role", "later", &[rule("get", "secrets")]), None);
        assert_eq!(answer.contains("CrossSegmentAccess"), refused, "{whom}: {answer}");
    }
    // What counts in the whole cluster alone is nothing by a RoleBinding.
    bind(&mut all, here, "b", &binding("RoleBinding", ".binder", &[STRANGER]));
    let reads = rule("get", "secrets");
    let everywhere = [rule("get", "nodes/proxy"), rule("impersonate", "users")];
    for (kind, own, namespace, name) in [("Role", here, "payments-prod", "later"), ("ClusterRole", None, "", "wide")] {
        put_role(&mut all, own, name, &everywhere);
        let more = role_object(kind, name, &[&everywhere[..], std::slice::from_ref(&reads)].concat());
        let answer = said(&all, namespace, &more, Some(&role_object(kind, name, &everywhere)));
        assert!(answer.contains("CrossSegmentAccess"), "{name}: {answer}");
    }
    // What gave something before was judged by that.
    bind(&mut all, here, "b", &binding("RoleBinding", ".binder", &[STRANGER]));
    put_role(&mut all, here, "later", &[rule("list", "secrets")]);
    let old = role_object("Role", "later", &[rule("list", "secrets")]);
    let more = role_object("Role", "later", &[rule("list", "secrets"), rule("get", "secrets")]);
    assert_eq!(said(&all, "payments-prod", &more, Some(&old)), "");
    // And is forgotten with its role.
    all.access.remove_role(&RbacName::new(here, "later"));
    all.access.remove_role(&RbacName::new(here, "binder"));
    assert_eq!(said(&all, "payments-prod", &more, None), "");
}

#[test]
fn the_answer_follows_the_mode_of_the_policies() {
    for (more, answer) in [
        ("mode: Enforce\n", "rule Rbac"),
        ("mode: Warn\n", "warned: rule Rbac"),
        ("mode: Audit\n", ""),
        ("reportOnly: [Rbac]\n", ""),
        ("reportOnly: [Consumers]\n", "rule Rbac"),
    ] {
        let mut index = index(more);
        put_role(&mut index, None, "r", &[rule("get", "secrets")]);
        for (namespace, kind) in [("payments-prod", "RoleBinding"), ("", "ClusterRoleBinding")] {
            let said = said(&index, namespace, &binding(kind, "r", &[STRANGER]), None);
            assert!(said.starts_with(answer) && said.is_empty() == answer.is_empty(), "{more} {kind}: {said}");
        }
    }
    let mut unknown = index("mode: Audit\n");
    put_role(&mut unknown, None, "r", &[rule("get", "secrets")]);
    unknown.set_policies_synced(false);
    for (namespace, kind) in [("payments-prod", "RoleBinding"), ("", "ClusterRoleBinding")] {
        let said = said(&unknown, namespace, &binding(kind, "r", &[STRANGER]), None);
        assert!(said.contains("rule Rbac, PolicyUnknown: "), "{said}");
    }
}

/// Each is asked for after the answer to the one before, and none was seen by a watch.
#[test]
fn what_was_let_through_a_moment_ago_counts() {
    let bind = json!({"apiGroups": [GROUP], "resources": ["roles"], "verbs": ["bind"], "resourceNames": ["later"]});
    let bound = |role: &str| ("payments-prod", binding("RoleBinding", role, &[STRANGER]));
    let harmless = || role_object("Role", "later", &[rule("get", "configmaps")]);
    for steps in [
        vec![("payments-prod", harmless()), bound(".later")],
        vec![("payments-prod", role_object("Role", "binder", &[bind])), bound(".binder")],
    ] {
        let mut index = index("");
        for (namespace, object) in &steps {
            let_through(&mut index, namespace, object, None);
        }
        let reads = role_object("Role", "later", &[rule("get", "secrets")]);
        let answer = said(&index, "payments-prod", &reads, Some(&harmless()));
        assert!(answer.contains("CrossSegmentAccess"), "{answer}");
    }
}

/// Likewise where what was let through is a role that somebody may bind, or the other half of what two bindings give.
#[test]
fn what_was_let_through_a_moment_ago_counts_for_a_binding() {
    for (kind, namespace) in [("ClusterRole", ""), ("Role", "payments-prod")] {
        let mut index = index("");
        let resource = format!("{}s", kind.to_lowercase());
        let bind =
            json!({"apiGroups": [GROUP], "resources": [resource], "verbs": ["bind"], "resourceNames": ["later"]});
        put_role(&mut index, None, "binder", &[bind]);
        let binding = binding("RoleBinding", "binder", &[STRANGER]);
        assert_eq!(said(&index, "payments-prod", &binding, None), "", "there is nothing to bind");
        let_through(&mut index, namespace, &role_object(kind, "later", &[rule("get", "secrets")]), None);
        let answer = said(&index, "payments-prod", &binding, None);
        assert!(answer.contains("CrossSegmentAccess: ") && answer.contains("bind"), "{kind}: {answer}");
    }
    let mut index = index("");
    let_through(&mut index, "", &role_object("ClusterRole", "maker", &[rule("create", "secrets")]), None);
    let mut names = rule("get", "secrets");
    names["resourceNames"] = json!(["token"]);
    put_role(&mut index, None, "names", &[names]);
    let_through(&mut index, "", &binding("ClusterRoleBinding", "names", &[STRANGER]), None);
    let answer = said(&index, "payments-prod", &binding("RoleBinding", "maker", &[STRANGER]), None);
    assert!(answer.contains("CrossSegmentAccess") && answer.contains("together with"), "{answer}");
}

#[test]
fn a_role_that_was_let_through_is_known_at_once() {
    let mut index = index("");
    let role = request("", &role_object("ClusterRole", "r", &[rule("get", "secrets")]), None);
    let (name, powers) = coming(&role, &Asked::of(&role)).unwrap();
    index.access.reviewed(name, powers, now());
    for (namespace, kind) in [("payments-prod", "RoleBinding"), ("", "ClusterRoleBinding")] {
        assert!(said(&index, namespace, &binding(kind, "r", &[STRANGER]), None).contains("Access: "), "{kind}");
    }
    let mut dry = role;
    dry.dry_run = true;
    let bound = request("payments-prod", &binding("RoleBinding", "r", &[]), None);
    assert!([dry, bound].iter().all(|request| coming(request, &Asked::of(request)).is_none()));
}

#[test]
fn what_two_bindings_give_together() {
    let world = || {
        let mut index = index("");
        put_role(&mut index, None, "maker", &[rule("create", "secrets")]);
        let mut names = rule("get", "secrets");
        names["resourceNames"] = json!(["token"]);
        put_role(&mut index, None, "names", &[names]);
        index
    };
    let (makes, reads) =
        (binding("RoleBinding", "maker", &[STRANGER]), binding("ClusterRoleBinding", "names", &[STRANGER]));
    let index = world();
    assert_eq!(said(&index, "payments-prod", &makes, None), "", "each alone");
    assert_eq!(said(&index, "", &reads, None), "");
    // Whichever is the second.
    let mut first = world();
    bind(&mut first, None, "other", &reads);
    let refused = said(&first, "payments-prod", &makes, None);
    assert!(
        refused.contains("CrossSegmentAccess") && refused.contains("\"maker\" gives get secrets, together with"),
        "{refused}"
    );
    assert_eq!(said(&first, "plain", &makes, None), "");
    let mut first = world();
    bind(&mut first, Some("payments-prod"), "other", &makes);
    let refused = said(&first, "", &reads, None);
    assert!(
        refused.contains("ClusterWideAccess") && refused.contains("\"names\" gives get secrets, together with"),
        "{refused}"
    );
    let another = binding("ClusterRoleBinding", "names", &["ServiceAccount billing-prod:other"]);
    assert_eq!(said(&first, "", &another, None), "");
    // Or a role that gains the other half.
    put_role(&mut first, Some("payments-prod"), "small", &[]);
    put_role(&mut first, None, "small", &[]);
    bind(&mut first, Some("payments-prod"), "third", &binding("RoleBinding", ".small", &[STRANGER]));
    bind(&mut first, None, "fourth", &binding("ClusterRoleBinding", "small", &[STRANGER]));
    let old = role_object("ClusterRole", "small", &[]);
    let new = role_object(
        "ClusterRole",
        "small",
        &[json!({
            "apiGroups": [""], "resources": ["secrets"], "verbs": ["get"], "resourceNames": ["token"]
        })],
    );
    assert!(said(&first, "", &new, Some(&old)).contains("ClusterWideAccess"));
    bind(&mut first, None, "fifth", &reads);
    let old = role_object("Role", "small", &[]);
    let new = role_object("Role", "small", &[rule("create", "secrets")]);
    assert!(said(&first, "payments-prod", &new, Some(&old)).contains("CrossSegmentAccess"));
}
