//! From an outcome to the status, as the table in the design says. Pure.

use super::plan::Outcome;
use crate::api::Reason;
use crate::api::condition::{ConditionType::*, Wanted, merge};
use crate::api::reason::Nature;
use crate::api::scoped_secret::{Binding, RemoteVersion, ScopedSecretStatus, SecretRef};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// What stands, beside the outcome; by itself: nothing.
#[derive(Default)]
pub struct Standing {
    /// metadata.generation.
    pub generation: i64,
    /// The segment, if the namespace has one.
    pub segment: Option<String>,
    /// The Secret that stands, if one does.
    pub secret: Option<SecretRef>,
    /// The versions in it.
    pub versions: Vec<RemoteVersion>,
    /// When its content last changed.
    pub changed: Option<Timestamp>,
    /// Whether the last good value is older than three refresh intervals.
    pub stale: bool,
    /// Whether what stands was projected from an earlier spec: it is nobody's last good value any more.
    pub outdated: bool,
    /// How far the restart of its consumers is, where they are restarted.
    pub rollout: Option<Wanted>,
    /// How far its rotation is, if it has one.
    pub rotation: Option<Rotation>,
}

/// What status says of a rotation.
#[derive(Debug, Clone)]
pub struct Rotation {
    /// The condition Rotated.
    pub condition: Wanted,
    /// When it comes next by its schedule.
    pub next: Option<Timestamp>,
    /// When it last came.
    pub last: Option<Timestamp>,
}

/// The status that an outcome deserves.
pub fn status(outcome: &Outcome, standing: Standing, old: &ScopedSecretStatus, now: Timestamp) -> ScopedSecretStatus {
    let has_secret = standing.secret.is_some();
    let mut conditions = conditions(outcome, &standing, old);
    // After those that are always there, before those that are there only while true. A rotation says what its rollout does.
    let rotated = standing.rotation.as_ref().map(|rotation| rotation.condition.clone());
    let rotated = match (rotated, standing.rollout.clone().filter(|_| has_secret)) {
        (Some(rotated), Some(rollout)) => Some(with_rollout(rotated, &rollout)),
        (rotated, rollout) => rotated.or(rollout),
    };
    let place = conditions.iter().position(|c| c.kind > Unique).unwrap_or(conditions.len());
    conditions.splice(place..place, rotated);
    let time = |pick: fn(&Rotation) -> Option<Timestamp>| {
        standing.rotation.as_ref().and_then(pick).map(whole_second).map(Time)
    };
    let (next_rotation_time, last_rotation_time) = (time(|r| r.next), time(|r| r.last));
    let unready = conditions.iter().find(|c| c.kind == Ready && c.status != Some(true));
    let reason = unready.map(|c| c.reason.as_str().to_owned());
    // Another that believes it leads may have changed it since: each would take the other's time back, again and again.
    let told = old.last_change_time.as_ref().map(|told| told.0).filter(|told| *told <= now);
    let changed = standing.changed.map(whole_second).max(told);
    let last_change = changed.map(Time).or_else(|| old.last_change_time.clone());
    ScopedSecretStatus {
        conditions: merge(&old.conditions, &conditions, standing.generation, now),
        reason,
        observed_generation: Some(standing.generation),
        segment: standing.segment,
        binding: standing.secret.as_ref().map(|s| Binding { name: s.name.clone() }),
        last_change_time: last_change.filter(|_| has_secret),
        secret_ref: standing.secret,
        remote_versions: standing.versions,
        next_rotation_time,
        last_rotation_time,
    }
}

/// A rotation that waits or fails says as well how far the rollout of the value before it is; one that is rolled out says nothing else.
fn with_rollout(rotated: Wanted, rollout: &Wanted) -> Wanted {
    use Reason::{Projected, RestartNotAllowed, RollingOut, RolloutStuck, RolloutWaits};
    let says_it = matches!(rotated.reason, Projected | RollingOut | RolloutWaits | RolloutStuck | RestartNotAllowed);
    if says_it || rotated.status == Some(true) || rollout.status == Some(true) {
        return rotated;
    }
    Wanted { message: format!("{}; and {}", rotated.message, rollout.message), ..rotated }
}

/// Why a rollout does not go on by itself, if it does not.
pub fn held_up(rollout: Option<&Wanted>) -> Option<Reason> {
    let held = rollout.filter(|rollout| rollout.status == Some(false) && rollout.reason != Reason::RollingOut);
    held.map(|rollout| rollout.reason)
}

