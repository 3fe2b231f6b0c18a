//! Rules `ManagedSecrets` and `Replication`: Secrets that pass for the operator's, or that a replicator would carry about.

use super::{Around, answered, read, told};
use crate::api::Reason;
use crate::cli::simulate::object::Object;
use crate::cli::simulate::report::{Finding, Rule, Severity};
use crate::cli::simulate::yaml::{Node, Place};
use crate::segmentation::authorize::{Governance, governance};
use crate::segmentation::managed::Mark;
use crate::segmentation::replication::{Carried, of_secretgen};
use crate::segmentation::verdict::Refusal;
use crate::segmentation::world::ObjectName;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// What of a Secret's metadata breaks a rule. What it holds is not looked at: it has no business in Git.
pub fn judge(around: &Around<'_, '_>, object: &Object, findings: &mut Vec<Finding>) {
    let Some(metadata) = object.node.get("metadata") else { return };
    let Some(read) = read::<ObjectMeta>(object, metadata.to_stored_json(), findings) else { return };
    let namespace = object.namespace.as_deref().unwrap_or_default();
    let owner = around.projected.get(&ObjectName::new(namespace, &object.name));
    let mark = Mark::of(&read);
    if let Some(owner) = owner {
        let message = format!(
            "only the operator writes this Secret: ScopedSecret {:?} ({}:{}) projects it; leave it out, or give the ScopedSecret another target.name",
            owner.name, owner.file, owner.node.at.line
        );
        let at = object.node.place_of("metadata.name");
        findings.push(told(object, Severity::Error, Rule::ManagedSecrets, Reason::SecretManaged, at, message));
    } else if let Some(mark) = mark {
        let at = place_at(&object.node, mark.path());
        findings.push(told(
            object,
            Severity::Error,
            Rule::ManagedSecrets,
            Reason::ReservedMetadata,
            at,
            mark.message(true),
        ));
    }
    let Some(carried) = Carried::of(&read, namespace, owner.is_some() || mark.is_some()) else { return };
    if let Governance::Governed { replication: mode, .. } = governance(namespace, around.world, around.now) {
        let refusal = Refusal { reason: carried.reason(), message: carried.message(), mode };
        let annotated = read.annotations.as_ref().is_some_and(|all| all.contains_key(carried.key()));
        let field = if annotated { "annotations" } else { "labels" };
        let at = place_at(&object.node, &["metadata", field, carried.key()]);
        findings.push(answered(object, Rule::Replication, refusal, at));
    }
}

/// A Role or RoleBinding that passes for one of a grant. One that a cluster lists, with its uid, may be the operator's.
pub fn judge_role(object: &Object, findings: &mut Vec<Finding>) {
    let Some(metadata) = object.node.get("metadata").filter(|metadata| metadata.get("uid").is_none()) else { return };
    let Some(read) = read::<ObjectMeta>(object, metadata.to_stored_json(), findings) else { return };
    let Some(mark) = Mark::of(&read) else { return };
    let at = place_at(&object.node, mark.path());
    let message = mark.message(false);
    findings.push(told(object, Severity::Error, Rule::ManagedSecrets, Reason::ReservedMetadata, at, message));
}

/// What carvel's secretgen-controller is told to carry.
pub fn judge_carvel(around: &Around<'_, '_>, kind: &str, object: &Object, findings: &mut Vec<Finding>) {
    let namespace = object.namespace.as_deref().unwrap_or_default();
    let Governance::Governed { replication: mode, .. } = governance(namespace, around.world, around.now) else {
        return;
    };
    let name = ObjectName::new(namespace, &object.name);
    let spec = object.node.get("spec").map(|spec| spec.to_stored_json()).unwrap_or_default();
    let managed = around.projected.contains_key(&name);
    let Some(carried) = of_secretgen(kind, &name, &spec, managed, &name.namespace) else { return };
    let refusal = Refusal { reason: carried.reason, message: carried.message, mode };
    let field = if carried.reason == Reason::ReplicatedIn { "spec.fromNamespace" } else { "metadata.name" };
    findings.push(answered(object, Rule::Replication, refusal, object.node.place_of(field)));
}

/// How deep a path leads; its parts may have dots in them.
fn place_at(node: &Node, path: &[&str]) -> Place {
    let (mut node, mut at) = (node, node.at);
    for field in path {
        let Some(entry) = node.entry(field) else { break };
        (node, at) = (&entry.value, entry.key_at);
    }
    at
}
