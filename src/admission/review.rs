//! From a request's bytes to a rule's answer. Fails closed: whatever cannot be understood is not allowed.

use super::answer::{breach, deny_as};
use super::health::Gate;
use super::lanes::{Lanes, Refusal};
use super::tls::CertificateCell;
use super::unread::Unread;
use crate::api::Reason;
use crate::api::policy::Mode;
use crate::client::readable::Readable;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::traces::spans;
use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::Bytes;
use kube::core::DynamicObject;
use kube::core::admission::{AdmissionRequest, AdmissionResponse, META_API_VERSION_V1, META_KIND};
use kube::core::metadata::TypeMeta;
use serde::Deserialize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

/// A rule that is asked at admission: pure over an index in memory, no I/O, well under a millisecond.
pub trait Review: Send + Sync {
    /// Allows or denies. The uid of the answer is filled in by the caller.
    fn review(&self, request: &AdmissionRequest<DynamicObject>) -> AdmissionResponse;

    /// Whether what could not be read is refused by an answer: where the rule follows the mode, only where it is enforced. Else the
    /// entry's failurePolicy decides.
    fn refuses_unread(&self, unread: &Unread<'_>) -> bool;
}

/// Which requests go to which rule.
#[derive(Clone)]
pub struct Route {
    /// The path of the URL, as in the webhook configuration.
    pub path: &'static str,
    /// The rule's name, for metrics.
    pub rule: &'static str,
    /// Group and kind of what it reviews.
    pub kinds: &'static [(&'static str, &'static str)],
    /// The rule.
    pub review: Arc<dyn Review>,
}

/// Whether an update leaves the spec as it is: it can break nothing, whatever else it is for.
pub(super) fn spec_is_unchanged(request: &AdmissionRequest<DynamicObject>) -> bool {
    let spec = |o: &Option<DynamicObject>| o.as_ref().and_then(|o| o.data.get("spec").cloned());
    request.old_object.is_some() && spec(&request.object) == spec(&request.old_object)
}

/// Bytes of a request's body. etcd takes objects of 1.5 MiB, and the API server writes `<`, `>`, `&` and control characters as six
/// bytes each: an update carries the object and its old self.
pub const BODY_LIMIT: usize = 19 * 1024 * 1024;

/// Why a body is no review.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// It is not JSON, or lacks a required field. The text of the error is left out: it quotes the body.
    #[error("not an AdmissionReview: error at line {line}, column {column}")]
    Malformed {
        /// Line of the body, from 1.
        line: usize,
        /// Column of the line.
        column: usize,
    },
    /// It is of another kind.
    #[error("not an AdmissionReview of admission.k8s.io/v1; send exactly that kind")]
    Kind,
    /// It has no request in it.
    #[error("the AdmissionReview has no request")]
    Empty,
    /// Its uid is missing or far too long.
    #[error("the AdmissionReview's uid must have 1 to 128 characters")]
    Uid,
}

/// Reads a review, whatever somebody wrote into its object ([`crate::client`]). Never panics; the error holds nothing of the body.
pub fn decode(body: &[u8]) -> Result<AdmissionRequest<DynamicObject>, DecodeError> {
    read(body).or_else(|error| match error {
        DecodeError::Malformed { .. } => {
            read(&Readable::default().feed(Bytes::copy_from_slice(body))).map_err(|_| error)
        }
        error => Err(error),
    })
}

fn read(body: &[u8]) -> Result<AdmissionRequest<DynamicObject>, DecodeError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Envelope<R> {
        api_version: String,
        kind: String,
        request: Option<R>,
    }
    let is_review = |kind: &str, version: &str| kind == META_KIND && version == META_API_VERSION_V1;
    let inner: Envelope<AdmissionRequest<DynamicObject>> = serde_json::from_slice(body).map_err(|error| {
        // Another kind need not have the fields of this one.
        match serde_json::from_slice::<Envelope<serde::de::IgnoredAny>>(body) {
            Ok(other) if !is_review(&other.kind, &other.api_version) => DecodeError::Kind,
            _ => DecodeError::Malformed { line: error.line(), column: error.column() },
        }
    })?;
    if !is_review(&inner.kind, &inner.api_version) {
        return Err(DecodeError::Kind);
    }
    let mut request = inner.request.ok_or(DecodeError::Empty)?;
    if request.uid.is_empty() || request.uid.len() > 128 {
        return Err(DecodeError::Uid);
    }
    request.types = TypeMeta { api_version: inner.api_version, kind: inner.kind };
    Ok(request)
}

