//! Connections to secrets managers: one per store, and one per namespace where the store assumes a role per namespace.

use super::scoped_secret::plan::Failure;
use crate::api::Reason;
use crate::api::store::{AwsStore, ScopedSecretStoreSpec};
use crate::provider::aws::{Auth, Aws, AwsTarget, StaticCredentials};
use crate::provider::file::FileStore;
use crate::provider::{CallObserver, FetchError, Provider, SecretBytes};
use crate::segmentation::key::Realm;
use crate::segmentation::seal::SealKeys;
use crate::segmentation::world::StoreState;
use k8s_openapi::api::core::v1::Secret;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::OnceCell;

/// Every store that exists and the connections through them.
pub struct Providers {
    stores: Mutex<BTreeMap<String, Store>>,
    connected: Mutex<Connected>,
    observer: Arc<dyn CallObserver>,
}

/// By store and, where a role is assumed, by whom for; each with what it was made from.
type Connected = HashMap<(String, Option<Tenant>), (Arc<Means>, Connection)>;

/// Made once, by whoever comes first; the others wait for it.
type Connection = Arc<OnceCell<Arc<dyn Provider>>>;

/// What a connection is made from. A store's change makes another one, so that who has read the old one cannot leave a
/// connection of yesterday behind.
struct Means {
    spec: ScopedSecretStoreSpec,
    credentials: Option<Keys>,
}

/// Whom a role is assumed for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Tenant {
    /// The namespace.
    pub namespace: String,
    /// Its segment.
    pub segment: String,
}

struct Store {
    means: Arc<Means>,
    /// The revision of the credentials Secret.
    revision: Option<String>,
    /// Whether its account was looked for once, with whatever result.
    looked_at: bool,
}

/// Static keys as they are in a store's credentials Secret.
struct Keys {
    access_key_id: String,
    secret_access_key: SecretBytes,
    session_token: Option<SecretBytes>,
}

impl Providers {
    /// No stores yet; calls are told to `observer`.
    pub fn new(observer: Arc<dyn CallObserver>) -> Self {
        Self { stores: Mutex::default(), connected: Mutex::default(), observer }
    }

    fn stores(&self) -> MutexGuard<'_, BTreeMap<String, Store>> {
        self.stores.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connected(&self) -> MutexGuard<'_, Connected> {
        self.connected.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The spec of a store.
    pub fn spec(&self, name: &str) -> Option<ScopedSecretStoreSpec> {
        self.stores().get(name).map(|s| s.means.spec.clone())
    }

    /// Records a store; true if it is new or has changed, in which case its connections are dropped.
    pub fn put(&self, name: &str, spec: ScopedSecretStoreSpec) -> bool {
        let changed = {
            let mut stores = self.stores();
            let changed = stores.get(name).is_none_or(|s| s.means.spec != spec);
            if changed {
                let means = Arc::new(Means { spec, credentials: None });
                stores.insert(name.to_owned(), Store { means, revision: None, looked_at: false });
            }
            changed
        };
        if changed {
            self.disconnect(name);
        }
        changed
    }

    /// Says that a store's account was looked for; true the first time.
    pub fn looked_at(&self, name: &str) -> bool {
        self.stores().get_mut(name).is_some_and(|store| !std::mem::replace(&mut store.looked_at, true))
    }

    /// Whether a store is too new for its account to have been looked for: its claims wait for that moment.
    pub fn is_new(&self, name: &str) -> bool {
        self.stores().get(name).is_some_and(|store| !store.looked_at)
    }

    /// Forgets a store.
    pub fn remove(&self, name: &str) {
        self.stores().remove(name);
        self.disconnect(name);
    }

    /// The stores whose credentials are in a Secret of the operator's namespace.
    pub fn stores_with_credentials(&self, secret: &str) -> Vec<String> {
        let uses = |s: &Store| credentials_ref(&s.means.spec) == Some(secret);
        self.stores().iter().filter(|(_, s)| uses(s)).map(|(name, _)| name.clone()).collect()
    }

