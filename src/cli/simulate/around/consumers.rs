//! Rule `Consumers`: pods, what makes them, ServiceAccounts, and volumes that name a projected Secret.

use super::{Around, answered, pods, read, told};
use crate::cli::simulate::kind::{Kind, Native};
use crate::cli::simulate::object::Object;
use crate::cli::simulate::report::{Finding, Rule, Severity};
use crate::cli::simulate::yaml::{Node, Place, Value};
use crate::segmentation::authorize::{Governance, governance, segment_of};
use crate::segmentation::consumers::{Referrer, foreign};
use crate::segmentation::references::{Reference, account_of, names, of_account, of_pods};
use crate::segmentation::verdict::Refusal;
use crate::segmentation::volumes::Governed;
use k8s_openapi::api::core::v1::{PodSpec, ServiceAccount};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Each foreign Secret that it references, where it is named.
pub fn judge(around: &Around<'_, '_>, object: &Object, findings: &mut Vec<Finding>) {
    let (Kind::Native(kind), Some(namespace)) = (object.kind, object.namespace.as_deref()) else { return };
    let Some((namespace, targets)) = around.targets.get_key_value(namespace) else { return };
    let Governance::Governed { consumers: mode, .. } = governance(namespace, around.world, around.now) else { return };
    let Ok(segment) = segment_of(namespace, around.world) else { return };
    let segment: Arc<str> = segment.name().into();
    let (account, secrets) = if kind == Native::ServiceAccount {
        let Some(account) = read::<ServiceAccount>(object, object.node.to_stored_json(), findings) else { return };
        (object.name.clone(), owned(&of_account(&account)))
    } else {
        let Some(spec) = pods::spec(kind, object) else { return };
        let Some(spec) = read::<PodSpec>(object, spec, findings) else { return };
        (account_of(&spec).to_owned(), owned(&of_pods(&spec)))
    };
    for secret in &secrets {
        let referrer = Referrer {
            api_version: kind.api_version(),
            kind: kind.kind(),
            name: &object.name,
            account: &account,
            secrets: [secret.as_str()].into(),
        };
        let Some(violation) = foreign(&referrer, namespace, targets, &segment) else { continue };
        let refusal = Refusal { reason: violation.reason, message: violation.message, mode };
        let at = place_of_reference(&object.node, secret, false).unwrap_or(object.node.at);
        findings.push(answered(object, Rule::Consumers, refusal, at));
    }
}

fn owned(references: &[Reference<'_>]) -> Vec<String> {
    names(references).into_iter().map(str::to_owned).collect()
}

/// What no rule at admission sees, and the scan finds.
pub fn judge_volume(around: &Around<'_, '_>, object: &Object, findings: &mut Vec<Finding>) {
    let mut json = object.node.to_stored_json();
    // Its size may be written as a number, and names no Secret.
    json.get_mut("spec").and_then(|spec| spec.as_object_mut()).map(|spec| spec.remove("capacity"));
    let segments: BTreeMap<Arc<str>, Arc<str>> = around
        .world
        .namespaces
        .keys()
        .filter_map(|name| Some((name.clone(), segment_of(name, around.world).ok()?.name().into())))
        .collect();
    let managed = around.projected.keys().map(|secret| (secret.namespace.clone(), secret.name.clone())).collect();
    let governed = Governed { segments: &segments, managed: &managed };
    let found = match object.kind {
        Kind::Native(Native::PersistentVolume) => {
            read(object, json, findings).map(|volume| governed.of_volume(&volume))
        }
        _ => read(object, json, findings).map(|class| governed.of_class(&class)),
    };
    for violation in found.into_iter().flatten() {
        let path = if object.kind == Kind::Native(Native::StorageClass) { "parameters" } else { "spec" };
        let (at, message) = (object.node.place_of(path), format!("{} (the scan finds it)", violation.message));
        findings.push(told(object, Severity::Warning, Rule::Consumers, violation.reason, at, message));
    }
}

/// Where a Secret is named: `secretName`, or `name` in something that is called after Secrets.
fn place_of_reference(node: &Node, secret: &str, within: bool) -> Option<Place> {
    match &node.value {
        Value::List(items) => items.iter().find_map(|item| place_of_reference(item, secret, within)),
        Value::Map(entries) => entries.iter().find_map(|entry| {
            let names = entry.key == "secretName" || (within && entry.key == "name");
            if names && entry.value.text() == Some(secret) {
                return Some(entry.value.at);
            }
            let called = entry.key.to_ascii_lowercase().contains("secret");
            place_of_reference(&entry.value, secret, called)
        }),
        _ => None,
    }
}
