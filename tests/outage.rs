//! The secrets manager is away: what was projected stays, status says so once, healthy stores feel nothing, and it mends
//! itself. One cluster, one operator; each story has a namespace, a store and a manager of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod support;

use serde_json::Value;
use std::time::{Duration, Instant};
use support::bed::{Case, How, whole};
use support::events;
use support::operator::USER;
use support::stub_manager::{Mood, StubManager};
use support::tenants::{SOON, condition, ready};
use support::wait::eventually;

fn every(interval: &str, key: &str) -> String {
    format!("{}\nrefreshInterval: {interval}", whole(key))
}

/// Waits for so many calls after a moment; when they came.
fn arrivals(stub: &StubManager, since: Instant, count: usize) -> Vec<Instant> {
    eventually(&format!("{count} calls"), SOON * 2, || {
        let at: Vec<Instant> = stub.arrivals().iter().map(|call| call.at).filter(|at| *at >= since).collect();
        if at.len() >= count { Ok(at) } else { Err(format!("{}", at.len())) }
    })
}

fn transition(object: &Value, kind: &str) -> jiff::Timestamp {
    condition(object, kind).unwrap()["lastTransitionTime"].as_str().unwrap().parse().unwrap()
}

#[test]
fn a_changed_value_arrives_by_itself() {
    let case = Case::new("polled");
    let refused = case.yaml("hasty", &every("999ms", "db"));
    case.bed.refuses(&refused, &["refreshInterval is 0s (only on change or on demand) or between 1s and 365d"]);
    case.text("manual", "canary-polled-manual-kX9mQ2vL8nR5");
    case.text("db", "canary-polled-first-kX9mQ2vL8nR5w");
    case.claim("manual", &every("0s", "manual"));
    case.claim("db", &every("1s", "db"));
    case.is_ready("manual");
    case.holds("db", "value", "canary-polled-first-kX9mQ2vL8nR5w");
    case.text("manual", "canary-polled-manual-later-kX9mQ2");
    for turn in ["second", "third"] {
        let value = format!("canary-polled-{turn}-kX9mQ2vL8nR5w");
        case.text("db", &value);
        case.holds("db", "value", &value);
    }
    assert_eq!(case.stub.asked(&case.key("manual")), 1, "0s: only on demand");
    case.holds("manual", "value", "canary-polled-manual-kX9mQ2vL8nR5");
    case.all_is_well();
}

#[test]
fn a_manager_that_fails_takes_nothing_and_recovers() {
    let case = Case::new("failing");
    let healthy = case.beside("healthy");
    let value = "canary-failing-kX9mQ2vL8nR5wT3z1pQ";
    case.projected("db", value);
    healthy.text("db", "canary-healthy-0-kX9mQ2vL8nR5wT3z");
    healthy.claim("db", &every("3s", "db"));
    healthy.is_ready("db");
    let (mut unavailable, mut throttled) = (0, 0);
    for (turn, (mood, reason, attempts)) in [
        (Mood::Fails(500, "InternalServiceError"), "ProviderUnavailable", 3),
        (Mood::Fails(400, "ThrottlingException"), "Throttled", 1),
        (Mood::Down, "ProviderUnavailable", 1),
        (Mood::Html(503), "ProviderUnavailable", 1),
        (Mood::Hangs, "ProviderUnavailable", 1),
    ]
    .into_iter()
    .enumerate()
    {
        let (before, began) = (case.secret("db").unwrap(), Instant::now());
        case.stub.set_mood(mood.clone());
        case.refresh("db");
        case.told("db", How::LastGood, reason, &["KEY/db"]);
        assert_eq!(case.secret("db").unwrap(), before, "{mood:?}");
        // Meanwhile the neighbour's store is well.
        let newer = format!("canary-healthy-{}-kX9mQ2vL8nR5wT3z", turn + 1);
        healthy.text("db", &newer);
        healthy.holds("db", "value", &newer);
        arrivals(&case.stub, began, attempts);
        case.told("db", How::LastGood, reason, &[]);
        assert_eq!(case.secret("db").unwrap(), before, "{mood:?}");
        case.stub.set_mood(Mood::Well);
        case.becomes("db", "Synced", "True", "Synced");
        let after = case.secret("db").unwrap();
        assert_eq!((&after["data"], &after["metadata"]["uid"]), (&before["data"], &before["metadata"]["uid"]));
        // One event each way, however often it was tried.
        *if reason == "Throttled" { &mut throttled } else { &mut unavailable } += 1;
        let told = [("ProviderUnavailable", unavailable), ("Throttled", throttled), ("Synced", turn as u64 + 1)];
        let told: Vec<_> = told.into_iter().filter(|(_, count)| *count > 0).collect();
        events::become_exactly(&case.bed.cluster, case.name, "db", &told);
    }
    let updates = events::told(&case.bed.cluster, healthy.name, "db");
    assert_eq!(updates.keys().collect::<Vec<_>>(), ["Updated"], "the neighbour heard nothing of it");
    case.all_is_well();
}

