//! What is kept of SecretGrants, and of the Roles and RoleBindings that were made for them.
//!
//! A grant's Role and RoleBinding have one name, which follows from the grant's name and uid: the *handle*. All that belongs to one
//! grant is found by it, whichever of the three is left.

use super::plan::Owed;
use crate::api::secret_grant::{GrantSubject, GrantSubjectKind};
use crate::api::{
    GRANT_ANNOTATION, GRANT_UID_ANNOTATION, GRANTED_ANNOTATION, GRANTED_OF_ANNOTATION, GRANTED_TO_ANNOTATION, Lendable,
    ROTATE_AFTER_ANNOTATION, Reason, SecretGrant, SecretGrantSpec, SecretGrantStatus,
};
use crate::digest::sha256_hex;
use crate::segmentation::world::ObjectName;
use jiff::Timestamp;
use k8s_openapi::api::rbac::v1;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use kube::api::DynamicObject;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// A SecretGrant as it was last seen.
#[derive(Debug, Clone, PartialEq)]
pub struct Grant {
    /// Its name.
    pub name: Arc<str>,
    /// Its uid.
    pub uid: Box<str>,
    /// Its resourceVersion.
    pub resource_version: Box<str>,
    /// metadata.generation.
    pub generation: i64,
    /// Its creationTimestamp.
    pub created: Timestamp,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// None: it cannot be understood.
    pub spec: Option<SecretGrantSpec>,
    /// What its status says.
    pub status: SecretGrantStatus,
}

impl Grant {
    /// Whether its status says that a rotation is owed which nobody makes.
    pub fn says_owed(&self) -> bool {
        self.status.conditions.iter().any(|condition| condition.reason == Reason::RotationOwed.as_str())
    }

    /// What is kept of an object.
    pub fn of(object: &DynamicObject) -> Self {
        let metadata = &object.metadata;
        // Status may be what an older version wrote; it only ever shortens.
        let status = object.data.get("status").and_then(|status| serde_json::from_value(status.clone()).ok());
        Self {
            name: metadata.name.as_deref().unwrap_or_default().into(),
            uid: metadata.uid.as_deref().unwrap_or_default().into(),
            resource_version: metadata.resource_version.as_deref().unwrap_or_default().into(),
            generation: metadata.generation.unwrap_or(0),
            created: object.creation_timestamp().map_or(Timestamp::MAX, |made| made.0),
            deleting: metadata.deletion_timestamp.is_some(),
            spec: object.clone().try_parse::<SecretGrant>().ok().map(|grant| grant.spec),
            status: status.unwrap_or_default(),
        }
    }
}

/// What a Role or a RoleBinding notes of the ScopedSecret that access was given to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// The ScopedSecret's name: who deletes it and lets the Role stay takes the owner off.
    pub name: Box<str>,
    /// Which of that name, with which keys.
    #[serde(flatten)]
    pub of: Lendable,
}

impl Note {
    fn of(metadata: &ObjectMeta) -> Option<Self> {
        serde_json::from_str(metadata.annotations.as_ref()?.get(GRANTED_OF_ANNOTATION)?).ok()
    }
}

/// The Role of a grant, as it was last seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    /// Its uid.
    pub uid: Box<str>,
    /// Its resourceVersion.
    pub resource_version: Box<str>,
    /// The uid of the ScopedSecret that owns it.
    pub owner: Option<Box<str>>,
    /// The ScopedSecret's name: its owner's, or as it notes it.
    pub claim: Option<Arc<str>>,
    /// What access was given to, as it notes it.
    pub of: Option<Lendable>,
    /// The Secret that it lets be read, if that is all that it gives.
    pub secret: Option<Box<str>>,
    /// The grant's name, as it notes it.
    pub grant: Box<str>,
    /// The grant's uid, as it notes it.
    pub grant_uid: Box<str>,
    /// Who may read, as it notes it.
    pub subject: Box<str>,
    /// Since when the grant's time runs: as it notes it, but never later than it was made, by the API server's clock.
    pub granted: Timestamp,
    /// Whether the value is owed a rotation once the access has ended.
    pub rotate_after: bool,
    /// Whether it is being deleted.
    pub deleting: bool,
}

