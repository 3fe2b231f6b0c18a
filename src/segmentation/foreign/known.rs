//! What was observed of the objects of other operators: compact records, found by the name of a key.
//!
//! The same key may be another in another account; who asks here compares canonical forms.

use super::{Ask, ForeignKind, ForeignName, ForeignStore, Source, Spread, What, asks};
use crate::segmentation::few::Few;
use crate::segmentation::key::RemoteKey;
use jiff::Timestamp;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// What is kept of an object.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Its uid.
    pub uid: Arc<str>,
    /// Its creationTimestamp.
    pub created: Timestamp,
    /// What it asks for.
    pub asks: Box<[Ask]>,
    /// Of a ClusterExternalSecret, where it spreads to.
    pub spread: Option<Box<Spread>>,
}

impl Record {
    /// Of an object's spec.
    pub fn of(kind: ForeignKind, spec: &Value, uid: &str, created: Timestamp) -> Self {
        Self {
            uid: uid.into(),
            created,
            asks: asks(kind, spec).into(),
            spread: (kind == ForeignKind::ClusterExternalSecret).then(|| Spread::of(spec).into()),
        }
    }
}

/// Everything that was observed.
#[derive(Debug, Default)]
pub struct Foreign {
    /// The kinds of which every object that exists has been seen.
    read: BTreeSet<ForeignKind>,
    stores: BTreeMap<ForeignName, ForeignStore>,
    objects: BTreeMap<ForeignName, Box<Record>>,
    pub(super) by_key: HashMap<Arc<str>, Few<ForeignName>>,
}

impl Foreign {
    /// Records an object.
    pub fn put(&mut self, name: ForeignName, record: Record) {
        self.remove(&name);
        self.note(&name, &record);
        self.objects.insert(name, record.into());
    }

    /// Records a store: what is asked of it may be other keys now.
    pub fn put_store(&mut self, store: ForeignName, state: ForeignStore) {
        self.with_store(&store, |foreign| {
            foreign.stores.insert(store.clone(), state);
        });
    }

    /// Forgets an object or a store.
    pub fn remove(&mut self, name: &ForeignName) {
        if name.kind.is_store() {
            return self.with_store(name, |foreign| {
                foreign.stores.remove(name);
            });
        }
        if let Some(record) = self.objects.remove(name) {
            self.strike(name, &record);
        }
    }

    /// Forgets all of a kind that is not among these.
    pub fn retain(&mut self, kind: ForeignKind, there: &BTreeSet<ForeignName>) {
        let all = self.stores.keys().chain(self.objects.keys());
        let gone: Vec<ForeignName> = all.filter(|name| name.kind == kind && !there.contains(*name)).cloned().collect();
        gone.iter().for_each(|name| self.remove(name));
    }

    /// Says whether every object of a kind has been seen.
    pub fn set_read(&mut self, kind: ForeignKind, read: bool) {
        if read {
            self.read.insert(kind)
        } else {
            self.read.remove(&kind)
        };
    }

    /// Whether every object of a kind has been seen.
    pub fn is_read(&self, kind: ForeignKind) -> bool {
        self.read.contains(&kind)
    }

    /// A store.
    pub fn store(&self, name: &ForeignName) -> Option<&ForeignStore> {
        self.stores.get(name)
    }

    /// Every store.
    pub fn stores(&self) -> impl Iterator<Item = (&ForeignName, &ForeignStore)> {
        self.stores.iter()
    }

    /// An object.
    pub fn object(&self, name: &ForeignName) -> Option<&Record> {
        self.objects.get(name).map(|record| &**record)
    }

    /// Every object.
    pub fn objects(&self) -> impl Iterator<Item = (&ForeignName, &Record)> {
        self.objects.iter().map(|(name, record)| (name, &**record))
    }

    /// The objects that ask for a key of this name, in whichever account and region.
    pub fn asking_for(&self, key: &str) -> impl Iterator<Item = (&ForeignName, &Record)> {
        let names = self.by_key.get(key).into_iter().flat_map(Few::iter);
        names.filter_map(|name| self.objects.get_key_value(name)).map(|(name, record)| (name, &**record))
    }

    /// The objects that ask a store.
    pub fn asking(&self, store: &ForeignName) -> impl Iterator<Item = (&ForeignName, &Record)> {
        let asks = |(name, record): &(&ForeignName, &Record)| {
            record.asks.iter().any(|ask| match &ask.what {
                What::Read { from, .. } => asked(from, name).as_ref().is_some_and(|asked| is_same(asked, store)),
                _ => false,
            })
        };
        self.objects().filter(asks)
    }

    fn with_store(&mut self, store: &ForeignName, change: impl FnOnce(&mut Self)) {
        let asking: Vec<ForeignName> = self.asking(store).map(|(name, _)| name.clone()).collect();
        let taken: Vec<(ForeignName, Box<Record>)> = asking
            .into_iter()
            .filter_map(|name| {
                let record = self.objects.remove(&name)?;
                self.strike(&name, &record);
                Some((name, record))
            })
            .collect();
        change(self);
        for (name, record) in taken {
            self.note(&name, &record);
            self.objects.insert(name, record);
        }
    }

    fn note(&mut self, name: &ForeignName, record: &Record) {
        for key in self.keys(name, record) {
            self.by_key.entry(key).or_default().insert(name.clone());
        }
    }

    fn strike(&mut self, name: &ForeignName, record: &Record) {
        for key in self.keys(name, record) {
            if let Some(names) = self.by_key.get_mut(&key) {
                names.remove(name);
                if names.is_empty() {
                    self.by_key.remove(&key);
                }
            }
        }
    }

    /// The names of the keys that it reads.
    fn keys(&self, name: &ForeignName, record: &Record) -> BTreeSet<Arc<str>> {
        let of = |ask: &Ask| {
            let What::Read { from, .. } = &ask.what else { return None };
            let store = asked(from, name).and_then(|store| self.stores.get(&store));
            let prefix = match store {
                Some(ForeignStore::Aws { prefix, .. }) => prefix,
                _ => "",
            };
            match RemoteKey::parse(&format!("{prefix}{}", ask.key)).ok()? {
                RemoteKey::Name(_) if prefix.is_empty() => Some(ask.key.clone()),
                key => Some(key.name().into()),
            }
        };
        record.asks.iter().filter_map(of).collect()
    }
}

/// The store that an object asks. One that spreads to many namespaces may ask one in each: without a namespace.
pub(in crate::segmentation) fn asked(from: &Source, object: &ForeignName) -> Option<ForeignName> {
    let Source::Store { cluster, name } = from else { return None };
    Some(if *cluster {
        ForeignName { kind: ForeignKind::ClusterSecretStore, namespace: None, name: name.clone() }
    } else {
        ForeignName { kind: ForeignKind::SecretStore, namespace: object.namespace.clone(), name: name.clone() }
    })
}

fn is_same(asked: &ForeignName, store: &ForeignName) -> bool {
    asked.kind == store.kind
        && asked.name == store.name
        && (asked.namespace.is_none() || asked.namespace == store.namespace)
}
