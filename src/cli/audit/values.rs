//! Where each hard-to-guess value of a Secret stands: in Secrets and ConfigMaps, whole, inside a larger text, or base64-coded.
//!
//! ```text
//!   Secrets, page by page ──► marks of their values ─┐
//!   Secrets and ConfigMaps, page by page ────────────┴─► search ──► places of each value
//! ```
//!
//! It is the operator's own detector ([`crate::segmentation::copies`]), under a key that is made for one run and forgotten with
//! it. So everything is read twice, and of a value only keyed hashes are in memory.

use crate::cli::cluster::{Cluster, Failure, Reach, within};
use crate::cli::observed::Observed;
use crate::controller::index::object_name;
use crate::projection::names_of;
use crate::segmentation::copies::{Content, MarkIndex, Search, dedented};
use crate::segmentation::fingerprint::{Fingerprint, is_confidential, is_hard_to_guess};
use crate::segmentation::policy::{DEFAULT_IGNORE, Policy, ignored_by};
use crate::segmentation::seal::{Generation, SealKeys};
use crate::segmentation::world::ObjectName;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use kube::api::ListParams;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::ControlFlow;
use std::sync::Arc;
use zeroize::Zeroizing;

/// So many objects a page: each may be a mebibyte.
const PAGE: u32 = 50;
/// How much more work than a request at admission the search of one text may do.
const PATIENCE: usize = 16;

/// An object that carries a value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Site {
    /// Secret or ConfigMap.
    pub kind: &'static str,
    /// Which.
    pub object: ObjectName,
    /// Where in it; a name that is itself a value is not shown.
    pub place: String,
}

/// The values of Secrets, and where each stands.
pub struct Values {
    keys: SealKeys,
    marks: MarkIndex,
    prints: BTreeMap<ObjectName, Vec<Fingerprint>>,
    /// Values without their indentation, and what they are with it.
    same: HashMap<Fingerprint, Fingerprint>,
    /// The places of each value.
    pub places: HashMap<Fingerprint, BTreeSet<Site>>,
    /// How many values are looked for.
    pub compared: usize,
    /// What is made so that comparing it takes too long.
    pub given_up: BTreeSet<(&'static str, ObjectName)>,
    /// How far the reader could look for copies.
    pub reach: Reach,
}

impl Values {
    /// Under a key of its own; None without randomness: then no value is read.
    pub fn under_a_new_key(now: Timestamp) -> Option<Self> {
        let mut random = Zeroizing::new([0; 36]);
        aws_lc_rs::rand::fill(&mut *random).ok()?;
        Self::new(&random, now)
    }

    /// Under the key of these random bytes.
    pub fn new(random: &[u8; 36], now: Timestamp) -> Option<Self> {
        Some(Self {
            keys: SealKeys::new(Generation::from_random(random, now).ok()?),
            marks: MarkIndex::default(),
            prints: BTreeMap::new(),
            same: HashMap::new(),
            places: HashMap::new(),
            compared: 0,
            given_up: BTreeSet::new(),
            reach: Reach::Everywhere,
        })
    }

    /// Takes in what will be looked for: the values of a Secret that are confidential and hard to guess.
    pub fn take(&mut self, secret: &Secret, ignored: &mut Ignored<'_>) {
        let Some(name) = object_name(&secret.metadata) else { return };
        let mut prints = Vec::new();
        for (key, value) in secret.data.iter().flatten() {
            let value = value.0.trim_ascii();
            let names = ignored.names(&name, key);
            let ignored = ignored.in_namespace(&name.namespace);
            if !is_confidential(&names, value, ignored) || !is_hard_to_guess(value) {
                continue;
            }
            let Some(print) = self.mark(value) else { continue };
            prints.push(print);
            // In a copy it may be indented otherwise.
            let unindented = dedented(value).filter(|text| is_hard_to_guess(text)).and_then(|text| self.mark(&text));
            self.same.extend(unindented.filter(|other| *other != print).map(|other| (other, print)));
        }
        self.compared += prints.len();
        if !prints.is_empty() {
            self.prints.insert(name, prints);
        }
    }

    /// Has a value looked for.
    fn mark(&mut self, value: &[u8]) -> Option<Fingerprint> {
        let (fingerprints, marks) = self.keys.sealed_prints(&[self.keys.print(value)]);
        marks.each.iter().for_each(|mark| self.marks.insert(marks.generation, *mark));
        fingerprints.first().copied()
    }