/// The rule's answer. One that panics denies; one for another kind is not asked.
pub fn answer(route: &Route, request: &AdmissionRequest<DynamicObject>) -> AdmissionResponse {
    let asked = (request.kind.group.as_str(), request.kind.kind.as_str());
    let mut response = if !route.kinds.contains(&asked) {
        let reviewed: Vec<String> = route.kinds.iter().map(|(group, kind)| format!("{kind}.{group}")).collect();
        AdmissionResponse::from(request).deny(format!(
            "this webhook reviews {}, not {}.{}; correct the ValidatingWebhookConfiguration",
            reviewed.join(", "),
            asked.1,
            asked.0
        ))
    } else {
        catch_unwind(AssertUnwindSafe(|| route.review.review(request))).unwrap_or_else(|_| {
            let text = "the operator failed while reviewing this request: try again; if it fails again, the platform team finds why in the operator's log";
            deny_as(request, route.rule, Reason::ReviewFailed, text, 403)
        })
    };
    response.uid.clone_from(&request.uid);
    response.types = request.types.clone();
    // kube leaves the code at 200 when it denies.
    if !response.allowed && response.result.code < 400 {
        response.result.code = 403;
    }
    response
}

/// The routes of the admission server, each behind a door that only the API server knows. Before `caches` is open nothing is judged: what
/// was not seen yet would read as what is not there.
pub fn router(routes: Vec<Route>, doors: Arc<CertificateCell>, caches: &Gate, metrics: Arc<Metrics>) -> Router {
    let lanes = Arc::new(Lanes::default());
    routes.into_iter().fold(Router::new(), |router, route| {
        let (lanes, doors, caches, metrics) = (lanes.clone(), doors.clone(), caches.clone(), metrics.clone());
        let path = format!("/{{door}}{}", route.path);
        let handler = move |Path(door): Path<String>, headers: HeaderMap, body: Body| async move {
            if !doors.opens(&door, Instant::now()) {
                return StatusCode::NOT_FOUND.into_response();
            }
            let received = match lanes.receive(body).await {
                Ok(received) => received,
                Err(refusal) => return turned_away(&route, &refusal, &metrics),
            };
            // What it waits for others counts.
            let start = Instant::now();
            let (its, measures) = (route.clone(), metrics.clone());
            let knows = caches.is_open();
            let answered = lanes.work(received, move |body| match knows {
                true => respond(&its, body, &headers, &measures, start),
                false => unprepared(&its, body, &measures),
            });
            let answered = answered.await;
            answered.unwrap_or_else(|refusal| turned_away(&route, &refusal, &metrics))
        };
        router.route(&path, post(handler))
    })
}

fn respond(route: &Route, body: &[u8], headers: &HeaderMap, metrics: &Metrics, start: Instant) -> Response {
    let span = spans::review(route.rule, headers);
    let _within = span.enter();
    let request = match decode(body) {
        Ok(request) => request,
        Err(error) => return undecoded(route, body, &error, metrics),
    };
    let response = answer(route, &request);
    metrics.reviewed(route.rule, response.allowed, start.elapsed());
    spans::ended(&span, if response.allowed { "Allowed" } else { "Refused" });
    // Nothing comes of a dry run, such as the one by which `check` knocks.
    if let Some((reason, answer)) = breach(&response).filter(|_| !request.dry_run) {
        metrics.breached(route.rule, reason, answer.as_str());
    }
    tracing::debug!(rule = route.rule, allowed = response.allowed, uid = %request.uid, "reviewed");
    sent(response)
}

fn sent(response: AdmissionResponse) -> Response {
    match serde_json::to_vec(&response.into_review()) {
        Ok(json) => ([(header::CONTENT_TYPE, "application/json")], json).into_response(),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal error\n").into_response(),
    }
}

