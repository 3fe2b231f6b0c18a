//! The one authoriser behind every door: admission, reconcile, the plugin and offline simulation all ask it.
//!
//! Pure: no clock, no I/O. It answers from the [`World`] alone, and runs before any provider call.

pub mod foreign;
mod retention;
pub mod rotation;
mod within;

pub use retention::{Retention, Standing, retention};

use super::fingerprint::Fingerprint;
use super::key::{CanonicalKey, InvalidKey, Realm, RemoteKey};
use super::namesakes::{Namesakes, namesakes};
use super::pattern::{Binding, KeyPattern, Place};
use super::policy::{AllowEntry, BUILT_IN_TYPES, DEFAULT_MAX_GRANT, Policy, ignored_by};
use super::second::Second;
use super::segment::Segment;
use super::verdict::{AuthorisedKey, Grant, Refusal, Verdict};
use super::world::{Claim, Holding, ObjectName, PolicyState, StoreState, VersionAsked, World};
use crate::api::Reason;
use crate::api::policy::{Action, Approval, ExceptedRule, Exclusivity, ModalRule, Mode, Within};
use jiff::Timestamp;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

pub use within::{foreign_within, holds_foreign};

/// A world as its policies, or others in their place, judge it: so a change of policy is tried without making it.
#[derive(Debug, Clone, Copy)]
pub struct View<'w> {
    world: &'w World,
    policies: &'w BTreeMap<String, PolicyState>,
}

impl<'w> View<'w> {
    /// A world under these policies.
    pub fn under(world: &'w World, policies: &'w BTreeMap<String, PolicyState>) -> Self {
        Self { world, policies }
    }

    /// Segments that bear one name by other labels.
    pub fn namesakes(&self) -> Namesakes<'w> {
        namesakes(self.known_policies().map(Arc::as_ref), self.world.namespaces.iter())
    }

    /// The policies that can be understood.
    pub fn known_policies(self) -> impl Iterator<Item = &'w Arc<Policy>> + Clone {
        self.policies.values().filter_map(PolicyState::known)
    }
}

impl<'w> From<&'w World> for View<'w> {
    fn from(world: &'w World) -> Self {
        Self::under(world, &world.policies)
    }
}

/// All but the policies is the world's.
impl Deref for View<'_> {
    type Target = World;

    fn deref(&self) -> &World {
        self.world
    }
}

/// Judges a claim.
pub fn authorize<'w>(claim: &Claim, world: impl Into<View<'w>>, now: Timestamp) -> Verdict {
    let world = world.into();
    match permit(claim, world, now) {
        Permit::Refused(refusal) => Verdict::Refused(refusal),
        Permit::Undecided(refusal) => Verdict::Undecided(refusal),
        Permit::Granted(scope, keys) => {
            for key in &keys {
                if let Some(refusal) = owned_elsewhere(claim, key, &scope, world, now) {
                    return Verdict::Refused(Refusal { mode: scope.mode(), ..refusal });
                }
            }
            Verdict::Allowed(Grant { ignore: scope.ignore(), segment: scope.segment, keys })
        }
    }
}

/// Whether a namespace is governed: the policies over it agree on a segment, or why it has none.
pub fn segment_of<'w>(namespace: &str, world: impl Into<View<'w>>) -> Result<Segment, Refusal> {
    match scope_of(namespace, world) {
        Ok(scope) => Ok(scope.segment),
        Err(Unscoped::Refused(refusal) | Unscoped::Undecided(refusal)) => Err(refusal),
    }
}

/// How the rules that follow the mode are answered in a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Governance {
    /// The policies over it agree on a segment.
    Governed {
        /// Their strictest mode.
        mode: Mode,
        /// The strictest answer to a breach of rule Consumers: the mode, or less where each policy takes some off.
        consumers: Mode,
        /// Likewise of rule Replication.
        replication: Mode,
        /// The longest that a grant may last: the shortest of the policies.
        max_grant: Duration,
        /// Whether grants need an approval: if one of the policies says so.
        approval: Approval,
    },
    /// It is in no segment.
    Ungoverned,
    /// That cannot be told now.
    Unknown,
}

/// How a breach of a rule that follows the mode is answered in a namespace: the strictest of its policies. None: it is in no
/// segment, or that cannot be told now.
pub fn answer(rule: ModalRule, namespace: &str, world: &World, now: Timestamp) -> Option<Mode> {
    scope_of(namespace, world).ok()?.policies.iter().map(|policy| policy.answers(rule, namespace, now)).max()
}

