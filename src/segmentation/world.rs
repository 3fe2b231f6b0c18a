//! What was observed, as plain values: everything that a verdict depends on.
//!
//! ```text
//!   SegmentationPolicy ──┐
//!   Namespace (labels) ──┤
//!   ScopedSecretStore ───┼──►  World  ──►  authorize(claim, world, now)  ──►  Verdict
//!   ScopedSecret ── Claim┤
//!   Secret (seal) ─ Holding
//! ```
//!
//! A [`Claim`] is what a ScopedSecret asks for. A [`Holding`] is what a sealed Secret physically has: it makes its claim the
//! incumbent of the keys in its seal. Both are indexed by canonical key: who-holds-what is one question with one answer.

use super::alike::{Alike, Group, Likeness};
use super::copies::{MarkIndex, Marks};
use super::few::Few;
use super::fingerprint::Fingerprint;
use super::foreign::Foreign;
use super::governed::{Governed, LabelSet};
use super::key::{CanonicalKey, Realm, RemoteKey};
use super::policy::{EXCEPTION_LIMIT, Policy};
use super::revoked::{Revocation, Revocations};
use super::second::Second;
use crate::api::ScopedSecretSpec;
use crate::api::policy::{ExceptedRule, Exception};
use crate::api::rotation::Strategy;
use jiff::Timestamp;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::ops::Deref;
use std::sync::Arc;

/// A namespaced object. One word: each table of the index, and every queue, has the names of all.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectName(Arc<NameParts>);

/// What an [`ObjectName`] consists of.
#[derive(Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NameParts {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
}

impl ObjectName {
    /// From two texts.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self::of(namespace.into(), name.into())
    }

    /// Of texts that are in memory already.
    pub fn of(namespace: Arc<str>, name: Arc<str>) -> Self {
        Self(Arc::new(NameParts { namespace, name }))
    }
}

impl Deref for ObjectName {
    type Target = NameParts;

    fn deref(&self) -> &NameParts {
        &self.0
    }
}

impl std::fmt::Display for ObjectName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A policy as far as it is known.
#[derive(Debug, Clone, PartialEq)]
pub enum PolicyState {
    /// Understood.
    Known(Arc<Policy>),
    /// It exists but cannot be understood: nothing is withdrawn, nothing new is granted.
    Unknown(String),
}

impl PolicyState {
    /// The policy, if it is understood.
    pub fn known(&self) -> Option<&Arc<Policy>> {
        if let Self::Known(policy) = self { Some(policy) } else { None }
    }
}

/// A store as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreState {
    /// Its realm is known.
    Known(Realm),
    /// An AWS store whose account could not be observed yet.
    AccountUnknown {
        /// Its region.
        region: String,
    },
}

impl StoreState {
    /// The realm, if known.
    pub fn realm(&self) -> Option<&Realm> {
        if let Self::Known(realm) = self { Some(realm) } else { None }
    }
}

/// How a version of a key is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum VersionAsked {
    /// AWSCURRENT.
    Current,
    /// Another staging label.
    Stage(String),
    /// One version id.
    Id(String),
}

impl VersionAsked {
    /// What a reference's versionStage and versionId ask for. AWSCURRENT spelt out is the current version.
    pub fn of(stage: Option<&str>, id: Option<&str>) -> Self {
        match (stage, id) {
            (_, Some(id)) => Self::Id(id.to_owned()),
            (Some("AWSCURRENT") | None, None) => Self::Current,
            (Some(stage), None) => Self::Stage(stage.to_owned()),
        }
    }
}

/// What a ScopedSecret asks for: the part of it that decides.
#[derive(Debug, Clone, PartialEq)]
pub struct Claim {
    /// Which ScopedSecret.
    pub object: ObjectName,
    /// Its uid.
    pub uid: Arc<str>,
    /// Its creationTimestamp.
    pub created: Timestamp,
    /// The store it names.
    pub store: Arc<str>,
    /// The name of its Secret.
    pub target: Arc<str>,
    /// The type of its Secret; None: Opaque, as nearly all are.
    pub target_type: Option<Box<str>>,
    /// Whether it names consumers.
    pub has_consumers: bool,
    /// Whether its Secret outlives it.
    pub retain: bool,
    /// When it ends.
    pub ends: Option<Second>,
    /// Who makes the new value, if it rotates its key.
    pub rotates: Option<Strategy>,
    /// Each distinct (key, version) it names, in the order of the spec.
    pub asks: Box<[(Arc<str>, VersionAsked)]>,
}

