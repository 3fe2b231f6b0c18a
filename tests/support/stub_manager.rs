//! A secrets manager that misbehaves on demand: Secrets Manager's protocol, and of STS what tells an account, with canned
//! answers. For what an emulator does not do: refused credentials, throttling, outages, hanging, another secret's name,
//! keys in neither list.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use base64::Engine;
use serde_json::{Value, json};

use super::emulator::{ACCOUNT, REGION};

/// What stands in each error's message: nothing that AWS writes may be passed on.
pub const AWS_SAYS: &str = "canary-aws-says-User-arn-of-somebody";

/// A running stub; it serves until the test process ends.
pub struct StubManager {
    /// `http://127.0.0.1:PORT`, for Secrets Manager and STS alike.
    pub endpoint: String,
    desk: Arc<Desk>,
}

/// The state, and the news that its mood is another.
#[derive(Default)]
struct Desk {
    state: Mutex<State>,
    changed: Condvar,
}

/// A call as it came in, whatever became of it.
#[derive(Clone, Debug)]
pub struct Arrival {
    pub at: Instant,
    /// `GetSecretValue`; empty for STS.
    pub operation: String,
    pub keys: Vec<String>,
}

/// What the manager has to say of one key.
#[derive(Clone, Debug)]
pub enum Says {
    /// A SecretString.
    Text(String),
    /// A SecretBinary.
    Binary(Vec<u8>),
    /// A SecretString under another identity: its name and its ARN.
    Another { name: String, arn: String, value: String },
    /// An error of this key alone: a code, and what AWS would write.
    Error(&'static str),
    /// Neither a value nor an error.
    Nothing,
}

/// What the manager does with every call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Mood {
    /// It answers.
    #[default]
    Well,
    /// Every call fails with this HTTP status and code.
    Fails(u16, &'static str),
    /// Every call is answered with a page in HTML, as proxies do.
    Html(u16),
    /// It reads, and never answers.
    Hangs,
    /// It reads, and answers when its mood changes.
    Holds,
    /// It closes the connection.
    Down,
    /// It knows one access key only.
    Knows(&'static str),
}

/// Its number, and when it was put, in Unix time.
#[derive(Clone, Copy, Default)]
struct Version(u64, f64);

impl Version {
    fn id(self) -> String {
        format!("00000000-0000-4000-8000-{:012}", self.0)
    }
}

#[derive(Default)]
struct State {
    keys: BTreeMap<String, (Says, Version)>,
    /// What keys said before; asked for by version id.
    former: Vec<(String, Says, Version)>,
    mood: Mood,
    versions: u64,
    calls: Vec<(String, Vec<String>)>,
    arrivals: Vec<Arrival>,
}

impl StubManager {
    /// It knows no key yet.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
        let endpoint = format!("http://{}", listener.local_addr().expect("it is bound"));
        let desk = Arc::new(Desk::default());
        let serving = Arc::clone(&desk);
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let desk = Arc::clone(&serving);
                thread::spawn(move || serve(connection, &desk));
            }
        });
        Self { endpoint, desk }
    }

    /// From now on it says this of a key, as a new version.
    pub fn put(&self, key: &str, says: Says) {
        let mut state = self.state();
        state.versions += 1;
        let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
        let version = Version(state.versions, created);
        if let Some((says, version)) = state.keys.insert(key.to_owned(), (says, version)) {
            state.former.push((key.to_owned(), says, version));
        }
    }

    /// From now on it has no such key.
    pub fn remove(&self, key: &str) {
        self.state().keys.remove(key);
    }

    /// From now on it does this with every call.
    pub fn set_mood(&self, mood: Mood) {
        self.state().mood = mood;
        self.desk.changed.notify_all();
    }

    /// Every call so far, answered or not.
    pub fn arrivals(&self) -> Vec<Arrival> {
        self.state().arrivals.clone()
    }

    /// The operations that were answered so far, with their keys.
    pub fn calls(&self) -> Vec<(String, Vec<String>)> {
        self.state().calls.clone()
    }

    /// How often a key was asked for.
    pub fn asked(&self, key: &str) -> usize {
        self.state().calls.iter().filter(|(_, keys)| keys.iter().any(|k| k == key)).count()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.desk.state)
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The ARN of a secret in the stub's own account.
pub fn arn(account: &str, region: &str, name: &str) -> String {
    format!("arn:aws:secretsmanager:{region}:{account}:secret:{name}-AbC12x")
}

