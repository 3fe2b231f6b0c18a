//! The record and its verifier against each other: what is left as it was is clean, and whatever is done to it is found.

use super::keys::RecordKeys;
use super::verify::{Finding, Verifier};
use super::*;
use crate::api::Reason;
use crate::segmentation::seal::Generation;
use jiff::SignedDuration;
use proptest::prelude::*;
use std::sync::Arc;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn seal_keys(generations: &[u8]) -> SealKeys {
    let generation = |byte: &u8| Generation::from_random(&[*byte; 36], at(0)).unwrap();
    let mut all = generations.iter().map(generation);
    let first = SealKeys::new(all.next().unwrap());
    all.fold(first, SealKeys::rotate)
}

/// A record whose lines are kept.
fn process(id: u8) -> (Record, Arc<Mutex<Vec<String>>>) {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let kept = lines.clone();
    let record = Record::to([id; 8], "pod-0", Box::new(move |line| kept.lock().unwrap().push(line.to_owned())));
    (record, lines)
}

fn denial(user: &str) -> Happening {
    Happening::of(What::Denied).by(user).rule("Claims").reason(Reason::KeyNotAllowed)
}

/// What a process wrote that ran for some minutes and ended well.
fn a_log(id: u8, minutes: i64) -> Vec<String> {
    let (record, lines) = process(id);
    record.deny(at(0), denial("early"));
    record.tell();
    record.use_keys(&seal_keys(&[1]), at(1));
    for minute in 1..=minutes {
        let secret = crate::segmentation::world::ObjectName::new("payments-prod", "orders");
        record
            .write(at(60 * minute - 30), Happening::of(What::Withdrawn).on("Secret", &secret).reason(Reason::NoPolicy));
        record.deny(at(60 * minute - 20), denial("eve\n{\"record\":1,\"process\":\"0\"}"));
        record.tell();
        if minute == 2 {
            record.use_keys(&seal_keys(&[1, 2]), at(60 * minute - 10));
        }
        record.mark(at(60 * minute));
    }
    record.close(at(60 * minutes + 5));
    let lines = lines.lock().unwrap();
    lines.clone()
}

fn check(lines: &[String], until: Timestamp) -> Vec<Finding> {
    let keys = RecordKeys::of(&seal_keys(&[1, 2])).unwrap();
    let mut found = Vec::new();
    let mut verifier = Verifier::new(&keys);
    lines.iter().for_each(|line| verifier.line(line, true, &mut |finding| found.push(finding)));
    verifier.finish(until, &mut |finding| found.push(finding));
    found
}

/// Long after.
fn later() -> Timestamp {
    at(1_000_000)
}

#[test]
fn what_is_left_as_it_was_is_clean_whatever_stands_around_it() {
    let (one, two) = (a_log(1, 3), a_log(2, 5));
    let mut mixed: Vec<String> = vec!["2026-11-26T00:00:00Z  INFO something else".into(), String::new()];
    for pair in 0..one.len().max(two.len()) {
        mixed.extend(one.get(pair).map(|line| format!("[pod/operator-0/operator] {line}")));
        mixed.extend(two.get(pair).map(|line| format!("2026-11-26T00:00:00Z  INFO scoped_secrets::record: {line}\r")));
        mixed.push("{\"level\":\"INFO\",\"target\":\"scoped_secrets::controller\"}".into());
    }
    assert_eq!(check(&mixed, later()), []);
    let keys = RecordKeys::of(&seal_keys(&[1, 2])).unwrap();
    let mut verifier = Verifier::new(&keys);
    mixed.iter().for_each(|line| verifier.line(line, true, &mut |finding| panic!("{finding}")));
    let seen = verifier.finish(later(), &mut |finding| panic!("{finding}"));
    let told: Vec<_> = seen.iter().map(|p| (p.process.as_str(), p.pod.as_deref(), p.lines, p.closed)).collect();
    assert_eq!(
        told,
        [
            ("0101010101010101", Some("pod-0"), one.len() as u64, true),
            ("0202020202020202", Some("pod-0"), two.len() as u64, true)
        ]
    );
}

