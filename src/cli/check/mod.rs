//! Is all of it healthy: `kubectl scoped-secrets check`, before (`--pre`) and after an installation.
//!
//! ```text
//!   Cluster ──installed::look──► Installed ──judge──► Report       (kinds, operator, doors, objects: each pure)
//!   Cluster ──knock::knock─────► Answers ────judge──► Report       (--doors: these alone)
//!   Cluster ──pre::look────────► Ground ─────judge──► Report
//! ```

mod doors;
mod installed;
mod kinds;
mod knock;
mod objects;
mod operator;
pub mod pre;
mod roles;
pub(super) mod served;

use super::cluster::{Cluster, ClusterArgs, Failure};
use super::installation::InstallationArgs;
use super::report::{Finding, Outcome, Output, Report, Severity};
use crate::api::{Reason, duration};
use installed::{Guards, Installed};
use jiff::Timestamp;
use std::time::Duration;

/// Whether all of Scoped Secrets is healthy, before and after its installation; each finding says how to mend it.
///
/// It reads, as you: kinds, Deployment, Lease, webhook configuration, admission rules, roles, stores, policies and
/// ScopedSecrets. It reads no Secret; of the seal key only that it is there. What you may not look at is a finding, too. And it
/// knocks at the doors, as --doors does; where you may not, a note says so.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit code: 0 clean, 1 findings, 2 error.

Examples:
  kubectl scoped-secrets check --pre
  kubectl apply --server-side -k deploy/ && kubectl scoped-secrets check --wait
  kubectl scoped-secrets check --doors
  kubectl scoped-secrets check -n payments-prod -o json")]
pub struct Check {
    /// Before an installation: can it be installed here, by you?
    #[arg(long)]
    pub pre: bool,
    /// Only the doors: does the webhook answer, and does the API server keep its rules? By two dry runs that must be refused, and by
    /// what is bound; you must be allowed to create SegmentationPolicies, and Secrets in the operator's namespace, and to list
    /// ValidatingAdmissionPolicies and their bindings.
    #[arg(long, conflicts_with = "pre")]
    pub doors: bool,
    /// Look again until the installation itself is healthy, or --timeout is over; what else is found is then reported.
    #[arg(long)]
    pub wait: bool,
    /// How long --wait waits (90s, 5m).
    #[arg(long, value_name = "DURATION", default_value = "2m", value_parser = read_duration, requires = "wait")]
    pub timeout: Duration,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub installation: InstallationArgs,
    /// How to print.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub cluster: ClusterArgs,
}

fn read_duration(text: &str) -> Result<Duration, String> {
    duration::parse(text).map_err(|error| error.to_string())
}

/// How long `--wait` lets the cluster be between two looks.
const PAUSE: Duration = Duration::from_secs(2);

/// Looks, and judges; with `--wait` until the installation is well.
pub async fn run(asked: &Check, clock: &dyn Fn() -> Timestamp) -> Result<Report, Failure> {
    let cluster = Cluster::connect(&asked.cluster).await?;
    let began = clock();
    loop {
        let report = once(asked, &cluster, clock).await;
        let over = clock().duration_since(began).unsigned_abs() + PAUSE > asked.timeout;
        let settled = report.as_ref().is_ok_and(|report| report.findings.iter().all(|finding| !holds_up(finding)));
        if settled || !asked.wait || over {
            return report;
        }
        tokio::time::sleep(PAUSE).await;
        cluster.forget_gaps();
    }
}

/// What tenants and the platform write: it may stay as it is for days, and is reported.
const WRITTEN: [&str; 6] =
    ["ScopedSecret", "ScopedSecretStore", "SegmentationPolicy", "SegmentationReport", "SecretGrant", "Namespace"];

/// Whether `--wait` waits for a finding to go: those about the installation itself, and what the operator has not looked at yet.
fn holds_up(finding: &Finding) -> bool {
    let waits = finding.reason == Reason::Pending || !WRITTEN.contains(&finding.subject.kind.as_str());
    waits && finding.severity != Severity::Note
}

async fn once(asked: &Check, cluster: &Cluster, clock: &dyn Fn() -> Timestamp) -> Result<Report, Failure> {
    let installation = asked.installation.find(cluster).await?;
    let mut outcome = if asked.pre {
        pre::judge(&pre::look(cluster, &installation).await?)
    } else if asked.doors {
        let mut outcome = Outcome::default();
        knock::judge(&knock::knock(cluster, &installation).await?, Severity::Warning, &mut outcome);
        doors::judge_guards(&Guards::look(cluster).await?, &installation, &mut outcome);
        outcome
    } else {
        let found = installed::look(cluster, installation.clone()).await?;
        let only = cluster.named.then_some(cluster.namespace.as_str());
        let mut outcome = judge(&found, only, clock());
        if !found.is_nothing() {
            knock::judge(&knock::knock(cluster, &installation).await?, Severity::Note, &mut outcome);
        }
        outcome
    };
    outcome.findings.extend(cluster.gaps());
    Ok(Report::live(outcome.findings, outcome.passed))
}

/// Everything about an installation. `only`: ScopedSecrets of this namespace alone.
pub fn judge(found: &Installed, only: Option<&str>, now: Timestamp) -> Outcome {
    let mut outcome = Outcome::default();
    if found.is_nothing() {
        kinds::nothing(&found.guards, &mut outcome);
        return outcome;
    }
    kinds::judge(found, &mut outcome);
    operator::judge(found, now, &mut outcome);
    roles::judge(found, &mut outcome);
    doors::judge_webhook(found, now, &mut outcome);
    doors::judge_guards(&found.guards, &found.installation, &mut outcome);
    served::judge(found, only, &mut outcome);
    objects::judge(found, only, now, &mut outcome);
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::report::{Rule, Subject};

    #[test]
    fn waits_for_the_installation_and_not_for_what_tenants_wrote() {
        let finding = |kind: &str, reason| {
            Finding::live(Severity::Error, Rule::Installation, reason, Subject::cluster(kind, "x"), "not well")
        };
        for (kind, reason, waits) in [
            ("Deployment", Reason::OperatorDown, true),
            ("ValidatingAdmissionPolicyBinding", Reason::GuardMissing, true),
            ("ScopedSecret", Reason::KeyNotAllowed, false),
            ("ScopedSecret", Reason::Pending, true),
            ("SegmentationReport", Reason::ViolationsFound, false),
            ("SegmentationPolicy", Reason::PolicyInvalid, false),
            ("SegmentationPolicy", Reason::Pending, true),
            ("SecretGrant", Reason::AwaitsApproval, false),
        ] {
            assert_eq!(holds_up(&finding(kind, reason)), waits, "{kind} {reason}");
        }
        let barred = finding("secrets", Reason::CannotLook);
        assert!(holds_up(&barred) && !holds_up(&Finding { severity: Severity::Note, ..barred }));
    }
}
