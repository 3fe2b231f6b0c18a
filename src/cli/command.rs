//! The command line: what is asked, read, printed, and the exit code (0 clean, 1 findings, 2 error).

use super::approve::{self, Approve};
use super::audit::{self, Audit};
use super::change::Talk;
use super::check::{self, Check};
use super::cluster::{self, ClusterArgs, Failure};
use super::completion::{self, ASKED_AS, Candidates, Completion};
use super::grant::{self, Grant};
use super::init::{self, Init};
use super::refresh::{self, Refresh};
use super::report::text::{self, Colours};
use super::report::{EXIT_CLEAN, EXIT_ERROR, Output, Report, json, sarif};
use super::revoke::{self, Revoke};
use super::rotate::{self, Rotate};
use super::simulate::accounts::Accounts;
use super::simulate::{Options, simulate};
use super::trace::{self, TraceArgs};
use super::verify_log::{self, VerifyLog};
use super::why::{self, Why};
use super::{files, names};
use clap::{CommandFactory, Parser, Subcommand};
use jiff::Timestamp;
use std::ffi::OsString;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// Scoped Secrets: which namespace may hold which secret.
#[derive(Debug, Parser)]
#[command(
    name = "kubectl-scoped_secrets",
    bin_name = "kubectl scoped-secrets",
    display_name = "kubectl scoped-secrets"
)]
#[command(version, propagate_version = true, arg_required_else_help = true)]
#[command(
    after_help = "Exit code of every verb: 0 clean, 1 findings, 2 error. Colour only on a terminal, and not with NO_COLOR."
)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Check(Box<Check>),
    Why(Box<Why>),
    Trace(Box<TraceArgs>),
    Audit(Box<Audit>),
    Refresh(Box<Refresh>),
    Rotate(Box<Rotate>),
    Grant(Box<Grant>),
    Approve(Box<Approve>),
    Revoke(Box<Revoke>),
    Init(Box<Init>),
    Simulate(Simulate),
    VerifyLog(Box<VerifyLog>),
    Completion(Completion),
    /// What the next word may be, for kubectl.
    #[command(name = "__complete", hide = true, disable_help_flag = true, disable_version_flag = true)]
    Complete {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
}

/// Judge YAML in Git as the cluster would, by every rule that files can show, without a cluster.
///
/// The inputs are judged as if all of them were applied, in their order, to a cluster that has nothing else: so give the
/// platform's files (policies, stores, namespaces) together with the application's. Exit code: 0 clean, 1 findings, 2 error.
///
/// Beside ScopedSecrets and policies are judged: pods, workloads, ServiceAccounts and volumes that name a projected Secret
/// (Consumers); the metadata of Secrets (ManagedSecrets, Replication); roles and bindings (Rbac); objects of other operators
/// that a policy governs (OtherOperators). What admission would refuse is an error, as are two ScopedSecrets that would write one
/// Secret; what it would only warn of or record (mode, reportOnly, exceptions) is a warning.
///
/// Not seen in files: copies of values (Copies), who moves a namespace into a segment (Boundary), what the operator itself may
/// (Operator), and what a change takes from claims that are live (Policies). ClusterRoles other than cluster-admin, admin, edit
/// and view are known only if they are in the input.
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
    /// The namespace of objects that name none [default: default].
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

/// What a verb is told of where it runs.
pub struct Surroundings<'a> {
    /// The clock.
    pub clock: &'a dyn Fn() -> Timestamp,
    /// Whether to print in colour.
    pub colours: Colours,
    /// Whether somebody at a terminal can be asked.
    pub terminal: bool,
}

