//! What every replica keeps of the cluster: compact records, no full objects.
//!
//! The watches write it; admission and reconcile read it. Each write says which claims it may have changed.

use super::scoped_secret::told::Told;
use crate::api::policy::AcceptedViolations;
use crate::api::{ACCEPT_VIOLATIONS_ANNOTATION, REFRESH_AT_ANNOTATION, SEAL_ANNOTATION, ScopedSecret};
use crate::segmentation::authorize::{Retention, retention};
use crate::segmentation::few::Few;
use crate::segmentation::policy::Policy;
use crate::segmentation::seal::{BrokenSeal, SealKeys, SealRecord};
use crate::segmentation::world::{Claim, Holding, ObjectName, PolicyState, StoreState, World};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// What is kept of a ScopedSecret.
#[derive(Debug, Clone)]
pub struct ClaimRecord {
    /// Its uid.
    pub uid: Arc<str>,
    /// metadata.generation.
    pub generation: i64,
    /// metadata.resourceVersion, for the next status write.
    pub resource_version: String,
    /// The spec as JSON; None if it cannot be understood.
    pub spec: Option<Box<[u8]>>,
    /// The annotation refresh-at.
    pub refresh_at: Option<Box<str>>,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// What its status says.
    pub status: Told,
}

/// What is kept of a managed Secret, from its metadata alone.
#[derive(Debug, Clone, PartialEq)]
pub struct SecretFacts {
    /// Its uid.
    pub uid: Box<str>,
    /// Its resourceVersion.
    pub resource_version: Box<str>,
    /// The uid in its controller ownerReference.
    pub owner: Option<Box<str>>,
    /// What its seal says.
    pub seal: Result<Arc<SealRecord>, BrokenSeal>,
    /// Whether its seal is of the current key generation.
    pub seal_is_current: bool,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Whether it carries our label.
    pub labelled: bool,
    /// Whether it is older than the seal key: a seal that cannot be opened then means that the key was lost.
    pub before_key: bool,
}

/// What is kept of a policy beyond its compiled form.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PolicyFacts {
    /// metadata.generation.
    pub generation: i64,
    /// The annotation accept-violations.
    pub accept: Option<String>,
    /// The acceptance that was recorded.
    pub accepted: Option<AcceptedViolations>,
    /// metadata.resourceVersion.
    pub resource_version: String,
}

/// Everything that is kept.
#[derive(Default)]
pub struct Index {
    /// What decides.
    pub world: World,
    /// Policies by name.
    pub policies: BTreeMap<String, PolicyFacts>,
    /// ScopedSecrets.
    pub claims: HashMap<ObjectName, ClaimRecord>,
    /// Managed Secrets.
    pub secrets: HashMap<ObjectName, SecretFacts>,
    /// Namespaces that are being deleted.
    pub terminating: BTreeSet<Arc<str>>,
    /// Uids of ScopedSecrets that were seen to go: their Secrets are the garbage collector's.
    pub gone: BTreeSet<Arc<str>>,
    /// Violations accepted by a policy that was deleted since: the number on its last state.
    pub accepted_deletion: Option<usize>,
    /// Revisions of namespaces, so that an older view does not come back.
    pub namespace_revisions: HashMap<Arc<str>, Box<str>>,
    /// Acceptances that have served: policy and value.
    pub spent: BTreeSet<(String, String)>,
    /// Counts what may cause withdrawals: changes of policies, namespaces and stores.
    causes: u64,
    by_target: HashMap<ObjectName, Few<ObjectName>>,
    per_store: HashMap<Arc<str>, usize>,
}

/// So many uids of deleted ScopedSecrets are remembered.
const GONE_LIMIT: usize = 4096;

