//! One ScopedSecret: observe, [`plan`], act, report.
//!
//! `mod` drives the steps; `write` fetches and writes, `withdraw` takes away, `report` remembers and tells. What decides is
//! pure: `plan`, `status`, `draft`.

pub mod draft;
mod embedded;
pub mod plan;
mod report;
pub mod rotation;
pub mod status;
pub mod told;
mod withdraw;
mod write;

pub use withdraw::{is_paused, look_afresh, reconcile_orphan};

use super::after;
use super::context::{Context, Job, Memory};
use super::grant;
use super::guard;
use super::index::{ClaimRecord, Index, SecretFacts, Withdrawal};
use super::report as reports;
use super::restart;
use super::schedule;
use crate::api::condition::ConditionType;
use crate::api::duration;
use crate::api::{DEFAULT_REFRESH_INTERVAL, Reason, ScopedSecretSpec};
use crate::client::errors::brief;
use crate::projection;
use crate::segmentation::authorize::{Retention, authorize, holds_foreign, retention, shared_value};
use crate::segmentation::rotated::Rotated;
use crate::segmentation::seal::{Digests, SealKeys};
use crate::segmentation::second::Second;
use crate::segmentation::verdict::{Refusal, Verdict};
use crate::segmentation::world::{Holding, KeyVersion, ObjectName};
use jiff::{SignedDuration, Timestamp};
use plan::{Content, Failure, Guarding, Observed, Outcome, Owner, Paused, Step};
use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;

/// One ScopedSecret while it is worked on.
struct Work<'c> {
    cx: &'c Context,
    name: ObjectName,
    record: Box<ClaimRecord>,
    spec: ScopedSecretSpec,
    keys: Arc<SealKeys>,
    /// Of the part of the spec that decides what is projected.
    spec_digests: Digests,
    memory: Box<Memory>,
    /// The Secret as it was read in this run.
    read: Option<(SecretFacts, Content)>,
    /// It was looked for in this run.
    looked: bool,
    /// The Secret's metadata was put right in this run: once is enough, whoever bends it again.
    mended: bool,
    /// The Secret's content changed in this run.
    changed: bool,
    /// The Secret was found at other versions than status tells of.
    set_back: bool,
    /// The rotation of its key.
    rotating: rotation::Rotating,
}

/// So many steps a run: reading, fetching, writing and one surprise each.
const STEPS: usize = 8;

/// How often whoever waits for the manager looks whether it is over for the claim meanwhile.
const GLANCE: Duration = Duration::from_millis(500);

/// A restart takes no longer. Where nobody led for more, what a Secret has may be of any time.
const RESTARTED: SignedDuration = SignedDuration::from_mins(5);

/// Works on one ScopedSecret until there is nothing more to do now; how it went, for the metrics.
pub async fn reconcile(cx: &Context, name: &ObjectName) -> &'static str {
    const SKIPPED: &str = "Skipped";
    let Some(keys) = cx.keys() else { return SKIPPED };
    let Some(record) = cx.index().claims.get(name).cloned() else {
        cx.memory().remove(name);
        grant::claim_gone(cx, name);
        cx.index_mut().triggers.forget(name);
        cx.queue.forget(&Job::Claim(name.clone()));
        guard::queue(cx, &name.namespace);
        grant::look(cx, name);
        return SKIPPED;
    };
    let spec = record.spec.as_deref().and_then(|bytes| serde_json::from_slice::<ScopedSecretSpec>(bytes).ok());
    let Some(spec) = spec else {
        report::broken(cx, name, &record).await;
        return Reason::SpecInvalid.as_str();
    };
    let memory = cx.memory().get(name).cloned().unwrap_or_default();
    let spec_digests = keys.digests(&projection::spec_bytes(&spec));
    let rotating = rotation::Rotating::of(&spec);
    let mut work = Work {
        cx,
        name: name.clone(),
        record,
        spec,
        keys,
        spec_digests,
        memory,
        read: None,
        looked: false,
        mended: false,
        set_back: false,
        changed: false,
        rotating,
    };
    if cx.providers.is_new(&work.spec.store_ref.name) && !work.has_ended() {
        // It is queued again as soon as the store's account was looked for. Its end waits for no manager.
        return SKIPPED;
    }
    if work.record.deleting {
        work.part().await;
        guard::look(cx, &work.secret_name());
        grant::look(cx, name);
        return SKIPPED;
    }
    work.recall();
    let Some(outcome) = work.run().await else {
        cx.remember(name, work.memory);
        guard::queue(cx, &name.namespace);
        return SKIPPED;
    };
    grant::forget_other_keys(cx, name);
    after::ask(cx, name, &work.secret_name(), &work.spec);
    let outcome = work.rotate(outcome).await;
    work.settle(&outcome);
    let outcome = work.as_told(outcome);
    if cx.index().claims.contains_key(name) {
        cx.remember(name, work.memory.clone());
    }
    guard::look(cx, &work.secret_name());
    grant::look(cx, name);
    work.report(&outcome).await;
    restart::look(cx, name, &work.secret_name(), &work.spec);
    outcome.reason().as_str()
}