/// What cannot be decoded.
fn undecoded(route: &Route, body: &[u8], error: &DecodeError, metrics: &Metrics) -> Response {
    let text = "the operator cannot read this request: leave managedFields out, and what is nested very deep";
    let of_a_form = matches!(error, DecodeError::Malformed { .. });
    let denial = if of_a_form { unread(route, body, text, metrics) } else { None };
    denial.unwrap_or_else(|| (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response())
}

/// What comes before this replica has seen the cluster.
fn unprepared(route: &Route, body: &[u8], metrics: &Metrics) -> Response {
    let text =
        "the operator has just started, and has not read yet what there is in the cluster: try again in a few seconds";
    let denial = unread(route, body, text, metrics);
    denial.unwrap_or_else(|| (StatusCode::SERVICE_UNAVAILABLE, format!("{text}\n")).into_response())
}

/// What there was no room or no time for.
fn turned_away(route: &Route, refusal: &Refusal, metrics: &Metrics) -> Response {
    let denial = unread(route, &refusal.head, &format!("this request was not reviewed, {}", refusal.text), metrics);
    denial.unwrap_or_else(|| (refusal.status, format!("{}\n", refusal.text)).into_response())
}

/// A denial of what was not read, where its rule refuses that, and its beginning says which request it is.
fn unread(route: &Route, body: &[u8], text: &str, metrics: &Metrics) -> Option<Response> {
    let unread = Unread::begin(body).filter(|unread| route.review.refuses_unread(unread))?;
    metrics.breached(route.rule, Reason::ReviewFailed.as_str(), Mode::Enforce.as_str());
    Some(sent(unread.deny(route.rule, text)))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use serde_json::{Value, json};

    pub(in super::super) fn review_of(group: &str, kind: &str) -> Value {
        json!({
            "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "request": {
                "uid": "7f0b", "operation": "CREATE", "name": "orders", "namespace": "payments-prod", "dryRun": false,
                "kind": {"group": group, "version": "v1alpha1", "kind": kind},
                "resource": {"group": group, "version": "v1alpha1", "resource": "things"},
                "userInfo": {"username": "ada", "groups": ["system:authenticated"]},
                "object": {"apiVersion": format!("{group}/v1alpha1"), "kind": kind, "metadata": {"name": "orders"}, "spec": {}},
                "oldObject": null, "options": null
            }
        })
    }

    struct Panics;
    impl Review for Panics {
        fn review(&self, _: &AdmissionRequest<DynamicObject>) -> AdmissionResponse {
            panic!("a bug")
        }

        fn refuses_unread(&self, _: &Unread<'_>) -> bool {
            true
        }
    }

    /// A rule that nobody enforces.
    pub(in super::super) struct TriedOut;
    impl Review for TriedOut {
        fn review(&self, request: &AdmissionRequest<DynamicObject>) -> AdmissionResponse {
            AdmissionResponse::from(request)
        }

        fn refuses_unread(&self, _: &Unread<'_>) -> bool {
            false
        }
    }

    pub(in super::super) fn route(review: Arc<dyn Review>) -> Route {
        Route { path: "/r", rule: "Claims", kinds: &[("scopedsecrets.io", "ScopedSecret")], review }
    }

    #[test]
    fn what_is_no_review_is_told_so_without_quoting_it() {
        let with = |path: &str, value: Value| {
            let mut review = review_of("scopedsecrets.io", "ScopedSecret");
            *review.pointer_mut(path).unwrap() = value;
            review.to_string()
        };
        let deep = "[".repeat(100_000);
        for (what, body) in [
            ("nothing", String::new()),
            ("text", "canary".into()),
            ("another type", r#"{"apiVersion": 1, "kind": "canary"}"#.into()),
            ("a list", "[]".into()),
            ("deep", deep),
            ("cut off", review_of("g", "canary").to_string()[..90].into()),
            ("another kind", with("/kind", "ConversionReview".into())),
            ("another version", with("/apiVersion", "admission.k8s.io/v1beta1".into())),
            ("no request", with("/request", Value::Null)),
            ("no uid", with("/request/uid", "".into())),
            ("a long uid", with("/request/uid", "canary".repeat(100).into())),
            ("an unknown operation", with("/request/operation", "canary".into())),
            ("an object that is none", with("/request/object", "canary".into())),
        ] {
            let error = decode(body.as_bytes()).expect_err(what).to_string();
            assert!(!error.contains("canary"), "{what}: {error}");
        }
        assert!(decode(&[0xff, 0xfe, 0]).is_err());
    }

    #[test]
    fn whatever_somebody_wrote_into_an_object_it_is_read() {
        let mut review = review_of("scopedsecrets.io", "ScopedSecret");
        let deep = (0..1_000).fold(json!({}), |inner, _| json!({ "f:a": inner }));
        let entry = json!({"manager": "m", "time": "9999-12-31T23:59:59Z", "fieldsV1": deep});
        review["request"]["object"]["metadata"]["managedFields"] = json!([entry]);
        let object = decode(review.to_string().as_bytes()).unwrap().object.unwrap();
        assert_eq!(object.metadata.name.as_deref(), Some("orders"));
    }

    #[test]
    fn what_cannot_be_decoded_is_denied_by_its_uid() {
        let body = |uid: &str| {
            format!("{{\"kind\":\"AdmissionReview\",\"request\":{{\"uid\":\"{uid}\",\"object\":{{\"a\":1e999}}}}}}")
        };
        let answer = |body: &str| {
            let error = decode(body.as_bytes()).unwrap_err();
            undecoded(&route(Arc::new(Panics)), body.as_bytes(), &error, &Metrics::default())
        };
        assert_eq!(answer(&body("7f0b-1")).status(), StatusCode::OK);
        assert_eq!(answer(&body("")).status(), StatusCode::BAD_REQUEST);
        let busy = |head: &str| Refusal {
            status: StatusCode::SERVICE_UNAVAILABLE,
            text: "too much",
            head: head.as_bytes().to_vec(),
        };
        let turned = |review: Arc<dyn Review>, head: &str| {
            turned_away(&route(review), &busy(head), &Metrics::default()).status()
        };
        let head = &body("7f0b-1")[..60];
        assert_eq!(turned(Arc::new(Panics), head), StatusCode::OK);
        assert_eq!(turned(Arc::new(Panics), ""), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(turned(Arc::new(TriedOut), head), StatusCode::SERVICE_UNAVAILABLE, "the entry lets it pass");
    }

    #[tokio::test]
    async fn nothing_is_judged_before_the_cluster_was_seen() {
        let cell = Arc::new(CertificateCell::default());
        let door = "0123456789abcdef".repeat(2);
        let configuration = json!({"metadata": {"annotations": {crate::api::DOOR_ANNOTATION: door}}});
        cell.see(Some(&serde_json::from_value(configuration).unwrap()), Instant::now());
        let caches = crate::admission::health::Readiness::default().gate("caches");
        let ask = |review: Arc<dyn Review>| {
            let app = super::router(vec![route(review)], cell.clone(), &caches, Arc::default());
            let body = review_of("scopedsecrets.io", "ScopedSecret").to_string();
            // As the API server writes it: the uid comes first.
            let body = body.replace("\"request\":{", "\"request\":{\"uid\":\"7f0b\",").replace(",\"uid\":\"7f0b\"", "");
            let request = axum::http::Request::post(format!("/{door}/r")).body(Body::from(body)).unwrap();
            async move {
                let answer = tower::ServiceExt::oneshot(app, request).await.unwrap();
                let status = answer.status();
                let body = axum::body::to_bytes(answer.into_body(), 1 << 16).await.unwrap();
                (status, String::from_utf8(body.to_vec()).unwrap())
            }
        };
        let (status, told) = ask(Arc::new(Panics)).await;
        assert!(status == StatusCode::OK && told.contains("ReviewFailed") && told.contains("just started"), "{told}");
        assert_eq!(
            ask(Arc::new(TriedOut)).await.0,
            StatusCode::SERVICE_UNAVAILABLE,
            "the entry says what becomes of it"
        );
        caches.set(true);
        let (status, told) = ask(Arc::new(TriedOut)).await;
        assert!(status == StatusCode::OK && told.contains("\"allowed\":true"), "{told}");
    }

    #[test]
    fn deletions_have_no_object() {
        let mut review = review_of("scopedsecrets.io", "SegmentationPolicy");
        let object = review["request"]["object"].take();
        review["request"]["oldObject"] = object;
        review["request"]["operation"] = "DELETE".into();
        let request = decode(review.to_string().as_bytes()).unwrap();
        assert!(request.object.is_none() && request.old_object.is_some());
    }

    #[test]
    fn a_rule_that_panics_or_is_not_meant_denies() {
        for kind in ["ScopedSecret", "SegmentationPolicy"] {
            let request = decode(review_of("scopedsecrets.io", kind).to_string().as_bytes()).unwrap();
            let response = answer(&route(Arc::new(Panics)), &request);
            assert!(!response.allowed);
            assert_eq!((response.uid.as_str(), response.result.code), ("7f0b", 403));
            let json = serde_json::to_value(response.into_review()).unwrap();
            assert_eq!(json["kind"], "AdmissionReview");
            assert_eq!(json["apiVersion"], "admission.k8s.io/v1");
        }
    }
}