/// How breaches are answered in a namespace.
pub fn governance(namespace: &str, world: &World, now: Timestamp) -> Governance {
    match scope_of(namespace, world) {
        Ok(scope) => {
            let strictest = |rule| scope.policies.iter().map(|p| p.answers(rule, namespace, now)).max();
            Governance::Governed {
                mode: scope.mode(),
                consumers: strictest(ModalRule::Consumers).unwrap_or_default(),
                replication: strictest(ModalRule::Replication).unwrap_or_default(),
                max_grant: scope.policies.iter().map(|p| p.max_grant).min().unwrap_or(DEFAULT_MAX_GRANT),
                approval: scope.policies.iter().map(|p| p.approval).max().unwrap_or_default(),
            }
        }
        Err(Unscoped::Refused(_)) => Governance::Ungoverned,
        Err(Unscoped::Undecided(_)) => Governance::Unknown,
    }
}

/// Whether every policy over a namespace lifts a rule there now.
pub fn is_excepted(namespace: &str, rule: ExceptedRule, world: &World, now: Timestamp) -> bool {
    let Ok(scope) = scope_of(namespace, world) else { return false };
    scope.policies.iter().all(|policy| policy.lifts(rule, None, &[namespace], now))
}

/// Whether another segment holds a value with one of these fingerprints, so that the Secret of `secret` may not have it.
/// The rules are the strictest of both sides; of two that hold it already, the later loses.
pub fn shared_value<'p, 'w>(
    secret: &ObjectName,
    keys: &[AuthorisedKey],
    prints: impl IntoIterator<Item = &'p Fingerprint>,
    world: impl Into<View<'w>>,
    now: Timestamp,
) -> bool {
    let world = world.into();
    let Ok(own) = scope_of(&secret.namespace, world) else { return false };
    prints.into_iter().any(|print| {
        let mut scopes = Scopes::new(world);
        world.holdings_with(print).any(|(other, held)| {
            if other.namespace == secret.namespace {
                return false;
            }
            let theirs = scopes.of(&other.namespace).as_ref().ok();
            if theirs.is_some_and(|s| s.segment == own.segment) {
                return false;
            }
            let mine = world.holding(secret).filter(|mine| mine.fingerprints.contains(print));
            if mine.is_some_and(|mine| (mine.held_since, secret) < (held.held_since, other)) {
                return false;
            }
            let spaces = [&*secret.namespace, &*other.namespace];
            let lifted = |p: &Arc<Policy>| {
                let lifts = |key: &str| p.lifts(ExceptedRule::UniqueValues, Some(key), &spaces, now);
                let by_key = |k: &AuthorisedKey| {
                    lifts(&k.written)
                        || lifts(k.canonical.as_str())
                        || k.canonical.aws_parts().is_some_and(|(.., n)| lifts(n))
                };
                // Which key a value is of is not known: one that is excepted says nothing of the others.
                (!keys.is_empty() && keys.iter().all(by_key)) || p.lifts(ExceptedRule::UniqueValues, None, &spaces, now)
            };
            let mut governing = own.policies.iter().chain(theirs.into_iter().flat_map(|s| &s.policies));
            governing.any(|p| p.unique_within == Within::Segment && !lifted(p))
        })
    })
}

/// A segment that owns a value, and how its policies answer a copy of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The segment's name; empty where that cannot be told now, or it is in none any more.
    pub segment: String,
    /// The strictest answer of the policies over it.
    pub answer: Mode,
}

/// The segments whose value, of this fingerprint, may not be in a namespace: none where its own segment holds it as well. The
/// policies of each owner decide, wherever the copy lands; an exception of theirs is for that namespace, or for a key.
pub fn owners(print: &Fingerprint, namespace: &str, world: &World, now: Timestamp) -> Vec<Owner> {
    owners_among(world.holdings_with(print), namespace, world.into(), now, |_, _, _| false)
}

/// Likewise of a value that is easy to guess. What comes of it is the platform's alone.
pub fn owners_of_weak(print: &Fingerprint, namespace: &str, world: &World, now: Timestamp) -> Vec<Owner> {
    owners_among(world.holdings_with_weak(print), namespace, world.into(), now, |_, _, _| false)
}

