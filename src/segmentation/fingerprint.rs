//! Fingerprints: keyed, so that who-shares-a-value can be answered without keeping any value.
//!
//! Not a password oracle: only of values that are hard to guess does anybody but the platform hear, so that nobody learns a weak
//! one by storing guesses and watching for a refusal.

use std::collections::BTreeSet;

/// The first 16 bytes of an HMAC-SHA256 of a value.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint(pub [u8; 16]);

impl std::fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fingerprint(..)")
    }
}

/// A value shorter than this is not hard to guess.
const SHORTEST: usize = 16;
/// Nor is one that an estimator needs fewer guesses for.
const FEWEST_BITS: f64 = 64.0;
/// A value shorter than this is never compared.
const SHORTEST_WEAK: usize = super::copies::SHORTEST;
/// Nor is one that an estimator needs fewer guesses for, which are those of eight random characters: names and words are
/// everywhere, by chance.
const FEWEST_WEAK_BITS: f64 = 26.0;

/// How hard a value is to guess.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strength {
    /// So easily that it may be anywhere by chance: never compared.
    Common,
    /// Compared whole, by the scan, and told to the platform alone.
    Weak,
    /// At least 16 bytes and 64 bits: compared everywhere.
    Hard,
}

/// Whether a value that the manager knows under these names is compared between segments, if it is hard to guess.
pub fn is_confidential(names: &[String], value: &[u8], ignore: &BTreeSet<String>) -> bool {
    value.len() >= SHORTEST && is_secret(names, value, ignore)
}

/// Whether a value that the manager knows under these names is a secret at all: not one that is ignored by its name, and not one
/// that is public by its nature.
pub fn is_secret(names: &[String], value: &[u8], ignore: &BTreeSet<String>) -> bool {
    !names.iter().any(|name| ignore.contains(name)) && !is_public(value)
}

/// Whether the value is at least 16 bytes and 64 bits.
pub fn is_hard_to_guess(value: &[u8]) -> bool {
    value.len() >= SHORTEST && strength(value) == Strength::Hard
}

/// How hard a value is to guess, by zxcvbn (by byte entropy where it is not text).
pub fn strength(value: &[u8]) -> Strength {
    if value.len() < SHORTEST_WEAK {
        return Strength::Common;
    }
    let bits = match std::str::from_utf8(value) {
        Ok(text) => zxcvbn::zxcvbn(text, &[]).guesses_log10() * std::f64::consts::LOG2_10,
        Err(_) => byte_entropy(value),
    };
    match bits {
        ..FEWEST_WEAK_BITS => Strength::Common,
        FEWEST_BITS.. if value.len() >= SHORTEST => Strength::Hard,
        _ => Strength::Weak,
    }
}

fn byte_entropy(value: &[u8]) -> f64 {
    let mut counts = [0u32; 256];
    for byte in value {
        counts[usize::from(*byte)] += 1;
    }
    let total = value.len() as f64;
    let per_byte: f64 = counts.iter().filter(|c| **c > 0).map(|c| f64::from(*c) / total).map(|p| -p * p.log2()).sum();
    per_byte * total
}

/// Values that are public by their nature: certificates, public keys, booleans, numbers, DNS names, URLs without userinfo.
fn is_public(value: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(value) else { return false };
    let text = text.trim();
    is_public_pem(text)
        || is_public_ssh_key(text)
        || text.parse::<f64>().is_ok()
        || is_dns_name(text)
        || is_url_without_userinfo(text)
}

fn is_public_pem(text: &str) -> bool {
    let mut kinds = text.match_indices("-----BEGIN ").map(|(at, mark)| &text[at + mark.len()..]).peekable();
    kinds.peek().is_some()
        && kinds.all(|kind| {
            ["CERTIFICATE-----", "TRUSTED CERTIFICATE-----", "PUBLIC KEY-----", "RSA PUBLIC KEY-----"]
                .iter()
                .any(|k| kind.starts_with(k))
        })
}

