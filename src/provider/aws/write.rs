//! The calls that rotation makes: one that describes, and writes. Never batched, and never retried here.

use aws_sdk_secretsmanager::error::ProvideErrorMetadata;
use aws_sdk_secretsmanager::primitives::Blob;

use super::errors;
use super::source::{Source, timestamp};
use crate::provider::write::{CURRENT, Description, PENDING, Put, VersionStages, WriteError};
use crate::provider::{FetchError, MAX_VALUE_BYTES, RemoteValue};

impl Source {
    /// DescribeSecret.
    pub(super) async fn describe(&self, id: &str) -> Result<Description, FetchError> {
        let identity = self.identity().await?;
        let call = self.client.describe_secret().secret_id(id);
        let call = async {
            let output = call.customize().config_override(identity).send().await;
            output.map_err(|error| errors::of_call(&error, "secretsmanager:DescribeSecret"))
        };
        let output = self.session.observed("DescribeSecret", 1, call).await?;
        let (Some(arn), Some(name)) = (output.arn, output.name) else {
            return Err(FetchError::IdentityMismatch);
        };
        let version = |(id, mut stages): (String, Vec<String>)| {
            stages.sort_unstable();
            VersionStages { id, stages }
        };
        let mut versions: Vec<_> = output.version_ids_to_stages.unwrap_or_default().into_iter().map(version).collect();
        versions.sort_unstable_by(|one, other| one.id.cmp(&other.id));
        let described = Description {
            id: arn,
            name,
            rotation_enabled: output.rotation_enabled.unwrap_or(false),
            owning_service: output.owning_service.filter(|service| !service.is_empty()),
            last_rotated: timestamp(output.last_rotated_date),
            last_changed: timestamp(output.last_changed_date),
            next_rotation: timestamp(output.next_rotation_date),
            deleted: output.deleted_date.is_some(),
            versions,
        };
        if described.describes(id) { Ok(described) } else { Err(FetchError::IdentityMismatch) }
    }

    /// PutSecretValue. The token becomes the version's identity.
    pub(super) async fn put_pending(&self, arn: &str, token: &str, value: RemoteValue) -> Result<Put, WriteError> {
        named_by_arn(arn)?;
        let size = value.expose().len();
        if size > MAX_VALUE_BYTES {
            return Err(FetchError::TooLarge.into());
        }
        if size == 0 {
            return Err(FetchError::invalid("the new value is empty, which the secrets manager does not keep").into());
        }
        let identity = self.identity().await?;
        let call = self.client.put_secret_value().secret_id(arn).client_request_token(token).version_stages(PENDING);
        // The client's copy is not zeroed: it offers no way.
        let call = match value.expose_text() {
            Some(text) => call.secret_string(text),
            None => call.secret_binary(Blob::new(value.expose())),
        };
        let call = async {
            match call.customize().config_override(identity).send().await {
                Ok(output) => Ok(Some(output)),
                Err(error) if error.code() == Some("ResourceExistsException") => Ok(None),
                Err(error) => Err(errors::of_write(&error, "secretsmanager:PutSecretValue")),
            }
        };
        let output = self.session.observed("PutSecretValue", 1, call).await?;
        drop(value);
        let Some(output) = output else { return Ok(Put::AlreadyStored) };
        confirmed(arn, output.arn.as_deref())?;
        confirmed(token, output.version_id.as_deref())?;
        Ok(Put::Stored)
    }

    /// UpdateSecretVersionStage: AWSCURRENT from one version to another; AWSPREVIOUS follows.
    pub(super) async fn promote(&self, arn: &str, from: Option<String>, to: &str) -> Result<(), WriteError> {
        self.move_stage(arn, CURRENT, from, Some(to.to_owned())).await
    }

    /// UpdateSecretVersionStage: AWSPENDING off a version.
    pub(super) async fn clear_pending(&self, arn: &str, version: &str) -> Result<(), WriteError> {
        self.move_stage(arn, PENDING, Some(version.to_owned()), None).await
    }

    async fn move_stage(
        &self,
        arn: &str,
        stage: &str,
        from: Option<String>,
        to: Option<String>,
    ) -> Result<(), WriteError> {
        named_by_arn(arn)?;
        let identity = self.identity().await?;
        let call = self.client.update_secret_version_stage().secret_id(arn).version_stage(stage);
        let call = call.set_remove_from_version_id(from).set_move_to_version_id(to);
        let call = async {
            let output = call.customize().config_override(identity).send().await;
            output.map_err(|error| errors::of_write(&error, "secretsmanager:UpdateSecretVersionStage"))
        };
        let output = self.session.observed("UpdateSecretVersionStage", 1, call).await?;
        confirmed(arn, output.arn.as_deref())
    }

    /// RotateSecret, at once, with whatever rotation the secret has.
    pub(super) async fn rotate(&self, arn: &str, token: &str) -> Result<(), WriteError> {
        named_by_arn(arn)?;
        let identity = self.identity().await?;
        let call = self.client.rotate_secret().secret_id(arn).client_request_token(token).rotate_immediately(true);
        let call = async {
            let output = call.customize().config_override(identity).send().await;
            output.map_err(|error| errors::of_write(&error, "secretsmanager:RotateSecret"))
        };
        let output = self.session.observed("RotateSecret", 1, call).await?;
        confirmed(arn, output.arn.as_deref())
    }
}

/// A name is whatever secret has it now, in whatever account the identity is of: only an ARN is what was looked at.
fn named_by_arn(id: &str) -> Result<(), WriteError> {
    if id.starts_with("arn:") {
        return Ok(());
    }
    Err(FetchError::invalid("a write names the secret by its full ARN, as its description gave it").into())
}

fn confirmed(asked: &str, answered: Option<&str>) -> Result<(), WriteError> {
    if answered == Some(asked) { Ok(()) } else { Err(WriteError::AnotherSecret) }
}