/// `lifts`: whether a policy over one of those Secrets lets its value be in the namespace, beside what every copy is let.
fn owners_among<'w>(
    holdings: impl Iterator<Item = (&'w ObjectName, &'w Holding)>,
    namespace: &str,
    world: View<'w>,
    now: Timestamp,
    lifts: impl Fn(&Policy, &ObjectName, &Holding) -> bool,
) -> Vec<Owner> {
    let own = scope_of(namespace, world).ok().map(|scope| scope.segment);
    let mut found: BTreeMap<String, Mode> = BTreeMap::new();
    let mut scopes = Scopes::new(world);
    for (secret, held) in holdings {
        let (segment, policies) = match scopes.of(&secret.namespace) {
            _ if *secret.namespace == *namespace => return Vec::new(),
            Ok(scope) if own.as_ref() == Some(&scope.segment) => return Vec::new(),
            Ok(scope) => (scope.segment.name(), scope.policies.clone()),
            // It is in no segment any more, and may wait for a word before it is withdrawn: whose policy answers cannot be told.
            Err(Unscoped::Refused(_)) => ("", world.known_policies().collect()),
            Err(Unscoped::Undecided(_)) => {
                found.insert(String::new(), Mode::Enforce);
                continue;
            }
        };
        let lifted = |policy: &Policy, key: Option<&str>| policy.lifts(ExceptedRule::Copies, key, &[namespace], now);
        let excepted = |policy: &Policy| {
            lifted(policy, None) || each_key(held, |name| lifted(policy, Some(name))) || lifts(policy, secret, held)
        };
        let judging = policies.into_iter().filter(|p| p.unique_within == Within::Segment && !excepted(p));
        if let Some(answer) = judging.map(|p| p.answers(ModalRule::Copies, namespace, now)).max() {
            let known = found.entry(segment.to_owned()).or_insert(answer);
            *known = answer.max(*known);
        }
    }
    found.into_iter().map(|(segment, answer)| Owner { segment, answer }).collect()
}

/// Whether something is so of each key of a holding, in a form in which an exception may name it. Which key a value is of is not
/// known: an exception of one says nothing of the others.
fn each_key(held: &Holding, is: impl Fn(&str) -> bool) -> bool {
    let mut keys = held.keys().peekable();
    // Of a file any tail of its path may be what its store's users write.
    let tails = |key: &CanonicalKey| {
        key.is_file() && key.as_str().match_indices('/').any(|(at, _)| is(&key.as_str()[at + 1..]))
    };
    let named =
        |key: &CanonicalKey| is(key.as_str()) || key.aws_parts().is_some_and(|(.., name)| is(name)) || tails(key);
    keys.peek().is_some() && keys.all(named)
}

/// What may be claimed instead cannot be shown: it might name another tenant.
const ASK_THE_PLATFORM: &str = "ask the platform team which keys this namespace may claim";

/// The policies over one namespace, taken together: allow is their union, rules and mode the strictest.
pub(super) struct Scope<'w> {
    pub(super) segment: Segment,
    namespace: &'w str,
    labels: &'w BTreeMap<String, String>,
    pub(super) policies: Vec<&'w Arc<Policy>>,
}

/// What of a claim, or of what its Secret holds, the rules of form look at.
struct Form<'a> {
    has_consumers: bool,
    retain: bool,
    target_type: Option<&'a str>,
}

/// Why a namespace is in no segment, or a claim has no keys in it.
pub(super) enum Unscoped {
    Refused(Refusal),
    Undecided(Refusal),
}

enum Permit<'w> {
    Granted(Scope<'w>, Vec<AuthorisedKey>),
    Refused(Refusal),
    Undecided(Refusal),
}

enum Coverage {
    Covered,
    Not,
    Unknown,
}

/// Why nothing can be told of any namespace now.
pub(super) fn doubt<'w>(world: impl Into<View<'w>>) -> Option<Refusal> {
    let world = world.into();
    let why = if !world.policies_synced {
        "the SegmentationPolicies have not been read yet; nothing is granted or withdrawn until they are"
    } else if world.policies.values().any(|p| matches!(p, PolicyState::Unknown(_))) {
        "a SegmentationPolicy cannot be understood; nothing is granted or withdrawn until the platform team corrects it"
    } else {
        return None;
    };
    Some(Refusal::new(Reason::PolicyUnknown, why))
}

/// The scopes of Secrets one after another: of many in one namespace it is looked up once.
struct Scopes<'w> {
    world: View<'w>,
    last: Option<(&'w str, Result<Scope<'w>, Unscoped>)>,
}

impl<'w> Scopes<'w> {
    fn new(world: View<'w>) -> Self {
        Self { world, last: None }
    }

