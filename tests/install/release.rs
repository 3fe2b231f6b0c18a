//! The life of a release: installed, upgraded, rolled back, removed, and installed again, by helm 3. The operator has the token of
//! the chart's ServiceAccount, and so exactly the permissions that the chart gives it.

use super::helm::{CHART, KINDS_ARE_THERE, Version, objects, online, template};
use super::monitoring;
use super::support::cluster::Cluster;
use super::support::operator::Operator;
use super::support::oracle::guarantees_hold;
use super::support::otlp::Collector;
use super::support::stub_manager::{Says, StubManager};
use super::support::tenants::{POLICY, SOON, apply, becomes, ready, scoped_secret, set_up, store};
use super::support::wait::eventually;
use serde_json::{Value, json};
use std::process::Command;

const NAMESPACE: &str = "scoped-secrets";
/// A release of before, and what its operator left: its seal key, and a Secret.
const PREVIOUS: &str = include_str!("previous/objects.yaml");
const SEALED: &str = include_str!("previous/sealed.yaml");
/// The kinds that serviceMonitor and prometheusRule need.
const PROMETHEUS_OPERATOR: &str = include_str!("prometheus_operator.yaml");
const MONITORED: &[&str] = &[
    "--set",
    "serviceMonitor.enabled=true,serviceMonitor.labels.release=kps,serviceMonitor.interval=1m30s,prometheusRule.enabled=true,prometheusRule.labels.release=kps,grafanaDashboard.enabled=true",
    "--api-versions",
    "monitoring.coreos.com/v1/ServiceMonitor,monitoring.coreos.com/v1/PrometheusRule",
];
const GUARDS: [&str; 2] = ["validatingadmissionpolicies", "validatingadmissionpolicybindings"];

fn helm(cluster: &Cluster, arguments: &[&str]) -> String {
    let within = ["-n", NAMESPACE, "--wait", "--timeout", "100s"];
    online(Version::Three, cluster, &[arguments, &within].concat())
        .unwrap_or_else(|said| panic!("{arguments:?}: {said}"))
}

