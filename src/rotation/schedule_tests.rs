use super::*;
use std::collections::BTreeSet;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn schedule(line: &str, zone: &str) -> Schedule {
    Schedule::parse(line, Some(zone)).unwrap()
}

/// The slots in a span of time, found forwards.
fn slots(schedule: &Schedule, from: &str, until: &str) -> Vec<String> {
    let until = at(until);
    let mut found = Vec::new();
    let mut now = at(from);
    while let Some(next) = schedule.next(now).filter(|next| *next <= until) {
        assert_eq!(schedule.latest(next), Some(next));
        assert_ne!(schedule.latest(next - SignedDuration::from_nanos(1)), Some(next));
        assert!(next > now);
        found.push(next.to_string());
        now = next;
    }
    found
}

#[test]
fn the_wall_clock_counts() {
    let stockholm = schedule("0 3 * * 0", "Europe/Stockholm");
    assert_eq!(
        slots(&stockholm, "2026-01-01T00:00:00Z", "2026-01-20T00:00:00Z"),
        ["2026-01-04T02:00:00Z", "2026-01-11T02:00:00Z", "2026-01-18T02:00:00Z"]
    );
    assert_eq!(stockholm.next(at("2026-07-01T00:00:00Z")), Some(at("2026-07-05T01:00:00Z")), "in summer");
    assert_eq!(
        Schedule::parse("0 3 * * 0", None).unwrap().next(at("2026-07-01T00:00:00Z")),
        Some(at("2026-07-05T03:00:00Z"))
    );
    for (line, next) in [
        ("*/15 9-17 * * MON-FRI", "2026-01-05T09:00:00Z"),
        ("30 12 1,15 * *", "2026-01-15T12:30:00Z"),
        ("0 0 1 1 *", "2027-01-01T00:00:00Z"),
        ("0 0 29 2 *", "2028-02-29T00:00:00Z"),
        ("0 0 13 * 5", "2026-01-09T00:00:00Z"),
        ("  0   0  *  jan  sun ", "2026-01-04T00:00:00Z"),
        ("0 0 * * 7", "2026-01-04T00:00:00Z"),
    ] {
        assert_eq!(Schedule::parse(line, None).unwrap().next(at("2026-01-03T00:00:00Z")), Some(at(next)), "{line}");
    }
    let leap = schedule("0 0 29 2 *", "UTC");
    assert_eq!(leap.next(at("2096-03-01T00:00:00Z")), Some(at("2104-02-29T00:00:00Z")));
    assert_eq!(leap.latest(at("2104-02-28T00:00:00Z")), Some(at("2096-02-29T00:00:00Z")));
}

#[test]
fn a_time_that_is_left_out_or_repeated_comes_once() {
    // Clocks go from 02:00 to 03:00 on 29 March 2026, at 01:00 UTC; back from 03:00 to 02:00 on 25 October, at 01:00 UTC.
    for (line, spring, autumn) in [
        ("30 2 * * *", vec!["2026-03-29T01:00:00Z"], vec!["2026-10-25T00:30:00Z"]),
        ("0 2 * * *", vec!["2026-03-29T01:00:00Z"], vec!["2026-10-25T00:00:00Z"]),
        ("0 3 * * *", vec!["2026-03-29T01:00:00Z"], vec!["2026-10-25T02:00:00Z"]),
        (
            "30 2,3 * * *",
            vec!["2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z"],
            vec!["2026-10-25T00:30:00Z", "2026-10-25T02:30:00Z"],
        ),
        (
            "0 1-4 * * *",
            // What is left out falls together with what comes then.
            vec!["2026-03-29T00:00:00Z", "2026-03-29T01:00:00Z", "2026-03-29T02:00:00Z"],
            vec!["2026-10-24T23:00:00Z", "2026-10-25T00:00:00Z", "2026-10-25T02:00:00Z", "2026-10-25T03:00:00Z"],
        ),
    ] {
        let stockholm = schedule(line, "Europe/Stockholm");
        assert_eq!(slots(&stockholm, "2026-03-28T22:00:00Z", "2026-03-29T12:00:00Z"), spring, "{line}");
        assert_eq!(slots(&stockholm, "2026-10-24T21:00:00Z", "2026-10-25T12:00:00Z"), autumn, "{line}");
    }
    // Midnight itself is left out (Beirut), or a whole day (Apia).
    let beirut = schedule("15 0 * * *", "Asia/Beirut");
    assert_eq!(
        slots(&beirut, "2026-03-27T00:00:00Z", "2026-03-29T23:00:00Z"),
        ["2026-03-27T22:15:00Z", "2026-03-28T22:00:00Z", "2026-03-29T21:15:00Z"]
    );
    let apia = schedule("0 12 * * *", "Pacific/Apia");
    assert_eq!(
        slots(&apia, "2011-12-29T12:00:00Z", "2012-01-01T00:00:00Z"),
        ["2011-12-29T22:00:00Z", "2011-12-30T10:00:00Z", "2011-12-30T22:00:00Z", "2011-12-31T22:00:00Z"],
        "the 30th was left out"
    );
}

