//! The JSON schemas, by the validator that kubeconform uses.

use super::judge::schema;
use super::situations;
use super::written::below;
use serde_json::{Value, json};

#[test]
fn every_example_is_valid() {
    let all = below("examples");
    let ours: Vec<Value> = all
        .into_iter()
        .filter(|object| object["apiVersion"].as_str().is_some_and(|version| version.starts_with("scopedsecrets.io/")))
        .collect();
    assert!(ours.len() >= 10, "{}", ours.len());
    for (object, verdict) in ours.iter().zip(schema(&ours)) {
        assert_eq!(verdict.status, "valid", "{}\n{object:#}", verdict.message);
    }
    // With the status that the operator writes.
    let live: Vec<Value> = situations::all().into_iter().map(|row| row.object).collect();
    for (object, verdict) in live.iter().zip(schema(&live)) {
        assert_eq!(verdict.status, "valid", "{}\n{object:#}", verdict.message);
    }
}

#[test]
fn what_is_misspelt_or_missing_is_not() {
    let good = situations::claim(json!({}));
    let with = |pointer: &str, value: Value| {
        let mut bad = good.clone();
        let (parent, field) = pointer.rsplit_once('/').unwrap();
        bad.pointer_mut(parent).unwrap()[field] = value;
        bad
    };
    let bad = [
        with("/specs", json!({})),
        with("/spec/refreshIntervall", json!("1h")),
        with("/spec/storeRef/namespace", json!("other")),
        with("/spec/data/0/remoteRef/keys", json!("a")),
        with("/spec/storeRef", json!("main")),
        with("/spec/restart", json!("Always")),
        with("/spec/rotation/strategy", json!("Sometimes")),
        with("/apiVersion", json!("scopedsecrets.io/v1alpha1"))
            .as_object()
            .map(|o| {
                let mut o = o.clone();
                o.remove("spec");
                Value::Object(o)
            })
            .unwrap(),
    ];
    assert_eq!(schema(std::slice::from_ref(&good))[0].status, "valid");
    for (object, verdict) in bad.iter().zip(schema(&bad)) {
        assert_eq!(verdict.status, "invalid", "{object:#}");
    }
    let labels = with("/spec/target", json!({"template": {"labels": {"any": "thing"}}}));
    assert_eq!(schema(&[labels])[0].status, "valid", "maps stay open");
}
