//! The kinds that run pods, and where each says what its pods are like.

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{Pod, PodSpec, PodTemplate, ReplicationController};

/// A pod, or what makes pods.
pub trait RunsPods {
    /// What its pods are like.
    fn pods(&self) -> Option<&PodSpec>;

    /// Whether it has pods, or may make some: a pod that has ended holds nothing any more.
    fn is_alive(&self) -> bool {
        true
    }
}

impl RunsPods for Pod {
    fn pods(&self) -> Option<&PodSpec> {
        self.spec.as_ref()
    }

    fn is_alive(&self) -> bool {
        let phase = self.status.as_ref().and_then(|status| status.phase.as_deref());
        !matches!(phase, Some("Succeeded" | "Failed"))
    }
}

macro_rules! runs_pods {
    ($($kind:ident: |$object:ident| $pods:expr;)*) => {$(
        impl RunsPods for $kind {
            fn pods(&self) -> Option<&PodSpec> {
                let $object = self;
                $pods
            }
        }
    )*};
}

runs_pods! {
    Deployment: |it| it.spec.as_ref()?.template.spec.as_ref();
    StatefulSet: |it| it.spec.as_ref()?.template.spec.as_ref();
    DaemonSet: |it| it.spec.as_ref()?.template.spec.as_ref();
    CronJob: |it| it.spec.as_ref()?.job_template.spec.as_ref()?.template.spec.as_ref();
    ReplicationController: |it| it.spec.as_ref()?.template.as_ref()?.spec.as_ref();
    PodTemplate: |it| it.template.as_ref()?.spec.as_ref();
    ReplicaSet: |it| it.spec.as_ref()?.template.as_ref()?.spec.as_ref();
    Job: |it| it.spec.as_ref()?.template.spec.as_ref();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_that_has_ended_holds_nothing() {
        let pod = |phase: &str| -> Pod {
            serde_json::from_value(serde_json::json!({"spec": {"containers": []}, "status": {"phase": phase}})).unwrap()
        };
        for (phase, alive) in [("Pending", true), ("Running", true), ("Succeeded", false), ("Failed", false)] {
            assert_eq!(pod(phase).is_alive(), alive, "{phase}");
            assert!(pod(phase).pods().is_some());
        }
    }
}
