use super::workload::Kind;
use super::*;
use jiff::Timestamp;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn consumed(secret: &str, token: &str, due: bool) -> Consumed {
    let due = due.then(|| Second::from(at(1_000)));
    Consumed { secret: secret.into(), consumers: vec!["orders".into()], token: token.into(), due }
}

fn workload(name: &str, secrets: &[&str]) -> Workload {
    Workload {
        named: Named { kind: Kind::Deployment, name: name.into() },
        uid: name.into(),
        resource_version: "1".into(),
        account: "orders".into(),
        secrets: secrets.iter().map(|secret| (*secret).to_owned()).collect(),
        restarted_for: None,
        replaces: Replaces::Itself,
        rollout: Rollout::Done,
        progress: (0, 0),
    }
}

fn observed(consumed: Vec<Consumed>, workloads: Vec<Workload>) -> Observed {
    Observed { consumed, workloads, at_once: 2, ..Observed::default() }
}

/// Old pods of one Secret, each with the Deployment that it is of.
fn old(secret: &str, pods: &[(&str, &str)]) -> BTreeMap<String, BTreeMap<String, Named>> {
    let named = |name: &str| Named { kind: Kind::Deployment, name: name.into() };
    let pods = pods.iter().map(|(pod, of)| ((*pod).to_owned(), named(of))).collect();
    BTreeMap::from([(secret.to_owned(), pods)])
}

/// What is annotated, by name.
fn annotated(observed: &Observed) -> Vec<(String, String)> {
    let named = |(place, value): &(usize, String)| (observed.workloads[*place].named.name.clone(), value.clone());
    plan(observed).annotate.iter().map(named).collect()
}

fn strings(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
}

#[test]
fn who_uses_it_under_a_consumer_is_restarted_once() {
    let mut thief = workload("thief", &["db"]);
    thief.account = "thief".into();
    let all = vec![workload("web", &["db"]), workload("other", &["plain"]), thief];
    let mut now = observed(vec![consumed("db", "v2", true)], all);
    assert_eq!(annotated(&now), strings(&[("web", "v2")]));
    now.workloads[0].restarted_for = Some("v2".into());
    now.workloads[0].rollout = Rollout::Rolling;
    assert_eq!(annotated(&now), []);
    assert!(!plan(&now).progress["db"].is_over());
    now.workloads[0].rollout = Rollout::Done;
    assert!(plan(&now).progress["db"].is_over() && annotated(&now).is_empty());
}

#[test]
fn what_is_not_due_restarts_nobody() {
    let now = observed(vec![consumed("db", "v2", false)], vec![workload("web", &["db"])]);
    assert_eq!(plan(&now), Plan::default());
    assert!(!is_concerned(&now.consumed, &now.workloads[0]));
}

#[test]
fn two_new_values_are_one_restart() {
    let both = vec![consumed("api", "w2", true), consumed("db", "v2", true)];
    let mut now = observed(both, vec![workload("web", &["db", "api"])]);
    assert_eq!(annotated(&now), strings(&[("web", "api=w2,db=v2")]));
    // The second one comes while the first is under way.
    now.workloads[0].restarted_for = Some("v2".into());
    now.workloads[0].rollout = Rollout::Rolling;
    assert_eq!(annotated(&now), strings(&[("web", "api=w2,db=v2")]));
}

#[test]
fn so_many_at_once_and_a_stuck_one_keeps_its_place() {
    let all = ["a", "b", "c", "d"].map(|name| workload(name, &["db"])).to_vec();
    let mut now = observed(vec![consumed("db", "v2", true)], all);
    assert_eq!(annotated(&now), strings(&[("a", "v2"), ("b", "v2")]));
    assert_eq!(plan(&now).progress["db"].queued.len(), 2);
    for place in [0, 1] {
        now.workloads[place].restarted_for = Some("v2".into());
        now.workloads[place].rollout = Rollout::Rolling;
    }
    assert_eq!(annotated(&now), []);
    now.workloads[0].rollout = Rollout::Done;
    now.workloads[1].rollout = Rollout::Stuck;
    assert_eq!(annotated(&now), strings(&[("c", "v2")]));
    now.workloads[2].restarted_for = Some("v2".into());
    now.workloads[2].rollout = Rollout::Stuck;
    assert_eq!(annotated(&now), []);
    let progress = &plan(&now).progress["db"];
    assert!(progress.is_stuck() && progress.is_held());
    assert_eq!(progress.condition().reason, crate::api::Reason::RolloutStuck);
}

