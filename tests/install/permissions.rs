//! What the operator was given, against what it asked for: by the roles that are bound to it, and the API server's audit log.

use super::support::cluster_audit::{Audit, Request};
use serde_json::Value;
use std::collections::BTreeSet;

/// What RBAC knows of a request but its object's name: verb, `GROUP/RESOURCE[/SUBRESOURCE]`.
pub type Permission = (String, String);

/// All that these roles give.
pub fn given<'a>(roles: impl IntoIterator<Item = &'a Value>) -> BTreeSet<Permission> {
    let words = |list: &Value| -> Vec<String> {
        list.as_array().into_iter().flatten().map(|word| word.as_str().unwrap().to_owned()).collect()
    };
    let mut all = BTreeSet::new();
    for rule in roles.into_iter().flat_map(|role| role["rules"].as_array().unwrap()) {
        for group in words(&rule["apiGroups"]) {
            for resource in words(&rule["resources"]) {
                all.extend(words(&rule["verbs"]).into_iter().map(|verb| (verb, format!("{group}/{resource}"))));
            }
        }
    }
    all
}

/// What was asked for of resources.
pub fn used(audit: &Audit) -> BTreeSet<Permission> {
    audit.iter().filter(|request| !request.resource.is_empty()).map(permission).collect()
}

fn permission(request: &Request) -> Permission {
    let resource = match request.subresource.as_str() {
        "" => request.resource.clone(),
        sub => format!("{}/{sub}", request.resource),
    };
    (request.verb.clone(), format!("{}/{resource}", request.group))
}

/// What was asked for and not given.
pub fn denied(audit: &Audit) -> Vec<String> {
    audit.iter().filter(|request| !request.allowed).map(|request| format!("{} {}", request.verb, request.uri)).collect()
}
