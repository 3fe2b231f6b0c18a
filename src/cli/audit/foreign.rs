//! Objects of other operators (ExternalSecrets, PushSecrets, VaultStaticSecrets, SecretProviderClasses).
//!
//! Where a policy governs, each is judged as the rule OtherOperators judges it, whether or not the policy asks for that yet.
//! Where none does, what can be said without one: which key several segments take, and what names no key at all.

use super::look::Sighted;
use super::scopes::{Scope, Scopes};
use super::told::tell;
use crate::api::Reason;
use crate::api::policy::Governs;
use crate::cli::cluster::{Cluster, Failure, Reach, Seen};
use crate::cli::report::text::count;
use crate::cli::report::{Outcome, Rule, Severity, Subject};
use crate::controller::foreign::{discover, name_of, record_of, resource_of};
use crate::segmentation::authorize::foreign::Foreigners;
use crate::segmentation::foreign::{self, Ask, ForeignKind, ForeignName, Record, Source, What};
use crate::segmentation::key::{CanonicalKey, RemoteKey};
use crate::segmentation::world::{ObjectName, World};
use jiff::Timestamp;
use kube::api::{Api, DynamicObject, ListParams};
use std::collections::{BTreeMap, BTreeSet};

/// Puts what is there into the world. How far the look went; None: there is no such kind.
pub async fn look(cluster: &Cluster, world: &mut World) -> Result<Option<Reach>, Failure> {
    let every: BTreeSet<Governs> = ForeignKind::ALL.iter().map(|kind| kind.governs()).collect();
    let kinds = cluster.see(discover(&cluster.client, &every).await, "get", "/apis", None)?;
    let mut reached = if kinds == Seen::Barred { Some(Reach::Nowhere) } else { None };
    // Of a kind that is not served there is nothing that the reader may not look at.
    if let Some(served) = kinds.get() {
        let others = ForeignKind::ALL.iter().filter(|kind| !served.contains_key(*kind));
        others.for_each(|kind| world.foreign.set_read(*kind, true));
    }
    for (kind, version) in kinds.found().unwrap_or_default() {
        let resource = resource_of(kind, version);
        let all = Api::<DynamicObject>::all_with(cluster.client.clone(), &resource);
        let mut take = |page: Vec<DynamicObject>| page.iter().for_each(|object| put(world, kind, object));
        let reach = if kind.is_cluster_scoped() {
            match cluster.each_page(&all, ListParams::default(), take).await? {
                Seen::Barred => Reach::Here,
                Seen::There(()) | Seen::Absent => Reach::Everywhere,
            }
        } else {
            let api = |namespace: Option<&str>| match namespace {
                Some(namespace) => Api::namespaced_with(cluster.client.clone(), namespace, &resource),
                None => all.clone(),
            };
            cluster.each_page_in_reach(api, ListParams::default(), &mut take).await?
        };
        world.foreign.set_read(kind, reach == Reach::Everywhere);
        reached = Some(reached.map_or(reach, |before| before.min(reach)));
    }
    Ok(reached)
}

/// Puts an object or a store into the world.
fn put(world: &mut World, kind: ForeignKind, object: &DynamicObject) {
    let name = name_of(kind, object);
    match kind.is_store() {
        true => world.foreign.put_store(name, foreign::store(&object.data["spec"])),
        false => world.foreign.put(name, record_of(kind, object)),
    }
}

/// Judges. With `here`, what concerns several namespaces is told of an object of that one.
pub fn judge(sighted: &Sighted, scopes: &Scopes, here: Option<&str>, now: Timestamp, outcome: &mut Outcome) {
    let world = &sighted.observed.world;
    let objects = world.foreign.objects().count();
    if sighted.foreign.is_none() {
        return;
    }
    let before = outcome.findings.len();
    governed(world, scopes, now, outcome);
    world.foreign.objects().for_each(|(name, record)| inexact(name, record, scopes, outcome));
    shared(world, scopes, here, now, outcome);
    if outcome.findings.len() == before && sighted.foreign == Some(Reach::Everywhere) {
        let objects = count(objects, "object of another operator was", "objects of other operators were");
        outcome.pass(format!("{objects} looked at: each names keys of its own"));
    }
}