impl Claim {
    /// What a ScopedSecret asks for.
    pub fn from_spec(spec: &ScopedSecretSpec, object: ObjectName, uid: Arc<str>, created: Timestamp) -> Self {
        let mut asks: Vec<(Arc<str>, VersionAsked)> = Vec::new();
        for (key, stage, id) in spec.remote_refs() {
            let ask = (Arc::from(key), VersionAsked::of(stage, id));
            if !asks.contains(&ask) {
                asks.push(ask);
            }
        }
        Self {
            uid,
            created,
            store: spec.store_ref.name.as_str().into(),
            // Nearly always its own name, and then the same text in memory.
            target: Some(spec.target_name(&object.name))
                .filter(|target| **target != *object.name)
                .map_or_else(|| object.name.clone(), Into::into),
            target_type: Some(spec.target_type()).filter(|kind| *kind != "Opaque").map(Into::into),
            has_consumers: !spec.consumers.is_empty(),
            retain: spec.retain(),
            ends: spec.end(created).map(Second::from),
            rotates: spec.rotation.as_ref().map(|rotation| rotation.strategy),
            asks: asks.into(),
            object,
        }
    }

    /// Its Secret.
    pub fn secret(&self) -> ObjectName {
        ObjectName::of(self.object.namespace.clone(), self.target.clone())
    }
}

/// One version of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyVersion {
    /// The key.
    pub key: CanonicalKey,
    /// The manager's id of the version.
    pub id: Box<str>,
    /// When the manager says that it was created; None: it does not say, or that was not kept.
    pub created: Option<Second>,
}

impl KeyVersion {
    /// A version of which the time of its creation is not known.
    pub fn undated(key: CanonicalKey, id: impl Into<Box<str>>) -> Self {
        Self { key, id: id.into(), created: None }
    }

    /// Whether it is known which version it is: not where a seal could not be read.
    pub fn is_known(&self) -> bool {
        !self.id.is_empty()
    }

    /// Whether what is kept is this version, with what is known of it.
    pub fn is_kept_by(&self, kept: &Self) -> bool {
        (&self.key, &self.id) == (&kept.key, &kept.id) && (self.created.is_none() || kept.created.is_some())
    }
}

/// What a sealed Secret has, from its seal.
#[derive(Debug, Clone, PartialEq)]
pub struct Holding {
    /// The ScopedSecret that it was projected for.
    pub claim: Arc<str>,
    /// The keys whose values it holds, each with the version that was projected.
    pub versions: Box<[KeyVersion]>,
    /// Fingerprints of its hard-to-guess values.
    pub fingerprints: Box<[Fingerprint]>,
    /// By which copies of those values are found.
    pub marks: Marks,
    /// Since when its claim has held the keys. [`Timestamp::MAX`]: that cannot be told, since its seal cannot be read. Such
    /// a holding keeps newcomers off, and takes nothing from anyone.
    pub held_since: Timestamp,
    /// Whether it outlives its ScopedSecret.
    pub retain: bool,
    /// When it is to go, with or without its ScopedSecret.
    pub ends: Option<Second>,
    /// Whether its ScopedSecret named consumers.
    pub consumed: bool,
    /// Whether it has other versions than the current one.
    pub pinned: bool,
    /// The type of the Secret; None: Opaque.
    pub target_type: Option<Box<str>>,
}

impl Holding {
    /// Since when the manager has the newest of its values, as far as that is known.
    pub fn value_since(&self) -> Option<Second> {
        self.versions.iter().filter_map(|version| version.created).max()
    }

    /// What a claim's Secret would hold; versions and values are not known.
    pub fn of_claim(claim: &Claim, keys: Vec<CanonicalKey>) -> Self {
        Self {
            claim: claim.object.name.clone(),
            versions: keys.into_iter().map(|key| KeyVersion::undated(key, "")).collect(),
            fingerprints: [].into(),
            marks: Marks::default(),
            held_since: Timestamp::MAX,
            retain: claim.retain,
            ends: claim.ends,
            consumed: claim.has_consumers,
            pinned: claim.asks.iter().any(|(_, version)| *version != VersionAsked::Current),
            target_type: claim.target_type.clone(),
        }
    }

