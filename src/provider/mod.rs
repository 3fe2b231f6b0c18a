//! Secrets managers behind one trait. Nothing here knows of Kubernetes.
//!
//! A caller [asks](Ask) for one version of one key and gets an [`Answer`] or a [`FetchError`]; how many asks share a
//! call is the provider's business.
//!
//! ```text
//!   Ask ──► Provider ──► Aws ──► Batcher ──► BatchGetSecretValue, GetSecretValue
//!                   │       └──► DescribeSecret and what rotation writes, a call each
//!                   └──► FileStore ──► one regular file below one directory
//! ```
//!
//! An ask must already be authorised: a provider fetches what it is told to. It does keep answers apart: a value is
//! only handed out for the key it was asked under.

pub mod aws;
pub mod batcher;
mod error;
pub mod file;
mod value;
pub mod write;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;

pub use error::FetchError;
pub use value::{RemoteValue, SecretBytes};
pub use write::{Description, Put, WriteError};

/// The largest value that is accepted, in bytes: the quota of AWS Secrets Manager ("Secret value size").
pub const MAX_VALUE_BYTES: usize = 65_536;

/// One version of one key.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ask {
    /// The secret's name, or the manager's own full identity for it (an ARN). Never a partial ARN: AWS would complete
    /// it to whatever fits.
    pub id: String,
    /// Which version.
    pub version: VersionRef,
}

impl Ask {
    /// Asks for the version that is in use.
    pub fn current(id: impl Into<String>) -> Self {
        Self { id: id.into(), version: VersionRef::Current }
    }
}

/// Which version of a secret is meant.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum VersionRef {
    /// The one in use (`AWSCURRENT`).
    Current,
    /// The one that carries this label (`AWSPREVIOUS`, `AWSPENDING`, one's own).
    Stage(String),
    /// The one with this identity.
    Id(String),
}

/// What the manager holds under a key. Handed out as `Arc<Answer>`, since asks may share it.
pub struct Answer {
    /// The manager's own identity of the secret: a full ARN, or `file:<absolute path>`.
    pub id: String,
    /// The secret's name.
    pub name: String,
    /// The version's identity; it changes whenever the value does.
    pub version_id: String,
    /// The version's labels; empty where the manager has none.
    pub stages: Vec<String>,
    /// When the version was made, by the manager's clock; `None` where it does not say.
    pub created: Option<jiff::Timestamp>,
    /// The value.
    pub value: RemoteValue,
}

impl Answer {
    /// Whether this is what was asked for. A manager (or what answers in its place) that returns another secret, or
    /// another version, must not get its value projected.
    pub(crate) fn answers(&self, ask: &Ask) -> bool {
        let version_fits = match &ask.version {
            VersionRef::Current => true,
            VersionRef::Stage(stage) => self.stages.contains(stage),
            VersionRef::Id(id) => self.version_id == *id,
        };
        version_fits && (self.name == ask.id || self.id == ask.id)
    }
}

/// Shows only what names the version: the value is `<secret>`.
impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer")
            .field("id", &self.id)
            .field("version_id", &self.version_id)
            .field("stages", &self.stages)
            .field("created", &self.created)
            .field("value", &self.value)
            .finish_non_exhaustive()
    }
}

/// Whose secrets a provider reads: account and region are part of every key's canonical form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The account that answers for names (twelve digits); empty for the file provider.
    pub account: String,
    /// The region; empty for the file provider.
    pub region: String,
    /// Who the manager takes us for (an ARN), where it was asked.
    pub principal: Option<String>,
}

/// A secrets manager, connected with one identity.
pub trait Provider: Send + Sync + 'static {
    /// Fetches one version of one key. Asks that are made close together share calls; equal asks in flight share the
    /// answer, which may then have been read a moment before the later of them was made. Not so after a write of this
    /// provider: what is asked for once its future has ended is read anew. The manager itself may still lag behind, and
    /// others write, too: look at the answer's version. Dropping the future gives the ask up without hurting the others.
    fn fetch(&self, ask: Ask) -> BoxFuture<'_, Result<Arc<Answer>, FetchError>>;

    /// Whose secrets these are. At most one call to the manager, none where the account was configured; not cached.
    fn identity(&self) -> BoxFuture<'_, Result<Identity, FetchError>>;

    /// What versions a secret has, and who rotates it. One call, which gives no value. `id` is a name or a full ARN; the
    /// [answer's](Description::id) account and region are the caller's to compare with what was authorised, before he writes.
    fn describe(&self, id: String) -> BoxFuture<'_, Result<Description, FetchError>>;

    /// Stores a value as the version that `token` names (32 to 64 characters), labelled `AWSPENDING`; the label leaves any other
    /// version that has it, so look for [one](Description::unfinished) first. Nobody reads the value until it is promoted.
    /// Repeated with the same value nothing changes.
    ///
    /// This and the other writes name the secret by its full ARN, and make one call each. After an error that is
    /// [`Unavailable`](FetchError::Unavailable) the write may have been made: describe, or repeat it.
    fn put_pending(&self, arn: String, token: String, value: RemoteValue) -> BoxFuture<'_, Result<Put, WriteError>>;

    /// Brings a stored version into use: `AWSCURRENT` moves from exactly `from` to `to`, and `AWSPREVIOUS` to `from`. If it is
    /// on neither, nothing changes ([`StageMoved`](WriteError::StageMoved)). `from` is `None` only where no version is current.
    fn promote(&self, arn: String, from: Option<String>, to: String) -> BoxFuture<'_, Result<(), WriteError>>;

    /// Takes `AWSPENDING` off a version. For versions of [`put_pending`](Self::put_pending): a manager that finds its own
    /// rotation's label gone takes the rotation for unfinished.
    fn clear_pending(&self, arn: String, version: String) -> BoxFuture<'_, Result<(), WriteError>>;

    /// Lets the manager begin the rotation that it has for this secret; the version that comes of it is the one that `token`
    /// names. It only begins: [describe](Self::describe) says when `AWSCURRENT` has moved. Of a secret whose rotation was
    /// switched off this switches it on again: look at [`rotation_enabled`](Description::rotation_enabled) first.
    fn rotate(&self, arn: String, token: String) -> BoxFuture<'_, Result<(), WriteError>>;
}

/// Told of every call to a manager, for metrics. Learns no names.
pub trait CallObserver: Send + Sync + 'static {
    /// One call has ended.
    fn called(&self, call: Call);
}

/// One call to a secrets manager that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// The manager's name for it: `BatchGetSecretValue`.
    pub operation: &'static str,
    /// How many keys it asked for.
    pub keys: usize,
    /// `Ok`, or the [reason](FetchError::reason) why the call as a whole failed.
    pub outcome: &'static str,
    /// How long it took.
    pub elapsed: Duration,
}

/// For callers that keep no metrics.
impl CallObserver for () {
    fn called(&self, _: Call) {}
}
