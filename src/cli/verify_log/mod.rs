//! `verify-log`: whether the record in a log is whole. Both programs have it; what decides is [`crate::telemetry::record::verify`].

mod lines;

use super::cluster::{self, Cluster, ClusterArgs, Failure, Seen};
use super::report::text::{Colours, count, one_line};
use super::report::{
    EXIT_CLEAN, EXIT_ERROR, Finding, Location, Output, Report, Rule, Severity, Subject, json, sarif, text,
};
use crate::api::Reason;
use crate::controller::keys::{KEY_FIELD, KEY_SECRET};
use crate::segmentation::seal::SealKeys;
use crate::telemetry::record::keys::RecordKeys;
use crate::telemetry::record::verify::{self, Chronicle, Verifier};
use crate::yaml::Place;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;
use lines::Lines;
use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::path::{Path, PathBuf};

/// Check that the operator's record of what happened is whole, in a log of any size, whatever else stands in it.
///
/// The record is one line for each denial, withdrawal, expiry, revocation, rotation and grant. The lines of each process are
/// numbered and signed, each with the signature of the one before, and at least a mark a minute. So is found: a line that was
/// removed, altered, made up, moved or repeated, that was cut, split or wrapped, a beginning that is missing, and an end that is
/// missing for more than two minutes (of a process that was killed the same is said). Lines of several processes may be mixed; logs
/// that were rotated are given in their order.
///
/// Not found: a process of which there is no line at all; what a process that was killed did after its last mark, and what is
/// missing from the last two minutes of a log; what a process did while it closed, if all from then on is missing, since each line
/// of that time is followed by a closing one; what was done by whoever can read the Secret scoped-secrets-keys, or has a key from
/// --print-key; what stands before a record on its line, such as a collector's time; other lines. What the API server
/// refuses on its own (ValidatingAdmissionPolicies) is in its audit log, not here.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  kubectl -n scoped-secrets logs deploy/scoped-secrets --all-pods > operator.log && scoped-secrets verify-log operator.log
  scoped-secrets verify-log --print-key >> record.keys    # a key to keep: the cluster has the last two
  scoped-secrets verify-log --key-file record.keys --until 2026-11-30T00:00:00Z november.log

Exit code: 0 whole, 1 findings, 2 error.")]
pub struct VerifyLog {
    /// The logs, in their order, or - for stdin: as the operator wrote them, in either --log-format.
    #[arg(value_name = "FILE", required_unless_present = "print_key")]
    pub files: Vec<PathBuf>,
    /// The keys of the record (what --print-key prints, several times over if need be), or the seal key as the Secret
    /// scoped-secrets-keys has it under generations; - for stdin [default: that Secret, which you must be allowed to get].
    #[arg(long, value_name = "FILE")]
    pub key_file: Option<PathBuf>,
    /// Print the keys of the record and end: they sign lines and open no seal. Keep them from whoever keeps the logs.
    #[arg(long, conflicts_with = "files")]
    pub print_key: bool,
    /// When the log was taken, such as 2026-11-30T00:00:00Z: a process that goes on has a mark shortly before [default: now].
    #[arg(long, value_name = "TIME")]
    pub until: Option<Timestamp>,
    /// The operator's namespace.
    #[arg(long, value_name = "NAMESPACE", default_value = "scoped-secrets")]
    pub operator_namespace: String,
    /// How to print.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub cluster: ClusterArgs,
}

/// So many findings are told one by one.
const TOLD: usize = 1000;

/// What the exit code 0 does not say.
const LIMITS: &str = "not found by this: a process without any line, what a killed process did after its last mark, or one that closed after its first closing line, what whoever has the key did (see --help)";

/// Runs it and returns the exit code.
pub fn run(
    asked: &VerifyLog,
    now: Timestamp,
    colours: Colours,
    stdin: &mut dyn Read,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> u8 {
    match printed(asked, now, colours, stdin) {
        Ok((text, code)) => match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                let _ = writeln!(err, "error: the report could not be written: {error}");
                EXIT_ERROR
            }
            _ => code,
        },
        Err(failure) => {
            let _ = writeln!(err, "error: {}", one_line(&failure.to_string()));
            EXIT_ERROR
        }
    }
}

