//! Logs, with a lid: whatever level is asked for, no other crate can print a body or a credential.
//!
//! At debug and trace, HTTP and AWS crates print requests, responses and frames; kube-client prints the whole body of an
//! answer that it cannot decode, at *warn*. So the user's filter is joined (and) with a fixed one: our own crate may
//! say everything (its types that hold values have no `Debug`), all others start at info, kube-client at error.
//!
//! The record of what happened ([`super::record`]) passes by all of that, in lines of its own making: no level turns it off.

use super::record::line::TARGET;
use super::traces::{Spans, spans};
use jiff::Timestamp;
use std::fmt;
use std::io::{IsTerminal, Write};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::{EnvFilter, FilterExt, ParseError, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

/// How and how much the operator logs.
#[derive(Debug, Clone, clap::Args)]
pub struct LogArgs {
    /// Form of the log lines on standard error: text for people, json for collectors.
    #[arg(long, env = "SCOPED_SECRETS_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// What to log: off, error, warn, info, debug or trace, or directives such as "info,scoped_secrets::admission=debug".
    /// Other crates never log below info, whatever stands here, because some of them would print request bodies. The record
    /// of what happened (target scoped_secrets::record) is always written.
    #[arg(long, env = "SCOPED_SECRETS_LOG_LEVEL", default_value = "info", value_parser = check_level)]
    pub log_level: String,
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// One readable line an event.
    Text,
    /// One JSON object an event.
    Json,
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Json => "json",
        })
    }
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The level is not a filter.
    #[error("--log-level: {0}; write for example info, or info,scoped_secrets=debug")]
    Level(#[from] ParseError),
    /// Something else set up logging before.
    #[error("logging is set up already: {0}")]
    Twice(#[from] TryInitError),
}

/// Sets up logging, traces if there are to be some, and the panic hook for the whole process, once.
pub fn init(args: &LogArgs, traces: Option<Spans>) -> Result<(), LogError> {
    subscriber(args, std::io::stderr, std::io::stderr().is_terminal(), traces)?.try_init()?;
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "panic: {}", harmless(panic.payload()));
    }));
    Ok(())
}

/// Sets up logging alone, with the lines going elsewhere.
pub fn init_to<W>(args: &LogArgs, writer: W, ansi: bool) -> Result<(), LogError>
where
    W: for<'w> MakeWriter<'w> + Clone + Send + Sync + 'static,
{
    subscriber(args, writer, ansi, None)?.try_init()?;
    Ok(())
}

/// A panic's message if it is a literal. A formatted one may hold anything (such as the value that was not expected).
fn harmless(payload: &(dyn std::any::Any + Send)) -> &'static str {
    payload.downcast_ref::<&'static str>().copied().unwrap_or("(its message is withheld, it may hold a value)")
}

/// The most that each crate may ever say.
fn lid() -> Targets {
    Targets::new()
        .with_default(LevelFilter::INFO)
        .with_target("kube_client", LevelFilter::ERROR)
        .with_target("scoped_secrets", LevelFilter::TRACE)
        .with_target(TARGET, LevelFilter::OFF)
        .with_target(spans::TARGET, LevelFilter::OFF)
}

/// Writes the lines of the record as they are; in text, after a time, a level and the target, as every line has them.
struct RecordLines<W> {
    writer: W,
    format: LogFormat,
}

struct Line(String);

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "line" {
            self.0.push_str(value);
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}

impl<S: Subscriber, W: for<'w> MakeWriter<'w> + 'static> Layer<S> for RecordLines<W> {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut line = Line(match self.format {
            LogFormat::Text => format!("{:.6}  INFO {TARGET}: ", Timestamp::now()),
            LogFormat::Json => String::new(),
        });
        event.record(&mut line);
        line.0.push('\n');
        // If the log is gone, so is the line: its number is missing then.
        let _ = self.writer.make_writer().write_all(line.0.as_bytes());
    }
}

fn subscriber<W>(
    args: &LogArgs,
    writer: W,
    ansi: bool,
    traces: Option<Spans>,
) -> Result<impl Subscriber + Send + Sync + use<W>, LogError>
where
    W: for<'w> MakeWriter<'w> + Clone + Send + Sync + 'static,
{
    let filter = EnvFilter::builder().parse(&args.log_level)?.and(lid());
    let record = RecordLines { writer: writer.clone(), format: args.log_format };
    let record = record.with_filter(Targets::new().with_target(TARGET, LevelFilter::INFO));
    let lines =
        tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(ansi && args.log_format == LogFormat::Text);
    let lines = match args.log_format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    Ok(tracing_subscriber::registry().with(traces).with(lines.with_filter(filter)).with(record))
}

