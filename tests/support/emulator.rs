//! An AWS of the tests' own (moto): real protocol, versions, stages and deletion; any credentials will do.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use serde_json::{Value, json};

use super::service::{Service, ensure, programs};

/// The account that every unknown access key belongs to.
pub const ACCOUNT: &str = "123456789012";
/// The region of the secrets that [`Emulator::put`] makes. Each region has its own.
pub const REGION: &str = "eu-west-1";

/// Tells the harness's own calls from those that are tested.
const HARNESS_KEY_ID: &str = "AKIAHARNESS";

/// A running emulator; it ends when this is dropped, or with the test process.
pub struct Emulator {
    /// `http://127.0.0.1:PORT`, for Secrets Manager and STS alike.
    pub endpoint: String,
    calls: PathBuf,
    _service: Service,
}

/// One call that somebody made, without any value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// `secretsmanager`, `sts`
    pub service: String,
    /// `BatchGetSecretValue`, `GetCallerIdentity`
    pub operation: String,
    /// The names or ARNs that were asked for.
    pub keys: Vec<String>,
    pub access_key_id: String,
    pub region: String,
    /// The HTTP status of the answer.
    pub status: u16,
    /// Of an AssumeRole.
    pub role: Option<Role>,
}

/// The role that somebody asked for, and as whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    pub arn: String,
    pub session: String,
    pub tags: BTreeMap<String, String>,
}

impl Emulator {
    pub fn start() -> Self {
        // Kept, as the emulator removes it: a shared one outlives every destructor here.
        let calls = tempfile::Builder::new()
            .prefix("aws-calls-")
            .tempfile_in(env!("CARGO_TARGET_TMPDIR"))
            .and_then(|file| Ok(file.into_temp_path().keep()?))
            .expect("cargo's folder for tests can be written");
        let mut command = Command::new(ensure("emulator").join("python"));
        command.arg(programs().join("emulator.py")).arg("--until-stdin-closes").arg("--calls").arg(&calls);
        let (service, ready) = Service::start("the AWS emulator", &mut command);
        let endpoint = ready["endpoint"].as_str().expect("its first line names its endpoint").to_owned();
        Self { endpoint, calls, _service: service }
    }

    /// One emulator for all stories of a test binary: tell them apart by the names of their keys.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Emulator> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// Gives a secret a value, creating it if need be. Returns the version's id.
    pub fn put(&self, name: &str, value: &str) -> String {
        self.put_content(name, "SecretString", value)
    }

    /// A new secret in another account.
    pub fn put_in(&self, account: &str, name: &str, value: &str) {
        let made = self.try_call_in(account, "CreateSecret", &json!({"Name": name, "SecretString": value}));
        made.unwrap_or_else(|refused| panic!("CreateSecret {name}: {refused}"));
    }

    /// Keys of an identity in another account: access key id, secret access key, session token.
    pub fn keys_in(&self, account: &str) -> [String; 3] {
        let form = format!(
            "Action=AssumeRole&Version=2011-06-15&RoleSessionName=harness&RoleArn=arn%3Aaws%3Aiam%3A%3A{account}%3Arole%2Fharness"
        );
        let (_, xml) = self.post("sts", "application/x-www-form-urlencoded", "", &form);
        ["AccessKeyId", "SecretAccessKey", "SessionToken"].map(|field| {
            let (open, close) = (format!("<{field}>"), format!("</{field}>"));
            let text = xml.split_once(&open).and_then(|(_, rest)| rest.split_once(&close));
            text.unwrap_or_else(|| panic!("no {field} in the answer of AssumeRole")).0.to_owned()
        })
    }

    /// [`Emulator::put`] for a binary value.
    pub fn put_binary(&self, name: &str, value: &[u8]) -> String {
        self.put_content(name, "SecretBinary", &base64(value))
    }

    fn put_content(&self, name: &str, field: &str, content: &str) -> String {
        let answer = match self.try_call("PutSecretValue", &json!({"SecretId": name, field: content})) {
            Err(refused) if refused["__type"] == "ResourceNotFoundException" => {
                self.call("CreateSecret", &json!({"Name": name, field: content}))
            }
            answer => answer.unwrap_or_else(|refused| panic!("PutSecretValue {name}: {refused}")),
        };
        answer["VersionId"].as_str().expect("a version's id").to_owned()
    }