#[test]
fn a_line_says_who_what_which_rule_and_which_version() {
    let lines = a_log(1, 1);
    let first: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
    for (field, value) in [("what", "Started"), ("pod", "pod-0"), ("key", "01010101"), ("after", ""), ("level", "INFO")]
    {
        assert_eq!(first[field], value, "{first}");
    }
    assert_eq!((&first["every"], &first["number"]), (&60.into(), &1.into()));
    let early: serde_json::Value = serde_json::from_str(&lines[1]).unwrap();
    assert_eq!((&early["by"], &early["number"], &early["after"]), (&"early".into(), &2.into(), &first["mac"]));
    let withdrawn: serde_json::Value = serde_json::from_str(&lines[2]).unwrap();
    for (field, value) in [
        ("what", "Withdrawn"),
        ("kind", "Secret"),
        ("namespace", "payments-prod"),
        ("name", "orders"),
        ("reason", "NoPolicy"),
        ("target", "scoped_secrets::record"),
        ("message", "a Secret was withdrawn"),
    ] {
        assert_eq!(withdrawn[field], value, "{withdrawn}");
    }
    assert!(withdrawn.get("by").is_none() && withdrawn.get("count").is_none(), "{withdrawn}");
}

#[test]
fn without_its_key_nothing_can_be_told_and_a_new_generation_goes_on() {
    let lines = a_log(1, 3);
    let keys = RecordKeys::of(&seal_keys(&[2])).unwrap();
    let (mut verifier, mut found) = (Verifier::new(&keys), Vec::new());
    lines.iter().for_each(|line| verifier.line(line, true, &mut |finding| found.push(finding)));
    verifier.finish(later(), &mut |finding| found.push(finding));
    let old = lines.iter().filter(|line| line.contains("\"key\":\"01010101\"")).count() as u64;
    assert!(old > 2 && old < lines.len() as u64);
    assert!(found.contains(&Finding::KeyUnknown { key: "01010101".into(), lines: old }), "{found:?}");
    assert!(found.contains(&Finding::Missing { process: "01".repeat(8), from: 1, to: old }), "{found:?}");
}

#[test]
fn a_record_that_goes_on_is_clean_until_a_mark_is_overdue() {
    let mut lines = a_log(1, 3);
    lines.pop();
    assert_eq!(check(&lines, at(180 + 100)), []);
    let process = "01".repeat(8);
    let number = lines.len() as u64;
    let missing = [Finding::EndMissing { process, number, at: at(180) }];
    assert_eq!(check(&lines, later()), missing);
    assert_eq!(check(&lines, at(180 - 3_600)), missing, "by another clock");
    assert_eq!(check(&[], later()), [Finding::Empty]);
    assert_eq!(check(&["an ordinary line".to_owned()], later()), [Finding::Empty]);
}

#[test]
fn what_happens_after_the_end_is_written_and_closed_again() {
    let (record, lines) = process(1);
    record.use_keys(&seal_keys(&[1]), at(0));
    record.close(at(5));
    record.write(at(6), Happening::of(What::Withdrawn));
    assert_eq!(check(&lines.lock().unwrap(), later()), []);
    assert_eq!(lines.lock().unwrap().len(), 4);
}

#[test]
fn denials_by_the_thousand_are_few_lines_and_all_of_them_are_counted() {
    let (record, lines) = process(1);
    let early = EARLY as u64 + 10_000;
    (0..early).for_each(|_| {
        record.deny(at(0), denial("eve"));
        record.tell();
    });
    record.use_keys(&seal_keys(&[1]), at(1));
    (0..50_000).for_each(|_| record.deny(at(2), denial("eve")));
    record.tell();
    record.mark(at(60));
    record.close(at(61));
    let lines = lines.lock().unwrap();
    let json = |line: &String| serde_json::from_str::<serde_json::Value>(line).unwrap();
    let denied = lines.iter().map(json).filter(|line| line["what"] == "Denied");
    let counted: u64 = denied.map(|line| line.get("count").map_or(1, |count| count.as_u64().unwrap())).sum();
    assert_eq!(counted, early + 50_000);
    assert!(lines.len() < 3 * flood::ALONE, "{} lines", lines.len());
    assert_eq!(check(&lines, later()), []);
}

#[test]
fn texts_of_users_are_cut_and_versions_are_few() {
    let (record, lines) = process(1);
    record.use_keys(&seal_keys(&[1]), at(0));
    let version = |n: usize| {
        let key = crate::segmentation::key::CanonicalKey::from_sealed(&format!("aws:{}", "k".repeat(700)));
        crate::segmentation::world::KeyVersion::undated(key, n.to_string())
    };
    let versions: Vec<_> = (0..1000).map(version).collect();
    record.write(at(1), denial(&"é\u{1}".repeat(5000)).versions(&versions));
    record.close(at(2));
    let lines = lines.lock().unwrap();
    assert!(lines[1].len() < 16 * 1024, "a container's log splits lines at 16 KiB: {}", lines[1].len());
    assert!(lines[1].contains("\"moreVersions\":984"));
    assert_eq!(check(&lines, later()), []);
}

