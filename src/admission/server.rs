//! The server: an accept loop with a bound on everything that a client can spend.
//!
//! Anyone in the cluster can connect, so every byte and second is the server's to give: see [`Limits`]. A flood of
//! sockets costs a good client little, because at the limit the newcomer takes the place of the stranger that has been
//! idle longest, and a connection that has had an answer is no stranger.

use super::connections::{Crowd, Seat};
use axum::Router;
use axum::body::Body;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

/// What clients may spend.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections at once. The API server needs one (HTTP/2) or a few.
    pub connections: usize,
    /// For the TLS handshake.
    pub handshake: Duration,
    /// From the handshake's end to the first complete request head, and for each head on HTTP/1.
    pub head: Duration,
    /// Bytes of a request's head.
    pub head_bytes: usize,
    /// Header fields in a head (HTTP/1; HTTP/2 is bound by the bytes).
    pub headers: usize,
    /// For a whole request, from its head to the answer. The API server gives up after the webhook's timeout (2 s).
    pub request: Duration,
    /// Without a request. Longer than the 90 s after which Go's clients drop a connection by themselves, so that no
    /// request meets a connection that is being closed.
    pub idle: Duration,
    /// Requests at once on one HTTP/2 connection.
    pub streams: u32,
    /// For what is in flight when the server is stopped.
    pub farewell: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 512,
            handshake: Duration::from_secs(2),
            head: Duration::from_secs(5),
            head_bytes: 16 * 1024,
            headers: 64,
            request: Duration::from_secs(5),
            idle: Duration::from_secs(120),
            streams: 64,
            farewell: Duration::from_secs(3),
        }
    }
}

/// How bytes travel.
#[derive(Clone)]
pub enum Transport {
    /// As they are: probes and metrics.
    Plain,
    /// TLS: admission. See [`super::tls::server_config`].
    Tls(Arc<rustls::ServerConfig>),
}

/// Serves until `stop`; then accepts nothing more, lets what is in flight end, and returns within
/// [`Limits::farewell`].
pub async fn serve(
    listener: TcpListener,
    transport: Transport,
    router: Router,
    limits: Limits,
    stop: impl Future<Output = ()>,
) {
    let mut stop = pin!(stop);
    let crowd = Crowd::new(limits.connections);
    let (stopping, stopped) = watch::channel(false);
    let host = Arc::new(Host { transport, router, limits, http: auto::Builder::new(TokioExecutor::new()) }.bounded());
    let mut guests = JoinSet::new();
    loop {
        tokio::select! {
            () = &mut stop => break,
            Some(_) = guests.join_next(), if !guests.is_empty() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    if let Some(seat) = crowd.admit(Instant::now()) {
                        guests.spawn(host.clone().converse(stream, seat, stopped.clone()));
                    }
                }
                Err(error) => {
                    // Out of file descriptors, or the peer is gone already: neither mends itself at once.
                    tracing::warn!(%error, "a connection could not be accepted");
                    sleep(Duration::from_millis(20)).await;
                }
            }
        }
    }
    drop(listener);
    stopping.send_replace(true);
    let all = async { while guests.join_next().await.is_some() {} };
    if timeout(host.limits.farewell, all).await.is_err() {
        tracing::warn!(connections = guests.len(), "connections that did not end in time are cut");
    }
    guests.shutdown().await;
}

/// What every connection shares.
struct Host {
    transport: Transport,
    router: Router,
    limits: Limits,
    http: auto::Builder<TokioExecutor>,
}

/// HTTP/2 flow control: what a client may send before anyone reads it, for one request. Requests that came through no door are
/// answered, and their bodies forgotten, at once.
const STREAM_WINDOW: u32 = 64 * 1024;

impl Host {
    fn bounded(mut self) -> Self {
        let limits = &self.limits;
        self.http
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.head)
            .max_headers(limits.headers)
            .max_buf_size(limits.head_bytes);
        self.http
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits.streams)
            .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX))
            .initial_stream_window_size(STREAM_WINDOW)
            // So much that large bodies which wait to be read keep no small one back.
            .initial_connection_window_size(limits.streams.saturating_mul(STREAM_WINDOW))
            .keep_alive_interval(limits.idle / 4)
            .keep_alive_timeout(limits.head);
        self
    }

    /// One connection, from its first byte to its last.
    async fn converse(self: Arc<Self>, stream: TcpStream, seat: Seat, stopped: watch::Receiver<bool>) {
        // Answers are small and each is awaited.
        let _ = stream.set_nodelay(true);
        match &self.transport {
            Transport::Plain => self.speak(stream, false, &seat, stopped).await,
            Transport::Tls(config) => {
                let handshake = timeout(self.limits.handshake, TlsAcceptor::from(config.clone()).accept(stream));
                let tls = tokio::select! {
                    () = seat.evicted() => return,
                    tls = handshake => tls,
                };
                // A failed handshake is the peer's affair; one line each would let it fill our logs.
                if let Ok(Ok(tls)) = tls {
                    let http2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
                    self.speak(tls, http2, &seat, stopped).await;
                }
            }
        }
    }

    async fn speak(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        http2: bool,
        seat: &Seat,
        mut stopped: watch::Receiver<bool>,
    ) {
        let mut stopped = pin!(async move {
            let _ = stopped.wait_for(|stopped| *stopped).await;
        });
        let activity = seat.activity();
        let (router, limit) = (self.router.clone(), self.limits.request);
        let service = tower::service_fn(move |request: hyper::Request<Incoming>| {
            let (router, busy) = (router.clone(), activity.begin());
            async move {
                let response = answer(router, request.map(Body::new), limit).await;
                busy.done(response.status().is_success());
                Ok::<_, std::convert::Infallible>(response)
            }
        });
        // The version is known, so the builder does not wait for the first bytes, for which it has no time limit.
        let http = if http2 { self.http.clone().http2_only() } else { self.http.clone().http1_only() };
        let mut talk = pin!(http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service)));
        loop {
            let patience = seat.patience(&self.limits, Instant::now());
            tokio::select! {
                _ = talk.as_mut() => return,
                () = seat.evicted() => break,
                () = sleep(patience) => if seat.is_idle(&self.limits, Instant::now()) { break },
                () = &mut stopped => {
                    talk.as_mut().graceful_shutdown();
                    // The caller of serve() bounds this.
                    let _ = talk.await;
                    return;
                }
            }
        }
        talk.as_mut().graceful_shutdown();
        let _ = timeout(GOODBYE, talk).await;
    }
}

/// For an idle connection to take notice that it is closed.
const GOODBYE: Duration = Duration::from_millis(200);

/// The answer to one request, whatever happens: a panic is this request's error.
async fn answer(router: Router, request: hyper::Request<Body>, limit: Duration) -> Response {
    let response = AssertUnwindSafe(router.oneshot(request)).catch_unwind();
    match timeout(limit, response).await {
        Ok(Ok(Ok(response))) => response,
        Ok(Ok(Err(never))) => match never {},
        Ok(Err(_panic)) => (StatusCode::INTERNAL_SERVER_ERROR, "internal error\n").into_response(),
        Err(_elapsed) => (StatusCode::REQUEST_TIMEOUT, "the request took too long\n").into_response(),
    }
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
