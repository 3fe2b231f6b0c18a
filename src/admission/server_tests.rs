use super::super::bundle::Fault;
use super::super::certificates::Step;
use super::super::review::tests::review_of;
use super::super::review::{BODY_LIMIT, Review, Route, router};
use super::super::tls::{CertificateCell, server_config};
use super::super::unread::Unread;
use super::*;
use crate::telemetry::metrics::Metrics;
use kube::core::DynamicObject;
use kube::core::admission::{AdmissionRequest, AdmissionResponse};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use std::net::SocketAddr;
use std::sync::{Condvar, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Allows what is called `orders`, panics at `panic`, takes until the gate opens for `slow`, denies the rest.
struct Names(Arc<Gate>);

#[derive(Default)]
struct Gate {
    is_open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    fn open(&self) {
        *self.is_open.lock().unwrap() = true;
        self.opened.notify_all();
    }

    fn pass(&self) {
        drop(self.opened.wait_while(self.is_open.lock().unwrap(), |is_open| !*is_open).unwrap());
    }
}

impl Review for Names {
    fn review(&self, request: &AdmissionRequest<DynamicObject>) -> AdmissionResponse {
        let response = AdmissionResponse::from(request);
        match request.name.as_str() {
            "orders" => response,
            "panic" => panic!("a bug"),
            "slow" => {
                self.0.pass();
                response
            }
            _ => response.deny("not orders"),
        }
    }

    fn refuses_unread(&self, _: &Unread<'_>) -> bool {
        true
    }
}

struct Served {
    address: SocketAddr,
    door: String,
    connector: TlsConnector,
    gate: Arc<Gate>,
    stop: Option<oneshot::Sender<()>>,
    ended: JoinHandle<()>,
}

const NAME: &str = "hook.ns.svc";

async fn serving(limits: Limits) -> Served {
    let issued = Step::Create(Fault::Absent).take(None, &[NAME.to_owned()], jiff::Timestamp::now());
    let bundle = issued.unwrap().unwrap();
    let cell = Arc::new(CertificateCell::default());
    cell.set(&bundle);
    let door = "0123456789abcdef".repeat(2);
    let configuration = serde_json::json!({"metadata": {"annotations": {crate::api::DOOR_ANNOTATION: door}}});
    cell.see(Some(&serde_json::from_value(configuration).unwrap()), std::time::Instant::now());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(bundle.ca_bundle().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let client = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let client = client.with_root_certificates(roots).with_no_client_auth();

    let gate = Arc::new(Gate::default());
    let route = Route {
        path: "/admission/scopedsecrets",
        rule: "Claims",
        kinds: &[("scopedsecrets.io", "ScopedSecret")],
        review: Arc::new(Names(gate.clone())),
    };
    let caches = super::super::health::Readiness::default().gate("caches");
    caches.set(true);
    let slow = axum::routing::get(|| async { std::future::pending::<&str>().await });
    let broken = axum::routing::get(|| async { if true { panic!("a bug") } else { "" } });
    let routes = router(vec![route], cell.clone(), &caches, Arc::new(Metrics::new()))
        .route("/slow", slow)
        .route("/broken", broken);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let transport = Transport::Tls(server_config(cell).unwrap());
    let ended = tokio::spawn(serve(listener, transport, routes, limits, async move { drop(stopped.await) }));
    Served { address, door, connector: TlsConnector::from(Arc::new(client)), gate, stop: Some(stop), ended }
}

impl Served {
    async fn connect(&self) -> std::io::Result<TlsStream<TcpStream>> {
        let tcp = TcpStream::connect(self.address).await?;
        self.connector.connect(ServerName::try_from(NAME).unwrap(), tcp).await
    }

    /// Sends these bytes on a connection of their own and reads until the server closes it.
    async fn exchange(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect().await.unwrap();
        // The server may answer, and close, before it has read everything.
        let _ = stream.write_all(bytes).await;
        rest(&mut stream).await
    }

    async fn review(&self, name: &str) -> String {
        self.exchange(&post(&self.door, name)).await
    }
}

async fn rest(stream: &mut TlsStream<TcpStream>) -> String {
    let mut answer = Vec::new();
    let read = timeout(Duration::from_secs(20), async {
        let mut chunk = [0; 4096];
        while let Ok(n @ 1..) = stream.read(&mut chunk).await {
            answer.extend_from_slice(&chunk[..n]);
        }
    });
    read.await.expect("the server closes the connection");
    String::from_utf8_lossy(&answer).into_owned()
}

fn post(door: &str, name: &str) -> Vec<u8> {
    post_larger(door, name, 0)
}

/// With an object that is so many bytes larger.
fn post_larger(door: &str, name: &str, bytes: usize) -> Vec<u8> {
    let mut review = review_of("scopedsecrets.io", "ScopedSecret");
    review["request"]["name"] = name.into();
    review["request"]["object"]["spec"]["more"] = "x".repeat(bytes).into();
    let body = review.to_string();
    format!(
        "POST /{door}/admission/scopedsecrets HTTP/1.1\r\nHost: hook\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

fn quick() -> Limits {
    let limit = Duration::from_secs(2);
    Limits { handshake: limit, head: limit, request: limit, idle: limit, farewell: limit, ..Limits::default() }
}

#[tokio::test]
async fn reviews_are_answered() {
    let served = serving(Limits::default()).await;
    let allowed = served.review("orders").await;
    assert!(allowed.starts_with("HTTP/1.1 200") && allowed.contains(r#""allowed":true"#), "{allowed}");
    assert!(allowed.contains(r#""uid":"7f0b""#) && allowed.contains("application/json"), "{allowed}");
    let denied = served.review("invoices").await;
    assert!(denied.contains(r#""allowed":false"#) && denied.contains("not orders"), "{denied}");
}

#[tokio::test]
async fn a_panic_is_one_request_s_error() {
    let served = serving(Limits::default()).await;
    let denied = served.review("panic").await;
    assert!(denied.starts_with("HTTP/1.1 200") && denied.contains(r#""allowed":false"#), "{denied}");
    let broken = served.exchange(b"GET /broken HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert!(broken.starts_with("HTTP/1.1 500") && !broken.contains("bug"), "{broken}");
    assert!(served.review("orders").await.contains(r#""allowed":true"#));
}

#[tokio::test]
async fn bad_requests_are_refused() {
    // Nothing here is about time, and unoptimised on a busy machine the largest body takes some.
    let served = serving(Limits { request: Duration::from_secs(60), ..Limits::default() }).await;
    let at = |door: &str, rest: &str| {
        format!("POST /{door}/admission/scopedsecrets HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{rest}")
    };
    let head = |rest: &str| at(&served.door, rest);
    for (what, request, expected) in [
        ("garbage", "\u{1}\u{2}garbage\r\n\r\n".to_owned(), "HTTP/1.1 400"),
        ("not JSON", head("Content-Length: 3\r\n\r\nabc"), "HTTP/1.1 400"),
        ("a head that is too large", head(&format!("X: {}\r\n\r\n", "x".repeat(20_000))), "HTTP/1.1 431"),
        ("too many headers", head(&format!("{}\r\n", "X: y\r\n".repeat(100))), "HTTP/1.1 431"),
        (
            "another method",
            "GET /door/admission/scopedsecrets HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".into(),
            "HTTP/1.1 405",
        ),
        ("another door", at("0".repeat(32).as_str(), "Content-Length: 3\r\n\r\nabc"), "HTTP/1.1 404"),
        ("no door", at("", "Content-Length: 3\r\n\r\nabc"), "HTTP/1.1 404"),
        ("another path", "GET /etc/passwd HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".into(), "HTTP/1.1 404"),
    ] {
        let answer = served.exchange(request.as_bytes()).await;
        assert!(answer.starts_with(expected), "{what}: {answer}");
    }
    // Neither sends what the server does not read any more: that would reset the connection, and the answer might go with it.
    let announced = head(&format!("Content-Length: {}\r\n\r\n{}", BODY_LIMIT + 1, " ".repeat(BODY_LIMIT + 1)));
    let chunk = format!("{:x}\r\n{}", BODY_LIMIT + 1, "x".repeat(BODY_LIMIT + 1));
    for large in [announced, head(&format!("Transfer-Encoding: chunked\r\n\r\n{chunk}"))] {
        let answer = served.exchange(large.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 413"), "a body that is too large: {answer}");
    }
    assert!(served.review("orders").await.contains(r#""allowed":true"#));
}

#[tokio::test]
async fn what_never_comes_is_given_up() {
    let served = serving(Limits { request: Duration::from_millis(300), ..Limits::default() }).await;
    let half = format!(
        "POST /{}/admission/scopedsecrets HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 10\r\n\r\nabc",
        served.door
    );
    let slow = "GET /slow HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".to_owned();
    for (what, request) in [("a body", half), ("an answer", slow)] {
        let answer = served.exchange(request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 408"), "{what}: {answer}");
    }
}

#[tokio::test]
async fn who_is_slow_is_cut_off() {
    let served = serving(quick()).await;
    let mut silent = served.connect().await.unwrap();
    let mut halting = served.connect().await.unwrap();
    halting.write_all(b"POST /admission/scopedsecrets HTTP/1.1\r\nHos").await.unwrap();
    let mut no_handshake = TcpStream::connect(served.address).await.unwrap();
    let mut garbage = TcpStream::connect(served.address).await.unwrap();
    garbage.write_all(&[0x99; 64]).await.unwrap();
    assert!(!rest(&mut silent).await.contains("200"));
    assert!(!rest(&mut halting).await.contains("200"));
    for stream in [&mut no_handshake, &mut garbage] {
        let closed = timeout(Duration::from_secs(20), stream.read_to_end(&mut Vec::new())).await;
        assert!(closed.is_ok(), "still open");
    }
}

#[tokio::test]
async fn at_the_limit_the_idlest_stranger_makes_room() {
    let served = serving(Limits { connections: 3, ..Limits::default() }).await;
    let mut known = served.connect().await.unwrap();
    let request = String::from_utf8(post(&served.door, "orders")).unwrap().replace("Connection: close\r\n", "");
    known.write_all(request.as_bytes()).await.unwrap();
    let mut answer = [0; 4096];
    assert!(known.read(&mut answer).await.unwrap() > 0);
    let mut strangers = Vec::new();
    for _ in 0..5 {
        strangers.push(served.connect().await.unwrap());
    }
    for evicted in &mut strangers[..3] {
        rest(evicted).await;
    }
    known.write_all(request.as_bytes()).await.unwrap();
    assert!(known.read(&mut answer).await.unwrap() > 0, "who had an answer stays");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn good_requests_get_through_a_flood() {
    let served = serving(Limits { connections: 128, ..Limits::default() }).await;
    let mut flood = Vec::new();
    for i in 0..200 {
        let mut socket = TcpStream::connect(served.address).await.unwrap();
        if i % 2 == 0 {
            let _ = socket.write_all(b"\x16\x03\x01").await;
        }
        flood.push(socket);
    }
    for _ in 0..200 {
        let answer = served.review("orders").await;
        assert!(answer.contains(r#""allowed":true"#), "{answer}");
    }
    drop(flood);
}

/// One tenant's large writes, many at once, each of which takes long.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_reviews_get_through_a_flood_of_large_ones() {
    const FLOOD: usize = 40;
    let served = Arc::new(serving(Limits { request: Duration::from_secs(30), ..Limits::default() }).await);
    let mut flood = JoinSet::new();
    for _ in 0..FLOOD {
        let served = served.clone();
        flood.spawn(async move { served.exchange(&post_larger(&served.door, "slow", 1 << 20)).await });
    }
    // All that can come in have come in when the first are refused. One whose body was not read may not hear of it.
    let refused = timeout(Duration::from_secs(20), flood.join_next()).await.unwrap().unwrap().unwrap();
    assert!(!refused.contains("allowed"), "{refused}");
    for _ in 0..20 {
        let answer = timeout(Duration::from_secs(10), served.review("orders")).await.expect("nothing is in its way");
        assert!(answer.contains(r#""allowed":true"#), "{answer}");
    }
    served.gate.open();
    let (mut allowed, mut told) = (0, 0);
    while let Some(answer) = flood.join_next().await {
        let answer = answer.unwrap();
        allowed += usize::from(answer.contains(r#""allowed":true"#));
        told += usize::from(answer.starts_with("HTTP/1.1 503"));
    }
    assert!(allowed > 0 && told > 0 && allowed + told < FLOOD, "{allowed} allowed, {told} told to try again");
    let after = served.exchange(&post_larger(&served.door, "orders", 1 << 20)).await;
    assert!(after.contains(r#""allowed":true"#), "{after}");
}

#[tokio::test]
async fn a_renewed_certificate_is_served_without_a_restart() {
    let cell = Arc::new(CertificateCell::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let transport = Transport::Tls(server_config(cell.clone()).unwrap());
    let server = tokio::spawn(serve(listener, transport, Router::new(), Limits::default(), std::future::pending()));
    let dial = async |authorities: &str| {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authorities.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let client =
            rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let client = Arc::new(client.with_root_certificates(roots).with_no_client_auth());
        let tcp = TcpStream::connect(address).await.unwrap();
        TlsConnector::from(client).connect(ServerName::try_from(NAME).unwrap(), tcp).await
    };
    let make = || Step::Create(Fault::Absent).take(None, &[NAME.to_owned()], jiff::Timestamp::now()).unwrap().unwrap();
    let (first, second) = (make(), make());
    assert!(dial(&first.ca_bundle()).await.is_err(), "no certificate yet");
    cell.set(&first);
    assert!(dial(&first.ca_bundle()).await.is_ok());
    cell.set(&second);
    assert!(dial(&second.ca_bundle()).await.is_ok());
    assert!(dial(&first.ca_bundle()).await.is_err());
    server.abort();
}

#[tokio::test]
async fn what_is_in_flight_ends_and_what_does_not_is_cut() {
    let mut served = serving(Limits { farewell: Duration::from_secs(3), ..Limits::default() }).await;
    let mut halfway = served.connect().await.unwrap();
    let request = post(&served.door, "orders");
    let (first, last) = request.split_at(request.len() - 10);
    halfway.write_all(first).await.unwrap();
    let mut never = served.connect().await.unwrap();
    never.write_all(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    // An answer on a later connection shows that the earlier ones were accepted.
    assert!(served.review("orders").await.contains("200"));
    let start = Instant::now();
    drop(served.stop.take());
    let deadline = start + Duration::from_secs(20);
    while TcpStream::connect(served.address).await.is_ok() {
        assert!(Instant::now() < deadline, "still accepting");
        tokio::task::yield_now().await;
    }
    halfway.write_all(last).await.unwrap();
    assert!(rest(&mut halfway).await.contains(r#""allowed":true"#));
    timeout(Duration::from_secs(20), served.ended).await.expect("ends").unwrap();
    assert!(start.elapsed() < Duration::from_secs(15), "took {:?}", start.elapsed());
}
