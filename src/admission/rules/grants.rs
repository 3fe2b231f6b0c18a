//! Rule `Grants`: who may give access to a projected Secret, for how long, who approves it, and who may take it from others.
//!
//! | what | needs |
//! |-|-|
//! | a SecretGrant is created | the verb `grant` on its ScopedSecret; a ttl within `maxTTL` of the SegmentGuard |
//! | where approval is Required | `requestedBy` is who creates it; `approvedBy` is set later, once, by another user with the verb `approve`, who is not its subject either, be that a user or a ServiceAccount |
//! | where it is not | neither is there |
//! | a subject | a user that is not `system:*`, or a ServiceAccount of the same namespace, which a bare name says |
//! | the annotation `revoke` is set | to be `"true"`; on a ScopedSecret that the SegmentGuard lists as shared, the verb `revoke` on it, since others lose the key, too |
//!
//! ```yaml
//! rules:
//! - apiGroups: [scopedsecrets.io]
//!   resources: [scopedsecrets]
//!   resourceNames: [orders-db]
//!   verbs: [grant, approve, revoke]
//! ```
//!
//! A namespace without a SegmentGuard is refused as a whole: nobody governs it, so there is nothing to give. What passes: every
//! update that leaves the spec alone, so that labels and finalizers are free, and every deletion, which is how access is taken
//! back. That nothing else of a spec changes is the CRD's own rule.
//!
//! Taking the annotation off is free, and lifts nothing.
//!
//! The operator honours no grant while this rule is not in force, nor one that is older than it
//! ([`crate::controller::grant`]): what was created or approved meanwhile was asked by nobody. Likewise no annotation on a key that
//! others claim ([`crate::controller::guard::asked`]).

use crate::admission::guard::{Guard, Parameter, Validation};
use crate::api::{GROUP, REVOKE_ANNOTATION, Reason};
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

/// The annotation revoke of an object; empty if it is not there.
fn revoke(object: &str) -> String {
    format!("{object}.metadata.?annotations[?'{REVOKE_ANNOTATION}'].orValue('')")
}

const NOT_TRUE: &str = "\
'write scopedsecrets.io/revoke: \"true\", or leave it out'
";
const NOT_REVOKED: &str = "\
'others claim a key of it, too, and would lose it: ask the platform team for the verb revoke on scopedsecrets.scopedsecrets.io \"' + variables.name + '\" in this namespace, or for a KeyRevocation'
";
const NOT_GIVEN: &str = "\
'you may not give access to the Secret of ScopedSecret \"' + variables.claim + '\": ask the platform team for the verb grant on scopedsecrets.scopedsecrets.io \"' + variables.claim + '\" in this namespace'
";
const NOT_HERE: &str = "\
'no SegmentationPolicy governs this namespace, so that there is no Secret to give access to'
";
const TOO_LONG: &str = "\
'ttl ' + variables.grant.ttl + ' is longer than the policy allows: write ' + variables.limits.maxTTL + ' at most'
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
    // Of a grant that is created: what else is seen passes.
    let created = "variables.revokes || request.operation != 'CREATE'";
    Guard {
        rule: RULE,
        parameter: Parameter::OwnSegmentGuard,
        requests: vec![json!({
            "apiGroups": [GROUP], "apiVersions": ["*"], "operations": ["CREATE", "UPDATE"],
            "resources": ["secretgrants", "scopedsecrets"], "scope": "Namespaced",
        })],
        conditions: vec![(
            "says-something-new",
            format!(
                "request.resource.resource == 'secretgrants'
? oldObject == null || object.spec != oldObject.spec
: {new} != '' && (oldObject == null || {new} != {old})",
                new = revoke("object"),
                old = revoke("oldObject")
            ),
        )],
        variables: vec![
            ("revokes", "request.resource.resource == 'scopedsecrets'".to_owned()),
            ("grant", "dyn(object).spec".to_owned()),
            ("claim", "variables.revokes ? variables.name : variables.grant.scopedSecretRef.name".to_owned()),
            ("governed", "has(params.spec.grants)".to_owned()),
            (
                "limits",
                "variables.governed ? dyn(params.spec.grants) : dyn({'maxTTL': '0s', 'approval': 'Required'})"
                    .to_owned(),
            ),
            ("required", "variables.limits.approval == 'Required'".to_owned()),
            ("requester", "variables.grant.?requestedBy.orValue('')".to_owned()),
            ("approver", "variables.grant.?approvedBy.orValue('')".to_owned()),
        ],
        validations: vec![
            Validation {
                holds: format!("!variables.revokes || {} == 'true'", revoke("object")),
                reason: Reason::RevocationNotAllowed,
                says: NOT_TRUE.to_owned(),
            },
            Validation {
                holds: format!(
                    "!variables.revokes || !(variables.name in params.spec.?shared.orValue([])) || {}",
                    may("revoke")
                ),
                reason: Reason::RevocationNotAllowed,
                says: NOT_REVOKED.to_owned(),
            },
            Validation {
                holds: "variables.revokes || variables.governed".to_owned(),
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
                    duration("variables.grant.ttl"),
                    duration("variables.limits.maxTTL")
                ),
                reason: Reason::GrantTooLong,
                says: TOO_LONG.to_owned(),
            },
            Validation {
                holds: format!(
                    "{created} || (variables.grant.subject.kind == 'ServiceAccount' ? !variables.grant.subject.name.contains(':') && !variables.grant.subject.name.contains('/') : !variables.grant.subject.name.startsWith('system:'))"
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
                    "variables.revokes || request.operation == 'CREATE'
|| (variables.required
  && variables.requester != ''
  && variables.approver == request.userInfo.username
  && variables.approver != variables.requester
  && variables.approver != (variables.grant.subject.kind == 'ServiceAccount'
    ? 'system:serviceaccount:' + request.namespace + ':' : '') + variables.grant.subject.name
  && {})",
                    may("approve")
                ),
                reason: Reason::ApprovalNotAllowed,
                says: APPROVER.to_owned(),
            },
        ],
    }
}
