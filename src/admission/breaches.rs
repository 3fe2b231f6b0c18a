//! Breaches become events of the object, so that its owners see them: those that are let through (mode Warn or Audit,
//! `reportOnly`, an exception), and those that are refused, since who asked may be a controller. The review only hands them over: whoever
//! breaks a rule a thousand times a second waits for no event, and gets no thousand.

use super::answer::{breach, name_of};
use super::review::{Review, Route};
use super::unread::Unread;
use crate::api::policy::Mode;
use crate::controller::context::Context;
use crate::controller::events::{self, Told};
use crate::segmentation::violation::ObjectRef;
use kube::core::DynamicObject;
use kube::core::admission::{AdmissionRequest, AdmissionResponse};
use kube::runtime::events::EventType;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// So many wait to be told; what comes beyond shows in the metric and the audit log alone.
const WAITING: usize = 256;
/// The time between two events.
const PACE: Duration = Duration::from_millis(200);

/// What was told of an object is not told again for so long: a controller asks again and again.
const AGAIN: Duration = Duration::from_secs(600);

/// A breach of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breach {
    object: ObjectRef,
    uid: Option<String>,
    reason: String,
    message: String,
}

struct Telling {
    review: Arc<dyn Review>,
    breaches: mpsc::Sender<Breach>,
}

impl Review for Telling {
    fn review(&self, request: &AdmissionRequest<DynamicObject>) -> AdmissionResponse {
        let response = self.review.review(request);
        if let Some(breach) = broken(request, &response) {
            let _ = self.breaches.try_send(breach);
        }
        response
    }

    fn refuses_unread(&self, unread: &Unread<'_>) -> bool {
        self.review.refuses_unread(unread)
    }
}

fn broken(request: &AdmissionRequest<DynamicObject>, response: &AdmissionResponse) -> Option<Breach> {
    let (reason, answer) = breach(response)?;
    // Nothing comes of a dry run.
    if request.dry_run {
        return None;
    }
    let name = Some(name_of(request)).filter(|name| !name.ends_with('-'))?.to_owned();
    let namespace = request.namespace.as_deref().filter(|namespace| !namespace.is_empty());
    let kind = &request.kind;
    let group = Some(&kind.group).filter(|group| !group.is_empty());
    let object = ObjectRef {
        api_version: group.map_or_else(|| kind.version.clone(), |group| format!("{group}/{}", kind.version)),
        kind: kind.kind.clone(),
        namespace: namespace.map(Into::into),
        name,
    };
    // What is refused as it is made is never there.
    let made = request.object.as_ref().filter(|_| answer != Mode::Enforce);
    let uid = request.old_object.as_ref().or(made).and_then(|object| object.metadata.uid.clone());
    let told = match answer {
        Mode::Enforce => &response.result.message,
        _ => response.warnings.iter().flatten().chain(response.audit_annotations.values()).next()?,
    };
    // Whom a binding names may be another tenant, and more people read a namespace's events than its bindings: who asked was told
    // all of it.
    let told = match told.split_once(": ") {
        Some((rule, _)) if kind.group == "rbac.authorization.k8s.io" => {
            format!("{rule} (see docs/reasons/{reason}.md)")
        }
        _ => told.clone(),
    };
    let message = if answer == Mode::Enforce { format!("refused: {told}") } else { told };
    Some(Breach { object, uid, reason: reason.to_owned(), message })
}

/// The same routes, whose breaches are handed to the receiver for [`tell`].
pub fn told(routes: Vec<Route>) -> (Vec<Route>, mpsc::Receiver<Breach>) {
    let (breaches, receiver) = mpsc::channel(WAITING);
    let tells = |route: Route| {
        let review = Arc::new(Telling { review: route.review, breaches: breaches.clone() });
        Route { review, ..route }
    };
    (routes.into_iter().map(tells).collect(), receiver)
}

