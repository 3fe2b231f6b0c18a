//! What the chart renders, without a cluster.

use super::helm::{CHART, KINDS_ARE_THERE, by_name, objects, offline, plain, template};
use super::permissions::{Permission, given};
use scoped_secrets::admission::identities::Installation;
use scoped_secrets::admission::rules::guards;
use scoped_secrets::api;
use scoped_secrets::api::scope::is_cluster_scoped;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

fn rendered(namespace: &str, more: &[&str]) -> BTreeMap<String, Value> {
    by_name(objects(&template(namespace, more).unwrap_or_else(|error| panic!("{more:?}: {error}"))))
}

#[test]
fn a_misspelt_or_impossible_value_is_refused() {
    let table = [
        ("replicaCont=2", "replicaCont"),
        ("image.tga=v1", "tga"),
        ("webhook.timeout=3", "timeout"),
        ("global.imagePullSecrets=a", "imagePullSecrets"),
        ("enabled=false", "enabled"),
        ("resources.request.cpu=1", "request"),
        ("replicaCount=-1", "minimum"),
        ("image.digest=latest", "digest"),
        ("image.pullPolicy=Sometimes", "pullPolicy"),
        ("webhook.timeoutSeconds=31", "timeoutSeconds"),
        ("webhook.url=http://a", "url"),
        ("webhook.url=https://a/path", "url"),
        ("webhook.port=8080", "port"),
        ("serviceAccount.name=It's", "name"),
        ("serviceAccount.name=scoped-secrets-test", "name"),
        ("rbac.create=perhaps", "create"),
        ("podDisruptionBudget.maxUnavailable=half", "maxUnavailable"),
        ("extraEnv[0].nam=A", "extraEnv"),
        ("serviceMonitor.onMissingCRD=Perhaps", "onMissingCRD"),
        ("commonLabels.number=1", "commonLabels"),
        ("commonLabels.a=b c", "commonLabels"),
        ("podLabels.a/b/c=d", "podLabels"),
        ("podDisruptionBudget.maxUnavailable=101%", "maxUnavailable"),
        ("webhook.url=https://a b", "url"),
        ("image.repository=Foo Bar", "repository"),
        ("affinity.nodeAfinity.x=a", "affinity"),
        ("tolerations[0].efect=NoSchedule", "tolerations"),
        ("topologySpreadConstraints[0].maxskew=1", "topologySpreadConstraints"),
        ("networkPolicy.metricsFrom[0].namespaceSelector.matchLabel.a=b", "metricsFrom"),
        ("networkPolicy.egress[0].to[0].ipBlock.cdir=10.0.0.0/8", "egress"),
        ("extraVolumes[0].name=a,extraVolumes[0].emptydir.medium=Memory", "extraVolumes"),
        ("extraVolumeMounts[0].name=a,extraVolumeMounts[0].mountpath=/b", "extraVolumeMounts"),
        ("resources.requests.cpus=1", "cpus"),
        ("extraEnv[0].name=A,extraEnv[0].valueFrom.secretKeyReff.name=b", "secretKeyReff"),
        ("extraVolumes[0].name=a,extraVolumes[0].secret.defaultmode=256", "defaultmode"),
        (
            "affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].labelselector.a=b",
            "labelselector",
        ),
        ("serviceMonitor.interval=often", "interval"),
        ("namespaces[0]=A*", "namespaces"),
        ("namespaces={a,a}", "namespaces"),
        ("namespaces=a", "namespaces"),
    ];
    for (set, says) in table {
        match template("scoped-secrets", &["--set", set]) {
            Err(refusal) => assert!(refusal.contains(says) && refusal.contains("schema"), "{set}: {refusal}"),
            Ok(_) => panic!("{set} was taken"),
        }
    }
}

