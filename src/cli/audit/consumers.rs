//! Who uses which Secrets: consumers that are none, and one Secret for several ServiceAccounts.
//!
//! Pods, what makes pods, and ServiceAccounts are judged as the operator's scan judges them. Of a Deployment, its ReplicaSet and
//! its pods only the Deployment is told: it is what has to be mended.

use super::kept::Kept;
use super::look::Sighted;
use super::scopes::Scopes;
use crate::api::policy::ExceptedRule;
use crate::api::{Reason, ScopedSecret};
use crate::cli::cluster::{Cluster, Failure, Reach, within};
use crate::cli::report::text::count;
use crate::cli::report::{Finding, Outcome, Rule, Severity, Subject};
use crate::controller::index::object_name;
use crate::segmentation::authorize::is_excepted;
use crate::segmentation::consumers::{Referrer, foreign};
use crate::segmentation::references::{Reference, account_of, of_account, of_pods};
use crate::segmentation::workload::RunsPods;
use crate::segmentation::world::ObjectName;
use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{Pod, PodTemplate, ReplicationController, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::ListParams;
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt::Debug;

/// Something that names Secrets of its namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Its apiVersion.
    pub api_version: String,
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: ObjectName,
    /// Its uid.
    pub uid: String,
    /// The uid of what made it.
    pub made_by: Option<String>,
    /// The ServiceAccount.
    pub account: String,
    /// The Secrets, each with whether it is only for pulling images.
    pub secrets: BTreeMap<String, bool>,
}

/// Everything that names Secrets.
#[derive(Debug, Default)]
pub struct Users {
    /// What makes others comes before them.
    pub all: Vec<User>,
    /// How far every list of them went.
    pub reach: Option<Reach>,
}

/// Looks.
pub async fn look(cluster: &Cluster) -> Result<Users, Failure> {
    let mut users = Users { all: Vec::new(), reach: Some(Reach::Everywhere) };
    users.look_at::<Deployment>(cluster).await?;
    users.look_at::<StatefulSet>(cluster).await?;
    users.look_at::<DaemonSet>(cluster).await?;
    users.look_at::<CronJob>(cluster).await?;
    users.look_at::<ReplicationController>(cluster).await?;
    users.look_at::<PodTemplate>(cluster).await?;
    users.look_at::<ReplicaSet>(cluster).await?;
    users.look_at::<Job>(cluster).await?;
    users.look_at::<Pod>(cluster).await?;
    let each = |account: &ServiceAccount| of(account, &account.name_any(), &of_account(account));
    let reach = cluster
        .each_page_in_reach(within::<ServiceAccount>(&cluster.client), ListParams::default(), |page| {
            users.all.extend(page.iter().filter_map(each));
        })
        .await?;
    users.reach = users.reach.min(Some(reach));
    Ok(users)
}

impl Users {
    async fn look_at<K>(&mut self, cluster: &Cluster) -> Result<(), Failure>
    where
        K: RunsPods + Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
    {
        let each = |object: &K| {
            let pods = object.pods().filter(|_| object.is_alive())?;
            of(object, account_of(pods), &of_pods(pods))
        };
        let reach = cluster
            .each_page_in_reach(within::<K>(&cluster.client), ListParams::default(), |page| {
                self.all.extend(page.iter().filter_map(each));
            })
            .await?;
        self.reach = self.reach.min(Some(reach));
        Ok(())
    }
}