/// Whether the condition Rotated has this reason.
pub fn says(status: &ScopedSecretStatus, reason: Reason) -> bool {
    status.conditions.iter().any(|c| c.type_ == Rotated.as_str() && c.reason == reason.as_str())
}

fn whole_second(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

const LAST_GOOD: &str = "the Secret holds its last good value";
const EARLIER: &str = "the Secret holds what an earlier spec projected: ";
const READY: &str = "the Secret is projected and current";
const ALLOWED: &str = "policy allows every key of this claim";

fn conditions(outcome: &Outcome, standing: &Standing, old: &ScopedSecretStatus) -> Vec<Wanted> {
    let has_secret = standing.secret.is_some() && !standing.outdated;
    let earlier = if standing.outdated { EARLIER } else { "" };
    let allowed = || Wanted::yes(Authorized, Reason::Allowed, ALLOWED);
    let unique = || Wanted::yes(Unique, Reason::NoSharedValues, "no other segment holds one of these values");
    let not_asked = |kind, reason, text: &str| Wanted::unknown(kind, reason, text);
    match outcome {
        Outcome::Current => vec![
            Wanted::yes(Ready, Reason::Ready, READY),
            allowed(),
            Wanted::yes(Synced, Reason::Synced, "the secrets manager answered and the Secret is up to date"),
            unique(),
        ],
        Outcome::Failed(f) if f.reason.nature() == Nature::Refused => {
            let shared = f.reason == Reason::ValueShared;
            let revoked = f.reason == Reason::KeyRevoked;
            vec![
                Wanted::no(Ready, f.reason, &f.message),
                if revoked { Wanted::no(Authorized, f.reason, &f.message) } else { allowed() },
                Wanted::no(Synced, f.reason, &f.message),
                if shared {
                    Wanted::no(Unique, f.reason, &f.message)
                } else {
                    not_asked(Unique, f.reason, "nothing new was compared")
                },
                Wanted::yes(Stalled, f.reason, &f.message),
            ]
        }
        Outcome::Failed(f) => {
            let synced = Wanted::no(Synced, f.reason, &f.message);
            match (has_secret, standing.stale) {
                (true, false) => vec![Wanted::yes(Ready, Reason::Ready, LAST_GOOD), allowed(), synced, unique()],
                (true, true) => vec![
                    Wanted::no(
                        Ready,
                        Reason::Stale,
                        format!(
                            "the Secret holds its last good value, which could not be refreshed for three intervals: {}",
                            f.message
                        ),
                    ),
                    allowed(),
                    synced,
                    unique(),
                ],
                (false, _) => vec![
                    Wanted::no(Ready, f.reason, format!("{earlier}{}", f.message)),
                    allowed(),
                    synced,
                    not_asked(Unique, f.reason, "nothing was compared yet"),
                    Wanted::yes(Reconciling, f.reason, &f.message),
                ],
            }
        }
        Outcome::Refused(r) if r.reason == Reason::Expired => vec![
            Wanted::no(Ready, r.reason, &r.message),
            not_asked(Authorized, r.reason, "policy is not asked for a claim that has ended"),
            not_asked(Synced, r.reason, "the secrets manager is not asked for a claim that has ended"),
            not_asked(Unique, r.reason, "nothing was compared"),
            Wanted::yes(Expired, r.reason, &r.message),
            Wanted::yes(Stalled, r.reason, &r.message),
        ],
        Outcome::Refused(r) => vec![
            Wanted::no(Ready, r.reason, &r.message),
            Wanted::no(Authorized, r.reason, &r.message),
            not_asked(Synced, r.reason, "the secrets manager is not asked for a refused claim"),
            not_asked(Unique, r.reason, "nothing was compared"),
            Wanted::yes(Stalled, r.reason, &r.message),
        ],
        Outcome::Undecided(r) => {
            let stalled = outcome.is_stalled();
            let authorized = if stalled {
                Wanted::no(Authorized, r.reason, &r.message)
            } else {
                Wanted::unknown(Authorized, r.reason, &r.message)
            };
            let ready = match (has_secret && !stalled, standing.stale) {
                (true, false) => Wanted::yes(Ready, Reason::Ready, LAST_GOOD),
                (true, true) => Wanted::no(
                    Ready,
                    Reason::Stale,
                    format!("{LAST_GOOD}, which could not be refreshed for three intervals: {}", r.message),
                ),
                (false, _) => Wanted::no(Ready, r.reason, &r.message),
            };
            let mut list = vec![
                ready,
                authorized,
                Wanted::no(Synced, r.reason, &r.message),
                not_asked(Unique, r.reason, "nothing new was compared"),
            ];
            if stalled {
                list.push(Wanted::yes(Stalled, r.reason, &r.message));
            } else if !has_secret {
                list.push(Wanted::yes(Reconciling, r.reason, &r.message));
            }
            list
        }
        Outcome::Stuck { refusal, failure } => vec![
            Wanted::no(Ready, failure.reason, format!("the Secret is to be withdrawn: {}", failure.message)),
            Wanted::no(Authorized, refusal.reason, &refusal.message),
            not_asked(Synced, refusal.reason, "the secrets manager is not asked for a claim that is not allowed"),
            not_asked(Unique, refusal.reason, "nothing was compared"),
            Wanted::yes(Reconciling, failure.reason, &failure.message),
        ],
        Outcome::Paused { refusal, paused } => {
            let count = paused.count;
            let alone = paused.report.as_ref().map_or_else(String::new, |(report, number)| {
                format!(", or \"{number}\" on the SegmentationReport {report:?} for those of this segment alone")
            });
            let text = format!(
                "{}; {count} Secrets would be withdrawn for this cause, so the operator waits: revert the change, or set scopedsecrets.io/accept-violations: \"{count}\" on a SegmentationPolicy{alone}",
                refusal.message
            );
            vec![
                unchanged_ready(old),
                Wanted::no(Authorized, Reason::WithdrawalPaused, text),
                not_asked(Synced, refusal.reason, "the secrets manager is not asked for a claim that is not allowed"),
                not_asked(Unique, refusal.reason, "nothing new was compared"),
            ]
        }
    }
}

fn unchanged_ready(old: &ScopedSecretStatus) -> Wanted {
    let ready = old.conditions.iter().find(|c| c.type_ == Ready.as_str());
    match ready.filter(|ready| ready.status == "False") {
        Some(ready) => {
            let reason = Reason::from_text(&ready.reason).unwrap_or(Reason::Stale);
            Wanted::no(
                Ready,
                reason,
                format!("as it was before a withdrawal that waits (see Authorized): {}", reason.meaning()),
            )
        }
        None => Wanted::yes(Ready, Reason::Ready, LAST_GOOD),
    }
}

/// What is worth an event: a condition that turned false, changed its reason, or came back. Nothing on an uneventful
/// first sync.
pub fn transitions<'a>(old: &ScopedSecretStatus, new: &'a ScopedSecretStatus) -> Vec<(bool, &'a str, &'a str)> {
    let before =
        |kind: &str| old.conditions.iter().find(|c| c.type_ == kind).map(|c| (c.status.as_str(), c.reason.as_str()));
    let mut events: Vec<(bool, &str, &str)> = Vec::new();
    for condition in &new.conditions {
        let was = before(&condition.type_);
        let is = (condition.status.as_str(), condition.reason.as_str());
        let told = events.iter().any(|(_, reason, _)| *reason == is.1);
        let tells = match condition.type_.as_str() {
            "Ready" | "Authorized" | "Synced" | "Unique" => true,
            // That it goes on is no news.
            "Rotated" => condition.reason != Reason::RollingOut.as_str(),
            _ => false,
        };
        // How far a rotation is comes as news, and not as a warning.
        let gets_on =
            matches!(condition.reason.as_str(), "Requested" | "Stored" | "Projected" | "RolledOut" | "RotationWaits");
        if was == Some(is) || told || !tells {
            continue;
        }
        match (was, is.0) {
            (_, "False") => events.push((gets_on, &condition.reason, &condition.message)),
            (Some(("False", _)), "True") => events.push((true, &condition.reason, &condition.message)),
            _ => {}
        }
    }
    events
}

