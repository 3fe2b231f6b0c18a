//! The seal key's Secret `scoped-secrets-keys`: made once by the leader, loaded by every replica, put back from memory if
//! it is deleted while an operator runs, rotated when it is old and every seal is of its generation.

use super::context::Context;
use super::revocation;
use crate::api::{FIELD_MANAGER, MANAGED_BY};
use crate::client::errors::brief;
use crate::segmentation::seal::{Generation, SealKeys};
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, PostParams};
use std::collections::BTreeMap;
use std::time::Duration;

/// The Secret's name.
pub const KEY_SECRET: &str = "scoped-secrets-keys";
/// The key of its data.
pub const KEY_FIELD: &str = "generations";

/// Why there is no seal key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The API server said no.
    #[error("the Secret {KEY_SECRET} cannot be read or written: {0}")]
    Api(String),
    /// Its content is not what we write.
    #[error(
        "the Secret {KEY_SECRET} has no usable key: delete it and create it from a backup, or only delete it (every managed Secret is then read and sealed once more)"
    )]
    Unreadable,
    /// No randomness, or the library failed.
    #[error("a key cannot be generated")]
    Generation,
    /// There is none yet and this replica does not lead.
    #[error("the leader has not made the seal key yet")]
    NotYet,
}

/// Loads the seal key; the leader makes it if there is none.
pub async fn ensure(cx: &Context, leader: bool) -> Result<(), KeyError> {
    let api: Api<Secret> = Api::namespaced(cx.client.clone(), &cx.namespace);
    match api.get_opt(KEY_SECRET).await.map_err(|e| KeyError::Api(brief(&e)))? {
        Some(secret) => load(cx, &secret),
        None if leader => create(cx, &api).await,
        None if cx.keys().is_some() => Ok(()),
        None => Err(KeyError::NotYet),
    }
}

fn load(cx: &Context, secret: &Secret) -> Result<(), KeyError> {
    let stored = secret.data.as_ref().and_then(|data| data.get(KEY_FIELD)).ok_or(KeyError::Unreadable)?;
    let kept_since = secret.metadata.creation_timestamp.as_ref().map_or(Timestamp::MIN, |made| made.0);
    let keys = SealKeys::from_stored(&stored.0).map_err(|_| KeyError::Unreadable)?.kept_since(kept_since);
    if cx.keys().is_none_or(|old| old.current().id != keys.current().id) {
        let current = keys.current().id.clone();
        cx.use_keys(keys);
        tracing::debug!(generation = current, "a seal key is in use");
        // Seals of the generation before still open; each is renewed when its values are next in hand.
        cx.providers.forget_files();
        cx.index_mut().secrets.values_mut().for_each(|secret| secret.seal_is_current = false);
        cx.keys_changed.notify_one();
        revocation::queue(cx, |_| true);
    }
    Ok(())
}

async fn create(cx: &Context, api: &Api<Secret>) -> Result<(), KeyError> {
    let known = cx.keys();
    let stored = match &known {
        Some(keys) => keys.to_stored(),
        None => SealKeys::new(generate(cx)?).to_stored(),
    };
    let stored = stored.map_err(|_| KeyError::Generation)?;
    let secret = key_secret(cx, stored.to_vec(), None);
    if !cx.leadership.leads() {
        return Err(KeyError::NotYet);
    }
    let params = PostParams { field_manager: Some(FIELD_MANAGER.into()), ..PostParams::default() };
    match api.create(&params, &secret).await {
        Ok(created) => {
            let how = if known.is_some() { "put back from memory" } else { "made" };
            tracing::info!(secret = KEY_SECRET, "the seal key was {how}");
            load(cx, &created)
        }
        Err(kube::Error::Api(status)) if status.code == 409 => {
            let secret = api.get(KEY_SECRET).await.map_err(|e| KeyError::Api(brief(&e)))?;
            load(cx, &secret)
        }
        Err(error) => Err(KeyError::Api(brief(&error))),
    }
}

/// Makes a new generation if the current one is older than `max_age` and nothing is sealed under the one before it.
pub async fn rotate_if_old(cx: &Context, max_age: Duration) -> Result<bool, KeyError> {
    let Some(keys) = cx.keys() else { return Ok(false) };
    let age = cx.now().duration_since(keys.current().created);
    // A label that somebody else set does not hold the key up.
    let all_current = cx.index().secrets.values().all(|s| s.seal.is_err() || s.seal_is_current);
    let limit = jiff::SignedDuration::try_from(max_age).unwrap_or(jiff::SignedDuration::MAX);
    if max_age.is_zero() || age <= limit || !all_current {
        return Ok(false);
    }
    let api: Api<Secret> = Api::namespaced(cx.client.clone(), &cx.namespace);
    let stored = api.get(KEY_SECRET).await.map_err(|e| KeyError::Api(brief(&e)))?;
    let bytes = stored.data.as_ref().and_then(|d| d.get(KEY_FIELD)).ok_or(KeyError::Unreadable)?;
    let next = SealKeys::from_stored(&bytes.0).map_err(|_| KeyError::Unreadable)?.rotate(generate(cx)?);
    let bytes = next.to_stored().map_err(|_| KeyError::Generation)?;
    let secret = key_secret(cx, bytes.to_vec(), stored.metadata.resource_version);
    if !cx.leadership.leads() {
        return Ok(false);
    }
    let params = PostParams { field_manager: Some(FIELD_MANAGER.into()), ..PostParams::default() };
    let written = api.replace(KEY_SECRET, &params, &secret).await.map_err(|e| KeyError::Api(brief(&e)))?;
    load(cx, &written)?;
    tracing::info!(secret = KEY_SECRET, "the seal key was rotated; Secrets are sealed anew as they are refreshed");
    Ok(true)
}

fn generate(cx: &Context) -> Result<Generation, KeyError> {
    let mut random = zeroize::Zeroizing::new([0u8; 36]);
    if !(cx.nature.random)(&mut *random) {
        return Err(KeyError::Generation);
    }
    Generation::from_random(&random, cx.now()).map_err(|_| KeyError::Generation)
}

fn key_secret(cx: &Context, stored: Vec<u8>, resource_version: Option<String>) -> Secret {
    Secret {
        metadata: ObjectMeta {
            name: Some(KEY_SECRET.into()),
            namespace: Some(cx.namespace.clone()),
            labels: Some(BTreeMap::from([("app.kubernetes.io/part-of".to_owned(), MANAGED_BY.to_owned())])),
            resource_version,
            ..ObjectMeta::default()
        },
        type_: Some("Opaque".into()),
        data: Some(BTreeMap::from([(KEY_FIELD.to_owned(), ByteString(stored))])),
        ..Secret::default()
    }
}
