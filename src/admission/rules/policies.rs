//! Rule `Policies`: a change of a SegmentationPolicy that would take Secrets from live claims, or make one segment of several
//! that hold Secrets, needs their number in `scopedsecrets.io/accept-violations`; it counts only for the change that sets or
//! alters it. So does a change by which a rule begins to be enforced while violations of it are open, or are not known yet
//! ([`open`]). One by which policies would disagree on a namespace's segment, or give two segments one name, is refused.

mod coming;
pub mod open;

use crate::admission::answer::{admit, deny, deny_as, name_of, not_understood};
use crate::admission::review::{Review, spec_is_unchanged};
use crate::admission::unread::Unread;
use crate::api::policy::Exception;
use crate::api::{Reason, SegmentationPolicy};
use crate::controller::context::Context;
use crate::controller::index::{Index, accept_violations};
use crate::segmentation::change::{Broken, broken_among, disagreement, first_of};
use crate::segmentation::policy::{Policy, fault_of};
use crate::segmentation::world::PolicyState;
use coming::Coming;
use jiff::Timestamp;
use kube::core::DynamicObject;
use kube::core::admission::{AdmissionRequest, AdmissionResponse, Operation};
use open::{Open, open};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

/// The rule's name.
pub const RULE: &str = "Policies";

/// The rule over this replica's index, and what it let through itself a moment ago.
pub struct Policies {
    cx: Arc<Context>,
    coming: Mutex<Coming>,
}

impl Policies {
    /// The rule.
    pub fn new(cx: Arc<Context>) -> Self {
        Self { cx, coming: Mutex::default() }
    }
}

impl Review for Policies {
    fn review(&self, request: &AdmissionRequest<DynamicObject>) -> AdmissionResponse {
        // One after the other: each is judged with what came before.
        let mut coming = self.coming.lock().unwrap_or_else(PoisonError::into_inner);
        judge_after(request, &self.cx.index(), &mut coming, self.cx.now())
    }

    fn refuses_unread(&self, _: &Unread<'_>) -> bool {
        true
    }
}

/// The answer to a request that comes after others: neither what stands nor what may stand in a moment may break by it.
fn judge_after(
    request: &AdmissionRequest<DynamicObject>,
    index: &Index,
    coming: &mut Coming,
    now: Timestamp,
) -> AdmissionResponse {
    let standing = &index.world.policies;
    let going = index.policies.iter().filter(|(_, facts)| facts.deleting).map(|(name, _)| &**name);
    let answer = match coming.over(standing, going, now) {
        None => judge(request, index, now),
        Some(soon) => {
            let answer = judge_among(request, index, &settled(standing, &soon, name_of(request)), now);
            if answer.allowed { judge_among(request, index, &soon, now) } else { answer }
        }
    };
    if answer.allowed && !request.dry_run && !spec_is_unchanged(request) {
        let name = name_of(request);
        let spec = |object: &Option<DynamicObject>| object.clone()?.try_parse::<SegmentationPolicy>().ok();
        let new = spec(&request.object).filter(|_| request.operation != Operation::Delete);
        let becomes = new.and_then(|policy| Policy::compile(name, &policy.spec).ok()).map(Arc::new);
        coming.note(name, standing.contains_key(name), becomes, now);
    }
    answer
}

/// The policies as they stand, and as they will be where another than the one in question cannot be understood: it is in nobody's way
/// once it was corrected, or taken away.
fn settled(
    standing: &BTreeMap<String, PolicyState>,
    soon: &BTreeMap<String, PolicyState>,
    in_question: &str,
) -> BTreeMap<String, PolicyState> {
    let state = |(name, state): (&String, &PolicyState)| {
        let is_settled = matches!(state, PolicyState::Unknown(_)) && name != in_question;
        let state = if is_settled { soon.get(name)? } else { state };
        Some((name.clone(), state.clone()))
    };
    standing.iter().filter_map(state).collect()
}

/// The answer to a request. Pure.
pub fn judge(request: &AdmissionRequest<DynamicObject>, index: &Index, now: Timestamp) -> AdmissionResponse {
    judge_among(request, index, &index.world.policies, now)
}