    /// The keys whose values it holds.
    pub fn keys(&self) -> impl Iterator<Item = &CanonicalKey> {
        self.versions.iter().map(|version| &version.key)
    }

    /// Whether copies of its values can be found: not where they were sealed before there were marks.
    pub fn is_marked(&self) -> bool {
        self.marks.each.len() == self.fingerprints.len()
    }

    /// Whether it has a key or a value that the other has not.
    pub fn gives_up_for(&self, other: &Self) -> bool {
        self.keys().any(|key| other.keys().all(|kept| kept != key))
            || self.fingerprints.iter().any(|print| !other.fingerprints.contains(print))
    }
}

/// Who names a key, and who has it.
#[derive(Debug, Default)]
struct OnKey {
    claims: Few<ObjectName>,
    holdings: Few<ObjectName>,
}

/// Everything that was observed.
#[derive(Debug, Default)]
pub struct World {
    /// Whether every policy that exists has been seen.
    pub policies_synced: bool,
    /// Policies by name.
    pub policies: BTreeMap<String, PolicyState>,
    /// Labels of namespaces by name.
    pub namespaces: HashMap<Arc<str>, BTreeMap<String, String>>,
    /// When a namespace was seen to come into its segment from elsewhere: the keys that it holds count from then on.
    pub entered: HashMap<Arc<str>, Timestamp>,
    /// Namespaces that are being deleted.
    pub terminating: BTreeSet<Arc<str>>,
    /// Stores by name.
    pub stores: BTreeMap<String, StoreState>,
    /// What a store reached before it was changed or went, as far as this process has seen it.
    former_realms: BTreeMap<String, Vec<Realm>>,
    /// Objects of other operators.
    pub foreign: Foreign,
    /// Leaked keys.
    pub revocations: Revocations,
    claims: HashMap<ObjectName, Box<Claim>>,
    /// The claims whose Secret has another name than they.
    renamed: HashMap<ObjectName, Few<ObjectName>>,
    /// Ordered: those of one namespace are beside each other.
    holdings: BTreeMap<ObjectName, Arc<Holding>>,
    alike: Alike,
    by_key: HashMap<CanonicalKey, OnKey>,
    /// The keys that several Secrets hold.
    contested: BTreeSet<CanonicalKey>,
    holdings_by_fingerprint: HashMap<Fingerprint, Few<ObjectName>>,
    /// How many claims and Secrets go by each name of a Secret. Of a name this knows a hash, keyed anew by each process: two that
    /// are taken for one make a role count once in a million times, and a map of names would cost each Secret 26 bytes more.
    names: HashMap<u32, u32>,
    hashing: RandomState,
    /// The values that several Secrets hold.
    repeated: BTreeSet<Fingerprint>,
    holdings_by_weak: HashMap<Fingerprint, Few<ObjectName>>,
    holdings_by_within: HashMap<Fingerprint, Few<ObjectName>>,
    marks: Arc<MarkIndex>,
}

/// The objects of those namespaces that are asked for; each is asked about once.
fn in_namespaces(all: &Few<ObjectName>, mut asks: impl FnMut(&str) -> bool) -> impl Iterator<Item = &ObjectName> {
    let mut first = all.iter().next();
    let namespaces = std::iter::from_fn(move || {
        let namespace = &first?.namespace;
        let beyond = ObjectName::of(format!("{namespace}\0").into(), "".into());
        first = all.from(&beyond).next();
        Some(namespace)
    });
    namespaces.filter(move |namespace| asks(namespace)).flat_map(move |namespace| {
        let begins = ObjectName::of(namespace.clone(), "".into());
        all.from(&begins).take_while(move |object| object.namespace == *namespace)
    })
}

fn forget_holder(by: &mut HashMap<Fingerprint, Few<ObjectName>>, print: &Fingerprint, secret: &ObjectName) {
    if let Entry::Occupied(mut secrets) = by.entry(*print) {
        secrets.get_mut().remove(secret);
        if secrets.get().is_empty() {
            secrets.remove();
        }
    }
}

impl World {
    /// Whether every policy is known: else nothing can be told of any namespace.
    pub fn knows_policies(&self) -> bool {
        self.policies_synced && !self.policies.values().any(|state| matches!(state, PolicyState::Unknown(_)))
    }