    /// Marks a secret as deleted, as an owner does: it can still be restored.
    pub fn delete(&self, name: &str) {
        self.call("DeleteSecret", &json!({"SecretId": name, "RecoveryWindowInDays": 7}));
    }

    /// Removes a secret so that it is as if it had never been.
    pub fn delete_for_good(&self, name: &str) {
        self.call("DeleteSecret", &json!({"SecretId": name, "ForceDeleteWithoutRecovery": true}));
    }

    /// Takes [`Emulator::delete`] back.
    pub fn restore(&self, name: &str) {
        self.call("RestoreSecret", &json!({"SecretId": name}));
    }

    /// Any operation of Secrets Manager.
    ///
    /// # Panics
    /// When it is refused; [`Emulator::try_call`] returns that instead.
    pub fn call(&self, operation: &str, request: &Value) -> Value {
        self.try_call(operation, request).unwrap_or_else(|refused| panic!("{operation}: {refused}"))
    }

    /// Any operation of Secrets Manager. `Err` is the error that AWS would answer, its name in `__type`.
    pub fn try_call(&self, operation: &str, request: &Value) -> Result<Value, Value> {
        self.try_call_in(ACCOUNT, operation, request)
    }

    fn try_call_in(&self, account: &str, operation: &str, request: &Value) -> Result<Value, Value> {
        let headers = format!("X-Amz-Target: secretsmanager.{operation}\r\nx-moto-account-id: {account}\r\n");
        let (ok, body) = self.post("secretsmanager", "application/x-amz-json-1.1", &headers, &request.to_string());
        let said = serde_json::from_str(&body).unwrap_or_else(|error| panic!("{operation}: {error} in {body:?}"));
        if ok { Ok(said) } else { Err(said) }
    }

    /// Whether the answer was 200, and its body.
    fn post(&self, service: &str, kind: &str, headers: &str, body: &str) -> (bool, String) {
        let host = self.endpoint.trim_start_matches("http://");
        let mut connection = TcpStream::connect(host).expect("the emulator listens");
        // HTTP/1.0: one answer, not in chunks, and the connection's end is the answer's.
        write!(
            connection,
            "POST / HTTP/1.0\r\nHost: {host}\r\nContent-Type: {kind}\r\n{headers}Content-Length: {}\r\n\
             Authorization: AWS4-HMAC-SHA256 Credential={HARNESS_KEY_ID}/20260101/{REGION}/{service}/aws4_request, \
             SignedHeaders=host, Signature=0\r\n\r\n{body}",
            body.len()
        )
        .expect("the emulator reads");
        let mut answer = String::new();
        connection.read_to_string(&mut answer).expect("the emulator answers");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no HTTP: {answer:?}"));
        (head.split(' ').nth(1) == Some("200"), body.to_owned())
    }

    /// The calls that others made so far, in the order of their answers.
    pub fn calls(&self) -> Vec<Call> {
        let log = fs::read_to_string(&self.calls).expect("the emulator made its log before it was ready");
        let whole_lines = &log[..log.rfind('\n').map_or(0, |end| end + 1)];
        whole_lines.lines().map(parse_call).filter(|call| call.access_key_id != HARNESS_KEY_ID).collect()
    }
}

fn parse_call(line: &str) -> Call {
    let call: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("log of calls: {error} in {line}"));
    let field = |name: &str| call[name].as_str().unwrap_or_default().to_owned();
    Call {
        service: field("service"),
        operation: field("operation"),
        keys: call["keys"].as_array().into_iter().flatten().filter_map(|key| key.as_str().map(str::to_owned)).collect(),
        access_key_id: field("accessKeyId"),
        region: field("region"),
        status: call["status"].as_u64().and_then(|status| status.try_into().ok()).unwrap_or(0),
        role: call["role"].as_object().map(|role| Role {
            arn: role["arn"].as_str().unwrap_or_default().to_owned(),
            session: role["session"].as_str().unwrap_or_default().to_owned(),
            tags: serde_json::from_value(role["tags"].clone()).expect("tags are texts"),
        }),
    }
}

/// The protocol's form of bytes; a dozen lines spare the tests a dependency.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = (0..3).fold(0u32, |bits, i| bits << 8 | u32::from(chunk.get(i).copied().unwrap_or(0)));
        for digit in 0..4 {
            let value = (bits >> (18 - 6 * digit)) & 63;
            text.push(if digit <= chunk.len() { char::from(DIGITS[value as usize]) } else { '=' });
        }
    }
    text
}
