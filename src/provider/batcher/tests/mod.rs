mod manager;

use std::collections::HashSet;
use std::sync::atomic::Ordering;

use futures::FutureExt;
use futures::future::join_all;

use super::*;
use crate::provider::RemoteValue;
use manager::{Faults, Manager, answer};

const DENIED: FetchError = FetchError::AccessDenied { action: "secretsmanager:GetSecretValue" };

fn keys(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("team/key-{n}")).collect()
}

fn set(keys: &[&str]) -> HashSet<String> {
    keys.iter().map(|key| (*key).to_owned()).collect()
}

async fn fetch_all(batcher: &Batcher<Manager>, keys: &[String]) -> HashMap<String, Outcome> {
    let outcomes = join_all(keys.iter().map(|key| batcher.fetch(Ask::current(key)))).await;
    keys.iter().cloned().zip(outcomes).collect()
}

/// The keys that failed, with their reasons; the others must have got their own value.
fn failures(outcomes: &HashMap<String, Outcome>) -> HashMap<&str, &'static str> {
    let mut failed = HashMap::new();
    for (key, outcome) in outcomes {
        match outcome {
            Ok(answer) => {
                let name = key.strip_prefix("arn:").unwrap_or(key);
                assert_eq!(answer.value.expose_text(), Some(format!("value of {name}").as_str()));
            }
            Err(error) => {
                failed.insert(key.as_str(), error.reason());
            }
        }
    }
    failed
}

#[tokio::test]
async fn five_hundred_asks_are_twenty_five_calls_four_at_a_time() {
    let manager = Manager::new();
    let outcomes = fetch_all(&manager.batcher(), &keys(500)).await;
    assert!(failures(&outcomes).is_empty());
    assert_eq!(manager.calls(), (25, 0));
    assert_eq!(manager.0.most_at_once.load(Ordering::SeqCst), CALLS_AT_ONCE);
}

#[test]
fn an_incomplete_batch_waits_only_for_a_reason_and_not_for_long() {
    assert!(!is_patient(false, false, WINDOW), "a lone ask goes at once");
    assert!(is_patient(true, false, WINDOW) && is_patient(false, true, WINDOW));
    assert!(!is_patient(true, true, PATIENCE));
}

#[tokio::test]
async fn equal_asks_in_flight_share_one_answer() {
    let manager = Manager::new();
    let batcher = manager.batcher();
    let answers = join_all((0..10).map(|_| batcher.fetch(Ask::current("team/db")))).await;
    let first = answers[0].as_ref().unwrap();
    assert!(answers.iter().all(|answer| Arc::ptr_eq(answer.as_ref().unwrap(), first)));
    assert_eq!(manager.calls(), (1, 0));
    batcher.fetch(Ask::current("team/db")).await.unwrap();
    assert_eq!(manager.calls(), (1, 0), "a later ask is a call of its own");
}

#[tokio::test]
async fn a_name_and_its_arn_are_both_answered() {
    let manager = Manager::new();
    let asks = ["team/db", "arn:team/db"].map(str::to_owned);
    let outcomes = fetch_all(&manager.batcher(), &asks).await;
    assert!(failures(&outcomes).is_empty());
    assert_eq!(manager.calls(), (1, 0));
}

#[tokio::test]
async fn other_versions_are_asked_for_one_by_one() {
    let manager = Manager::new();
    let batcher = manager.batcher();
    let ask = |version| batcher.fetch(Ask { id: "team/db".to_owned(), version });
    let (by_id, by_stage, by_wrong_stage) = tokio::join!(
        ask(VersionRef::Id("v7".to_owned())),
        ask(VersionRef::Stage("AWSCURRENT".to_owned())),
        ask(VersionRef::Stage("AWSPREVIOUS".to_owned())),
    );
    assert_eq!(by_id.unwrap().version_id, "v7");
    assert_eq!(by_stage.unwrap().version_id, "v1");
    assert_eq!(by_wrong_stage.unwrap_err(), FetchError::IdentityMismatch);
    assert_eq!(manager.calls(), (0, 3));
}

