//! Taking a Secret away: only after a fresh look at the claim, the namespace and the policies, since it cannot be undone.

use super::plan::{Failure, Step};
use super::report::tell_consumers;
use super::write::mend;
use super::{Work, write_failed};
use crate::api::{Reason, ScopedSecret};
use crate::client::errors::brief;
use crate::controller::context::{Context, Job};
use crate::controller::events::{self, Told};
use crate::controller::guard;
use crate::controller::index::{Index, SecretFacts, Withdrawal, secret_facts};
use crate::controller::observed::{Observed, delete_observed};
use crate::controller::report::known::is_released;
use crate::controller::revocation;
use crate::controller::watch;
use crate::segmentation::authorize::{Retention, retention};
use crate::segmentation::seal::{SealKeys, SealRecord};
use crate::segmentation::verdict::Refusal;
use crate::segmentation::violation::ObjectRef;
use crate::segmentation::world::{Holding, ObjectName};
use crate::telemetry::record::{Happening, What};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::Api;
use kube::runtime::events::EventType;
use std::sync::Arc;
use std::time::Duration;

impl Work<'_> {
    /// Takes the Secret away, if a fresh look says so, too.
    pub(super) async fn withdraw(&mut self, refusal: &Refusal) -> Result<(), Failure> {
        let held = self.held();
        if !refusal.reason.is_an_end() {
            look_afresh(self.cx, &self.name.namespace, held.as_deref()).await?;
        }
        if refusal.reason == Reason::KeyRevoked {
            revocation::list_first(self.cx, &self.secret_name(), held.as_deref()).await;
        }
        let api: Api<ScopedSecret> = Api::namespaced(self.cx.client.clone(), &self.name.namespace);
        match api.get_opt(&self.name.name).await.map_err(|e| write_failed(&e))? {
            Some(fresh) if fresh.metadata.uid.as_deref() == Some(&*self.record.uid) => {
                if fresh.metadata.generation != Some(self.record.generation) {
                    watch::learn_claim(self.cx, fresh);
                    return Err(Failure::new(
                        Reason::Pending,
                        "the ScopedSecret was changed meanwhile; it is looked at again",
                    ));
                }
            }
            _ => return Err(Failure::new(Reason::Pending, "the ScopedSecret was deleted meanwhile")),
        }
        if !matches!(self.next_step(), Step::Withdraw(_)) {
            return Ok(());
        }
        let name = self.secret_name();
        let known = self.cx.index().secret(&name).cloned();
        let Some(facts) = known.or_else(|| self.read.as_ref().map(|(facts, _)| facts.clone())) else { return Ok(()) };
        let secrets: Api<Secret> = Api::namespaced(self.cx.client.clone(), &name.namespace);
        if let Err(failure) = self.delete(&secrets, &facts).await {
            if !went_all_the_same(self.cx, &secrets, &name, &facts).await? {
                return Err(failure);
            }
            (self.memory.verified, self.read) = (None, None);
        }
        self.memory.failure = None;
        forget(self.cx, &name, &facts);
        revocation::note_gone(self.cx, &name, held.as_deref());
        record_withdrawal(self.cx, &name, Some(refusal.reason), held.as_deref());
        self.memory.withdrawn = true;
        tracing::info!(namespace = %self.name.namespace, name = %self.name.name, rule = "Claims", reason = %refusal.reason, "a Secret was withdrawn");
        if let Some(held) = held {
            let rivals = self.cx.index().rivals(&name, &held);
            self.cx.retry(rivals);
        }
        self.event(EventType::Warning, Reason::Withdrawn, &refusal.message).await;
        if refusal.reason.is_an_end() {
            self.tell_consumers(refusal.reason, &refusal.message).await;
        }
        Ok(())
    }
}

/// Which Secret was observed, in which revision.
pub(super) fn observed<'a>(name: &'a ObjectName, facts: &'a SecretFacts) -> Observed<'a> {
    Observed { name: &name.name, uid: &facts.uid, revision: &facts.resource_version }
}

/// Deletes the Secret that was observed, as long as its seal and its owner are the same. False: it is another by now.
pub(super) async fn delete_secret(
    api: &Api<Secret>,
    name: &ObjectName,
    facts: &SecretFacts,
    keys: &SealKeys,
) -> kube::Result<bool> {
    let is_same = |fresh: &_| secret_facts(name, fresh, keys).is_same_but_for_others(facts);
    delete_observed(api, observed(name, facts), is_same).await
}

