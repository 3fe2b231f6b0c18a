//! The command line: what is asked, read, printed, and the exit code (0 clean, 1 findings, 2 error).

use super::files;
use super::simulate::accounts::Accounts;
use super::simulate::report::EXIT_ERROR;
use super::simulate::{Options, json, sarif, simulate, text};
use clap::{Parser, Subcommand, ValueEnum};
use jiff::Timestamp;
use std::ffi::OsString;
use std::io::{Read, Write};
use std::path::PathBuf;

/// Scoped Secrets: which namespace may hold which secret.
#[derive(Debug, Parser)]
#[command(
    name = "kubectl-scoped_secrets",
    bin_name = "kubectl scoped-secrets",
    display_name = "kubectl scoped-secrets"
)]
#[command(version, propagate_version = true, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Simulate(Simulate),
}

/// Judge YAML in Git as the cluster would: policies, namespaces, stores and ScopedSecrets, without a cluster.
///
/// The inputs are judged as if all of them were applied, in their order, to a cluster that has nothing else: so give the
/// platform's files (policies, stores, namespaces) together with the application's. Exit code: 0 clean, 1 findings, 2 error.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  kubectl scoped-secrets simulate platform/ apps/orders.yaml\n  kustomize build . | kubectl scoped-secrets simulate platform/ - -o sarif"
)]
struct Simulate {
    /// Files, folders (all .yaml, .yml and .json below them), or - for stdin; YAML or JSON.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// How to print.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
    /// The namespace of ScopedSecrets that name none [default: default].
    #[arg(short, long, value_name = "NAMESPACE")]
    namespace: Option<String>,
    /// The AWS account of a store that has no accountId, or (without STORE=) of all such stores; may be repeated.
    #[arg(long, value_name = "STORE=ACCOUNT")]
    account_id: Vec<String>,
    /// Warnings are findings, too: exit 1.
    #[arg(long)]
    strict: bool,
    /// Say what was passed over, and why (on stderr).
    #[arg(short, long)]
    verbose: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// path:line:column: severity: [Reason] message, and what to write instead.
    Text,
    /// One JSON object.
    Json,
    /// SARIF 2.1.0, for code scanning.
    Sarif,
}

/// Runs the plugin and returns its exit code.
pub fn run(
    arguments: impl IntoIterator<Item = OsString>,
    now: Timestamp,
    stdin: &mut dyn Read,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> u8 {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(stop) => {
            let code = u8::try_from(stop.exit_code()).unwrap_or(EXIT_ERROR);
            let text = stop.render();
            let _ = if stop.use_stderr() { write!(err, "{text}") } else { write!(out, "{text}") };
            return code;
        }
    };
    let Verb::Simulate(arguments) = cli.verb;
    run_simulate(arguments, now, stdin, out, err)
}

fn run_simulate(asked: Simulate, now: Timestamp, stdin: &mut dyn Read, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    let accounts = match Accounts::read(&asked.account_id) {
        Ok(accounts) => accounts,
        Err(message) => return fail(err, &[format!("--account-id {message}")]),
    };
    let inputs = files::read(&asked.files, stdin);
    if asked.verbose {
        for skipped in &inputs.skipped {
            let _ = writeln!(err, "skipped: {}", text::one_line(skipped));
        }
    }
    if !inputs.errors.is_empty() {
        return fail(err, &inputs.errors);
    }
    let report = simulate(&inputs.sources, now, &Options { namespace: asked.namespace, accounts });
    if asked.verbose {
        let _ = write!(err, "{}", text::ignored(&report));
    }
    let rendered = match asked.output {
        Output::Text => text::render(&report),
        Output::Json => json::render(&report),
        Output::Sarif => sarif::render(&report),
    };
    // Nobody reads on, such as `| head`: the verdict still stands in the exit code.
    let _ = out.write_all(rendered.as_bytes()).and_then(|()| out.flush());
    report.exit_code(asked.strict)
}

fn fail(err: &mut dyn Write, messages: &[String]) -> u8 {
    for message in messages {
        let _ = writeln!(err, "error: {}", text::one_line(message));
    }
    EXIT_ERROR
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(arguments: &[&str], stdin: &str) -> (u8, String, String) {
        let arguments = ["kubectl-scoped_secrets"].iter().chain(arguments).map(OsString::from);
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = run(arguments, Timestamp::UNIX_EPOCH, &mut stdin.as_bytes(), &mut out, &mut err);
        (code, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    }

    #[test]
    fn the_command_line_is_sound() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn bad_flags_are_errors_and_help_is_not() {
        for (arguments, code, words) in [
            (&["--help"][..], 0, "kubectl scoped-secrets"),
            (&["simulate", "--help"], 0, "Usage: kubectl scoped-secrets simulate"),
            (&["--version"], 0, "kubectl scoped-secrets "),
            (&[], 2, "Usage"),
            (&["simulate"], 2, "FILE"),
            (&["simulate", "-", "-o", "yaml"], 2, "sarif"),
            (&["simulate", "-", "--account-id", "12"], 2, "twelve digits"),
            (&["simulate", "no/such/file.yaml"], 2, "no/such/file.yaml"),
            (&["guess"], 2, "guess"),
        ] {
            let (found, out, err) = ask(arguments, "");
            assert_eq!(found, code, "{arguments:?}: {out}{err}");
            assert!(format!("{out}{err}").contains(words), "{arguments:?}: {out}{err}");
            assert_eq!(out.is_empty(), code == 2, "{arguments:?}: {out}");
        }
    }

    #[test]
    fn an_input_without_our_objects_is_an_error() {
        let (code, out, _) = ask(&["simulate", "-"], "apiVersion: v1\nkind: Pod\n");
        assert_eq!(code, 2);
        assert!(out.starts_with("stdin:1:1: error: there is no ScopedSecret"), "{out}");
        let (_, _, err) = ask(&["simulate", "-v", "-"], "apiVersion: v1\nkind: Pod\n");
        assert_eq!(err, "stdin:1:1: ignored: Pod (v1) is not judged\n");
    }
}
