//! Remembering how it went, when to look again, and telling it: status and events.

use super::plan::{Failure, Outcome};
use super::withdraw::record_withdrawal;
use super::{Work, status};
use crate::api::condition::Wanted;
use crate::api::scoped_secret::{RemoteVersion, ScopedSecretStatus, SecretRef};
use crate::api::{FIELD_MANAGER, GROUP, Reason, ScopedSecret, ScopedSecretSpec};
use crate::client::errors::brief;
use crate::controller::context::{Context, Job, Memory};
use crate::controller::events::{self, Told};
use crate::controller::index::ClaimRecord;
use crate::controller::{restart, revocation, schedule};
use crate::segmentation::authorize::segment_of;
use crate::segmentation::key::{CanonicalKey, Realm, RemoteKey};
use crate::segmentation::seal::SealRecord;
use crate::segmentation::verdict::Refusal;
use crate::segmentation::violation::ObjectRef;
use crate::segmentation::world::{Holding, KeyVersion, ObjectName};
use crate::telemetry::record::{Happening, What};
use jiff::{SignedDuration, Timestamp};
use kube::api::DynamicObject;
use kube::runtime::events::EventType;
use serde_json::json;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

/// How long an outcome that time alone does not mend is left alone.
const SLOW: SignedDuration = SignedDuration::from_secs(60);

/// A withdrawal that fails is tried again within this, however long its ScopedSecret's refreshInterval is.
const WITHDRAWN_WITHIN: Duration = Duration::from_secs(300);

/// When it is told that a claim ends: a tenth of its time ahead, and at most a day.
pub fn warning_of(end: Timestamp, created: Timestamp) -> Timestamp {
    let ahead = (end.duration_since(created) / 10).clamp(SignedDuration::ZERO, SignedDuration::from_hours(24));
    end.checked_sub(ahead).unwrap_or(end)
}