#[test]
fn stale_after_three_intervals_and_never_without_one() {
    let case = Case::new("stale");
    for (name, interval) in [("quick", "4s"), ("manual", "0s")] {
        case.text(name, &format!("canary-stale-{name}-kX9mQ2vL8nR5wT"));
        case.claim(name, &every(interval, name));
        case.is_ready(name);
    }
    let (quick, manual) = (case.secret("quick").unwrap(), case.secret("manual").unwrap());
    case.stub.set_mood(Mood::Down);
    let fails = case.becomes("quick", "Synced", "False", "ProviderUnavailable");
    assert_eq!(condition(&fails, "Ready").unwrap()["status"], "True");
    let stale = case.becomes("quick", "Ready", "False", "Stale");
    case.refresh("manual");
    // The last answer came up to an interval before the first failure; transition times are whole seconds.
    let waited = transition(&stale, "Ready").duration_since(transition(&stale, "Synced"));
    assert!(waited.as_secs() >= 6, "{waited:?}: too early for three intervals of 4s");
    for kind in ["Stalled", "Reconciling"] {
        assert!(condition(&stale, kind).is_none(), "{kind} in {stale}");
    }
    case.told("manual", How::LastGood, "ProviderUnavailable", &[]);
    assert_eq!(case.secret("quick").unwrap(), quick);
    assert_eq!(case.secret("manual").unwrap(), manual);
    case.stub.set_mood(Mood::Well);
    case.becomes("quick", "Synced", "True", "Synced");
    case.becomes("quick", "Ready", "True", "Ready");
    case.becomes("manual", "Synced", "True", "Synced");
    assert_eq!(case.secret("quick").unwrap(), quick, "an outage costs the Secret no write");
    let told = [("ProviderUnavailable", 1), ("Stale", 1), ("Ready", 1), ("Synced", 1)];
    events::become_exactly(&case.bed.cluster, case.name, "quick", &told);
    events::become_exactly(&case.bed.cluster, case.name, "manual", &[("ProviderUnavailable", 1), ("Synced", 1)]);
    case.all_is_well();
}

#[test]
fn a_failing_claim_costs_less_than_a_healthy_one() {
    let case = Case::new("costly");
    let healthy = case.beside("costs-little");
    for each in [&case, &healthy] {
        each.text("db", &format!("canary-{}-kX9mQ2vL8nR5wT3z1pQ", each.name));
        each.claim("db", &every("1s", "db"));
        each.is_ready("db");
    }
    let began = Instant::now();
    case.stub.set_mood(Mood::Fails(500, "InternalServiceError"));
    case.becomes("db", "Ready", "False", "Stale");
    // It is told after the status.
    events::become_exactly(&case.bed.cluster, case.name, "db", &[("ProviderUnavailable", 1), ("Stale", 1)]);
    let mark = case.bed.cluster.audit_mark();
    let failing = arrivals(&case.stub, began, 5);
    let until = failing[4];
    let gaps: Vec<Duration> = failing[..5].windows(2).map(|two| two[1] - two[0]).collect();
    assert!(gaps.windows(3).all(|three| three[2] > three[0]), "the backoff grows: {gaps:?}");
    let well = healthy.stub.arrivals().iter().filter(|call| (began..until).contains(&call.at)).count();
    assert!(well > 5, "{well} calls of the healthy claim to 5 of the failing one");
    let writes = case.bed.cluster.audit_since(mark).user(USER).writes();
    for each in [&case, &healthy] {
        let writes = writes.clone().namespace(each.name);
        assert!(writes.is_empty(), "{}: what was said is not said again: {writes:?}", each.name);
    }
    case.stub.set_mood(Mood::Well);
    case.becomes("db", "Ready", "True", "Ready");
    case.all_is_well();
}

#[test]
fn deleting_while_the_manager_is_away() {
    let case = Case::new("deleted");
    for mood in [Mood::Down, Mood::Hangs] {
        case.projected("db", "canary-deleted-kX9mQ2vL8nR5wT3z1pQ");
        let began = Instant::now();
        case.stub.set_mood(mood.clone());
        case.refresh("db");
        arrivals(&case.stub, began, 1);
        let object = case.bed.cluster.get_json("scopedsecret", case.name, "db").unwrap();
        assert!(object["metadata"]["finalizers"].is_null(), "nothing outside must be undone: {}", object["metadata"]);
        let asked = Instant::now();
        case.bed.kubectl(&["delete", "scopedsecret", "db", "-n", case.name, "--timeout=10s"]);
        assert!(asked.elapsed() < Duration::from_secs(5), "{mood:?}: {:?}", asked.elapsed());
        case.secret_goes("db");
        case.stub.set_mood(Mood::Well);
    }
    // A namesake is nobody's heir.
    case.projected("db", "canary-deleted-kX9mQ2vL8nR5wT3z1pQ");
    case.all_is_well();
}

