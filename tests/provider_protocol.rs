//! The AWS provider against an emulator, whose idea of the protocol is not ours; and our own stub, held to the same.

#![allow(clippy::expect_used, reason = "a story ends where its ground is missing")]

mod support;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::future::join_all;
use scoped_secrets::provider::aws::{Auth, Aws, AwsTarget, StaticCredentials};
use scoped_secrets::provider::write::{CURRENT, PENDING, PREVIOUS, stored_under};
use scoped_secrets::provider::{
    Answer, Ask, Description, FetchError, Provider, Put, RemoteValue, SecretBytes, VersionRef, WriteError,
};
use serde_json::json;
use support::emulator::{ACCOUNT, Emulator, REGION};
use support::inside::Moment;
use support::stub_manager::{AWS_SAYS, Lambda, Says, StubManager, Then};

const ACCESS_KEY: &str = "AKIAPROTOCOL";

async fn connect(emulator: &Emulator) -> Aws {
    connect_to(&emulator.endpoint).await
}

async fn connect_to(endpoint: &str) -> Aws {
    let keys = StaticCredentials {
        access_key_id: ACCESS_KEY.to_owned(),
        secret_access_key: SecretBytes::new(b"anything".to_vec()),
        session_token: None,
    };
    let target = AwsTarget {
        region: REGION.to_owned(),
        endpoint: Some(endpoint.to_owned()),
        account_id: None,
        auth: Auth::Static(keys),
    };
    Aws::connect(target, Arc::new(())).await
}

/// The calls that the provider made, by operation and number of keys.
fn calls(emulator: &Emulator) -> Vec<(String, usize)> {
    let ours = emulator.calls().into_iter().filter(|call| call.access_key_id == ACCESS_KEY);
    ours.map(|call| (call.operation, call.keys.len())).collect()
}

fn reason(outcome: &Result<Arc<Answer>, FetchError>) -> &'static str {
    outcome.as_ref().map_or_else(FetchError::reason, |_| "Ok")
}

#[tokio::test]
async fn many_secrets_are_few_calls() {
    let emulator = Emulator::start();
    let keys: Vec<String> = (0..45).map(|n| format!("pay/prod/db-{n}")).collect();
    for key in &keys {
        emulator.put(key, &format!("value of {key}"));
    }
    let aws = connect(&emulator).await;
    assert_eq!(aws.identity().await.expect("the emulator knows everybody").account, ACCOUNT);
    for (key, outcome) in keys.iter().zip(join_all(keys.iter().map(|key| aws.fetch(Ask::current(key)))).await) {
        let answer = outcome.expect("it was just put there");
        assert_eq!(answer.value.expose_text(), Some(format!("value of {key}").as_str()));
        assert!(answer.id.starts_with(&format!("arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:{key}-")));
    }
    let mut calls = calls(&emulator);
    calls.sort();
    let batch = |keys| ("BatchGetSecretValue".to_owned(), keys);
    assert_eq!(calls, [batch(5), batch(20), batch(20), ("GetCallerIdentity".to_owned(), 0)]);
}

#[tokio::test]
async fn secrets_in_every_state_are_told_apart() {
    let emulator = Emulator::start();
    emulator.put("pay/fine", "fine");
    emulator.put("pay/rotated", "first");
    let second = emulator.put("pay/rotated", "second");
    emulator.put("pay/deleted", "gone");
    emulator.delete("pay/deleted");
    emulator.put_binary("pay/binary", &[0xff, 1]);
    // This emulator lets the whole batch fail for it.
    emulator.call("CreateSecret", &json!({"Name": "pay/empty"}));

    let aws = connect(&emulator).await;
    let by_arn = aws.fetch(Ask::current("pay/fine")).await.expect("it was just put there").id.clone();
    let current = |id: &str| (id.to_owned(), VersionRef::Current);
    let rotated = |version| ("pay/rotated".to_owned(), version);
    let table = [
        (current("pay/fine"), "Ok"),
        (current(&by_arn), "Ok"),
        (current("pay/binary"), "Ok"),
        (current("pay/nothing"), "RemoteMissing"),
        (current("pay/deleted"), "RemoteMissing"),
        (current("pay/empty"), "RemoteVersionMissing"),
        (rotated(VersionRef::Current), "Ok"),
        (rotated(VersionRef::Stage("AWSPREVIOUS".to_owned())), "Ok"),
        (rotated(VersionRef::Id(second.clone())), "Ok"),
        (rotated(VersionRef::Id("00000000-0000-0000-0000-000000000000".to_owned())), "RemoteVersionMissing"),
    ];
    let asks = table.iter().map(|((id, version), _)| Ask { id: id.clone(), version: version.clone() });
    let outcomes = join_all(asks.map(|ask| aws.fetch(ask))).await;
    for ((ask, expected), outcome) in table.iter().zip(&outcomes) {
        assert_eq!(reason(outcome), *expected, "{ask:?}: {outcome:?}");
    }
    let text = |at: usize| outcomes[at].as_ref().ok().and_then(|answer| answer.value.expose_text());
    assert_eq!((text(6), text(7), text(8)), (Some("second"), Some("first"), Some("second")));
    assert_eq!(outcomes[6].as_ref().map(|answer| &answer.version_id), Ok(&second));
}

