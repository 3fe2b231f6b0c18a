//! From a pod to its Secrets, their ScopedSecrets, policies, remote keys and versions: `kubectl scoped-secrets trace`.
//!
//! ```text
//!   Pod or workload ─ references ─► Secret (metadata only) ─► ScopedSecret ─► policy, remote key, version
//! ```

mod chain;
mod text;
mod workload;

pub use chain::{Sight, Trace, follow};
pub use text::render;

use super::cluster::{Cluster, ClusterArgs, Failure};
use super::lent;
use super::names::read_kind_and_name;
use super::observed::observe;
use super::report::Output;
use crate::segmentation::references::{account_of, names, of_account, of_pods};
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use kube::api::Api;
use std::collections::BTreeMap;

/// From a pod or a workload to its Secrets, their ScopedSecrets, policies, remote keys and versions.
///
/// It says of each Secret that the pods name whether it is managed, by which ScopedSecret, from which remote key and version, and
/// under which policy. Of Secrets it reads the metadata alone.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit code: 0 clean, 1 findings (a Secret is missing, foreign or not well, or you may not look), 2 error.

Examples:
  kubectl scoped-secrets trace orders-7d9f -n payments-prod
  kubectl scoped-secrets trace deployment/orders -n payments-prod -o json"
)]
pub struct TraceArgs {
    /// A pod, or KIND/NAME: pod, deployment, statefulset, daemonset, replicaset, job, cronjob, replicationcontroller or podtemplate.
    #[arg(value_name = "POD", value_parser = read_kind_and_name)]
    pub target: String,
    /// How to print.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub cluster: ClusterArgs,
}

/// Looks, and follows.
pub async fn run(asked: &TraceArgs) -> Result<Trace, Failure> {
    let cluster = Cluster::connect(&asked.cluster).await?;
    if cluster.all {
        return Err(Failure::Usage("a pod is in one namespace: use -n NAMESPACE instead of -A".to_owned()));
    }
    let (about, spec) = workload::find(&cluster, &asked.target).await?;
    let account = account_of(&spec).to_owned();
    let mut named = of_pods(&spec);
    let accounts: Api<ServiceAccount> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    // A pod is given its account's only where it has none of its own.
    let given = match spec.image_pull_secrets.as_ref().is_none_or(Vec::is_empty) {
        true => cluster.get(&accounts, &account).await?.found().unwrap_or_default(),
        false => ServiceAccount::default(),
    };
    named.extend(of_account(&given).into_iter().filter(|reference| reference.by.is_pull()));
    let secrets: Api<Secret> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let mut metadata = BTreeMap::new();
    for name in names(&named) {
        metadata.insert(name.to_owned(), cluster.get_metadata(&secrets, name).await?.map(|secret| secret.metadata));
    }
    let observed = observe(&cluster, &cluster.namespace).await?;
    let grants = lent::look(&cluster).await?;
    let sight = Sight { about, namespace: cluster.namespace.clone(), account, named, metadata, grants };
    let mut trace = follow(&sight, &observed);
    trace.not_seen(cluster.gaps_here());
    Ok(trace)
}
