//! What rotation writes, and what is made of the answers.

use serde_json::{Value, json};
use tokio::sync::Notify;

use super::super::*;
use super::server::{Reply, Request, Server, arn, everything, role};

const TOKEN: &str = "5e0b5a3c-8d1f-5c1e-9a53-0a1b2c3d4e5f";
const FORMER: &str = "11111111-1111-4111-8111-111111111111";

fn confirmation(request: &Request) -> Value {
    let asked = request.json();
    json!({
        "ARN": asked["SecretId"], "Name": "pay/db", "VersionId": asked["ClientRequestToken"],
        "VersionStages": asked["VersionStages"],
    })
}

fn value(text: &str) -> RemoteValue {
    RemoteValue::from_bytes(text.as_bytes().to_vec())
}

/// Every write once, with the reason that each came to.
async fn every_write(aws: &Aws, id: &str) -> [&'static str; 4] {
    fn reason<T>(outcome: Result<T, WriteError>) -> &'static str {
        outcome.map_or_else(|error| error.reason(), |_| "Ok")
    }
    [
        reason(aws.put_pending(id.to_owned(), TOKEN.to_owned(), value("new")).await),
        reason(aws.promote(id.to_owned(), Some(FORMER.to_owned()), TOKEN.to_owned()).await),
        reason(aws.clear_pending(id.to_owned(), TOKEN.to_owned()).await),
        reason(aws.rotate(id.to_owned(), TOKEN.to_owned()).await),
    ]
}

#[tokio::test]
async fn a_write_is_one_call_that_says_exactly_what_is_meant() {
    let server = Server::new(|request| Reply::json(confirmation(request))).await;
    let aws = server.connect();
    assert_eq!(every_write(&aws, &arn("pay/db")).await, ["Ok"; 4]);
    let sent: Vec<_> =
        server.requests().into_iter().map(|request| (request.operation.clone(), request.json())).collect();
    let id = arn("pay/db");
    let stage = "UpdateSecretVersionStage";
    let expected = [
        (
            "PutSecretValue",
            json!({"SecretId": id, "ClientRequestToken": TOKEN, "SecretString": "new", "VersionStages": ["AWSPENDING"]}),
        ),
        (
            stage,
            json!({"SecretId": id, "VersionStage": "AWSCURRENT", "RemoveFromVersionId": FORMER, "MoveToVersionId": TOKEN}),
        ),
        (stage, json!({"SecretId": id, "VersionStage": "AWSPENDING", "RemoveFromVersionId": TOKEN})),
        ("RotateSecret", json!({"SecretId": id, "ClientRequestToken": TOKEN, "RotateImmediately": true})),
    ];
    assert_eq!(sent, expected.map(|(operation, body)| (operation.to_owned(), body)));
    let counted = server.calls.0.lock().unwrap().clone();
    assert_eq!(counted, ["PutSecretValue", stage, stage, "RotateSecret"].map(|operation| (operation, 1, "Ok")));
}

#[tokio::test]
async fn a_binary_value_is_stored_as_one() {
    let server = Server::new(|request| Reply::json(confirmation(request))).await;
    let binary = RemoteValue::from_bytes(vec![0xff, 0xfe]);
    server.connect().put_pending(arn("pay/db"), TOKEN.to_owned(), binary).await.unwrap();
    let [request] = server.requests().try_into().unwrap();
    assert_eq!((&request.json()["SecretBinary"], &request.json()["SecretString"]), (&json!("//4="), &Value::Null));
}

#[tokio::test]
async fn a_token_with_another_value_is_told_and_not_an_error() {
    let server = Server::new(|_| Reply::error(400, "ResourceExistsException", "that value is already in use")).await;
    let aws = server.connect();
    let put = aws.put_pending(arn("pay/db"), TOKEN.to_owned(), value("new")).await;
    assert_eq!(put, Ok(Put::AlreadyStored));
    assert_eq!(server.operations().len(), 1);
}

