//! Whatever comes with one commit comes in an order: Flux by dependsOn, Argo CD by waves.

use super::judge::{ROOT, flux};
use super::support::cluster::Cluster;
use super::written::{below, objects, text};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap()
}

fn named<'a>(all: &'a [Value], kind: &str) -> BTreeMap<&'a str, &'a Value> {
    all.iter().filter(|object| object["kind"] == kind).map(|object| (name(object), object)).collect()
}

/// What a folder of Git brings, by our kinds' order: 0 the kinds themselves and the operator, 1 the platform's, 2 the tenants'.
fn brings(folder: &str) -> u8 {
    assert!(Path::new(ROOT).join(folder).is_dir(), "{folder}");
    if folder.starts_with("charts/") || folder == "examples/flux/operator" {
        return 0;
    }
    let all = below(folder);
    let has = |kind: &str| all.iter().any(|object| object["kind"] == kind);
    match (has("SegmentationPolicy") || has("ScopedSecretStore"), has("ScopedSecret")) {
        (true, false) => 1,
        (false, true) => 2,
        both => panic!("{folder}: {both:?}: platform's and tenants' files are apart"),
    }
}

#[test]
fn flux_waits_for_what_comes_before() {
    let all = objects(&text("examples/flux/sync.yaml"));
    let (steps, sources) = (named(&all, "Kustomization"), named(&all, "GitRepository"));
    let stage = |step: &Value| brings(step["spec"]["path"].as_str().unwrap().trim_start_matches("./"));
    for (name, step) in &steps {
        let spec = &step["spec"];
        assert!(sources.contains_key(spec["sourceRef"]["name"].as_str().unwrap()), "{name}");
        assert_eq!(spec["wait"], true, "{name}: who depends on it must know that it is healthy");
        let before = spec["dependsOn"].as_array().map_or(&[] as &[Value], Vec::as_slice);
        let before: Vec<u8> = before.iter().map(|b| stage(steps[b["name"].as_str().unwrap()])).collect();
        match stage(step) {
            0 => assert!(before.is_empty(), "{name}"),
            later => assert!(before.contains(&(later - 1)), "{name} comes in stage {later}, after {before:?}"),
        }
    }
    let stages: Vec<u8> = steps.values().map(|step| stage(step)).collect();
    assert!([0, 1, 2].iter().all(|stage| stages.contains(stage)), "{stages:?}");
    let release = objects(&text("examples/flux/operator/release.yaml"));
    let chart = &named(&release, "HelmRelease")["scoped-secrets"]["spec"]["chartRef"];
    let source = named(&release, "OCIRepository")[chart["name"].as_str().unwrap()].clone();
    let version = source["spec"]["ref"]["semver"].as_str().unwrap().trim_end_matches('x');
    assert!(env!("CARGO_PKG_VERSION").starts_with(version), "{version}");
}

#[test]
fn flux_reads_every_field() {
    let mut all = below("examples/flux");
    assert!(all.len() >= 7, "{}", all.len());
    for (object, verdict) in all.iter().zip(flux(&all)) {
        let expected = if object["kind"] == "Namespace" { "skipped" } else { "valid" };
        assert_eq!(verdict.status, expected, "{}\n{object:#}", verdict.message);
    }
    for object in all.iter_mut().filter(|object| object["spec"].is_object()) {
        object["spec"]["depensOn"] = Value::Array(vec![]);
        assert_eq!(flux(std::slice::from_ref(object))[0].status, "invalid", "{object:#}");
    }
}

#[test]
fn argo_cd_waits_for_what_comes_before() {
    let all = objects(&text("examples/argocd/applications.yaml"));
    assert_eq!(all.len(), 3);
    for application in &all {
        let wave = application["metadata"]["annotations"]["argocd.argoproj.io/sync-wave"].as_str().unwrap();
        let path = application["spec"]["source"]["path"].as_str().unwrap();
        assert_eq!(wave, brings(path).to_string(), "{}", name(application));
        let policy = &application["spec"]["syncPolicy"];
        let options = policy["syncOptions"].as_array().unwrap();
        for option in ["ServerSideApply=true", "SkipDryRunOnMissingResource=true"] {
            assert!(options.iter().any(|o| o == option), "{}: {option}", name(application));
        }
        assert!(policy["retry"]["limit"].as_i64().unwrap() > 0);
    }
}

