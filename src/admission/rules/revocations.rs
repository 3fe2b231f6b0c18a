//! Rule `Revocations`: who may say that a key has leaked, by the annotation `revoke`, where others lose it, too.
//!
//! | what | needs |
//! |-|-|
//! | the annotation is set | to be `"true"` |
//! | on a ScopedSecret that the SegmentGuard lists as shared | the verb `revoke` on it |
//!
//! ```yaml
//! rules:
//! - apiGroups: [scopedsecrets.io]
//!   resources: [scopedsecrets]
//!   resourceNames: [orders-db]
//!   verbs: [revoke]
//! ```
//!
//! Taking the annotation off is free, and lifts nothing. Where there is no SegmentGuard everything passes: the API server looks for it
//! before it knows what a request is about, and would refuse every ScopedSecret of a namespace that is new. It costs nothing: the
//! operator honours no annotation on a key that others claim that the guard did not list, nor while this rule is not in force
//! ([`crate::controller::guard::asked`]).

use crate::admission::guard::{Guard, Parameter, Validation};
use crate::api::{GROUP, REVOKE_ANNOTATION, Reason};
use serde_json::json;

/// The rule's name.
pub const RULE: &str = "Revocations";

/// The annotation of an object; empty if it is not there.
fn revoke(object: &str) -> String {
    format!("{object}.metadata.?annotations[?'{REVOKE_ANNOTATION}'].orValue('')")
}

const NOT_TRUE: &str = "\
'write scopedsecrets.io/revoke: \"true\", or leave it out'
";
const NOT_ALLOWED: &str = "\
'others claim a key of it, too, and would lose it: ask the platform team for the verb revoke on scopedsecrets.scopedsecrets.io \"' + variables.name + '\" in this namespace, or for a KeyRevocation'
";

/// The guard.
pub fn guard() -> Guard {
    let (new, old) = (revoke("object"), revoke("oldObject"));
    let may = format!(
        "authorizer.group('{GROUP}').resource('scopedsecrets').namespace(request.namespace).name(variables.name).check('revoke').allowed()"
    );
    Guard {
        rule: RULE,
        parameter: Parameter::OwnSegmentGuardIfThere,
        requests: vec![json!({
            "apiGroups": [GROUP], "apiVersions": ["*"], "operations": ["CREATE", "UPDATE"],
            "resources": ["scopedsecrets"], "scope": "Namespaced",
        })],
        conditions: vec![("is-set", format!("{new} != '' && (oldObject == null || {new} != {old})"))],
        variables: vec![],
        validations: vec![
            Validation {
                holds: format!("{new} == 'true'"),
                reason: Reason::RevocationNotAllowed,
                says: NOT_TRUE.to_owned(),
            },
            Validation {
                holds: format!("!(variables.name in params.spec.?shared.orValue([])) || {may}"),
                reason: Reason::RevocationNotAllowed,
                says: NOT_ALLOWED.to_owned(),
            },
        ],
    }
}
