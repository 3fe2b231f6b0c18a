//! Connections to secrets managers: one for each identity and place, whichever stores use it; a store that assumes a role
//! per namespace has as many identities.

use super::scoped_secret::plan::Failure;
use crate::api::Reason;
use crate::api::store::{AwsStore, ScopedSecretStoreSpec};
use crate::provider::aws::{Auth, Aws, AwsTarget, StaticCredentials};
use crate::provider::file::FileStore;
use crate::provider::{CallObserver, FetchError, Provider, SecretBytes, WriteError};
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

/// By all that a connection is made from, so that a connection of yesterday is never taken for today's.
type Connected = HashMap<Reach, Connection>;

/// Made once, by whoever comes first; the others wait for it.
type Connection = Arc<OnceCell<Arc<dyn Provider>>>;

/// What a connection is made from.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Reach {
    /// A store's spec, without the account that it says it reaches.
    spec: ScopedSecretStoreSpec,
    /// The revision of the Secret with its static keys.
    revision: Option<String>,
    /// Whom a role is assumed for.
    tenant: Option<Tenant>,
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
    spec: ScopedSecretStoreSpec,
    /// Static keys, with the revision of the Secret that they are from.
    credentials: Option<(String, Arc<Keys>)>,
    /// Whether its account was looked for once, with whatever result.
    looked_at: bool,
    /// Why its account, or the connection through it, is not there; None: it is.
    unreached: Option<Reason>,
    /// Why the last that was asked through it was not answered; None: it was, or nothing was asked.
    unanswered: Option<Reason>,
}

