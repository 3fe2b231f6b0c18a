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
mod grant;
mod key;
mod merged;
mod request;
mod text;

pub use answer::{Answer, covering};
pub use text::render;

use super::change::look;
use super::check::served::served;
use super::cluster::{Cluster, ClusterArgs, Failure};
use super::lent;
use super::names::{read_kind_and_name, read_name};
use super::observed::{Observed, observe};
use super::report::Output;
use crate::admission::webhook_configuration::CONFIGURATION;
use crate::segmentation::world::ObjectName;
use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::events::v1::Event;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use std::path::PathBuf;

/// Why a ScopedSecret is as it is, whether a key may be claimed in a namespace, or why a request was denied.
///
/// The verdict is that of the same authoriser as at admission and in the operator, over what you may see.
#[derive(Debug, clap::Args)]
#[command(override_usage = "kubectl scoped-secrets why [OPTIONS] <SCOPEDSECRET | --key <KEY> | -f <FILE>>")]
#[command(after_help = "Exit code: 0 allowed and well, 1 refused or not well, 2 error.

Examples:
  kubectl scoped-secrets why orders -n payments-prod
  kubectl scoped-secrets why secretgrant/ada -n payments-prod
  kubectl scoped-secrets why --key payments/prod/db -n payments-prod --store aws-prod
  kubectl apply -f app.yaml 2>&1 | kubectl scoped-secrets why -f -
  kubectl scoped-secrets why -f app.yaml")]
pub struct Why {
    /// A ScopedSecret, or secretgrant/NAME.
    #[arg(value_name = "SCOPEDSECRET", value_parser = read_kind_and_name, required_unless_present_any = ["key", "denied", "file"], conflicts_with_all = ["key", "file"])]
    pub name: Option<String>,
    /// A key of a secrets manager: may this namespace claim it?
    #[arg(long, value_name = "KEY", conflicts_with = "denied")]
    pub key: Option<String>,
    /// The ScopedSecretStore of --key [default: the only one there is].
    #[arg(long, value_name = "STORE", value_parser = read_name, requires = "key", conflicts_with_all = ["name", "denied"])]
    pub store: Option<String>,
    /// A request that was denied: the text of the denial, or the object, from --file; understood with --file.
    #[arg(long)]
    pub denied: bool,
    /// A file, or - for stdin.
    #[arg(short, long, value_name = "FILE", conflicts_with_all = ["name", "key"])]
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
    if let (true, None) = (asked.denied, input) {
        let file = asked.name.as_deref().unwrap_or("FILE");
        return Err(Failure::Usage(format!("--denied is about what is in a file: write why --file {file}")));
    }
    if let Some(input) = input {
        let denials = denied::read(input);
        if !denials.is_empty() {
            return Ok(denied::answer(&denials));
        }
        let object = request::object(input).map_err(Failure::Usage)?;
        let object = object.ok_or_else(|| Failure::Usage(denied::NOT_OURS.to_owned()))?;
        let cluster = Cluster::connect(&asked.cluster).await?;
        return request::answer(&cluster, &object, now).await;
    }
    let cluster = Cluster::connect(&asked.cluster).await?;
    if cluster.all {
        return Err(Failure::Usage("one namespace has an answer: use -n NAMESPACE instead of -A".to_owned()));
    }
    let mut answer = of_what_is_there(asked, &cluster, now).await?;
    if !is_served(&cluster, &cluster.namespace).await? {
        answer.is_not_served(&cluster.namespace);
    }
    answer.not_seen(&cluster);
    Ok(answer)
}

/// Whether the operator looks at a namespace at all, by the entries of its webhook; yes, if they cannot be read.
async fn is_served(cluster: &Cluster, namespace: &str) -> Result<bool, Failure> {
    let api: Api<ValidatingWebhookConfiguration> = Api::all(cluster.client.clone());
    Ok(served(None, cluster.peek(&api, CONFIGURATION).await?.as_ref()).holds(namespace))
}

