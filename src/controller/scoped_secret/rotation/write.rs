//! The effects of a rotation: what is asked of the manager, and written there.

use super::{Hand, News, settled, told_trigger};
use crate::api::condition::ConditionType;
use crate::api::rotation::Strategy;
use crate::api::{Reason, ScopedSecret};
use crate::controller::index::annotation;
use crate::controller::providers::{fetch_reason, write_reason};
use crate::controller::scoped_secret::plan::Failure;
use crate::controller::scoped_secret::withdraw::look_afresh;
use crate::controller::scoped_secret::write::Progress;
use crate::controller::scoped_secret::{Work, not_leading, over, write_failed};
use crate::controller::watch;
use crate::provider::write::{Put, WriteError, stored_under};
use crate::provider::{Answer, Ask, Provider};
use crate::rotation::generate;
use crate::rotation::machine::{Fate, Step};
use crate::rotation::slot::Trigger;
use crate::segmentation::key::CanonicalKey;
use crate::segmentation::seal::SealRecord;
use crate::segmentation::verdict::Grant;
use crate::segmentation::world::KeyVersion;
use crate::telemetry::record::{Happening, What};
use kube::api::Api;
use std::sync::Arc;

const STORED: &str = "the new value is current in the manager, and about to be projected";

/// So often a current version that the manager is behind with is asked for in one run.
const PROJECTIONS: usize = 3;