const TOKEN: &str = "5e0b5a3c-8d1f-5c1e-9a53-0a1b2c3d4e5f";
const OTHER: &str = "5e0b5a3c-8d1f-5c1e-9a53-ffffffffffff";

fn value(text: &str) -> RemoteValue {
    RemoteValue::from_bytes(text.as_bytes().to_vec())
}

async fn describe(aws: &Aws, key: &str) -> Description {
    aws.describe(key.to_owned()).await.expect("it was put there")
}

/// The labels of two versions.
fn stages(described: &Description, ids: [&str; 2]) -> [String; 2] {
    ids.map(|id| described.versions.iter().find(|v| v.id == id).map_or(String::new(), |v| v.stages.join(" ")))
}

async fn read(aws: &Aws, ask: Ask) -> String {
    let answer = aws.fetch(ask).await.expect("it can be read");
    answer.value.expose_text().expect("it is text").to_owned()
}

/// What the operator does to give a key a value of its own making; `first` is the version that it has.
async fn a_value_is_stored_and_brought_into_use(aws: &Aws, key: &str, first: &str) {
    let described = describe(aws, key).await;
    let arn = described.id.clone();
    assert!(arn.starts_with(&format!("arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:{key}-")), "{arn}");
    assert_eq!((described.name.as_str(), described.deleted, described.rotates_by_itself()), (key, false, false));
    assert!(described.last_changed.is_some());
    assert_eq!((described.versions.len(), described.version_at(CURRENT)), (1, Some(first)));
    assert_eq!(describe(aws, &arn).await, described, "by its ARN as by its name");

    let put = |text: &str| aws.put_pending(arn.clone(), TOKEN.to_owned(), value(text));
    assert_eq!(put("new").await, Ok(Put::Stored));
    assert_eq!(put("new").await, Ok(Put::Stored), "again, as after a crash");
    assert_eq!(read(aws, stored_under(&arn, TOKEN)).await, "new");
    let described = describe(aws, key).await;
    assert_eq!(stages(&described, [first, TOKEN]), [CURRENT, PENDING]);
    assert_eq!((described.versions.len(), described.unfinished()), (2, Some(TOKEN)));
    assert_eq!(read(aws, Ask::current(key)).await, "old", "stored is not in use");

    let promote = |from: &str| aws.promote(arn.clone(), Some(from.to_owned()), TOKEN.to_owned());
    assert_eq!(promote(TOKEN).await, Err(WriteError::StageMoved));
    assert_eq!(describe(aws, key).await, described, "nothing was moved");
    assert_eq!(promote(first).await, Ok(()));
    let described = describe(aws, key).await;
    assert_eq!(stages(&described, [first, TOKEN]), [PREVIOUS.to_owned(), format!("{CURRENT} {PENDING}")]);
    assert_eq!(described.unfinished(), None);
    assert_eq!(promote(first).await, Err(WriteError::StageMoved), "it is there already");
    assert_eq!(read(aws, Ask::current(key)).await, "new");

    assert_eq!(aws.clear_pending(arn.clone(), TOKEN.to_owned()).await, Ok(()));
    let described = describe(aws, key).await;
    assert_eq!(stages(&described, [first, TOKEN]), [PREVIOUS, CURRENT]);
    assert_eq!(described.versions.len(), 2);
    let previous = Ask { id: key.to_owned(), version: VersionRef::Stage(PREVIOUS.to_owned()) };
    assert_eq!(read(aws, previous).await, "old");

    assert_eq!(put("another").await, Ok(Put::AlreadyStored));
    assert_eq!(read(aws, stored_under(&arn, TOKEN)).await, "new");
    assert_eq!(describe(aws, key).await.versions, described.versions);
}

#[tokio::test]
async fn a_value_of_the_operators_is_stored_and_brought_into_use() {
    let emulator = Emulator::start();
    let first = emulator.put("pay/prod/db", "old");
    a_value_is_stored_and_brought_into_use(&connect(&emulator).await, "pay/prod/db", &first).await;
}

#[tokio::test]
async fn the_stub_keeps_versions_as_the_emulator_does() {
    let stub = StubManager::start();
    stub.put("pay/prod/db", Says::Text("old".to_owned()));
    let first = stub.versions("pay/prod/db")[0].id.clone();
    let aws = connect_to(&stub.endpoint).await;
    a_value_is_stored_and_brought_into_use(&aws, "pay/prod/db", &first).await;
    assert_eq!(stub.versions("pay/prod/db").len(), 2);

    // The emulator lets a pending version be overwritten; Secrets Manager lets none be.
    stub.put("pay/prod/api", Says::Text("old".to_owned()));
    let arn = describe(&aws, "pay/prod/api").await.id;
    let put = |text: &str| aws.put_pending(arn.clone(), TOKEN.to_owned(), value(text));
    assert_eq!((put("new").await, put("another").await), (Ok(Put::Stored), Ok(Put::AlreadyStored)));
    assert_eq!(read(&aws, stored_under(&arn, TOKEN)).await, "new");
}

