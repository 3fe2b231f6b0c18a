//! No request waits for ever: what answers nothing, because a load balancer or a connection has died without a word, is given up, and
//! tried again by whoever asked. A watch may be silent for minutes, and has a limit of its own in the library. What waits for its
//! [turn](Turns) does so within the same time: what a leader asks for is done by then, or never.

use super::turns::{Turns, namespace_of};
use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use kube::client::Body;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tower::{BoxError, Layer, Service};

/// How long an answer may take, with its body.
#[derive(Debug, Clone)]
pub struct Patience {
    /// So long.
    pub limit: Duration,
    /// Who is asked.
    pub turns: Arc<Turns>,
}

/// Nothing was answered for so long.
#[derive(Debug, thiserror::Error)]
#[error("the API server did not answer within {} s", .0.as_secs())]
struct Silent(Duration);

/// A connection of which answers are waited for only so long.
#[derive(Debug, Clone)]
pub struct Limited<S> {
    inner: S,
    patience: Patience,
}

impl<S> Layer<S> for Patience {
    type Service = Limited<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Limited { inner, patience: self.clone() }
    }
}

/// Whether a request is answered for as long as there is something to tell.
fn streams(request: &Request<Body>) -> bool {
    let query = request.uri().query().unwrap_or_default();
    query.split('&').any(|pair| pair == "watch=true" || pair == "follow=true")
}

impl<S, B> Service<Request<Body>> for Limited<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: hyper::body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Box<kube::client::DynBody>>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let Patience { limit, turns } = self.patience.clone();
        let streams = streams(&request);
        let path = request.uri().path();
        // Reads and deletions wait for nobody, so that what ends does so at once; nor does whoever says that he leads.
        let brings = [Method::POST, Method::PUT, Method::PATCH].contains(request.method());
        let waits = brings && !path.starts_with("/apis/coordination.k8s.io/");
        let namespace = namespace_of(path).map(str::to_owned);
        // It begins when it is first asked for.
        let answer = self.inner.call(request);
        Box::pin(async move {
            if streams {
                let head = tokio::time::timeout(limit, answer).await.map_err(|_| Silent(limit))?;
                return Ok(head.map_err(Into::into)?.map(|body| Box::new(body.map_err(Into::into)) as _));
            }
            let whole = async {
                let (head, body) = answer.await.map_err(Into::into)?.into_parts();
                let body = Full::new(body.collect().await.map_err(Into::into)?.to_bytes());
                Ok(Response::from_parts(head, Box::new(body.map_err(Into::into)) as _))
            };
            let answered = async { if waits { turns.within(namespace.as_deref(), whole).await? } else { whole.await } };
            tokio::time::timeout(limit, answered).await.map_err(|_| Silent(limit))?
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::client::connect_within;
    use k8s_openapi::api::core::v1::{Namespace, Secret};
    use kube::api::{Api, ListParams, PostParams};
    use kube::{Client, Config};
    use std::time::{Duration, Instant};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    /// A server that takes every request, answers so much to what is asked, and is silent then.
    async fn silent_after(
        answer: impl Fn(&str) -> &'static [u8] + Copy + Send + Sync + 'static,
        limit: Duration,
    ) -> Client {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                tokio::spawn(async move {
                    let mut asked = [0; 4096];
                    let length = stream.read(&mut asked).await.unwrap_or_default();
                    let _ = stream.write_all(answer(&String::from_utf8_lossy(&asked[..length]))).await;
                    std::future::pending::<()>().await;
                });
            }
        });
        let config = Config::new(format!("http://{address}").parse().unwrap());
        connect_within(config, limit, None).unwrap()
    }

    #[tokio::test]
    async fn what_hangs_before_its_answer_or_within_is_given_up() {
        let head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{";
        for answer in [&b""[..], head] {
            let (client, start) = (silent_after(move |_| answer, Duration::from_millis(300)).await, Instant::now());
            let asked = Api::<Namespace>::all(client).list(&ListParams::default()).await;
            let told = format!("{:?}", asked.expect_err("nothing came"));
            assert!(told.contains("did not answer") || told.contains("Silent"), "{told}");
            assert!(start.elapsed() < Duration::from_secs(5));
        }
    }

    /// Requests of many namespaces hang, as they do where a webhook of theirs does: another's goes on.
    #[tokio::test]
    async fn who_hangs_holds_up_nobody() {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length";
        let body = r#"{"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "db"}}"#;
        let secret: &[u8] = format!("{head}: {}\r\n\r\n{body}", body.len()).leak().as_bytes();
        let answer = move |asked: &str| if asked.contains("/namespaces/quick/") { secret } else { b"" };
        let client = silent_after(answer, Duration::from_secs(60)).await;
        let write = |namespace: &str| {
            let api = Api::<Secret>::namespaced(client.clone(), namespace);
            async move { api.create(&PostParams::default(), &Secret::default()).await }
        };
        let hanging: Vec<_> = (0..160).map(|i| tokio::spawn(write(&format!("slow-{}", i % 10)))).collect();
        tokio::time::sleep(Duration::from_millis(100)).await;
        let quick = tokio::time::timeout(Duration::from_secs(20), write("quick")).await;
        quick.expect("it has its turn").expect("it is answered");
        assert!(hanging.iter().all(|task| !task.is_finished()));
        hanging.iter().for_each(|task| task.abort());
    }

    #[tokio::test]
    async fn a_watch_may_be_silent() {
        const LIMIT: Duration = Duration::from_secs(2);
        let client = silent_after(|_| b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n", LIMIT).await;
        let api = Api::<Namespace>::all(client);
        let mut events = Box::pin(api.watch(&kube::api::WatchParams::default(), "0").await.unwrap());
        let next = tokio::time::timeout(LIMIT * 3 / 2, futures::StreamExt::next(&mut events)).await;
        assert!(next.is_err(), "it waits on");
    }
}