impl Work<'_> {
    /// Remembers how it went and when to look again.
    pub(super) fn settle(&mut self, outcome: &Outcome) {
        let now = self.cx.now();
        let attempted = self.memory.due_at.is_none_or(|at| at <= now);
        match outcome {
            Outcome::Failed(failure) | Outcome::Stuck { failure, .. } => {
                if self.memory.failure.as_deref() != Some(failure) || attempted {
                    self.memory.failures = self.memory.failures.saturating_add(1);
                }
                self.memory.failure = Some(failure.clone().into());
            }
            Outcome::Current => {
                self.memory.failure = None;
                self.memory.failures = 0;
            }
            Outcome::Refused(_) | Outcome::Undecided(_) | Outcome::Paused { .. } => {}
        }
        self.memory.undecided = matches!(outcome, Outcome::Refused(_) | Outcome::Undecided(_) | Outcome::Paused { .. });
        self.give_up(outcome);
        self.memory.due_at = self.next_due(outcome, now);
        let slow = now.checked_add(SLOW).unwrap_or(Timestamp::MAX);
        let wake = match outcome {
            // A failing claim turns stale between two retries.
            Outcome::Failed(_) | Outcome::Stuck { .. } => {
                self.memory.due_at.map(|at| at.min(self.stale_at(now).unwrap_or(at)))
            }
            Outcome::Undecided(_) | Outcome::Paused { .. } => Some(slow.min(self.stale_at(now).unwrap_or(slow))),
            // The owner's going away is told by its Secret; this is for what slips through.
            Outcome::Refused(refusal) if refusal.reason == Reason::KeyClaimed => Some(slow),
            Outcome::Refused(_) => None,
            Outcome::Current => self.memory.due_at,
        };
        let ahead = |at: &Timestamp| *at > now;
        let ends = self.ends().map(Timestamp::from).into_iter().flat_map(|end| [end, warning_of(end, self.created())]);
        // What is over and could not be ended is retried like any other failure.
        let rotation = match outcome {
            Outcome::Failed(_) | Outcome::Stuck { .. } => self.rotation_wake().filter(ahead),
            _ => self.rotation_wake().map(|at| at.max(now.checked_add(SignedDuration::from_secs(1)).unwrap_or(now))),
        };
        let wake = wake.into_iter().chain(ends.filter(ahead)).chain(rotation).min();
        let job = Job::Claim(self.name.clone());
        match wake {
            Some(at) => {
                let wait = Duration::try_from(at.duration_since(now)).unwrap_or_default();
                self.cx.queue.add_at(job, tokio::time::Instant::now() + wait);
            }
            None => self.cx.queue.forget(&job),
        }
    }

    /// Whose Secret was looked for and is not there holds no key that it is refused, or does not name.
    fn give_up(&self, outcome: &Outcome) {
        let open = matches!(outcome, Outcome::Undecided(_) | Outcome::Paused { .. });
        if !self.memory.searched || open {
            return;
        }
        let name = self.secret_name();
        let mut index = self.cx.index_mut();
        let named = index.world.claim(&self.name).map(|claim| index.world.canonical_keys(claim)).unwrap_or_default();
        // What was revoked is held by nobody once its Secret is not there.
        let is_revoked = |failure: &Failure| failure.reason == Reason::KeyRevoked;
        let refused = matches!(outcome, Outcome::Refused(_))
            || matches!(outcome, Outcome::Failed(failure) | Outcome::Stuck { failure, .. } if is_revoked(failure));
        let lost = |held: &Holding| refused || held.keys().any(|key| !named.contains(key));
        if index.world.holding(&name).is_some_and(|held| held.claim == self.name.name && lost(held)) {
            let held = index.world.holding(&name).cloned();
            let waiting = index.give_up(&name);
            drop(index);
            revocation::note_gone(self.cx, &name, held.as_deref());
            self.cx.retry(waiting);
        }
    }

    /// When the manager is asked next.
    fn next_due(&self, outcome: &Outcome, now: Timestamp) -> Option<Timestamp> {
        let interval = self.interval();
        let ahead = self.memory.due_at.filter(|at| *at > now);
        match outcome {
            Outcome::Failed(_) | Outcome::Stuck { .. } => {
                let stands = self.memory.verified.is_some();
                let within = match outcome {
                    Outcome::Stuck { .. } if interval.is_zero() => WITHDRAWN_WITHIN,
                    Outcome::Stuck { .. } => interval.min(WITHDRAWN_WITHIN),
                    _ => interval,
                };
                let retry = schedule::backoff(&self.record.uid, self.memory.failures, within, stands);
                // What failed without the manager, such as a withdrawal, does not wait for its next refresh.
                ahead.into_iter().chain(now.checked_add(retry).ok()).min()
            }
            // Nobody asks for it but its rotation.
            Outcome::Current if interval.is_zero() => ahead.filter(|_| self.spec.rotation.is_some()),
            Outcome::Current => Some(ahead.unwrap_or_else(|| self.next_refresh(interval, now))),
            // What comes due meanwhile is done once it may be.
            Outcome::Refused(_) | Outcome::Undecided(_) | Outcome::Paused { .. } => self.memory.due_at,
        }
    }

    fn next_refresh(&self, interval: Duration, now: Timestamp) -> Timestamp {
        let after = |at| self.tick_after(interval, at);
        let next = after(now);
        // A first sync shortly before its tick waits for the one after.
        let short = SignedDuration::try_from(interval / 4).unwrap_or_default();
        let fresh = self.changed && next.duration_since(now) < short;
        if fresh { after(next) } else { next }
    }

    /// The first tick after a time.
    pub(super) fn tick_after(&self, interval: Duration, at: Timestamp) -> Timestamp {
        let store = &self.spec.store_ref.name;
        let peers = self.cx.index().claims_of_store(store);
        schedule::next_refresh(&self.record.uid, store, interval, peers, at)
    }

    /// When the last good value becomes stale, if that is ahead.
    fn stale_at(&self, now: Timestamp) -> Option<Timestamp> {
        let interval = self.interval();
        let limit = SignedDuration::try_from(interval.saturating_mul(3))
            .ok()
            .filter(|_| !interval.is_zero() && !self.spec.immutable())?;
        let at = self.memory.last_good?.checked_add(limit).ok()?.checked_add(SignedDuration::from_secs(1)).ok()?;
        (at > now).then_some(at)
    }

    pub(super) async fn report(&mut self, outcome: &Outcome) {
        let now = self.cx.now();
        self.warn_of_end(now).await;
        let old = self.record.status.recall();
        let secret_name = self.secret_name();
        let (segment, standing) = {
            let index = self.cx.index();
            let segment = segment_of(&self.name.namespace, &index.world).ok().map(|s| s.name().to_owned());
            let facts = index.secrets.get(&secret_name).filter(|s| {
                let sealed = s.seal.as_ref().is_ok_and(|seal| seal.holding.claim == self.name.name);
                // Without a readable seal, what status has spoken of before still stands.
                let told = self.record.status.secret() == Some(s.revision());
                let owned = s.owner.as_deref() == Some(&*self.record.uid);
                !s.deleting && (sealed || (owned && told) || s.is_told_by(&self.record.status))
            });
            (segment, facts.cloned())
        };
        let seal = standing.as_ref().and_then(|s| s.seal.as_ref().ok());
        let outdated = seal.is_some_and(|seal| !self.spec_digests.contains(&seal.spec));
        let versions = seal.map(|seal| self.remote_versions(seal)).unwrap_or_default();
        let rollout = seal.filter(|_| self.spec.restarts()).map(|seal| restart::condition(self.cx, &self.name, seal));
        let held_up = rollout.clone().filter(|rollout| status::held_up(Some(rollout)).is_some());
        let rotation_seal = seal.cloned();
        let secret = standing.map(|s| {
            // A revision that was not verified is not vouched for.
            let verified = self.memory.verified == Some(s.revision());
            let resource_version = if verified { s.resource_version.to_string() } else { String::new() };
            SecretRef { name: secret_name.name.to_string(), uid: s.uid.to_string(), resource_version }
        });
        let (next, last) = self.rotation_times(rotation_seal.as_deref());
        let rotation = self.rotating.condition.clone().map(|condition| status::Rotation { condition, next, last });
        // What is written once is not refreshed.
        let stale = self.memory.last_good.is_some_and(|good| schedule::is_stale(good, self.interval(), now));
        let stale = stale && !self.spec.immutable();
        let standing = status::Standing {
            generation: self.record.generation,
            segment,
            secret,
            versions,
            changed: self.memory.last_change,
            stale,
            outdated,
            rollout,
            rotation,
        };
        let new = status::status(outcome, standing, &old, now);
        if self.record.status.is(&new) {
            return;
        }
        if !self.cx.leads() {
            return;
        }
        // Before status says it: whoever comes after sees in status that there is nothing to say.
        self.record_refusal(&old, &new, now);
        let had = self.record.status.secret().is_some();
        let gone = had && new.secret_ref.is_none() && self.cx.index().secret(&secret_name).is_none();
        match outcome {
            Outcome::Refused(why) if gone => self.make_up_for_withdrawal(why.reason, &why.message).await,
            Outcome::Failed(why) if gone && why.reason == Reason::KeyRevoked => {
                self.make_up_for_withdrawal(why.reason, &why.message).await;
            }
            _ => self.note(|memory| memory.withdrawn = false),
        }
        if write_status(self.cx, &self.name, &self.record, &new).await {
            for (good, reason, message) in status::transitions(&old, &new) {
                let kind = if good { EventType::Normal } else { EventType::Warning };
                publish(self.cx, &self.name, &self.record, kind, reason, message).await;
            }
            self.tell_held_up(held_up, &new).await;
        }
    }

    /// An event when a rollout comes to need somebody: a condition that has another reason tells that in its message alone.
    async fn tell_held_up(&mut self, rollout: Option<Wanted>, new: &ScopedSecretStatus) {
        let (known, reason) = (self.memory.held_up, status::held_up(rollout.as_ref()));
        if known == reason {
            return;
        }
        self.note(|memory| memory.held_up = reason);
        if let Some(rollout) = rollout.filter(|rollout| !status::says(new, rollout.reason)) {
            self.event(EventType::Warning, rollout.reason, &rollout.message).await;
        }
    }

    /// Remembers what is told: a report comes after everything else was remembered.
    fn note(&mut self, note: impl Fn(&mut Memory)) {
        note(&mut self.memory);
        if let Some(kept) = self.cx.memory().get_mut(&self.name) {
            note(kept);
        }
    }

    /// Who took the Secret away, and was killed before it said so, has left that to whoever comes after: at least once.
    async fn make_up_for_withdrawal(&mut self, why: Reason, message: &str) {
        if self.memory.withdrawn {
            return;
        }
        self.note(|memory| memory.withdrawn = true);
        record_withdrawal(self.cx, &self.secret_name(), Some(why), None);
        if why.is_an_end() {
            self.tell_consumers(why, message).await;
        }
    }

    /// Into the record, once: that policy does not allow it what it asks for. That may be as often as somebody likes, and is counted then.
    fn record_refusal(&mut self, old: &ScopedSecretStatus, new: &ScopedSecretStatus, now: Timestamp) {
        let news = newly_refused(old, new);
        let told = self.memory.refusal;
        if told != news {
            self.note(|memory| memory.refusal = news);
        }
        if let Some(reason) = news.filter(|reason| told != Some(*reason)) {
            let claim = Happening::of(What::ClaimRefused).on("ScopedSecret", &self.name);
            self.cx.record.deny(now, claim.rule("Claims").reason(reason));
        }
    }

    /// The versions in a seal, as status tells them.
    pub(super) fn remote_versions(&self, seal: &SealRecord) -> Vec<RemoteVersion> {
        let realm = self.cx.index().world.stores.get(&self.spec.store_ref.name).and_then(|s| s.realm().cloned());
        told_versions(&self.spec, &seal.holding.versions, realm.as_ref())
    }

    pub(super) fn created(&self) -> Timestamp {
        self.cx.index().world.claim(&self.name).map_or(Timestamp::MIN, |claim| claim.created)
    }

    /// Once, when the end is near, or was set near: to the ScopedSecret and its consumers.
    async fn warn_of_end(&mut self, now: Timestamp) {
        let Some(end) =
            self.ends().map(Timestamp::from).filter(|end| *end > now && self.memory.warned_of != Some(*end))
        else {
            return;
        };
        let at = warning_of(end, self.created());
        if now < at {
            return;
        }
        self.note(|memory| memory.warned_of = Some(end));
        let text = format!(
            "the claim ends at {end}, and its Secret {:?} then goes: set a later spec.ttl or spec.expirationTime if the workload still needs it",
            &*self.secret_name().name
        );
        self.event(EventType::Warning, Reason::ExpiresSoon, &text).await;
        self.tell_consumers(Reason::ExpiresSoon, &text).await;
    }

    /// An event of each consumer.
    pub(super) async fn tell_consumers(&self, reason: Reason, message: &str) {
        let consumers: Vec<&str> = self.spec.consumers.iter().map(|c| c.service_account_name.as_str()).collect();
        tell_consumers(self.cx, &self.name, &consumers, reason, message).await;
    }

    pub(super) async fn event(&self, kind: EventType, reason: Reason, message: &str) {
        publish(self.cx, &self.name, &self.record, kind, reason.as_str(), message).await;
    }
}

