//! What other operators' objects ask for, by the same questions as a ScopedSecret: is the key allowed here, and is it
//! somebody else's?
//!
//! The region is the foreign store's; the account is that of the role that it assumes, else the one account of the allowed
//! ScopedSecretStores in that region. What cannot be told is outside.
//!
//! A ScopedSecret goes before any object of another operator, so that nobody who migrates is held up; of two such objects
//! the older one goes first.

use super::{
    ASK_THE_PLATFORM, AllowEntry, CONTEST_LIMIT, Contest, Coverage, ModalRule, Mode, Scope, Unscoped, View,
    rival_is_permitted, scope_of,
};
use crate::api::Reason;
use crate::api::policy::{Action, ExceptedRule, Governs};
use crate::segmentation::foreign::{
    Ask, ForeignKind, ForeignName, ForeignStore, RULE, Record, Source, Spread, What, asked,
};
use crate::segmentation::key::{CanonicalKey, Realm, RemoteKey};
use crate::segmentation::pattern::{KeyPattern, Place};
use crate::segmentation::verdict::Refusal;
use crate::segmentation::violation::{ObjectRef, Violation};
use crate::segmentation::world::{ObjectName, PolicyState, StoreState};
use jiff::Timestamp;
use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub struct Asker<'a> {
    /// The object.
    pub object: &'a ForeignName,
    /// Its uid.
    pub uid: &'a str,
    /// Its creationTimestamp.
    pub created: Timestamp,
}

/// A refusal, and the namespace whose policies refuse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The namespace.
    pub namespace: Arc<str>,
    /// The ask, by its place in the list; none has the place of what is refused as a whole.
    pub ask: usize,
    /// The key that is refused, if it can be told.
    pub key: Option<CanonicalKey>,
    /// Why, and how it is answered.
    pub refusal: Refusal,
}

/// By what one refusal is the same as another.
type Sameness<'r> = (&'r str, usize, Option<&'r CanonicalKey>, Reason);

/// What was refused before the change of a store.
pub struct Stood<'r>(HashSet<Sameness<'r>>);

impl<'r> Stood<'r> {
    /// These.
    pub fn of(refused: &'r [Refused]) -> Self {
        Self(refused.iter().map(Refused::sameness).collect())
    }

    /// Whether it is a refusal that stood before, so that the change of a store brings nothing new. What could not be told
    /// before (no store yet, an account or a policy unknown) fetched nothing, and is no licence for what can be told now.
    pub fn has(&self, refused: &'r Refused) -> bool {
        let told =
            !matches!(refused.refusal.reason, Reason::StoreUnresolved | Reason::AccountUnknown | Reason::PolicyUnknown);
        told && self.0.contains(&refused.sameness())
    }
}

impl Refused {
    fn sameness(&self) -> Sameness<'_> {
        (&self.namespace, self.ask, self.key.as_ref(), self.refusal.reason)
    }
}

/// Judges objects of other operators.
#[derive(Clone, Copy)]
pub struct Foreigners<'w> {
    world: View<'w>,
    now: Timestamp,
    /// A store as it would be.
    tried: Option<(&'w ForeignName, &'w ForeignStore)>,
    /// The one namespace that is judged; None: each.
    within: Option<&'w Arc<str>>,
    /// Whether refusals come without a text: only whether there are any is asked.
    is_mute: bool,
}

/// Judges objects under two sets of policies, one object after the other: of many in one namespace it is looked up once.
pub struct Compared<'w> {
    before: Foreigners<'w>,
    after: Foreigners<'w>,
    last: Option<Here<'w>>,
}

/// A namespace, as both judge the objects of one operator in it.
struct Here<'w> {
    by: Governs,
    namespace: &'w Arc<str>,
    held: [Held<'w>; 2],
    /// Whether both would look for a key in the same account.
    is_alike: bool,
    asked: Asked<'w>,
}

/// What was asked last in a namespace, and where that has its keys.
#[derive(Default)]
struct Asked<'w>(Option<(&'w Source, Whereabouts<'w>)>);

/// Where a source has its keys.
#[derive(Clone, Copy)]
struct Whereabouts<'s> {
    /// None: the node's.
    region: Option<&'s str>,
    /// None: that of the namespace's stores.
    account: Option<&'s str>,
    prefix: &'s str,
}

/// So many keys are judged for one change at most, each once in every namespace that it comes to: less than a tenth of a second.
const ASKS: usize = 10_000;

type Fault = (Reason, String);

enum Held<'w> {
    /// No policy over it asks for that.
    Free,
    By(Scope<'w>),
    /// That cannot be told now.
    InDoubt(Refusal),
}

