//! `init`: YAML to begin with; or, with `--from-external-secrets`, made from what the External Secrets Operator was told.
//!
//! ```text
//!   files ─► Found::of_files ─┐
//!   cluster ─► look ──────────┴─► Found ─► carry ─► Made (files with comments, findings) ─► stdout or a folder
//! ```

pub mod carry;
pub mod found;
mod look;
pub mod written;

use super::cluster::{Cluster, ClusterArgs, Failure};
use super::report::text::{self, Colours};
use super::report::{EXIT_CLEAN, Finding, Report};
use super::simulate::accounts::Accounts;
use super::simulate::crd::Crds;
use super::simulate::object::gather;
use super::{cluster, files};
use carry::{Made, Wishes, carry};
use found::Found;
use jiff::Timestamp;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// Write YAML to begin with: a store, a policy, a ScopedSecret; or all of it from what the External Secrets Operator has.
///
/// With --from-external-secrets the SecretStores, ClusterSecretStores and ExternalSecrets of the cluster (read with your own
/// permissions), or of FILES, become ScopedSecretStores, one SegmentationPolicy and ScopedSecrets. Their consumers are the
/// ServiceAccounts of the pods and workloads that use the Secrets. No Secret is read, and nothing is written to the cluster.
///
/// What cannot be carried over is a comment in the file, and a finding on stderr: exit 1.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  kubectl scoped-secrets init -o scoped-secrets/\n  kubectl scoped-secrets init --from-external-secrets -A -o migrated/\n  kubectl scoped-secrets init --from-external-secrets -f eso/ -f apps/ | less"
)]
pub struct Init {
    /// Make it from the objects of the External Secrets Operator.
    #[arg(long)]
    pub from_external_secrets: bool,
    /// Files or folders with those objects, namespaces and workloads, in place of a cluster; - for stdin. May be repeated.
    #[arg(short = 'f', long = "filename", value_name = "FILE", requires = "from_external_secrets")]
    pub files: Vec<PathBuf>,
    /// The folder to write into; nothing in it is overwritten [default: stdout].
    #[arg(short, long, value_name = "DIR")]
    pub output: Option<PathBuf>,
    /// The namespace labels that name a segment, such as tenant,environment [default: those whose values are parts of the keys].
    #[arg(long, value_name = "LABEL", value_delimiter = ',', requires = "from_external_secrets")]
    pub labels: Vec<String>,
    /// What to put behind every Secret's name, so that both operators can have theirs for a while.
    #[arg(
        long,
        value_name = "SUFFIX",
        default_value = "",
        hide_default_value = true,
        allow_hyphen_values = true,
        value_parser = suffix,
        requires = "from_external_secrets"
    )]
    pub target_suffix: String,
    /// The AWS account of a store that names none, or (without STORE=) of all such stores; may be repeated.
    #[arg(long, value_name = "STORE=ACCOUNT", requires = "from_external_secrets")]
    pub account_id: Vec<String>,
    /// Which cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

fn suffix(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_a_flag = text.starts_with("--") || matches!(text.as_bytes(), [b'-', letter] if letter.is_ascii_alphabetic());
    if text.is_empty() || (!is_a_flag && text.ends_with(fits) && text.chars().all(|c| fits(c) || c == '-' || c == '.'))
    {
        return Ok(text.to_owned());
    }
    Err("a Secret's name ends in it: write small letters, digits, '-' and '.', such as -scoped".into())
}

