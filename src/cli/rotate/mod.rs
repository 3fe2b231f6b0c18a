//! Rotate now: `kubectl scoped-secrets rotate`, by the annotation `scopedsecrets.io/rotate-at`.

use super::change::effects::Effects;
use super::change::look::{self, Sight};
use super::change::plan::Plan;
use super::change::wait::{Progress, Wait, condition, text, told};
use super::change::write::Write;
use super::change::{ChangeArgs, Talk, carry_out};
use super::cluster::Failure;
use super::command::Surroundings;
use super::names::read_name;
use super::report::Subject;
use super::why::covering;
use crate::api::reason::Nature;
use crate::api::{ROTATE_AT_ANNOTATION, Reason};
use crate::controller::scoped_secret::rotation::NOT_DUE;
use crate::rotation::machine::soonest;
use jiff::Timestamp;
use kube::ResourceExt;
use serde_json::Value;

/// Have a key rotated now, instead of at its next time.
///
/// The ScopedSecret must have spec.rotation, and the policy allow it. It sets the annotation scopedsecrets.io/rotate-at of the
/// ScopedSecret, for which you need the verb patch on it. A key is rotated at most every ten minutes.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit code: 0 done, 1 not done in the end (--wait), or the answer was no, 2 error.

Examples:
  kubectl scoped-secrets rotate orders -n payments-prod --dry-run
  kubectl scoped-secrets rotate orders -n payments-prod --yes --wait --timeout 10m")]
pub struct Rotate {
    /// The ScopedSecret.
    #[arg(value_name = "SCOPEDSECRET", value_parser = read_name)]
    pub name: String,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub change: ChangeArgs,
}