    /// Records a claim, replacing what was known of it.
    pub fn put_claim(&mut self, claim: Claim) {
        self.remove_claim(&claim.object);
        for key in self.canonical_keys(&claim) {
            self.by_key.entry(key).or_default().claims.insert(claim.object.clone());
        }
        self.take_name(&claim.target);
        let secret = claim.secret();
        if secret != claim.object {
            self.renamed.entry(secret.clone()).or_default().insert(claim.object.clone());
        }
        self.regroup(&secret, |world| {
            world.claims.insert(claim.object.clone(), claim.into());
        });
    }

    /// Forgets a claim.
    pub fn remove_claim(&mut self, object: &ObjectName) {
        let Some(secret) = self.claims.get(object).map(|claim| claim.secret()) else { return };
        let mut removed = None;
        self.regroup(&secret, |world| removed = world.claims.remove(object));
        if let Some(old) = removed {
            if let Some(claims) = self.renamed.get_mut(&secret) {
                claims.remove(object);
                if claims.is_empty() {
                    self.renamed.remove(&secret);
                }
            }
            self.give_up_name(&old.target);
            for key in self.canonical_keys(&old) {
                self.forget(&key, |on_key| on_key.claims.remove(object));
            }
        }
    }

    /// Records a store; the canonical keys of its claims may change with it.
    pub fn put_store(&mut self, name: &str, state: Option<StoreState>) {
        let affected: Vec<Claim> = self.claims().filter(|c| &*c.store == name).cloned().collect();
        for claim in &affected {
            self.remove_claim(&claim.object);
        }
        let before = match state {
            Some(state) => self.stores.insert(name.to_owned(), state),
            None => self.stores.remove(name),
        };
        let now = self.stores.get(name).and_then(StoreState::realm);
        if let Some(former) = before.as_ref().and_then(StoreState::realm).filter(|former| Some(*former) != now) {
            let all = self.former_realms.entry(name.to_owned()).or_default();
            if !all.contains(former) {
                all.push(former.clone());
            }
        }
        self.revocations.resolve(&self.stores);
        for claim in affected {
            self.put_claim(claim);
        }
    }

    /// Records a KeyRevocation; None: it is gone.
    pub fn put_revocation(&mut self, name: &str, revocation: Option<Revocation>) {
        self.revocations.put(name, revocation, &self.stores);
    }

    /// Records what a sealed Secret holds.
    pub fn put_holding(&mut self, secret: ObjectName, holding: Arc<Holding>) {
        self.remove_holding(&secret);
        for key in holding.keys() {
            let holders = &mut self.by_key.entry(key.clone()).or_default().holdings;
            holders.insert(secret.clone());
            if holders.is_several() {
                self.contested.insert(key.clone());
            }
        }
        for fingerprint in &holding.fingerprints {
            let holders = self.holdings_by_fingerprint.entry(*fingerprint).or_default();
            holders.insert(secret.clone());
            if holders.is_several() {
                self.repeated.insert(*fingerprint);
            }
        }
        for weak in holding.marks.weak() {
            self.holdings_by_weak.entry(*weak).or_default().insert(secret.clone());
        }
        for within in holding.marks.within() {
            self.holdings_by_within.entry(*within).or_default().insert(secret.clone());
        }
        if !holding.marks.each.is_empty() {
            let marks = Arc::make_mut(&mut self.marks);
            holding.marks.each.iter().for_each(|mark| marks.insert(holding.marks.generation, *mark));
        }
        self.take_name(&secret.name);
        self.regroup(&secret.clone(), |world| {
            world.holdings.insert(secret, holding);
        });
    }

    /// Forgets a sealed Secret.
    pub fn remove_holding(&mut self, secret: &ObjectName) {
        let mut removed = None;
        self.regroup(secret, |world| removed = world.holdings.remove(secret));
        let Some(old) = removed else { return };
        self.give_up_name(&secret.name);
        for key in old.keys() {
            self.forget(key, |on_key| on_key.holdings.remove(secret));
            if self.by_key.get(key).is_none_or(|on_key| !on_key.holdings.is_several()) {
                self.contested.remove(key);
            }
        }
        for weak in old.marks.weak() {
            forget_holder(&mut self.holdings_by_weak, weak, secret);
        }
        for within in old.marks.within() {
            forget_holder(&mut self.holdings_by_within, within, secret);
        }
        for (i, fingerprint) in old.fingerprints.iter().enumerate() {
            forget_holder(&mut self.holdings_by_fingerprint, fingerprint, secret);
            if self.holdings_by_fingerprint.get(fingerprint).is_none_or(|holders| !holders.is_several()) {
                self.repeated.remove(fingerprint);
            }
            let Some(mark) = old.marks.each.get(i) else { continue };
            // Who holds it under a seal from before there were marks does not keep it.
            if !self.holdings_with(fingerprint).any(|(_, other)| !other.marks.each.is_empty()) {
                Arc::make_mut(&mut self.marks).remove(old.marks.generation, mark);
            }
        }
    }