fn printed(asked: &VerifyLog, now: Timestamp, colours: Colours, stdin: &mut dyn Read) -> Result<(String, u8), Failure> {
    let is_stdin = |path: &Path| path.as_os_str() == "-";
    let from_stdin = asked.files.iter().chain(&asked.key_file).filter(|path| is_stdin(path)).count();
    if from_stdin > 1 {
        return Err(Failure::Usage("stdin (-) can be read once: as the key or as one log".into()));
    }
    let keys = match &asked.key_file {
        Some(path) => keys_of(path, stdin)?,
        None => cluster::run(keys_of_cluster(asked))?,
    };
    if asked.print_key {
        return Ok((keys.to_text().to_string(), EXIT_CLEAN));
    }
    let mut report = Report::default();
    let mut untold = 0u64;
    let mut verifier = Verifier::new(&keys);
    for path in &asked.files {
        let name = if is_stdin(path) { "stdin".to_owned() } else { path.display().to_string() };
        let mut tell = |line: u64, finding: &verify::Finding| match report.findings.len() < TOLD {
            true => report.findings.push(told(finding, Some((&name, line)))),
            false => untold += 1,
        };
        let read = if is_stdin(path) {
            check(&mut *stdin, &mut verifier, &mut tell)
        } else {
            File::open(path).and_then(|file| check(file, &mut verifier, &mut tell))
        };
        read.map_err(|error| Failure::Usage(format!("{name}: {error}")))?;
    }
    let seen = verifier.finish(asked.until.unwrap_or(now), &mut |finding| match report.findings.len() < 2 * TOLD {
        true => report.findings.push(told(&finding, None)),
        false => untold += 1,
    });
    if untold > 0 {
        let text = format!("{untold} more findings are not told one by one");
        report.findings.push(Finding::live(Severity::Error, Rule::Record, Reason::RecordAltered, of_log(), text));
    }
    report.passed = seen.iter().map(sentence).collect();
    let code = report.exit_code(true);
    let text = match asked.output {
        Output::Text => format!("{}{}\n", text::live(&report, colours), LIMITS),
        Output::Json => json::render(&report),
        Output::Sarif => sarif::render(&report),
    };
    Ok((text, code))
}

/// Reads one log, a line in memory at a time.
fn check(
    log: impl Read,
    verifier: &mut Verifier<'_>,
    tell: &mut dyn FnMut(u64, &verify::Finding),
) -> std::io::Result<()> {
    let mut lines = Lines::new(BufReader::with_capacity(1 << 16, log));
    let mut number = 0;
    while let Some(whole) = lines.next()? {
        number += 1;
        verifier.line(&lines.text(), whole, &mut |finding| tell(number, &finding));
    }
    Ok(())
}

fn keys_of(path: &Path, stdin: &mut dyn Read) -> Result<RecordKeys, Failure> {
    let mut text = zeroize::Zeroizing::new(String::new());
    let read = if path.as_os_str() == "-" {
        stdin.take(1 << 20).read_to_string(&mut text)
    } else {
        File::open(path).and_then(|file| file.take(1 << 20).read_to_string(&mut text))
    };
    let name = path.display();
    read.map_err(|error| Failure::Usage(format!("--key-file {name}: {error}")))?;
    RecordKeys::from_text(&text).map_err(|error| Failure::Usage(format!("--key-file {name}: {error}")))
}

async fn keys_of_cluster(asked: &VerifyLog) -> Result<RecordKeys, Failure> {
    let namespace = &asked.operator_namespace;
    let cluster = Cluster::connect(&asked.cluster).await?;
    let api: Api<Secret> = Api::namespaced(cluster.client.clone(), namespace);
    let secret = match cluster.get(&api, KEY_SECRET).await? {
        Seen::There(secret) => secret,
        Seen::Absent => {
            let text = format!(
                "there is no Secret {KEY_SECRET} in namespace {namespace}: name the operator's namespace with --operator-namespace, or give a key with --key-file"
            );
            return Err(Failure::Usage(text));
        }
        Seen::Barred => {
            let text = format!(
                "you may not get the Secret {KEY_SECRET} in namespace {namespace}, from which the record's key is derived: ask for the verb get on it, or for a key (--print-key) and give it with --key-file"
            );
            return Err(Failure::Usage(text));
        }
    };
    let stored = secret.data.as_ref().and_then(|data| data.get(KEY_FIELD));
    let keys =
        stored.and_then(|stored| SealKeys::from_stored(&stored.0).ok()).and_then(|keys| RecordKeys::of(&keys).ok());
    keys.ok_or_else(|| Failure::Usage(format!("the Secret {KEY_SECRET} has no usable key")))
}

fn of_log() -> Subject {
    Subject::cluster("Log", "")
}

fn told(finding: &verify::Finding, place: Option<(&str, u64)>) -> Finding {
    use verify::Finding as F;
    let reason = match finding {
        F::Damaged { .. } | F::Altered { .. } | F::Forked { .. } => Reason::RecordAltered,
        F::Repeated { .. } | F::Moved { .. } => Reason::RecordMoved,
        F::Missing { .. } | F::Empty => Reason::RecordMissing,
        F::EndMissing { .. } => Reason::RecordEndMissing,
        F::KeyUnknown { .. } => Reason::RecordKeyUnknown,
    };
    let subject = place.map_or_else(of_log, |(file, _)| Subject::cluster("Log", file));
    let location = place.map(|(file, line)| Location {
        file: file.into(),
        at: Place { line: usize::try_from(line).unwrap_or(usize::MAX), column: 1 },
    });
    let found = Finding::live(Severity::Error, Rule::Record, reason, subject, finding.to_string());
    Finding { location, ..found.mend(reason.fix()) }
}

/// A process, in words.
fn sentence(seen: &Chronicle) -> String {
    let Chronicle { process, pod, lines, from, to, closed } = seen;
    let pod = pod.as_deref().map_or(String::new(), |pod| format!(" of pod {pod}"));
    let end = if *closed { "and closed" } else { "and not closed" };
    let lines = count(usize::try_from(*lines).unwrap_or(usize::MAX), "genuine line", "genuine lines");
    format!("process {process}{pod}: {lines}, from {from:.0} to {to:.0}, {end}")
}

#[cfg(test)]
mod tests;