impl Index {
    /// Records a ScopedSecret as it was observed or written.
    pub fn put_claim(&mut self, object: &ScopedSecret) {
        let Some(name) = object_name(&object.metadata) else { return };
        let uid: Arc<str> = object.metadata.uid.as_deref().unwrap_or_default().into();
        self.remove_claim(&name);
        let spec = serde_json::to_vec(&object.spec).ok();
        self.count(&name, claim_of(object, &name, &uid));
        self.claims.insert(
            name,
            ClaimRecord {
                uid,
                generation: object.metadata.generation.unwrap_or(0),
                resource_version: object.metadata.resource_version.clone().unwrap_or_default(),
                spec: spec.map(Vec::into_boxed_slice),
                refresh_at: annotation(&object.metadata, REFRESH_AT_ANNOTATION).map(Into::into),
                deleting: object.metadata.deletion_timestamp.is_some(),
                status: object.status.as_ref().map(Told::of).unwrap_or_default(),
            },
        );
    }

    /// Records a ScopedSecret whose spec cannot be understood: it claims nothing.
    pub fn put_broken_claim(&mut self, metadata: &ObjectMeta, status: Told) {
        let Some(name) = object_name(metadata) else { return };
        self.remove_claim(&name);
        self.claims.insert(
            name,
            ClaimRecord {
                uid: metadata.uid.as_deref().unwrap_or_default().into(),
                generation: metadata.generation.unwrap_or(0),
                resource_version: metadata.resource_version.clone().unwrap_or_default(),
                spec: None,
                refresh_at: None,
                deleting: metadata.deletion_timestamp.is_some(),
                status,
            },
        );
    }

    fn count(&mut self, name: &ObjectName, claim: Claim) {
        let target = ObjectName { namespace: name.namespace.clone(), name: claim.target.clone() };
        self.by_target.entry(target.clone()).or_default().insert(name.clone());
        *self.per_store.entry(claim.store.clone()).or_default() += 1;
        self.world.put_claim(claim);
        self.hold(&target);
    }

    /// Forgets a ScopedSecret.
    pub fn remove_claim(&mut self, name: &ObjectName) -> Option<ClaimRecord> {
        if let Some(claim) = self.world.claim(name).cloned() {
            let target = ObjectName { namespace: name.namespace.clone(), name: claim.target.clone() };
            if let Some(claims) = self.by_target.get_mut(&target) {
                claims.remove(name);
                if claims.is_empty() {
                    self.by_target.remove(&target);
                }
            }
            if let Some(count) = self.per_store.get_mut(&claim.store) {
                *count = count.saturating_sub(1);
            }
            self.world.remove_claim(name);
        }
        self.claims.remove(name)
    }

    /// Remembers that a ScopedSecret was seen to go.
    pub fn claim_gone(&mut self, uid: &Arc<str>) {
        if self.gone.len() >= GONE_LIMIT {
            self.gone.pop_first();
        }
        self.gone.insert(uid.clone());
    }

    /// The claims whose Secret has this name.
    pub fn claims_for(&self, secret: &ObjectName) -> impl Iterator<Item = &ObjectName> {
        self.by_target.get(secret).into_iter().flat_map(Few::iter)
    }

    /// How many claims name a store.
    pub fn claims_of_store(&self, store: &str) -> usize {
        self.per_store.get(store).copied().unwrap_or(0)
    }

    /// Records what is known of a Secret and what it therefore holds.
    pub fn put_secret(&mut self, name: ObjectName, facts: SecretFacts) {
        self.secrets.insert(name.clone(), facts);
        self.hold(&name);
    }

    /// Forgets a Secret.
    pub fn remove_secret(&mut self, name: &ObjectName) {
        self.secrets.remove(name);
        self.world.remove_holding(name);
    }