fn is_public_ssh_key(text: &str) -> bool {
    ["ssh-rsa ", "ssh-ed25519 ", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-"].iter().any(|p| text.starts_with(p))
        && !text.contains('\n')
}

fn is_dns_name(text: &str) -> bool {
    let (host, port) = text.split_once(':').unwrap_or((text, "0"));
    let labels: Vec<&str> = host.trim_end_matches('.').split('.').collect();
    let label_ok = |l: &&str| {
        (1..=63).contains(&l.len()) && l.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    let tld_ok =
        labels.last().is_some_and(|l| (2..=18).contains(&l.len()) && l.bytes().all(|b| b.is_ascii_lowercase()));
    labels.len() >= 2 && text.len() <= 253 && labels.iter().all(label_ok) && tld_ok && port.parse::<u16>().is_ok()
}

/// A URL with a query or fragment may carry a token; without userinfo, query and fragment it is an address.
fn is_url_without_userinfo(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else { return false };
    let plain_scheme = !scheme.is_empty() && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+.-".contains(&b));
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    // A path can carry a token as well (a webhook URL): one long part is not an address.
    plain_scheme
        && !rest.contains(['@', '?', '#', ' '])
        && is_host(authority)
        && path.split('/').all(|part| part.len() < SHORTEST)
}

fn is_host(authority: &str) -> bool {
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-[]:".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_compared(names: &[String], value: &[u8], ignore: &BTreeSet<String>) -> bool {
        is_confidential(names, value, ignore) && is_hard_to_guess(value)
    }

    #[test]
    fn compares_only_what_is_secret_and_hard_to_guess() {
        let ignore = BTreeSet::from(["dbname".to_owned()]);
        for (name, value, expected) in [
            ("password", "kX9#mQ2$vL8@nR5!wT3z", true),
            ("token", "ghp_A7dK29sLqPz0MnBv81XcYt5RwEuI3oH6GfJ", true),
            ("password", "hunter2", false),
            ("password", "passwordpassword", false),
            ("password", "aaaaaaaaaaaaaaaaaaaaaaaaaaaa", false),
            ("dbname", "kX9#mQ2$vL8@nR5!wT3z", false),
            ("port", "5432", false),
            ("n", "123456789012345678901234567890", false),
            ("host", "orders-db.c9akciq32.eu-west-1.rds.amazonaws.com", false),
            ("endpoint", "https://orders.internal.example.com:8443/v1", false),
            ("url", "postgres://app:kX9mQ2vL8nR5wT3z@db.example.com/orders", true),
            ("hook", "https://hooks.example.com/services/T0kX9mQ2vL8nR5wT3zB7", true),
            (
                "ca",
                "-----BEGIN CERTIFICATE-----\nMIIBkTCB+wIJAKHHCgVZU5h2MA0GCSqGSIb3DQEBCwUA\n-----END CERTIFICATE-----\n",
                false,
            ),
            (
                "key",
                "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIB\n-----END PRIVATE KEY-----\n",
                true,
            ),
            ("pub", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJqkX9mQ2vL8nR5wT3zB7 deploy@ci", false),
        ] {
            assert_eq!(is_compared(&[name.to_owned()], value.as_bytes(), &ignore), expected, "{name}={value}");
        }
    }

    #[test]
    fn what_is_easy_to_guess_is_weak_or_common() {
        for (value, expected) in [
            ("kX9#mQ2$", Strength::Weak),
            ("kX9#mQ2$vL8@", Strength::Weak),
            ("kX9#mQ2$vL8@nR5!wT3z", Strength::Hard),
            ("kX9#mQ2", Strength::Common),
            ("password", Strength::Common),
            ("production", Strength::Common),
            ("aaaaaaaaaaaaaaaaaaaaaaaaaaaa", Strength::Common),
            ("", Strength::Common),
        ] {
            assert_eq!(strength(value.as_bytes()), expected, "{value}");
        }
    }

    #[test]
    fn binary_values_are_compared_by_entropy() {
        let random: Vec<u8> = (0..32u8).map(|i| i.wrapping_mul(73) ^ 0xa5).collect();
        assert!(is_compared(&["k".to_owned()], &random, &BTreeSet::new()));
        assert!(!is_compared(&["k".to_owned()], &[0xff; 32], &BTreeSet::new()));
    }
}
