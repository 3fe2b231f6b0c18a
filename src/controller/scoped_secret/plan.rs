//! What to do next about one ScopedSecret. Pure: one step at a time, from what is observed now.
//!
//! ```text
//!   observe ─► decide ─► Report ───────────────────────────────► status
//!                 ├────► ReadSecret ─► observe ─► decide ...
//!                 ├────► AwaitGuard ─► the SegmentGuard names the Secret ─► observe ─► decide ...
//!                 ├────► Withdraw  ─► fresh reads ─► delete ───► status
//!                 └────► Fetch ─► (authorised again) ─► project ─► create or replace ─► status
//! ```
//!
//! Each step is taken from the cluster's state alone, so that a controller killed between any two converges when restarted.

use crate::api::reason::Nature;
use crate::api::{Reason, ScopedSecretSpec};
use crate::controller::index::SecretFacts;
use crate::segmentation::authorize::Retention;
use crate::segmentation::seal::{BrokenSeal, Digests, SealRecord};
use crate::segmentation::second::Second;
use crate::segmentation::verdict::{Grant, Refusal, Verdict};
use crate::segmentation::world::{Holding, KeyVersion};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What is observed of one ScopedSecret and its Secret.
pub struct Observed<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its uid.
    pub uid: &'a str,
    /// Its spec.
    pub spec: &'a ScopedSecretSpec,
    /// The annotation refresh-at.
    pub refresh_at: Option<&'a str>,
    /// Digests of the part of the spec that decides what is projected.
    pub spec_digests: &'a Digests,
    /// Digests of the names whose values are not compared.
    pub ignore_digests: &'a Digests,
    /// The authoriser's answer.
    pub verdict: &'a Verdict,
    /// When the claim ends.
    pub ends: Option<Second>,
    /// Whether the namespace is being deleted.
    pub terminating: bool,
    /// The Secret under the target's name, if any is known.
    pub secret: Option<&'a SecretFacts>,
    /// What stands behind the uid in the Secret's ownerReference, if it is another's.
    pub owner: Owner,
    /// How far the Secret's content is known to be what was projected.
    pub content: Content,
    /// What policy says of the keys that the Secret holds.
    pub retention: Option<&'a Retention>,
    /// Whether the store reaches another place by now than that of what the Secret holds: what it is then not allowed, nobody took
    /// from it.
    pub moved: bool,
    /// Why its withdrawal waits, if so many do that they need somebody's word.
    pub paused: Option<Paused>,
    /// Whether the Secret holds a value that another segment has as well, and had before.
    pub shared: bool,
    /// Whether a refresh, or a retry, is due.
    pub due: bool,
    /// The last attempt's failure, if it failed.
    pub failure: Option<&'a Failure>,
    /// Whether the SegmentGuard names the Secret's consumers.
    pub guard: Guarding,
    /// Whether a foreign Secret stood in the way when last looked.
    pub blocked: bool,
    /// Whether status or a holding speaks of a Secret that the index does not have (it may only have lost its label), or pods of
    /// others wait for one of its name (it may be their own).
    pub missing: bool,
    /// Whether its metadata was put right a moment ago.
    pub mended: bool,
    /// The restart that is over, by its token.
    pub restarted: Option<&'a str>,
    /// Whether something was seen that the seal has to say: what a rotation comes after.
    pub news: bool,
    /// Whether the Secret has the value before a rotation for longer than it is to.
    pub overlap_over: bool,
    /// Whether the seal says of the rotation what it is to say.
    pub rotation_right: bool,
}

/// How far the SegmentGuard is, without which nothing is fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Guarding {
    /// It names the Secret and its consumers.
    InPlace,
    /// It is about to be written.
    Awaited,
    /// It could not be written.
    Failed(Failure),
}

