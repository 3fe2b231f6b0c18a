//! What a claim's key is to be rotated for now, and when by the schedule next.

use super::Plan;
use super::schedule::{FLOOR, Schedule};
use super::slot::Trigger;
use crate::segmentation::rotated::Rotated;
use crate::segmentation::second::Second;
use jiff::Timestamp;

/// What decides it.
pub struct Asked<'a> {
    /// The rotation as it is written.
    pub plan: &'a Plan,
    /// By which its times are spread: the claim's uid.
    pub name: &'a str,
    /// The annotation rotate-at.
    pub rotate_at: Option<&'a str>,
    /// What the seal says of earlier ones.
    pub sealed: Option<&'a Rotated>,
    /// What else is asked for, in order.
    pub pending: &'a [Trigger],
    /// Since when somebody leads: what came long before is spread anew. None: since ever.
    pub began: Option<Timestamp>,
}

/// So many slots back a rotation may have begun that was never finished: a month of the most frequent schedule.
const BACK: usize = 5_000;

/// Likewise, where it is not known up to when they are handled.
const BACK_UNKNOWN: usize = 16;

impl Asked<'_> {
    /// All that the key is to be rotated for, in order.
    pub fn due(&self, now: Timestamp) -> Vec<Trigger> {
        let handled = self.sealed.and_then(|sealed| sealed.rotate_at.as_deref());
        let on_demand = self.rotate_at.filter(|value| !value.is_empty() && handled != Some(value));
        let on_demand = on_demand.map(|value| Trigger::OnDemand(value.into()));
        let scheduled = self.scheduled(now).map(Trigger::Schedule);
        on_demand.into_iter().chain(self.pending.iter().cloned()).chain(scheduled).collect()
    }

    /// The last slot whose turn has come and that was not rotated.
    fn scheduled(&self, now: Timestamp) -> Option<Second> {
        self.waiting(now).filter(|(_, turn)| *turn <= now).map(|(slot, _)| slot.into())
    }

    /// The last slot that has come, jitter included, and was not rotated, and when its turn is. Of several that were missed it is
    /// the only one. Those that nobody was there for come by their jitter again, from when somebody was: not all at once.
    fn waiting(&self, now: Timestamp) -> Option<(Timestamp, Timestamp)> {
        let schedule = self.plan.schedule.as_ref()?;
        let jitter = schedule.jitter(self.name);
        let slot = schedule.latest(now.checked_sub(jitter).ok()?)?;
        if Second::from(slot) <= self.until(schedule)? {
            return None;
        }
        let turn = slot.checked_add(jitter).ok()?;
        // Who was only killed and started again goes on at once.
        let missed = self.began.filter(|began| *began <= now && began.duration_since(turn) > FLOOR);
        Some((slot, missed.and_then(|began| began.checked_add(jitter).ok()).unwrap_or(turn)))
    }

    fn until(&self, schedule: &Schedule) -> Option<Second> {
        self.sealed.filter(|sealed| sealed.rule.as_deref() == Some(schedule.rule()))?.until
    }

    /// When the schedule's next rotation comes.
    pub fn next(&self, now: Timestamp) -> Option<Timestamp> {
        if let Some((_, turn)) = self.waiting(now).filter(|(_, turn)| *turn > now) {
            return Some(turn);
        }
        let schedule = self.plan.schedule.as_ref()?;
        let jitter = schedule.jitter(self.name);
        let after = now.checked_sub(jitter).ok()?;
        let after = self.until(schedule).map_or(after, |until| after.max(until.into()));
        schedule.next(after)?.checked_add(jitter).ok()
    }

    /// Whether the seal speaks of this schedule. What it says may be of another one, or of a clock that was far ahead: it
    /// is then reckoned from now on.
    pub fn is_anchored(&self, now: Timestamp) -> bool {
        let Some(schedule) = &self.plan.schedule else { return true };
        let Some(until) = self.until(schedule) else { return false };
        // One that was handled by a clock a little ahead of ours is not handled again.
        schedule.next(now).and_then(|next| schedule.next(next)).is_none_or(|next| Timestamp::from(until) < next)
    }

    /// For what a rotation may have begun that was not finished before this one came due.
    pub fn earlier(&self, now: Timestamp) -> Vec<Trigger> {
        let handled = self.sealed.and_then(|sealed| sealed.rotate_at.clone());
        let on_demand = handled.into_iter().chain(self.rotate_at.map(Into::into)).map(Trigger::OnDemand);
        let mut all: Vec<Trigger> = on_demand.chain(self.pending.iter().cloned()).collect();
        if let Some(schedule) = &self.plan.schedule {
            let until = self.until(schedule);
            let mut at = now;
            for _ in 0..until.map_or(BACK_UNKNOWN, |_| BACK) {
                let Some(slot) = schedule.latest(at) else { break };
                all.push(Trigger::Schedule(slot.into()));
                if until.is_some_and(|until| Second::from(slot) <= until) {
                    break;
                }
                let Ok(before) = slot.checked_sub(jiff::SignedDuration::from_secs(1)) else { break };
                at = before;
            }
        }
        all
    }
}

