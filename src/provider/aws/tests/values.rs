//! What is asked, and what becomes of the answers.

use serde_json::json;

use super::super::*;
use super::server::{Reply, Server, arn, asked, entry, everything, keys};
use crate::provider::VersionRef;

#[tokio::test]
async fn a_current_version_comes_from_a_batch() {
    let server = Server::new(everything).await;
    let aws = server.connect();
    let (db, api) = tokio::join!(aws.fetch(Ask::current("pay/db")), aws.fetch(Ask::current("pay/api")));
    assert_eq!(api.unwrap().value.expose_text(), Some("value of pay/api"));
    let db = db.unwrap();
    assert_eq!((db.id.as_str(), db.name.as_str(), db.version_id.as_str()), (&*arn("pay/db"), "pay/db", "v1"));
    assert_eq!(db.stages, ["AWSCURRENT"]);
    assert_eq!(db.created.unwrap().to_string(), "2026-01-01T00:00:00.5Z");

    let [request] = server.requests().try_into().unwrap();
    assert_eq!(request.headers["x-amz-target"], "secretsmanager.BatchGetSecretValue");
    assert_eq!(asked(&request), ["pay/db", "pay/api"]);
    assert_eq!(request.access_key, "AKIDSTATIC");
    assert!(request.headers["authorization"].contains("/eu-west-1/secretsmanager/"));
    assert_eq!(*server.calls.0.lock().unwrap(), [("BatchGetSecretValue", 2, "Ok")]);
}

#[tokio::test]
async fn another_version_is_got_by_itself() {
    let server = Server::new(|request| {
        let mut found = entry("pay/db");
        found["VersionStages"] = json!(["AWSPREVIOUS"]);
        found["SecretBinary"] = json!("//4=");
        found.as_object_mut().unwrap().remove("SecretString");
        assert_eq!(request.operation, "GetSecretValue");
        Reply::json(found)
    })
    .await;
    let aws = server.connect();
    let previous = Ask { id: "pay/db".to_owned(), version: VersionRef::Stage("AWSPREVIOUS".to_owned()) };
    assert_eq!(aws.fetch(previous).await.unwrap().value.expose(), [0xff, 0xfe]);
    let [request] = server.requests().try_into().unwrap();
    assert_eq!(request.json(), json!({"SecretId": "pay/db", "VersionStage": "AWSPREVIOUS"}));

    let by_id = Ask { id: arn("pay/db"), version: VersionRef::Id("v1".to_owned()) };
    assert_eq!(aws.fetch(by_id).await.unwrap().version_id, "v1");
    let [request] = server.requests().try_into().unwrap();
    assert_eq!(request.json(), json!({"SecretId": arn("pay/db"), "VersionId": "v1"}));
}

#[tokio::test]
async fn pages_are_followed_with_the_same_keys() {
    let server = Server::new(|request| match request.json()["NextToken"].as_str() {
        None => Reply::json(json!({"SecretValues": [entry("pay/a")], "NextToken": "more"})),
        Some(token) => {
            assert_eq!(token, "more");
            Reply::json(json!({"SecretValues": [entry("pay/b")]}))
        }
    })
    .await;
    let aws = server.connect();
    let (a, b) = tokio::join!(aws.fetch(Ask::current("pay/a")), aws.fetch(Ask::current("pay/b")));
    assert!(a.is_ok() && b.is_ok());
    assert!(server.requests().iter().all(|request| asked(request).len() == 2));
}

#[tokio::test]
async fn errors_in_the_answer_find_their_keys() {
    let server = Server::new(|_| {
        let gone = "You can't perform this operation on the secret because it was marked for deletion.";
        Reply::json(json!({
            "SecretValues": [entry("pay/fine")],
            "Errors": [
                {"SecretId": "pay/missing", "ErrorCode": "ResourceNotFoundException", "Message": "can't find it"},
                {"SecretId": arn("pay/gone"), "ErrorCode": "InvalidRequestException", "Message": gone},
                {"SecretId": "pay/denied", "ErrorCode": "AccessDeniedException", "Message": "not you"},
            ]
        }))
    })
    .await;
    let aws = server.connect();
    let ask = |key| aws.fetch(Ask::current(key));
    let (fine, missing, gone, denied) =
        tokio::join!(ask("pay/fine"), ask("pay/missing"), ask("pay/gone"), ask("pay/denied"));
    assert!(fine.is_ok());
    assert_eq!(missing.unwrap_err(), FetchError::Missing);
    assert_eq!(gone.unwrap_err(), FetchError::MarkedDeleted);
    assert_eq!(denied.unwrap_err(), FetchError::AccessDenied { action: "secretsmanager:GetSecretValue" });
    assert_eq!(server.operations().len(), 1);
}