/// Runs the plugin and returns its exit code.
pub fn run(
    arguments: impl IntoIterator<Item = OsString>,
    around: &Surroundings<'_>,
    stdin: &mut dyn Read,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> u8 {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    if arguments.first().is_some_and(|own| Path::new(own).file_stem().is_some_and(|name| name == ASKED_AS)) {
        let words: Vec<String> = arguments[1..].iter().map(|word| word.to_string_lossy().into_owned()).collect();
        return complete(&words, out);
    }
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(stop) => {
            let code = u8::try_from(stop.exit_code()).unwrap_or(EXIT_ERROR);
            let text = stop.render();
            let _ = if stop.use_stderr() { write!(err, "{text}") } else { write!(out, "{text}") };
            return code;
        }
    };
    let colours = around.colours;
    let printed = match cli.verb {
        Verb::VerifyLog(asked) => return verify_log::run(&asked, (around.clock)(), colours, stdin, out, err),
        Verb::Refresh(asked) => {
            return changed(cluster::run(refresh::run(&asked, around, &mut Talk { stdin, out, err })), err);
        }
        Verb::Rotate(asked) => {
            return changed(cluster::run(rotate::run(&asked, around, &mut Talk { stdin, out, err })), err);
        }
        Verb::Grant(asked) => {
            return changed(cluster::run(grant::run(&asked, around, &mut Talk { stdin, out, err })), err);
        }
        Verb::Approve(asked) => {
            return changed(cluster::run(approve::run(&asked, around, &mut Talk { stdin, out, err })), err);
        }
        Verb::Revoke(asked) => {
            return changed(cluster::run(revoke::run(&asked, around, &mut Talk { stdin, out, err })), err);
        }
        Verb::Init(asked) => return changed(init::run(&asked, (around.clock)(), colours, stdin, out, err), err),
        Verb::Simulate(asked) => return run_simulate(asked, (around.clock)(), stdin, out, err),
        Verb::Completion(asked) => {
            completion::script(asked.shell, Cli::command(), out);
            return EXIT_CLEAN;
        }
        Verb::Complete { words } => return complete(&words, out),
        Verb::Check(asked) => {
            let output = asked.output;
            cluster::run(check::run(&asked, around.clock)).map(|report| rendered(&report, output, colours))
        }
        Verb::Audit(asked) => {
            let output = asked.output;
            let mut inputs = files::read(&asked.files, stdin);
            if !inputs.errors.is_empty() {
                return fail(err, &std::mem::take(&mut inputs.errors));
            }
            let unjudged = inputs.unjudged("audit -f -");
            let report = cluster::run(audit::run(&asked, &inputs.sources, unjudged, (around.clock)()));
            report.map(|report| rendered(&report, output, colours))
        }
        Verb::Why(asked) => input(asked.file.as_deref(), stdin).and_then(|input| {
            let answer = cluster::run(why::run(&asked, input.as_deref(), (around.clock)()))?;
            let text = match asked.output {
                Output::Text => why::render(&answer, colours),
                Output::Json => format!("{:#}\n", answer.json()),
                Output::Sarif => sarif::render(&answer.report),
            };
            Ok((text, answer.report.exit_code(true)))
        }),
        Verb::Trace(asked) => cluster::run(trace::run(&asked)).map(|trace| {
            let text = match asked.output {
                Output::Text => trace::render(&trace, colours),
                Output::Json => format!("{:#}\n", trace.json()),
                Output::Sarif => sarif::render(&trace.report),
            };
            (text, trace.report.exit_code(true))
        }),
    };
    match printed {
        Ok((text, code)) => print(&text, code, out, err),
        Err(failure) => fail(err, &[failure.to_string()]),
    }
}

/// How a change ended: it told all but what went wrong.
fn changed(ended: Result<u8, Failure>, err: &mut dyn Write) -> u8 {
    ended.unwrap_or_else(|failure| fail(err, &[failure.to_string()]))
}

/// A report of a live cluster, in which warnings count.
fn rendered(report: &Report, output: Output, colours: Colours) -> (String, u8) {
    let text = match output {
        Output::Text => text::live(report, colours),
        Output::Json => json::render(report),
        Output::Sarif => sarif::render(report),
    };
    (text, report.exit_code(true))
}

/// The text of a file, or of stdin.
fn input(file: Option<&Path>, stdin: &mut dyn Read) -> Result<Option<String>, Failure> {
    let Some(file) = file else { return Ok(None) };
    let mut inputs = files::read(&[file.to_owned()], stdin);
    match (inputs.sources.pop(), inputs.errors.pop()) {
        (Some(source), None) => Ok(Some(String::from_utf8_lossy(&source.bytes).into_owned())),
        (_, Some(error)) => Err(Failure::Usage(error)),
        (None, None) => Err(Failure::Usage(format!("{}: there is nothing to read", file.display()))),
    }
}

/// What the last word may be. Nothing is ever said of what goes wrong: a person is typing.
fn complete(words: &[String], out: &mut dyn Write) -> u8 {
    let last = words.last().map_or("", String::as_str);
    let found = match completion::candidates(&Cli::command(), words) {
        Candidates::Words(words) => Some(words),
        Candidates::Files => None,
        Candidates::Names(resource) => {
            Some(cluster::run(names::of(resource, &cluster_of(words), last)).unwrap_or_default())
        }
    };
    let _ = out.write_all(completion::render(found.as_deref()).as_bytes());
    EXIT_CLEAN
}

