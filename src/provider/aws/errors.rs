//! AWS's errors in our words. What AWS writes is read here and never passed on: it names principals, and other keys.

use std::error::Error;
use std::io;

use aws_sdk_secretsmanager::config::http::HttpResponse;
use aws_sdk_secretsmanager::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sts::operation::assume_role::AssumeRoleError;
use aws_sdk_sts::operation::assume_role_with_web_identity::AssumeRoleWithWebIdentityError;

use crate::provider::{FetchError, WriteError};

const EXPIRED: FetchError =
    FetchError::CredentialsInvalid { what: "they have expired; renew them where they come from" };
const UNRECOGNISED: FetchError =
    FetchError::CredentialsInvalid { what: "AWS does not know the access key or its session token; replace them" };
const BAD_SIGNATURE: FetchError = FetchError::CredentialsInvalid {
    what: "AWS refused the signature; see that the secret access key belongs to the access key, and that the clock is \
           right",
};
const NOT_FOUND: FetchError =
    FetchError::CredentialsInvalid { what: "none could be loaded; give the operator a role, or the store static keys" };
// The last link of the chain, the instance metadata service, is where one waits in vain if there are none.
const NOT_IN_TIME: FetchError = FetchError::CredentialsInvalid {
    what: "none could be loaded in time; give the operator a role, or the store static keys, and see that what issues \
           them can be reached",
};
pub(super) const ROLE_REFUSED: FetchError = FetchError::CredentialsInvalid {
    what: "AWS does not accept the request for the role; see its ARN, the session's name and tags, and that STS is \
           active in the region",
};
const WEB_IDENTITY_REFUSED: FetchError = FetchError::CredentialsInvalid {
    what: "the operator's own role could not be assumed with its web identity token; see the role's trust policy",
};

/// How AWS says, in lower case, that Secrets Manager's own action is not allowed. Principal and secret follow, whatever their names have
/// in them.
const OWN_ACTION_DENIED: &str = "not authorized to perform: secretsmanager:";

