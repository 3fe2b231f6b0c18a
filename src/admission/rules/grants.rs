//! Rule `Grants`: who may give access to a projected Secret, for how long, and who approves it.
//!
//! | what | needs |
//! |-|-|
//! | a SecretGrant is created | the verb `grant` on its ScopedSecret; a ttl within `maxTTL` of the SegmentGuard |
//! | where approval is Required | `requestedBy` is who creates it; `approvedBy` is set later, once, by another user with the verb `approve`, who is not its subject either, be that a user or a ServiceAccount |
//! | where it is not | neither is there |
//! | a subject | a user that is not `system:*`, or a ServiceAccount of the same namespace, which a bare name says |
//!
//! ```yaml
//! rules:
//! - apiGroups: [scopedsecrets.io]
//!   resources: [scopedsecrets]
//!   resourceNames: [orders-db]
//!   verbs: [grant, approve]
//! ```
//!
//! A namespace without a SegmentGuard is refused as a whole: nobody governs it, so there is nothing to give. The API server says
//! that in its own words, since it asks no expression where a parameter is missing, and without one no expression can tell; `why`
//! says what they mean. What passes: every update that leaves the spec alone, so that labels and finalizers are free, and every
//! deletion, which is how access is taken back. That nothing else of a spec changes is the CRD's own rule.
//!
//! The operator honours no grant while this rule is not in force, nor one that is older than it
//! ([`crate::controller::grant`]): what was created or approved meanwhile was asked by nobody.

use crate::admission::guard::{Guard, Parameter, Validation};
use crate::api::{GROUP, Reason};
use serde_json::json;

/// The rule's name.
pub const RULE: &str = "Grants";

/// A duration as users write it, in Go's form or whole days, as CEL reckons with it.
fn duration(text: &str) -> String {
    format!(
        "({text}.endsWith('d') ? duration(string(int({text}.substring(0, size({text}) - 1)) * 24) + 'h') : duration({text}))"
    )
}

/// Whether the requester has this verb on the ScopedSecret.
fn may(verb: &str) -> String {
    format!(
        "authorizer.group('{GROUP}').resource('scopedsecrets').namespace(request.namespace).name(variables.claim).check('{verb}').allowed()"
    )
}

const NOT_GIVEN: &str = "\
'you may not give access to the Secret of ScopedSecret \"' + variables.claim + '\": ask the platform team for the verb grant on scopedsecrets.scopedsecrets.io \"' + variables.claim + '\" in this namespace'
";
const NOT_HERE: &str = "\
'no SegmentationPolicy governs this namespace, so that there is no Secret to give access to'
";
const TOO_LONG: &str = "\
'ttl ' + object.spec.ttl + ' is longer than the policy allows: write ' + variables.limits.maxTTL + ' at most'
";
const SUBJECT: &str = "\
'a subject is a User that does not begin with system:, or a ServiceAccount of this namespace by its bare name'
";
const REQUESTER: &str = "\
(variables.required
  ? 'the policy requires an approval: write requestedBy: ' + request.userInfo.username + ' and leave approvedBy out, which another user sets to approve it'
  : 'the policy requires no approval: leave requestedBy and approvedBy out')
";
const APPROVER: &str = "\
(variables.required
  ? 'approvedBy is set by who approves, to their own user name (' + request.userInfo.username + '), if they neither asked for the grant nor are its subject, and have the verb approve on scopedsecrets.scopedsecrets.io \"' + variables.claim + '\" in this namespace'
  : 'the policy requires no approval: there is nothing to approve')
";

/// The guard.
pub fn guard() -> Guard {
    let created = "request.operation != 'CREATE'";
    Guard {
        rule: RULE,
        parameter: Parameter::OwnSegmentGuard,
        requests: vec![json!({
            "apiGroups": [GROUP], "apiVersions": ["*"], "operations": ["CREATE", "UPDATE"],
            "resources": ["secretgrants"], "scope": "Namespaced",
        })],
        conditions: vec![("says-something-new", "oldObject == null || object.spec != oldObject.spec".to_owned())],
        variables: vec![
            ("claim", "object.spec.scopedSecretRef.name".to_owned()),
            ("governed", "has(params.spec.grants)".to_owned()),
            (
                "limits",
                "variables.governed ? dyn(params.spec.grants) : dyn({'maxTTL': '0s', 'approval': 'Required'})"
                    .to_owned(),
            ),
            ("required", "variables.limits.approval == 'Required'".to_owned()),
            ("requester", "object.spec.?requestedBy.orValue('')".to_owned()),
            ("approver", "object.spec.?approvedBy.orValue('')".to_owned()),
        ],
        validations: vec![
            Validation {
                holds: "variables.governed".to_owned(),
                reason: Reason::GrantNotAllowed,
                says: NOT_HERE.to_owned(),
            },
            Validation {
                holds: format!("{created} || {}", may("grant")),
                reason: Reason::GrantNotAllowed,
                says: NOT_GIVEN.to_owned(),
            },
            Validation {
                holds: format!(
                    "{created} || !variables.governed || {} <= {}",
                    duration("object.spec.ttl"),
                    duration("variables.limits.maxTTL")
                ),
                reason: Reason::GrantTooLong,
                says: TOO_LONG.to_owned(),
            },
            Validation {
                holds: format!(
                    "{created} || (object.spec.subject.kind == 'ServiceAccount' ? !object.spec.subject.name.contains(':') && !object.spec.subject.name.contains('/') : !object.spec.subject.name.startsWith('system:'))"
                ),
                reason: Reason::GrantInvalid,
                says: SUBJECT.to_owned(),
            },
            Validation {
                holds: format!(
                    "{created} || !variables.governed
|| (variables.required
  ? variables.requester == request.userInfo.username && variables.approver == ''
  : variables.requester == '' && variables.approver == '')"
                ),
                reason: Reason::RequesterNotNamed,
                says: REQUESTER.to_owned(),
            },
            // Nothing else of a spec can change, and this only once: the CRD sees to that.
            Validation {
                holds: format!(
                    "request.operation == 'CREATE'
|| (variables.required
  && variables.requester != ''
  && variables.approver == request.userInfo.username
  && variables.approver != variables.requester
  && variables.approver != (object.spec.subject.kind == 'ServiceAccount'
    ? 'system:serviceaccount:' + request.namespace + ':' : '') + object.spec.subject.name
  && {})",
                    may("approve")
                ),
                reason: Reason::ApprovalNotAllowed,
                says: APPROVER.to_owned(),
            },
        ],
    }
}
