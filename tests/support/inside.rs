//! The operator inside the test's process: its clock is the test's, and it can be killed before and after any write.
//!
//! It is the same wiring as the binary's (`scoped_secrets::operator`), with the permissions of `deploy/` and nothing else. A
//! kill is a crash: from that moment none of its requests goes out, no answer reaches it, and its runtime is taken away.

use super::cluster::Cluster;
use super::operator::{LONG, Operator, Started};
use super::wait::eventually;
use bytes::Bytes;
use clap::Parser;
use futures::FutureExt;
use futures::future::{BoxFuture, pending};
use http::{Method, Request, Response};
use jiff::{SignedDuration, Timestamp};
use kube::client::{Body, ClientBuilder};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use scoped_secrets::controller::context::Nature;
use scoped_secrets::operator::{self, OperatorArgs, Surroundings};
use scoped_secrets::telemetry::logs::{self, LogArgs, LogFormat};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Once, PoisonError};
use std::task;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tower::{Layer, Service};

/// The test's clock: the machine's, moved as the test likes.
#[derive(Clone, Default)]
pub struct Clock(Arc<Mutex<SignedDuration>>);

impl Clock {
    /// What it shows.
    pub fn now(&self) -> Timestamp {
        Timestamp::now() + *locked(&self.0)
    }

    /// How far it is ahead of the machine's.
    pub fn moved(&self) -> SignedDuration {
        *locked(&self.0)
    }

    /// Moves it; backwards if negative.
    pub fn advance(&self, by: SignedDuration) {
        let mut moved = locked(&self.0);
        *moved += by;
    }

    fn nature(&self) -> Nature {
        let clock = self.clone();
        Nature { now: Box::new(move || clock.now()), housekeeping: Duration::from_millis(200), ..Nature::real() }
    }
}

/// Which side of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// It never goes out.
    Before,
    /// It takes effect, and the operator never learns of it.
    After,
}

/// Where an operator's writes pass: counts them, and kills it at one.
#[derive(Clone, Default)]
pub struct Gate(Arc<Doorway>);

#[derive(Default)]
struct Doorway {
    state: Mutex<State>,
    died: Condvar,
    dead: AtomicBool,
    leads_beside: bool,
}

#[derive(Default)]
struct State {
    writes: Vec<String>,
    at: Option<(At, Moment)>,
    stops: BTreeMap<String, Stop>,
}

/// Which write an operator is killed at, reckoned from when that is said.
enum At {
    /// The one of this number, from 0.
    Number(usize),
    /// This one, where `NAME` is the name.
    Write { name: String, write: NthWrite },
}

impl At {
    fn is(&self, number: usize, writes: &[String]) -> bool {
        match self {
            Self::Number(wanted) => *wanted == number,
            Self::Write { name, write } => counted(writes, name).get(number) == Some(write),
        }
    }
}

/// Writes, each by what it is: `NAME` for this name, and how many like it went before.
fn counted(writes: &[String], name: &str) -> Vec<NthWrite> {
    writes.iter().fold(Vec::new(), |mut counted, write| {
        counted.push(NthWrite::after(&counted, write, name));
        counted
    })
}

/// Where all that concerns one name stops, and how far it has come.
struct Stop {
    at: Option<(NthWrite, Moment)>,
    writes: Vec<NthWrite>,
    is_stopped: bool,
}

/// One of the writes that concern a name: what it is, `NAME` for the name, and how many like it went before.
///
/// `PUT /api/v1/namespaces/payments-prod/secrets/NAME`, 0; `PutSecretValue`, 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NthWrite {
    /// Method and path, or the manager's operation.
    pub what: String,
    /// From 0.
    pub nth: usize,
}

impl NthWrite {
    /// This one, after those.
    fn after(before: &[Self], write: &str, name: &str) -> Self {
        // Names of grants' roles and of events end in a digest.
        let parts = write.split('/').map(|part| if part.contains(name) { "NAME" } else { part });
        let what = parts.collect::<Vec<_>>().join("/");
        let nth = before.iter().filter(|before| before.what == what).count();
        Self { what, nth }
    }

    /// Whether an operator must die at it: what an event or a later status says may be said with another, what was refused, as the
    /// object had changed, is written a second time, and a report is written whenever one is due.
    fn is_sure(&self) -> bool {
        self.nth == 0 && !self.what.split('/').any(|part| ["events", "segmentationreports"].contains(&part))
    }
}

/// So often a kill that was missed is tried again: in the first turn by its number, as all are, then by what the write is, since two
/// jobs write in either order, and a status may tell two things at once.
pub const TURNS: usize = 4;