/// A word alone is a level here. The parser takes any other one for a target, and turns all the rest off.
fn check_level(text: &str) -> Result<String, String> {
    EnvFilter::builder().parse(text).map_err(|error| error.to_string())?;
    let is_no_level =
        |part: &&str| part.is_empty() || (!part.contains(['=', '[', ']']) && part.parse::<LevelFilter>().is_err());
    match text.split(',').map(str::trim).find(is_no_level) {
        None => Ok(text.to_owned()),
        Some(word) => Err(format!(
            "{word:?} is no level: write off, error, warn, info, debug or trace, and TARGET=LEVEL for a part of it, such as info,scoped_secrets::admission=debug"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Sink {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(line);
            Ok(line.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(level: &str, log_format: LogFormat) -> String {
        let sink = Sink::default();
        let writer = sink.clone();
        let args = LogArgs { log_format, log_level: level.to_owned() };
        let subscriber = subscriber(&args, move || writer.clone(), false, None).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            tracing::trace!(target: "h2::codec::framed_read", "canary frame");
            tracing::trace!(target: "hyper::proto::h1::io", "canary read");
            tracing::debug!(target: "rustls::conn", "canary record");
            tracing::debug!(target: "tower::buffer", "canary request");
            tracing::trace!(target: "aws_smithy_runtime::client::orchestrator", "canary response");
            tracing::debug!(target: "aws_sdk_secretsmanager::operation", "canary operation");
            tracing::debug!(target: "kube_runtime::controller", "canary object");
            tracing::debug!(target: "a_crate_of_tomorrow", "canary of tomorrow");
            tracing::warn!(target: "kube_client::client", "canary body that could not be decoded");
            tracing::span!(target: "aws_smithy_runtime", tracing::Level::DEBUG, "call", input = "canary field")
                .in_scope(|| tracing::trace!(target: "scoped_secrets::admission", "ours"));
            tracing::info!(target: "kube_runtime::controller", "theirs");
        });
        let bytes = sink.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn no_level_lifts_the_lid() {
        for level in [
            "trace",
            "trace,h2=trace,hyper=trace,kube_client=trace",
            "[{input}]=trace,trace",
            "kube_client::client=trace",
        ] {
            for format in [LogFormat::Text, LogFormat::Json] {
                let text = logged(level, format);
                assert!(!text.contains("canary"), "{level}: {text}");
            }
        }
    }

    #[test]
    fn what_is_under_the_lid_follows_the_level() {
        let all = logged("trace", LogFormat::Text);
        assert!(all.contains("ours") && all.contains("theirs"), "{all}");
        let some = logged("info", LogFormat::Json);
        assert!(!some.contains("ours") && some.contains(r#""message":"theirs""#), "{some}");
        assert_eq!(logged("off", LogFormat::Text), "");
    }

    #[test]
    fn no_level_turns_the_record_off_and_it_is_written_as_it_is() {
        for level in ["off", "error", "info,scoped_secrets::record=off", "trace"] {
            for format in [LogFormat::Text, LogFormat::Json] {
                let sink = Sink::default();
                let writer = sink.clone();
                let args = LogArgs { log_format: format, log_level: level.to_owned() };
                let subscriber = subscriber(&args, move || writer.clone(), false, None).unwrap();
                let line = r#"{"record":1,"x":"a\"b"}"#;
                tracing::subscriber::with_default(subscriber, || tracing::info!(target: TARGET, line));
                let text = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
                let before = text.strip_suffix(&format!("{line}\n")).unwrap();
                match format {
                    LogFormat::Text => assert!(before.ends_with("Z  INFO scoped_secrets::record: "), "{text}"),
                    LogFormat::Json => assert_eq!(before, "", "{level}"),
                }
            }
        }
    }

    #[test]
    fn a_level_that_is_none_is_refused() {
        for bad in ["scoped_secrets=loud", "warning", "infoo", "", " ", "info,", "info,scoped_secrets"] {
            assert!(check_level(bad).is_err(), "{bad:?}");
        }
        for good in
            ["off", "WARN", "info,scoped_secrets=debug", "scoped_secrets=debug, info", "info,[reconcile{kind=x}]=debug"]
        {
            assert!(check_level(good).is_ok(), "{good:?}");
        }
    }

    #[test]
    fn a_formatted_panic_is_withheld() {
        assert_eq!(harmless(&"index out of range"), "index out of range");
        assert!(!harmless(&format!("unexpected {}", "canary")).contains("canary"));
    }
}
