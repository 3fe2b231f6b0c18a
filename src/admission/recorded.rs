//! Denials, and breaches that are let through, go into the record, whichever replica reviewed. Handing them over takes no I/O.

use super::answer::{breach, name_of};
use super::review::{Review, Route};
use super::unread::Unread;
use crate::api::Reason;
use crate::api::policy::Mode;
use crate::controller::context::Context;
use crate::telemetry::record::{Happening, What};
use kube::core::DynamicObject;
use kube::core::admission::{AdmissionRequest, AdmissionResponse, Operation};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

struct Recording {
    rule: &'static str,
    review: Arc<dyn Review>,
    cx: Arc<Context>,
}

impl Review for Recording {
    fn review(&self, request: &AdmissionRequest<DynamicObject>) -> AdmissionResponse {
        let reviewed = catch_unwind(AssertUnwindSafe(|| self.review.review(request)));
        let happening = match &reviewed {
            Ok(response) => happening(self.rule, request, response),
            Err(_) => Some(told(self.rule, request, What::Denied, Mode::Enforce).reason(Reason::ReviewFailed)),
        };
        if let Some(happening) = happening {
            self.cx.record.deny(self.cx.now(), happening);
        }
        reviewed.unwrap_or_else(|panic| resume_unwind(panic))
    }

    fn refuses_unread(&self, unread: &Unread<'_>) -> bool {
        let refused = self.review.refuses_unread(unread);
        if refused {
            self.cx.record.deny(self.cx.now(), unread.told(self.rule));
        }
        refused
    }
}

/// What the record says of a request; None: nothing was wrong with it, or it came to nothing.
fn happening(
    rule: &'static str,
    request: &AdmissionRequest<DynamicObject>,
    response: &AdmissionResponse,
) -> Option<Happening> {
    let (reason, answer) = breach(response)?;
    let what = match answer {
        Mode::Enforce => What::Denied,
        Mode::Warn | Mode::Audit if request.dry_run => return None,
        Mode::Warn | Mode::Audit => What::LetThrough,
    };
    let told = told(rule, request, what, answer);
    Some(Reason::from_text(reason).into_iter().fold(told, Happening::reason))
}

fn told(rule: &'static str, request: &AdmissionRequest<DynamicObject>, what: What, answer: Mode) -> Happening {
    let mut told = Happening::of(what).cluster(&request.kind.kind, name_of(request)).rule(rule).answered(answer);
    if let Some(namespace) = request.namespace.as_deref().filter(|namespace| !namespace.is_empty()) {
        told = told.in_namespace(namespace);
    }
    if let Some(user) = &request.user_info.username {
        told = told.by(user);
    }
    told.asked(
        match request.operation {
            Operation::Create => "CREATE",
            Operation::Update => "UPDATE",
            Operation::Delete => "DELETE",
            Operation::Connect => "CONNECT",
        },
        request.dry_run,
    )
}

/// The same routes, of whose answers the record has what was refused or should have been.
pub fn recorded(routes: Vec<Route>, cx: &Arc<Context>) -> Vec<Route> {
    let records = |route: Route| {
        let review = Arc::new(Recording { rule: route.rule, review: route.review, cx: cx.clone() });
        Route { review, ..route }
    };
    routes.into_iter().map(records).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::answer::{admit, answer_by};
    use crate::admission::review::decode;
    use crate::admission::review::tests::review_of;
    use serde_json::Value;

    fn request(change: impl FnOnce(&mut Value)) -> AdmissionRequest<DynamicObject> {
        let mut review = review_of("scopedsecrets.io", "ScopedSecret");
        change(&mut review["request"]);
        decode(review.to_string().as_bytes()).unwrap()
    }

    fn line(change: impl FnOnce(&mut Value), mode: Mode) -> Option<Value> {
        let request = request(change);
        let response = answer_by(mode, &request, "Claims", Reason::KeyNotAllowed, "the canary stays here");
        happening("Claims", &request, &response).map(|told| serde_json::to_value(told).unwrap())
    }

    #[test]
    fn a_denial_names_who_asked_what_of_which_object_and_no_message() {
        let told = line(|_| (), Mode::Enforce).unwrap();
        assert_eq!(
            told,
            serde_json::json!({
                "what": "Denied", "by": "ada", "operation": "CREATE", "kind": "ScopedSecret", "namespace": "payments-prod",
                "name": "orders", "rule": "Claims", "reason": "KeyNotAllowed", "answer": "Enforce"
            })
        );
        let dry = line(|r| r["dryRun"] = true.into(), Mode::Enforce).unwrap();
        assert_eq!(dry["dryRun"], true);
        let cluster = line(|r| r["namespace"] = "".into(), Mode::Enforce).unwrap();
        assert!(cluster.get("namespace").is_none(), "{cluster}");
    }

    #[test]
    fn what_is_let_through_is_told_unless_it_comes_to_nothing() {
        for (mode, answer) in [(Mode::Warn, "Warn"), (Mode::Audit, "Audit")] {
            let told = line(|_| (), mode).unwrap();
            assert_eq!((&told["what"], &told["answer"]), (&"LetThrough".into(), &answer.into()));
            assert!(line(|r| r["dryRun"] = true.into(), mode).is_none());
        }
        let plain = request(|_| ());
        assert!(happening("Claims", &plain, &admit(&plain)).is_none());
    }
}
