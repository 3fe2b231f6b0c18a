//! SecretGrants: gives access to one projected Secret for a while, and takes it back.
//!
//! ```text
//!   SecretGrant ─┐
//!   Role ────────┼─► Grants (by handle) ─► plan (pure) ─► write: RoleBinding, Role ─► status
//!   RoleBinding ─┘        ▲
//!   ScopedSecret, policy, revocation, rule Grants
//! ```
//!
//! The Role, by resourceName and with the verb get alone, is owned by the ScopedSecret, the RoleBinding by the grant. What takes
//! access away deletes the RoleBinding first. The Role of a grant with rotateAfter is the debt of it: it outlives the grant, and
//! goes when the value has been rotated. Of a ScopedSecret that was created anew meanwhile the grant itself, if it is still there, is
//! the debt.
//!
//! Access is given to one ScopedSecret with the keys that it has then. Role, RoleBinding and status note which: whichever of
//! them is left tells that another one of that name, or other keys, are not what was given. A debt is for the noted key alone.
//!
//! No grant is honoured while rule Grants is not in force, or that is not younger than it: nobody was asked. So deleting the
//! guard's binding takes away what stands within [`LOOK`]. While the rule is there in another form, as while an upgrade goes on, what
//! stands stays, and what comes waits.

pub mod known;
pub mod plan;
pub mod status;
mod write;

pub use known::{Grants, handle};

use super::context::{Context, Job};
use super::index::{Gone, Index, object_name};
use super::queue::Lane;
use super::report::guards;
use super::watch::View;
use crate::admission::guard::Guard;
use crate::admission::rules::grants as rule;
use crate::api::condition::ConditionType;
use crate::api::reason::Nature;
use crate::api::{MANAGED_BY, MANAGED_BY_LABEL, Reason, ScopedSecretSpec};
use crate::client::errors::brief;
use crate::rotation::slot::Trigger;
use crate::rotation::triggers::State;
use crate::segmentation::authorize::{authorize, governance, rotation::rotation as may_rotate};
use crate::segmentation::key::CanonicalKey;
use crate::segmentation::verdict::Verdict as Authorised;
use crate::segmentation::world::ObjectName;
use jiff::Timestamp;
use k8s_openapi::api::rbac::v1;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use known::{Binding, Grant, Lent, Role};
use kube::ResourceExt;
use kube::api::DynamicObject;
use plan::{Claim, Guarded, Limits, Observed, Standing};
use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How often the leader looks whether rule Grants is in force while anything is granted.
pub const LOOK: Duration = Duration::from_secs(15);

/// Rule Grants as it was last looked at.
pub type Look = Option<(Instant, Guarded)>;

/// Takes a SecretGrant into the index.
pub fn observe(cx: &Context, object: &DynamicObject, view: View) {
    let seen = Grant::of(object);
    let handle = handle(&object.namespace().unwrap_or_default(), &seen.name, &seen.uid);
    put(cx, &handle, |lent, gone| {
        let known = lent.grant.as_ref().map(|known| &*known.resource_version);
        if !view.says_nothing(&object.metadata, known, gone) {
            lent.named = Some(seen.name.clone());
            lent.grant = Some(seen);
        }
    });
}

/// Takes a Role of ours into the index.
pub fn observe_role(cx: &Context, object: &v1::Role, view: View) {
    let Some(handle) = object_name(&object.metadata) else { return };
    let seen = Role::of(object);
    put(cx, &handle, |lent, gone| {
        let known = lent.role.as_ref().map(|known| &*known.resource_version);
        if !view.says_nothing(&object.metadata, known, gone) {
            lent.named =
                lent.named.take().or_else(|| Some(&*seen.grant).filter(|name| !name.is_empty()).map(Arc::from));
            lent.role = Some(seen);
        }
    });
}

/// Takes a RoleBinding of ours into the index.
pub fn observe_binding(cx: &Context, object: &v1::RoleBinding, view: View) {
    let Some(handle) = object_name(&object.metadata) else { return };
    let seen = Binding::of(object);
    put(cx, &handle, |lent, gone| {
        let known = lent.binding.as_ref().map(|known| &*known.resource_version);
        if !view.says_nothing(&object.metadata, known, gone) {
            lent.binding = Some(seen);
        }
    });
}