/// What the rule OtherOperators would refuse.
fn governed(world: &World, scopes: &Scopes, now: Timestamp, outcome: &mut Outcome) {
    let judge = Foreigners::new(world, now);
    let objects = world.foreign.objects();
    let found = objects.flat_map(|(name, record)| judge.findings_of(name, &as_far_as_seen(world, name, record)));
    let (really, would): (Vec<_>, Vec<_>) = found.partition(|violation| {
        let (group, _) = violation.object.api_version.split_once('/').unwrap_or_default();
        let kind = ForeignKind::of(group, &violation.object.kind);
        violation.reason == Reason::KeyClaimed || kind.is_some_and(|kind| scopes.holds(kind.governs()))
    });
    // What is under an assumed policy is told below, in words that speak of no policy.
    let speaks =
        |namespace: &Option<std::sync::Arc<str>>| namespace.as_ref().is_none_or(|name| scopes.is_governed(name));
    let of_policies = |all: Vec<crate::segmentation::violation::Violation>| {
        let all = all.into_iter().filter(|v| speaks(&v.object.namespace) && scopes.named(&v.segment).is_segment());
        all.collect::<Vec<_>>()
    };
    tell(of_policies(really), scopes, outcome);
    let first = outcome.findings.len();
    tell(of_policies(would), scopes, outcome);
    for finding in &mut outcome.findings[first..] {
        finding.severity = Severity::Warning;
        finding.message.push_str("; no policy holds such objects to its rules yet (rules.governs)");
    }
}

/// An object without what it reads from stores that the reader may not look at: that is told for itself, and waiting shows no more
/// of them.
fn as_far_as_seen(world: &World, name: &ForeignName, record: &Record) -> Record {
    let is_seen = |ask: &&Ask| match &ask.what {
        What::Read { from: Source::Store { cluster, name: store }, .. } => {
            let (kind, namespace) = match *cluster {
                true => (ForeignKind::ClusterSecretStore, None),
                false => (ForeignKind::SecretStore, name.namespace.clone()),
            };
            let store = ForeignName { kind, namespace, name: store.clone() };
            world.foreign.is_read(kind) || world.foreign.store(&store).is_some()
        }
        _ => true,
    };
    Record { asks: record.asks.iter().filter(is_seen).cloned().collect(), ..record.clone() }
}

/// What takes more than it names, where no policy says so.
fn inexact(name: &ForeignName, record: &Record, scopes: &Scopes, outcome: &mut Outcome) {
    if name.namespace.as_ref().is_some_and(|namespace| scopes.is_governed(namespace)) {
        return;
    }
    let mut why = record.asks.iter().filter_map(|ask| match &ask.what {
        What::Outside(Reason::KeyNotExact, why) => Some(why),
        _ => None,
    });
    if let Some(first) = why.next() {
        let more = why.count();
        let more = if more > 0 { format!(" (and {more} more like this)") } else { String::new() };
        let message = format!("{first}{more}");
        outcome.find(Severity::Warning, Rule::OtherOperators, Reason::KeyNotExact, subject(name), message);
    }
}

fn subject(name: &ForeignName) -> Subject {
    match &name.namespace {
        Some(namespace) => Subject::namespaced(name.kind.kind(), namespace, &name.name),
        None => Subject::cluster(name.kind.kind(), &name.name),
    }
}

/// Who takes a key, or writes it, and where that key is, as far as it can be told.
#[derive(Clone)]
struct Taker<'w> {
    scope: Scope,
    kind: &'static str,
    object: ObjectName,
    /// As it is written.
    key: &'w str,
    /// The store, in words.
    store: String,
    /// None: it cannot be told.
    region: Option<String>,
    account: Account,
}

/// Whose account a key is in.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Account {
    Unknown,
    /// That of these credentials, which say nothing of it; empty: those of whoever reads the store.
    Own(String),
    /// That of the role that the store assumes.
    OfRole(String),
    /// As the ARN says.
    OfArn(String),
}