/// What may be done to a log.
#[derive(Debug, Clone)]
enum Deed {
    Remove(usize),
    Alter(usize, usize, u8),
    Swap(usize),
    Repeat(usize, usize),
    Insert(usize, usize),
    CutEnd(usize),
    CutBeginning(usize),
    Truncate(usize, usize),
    Split(usize, usize),
    Wrap(usize),
    FromAnother(usize, usize),
}

fn deed() -> impl Strategy<Value = Deed> {
    let n = || 0..1000usize;
    prop_oneof![
        n().prop_map(Deed::Remove),
        (n(), 0..10_000usize, 1..=255u8).prop_map(|(line, byte, by)| Deed::Alter(line, byte, by)),
        n().prop_map(Deed::Swap),
        (n(), n()).prop_map(|(line, to)| Deed::Repeat(line, to)),
        (n(), n()).prop_map(|(line, to)| Deed::Insert(line, to)),
        n().prop_map(Deed::CutEnd),
        n().prop_map(Deed::CutBeginning),
        (n(), 0..10_000usize).prop_map(|(line, byte)| Deed::Truncate(line, byte)),
        (n(), 0..10_000usize).prop_map(|(line, byte)| Deed::Split(line, byte)),
        n().prop_map(Deed::Wrap),
        (n(), n()).prop_map(|(line, to)| Deed::FromAnother(line, to)),
    ]
}

/// The log after a deed.
fn done(mut lines: Vec<String>, deed: &Deed) -> Vec<String> {
    let of = |n: usize| n % lines.len();
    // All of the line is ASCII but for what users chose, and that is escaped or cut at a character.
    let within =
        |line: &str, byte: usize| (0..=byte % (line.len() - 1)).rev().find(|at| line.is_char_boundary(*at)).unwrap();
    match *deed {
        Deed::Remove(n) => drop(lines.remove(of(n))),
        Deed::Alter(n, byte, by) => {
            let n = of(n);
            let mut bytes = lines[n].clone().into_bytes();
            let byte = byte % bytes.len();
            bytes[byte] ^= by;
            lines[n] = String::from_utf8_lossy(&bytes).into_owned();
        }
        Deed::Swap(n) => {
            let n = n % (lines.len() - 1);
            lines.swap(n, n + 1);
        }
        Deed::Repeat(n, to) => {
            let line = lines[of(n)].clone();
            let to = of(to);
            lines.insert(to, line);
        }
        Deed::Insert(n, to) => {
            let n = of(n);
            // As good as it gets without the key: all but the mac.
            let line = lines[n].replace("\"what\":", "\"by\":\"nobody\",\"what\":");
            let to = of(to);
            lines.insert(to, line);
        }
        Deed::CutEnd(n) => {
            let keep = of(n).max(1);
            lines.truncate(keep);
        }
        Deed::CutBeginning(n) => {
            let cut = of(n).max(1);
            drop(lines.drain(..cut));
        }
        Deed::Truncate(n, byte) => {
            let n = of(n);
            let keep = within(&lines[n], byte);
            lines[n].truncate(keep);
        }
        Deed::Split(n, byte) => {
            let n = of(n);
            let at = within(&lines[n], byte).max(1);
            let rest = lines[n].split_off(at);
            lines.insert(n + 1, rest);
        }
        Deed::Wrap(n) => {
            let n = of(n);
            lines[n] = serde_json::json!({"log": lines[n]}).to_string();
        }
        Deed::FromAnother(n, to) => {
            let (n, to) = (of(n), of(to));
            let other = a_log(9, 4);
            // A genuine line of another process that claims to be of this one.
            let line = other[n % other.len()].replace(&"09".repeat(8), &"01".repeat(8));
            lines[to] = line;
        }
    }
    lines
}

proptest! {
    #[test]
    fn whatever_is_done_to_a_log_is_found(minutes in 1..5i64, deed in deed()) {
        let lines = a_log(1, minutes);
        let after = done(lines.clone(), &deed);
        prop_assert!(check(&lines, later()).is_empty());
        prop_assert_ne!(&after, &lines);
        let found = check(&after, later());
        prop_assert!(!found.is_empty(), "{:?} is not found", deed);
        prop_assert!(found.iter().all(|finding| !finding.to_string().is_empty()));
    }

    #[test]
    fn no_text_makes_it_fail(text in ".{0,300}", number: u64) {
        let keys = RecordKeys::of(&seal_keys(&[1])).unwrap();
        let mut verifier = Verifier::new(&keys);
        let like = format!("{{\"record\":1,\"process\":\"{text}\",\"number\":{number},\"mac\":\"{text}\"}}");
        for line in [text.as_str(), &like, &format!("{like}{text}")] {
            verifier.line(line, true, &mut |_| ());
        }
        verifier.finish(at(0).checked_add(SignedDuration::from_hours(1)).unwrap(), &mut |_| ());
    }
}