/// Who the Secret's controller ownerReference names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// This ScopedSecret, or nobody.
    UsOrNobody,
    /// Nobody, and its seal is of a key that was lost; this ScopedSecret's status speaks of exactly this revision. So it is with one
    /// that is retained.
    UsAsTold,
    /// A ScopedSecret that was seen to go: the garbage collector is about to take the Secret.
    JustGone,
    /// Another ScopedSecret that lives.
    OtherAlive,
    /// A uid that nobody has: an owner from before a restore.
    Stranger,
}

/// How far the Secret's content is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// Its resourceVersion is one that we wrote or verified.
    Verified,
    /// It was written by somebody since: it must be read.
    Unread,
    /// It was read and is not what was projected.
    Drifted,
}

/// Why an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The stable reason.
    pub reason: Reason,
    /// For the condition.
    pub message: String,
}

impl Failure {
    /// A failure.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }

    /// What is said instead of a claim that has nothing, and of which a key was revoked: whatever keeps the manager from giving a
    /// value, the claim is refused until it gives a newer one. None: the manager gave one.
    pub fn of_revoked(&self) -> Option<Self> {
        let gave_none = matches!(
            self.reason,
            Reason::ProviderUnavailable
                | Reason::Throttled
                | Reason::AccessDenied
                | Reason::CredentialsMissing
                | Reason::CredentialsInvalid
                | Reason::DecryptionFailed
                | Reason::RemoteIncomplete
                | Reason::RemoteMissing
        );
        let text = || {
            format!(
                "a key of this claim was revoked (see KeyRevocations, or ask the platform team), and whether the manager has a newer version is not known; it is asked again: {}",
                self.message
            )
        };
        gave_none.then(|| Self::new(Reason::KeyRevoked, text()))
    }
}

/// The next step.
#[derive(Debug, PartialEq)]
pub enum Step {
    /// Say in status how it stands.
    Report(Outcome),
    /// Read the Secret under the target's name.
    ReadSecret,
    /// Put the Secret's metadata right, which needs no value: finalizers would keep it readable when it is withdrawn, other
    /// owners alive when its ScopedSecret is gone, replicators would carry it away, and without our label it is not watched.
    MendSecret(Mend),
    /// Take the value before a rotation out of the Secret: its time is over, whether or not the manager answers.
    EndOverlap,
    /// Wait for the SegmentGuard; nothing is said meanwhile.
    AwaitGuard,
    /// Take the Secret away, after a fresh look.
    Withdraw(Refusal),
    /// Fetch these keys, then write.
    Fetch(Grant),
}

/// What of a Secret's metadata follows the ScopedSecret.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Mend {
    /// Its owner is written anew: restored from a backup, or its deletionPolicy is another.
    pub owner: bool,
    /// Its seal is, with what the spec says of consumers, deletionPolicy and the end now, and with a restart that is over.
    pub seal: bool,
}

/// How it stands.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The Secret is there and current.
    Current,
    /// An attempt failed; what stands, stands.
    Failed(Failure),
    /// The authoriser refused.
    Refused(Refusal),
    /// The authoriser cannot tell.
    Undecided(Refusal),
    /// It is to be withdrawn, and that failed so far.
    Stuck {
        /// Why it must go.
        refusal: Refusal,
        /// Why it has not gone yet.
        failure: Failure,
    },
    /// It would be withdrawn, but so many would be that somebody must say so first.
    Paused {
        /// Why it would be.
        refusal: Refusal,
        /// What it waits for.
        paused: Paused,
    },
}

/// What withdrawals wait for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paused {
    /// How many wait for the same cause.
    pub count: usize,
    /// The report of their segment, if there is one, with how many wait there.
    pub report: Option<(String, usize)>,
}

/// Whether a Secret is ours to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ownership {
    /// Projected for this ScopedSecret.
    Ours,
    /// Ours, but the garbage collector is about to take it.
    Releasing,
    /// Not ours.
    Foreign,
}

