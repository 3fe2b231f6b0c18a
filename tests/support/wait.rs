//! The only place where tests pause.

use std::fmt::Display;
use std::thread::sleep;
use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_millis(20);

/// Looks until `look` returns `Ok`, and returns that. `Err` says what was seen instead.
///
/// ```ignore
/// let ip = eventually("a pod address", SECS_10, || pod_ip().ok_or("none in its status yet"));
/// ```
///
/// # Panics
/// When `within` has passed, with what was seen last.
#[track_caller]
pub fn eventually<T, E: Display>(what: &str, within: Duration, look: impl FnMut() -> Result<T, E>) -> T {
    await_within(within, look).unwrap_or_else(|seen| panic!("no {what} within {within:?}; seen last: {seen}"))
}

/// [`eventually`] for who collects what went wrong: what was seen last, once `within` has passed.
pub fn await_within<T, E>(within: Duration, mut look: impl FnMut() -> Result<T, E>) -> Result<T, E> {
    let started = Instant::now();
    loop {
        match look() {
            // Who has waited long can wait a little longer, and leave the machine to what is waited for.
            Err(_) if started.elapsed() < within => sleep(PAUSE.max(started.elapsed() / 10).min(10 * PAUSE)),
            seen => return seen,
        }
    }
}

/// Waits until what is stored in the manager is younger than a KeyRevocation: times are of seconds, and a version of its second counts as
/// revoked. By the real clock, which is the manager's.
pub fn second_is_over(revocation: &serde_json::Value) {
    let made = revocation["metadata"]["creationTimestamp"].as_str().expect("a KeyRevocation");
    let made: jiff::Timestamp = made.parse().expect("a time");
    eventually("its second is over", Duration::from_secs(10), || {
        let over = jiff::Timestamp::now() >= made + jiff::SignedDuration::from_secs(1);
        over.then_some(()).ok_or("not yet")
    });
}