    /// Looks for all of them in an object.
    fn look(&mut self, kind: &'static str, metadata: &ObjectMeta, content: Content<'_>) {
        let Some(object) = object_name(metadata) else { return };
        let content = content.worth_a_look();
        let mut found: Vec<(Fingerprint, crate::segmentation::copies::Place<'_>)> = Vec::new();
        for (place, text) in content.texts() {
            let mut search = Search::new(&self.marks, &self.keys, text.len(), PATIENCE);
            let looked = search.look(&text, &mut |print| {
                found.push((*print, place));
                ControlFlow::Continue(())
            });
            if looked.is_err() {
                self.given_up.insert((kind, object.clone()));
            }
        }
        let names_are_values = found.iter().any(|(_, place)| place.is_name());
        for (print, place) in found {
            let place = if names_are_values { place.unnamed() } else { place };
            let site = Site { kind, object: object.clone(), place: place.to_string() };
            let print = self.same.get(&print).copied().unwrap_or(print);
            self.places.entry(print).or_default().insert(site);
        }
    }

    fn look_at(&mut self, kind: &'static str, metadata: &ObjectMeta, object: &impl Serialize) {
        let object = serde_json::to_value(object).unwrap_or_default();
        self.look(kind, metadata, Content::of_json(kind, metadata, &object));
    }

    /// The fingerprints of what a Secret holds.
    pub fn of(&self, secret: &ObjectName) -> &[Fingerprint] {
        self.prints.get(secret).map(Vec::as_slice).unwrap_or_default()
    }

    /// Looks for them wherever the reader may look.
    pub async fn look_everywhere(&mut self, cluster: &Cluster, secrets: ListParams) -> Result<(), Failure> {
        if self.marks.is_empty() {
            return Ok(());
        }
        let in_secrets = cluster
            .each_page_in_reach(within::<Secret>(&cluster.client), secrets.limit(PAGE), |page| {
                page.iter().for_each(|secret| self.look_at("Secret", &secret.metadata, secret));
            })
            .await?;
        let all = ListParams::default().limit(PAGE);
        let in_maps = cluster
            .each_page_in_reach(within::<ConfigMap>(&cluster.client), all, |page| {
                page.iter().for_each(|map| self.look_at("ConfigMap", &map.metadata, map));
            })
            .await?;
        self.reach = in_secrets.min(in_maps);
        Ok(())
    }
}

/// The names that are not compared, by namespace: those that every policy over it ignores that compares values.
pub struct Ignored<'o> {
    observed: &'o Observed,
    none: BTreeSet<String>,
    known: BTreeMap<String, BTreeSet<String>>,
    /// Of each projected Secret, the manager's own name for what is under a key; None: it is taken whole.
    properties: BTreeMap<ObjectName, BTreeMap<&'o str, Option<&'o str>>>,
}

impl<'o> Ignored<'o> {
    /// By the policies that are understood.
    pub fn by(observed: &'o Observed) -> Self {
        let mut properties: BTreeMap<ObjectName, BTreeMap<&str, Option<&str>>> = BTreeMap::new();
        for claim in &observed.claims {
            let target = ObjectName::new(
                &claim.namespace().unwrap_or_default(),
                claim.spec.target_name(claim.metadata.name.as_deref().unwrap_or_default()),
            );
            let named =
                claim.spec.data.iter().map(|data| (data.secret_key.as_str(), data.remote_ref.property.as_deref()));
            properties.entry(target).or_default().extend(named);
        }
        Self { observed, none: DEFAULT_IGNORE.map(str::to_owned).into(), known: BTreeMap::new(), properties }
    }

    /// The names of what is under a key of a Secret: what the manager calls it, as the operator compares, and none of what is taken
    /// whole; else the key.
    fn names(&self, secret: &ObjectName, key: &str) -> Vec<String> {
        match self.properties.get(secret).and_then(|of| of.get(key)) {
            Some(property) => property.map(names_of).unwrap_or_default(),
            None => vec![key.to_owned()],
        }
    }

