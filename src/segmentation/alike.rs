//! Secrets that every policy judges alike: a change of one is then tried on one Secret of each such group, not on ten thousand.
//!
//! Most Secrets are plain: the current version of one key, for a ScopedSecret that asks for just that. What policies say of such
//! a Secret follows from its namespace, its store and its key, and of the last part of the key only from the patterns that want a
//! certain one there ([`KeyPattern::last`](super::pattern::KeyPattern::last)). A key that several hold, or that was revoked, is another matter.

use super::few::Few;
use super::key::CanonicalKey;
use super::world::{Claim, Holding, ObjectName, VersionAsked};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What the Secrets of a group have in common.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Likeness {
    namespace: Arc<str>,
    /// The store, and the key without its last part. None: those of the namespace that are like no other.
    plain: Option<(Arc<str>, Box<str>)>,
}

impl Likeness {
    /// Of a Secret whose ScopedSecret is there and asks for these keys, or is not there.
    pub fn of(secret: &ObjectName, holding: &Holding, claim: Option<(&Claim, &[CanonicalKey])>) -> Self {
        Self { namespace: secret.namespace.clone(), plain: claim.and_then(|(claim, keys)| plain(holding, claim, keys)) }
    }
}

fn plain(holding: &Holding, claim: &Claim, keys: &[CanonicalKey]) -> Option<(Arc<str>, Box<str>)> {
    let ([held], [(written, VersionAsked::Current)]) = (&*holding.versions, &*claim.asks) else { return None };
    let holds_plainly = holding.consumed && !holding.retain && !holding.pinned;
    let asks_plainly = claim.has_consumers && !claim.retain && !written.starts_with("arn:");
    let ends = holding.ends.is_some() || claim.ends.is_some();
    let typed = holding.target_type.is_some() || claim.target_type.is_some();
    let is_plain = holds_plainly && asks_plainly && !ends && !typed && *keys == [held.key.clone()];
    is_plain.then(|| (claim.store.clone(), held.key.folder().into()))
}

/// Secrets of one namespace.
#[derive(Debug, Clone, Copy)]
pub struct Group<'a> {
    /// Whether they are judged alike, or each by itself.
    pub alike: bool,
    /// Their names.
    pub names: &'a Few<Arc<str>>,
}

/// The names of all Secrets, by what they have in common.
#[derive(Debug, Default)]
pub struct Alike(BTreeMap<Likeness, Few<Arc<str>>>);

impl Alike {
    /// Puts a Secret into a group.
    pub fn put(&mut self, likeness: Likeness, name: Arc<str>) {
        self.0.entry(likeness).or_default().insert(name);
    }

    /// Takes it out of the group.
    pub fn remove(&mut self, likeness: &Likeness, name: &Arc<str>) {
        let Some(names) = self.0.get_mut(likeness) else { return };
        names.remove(name);
        if names.is_empty() {
            self.0.remove(likeness);
        }
    }

    /// The groups of a namespace.
    pub fn in_namespace(&self, namespace: &Arc<str>) -> impl Iterator<Item = Group<'_>> {
        let first = Likeness { namespace: namespace.clone(), plain: None };
        let own = move |(likeness, _): &(&Likeness, _)| likeness.namespace == first.namespace;
        let from_there = self.0.range(Likeness { namespace: namespace.clone(), plain: None }..);
        from_there.take_while(own).map(|(likeness, names)| Group { alike: likeness.plain.is_some(), names })
    }
}
