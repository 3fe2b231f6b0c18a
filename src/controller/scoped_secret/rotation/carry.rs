//! What the next seal says of a claim's rotations, and whether the Secret has the value before, too. Pure.

use crate::rotation::Plan;
use crate::rotation::due::Asked;
use crate::rotation::slot::Trigger;
use crate::segmentation::rotated::Rotated;
use crate::segmentation::seal::SealRecord;
use crate::segmentation::world::KeyVersion;
use jiff::Timestamp;

/// What is known when the current version is in hand.
pub struct Before<'a> {
    /// The rotation as it is written.
    pub plan: Option<&'a Plan>,
    /// What the Secret's seal says.
    pub seal: Option<&'a SealRecord>,
    /// The version that is current in the manager.
    pub current: &'a KeyVersion,
    /// What the key was rotated for by now.
    pub handled: &'a [Trigger],
    /// The annotation rotate-at.
    pub rotate_at: Option<&'a str>,
    /// Whether another version than the current one may be read.
    pub overlaps: bool,
    /// When the claim was made.
    pub created: Timestamp,
    /// The time.
    pub now: Timestamp,
}

/// What is carried into the next seal.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Carried {
    /// How far the rotations are.
    pub rotated: Option<Box<Rotated>>,
    /// The version before, while it stays.
    pub previous: Option<KeyVersion>,
}

impl Before<'_> {
    /// What is carried on; a version that was revoked is not.
    pub fn carry(&self, revoked: impl Fn(&KeyVersion) -> bool) -> Carried {
        let Some(plan) = self.plan else { return Carried::default() };
        let mut rotated = self.reckoned(plan);
        let held = self.seal.and_then(|seal| seal.holding.versions.first());
        let changed = held.filter(|held| held.key == self.current.key && held.id != self.current.id);
        // When another key was rotated, before the claim was edited, is nothing to this one.
        rotated.at = rotated.at.filter(|_| held.is_none_or(|held| held.key == self.current.key));
        if !self.handled.is_empty() {
            let made = self.current.created.unwrap_or(self.now.into());
            rotated.at = if changed.is_some() { Some(self.now.into()) } else { rotated.at.or(Some(made)) };
        }
        for trigger in self.handled {
            rotated = rotated.handled(trigger, plan.schedule.as_ref());
        }
        let (previous, until) = match (changed, plan.overlap) {
            (Some(held), Some(overlap)) if held.is_known() && self.overlaps => {
                (Some(held.clone()), self.now.checked_add(overlap).ok().map(Into::into))
            }
            (None, Some(overlap)) => {
                let longest = self.now.checked_add(overlap).unwrap_or(Timestamp::MAX);
                // A clock by which the current version is yet to be made is behind itself.
                let is_behind = self.current.created.is_some_and(|made| Timestamp::from(made) > self.now);
                let longest = if is_behind { Timestamp::MAX } else { longest };
                let until = rotated.overlaps_until.filter(|until| *until > self.now.into());
                // It was made shorter, or the clock was ahead.
                let until = until.map(|until| until.min(longest.into()));
                let before = self.seal.and_then(|seal| seal.holding.versions.get(1)).filter(|_| until.is_some());
                (before.filter(|before| before.key == self.current.key).cloned(), until)
            }
            _ => (None, None),
        };
        let previous = previous.filter(|previous| !revoked(previous));
        rotated.overlaps_until = until.filter(|_| previous.is_some());
        Carried { rotated: Some(rotated.into()), previous }
    }

    /// What was sealed, or where it is reckoned from now on.
    fn reckoned(&self, plan: &Plan) -> Rotated {
        let sealed = self.seal.and_then(|seal| seal.rotation.as_deref());
        let asked = Asked { plan, name: "", rotate_at: None, sealed, pending: &[], began: None };
        let from = match self.seal {
            // What was rotated before its seal was lost is dated by the manager.
            None => self.current.created.map_or(self.created, |made| self.created.max(made.into())).min(self.now),
            // Another schedule goes on where the one before it was: what was due by that is not left out, and of what the new
            // one has named since the last comes.
            Some(_) => sealed.and_then(|s| s.until).map(Timestamp::from).filter(|u| *u <= self.now).unwrap_or(self.now),
        };
        let rotated = sealed.cloned().unwrap_or_default();
        if asked.is_anchored(self.now) && sealed.is_some() && plan.schedule.is_some() == rotated.rule.is_some() {
            return rotated;
        }
        let rotated = rotated.anchored(plan.schedule.as_ref(), from);
        match self.current.created.filter(|_| self.seal.is_none()) {
            Some(made) => rotated.asked_before(self.rotate_at, made.into()),
            None => rotated,
        }
    }
}