#[test]
fn what_cannot_be_kept_is_refused() {
    use InvalidSchedule::*;
    let refused = |line: &str, zone| Schedule::parse(line, zone).unwrap_err();
    for line in [
        "",
        "* * * *",
        "0 3 * * 0 2026",
        "0 0 3 * * 0",
        "@daily",
        "60 3 * * *",
        "0 24 * * *",
        "0 3 32 * *",
        "0 3 * 13 *",
        "0 3 L * *",
        "0 3 15W * *",
        "0 3 * * 5#2",
        "0 3 * * 5L",
        "0 3 ? * *",
        "0 3 * * FOO",
        "a b c d e",
        "0 3 * * 0;",
        "0 3 10-5 * *",
        "*/0 * * * *",
        "0 3 * * 1,",
        "0 3 1,,2 * *",
        "0 3 * * ö",
    ] {
        assert!(matches!(refused(line, None), NotACronLine(_)), "{line}");
    }
    for line in ["0 3 30 2 *", "0 3 31 2,4,6,9,11 *"] {
        let start = std::time::Instant::now();
        assert_eq!(refused(line, None), NeverFires(line.into()));
        assert!(start.elapsed() < std::time::Duration::from_secs(10), "bounded");
    }
    for line in [
        "* * * * *",
        "*/9 * * * *",
        "0,5 3 * * *",
        "0,55 * * * *",
        "55,0 23,0 * * *",
        "0,9 0 29 2 *",
        "*/15,50 1 * * *",
    ] {
        assert_eq!(refused(line, None), TooOften(line.into()), "{line}");
    }
    for line in ["*/10 * * * *", "0,50 0,23 1 * *", "0,50 3 * * *", "55,5 23 1,31 12 *"] {
        assert!(Schedule::parse(line, None).is_ok(), "{line}");
    }
    for zone in ["Europe/Stokholm", "", "local", "../etc/passwd", "+02:00", "CEST"] {
        assert_eq!(refused("0 3 * * *", Some(zone)), UnknownZone(zone.into()));
    }
    for error in
        [refused("x", None), refused("0 3 30 2 *", None), refused("* * * * *", None), refused("0 3 * * *", Some("x"))]
    {
        assert!(error.to_string().contains(": write "), "{error}");
    }
}

#[test]
fn intervals_and_jitter() {
    let minutes = |line: &str| Schedule::parse(line, None).unwrap().interval().as_mins();
    assert_eq!([minutes("*/20 * * * *"), minutes("0 */6 * * *"), minutes("0 3 * * *")], [20, 360, 1440]);
    assert_eq!([minutes("0 3 * * 0"), minutes("0 3 1 * *"), minutes("0 22,1 * * *")], [7 * 1440, 28 * 1440, 180]);
    let spread = |line: &str| {
        let schedule = Schedule::parse(line, None).unwrap();
        (0..1000).map(|n| schedule.jitter(&format!("uid-{n}")).as_secs()).collect::<BTreeSet<_>>()
    };
    let daily = spread("0 3 * * *");
    assert!(daily.len() > 700 && *daily.last().unwrap() < 3_600, "{} in an hour", daily.len());
    assert!(*spread("*/10 * * * *").last().unwrap() < 60);
    let schedule = Schedule::parse("0 3 * * *", None).unwrap();
    assert_eq!(schedule.jitter("uid"), schedule.jitter("uid"));
    assert_ne!(schedule.rule(), Schedule::parse("0 4 * * *", None).unwrap().rule());
    assert_ne!(schedule.rule(), self::schedule("0 3 * * *", "Europe/Stockholm").rule());
    assert_eq!(schedule.rule(), Schedule::parse(" 0  3 * * *", Some("UTC")).unwrap().rule());
}
