//! Violations, counted and kept: of each kind no more than a report may list, so that a cluster in disorder costs no more
//! memory than one in order. Pure.

use crate::api::segmentation_report::{FoundBy, LISTED, MESSAGE, ReportedViolation, ViolatingObject};
use crate::digest;
use crate::segmentation::violation::{ObjectRef, Violation};
use std::collections::BTreeMap;

/// What kind of violation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kind {
    /// The rule.
    pub rule: String,
    /// The stable reason.
    pub reason: String,
    /// How it is found.
    pub found_by: FoundBy,
}

/// The violations of one kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Group {
    /// How many there are.
    pub count: usize,
    /// Some of them.
    pub kept: BTreeMap<ViolatingObject, Kept>,
}

/// What is kept of a violation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Its message.
    pub message: String,
    /// Which object of its name it is, if that was seen.
    pub uid: Option<Box<str>>,
}

/// The violations of one segment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally(BTreeMap<Kind, Group>);

impl Tally {
    /// Adds a violation.
    pub fn add(&mut self, found_by: FoundBy, violation: Violation) {
        self.add_of(found_by, violation, None);
    }

    /// Adds a violation by the object that has this uid.
    pub fn add_of(&mut self, found_by: FoundBy, violation: Violation, uid: Option<&str>) {
        let Violation { rule, reason, object, message, .. } = violation;
        let kind = Kind { rule: rule.to_owned(), reason: reason.as_str().to_owned(), found_by };
        self.put(kind, reported(object), message, uid);
    }

    fn put(&mut self, kind: Kind, object: ViolatingObject, message: String, uid: Option<&str>) {
        let group = self.0.entry(kind).or_default();
        let kept = Kept { message: shortened(message, MESSAGE), uid: uid.map(Into::into) };
        if group.kept.insert(object, kept).is_some() {
            return;
        }
        group.count += 1;
        if group.kept.len() > LISTED {
            group.kept.pop_last();
        }
    }

    /// Takes up what a report says was found in one way, where this process does not know it itself.
    pub fn recall(&mut self, listed: &[ReportedViolation], counts: &[(Kind, usize)], found_by: FoundBy) {
        for violation in listed.iter().filter(|v| v.found_by == found_by) {
            let kind = Kind { rule: violation.rule.clone(), reason: violation.reason.clone(), found_by };
            self.put(kind, violation.object.clone(), violation.message.clone(), None);
        }
        for (kind, count) in counts.iter().filter(|(kind, _)| kind.found_by == found_by) {
            let group = self.0.entry(kind.clone()).or_default();
            group.count = group.count.max(*count);
        }
    }

    /// Adds what another tally has.
    pub fn extend(&mut self, other: &Self) {
        for (kind, group) in &other.0 {
            let own = self.0.entry(kind.clone()).or_default();
            let before = own.kept.len();
            own.kept.extend(group.kept.clone());
            let twice = before + group.kept.len() - own.kept.len();
            own.count += group.count - twice;
            while own.kept.len() > LISTED {
                own.kept.pop_last();
            }
        }
    }

    /// Leaves out what is no violation; of a kind that has more than are kept, those count on.
    pub fn without(&self, lifted: impl Fn(&Kind, &ViolatingObject) -> bool) -> Self {
        let groups = self.0.iter().map(|(kind, group)| {
            let mut kept = group.kept.clone();
            kept.retain(|object, _| !lifted(kind, object));
            (kind.clone(), Group { count: group.count - (group.kept.len() - kept.len()), kept })
        });
        Self(groups.filter(|(_, group)| group.count > 0).collect())
    }

    /// The uid of what breaks a rule, if that was seen.
    pub fn uid(&self, violation: &ReportedViolation) -> Option<&str> {
        let ReportedViolation { rule, reason, object, found_by, .. } = violation;
        let kind = Kind { rule: rule.clone(), reason: reason.clone(), found_by: *found_by };
        self.0.get(&kind)?.kept.get(object)?.uid.as_deref()
    }

    /// How many there are of each kind.
    pub fn counts(&self) -> impl Iterator<Item = (&Kind, usize)> {
        self.0.iter().map(|(kind, group)| (kind, group.count))
    }

    /// How many there are.
    pub fn total(&self) -> usize {
        self.0.values().map(|group| group.count).sum()
    }

    /// Those to list: of each kind in turn, so that many of one hide none of another.
    pub fn listed(&self) -> Vec<(&Kind, &ViolatingObject, &str)> {
        let mut rows: Vec<_> =
            self.0.iter().map(|(kind, group)| group.kept.iter().map(move |(o, k)| (kind, o, &*k.message))).collect();
        let mut listed = Vec::new();
        loop {
            let before = listed.len();
            for row in &mut rows {
                if listed.len() < LISTED {
                    listed.extend(row.next());
                }
            }
            if listed.len() == before {
                break;
            }
        }
        listed.sort_by_key(|(kind, object, _)| (*kind, *object));
        listed
    }
}

