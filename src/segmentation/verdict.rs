//! What the authoriser answers: the rule, the reason, and what to do next.

use super::key::CanonicalKey;
use super::segment::Segment;
use super::world::VersionAsked;
use crate::api::Reason;
use crate::api::policy::Mode;
use std::collections::BTreeSet;

/// The answer to a claim.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// Every key may be fetched for this namespace.
    Allowed(Grant),
    /// Policy says no. What it holds is judged by [`super::authorize::retention`].
    Refused(Refusal),
    /// Something that decides is not known: nothing new is granted, nothing is withdrawn.
    Undecided(Refusal),
}

/// What may be fetched, and by which rules its values live.
#[derive(Debug, Clone, PartialEq)]
pub struct Grant {
    /// The segment of the namespace.
    pub segment: Segment,
    /// One for each distinct (key, version) of the claim.
    pub keys: Vec<AuthorisedKey>,
    /// Properties that are not compared.
    pub ignore: BTreeSet<String>,
}

/// One key that was authorised, and how to ask the manager for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorisedKey {
    /// The key as the user wrote it.
    pub written: String,
    /// Which version.
    pub version: VersionAsked,
    /// What the answer's identity must be.
    pub canonical: CanonicalKey,
    /// The id to ask by.
    pub ask: String,
}

/// Why not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The stable reason.
    pub reason: Reason,
    /// What is wrong, why, and what to write instead. Never another tenant's name, never a value.
    pub message: String,
    /// How admission answers: by the strictest policy over the namespace.
    pub mode: Mode,
}

impl Refusal {
    /// A refusal that admission enforces.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), mode: Mode::Enforce }
    }
}
