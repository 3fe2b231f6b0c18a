//! Of a ScopedSecret: the verdict, its conditions in words, what happened, and what to do next. Pure.

use super::answer::{Answer, ConditionTold, Happened, Told};
use crate::api::Reason;
use crate::api::reason::Nature;
use crate::cli::observed::{Observed, ago};
use crate::cli::remote;
use crate::cli::report::{Rule, Severity, Subject};
use crate::segmentation::world::ObjectName;
use jiff::Timestamp;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

/// The answer, if the ScopedSecret is there.
pub fn answer(observed: &Observed, name: &ObjectName, events: &[Event], now: Timestamp) -> Option<Answer> {
    let (object, claim) = (observed.claim(name)?, observed.world.claim(name)?);
    let about = Subject::namespaced("ScopedSecret", &name.namespace, &name.name);
    let mut answer = Answer::of_claim(&about, claim, observed, now);
    let status = object.status.clone().unwrap_or_default();
    if let Some(governed) = answer.governed.as_mut().filter(|governed| !governed.policies_seen) {
        governed.segment = governed.segment.take().or(status.segment);
    }
    // Policies know nothing of revocations: of those the status alone tells.
    let revoked = |c: &&Condition| {
        (c.type_.as_str(), c.status.as_str(), c.reason.as_str()) == ("Authorized", "False", Reason::KeyRevoked.as_str())
    };
    if let Some(condition) = status.conditions.iter().find(revoked).filter(|_| answer.verdict.answer == "allowed") {
        let told = Told::new("refused", Reason::KeyRevoked, &condition.message);
        answer.blame(&about, Rule::Claims, Severity::Error, &told);
        answer.verdict = told;
    }
    for condition in &status.conditions {
        answer.conditions.push(ConditionTold::of(condition, now));
        // Stalled and Reconciling are true in what is not well, and say what Ready says.
        let told = |reason| Told::new("refused", reason, &condition.message);
        let reason = Reason::from_text(&condition.reason).unwrap_or(Reason::Pending);
        match (condition.type_.as_str(), condition.status.as_str()) {
            ("Ready", "False") => answer.blame(&about, Rule::Claims, Severity::Error, &told(reason)),
            ("Synced" | "Unique", "False") => answer.blame(&about, Rule::Claims, Severity::Warning, &told(reason)),
            ("Rotated", "False") if reason.nature() == Nature::Refused => {
                answer.blame(&about, Rule::Claims, Severity::Warning, &told(reason));
            }
            _ => {}
        }
    }
    answer.report.findings.dedup_by(|a, b| (a.reason, &a.message) == (b.reason, &b.message));
    if status.observed_generation.unwrap_or(-1) < object.metadata.generation.unwrap_or(0) {
        let told = Told::new("undecided", Reason::Pending, "the operator has not looked at its last change yet");
        answer.note(&about, Rule::Installation, Severity::Warning, &told);
        answer.next("wait: the operator has not looked at its last change yet (kubectl scoped-secrets check says whether it runs, and serves this namespace)");
    }
    let authorized = status.conditions.iter().find(|c| c.type_ == "Authorized").map(|c| c.status == "True");
    if authorized.is_some_and(|said| said != (answer.verdict.answer == "allowed"))
        && answer.verdict.answer != "undecided"
    {
        answer.next("the status says otherwise than the policies of now: the operator looks again within a moment, or does not run");
    }
    if !observed.every_claim && answer.verdict.answer == "allowed" {
        answer
            .verdict
            .message
            .push_str(", as far as you may see: ScopedSecrets of other namespaces are not among that");
    }
    if answer.next.is_empty() {
        answer.next("nothing: it is as it should be");
    }
    answer.remote = remote::of(object, observed);
    answer.history = history(events, now);
    Some(answer)
}

