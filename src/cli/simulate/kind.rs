//! The kinds that are judged.

use super::object::OUR_VERSION;
use crate::segmentation::foreign::ForeignKind;
use crate::segmentation::replication::{SECRETGEN, SECRETGEN_KINDS};

/// A kind that is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Kubernetes' own.
    Namespace,
    /// Ours.
    ScopedSecretStore,
    /// Ours.
    SegmentationPolicy,
    /// Ours.
    ScopedSecret,
    /// Ours.
    SecretGrant,
    /// Kubernetes' own beside namespaces.
    Native(Native),
    /// Another operator's.
    Foreign(ForeignKind),
    /// Carvel's, by which its secretgen-controller is told to carry Secrets.
    Carvel(&'static str),
}

macro_rules! natives {
    ($($kind:ident $version:literal $namespaced:literal;)*) => {
        /// A kind of Kubernetes' own that uses Secrets, has them, or says who may.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Native { $(#[doc = concat!("`", $version, "`.")] $kind,)* }

        impl Native {
            const ALL: &'static [Self] = &[$(Self::$kind,)*];
            /// As `kind:` has it.
            pub fn kind(self) -> &'static str { match self { $(Self::$kind => stringify!($kind),)* } }
            /// As `apiVersion:` has it.
            pub fn api_version(self) -> &'static str { match self { $(Self::$kind => $version,)* } }
            fn is_namespaced(self) -> bool { match self { $(Self::$kind => $namespaced,)* } }
        }
    };
}

natives! {
    Pod "v1" true;
    PodTemplate "v1" true;
    ReplicationController "v1" true;
    Deployment "apps/v1" true;
    StatefulSet "apps/v1" true;
    DaemonSet "apps/v1" true;
    ReplicaSet "apps/v1" true;
    Job "batch/v1" true;
    CronJob "batch/v1" true;
    ServiceAccount "v1" true;
    Secret "v1" true;
    PersistentVolume "v1" false;
    StorageClass "storage.k8s.io/v1" false;
    Role "rbac.authorization.k8s.io/v1" true;
    RoleBinding "rbac.authorization.k8s.io/v1" true;
    ClusterRole "rbac.authorization.k8s.io/v1" false;
    ClusterRoleBinding "rbac.authorization.k8s.io/v1" false;
}

impl Kind {
    /// Ours.
    pub const OURS: [Kind; 4] =
        [Self::ScopedSecretStore, Self::SegmentationPolicy, Self::ScopedSecret, Self::SecretGrant];

    /// The kind of this name, as far as it is none of ours. Of another operator's every version is read alike.
    pub fn beside_ours(version: &str, kind: &str) -> Option<Self> {
        if (version, kind) == ("v1", "Namespace") {
            return Some(Self::Namespace);
        }
        let native = Native::ALL.iter().find(|native| native.kind() == kind && native.api_version() == version);
        let foreign = || ForeignKind::of(version.split_once('/')?.0, kind);
        let carvel = || {
            let group = version.split_once('/')?.0;
            SECRETGEN_KINDS.iter().find(|(known, _)| group == SECRETGEN && *known == kind).map(|(known, _)| *known)
        };
        let native = native.copied().map(Self::Native);
        native.or_else(|| foreign().map(Self::Foreign)).or_else(|| carvel().map(Self::Carvel))
    }

    /// As `kind:` has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Namespace => "Namespace",
            Self::ScopedSecretStore => "ScopedSecretStore",
            Self::SegmentationPolicy => "SegmentationPolicy",
            Self::ScopedSecret => "ScopedSecret",
            Self::SecretGrant => "SecretGrant",
            Self::Native(native) => native.kind(),
            Self::Foreign(foreign) => foreign.kind(),
            Self::Carvel(kind) => kind,
        }
    }

    /// As `apiVersion:` has it; of another operator's kind, the best version.
    pub fn api_version(self) -> String {
        match self {
            Self::Namespace => "v1".into(),
            Self::Native(native) => native.api_version().into(),
            Self::Foreign(foreign) => {
                format!("{}/{}", foreign.group(), foreign.versions().first().copied().unwrap_or_default())
            }
            Self::Carvel(_) => format!("{SECRETGEN}/v1alpha1"),
            _ => OUR_VERSION.into(),
        }
    }

    /// Whether its objects are in namespaces.
    pub fn is_namespaced(self) -> bool {
        match self {
            Self::Namespace | Self::ScopedSecretStore | Self::SegmentationPolicy => false,
            Self::ScopedSecret | Self::SecretGrant | Self::Carvel(_) => true,
            Self::Native(native) => native.is_namespaced(),
            Self::Foreign(foreign) => !foreign.is_cluster_scoped(),
        }
    }
}
