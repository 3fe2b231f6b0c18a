//! All is well, and every verb says so.

use super::*;
use scoped_secrets::cli::completion::ASKED_AS;
use std::path::Path;

#[test]
fn a_healthy_installation_is_clean() {
    let scene = scene();
    let cluster = &scene.cluster;
    let check = plugin(cluster, &["check", "--wait", "--timeout", "60s"]);
    check.says(
        0,
        &[
            "kinds, of version",
            "leads",
            "entries are as the operator writes them",
            "bound and unweakened",
            "the webhook answers",
            "the API server keeps the rules",
            "clean",
        ],
    );
    let json = plugin(cluster, &["check", "-A", "-o", "json"]).says(0, &[]).json();
    assert_eq!((&json["findings"], &json["summary"]["errors"]), (&json!([]), &json!(0)));
    is_sarif(&plugin(cluster, &["check", "-o", "sarif"]));
    plugin(cluster, &["check", "--pre"]).says(0, &["Kubernetes v1.", "you may install", "installed already"]);

    let why = plugin(cluster, &["why", "orders", "-n", "payments-prod"]);
    let told = why
        .says(0, &["allowed", "payments/prod", "${label:tenant}/${label:environment}/**", "at version", "Ready True"]);
    assert!(told.out.contains("nothing: it is as it should be"), "{}", told.out);
    let json =
        plugin(cluster, &["why", "scopedsecret/orders", "-n", "payments-prod", "-o", "json"]).says(0, &[]).json();
    assert_eq!(json["verdict"]["answer"], "allowed");
    assert_eq!(json["remote"][0]["key"], "payments/prod/db");
    is_sarif(&plugin(cluster, &["why", "orders", "-n", "payments-prod", "-o", "sarif"]));

    let new = plugin(cluster, &["why", "--key", "payments/prod/new", "-n", "payments-prod"]);
    new.says(0, &["allowed", "store aws", "claim it"]);
    let own = plugin(cluster, &["why", "--key", "payments/prod/db", "-n", "payments-prod", "--store", "aws"]);
    own.says(0, &["claimed by", "ScopedSecret payments-prod/orders"]);
    let foreign = plugin(cluster, &["why", "--key", "payments/prod/db", "-n", "billing-prod"]);
    foreign
        .says(1, &["refused", "KeyNotAllowed", "tenant=billing", "billing/prod/**", "docs/reasons/KeyNotAllowed.md"]);
    plugin(cluster, &["why", "gone", "-n", "payments-prod"])
        .says(2, &["ScopedSecret payments-prod/gone: there is none"]);
    plugin(cluster, &["why", "orders"]).says(2, &["there is one of that name in payments-prod: write -n NAMESPACE"]);
    plugin(cluster, &["why", "pod/web", "-n", "payments-prod"]).says(2, &["trace pod/web"]);

    let trace = plugin(cluster, &["trace", "web", "-n", "payments-prod"]);
    trace.says(
        0,
        &[
            "ServiceAccount orders",
            "env V of container web",
            "orders: managed",
            "payments/prod/db",
            "version",
            "tenants:",
        ],
    );
    let json = plugin(cluster, &["trace", "pod/web", "-n", "payments-prod", "-o", "json"]).says(0, &[]).json();
    assert_eq!((&json["secrets"][0]["origin"], &json["secrets"][0]["consumer"]), (&json!("managed"), &json!(true)));
    is_sarif(&plugin(cluster, &["trace", "web", "-n", "payments-prod", "-o", "sarif"]).says(0, &[]));
    plugin(cluster, &["trace", "node/a"]).says(2, &["no pods that can be traced"]);

    let audit = plugin(cluster, &["audit"]);
    audit.says(
        0,
        &[
            "the guarantees hold for 1 ScopedSecret",
            "compared: none stands in two scopes",
            "no role lets anybody at the Secrets of another segment",
            "what names Secrets is a consumer of each that is projected",
            "clean",
        ],
    );
    plugin(cluster, &["audit", "--metadata-only"]).says(0, &["clean"]);
    is_sarif(&plugin(cluster, &["audit", "-o", "sarif"]));

    denials_are_explained(cluster);
    kubectl_finds_it(cluster);
    support::oracle::all_is_well(cluster, &scene.operator);
    what_is_not_enforced_is_told(cluster);
}

