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
    let found = Foreigners::new(world, now).findings();
    let (really, would): (Vec<_>, Vec<_>) = found.into_iter().partition(|violation| {
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

/// What an object takes or writes: the key as it writes it, and which that is, where that can be told.
type Taken<'w> = (&'w str, Option<CanonicalKey>);

/// Who takes one key, or writes it.
#[derive(Default)]
struct Takers<'w> {
    by_scope: BTreeMap<Scope, BTreeMap<(&'static str, ObjectName), Taken<'w>>>,
    /// Only region and name are the same.
    may_be_others: bool,
}

impl Takers<'_> {
    /// Whether it may be one key, which several scopes take.
    fn are_several(&self) -> bool {
        let places = || self.by_scope.values().flat_map(BTreeMap::values).map(|(_, place)| place.as_ref());
        let known: BTreeSet<&CanonicalKey> = places().flatten().collect();
        self.by_scope.len() > 1 && (known.len() < 2 || places().any(|place| place.is_none()))
    }
}

/// One key that several scopes take, where not each of them is governed: there the rule speaks.
fn shared(world: &World, scopes: &Scopes, here: Option<&str>, now: Timestamp, outcome: &mut Outcome) {
    let mut keys: BTreeMap<String, Takers<'_>> = BTreeMap::new();
    let judge = Foreigners::new(world, now);
    for (name, record) in everywhere(world) {
        let Some(namespace) = &name.namespace else { continue };
        let located = judge.keys(&name, &record.asks);
        for (at, ask) in record.asks.iter().enumerate() {
            let key = located.iter().find(|(of, _)| *of == at).map(|(_, key)| key);
            // An ARN says the account, whatever is known of the store; without a role a store does not.
            let place = match RemoteKey::parse(&ask.key) {
                Ok(RemoteKey::Arn(arn)) => Some(CanonicalKey::of_arn(&arn)),
                _ if ask.sources().iter().any(|from| judge.region(&name, from).is_some()) => None,
                _ => key.cloned(),
            };
            for (id, key, may_be_others) in ids(&judge, &name, ask, key) {
                let takers = keys.entry(id).or_default();
                takers.may_be_others = may_be_others;
                let object = ObjectName { namespace: namespace.clone(), name: name.name.clone() };
                let known = takers.by_scope.entry(scopes.of(namespace)).or_default();
                // What it has made there is told for itself.
                let made = || known.keys().any(|(_, other)| other.namespace == *namespace);
                if !name.kind.is_cluster_scoped() || !made() {
                    known.insert((name.kind.kind(), object), (&ask.key, place.clone()));
                }
                for claim in key.into_iter().flat_map(|key| world.claims_on(key)) {
                    let taken = takers.by_scope.entry(scopes.of(&claim.object.namespace)).or_default();
                    taken.insert(("ScopedSecret", claim.object.clone()), (&ask.key, place.clone()));
                }
            }
        }
    }
    // What is certain first: it is told once.
    let (unsure, sure): (Vec<_>, Vec<_>) =
        keys.values().filter(|all| all.are_several()).partition(|all| all.may_be_others);
    let mut told = BTreeSet::new();
    for takers in sure.into_iter().chain(unsure) {
        let all = takers.by_scope.iter().flat_map(|(scope, objects)| objects.iter().map(move |object| (scope, object)));
        let mut all: Vec<_> = all.collect();
        if all.iter().all(|(_, ((_, name), _))| scopes.is_governed(&name.namespace)) {
            continue;
        }
        // The finding is about an object of the others, and of the namespace that was asked for.
        all.sort_by_key(|(_, ((kind, name), _))| (*kind == "ScopedSecret", here != Some(&*name.namespace)));
        let Some(((_, ((kind, first), (written, _))), others)) = all.split_first() else { continue };
        let takes = others.iter().map(|(scope, ((kind, name), _))| match *kind {
            SPREADS => format!("{kind} {} in {} ({scope})", name.name, name.namespace),
            kind => format!("{kind} {name} ({scope})"),
        });
        let mut shown: Vec<String> = takes.take(5).collect();
        if others.len() > 5 {
            shown.push(format!("{} more", others.len() - 5));
        }
        let certain = !takers.may_be_others && takers.by_scope.keys().all(Scope::is_segment);
        let severity = if certain { Severity::Error } else { Severity::Warning };
        let (subject, whose) = match *kind {
            SPREADS => (Subject::cluster(kind, &first.name), format!("its key {written:?}, in {},", first.namespace)),
            kind => (Subject::namespaced(kind, &first.namespace, &first.name), format!("its key {written:?}")),
        };
        let unless = if takers.may_be_others { ", unless it is of another account" } else { "" };
        if told.insert((subject.to_string(), shown.clone())) {
            let message = format!("{whose} is taken or written by {}, too{unless}", shown.join(", "));
            outcome.find(severity, Rule::OtherOperators, Reason::KeyShared, subject, message);
        }
    }
}

/// By what an ask may be known to be of the same key as another: where it is, its store, or its region alone; with that place,
/// and whether it may be another key all the same.
fn ids<'k>(
    judge: &Foreigners<'_>,
    name: &ForeignName,
    ask: &Ask,
    at: Option<&'k CanonicalKey>,
) -> Vec<(String, Option<&'k CanonicalKey>, bool)> {
    let mut ids: Vec<_> = at.map(|key| (key.as_str().to_owned(), Some(key), false)).into_iter().collect();
    let parsed = RemoteKey::parse(&ask.key);
    for from in ask.sources() {
        ids.push((format!("{} {}", place(from, name), named(&ask.key)), None, false));
        let region = match &parsed {
            Ok(RemoteKey::Arn(arn)) => Some(&*arn.region),
            _ => judge.region(name, from),
        };
        ids.extend(region.map(|region| (format!("region alone {region} {}", named(&ask.key)), None, true)));
    }
    if matches!(ask.what, What::Outside(Reason::KeyNotAllowed, _)) && !ask.key.is_empty() {
        ids.push((format!("{} {}", name.kind.kind(), ask.key), None, false));
    }
    ids
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

/// A key by its name, however it is written.
fn named(key: &str) -> String {
    RemoteKey::parse(key).map_or_else(|_| key.to_owned(), |key| key.name().to_owned())
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
        let aws = json!({"service": "SecretsManager", "region": "eu-west-1", "role": role, "auth": {"x": name}});
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
        assert_eq!(bare(&with(&shared), labels), told(Severity::Error), "two stores reach one account");
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
        assert_eq!(bare(&two, labels), told, "one key by its name and by its ARN");
        let abroad = |account: &str| format!("arn:aws:secretsmanager:eu-west-1:{account}:secret:db-AbCdEf");
        let (here, there) = (abroad("111111111111"), abroad("222222222222"));
        let apart = [takes("payments-prod", "y", "a", &here), takes("billing-prod", "x", "a", &there)];
        assert_eq!(bare(&apart, labels), [], "two accounts by one store");
        let roled = store("roled", "arn:aws:iam::222222222222:role/x");
        let apart = [roled, takes("payments-prod", "y", "roled", "db"), takes("billing-prod", "x", "roled", &here)];
        assert_eq!(bare(&apart, labels), [], "the role's account, and another");
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
    fn it_is_told_of_the_namespace_that_was_asked_for() {
        let both = [store("a", ""), takes("plain", "x", "a", "db"), takes("plain-2", "y", "a", "db")];
        for (here, first) in [(None, "plain/x"), (Some("plain-2"), "plain-2/y")] {
            assert_eq!(found(&both, &[], &[], here)[0].2, format!("ExternalSecret {first}"));
        }
    }
}
