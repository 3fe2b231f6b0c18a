//! ScopedSecretStores: observes whose secrets a store reaches, and says so in its status.

use super::context::{Context, Job};
use super::providers::{credentials_ref, declared_realm, fetch_reason};
use super::revocation;
use super::schedule::backoff;
use super::scoped_secret::plan::Failure;
use crate::api::condition::{ConditionType, Wanted, merge};
use crate::api::reason::Nature;
use crate::api::store::{ScopedSecretStore, ScopedSecretStoreStatus, StoreIdentity};
use crate::api::{FIELD_MANAGER, Reason};
use crate::client::errors::brief;
use crate::segmentation::key::Realm;
use crate::segmentation::world::StoreState;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, PostParams};
use std::time::Duration;

/// Observes a store. Every replica does, since admission needs the account; only the leader writes its status.
pub async fn reconcile(cx: &Context, name: &str, failures: u32, leader: bool) -> Result<(), Failure> {
    let Some(spec) = cx.providers.spec(name) else { return Ok(()) };
    let observed = observe(cx, name).await;
    // Before the seal key is there nothing was asked.
    let unreached = observed.as_ref().err().map(|failure| failure.reason).filter(|reason| *reason != Reason::Pending);
    cx.providers.reached(name, unreached);
    let state = match &observed {
        Ok(state) => state.clone(),
        // What was known of an unchanged store stays known.
        Err(_) => {
            let known = cx.index().world.stores.get(name).cloned().filter(|s| s.realm().is_some());
            match known.or_else(|| declared_realm(&spec)) {
                Some(state) => state,
                None => {
                    cx.providers.looked_at(name);
                    cx.retry_claims_of(name);
                    return Ok(());
                }
            }
        }
    };
    let changed = {
        let mut index = cx.index_mut();
        let changed = index.world.stores.get(name) != Some(&state);
        index.put_store(name, Some(state.clone()));
        cx.providers.looked_at(name) || changed
    };
    if changed {
        cx.retry_claims_of(name);
        // Who makes a value that others may read by it now.
        cx.requeue_known(|claim| claim.rotates.is_some());
        revocation::queue(cx, |revocation| revocation.store == name);
    }
    if leader {
        report(cx, name, &state, observed.as_ref().err()).await;
    }
    observed.map(|_| ()).inspect_err(|_| {
        let wait = backoff(name, failures + 1, Duration::from_secs(60), false);
        cx.queue.add_at(Job::Store(name.to_owned()), tokio::time::Instant::now() + wait);
    })
}

async fn observe(cx: &Context, name: &str) -> Result<StoreState, Failure> {
    let spec = cx.providers.spec(name).ok_or_else(|| Failure::new(Reason::StoreNotFound, "the store is gone"))?;
    if let Some(secret) = credentials_ref(&spec) {
        // From before the CRD checked it: a name is a part of a path.
        if secret.contains('/') {
            let text = format!("{secret:?} is no name of a Secret: correct spec.aws.auth.secretRef.name");
            return Err(Failure::new(Reason::StoreInvalid, text));
        }
        let api: Api<Secret> = Api::namespaced(cx.client.clone(), &cx.namespace);
        match api.get_opt(secret).await {
            Ok(Some(found)) => {
                if cx.providers.put_credentials(name, &found)? {
                    cx.retry_claims_of(name);
                }
            }
            Ok(None) => {
                cx.providers.drop_credentials(name);
                return Err(Failure::new(
                    Reason::CredentialsMissing,
                    format!(
                        "Secret {secret:?} does not exist in the operator's namespace {:?}: create it with accessKeyId and secretAccessKey",
                        cx.namespace
                    ),
                ));
            }
            Err(error) => {
                return Err(Failure::new(
                    Reason::ProviderUnavailable,
                    format!("the credentials Secret cannot be read: {}", brief(&error)),
                ));
            }
        }
    }
    let keys = cx.keys().ok_or_else(|| Failure::new(Reason::Pending, "the seal key is not loaded yet"))?;
    let declared = declared_realm(&spec)
        .ok_or_else(|| Failure::new(Reason::StoreInvalid, "write exactly one provider block: aws or file"))?;
    if let StoreState::Known(Realm::File { .. }) = &declared {
        cx.providers.connect(name, None, &keys).await?;
        return Ok(declared);
    }
    if let StoreState::Known(_) = &declared {
        return Ok(declared);
    }
    let provider = cx.providers.connect(name, None, &keys).await?;
    let identity = provider.identity().await.map_err(|error| {
        Failure::new(
            fetch_reason(&error),
            format!("the account cannot be observed (sts:GetCallerIdentity): {error}; set spec.aws.accountId, or mend the store's credentials"),
        )
    })?;
    Ok(StoreState::Known(Realm::Aws { account: identity.account, region: identity.region }))
}

/// A store whose account is given is not asked for anything by itself.
const KNOWN: &str = "the store's account is known, so that its keys can be told; whether the secrets manager answers is on each ScopedSecret's condition Synced";

/// The conditions that a store deserves. Pure.
pub fn conditions(failure: Option<&Failure>) -> Vec<Wanted> {
    let Some(f) = failure else {
        return vec![Wanted::yes(ConditionType::Ready, Reason::Reachable, KNOWN)];
    };
    let kind = if f.reason.nature() == Nature::Refused { ConditionType::Stalled } else { ConditionType::Reconciling };
    vec![Wanted::no(ConditionType::Ready, f.reason, &f.message), Wanted::yes(kind, f.reason, &f.message)]
}

async fn report(cx: &Context, name: &str, state: &StoreState, failure: Option<&Failure>) {
    let api: Api<ScopedSecretStore> = Api::all(cx.client.clone());
    let Ok(Some(mut store)) = api.get_opt(name).await else { return };
    let old = store.status.clone().unwrap_or_default();
    let wanted = conditions(failure);
    let generation = store.metadata.generation.unwrap_or(0);
    let identity = match state {
        StoreState::Known(Realm::Aws { account, region }) => {
            Some(StoreIdentity { account_id: account.clone(), region: region.clone() })
        }
        _ => None,
    };
    let new = ScopedSecretStoreStatus {
        conditions: merge(&old.conditions, &wanted, generation, cx.now()),
        observed_generation: Some(generation),
        identity,
    };
    if new != old && cx.leads() {
        store.status = Some(new);
        let params = PostParams { field_manager: Some(FIELD_MANAGER.into()), ..PostParams::default() };
        if let Err(error) = api.replace_status(name, &params, &store).await {
            tracing::debug!(store = name, error = %brief(&error), "status of a store was not written; it is tried again");
            cx.queue.add_at(Job::Store(name.to_owned()), tokio::time::Instant::now() + Duration::from_secs(2));
        }
    }
}
