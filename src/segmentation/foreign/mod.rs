//! Objects of other operators, as the authoriser sees them: which keys they ask for, from where, or why that cannot be told.
//!
//! ```text
//!   ExternalSecret, ClusterExternalSecret, PushSecret ─ external_secrets ┐
//!   VaultStaticSecret ─ vault                                            ├─► Ask ─► authorize::foreign ─► refusals
//!   SecretProviderClass ─ csi                                            ┘              ▲
//!   SecretStore, ClusterSecretStore ─ external_secrets ─► ForeignStore ─────────────────┘
//! ```
//!
//! The readers take whatever JSON there is, and never panic: what they do not understand is an ask that is refused.

mod csi;
mod external_secrets;
mod known;
mod vault;

pub use external_secrets::store;
pub(in crate::segmentation) use known::asked;
pub use known::{Foreign, Record};

use super::policy::selects;
use crate::api::Reason;
use crate::api::policy::{Governs, NamespaceSelector};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The rule's name.
pub const RULE: &str = "OtherOperators";

/// So many asks of one object are judged; one that has more is refused as a whole.
const ASKS_LIMIT: usize = 512;

macro_rules! kinds {
    ($($kind:ident $group:literal $plural:literal $governs:ident [$($version:literal),*];)*) => {
        /// A kind of another operator.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum ForeignKind { $(#[doc = concat!("`", $plural, ".", $group, "`.")] $kind,)* }

        impl ForeignKind {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$kind,)*];
            /// Its name.
            pub fn kind(self) -> &'static str { match self { $(Self::$kind => stringify!($kind),)* } }
            /// Its API group.
            pub fn group(self) -> &'static str { match self { $(Self::$kind => $group,)* } }
            /// Its plural name.
            pub fn plural(self) -> &'static str { match self { $(Self::$kind => $plural,)* } }
            /// The versions of it that can be read, the best first.
            pub fn versions(self) -> &'static [&'static str] { match self { $(Self::$kind => &[$($version),*],)* } }
            /// What a policy says to have it held to its rules.
            pub fn governs(self) -> Governs { match self { $(Self::$kind => Governs::$governs,)* } }
        }
    };
}

kinds! {
    ExternalSecret "external-secrets.io" "externalsecrets" ExternalSecrets ["v1", "v1beta1"];
    ClusterExternalSecret "external-secrets.io" "clusterexternalsecrets" ExternalSecrets ["v1", "v1beta1"];
    PushSecret "external-secrets.io" "pushsecrets" ExternalSecrets ["v1alpha1"];
    SecretStore "external-secrets.io" "secretstores" ExternalSecrets ["v1", "v1beta1"];
    ClusterSecretStore "external-secrets.io" "clustersecretstores" ExternalSecrets ["v1", "v1beta1"];
    VaultStaticSecret "secrets.hashicorp.com" "vaultstaticsecrets" VaultSecrets ["v1beta1"];
    SecretProviderClass "secrets-store.csi.x-k8s.io" "secretproviderclasses" SecretProviderClasses ["v1"];
}

impl ForeignKind {
    /// The kind of this group and name.
    pub fn of(group: &str, kind: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|k| k.group() == group && k.kind() == kind)
    }

    /// Whether it is a store, which others ask.
    pub fn is_store(self) -> bool {
        matches!(self, Self::SecretStore | Self::ClusterSecretStore)
    }

    /// Whether it has no namespace.
    pub fn is_cluster_scoped(self) -> bool {
        matches!(self, Self::ClusterExternalSecret | Self::ClusterSecretStore)
    }
}

/// An object of another operator.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ForeignName {
    /// Its kind.
    pub kind: ForeignKind,
    /// Its namespace; None if its kind has none.
    pub namespace: Option<Arc<str>>,
    /// Its name.
    pub name: Arc<str>,
}

impl std::fmt::Display for ForeignName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ", self.kind.kind())?;
        self.namespace.iter().try_for_each(|namespace| write!(f, "{namespace}/"))?;
        f.write_str(&self.name)
    }
}

impl ForeignName {
    /// From three texts.
    pub fn new(kind: ForeignKind, namespace: Option<&str>, name: &str) -> Self {
        Self { kind, namespace: namespace.map(Into::into), name: name.into() }
    }
}

/// A store of the External Secrets Operator, as far as it decides where a key lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ForeignStore {
    /// AWS Secrets Manager.
    Aws {
        /// Such as eu-west-1.
        region: Box<str>,
        /// The account of the role that it assumes; None: it assumes none.
        account: Option<Box<str>>,
        /// What it puts before every key.
        prefix: Box<str>,
        /// Its own credentials, as they are written; empty: those of the operator that reads it.
        auth: Box<str>,
    },
    /// Something else, or something that cannot be told, and why.
    Unclear(Box<str>),
}