/// A key with nothing behind it takes its default away: it is empty, or must not be.
#[test]
fn every_value_may_be_left_empty_or_says_that_it_may_not() {
    fn keys(schema: &Value, above: &str, all: &mut Vec<String>) {
        for (key, below) in schema["properties"].as_object().into_iter().flatten() {
            all.push(format!("{above}{key}"));
            keys(below, &format!("{above}{key}."), all);
        }
    }
    let schema = std::fs::read_to_string(std::path::Path::new(CHART).join("values.schema.json")).unwrap();
    let mut all = Vec::new();
    keys(&serde_json::from_str(&schema).unwrap(), "", &mut all);
    assert!(all.len() > 60, "{all:?}");
    let crd = [
        "--api-versions",
        "monitoring.coreos.com/v1/ServiceMonitor",
        "--api-versions",
        "monitoring.coreos.com/v1/PrometheusRule",
    ];
    let on = "serviceMonitor.enabled=true,prometheusRule.enabled=true,grafanaDashboard.enabled=true,demo.enabled=true";
    for key in all {
        let nothing = format!("{key}=null");
        let asked = [&crd[..], &["--set", on, "--set", &nothing]].concat();
        match template("scoped-secrets", &asked) {
            Ok(rendered) => drop(objects(&rendered)),
            Err(refusal) => {
                let name = key.rsplit('.').next().unwrap_or_default();
                assert!(refusal.contains("schema") && refusal.contains(name), "{key}: {refusal}");
            }
        }
    }
}

/// What an auditor reads first: why each rule is given.
#[test]
fn every_rule_of_a_role_says_why() {
    for sets in ["restart.enabled=true", "restart.enabled=true,namespaces={payments-prod}"] {
        let text = template("scoped-secrets", &["--set", sets]).unwrap();
        let documents: Vec<&str> = text.split("\n---").filter(|document| document.contains("Role\n")).collect();
        assert!(documents.len() > 5, "{}", documents.len());
        for document in documents.iter().filter(|document| document.contains("\nrules:")) {
            let (_, rules) = document.split_once("\nrules:").unwrap();
            let lines: Vec<&str> = rules.lines().filter(|line| !line.trim().is_empty()).collect();
            let starts = |line: &str| line.trim_start().starts_with("- apiGroups:");
            for at in (0..lines.len()).filter(|at| starts(lines[*at])) {
                let said = at.checked_sub(1).is_some_and(|above| lines[above].trim_start().starts_with("# "));
                assert!(said, "{sets}: {} in {document}", lines[at]);
            }
        }
    }
}

/// Who may not write RBAC can install it: others give what NOTES tell of.
#[test]
fn without_rbac_no_role_is_made() {
    for served in ["restart.enabled=true", "namespaces={a,b}"] {
        let own = ["--set", "rbac.create=false", "--set", served, "--no-hooks"];
        let roles: Vec<String> = rendered("elsewhere", &own).into_keys().filter(|name| name.contains("Role")).collect();
        assert!(roles.is_empty(), "{served}: {roles:?}");
    }
}

/// Whoever applies what is rendered in its order, as kubectl does, ends with a policy over the demo's namespaces.
#[test]
fn the_demo_governs_without_helm_too() {
    let all = objects(&template("elsewhere", &["--set", "demo.enabled=true"]).unwrap());
    let policies: Vec<&Value> = all.iter().filter(|object| object["kind"] == "SegmentationPolicy").collect();
    let last = &policies.last().unwrap()["spec"]["namespaceSelector"]["matchExpressions"][1];
    assert_eq!(*last, json!({"key": "environment", "operator": "In", "values": ["demo"]}));
}

/// With its kinds, or by hooks where those stay.
#[test]
fn the_demo_goes_with_the_release() {
    let table: [(&str, &[&str], usize); 4] = [
        ("crds.keep=true", &[], 2),
        ("crds.keep=false", &[], 0),
        ("crds.keep=true", KINDS_ARE_THERE, 2),
        ("crds.keep=false", KINDS_ARE_THERE, 2),
    ];
    for (keep, crds, hooks) in table {
        let asked = [crds, &["--set", "demo.enabled=true", "--set", keep]].concat();
        let all = objects(&template("elsewhere", &asked).unwrap());
        let hook = |object: &&Value| object["metadata"]["annotations"]["helm.sh/hook"] == "post-delete";
        assert_eq!(all.iter().filter(hook).count(), hooks, "{keep} {crds:?}");
    }
}