impl<'w> Foreigners<'w> {
    /// Over a world.
    pub fn new(world: impl Into<View<'w>>, now: Timestamp) -> Self {
        Self { world: world.into(), now, tried: None, within: None, is_mute: false }
    }

    /// Of what goes to many namespaces, only what comes to this one.
    pub fn within(self, namespace: Option<&'w Arc<str>>) -> Self {
        Self { within: namespace, ..self }
    }

    /// With a store as it would be.
    pub fn with_store(self, name: &'w ForeignName, store: &'w ForeignStore) -> Self {
        Self { tried: Some((name, store)), ..self }
    }

    /// Refuses the change of a namespace's store that so many keys are asked of: judging them takes too long.
    pub fn too_many(&self, store: &ForeignName, asks: usize) -> Option<Refused> {
        let namespace = store.namespace.as_ref().filter(|_| asks > ASKS)?;
        let Held::By(scope) = self.held(store.kind.governs(), namespace) else { return None };
        let message = format!(
            "{asks} keys are asked of this store, and a change of more than {ASKS} is not judged: make another store, and have what asks this one ask that"
        );
        let refusal = Refusal { reason: Reason::KeyNotExact, message, mode: self.answer(&scope, "", None) };
        Some(Refused { namespace: namespace.clone(), ask: 0, key: None, refusal })
    }

    /// Refuses what spreads so many keys over so many namespaces that judging it takes too long, in each of them.
    fn too_many_of_spread(&self, reached: &[&Arc<str>], asker: Asker<'_>, asks: usize) -> Vec<Refused> {
        if asks * reached.len() <= ASKS {
            return Vec::new();
        }
        let held = reached.iter().filter_map(|namespace| match self.held(asker.object.kind.governs(), namespace) {
            Held::By(scope) => Some((self.answer(&scope, "", None), *namespace)),
            Held::Free | Held::InDoubt(_) => None,
        });
        let held: Vec<(Mode, &Arc<str>)> = held.collect();
        if asks * held.len() <= ASKS {
            return Vec::new();
        }
        let message = format!(
            "it asks for {asks} keys in each of {} governed namespaces, and more than {ASKS} in all are not judged: divide it, by its keys or by its namespaceSelectors",
            held.len()
        );
        let refused = |(mode, namespace): (Mode, &Arc<str>)| {
            let refusal = Refusal { reason: Reason::KeyNotExact, message: message.clone(), mode };
            Refused { namespace: namespace.clone(), ask: usize::MAX, key: None, refusal }
        };
        held.into_iter().map(refused).collect()
    }

    /// What of an object is refused, as far as it is known.
    pub fn refusals_of(&self, name: &ForeignName, record: &Record) -> Vec<Refused> {
        let asker = Asker { object: name, uid: &record.uid, created: record.created };
        match &record.spread {
            Some(spread) => self.refusals_of_spread(asker, &record.asks, spread),
            None => self.refusals(asker, &record.asks),
        }
    }

    /// What of an object in a namespace is refused.
    pub fn refusals(&self, asker: Asker<'_>, asks: &[Ask]) -> Vec<Refused> {
        let Some(namespace) = &asker.object.namespace else { return Vec::new() };
        self.refusals_in(namespace, asker, asks)
    }

    /// What of a ClusterExternalSecret is refused, in the namespaces that it spreads to now.
    pub fn refusals_of_spread(&self, asker: Asker<'_>, asks: &[Ask], spread: &Spread) -> Vec<Refused> {
        let mut all: Vec<(&Arc<str>, &BTreeMap<String, String>)> =
            self.world.world.namespaces.iter().filter(|(name, labels)| spread.reaches(name, labels)).collect();
        // Each is held against the first that gets a key: whom an exception names comes last, since it lifts nothing between others.
        all.sort_by_cached_key(|(name, _)| (self.is_named_to_share(name), *name));
        let reached: Vec<&Arc<str>> = all.into_iter().map(|(name, _)| name).collect();
        if self.within.is_none() {
            let too_many = self.too_many_of_spread(&reached, asker, asks.len());
            if !too_many.is_empty() {
                return too_many;
            }
        }
        let judged = reached.iter().filter(|namespace| self.within.is_none_or(|within| within == **namespace));
        let alone = judged.flat_map(|namespace| self.refusals_in(namespace, asker, asks));
        alone.chain(self.shared(&reached, asker, asks)).collect()
    }

    /// Whether an exception lets a namespace share keys with others.
    fn is_named_to_share(&self, namespace: &str) -> bool {
        self.world.policies.values().any(|state| match state {
            PolicyState::Known(policy) => policy.lifts(ExceptedRule::ExclusiveKeys, None, &[namespace], self.now),
            PolicyState::Unknown(_) => false,
        })
    }