/// What a failed call means. `action` is what an IAM policy must allow for it.
pub(super) fn of_call<E>(error: &SdkError<E, HttpResponse>, action: &'static str) -> FetchError
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    match error {
        SdkError::ServiceError(context) => {
            of_code(context.err().code(), context.err().message(), Some(context.raw().status().as_u16()), action)
        }
        SdkError::ResponseError(context) => {
            // For example a proxy's page: no code, and a body that is not JSON.
            of_code(None, None, Some(context.raw().status().as_u16()), action)
        }
        SdkError::TimeoutError(_) => FetchError::unavailable("no answer in time"),
        SdkError::DispatchFailure(failure) => {
            let connector = failure.as_connector_error();
            if connector.is_some_and(|error| error.is_timeout()) {
                return FetchError::unavailable("no connection in time");
            }
            let cause = connector.map(|error| error as &(dyn Error + 'static));
            if connector.is_some_and(|error| error.is_io() || error.is_user()) {
                return FetchError::unavailable(connection_trouble(cause));
            }
            // Credentials are resolved on the way to the connection.
            of_credentials(cause)
        }
        SdkError::ConstructionFailure(_) => {
            FetchError::invalid("it could not be built; see the store's region and endpoint")
        }
        _ => FetchError::unavailable("the call failed"),
    }
}

/// What a failed write means.
pub(super) fn of_write<E>(error: &SdkError<E, HttpResponse>, action: &'static str) -> WriteError
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    let service = error.as_service_error();
    service
        .and_then(|service| of_write_code(service.code()?, service.message()))
        .unwrap_or_else(|| of_call(error, action).into())
}

/// What an error code means of a write alone. Secrets Manager has few codes: most is in the text.
fn of_write_code(code: &str, message: Option<&str>) -> Option<WriteError> {
    let message = message.unwrap_or_default().to_ascii_lowercase();
    let says = |text: &str| message.contains(text);
    let invalid = matches!(code, "InvalidRequestException" | "InvalidParameterException");
    let denied = matches!(code, "AccessDenied" | "AccessDeniedException");
    let missing = code == "ResourceNotFoundException";
    Some(match code {
        "LimitExceededException" => WriteError::VersionLimit,
        "EncryptionFailure" | "EncryptionFailureException" => WriteError::EncryptionFailure,
        _ if denied && says(OWN_ACTION_DENIED) => return None,
        _ if denied && says("kms") => FetchError::AccessDenied { action: "kms:GenerateDataKey and kms:Decrypt" }.into(),
        _ if (denied || missing) && says("lambda") => WriteError::FunctionUnusable,
        _ if missing && says("version") => {
            FetchError::VersionMissing { hint: "somebody has removed it meanwhile; the secret is looked at again" }
                .into()
        }
        _ if invalid && says("rotation") && (says("complete") || says("in progress") || says("pending")) => {
            WriteError::RotationInProgress
        }
        _ if invalid && (says("no lambda") || says("rotation is not") || says("rotation isn't")) => {
            WriteError::RotationNotConfigured
        }
        _ if invalid && says("replica") => {
            WriteError::NotWritable { why: "it is a replica; use a store of its primary region" }
        }
        _ if invalid && (says("managed by") || says("owned by") || says("owning service")) => {
            WriteError::NotWritable { why: "another AWS service keeps it; rotate it with strategy: Provider, or there" }
        }
        _ if invalid && (says("removefromversionid") || says("staging label") || says("version stage")) => {
            WriteError::StageMoved
        }
        _ => return None,
    })
}

/// What an error code means; codes of Secrets Manager, of STS, and those common to all of AWS.
pub(super) fn of_code(
    code: Option<&str>,
    message: Option<&str>,
    status: Option<u16>,
    action: &'static str,
) -> FetchError {
    let message = message.unwrap_or_default().to_ascii_lowercase();
    let says = |text: &str| message.contains(text);
    match code.unwrap_or_default() {
        "ResourceNotFoundException" if says("staging label: awscurrent") => {
            FetchError::VersionMissing { hint: "the secret exists and has no value yet; put one there" }
        }
        "ResourceNotFoundException" if says("staging label") || says("versionid") || says("version id") => {
            FetchError::VersionMissing { hint: "correct the version's label or id" }
        }
        "ResourceNotFoundException" => FetchError::Missing,
        "InvalidRequestException" if says("delet") && (says("marked") || says("scheduled")) => {
            FetchError::MarkedDeleted
        }
        "AccessDenied" | "AccessDeniedException" if says("kms") && !says(OWN_ACTION_DENIED) => {
            FetchError::AccessDenied { action: "kms:Decrypt" }
        }
        "AccessDenied" | "AccessDeniedException" | "UnauthorizedOperation" | "NotAuthorized" => {
            FetchError::AccessDenied { action }
        }
        "ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired" | "RequestExpired" => EXPIRED,
        "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "InvalidAccessKeyId"
        | "InvalidToken"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException"
        | "InvalidIdentityToken" => UNRECOGNISED,
        "InvalidSignatureException"
        | "SignatureDoesNotMatch"
        | "IncompleteSignature"
        | "IncompleteSignatureException"
        | "RequestTimeTooSkewed" => BAD_SIGNATURE,
        "TooManyRequestsException"
        | "RequestLimitExceeded"
        | "LimitExceededException"
        | "SlowDown"
        | "BandwidthLimitExceeded" => FetchError::Throttled,
        throttled if throttled.contains("Throttl") => FetchError::Throttled,
        "DecryptionFailure" => FetchError::DecryptionFailure,
        "InternalServiceError"
        | "InternalServiceErrorException"
        | "InternalFailure"
        | "InternalError"
        | "ServiceUnavailable"
        | "ServiceUnavailableException"
        | "RequestTimeout"
        | "RequestTimeoutException"
        | "IDPCommunicationError" => FetchError::unavailable("it reports an internal error"),
        "RegionDisabledException" => ROLE_REFUSED,
        known @ ("InvalidParameterException"
        | "InvalidRequestException"
        | "InvalidNextTokenException"
        | "ValidationException"
        | "ValidationError"
        | "MalformedPolicyDocument"
        | "PackedPolicyTooLarge") => FetchError::invalid(format!("{action} was refused with {known}; see the key")),
        _ => of_status(status, action),
    }
}

fn of_status(status: Option<u16>, action: &'static str) -> FetchError {
    match status {
        Some(401 | 403) => FetchError::AccessDenied { action },
        Some(429) => FetchError::Throttled,
        Some(status @ (200..=399 | 408 | 500..)) => {
            FetchError::unavailable(format!("its answer, HTTP {status}, is not one of AWS's"))
        }
        _ => FetchError::invalid(format!("{action} was refused with an unknown error; see the key and the endpoint")),
    }
}

/// Why a role could not be assumed. A request that is not valid concerns no key: there is none in it.
pub(super) fn of_assuming(error: &SdkError<AssumeRoleError, HttpResponse>) -> FetchError {
    match of_call(error, "sts:AssumeRole and sts:TagSession") {
        FetchError::InvalidRequest { .. } => ROLE_REFUSED,
        error => error,
    }
}

/// Why no credentials could be had for a call.
fn of_credentials(error: Option<&(dyn Error + 'static)>) -> FetchError {
    for cause in causes(error) {
        if let Some(error) = cause.downcast_ref::<SdkError<AssumeRoleWithWebIdentityError, HttpResponse>>() {
            return of_web_identity(of_call(error, "sts:AssumeRoleWithWebIdentity"));
        }
        if let Some(error) = cause.downcast_ref::<SdkError<AssumeRoleError, HttpResponse>>() {
            return of_assuming(error);
        }
        if let Some(error) = cause.downcast_ref::<AssumeRoleWithWebIdentityError>() {
            return of_web_identity(of_code(error.code(), error.message(), None, "sts:AssumeRoleWithWebIdentity"));
        }
    }
    if causes(error).any(|cause| cause.to_string().contains("timed out")) {
        return NOT_IN_TIME;
    }
    if causes(error).any(|cause| cause.to_string().contains("credential")) {
        return NOT_FOUND;
    }
    FetchError::unavailable(connection_trouble(error))
}

fn of_web_identity(error: FetchError) -> FetchError {
    if error.retryable() { error } else { WEB_IDENTITY_REFUSED }
}

/// The kind of the innermost I/O error: its text could hold an address.
fn connection_trouble(error: Option<&(dyn Error + 'static)>) -> String {
    let kind = causes(error).filter_map(|cause| cause.downcast_ref::<io::Error>()).map(io::Error::kind).last();
    match kind {
        Some(io::ErrorKind::ConnectionRefused) => "connection refused".to_owned(),
        Some(io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof) => "the connection broke".to_owned(),
        Some(io::ErrorKind::TimedOut) => "no connection in time".to_owned(),
        Some(io::ErrorKind::InvalidData) => "the TLS handshake failed".to_owned(),
        _ => "it cannot be reached; see the endpoint's name, the network and TLS".to_owned(),
    }
}

fn causes<'a>(error: Option<&'a (dyn Error + 'static)>) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(error, |error: &&'a (dyn Error + 'static)| (*error).source())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_become_reasons() {
        let gone = "You can't perform this operation on the secret because it was marked for deletion.";
        let label = "Secrets Manager can't find the specified secret value for staging label: AWSPENDING";
        let version = "Secrets Manager can't find the specified secret value for VersionId: 0a1b";
        for (code, message, status, reason) in [
            ("ResourceNotFoundException", "Secrets Manager can't find the specified secret.", 400, "RemoteMissing"),
            ("ResourceNotFoundException", label, 400, "RemoteVersionMissing"),
            ("ResourceNotFoundException", version, 400, "RemoteVersionMissing"),
            ("InvalidRequestException", gone, 400, "RemoteMissing"),
            ("InvalidRequestException", "The secret is scheduled for deletion.", 400, "RemoteMissing"),
            ("InvalidRequestException", "a secret that's currently marked deleted.", 400, "RemoteMissing"),
            ("InvalidRequestException", "You can't do this.", 400, "RemoteInvalid"),
            ("InvalidParameterException", "", 400, "RemoteInvalid"),
            ("AccessDeniedException", "User: x is not authorized to perform: y on resource: z", 400, "AccessDenied"),
            ("AccessDenied", "", 403, "AccessDenied"),
            ("UnrecognizedClientException", "", 400, "CredentialsInvalid"),
            ("InvalidClientTokenId", "", 403, "CredentialsInvalid"),
            ("ExpiredTokenException", "", 400, "CredentialsInvalid"),
            ("ExpiredToken", "", 403, "CredentialsInvalid"),
            ("InvalidSignatureException", "", 400, "CredentialsInvalid"),
            ("SignatureDoesNotMatch", "", 403, "CredentialsInvalid"),
            ("IncompleteSignature", "", 400, "CredentialsInvalid"),
            ("ThrottlingException", "Rate exceeded", 400, "Throttled"),
            ("Throttling", "", 400, "Throttled"),
            ("RequestLimitExceeded", "", 503, "Throttled"),
            ("DecryptionFailure", "", 400, "DecryptionFailed"),
            ("InternalServiceError", "", 500, "ProviderUnavailable"),
            ("SomethingNew", "", 500, "ProviderUnavailable"),
            ("SomethingNew", "", 429, "Throttled"),
            ("SomethingNew", "", 400, "RemoteInvalid"),
            ("", "", 503, "ProviderUnavailable"),
            ("", "", 403, "AccessDenied"),
        ] {
            let code = Some(code).filter(|code| !code.is_empty());
            let error = of_code(code, Some(message), Some(status), "secretsmanager:GetSecretValue");
            assert_eq!(error.reason(), reason, "{code:?} {message} {status}");
            assert!(message.is_empty() || !error.to_string().contains(message), "passes on what AWS wrote: {error}");
        }
    }

    #[test]
    fn a_denied_action_is_named_whatever_the_names_beside_it_say() {
        let denied = |role: &str, action: &str, key: &str| {
            format!(
                "User: arn:aws:sts::123456789012:assumed-role/{role}/s is not authorized to perform: {action} on resource: {key} because no identity-based policy allows the {action} action"
            )
        };
        let (code, own) = ("AccessDeniedException", "secretsmanager:PutSecretValue");
        for (role, action, key, read, written) in [
            ("operator", own, "payments/prod/lambda-orders", own, own),
            ("lambda-kms", own, "payments/prod/db", own, own),
            ("operator", own, "payments/prod/kms", own, own),
            ("secretsmanager", "kms:Decrypt", "arn:aws:kms:a:b:key/c", "kms:Decrypt", "kms:GenerateDataKey"),
        ] {
            let message = denied(role, action, key);
            let told = of_code(Some(code), Some(&message), Some(400), own);
            assert!(told.to_string().contains(read), "{message}: {told}");
            // What is no write's alone is told as for a fetch.
            let told = of_write_code(code, Some(&message)).map_or_else(|| told.to_string(), |told| told.to_string());
            assert!(told.contains(written), "{message}: {told}");
        }
        let function = of_write_code(code, Some(&denied("operator", "lambda:InvokeFunction", "f")));
        assert!(matches!(function, Some(WriteError::FunctionUnusable)), "{function:?}");
    }

    #[test]
    fn a_refused_write_says_what_to_do() {
        let attached = "The parameter RemoveFromVersionId can't be empty. Staging label AWSCURRENT is currently attached to \
                        version 1, so you must explicitly reference that version in RemoveFromVersionId.";
        for (code, message, reason) in [
            ("LimitExceededException", "You've reached the maximum number of versions.", "VersionLimit"),
            ("EncryptionFailure", "", "EncryptionFailed"),
            ("AccessDeniedException", "Access to KMS is not allowed", "WriteDenied"),
            ("AccessDeniedException", "Secrets Manager cannot invoke the specified Lambda function.", "WriteDenied"),
            ("ResourceNotFoundException", "The Lambda function does not exist.", "WriteDenied"),
            ("ResourceNotFoundException", "can't find the specified secret version: 1", "RemoteVersionMissing"),
            (
                "InvalidRequestException",
                "A previous rotation isn't complete. That rotation will be reattempted.",
                "RotationInProgress",
            ),
            (
                "InvalidRequestException",
                "No Lambda rotation function ARN is associated with this secret.",
                "RotationNotConfigured",
            ),
            ("InvalidRequestException", "Operation not permitted on a replica secret.", "RemoteNotWritable"),
            ("InvalidRequestException", "The secret is managed by rds.", "RemoteNotWritable"),
            ("InvalidParameterException", attached, "RemoteChanged"),
        ] {
            let error = of_write_code(code, Some(message)).unwrap();
            assert_eq!(error.reason(), reason, "{code} {message}");
            assert!(message.is_empty() || !error.to_string().contains(message), "passes on what AWS wrote: {error}");
        }
        // The rest is as for a fetch.
        for (code, message) in [
            ("ResourceNotFoundException", "Secrets Manager can't find the specified secret."),
            (
                "InvalidRequestException",
                "You tried to perform the operation on a secret that's currently marked deleted.",
            ),
            ("AccessDeniedException", "User: x is not authorized to perform: y on resource: z"),
            ("ThrottlingException", "Rate exceeded"),
        ] {
            assert_eq!(of_write_code(code, Some(message)), None, "{code} {message}");
        }
    }
}
