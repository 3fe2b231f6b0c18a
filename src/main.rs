//! The operator: arguments, wiring, shutdown; nothing else.
#![forbid(unsafe_code)]

use clap::{Parser, Subcommand};
use jiff::Timestamp;
use kube::{Client, Config};
use scoped_secrets::cli::report::text::Colours;
use scoped_secrets::cli::verify_log::{self, VerifyLog};
use scoped_secrets::controller::context::Nature;
use scoped_secrets::operator::{self, OperatorArgs, Surroundings};
use scoped_secrets::telemetry::logs::{self, LogArgs};
use std::io;
use std::process::ExitCode;
use std::time::Duration;

/// The Scoped Secrets operator: one Secret per workload, each in its own segment.
#[derive(Debug, Parser)]
#[command(name = "scoped-secrets", version, about, args_override_self = true, args_conflicts_with_subcommands = true)]
struct Args {
    #[command(flatten)]
    operator: OperatorArgs,
    #[command(flatten)]
    logs: LogArgs,
    #[command(subcommand)]
    task: Option<Task>,
}

/// What the program does instead of running as the operator.
#[derive(Debug, Subcommand)]
enum Task {
    VerifyLog(Box<VerifyLog>),
}

const MAX_THREADS: usize = 4;

fn main() -> ExitCode {
    let args = Args::parse();
    if let Some(Task::VerifyLog(asked)) = &args.task {
        let (mut stdin, mut out, mut err) = (io::stdin().lock(), io::stdout().lock(), io::stderr().lock());
        return verify_log::run(asked, Timestamp::now(), Colours(false), &mut stdin, &mut out, &mut err).into();
    }
    if let Err(error) = logs::init(&args.logs) {
        eprintln!("scoped-secrets: {error}");
        return ExitCode::from(2);
    }
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        eprintln!("scoped-secrets: another TLS provider is installed");
        return ExitCode::from(2);
    }
    // It waits more than it computes; each thread more has memory of its own.
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get().min(MAX_THREADS));
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("scoped-secrets: {error}");
            return ExitCode::from(2);
        }
    };
    let ended = runtime.block_on(run(args.operator));
    runtime.shutdown_timeout(Duration::from_millis(500));
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "the operator ends");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: OperatorArgs) -> Result<(), Box<dyn std::error::Error>> {
    let config = Config::infer().await?;
    let connect = Box::new(move || Client::try_from(config.clone()));
    let stop = signals()?;
    operator::run(args, Surroundings { nature: Nature::real(), connect }, stop).await
}

/// Ends when the process is told to stop.
fn signals() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