/// Whoever tries the rules hears of what they would refuse, or where he does not.
fn what_is_not_enforced_is_told(cluster: &Cluster) {
    let thief = pod("payments-prod", "thief", "thief", "orders").to_string();
    let asked = |more: &[&str]| plugin_with(cluster, &[&["why", "--denied", "-f", "-"], more].concat(), &thief);
    for (mode, code, part) in [("Warn", 1, "with a warning"), ("Audit", 0, "only written down")] {
        let patch = format!(r#"{{"spec": {{"mode": "{mode}"}}}}"#);
        kubectl(cluster, &["patch", "segmentationpolicy", "tenants", "--type=merge", "-p", &patch]);
        eventually("it is said", SOON, || {
            let told = asked(&[]);
            if told.code == Some(code) && told.out.contains(part) { Ok(()) } else { Err(format!("{told:?}")) }
        });
        let json = asked(&["-o", "json"]).says(code, &[]).json();
        assert_eq!(json["verdict"]["answer"], "allowed");
        let warned = &json["others"][0];
        let expected = if mode == "Warn" { (json!("Consumers"), json!("ForeignConsumer")) } else { Default::default() };
        assert_eq!((warned["rule"].clone(), warned["verdict"]["reason"].clone()), expected);
    }
}

/// What kubectl printed, and what was refused, asked again.
fn denials_are_explained(cluster: &Cluster) {
    let stolen = scoped_secret("billing-prod", "stolen", &whole("payments/prod/db"));
    let denial = cluster.apply(&stolen).unwrap_err();
    for input in [&denial, &stolen] {
        let why = plugin_with(cluster, &["why", "--denied", "-f", "-"], input);
        why.says(
            1,
            &["ScopedSecret billing-prod/stolen", "KeyNotAllowed", "docs/reasons/KeyNotAllowed.md", "billing/prod/**"],
        );
    }
    let thief = pod("payments-prod", "thief", "thief", "orders").to_string();
    let why = plugin_with(cluster, &["why", "--denied", "-f", "-", "-o", "json"], &thief).says(1, &[]).json();
    assert_eq!((&why["rule"], &why["verdict"]["reason"]), (&json!("Consumers"), &json!("ForeignConsumer")));
    let fine = scoped_secret("payments-prod", "fine", &whole("payments/prod/fine"));
    plugin_with(cluster, &["why", "--denied", "-f", "-"], &fine).says(0, &["allowed", "it would be let in now"]);
    let leaked = fine.replace("name: fine,", "name: fine, annotations: {scopedsecrets.io/revoke: \"yes\"},");
    plugin_with(cluster, &["why", "--denied", "-f", "-"], &leaked).says(1, &["Revocations", "RevocationNotAllowed"]);
    let own = pod("payments-prod", "other", "orders", "orders").to_string();
    plugin_with(cluster, &["why", "--denied", "-f", "-"], &own).says(0, &["would take it now"]);
    assert!(cluster.get_json("pod", "payments-prod", "other").is_none(), "a dry run");
    let rotating = format!("{fine}  rotation: {{schedule: \"0 3 * * *\", strategy: Generate}}\n");
    let denial = cluster.apply(&rotating).unwrap_err();
    assert!(denial.contains("ActionNotAllowed"), "{denial}");
    plugin_with(cluster, &["why", "--denied", "-f", "-"], &rotating).says(1, &["ActionNotAllowed"]);
    // Nobody governs it, and the API server says so in words of its own.
    let lent = json!({
        "apiVersion": "scopedsecrets.io/v1alpha1", "kind": "SecretGrant",
        "metadata": {"name": "ada", "namespace": "plain"},
        "spec": {
            "scopedSecretRef": {"name": "orders"}, "subject": {"kind": "User", "name": "ada@example.com"},
            "ttl": "1h", "reason": "a test",
        },
    });
    let lent = lent.to_string();
    let denial = cluster.apply(&lent).unwrap_err();
    for input in [&denial, &lent] {
        let why = plugin_with(cluster, &["why", "--denied", "-f", "-"], input);
        why.says(1, &["Grants", "there is no Secret to give access to", "metadata.namespace"]);
    }
    what_takes_away_is_denied(cluster);
    let misspelt = stolen.replace("storeRef", "storeReff");
    plugin_with(cluster, &["why", "--denied", "-f", "-"], &misspelt).says(1, &["SpecInvalid", "storeReff"]);
    plugin_with(cluster, &["why", "--denied", "-f", "-"], "apiVersion: a/v1\nkind: Nothing\n")
        .says(2, &["no kind a/v1 Nothing"]);
}

/// A file that has less than the one that was applied before.
fn what_takes_away_is_denied(cluster: &Cluster) {
    let namespace =
        |labels: &str| format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: leaving, labels: {{{labels}}}}}\n");
    cluster.apply(&namespace("tenant: leaving, environment: prod, team: a")).unwrap();
    cluster.apply("apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: writes-namespaces}\nrules: [{apiGroups: [\"\"], resources: [namespaces], verbs: [get, update, patch]}]\n").unwrap();
    cluster.apply("apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {name: writes-namespaces}\nroleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: writes-namespaces}\nsubjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: mallory}]\n").unwrap();
    let left = namespace("environment: prod, team: a");
    let why = plugin_with(cluster, &["why", "--denied", "-f", "-", "--as", "mallory"], &left);
    why.says(1, &["Boundary", "LeaveNotAllowed"]);
    let other = namespace("tenant: leaving, environment: prod");
    plugin_with(cluster, &["why", "--denied", "-f", "-", "--as", "mallory"], &other).says(0, &["would take it now"]);
    assert_eq!(cluster.get_json("namespace", None, "leaving").unwrap()["metadata"]["labels"]["team"], "a", "a dry run");
    cluster.kubectl(&["delete", "namespace", "leaving", "--wait=false"]);
    cluster.kubectl(&["delete", "clusterrole,clusterrolebinding", "writes-namespaces"]);
}

