//! Every span, and so all that a trace can ever say: names and outcomes of what the operator does, and which ScopedSecret it was
//! for. No key's name, no value; an error's text is not there either, since it may quote a name.

use http::HeaderMap;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry_http::HeaderExtractor;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing::field::Empty;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// The target of the spans: they go to the collector alone, and what else is logged never does.
pub const TARGET: &str = "scoped_secrets::spans";

/// One reconcile of a ScopedSecret.
pub fn reconcile(namespace: &str, name: &str) -> Span {
    tracing::info_span!(target: TARGET, "reconcile", k8s.namespace.name = namespace, scopedsecret.name = name, outcome = Empty)
}

/// One call to a secrets manager, which is named as the manager names it.
pub fn call(operation: &'static str, keys: usize) -> Span {
    tracing::info_span!(
        target: TARGET, "call", otel.name = operation, otel.kind = "client", keys, outcome = Empty, otel.status_code = Empty
    )
}

/// One admission review. It belongs to the API server's trace, if that has one.
pub fn review(rule: &'static str, asked: &HeaderMap) -> Span {
    let span = tracing::info_span!(target: TARGET, "review", otel.kind = "server", rule, outcome = Empty);
    if !span.is_disabled() && asked.contains_key("traceparent") {
        // A span without a parent is a trace of its own.
        let _ = span.set_parent(TraceContextPropagator::new().extract(&HeaderExtractor(asked)));
    }
    span
}

/// How it ended, in a word: a reason of the registry, or `Skipped`, `Refused`.
pub fn ended(span: &Span, outcome: &'static str) {
    span.record("outcome", outcome);
}

/// Likewise of a call: `Ok`, or why it failed.
pub fn answered(span: &Span, outcome: &'static str) {
    ended(span, outcome);
    if outcome != "Ok" {
        span.record("otel.status_code", "ERROR");
    }
}
