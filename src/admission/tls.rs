//! The certificate of this moment, and the TLS settings that ask for it at every handshake.

use super::bundle::Bundle;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

/// Holds the certificate that new connections get, and the doors at which they may ask. New ones take effect with the
/// next handshake and the next request.
#[derive(Default)]
pub struct CertificateCell(RwLock<Option<Served>>);

#[derive(Clone)]
struct Served {
    certificate: Arc<CertifiedKey>,
    doors: Arc<[String]>,
}

impl CertificateCell {
    /// Serves this one from now on.
    pub fn set(&self, bundle: &Bundle) {
        let served = Served { certificate: bundle.serving.certified(), doors: bundle.doors().into() };
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(served);
    }

    fn served(&self) -> Option<Served> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The one that is served; None before there is any, when handshakes fail.
    pub fn get(&self) -> Option<Arc<CertifiedKey>> {
        self.served().map(|served| served.certificate)
    }

    /// Whether this is the first part of a path under which the webhook answers.
    pub fn opens(&self, door: &str) -> bool {
        let same = |known: &String| verify_slices_are_equal(known.as_bytes(), door.as_bytes()).is_ok();
        self.served().is_some_and(|served| served.doors.iter().any(same))
    }
}

impl fmt::Debug for CertificateCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificateCell").field("present", &self.get().is_some()).finish()
    }
}

impl ResolvesServerCert for CertificateCell {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.get()
    }
}

/// TLS 1.2 and 1.3 with HTTP/2 and HTTP/1.1.
pub fn server_config(cell: Arc<CertificateCell>) -> Result<Arc<ServerConfig>, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(cell);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