/// Whether a Secret is gone although its deletion failed, since the answer was lost: then it is told like any other.
async fn went_all_the_same(
    cx: &Context,
    api: &Api<Secret>,
    name: &ObjectName,
    facts: &SecretFacts,
) -> Result<bool, Failure> {
    let left = api.get_metadata_opt(&name.name).await.map_err(|e| write_failed(&e))?;
    let stands = left.is_some_and(|left| left.metadata.uid.as_deref() == Some(&*facts.uid));
    Ok(!stands && cx.leads())
}

/// Forgets a Secret that is gone. Another of its name may have been seen since.
fn forget(cx: &Context, name: &ObjectName, facts: &SecretFacts) {
    let mut index = cx.index_mut();
    if index.secret(name).is_none_or(|known| known.uid == facts.uid) {
        index.remove_secret(name);
    }
}

/// Into the record: which Secret went, why, and which versions were in it. No reason: its ScopedSecret is gone.
pub(super) fn record_withdrawal(cx: &Context, secret: &ObjectName, why: Option<Reason>, held: Option<&Holding>) {
    let (what, rule) = match why {
        Some(Reason::Expired) => (What::Expired, None),
        Some(Reason::KeyRevoked) => (What::Revoked, None),
        Some(_) => (What::Withdrawn, Some("Claims")),
        None => (What::Withdrawn, None),
    };
    let mut happening = Happening::of(what).on("Secret", secret);
    happening = rule.into_iter().fold(happening, Happening::rule);
    happening = why.into_iter().fold(happening, Happening::reason);
    let versions = held.into_iter().flat_map(|held| held.versions.iter());
    cx.record(happening.versions(versions));
}

/// Reads policies and the namespace anew into the index: the caches may be behind.
pub async fn look_afresh(cx: &Context, namespace: &str, held: Option<&Holding>) -> Result<(), Failure> {
    let crds: Api<CustomResourceDefinition> = Api::all(cx.client.clone());
    let crd = crds.get_metadata_opt("segmentationpolicies.scopedsecrets.io").await.map_err(|e| write_failed(&e))?;
    let Some(crd) = crd.filter(|crd| crd.metadata.deletion_timestamp.is_none()) else {
        return policies_unknown(cx, "the CRD of SegmentationPolicy is gone: nothing is withdrawn");
    };
    watch::relist_policies(cx).await.map_err(|e| write_failed(&e))?;
    cx.index_mut().policies_since = crd.metadata.creation_timestamp.as_ref().map(|made| made.0);
    let since = held.map(|held| held.held_since).filter(|since| *since != Timestamp::MAX);
    let made = crd.metadata.creation_timestamp.map(|made| made.0);
    let younger = since.is_none_or(|since| made.is_some_and(|made| made > since));
    if younger && cx.index().policies.is_empty() {
        let text = "the CRD of SegmentationPolicy is younger than the Secret, and there is no policy: they went with an earlier CRD, and nothing is withdrawn before one is there again";
        return policies_unknown(cx, text);
    }
    let namespaces: Api<Namespace> = Api::all(cx.client.clone());
    match namespaces.get_metadata_opt(namespace).await.map_err(|e| write_failed(&e))? {
        Some(fresh) => watch::observe_namespace(cx, &fresh.metadata, watch::View::Answer),
        None => return Err(Failure::new(Reason::NamespaceTerminating, "the namespace is gone")),
    }
    Ok(())
}

fn policies_unknown(cx: &Context, why: &str) -> Result<(), Failure> {
    cx.index_mut().set_policies_synced(false);
    Err(Failure::new(Reason::PolicyUnknown, why))
}

/// How long until an orphan is looked at again, where nothing else would bring it back.
const LATER: Duration = Duration::from_secs(60);

/// A sealed Secret that no ScopedSecret projects any more. Without `retain` it goes, after a fresh look; with it, it stays
/// as long as policy allows its keys.
pub async fn reconcile_orphan(cx: &Context, secret: &ObjectName) {
    if let Err(failure) = part_with_orphan(cx, secret).await {
        tracing::debug!(namespace = %secret.namespace, name = %secret.name, reason = %failure.reason, "a Secret without its ScopedSecret stays for now");
        cx.queue.add_at(Job::Orphan(secret.clone()), tokio::time::Instant::now() + LATER);
    }
    guard::look(cx, secret);
}

