//! The protocol, against a server of a few lines that answers what a test tells it to and keeps what it was asked.

use std::collections::HashMap;
use std::sync::Mutex as StdMutex;

use aws_config::identity::IdentityCache;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::provider::{Call, VersionRef};

const ACCOUNT: &str = "123456789012";

/// One request, as the server saw it.
#[derive(Clone, Debug)]
struct Request {
    /// `BatchGetSecretValue`, `AssumeRole`: from X-Amz-Target, or the form's Action.
    operation: String,
    /// The access key in the signature.
    access_key: String,
    headers: HashMap<String, String>,
    body: String,
}

impl Request {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

enum Reply {
    Http(u16, String),
    Hang,
}

impl Reply {
    fn json(body: Value) -> Self {
        Self::Http(200, body.to_string())
    }

    fn error(status: u16, code: &str, message: &str) -> Self {
        Self::Http(status, json!({"__type": code, "message": message}).to_string())
    }
}

type Requests = Arc<StdMutex<Vec<Request>>>;

struct Server {
    url: String,
    requests: Requests,
    calls: Arc<Calls>,
}

#[derive(Default)]
struct Calls(StdMutex<Vec<(&'static str, usize, &'static str)>>);

impl CallObserver for Calls {
    fn called(&self, call: Call) {
        self.0.lock().unwrap().push((call.operation, call.keys, call.outcome));
    }
}

impl Server {
    async fn new(reply: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Requests::default();
        let (reply, seen) = (Arc::new(reply), Arc::clone(&requests));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&reply), Arc::clone(&seen)));
            }
        });
        Self { url, requests, calls: Arc::default() }
    }

    fn target(&self, auth: Auth) -> AwsTarget {
        AwsTarget { region: "eu-west-1".to_owned(), endpoint: Some(self.url.clone()), account_id: None, auth }
    }

    /// Connected with static keys.
    fn connect(&self) -> Aws {
        let patience = Patience { operation: Duration::from_millis(500), ..PATIENCE };
        Aws::with(self.target(Auth::Static(keys("AKIDSTATIC"))), self.calls.clone(), None, patience)
    }

    /// Connected with a role, assumed from an ambient identity.
    fn connect_as(&self, auth: Auth) -> Aws {
        let ambient = SdkConfig::builder()
            .credentials_provider(keys("AKIDAMBIENT").provider().unwrap())
            .identity_cache(IdentityCache::lazy().build())
            .build();
        Aws::with(self.target(auth), self.calls.clone(), Some(ambient), PATIENCE)
    }

    fn requests(&self) -> Vec<Request> {
        std::mem::take(&mut *self.requests.lock().unwrap())
    }

    fn operations(&self) -> Vec<String> {
        self.requests().into_iter().map(|request| request.operation).collect()
    }
}

async fn serve(mut stream: TcpStream, reply: Arc<impl Fn(&Request) -> Reply>, seen: Requests) -> Option<()> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..head_end].to_vec()).unwrap();
    let headers: HashMap<String, String> = head
        .lines()
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length: usize = headers["content-length"].parse().unwrap();
    while bytes.len() < head_end + 4 + length {
        stream.read_buf(&mut bytes).await.ok()?;
    }
    let body = String::from_utf8(bytes[head_end + 4..].to_vec()).unwrap();
    let operation = match headers.get("x-amz-target") {
        Some(target) => target.strip_prefix("secretsmanager.").unwrap().to_owned(),
        None => body.strip_prefix("Action=").unwrap().split('&').next().unwrap().to_owned(),
    };
    let signature = headers["authorization"].strip_prefix("AWS4-HMAC-SHA256 Credential=").unwrap();
    let access_key = signature.split('/').next().unwrap().to_owned();
    let request = Request { operation, access_key, headers, body };
    seen.lock().unwrap().push(request.clone());
    match reply(&request) {
        Reply::Hang => std::future::pending().await,
        Reply::Http(status, body) => {
            let head = format!("HTTP/1.1 {status} OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
            stream.write_all((head + &body).as_bytes()).await.ok()
        }
    }
}

fn keys(access_key_id: &str) -> StaticCredentials {
    StaticCredentials {
        access_key_id: access_key_id.to_owned(),
        secret_access_key: SecretBytes::new(b"static-secret-key".to_vec()),
        session_token: None,
    }
}

fn role() -> Auth {
    Auth::AssumeRole {
        role_arn: format!("arn:aws:iam::{ACCOUNT}:role/scoped-payments"),
        session_name: "scoped-secrets-payments".to_owned(),
        session_tags: vec![
            ("namespace".to_owned(), "payments".to_owned()),
            ("segment".to_owned(), "payments/prod".to_owned()),
        ],
    }
}

