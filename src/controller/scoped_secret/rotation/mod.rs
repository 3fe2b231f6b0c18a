//! The rotation of a claim's key: what [`machine`] says is next is done here, once the claim itself is in order.
//!
//! Nothing is remembered that must outlive a crash: how far it is say the manager's versions and the seal. Before the first
//! write of a run claim, namespace and policies are read afresh, and before each it is asked who leads.

pub mod asked;
pub mod carry;
mod overlap;
mod write;

use super::Work;
use super::plan::{Failure, Outcome};
use super::write::Progress;
use crate::api::Reason;
use crate::api::condition::{ConditionType, Wanted};
use crate::api::rotation::{After, Strategy};
use crate::controller::context::{Context, Job};
use crate::controller::queue::Lane;
use crate::controller::{grant, restart, schedule};
use crate::provider::Answer;
use crate::provider::write::{CURRENT, Description, PENDING};
use crate::rotation::Plan;
use crate::rotation::due::Asked;
use crate::rotation::machine::{self, Fate, Observed, Step};
use crate::rotation::schedule::FLOOR;
use crate::rotation::slot::Trigger;
use crate::segmentation::authorize::{authorize, rotation::rotation as may_rotate};
use crate::segmentation::rotated::Rotated;
use crate::segmentation::seal::SealRecord;
use crate::segmentation::verdict::{Grant, Refusal, Verdict};
use crate::segmentation::world::{KeyVersion, ObjectName};
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What this process remembers of a claim's rotation. Losing it costs at most one call.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    /// What was due when it failed, or waited.
    known: Vec<Trigger>,
    /// Failures in a row.
    failures: u32,
    /// Not before then.
    retry_at: Option<Timestamp>,
    /// What was last said of it.
    told: Option<Wanted>,
    /// What the attempts were for that were begun, by their tokens, as long as anything is due.
    begun: BTreeMap<String, Trigger>,
    /// What was brought into use, or is about to be, and what for, until that is projected.
    promoted: Option<(Trigger, String)>,
    /// When to look at it again.
    pub wake: Option<Timestamp>,
    /// Since when what is to be rotated for is due; None: nothing is.
    pub due_since: Option<Timestamp>,
    /// That for which it is on the record that policy refuses to rotate.
    refused: Option<Trigger>,
}

impl Memory {
    /// The claim was edited: what failed is tried again at once.
    pub fn edited(&mut self) {
        (self.failures, self.retry_at) = (0, None);
    }
}

/// A value that a rotation has made, and that its Secret is about to have. It stays until the Secret has it, whoever wrote that and
/// whether or not its answer came.
#[derive(Debug, Clone)]
pub struct News {
    version: KeyVersion,
    /// What it was made for.
    triggers: Vec<Trigger>,
    /// The ends of grants that it pays for as well: who had access had it no more before any Secret had this value.
    along: Vec<Trigger>,
}

/// The rotation while its claim is worked on.
#[derive(Default)]
pub(super) struct Rotating {
    /// As it is written.
    pub(super) plan: Option<Plan>,
    /// Why it cannot be kept.
    pub(super) invalid: Option<Failure>,
    /// What counts as handled with the next write, beside what the current version was made for.
    handled: Vec<Trigger>,
    /// Why the claim has nothing: what is current was revoked. A rotation makes what brings it back.
    revoked: Option<Failure>,
    /// What is to be said of it.
    pub(super) condition: Option<Wanted>,
    /// Whether a fresh look was taken in this run.
    looked_afresh: bool,
    /// Whether what is projected now is what the rotation made.
    projecting: bool,
    /// Why the value before is left out: told once the Secret is written without it.
    pub(super) left_out: Option<Failure>,
    /// The attempts of which the record has the beginning, by their tokens: it is told once.
    begun: BTreeMap<String, Trigger>,
}

impl Rotating {
    /// Reads what the spec says.
    pub(super) fn of(spec: &crate::api::ScopedSecretSpec) -> Self {
        match crate::rotation::plan(spec) {
            Ok(plan) => Self { plan, ..Self::default() },
            Err(invalid) => Self { invalid: Some(Failure::new(invalid.reason, invalid.message)), ..Self::default() },
        }
    }
}

/// So many steps a run: describing after each write, and one surprise.
const STEPS: usize = 16;

/// The second of a revocation, and what clocks may differ by.
const COVERED: SignedDuration = SignedDuration::from_secs(2);