/// Writes the events, whichever replica reviewed.
pub async fn tell(cx: Arc<Context>, mut breaches: mpsc::Receiver<Breach>) {
    // Not by uid: one that is not made in the end has another each time.
    let mut told_at: HashMap<(ObjectRef, String, String), Instant> = HashMap::new();
    while let Some(breach) = breaches.recv().await {
        told_at.retain(|_, at| at.elapsed() < AGAIN);
        // The webhook sees writes of namespaces that are not served, where the operator may write nothing.
        let served = breach.object.namespace.as_deref().is_none_or(|namespace| cx.served.holds(namespace));
        let what = (breach.object.clone(), breach.reason.clone(), breach.message.clone());
        if !served || told_at.contains_key(&what) {
            continue;
        }
        told_at.insert(what, Instant::now());
        let told = Told {
            about: &breach.object,
            uid: breach.uid.as_deref(),
            type_: EventType::Warning,
            reason: &breach.reason,
            action: "Review",
            message: &breach.message,
        };
        events::publish(&cx, told).await;
        tokio::time::sleep(PACE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::answer::{admit, answer_by};
    use crate::admission::review::decode;
    use crate::admission::review::tests::{TriedOut, review_of, route};
    use crate::api::Reason;
    use serde_json::{Value, json};

    fn request(change: impl FnOnce(&mut Value)) -> AdmissionRequest<DynamicObject> {
        let mut review = review_of("external-secrets.io", "ExternalSecret");
        change(&mut review["request"]);
        decode(review.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn what_is_not_read_is_answered_as_its_rule_says() {
        let (routes, _) = super::told(vec![route(Arc::new(TriedOut))]);
        assert!(!routes[0].review.refuses_unread(&Unread::default()));
    }

    #[test]
    fn what_is_let_through_or_refused_is_told_of_the_object() {
        let audit = |request: &_| answer_by(Mode::Audit, request, "OtherOperators", Reason::KeyNotAllowed, "mend it");
        let plain = request(|_| ());
        let told = broken(&plain, &audit(&plain)).unwrap();
        assert_eq!(told.object.api_version, "external-secrets.io/v1alpha1");
        assert_eq!((told.object.namespace.as_deref(), &*told.object.name), (Some("payments-prod"), "orders"));
        assert_eq!(told.reason, "KeyNotAllowed");
        assert_eq!(told.message, "rule OtherOperators, KeyNotAllowed: ExternalSecret payments-prod/orders: mend it");
        let refused = answer_by(Mode::Enforce, &plain, "OtherOperators", Reason::KeyNotAllowed, "mend it");
        let told = broken(&plain, &refused).unwrap();
        assert_eq!(
            told.message,
            "refused: rule OtherOperators, KeyNotAllowed: ExternalSecret payments-prod/orders: mend it"
        );
        let rbac = request(|r| r["kind"]["group"] = "rbac.authorization.k8s.io".into());
        for (mode, says) in [
            (Mode::Enforce, "refused: rule Rbac, CrossSegmentAccess (see docs/reasons/CrossSegmentAccess.md)"),
            (Mode::Warn, "rule Rbac, CrossSegmentAccess (see docs/reasons/CrossSegmentAccess.md)"),
            (Mode::Audit, "rule Rbac, CrossSegmentAccess (see docs/reasons/CrossSegmentAccess.md)"),
        ] {
            let answer =
                answer_by(mode, &rbac, "Rbac", Reason::CrossSegmentAccess, "to ServiceAccount billing-prod/ci");
            assert_eq!(broken(&rbac, &answer).unwrap().message, says, "whom it names is not everybody's to read");
        }
        let core = request(|r| r["kind"]["group"] = "".into());
        assert_eq!(broken(&core, &audit(&core)).unwrap().object.api_version, "v1alpha1");
        let cluster = request(|r| r["namespace"] = "".into());
        assert_eq!(broken(&cluster, &audit(&cluster)).unwrap().object.namespace, None);
    }

    #[test]
    fn which_object_of_its_name_is_told_as_far_as_there_is_one() {
        let made = request(|r| r["object"]["metadata"]["uid"] = "new".into());
        let changed = request(|r| {
            r["oldObject"] = r["object"].clone();
            r["oldObject"]["metadata"]["uid"] = "old".into();
        });
        for (what, request, mode, expected) in [
            ("made and let through", &made, Mode::Warn, Some("new")),
            ("refused as it is made", &made, Mode::Enforce, None),
            ("changed and let through", &changed, Mode::Audit, Some("old")),
            ("a change is refused", &changed, Mode::Enforce, Some("old")),
        ] {
            let answer = answer_by(mode, request, "Copies", Reason::ValueCopied, "mend it");
            assert_eq!(broken(request, &answer).unwrap().uid.as_deref(), expected, "{what}");
        }
    }

    #[test]
    fn what_is_dry_or_nameless_is_not() {
        let audit = |request: &_| answer_by(Mode::Audit, request, "Copies", Reason::ValueCopied, "mend it");
        let plain = request(|_| ());
        assert!(broken(&plain, &admit(&plain)).is_none());
        let dry = request(|r| r["dryRun"] = true.into());
        assert!(broken(&dry, &audit(&dry)).is_none());
        let nameless = request(|r| {
            r["name"] = "".into();
            r["object"]["metadata"] = json!({"generateName": "made-"});
        });
        assert!(broken(&nameless, &audit(&nameless)).is_none());
    }
}
