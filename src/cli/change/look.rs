//! Looks at a ScopedSecret that is to be changed, and at whom that concerns.

use super::effects::{self, Effects, PodSeen};
use crate::api::{GROUP, ScopedSecret};
use crate::cli::cluster::{Cluster, Failure, Seen};
use crate::cli::observed::{Observed, observe};
use crate::cli::simulate::schema::nearest;
use crate::segmentation::references::{names, of_pods};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::ResourceExt;
use kube::api::{Api, ApiResource, DynamicObject, ListParams, PostParams};
use serde_json::Value;
use std::collections::HashMap;

/// What was seen.
pub struct Sight {
    /// The ScopedSecret as it stands, with whatever this version does not know.
    pub object: DynamicObject,
    /// As this version understands it.
    pub claim: ScopedSecret,
    /// The world around it.
    pub observed: Observed,
    /// Whom a change concerns.
    pub effects: Effects,
}

impl Sight {
    /// The spec, as it is written.
    pub fn spec(&self) -> &Value {
        self.object.data.get("spec").unwrap_or(&Value::Null)
    }
}

/// A kind of ours, whether or not this version has its fields.
pub fn kind(kind: &str) -> ApiResource {
    ApiResource {
        group: GROUP.to_owned(),
        version: "v1alpha1".to_owned(),
        api_version: format!("{GROUP}/v1alpha1"),
        kind: kind.to_owned(),
        plural: format!("{}s", kind.to_lowercase()),
    }
}

/// Whether a kind is installed; who may not look is told by the request that follows.
async fn is_missing(cluster: &Cluster, of: &ApiResource) -> Result<bool, Failure> {
    let all: Api<DynamicObject> = Api::namespaced_with(cluster.client.clone(), &cluster.namespace, of);
    let params = ListParams::default().limit(1);
    Ok(cluster.see(all.list(&params).await, "list", all.resource_url(), None)?.is_absent())
}

/// One object of ours in the namespace; where it is not there, what may be meant.
pub async fn get(cluster: &Cluster, of: &ApiResource, name: &str) -> Result<DynamicObject, Failure> {
    let api: Api<DynamicObject> = Api::namespaced_with(cluster.client.clone(), &cluster.namespace, of);
    let (kind, namespace) = (&of.kind, &cluster.namespace);
    match cluster.get(&api, name).await? {
        Seen::There(object) => Ok(object),
        Seen::Barred => Err(Failure::Usage(format!(
            "you may not get {}.{} in namespace {namespace}: ask for the verb get on it, or run this as who has it (--as, --context)",
            of.plural, of.group
        ))),
        Seen::Absent if is_missing(cluster, of).await? => Err(Failure::Usage(format!(
            "the cluster has no kind {kind} ({}.{}): install Scoped Secrets first, or its kinds alone: kubectl apply --server-side -k crds/",
            of.plural, of.group
        ))),
        Seen::Absent => {
            let seen = cluster.list_metadata(&api, ListParams::default()).await?.found().unwrap_or_default();
            let others: Vec<String> = seen.iter().map(ResourceExt::name_any).collect();
            let hint = nearest(name, others.iter().map(String::as_str));
            let hint = hint.map_or(String::new(), |other| format!("; is {other:?} meant?"));
            let place = if cluster.named { "" } else { "; for another namespace write -n NAMESPACE" };
            Err(Failure::Usage(format!("{kind} {namespace}/{name}: there is none{hint}{place}")))
        }
    }
}

/// Looks at one.
pub async fn look(cluster: &Cluster, name: &str, now: Timestamp) -> Result<Sight, Failure> {
    let object = get(cluster, &kind("ScopedSecret"), name).await?;
    let claim = object.clone().try_parse::<ScopedSecret>();
    let claim = claim.map_err(|_| {
        Failure::Usage(format!("ScopedSecret {}/{name} cannot be understood: correct it first", cluster.namespace))
    })?;
    let observed = observe(cluster, &cluster.namespace).await?;
    let pods = pods(cluster).await?;
    let spec = object.data.get("spec").cloned().unwrap_or_default();
    let effects = effects::of(&claim, &spec, &observed, pods, now);
    Ok(Sight { object, claim, observed, effects })
}

/// The pods of the namespace that are not over, with what made them.
async fn pods(cluster: &Cluster) -> Result<Option<Vec<PodSeen>>, Failure> {
    let api: Api<Pod> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let mut seen = Vec::new();
    let mut take = |page: Vec<Pod>| {
        for pod in page {
            let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
            let Some(spec) = pod.spec.as_ref().filter(|_| !matches!(phase, Some("Succeeded" | "Failed"))) else {
                continue;
            };
            let secrets = names(&of_pods(spec)).into_iter().map(str::to_owned).collect();
            let owner = controller(pod.metadata.owner_references.as_deref());
            seen.push((PodSeen { name: pod.name_any(), workload: None, secrets }, owner));
        }
    };
    if cluster.each_page(&api, ListParams::default(), &mut take).await? == Seen::Barred {
        return Ok(None);
    }
    let mut sets: HashMap<String, Option<(String, String)>> = HashMap::new();
    if seen.iter().any(|(_, owner)| owner.as_ref().is_some_and(|(kind, _)| kind == "ReplicaSet")) {
        let api: Api<ReplicaSet> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
        let listed = cluster.list_metadata(&api, ListParams::default()).await?.found().unwrap_or_default();
        let owners = listed.iter().map(|set| (set.name_any(), controller(set.metadata.owner_references.as_deref())));
        sets.extend(owners);
    }
    let topmost = |(kind, name): (String, String)| match sets.get(&name) {
        Some(Some((kind, name))) => format!("{kind} {name}"),
        _ => format!("{kind} {name}"),
    };
    Ok(Some(seen.into_iter().map(|(pod, owner)| PodSeen { workload: owner.map(topmost), ..pod }).collect()))
}

fn controller(owners: Option<&[OwnerReference]>) -> Option<(String, String)> {
    let owner = owners?.iter().find(|owner| owner.controller == Some(true))?;
    Some((owner.kind.clone(), owner.name.clone()))
}

/// Who the reader is, to the API server.
pub async fn who_am_i(cluster: &Cluster) -> Result<String, Failure> {
    let api: Api<SelfSubjectReview> = Api::all(cluster.client.clone());
    let answer = api.create(&PostParams::default(), &SelfSubjectReview::default()).await;
    let review = answer.map_err(|error| cluster.failure(&error, "create", api.resource_url()))?;
    let user = review.status.and_then(|status| status.user_info).and_then(|user| user.username);
    user.ok_or_else(|| Failure::Usage("the API server does not say who you are".to_owned()))
}