/// Where the operator may run, `helm test` may, too; and a namespace may be a number.
#[test]
fn pods_of_ours_run_on_the_same_nodes() {
    let sets = "tolerations[0].operator=Exists,nodeSelector.disk=ssd,priorityClassName=high,affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight=1,affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].preference.matchExpressions[0].key=disk,affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].preference.matchExpressions[0].operator=Exists";
    let all = objects(&template("123", &["--set", sets]).unwrap());
    let of = |kind: &str| all.iter().find(|object| object["kind"] == kind).unwrap();
    let (test, own) = (&of("Pod")["spec"], &of("Deployment")["spec"]["template"]["spec"]);
    for field in ["tolerations", "nodeSelector", "priorityClassName", "affinity"] {
        assert!(!own[field].is_null(), "{field}");
        assert_eq!(test[field], own[field]);
    }
    for object in &all {
        let namespace = &object["metadata"]["namespace"];
        assert!(namespace.is_null() || namespace == "123", "{object}");
    }
}

/// In an umbrella there is `global` with what others need, and a condition.
#[test]
fn it_can_be_a_dependency() {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("umbrella");
    std::fs::create_dir_all(folder.join("charts")).unwrap();
    drop(std::os::unix::fs::symlink(CHART, folder.join("charts/scoped-secrets")));
    let chart = "apiVersion: v2\nname: umbrella\nversion: 0.0.1\ndependencies: [{name: scoped-secrets, version: \"*\", condition: scoped-secrets.enabled}]\n";
    std::fs::write(folder.join("Chart.yaml"), chart).unwrap();
    for (enabled, objects) in [(true, true), (false, false)] {
        let sets = format!("global.imageRegistry=r,scoped-secrets.enabled={enabled}");
        let arguments = ["template", "a", folder.to_str().unwrap(), "--kube-version", "1.33.0", "--set", &sets];
        let yaml = offline(&arguments).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(yaml.contains("kind: Deployment"), objects, "{sets}");
    }
}

/// What is found by a label keeps it, whatever everything of this team has; and no label is there twice.
#[test]
fn common_labels_give_way_to_an_objects_own() {
    let sets = "commonLabels.release=team,commonLabels.tenant=team,commonLabels.grafana_dashboard=team,serviceMonitor.enabled=true,serviceMonitor.labels.release=kps,prometheusRule.enabled=true,prometheusRule.labels.release=kps,grafanaDashboard.enabled=true,demo.enabled=true";
    let apis = "monitoring.coreos.com/v1/ServiceMonitor,monitoring.coreos.com/v1/PrometheusRule";
    let yaml = template("watched", &["--set", sets, "--api-versions", apis]).unwrap();
    let all = objects(&yaml);
    let labels = |kind: &str, name: &str| {
        let found = all.iter().find(|object| object["kind"] == kind && object["metadata"]["name"] == name);
        found.unwrap_or_else(|| panic!("no {kind} {name}"))["metadata"]["labels"].clone()
    };
    for (kind, name, label, value) in [
        ("ServiceMonitor", "scoped-secrets", "release", "kps"),
        ("PrometheusRule", "scoped-secrets", "release", "kps"),
        ("ConfigMap", "scoped-secrets-dashboard", "grafana_dashboard", "1"),
        ("Namespace", "demo-billing", "tenant", "billing"),
        ("Namespace", "demo-payments", "tenant", "payments"),
        ("Deployment", "scoped-secrets", "release", "team"),
    ] {
        assert_eq!(labels(kind, name)[label], value, "{kind} {name}");
    }
    assert_eq!(yaml.matches("tenant: billing").count(), 1, "{yaml}");
    let billing = yaml.split("\n---").find(|object| object.contains("name: demo-billing")).unwrap();
    assert_eq!(billing.matches("tenant:").count(), 1, "{billing}");
}

#[test]
fn an_old_cluster_is_told_so() {
    let refusal = template("scoped-secrets", &["--kube-version", "1.32.9"]).unwrap_err();
    assert!(refusal.contains(">=1.33-0"), "{refusal}");
    for version in ["1.33.1-eks-1234", "1.34.0-gke.100"] {
        template("scoped-secrets", &["--kube-version", version]).unwrap_or_else(|error| panic!("{version}: {error}"));
    }
}

