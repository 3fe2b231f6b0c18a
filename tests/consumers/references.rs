//! Every way that a pod, a workload or a ServiceAccount names a Secret.

use crate::support::operator::{USER, lift};
use crate::support::oracle::all_is_well;
use crate::support::stub_manager::Says;
use crate::support::tenants::{SOON, apply, becomes, condition, ready};
use crate::support::wait::eventually;
use crate::{DRY, claim, env, hold, object, ok, pod, pod_spec, refusal, scene};
use serde_json::{Value, json};

/// What `VisitPodSecretNames` of Kubernetes 1.36 visits, each with the Secret `orders`.
fn forms() -> Vec<(&'static str, Value)> {
    let container = |more: Value| {
        let mut container = json!({"name": "more", "image": "web"});
        container.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        container
    };
    let from_env = json!({"env": [{"name": "V", "valueFrom": {"secretKeyRef": {"name": "orders", "key": "value"}}}]});
    let from_env_optional = json!({"env": [{"name": "V", "valueFrom": {"secretKeyRef": {"name": "orders", "key": "value", "optional": true}}}]});
    let whole = json!({"envFrom": [{"configMapRef": {"name": "settings"}}, {"secretRef": {"name": "orders"}}]});
    let volume = |more: Value| {
        let mut volume = json!({"name": "v"});
        volume.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"volumes": [{"name": "empty", "emptyDir": {}}, volume]})
    };
    let reference = json!({"name": "orders"});
    vec![
        ("env", json!({"containers": [container(from_env.clone())]})),
        ("env, optional", json!({"containers": [container(from_env_optional)]})),
        ("envFrom", json!({"containers": [container(whole.clone())]})),
        ("env of an initContainer", json!({"initContainers": [container(from_env)]})),
        ("envFrom of an initContainer", json!({"initContainers": [container(whole)]})),
        ("imagePullSecrets", json!({"imagePullSecrets": [{"name": "other"}, reference]})),
        ("volume", volume(json!({"secret": {"secretName": "orders"}}))),
        ("projected", volume(json!({"projected": {"sources": [{"configMap": {"name": "c"}}, {"secret": reference}]}}))),
        ("csi", volume(json!({"csi": {"driver": "csi.example.com", "nodePublishSecretRef": reference}}))),
        ("azureFile", volume(json!({"azureFile": {"secretName": "orders", "shareName": "s"}}))),
        ("cephfs", volume(json!({"cephfs": {"monitors": ["m"], "secretRef": reference}}))),
        ("cinder", volume(json!({"cinder": {"volumeID": "i", "secretRef": reference}}))),
        ("flexVolume", volume(json!({"flexVolume": {"driver": "example.com/d", "secretRef": reference}}))),
        (
            "iscsi",
            volume(
                json!({"iscsi": {"targetPortal": "127.0.0.1", "iqn": "iqn.2001-04.com.example:storage", "lun": 0, "chapAuthSession": true, "secretRef": reference}}),
            ),
        ),
        ("rbd", volume(json!({"rbd": {"monitors": ["m"], "image": "i", "secretRef": reference}}))),
        (
            "scaleIO",
            volume(json!({"scaleIO": {"gateway": "g", "system": "s", "volumeName": "v", "secretRef": reference}})),
        ),
        ("storageos", volume(json!({"storageos": {"volumeName": "v", "secretRef": reference}}))),
    ]
}

