//! Ask the manager again now: `kubectl scoped-secrets refresh`, by the annotation `scopedsecrets.io/refresh-at`.

use super::change::look::{self, Sight};
use super::change::plan::Plan;
use super::change::wait::{Progress, Wait, condition, text, told};
use super::change::write::Write;
use super::change::{ChangeArgs, Talk, carry_out};
use super::cluster::Failure;
use super::command::Surroundings;
use super::names::read_name;
use super::report::Subject;
use jiff::Timestamp;
use kube::ResourceExt;
use serde_json::Value;

/// Ask the secrets manager again now, instead of at the next refresh.
///
/// The Secret is written only if a value has changed. It sets the annotation scopedsecrets.io/refresh-at of the ScopedSecret, for
/// which you need the verb patch on it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit code: 0 done, 1 not done in the end (--wait), or the answer was no, 2 error.

Examples:
  kubectl scoped-secrets refresh orders -n payments-prod
  kubectl scoped-secrets refresh orders -n payments-prod --yes --wait")]
pub struct Refresh {
    /// The ScopedSecret.
    #[arg(value_name = "SCOPEDSECRET", value_parser = read_name)]
    pub name: String,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub change: ChangeArgs,
}

/// Shows, asks, writes, waits.
pub async fn run(asked: &Refresh, around: &Surroundings<'_>, talk: &mut Talk<'_>) -> Result<u8, Failure> {
    let cluster = asked.change.connect().await?;
    let sight = look::look(&cluster, &asked.name, (around.clock)()).await?;
    if sight.claim.spec.immutable() {
        return Err(Failure::Usage(format!(
            "ScopedSecret {:?} is immutable (spec.target.immutable): it is written once, and not refreshed; replace it by a ScopedSecret and target of another name",
            asked.name
        )));
    }
    let plan = plan(&sight, (around.clock)());
    let name = asked.name.clone();
    // As it stood when it was asked: it may have changed while it was shown.
    let wait = |written: &[Value]| {
        let before = written[0].clone();
        let judge = Box::new(move |now: Option<&Value>| progress(&before, now));
        vec![Wait { kind: "ScopedSecret", namespaced: true, name, judge }]
    };
    carry_out(&asked.change, &cluster, around, plan, wait, talk).await
}

/// What will happen. Pure.
fn plan(sight: &Sight, now: Timestamp) -> Plan {
    let (claim, effects) = (&sight.claim, &sight.effects);
    let name = claim.name_any();
    let store = &claim.spec.store_ref.name;
    let mut notes = Vec::new();
    if let Some(unready) = &effects.unready {
        notes.push(format!("it is not ready now, and as long as it is refused nobody is asked: {unready}"));
    }
    Plan {
        verb: "refresh",
        about: Subject::namespaced("ScopedSecret", &claim.namespace().unwrap_or_default(), &name),
        facts: effects.facts(),
        happens: vec![
            format!("the operator asks the secrets manager (store {store}) for these keys now"),
            format!("if a value has changed, the Secret {} gets it; else its values stay as they are", effects.secret),
            format!("then {}", effects.pods_take_it()),
        ],
        notes,
        writes: vec![Write::annotate(
            &name,
            claim.metadata.uid.as_deref(),
            "scopedsecrets.io/refresh-at",
            &now.to_string(),
        )],
        done: "the operator was told to refresh it".to_owned(),
    }
}

/// What was refreshed is sealed anew, so that its revision is another. Pure.
fn progress(before: &Value, now: Option<&Value>) -> Progress {
    let Some(now) = now else { return Progress::Bad("the ScopedSecret was deleted".to_owned()) };
    let revision = "/status/secretRef/resourceVersion";
    if condition(now, "Stalled").is_some_and(|(status, ..)| status == "True") {
        // What it said before may be mended by this refresh.
        let text = told(now, "Ready");
        let stood = condition(before, "Stalled").is_some_and(|(status, ..)| status == "True");
        return if stood { Progress::Refused(text) } else { Progress::Bad(text) };
    }
    let failed = |object| condition(object, "Synced").filter(|(status, ..)| *status == "False");
    match failed(now) {
        Some(failure) if failed(before) != Some(failure) => return Progress::Bad(told(now, "Synced")),
        Some(_) => return Progress::Open(told(now, "Synced")),
        None => {}
    }
    let (was, is) = (text(before, revision), text(now, revision));
    if is.is_empty() || was == is {
        return Progress::Open(told(now, "Synced"));
    }
    let versions = |object: &Value| object.pointer("/status/remoteVersions").cloned();
    match versions(before) == versions(now) {
        true => Progress::Done("refreshed: the manager has no newer version".to_owned()),
        false => Progress::Done("refreshed: the Secret has a new version".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(revision: &str, version: &str, synced: (&str, &str), stalled: bool) -> Value {
        let mut conditions = vec![
            json!({"type": "Ready", "status": "True", "reason": "Ready", "message": "m"}),
            json!({"type": "Synced", "status": synced.0, "reason": synced.1, "message": "m"}),
        ];
        if stalled {
            conditions.push(json!({"type": "Stalled", "status": "True", "reason": "KeyNotAllowed", "message": "m"}));
        }
        json!({"status": {
            "conditions": conditions, "secretRef": {"resourceVersion": revision},
            "remoteVersions": [{"key": "k", "versionId": version}],
        }})
    }

    #[test]
    fn how_far_a_refresh_is() {
        let good = ("True", "Synced");
        let before = object("7", "v1", good, false);
        for (now, expected) in [
            (object("7", "v1", good, false), "open"),
            (object("8", "v1", good, false), "no newer version"),
            (object("8", "v2", good, false), "a new version"),
            (object("7", "v1", ("False", "Throttled"), false), "bad Synced=False [Throttled]"),
            (object("8", "v2", good, true), "bad Ready"),
        ] {
            let told = match progress(&before, Some(&now)) {
                Progress::Open(_) => "open".to_owned(),
                Progress::Done(text) => text,
                Progress::Bad(text) | Progress::Refused(text) => format!("bad {text}"),
            };
            assert!(told.contains(expected), "{expected}: {told}");
        }
        let failing = object("7", "v1", ("False", "Throttled"), false);
        assert!(matches!(progress(&failing, Some(&failing)), Progress::Open(_)), "the failure may be the one before");
        let stalled = object("7", "v1", good, true);
        assert!(
            matches!(progress(&stalled, Some(&stalled)), Progress::Refused(_)),
            "the operator may not have seen it"
        );
        assert!(matches!(progress(&before, None), Progress::Bad(_)));
    }
}