fn kubectl(cluster: &Cluster, arguments: &[&str]) -> String {
    let out = cluster.kubectl(arguments);
    assert!(out.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// Names of what carries our label.
pub fn ours(cluster: &Cluster, kind: &str) -> Vec<String> {
    let all = kubectl(cluster, &["get", kind, "-A", "-l", "app.kubernetes.io/part-of=scoped-secrets", "-o", "name"]);
    all.lines().map(str::to_owned).collect()
}

/// The objects of before as a chart, for helm to install and to upgrade.
fn previous(cluster: &Cluster) -> String {
    let chart = cluster.dir.join("previous");
    std::fs::create_dir_all(chart.join("templates")).unwrap();
    std::fs::write(chart.join("Chart.yaml"), "apiVersion: v2\nname: scoped-secrets\nversion: 0.0.1\n").unwrap();
    std::fs::write(chart.join("templates/objects.yaml"), PREVIOUS).unwrap();
    chart.to_str().unwrap().to_owned()
}

fn entries(cluster: &Cluster) -> Result<Value, String> {
    let live = cluster.get_json("validatingwebhookconfiguration", None, "scoped-secrets").ok_or("no configuration")?;
    let Some(mut entries) = live["webhooks"].as_array().cloned() else { return Err("no entries yet".to_owned()) };
    // The first part of the path is the operator's to change, whoever installs what.
    for url in entries.iter_mut().filter_map(|entry| entry.pointer_mut("/clientConfig/url")) {
        let text = url.as_str().unwrap_or_default();
        *url = text
            .splitn(5, '/')
            .enumerate()
            .filter(|(i, _)| *i != 3)
            .map(|(_, part)| part)
            .collect::<Vec<_>>()
            .join("/")
            .into();
    }
    Ok(entries.into())
}

/// What a write to the Secret would change.
fn revision(cluster: &Cluster, name: &str) -> (Value, Value) {
    let secret = cluster.get_json("secret", "payments-prod", name).unwrap_or_else(|| panic!("no Secret {name}"));
    (secret["metadata"]["uid"].clone(), secret["metadata"]["resourceVersion"].clone())
}

/// ScopedSecrets of the story; the second keeps its Secret, the third has one of before.
const NAMES: [&str; 3] = ["orders", "kept", "earlier"];

fn revisions(cluster: &Cluster) -> [(Value, Value); 3] {
    NAMES.map(|name| {
        eventually(&format!("{name} is ready"), SOON, || ready(cluster, "scopedsecret", Some("payments-prod"), name));
        revision(cluster, name)
    })
}

/// What must outlive an upgrade beside plain Secrets: one that was rotated and keeps the value before, and a key that was revoked.
fn more_stands(cluster: &Cluster, stub: &StubManager) {
    let patch = r#"[{"op":"add","path":"/spec/allow/0/actions","value":["Read","Generate"]},{"op":"add","path":"/spec/rules/grants","value":{"maxTTL":"8h"}}]"#;
    kubectl(cluster, &["patch", "segmentationpolicy", "tenants", "--type=json", "-p", patch]);
    let rotated = claim(stub, "rotated") + "\n  rotation: {strategy: Generate, overlap: 8h}\n";
    for claim in [rotated, claim(stub, "leaked")] {
        eventually("it is taken", SOON, || cluster.apply(&claim));
    }
    for name in ["rotated", "leaked"] {
        eventually(&format!("{name} is ready"), SOON, || ready(cluster, "scopedsecret", Some("payments-prod"), name));
    }
    let annotate = |name: &str, what: &str| {
        kubectl(
            cluster,
            &["annotate", "scopedsecret", name, "-n", "payments-prod", &format!("scopedsecrets.io/{what}")],
        );
    };
    annotate("rotated", "rotate-at=now");
    becomes(cluster, "payments-prod", "rotated", "Rotated", "True", "Verified");
    let previous = || cluster.get_json("secret", "payments-prod", "rotated").unwrap()["data"]["previous.value"].clone();
    assert!(previous().is_string());
    let revocation = "apiVersion: scopedsecrets.io/v1alpha1\nkind: KeyRevocation\nmetadata: {name: leak}\nspec: {storeRef: {name: aws}, key: payments/prod/leaked, reason: seen in a build log}\n";
    apply(cluster, revocation);
    becomes(cluster, "payments-prod", "leaked", "Ready", "False", "KeyRevoked");
}

/// Access that is lent; while the rules are of another release than the operator, none is.
fn lend(cluster: &Cluster) {
    let grant = "apiVersion: scopedsecrets.io/v1alpha1\nkind: SecretGrant\nmetadata: {name: incident, namespace: payments-prod}\nspec: {scopedSecretRef: {name: orders}, subject: {kind: User, name: ada@example.com}, reason: incident, ttl: 8h}\n";
    eventually("it may be lent", SOON, || cluster.apply(grant));
    eventually("it is honoured", SOON, || ready(cluster, "secretgrant", Some("payments-prod"), "incident"));
}

/// What the operator writes for every namespace with a ScopedSecret, and for a grant.
const WRITTEN: [&str; 2] = ["secrets", "segmentguards"];
const LENT: [&str; 2] = ["roles", "rolebindings"];

/// Every object that the operator has written for payments-prod, and in which revision; the revoked key's Secret is not there, and
/// its claim is refused.
fn all_that_stands(cluster: &Cluster, kinds: &[&'static str]) -> Vec<(String, Value, Value)> {
    becomes(cluster, "payments-prod", "leaked", "Ready", "False", "KeyRevoked");
    becomes(cluster, "payments-prod", "rotated", "Ready", "True", "Ready");
    let of = |kind: &str| match kind {
        // There is one a namespace, without that label.
        "segmentguards" => cluster.list_json(kind, ""),
        _ => cluster.list_json(kind, "?labelSelector=app.kubernetes.io/managed-by=scoped-secrets"),
    };
    let all = kinds.iter().flat_map(|kind| of(kind).into_iter().map(move |object| (kind, object)));
    let all = all.filter(|(_, object)| object["metadata"]["namespace"] == "payments-prod");
    let all: Vec<_> = all
        .map(|(kind, object)| {
            let metadata = &object["metadata"];
            let name = metadata["name"].as_str().unwrap_or_default();
            (format!("{kind} {name}"), metadata["uid"].clone(), metadata["resourceVersion"].clone())
        })
        .collect();
    for kind in kinds {
        assert!(all.iter().any(|(name, ..)| name.starts_with(kind)), "{kind}: {all:?}");
    }
    assert!(!all.iter().any(|(name, ..)| name == "secrets leaked"), "{all:?}");
    all
}

/// What the pod of `helm test` runs, under its account.
fn helm_test(cluster: &Cluster) {
    let hooks =
        objects(&online(Version::Three, cluster, &["get", "hooks", "scoped-secrets", "-n", NAMESPACE]).unwrap());
    let (pods, ground): (Vec<Value>, Vec<Value>) = hooks.into_iter().partition(|hook| hook["kind"] == "Pod");
    for object in &ground {
        apply(cluster, &object.to_string());
    }
    let [pod] = pods.as_slice() else { panic!("one pod tests a release: {pods:?}") };
    let account = pod["spec"]["serviceAccountName"].as_str().unwrap();
    let token = kubectl(cluster, &["create", "token", account, "-n", NAMESPACE]);
    let admin: Value = serde_json::from_str(&kubectl(cluster, &["config", "view", "--raw", "-o", "json"])).unwrap();
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "clusters": [{"name": "test", "cluster": admin["clusters"][0]["cluster"]}],
        "users": [{"name": "test", "user": {"token": token.trim()}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test", "namespace": NAMESPACE}}],
    });
    let path = cluster.dir.join("helm-test.kubeconfig");
    std::fs::write(&path, config.to_string()).unwrap();
    let container = &pod["spec"]["containers"][0];
    assert_eq!(container["command"], json!(["kubectl-scoped_secrets"]));
    let arguments = container["args"].as_array().unwrap().iter().map(|argument| argument.as_str().unwrap());
    let output = Command::new(env!("CARGO_BIN_EXE_kubectl-scoped_secrets"))
        .args(arguments)
        .arg("--kubeconfig")
        .arg(path)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    for proof in
        ["the webhook answers", "the API server keeps the rules", "admission rules are there, bound and unweakened"]
    {
        assert!(said.contains(proof), "{proof:?} is not in {said}");
    }
    for object in &ground {
        cluster.submit(&["delete", "-f", "-"], &object.to_string()).unwrap();
    }
}

/// A ScopedSecret of a key of its own.
fn claim(stub: &StubManager, name: &str) -> String {
    let key = format!("payments/prod/{name}");
    stub.put(&key, Says::Text(format!("value-of-{name}-kX9mQ2vL8nR5wT3z")));
    let retain = if name == "kept" { "\ndeletionPolicy: Retain" } else { "" };
    scoped_secret("payments-prod", name, &format!("data: [{{secretKey: value, remoteRef: {{key: {key}}}}}]{retain}"))
}

fn check(cluster: &Cluster, more: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_kubectl-scoped_secrets"))
        .args(["check", "--kubeconfig"])
        .arg(&cluster.kubeconfig)
        .args(more)
        .output()
        .unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn a_release_comes_changes_and_goes() {
    let (cluster, stub) = (Cluster::start_with_pods(), StubManager::start());
    for namespace in [NAMESPACE, "payments-prod"] {
        kubectl(&cluster, &["create", "namespace", namespace]);
    }
    // As a backup brings it: before the rules that would keep it out.
    apply(&cluster, SEALED);
    let left = cluster.get_json("secret", "payments-prod", "earlier").unwrap();
    helm(&cluster, &["install", "scoped-secrets", &previous(&cluster)]);
    let (code, said) = check(&cluster, &["--doors"]);
    assert!(code == Some(1) && said.contains("the webhook was not asked"), "no operator runs yet: {said}");
    // And its owner, before an operator looks: one whose ScopedSecret is gone would go.
    kubectl(&cluster, &["label", "namespace", "payments-prod", "tenant=payments", "environment=prod"]);
    [store("aws", &stub.endpoint), POLICY.to_owned(), claim(&stub, "earlier")]
        .iter()
        .for_each(|yaml| apply(&cluster, yaml));
    // Its roles are those of before, until the upgrade.
    let excused = cluster.excuse_denials();
    let collector = Collector::start();
    let operator = Operator::start_with(&cluster, &["--otlp-endpoint", &collector.endpoint]);
    eventually("the webhook is registered", SOON, || entries(&cluster));
    // Its rules are those of before.
    let (_, said) = check(&cluster, &["--doors"]);
    assert!(said.contains("the webhook answers"), "{said}");

    set_up(&cluster, &stub.endpoint);
    kubectl(
        &cluster,
        &["patch", "segmentationpolicy", "tenants", "--type=merge", "-p", r#"{"spec":{"rules":{"allowRetain":true}}}"#],
    );
    for name in ["orders", "kept"] {
        let claim = claim(&stub, name);
        // The change of policy is a moment away.
        eventually(&format!("{name} is taken"), SOON, || cluster.apply(&claim));
    }
    more_stands(&cluster, &stub);
    let secrets = revisions(&cluster);
    let stands = all_that_stands(&cluster, &WRITTEN);
    let now = cluster.get_json("secret", "payments-prod", "earlier").unwrap();
    assert_eq!((&now["data"], &now["metadata"]["uid"]), (&left["data"], &left["metadata"]["uid"]), "its seal is read");

    // The dashboard and the alerts ask for what is served. What nobody has broken or rotated here has no series.
    let unseen = ["admission_breaches_total", "events_total", "rotations_total", "violations"];
    let unseen = unseen.map(|name| format!("scoped_secrets_{name}"));
    eventually("all that is asked for is served", SOON, || {
        match monitoring::not_served(&operator.probe("/metrics")?) {
            missing if missing.iter().all(|name| unseen.contains(name)) => Ok(()),
            missing => Err(format!("{missing:?}")),
        }
    });
    let theirs = kubectl(&cluster, &["get", "--raw", "/metrics"]);
    let refused = theirs.lines().find(|line| line.starts_with("apiserver_admission_webhook_rejection_count{")).unwrap();
    assert!(refused.contains("error_type=") && refused.contains(".scopedsecrets.io\""), "{refused}");

    // Traces say what was done for which ScopedSecret, and no key and no value of it.
    let said = [
        "scoped-secrets",
        "service.version",
        "reconcile",
        "review",
        "SecretValue",
        "payments-prod",
        "orders",
        "Claims",
    ];
    eventually("there are traces", SOON, || collector.has_all(&said));
    for canary in ["payments/prod/orders", "value-of-orders-kX9mQ2vL8nR5wT3z", "kX9mQ2vL8nR5wT3z"] {
        assert!(!collector.has(canary), "{canary} is in a trace");
    }

    // What is the operator's own in the webhook configuration outlives an upgrade and a rollback; no Secret is written, not by the
    // operator that is then started either.
    let registered = entries(&cluster).unwrap();
    helm(
        &cluster,
        &["upgrade", "scoped-secrets", CHART, "--set", "commonLabels.team=platform,webhook.timeoutSeconds=5"],
    );
    let labelled =
        |kind: &str, name: &str| cluster.get_json(kind, None, name).unwrap()["metadata"]["labels"]["team"].clone();
    for (kind, name) in [
        ("crd", "scopedsecrets.scopedsecrets.io"),
        ("validatingadmissionpolicy", "boundary.scopedsecrets.io"),
        ("validatingwebhookconfiguration", "scoped-secrets"),
    ] {
        assert_eq!(labelled(kind, name), "platform", "{kind}");
    }
    assert_eq!(entries(&cluster).unwrap(), registered);
    operator.terminate();
    drop(excused);
    let operator = Operator::start(&cluster);
    // It is somewhere else now.
    let registered = eventually("the webhook is registered anew", SOON, || match entries(&cluster)? {
        entries if entries.to_string().contains(&operator.webhook) => Ok(entries),
        entries => Err(entries.to_string()),
    });
    // A revoked key, with its report, is all that is not well.
    eventually("all else is well", SOON, || match check(&cluster, &[]) {
        (Some(1), said)
            if said.contains("payments-prod/leaked: [KeyRevoked]") && said.contains("2 findings (1 warning)") =>
        {
            Ok(())
        }
        (_, said) => Err(said),
    });
    assert_eq!(revisions(&cluster), secrets);
    assert_eq!(all_that_stands(&cluster, &WRITTEN), stands);
    assert_eq!(stub.versions("payments/prod/rotated").len(), 2, "it is not rotated again");
    guarantees_hold(&cluster);
    operator.met_no_denial();
    lend(&cluster);
    let stands = all_that_stands(&cluster, &[&WRITTEN[..], &LENT].concat());
    let (excused, mark) = (cluster.excuse_denials(), cluster.audit_mark());
    helm(&cluster, &["rollback", "scoped-secrets", "1"]);
    assert_eq!(labelled("validatingadmissionpolicy", "boundary.scopedsecrets.io"), Value::Null);
    assert_eq!(entries(&cluster).unwrap(), registered);
    assert_eq!(revisions(&cluster), secrets);
    // Its rules are of another release for a while, as they are to the operator of before while an upgrade goes on: that takes
    // nothing back.
    eventually("whoever leads has looked at rule Grants", SOON, || {
        let asked = cluster.audit_since(mark).credential(&operator.credential);
        let looked = asked.resource("validatingadmissionpolicies").only(|request| request.name.starts_with("grants."));
        if looked.is_empty() { Err("not yet") } else { Ok(()) }
    });
    assert_eq!(all_that_stands(&cluster, &[&WRITTEN[..], &LENT].concat()), stands);

    // Removed while the operator is gone: nothing is left that holds anybody up.
    operator.terminate();
    drop(excused);
    helm(&cluster, &["uninstall", "scoped-secrets"]);
    nothing_blocks(&cluster);
    assert_eq!(NAMES.map(|name| revision(&cluster, name)), secrets);
    assert_eq!(ours(&cluster, "customresourcedefinitions").len(), scoped_secrets::api::crds().len());

    // A new release takes the kinds over, and goes on where the old one ended.
    let notes = helm(&cluster, &["install", "scoped-secrets", CHART]);
    its_notes_can_be_followed(&cluster, &notes);
    let operator = Operator::start(&cluster);
    eventually("the webhook is registered", SOON, || entries(&cluster));
    helm_test(&cluster);
    assert_eq!(revisions(&cluster), secrets);
    guarantees_hold(&cluster);

    // All of it goes: the Secrets as their deletionPolicy says, then, with crds.keep=false, the kinds.
    kubectl(&cluster, &["delete", "scopedsecrets", "--all", "--all-namespaces"]);
    // The garbage collector learns of new kinds only every 30 s.
    eventually("the Secret goes with its ScopedSecret", SOON * 3, || {
        if cluster.get_json("secret", "payments-prod", "orders").is_none() { Ok(()) } else { Err("still there") }
    });
    kubectl(&cluster, &["delete", "validatingadmissionpolicybinding", "consumers-enforce.scopedsecrets.io"]);
    let (code, said) = check(&cluster, &["--doors"]);
    assert!(code == Some(1) && said.contains("consumers-enforce.scopedsecrets.io"), "it is not bound: {said}");
    helm(&cluster, &["upgrade", "scoped-secrets", CHART, "--set", "crds.keep=false"]);
    // Kinds that would be deleted by an upgrade are not left out of it: Helm asks what stands there, and not the values.
    for sets in ["crds.enabled=false", "crds.enabled=false,crds.keep=true"] {
        let upgrade = ["upgrade", "scoped-secrets", CHART, "-n", NAMESPACE, "--set", sets];
        let refusal = online(Version::Three, &cluster, &upgrade).unwrap_err();
        assert!(refusal.contains("Upgrade once with crds.enabled=true and crds.keep=true"), "{sets}: {refusal}");
    }
    operator.terminate();
    helm(&cluster, &["uninstall", "scoped-secrets"]);
    nothing_blocks(&cluster);
    eventually("the kinds go", SOON, || match ours(&cluster, "customresourcedefinitions") {
        left if left.is_empty() => Ok(()),
        left => Err(format!("{left:?}")),
    });
    assert_eq!(revision(&cluster, "kept").0, secrets[1].0);
}

/// Three commands, with the names that there are. `helm test` is tried by [`helm_test`].
fn its_notes_can_be_followed(cluster: &Cluster, notes: &str) {
    let commands = notes.lines().filter_map(|line| line.strip_prefix("  ")?.split('#').next());
    let commands: Vec<Vec<&str>> = commands.map(|command| command.split_whitespace().collect()).collect();
    assert_eq!(commands.len(), 3, "{notes}");
    for command in commands {
        match command.split_first().unwrap() {
            (&"kubectl", arguments) => drop(kubectl(cluster, arguments)),
            _ => assert_eq!(command, ["helm", "test", "scoped-secrets", "-n", NAMESPACE]),
        }
    }
}

/// No admission object of ours, no role, and governed namespaces are as free as others.
pub fn nothing_blocks(cluster: &Cluster) {
    for kind in GUARDS.into_iter().chain(["validatingwebhookconfigurations", "clusterroles", "clusterrolebindings"]) {
        assert_eq!(ours(cluster, kind), [] as [&str; 0], "{kind}");
    }
    let forged = json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "forged", "namespace": "payments-prod", "labels": {"app.kubernetes.io/managed-by": "scoped-secrets"}},
    });
    let governed = json!({
        "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "later", "labels": {"tenant": "payments", "environment": "prod"}},
    });
    for object in [forged, governed] {
        eventually("the API server has forgotten the rules", SOON, || {
            cluster.submit(&["create", "--dry-run=server", "-f", "-"], &object.to_string())
        });
    }
}

/// Every object of many sets of values is one that the API server takes, to the last field; and the pods may run where only
/// restricted ones may.
#[test]
fn the_api_server_takes_every_object() {
    let cluster = Cluster::start();
    kubectl(&cluster, &["apply", "--server-side", "-k", concat!(env!("CARGO_MANIFEST_DIR"), "/crds")]);
    cluster.apply(PROMETHEUS_OPERATOR).unwrap_or_else(|refusal| panic!("{refusal}"));
    kubectl(&cluster, &["wait", "--for=condition=Established", "--timeout=20s", "crd", "--all"]);
    kubectl(&cluster, &["create", "namespace", "strict"]);
    kubectl(&cluster, &["label", "namespace", "strict", "pod-security.kubernetes.io/enforce=restricted"]);
    // No controller makes pods here, so that their accounts must be there.
    for account in ["default", "scoped-secrets", "scoped-secrets-test", "mine"] {
        drop(cluster.kubectl(&["create", "serviceaccount", account, "-n", "strict"]));
    }
    let peers = r#"networkPolicy.metricsFrom=[{"namespaceSelector":{"matchLabels":{"a":"b"}}}]"#;
    let egress = r#"networkPolicy.egress=[{"ports":[{"port":443}]}]"#;
    let spread = r#"topologySpreadConstraints=[{"maxSkew":1,"topologyKey":"zone","whenUnsatisfiable":"DoNotSchedule","labelSelector":{"matchLabels":{"x":"y"}}}]"#;
    let own = ["--set", "rbac.create=false,serviceAccount.create=false,serviceAccount.name=mine"];
    let without_kinds = [KINDS_ARE_THERE, &own].concat();
    let sets: [&[&str]; 13] = [
        &[],
        MONITORED,
        &["--set", "namespaces={strict,default},restart.enabled=true"],
        &["--set", "namespaces={demo-payments,demo-billing,strict},demo.enabled=true,rbac.create=false"],
        &["--set", "demo.enabled=true,grafanaDashboard.enabled=true,otlp.endpoint=http://collector.monitoring:4318"],
        &["--set", "replicaCount=0,podDisruptionBudget.enabled=false,networkPolicy.enabled=false,resources=null"],
        &without_kinds,
        &["--set", "rbac.aggregateToView=false,rbac.aggregateToEdit=false,rbac.aggregateToAdmin=false"],
        &[
            "--set",
            "webhook.url=https://10.0.0.1:9443,webhook.port=10250,webhook.timeoutSeconds=30,podDisruptionBudget.maxUnavailable=50%",
        ],
        &["--set-json", peers, "--set-json", egress, "--set-json", spread],
        &[
            "--set",
            "global.imagePullSecrets[0].name=a,image.digest=sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef,priorityClassName=",
        ],
        &[
            "--set",
            "extraArgs={--log-level=debug,--scan-interval=12h},extraEnv[0].name=A,extraEnv[0].value=b,extraVolumes[0].name=v,extraVolumeMounts[0].name=v,extraVolumeMounts[0].mountPath=/v",
            "--set-json",
            r#"extraVolumes[0].emptyDir={}"#,
        ],
        &[
            "--set",
            "demo.enabled=true,podAnnotations.a=b,podLabels.c=d,commonLabels.e=f,serviceAccount.annotations.g=h,extraObjects[0].apiVersion=v1,extraObjects[0].kind=ConfigMap,extraObjects[0].metadata.name=i,extraObjects[0].metadata.namespace=strict,nodeSelector.j=k,tolerations[0].operator=Exists",
        ],
    ];
    let submit = |object: &Value| {
        cluster.submit(
            &["apply", "--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict", "-f", "-"],
            &object.to_string(),
        )
    };
    for values in sets {
        let all = objects(&template("strict", values).unwrap_or_else(|error| panic!("{values:?}: {error}")));
        for object in &all {
            submit(object).unwrap_or_else(|refusal| panic!("{values:?}: {refusal}\n{object:#}"));
        }
        let deployment = all.iter().find(|object| object["kind"] == "Deployment").unwrap();
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "as-deployed", "namespace": "strict"},
            "spec": deployment["spec"]["template"]["spec"],
        });
        let taken = cluster.submit(&["create", "--dry-run=server", "-f", "-"], &pod.to_string());
        taken.unwrap_or_else(|refusal| panic!("{values:?}: {refusal}"));
    }
    // A name or a form that another project's kind does not have would be found so.
    let all = objects(&template("strict", MONITORED).unwrap());
    for (kind, at, field, wrong) in [
        ("ServiceMonitor", "/spec/endpoints/0", "sheme", json!("http")),
        ("ServiceMonitor", "/spec/endpoints/0", "interval", json!("30s1m")),
        ("PrometheusRule", "/spec/groups/0/rules/0", "sumary", json!("a")),
        ("PrometheusRule", "/spec/groups/0/rules/0", "labels", json!(["severity"])),
    ] {
        let mut object = all.iter().find(|object| object["kind"] == kind).unwrap().clone();
        object.pointer_mut(at).unwrap()[field] = wrong;
        let refusal = submit(&object).unwrap_err();
        assert!(refusal.contains(field), "{field}: {refusal}");
    }
}