#[test]
fn who_rolls_with_the_value_before_keeps_its_place_and_goes_first() {
    for rollout in [Rollout::Rolling, Rollout::Stuck] {
        let all = ["a", "b", "c", "d"].map(|name| workload(name, &["db"])).to_vec();
        let mut now = observed(vec![consumed("db", "v3", true)], all);
        for place in [2, 3] {
            now.workloads[place].restarted_for = Some("v2".into());
            now.workloads[place].rollout = rollout.clone();
        }
        assert_eq!(annotated(&now), strings(&[("c", "v3"), ("d", "v3")]));
        now.workloads[3].rollout = Rollout::Done;
        assert_eq!(annotated(&now), strings(&[("c", "v3"), ("a", "v3")]));
        // However many are a pod short: no more than that are restarted at once.
        for place in 0..4 {
            now.workloads[place].restarted_for = Some("v2".into());
            now.workloads[place].rollout = rollout.clone();
        }
        assert_eq!(annotated(&now), strings(&[("a", "v3"), ("b", "v3")]));
        for place in [0, 1] {
            now.workloads[place].restarted_for = None;
        }
        now.workloads[3].rollout = Rollout::Done;
        // A rollout of somebody's own is no place of ours.
        now.workloads[2].restarted_for = None;
        assert_eq!(annotated(&now), strings(&[("a", "v3"), ("b", "v3")]));
    }
}

#[test]
fn what_is_paused_waits_and_holds_nobody_up() {
    let mut now = observed(vec![consumed("db", "v2", true)], vec![workload("a", &["db"]), workload("b", &["db"])]);
    now.at_once = 1;
    now.workloads[0].replaces = Replaces::Paused;
    assert_eq!(annotated(&now), strings(&[("b", "v2")]));
    assert_eq!(plan(&now).progress["db"].held.values().collect::<Vec<_>>(), [&Held::Paused]);
    now.workloads[1].restarted_for = Some("v2".into());
    assert!(plan(&now).progress["db"].is_held());
    now.workloads[0].replaces = Replaces::Itself;
    assert_eq!(annotated(&now), strings(&[("a", "v2")]));
}

#[test]
fn pods_that_are_replaced_by_hand_are_told_and_not_asked_for_twice() {
    let mut now = observed(vec![consumed("db", "v2", true)], vec![workload("a", &["db"])]);
    now.workloads[0].replaces = Replaces::OnDelete;
    assert_eq!(annotated(&now), strings(&[("a", "v2")]));
    now.workloads[0].restarted_for = Some("v2".into());
    now.workloads[0].rollout = Rollout::Rolling;
    now.old_pods = Some(old("db", &[("a-1", "a")]));
    let told = plan(&now);
    assert!(told.annotate.is_empty() && told.progress["db"].is_held());
    let text = told.progress["db"].condition().message;
    assert!(text.contains("OnDelete") && text.contains("a-1"), "{text}");
    now.old_pods = Some(BTreeMap::new());
    assert!(plan(&now).progress["db"].is_over());
}

#[test]
fn a_partition_holds_up_nobody_once_the_rest_is_new_and_not_before() {
    let mut now = observed(vec![consumed("db", "v2", true)], vec![workload("a", &["db"]), workload("b", &["db"])]);
    now.at_once = 1;
    now.workloads[0].replaces = Replaces::Partition;
    now.workloads[0].restarted_for = Some("v2".into());
    now.workloads[0].rollout = Rollout::Rolling;
    now.old_pods = Some(old("db", &[("a-0", "a"), ("b-0", "b")]));
    assert_eq!(annotated(&now), [], "its pod is being replaced, or does not come up");
    now.overdue.insert(now.workloads[0].named.clone());
    assert!(annotated(&now).is_empty() && plan(&now).progress["db"].is_stuck());
    now.overdue.clear();
    now.workloads[0].rollout = Rollout::Partial;
    assert_eq!(annotated(&now), strings(&[("b", "v2")]));
    assert_eq!(plan(&now).progress["db"].held.values().collect::<Vec<_>>(), [&Held::Partition]);
    // Somebody deletes the pods below it.
    now.old_pods = Some(old("db", &[("b-0", "b")]));
    assert!(plan(&now).progress["db"].held.is_empty());
}

#[test]
fn who_takes_it_off_again_is_not_annotated_in_a_loop() {
    let mut now = observed(vec![consumed("db", "v2", true)], vec![workload("a", &["db"])]);
    now.reverted.insert(now.workloads[0].named.clone());
    assert!(plan(&now).annotate.is_empty());
    assert_eq!(plan(&now).progress["db"].held.values().collect::<Vec<_>>(), [&Held::Reverted]);
    now.old_pods = Some(BTreeMap::new());
    assert!(plan(&now).progress["db"].is_over(), "its pods are new all the same");
}