    fn of(&mut self, namespace: &'w str) -> &Result<Scope<'w>, Unscoped> {
        let known = self.last.take().filter(|(of, _)| *of == namespace);
        let found = known.unwrap_or_else(|| (namespace, scope_of(namespace, self.world)));
        &self.last.insert(found).1
    }
}

/// The policies over a namespace and its segment.
pub(super) fn scope_of<'w>(namespace: &str, world: impl Into<View<'w>>) -> Result<Scope<'w>, Unscoped> {
    let world = world.into();
    let undecided = |reason, text: String| Err(Unscoped::Undecided(Refusal::new(reason, text)));
    if let Some(doubt) = doubt(world) {
        return Err(Unscoped::Undecided(doubt));
    }
    let Some((namespace, labels)) = world.world.namespaces.get_key_value(namespace) else {
        return undecided(Reason::PolicyUnknown, format!("namespace {namespace:?} has not been observed yet"));
    };
    let known =
        world.policies.values().filter_map(|p| if let PolicyState::Known(policy) = p { Some(policy) } else { None });
    let mut policies: Vec<&Arc<Policy>> = Vec::new();
    let mut segment: Option<Segment> = None;
    let mut missing: Option<(&Policy, &str)> = None;
    for policy in known.filter(|p| p.selects(namespace, labels)) {
        match policy.segment(labels) {
            Err(label) => missing = Some((policy, label)),
            Ok(found) if segment.as_ref().is_some_and(|s| *s != found) => {
                let names = policies
                    .iter()
                    .map(|p| p.name.as_str())
                    .chain([policy.name.as_str()])
                    .collect::<Vec<_>>()
                    .join(" and ");
                return undecided(
                    Reason::SegmentConflict,
                    format!(
                        "the policies {names} govern namespace {namespace:?} and disagree on its segment: make their segment.labels alike"
                    ),
                );
            }
            Ok(found) => {
                segment = Some(found);
                policies.push(policy);
            }
        }
    }
    match (segment, missing) {
        (Some(segment), _) => Ok(Scope { segment, namespace, labels, policies }),
        (None, Some((policy, label))) => Err(Unscoped::Refused(Refusal {
            mode: policy.mode,
            ..Refusal::new(
                Reason::SegmentLabelMissing,
                format!(
                    "policy {:?} names a segment by the namespace labels {}; namespace {namespace:?} has no {label:?}, or has it empty: ask the platform team to set it",
                    policy.name,
                    policy.segment_labels.join(", ")
                ),
            )
        })),
        (None, None) => Err(Unscoped::Refused(Refusal::new(Reason::NoPolicy, no_policy(namespace, labels, world)))),
    }
}

/// Says which label would put the namespace under a policy, without naming what other namespaces have.
fn no_policy(namespace: &str, labels: &BTreeMap<String, String>, world: View<'_>) -> String {
    // Any one policy would do: the labels of several together might be too many.
    let mut missing: BTreeSet<Vec<&str>> = BTreeSet::new();
    for state in world.policies.values() {
        if let PolicyState::Known(policy) = state {
            let lacks = policy.segment_labels.iter().filter(|l| labels.get(*l).is_none_or(String::is_empty));
            missing.insert(lacks.map(String::as_str).collect());
        }
    }
    missing.remove(&Vec::new());
    let hint = if world.policies.is_empty() {
        "there is no policy in this cluster: the platform team writes one".to_owned()
    } else if missing.is_empty() {
        "its labels are not those that a policy selects: ask the platform team".to_owned()
    } else {
        let each = missing.iter().map(|labels| match &labels[..] {
            [label] => format!("the label {label}"),
            labels => format!("the labels {}", labels.join(", ")),
        });
        let list = each.collect::<Vec<_>>().join(", or else ");
        format!("it lacks {list}: ask the platform team to set what it needs")
    };
    format!(
        "no SegmentationPolicy governs namespace {namespace:?}, and without a policy nothing may be claimed; {hint}"
    )
}

/// Whether an end has come.
fn is_over(end: Option<Second>, now: Timestamp) -> bool {
    end.is_some_and(|end| end <= now.into())
}

/// An end waits for nothing: no policy, and nothing that is not known, puts it off.
fn expired(end: Option<Second>) -> Refusal {
    let end = end.map_or_else(String::new, |end| format!(" at {end}"));
    let text = format!(
        "the claim has ended{end} (spec.ttl or spec.expirationTime), and its Secret goes: set a later end if the workload still needs it, or delete this ScopedSecret"
    );
    Refusal::new(Reason::Expired, text)
}

fn permit<'w>(claim: &Claim, world: View<'w>, now: Timestamp) -> Permit<'w> {
    if is_over(claim.ends, now) {
        return Permit::Refused(expired(claim.ends));
    }
    let scope = match scope_of(&claim.object.namespace, world) {
        Ok(scope) => scope,
        Err(Unscoped::Refused(refusal)) => return Permit::Refused(refusal),
        Err(Unscoped::Undecided(refusal)) => return Permit::Undecided(refusal),
    };
    match permit_in(claim, &scope, world) {
        Ok(keys) => Permit::Granted(scope, keys),
        Err(Unscoped::Refused(refusal)) => Permit::Refused(refusal),
        Err(Unscoped::Undecided(refusal)) => Permit::Undecided(refusal),
    }
}

