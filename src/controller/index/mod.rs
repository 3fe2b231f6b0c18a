//! What every replica keeps of the cluster: compact records, no full objects.
//!
//! The watches write it; admission and reconcile read it. Each write says which claims it may have changed.

mod acceptance;
mod facts;

pub use acceptance::{Acceptance, Settled, Withdrawal, pause_threshold};
pub use facts::{
    ClaimRecord, OnDemand, PolicyFacts, Revision, SecretFacts, accept_violations, annotation, claim_of, is_controller,
    object_name, remembered, secret_facts,
};

use super::grant::Grants;
use super::report::known::Known;
use super::revocation;
use super::scoped_secret::told::Told;
use crate::api::policy::{Exclusivity, ModalRule};
use crate::api::{Reason, ScopedSecret};
use crate::rotation::triggers::Triggers;
use crate::segmentation::access::jurisdiction::{Jurisdiction, Jurisdictions};
use crate::segmentation::access::{Access, RbacName};
use crate::segmentation::authorize::segment_of;
use crate::segmentation::key::CanonicalKey;
use crate::segmentation::policy::Policy;
use crate::segmentation::seal::BrokenSeal;
use crate::segmentation::second::Second;
use crate::segmentation::world::{Claim, Holding, ObjectName, PolicyState, StoreState, World};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

/// Jurisdictions, and the state of their causes that they were made from.
type KnownJurisdictions = ((u64, bool), Arc<Jurisdictions>);

/// Everything that is kept.
#[derive(Default)]
pub struct Index {
    /// What decides.
    pub world: World,
    /// Roles and bindings.
    pub access: Access,
    /// Rotations that are asked for beside the schedule and rotate-at.
    pub triggers: Triggers,
    /// Policies by name.
    pub policies: BTreeMap<String, PolicyFacts>,
    /// KeyRevocations by name.
    pub revocations: BTreeMap<String, revocation::Known>,
    /// The uids of KeyRevocations that were lifted, by name, until an event tells of it.
    pub lifted: BTreeMap<String, Vec<String>>,
    /// SecretGrants, and what was made for them.
    pub grants: Grants,
    /// SegmentationReports by name.
    pub reports: BTreeMap<String, Known>,
    /// ScopedSecrets. Boxed, like all that is kept of each: a table has up to two places for each entry.
    pub claims: HashMap<ObjectName, Box<ClaimRecord>>,
    /// Managed Secrets.
    pub secrets: HashMap<ObjectName, Box<SecretFacts>>,
    /// Whether every managed Secret that exists has been seen.
    pub secrets_synced: bool,
    /// Secrets that a later listing showed as they were before, or that were not known any more: somebody put etcd back to an earlier
    /// state, or they came while nothing was seen. What the manager has now is asked for.
    pub put_back: BTreeSet<ObjectName>,
    /// Whether every namespace that is served has been seen.
    pub namespaces_synced: bool,
    /// Secrets that are being written: what they hold is what will be.
    reserved: BTreeSet<ObjectName>,
    /// Since when there has been the kind SegmentationPolicy, as last looked at.
    pub policies_since: Option<Timestamp>,
    /// Who was seen to go. The Secrets of a ScopedSecret among them are the garbage collector's.
    pub gone: Gone,
    /// Violations accepted by a policy that was deleted since: the number on its last state.
    pub accepted_deletion: Option<usize>,
    /// Revisions of namespaces, so that an older view does not come back.
    pub namespace_revisions: HashMap<Arc<str>, Box<str>>,
    /// metadata.uid of namespaces: one that was made again under its name is another.
    pub namespace_uids: HashMap<Arc<str>, Box<str>>,
    /// How often each was seen to change its segment, if it ever did.
    pub namespace_moves: HashMap<Arc<str>, u32>,
    /// The segment that each was last seen to leave.
    namespace_left: HashMap<Arc<str>, Box<str>>,
    /// How far acceptances are, by policy, with the value.
    acceptances: BTreeMap<String, (String, Acceptance)>,
    /// Counts what may cause withdrawals: changes of policies, namespaces and stores.
    causes: u64,
    /// Counts what decides about values of several segments: changes of policies, and exceptions that begin or end.
    pub comparisons: u64,
    per_store: HashMap<Arc<str>, usize>,
    /// Which policies speak for which namespaces, for a state of the causes.
    jurisdictions: Mutex<Option<KnownJurisdictions>>,
}

