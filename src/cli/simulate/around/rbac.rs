//! Rule `Rbac`: bindings by which somebody gets at Secrets across a boundary.
//!
//! `cluster-admin`, `admin`, `edit` and `view` are known without being in the input, and what of the input's ClusterRoles they
//! are given.

use super::{Around, answered, namespace_missing, read, told};
use crate::cli::simulate::kind::{Kind, Native};
use crate::cli::simulate::object::Object;
use crate::cli::simulate::report::{Finding, Rule, Severity};
use crate::segmentation::access::answers::Asking;
use crate::segmentation::access::findings::findings as found;
use crate::segmentation::access::jurisdiction::Jurisdiction;
use crate::segmentation::access::written::{Bound, Rules};
use crate::segmentation::access::{Access, Binding, RbacName};
use crate::segmentation::violation::Violation;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What each binding is answered, and what of it would be found all the same.
pub fn judge(around: &Around<'_, '_>, objects: &[&Object], findings: &mut Vec<Finding>) {
    let mut access = Access::default();
    access.put_default_roles();
    let bindings: Vec<(&Object, RbacName, Binding)> =
        objects.iter().filter_map(|object| observe(&mut access, object, findings)).collect();
    if bindings.is_empty() {
        return;
    }
    access.aggregate();
    let jurisdictions = Arc::new(Jurisdiction::all(around.world));
    let asking =
        Asking { access: &access, world: around.world, jurisdictions: &|| jurisdictions.clone(), now: around.now };
    let mut lasting: BTreeMap<RbacName, Violation> = BTreeMap::new();
    for violation in found(&access, around.world, around.now) {
        let name = RbacName::new(violation.object.namespace.as_deref(), &violation.object.name);
        lasting.entry(name).or_insert(violation);
    }
    for (object, name, binding) in &bindings {
        let verdict = match &name.namespace {
            Some(namespace) => asking.role_binding(namespace, binding),
            None => asking.cluster_role_binding(binding),
        };
        let at = object.node.place_of("subjects");
        match (verdict, lasting.get(name)) {
            (Ok(Some(refusal)), _) => findings.push(answered(object, Rule::Rbac, refusal, at)),
            (Ok(None), Some(Violation { reason, message, .. })) => {
                let message = format!("{message} (it is let through, and reported)");
                findings.push(told(object, Severity::Warning, Rule::Rbac, *reason, at, message));
            }
            (Ok(None), None) => {}
            // Any other doubt is a policy's, and was said of it.
            (Err(_), _) => {
                let known = |namespace: &&str| !around.world.namespaces.contains_key(*namespace);
                if let Some(namespace) = name.namespace.as_deref().filter(known) {
                    findings.push(namespace_missing(object, Severity::Note, Rule::Rbac, namespace));
                }
            }
        }
    }
}

/// Takes in a role; gives back a binding.
fn observe<'a>(
    access: &mut Access,
    object: &'a Object,
    findings: &mut Vec<Finding>,
) -> Option<(&'a Object, RbacName, Binding)> {
    let Kind::Native(kind) = object.kind else { return None };
    let namespace = object.namespace.as_deref();
    let name = RbacName::new(namespace, &object.name);
    let whole = || object.node.to_stored_json();
    match kind {
        Native::Role => access.put_role(name, read::<Rules>(object, whole(), findings)?.role().clone()),
        Native::ClusterRole => {
            let rules = read::<Rules>(object, whole(), findings)?;
            let labels = object.labels();
            let aggregation = rules.aggregation(Some(&labels));
            // What the control plane fills in is not in files: a role of this name may be known already.
            let role = access.role(&name).map_or_else(|| rules.role().clone(), |known| known.with(rules.role()));
            access.put_cluster_role(name, role, aggregation);
        }
        Native::RoleBinding | Native::ClusterRoleBinding => {
            let binding = read::<Bound>(object, whole(), findings)?.binding(namespace);
            access.put_binding(name.clone(), binding.clone());
            return Some((object, name, binding));
        }
        _ => {}
    }
    None
}
