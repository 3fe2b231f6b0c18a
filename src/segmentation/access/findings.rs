//! What the reports say of RBAC.

use super::judge::{Breach, path};
use super::jurisdiction::Jurisdiction;
use super::powers::Powers;
use super::{Access, Binding, RULE, RbacName};
use crate::api::Reason;
use crate::segmentation::violation::{ObjectRef, Violation};
use crate::segmentation::world::World;
use jiff::Timestamp;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

/// Namespaces that no policy governs any more while Secrets of a segment stand in them, with that segment.
pub type Left = BTreeMap<Arc<str>, Arc<str>>;

/// So many subjects of one binding are named.
const SHOWN: usize = 5;

/// Every binding by which somebody gets at Secrets across a boundary, by segment, whatever the mode. What readers and exceptions
/// allow is none. While a policy is unknown nothing is found.
pub fn findings(access: &Access, world: &World, now: Timestamp) -> Vec<Violation> {
    findings_in(access, world, &Left::new(), now)
}

/// Likewise, in what was left as well: by all policies.
pub fn findings_in(access: &Access, world: &World, left: &Left, now: Timestamp) -> Vec<Violation> {
    let Ok(mut jurisdictions) = Jurisdiction::all(world) else { return Vec::new() };
    let stray = left.iter().map(|(namespace, segment)| (namespace, Jurisdiction::left(namespace, segment, world)));
    let stray: BTreeMap<&Arc<str>, Jurisdiction> = stray.collect();
    jurisdictions.extend(stray.values().cloned());
    let homes: Vec<HashSet<Arc<str>>> = jurisdictions.iter().map(|jurisdiction| jurisdiction.homes(now)).collect();
    let mut found = BTreeMap::new();
    for (name, binding) in access.bindings(false) {
        let (Some(namespace), Some(role)) = (&name.namespace, access.role(&binding.role)) else { continue };
        let central = access.is_central(namespace);
        let tenants = match central || homes.iter().any(|homes| homes.contains(namespace)) {
            true => access.tenants_at(namespace, &binding.subjects, role, world, now),
            false => Vec::new(),
        };
        for (subject, powers) in tenants {
            let own = |j: &Jurisdiction| subject.namespace().is_some_and(|theirs| j.namespaces.contains(theirs));
            for (jurisdiction, homes) in jurisdictions.iter().zip(&homes) {
                if own(jurisdiction) || !(central || homes.contains(namespace)) {
                    continue;
                }
                let Some(mode) = jurisdiction.answer(subject, now) else { continue };
                let breach = Breach { subject, powers, joined: Powers::NONE, mode };
                let how = match central {
                    true => "the Secrets of that namespace open those of every other: bind nobody of the tenants there",
                    false => {
                        "a ServiceAccount of that namespace is named in rules.readers or in an exception, and whoever takes its token reads as it does: bind nobody of the tenants there"
                    }
                };
                let told = (Reason::ClusterWideAccess, message(binding, &[breach], how));
                found.entry((jurisdiction.segment.clone(), name)).or_insert(told);
            }
        }
        let (breaches, here) = match stray.get(namespace) {
            Some(here) => {
                let breaches = access.crossings_into_left(namespace, &binding.subjects, role, (here, left), world, now);
                (breaches, Ok(Some(here.clone())))
            }
            None => (
                access.crossings(namespace, &binding.subjects, role, world, now).unwrap_or_default(),
                Jurisdiction::of(namespace, world),
            ),
        };
        let Ok(Some(here)) = here else { continue };
        if breaches.is_empty() {
            continue;
        }
        let how = "bind a ServiceAccount of this segment, or a role without these; or name the reader in rules.readers";
        found.insert((here.segment.clone(), name), (Reason::CrossSegmentAccess, message(binding, &breaches, how)));
    }
    for (name, binding) in access.bindings(true) {
        let Some(role) = access.role(&binding.role) else { continue };
        let spread = access.spread(&binding.subjects, role, world, now);
        for jurisdiction in &jurisdictions {
            let breaches: Vec<Breach<'_>> =
                spread.iter().filter_map(|spread| spread.breach(Powers::ALL, jurisdiction, world, now)).collect();
            if !breaches.is_empty() {
                let how = "bind it in the namespaces that need it, or a role without these; or name the reader in rules.readers of every policy";
                let told = (Reason::ClusterWideAccess, message(binding, &breaches, how));
                found.entry((jurisdiction.segment.clone(), name)).or_insert(told);
            }
        }
    }
    let violation = |((segment, name), (reason, message)): ((_, &RbacName), _)| Violation {
        segment,
        rule: RULE,
        reason,
        object: object(name),
        message,
    };
    found.into_iter().map(violation).collect()
}

fn object(binding: &RbacName) -> ObjectRef {
    ObjectRef {
        api_version: "rbac.authorization.k8s.io/v1".to_owned(),
        kind: if binding.namespace.is_some() { "RoleBinding" } else { "ClusterRoleBinding" }.to_owned(),
        namespace: binding.namespace.clone(),
        name: binding.name.to_string(),
    }
}

fn message(binding: &Binding, breaches: &[Breach<'_>], how: &str) -> String {
    format!("{} to {}: {how}", path(&binding.role, breaches), named(breaches))
}

/// The subjects, the first few by name.
pub fn named(breaches: &[Breach<'_>]) -> String {
    let mut names = breaches.iter().take(SHOWN).map(|b| b.subject.to_string()).collect::<Vec<_>>().join(", ");
    if breaches.len() > SHOWN {
        names.push_str(&format!(" and {} more", breaches.len() - SHOWN));
    }
    names
}
