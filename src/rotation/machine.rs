//! What is next for a key that is to be rotated. Pure: one step at a time, from the labels of the manager's versions and
//! what the Secret holds, so that an operator that was killed between any two goes on where it was.
//!
//! ```text
//!   Generate:  Describe ─► FetchCurrent ─► Put (AWSPENDING) ─► Promote (AWSCURRENT) ─► ClearPending ─► Project ─► Settled
//!   Provider:  Describe ─► Rotate ─► Wait, Describe ... ─────────────────────────────────────────────► Project ─► Settled
//! ```
//!
//! The version that the slot's token names is the proof of how far it is, whatever is in memory: one that is current, or was until the
//! last change, is the slot's rotation. One that waits to be promoted is promoted only if it is what is current now but
//! for what was generated ([`Step::Compare`]), since the key may have been changed meanwhile. One that has lost its label is
//! the slot's rotation if what is current is younger ([`Step::Trace`]). Else the next attempt makes another.
//! One that was in use, and is AWSPENDING still, is never brought back: its label is taken off.
//! By the same comparison one is known that waits for a slot of which nothing is known any more.

use super::schedule::FLOOR;
use super::slot::maker;
use crate::api::Reason;
use crate::api::rotation::Strategy;
use crate::provider::write::{CURRENT, Description, PENDING, PREVIOUS};
use jiff::{SignedDuration, Timestamp};

/// How long the manager may take: longer than a function of AWS may run (15 minutes), and one that is tried again.
pub const PATIENCE: SignedDuration = SignedDuration::from_mins(40);

/// How far the manager may be behind itself: for so long nothing to see of a rotation is no failure.
const BEHIND: SignedDuration = SignedDuration::from_secs(5);

/// What is known.
pub struct Observed<'a> {
    /// The time.
    pub now: Timestamp,
    /// Who makes the value.
    pub strategy: Strategy,
    /// The tokens of the slot that is due, an attempt each.
    pub tokens: &'a [String],
    /// Those that the slot has by the other strategy.
    pub others: &'a [String],
    /// The slot's time, if it is the schedule's.
    pub slot: Option<Timestamp>,
    /// By which strategy a version was made for an earlier slot, whose rotation may not have ended; None: for none.
    pub made_earlier_by: &'a dyn Fn(&str) -> Option<Strategy>,
    /// The version that the Secret holds.
    pub held: &'a str,
    /// The current version, if it was revoked: it is not projected, and another is made of it.
    pub revoked: Option<&'a str>,
    /// Whether another is made though the one that was revoked was made for this; not for what was asked for before the leak.
    pub again: bool,
    /// When the key was last rotated, as the seal says.
    pub last: Option<Timestamp>,
    /// The secret's versions, as the manager just said; None: it was not asked yet, or something was written since.
    pub described: Option<&'a Description>,
    /// When the current version was made, if its value was fetched; the inner None: the manager does not say.
    pub fetched: Option<Option<Timestamp>>,
    /// Whether the value that waits to be promoted is the current one but for what was generated; None: not compared yet.
    pub renews: Option<bool>,
    /// So many attempts are known to be used up: the manager has taken the last of them.
    pub used: usize,
    /// What became of that one's version; None: not asked yet.
    pub fate: Option<Fate>,
    /// When the manager's own rotation of the key was last asked for, or seen under way, for whatever it was; None: that is not known.
    pub asked_at: Option<Timestamp>,
    /// AWSPENDING was taken off, or that was tried: what is left of it does no harm.
    pub cleared: bool,
}

/// What became of a version that has no label any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// What is current was stored after it: the key has another value since.
    Overtaken,
    /// What is current is older: it never came into use.
    Unused,
    /// The manager has no such version.
    Unknown,
}

