//! What a SecretGrant's status says. Pure.

use super::known::Grant;
use super::plan::{self, Verdict};
use crate::api::condition::{ConditionType, Wanted, merge};
use crate::api::reason::Nature;
use crate::api::{Lendable, Reason, SecretGrantStatus};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// What was done about a grant.
#[derive(Debug, Clone)]
pub struct Done<'a> {
    /// Whether it gives access.
    pub verdict: &'a Verdict,
    /// The Role and RoleBinding that stand now.
    pub handle: Option<&'a str>,
    /// The Secret.
    pub secret: Option<&'a str>,
    /// What access was given to.
    pub given: Option<Lendable>,
    /// Why the rotation that is owed is not made.
    pub owed: Option<String>,
    /// Since when and until when, if that is known.
    pub term: Option<(Timestamp, Timestamp)>,
}

fn whole(time: Timestamp) -> Time {
    Time(Timestamp::from_second(time.as_second()).unwrap_or(time))
}

/// The status that it deserves.
pub fn status(grant: &Grant, done: &Done<'_>, now: Timestamp) -> SecretGrantStatus {
    use ConditionType::{Expired, Ready, Reconciling, Rotated, Stalled};
    let who = grant.spec.as_ref().map(|spec| spec.subject.to_string()).unwrap_or_default();
    let (reason, mut wanted) = match done.verdict {
        Verdict::Open if done.handle.is_some() => {
            let until = done.term.map(|(_, end)| format!(" until {}", whole(end).0)).unwrap_or_default();
            let text = format!("{who} may read Secret {:?}{until}", done.secret.unwrap_or_default());
            (None, vec![Wanted::yes(Ready, Reason::Granted, text)])
        }
        Verdict::Open => {
            let text = "the Role and the RoleBinding are being made";
            (
                Some(Reason::Pending),
                vec![Wanted::no(Ready, Reason::Pending, text), Wanted::yes(Reconciling, Reason::Pending, text)],
            )
        }
        // What stands stays, and may still be used.
        Verdict::Unknown(reason, text) if done.handle.is_some() => {
            let text = format!("{who} may still read Secret {:?}: {text}", done.secret.unwrap_or_default());
            (None, vec![Wanted::yes(Ready, *reason, text)])
        }
        Verdict::Unknown(reason, text) | Verdict::Closed(reason, text) | Verdict::Over(reason, text) => {
            let waits = matches!(done.verdict, Verdict::Unknown(..)) || reason.nature() == Nature::Waiting;
            let more = if waits { Reconciling } else { Stalled };
            let mut wanted = vec![Wanted::no(Ready, *reason, text), Wanted::yes(more, *reason, text)];
            if *reason == Reason::Expired {
                wanted.push(Wanted::yes(Expired, *reason, text));
            }
            (Some(*reason), wanted)
        }
    };
    if let Some(owed) = &done.owed {
        wanted.push(Wanted::no(Rotated, Reason::RotationOwed, owed));
    }
    SecretGrantStatus {
        conditions: merge(&grant.status.conditions, &wanted, grant.generation, now),
        observed_generation: Some(grant.generation),
        reason: reason.map(|reason| reason.as_str().to_owned()),
        secret: done.secret.map(str::to_owned).or_else(|| grant.status.secret.clone()),
        role: done.handle.map(str::to_owned),
        scoped_secret: done.given.clone().or_else(|| grant.status.scoped_secret.clone()),
        // An end is noted, since what it came from may go, and clocks may go back.
        end_time: match &grant.status.end_time {
            None => plan::is_for_good(done.verdict).then(|| whole(now)),
            noted => noted.clone(),
        },
        // Once known it stays: of an approved grant whose Role is gone nothing else tells it.
        start_time: done.term.map(|(start, _)| whole(start)).or_else(|| grant.status.start_time.clone()),
        expiration_time: done.term.map(|(_, end)| whole(end)).or_else(|| grant.status.expiration_time.clone()),
    }
}
