//! Asks the guarantees of a live cluster: reads it as an admin, opens the seals with the operator's key, and judges.

use super::canary;
use super::cluster::Cluster;
use super::operator::LONG;
use super::operator::{NAMESPACE, Operator};
use super::wait::eventually;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::rbac::v1::RoleBinding;
use scoped_secrets::api::{
    KeyRevocation, SEAL_ANNOTATION, ScopedSecret, ScopedSecretStore, SecretGrant, SegmentationPolicy, duration,
};
use scoped_secrets::controller::grant::known::controller;
use scoped_secrets::controller::index::{claim_of, object_name};
use scoped_secrets::controller::providers::declared_realm;
use scoped_secrets::controller::scoped_secret::draft::read_digests;
use scoped_secrets::segmentation::guarantees::lent::{self, Granted, Lent};
use scoped_secrets::segmentation::guarantees::{Breach, Managed, Told, breaches};
use scoped_secrets::segmentation::key::{Realm, RemoteKey};
use scoped_secrets::segmentation::policy::Policy;
use scoped_secrets::segmentation::revoked::Revocation;
use scoped_secrets::segmentation::seal::SealKeys;
use scoped_secrets::segmentation::world::{PolicyState, StoreState, World};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::sync::Arc;

/// Ends a story: every guarantee holds, nothing was shown that a value begins with, and the operator met no denial.
pub fn all_is_well(cluster: &Cluster, operator: &Operator) {
    guarantees_hold(cluster);
    canary::scan(cluster, operator, &[canary::CANARY]);
    operator.met_no_denial();
}

/// Waits until the cluster is at rest with every guarantee kept; ends the test with the breaches otherwise.
pub fn guarantees_hold(cluster: &Cluster) {
    guarantees_hold_at(cluster, Timestamp::now);
}

/// Waits until every guarantee is kept on the objects of this namespace; in others stories may be on their way.
pub fn guarantees_hold_in(cluster: &Cluster, namespace: &str) {
    eventually(&format!("every guarantee holds in {namespace}"), LONG, || {
        let mut found = observe(cluster, NAMESPACE, Timestamp::now());
        found.retain(|breach| &*breach.object.namespace == namespace);
        if found.is_empty() { Ok(()) } else { Err(format!("{found:#?}")) }
    });
}

/// Of an operator that is in another namespace.
pub fn guarantees_hold_under(cluster: &Cluster, operators: &str) {
    holds(|| observe(cluster, operators, Timestamp::now()));
}

/// By another clock.
pub fn guarantees_hold_at(cluster: &Cluster, now: impl Fn() -> Timestamp) {
    holds(|| observe(cluster, NAMESPACE, now()));
}

fn holds(look: impl Fn() -> Vec<Breach>) {
    eventually("every guarantee holds", LONG, || {
        let found = look();
        if found.is_empty() { Ok(()) } else { Err(format!("{found:#?}")) }
    });
}

fn list<K: DeserializeOwned>(cluster: &Cluster, kind: &str, parameters: &str) -> Vec<K> {
    let items = cluster.list_json(kind, parameters);
    items.into_iter().map(|item| serde_json::from_value(item).expect("our kind")).collect()
}