/// Whether a call that failed says nothing of the key that it was for: nothing else is answered there either.
fn is_no_answer(reason: Reason) -> bool {
    matches!(reason, Reason::ProviderUnavailable | Reason::Throttled | Reason::CredentialsInvalid)
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
        self.stores().get(name).map(|s| s.spec.clone())
    }

    /// Records a store; true if it is new or has changed.
    pub fn put(&self, name: &str, spec: ScopedSecretStoreSpec) -> bool {
        if self.stores().get(name).is_some_and(|store| store.spec == spec) {
            return false;
        }
        let store = Store { spec, credentials: None, looked_at: false, unreached: None, unanswered: None };
        self.stores().insert(name.to_owned(), store);
        self.sweep();
        true
    }

    /// Says whether a store could be reached: its account, its credentials, its directory.
    pub fn reached(&self, name: &str, failure: Option<Reason>) {
        self.told(name, failure, |store| &mut store.unreached);
    }

    /// Says whether a claim could be connected through a store.
    pub fn claim_connected(&self, name: &str, failure: Option<Reason>) {
        if !self.is_of_one(name, failure) {
            self.reached(name, failure);
        }
    }

    /// Says how something that was asked through a store ended.
    pub fn asked(&self, name: &str, failure: Option<Reason>) {
        if !self.is_of_one(name, failure) {
            self.told(name, failure.filter(|reason| is_no_answer(*reason)), |store| &mut store.unanswered);
        }
    }

    /// Whether a failure says nothing of others: a role that is assumed for one namespace is refused.
    fn is_of_one(&self, name: &str, failure: Option<Reason>) -> bool {
        failure == Some(Reason::CredentialsInvalid) && self.stores().get(name).is_some_and(Store::assumes_roles)
    }

    fn told(&self, name: &str, failure: Option<Reason>, of: impl Fn(&mut Store) -> &mut Option<Reason>) {
        let mut stores = self.stores();
        let Some(store) = stores.get_mut(name) else { return };
        let before = store.state();
        *of(store) = failure;
        let now = store.state();
        if before != now && now == Reason::Reachable {
            tracing::info!(store = name, "the store answers again");
        } else if before != now {
            tracing::warn!(store = name, reason = now.as_str(), "the store gives no answer");
        }
    }

    /// How many of the stores that are used are reachable, and how many are not, by the reason why.
    pub fn count(&self, used: impl Fn(&str) -> bool) -> BTreeMap<Reason, i64> {
        let mut counts = BTreeMap::new();
        for (_, store) in self.stores().iter().filter(|(name, _)| used(name)) {
            *counts.entry(store.state()).or_default() += 1;
        }
        counts
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
        self.sweep();
    }

    /// The stores whose credentials are in a Secret of the operator's namespace.
    pub fn stores_with_credentials(&self, secret: &str) -> Vec<String> {
        let uses = |s: &Store| credentials_ref(&s.spec) == Some(secret);
        self.stores().iter().filter(|(_, s)| uses(s)).map(|(name, _)| name.clone()).collect()
    }

    /// Takes a store's credentials from its Secret; true if they are new. Those that are incomplete replace the old ones,
    /// too: whoever takes a key away means it.
    pub fn put_credentials(&self, name: &str, secret: &Secret) -> Result<bool, Failure> {
        let revision = secret.metadata.resource_version.clone().unwrap_or_default();
        let keys = read_keys(secret).inspect_err(|_| self.drop_credentials(name))?;
        {
            let mut stores = self.stores();
            let Some(store) = stores.get_mut(name) else { return Ok(false) };
            if store.credentials.as_ref().is_some_and(|(known, _)| *known == revision) {
                return Ok(false);
            }
            store.credentials = Some((revision, Arc::new(keys)));
        }
        self.sweep();
        Ok(true)
    }

    /// Drops a store's credentials: their Secret is gone.
    pub fn drop_credentials(&self, name: &str) {
        if let Some(store) = self.stores().get_mut(name) {
            store.credentials = None;
        }
        self.sweep();
    }

    /// Drops the connections that no store makes any more.
    fn sweep(&self) {
        let current: Vec<Reach> = self.stores().values().map(|store| store.reach(None)).collect();
        let made = |reach: &Reach| current.iter().any(|c| c.spec == reach.spec && c.revision == reach.revision);
        self.connected().retain(|reach, _| made(reach));
    }

    /// Drops every connection to a directory: version ids there depend on the seal key.
    pub fn forget_files(&self) {
        self.connected().retain(|reach, _| reach.spec.file.is_none());
    }

    /// The connection through a store. `tenant` matters only where a role is assumed per namespace.
    pub async fn connect(
        &self,
        name: &str,
        tenant: Option<Tenant>,
        keys: &Arc<SealKeys>,
    ) -> Result<Arc<dyn Provider>, Failure> {
        let (reach, credentials) = {
            let stores = self.stores();
            let store = stores.get(name).ok_or_else(|| {
                Failure::new(Reason::StoreNotFound, format!("the ScopedSecretStore {name:?} does not exist"))
            })?;
            (store.reach(tenant), store.credentials.as_ref().map(|(_, keys)| keys.clone()))
        };
        let connection = self.connected().entry(reach.clone()).or_default().clone();
        let provider = connection.get_or_try_init(|| self.open(name, &reach, credentials.as_deref(), keys)).await?;
        Ok(provider.clone())
    }

    async fn open(
        &self,
        name: &str,
        reach: &Reach,
        credentials: Option<&Keys>,
        keys: &Arc<SealKeys>,
    ) -> Result<Arc<dyn Provider>, Failure> {
        match (&reach.spec.aws, &reach.spec.file) {
            (Some(aws), None) => {
                let target = target(aws, reach.tenant.as_ref(), credentials)?;
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

impl Store {
    /// Why nothing comes through it; Reachable: something does.
    fn state(&self) -> Reason {
        self.unreached.or(self.unanswered).unwrap_or(Reason::Reachable)
    }

    /// Whether a role is assumed for each namespace.
    fn assumes_roles(&self) -> bool {
        let auth = self.spec.aws.as_ref().and_then(|aws| aws.auth.as_ref());
        auth.is_some_and(|auth| auth.assume_role.is_some())
    }

    /// What its connections are made from; for whom matters only where a role is assumed.
    fn reach(&self, tenant: Option<Tenant>) -> Reach {
        let mut spec = self.spec.clone();
        let mut per_tenant = false;
        if let Some(aws) = &mut spec.aws {
            aws.account_id = None;
            per_tenant = self.assumes_roles();
        }
        let revision = self.credentials.as_ref().map(|(revision, _)| revision.clone());
        Reach { spec, revision, tenant: tenant.filter(|_| per_tenant) }
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
            session_name: session_name(&tenant.namespace),
            session_tags: vec![
                ("namespace".to_owned(), tenant.namespace.clone()),
                ("segment".to_owned(), tag_value(&tenant.segment)),
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

/// 2 to 64 characters (STS API reference, AssumeRole); a namespace has 1 to 63.
fn session_name(namespace: &str) -> String {
    if namespace.len() < 2 { format!("namespace-{namespace}") } else { namespace.to_owned() }
}

/// A session tag's value has at most 256 characters (STS API reference, Tag); a longer segment is known by its beginning
/// and its digest.
fn tag_value(segment: &str) -> String {
    const LIMIT: usize = 256;
    if segment.len() <= LIMIT {
        return segment.to_owned();
    }
    let hex = crate::digest::sha256_hex(segment.as_bytes());
    let end = (0..LIMIT - hex.len()).rev().find(|end| segment.is_char_boundary(*end)).unwrap_or(0);
    format!("{}-{hex}", &segment[..end])
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

/// The reason of a failed write, in the registry's words.
pub fn write_reason(error: &WriteError) -> Reason {
    match error {
        WriteError::Call(FetchError::AccessDenied { .. }) | WriteError::FunctionUnusable => Reason::WriteDenied,
        WriteError::Call(error) => fetch_reason(error),
        WriteError::RotationInProgress => Reason::RotationInProgress,
        WriteError::RotationNotConfigured => Reason::RotationNotConfigured,
        WriteError::StageMoved => Reason::RemoteChanged,
        WriteError::VersionLimit => Reason::VersionLimit,
        WriteError::EncryptionFailure => Reason::EncryptionFailed,
        WriteError::NotWritable { .. } => Reason::RemoteNotWritable,
        WriteError::AnotherSecret => Reason::RemoteIdentityMismatch,
        WriteError::ReadOnlyStore => Reason::StoreReadOnly,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One of several that fails altogether is told, whatever the others do; a key that is denied or missing was answered.
    #[test]
    fn a_store_that_gives_no_answer_is_counted() {
        let providers = Providers::new(Arc::new(()));
        for (name, path) in [("a", "/a"), ("b", "/b"), ("unused", "/c")] {
            providers.put(name, serde_json::from_value(serde_json::json!({"file": {"path": path}})).unwrap());
        }
        let count = || {
            let counts = providers.count(|name| name != "unused");
            counts.iter().map(|(reason, count)| format!("{} {count}", reason.as_str())).collect::<Vec<_>>().join(", ")
        };
        providers.asked("unused", Some(Reason::ProviderUnavailable));
        assert_eq!(count(), "Reachable 2");
        providers.asked("a", Some(Reason::Throttled));
        providers.asked("b", Some(Reason::AccessDenied));
        assert_eq!(count(), "Reachable 1, Throttled 1");
        providers.asked("a", Some(Reason::RemoteMissing));
        assert_eq!(count(), "Reachable 2");
        providers.reached("a", Some(Reason::CredentialsMissing));
        providers.asked("a", None);
        assert_eq!(count(), "Reachable 1, CredentialsMissing 1");
        providers.reached("a", None);
        assert_eq!(count(), "Reachable 2");
        providers.asked("a", Some(Reason::CredentialsInvalid));
        providers.put("a", serde_json::from_value(serde_json::json!({"file": {"path": "/d"}})).unwrap());
        assert_eq!(count(), "Reachable 2", "another store was not asked yet");
        let auth = serde_json::json!({"assumeRole": {"roleArn": "arn:aws:iam::123456789012:role/scoped-${namespace}"}});
        let aws = serde_json::json!({"aws": {"region": "eu-west-1", "auth": auth}});
        providers.put("b", serde_json::from_value(aws).unwrap());
        providers.asked("b", Some(Reason::CredentialsInvalid));
        providers.claim_connected("b", Some(Reason::CredentialsInvalid));
        assert_eq!(count(), "Reachable 2", "one segment's role is refused");
        providers.reached("b", Some(Reason::CredentialsInvalid));
        assert_eq!(count(), "Reachable 1, CredentialsInvalid 1", "the store's own are");
    }

    /// Metrics and traces have the word that conditions have, so that one page explains both.
    #[test]
    fn a_call_fails_in_the_registrys_words() {
        let (action, what) = ("secretsmanager:GetSecretValue", "it");
        let fetches = || {
            [
                FetchError::Missing,
                FetchError::MarkedDeleted,
                FetchError::AccessDenied { action },
                FetchError::CredentialsInvalid { what },
                FetchError::Throttled,
                FetchError::Unavailable { what: what.into() },
                FetchError::InvalidRequest { what: what.into() },
                FetchError::DecryptionFailure,
                FetchError::IdentityMismatch,
                FetchError::TooLarge,
                FetchError::Incomplete,
            ]
        };
        for error in fetches() {
            assert_eq!(error.reason(), fetch_reason(&error).as_str());
        }
        let others = [
            WriteError::FunctionUnusable,
            WriteError::RotationInProgress,
            WriteError::RotationNotConfigured,
            WriteError::StageMoved,
            WriteError::VersionLimit,
            WriteError::EncryptionFailure,
            WriteError::AnotherSecret,
            WriteError::ReadOnlyStore,
        ];
        for error in fetches().into_iter().map(WriteError::Call).chain(others) {
            assert_eq!(error.reason(), write_reason(&error).as_str());
        }
    }
}