/// The next step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Ask the manager which versions there are.
    Describe,
    /// Fetch the current value, of which the new one is made.
    FetchCurrent,
    /// Store the new value under this token, AWSPENDING.
    Put(String),
    /// Fetch the current value and that of this version, and compare them.
    Compare(String),
    /// Fetch the current value and that of this version, which has no label: what became of it?
    Trace(String),
    /// Make a version the current one.
    Promote {
        /// The one that is current.
        from: Option<String>,
        /// The one that is to be.
        to: String,
    },
    /// Take AWSPENDING off a version that is current by now, or was.
    ClearPending(String),
    /// Have the manager rotate, by this token.
    Rotate(String),
    /// Project what is current in the manager.
    Project,
    /// The slot was rotated, and the Secret has what is current.
    Settled,
    /// Nothing before then.
    Wait {
        /// When to look again.
        until: Timestamp,
        /// How far it is.
        reason: Reason,
        /// For the condition.
        message: String,
    },
    /// It cannot go on now.
    Fail {
        /// The stable reason.
        reason: Reason,
        /// For the condition.
        message: String,
    },
}

/// The next step.
pub fn next(o: &Observed<'_>) -> Step {
    // One whose version is in the Secret is only to be settled.
    if let Some(wait) = o.last.filter(|_| !o.made(o.held)).and_then(|last| floor(last, o.now)) {
        return wait;
    }
    let Some(seen) = o.described else { return Step::Describe };
    let current = seen.version_at(CURRENT);
    let leaked = current.is_some() && current == o.revoked;
    let in_use = [CURRENT, PREVIOUS].iter().any(|stage| seen.version_at(stage).is_some_and(|made| o.made(made)));
    if leaked && in_use && !o.again {
        return Step::Fail {
            reason: Reason::KeyRevoked,
            message: "what was made for this rotation was revoked since: ask again by a value of rotate-at that was never used".into(),
        };
    }
    // Whatever is current goes first: what consumers have must not lag behind by two.
    if current.is_some_and(|current| current != o.held) && !o.is_in_midst(seen) && !leaked {
        return Step::Project;
    }
    if let Some(made) = current.filter(|current| o.made(current) && !leaked) {
        return match seen.version_at(PENDING) {
            Some(pending) if o.is_in_midst(seen) => Step::ClearPending(pending.to_owned()),
            _ if o.held == made => Step::Settled,
            _ => Step::Project,
        };
    }
    let is_ours = |version: &str| o.made_by(version) == Some(o.strategy);
    // One that was in use, or whose slot was rotated by another, is not brought back: what came after would be lost.
    let spent = |pending: &str| {
        let is_over = seen.version_at(PREVIOUS) == Some(pending) || (o.made(pending) && in_use && !leaked);
        o.strategy == Strategy::Generate && is_ours(pending) && is_over
    };
    // None of this is the operator's to move.
    if o.strategy == Strategy::Generate && seen.rotates_by_itself() && (leaked || !in_use) {
        return owned_elsewhere(seen);
    }
    let unfinished = match seen.unfinished() {
        Some(pending) if spent(pending) && !o.cleared => return Step::ClearPending(pending.to_owned()),
        found => found.filter(|pending| !spent(pending)),
    };
    if let Some(ours) = unfinished.filter(|pending| is_ours(pending)) {
        return match (o.strategy, o.renews) {
            (Strategy::Provider, _) => under_way(o, seen, ours, true),
            (Strategy::Generate, None) => Step::Compare(ours.to_owned()),
            (Strategy::Generate, Some(true)) => Step::Promote { from: current.map(str::to_owned), to: ours.to_owned() },
            // The key was changed since it was made, which must not be lost.
            (Strategy::Generate, Some(false)) => store(o, seen),
        };
    }
    match unfinished {
        // It was in use, and another after it.
        _ if in_use && !leaked => Step::Settled,
        // The claim said otherwise when that was begun.
        Some(pending) if o.made_by(pending) == Some(Strategy::Generate) && !o.cleared => {
            Step::ClearPending(pending.to_owned())
        }
        Some(pending) if o.made_by(pending).is_some() => stuck(seen, pending),
        // Of a slot that nobody names any more, such as a rotate-at that was changed before it was rotated: what was made for it
        // is left, and one for this slot takes its label.
        Some(pending) if maker(pending) == Some(Strategy::Generate) => match (o.strategy, o.renews) {
            (Strategy::Generate, None) => Step::Compare(pending.to_owned()),
            (Strategy::Generate, Some(true)) => store(o, seen),
            _ => stuck(seen, pending),
        },
        Some(pending) => under_way(o, seen, pending, false),
        None => begin(o, seen),
    }
}