/// Likewise where these policies stand.
fn judge_among(
    request: &AdmissionRequest<DynamicObject>,
    index: &Index,
    policies: &BTreeMap<String, PolicyState>,
    now: Timestamp,
) -> AdmissionResponse {
    if spec_is_unchanged(request) {
        return admit(request);
    }
    let old = request.old_object.as_ref().and_then(|o| o.clone().try_parse::<SegmentationPolicy>().ok());
    let new = match (&request.operation, &request.object) {
        (Operation::Delete, _) | (_, None) => None,
        (_, Some(object)) => match object.clone().try_parse::<SegmentationPolicy>() {
            Ok(policy) => Some(policy),
            Err(error) => {
                let text = not_understood(&error, "segmentationpolicy");
                return deny(request, RULE, Reason::PolicyInvalid, &text);
            }
        },
    };
    let compiled = match &new {
        None => None,
        Some(policy) => {
            if let Some(answer) = bad_exception(request, policy, old.as_ref(), now) {
                return answer;
            }
            match Policy::compile(name_of(request), &policy.spec) {
                Ok(compiled) => Some(Arc::new(compiled)),
                Err(why) => return deny(request, RULE, Reason::PolicyInvalid, &why.to_string()),
            }
        }
    };
    let name = name_of(request).to_owned();
    // A change to one that cannot be understood can only lessen the doubt.
    let itself = matches!(policies.get(&name), Some(PolicyState::Unknown(_)));
    let unknown = policies.iter().find(|(other, state)| **other != name && matches!(state, PolicyState::Unknown(_)));
    if let Some((other, _)) = unknown.filter(|_| !itself) {
        let text = format!(
            "the SegmentationPolicy {other:?} cannot be understood, so that what this change would break cannot be told: correct or delete that one first"
        );
        return deny_as(request, RULE, Reason::PolicyUnknown, &text, 403);
    }
    let broken = broken_among(&name, compiled.clone().map(PolicyState::Known), &index.world, policies, now);
    if !broken.torn.is_empty() {
        return deny_as(request, RULE, Reason::SegmentConflict, &disagreement(&broken.torn), 403);
    }
    if let Some(text) = &broken.namesakes {
        return deny_as(request, RULE, Reason::SegmentConflict, text, 403);
    }
    let open = match (&old, &compiled) {
        (_, None) => Open::default(),
        (None, Some(new)) => open(None, new, index, now),
        (Some(old), Some(new)) => match Policy::compile(&name, &old.spec) {
            Ok(old) => open(Some(&old), new, index, now),
            // Under one that could not be understood nothing was granted at all.
            Err(_) => Open::default(),
        },
    };
    let count = broken.count() + open.count();
    if count == 0 || is_accepted(count, new.as_ref(), old.as_ref(), index) {
        return admit(request);
    }
    let text = format!(
        "this would {what}: {mend}, or set the annotation scopedsecrets.io/accept-violations: \"{count}\"{spent}{how}",
        what = what_breaks(&broken, &open),
        mend = what_mends(&broken, &open),
        spent = if stands(count, old.as_ref()) {
            " (the same number stands there for an earlier change and counts no more: take it off first)"
        } else {
            ""
        },
        how = if new.is_some() {
            " in the same change"
        } else {
            " on the policy, without another change, and delete it then"
        },
    );
    deny_as(request, RULE, Reason::ViolationsNotAccepted, &text, 403)
}

/// Whether this number is on the policy already: it counts for nothing, and setting it again is no change.
fn stands(count: usize, old: Option<&SegmentationPolicy>) -> bool {
    old.and_then(|policy| accept_violations(&policy.metadata)?.parse().ok()) == Some(count)
}

fn live_claims(count: usize) -> String {
    counted(count, "live claim", "live claims")
}

fn counted(count: usize, one: &str, more: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { more })
}

