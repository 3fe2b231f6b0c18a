//! What the Secret of the webhook's certificate holds, read, checked and written.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use k8s_openapi::ByteString;
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::Zeroizing;

/// A certificate with its key.
#[derive(Clone)]
pub struct Pair {
    certificate_pem: String,
    key_pem: Zeroizing<String>,
    leaf: CertificateDer<'static>,
    certified: Arc<CertifiedKey>,
    /// Not valid before.
    pub begins: jiff::Timestamp,
    /// Not valid after.
    pub ends: jiff::Timestamp,
}

/// What the Secret holds.
#[derive(Clone)]
pub struct Bundle {
    /// What the API server is to trust, the newest first.
    pub(super) authorities: Vec<CertificateDer<'static>>,
    /// What is served.
    pub serving: Pair,
    /// What will be.
    pub next: Option<Pair>,
}

/// How the API server reaches and trusts the webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// What it is to trust, as PEM.
    pub ca_bundle: String,
    /// The first part of the path; see [`super::doors`].
    pub door: String,
}

/// Why there is no certificate to go on with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// There is no Secret.
    #[error("there is none")]
    Absent,
    /// A key of the Secret is missing or not PEM.
    #[error("{0} is missing or is not what it should be")]
    Unreadable(&'static str),
    /// A certificate is not its key's.
    #[error("{0} does not belong to its key")]
    Mismatch(&'static str),
    /// It has ended, has not begun, is for other names, or is not by an authority of the bundle.
    #[error("{0} is not valid now, for the names of this webhook, under the authorities in ca.crt")]
    Untrusted(&'static str),
}

const AUTHORITIES: &str = "ca.crt";
pub(super) const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";
const NEXT_CERTIFICATE: &str = "next.crt";
const NEXT_KEY: &str = "next.key";

impl Bundle {
    /// Reads a Secret's data. Whether it is still valid is for [`next_step`] to say.
    pub fn read(data: &BTreeMap<String, ByteString>) -> Result<Self, Fault> {
        let text =
            |key| data.get(key).and_then(|bytes| std::str::from_utf8(&bytes.0).ok()).ok_or(Fault::Unreadable(key));
        let authorities: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text(AUTHORITIES)?.as_bytes()).collect();
        let authorities = authorities.ok().filter(|list| (1..=MOST_AUTHORITIES).contains(&list.len()));
        let authorities = authorities.ok_or(Fault::Unreadable(AUTHORITIES))?;
        let serving = Pair::read(text(CERTIFICATE)?, text(KEY)?, CERTIFICATE)?;
        let next = match data.contains_key(NEXT_CERTIFICATE) {
            true => Some(Pair::read(text(NEXT_CERTIFICATE)?, text(NEXT_KEY)?, NEXT_CERTIFICATE)?),
            false => None,
        };
        Ok(Self { authorities, serving, next })
    }

    /// As a Secret's data.
    pub fn write(&self) -> BTreeMap<String, ByteString> {
        let pairs = [(CERTIFICATE, KEY, Some(&self.serving)), (NEXT_CERTIFICATE, NEXT_KEY, self.next.as_ref())];
        let pairs = pairs.into_iter().filter_map(|(certificate, key, pair)| Some((certificate, key, pair?)));
        pairs
            .flat_map(|(certificate, key, pair)| [(certificate, &pair.certificate_pem), (key, &*pair.key_pem)])
            .chain([(AUTHORITIES, &self.ca_bundle())])
            .map(|(key, text)| (key.to_owned(), ByteString(text.clone().into_bytes())))
            .collect()
    }

    /// What the API server is to trust, as PEM.
    pub fn ca_bundle(&self) -> String {
        self.authorities.iter().map(|authority| pem(authority)).collect()
    }

    /// How the webhook is published, at a door.
    pub fn published(&self, door: &str) -> Published {
        Published { ca_bundle: self.ca_bundle(), door: door.to_owned() }
    }

    /// The authority that signed what is served.
    pub(super) fn authority_in_use(&self) -> Option<CertificateDer<'static>> {
        self.authorities.iter().find(|authority| signs(authority, &self.serving)).cloned()
    }

    /// Whether the API server, trusting this bundle, accepts the pair for all these names.
    pub(super) fn covers(&self, pair: &Pair, names: &[String], now: jiff::Timestamp) -> bool {
        verifies(&self.authorities, pair, names, now)
    }
}

/// More than this is not ours.
const MOST_AUTHORITIES: usize = 4;

impl Pair {
    pub(super) fn read(certificate_pem: &str, key_pem: &str, which: &'static str) -> Result<Self, Fault> {
        let leaf = CertificateDer::from_pem_slice(certificate_pem.as_bytes()).map_err(|_| Fault::Unreadable(which))?;
        let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).map_err(|_| Fault::Unreadable(which))?;
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let certified =
            CertifiedKey::from_der(vec![leaf.clone()], key, &provider).map_err(|_| Fault::Mismatch(which))?;
        let (_, parsed) = X509Certificate::from_der(&leaf).map_err(|_| Fault::Unreadable(which))?;
        let moment = |time: x509_parser::time::ASN1Time| {
            jiff::Timestamp::from_second(time.timestamp()).map_err(|_| Fault::Unreadable(which))
        };
        let (begins, ends) = (moment(parsed.validity.not_before)?, moment(parsed.validity.not_after)?);
        let key_pem = Zeroizing::new(key_pem.to_owned());
        Ok(Self {
            certificate_pem: certificate_pem.to_owned(),
            key_pem,
            leaf,
            certified: Arc::new(certified),
            begins,
            ends,
        })
    }

    /// For the TLS server.
    pub fn certified(&self) -> Arc<CertifiedKey> {
        self.certified.clone()
    }

    pub(super) fn life(&self) -> Duration {
        self.ends.duration_since(self.begins).unsigned_abs()
    }
}

/// Judges as the API server will.
fn verifies(authorities: &[CertificateDer<'static>], pair: &Pair, names: &[String], now: jiff::Timestamp) -> bool {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(authorities.iter().cloned());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let Ok(verifier) = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build() else {
        return false;
    };
    let Ok(seconds) = u64::try_from(now.as_second()) else { return false };
    let now = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
    names.iter().all(|name| {
        ServerName::try_from(name.as_str())
            .is_ok_and(|name| verifier.verify_server_cert(&pair.leaf, &[], &name, &[], now).is_ok())
    })
}

/// Whether this authority is the one behind the certificate.
fn signs(authority: &CertificateDer<'static>, pair: &Pair) -> bool {
    let names = X509Certificate::from_der(&pair.leaf).ok().and_then(|(_, leaf)| subject_name(&leaf));
    names.is_some_and(|name| verifies(std::slice::from_ref(authority), pair, &[name], pair.begins))
}

fn subject_name(leaf: &X509Certificate<'_>) -> Option<String> {
    let names = leaf.subject_alternative_name().ok()??;
    names.value.general_names.iter().find_map(|name| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        _ => None,
    })
}

fn pem(certificate: &CertificateDer<'_>) -> String {
    let text = BASE64_STANDARD.encode(certificate);
    let lines: Vec<_> = text.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}