/// What is said of a key that was revoked while nothing is about to make another version: it waits for somebody, or for its schedule.
pub const NOT_DUE: &str = "the current version was revoked, and no rotation is due now: wait for its schedule's next slot, if it has one, set scopedsecrets.io/rotate-at to the time that it is now (or a text that was never used), or store a new value in the manager";

/// The longest wait after failures.
const LONGEST_WAIT: std::time::Duration = std::time::Duration::from_secs(900);

/// What is in hand in one run.
#[derive(Default)]
struct Hand {
    described: Option<Description>,
    current: Option<Arc<Answer>>,
    /// A version whose value is made of another's but for what was generated, or is not: (made, of, whether it is).
    compared: Option<(String, String, bool)>,
    /// So many attempts are used up, and what became of the last.
    used: usize,
    fate: Option<Fate>,
    /// The manager was asked for a rotation of its own.
    asked_at: Option<Timestamp>,
    cleared: bool,
    /// The current version, if it was revoked.
    revoked: Option<String>,
    /// How often it was projected: a manager may be a moment behind itself.
    projected: usize,
}

impl Hand {
    /// Takes the current value into the hand. What was described before another one came is described anew.
    fn take(&mut self, current: Arc<Answer>) {
        let described = self.described.as_ref().and_then(|described| described.version_at(CURRENT));
        if described != Some(&current.version_id) {
            self.described = None;
        }
        self.current = Some(current);
    }

    /// The manager has a version of this attempt.
    fn is_used(&mut self, attempt: usize) {
        (self.used, self.fate) = (attempt + 1, None);
    }

    /// Whether the manager was just seen at a rotation.
    fn is_under_way(&self) -> bool {
        self.described.as_ref().is_some_and(|described| described.unfinished().is_some())
    }

    /// Whether what waits to be promoted is what is current but for what was generated, as far as that is known.
    fn renews(&self) -> Option<bool> {
        let described = self.described.as_ref()?;
        let (pending, current) = (described.version_at(PENDING)?, described.version_at(CURRENT)?);
        self.compared.as_ref().filter(|(made, of, _)| made == pending && of == current).map(|(.., renews)| *renews)
    }
}

/// Why a run ends.
enum End {
    /// It is told, and looked at again then.
    Told(Wanted, Option<Timestamp>),
    /// What was stored cannot be projected.
    Unsynced(Failure),
}

