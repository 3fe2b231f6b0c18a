//! Whose calls these are: static keys, the operator's own identity, or a role that it assumes.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use aws_config::{BehaviorVersion, SdkConfig};
use aws_sdk_secretsmanager::config::Credentials;
use aws_sdk_sts::types::Tag;
use tokio::sync::{Mutex, OnceCell};
use tokio::time::Instant;
use tracing::Instrument;

use super::errors;
use crate::provider::{Call, CallObserver, FetchError, WriteError};
use crate::telemetry::traces::spans;

/// How long an assumed role's credentials are asked to last: AWS's default, the least maximum that a role can have,
/// and the most that a role assumed from another role gets ("role chaining").
const LIFETIME: Duration = Duration::from_secs(3_600);
/// Age at which they are renewed; while that does not work, they are used up to [`LIFETIME`] less a minute.
const RENEW_AFTER: Duration = Duration::from_secs(3_300);
const USABLE_FOR: Duration = Duration::from_secs(3_540);

/// A role, and who is said to be assuming it.
pub(super) struct Role {
    pub(super) arn: String,
    pub(super) session_name: String,
    pub(super) tags: Vec<(String, String)>,
}

/// STS, seen by the base identity, and the role that is assumed from it, if any.
pub(super) struct Session {
    pub(super) sts: aws_sdk_sts::Client,
    pub(super) role: Option<Role>,
    pub(super) assumed: Mutex<Option<Assumed>>,
    pub(super) observer: Arc<dyn CallObserver>,
}

/// An assumed role's credentials.
pub(super) struct Assumed {
    credentials: Credentials,
    since: Instant,
}

impl Session {
    /// The role's credentials, assumed or renewed if need be; `None` if no role is assumed.
    pub(super) async fn assumed(&self) -> Result<Option<Credentials>, FetchError> {
        let Some(role) = &self.role else {
            return Ok(None);
        };
        // Held during the call: whoever else needs the credentials would make the same one.
        let mut assumed = self.assumed.lock().await;
        let usable = assumed.as_ref().filter(|assumed| assumed.since.elapsed() < USABLE_FOR);
        if let Some(usable) = usable.filter(|usable| usable.since.elapsed() < RENEW_AFTER) {
            return Ok(Some(usable.credentials.clone()));
        }
        let since = Instant::now();
        match (self.assume(role).await, usable) {
            (Ok(credentials), _) => {
                *assumed = Some(Assumed { credentials: credentials.clone(), since });
                Ok(Some(credentials))
            }
            (Err(error), Some(usable)) if error.retryable() => Ok(Some(usable.credentials.clone())),
            (Err(error), _) => Err(error),
        }
    }

    async fn assume(&self, role: &Role) -> Result<Credentials, FetchError> {
        let tags = role.tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build());
        let tags = tags.collect::<Result<Vec<_>, _>>().map_err(|_| errors::ROLE_REFUSED)?;
        let call = self
            .sts
            .assume_role()
            .role_arn(&role.arn)
            .role_session_name(&role.session_name)
            .duration_seconds(i32::try_from(LIFETIME.as_secs()).unwrap_or(i32::MAX))
            .set_tags(Some(tags));
        let call = async { call.send().await.map_err(|error| errors::of_assuming(&error)) };
        let output = self.observed("AssumeRole", 0, call).await?;
        let credentials =
            output.credentials.ok_or_else(|| FetchError::unavailable("AssumeRole gave no credentials"))?;
        Ok(Credentials::new(
            credentials.access_key_id,
            credentials.secret_access_key,
            Some(credentials.session_token),
            None,
            "AssumeRole",
        ))
    }

    /// Makes a call, tells the observer of it, and forgets credentials that turned out to be no good.
    pub(super) async fn observed<T, E: Failed>(
        &self,
        operation: &'static str,
        keys: usize,
        call: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        self.observed_as(operation, keys, call, |_| "Ok").await
    }

    /// Likewise, of an answer that may itself say that nothing was given.
    pub(super) async fn observed_as<T, E: Failed>(
        &self,
        operation: &'static str,
        keys: usize,
        call: impl Future<Output = Result<T, E>>,
        outcome: impl FnOnce(&T) -> &'static str,
    ) -> Result<T, E> {
        let begun = Instant::now();
        let span = spans::call(operation, keys);
        let result = call.instrument(span.clone()).await;
        let outcome = result.as_ref().map_or_else(E::reason, outcome);
        spans::answered(&span, outcome);
        self.observer.called(Call { operation, keys, outcome, elapsed: begun.elapsed() });
        if result.as_ref().is_err_and(E::credentials_invalid)
            // Not while they are being renewed.
            && let Ok(mut assumed) = self.assumed.try_lock()
        {
            *assumed = None;
        }
        result
    }
}

/// What is looked at when a call has failed.
pub(super) trait Failed {
    fn reason(&self) -> &'static str;
    fn credentials_invalid(&self) -> bool;
}

impl Failed for FetchError {
    fn reason(&self) -> &'static str {
        FetchError::reason(self)
    }

    fn credentials_invalid(&self) -> bool {
        matches!(self, FetchError::CredentialsInvalid { .. })
    }
}

impl Failed for WriteError {
    fn reason(&self) -> &'static str {
        WriteError::reason(self)
    }

    fn credentials_invalid(&self) -> bool {
        matches!(self, WriteError::Call(error) if error.credentials_invalid())
    }
}

/// The operator's own AWS configuration: made once a process, its credentials cached for all stores.
///
/// The region only matters to the chain itself (a web identity token is exchanged at that region's STS). It comes from
/// the environment or the profile, else it is that of the store that asked first; the instance metadata service is not
/// asked for it, since that takes seconds where there is none.
pub(super) async fn ambient(region: &str) -> SdkConfig {
    static AMBIENT: OnceCell<SdkConfig> = OnceCell::const_new();
    let load = || async {
        let region = aws_config::meta::region::RegionProviderChain::first_try(
            aws_config::environment::EnvironmentVariableRegionProvider::new(),
        )
        .or_else(aws_config::profile::ProfileFileRegionProvider::new())
        .or_else(aws_config::Region::new(region.to_owned()));
        aws_config::defaults(BehaviorVersion::latest())
            .region(region)
            .identity_cache(aws_config::identity::IdentityCache::lazy().build())
            .load()
            .await
    };
    AMBIENT.get_or_init(load).await.clone()
}
