//! What rotation asks of a secrets manager: what a secret's versions are labelled, and four writes.
//!
//! ```text
//!   describe ─► put_pending ─► promote ─► clear_pending        the operator makes the value
//!   describe ─► rotate ─► describe ...                          the manager makes it
//! ```
//! Each write is one call. All can be repeated after a crash: a version's identity is the caller's token, and labels move from
//! exactly one version to exactly one other.

use jiff::Timestamp;
use thiserror::Error;

use super::{Ask, FetchError};

/// The label of the version in use.
pub const CURRENT: &str = "AWSCURRENT";
/// The label of the version that was in use before.
pub const PREVIOUS: &str = "AWSPREVIOUS";
/// The label of the version that a rotation is about to bring into use.
pub const PENDING: &str = "AWSPENDING";

/// A secret, without any of its values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// The manager's own identity of the secret: a full ARN. Writes name the secret by it.
    pub id: String,
    /// The secret's name.
    pub name: String,
    /// Whether the manager rotates it on a schedule of its own.
    pub rotation_enabled: bool,
    /// The AWS service that made the secret and keeps it (`rds`), if one does.
    pub owning_service: Option<String>,
    /// When the manager last rotated it, by its own clock and its own rotation.
    pub last_rotated: Option<Timestamp>,
    /// When anything of it last changed: never before its youngest version was stored.
    pub last_changed: Option<Timestamp>,
    /// When the manager will rotate it.
    pub next_rotation: Option<Timestamp>,
    /// Whether it waits to be deleted.
    pub deleted: bool,
    /// Its versions that have a label, by identity. One that has lost its last label is not among them.
    pub versions: Vec<VersionStages>,
}

/// A version and its labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionStages {
    /// The version's identity.
    pub id: String,
    /// Its labels, sorted.
    pub stages: Vec<String>,
}

impl Description {
    /// The version with this label.
    pub fn version_at(&self, stage: &str) -> Option<&str> {
        self.versions.iter().find(|version| version.stages.iter().any(|s| s == stage)).map(|version| &*version.id)
    }

    /// A version that somebody's rotation is about to bring into use, and has not. On the current version the label means
    /// nothing: managers leave it there when they are done.
    pub fn unfinished(&self) -> Option<&str> {
        self.version_at(PENDING).filter(|pending| self.version_at(CURRENT) != Some(pending))
    }

    /// Whether somebody else changes its value: the manager on its schedule, or the service that made it.
    pub fn rotates_by_itself(&self) -> bool {
        self.rotation_enabled || self.owning_service.is_some()
    }

    /// Whether this is the secret that was asked for.
    pub(super) fn describes(&self, id: &str) -> bool {
        self.name == id || self.id == id
    }
}

/// What became of a value that was to be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// It is stored: by this call, or by an earlier one with the same token and value.
    Stored,
    /// The token's version exists and holds another value, which stays. [`Ask`] for it by its identity, the token.
    AlreadyStored,
}

/// Why a write was not made, or is not known to have been made.
///
/// As with [`FetchError`], no variant carries a value, a key's name, or text that the manager sent.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum WriteError {
    /// As a fetch would have failed.
    #[error(transparent)]
    Call(#[from] FetchError),
    /// The manager has begun a rotation and has not ended it, whoever asked for it.
    #[error(
        "a rotation of this secret is under way in the secrets manager, and none other begins until it has ended; see the \
         logs of its rotation function if that takes long"
    )]
    RotationInProgress,
    /// The manager has no rotation of its own for this secret.
    #[error(
        "the secrets manager has no rotation of its own for this secret; configure one there, or let the operator make the \
         value with strategy: Generate"
    )]
    RotationNotConfigured,
    /// The manager cannot call the function that would rotate the secret.
    #[error(
        "the secrets manager cannot call this secret's rotation function; see that the function exists, that its own policy \
         lets secretsmanager.amazonaws.com invoke it, and that the store's identity may lambda:InvokeFunction on it"
    )]
    FunctionUnusable,
    /// The label is not where it was seen: somebody else has rotated the secret since.
    #[error("somebody else has moved the secret's current version meanwhile; it is looked at again")]
    StageMoved,
    /// The secret has as many versions as it may have.
    #[error(
        "the secret has as many versions as the secrets manager keeps; it removes those without a label that are older than \
         a day: rotate less often"
    )]
    VersionLimit,
    /// The manager cannot encrypt the value.
    #[error(
        "the secrets manager cannot encrypt the new value; see that the secret's encryption key is enabled, and that the \
         store's identity may kms:GenerateDataKey and kms:Decrypt with it"
    )]
    EncryptionFailure,
    /// The secret takes no value from us, whatever we may do.
    #[error("this secret cannot be written here: {why}")]
    NotWritable {
        /// Why, and what to do instead.
        why: &'static str,
    },
    /// The confirmation is another secret's, or another version's.
    #[error(
        "what the secrets manager confirmed is not the write that was asked for, and nothing more is written; see the \
         store's endpoint, and whatever stands between it and the operator"
    )]
    AnotherSecret,
    /// The store keeps no versions.
    #[error(
        "a file store is only read, and what it holds cannot be rotated; change the file, or use a store of a secrets manager"
    )]
    ReadOnlyStore,
}