impl Work<'_> {
    /// Rotates the key as far as it can be now. How the claim stands then.
    pub(super) async fn rotate(&mut self, outcome: Outcome) -> Outcome {
        if let Some(invalid) = self.rotating.invalid.clone() {
            self.rotating.condition = Some(Wanted::no(ConditionType::Rotated, invalid.reason, &invalid.message));
            return self.rotate_no_more(outcome).await;
        }
        if self.rotating.plan.is_none() {
            return self.rotate_no_more(outcome).await;
        }
        if self.memory.rotation.is_none() {
            self.record_untold();
        }
        let mut memory = self.memory.rotation.take().unwrap_or_default();
        self.rotating.revoked = match &outcome {
            Outcome::Failed(failure) if failure.reason == Reason::KeyRevoked => Some(failure.clone()),
            _ => None,
        };
        if outcome != Outcome::Current && self.rotating.revoked.is_none() {
            // What was said at rest is no longer so of one that is refused.
            let refused = matches!(outcome, Outcome::Refused(_) | Outcome::Stuck { .. });
            let seal = self.own_seal();
            let due = self.due(seal.as_deref(), self.cx.now()).into_iter().next();
            let told = memory.told.clone().filter(|told| told.status != Some(true) || (!refused && due.is_none()));
            // Which version is current is not known now.
            let told = told.filter(|told| told.message != NOT_DUE);
            self.rotating.condition = Some(told.unwrap_or_else(not_in_sync));
            memory.wake = None;
            memory.due_since = match due.filter(|_| !refused) {
                Some(trigger) => Some(self.due_since(&trigger).or(memory.due_since).unwrap_or(self.cx.now())),
                None => None,
            };
            self.memory.rotation = Some(memory);
            return outcome;
        }
        let before = memory.failures;
        self.tell_news().await;
        self.rotating.begun = std::mem::take(&mut memory.begun);
        let end = self.drive(&mut memory).await;
        memory.begun = std::mem::take(&mut self.rotating.begun);
        // What is current by now may have brought it back.
        let outcome = self.standing_outcome(outcome);
        let now = self.cx.now();
        let (condition, outcome) = match end {
            Ok(End::Told(wanted, at)) => {
                memory.wake = at;
                memory.retry_at = at.filter(|_| wanted.status == Some(false));
                (wanted, outcome)
            }
            Ok(End::Unsynced(failure)) => {
                let text = format!("the new value is stored, and could not be projected yet: {}", failure.message);
                (Wanted::no(ConditionType::Rotated, Reason::Stored, text), Outcome::Failed(failure))
            }
            Err(failure) => {
                // What a process before this one has told, status says.
                let told = memory.told.as_ref().map(|told| told.reason);
                let news = told.or(self.record.status.denied(ConditionType::Rotated)) != Some(failure.reason);
                if news && failure.reason != Reason::RotationWaits {
                    self.record_failed(failure.reason);
                }
                memory.failures = before.saturating_add(1);
                let wait = schedule::backoff(&self.record.uid, memory.failures, LONGEST_WAIT, true);
                let at = SignedDuration::try_from(wait).ok().and_then(|wait| now.checked_add(wait).ok());
                (memory.retry_at, memory.wake) = (at, at);
                (Wanted::no(ConditionType::Rotated, failure.reason, failure.message), outcome)
            }
        };
        memory.told = Some(condition.clone());
        self.rotating.condition = Some(condition);
        self.memory.rotation = Some(memory);
        outcome
    }

    /// How a claim stands that rotates nothing now: with what was brought into use until then.
    async fn rotate_no_more(&mut self, outcome: Outcome) -> Outcome {
        let promoted = self.memory.rotation.take().and_then(|memory| memory.promoted);
        let grant = self.in_order().filter(|_| promoted.is_some() && outcome == Outcome::Current);
        let Some((grant, _)) = grant else { return outcome };
        match self.fetch_and_write(&grant).await {
            Ok(_) => outcome,
            Err(failure) => Outcome::Failed(failure),
        }
    }

    fn standing_outcome(&self, before: Outcome) -> Outcome {
        match (&self.rotating.revoked, before) {
            (None, Outcome::Failed(failure)) if failure.reason == Reason::KeyRevoked => Outcome::Current,
            (_, before) => before,
        }
    }

    async fn drive(&mut self, memory: &mut Memory) -> Result<End, Failure> {
        let mut hand = Hand::default();
        let mut begun: Option<Trigger> = None;
        for _ in 0..STEPS {
            let now = self.cx.now();
            let Some((grant, seal)) = self.in_order() else {
                let text = "the claim is looked at again first";
                return Ok(End::Told(Wanted::unknown(ConditionType::Rotated, Reason::RotationWaits, text), None));
            };
            let refusal = self.may_not_rotate();
            if refusal.is_none() {
                memory.refused = None;
            }
            let due = self.due(seal.as_deref(), now);
            // What consumers have must not lag behind, whoever takes back meanwhile what it was brought into use for.
            let left = |(asked, _): &(Trigger, String)| refusal.is_some() || !due.contains(asked);
            if let Some((asked, made)) = memory.promoted.take_if(|promoted| left(promoted)) {
                if let Some(end) = self.project(&grant, &mut hand, &asked, Some(made.clone())).await {
                    if matches!(end, End::Told(..)) {
                        memory.promoted = Some((asked, made));
                    }
                    return Ok(end);
                }
                continue;
            }
            // What a run has begun with it goes on with, and does not wait for what failed before it.
            let begun_with = begun.take().filter(|trigger| due.contains(trigger));
            let goes_on = begun_with.is_some();
            let Some(trigger) = begun_with.or_else(|| chosen(memory, &due)) else {
                memory.failures = 0;
                memory.due_since = None;
                self.rotating.begun.clear();
                let at = self.next_rotation(seal.as_deref(), now);
                return Ok(match (refusal, seal) {
                    (Some(refusal), _) => refused(refusal, now),
                    (None, None) => End::Told(Wanted::no(ConditionType::Rotated, Reason::RotationWaits, NOT_DUE), at),
                    (None, Some(seal)) => {
                        let wanted = self.at_rest(&seal);
                        let rolled = memory
                            .told
                            .as_ref()
                            .is_some_and(|told| told.status == Some(false) && is_rollout(told.reason));
                        if rolled && wanted.reason == Reason::Verified {
                            self.tell(Reason::RolledOut, "the consumers run with the new value").await;
                        }
                        End::Told(wanted, at)
                    }
                });
            };
            memory.due_since = Some(self.due_since(&trigger).or(memory.due_since).unwrap_or(now));
            if let Some(refusal) = refusal {
                // What a process before this one has told, status says.
                let is_told = memory.refused.is_none()
                    && memory.told.is_none()
                    && self.record.status.denied(ConditionType::Rotated) == Some(refusal.reason);
                if is_told {
                    memory.refused = Some(trigger.clone());
                }
                if memory.refused.as_ref() != Some(&trigger) {
                    self.cx.metrics.rotated(self.strategy(), trigger.kind(), refusal.reason.as_str());
                    self.record_failed(refusal.reason);
                    memory.refused = Some(trigger);
                }
                return Ok(refused(refusal, now));
            }
            if let Some(wait) = waits(memory, &due, now).filter(|_| !goes_on) {
                return Ok(wait);
            }
            begun = Some(trigger.clone());
            let key = &grant.keys[0].canonical;
            let mut asked = self.cx.asked.of(key);
            asked.taken.retain(|trigger, _| due.contains(trigger));
            if !goes_on {
                (hand.used, hand.fate) = (asked.taken.get(&trigger).copied().unwrap_or_default(), None);
            }
            hand.asked_at = asked.at;
            memory.known = due;
            let step = self.next_rotation_step(&grant, seal.as_deref(), &trigger, &hand, now);
            tracing::debug!(namespace = %self.name.namespace, name = %self.name.name, trigger = trigger.kind(), ?step, "rotation");
            match step {
                Step::Wait { until, reason, message } => {
                    // What is under way has not come to anything yet.
                    match reason {
                        Reason::Requested if hand.is_under_way() => {
                            asked.at = Some(now);
                            self.cx.asked.put(key, asked, now);
                        }
                        Reason::Requested => {}
                        _ => memory.failures = 0,
                    }
                    return Ok(End::Told(Wanted::no(ConditionType::Rotated, reason, message), Some(until)));
                }
                Step::Fail { reason, message } => {
                    self.cx.metrics.rotated(self.strategy(), trigger.kind(), reason.as_str());
                    return Err(Failure::new(reason, message));
                }
                Step::Project => {
                    memory.promoted = None;
                    let current = hand.described.as_ref().and_then(|seen| seen.version_at(CURRENT)).map(str::to_owned);
                    if let Some(end) = self.project(&grant, &mut hand, &trigger, current).await {
                        return Ok(end);
                    }
                }
                Step::Settled => {
                    if hand.projected == 0 {
                        self.record_again(key, seal.as_deref(), &trigger);
                    }
                    self.settle_trigger(&grant, &trigger).await?;
                    begun = None;
                    (memory.failures, memory.due_since, asked.at) = (0, None, None);
                    self.cx.asked.put(key, asked, now);
                }
                Step::Put(_) | Step::Rotate(_) if self.still_revoked(now).is_some() => {
                    let text = "the key was revoked a moment ago: what is made now would be revoked as well";
                    let wanted = Wanted::no(ConditionType::Rotated, Reason::RotationWaits, text);
                    return Ok(End::Told(wanted, self.still_revoked(now)));
                }
                step => {
                    if let Step::Promote { to, .. } = &step {
                        memory.promoted = Some((trigger.clone(), to.clone()));
                    }
                    self.act(&grant, &trigger, step, &mut hand).await?;
                    asked.at = hand.asked_at;
                    if self.strategy() == Strategy::Provider && hand.used > 0 {
                        asked.taken.insert(trigger, hand.used);
                    }
                    self.cx.asked.put(key, asked, now);
                }
            }
        }
        Err(Failure::new(
            Reason::RotationFailed,
            "the key's versions change faster than they can be followed; it is tried again",
        ))
    }

    /// Projects what is current in the manager, as far as is known this version; why the run ends, if it does.
    async fn project(
        &mut self,
        grant: &Grant,
        hand: &mut Hand,
        trigger: &Trigger,
        current: Option<String>,
    ) -> Option<End> {
        match self.project_current(grant, hand, trigger, current.as_deref()).await {
            Ok(Progress::Done) => {
                self.rotating.revoked = None;
                None
            }
            // A value that leaked is not projected: another is made of it.
            Err(failure)
                if failure.reason == Reason::KeyRevoked
                    && self.rotating.revoked.is_some()
                    && hand.revoked.is_none() =>
            {
                hand.revoked = current;
                None
            }
            Ok(Progress::LookAgain) => {
                let soon = self.cx.now().checked_add(SignedDuration::from_secs(1)).ok();
                let text = "the new value is stored, and about to be projected";
                Some(End::Told(Wanted::no(ConditionType::Rotated, Reason::Stored, text), soon))
            }
            Err(failure) => Some(End::Unsynced(failure)),
        }
    }

    fn strategy(&self) -> Strategy {
        self.spec.rotation.as_ref().map_or(Strategy::Provider, |rotation| rotation.strategy)
    }

    /// What the claim may have, and the seal of its Secret, if both are as they should be. Without a Secret only where that was
    /// taken away for a revocation.
    fn in_order(&self) -> Option<(Grant, Option<Arc<SealRecord>>)> {
        let index = self.cx.index();
        let claim = index.world.claim(&self.name)?;
        let Verdict::Allowed(grant) = authorize(claim, &index.world, self.cx.now()) else { return None };
        let seal = index.secret(&self.secret_name()).and_then(|secret| secret.seal.as_ref().ok()).cloned();
        let is_right = match &seal {
            Some(seal) => seal.holding.claim == self.name.name,
            None => self.rotating.revoked.is_some(),
        };
        (is_right && grant.keys.len() == 1).then_some((grant, seal))
    }

    /// The seal of its Secret, if that is its own.
    fn own_seal(&self) -> Option<Arc<SealRecord>> {
        let index = self.cx.index();
        let seal = index.secret(&self.secret_name()).and_then(|secret| secret.seal.as_ref().ok()).cloned();
        seal.filter(|seal| seal.holding.claim == self.name.name)
    }

    pub(super) fn may_not_rotate(&self) -> Option<Refusal> {
        let index = self.cx.index();
        may_rotate(index.world.claim(&self.name)?, &index.world, self.cx.now())
    }

    /// What is asked for beside the schedule and rotate-at, as far as the spec takes it.
    fn pending(&self) -> Vec<Trigger> {
        let after = self.spec.rotation.as_ref().map(|rotation| &rotation.after[..]).unwrap_or_default();
        let index = self.cx.index();
        let wanted = |trigger: &&Trigger| match trigger {
            Trigger::Rollout(_) => after.contains(&After::Rollout),
            Trigger::RoleChange(_) => after.contains(&After::RoleChange),
            Trigger::Grant(_) | Trigger::OnDemand(_) | Trigger::Schedule(_) => true,
        };
        index.triggers.pending(&self.name).filter(wanted).cloned().collect()
    }

    /// Asks about slots with what is known now.
    fn asking<T>(&self, seal: Option<&SealRecord>, ask: impl FnOnce(&Asked<'_>) -> T) -> Option<T> {
        let pending = self.pending();
        let revoked = self.since_revocation().filter(|_| seal.is_none());
        let asked = Asked {
            plan: self.rotating.plan.as_ref()?,
            name: &self.record.uid,
            rotate_at: self.record.rotate_at(),
            sealed: seal.and_then(|seal| seal.rotation.as_deref()).or(revoked.as_ref()),
            pending: &pending,
            began: self.cx.reigns_since(),
        };
        Some(ask(&asked))
    }

    /// Up to when the slots of a revoked key were handled went with its Secret: those since the revocation are to come.
    fn since_revocation(&self) -> Option<Rotated> {
        self.rotating.revoked.as_ref()?;
        let revoked = self.last_revoked()?;
        let since = self.cx.index().world.claim(&self.name).map_or(revoked, |claim| claim.created.max(revoked));
        let anchored = Rotated::default().anchored(self.rotating.plan.as_ref()?.schedule.as_ref(), since);
        // Whoever asked since may have a clock that is behind.
        let long_before = revoked.checked_sub(FLOOR).unwrap_or(revoked);
        Some(anchored.asked_before(self.record.rotate_at(), long_before))
    }

    /// When the key was last revoked.
    fn last_revoked(&self) -> Option<Timestamp> {
        let index = self.cx.index();
        let revocations = &index.world.revocations;
        let keys = index.world.canonical_keys(index.world.claim(&self.name)?);
        let of_keys = keys.iter().flat_map(|key| revocations.of_key(key)).filter_map(|name| revocations.get(name));
        of_keys.map(|revocation| revocation.created).max()
    }

    /// Until when a revocation, which is to the second, may cover what is made; None: it is over. A time that is further ahead is
    /// another clock's.
    fn still_revoked(&self, now: Timestamp) -> Option<Timestamp> {
        let until = self.last_revoked()?.checked_add(COVERED).ok()?;
        (until > now && until.duration_since(now) <= COVERED * 2).then_some(until)
    }

    fn due(&self, seal: Option<&SealRecord>, now: Timestamp) -> Vec<Trigger> {
        self.asking(seal, |asked| asked.due(now)).unwrap_or_default()
    }

    /// When a slot of the schedule came. Of what else is asked for it is not known.
    fn due_since(&self, trigger: &Trigger) -> Option<Timestamp> {
        let Trigger::Schedule(slot) = trigger else { return None };
        let schedule = self.rotating.plan.as_ref()?.schedule.as_ref()?;
        Timestamp::from(*slot).checked_add(schedule.jitter(&self.record.uid)).ok()
    }

    fn next_rotation(&self, seal: Option<&SealRecord>, now: Timestamp) -> Option<Timestamp> {
        self.asking(seal, |asked| asked.next(now)).flatten()
    }

    /// What the version of this id was made for, as far as that can be told.
    fn made_for(&self, grant: &Grant, seal: Option<&SealRecord>, version: &str) -> Vec<Trigger> {
        let Some(key) = grant.keys.first() else { return Vec::new() };
        let now = self.cx.now();
        let known = self.asking(seal, |asked| asked.earlier(now)).unwrap_or_default();
        known.into_iter().filter(|trigger| trigger.made(&key.canonical, version)).collect()
    }

    fn next_rotation_step(
        &self,
        grant: &Grant,
        seal: Option<&SealRecord>,
        trigger: &Trigger,
        hand: &Hand,
        now: Timestamp,
    ) -> Step {
        let key = &grant.keys[0].canonical;
        let made_by = |strategy| trigger.attempts(key, strategy).map(|token| token.to_string()).collect::<Vec<_>>();
        let made_earlier_by = |version: &str| {
            let made_for = self.made_for(grant, seal, version);
            made_for.iter().find_map(|trigger| trigger.made_by(key, version))
        };
        machine::next(&Observed {
            now,
            strategy: self.strategy(),
            tokens: &made_by(self.strategy()),
            others: &made_by(self.strategy().other()),
            slot: if let Trigger::Schedule(slot) = trigger { Some((*slot).into()) } else { None },
            made_earlier_by: &made_earlier_by,
            held: seal.and_then(|seal| seal.holding.versions.first()).map_or("", |version| &version.id),
            last: seal.and_then(|seal| seal.rotation.as_ref()?.at).map(Into::into),
            revoked: hand.revoked.as_deref(),
            again: !matches!(trigger, Trigger::OnDemand(_)),
            described: hand.described.as_ref(),
            fetched: hand.current.as_ref().map(|answer| answer.created),
            renews: hand.renews(),
            used: hand.used,
            fate: hand.fate,
            asked_at: hand.asked_at,
            cleared: hand.cleared,
        })
    }

    /// What is said while nothing is due.
    fn at_rest(&self, seal: &SealRecord) -> Wanted {
        let kind = ConditionType::Rotated;
        let rotated = seal.rotation.as_ref().is_some_and(|rotated| rotated.at.is_some());
        let rollout = self.spec.restarts().then(|| restart::condition(self.cx, &self.name, seal));
        match rollout.filter(|rollout| rollout.status != Some(true)) {
            Some(on) if rotated && on.reason == Reason::RollingOut => Wanted::no(kind, Reason::Projected, on.message),
            Some(held_up) => held_up,
            None if rotated => {
                let text = "the key was rotated, and what its Secret has is current in the manager";
                Wanted::yes(kind, Reason::Verified, text)
            }
            None => Wanted::yes(kind, Reason::RotationIdle, "no rotation is due"),
        }
    }

    /// Says how far it is: whoever watches sees each step, and a crash leaves it told.
    async fn tell(&mut self, reason: Reason, message: &str) {
        self.rotating.condition = Some(Wanted::no(ConditionType::Rotated, reason, message));
        let outcome = self.rotating.revoked.clone().map_or(Outcome::Current, Outcome::Failed);
        self.report(&self.as_told(outcome)).await;
        self.learn_record();
    }

    /// Says that its Secret was taken away for a revocation before the manager is asked for a newer version, which may take long.
    pub(super) async fn tell_revoked(&mut self, refusal: &Refusal) {
        let told = self.memory.rotation.as_ref().and_then(|memory| memory.told.clone());
        let told = told.filter(|told| told.status != Some(true)).unwrap_or_else(not_in_sync);
        self.rotating.condition = self.rotating.plan.is_some().then_some(told);
        let revoked = Failure::new(refusal.reason, refusal.message.clone());
        self.rotating.revoked = Some(revoked.clone());
        self.report(&Outcome::Failed(revoked)).await;
        self.rotating.revoked = None;
        self.learn_record();
    }

    /// What was written is what the next write is held against.
    fn learn_record(&mut self) {
        if let Some(record) = self.cx.index().claims.get(&self.name).filter(|record| record.uid == self.record.uid) {
            self.record.clone_from(record);
        }
    }

    /// The next time by the schedule and the last rotation, for the status.
    pub(super) fn rotation_times(&self, seal: Option<&SealRecord>) -> (Option<Timestamp>, Option<Timestamp>) {
        let now = self.cx.now();
        let next = seal.is_some() || self.rotating.revoked.is_some();
        let next = next.then(|| self.next_rotation(seal, now)).flatten();
        let last = seal.and_then(|seal| seal.rotation.as_ref()?.at).map(Into::into);
        (next, last.filter(|_| self.rotating.plan.is_some()))
    }

    /// When the rotation, or the end of an overlap, is to be looked at.
    pub(super) fn rotation_wake(&self) -> Option<Timestamp> {
        let overlap = self.own_seal().and_then(|seal| seal.rotation.as_ref()?.overlaps_until).map(Timestamp::from);
        let rotation = self.memory.rotation.as_ref().and_then(|memory| memory.wake);
        [overlap, rotation].into_iter().flatten().min()
    }
}