async fn of_what_is_there(asked: &Why, cluster: &Cluster, now: Timestamp) -> Result<Answer, Failure> {
    if let Some(name) = asked.name.as_deref().filter(|_| asked.key.is_none()).and_then(granted) {
        let object = look::get(cluster, &look::kind("SecretGrant"), name).await?;
        let grant = object.try_parse().map_err(|error| Failure::Usage(format!("SecretGrant {name}: {error}")))?;
        let events = events(cluster, "SecretGrant", &ObjectName::new(&cluster.namespace, name)).await?;
        return Ok(grant::answer(&grant, &events, now));
    }
    let observed = observe(cluster, &cluster.namespace).await?;
    if !observed.installed {
        return Err(Failure::Usage(
            "Scoped Secrets is not installed in this cluster: it has none of its kinds (kubectl scoped-secrets check --pre says whether it can be)"
                .to_owned(),
        ));
    }
    if let Some(key) = &asked.key {
        let store = key::store(&observed, &cluster.namespace, asked.store.as_deref()).map_err(Failure::Usage)?;
        return Ok(key::answer(&observed, &cluster.namespace, &store, key, now));
    }
    let name = meant(asked.name.as_deref().unwrap_or_default()).map_err(Failure::Usage)?;
    let name = ObjectName::new(&cluster.namespace, name);
    let events = events(cluster, "ScopedSecret", &name).await?;
    let Some(mut answer) = claim::answer(&observed, &name, &events, now) else {
        return Err(not_found(cluster, &observed, &name).await);
    };
    answer.lent_to = lent::look(cluster).await?.readers(&name.namespace, &name.name);
    Ok(answer)
}

/// The ScopedSecret's name, written with its kind or without.
fn meant(written: &str) -> Result<&str, String> {
    match written.rsplit_once('/') {
        None => Ok(written),
        Some((kind, name)) if KINDS.contains(&kind.to_lowercase().as_str()) => Ok(name),
        Some((kind, name)) => Err(format!(
            "why asks about a ScopedSecret or a secretgrant/NAME, not {kind:?}: write {name}, or kubectl scoped-secrets trace {written} for a pod or a workload"
        )),
    }
}

/// The name of a SecretGrant, which is written with its kind.
fn granted(written: &str) -> Option<&str> {
    let (kind, name) = written.rsplit_once('/')?;
    let kinds = ["secretgrant", "secretgrants", "sgrant", "secretgrants.scopedsecrets.io"];
    kinds.contains(&kind.to_lowercase().as_str()).then_some(name)
}

/// The names of the kind, as kubectl takes them.
const KINDS: [&str; 4] = ["scopedsecret", "scopedsecrets", "scs", "scopedsecrets.scopedsecrets.io"];

/// Why nothing can be said of it: it is not there, the reader may not look, or it cannot be decoded.
async fn not_found(cluster: &Cluster, observed: &Observed, name: &ObjectName) -> Failure {
    match look::get(cluster, &look::kind("ScopedSecret"), &name.name).await {
        Ok(_) => {
            let gaps: Vec<String> = cluster.gaps().into_iter().map(|gap| gap.message).collect();
            let why = if gaps.is_empty() { "this version cannot decode it".to_owned() } else { gaps.join("; ") };
            Failure::Usage(format!("ScopedSecret {name}: it is there, and its verdict cannot be told: {why}"))
        }
        Err(Failure::Usage(told)) => {
            Failure::Usage(format!("{told}{}; for a request that was refused: why -f FILE", elsewhere(observed, name)))
        }
        Err(failure) => failure,
    }
}

/// Where else there is one of this name, as far as the reader sees.
fn elsewhere(observed: &Observed, name: &ObjectName) -> String {
    let named = observed.claims.iter().filter(|claim| claim.name_any() == *name.name);
    let there: Vec<String> = named.filter_map(ResourceExt::namespace).take(5).collect();
    if there.is_empty() {
        return String::new();
    }
    format!("; there is one of that name in {}: write -n NAMESPACE", there.join(", "))
}

/// What was told of an object.
async fn events(cluster: &Cluster, kind: &str, name: &ObjectName) -> Result<Vec<Event>, Failure> {
    let params = ListParams::default().fields(&format!("regarding.kind={kind},regarding.name={}", name.name));
    let api: Api<Event> = Api::namespaced(cluster.client.clone(), &name.namespace);
    Ok(cluster.list(&api, params).await?.found().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::observed::build;
    use crate::cli::observed::tests::{claim, facts};

    #[test]
    fn the_name_with_its_kind_or_without() {
        for written in ["orders", "scopedsecret/orders", "scs/orders", "ScopedSecrets/orders"] {
            assert_eq!(meant(written), Ok("orders"), "{written}");
        }
        assert_eq!((granted("sgrant/ada"), granted("SecretGrant/ada")), (Some("ada"), Some("ada")));
        assert_eq!((granted("ada"), granted("pod/ada")), (None, None));
        let told = meant("pod/orders").unwrap_err();
        assert!(told.contains("trace pod/orders"), "{told}");
    }

    #[test]
    fn what_is_not_there_may_be_elsewhere() {
        let observed = build(facts(&[claim("payments-prod", "orders", "payments/prod/a", 1, true)]));
        let told = |namespace, name| elsewhere(&observed, &ObjectName::new(namespace, name));
        assert_eq!(told("default", "orders"), "; there is one of that name in payments-prod: write -n NAMESPACE");
        assert_eq!(told("default", "nothing"), "");
    }
}
