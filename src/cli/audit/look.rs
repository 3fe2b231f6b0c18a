//! What an audit looks at, as plain values.

use super::access::{self, Roles};
use super::consumers::{self, Users};
use super::foreign;
use super::kept::{self, Kept};
use super::lent::{self, Left};
use super::replicated::{self, Carvel};
use super::values::{Ignored, Values};
use super::volumes::{self, Storage};
use crate::api::{MANAGED_BY, MANAGED_BY_LABEL, Reason, SEAL_ANNOTATION};
use crate::cli::cluster::{Cluster, Failure, Reach, Seen, within};
use crate::cli::observed::Observed;
use crate::controller::index::object_name;
use crate::segmentation::managed::Mark;
use crate::segmentation::replication::Carried;
use crate::segmentation::world::{Holding, ObjectName};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::ListParams;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A cluster as an audit sees it.
pub struct Sighted {
    /// Policies, stores, namespaces, ScopedSecrets, and objects of other operators.
    pub observed: Observed,
    /// Secrets that people and operators write; none of the cluster's own.
    pub secrets: BTreeMap<ObjectName, SecretSeen>,
    /// Whether every Secret could be listed.
    pub every_secret: bool,
    /// Their values; None if they were not read.
    pub values: Option<Values>,
    /// What names Secrets.
    pub users: Users,
    /// What the SegmentGuards say of Secrets that outlive their ScopedSecrets.
    pub kept: Kept,
    /// Who may get at Secrets.
    pub roles: Roles,
    /// What volumes name.
    pub storage: Storage,
    /// How far the look at other operators' objects went; None where there are no such kinds.
    pub foreign: Option<Reach>,
    /// What grants have made.
    pub left: Left,
    /// What carvel's secretgen-controller is told to carry.
    pub carvel: Vec<Carvel>,
}

/// A Secret's metadata.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SecretSeen {
    /// Whether it carries our label.
    pub managed: bool,
    /// Whether it carries a seal.
    pub sealed: bool,
    /// The uid in its controller reference.
    pub owner: Option<String>,
    /// By what it passes for one that the operator writes.
    pub mark: Option<Mark>,
    /// By which mark a replicator would carry something out of it, or fill it from elsewhere.
    pub carried: Option<(Reason, String)>,
}

/// The cluster's own, or of a tool that keeps its state in Secrets.
const STATE: [&str; 3] = ["kubernetes.io/service-account-token", "bootstrap.kubernetes.io/token", "helm.sh/release.v1"];

/// Of helm's releases only the type matters, and it is the API server that leaves them out.
fn without_state() -> ListParams {
    ListParams::default().fields(&STATE.map(|kind| format!("type!={kind}")).join(","))
}

/// Looks. With `values`, Secrets and ConfigMaps are read; each page is forgotten when it was compared.
pub async fn look(
    cluster: &Cluster,
    observed: Observed,
    operator: ObjectName,
    values: bool,
    now: Timestamp,
) -> Result<Sighted, Failure> {
    let mut sighted = Sighted {
        observed,
        secrets: BTreeMap::new(),
        every_secret: false,
        values: None,
        users: consumers::look(cluster).await?,
        kept: Kept::new(),
        roles: access::look(cluster, operator).await?,
        storage: volumes::look(cluster).await?,
        foreign: None,
        left: lent::look(cluster).await?,
        carvel: replicated::look(cluster).await?,
    };
    sighted.foreign = foreign::look(cluster, &mut sighted.observed.world).await?;
    match Values::under_a_new_key(now).filter(|_| values) {
        Some(values) => sighted.read_values(cluster, values).await?,
        None => sighted.read_metadata(cluster).await?,
    }
    let outliving = sighted.outliving();
    if !outliving.is_empty() {
        sighted.kept = kept::look(cluster, &outliving).await?;
    }
    Ok(sighted)
}

impl Sighted {
    /// Projected Secrets of which no ScopedSecret is there any more.
    fn outliving(&self) -> BTreeSet<ObjectName> {
        let world = &self.observed.world;
        let projected = self.secrets.iter().filter(|(_, secret)| secret.managed && secret.sealed);
        projected.map(|(name, _)| name).filter(|name| world.claims_for(name).next().is_none()).cloned().collect()
    }

    async fn read_values(&mut self, cluster: &Cluster, mut values: Values) -> Result<(), Failure> {
        let (secrets, mut ignored) = (&mut self.secrets, Ignored::by(&self.observed));
        let reach = cluster
            .each_page_in_reach(within::<Secret>(&cluster.client), without_state(), |page| {
                for secret in &page {
                    let Some(name) = object_name(&secret.metadata) else { continue };
                    values.take(secret, &mut ignored);
                    secrets.insert(name, secret_seen(&secret.metadata));
                }
            })
            .await?;
        self.every_secret = reach == Reach::Everywhere;
        if reach > Reach::Nowhere {
            values.look_everywhere(cluster, without_state()).await?;
            self.take_prints(values);
        }
        Ok(())
    }