impl Account {
    fn known(&self) -> Option<&str> {
        match self {
            Self::OfRole(account) | Self::OfArn(account) => Some(account),
            Self::Unknown | Self::Own(_) => None,
        }
    }

    /// Whether it is another for sure. A role is assumed to reach another account than the credentials do.
    fn is_apart_from(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Own(_), Self::OfRole(_)) | (Self::OfRole(_), Self::Own(_)) => true,
            _ => self.known().is_some_and(|account| other.known().is_some_and(|other| account != other)),
        }
    }
}

impl Taker<'_> {
    /// Whether another may take the same key: nothing that is known of the two is different.
    fn may_share(&self, other: &Self) -> bool {
        let two_regions = matches!((&self.region, &other.region), (Some(one), Some(other)) if one != other);
        self.scope != other.scope && !two_regions && !self.account.is_apart_from(&other.account)
    }

    /// Whether it is the same for sure: by one store, or in one account that is known.
    fn shares(&self, other: &Self) -> bool {
        let by_arn = |taker: &Self| matches!(taker.account, Account::OfArn(_));
        let one_store = self.store == other.store && !by_arn(self) && !by_arn(other);
        one_store || (self.account.known().is_some() && self.account.known() == other.account.known())
    }
}

/// One key that several scopes take, where not each of them is governed: there the rule speaks.
fn shared(world: &World, scopes: &Scopes, here: Option<&str>, now: Timestamp, outcome: &mut Outcome) {
    // By the name alone where the region is known, and by the store: the former come first.
    let mut keys: BTreeMap<Id, Vec<Taker<'_>>> = BTreeMap::new();
    let judge = Foreigners::new(world, now);
    for (name, record) in everywhere(world) {
        let Some(namespace) = &name.namespace else { continue };
        let located = judge.keys(&name, &record.asks);
        for (at, ask) in record.asks.iter().enumerate() {
            let key = located.iter().find(|(of, _)| *of == at).map(|(_, key)| key);
            for (id, mut taker) in takers(&judge, &name, ask, key, scopes.of(namespace)) {
                let all = keys.entry(id).or_default();
                for claim in key.into_iter().flat_map(|key| world.claims_on(key)) {
                    let scope = scopes.of(&claim.object.namespace);
                    let (account, region) = (taker.account.clone(), taker.region.clone());
                    let (object, store) = (claim.object.clone(), taker.store.clone());
                    all.push(Taker { scope, kind: "ScopedSecret", object, key: &ask.key, store, region, account });
                }
                // What it has made there is told for itself.
                let made = all.iter().any(|other| other.kind != "ScopedSecret" && other.object.namespace == *namespace);
                if !name.kind.is_cluster_scoped() || !made {
                    taker.object = ObjectName::of(namespace.clone(), taker.object.name.clone());
                    all.push(taker);
                }
            }
        }
    }
    let mut told: BTreeMap<(String, &str, ObjectName), bool> = BTreeMap::new();
    for ((_, id, _), mut all) in keys {
        // The finding is about an object of the others, and of the namespace that was asked for.
        let of_interest = |taker: &Taker<'_>| (here != Some(&*taker.object.namespace), taker.scope.clone());
        all.sort_by_key(|taker| (of_interest(taker), taker.kind, taker.object.clone()));
        all.dedup_by(|a, b| (a.kind, &a.object) == (b.kind, &b.object) && a.key == b.key);
        for taker in all.iter().filter(|taker| taker.kind != "ScopedSecret") {
            let others: Vec<&Taker<'_>> = all.iter().filter(|other| taker.may_share(other)).collect();
            let governed = |taker: &Taker<'_>| scopes.is_governed(&taker.object.namespace);
            let is_told = |one: &Taker<'_>, certainly: bool| {
                let known = told.get(&(id.clone(), one.kind, one.object.clone()));
                known.is_some_and(|known| *known || !certainly)
            };
            // Of each two of one key one finding tells; a certain one also where an uncertain one has.
            let is_news = |other: &&&Taker<'_>| {
                let certainly = taker.shares(other);
                !is_told(taker, certainly) || !is_told(other, certainly)
            };
            if !others.iter().any(|other| is_news(&other)) {
                continue;
            }
            if governed(taker) && others.iter().all(|other| governed(other)) {
                continue;
            }
            for other in &others {
                for one in [taker, other] {
                    *told.entry((id.clone(), one.kind, one.object.clone())).or_default() |= taker.shares(other);
                }
            }
            tell_shared(taker, &others, outcome);
        }
    }
}

