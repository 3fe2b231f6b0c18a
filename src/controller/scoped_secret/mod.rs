//! One ScopedSecret: observe, [`plan`], act, report.

pub mod draft;
pub mod plan;
pub mod status;
pub mod told;

use super::context::{Context, Job, Memory};
use super::index::{ClaimRecord, SecretFacts, pause_threshold, secret_facts};
use super::providers::{Tenant, fetch_reason};
use super::schedule;
use super::store::brief;
use crate::api::duration;
use crate::api::scoped_secret::{RemoteVersion, ScopedSecretStatus, SecretRef};
use crate::api::{DEFAULT_REFRESH_INTERVAL, FIELD_MANAGER, Reason, ScopedSecret, ScopedSecretSpec};
use crate::projection;
use crate::provider::{Answer, Ask, VersionRef};
use crate::segmentation::authorize::{Retention, authorize, retention, segment_of};
use crate::segmentation::key::{CanonicalKey, Realm, RemoteKey};
use crate::segmentation::policy::Policy;
use crate::segmentation::seal::{SealKeys, SealRecord};
use crate::segmentation::verdict::{AuthorisedKey, Grant, Refusal, Verdict};
use crate::segmentation::world::{ObjectName, VersionAsked};
use draft::Draft;
use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, ObjectReference, Secret};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams, PostParams, Preconditions};
use kube::runtime::events::{Event, EventType};
use plan::{Content, Failure, Observed, Outcome, Owner, Step};
use serde_json::json;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// One ScopedSecret while it is worked on.
struct Work<'c> {
    cx: &'c Context,
    name: ObjectName,
    record: ClaimRecord,
    spec: ScopedSecretSpec,
    keys: Arc<SealKeys>,
    key_made: Timestamp,
    spec_digest: String,
    memory: Memory,
    /// The Secret as it was read in this run, where the index does not have it.
    read: Option<(SecretFacts, Content)>,
    /// Content changed in this run.
    changed: bool,
}

/// So many steps a run: reading, fetching, writing and one surprise each.
const STEPS: usize = 8;

/// Works on one ScopedSecret until there is nothing more to do now.
pub async fn reconcile(cx: &Context, name: &ObjectName) -> &'static str {
    let Some((keys, key_made)) = cx.keys() else { return "Skipped" };
    let Some(record) = cx.index().claims.get(name).cloned() else {
        cx.memory().remove(name);
        cx.queue.forget(&Job::Claim(name.clone()));
        return "Skipped";
    };
    if record.deleting {
        return "Skipped";
    }
    let Some(spec) = record.spec.as_deref().and_then(|bytes| serde_json::from_slice::<ScopedSecretSpec>(bytes).ok())
    else {
        report_broken(cx, name, &record).await;
        return Reason::SpecInvalid.as_str();
    };
    if cx.providers.is_new(&spec.store_ref.name) {
        // It is queued again as soon as the store's account was looked for.
        return "Skipped";
    }
    let memory = cx.memory().get(name).cloned().unwrap_or_default();
    let spec_digest = keys.digest(&projection::spec_bytes(&spec));
    let mut work =
        Work { cx, name: name.clone(), record, spec, keys, key_made, spec_digest, memory, read: None, changed: false };
    work.recall();
    let outcome = work.run().await;
    work.settle(&outcome);
    let memory = work.memory.clone();
    if cx.index().claims.contains_key(name) {
        cx.memory().insert(name.clone(), memory);
    }
    work.report(&outcome).await;
    outcome.reason().as_str()
}