    /// Takes a store's credentials from its Secret; true if they are new.
    pub fn put_credentials(&self, name: &str, secret: &Secret) -> Result<bool, Failure> {
        let revision = secret.metadata.resource_version.clone().unwrap_or_default();
        let keys = read_keys(secret)?;
        let changed = {
            let mut stores = self.stores();
            let Some(store) = stores.get_mut(name) else { return Ok(false) };
            let changed = store.revision.as_ref() != Some(&revision);
            if changed {
                store.means = Arc::new(Means { spec: store.means.spec.clone(), credentials: Some(keys) });
                store.revision = Some(revision);
            }
            changed
        };
        if changed {
            self.disconnect(name);
        }
        Ok(changed)
    }

    /// Drops a store's credentials: their Secret is gone.
    pub fn drop_credentials(&self, name: &str) {
        if let Some(store) = self.stores().get_mut(name) {
            store.means = Arc::new(Means { spec: store.means.spec.clone(), credentials: None });
            store.revision = None;
        }
        self.disconnect(name);
    }

    fn disconnect(&self, name: &str) {
        self.connected().retain(|(store, _), _| store != name);
    }

    /// Drops every connection to a directory: version ids there depend on the seal key.
    pub fn forget_files(&self) {
        let files: Vec<String> =
            self.stores().iter().filter(|(_, s)| s.means.spec.file.is_some()).map(|(name, _)| name.clone()).collect();
        self.connected().retain(|(store, _), _| !files.contains(store));
    }

    /// The connection through a store. `tenant` matters only where a role is assumed per namespace.
    pub async fn connect(
        &self,
        name: &str,
        tenant: Option<Tenant>,
        keys: &Arc<SealKeys>,
    ) -> Result<Arc<dyn Provider>, Failure> {
        let means = {
            let stores = self.stores();
            let store = stores.get(name).ok_or_else(|| {
                Failure::new(Reason::StoreNotFound, format!("the ScopedSecretStore {name:?} does not exist"))
            })?;
            store.means.clone()
        };
        let auth = means.spec.aws.as_ref().and_then(|aws| aws.auth.as_ref());
        let per_tenant = auth.is_some_and(|auth| auth.assume_role.is_some());
        let key = (name.to_owned(), tenant.filter(|_| per_tenant));
        let connection = {
            let mut connected = self.connected();
            let known = connected.entry(key.clone()).or_insert_with(|| (means.clone(), Connection::default()));
            if !Arc::ptr_eq(&known.0, &means) {
                *known = (means.clone(), Connection::default());
            }
            known.1.clone()
        };
        let provider = connection.get_or_try_init(|| self.open(name, &means, key.1.as_ref(), keys)).await?;
        Ok(provider.clone())
    }

    async fn open(
        &self,
        name: &str,
        means: &Means,
        tenant: Option<&Tenant>,
        keys: &Arc<SealKeys>,
    ) -> Result<Arc<dyn Provider>, Failure> {
        match (&means.spec.aws, &means.spec.file) {
            (Some(aws), None) => {
                let target = target(aws, tenant, means.credentials.as_ref())?;
                Ok(Arc::new(Aws::connect(target, self.observer.clone()).await))
            }
            (None, Some(file)) => {
                let keys = keys.clone();
                let store = FileStore::open(Path::new(&file.path), move |bytes| keys.digest(bytes).to_string());
                Ok(Arc::new(
                    store.map_err(|error| Failure::new(fetch_reason(&error), format!("store {name:?}: {error}")))?,
                ))
            }
            _ => {
                Err(Failure::new(Reason::StoreInvalid, format!("store {name:?} must have exactly one provider block")))
            }
        }
    }
}

/// The Secret that holds a store's static keys, if it uses them.
pub fn credentials_ref(spec: &ScopedSecretStoreSpec) -> Option<&str> {
    Some(spec.aws.as_ref()?.auth.as_ref()?.secret_ref.as_ref()?.name.as_str())
}