/// As kubectl's plugin: found on the PATH, and asked by kubectl for what the next word may be.
fn kubectl_finds_it(cluster: &Cluster) {
    let program = Path::new(env!("CARGO_BIN_EXE_kubectl-scoped_secrets"));
    let link = cluster.dir.join(ASKED_AS);
    std::os::unix::fs::symlink(program, link).unwrap();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = [cluster.dir.clone(), program.parent().unwrap().to_owned()];
    let path = std::env::join_paths(places.into_iter().chain(std::env::split_paths(&path))).unwrap();
    let kubectl = |words: &[&str]| {
        let program = std::env::var_os("KUBECTL").unwrap_or_else(|| "kubectl".into());
        let out = Command::new(program).args(words).env("PATH", &path).env("KUBECONFIG", &cluster.kubeconfig).output();
        let out = out.unwrap();
        (out.status.code(), String::from_utf8(out.stdout).unwrap())
    };
    let (code, said) = kubectl(&["scoped-secrets", "why", "orders", "-n", "payments-prod"]);
    assert!(code == Some(0) && said.contains("allowed"), "{said}");
    let (code, _) = kubectl(&["scoped-secrets", "why", "--key", "payments/prod/db", "-n", "billing-prod"]);
    assert_eq!(code, Some(1));
    for (words, expected) in [
        (&["ch"][..], "check\n:4\n"),
        (&["why", "-n", "payments-prod", "or"], "orders\n:4\n"),
        (&["trace", "--namespace=payments-prod", ""], "web\n:4\n"),
        (&["audit", "-n", "payments-s"], "payments-staging\n:4\n"),
    ] {
        let (_, said) = kubectl(&[&["__complete", "scoped-secrets"], words].concat());
        assert!(said.starts_with(expected), "{words:?}: {said}");
    }
}