/// Whether an operator must die at this side of a write, and none has yet.
pub fn is_owed(write: &NthWrite, moment: Moment, died: &[(NthWrite, Moment)]) -> bool {
    write.is_sure() && !died.iter().any(|(at, side)| at == write && *side == moment)
}

/// What concerns many names, and so none of them.
const SHARED: &str = "/segmentguards";

/// A Lease that nobody else looks at.
pub const OTHER_LEASE: &str = "another-lease";

impl Gate {
    /// One whose operator's Lease is [another](OTHER_LEASE): it believes that it leads, whoever else does.
    pub fn beside() -> Self {
        Self(Arc::new(Doorway { leads_beside: true, ..Doorway::default() }))
    }

    fn lease(&self) -> &'static str {
        if self.0.leads_beside { OTHER_LEASE } else { "scoped-secrets" }
    }

    /// A request about the Lease, made about another.
    fn redirected(&self, request: Request<Body>) -> Request<Body> {
        if !self.0.leads_beside || !request.uri().path().contains("/leases") {
            return request;
        }
        let (mut parts, body) = whole(request);
        let path = parts.uri.to_string().replace("/leases/scoped-secrets", &format!("/leases/{OTHER_LEASE}"));
        parts.uri = path.parse().expect("as it was, with another name");
        let name = r#""name":"scoped-secrets""#;
        let body = String::from_utf8_lossy(&body).replace(name, &name.replace("scoped-secrets", OTHER_LEASE));
        parts.headers.remove(http::header::CONTENT_LENGTH);
        Request::from_parts(parts, Body::from(body.into_bytes()))
    }

    /// One that kills its operator at the write of this number, from 0, reckoned from when it is [armed](Self::arm).
    pub fn arm(&self, number: usize, moment: Moment) {
        self.arm_with(At::Number(number), moment);
    }

    /// The same by what the write is, where `NAME` stands for this name.
    pub fn arm_at(&self, name: &str, write: &NthWrite, moment: Moment) {
        self.arm_with(At::Write { name: name.to_owned(), write: write.clone() }, moment);
    }

    fn arm_with(&self, at: At, moment: Moment) {
        let mut state = locked(&self.0.state);
        state.writes.clear();
        state.at = Some((at, moment));
    }

    /// From now on the writes that concern each of these names, here and at a manager, are counted by themselves, and stop before
    /// or after this one: whoever made it hears nothing any more, and nothing else that concerns the name takes effect. So one
    /// death of the operator is one at each of these writes.
    pub fn stop_each(&self, stops: impl IntoIterator<Item = (String, Option<(NthWrite, Moment)>)>) {
        let stop = |at| Stop { at, writes: Vec::new(), is_stopped: false };
        locked(&self.0.state).stops = stops.into_iter().map(|(name, at)| (name, stop(at))).collect();
    }

    /// Those that were to stop and go on, and where.
    pub fn going_on(&self) -> Vec<(String, NthWrite)> {
        let state = locked(&self.0.state);
        let going = state.stops.iter().filter(|(_, stop)| !stop.is_stopped);
        going.filter_map(|(name, stop)| Some((name.clone(), stop.at.clone()?.0))).collect()
    }

    /// The writes that concern a name that was to [stop](Self::stop_each).
    pub fn writes_of(&self, name: &str) -> Vec<NthWrite> {
        locked(&self.0.state).stops.get(name).map(|stop| stop.writes.clone()).unwrap_or_default()
    }

    /// A write that is about to be made: the name that it concerns, and which it is there; an error: it is not made.
    pub fn enters(&self, write: &str, text: &str) -> Result<Option<(String, NthWrite)>, ()> {
        let mut state = locked(&self.0.state);
        let mut named = state.stops.iter_mut().filter(|(name, _)| text.contains(&***name));
        let (Some((name, stop)), None) = (named.next(), named.next()) else { return Ok(None) };
        if stop.is_stopped {
            return Err(());
        }
        let write = NthWrite::after(&stop.writes, write, name);
        stop.writes.push(write.clone());
        stop.is_stopped = stop.at.as_ref() == Some(&(write.clone(), Moment::Before));
        if stop.is_stopped { Err(()) } else { Ok(Some((name.clone(), write))) }
    }

    /// A write that was made; false: nobody hears of it.
    pub fn returns(&self, (name, write): &(String, NthWrite)) -> bool {
        let mut state = locked(&self.0.state);
        let Some(stop) = state.stops.get_mut(name) else { return true };
        stop.is_stopped |= stop.at.as_ref() == Some(&(write.clone(), Moment::After));
        !stop.is_stopped
    }

    /// From now on writes are counted anew.
    pub fn count(&self) {
        locked(&self.0.state).writes.clear();
    }

    /// The writes that have passed: `PUT /api/v1/namespaces/payments-prod/secrets/orders-db`.
    pub fn writes(&self) -> Vec<String> {
        locked(&self.0.state).writes.clone()
    }

    /// The same, each by what it is: `NAME` for this name, and how many like it went before.
    pub fn nth_writes(&self, name: &str) -> Vec<NthWrite> {
        counted(&self.writes(), name)
    }

    /// How many of them were to objects of a kind.
    pub fn count_of(&self, kind: &str) -> usize {
        let part = format!("/{kind}");
        self.writes().iter().filter(|write| write.contains(&format!("{part}/")) || write.ends_with(&part)).count()
    }

    /// Whether its operator was killed.
    pub fn is_dead(&self) -> bool {
        self.0.dead.load(Ordering::Acquire)
    }

    /// Kills its operator, from wherever: nothing goes in or out any more.
    pub fn close(&self) {
        self.0.dead.store(true, Ordering::Release);
        self.0.died.notify_all();
    }

    /// Waits until its operator was killed; false if that took too long.
    pub fn dies_within(&self, patience: Duration) -> bool {
        let state = locked(&self.0.state);
        let waited = self.0.died.wait_timeout_while(state, patience, |_| !self.is_dead());
        drop(waited);
        self.is_dead()
    }

    /// Notes a write about to be sent, or just done, and kills the operator if it is the one.
    fn passes(&self, number: usize, moment: Moment) {
        let is_it = {
            let state = locked(&self.0.state);
            state.at.as_ref().is_some_and(|(at, side)| *side == moment && at.is(number, &state.writes))
        };
        if is_it {
            self.close();
        }
    }

    /// Its number.
    fn note(&self, request: &Request<Body>) -> usize {
        let mut state = locked(&self.0.state);
        state.writes.push(format!("{} {}", request.method(), request.uri().path()));
        state.writes.len() - 1
    }
}