/// What was seen to go, the last of it, by uid and the revision of that: an answer that was under way meanwhile does not bring it
/// back. What has only left a watch, by its label, is there at that revision.
#[derive(Debug, Default)]
pub struct Gone(VecDeque<(Box<str>, Box<str>)>);

impl Gone {
    /// So many are remembered.
    const LIMIT: usize = 4096;

    /// Notes one.
    pub fn note(&mut self, metadata: &ObjectMeta) {
        let text = |text: &Option<String>| text.as_deref().unwrap_or_default().into();
        self.put(text(&metadata.uid), text(&metadata.resource_version));
    }

    /// Notes one whose end was seen by its absence.
    pub fn note_absence(&mut self, uid: &str) {
        self.put(uid.into(), Box::default());
    }

    fn put(&mut self, uid: Box<str>, revision: Box<str>) {
        if self.0.len() >= Self::LIMIT {
            self.0.pop_front();
        }
        self.0.push_back((uid, revision));
    }

    /// Whether what is seen at a revision has gone after it.
    pub fn is_after(&self, uid: &str, revision: &str) -> bool {
        self.0.iter().any(|(gone, at)| &**gone == uid && is_older(revision, at))
    }

    /// Whether it is among them.
    pub fn has(&self, uid: &str) -> bool {
        self.0.iter().any(|(gone, _)| &**gone == uid)
    }
}

impl Index {
    /// Records a ScopedSecret as it was observed or written.
    pub fn put_claim(&mut self, object: &ScopedSecret) {
        let Some(name) = object_name(&object.metadata).map(|name| self.shared(name)) else { return };
        let uid: Arc<str> = object.metadata.uid.as_deref().unwrap_or_default().into();
        let before = self.remove_claim(&name).filter(|before| before.uid == uid);
        let spec = serde_json::to_vec(&object.spec).ok();
        let status = object.status.as_ref().map(Told::of).unwrap_or_default();
        let told = status.ready_reason() == Some(Reason::TargetConflict);
        let claim = claim_of(object, &name, &uid);
        self.claims.insert(
            name.clone(),
            Box::new(ClaimRecord {
                uid,
                generation: object.metadata.generation.unwrap_or(0),
                resource_version: object.metadata.resource_version.clone().unwrap_or_default(),
                spec: spec.map(Vec::into_boxed_slice),
                asks: facts::on_demand(&object.metadata),
                deleting: object.metadata.deletion_timestamp.is_some(),
                status,
                target_taken: told || before.is_some_and(|before| before.target_taken),
            }),
        );
        self.count(&name, claim);
    }

    /// Records a ScopedSecret whose spec cannot be understood: it claims nothing.
    pub fn put_broken_claim(&mut self, metadata: &ObjectMeta, status: Told) {
        let Some(name) = object_name(metadata).map(|name| self.shared(name)) else { return };
        self.remove_claim(&name);
        self.claims.insert(
            name,
            Box::new(ClaimRecord {
                uid: metadata.uid.as_deref().unwrap_or_default().into(),
                generation: metadata.generation.unwrap_or(0),
                resource_version: metadata.resource_version.clone().unwrap_or_default(),
                spec: None,
                asks: None,
                deleting: metadata.deletion_timestamp.is_some(),
                status,
                target_taken: false,
            }),
        );
    }

    /// The same name, in texts that are in memory already where they are: names are most of the index.
    pub fn shared(&self, name: ObjectName) -> ObjectName {
        let known = self.claims.get_key_value(&name).map(|(known, _)| known);
        let known = known.or_else(|| self.secrets.get_key_value(&name).map(|(known, _)| known)).cloned();
        known.unwrap_or_else(|| match self.namespace_revisions.get_key_value(&name.namespace) {
            Some((namespace, _)) => ObjectName::of(namespace.clone(), name.name.clone()),
            None => name,
        })
    }

    /// The name of a role or binding, its namespace a text that is in memory already.
    pub fn shared_rbac(&self, name: RbacName) -> RbacName {
        let known = name.namespace.as_ref().and_then(|namespace| self.namespace_revisions.get_key_value(namespace));
        let known = known.map(|(namespace, _)| namespace.clone());
        RbacName { namespace: known.or(name.namespace), name: name.name }
    }

