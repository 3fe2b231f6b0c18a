//! A manager of a few lines, that answers what a test tells it to and keeps what it was asked.

use std::collections::HashMap;
use std::sync::Mutex as StdMutex;

use aws_config::identity::IdentityCache;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::super::*;
use crate::provider::Call;

pub(super) const ACCOUNT: &str = "123456789012";

/// One request, as the server saw it.
#[derive(Clone, Debug)]
pub(super) struct Request {
    /// `BatchGetSecretValue`, `AssumeRole`: from X-Amz-Target, or the form's Action.
    pub(super) operation: String,
    /// The access key in the signature.
    pub(super) access_key: String,
    pub(super) headers: HashMap<String, String>,
    pub(super) body: String,
}

impl Request {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

pub(super) enum Reply {
    Http(u16, String),
    Hang,
}

impl Reply {
    pub(super) fn json(body: Value) -> Self {
        Self::Http(200, body.to_string())
    }

    pub(super) fn error(status: u16, code: &str, message: &str) -> Self {
        Self::Http(status, json!({"__type": code, "message": message}).to_string())
    }
}

type Requests = Arc<StdMutex<Vec<Request>>>;

pub(super) struct Server {
    url: String,
    requests: Requests,
    pub(super) calls: Arc<Calls>,
}

#[derive(Default)]
pub(super) struct Calls(pub(super) StdMutex<Vec<(&'static str, usize, &'static str)>>);

impl CallObserver for Calls {
    fn called(&self, call: Call) {
        self.0.lock().unwrap().push((call.operation, call.keys, call.outcome));
    }
}

impl Server {
    pub(super) async fn new(reply: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
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

    pub(super) fn target(&self, auth: Auth) -> AwsTarget {
        AwsTarget { region: "eu-west-1".to_owned(), endpoint: Some(self.url.clone()), account_id: None, auth }
    }

    /// Connected with static keys.
    pub(super) fn connect(&self) -> Aws {
        self.connect_with(PATIENCE)
    }

    pub(super) fn connect_with(&self, patience: Patience) -> Aws {
        Aws::with(self.target(Auth::Static(keys("AKIDSTATIC"))), self.calls.clone(), None, patience)
    }

    /// Connected with a role, assumed from an ambient identity.
    pub(super) fn connect_as(&self, auth: Auth) -> Aws {
        let ambient = SdkConfig::builder()
            .credentials_provider(keys("AKIDAMBIENT").provider().unwrap())
            .identity_cache(IdentityCache::lazy().build())
            .build();
        Aws::with(self.target(auth), self.calls.clone(), Some(ambient), PATIENCE)
    }

    pub(super) fn requests(&self) -> Vec<Request> {
        std::mem::take(&mut *self.requests.lock().unwrap())
    }

    pub(super) fn operations(&self) -> Vec<String> {
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

pub(super) fn keys(access_key_id: &str) -> StaticCredentials {
    StaticCredentials {
        access_key_id: access_key_id.to_owned(),
        secret_access_key: SecretBytes::new(b"static-secret-key".to_vec()),
        session_token: None,
    }
}

pub(super) fn role() -> Auth {
    Auth::AssumeRole {
        role_arn: format!("arn:aws:iam::{ACCOUNT}:role/scoped-payments"),
        session_name: "scoped-secrets-payments".to_owned(),
        session_tags: vec![
            ("namespace".to_owned(), "payments".to_owned()),
            ("segment".to_owned(), "payments/prod".to_owned()),
        ],
    }
}

pub(super) fn arn(name: &str) -> String {
    format!("arn:aws:secretsmanager:eu-west-1:{ACCOUNT}:secret:{name}-A1b2C3")
}

pub(super) fn entry(name: &str) -> Value {
    json!({
        "ARN": arn(name), "Name": name, "VersionId": "v1", "VersionStages": ["AWSCURRENT"],
        "SecretString": format!("value of {name}"), "CreatedDate": 1_767_225_600.5
    })
}

pub(super) fn asked(request: &Request) -> Vec<String> {
    serde_json::from_value(request.json()["SecretIdList"].clone()).unwrap()
}

/// Every secret there is, whatever the operation.
pub(super) fn everything(request: &Request) -> Reply {
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