async fn part_with_orphan(cx: &Context, secret: &ObjectName) -> Result<(), Failure> {
    if cx.index().secret(secret).is_none() {
        look_for(cx, secret).await?;
    }
    if let Some(facts) = held_back(cx, secret) {
        return mend_orphan(cx, secret, &facts).await.map(drop);
    }
    let Some((mut facts, seal, is_unreadable)) = orphan(cx, secret) else { return Ok(()) };
    let api: Api<ScopedSecret> = Api::namespaced(cx.client.clone(), &secret.namespace);
    if !is_unreadable
        && let Some(claim) = api.get_opt(&seal.holding.claim).await.map_err(|e| write_failed(&e))?
        && claim.spec.target_name(&seal.holding.claim) == &*secret.name
    {
        return Err(Failure::new(Reason::Pending, "its ScopedSecret is there, and not in the cache yet"));
    }
    if !cx.leads() {
        return Ok(());
    }
    if facts.is_bent() {
        let Some(mended) = mend_orphan(cx, secret, &facts).await? else { return Ok(()) };
        facts = mended;
    }
    let judged = retention(secret, &seal.holding, &cx.index().world, cx.now());
    let refusal = if let Retention::Withdraw(why) = judged { Some(why) } else { None };
    let why = refusal.as_ref().map(|refusal| refusal.reason);
    if is_unreadable && !why.is_some_and(Reason::is_an_end) {
        return Ok(());
    }
    if why == Some(Reason::KeyRevoked) {
        revocation::list_first(cx, secret, Some(&seal.holding)).await;
    }
    if seal.holding.retain {
        if !why.is_some_and(Reason::is_an_end) {
            look_afresh(cx, &secret.namespace, Some(&seal.holding)).await?;
        }
        let index = cx.index();
        let Some(held) = index.world.holding(secret) else { return Ok(()) };
        let Retention::Withdraw(why) = retention(secret, held, &index.world, cx.now()) else { return Ok(()) };
        if is_paused(cx, &index, secret, held, &why) {
            return Err(Failure::new(Reason::WithdrawalPaused, "many Secrets would be withdrawn for this cause"));
        }
    }
    let api: Api<Secret> = Api::namespaced(cx.client.clone(), &secret.namespace);
    let Some(keys) = cx.keys() else { return Ok(()) };
    // Its ScopedSecret is not there to say who they are, and the guard forgets it with the Secret.
    let consumers = cx.guards.said(&secret.namespace, &secret.name).unwrap_or_default();
    let deleted = delete_secret(&api, secret, &facts, &keys).await;
    match deleted.map_err(|error| Failure::new(Reason::WriteFailed, brief(&error))) {
        Ok(true) => {}
        Ok(false) => {
            let text = "the Secret has changed meanwhile; it is looked at again";
            return Err(Failure::new(Reason::WriteFailed, text));
        }
        Err(failure) => {
            if !went_all_the_same(cx, &api, secret, &facts).await? {
                return Err(failure);
            }
        }
    }
    record_withdrawal(cx, secret, why, Some(&seal.holding));
    tracing::info!(namespace = %secret.namespace, name = %secret.name, "a Secret without its ScopedSecret was removed");
    forget(cx, secret, &facts);
    revocation::note_gone(cx, secret, Some(&seal.holding));
    let rivals = cx.index().rivals(secret, &seal.holding);
    cx.retry(rivals);
    tell_of_orphan(cx, secret, &facts, refusal.as_ref()).await;
    if let Some(end) = refusal.filter(|refusal| refusal.reason.is_an_end()) {
        let claim = ObjectName::of(secret.namespace.clone(), seal.holding.claim.clone());
        let consumers: Vec<&str> = consumers.iter().map(String::as_str).collect();
        tell_consumers(cx, &claim, &consumers, end.reason, &end.message).await;
    }
    Ok(())
}

