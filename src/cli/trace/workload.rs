//! The pod, or the pod template, that is meant.

use crate::cli::cluster::{Cluster, Failure};
use crate::cli::report::Subject;
use crate::segmentation::workload::RunsPods;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{Namespace, Pod, PodSpec, PodTemplate, ReplicationController};
use kube::Resource;
use kube::api::Api;
use serde::de::DeserializeOwned;
use std::fmt::Debug;

/// Its name, and what its pods are like.
pub async fn find(cluster: &Cluster, target: &str) -> Result<(Subject, PodSpec), Failure> {
    let (kind, name) = target.split_once('/').unwrap_or(("pod", target));
    match kind.to_lowercase().as_str() {
        "pod" | "pods" | "po" => get::<Pod>(cluster, name).await,
        "deployment" | "deployments" | "deploy" | "deployment.apps" => get::<Deployment>(cluster, name).await,
        "statefulset" | "statefulsets" | "sts" | "statefulset.apps" => get::<StatefulSet>(cluster, name).await,
        "daemonset" | "daemonsets" | "ds" | "daemonset.apps" => get::<DaemonSet>(cluster, name).await,
        "replicaset" | "replicasets" | "rs" | "replicaset.apps" => get::<ReplicaSet>(cluster, name).await,
        "replicationcontroller" | "replicationcontrollers" | "rc" => get::<ReplicationController>(cluster, name).await,
        "podtemplate" | "podtemplates" => get::<PodTemplate>(cluster, name).await,
        "job" | "jobs" | "job.batch" => get::<Job>(cluster, name).await,
        "cronjob" | "cronjobs" | "cj" | "cronjob.batch" => get::<CronJob>(cluster, name).await,
        other => Err(Failure::Usage(format!(
            "{other:?} has no pods that can be traced: write POD, or pod, deployment, statefulset, daemonset, replicaset, job, cronjob, replicationcontroller or podtemplate with /NAME"
        ))),
    }
}

async fn get<K>(cluster: &Cluster, name: &str) -> Result<(Subject, PodSpec), Failure>
where
    K: RunsPods + Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
{
    let api: Api<K> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let about = Subject::namespaced(&K::kind(&()), &cluster.namespace, name);
    match cluster.get(&api, name).await?.found() {
        Some(found) => Ok((about, found.pods().cloned().unwrap_or_default())),
        None => {
            let gaps: Vec<String> = cluster.gaps().into_iter().map(|gap| gap.message).collect();
            if gaps.is_empty() {
                return Err(Failure::Usage(missing(cluster, &about).await?));
            }
            Err(Failure::Usage(format!("{about}: {}", gaps.join("; "))))
        }
    }
}

/// What may be meant instead.
async fn missing(cluster: &Cluster, about: &Subject) -> Result<String, Failure> {
    let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
    if cluster.get_metadata(&namespaces, &cluster.namespace).await?.is_absent() {
        return Ok(format!("{about}: there is no namespace {:?}", cluster.namespace));
    }
    let hint = match about.kind.as_str() {
        "Pod" => format!("; for a workload write its kind, such as deployment/{}", about.name),
        _ => String::new(),
    };
    let place = if cluster.named { "" } else { "; for another namespace write -n NAMESPACE" };
    Ok(format!("{about}: there is none{hint}{place}"))
}
