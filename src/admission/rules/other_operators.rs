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
use crate::api::policy::ModalRule;
use crate::controller::context::Context;
use crate::controller::foreign::record_of;
use crate::controller::index::Index;
use crate::segmentation::authorize::foreign::{Foreigners, Refused};
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

/// What would be refused of the objects that ask a store, and is not now.
fn of_store(name: &ForeignName, spec: &Value, index: &Index, now: Timestamp) -> Vec<Refused> {
    let state = foreign::store(spec);
    if index.world.foreign.store(name) == Some(&state) {
        return Vec::new();
    }
    let before = Foreigners::new(&index.world, now);
    let after = before.with_store(name, &state);
    let asking = index.world.foreign.asking(name);
    let broken = asking.flat_map(|(asker, record)| {
        let known = before.refusals_of(asker, record);
        let new = after.refusals_of(asker, record).into_iter();
        new.filter(move |refused| !refused.stood(&known)).map(move |mut refused| {
            let asker = format!("{} {:?}", asker.kind.kind(), asker.name);
            refused.refusal.message =
                format!("{asker}, which asks this store, would be refused: {}", refused.refusal.message);
            refused
        })
    });
    broken.collect()
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
