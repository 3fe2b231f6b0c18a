//! What is not told to anybody.

use std::sync::Mutex as StdMutex;

use super::super::*;
use super::server::{Reply, Server, arn, everything, role};
use crate::provider::VersionRef;

const TOKEN: &str = "5e0b5a3c-8d1f-5c1e-9a53-0a1b2c3d4e5f";

/// The most talkative log there can be, of everything that is linked in.
#[tokio::test]
async fn no_log_shows_a_value_or_a_credential() {
    #[derive(Clone, Default)]
    struct Log(Arc<StdMutex<Vec<u8>>>);
    impl std::io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    // With a single subscriber alive, tracing lets the first thread that comes by a log line decide for all threads
    // whether it is of interest, and other tests' threads have none.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    let _guard = tracing::subscriber::set_default(subscriber);
    tracing::callsite::rebuild_interest_cache();

    let server = Server::new(|request| match request.operation.as_str() {
        "PutSecretValue" => Reply::json(serde_json::json!({"ARN": arn("pay/db"), "VersionId": TOKEN})),
        _ => everything(request),
    })
    .await;
    let aws = server.connect_as(role());
    aws.fetch(Ask::current("pay/db")).await.unwrap();
    let previous = Ask { id: "pay/db".to_owned(), version: VersionRef::Stage("AWSCURRENT".to_owned()) };
    aws.fetch(previous).await.unwrap();
    let made = RemoteValue::from_bytes(b"made by the operator".to_vec());
    aws.put_pending(arn("pay/db"), TOKEN.to_owned(), made).await.unwrap();

    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(log.contains("BatchGetSecretValue"), "nothing was logged");
    for secret in
        ["value of pay/db", "made by the operator", "static-secret-key", "role-secret-key", "role-session-token"]
    {
        let line = log.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "{secret} is in the log");
    }
}
