//! Rule `Copies`: a Secret or ConfigMap of a governed namespace does not carry a value that another segment's ScopedSecret
//! projects, whoever writes it and in whatever common form ([`crate::segmentation::copies`]).
//!
//! The policies of the segment that *owns* the value decide how it is answered. Of an update only what is new is compared: what
//! was there is the scan's, so that a label can still be changed. The index is looked at for moments: the search itself reads
//! a snapshot of the marks.

mod limit;
#[cfg(test)]
mod tests;

use crate::admission::answer::{admit, answer_by};
use crate::admission::review::Review;
use crate::admission::unread::Unread;
use crate::api::Reason;
use crate::api::policy::{ModalRule, Mode, Within};
use crate::controller::context::Context;
use crate::controller::index::Index;
use crate::segmentation::authorize::{Governance, governance, owners, segment_of};
use crate::segmentation::copies::{Content, Exhausted, MarkIndex, Place, Search, values_in};
use crate::segmentation::fingerprint::Fingerprint;
use crate::segmentation::seal::SealKeys;
use crate::segmentation::world::PolicyState;
use jiff::Timestamp;
use kube::core::DynamicObject;
use kube::core::admission::{AdmissionRequest, AdmissionResponse};
use std::collections::HashSet;
use std::ops::{ControlFlow, Deref};
use std::sync::Arc;

pub use crate::segmentation::copies::RULE;
pub use limit::{Limit, PER_MINUTE};

/// Where Secrets and ConfigMaps are reviewed.
pub const PATH: &str = "/admission/copies";

/// The rule over this replica's index.
pub struct Copies {
    context: Arc<Context>,
    limit: Limit,
}

impl Copies {
    /// With nobody limited yet.
    pub fn new(context: Arc<Context>) -> Self {
        Self { context, limit: Limit::default() }
    }
}

impl Review for Copies {
    fn review(&self, request: &AdmissionRequest<DynamicObject>) -> AdmissionResponse {
        let keys = self.context.keys();
        judge(request, keys.as_deref(), || self.context.index(), &self.limit, self.context.now())
    }

    /// Whose value it would be is not known.
    fn refuses_unread(&self, _: &Unread<'_>) -> bool {
        self.context.index().enforces(ModalRule::Copies, None)
    }
}

/// The answer to a request. Pure, but for counting in `limit`; `index` is asked for moments.
pub fn judge<I: Deref<Target = Index>>(
    request: &AdmissionRequest<DynamicObject>,
    keys: Option<&SealKeys>,
    index: impl Fn() -> I,
    limit: &Limit,
    now: Timestamp,
) -> AdmissionResponse {
    let Some(new) = request.object.as_ref().map(|o| content_of(request, o)) else { return admit(request) };
    let old = request.old_object.as_ref().map(|o| content_of(request, o));
    let new = old.iter().fold(new, |new, old| new.since(old)).worth_a_look();
    if new.is_empty() {
        return admit(request);
    }
    let namespace = request.namespace.as_deref().unwrap_or_default();
    let (segment, marks, unread) = {
        let index = index();
        let Some(segment) = landing(namespace, &index, now) else { return admit(request) };
        let marks = (index.secrets_synced && index.world.policies_synced).then(|| index.world.marks());
        (segment, marks, whosever(&index, namespace, now))
    };
    let Some((keys, marks)) = keys.zip(marks) else {
        return answer(request, unread, Reason::NotCompared, STARTING);
    };
    let user = request.user_info.username.as_deref().unwrap_or_default();
    if let Some(mode) = limit.reached(user, &segment, now) {
        return answer(request, mode, Reason::TooManyCopies, &too_many());
    }
    let before = || old.as_ref().map(|old| values_in(old, &marks, keys)).unwrap_or_default();
    let ask = |print: &Fingerprint| owners(print, namespace, &index().world, now).iter().map(|o| o.answer).max();
    match worst(&new, &marks, keys, before, ask) {
        Ok(None) => admit(request),
        Ok(Some((mode, place))) => {
            if mode > Mode::Audit {
                limit.count(user, &segment, mode, now);
            }
            let text = format!(
                "{place} holds a value that a ScopedSecret of another segment projects: leave it out; a workload that needs this access gets a credential of its own, under a key of its own, with a ScopedSecret"
            );
            answer(request, mode, Reason::ValueCopied, &text)
        }
        Err(Exhausted) => answer(request, whosever(&index(), namespace, now), Reason::NotCompared, REPETITIVE),
    }
}

/// How a copy is answered whosever the value is: what was not compared may be anybody's.
fn whosever(index: &Index, namespace: &str, now: Timestamp) -> Mode {
    let answers = index.world.policies.values().map(|policy| match policy {
        PolicyState::Known(policy) if policy.unique_within == Within::Segment => {
            policy.answers(ModalRule::Copies, namespace, now)
        }
        PolicyState::Known(_) => Mode::Audit,
        PolicyState::Unknown(_) => Mode::Enforce,
    });
    let unseen = (!index.world.policies_synced).then_some(Mode::Enforce);
    answers.chain(unseen).max().unwrap_or(Mode::Audit)
}

const STARTING: &str = "it cannot be compared with the values of other segments yet, since the operator has just started: try again in a moment";
const REPETITIVE: &str = "it cannot be compared with the values of other segments: it has so many repetitions of one value's parts, or layers of escapes and base64, that this takes too long; write less into one object, or leave them out";

fn too_many() -> String {
    format!(
        "{PER_MINUTE} writes with copied values came from this user within a minute: new values are not taken for the rest of it; leave the copied values out, and try again then"
    )
}

/// The name of the segment where the object is to be, empty where that cannot be told. None: the namespace is in none, and
/// nothing is asked of it.
fn landing(namespace: &str, index: &Index, now: Timestamp) -> Option<String> {
    if governance(namespace, &index.world, now) == Governance::Ungoverned {
        return None;
    }
    Some(segment_of(namespace, &index.world).map(|segment| segment.name().to_owned()).unwrap_or_default())
}

fn content_of<'o>(request: &AdmissionRequest<DynamicObject>, object: &'o DynamicObject) -> Content<'o> {
    Content::of_json(&request.kind.kind, &object.metadata, &object.data)
}

/// The strictest answer to what is found, and where that is. `ask` says how a value is answered, `before` what there was.
fn worst<'o>(
    new: &Content<'o>,
    marks: &MarkIndex,
    keys: &SealKeys,
    before: impl Fn() -> HashSet<Fingerprint>,
    ask: impl Fn(&Fingerprint) -> Option<Mode>,
) -> Result<Option<(Mode, Place<'o>)>, Exhausted> {
    let mut search = Search::new(marks, keys, new.len(), 1);
    let (mut known, mut worst, mut names_are_values) = (None, None, false);
    for (place, text) in new.texts() {
        let looked = search.look(&text, &mut |print| {
            let stricter = |answer: &Mode| worst.is_none_or(|(worst, _)| *answer > worst);
            let Some(answer) = ask(print).filter(stricter) else { return ControlFlow::Continue(()) };
            if known.get_or_insert_with(&before).contains(print) {
                return ControlFlow::Continue(());
            }
            names_are_values |= place.is_name();
            worst = Some((answer, if names_are_values { place.unnamed() } else { place }));
            if answer == Mode::Enforce { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        if looked.is_break() {
            break;
        }
    }
    Ok(worst)
}

fn answer(request: &AdmissionRequest<DynamicObject>, mode: Mode, reason: Reason, text: &str) -> AdmissionResponse {
    answer_by(mode, request, RULE, reason, text)
}