fn tell_shared(taker: &Taker<'_>, others: &[&Taker<'_>], outcome: &mut Outcome) {
    let shown = |other: &&Taker<'_>| match other.kind {
        SPREADS => format!("{} {} in {} ({})", other.kind, other.object.name, other.object.namespace, other.scope),
        kind => format!("{kind} {} ({})", other.object, other.scope),
    };
    let list = |certainly: bool| {
        let of_these = others.iter().filter(|other| taker.shares(other) == certainly);
        let named: BTreeSet<String> = of_these.map(shown).collect();
        let mut list: Vec<String> = named.iter().take(5).cloned().collect();
        if named.len() > 5 {
            list.push(format!("{} more", named.len() - 5));
        }
        list.join(", ")
    };
    let (certain, possible) = (list(true), list(false));
    let is_certain = !certain.is_empty();
    let are_segments = taker.scope.is_segment() && others.iter().all(|other| other.scope.is_segment());
    // By the same credentials it is one account, whatever the stores are called.
    let is_own = matches!(taker.account, Account::Own(_));
    let is_likely = is_certain || (is_own && others.iter().any(|other| other.account == taker.account));
    let severity = if is_likely && are_segments { Severity::Error } else { Severity::Warning };
    let by = match (is_certain, possible.is_empty()) {
        (true, true) => format!("{certain}, too"),
        (true, false) => format!("{certain}, too; and by {possible}, unless theirs is of another account"),
        (false, _) => format!("{possible}, too, unless it is of another account"),
    };
    let (namespace, name) = (&taker.object.namespace, &taker.object.name);
    let (subject, whose) = match taker.kind {
        SPREADS => (Subject::cluster(taker.kind, name), format!("its key {:?}, in {namespace},", taker.key)),
        kind => (Subject::namespaced(kind, namespace, name), format!("its key {:?}", taker.key)),
    };
    let message = format!("{whose} is taken or written by {by}");
    outcome.find(severity, Rule::OtherOperators, Reason::KeyShared, subject, message);
}

/// By what takers may be of one key: whether by their store, the key's name, and that store.
type Id = (bool, String, String);

/// What an ask takes, from each of its sources, under what others may name the same by.
fn takers<'w>(
    judge: &Foreigners<'_>,
    name: &ForeignName,
    ask: &'w Ask,
    located: Option<&CanonicalKey>,
    scope: Scope,
) -> Vec<(Id, Taker<'w>)> {
    let object = ObjectName::of(name.namespace.clone().unwrap_or_default(), name.name.clone());
    let kind = name.kind.kind();
    let taker = |store: &str, region: Option<&str>, account: Account| Taker {
        scope: scope.clone(),
        kind,
        object: object.clone(),
        key: &ask.key,
        store: store.to_owned(),
        region: region.map(str::to_owned),
        account,
    };
    let mut all = Vec::new();
    for from in ask.sources() {
        let store = place(from, name);
        let parsed = RemoteKey::parse(&ask.key);
        let (known_by, taker) = match (&parsed, judge.region(name, from), located.and_then(CanonicalKey::in_aws)) {
            (Ok(RemoteKey::Arn(arn)), ..) => {
                (arn.name.to_string(), taker(&store, Some(&arn.region), Account::OfArn(arn.account.to_string())))
            }
            // With what the store puts before it.
            (_, Some(region), Some((.., known_by))) => {
                (known_by.to_owned(), taker(&store, Some(region), Account::Own(judge.credentials(name, from))))
            }
            (_, None, Some((account, region, known_by))) => {
                (known_by.to_owned(), taker(&store, Some(region), Account::OfRole(account.to_owned())))
            }
            // Of a store that is not there, or not of AWS.
            _ => (ask.key.to_string(), taker(&store, None, Account::Unknown)),
        };
        if taker.region.is_some() {
            all.push(((false, known_by.clone(), String::new()), taker.clone()));
        }
        all.push(((true, known_by, store), taker));
    }
    if matches!(ask.what, What::Outside(Reason::KeyNotAllowed, _)) && !ask.key.is_empty() {
        all.push(((true, ask.key.to_string(), kind.to_owned()), taker(kind, None, Account::Unknown)));
    }
    all
}