/// What the policies over a claim's namespace say, whoever else asks.
fn permit_in(claim: &Claim, scope: &Scope<'_>, world: View<'_>) -> Result<Vec<AuthorisedKey>, Unscoped> {
    let mode = scope.mode();
    let refused = |reason, message: String| Err(Unscoped::Refused(Refusal { reason, message, mode }));
    let form =
        Form { has_consumers: claim.has_consumers, retain: claim.retain, target_type: claim.target_type.as_deref() };
    if let Some((reason, message)) = scope.breach_of_form(&form) {
        return refused(reason, message);
    }
    let store = world.stores.get(&*claim.store);
    let mut keys = Vec::with_capacity(claim.asks.len());
    let mut unknown: Option<Refusal> = None;
    for (written, version) in &claim.asks {
        let key = match RemoteKey::parse(written) {
            Ok(key) => key,
            Err(why) => return refused(Reason::InvalidKey, format!("key {written:?} cannot be claimed: {why}")),
        };
        let resolved = match store.and_then(StoreState::realm).map(|realm| (realm, realm.resolve(&key))) {
            Some((realm, Ok(resolved))) => Some((realm, resolved)),
            Some((_, Err(why @ InvalidKey::OtherRegion { .. }))) => {
                return refused(Reason::WrongRegion, format!("key {written:?} cannot be claimed: {why}"));
            }
            Some((_, Err(why))) => {
                return refused(Reason::InvalidKey, format!("key {written:?} cannot be claimed: {why}"));
            }
            None => None,
        };
        let realm = resolved.as_ref().map(|(realm, _)| *realm);
        if let Err((reason, message)) = scope.permits(&claim.store, &key, reading(version), realm) {
            return refused(reason, message);
        }
        match (resolved, store) {
            (Some((_, (canonical, ask))), _) => {
                keys.push(AuthorisedKey { written: written.to_string(), version: version.clone(), canonical, ask });
            }
            (None, None) => {
                unknown = Some(Refusal {
                    mode,
                    ..Refusal::new(
                        Reason::StoreNotFound,
                        format!(
                            "the ScopedSecretStore {:?} does not exist: create it, or correct spec.storeRef.name",
                            claim.store
                        ),
                    )
                });
            }
            (None, Some(_)) => {
                unknown = Some(Refusal {
                    mode,
                    ..Refusal::new(
                        Reason::AccountUnknown,
                        format!(
                            "the account of store {:?} is not known yet; nothing is granted or withdrawn until it is (see the store's status)",
                            claim.store
                        ),
                    )
                });
            }
        }
    }
    match unknown {
        Some(refusal) => Err(Unscoped::Undecided(refusal)),
        None => Ok(keys),
    }
}

