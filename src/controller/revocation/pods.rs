//! The pods that may still hold a revoked value: those that were started while their Secret had it.

use super::plan::Withdrawn;
use crate::api::key_revocation::InNamespace;
use crate::controller::context::Context;
use crate::controller::paged;
use crate::segmentation::references::of_pods;
use crate::segmentation::workload::RunsPods;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use std::collections::{BTreeMap, BTreeSet};

/// Looks through the namespaces of these Secrets, page by page; not through those that are served no more, which show nothing.
pub async fn find(cx: &Context, withdrawn: &Withdrawn) -> Result<BTreeSet<InNamespace>, kube::Error> {
    let mut namespaces: BTreeMap<&str, BTreeMap<&str, Option<Timestamp>>> = BTreeMap::new();
    let served = |(InNamespace { namespace, .. }, _): &(&InNamespace, _)| cx.served.holds(namespace);
    for (InNamespace { namespace, name }, until) in withdrawn.iter().filter(served) {
        namespaces.entry(namespace).or_default().insert(name, *until);
    }
    let mut found = BTreeSet::new();
    for (namespace, secrets) in namespaces {
        let api: Api<Pod> = Api::namespaced(cx.client.clone(), namespace);
        paged::each(&api, ListParams::default().limit(100), |pod| {
            if may_hold(pod, &secrets) {
                found.insert(InNamespace { namespace: namespace.to_owned(), name: pod.name_any() });
            }
        })
        .await?;
    }
    Ok(found)
}

/// Whether a pod was started while one of these Secrets held a revoked version: until then, or for ever if it still does. In
/// the same second it may have.
fn may_hold(pod: &Pod, secrets: &BTreeMap<&str, Option<Timestamp>>) -> bool {
    let started = pod.status.as_ref().and_then(|status| status.start_time.as_ref());
    let (Some(spec), Some(started)) = (pod.pods().filter(|_| pod.is_alive()), started) else { return false };
    let old = |until: &Option<Timestamp>| until.is_none_or(|until| started.0.as_second() <= until.as_second());
    of_pods(spec).iter().any(|reference| secrets.get(reference.secret).is_some_and(old))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segmentation::fixtures::at;
    use serde_json::{Value, json};

    #[test]
    fn who_was_started_with_it_may_have_it() {
        let pod = |status: Value| -> Pod {
            let container = json!({"name": "c", "envFrom": [{"secretRef": {"name": "leaked"}}]});
            serde_json::from_value(json!({"spec": {"containers": [container]}, "status": status})).unwrap()
        };
        let running = |started: i64| json!({"phase": "Running", "startTime": at(started).to_string()});
        let (stands, gone, other) = (("leaked", None), ("leaked", Some(at(1_000))), ("other", None));
        for (status, secret, may) in [
            (running(999), stands, true),
            (running(9_999), stands, true),
            (running(999), gone, true),
            (running(1_000), gone, true),
            (running(1_001), gone, false),
            (running(999), other, false),
            (json!({"phase": "Pending"}), stands, false),
            (json!({"phase": "Succeeded", "startTime": at(1).to_string()}), stands, false),
            (json!({"phase": "Failed", "startTime": at(1).to_string()}), stands, false),
        ] {
            assert_eq!(may_hold(&pod(status.clone()), &BTreeMap::from([secret])), may, "{status} {secret:?}");
        }
    }
}
