//! Rule `OtherOperators`: what an ExternalSecret, a PushSecret, a ClusterExternalSecret, a VaultStaticSecret or a
//! SecretProviderClass asks for is judged as a ScopedSecret's keys are, where a policy's `rules.governs` says so. So
//! segmentation can be enforced before anything is migrated.
//!
//! A store of the External Secrets Operator decides what a key means: a change of one is refused if an object that asks it
//! would be refused then, and the same key was not before: a store that is created anew is judged like one that is changed.
//!
//! It follows the mode; reportOnly and exceptions lift it. What is cluster-scoped passes while the webhook is down.

use crate::admission::answer::{admit, answer_by, name_of};
use crate::admission::review::{Review, spec_is_unchanged};
use crate::admission::unread::Unread;
use crate::api::policy::{ModalRule, Mode};
use crate::controller::context::Context;
use crate::controller::foreign::record_of;
use crate::controller::index::Index;
use crate::segmentation::authorize::foreign::{Foreigners, Refused, Stood};
use crate::segmentation::foreign::{self, ForeignKind, ForeignName};
use jiff::Timestamp;
use kube::core::DynamicObject;
use kube::core::admission::{AdmissionRequest, AdmissionResponse};
use serde_json::Value;
use std::sync::Arc;

pub use crate::segmentation::foreign::RULE;

/// The kinds that are reviewed.
pub const KINDS: &[(&str, &str)] = &[
    ("external-secrets.io", "ExternalSecret"),
    ("external-secrets.io", "ClusterExternalSecret"),
    ("external-secrets.io", "PushSecret"),
    ("external-secrets.io", "SecretStore"),
    ("external-secrets.io", "ClusterSecretStore"),
    ("secrets.hashicorp.com", "VaultStaticSecret"),
    ("secrets-store.csi.x-k8s.io", "SecretProviderClass"),
];

/// The rule over this replica's index.
pub struct OtherOperators(pub Arc<Context>);

impl Review for OtherOperators {
    fn review(&self, request: &AdmissionRequest<DynamicObject>) -> AdmissionResponse {
        let now = self.0.now();
        judge(request, &self.0.index(), now)
    }

    fn refuses_unread(&self, unread: &Unread<'_>) -> bool {
        self.0.index().enforces(ModalRule::OtherOperators, unread.namespace)
    }
}

/// The answer to a request. Pure.
pub fn judge(request: &AdmissionRequest<DynamicObject>, index: &Index, now: Timestamp) -> AdmissionResponse {
    let Some(kind) = ForeignKind::of(&request.kind.group, &request.kind.kind) else { return admit(request) };
    let Some(object) = &request.object else { return admit(request) };
    // One that is being deleted is judged as well: its finalizers may keep it, and in use, for as long as their owner likes.
    if spec_is_unchanged(request) {
        return admit(request);
    }
    let namespace = request.namespace.as_deref().filter(|_| !kind.is_cluster_scoped());
    let name = ForeignName::new(kind, namespace, name_of(request));
    let world = Foreigners::new(&index.world, now);
    let refused = if kind.is_store() {
        of_store(&name, &object.data["spec"], index, now)
    } else {
        world.refusals_of(&name, &record_of(kind, object))
    };
    answer(request, &refused)
}

/// What would be refused of the objects that ask a store, and is not now. Of a namespace's store: there alone. One that is refused is
/// enough.
fn of_store(name: &ForeignName, spec: &Value, index: &Index, now: Timestamp) -> Vec<Refused> {
    let state = foreign::store(spec);
    if index.world.foreign.store(name) == Some(&state) {
        return Vec::new();
    }
    let before = Foreigners::new(&index.world, now).within(name.namespace.as_ref());
    let after = before.with_store(name, &state);
    let asking: Vec<_> = index.world.foreign.asking(name).collect();
    if let Some(too_many) = before.too_many(name, asking.iter().map(|(_, record)| record.asks.len()).sum()) {
        return vec![too_many];
    }
    let mut broken = Vec::new();
    for (asker, record) in asking {
        let new = after.refusals_of(asker, record);
        if new.is_empty() {
            continue;
        }
        let known = before.refusals_of(asker, record);
        let stood = Stood::of(&known);
        // Who makes a store of his own hears nothing of what is asked for elsewhere.
        let elsewhere = name.namespace.is_some() && asker.namespace != name.namespace;
        broken.extend(new.iter().filter(|refused| !stood.has(refused)).cloned().map(|mut refused| {
            let (kind, refusal) = (asker.kind.kind(), &mut refused.refusal);
            refusal.message = match elsewhere {
                true => format!(
                    "a {kind} of the platform, which asks this store, would be refused ({}): ask the platform team, or give the store another name",
                    refusal.reason
                ),
                false => format!("{kind} {:?}, which asks this store, would be refused: {}", asker.name, refusal.message),
            };
            refused
        }));
        if broken.iter().any(|refused| refused.refusal.mode == Mode::Enforce) {
            break;
        }
    }
    broken
}

/// By the strictest of the policies that refuse.
fn answer(request: &AdmissionRequest<DynamicObject>, refused: &[Refused]) -> AdmissionResponse {
    let strictest = refused.iter().map(|refused| refused.refusal.mode).max();
    let mut worst = refused.iter().map(|refused| &refused.refusal).filter(|refusal| Some(refusal.mode) == strictest);
    let Some(first) = worst.next() else { return admit(request) };
    let more = worst.count();
    let text = if more == 0 {
        first.message.clone()
    } else {
        format!("{} (and {more} more of what it asks for)", first.message)
    };
    answer_by(first.mode, request, RULE, first.reason, &text)
}

#[cfg(test)]
#[path = "other_operators_tests.rs"]
mod tests;
