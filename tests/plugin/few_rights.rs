//! A reader who may see little is told what could not be looked at, and which verb on what it takes.

use super::*;

const READER: [&str; 2] = ["--as", "system:serviceaccount:payments-prod:orders"];

/// What an application team may do in its own namespace.
const TEAM: &str = "
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: team, namespace: payments-prod}
rules:
- {apiGroups: [scopedsecrets.io], resources: [scopedsecrets], verbs: [get, list]}
- {apiGroups: ['', events.k8s.io], resources: [pods, events, serviceaccounts], verbs: [get, list]}
";

#[test]
fn a_reader_with_few_rights() {
    let scene = scene();
    let cluster = &scene.cluster;
    let ask = |arguments: &[&str]| plugin(cluster, &[arguments, &READER].concat());
    // Nothing at all.
    let check = ask(&["check", "-o", "json"]).says(1, &[]);
    for (resource, name) in [
        ("leases.coordination.k8s.io", "scoped-secrets"),
        ("secrets", "scoped-secrets-keys"),
        ("validatingadmissionpolicies.admissionregistration.k8s.io", ""),
        ("segmentationpolicies.scopedsecrets.io", ""),
    ] {
        check.finds("CannotLook", resource, name);
    }
    let text = ask(&["check"]).says(1, &["you may not get secrets scoped-secrets-keys in namespace scoped-secrets"]);
    assert!(
        text.out.contains("to mend: ask for the verb list on segmentationpolicies.scopedsecrets.io"),
        "{}",
        text.out
    );
    assert!(!text.out.contains("error"), "nothing is said of what was not seen: {}", text.out);
    ask(&["check", "--pre", "-o", "json"]).says(1, &[]).finds(
        "PermissionMissing",
        "clusterroles.rbac.authorization.k8s.io",
        "",
    );
    ask(&["audit"]).says(1, &["you may not list pods", "you may not list secrets"]);
    ask(&["why", "orders", "-n", "payments-prod"]).says(2, &["you may not get scopedsecrets.scopedsecrets.io"]);
    ask(&["trace", "web", "-n", "payments-prod"]).says(2, &["you may not get pods web in namespace payments-prod"]);
    plugin(cluster, &["check", "--as", "ada", "--as-group", "system:masters"]).says(0, &["clean"]);

    // An application team's own namespace.
    apply(cluster, TEAM);
    kubectl(
        cluster,
        &[
            "create",
            "rolebinding",
            "team",
            "-n",
            "payments-prod",
            "--role=team",
            "--serviceaccount=payments-prod:orders",
        ],
    );
    eventually("the role is in force", SOON, || {
        let why = ask(&["why", "orders", "-n", "payments-prod"]);
        if why.out.contains("Ready True") { Ok(()) } else { Err(format!("{why:?}")) }
    });
    let why = ask(&["why", "orders", "-n", "payments-prod"]);
    why.says(1, &["undecided", "you may not read SegmentationPolicies", "payments/prod/db at version", "not seen"]);
    let trace =
        ask(&["trace", "web", "-n", "payments-prod"]).says(1, &["orders: managed", "payments/prod/db", "not seen"]);
    assert!(trace.out.contains("you may not get secrets orders"), "{}", trace.out);
    let audit =
        ask(&["audit", "-n", "payments-prod"]).says(1, &["you may not list secrets in namespace payments-prod"]);
    assert!(!audit.out.contains("you may not list secrets in the whole cluster"), "told once: {}", audit.out);
    assert!(!audit.out.contains("none stands in two scopes"), "what was not read was not compared: {}", audit.out);

    // Who may read what decides, and no Secret.
    kubectl(
        cluster,
        &[
            "create",
            "clusterrole",
            "deciders",
            "--verb=get,list",
            "--resource=segmentationpolicies.scopedsecrets.io,scopedsecretstores.scopedsecrets.io,secretgrants.scopedsecrets.io,namespaces",
        ],
    );
    kubectl(
        cluster,
        &[
            "create",
            "clusterrolebinding",
            "deciders",
            "--clusterrole=deciders",
            "--serviceaccount=payments-prod:orders",
        ],
    );
    eventually("the verdict is known", SOON, || {
        let why = ask(&["why", "orders", "-n", "payments-prod"]);
        let known = why.code == Some(0) && why.out.contains("as far as you may see");
        if known { Ok(()) } else { Err(format!("{why:?}")) }
    });
    unreachable_clusters(cluster);
    support::oracle::all_is_well(cluster, &scene.operator);
}

/// No cluster, no user: an error that says so, and no panic.
fn unreachable_clusters(cluster: &Cluster) {
    let admin: Value = serde_json::from_str(&kubectl(cluster, &["config", "view", "--raw", "-o", "json"])).unwrap();
    let with = |bend: &dyn Fn(&mut Value)| {
        let mut config = admin.clone();
        bend(&mut config);
        let path = cluster.dir.join("bent.kubeconfig");
        std::fs::write(&path, config.to_string()).unwrap();
        let out = Command::new(env!("CARGO_BIN_EXE_kubectl-scoped_secrets"))
            .args(["check", "--kubeconfig"])
            .arg(path)
            .output()
            .unwrap();
        (out.status.code(), String::from_utf8(out.stderr).unwrap())
    };
    let (code, said) = with(&|config| config["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:9".into());
    assert!(code == Some(2) && said.starts_with("error: ") && said.contains("127.0.0.1:9"), "{said}");
    let (code, said) = with(&|config| config["users"][0]["user"] = json!({"token": "nobody"}));
    assert!(code == Some(2) && said.contains("401"), "{said}");
    plugin(cluster, &["check", "--context", "nowhere"]).says(2, &["kubeconfig", "nowhere"]);
}