/// Shows, asks, writes, waits.
pub async fn run(asked: &Rotate, around: &Surroundings<'_>, talk: &mut Talk<'_>) -> Result<u8, Failure> {
    let cluster = asked.change.connect().await?;
    let sight = look::look(&cluster, &asked.name, (around.clock)()).await?;
    let plan = plan(&sight, (around.clock)())?;
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
fn plan(sight: &Sight, now: Timestamp) -> Result<Plan, Failure> {
    let claim = &sight.claim;
    let (name, namespace) = (claim.name_any(), claim.namespace().unwrap_or_default());
    let about = Subject::namespaced("ScopedSecret", &namespace, &name);
    let Some(rotation) = sight.spec().get("rotation") else {
        let text = format!(
            "{about} has no spec.rotation: write one, with strategy: Provider (the manager's own rotation) or Generate (the operator makes the value)"
        );
        return Err(Failure::Usage(text));
    };
    let effects = &sight.effects;
    let mut facts = effects.facts();
    facts.push(("strategy", text(rotation, "/strategy").to_owned()));
    if let Some(next) = sight.object.data.pointer("/status/nextRotationTime").and_then(Value::as_str) {
        facts.push(("next", format!("{next}, by its schedule")));
    }
    let mut notes = Vec::new();
    let needed = if text(rotation, "/strategy") == "Generate" { "Generate" } else { "Rotate" };
    let key = effects.keys.first().map_or("", |remote| remote.key.as_str());
    let allowed = covering(&sight.observed, &namespace, &claim.spec.store_ref.name, key);
    if !allowed.is_empty() && !allowed.iter().any(|entry| entry.actions.iter().any(|action| action == needed)) {
        notes
            .push(format!("no policy allows the action {needed} on this key here: the operator is going to refuse it"));
    }
    if let Some(unready) = &effects.unready {
        notes.push(format!("it is not ready now: {unready}"));
    }
    notes.extend(not_at_once(&sight.object.data, now));
    if !effects.sharers.is_empty() && needed == "Generate" {
        notes.push(format!(
            "the operator is going to refuse it, since the key is claimed by others, too, and a value is generated where nobody else reads it: {}",
            effects.shared().join(", ")
        ));
    } else if !effects.sharers.is_empty() {
        notes.push(format!(
            "the key is claimed by others, too, which get the new value: {}",
            effects.shared().join(", ")
        ));
    }
    Ok(Plan {
        verb: "rotate",
        about,
        facts,
        happens: happens(effects, rotation, key),
        notes,
        writes: vec![Write::annotate(
            &name,
            claim.metadata.uid.as_deref(),
            "scopedsecrets.io/rotate-at",
            &now.to_string(),
        )],
        done: "the operator was told to rotate it".to_owned(),
    })
}

fn happens(effects: &Effects, rotation: &Value, key: &str) -> Vec<String> {
    let makes = match text(rotation, "/strategy") {
        "Generate" => {
            let property = text(rotation, "/generate/property");
            let part = if property.is_empty() { String::new() } else { format!(" (its property {property})") };
            format!("the operator generates a new value and stores it in the manager under {key}{part}")
        }
        _ => format!("the manager's own rotation of {key} is started, and makes the new value"),
    };
    let overlap = match text(rotation, "/overlap") {
        _ if !effects.stands => "there is none now, so that no value before is kept".to_owned(),
        "" => "the value before is then gone from the Secret: what still has it must take the new one".to_owned(),
        overlap => format!("the value before stays readable for {overlap}, as previous.<secretKey>"),
    };
    vec![
        makes,
        format!("the Secret {} gets the new value; {overlap}", effects.secret),
        format!("then {}", effects.pods_take_it()),
    ]
}

/// Whether this reason of Rotated is a step of a rotation.
fn is_step(reason: &str) -> bool {
    [Reason::Requested, Reason::Stored, Reason::Projected].map(Reason::as_str).contains(&reason)
}

/// Pure. Why a rotation that is asked for now does not come at once, as status tells.
fn not_at_once(object: &Value, now: Timestamp) -> Vec<String> {
    let held = condition(object, "Rotated").filter(|(status, ..)| *status == "False");
    let told = held.map(|(_, reason, message)| match is_step(reason) {
        true => format!(
            "a rotation is under way; this is another one, which makes a version of its own, ten minutes after that at the earliest: [{reason}] {message}"
        ),
        false => format!("its last rotation is held up: [{reason}] {message}"),
    });
    let last = text(object, "/status/lastRotationTime").parse::<Timestamp>().ok();
    let until = last.and_then(|last| soonest(last, now)).map(|until| format!("{until:.0}"));
    let is_said = |until: &String| held.is_some_and(|(.., message)| message.contains(&**until));
    let floor = until.filter(|until| !is_said(until)).map(|until| {
        format!(
            "the key was rotated less than ten minutes ago, and is rotated at most every ten minutes: this rotation comes at {until}"
        )
    });
    told.into_iter().chain(floor).collect()
}

/// Pure. What the condition said before says nothing of this rotation, unless it is a refusal that stands.
fn progress(before: &Value, now: Option<&Value>) -> Progress {
    let Some(now) = now else { return Progress::Bad("the ScopedSecret was deleted".to_owned()) };
    let versions = |object: &Value| object.pointer("/status/remoteVersions").cloned();
    let rotated = condition(now, "Rotated");
    let open = || Progress::Open(told(now, "Rotated"));
    let asked =
        |object: &Value| object.pointer("/metadata/annotations").and_then(|all| all.get(ROTATE_AT_ANNOTATION)).cloned();
    if rotated.is_some_and(|(status, reason, _)| status == "False" && is_step(reason)) {
        return open();
    }
    let is_refused = |reason: &str| Reason::from_text(reason).is_some_and(|reason| reason.nature() == Nature::Refused);
    if let Some((_, why, _)) = condition(now, "Stalled").filter(|(status, ..)| *status == "True") {
        // What was revoked is Stalled until the new value is there, which may have to wait.
        let revoked = why == Reason::KeyRevoked.as_str();
        let comes = |(status, reason, message): (&str, &str, &str)| {
            status != "True" && !is_refused(reason) && message != NOT_DUE
        };
        return match rotated {
            Some(rotated) if revoked && comes(rotated) => open(),
            Some(("False", ..)) if revoked => Progress::Refused(told(now, "Rotated")),
            _ => Progress::Refused(told(now, "Ready")),
        };
    }
    match rotated {
        Some(("True", ..)) if versions(now) != versions(before) => {
            Progress::Done("rotated: the Secret has a new version".to_owned())
        }
        // What waits is what somebody has asked for since.
        Some((_, reason, message))
            if reason == Reason::RotationWaits.as_str()
                && versions(now) != versions(before)
                && asked(now) != asked(before) =>
        {
            let text = format!(
                "rotated: the Secret has a new version. Another rotation was asked for meanwhile, and waits: {message}"
            );
            Progress::Done(text)
        }
        Some(("False", reason, _)) if is_refused(reason) => {
            let text = told(now, "Rotated");
            if condition(before, "Rotated") == rotated { Progress::Refused(text) } else { Progress::Bad(text) }
        }
        _ => open(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::change::effects::tests::effects;
    use serde_json::json;

    #[test]
    fn what_a_rotation_does_is_said_by_strategy_and_overlap() {
        let effects = effects(|own| own["spec"]["restart"] = "Consumers".into());
        let generate = json!({"strategy": "Generate", "generate": {"property": "password"}, "overlap": "1h"});
        let told = happens(&effects, &generate, "payments/prod/db").join("\n");
        for part in
            ["generates a new value", "payments/prod/db (its property password)", "readable for 1h", "are rolled"]
        {
            assert!(told.contains(part), "{part}: {told}");
        }
        let told = happens(&effects, &json!({"strategy": "Provider"}), "payments/prod/db").join("\n");
        assert!(
            told.contains("the manager's own rotation of payments/prod/db") && told.contains("is then gone"),
            "{told}"
        );
    }

    #[test]
    fn how_far_a_rotation_is() {
        let object = |version: &str, rotated: Option<(&str, &str)>| {
            let conditions: Vec<Value> = rotated
                .iter()
                .map(|(s, r)| json!({"type": "Rotated", "status": s, "reason": r, "message": "m"}))
                .collect();
            json!({"status": {"conditions": conditions, "remoteVersions": [{"key": "k", "versionId": version}]}})
        };
        let before = object("v1", Some(("True", "Ready")));
        let at = |now: &Value| progress(&before, Some(now));
        assert!(matches!(at(&before), Progress::Open(_)));
        assert!(matches!(at(&object("v1", Some(("False", "Pending")))), Progress::Open(_)));
        assert!(matches!(at(&object("v2", Some(("True", "Ready")))), Progress::Done(_)));
        assert!(matches!(at(&object("v1", Some(("False", "ActionNotAllowed")))), Progress::Bad(_)));
        assert!(matches!(at(&object("v1", None)), Progress::Open(_)));
        let refused = object("v1", Some(("False", "ActionNotAllowed")));
        assert!(
            matches!(progress(&refused, Some(&refused)), Progress::Refused(_)),
            "said of the one before, or of this"
        );
        let mut stalled = object("v1", None);
        stalled["status"]["conditions"] = json!([{"type": "Stalled", "status": "True", "reason": "KeyNotAllowed"}]);
        assert!(matches!(at(&stalled), Progress::Refused(_)));
    }

    #[test]
    fn of_two_that_ask_at_once_the_first_one_is_done_and_the_second_is_told() {
        let object = |asked: &str, version: &str, reason: &str| {
            json!({
                "metadata": {"annotations": {ROTATE_AT_ANNOTATION: asked}},
                "status": {
                    "conditions": [{"type": "Rotated", "status": "False", "reason": reason, "message": "it comes later"}],
                    "remoteVersions": [{"key": "k", "versionId": version}],
                },
            })
        };
        let before = object("a", "v1", "Requested");
        for (what, now, wanted) in [
            ("its value is made", object("b", "v1", "Stored"), "Open"),
            ("nothing was made yet", object("b", "v1", "RotationWaits"), "Open"),
            ("it is projected", object("b", "v2", "Projected"), "Open"),
            ("the other one waits", object("b", "v2", "RotationWaits"), "Done"),
            ("it waits for another's itself", object("a", "v2", "RotationWaits"), "Open"),
        ] {
            let found = format!("{:?}", progress(&before, Some(&now)));
            assert!(found.starts_with(wanted), "{what}: {found}");
        }
        let done = progress(&before, Some(&object("b", "v2", "RotationWaits")));
        assert!(matches!(&done, Progress::Done(text) if text.ends_with("it comes later")), "{done:?}");
    }

    #[test]
    fn why_a_rotation_does_not_come_at_once_is_shown_first() {
        let now: Timestamp = "2026-11-28T14:00:00Z".parse().unwrap();
        let waits = "the key was rotated less than ten minutes ago; this rotation comes at 2026-11-28T14:06:45Z";
        let object = |rotated: (&str, &str, &str), last: &str| {
            let (status, reason, message) = rotated;
            let condition = json!({"type": "Rotated", "status": status, "reason": reason, "message": message});
            json!({"status": {"conditions": [condition], "lastRotationTime": last}})
        };
        let (recent, old) = ("2026-11-28T13:56:45Z", "2026-11-28T13:50:00Z");
        for (rotated, last, expected) in [
            (("True", "Verified", "done"), old, vec![]),
            (("True", "Verified", "done"), "", vec![]),
            (("True", "Verified", "done"), recent, vec!["comes at 2026-11-28T14:06:45Z"]),
            (("False", "Requested", "made"), old, vec!["under way; this is another one"]),
            (("False", "Projected", "new"), recent, vec!["under way", "comes at 2026-11-28T14:06:45Z"]),
            (("False", "RotationWaits", waits), recent, vec!["held up: [RotationWaits]"]),
            (("False", "WriteDenied", "no"), old, vec!["held up: [WriteDenied] no"]),
        ] {
            let notes = not_at_once(&object(rotated, last), now);
            let all =
                notes.len() == expected.len() && notes.iter().zip(expected).all(|(note, part)| note.contains(part));
            assert!(all, "{rotated:?} {last}: {notes:?}");
        }
    }

    #[test]
    fn what_was_revoked_is_waited_for_if_its_rotation_comes() {
        let floor = "the key was rotated less than ten minutes ago; this rotation comes at 2026-11-28T14:06:45Z";
        for (what, stalled, rotated, wanted) in [
            ("ten minutes are not over", "KeyRevoked", ("False", "RotationWaits", floor), "Open Rotated=False"),
            ("the manager is away", "KeyRevoked", ("Unknown", "RotationWaits", "not in sync"), "Open Rotated=Unknown"),
            ("the manager refuses it now", "KeyRevoked", ("False", "WriteDenied", "no"), "Open Rotated=False"),
            ("it is about to be current", "KeyRevoked", ("False", "Stored", "soon"), "Open Rotated=False"),
            ("it was not asked for yet", "KeyRevoked", ("False", "RotationWaits", NOT_DUE), "Refused Rotated=False"),
            ("it may not", "KeyRevoked", ("False", "ActionNotAllowed", "no"), "Refused Rotated=False"),
            ("nothing is said of it", "KeyRevoked", ("True", "RotationIdle", "none"), "Refused Ready=False"),
            ("refused altogether", "KeyNotAllowed", ("False", "RotationWaits", floor), "Refused Ready=False"),
        ] {
            let condition = |kind: &str, (status, reason, message): (&str, &str, &str)| json!({"type": kind, "status": status, "reason": reason, "message": message});
            let conditions = [
                condition("Ready", ("False", stalled, "why")),
                condition("Stalled", ("True", stalled, "why")),
                condition("Rotated", rotated),
            ];
            let now = json!({"status": {"conditions": conditions}});
            let found = match progress(&json!({}), Some(&now)) {
                Progress::Open(text) => format!("Open {text}"),
                Progress::Refused(text) => format!("Refused {text}"),
                other => format!("{other:?}"),
            };
            assert!(found.starts_with(wanted), "{what}: {found}");
        }
    }
}