#[tokio::test]
async fn pages_are_followed() {
    let manager = Manager::with(Faults { page_size: Some(8), ..Faults::default() });
    let outcomes = fetch_all(&manager.batcher(), &keys(20)).await;
    assert!(failures(&outcomes).is_empty());
    assert_eq!(manager.calls(), (3, 0));
}

#[tokio::test]
async fn errors_in_the_answer_are_their_keys_alone() {
    let manager = Manager::with(Faults { missing: set(&["team/key-3", "team/key-7"]), ..Faults::default() });
    let batcher = manager.batcher();
    for _ in 0..2 {
        let outcomes = fetch_all(&batcher, &keys(20)).await;
        let expected = [("team/key-3", "RemoteMissing"), ("team/key-7", "RemoteMissing")];
        assert_eq!(failures(&outcomes), HashMap::from(expected));
        assert_eq!(manager.calls(), (1, 0));
    }
}

#[tokio::test]
async fn whoever_makes_a_batch_fail_is_found_once_and_asked_alone() {
    for (offenders, at_most) in [(&["team/key-3"][..], 11), (&["team/key-3", "team/key-16"][..], 20)] {
        let manager = Manager::with(Faults { denied: set(offenders), ..Faults::default() });
        let batcher = manager.batcher();
        let denied: HashMap<_, _> = offenders.iter().map(|key| (*key, "AccessDenied")).collect();

        let outcomes = fetch_all(&batcher, &keys(20)).await;
        assert_eq!(failures(&outcomes), denied);
        let (batches, singles) = manager.calls();
        assert!(batches + singles <= at_most, "the search took {batches} batches and {singles} singles");

        let outcomes = fetch_all(&batcher, &keys(20)).await;
        assert_eq!(failures(&outcomes), denied);
        assert_eq!(manager.calls(), (1, offenders.len()), "the second refresh");

        manager.faults().denied.clear();
        fetch_all(&batcher, &keys(20)).await;
        assert_eq!(manager.calls(), (1, offenders.len()), "the refresh that finds them mended");
        assert!(failures(&fetch_all(&batcher, &keys(20)).await).is_empty());
        assert_eq!(manager.calls(), (1, 0), "and the one after");
    }
}

#[tokio::test]
async fn a_key_that_only_fails_in_batches_is_kept_out_of_them() {
    let manager = Manager::with(Faults { unbatchable: set(&["team/key-3"]), ..Faults::default() });
    let batcher = manager.batcher();
    assert!(failures(&fetch_all(&batcher, &keys(20)).await).is_empty());
    manager.calls();
    assert!(failures(&fetch_all(&batcher, &keys(20)).await).is_empty());
    let (batches, singles) = manager.calls();
    // Neighbours in the last failing batch are kept out with it.
    assert!(batches == 1 && singles <= 3, "{batches} batches, {singles} singles");
}

#[tokio::test]
async fn where_batching_is_not_allowed_every_key_is_asked_alone() {
    let manager = Manager::with(Faults { batching: Some(DENIED), ..Faults::default() });
    let batcher = manager.batcher();
    assert!(failures(&fetch_all(&batcher, &keys(20)).await).is_empty());
    manager.calls();
    assert!(failures(&fetch_all(&batcher, &keys(20)).await).is_empty());
    assert_eq!(manager.calls(), (0, 20));
}

#[test]
fn batching_is_tried_again_after_a_while() {
    let now = Instant::now();
    let later = now + BATCHING_REFUSED_FOR;
    let ask = Ask::current("team/db");
    let mut queue = Queue { batching_refused_until: Some(later), ..Queue::default() };
    assert_eq!((queue.may_batch(&ask, now), queue.may_batch(&ask, later)), (false, true));

    queue = Queue::default();
    queue.remember_alone("team/db", Some(later));
    queue.succeeded_alone("team/db");
    assert_eq!((queue.may_batch(&ask, now), queue.may_batch(&ask, later)), (false, true));
}

#[tokio::test]
async fn a_key_that_is_left_out_is_asked_once_more_and_never_called_missing() {
    for (times, expected) in [(1, None), (2, Some("RemoteIncomplete"))] {
        let left_out = HashMap::from([("team/key-3".to_owned(), times)]);
        let manager = Manager::with(Faults { left_out, ..Faults::default() });
        let outcomes = fetch_all(&manager.batcher(), &keys(20)).await;
        assert_eq!(failures(&outcomes).get("team/key-3").copied(), expected);
        assert_eq!(failures(&outcomes).len(), usize::from(expected.is_some()));
        assert_eq!(manager.calls(), (2, 0));
    }
}