impl Work<'_> {
    fn secret_name(&self) -> ObjectName {
        ObjectName { namespace: self.name.namespace.clone(), name: self.spec.target_name(&self.name.name).into() }
    }

    fn interval(&self) -> Duration {
        let text = self.spec.refresh_interval.as_deref();
        text.map_or(DEFAULT_REFRESH_INTERVAL, |text| duration::parse(text).unwrap_or(DEFAULT_REFRESH_INTERVAL))
    }

    /// What status tells after a restart: which revision was verified, and whether the last attempt failed.
    fn recall(&mut self) {
        let old = self.old_status();
        if self.memory.attempted.is_none() && self.memory.verified.is_none() {
            self.memory.verified = old.secret_ref.map(|s| (s.uid.into(), s.resource_version.into()));
            let failed = old.conditions.iter().find(|c| c.type_ == "Synced" && c.status == "False");
            if let Some(failed) = failed {
                // The failure is as old as the condition; the last good value is one interval older at most.
                let interval = jiff::SignedDuration::try_from(self.interval()).unwrap_or(jiff::SignedDuration::MAX);
                self.memory.last_good = failed.last_transition_time.0.checked_sub(interval).ok();
            }
        }
        let attempt = (self.record.generation, self.record.refresh_at.clone());
        if self.memory.attempted.as_ref().is_some_and(|last| *last != attempt) {
            self.memory.due_at = None;
            self.memory.failure = None;
            self.memory.failures = 0;
        }
    }

    fn old_status(&self) -> ScopedSecretStatus {
        self.record.status.recall()
    }

    async fn run(&mut self) -> Outcome {
        for _ in 0..STEPS {
            match self.next_step() {
                Step::Report(outcome) => return outcome,
                Step::ReadSecret => {
                    if let Err(failure) = self.read_secret().await {
                        return Outcome::Failed(failure);
                    }
                }
                Step::Withdraw(refusal) => match self.withdraw(&refusal).await {
                    Ok(()) => {}
                    Err(failure) => return Outcome::Failed(failure),
                },
                Step::Fetch(grant) => match self.fetch_and_write(&grant).await {
                    Ok(Progress::Done) => return Outcome::Current,
                    Ok(Progress::LookAgain) => {}
                    Err(failure) => return Outcome::Failed(failure),
                },
            }
        }
        Outcome::Failed(Failure::new(
            Reason::WriteFailed,
            "the Secret changes faster than it can be written; it is tried again",
        ))
    }

    /// Observes and decides, under one read of the index.
    fn next_step(&mut self) -> Step {
        let now = self.cx.now();
        let index = self.cx.index();
        let Some(claim) = index.world.claim(&self.name) else {
            return Step::Report(Outcome::Failed(Failure::new(Reason::Pending, "the ScopedSecret is gone")));
        };
        let verdict = authorize(claim, &index.world, now);
        let secret_name = self.secret_name();
        let known = index.secrets.get(&secret_name).cloned();
        let (secret, content) = match (&self.read, known) {
            (Some((read, content)), Some(known)) if known.resource_version == read.resource_version => {
                (Some(read.clone()), *content)
            }
            (Some((read, content)), None) => (Some(read.clone()), *content),
            (_, Some(known)) => {
                let same = self
                    .memory
                    .verified
                    .as_ref()
                    .is_some_and(|(uid, rv)| *uid == known.uid && *rv == known.resource_version);
                (Some(known), if same { Content::Verified } else { Content::Unread })
            }
            (None, None) => (None, Content::Verified),
        };
        let owner = secret.as_ref().map_or(Owner::UsOrNobody, |s| match s.owner.as_deref() {
            None => Owner::UsOrNobody,
            Some(uid) if uid == &*self.record.uid => Owner::UsOrNobody,
            Some(uid) if index.gone.contains(uid) => Owner::JustGone,
            Some(uid)
                if index.claims_for(&secret_name).any(|c| index.claims.get(c).is_some_and(|r| &*r.uid == uid)) =>
            {
                Owner::OtherAlive
            }
            Some(_) => Owner::Stranger,
        });
        let held = index.world.holding(&secret_name);
        let kept = held.map(|held| retention(&secret_name, held, &index.world, now));
        let paused = match &kept {
            Some(Retention::Withdraw(_)) if !matches!(verdict, Verdict::Allowed(_)) => {
                let count =
                    if index.world.holdings().count() > pause_threshold(0) { index.withdrawals(now) } else { 0 };
                (!index.may_withdraw(count)).then_some(count)
            }
            _ => None,
        };
        let due = self.memory.due_at.is_some_and(|at| now >= at);
        plan::decide(&Observed {
            name: &self.name.name,
            uid: &self.record.uid,
            spec: &self.spec,
            refresh_at: self.record.refresh_at.as_deref(),
            spec_digest: &self.spec_digest,
            verdict: &verdict,
            terminating: index.terminating.contains(&self.name.namespace),
            secret: secret.as_ref(),
            owner,
            content,
            retention: kept.as_ref(),
            paused,
            due,
            failure: self.memory.failure.as_ref(),
            blocked: self.memory.blocked,
        })
    }

    /// Reads the Secret under the target's name, whoever made it.
    async fn read_secret(&mut self) -> Result<(), Failure> {
        self.memory.blocked = false;
        let name = self.secret_name();
        let api: Api<Secret> = Api::namespaced(self.cx.client.clone(), &name.namespace);
        let Some(secret) = api.get_opt(&name.name).await.map_err(|e| write_failed(&e))? else {
            self.cx.index_mut().remove_secret(&name);
            self.read = None;
            return Ok(());
        };
        let facts = secret_facts(&name, &secret.metadata, &self.keys, self.key_made);
        let digest = draft::read_digest(&self.spec, &secret, &self.keys);
        // A seal of the generation before has its digest under the key before: it is projected anew.
        let content = match &facts.seal {
            Ok(seal) if seal.spec != self.spec_digest || !facts.seal_is_current => Content::Verified,
            Ok(seal) if seal.content == digest => Content::Verified,
            _ => Content::Drifted,
        };
        if content == Content::Verified {
            self.memory.verified = Some((facts.uid.clone(), facts.resource_version.clone()));
        }
        if facts.labelled {
            self.cx.index_mut().put_secret(name, facts.clone());
        }
        self.read = Some((facts, content));
        Ok(())
    }

    async fn fetch_and_write(&mut self, grant: &Grant) -> Result<Progress, Failure> {
        self.memory.attempted = Some((self.record.generation, self.record.refresh_at.clone()));
        self.memory.due_at = Some(self.cx.now());
        let answers = self.fetch(grant).await?;
        self.memory.last_good = Some(self.cx.now());
        let versions = versions(&answers);
        let secret_name = self.secret_name();
        // Policy may have changed while the manager was asked.
        let standing = {
            let index = self.cx.index();
            let claim = index.world.claim(&self.name);
            let verdict = claim.map(|claim| authorize(claim, &index.world, self.cx.now()));
            if !matches!(&verdict, Some(Verdict::Allowed(again)) if again.keys == grant.keys) {
                return Ok(Progress::LookAgain);
            }
            index.secrets.get(&secret_name).cloned()
        };
        let standing = standing.or_else(|| self.read.as_ref().map(|(facts, _)| facts.clone()));
        if self.is_unchanged(standing.as_ref(), &versions) {
            self.succeeded();
            return Ok(Progress::Done);
        }
        let projection = projection::project(&self.spec, &|key, version| {
            answers.iter().find(|(k, _)| k.written == key && k.version == *version).map(|(_, answer)| &answer.value)
        })
        .map_err(|e| Failure::new(e.reason, e.message))?;
        let prints = draft::fingerprints(&projection, &grant.ignore, &self.keys);
        let old_seal = standing.as_ref().and_then(|s| s.seal.as_ref().ok().cloned());
        let record = SealRecord {
            claim: self.name.name.to_string(),
            held_since: draft::held_since(old_seal.as_deref(), &versions, self.cx.now()),
            fingerprints: prints.iter().filter_map(|all| all.first().copied()).collect(),
            spec: self.spec_digest.clone(),
            content: draft::content_digest(&self.spec, &projection, &self.keys),
            retain: self.spec.retain(),
            refresh_at: self.record.refresh_at.as_deref().map(str::to_owned),
            versions,
        };
        let same_content = old_seal.as_ref().is_some_and(|old| old.content == record.content);
        let drifted = matches!(&self.read, Some((_, Content::Drifted)));
        self.reserve(grant, &prints, &record)?;
        let mut nonce = [0; 12];
        let random = (self.cx.nature.random)(&mut nonce);
        let draft = Draft {
            secret: &secret_name,
            claim: &self.name.name,
            uid: &self.record.uid,
            spec: &self.spec,
            projection: &projection,
            record: &record,
        };
        let written = match draft.secret(&self.keys, nonce) {
            Ok(secret) if random => self.write(secret, standing.as_ref()).await,
            _ => Err(Failure::new(Reason::WriteFailed, "the seal cannot be made")),
        };
        match written {
            Ok(Some(secret)) => {
                let facts = secret_facts(&secret_name, &secret.metadata, &self.keys, self.key_made);
                self.memory.verified = Some((facts.uid.clone(), facts.resource_version.clone()));
                self.cx.index_mut().put_secret(secret_name, facts);
                self.read = None;
                self.changed = !same_content;
                self.succeeded();
                if drifted {
                    self.event(
                        EventType::Warning,
                        Reason::Restored,
                        "the Secret had been changed by somebody else and was put right",
                    )
                    .await;
                } else if old_seal.is_some() && !same_content {
                    self.event(EventType::Normal, Reason::Updated, "the Secret has new content").await;
                }
                Ok(Progress::Done)
            }
            Ok(None) => {
                self.unreserve(&secret_name, standing);
                Ok(Progress::LookAgain)
            }
            Err(failure) => {
                self.unreserve(&secret_name, standing);
                Err(failure)
            }
        }
    }

    fn is_unchanged(&self, secret: Option<&SecretFacts>, versions: &[(CanonicalKey, String)]) -> bool {
        let verified = secret.is_some_and(|s| {
            self.memory.verified.as_ref().is_some_and(|(uid, rv)| *uid == s.uid && *rv == s.resource_version)
        });
        let unread = !verified || matches!(&self.read, Some((_, Content::Drifted)));
        let observed = Observed {
            name: &self.name.name,
            uid: &self.record.uid,
            spec: &self.spec,
            refresh_at: self.record.refresh_at.as_deref(),
            spec_digest: &self.spec_digest,
            verdict: &Verdict::Undecided(Refusal::new(Reason::Pending, "")),
            terminating: false,
            secret,
            owner: Owner::UsOrNobody,
            content: if unread { Content::Drifted } else { Content::Verified },
            retention: None,
            paused: None,
            due: true,
            failure: None,
            blocked: false,
        };
        plan::is_unchanged(&observed, versions)
    }

    fn succeeded(&mut self) {
        self.memory.failure = None;
        self.memory.failures = 0;
    }

    /// Asks the manager for every authorised key; all or nothing.
    async fn fetch(&self, grant: &Grant) -> Result<Vec<(AuthorisedKey, Arc<Answer>)>, Failure> {
        let tenant = Tenant { namespace: self.name.namespace.to_string(), segment: grant.segment.name().to_owned() };
        let store = &self.spec.store_ref.name;
        let provider = self.cx.providers.connect(store, Some(tenant), &self.keys).await?;
        let asks = grant.keys.iter().map(|key| {
            let version = match &key.version {
                VersionAsked::Current => VersionRef::Current,
                VersionAsked::Stage(stage) => VersionRef::Stage(stage.clone()),
                VersionAsked::Id(id) => VersionRef::Id(id.clone()),
            };
            provider.fetch(Ask { id: key.ask.clone(), version })
        });
        let answers = join_all(asks).await;
        let mut found = Vec::with_capacity(answers.len());
        for (key, answer) in grant.keys.iter().zip(answers) {
            let answer = answer.map_err(|e| {
                Failure::new(fetch_reason(&e), format!("key {:?} in store {store:?}: {e}", key.written))
            })?;
            if CanonicalKey::of_answer(&answer.id, &answer.name).as_ref() != Some(&key.canonical) {
                return Err(Failure::new(
                    Reason::RemoteIdentityMismatch,
                    format!(
                        "key {:?} in store {store:?}: the answer is another secret than the one that was authorised (another name, account or region) and was thrown away",
                        key.written
                    ),
                ));
            }
            found.push((key.clone(), answer));
        }
        Ok(found)
    }

    /// Takes the values' fingerprints into the index before they are written, unless another segment holds one: two
    /// writers in flight cannot both win.
    fn reserve(
        &self,
        grant: &Grant,
        prints: &[Vec<crate::segmentation::fingerprint::Fingerprint>],
        record: &SealRecord,
    ) -> Result<(), Failure> {
        use crate::api::policy::{ExceptedRule, Within};
        let now = self.cx.now();
        let secret_name = self.secret_name();
        let mut index = self.cx.index_mut();
        let lifted = |key: Option<&str>, spaces: &[&str]| {
            index.world.policies.values().any(|p| match p {
                crate::segmentation::world::PolicyState::Known(p) => lifts_here(p, &index.world, spaces, key, now),
                crate::segmentation::world::PolicyState::Unknown(_) => false,
            })
        };
        fn lifts_here(
            policy: &Policy,
            world: &crate::segmentation::world::World,
            spaces: &[&str],
            key: Option<&str>,
            now: Timestamp,
        ) -> bool {
            let governs =
                spaces.first().and_then(|ns| Some(policy.selects(ns, world.namespaces.get(*ns)?))).unwrap_or(false);
            governs && policy.lifts(ExceptedRule::UniqueValues, key, spaces, now)
        }
        let shared = grant.unique_within == Within::Segment
            && prints.iter().flatten().any(|print| {
                index.world.holdings_with(print).any(|(other, held)| {
                    let elsewhere = *other != secret_name
                        && segment_of(&other.namespace, &index.world).ok().as_ref() != Some(&grant.segment);
                    // Of two that stand with one value, the later loses.
                    let own = index.world.holding(&secret_name).filter(|own| own.fingerprints.contains(print));
                    let later = own.is_none_or(|own| (held.held_since, other) < (own.held_since, &secret_name));
                    let spaces = [&*self.name.namespace, &*other.namespace];
                    let excepted = grant.keys.iter().any(|k| lifted(Some(&k.written), &spaces));
                    elsewhere && later && !excepted
                })
            });
        if shared {
            return Err(Failure::new(
                Reason::ValueShared,
                "one of the values is also held in another segment, and the policy keeps a value inside one segment (rules.uniqueValues): store a credential of its own for this segment in the manager; what was projected before stays",
            ));
        }
        index.world.put_holding(secret_name, record.holding());
        Ok(())
    }

    fn unreserve(&self, secret: &ObjectName, standing: Option<SecretFacts>) {
        let mut index = self.cx.index_mut();
        index.world.remove_holding(secret);
        match (index.secrets.contains_key(secret), standing) {
            (true, Some(facts)) => index.put_secret(secret.clone(), facts),
            _ => index.remove_secret(secret),
        }
    }

    /// Creates the Secret, or replaces exactly the revision that was observed. None: the cluster is not as observed.
    async fn write(&mut self, mut secret: Secret, standing: Option<&SecretFacts>) -> Result<Option<Secret>, Failure> {
        let name = self.secret_name();
        let api: Api<Secret> = Api::namespaced(self.cx.client.clone(), &name.namespace);
        let params = PostParams { field_manager: Some(FIELD_MANAGER.into()), ..PostParams::default() };
        let result = match standing {
            None => api.create(&params, &secret).await,
            Some(facts) => {
                secret.metadata.uid = Some(facts.uid.to_string());
                secret.metadata.resource_version = Some(facts.resource_version.to_string());
                api.replace(&name.name, &params, &secret).await
            }
        };
        match (result, standing) {
            (Ok(written), _) => Ok(Some(written)),
            (Err(kube::Error::Api(status)), None) if status.code == 409 => {
                // The name is taken: by whom is seen by reading it.
                self.read_secret().await?;
                self.memory.blocked = true;
                Ok(None)
            }
            (Err(kube::Error::Api(status)), Some(_)) if status.code == 409 || status.code == 404 => {
                self.read_secret().await?;
                Ok(None)
            }
            (Err(kube::Error::Api(status)), Some(facts)) if status.code == 422 => {
                self.replace_immutable(&api, facts, &status.message).await
            }
            (Err(error), _) => Err(write_failed(&error)),
        }
    }

    /// The type of a Secret and the data of an immutable one cannot be changed. A new type is made by deleting and creating
    /// again; an immutable Secret stays.
    async fn replace_immutable(
        &mut self,
        api: &Api<Secret>,
        facts: &SecretFacts,
        message: &str,
    ) -> Result<Option<Secret>, Failure> {
        let name = self.secret_name();
        let live = api.get_opt(&name.name).await.map_err(|e| write_failed(&e))?;
        let immutable = live.as_ref().is_some_and(|s| s.immutable == Some(true));
        if immutable {
            return Err(Failure::new(
                Reason::TargetImmutable,
                "the Secret was written immutable and its content would change; nothing was written: delete this ScopedSecret and create it again under another target.name",
            ));
        }
        let retyped = live.is_some_and(|s| s.type_.as_deref().unwrap_or("Opaque") != self.spec.target_type());
        if !retyped {
            return Err(Failure::new(Reason::WriteFailed, format!("Kubernetes refused the Secret: {message}")));
        }
        self.delete(api, facts).await?;
        Ok(None)
    }

    async fn delete(&mut self, api: &Api<Secret>, facts: &SecretFacts) -> Result<(), Failure> {
        let name = self.secret_name();
        let params = DeleteParams::default().preconditions(Preconditions {
            uid: Some(facts.uid.to_string()),
            resource_version: Some(facts.resource_version.to_string()),
        });
        match api.delete(&name.name, &params).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => return Err(write_failed(&error)),
        }
        self.cx.index_mut().remove_secret(&name);
        self.memory.verified = None;
        self.read = None;
        Ok(())
    }

    /// Takes the Secret away, if a fresh look says so, too.
    async fn withdraw(&mut self, refusal: &Refusal) -> Result<(), Failure> {
        look_afresh(self.cx, &self.name.namespace).await?;
        let api: Api<ScopedSecret> = Api::namespaced(self.cx.client.clone(), &self.name.namespace);
        match api.get_opt(&self.name.name).await.map_err(|e| write_failed(&e))? {
            Some(fresh) if fresh.metadata.uid.as_deref() == Some(&*self.record.uid) => {
                if fresh.metadata.resource_version.as_deref() != Some(self.record.resource_version.as_str()) {
                    self.cx.index_mut().put_claim(&fresh);
                }
            }
            _ => return Err(Failure::new(Reason::Pending, "the ScopedSecret was deleted meanwhile")),
        }
        if !matches!(self.next_step(), Step::Withdraw(_)) {
            return Ok(());
        }
        let name = self.secret_name();
        let Some(facts) = self.cx.index().secrets.get(&name).cloned() else { return Ok(()) };
        let secrets: Api<Secret> = Api::namespaced(self.cx.client.clone(), &name.namespace);
        self.delete(&secrets, &facts).await?;
        tracing::info!(namespace = %self.name.namespace, name = %self.name.name, rule = "Claims", reason = %refusal.reason, "a Secret was withdrawn");
        self.event(EventType::Warning, Reason::Withdrawn, &refusal.message).await;
        Ok(())
    }

    /// Remembers how it went and when to look again.
    fn settle(&mut self, outcome: &Outcome) {
        let now = self.cx.now();
        let interval = self.interval();
        let attempted = self.memory.due_at.is_none_or(|at| at <= now);
        if let Outcome::Failed(failure) = outcome {
            if self.memory.failure.as_ref() != Some(failure) || attempted {
                self.memory.failures = self.memory.failures.saturating_add(1);
            }
            self.memory.failure = Some(failure.clone());
            self.memory.blocked = failure.reason == Reason::TargetConflict;
        } else if *outcome == Outcome::Current {
            self.memory.failure = None;
            self.memory.failures = 0;
        }
        let refresh = || {
            let peers = self.cx.index().claims_of_store(&self.spec.store_ref.name);
            let next = schedule::next_refresh(&self.record.uid, &self.spec.store_ref.name, interval, peers, now);
            // A first sync shortly before its tick waits for the one after.
            let soon = jiff::SignedDuration::try_from(interval / 4).unwrap_or_default();
            let fresh = self.memory.last_good.is_some_and(|good| next.duration_since(good) < soon);
            if fresh {
                schedule::next_refresh(&self.record.uid, &self.spec.store_ref.name, interval, peers, next)
            } else {
                next
            }
        };
        let next = match outcome {
            Outcome::Failed(_) => {
                let stands = self.memory.verified.is_some();
                let retry = schedule::backoff(&self.record.uid, self.memory.failures, interval, stands);
                let pending = self.memory.due_at.filter(|at| *at > now);
                Some(pending.unwrap_or_else(|| now.checked_add(retry).unwrap_or(Timestamp::MAX)))
            }
            Outcome::Current if interval.is_zero() => None,
            Outcome::Current => Some(self.memory.due_at.filter(|at| *at > now).unwrap_or_else(refresh)),
            Outcome::Refused(_) | Outcome::Undecided(_) | Outcome::Paused { .. } => None,
        };
        self.memory.due_at = next;
        self.memory.attempted.get_or_insert_with(|| (self.record.generation, self.record.refresh_at.clone()));
        let job = Job::Claim(self.name.clone());
        // A failing claim turns stale between two retries; a paused or undecided one is looked at now and then.
        let wake = match outcome {
            Outcome::Failed(_) => next.map(|at| at.min(self.stale_at(now).unwrap_or(at))),
            Outcome::Undecided(_) | Outcome::Paused { .. } => {
                let slow = now.checked_add(jiff::SignedDuration::from_secs(60)).unwrap_or(Timestamp::MAX);
                Some(slow.min(self.stale_at(now).unwrap_or(slow)))
            }
            _ => next,
        };
        match wake {
            Some(at) => {
                let wait = Duration::try_from(at.duration_since(now)).unwrap_or_default();
                self.cx.queue.add_at(job, tokio::time::Instant::now() + wait);
            }
            None => self.cx.queue.forget(&job),
        }
    }

    /// When the last good value becomes stale, if that is ahead.
    fn stale_at(&self, now: Timestamp) -> Option<Timestamp> {
        let interval = self.interval();
        let limit = jiff::SignedDuration::try_from(interval.saturating_mul(3)).ok().filter(|_| !interval.is_zero())?;
        let at =
            self.memory.last_good?.checked_add(limit).ok()?.checked_add(jiff::SignedDuration::from_secs(1)).ok()?;
        (at > now).then_some(at)
    }

    async fn report(&mut self, outcome: &Outcome) {
        let now = self.cx.now();
        let old = self.old_status();
        let secret_name = self.secret_name();
        let (segment, standing) = {
            let index = self.cx.index();
            let segment = segment_of(&self.name.namespace, &index.world).ok().map(|s| s.name().to_owned());
            let facts = index.secrets.get(&secret_name).filter(|s| {
                let sealed = s.seal.as_ref().is_ok_and(|seal| *seal.claim == *self.name.name);
                !s.deleting && (sealed || s.owner.as_deref() == Some(&*self.record.uid))
            });
            (segment, facts.cloned())
        };
        let versions = standing
            .as_ref()
            .and_then(|s| s.seal.as_ref().ok())
            .map(|seal| self.remote_versions(seal))
            .unwrap_or_default();
        let secret = standing.map(|s| {
            // A revision that was not verified is not vouched for.
            let verified = self.memory.verified.as_ref().filter(|(uid, _)| *uid == s.uid).map(|(_, rv)| rv.to_string());
            SecretRef {
                name: secret_name.name.to_string(),
                uid: s.uid.to_string(),
                resource_version: verified.unwrap_or_default(),
            }
        });
        let stale = self.memory.last_good.is_some_and(|good| schedule::is_stale(good, self.interval(), now));
        let changed = self.changed.then_some(now);
        let standing =
            status::Standing { generation: self.record.generation, segment, secret, versions, changed, stale };
        let new = status::status(outcome, standing, &old, now);
        if self.record.status.is(&new) {
            return;
        }
        if write_status(self.cx, &self.name, &self.record, &new).await {
            for (good, reason, message) in status::transitions(&old, &new) {
                let kind = if good { EventType::Normal } else { EventType::Warning };
                publish(self.cx, &self.name, &self.record, kind, reason, message).await;
            }
        }
    }

    /// The versions in a seal, under the keys as the spec writes them.
    fn remote_versions(&self, seal: &SealRecord) -> Vec<RemoteVersion> {
        let index = self.cx.index();
        let realm = index.world.stores.get(&self.spec.store_ref.name).and_then(|s| s.realm().cloned());
        let written: HashMap<CanonicalKey, &str> =
            self.spec.remote_refs().filter_map(|(key, _, _)| Some((resolve(realm.as_ref()?, key)?, key))).collect();
        let mut seen = std::collections::BTreeMap::new();
        for (key, version) in &seal.versions {
            let plain = key.aws_parts().map_or(key.as_str(), |(_, _, name)| name);
            let shown = written.get(key).copied().unwrap_or(plain);
            seen.entry(shown.to_owned()).or_insert_with(|| version.clone());
        }
        seen.into_iter().map(|(key, version_id)| RemoteVersion { key, version_id }).collect()
    }

    async fn event(&self, kind: EventType, reason: Reason, message: &str) {
        publish(self.cx, &self.name, &self.record, kind, reason.as_str(), message).await;
    }
}