impl Observed<'_> {
    /// Whether a version was made for this slot, by whom ever.
    fn made(&self, version: &str) -> bool {
        self.tokens.iter().chain(self.others).any(|token| token == version)
    }

    /// By which strategy a version was made for this slot or an earlier one; None: for neither.
    fn made_by(&self, version: &str) -> Option<Strategy> {
        let is_in = |tokens: &[String]| tokens.iter().any(|token| token == version);
        let own = is_in(self.tokens).then_some(self.strategy);
        let other = || is_in(self.others).then(|| self.strategy.other());
        own.or_else(other).or_else(|| (self.made_earlier_by)(version))
    }

    /// Whether the label of the version that was just made current is still to be taken off.
    fn is_in_midst(&self, seen: &Description) -> bool {
        let current = seen.version_at(CURRENT);
        let labelled = current.is_some_and(|current| self.made(current)) && seen.version_at(PENDING) == current;
        self.strategy == Strategy::Generate && labelled && !self.cleared
    }

    /// The token of the next attempt, by what is labelled and what is known.
    fn unused(&self, seen: &Description) -> Result<String, Step> {
        let labelled = |token: &String| seen.versions.iter().any(|version| version.id == *token);
        let labelled = self.tokens.iter().rposition(labelled).map_or(0, |at| at + 1);
        // Of one that the manager has no version of it makes one yet.
        let again =
            self.tokens.last().filter(|_| self.strategy == Strategy::Provider && self.fate == Some(Fate::Unknown));
        let next = self.tokens.get(self.used.max(labelled)).or(again);
        next.cloned().ok_or_else(|| Step::Fail {
            reason: Reason::RotationFailed,
            message: format!(
                "{} versions were made for this rotation, and each has lost its label or was overtaken before it came into use: see who else writes the key, then ask again by a value of rotate-at that was never used",
                self.tokens.len()
            ),
        })
    }
}

fn begin(o: &Observed<'_>, seen: &Description) -> Step {
    if let Some(wait) = seen.last_rotated.and_then(|last| floor(last, o.now)) {
        return wait;
    }
    match (o.used.checked_sub(1).and_then(|last| o.tokens.get(last)), o.fate) {
        (Some(last), None) => return Step::Trace(last.clone()),
        (Some(_), Some(Fate::Overtaken)) => return Step::Settled,
        _ => {}
    }
    let rotated_since = |slot: Timestamp| seen.last_rotated.is_some_and(|last| last >= slot);
    match o.strategy {
        // By the manager's own schedule.
        Strategy::Provider if o.revoked.is_none() && o.slot.is_some_and(rotated_since) => Step::Settled,
        Strategy::Provider if !seen.rotation_enabled => Step::Fail {
            reason: Reason::RotationNotConfigured,
            message: "the secrets manager has no rotation of its own for this key: configure one there, or use strategy Generate".into(),
        },
        Strategy::Provider => match o.asked_at.and_then(|last| Some((last, soonest(last, o.now)?))) {
            Some((last, _)) if o.now.duration_since(last) < BEHIND => made_by_manager(o, SignedDuration::ZERO),
            // Whoever cleans up after a failure takes the label off: the function is not run again at once, whatever for.
            Some((_, until)) => Step::Fail {
                reason: Reason::RotationFailed,
                message: format!(
                    "the secrets manager's rotation function gave up, or never began: nothing that it made is AWSPENDING or came into use. See its log (CloudWatch); it is asked again after {until:.0}, as a key is rotated at most every ten minutes"
                ),
            },
            None => o.unused(seen).map_or_else(|fail| fail, Step::Rotate),
        },
        Strategy::Generate => store(o, seen),
    }
}