#[test]
fn who_was_rolled_by_hand_is_not_restarted_again() {
    let all = ["a", "b"].map(|name| workload(name, &["db"])).to_vec();
    let mut now = observed(vec![consumed("db", "v2", true)], all);
    now.old_pods = Some(old("db", &[("b-1", "b")]));
    assert_eq!(annotated(&now), strings(&[("a", "v2"), ("b", "v2")]), "nobody was told to");
    now.by_hand = true;
    assert_eq!(annotated(&now), strings(&[("b", "v2")]));
    now.old_pods = Some(BTreeMap::new());
    assert!(annotated(&now).is_empty() && plan(&now).progress["db"].is_over());
}

#[test]
fn without_pods_there_is_nothing_to_restart() {
    let mut now = observed(vec![consumed("db", "v2", true)], vec![workload("a", &["db"])]);
    now.workloads[0].rollout = Rollout::Empty;
    assert!(plan(&now).annotate.is_empty() && plan(&now).progress["db"].is_over());
    now.workloads.clear();
    assert!(plan(&now).progress["db"].is_over());
}

#[test]
fn a_pod_is_old_if_it_was_started_before() {
    let db = consumed("db", "v2", true);
    let pod = |started: i64, restarted_for: Option<&str>| Running {
        name: "p".into(),
        of: Named { kind: Kind::Deployment, name: "web".into() },
        account: "orders".into(),
        secrets: ["db".to_owned()].into(),
        restarted_for: restarted_for.map(str::to_owned),
        started: at(started),
    };
    for (started, restarted_for, old) in [
        (999, None, true),
        (1_000, None, true),
        (1_000 + APART, None, true),
        (1_001 + APART, None, false),
        (999, Some("v1"), true),
        (1_000, Some("v2"), false),
    ] {
        assert_eq!(db.is_older(&pod(started, restarted_for)), old, "{started} {restarted_for:?}");
    }
}

/// Whatever happens in between, with whatever of it seen anew by another process: each workload is annotated once a value, never
/// more at once than may be, and at the end all are done.
#[test]
fn whatever_comes_in_between_each_restarts_once() {
    for seed in 0..300_u64 {
        let mut dice = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut roll = |sides: u64| {
            dice ^= dice << 13;
            dice ^= dice >> 7;
            dice ^= dice << 17;
            dice % sides
        };
        let secrets = ["api", "db"];
        let all = (0..5).map(|i| match roll(3) {
            0 => workload(&format!("w{i}"), &["db"]),
            1 => workload(&format!("w{i}"), &["api"]),
            _ => workload(&format!("w{i}"), &["db", "api"]),
        });
        let mut now = observed(secrets.map(|name| consumed(name, "v1", true)).to_vec(), all.collect());
        let mut written: BTreeMap<(String, String), usize> = BTreeMap::new();
        for step in 0..70 {
            let last = step > 50;
            let planned = plan(&now);
            for (place, value) in planned.annotate {
                // Killed before this one.
                if !last && roll(4) == 0 {
                    break;
                }
                let workload = &mut now.workloads[place];
                assert_ne!(workload.restarted_for.as_deref(), Some(value.as_str()), "seed {seed}: for nothing");
                *written.entry((workload.named.name.clone(), value.clone())).or_default() += 1;
                (workload.restarted_for, workload.rollout) = (Some(value), Rollout::Rolling);
            }
            let rolling = now.workloads.iter().filter(|w| w.rollout != Rollout::Done).count();
            assert!(rolling <= now.at_once, "seed {seed}: {rolling} at once");
            for workload in &mut now.workloads {
                if workload.rollout == Rollout::Rolling && (last || roll(2) == 0) {
                    workload.rollout = Rollout::Done;
                }
                if workload.rollout == Rollout::Done {
                    let held = !last && roll(5) == 0;
                    workload.replaces = if held { Replaces::Paused } else { Replaces::Itself };
                }
            }
            // The seal says that it is over, or a newer value comes.
            let progress = plan(&now).progress;
            for consumed in &mut now.consumed {
                if progress.get(&consumed.secret).is_some_and(Progress::is_over) {
                    consumed.due = None;
                }
                if step == 15 && roll(2) == 0 {
                    (consumed.token, consumed.due) = ("v2".into(), Some(at(2_000).into()));
                }
            }
        }
        assert!(now.consumed.iter().all(|consumed| consumed.due.is_none()), "seed {seed}: {now:?}");
        let twice: Vec<_> = written.iter().filter(|(_, times)| **times > 1).collect();
        assert!(twice.is_empty(), "seed {seed}: {twice:?}");
    }
}
