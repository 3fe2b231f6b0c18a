//! Leaked keys: which versions of a key may not be held any more. Pure.

use super::key::{CanonicalKey, InvalidKey, RemoteKey};
use super::world::{KeyVersion, StoreState};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// A KeyRevocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    /// The store that it names.
    pub store: String,
    /// The key that it names.
    pub key: RemoteKey,
    /// Its creationTimestamp: what the manager created up to then is revoked.
    pub created: Timestamp,
    /// The versions that are revoked where the manager has no dates; None: they are not known yet, so that all are.
    pub versions: Option<BTreeSet<String>>,
}

impl Revocation {
    /// Whether it is for this version. Where that cannot be told, it is.
    pub fn covers(&self, version: &KeyVersion) -> bool {
        match (version.created, &self.versions) {
            // Times of Kubernetes are whole seconds: what came within that second may have come before.
            (Some(created), _) => created.get() <= self.created.as_second(),
            (None, Some(versions)) => !version.is_known() || versions.contains(&*version.id),
            (None, None) => true,
        }
    }
}

/// All KeyRevocations, found by key.
#[derive(Debug, Default)]
pub struct Revocations {
    by_name: BTreeMap<String, Revocation>,
    by_key: HashMap<CanonicalKey, Vec<String>>,
}

/// Which key a revocation is for, as far as its store tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meant {
    /// This one.
    Key(CanonicalKey),
    /// The store is not there.
    NoStore,
    /// The store's account is not known.
    NoAccount,
    /// The store has no such keys.
    Invalid(InvalidKey),
}

/// The key that a revocation is for.
pub fn meant(revocation: &Revocation, stores: &BTreeMap<String, StoreState>) -> Meant {
    match stores.get(&revocation.store) {
        None => Meant::NoStore,
        Some(StoreState::AccountUnknown { .. }) => Meant::NoAccount,
        Some(StoreState::Known(realm)) => match realm.resolve(&revocation.key) {
            Ok((key, _)) => Meant::Key(key),
            Err(why) => Meant::Invalid(why),
        },
    }
}

impl Revocations {
    /// Records one; None: it is gone.
    pub fn put(&mut self, name: &str, revocation: Option<Revocation>, stores: &BTreeMap<String, StoreState>) {
        match revocation {
            Some(revocation) => self.by_name.insert(name.to_owned(), revocation),
            None => self.by_name.remove(name),
        };
        self.resolve(stores);
    }

    /// Which keys are meant follows from the stores.
    pub fn resolve(&mut self, stores: &BTreeMap<String, StoreState>) {
        self.by_key.clear();
        for (name, revocation) in &self.by_name {
            if let Meant::Key(key) = meant(revocation, stores) {
                self.by_key.entry(key).or_default().push(name.clone());
            }
        }
    }

    /// One by its name.
    pub fn get(&self, name: &str) -> Option<&Revocation> {
        self.by_name.get(name)
    }

    /// All, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&String, &Revocation)> {
        self.by_name.iter()
    }

    /// The keys that they are for.
    pub fn keys(&self) -> impl Iterator<Item = &CanonicalKey> {
        self.by_key.keys()
    }

    /// Those for a key.
    pub fn of_key(&self, key: &CanonicalKey) -> impl Iterator<Item = &String> {
        self.by_key.get(key).into_iter().flatten()
    }

    /// Whether a version of a key is revoked.
    pub fn revoke(&self, version: &KeyVersion) -> bool {
        self.of_key(&version.key).filter_map(|name| self.by_name.get(name)).any(|revocation| revocation.covers(version))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segmentation::fixtures::at;
    use crate::segmentation::key::Realm;

    fn stores() -> BTreeMap<String, StoreState> {
        let realm = || StoreState::Known(Realm::Aws { account: "123456789012".into(), region: "eu-west-1".into() });
        let file = StoreState::Known(Realm::File { path: "/etc/secrets".into() });
        let unknown = StoreState::AccountUnknown { region: "eu-west-1".into() };
        let all = [("aws", realm()), ("twin", realm()), ("file", file), ("unknown", unknown)];
        all.map(|(name, state)| (name.to_owned(), state)).into()
    }

    fn revocation(store: &str, key: &str) -> Revocation {
        Revocation { store: store.into(), key: RemoteKey::parse(key).unwrap(), created: at(1_000), versions: None }
    }

    fn version(key: &str, created: Option<Timestamp>) -> KeyVersion {
        let created = created.map(Into::into);
        KeyVersion { key: CanonicalKey::from_sealed(key), id: "v1".into(), created }
    }

    #[test]
    fn what_was_created_up_to_then_is_revoked_by_whatever_name() {
        let mut all = Revocations::default();
        all.put("leak", Some(revocation("twin", "payments/prod/db")), &stores());
        let key = "aws:123456789012:eu-west-1:payments/prod/db";
        let millis = |ms: i64| Timestamp::from_millisecond(ms).unwrap();
        for (created, revoked) in [
            (None, true),
            (Some(at(1)), true),
            (Some(at(1_000)), true),
            (Some(millis(1_000_999)), true),
            (Some(at(1_001)), false),
        ] {
            assert_eq!(all.revoke(&version(key, created)), revoked, "{created:?}");
        }
        assert!(!all.revoke(&version("aws:123456789012:eu-west-1:payments/prod/other", Some(at(1)))));
        all.put("leak", None, &stores());
        assert!(!all.revoke(&version(key, None)), "it was lifted");
    }

    #[test]
    fn without_dates_the_versions_are_listed() {
        let mut all = Revocations::default();
        let put = |all: &mut Revocations, versions: Option<&[&str]>| {
            let versions = versions.map(|list| list.iter().map(|&id| id.to_owned()).collect());
            all.put("leak", Some(Revocation { versions, ..revocation("file", "payments/prod/db") }), &stores());
        };
        let held = version("file:/etc/secrets/payments/prod/db", None);
        let unknown = KeyVersion::undated(held.key.clone(), "");
        for (versions, revoked) in
            [(None, true), (Some(&["v1", "v0"][..]), true), (Some(&["v0"][..]), false), (Some(&[][..]), false)]
        {
            put(&mut all, versions);
            assert_eq!(all.revoke(&held), revoked, "{versions:?}");
            assert!(all.revoke(&unknown), "which version it is cannot be told: {versions:?}");
        }
    }

    #[test]
    fn the_store_says_which_key_is_meant() {
        let meant = |store: &str, key: &str| meant(&revocation(store, key), &stores());
        assert!(matches!(meant("aws", "a/b"), Meant::Key(_)));
        assert_eq!(meant("gone", "a/b"), Meant::NoStore);
        assert_eq!(meant("unknown", "a/b"), Meant::NoAccount);
        assert!(matches!(meant("file", "/a/b"), Meant::Invalid(_)));
        let mut all = Revocations::default();
        all.put("leak", Some(revocation("late", "a/b")), &stores());
        let held = version("aws:123456789012:eu-west-1:a/b", None);
        assert!(!all.revoke(&held));
        let mut stores = stores();
        stores.insert("late".into(), stores["aws"].clone());
        all.resolve(&stores);
        assert!(all.revoke(&held));
        assert_eq!(all.of_key(&held.key).collect::<Vec<_>>(), ["leak"]);
    }
}
