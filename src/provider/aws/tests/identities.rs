//! As whom it is asked.

use std::sync::Mutex as StdMutex;

use super::super::*;
use super::server::{ACCOUNT, Reply, Server, everything, keys, role};
use crate::provider::VersionRef;

#[tokio::test]
async fn no_credentials_is_no_outage() {
    let server = Server::new(everything).await;
    let nothing = aws_config::profile::ProfileFileCredentialsProvider::builder().profile_name("of-nobody").build();
    let ambient = SdkConfig::builder().credentials_provider(SharedCredentialsProvider::new(nothing)).build();
    for ambient in [Some(ambient), None] {
        let aws = Aws::with(server.target(Auth::Ambient), Arc::new(()), ambient, PATIENCE);
        let error = aws.fetch(Ask::current("pay/db")).await.unwrap_err();
        assert_eq!(error.reason(), "CredentialsInvalid", "{error:?}");
    }
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn an_account_that_is_given_needs_no_call() {
    let server = Server::new(everything).await;
    let configured = AwsTarget { account_id: Some(ACCOUNT.to_owned()), ..server.target(Auth::Static(keys("AKID"))) };
    let aws = Aws::with(configured, server.calls.clone(), None, PATIENCE);
    let identity = aws.identity().await.unwrap();
    assert_eq!(identity, Identity { account: ACCOUNT.to_owned(), region: "eu-west-1".to_owned(), principal: None });
    assert!(server.requests().is_empty());

    let identity = server.connect().identity().await.unwrap();
    assert_eq!(identity.account, ACCOUNT);
    assert_eq!(identity.principal.unwrap(), format!("arn:aws:iam::{ACCOUNT}:user/op"));
    assert_eq!(server.operations(), ["GetCallerIdentity"]);
}

#[tokio::test]
async fn a_role_is_assumed_once_with_its_session_tags() {
    let server = Server::new(everything).await;
    let aws = server.connect_as(role());
    let previous = Ask { id: "pay/db".to_owned(), version: VersionRef::Stage("AWSCURRENT".to_owned()) };
    let (batch, single, identity) =
        tokio::join!(aws.fetch(Ask::current("pay/db")), aws.fetch(previous), aws.identity());
    assert!(batch.is_ok() && single.is_ok() && identity.is_ok());

    let (assumptions, others): (Vec<_>, Vec<_>) =
        server.requests().into_iter().partition(|request| request.operation == "AssumeRole");
    let [assumption] = assumptions.try_into().unwrap();
    assert_eq!(assumption.access_key, "AKIDAMBIENT");
    for parameter in [
        "RoleArn=arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Fscoped-payments",
        "RoleSessionName=scoped-secrets-payments",
        "DurationSeconds=3600",
        "Tags.member.1.Key=namespace&Tags.member.1.Value=payments",
        "Tags.member.2.Key=segment&Tags.member.2.Value=payments%2Fprod",
    ] {
        assert!(assumption.body.contains(parameter), "{parameter} is not in {}", assumption.body);
    }
    assert_eq!(others.len(), 3);
    for request in others {
        assert_eq!(request.access_key, "AKIDROLE", "{}", request.operation);
        assert_eq!(request.headers["x-amz-security-token"], "role-session-token");
    }
}

#[tokio::test]
async fn a_role_that_may_not_be_assumed_fails_all_keys_with_one_call() {
    for (status, code, reason) in
        [(403, "AccessDenied", "AccessDenied"), (400, "ValidationError", "CredentialsInvalid")]
    {
        let server = Server::new(move |_| {
            let error = format!("<Code>{code}</Code><Message>op may not sts:AssumeRole secret-project</Message>");
            Reply::Http(status, format!("<ErrorResponse><Error>{error}</Error></ErrorResponse>"))
        })
        .await;
        let aws = server.connect_as(role());
        let (a, b) = tokio::join!(aws.fetch(Ask::current("pay/a")), aws.fetch(Ask::current("pay/b")));
        for error in [a.unwrap_err(), b.unwrap_err()] {
            assert_eq!(error.reason(), reason);
            assert!(!format!("{error} {error:?}").contains("project"));
        }
        assert_eq!(server.operations(), ["AssumeRole"]);
        assert_eq!(*server.calls.0.lock().unwrap(), [("AssumeRole", 0, reason)]);
    }
}

#[tokio::test]
async fn credentials_that_are_no_good_any_more_are_renewed_at_the_next_fetch() {
    let first = StdMutex::new(true);
    let server = Server::new(move |request| {
        if request.operation == "BatchGetSecretValue" && std::mem::take(&mut *first.lock().unwrap()) {
            return Reply::error(400, "ExpiredTokenException", "expired");
        }
        everything(request)
    })
    .await;
    let aws = server.connect_as(role());
    assert_eq!(aws.fetch(Ask::current("pay/db")).await.unwrap_err().reason(), "CredentialsInvalid");
    assert!(aws.fetch(Ask::current("pay/db")).await.is_ok());
    let twice = ["AssumeRole", "BatchGetSecretValue", "AssumeRole", "BatchGetSecretValue"];
    assert_eq!(server.operations(), twice);
}
