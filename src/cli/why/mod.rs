//! Why is it so: `kubectl scoped-secrets why`, of a ScopedSecret, of a key in a namespace, or of a request that was denied.
//!
//! ```text
//!   Observed ──authorize──► verdict ─┐
//!   status, events ──────────────────┼─► Answer ─► text, json, sarif
//!   a denial's text ──denied::read───┘
//! ```
//! The verdict is the authoriser's own, over what the reader may see.

mod answer;
mod claim;
mod denied;
mod key;
mod request;
mod text;

pub use answer::{Answer, covering};
pub use text::render;

use super::cluster::{Cluster, ClusterArgs, Failure};
use super::observed::observe;
use super::report::Output;
use crate::api::ScopedSecret;
use crate::segmentation::world::ObjectName;
use jiff::Timestamp;
use k8s_openapi::api::events::v1::Event;
use kube::api::{Api, ListParams};
use std::path::PathBuf;

/// Why a ScopedSecret is as it is, whether a key may be claimed in a namespace, or why a request was denied.
///
/// The verdict is that of the same authoriser as at admission and in the operator, over what you may see.
#[derive(Debug, clap::Args)]
#[command(override_usage = "kubectl scoped-secrets why [OPTIONS] <SCOPEDSECRET | --key <KEY> | --denied -f <FILE>>")]
#[command(after_help = "Exit code: 0 allowed and well, 1 refused or not well, 2 error.

Examples:
  kubectl scoped-secrets why orders -n payments-prod
  kubectl scoped-secrets why --key payments/prod/db -n payments-prod --store aws-prod
  kubectl apply -f app.yaml 2>&1 | kubectl scoped-secrets why --denied -f -
  kubectl scoped-secrets why --denied -f app.yaml")]
pub struct Why {
    /// A ScopedSecret.
    #[arg(value_name = "SCOPEDSECRET", required_unless_present_any = ["key", "denied"], conflicts_with_all = ["key", "denied"])]
    pub name: Option<String>,
    /// A key of a secrets manager: may this namespace claim it?
    #[arg(long, value_name = "KEY", conflicts_with = "denied")]
    pub key: Option<String>,
    /// The ScopedSecretStore of --key [default: the only one there is].
    #[arg(long, value_name = "STORE", requires = "key")]
    pub store: Option<String>,
    /// A request that was denied: the text of the denial, or the object, from --file.
    #[arg(long, requires = "file")]
    pub denied: bool,
    /// A file, or - for stdin.
    #[arg(short, long, value_name = "FILE", requires = "denied")]
    pub file: Option<PathBuf>,
    /// How to print.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub cluster: ClusterArgs,
}

/// Answers. `input` is the text of `--file`.
pub async fn run(asked: &Why, input: Option<&str>, now: Timestamp) -> Result<Answer, Failure> {
    if let Some(input) = input {
        let denials = denied::read(input);
        if !denials.is_empty() {
            return Ok(denied::answer(&denials));
        }
        let object = request::object(input).ok_or_else(|| Failure::Usage(denied::NOT_OURS.to_owned()))?;
        let cluster = Cluster::connect(&asked.cluster).await?;
        return request::answer(&cluster, &object, now).await;
    }
    let cluster = Cluster::connect(&asked.cluster).await?;
    if cluster.all {
        return Err(Failure::Usage("one namespace has an answer: use -n NAMESPACE instead of -A".to_owned()));
    }
    let observed = observe(&cluster, &cluster.namespace).await?;
    if !observed.installed {
        return Err(Failure::Usage(
            "Scoped Secrets is not installed in this cluster: it has none of its kinds".to_owned(),
        ));
    }
    let mut answer = if let Some(key) = &asked.key {
        let store = key::store(&observed, &cluster.namespace, asked.store.as_deref()).map_err(Failure::Usage)?;
        key::answer(&observed, &cluster.namespace, &store, key, now)
    } else {
        let written = asked.name.as_deref().unwrap_or_default();
        let name = written.rsplit('/').next().unwrap_or_default();
        let name = ObjectName::new(&cluster.namespace, name);
        let events = events(&cluster, &name).await?;
        claim::answer(&observed, &name, &events, now).ok_or_else(|| not_found(&cluster, &name))?
    };
    answer.not_seen(&cluster);
    Ok(answer)
}

fn not_found(cluster: &Cluster, name: &ObjectName) -> Failure {
    let gaps: Vec<String> = cluster.gaps().into_iter().map(|gap| gap.message).collect();
    let gaps = if gaps.is_empty() { String::new() } else { format!(" ({})", gaps.join("; ")) };
    Failure::Usage(format!(
        "there is no ScopedSecret {:?} in namespace {:?}, or it cannot be decoded{gaps}; for a request that was refused: why --denied -f FILE",
        &*name.name, &*name.namespace
    ))
}

/// What was told of a ScopedSecret.
async fn events(cluster: &Cluster, name: &ObjectName) -> Result<Vec<Event>, Failure> {
    let kind = <ScopedSecret as kube::Resource>::kind(&());
    let params = ListParams::default().fields(&format!("regarding.kind={kind},regarding.name={}", name.name));
    let api: Api<Event> = Api::namespaced(cluster.client.clone(), &name.namespace);
    Ok(cluster.list(&api, params).await?.found().unwrap_or_default())
}
