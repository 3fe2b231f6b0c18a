//! What a simulation found, as plain values; how it is printed is `text`, `json` and `sarif`.

use super::yaml::Place;
use crate::api::Reason;
use std::collections::BTreeSet;
use std::sync::Arc;

/// How much a finding weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The cluster would refuse it, or it cannot be judged.
    Error,
    /// It would be accepted, and should not stay so.
    Warning,
    /// An assumption that the verdicts rest on.
    Note,
}

impl Severity {
    /// The word, which SARIF also uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// Which rule spoke.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// The API server's own checks: field names, types, limits, the CRD's CEL rules.
    Schema,
    /// The authoriser: who may claim which key.
    Claims,
    /// What a policy itself must keep.
    Policies,
    /// One owner for each Secret.
    ManagedSecrets,
}

impl Rule {
    /// The rule's name in the docs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Schema => "Schema",
            Self::Claims => "Claims",
            Self::Policies => "Policies",
            Self::ManagedSecrets => "ManagedSecrets",
        }
    }
}

/// A place in one of the inputs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Location {
    /// The file as the user named it.
    pub file: Arc<str>,
    /// Where in it.
    pub at: Place,
}

/// The object that a finding is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subject {
    /// Its kind.
    pub kind: String,
    /// Its namespace, if it has one.
    pub namespace: Option<String>,
    /// Its name; empty if it has none.
    pub name: String,
}

/// One thing to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How much it weighs.
    pub severity: Severity,
    /// Which rule spoke.
    pub rule: Rule,
    /// The stable reason, one page each in the docs.
    pub reason: Reason,
    /// What is wrong.
    pub message: String,
    /// What to write instead, where more can be said than the message says.
    pub fix: Option<String>,
    /// Where.
    pub location: Location,
    /// About which object.
    pub subject: Subject,
}

/// Why an input could not be judged at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputError {
    /// Where.
    pub location: Location,
    /// What is wrong.
    pub message: String,
}

/// How many of what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Objects of this API group, and namespaces.
    pub objects: usize,
    /// ScopedSecrets among them.
    pub scoped_secrets: usize,
    /// ScopedSecrets that may have every key they claim.
    pub allowed: usize,
    /// ScopedSecrets that were not judged, because they, their store or a policy must be corrected first.
    pub not_judged: usize,
}

/// The outcome.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// In the order of the input. Empty where an input could not be read: half an input gives wrong verdicts.
    pub findings: Vec<Finding>,
    /// What could not be read.
    pub input_errors: Vec<InputError>,
    /// What was left out, and why; nothing of it is wrong.
    pub ignored: Vec<(Location, String)>,
    /// How many of what.
    pub tally: Tally,
}

/// No findings.
pub const EXIT_CLEAN: u8 = 0;
/// Findings.
pub const EXIT_FINDINGS: u8 = 1;
/// Nothing could be judged: bad flags, unreadable files, bad YAML, no objects.
pub const EXIT_ERROR: u8 = 2;

impl Report {
    /// How many findings have this severity.
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|f| f.severity == severity).count()
    }

    /// How many objects have an error or warning.
    pub fn objects_with_findings(&self) -> usize {
        let found = self.findings.iter().filter(|f| f.severity != Severity::Note);
        found.map(|f| &f.subject).collect::<BTreeSet<_>>().len()
    }

    /// 0 clean, 1 findings, 2 error. A warning is a finding only if `strict`.
    pub fn exit_code(&self, strict: bool) -> u8 {
        if !self.input_errors.is_empty() {
            EXIT_ERROR
        } else if self.count(Severity::Error) > 0 || (strict && self.count(Severity::Warning) > 0) {
            EXIT_FINDINGS
        } else {
            EXIT_CLEAN
        }
    }
}