    /// The keys that an object in a namespace reads, as far as they can be told; each with its place in the list of asks.
    pub fn keys(&self, object: &ForeignName, asks: &[Ask]) -> Vec<(usize, CanonicalKey)> {
        let scope = object.namespace.as_deref().and_then(|namespace| scope_of(namespace, self.world).ok());
        let Some(scope) = scope else { return Vec::new() };
        let each = asks.iter().enumerate().flat_map(|(at, ask)| ask.sources().iter().map(move |from| (at, ask, from)));
        each.filter_map(|(at, ask, from)| Some((at, self.locate(object, from, &ask.key, &scope).ok()?))).collect()
    }

    /// What breaks the rule now, of all that was observed.
    pub fn findings(&self) -> Vec<Violation> {
        let world = self.world.world;
        world.foreign.objects().flat_map(|(name, record)| self.findings_of(name, record)).collect()
    }

    /// What of one object breaks the rule now, where no exception lifts it.
    pub fn findings_of(&self, name: &ForeignName, record: &Record) -> Vec<Violation> {
        let refused = self.refusals_of(name, record);
        let mut found: BTreeMap<(Arc<str>, Reason), (usize, String)> = BTreeMap::new();
        for refused in refused {
            let Ok(scope) = scope_of(&refused.namespace, self.world) else { continue };
            if self.is_lifted(&scope, &refused, record) {
                continue;
            }
            let by = (Arc::from(scope.segment.name()), refused.refusal.reason);
            found.entry(by).and_modify(|(count, _)| *count += 1).or_insert((1, refused.refusal.message));
        }
        let object = ObjectRef {
            api_version: format!("{}/{}", name.kind.group(), name.kind.versions().first().copied().unwrap_or_default()),
            kind: name.kind.kind().to_owned(),
            namespace: name.namespace.clone(),
            name: name.name.to_string(),
        };
        let violation = |((segment, reason), (count, message))| Violation {
            segment,
            rule: RULE,
            reason,
            object: object.clone(),
            message: if count > 1 { format!("{message} (and {} more like this)", count - 1) } else { message },
        };
        found.into_iter().map(violation).collect()
    }

    fn refusals_in(&self, namespace: &Arc<str>, asker: Asker<'_>, asks: &[Ask]) -> Vec<Refused> {
        let scope = match self.held(asker.object.kind.governs(), namespace) {
            Held::Free => return Vec::new(),
            Held::InDoubt(refusal) => {
                return vec![Refused { namespace: namespace.clone(), ask: 0, key: None, refusal }];
            }
            Held::By(scope) => scope,
        };
        let contest = self.contest();
        let judged = asks.iter().enumerate().filter_map(|(at, ask)| {
            let (canonical, (reason, message)) = self.fault(asker, ask, &scope, &contest)?;
            let mode = self.answer(&scope, &ask.key, canonical.as_ref());
            let refusal = Refusal { reason, message, mode };
            Some(Refused { namespace: namespace.clone(), ask: at, key: canonical, refusal })
        });
        judged.collect()
    }

