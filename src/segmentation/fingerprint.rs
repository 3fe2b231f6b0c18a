//! Fingerprints: keyed, so that who-shares-a-value can be answered without keeping any value.
//!
//! Not a password oracle: only of values that are hard to guess does anybody but the platform hear, so that nobody learns a weak
//! one by storing guesses and watching for a refusal.

use std::collections::BTreeSet;
use zxcvbn::matching::patterns::MatchPattern;

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
        Ok(text) => pieces(text).into_iter().map(bits_of).fold(0.0, f64::max),
        Err(_) => byte_entropy(value),
    };
    match bits {
        ..FEWEST_WEAK_BITS => Strength::Common,
        FEWEST_BITS.. if value.len() >= SHORTEST => Strength::Hard,
        _ => Strength::Weak,
    }
}

/// By zxcvbn, which counts ten guesses for each character that it finds nothing to guess by; or word by word, where those count by
/// their alphabet.
fn bits_of(text: &str) -> f64 {
    let whole = zxcvbn::zxcvbn(text, &[]);
    let words = if text.contains(SEPARATORS) {
        let words: f64 = text.split(SEPARATORS).map(|word| bits_of_word(word, &zxcvbn::zxcvbn(word, &[]))).sum();
        words + bits(text.matches(SEPARATORS).count() as f64)
    } else {
        bits_of_word(text, &whole)
    };
    words.max(bits(whole.guesses_log10()))
}

/// What identifiers are put together by.
const SEPARATORS: [char; 6] = ['-', '_', '.', '/', ':', ' '];

/// A word of a single alphabet may be a name that no dictionary has: its characters count as ten guesses.
fn bits_of_word(word: &str, estimate: &zxcvbn::Entropy) -> f64 {
    let has = |is: fn(&char) -> bool, size: u32| word.chars().any(|c| is(&c)).then_some(size);
    let used: Vec<u32> = [
        has(char::is_ascii_lowercase, 26),
        has(char::is_ascii_uppercase, 26),
        has(char::is_ascii_digit, 10),
        has(|c| !c.is_ascii_alphanumeric(), 33),
    ]
    .into_iter()
    .flatten()
    .collect();
    if used.len() < 2 {
        return bits(estimate.guesses_log10());
    }
    let alphabet = f64::from(used.iter().sum::<u32>());
    let of_part = |part: &zxcvbn::Match| match part.pattern {
        MatchPattern::BruteForce => part.token.chars().count() as f64 * alphabet.log2(),
        _ => part.guesses.map_or(0.0, |guesses| (guesses as f64).log2()),
    };
    estimate.sequence().iter().map(of_part).sum()
}

fn bits(log10: f64) -> f64 {
    log10 * std::f64::consts::LOG2_10
}

/// The estimator reads so many characters, and leaves the rest out.
const READ: usize = 100;
/// So many pieces of a longer text are estimated.
const PIECES: usize = 4;