#[tokio::test]
async fn an_answer_that_is_another_secrets_is_thrown_away() {
    let manager = Manager::with(Faults { strange: set(&["team/key-3"]), ..Faults::default() });
    let batcher = manager.batcher();
    let outcomes = fetch_all(&batcher, &keys(20)).await;
    assert_eq!(failures(&outcomes), HashMap::from([("team/key-3", "RemoteIdentityMismatch")]));
    assert_eq!(manager.calls(), (1, 0));

    let previous = Ask { id: "team/key-3".to_owned(), version: VersionRef::Id("v0".to_owned()) };
    assert_eq!(batcher.fetch(previous).await.unwrap_err(), FetchError::IdentityMismatch);
}

#[tokio::test]
async fn what_hits_every_call_is_not_made_worse_by_bisecting() {
    let expired = FetchError::CredentialsInvalid { what: "they have expired" };
    for error in [FetchError::Throttled, FetchError::unavailable("HTTP 503"), expired] {
        let manager = Manager::with(Faults { all: Some(error.clone()), ..Faults::default() });
        let outcomes = fetch_all(&manager.batcher(), &keys(20)).await;
        assert!(outcomes.values().all(|outcome| outcome.as_ref().unwrap_err() == &error));
        assert_eq!(manager.calls(), (1, 0), "{error}");
    }
}

#[tokio::test]
async fn throttling_ends_a_search() {
    let manager = Manager::with(Faults { denied: set(&["team/key-3"]), ..Faults::default() }).held();
    let batcher = manager.batcher();
    let keys = keys(20);
    let fetching = fetch_all(&batcher, &keys);
    let meanwhile = async {
        until(|| manager.0.batches.load(Ordering::SeqCst) == 1).await;
        manager.0.open.add_permits(1);
        until(|| manager.0.batches.load(Ordering::SeqCst) == 2).await;
        manager.faults().all = Some(FetchError::Throttled);
        manager.release();
    };
    let (outcomes, ()) = tokio::join!(fetching, meanwhile);
    assert!(failures(&outcomes).values().all(|reason| *reason == "Throttled"));
    assert_eq!(manager.calls(), (2, 0));
}

#[tokio::test]
async fn giving_up_takes_nothing_from_the_others() {
    let manager = Manager::new().held();
    let batcher = Arc::new(manager.batcher());
    let fetch = |key: &'static str| {
        let batcher = Arc::clone(&batcher);
        tokio::spawn(async move { batcher.fetch(Ask::current(key)).await })
    };
    let (first, second, third) = (fetch("team/a"), fetch("team/a"), fetch("team/b"));
    until(|| manager.0.batches.load(Ordering::SeqCst) == 1).await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    manager.release();
    assert_eq!(second.await.unwrap().unwrap().name, "team/a");
    assert_eq!(third.await.unwrap().unwrap().name, "team/b");
}

#[tokio::test]
async fn what_nobody_waits_for_is_not_asked() {
    let manager = Manager::new();
    let batcher = manager.batcher();
    let gave_up = batcher.fetch(Ask::current("team/a")).now_or_never();
    assert!(gave_up.is_none());
    batcher.fetch(Ask::current("team/b")).await.unwrap();
    assert_eq!(manager.calls(), (1, 0));
    assert!(batcher.desk.queue().flights.is_empty());
    assert_eq!(batcher.fetch(Ask::current("team/a")).await.unwrap().name, "team/a");
}

#[tokio::test]
async fn a_panic_is_an_error_and_not_a_wait_for_ever() {
    let manager = Manager::with(Faults { panic: true, ..Faults::default() });
    let batcher = manager.batcher();
    assert_eq!(batcher.fetch(Ask::current("team/a")).await.unwrap_err(), interrupted());
    manager.faults().panic = false;
    batcher.fetch(Ask::current("team/a")).await.unwrap();
}