    /// Whether a rule may be enforced in a namespace, or (None) anywhere: by a policy with segment labels that it has, as the webhook's
    /// entries go.
    pub fn enforces(&self, rule: ModalRule, namespace: Option<&str>) -> bool {
        let labels = namespace.and_then(|namespace| self.world.namespaces.get(namespace));
        let here = |policy: &Policy| {
            labels.is_none_or(|labels| policy.segment_labels.iter().all(|label| labels.contains_key(label)))
        };
        let mut policies = self.world.policies.values();
        !self.world.policies_synced
            || policies.any(|state| match state {
                PolicyState::Known(policy) => policy.refuses(rule) && here(policy),
                PolicyState::Unknown(_) => true,
            })
    }

    /// Which policies speak for which namespaces; looked up once for each change of either.
    pub fn jurisdictions(&self) -> Arc<Jurisdictions> {
        let causes = (self.causes, self.world.policies_synced);
        let mut known = self.jurisdictions.lock().unwrap_or_else(PoisonError::into_inner);
        match &*known {
            Some((of, all)) if *of == causes => all.clone(),
            _ => known.insert((causes, Arc::new(Jurisdiction::all(&self.world)))).1.clone(),
        }
    }

    /// Likewise what is known of a Secret: its owner, its claim and its keys are texts of its ScopedSecret.
    fn share(&self, name: &ObjectName, facts: &mut SecretFacts) {
        let uids = self.claims_for(name).filter_map(|claim| Some(&self.claims.get(claim)?.uid));
        if let Some(uid) = uids.into_iter().find(|uid| facts.owner.as_deref() == Some(uid)) {
            facts.owner = Some(uid.clone());
        }
        let holding = facts.seal.as_mut().ok().and_then(Arc::get_mut).and_then(|seal| Arc::get_mut(&mut seal.holding));
        let Some(holding) = holding else { return };
        if holding.claim == name.name {
            holding.claim = name.name.clone();
        }
        for version in &mut holding.versions {
            version.key = self.world.shared(&version.key);
        }
    }

    fn count(&mut self, name: &ObjectName, mut claim: Claim) {
        let target = ObjectName::of(name.namespace.clone(), claim.target.clone());
        if let Some((known, _)) = self.per_store.get_key_value(&claim.store) {
            claim.store = known.clone();
        }
        *self.per_store.entry(claim.store.clone()).or_default() += 1;
        self.world.put_claim(claim);
        self.hold(&target);
    }

    /// Forgets a ScopedSecret.
    pub fn remove_claim(&mut self, name: &ObjectName) -> Option<Box<ClaimRecord>> {
        if let Some(store) = self.world.claim(name).map(|claim| claim.store.clone()) {
            if let Entry::Occupied(mut count) = self.per_store.entry(store) {
                *count.get_mut() -= 1;
                if *count.get() == 0 {
                    count.remove();
                }
            }
            self.world.remove_claim(name);
        }
        self.claims.remove(name)
    }

    /// Records whether the Secret under a claim's target's name was seen to be somebody else's.
    pub fn note_target(&mut self, claim: &ObjectName, taken: bool) {
        if let Some(record) = self.claims.get_mut(claim) {
            record.target_taken = taken;
        }
    }

    /// The claims whose Secret has this name.
    pub fn claims_for(&self, secret: &ObjectName) -> impl Iterator<Item = &ObjectName> {
        self.world.claims_for(secret)
    }

    /// How many claims name a store.
    pub fn claims_of_store(&self, store: &str) -> usize {
        self.per_store.get(store).copied().unwrap_or(0)
    }

    /// Records what is known of a Secret and what it therefore holds.
    pub fn put_secret(&mut self, name: ObjectName, mut facts: SecretFacts) {
        let name = self.shared(name);
        self.share(&name, &mut facts);
        self.secrets.insert(name.clone(), facts.into());
        self.hold(&name);
    }

    /// Records a Secret as somebody else may have left it. A seal of an earlier day that comes back (restored from a backup,
    /// put back by hand) does not say since when: it moves no key.
    pub fn observe_secret(&mut self, name: ObjectName, mut facts: SecretFacts, now: Timestamp) {
        if let Ok(seal) = &mut facts.seal {
            let since = self.held_since(&name, &seal.holding, now);
            if since != seal.holding.held_since {
                Arc::make_mut(&mut Arc::make_mut(seal).holding).held_since = since;
            }
        }
        self.put_secret(name, facts);
    }

    /// Likewise what the answer to a request of ours shows, unless its watch was faster: of the same revision it may have read the seal
    /// with a newer key.
    pub fn learn_secret(&mut self, name: ObjectName, facts: SecretFacts, now: Timestamp) {
        if self.is_news(&name, &facts) {
            self.observe_secret(name, facts, now);
        }
    }