/// A Secret is ours if its controller ownerReference has the live claim's uid, or its seal is valid and for this claim, or was lost with
/// its key and the claim's status says so.
pub fn ownership(name: &str, uid: &str, secret: &SecretFacts, owner: Owner) -> Ownership {
    if secret.owner.as_deref() == Some(uid) {
        return if secret.deleting { Ownership::Releasing } else { Ownership::Ours };
    }
    let sealed_for_us = secret.seal.as_ref().is_ok_and(|seal| *seal.holding.claim == *name);
    match owner {
        Owner::OtherAlive => Ownership::Foreign,
        Owner::UsAsTold if secret.deleting => Ownership::Releasing,
        Owner::UsAsTold => Ownership::Ours,
        _ if !sealed_for_us => Ownership::Foreign,
        Owner::JustGone => Ownership::Releasing,
        _ if secret.deleting => Ownership::Releasing,
        Owner::UsOrNobody | Owner::Stranger => Ownership::Ours,
    }
}

/// The next step.
pub fn decide(o: &Observed<'_>) -> Step {
    let owned = o.secret.map(|secret| (secret, ownership(o.name, o.uid, secret, o.owner)));
    let ours = matches!(owned, Some((_, Ownership::Ours)));
    let leaked = leaked(o);
    let refused = match (o.verdict, o.retention) {
        (Verdict::Refused(_), Some(Retention::Withdraw(_))) => true,
        (Verdict::Refused(refusal), _) => refusal.reason.is_an_end(),
        _ => false,
    };
    // A leak waits for nobody's word.
    let goes = leaked.is_some() || (refused && o.paused.is_none());
    if let Some((secret, whose)) = owned.filter(|(_, whose)| *whose != Ownership::Foreign && !o.mended) {
        let how = if whose == Ownership::Ours && !goes { mend(o, secret) } else { Mend::default() };
        // What is about to go is only freed.
        let bent = if goes { secret.held_back } else { secret.is_bent() };
        if bent || how != Mend::default() {
            return Step::MendSecret(how);
        }
    }
    if let Some(why) = leaked.filter(|_| ours) {
        return Step::Withdraw(why);
    }
    if let Some((_, Ownership::Ours)) = owned.filter(|_| o.overlap_over && !goes) {
        return Step::EndOverlap;
    }
    match o.verdict {
        Verdict::Undecided(refusal) => Step::Report(Outcome::Undecided(refusal.clone())),
        Verdict::Refused(_) if owned.is_none() && o.missing => Step::ReadSecret,
        Verdict::Refused(refusal) => match o.retention {
            Some(Retention::Withdraw(why)) if ours => withdraw(o, why),
            // Its end was brought forward past admission: the seal says the former.
            _ if ours && refusal.reason.is_an_end() => withdraw(o, refusal),
            // What it holds is not known, since somebody has spoilt its seal: it goes for what its claim is refused for.
            None if ours && refusal.reason.is_of_scope() && is_spoilt(owned) => withdraw(o, refusal),
            _ => Step::Report(Outcome::Refused(refusal.clone())),
        },
        Verdict::Allowed(_) if o.terminating => {
            failed(Reason::NamespaceTerminating, "the namespace is being deleted: nothing can be projected into it")
        }
        Verdict::Allowed(grant) => match (owned, o.retention, o.failure) {
            // What it holds is no longer allowed, and what it now claims cannot be had: what it holds goes.
            // Only where the claim was edited: of a store that reaches another account by now, the last value stays.
            (Some((secret, Ownership::Ours)), Some(Retention::Withdraw(why)), Some(_))
                if !o.due
                    && !o.moved
                    // The end that was sealed is of before: the claim has time left, or it would be refused.
                    && why.reason != Reason::Expired
                    && secret.seal.as_ref().is_ok_and(|seal| !o.spec_digests.contains(&seal.spec)) =>
            {
                withdraw(o, why)
            }
            _ => step_allowed(o, grant, owned),
        },
    }
}