/// What the operator itself compares with what is installed.
#[test]
fn the_rules_speak_of_the_releases_own_account() {
    let live = rendered("elsewhere", &["--set", "serviceAccount.name=keeper"]);
    let installation = Installation { namespace: "elsewhere".into(), service_account: "keeper".into() };
    for object in guards(&installation).iter().flat_map(|guard| guard.objects()) {
        let name = format!("{} -/{}", object["kind"].as_str().unwrap(), object["metadata"]["name"].as_str().unwrap());
        assert_eq!(live[&name]["spec"], object["spec"], "{name}");
    }
    let bindings = ["ClusterRoleBinding -/scoped-secrets", "RoleBinding elsewhere/scoped-secrets"];
    for binding in bindings {
        let account = json!([{"kind": "ServiceAccount", "name": "keeper", "namespace": "elsewhere"}]);
        assert_eq!(live[binding]["subjects"], account, "{binding}");
    }
    let pod = &live["Deployment elsewhere/scoped-secrets"]["spec"]["template"]["spec"];
    assert_eq!(pod["serviceAccountName"], "keeper");
    assert!(!live.contains_key("Namespace -/elsewhere"), "helm --create-namespace does that");
}

#[test]
fn the_kinds_are_the_codes_own() {
    let kinds = |more: &[&str]| {
        let all = rendered("scoped-secrets", more);
        all.into_values().filter(|object| object["kind"] == "CustomResourceDefinition").collect::<Vec<_>>()
    };
    let all = kinds(&[]);
    assert_eq!(all.len(), api::crds().len());
    for crd in api::crds() {
        let expected = plain(serde_json::to_value(&crd).unwrap());
        let found = all.iter().find(|found| found["metadata"]["name"] == expected["metadata"]["name"]).unwrap();
        assert_eq!(found["spec"], expected["spec"]);
        assert_eq!(found["metadata"]["annotations"]["helm.sh/resource-policy"], "keep");
    }
    assert!(kinds(&["--set", "crds.keep=false"]).iter().all(|crd| crd["metadata"]["annotations"].is_null()));
    assert!(kinds(KINDS_ARE_THERE).is_empty());
}

/// The API server refuses whatever a rule is for while it does not know the kind of the rule's parameters: every pod of the cluster.
#[test]
fn no_rule_is_rendered_before_the_kind_of_its_parameters() {
    let mut kinds = BTreeSet::new();
    for object in guards(&Installation::default()).iter().flat_map(|guard| guard.objects()) {
        let of = &object["spec"]["paramKind"];
        if let (Some(version), Some(kind)) = (of["apiVersion"].as_str(), of["kind"].as_str()) {
            kinds.insert(format!("{version}/{kind}"));
        }
    }
    assert!(kinds.iter().any(|kind| kind.ends_with("/SegmentGuard")), "{kinds:?}");
    let asked = |missing: Option<&String>| {
        let there = kinds.iter().filter(|kind| Some(*kind) != missing);
        let known = there.flat_map(|kind| ["--api-versions", kind.as_str()]);
        let asked: Vec<&str> = ["--set", "crds.enabled=false"].into_iter().chain(known).collect();
        template("scoped-secrets", &asked)
    };
    for kind in &kinds {
        let refusal = asked(Some(kind)).unwrap_err();
        assert!(
            refusal.contains(&format!("(with `helm template`, which asks no cluster: --api-versions {kind})")),
            "{refusal}"
        );
        assert!(refusal.contains("kubectl apply --server-side -k crds/"), "{refusal}");
    }
    let all = asked(None).unwrap_or_else(|refusal| panic!("{refusal}"));
    assert!(all.contains("paramKind"));
    let refusal = template("scoped-secrets", &["--set", "crds.enabled=false"]).unwrap_err();
    assert!(kinds.iter().all(|kind| refusal.contains(&format!("--api-versions {kind}"))), "{refusal}");
}

