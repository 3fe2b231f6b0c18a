//! From an allowed claim to a written Secret: fetch, check, reserve, create or replace.

use super::draft::{self, Draft};
use super::embedded::Embedded;
use super::plan::{Content, Failure, Mend, Ownership, ownership, value_shared};
use super::rotation::carry::{Before, Carried};
use super::withdraw::{delete_secret, observed};
use super::{Work, not_leading, over, write_failed};
use crate::api::condition::ConditionType;
use crate::api::{FIELD_MANAGER, Reason, SEAL_ANNOTATION};
use crate::client::errors::{brief, is_denial};
use crate::controller::context::Context;
use crate::controller::index::{Index, SecretFacts, object_name, secret_facts};
use crate::controller::observed::replace_observed;
use crate::controller::providers::{Tenant, fetch_reason};
use crate::controller::revocation;
use crate::projection;
use crate::provider::{Answer, Ask, FetchError, Provider, VersionRef};
use crate::segmentation::authorize::{authorize, foreign_within, shared_value};
use crate::segmentation::key::CanonicalKey;
use crate::segmentation::restart::{Due, Restart, token};
use crate::segmentation::seal::{Digests, Print, SealRecord};
use crate::segmentation::verdict::{AuthorisedKey, Grant, Verdict};
use crate::segmentation::world::{Holding, KeyVersion, ObjectName, VersionAsked};
use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, PostParams};
use kube::runtime::events::EventType;
use std::sync::Arc;

/// The guesses that so many values need are estimated without leaving others waiting.
const AT_A_GLANCE: usize = 64;

/// So many attempts of a claim that was refused another segment's value wait for seals that cannot be read: about a minute.
const UNREAD_ATTEMPTS: u32 = 6;
/// So often the version before a rotation is asked for, where it is refused, before the new one is written without it.
const ASKS_FOR_PREVIOUS: u32 = 6;

/// How far a fetch came.
pub(super) enum Progress {
    /// The Secret is written, or needed no writing.
    Done,
    /// The cluster is not as it was observed.
    LookAgain,
}