/// The cluster that the words so far speak of.
fn cluster_of(words: &[String]) -> ClusterArgs {
    let value = |flags: [&str; 2]| {
        let apart = words.iter().position(|word| flags.contains(&word.as_str())).and_then(|at| words.get(at + 1));
        let joined = || words.iter().find_map(|word| word.strip_prefix(flags[1])?.strip_prefix('='));
        apart.map(String::as_str).or_else(joined).filter(|value| !value.is_empty()).map(str::to_owned)
    };
    ClusterArgs {
        namespace: value(["-n", "--namespace"]),
        context: value(["--context", "--context"]),
        kubeconfig: value(["--kubeconfig", "--kubeconfig"]).map(PathBuf::from),
        as_user: value(["--as", "--as"]),
        ..ClusterArgs::default()
    }
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
    let mut report = simulate(&inputs.sources, now, &Options { namespace: asked.namespace, accounts });
    if report.input_errors.is_empty() {
        report.findings.splice(0..0, inputs.unjudged("simulate PLATFORM -"));
    }
    if asked.verbose {
        let _ = write!(err, "{}", text::ignored(&report));
    }
    let rendered = match asked.output {
        Output::Text => text::render(&report),
        Output::Json => json::render(&report),
        Output::Sarif => sarif::render(&report),
    };
    print(&rendered, report.exit_code(asked.strict), out, err)
}

