//! Which watches have seen everything that exists, and when.

use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// What is decided by: nothing is written before these are known.
const OF_THE_CLUSTER: [&str; 5] = ["revocations", "policies", "stores", "namespaces", "reports"];

/// What it is decided about. Each of these is written by the revision that was seen, so that one of the past does no harm.
const OF_NAMESPACES: [&str; 6] = ["secrets", "claims", "guards", "grants", "grants' roles", "grants' bindings"];

/// What is only told of.
const TOLD: [&str; 5] = ["own", "roles", "clusterroles", "rolebindings", "clusterrolebindings"];

fn deciding() -> impl Iterator<Item = &'static str> {
    OF_THE_CLUSTER.into_iter().chain(OF_NAMESPACES)
}

fn watches() -> impl Iterator<Item = &'static str> {
    deciding().chain(TOLD)
}

/// When each watch has last listed all that there is, in this turn.
#[derive(Debug, Clone, Default)]
pub struct Synced {
    listed: BTreeMap<&'static str, Instant>,
    /// How often all were begun anew.
    pub turn: u64,
}

impl Synced {
    /// Nothing is listed yet.
    pub fn begun_anew(&self) -> Self {
        Self { listed: BTreeMap::new(), turn: self.turn + 1 }
    }

    /// Whether every watch has.
    pub fn all(&self) -> bool {
        watches().all(|name| self.listed.contains_key(name))
    }

    /// Whether all that decides is known.
    pub fn decides(&self) -> bool {
        self.missing().is_empty()
    }

    /// Whether what it is decided by is known, if not yet everything that it is about.
    pub fn knows_the_cluster(&self) -> bool {
        OF_THE_CLUSTER.iter().all(|name| self.listed.contains_key(name))
    }

    /// What decides and is not known.
    pub fn missing(&self) -> Vec<&'static str> {
        deciding().filter(|name| !self.listed.contains_key(name)).collect()
    }

    /// How long ago the first of them had that has not again since; None: not every one has.
    pub fn age(&self, now: Instant) -> Option<Duration> {
        let oldest = self.listed.values().min().filter(|_| self.all());
        oldest.map(|at| now.duration_since(*at))
    }

    /// Notes that one has; true for the first time in this turn.
    pub fn note(&mut self, name: &'static str, now: Instant) -> bool {
        self.listed.insert(name, now).is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_as_old_as_the_oldest_listing() {
        let (start, mut synced) = (Instant::now(), Synced::default());
        for name in watches() {
            assert!(!synced.all() && synced.age(start).is_none(), "{name} is missing");
            assert_eq!(synced.decides(), TOLD.contains(&name), "{name}");
            assert!(synced.note(name, start));
        }
        assert_eq!((synced.missing(), synced.age(start)), (vec![], Some(Duration::ZERO)));
        let later = start + Duration::from_secs(100);
        assert!(!synced.note("reports", later), "one lists again by itself");
        assert_eq!(synced.age(later), Some(Duration::from_secs(100)), "the others have not");
        let mut anew = synced.begun_anew();
        assert_eq!((anew.turn, anew.all(), anew.age(later)), (1, false, None));
        assert!(anew.note("policies", later) && !anew.missing().contains(&"policies"));
    }
}
