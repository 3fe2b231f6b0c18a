//! Why a key is rotated, and the one version that comes of it.
//!
//! A trigger has a slot: a text that is the same whoever works it out, and whenever. The slot and the canonical key give a
//! `ClientRequestToken`, which the manager takes for the id of the version that it makes. So whether a slot was rotated is
//! asked of the manager, and asking twice makes one version.

use crate::api::rotation::Strategy;
use crate::segmentation::key::CanonicalKey;
use crate::segmentation::second::Second;
use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use std::fmt;

/// Why a key is rotated. What is in it must be the same after a restart: it names the version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trigger {
    /// The annotation rotate-at has a new value: this one.
    OnDemand(Box<str>),
    /// A SecretGrant with rotateAfter has ended: its uid.
    Grant(Box<str>),
    /// A consumer's workload rolled out a new pod template: which workload, and which template.
    Rollout(Box<str>),
    /// The RBAC of a consumer changed: which state of it.
    RoleChange(Box<str>),
    /// The schedule: the time that its cron line names, before jitter.
    Schedule(Second),
}

/// The slot: what the token is made from.
impl fmt::Display for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OnDemand(value) => write!(f, "rotate-at {value}"),
            Self::Grant(uid) => write!(f, "grant {uid}"),
            Self::Rollout(id) => write!(f, "rollout {id}"),
            Self::RoleChange(id) => write!(f, "role-change {id}"),
            Self::Schedule(time) => write!(f, "schedule {time}"),
        }
    }
}

impl Trigger {
    /// What it is, in a word for users and metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::OnDemand(_) => "OnDemand",
            Self::Grant(_) => "Grant",
            Self::Rollout(_) => "Rollout",
            Self::RoleChange(_) => "RoleChange",
            Self::Schedule(_) => "Schedule",
        }
    }

    /// The token of this slot of a key, and the id of the version that it makes; and those of further attempts: where what one made
    /// cannot be brought into use any more, since the key was changed meanwhile, or the version has lost its label. By its token is
    /// known [who makes](maker) a version: what the manager's function is at work on is not the operator's to move.
    pub fn attempts(&self, key: &CanonicalKey, strategy: Strategy) -> impl Iterator<Item = Token> {
        let further = (1..ATTEMPTS).map(|n| format!("\n{n}"));
        let attempts = [String::new()].into_iter().chain(further);
        attempts.map(move |attempt| Token::new(&format!("{}\n{self}{attempt}", key.as_str()), strategy))
    }

    /// By which strategy a version of a key was made for this, if it was.
    pub fn made_by(&self, key: &CanonicalKey, version: &str) -> Option<Strategy> {
        maker(version).filter(|strategy| self.attempts(key, *strategy).any(|token| token.as_str() == version))
    }

    /// Whether a version of a key was made for this.
    pub fn made(&self, key: &CanonicalKey, version: &str) -> bool {
        self.made_by(key, version).is_some()
    }

    /// Which attempt a token is, from 0 on.
    pub fn attempt_of(&self, key: &CanonicalKey, strategy: Strategy, token: &str) -> usize {
        self.attempts(key, strategy).position(|attempt| attempt.as_str() == token).unwrap_or_default()
    }
}

/// Who makes a version, if its id may be a token of ours, of whatever slot: a UUID of version 5. Most that others make are random, of
/// version 4.
pub fn maker(version: &str) -> Option<Strategy> {
    let is_token = version.len() == 36 && version.as_bytes().get(14) == Some(&b'5');
    is_token.then_some(if version.ends_with(&hex(&BY_MANAGER)) { Strategy::Provider } else { Strategy::Generate })
}

/// So many versions may be made for one slot, until one of them is brought into use.
pub const ATTEMPTS: usize = 8;

/// A `ClientRequestToken`: a UUID of version 5, and the id of the version that is made with it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(Box<str>);

/// The namespace of our UUIDs: that of `https://scopedsecrets.io/rotation` among URLs (RFC 9562, appendix A).
const NAMESPACE: [u8; 16] =
    [0x9c, 0x0a, 0xdb, 0xae, 0xf9, 0xe6, 0x59, 0xa9, 0x9b, 0xfa, 0x8e, 0x80, 0x7d, 0x61, 0x9c, 0xd5];