/// Runs it; the exit code.
pub fn run(
    asked: &Init,
    now: Timestamp,
    colours: Colours,
    stdin: &mut dyn Read,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<u8, Failure> {
    if let Some(word) = asked.output.as_deref().and_then(Path::to_str)
        && ["text", "json", "sarif", "yaml"].contains(&word)
    {
        let message =
            format!("-o {word}: for init -o names the folder to write into; without it the YAML goes to stdout");
        return Err(Failure::Usage(message));
    }
    let made = if asked.from_external_secrets { migrated(asked, now, stdin)? } else { starter(asked) };
    match &asked.output {
        Some(folder) => save(&made, folder, out)?,
        None => {
            let texts: Vec<String> = made.files.iter().map(written::File::text).collect();
            told(out.write_all(texts.join("---\n").as_bytes()), "stdout")?;
        }
    }
    let report = Report::live(made.findings, Vec::new());
    if report.findings.is_empty() {
        return Ok(EXIT_CLEAN);
    }
    let _ = write!(err, "{}", text::live(&report, colours));
    Ok(report.exit_code(true))
}

fn migrated(asked: &Init, now: Timestamp, stdin: &mut dyn Read) -> Result<Made, Failure> {
    let accounts = Accounts::read(&asked.account_id).map_err(|why| Failure::Usage(format!("--account-id {why}")))?;
    let labels = asked.labels.iter().map(|label| label.trim().to_owned()).filter(|label| !label.is_empty()).collect();
    let wishes = Wishes { labels, accounts, suffix: asked.target_suffix.clone() };
    let (found, gaps) = if asked.files.is_empty() { of_cluster(asked)? } else { of_files(asked, stdin)? };
    if found.objects.is_empty() && (gaps.is_empty() || !asked.files.is_empty()) {
        let place = if asked.files.is_empty() { "the cluster" } else { "the files" };
        return Err(Failure::Usage(format!(
            "there is no object of external-secrets.io in {place}: nothing to carry over"
        )));
    }
    let mut made = carry(&found, &wishes, now);
    made.findings.extend(gaps);
    Ok(made)
}

fn of_files(asked: &Init, stdin: &mut dyn Read) -> Result<(Found, Vec<Finding>), Failure> {
    let mut inputs = files::read(&asked.files, stdin);
    if let Some(error) = inputs.errors.pop() {
        return Err(Failure::Usage(error));
    }
    // A file that was named may hold anything beside.
    inputs.sources.iter_mut().for_each(|source| source.found = true);
    let gathered = gather(&inputs.sources, asked.cluster.namespace.as_deref().unwrap_or("default"), &Crds::default());
    if let Some(error) = gathered.input_errors.first() {
        let place = &error.location;
        return Err(Failure::Usage(format!("{}:{}:{}: {}", place.file, place.at.line, place.at.column, error.message)));
    }
    Ok((Found::of_files(&gathered.objects), inputs.unjudged("init --from-external-secrets -f -")))
}

fn of_cluster(asked: &Init) -> Result<(Found, Vec<Finding>), Failure> {
    cluster::run(async {
        let cluster = Cluster::connect(&asked.cluster).await?;
        let found = look::look(&cluster, asked.cluster.namespace.as_deref()).await?;
        Ok((found, cluster.gaps()))
    })
}

/// What somebody begins with who has nothing yet.
fn starter(asked: &Init) -> Made {
    // In whose segment a namespace is that is there, its own labels say: it is not written.
    let own = |text: &str, namespace: &str| {
        text.replace("payments-prod", namespace)
            .replace(
                "    remoteRef: {key: payments/",
                "    # TENANT and ENVIRONMENT as the namespace is labelled\n    remoteRef: {key: payments/",
            )
            .replace("payments/prod/", "TENANT/ENVIRONMENT/")
    };
    let written = |text: &str| asked.cluster.namespace.as_deref().map_or(text.to_owned(), |name| own(text, name));
    let texts = [
        ("platform/store.yaml", include_str!("starter/store.yaml")),
        ("platform/policy.yaml", include_str!("starter/policy.yaml")),
        ("platform/namespace.yaml", include_str!("starter/namespace.yaml")),
        ("app/orders-db.yaml", include_str!("starter/orders-db.yaml")),
    ];
    let file = |(path, text): (&str, &str)| written::File {
        path: path.to_owned(),
        documents: vec![written::Document::Text(written(text))],
    };
    let is_made = |(path, _): &(&str, &str)| asked.cluster.namespace.is_none() || !path.ends_with("/namespace.yaml");
    Made { files: texts.into_iter().filter(is_made).map(file).collect(), findings: Vec::new() }
}

/// Writes every file, or none where one is there already.
fn save(made: &Made, folder: &Path, out: &mut dyn Write) -> Result<(), Failure> {
    if let Some(there) = made.files.iter().map(|file| folder.join(&file.path)).find(|path| path.exists()) {
        let message = format!("{} is there already, and nothing is overwritten: name another folder", there.display());
        return Err(Failure::Usage(message));
    }
    for file in &made.files {
        let path = folder.join(&file.path);
        let shown = path.display().to_string();
        if let Some(parent) = path.parent() {
            told(std::fs::create_dir_all(parent), &shown)?;
        }
        told(std::fs::write(&path, file.text()), &shown)?;
        let _ = writeln!(out, "{shown}");
    }
    Ok(())
}

fn told(done: std::io::Result<()>, what: &str) -> Result<(), Failure> {
    match done {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::Usage(format!("{what}: {error}"))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_suffix_can_end_a_name() {
        for (text, fits) in [
            ("", true),
            ("-scoped", true),
            (".b2", true),
            (" X", false),
            ("_a", false),
            ("-a-", false),
            ("-A", false),
            ("-f", false),
            ("--labels", false),
        ] {
            assert_eq!(super::suffix(text).is_ok(), fits, "{text:?}");
        }
    }

    /// As docs/migration.md has it.
    #[test]
    fn it_may_begin_like_a_flag() {
        #[derive(clap::Parser)]
        struct Asked {
            #[command(flatten)]
            init: super::Init,
        }
        let parse = |suffix: &[&str]| {
            let all = [&["init", "--from-external-secrets"], suffix].concat();
            <Asked as clap::Parser>::try_parse_from(all).map(|asked| asked.init.target_suffix)
        };
        assert_eq!(parse(&["--target-suffix", "-scoped"]).unwrap(), "-scoped");
        assert_eq!(parse(&["--target-suffix=-scoped"]).unwrap(), "-scoped");
        assert!(parse(&["--target-suffix", "-f", "before"]).is_err());
    }
}
