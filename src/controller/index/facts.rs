//! The records of single objects, and what their metadata says.

use crate::api::policy::AcceptedViolations;
use crate::api::{
    ACCEPT_VIOLATIONS_ANNOTATION, REFRESH_AT_ANNOTATION, REVOKE_ANNOTATION, ROTATE_AT_ANNOTATION, SEAL_ANNOTATION,
    ScopedSecret,
};
use crate::controller::scoped_secret::told::Told;
use crate::digest::sha256_hex;
use crate::projection::carries_away;
use crate::segmentation::seal::{BrokenSeal, SealKeys, SealRecord};
use crate::segmentation::world::{Claim, ObjectName};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, LazyLock};

/// What is kept of a ScopedSecret.
#[derive(Debug, Clone)]
pub struct ClaimRecord {
    /// Its uid.
    pub uid: Arc<str>,
    /// metadata.generation.
    pub generation: i64,
    /// metadata.resourceVersion, for the next status write.
    pub resource_version: String,
    /// The spec as JSON; None if it cannot be understood.
    pub spec: Option<Box<[u8]>>,
    /// What its annotations ask for, if they do.
    pub asks: Option<Box<OnDemand>>,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// What its status says.
    pub status: Told,
    /// Whether the Secret under its target's name was somebody else's when it was last looked at, or is by its status, which
    /// an earlier process wrote. It is looked at again before anything is fetched.
    pub target_taken: bool,
}

/// What a ScopedSecret's annotations ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnDemand {
    /// refresh-at.
    refresh_at: Option<Box<str>>,
    /// rotate-at.
    rotate_at: Option<Box<str>>,
    /// Whether revoke is there.
    pub revoke: bool,
}

impl ClaimRecord {
    /// The annotation refresh-at.
    pub fn refresh_at(&self) -> Option<&str> {
        self.asks.as_ref()?.refresh_at.as_deref()
    }

    /// The annotation rotate-at.
    pub fn rotate_at(&self) -> Option<&str> {
        self.asks.as_ref()?.rotate_at.as_deref()
    }

    /// Whether the annotation revoke is there.
    pub fn asks_to_revoke(&self) -> bool {
        self.asks.as_ref().is_some_and(|asks| asks.revoke)
    }
}

pub(super) fn on_demand(metadata: &ObjectMeta) -> Option<Box<OnDemand>> {
    let asked = |name: &str| annotation(metadata, name).map(remembered);
    let asks = OnDemand {
        refresh_at: asked(REFRESH_AT_ANNOTATION),
        rotate_at: asked(ROTATE_AT_ANNOTATION),
        revoke: annotation(metadata, REVOKE_ANNOTATION).is_some_and(|value| value == "true"),
    };
    (asks.refresh_at.is_some() || asks.rotate_at.is_some() || asks.revoke).then(|| asks.into())
}

/// One revision of one Secret, by uid and resourceVersion: equal within a process, and nothing more is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Revision(u64);

impl Revision {
    /// Of a uid and a resourceVersion. The hash is keyed anew by each process: a status that somebody forged cannot aim.
    pub fn of(uid: &str, resource_version: &str) -> Self {
        static KEYED: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        Self(KEYED.hash_one((uid, resource_version)))
    }
}

/// What is kept of a managed Secret, from its metadata alone.
#[derive(Debug, Clone, PartialEq)]
pub struct SecretFacts {
    /// Its uid.
    pub uid: Box<str>,
    /// Its resourceVersion.
    pub resource_version: Box<str>,
    /// The uid in its controller ownerReference.
    pub owner: Option<Arc<str>>,
    /// What its seal says.
    pub seal: Result<Arc<SealRecord>, BrokenSeal>,
    /// Whether its seal is of the current key generation.
    pub seal_is_current: bool,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Whether it has finalizers, of which none is ours.
    pub held_back: bool,
    /// Whether it carries our label.
    pub labelled: bool,
    /// Whether somebody put metadata on it that makes others act on it: another owner, a replicator's annotation.
    pub strayed: bool,
}

impl SecretFacts {
    /// Whether its metadata is not as we write it, where that would keep it readable, carry it away or hide it from us.
    pub fn is_bent(&self) -> bool {
        self.held_back || (!self.deleting && (self.strayed || !self.labelled))
    }

    /// Whether it is nobody's, under a seal of a key that was lost, and a status, which only the operator writes, speaks of exactly this
    /// revision.
    pub fn is_told_by(&self, status: &Told) -> bool {
        let lost = self.seal.as_ref().err() == Some(&BrokenSeal::UnknownGeneration);
        lost && self.labelled && self.owner.is_none() && status.secret() == Some(self.revision())
    }

    /// Which revision this is.
    pub fn revision(&self) -> Revision {
        Revision::of(&self.uid, &self.resource_version)
    }
}