    /// Makes a change of a Secret, or of its claim: whom it is like may be another afterwards.
    fn regroup(&mut self, secret: &ObjectName, change: impl FnOnce(&mut Self)) {
        let group = |world: &Self| {
            let holding = world.holdings.get(secret)?;
            let claim = ObjectName::of(secret.namespace.clone(), holding.claim.clone());
            let claim = world.claim(&claim).filter(|claim| claim.target == secret.name);
            let asked = claim.map(|claim| world.canonical_keys(claim)).unwrap_or_default();
            Some(Likeness::of(secret, holding, claim.map(|claim| (claim, &*asked))))
        };
        let before = group(self);
        change(self);
        let after = group(self);
        if before != after {
            before.into_iter().for_each(|group| self.alike.remove(&group, &secret.name));
            after.into_iter().for_each(|group| self.alike.put(group, secret.name.clone()));
        }
    }

    /// The Secrets of a namespace, in groups that policies judge alike.
    pub fn groups_in(&self, namespace: &Arc<str>) -> impl Iterator<Item = Group<'_>> {
        self.alike.in_namespace(namespace)
    }

    fn hash_of(&self, name: &str) -> u32 {
        let whole = self.hashing.hash_one(name);
        u32::try_from(whole >> 32).unwrap_or_default()
    }

    fn take_name(&mut self, name: &str) {
        *self.names.entry(self.hash_of(name)).or_default() += 1;
    }

    fn give_up_name(&mut self, name: &str) {
        if let Entry::Occupied(mut count) = self.names.entry(self.hash_of(name)) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }

    /// Whether a Secret of this name is, or will be, projected anywhere.
    pub fn is_projected(&self, name: &str) -> bool {
        self.names.contains_key(&self.hash_of(name))
    }

    fn forget(&mut self, key: &CanonicalKey, whom: impl FnOnce(&mut OnKey)) {
        let Some(on_key) = self.by_key.get_mut(key) else { return };
        whom(on_key);
        if on_key.claims.is_empty() && on_key.holdings.is_empty() {
            self.by_key.remove(key);
        }
    }

    /// The labels by which namespaces are governed; None while not every policy was seen.
    pub fn governed(&self) -> Option<Governed> {
        let uncertain = self.policies.values().any(|state| matches!(state, PolicyState::Unknown(_)));
        // Who can govern no namespace is no policy here: the API server refuses a selector that nothing can meet.
        let able: Vec<_> = self
            .policies
            .values()
            .filter_map(|state| match state {
                PolicyState::Known(policy) => Some((LabelSet::of(&policy.segment_labels), policy, policy.picked()?)),
                PolicyState::Unknown(_) => None,
            })
            .collect();
        let all = || able.iter().map(|(labels, policy, picked)| (labels.clone(), policy, picked));
        let governed = Governed::new(all().map(|(labels, ..)| labels), uncertain)
            .holding(all().map(|(labels, policy, _)| (labels, policy.governs.clone())))
            .enforcing(all().map(|(labels, policy, _)| (labels, policy.enforced())))
            .picking(all().map(|(labels, _, picked)| (labels, picked.clone())));
        self.policies_synced.then_some(governed)
    }

    /// The rules of which an exception of a policy ended in this time, or began, since it ends in no more than 90 days by now: what
    /// it lifts is judged anew.
    pub fn exceptions_turning_between(&self, after: Timestamp, until: Timestamp) -> BTreeSet<ExceptedRule> {
        let turns = |exception: &&Exception| {
            let end = exception.expiration_time.0;
            let begin = end.checked_sub(EXCEPTION_LIMIT).unwrap_or(Timestamp::MIN);
            [begin, end].into_iter().any(|at| after < at && at <= until)
        };
        let known = self.policies.values().filter_map(PolicyState::known);
        known.flat_map(|policy| &policy.exceptions).filter(turns).map(|exception| exception.rule).collect()
    }

    /// The same key, in a text that is in memory already where it is.
    pub fn shared(&self, key: &CanonicalKey) -> CanonicalKey {
        self.by_key.get_key_value(key).map_or(key, |(known, _)| known).clone()
    }

    /// What finds copies of the values that are held. A search takes it along: while it reads, changes are made to a copy.
    pub fn marks(&self) -> Arc<MarkIndex> {
        self.marks.clone()
    }

    /// A claim.
    pub fn claim(&self, object: &ObjectName) -> Option<&Claim> {
        self.claims.get(object).map(|claim| &**claim)
    }

    /// The claims whose Secret has this name.
    pub fn claims_for(&self, secret: &ObjectName) -> impl Iterator<Item = &ObjectName> {
        let namesake = self.claim(secret).filter(|claim| claim.target == secret.name).map(|claim| &claim.object);
        namesake.into_iter().chain(self.renamed.get(secret).into_iter().flat_map(Few::iter))
    }

    /// Every claim.
    pub fn claims(&self) -> impl Iterator<Item = &Claim> {
        self.claims.values().map(|claim| &**claim)
    }

    /// What a Secret holds.
    pub fn holding(&self, secret: &ObjectName) -> Option<&Arc<Holding>> {
        self.holdings.get(secret)
    }

    /// The names by which an exception may name a key: its own, without account and region, and of a file that within a directory.
    pub fn names_of<'w>(&'w self, key: &'w CanonicalKey) -> impl Iterator<Item = &'w str> {
        let plain = key.in_aws().map(|(.., name)| name);
        let roots = self.stores.values().filter_map(|store| store.realm()).filter(|_| key.is_file());
        std::iter::once(key.as_str()).chain(plain).chain(roots.filter_map(|realm| key.name_within(realm)))
    }

    /// Whether what is held is of the place that a store reached until it was changed, and not of the one that it reaches now: nobody has
    /// taken it away then.
    pub fn was_moved(&self, store: &str, held: &Holding) -> bool {
        let Some(now) = self.stores.get(store).and_then(StoreState::realm) else { return false };
        let formerly = |key: &CanonicalKey| self.former_of(store).any(|former| key.name_within(former).is_some());
        held.keys().all(|key| formerly(key) && key.name_within(now).is_none())
    }

    fn former_of(&self, store: &str) -> impl Iterator<Item = &Realm> {
        self.former_realms.get(store).into_iter().flatten()
    }

    /// The keys of that name in the places that a store reached before it was changed.
    pub fn former_keys(&self, store: &str, key: &CanonicalKey) -> Vec<CanonicalKey> {
        let now = self.stores.get(store).and_then(StoreState::realm);
        let name = now.and_then(|now| RemoteKey::parse(key.name_within(now)?).ok());
        let formerly =
            name.iter().flat_map(|name| self.former_of(store).filter_map(|former| former.resolve(name).ok()));
        formerly.map(|(former, _)| former).filter(|former| former != key).collect()
    }

    /// Whether a store reaches a key as things are.
    pub fn is_reached(&self, key: &CanonicalKey) -> bool {
        self.stores.values().filter_map(StoreState::realm).any(|realm| key.name_within(realm).is_some())
    }

    /// Every holding.
    pub fn holdings(&self) -> impl Iterator<Item = (&ObjectName, &Holding)> {
        self.holdings.iter().map(|(secret, holding)| (secret, &**holding))
    }

    /// Every holding of one namespace.
    pub fn holdings_in<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = (&'a ObjectName, &'a Holding)> {
        let first = ObjectName::new(namespace, "");
        let from_there = self.holdings.range(first..).map(|(secret, holding)| (secret, &**holding));
        from_there.take_while(move |(secret, _)| *secret.namespace == *namespace)
    }

    /// What the Secret of a claim holds, if it was projected for that claim.
    pub fn holding_of(&self, claim: &Claim) -> Option<&Holding> {
        self.holdings.get(&claim.secret()).map(|h| &**h).filter(|h| h.claim == claim.object.name)
    }

    /// The claims that name a key.
    pub fn claims_on(&self, key: &CanonicalKey) -> impl Iterator<Item = &Claim> {
        let named = self.by_key.get(key).into_iter().flat_map(|on_key| on_key.claims.iter());
        named.filter_map(|object| self.claim(object))
    }

    /// The sealed Secrets that hold a key.
    pub fn holdings_on(&self, key: &CanonicalKey) -> impl Iterator<Item = (&ObjectName, &Holding)> {
        let held = self.by_key.get(key).into_iter().flat_map(|on_key| on_key.holdings.iter());
        held.filter_map(|secret| self.held_by(secret))
    }

    /// The sealed Secrets that hold a key, in the namespaces that are asked for. Those of one namespace are passed over at once: who
    /// names one key in thousands of ScopedSecrets of his own makes nobody wait.
    pub fn holdings_on_in<'w>(
        &'w self,
        key: &CanonicalKey,
        asks: impl FnMut(&str) -> bool + 'w,
    ) -> impl Iterator<Item = (&'w ObjectName, &'w Holding)> {
        let holders = self.by_key.get(key).map(|on_key| &on_key.holdings);
        holders.map(|all| in_namespaces(all, asks)).into_iter().flatten().filter_map(|secret| self.held_by(secret))
    }

    /// The claims that name a key, likewise.
    pub fn claims_on_in<'w>(
        &'w self,
        key: &CanonicalKey,
        asks: impl FnMut(&str) -> bool + 'w,
    ) -> impl Iterator<Item = &'w Claim> {
        let named = self.by_key.get(key).map(|on_key| &on_key.claims);
        named.map(|all| in_namespaces(all, asks)).into_iter().flatten().filter_map(|object| self.claim(object))
    }

    /// The names of the sealed Secrets that hold a key.
    pub fn holders_of(&self, key: &CanonicalKey) -> impl Iterator<Item = &ObjectName> + use<'_> {
        self.by_key.get(key).into_iter().flat_map(|on_key| on_key.holdings.iter())
    }

    /// Since when a Secret has held its keys, in the segment where it is.
    pub fn held_since(&self, secret: &ObjectName, held: &Holding) -> Timestamp {
        self.entered.get(&secret.namespace).map_or(held.held_since, |entered| held.held_since.max(*entered))
    }

    /// Whether another Secret holds a key.
    pub fn others_hold(&self, key: &CanonicalKey, secret: &ObjectName) -> bool {
        self.by_key.get(key).is_some_and(|on_key| on_key.holdings.iter().any(|holder| holder != secret))
    }

    /// The keys that several Secrets hold.
    pub fn contested(&self) -> impl Iterator<Item = &CanonicalKey> {
        self.contested.iter()
    }

    /// The values that are inside what others project.
    pub fn enclosed(&self) -> impl Iterator<Item = &Fingerprint> {
        self.holdings_by_within.keys()
    }

    /// The values that several Secrets hold.
    pub fn repeated(&self) -> impl Iterator<Item = &Fingerprint> {
        self.repeated.iter()
    }

    /// The sealed Secrets that hold a value with this fingerprint.
    pub fn holdings_with(&self, fingerprint: &Fingerprint) -> impl Iterator<Item = (&ObjectName, &Holding)> {
        let secrets = self.holdings_by_fingerprint.get(fingerprint).into_iter().flat_map(Few::iter);
        secrets.filter_map(|secret| self.held_by(secret))
    }

    /// Those that hold a value with this fingerprint which is easy to guess.
    pub fn holdings_with_weak(&self, fingerprint: &Fingerprint) -> impl Iterator<Item = (&ObjectName, &Holding)> {
        let secrets = self.holdings_by_weak.get(fingerprint).into_iter().flat_map(Few::iter);
        secrets.filter_map(|secret| self.held_by(secret))
    }

    /// Those in which such a value of another Secret is inside what they hold, as far as that was seen when they were written.
    pub fn holdings_around(&self, fingerprint: &Fingerprint) -> impl Iterator<Item = (&ObjectName, &Holding)> {
        let secrets = self.holdings_by_within.get(fingerprint).into_iter().flat_map(Few::iter);
        secrets.filter_map(|secret| self.held_by(secret))
    }

    fn held_by(&self, secret: &ObjectName) -> Option<(&ObjectName, &Holding)> {
        self.holdings.get_key_value(secret).map(|(secret, holding)| (secret, &**holding))
    }

    /// The canonical keys of a claim that can be told now.
    pub fn canonical_keys(&self, claim: &Claim) -> Vec<CanonicalKey> {
        let Some(realm) = self.stores.get(&*claim.store).and_then(StoreState::realm) else { return Vec::new() };
        let keys = claim.asks.iter().filter_map(|(text, _)| Some(realm.resolve(&RemoteKey::parse(text).ok()?).ok()?.0));
        keys.collect::<BTreeSet<_>>().into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{TENANTS, at, claim, now, policy};
    use super::*;

    #[test]
    fn a_secret_is_of_the_claims_whose_target_it_is() {
        let mut world = World::with_tenants();
        let of = |world: &World, secret: &str| {
            let secret = ObjectName::new("payments-prod", secret);
            let claims: BTreeSet<&str> = world.claims_for(&secret).map(|claim| &*claim.name).collect();
            claims.into_iter().collect::<Vec<_>>().join(" ")
        };
        let put = |world: &mut World, name: &str, target: &str| {
            world.put_claim(Claim { target: target.into(), ..claim("payments-prod", name).of("payments/prod/a") });
        };
        put(&mut world, "a", "a");
        put(&mut world, "b", "a");
        put(&mut world, "c", "a");
        assert_eq!([of(&world, "a"), of(&world, "b")], ["a b c", ""]);
        // A store that changes records its claims anew.
        world.put_store("aws", None);
        put(&mut world, "a", "b");
        put(&mut world, "b", "b");
        assert_eq!([of(&world, "a"), of(&world, "b")], ["c", "a b"]);
        for name in ["a", "b", "c"] {
            world.remove_claim(&ObjectName::new("payments-prod", name));
        }
        assert!(world.renamed.is_empty());
    }

    #[test]
    fn exceptions_begin_and_end() {
        let end = jiff::SignedDuration::from_hours(100 * 24);
        let (end, begin) = (now() + end, now() + (end - EXCEPTION_LIMIT));
        let yaml = format!(
            "{TENANTS}exceptions: [{{rule: UniqueValues, namespaces: [a], reason: r, expirationTime: \"{end}\"}}]\n"
        );
        let world = World::with_tenants().under([policy("tenants", &yaml)]);
        let second = jiff::SignedDuration::from_secs(1);
        for (after, until, turns) in [
            (now(), begin - second, false),
            (begin - second, begin, true),
            (begin, end - second, false),
            (end - second, end, true),
            (end, end + second, false),
            (now(), end, true),
        ] {
            let turning = world.exceptions_turning_between(after, until);
            assert_eq!(turning.contains(&ExceptedRule::UniqueValues), turns, "{after} {until}");
            assert_eq!(turning.len(), usize::from(turns));
        }
    }

    #[test]
    fn what_a_store_had_before_it_was_changed() {
        let mut world = World::with_tenants();
        let secret = ObjectName::new("payments-prod", "a");
        world.holds(claim("payments-prod", "a").of("payments/prod/db"), at(1));
        let was_moved = |world: &World| world.was_moved("aws", world.holding(&secret).unwrap());
        let before = world.stores["aws"].clone();
        assert!(!was_moved(&world));
        let elsewhere = Realm::Aws { account: "999999999999".into(), region: "eu-west-1".into() };
        world.put_store("other", Some(StoreState::Known(elsewhere.clone())));
        assert!(!world.was_moved("other", world.holding(&secret).unwrap()), "it never had that");
        world.put_store("aws", None);
        assert!(!was_moved(&world), "gone is another matter");
        world.put_store("aws", Some(StoreState::Known(elsewhere)));
        assert!(was_moved(&world));
        let key = |account: &str| CanonicalKey::from_sealed(&format!("aws:{account}:eu-west-1:payments/prod/db"));
        assert_eq!(world.former_keys("aws", &key("999999999999")), [key("123456789012")]);
        assert!(!world.is_reached(&key("123456789012")) && world.is_reached(&key("999999999999")));
        // Two mistakes, one after the other.
        let third = Realm::Aws { account: "888888888888".into(), region: "eu-west-1".into() };
        world.put_store("aws", Some(StoreState::Known(third)));
        assert!(was_moved(&world));
        assert_eq!(world.former_keys("aws", &key("888888888888")), [key("123456789012"), key("999999999999")]);
        world.put_store("aws", Some(before));
        assert!(!was_moved(&world));
    }
}
