//! When the cluster is scanned. Pure.

use crate::controller::schedule::is_ahead;
use jiff::Timestamp;
use std::time::Duration;

/// What is known of the scans so far.
#[derive(Debug, Clone, Copy, Default)]
pub struct Known {
    /// When the last one ended that came to its end, whoever's it was.
    pub last: Option<Timestamp>,
    /// When this leader last began one.
    pub began: Option<Timestamp>,
    /// How long the last took.
    pub took: Duration,
    /// How many in a row ended early.
    pub failures: u32,
    /// Whether there is a reason not to wait for the interval: a namespace came into a segment, or a rule was not kept at
    /// admission for a while.
    pub wanted: bool,
    /// Whether a rule of whose breaches only a scan tells is tried out: what breaks it comes in.
    pub tried: bool,
}

/// While a rule is tried out, scans begin at least so long after one another, and after thirty times what one takes.
const TRIED: Duration = Duration::from_secs(300);

/// Two scans begin no sooner after one another than the first of these; where one takes long, after thirty times that, up to the
/// second; and never sooner than after ten times that.
const LEAST: [Duration; 2] = [Duration::from_secs(30), Duration::from_secs(300)];
/// How long one that ended early is left alone, at first and at most.
const FIRST: Duration = Duration::from_secs(30);
const LONGEST: Duration = Duration::from_secs(3600);

/// Whether one is due.
pub fn is_due(known: &Known, interval: Duration, now: Timestamp) -> bool {
    let ago = |then: Timestamp| Duration::try_from(now.duration_since(then)).unwrap_or_default();
    // A clock that was put back must not put scans off.
    let began = known.began.filter(|then| !is_ahead(*then, now));
    let last = known.last.filter(|then| !is_ahead(*then, now)).or(began);
    let rested = |pause: Duration| began.is_none_or(|began| ago(began) >= pause.min(interval));
    if known.failures > 0 {
        return rested(FIRST.saturating_mul(1 << (known.failures - 1).min(16)).min(LONGEST));
    }
    let tried =
        || began.max(last).is_none_or(|then| ago(then) >= TRIED.max(known.took.saturating_mul(30)).min(interval));
    let over = last.is_none_or(|last| ago(last) >= interval);
    let [quick, slow] = LEAST;
    let pause = known.took.saturating_mul(30).clamp(quick, slow).max(known.took.saturating_mul(10));
    over || known.wanted && rested(pause) || known.tried && tried()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segmentation::fixtures::at;

    #[test]
    fn at_first_every_interval_and_when_there_is_a_reason() {
        let day = Duration::from_secs(86_400);
        let none = Known::default();
        let last = Known { last: Some(at(0)), ..none };
        let own = Known { began: Some(at(0)), ..last };
        let wanted = Known { wanted: true, ..own };
        let tried = Known { tried: true, ..own };
        let failed = |failures| Known { failures, ..own };
        let table = [
            ("never scanned", none, 0, true),
            ("by the leader before", last, 3_600, false),
            ("by the leader before, long ago", last, 86_400, true),
            ("for a reason, not just after another", wanted, 29, false),
            ("for a reason", wanted, 30, true),
            (
                "for a reason, after a scan of some seconds",
                Known { took: Duration::from_secs(5), ..wanted },
                149,
                false,
            ),
            ("for a reason, and those are over", Known { took: Duration::from_secs(5), ..wanted }, 150, true),
            ("for a reason, after one of half a minute", Known { took: Duration::from_secs(20), ..wanted }, 299, false),
            ("for a reason, five minutes after", Known { took: Duration::from_secs(20), ..wanted }, 300, true),
            ("for a reason, where one takes long", Known { took: Duration::from_secs(60), ..wanted }, 599, false),
            ("for a reason, by a new leader", Known { wanted: true, ..last }, 1, true),
            ("while rules are tried out, just after another", tried, 299, false),
            ("while rules are tried out", tried, 300, true),
            ("where one takes half a minute", Known { took: Duration::from_secs(30), ..tried }, 899, false),
            ("where one takes half a minute, later", Known { took: Duration::from_secs(30), ..tried }, 900, true),
            ("while rules are tried out, by a new leader", Known { began: None, ..tried }, 299, false),
            ("failed once", failed(1), 29, false),
            ("failed once, a while ago", failed(1), 30, true),
            ("failed often", failed(40), 3_599, false),
            ("failed often, long ago", failed(40), 3_600, true),
            ("the clock was put back", Known { last: Some(at(9_999)), ..none }, 0, true),
            ("the clock was put back, after another", Known { last: Some(at(9_999)), ..own }, 5, false),
            ("the clock was put back, a day after another", Known { last: Some(at(99_999)), ..own }, 86_400, true),
            ("the clock was put back after one that failed", Known { began: Some(at(9_999)), ..failed(1) }, 0, true),
            ("the clock was put back, and there is a reason", Known { began: Some(at(9_999)), ..wanted }, 0, true),
        ];
        for (what, known, seconds, due) in table {
            assert_eq!(is_due(&known, day, at(seconds)), due, "{what}");
        }
        // A short interval is kept whatever the reason.
        assert!(is_due(&wanted, Duration::from_secs(10), at(10)));
        assert!(!is_due(&wanted, Duration::from_secs(10), at(9)));
        assert!(!is_due(&tried, Duration::from_secs(10), at(9)));
    }
}
