//! The webhook's own certificate: what there is, and what is to be done next. Pure; `certificate_keeper` does it.
//!
//! Each serving certificate comes with a certificate authority of its own, whose private key signs once and is never
//! stored: nobody can take from the Secret what would sign a second one. So a renewal changes the bundle that the API
//! server trusts, and goes in steps, none of which breaks a handshake:
//!
//! ```text
//!  Create ─► serving A, bundle [A] ─ 2/3 of its life ─► Stage: next B, bundle [B, A] ─ 10 min and published ─►
//!  Promote: serving B, bundle [B, A] ─ 1 h ─► Prune: bundle [B]
//! ```

use k8s_openapi::ByteString;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::Zeroizing;

const DAY: Duration = Duration::from_secs(86_400);
/// A certificate's whole life. Renewed at two thirds: a month to notice that it fails.
pub const LIFE: Duration = Duration::from_secs(90 * 86_400);
/// Certificates begin this long before they are made, for clocks that are behind.
const BACKDATE: Duration = Duration::from_secs(300);
/// From staging to promotion: for every API server to have seen the bundle.
const STAGED: Duration = Duration::from_secs(600);
/// From promotion to pruning: for every replica to have loaded the new certificate.
const OVERLAP: Duration = Duration::from_secs(3600);
/// This near to its end a certificate is replaced without waiting for anything.
const LAST_DAY: Duration = DAY;

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
    authorities: Vec<CertificateDer<'static>>,
    /// What is served.
    pub serving: Pair,
    /// What will be.
    pub next: Option<Pair>,
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

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Make an authority and a certificate, and serve it at once.
    Create(Fault),
    /// Make the next ones and publish the authority.
    Stage,
    /// Serve the next one.
    Promote,
    /// Forget authorities that are of no more use.
    Prune,
    /// Nothing before then.
    Wait(jiff::Timestamp),
}

/// Why a certificate could not be made.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// Key generation or signing failed.
    #[error("the certificate could not be made: {0}")]
    Sign(#[from] rcgen::Error),
    /// What was made cannot be read back.
    #[error("the certificate that was made cannot be used: {0}")]
    Unusable(#[from] Fault),
}

/// Decides. `published` tells whether the API server's configuration holds the bundle's authorities (or is not there at
/// all); only the last day does not wait for it.
pub fn next_step(current: Result<&Bundle, Fault>, names: &[String], published: bool, now: jiff::Timestamp) -> Step {
    let bundle = match current {
        Ok(bundle) => bundle,
        Err(fault) => return Step::Create(fault),
    };
    if !bundle.covers(&bundle.serving, names, now) {
        return Step::Create(Fault::Untrusted(CERTIFICATE));
    }
    let pressing = now + LAST_DAY >= bundle.serving.ends;
    let Some(next) = &bundle.next else {
        let renewal = bundle.serving.begins + bundle.serving.life() * 2 / 3;
        if now >= renewal {
            return Step::Stage;
        }
        let prune = bundle.serving.begins + BACKDATE + STAGED + OVERLAP;
        return match bundle.authorities.len() {
            1 => Step::Wait(renewal),
            _ if now >= prune => Step::Prune,
            _ => Step::Wait(prune.min(renewal)),
        };
    };
    if !bundle.covers(next, names, now) {
        return Step::Stage;
    }
    let due = next.begins + BACKDATE + STAGED;
    if pressing || (now >= due && published) { Step::Promote } else { Step::Wait(due.max(now + PUBLICATION_LOOK)) }
}

/// How often to look whether the bundle is published by now.
const PUBLICATION_LOOK: Duration = Duration::from_secs(60);

impl Step {
    /// The bundle after this step; None where there is nothing to do.
    pub fn take(
        self,
        current: Option<Bundle>,
        names: &[String],
        now: jiff::Timestamp,
    ) -> Result<Option<Bundle>, IssueError> {
        let bundle = match (self, current) {
            (Self::Wait(_), _) => return Ok(None),
            (Self::Stage, Some(bundle)) => {
                let (authority, next) = issue(names, now)?;
                let old = bundle.authorities.iter().filter(|old| signs(old, &bundle.serving)).cloned();
                Bundle { authorities: [authority].into_iter().chain(old).collect(), next: Some(next), ..bundle }
            }
            (Self::Promote, Some(Bundle { authorities, next: Some(next), .. })) => {
                Bundle { authorities, serving: next, next: None }
            }
            (Self::Prune, Some(bundle)) => {
                let authorities =
                    bundle.authorities.iter().filter(|old| signs(old, &bundle.serving)).cloned().collect();
                Bundle { authorities, ..bundle }
            }
            _ => {
                let (authority, serving) = issue(names, now)?;
                Bundle { authorities: vec![authority], serving, next: None }
            }
        };
        Ok(Some(bundle))
    }
}

const AUTHORITIES: &str = "ca.crt";
const CERTIFICATE: &str = "tls.crt";
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

    fn covers(&self, pair: &Pair, names: &[String], now: jiff::Timestamp) -> bool {
        verifies(&self.authorities, pair, names, now)
    }
}

/// More than this is not ours.
const MOST_AUTHORITIES: usize = 4;

impl Pair {
    fn read(certificate_pem: &str, key_pem: &str, which: &'static str) -> Result<Self, Fault> {
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

    fn life(&self) -> Duration {
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
    use x509_parser::extensions::GeneralName;
    let names = leaf.subject_alternative_name().ok()??;
    names.value.general_names.iter().find_map(|name| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        _ => None,
    })
}

/// A new authority and the one certificate that it ever signs.
fn issue(names: &[String], now: jiff::Timestamp) -> Result<(CertificateDer<'static>, Pair), IssueError> {
    let mut authority = CertificateParams::new(Vec::new())?;
    within(&mut authority, now);
    // A name of its own, so that two authorities in one bundle are told apart.
    authority.distinguished_name.push(DnType::CommonName, format!("scoped-secrets webhook authority {now}"));
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let signer = KeyPair::generate()?;
    let root = authority.self_signed(&signer)?;

    let mut leaf = CertificateParams::new(names)?;
    within(&mut leaf, now);
    leaf.distinguished_name.push(DnType::CommonName, "scoped-secrets webhook");
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    leaf.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    // The authority's key ends with this function.
    let certificate = leaf.signed_by(&key, &Issuer::new(authority, signer))?;
    let key_pem = Zeroizing::new(key.serialize_pem());
    Ok((root.der().clone(), Pair::read(&certificate.pem(), &key_pem, CERTIFICATE)?))
}

fn within(params: &mut CertificateParams, now: jiff::Timestamp) {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let begins = Duration::from_secs(u64::try_from(now.as_second()).unwrap_or(0)).saturating_sub(BACKDATE);
    params.not_before = epoch + begins;
    params.not_after = epoch + begins + LIFE;
    params.distinguished_name = rcgen::DistinguishedName::new();
}

fn pem(certificate: &CertificateDer<'_>) -> String {
    use base64::Engine;
    let text = base64::prelude::BASE64_STANDARD.encode(certificate);
    let lines: Vec<_> = text.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

#[cfg(test)]
#[path = "certificates_tests.rs"]
mod tests;
