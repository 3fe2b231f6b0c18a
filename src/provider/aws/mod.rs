//! AWS Secrets Manager.
//!
//! No retries of the SDK's own (the caller backs off, and counts), 3 s to connect, 10 s for a call. Needs
//! `secretsmanager:GetSecretValue` on the keys and, to ask for twenty of them at once,
//! `secretsmanager:BatchGetSecretValue` on `*`; without the latter every key costs a call. Rotation needs
//! `secretsmanager:DescribeSecret`, and `RotateSecret` or `PutSecretValue` and `UpdateSecretVersionStage`, besides.

mod endpoint;
mod errors;
mod session;
mod source;
#[cfg(test)]
mod tests;
mod write;

use std::sync::Arc;
use std::time::Duration;

use aws_config::{AppName, BehaviorVersion, Region, SdkConfig, retry::RetryConfig, timeout::TimeoutConfig};
use aws_sdk_secretsmanager::config::{Credentials, SharedCredentialsProvider, SharedIdentityCache};
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::{Mutex, Semaphore};

use super::batcher::Batcher;
use super::{
    Answer, Ask, CallObserver, Description, FetchError, Identity, Provider, Put, RemoteValue, SecretBytes, WriteError,
};
use session::{Role, Session};
use source::Source;

/// With which identity a manager is asked.
#[derive(Debug)]
pub enum Auth {
    /// The operator's own: AWS's default credential chain, loaded once a process.
    Ambient,
    /// Fixed keys.
    Static(StaticCredentials),
    /// A role, assumed from the operator's own identity (`sts:AssumeRole` and `sts:TagSession`) and renewed before its
    /// hour is over.
    AssumeRole {
        /// The role's ARN.
        role_arn: String,
        /// 2 to 64 characters of `A-Z a-z 0-9 _ = , . @ -` (STS API reference); shows in CloudTrail.
        session_name: String,
        /// Key and value; at most 50, keys up to 128 and values up to 256 characters (STS API reference).
        session_tags: Vec<(String, String)>,
    },
}

/// An access key.
#[derive(Debug)]
pub struct StaticCredentials {
    /// Its public half.
    pub access_key_id: String,
    /// Its secret half; UTF-8.
    pub secret_access_key: SecretBytes,
    /// Only temporary keys have one; UTF-8.
    pub session_token: Option<SecretBytes>,
}

/// Which Secrets Manager, and as whom.
#[derive(Debug)]
pub struct AwsTarget {
    /// `eu-west-1`.
    pub region: String,
    /// A VPC endpoint or an emulator; `None` is the region's public address. STS is asked there as well, unless the
    /// address is below one of AWS's own domains; `AWS_ENDPOINT_URL_STS` in the environment goes before either.
    pub endpoint: Option<String>,
    /// The account that the identity reads from, if it need not be asked for.
    pub account_id: Option<String>,
    /// The identity.
    pub auth: Auth,
}

/// Secrets Manager in one region, as one identity.
pub struct Aws {
    batcher: Batcher<Source>,
    /// For the calls that are not batched, so many at a time.
    source: Source,
    turns: Semaphore,
    session: Arc<Session>,
    region: String,
    account_id: Option<String>,
}

/// How long a call may take.
#[derive(Clone, Copy)]
struct Patience {
    connect: Duration,
    operation: Duration,
}

/// Descriptions and writes under way at a time: thousands of rotations may be due at once.
const UNBATCHED_AT_ONCE: usize = 4;

const PATIENCE: Patience = Patience { connect: Duration::from_secs(3), operation: Duration::from_secs(10) };

/// Who signs, before any role is assumed.
struct Base {
    credentials: Option<SharedCredentialsProvider>,
    cache: Option<SharedIdentityCache>,
}

impl Aws {
    /// Prepares the clients. Makes no call: what is wrong with the target shows at the first fetch.
    pub async fn connect(target: AwsTarget, observer: Arc<dyn CallObserver>) -> Aws {
        let ambient = match &target.auth {
            Auth::Static(_) => None,
            Auth::Ambient | Auth::AssumeRole { .. } => Some(session::ambient(&target.region).await),
        };
        Self::with(target, observer, ambient, PATIENCE)
    }

    fn with(target: AwsTarget, observer: Arc<dyn CallObserver>, ambient: Option<SdkConfig>, patience: Patience) -> Aws {
        let AwsTarget { region, endpoint, account_id, auth } = target;
        let base = match &auth {
            Auth::Static(keys) => Base { credentials: keys.provider(), cache: None },
            Auth::Ambient | Auth::AssumeRole { .. } => Base {
                credentials: ambient.as_ref().and_then(SdkConfig::credentials_provider),
                cache: ambient.as_ref().and_then(SdkConfig::identity_cache),
            },
        };
        let role = match auth {
            Auth::AssumeRole { role_arn, session_name, session_tags } => {
                Some(Role { arn: role_arn, session_name, tags: session_tags })
            }
            Auth::Ambient | Auth::Static(_) => None,
        };
        let sts_endpoint = endpoint::for_sts(endpoint.as_deref(), std::env::var("AWS_ENDPOINT_URL_STS").ok());
        let session = Arc::new(Session {
            sts: sts_client(&base, &region, sts_endpoint, patience),
            role,
            assumed: Mutex::default(),
            observer,
        });
        let client = client(&base, &region, endpoint, patience);
        let source = Source { client, session: Arc::clone(&session) };
        let batcher = Batcher::new(source.clone());
        Aws { batcher, source, turns: Semaphore::new(UNBATCHED_AT_ONCE), session, region, account_id }
    }

