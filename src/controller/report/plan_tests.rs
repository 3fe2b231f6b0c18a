//! When a report is written, and what it says then.

use super::*;
use crate::segmentation::fixtures::at;
use crate::segmentation::violation::{ObjectRef, Violation};

fn pod(name: &str) -> Violation {
    Violation {
        segment: "payments/prod".into(),
        rule: "Consumers",
        reason: Reason::ForeignConsumer,
        object: ObjectRef {
            api_version: "v1".into(),
            kind: "Pod".into(),
            namespace: Some("payments-prod".into()),
            name: name.into(),
        },
        message: "run it under a consumer's account".into(),
    }
}

fn found(names: &[&str]) -> Tally {
    let mut tally = Tally::default();
    names.iter().for_each(|name| tally.add(FoundBy::Scan, pod(name)));
    tally
}

fn scan(names: &[&str], seconds: i64) -> Observed {
    let namespaces = ["payments-prod".to_owned()].into();
    Observed { namespaces, scanned: Some(found(names)), scanned_at: Some(at(seconds)), ..Observed::default() }
}

fn reason<'a>(status: &'a SegmentationReportStatus, kind: &str) -> &'a str {
    &status.conditions.iter().find(|c| c.type_ == kind).unwrap().reason
}

const DAY: i64 = 86_400;

#[test]
fn nothing_is_written_for_a_scan_that_changes_nothing_but_once_a_day() {
    let first = status(&scan(&[], 0), &SegmentationReportStatus::default(), 1, at(5));
    assert_eq!((first.total, reason(&first, "Clean")), (Some(0), "NothingFound"));
    for seconds in [1, 3_600, DAY - 1] {
        assert_eq!(status(&scan(&[], seconds), &first, 1, at(seconds + 5)), first, "{seconds}");
    }
    let noted = status(&scan(&[], DAY), &first, 1, at(DAY + 5));
    assert_eq!(noted.last_scan_time, Some(Time(at(DAY))));
    assert_eq!(noted.conditions, first.conditions);
    // A change brings the time of the newest scan with it.
    let changed = status(&scan(&["a"], 3_600), &first, 1, at(3_605));
    assert_eq!(changed.last_scan_time, Some(Time(at(3_600))));
    // A scan of an earlier day moves nothing back.
    assert_eq!(status(&scan(&[], 0), &noted, 1, at(DAY + 9)), noted);
    // What a clock that was ahead has noted stands until a scan ends by one that is right, and not by its own.
    let ahead = SegmentationReportStatus { last_scan_time: Some(Time(at(9 * DAY))), ..first.clone() };
    assert_eq!(status(&Observed { scanned_at: None, ..scan(&[], 0) }, &ahead, 1, at(5)), ahead);
    assert_eq!(status(&scan(&[], 9 * DAY), &ahead, 1, at(5)), ahead);
    assert_eq!(status(&scan(&[], 60), &ahead, 1, at(65)).last_scan_time, Some(Time(at(60))));
}

#[test]
fn since_is_when_it_was_first_seen() {
    let first = status(&scan(&["a"], 0), &SegmentationReportStatus::default(), 1, at(5));
    let second = status(&scan(&["a", "b"], 100), &first, 1, at(105));
    let since = |status: &SegmentationReportStatus| {
        status.violations.iter().map(|v| (v.object.name.clone(), v.since.0.as_second())).collect::<Vec<_>>()
    };
    assert_eq!(since(&second), [("a".to_owned(), 5), ("b".to_owned(), 105)]);
    assert_eq!((second.total, reason(&second, "Clean")), (Some(2), "ViolationsFound"));
    // One that went and came back is new.
    let gone = status(&scan(&["b"], 200), &second, 1, at(205));
    let back = status(&scan(&["a", "b"], 300), &gone, 1, at(305));
    assert_eq!(since(&back), [("a".to_owned(), 305), ("b".to_owned(), 105)]);
}

#[test]
fn a_new_leader_keeps_what_the_scan_before_found() {
    let mut many: Vec<String> = (0..250).map(|i| format!("pod-{i:03}")).collect();
    let names: Vec<&str> = many.iter().map(String::as_str).collect();
    let before = status(&scan(&names, 0), &SegmentationReportStatus::default(), 1, at(5));
    assert_eq!((before.total, before.unlisted, before.violations.len()), (Some(250), Some(150), 100));
    let unscanned = Observed { namespaces: ["payments-prod".to_owned()].into(), ..Observed::default() };
    assert_eq!(status(&unscanned, &before, 1, at(1_000)), before);
    // What is watched is known again at once; what is not there is not.
    let mut watched = unscanned.clone();
    watched.watched.add(FoundBy::Watch, pod("claim"));
    let with = status(&watched, &before, 1, at(1_000));
    assert_eq!(with.total, Some(251));
    assert_eq!(status(&unscanned, &with, 1, at(2_000)).total, Some(250));
    many.truncate(1);
    let after = status(&scan(&[&many[0]], 3_000), &with, 1, at(3_005));
    assert_eq!((after.total, after.unlisted, after.violations[0].since.0), (Some(1), None, at(5)));
}

#[test]
fn before_the_first_scan_clean_is_unknown() {
    let unscanned = Observed::default();
    let new = status(&unscanned, &SegmentationReportStatus::default(), 1, at(5));
    let clean = new.conditions.iter().find(|c| c.type_ == "Clean").unwrap();
    assert_eq!((clean.status.as_str(), clean.reason.as_str()), ("Unknown", "Pending"));
    assert_eq!(status(&unscanned, &new, 1, at(500)), new);
}

#[test]
fn what_is_not_kept_at_admission_is_told_by_rule() {
    let observed = Observed { unguarded: ["Consumers", "Boundary"].into(), ..scan(&[], 0) };
    let told = status(&observed, &SegmentationReportStatus::default(), 1, at(5));
    assert_eq!(reason(&told, "Guarded"), "GuardMissing");
    let text = &told.conditions.iter().find(|c| c.type_ == "Guarded").unwrap().message;
    assert!(text.contains("Boundary, Consumers"), "{text}");
}

#[test]
fn exceptions_and_paused_withdrawals_show_while_they_last() {
    let exception = ExceptionInForce {
        policy: "tenants".into(),
        rule: "Copies".into(),
        reason: "JIRA-12".into(),
        expiration_time: Time(at(99)),
        lifts: vec!["legacy".into()],
    };
    let observed = Observed { exceptions: vec![exception.clone()], paused: 12, ..scan(&[], 0) };
    let told = status(&observed, &SegmentationReportStatus::default(), 1, at(5));
    assert_eq!((told.exceptions.as_slice(), told.paused_withdrawals), ([exception].as_slice(), Some(12)));
    let over = status(&scan(&[], 10), &told, 1, at(15));
    assert_eq!((over.exceptions.len(), over.paused_withdrawals), (0, None));
}
