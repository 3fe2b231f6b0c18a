//! Which keys may be whose: a key goes to one segment alone.

use super::secrets::{Draft, Item};
use super::segments::{Pattern, pattern, segment_of};
use crate::api::Reason;
use crate::cli::init::found::Found;
use crate::cli::report::Severity;
use crate::cli::simulate::accounts::ASSUMED;
use crate::segmentation::key::RemoteKey;
use crate::segmentation::pattern::{Binding, KeyPattern, Place};
use std::collections::{BTreeMap, BTreeSet};

/// Where a key lives (region and account), and which it is.
pub type Whole = ((String, String), String);

/// Which keys may be whose.
pub struct Keys<'a> {
    labels: &'a [String],
    found: &'a Found,
    /// By namespace; only those that have every label.
    pub segments: BTreeMap<&'a str, String>,
    /// Who asks for a key.
    askers: BTreeMap<Whole, BTreeSet<String>>,
    /// Patterns that name a segment, with the place that they speak of.
    apart: BTreeSet<((String, String), Pattern)>,
}

impl<'a> Keys<'a> {
    /// From what every draft asks for.
    pub fn of(found: &'a Found, labels: &'a [String], drafts: &[Draft<'a>]) -> Self {
        let mut keys =
            Self { labels, found, segments: BTreeMap::new(), askers: BTreeMap::new(), apart: BTreeSet::new() };
        for draft in drafts {
            let namespace = draft.theirs.namespace.as_str();
            let Some(own) = found.namespaces.get(namespace) else { continue };
            let Some(segment) = segment_of(labels, own) else { continue };
            keys.segments.insert(namespace, segment.clone());
            for (place, item) in draft.placed() {
                let pattern = pattern(&item.key, labels, namespace, own);
                let asked = keys.askers.entry((place.clone(), item.key.as_written().to_owned())).or_default();
                asked.insert(segment.clone());
                if pattern.separates {
                    keys.apart.insert((place, pattern));
                }
            }
        }
        keys
    }

    /// Takes out of a draft what its namespace may not have.
    pub fn leave_out(&self, draft: &mut Draft<'_>) {
        let namespace = draft.theirs.namespace.clone();
        if draft.items.is_empty() {
            return;
        }
        let Some(segment) = self.segments.get(namespace.as_str()) else {
            let text = if self.found.namespaces.contains_key(namespace.as_str()) {
                format!(
                    "the namespace has not every label that names a segment ({}): label it, or name other labels by --labels",
                    self.labels.join(", ")
                )
            } else {
                "its namespace, whose labels name the segment, is not among what was read: give it by --filename, too"
                    .to_owned()
            };
            draft.say(Severity::Error, Reason::SegmentLabelMissing, text);
            return draft.items.clear();
        };
        let own = self.found.namespaces.get(namespace.as_str()).cloned().unwrap_or_default();
        let placed: Vec<_> = draft.placed().map(|(place, item)| (place, item.clone())).collect();
        let mut told = BTreeSet::new();
        let mut kept = Vec::new();
        for (place, item) in placed {
            let key = item.key.as_written();
            let asked = self.askers.get(&(place.clone(), key.to_owned()));
            let shared = asked.is_some_and(|segments| segments.len() > 1);
            let belongs = pattern(&item.key, self.labels, &namespace, &own).separates;
            if !belongs && self.is_anothers(&place, &item.key, segment) {
                told.insert((Severity::Error, Reason::KeyNotAllowed, format!(
                    "the key {key:?} is another segment's by its name: store what is needed here under a key of this namespace's own"
                )));
                continue;
            }
            if shared && !belongs {
                let unsure = if place.1 == ASSUMED {
                    " (stores whose account nobody knows are taken for one account: --account-id tells)"
                } else {
                    ""
                };
                told.insert((Severity::Error, Reason::KeyShared, format!(
                    "several segments use the key {key:?}: store a credential of its own for each, under a key of its own{unsure}"
                )));
                continue;
            }
            if shared {
                told.insert((Severity::Warning, Reason::KeyShared, format!(
                    "another segment used the key {key:?}, too, and is refused it here: give it a new value once that is over"
                )));
            }
            kept.push(item);
        }
        draft.items = kept;
        told.into_iter().for_each(|(severity, reason, message)| draft.say(severity, reason, message));
    }

    /// Whether a pattern would give the key to another segment.
    fn is_anothers(&self, place: &(String, String), key: &RemoteKey, segment: &str) -> bool {
        let lives = match key {
            RemoteKey::Name(_) => Place::OWN,
            RemoteKey::Arn(arn) => Place { own: false, at: Some((&arn.region, &arn.account)) },
        };
        let patterns = self.apart.iter().filter(|(at, _)| at == place);
        let mut patterns = patterns.filter_map(|(_, pattern)| KeyPattern::parse(&pattern.text).ok());
        patterns.any(|pattern| {
            self.segments.iter().filter(|(_, other)| *other != segment).any(|(namespace, _)| {
                let labels = self.found.namespaces.get(*namespace);
                labels.is_some_and(|labels| pattern.covers(key.name(), lives, Binding { namespace, labels }))
            })
        })
    }
}

impl Draft<'_> {
    /// What is asked for, with where it lives.
    pub fn placed(&self) -> impl Iterator<Item = ((String, String), &Item)> {
        let place = self.store.map(|store| store.place.clone()).unwrap_or_default();
        self.items.iter().map(move |item| (place.clone(), item))
    }
}