    fn contest(&self) -> Contest<'w> {
        Contest { world: self.world, now: self.now, asked: RefCell::default() }
    }

    /// A text, if there is somebody to read it.
    fn say(&self, text: impl FnOnce() -> String) -> String {
        if self.is_mute { String::new() } else { text() }
    }

    /// Whether the policies over a namespace hold a kind of objects to their rules.
    fn held(&self, by: Governs, namespace: &str) -> Held<'w> {
        match scope_of(namespace, self.world) {
            Ok(scope) if scope.policies.iter().any(|p| p.governs.contains(&by)) => Held::By(scope),
            Ok(_) | Err(Unscoped::Refused(_)) => Held::Free,
            Err(Unscoped::Undecided(refusal)) => {
                let labels = self.world.namespaces.get(namespace);
                // Who cannot be understood may ask for it; the webhook is registered only if somebody did.
                let asks = |state: &&PolicyState| match state {
                    PolicyState::Known(policy) => {
                        policy.governs.contains(&by) && labels.is_none_or(|labels| policy.selects(namespace, labels))
                    }
                    PolicyState::Unknown(_) => true,
                };
                let asking: Vec<&PolicyState> = self.world.policies.values().filter(asks).collect();
                if asking.is_empty() && self.world.policies_synced {
                    return Held::Free;
                }
                let modes = asking.iter().map(|state| match state {
                    PolicyState::Known(policy) => policy.mode,
                    PolicyState::Unknown(_) => Mode::Enforce,
                });
                let mode = modes.max().unwrap_or_default();
                Held::InDoubt(Refusal { mode, ..refusal })
            }
        }
    }

    /// The strictest answer of the policies over the namespace.
    fn answer(&self, scope: &Scope<'_>, written: &str, canonical: Option<&CanonicalKey>) -> Mode {
        let has_exceptions = scope.policies.iter().any(|policy| !policy.exceptions.is_empty());
        let forms = if has_exceptions { forms(written, canonical) } else { Vec::new() };
        let answers =
            scope.policies.iter().map(|p| p.answers_for(ModalRule::OtherOperators, &forms, scope.namespace, self.now));
        answers.max().unwrap_or_default()
    }

    /// Whether exceptions of all policies over the namespace lift it.
    fn is_lifted(&self, scope: &Scope<'_>, refused: &Refused, record: &Record) -> bool {
        let written = record.asks.get(refused.ask).map_or("", |ask| &*ask.key);
        let forms = forms(written, refused.key.as_ref());
        let rule = ExceptedRule::OtherOperators;
        scope.policies.iter().all(|p| p.lifts_for_any(rule, &forms, scope.namespace, self.now))
    }

    fn fault(
        &self,
        asker: Asker<'_>,
        ask: &Ask,
        scope: &Scope<'_>,
        contest: &Contest<'_>,
    ) -> Option<(Option<CanonicalKey>, Fault)> {
        let fault = |reason, text: &dyn Fn() -> String| Some((None, (reason, self.say(text))));
        let (from, any_version) = match &ask.what {
            What::Read { from, any_version } => (from, *any_version),
            What::Outside(reason, why) if ask.key.is_empty() => return fault(*reason, &|| why.to_string()),
            What::Outside(reason, why) => return fault(*reason, &|| format!("key {:?}: {why}", ask.key)),
            What::Write { .. } => {
                let text = || {
                    format!(
                        "it would write the key {:?}, and {} nobody write by another operator: reading never implies writing; remove it, or ask the platform team for an exception to {RULE}",
                        ask.key,
                        scope.policies_that("lets", "let")
                    )
                };
                return fault(Reason::WriteNotAllowed, &text);
            }
            What::Push(secret) => {
                let which = self.carries_away(scope.namespace, secret.as_deref())?;
                let text = || match asker.object.kind {
                    ForeignKind::PushSecret => format!(
                        "it would send {which} out of this namespace: leave that Secret out; who else needs the credential claims a key of their own"
                    ),
                    _ => format!(
                        "its target.template would copy {which} into a Secret that any pod may use: leave that Secret out of templateFrom; spec.target.template of the ScopedSecret makes what a workload needs of its values"
                    ),
                };
                return fault(Reason::ReplicatedOut, &text);
            }
        };
        let key = match self.locate(asker.object, from, &ask.key, scope) {
            Ok(key) => key,
            Err(why) => return Some((None, why)),
        };
        let barred = self.not_allowed(&key, &ask.key, any_version, scope);
        let found = barred.or_else(|| self.owned_elsewhere(asker, ask, &key, scope, contest));
        found.map(|why| (Some(key), why))
    }

    /// The projected Secret that is sent or copied elsewhere.
    fn carries_away(&self, namespace: &str, secret: Option<&str>) -> Option<String> {
        let Some(name) = secret else {
            let any = self.world.holdings_in(namespace).next()?.0;
            return Some(format!("whatever labels pick, which may be projected Secrets such as {:?}", any.name));
        };
        let object = ObjectName::new(namespace, name);
        let claimed = self.world.claims_for(&object).next().is_some();
        (claimed || self.world.holding(&object).is_some()).then(|| format!("the projected Secret {name:?}"))
    }

    /// The key in canonical form.
    fn locate(&self, object: &ForeignName, from: &Source, key: &str, scope: &Scope<'_>) -> Result<CanonicalKey, Fault> {
        self.locate_at(self.whereabouts(object, from, key, scope.namespace)?, key, scope)
    }

    fn whereabouts<'s>(
        &self,
        object: &ForeignName,
        from: &'s Source,
        key: &str,
        namespace: &str,
    ) -> Result<Whereabouts<'s>, Fault>
    where
        'w: 's,
    {
        match from {
            Source::Region(region) => Ok(Whereabouts { region: Some(region), account: None, prefix: "" }),
            Source::NodeRegion => Ok(Whereabouts { region: None, account: None, prefix: "" }),
            Source::Store { .. } => match self.store(object, from, namespace)? {
                ForeignStore::Aws { region, account, prefix, .. } => {
                    Ok(Whereabouts { region: Some(region), account: account.as_deref(), prefix })
                }
                ForeignStore::Unclear(why) => {
                    Err((Reason::StoreUnresolved, self.say(|| format!("key {key:?}: of the store, {why}"))))
                }
            },
        }
    }

    fn locate_at(&self, there: Whereabouts<'_>, key: &str, scope: &Scope<'_>) -> Result<CanonicalKey, Fault> {
        let Whereabouts { region, account, prefix } = there;
        let written = if prefix.is_empty() { Cow::Borrowed(key) } else { Cow::Owned(format!("{prefix}{key}")) };
        let parsed = RemoteKey::parse(&written)
            .map_err(|why| (Reason::InvalidKey, self.say(|| format!("key {written:?} cannot be judged: {why}"))))?;
        match (&parsed, region) {
            (RemoteKey::Arn(arn), Some(region)) if arn.region != region => {
                let text = || {
                    format!(
                        "key {written:?} is of region {}, and its store of {region}: use a store of its region",
                        arn.region
                    )
                };
                Err((Reason::WrongRegion, self.say(text)))
            }
            (RemoteKey::Arn(arn), _) => Ok(CanonicalKey::of_arn(arn)),
            (RemoteKey::Name(_), None) => {
                let text = || {
                    format!(
                        "key {written:?}: the region is the node's, which cannot be told: write parameters.region, or the full ARN"
                    )
                };
                Err((Reason::StoreUnresolved, self.say(text)))
            }
            (RemoteKey::Name(name), Some(region)) => {
                let account = account.map_or_else(|| self.one_account(&written, region, scope), Ok)?;
                Ok(CanonicalKey::aws(account, region, name))
            }
        }
    }

    /// The region of a source that does not say its account.
    pub fn region<'s>(&self, object: &ForeignName, from: &'s Source) -> Option<&'s str>
    where
        'w: 's,
    {
        match from {
            Source::Store { .. } => match self.store(object, from, object.namespace.as_deref()?).ok()? {
                ForeignStore::Aws { region, account: None, .. } => Some(&**region),
                ForeignStore::Aws { .. } | ForeignStore::Unclear(_) => None,
            },
            Source::Region(region) => Some(region),
            Source::NodeRegion => None,
        }
    }

    /// The credentials of a source, as far as they tell it from others; empty: those of whoever reads it.
    pub fn credentials(&self, object: &ForeignName, from: &Source) -> String {
        let namespace = object.namespace.as_deref().unwrap_or_default();
        match (from, self.store(object, from, namespace)) {
            (Source::Store { cluster, .. }, Ok(ForeignStore::Aws { auth, .. })) if !auth.is_empty() => {
                // What a SecretStore names is in its namespace.
                format!("{}{auth}", if *cluster { "" } else { namespace })
            }
            _ => String::new(),
        }
    }

    fn store(&self, object: &ForeignName, from: &Source, namespace: &str) -> Result<&'w ForeignStore, Fault> {
        // A ClusterExternalSecret asks a SecretStore of each namespace that it spreads to.
        let here = match &object.namespace {
            Some(own) if **own == *namespace => Cow::Borrowed(object),
            _ => Cow::Owned(ForeignName { namespace: Some(namespace.into()), ..object.clone() }),
        };
        let Some(name) = asked(from, &here) else { return Err((Reason::StoreUnresolved, "no store is named".into())) };
        let tried = self.tried.filter(|(tried, _)| **tried == name).map(|(_, store)| store);
        let foreign = &self.world.world.foreign;
        tried.or_else(|| foreign.store(&name)).ok_or_else(|| {
            let text = || {
                let what = format!("the {} {:?}", name.kind.kind(), name.name);
                if foreign.is_read(name.kind) {
                    format!("{what} does not exist: create it first, or correct the reference")
                } else {
                    format!("{what} has not been read yet: try again in a moment")
                }
            };
            (Reason::StoreUnresolved, self.say(text))
        })
    }

    /// The one account of the allowed ScopedSecretStores in a region.
    fn one_account(&self, key: &str, region: &str, scope: &Scope<'_>) -> Result<&'w str, Fault> {
        let (mut first, mut several, mut unknown) = (None, false, false);
        for entry in scope.entries() {
            match self.world.world.stores.get(&entry.store) {
                Some(StoreState::Known(Realm::Aws { account, region: reached })) if reached == region => {
                    several |= account != *first.get_or_insert(account);
                }
                Some(StoreState::AccountUnknown { region: reached }) => unknown |= reached == region,
                _ => {}
            }
        }
        let fault = |reason, text: &dyn Fn() -> String| Err((reason, self.say(text)));
        match first {
            _ if unknown => fault(Reason::AccountUnknown, &|| {
                format!(
                    "key {key:?}: the account of a ScopedSecretStore in {region} is not known yet: try again when it is (see the stores' status)"
                )
            }),
            Some(account) if !several => Ok(account),
            Some(_) => fault(Reason::StoreUnresolved, &|| {
                format!(
                    "key {key:?}: {} keys of several accounts in {region}, so that the store's cannot be told: give the store a role, or write the full ARN",
                    scope.policies_allow()
                )
            }),
            None => fault(Reason::KeyNotAllowed, &|| {
                format!(
                    "{} namespace {:?} no key in {region}, and so not {key:?}",
                    scope.policies_allow(),
                    scope.namespace
                )
            }),
        }
    }

    fn not_allowed(&self, key: &CanonicalKey, written: &str, any_version: bool, scope: &Scope<'_>) -> Option<Fault> {
        let covered = |action| scope.permits_canonical(key, action, self.world);
        let fault = |reason, text: &dyn Fn() -> String| Some((reason, self.say(text)));
        match covered(if any_version { Action::ReadAnyVersion } else { Action::Read }) {
            Coverage::Covered => None,
            Coverage::Unknown => fault(Reason::AccountUnknown, &|| {
                format!(
                    "key {written:?}: a ScopedSecretStore that may reach it is gone, or its account is not known: nothing is granted until it is"
                )
            }),
            Coverage::Not if any_version && matches!(covered(Action::Read), Coverage::Covered) => {
                fault(Reason::ActionNotAllowed, &|| {
                    format!(
                        "{} the key {written:?}, but not by version (action ReadAnyVersion): leave the version out to read the current one",
                        scope.policies_allow()
                    )
                })
            }
            Coverage::Not => fault(Reason::KeyNotAllowed, &|| {
                let place = key.aws_parts();
                let reaches = |entry: &AllowEntry, pattern: &KeyPattern| {
                    let store = self.world.stores.get(&entry.store);
                    match (store.and_then(StoreState::realm), place) {
                        (Some(Realm::Aws { account: own, region: reached }), Some((account, region, _))) => {
                            let at = Place { own: account == own, at: Some((region, account)) };
                            region == reached && pattern.speaks_of(at)
                        }
                        _ => false,
                    }
                };
                let any = scope.entries().any(|entry| entry.patterns.iter().any(|pattern| reaches(entry, pattern)));
                let allowed = scope.allowed_here(reaches);
                let whereabouts = place.map(|(account, region, _)| format!(" of account {account} in {region}"));
                format!(
                    "{} allow namespace {:?} ({}) the key {written:?}{}{}",
                    scope.policies_do_not(),
                    scope.namespace,
                    scope.labels_shown(),
                    whereabouts.unwrap_or_default(),
                    match (any, allowed.is_empty()) {
                        (false, _) => ", nor any other there".into(),
                        (true, true) => format!("; {ASK_THE_PLATFORM}"),
                        (true, false) => format!("; allowed here: {allowed}"),
                    }
                )
            }),
        }
    }

    fn owned_elsewhere(
        &self,
        asker: Asker<'_>,
        ask: &Ask,
        key: &CanonicalKey,
        scope: &Scope<'_>,
        contest: &Contest<'_>,
    ) -> Option<Fault> {
        let own = scope.namespace;
        let excludes = |rival: &str| scope.excludes(key, key.as_str(), own, rival, self.world, self.now);
        let held = self.world.holdings_on_in(key, excludes).next();
        let claimed = || self.world.claims_on_in(key, excludes).find(|claim| contest.is_allowed(claim));
        let (namespace, kind, name) = held
            .map(|(secret, held)| (&*secret.namespace, "ScopedSecret", &held.claim))
            .or_else(|| claimed().map(|claim| (&*claim.object.namespace, "ScopedSecret", &claim.object.name)))
            .or_else(|| {
                // Where a ClusterExternalSecret spreads to, its ExternalSecrets are asked for themselves.
                let rival =
                    self.foreign_owner(asker, key, &excludes).filter(|_| !asker.object.kind.is_cluster_scoped())?;
                Some((rival.namespace.as_deref()?, rival.kind.kind(), &rival.name))
            })?;
        let text = || {
            let whose = if namespace == own {
                format!("{kind} {name:?} of this namespace")
            } else {
                "another namespace".to_owned()
            };
            format!(
                "key {:?} is already owned by {whose}, and the policy lets one scope own a key (rules.exclusiveKeys): store a credential of its own for this workload under another key",
                ask.key
            )
        };
        Some((Reason::KeyClaimed, self.say(text)))
    }

    /// An object of another operator that had the key before: it is older, or this one asks for the key only now.
    fn foreign_owner(
        &self,
        asker: Asker<'_>,
        key: &CanonicalKey,
        excludes: &dyn Fn(&str) -> bool,
    ) -> Option<&'w ForeignName> {
        let foreign = &self.world.world.foreign;
        let (.., name) = key.aws_parts()?;
        // Nearly always there is none: of one object with many keys each would else be held against all the others.
        let mut excluded: BTreeMap<&str, bool> = BTreeMap::new();
        let others = foreign.asking_for(name).filter(|(rival, _)| *rival != asker.object);
        let rivals = others.filter(|(rival, _)| {
            let namespace = rival.namespace.as_deref();
            namespace.is_some_and(|namespace| *excluded.entry(namespace).or_insert_with(|| excludes(namespace)))
        });
        let mut rivals = rivals.enumerate().peekable();
        rivals.peek()?;
        // By its name, which a store may put something before, or by an ARN, which has it inside, ends with its suffix, or is put before that.
        let named = |written: &str| name.ends_with(written) || written.contains(name) || !written.contains(['/', '-']);
        let may_be =
            |written: &str| named(written) || written.rsplit_once('-').is_some_and(|(head, _)| name.ends_with(head));
        let reads = |object: &ForeignName, record: &Record| {
            let namespace = object.namespace.as_deref()?;
            let scope = scope_of(namespace, self.world).ok()?;
            let located = record.asks.iter().filter(|ask| may_be(&ask.key)).any(|ask| match &ask.what {
                What::Read { from, .. } => self.locate(object, from, &ask.key, &scope).is_ok_and(|found| found == *key),
                _ => false,
            });
            located.then_some(())
        };
        let had = foreign.object(asker.object).filter(|known| *known.uid == *asker.uid);
        let had = had.is_some_and(|known| reads(asker.object, known).is_some());
        let mut first =
            rivals.filter(|(_, (_, record))| !had || (record.created, &*record.uid) < (asker.created, asker.uid));
        first.find_map(|(at, (rival, record))| {
            let namespace = rival.namespace.as_deref()?;
            let object = ObjectName::new(namespace, &rival.name);
            // Bounded against a tenant who piles them up: what is not looked at counts as older, which is safe.
            let looked_at = at < CONTEST_LIMIT;
            let stands = || {
                matches!(self.held(rival.kind.governs(), namespace), Held::By(_))
                    && reads(rival, record).is_some()
                    && rival_is_permitted(&object, key, self.world)
            };
            (!looked_at || stands()).then_some(rival)
        })
    }

    /// Keys that the namespaces that a ClusterExternalSecret spreads to may not share.
    fn shared(&self, reached: &[&Arc<str>], asker: Asker<'_>, asks: &[Ask]) -> Vec<Refused> {
        let mut refused = Vec::new();
        for (at, ask) in asks.iter().enumerate() {
            let What::Read { from, .. } = &ask.what else { continue };
            let located = |namespace: &Arc<str>| {
                let Held::By(scope) = self.held(asker.object.kind.governs(), namespace) else { return None };
                let key = self.locate(asker.object, from, &ask.key, &scope).ok()?;
                matches!(scope.permits_canonical(&key, Action::Read, self.world), Coverage::Covered)
                    .then_some((scope, key))
            };
            let refusal = |namespace: &Arc<str>, scope: &Scope<'_>, key: CanonicalKey| {
                let message = format!(
                    "it would give the key {:?} to namespace {namespace:?} and to others, and the policy lets one scope own a key (rules.exclusiveKeys): narrow its namespaceSelectors, or give each a key of its own",
                    ask.key
                );
                let mode = self.answer(scope, &ask.key, Some(&key));
                let refusal = Refusal { reason: Reason::KeyClaimed, message, mode };
                Refused { namespace: namespace.clone(), ask: at, key: Some(key), refusal }
            };
            let excludes = |scope: &Scope<'_>, key: &CanonicalKey, one: &str, other: &str| {
                scope.excludes(key, key.as_str(), one, other, self.world, self.now)
            };
            if let Some(own) = self.within.filter(|own| reached.contains(own)) {
                let Some((scope, key)) = located(own) else { continue };
                let with_us = |other: &&Arc<str>| {
                    **other != *own
                        && excludes(&scope, &key, own, other)
                        && located(other).is_some_and(|(_, theirs)| theirs == key)
                };
                if reached.iter().any(with_us) {
                    refused.push(refusal(own, &scope, key));
                }
                continue;
            }
            let mut owners: BTreeMap<CanonicalKey, &Arc<str>> = BTreeMap::new();
            for namespace in reached.iter().filter(|_| self.within.is_none()) {
                let Some((scope, key)) = located(namespace) else { continue };
                let Some(owner) = owners.get(&key) else {
                    owners.insert(key, namespace);
                    continue;
                };
                if excludes(&scope, &key, namespace, owner) {
                    refused.push(refusal(namespace, &scope, key));
                }
            }
        }
        refused
    }
}