fn arn(name: &str) -> String {
    format!("arn:aws:secretsmanager:eu-west-1:{ACCOUNT}:secret:{name}-A1b2C3")
}

fn entry(name: &str) -> Value {
    json!({
        "ARN": arn(name), "Name": name, "VersionId": "v1", "VersionStages": ["AWSCURRENT"],
        "SecretString": format!("value of {name}"), "CreatedDate": 1_767_225_600.5
    })
}

fn asked(request: &Request) -> Vec<String> {
    serde_json::from_value(request.json()["SecretIdList"].clone()).unwrap()
}

/// Every secret there is, whatever the operation.
fn everything(request: &Request) -> Reply {
    match request.operation.as_str() {
        "BatchGetSecretValue" => {
            let entries: Vec<Value> = asked(request).iter().map(|name| entry(name)).collect();
            Reply::json(json!({"SecretValues": entries, "Errors": []}))
        }
        "GetSecretValue" => Reply::json(entry(request.json()["SecretId"].as_str().unwrap())),
        "GetCallerIdentity" => Reply::Http(
            200,
            format!(
                "<GetCallerIdentityResponse><GetCallerIdentityResult><Arn>arn:aws:iam::{ACCOUNT}:user/op</Arn>\
                 <UserId>U</UserId><Account>{ACCOUNT}</Account></GetCallerIdentityResult></GetCallerIdentityResponse>"
            ),
        ),
        "AssumeRole" => Reply::Http(
            200,
            "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>AKIDROLE</AccessKeyId>\
             <SecretAccessKey>role-secret-key</SecretAccessKey><SessionToken>role-session-token</SessionToken>\
             <Expiration>2036-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>"
                .to_owned(),
        ),
        other => panic!("{other} was not expected"),
    }
}

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
    let page = "<html>Bad gateway, secret-project</html>";
    let html = || Reply::Http(502, page.to_owned());
    let replies: [(fn() -> Reply, &str); 6] = [
        (|| Reply::error(400, "ThrottlingException", "Rate exceeded"), "Throttled"),
        (|| Reply::error(500, "InternalServiceError", "oh"), "ProviderUnavailable"),
        (|| Reply::error(400, "UnrecognizedClientException", "The security token is invalid"), "CredentialsInvalid"),
        (|| Reply::error(400, "ExpiredTokenException", "expired"), "CredentialsInvalid"),
        (|| Reply::Http(200, "not JSON, secret-project".to_owned()), "ProviderUnavailable"),
        (|| Reply::Hang, "ProviderUnavailable"),
    ];
    for (reply, reason) in replies {
        costs_one_call(Server::new(move |_| reply()).await, reason).await;
    }
    costs_one_call(Server::new(move |_| html()).await, "ProviderUnavailable").await;
}

async fn costs_one_call(server: Server, reason: &'static str) {
    let aws = server.connect();
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
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let free = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let target = AwsTarget { endpoint: Some(free), ..server.target(Auth::Static(keys("AKIDSTATIC"))) };
    let aws = Aws::with(target, Arc::new(()), None, PATIENCE);
    let error = aws.fetch(Ask::current("pay/db")).await.unwrap_err();
    assert_eq!(error, FetchError::unavailable("connection refused"));
    assert_eq!(aws.identity().await.unwrap_err(), FetchError::unavailable("connection refused"));
}

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
async fn a_role_that_may_not_be_assumed_is_denied_and_nothing_is_fetched() {
    let server = Server::new(|_| {
        let denied = "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>User: op is not \
                      authorized to perform: sts:AssumeRole</Message></Error></ErrorResponse>";
        Reply::Http(403, denied.to_owned())
    })
    .await;
    let error = server.connect_as(role()).fetch(Ask::current("pay/db")).await.unwrap_err();
    assert_eq!(error, FetchError::AccessDenied { action: "sts:AssumeRole and sts:TagSession" });
    let operations = server.operations();
    assert!(operations.iter().all(|operation| operation == "AssumeRole"), "{operations:?}");
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
    let _guard = tracing::subscriber::set_default(subscriber);

    let server = Server::new(everything).await;
    let aws = server.connect_as(role());
    aws.fetch(Ask::current("pay/db")).await.unwrap();
    let previous = Ask { id: "pay/db".to_owned(), version: VersionRef::Stage("AWSCURRENT".to_owned()) };
    aws.fetch(previous).await.unwrap();

    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(log.contains("AKIDROLE") || log.contains("BatchGetSecretValue"), "nothing was logged");
    for secret in ["value of pay/db", "static-secret-key", "role-secret-key", "role-session-token"] {
        let line = log.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "{secret} is in the log");
    }
}
