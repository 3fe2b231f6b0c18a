//! The guarantees over a live cluster: `kubectl scoped-secrets audit`, with the reader's own permissions, and also before
//! anything is installed.
//!
//! ```text
//!   look ──► Sighted: the world, Secrets (metadata; values as digests of this run), pods, roles, ExternalSecrets
//!     promises (segmentation::guarantees), values, pods, roles, external: each pure ──► Report
//! ```

mod external;
mod look;
mod pods;
mod promises;
mod roles;
mod scopes;
mod values;

use super::cluster::{Cluster, ClusterArgs, Failure};
use super::report::{Outcome, Output, Report};
use jiff::Timestamp;
use look::Sighted;
use scopes::Scopes;

/// Whether the guarantees hold over the whole cluster, as far as you may see; also where Scoped Secrets is not installed.
///
/// It looks for: a key or a value in several segments, Secrets that several ServiceAccounts use, roles that read Secrets across
/// segments, Secrets in the namespace default, ExternalSecrets (external-secrets.io) of several segments on one key, and, where
/// Scoped Secrets is installed, whether each of its guarantees holds. If you may read Secrets, values are compared by a digest
/// under a key of this run alone; neither a value nor a digest is shown or kept.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit code: 0 clean, 1 findings, 2 error.

Examples:
  kubectl scoped-secrets audit
  kubectl scoped-secrets audit --labels tenant,environment -o sarif
  kubectl scoped-secrets audit -n payments-prod --metadata-only")]
pub struct Audit {
    /// Namespace labels that name a segment, where no policy governs yet; without, each namespace is for itself.
    #[arg(long, value_name = "LABEL,...", value_delimiter = ',')]
    pub labels: Vec<String>,
    /// Read no Secret's values: they are not compared.
    #[arg(long)]
    pub metadata_only: bool,
    /// How to print.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub cluster: ClusterArgs,
}

/// Looks, and judges. With `-n`, what concerns that namespace.
pub async fn run(asked: &Audit, now: Timestamp) -> Result<Report, Failure> {
    let cluster = Cluster::connect(&asked.cluster).await?;
    let sighted = look::look(&cluster, !asked.metadata_only).await?;
    let mut outcome = judge(&sighted, &asked.labels, now);
    if cluster.named {
        let concerns = |namespace: &Option<String>| namespace.as_deref().is_none_or(|n| n == cluster.namespace);
        outcome.findings.retain(|finding| concerns(&finding.subject.namespace));
    }
    outcome.findings.extend(cluster.gaps());
    Ok(Report::live(outcome.findings, outcome.passed))
}

/// Everything. Pure.
pub fn judge(sighted: &Sighted, labels: &[String], now: Timestamp) -> Outcome {
    let mut outcome = Outcome::default();
    let scopes = Scopes::new(&sighted.observed, labels);
    promises::judge(sighted, now, &mut outcome);
    values::judge(sighted, &scopes, &mut outcome);
    pods::judge(sighted, &mut outcome);
    roles::judge(sighted, &scopes, &mut outcome);
    external::judge(sighted, &scopes, &mut outcome);
    outcome
}