/// What is kept of a policy beyond its compiled form.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PolicyFacts {
    /// metadata.generation.
    pub generation: i64,
    /// The annotation accept-violations.
    pub accept: Option<String>,
    /// Whether it came alone: no change of the spec with it, and none since. See [`Index::put_policy`].
    pub alone: bool,
    /// Whether it was set since this process knows the policy, and did not come with it, as from a backup. See [`Index::put_policy`].
    pub set: bool,
    /// The acceptance that was recorded.
    pub accepted: Option<AcceptedViolations>,
    /// metadata.resourceVersion.
    pub resource_version: String,
    /// Whether it is being deleted, and stands only until somebody's finalizer is gone.
    pub deleting: bool,
}

/// Namespace and name of an object.
pub fn object_name(metadata: &ObjectMeta) -> Option<ObjectName> {
    Some(ObjectName::new(metadata.namespace.as_deref()?, metadata.name.as_deref()?))
}

/// An annotation.
pub fn annotation<'a>(metadata: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    metadata.annotations.as_ref()?.get(key).map(String::as_str)
}

/// So many bytes of an annotation that acts once are remembered, and sealed, as they are.
pub(super) const REMEMBERED: usize = 64;

/// An annotation that acts once whenever its value is new: any text, of which a long one is known by its digest.
pub fn remembered(text: &str) -> Box<str> {
    if text.len() <= REMEMBERED {
        return text.into();
    }
    format!("sha256:{}", &sha256_hex(text.as_bytes())[..REMEMBERED - 8]).into()
}

/// The annotation accept-violations, if it is set.
pub fn accept_violations(metadata: &ObjectMeta) -> Option<String> {
    annotation(metadata, ACCEPT_VIOLATIONS_ANNOTATION).map(|text| remembered(text).into())
}

/// The part of a ScopedSecret that decides.
pub fn claim_of(object: &ScopedSecret, name: &ObjectName, uid: &Arc<str>) -> Claim {
    let created = object.metadata.creation_timestamp.as_ref().map_or(Timestamp::MAX, |t| t.0);
    Claim::from_spec(&object.spec, name.clone(), uid.clone(), created)
}

/// What the metadata of a Secret says.
pub fn secret_facts(name: &ObjectName, metadata: &ObjectMeta, keys: &SealKeys) -> SecretFacts {
    let seal = annotation(metadata, SEAL_ANNOTATION);
    let owners = metadata.owner_references.as_deref().unwrap_or_default();
    let controller = owners.iter().find(|owner| is_controller(owner));
    let created = metadata.creation_timestamp.as_ref().map(|t| t.0);
    let open = |text| {
        let mut record = keys.open_of(name, created, text)?;
        // Whoever was made again (from a backup) has held its keys since then.
        let since = created.map_or(record.holding.held_since, |made| made.max(record.holding.held_since));
        Arc::make_mut(&mut record.holding).held_since = since;
        Ok(Arc::new(record))
    };
    SecretFacts {
        uid: metadata.uid.as_deref().unwrap_or_default().into(),
        resource_version: metadata.resource_version.as_deref().unwrap_or_default().into(),
        owner: controller.map(|o| o.uid.as_str().into()),
        seal: seal.map_or(Err(BrokenSeal::Invalid), open),
        seal_is_current: seal.is_some_and(|text| keys.is_current(text)),
        deleting: metadata.deletion_timestamp.is_some(),
        held_back: metadata.finalizers.as_ref().is_some_and(|all| !all.is_empty()),
        labelled: metadata
            .labels
            .iter()
            .flatten()
            .any(|(k, v)| k == crate::api::MANAGED_BY_LABEL && v == crate::api::MANAGED_BY),
        strayed: owners.len() > usize::from(controller.is_some()) || strays(metadata),
    }
}

impl SecretFacts {
    /// Whether it is the same object, under the same seal and owner: what else changed is what others may write on it.
    pub fn is_same_but_for_others(&self, other: &Self) -> bool {
        self.uid == other.uid
            && self.owner == other.owner
            && self.labelled == other.labelled
            && self.seal.as_ref().ok() == other.seal.as_ref().ok()
    }
}

/// Whether an owner is a ScopedSecret that controls what it owns.
pub fn is_controller(owner: &OwnerReference) -> bool {
    owner.controller == Some(true) && owner.kind == "ScopedSecret" && owner.api_version.starts_with("scopedsecrets.io/")
}

/// Whether a label or annotation makes others carry the Secret away, or only looks like ours.
fn strays(metadata: &ObjectMeta) -> bool {
    let all = metadata.labels.iter().chain(&metadata.annotations).flat_map(BTreeMap::keys);
    all.into_iter().any(|key| key != SEAL_ANNOTATION && carries_away(key))
}
