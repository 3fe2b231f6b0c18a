//! The world as a reader sees it: policies, stores, namespaces and ScopedSecrets, for the same authoriser that the operator asks.
//!
//! ```text
//!   Cluster ──look──► Facts (what the API server answered) ──build──► Observed (a World, and what is missing in it)
//! ```
//!
//! What a Secret holds is taken from the status of its ScopedSecret: a seal opens for the operator alone. So the plugin's
//! verdicts are those of the operator as long as statuses tell the truth, which `audit` looks at.

use super::cluster::{Cluster, Failure, Seen};
use super::simulate::schema::nearest;
use crate::api::{ScopedSecret, ScopedSecretStore, SegmentationPolicy};
use crate::controller::index::{claim_of, object_name};
use crate::controller::providers::declared_realm;
use crate::segmentation::guarantees::Told;
use crate::segmentation::key::{CanonicalKey, Realm, RemoteKey};
use crate::segmentation::policy::Policy;
use crate::segmentation::world::{Claim, Holding, KeyVersion, ObjectName, PolicyState, StoreState, World};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use kube::api::{Api, ApiResource, DynamicObject, ListParams};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What the API server answered.
#[derive(Debug)]
pub struct Facts {
    /// As JSON: one that cannot be decoded must not hide the others.
    pub policies: Seen<Vec<DynamicObject>>,
    /// Likewise.
    pub stores: Seen<Vec<DynamicObject>>,
    /// Labels by name.
    pub namespaces: Seen<BTreeMap<String, BTreeMap<String, String>>>,
    /// Whether these are all.
    pub every_namespace: bool,
    /// ScopedSecrets; of one namespace where no more may be listed.
    pub claims: Seen<Vec<DynamicObject>>,
    /// Whether those are of every namespace.
    pub every_claim: bool,
}

