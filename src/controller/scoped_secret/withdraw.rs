//! Taking a Secret away: only after a fresh look at the claim, the namespace and the policies, since it cannot be undone.

use super::plan::{Failure, Step};
use super::write::free;
use super::{Work, write_failed};
use crate::api::{Reason, ScopedSecret};
use crate::controller::context::{Context, Job};
use crate::controller::store::brief;
use crate::controller::watch;
use crate::segmentation::authorize::{Retention, retention};
use crate::segmentation::verdict::Refusal;
use crate::segmentation::world::ObjectName;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams, Preconditions};
use kube::runtime::events::EventType;
use std::time::Duration;

impl Work<'_> {
    /// Takes the Secret away, if a fresh look says so, too.
    pub(super) async fn withdraw(&mut self, refusal: &Refusal) -> Result<(), Failure> {
        look_afresh(self.cx, &self.name.namespace).await?;
        let api: Api<ScopedSecret> = Api::namespaced(self.cx.client.clone(), &self.name.namespace);
        match api.get_opt(&self.name.name).await.map_err(|e| write_failed(&e))? {
            Some(fresh) if fresh.metadata.uid.as_deref() == Some(&*self.record.uid) => {
                if fresh.metadata.generation != Some(self.record.generation) {
                    self.cx.index_mut().put_claim(&fresh);
                    return Err(Failure::new(
                        Reason::Pending,
                        "the ScopedSecret was changed meanwhile; it is looked at again",
                    ));
                }
            }
            _ => return Err(Failure::new(Reason::Pending, "the ScopedSecret was deleted meanwhile")),
        }
        if !matches!(self.next_step(), Step::Withdraw(_)) {
            return Ok(());
        }
        let name = self.secret_name();
        let known = self.cx.index().secret(&name).cloned();
        let Some(facts) = known.or_else(|| self.read.as_ref().map(|(facts, _)| facts.clone())) else { return Ok(()) };
        let held = self.cx.index().world.holding(&name).cloned();
        let secrets: Api<Secret> = Api::namespaced(self.cx.client.clone(), &name.namespace);
        self.delete(&secrets, &facts).await?;
        self.memory.failure = None;
        self.cx.index_mut().withdrew();
        tracing::info!(namespace = %self.name.namespace, name = %self.name.name, rule = "Claims", reason = %refusal.reason, "a Secret was withdrawn");
        if let Some(held) = held {
            let rivals = self.cx.index().rivals(&name, &held);
            self.cx.retry(rivals);
        }
        self.event(EventType::Warning, Reason::Withdrawn, &refusal.message).await;
        Ok(())
    }
}

/// Reads policies and the namespace anew into the index: the caches may be behind.
async fn look_afresh(cx: &Context, namespace: &str) -> Result<(), Failure> {
    let crds: Api<CustomResourceDefinition> = Api::all(cx.client.clone());
    let crd = crds.get_opt("segmentationpolicies.scopedsecrets.io").await.map_err(|e| write_failed(&e))?;
    if crd.is_none_or(|crd| crd.metadata.deletion_timestamp.is_some()) {
        cx.index_mut().set_policies_synced(false);
        return Err(Failure::new(Reason::PolicyUnknown, "the CRD of SegmentationPolicy is gone: nothing is withdrawn"));
    }
    watch::relist_policies(cx).await.map_err(|e| write_failed(&e))?;
    let namespaces: Api<Namespace> = Api::all(cx.client.clone());
    match namespaces.get_metadata_opt(namespace).await.map_err(|e| write_failed(&e))? {
        Some(fresh) => watch::observe_namespace(cx, &fresh.metadata),
        None => return Err(Failure::new(Reason::NamespaceTerminating, "the namespace is gone")),
    }
    Ok(())
}

/// How long until an orphan is looked at again, where nothing else would bring it back.
const LATER: Duration = Duration::from_secs(60);

/// A sealed Secret that no ScopedSecret projects any more. Without `retain` it goes, after a fresh look; with it, it stays
/// as long as policy allows its keys.
pub async fn reconcile_orphan(cx: &Context, secret: &ObjectName) {
    if let Err(failure) = part_with_orphan(cx, secret).await {
        tracing::debug!(namespace = %secret.namespace, name = %secret.name, reason = %failure.reason, "a Secret without its ScopedSecret stays for now");
        cx.queue.add_at(Job::Orphan(secret.clone()), tokio::time::Instant::now() + LATER);
    }
}

async fn part_with_orphan(cx: &Context, secret: &ObjectName) -> Result<(), Failure> {
    let (facts, seal) = {
        let index = cx.index();
        let Some(facts) = index.secrets.get(secret).cloned() else { return Ok(()) };
        let Ok(seal) = facts.seal.clone() else { return Ok(()) };
        let claimed = index.claims_for(secret).any(|claim| claim.name == seal.holding.claim);
        // With an owner it is the garbage collector's, or its living ScopedSecret's.
        if facts.deleting || claimed || facts.owner.is_some() {
            return Ok(());
        }
        (facts, seal)
    };
    let api: Api<ScopedSecret> = Api::namespaced(cx.client.clone(), &secret.namespace);
    if let Some(claim) = api.get_opt(&seal.holding.claim).await.map_err(|e| write_failed(&e))?
        && claim.spec.target_name(&seal.holding.claim) == &*secret.name
    {
        return Err(Failure::new(Reason::Pending, "its ScopedSecret is there, and not in the cache yet"));
    }
    if seal.holding.retain {
        look_afresh(cx, &secret.namespace).await?;
        let index = cx.index();
        let Some(held) = index.world.holding(secret) else { return Ok(()) };
        if !matches!(retention(secret, held, &index.world, cx.now()), Retention::Withdraw(_)) {
            return Ok(());
        }
        if !index.may_withdraw(cx.pending_withdrawals(&index)) {
            return Err(Failure::new(Reason::WithdrawalPaused, "many Secrets would be withdrawn for this cause"));
        }
    }
    if !cx.leads() {
        return Ok(());
    }
    if facts.held_back {
        free(cx, secret).await?;
        return Err(Failure::new(Reason::Pending, "it had finalizers, and is looked at again"));
    }
    let api: Api<Secret> = Api::namespaced(cx.client.clone(), &secret.namespace);
    let params = DeleteParams::default().preconditions(Preconditions {
        uid: Some(facts.uid.to_string()),
        resource_version: Some(facts.resource_version.to_string()),
    });
    match api.delete(&secret.name, &params).await {
        Ok(_) => {
            tracing::info!(namespace = %secret.namespace, name = %secret.name, "a Secret without its ScopedSecret was removed");
            cx.index_mut().remove_secret(secret);
            let rivals = cx.index().rivals(secret, &seal.holding);
            cx.retry(rivals);
            Ok(())
        }
        Err(error) => Err(Failure::new(Reason::WriteFailed, brief(&error))),
    }
}