enum Progress {
    Done,
    LookAgain,
}

fn resolve(realm: &Realm, key: &str) -> Option<CanonicalKey> {
    Some(realm.resolve(&RemoteKey::parse(key).ok()?).ok()?.0)
}

fn versions(answers: &[(AuthorisedKey, Arc<Answer>)]) -> Vec<(CanonicalKey, String)> {
    answers.iter().map(|(key, answer)| (key.canonical.clone(), answer.version_id.clone())).collect()
}

fn write_failed(error: &kube::Error) -> Failure {
    Failure::new(
        Reason::WriteFailed,
        format!("Kubernetes did not answer as hoped, it is tried again: {}", brief(error)),
    )
}

/// Reads policies and the namespace anew into the index: the caches may be behind, and what follows cannot be undone.
async fn look_afresh(cx: &Context, namespace: &str) -> Result<(), Failure> {
    let crds: Api<CustomResourceDefinition> = Api::all(cx.client.clone());
    let crd = crds.get_opt("segmentationpolicies.scopedsecrets.io").await.map_err(|e| write_failed(&e))?;
    if crd.is_none_or(|crd| crd.metadata.deletion_timestamp.is_some()) {
        cx.index_mut().world.policies_synced = false;
        return Err(Failure::new(Reason::PolicyUnknown, "the CRD of SegmentationPolicy is gone: nothing is withdrawn"));
    }
    super::watch::relist_policies(cx).await.map_err(|e| write_failed(&e))?;
    let namespaces: Api<Namespace> = Api::all(cx.client.clone());
    let fresh = namespaces.get_metadata_opt(namespace).await.map_err(|e| write_failed(&e))?;
    match fresh {
        Some(fresh) => super::watch::observe_namespace(cx, &fresh.metadata),
        None => return Err(Failure::new(Reason::NamespaceTerminating, "the namespace is gone")),
    }
    Ok(())
}