impl Role {
    /// What is kept of an object.
    pub fn of(object: &v1::Role) -> Self {
        let metadata = &object.metadata;
        let note = |key: &str| metadata.annotations.as_ref().and_then(|all| all.get(key)).map(String::as_str);
        let made = metadata.creation_timestamp.as_ref().map_or(Timestamp::MAX, |time| time.0);
        let noted = note(GRANTED_ANNOTATION).and_then(|text| text.parse().ok()).unwrap_or(Timestamp::MAX);
        let owner = controller(metadata, "ScopedSecret");
        let given = Note::of(metadata);
        let named = given.as_ref().map(|given| &*given.name);
        Self {
            uid: metadata.uid.as_deref().unwrap_or_default().into(),
            resource_version: metadata.resource_version.as_deref().unwrap_or_default().into(),
            owner: owner.map(|(_, uid)| uid.into()),
            claim: owner.map(|(name, _)| name).or(named).map(Into::into),
            of: given.map(|given| given.of),
            secret: readable(object).map(Into::into),
            grant: note(GRANT_ANNOTATION).unwrap_or_default().into(),
            grant_uid: note(GRANT_UID_ANNOTATION).unwrap_or_default().into(),
            subject: note(GRANTED_TO_ANNOTATION).unwrap_or_default().into(),
            granted: made.min(noted),
            rotate_after: note(ROTATE_AFTER_ANNOTATION) == Some("true"),
            deleting: metadata.deletion_timestamp.is_some(),
        }
    }
}

/// The one Secret that a Role lets be read, and nothing else.
fn readable(role: &v1::Role) -> Option<&str> {
    let [rule] = role.rules.as_deref()? else { return None };
    let only = |list: &Option<Vec<String>>, text: &str| list.as_deref().is_some_and(|list| list == [text]);
    let plain = rule.verbs == ["get"] && only(&rule.api_groups, "") && only(&rule.resources, "secrets");
    match rule.resource_names.as_deref() {
        Some([name]) if plain => Some(name),
        _ => None,
    }
}

/// The RoleBinding of a grant, as it was last seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// Its uid.
    pub uid: Box<str>,
    /// Its resourceVersion.
    pub resource_version: Box<str>,
    /// The uid of the grant that owns it.
    pub owner: Option<Box<str>>,
    /// The Role that it gives; None: something else.
    pub role: Option<Box<str>>,
    /// To whom, if that is one subject as a grant has it.
    pub subject: Option<GrantSubject>,
    /// What access was given to, as it notes it: the Role goes with its ScopedSecret, this with the grant.
    pub of: Option<Lendable>,
    /// Whether it is being deleted.
    pub deleting: bool,
}

impl Binding {
    /// What is kept of an object.
    pub fn of(object: &v1::RoleBinding) -> Self {
        let metadata = &object.metadata;
        let subject = match object.subjects.as_deref() {
            Some([one]) => granted_to(one, metadata.namespace.as_deref().unwrap_or_default()),
            _ => None,
        };
        Self {
            uid: metadata.uid.as_deref().unwrap_or_default().into(),
            resource_version: metadata.resource_version.as_deref().unwrap_or_default().into(),
            owner: controller(metadata, "SecretGrant").map(|(_, uid)| uid.into()),
            role: Some(&object.role_ref).filter(|role| role.kind == "Role").map(|role| role.name.as_str().into()),
            subject,
            of: Note::of(metadata).map(|given| given.of),
            deleting: metadata.deletion_timestamp.is_some(),
        }
    }
}

fn granted_to(subject: &v1::Subject, namespace: &str) -> Option<GrantSubject> {
    let kind = match (subject.kind.as_str(), subject.namespace.as_deref()) {
        ("User", _) => GrantSubjectKind::User,
        ("ServiceAccount", Some(of)) if of == namespace => GrantSubjectKind::ServiceAccount,
        _ => return None,
    };
    Some(GrantSubject { kind, name: subject.name.clone() })
}

/// Name and uid of the object of a kind of ours that controls this one.
pub fn controller<'m>(metadata: &'m ObjectMeta, kind: &str) -> Option<(&'m str, &'m str)> {
    let owners = metadata.owner_references.as_deref().unwrap_or_default();
    let ours = owners.iter().find(|owner| {
        owner.controller == Some(true) && owner.kind == kind && owner.api_version.starts_with("scopedsecrets.io/")
    });
    ours.map(|owner| (owner.name.as_str(), owner.uid.as_str()))
}

/// So many bytes of a grant's name are in its handle, so that the whole is no longer than a label.
const SHOWN: usize = 46;

/// What the names of a grant's Role and RoleBinding begin with.
pub const HANDLE: &str = "grant-";

/// The name of a grant's Role and RoleBinding: two grants have two, whatever their names.
pub fn handle(namespace: &str, grant: &str, uid: &str) -> ObjectName {
    let shown = &grant[..grant.floor_char_boundary(SHOWN)];
    let shown = shown.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
    ObjectName::new(namespace, &format!("{HANDLE}{shown}-{}", &sha256_hex(uid.as_bytes())[..10]))
}

/// What was told of a grant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Told {
    /// So often in a row it was not given or taken back as it ought to be.
    pub failures: u32,
    /// That access was given.
    pub given: bool,
    /// That it ended.
    pub ended: bool,
    /// That a rotation is owed which nobody makes.
    pub unpaid: bool,
    /// Not told, but known to this process: it deletes the Role, since it is paid what that says, or told that nobody pays.
    pub role_deleted: bool,
    /// Likewise: the Role went by itself, while it said that a rotation is owed, as a leader saw.
    pub role_lost: bool,
    /// The refusal that is on the record, until status says it.
    pub refused: Option<Reason>,
}

