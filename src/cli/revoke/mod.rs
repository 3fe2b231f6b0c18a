//! A leak: `kubectl scoped-secrets revoke`, of what a ScopedSecret holds or of one key.
//!
//! Of a ScopedSecret by its annotation `scopedsecrets.io/revoke`, which whoever owns it may set (the operator makes the
//! KeyRevocations); of a key by a KeyRevocation, which is the platform team's.

mod key;

use super::change::look::{self, Sight};
use super::change::plan::Plan;
use super::change::wait::{Progress, Wait, condition, told};
use super::change::write::Write;
use super::change::{ChangeArgs, Talk, carry_out};
use super::cluster::Failure;
use super::command::Surroundings;
use super::report::Subject;
use kube::ResourceExt;
use serde_json::Value;

/// Take a leaked key's value away, everywhere, at once.
///
/// Every Secret that holds a revoked version goes, and stays away until the manager has a newer one. With SCOPEDSECRET it sets the
/// annotation scopedsecrets.io/revoke of it, for which you need the verb patch on it, and the verb revoke where others claim the
/// key, too. With --key it creates a KeyRevocation, which is the platform team's.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "kubectl scoped-secrets revoke [OPTIONS] <SCOPEDSECRET | --key <KEY> --store <STORE> --reason <REASON>>"
)]
#[command(
    after_help = "Exit code: 0 done, 1 not done in the end (--wait; such as pods that still hold the value), or the answer was no, 2 error.

Examples:
  kubectl scoped-secrets revoke orders -n payments-prod
  kubectl scoped-secrets revoke --key payments/prod/db --store aws-prod --reason 'seen in a build log' --yes --wait"
)]
pub struct Revoke {
    /// A ScopedSecret: every key that it names.
    #[arg(value_name = "SCOPEDSECRET", required_unless_present = "key", conflicts_with_all = ["key", "store", "reason"])]
    pub name: Option<String>,
    /// A key of a secrets manager.
    #[arg(long, value_name = "KEY", requires = "store", requires = "reason")]
    pub key: Option<String>,
    /// The ScopedSecretStore of --key.
    #[arg(long, value_name = "STORE", requires = "key")]
    pub store: Option<String>,
    /// Why, such as an incident; it stands in the KeyRevocation.
    #[arg(long, value_name = "TEXT", requires = "key")]
    pub reason: Option<String>,
    /// Even if a KeyRevocation of the key is not complete yet: the newer version leaked, too.
    #[arg(long, requires = "key")]
    pub again: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub change: ChangeArgs,
}

/// The annotation.
const REVOKE: &str = "scopedsecrets.io/revoke";

/// Shows, asks, writes, waits.
pub async fn run(asked: &Revoke, around: &Surroundings<'_>, talk: &mut Talk<'_>) -> Result<u8, Failure> {
    let cluster = asked.change.connect().await?;
    let Some(name) = &asked.name else {
        let plan = key::plan(&key::look(&cluster, asked).await?)?;
        let wait = |written: &Value| Wait {
            kind: "KeyRevocation",
            namespaced: false,
            name: written.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned(),
            judge: Box::new(key::progress),
        };
        return carry_out(&asked.change, &cluster, around, plan, wait, talk).await;
    };
    let sight = look::look(&cluster, name).await?;
    let plan = plan(&sight)?;
    let name = name.clone();
    let wait = |_: &Value| Wait { kind: "ScopedSecret", namespaced: true, name, judge: Box::new(progress) };
    carry_out(&asked.change, &cluster, around, plan, wait, talk).await
}

/// What will happen. Pure.
fn plan(sight: &Sight) -> Result<Plan, Failure> {
    let (claim, effects) = (&sight.claim, &sight.effects);
    let name = claim.name_any();
    let about = Subject::namespaced("ScopedSecret", &claim.namespace().unwrap_or_default(), &name);
    if sight.annotation(REVOKE) == Some("true") {
        let text = format!(
            "{about} is revoked already (its annotation {REVOKE} is \"true\"): kubectl get keyrevocations says how far that is; if a newer version leaked, too, remove the annotation first (that lifts nothing)"
        );
        return Err(Failure::Usage(text));
    }
    let keys: Vec<&str> = effects.keys.iter().map(|remote| remote.key.as_str()).collect();
    let shared = effects.shared();
    let others = match shared.is_empty() {
        true => "nobody else claims these keys".to_owned(),
        false => format!(
            "whoever else claims one of these keys loses it, too (for which you need the verb revoke): {}",
            shared.join(", ")
        ),
    };
    Ok(Plan {
        verb: "revoke",
        about,
        facts: effects.facts(),
        happens: vec![
            format!("the operator revokes {}: each version that the manager has made until now", keys.join(", ")),
            format!("the Secret {} is taken away at once; {others}", effects.secret),
            "pods that start from then on wait; those that run keep the value until they are restarted (the KeyRevocation lists them)".to_owned(),
            "once the manager has a newer version, the Secret is back with it: store one there".to_owned(),
        ],
        notes: vec!["removing the annotation lifts nothing: the platform team does, by deleting the KeyRevocation".to_owned()],
        write: Write::annotate(&name, claim.metadata.uid.as_deref(), REVOKE, "true"),
        done: "the operator was told to revoke it".to_owned(),
    })
}

/// Pure.
fn progress(now: Option<&Value>) -> Progress {
    let Some(now) = now else { return Progress::Done("the ScopedSecret was deleted".to_owned()) };
    let gone = now.pointer("/status/secretRef").is_none();
    match condition(now, "Authorized") {
        Some(("False", "KeyRevoked", _)) if gone => Progress::Done(
            "its Secret was taken away; kubectl get keyrevocations says which pods still hold the value".to_owned(),
        ),
        _ => Progress::Open(told(now, "Authorized")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn it_is_done_when_the_secret_is_gone_for_that() {
        let object = |status: &str, reason: &str, secret: bool| {
            let condition = json!({"type": "Authorized", "status": status, "reason": reason, "message": "m"});
            let mut object = json!({"status": {"conditions": [condition]}});
            if secret {
                object["status"]["secretRef"] = json!({"name": "orders"});
            }
            object
        };
        for (now, done) in [
            (object("True", "Allowed", true), false),
            (object("False", "KeyRevoked", true), false),
            (object("False", "KeyNotAllowed", false), false),
            (object("False", "KeyRevoked", false), true),
        ] {
            assert_eq!(matches!(progress(Some(&now)), Progress::Done(_)), done, "{now}");
        }
    }
}