    /// Derives what a Secret holds: from its seal; or, where the seal key was lost, from the live claim that owns it.
    fn hold(&mut self, name: &ObjectName) {
        let Some(facts) = self.secrets.get(name) else { return };
        match &facts.seal {
            Ok(record) => {
                let holding = record.holding();
                if self.world.holding(name) != Some(&holding) {
                    self.world.put_holding(name.clone(), holding);
                }
            }
            Err(BrokenSeal::UnknownGeneration) if facts.before_key => {
                let owner = self.by_target.get(name).into_iter().flat_map(Few::iter).find_map(|claim| {
                    let uid = &self.claims.get(claim)?.uid;
                    (facts.owner.as_deref() == Some(&**uid)).then(|| self.world.claim(claim))?
                });
                match owner.cloned() {
                    Some(claim) => {
                        let holding = Holding {
                            claim: claim.object.name.clone(),
                            keys: self.world.canonical_keys(&claim).into(),
                            fingerprints: [].into(),
                            held_since: claim.created,
                            retain: claim.retain,
                        };
                        self.world.put_holding(name.clone(), holding);
                    }
                    None => self.world.remove_holding(name),
                }
            }
            Err(_) => self.world.remove_holding(name),
        }
    }

    /// Records a policy, compiled or not.
    pub fn put_policy(&mut self, name: &str, policy: Result<Policy, String>, facts: PolicyFacts) {
        let state = match policy {
            Ok(policy) => PolicyState::Known(Arc::new(policy)),
            Err(why) => PolicyState::Unknown(why),
        };
        self.causes += 1;
        self.world.policies.insert(name.to_owned(), state);
        self.policies.insert(name.to_owned(), facts);
    }

    /// Forgets a policy. Its accept-violations speaks for its deletion.
    pub fn remove_policy(&mut self, name: &str) {
        self.causes += 1;
        self.world.policies.remove(name);
        if let Some(facts) = self.policies.remove(name) {
            self.accepted_deletion = facts.accept.and_then(|text| text.parse().ok());
        }
    }

    /// Records a store's realm; claims on it get other canonical keys.
    pub fn put_store(&mut self, name: &str, state: Option<StoreState>) {
        if self.world.stores.get(name) == state.as_ref() {
            return;
        }
        self.causes += 1;
        self.world.put_store(name, state);
        // What a Secret without a readable seal holds is told by its claim's keys, which are others now.
        let unread = |s: &SecretFacts| s.seal.as_ref().err() == Some(&BrokenSeal::UnknownGeneration);
        let names: Vec<ObjectName> =
            self.secrets.iter().filter(|(_, s)| unread(s)).map(|(name, _)| name.clone()).collect();
        names.iter().for_each(|name| self.hold(name));
    }

    /// Records a namespace's labels and whether it is being deleted; true if either changed.
    pub fn put_namespace(
        &mut self,
        name: &str,
        labels: BTreeMap<String, String>,
        terminating: bool,
        revision: &str,
    ) -> bool {
        let key: Arc<str> = name.into();
        if self.namespace_revisions.get(&key).is_some_and(|known| is_older(revision, known)) {
            return false;
        }
        self.namespace_revisions.insert(key.clone(), revision.into());
        let relabelled = self.world.namespaces.get(name) != Some(&labels);
        self.world.namespaces.insert(key.clone(), labels);
        let turned = if terminating { self.terminating.insert(key) } else { self.terminating.remove(&key) };
        self.causes += u64::from(relabelled);
        relabelled || turned
    }

