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

use super::bundle::{Bundle, CERTIFICATE, Fault, Pair};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::pki_types::CertificateDer;
use std::time::Duration;
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
                let authorities = [authority].into_iter().chain(bundle.authority_in_use()).collect();
                Bundle { authorities, next: Some(next), ..bundle }
            }
            (Self::Promote, Some(Bundle { authorities, next: Some(next), .. })) => {
                Bundle { authorities, serving: next, next: None }
            }
            (Self::Prune, Some(bundle)) => {
                let authorities = bundle.authority_in_use().into_iter().collect();
                Bundle { authorities, ..bundle }
            }
            _ => {
                let (authority, serving) = issue(names, now)?;
                Bundle { authorities: vec![authority], serving, next: None }
            }
        };
        // A name that no client can ask for (a misspelt --webhook-service) would have us make certificates for ever.
        let newest = bundle.next.as_ref().unwrap_or(&bundle.serving);
        if matches!(self, Self::Create(_) | Self::Stage) && !bundle.covers(newest, names, now) {
            return Err(IssueError::Unusable(Fault::Untrusted(CERTIFICATE)));
        }
        Ok(Some(bundle))
    }
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

#[cfg(test)]
#[path = "certificates_tests.rs"]
mod tests;