/// The handle of a SecretGrant.
pub fn handle_of(metadata: &ObjectMeta) -> Option<ObjectName> {
    Some(handle(metadata.namespace.as_deref()?, metadata.name.as_deref()?, metadata.uid.as_deref()?))
}

/// A SecretGrant is gone.
pub fn gone(cx: &Context, handle: &ObjectName) {
    part(cx, handle, |lent| lent.grant = None);
}

/// A Role is gone: this one, or whichever was known.
pub fn role_gone(cx: &Context, handle: &ObjectName, uid: Option<&str>) {
    let leads = cx.leads();
    part(cx, handle, |lent| {
        let gone = lent.role.take_if(|known| uid.is_none_or(|uid| *known.uid == *uid));
        lent.told.role_lost |= leads && gone.is_some_and(|role| role.rotate_after) && !lent.told.role_deleted;
    });
}

/// A RoleBinding is gone: this one, or whichever was known.
pub fn binding_gone(cx: &Context, handle: &ObjectName, uid: Option<&str>) {
    part(cx, handle, |lent| {
        lent.binding = lent.binding.take().filter(|known| uid.is_some_and(|uid| *known.uid != *uid));
    });
}

/// Takes away a part of what is known under a handle. What nobody can look at any more, once the last of it went with a ScopedSecret
/// or a namespace, is put on the record: that access ended, and what is owed, which whoever makes all of it anew does not owe.
fn part(cx: &Context, handle: &ObjectName, take: impl FnOnce(&mut Lent)) {
    let leads = cx.leads();
    let (changed, last_words) = {
        let index = &mut *cx.index_mut();
        let before = index.grants.get(handle).cloned().unwrap_or_default();
        let changed = index.grants.change(handle, take);
        let left = index.grants.get(handle).cloned().unwrap_or_default();
        let is_paid = |owed: &plan::Owed| {
            let claim = ObjectName::of(handle.namespace.clone(), owed.claim.clone());
            let stands = index.claims.get(&claim).is_some_and(|record| !record.deleting);
            let asked = index.triggers.state(&claim, &Trigger::Grant(owed.uid.clone())).is_some();
            stands && asked && !index.world.terminating.contains(&*handle.namespace)
        };
        let ended = plan::cut_off(&before, &left).filter(|_| leads);
        let mut lost = plan::lost(&before, &left).filter(|_| leads);
        if let Some(asked) = lost.take_if(|owed| is_paid(owed)) {
            index.grants.still_owed(handle, asked);
        }
        // Whoever works on it now tells neither.
        if let Some(told) = index.grants.told(handle) {
            (told.ended, told.unpaid) = (told.ended || ended.is_some(), told.unpaid || lost.is_some());
        }
        (changed, (before, ended, lost))
    };
    if changed {
        queue(cx, handle);
    }
    let (before, ended, lost) = last_words;
    if let Some(subject) = ended {
        write::record_cut_off(cx, handle, &before, &subject);
    }
    if let Some(owed) = lost {
        write::record_unpaid(cx, &handle.namespace, &owed);
    }
}

/// Changes what is known under a handle; it is looked at if that makes a difference.
fn put(cx: &Context, handle: &ObjectName, change: impl FnOnce(&mut Lent, &Gone)) {
    let changed = {
        let index = &mut *cx.index_mut();
        index.grants.change(handle, |lent| change(lent, &index.gone))
    };
    if changed {
        queue(cx, handle);
    }
}

fn queue(cx: &Context, handle: &ObjectName) {
    cx.queue.add(Job::Grant(handle.clone()), Lane::Urgent);
}

/// A ScopedSecret is gone, and with it what it was still to be rotated for.
pub fn claim_gone(cx: &Context, claim: &ObjectName) {
    let owed = {
        let index = &mut *cx.index_mut();
        let mut owed = index.grants.owed_by_gone(claim);
        owed.retain(|owed| index.triggers.state(claim, &Trigger::Grant(owed.uid.clone())) == Some(State::Pending));
        owed
    };
    owed.iter().for_each(|owed| write::record_unpaid(cx, &claim.namespace, owed));
}

/// The grants about a ScopedSecret are looked at: something about it changed.
pub fn look(cx: &Context, claim: &ObjectName) {
    let handles: Vec<ObjectName> = cx.index().grants.about(claim).cloned().collect();
    handles.iter().for_each(|handle| queue(cx, handle));
}