/// The kind that asks in each namespace that it spreads to.
const SPREADS: &str = "ClusterExternalSecret";

/// Each object with its namespace, then those without one in each that they spread to.
fn everywhere(world: &World) -> impl Iterator<Item = (ForeignName, &Record)> {
    let in_one = world.foreign.objects().filter(|(name, _)| name.namespace.is_some());
    let spread = world.foreign.objects().filter_map(|(name, record)| Some((name, record, record.spread.as_ref()?)));
    let spread = spread.flat_map(move |(name, record, spread)| {
        let reached = world.namespaces.iter().filter(|(namespace, labels)| spread.reaches(namespace, labels));
        reached.map(move |(namespace, _)| (ForeignName { namespace: Some(namespace.clone()), ..name.clone() }, record))
    });
    in_one.map(|(name, record)| (name.clone(), record)).chain(spread)
}

/// Where a key is asked for, if no account and region can be told.
fn place(from: &Source, object: &ForeignName) -> String {
    match from {
        Source::Store { cluster: true, name } => format!("ClusterSecretStore {name}"),
        Source::Store { cluster: false, name } => {
            format!("SecretStore {}/{name}", object.namespace.as_deref().unwrap_or_default())
        }
        Source::Region(region) => format!("region {region}"),
        Source::NodeRegion => "the nodes' region".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::look::tests::{judged, sighted};
    use super::*;
    use crate::cli::observed::tests::claim;
    use serde_json::{Value, json};

    type Object = (ForeignKind, Value);

    fn object(kind: ForeignKind, namespace: Option<&str>, name: &str, spec: &Value) -> Object {
        let metadata =
            json!({"name": name, "namespace": namespace, "uid": name, "creationTimestamp": "2026-01-01T00:00:00Z"});
        (kind, json!({"apiVersion": "x/v1", "kind": kind.kind(), "metadata": metadata, "spec": spec}))
    }

    fn store(name: &str, role: &str) -> Object {
        let aws = json!({"service": "SecretsManager", "region": "eu-west-1", "role": role});
        object(ForeignKind::ClusterSecretStore, None, name, &json!({"provider": {"aws": aws}}))
    }

    fn store_as(name: &str, account: &str) -> Object {
        let auth = json!({"jwt": {"serviceAccountRef": {"name": account, "namespace": "eso"}}});
        let aws = json!({"service": "SecretsManager", "region": "eu-west-1", "auth": auth});
        object(ForeignKind::ClusterSecretStore, None, name, &json!({"provider": {"aws": aws}}))
    }

    fn takes(namespace: &str, name: &str, store: &str, key: &str) -> Object {
        let spec = json!({"secretStoreRef": {"name": store, "kind": "ClusterSecretStore"},
            "data": [{"secretKey": "a", "remoteRef": {"key": key}}]});
        object(ForeignKind::ExternalSecret, Some(namespace), name, &spec)
    }

    fn found(
        objects: &[Object],
        claims: &[Value],
        labels: &[&str],
        here: Option<&str>,
    ) -> Vec<(Severity, Reason, String)> {
        let mut sighted = sighted(claims, &[]);
        sighted.foreign = Some(Reach::Everywhere);
        for (kind, object) in objects {
            put(&mut sighted.observed.world, *kind, &serde_json::from_value(object.clone()).unwrap());
        }
        ForeignKind::ALL.iter().for_each(|kind| sighted.observed.world.foreign.set_read(*kind, true));
        let all = judged(sighted, labels, |sighted, scopes, now, outcome| judge(sighted, scopes, here, now, outcome));
        all.findings.into_iter().map(|f| (f.severity, f.reason, f.subject.to_string())).collect()
    }

    /// Without a policy.
    fn bare(objects: &[Object], labels: &[&str]) -> Vec<(Severity, Reason, String)> {
        let mut sighted = sighted(&[], &[]);
        sighted.observed.world.policies.clear();
        sighted.observed.world.stores.clear();
        sighted.foreign = Some(Reach::Everywhere);
        for (kind, object) in objects {
            put(&mut sighted.observed.world, *kind, &serde_json::from_value(object.clone()).unwrap());
        }
        let all = judged(sighted, labels, |sighted, scopes, now, outcome| judge(sighted, scopes, None, now, outcome));
        all.findings.into_iter().map(|f| (f.severity, f.reason, f.subject.to_string())).collect()
    }

    #[test]
    fn without_a_policy_one_key_for_several_scopes() {
        let stores = [store("a", ""), store("b", ""), store("other", "arn:aws:iam::123456789012:role/x")];
        let with = |more: &[Object]| [&stores[..], more].concat();
        let labels = &["tenant", "environment"][..];
        let told = |severity| [(severity, Reason::KeyShared, "ExternalSecret billing-prod/y".to_owned())];
        let shared = [takes("payments-prod", "x", "a", "db"), takes("billing-prod", "y", "b", "db")];
        let one_store = [takes("payments-prod", "x", "a", "db"), takes("billing-prod", "y", "a", "db")];
        assert_eq!(bare(&with(&one_store), labels), told(Severity::Error));
        assert_eq!(bare(&with(&shared), labels), told(Severity::Error), "two stores may reach one account");
        let by = |one, other| bare(&[&[store_as("a", one), store_as("b", other)], &shared[..]].concat(), labels);
        assert_eq!(by("reader", "reader"), told(Severity::Error));
        assert_eq!(by("reader", "other"), told(Severity::Warning), "by credentials of two accounts, perhaps");
        assert_eq!(bare(&with(&shared), &[]), told(Severity::Warning), "no segments yet");
        assert_eq!(bare(&shared, labels), [], "of unknown stores only the names tell");
        let unknown = [takes("payments-prod", "x", "vault", "db"), takes("billing-prod", "y", "vault", "db")];
        assert_eq!(bare(&unknown, labels), told(Severity::Error));
        let apart = [takes("payments-prod", "x", "a", "db"), takes("billing-prod", "y", "other", "db")];
        assert_eq!(bare(&with(&apart), labels), []);
        let one = [takes("payments-prod", "x", "a", "db"), takes("payments-prod", "y", "a", "db")];
        assert_eq!(bare(&with(&one), labels), []);
        assert_eq!(bare(&with(&shared), &["nothing"]), told(Severity::Warning));
    }

    #[test]
    fn without_a_policy_who_writes_a_key_that_others_take() {
        let pushes = |namespace: &str, store: &str| {
            let spec = json!({"secretStoreRefs": [{"name": store, "kind": "ClusterSecretStore"}],
                "data": [{"match": {"remoteRef": {"remoteKey": "db"}}}]});
            object(ForeignKind::PushSecret, Some(namespace), "p", &spec)
        };
        let labels = &["tenant", "environment"][..];
        let told = [(Severity::Error, Reason::KeyShared, "ExternalSecret billing-prod/x".to_owned())];
        for store_there in [&[store("a", "")][..], &[]] {
            let all = [store_there, &[pushes("payments-prod", "a"), takes("billing-prod", "x", "a", "db")]].concat();
            assert_eq!(bare(&all, labels), told);
            assert_eq!(bare(&[store_there, &[pushes("payments-prod", "a")]].concat(), labels), []);
        }
        let arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:db-AbCdEf";
        let two = [takes("payments-prod", "y", "a", arn), takes("billing-prod", "x", "a", "db")];
        let may_be = [(Severity::Warning, Reason::KeyShared, "ExternalSecret billing-prod/x".to_owned())];
        assert_eq!(bare(&two, labels), may_be, "one key by its name and by its ARN, unless that is of another account");
        let abroad = |account: &str| format!("arn:aws:secretsmanager:eu-west-1:{account}:secret:db-AbCdEf");
        let (here, there) = (abroad("111111111111"), abroad("222222222222"));
        let apart = [takes("payments-prod", "y", "a", &here), takes("billing-prod", "x", "a", &there)];
        assert_eq!(bare(&apart, labels), [], "two accounts by one store");
        let roled = store("roled", "arn:aws:iam::222222222222:role/x");
        let apart = [roled, takes("payments-prod", "y", "roled", "db"), takes("billing-prod", "x", "roled", &here)];
        assert_eq!(bare(&apart, labels), [], "the role's account, and another");
        let abroad = "arn:aws:secretsmanager:us-east-1:111111111111:secret:db-AbCdEf";
        let apart = [store("a", ""), takes("payments-prod", "y", "a", abroad), takes("billing-prod", "x", "a", "db")];
        assert_eq!(bare(&apart, labels), [], "of two regions");
        let three = [
            store("a", ""),
            takes("payments-prod", "y", "a", &here),
            takes("billing-prod", "w", "a", &there),
            takes("billing-prod", "x", "a", "db"),
        ];
        assert_eq!(bare(&three, labels), may_be, "two of them are apart, and only what may be one is told");
        let certainly =
            [&three[..], &[takes("payments-prod", "z", "a", "db"), takes("payments-prod", "v", "a", &there)]];
        let error = |name: &str| (Severity::Error, Reason::KeyShared, format!("ExternalSecret billing-prod/{name}"));
        assert_eq!(bare(&certainly.concat(), labels), [error("w"), error("x")], "each two of one account for sure");
        let stores = [store("a", ""), store("b", "")];
        let asked = [takes("payments-prod", "y", "a", "db"), takes("billing-prod", "x", "b", &here)];
        let may_be = [(Severity::Warning, Reason::KeyShared, "ExternalSecret billing-prod/x".to_owned())];
        assert_eq!(
            bare(&[&stores[..], &asked].concat(), labels),
            may_be,
            "by another store it may be another account's"
        );
    }

    #[test]
    fn without_a_policy_other_kinds_too() {
        let vault = |namespace: &str| {
            object(ForeignKind::VaultStaticSecret, Some(namespace), "v", &json!({"mount": "kv", "path": "db"}))
        };
        let class = |namespace: &str| {
            let objects = "- {objectName: db, objectType: secretsmanager}";
            let spec = json!({"provider": "aws", "parameters": {"region": "eu-west-1", "objects": objects}});
            object(ForeignKind::SecretProviderClass, Some(namespace), "c", &spec)
        };
        let of = |kind: &str| {
            [(Severity::Warning, Reason::KeyShared, format!("{kind} billing-prod/{}", &kind[..1].to_lowercase()))]
        };
        assert_eq!(bare(&[vault("payments-prod"), vault("billing-prod")], &[]), of("VaultStaticSecret"));
        let both = [class("payments-prod"), store("a", ""), takes("billing-prod", "x", "a", "db")];
        assert_eq!(bare(&both, &[])[0].2, "ExternalSecret billing-prod/x", "a driver and an operator, one key");
        assert_eq!(bare(&[class("payments-prod"), class("payments-prod")], &[]), []);
    }

    #[test]
    fn without_a_policy_one_that_spreads_one_key() {
        let spread = |more: Value| {
            let mut spec = json!({"externalSecretSpec": {"secretStoreRef": {"name": "a", "kind": "ClusterSecretStore"},
                "data": [{"secretKey": "a", "remoteRef": {"key": "db"}}]}});
            spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            [object(ForeignKind::ClusterExternalSecret, None, "wide", &spec), store("a", "")]
        };
        let labels = &["tenant", "environment"][..];
        let told = [(Severity::Error, Reason::KeyShared, "ClusterExternalSecret wide".to_owned())];
        let two = json!({"namespaces": ["payments-prod", "billing-prod"]});
        assert_eq!(bare(&spread(two.clone()), labels), told);
        assert_eq!(bare(&spread(json!({"namespaceSelector": {"matchLabels": {"environment": "prod"}}})), labels), told);
        let several = json!({"namespaceSelectors": [{"matchLabels": {"tenant": "payments"}}, {"matchLabels": {"tenant": "billing"}}]});
        assert_eq!(bare(&spread(several), labels), told);
        assert_eq!(bare(&spread(json!({"namespaces": ["payments-prod"]})), labels), []);
        // What it has made is told once, for itself.
        let made = [takes("payments-prod", "wide", "a", "db"), takes("billing-prod", "wide", "a", "db")];
        let told = [(Severity::Error, Reason::KeyShared, "ExternalSecret billing-prod/wide".to_owned())];
        assert_eq!(bare(&[&spread(two)[..], &made].concat(), labels), told);
    }

    #[test]
    fn whatever_matches_is_warned_of() {
        let spec = json!({"secretStoreRef": {"name": "a", "kind": "ClusterSecretStore"},
            "dataFrom": [{"find": {"name": {"regexp": ".*"}}}, {"extract": {"key": "k"}}]});
        let greedy = [object(ForeignKind::ExternalSecret, Some("plain"), "x", &spec), store("a", "")];
        assert_eq!(bare(&greedy, &[]), [(Severity::Warning, Reason::KeyNotExact, "ExternalSecret plain/x".into())]);
    }

    #[test]
    fn where_a_policy_governs_the_rule_speaks() {
        let held = [claim("payments-prod", "a", "payments/prod/db", 1, true)];
        let stolen = [store("a", ""), takes("billing-prod", "thief", "a", "payments/prod/db")];
        let told = |reason| [(Severity::Warning, reason, "ExternalSecret billing-prod/thief".to_owned())];
        assert_eq!(found(&stolen, &held, &[], None), told(Reason::KeyNotAllowed));
        let own = [store("a", ""), takes("payments-prod", "own", "a", "payments/prod/db")];
        assert_eq!(found(&own, &held, &[], None), []);
        let of_none = [store("a", ""), takes("plain", "outside", "a", "payments/prod/db")];
        let shared = [(Severity::Warning, Reason::KeyShared, "ExternalSecret plain/outside".to_owned())];
        assert_eq!(
            found(&of_none, &held, &[], None),
            shared,
            "no policy governs it: what a ScopedSecret has is taken, too"
        );
        let missing = [takes("billing-prod", "x", "nowhere", "billing/prod/db")];
        assert_eq!(found(&missing, &[], &[], None)[0].1, Reason::StoreUnresolved);
    }

    #[test]
    fn what_is_asked_of_stores_that_nobody_could_look_at_is_no_finding() {
        let push = json!({"secretStoreRefs": [{"name": "b", "kind": "ClusterSecretStore"}],
            "data": [{"match": {"remoteRef": {"remoteKey": "billing/prod/db"}}}]});
        let mut sighted = sighted(&[], &[]);
        sighted.foreign = Some(Reach::Here);
        for (kind, object) in [
            takes("billing-prod", "x", "b", "billing/prod/db"),
            object(ForeignKind::PushSecret, Some("billing-prod"), "p", &push),
        ] {
            put(&mut sighted.observed.world, kind, &serde_json::from_value(object).unwrap());
        }
        sighted.observed.world.foreign.set_read(ForeignKind::SecretStore, true);
        let all = judged(sighted, &[], |sighted, scopes, now, outcome| judge(sighted, scopes, None, now, outcome));
        let found: Vec<_> = all.findings.iter().map(|f| (f.reason, f.subject.to_string())).collect();
        assert_eq!(found, [(Reason::WriteNotAllowed, "PushSecret billing-prod/p".to_owned())]);
    }

    #[test]
    fn it_is_told_of_the_namespace_that_was_asked_for() {
        let both = [store("a", ""), takes("plain", "x", "a", "db"), takes("plain-2", "y", "a", "db")];
        for (here, first) in [(None, "plain/x"), (Some("plain-2"), "plain-2/y")] {
            assert_eq!(found(&both, &[], &[], here)[0].2, format!("ExternalSecret {first}"));
        }
    }
}