#[tokio::test]
async fn what_is_not_there_or_about_to_go_is_told_before_anything_is_written() {
    let emulator = Emulator::start();
    emulator.put("pay/deleted", "gone");
    emulator.delete("pay/deleted");
    let aws = connect(&emulator).await;
    assert_eq!(aws.describe("pay/nothing".to_owned()).await, Err(FetchError::Missing));
    assert!(describe(&aws, "pay/deleted").await.deleted);

    let arn = format!("arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:pay/nothing-AbCdEf");
    let put = aws.put_pending(arn.clone(), TOKEN.to_owned(), value("new")).await;
    assert_eq!(put, Err(WriteError::Call(FetchError::Missing)));
    assert_eq!(aws.rotate(arn, TOKEN.to_owned()).await, Err(WriteError::Call(FetchError::Missing)));
}

#[tokio::test]
async fn the_managers_own_rotation_ends_well_badly_or_not_at_all() {
    let stub = StubManager::start();
    let keys = ["quick", "waiting", "failing", "fixed"];
    for key in keys {
        stub.put(key, Says::Text("old".to_owned()));
    }
    stub.rotates("quick", Lambda::Succeeds(Duration::from_millis(20), "new".to_owned()));
    stub.rotates("waiting", Lambda::Waits);
    stub.rotates("failing", Lambda::Fails);
    let aws = connect_to(&stub.endpoint).await;
    let mut begun = Vec::new();
    for key in keys {
        let described = describe(&aws, key).await;
        assert_eq!(described.rotation_enabled, key != "fixed", "{key}");
        begun.push(aws.rotate(described.id, TOKEN.to_owned()).await);
    }
    assert_eq!(begun, [Ok(()), Ok(()), Ok(()), Err(WriteError::RotationNotConfigured)]);

    let deadline = Instant::now() + Duration::from_secs(10);
    while describe(&aws, "quick").await.version_at(CURRENT) != Some(TOKEN) {
        assert!(Instant::now() < deadline, "{:?}", stub.versions("quick"));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let quick = describe(&aws, "quick").await;
    assert_eq!((quick.unfinished(), quick.last_rotated.is_some()), (None, true));
    assert_eq!(read(&aws, Ask::current("quick")).await, "new");
    // The same token again is the same rotation.
    assert_eq!(aws.rotate(quick.id.clone(), TOKEN.to_owned()).await, Ok(()));
    assert_eq!(describe(&aws, "quick").await.versions, quick.versions);

    for key in ["waiting", "failing"] {
        let described = describe(&aws, key).await;
        assert_eq!((described.unfinished(), described.last_rotated), (Some(TOKEN), None), "{key}");
        let again = aws.rotate(described.id, OTHER.to_owned()).await.expect_err("one is under way");
        assert_eq!(again, WriteError::RotationInProgress);
        assert!(!again.to_string().contains(AWS_SAYS));
        assert_eq!(read(&aws, Ask::current(key)).await, "old");
    }
    stub.finish_rotation("waiting", "late");
    assert_eq!(read(&aws, Ask::current("waiting")).await, "late");
}

#[tokio::test]
async fn a_write_that_is_lost_before_or_after_its_effect_can_be_repeated() {
    let stub = StubManager::start();
    stub.put("db", Says::Text("old".to_owned()));
    let aws = connect_to(&stub.endpoint).await;
    let arn = describe(&aws, "db").await.id;
    for (moment, versions) in [(Moment::Before, 1), (Moment::After, 2)] {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let noting = Arc::clone(&seen);
        stub.on_write(move |write| {
            noting.lock().expect("nothing panics here").push((write.number, write.operation.clone(), write.moment));
            if write.number == 0 && write.moment == moment { Then::Lose } else { Then::GoOn }
        });
        let put = || aws.put_pending(arn.clone(), TOKEN.to_owned(), value("new"));
        let lost = put().await.expect_err("nobody answered");
        assert_eq!((lost.reason(), lost.retryable()), ("ProviderUnavailable", true));
        assert_eq!(stub.versions("db").len(), versions, "{moment:?}");
        if moment == Moment::After {
            assert_eq!(put().await, Ok(Put::Stored));
            assert_eq!(stub.versions("db").len(), 2, "once, however often it is tried");
        }
        let seen = seen.lock().expect("nothing panics here").clone();
        assert_eq!(seen[0], (0, "PutSecretValue".to_owned(), Moment::Before));
        assert_eq!(seen.len(), if moment == Moment::Before { 1 } else { 4 }, "{seen:?}");
    }
}
