//! The guarantees over a live cluster: `kubectl scoped-secrets audit`, with the reader's own permissions, and also before
//! anything is installed.
//!
//! ```text
//!   look ──► Sighted: the world, Secrets (metadata; values as keyed hashes of this run), what names them, roles, others' objects
//!     promises (segmentation::guarantees) ─┐
//!     Scopes::assume: policies for what none governs
//!     repeated, consumers, volumes, access, replicated, foreign ─┴─► Report (each pure; each asks the operator's own judge)
//! ```

mod access;
pub(in crate::cli) mod consumers;
mod foreign;
mod kept;
mod lent;
mod look;
mod promises;
mod repeated;
mod replicated;
mod scopes;
mod told;
mod tried;
mod values;
mod volumes;

use super::cluster::{Cluster, ClusterArgs, Failure};
use super::installation::InstallationArgs;
use super::observed::{Observed, observe};
use super::report::{Finding, Outcome, Output, Report, Rule, Severity, Subject};
use super::simulate::object::Source;
use super::simulate::schema::nearest;
use crate::api::Reason;
use crate::segmentation::world::ObjectName;
use clap::builder::NonEmptyStringValueParser;
use jiff::Timestamp;
use kube::api::DynamicObject;
use look::Sighted;
use scopes::Scopes;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// Whether the guarantees hold over the whole cluster, as far as you may see; also where Scoped Secrets is not installed.
///
/// It looks for: a key or a value in several segments, Secrets that several ServiceAccounts use, roles that lead to Secrets
/// across segments, what replicators carry, Secrets in the namespace default, objects of other operators (ExternalSecrets, PushSecrets, VaultStaticSecrets,
/// SecretProviderClasses) that ask for what is not theirs, and, where Scoped Secrets is installed, whether each of its
/// guarantees holds, and whether access that was lent has ended. If you may read Secrets, their values are looked for in all Secrets and ConfigMaps, also inside larger texts
/// and base64-coded, by hashes under a key of this run alone; neither a value nor a hash is shown or kept.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit code: 0 clean, 1 findings, 2 error.

Examples:
  kubectl scoped-secrets audit
  kubectl scoped-secrets audit --labels tenant,environment -o sarif
  kubectl scoped-secrets audit -f platform/policy.yaml
  kubectl scoped-secrets audit -n payments-prod --metadata-only")]
pub struct Audit {
    /// Namespace labels that name a segment, where no policy governs yet; without, each namespace is for itself.
    #[arg(long, value_name = "LABEL,...", value_delimiter = ',', value_parser = NonEmptyStringValueParser::new())]
    pub labels: Vec<String>,
    /// Policies and stores to try, as if they were applied: files, folders, or - for stdin; may be repeated.
    #[arg(short, long = "file", value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Read neither Secrets' nor ConfigMaps' contents: no value is compared.
    #[arg(long)]
    pub metadata_only: bool,
    /// What the operator's own account needs is no finding.
    #[command(flatten)]
    pub installation: InstallationArgs,
    /// How to print.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub cluster: ClusterArgs,
}

/// Looks, and judges. With `-n`, what concerns that namespace. `sources` are what `--file` names, `unjudged` what is not tried of it.
pub async fn run(asked: &Audit, sources: &[Source], unjudged: Vec<Finding>, now: Timestamp) -> Result<Report, Failure> {
    let tried = tried::read(sources)?;
    let cluster = Cluster::connect(&asked.cluster).await?;
    let installation = asked.installation.find(&cluster).await?;
    let operator = ObjectName::new(&installation.namespace, &installation.service_account);
    let observed = observe(&cluster, &cluster.namespace).await?;
    let observed = prepare(observed, tried, &asked.labels).map_err(Failure::Usage)?;
    let sighted = look::look(&cluster, observed, operator, !asked.metadata_only, now).await?;
    let here = cluster.named.then_some(cluster.namespace.as_str());
    let mut outcome = judge(sighted, &asked.labels, here, now);
    if let Some(here) = here {
        outcome.findings.retain(|finding| finding.subject.namespace.as_deref().is_none_or(|n| n == here));
    }
    outcome.findings.extend(cluster.gaps());
    outcome.findings.extend(unjudged);
    Ok(Report::live(outcome.findings, outcome.passed))
}

/// With what is tried. A label that no namespace has is an error: each would be for itself, and nobody would notice.
fn prepare(mut observed: Observed, tried: Vec<DynamicObject>, labels: &[String]) -> Result<Observed, String> {
    tried.into_iter().try_for_each(|object| observed.try_out(object))?;
    let all = observed.world.namespaces.values().flat_map(BTreeMap::keys).map(String::as_str);
    let known: BTreeSet<&str> = all.collect();
    match labels.iter().find(|label| !known.contains(label.as_str())) {
        Some(label) if !known.is_empty() => {
            let probably = nearest(label, known.into_iter()).map(|name| format!("; did you mean {name:?}?"));
            Err(format!("--labels: no namespace has the label {label:?}{}", probably.unwrap_or_default()))
        }
        _ => Ok(observed),
    }
}

/// Everything. With `here`, what concerns several namespaces is told of an object of that one. Pure.
pub fn judge(mut sighted: Sighted, labels: &[String], here: Option<&str>, now: Timestamp) -> Outcome {
    let mut outcome = Outcome::default();
    promises::judge(&sighted, now, &mut outcome);
    lent::judge(&sighted, now, &mut outcome);
    not_understood(&sighted, &mut outcome);
    let scopes = Scopes::assume(&mut sighted.observed, labels);
    repeated::judge(&sighted, &scopes, here, now, &mut outcome);
    consumers::judge(&sighted, &scopes, now, &mut outcome);
    volumes::judge(&sighted, &scopes, &mut outcome);
    access::judge(&sighted, &scopes, now, &mut outcome);
    replicated::judge(&sighted, &scopes, now, &mut outcome);
    foreign::judge(&sighted, &scopes, here, now, &mut outcome);
    outcome
}

/// Policies that govern nothing here, since nobody can tell what they say.
fn not_understood(sighted: &Sighted, outcome: &mut Outcome) {
    for (kind, name, why) in sighted.observed.broken.iter().filter(|(kind, ..)| *kind == "SegmentationPolicy") {
        let message = format!("it cannot be understood, and was left out of account: {why}");
        let finding = Finding::live(
            Severity::Error,
            Rule::Policies,
            Reason::PolicyInvalid,
            Subject::cluster(kind, name),
            message,
        );
        outcome.push(finding.mend(Reason::PolicyInvalid.fix()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::observed::build;
    use crate::cli::observed::tests::facts;

    #[test]
    fn a_label_that_no_namespace_has_is_an_error() {
        let prepared = |label: &str| prepare(build(facts(&[])), Vec::new(), &[label.to_owned()]).map(|_| ());
        assert_eq!(prepared("tenant"), Ok(()));
        let told = prepared("tennant").unwrap_err();
        assert_eq!(told, "--labels: no namespace has the label \"tennant\"; did you mean \"tenant\"?");
    }
}