/// An event of the Secret itself: its ScopedSecret is not there to be told of.
async fn tell_of_orphan(cx: &Context, secret: &ObjectName, facts: &SecretFacts, why: Option<&Refusal>) {
    let about = ObjectRef {
        api_version: "v1".into(),
        kind: "Secret".into(),
        namespace: Some(secret.namespace.clone()),
        name: secret.name.to_string(),
    };
    let (type_, message) = match why {
        Some(why) => (EventType::Warning, why.message.as_str()),
        None => (EventType::Normal, "its ScopedSecret is gone, and so is what was projected for it"),
    };
    let reason = Reason::Withdrawn.as_str();
    let told = Told { about: &about, uid: Some(&facts.uid), type_, reason, action: "Reconcile", message };
    events::publish(cx, told).await;
}

/// Whether the withdrawal of a Secret that outlived its ScopedSecret waits for somebody's word.
pub fn is_paused(cx: &Context, index: &Index, secret: &ObjectName, held: &Holding, why: &Refusal) -> bool {
    let since = Some(held.held_since).filter(|since| *since != Timestamp::MAX);
    let ask = Withdrawal { count: cx.pending_withdrawals(index), why, since, waits: false };
    !index.may_withdraw(&ask) && !is_released(cx, index, secret)
}

/// A sealed Secret that nobody owns or claims. Its ScopedSecret may be there and not be understood (true): that claims nothing, and only
/// an end takes its Secret away.
fn orphan(cx: &Context, secret: &ObjectName) -> Option<(SecretFacts, Arc<SealRecord>, bool)> {
    let index = cx.index();
    let facts = index.secret(secret)?.clone();
    let seal = facts.seal.clone().ok()?;
    let claimed = index.claims_for(secret).any(|claim| claim.name == seal.holding.claim);
    let claim = ObjectName::of(secret.namespace.clone(), seal.holding.claim.clone());
    let unreadable = index.claims.get(&claim).filter(|record| record.spec.is_none());
    // With an owner it is the garbage collector's, or its living ScopedSecret's.
    let owned = |owner: &str| unreadable.is_none_or(|record| *record.uid != *owner);
    let is_unreadable = unreadable.is_some();
    (!facts.deleting && !claimed && !facts.owner.as_deref().is_some_and(owned)).then_some((facts, seal, is_unreadable))
}

/// A sealed Secret without its ScopedSecret that is going, and that somebody's finalizer keeps readable.
fn held_back(cx: &Context, secret: &ObjectName) -> Option<SecretFacts> {
    let index = cx.index();
    let facts = index.secret(secret).filter(|facts| facts.deleting && facts.held_back && facts.seal.is_ok())?;
    index.claims_for(secret).next().is_none().then(|| facts.clone())
}

/// A Secret that is not seen any more: it may only have lost our label. If it is gone, so is its claim to the keys.
async fn look_for(cx: &Context, secret: &ObjectName) -> Result<(), Failure> {
    let Some(keys) = cx.keys() else { return Ok(()) };
    let api: Api<Secret> = Api::namespaced(cx.client.clone(), &secret.namespace);
    let found = api.get_metadata_opt(&secret.name).await.map_err(|e| write_failed(&e))?;
    let facts = found.map(|found| secret_facts(secret, &found.metadata, &keys));
    match facts.filter(|facts| facts.seal.is_ok()) {
        Some(facts) => cx.index_mut().learn_secret(secret.clone(), facts, cx.now()),
        None => {
            let waiting = cx.index_mut().give_up(secret);
            cx.retry(waiting);
        }
    }
    Ok(())
}

/// Puts an orphan's metadata right: what is known of it then. None: it is not as it was observed.
async fn mend_orphan(cx: &Context, name: &ObjectName, known: &SecretFacts) -> Result<Option<SecretFacts>, Failure> {
    let Some(keys) = cx.keys() else { return Ok(None) };
    let facts = |secret: &Secret| secret_facts(name, &secret.metadata, &keys);
    let api: Api<Secret> = Api::namespaced(cx.client.clone(), &name.namespace);
    let read = api.get_opt(&name.name).await.map_err(|e| write_failed(&e))?;
    let Some(secret) = read.filter(|secret| facts(secret).revision() == known.revision()) else { return Ok(None) };
    let Some(mended) = mend(cx, secret).await? else { return Ok(None) };
    let mended = facts(&mended);
    cx.index_mut().learn_secret(name.clone(), mended.clone(), cx.now());
    Ok(Some(mended))
}
