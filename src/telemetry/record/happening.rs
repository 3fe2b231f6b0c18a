//! What is recorded: plain values, each bounded, none of them secret.

use crate::api::Reason;
use crate::api::policy::Mode;
use crate::segmentation::violation::ObjectRef;
use crate::segmentation::world::{KeyVersion, ObjectName};
use jiff::Timestamp;
use serde::Serialize;
use std::borrow::Cow;

/// Characters of a text that a user chose. Names in Kubernetes have at most 253.
const TEXT: usize = 256;
/// Versions of one happening that are written out.
const VERSIONS: usize = 16;

macro_rules! whats {
    ($($name:ident: $meaning:literal;)*) => {
        /// What happened.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        pub enum What { $(#[doc = $meaning] $name,)* }

        impl What {
            /// Every one.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];
            /// The word in the line.
            pub fn as_str(self) -> &'static str { match self { $(Self::$name => stringify!($name),)* } }
            /// The line's message.
            pub fn meaning(self) -> &'static str { match self { $(Self::$name => $meaning,)* } }
        }
    };
}

whats! {
    // ---- of the record itself
    Started: "the record of a process begins";
    Mark: "the record is complete up to here";
    Ended: "the record of a process ends";

    // ---- who was refused
    Denied: "a request was refused";
    LetThrough: "a request broke a rule that does not refuse it here";
    ClaimRefused: "a ScopedSecret is refused what it asks for";

    // ---- what was taken away
    Withdrawn: "a Secret was withdrawn";
    Expired: "a Secret was withdrawn, since its claim had ended";
    Revoked: "a Secret was withdrawn, since its key was revoked";
    KeyRevoked: "a key is revoked";
    RevocationComplete: "nothing holds a revoked version of a key any more";
    RevocationLifted: "the revocation of a key was lifted";

    // ---- rotation
    RotationBegun: "a rotation was begun";
    Rotated: "a key was rotated";
    RotationFailed: "a rotation failed";
    WorkloadRestarted: "a workload was rolled, so that it takes a new value";

    // ---- access that is lent
    Granted: "access was granted";
    GrantRefused: "a grant is not honoured";
    GrantEnded: "granted access was taken back";
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Happening {
    /// What.
    pub what: What,
    /// Who did it; None: the operator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<Box<str>>,
    /// For whom.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Box<str>>,
    /// The kind of the object that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<Box<str>>,
    /// Its namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Box<str>>,
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Box<str>>,
    /// The Secret that it gives access to, of the same namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<Box<str>>,
    /// What was asked of it: CREATE, UPDATE, DELETE.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<&'static str>,
    /// Whether it was only tried.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// Which rule spoke.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<Cow<'static, str>>,
    /// Why, of the registry of reasons.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Cow<'static, str>>,
    /// What a rotation is due to: Schedule, OnDemand, Grant, Rollout, RoleChange.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trigger: Option<&'static str>,
    /// How a breach was answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<&'static str>,
    /// Which versions of which keys.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub versions: Vec<Version>,
    /// How many more versions there are.
    #[serde(skip_serializing_if = "is_zero")]
    pub more_versions: usize,
    /// When it ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// A version of a key, by the manager's id of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Version {
    /// The canonical key.
    pub key: Box<str>,
    /// The manager's id; empty: not known.
    pub version: Box<str>,
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

fn cut(text: &str) -> Box<str> {
    match text.char_indices().nth(TEXT) {
        Some((end, _)) => format!("{}...", &text[..end]).into(),
        None => text.into(),
    }
}

impl Happening {
    /// That this happened.
    pub fn of(what: What) -> Self {
        Self {
            what,
            by: None,
            to: None,
            kind: None,
            namespace: None,
            name: None,
            secret: None,
            operation: None,
            dry_run: false,
            rule: None,
            reason: None,
            trigger: None,
            answer: None,
            versions: Vec::new(),
            more_versions: 0,
            until: None,
        }
    }

    /// About an object in a namespace.
    pub fn on(self, kind: &str, object: &ObjectName) -> Self {
        self.cluster(kind, &object.name).in_namespace(&object.namespace)
    }

    /// About a cluster-scoped object.
    pub fn cluster(self, kind: &str, name: &str) -> Self {
        Self { kind: Some(cut(kind)), name: Some(cut(name)), ..self }
    }

    /// About an object.
    pub fn about(self, object: &ObjectRef) -> Self {
        Self { namespace: object.namespace.as_deref().map(cut), ..self.cluster(&object.kind, &object.name) }
    }

    /// About what is in this namespace.
    pub fn in_namespace(self, namespace: &str) -> Self {
        Self { namespace: Some(cut(namespace)), ..self }
    }

    /// Concerning access to this Secret.
    pub fn secret(self, name: &str) -> Self {
        Self { secret: Some(cut(name)), ..self }
    }

    /// By this request, or only a try of it.
    pub fn asked(self, operation: &'static str, dry_run: bool) -> Self {
        Self { operation: Some(operation), dry_run, ..self }
    }

    /// Done by this user; without, by the operator.
    pub fn by(self, user: &str) -> Self {
        Self { by: Some(cut(user)), ..self }
    }

    /// For this subject.
    pub fn to(self, subject: &str) -> Self {
        Self { to: Some(cut(subject)), ..self }
    }

    /// Because of this rule.
    pub fn rule(self, rule: &'static str) -> Self {
        Self { rule: Some(rule.into()), ..self }
    }

    /// For this reason.
    pub fn reason(self, reason: Reason) -> Self {
        Self { reason: Some(reason.as_str().into()), ..self }
    }

    /// A rotation that is due to this.
    pub fn due_to(self, trigger: &'static str) -> Self {
        Self { trigger: Some(trigger), ..self }
    }

    /// A breach that was answered so.
    pub fn answered(self, answer: Mode) -> Self {
        Self { answer: Some(answer.as_str()), ..self }
    }

    /// Concerning these versions.
    pub fn versions<'a>(self, versions: impl IntoIterator<Item = &'a KeyVersion>) -> Self {
        let mut all = versions.into_iter();
        let some = all.by_ref().take(VERSIONS);
        let shown = some.map(|version| Version { key: cut(version.key.as_str()), version: cut(&version.id) }).collect();
        Self { versions: shown, more_versions: all.count(), ..self }
    }

    /// Concerning what is known by this id alone, of whatever key.
    pub fn version_id(self, id: &str) -> Self {
        Self { versions: vec![Version { key: "".into(), version: cut(id) }], ..self }
    }

    /// Concerning a key of which no version is named.
    pub fn key(self, key: &str) -> Self {
        Self { versions: vec![Version { key: cut(key), version: "".into() }], ..self }
    }

    /// Until then.
    pub fn until(self, end: Timestamp) -> Self {
        Self { until: Some(end), ..self }
    }
}