#[cfg(test)]
mod tests {
    use super::super::plan::{Failure, Paused};
    use super::*;
    use crate::segmentation::verdict::Refusal;

    fn of(outcome: &Outcome, has_secret: bool, stale: bool) -> ScopedSecretStatus {
        let secret = has_secret.then(|| SecretRef { name: "s".into(), uid: "u".into(), resource_version: "1".into() });
        let standing = Standing {
            generation: 3,
            segment: None,
            secret,
            versions: vec![],
            changed: None,
            stale,
            outdated: false,
            rollout: None,
            rotation: None,
        };
        status(outcome, standing, &ScopedSecretStatus::default(), Timestamp::UNIX_EPOCH)
    }

    /// Only what is said: Ready/reason, then the false or kstatus conditions.
    fn told(status: &ScopedSecretStatus) -> String {
        let interesting = status.conditions.iter().filter(|c| {
            c.type_ == "Ready" || c.status == "False" || ["Stalled", "Reconciling"].contains(&c.type_.as_str())
        });
        interesting.map(|c| format!("{}={}/{}", c.type_, c.status, c.reason)).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn two_that_write_it_come_to_the_later_change() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let written = |changed: Option<i64>, told: Option<i64>| {
            let secret = Some(SecretRef { name: "s".into(), uid: "u".into(), resource_version: "1".into() });
            let standing = Standing { secret, changed: changed.map(at), ..Standing::default() };
            let old = ScopedSecretStatus { last_change_time: told.map(at).map(Time), ..ScopedSecretStatus::default() };
            status(&Outcome::Current, standing, &old, at(100)).last_change_time.map(|time| time.0.as_second())
        };
        for (changed, told, expected) in [
            (Some(50), Some(60), Some(60)),
            (Some(60), Some(50), Some(60)),
            (Some(50), Some(160), Some(50)),
            (None, Some(160), Some(160)),
            (None, None, None),
        ] {
            assert_eq!(written(changed, told), expected, "{changed:?}, of which status says {told:?}");
        }
    }

