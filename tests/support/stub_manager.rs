//! A secrets manager that misbehaves on demand: Secrets Manager's protocol, and of STS what tells an account, with canned
//! answers. For what an emulator does not do: refused credentials, throttling, outages, hanging, another secret's name,
//! keys in neither list; rotation by a function, and calls that are lost before or after they took effect.

mod answers;
mod secrets;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

use serde_json::Value;

use super::inside::{Gate, Moment, NthWrite};
use answers::{answer, refusal};
use secrets::Secret;
pub use secrets::{Lambda, Version};

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
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// Every read of a value fails; all else is answered.
    KeepsValues,
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

/// A write that has come in, seen from either side of its effect.
#[derive(Clone, Debug)]
pub struct WriteCall {
    /// From 0, since somebody [watches](StubManager::on_write).
    pub number: usize,
    /// `PutSecretValue`.
    pub operation: String,
    /// The secret's name or ARN, as it was written.
    pub key: String,
    pub moment: Moment,
}

/// What becomes of a write that was watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    GoOn,
    /// The connection breaks: before its effect there is none, after it nobody is told.
    Lose,
    /// Before its effect: an error with this code.
    Refuse(&'static str),
}

type Watcher = Arc<dyn Fn(&WriteCall) -> Then + Send + Sync>;

#[derive(Default)]
struct State {
    keys: BTreeMap<String, Secret>,
    mood: Mood,
    versions: u64,
    watcher: Option<Watcher>,
    writes: usize,
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
        let id = format!("00000000-0000-4000-8000-{:012}", state.versions);
        state.keys.entry(key.to_owned()).or_default().add(&id, says, &["AWSCURRENT"]);
    }

    /// From now on a key, which it has, is rotated by a function.
    pub fn rotates(&self, key: &str, lambda: Lambda) {
        self.state().keys.get_mut(key).expect("a key that was put").lambda = Some(lambda);
    }

    /// Somebody cancels the rotation of a key: what its function has begun stays as it is.
    pub fn rotates_no_more(&self, key: &str) {
        self.state().keys.get_mut(key).expect("a key that was put").lambda = None;
    }

    /// The function that rotates a key makes this value, and is done.
    ///
    /// # Panics
    /// If no rotation is under way.
    pub fn finish_rotation(&self, key: &str, value: &str) {
        let mut state = self.state();
        let finished = state.keys.get_mut(key).is_some_and(|secret| secret.finish(value));
        assert!(finished, "no rotation of {key} is under way");
    }

    /// Somebody else's rotation has got as far as AWSPENDING: a version of this identity.
    pub fn put_pending(&self, key: &str, id: &str, says: Says) {
        self.state().keys.get_mut(key).expect("a key that was put").add(id, says, &["AWSPENDING"]);
    }

    /// Somebody takes AWSPENDING away: from whatever version has it.
    pub fn end_pending(&self, key: &str) {
        let mut state = self.state();
        let secret = state.keys.get_mut(key).expect("a key that was put");
        secret.versions.iter_mut().for_each(|version| version.stages.retain(|stage| stage != "AWSPENDING"));
    }

    /// Every version of a key, in the order in which they were made.
    pub fn versions(&self, key: &str) -> Vec<Version> {
        self.state().keys.get(key).map(|secret| secret.versions.clone()).unwrap_or_default()
    }

    /// From now on `watcher` is called for each write, before it takes effect and after that, before it is answered. Writes are
    /// counted anew. It may ask and change this manager.
    pub fn on_write(&self, watcher: impl Fn(&WriteCall) -> Then + Send + Sync + 'static) {
        let mut state = self.state();
        state.writes = 0;
        state.watcher = Some(Arc::new(watcher));
    }

    /// Kills an operator at the write to this manager of this number, from 0; of one that is dead nothing arrives.
    pub fn kill_at(&self, gate: &Gate, number: usize, moment: Moment) {
        let gate = gate.clone();
        self.on_write(move |write| {
            if !gate.is_dead() && (write.number, write.moment) == (number, moment) {
                gate.close();
            }
            if gate.is_dead() { Then::Lose } else { Then::GoOn }
        });
    }

    /// From now on a gate counts writes to this manager, too, and [stops](Gate::stop_each) what is to stop there.
    pub fn passes(&self, gate: &Gate) {
        let (gate, entered) = (gate.clone(), Mutex::<BTreeMap<usize, (String, NthWrite)>>::default());
        self.on_write(move |write| {
            let mut entered = entered.lock().unwrap_or_else(PoisonError::into_inner);
            let goes_on = match write.moment {
                Moment::Before => match gate.enters(&write.operation, &write.key) {
                    Ok(concerns) => {
                        entered.extend(concerns.map(|concerns| (write.number, concerns)));
                        true
                    }
                    Err(()) => false,
                },
                Moment::After => entered.remove(&write.number).is_none_or(|concerns| gate.returns(&concerns)),
            };
            if goes_on && !gate.is_dead() { Then::GoOn } else { Then::Lose }
        });
    }

    /// Writes are neither watched nor lost any more.
    pub fn unwatch(&self) {
        self.state().watcher = None;
    }

    /// The writes that were answered so far, as operations.
    pub fn writes(&self) -> Vec<String> {
        let calls = self.calls();
        calls.into_iter().map(|(operation, _)| operation).filter(|operation| is_write(operation)).collect()
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

fn is_write(operation: &str) -> bool {
    ["PutSecretValue", "UpdateSecretVersionStage", "RotateSecret"].contains(&operation)
}

/// One request, one answer: then the connection is closed.
fn serve(connection: TcpStream, desk: &Arc<Desk>) {
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
        Mood::KeepsValues if request.target.contains("GetSecretValue") => {
            refusal(&request, 503, "InternalServiceError")
        }
        Mood::Knows(key) if !request.authorization.contains(&format!("Credential={key}/")) => refusal(
            &request,
            400,
            if request.target.is_empty() { "InvalidClientTokenId" } else { "UnrecognizedClientException" },
        ),
        Mood::Knows(_) | Mood::KeepsValues | Mood::Well => match watched(&request, desk) {
            Some(answer) => answer,
            None => return,
        },
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

/// Answers, unless it is a write that its watcher loses.
fn watched(request: &Request, desk: &Arc<Desk>) -> Option<(u16, &'static str, String)> {
    let mut watching = None;
    if is_write(&request.target) {
        let mut state = lock(&desk.state);
        watching = state.watcher.clone().map(|watcher| (watcher, state.writes));
        state.writes += 1;
    }
    // Not under the lock: a watcher may look at the manager.
    let then = |moment| {
        watching.as_ref().map_or(Then::GoOn, |(watcher, number)| {
            let key = request.keys().0.unwrap_or_default();
            watcher(&WriteCall { number: *number, operation: request.target.clone(), key, moment })
        })
    };
    match then(Moment::Before) {
        Then::GoOn => {}
        Then::Lose => return None,
        Then::Refuse(code) => return Some(refusal(request, 400, code)),
    }
    let answer = answer(request, desk);
    (then(Moment::After) != Then::Lose).then_some(answer)
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