fn not_in_sync() -> Wanted {
    let text = "the claim is not in sync; its key is rotated once it is (see Synced)";
    Wanted::unknown(ConditionType::Rotated, Reason::RotationWaits, text)
}

/// Others may go away, or be changed, unseen by this claim: it is looked at again in a minute.
fn refused(refusal: Refusal, now: Timestamp) -> End {
    let at = now.checked_add(SignedDuration::from_mins(1)).ok();
    End::Told(Wanted::no(ConditionType::Rotated, refusal.reason, refusal.message), at)
}

/// What the key is rotated for first. One that fails again and again holds up no other: what came since goes before it, and what
/// was due with it takes its turn.
fn chosen(memory: &Memory, due: &[Trigger]) -> Option<Trigger> {
    let turn = usize::try_from(memory.failures / 2).unwrap_or_default();
    let came = due.iter().find(|trigger| memory.failures > 0 && !memory.known.contains(trigger));
    came.or_else(|| due.get(turn.checked_rem(due.len())?)).cloned()
}

/// What failed, or waits, is left alone until its time, but for what came since.
fn waits(memory: &Memory, due: &[Trigger], now: Timestamp) -> Option<End> {
    let nothing_new = due.iter().all(|trigger| memory.known.contains(trigger));
    let at = memory.retry_at.filter(|at| *at > now && nothing_new)?;
    // What is further off was reckoned by another clock.
    let near = at.duration_since(now) <= SignedDuration::from_hours(1);
    let told = memory.told.clone().filter(|_| near)?;
    Some(End::Told(told, Some(at)))
}

fn is_rollout(reason: Reason) -> bool {
    matches!(reason, Reason::Projected | Reason::RollingOut | Reason::RolloutWaits | Reason::RolloutStuck)
}

/// A rotation was made that somebody asked for; who did keeps what it came from until then.
fn settled(cx: &Context, claim: &ObjectName, trigger: &Trigger) {
    cx.index_mut().triggers.done(claim, trigger);
    grant::look(cx, claim);
    cx.queue.add(Job::Claim(claim.clone()), Lane::Routine);
}

/// For messages.
fn told_trigger(trigger: &Trigger) -> String {
    match trigger {
        Trigger::Schedule(slot) => format!("by its schedule, for {slot}"),
        Trigger::OnDemand(_) => "on demand (scopedsecrets.io/rotate-at)".to_owned(),
        Trigger::Rollout(_) => "after a rollout of a consumer".to_owned(),
        Trigger::RoleChange(_) => "after a change of a consumer's roles".to_owned(),
        Trigger::Grant(_) => "after a grant that has ended".to_owned(),
    }
}