/// An event of each of these consumers of a ScopedSecret, which may be gone.
pub(super) async fn tell_consumers(
    cx: &Context,
    claim: &ObjectName,
    consumers: &[&str],
    reason: Reason,
    message: &str,
) {
    let message = format!("ScopedSecret {:?}: {message}", &*claim.name);
    for consumer in consumers {
        let about = ObjectRef {
            api_version: "v1".into(),
            kind: "ServiceAccount".into(),
            namespace: Some(claim.namespace.clone()),
            name: (*consumer).to_owned(),
        };
        let (reason, type_) = (reason.as_str(), EventType::Warning);
        let told = Told { about: &about, uid: None, type_, reason, action: "Reconcile", message: &message };
        events::publish(cx, told).await;
    }
}

/// Why policy does not allow it what it asks for, if that is new. Pure.
fn newly_refused(old: &ScopedSecretStatus, new: &ScopedSecretStatus) -> Option<Reason> {
    let refused = |status: &ScopedSecretStatus| {
        let authorized = status.conditions.iter().find(|c| c.type_ == "Authorized" && c.status == "False");
        authorized.and_then(|c| Reason::from_text(&c.reason))
    };
    refused(new).filter(|reason| refused(old) != Some(*reason))
}

/// The versions that are held, under the keys as the spec writes them. A key that it names no more has its name, or, where the store
/// does not reach it, is written whole: by its name it would be another.
fn told_versions(spec: &ScopedSecretSpec, held: &[KeyVersion], realm: Option<&Realm>) -> Vec<RemoteVersion> {
    let resolved = |key| Some((resolve(realm?, key)?, key));
    let written: HashMap<CanonicalKey, &str> = spec.remote_refs().filter_map(|(key, ..)| resolved(key)).collect();
    let mut shown = BTreeMap::new();
    for KeyVersion { key, id, .. } in held {
        let name = match realm {
            Some(realm) => key.name_within(realm),
            None => key.aws_parts().map(|(.., name)| name),
        };
        let key = written.get(key).copied().or(name).unwrap_or(key.as_str());
        shown.entry(key.to_owned()).or_insert_with(|| id.to_string());
    }
    shown.into_iter().map(|(key, version_id)| RemoteVersion { key, version_id }).collect()
}