impl Work<'_> {
    /// Reads the Secret under the target's name, whoever made it.
    pub(super) async fn read_secret(&mut self) -> Result<(), Failure> {
        self.looked = true;
        let name = self.secret_name();
        let api: Api<Secret> = Api::namespaced(self.cx.client.clone(), &name.namespace);
        match api.get_opt(&name.name).await.map_err(|e| write_failed(&e))? {
            Some(secret) => self.take_in(&secret),
            None => {
                // What it held stays its claim's: it is about to be projected anew.
                let mut index = self.cx.index_mut();
                index.lose_secret(&name);
                index.note_target(&self.name, false);
                drop(index);
                self.memory.searched = true;
                self.read = None;
            }
        }
        Ok(())
    }

    /// Takes in what a read, or a write of ours, has shown of the Secret.
    pub(super) fn take_in(&mut self, secret: &Secret) {
        let name = self.secret_name();
        let facts = secret_facts(&name, &secret.metadata, &self.keys);
        let digests = draft::read_digests(&self.spec, secret, &self.keys);
        let content = match &facts.seal {
            // Its digests are of another spec: it is projected anew in any case.
            Ok(seal) if !self.spec_digests.contains(&seal.spec) => Content::Verified,
            Ok(seal) if digests.contains(&seal.content) => Content::Verified,
            _ => Content::Drifted,
        };
        if content == Content::Verified {
            self.memory.verified = Some(facts.revision());
            self.set_back = facts.seal.as_ref().is_ok_and(|seal| self.is_not_as_told(seal));
            if self.set_back {
                self.memory.due_at = Some(self.cx.now());
            }
        }
        let ours = facts.seal.is_ok() || facts.owner.as_deref() == Some(&*self.record.uid);
        let mut index = self.cx.index_mut();
        if facts.labelled || ours {
            index.learn_secret(name, facts.clone(), self.cx.now());
        } else {
            index.lose_secret(&name);
        }
        index.note_target(&self.name, !(facts.labelled || ours));
        drop(index);
        // One of somebody else's under its name: what was looked for is not there.
        self.memory.searched = !(facts.labelled || ours);
        self.read = Some((facts, content));
    }

    /// Whether a Secret that was read holds other versions than status has told of: somebody may have set it back to an earlier state,
    /// which its seal is right for. The manager says which are current.
    pub(super) fn is_not_as_told(&self, seal: &SealRecord) -> bool {
        self.record.status.has_other_versions(&self.remote_versions(seal))
    }

    /// Puts the Secret's metadata right; its content is as it was.
    pub(super) async fn mend_secret(&mut self, how: Mend) -> Result<(), Failure> {
        let name = self.secret_name();
        let (known, ..) = self.known_secret(&self.cx.index());
        let api: Api<Secret> = Api::namespaced(self.cx.client.clone(), &name.namespace);
        let Some(mut secret) = api.get_opt(&name.name).await.map_err(|e| write_failed(&e))? else {
            return self.read_secret().await;
        };
        let seen = secret_facts(&name, &secret.metadata, &self.keys);
        if known.is_none_or(|known| known.revision() != seen.revision()) {
            // Another one than was judged: it is looked at first.
            self.take_in(&secret);
            return Ok(());
        }
        if how.owner {
            secret.metadata.owner_references = draft::owners(&self.spec, &self.name.name, &self.record.uid);
        }
        if let Some(seal) = seen.seal.as_ref().ok().filter(|_| how.seal) {
            let mut record = (**seal).clone();
            let held = Arc::make_mut(&mut record.holding);
            (held.retain, held.consumed) = (self.spec.retain(), !self.spec.consumers.is_empty());
            held.ends = self.ends();
            self.close_restart(&mut record);
            self.follow(&mut record);
            let notes = secret.metadata.annotations.get_or_insert_default();
            let before = notes.get(SEAL_ANNOTATION).map(String::as_str).unwrap_or_default();
            let sealed = self.nonce().and_then(|nonce| self.keys.seal_again(&name, &record, nonce, before).ok());
            notes.insert(SEAL_ANNOTATION.into(), sealed.ok_or_else(unsealable)?);
        }
        self.mended = true;
        match mend(self.cx, secret).await? {
            Some(mended) => {
                self.take_in(&mended);
                let straight = self.read.as_ref().is_some_and(|(facts, _)| !facts.is_bent());
                if seen.is_bent() && straight {
                    let text = "the Secret's metadata had been changed by somebody else and was put right";
                    self.event(EventType::Warning, Reason::Restored, text).await;
                }
            }
            None => self.read_secret().await?,
        }
        Ok(())
    }

    pub(super) async fn fetch_and_write(&mut self, grant: &Grant) -> Result<Progress, Failure> {
        self.memory.due_at = Some(self.cx.now());
        let Some(answers) = self.unless_over(self.fetch(grant)).await else { return Ok(Progress::LookAgain) };
        let answers = answers?;
        let mut versions = versions(&answers);
        let secret_name = self.secret_name();
        // Policy, and the Secret, may have changed while the manager was asked.
        let (standing, content) = {
            let index = self.cx.index();
            let claim = index.world.claim(&self.name);
            let verdict = claim.map(|claim| authorize(claim, &index.world, self.cx.now()));
            if !matches!(&verdict, Some(Verdict::Allowed(again)) if again.keys == grant.keys) {
                return Ok(Progress::LookAgain);
            }
            let (secret, content, owner) = self.known_secret(&index);
            let whose = secret.as_ref().map(|s| ownership(&self.name.name, &self.record.uid, s, owner));
            if whose.is_some_and(|whose| whose != Ownership::Ours) {
                return Ok(Progress::LookAgain);
            }
            (secret, content)
        };
        let old_seal = standing.as_ref().and_then(|s| s.seal.as_ref().ok().cloned());
        let carried = self.carry(grant, old_seal.as_deref(), &versions);
        versions = versions.iter().chain(&carried.previous).cloned().collect();
        if self.is_unchanged(standing.as_ref(), content, grant, &versions, carried.rotated.as_deref()) {
            self.succeeded();
            return Ok(Progress::Done);
        }
        self.foresee(grant, old_seal.as_deref(), versions.first());
        let before = self.fetch_previous(grant, carried.previous.as_ref()).await?;
        if carried.previous.is_some() && before.is_none() {
            // It cannot be had from the manager, and the new one is not held up for it.
            versions = versions.iter().take(answers.len()).cloned().collect();
        }
        let fetched = |key: &str, version: &VersionAsked| {
            answers.iter().find(|(k, _)| k.written == key && k.version == *version).map(|(_, answer)| &answer.value)
        };
        let value_before = before.as_ref().map(|answer| |_: &str, _: &VersionAsked| Some(&answer.value));
        let previous = value_before.as_ref().map(|previous| previous as projection::Fetched<'_>);
        let projection =
            projection::project_with(&self.spec, &fetched, previous).map_err(|e| Failure::new(e.reason, e.message))?;
        let estimate = || draft::prints(&projection, &grant.ignore, &self.keys);
        let few = projection.compared.len() <= AT_A_GLANCE;
        let prints = if few { estimate() } else { tokio::task::block_in_place(estimate) };
        let prints = prints.ok_or_else(|| {
            let text = format!(
                "the Secret would hold more than {} values that are compared between segments: claim less here",
                draft::MAX_COMPARED
            );
            Failure::new(Reason::SecretTooLarge, text)
        })?;
        let brings_text = self.brings_text(old_seal.as_deref());
        if let Some(enough) = self.has_heard_enough().filter(|_| brings_text) {
            return Err(enough);
        }
        let embedded = self.embedded(&projection, &prints.hard, standing.as_ref(), &versions).await;
        let embedded = match embedded {
            Err(shared) if before.is_some() => return self.without_previous(shared),
            embedded => embedded?,
        };
        let contents = draft::content_digests(&self.spec, &projection, &self.keys);
        let (fingerprints, marks) = self.keys.sealed_prints(&prints.hard);
        let marks = marks.beside(&prints.weak, &embedded.remembered());
        let holding = Holding {
            claim: self.name.name.clone(),
            held_since: draft::held_since(old_seal.as_deref().map(|seal| &*seal.holding), &versions, self.cx.now()),
            fingerprints,
            marks,
            retain: self.spec.retain(),
            ends: self.ends(),
            consumed: !self.spec.consumers.is_empty(),
            pinned: grant.keys.iter().any(|key| key.version != VersionAsked::Current),
            target_type: Some(self.spec.target_type()).filter(|kind| *kind != "Opaque").map(Into::into),
            versions,
        };
        let restart = self.restart(&projection, &holding, old_seal.as_deref(), &contents);
        let mut record = SealRecord {
            holding: Arc::new(holding),
            spec: self.spec_digests.current(),
            content: contents.current(),
            ignore: self.keys.digest(&projection::names_bytes(&grant.ignore)),
            refresh_at: self.record.refresh_at().map(Into::into),
            rotation: carried.rotated,
            restart: restart.map(Box::new),
            followed: old_seal.as_ref().and_then(|old| old.followed.clone()),
        };
        self.follow(&mut record);
        let same_content = old_seal.as_deref().is_some_and(|old| contents.contains(&old.content));
        let drifted = content == Content::Drifted || self.set_back;
        let reserved = self.reserve(grant, &prints.hard, &embedded, &record);
        if brings_text && reserved.as_ref().is_err_and(|refused| refused.reason == Reason::ValueShared) {
            self.hears();
        }
        let before = match reserved {
            Err(shared) if before.is_some() => {
                drop(embedded);
                return self.without_previous(shared);
            }
            reserved => reserved?,
        };
        let draft = Draft {
            secret: &secret_name,
            claim: &self.name.name,
            uid: &self.record.uid,
            spec: &self.spec,
            projection: &projection,
            record: &record,
        };
        let written = match self.nonce().and_then(|nonce| draft.secret(&self.keys, nonce).ok()) {
            Some(secret) if draft::is_overloaded(&secret) => Err(Failure::new(
                Reason::SecretTooLarge,
                "the Secret's annotations, with the operator's own, would be larger than Kubernetes allows (262144 bytes): write less in target.template.annotations, or claim fewer keys here",
            )),
            Some(secret) => self.write(secret, standing.as_ref()).await,
            None => Err(unsealable()),
        };
        let Ok(Some(secret)) = written else {
            self.cx.index_mut().unreserve(&secret_name, before);
            return written.map(|_| Progress::LookAgain);
        };
        let facts = secret_facts(&secret_name, &secret.metadata, &self.keys);
        self.memory.verified = Some(facts.revision());
        self.cx.index_mut().wrote(secret_name, facts);
        self.memory.searched = false;
        self.read = None;
        self.changed = !same_content;
        if self.changed {
            self.memory.last_change = Some(self.cx.now());
        }
        self.succeeded();
        self.release(before.as_deref(), &record.holding);
        if drifted {
            self.event(
                EventType::Warning,
                Reason::Restored,
                "the Secret had been changed by somebody else and was put right",
            )
            .await;
        } else if standing.is_none() && self.record.status.secret().is_some() {
            let text = "the Secret had been deleted by somebody else and was projected again";
            self.event(EventType::Warning, Reason::Restored, text).await;
        } else if old_seal.is_some() && !same_content {
            self.event(EventType::Normal, Reason::Updated, "the Secret has new content").await;
        }
        if let Some(why) = self.rotating.left_out.take() {
            self.event(EventType::Warning, why.reason, &why.message).await;
        }
        Ok(Progress::Done)
    }

    /// What the seal says of the restart of its consumers: due, if they have run with another value.
    fn restart(
        &self,
        projection: &projection::Projection,
        holding: &Holding,
        old: Option<&SealRecord>,
        contents: &Digests,
    ) -> Option<Restart> {
        if !self.spec.restarts() {
            return None;
        }
        let data = draft::data_digests(projection, &self.keys);
        let known = old.and_then(|old| old.restart.as_deref());
        let changed = match (old, known) {
            (_, Some(known)) => !data.contains(&known.data),
            (Some(old), None) => !contents.contains(&old.content),
            (None, None) => self.was_run_before(holding),
        };
        let edited = old.is_some_and(|old| token(holding, None) == token(&old.holding, None));
        let edit = edited.then_some(self.record.generation);
        let due = if changed {
            Some(Due { token: token(holding, edit), since: self.cx.now().into() })
        } else {
            let over = self.cx.restarts.over(&self.name);
            known.and_then(|known| known.due.clone()).filter(|due| over.as_deref() != Some(&*due.token))
        };
        Some(Restart { data: data.current(), due })
    }

    /// Whether pods may run with an earlier value of a Secret that is written anew: it was lost and had another version, or was
    /// taken away for a revocation.
    fn was_run_before(&self, holding: &Holding) -> bool {
        let index = self.cx.index();
        let name = self.secret_name();
        let held = index.world.holding(&name).filter(|held| held.claim == self.name.name);
        let another = |held: &Holding| {
            held.versions.iter().all(KeyVersion::is_known) && token(held, None) != token(holding, None)
        };
        held.is_some_and(|held| another(held)) || revocation::has_withdrawn(&index, &name, holding.keys())
    }

    /// Notes in a seal what was seen of what its key is rotated after.
    fn follow(&self, record: &mut SealRecord) {
        let listed = self.spec.rotation.as_ref().is_some_and(|rotation| !rotation.after.is_empty());
        if let Some(news) = self.cx.after.news(&self.name, record.followed.as_deref()) {
            record.followed = Some(Box::new(news));
        }
        record.followed = record.followed.take().filter(|_| listed);
    }

    /// Notes in a seal that the restart is over, or not wanted any more, if it is so.
    fn close_restart(&self, record: &mut SealRecord) {
        let over = self.cx.restarts.over(&self.name);
        if let Some(restart) = &mut record.restart {
            let due = restart.due.take().filter(|_| self.spec.restarts());
            restart.due = due.filter(|due| over.as_deref() != Some(&*due.token));
        }
    }

    /// Lets others have the keys and values that this Secret no longer holds.
    pub(super) fn release(&self, old: Option<&Holding>, new: &Holding) {
        if let Some(old) = old.filter(|old| old.gives_up_for(new)) {
            let rivals = self.cx.index().rivals(&self.secret_name(), old);
            self.cx.retry(rivals);
        }
    }

    pub(super) fn nonce(&self) -> Option<[u8; 12]> {
        let mut nonce = [0; 12];
        (self.cx.nature.random)(&mut nonce).then_some(nonce)
    }

    /// The Secret holds what the manager has just said.
    fn succeeded(&mut self) {
        self.memory.failure = None;
        self.memory.failures = 0;
        self.memory.last_good = Some(self.cx.now());
    }

    /// The store's manager, as whoever is asked for here.
    pub(super) async fn manager(&self, grant: &Grant) -> Result<Arc<dyn Provider>, Failure> {
        let tenant = Tenant { namespace: self.name.namespace.to_string(), segment: grant.segment.name().to_owned() };
        self.cx.providers.connect(&self.spec.store_ref.name, Some(tenant), &self.keys).await
    }

    /// Asks the manager for every authorised key; all or nothing.
    async fn fetch(&self, grant: &Grant) -> Result<Vec<(AuthorisedKey, Arc<Answer>)>, Failure> {
        let store = &self.spec.store_ref.name;
        let connected = self.manager(grant).await;
        self.cx.providers.claim_connected(store, connected.as_ref().err().map(|failure| failure.reason));
        let provider = connected?;
        let asks = grant.keys.iter().map(|key| {
            let version = match &key.version {
                VersionAsked::Current => VersionRef::Current,
                VersionAsked::Stage(stage) => VersionRef::Stage(stage.clone()),
                VersionAsked::Id(id) => VersionRef::Id(id.clone()),
            };
            provider.fetch(Ask { id: key.ask.clone(), version })
        });
        let answers = join_all(asks).await;
        let failures: Option<Vec<Reason>> =
            answers.iter().map(|answer| answer.as_ref().err().map(fetch_reason)).collect();
        self.cx.providers.asked(store, failures.and_then(|reasons| reasons.first().copied()));
        let mut found = Vec::with_capacity(answers.len());
        for (key, answer) in grant.keys.iter().zip(answers) {
            let named = |text: &dyn std::fmt::Display| format!("key {:?} in store {store:?}: {text}", key.written);
            let answer = answer.map_err(|e| Failure::new(fetch_reason(&e), named(&e)))?;
            if CanonicalKey::of_answer(&answer.id, &answer.name).as_ref() != Some(&key.canonical) {
                let text = "the answer is another secret than the one that was authorised (another name, account or region) and was thrown away";
                return Err(Failure::new(Reason::RemoteIdentityMismatch, named(&text)));
            }
            if self.is_revoked(key, &answer) {
                let text = "the version that the manager has was revoked (see KeyRevocations, or ask the platform team): it is projected again once a newer one is stored";
                return Err(Failure::new(Reason::KeyRevoked, named(&text)));
            }
            found.push((key.clone(), answer));
        }
        Ok(found)
    }

    /// What the seal is to say of the rotation, with these versions in hand.
    fn carry(&self, grant: &Grant, seal: Option<&SealRecord>, versions: &[KeyVersion]) -> Carried {
        let Some(current) = versions.first() else { return Carried::default() };
        let handled = self.handled_by(grant, seal, &current.id);
        let overlaps = self.may_not_rotate().is_none_or(|refusal| refusal.reason != Reason::ActionNotAllowed);
        let overlaps = overlaps && self.rotating.left_out.is_none();
        let index = self.cx.index();
        let created = index.world.claim(&self.name).map_or(self.cx.now(), |claim| claim.created);
        let (plan, rotate_at) = (self.rotating.plan.as_ref(), self.record.rotate_at());
        Before { plan, seal, current, handled: &handled, rotate_at, overlaps, created, now: self.cx.now() }
            .carry(|version| index.world.revocations.revoke(version))
    }

    /// The value before a rotation; None: there is to be none, it is gone, or it was refused for a minute.
    async fn fetch_previous(
        &mut self,
        grant: &Grant,
        previous: Option<&KeyVersion>,
    ) -> Result<Option<Arc<Answer>>, Failure> {
        let (Some(previous), Some(key)) = (previous, grant.keys.first()) else { return Ok(None) };
        let provider = self.manager(grant).await?;
        let ask = Ask { id: key.ask.clone(), version: VersionRef::Id(previous.id.to_string()) };
        match self.unless_over(provider.fetch(ask)).await.ok_or_else(over)? {
            Ok(answer) if CanonicalKey::of_answer(&answer.id, &answer.name).as_ref() == Some(&key.canonical) => {
                Ok(Some(answer))
            }
            Ok(_) | Err(FetchError::Missing | FetchError::VersionMissing { .. } | FetchError::MarkedDeleted) => {
                Ok(None)
            }
            Err(error) => {
                let text = format!("key {:?}, the version before: {error}", key.written);
                let reason = fetch_reason(&error);
                if error.retryable() || self.memory.failures < ASKS_FOR_PREVIOUS {
                    return Err(Failure::new(reason, text));
                }
                self.rotating.left_out = Some(left_out(reason, &text));
                Ok(None)
            }
        }
    }

    /// What is refused may be in the value before a rotation alone, which holds up no new value: it is tried without that.
    fn without_previous(&mut self, refused: Failure) -> Result<Progress, Failure> {
        if refused.reason != Reason::ValueShared {
            return Err(refused);
        }
        self.rotating.left_out = Some(left_out(refused.reason, "another segment has it, or a value in it"));
        Ok(Progress::LookAgain)
    }

    /// Whether the version that the manager has was revoked. Those of files are digests, which may have been listed under an
    /// earlier generation of the seal key.
    pub(super) fn is_revoked(&self, key: &AuthorisedKey, answer: &Answer) -> bool {
        let index = self.cx.index();
        let revocations = &index.world.revocations;
        let found = version(key, answer);
        let earlier = || revocation::names_of(&self.keys, answer);
        let again = |id: String| KeyVersion { id: id.into(), ..found.clone() };
        revocations.revoke(&found)
            || (key.canonical.is_file() && revocations.of_key(&key.canonical).next().is_some())
                && earlier().map(again).any(|version| revocations.revoke(&version))
    }

    /// Takes the values' fingerprints into the index before they are written, unless another segment holds one: two
    /// writers in flight cannot both win. What the Secret held before.
    fn reserve(
        &self,
        grant: &Grant,
        prints: &[Print],
        embedded: &Embedded<'_>,
        record: &SealRecord,
    ) -> Result<Option<Arc<Holding>>, Failure> {
        let secret_name = self.secret_name();
        let mut index = self.cx.index_mut();
        if self.waits_for_unread(&index) {
            return Err(value_shared());
        }
        if shared_value(
            &secret_name,
            &grant.keys,
            prints.iter().flat_map(|print| &print.fingerprints),
            &index.world,
            self.cx.now(),
        ) {
            return Err(value_shared());
        }
        let foreign = foreign_within(&secret_name, &record.holding, embedded.prints(), &index.world, self.cx.now());
        if let Some(print) = foreign.first() {
            return Err(embedded.refusal(print, &self.spec));
        }
        Ok(index.reserve(&secret_name, record.holding.clone()))
    }

    /// Whether it was refused a value that another segment has, and may not be told of by what stands there: its seal went with a seal key
    /// that was lost, and says nothing until it is sealed anew. It waits for that for a few attempts.
    fn waits_for_unread(&self, index: &Index) -> bool {
        let was_refused = self.record.status.denied(ConditionType::Unique) == Some(Reason::ValueShared);
        let is_unread = |(other, held): (&ObjectName, &Holding)| {
            held.held_since == Timestamp::MAX && other.namespace != self.name.namespace
        };
        let waits = was_refused && self.memory.failures < UNREAD_ATTEMPTS;
        waits && index.secret(&self.secret_name()).is_none() && index.world.holdings().any(is_unread)
    }

    /// Creates the Secret, or replaces exactly the revision that was observed. None: the cluster is not as observed.
    async fn write(&mut self, mut secret: Secret, standing: Option<&SecretFacts>) -> Result<Option<Secret>, Failure> {
        if !self.cx.leads() {
            return Err(not_leading());
        }
        let name = self.secret_name();
        let api: Api<Secret> = Api::namespaced(self.cx.client.clone(), &name.namespace);
        let params = PostParams { field_manager: Some(FIELD_MANAGER.into()), ..PostParams::default() };
        let result = match standing {
            None => api.create(&params, &secret).await,
            Some(judged) => {
                let touched = |fresh: &Secret| self.is_only_touched(fresh, judged);
                replace_observed(&api, &params, observed(&name, judged), &mut secret, touched).await
            }
        };
        match (result, standing) {
            (Ok(written), _) => Ok(Some(written)),
            (Err(kube::Error::Api(status)), _) if status.code == 409 || (standing.is_some() && status.code == 404) => {
                // The name is taken, or the Secret has changed: how is seen by reading it.
                self.read_secret().await?;
                Ok(None)
            }
            (Err(kube::Error::Api(status)), Some(facts)) if status.code == 422 && !is_denial(&status.message) => {
                self.replace_unchangeable(&api, secret, facts, &status.message).await
            }
            (Err(error), _) => Err(write_failed(&error)),
        }
    }

    /// The type of a Secret and the data of an immutable one cannot be changed. Another type is made by deleting and
    /// creating again, with the values in hand; an immutable Secret stays.
    async fn replace_unchangeable(
        &mut self,
        api: &Api<Secret>,
        mut secret: Secret,
        facts: &SecretFacts,
        message: &str,
    ) -> Result<Option<Secret>, Failure> {
        let name = self.secret_name();
        let live = api.get_opt(&name.name).await.map_err(|e| write_failed(&e))?;
        let frozen = live.as_ref().is_some_and(|s| s.immutable == Some(true));
        if frozen && self.spec.immutable() {
            return Err(Failure::new(
                Reason::TargetImmutable,
                "the Secret was written immutable and its content would change; nothing was written: delete this ScopedSecret and create it again under another target.name",
            ));
        }
        // Somebody else froze it: it is put right like any other change, by making it anew.
        if !frozen && live.as_ref().is_none_or(|s| s.type_.as_deref().unwrap_or("Opaque") == self.spec.target_type()) {
            // Not the API server's words: those about an invalid object quote it.
            tracing::debug!(code = 422, length = message.len(), "Kubernetes refused a Secret");
            return Err(Failure::new(
                Reason::WriteFailed,
                "Kubernetes refused the Secret as invalid; it is tried again",
            ));
        }
        self.delete(api, facts).await?;
        secret.metadata.uid = None;
        secret.metadata.resource_version = None;
        let params = PostParams { field_manager: Some(FIELD_MANAGER.into()), ..PostParams::default() };
        match api.create(&params, &secret).await {
            Ok(created) => Ok(Some(created)),
            Err(error) => {
                // What stood goes back: a new type or content that is not taken costs nobody the last good value.
                if let Some(mut former) = live {
                    former.metadata.uid = None;
                    former.metadata.resource_version = None;
                    former.metadata.creation_timestamp = None;
                    former.metadata.managed_fields = None;
                    if let Err(error) = api.create(&params, &former).await {
                        tracing::warn!(namespace = %name.namespace, name = %name.name, error = %brief(&error), "a Secret could not be put back");
                    }
                }
                Err(write_failed(&error))
            }
        }
    }

    /// Whether of a Secret that was judged only what others may write on it has changed since.
    fn is_only_touched(&self, fresh: &Secret, judged: &SecretFacts) -> bool {
        let facts = secret_facts(&self.secret_name(), &fresh.metadata, &self.keys);
        let untouched = |seal: &SealRecord| {
            draft::read_digests(&self.spec, fresh, &self.keys).contains(&seal.content)
                || !self.spec_digests.contains(&seal.spec)
        };
        let same = facts.is_same_but_for_others(judged) && !facts.deleting;
        same && facts.seal.as_ref().is_ok_and(|seal| untouched(seal))
    }

    /// Deletes the Secret that was observed.
    pub(super) async fn delete(&mut self, api: &Api<Secret>, facts: &SecretFacts) -> Result<(), Failure> {
        if !self.cx.leads() {
            return Err(not_leading());
        }
        if !delete_secret(api, &self.secret_name(), facts, &self.keys).await.map_err(|e| write_failed(&e))? {
            self.read_secret().await?;
            let text = "the Secret has changed meanwhile; it is looked at again";
            return Err(Failure::new(Reason::WriteFailed, text));
        }
        self.memory.verified = None;
        self.read = None;
        Ok(())
    }
}

