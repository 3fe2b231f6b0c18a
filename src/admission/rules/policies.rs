//! Rule `Policies`: a change of a SegmentationPolicy that would take Secrets from live claims needs their number in
//! `scopedsecrets.io/accept-violations`; it counts only for the change that sets or alters it.

use crate::admission::answer::{admit, deny, deny_as};
use crate::admission::review::{Review, spec_is_unchanged};
use crate::api::{Reason, SegmentationPolicy};
use crate::controller::context::Context;
use crate::controller::index::{Acceptance, Index, accept_violations};
use crate::segmentation::authorize::{Retention, retention, segment_of};
use crate::segmentation::policy::{EXCEPTION_LIMIT, Policy};
use crate::segmentation::world::{ObjectName, PolicyState};
use jiff::Timestamp;
use kube::core::DynamicObject;
use kube::core::admission::{AdmissionRequest, AdmissionResponse, Operation};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The rule's name.
pub const RULE: &str = "Policies";

/// The rule over this replica's index.
pub struct Policies(pub Arc<Context>);

impl Review for Policies {
    fn review(&self, request: &AdmissionRequest<DynamicObject>) -> AdmissionResponse {
        let now = self.0.now();
        judge(request, &mut self.0.index_mut(), now)
    }
}

/// So many names of what would break are shown.
const SHOWN: usize = 10;

/// The answer to a request. The index is as before when it returns: the policy is tried on it and taken off again.
pub fn judge(request: &AdmissionRequest<DynamicObject>, index: &mut Index, now: Timestamp) -> AdmissionResponse {
    if spec_is_unchanged(request) {
        return admit(request);
    }
    let old = request.old_object.as_ref().and_then(|o| o.clone().try_parse::<SegmentationPolicy>().ok());
    let new = match (&request.operation, &request.object) {
        (Operation::Delete, _) | (_, None) => None,
        (_, Some(object)) => match object.clone().try_parse::<SegmentationPolicy>() {
            Ok(policy) => Some(policy),
            Err(_) => {
                return deny(
                    request,
                    RULE,
                    Reason::PolicyInvalid,
                    "the spec cannot be understood: see kubectl explain segmentationpolicy.spec",
                );
            }
        },
    };
    let state = match &new {
        None => None,
        Some(policy) => {
            if let Some(answer) = bad_exception(request, policy, old.as_ref(), now) {
                return answer;
            }
            match Policy::compile(&request.name, &policy.spec) {
                Ok(compiled) => Some(PolicyState::Known(Arc::new(compiled))),
                Err(why) => return deny(request, RULE, Reason::PolicyInvalid, &why.to_string()),
            }
        }
    };
    let name = new.as_ref().and_then(|p| p.metadata.name.clone()).unwrap_or_else(|| request.name.clone());
    // A change to one that cannot be understood can only lessen the doubt.
    let itself = matches!(index.world.policies.get(&name), Some(PolicyState::Unknown(_)));
    let unknown =
        index.world.policies.iter().find(|(other, state)| **other != name && matches!(state, PolicyState::Unknown(_)));
    if let Some((other, _)) = unknown.filter(|_| !itself) {
        let text = format!(
            "the SegmentationPolicy {other:?} cannot be understood, so that what this change would break cannot be told: correct or delete that one first"
        );
        return deny_as(request, RULE, Reason::PolicyUnknown, &text, 403);
    }
    let before = judge_all(index, now);
    let kept = match state {
        Some(state) => index.world.policies.insert(name.clone(), state),
        None => index.world.policies.remove(&name),
    };
    let after = judge_all(index, now);
    match kept {
        Some(kept) => index.world.policies.insert(name, kept),
        None => index.world.policies.remove(&name),
    };
    if let Some(namespace) = after.torn.difference(&before.torn).next() {
        let text = format!(
            "this policy and another one over namespace {namespace:?} would disagree on its segment: make their segment.labels alike, or narrow a namespaceSelector"
        );
        return deny_as(request, RULE, Reason::SegmentConflict, &text, 403);
    }
    let broken: Vec<&ObjectName> = after.stranded.difference(&before.stranded).collect();
    if broken.is_empty() || is_accepted(broken.len(), new.as_ref(), old.as_ref(), index) {
        return admit(request);
    }
    let mut shown = broken.iter().take(SHOWN).map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if broken.len() > SHOWN {
        shown.push_str(&format!(" and {} more", broken.len() - SHOWN));
    }
    let text = format!(
        "this would take the Secrets of {n} live claims away ({shown}): change or delete those ScopedSecrets first, or set the annotation scopedsecrets.io/accept-violations: \"{n}\"{how}",
        n = broken.len(),
        how = if new.is_some() { " in the same change" } else { " on the policy and delete it then" },
    );
    deny_as(request, RULE, Reason::ViolationsNotAccepted, &text, 403)
}

struct Judged {
    /// Secrets that would be withdrawn.
    stranded: BTreeSet<ObjectName>,
    /// Namespaces whose policies disagree.
    torn: BTreeSet<Arc<str>>,
}

fn judge_all(index: &Index, now: Timestamp) -> Judged {
    let world = &index.world;
    let lost = |(name, held): &(&ObjectName, &_)| matches!(retention(name, held, world, now), Retention::Withdraw(_));
    let torn =
        |name: &&Arc<str>| segment_of(name, world).is_err_and(|refusal| refusal.reason == Reason::SegmentConflict);
    Judged {
        stranded: world.holdings().filter(lost).map(|(name, _)| name.clone()).collect(),
        torn: world.namespaces.keys().filter(torn).cloned().collect(),
    }
}

fn is_accepted(
    count: usize,
    new: Option<&SegmentationPolicy>,
    old: Option<&SegmentationPolicy>,
    index: &Index,
) -> bool {
    let annotation = |policy: Option<&SegmentationPolicy>| policy.and_then(|p| accept_violations(&p.metadata));
    let (is, was) = (annotation(new), annotation(old));
    // A deletion cannot set an annotation: the one that stands counts, unless it has served.
    let old_name = old.and_then(|p| p.metadata.name.clone()).unwrap_or_default();
    let number = |text: Option<String>| text.and_then(|text| text.parse::<usize>().ok());
    let accepted = match new {
        Some(_) => number(is.clone().filter(|_| is != was)),
        None => number(was.filter(|value| index.acceptance_of(&old_name, value) != Acceptance::Spent)),
    };
    accepted.is_some_and(|n| n >= count)
}

/// An exception that is new or was changed must end within 90 days; one that lapsed may stay in Git.
fn bad_exception(
    request: &AdmissionRequest<DynamicObject>,
    policy: &SegmentationPolicy,
    old: Option<&SegmentationPolicy>,
    now: Timestamp,
) -> Option<AdmissionResponse> {
    let known = |e: &&crate::api::policy::Exception| old.is_some_and(|old| old.spec.exceptions.contains(e));
    let wrong = policy.spec.exceptions.iter().filter(|e| !known(e)).find_map(|e| {
        let left = e.expiration_time.0.duration_since(now);
        if left <= jiff::SignedDuration::ZERO {
            Some((e, "is in the past"))
        } else if left > EXCEPTION_LIMIT {
            Some((e, "is more than 90 days ahead"))
        } else {
            None
        }
    })?;
    let text = format!(
        "the exception {:?} of rule {:?} has an expirationTime that {}: write one within the next 90 days",
        wrong.0.reason, wrong.0.rule, wrong.1
    );
    Some(deny(request, RULE, Reason::InvalidException, &text))
}