fn resolve(realm: &Realm, key: &str) -> Option<CanonicalKey> {
    Some(realm.resolve(&RemoteKey::parse(key).ok()?).ok()?.0)
}

/// A ScopedSecret that cannot be decoded: said once.
pub(super) async fn broken(cx: &Context, name: &ObjectName, record: &ClaimRecord) {
    let text = "the spec cannot be understood: it got past the CRD's checks; correct it (kubectl explain scopedsecret.spec), what was projected before stays";
    let outcome = Outcome::Refused(Refusal::new(Reason::SpecInvalid, text));
    let generation = record.generation;
    let standing = status::Standing { generation, ..status::Standing::default() };
    let new = status::status(&outcome, standing, &ScopedSecretStatus::default(), cx.now());
    if !record.status.is(&new) {
        write_status(cx, name, record, &new).await;
    }
}

/// So long at most a status waits that could not be written, for want of the object's event or because it is refused.
const CONFLICTS_WAIT: Duration = Duration::from_secs(60);

/// Counts a conflict or a refusal, or begins anew; how many there were in a row.
fn note_conflict(cx: &Context, name: &ObjectName, there_was: bool) -> u32 {
    let mut memory = cx.memory();
    let conflicts = memory.get_mut(name).map(|memory| {
        memory.conflicts = if there_was { memory.conflicts.saturating_add(1) } else { 0 };
        memory.conflicts
    });
    conflicts.unwrap_or(1)
}