    #[test]
    fn the_table_of_the_design() {
        let outage = Outcome::Failed(Failure::new(Reason::ProviderUnavailable, "down"));
        let invalid = Outcome::Failed(Failure::new(Reason::PropertyMissing, "gone"));
        let refused = Outcome::Refused(Refusal::new(Reason::KeyNotAllowed, "no"));
        let unknown = Outcome::Undecided(Refusal::new(Reason::AccountUnknown, "?"));
        let revoked = Failure::new(Reason::ProviderUnavailable, "down").of_revoked().unwrap();
        assert!(revoked.message.contains("newer version is not known; it is asked again: down"), "{revoked:?}");
        let revoked = Outcome::Failed(revoked);
        let paused = Outcome::Paused {
            refusal: Refusal::new(Reason::NoPolicy, "no"),
            paused: Paused { count: 40, report: None },
        };
        for (outcome, has_secret, stale, expected) in [
            (&Outcome::Current, true, false, "Ready=True/Ready"),
            (
                &outage,
                false,
                false,
                "Ready=False/ProviderUnavailable Synced=False/ProviderUnavailable Reconciling=True/ProviderUnavailable",
            ),
            (&outage, true, false, "Ready=True/Ready Synced=False/ProviderUnavailable"),
            (&outage, true, true, "Ready=False/Stale Synced=False/ProviderUnavailable"),
            (
                &invalid,
                false,
                false,
                "Ready=False/PropertyMissing Synced=False/PropertyMissing Stalled=True/PropertyMissing",
            ),
            (
                &refused,
                false,
                false,
                "Ready=False/KeyNotAllowed Authorized=False/KeyNotAllowed Stalled=True/KeyNotAllowed",
            ),
            (&unknown, true, false, "Ready=True/Ready Synced=False/AccountUnknown"),
            (
                &unknown,
                false,
                false,
                "Ready=False/AccountUnknown Synced=False/AccountUnknown Reconciling=True/AccountUnknown",
            ),
            (
                &revoked,
                false,
                false,
                "Ready=False/KeyRevoked Authorized=False/KeyRevoked Synced=False/KeyRevoked Stalled=True/KeyRevoked",
            ),
            (&paused, true, false, "Ready=True/Ready Authorized=False/WithdrawalPaused"),
        ] {
            assert_eq!(told(&of(outcome, has_secret, stale)), expected, "{outcome:?}");
        }
    }

    #[test]
    fn a_withdrawal_that_waits_leaves_ready_as_it_is() {
        let before = of(&Outcome::Failed(Failure::new(Reason::InvalidSchedule, "never fires")), true, false);
        let paused = Outcome::Paused {
            refusal: Refusal::new(Reason::NoPolicy, "no"),
            paused: Paused { count: 40, report: None },
        };
        let standing = Standing { generation: 3, ..Standing::default() };
        let after = status(&paused, standing, &before, Timestamp::UNIX_EPOCH);
        let ready = after.conditions.iter().find(|c| c.type_ == "Ready").unwrap();
        assert_eq!((&*ready.status, &*ready.reason), ("False", "InvalidSchedule"));
    }