/// Where a key is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// In a SecretStore of the namespace, or a ClusterSecretStore.
    Store {
        /// Whether it is a ClusterSecretStore.
        cluster: bool,
        /// Its name.
        name: Arc<str>,
    },
    /// In a region, as whoever the pod is.
    Region(Arc<str>),
    /// In the region of the node: only a full ARN says which.
    NodeRegion,
}

/// One thing that an object asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// The key as it is written; empty where there is none.
    pub key: Arc<str>,
    /// What is done with it.
    pub what: What,
}

/// What is done with a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// It is read.
    Read {
        /// From where.
        from: Source,
        /// Whether another version than the current one is asked for.
        any_version: bool,
    },
    /// It is written.
    Write {
        /// Into which stores, as far as these are named.
        into: Box<[Source]>,
    },
    /// A Secret is sent elsewhere, or copied into another one; None: those that labels pick.
    Push(Option<Arc<str>>),
    /// Which key is meant cannot be told, or no policy can allow it: why, and what to write instead.
    Outside(Reason, Box<str>),
}

impl Ask {
    /// Where its key lives, as far as that is said.
    pub fn sources(&self) -> &[Source] {
        match &self.what {
            What::Read { from, .. } => std::slice::from_ref(from),
            What::Write { into } => into,
            What::Push(_) | What::Outside(..) => &[],
        }
    }

    fn outside(key: &str, reason: Reason, why: impl Into<Box<str>>) -> Self {
        Self { key: key.into(), what: What::Outside(reason, why.into()) }
    }

    /// A key that cannot be told.
    fn not_exact(key: &str, why: impl Into<Box<str>>) -> Self {
        Self::outside(key, Reason::KeyNotExact, why)
    }
}

/// What an object asks for, from its spec.
pub fn asks(kind: ForeignKind, spec: &Value) -> Vec<Ask> {
    let mut asks = match kind {
        ForeignKind::ExternalSecret => external_secrets::external_secret(spec),
        ForeignKind::ClusterExternalSecret => external_secrets::external_secret(&spec["externalSecretSpec"]),
        ForeignKind::PushSecret => external_secrets::push_secret(spec),
        ForeignKind::VaultStaticSecret => vault::static_secret(spec),
        ForeignKind::SecretProviderClass => csi::secret_provider_class(spec),
        ForeignKind::SecretStore | ForeignKind::ClusterSecretStore => Vec::new(),
    };
    if asks.len() > ASKS_LIMIT {
        let text = format!("it names {} keys, and more than {ASKS_LIMIT} are not judged: divide it", asks.len());
        asks = vec![Ask::not_exact("", text)];
    }
    let mut distinct: Vec<Ask> = Vec::with_capacity(asks.len());
    for ask in asks {
        if !distinct.contains(&ask) {
            distinct.push(ask);
        }
    }
    distinct
}

/// The namespaces that a ClusterExternalSecret spreads to.
#[derive(Debug, Clone, PartialEq)]
pub enum Spread {
    /// Those that are named, and those that a selector picks.
    To {
        /// By name.
        names: Box<[Box<str>]>,
        /// By labels.
        selectors: Box<[NamespaceSelector]>,
    },
    /// That cannot be told: it may be any.
    Anywhere,
}

impl Spread {
    /// Of a ClusterExternalSecret's spec.
    pub fn of(spec: &Value) -> Self {
        let list = |field: &str| match &spec[field] {
            Value::Null => Some(&[][..]),
            Value::Array(items) => Some(items.as_slice()),
            _ => None,
        };
        let (Some(names), Some(several)) = (list("namespaces"), list("namespaceSelectors")) else {
            return Self::Anywhere;
        };
        let names: Option<Box<[Box<str>]>> = names.iter().map(|name| name.as_str().map(Into::into)).collect();
        let selectors = several.iter().chain(Some(&spec["namespaceSelector"]).filter(|one| !one.is_null()));
        let selectors: Option<Box<[NamespaceSelector]>> =
            selectors.map(|selector| serde_json::from_value(selector.clone()).ok()).collect();
        match (names, selectors) {
            (Some(names), Some(selectors)) => Self::To { names, selectors },
            _ => Self::Anywhere,
        }
    }

    /// Whether it reaches a namespace.
    pub fn reaches(&self, namespace: &str, labels: &BTreeMap<String, String>) -> bool {
        match self {
            Self::Anywhere => true,
            Self::To { names, selectors } => {
                names.iter().any(|name| **name == *namespace) || selectors.iter().any(|s| selects(s, namespace, labels))
            }
        }
    }
}

#[cfg(test)]
mod tests;
