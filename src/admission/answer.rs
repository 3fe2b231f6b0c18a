//! How a rule answers: the rule, the reason, the object, and what to do.

use crate::api::Reason;
use crate::api::policy::Mode;
use kube::core::DynamicObject;
use kube::core::admission::{AdmissionRequest, AdmissionResponse};

type Request = AdmissionRequest<DynamicObject>;

/// Lets the request through.
pub fn admit(request: &Request) -> AdmissionResponse {
    AdmissionResponse::from(request)
}

/// Refuses as invalid input.
pub fn deny(request: &Request, rule: &str, reason: Reason, message: &str) -> AdmissionResponse {
    deny_as(request, rule, reason, message, 422)
}

/// Why a spec that the CRD lets pass is none here: what the decoder says of it, which is no secret.
pub fn not_understood(error: &dyn std::error::Error, kind: &str) -> String {
    let why = error.source().map_or_else(|| error.to_string(), ToString::to_string);
    let why: String = why.chars().take(256).collect();
    format!("the spec cannot be understood ({why}): see kubectl explain {kind}.spec")
}

/// Refuses with a status code.
pub fn deny_as(request: &Request, rule: &str, reason: Reason, message: &str, code: u16) -> AdmissionResponse {
    let mut response = AdmissionResponse::from(request).deny(text(request, rule, reason, message));
    response.result.code = code;
    response.result.reason = reason.as_str().to_owned();
    response
}

/// Lets the request through with a warning that kubectl prints. The API server cuts warnings at 256 characters or so.
pub fn warn(request: &Request, rule: &str, reason: Reason, message: &str) -> AdmissionResponse {
    let mut response = AdmissionResponse::from(request);
    response.warnings = Some(vec![text(request, rule, reason, message)]);
    response.result.reason = reason.as_str().to_owned();
    response
}

/// Lets the request through and notes why it should not have been, in the API server's audit log and in a metric.
fn record(request: &Request, rule: &str, reason: Reason, message: &str) -> AdmissionResponse {
    let mut response = AdmissionResponse::from(request);
    response.audit_annotations.insert(VIOLATION.to_owned(), text(request, rule, reason, message));
    response.result.reason = reason.as_str().to_owned();
    response
}

/// The key of a violation in the audit log, after the name of the webhook's entry.
const VIOLATION: &str = "violation";

/// Answers a breach as the policies say.
pub fn answer_by(mode: Mode, request: &Request, rule: &str, reason: Reason, message: &str) -> AdmissionResponse {
    match mode {
        Mode::Enforce => deny_as(request, rule, reason, message, 403),
        Mode::Warn => warn(request, rule, reason, message),
        Mode::Audit => record(request, rule, reason, message),
    }
}

/// What was breached, and how that was answered.
pub fn breach(response: &AdmissionResponse) -> Option<(&str, Mode)> {
    let reason = Some(response.result.reason.as_str()).filter(|reason| !reason.is_empty())?;
    let answer = match (response.allowed, &response.warnings) {
        (false, _) => Mode::Enforce,
        (true, Some(_)) => Mode::Warn,
        (true, None) => Mode::Audit,
    };
    Some((reason, answer))
}

/// The name of what is reviewed. The request has none where the API server is yet to make one (generateName), and for each
/// object of a deletecollection.
pub fn name_of(request: &Request) -> &str {
    let objects = [&request.object, &request.old_object].into_iter().flatten();
    let given = objects.map(|object| object.metadata.name.as_deref().or(object.metadata.generate_name.as_deref()));
    let named = [Some(request.name.as_str())].into_iter().chain(given).flatten();
    named.into_iter().find(|name| !name.is_empty()).unwrap_or_default()
}

fn text(request: &Request, rule: &str, reason: Reason, message: &str) -> String {
    let place = request.namespace.as_deref().filter(|n| !n.is_empty()).map(|n| format!("{n}/")).unwrap_or_default();
    format!("rule {rule}, {reason}: {} {place}{}: {message}", request.kind.kind, name_of(request))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::review::decode;
    use crate::admission::review::tests::review_of;
    use serde_json::Value;

    fn request(change: impl FnOnce(&mut Value)) -> Request {
        let mut review = review_of("scopedsecrets.io", "ScopedSecret");
        change(&mut review["request"]);
        decode(review.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn a_breach_is_answered_by_the_mode_and_told_in_each() {
        let request = request(|_| ());
        for (mode, allowed) in [(Mode::Enforce, false), (Mode::Warn, true), (Mode::Audit, true)] {
            let response = answer_by(mode, &request, "Copies", Reason::ValueCopied, "leave it out");
            assert_eq!((response.allowed, breach(&response)), (allowed, Some(("ValueCopied", mode))));
            let warned = response.warnings.clone().unwrap_or_default();
            let noted = response.audit_annotations.get(VIOLATION).cloned();
            let told = [response.result.message.clone()].into_iter().chain(warned).chain(noted);
            let told: Vec<_> = told.filter(|text| !text.is_empty()).collect();
            assert_eq!(told, ["rule Copies, ValueCopied: ScopedSecret payments-prod/orders: leave it out"]);
        }
        assert_eq!(breach(&admit(&request)), None);
    }

    #[test]
    fn what_has_no_name_yet_is_called_by_what_it_has() {
        let name = |change: fn(&mut Value)| name_of(&request(change)).to_owned();
        assert_eq!(name(|_| ()), "orders");
        assert_eq!(
            name(|r| {
                r["name"] = "".into();
                r["object"]["metadata"] = serde_json::json!({"generateName": "made-"});
            }),
            "made-"
        );
        let deleted = |r: &mut Value| {
            r["name"] = "".into();
            r["oldObject"] = r["object"].take();
        };
        assert_eq!(name(deleted), "orders", "one of a deletecollection");
    }
}