/// Each kind that makes pods, with this pod spec.
fn workloads(pods: Value) -> Vec<Value> {
    let mut once = pods.clone();
    once["restartPolicy"] = "Never".into();
    let template = |spec: &Value| json!({"metadata": {"labels": {"app": "web"}}, "spec": spec});
    let selector = json!({"matchLabels": {"app": "web"}});
    let job = json!({"template": template(&once)});
    let mut pod_template = object("v1", "PodTemplate", "w", json!(null));
    pod_template["template"] = template(&pods);
    pod_template.as_object_mut().unwrap().remove("spec");
    vec![
        object("apps/v1", "Deployment", "w", json!({"selector": selector, "template": template(&pods)})),
        object(
            "apps/v1",
            "StatefulSet",
            "w",
            json!({"serviceName": "w", "selector": selector, "template": template(&pods)}),
        ),
        object("apps/v1", "DaemonSet", "w", json!({"selector": selector, "template": template(&pods)})),
        object("apps/v1", "ReplicaSet", "w", json!({"selector": selector, "template": template(&pods)})),
        object("batch/v1", "Job", "w", job.clone()),
        object("batch/v1", "CronJob", "w", json!({"schedule": "0 0 1 1 *", "jobTemplate": {"spec": job}})),
        object("v1", "ReplicationController", "w", json!({"selector": {"app": "web"}, "template": template(&pods)})),
        pod_template,
    ]
}

fn account(name: &str, field: &str, secret: &str) -> String {
    let mut account =
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": "payments-prod"}});
    account[field] = json!([{"name": secret}]);
    account.to_string()
}