/// What can be judged.
#[derive(Debug, Default)]
pub struct Observed {
    /// What decides.
    pub world: World,
    /// ScopedSecrets that are understood, in the order of the API server.
    pub claims: Vec<ScopedSecret>,
    /// Policies that are understood.
    pub policies: Vec<SegmentationPolicy>,
    /// Stores that are understood.
    pub stores: Vec<ScopedSecretStore>,
    /// Whatever cannot be understood: kind, namespace/name, why.
    pub broken: Vec<(&'static str, String, String)>,
    /// Whether the kinds are there.
    pub installed: bool,
    /// Whether ScopedSecrets of every namespace were seen.
    pub every_claim: bool,
    /// Whether every namespace was seen.
    pub every_namespace: bool,
    /// Whether the policies could be looked at.
    pub policies_seen: bool,
    /// Whether the stores could be looked at.
    pub stores_seen: bool,
}

/// Looks. `home` is the namespace that matters where not all may be listed.
pub async fn look(cluster: &Cluster, home: &str) -> Result<Facts, Failure> {
    let all = ListParams::default;
    let dynamic = |kind: ApiResource| Api::<DynamicObject>::all_with(cluster.client.clone(), &kind);
    let policies = policies(cluster).await?;
    let stores = cluster.list(&dynamic(ApiResource::erase::<ScopedSecretStore>(&())), all()).await?;
    let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
    let mut seen =
        cluster.list_metadata(&namespaces, all()).await?.map(|list| list.iter().map(|n| labels(&n.metadata)).collect());
    let every_namespace = seen != Seen::Barred;
    if !every_namespace {
        seen = only(cluster, home).await?;
    }
    let kind = ApiResource::erase::<ScopedSecret>(&());
    let mut claims = cluster.list(&dynamic(kind.clone()), all()).await?;
    let every_claim = claims != Seen::Barred;
    if !every_claim {
        let own = Api::<DynamicObject>::namespaced_with(cluster.client.clone(), home, &kind);
        claims = cluster.list(&own, all()).await?;
    }
    Ok(Facts { policies, stores, namespaces: seen, every_namespace, claims, every_claim })
}

/// Looks at the policies and at one namespace alone.
pub async fn observe_policies(cluster: &Cluster, namespace: &str) -> Result<Observed, Failure> {
    let (policies, namespaces) = (policies(cluster).await?, only(cluster, namespace).await?);
    let (stores, claims) = (Seen::There(Vec::new()), Seen::There(Vec::new()));
    Ok(build(Facts { policies, stores, namespaces, every_namespace: false, claims, every_claim: false }))
}

async fn policies(cluster: &Cluster) -> Result<Seen<Vec<DynamicObject>>, Failure> {
    let kind = ApiResource::erase::<SegmentationPolicy>(&());
    cluster.list(&Api::all_with(cluster.client.clone(), &kind), ListParams::default()).await
}

/// The labels of one namespace.
async fn only(cluster: &Cluster, namespace: &str) -> Result<Seen<BTreeMap<String, BTreeMap<String, String>>>, Failure> {
    let seen = cluster.get_metadata(&Api::<Namespace>::all(cluster.client.clone()), namespace).await?;
    Ok(seen.map(|namespace| [labels(&namespace.metadata)].into()))
}

fn labels(metadata: &ObjectMeta) -> (String, BTreeMap<String, String>) {
    (metadata.name.clone().unwrap_or_default(), metadata.labels.clone().unwrap_or_default())
}

/// Makes a world of it. Pure.
pub fn build(facts: Facts) -> Observed {
    let mut observed = Observed {
        installed: facts.policies != Seen::Absent && facts.claims != Seen::Absent,
        every_claim: facts.every_claim,
        every_namespace: facts.every_namespace,
        policies_seen: facts.policies != Seen::Barred,
        stores_seen: facts.stores != Seen::Barred,
        ..Observed::default()
    };
    observed.world.policies_synced = observed.policies_seen;
    for object in facts.policies.found().into_iter().flatten() {
        observed.add_policy(object);
    }
    for (name, labels) in facts.namespaces.found().into_iter().flatten() {
        observed.world.namespaces.insert(name.into(), labels);
    }
    for object in facts.stores.found().into_iter().flatten() {
        observed.add_store(object);
    }
    for object in facts.claims.found().into_iter().flatten() {
        observed.add_claim(object);
    }
    observed
}

/// Looks, and makes a world of it. A namespace that the reader named and that is not there is an error: of what is not there
/// nothing would be found.
pub async fn observe(cluster: &Cluster, home: &str) -> Result<Observed, Failure> {
    let facts = look(cluster, home).await?;
    match facts.lack(home) {
        Some(why) if cluster.named || home != cluster.namespace => Err(Failure::Usage(why)),
        _ => Ok(build(facts)),
    }
}

impl Facts {
    /// That a namespace is not there, as far as that can be told.
    pub fn lack(&self, namespace: &str) -> Option<String> {
        let probably = match &self.namespaces {
            Seen::There(all) if all.contains_key(namespace) => return None,
            Seen::There(all) => nearest(namespace, all.keys().map(String::as_str)),
            Seen::Absent => None,
            Seen::Barred => return None,
        };
        let probably = probably.map(|name| format!("; did you mean {name:?}?")).unwrap_or_default();
        Some(format!("there is no namespace {namespace:?}{probably}"))
    }
}

impl Observed {
    /// Adds a policy or a store as if it were applied, in the place of one of its name.
    pub fn try_out(&mut self, object: DynamicObject) -> Result<(), String> {
        let name = object.name_any();
        match object.types.as_ref().map(|types| types.kind.as_str()) {
            Some("SegmentationPolicy") => {
                let broken = self.broken.len();
                self.policies.retain(|policy| policy.name_any() != name);
                self.add_policy(object);
                self.broken.get(broken).map_or(Ok(()), |(kind, name, why)| Err(format!("{kind} {name:?}: {why}")))
            }
            Some("ScopedSecretStore") => {
                let before = self.world.stores.get(&name).cloned();
                self.stores.retain(|store| store.name_any() != name);
                self.add_store(object);
                self.keep_account(&name, before)
            }
            _ => Ok(()),
        }
    }

    /// Nobody observes the account of a store that is only tried.
    fn keep_account(&mut self, name: &str, before: Option<StoreState>) -> Result<(), String> {
        let Some(StoreState::AccountUnknown { region }) = self.world.stores.get(name) else { return Ok(()) };
        match before {
            Some(StoreState::Known(Realm::Aws { account, region: reached })) if reached == *region => {
                self.world.put_store(name, Some(StoreState::Known(Realm::Aws { account, region: reached })));
                Ok(())
            }
            _ => Err(format!(
                "ScopedSecretStore {name:?} has no spec.aws.accountId, and nobody observes the account of a store that is only tried: write it"
            )),
        }
    }

