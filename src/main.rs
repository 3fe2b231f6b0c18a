//! The operator: arguments, wiring, shutdown; nothing else.
#![forbid(unsafe_code)]

use clap::{Parser, Subcommand};
use jiff::Timestamp;
use kube::Config;
use scoped_secrets::cli::report::text::Colours;
use scoped_secrets::cli::verify_log::{self, VerifyLog};
use scoped_secrets::client;
use scoped_secrets::controller::context::Nature;
use scoped_secrets::operator::{self, OperatorArgs, Settings, Surroundings};
use scoped_secrets::telemetry::logs;
use scoped_secrets::telemetry::traces::Traces;
use std::io;
use std::process::ExitCode;
use std::time::Duration;

/// The Scoped Secrets operator: one Secret per workload, each in its own segment.
#[derive(Debug, Parser)]
#[command(name = "scoped-secrets", version, about, args_override_self = true, args_conflicts_with_subcommands = true)]
struct Args {
    #[command(flatten)]
    settings: Settings,
    #[command(subcommand)]
    task: Option<Task>,
}

/// What the program does instead of running as the operator.
#[derive(Debug, Subcommand)]
enum Task {
    VerifyLog(Box<VerifyLog>),
}

const MAX_THREADS: usize = 4;

/// It keeps little of what a burst took (`.cargo/config.toml`).
#[global_allocator]
static HEAP: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let args = Args::parse();
    if let Some(Task::VerifyLog(asked)) = &args.task {
        let (mut stdin, mut out, mut err) = (io::stdin().lock(), io::stdout().lock(), io::stderr().lock());
        return verify_log::run(asked, Timestamp::now(), Colours(false), &mut stdin, &mut out, &mut err).into();
    }
    match operate(args.settings) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("scoped-secrets: {error}");
            ExitCode::from(2)
        }
    }
}

/// Until it is told to stop. An error: it cannot begin.
fn operate(args: Settings) -> Result<ExitCode, Box<dyn std::error::Error>> {
    rustls::crypto::aws_lc_rs::default_provider().install_default().map_err(|_| "another TLS provider is installed")?;
    // It waits more than it computes; each thread more has memory of its own.
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get().min(MAX_THREADS));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
    let traces = Traces::begin(&args.traces, args.operator.pod_name.clone(), runtime.handle())?;
    let (traces, spans) = traces.unzip();
    logs::init(&args.logs, spans)?;
    let ended = runtime.block_on(run(args.operator));
    if let Some(traces) = traces {
        traces.end();
    }
    runtime.shutdown_timeout(Duration::from_millis(500));
    Ok(match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "the operator ends");
            ExitCode::FAILURE
        }
    })
}

async fn run(args: OperatorArgs) -> Result<(), Box<dyn std::error::Error>> {
    let config = Config::infer().await?;
    let connect = Box::new(move || client::connect(config.clone()));
    let stop = signals(args.shutdown_delay)?;
    operator::run(args, Surroundings { nature: Nature::real(), connect }, stop).await
}

/// Ends when the process is told to stop: at once by somebody at a terminal, and so long after by whoever replaces it.
fn signals(delay: Duration) -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => return,
            _ = terminate.recv() => {}
        }
        tracing::info!(?delay, "told to stop; reviews are answered for so long");
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