/// One request, one answer: then the connection is closed.
fn serve(connection: TcpStream, desk: &Desk) {
    let Ok(mut out) = connection.try_clone() else { return };
    let Some(request) = read(BufReader::new(connection)) else { return };
    let mood = received(&request, desk);
    let (status, kind, body) = match mood {
        Mood::Down => return,
        Mood::Holds | Mood::Hangs => {
            // Until the caller gives up.
            let _ = out.read(&mut [0]);
            return;
        }
        Mood::Html(status) => (status, "text/html", format!("<html>{AWS_SAYS}</html>")),
        Mood::Fails(status, code) => refusal(&request, status, code),
        Mood::Knows(key) if !request.authorization.contains(&format!("Credential={key}/")) => refusal(
            &request,
            400,
            if request.target.is_empty() { "InvalidClientTokenId" } else { "UnrecognizedClientException" },
        ),
        Mood::Knows(_) | Mood::Well => answer(&request, &mut lock(&desk.state)),
    };
    let _ = write!(
        out,
        "HTTP/1.1 {status} Stub\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
}

/// Notes the call; the mood in which it is answered.
fn received(request: &Request, desk: &Desk) -> Mood {
    let mut state = lock(&desk.state);
    let arrival = Arrival { at: Instant::now(), operation: request.target.clone(), keys: request.keys().1 };
    state.arrivals.push(arrival);
    let held = desk.changed.wait_while(state, |state| state.mood == Mood::Holds);
    held.unwrap_or_else(PoisonError::into_inner).mood.clone()
}

struct Request {
    /// `GetSecretValue`; empty for STS.
    target: String,
    authorization: String,
    body: Vec<u8>,
}

impl Request {
    /// The key that is asked for alone, and every key that is asked for.
    fn keys(&self) -> (Option<String>, Vec<String>) {
        let asked: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        let text = |id: &Value| id.as_str().map(str::to_owned);
        let one = text(&asked["SecretId"]);
        let many = asked["SecretIdList"].as_array().into_iter().flatten().filter_map(text);
        (one.clone(), one.clone().into_iter().chain(many).collect())
    }
}

fn read(mut from: BufReader<TcpStream>) -> Option<Request> {
    let mut request = Request { target: String::new(), authorization: String::new(), body: Vec::new() };
    let mut length = 0;
    let mut line = String::new();
    loop {
        line.clear();
        if from.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let Some((name, value)) = line.trim_end().split_once(':') else {
            if line.trim_end().is_empty() {
                break;
            }
            continue;
        };
        match &*name.to_ascii_lowercase() {
            "content-length" => length = value.trim().parse().ok()?,
            "x-amz-target" => request.target = value.trim().trim_start_matches("secretsmanager.").to_owned(),
            "authorization" => request.authorization = value.trim().to_owned(),
            _ => {}
        }
    }
    request.body.resize(length, 0);
    from.read_exact(&mut request.body).ok()?;
    Some(request)
}

const JSON: &str = "application/x-amz-json-1.1";

fn refusal(request: &Request, status: u16, code: &str) -> (u16, &'static str, String) {
    if request.target.is_empty() {
        let body = format!(
            "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{AWS_SAYS}</Message></Error></ErrorResponse>"
        );
        return (status, "text/xml", body);
    }
    (status, JSON, json!({"__type": code, "Message": AWS_SAYS}).to_string())
}

fn answer(request: &Request, state: &mut State) -> (u16, &'static str, String) {
    if request.target.is_empty() {
        let body = format!(
            "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><GetCallerIdentityResult>\
             <Arn>arn:aws:iam::{ACCOUNT}:user/stub</Arn><UserId>AIDASTUB</UserId><Account>{ACCOUNT}</Account>\
             </GetCallerIdentityResult></GetCallerIdentityResponse>"
        );
        return (200, "text/xml", body);
    }
    let (one, keys) = request.keys();
    state.calls.push((request.target.clone(), keys.clone()));
    let missing = (Says::Error("ResourceNotFoundException"), Version::default());
    let said = |key: &String| state.keys.get(key).unwrap_or(&missing);
    if let Some(key) = one {
        let asked: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let pinned = state.former.iter().find(|(name, _, v)| *name == key && asked["VersionId"] == v.id());
        let current = said(&key);
        let (says, version) = pinned.map_or((&current.0, &current.1), |(_, says, version)| (says, version));
        return match (says, entry(&key, says, *version)) {
            (Says::Error(code), _) => refusal(request, 400, code),
            (_, Some(entry)) => (200, JSON, entry.to_string()),
            (_, None) => (200, JSON, "{}".into()),
        };
    }
    let (mut values, mut errors) = (Vec::new(), Vec::new());
    for key in &keys {
        let (says, version) = said(key);
        match says {
            Says::Error(code) => errors.push(json!({"SecretId": key, "ErrorCode": code, "Message": AWS_SAYS})),
            _ => values.extend(entry(key, says, *version)),
        }
    }
    (200, JSON, json!({"SecretValues": values, "Errors": errors}).to_string())
}

fn entry(key: &str, says: &Says, version: Version) -> Option<Value> {
    let mut entry = json!({
        "Name": key, "ARN": arn(ACCOUNT, REGION, key), "VersionStages": ["AWSCURRENT"], "CreatedDate": version.1,
        "VersionId": version.id(),
    });
    match says {
        Says::Text(text) => entry["SecretString"] = json!(text),
        Says::Binary(bytes) => {
            entry["SecretBinary"] = json!(base64::engine::general_purpose::STANDARD.encode(bytes));
        }
        Says::Another { name, arn, value } => {
            entry["Name"] = json!(name);
            entry["ARN"] = json!(arn);
            entry["SecretString"] = json!(value);
        }
        Says::Error(_) | Says::Nothing => return None,
    }
    Some(entry)
}