/// All are looked at.
pub fn queue_all(cx: &Context) {
    let handles: Vec<ObjectName> = cx.index().grants.iter().map(|(handle, _)| handle.clone()).collect();
    handles.iter().for_each(|handle| queue(cx, handle));
}

/// Those whose end has come and that still stand: timers run by another clock than ends. What failed is tried again by its own.
pub fn over(index: &Index, now: Timestamp) -> Vec<Job> {
    let ends = |handle: &ObjectName, lent: &Lent| {
        let unjudged = observed(handle, lent, None, Guarded::Unknown, Limits::Unknown, now);
        plan::term(&unjudged).is_some_and(|(_, end)| end <= now)
    };
    let stands = |lent: &Lent| lent.binding.is_some() && lent.told.failures == 0;
    let standing = index.grants.iter().filter(|(handle, lent)| stands(lent) && ends(handle, lent));
    standing.map(|(handle, _)| Job::Grant(handle.clone())).collect()
}

/// The other grants with rotateAfter on the same Secret that are over: what they gave is taken away already, or about to be.
fn others_over<'i>(
    index: &'i Index,
    handle: &'i ObjectName,
    claim: &'i ObjectName,
    now: Timestamp,
) -> impl Iterator<Item = &'i Lent> {
    let others = index.grants.about(claim).filter(move |other| *other != handle);
    let lent = others.filter_map(|other| Some((other, index.grants.get(other)?)));
    let over = lent.filter(move |(other, lent)| match &lent.grant {
        Some(grant) if !grant.deleting => {
            let unjudged = observed(other, lent, None, Guarded::Unknown, Limits::Unknown, now);
            plan::term(&unjudged).is_some_and(|(_, end)| end <= now)
        }
        _ => true,
    });
    over.map(|(_, lent)| lent).filter(|lent| lent.role.as_ref().is_some_and(|role| role.rotate_after))
}

/// What a leader does every now and then: while anything is granted, or waits for rule Grants, that is looked at.
pub async fn keep_house(cx: &Context) {
    let (open, any) = {
        let grants = &cx.index().grants;
        (grants.open(), grants.iter().next().is_some())
    };
    cx.metrics.set_grants_open(open);
    let before = last_look(cx).map(|(_, guarded)| guarded);
    let waits = any && !matches!(before, Some(Guarded::Since(_)));
    if (open > 0 || waits) && before != Some(guarded(cx, Duration::ZERO).await) {
        queue_all(cx);
    }
}

fn last_look(cx: &Context) -> Look {
    *cx.grants_guarded.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether rule Grants is in force, as it was seen at most so long ago.
async fn guarded(cx: &Context, age: Duration) -> Guarded {
    if let Some((at, known)) = last_look(cx)
        && at.elapsed() < age
    {
        return known;
    }
    let seen = in_force(cx, &rule::guard()).await;
    *cx.grants_guarded.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), seen));
    seen
}

/// Whether a rule that the API server keeps is in force.
pub(super) async fn in_force(cx: &Context, guard: &Guard) -> Guarded {
    match guards::in_force(&cx.client, guard).await {
        Ok(guarded) => guarded,
        Err(error) => {
            tracing::warn!(rule = guard.rule, error = %brief(&error), "whether a rule is in force could not be looked at: nothing is given or taken by it meanwhile");
            Guarded::Unknown
        }
    }
}

fn observed<'a>(
    handle: &'a ObjectName,
    lent: &'a Lent,
    claim: Option<&'a Claim>,
    guarded: Guarded,
    limits: Limits,
    now: Timestamp,
) -> Observed<'a> {
    let (namespace, handle) = (&*handle.namespace, &*handle.name);
    Observed { lent, namespace, handle, approved: None, claim, is_deleted: false, guarded, limits, now }
}

fn limits(index: &Index, namespace: &str, now: Timestamp) -> Limits {
    governance(namespace, &index.world, now).into()
}

