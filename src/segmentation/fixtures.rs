//! Worlds for tests, in sentences: `World::with_tenants()`, `claim("payments-prod", "orders").of("payments/prod/db")`.

use super::key::Realm;
use super::policy::Policy;
use super::world::{Claim, Holding, KeyVersion, ObjectName, PolicyState, StoreState, VersionAsked, World};
use crate::api::SegmentationPolicySpec;
use jiff::Timestamp;
use std::sync::Arc;

/// The time at which tests look.
pub fn now() -> Timestamp {
    at(1_767_225_600)
}

/// A point in time, in seconds.
pub fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

/// A policy as a user writes it.
pub fn policy(name: &str, yaml: &str) -> (String, PolicyState) {
    let spec: SegmentationPolicySpec = serde_saphyr::from_str(yaml).unwrap();
    (name.to_owned(), PolicyState::Known(Arc::new(Policy::compile(name, &spec).unwrap())))
}

/// The policy of most tests.
pub const TENANTS: &str = r#"
segment: {labels: [tenant, environment]}
namespaceSelector: {matchExpressions: [{key: tenant, operator: Exists}]}
allow:
- storeRef: {name: aws}
  keys: ["${label:tenant}/${label:environment}/**"]
"#;

impl World {
    /// Two tenants with prod and staging namespaces, one AWS store, one policy.
    pub fn with_tenants() -> Self {
        let mut world = World::default();
        world.policies_synced = true;
        for (tenant, environment) in [("payments", "prod"), ("payments", "staging"), ("billing", "prod")] {
            world.namespace(&format!("{tenant}-{environment}"), &[("tenant", tenant), ("environment", environment)]);
        }
        world.namespace("payments-prod-2", &[("tenant", "payments"), ("environment", "prod")]);
        world.namespace("plain", &[]);
        world.put_store(
            "aws",
            Some(StoreState::Known(Realm::Aws { account: "123456789012".into(), region: "eu-west-1".into() })),
        );
        world.policies.extend([policy("tenants", TENANTS)]);
        world
    }

    /// Adds a namespace.
    pub fn namespace(&mut self, name: &str, labels: &[(&str, &str)]) {
        let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        self.namespaces.insert(name.into(), labels);
    }

    /// Replaces every policy.
    pub fn under(mut self, policies: impl IntoIterator<Item = (String, PolicyState)>) -> Self {
        self.policies = policies.into_iter().collect();
        self
    }

    /// Adds a claim, and what its Secret holds since `held_since`.
    pub fn holds(&mut self, claim: Claim, held_since: Timestamp) {
        let keys = self.canonical_keys(&claim).into_iter();
        let secret = claim.secret();
        let versions = keys.map(|key| KeyVersion::undated(key, "v1")).collect();
        let holding = Holding { versions, held_since, ..Holding::of_claim(&claim, Vec::new()) };
        self.put_claim(claim);
        self.put_holding(secret, holding.into());
    }
}

/// A claim that names consumers and nothing yet.
pub fn claim(namespace: &str, name: &str) -> Claim {
    Claim {
        object: ObjectName::new(namespace, name),
        uid: format!("uid-{namespace}-{name}").into(),
        created: at(1_000_000),
        store: "aws".into(),
        target: name.into(),
        target_type: None,
        has_consumers: true,
        retain: false,
        ends: None,
        rotates: None,
        asks: [].into(),
    }
}

impl Claim {
    /// Names a key.
    pub fn of(mut self, key: &str) -> Self {
        self.asks = self.asks.iter().cloned().chain([(key.into(), VersionAsked::Current)]).collect();
        self
    }

    /// Rotates its key.
    pub fn rotating(mut self, strategy: crate::api::rotation::Strategy) -> Self {
        self.rotates = Some(strategy);
        self
    }

    /// Created at a time.
    pub fn created_at(mut self, seconds: i64) -> Self {
        self.created = at(seconds);
        self
    }
}