    async fn read_metadata(&mut self, cluster: &Cluster) -> Result<(), Failure> {
        let api = within::<Secret>(&cluster.client);
        let mut seen = cluster.list_metadata(&api(None), without_state()).await?;
        self.every_secret = !matches!(seen, Seen::Barred);
        if !self.every_secret {
            seen = cluster.list_metadata(&api(Some(&cluster.namespace)), without_state()).await?;
        }
        let all = seen.found().unwrap_or_default();
        let named =
            all.iter().filter_map(|secret| Some((object_name(&secret.metadata)?, secret_seen(&secret.metadata))));
        self.secrets.extend(named);
        Ok(())
    }

    /// Has the world compare the values of what is projected.
    fn take_prints(&mut self, values: Values) {
        let world = &mut self.observed.world;
        let held: Vec<(ObjectName, Holding)> =
            world.holdings().map(|(secret, held)| (secret.clone(), held.clone())).collect();
        for (secret, mut holding) in held {
            holding.fingerprints = values.of(&secret).into();
            world.put_holding(secret, Arc::new(holding));
        }
        self.values = Some(values);
    }
}

fn secret_seen(metadata: &ObjectMeta) -> SecretSeen {
    let label = metadata.labels.as_ref().and_then(|labels| labels.get(MANAGED_BY_LABEL));
    let seal = metadata.annotations.as_ref().and_then(|all| all.get(SEAL_ANNOTATION));
    let owners = metadata.owner_references.as_deref().unwrap_or_default();
    let managed = label.is_some_and(|by| by == MANAGED_BY);
    let carried = Carried::of(metadata, metadata.namespace.as_deref().unwrap_or_default(), managed);
    SecretSeen {
        managed,
        mark: Mark::of(metadata),
        carried: carried.map(|carried| (carried.reason(), carried.message())),
        sealed: seal.is_some_and(|seal| seal.starts_with("v1.")),
        owner: owners.iter().find(|owner| owner.controller == Some(true)).map(|owner| owner.uid.clone()),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::scopes::Scopes;
    use super::super::values::tests::values;
    use super::*;
    use crate::cli::observed::build;
    use crate::cli::observed::tests::{facts, now};
    use crate::cli::report::Outcome;
    use k8s_openapi::api::core::v1::ConfigMap;
    use serde_json::Value;

    /// The small cluster with these ScopedSecrets and Secrets.
    pub fn sighted(claims: &[Value], secrets: &[Secret]) -> Sighted {
        let name = |secret: &Secret| object_name(&secret.metadata).unwrap();
        Sighted {
            observed: build(facts(claims)),
            secrets: secrets.iter().map(|secret| (name(secret), secret_seen(&secret.metadata))).collect(),
            every_secret: true,
            values: None,
            users: Users::default(),
            kept: Kept::new(),
            roles: Roles::default(),
            storage: Storage::default(),
            foreign: None,
            left: Left::default(),
            carvel: Vec::new(),
        }
    }

    impl Sighted {
        /// Compares values.
        pub fn compare(&mut self, secrets: &[Secret], maps: &[ConfigMap]) {
            let values = values(secrets, maps, &self.observed);
            self.take_prints(values);
        }
    }

    /// What a part of the judgement finds once scopes are assumed.
    pub fn judged(
        mut sighted: Sighted,
        labels: &[&str],
        judge: impl FnOnce(&Sighted, &Scopes, Timestamp, &mut Outcome),
    ) -> Outcome {
        let labels: Vec<String> = labels.iter().map(|label| (*label).to_owned()).collect();
        let scopes = Scopes::assume(&mut sighted.observed, &labels);
        let mut outcome = Outcome::default();
        judge(&sighted, &scopes, now(), &mut outcome);
        outcome
    }

    #[test]
    fn what_matters_of_a_secret() {
        let metadata: ObjectMeta = serde_json::from_value(serde_json::json!({
            "name": "a", "namespace": "b", "labels": {"app.kubernetes.io/managed-by": "scoped-secrets"},
            "annotations": {"scopedsecrets.io/seal": "v1.0.x"},
            "ownerReferences": [{"apiVersion": "v1", "kind": "K", "name": "n", "uid": "u", "controller": true}],
        }))
        .unwrap();
        let owner = Some("u".into());
        assert_eq!(
            secret_seen(&metadata),
            SecretSeen { managed: true, sealed: true, owner, mark: Some(Mark::Label), carried: None }
        );
        assert_eq!(secret_seen(&ObjectMeta::default()), SecretSeen::default());
    }
}