impl WriteError {
    /// Stable name for conditions, events and metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Call(FetchError::AccessDenied { .. }) | Self::FunctionUnusable => "WriteDenied",
            Self::Call(error) => error.reason(),
            Self::RotationInProgress => "RotationInProgress",
            Self::RotationNotConfigured => "RotationNotConfigured",
            Self::StageMoved => "RemoteChanged",
            Self::VersionLimit => "VersionLimit",
            Self::EncryptionFailure => "EncryptionFailed",
            Self::NotWritable { .. } => "RemoteNotWritable",
            Self::AnotherSecret => "RemoteIdentityMismatch",
            Self::ReadOnlyStore => "StoreReadOnly",
        }
    }

    /// Whether it may pass without anybody doing anything.
    pub fn retryable(&self) -> bool {
        match self {
            Self::Call(error) => error.retryable(),
            Self::RotationInProgress | Self::StageMoved | Self::VersionLimit => true,
            Self::RotationNotConfigured
            | Self::FunctionUnusable
            | Self::EncryptionFailure
            | Self::NotWritable { .. }
            | Self::AnotherSecret
            | Self::ReadOnlyStore => false,
        }
    }
}

/// The version that a token names, to be read back.
pub fn stored_under(id: impl Into<String>, token: impl Into<String>) -> Ask {
    Ask { id: id.into(), version: super::VersionRef::Id(token.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(versions: &[(&str, &[&str])]) -> Description {
        let stages = |stages: &[&str]| stages.iter().map(|&stage| stage.to_owned()).collect();
        Description {
            id: "arn".to_owned(),
            name: "pay/db".to_owned(),
            rotation_enabled: false,
            owning_service: None,
            last_rotated: None,
            last_changed: None,
            next_rotation: None,
            deleted: false,
            versions: versions
                .iter()
                .map(|(id, s)| VersionStages { id: (*id).to_owned(), stages: stages(s) })
                .collect(),
        }
    }

    #[test]
    fn a_pending_label_on_the_current_version_is_no_rotation_under_way() {
        type Case = (&'static [(&'static str, &'static [&'static str])], Option<&'static str>);
        let cases: [Case; 4] = [
            (&[("one", &[CURRENT])], None),
            (&[("one", &[CURRENT, PENDING])], None),
            (&[("one", &[PREVIOUS]), ("two", &[CURRENT, PENDING])], None),
            (&[("one", &[CURRENT]), ("two", &[PENDING])], Some("two")),
        ];
        for (versions, expected) in cases {
            assert_eq!(described(versions).unfinished(), expected, "{versions:?}");
        }
        assert_eq!(described(&[("two", &[PENDING])]).unfinished(), Some("two"), "the secret has no value yet");
    }

    #[test]
    fn who_changes_a_value_by_himself_is_known() {
        let nobody = described(&[]);
        assert!(!nobody.rotates_by_itself());
        assert!(Description { rotation_enabled: true, ..nobody.clone() }.rotates_by_itself());
        assert!(Description { owning_service: Some("rds".to_owned()), ..nobody }.rotates_by_itself());
    }
}
