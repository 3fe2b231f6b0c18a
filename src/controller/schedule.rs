//! When an object is looked at again. Pure.
//!
//! Refresh times come from a hash of the uid, not from the last refresh: a restart starts no storm and needs no heartbeat.
//! Objects of one store share ticks, so that a tick fills batches.

use jiff::{SignedDuration, Timestamp};
use std::time::Duration;

/// So many objects share one tick: ten full batches of 20.
const PER_TICK: u64 = 200;

/// The next refresh after `now`, of an object among `peers` of the same store.
pub fn next_refresh(uid: &str, store: &str, interval: Duration, peers: usize, now: Timestamp) -> Timestamp {
    let interval = i128::try_from(interval.as_nanos()).unwrap_or(i128::MAX).max(1);
    let ticks = (peers as u64).div_ceil(PER_TICK).max(1);
    let tick = i128::from(hash(uid) % ticks);
    let phase = (interval * tick / i128::from(ticks) + i128::from(hash(store)) % interval) % interval;
    let now_ns = now.as_nanosecond();
    let next = now_ns - (now_ns - phase).rem_euclid(interval) + interval;
    Timestamp::from_nanosecond(next).unwrap_or(Timestamp::MAX)
}

/// How long to wait after so many failures in a row: 1 s, doubled each time up to the refresh interval (but at least a
/// minute, and at most an hour: a quarter of one while no Secret stands), less up to a quarter by a hash, so that objects
/// spread. A failing object thus costs no more than a healthy one soon.
pub fn backoff(uid: &str, failures: u32, interval: Duration, has_secret: bool) -> Duration {
    let longest = Duration::from_secs(if has_secret { 3600 } else { 900 });
    let ceiling = if interval.is_zero() { longest } else { interval.clamp(Duration::from_secs(60), longest) };
    let full = Duration::from_secs(1).saturating_mul(1 << failures.saturating_sub(1).min(16)).min(ceiling);
    let share = hash(&format!("{uid}/{failures}")) % 256;
    full - full.mul_f64(share as f64 / 1024.0)
}

/// Whether a time was noted by a clock that was ahead then: it says nothing.
pub fn is_ahead(then: Timestamp, now: Timestamp) -> bool {
    then.duration_since(now) > SignedDuration::from_mins(1)
}

/// A time that was reckoned to look again; one that is further off than any that is reckoned was by a clock that was ahead: now.
pub fn by_this_clock(at: Timestamp, interval: Duration, now: Timestamp) -> Timestamp {
    // Both a refresh and a retry come within that.
    let interval = if interval.is_zero() { Duration::from_secs(3600) } else { interval.max(Duration::from_secs(60)) };
    let longest = SignedDuration::try_from(interval.saturating_mul(2)).unwrap_or(SignedDuration::MAX);
    if at.duration_since(now) > longest { now } else { at }
}

/// Whether the last good value is too old to call the object ready: older than three refresh intervals (0s: never).
pub fn is_stale(last_good: Timestamp, interval: Duration, now: Timestamp) -> bool {
    let limit = SignedDuration::try_from(interval.saturating_mul(3)).unwrap_or(SignedDuration::MAX);
    !interval.is_zero() && now.duration_since(last_good) > limit
}

/// FNV-1a: stable across versions and platforms.
fn hash(text: &str) -> u64 {
    let mixed =
        text.bytes().fold(0xcbf2_9ce4_8422_2325, |h: u64, b| (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3));
    mixed ^ (mixed >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    #[test]
    fn refreshes_come_every_interval_whenever_asked() {
        let hour = Duration::from_secs(3600);
        let first = next_refresh("uid", "aws", hour, 10_000, at(1_000_000));
        assert!(first > at(1_000_000) && first <= at(1_003_600));
        assert_eq!(next_refresh("uid", "aws", hour, 10_000, at(1_000_001)), first, "a restart changes nothing");
        assert_eq!(next_refresh("uid", "aws", hour, 10_000, first).duration_since(first).as_secs(), 3600);
    }

    #[test]
    fn ticks_fill_batches_and_still_spread() {
        let ticks = |n: usize| {
            (0..n).fold(BTreeMap::new(), |mut ticks: BTreeMap<_, usize>, i| {
                *ticks
                    .entry(next_refresh(&format!("uid-{i}"), "aws", Duration::from_secs(3600), n, at(0)))
                    .or_default() += 1;
                ticks
            })
        };
        assert_eq!(ticks(150).len(), 1);
        let many = ticks(10_000);
        assert_eq!(many.len(), 50);
        let calls: usize = many.values().map(|n| n.div_ceil(20)).sum();
        assert!(calls <= 10_000 / 20 + 50, "{calls}");
    }

    #[test]
    fn backs_off_and_spreads() {
        let minute = Duration::from_secs(60);
        let long = Duration::from_secs(864_000);
        assert!(backoff("a", 1, minute, true) <= Duration::from_secs(1));
        assert!((45..=60).contains(&backoff("a", 40, minute, true).as_secs()));
        assert!((2700..=3600).contains(&backoff("a", 40, long, true).as_secs()));
        assert!((675..=900).contains(&backoff("a", 40, long, false).as_secs()));
        assert_ne!(backoff("a", 5, minute, true), backoff("b", 5, minute, true));
    }

    #[test]
    fn what_a_clock_that_was_ahead_reckoned_is_done_at_once() {
        let minute = Duration::from_secs(60);
        for (due, interval, expected) in [
            (50, minute, 50),
            (1_120, minute, 1_120),
            (1_121, minute, 1_000),
            (1_121, Duration::from_secs(1), 1_000),
            (4_600, Duration::ZERO, 4_600),
            (1_000 + 2 * 86_400, minute * 1_440, 1_000 + 2 * 86_400),
            (1_001 + 2 * 86_400, minute * 1_440, 1_000),
            (99_000_000_000, minute, 1_000),
        ] {
            assert_eq!(by_this_clock(at(due), interval, at(1_000)), at(expected), "{due}");
        }
    }

    #[test]
    fn stale_after_three_intervals() {
        let minute = Duration::from_secs(60);
        assert!(!is_stale(at(0), minute, at(180)));
        assert!(is_stale(at(0), minute, at(181)));
        assert!(!is_stale(at(0), Duration::ZERO, at(9_999_999)));
    }
}