/// What is known under one handle.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Lent {
    /// The SecretGrant.
    pub grant: Option<Grant>,
    /// Its Role.
    pub role: Option<Role>,
    /// Its RoleBinding.
    pub binding: Option<Binding>,
    /// The grant's name, as long as anything is left.
    pub named: Option<Arc<str>>,
    /// Whether what no watch shows was looked for: somebody may have taken our label off.
    pub searched: bool,
    /// What this process has told of it.
    pub told: Told,
}

impl Lent {
    /// Whether nothing is left of it.
    pub fn is_gone(&self) -> bool {
        self.grant.is_none() && self.role.is_none() && self.binding.is_none()
    }

    /// The ScopedSecret that it is about.
    pub fn claim(&self) -> Option<&str> {
        let named = self.grant.as_ref().and_then(|grant| grant.spec.as_ref()).map(|spec| &*spec.scoped_secret_ref.name);
        named.or_else(|| self.role.as_ref().and_then(|role| role.claim.as_deref()))
    }
}

/// All of them.
#[derive(Debug, Default)]
pub struct Grants {
    known: BTreeMap<ObjectName, Box<Lent>>,
    /// Those of which nothing is left: who still works on one tells nothing twice.
    gone: VecDeque<Parted>,
}

/// What is remembered of a grant of which nothing is left.
#[derive(Debug)]
struct Parted {
    handle: ObjectName,
    /// What was told of it.
    told: Told,
    /// What is owed all the same, and about to be paid.
    owed: Option<Owed>,
}

/// So many are remembered of which nothing is left.
const GONE: usize = 1_024;

impl Grants {
    /// What is known under a handle.
    pub fn get(&self, handle: &ObjectName) -> Option<&Lent> {
        self.known.get(handle).map(|lent| &**lent)
    }

    /// Changes what is known under a handle; true if it is otherwise now.
    pub fn change(&mut self, handle: &ObjectName, change: impl FnOnce(&mut Lent)) -> bool {
        let before = self.known.get(handle).cloned().unwrap_or_default();
        let mut after = before.clone();
        change(&mut after);
        let changed = *before != *after;
        if after.is_gone() {
            if self.known.remove(handle).is_some() {
                self.gone.truncate(GONE - 1);
                self.gone.push_front(Parted { handle: handle.clone(), told: after.told, owed: None });
            }
        } else if changed {
            self.known.insert(handle.clone(), after);
        }
        changed
    }

    /// What this process has told under a handle, whether or not anything is left of it.
    pub fn told(&mut self, handle: &ObjectName) -> Option<&mut Told> {
        let gone = self.gone.iter_mut().find(|gone| gone.handle == *handle);
        self.known.get_mut(handle).map(|lent| &mut lent.told).or(gone.map(|gone| &mut gone.told))
    }

    /// What failed in an earlier reign, or was owed then, says nothing of this one.
    pub fn forget_reign(&mut self) {
        self.known.values_mut().for_each(|lent| (lent.told.failures, lent.told.role_lost) = (0, false));
        self.gone.clear();
    }

    /// What is owed for a ScopedSecret by grants of which nothing is left, if nobody has told so.
    pub fn owed_by_gone(&mut self, claim: &ObjectName) -> Vec<Owed> {
        let here = self.gone.iter_mut().filter(|gone| gone.handle.namespace == claim.namespace);
        let of_claim = here.filter(|gone| gone.owed.as_ref().is_some_and(|owed| owed.claim == claim.name));
        of_claim.filter_map(|gone| gone.owed.take()).collect()
    }

    /// Of what is gone something is still owed: whoever pays it may go, too.
    pub fn still_owed(&mut self, handle: &ObjectName, owed: Owed) {
        if let Some(gone) = self.gone.iter_mut().find(|gone| gone.handle == *handle) {
            gone.owed = Some(owed);
        }
    }

    /// All.
    pub fn iter(&self) -> impl Iterator<Item = (&ObjectName, &Lent)> {
        self.known.iter().map(|(handle, lent)| (handle, &**lent))
    }

    /// Those about a ScopedSecret.
    pub fn about(&self, claim: &ObjectName) -> impl Iterator<Item = &ObjectName> {
        let first = ObjectName::of(claim.namespace.clone(), "".into());
        let here = self.known.range(first..).take_while(|(handle, _)| handle.namespace == claim.namespace);
        here.filter(|(_, lent)| lent.claim() == Some(&*claim.name)).map(|(handle, _)| handle)
    }

    /// How many give access now.
    pub fn open(&self) -> usize {
        self.known.values().filter(|lent| lent.binding.is_some()).count()
    }
}