#[test]
fn each_value_is_where_it_belongs() {
    type Row<'a> = (&'a [&'a str], &'a str, &'a str, Value);
    let (deployment, container) = ("Deployment scoped-secrets/scoped-secrets", "/spec/template/spec/containers/0");
    let digest = format!("sha256:{}", "a".repeat(64));
    let by_digest = format!("image.digest={digest}");
    let at = |path: &str| format!("{container}{path}");
    let (image, args, requests) = (at("/image"), at("/args"), at("/resources/requests/cpu"));
    let table: [Row; 25] = [
        (&["replicaCount=3"], deployment, "/spec/replicas", json!(3)),
        (&["image.tag=v9"], deployment, &image, json!("ghcr.io/scoped-secrets/scoped-secrets:v9")),
        (&["image.repository=local/own", "image.tag=v9"], deployment, &image, json!("local/own:v9")),
        (&["image.pullPolicy=Always"], deployment, &at("/imagePullPolicy"), json!("Always")),
        (
            &["serviceAccount.annotations.eks\\.amazonaws\\.com/role-arn=arn"],
            "ServiceAccount scoped-secrets/scoped-secrets",
            "/metadata/annotations/eks.amazonaws.com~1role-arn",
            json!("arn"),
        ),
        (
            &["serviceAccount.create=false", "serviceAccount.name=own"],
            deployment,
            "/spec/template/spec/serviceAccountName",
            json!("own"),
        ),
        (
            &["networkPolicy.metricsFrom[0].podSelector.matchLabels.app=prometheus"],
            "NetworkPolicy scoped-secrets/scoped-secrets",
            "/spec/ingress/1/from",
            json!([{"podSelector": {"matchLabels": {"app": "prometheus"}}}]),
        ),
        (
            &["networkPolicy.egress[0].ports[0].port=443"],
            "NetworkPolicy scoped-secrets/scoped-secrets",
            "/spec/egress",
            json!([{"ports": [{"port": 443}]}]),
        ),
        (
            &["extraVolumeMounts[0].name=a", "extraVolumeMounts[0].mountPath=/a"],
            deployment,
            &at("/volumeMounts"),
            json!([{"name": "a", "mountPath": "/a"}]),
        ),
        (&["podAnnotations.a=b"], deployment, "/spec/template/metadata/annotations/a", json!("b")),
        (
            &["terminationGracePeriodSeconds=40"],
            deployment,
            "/spec/template/spec/terminationGracePeriodSeconds",
            json!(40),
        ),
        (
            &[
                "topologySpreadConstraints[0].maxSkew=1",
                "topologySpreadConstraints[0].whenUnsatisfiable=ScheduleAnyway",
                "topologySpreadConstraints[0].topologyKey=zone",
                "topologySpreadConstraints[0].labelSelector.matchLabels.a=b",
            ],
            deployment,
            "/spec/template/spec/topologySpreadConstraints/0/labelSelector",
            json!({"matchLabels": {"a": "b"}}),
        ),
        (
            &[&by_digest, "image.tag=v9"],
            deployment,
            &image,
            json!(format!("ghcr.io/scoped-secrets/scoped-secrets@{digest}")),
        ),
        (
            &["global.imagePullSecrets[0].name=registry"],
            deployment,
            "/spec/template/spec/imagePullSecrets",
            json!([{"name": "registry"}]),
        ),
        (
            &["global.imagePullSecrets={registry}"],
            deployment,
            "/spec/template/spec/imagePullSecrets",
            json!([{"name": "registry"}]),
        ),
        (&["extraArgs={--log-level=debug}"], deployment, &args, json!(["--log-level=debug"])),
        (&["resources.requests.cpu=1"], deployment, &requests, json!(1)),
        (&["priorityClassName=high"], deployment, "/spec/template/spec/priorityClassName", json!("high")),
        (&["nodeSelector.disk=ssd"], deployment, "/spec/template/spec/nodeSelector", json!({"disk": "ssd"})),
        (
            &["tolerations[0].operator=Exists"],
            deployment,
            "/spec/template/spec/tolerations",
            json!([{"operator": "Exists"}]),
        ),
        (
            &["extraVolumes[0].name=a", "extraVolumes[0].emptyDir.medium=Memory"],
            deployment,
            "/spec/template/spec/volumes/0/name",
            json!("a"),
        ),
        (
            &["podLabels.app\\.kubernetes\\.io/name=other"],
            deployment,
            "/spec/template/metadata/labels/app.kubernetes.io~1name",
            json!("scoped-secrets"),
        ),
        (
            &["commonLabels.team=a", "commonLabels.app\\.kubernetes\\.io/part-of=b"],
            "ValidatingAdmissionPolicy -/boundary.scopedsecrets.io",
            "/metadata/labels/team",
            json!("a"),
        ),
        (
            &["commonLabels.app\\.kubernetes\\.io/part-of=b"],
            "ValidatingAdmissionPolicyBinding -/boundary.scopedsecrets.io",
            "/metadata/labels/app.kubernetes.io~1part-of",
            json!("scoped-secrets"),
        ),
        (
            &["podDisruptionBudget.maxUnavailable=50%"],
            "PodDisruptionBudget scoped-secrets/scoped-secrets",
            "/spec/maxUnavailable",
            json!("50%"),
        ),
    ];
    for (sets, object, path, expected) in table {
        let sets: Vec<&str> = sets.iter().flat_map(|set| ["--set", set]).collect();
        let all = rendered("scoped-secrets", &sets);
        let object = all.get(object).unwrap_or_else(|| panic!("{sets:?}: no {object}"));
        assert_eq!(object.pointer(path), Some(&expected), "{sets:?}: {path}");
    }
    let without = rendered("scoped-secrets", &["--set", "serviceAccount.create=false,networkPolicy.enabled=false"]);
    let left = ["ServiceAccount scoped-secrets/scoped-secrets", "NetworkPolicy scoped-secrets/scoped-secrets"];
    assert!(left.iter().all(|name| !without.contains_key(*name)));
    let all = rendered(
        "scoped-secrets",
        &["--set", "webhook.url=https://10.0.0.1:9443,webhook.port=9444,webhook.timeoutSeconds=7"],
    );
    let container = &all[deployment]["spec"]["template"]["spec"]["containers"][0];
    let value =
        |name: &str| container["env"].as_array().unwrap().iter().find(|e| e["name"] == name).unwrap()["value"].clone();
    assert_eq!(value("SCOPED_SECRETS_WEBHOOK_URL"), "https://10.0.0.1:9443");
    assert_eq!(value("SCOPED_SECRETS_WEBHOOK_ADDRESS"), "[::]:9444");
    assert_eq!(value("SCOPED_SECRETS_WEBHOOK_TIMEOUT"), "7s");
    assert_eq!(container["ports"][0]["containerPort"], 9444);
}

/// With a list of namespaces nothing that is given to the operator in the whole cluster is namespaced, and each namespace has what it
/// would have had by the ClusterRole.
#[test]
fn a_list_of_namespaces_narrows_the_roles() {
    let sets = ["--set", "namespaces={payments-prod,billing-prod},restart.enabled=true"];
    let (all, listed) = (rendered("scoped-secrets", &[]), rendered("scoped-secrets", &sets));
    let (whole, cluster) = (&all["ClusterRole -/scoped-secrets"], &listed["ClusterRole -/scoped-secrets"]);
    let there = |permission: &Permission| {
        let (group, resource) = permission.1.split_once('/').unwrap();
        is_cluster_scoped(group, resource)
    };
    assert!(given([cluster]).iter().all(there), "{cluster:#}");
    for namespace in ["payments-prod", "billing-prod"] {
        let role = &listed[&format!("Role {namespace}/scoped-secrets-namespace")];
        assert_eq!(given([role, cluster]), given([whole]), "{namespace}");
        assert!(given([role]).iter().all(|permission| !there(permission)));
        assert!(listed.contains_key(&format!("RoleBinding {namespace}/scoped-secrets-namespace")));
        assert!(listed.contains_key(&format!("RoleBinding {namespace}/scoped-secrets-restart")));
    }
    assert!(listed.contains_key("RoleBinding kube-system/scoped-secrets-events"));
    let events = json!([{"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create"]}]);
    assert_eq!(listed["Role kube-system/scoped-secrets-events"]["rules"], events);
    assert!(!listed.contains_key("ClusterRole -/scoped-secrets-restart"));
    let container = &listed["Deployment scoped-secrets/scoped-secrets"]["spec"]["template"]["spec"]["containers"][0];
    let variable = json!({"name": "SCOPED_SECRETS_NAMESPACES", "value": "payments-prod,billing-prod"});
    assert!(container["env"].as_array().unwrap().contains(&variable));
    let refusal = template("scoped-secrets", &["--set", "namespaces={a},demo.enabled=true"]).unwrap_err();
    assert!(refusal.contains("add demo-billing and demo-payments to namespaces"), "{refusal}");
}

