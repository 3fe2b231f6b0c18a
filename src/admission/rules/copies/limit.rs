//! How many copies a user hears of in a minute: an answer for each guess would make the rule an oracle.

use crate::api::policy::Mode;
use jiff::{SignedDuration, Timestamp};
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// So many answers one user hears in one segment within a minute.
pub const PER_MINUTE: u32 = 10;
const MINUTE: SignedDuration = SignedDuration::from_secs(60);
/// So many users are counted at a time; beyond that the one counted for longest is forgotten.
const USERS: usize = 4096;

/// The answers that were given, by user and segment; of this replica.
#[derive(Default)]
pub struct Limit {
    /// Whose, by a hash that this process keys anew.
    answers: Mutex<HashMap<u64, Answers>>,
    keyed: RandomState,
}

struct Answers {
    since: Timestamp,
    count: u32,
    strictest: Mode,
}

impl Answers {
    /// Within the minute that began with the first.
    fn count_at(&self, now: Timestamp) -> bool {
        let age = now.duration_since(self.since);
        SignedDuration::ZERO <= age && age < MINUTE
    }
}

impl Limit {
    /// Whether the user has heard enough for this minute, and if so, the strictest of what was heard.
    pub fn reached(&self, user: &str, segment: &str, now: Timestamp) -> Option<Mode> {
        let key = self.keyed.hash_one((user, segment));
        let answers = self.answers();
        let known = answers.get(&key).filter(|known| known.count_at(now) && known.count >= PER_MINUTE)?;
        Some(known.strictest)
    }

    /// Counts an answer.
    pub fn count(&self, user: &str, segment: &str, answer: Mode, now: Timestamp) {
        let key = self.keyed.hash_one((user, segment));
        let mut answers = self.answers();
        if answers.len() >= USERS && !answers.contains_key(&key) {
            answers.retain(|_, known| known.count_at(now));
            let oldest = answers.iter().min_by_key(|(_, known)| known.since).map(|(key, _)| *key);
            if let Some(oldest) = oldest.filter(|_| answers.len() >= USERS) {
                answers.remove(&oldest);
            }
        }
        let known = answers.entry(key).or_insert(Answers { since: now, count: 0, strictest: answer });
        if !known.count_at(now) {
            *known = Answers { since: now, count: 0, strictest: answer };
        }
        known.count += 1;
        known.strictest = known.strictest.max(answer);
    }

    fn answers(&self) -> MutexGuard<'_, HashMap<u64, Answers>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_767_225_600 + seconds).unwrap()
    }

    #[test]
    fn ten_a_minute_by_user_and_segment() {
        let limit = Limit::default();
        for second in 0..10 {
            assert_eq!(limit.reached("ada", "billing/prod", at(second)), None, "{second}");
            limit.count("ada", "billing/prod", if second == 4 { Mode::Enforce } else { Mode::Warn }, at(second));
        }
        assert_eq!(limit.reached("ada", "billing/prod", at(9)), Some(Mode::Enforce), "the strictest of what was heard");
        assert_eq!(limit.reached("ada", "billing/staging", at(9)), None);
        assert_eq!(limit.reached("bob", "billing/prod", at(9)), None);
        assert_eq!(limit.reached("ada", "billing/prod", at(59)), Some(Mode::Enforce));
        assert_eq!(limit.reached("ada", "billing/prod", at(60)), None, "the next minute");
        assert_eq!(limit.reached("ada", "billing/prod", at(-1)), None, "a clock that was put back holds nobody up");
        limit.count("ada", "billing/prod", Mode::Warn, at(61));
        assert_eq!(limit.reached("ada", "billing/prod", at(61)), None);
    }

    #[test]
    fn many_users_take_no_more_than_their_room() {
        let limit = Limit::default();
        for user in 0..20_000 {
            limit.count(&format!("user-{user}"), "s", Mode::Enforce, at(user / 1_000));
        }
        assert!(limit.answers().len() <= USERS);
        (0..10).for_each(|_| limit.count("ada", "s", Mode::Enforce, at(20)));
        assert_eq!(limit.reached("ada", "s", at(21)), Some(Mode::Enforce), "the latest are counted");
    }
}
