//! Who references a managed Secret without being its consumer: pods, what makes pods, and ServiceAccounts.
//!
//! Of a Deployment, its ReplicaSet and its pods only the Deployment is told: it is what has to be mended.

use super::{ScanError, Walk, pages};
use crate::admission::rules::consumers::RULE;
use crate::api::Reason;
use crate::segmentation::references::{account_of, names, of_account, of_pods};
use crate::segmentation::violation::{ObjectRef, Violation};
use crate::segmentation::workload::RunsPods;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{Pod, PodTemplate, ReplicationController, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::Api;
use kube::core::NamespaceResourceScope;
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt::Debug;
use std::sync::Arc;

/// What references Secrets of its namespace, and under which account.
#[derive(Debug, Clone)]
pub struct Referrer<'a> {
    /// Its apiVersion.
    pub api_version: &'a str,
    /// Its kind.
    pub kind: &'a str,
    /// Its name.
    pub name: &'a str,
    /// The ServiceAccount.
    pub account: &'a str,
    /// The Secrets.
    pub secrets: BTreeSet<&'a str>,
}

/// What of a referrer's references is none of its account's, where `targets` are the managed Secrets of the namespace with their
/// consumers.
pub fn foreign(
    referrer: &Referrer<'_>,
    namespace: &Arc<str>,
    targets: &BTreeMap<String, Vec<String>>,
    segment: &Arc<str>,
) -> Option<Violation> {
    let consumers = |secret: &&str| targets.get(*secret).filter(|c| !c.iter().any(|name| name == referrer.account));
    let foreign: Vec<&str> = referrer.secrets.iter().copied().filter(|secret| consumers(secret).is_some()).collect();
    let first = *foreign.first()?;
    let whose = consumers(&first).map(|c| c.join(", ")).filter(|c| !c.is_empty());
    let who = if referrer.kind == "ServiceAccount" {
        "it is".to_owned()
    } else {
        format!("its pods run under ServiceAccount {:?}, which is", referrer.account)
    };
    let more = if foreign.len() > 1 { format!(" and {} more", foreign.len() - 1) } else { String::new() };
    Some(Violation {
        segment: segment.clone(),
        rule: RULE,
        reason: Reason::ForeignConsumer,
        object: ObjectRef {
            api_version: referrer.api_version.to_owned(),
            kind: referrer.kind.to_owned(),
            namespace: Some(namespace.clone()),
            name: referrer.name.to_owned(),
        },
        message: format!(
            "{who} no consumer of Secret {first:?}{more}, and references it ({}): use the ServiceAccount of a consumer, or add this one to spec.consumers of the ScopedSecret, or write a ScopedSecret with a key of its own for it",
            whose.unwrap_or_else(|| "it has no consumers now".to_owned())
        ),
    })
}

/// Lists them all. What controls others comes first.
pub(super) async fn walk(walk: &mut Walk<'_>) -> Result<(), ScanError> {
    let mut told = HashSet::new();
    each::<Deployment>(walk, &mut told).await?;
    each::<StatefulSet>(walk, &mut told).await?;
    each::<DaemonSet>(walk, &mut told).await?;
    each::<CronJob>(walk, &mut told).await?;
    each::<ReplicationController>(walk, &mut told).await?;
    each::<PodTemplate>(walk, &mut told).await?;
    each::<ReplicaSet>(walk, &mut told).await?;
    each::<Job>(walk, &mut told).await?;
    each::<Pod>(walk, &mut told).await?;
    accounts(walk).await
}

async fn each<K>(walk: &mut Walk<'_>, told: &mut HashSet<String>) -> Result<(), ScanError>
where
    K: RunsPods + Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
{
    let (kind, api_version) = (K::kind(&()), K::api_version(&()));
    let cx = walk.cx;
    pages::each(cx, &kind, &Api::<K>::all(cx.client.clone()), |page| {
        for object in page {
            let Some(pods) = object.pods().filter(|_| object.is_alive()) else { continue };
            let name = object.name_any();
            let referrer = Referrer {
                api_version: &api_version,
                kind: &kind,
                name: &name,
                account: account_of(pods),
                secrets: names(&of_pods(pods)),
            };
            let Some(violation) = judge(walk, object.meta(), &referrer) else { continue };
            let covered = controller(object.meta()).is_some_and(|uid| told.contains(uid));
            told.extend(object.uid());
            if !covered {
                walk.add([violation]);
            }
        }
    })
    .await
}

async fn accounts(walk: &mut Walk<'_>) -> Result<(), ScanError> {
    let cx = walk.cx;
    pages::each(cx, "ServiceAccount", &Api::<ServiceAccount>::all(cx.client.clone()), |page| {
        for object in page {
            let name = object.name_any();
            let referrer = Referrer {
                api_version: "v1",
                kind: "ServiceAccount",
                name: &name,
                account: &name,
                secrets: names(&of_account(&object)),
            };
            let violation = judge(walk, &object.metadata, &referrer);
            walk.add(violation);
        }
    })
    .await
}

/// By the SegmentGuard of the namespace, as the API server judges.
fn judge(walk: &Walk<'_>, metadata: &ObjectMeta, referrer: &Referrer<'_>) -> Option<Violation> {
    if referrer.secrets.is_empty() {
        return None;
    }
    let (namespace, segment) = walk.members.get_key_value(metadata.namespace.as_deref()?)?;
    let guard = walk.cx.guards.known(namespace).filter(|guard| guard.there)?;
    foreign(referrer, namespace, &guard.content.targets, segment)
}

fn controller(metadata: &ObjectMeta) -> Option<&str> {
    let owners = metadata.owner_references.as_deref().unwrap_or_default();
    owners.iter().find(|owner| owner.controller == Some(true)).map(|owner| owner.uid.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_managed_and_under_another_account_is_foreign() {
        let targets: BTreeMap<String, Vec<String>> =
            [("orders".to_owned(), vec!["orders".to_owned(), "report".to_owned()]), ("closed".to_owned(), vec![])]
                .into();
        let told = |account: &str, secrets: &[&str], kind: &str| {
            let referrer =
                Referrer { api_version: "v1", kind, name: "p", account, secrets: secrets.iter().copied().collect() };
            foreign(&referrer, &"payments-prod".into(), &targets, &"payments/prod".into()).map(|v| v.message)
        };
        for (account, secrets) in
            [("orders", &["orders"][..]), ("report", &["orders", "plain"]), ("thief", &["plain"]), ("thief", &[])]
        {
            assert_eq!(told(account, secrets, "Pod"), None, "{account} {secrets:?}");
        }
        let text = told("thief", &["orders", "plain"], "Pod").unwrap();
        assert!(text.contains("\"thief\"") && text.contains("(orders, report)") && !text.contains("more"), "{text}");
        let text = told("orders", &["closed"], "Deployment").unwrap();
        assert!(text.contains("it has no consumers now"), "{text}");
        let text = told("thief", &["closed", "orders"], "ServiceAccount").unwrap();
        assert!(text.starts_with("it is no consumer of Secret \"closed\" and 1 more"), "{text}");
    }
}