impl<'w> Compared<'w> {
    /// Under the policies of one world after those of another.
    pub fn new(before: impl Into<View<'w>>, after: impl Into<View<'w>>, now: Timestamp) -> Self {
        let [before, after] =
            [before.into(), after.into()].map(|world| Foreigners { is_mute: true, ..Foreigners::new(world, now) });
        Self { before, after, last: None }
    }

    /// Whether something of an object is refused in mode Enforce, and was not before, by policies that held it to the rules as well.
    /// The stores are the same: what could not be told before is told no more by other policies.
    pub fn refuses_more(&mut self, name: &'w ForeignName, record: &'w Record) -> bool {
        let asker = Asker { object: name, uid: &record.uid, created: record.created };
        let by = name.kind.governs();
        let (Some(namespace), None) = (&name.namespace, &record.spread) else {
            return self.refuses_more_of_spread(name, record);
        };
        let [before, after] = [self.before, self.after];
        let known = self.last.take().filter(|here| here.by == by && here.namespace == namespace);
        let here = self.last.insert(known.unwrap_or_else(|| Here::new(by, namespace, [before, after])));
        let asked = &mut here.asked;
        let [Held::By(then), now] = &here.held else { return false };
        let now = match now {
            Held::Free => return false,
            Held::InDoubt(refusal) => return refusal.mode == Mode::Enforce,
            Held::By(now) => now,
        };
        let [was_contested, is_contested] = [before.contest(), after.contest()];
        record.asks.iter().any(|ask| {
            // Nearly every ask: a key that both find in the same place.
            if let (What::Read { from, any_version }, true) = (&ask.what, here.is_alike)
                && let Some(there) = asked.whereabouts(&after, name, from, &ask.key)
                && let Ok(key) = after.locate_at(there, &ask.key, now)
            {
                let bars = |judge: Foreigners<'w>, scope| {
                    judge.not_allowed(&key, &ask.key, *any_version, scope).map(|(reason, _)| reason)
                };
                let is_owned = |judge: Foreigners<'w>, scope, contest| {
                    judge.owned_elsewhere(asker, ask, &key, scope, contest).is_some()
                };
                let is_enforced = || after.answer(now, &ask.key, Some(&key)) == Mode::Enforce;
                return match bars(after, now) {
                    Some(reason) => is_enforced() && bars(before, then) != Some(reason),
                    None => {
                        is_owned(after, now, &is_contested)
                            && is_enforced()
                            && (bars(before, then).is_some() || !is_owned(before, then, &was_contested))
                    }
                };
            }
            let Some((key, (reason, _))) = after.fault(asker, ask, now, &is_contested) else { return false };
            let stood = || before.fault(asker, ask, then, &was_contested);
            after.answer(now, &ask.key, key.as_ref()) == Mode::Enforce
                && stood().is_none_or(|(was, (why, _))| (was, why) != (key, reason))
        })
    }

    fn refuses_more_of_spread(&self, name: &ForeignName, record: &Record) -> bool {
        let [then, now] = [self.before, self.after].map(|judge| judge.refusals_of(name, record));
        let stood: HashSet<Sameness<'_>> = then.iter().map(Refused::sameness).collect();
        let was_held = |namespace: &str| matches!(self.before.held(name.kind.governs(), namespace), Held::By(_));
        now.iter()
            .any(|it| it.refusal.mode == Mode::Enforce && !stood.contains(&it.sameness()) && was_held(&it.namespace))
    }
}

