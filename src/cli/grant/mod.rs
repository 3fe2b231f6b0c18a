//! Lend access to one Secret: `kubectl scoped-secrets grant`, by a SecretGrant.

mod terms;

use super::change::look::{self, Sight};
use super::change::plan::Plan;
use super::change::wait::{Progress, Wait, condition, told};
use super::change::write::Write;
use super::change::{ChangeArgs, Talk, carry_out};
use super::cluster::Failure;
use super::command::Surroundings;
use super::names::read_name;
use super::report::Subject;
use crate::api::{GROUP, duration};
use jiff::Timestamp;
use kube::ResourceExt;
use serde_json::{Value, json};
use std::time::Duration;
use terms::Terms;

/// Let somebody read one projected Secret for a while.
///
/// It creates a SecretGrant, for which you need the verb create on secretgrants and the verb grant on the ScopedSecret. At its end, or
/// when it is deleted, the access is taken back. Where the policy requires an approval, another user gives it:
/// `kubectl scoped-secrets approve`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit code: 0 done, 1 not done in the end (--wait), or the answer was no, 2 error.

Examples:
  kubectl scoped-secrets grant orders -n payments-prod --to user/ada@example.com --ttl 30m --reason INC-123
  kubectl scoped-secrets grant orders -n payments-prod --to sa/debug --ttl 1h --reason INC-123 --rotate-after --yes --wait")]
pub struct Grant {
    /// The ScopedSecret whose Secret may be read.
    #[arg(value_name = "SCOPEDSECRET", value_parser = read_name)]
    pub name: String,
    /// Who may read it: user/NAME, as the API server knows it, or sa/NAME, a ServiceAccount of the same namespace.
    #[arg(long, value_name = "user/NAME|sa/NAME", value_parser = subject)]
    pub to: To,
    /// How long: 30m, 8h, 1d; from its creation, or its approval where that is required.
    #[arg(long, value_name = "DURATION", value_parser = ttl)]
    pub ttl: String,
    /// Why, such as an incident.
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// Rotate the key when the access ends, since somebody has seen the value; the ScopedSecret needs spec.rotation.
    #[arg(long)]
    pub rotate_after: bool,
    /// Ask for an approval, though it cannot be seen here that the policy requires one.
    #[arg(long)]
    pub needs_approval: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub change: ChangeArgs,
}

/// Who may read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct To {
    /// User or ServiceAccount.
    pub kind: &'static str,
    /// The name.
    pub name: String,
}

fn subject(text: &str) -> Result<To, String> {
    let (written, name) = text.split_once('/').unwrap_or((text, ""));
    let kind = match written.to_lowercase().as_str() {
        "user" => "User",
        "sa" | "serviceaccount" => "ServiceAccount",
        _ => return Err("write user/NAME, or sa/NAME for a ServiceAccount of the same namespace".to_owned()),
    };
    match name {
        "" => Err(format!("the name is missing: write {written}/NAME")),
        name if kind == "User" && name.starts_with("system:") => {
            Err("a user is a person: for a ServiceAccount of the same namespace write sa/NAME; nothing else that begins with system: can be given a Secret".to_owned())
        }
        name if kind == "ServiceAccount" && name.contains(['/', ':']) => {
            Err("a ServiceAccount is one of the same namespace: write sa/ and its bare name".to_owned())
        }
        name => Ok(To { kind, name: name.to_owned() }),
    }
}