/// An object as a report names it.
pub fn reported(object: ObjectRef) -> ViolatingObject {
    let ObjectRef { api_version, kind, namespace, name } = object;
    let name = digest::shown(&name).into_owned();
    ViolatingObject { api_version, kind, namespace: namespace.map(|n| n.to_string()), name }
}

/// At most as long as the CRD takes, which counts characters: bytes are no fewer.
fn shortened(text: String, limit: usize) -> String {
    if text.len() <= limit {
        return text;
    }
    format!("{}...", &text[..text.floor_char_boundary(limit - 3)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Reason;

    fn violation(rule: &'static str, name: &str) -> Violation {
        let object =
            ObjectRef { api_version: "v1".into(), kind: "Pod".into(), namespace: Some("p".into()), name: name.into() };
        Violation { segment: "s".into(), rule, reason: Reason::ForeignConsumer, object, message: format!("of {name}") }
    }

    /// As a report lists them.
    fn listed(tally: &Tally) -> Vec<ReportedViolation> {
        let since = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(jiff::Timestamp::UNIX_EPOCH);
        let listed = tally.listed().into_iter().map(|(kind, object, message)| ReportedViolation {
            rule: kind.rule.clone(),
            reason: kind.reason.clone(),
            object: object.clone(),
            since: since.clone(),
            message: message.to_owned(),
            found_by: kind.found_by,
        });
        listed.collect()
    }

    #[test]
    fn many_of_one_kind_hide_none_of_another_and_all_are_counted() {
        let mut tally = Tally::default();
        for i in 0..500 {
            tally.add(FoundBy::Scan, violation("Consumers", &format!("pod-{i:03}")));
        }
        tally.add(FoundBy::Scan, violation("Consumers", "pod-000"));
        tally.add(FoundBy::Watch, violation("Replication", "lone"));
        assert_eq!(tally.total(), 501);
        let listed = tally.listed();
        assert_eq!(listed.len(), LISTED);
        assert!(listed.iter().any(|(kind, ..)| kind.rule == "Replication"));
        let kept: usize = tally.0.values().map(|group| group.kept.len()).sum();
        assert_eq!(kept, LISTED + 1);
    }

    #[test]
    fn what_a_report_says_is_taken_up_with_its_number() {
        let mut tally = Tally::default();
        for i in 0..300 {
            tally.add(FoundBy::Scan, violation("Consumers", &format!("pod-{i:03}")));
        }
        let listed = listed(&tally);
        let counts: Vec<_> = tally.counts().map(|(kind, count)| (kind.clone(), count)).collect();
        let mut again = Tally::default();
        again.recall(&listed, &counts, FoundBy::Scan);
        assert_eq!(again, tally);
        let mut watched = Tally::default();
        watched.recall(&listed, &counts, FoundBy::Watch);
        assert_eq!(watched, Tally::default());
    }

    #[test]
    fn together_and_less() {
        let (mut one, mut two) = (Tally::default(), Tally::default());
        one.add(FoundBy::Scan, violation("Consumers", "a"));
        one.add(FoundBy::Scan, violation("Consumers", "b"));
        two.add(FoundBy::Scan, violation("Consumers", "b"));
        two.add(FoundBy::Scan, violation("Consumers", "c"));
        one.extend(&two);
        assert_eq!((one.total(), one.listed().len()), (3, 3));
        assert_eq!(one.without(|_, object| object.name != "c").total(), 1);
    }

    #[test]
    fn which_object_of_its_name_it_is_is_known_as_far_as_it_was_seen() {
        let (mut tally, mut more) = (Tally::default(), Tally::default());
        tally.add(FoundBy::Scan, violation("Consumers", "a"));
        more.add_of(FoundBy::Scan, violation("Consumers", "b"), Some("of-b"));
        tally.extend(&more);
        let uids: Vec<_> = listed(&tally).iter().map(|violation| tally.uid(violation).map(str::to_owned)).collect();
        assert_eq!(uids, [None, Some("of-b".to_owned())]);
        let mut elsewhere = listed(&more);
        elsewhere[0].object.namespace = None;
        assert_eq!(more.uid(&elsewhere[0]), None);
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        assert_eq!(shortened("ä".repeat(10), MESSAGE).len(), 20);
        let cut = shortened("ä".repeat(1000), MESSAGE);
        assert!(cut.len() <= MESSAGE && cut.ends_with("..."));
    }
}