pub(super) fn unsealable() -> Failure {
    Failure::new(Reason::WriteFailed, "the seal cannot be made")
}

/// Puts the metadata of a Secret of ours right: its label back, finalizers, other owners and what carries it away off.
/// None: it is gone, or going now.
pub(super) async fn mend(cx: &Context, mut secret: Secret) -> Result<Option<Secret>, Failure> {
    if !cx.leads() {
        return Err(not_leading());
    }
    let Some(name) = object_name(&secret.metadata) else { return Ok(None) };
    draft::straighten(&mut secret.metadata);
    let api: Api<Secret> = Api::namespaced(cx.client.clone(), &name.namespace);
    let params = PostParams { field_manager: Some(FIELD_MANAGER.into()), ..PostParams::default() };
    match api.replace(&name.name, &params, &secret).await {
        Ok(written) => Ok(Some(written).filter(|written| written.metadata.deletion_timestamp.is_none())),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        Err(error) => Err(write_failed(&error)),
    }
}

/// What is told of a value before a rotation that the Secret is written without.
fn left_out(reason: Reason, why: &str) -> Failure {
    let text = format!(
        "the value before the rotation is not kept as previous.*, although spec.rotation.overlap asks for it: {why}"
    );
    Failure::new(reason, text)
}

fn versions(answers: &[(AuthorisedKey, Arc<Answer>)]) -> Box<[KeyVersion]> {
    answers.iter().map(|(key, answer)| version(key, answer)).collect()
}

fn version(key: &AuthorisedKey, answer: &Answer) -> KeyVersion {
    KeyVersion {
        key: key.canonical.clone(),
        id: answer.version_id.as_str().into(),
        created: answer.created.map(Into::into),
    }
}
