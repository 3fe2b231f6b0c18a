//! OpenTelemetry traces, off by default: what the operator does, for a collector (OTLP over HTTP, protobuf). [`spans`] has all
//! that they say.
//!
//! Further settings are those of OpenTelemetry's specification: `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`,
//! `OTEL_TRACES_SAMPLER`, `OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_BSP_*`. The libraries read those;
//! `OTEL_SDK_DISABLED`, `OTEL_TRACES_EXPORTER` and `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` are read here.

mod send;
pub mod spans;

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use std::time::Duration;
use tokio::runtime::Handle;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Registry;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::Layer;

/// Whether and where traces go.
#[derive(Debug, Clone, clap::Args)]
pub struct TraceArgs {
    /// Where OpenTelemetry traces go: a collector's base URL for OTLP over HTTP, such as http://collector.monitoring:4318. Without
    /// it there are none, unless OTEL_EXPORTER_OTLP_TRACES_ENDPOINT says where. They hold no key's name and no value.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_parser = endpoint)]
    pub otlp_endpoint: Option<Endpoint>,
}

/// Where a collector takes traces, by its base URL; None in it: an empty text, which stands for none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint(Option<http::Uri>);

fn endpoint(text: &str) -> Result<Endpoint, String> {
    if text.is_empty() {
        return Ok(Endpoint(None));
    }
    let base = url(text).filter(|base| base.query().is_none());
    let whole: Option<http::Uri> =
        base.and_then(|base| format!("{}/v1/traces", base.to_string().trim_end_matches('/')).parse().ok());
    let wrong = "write http://HOST:PORT or https://HOST:PORT, with the path before /v1/traces if there is one";
    whole.map(|whole| Endpoint(Some(whole))).ok_or_else(|| wrong.to_owned())
}

/// One that can be sent to, without credentials in it.
fn url(text: &str) -> Option<http::Uri> {
    let uri: http::Uri = text.parse().ok()?;
    let known = matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|host| !host.is_empty());
    let bare = !uri.authority().is_some_and(|authority| authority.as_str().contains('@'));
    (known && bare).then_some(uri)
}

/// Where spans are sent, as OpenTelemetry's specification says it of its variables: two of them switch traces off, and an address
/// of the traces' own decides over the base URL, and is used as it is.
fn destination(args: &TraceArgs, variable: impl Fn(&str) -> Option<String>) -> Result<Option<http::Uri>, TraceError> {
    let is = |name: &str, word: &str| variable(name).is_some_and(|text| text.trim().eq_ignore_ascii_case(word));
    if is("OTEL_SDK_DISABLED", "true") || is("OTEL_TRACES_EXPORTER", "none") {
        return Ok(None);
    }
    match variable("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") {
        Some(own) if !own.is_empty() => url(&own).map(Some).ok_or(TraceError::Endpoint),
        _ => Ok(args.otlp_endpoint.as_ref().and_then(|endpoint| endpoint.0.clone())),
    }
}

/// What the spans go through to the collector, as a part of what is subscribed.
pub type Spans = Box<dyn Layer<Registry> + Send + Sync>;

/// Traces that are sent. Call [`end`](Self::end) while the runtime still runs.
#[derive(Debug)]
pub struct Traces(SdkTracerProvider);

/// Why traces cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The address of the traces' own is none. It is not repeated: it may have credentials.
    #[error(
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: write http://HOST:PORT/PATH or https://HOST:PORT/PATH, the whole address that takes traces"
    )]
    Endpoint,
    /// The roots of TLS cannot be read.
    #[error(
        "traces: the certificates that this machine trusts cannot be read: {0}; write an http:// endpoint, or install them"
    )]
    Roots(std::io::Error),
    /// One of OpenTelemetry's variables is wrong.
    #[error("traces: {0}; see the variables OTEL_EXPORTER_OTLP_*")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
}

/// How long one sending may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// For what is left to send when the operator ends.
const FAREWELL: Duration = Duration::from_secs(1);

impl Traces {
    /// Begins to send, if that is asked for; `instance` is the replica's name.
    pub fn begin(
        args: &TraceArgs,
        instance: Option<String>,
        runtime: &Handle,
    ) -> Result<Option<(Self, Spans)>, TraceError> {
        let Some(url) = destination(args, |name| std::env::var(name).ok())? else { return Ok(None) };
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(send::Sender::new(&url, TIMEOUT, runtime.clone()).map_err(TraceError::Roots)?)
            .with_endpoint(url.to_string())
            .with_timeout(TIMEOUT)
            .build()?;
        let instance = instance.map(|name| KeyValue::new("service.instance.id", name));
        let about = [KeyValue::new("service.version", env!("CARGO_PKG_VERSION"))].into_iter().chain(instance);
        let mut resource = Resource::builder().with_attributes(about);
        if std::env::var_os("OTEL_SERVICE_NAME").is_none() {
            resource = resource.with_service_name("scoped-secrets");
        }
        let provider =
            SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource.build()).build();
        let spans = layer(&provider);
        Ok(Some((Self(provider), spans)))
    }

    /// Sends what is left, for a moment.
    pub fn end(self) {
        // What is not sent by then is lost: a trace is no record.
        let _ = self.0.shutdown_with_timeout(FAREWELL);
    }
}

