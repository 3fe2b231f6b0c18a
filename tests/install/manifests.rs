//! `deploy/`: the same objects as the chart's, by kustomize and by kubectl alone.

use super::helm::{by_name, kubectl, objects, template};
use scoped_secrets::admission::identities::Installation;
use scoped_secrets::admission::rules::guards;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn kustomized(folder: &str) -> BTreeMap<String, Value> {
    by_name(objects(&kubectl(&["kustomize", &format!("{ROOT}/{folder}")])))
}

/// What only the chart says: whose release it is, and that the kinds stay when it goes.
fn without_the_charts_own(mut object: Value) -> Value {
    let metadata = object["metadata"].as_object_mut().unwrap();
    let labels = metadata.get_mut("labels").and_then(Value::as_object_mut).unwrap();
    for label in
        ["helm.sh/chart", "app.kubernetes.io/instance", "app.kubernetes.io/version", "app.kubernetes.io/managed-by"]
    {
        assert!(labels.remove(label).is_some(), "{label}");
    }
    // deploy/ has it where something selects by it.
    labels.remove("app.kubernetes.io/name");
    if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
        annotations.remove("helm.sh/resource-policy");
        if annotations.is_empty() {
            metadata.remove("annotations");
        }
    }
    object
}

/// A kustomization beside the tests' other files, with these lines; ROOT/ stands for the repository.
fn own(name: &str, files: &[(&str, &str)], lines: &str) -> BTreeMap<String, Value> {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&folder).unwrap();
    // Kustomize takes relative paths alone.
    let up = "../".repeat(folder.components().count() - 1);
    let lines = lines.replace("ROOT/", &format!("{up}{}/", ROOT.trim_start_matches('/')));
    let begin = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n";
    std::fs::write(folder.join("kustomization.yaml"), format!("{begin}{lines}")).unwrap();
    for (file, text) in files {
        std::fs::write(folder.join(file), text).unwrap();
    }
    by_name(objects(&kubectl(&["kustomize", folder.to_str().unwrap()])))
}

#[test]
fn kustomize_renders_what_the_chart_does() {
    is_the_same(kustomized("deploy"), "scoped-secrets", &[]);
    is_the_same(kustomized("deploy/overlays/elsewhere"), "elsewhere", &[]);
    let with_restart = own("restart", &[], "resources: [ROOT/deploy]\ncomponents: [ROOT/deploy/components/restart]\n");
    is_the_same(with_restart, "scoped-secrets", &["--set", "restart.enabled=true"]);
}

fn is_the_same(mut deploy: BTreeMap<String, Value>, namespace: &str, values: &[&str]) {
    let chart = by_name(objects(&template(namespace, &[&["--no-hooks"], values].concat()).unwrap()));
    let chart: BTreeMap<String, Value> =
        chart.into_iter().map(|(name, object)| (name, without_the_charts_own(object))).collect();
    deploy.remove(&format!("Namespace -/{namespace}")).expect("helm --create-namespace makes it");
    for object in deploy.values_mut() {
        object["metadata"]["labels"].as_object_mut().unwrap().remove("app.kubernetes.io/name");
    }
    let names = |all: &BTreeMap<String, Value>| all.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&chart), names(&deploy));
    for (name, object) in chart {
        assert_eq!(object, deploy[&name], "{name}: the chart (left) and deploy/ differ");
    }
}

#[test]
fn one_file_is_what_kustomize_makes() {
    let file = std::fs::read_to_string(format!("{ROOT}/deploy/install.yaml")).unwrap();
    assert_eq!(by_name(objects(&file)), kustomized("deploy"));
    assert!(file.contains("# A namespace's labels name its segment."), "comments say why each permission is there");
}

/// A team's own kustomization, with a prefix.
const TEAM: &str = r#"
apiVersion: scopedsecrets.io/v1alpha1
kind: ScopedSecretStore
metadata: {name: main}
spec: {file: {path: /a}}
---
apiVersion: scopedsecrets.io/v1alpha1
kind: SegmentationPolicy
metadata: {name: tenants}
spec: {segment: {labels: [tenant]}, allow: [{storeRef: {name: main}, keys: [a]}, {storeRef: {name: other}, keys: [b]}]}
---
apiVersion: scopedsecrets.io/v1alpha1
kind: KeyRevocation
metadata: {name: leaked}
spec: {storeRef: {name: main}, key: a, reason: b}
---
apiVersion: scopedsecrets.io/v1alpha1
kind: ScopedSecretStore
metadata: {name: keyed}
spec: {aws: {region: eu-west-1, auth: {secretRef: {name: credentials}}}}
---
apiVersion: v1
kind: Secret
metadata: {name: credentials, namespace: scoped-secrets}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: orders, namespace: team}
---
apiVersion: scopedsecrets.io/v1alpha1
kind: ScopedSecret
metadata: {name: orders-db, namespace: team}
spec:
  storeRef: {name: main}
  consumers: [{serviceAccountName: orders}, {serviceAccountName: not-here}]
  data: [{secretKey: value, remoteRef: {key: a}}]
  target: {name: orders-db}