#[test]
fn only_consumers_reference_a_projected_secret_also_while_the_operator_is_gone() {
    let scene = scene();
    let cluster = &scene.cluster;
    all_is_well(cluster, &scene.operator);
    // So many consumers, of so long names, that a message with all of them would not be shown.
    let names: Vec<String> = (0..32).map(|i| format!("{{serviceAccountName: {}-{i}}}", "a".repeat(250))).collect();
    let crowded = claim("crowded").replace("{serviceAccountName: crowded}", &names.join(", "));
    scene.stub.put("payments/prod/crowded", Says::Text("canary-crowded-wT3z1pQkX9mQ2vL8nR5".into()));
    apply(cluster, &crowded);
    eventually("it is projected", SOON, || ready(cluster, "scopedsecret", Some("payments-prod"), "crowded"));
    scene.operator.kill();
    let told = cluster.submit(&DRY, &pod("p", "thief", env("crowded")).to_string()).unwrap_err();
    assert!(
        told.contains("Pod payments-prod/p: ") && told.contains("\"crowded\"") && told.contains("32 Service"),
        "{told}"
    );

    // Pods.
    let mut rows = Vec::new();
    for (form, spec) in forms() {
        for (who, refused) in [("thief", true), ("", true), ("orders", false)] {
            rows.push((form, DRY.as_slice(), pod("p", who, spec.clone()).to_string(), refused));
        }
    }
    // Another Secret of the namespace, and one of the same name in a namespace that nobody governs.
    rows.push(("another Secret", &DRY, pod("p", "thief", env("another")).to_string(), false));
    let elsewhere = |namespace: &str| pod("p", "", env("orders")).to_string().replace("payments-prod", namespace);
    rows.push(("an ungoverned namespace", &DRY, elsewhere("plain"), false));
    rows.push(("a namespace without claims", &DRY, elsewhere("billing-prod"), false));
    hold(cluster, &rows);

    // Workloads, so that their author sees it.
    let mut rows = Vec::new();
    for (who, refused) in [("thief", true), ("", true), ("orders", false)] {
        for (form, more) in [("env", env("orders")), ("volume", forms()[6].1.clone())] {
            let made =
                workloads(pod_spec(who, more)).into_iter().map(|w| (form, DRY.as_slice(), w.to_string(), refused));
            rows.extend(made);
        }
    }
    hold(cluster, &rows);

    // ServiceAccounts.
    let mut rows = Vec::new();
    for field in ["secrets", "imagePullSecrets"] {
        rows.push((field, DRY.as_slice(), account("new", field, "orders"), true));
        rows.push((field, DRY.as_slice(), account("new", field, "another"), false));
        rows.push((field, &["apply", "--dry-run=server", "-f", "-"], account("orders", field, "orders"), false));
        rows.push((field, &["apply", "--dry-run=server", "-f", "-"], account("default", field, "orders"), true));
    }
    hold(cluster, &rows);

    // What it says.
    let told = cluster.submit(&DRY, &pod("p", "thief", env("orders")).to_string());
    let text = refusal(&told).unwrap();
    for part in ["Pod payments-prod/p: ", "\"thief\"", "Secret \"orders\"", "(orders)", "spec.consumers"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(text.len() < 700, "{text}");

    // Ephemeral containers: a pod that runs is not a way in.
    for (name, who) in [("foreign", "thief"), ("own", "orders")] {
        apply(cluster, &pod(name, who, json!({})).to_string());
        let mut running = cluster.get_json("pod", "payments-prod", name).unwrap();
        let debug = |secret: &str| json!([{"name": "debug", "image": "web", "env": [{"name": "V", "valueFrom": {"secretKeyRef": {"name": secret, "key": "value"}}}]}]);
        let path = format!("/api/v1/namespaces/payments-prod/pods/{name}/ephemeralcontainers?dryRun=All");
        let put = ["replace", "--raw", path.as_str(), "-f", "-"];
        running["spec"]["ephemeralContainers"] = debug("orders");
        let mut rows = vec![("an ephemeral container", put.as_slice(), running.to_string(), who == "thief")];
        running["spec"]["ephemeralContainers"] = debug("another");
        rows.push(("an ephemeral container without it", &put, running.to_string(), false));
        hold(cluster, &rows);
    }

    // A cluster-admin lifts the rule by deleting its binding.
    lift(cluster, "consumers-enforce");
    eventually("the rule is lifted", SOON, || cluster.submit(&DRY, &pod("p", "thief", env("orders")).to_string()));
}

/// A Secret that is not managed, and whose name a ScopedSecret asks for, stays its own pods', which may be there already.
#[test]
fn a_secret_of_ones_own_stays_in_use() {
    let scene = scene();
    let cluster = &scene.cluster;
    ok(cluster, &["create", "secret", "generic", "legacy", "-n", "payments-prod", "--from-literal=token=theirs"]);
    apply(cluster, &pod("older", "thief", env("legacy")).to_string());
    scene.claim("legacy");
    becomes(cluster, "payments-prod", "legacy", "Ready", "False", "TargetConflict");
    let free = |what: &str| {
        eventually(what, SOON, || cluster.submit(&DRY, &pod("newer", "thief", env("legacy")).to_string()));
    };
    free("its pods are let in");
    // Once it is gone the name is the ScopedSecret's, and is guarded before anything is fetched.
    ok(cluster, &["delete", "secret", "legacy", "-n", "payments-prod"]);
    ok(cluster, &["delete", "pod", "older", "-n", "payments-prod", "--wait=false"]);
    let again = "scopedsecrets.io/refresh-at=it-is-free";
    ok(cluster, &["annotate", "scopedsecret", "legacy", "-n", "payments-prod", again]);
    eventually("it is projected", SOON, || ready(cluster, "scopedsecret", Some("payments-prod"), "legacy"));
    let foreign = pod("newer", "thief", env("legacy")).to_string();
    assert!(refusal(&cluster.submit(&DRY, &foreign)).is_some(), "a managed Secret is guarded");
    all_is_well(cluster, &scene.operator);
}

/// What runs since before the claim is not wedged: only new pods, and new references, are refused.
#[test]
fn workloads_older_than_the_claim_go_on() {
    let scene = scene();
    let cluster = &scene.cluster;
    let deployment = workloads(pod_spec("thief", env("later"))).remove(0);
    apply(cluster, &deployment.to_string());
    apply(cluster, &pod("older", "thief", env("later")).to_string());
    eventually("the Deployment has its pod", SOON, || {
        let pods = ok(cluster, &["get", "pods", "-n", "payments-prod", "-l", "app=web", "-o", "name"]);
        if pods.lines().count() == 1 { Ok(()) } else { Err(pods) }
    });
    // The Secret is not projected while they run; the guard names it all the same.
    scene.claim("later");
    let mark = cluster.audit_mark();
    let told = becomes(cluster, "payments-prod", "later", "Stalled", "True", "ForeignConsumer");
    let text = condition(&told, "Ready").unwrap()["message"].as_str().unwrap();
    assert!(text.contains("\"older\" under ServiceAccount \"thief\""), "{text}");
    assert_eq!(
        (condition(&told, "Authorized").unwrap()["status"].as_str(), scene.stub.asked("payments/prod/later")),
        (Some("True"), 0)
    );
    let probe = pod("probe", "thief", env("later")).to_string();
    eventually("the guard has it", SOON, || refusal(&cluster.submit(&DRY, &probe)).map(|_| ()).ok_or("not yet"));

    let patch = |kind: &'static str, name: &'static str, patch: &'static str| {
        ["patch", kind, name, "-n", "payments-prod", "-p", patch]
    };
    let deploy = |p: &'static str| patch("deployment", "w", p);
    let (labelled, image, another, moved, more) = (
        patch("pod", "older", r#"{"metadata":{"labels":{"a":"b"}}}"#),
        deploy(r#"{"spec":{"template":{"spec":{"containers":[{"name":"web","image":"web:2"}]}}}}"#),
        deploy(r#"{"spec":{"template":{"spec":{"imagePullSecrets":[{"name":"orders"}]}}}}"#),
        deploy(r#"{"spec":{"template":{"spec":{"serviceAccountName":"default","serviceAccount":"default"}}}}"#),
        deploy(r#"{"spec":{"template":{"spec":{"serviceAccountName":"later","serviceAccount":"later"}}}}"#),
    );
    hold(
        cluster,
        &[
            ("a label on the pod", &labelled, String::new(), false),
            ("another image", &image, String::new(), false),
            ("a reference that is new", &another, String::new(), true),
            ("another foreign account", &moved, String::new(), true),
            (
                "more replicas",
                &["scale", "deployment", "w", "-n", "payments-prod", "--replicas=2"],
                String::new(),
                false,
            ),
        ],
    );
    // The pods themselves are made by a controller, and are refused all the same.
    eventually("the Deployment says why it has no more pods", SOON, || {
        let deployment = cluster.get_json("deployment", "payments-prod", "w").ok_or("gone")?;
        let conditions = deployment["status"]["conditions"].to_string();
        if conditions.contains("ForeignConsumer") { Ok(()) } else { Err(conditions) }
    });
    hold(
        cluster,
        &[
            ("the consumer's account", &more, String::new(), false),
            (
                "the end of the pod",
                &["delete", "pod", "older", "-n", "payments-prod", "--wait=false"],
                String::new(),
                false,
            ),
        ],
    );
    // Still the Deployment's.
    assert_eq!(cluster.get_json("secret", "payments-prod", "later"), None);
    ok(cluster, &["delete", "deployment", "w", "-n", "payments-prod"]);
    eventually("no foreign pod is left", SOON, || {
        let pods = ok(
            cluster,
            &[
                "get",
                "pods",
                "-n",
                "payments-prod",
                "-o",
                "jsonpath={.items[?(@.spec.serviceAccountName==\"thief\")].metadata.name}",
            ],
        );
        if pods.is_empty() { Ok(()) } else { Err(pods) }
    });
    let again = "scopedsecrets.io/refresh-at=the-pods-are-gone";
    ok(cluster, &["annotate", "scopedsecret", "later", "-n", "payments-prod", again]);
    eventually("it is projected", SOON, || ready(cluster, "scopedsecret", Some("payments-prod"), "later"));
    let lists = cluster.audit_since(mark).user(USER).namespace("payments-prod").resource("pods");
    assert!((1..=6).contains(&lists.len()), "rarely: {lists:?}");
    all_is_well(cluster, &scene.operator);
}