/// What is known of the ScopedSecret of this name.
fn observe_claim(index: &Index, name: &ObjectName, now: Timestamp) -> Option<Claim> {
    let record = index.claims.get(name).filter(|record| !record.deleting)?;
    let claim = index.world.claim(name)?;
    let spec = record.spec.as_deref().and_then(|bytes| serde_json::from_slice::<ScopedSecretSpec>(bytes).ok())?;
    let secret = ObjectName::of(name.namespace.clone(), claim.target.clone());
    let facts = index.secret(&secret).filter(|facts| !facts.deleting);
    let ours = facts.filter(|facts| {
        let sealed = facts.seal.as_ref().is_ok_and(|seal| seal.holding.claim == name.name);
        let is_its = sealed || facts.is_told_by(&record.status);
        facts.owner.as_deref().map_or(is_its, |owner| owner == &*record.uid)
    });
    let held = index.world.holding(&secret);
    let claimed = index.world.canonical_keys(claim);
    let keys: BTreeSet<&CanonicalKey> = claimed.iter().chain(held.iter().flat_map(|held| held.keys())).collect();
    let revocations = &index.world.revocations;
    let revoked = keys.iter().flat_map(|key| revocations.of_key(key)).filter_map(|name| revocations.get(name));
    // What was revoked is what a rotation brings back.
    let lasts = |reason: Reason| reason.nature() == Nature::Refused && reason != Reason::KeyRevoked;
    let is_held_up = |kind| record.status.denied(kind).is_some_and(lasts);
    Some(Claim {
        uid: record.uid.to_string(),
        secret: claim.target.to_string(),
        keys: texts(&claimed),
        held: held.map(|held| texts(held.keys())),
        stands: ours.is_some(),
        standing: match authorize(claim, &index.world, now) {
            Authorised::Allowed(_) => Standing::Allowed,
            Authorised::Refused(refusal) => Standing::Refused(refusal.reason),
            Authorised::Undecided(_) => Standing::Undecided,
        },
        rotates: spec.rotation.is_some(),
        unrotatable: may_rotate(claim, &index.world, now).map(|refusal| refusal.reason),
        out_of_sync: is_held_up(ConditionType::Synced) || is_held_up(ConditionType::Authorized),
        revoked: revoked.map(|revocation| revocation.created).max(),
        has_ended: claim.ends.is_some_and(|end| end <= now.into()),
        value_since: held.and_then(|held| held.value_since()).map(Timestamp::from),
    })
}

fn texts<'k>(keys: impl IntoIterator<Item = &'k CanonicalKey>) -> Vec<String> {
    let keys: BTreeSet<&str> = keys.into_iter().map(CanonicalKey::as_str).collect();
    keys.into_iter().map(str::to_owned).collect()
}

/// Takes back what was asked of a claim's rotation for a key that it no longer names, before that would rotate another.
pub fn forget_other_keys(cx: &Context, claim: &ObjectName) {
    let index = &mut *cx.index_mut();
    if !index.triggers.pending(claim).any(|trigger| matches!(trigger, Trigger::Grant(_))) {
        return;
    }
    let Some(keys) = index.world.claim(claim).map(|asked| texts(&index.world.canonical_keys(asked))) else { return };
    // Without a Role the grant itself may be the debt.
    let noted = |lent: &'_ Lent| match (&lent.role, &lent.grant) {
        (Some(role), _) => role.of.as_ref().map(|of| (role.grant_uid.clone(), of.keys != keys)),
        (None, Some(grant)) => grant.status.scoped_secret.as_ref().map(|of| (grant.uid.clone(), of.keys != keys)),
        (None, None) => None,
    };
    let about = index.grants.about(claim).filter_map(|handle| noted(index.grants.get(handle)?));
    let uids: Vec<Box<str>> = about.filter(|(_, other)| *other).map(|(uid, _)| uid).collect();
    uids.into_iter().for_each(|uid| index.triggers.remove(claim, &Trigger::Grant(uid)));
}

/// Looks at what belongs to one grant, and brings it to where it ought to be. The leader's.
pub async fn reconcile(cx: &Context, handle: &ObjectName) {
    let Some(lent) = cx.index().grants.get(handle).cloned() else {
        return cx.queue.forget(&Job::Grant(handle.clone()));
    };
    // Only who may give access must know whether that was asked.
    let guarded = if lent.grant.is_some() { guarded(cx, LOOK).await } else { Guarded::Unknown };
    write::Work { cx, handle, lent, guarded, approved: None, given: false, of: None }.run().await;
}

/// Whether an object carries our label.
pub fn is_labelled(metadata: &ObjectMeta) -> bool {
    metadata.labels.as_ref().and_then(|labels| labels.get(MANAGED_BY_LABEL)).is_some_and(|value| value == MANAGED_BY)
}
