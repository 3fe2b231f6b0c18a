//! SegmentationPolicies: says in status what was understood, what is in force, and what was accepted.

use super::context::{Context, Job};
use super::index::{Acceptance, accept_violations};
use crate::api::condition::{ConditionType, Wanted, merge};
use crate::api::policy::{AcceptedViolations, SegmentationPolicy, SegmentationPolicySpec, SegmentationPolicyStatus};
use crate::api::{FIELD_MANAGER, Reason};
use crate::client::errors::brief;
use crate::segmentation::policy::Policy;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, ApiResource, DynamicObject, PostParams};
use serde_json::json;
use std::time::Duration;

/// Writes a policy's status if it changed. The leader's.
pub async fn reconcile(cx: &Context, name: &str) {
    let api: Api<DynamicObject> = Api::all_with(cx.client.clone(), &ApiResource::erase::<SegmentationPolicy>(&()));
    let Ok(Some(mut policy)) = api.get_opt(name).await else { return };
    let how = |value: &str| cx.index().acceptance_of(name, value);
    let old = policy.data.get("status").and_then(|status| serde_json::from_value(status.clone()).ok());
    let spec = policy.data.get("spec").cloned().unwrap_or_default();
    let compiled = serde_json::from_value::<SegmentationPolicySpec>(spec)
        .map_err(|error| format!("the spec cannot be decoded ({error})"))
        .and_then(|spec| Policy::compile(name, &spec).map_err(|why| why.to_string()));
    let new = status(&policy.metadata, compiled, old.clone().unwrap_or_default(), &how, cx.now());
    if old.as_ref() == Some(&new) || !cx.leads() {
        return;
    }
    policy.data["status"] = json!(new);
    let params = PostParams { field_manager: Some(FIELD_MANAGER.into()), ..PostParams::default() };
    if let Err(error) = api.replace_status(name, &params, &policy).await {
        tracing::debug!(policy = name, error = %brief(&error), "status of a policy was not written; it is tried again");
        cx.queue.add_at(Job::Policy(name.to_owned()), tokio::time::Instant::now() + Duration::from_secs(2));
    }
}

/// The status that a policy deserves. Pure.
pub fn status(
    metadata: &ObjectMeta,
    compiled: Result<Policy, String>,
    old: SegmentationPolicyStatus,
    how: &dyn Fn(&str) -> Acceptance,
    now: Timestamp,
) -> SegmentationPolicyStatus {
    let generation = metadata.generation.unwrap_or(0);
    let wanted = match &compiled {
        Ok(compiled) => {
            let mut wanted = vec![
                Wanted::yes(ConditionType::Ready, Reason::PolicyActive, "the policy is in force"),
                separated(compiled),
            ];
            wanted.extend(
                compiled
                    .void_exceptions(now)
                    .map(|text| Wanted::yes(ConditionType::Stalled, Reason::InvalidException, text)),
            );
            wanted
        }
        Err(why) => {
            let text = format!("{why}; until it is corrected nothing new is granted and nothing is withdrawn");
            vec![
                Wanted::no(ConditionType::Ready, Reason::PolicyInvalid, &text),
                Wanted::unknown(ConditionType::Separated, Reason::PolicyInvalid, "the patterns cannot be judged"),
                Wanted::yes(ConditionType::Stalled, Reason::PolicyInvalid, text),
            ]
        }
    };
    let accept = accept_violations(metadata);
    let accepted = match (accept, old.accepted) {
        (Some(value), old) => {
            let known = old.filter(|known| known.value == value);
            let (settled, spent) = known.as_ref().map_or((false, false), |known| (known.settled, known.spent));
            Some(AcceptedViolations {
                settled: settled || how(&value) >= Acceptance::Settled,
                spent: spent || how(&value) == Acceptance::Spent,
                generation: known.map_or(generation, |known| known.generation),
                value,
            })
        }
        (None, _) => None,
    };
    SegmentationPolicyStatus {
        conditions: merge(&old.conditions, &wanted, generation, now),
        observed_generation: Some(generation),
        effective: compiled.ok().map(|p| p.effective()),
        accepted,
    }
}

fn separated(policy: &Policy) -> Wanted {
    let shared: Vec<String> = policy.shared_patterns().map(|p| format!("{:?}", p.to_string())).collect();
    if shared.is_empty() {
        return Wanted::yes(ConditionType::Separated, Reason::Disjoint, "every pattern keeps segments apart");
    }
    let text = format!(
        "patterns by which several segments can claim one key: {}; add ${{namespace}}, or ${{label:KEY}} for each of {}",
        shared.join(", "),
        policy.segment_labels.join(", ")
    );
    Wanted::no(ConditionType::Separated, Reason::SharedPattern, text)
}