/// None if it names no Secret.
fn of<K: Resource<DynamicType = ()>>(object: &K, account: &str, named: &[Reference<'_>]) -> Option<User> {
    let mut secrets: BTreeMap<String, bool> = BTreeMap::new();
    for reference in named {
        *secrets.entry(reference.secret.to_owned()).or_insert(true) &= reference.by.is_pull();
    }
    let metadata = object.meta();
    let name = object_name(metadata).filter(|_| !secrets.is_empty())?;
    Some(User {
        api_version: K::api_version(&()).into_owned(),
        kind: K::kind(&()).into_owned(),
        name,
        uid: metadata.uid.clone().unwrap_or_default(),
        made_by: controller(metadata),
        account: account.to_owned(),
        secrets,
    })
}

fn controller(metadata: &ObjectMeta) -> Option<String> {
    let owners = metadata.owner_references.as_deref().unwrap_or_default();
    owners.iter().find(|owner| owner.controller == Some(true)).map(|owner| owner.uid.clone())
}

/// Judges.
pub fn judge(sighted: &Sighted, scopes: &Scopes, now: Timestamp, outcome: &mut Outcome) {
    let targets = Targets::of(&sighted.observed.claims, &sighted.kept);
    let before = outcome.findings.len();
    strangers(sighted, &targets, scopes, now, outcome);
    shared(sighted, &targets, outcome);
    if outcome.findings.len() == before && sighted.users.reach >= Some(Reach::Here) {
        outcome.pass(match sighted.users.all.len() {
            0 => "no pod, workload or ServiceAccount names a Secret".to_owned(),
            n => format!(
                "what names Secrets is a consumer of each that is projected ({})",
                count(n, "object", "objects")
            ),
        });
    }
}

/// Who references a projected Secret and is none of its consumers.
fn strangers(sighted: &Sighted, targets: &Targets, scopes: &Scopes, now: Timestamp, outcome: &mut Outcome) {
    let world = &sighted.observed.world;
    let mut told: HashSet<&str> = HashSet::new();
    for user in &sighted.users.all {
        let namespace = &user.name.namespace;
        let Some(closed) = targets.closed.get(&**namespace) else { continue };
        let referrer = Referrer {
            api_version: &user.api_version,
            kind: &user.kind,
            name: &user.name.name,
            account: &user.account,
            secrets: user.secrets.keys().map(String::as_str).collect(),
        };
        let segment = scopes.of(namespace).to_string();
        let Some(violation) = foreign(&referrer, namespace, closed, &segment.into()) else { continue };
        let covered = user.made_by.as_deref().is_some_and(|maker| told.contains(maker));
        told.insert(&user.uid);
        if !covered && !is_excepted(namespace, ExceptedRule::Consumers, world, now) {
            outcome.push(Finding::of(&violation, Severity::Error));
        }
    }
}

/// Secrets that pods under several ServiceAccounts use, where no ScopedSecret says that it is meant.
fn shared(sighted: &Sighted, targets: &Targets, outcome: &mut Outcome) {
    let mut accounts: BTreeMap<(&str, &str), BTreeSet<&str>> = BTreeMap::new();
    for user in sighted.users.all.iter().filter(|user| user.kind != "ServiceAccount") {
        // A registry's credential is for the node, and shared by its nature.
        for (secret, _) in user.secrets.iter().filter(|(_, pull)| !**pull) {
            accounts.entry((&user.name.namespace, secret)).or_default().insert(&user.account);
        }
    }
    for ((namespace, secret), accounts) in accounts.into_iter().filter(|(_, accounts)| accounts.len() > 1) {
        if targets.all.contains(&(namespace.to_owned(), secret.to_owned())) {
            continue;
        }
        let shown: Vec<&str> = accounts.iter().copied().take(5).collect();
        let message = format!(
            "pods under {} use it: {}",
            count(accounts.len(), "ServiceAccount", "ServiceAccounts"),
            shown.join(", ")
        );
        let subject = Subject::namespaced("Secret", namespace, secret);
        outcome.find(Severity::Warning, Rule::Consumers, Reason::SecretShared, subject, message);
    }
}

/// The Secrets that ScopedSecrets project, or that outlive them.
#[derive(Default)]
struct Targets {
    /// All, as (namespace, name).
    all: BTreeSet<(String, String)>,
    /// By namespace, those that are for their consumers alone, as a SegmentGuard has them.
    closed: BTreeMap<String, BTreeMap<String, Vec<String>>>,
}

impl Targets {
    fn of(claims: &[ScopedSecret], kept: &Kept) -> Self {
        let mut targets = Self::default();
        for claim in claims.iter().filter(|claim| claim.status.as_ref().is_some_and(|s| s.secret_ref.is_some())) {
            let (namespace, name) = (claim.namespace().unwrap_or_default(), claim.name_any());
            let target = claim.spec.target_name(&name).to_owned();
            targets.all.insert((namespace.clone(), target.clone()));
            let consumers: Vec<String> = claim.spec.consumers.iter().map(|c| c.service_account_name.clone()).collect();
            if !consumers.is_empty() {
                targets.closed.entry(namespace).or_default().insert(target, consumers);
            }
        }
        for (secret, consumers) in kept {
            let (namespace, name) = (secret.namespace.to_string(), secret.name.to_string());
            targets.all.insert((namespace.clone(), name.clone()));
            if let Some(consumers) = consumers {
                targets.closed.entry(namespace).or_default().insert(name, consumers.clone());
            }
        }
        targets
    }
}

#[cfg(test)]
mod tests {
    use super::super::look::tests::{judged, sighted};
    use super::*;
    use crate::cli::observed::tests::claim;
    use serde_json::{Value, json};

    fn pods(account: &str, how: &Value) -> Value {
        let mut spec = json!({"serviceAccountName": account, "containers": [{"name": "c"}]});
        spec.as_object_mut().unwrap().extend(how.as_object().unwrap().clone());
        spec
    }

    fn env(secret: &str) -> Value {
        json!({"containers": [{"name": "c", "envFrom": [{"secretRef": {"name": secret}}]}]})
    }

    fn object(name: &str, maker: Option<&str>) -> Value {
        let owners =
            maker.map(|uid| json!({"apiVersion": "v1", "kind": "K", "name": "n", "uid": uid, "controller": true}));
        json!({"metadata": {"name": name, "namespace": "payments-prod", "uid": name, "ownerReferences": owners.into_iter().collect::<Vec<_>>()}})
    }

    fn pod(name: &str, account: &str, how: &Value, maker: Option<&str>) -> User {
        let mut object = object(name, maker);
        object["spec"] = pods(account, how);
        let pod: Pod = serde_json::from_value(object).unwrap();
        let spec = pod.pods().unwrap();
        of(&pod, account_of(spec), &of_pods(spec)).unwrap()
    }

    fn deployment(name: &str, account: &str, how: &Value) -> User {
        let mut object = object(name, None);
        object["spec"] = json!({"selector": {}, "template": {"spec": pods(account, how)}});
        let deployment: Deployment = serde_json::from_value(object).unwrap();
        let spec = deployment.pods().unwrap();
        of(&deployment, account_of(spec), &of_pods(spec)).unwrap()
    }

    fn found(users: Vec<User>) -> Vec<(Reason, String)> {
        let mut sighted = sighted(&[claim("payments-prod", "orders", "payments/prod/a", 1, true)], &[]);
        sighted.users = Users { all: users, reach: Some(Reach::Everywhere) };
        let all = judged(sighted, &[], judge);
        all.findings.into_iter().map(|f| (f.reason, f.subject.to_string())).collect()
    }

    #[test]
    fn who_uses_what() {
        let (orders, legacy) = (env("orders"), env("legacy"));
        assert_eq!(found(vec![pod("a", "orders", &orders, None), pod("b", "web", &legacy, None)]), []);
        let shared = found(vec![pod("a", "orders", &legacy, None), deployment("b", "web", &legacy)]);
        assert_eq!(shared, [(Reason::SecretShared, "Secret payments-prod/legacy".into())]);
        let pull = json!({"imagePullSecrets": [{"name": "registry"}]});
        assert_eq!(found(vec![pod("a", "orders", &pull, None), pod("b", "web", &pull, None)]), []);
        let foreign = found(vec![pod("a", "orders", &orders, None), pod("b", "thief", &orders, None)]);
        assert_eq!(foreign, [(Reason::ForeignConsumer, "Pod payments-prod/b".into())]);
    }

    #[test]
    fn a_secret_that_outlives_its_claim_is_its_consumers_still() {
        let found = |account: &str, consumers: Option<&[&str]>| {
            let mut sighted = sighted(&[], &[]);
            let users = vec![pod("a", account, &env("kept"), None)];
            sighted.users = Users { all: users, reach: Some(Reach::Everywhere) };
            let consumers = consumers.map(|all| all.iter().map(|name| (*name).to_owned()).collect());
            sighted.kept = [(ObjectName::new("payments-prod", "kept"), consumers)].into();
            let all = judged(sighted, &[], judge);
            all.findings.into_iter().map(|f| (f.reason, f.subject.to_string())).collect::<Vec<_>>()
        };
        let stranger = [(Reason::ForeignConsumer, "Pod payments-prod/a".to_owned())];
        assert_eq!(found("orders", Some(&["orders"][..])), []);
        assert_eq!(found("thief", Some(&["orders"][..])), stranger);
        assert_eq!(found("orders", Some(&[][..])), stranger, "it has no consumer now");
        assert_eq!(found("thief", None), [], "every pod may");
    }

    #[test]
    fn the_topmost_is_told() {
        let orders = env("orders");
        let made = vec![deployment("d", "thief", &orders), pod("p", "thief", &orders, Some("d"))];
        assert_eq!(found(made), [(Reason::ForeignConsumer, "Deployment payments-prod/d".into())]);
        let other = vec![deployment("d", "orders", &orders), pod("p", "thief", &orders, Some("d"))];
        assert_eq!(found(other), [(Reason::ForeignConsumer, "Pod payments-prod/p".into())], "edited past its maker");
    }

    #[test]
    fn an_account_that_gives_it_to_its_pods() {
        let give = |field: &str| {
            let mut object = object("thief", None);
            object[field] = json!([{"name": "orders"}]);
            let account: ServiceAccount = serde_json::from_value(object).unwrap();
            found(vec![of(&account, "thief", &of_account(&account)).unwrap()])
        };
        for field in ["secrets", "imagePullSecrets"] {
            assert_eq!(
                give(field),
                [(Reason::ForeignConsumer, "ServiceAccount payments-prod/thief".into())],
                "{field}"
            );
        }
    }
}