/// Leases are the elector's: a process that dies there has not begun. Reports are written when their turn comes, and belong to nothing
/// that a test does; so is where the webhook is, which each leader writes for itself.
fn is_write(request: &Request<Body>) -> bool {
    let path = request.uri().path();
    let is_aside =
        ["/leases", "/segmentationreports", "/validatingwebhookconfigurations"].iter().any(|part| path.contains(part));
    ![Method::GET, Method::HEAD].contains(request.method()) && !is_aside
}

impl<S> Layer<S> for Gate {
    type Service = Gated<S>;

    fn layer(&self, inner: S) -> Gated<S> {
        Gated { gate: self.clone(), inner }
    }
}

/// A connection through a [`Gate`].
#[derive(Clone)]
pub struct Gated<S> {
    gate: Gate,
    inner: S,
}

impl<S, B> Service<Request<Body>> for Gated<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    B: Send + 'static,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<B>, S::Error>>;

    fn poll_ready(&mut self, cx: &mut task::Context<'_>) -> task::Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let gate = self.gate.clone();
        let request = gate.redirected(request);
        let write = is_write(&request).then(|| gate.note(&request));
        write.inspect(|number| gate.passes(*number, Moment::Before));
        let (request, concerns) = if write.is_some() { concerned(&gate, request) } else { (request, Ok(None)) };
        let Some(concerns) = concerns.ok().filter(|_| !gate.is_dead()) else { return Box::pin(pending()) };
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await;
            write.inspect(|number| gate.passes(*number, Moment::After));
            let is_heard = concerns.is_none_or(|concerns| gate.returns(&concerns));
            if gate.is_dead() || !is_heard { pending().await } else { answer }
        })
    }
}

/// The name that a write concerns, by its path and its body.
#[allow(clippy::type_complexity, reason = "as Gate::enters has it")]
fn concerned(gate: &Gate, request: Request<Body>) -> (Request<Body>, Result<Option<(String, NthWrite)>, ()>) {
    let (parts, body) = whole(request);
    let (write, path) = (format!("{} {}", parts.method, parts.uri.path()), parts.uri.path());
    let text = format!("{write} {}", String::from_utf8_lossy(&body));
    let concerns = if path.contains(SHARED) { Ok(None) } else { gate.enters(&write, &text) };
    (Request::from_parts(parts, Body::from(body)), concerns)
}

/// A request and its body, which is in memory.
fn whole(request: Request<Body>) -> (http::request::Parts, Bytes) {
    let (parts, body) = request.into_parts();
    (parts, body.collect_bytes().now_or_never().expect("it is in memory").expect("it is whole"))
}