#[test]
fn a_restart_while_the_manager_is_away_changes_nothing() {
    let mut case = Case::alone("restarted");
    let names = ["db", "quick", "manual"];
    for (name, interval) in names.into_iter().zip(["1h", "2s", "0s"]) {
        case.text(name, &format!("canary-restarted-{name}-kX9mQ2vL8"));
        case.claim(name, &every(interval, name));
        case.is_ready(name);
    }
    case.stub.set_mood(Mood::Fails(500, "InternalServiceError"));
    case.refresh("db");
    case.refresh("manual");
    case.told("db", How::LastGood, "ProviderUnavailable", &[]);
    case.told("manual", How::LastGood, "ProviderUnavailable", &[]);
    case.becomes("quick", "Ready", "False", "Stale");
    let all = |case: &Case| {
        let of = |name: &str| (case.secret(name), case.bed.cluster.get_json("scopedsecret", case.name, name));
        names.map(of)
    };
    case.stop_operator();
    let (before, mark, stopped) = (all(&case), case.bed.cluster.audit_mark(), Instant::now());
    case.start_operator();
    for name in names {
        eventually(&format!("{name} is tried twice"), SOON, || {
            let key = case.key(name);
            let tried = case.stub.arrivals().iter().filter(|c| c.at > stopped && c.keys.contains(&key)).count();
            if tried >= 2 { Ok(()) } else { Err(tried.to_string()) }
        });
    }
    assert_eq!(all(&case), before);
    let writes = case.bed.cluster.audit_since(mark).user(USER).writes().namespace(case.name);
    assert!(writes.is_empty(), "nothing has happened: {writes:?}");
    case.stub.set_mood(Mood::Well);
    for name in names {
        case.becomes(name, "Synced", "True", "Synced");
        case.is_ready(name);
    }

    // Nor when not even the account can be asked for.
    case.bed.apply(&case.store(&case.stub.endpoint).replace("accountId: \"123456789012\", ", ""));
    case.settled();
    names.iter().for_each(|name| drop(case.is_ready(name)));
    let before = names.map(|name| case.secret(name));
    case.stub.set_mood(Mood::Down);
    case.stop_operator();
    let mark = case.bed.cluster.audit_mark();
    case.start_operator();
    let object = case.becomes("db", "Authorized", "Unknown", "AccountUnknown");
    assert_eq!(condition(&object, "Ready").unwrap()["status"], "True", "{}", object["status"]);
    case.bed
        .refuses(&case.yaml("foreign", "data: [{secretKey: v, remoteRef: {key: other/prod/db}}]"), &["KeyNotAllowed"]);
    assert_eq!(names.map(|name| case.secret(name)), before);
    case.stub.set_mood(Mood::Well);
    names.iter().for_each(|name| drop(case.becomes(name, "Authorized", "True", "Allowed")));
    names.iter().for_each(|name| drop(case.becomes(name, "Synced", "True", "Synced")));
    let writes = case.bed.cluster.audit_since(mark).user(USER).writes().namespace(case.name).resource("secrets");
    assert!(writes.is_empty(), "{writes:?}");
    case.all_is_well();
}

/// More claims than are worked on at once wait for a manager that never answers; others do not wait behind them.
#[test]
fn a_crowd_at_a_hanging_manager_holds_nobody_up() {
    let mut case = Case::alone("crowd");
    let beside = case.beside("beside-a-crowd");
    beside.text("db", "canary-beside-a-crowd-kX9mQ2vL8nR5");
    beside.claim("db", &every("1s", "db"));
    beside.is_ready("db");
    case.stub.set_mood(Mood::Holds);
    let crowd: Vec<String> = (0..600).map(|i| case.yaml(&format!("c{i}"), &whole(&format!("c{i}")))).collect();
    case.bed.apply(&crowd.join("---\n"));
    // A restart tries them all at once.
    case.stop_operator();
    beside.text("db", "canary-beside-a-crowd-later-kX9mQ2");
    let began = Instant::now();
    case.start_operator();
    beside.holds("db", "value", "canary-beside-a-crowd-later-kX9mQ2");
    let arrived = Instant::now();
    let asked = arrivals(&case.stub, began, 1)[0];
    assert!(arrived < asked + Duration::from_secs(8), "it waited until the first of the crowd gave up, after 10 s");
    (0..600).for_each(|i| case.text(&format!("c{i}"), &format!("canary-crowd-{i}-kX9mQ2vL8nR5wT3z")));
    case.stub.set_mood(Mood::Well);
    eventually("c599 is ready", SOON * 4, || ready(&case.bed.cluster, "scopedsecret", Some(case.name), "c599"));
    case.all_is_well();
}