impl Scope<'_> {
    fn mode(&self) -> Mode {
        self.policies.iter().map(|p| p.mode).max().unwrap_or_default()
    }

    /// What every policy that compares values ignores: the strictest.
    fn ignore(&self) -> BTreeSet<String> {
        ignored_by(self.policies.iter().map(|p| &***p)).unwrap_or_default()
    }

    fn policy_names(&self) -> String {
        let names = self.policies.iter().map(|p| format!("{:?}", p.name)).collect::<Vec<_>>();
        format!("{} {}", if names.len() == 1 { "policy" } else { "policies" }, names.join(", "))
    }

    /// The policies as the subject of a verb: of one, and of several.
    fn policies_that(&self, one: &str, several: &str) -> String {
        format!("{} {}", self.policy_names(), if self.policies.len() == 1 { one } else { several })
    }

    /// The policies as the subject of "does not".
    fn policies_do_not(&self) -> String {
        self.policies_that("does not", "do not")
    }

    /// The policies as the subject of "allows".
    fn policies_allow(&self) -> String {
        self.policies_that("allows", "allow")
    }

    fn binding(&self) -> Binding<'_> {
        Binding { namespace: self.namespace, labels: self.labels }
    }

    /// Rules that ask nothing about keys.
    fn breach_of_form(&self, form: &Form<'_>) -> Option<(Reason, String)> {
        if !form.has_consumers && self.policies.iter().any(|p| p.require_consumers) {
            let text = format!(
                "{} consumers: list in spec.consumers the ServiceAccounts whose pods use this Secret",
                self.policies_that("requires", "require")
            );
            return Some((Reason::ConsumersRequired, text));
        }
        if form.retain && self.policies.iter().any(|p| !p.allow_retain) {
            let text = format!("{} allow deletionPolicy Retain (rules.allowRetain): remove it", self.policies_do_not());
            return Some((Reason::RetainNotAllowed, text));
        }
        let kind = form.target_type?;
        let allowed = BUILT_IN_TYPES.contains(&kind) || self.policies.iter().all(|p| p.target_types.contains(kind));
        (!allowed).then(|| {
            let text = format!(
                "{} allow Secrets of type {kind:?}: use one of {}, or ask for it in rules.targetTypes",
                self.policies_do_not(),
                BUILT_IN_TYPES.join(", ")
            );
            (Reason::TargetTypeNotAllowed, text)
        })
    }

    /// Whether an allow entry covers the key in this store and way. With an unknown account only the store's own names
    /// and patterns that spell out an account can be told.
    fn permits(
        &self,
        store: &str,
        key: &RemoteKey,
        needed: Action,
        realm: Option<&Realm>,
    ) -> Result<(), (Reason, String)> {
        let what = match (self.covering(store, key, needed, realm), needed) {
            (Some(true), _) => return Ok(()),
            (None, _) => {
                let entries = self.entries().filter(|e| e.store == store).count();
                return Err((Reason::KeyNotAllowed, self.not_allowed(store, key, is_own(key, realm), entries)));
            }
            (Some(false), Action::Read) => "not to be read (action Read): ask for it",
            (Some(false), Action::ReadAnyVersion) => {
                "not by versionStage or versionId (action ReadAnyVersion): remove them to read the current version"
            }
            (Some(false), Action::Rotate) => {
                "not to be rotated by the manager (action Rotate): remove spec.rotation, or ask for that action"
            }
            (Some(false), Action::Generate) => {
                "not to be given a value of the operator's making (action Generate): remove spec.rotation, or ask for that action"
            }
        };
        Err((Reason::ActionNotAllowed, format!("{} this key, but {what}", self.policies_allow())))
    }

    /// None: no entry covers the key; else whether one that does allows the way.
    fn covering(&self, store: &str, key: &RemoteKey, needed: Action, realm: Option<&Realm>) -> Option<bool> {
        let at = match key {
            RemoteKey::Arn(arn) => Some((arn.region.as_str(), arn.account.as_str())),
            RemoteKey::Name(_) => realm.and_then(aws_place),
        };
        let place = Place { own: is_own(key, realm), at };
        let covers = |e: &&AllowEntry| e.patterns.iter().any(|p| p.covers(key.name(), place, self.binding()));
        let covering = self.entries().filter(|e| e.store == store).filter(covers);
        covering.map(|entry| entry.may(needed)).reduce(|one, other| one || other)
    }

    /// Whether an allow entry covers each key of a claim, to be read in its store and way.
    fn covers_all_of(&self, claim: &Claim, world: View<'_>) -> bool {
        let realm = world.stores.get(&*claim.store).and_then(StoreState::realm);
        claim.asks.iter().all(|(written, version)| {
            RemoteKey::parse(written)
                .is_ok_and(|key| self.covering(&claim.store, &key, reading(version), realm).is_some_and(|may| may))
        })
    }

    fn entries(&self) -> impl Iterator<Item = &AllowEntry> {
        self.policies.iter().flat_map(|p| &p.allow)
    }

    /// Names the policy, the labels that decide, and what this namespace may claim instead. Patterns that could name
    /// another tenant (no placeholder in them) are not shown.
    fn not_allowed(&self, store: &str, key: &RemoteKey, own: bool, entries_for_store: usize) -> String {
        let shown = self.labels_shown();
        let head = format!(
            "{} allow namespace {:?} ({shown}) the key {:?} in store {store:?}",
            self.policies_do_not(),
            self.namespace,
            key.as_written()
        );
        if entries_for_store == 0 {
            // Not in which: a store may be named after another tenant.
            let elsewhere = self.allowed_here(|_, _| true);
            let instead =
                if elsewhere.is_empty() { ASK_THE_PLATFORM.to_owned() } else { format!("in another: {elsewhere}") };
            return format!("{head}: it allows this namespace nothing in that store; {instead}");
        }
        if !own {
            return format!(
                "{head}: the ARN is of another account than the store's, whose keys need an allow entry that begins with that account's ARN prefix; a plain pattern speaks of the store's own account"
            );
        }
        let decides = self.decides(store, key);
        let allowed = self.allowed_here(|entry, _| entry.store == store);
        let instead = if allowed.is_empty() { ASK_THE_PLATFORM.to_owned() } else { format!("allowed here: {allowed}") };
        format!("{head}{decides}; {instead}")
    }

    /// Which of the namespace's labels keep a key of the store's own account from it, by the pattern that needs the fewest others.
    fn decides(&self, store: &str, key: &RemoteKey) -> String {
        let shown = self.policies.iter().flat_map(|policy| {
            let patterns = policy.allow.iter().filter(|entry| entry.store == store).flat_map(|entry| &entry.patterns);
            patterns.filter(|pattern| pattern.separates(&policy.segment_labels))
        });
        let decided = shown.filter_map(|pattern| pattern.decided_by(key.name(), Place::OWN, self.binding()));
        let Some(labels) = decided.min_by_key(BTreeMap::len) else { return String::new() };
        let asked = labels.iter().map(|(label, value)| format!("{label}={value}")).collect::<Vec<_>>().join(", ");
        let names = labels.into_keys().collect::<Vec<_>>().join(" and ");
        let (noun, verb) = if names.contains(" and ") { ("labels", "decide") } else { ("label", "decides") };
        format!(": the {noun} {names} {verb}, since the key is for {asked}")
    }

    /// The namespace's labels that name its segment.
    fn labels_shown(&self) -> String {
        let labels = self.policies.first().map_or(&[][..], |p| &p.segment_labels);
        let shown = labels.iter().map(|l| format!("{l}={}", self.labels.get(l).map_or("", String::as_str)));
        shown.collect::<Vec<_>>().join(", ")
    }

    /// What this namespace may claim by some of the patterns. Those that could name another tenant are not shown.
    fn allowed_here(&self, pick: impl Fn(&AllowEntry, &KeyPattern) -> bool) -> String {
        let pick = &pick;
        let shown = self.policies.iter().flat_map(|policy| {
            let picked = policy.allow.iter().flat_map(move |e| e.patterns.iter().filter(move |&p| pick(e, p)));
            picked.filter(|pattern| pattern.separates(&policy.segment_labels))
        });
        let filled: BTreeSet<String> = shown.map(|p| p.filled(self.binding())).collect();
        filled.into_iter().collect::<Vec<_>>().join(", ")
    }

    /// Whether a key in canonical form is covered, for this action, by an allow entry of any store that reaches it.
    fn permits_canonical(&self, key: &CanonicalKey, needed: Action, world: View<'_>) -> Coverage {
        self.coverage(self.entries().filter(|entry| entry.may(needed)), key, world)
    }

    /// Whether a key in canonical form is covered by one of these entries.
    fn coverage<'e>(
        &self,
        entries: impl Iterator<Item = &'e AllowEntry>,
        key: &CanonicalKey,
        world: View<'_>,
    ) -> Coverage {
        let mut answer = Coverage::Not;
        let parts = key.aws_parts();
        for entry in entries {
            match world.stores.get(&entry.store).map(|s| s.realm()) {
                Some(Some(realm)) => {
                    let (name, place) = match (realm, parts) {
                        (Realm::Aws { account: own, region: reached }, Some((account, region, name)))
                            if region == reached =>
                        {
                            (name, Place { own: account == own, at: Some((region, account)) })
                        }
                        (Realm::File { .. }, None) => match key.name_within(realm) {
                            Some(name) => (name, Place { own: true, at: None }),
                            None => continue,
                        },
                        _ => continue,
                    };
                    if entry.patterns.iter().any(|p| p.covers(name, place, self.binding())) {
                        return Coverage::Covered;
                    }
                }
                // The store is gone, or its account unknown: an outage, if the key may have been its.
                _ if entry.patterns.iter().any(|p| may_cover(p, key, self.binding())) => answer = Coverage::Unknown,
                _ => {}
            }
        }
        answer
    }

    /// Whether the rules forbid that this namespace and another one, or another claim of this one, share the key. `written` is the
    /// key as an exception may name it.
    fn excludes(
        &self,
        key: &CanonicalKey,
        written: &str,
        own: &str,
        rival: &str,
        world: View<'_>,
        now: Timestamp,
    ) -> bool {
        let theirs = scope_of(rival, world).ok();
        let spaces = [own, rival];
        let level = |policy: &Arc<Policy>| {
            let mut names = std::iter::once(written).chain(world.names_of(key));
            let lifted = names.any(|name| policy.lifts(ExceptedRule::ExclusiveKeys, Some(name), &spaces, now));
            if lifted { Exclusivity::Unlimited } else { policy.exclusive_keys }
        };
        let others = theirs.iter().flat_map(|s| &s.policies);
        let strictest = self.policies.iter().chain(others).map(|p| level(p)).min().unwrap_or_default();
        match strictest {
            Exclusivity::Workload => true,
            Exclusivity::Namespace => own != rival,
            Exclusivity::Segment => theirs.as_ref().is_none_or(|s| s.segment != self.segment),
            Exclusivity::Unlimited => false,
        }
    }
}