impl Work<'_> {
    fn named(&self, grant: &Grant, text: &dyn std::fmt::Display) -> String {
        let key = grant.keys.first().map_or("", |key| &key.written);
        format!("key {key:?} in store {:?}: {text}", self.spec.store_ref.name)
    }

    /// Does a step that asks or writes the manager.
    pub(super) async fn act(
        &mut self,
        grant: &Grant,
        trigger: &Trigger,
        step: Step,
        hand: &mut Hand,
    ) -> Result<(), Failure> {
        let key = &grant.keys[0];
        let manager = self.manager(grant).await?;
        let refused = |reason: Reason, text: &dyn std::fmt::Display| Failure::new(reason, self.named(grant, text));
        match step {
            Step::Describe => {
                let described = self.unless_over(manager.describe(key.ask.clone())).await.ok_or_else(over)?;
                let described = described.map_err(|e| refused(fetch_reason(&e), &e))?;
                if CanonicalKey::of_answer(&described.id, &described.name).as_ref() != Some(&key.canonical) {
                    let text = "the answer is another secret than the one that was authorised (another name, account or region); nothing is rotated";
                    return Err(refused(Reason::RemoteIdentityMismatch, &text));
                }
                if described.deleted {
                    let text = "it is scheduled for deletion in the secrets manager: restore it there";
                    return Err(refused(Reason::RemoteMissing, &text));
                }
                hand.described = Some(described);
                return Ok(());
            }
            Step::FetchCurrent => {
                hand.take(self.fetch_one(&manager, grant, Ask::current(key.ask.clone())).await?);
                return Ok(());
            }
            Step::Compare(pending) => {
                let found = self.fetch_made(&manager, grant, &pending, hand).await?;
                // What leaked meanwhile comes into use no more.
                let sound = found.filter(|(made, _)| !self.is_revoked(key, made));
                let renews = sound.is_some_and(|(made, current)| {
                    let generate = self.spec.rotation.as_ref().and_then(|rotation| rotation.generate.as_ref());
                    let property = generate.and_then(|generate| generate.property.as_deref());
                    generate::renews(&made.value, &current.value, property)
                });
                let current = hand.current.as_ref().map(|current| current.version_id.clone());
                hand.compared = current.map(|current| (pending, current, renews));
                return Ok(());
            }
            Step::Trace(made) => {
                let younger = |(made, current): (Arc<Answer>, Arc<Answer>)| match current.created > made.created {
                    true => Fate::Overtaken,
                    false => Fate::Unused,
                };
                let found = self.fetch_made(&manager, grant, &made, hand).await?;
                hand.fate = Some(found.map_or(Fate::Unknown, younger));
                return Ok(());
            }
            _ => {}
        }
        // From here on the manager is written.
        let Some(arn) = hand.described.take().map(|described| described.id) else { return Ok(()) };
        let begun = match &step {
            Step::Put(token) | Step::Rotate(token) => Some(token.clone()),
            _ => None,
        };
        let begun = begun.filter(|token| !self.rotating.begun.contains_key(token));
        self.look_afresh_once(grant, trigger).await?;
        if begun.is_some() {
            self.tell(Reason::Requested, &format!("the key is rotated {}", told_trigger(trigger))).await;
        }
        if !self.cx.leads() {
            return Err(not_leading());
        }
        if let Some(token) = begun {
            let begun = KeyVersion::undated(key.canonical.clone(), token.as_str());
            self.record_of(What::RotationBegun, trigger, &begun);
            self.rotating.begun.insert(token, trigger.clone());
        }
        let failed = |error: WriteError| Failure::new(write_reason(&error), self.named(grant, &error));
        match step {
            Step::Put(token) => {
                let Some(current) = hand.current.take() else { return Ok(()) };
                let recipe = self.rotating.plan.as_ref().and_then(|plan| plan.recipe.as_ref());
                let Some(recipe) = recipe else { return Ok(()) };
                let generate = self.spec.rotation.as_ref().and_then(|rotation| rotation.generate.as_ref());
                let property = generate.and_then(|generate| generate.property.as_deref());
                let value = recipe
                    .renew(&current.value, property, &|bytes: &mut [u8]| (self.cx.nature.random)(bytes))
                    .map_err(|error| Failure::new(error.reason(), self.named(grant, &error)))?;
                match manager.put_pending(arn, token.clone(), value).await.map_err(failed)? {
                    Put::Stored => {
                        hand.compared = Some((token, current.version_id.clone(), true));
                        // Its own label is another.
                        hand.cleared = false;
                    }
                    // By a run before this one; what is labelled is looked at again.
                    Put::AlreadyStored => hand.is_used(trigger.attempt_of(&key.canonical, self.strategy(), &token)),
                }
            }
            Step::Promote { from, to } => {
                match manager.promote(arn, from, to).await {
                    Ok(()) | Err(WriteError::StageMoved) => {}
                    Err(error) => return Err(failed(error)),
                }
                self.tell(Reason::Stored, STORED).await;
            }
            Step::ClearPending(version) => {
                // The rotation is done but for this label, which the next one takes along.
                hand.cleared = true;
                if let Err(error) = manager.clear_pending(arn, version).await {
                    tracing::debug!(namespace = %self.name.namespace, name = %self.name.name, reason = error.reason(), "AWSPENDING stays on a version that was brought into use");
                }
            }
            Step::Rotate(token) => {
                match manager.rotate(arn, token.clone()).await {
                    Ok(()) => hand.is_used(trigger.attempt_of(&key.canonical, self.strategy(), &token)),
                    Err(WriteError::RotationInProgress) => {}
                    Err(error) => return Err(failed(error)),
                }
                hand.asked_at = Some(self.cx.now());
            }
            _ => {}
        }
        Ok(())
    }

    async fn fetch_one(&self, manager: &Arc<dyn Provider>, grant: &Grant, ask: Ask) -> Result<Arc<Answer>, Failure> {
        let refused = |reason: Reason, text: &dyn std::fmt::Display| Failure::new(reason, self.named(grant, text));
        let answer = self.unless_over(manager.fetch(ask)).await.ok_or_else(over)?;
        let answer = answer.map_err(|e| refused(fetch_reason(&e), &e))?;
        if CanonicalKey::of_answer(&answer.id, &answer.name).as_ref() != Some(&grant.keys[0].canonical) {
            let text = "the answer is another secret than the one that was authorised and was thrown away";
            return Err(refused(Reason::RemoteIdentityMismatch, &text));
        }
        Ok(answer)
    }

    /// A version that was made and the current one, which is in hand then; None where there is no such version.
    async fn fetch_made(
        &self,
        manager: &Arc<dyn Provider>,
        grant: &Grant,
        made: &str,
        hand: &mut Hand,
    ) -> Result<Option<(Arc<Answer>, Arc<Answer>)>, Failure> {
        let id = grant.keys[0].ask.clone();
        let current = self.fetch_one(manager, grant, Ask::current(id.clone())).await?;
        hand.take(current.clone());
        match self.fetch_one(manager, grant, stored_under(id, made)).await {
            Ok(made) => Ok(Some((made, current))),
            // Or a label without a value: a rotation of the manager's own left it.
            Err(failure) if failure.reason == Reason::RemoteVersionMissing => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Reads policies, namespace and claim anew, once a run, before the manager is written: caches may be behind.
    async fn look_afresh_once(&mut self, grant: &Grant, trigger: &Trigger) -> Result<(), Failure> {
        if self.rotating.looked_afresh {
            return Ok(());
        }
        let held = self.held();
        look_afresh(self.cx, &self.name.namespace, held.as_deref()).await?;
        let api: Api<ScopedSecret> = Api::namespaced(self.cx.client.clone(), &self.name.namespace);
        let fresh = api.get_opt(&self.name.name).await.map_err(|e| write_failed(&e))?;
        let changed =
            || Failure::new(Reason::RotationWaits, "the ScopedSecret was changed meanwhile; it is looked at again");
        let Some(fresh) = fresh.filter(|f| f.metadata.uid.as_deref() == Some(&*self.record.uid)) else {
            return Err(changed());
        };
        let asked =
            annotation(&fresh.metadata, crate::api::ROTATE_AT_ANNOTATION).map(crate::controller::index::remembered);
        let other = fresh.metadata.generation != Some(self.record.generation)
            || asked.as_deref() != self.record.rotate_at()
            || fresh.metadata.deletion_timestamp.is_some();
        if other {
            watch::learn_claim(self.cx, fresh);
            return Err(changed());
        }
        let now = self.cx.now();
        let still = self.in_order().filter(|(again, seal)| {
            again.keys == grant.keys
                && self.may_not_rotate().is_none()
                && self.due(seal.as_deref(), now).contains(trigger)
        });
        if still.is_none() {
            return Err(Failure::new(
                Reason::RotationWaits,
                "policies or claims have changed meanwhile; it is looked at again",
            ));
        }
        self.rotating.looked_afresh = true;
        Ok(())
    }

    /// Projects what is current in the manager, as far as is known this version.
    pub(super) async fn project_current(
        &mut self,
        grant: &Grant,
        hand: &mut Hand,
        trigger: &Trigger,
        current: Option<&str>,
    ) -> Result<Progress, Failure> {
        hand.projected += 1;
        if hand.projected > PROJECTIONS {
            return Ok(Progress::LookAgain);
        }
        let key = &grant.keys[0].canonical;
        let is_made = current.is_some_and(|current| trigger.made(key, current));
        if is_made && self.strategy() == Strategy::Provider {
            self.tell(Reason::Stored, STORED).await;
        }
        self.rotating.projecting = is_made;
        let progress = self.fetch_and_write(grant).await;
        self.rotating.projecting = false;
        self.tell_news().await;
        progress
    }

    /// A Secret is about to have this version, and none has had it yet: what it was made for, as far as that was still to come. Of a Secret
    /// that is written anew, or was set back to an earlier state, nobody knows what it has had, unless the rotation has just made it.
    pub(in super::super) fn foresee(&mut self, grant: &Grant, seal: Option<&SealRecord>, current: Option<&KeyVersion>) {
        let held = seal.and_then(|seal| seal.holding.versions.first());
        let stood = seal.is_some_and(|seal| !self.is_not_as_told(seal));
        let is_new = |current: &&KeyVersion| {
            held.is_none_or(|held| held.id != current.id) && self.memory.rotated.as_deref() != Some(&*current.id)
        };
        // What this process began, whichever write has it first, is no value of before either.
        let made = |current: &&KeyVersion| self.begun_for(&current.id).is_some();
        let is_news = |current: &&KeyVersion| stood || self.rotating.projecting || made(current);
        let Some(current) = current.filter(is_new).filter(is_news) else { return };
        if self.memory.news.as_ref().is_some_and(|news| news.version.id == current.id) {
            // It may have it since the first attempt, of which no answer came.
            return;
        }
        let sealed = seal.and_then(|seal| seal.rotation.as_deref());
        let mut triggers = self.made_for(grant, seal, &current.id);
        if triggers.is_empty() {
            // A value of rotate-at that was replaced since, say, is known by that alone.
            triggers.extend(self.begun_for(&current.id).cloned());
        }
        triggers.retain(|trigger| !sealed.is_some_and(|sealed| sealed.has_handled(trigger)));
        let ended = |other: &Trigger| matches!(other, Trigger::Grant(_)) && !triggers.contains(other);
        let along = self.pending().into_iter().filter(ended).collect();
        let is_alone = grant.keys.len() == 1 && !triggers.is_empty();
        self.memory.news = is_alone.then(|| News { version: current.clone(), triggers, along }.into());
    }

    /// What this process has begun to make a version of this id for.
    fn begun_for(&self, version: &str) -> Option<&Trigger> {
        let kept = self.memory.rotation.as_ref().and_then(|rotation| rotation.begun.get(version));
        self.rotating.begun.get(version).or(kept)
    }

    /// Once the Secret has what a rotation made: into the record, then status; and who asked as well has no other coming.
    pub(super) async fn tell_news(&mut self) {
        let held = self.own_seal().and_then(|seal| seal.holding.versions.first().cloned());
        let has_it = |news: &mut Box<News>| held.as_ref().is_some_and(|held| held.id == news.version.id);
        let Some(news) = self.memory.news.take_if(has_it) else { return };
        if self.memory.rotated.as_ref() == Some(&news.version.id) {
            return;
        }
        for trigger in &news.triggers {
            self.cx.metrics.rotated(self.strategy(), trigger.kind(), "Rotated");
            self.record_of(What::Rotated, trigger, &news.version);
        }
        self.memory.rotated = Some(news.version.id.clone());
        self.tell(Reason::Projected, "the Secret has the new value").await;
        for ended in &news.along {
            settled(self.cx, &self.name, ended);
        }
    }

    /// Into the record: a process before this one rotated the key, and may have been killed before it said so, since status tells of
    /// other versions than the Secret has; or of none, as after a revocation, and of a rotation that goes on.
    pub(super) fn record_untold(&mut self) {
        let status = &self.record.status;
        let goes_on = matches!(status.denied(ConditionType::Rotated), Some(Reason::Requested | Reason::Stored));
        let from_none = goes_on && !status.tells_versions();
        let seal =
            self.own_seal().filter(|seal| self.memory.news.is_none() && (from_none || self.is_not_as_told(seal)));
        let Some(held) = seal.as_ref().and_then(|seal| seal.holding.versions.first()) else { return };
        let known = self.asking(seal.as_deref(), |asked| asked.earlier(self.cx.now())).unwrap_or_default();
        if let Some(trigger) = known.iter().find(|trigger| trigger.made(&held.key, &held.id)) {
            self.record_again(&held.key, seal.as_deref(), trigger);
        }
    }

    /// Likewise of what is still due in this process, though the Secret has what was made for it.
    pub(super) fn record_again(&mut self, key: &CanonicalKey, seal: Option<&SealRecord>, trigger: &Trigger) {
        let held = seal.and_then(|seal| seal.holding.versions.first()).filter(|held| trigger.made(key, &held.id));
        if let Some(made) = held.filter(|held| self.memory.rotated.as_deref() != Some(&*held.id)) {
            self.record_of(What::Rotated, trigger, made);
            self.memory.rotated = Some(made.id.clone());
        }
    }

    pub(super) fn record_failed(&self, reason: Reason) {
        let happening = Happening::of(What::RotationFailed).on("ScopedSecret", &self.name);
        self.cx.record(happening.reason(reason));
    }

    fn record_of(&self, what: What, trigger: &Trigger, version: &KeyVersion) {
        let happening = Happening::of(what).on("ScopedSecret", &self.name).versions([version]);
        self.cx.record(happening.due_to(trigger.kind()));
    }

    /// The slot is handled: sealed where the seal keeps it, told to whoever asked where it does not.
    pub(super) async fn settle_trigger(&mut self, grant: &Grant, trigger: &Trigger) -> Result<(), Failure> {
        match trigger {
            Trigger::Schedule(_) | Trigger::OnDemand(_) => {
                self.rotating.handled = vec![trigger.clone()];
                let done = self.fetch_and_write(grant).await;
                self.rotating.handled.clear();
                done?;
            }
            Trigger::Grant(_) | Trigger::Rollout(_) | Trigger::RoleChange(_) => settled(self.cx, &self.name, trigger),
        }
        Ok(())
    }

    /// What the key is rotated for by now, with this version as the current one.
    pub(in super::super) fn handled_by(&self, grant: &Grant, seal: Option<&SealRecord>, version: &str) -> Vec<Trigger> {
        let mut handled = self.made_for(grant, seal, version);
        handled.extend(self.rotating.handled.iter().cloned());
        handled
    }
}
