//! The certificate of this moment, and the TLS settings that ask for it at every handshake.

use super::bundle::Bundle;
use super::doors::Doors;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

/// Holds the certificate that new connections get, and the doors at which they may ask. New ones take effect with the
/// next handshake and the next request.
#[derive(Default)]
pub struct CertificateCell {
    certificate: RwLock<Option<Arc<CertifiedKey>>>,
    doors: RwLock<Doors>,
}

impl CertificateCell {
    /// Serves this one from now on.
    pub fn set(&self, bundle: &Bundle) {
        *self.certificate.write().unwrap_or_else(PoisonError::into_inner) = Some(bundle.serving.certified());
    }

    /// The one that is served; None before there is any, when handshakes fail.
    pub fn get(&self) -> Option<Arc<CertifiedKey>> {
        self.certificate.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Answers at the doors of the webhook configuration as it is now.
    pub fn see(&self, configuration: Option<&ValidatingWebhookConfiguration>, now: Instant) {
        self.doors.write().unwrap_or_else(PoisonError::into_inner).see(configuration, now);
    }

    /// Whether this is the first part of a path under which the webhook answers.
    pub fn opens(&self, door: &str, now: Instant) -> bool {
        let same = |known: &str| verify_slices_are_equal(known.as_bytes(), door.as_bytes()).is_ok();
        self.doors.read().unwrap_or_else(PoisonError::into_inner).open(now).any(same)
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