/// A thread that runs an operator.
pub struct Inside {
    gate: Gate,
    leave: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Inside {
    /// Crashes it.
    pub fn end(&mut self) {
        self.gate.close();
        drop(self.leave.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    operator: OperatorArgs,
}

impl Operator {
    /// Starts one inside this process, by this clock and through this gate, and waits until it is ready.
    pub fn inside(cluster: &Cluster, clock: &Clock, gate: &Gate) -> Self {
        let operator = Self::launch_inside(cluster, clock, gate, &[]);
        eventually("the operator is ready", LONG, || operator.probe("/readyz"));
        operator
    }

    /// One that reaches the API server by a relay.
    pub fn inside_by(relay: impl FnOnce(&str) -> String, cluster: &Cluster, clock: &Clock, gate: &Gate) -> Self {
        let operator = Self::run_inside(Started::prepare(cluster).by(relay), cluster, clock, gate, &[]);
        eventually("the operator is ready", LONG, || operator.probe("/readyz"));
        operator
    }

    /// Without waiting, and with more arguments.
    pub fn launch_inside(cluster: &Cluster, clock: &Clock, gate: &Gate, arguments: &[&str]) -> Self {
        Self::run_inside(Started::prepare(cluster), cluster, clock, gate, arguments)
    }

    fn run_inside(started: Started, cluster: &Cluster, clock: &Clock, gate: &Gate, arguments: &[&str]) -> Self {
        let log = log_to(&started.log);
        // Who died holding the lease is not waited for.
        let lease = ["delete", "lease", gate.lease(), "-n", super::operator::NAMESPACE, "--ignore-not-found"];
        let gone = cluster.kubectl(&lease);
        assert!(gone.status.success(), "{}", String::from_utf8_lossy(&gone.stderr));
        // It is alone, and a machine that hangs for seconds takes nothing from it.
        let longer = |flag| match flag {
            "4s" => "60s",
            "3s" => "50s",
            other => other,
        };
        let own = started.flags.chunks(2).filter(|pair| !arguments.contains(&pair[0].as_str())).flatten();
        let flags = own.map(|flag| longer(flag.as_str())).chain(arguments.iter().copied());
        let flags = Flags::try_parse_from(["scoped-secrets"].into_iter().chain(flags)).expect("the flags are right");
        let (kubeconfig, clock, through) = (started.kubeconfig.clone(), clock.clone(), gate.clone());
        let (leave, left) = tokio::sync::oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            OWN.set(Some(log.clone()));
            let mut runtime = tokio::runtime::Builder::new_multi_thread();
            runtime.on_thread_start(move || OWN.set(Some(log.clone())));
            let runtime = runtime.worker_threads(2).enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let config = connection(&kubeconfig).await;
                let connect = Box::new(move || connect(&config, &through));
                let around = Surroundings { nature: clock.nature(), connect };
                tokio::select! {
                    ended = operator::run(flags.operator, around, pending()) => panic!("the operator ended: {ended:?}"),
                    _ = left => {}
                }
            });
            runtime.shutdown_background();
        });
        let inside = Inside { gate: gate.clone(), leave: Some(leave), thread: Some(thread) };
        Self::from_inside(started, inside)
    }
}

async fn connection(kubeconfig: &Path) -> Config {
    let file = Kubeconfig::read_from(kubeconfig).expect("it was just written");
    Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.expect("it was just written")
}

fn connect(config: &Config, gate: &Gate) -> Result<Client, kube::Error> {
    Ok(ClientBuilder::try_from(config.clone())?.with_layer(gate).build())
}

thread_local! {
    /// The log of the operator whose thread this is.
    static OWN: RefCell<Option<Arc<File>>> = const { RefCell::new(None) };
}

/// The process has one subscriber: each line goes to the log of the operator on whose thread it was written.
fn log_to(log: &Path) -> Arc<File> {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let level = LogArgs { log_format: LogFormat::Json, log_level: "trace".to_owned() };
        logs::init_to(&level, || Lines, false).expect("nothing else logs here");
        rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    });
    Arc::new(File::create(log).expect("the cluster's folder can be written"))
}

struct Lines;

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        OWN.with_borrow(|own| own.as_ref().map_or(Ok(line.len()), |file| (&**file).write(line)))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until a gate has seen no write for a while: what it was doing is done.
pub fn settles(gate: &Gate) {
    let (mut seen, mut since) = (gate.writes().len(), Instant::now());
    let until = Instant::now() + Duration::from_secs(60);
    while since.elapsed() < Duration::from_millis(800) {
        assert!(Instant::now() < until, "the operator writes without end: {:?}", gate.writes());
        std::thread::sleep(Duration::from_millis(50));
        let now = gate.writes().len();
        if now != seen {
            (seen, since) = (now, Instant::now());
        }
    }
}