#[tokio::test]
async fn an_endpoint_policy_that_denies_one_key_harms_that_key_only() {
    let server = Server::new(|request| {
        let denied = "User: op is not authorized on resource: pay/secret-project because no VPC endpoint policy allows";
        if request.body.contains("secret-project") {
            return Reply::error(400, "AccessDeniedException", denied);
        }
        everything(request)
    })
    .await;
    let aws = server.connect();
    let names = ["pay/a", "pay/b", "pay/secret-project", "pay/c"];
    for calls in [6, 2] {
        let outcomes = futures::future::join_all(names.map(|name| aws.fetch(Ask::current(name)))).await;
        for (name, outcome) in names.iter().zip(outcomes) {
            match outcome {
                Ok(answer) => assert_eq!(answer.name, *name),
                Err(error) => {
                    assert_eq!((*name, error.reason()), ("pay/secret-project", "AccessDenied"));
                    assert!(!format!("{error} {error:?}").contains("project"));
                }
            }
        }
        assert!(server.operations().len() <= calls);
    }
}

#[tokio::test]
async fn what_hits_every_call_costs_one_call() {
    type Answering = fn() -> Reply;
    let replies: [(Answering, &str); 7] = [
        (|| Reply::error(400, "ThrottlingException", "Rate exceeded"), "Throttled"),
        (|| Reply::error(500, "InternalServiceError", "oh"), "ProviderUnavailable"),
        (|| Reply::error(400, "UnrecognizedClientException", "The security token is invalid"), "CredentialsInvalid"),
        (|| Reply::error(400, "ExpiredTokenException", "expired"), "CredentialsInvalid"),
        (|| Reply::Http(502, "<html>Bad gateway, secret-project</html>".to_owned()), "ProviderUnavailable"),
        (|| Reply::Http(200, "not JSON, secret-project".to_owned()), "ProviderUnavailable"),
        (|| Reply::Hang, "ProviderUnavailable"),
    ];
    for (reply, reason) in replies {
        costs_one_call(Server::new(move |_| reply()).await, reason).await;
    }
}

async fn costs_one_call(server: Server, reason: &'static str) {
    let aws = server.connect_with(Patience { operation: Duration::from_secs(2), ..PATIENCE });
    let (a, b) = tokio::join!(aws.fetch(Ask::current("pay/a")), aws.fetch(Ask::current("pay/b")));
    for error in [a.unwrap_err(), b.unwrap_err()] {
        assert_eq!(error.reason(), reason, "{error}");
        assert!(!format!("{error} {error:?}").contains("project"), "{error:?}");
    }
    assert_eq!(server.operations(), ["BatchGetSecretValue"]);
    assert_eq!(*server.calls.0.lock().unwrap(), [("BatchGetSecretValue", 2, reason)]);
}

#[tokio::test]
async fn an_answer_with_another_secrets_name_is_thrown_away() {
    let server = Server::new(|request| match request.operation.as_str() {
        "GetSecretValue" => Reply::json(entry("pay/db-prod")),
        _ => Reply::json(json!({"SecretValues": [entry("pay/db-prod"), entry("pay/api")]})),
    })
    .await;
    let aws = server.connect();
    let (db, api) = tokio::join!(aws.fetch(Ask::current("pay/db")), aws.fetch(Ask::current("pay/api")));
    assert_eq!(db.unwrap_err(), FetchError::IdentityMismatch);
    assert!(api.is_ok());
    let previous = Ask { id: "pay/db".to_owned(), version: VersionRef::Stage("AWSCURRENT".to_owned()) };
    assert_eq!(aws.fetch(previous).await.unwrap_err(), FetchError::IdentityMismatch);
}

#[tokio::test]
async fn nobody_there_is_unavailable() {
    let server = Server::new(everything).await;
    // Nobody listens there, and nobody else gets it meanwhile.
    let target = AwsTarget {
        endpoint: Some("http://127.0.0.1:1".to_owned()),
        ..server.target(Auth::Static(keys("AKIDSTATIC")))
    };
    let aws = Aws::with(target, Arc::new(()), None, PATIENCE);
    let error = aws.fetch(Ask::current("pay/db")).await.unwrap_err();
    assert_eq!(error, FetchError::unavailable("connection refused"));
    assert_eq!(aws.identity().await.unwrap_err(), FetchError::unavailable("connection refused"));
}