impl Token {
    /// A UUID of version 5 (RFC 9562, 5.5), which is by SHA-1: names, not secrets.
    fn new(name: &str, strategy: Strategy) -> Self {
        let mut bytes = uuid_v5(&NAMESPACE, name);
        if strategy == Strategy::Provider {
            bytes[12..].copy_from_slice(&BY_MANAGER);
        }
        Self(written(&bytes).into())
    }

    /// As the manager takes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// By these last bytes is known that the manager makes the value: one in four billions of the operator's own has them by chance.
const BY_MANAGER: [u8; 4] = [NAMESPACE[0], NAMESPACE[1], NAMESPACE[2], NAMESPACE[3]];

fn uuid_v5(namespace: &[u8; 16], name: &str) -> [u8; 16] {
    let hashed = digest(&SHA1_FOR_LEGACY_USE_ONLY, &[namespace, name.as_bytes()].concat());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hashed.as_ref()[..16]);
    bytes[6] = (bytes[6] & 0x0f) | 0x50;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    bytes
}

fn written(uuid: &[u8; 16]) -> String {
    [0..4, 4..6, 6..8, 8..10, 10..16].map(|part| hex(&uuid[part])).join("-")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The namespace for URLs (RFC 9562, appendix A).
    const URL: [u8; 16] =
        [0x6b, 0xa7, 0xb8, 0x11, 0x9d, 0xad, 0x11, 0xd1, 0x80, 0xb4, 0x00, 0xc0, 0x4f, 0xd4, 0x30, 0xc8];

    #[test]
    fn uuids_are_of_version_5() {
        // The example of RFC 9562, A.4, with its namespace for DNS names.
        let dns = {
            let mut dns = URL;
            dns[3] = 0x10;
            dns
        };
        assert_eq!(written(&uuid_v5(&dns, "www.example.com")), "2ed6657d-e927-568b-95e1-2665a8aea6a2");
        let own: String = NAMESPACE.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex(&uuid_v5(&URL, "https://scopedsecrets.io/rotation")), own);
    }

    #[test]
    fn a_slot_of_a_key_is_one_token_for_ever() {
        let key = CanonicalKey::from_sealed("aws:123456789012:eu-west-1:payments/prod/db");
        let other = CanonicalKey::from_sealed("aws:123456789012:eu-west-1:payments/prod/dc");
        let at = |second| Trigger::Schedule(Second::from_unix(second).unwrap());
        assert_eq!(at(1_767_225_600).to_string(), "schedule 2026-01-01T00:00:00Z");
        for strategy in [Strategy::Generate, Strategy::Provider] {
            let attempts: Vec<Token> = at(1_767_225_600).attempts(&key, strategy).collect();
            assert_eq!(attempts.len(), ATTEMPTS);
            assert!(attempts.iter().all(|token| maker(token.as_str()) == Some(strategy)));
            let made_by = |second, token: &Token| at(second).made_by(&key, token.as_str());
            assert!(attempts.iter().all(|token| made_by(1_767_225_600, token) == Some(strategy)));
            assert!(attempts.iter().all(|token| made_by(1_767_225_601, token).is_none()));
            assert_eq!(at(1_767_225_600).attempt_of(&key, strategy, attempts[3].as_str()), 3);
        }
        let token = |trigger: Trigger, key, strategy| trigger.attempts(key, strategy).next().unwrap();
        let [generated, rotated] = [Strategy::Generate, Strategy::Provider];
        let all = [
            token(at(1_767_225_600), &key, generated),
            token(at(1_767_225_600), &key, rotated),
            token(at(1_767_225_601), &key, generated),
            token(at(1_767_225_600), &other, generated),
            token(Trigger::OnDemand("a".into()), &key, generated),
            token(Trigger::Grant("a".into()), &key, generated),
            token(Trigger::Rollout("a".into()), &key, generated),
            token(Trigger::RoleChange("a".into()), &key, generated),
        ];
        assert_eq!(all[0].as_str(), "f447a21c-7fbb-579f-8b1e-9a5aa2bf85c3", "else an update rotates everything anew");
        assert_eq!(all[1].as_str(), "f447a21c-7fbb-579f-8b1e-9a5a9c0adbae", "likewise");
        for (i, token) in all.iter().enumerate() {
            assert_eq!(token.as_str().len(), 36);
            assert!(all[..i].iter().all(|earlier| earlier != token), "{i}");
        }
    }
}
