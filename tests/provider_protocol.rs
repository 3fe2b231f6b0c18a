//! The AWS provider against an emulator, whose idea of the protocol is not ours.

#![allow(clippy::expect_used, reason = "a story ends where its ground is missing")]

mod support;

use std::sync::Arc;

use futures::future::join_all;
use scoped_secrets::provider::aws::{Auth, Aws, AwsTarget, StaticCredentials};
use scoped_secrets::provider::{Answer, Ask, FetchError, Provider, SecretBytes, VersionRef};
use serde_json::json;
use support::emulator::{ACCOUNT, Emulator, REGION};

const ACCESS_KEY: &str = "AKIAPROTOCOL";

async fn connect(emulator: &Emulator) -> Aws {
    let keys = StaticCredentials {
        access_key_id: ACCESS_KEY.to_owned(),
        secret_access_key: SecretBytes::new(b"anything".to_vec()),
        session_token: None,
    };
    let target = AwsTarget {
        region: REGION.to_owned(),
        endpoint: Some(emulator.endpoint.clone()),
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