/// Replaces the status of exactly the revision that was observed. Nothing but status is sent.
async fn write_status(cx: &Context, name: &ObjectName, record: &ClaimRecord, status: &ScopedSecretStatus) -> bool {
    if !cx.leads() {
        return false;
    }
    let body = json!({
        "apiVersion": format!("{GROUP}/v1alpha1"),
        "kind": "ScopedSecret",
        "metadata": {"name": &*name.name, "namespace": &*name.namespace, "uid": &*record.uid, "resourceVersion": record.resource_version},
        "status": status,
    });
    let path = format!(
        "/apis/{GROUP}/v1alpha1/namespaces/{}/scopedsecrets/{}/status?fieldManager={FIELD_MANAGER}",
        name.namespace, name.name
    );
    let build =
        |bytes| http::Request::put(path).header(http::header::CONTENT_TYPE, "application/json").body(bytes).ok();
    let Some(request) = serde_json::to_vec(&body).ok().and_then(build) else { return false };
    let wait = match cx.client.request::<DynamicObject>(request).await {
        Ok(written) => {
            let written = written.try_parse::<ScopedSecret>();
            // Under one lock: an edit that is seen meanwhile is newer.
            let mut index = cx.index_mut();
            let known = index.claims.get(name).is_some_and(|r| r.resource_version == record.resource_version);
            if let (true, Ok(written)) = (known, written) {
                index.put_claim(&written);
            }
            drop(index);
            note_conflict(cx, name, false);
            return true;
        }
        Err(kube::Error::Api(status)) if status.code == 404 => return false,
        // The object has changed: its event is on the way and queues it again. While the watch is behind, it may take a while.
        Err(kube::Error::Api(status)) if status.code == 409 => {
            let wait = schedule::backoff(&record.uid, note_conflict(cx, name, true), CONFLICTS_WAIT, true);
            wait.max(Duration::from_millis(600))
        }
        Err(error) => {
            tracing::debug!(namespace = %name.namespace, name = %name.name, error = %brief(&error), "a status was not written; it is tried again");
            // Whoever refuses it may do so for long.
            let refused =
                matches!(error, kube::Error::Api(_)).then(|| note_conflict(cx, name, true)).unwrap_or_default();
            schedule::backoff(&record.uid, refused, CONFLICTS_WAIT, true).max(Duration::from_secs(5))
        }
    };
    cx.queue.add_at(Job::Claim(name.clone()), tokio::time::Instant::now() + wait);
    false
}