/// Why the Secret goes whatever its claim may have: it holds a version that has leaked. Where its seal cannot be read, the
/// manager is asked first, which has a newer one perhaps.
fn leaked(o: &Observed<'_>) -> Option<Refusal> {
    let unread = o.secret.is_some_and(|secret| secret.seal.is_err());
    match (o.retention, o.failure) {
        (Some(Retention::Withdraw(why)), failure) if why.reason == Reason::KeyRevoked => {
            let asks = unread && failure.is_none() && matches!(o.verdict, Verdict::Allowed(_));
            (!asks).then(|| why.clone())
        }
        (None, Some(failure)) if unread && failure.reason == Reason::KeyRevoked => {
            Some(Refusal::new(failure.reason, failure.message.clone()))
        }
        _ => None,
    }
}

fn is_spoilt(owned: Option<(&SecretFacts, Ownership)>) -> bool {
    owned.is_some_and(|(secret, _)| secret.seal.as_ref().err() == Some(&BrokenSeal::Invalid))
}

/// What of a Secret of ours is not as its ScopedSecret says, and can be written without its values.
fn mend(o: &Observed<'_>, secret: &SecretFacts) -> Mend {
    let nothing = Mend::default();
    let Some(seal) = secret.seal.as_ref().ok().filter(|seal| *seal.holding.claim == *o.name) else { return nothing };
    if o.terminating || secret.deleting {
        return nothing;
    }
    let held = &seal.holding;
    let form_right = form_is_right(o, held);
    let may_seal = matches!(o.verdict, Verdict::Allowed(_)) && o.spec_digests.contains(&seal.spec);
    let seal = (!form_right || o.news || is_restarted(o, seal)) && may_seal;
    let owner_right = secret.owner.as_deref() == (!o.spec.retain()).then_some(o.uid);
    Mend { owner: !owner_right && (seal || held.retain == o.spec.retain()), seal }
}

/// Whether the restart that the seal says is due is over, or is not wanted any more.
fn is_restarted(o: &Observed<'_>, seal: &SealRecord) -> bool {
    let due = seal.restart.as_ref().and_then(|restart| restart.due.as_ref());
    due.is_some_and(|due| !o.spec.restarts() || o.restarted == Some(&*due.token))
}

/// Whether the seal says of consumers, deletionPolicy and the end what the spec says.
fn form_is_right(o: &Observed<'_>, held: &Holding) -> bool {
    held.retain == o.spec.retain() && held.consumed != o.spec.consumers.is_empty() && held.ends == o.ends
}

fn withdraw(o: &Observed<'_>, why: &Refusal) -> Step {
    match &o.paused {
        Some(paused) => Step::Report(Outcome::Paused { refusal: why.clone(), paused: paused.clone() }),
        None => Step::Withdraw(why.clone()),
    }
}

fn step_allowed(o: &Observed<'_>, grant: &Grant, owned: Option<(&SecretFacts, Ownership)>) -> Step {
    match owned {
        None if o.blocked || o.missing => Step::ReadSecret,
        None => fetch_or_wait(o, grant),
        Some((secret, Ownership::Foreign)) => {
            let instead = match &secret.seal {
                Ok(seal) => format!("delete ScopedSecret {:?}, for which it was", &*seal.holding.claim),
                Err(_) => "delete that Secret first".to_owned(),
            };
            let text = format!(
                "a Secret {:?} exists and was not projected for this ScopedSecret; it is untouched: choose another target.name, or {instead}",
                o.spec.target_name(o.name)
            );
            failed(Reason::TargetConflict, text)
        }
        Some((_, Ownership::Releasing)) => failed(
            Reason::TargetReleasing,
            "the Secret still belongs to a deleted ScopedSecret of this name; it is projected anew once that is gone",
        ),
        Some(_) if o.content == Content::Unread => Step::ReadSecret,
        // What is written once is not refreshed, so that no fetch would end what failed before it was up to date.
        Some((secret, Ownership::Ours)) if is_up_to_date(o, secret, grant) && o.spec.immutable() && !o.shared => {
            Step::Report(Outcome::Current)
        }
        Some((secret, Ownership::Ours)) if is_up_to_date(o, secret, grant) && (!o.due || o.spec.immutable()) => {
            settled(o)
        }
        Some(_) => fetch_or_wait(o, grant),
    }
}