#[tokio::test]
async fn a_role_signs_writes_too() {
    let server = Server::new(|request| match request.operation.as_str() {
        "AssumeRole" => everything(request),
        _ => Reply::json(confirmation(request)),
    })
    .await;
    let aws = server.connect_as(role());
    aws.rotate(arn("pay/db"), TOKEN.to_owned()).await.unwrap();
    let signed: Vec<_> = server.requests().into_iter().map(|request| request.access_key).collect();
    assert_eq!(signed, ["AKIDAMBIENT", "AKIDROLE"]);
}

#[tokio::test]
async fn what_cannot_be_stored_is_not_sent() {
    let server = Server::new(|request| Reply::json(confirmation(request))).await;
    let aws = server.connect();
    assert_eq!(every_write(&aws, "pay/db").await, ["RemoteInvalid"; 4], "a name may be another secret's by now");
    for (size, reason) in [(0, "RemoteInvalid"), (crate::provider::MAX_VALUE_BYTES + 1, "RemoteTooLarge")] {
        let put = aws.put_pending(arn("pay/db"), TOKEN.to_owned(), value(&"x".repeat(size))).await;
        assert_eq!(put.unwrap_err().reason(), reason, "{size}");
    }
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn a_confirmation_of_another_secret_is_no_success() {
    let server = Server::new(|request| {
        let mut confirmed = confirmation(request);
        confirmed["ARN"] = json!(arn("pay/db-prod"));
        Reply::json(confirmed)
    })
    .await;
    assert_eq!(every_write(&server.connect(), &arn("pay/db")).await, ["RemoteIdentityMismatch"; 4]);

    let server = Server::new(|request| {
        let mut confirmed = confirmation(request);
        confirmed["VersionId"] = json!(FORMER);
        Reply::json(confirmed)
    })
    .await;
    let put = server.connect().put_pending(arn("pay/db"), TOKEN.to_owned(), value("new")).await;
    assert_eq!(put, Err(WriteError::AnotherSecret));
}

#[tokio::test]
async fn a_missing_permission_is_named_and_nothing_of_aws_is_told() {
    let server = Server::new(|_| {
        Reply::error(400, "AccessDeniedException", "User: somebody is not authorized on resource: secret-project")
    })
    .await;
    let aws = server.connect();
    let id = || arn("pay/db");
    let denials = [
        ("DescribeSecret", aws.describe(id()).await.map(|_| ()).map_err(WriteError::from)),
        ("PutSecretValue", aws.put_pending(id(), TOKEN.to_owned(), value("new-value")).await.map(|_| ())),
        ("UpdateSecretVersionStage", aws.promote(id(), None, TOKEN.to_owned()).await),
        ("UpdateSecretVersionStage", aws.clear_pending(id(), TOKEN.to_owned()).await),
        ("RotateSecret", aws.rotate(id(), TOKEN.to_owned()).await),
    ];
    for (operation, denied) in denials {
        let error = denied.unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(error.to_string().contains(&format!("secretsmanager:{operation}")), "{error}");
        assert!(!text.contains("project") && !text.contains("new-value") && !text.contains("pay/db"), "{text}");
    }
    let counted = server.calls.0.lock().unwrap().clone();
    let outcomes: Vec<_> = counted.into_iter().map(|(_, _, outcome)| outcome).collect();
    assert_eq!(outcomes, ["AccessDenied", "WriteDenied", "WriteDenied", "WriteDenied", "WriteDenied"]);
}

#[tokio::test]
async fn a_failed_write_is_not_repeated_behind_ones_back() {
    type Answering = fn() -> Reply;
    let replies: [(Answering, &str); 4] = [
        (|| Reply::error(500, "InternalServiceError", "oh"), "ProviderUnavailable"),
        (|| Reply::error(400, "ThrottlingException", "Rate exceeded"), "Throttled"),
        (|| Reply::error(400, "ExpiredTokenException", "expired"), "CredentialsInvalid"),
        (|| Reply::Hang, "ProviderUnavailable"),
    ];
    for (reply, reason) in replies {
        let server = Server::new(move |_| reply()).await;
        let aws = server.connect_with(Patience { operation: Duration::from_secs(2), ..PATIENCE });
        assert_eq!(every_write(&aws, &arn("pay/db")).await, [reason; 4]);
        assert_eq!(server.operations().len(), 4, "{reason}");
    }
}

#[tokio::test]
async fn a_description_tells_versions_and_rotation() {
    let server = Server::new(|_| {
        Reply::json(json!({
            "ARN": arn("pay/db"), "Name": "pay/db", "RotationEnabled": true,
            "RotationLambdaARN": "arn:aws:lambda:eu-west-1:123456789012:function:rotate", "OwningService": "rds",
            "LastRotatedDate": 1_767_225_600, "LastChangedDate": 1_767_225_601.5, "NextRotationDate": 1_767_312_000,
            "DeletedDate": 1_767_312_001,
            "VersionIdsToStages": {TOKEN: ["AWSPENDING", "AWSCURRENT"], FORMER: ["AWSPREVIOUS"]},
        }))
    })
    .await;
    let described = server.connect().describe("pay/db".to_owned()).await.unwrap();
    let date = |text: &str| Some(text.parse().unwrap());
    assert_eq!((described.id.as_str(), described.name.as_str()), (&*arn("pay/db"), "pay/db"));
    assert!(described.rotation_enabled && described.deleted);
    assert_eq!(described.owning_service.as_deref(), Some("rds"));
    assert_eq!(described.last_rotated, date("2026-01-01T00:00:00Z"));
    assert_eq!(described.last_changed, date("2026-01-01T00:00:01.5Z"));
    assert_eq!(described.next_rotation, date("2026-01-02T00:00:00Z"));
    let versions: Vec<_> = described.versions.iter().map(|v| (&*v.id, v.stages.join(" "))).collect();
    assert_eq!(versions, [(FORMER, "AWSPREVIOUS".to_owned()), (TOKEN, "AWSCURRENT AWSPENDING".to_owned())]);
    assert_eq!(server.operations(), ["DescribeSecret"]);
    assert_eq!(*server.calls.0.lock().unwrap(), [("DescribeSecret", 1, "Ok")]);
}

#[tokio::test]
async fn a_description_of_another_secret_is_thrown_away() {
    let server = Server::new(|_| Reply::json(json!({"ARN": arn("pay/db-prod"), "Name": "pay/db-prod"}))).await;
    let described = server.connect().describe("pay/db".to_owned()).await;
    assert_eq!(described, Err(FetchError::IdentityMismatch));
    let server = Server::new(|_| Reply::json(json!({"Name": "pay/db"}))).await;
    assert_eq!(server.connect().describe("pay/db".to_owned()).await, Err(FetchError::IdentityMismatch));
}

#[tokio::test]
async fn after_a_write_that_was_given_up_the_value_is_read_anew_too() {
    let (reading, writing) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (read, written) = (Arc::clone(&reading), Arc::clone(&writing));
    // Neither reads nor writes are ever answered.
    let server = Server::new(move |request| {
        match request.operation.as_str() {
            "BatchGetSecretValue" => read.notify_one(),
            _ => written.notify_one(),
        }
        Reply::Hang
    })
    .await;
    let aws = server.connect();
    let in_time = |notified| tokio::time::timeout(Duration::from_secs(5), notified);
    let before = aws.fetch(Ask::current("pay/db"));
    let write = async {
        in_time(reading.notified()).await.expect("the first read is under way");
        let write = aws.promote(arn("pay/db"), Some(FORMER.to_owned()), TOKEN.to_owned());
        tokio::select! {
            _ = write => panic!("it was answered"),
            sent = in_time(writing.notified()) => sent.expect("the write is under way"),
        }
        // The write is given up here.
        let after = aws.fetch(Ask::current("pay/db"));
        tokio::select! {
            _ = after => panic!("it was answered"),
            sent = in_time(reading.notified()) => sent.expect("the second read is a call of its own"),
        }
    };
    tokio::select! {
        _ = before => panic!("it was answered"),
        () = write => {}
    }
    assert_eq!(server.operations(), ["BatchGetSecretValue", "UpdateSecretVersionStage", "BatchGetSecretValue"]);
}