async fn publish(cx: &Context, name: &ObjectName, record: &ClaimRecord, kind: EventType, reason: &str, message: &str) {
    let about = ObjectRef {
        api_version: format!("{GROUP}/v1alpha1"),
        kind: "ScopedSecret".into(),
        namespace: Some(name.namespace.clone()),
        name: name.name.to_string(),
    };
    let uid = Some(&*record.uid);
    events::publish(cx, Told { about: &about, uid, type_: kind, reason, action: "Reconcile", message }).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_new_once() {
        let status = |status: &str, reason: &str| {
            let condition = json!({"type": "Authorized", "status": status, "reason": reason, "message": "",
                "lastTransitionTime": "2026-01-01T00:00:00Z"});
            serde_json::from_value::<ScopedSecretStatus>(json!({"conditions": [condition]})).unwrap()
        };
        let (none, allowed) = (ScopedSecretStatus::default(), status("True", "Allowed"));
        let (refused, revoked) = (status("False", "KeyNotAllowed"), status("False", "KeyRevoked"));
        assert_eq!(newly_refused(&none, &refused), Some(Reason::KeyNotAllowed));
        assert_eq!(newly_refused(&allowed, &refused), Some(Reason::KeyNotAllowed));
        assert_eq!(newly_refused(&refused, &revoked), Some(Reason::KeyRevoked));
        assert_eq!(newly_refused(&refused, &refused), None);
        assert_eq!(newly_refused(&refused, &allowed), None);
        assert_eq!(newly_refused(&refused, &none), None);
    }

    #[test]
    fn a_key_that_is_named_no_more_is_not_told_as_another() {
        let realm = Realm::Aws { account: "123456789012".into(), region: "eu-west-1".into() };
        let directory = Realm::File { path: "/etc/secrets".into() };
        let arn = "arn:aws:secretsmanager:eu-west-1:999999999999:secret:a/b-AbC12x";
        let (own, foreign) = ("aws:123456789012:eu-west-1:a/b", "aws:999999999999:eu-west-1:a/b");
        for (spec, held, realm, told) in [
            ("a/b", own, Some(&realm), "a/b"),
            (arn, foreign, Some(&realm), arn),
            ("other", own, Some(&realm), "a/b"),
            ("other", foreign, Some(&realm), foreign),
            ("a/b", foreign, Some(&realm), foreign),
            ("a/b", own, None, "a/b"),
            ("other", "file:/etc/secrets/a/b", Some(&directory), "a/b"),
            ("other", "file:/etc/others/a/b", Some(&directory), "file:/etc/others/a/b"),
        ] {
            let reference = json!({"secretKey": "a", "remoteRef": {"key": spec}});
            let spec: ScopedSecretSpec =
                serde_json::from_value(json!({"storeRef": {"name": "aws"}, "data": [reference]})).unwrap();
            let held = [KeyVersion::undated(CanonicalKey::from_sealed(held), "v1")];
            let shown = told_versions(&spec, &held, realm);
            assert_eq!(shown, [RemoteVersion { key: told.to_owned(), version_id: "v1".to_owned() }]);
        }
    }

    #[test]
    fn a_warning_comes_a_tenth_ahead_and_at_most_a_day() {
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        let hours = |n: i64| n * 3_600;
        for (lasts, ahead) in [(hours(720), hours(24)), (hours(10), hours(1)), (60, 6), (0, 0), (-5, 0)] {
            assert_eq!(warning_of(at(lasts), at(0)), at(lasts - ahead), "{lasts} s");
        }
        assert_eq!(warning_of(Timestamp::MAX, Timestamp::MIN), Timestamp::MAX - SignedDuration::from_hours(24));
    }
}