fn what_breaks(broken: &Broken<'_>, open: &Open) -> String {
    let mut parts = Vec::new();
    if !broken.stranded.is_empty() {
        let names = first_of(broken.stranded.iter().map(|secret| secret.to_string()), broken.stranded.len());
        parts.push(format!("take the Secrets of {} away ({names})", live_claims(broken.stranded.len())));
    }
    if !broken.sharing.is_empty() {
        let names = first_of(broken.sharing.iter().map(ToString::to_string), broken.sharing.len());
        parts.push(format!(
            "leave the Secrets of {} without refresh, since they share a value with another segment ({names})",
            live_claims(broken.sharing.len())
        ));
    }
    if !broken.foreign.is_empty() {
        let names = first_of(broken.foreign.iter().map(ToString::to_string), broken.foreign.len());
        let objects = counted(broken.foreign.len(), "object", "objects");
        parts.push(format!("have {objects} of other operators refused from now on ({names})"));
    }
    let groups = broken.merged.iter().map(|(one, segments)| {
        let all = segments.iter().map(|segment| segment.to_string()).collect::<Vec<_>>().join(" and ");
        format!("{all} would be {one}")
    });
    if !broken.merged.is_empty() {
        let count: usize = broken.merged.values().map(BTreeSet::len).sum();
        parts.push(format!(
            "make one segment of several, {count} in all, that hold Secrets ({})",
            first_of(groups, broken.merged.len())
        ));
    }
    if open.listed > 0 {
        let segments = first_of(open.segments.iter().cloned(), open.segments.len());
        parts.push(format!(
            "enforce while {} open in the SegmentationReports of {segments} (what came in since their lastScanTime is not counted: `kubectl scoped-secrets audit` has it)",
            counted(open.listed, "violation is", "violations are")
        ));
    }
    if !open.unknown.is_empty() {
        parts.push(format!(
            "enforce in {} whose violations are not known yet, since they have not been scanned ({}; each counts as one)",
            counted(open.unknown.len(), "segment", "segments"),
            first_of(open.unknown.iter().cloned(), open.unknown.len())
        ));
    }
    if !open.unwatched.is_empty() {
        parts.push(format!(
            "hold objects of other operators to the policy in {} where nobody has watched them yet ({}; each counts as one)",
            counted(open.unwatched.len(), "segment", "segments"),
            first_of(open.unwatched.iter().cloned(), open.unwatched.len())
        ));
    }
    if !open.uncompared.is_empty() {
        parts.push(format!(
            "refuse copies of the values of {} where nobody has compared them yet ({}; each counts as one)",
            counted(open.uncompared.len(), "segment", "segments"),
            first_of(open.uncompared.iter().cloned(), open.uncompared.len())
        ));
    }
    if !open.readers.is_empty() {
        parts.push(format!(
            "take {} off, of which no report says what they are bound to ({}; each counts as one)",
            counted(open.readers.len(), "reader", "readers"),
            first_of(open.readers.iter().cloned(), open.readers.len())
        ));
    }
    if !open.ended.is_empty() {
        parts.push(format!(
            "end {} early, of which no report says what they lift ({}; each counts as one)",
            counted(open.ended.len(), "exception", "exceptions"),
            first_of(open.ended.iter().cloned(), open.ended.len())
        ));
    }
    parts.join(", and ")
}

fn what_mends(broken: &Broken<'_>, open: &Open) -> String {
    let all = [
        (!broken.stranded.is_empty()).then_some("change or delete those ScopedSecrets first"),
        (!broken.sharing.is_empty()).then_some("store a credential of its own for each segment first"),
        (!broken.foreign.is_empty()).then_some("change or delete those objects first"),
        (!broken.merged.is_empty()).then_some("keep in segment.labels what tells those segments apart"),
        (open.listed > 0).then_some("mend first what the reports list"),
        (!open.unknown.is_empty()).then_some("wait until status.lastScanTime of their SegmentationReports is set"),
        (!open.unwatched.is_empty())
            .then_some("begin with reportOnly: [OtherOperators], and see what the SegmentationReports list"),
        (!open.uncompared.is_empty())
            .then_some("begin with reportOnly: [Copies], and see what the SegmentationReports list"),
        (!open.readers.is_empty())
            .then_some("begin with reportOnly: [Rbac], and see what the SegmentationReports list"),
        (!open.ended.is_empty()).then_some("let those exceptions end"),
    ];
    all.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn is_accepted(
    count: usize,
    new: Option<&SegmentationPolicy>,
    old: Option<&SegmentationPolicy>,
    index: &Index,
) -> bool {
    let annotation = |policy: Option<&SegmentationPolicy>| policy.and_then(|p| accept_violations(&p.metadata));
    let (is, was) = (annotation(new), annotation(old));
    // A deletion cannot set an annotation: the one that stands counts, if it was set for that.
    let named = old.and_then(|p| Some((p.metadata.name.as_deref()?, p.metadata.generation.unwrap_or(0))));
    let meant =
        |value: &String| named.is_some_and(|(name, generation)| index.accepts_deletion(name, value, generation));
    let number = |text: Option<String>| text.and_then(|text| text.parse::<usize>().ok());
    let accepted = match new {
        Some(_) => number(is.clone().filter(|_| is != was)),
        None => number(was.filter(meant)),
    };
    accepted.is_some_and(|n| n >= count)
}

/// An exception that is new or was changed says why, what for, and until when, within 90 days; one that lapsed may stay in
/// Git. The CRD says most of it, too; it may be an older one.
fn bad_exception(
    request: &AdmissionRequest<DynamicObject>,
    policy: &SegmentationPolicy,
    old: Option<&SegmentationPolicy>,
    now: Timestamp,
) -> Option<AdmissionResponse> {
    let known = |e: &&Exception| old.is_some_and(|old| old.spec.exceptions.contains(e));
    let mut new = policy.spec.exceptions.iter().filter(|e| !known(e));
    let (wrong, why) = new.find_map(|e| Some((e, fault_of(e, now)?.1)))?;
    let text = format!("the exception {:?} of rule {:?} {why}", wrong.reason, wrong.rule);
    Some(deny(request, RULE, Reason::InvalidException, &text))
}

#[cfg(test)]
#[path = "policies_tests.rs"]
mod tests;