    fn is_news(&self, name: &ObjectName, facts: &SecretFacts) -> bool {
        match self.secrets.get(name) {
            Some(known) => {
                facts.resource_version != known.resource_version
                    && !is_older(&facts.resource_version, &known.resource_version)
            }
            None => !self.gone.is_after(&facts.uid, &facts.resource_version),
        }
    }

    /// Since when what a seal speaks of counts: not before what was known of this Secret already, and if it gains a key that
    /// another Secret holds, after that one.
    fn held_since(&self, secret: &ObjectName, held: &Holding, now: Timestamp) -> Timestamp {
        let has = |known: &Holding, key| known.keys().any(|k| k == key);
        let standing = match self.secrets.get(secret) {
            Some(facts) => facts.seal.as_ref().ok().map(|seal| &*seal.holding),
            None => self.world.holding(secret).map(|held| &**held),
        };
        let standing = standing.filter(|known| held.keys().all(|key| has(known, key)));
        let since = standing.map_or(held.held_since, |known| known.held_since.max(held.held_since));
        let reserved = self.world.holding(secret);
        let gained = held.keys().filter(|key| reserved.is_none_or(|known| !has(known, key)));
        let others = gained.flat_map(|key| self.world.holdings_on(key)).filter(|(other, _)| *other != secret);
        let ages = others.map(|(_, other)| other.held_since).filter(|since| *since != Timestamp::MAX);
        match ages.max().filter(|_| self.secrets_synced) {
            Some(latest) => {
                let after = latest.checked_add(SignedDuration::from_secs(1)).unwrap_or(Timestamp::MAX);
                since.max(after).max(Second::from(now).into())
            }
            None => since,
        }
    }

    /// Takes what is about to be written for what the Secret holds. What it held before.
    pub fn reserve(&mut self, secret: &ObjectName, holding: Arc<Holding>) -> Option<Arc<Holding>> {
        let before = self.world.holding(secret).cloned();
        self.world.put_holding(secret.clone(), holding);
        self.reserved.insert(secret.clone());
        before
    }

    /// The write is done: what is known of the Secret says what it holds again.
    pub fn wrote(&mut self, secret: ObjectName, facts: SecretFacts) {
        self.reserved.remove(&secret);
        if self.is_news(&secret, &facts) {
            self.put_secret(secret, facts);
        } else {
            self.hold(&secret);
        }
    }

    /// Whoever was about to write has ended, and nobody says what came of it: Secrets hold what is known of them.
    pub fn unreserve_all(&mut self) {
        std::mem::take(&mut self.reserved).iter().for_each(|secret| self.hold(secret));
    }

    /// Nothing was written: the Secret holds what is known of it by now, or what it held before.
    pub fn unreserve(&mut self, secret: &ObjectName, before: Option<Arc<Holding>>) {
        self.reserved.remove(secret);
        match before {
            Some(before) => self.world.put_holding(secret.clone(), before),
            None => self.world.remove_holding(secret),
        }
        if let Some(facts) = self.secret(secret).cloned() {
            self.put_secret(secret.clone(), facts);
        }
    }

    /// Forgets a Secret that is not seen any more, but not what it held: gone, or without our label, its keys stay its
    /// claim's until that was looked at. What it held.
    pub fn lose_secret(&mut self, name: &ObjectName) -> Option<Arc<Holding>> {
        self.secrets.remove(name);
        self.world.holding(name).cloned()
    }

    /// The Secrets that are not seen any more and whose keys are still held for them.
    pub fn lost_secrets(&self) -> Vec<ObjectName> {
        self.world.holdings().map(|(name, _)| name).filter(|name| !self.secrets.contains_key(*name)).cloned().collect()
    }

    /// Gives up the keys of a Secret that is not there: those who waited for them.
    pub fn give_up(&mut self, name: &ObjectName) -> Vec<ObjectName> {
        if self.secrets.contains_key(name) {
            return Vec::new();
        }
        let Some(held) = self.world.holding(name).cloned() else { return Vec::new() };
        self.world.remove_holding(name);
        self.rivals(name, &held)
    }

    /// What is known of a Secret.
    pub fn secret(&self, name: &ObjectName) -> Option<&SecretFacts> {
        self.secrets.get(name).map(|facts| &**facts)
    }