    /// Forgets a namespace.
    pub fn remove_namespace(&mut self, name: &str) {
        self.causes += 1;
        self.world.namespaces.remove(name);
        self.namespace_revisions.remove(name);
        self.terminating.remove(name);
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

    /// The Secrets that policy wants taken away now.
    pub fn withdrawals(&self, now: Timestamp) -> usize {
        self.world
            .holdings()
            .filter(|(name, held)| matches!(retention(name, held, &self.world, now), Retention::Withdraw(_)))
            .count()
    }

    /// Whether so many withdrawals may go ahead: few may, many only if somebody accepted that number for this change.
    pub fn may_withdraw(&self, count: usize) -> bool {
        let total = self.world.holdings().count();
        let accepted = self.policies.iter().any(|(name, policy)| {
            let Some(value) = &policy.accept else { return false };
            let enough = value.parse::<usize>().is_ok_and(|n| n >= count);
            let spent = self.spent.contains(&(name.clone(), value.clone()))
                || policy
                    .accepted
                    .as_ref()
                    .is_some_and(|a| a.value == *value && (a.spent || a.generation != policy.generation));
            enough && !spent
        });
        count <= pause_threshold(total) || accepted || self.accepted_deletion.is_some_and(|n| n >= count)
    }

    /// Nothing is left to withdraw: what was accepted has served, and accepts nothing more. The policies it was on.
    pub fn spend_acceptances(&mut self) -> Vec<String> {
        self.accepted_deletion = None;
        let all = self.policies.iter().filter_map(|(name, p)| Some((name.clone(), p.accept.clone()?)));
        let fresh: Vec<_> = all.filter(|pair| !self.spent.contains(pair)).collect();
        self.spent.retain(|(name, value)| self.policies.get(name).is_some_and(|p| p.accept.as_ref() == Some(value)));
        self.spent.extend(fresh.iter().cloned());
        fresh.into_iter().map(|(name, _)| name).collect()
    }
}

/// Kubernetes orders the resourceVersions of one resource as numbers (KEP-5504); where they are not numbers, nothing is
/// older.
pub fn is_older(seen: &str, known: &str) -> bool {
    matches!((seen.parse::<u64>(), known.parse::<u64>()), (Ok(seen), Ok(known)) if seen < known)
}

/// More withdrawals than this for one cause wait for somebody: ten, or one in twenty.
pub fn pause_threshold(holdings: usize) -> usize {
    (holdings / 20).max(10)
}

/// Namespace and name of an object.
pub fn object_name(metadata: &ObjectMeta) -> Option<ObjectName> {
    Some(ObjectName::new(metadata.namespace.as_deref()?, metadata.name.as_deref()?))
}

/// An annotation.
pub fn annotation<'a>(metadata: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    metadata.annotations.as_ref()?.get(key).map(String::as_str)
}

/// The annotation accept-violations, if it is set.
pub fn accept_violations(metadata: &ObjectMeta) -> Option<String> {
    annotation(metadata, ACCEPT_VIOLATIONS_ANNOTATION).map(str::to_owned)
}

/// The part of a ScopedSecret that decides.
pub fn claim_of(object: &ScopedSecret, name: &ObjectName, uid: &Arc<str>) -> Claim {
    let created = object.metadata.creation_timestamp.as_ref().map_or(Timestamp::MAX, |t| t.0);
    Claim::from_spec(&object.spec, name.clone(), uid.clone(), created)
}

/// What the metadata of a Secret says.
pub fn secret_facts(name: &ObjectName, metadata: &ObjectMeta, keys: &SealKeys, key_made: Timestamp) -> SecretFacts {
    let seal = annotation(metadata, SEAL_ANNOTATION);
    let controller = metadata.owner_references.iter().flatten().find(|o| {
        o.controller == Some(true) && o.kind == "ScopedSecret" && o.api_version.starts_with("scopedsecrets.io/")
    });
    SecretFacts {
        uid: metadata.uid.as_deref().unwrap_or_default().into(),
        resource_version: metadata.resource_version.as_deref().unwrap_or_default().into(),
        owner: controller.map(|o| o.uid.as_str().into()),
        seal: seal.map_or(Err(BrokenSeal::Invalid), |text| keys.open(name, text).map(Arc::new)),
        seal_is_current: seal.is_some_and(|text| keys.is_current(text)),
        deleting: metadata.deletion_timestamp.is_some(),
        labelled: metadata
            .labels
            .iter()
            .flatten()
            .any(|(k, v)| k == crate::api::MANAGED_BY_LABEL && v == crate::api::MANAGED_BY),
        before_key: metadata.creation_timestamp.as_ref().is_some_and(|t| t.0 < key_made),
    }
}
