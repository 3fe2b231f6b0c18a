//! What stands beside the ScopedSecrets in the input, held to the rules as admission would hold it: Consumers, Replication,
//! ManagedSecrets, Rbac, OtherOperators.
//!
//! ```text
//!   allowed claims ─► who may reference which Secret ─┐
//!   World (namespaces, policies, stores, claims) ─────┼─► a file a rule, over the pure cores ─► Finding
//!   pods, Secrets, roles, others' objects ────────────┘
//! ```
//!
//! What admission would refuse is an error; what it would let through with a warning, or only record, is a warning.

mod consumers;
mod other_operators;
pub(in crate::cli) mod pods;
mod rbac;
mod secrets;

use super::kind::{Kind, Native};
use super::object::Object;
use super::report::{Finding, Rule, Severity};
use super::yaml::{Node, Place, Value};
use crate::api::policy::Mode;
use crate::api::{Reason, ScopedSecretSpec};
use crate::segmentation::consumers::{Claimant, Standing, Target, consumers as of_target};
use crate::segmentation::key::CanonicalKey;
use crate::segmentation::verdict::Refusal;
use crate::segmentation::world::{Claim, Holding, ObjectName, World};
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// A claim that may have its keys.
pub struct Granted<'a> {
    /// The ScopedSecret.
    pub object: &'a Object,
    /// What it asks for.
    pub claim: Claim,
    /// The keys.
    pub keys: Vec<CanonicalKey>,
    /// Its consumers' ServiceAccounts.
    pub consumers: Vec<String>,
}

impl Granted<'_> {
    /// The ServiceAccounts that a spec names.
    pub fn consumers_of(spec: &ScopedSecretSpec) -> Vec<String> {
        spec.consumers.iter().map(|consumer| consumer.service_account_name.clone()).collect()
    }

    fn target(&self) -> ObjectName {
        ObjectName::of(self.claim.object.namespace.clone(), self.claim.target.clone())
    }
}

/// What every rule knows.
struct Around<'w, 'a> {
    world: &'w World,
    now: Timestamp,
    /// Of each namespace the Secrets that are projected for consumers, as its SegmentGuard would say.
    targets: BTreeMap<Arc<str>, BTreeMap<String, Vec<String>>>,
    /// Every Secret that is projected, and by which ScopedSecret.
    projected: HashMap<ObjectName, &'a Object>,
}

/// Judges the objects, once every claim was.
pub fn judge(world: &mut World, granted: &[Granted<'_>], objects: &[&Object], now: Timestamp) -> Vec<Finding> {
    let mut projected = HashMap::new();
    let mut targets: BTreeMap<ObjectName, Target> = BTreeMap::new();
    for grant in granted {
        let secret = grant.target();
        if !projected.contains_key(&secret) {
            world.put_holding(secret.clone(), Holding::of_claim(&grant.claim, grant.keys.clone()).into());
            projected.insert(secret.clone(), grant.object);
        }
        let claimant = Claimant {
            consumers: grant.consumers.clone(),
            standing: Standing::Allowed,
            holds: false,
            barred: false,
            since: (grant.claim.created, grant.claim.uid.clone()),
        };
        targets.entry(secret).or_default().claimants.push(claimant);
    }
    let mut guards: BTreeMap<Arc<str>, BTreeMap<String, Vec<String>>> = BTreeMap::new();
    for (secret, target) in targets {
        if let Some(consumers) = of_target(&target, None) {
            guards.entry(secret.namespace.clone()).or_default().insert(secret.name.to_string(), consumers);
        }
    }
    let mut findings = Vec::new();
    other_operators::observe(world, objects);
    let around = Around { world, now, targets: guards, projected };
    for object in objects {
        match object.kind {
            Kind::Native(Native::Secret) => secrets::judge(&around, object, &mut findings),
            Kind::Native(Native::PersistentVolume | Native::StorageClass) => {
                consumers::judge_volume(&around, object, &mut findings);
            }
            Kind::Native(Native::Role | Native::RoleBinding) => secrets::judge_role(object, &mut findings),
            Kind::Native(Native::ClusterRole | Native::ClusterRoleBinding) => {}
            Kind::Native(_) => consumers::judge(&around, object, &mut findings),
            Kind::Foreign(_) => other_operators::judge(&around, object, &mut findings),
            Kind::Carvel(kind) => secrets::judge_carvel(&around, kind, object, &mut findings),
            Kind::Namespace
            | Kind::ScopedSecretStore
            | Kind::SegmentationPolicy
            | Kind::ScopedSecret
            | Kind::SecretGrant => {}
        }
    }
    rbac::judge(&around, objects, &mut findings);
    findings
}

/// A refusal, as admission would answer it.
fn answered(object: &Object, rule: Rule, refusal: Refusal, at: Place) -> Finding {
    let Refusal { reason, message, mode } = refusal;
    let (severity, message) = match mode {
        Mode::Enforce => (Severity::Error, message),
        Mode::Warn => {
            (Severity::Warning, format!("{message} (in mode Warn it is let through, with this as a warning)"))
        }
        Mode::Audit => (
            Severity::Warning,
            format!("{message} (it is let through and recorded: mode Audit, reportOnly or an exception)"),
        ),
    };
    told(object, severity, rule, reason, at, message)
}

/// A finding with what the reason's page says to do.
fn told(object: &Object, severity: Severity, rule: Rule, reason: Reason, at: Place, message: String) -> Finding {
    let mut finding = object.finding(severity, rule, reason, at, message);
    finding.fix = Some(reason.fix().to_owned());
    finding
}

/// A namespace that decides, and of which nothing is known.
fn namespace_missing(object: &Object, severity: Severity, rule: Rule, namespace: &str) -> Finding {
    let message = format!(
        "namespace {namespace:?} is not in the input: its labels are unknown, and so is whether it is governed"
    );
    let at = object.node.place_of("metadata.namespace");
    let mut finding = object.finding(severity, rule, Reason::PolicyUnknown, at, message);
    finding.fix = Some(format!("the file with `kind: Namespace`, `name: {namespace}` on the command line as well"));
    finding
}

/// Part of an object as Rust has it; what the API server would not take is a finding.
fn read<T: DeserializeOwned>(object: &Object, value: serde_json::Value, findings: &mut Vec<Finding>) -> Option<T> {
    match serde_json::from_value(value) {
        Ok(read) => Some(read),
        Err(error) => {
            let message = format!("it cannot be understood, and was not judged: {error}");
            let at = object.node.at;
            findings.push(object.finding(Severity::Warning, Rule::Schema, Reason::SpecInvalid, at, message));
            None
        }
    }
}

/// The first place where a text stands: by itself, else inside a longer one.
fn place_of_text(node: &Node, text: &str) -> Option<Place> {
    let mut inside = None;
    let whole = find(node, &mut |found| {
        if inside.is_none() && found.text().is_some_and(|t| t.contains(text)) {
            inside = Some(found.at);
        }
        found.text() == Some(text)
    });
    whole.or(inside)
}

/// The first node that is meant, in the order of the document.
fn find(node: &Node, is_meant: &mut dyn FnMut(&Node) -> bool) -> Option<Place> {
    if is_meant(node) {
        return Some(node.at);
    }
    match &node.value {
        Value::List(items) => items.iter().find_map(|item| find(item, is_meant)),
        Value::Map(entries) => entries.iter().find_map(|entry| find(&entry.value, is_meant)),
        _ => None,
    }
}