/// Whether a key is of the store's own account. With the account unknown an ARN may be: it is not refused for that.
fn is_own(key: &RemoteKey, realm: Option<&Realm>) -> bool {
    match key {
        RemoteKey::Name(_) => true,
        RemoteKey::Arn(arn) => {
            realm.is_none_or(|realm| aws_place(realm) == Some((arn.region.as_str(), arn.account.as_str())))
        }
    }
}

/// What a policy must allow for a version to be read.
fn reading(version: &VersionAsked) -> Action {
    if *version == VersionAsked::Current { Action::Read } else { Action::ReadAnyVersion }
}

fn aws_place(realm: &Realm) -> Option<(&str, &str)> {
    if let Realm::Aws { account, region } = realm { Some((region, account)) } else { None }
}

/// Whether a pattern of a store that is not known now may have covered the key.
fn may_cover(pattern: &KeyPattern, key: &CanonicalKey, binding: Binding<'_>) -> bool {
    match key.aws_parts() {
        Some((account, region, name)) => {
            pattern.covers(name, Place { own: true, at: Some((region, account)) }, binding)
        }
        // The root of a directory that is gone is not known: any tail of the path may be the name.
        None => {
            let path = key.as_str();
            path.match_indices('/').any(|(at, _)| pattern.covers(&path[at + 1..], Place::OWN, binding))
        }
    }
}