/// A team's kustomization under the tests' own folder; ROOT/ stands for the repository.
fn kustomized(folder: &str, files: &[(&str, &str)], lines: &str) -> Vec<Value> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(folder);
    std::fs::create_dir_all(&folder).unwrap();
    // Kustomize takes relative paths alone.
    let up = "../".repeat(folder.components().count() - 1);
    let lines = lines.replace("ROOT/", &format!("{up}{}/", ROOT.trim_start_matches('/')));
    for (file, text) in files.iter().copied().chain([("kustomization.yaml", lines.as_str())]) {
        std::fs::write(folder.join(file), text).unwrap();
    }
    let program = std::env::var_os("KUBECTL").unwrap_or_else(|| "kubectl".into());
    let output = Command::new(program).arg("kustomize").arg(&folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    objects(&String::from_utf8(output.stdout).unwrap())
}

#[test]
fn one_application_of_everything_has_waves() {
    let team = ["examples/platform/store.yaml", "examples/platform/policy.yaml", "examples/payments/orders-prod.yaml"];
    let team = team.map(text).join("---\n") + "---\n" + &text("examples/lent/grant.yaml");
    let lines = "resources: [ROOT/deploy, team.yaml]\ncomponents: [ROOT/examples/argocd/waves]\n";
    let mut seen = BTreeMap::new();
    for object in kustomized("waves", &[("team.yaml", &team)], lines) {
        let wave = object["metadata"]["annotations"]["argocd.argoproj.io/sync-wave"].as_str().unwrap_or("0");
        seen.insert(object["kind"].as_str().unwrap().to_owned(), wave.to_owned());
    }
    let wave = |kind: &str| seen[kind].as_str();
    for kind in ["CustomResourceDefinition", "Deployment", "ValidatingAdmissionPolicy", "ServiceAccount"] {
        assert_eq!(wave(kind), "0", "{kind}");
    }
    assert_eq!(["ScopedSecretStore", "SegmentationPolicy"].map(wave), ["1"; 2]);
    assert_eq!(["ScopedSecret", "SecretGrant"].map(wave), ["2"; 2]);
}

#[test]
fn the_scripts_go_into_an_argo_cd_that_has_settings_of_its_own() {
    let own = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: argocd-cm}\ndata: {url: https://cd.example.com}\n";
    let all =
        kustomized("argocd-cm", &[("own.yaml", own)], "resources: [own.yaml]\ncomponents: [ROOT/deploy/argocd]\n");
    assert_eq!(all.len(), 1);
    assert_eq!(all[0]["data"]["url"], "https://cd.example.com");
    assert_eq!(all[0]["data"], {
        let mut data = objects(&text("deploy/argocd/argocd-cm.yaml"))[0]["data"].clone();
        data["url"] = "https://cd.example.com".into();
        data
    });
}

/// kubectl's own eye on the ConfigMap, without a cluster of its own.
pub fn applies_beside_others(cluster: &Cluster) {
    let own = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: argocd-cm, namespace: default}\ndata: {url: https://cd.example.com}\n";
    cluster.submit(&["create", "-f", "-"], own).unwrap();
    let ours = text("deploy/argocd/argocd-cm.yaml");
    cluster.submit(&["apply", "--server-side", "-n", "default", "-f", "-"], &ours).unwrap();
    let map = cluster.get_json("configmap", "default", "argocd-cm").unwrap();
    assert_eq!(map["data"]["url"], "https://cd.example.com");
    assert!(map["data"]["resource.customizations.health.scopedsecrets.io_ScopedSecret"].is_string());
}