    fn add_policy(&mut self, object: DynamicObject) {
        let name = object.name_any();
        let state = match object.try_parse::<SegmentationPolicy>() {
            Ok(policy) => {
                let compiled = Policy::compile(&name, &policy.spec);
                self.policies.push(policy);
                compiled.map_err(|why| why.to_string())
            }
            Err(error) => Err(format!("it cannot be decoded: {error}")),
        };
        let state = match state {
            Ok(policy) => PolicyState::Known(Arc::new(policy)),
            Err(why) => {
                self.broken.push(("SegmentationPolicy", name.clone(), why.clone()));
                PolicyState::Unknown(why)
            }
        };
        self.world.policies.insert(name, state);
    }

    fn add_store(&mut self, object: DynamicObject) {
        let name = object.name_any();
        let store = match object.try_parse::<ScopedSecretStore>() {
            Ok(store) => store,
            Err(error) => {
                return self.broken.push(("ScopedSecretStore", name, format!("it cannot be decoded: {error}")));
            }
        };
        let told = store.status.as_ref().and_then(|status| status.identity.clone());
        let told = told.map(|i| StoreState::Known(Realm::Aws { account: i.account_id, region: i.region }));
        let declared = declared_realm(&store.spec);
        let state = match &declared {
            Some(StoreState::AccountUnknown { .. }) => told.or(declared),
            _ => declared,
        };
        self.world.put_store(&name, state);
        self.stores.push(store);
    }

    fn add_claim(&mut self, object: DynamicObject) {
        let shown = format!("{}/{}", object.namespace().unwrap_or_default(), object.name_any());
        let claim = match object.try_parse::<ScopedSecret>() {
            Ok(claim) => claim,
            Err(error) => return self.broken.push(("ScopedSecret", shown, format!("it cannot be decoded: {error}"))),
        };
        let Some(name) = object_name(&claim.metadata) else { return };
        let asked = claim_of(&claim, &name, &claim.metadata.uid.clone().unwrap_or_default().into());
        if let Some((secret, holding)) = self.told_to_hold(&claim, &asked) {
            self.world.put_holding(secret, Arc::new(holding));
        }
        self.world.put_claim(asked);
        self.claims.push(claim);
    }

    /// What the status says of the Secret.
    fn told_to_hold(&self, claim: &ScopedSecret, asked: &Claim) -> Option<(ObjectName, Holding)> {
        let status = claim.status.as_ref()?;
        let secret = status.secret_ref.as_ref()?;
        self.world.stores.get(&*asked.store).and_then(StoreState::realm)?;
        let versions: Vec<_> = status
            .remote_versions
            .iter()
            .filter_map(|v| Some(KeyVersion::undated(self.canonical(&asked.store, &v.key)?, v.version_id.as_str())))
            .collect();
        let mut holding = Holding::of_claim(asked, Vec::new());
        holding.versions = versions.into();
        holding.held_since = asked.created;
        Some((ObjectName::of(asked.object.namespace.clone(), secret.name.as_str().into()), holding))
    }

    /// A key of a store as a status tells it: as the spec names it, or written whole.
    pub fn canonical(&self, store: &str, key: &str) -> Option<CanonicalKey> {
        let realm = self.world.stores.get(store).and_then(StoreState::realm);
        let named = || Some(realm?.resolve(&RemoteKey::parse(key).ok()?).ok()?.0);
        CanonicalKey::written_whole(key).or_else(named)
    }

    /// A ScopedSecret.
    pub fn claim(&self, name: &ObjectName) -> Option<&ScopedSecret> {
        self.claims.iter().find(|claim| object_name(&claim.metadata).as_ref() == Some(name))
    }

    /// What every status tells, for the guarantees.
    pub fn told(&self) -> Vec<Told> {
        let told = |claim: &ScopedSecret| {
            let conditions = claim.status.iter().flat_map(|status| &status.conditions);
            Some(Told {
                name: object_name(&claim.metadata)?,
                uid: claim.metadata.uid.clone().unwrap_or_default(),
                conditions: conditions.map(|c| (c.type_.clone(), c.status.clone())).collect(),
            })
        };
        self.claims.iter().filter_map(told).collect()
    }