    /// The claims that are judged otherwise once a Secret no longer holds this: those on its keys, and those whose Secrets
    /// share one of its values, or have one inside. Values are compared across segments alone.
    pub fn rivals(&self, secret: &ObjectName, held: &Holding) -> Vec<ObjectName> {
        let on_keys = self.judged_by(&secret.namespace, held.keys()).map(|claim| &claim.object);
        let holders = |print| self.world.holdings_with(print).chain(self.world.holdings_around(print));
        let sharing = held.fingerprints.iter().flat_map(holders);
        let sharing = sharing.filter(|(other, _)| other.namespace != secret.namespace);
        let sharing = sharing.flat_map(|(other, _)| self.claims_for(other));
        on_keys.chain(sharing).cloned().collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// The claims on some keys that may be judged otherwise once somebody of a namespace begins or ceases to have one of these: not
    /// those beside it that have it already, unless it is to be theirs alone. So thousands of claims of one namespace on one key are
    /// not looked at for each of them.
    pub fn judged_by<'i>(
        &'i self,
        namespace: &'i str,
        keys: impl IntoIterator<Item = &'i CanonicalKey> + 'i,
    ) -> impl Iterator<Item = &'i Claim> {
        let is_for_one = |state: &PolicyState| match state {
            PolicyState::Known(policy) => policy.exclusive_keys == Exclusivity::Workload,
            PolicyState::Unknown(_) => true,
        };
        let all = self.world.policies.values().any(is_for_one);
        keys.into_iter().flat_map(move |key| {
            let has = move |claim: &Claim| {
                self.world.holding_of(claim).is_some_and(|held| held.keys().any(|held| held == key))
            };
            let judged = move |claim: &&Claim| {
                all || *claim.object.namespace != *namespace || claim.rotates.is_some() || !has(claim)
            };
            self.world.claims_on(key).filter(judged)
        })
    }

    /// Forgets a Secret.
    pub fn remove_secret(&mut self, name: &ObjectName) {
        self.secrets.remove(name);
        self.world.remove_holding(name);
    }

    /// Derives what a Secret holds: from its seal. Where that cannot be read (somebody has spoilt it, or the seal key was
    /// lost), what was known before stands as long as the claim owns the Secret; else, what that claim was last allowed, if
    /// its status speaks of exactly this revision.
    fn hold(&mut self, name: &ObjectName) {
        let Some(facts) = self.secrets.get(name).filter(|_| !self.reserved.contains(name)) else { return };
        if let Ok(record) = &facts.seal {
            if self.world.holding(name) != Some(&record.holding) {
                self.world.put_holding(name.clone(), record.holding.clone());
            }
            return;
        }
        let owner = self.claims_for(name).find_map(|claim| {
            let record = self.claims.get(claim)?;
            let owns = facts.owner.as_deref() == Some(&*record.uid) || facts.is_told_by(&record.status);
            owns.then_some((claim.clone(), record))
        });
        let Some((claim, record)) = owner else { return self.world.remove_holding(name) };
        let known = self.world.holding(name).filter(|known| known.claim == claim.name);
        // Of a store whose account is not known yet, nothing could be told.
        if known.is_some_and(|known| known.keys().next().is_some()) {
            return;
        }
        let lost = facts.seal.as_ref().err() == Some(&BrokenSeal::UnknownGeneration);
        let told = record.status.allows(record.generation) && record.status.secret() == Some(facts.revision());
        let allowed = lost && told;
        match self.world.claim(&claim).filter(|_| allowed) {
            Some(claim) => {
                let holding = Holding::of_claim(claim, self.world.canonical_keys(claim));
                self.world.put_holding(name.clone(), holding.into());
            }
            None => self.world.remove_holding(name),
        }
    }

    /// Records a policy, compiled or not; `serves`: what its annotation accepts has something to withdraw.
    pub fn put_policy(&mut self, name: &str, policy: Result<Policy, String>, facts: PolicyFacts, serves: bool) {
        self.causes += 1;
        let alone = self
            .policies
            .get(name)
            .is_some_and(|known| known.generation == facts.generation && (known.alone || known.accept != facts.accept));
        let set = self.policies.get(name).is_some_and(|known| known.set || known.accept != facts.accept);
        let facts = PolicyFacts { alone, set, ..facts };
        if let Some(accept) = facts.accept.clone().filter(|_| serves) {
            self.acceptances.insert(name.to_owned(), (accept, Acceptance::Serving));
        }
        let state = state_of(policy);
        let compares_as_before = match (self.world.policies.get(name), &state) {
            (Some(PolicyState::Known(before)), PolicyState::Known(now)) => before.compares_as(now),
            (before, now) => before == Some(now),
        };
        self.comparisons += u64::from(!compares_as_before);
        self.world.policies.insert(name.to_owned(), state);
        self.policies.insert(name.to_owned(), facts);
    }

    /// Forgets a policy. Its accept-violations speaks for its deletion.
    pub fn remove_policy(&mut self, name: &str) {
        self.causes += 1;
        self.comparisons += 1;
        self.world.policies.remove(name);
        let known = self.policies.get(name);
        let accept = known.and_then(|policy| Some((policy.accept.clone()?, policy.generation)));
        let accept = accept.filter(|(value, generation)| self.accepts_deletion(name, value, *generation));
        if self.policies.remove(name).is_some() {
            self.accepted_deletion = accept.and_then(|(value, _)| value.parse().ok());
        }
    }

    /// Records a store's realm; claims on it get other canonical keys.
    pub fn put_store(&mut self, name: &str, state: Option<StoreState>) {
        if self.world.stores.get(name) == state.as_ref() {
            return;
        }
        self.causes += 1;
        self.world.put_store(name, state);
        // What a Secret without a readable seal holds is told by its claim's keys, which can be told now.
        let unread = self.secrets.iter().filter(|(_, facts)| facts.seal.is_err());
        let names: Vec<ObjectName> = unread.map(|(name, _)| name.clone()).collect();
        names.iter().for_each(|name| self.hold(name));
    }

    /// Records a namespace's labels and whether it is being deleted; true if either changed.
    pub fn put_namespace(
        &mut self,
        name: &str,
        labels: BTreeMap<String, String>,
        terminating: bool,
        revision: &str,
        now: Timestamp,
    ) -> bool {
        let key: Arc<str> = name.into();
        let is_known = self.world.namespaces.contains_key(name);
        self.namespace_revisions.insert(key.clone(), revision.into());
        let relabelled = self.world.namespaces.get(name) != Some(&labels);
        let segment = |world: &World| segment_of(name, world).ok().map(|segment| segment.name().to_owned());
        let before = relabelled.then(|| segment(&self.world));
        self.world.namespaces.insert(key.clone(), labels);
        let after = segment(&self.world);
        if let Some(before) = before.filter(|before| *before != after) {
            *self.namespace_moves.entry(key.clone()).or_default() += 1;
            self.namespace_left.extend(before.map(|left| (key.clone(), left.into())));
            // Who comes back to where he was has not moved.
            let is_back = self.namespace_left.get(&key).map(|left| &**left) == after.as_deref();
            if is_known && after.is_some() && !is_back {
                self.world.entered.insert(key.clone(), Second::from(now).into());
            }
        }
        let turned = if terminating { self.world.terminating.insert(key) } else { self.world.terminating.remove(&key) };
        self.causes += u64::from(relabelled);
        relabelled || turned
    }

    /// The uid of a namespace; empty where it is not known.
    pub fn namespace_uid(&self, name: &str) -> Box<str> {
        self.namespace_uids.get(name).cloned().unwrap_or_default()
    }

    /// Forgets a namespace.
    pub fn remove_namespace(&mut self, name: &str) {
        self.causes += 1;
        self.world.namespaces.remove(name);
        self.namespace_revisions.remove(name);
        self.namespace_uids.remove(name);
        self.namespace_moves.remove(name);
        self.world.entered.remove(name);
        self.namespace_left.remove(name);
        self.world.terminating.remove(name);
    }

    /// Whether policies are known to be all there.
    pub fn set_policies_synced(&mut self, synced: bool) {
        self.causes += 1;
        self.world.policies_synced = synced;
    }

    /// Grows with everything that may cause withdrawals.
    pub fn causes(&self) -> u64 {
        self.causes
    }
}

/// A policy as far as it is known.
fn state_of(policy: Result<Policy, String>) -> PolicyState {
    match policy {
        Ok(policy) => PolicyState::Known(Arc::new(policy)),
        Err(why) => PolicyState::Unknown(why),
    }
}

/// Kubernetes orders the resourceVersions of one resource as numbers (KEP-5504); where they are not numbers, nothing is
/// older.
pub fn is_older(seen: &str, known: &str) -> bool {
    matches!((seen.parse::<u64>(), known.parse::<u64>()), (Ok(seen), Ok(known)) if seen < known)
}

#[cfg(test)]
mod tests;