#[tokio::test]
async fn a_value_over_the_quota_is_refused() {
    struct Large;
    impl BatchSource for Large {
        fn batch<'a>(&'a self, ids: &'a [String], _: Option<String>) -> BoxFuture<'a, Result<Page, FetchError>> {
            let sized = |id: &String| {
                let value = RemoteValue::from_bytes(vec![b'x'; id.parse().unwrap()]);
                Answer { value, ..answer(id, "v1") }
            };
            let answers = ids.iter().map(sized).collect();
            std::future::ready(Ok(Page { answers, ..Page::default() })).boxed()
        }

        fn single<'a>(&'a self, _: &'a Ask) -> BoxFuture<'a, Result<Answer, FetchError>> {
            std::future::ready(Err(FetchError::Missing)).boxed()
        }
    }
    let batcher = Batcher::new(Large);
    assert!(batcher.fetch(Ask::current("65536")).await.is_ok());
    assert_eq!(batcher.fetch(Ask::current("65537")).await.unwrap_err(), FetchError::TooLarge);
}

#[tokio::test]
async fn after_a_write_the_value_is_read_anew_and_who_asked_before_keeps_his_answer() {
    let manager = Manager::new().held();
    let batcher = Arc::new(manager.batcher());
    let fetch = |key: &'static str| {
        let batcher = Arc::clone(&batcher);
        tokio::spawn(async move { batcher.fetch(Ask::current(key)).await })
    };
    let before = fetch("team/a");
    until(|| manager.0.batches.load(Ordering::SeqCst) == 1).await;
    // The first read has the old value, and is still on its way.
    drop(batcher.anew_after());
    // Under the key's other name, too.
    let (after, otherwise) = (fetch("team/a"), fetch("arn:team/a"));
    until(|| manager.0.batches.load(Ordering::SeqCst) == 2).await;
    assert_eq!(batcher.desk.queue().flights.len(), 3);
    manager.0.open.add_permits(1);
    let old = before.await.unwrap().unwrap();
    assert_eq!(batcher.desk.queue().flights.len(), 2, "the first answer is for those who asked before the write");
    manager.release();
    let (new, same) = (after.await.unwrap().unwrap(), otherwise.await.unwrap().unwrap());
    assert!(!Arc::ptr_eq(&old, &new) && !Arc::ptr_eq(&old, &same));
    assert_eq!(manager.calls(), (2, 0));
    assert!(batcher.desk.queue().flights.is_empty());
}

#[tokio::test]
async fn what_waits_to_be_sent_is_shared_over_a_write() {
    let manager = Manager::new();
    let batcher = manager.batcher();
    let mut before = std::pin::pin!(batcher.fetch(Ask::current("team/a")));
    assert!(before.as_mut().now_or_never().is_none());
    drop(batcher.anew_after());
    let (before, after) = tokio::join!(before, batcher.fetch(Ask::current("team/a")));
    assert!(Arc::ptr_eq(&before.unwrap(), &after.unwrap()), "it was read once, after the write");
    assert_eq!(manager.calls(), (1, 0));
}

#[tokio::test]
async fn a_version_asked_alone_is_read_anew_after_a_write() {
    let manager = Manager::new().held();
    let batcher = Arc::new(manager.batcher());
    let pending = Ask { id: "team/a".to_owned(), version: VersionRef::Stage("AWSPENDING".to_owned()) };
    let fetch = || {
        let (batcher, ask) = (Arc::clone(&batcher), pending.clone());
        tokio::spawn(async move { batcher.fetch(ask).await })
    };
    let before = fetch();
    until(|| manager.0.singles.load(Ordering::SeqCst) == 1).await;
    let shared = fetch();
    drop(batcher.anew_after());
    let after = fetch();
    until(|| manager.0.singles.load(Ordering::SeqCst) == 2).await;
    manager.release();
    for fetched in [before, shared, after] {
        // The manager here labels nothing AWSPENDING.
        assert_eq!(fetched.await.unwrap().unwrap_err(), FetchError::IdentityMismatch);
    }
    assert_eq!(manager.calls().1, 2);
}

/// Waits for a condition that other tasks bring about.
async fn until(condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), wait).await.expect("it did not come true within 5 s");
}