/// An attempt that failed is not repeated before it is due; until then its failure stands.
fn fetch_or_wait(o: &Observed<'_>, grant: &Grant) -> Step {
    match o.failure {
        Some(failure) if !o.due => Step::Report(Outcome::Failed(failure.clone())),
        _ => match &o.guard {
            Guarding::InPlace => Step::Fetch(grant.clone()),
            Guarding::Awaited => Step::AwaitGuard,
            Guarding::Failed(failure) => Step::Report(Outcome::Failed(failure.clone())),
        },
    }
}

fn settled(o: &Observed<'_>) -> Step {
    if o.shared {
        return Step::Report(Outcome::Failed(value_shared()));
    }
    Step::Report(o.failure.map_or(Outcome::Current, |failure| Outcome::Failed(failure.clone())))
}

/// Whether the Secret is what this spec projects, as far as can be told without asking the manager. An old generation of
/// the seal key is no reason to ask.
fn is_up_to_date(o: &Observed<'_>, secret: &SecretFacts, grant: &Grant) -> bool {
    let owner_right = secret.owner.as_deref() == (!o.spec.retain()).then_some(o.uid);
    let seal_right = secret.seal.as_ref().is_ok_and(|seal| {
        let held: BTreeSet<_> = seal.holding.keys().collect();
        *seal.holding.claim == *o.name
            && o.spec_digests.contains(&seal.spec)
            && form_is_right(o, &seal.holding)
            && o.ignore_digests.contains(&seal.ignore)
            && held == grant.keys.iter().map(|k| &k.canonical).collect()
            // What pods run with now is noted before it changes.
            && (seal.restart.is_some() || !o.spec.restarts() || o.spec.immutable())
            // What is written once is not refreshed, whoever asks.
            && (o.refresh_at.is_none() || o.spec.immutable() || seal.refresh_at.as_deref() == o.refresh_at)
    });
    o.content == Content::Verified && owner_right && seal_right && o.rotation_right && !o.overlap_over
}

/// Whether fetched versions leave nothing to write: with the values in hand an old seal is renewed, and one from before there
/// were marks completed.
pub fn is_unchanged(o: &Observed<'_>, grant: &Grant, versions: &[KeyVersion]) -> bool {
    let same = |seal: &Arc<SealRecord>| {
        let kept = &seal.holding.versions;
        kept.len() == versions.len() && versions.iter().zip(kept).all(|(new, kept)| new.is_kept_by(kept))
    };
    let renewed = |secret: &SecretFacts| {
        let complete = secret.seal.as_ref().is_ok_and(|seal| same(seal) && seal.holding.is_marked());
        secret.seal_is_current && is_up_to_date(o, secret, grant) && complete
    };
    !o.shared && o.secret.is_some_and(renewed)
}

/// Of two segments that have one value, the later one hears this.
pub fn value_shared() -> Failure {
    Failure::new(
        Reason::ValueShared,
        "one of the values, or what stands inside one, is also held in another segment, and the policy keeps a value inside one segment (rules.uniqueValues): store a credential of its own for this segment in the manager; what was projected before, if anything, stays",
    )
}

fn failed(reason: Reason, message: impl Into<String>) -> Step {
    Step::Report(Outcome::Failed(Failure::new(reason, message)))
}

impl Outcome {
    /// The reason, for metrics.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Current => Reason::Ready,
            Self::Failed(failure) | Self::Stuck { failure, .. } => failure.reason,
            Self::Refused(refusal) | Self::Undecided(refusal) => refusal.reason,
            Self::Paused { .. } => Reason::WithdrawalPaused,
        }
    }

    /// Whether it waits for somebody, rather than for time.
    pub fn is_stalled(&self) -> bool {
        match self {
            Self::Current | Self::Paused { .. } | Self::Stuck { .. } => false,
            Self::Failed(failure) => failure.reason.nature() == Nature::Refused,
            Self::Refused(_) => true,
            Self::Undecided(refusal) => refusal.reason.nature() == Nature::Refused,
        }
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
