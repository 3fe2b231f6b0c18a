//! What a verb found, as plain values; how it is printed is `text`, `json` and `sarif`.
//!
//! One shape for files ([`super::simulate`]: each finding has a place in them) and for a live cluster (each is about an object).

pub mod json;
pub mod sarif;
pub mod text;

use crate::api::Reason;
use crate::segmentation::violation::Violation;
use crate::yaml::Place;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

/// How a report is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// One JSON object.
    Json,
    /// SARIF 2.1.0, for code scanning.
    Sarif,
}

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

macro_rules! rules {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Which rule spoke.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Rule { $($(#[$doc])* $name,)* }

        impl Rule {
            /// Every one.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Its name in the docs, and in denials and reports.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }
        }
    };
}

rules! {
    /// The API server's own checks: field names, types, limits, the CRD's CEL rules.
    Schema,
    /// The authoriser: who may claim which key.
    Claims,
    /// What a policy itself must keep.
    Policies,
    /// One owner for each Secret.
    ManagedSecrets,
    /// A remote key belongs to one scope.
    ExclusiveKeys,
    /// A value belongs to one segment.
    UniqueValues,
    /// A projected value is nowhere else.
    Copies,
    /// No replicator carries a Secret across a boundary.
    Replication,
    /// Who may reference a projected Secret.
    Consumers,
    /// Which roles let somebody read Secrets.
    Rbac,
    /// Who may give a namespace its segment.
    Boundary,
    /// Who may give access to a projected Secret, for how long.
    Grants,
    /// Who may say that a key has leaked which others claim, too.
    Revocations,
    /// What other operators are asked for.
    OtherOperators,
    /// What the operator's own account may write.
    Operator,
    /// What the operator needs, and whether it is there and well.
    Installation,
    /// What the reader may look at.
    Permissions,
    /// What is judged must be what is applied.
    Inputs,
    /// The record of what happened must be whole.
    Record,
    /// Another rule, as a denial names it.
    Other,
}

impl Rule {
    /// The rule of this name, as a denial or a report names it.
    pub fn named(name: &str) -> Self {
        Self::ALL.iter().copied().find(|rule| rule.as_str() == name).unwrap_or(Self::Other)
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

impl Subject {
    /// A cluster-scoped object.
    pub fn cluster(kind: &str, name: &str) -> Self {
        Self { kind: kind.to_owned(), namespace: None, name: name.to_owned() }
    }

    /// An object in a namespace.
    pub fn namespaced(kind: &str, namespace: &str, name: &str) -> Self {
        Self { kind: kind.to_owned(), namespace: Some(namespace.to_owned()), name: name.to_owned() }
    }
}

/// Such as `Secret payments-prod/orders`.
impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, namespace, name } = self;
        match (namespace, name.as_str()) {
            (Some(namespace), "") => write!(f, "{kind} in {namespace}"),
            (Some(namespace), name) => write!(f, "{kind} {namespace}/{name}"),
            (None, "") => f.write_str(kind),
            (None, name) => write!(f, "{kind} {name}"),
        }
    }
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
    /// Where, if it was read from a file.
    pub location: Option<Location>,
    /// About which object.
    pub subject: Subject,
}

impl Finding {
    /// A finding about an object of a cluster.
    pub fn live(severity: Severity, rule: Rule, reason: Reason, subject: Subject, message: impl Into<String>) -> Self {
        Self { severity, rule, reason, message: message.into(), fix: None, location: None, subject }
    }

    /// A violation, as the operator's reports tell it.
    pub fn of(violation: &Violation, severity: Severity) -> Self {
        let object = &violation.object;
        let subject = match &object.namespace {
            Some(namespace) => Subject::namespaced(&object.kind, namespace, &object.name),
            None => Subject::cluster(&object.kind, &object.name),
        };
        let reason = violation.reason;
        Self::live(severity, Rule::named(violation.rule), reason, subject, violation.message.as_str())
            .mend(reason.fix())
    }

    /// With what to do.
    pub fn mend(self, fix: impl Into<String>) -> Self {
        Self { fix: Some(fix.into()), ..self }
    }
}

/// What is being found in a cluster.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// What is well, a line each.
    pub passed: Vec<String>,
}

impl Outcome {
    /// Something is wrong. What to do is what the page of the reason says.
    pub fn find(
        &mut self,
        severity: Severity,
        rule: Rule,
        reason: Reason,
        subject: Subject,
        message: impl Into<String>,
    ) {
        self.findings.push(Finding::live(severity, rule, reason, subject, message).mend(reason.fix()));
    }

    /// Something is wrong, with a mend of its own.
    pub fn push(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    /// Something is well.
    pub fn pass(&mut self, what: impl Into<String>) {
        self.passed.push(what.into());
    }

    /// Runs a part of a judgement, and says that it is well if it found no error and no warning.
    pub fn part(&mut self, well: impl FnOnce() -> String, judge: impl FnOnce(&mut Self)) {
        let before = self.findings.len();
        judge(self);
        if self.findings[before..].iter().all(|f| f.severity == Severity::Note) {
            self.passed.push(well());
        }
    }
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
    /// Objects that were judged, and namespaces.
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
    /// In the order of the input, behind what is not judged of it. Empty where an input could not be read: half an input gives wrong verdicts.
    pub findings: Vec<Finding>,
    /// What could not be read.
    pub input_errors: Vec<InputError>,
    /// What was left out, and why; nothing of it is wrong.
    pub ignored: Vec<(Location, String)>,
    /// How many of what; of files only.
    pub tally: Option<Tally>,
    /// What was looked at in a cluster and is well, a line each.
    pub passed: Vec<String>,
}

/// No findings.
pub const EXIT_CLEAN: u8 = 0;
/// Findings.
pub const EXIT_FINDINGS: u8 = 1;
/// Nothing could be judged: bad flags, unreadable files, bad YAML, no objects.
pub const EXIT_ERROR: u8 = 2;

impl Report {
    /// Of a live cluster: the worst first, and each kind of object together.
    pub fn live(mut findings: Vec<Finding>, passed: Vec<String>) -> Self {
        findings.sort_by(|a, b| {
            let key = |f: &Finding| (f.severity, f.rule, f.reason, f.subject.clone());
            key(a).cmp(&key(b))
        });
        findings.dedup();
        Self { findings, passed, ..Self::default() }
    }

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
