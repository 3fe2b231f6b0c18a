//! Of a SecretGrant: whether its subject may read, why not, and what happened. Pure.

use super::answer::{Answer, ConditionTold, Told};
use super::claim::history;
use crate::api::reason::Nature;
use crate::api::{Reason, SecretGrant};
use crate::cli::lent::ENDS;
use crate::cli::report::{Rule, Severity, Subject};
use jiff::Timestamp;
use k8s_openapi::api::events::v1::Event;
use kube::ResourceExt;

/// The answer, as its status tells it.
pub fn answer(grant: &SecretGrant, events: &[Event], now: Timestamp) -> Answer {
    let about = Subject::namespaced("SecretGrant", &grant.namespace().unwrap_or_default(), &grant.name_any());
    let status = grant.status.clone().unwrap_or_default();
    let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready");
    let looked = status.observed_generation.unwrap_or(-1) >= grant.metadata.generation.unwrap_or(0);
    let mut answer = Answer {
        about: about.to_string(),
        conditions: status.conditions.iter().map(|condition| ConditionTold::of(condition, now)).collect(),
        history: history(events, now),
        ..Answer::default()
    };
    let reason = ready.and_then(|ready| Reason::from_text(&ready.reason)).unwrap_or(Reason::Pending);
    answer.verdict = match ready.filter(|_| looked) {
        Some(ready) if ready.status == "True" => {
            let end = status.expiration_time.as_ref().map(|end| format!(" until {}", end.0)).unwrap_or_default();
            Told::new("allowed", reason, &format!("{} may read its Secret{end}", grant.spec.subject))
        }
        Some(ready) if reason.nature() == Nature::Waiting => Told::new("undecided", reason, &ready.message),
        Some(ready) => Told::new("refused", reason, &ready.message),
        None => Told::new("undecided", Reason::Pending, "the operator has not looked at it yet"),
    };
    let told = std::mem::take(&mut answer.verdict);
    match told.answer {
        "allowed" => answer.next("nothing: it is as it should be"),
        // Its end is no fault.
        "refused" if ENDS.contains(&reason) => answer.next(after(reason)),
        "refused" => answer.blame(&about, Rule::Grants, Severity::Error, &told),
        _ => answer.blame(&about, Rule::Grants, Severity::Warning, &told),
    }
    answer.verdict = told;
    answer
}

/// What to do after an end. What a reason advises that ScopedSecrets have, too, is about those.
fn after(end: Reason) -> &'static str {
    if end == Reason::GrantOutdated { end.fix() } else { Reason::GrantEnded.fix() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::lent::tests::grant;
    use crate::cli::observed::tests::now;

    #[test]
    fn after_its_end_another_is_advised() {
        for end in ENDS {
            let answer = answer(&grant("payments-prod", "ada", "False", end.as_str()), &[], now());
            assert_eq!((answer.verdict.answer, answer.report.findings.len()), ("refused", 0), "{end}");
            assert!(answer.next.len() == 1 && answer.next[0].starts_with("Create another SecretGrant"), "{answer:?}");
        }
    }

    #[test]
    fn what_a_grant_gives_and_why_not() {
        for (status, reason, verdict, findings) in [
            ("True", "Granted", "allowed", 0),
            ("False", "GrantTooLong", "refused", 1),
            ("False", "AwaitsApproval", "undecided", 1),
            ("False", "GrantEnded", "refused", 0),
        ] {
            let answer = answer(&grant("payments-prod", "ada", status, reason), &[], now());
            let told = (answer.verdict.answer, answer.verdict.reason.as_str(), answer.report.findings.len());
            assert_eq!(told, (verdict, reason, findings));
            assert_eq!((answer.conditions.len(), answer.next.len()), (1, 1), "{reason}");
            assert!(answer.about.contains("SecretGrant payments-prod/ada"));
        }
        let mut new = grant("payments-prod", "ada", "True", "Granted");
        new.metadata.generation = Some(2);
        assert_eq!(answer(&new, &[], now()).verdict.answer, "undecided", "its status is of before");
    }
}
