//! How traces get to the collector: with the HTTP and the TLS that the operator has anyway, on its own runtime.

use http::{Request, Response, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use opentelemetry_http::hyper::HyperClient;
use opentelemetry_http::{Bytes, HttpClient, HttpError};
use rustls::crypto::aws_lc_rs;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::runtime::Handle;

/// A client for whoever has no runtime: batches are sent from a thread of their own.
pub(super) struct Sender {
    client: Arc<HyperClient<HttpsConnector<HttpConnector>>>,
    runtime: Handle,
    /// Whether the last sending failed: that is logged once.
    failed: Arc<AtomicBool>,
}

impl Sender {
    /// An error if the endpoint is https and this machine's trusted certificates cannot be read.
    pub(super) fn new(endpoint: &Uri, timeout: Duration, runtime: Handle) -> std::io::Result<Self> {
        let builder = HttpsConnectorBuilder::new();
        let connector = if endpoint.scheme_str() == Some("https") {
            let builder = builder.with_provider_and_native_roots(aws_lc_rs::default_provider())?;
            builder.https_only().enable_http1().build()
        } else {
            let provider = Arc::new(aws_lc_rs::default_provider());
            let nobody = rustls::ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .map_err(std::io::Error::other)?
                .with_root_certificates(rustls::RootCertStore::empty())
                .with_no_client_auth();
            builder.with_tls_config(nobody).https_or_http().enable_http1().build()
        };
        Ok(Self { client: Arc::new(HyperClient::new(connector, timeout, None)), runtime, failed: Arc::default() })
    }
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sender")
    }
}

type Answer = Result<Response<Bytes>, HttpError>;

impl HttpClient for Sender {
    // As async_trait writes it.
    fn send_bytes<'s, 'f>(&'s self, request: Request<Bytes>) -> Pin<Box<dyn Future<Output = Answer> + Send + 'f>>
    where
        's: 'f,
        Self: 'f,
    {
        let (client, failed) = (self.client.clone(), self.failed.clone());
        let sending = self.runtime.spawn(async move {
            let answer = client.send_bytes(request).await;
            // Neither the error nor the answer: they may quote the endpoint's credentials or what was sent.
            let fault = match &answer {
                Ok(answer) if answer.status().is_success() => None,
                Ok(answer) => Some(format!("it answered {}", answer.status().as_u16())),
                Err(_) => Some("it cannot be reached".to_owned()),
            };
            match (&fault, failed.swap(fault.is_some(), Ordering::Relaxed)) {
                (Some(fault), false) => {
                    tracing::warn!("traces are not taken by the collector: {fault}; those of meanwhile are lost")
                }
                (None, true) => tracing::info!("the collector takes traces again"),
                _ => {}
            }
            answer
        });
        Box::pin(async move { sending.await? })
    }
}