fn observe(cluster: &Cluster, operators: &str, now: Timestamp) -> Vec<Breach> {
    let key = cluster.get_json("secret", operators, "scoped-secrets-keys").expect("the seal key");
    let key: Secret = serde_json::from_value(key).expect("a Secret");
    let keys = SealKeys::from_stored(&key.data.expect("data")["generations"].0).expect("the seal key");
    let mut world = World::default();
    world.policies_synced = true;
    for policy in list::<SegmentationPolicy>(cluster, "segmentationpolicies", "") {
        let name = policy.metadata.name.unwrap_or_default();
        let compiled = Policy::compile(&name, &policy.spec);
        world.policies.insert(
            name,
            compiled.map_or_else(|e| PolicyState::Unknown(e.to_string()), |p| PolicyState::Known(Arc::new(p))),
        );
    }
    for namespace in list::<Value>(cluster, "namespaces", "") {
        let labels = serde_json::from_value(namespace["metadata"]["labels"].clone()).unwrap_or_default();
        world.namespaces.insert(namespace["metadata"]["name"].as_str().unwrap_or_default().into(), labels);
    }
    for store in list::<ScopedSecretStore>(cluster, "scopedsecretstores", "") {
        let observed = store
            .status
            .and_then(|s| s.identity)
            .map(|i| StoreState::Known(Realm::Aws { account: i.account_id, region: i.region }));
        world.put_store(&store.metadata.name.unwrap_or_default(), observed.or_else(|| declared_realm(&store.spec)));
    }
    for object in list::<KeyRevocation>(cluster, "keyrevocations", "") {
        let Some(key) = RemoteKey::parse(&object.spec.key).ok() else { continue };
        let (status, made) = (object.status.unwrap_or_default(), object.metadata.creation_timestamp);
        let versions = status.revoked_versions.into_iter().collect();
        let revocation = Revocation {
            store: object.spec.store_ref.name,
            key,
            created: made.expect("a creationTimestamp").0,
            versions: status.revoked_versions_complete.is_some_and(|all| all).then_some(versions),
        };
        world.put_revocation(&object.metadata.name.unwrap_or_default(), Some(revocation));
    }
    let claims = list::<ScopedSecret>(cluster, "scopedsecrets", "");
    for claim in &claims {
        let name = object_name(&claim.metadata).expect("a name");
        world.put_claim(claim_of(claim, &name, &claim.metadata.uid.clone().unwrap_or_default().into()));
    }
    let mut managed = Vec::new();
    for secret in list::<Secret>(cluster, "secrets", "?labelSelector=app.kubernetes.io/managed-by=scoped-secrets") {
        let name = object_name(&secret.metadata).expect("a name");
        let seal = secret
            .metadata
            .annotations
            .as_ref()
            .and_then(|a| a.get(SEAL_ANNOTATION))
            .map(|text| keys.open(&name, text));
        let sealed = matches!(seal, Some(Ok(_)));
        let mut intact = true;
        if let Some(Ok(record)) = seal {
            // A claim that was edited since may be refused: its Secret is what the spec before it projected.
            let is = |text: Option<&String>, wanted: &str| text.is_some_and(|text| text == wanted);
            let spec = claims.iter().find(|c| {
                is(c.metadata.name.as_ref(), &record.holding.claim)
                    && is(c.metadata.namespace.as_ref(), &name.namespace)
            });
            let edited = |c: &ScopedSecret| {
                !keys.digests(&scoped_secrets::projection::spec_bytes(&c.spec)).contains(&record.spec)
            };
            let holds = |c: &ScopedSecret| read_digests(&c.spec, &secret, &keys).contains(&record.content);
            intact = spec.is_none_or(|c| edited(c) || holds(c));
            world.put_holding(name.clone(), record.holding.clone());
        }
        let owner = secret
            .metadata
            .owner_references
            .unwrap_or_default()
            .into_iter()
            .find(|o| o.controller == Some(true))
            .map(|o| o.uid);
        managed.push(Managed { name, owner, sealed, intact });
    }
    let told: Vec<Told> = claims
        .iter()
        .map(|claim| Told {
            name: object_name(&claim.metadata).expect("a name"),
            uid: claim.metadata.uid.clone().unwrap_or_default(),
            conditions: claim
                .status
                .iter()
                .flat_map(|s| &s.conditions)
                .map(|c| (c.type_.clone(), c.status.clone()))
                .collect(),
        })
        .collect();
    let mut found = breaches(&world, &managed, &told, now);
    found.extend(what_is_lent(cluster, &world, now));
    found
}

fn what_is_lent(cluster: &Cluster, world: &World, now: Timestamp) -> Vec<Breach> {
    let ours = "?labelSelector=app.kubernetes.io/managed-by=scoped-secrets";
    let bindings: Vec<Lent> = list::<RoleBinding>(cluster, "rolebindings", ours)
        .iter()
        .map(|binding| Lent {
            name: object_name(&binding.metadata).expect("a name"),
            grant: controller(&binding.metadata, "SecretGrant").map(|(_, uid)| uid.to_owned()),
        })
        .collect();
    let granted = |grant: SecretGrant| Granted {
        uid: grant.metadata.uid.unwrap_or_default(),
        start: match grant.spec.approved_by {
            Some(_) => grant.status.and_then(|status| status.start_time).map(|time| time.0),
            None => grant.metadata.creation_timestamp.map(|time| time.0),
        },
        ttl: duration::parse(&grant.spec.ttl).ok(),
    };
    let grants: Vec<Granted> = list::<SecretGrant>(cluster, "secretgrants", "").into_iter().map(granted).collect();
    lent::breaches(world, &bindings, &grants, now)
}
