//! The only place where tests pause.

use std::fmt::Display;
use std::thread::sleep;
use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_millis(50);

/// Looks until `look` returns `Ok`, and returns that. `Err` says what was seen instead.
///
/// ```ignore
/// let ip = eventually("a pod address", SECS_10, || pod_ip().ok_or("none in its status yet"));
/// ```
///
/// # Panics
/// When `within` has passed, with what was seen last.
#[track_caller]
pub fn eventually<T, E: Display>(what: &str, within: Duration, mut look: impl FnMut() -> Result<T, E>) -> T {
    let started = Instant::now();
    loop {
        match look() {
            Ok(found) => return found,
            Err(seen) if started.elapsed() >= within => panic!("no {what} within {within:?}; seen last: {seen}"),
            Err(_) => sleep(PAUSE),
        }
    }
}