    /// In a namespace.
    pub fn in_namespace(&mut self, namespace: &str) -> &BTreeSet<String> {
        if !self.known.contains_key(namespace) {
            let labels = self.observed.world.namespaces.get(namespace);
            let governs = |policy: &&Arc<Policy>| labels.is_some_and(|labels| policy.segment(labels).is_ok());
            let over = self.observed.policies_over(namespace).filter(governs).map(|policy| &**policy);
            let all = ignored_by(over).unwrap_or_else(|| self.none.clone());
            self.known.insert(namespace.to_owned(), all);
        }
        self.known.get(namespace).unwrap_or(&self.none)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::cli::observed::build;
    use crate::cli::observed::tests::{claim, facts, now};
    use base64::Engine;
    use base64::prelude::BASE64_STANDARD;
    use serde_json::{Value, json};

    pub const HARD: &str = "kX9#mQ2$vL8@nR5!wT3z";

    /// A Secret of one key.
    pub fn secret(name: &str, key: &str, value: &str) -> Secret {
        let (namespace, name) = name.split_once('/').unwrap();
        let data = json!({key: BASE64_STANDARD.encode(value)});
        serde_json::from_value(json!({"metadata": {"namespace": namespace, "name": name}, "data": data})).unwrap()
    }

    /// A ConfigMap of one key.
    pub fn map(name: &str, key: &str, value: &str) -> ConfigMap {
        let (namespace, name) = name.split_once('/').unwrap();
        serde_json::from_value(json!({"metadata": {"namespace": namespace, "name": name}, "data": {key: value}}))
            .unwrap()
    }

    /// What is found of these Secrets' values in them and in these ConfigMaps.
    pub fn values(secrets: &[Secret], maps: &[ConfigMap], observed: &Observed) -> Values {
        let (mut values, mut ignored) = (Values::new(&[7; 36], now()).unwrap(), Ignored::by(observed));
        for secret in secrets {
            values.take(secret, &mut ignored);
        }
        secrets.iter().for_each(|secret| values.look_at("Secret", &secret.metadata, secret));
        maps.iter().for_each(|map| values.look_at("ConfigMap", &map.metadata, map));
        values
    }

    fn places(secrets: &[Secret], maps: &[ConfigMap]) -> Vec<String> {
        let values = values(secrets, maps, &build(facts(&[])));
        let sites = values.places.values().flatten();
        let mut all: Vec<String> = sites.map(|site| format!("{} {} {}", site.kind, site.object, site.place)).collect();
        all.sort();
        all
    }

    #[test]
    fn a_value_is_found_whole_embedded_and_coded() {
        let own = secret("payments-prod/a", "password", &format!("{HARD}\n"));
        let url = format!("postgres://app:{HARD}@db/orders");
        let twice = BASE64_STANDARD.encode(BASE64_STANDARD.encode(HARD));
        for text in [HARD.to_owned(), url, twice, json!({"auth": {"token": HARD}}).to_string()] {
            let found = places(std::slice::from_ref(&own), &[map("billing-prod/b", "settings", &text)]);
            let expected = ["ConfigMap billing-prod/b data[\"settings\"]", "Secret payments-prod/a data[\"password\"]"];
            assert_eq!(found, expected, "{text}");
        }
        let found = places(&[own], &[map("billing-prod/b", "settings", "something else of some length")]);
        assert_eq!(found, ["Secret payments-prod/a data[\"password\"]"]);
    }

    #[test]
    fn a_value_that_is_indented_otherwise() {
        let lines = |indent: &str| format!("a:\n{indent}{HARD}\n{indent}Wq8!nB4%hJ7^dF2&\n");
        let own = secret("payments-prod/a", "settings", &lines("    "));
        for indent in ["", "  ", "\t", "    "] {
            let found = places(std::slice::from_ref(&own), &[map("billing-prod/b", "x", &lines(indent))]);
            let expected = ["ConfigMap billing-prod/b data[\"x\"]", "Secret payments-prod/a data[\"settings\"]"];
            assert_eq!(found, expected, "{indent:?}");
        }
    }

    #[test]
    fn what_is_easy_to_guess_or_public_is_not_looked_for() {
        for value in ["hunter2", "postgres", "passwordpassword", "db.payments.svc.cluster.local"] {
            assert_eq!(places(&[secret("payments-prod/a", "x", value)], &[]), [] as [&str; 0], "{value}");
        }
        assert_eq!(
            places(&[secret("plain/a", "username", HARD)], &[]),
            [] as [&str; 0],
            "as policies do by themselves"
        );
    }

    #[test]
    fn what_a_policy_ignores_counts_in_its_namespaces() {
        let mut facts = facts(&[]);
        let policies: Vec<Value> =
            facts.policies.clone().found().unwrap().iter().map(|p| serde_json::to_value(p).unwrap()).collect();
        let mut policy = policies[0].clone();
        policy["spec"]["rules"] = json!({"uniqueValues": {"within": "Segment", "ignore": ["nonce"]}});
        facts.policies = crate::cli::cluster::Seen::There(vec![serde_json::from_value(policy).unwrap()]);
        let observed = build(facts);
        let compared = |name: &str, key: &str| values(&[secret(name, key, HARD)], &[], &observed).compared;
        assert_eq!([compared("payments-prod/a", "nonce"), compared("payments-prod/a", "username")], [0, 1]);
        assert_eq!([compared("plain/a", "nonce"), compared("plain/a", "username")], [1, 0]);
    }

    #[test]
    fn what_the_manager_calls_a_value_counts_too() {
        let mut own = claim("payments-prod", "a", "payments/prod/a", 1, true);
        own["spec"]["data"] = json!([
            {"secretKey": "DB_USER", "remoteRef": {"key": "payments/prod/a", "property": "/db/username"}},
            {"secretKey": "username", "remoteRef": {"key": "payments/prod/a", "property": "password"}},
            {"secretKey": "host", "remoteRef": {"key": "payments/prod/a"}},
        ]);
        let observed = build(facts(&[own]));
        let compared = |key: &str| values(&[secret("payments-prod/a", key, HARD)], &[], &observed).compared;
        assert_eq!([compared("DB_USER"), compared("username"), compared("host")], [0, 1, 1]);
        assert_eq!(compared("port"), 0, "of dataFrom, whose properties are the keys");
    }

    #[test]
    fn a_name_that_is_a_value_is_not_shown() {
        let hard = "kX9mQ2vL8nR5wT3zB7pQ4sJ6";
        let found = places(&[secret("payments-prod/a", "password", hard)], &[map("billing-prod/b", hard, hard)]);
        assert!(found.iter().all(|place| !place.contains(hard)), "{found:?}");
        assert!(found.contains(&"ConfigMap billing-prod/b the name of a key in data".to_owned()), "{found:?}");
    }
}