impl Rotated {
    /// Where no seal says what was handled: a rotate-at that is a time up to this one is answered by what was made by then. Whether any
    /// other text is new is not known, so that it counts as new.
    pub fn asked_before(mut self, rotate_at: Option<&str>, then: Timestamp) -> Self {
        let is_before = |value: &&str| value.parse::<Timestamp>().is_ok_and(|asked| asked <= then);
        self.rotate_at = rotate_at.filter(is_before).map(Into::into).or(self.rotate_at);
        self
    }

    /// What is sealed at the first write, or once the schedule is another: its slots count from here on.
    pub fn anchored(mut self, schedule: Option<&Schedule>, from: Timestamp) -> Self {
        self.rule = schedule.map(|schedule| schedule.rule().into());
        self.until = schedule.map(|_| from.into());
        self
    }

    /// Whether the seal says that the key was rotated for this.
    pub fn has_handled(&self, trigger: &Trigger) -> bool {
        match trigger {
            Trigger::OnDemand(value) => self.rotate_at.as_ref() == Some(value),
            Trigger::Schedule(slot) => self.until.is_some_and(|until| *slot <= until),
            Trigger::Grant(_) | Trigger::Rollout(_) | Trigger::RoleChange(_) => false,
        }
    }

    /// What is sealed once the key was rotated for this.
    pub fn handled(mut self, trigger: &Trigger, schedule: Option<&Schedule>) -> Self {
        match trigger {
            Trigger::Schedule(slot) => {
                let rule = schedule.map(|schedule| schedule.rule());
                // What is known of this schedule already is never taken back.
                let until = self.until.filter(|_| self.rule.as_deref() == rule);
                self.until = Some(until.map_or(*slot, |until| until.max(*slot)));
                self.rule = rule.map(Into::into);
            }
            Trigger::OnDemand(value) => self.rotate_at = Some(value.clone()),
            // Whoever asked keeps what it came from.
            Trigger::Grant(_) | Trigger::Rollout(_) | Trigger::RoleChange(_) => {}
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::SignedDuration;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn weekly() -> Plan {
        Plan { schedule: Some(Schedule::parse("0 3 * * 0", None).unwrap()), overlap: None, recipe: None }
    }

    fn due(plan: &Plan, sealed: Option<&Rotated>, rotate_at: Option<&str>, now: &str) -> Option<String> {
        let asked = Asked { plan, name: "uid", rotate_at, sealed, pending: &[], began: None };
        asked.due(at(now)).first().map(Trigger::to_string)
    }

    #[test]
    fn a_slot_comes_once_and_of_those_missed_only_the_last() {
        let plan = weekly();
        let schedule = plan.schedule.as_ref();
        let jitter = schedule.unwrap().jitter("uid");
        assert!(jitter > SignedDuration::from_secs(10));
        let first = Rotated::default().anchored(schedule, at("2026-01-01T00:00:00Z"));
        assert_eq!(due(&plan, Some(&first), None, "2026-01-04T02:59:59Z"), None);
        assert_eq!(due(&plan, Some(&first), None, "2026-01-04T03:00:00Z"), None, "jitter");
        let slot = Some("schedule 2026-01-04T03:00:00Z".to_owned());
        assert_eq!(due(&plan, Some(&first), None, "2026-01-04T04:00:00Z"), slot);
        assert_eq!(due(&plan, Some(&first), None, "2026-01-11T02:00:00Z"), slot, "missed for a week");
        let last = Some("schedule 2026-02-01T03:00:00Z".to_owned());
        assert_eq!(due(&plan, Some(&first), None, "2026-02-03T00:00:00Z"), last, "the last of many");
        let handled = first.handled(&Trigger::Schedule(at("2026-02-01T03:00:00Z").into()), schedule);
        for now in ["2026-02-03T00:00:00Z", "2026-02-01T02:00:00Z", "2026-01-04T04:00:00Z", "2020-01-01T00:00:00Z"] {
            assert_eq!(due(&plan, Some(&handled), None, now), None, "no clock brings it again: {now}");
        }
        assert_eq!(due(&plan, None, None, "2026-02-03T00:00:00Z"), None, "reckoned from the first write on");
        let again = handled.clone().handled(&Trigger::Schedule(at("2026-01-04T03:00:00Z").into()), schedule);
        assert_eq!(again, handled, "an earlier one takes nothing back");
    }

    #[test]
    fn another_schedule_or_a_clock_far_ahead_is_reckoned_anew() {
        let plan = weekly();
        let schedule = plan.schedule.as_ref();
        let anchored = |sealed: Option<&Rotated>, plan: &Plan, now: &str| {
            Asked { plan, name: "uid", rotate_at: None, sealed, pending: &[], began: None }.is_anchored(at(now))
        };
        let now = "2026-01-07T00:00:00Z";
        let sealed = Rotated::default().anchored(schedule, at(now));
        assert!(anchored(Some(&sealed), &plan, now));
        assert!(!anchored(None, &plan, now) && !anchored(Some(&Rotated::default()), &plan, now));
        let daily = Plan { schedule: Some(Schedule::parse("0 3 * * *", None).unwrap()), overlap: None, recipe: None };
        assert!(!anchored(Some(&sealed), &daily, now));
        assert!(anchored(None, &Plan { schedule: None, overlap: None, recipe: None }, now));
        let ahead = Rotated::default().anchored(schedule, at("2028-01-01T00:00:00Z"));
        assert!(!anchored(Some(&ahead), &plan, now));
        let a_little = Rotated::default().anchored(schedule, at("2026-01-11T03:00:00Z"));
        assert!(anchored(Some(&a_little), &plan, "2026-01-11T02:50:00Z"));
    }

    #[test]
    fn what_is_asked_for_comes_before_the_schedule_and_each_value_once() {
        let plan = weekly();
        let sealed = Rotated::default().anchored(plan.schedule.as_ref(), at("2026-01-01T00:00:00Z"));
        let now = "2026-01-05T00:00:00Z";
        assert_eq!(due(&plan, Some(&sealed), Some("now"), now).as_deref(), Some("rotate-at now"));
        let scheduled = Some("schedule 2026-01-04T03:00:00Z");
        assert_eq!(due(&plan, Some(&sealed), Some(""), now).as_deref(), scheduled, "nobody means that");
        let handled = sealed.handled(&Trigger::OnDemand("now".into()), plan.schedule.as_ref());
        assert_eq!(due(&plan, Some(&handled), Some("now"), now).as_deref(), Some("schedule 2026-01-04T03:00:00Z"));
        assert_eq!(due(&plan, Some(&handled), Some("again"), now).as_deref(), Some("rotate-at again"));
        let never = Plan { schedule: None, overlap: None, recipe: None };
        assert_eq!(due(&never, None, None, now), None);
        assert_eq!(due(&never, None, Some("now"), now).as_deref(), Some("rotate-at now"));
        let pending = [Trigger::Grant("uid".into())];
        let asked =
            Asked { plan: &plan, name: "uid", rotate_at: None, sealed: Some(&handled), pending: &pending, began: None };
        let scheduled = Trigger::Schedule(at("2026-01-04T03:00:00Z").into());
        assert_eq!(asked.due(at(now)), [pending[0].clone(), scheduled]);
    }

    #[test]
    fn the_next_time_is_ahead() {
        let plan = weekly();
        let sealed = Rotated::default().anchored(plan.schedule.as_ref(), at("2026-01-01T00:00:00Z"));
        let asked =
            Asked { plan: &plan, name: "uid", rotate_at: None, sealed: Some(&sealed), pending: &[], began: None };
        let jitter = plan.schedule.as_ref().unwrap().jitter("uid");
        let next = |now: &str| asked.next(at(now)).unwrap() - jitter;
        assert_eq!(next("2026-01-03T00:00:00Z"), at("2026-01-04T03:00:00Z"));
        assert_eq!(next("2026-01-04T03:00:00Z"), at("2026-01-04T03:00:00Z"), "until its jitter is over");
        assert_eq!(next("2026-01-04T05:00:00Z"), at("2026-01-11T03:00:00Z"));
        assert_eq!(asked.earlier(at("2026-01-14T00:00:00Z")).len(), 3, "back to what is handled");
        let unknown = Asked { sealed: None, ..asked };
        assert_eq!(unknown.earlier(at("2026-01-14T00:00:00Z")).len(), BACK_UNKNOWN);
    }

    #[test]
    fn what_nobody_was_there_for_is_spread_anew() {
        let plan = weekly();
        let schedule = plan.schedule.as_ref().unwrap();
        let sealed = Rotated::default().anchored(Some(schedule), at("2026-01-01T00:00:00Z"));
        let jitter = schedule.jitter("uid");
        let slot = at("2026-01-04T03:00:00Z");
        let asked = |began: Option<Timestamp>| Asked {
            plan: &plan,
            name: "uid",
            rotate_at: None,
            sealed: Some(&sealed),
            pending: &[],
            began,
        };
        let began = at("2026-01-05T12:00:00Z");
        let missed = asked(Some(began));
        assert_eq!(missed.due(began), [], "not with all others");
        assert_eq!(missed.next(began), Some(began + jitter), "and status says when");
        let due = [Trigger::Schedule(slot.into())];
        assert_eq!(missed.due(began + jitter - SignedDuration::from_secs(1)), []);
        assert_eq!(missed.due(began + jitter), due);
        // Who was there, who only started again in its midst, and whose clock went back do not wait.
        for began in [None, Some(at("2026-01-04T00:00:00Z")), Some(slot + jitter + FLOOR), Some(began + jitter)] {
            assert_eq!(asked(began).due(slot + jitter + FLOOR), due, "{began:?}");
        }
        // The next one comes in its own time.
        let next = at("2026-01-11T03:00:00Z") + jitter;
        assert_eq!(missed.due(next), [Trigger::Schedule(at("2026-01-11T03:00:00Z").into())]);
    }
}