/// One may go, with its node or in an upgrade, and admission is still there.
#[test]
fn two_replicas_are_spread_and_kept() {
    let all = rendered("scoped-secrets", &[]);
    let deployment = &all["Deployment scoped-secrets/scoped-secrets"]["spec"];
    assert_eq!(deployment["replicas"], 2);
    assert_eq!(deployment["strategy"]["rollingUpdate"], json!({"maxUnavailable": 0, "maxSurge": 1}));
    let spread = &deployment["template"]["spec"]["topologySpreadConstraints"][0];
    assert_eq!(spread["topologyKey"], "kubernetes.io/hostname");
    let budget = &all["PodDisruptionBudget scoped-secrets/scoped-secrets"]["spec"];
    assert_eq!(budget["maxUnavailable"], 1);
    let labels = deployment["template"]["metadata"]["labels"].as_object().unwrap();
    for selector in [&deployment["selector"], &spread["labelSelector"], &budget["selector"]] {
        let wanted = selector["matchLabels"].as_object().unwrap();
        assert!(!wanted.is_empty() && wanted.iter().all(|(key, value)| labels.get(key) == Some(value)), "{selector}");
    }
    assert!(
        !rendered("scoped-secrets", &["--set", "podDisruptionBudget.enabled=false"])
            .contains_key("PodDisruptionBudget scoped-secrets/scoped-secrets")
    );
}