    #[test]
    fn what_an_earlier_spec_projected_makes_no_claim_ready() {
        let secret = Some(SecretRef { name: "s".into(), uid: "u".into(), resource_version: "1".into() });
        let standing = Standing {
            generation: 3,
            segment: None,
            secret,
            versions: vec![],
            changed: None,
            stale: false,
            outdated: true,
            rollout: None,
            rotation: None,
        };
        let outage = Outcome::Failed(Failure::new(Reason::RemoteMissing, "no such key"));
        let now = status(&outage, standing, &ScopedSecretStatus::default(), Timestamp::UNIX_EPOCH);
        assert_eq!(told(&now), "Ready=False/RemoteMissing Synced=False/RemoteMissing Reconciling=True/RemoteMissing");
        assert_eq!(now.reason.as_deref(), Some("RemoteMissing"));
        assert!(now.secret_ref.is_some(), "it stands all the same");
        let ready = now.conditions.iter().find(|c| c.type_ == "Ready").unwrap();
        assert_eq!(ready.message, "the Secret holds what an earlier spec projected: no such key");
        assert_eq!(of(&Outcome::Current, true, false).reason, None);
    }

    #[test]
    fn a_rotation_that_waits_or_fails_hides_no_rollout() {
        let no = |reason, text: &str| Wanted::no(Rotated, reason, text);
        let over = Wanted::yes(Rotated, Reason::Restarted, "over");
        let (waits, paused) = (no(Reason::RotationWaits, "later"), no(Reason::RolloutWaits, "paused"));
        for (rotation, rollout, expected) in [
            (Some(waits.clone()), Some(paused.clone()), Some("RotationWaits: later; and paused")),
            (Some(waits.clone()), Some(over.clone()), Some("RotationWaits: later")),
            (Some(waits.clone()), None, Some("RotationWaits: later")),
            (
                Some(Wanted::unknown(Rotated, Reason::RotationWaits, "out of sync")),
                Some(no(Reason::RolloutStuck, "stuck")),
                Some("RotationWaits: out of sync; and stuck"),
            ),
            (Some(paused.clone()), Some(paused.clone()), Some("RolloutWaits: paused")),
            (Some(no(Reason::Projected, "new")), Some(paused.clone()), Some("Projected: new")),
            (Some(Wanted::yes(Rotated, Reason::Verified, "done")), Some(paused.clone()), Some("Verified: done")),
            (None, Some(paused.clone()), Some("RolloutWaits: paused")),
            (None, None, None),
        ] {
            let case = format!("{rotation:?}, {rollout:?}");
            let secret = Some(SecretRef { name: "s".into(), uid: "u".into(), resource_version: "1".into() });
            let rotation = rotation.map(|condition| Rotation { condition, next: None, last: None });
            let standing = Standing { secret, rollout, rotation, ..Standing::default() };
            let now = status(&Outcome::Current, standing, &ScopedSecretStatus::default(), Timestamp::UNIX_EPOCH);
            let rotated = now.conditions.iter().find(|c| c.type_ == "Rotated");
            let told = rotated.map(|c| format!("{}: {}", c.reason, c.message));
            assert_eq!(told.as_deref(), expected, "{case}");
            assert_eq!(says(&now, Reason::RolloutWaits), expected.is_some_and(|text| text.starts_with("Rollout")));
        }
        assert_eq!(held_up(Some(&paused)), Some(Reason::RolloutWaits));
        assert_eq!(
            (held_up(Some(&no(Reason::RollingOut, "soon"))), held_up(Some(&over)), held_up(None)),
            (None, None, None)
        );
    }

    #[test]
    fn an_uneventful_first_sync_makes_no_event() {
        let fresh = ScopedSecretStatus::default();
        let synced = of(&Outcome::Current, true, false);
        assert!(transitions(&fresh, &synced).is_empty());
        let down = of(&Outcome::Failed(Failure::new(Reason::Throttled, "slow")), true, false);
        assert_eq!(transitions(&synced, &down), [(false, "Throttled", "slow")]);
        assert!(transitions(&down, &down).is_empty());
        assert_eq!(transitions(&down, &synced).len(), 1);
    }
}