/// Our spans, and nothing that is logged in them; no places in the source, no threads.
fn layer(provider: &SdkTracerProvider) -> Spans {
    tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("scoped-secrets"))
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_tracked_inactivity(false)
        .with_filter(Targets::new().with_target(spans::TARGET, LevelFilter::INFO))
        .boxed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry_sdk::error::OTelSdkResult;
    use opentelemetry_sdk::trace::{SpanData, SpanExporter};
    use std::sync::{Arc, Mutex};
    use tracing_subscriber::layer::SubscriberExt;

    #[test]
    fn an_endpoint_is_a_base_url() {
        for good in ["http://collector:4318", "https://otlp.example.com/otlp", "http://127.0.0.1:1"] {
            assert!(endpoint(good).is_ok_and(|endpoint| endpoint.0.is_some()), "{good}");
        }
        assert_eq!(endpoint(""), Ok(Endpoint(None)), "the specification's word for: not set");
        for bad in ["collector:4318", "grpc://collector:4317", "http://", "http://a:b@c", "http://a/?token=b", "a b"] {
            let refusal = endpoint(bad).unwrap_err();
            assert!(refusal.contains("http://HOST:PORT") && !refusal.contains("token"), "{bad}: {refusal}");
        }
    }

    #[test]
    fn the_variables_of_the_specification_decide_where_traces_go() {
        const OWN: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
        let to = |general: &str, variables: &[(&str, &str)]| {
            let args = TraceArgs { otlp_endpoint: endpoint(general).ok() };
            let variable =
                |asked: &str| variables.iter().find(|(name, _)| *name == asked).map(|(_, value)| (*value).to_owned());
            destination(&args, variable).map(|to| to.map(|to| to.to_string())).map_err(|error| error.to_string())
        };
        let general = "http://general:4318";
        let whole = Some("http://general:4318/v1/traces");
        for (base, name, value, expected) in [
            (general, "", "", whole),
            ("http://general:4318/", "", "", whole),
            ("https://general/otlp/", "", "", Some("https://general/otlp/v1/traces")),
            ("", "", "", None),
            (general, "OTEL_SDK_DISABLED", "true", None),
            (general, "OTEL_SDK_DISABLED", "True", None),
            (general, "OTEL_SDK_DISABLED", "false", whole),
            (general, "OTEL_SDK_DISABLED", "1", whole),
            (general, "OTEL_SDK_DISABLED", "", whole),
            (general, "OTEL_TRACES_EXPORTER", "none", None),
            (general, "OTEL_TRACES_EXPORTER", "otlp", whole),
            (general, "OTEL_TRACES_EXPORTER", "", whole),
            (general, OWN, "http://[::1]:4318/custom/path", Some("http://[::1]:4318/custom/path")),
            ("", OWN, "http://own:4318/custom/path", Some("http://own:4318/custom/path")),
            ("", OWN, "https://own/traces/?of=us", Some("https://own/traces/?of=us")),
            (general, OWN, "http://own:4318", Some("http://own:4318/")),
            (general, OWN, "", whole),
        ] {
            assert_eq!(to(base, &[(name, value)]), Ok(expected.map(str::to_owned)), "{base:?} {name}={value}");
        }
        for bad in ["own:4318", "grpc://own:4317", "http://", "http://a:b@own", "o wn"] {
            let refusal = to(general, &[(OWN, bad)]).unwrap_err();
            assert!(refusal.starts_with(OWN) && !refusal.contains("own"), "{bad}: {refusal}");
            assert_eq!(to(general, &[(OWN, bad), ("OTEL_SDK_DISABLED", "true")]), Ok(None), "{bad}");
        }
    }

    #[derive(Debug, Clone, Default)]
    struct Kept(Arc<Mutex<Vec<SpanData>>>);

    impl SpanExporter for Kept {
        async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
            self.0.lock().unwrap().extend(batch);
            Ok(())
        }
    }

    #[test]
    fn a_trace_has_our_spans_and_nothing_that_is_logged() {
        let kept = Kept::default();
        let provider = SdkTracerProvider::builder().with_simple_exporter(kept.clone()).build();
        let subscriber = tracing_subscriber::registry().with(layer(&provider));
        tracing::subscriber::with_default(subscriber, || {
            let span = spans::reconcile("payments-prod", "orders");
            span.in_scope(|| {
                tracing::error!(key = "canary/key", "canary event");
                tracing::info_span!("theirs", canary = "field").in_scope(|| {
                    let call = spans::call("BatchGetSecretValue", 3);
                    spans::answered(&call, "Throttled");
                });
            });
            spans::ended(&span, "Ready");
            drop(span);
            let trace = "0af7651916cd43dd8448eb211c80319c";
            let mut asked = http::HeaderMap::new();
            let parent = format!("00-{trace}-b7ad6b7169203331-01");
            asked.insert("traceparent", parent.parse().unwrap());
            drop(spans::review("Claims", &asked));
            asked.insert("traceparent", "nonsense".parse().unwrap());
            drop(spans::review("Claims", &asked));
        });
        let all = kept.0.lock().unwrap();
        let names: Vec<&str> = all.iter().map(|span| &*span.name).collect();
        assert_eq!(names, ["BatchGetSecretValue", "reconcile", "review", "review"]);
        assert_eq!(all[0].parent_span_id, all[1].span_context.span_id());
        assert_eq!(all[2].span_context.trace_id().to_string(), "0af7651916cd43dd8448eb211c80319c");
        assert_ne!(all[3].span_context.trace_id(), all[2].span_context.trace_id());
        let of = |span: &SpanData| {
            let mut pairs: Vec<String> =
                span.attributes.iter().map(|pair| format!("{}={}", pair.key, pair.value)).collect();
            pairs.sort();
            pairs
        };
        assert_eq!(of(&all[0]), ["keys=3", "outcome=Throttled"]);
        assert_eq!(of(&all[1]), ["k8s.namespace.name=payments-prod", "outcome=Ready", "scopedsecret.name=orders"]);
        assert!(matches!(all[0].status, opentelemetry::trace::Status::Error { .. }));
        let text = format!("{all:?}");
        assert!(!text.contains("canary") && !text.contains("src/"), "{text}");
    }
}
