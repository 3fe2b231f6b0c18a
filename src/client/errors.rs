//! The API server's errors in one line, without what may be in an object: another policy's words about a Secret may quote it, and so do
//! the API server's own about one that is invalid.

use crate::api::GROUP;
use kube::core::Status;
use std::ops::Range;

/// An error in one line.
pub fn brief(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => said(status),
        kube::Error::SerdeError(_) | kube::Error::FromUtf8(_) => "an answer that cannot be read".to_owned(),
        other => other.to_string(),
    }
}

/// What the API server said.
pub fn said(status: &Status) -> String {
    let words = match refused_by_others(&status.message) {
        Some(who) => who,
        None if status.code == 422 && !is_ours(&status.message) => return format!("{} (422)", invalid(status)),
        None => &status.message,
    };
    format!("{words} ({})", status.code)
}

/// Which object is invalid, and in which fields, without what is in them.
fn invalid(status: &Status) -> String {
    let Some(details) = &status.details else { return status.reason.clone() };
    let fields: Vec<String> =
        details.causes.iter().map(|cause| format!("{} ({})", cause.field, cause.reason)).collect();
    format!("{} {:?} is invalid: {}", details.kind, details.name, fields.join(", "))
}

/// Whether a policy or a webhook said no; else, of an object that is invalid, the API server itself.
pub fn is_denial(message: &str) -> bool {
    policy(message).is_some()
}

/// Whether it is about an object of our own kinds: `SegmentGuard.scopedsecrets.io "x" is invalid: ...`.
fn is_ours(message: &str) -> bool {
    message.split(' ').next().is_some_and(|kind| kind.ends_with(&format!(".{GROUP}")))
}

/// What stands before the name of a policy or a webhook, and behind it. An object's name has neither blanks nor quotes.
const POLICIES: [(&str, char); 3] =
    [("AdmissionPolicy '", '\''), ("admission webhook \"", '"'), ("calling webhook \"", '"')];

/// Where in a message the name of who refused it is.
fn policy(message: &str) -> Option<Range<usize>> {
    let found = POLICIES.iter().filter_map(|(before, quote)| {
        let start = message.find(before)? + before.len();
        Some(start..start + message[start..].find(*quote)?)
    });
    found.min_by_key(|name| name.start)
}

/// The message as far as it says who refused, without why; None: nobody did, or a rule of ours.
fn refused_by_others(message: &str) -> Option<&str> {
    let name = policy(message).filter(|name| !message[name.clone()].ends_with(&format!(".{GROUP}")))?;
    let denied = ["denied the request", "denied request"];
    let ends = denied.into_iter().filter_map(|words| Some(name.end + message[name.end..].find(words)? + words.len()));
    Some(&message[..ends.min().unwrap_or(name.end + 1)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::response::{StatusCause, StatusDetails};

    #[test]
    fn nothing_is_quoted() {
        let told = |code: u16, message: &str| {
            let status = Status { code, message: message.to_owned(), reason: "Why".into(), ..Status::default() };
            brief(&kube::Error::Api(Box::new(status)))
        };
        for (code, message, expected) in [
            (
                403,
                "secrets \"a\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: not canary",
                "secrets \"a\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request (403)",
            ),
            (
                400,
                "admission webhook \"a.b\" denied the request: canary",
                "admission webhook \"a.b\" denied the request (400)",
            ),
            (422, "Secret \"a\" is invalid: data[k]: Invalid value: \"canary\"", "Why (422)"),
            (
                403,
                "secrets \"a\" is forbidden: exceeded quota: q",
                "secrets \"a\" is forbidden: exceeded quota: q (403)",
            ),
            (
                403,
                "ValidatingAdmissionPolicy 'operator.scopedsecrets.io' with binding 'x' denied request: rule Operator, x",
                "ValidatingAdmissionPolicy 'operator.scopedsecrets.io' with binding 'x' denied request: rule Operator, x (403)",
            ),
            (
                422,
                "secrets \"a\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: canary",
                "secrets \"a\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request (422)",
            ),
            (
                500,
                "Internal error occurred: failed calling webhook \"a.b\": an error on the server (\"canary\") has prevented it",
                "Internal error occurred: failed calling webhook \"a.b\" (500)",
            ),
            (
                403,
                "secrets \"db.scopedsecrets.io\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: 'x.scopedsecrets.io'",
                "secrets \"db.scopedsecrets.io\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request (403)",
            ),
            (
                422,
                "SegmentGuard.scopedsecrets.io \"a\" is invalid: x",
                "SegmentGuard.scopedsecrets.io \"a\" is invalid: x (422)",
            ),
        ] {
            assert_eq!(told(code, message), expected);
        }
        let cause = |field: &str| StatusCause {
            reason: "FieldValueInvalid".into(),
            message: "Invalid value: \"canary\"".into(),
            field: field.into(),
        };
        let details = StatusDetails {
            kind: "Secret".into(),
            name: "a".into(),
            causes: vec![cause("data[k]"), cause("type")],
            group: String::new(),
            uid: String::new(),
            retry_after_seconds: 0,
        };
        let message = "Secret \"a\" is invalid: data[k]: Invalid value: \"canary\"".to_owned();
        let status = Status { code: 422, message, details: Some(details), ..Status::default() };
        assert_eq!(
            said(&status),
            "Secret \"a\" is invalid: data[k] (FieldValueInvalid), type (FieldValueInvalid) (422)"
        );
        let error = serde_json::from_str::<u8>("\"canary\"").unwrap_err();
        assert!(!brief(&kube::Error::SerdeError(error)).contains("canary"));
    }
}
