//! How a rule answers: the rule, the reason, the object, and what to do.

use crate::api::Reason;
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
    response
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
