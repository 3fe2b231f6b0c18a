//! Rule `Boundary`: a namespace enters a segment only by who may `join` it, and leaves one only by who may `leave` it.
//!
//! A namespace is in a segment while it has every label of a policy's `segment.labels`, none empty. `join` is asked of whoever
//! makes that so (a creation, or an update that completes or changes the tuple), `leave` of whoever ends it; a change from one
//! segment to another needs both. Both are RBAC verbs on `segments.scopedsecrets.io`, with the segment as resourceName:
//!
//! ```yaml
//! rules:
//! - apiGroups: [scopedsecrets.io]
//!   resources: [segments]
//!   resourceNames: [payments/prod, payments/staging]
//!   verbs: [join, leave]
//! ```
//!
//! What passes: every other write to a namespace, half a tuple included, since it names no segment yet; whoever completes it is
//! asked for the whole. A deletion: what stood in the segment goes with it. `status` and `finalize` can write labels, too, and
//! are held to the same.
//!
//! A policy's namespaceSelector does not matter: it may use only segment labels and the name, and who wears a segment's labels
//! outside of today's selector would be in the segment the day that the platform team widens it. But where the name alone is the
//! segment, every namespace has it from the start, and only those that are selected are asked about. Each policy is evaluated by
//! itself, so two that name segments differently both ask. Without a policy there is no segment, and everything passes.

use crate::admission::guard::{Guard, Parameter, Validation};
use crate::api::Reason;
use serde_json::json;

/// The rule's name.
pub const RULE: &str = "Boundary";

const LABELS: &str = "object.metadata.?labels.orValue({})";
const OLD_LABELS: &str = "oldObject == null ? {} : oldObject.metadata.?labels.orValue({})";

/// Whether the policy is about this namespace, as far as its name tells: nobody can change it.
const CONCERNED: &str = "params.spec.segment.labels != ['kubernetes.io/metadata.name']
|| (params.spec.?namespaceSelector.?matchLabels.orValue({}).all(k, params.spec.namespaceSelector.matchLabels[k] == object.metadata.name)
    && params.spec.?namespaceSelector.?matchExpressions.orValue([]).all(e,
      e.operator == 'In' ? object.metadata.name in e.?values.orValue([]) : e.operator == 'NotIn' ? !(object.metadata.name in e.?values.orValue([])) : e.operator == 'Exists'))";

/// The segment that these labels name, empty if they name none.
fn segment(labels: &str) -> String {
    format!(
        "variables.concerned && params.spec.segment.labels.all(k, k in {labels} && {labels}[k] != '')
? params.spec.segment.labels.map(k, {labels}[k]).join('/')
: ''"
    )
}

/// Whether the requester has this verb on a segment.
fn may(verb: &str, segment: &str) -> String {
    format!("authorizer.group('scopedsecrets.io').resource('segments').name({segment}).check('{verb}').allowed()")
}

/// The labels of a segment as they were written, such as `environment=prod, tenant=payments`.
fn written(labels: &str) -> String {
    format!("params.spec.segment.labels.map(k, k + '=' + {labels}[k]).join(', ')")
}

/// The guard.
pub fn guard() -> Guard {
    let moved = |segment: &str, other: &str, verb: &str| {
        format!(
            "variables.{segment} == '' || variables.{segment} == variables.{other} || {}",
            may(verb, &format!("variables.{segment}"))
        )
    };
    Guard {
        rule: RULE,
        parameter: Parameter::Each("SegmentationPolicy"),
        requests: vec![json!({
            "apiGroups": [""], "apiVersions": ["*"], "operations": ["CREATE", "UPDATE"],
            "resources": ["namespaces", "namespaces/status", "namespaces/finalize"], "scope": "Cluster",
        })],
        conditions: vec![(
            "labels-change",
            "oldObject == null || object.metadata.?labels != oldObject.metadata.?labels".to_owned(),
        )],
        variables: vec![
            ("concerned", CONCERNED.to_owned()),
            ("labels", LABELS.to_owned()),
            ("oldLabels", OLD_LABELS.to_owned()),
            ("enters", segment("variables.labels")),
            ("leaves", segment("variables.oldLabels")),
        ],
        validations: vec![
            Validation {
                holds: moved("enters", "leaves", "join"),
                reason: Reason::JoinNotAllowed,
                says: format!(
                    "'the labels ' + {} + ' would make it part of segment \"' + variables.enters + '\", which you may not join: ask the platform team for the verb join on segments.scopedsecrets.io \"' + variables.enters + '\", or write the labels of a segment that you may join'",
                    written("variables.labels")
                ),
            },
            Validation {
                holds: moved("leaves", "enters", "leave"),
                reason: Reason::LeaveNotAllowed,
                says: format!(
                    "'without the labels ' + {} + ' it would no longer be part of segment \"' + variables.leaves + '\", which you may not make it leave: keep these labels, or ask the platform team for the verb leave on segments.scopedsecrets.io \"' + variables.leaves + '\"'",
                    written("variables.oldLabels")
                ),
            },
        ],
    }
}