fn ttl(text: &str) -> Result<String, String> {
    match duration::parse(text) {
        Ok(length) if length < Duration::from_secs(1) => Err("write a second at least, such as 30m".to_owned()),
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// Shows, asks, writes, waits.
pub async fn run(asked: &Grant, around: &Surroundings<'_>, talk: &mut Talk<'_>) -> Result<u8, Failure> {
    let cluster = asked.change.connect().await?;
    let sight = look::look(&cluster, &asked.name, (around.clock)()).await?;
    let terms = terms::look(&cluster).await?;
    let asks = match asked.needs_approval || terms.approval == Some(true) {
        true => Some(look::who_am_i(&cluster).await?),
        false => None,
    };
    let plan = plan(asked, &sight, &terms, asks.as_deref(), (around.clock)())?;
    let wait = |written: &[Value]| {
        let name = written[0].pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned();
        vec![Wait { kind: "SecretGrant", namespaced: true, name, judge: Box::new(progress) }]
    };
    carry_out(&asked.change, &cluster, around, plan, wait, talk).await
}

/// What will happen; `asks` is who asks for an approval. Pure.
fn plan(asked: &Grant, sight: &Sight, terms: &Terms, asks: Option<&str>, now: Timestamp) -> Result<Plan, Failure> {
    let (claim, effects) = (&sight.claim, &sight.effects);
    let (name, namespace) = (claim.name_any(), claim.namespace().unwrap_or_default());
    let about = Subject::namespaced("ScopedSecret", &namespace, &name);
    let length = duration::parse(&asked.ttl).unwrap_or_default();
    if let Some(most) =
        terms.max_ttl.as_deref().and_then(|text| duration::parse(text).ok()).filter(|most| length > *most)
    {
        let text = format!("--ttl {}: the policy allows {} at most here", asked.ttl, duration::humanize(most));
        return Err(Failure::Usage(text));
    }
    if asked.rotate_after && !can_rotate(sight.spec()) {
        let text = format!(
            "--rotate-after: {about} has no spec.rotation, so that nothing can rotate it: write one, or leave the flag out"
        );
        return Err(Failure::Usage(text));
    }
    let To { kind, name: subject } = &asked.to;
    let mut facts =
        vec![("secret", effects.secret.clone()), ("for", format!("{kind} {subject}")), ("why", asked.reason.clone())];
    facts.extend(effects.facts().into_iter().filter(|(what, _)| ["key", "not ready", "ends"].contains(what)));
    let reads = format!("{kind} {subject} may read the Secret {}, and no other", effects.secret);
    let mut happens = match asks {
        Some(user) => vec![
            format!("it waits until another user approves it; {user} asks for it"),
            format!("then {reads}, for {} from the approval", asked.ttl),
        ],
        None => {
            let end = now.checked_add(length).map_or(String::new(), |end| format!(", until {end:.0}"));
            vec![format!("{reads}, for {}{end}", asked.ttl)]
        }
    };
    happens.push("at its end, or when the SecretGrant is deleted, the access is taken back".to_owned());
    let mut notes = Vec::new();
    if asked.rotate_after {
        happens.push("then the key is rotated, since somebody has seen the value".to_owned());
    } else {
        notes.push(
            "whoever has read the value knows it after the end, too: --rotate-after has it rotated then".to_owned(),
        );
    }
    if terms.approval.is_none() && asks.is_none() {
        notes.push("whether the policy requires an approval cannot be seen here; if it does, this is refused: write --needs-approval then".to_owned());
    }
    let mut spec = json!({
        "scopedSecretRef": {"name": name},
        "subject": {"kind": kind, "name": subject},
        "ttl": asked.ttl,
        "reason": asked.reason,
    });
    if asked.rotate_after {
        spec["rotateAfter"] = true.into();
    }
    if let Some(user) = asks {
        spec["requestedBy"] = user.into();
    }
    let object = json!({
        "apiVersion": format!("{GROUP}/v1alpha1"),
        "kind": "SecretGrant",
        "metadata": {"generateName": prefix(&name), "namespace": namespace},
        "spec": spec,
    });
    let done = match asks {
        Some(_) => format!(
            "SecretGrant {{name}} was created: another user approves it with kubectl scoped-secrets approve {{name}} -n {namespace}"
        ),
        None => format!(
            "SecretGrant {{name}} was created; kubectl delete secretgrant {{name}} -n {namespace} takes the access back early"
        ),
    };
    let writes = vec![Write::Create { kind: "SecretGrant", namespaced: true, object }];
    Ok(Plan { verb: "grant", about, facts, happens, notes, writes, done })
}

/// Whether a ScopedSecret of this spec says how its key is rotated: a grant with rotateAfter is not honoured without.
pub(super) fn can_rotate(spec: &Value) -> bool {
    spec.get("rotation").is_some()
}

/// Pure.
pub(super) fn progress(now: Option<&Value>) -> Progress {
    let Some(now) = now else { return Progress::Bad("the SecretGrant was deleted".to_owned()) };
    let is_true = |kind| condition(now, kind).is_some_and(|(status, ..)| status == "True");
    if is_true("Ready") {
        let end = now.pointer("/status/expirationTime").and_then(Value::as_str);
        return Progress::Done(format!(
            "the access is given{}",
            end.map_or(String::new(), |end| format!(", until {end}"))
        ));
    }
    if is_true("Stalled") || is_true("Expired") {
        Progress::Bad(told(now, "Ready"))
    } else {
        Progress::Open(told(now, "Ready"))
    }
}

/// What the API server adds five characters to. What is cut must not end in a way that a name's part may not.
fn prefix(name: &str) -> String {
    let shown: String = name.chars().take(50).collect();
    format!("{}-", shown.trim_end_matches(|c: char| !c.is_ascii_alphanumeric()))
}

#[cfg(test)]
mod tests;