/// Prints a verdict; its exit code. Where nobody reads on, such as `| head`, that stands all the same; a report that could not be
/// written must not pass for a clean one.
fn print(text: &str, code: u8, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            fail(err, &[format!("the report could not be written: {error}")])
        }
        _ => code,
    }
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
        let around = Surroundings { clock: &|| Timestamp::UNIX_EPOCH, colours: Colours(false), terminal: false };
        let code = run(arguments, &around, &mut stdin.as_bytes(), &mut out, &mut err);
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
            (&["check", "--help"], 0, "--operator-namespace"),
            (&["check", "--timeout", "1m"], 2, "--wait"),
            (&["check", "-A", "-n", "a"], 2, "cannot be used with"),
            (&["check", "--as-group", "g"], 2, "--as"),
            (&["why", "--help"], 0, "why --key"),
            (&["why"], 2, "--key"),
            (&["why", "a", "--key", "b"], 2, "cannot be used with"),
            (&["why", "--denied"], 2, "--file"),
            (&["why", "--store", "s", "a"], 2, "cannot be used with"),
            (&["why", "a", "-f", "b"], 2, "cannot be used with"),
            (&["why", "-f", "no/such/file.yaml"], 2, "no/such/file.yaml"),
            (&["trace"], 2, "POD"),
            (&["trace", "pod/a", "-o", "yaml"], 2, "sarif"),
            (&["why", "--denied", "app.yaml"], 2, "--file"),
            (&["audit", "--help"], 0, "--labels"),
            (&["audit", "--labels", "a,,b"], 2, "--labels"),
            (&["audit", "-f", "no/such/file.yaml"], 2, "no/such/file.yaml"),
            (&["audit", "-f", "/dev/null"], 2, "no SegmentationPolicy"),
            (&["audit", "--kubeconfig", "/no/such/file"], 2, "kubeconfig"),
            (&["completion", "tcsh"], 2, "powershell"),
            (&["refresh"], 2, "SCOPEDSECRET"),
            (&["refresh", "a", "--timeout", "1m"], 2, "--wait"),
            (&["refresh", "a", "--dry-run=client"], 2, "server"),
            (&["refresh", "a", "-o", "sarif"], 2, "json"),
            (&["rotate", "--help"], 0, "spec.rotation"),
            (&["rotate", "a", "--kubeconfig", "/no/such/file"], 2, "kubeconfig"),
            (&["grant", "a", "--to", "group/dev", "--ttl", "1h", "--reason", "r"], 2, "user/NAME"),
            (&["grant", "a", "--to", "user/ada", "--ttl", "soon", "--reason", "r"], 2, "--ttl"),
            (&["grant", "a", "--to", "user/ada", "--ttl", "1h"], 2, "--reason"),
            (&["approve"], 2, "GRANT"),
            (&["revoke", "--reason", "r"], 2, "--key"),
            (&["revoke", "a", "--key", "b"], 2, "cannot be used with"),
            (&["revoke", "--key", "b", "--store", "s"], 2, "--reason"),
            (&["revoke", "--key", "b", "--reason", "r"], 2, "--store"),
            (&["verify-log"], 2, "FILE"),
            (&["why", ""], 2, "the name is missing"),
            (&["why", "secretgrant/"], 2, "write secretgrant/NAME"),
            (&["trace", "pod/"], 2, "write pod/NAME"),
            (&["refresh", "db "], 2, "write db"),
            (&["revoke", "", "--reason", "r"], 2, "the name is missing"),
            (&["check", "-n", ""], 2, "the name is missing"),
        ] {
            let (found, out, err) = ask(arguments, "");
            assert_eq!(found, code, "{arguments:?}: {out}{err}");
            assert!(format!("{out}{err}").contains(words), "{arguments:?}: {out}{err}");
            assert_eq!(out.is_empty(), code == 2, "{arguments:?}: {out}");
        }
    }

    #[test]
    fn an_input_without_our_objects_is_an_error() {
        let (code, out, _) = ask(&["simulate", "-"], "apiVersion: v1\nkind: Service\n");
        assert_eq!(code, 2);
        assert!(out.starts_with("stdin:1:1: error: there is no ScopedSecret"), "{out}");
        let (_, _, err) = ask(&["simulate", "-v", "-"], "apiVersion: v1\nkind: Service\n");
        assert_eq!(err, "stdin:1:1: ignored: Service (v1) is not judged\n");
    }
    #[test]
    fn a_denial_is_explained_without_a_cluster() {
        let denial = "Error from server: rule Claims, KeyNotAllowed: ScopedSecret a/b: no; allowed here: a/**";
        let (code, out, _) = ask(&["why", "--denied", "-f", "-"], denial);
        assert_eq!(code, 1);
        for part in ["ScopedSecret a/b", "Claims, KeyNotAllowed", "docs/reasons/KeyNotAllowed.md", "allowed here: a/**"]
        {
            assert!(out.contains(part), "{part}: {out}");
        }
        let (code, out, _) = ask(&["why", "--denied", "-f", "-", "-o", "sarif"], denial);
        let log: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!((code, &log["runs"][0]["results"][0]["ruleId"]), (1, &"KeyNotAllowed".into()));
        assert_eq!(ask(&["why", "-f", "-"], denial).0, 1, "a file is what was denied");
        let (code, _, err) = ask(&["why", "--denied", "-f", "-"], "all is well");
        assert!(code == 2 && err.contains("neither a denial"), "{err}");
    }

    #[test]
    fn words_are_completed() {
        let completed = |words: &[&str]| {
            let arguments = ["__complete", "--"].iter().chain(words).copied().collect::<Vec<_>>();
            ask(&arguments, "").1
        };
        assert_eq!(completed(&["ch"]), "check\n:4\n");
        assert_eq!(completed(&["check", "--pr"]), "--pre\n:4\n");
        assert_eq!(completed(&["check", "-o", ""]), "text\njson\nsarif\n:4\n");
        assert_eq!(completed(&["completion", "z"]), "zsh\n:4\n");
        assert_eq!(completed(&["simulate", ""]), ":0\n");
        assert_eq!(completed(&["why", "--denied", "-f", ""]), ":0\n");
        assert!(!completed(&[""]).contains("__complete"));
        let asked = [ASKED_AS, "au"].map(OsString::from);
        let mut out = Vec::new();
        let around = Surroundings { clock: &|| Timestamp::UNIX_EPOCH, colours: Colours(false), terminal: false };
        assert_eq!(run(asked, &around, &mut "".as_bytes(), &mut out, &mut Vec::new()), 0);
        assert_eq!(String::from_utf8(out).unwrap(), "audit\n:4\n");
    }

    #[test]
    fn what_the_script_of_bash_looks_for_is_what_it_sets() {
        let mut text = Vec::new();
        completion::script(completion::Script::Bash, Cli::command(), &mut text);
        let text = String::from_utf8(text).unwrap();
        let quoted = |line: &str| Some(line.trim().strip_prefix("cmd=\"")?.strip_suffix('"')?.to_owned());
        let set: Vec<String> = text.lines().filter_map(quoted).filter(|cmd| !cmd.is_empty()).collect();
        assert!(set.iter().any(|cmd| cmd.ends_with("audit")), "{set:?}");
        // The hidden one is kubectl's to ask.
        for cmd in set.iter().filter(|cmd| !cmd.ends_with("__complete")) {
            assert!(text.contains(&format!(" {cmd})\n")), "{cmd} is looked for by another name");
        }
    }

    #[test]
    fn every_shell_has_a_script() {
        for shell in ["bash", "zsh", "fish", "powershell"] {
            let (code, out, _) = ask(&["completion", shell], "");
            assert!(code == 0 && out.contains("kubectl-scoped_secrets") && out.contains("simulate"), "{shell}");
        }
    }
}