/// Whether the segmentation of a rival's namespace still lets it hold the key.
fn rival_is_permitted(rival: &ObjectName, key: &CanonicalKey, world: View<'_>) -> bool {
    match scope_of(&rival.namespace, world) {
        Ok(scope) => !matches!(scope.permits_canonical(key, Action::Read, world), Coverage::Not),
        Err(Unscoped::Undecided(_)) => true,
        Err(Unscoped::Refused(_)) => false,
    }
}

/// Order among claims that exclude each other: the incumbent, then creationTimestamp, then uid. Whoever holds the key's
/// value now, allowed or not, blocks a newcomer until that Secret is gone.
fn owned_elsewhere(
    claim: &Claim,
    key: &AuthorisedKey,
    scope: &Scope<'_>,
    world: View<'_>,
    now: Timestamp,
) -> Option<Refusal> {
    Contest { world, now, asked: RefCell::default() }.loses(claim, key, scope)
}

/// Whether earlier claims stand in the way; each is judged once.
struct Contest<'w> {
    world: View<'w>,
    now: Timestamp,
    asked: RefCell<HashMap<ObjectName, bool>>,
}

/// So many earlier claims are judged for one key; beyond that the next counts as allowed, which refuses the later claim:
/// safe, and bounded against a tenant who piles up claims.
const CONTEST_LIMIT: usize = 128;

impl Contest<'_> {
    fn loses(&self, claim: &Claim, key: &AuthorisedKey, scope: &Scope<'_>) -> Option<Refusal> {
        let own = self.world.holding_of(claim).filter(|h| h.keys().any(|held| *held == key.canonical));
        let own_secret = claim.secret();
        let excludes = |rival: &str| {
            scope.excludes(&key.canonical, &key.written, &claim.object.namespace, rival, self.world, self.now)
        };
        for (secret, rival) in self.world.holdings_on_in(&key.canonical, excludes) {
            if *secret == own_secret && rival.claim == claim.object.name {
                continue;
            }
            let first = own.is_none_or(|mine| {
                (self.world.held_since(secret, rival), secret) < (self.world.held_since(&own_secret, mine), &own_secret)
                    && rival_is_permitted(secret, &key.canonical, self.world)
            });
            if first {
                return Some(claimed(claim, key, &secret.namespace, &rival.claim));
            }
        }
        if own.is_some() {
            return None;
        }
        let order = |c: &Claim| (c.created, c.uid.clone());
        let excluded = self.world.claims_on_in(&key.canonical, excludes);
        let mut earlier: Vec<&Claim> = excluded.filter(|c| order(c) < order(claim)).collect();
        earlier.sort_by_key(|c| order(c));
        let rival = earlier.into_iter().find(|rival| self.is_allowed(rival))?;
        Some(claimed(claim, key, &rival.object.namespace, &rival.object.name))
    }

    fn is_allowed(&self, claim: &Claim) -> bool {
        if let Some(known) = self.asked.borrow().get(&claim.object) {
            return *known;
        }
        let (scope, keys) = match permit(claim, self.world, self.now) {
            Permit::Refused(_) => return false,
            Permit::Undecided(_) => return true,
            Permit::Granted(scope, keys) => (scope, keys),
        };
        if self.asked.borrow().len() >= CONTEST_LIMIT {
            return true;
        }
        // Only earlier claims are asked in turn, so that this ends.
        self.asked.borrow_mut().insert(claim.object.clone(), true);
        let allowed = !keys.iter().any(|key| self.loses(claim, key, &scope).is_some());
        self.asked.borrow_mut().insert(claim.object.clone(), allowed);
        allowed
    }
}

/// Names the owner only inside the claim's own namespace.
fn claimed(claim: &Claim, key: &AuthorisedKey, namespace: &str, owner: &str) -> Refusal {
    let whose = if namespace == &*claim.object.namespace {
        format!("ScopedSecret {owner:?} of this namespace")
    } else {
        "another namespace".to_owned()
    };
    Refusal::new(
        Reason::KeyClaimed,
        format!(
            "key {:?} is already owned by {whose}, and the policy lets one scope own a key (rules.exclusiveKeys): store a credential of its own for this workload under another key",
            key.written
        ),
    )
}