/// Makes the new value of the current one.
fn store(o: &Observed<'_>, seen: &Description) -> Step {
    let Some(made) = o.fetched else { return Step::FetchCurrent };
    // A first value may be replaced at once; one that replaced another was a rotation.
    let replaced = made.filter(|_| seen.version_at(PREVIOUS).is_some());
    let wait = replaced.and_then(|made| floor(made, o.now));
    wait.unwrap_or_else(|| o.unused(seen).map_or_else(|fail| fail, Step::Put))
}

/// When ten minutes have passed since then, if that is ahead. A time that is further ahead is another clock's.
pub fn soonest(last: Timestamp, now: Timestamp) -> Option<Timestamp> {
    let until = last.checked_add(FLOOR).ok()?;
    (until > now && last <= now.checked_add(FLOOR).unwrap_or(now)).then_some(until)
}

/// Waits until ten minutes have passed since then.
fn floor(last: Timestamp, now: Timestamp) -> Option<Step> {
    soonest(last, now).map(|until| Step::Wait {
        until,
        reason: Reason::RotationWaits,
        message: format!(
            "the key was rotated less than ten minutes ago, and is rotated at most every ten minutes; this rotation comes at {until:.0}"
        ),
    })
}

/// The manager rotates the key by itself.
fn owned_elsewhere(seen: &Description) -> Step {
    // The operator's own is seen to then.
    let theirs = seen.unfinished().filter(|pending| maker(pending) != Some(Strategy::Generate));
    let begun = theirs.map(|pending| format!(", and then end what it has begun: {}", mend_command(seen, pending)));
    Step::Fail {
        reason: Reason::RotationOwnedElsewhere,
        message: format!(
            "the secrets manager rotates this key by itself, so that a value of the operator's making would be overwritten: use strategy Provider, or switch that rotation off{}",
            begun.unwrap_or_default()
        ),
    }
}

/// Another version than the current one is AWSPENDING, and is not ours to move.
fn under_way(o: &Observed<'_>, seen: &Description, pending: &str, ours: bool) -> Step {
    let since = seen.last_changed.unwrap_or(o.now);
    let passed = o.now.duration_since(since).max(SignedDuration::ZERO);
    match (ours, o.strategy) {
        (_, Strategy::Provider) if passed < PATIENCE => {
            let foreign = match ours {
                true => return made_by_manager(o, passed),
                false if maker(pending).is_some() => {
                    "the secrets manager rotates the key already, as it was asked for before; that rotation is waited for"
                }
                false => "the secrets manager rotates the key already, for somebody else; its rotation is waited for",
            };
            look_again(o, passed, Reason::RotationWaits, foreign)
        }
        (true, _) => Step::Fail {
            reason: Reason::RotationTimedOut,
            message: format!(
                "the secrets manager has not finished the rotation for {} minutes: see the log of its rotation function, which fails or never ends; the current value stays. To end this attempt: {}",
                passed.as_mins(),
                mend_command(seen, pending)
            ),
        },
        (false, _) => stuck(seen, pending),
    }
}

/// What is AWSPENDING is nothing that the operator may move.
fn stuck(seen: &Description, pending: &str) -> Step {
    let command = mend_command(seen, pending);
    Step::Fail {
        reason: Reason::PendingStuck,
        message: format!(
            "version {pending} is AWSPENDING and not of this rotation: another one, somebody's or one that was asked for before, was not finished, and none begins before it is. Finish it, or end it: {command}"
        ),
    }
}

fn made_by_manager(o: &Observed<'_>, passed: SignedDuration) -> Step {
    look_again(o, passed, Reason::Requested, "the secrets manager makes the new value")
}

/// Soon at first, then less and less often.
fn look_again(o: &Observed<'_>, passed: SignedDuration, reason: Reason, message: &str) -> Step {
    let wait = (passed / 4).clamp(SignedDuration::from_secs(2), SignedDuration::from_secs(60));
    Step::Wait { until: o.now.checked_add(wait).unwrap_or(o.now), reason, message: message.into() }
}

fn mend_command(seen: &Description, pending: &str) -> String {
    let region = seen.id.split(':').nth(3).unwrap_or_default();
    format!(
        "aws secretsmanager update-secret-version-stage --region {region} --secret-id {} --version-stage {PENDING} --remove-from-version-id {pending}",
        seen.id
    )
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
