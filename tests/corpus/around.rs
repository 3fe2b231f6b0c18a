//! What the core is asked beside claims and policies: roles, other operators' objects, and what a state shows of the rules that
//! guards keep.

use super::case::Case;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PodSpec, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use scoped_secrets::api::{Reason, ScopedSecret};
use scoped_secrets::controller::index::Index;
use scoped_secrets::segmentation::access::written::{Bound, Rules};
use scoped_secrets::segmentation::access::{Access, RbacName};
use scoped_secrets::segmentation::authorize::{Governance, authorize, governance};
use scoped_secrets::segmentation::consumers::{Claimant, Referrer, Standing, Target, consumers, foreign};
use scoped_secrets::segmentation::foreign::{Foreign, ForeignKind, ForeignName, Record, store};
use scoped_secrets::segmentation::managed::Mark;
use scoped_secrets::segmentation::references::{account_of, names, of_account, of_pods};
use scoped_secrets::segmentation::replication::{Carried, of_secretgen};
use scoped_secrets::segmentation::verdict::{Refusal, Verdict};
use scoped_secrets::segmentation::world::ObjectName;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::BTreeMap;

fn name_of(object: &Value) -> (Option<&str>, &str) {
    let metadata = &object["metadata"];
    (metadata["namespace"].as_str(), metadata["name"].as_str().unwrap_or_default())
}

fn read<T: DeserializeOwned>(value: &Value) -> T {
    serde_json::from_value(value.clone()).unwrap_or_else(|error| panic!("{value}: {error}"))
}

/// The roles and bindings of a replica that has seen these.
pub fn access_of(access: &mut Access, objects: &[Value]) {
    access.put_default_roles();
    for object in objects {
        let (namespace, name) = name_of(object);
        let name = RbacName::new(namespace, name);
        match object["kind"].as_str() {
            Some("Role") => access.put_role(name, read::<Rules>(object).role().clone()),
            Some("ClusterRole") => {
                let (rules, labels) = (read::<Rules>(object), read::<ObjectMeta>(&object["metadata"]).labels);
                access.put_cluster_role(name, rules.role().clone(), rules.aggregation(labels.as_ref()));
            }
            Some("RoleBinding" | "ClusterRoleBinding") => {
                let binding = read::<Bound>(object).binding(namespace);
                access.put_binding(name, binding);
            }
            _ => {}
        }
    }
    access.aggregate();
}

/// Likewise the objects of other operators.
pub fn foreign_of(known: &mut Foreign, objects: &[Value]) {
    ForeignKind::ALL.iter().for_each(|kind| known.set_read(*kind, true));
    for (position, object) in objects.iter().enumerate() {
        let text = |field: &str| object[field].as_str().unwrap_or_default();
        let group = text("apiVersion").split('/').next().unwrap_or_default();
        let Some(kind) = ForeignKind::of(group, text("kind")) else { continue };
        let (namespace, name) = name_of(object);
        let name = ForeignName::new(kind, namespace, name);
        if kind.is_store() {
            known.put_store(name, store(&object["spec"]));
        } else {
            let created = Timestamp::from_second(i64::try_from(position).unwrap()).unwrap();
            known.put(name, Record::of(kind, &object["spec"], &format!("uid-{position:04}"), created));
        }
    }
}

/// What the rule of a case says of an object as it would be.
pub fn refusal(
    case: &Case,
    before: Option<&Value>,
    after: &Value,
    objects: &[Value],
    index: &Index,
    now: Timestamp,
) -> Option<Refusal> {
    let namespace = case.step.namespace.as_deref().expect("a namespace");
    let (mode, replication) = match governance(namespace, &index.world, now) {
        Governance::Governed { consumers, replication, .. } => (Some(consumers), Some(replication)),
        _ => (None, None),
    };
    let metadata = |object: &Value| read::<ObjectMeta>(&object["metadata"]);
    let was_managed = before.is_some_and(|before| Mark::of(&metadata(before)).is_some());
    match case.rule.as_str() {
        "Consumers" => of_referrer(case, after, &targets(namespace, objects, index, now))
            .zip(mode)
            .map(|((reason, message), mode)| Refusal { mode, ..Refusal::new(reason, message) }),
        "Replication" if case.step.kind != "Secret" => {
            let name = ObjectName::new(namespace, &case.step.name);
            let managed = index.world.holding(&name).is_some();
            let carried = of_secretgen(&case.step.kind, &name, &after["spec"], managed, &namespace.into())?;
            Some(Refusal { mode: replication?, ..Refusal::new(carried.reason, carried.message) })
        }
        "Replication" => {
            let after = metadata(after);
            let carried = Carried::of(&after, namespace, was_managed || Mark::of(&after).is_some())?;
            Some(Refusal { mode: replication?, ..Refusal::new(carried.reason(), carried.message()) })
        }
        "ManagedSecrets" => {
            let mark = Mark::of(&metadata(after)).filter(|_| !was_managed)?;
            Some(Refusal::new(Reason::ReservedMetadata, mark.message(true)))
        }
        other => panic!("{}: no core sees {other}", case.title),
    }
}

/// The projected Secrets of a namespace with their consumers, as its SegmentGuard says.
fn targets(namespace: &str, objects: &[Value], index: &Index, now: Timestamp) -> BTreeMap<String, Vec<String>> {
    let here = |object: &&Value| object["kind"] == "ScopedSecret" && object["metadata"]["namespace"] == namespace;
    let each = |object: &Value| {
        let claim = index.world.claim(&ObjectName::new(namespace, name_of(object).1))?;
        let Verdict::Allowed(_) = authorize(claim, &index.world, now) else { return None };
        let spec = read::<ScopedSecret>(object).spec;
        let claimant = Claimant {
            consumers: spec.consumers.into_iter().map(|consumer| consumer.service_account_name).collect(),
            standing: Standing::Allowed,
            holds: true,
            barred: false,
            since: (claim.created, claim.uid.clone()),
        };
        let target = Target { held: true, claimants: vec![claimant], ..Target::default() };
        Some((claim.target.to_string(), consumers(&target, None)?))
    };
    objects.iter().filter(here).filter_map(each).collect()
}

fn of_referrer(case: &Case, after: &Value, targets: &BTreeMap<String, Vec<String>>) -> Option<(Reason, String)> {
    let (kind, name) = (case.step.kind.as_str(), case.step.name.as_str());
    let namespace = case.step.namespace.as_deref().expect("a namespace");
    let told = |account: &str, secrets| {
        let referrer = Referrer { api_version: "v1", kind, name, account, secrets };
        let violation = foreign(&referrer, &namespace.into(), targets, &"its/own".into())?;
        Some((violation.reason, violation.message))
    };
    let path = match kind {
        "ServiceAccount" => return told(name, names(&of_account(&read::<ServiceAccount>(after)))),
        "Pod" => "/spec",
        "PodTemplate" => "/template/spec",
        "CronJob" => "/spec/jobTemplate/spec/template/spec",
        _ => "/spec/template/spec",
    };
    let pods: PodSpec = read(after.pointer(path)?);
    told(account_of(&pods), names(&of_pods(&pods)))
}