/// A text, or of one that is longer than what the estimator reads the pieces with the most different bytes in them: a configuration
/// file may begin with a banner. They overlap by half, so that a password of fifty characters is whole in one of them.
fn pieces(text: &str) -> Vec<&str> {
    if text.len() <= READ {
        return vec![text];
    }
    let starts: Vec<usize> = text.char_indices().step_by(READ / 2).map(|(at, _)| at).collect();
    let piece = |i: usize| &text[starts[i]..starts.get(i + 2).copied().unwrap_or(text.len())];
    let mut all: Vec<&str> = (0..starts.len().saturating_sub(1).max(1)).map(piece).collect();
    all.sort_by_cached_key(|piece| std::cmp::Reverse(piece.bytes().collect::<BTreeSet<u8>>().len()));
    all.truncate(PIECES);
    all
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

/// Nothing but blocks of public PEM, and what names them.
fn is_public_pem(text: &str) -> bool {
    const PUBLIC: [&str; 4] = ["CERTIFICATE", "TRUSTED CERTIFICATE", "PUBLIC KEY", "RSA PUBLIC KEY"];
    let mut rest = text;
    while let Some((before, block)) = rest.split_once("-----BEGIN ") {
        let Some((kind, inside)) = block.split_once("-----") else { return false };
        let Some((_, after)) = inside.split_once(&format!("-----END {kind}-----")) else { return false };
        if !PUBLIC.contains(&kind) || !is_caption(before) {
            return false;
        }
        rest = after;
    }
    rest.len() < text.len() && is_caption(rest)
}

/// More lines than this between two blocks are something else.
const MAX_CAPTION_LINES: usize = 32;

/// Whether the lines between two blocks are comments, what openssl writes there, or not hard to guess.
fn is_caption(text: &str) -> bool {
    const WORDS: [&str; 6] = ["#", "subject", "issuer", "bag attributes", "friendlyname", "localkeyid"];
    let is_caption = |line: &str| {
        let line = line.trim();
        let lower = line.to_ascii_lowercase();
        WORDS.iter().any(|word| lower.starts_with(word)) || strength(line.as_bytes()) != Strength::Hard
    };
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    lines.by_ref().take(MAX_CAPTION_LINES).all(is_caption) && lines.next().is_none()
}

/// One line: an algorithm, the key, and perhaps a comment.
fn is_public_ssh_key(text: &str) -> bool {
    let mut words = text.splitn(3, ' ');
    let algorithm = words.next().is_some_and(|word| {
        ["ssh-rsa", "ssh-ed25519", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-"].iter().any(|p| word.starts_with(p))
    });
    let key = words.next().is_some_and(|key| key.starts_with("AAAA"));
    algorithm && key && !text.contains('\n')
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
                "bundle",
                "# Subject: CN=ISRG Root X1 O=Internet Security Research Group\n-----BEGIN CERTIFICATE-----\nMIIBkTCB+wIJAKHHCgVZU5h2MA0GCSqGSIb3DQEBCwUA\n-----END CERTIFICATE-----\n\n# GTS Root R1\n=========\n-----BEGIN CERTIFICATE-----\nMIIBkTCB+wIJAKHHCgVZU5h2MA0GCSqGSIb3DQEBCwUB\n-----END CERTIFICATE-----\n",
                false,
            ),
            (
                "conf",
                "password = kX9#mQ2$vL8@nR5!wT3z\n-----BEGIN CERTIFICATE-----\nMIIBkTCB+wIJAKHHCgVZU5h2MA0GCSqGSIb3DQEBCwUA\n-----END CERTIFICATE-----\n",
                true,
            ),
            (
                "key and certificate",
                "-----BEGIN CERTIFICATE-----\nMIIBkTCB+wIJAKHHCgVZU5h2MA0GCSqGSIb3DQEBCwUA\n-----END CERTIFICATE-----\n-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIB\n-----END PRIVATE KEY-----\n",
                true,
            ),
            ("pub", "ssh-rsa kX9#mQ2$vL8@nR5!wT3z", true),
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
            ("kX9#mQ2$vL8@nR5!", Strength::Hard),
            ("kX9#mQ2$vL8@nR5", Strength::Weak),
            ("Zq7vLw2KpX9mTb4R", Strength::Hard),
            ("x7qk2vw9zp4mtb8r", Strength::Hard),
            ("kX9-mQ2_vL8.nR5w", Strength::Hard),
            ("passwordpassword1", Strength::Common),
            ("acme-prod-278914", Strength::Weak),
            ("qxzv-wkpt-278914", Strength::Weak),
            ("orders-db-k8s-01", Strength::Weak),
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
    fn nearly_every_random_password_of_sixteen_characters_is_hard() {
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 33) as usize
        };
        let symbols: Vec<u8> = (b'!'..=b'~').collect();
        let letters: Vec<u8> = (b'!'..=b'~').filter(u8::is_ascii_alphanumeric).collect();
        for (alphabet, least) in [(&symbols[..], 85), (&letters[..], 95), (b"0123456789abcdef", 80)] {
            let is_hard = |value: Vec<u8>| strength(&value) == Strength::Hard;
            let hard =
                (0..100).filter(|_| is_hard((0..16).map(|_| alphabet[next() % alphabet.len()]).collect())).count();
            assert!(hard >= least, "{hard} of 100 over {}", alphabet.len());
        }
    }

    #[test]
    fn a_long_text_is_as_hard_as_its_hardest_piece() {
        let banner = "#".repeat(78);
        for (text, expected) in [
            (format!("{banner}\n# {}#\n{banner}\npassword = kX9#mQ2$vL8@nR5!wT3z\n", " ".repeat(75)), Strength::Hard),
            (format!("{}{}", "-".repeat(90), "kX9#mQ2$vL8@nR5!wT3z"), Strength::Hard),
            (format!("{}kX9#mQ2$vL8@nR5!wT3z{}", "å".repeat(1_000), " ".repeat(1_000)), Strength::Hard),
            (banner.repeat(20), Strength::Common),
        ] {
            assert_eq!(strength(text.as_bytes()), expected, "{text}");
        }
        for length in [0, 1, 49, 50, 51, 99, 100, 101, 149, 150, 151, 1_000] {
            let text = "å".repeat(length);
            let all = pieces(&text);
            assert!(all.iter().all(|piece| piece.chars().count() <= READ) && all.len() <= PIECES, "{length}");
            assert_eq!(all.iter().any(|piece| !piece.is_empty()), length > 0);
        }
    }

    #[test]
    fn binary_values_are_compared_by_entropy() {
        let random: Vec<u8> = (0..32u8).map(|i| i.wrapping_mul(73) ^ 0xa5).collect();
        assert!(is_compared(&["k".to_owned()], &random, &BTreeSet::new()));
        assert!(!is_compared(&["k".to_owned()], &[0xff; 32], &BTreeSet::new()));
    }
}