async fn report_broken(cx: &Context, name: &ObjectName, record: &ClaimRecord) {
    let refusal = Refusal::new(
        Reason::SpecInvalid,
        "the spec cannot be understood: it got past the CRD's checks; correct it (kubectl explain scopedsecret.spec), what was projected before stays",
    );
    let standing = status::Standing {
        generation: record.generation,
        segment: None,
        secret: None,
        versions: vec![],
        changed: None,
        stale: false,
    };
    let new = status::status(&Outcome::Refused(refusal), standing, &ScopedSecretStatus::default(), cx.now());
    if !record.status.is(&new) {
        write_status(cx, name, record, &new).await;
    }
}

/// Replaces the status of exactly the revision that was observed. Nothing but status is sent.
async fn write_status(cx: &Context, name: &ObjectName, record: &ClaimRecord, status: &ScopedSecretStatus) -> bool {
    let body = json!({
        "apiVersion": format!("{}/v1alpha1", crate::api::GROUP),
        "kind": "ScopedSecret",
        "metadata": {"name": &*name.name, "namespace": &*name.namespace, "uid": &*record.uid, "resourceVersion": record.resource_version},
        "status": status,
    });
    let path = format!(
        "/apis/{}/v1alpha1/namespaces/{}/scopedsecrets/{}/status?fieldManager={FIELD_MANAGER}",
        crate::api::GROUP,
        name.namespace,
        name.name
    );
    let request = serde_json::to_vec(&body).ok().and_then(|bytes| {
        http::Request::put(path).header(http::header::CONTENT_TYPE, "application/json").body(bytes).ok()
    });
    let Some(request) = request else { return false };
    match cx.client.request::<ScopedSecret>(request).await {
        Ok(written) => {
            let known = cx.index().claims.get(name).is_some_and(|r| r.resource_version == record.resource_version);
            if known {
                cx.index_mut().put_claim(&written);
            }
            true
        }
        Err(kube::Error::Api(status)) if status.code == 404 => false,
        Err(error) => {
            tracing::debug!(namespace = %name.namespace, name = %name.name, error = %brief(&error), "a status was not written; it is tried again");
            let wait = if matches!(&error, kube::Error::Api(s) if s.code == 409) {
                Duration::from_millis(200)
            } else {
                Duration::from_secs(2)
            };
            cx.queue.add_at(Job::Claim(name.clone()), tokio::time::Instant::now() + wait);
            false
        }
    }
}