impl<'w> Here<'w> {
    fn new(by: Governs, namespace: &'w Arc<str>, judges: [Foreigners<'w>; 2]) -> Self {
        let held = judges.map(|judge| judge.held(by, namespace));
        let is_alike = match &held {
            [Held::By(then), Held::By(now)] => {
                then.entries().map(|entry| &entry.store).eq(now.entries().map(|entry| &entry.store))
            }
            _ => false,
        };
        Self { by, namespace, held, is_alike, asked: Asked::default() }
    }
}

impl<'w> Asked<'w> {
    /// Where a source has its keys, if that can be told.
    fn whereabouts(
        &mut self,
        judge: &Foreigners<'w>,
        object: &ForeignName,
        from: &'w Source,
        key: &str,
    ) -> Option<Whereabouts<'w>> {
        let known = self.0.take().filter(|(asked, _)| *asked == from);
        let tell = || Some((from, judge.whereabouts(object, from, key, object.namespace.as_deref()?).ok()?));
        self.0 = known.or_else(tell);
        self.0.map(|(_, there)| there)
    }
}

/// The forms in which an exception may name a key. As it is written it says nothing where a store puts a prefix before it.
fn forms<'k>(written: &'k str, canonical: Option<&'k CanonicalKey>) -> Vec<&'k str> {
    let plain = canonical.and_then(CanonicalKey::aws_parts).map(|(.., name)| name);
    let forms = [Some(written).filter(|_| canonical.is_none()), plain, canonical.map(CanonicalKey::as_str)];
    forms.into_iter().flatten().filter(|form| !form.is_empty()).collect()
}
