//! Why a fetch failed, in words that are safe to show to whoever asked.

use thiserror::Error;

/// Why an ask was not answered.
///
/// No variant carries a value, a key's name, or text that the manager sent: a denial of a whole batch, for example,
/// names the one key that was denied, to the owners of nineteen others.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FetchError {
    /// The manager has no secret under this key.
    #[error("the secrets manager has no secret under this key; create it there, or correct the key")]
    Missing,
    /// The secret exists, but is waiting to be deleted.
    #[error("the secret is scheduled for deletion in the secrets manager; restore it there, or stop asking for it")]
    MarkedDeleted,
    /// The secret exists, the version that was asked for does not.
    #[error("the secret has no such version: {hint}")]
    VersionMissing {
        /// What to do about it.
        hint: &'static str,
    },
    /// The identity is known, and may not do this.
    #[error(
        "access denied: the store's identity may not {action}; allow it in the identity's policy, in the secret's \
         (or role's) own policy, and in the policy of the network endpoint, if there is one"
    )]
    AccessDenied {
        /// What was denied, as an IAM policy spells it: `secretsmanager:GetSecretValue`.
        action: &'static str,
    },
    /// No credentials, or such as the manager does not accept.
    #[error("the store's credentials are not valid: {what}")]
    CredentialsInvalid {
        /// What is wrong with them, and what to do.
        what: &'static str,
    },
    /// Too many calls.
    #[error("the secrets manager is throttling calls; it will be asked again, more slowly")]
    Throttled,
    /// Not reachable, too slow, or broken.
    #[error("the secrets manager is not available: {what}; it will be asked again")]
    Unavailable {
        /// What happened, in our own words: "connection refused", "HTTP 503".
        what: String,
    },
    /// The manager, or this provider, does not understand the ask.
    #[error("the request is not valid: {what}")]
    InvalidRequest {
        /// What is wrong with it.
        what: String,
    },
    /// The manager holds the secret and cannot decrypt it.
    #[error(
        "the secrets manager cannot decrypt the secret; see that its encryption key is enabled, and that the store's \
         identity may use it"
    )]
    DecryptionFailure,
    /// The answer is another secret's, or another version's. It was thrown away.
    #[error("the answer was for another secret than the one asked for and was thrown away; it will be asked again")]
    IdentityMismatch,
    /// Larger than [`MAX_VALUE_BYTES`](super::MAX_VALUE_BYTES).
    #[error("the value is larger than 65536 bytes; split it into several secrets")]
    TooLarge,
    /// The manager answered without saying anything about this key, twice.
    #[error("the secrets manager's answer left this key out; it will be asked again")]
    Incomplete,
    /// The key's file is a directory, a pipe, a device: anything but a regular file.
    #[error("the key names something that is not a regular file; put the value in a file")]
    NotAFile,
    /// A path that the file provider does not read.
    #[error("the path is not allowed: {what}")]
    PathForbidden {
        /// Which rule it breaks.
        what: &'static str,
    },
}

impl FetchError {
    /// Stable name for conditions, events and metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Missing | Self::MarkedDeleted => "RemoteMissing",
            Self::VersionMissing { .. } => "RemoteVersionMissing",
            Self::AccessDenied { .. } => "AccessDenied",
            Self::CredentialsInvalid { .. } => "CredentialsInvalid",
            Self::Throttled => "Throttled",
            Self::Unavailable { .. } => "ProviderUnavailable",
            Self::InvalidRequest { .. } => "RemoteInvalid",
            Self::DecryptionFailure => "DecryptionFailed",
            Self::IdentityMismatch => "RemoteIdentityMismatch",
            Self::TooLarge => "RemoteTooLarge",
            Self::Incomplete => "RemoteIncomplete",
            Self::NotAFile => "NotAFile",
            Self::PathForbidden { .. } => "PathForbidden",
        }
    }

    /// Whether it may pass without anybody doing anything: the others wait for a person, and need only be tried
    /// again rarely. Credentials count as passing, since most rotate by themselves.
    pub fn retryable(&self) -> bool {
        match self {
            Self::Throttled
            | Self::Unavailable { .. }
            | Self::Incomplete
            | Self::IdentityMismatch
            | Self::CredentialsInvalid { .. } => true,
            Self::Missing
            | Self::MarkedDeleted
            | Self::VersionMissing { .. }
            | Self::AccessDenied { .. }
            | Self::InvalidRequest { .. }
            | Self::DecryptionFailure
            | Self::TooLarge
            | Self::NotAFile
            | Self::PathForbidden { .. } => false,
        }
    }

    /// Whether one key of a batch may have caused it, so that the others deserve a call without it. What hits every
    /// call alike (throttling, an outage, credentials, a role that may not be assumed) is only made worse by more calls.
    pub(super) fn may_be_one_keys_fault(&self) -> bool {
        match self {
            Self::AccessDenied { action } => !action.starts_with("sts:"),
            _ => !self.retryable(),
        }
    }

    pub(super) fn unavailable(what: impl Into<String>) -> Self {
        Self::Unavailable { what: what.into() }
    }

    pub(super) fn invalid(what: impl Into<String>) -> Self {
        Self::InvalidRequest { what: what.into() }
    }
}