async fn publish(cx: &Context, name: &ObjectName, record: &ClaimRecord, kind: EventType, reason: &str, message: &str) {
    let end = (0..=message.len().min(1000)).rev().find(|i| message.is_char_boundary(*i)).unwrap_or(0);
    let event = Event {
        type_: kind,
        reason: reason.to_owned(),
        note: Some(message[..end].to_owned()),
        action: "Reconcile".into(),
        secondary: None,
    };
    let about = ObjectReference {
        api_version: Some(format!("{}/v1alpha1", crate::api::GROUP)),
        kind: Some("ScopedSecret".into()),
        name: Some(name.name.to_string()),
        namespace: Some(name.namespace.to_string()),
        uid: Some(record.uid.to_string()),
        ..ObjectReference::default()
    };
    if let Some(reason) = Reason::from_text(reason) {
        cx.metrics.event(reason);
    }
    if let Err(error) = cx.recorder.publish(&event, &about).await {
        tracing::debug!(error = %brief(&error), "an event was not written");
    }
}

/// A sealed Secret whose ScopedSecret is not in the cache. Without `retain` it goes, after a fresh look; with it, it stays
/// as long as policy allows its keys.
pub async fn reconcile_orphan(cx: &Context, secret: &ObjectName) {
    let (facts, seal) = {
        let index = cx.index();
        let Some(facts) = index.secrets.get(secret).cloned() else { return };
        let Ok(seal) = facts.seal.clone() else { return };
        (facts, seal)
    };
    let claim = ObjectName { namespace: secret.namespace.clone(), name: seal.claim.as_str().into() };
    if facts.deleting || cx.index().claims.contains_key(&claim) {
        return;
    }
    let scoped: Api<ScopedSecret> = Api::namespaced(cx.client.clone(), &claim.namespace);
    if !matches!(scoped.get_opt(&claim.name).await, Ok(None)) {
        return;
    }
    if seal.retain {
        if look_afresh(cx, &secret.namespace).await.is_err() {
            return;
        }
        let index = cx.index();
        let Some(held) = index.world.holding(secret) else { return };
        let withdraw = matches!(retention(secret, held, &index.world, cx.now()), Retention::Withdraw(_));
        if !withdraw || !index.may_withdraw(index.withdrawals(cx.now())) {
            return;
        }
    } else if facts.owner.is_some() {
        // The garbage collector takes it.
        return;
    }
    let api: Api<Secret> = Api::namespaced(cx.client.clone(), &secret.namespace);
    let params = DeleteParams::default().preconditions(Preconditions {
        uid: Some(facts.uid.to_string()),
        resource_version: Some(facts.resource_version.to_string()),
    });
    match api.delete(&secret.name, &params).await {
        Ok(_) => {
            tracing::info!(namespace = %secret.namespace, name = %secret.name, "a Secret without its ScopedSecret was removed");
            cx.index_mut().remove_secret(secret);
        }
        Err(error) => {
            tracing::debug!(error = %brief(&error), "a Secret without its ScopedSecret was not removed; it is tried again")
        }
    }
}