---
apiVersion: scopedsecrets.io/v1alpha1
kind: SecretGrant
metadata: {name: ada, namespace: team}
spec: {scopedSecretRef: {name: orders-db}}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: site, namespace: team}
spec: {tls: [{secretName: orders-db}, {secretName: not-ours}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: team}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      serviceAccountName: orders
      containers:
      - name: web
        image: web
        env: [{name: A, valueFrom: {secretKeyRef: {name: orders-db, key: value}}}]
        envFrom: [{secretRef: {name: not-ours}}]
      volumes: [{name: v, secret: {secretName: orders-db}}]
"#;

#[test]
fn names_follow_a_prefix() {
    let lines = "namePrefix: one-
resources: [team.yaml]
components: [ROOT/deploy/components/names]
patches:
- patch: |-
    apiVersion: apps/v1
    kind: Deployment
    metadata: {name: web, namespace: team}
    spec: {template: {spec: {containers: [{name: web, tty: true}]}}}
";
    let all = own("names", &[("team.yaml", TEAM)], lines);
    let at = |name: &str, path: &str| {
        let object = all.get(name).unwrap_or_else(|| panic!("no {name} in {:?}", all.keys()));
        object.pointer(path).unwrap_or_else(|| panic!("{name}: no {path}")).clone()
    };
    let (claim, pod) = ("ScopedSecret team/one-orders-db", "/spec/template/spec");
    let web = "Deployment team/one-web";
    for (name, path, expected) in [
        (claim, "/spec/storeRef/name", "one-main"),
        (claim, "/spec/consumers/0/serviceAccountName", "one-orders"),
        (claim, "/spec/consumers/1/serviceAccountName", "not-here"),
        (claim, "/spec/target/name", "one-orders-db"),
        ("SecretGrant team/one-ada", "/spec/scopedSecretRef/name", "one-orders-db"),
        ("Ingress team/one-site", "/spec/tls/0/secretName", "one-orders-db"),
        ("Ingress team/one-site", "/spec/tls/1/secretName", "not-ours"),
        ("SegmentationPolicy -/one-tenants", "/spec/allow/0/storeRef/name", "one-main"),
        ("SegmentationPolicy -/one-tenants", "/spec/allow/1/storeRef/name", "other"),
        ("KeyRevocation -/one-leaked", "/spec/storeRef/name", "one-main"),
        ("ScopedSecretStore -/one-keyed", "/spec/aws/auth/secretRef/name", "one-credentials"),
        (web, &format!("{pod}/containers/0/env/0/valueFrom/secretKeyRef/name"), "one-orders-db"),
        (web, &format!("{pod}/containers/0/envFrom/0/secretRef/name"), "not-ours"),
        (web, &format!("{pod}/volumes/0/secret/secretName"), "one-orders-db"),
        // Kubernetes' own kinds are known as before: a patch of a container is merged into it.
        (web, &format!("{pod}/containers/0/image"), "web"),
    ] {
        assert_eq!(at(name, path), expected, "{name} {path}");
    }
    assert_eq!(at(web, &format!("{pod}/containers/0/tty")), true);
}

/// A copy of the overlay, with a patch of the Deployment: what the patch does not speak of stays.
#[test]
fn a_copy_of_the_overlay_can_be_patched() {
    let at = |path: &str| std::fs::read_to_string(format!("{ROOT}/deploy/overlays/elsewhere/{path}")).unwrap();
    let lines = at("kustomization.yaml").replace("../../", "ROOT/deploy/");
    let (_, lines) = lines.split_once("kind: Kustomization\n").unwrap();
    let patch = "patches:
- patch: |-
    apiVersion: apps/v1
    kind: Deployment
    metadata: {name: scoped-secrets, namespace: scoped-secrets}
    spec:
      template:
        spec:
          containers:
          - name: scoped-secrets
            args: [--scan-interval=12h]
            env: [{name: AWS_REGION, value: eu-west-1}]
";
    let files = [("operators-namespace.yaml", &*at("operators-namespace.yaml"))];
    let patched = own("elsewhere", &files, &format!("{lines}{patch}"));
    let plain = kustomized("deploy/overlays/elsewhere");
    assert_eq!(patched.keys().collect::<Vec<_>>(), plain.keys().collect::<Vec<_>>());
    let containers = "/spec/template/spec/containers";
    let of = |all: &BTreeMap<String, Value>| {
        all["Deployment elsewhere/scoped-secrets"].pointer(containers).unwrap().as_array().unwrap().clone()
    };
    let (mut patched, plain) = (of(&patched), of(&plain));
    assert_eq!(patched[0].as_object_mut().unwrap().remove("args"), Some(json!(["--scan-interval=12h"])));
    patched[0]["env"].as_array_mut().unwrap().retain(|variable| variable["name"] != "AWS_REGION");
    assert_eq!(patched, plain);
}

/// As the operator itself compares them with what is installed.
#[test]
fn the_rules_follow_the_namespace() {
    let live = kustomized("deploy/overlays/elsewhere");
    let installation = Installation { namespace: "elsewhere".into(), ..Installation::default() };
    for object in guards(&installation).iter().flat_map(|guard| guard.objects()) {
        let name = format!("{} -/{}", object["kind"].as_str().unwrap(), object["metadata"]["name"].as_str().unwrap());
        assert_eq!(live[&name]["spec"], object["spec"], "{name}");
    }
    let account = json!([{"kind": "ServiceAccount", "name": "scoped-secrets", "namespace": "elsewhere"}]);
    for binding in ["ClusterRoleBinding -/scoped-secrets", "RoleBinding elsewhere/scoped-secrets"] {
        assert_eq!(live[binding]["subjects"], account, "{binding}");
    }
    assert!(
        live.contains_key("Namespace -/elsewhere") && live.contains_key("Service elsewhere/scoped-secrets-webhook")
    );
}
