//! Secrets that outlive their ScopedSecrets (deletionPolicy Retain): who may use them only the SegmentGuard of their namespace
//! still says.

use crate::api::segment_guard::SEGMENT_GUARD;
use crate::cli::change::look::kind;
use crate::cli::cluster::{Cluster, Failure};
use crate::segmentation::world::ObjectName;
use kube::ResourceExt;
use kube::api::{Api, DynamicObject, ListParams};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Their consumers, by Secret; with none, nobody is one. One that every pod may use has no list.
pub type Kept = BTreeMap<ObjectName, Option<Vec<String>>>;

/// Looks.
pub async fn look(cluster: &Cluster, outliving: &BTreeSet<ObjectName>) -> Result<Kept, Failure> {
    let of = kind("SegmentGuard");
    let api = |namespace: Option<&str>| match namespace {
        Some(namespace) => Api::<DynamicObject>::namespaced_with(cluster.client.clone(), namespace, &of),
        None => Api::all_with(cluster.client.clone(), &of),
    };
    let mut kept = Kept::new();
    let take = |page: Vec<DynamicObject>| kept.extend(page.iter().flat_map(|guard| said(guard, outliving)));
    cluster.each_page_in_reach(api, ListParams::default(), take).await?;
    Ok(kept)
}

/// What a guard says of them.
fn said(guard: &DynamicObject, outliving: &BTreeSet<ObjectName>) -> Vec<(ObjectName, Option<Vec<String>>)> {
    let namespace = guard.namespace().filter(|_| guard.name_any() == SEGMENT_GUARD).unwrap_or_default();
    let texts = |list: &Value| -> Vec<String> {
        list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let name = |secret: &str| ObjectName::new(&namespace, secret);
    let targets = guard.data["spec"]["targets"].as_object().into_iter().flatten();
    let closed = targets.map(|(secret, consumers)| (name(secret), Some(texts(consumers))));
    let free = texts(&guard.data["spec"]["free"]).into_iter().map(|secret| (name(&secret), None));
    closed.chain(free).filter(|(secret, _)| outliving.contains(secret)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_a_guard_says_of_what_outlives_its_claim() {
        let told = |guard: &str| {
            let guard: DynamicObject = serde_json::from_value(json!({
                "apiVersion": "scopedsecrets.io/v1alpha1", "kind": "SegmentGuard",
                "metadata": {"name": guard, "namespace": "payments-prod"},
                "spec": {"targets": {"orders": ["orders", "batch"], "nobodys": [], "claimed": ["web"]}, "free": ["open"]},
            }))
            .unwrap();
            let outliving = ["orders", "nobodys", "open", "unknown"].map(|name| ObjectName::new("payments-prod", name));
            let said = said(&guard, &outliving.into());
            said.into_iter().map(|(name, consumers)| (name.name.to_string(), consumers)).collect::<BTreeMap<_, _>>()
        };
        let named = |secret: &str, consumers: &[&str]| -> (String, Option<Vec<String>>) {
            (secret.to_owned(), Some(consumers.iter().map(|name| (*name).to_owned()).collect()))
        };
        let expected = [named("orders", &["orders", "batch"]), named("nobodys", &[]), ("open".to_owned(), None)];
        assert_eq!(told("scoped-secrets"), expected.into());
        assert_eq!(told("mine"), BTreeMap::new());
    }
}