    /// The policies that govern a namespace, as far as they are understood.
    pub fn policies_over(&self, namespace: &str) -> impl Iterator<Item = &Arc<Policy>> {
        let labels = self.world.namespaces.get(namespace);
        let namespace = namespace.to_owned();
        self.world.policies.values().filter_map(move |state| match state {
            PolicyState::Known(policy) if labels.is_some_and(|l| policy.selects(&namespace, l)) => Some(policy),
            _ => None,
        })
    }
}

/// How long ago, as kubectl shows ages.
pub fn ago(then: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(then).as_secs().max(0);
    match seconds {
        0..=119 => format!("{seconds}s"),
        120..=7199 => format!("{}m", seconds / 60),
        7200..=172_799 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
pub(in crate::cli) mod tests {
    use super::*;
    use crate::api::Reason;
    use crate::segmentation::authorize::authorize;
    use crate::segmentation::verdict::Verdict;
    use serde_json::{Value, json};

    /// A small cluster: the policy `tenants`, the store `aws`, four namespaces, and these ScopedSecrets.
    pub fn facts(claims: &[Value]) -> Facts {
        let dynamic = |value: &Value| serde_json::from_value::<DynamicObject>(value.clone()).unwrap();
        let policy = json!({
            "apiVersion": "scopedsecrets.io/v1alpha1", "kind": "SegmentationPolicy", "metadata": {"name": "tenants"},
            "spec": {"segment": {"labels": ["tenant", "environment"]}, "allow": [
                {"storeRef": {"name": "aws"}, "keys": ["${label:tenant}/${label:environment}/**"]},
            ]},
        });
        let store = json!({
            "apiVersion": "scopedsecrets.io/v1alpha1", "kind": "ScopedSecretStore", "metadata": {"name": "aws"},
            "spec": {"aws": {"region": "eu-west-1"}},
            "status": {"identity": {"accountId": "123456789012", "region": "eu-west-1"}},
        });
        let tenants = [("payments", "prod"), ("payments", "staging"), ("billing", "prod")];
        let labelled = tenants.map(|(tenant, environment)| {
            let labels = [("tenant", tenant), ("environment", environment)].map(|(k, v)| (k.to_owned(), v.to_owned()));
            (format!("{tenant}-{environment}"), labels.into())
        });
        Facts {
            policies: Seen::There(vec![dynamic(&policy)]),
            stores: Seen::There(vec![dynamic(&store)]),
            namespaces: Seen::There(labelled.into_iter().chain([("plain".to_owned(), BTreeMap::new())]).collect()),
            claims: Seen::There(claims.iter().map(dynamic).collect()),
            every_claim: true,
            every_namespace: true,
        }
    }

    /// A ScopedSecret of these keys. A Ready one says that it holds them.
    pub fn claim(namespace: &str, name: &str, key: &str, created: i64, ready: bool) -> Value {
        let mut object = json!({
            "apiVersion": "scopedsecrets.io/v1alpha1", "kind": "ScopedSecret",
            "metadata": {"name": name, "namespace": namespace, "uid": format!("uid-{namespace}-{name}"), "generation": 1,
                "creationTimestamp": Timestamp::from_second(1_767_225_600 + created).unwrap().to_string()},
            "spec": {"storeRef": {"name": "aws"}, "consumers": [{"serviceAccountName": name}],
                "data": [{"secretKey": "password", "remoteRef": {"key": key}}]},
        });
        let condition = |kind: &str, status: &str, reason: &str| {
            json!({"type": kind, "status": status, "reason": reason, "message": format!("{kind} is {status}"),
                "lastTransitionTime": "2026-01-01T00:00:00Z"})
        };
        object["status"] = if ready {
            json!({"observedGeneration": 1, "segment": namespace.replace('-', "/"),
                "conditions": [condition("Ready", "True", "Ready"), condition("Authorized", "True", "Allowed")],
                "secretRef": {"name": name, "uid": "s", "resourceVersion": "1"},
                "remoteVersions": [{"key": key, "versionId": "v1"}]})
        } else {
            json!({"observedGeneration": 1, "conditions": [
                condition("Ready", "False", "KeyNotAllowed"), condition("Authorized", "False", "KeyNotAllowed"),
                condition("Stalled", "True", "KeyNotAllowed"),
            ]})
        };
        object
    }

    /// When the tables ask.
    pub fn now() -> Timestamp {
        Timestamp::from_second(1_767_225_600 + 86_400).unwrap()
    }

    fn verdict(observed: &Observed, namespace: &str, name: &str) -> Result<(), Reason> {
        let claim = observed.world.claim(&ObjectName::new(namespace, name)).unwrap();
        match authorize(claim, &observed.world, now()) {
            Verdict::Allowed(_) => Ok(()),
            Verdict::Refused(refusal) | Verdict::Undecided(refusal) => Err(refusal.reason),
        }
    }

    #[test]
    fn the_world_decides_as_the_operators_does() {
        let observed = build(facts(&[
            claim("payments-prod", "orders", "payments/prod/db", 9, true),
            claim("payments-prod", "late", "payments/prod/late", 1, false),
            claim("billing-prod", "thief", "payments/prod/db", 1, false),
            json!({"apiVersion": "scopedsecrets.io/v1alpha1", "kind": "ScopedSecret",
                "metadata": {"name": "broken", "namespace": "plain"}, "spec": {"storeRef": 1}}),
        ]));
        assert_eq!(verdict(&observed, "payments-prod", "orders"), Ok(()));
        assert_eq!(verdict(&observed, "payments-prod", "late"), Ok(()));
        assert_eq!(verdict(&observed, "billing-prod", "thief"), Err(Reason::KeyNotAllowed));
        assert_eq!(observed.world.holdings().count(), 1);
        let broken: Vec<&str> = observed.broken.iter().map(|(_, name, _)| name.as_str()).collect();
        assert_eq!(broken, ["plain/broken"]);
        assert_eq!(observed.policies_over("payments-prod").count(), 1);
    }

    #[test]
    fn what_may_not_be_read_decides_nothing() {
        let facts =
            Facts { policies: Seen::Barred, ..facts(&[claim("payments-prod", "a", "payments/prod/a", 1, false)]) };
        assert_eq!(verdict(&build(facts), "payments-prod", "a"), Err(Reason::PolicyUnknown));
    }

    #[test]
    fn a_namespace_that_is_not_there_is_told() {
        let lack = |facts: Facts, name: &str| facts.lack(name);
        assert_eq!(lack(facts(&[]), "payments-prod"), None);
        let told = lack(facts(&[]), "payment-prod").unwrap();
        assert_eq!(told, "there is no namespace \"payment-prod\"; did you mean \"payments-prod\"?");
        assert!(lack(facts(&[]), "nowhere").unwrap().ends_with("\"nowhere\""));
        assert_eq!(lack(Facts { namespaces: Seen::Barred, ..facts(&[]) }, "nowhere"), None, "who knows");
        assert!(lack(Facts { namespaces: Seen::Absent, ..facts(&[]) }, "nowhere").is_some());
    }

    #[test]
    fn a_policy_or_a_store_is_tried_in_the_place_of_what_is_there() {
        let object = |kind: &str, name: &str, spec: Value| -> DynamicObject {
            let object = json!({"apiVersion": "scopedsecrets.io/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec});
            serde_json::from_value(object).unwrap()
        };
        let mut observed = build(facts(&[claim("payments-prod", "orders", "payments/prod/db", 9, false)]));
        let narrow = json!({"segment": {"labels": ["tenant", "environment"]}, "allow": [
            {"storeRef": {"name": "aws"}, "keys": ["other/${label:tenant}/${label:environment}/**"]}]});
        assert_eq!(observed.try_out(object("SegmentationPolicy", "tenants", narrow)), Ok(()));
        assert_eq!(verdict(&observed, "payments-prod", "orders"), Err(Reason::KeyNotAllowed));
        assert_eq!(observed.policies.len(), 1);
        let store = |region: &str| json!({"aws": {"region": region}});
        assert_eq!(
            observed.try_out(object("ScopedSecretStore", "aws", store("eu-west-1"))),
            Ok(()),
            "its account is known"
        );
        let unknown = observed.try_out(object("ScopedSecretStore", "aws", store("eu-north-1"))).unwrap_err();
        assert!(unknown.contains("accountId"), "{unknown}");
        let wrong =
            observed.try_out(object("SegmentationPolicy", "broken", json!({"segment": {"labels": []}, "allow": []})));
        assert!(wrong.unwrap_err().contains("segment.labels is empty"));
    }

    #[test]
    fn ages_are_short() {
        let since = |seconds| ago(Timestamp::UNIX_EPOCH, Timestamp::from_second(seconds).unwrap());
        assert_eq!([5, 300, 10_000, 700_000].map(since), ["5s", "5m", "2h", "8d"]);
    }
}