    async fn ask_who_we_are(&self) -> Result<Identity, FetchError> {
        let mut identity = aws_sdk_sts::config::Builder::new();
        if let Some(credentials) = self.session.assumed().await? {
            identity = identity.credentials_provider(credentials);
        }
        let call = self.session.sts.get_caller_identity().customize().config_override(identity);
        let call = async { call.send().await.map_err(|error| errors::of_call(&error, "sts:GetCallerIdentity")) };
        let caller = self.session.observed("GetCallerIdentity", 0, call).await?;
        let account = caller.account.ok_or_else(|| FetchError::unavailable("STS named no account"))?;
        Ok(Identity { account, region: self.region.clone(), principal: caller.arn })
    }
}

impl Provider for Aws {
    fn fetch(&self, ask: Ask) -> BoxFuture<'_, Result<Arc<Answer>, FetchError>> {
        self.batcher.fetch(ask).boxed()
    }

    fn identity(&self) -> BoxFuture<'_, Result<Identity, FetchError>> {
        match &self.account_id {
            Some(account) => {
                let identity = Identity { account: account.clone(), region: self.region.clone(), principal: None };
                std::future::ready(Ok(identity)).boxed()
            }
            None => self.ask_who_we_are().boxed(),
        }
    }

    fn describe(&self, id: String) -> BoxFuture<'_, Result<Description, FetchError>> {
        async move {
            let _turn = self.turns.acquire().await;
            self.source.describe(&id).await
        }
        .boxed()
    }

    fn put_pending(&self, arn: String, token: String, value: RemoteValue) -> BoxFuture<'_, Result<Put, WriteError>> {
        async move { self.write(self.source.put_pending(&arn, &token, value)).await }.boxed()
    }

    fn promote(&self, arn: String, from: Option<String>, to: String) -> BoxFuture<'_, Result<(), WriteError>> {
        async move { self.write(self.source.promote(&arn, from, &to)).await }.boxed()
    }

    fn clear_pending(&self, arn: String, version: String) -> BoxFuture<'_, Result<(), WriteError>> {
        async move { self.write(self.source.clear_pending(&arn, &version)).await }.boxed()
    }

    fn rotate(&self, arn: String, token: String) -> BoxFuture<'_, Result<(), WriteError>> {
        async move { self.write(self.source.rotate(&arn, &token)).await }.boxed()
    }
}

impl Aws {
    /// Makes a write when it is its turn. Whatever becomes of it (refused, timed out, given up by the caller), what is asked
    /// for afterwards is not answered with what was read before it.
    async fn write<T>(&self, call: impl Future<Output = Result<T, WriteError>>) -> Result<T, WriteError> {
        let _turn = self.turns.acquire().await;
        let _anew = self.batcher.anew_after();
        call.await
    }
}

impl StaticCredentials {
    /// `None` if they are not text, which no access key is.
    fn provider(&self) -> Option<SharedCredentialsProvider> {
        let text = |bytes: &SecretBytes| std::str::from_utf8(bytes.expose()).ok().map(str::to_owned);
        let session_token = match &self.session_token {
            None => None,
            Some(token) => Some(text(token)?),
        };
        let secret = text(&self.secret_access_key)?;
        let credentials = Credentials::new(self.access_key_id.clone(), secret, session_token, None, "Static");
        Some(SharedCredentialsProvider::new(credentials))
    }
}

/// The two services' configurations are two types with the same methods.
macro_rules! configured {
    ($sdk:ident, $base:expr, $region:expr, $endpoint:expr, $patience:expr) => {{
        let timeouts =
            TimeoutConfig::builder().connect_timeout($patience.connect).operation_timeout($patience.operation).build();
        let mut config = $sdk::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new($region.to_owned()))
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts);
        config.set_endpoint_url($endpoint);
        config.set_app_name(AppName::new("scoped-secrets").ok());
        config.set_credentials_provider($base.credentials.clone());
        if let Some(cache) = &$base.cache {
            config = config.identity_cache(cache.clone());
        }
        $sdk::Client::from_conf(config.build())
    }};
}

fn client(base: &Base, region: &str, endpoint: Option<String>, patience: Patience) -> aws_sdk_secretsmanager::Client {
    configured!(aws_sdk_secretsmanager, base, region, endpoint, patience)
}

fn sts_client(base: &Base, region: &str, endpoint: Option<String>, patience: Patience) -> aws_sdk_sts::Client {
    configured!(aws_sdk_sts, base, region, endpoint, patience)
}