/// No container of ours, tests included, is laxer than another.
#[test]
fn every_container_is_locked_up() {
    let all = rendered("scoped-secrets", &[]);
    let specs = all.values().filter_map(|object| match object["kind"].as_str() {
        Some("Deployment") => Some(&object["spec"]["template"]["spec"]),
        Some("Pod") => Some(&object["spec"]),
        _ => None,
    });
    let specs: Vec<&Value> = specs.collect();
    assert_eq!(specs.len(), 2, "the operator and the test");
    for spec in specs {
        assert_eq!(spec["securityContext"]["runAsNonRoot"], true);
        assert_eq!(spec["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
        for container in spec["containers"].as_array().unwrap() {
            let context = &container["securityContext"];
            assert_eq!(context["readOnlyRootFilesystem"], true);
            assert_eq!(context["allowPrivilegeEscalation"], false);
            assert_eq!(context["capabilities"], json!({"drop": ["ALL"]}));
            assert!(container["resources"]["requests"]["memory"].is_string());
        }
    }
}

/// No role for people reads Secrets, and none of the chart's reaches the operator's pods by their labels.
#[test]
fn what_people_get_is_of_our_own_kinds() {
    let all = rendered("scoped-secrets", &[]);
    for role in ["view", "edit", "admin"] {
        let object = &all[&format!("ClusterRole -/scoped-secrets-{role}")];
        assert_eq!(object["metadata"]["labels"][format!("rbac.authorization.k8s.io/aggregate-to-{role}")], "true");
        for rule in object["rules"].as_array().unwrap() {
            assert_eq!(rule["apiGroups"], json!(["scopedsecrets.io"]), "{role}");
            let writes = rule["verbs"]
                .as_array()
                .unwrap()
                .iter()
                .any(|v| !["get", "list", "watch"].contains(&v.as_str().unwrap()));
            assert_eq!(writes, role != "view", "{role}");
        }
        let set = format!("rbac.aggregateTo{}{}=false", role[..1].to_uppercase(), &role[1..]);
        let without = rendered("scoped-secrets", &["--set", &set]);
        assert!(!without.contains_key(&format!("ClusterRole -/scoped-secrets-{role}")), "{set}");
        assert_eq!(without.len(), all.len() - 1, "{set}");
    }
    let selector = &all["Deployment scoped-secrets/scoped-secrets"]["spec"]["selector"]["matchLabels"];
    let test = &all["Pod scoped-secrets/scoped-secrets-test"]["metadata"]["labels"];
    assert!(
        selector.as_object().unwrap().iter().any(|(key, value)| test[key] != *value),
        "the Service would send it reviews"
    );
}

#[test]
fn what_another_project_brings_is_skipped_or_missed() {
    let api = "monitoring.coreos.com/v1/ServiceMonitor";
    let refusal = template("scoped-secrets", &["--set", "serviceMonitor.enabled=true"]).unwrap_err();
    assert!(refusal.contains(api) && refusal.contains("onMissingCRD=Skip"), "{refusal}");
    let skipped =
        rendered("scoped-secrets", &["--set", "serviceMonitor.enabled=true,serviceMonitor.onMissingCRD=Skip"]);
    assert_eq!(skipped, rendered("scoped-secrets", &[]));
    let there = rendered(
        "scoped-secrets",
        &["--set", "serviceMonitor.enabled=true,serviceMonitor.labels.release=kps", "--api-versions", api],
    );
    let monitor = &there["ServiceMonitor scoped-secrets/scoped-secrets"];
    assert_eq!(monitor["metadata"]["labels"]["release"], "kps");
    let service = &there["Service scoped-secrets/scoped-secrets-metrics"];
    for (key, value) in monitor["spec"]["selector"]["matchLabels"].as_object().unwrap() {
        assert_eq!(service["metadata"]["labels"][key], *value, "the Service is found by {key}");
    }
    assert_eq!(service["spec"]["ports"][0]["name"], monitor["spec"]["endpoints"][0]["port"]);
}

/// Helm 4 takes no name twice, and says so when half of the release is there.
#[test]
fn a_variable_is_set_once() {
    for (sets, name) in [
        ("", "SCOPED_SECRETS_LOG_FORMAT"),
        ("namespaces={a},", "SCOPED_SECRETS_NAMESPACES"),
        ("", "SCOPED_SECRETS_NAMESPACES"),
        ("otlp.endpoint=http://c:4318,", "OTEL_EXPORTER_OTLP_ENDPOINT"),
    ] {
        let sets = format!("{sets}extraEnv[0].name={name},extraEnv[0].value=x");
        let refusal = template("scoped-secrets", &["--set", &sets]).unwrap_err();
        assert!(refusal.contains(name) && refusal.contains("extraArgs"), "{refusal}");
    }
    rendered(
        "scoped-secrets",
        &["--set", "extraEnv[0].name=OTEL_EXPORTER_OTLP_ENDPOINT,extraEnv[0].value=http://c:4318"],
    );
}

#[test]
fn extra_objects_are_templates() {
    let values = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("extra.yaml");
    let text = "extraObjects:\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: '{{ .Release.Name }}-a', namespace: b}}\n- |\n  apiVersion: v1\n  kind: ConfigMap\n  metadata: {name: text, namespace: '{{ .Release.Namespace }}'}\n";
    std::fs::write(&values, text).unwrap();
    let all = rendered("here", &["--values", values.to_str().unwrap()]);
    assert!(all.contains_key("ConfigMap b/scoped-secrets-a") && all.contains_key("ConfigMap here/text"));
    // Of our own kinds none is a hook, which Helm would make anew with each upgrade, and a policy's Secrets with it.
    let hook = "extraObjects:\n- |\n  apiVersion: v1\n  kind: ConfigMap\n  metadata: {name: first, namespace: a}\n  ---\n  apiVersion: scopedsecrets.io/v1alpha1\n  kind: ScopedSecretStore\n  metadata: {name: main, annotations: {helm.sh/hook: 'post-install,post-upgrade'}}\n";
    std::fs::write(&values, hook).unwrap();
    let refusal = template("here", &["--values", values.to_str().unwrap()]).unwrap_err();
    assert!(refusal.contains("ScopedSecretStore \"main\" as a hook"), "{refusal}");
    std::fs::write(&values, hook.replace("helm.sh/hook", "example.com/wave")).unwrap();
    let all = rendered("here", &["--values", values.to_str().unwrap()]);
    assert!(all.contains_key("ScopedSecretStore -/main") && all.contains_key("ConfigMap a/first"), "{all:?}");
}

/// Artifact Hub, and whoever looks for a version: all from Cargo.toml.
#[test]
fn the_charts_metadata_is_the_packages() {
    let text = std::fs::read_to_string(format!("{CHART}/Chart.yaml")).unwrap();
    let chart: Value = serde_saphyr::from_str(&text).unwrap();
    assert_eq!(chart["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(chart["appVersion"], env!("CARGO_PKG_VERSION"));
    let kinds: Vec<Value> =
        serde_saphyr::from_str(chart["annotations"]["artifacthub.io/crds"].as_str().unwrap()).unwrap();
    assert_eq!(kinds.len(), api::crds().len());
    assert!(kinds.iter().all(|kind| !kind["description"].as_str().unwrap().is_empty()));
}
