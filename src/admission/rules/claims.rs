//! Rule `Claims`: a ScopedSecret is judged by the authoriser when it is created or its spec changes.
//!
//! What cannot be told yet (the store's account, a namespace created a moment ago) is let through with a warning: nothing
//! is fetched before reconcile knows. What cannot be looked up because it is broken is denied.

use crate::admission::answer::{admit, answer_by, deny, not_understood, warn};
use crate::admission::review::{Review, spec_is_unchanged};
use crate::admission::unread::Unread;
use crate::api::policy::Mode;
use crate::api::{Reason, ScopedSecret};
use crate::controller::context::Context;
use crate::controller::index::{Index, claim_of};
use crate::controller::served::Served;
use crate::projection;
use crate::rotation;
use crate::segmentation::authorize::{authorize, rotation::rotation as may_rotate};
use crate::segmentation::verdict::Verdict;
use crate::segmentation::world::{Claim, ObjectName, World};
use jiff::Timestamp;
use kube::core::DynamicObject;
use kube::core::admission::{AdmissionRequest, AdmissionResponse};
use std::sync::Arc;

/// The rule's name.
pub const RULE: &str = "Claims";

/// The rule over this replica's index.
pub struct Claims(pub Arc<Context>);

impl Review for Claims {
    fn review(&self, request: &AdmissionRequest<DynamicObject>) -> AdmissionResponse {
        let now = self.0.now();
        not_served(request, &self.0.served).unwrap_or_else(|| judge(request, &self.0.index(), now))
    }

    fn refuses_unread(&self, _: &Unread<'_>) -> bool {
        true
    }
}

/// A refusal, where nobody would ever look at the ScopedSecret.
fn not_served(request: &AdmissionRequest<DynamicObject>, served: &Served) -> Option<AdmissionResponse> {
    let deleting = request.object.as_ref().is_none_or(|object| object.metadata.deletion_timestamp.is_some());
    if served.holds(request.namespace.as_deref().unwrap_or_default()) || deleting || spec_is_unchanged(request) {
        return None;
    }
    let text = "the operator does not serve this namespace: nothing would ever be projected here. Use a namespace that it serves, or ask the platform team to add this one to its list (--namespaces; the chart's value namespaces)";
    Some(deny(request, RULE, Reason::NamespaceNotServed, text))
}

/// What is said of a new end that has passed.
const END_IS_PAST: &str = "the end that is written is in the past: write a spec.expirationTime or a spec.ttl (which counts from creation) whose end is ahead, or none";

/// Whether an end is written that has passed; one that stays as it was does no harm.
fn writes_past_end(old: Option<&ScopedSecret>, claim: &ScopedSecret, now: Timestamp) -> bool {
    let end = |object: &ScopedSecret| object.spec.end(object.metadata.creation_timestamp.as_ref().map_or(now, |t| t.0));
    end(claim).is_some_and(|at| at <= now) && old.is_none_or(|old| end(old) != end(claim))
}

/// The rotation that a request writes, if it is new: one that stays as it was, on the keys that it was on, does no harm.
fn has_new_rotation(old: Option<&ScopedSecret>, claim: &ScopedSecret) -> bool {
    let same = |old: &ScopedSecret| {
        let (old, new) = (&old.spec, &claim.spec);
        (&old.rotation, &old.store_ref, &old.data, &old.data_from, &old.target)
            == (&new.rotation, &new.store_ref, &new.data, &new.data_from, &new.target)
    };
    claim.spec.rotation.is_some() && !old.is_some_and(same)
}

/// What is wrong with a ScopedSecret that is written, beside the authoriser's verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The stable reason.
    pub reason: Reason,
    /// What is wrong, why, and what to write instead.
    pub message: String,
    /// How it is answered; None: as invalid input.
    pub mode: Option<Mode>,
}

/// What is asked of a ScopedSecret that is written over `old`, one question after the other: the verdict, unless something else is
/// wrong with it. Pure.
///
/// # Errors
///
/// The first fault.
pub fn examine(
    old: Option<&ScopedSecret>,
    object: &ScopedSecret,
    claim: &Claim,
    world: &World,
    now: Timestamp,
) -> Result<Verdict, Fault> {
    let invalid = |reason, message| Err(Fault { reason, message, mode: None });
    if writes_past_end(old, object, now) {
        return invalid(Reason::InvalidEnd, END_IS_PAST.to_owned());
    }
    // As reconcile does, first whether it may have the keys: it costs less than a megabyte of templates, and whoever may not
    // need not mend them.
    let verdict = authorize(claim, world, now);
    if matches!(&verdict, Verdict::Refused(refusal) if refusal.mode == Mode::Enforce) {
        return Ok(verdict);
    }
    if let Err(error) = projection::check_spec(&object.spec) {
        return invalid(error.reason, error.message);
    }
    if !has_new_rotation(old, object) {
        return Ok(verdict);
    }
    if let Err(error) = rotation::plan(&object.spec) {
        return invalid(error.reason, error.message);
    }
    match may_rotate(claim, world, now).filter(|_| !matches!(verdict, Verdict::Refused(_))) {
        Some(refusal) => Err(Fault { reason: refusal.reason, message: refusal.message, mode: Some(refusal.mode) }),
        None => Ok(verdict),
    }
}

/// The answer to a request. Pure.
pub fn judge(request: &AdmissionRequest<DynamicObject>, index: &Index, now: Timestamp) -> AdmissionResponse {
    let Some(object) = &request.object else { return admit(request) };
    // One that is being deleted is judged as well: its finalizers may keep it, and in use, for as long as their owner likes.
    if spec_is_unchanged(request) {
        return admit(request);
    }
    let claim = match object.clone().try_parse::<ScopedSecret>() {
        Ok(claim) => claim,
        Err(error) => return deny(request, RULE, Reason::SpecInvalid, &not_understood(&error, "scopedsecret")),
    };
    let name = claim.metadata.name.as_deref().or(claim.metadata.generate_name.as_deref()).unwrap_or_default();
    let namespace = request.namespace.as_deref().unwrap_or_default();
    let object = ObjectName::new(namespace, name);
    let uid = claim.metadata.uid.clone().unwrap_or_default().into();
    let old = request.old_object.clone().and_then(|old| old.try_parse::<ScopedSecret>().ok());
    let known = index.world.namespaces.contains_key(namespace);
    // One that has ended may be applied again from Git: that gives it nothing.
    let asked = Claim { ends: None, ..claim_of(&claim, &object, &uid) };
    let verdict = match examine(old.as_ref(), &claim, &asked, &index.world, now) {
        Ok(verdict) => verdict,
        Err(Fault { reason, message, mode: None }) => return deny(request, RULE, reason, &message),
        Err(Fault { reason, message, mode: Some(mode) }) => return answer_by(mode, request, RULE, reason, &message),
    };
    match verdict {
        Verdict::Allowed(_) => admit(request),
        Verdict::Refused(refusal) => answer_by(refusal.mode, request, RULE, refusal.reason, &refusal.message),
        Verdict::Undecided(refusal) => match refusal.reason {
            Reason::StoreNotFound | Reason::AccountUnknown => warn(request, RULE, refusal.reason, &refusal.message),
            Reason::PolicyUnknown if !known => warn(request, RULE, refusal.reason, &refusal.message),
            reason => deny(request, RULE, reason, &refusal.message),
        },
    }
}