/// Events, the oldest first.
pub(super) fn history(events: &[Event], now: Timestamp) -> Vec<Happened> {
    let when = |event: &Event| {
        let series = event.series.as_ref().map(|series| series.last_observed_time.0);
        let legacy = event.deprecated_last_timestamp.as_ref().map(|time| time.0);
        series.or(event.event_time.as_ref().map(|time| time.0)).or(legacy).unwrap_or(Timestamp::MIN)
    };
    let mut sorted: Vec<&Event> = events.iter().collect();
    sorted.sort_by_key(|event| when(event));
    let told = |event: &&Event| Happened {
        ago: ago(when(event), now),
        reason: event.reason.clone().unwrap_or_default(),
        message: event.note.clone().unwrap_or_default(),
        count: event.series.as_ref().map_or(1, |series| series.count),
    };
    sorted.iter().map(told).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::cluster::Seen;
    use crate::cli::observed::build;
    use crate::cli::observed::tests::{claim, facts, now};
    use crate::cli::report::text::Colours;
    use crate::cli::report::{EXIT_CLEAN, EXIT_FINDINGS};
    use crate::cli::why::text;
    use serde_json::json;

    fn ask(claims: &[serde_json::Value], namespace: &str, name: &str) -> Option<Answer> {
        let events: Vec<Event> = serde_json::from_value(json!([
            {"metadata": {}, "reason": "Updated", "note": "second", "eventTime": "2026-01-01T23:00:00.000000Z"},
            {"metadata": {}, "reason": "Updated", "note": "first", "eventTime": "2026-01-01T22:00:00.000000Z"},
        ]))
        .unwrap();
        answer(&build(facts(claims)), &ObjectName::new(namespace, name), &events, now())
    }

    #[test]
    fn what_is_well_is_said_to_be() {
        let answer = ask(&[claim("payments-prod", "a", "payments/prod/a", 1, true)], "payments-prod", "a").unwrap();
        assert_eq!(answer.verdict.answer, "allowed");
        assert_eq!(answer.allowed_by[0].pattern, "${label:tenant}/${label:environment}/**");
        assert_eq!(answer.governed.as_ref().unwrap().segment.as_deref(), Some("payments/prod"));
        assert_eq!(answer.governed.as_ref().unwrap().labels, ["environment=prod", "tenant=payments"]);
        assert_eq!(answer.remote.len(), 1);
        assert_eq!(
            (answer.remote[0].key.as_str(), answer.remote[0].version.as_deref()),
            ("payments/prod/a", Some("v1"))
        );
        assert_eq!(answer.next, ["nothing: it is as it should be"]);
        assert_eq!(answer.history[0].message, "first");
        assert_eq!(answer.report.exit_code(true), EXIT_CLEAN);
    }

    #[test]
    fn who_may_not_look_at_policies_is_told_so() {
        let mut own = claim("payments-prod", "a", "payments/prod/a", 1, true);
        own["status"]["segment"] = "payments/prod".into();
        let mut facts = facts(&[own]);
        facts.policies = Seen::Barred;
        let name = ObjectName::new("payments-prod", "a");
        let answer = answer(&build(facts), &name, &[], now()).unwrap();
        let text = text::render(&answer, Colours(false));
        for row in ["segment    payments/prod", "policies   not seen: you may not look at policies"] {
            assert!(text.contains(row), "{row:?} in {text}");
        }
    }

    #[test]
    fn what_is_refused_is_explained() {
        let claims = [
            claim("payments-prod", "a", "payments/prod/a", 1, true),
            claim("billing-prod", "thief", "payments/prod/a", 2, false),
        ];
        let answer = ask(&claims, "billing-prod", "thief").unwrap();
        assert_eq!((answer.verdict.answer, answer.verdict.reason.as_str()), ("refused", "KeyNotAllowed"));
        assert!(answer.verdict.message.contains("allowed here: billing/prod/**"), "{}", answer.verdict.message);
        assert_eq!(answer.verdict.page, "docs/reasons/KeyNotAllowed.md");
        assert_eq!(answer.next, [Reason::KeyNotAllowed.fix()]);
        assert_eq!(answer.report.exit_code(true), EXIT_FINDINGS);
        assert!(ask(&claims, "billing-prod", "gone").is_none());
        // Where nobody looks, nothing else is worth doing.
        let mut answer = answer;
        answer.is_not_served("billing-prod");
        assert_eq!((answer.verdict.answer, answer.verdict.reason.as_str()), ("refused", "NamespaceNotServed"));
        assert_eq!(answer.next, [Reason::NamespaceNotServed.fix()]);
        assert_eq!(answer.report.exit_code(true), EXIT_FINDINGS);
    }

    #[test]
    fn what_is_revoked_is_refused_whatever_policies_say() {
        let told = |reason: &str| -> serde_json::Value {
            let claim = claim("payments-prod", "a", "payments/prod/a", 1, false);
            serde_json::from_str(&claim.to_string().replace("KeyNotAllowed", reason)).unwrap()
        };
        let answer = ask(&[told("KeyRevoked")], "payments-prod", "a").unwrap();
        assert_eq!((answer.verdict.answer, answer.verdict.reason.as_str()), ("refused", "KeyRevoked"));
        assert_eq!(answer.verdict.page, "docs/reasons/KeyRevoked.md");
        assert_eq!(answer.verdict.message, "Authorized is False");
        assert_eq!(answer.next, [Reason::KeyRevoked.fix()], "the operator runs");
        assert_eq!(answer.report.exit_code(true), EXIT_FINDINGS);
        let late = ask(&[told("Expired")], "payments-prod", "a").unwrap();
        assert_eq!(late.verdict.answer, "allowed", "what policies know is asked of them");
        assert!(late.next.iter().any(|n| n.contains("otherwise")), "{:?}", late.next);
    }

    #[test]
    fn a_rotation_that_is_refused_is_a_finding() {
        let mut read = claim("payments-prod", "a", "payments/prod/a", 1, true);
        let told = |reason| json!({"type": "Rotated", "status": "False", "reason": reason, "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"});
        for (reason, next) in
            [("ActionNotAllowed", Reason::ActionNotAllowed.fix()), ("Requested", "nothing: it is as it should be")]
        {
            let conditions = read["status"]["conditions"].as_array_mut().unwrap();
            conditions.retain(|condition| condition["type"] != "Rotated");
            conditions.push(told(reason));
            let answer = ask(&[read.clone()], "payments-prod", "a").unwrap();
            assert_eq!((answer.verdict.answer, &answer.next[..]), ("allowed", &[next.to_owned()][..]), "{reason}");
        }
    }

    #[test]
    fn a_status_of_before_the_policy_is_said_to_be_so() {
        let answer = ask(&[claim("billing-prod", "a", "payments/prod/a", 1, true)], "billing-prod", "a").unwrap();
        assert!(answer.next.iter().any(|n| n.contains("otherwise")), "{:?}", answer.next);
    }
}
