//! The API server's errors in one line, without what may be in an object: another policy's words about a Secret may quote it, and so do
//! the API server's own about one that is invalid.

use crate::api::GROUP;
use kube::core::Status;

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
    let quotes = status.code == 422 && !is_ours(&status.message);
    let words = if quotes { &status.reason } else { before_the_reason(&status.message) };
    format!("{words} ({})", status.code)
}

/// Whether it is about an object of our own kinds: `SegmentGuard.scopedsecrets.io "x" is invalid: ...`.
fn is_ours(message: &str) -> bool {
    message.split(' ').next().is_some_and(|kind| kind.ends_with(&format!(".{GROUP}")))
}

/// Who denied it, without why; our own denials as they are.
fn before_the_reason(message: &str) -> &str {
    let ends = ["denied the request", "denied request"].map(|words| Some(message.find(words)? + words.len()));
    match ends.into_iter().flatten().min().map(|at| &message[..at]) {
        Some(who) if !who.contains(&format!(".{GROUP}")) => who,
        _ => message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
                "SegmentGuard.scopedsecrets.io \"a\" is invalid: x",
                "SegmentGuard.scopedsecrets.io \"a\" is invalid: x (422)",
            ),
        ] {
            assert_eq!(told(code, message), expected);
        }
        let error = serde_json::from_str::<u8>("\"canary\"").unwrap_err();
        assert!(!brief(&kube::Error::SerdeError(error)).contains("canary"));
    }
}