/// The claim has come to its end meanwhile, which is looked at next.
fn over() -> Failure {
    Failure::new(Reason::RotationWaits, "the ScopedSecret may have nothing now; it is looked at again")
}

impl Work<'_> {
    fn secret_name(&self) -> ObjectName {
        ObjectName::of(self.name.namespace.clone(), self.spec.target_name(&self.name.name).into())
    }

    fn interval(&self) -> Duration {
        let text = self.spec.refresh_interval.as_deref();
        text.map_or(DEFAULT_REFRESH_INTERVAL, |text| duration::parse(text).unwrap_or(DEFAULT_REFRESH_INTERVAL))
    }

    /// Whether its time is over, or a key of its Secret was revoked: what the manager says makes no difference to that.
    fn has_ended(&self) -> bool {
        let (index, now, secret) = (self.cx.index(), self.cx.now(), self.secret_name());
        let held = index.world.holding(&secret).map(|held| retention(&secret, held, &index.world, now));
        let verdict = index.world.claim(&self.name).map(|claim| authorize(claim, &index.world, now));
        matches!(held, Some(Retention::Withdraw(why)) if why.reason.is_an_end())
            || matches!(verdict, Some(Verdict::Refused(why)) if why.reason.is_an_end())
    }

    /// Whether it may have nothing from now on, whatever the manager says.
    fn is_over(&self) -> bool {
        let verdict =
            |index: &Index| index.world.claim(&self.name).map(|claim| authorize(claim, &index.world, self.cx.now()));
        self.has_ended() || matches!(verdict(&self.cx.index()), None | Some(Verdict::Refused(_)))
    }

    /// The answer of who only reads, unless it is over for the claim meanwhile: what is withdrawn does not wait for a manager.
    async fn unless_over<T>(&self, asking: impl Future<Output = T>) -> Option<T> {
        let was_over = self.is_over();
        let mut asking = pin!(asking);
        loop {
            tokio::select! {
                biased;
                answer = &mut asking => return Some(answer),
                () = sleep(GLANCE) => if !was_over && self.is_over() { return None },
            }
        }
    }

    /// When the claim ends.
    fn ends(&self) -> Option<Second> {
        self.cx.index().world.claim(&self.name).and_then(|claim| claim.ends)
    }

    /// Brings the memory up to date: after a restart from status, after an edit by trying a failure again at once.
    fn recall(&mut self) {
        let now = self.cx.now();
        self.memory.due_at = self.memory.due_at.map(|at| schedule::by_this_clock(at, self.interval(), now));
        self.memory.last_good = self.memory.last_good.map(|at| at.min(now));
        let seen = (self.record.uid.clone(), self.record.generation, self.record.refresh_at().map(Into::into));
        match &self.memory.looked_at {
            Some((uid, ..)) if *uid != seen.0 => *self.memory = Memory::default(),
            Some(last) if *last != seen => {
                // An edit: a failure is tried again at once, and the next refresh is reckoned anew.
                let soon = now.checked_add(jiff::SignedDuration::from_mins(5)).unwrap_or(now);
                let due = self.memory.due_at.filter(|at| *at <= soon);
                self.memory.due_at = if self.memory.failure.is_some() { Some(now) } else { due };
                self.memory.failures = 0;
                self.memory.rotation.iter_mut().for_each(|rotation| rotation.edited());
            }
            // What came due while nothing could be told: with many others, when it can be.
            Some(_) if self.memory.failure.is_none() && self.memory.undecided => {
                // What would be told to be well, and is too old for that, is asked for first.
                let good = self.memory.last_good.filter(|good| !schedule::is_stale(*good, self.interval(), now));
                let overdue =
                    self.memory.due_at.filter(|at| *at <= now && good.is_some() && !self.interval().is_zero());
                self.memory.due_at = overdue.map(|_| self.made_up_for(self.interval(), now)).or(self.memory.due_at);
            }
            _ => {}
        }
        if self.memory.looked_at.is_none() {
            let old = self.record.status.recall();
            self.memory.last_change = old.last_change_time.as_ref().map(|t| t.0);
            self.memory.verified = self.record.status.secret().or(self.memory.verified);
            // What cannot be kept is told there as well, of a Secret that is refreshed all the same.
            let unkept = [Reason::InvalidSchedule, Reason::InvalidRotation, Reason::InvalidEnd].map(Reason::as_str);
            match old.conditions.iter().find(|c| c.type_ == "Synced") {
                Some(failed) if failed.status != "True" && !unkept.contains(&&*failed.reason) => {
                    // It failed before the restart: tried again now rather than told to be well. The last good value is
                    // at most one interval older than the failure.
                    let interval = jiff::SignedDuration::try_from(self.interval()).unwrap_or(jiff::SignedDuration::MAX);
                    self.memory.last_good = failed.last_transition_time.0.checked_sub(interval).ok();
                    self.memory.due_at = Some(now);
                }
                // It was refreshed for as long as somebody led, tick by tick.
                Some(_) => {
                    let (interval, ago) = (self.interval(), self.cx.leadership.led_ago().unwrap_or_default());
                    let led = now.checked_sub(ago).unwrap_or(now);
                    let before =
                        jiff::SignedDuration::try_from(interval).ok().and_then(|one| led.checked_sub(one).ok());
                    let tick = before.map_or(led, |before| self.tick_after(interval, before));
                    self.memory.last_good = Some(tick).max(self.memory.last_change);
                    if !interval.is_zero() && self.tick_after(interval, led) <= now {
                        self.memory.due_at = Some(self.made_up_for(interval, now));
                    } else if ago > RESTARTED && !(interval.is_zero() && self.spec.rotation.is_none()) {
                        // Or etcd was put back meanwhile, to when the lease was renewed: what was made since is in the manager.
                        let interval = if interval.is_zero() { Duration::MAX } else { interval };
                        self.memory.due_at = Some(self.made_up_for(interval, now));
                    }
                }
                None => {
                    let (secret, _, owner) = self.known_secret(&self.cx.index());
                    // One that is retained has no owner: it is its own if it has held that only since it was made.
                    let sealed_since = |secret: &SecretFacts| {
                        secret.seal.as_ref().is_ok_and(|seal| {
                            let since = seal.holding.held_since;
                            seal.holding.claim == self.name.name && since >= self.created() && since <= now
                        })
                    };
                    let is_its = |secret: &SecretFacts| {
                        secret.owner.as_deref() == Some(&*self.record.uid) || sealed_since(secret)
                    };
                    self.memory.last_good = match (&secret, owner) {
                        (Some(secret), _) if is_its(secret) => Some(self.created()),
                        // It was there before: restored, or retained. Nobody knows how old that is.
                        (Some(_), Owner::UsOrNobody | Owner::UsAsTold | Owner::Stranger) => Some(Timestamp::MIN),
                        _ => None,
                    };
                    self.memory.due_at = self.memory.last_good.map(|_| now);
                }
            }
        }
        let secret = self.secret_name();
        if self.cx.index().put_back.contains(&secret) {
            self.cx.index_mut().put_back.remove(&secret);
            (self.memory.verified, self.memory.due_at) = (None, Some(now));
        }
        self.memory.looked_at = Some(seen);
        self.memory.compare_anew(self.cx.index().comparisons, now);
    }

    /// Whether a key of it was revoked, and it has had no newer version since: its status says so, or one that is not over is younger
    /// than the claim. A Secret that has gone for something else is none of it.
    fn lacks_what_was_revoked(&self) -> bool {
        let (index, secret) = (self.cx.index(), self.secret_name());
        let revocations = &index.world.revocations;
        let Some(claim) = index.world.claim(&self.name).filter(|_| index.secret(&secret).is_none()) else {
            return false;
        };
        let is_told = self.record.status.denied(ConditionType::Authorized) == Some(Reason::KeyRevoked);
        let concerns = |name: &String| {
            let is_over = index.revocations.get(name).is_some_and(|known| known.status.completion_time.is_some());
            let is_younger = revocations.get(name).is_some_and(|revocation| claim.created <= revocation.created);
            is_told || (!is_over && is_younger)
        };
        let is_newer = |held: &Arc<Holding>| !held.versions.iter().any(|version| revocations.revoke(version));
        index.world.canonical_keys(claim).iter().any(|key| revocations.of_key(key).any(concerns))
            && !index.world.holding(&secret).is_some_and(is_newer)
    }

    /// What got past admission and cannot be kept is told of a Secret that is well, and is no reason to attempt it again: a schedule
    /// that cannot be, or two ends, of which the earlier counts. What was revoked is told as that while the manager gives nothing.
    fn as_told(&self, outcome: Outcome) -> Outcome {
        if let Outcome::Failed(failure) = &outcome
            && let Some(revoked) = failure.of_revoked()
            && self.lacks_what_was_revoked()
        {
            return Outcome::Failed(revoked);
        }
        let two_ends = projection::check_end(&self.spec).err().map(|two| Failure::new(two.reason, two.message));
        match self.rotating.invalid.clone().or(two_ends) {
            Some(failure) if outcome == Outcome::Current => Outcome::Failed(failure),
            _ => outcome,
        }
    }

    /// When a tick that was missed while nobody led is made up for: in a tenth of its interval, at most five minutes, by ticks that are
    /// shared as well.
    fn made_up_for(&self, interval: Duration, now: Timestamp) -> Timestamp {
        let within = (interval / 10).min(Duration::from_secs(300));
        self.tick_after(within, now)
    }

    /// How it stands at last; None while it waits for the SegmentGuard.
    async fn run(&mut self) -> Option<Outcome> {
        for _ in 0..STEPS {
            let failure = match self.next_step() {
                Step::Report(outcome) => return Some(outcome),
                Step::AwaitGuard => return None,
                Step::ReadSecret => self.read_secret().await.err(),
                Step::MendSecret(mend) => self.mend_secret(mend).await.err(),
                Step::EndOverlap => self.end_overlap().await.err(),
                Step::Withdraw(refusal) => match self.withdraw(&refusal).await {
                    Ok(()) => {
                        let asks = matches!(self.next_step(), Step::Fetch(_) | Step::AwaitGuard);
                        let asks = self.memory.withdrawn && asks;
                        if asks && refusal.reason == Reason::KeyRevoked {
                            self.tell_revoked(&refusal).await;
                        }
                        None
                    }
                    // What is in force cannot be told any more, so that nothing is to be withdrawn: not a failure to do it.
                    Err(failure) if failure.reason == Reason::PolicyUnknown => None,
                    Err(failure) => return Some(Outcome::Stuck { refusal, failure }),
                },
                Step::Fetch(grant) => match self.fetch_and_write(&grant).await {
                    Ok(write::Progress::Done) => return Some(Outcome::Current),
                    Ok(write::Progress::LookAgain) => None,
                    Err(failure) if self.holds_what_is_not_allowed() => {
                        self.memory.failure = Some(failure.into());
                        self.memory.due_at = None;
                        None
                    }
                    Err(failure) => Some(failure),
                },
            };
            if let Some(failure) = failure {
                return Some(Outcome::Failed(failure));
            }
        }
        let text = "the Secret changes faster than it can be written; it is tried again";
        Some(Outcome::Failed(Failure::new(Reason::WriteFailed, text)))
    }

    /// A ScopedSecret that is being deleted is only ever taken from, and says so if somebody's finalizer keeps it.
    async fn part(&mut self) {
        match self.take_away().await {
            Ok(None) => {}
            Ok(Some(refusal)) => self.report(&Outcome::Refused(refusal)).await,
            Err(failure) => {
                tracing::debug!(reason = %failure.reason, "a Secret of a ScopedSecret that is being deleted was not withdrawn; it is tried again");
                let soon = tokio::time::Instant::now() + Duration::from_secs(10);
                self.cx.queue.add_at(Job::Claim(self.name.clone()), soon);
            }
        }
    }

    /// Why its Secret was taken away, if it was.
    async fn take_away(&mut self) -> Result<Option<Refusal>, Failure> {
        let mut why = None;
        for _ in 0..STEPS {
            match self.next_step() {
                Step::Withdraw(refusal) => {
                    self.withdraw(&refusal).await?;
                    why = Some(refusal);
                }
                Step::MendSecret(how) => self.mend_secret(how).await?,
                Step::ReadSecret => self.read_secret().await?,
                Step::Report(_) | Step::AwaitGuard | Step::Fetch(_) | Step::EndOverlap => break,
            }
        }
        Ok(why)
    }

    /// What the Secret holds.
    fn held(&self) -> Option<Arc<Holding>> {
        let index = self.cx.index();
        let (secret, ..) = self.known_secret(&index);
        held_by(&index, secret.as_ref(), &self.secret_name()).cloned()
    }

    fn holds_what_is_not_allowed(&self) -> bool {
        let index = self.cx.index();
        let secret = self.secret_name();
        let held = index.world.holding(&secret);
        let judged = held.map(|held| retention(&secret, held, &index.world, self.cx.now()));
        // An end that was sealed is of before, where the claim has time left.
        matches!(judged, Some(Retention::Withdraw(why)) if why.reason != Reason::Expired)
    }

    /// What is known of the Secret under the target's name, how far its content is, and whose it says it is.
    fn known_secret(&self, index: &Index) -> (Option<SecretFacts>, Content, Owner) {
        let secret_name = self.secret_name();
        let known = index.secret(&secret_name).cloned();
        let (secret, content) = match (&self.read, known) {
            (Some((read, content)), Some(known)) if known.resource_version == read.resource_version => {
                (Some(read.clone()), *content)
            }
            (Some((read, content)), None) => (Some(read.clone()), *content),
            (_, Some(known)) => {
                let same = self.memory.verified == Some(known.revision());
                (Some(known), if same { Content::Verified } else { Content::Unread })
            }
            (None, None) => (None, Content::Verified),
        };
        let alive = |uid: &str| {
            index.claims_for(&secret_name).any(|c| index.claims.get(c).is_some_and(|record| &*record.uid == uid))
        };
        let owner = match secret.as_ref().and_then(|s| s.owner.as_deref()) {
            None => match &secret {
                Some(facts) if facts.is_told_by(&self.record.status) => Owner::UsAsTold,
                _ => Owner::UsOrNobody,
            },
            Some(uid) if uid == &*self.record.uid => Owner::UsOrNobody,
            Some(uid) if index.gone.has(uid) => Owner::JustGone,
            Some(uid) if alive(uid) => Owner::OtherAlive,
            Some(_) => Owner::Stranger,
        };
        (secret, content, owner)
    }

    /// Observes and decides, under one read of the index.
    fn next_step(&mut self) -> Step {
        let now = self.cx.now();
        let index = self.cx.index();
        let Some(claim) = index.world.claim(&self.name) else {
            return Step::Report(Outcome::Failed(Failure::new(Reason::Pending, "the ScopedSecret is gone")));
        };
        let verdict = authorize(claim, &index.world, now);
        let ignore_digests = self.ignore_digests(&verdict);
        let (secret, content, owner) = self.known_secret(&index);
        let secret_name = self.secret_name();
        let held = held_by(&index, secret.as_ref(), &secret_name);
        let kept = held.map(|held| retention(&secret_name, held, &index.world, now));
        let spoilt = secret.as_ref().is_some_and(|s| s.seal.is_err());
        let why = match (&kept, &verdict) {
            (Some(Retention::Withdraw(refusal)), _) => Some(refusal),
            (None, Verdict::Refused(refusal)) if spoilt => Some(refusal),
            _ => None,
        };
        let paused = why.and_then(|why| {
            let count = self.cx.pending_withdrawals(&index).max(1);
            // A claim's Secret is not older than the claim.
            let since = held.map(|held| held.held_since).filter(|since| *since != Timestamp::MAX);
            let ask =
                Withdrawal { count, why, since: since.or(Some(claim.created)), waits: self.record.status.is_paused() };
            let may = index.may_withdraw(&ask) || reports::known::is_released(self.cx, &index, &secret_name);
            let releasing = || reports::known::releasing(self.cx, &index, &secret_name);
            (!may).then(|| Paused { count, report: releasing() })
        });
        let moved = held.is_some_and(|held| index.world.was_moved(&claim.store, held));
        let known = held.is_some_and(|held| held.claim == self.name.name);
        let restarted = self.cx.restarts.over(&self.name);
        let followed =
            secret.as_ref().and_then(|secret| secret.seal.as_ref().ok()).map(|seal| seal.followed.as_deref());
        let follows = self.spec.rotation.as_ref().is_some_and(|rotation| !rotation.after.is_empty());
        // What it does not ask for any more is forgotten: asked for again, what is seen first asks for nothing.
        let news = followed.is_some_and(|said| match follows {
            true => self.cx.after.news(&self.name, said).is_some(),
            false => said.is_some(),
        });
        let seal = secret.as_ref().and_then(|secret| secret.seal.as_deref().ok());
        let due = self.memory.due_at.is_some_and(|at| now >= at);
        let guard = match verdict {
            Verdict::Allowed(_) => guard::standing(self.cx, &index, &self.name, &secret_name),
            _ => Guarding::InPlace,
        };
        let lost = (known || self.record.status.secret().is_some()) && !self.memory.searched;
        // Pods that reference it may have a Secret of their own under that name.
        let used = matches!(&guard, Guarding::Failed(failure) if failure.reason == Reason::ForeignConsumer);
        let used = used && !self.looked && (due || self.memory.failure.is_none());
        plan::decide(&Observed {
            name: &self.name.name,
            uid: &self.record.uid,
            spec: &self.spec,
            refresh_at: self.record.refresh_at(),
            spec_digests: &self.spec_digests,
            ignore_digests: &ignore_digests,
            verdict: &verdict,
            ends: claim.ends,
            terminating: index.world.terminating.contains(&self.name.namespace),
            secret: secret.as_ref(),
            owner,
            content,
            retention: kept.as_ref(),
            paused,
            shared: self.shares_a_value(&index, &verdict, secret.as_ref()),
            due,
            failure: self.memory.failure.as_deref(),
            guard,
            blocked: index.claims.get(&self.name).is_some_and(|record| record.target_taken),
            moved,
            overlap_over: seal.is_some_and(|seal| rotation::carry::is_over(self.rotating.plan.as_ref(), seal, now)),
            rotation_right: seal.is_none_or(|seal| rotation::carry::is_right(self.rotating.plan.as_ref(), seal, now)),
            missing: (lost || used) && self.read.is_none(),
            mended: self.mended,
            restarted: restarted.as_deref(),
            news,
        })
    }

    /// Digests of the names whose values are not compared.
    fn ignore_digests(&self, verdict: &Verdict) -> Digests {
        let none = BTreeSet::new();
        let ignore = if let Verdict::Allowed(grant) = verdict { &grant.ignore } else { &none };
        self.keys.digests(&projection::names_bytes(ignore))
    }

    /// Whether what stands breaks the uniqueness of values: policies and labels may have changed since it was written.
    fn shares_a_value(&self, index: &Index, verdict: &Verdict, secret: Option<&SecretFacts>) -> bool {
        let (Verdict::Allowed(grant), Some(Ok(seal))) = (verdict, secret.map(|s| &s.seal)) else { return false };
        let (name, prints, now) = (self.secret_name(), seal.holding.fingerprints.iter(), self.cx.now());
        shared_value(&name, &grant.keys, prints, &index.world, now)
            || holds_foreign(&name, &seal.holding, &index.world, now)
    }

    /// The observation after a fetch: only what says whether there is anything to write.
    fn is_unchanged(
        &self,
        secret: Option<&SecretFacts>,
        content: Content,
        grant: &crate::segmentation::verdict::Grant,
        versions: &[KeyVersion],
        rotated: Option<&Rotated>,
    ) -> bool {
        let verdict = Verdict::Allowed(grant.clone());
        let observed = Observed {
            name: &self.name.name,
            uid: &self.record.uid,
            spec: &self.spec,
            refresh_at: self.record.refresh_at(),
            spec_digests: &self.spec_digests,
            ignore_digests: &self.ignore_digests(&verdict),
            verdict: &verdict,
            ends: self.ends(),
            terminating: false,
            secret,
            owner: Owner::UsOrNobody,
            content,
            retention: None,
            paused: None,
            shared: self.shares_a_value(&self.cx.index(), &verdict, secret),
            due: true,
            failure: None,
            guard: Guarding::InPlace,
            blocked: false,
            missing: false,
            mended: true,
            restarted: None,
            news: false,
            moved: false,
            overlap_over: false,
            rotation_right: secret
                .is_none_or(|s| s.seal.as_ref().is_ok_and(|seal| seal.rotation.as_deref() == rotated)),
        };
        plan::is_unchanged(&observed, grant, versions)
    }
}

/// What a Secret holds: as its seal says, or as the index knows.
fn held_by<'i>(index: &'i Index, secret: Option<&'i SecretFacts>, name: &ObjectName) -> Option<&'i Arc<Holding>> {
    let sealed = secret.and_then(|s| s.seal.as_ref().ok()).map(|seal| &seal.holding);
    sealed.or_else(|| index.world.holding(name))
}

fn write_failed(error: &kube::Error) -> Failure {
    let text = format!("Kubernetes did not answer as hoped, it is tried again: {}", brief(error));
    Failure::new(Reason::WriteFailed, text)
}

fn not_leading() -> Failure {
    Failure::new(Reason::WriteFailed, "another replica leads now")
}