/// Whether the seal is what would be written now, as far as that can be told without asking the manager.
pub fn is_right(plan: Option<&Plan>, seal: &SealRecord, now: Timestamp) -> bool {
    let Some(plan) = plan else { return true };
    let Some(sealed) = seal.rotation.as_deref() else { return false };
    Asked { plan, name: "", rotate_at: None, sealed: Some(sealed), pending: &[], began: None }.is_anchored(now)
}

/// Whether the Secret has the value before for longer than it is to.
pub fn is_over(plan: Option<&Plan>, seal: &SealRecord, now: Timestamp) -> bool {
    let until = seal.rotation.as_deref().and_then(|rotated| rotated.overlaps_until);
    until.is_some_and(|until| until <= now.into() || plan.is_none_or(|plan| plan.overlap.is_none()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rotation::schedule::Schedule;
    use crate::segmentation::fixtures::at;
    use crate::segmentation::key::CanonicalKey;
    use crate::segmentation::seal::{Generation, SealKeys};
    use crate::segmentation::world::Holding;
    use jiff::SignedDuration;
    use std::sync::Arc;

    fn version(id: &str, made: i64) -> KeyVersion {
        let created = Some(at(made).into());
        KeyVersion { key: CanonicalKey::from_sealed("aws:1:r:k"), id: id.into(), created }
    }

    fn plan(overlap: Option<i64>) -> Plan {
        let schedule = Some(Schedule::parse("0 3 * * *", None).unwrap());
        Plan { schedule, overlap: overlap.map(SignedDuration::from_secs), recipe: None }
    }

    fn seal(versions: &[KeyVersion], rotation: Option<Rotated>) -> SealRecord {
        let keys = SealKeys::new(Generation::from_random(&[1; 36], Timestamp::UNIX_EPOCH).unwrap());
        let claim = crate::segmentation::fixtures::claim("n", "c");
        let holding = Holding { versions: versions.into(), ..Holding::of_claim(&claim, Vec::new()) };
        let digest = keys.digest(b"");
        let rotation = rotation.map(Box::new);
        SealRecord {
            holding: Arc::new(holding),
            spec: digest,
            content: digest,
            ignore: digest,
            refresh_at: None,
            rotation,
            restart: None,
            followed: None,
        }
    }

    fn carry(plan: &Plan, seal: Option<&SealRecord>, current: &KeyVersion, handled: &[Trigger], now: i64) -> Carried {
        let before = Before {
            plan: Some(plan),
            seal,
            current,
            handled,
            rotate_at: None,
            overlaps: true,
            created: at(1_000),
            now: at(now),
        };
        before.carry(|version| &*version.id == "leaked")
    }

    #[test]
    fn a_rotation_is_sealed_with_its_value_and_the_one_before_stays_for_a_while() {
        let overlapping = plan(Some(3_600));
        let first = carry(&overlapping, None, &version("a", 5), &[], 2_000);
        let rotated = first.rotated.clone().unwrap();
        assert_eq!(rotated.until, Some(at(1_000).into()), "from the claim's creation on");
        assert_eq!((rotated.at, first.previous), (None, None));
        let held = seal(&[version("a", 5)], Some(*rotated));
        let slot = Trigger::Schedule(at(90_000).into());
        let next = carry(&overlapping, Some(&held), &version("b", 90_001), &[slot], 90_010);
        let rotated = next.rotated.clone().unwrap();
        assert_eq!((rotated.until, rotated.at), (Some(at(90_000).into()), Some(at(90_010).into())));
        assert_eq!((rotated.overlaps_until, next.previous.clone()), (Some(at(93_610).into()), Some(version("a", 5))));
        let held = seal(&[version("b", 90_001), version("a", 5)], Some(*rotated));
        assert!(!is_over(Some(&overlapping), &held, at(93_609)) && is_over(Some(&overlapping), &held, at(93_610)));
        assert!(is_over(Some(&plan(None)), &held, at(90_020)) && is_over(None, &held, at(90_020)));
        // A refresh meanwhile leaves it, one afterwards does not.
        assert_eq!(carry(&overlapping, Some(&held), &version("b", 90_001), &[], 91_000), next);
        let over = carry(&overlapping, Some(&held), &version("b", 90_001), &[], 93_610);
        assert_eq!((over.previous, over.rotated.unwrap().overlaps_until), (None, None));
        // Where the overlap was made shorter it stays for that from then on; a clock that is behind ends nothing.
        for (overlap, now, until_then) in [(60, 90_020, 90_080), (3_600, 50_000, 93_610)] {
            let until = |carried: Carried| carried.rotated.unwrap().overlaps_until;
            let carried = carry(&plan(Some(overlap)), Some(&held), &version("b", 90_001), &[], now);
            assert_eq!(
                (carried.previous.clone(), until(carried)),
                (Some(version("a", 5)), Some(at(until_then).into()))
            );
        }
        // Of another key nothing was before.
        let other = KeyVersion { key: CanonicalKey::from_sealed("aws:1:r:other"), ..version("b", 90_001) };
        let edited = carry(&overlapping, Some(&held), &other, &[], 91_000);
        let rotated = edited.rotated.unwrap();
        assert_eq!((edited.previous, rotated.overlaps_until, rotated.at), (None, None, None));
        // What it is rotated for then is dated by the key that it has now.
        let slot = Trigger::Schedule(at(90_000).into());
        let made = carry(&overlapping, Some(&held), &other, &[slot], 91_000);
        assert_eq!(made.rotated.unwrap().at, Some(at(90_001).into()));
        // Two values before are one too many.
        let third = carry(&overlapping, Some(&held), &version("c", 91_000), &[], 91_000);
        assert_eq!(third.previous, Some(version("b", 90_001)));
    }

    #[test]
    fn what_leaked_does_not_stay_and_without_overlap_nothing_does() {
        let held = |id| seal(&[version(id, 5)], None);
        assert_eq!(carry(&plan(Some(60)), Some(&held("leaked")), &version("b", 9), &[], 2_000).previous, None);
        assert_eq!(carry(&plan(None), Some(&held("a")), &version("b", 9), &[], 2_000).previous, None);
        let none = Before {
            plan: None,
            seal: Some(&held("a")),
            current: &version("b", 9),
            handled: &[],
            rotate_at: None,
            overlaps: true,
            created: at(0),
            now: at(9),
        };
        assert_eq!(none.carry(|_| false), Carried::default());
        // Nor where policy lets the current version alone be read.
        let (overlapping, held, current) = (plan(Some(60)), held("a"), version("b", 9));
        let reads = Before { plan: Some(&overlapping), seal: Some(&held), current: &current, overlaps: false, ..none };
        assert_eq!(reads.carry(|_| false).previous, None);
    }

    #[test]
    fn a_request_that_was_answered_before_the_seal_was_lost_is_not_new() {
        let daily = plan(None);
        let handled = |rotate_at: &str, seal: Option<&SealRecord>| {
            let current = version("a", 1_767_225_600);
            let before = Before {
                plan: Some(&daily),
                seal,
                current: &current,
                handled: &[],
                rotate_at: Some(rotate_at),
                overlaps: true,
                created: at(1_000),
                now: at(1_767_300_000),
            };
            before.carry(|_| false).rotated.unwrap().rotate_at.is_some()
        };
        assert!(handled("2026-01-01T00:00:00Z", None), "the version is of then, or later");
        assert!(!handled("2026-01-01T00:00:01Z", None), "it was asked for since");
        assert!(!handled("one", None), "that cannot be told");
        assert!(
            !handled("2026-01-01T00:00:00Z", Some(&seal(&[version("a", 5)], None))),
            "its seal says what was handled"
        );
    }

    #[test]
    fn slots_count_from_when_the_schedule_is_first_seen() {
        let daily = plan(None);
        let until = |seal: Option<&SealRecord>, made, now| {
            carry(&daily, seal, &version("a", made), &[], now).rotated.unwrap().until
        };
        assert_eq!(until(Some(&seal(&[version("a", 5)], None)), 5, 500_000), Some(at(500_000).into()), "added later");
        assert_eq!(until(None, 400_000, 500_000), Some(at(400_000).into()), "its seal was lost");
        assert_eq!(until(None, 900_000, 500_000), Some(at(500_000).into()), "by another clock");
        let weekly = Schedule::parse("0 3 * * 0", None).unwrap();
        let other = Rotated::default().anchored(Some(&weekly), at(1_000));
        assert_eq!(until(Some(&seal(&[version("a", 5)], Some(other.clone()))), 5, 500_000), Some(at(1_000).into()));
        let ahead = Rotated::default().anchored(Some(&weekly), at(900_000));
        assert_eq!(
            until(Some(&seal(&[version("a", 5)], Some(ahead))), 5, 500_000),
            Some(at(500_000).into()),
            "by a wrong clock"
        );
        assert!(!is_right(Some(&daily), &seal(&[], Some(other)), at(500_000)));
        assert!(!is_right(Some(&daily), &seal(&[], None), at(1)) && is_right(None, &seal(&[], None), at(1)));
    }
}
