//! The pod, or the pod template, that is meant.

use crate::cli::cluster::{Cluster, Failure};
use crate::cli::report::Subject;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{Pod, PodSpec};
use kube::Resource;
use kube::api::Api;
use serde::de::DeserializeOwned;
use std::fmt::Debug;

/// Its name, and what its pods are like.
pub async fn find(cluster: &Cluster, target: &str) -> Result<(Subject, PodSpec), Failure> {
    let (kind, name) = target.split_once('/').unwrap_or(("pod", target));
    let read = match kind.to_lowercase().as_str() {
        "pod" | "pods" | "po" => get(cluster, name, |pod: Pod| pod.spec).await,
        "deployment" | "deployments" | "deploy" | "deployment.apps" => {
            get(cluster, name, |found: Deployment| found.spec.and_then(|spec| spec.template.spec)).await
        }
        "statefulset" | "statefulsets" | "sts" | "statefulset.apps" => {
            get(cluster, name, |found: StatefulSet| found.spec.and_then(|spec| spec.template.spec)).await
        }
        "daemonset" | "daemonsets" | "ds" | "daemonset.apps" => {
            get(cluster, name, |found: DaemonSet| found.spec.and_then(|spec| spec.template.spec)).await
        }
        "replicaset" | "replicasets" | "rs" | "replicaset.apps" => {
            get(cluster, name, |found: ReplicaSet| found.spec.and_then(|spec| spec.template.and_then(|t| t.spec))).await
        }
        "job" | "jobs" | "job.batch" => {
            get(cluster, name, |found: Job| found.spec.and_then(|spec| spec.template.spec)).await
        }
        "cronjob" | "cronjobs" | "cj" | "cronjob.batch" => {
            let template =
                |found: CronJob| found.spec.and_then(|spec| spec.job_template.spec).and_then(|spec| spec.template.spec);
            get(cluster, name, template).await
        }
        other => Err(Failure::Usage(format!(
            "{other:?} has no pods that can be traced: write POD, or pod, deployment, statefulset, daemonset, replicaset, job or cronjob with /NAME"
        ))),
    };
    read
}

async fn get<K>(
    cluster: &Cluster,
    name: &str,
    spec: impl Fn(K) -> Option<PodSpec>,
) -> Result<(Subject, PodSpec), Failure>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
{
    let api: Api<K> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let about = Subject::namespaced(&K::kind(&()), &cluster.namespace, name);
    match cluster.get(&api, name).await?.found() {
        Some(found) => Ok((about, spec(found).unwrap_or_default())),
        None => {
            let gaps: Vec<String> = cluster.gaps().into_iter().map(|gap| gap.message).collect();
            let why = if gaps.is_empty() { "there is none".to_owned() } else { gaps.join("; ") };
            Err(Failure::Usage(format!("{about}: {why}")))
        }
    }
}
