//! `deploy/`: the same objects as the chart's, by kustomize and by kubectl alone.

use super::helm::{by_name, kubectl, objects, template};
use serde_json::Value;
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

#[test]
fn kustomize_renders_what_the_chart_does() {
    let chart = by_name(objects(&template("scoped-secrets", &["--no-hooks"]).unwrap()));
    let chart: BTreeMap<String, Value> =
        chart.into_iter().map(|(name, object)| (name, without_the_charts_own(object))).collect();
    let mut deploy = kustomized("deploy");
    deploy.remove("Namespace -/scoped-secrets").expect("helm --create-namespace makes it");
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