/// What can be told of a store's realm without asking anybody: from the spec, or from the role's ARN.
pub fn declared_realm(spec: &ScopedSecretStoreSpec) -> Option<StoreState> {
    if let Some(file) = &spec.file {
        return Some(StoreState::Known(Realm::File { path: file.path.clone() }));
    }
    let aws = spec.aws.as_ref()?;
    let role = aws.auth.as_ref().and_then(|auth| auth.assume_role.as_ref());
    let of_role = || role.and_then(|role| role.role_arn.split(':').nth(4)).map(str::to_owned);
    let account = aws.account_id.clone().or_else(of_role);
    Some(match account {
        Some(account) => StoreState::Known(Realm::Aws { account, region: aws.region.clone() }),
        None => StoreState::AccountUnknown { region: aws.region.clone() },
    })
}

fn target(aws: &AwsStore, tenant: Option<&Tenant>, keys: Option<&Keys>) -> Result<AwsTarget, Failure> {
    let auth = aws.auth.clone().unwrap_or_default();
    let auth = match (auth.secret_ref, auth.assume_role, tenant) {
        (Some(secret), _, _) => {
            let keys = keys.ok_or_else(|| {
                Failure::new(
                    Reason::CredentialsMissing,
                    format!("the store's credentials Secret {:?} is missing or incomplete", secret.name),
                )
            })?;
            Auth::Static(StaticCredentials {
                access_key_id: keys.access_key_id.clone(),
                secret_access_key: SecretBytes::new(keys.secret_access_key.expose().to_vec()),
                session_token: keys.session_token.as_ref().map(|t| SecretBytes::new(t.expose().to_vec())),
            })
        }
        (None, Some(role), Some(tenant)) => Auth::AssumeRole {
            role_arn: role.role_arn.replace("${namespace}", &tenant.namespace),
            // 64 characters at most; a namespace has up to 63.
            session_name: tenant.namespace.clone(),
            session_tags: vec![
                ("namespace".to_owned(), tenant.namespace.clone()),
                ("segment".to_owned(), tenant.segment.clone()),
            ],
        },
        _ => Auth::Ambient,
    };
    Ok(AwsTarget {
        region: aws.region.clone(),
        endpoint: aws.endpoint.clone(),
        account_id: aws.account_id.clone(),
        auth,
    })
}

fn read_keys(secret: &Secret) -> Result<Keys, Failure> {
    let name = secret.metadata.name.as_deref().unwrap_or_default();
    let get = |key: &str| secret.data.as_ref().and_then(|data| data.get(key)).map(|bytes| bytes.0.clone());
    let text = |key: &str| {
        get(key).and_then(|bytes| String::from_utf8(bytes).ok()).map(|t| t.trim().to_owned()).filter(|t| !t.is_empty())
    };
    let missing = |key: &str| {
        Failure::new(
            Reason::CredentialsMissing,
            format!("the store's credentials Secret {name:?} has no usable key {key:?}"),
        )
    };
    Ok(Keys {
        access_key_id: text("accessKeyId").ok_or_else(|| missing("accessKeyId"))?,
        secret_access_key: text("secretAccessKey").map(SecretBytes::from).ok_or_else(|| missing("secretAccessKey"))?,
        session_token: text("sessionToken").map(SecretBytes::from),
    })
}

/// The reason of a failed fetch, in the registry's words.
pub fn fetch_reason(error: &FetchError) -> Reason {
    match error {
        FetchError::Missing | FetchError::MarkedDeleted => Reason::RemoteMissing,
        FetchError::VersionMissing { .. } => Reason::RemoteVersionMissing,
        FetchError::AccessDenied { .. } => Reason::AccessDenied,
        FetchError::CredentialsInvalid { .. } => Reason::CredentialsInvalid,
        FetchError::Throttled => Reason::Throttled,
        FetchError::Unavailable { .. } => Reason::ProviderUnavailable,
        FetchError::InvalidRequest { .. } | FetchError::NotAFile => Reason::RemoteInvalid,
        FetchError::DecryptionFailure => Reason::DecryptionFailed,
        FetchError::IdentityMismatch => Reason::RemoteIdentityMismatch,
        FetchError::TooLarge => Reason::RemoteTooLarge,
        FetchError::Incomplete => Reason::RemoteIncomplete,
        FetchError::PathForbidden { .. } => Reason::StoreInvalid,
    }
}
