//! What stands where a change of policy makes a rule enforced: so that nobody breaks production by one word.
//!
//! A rule begins to be enforced in a namespace where the strictest answer of the policies over it was less than Enforce, and
//! is Enforce now: by the mode, by reportOnly, by a wider selector, or by another policy. The reports say what is open there.
//! What no report can say counts as one: a segment that was not looked through yet, or whose objects of another operator nobody
//! has watched until now (`rules.governs`), or whose values nobody has compared (`uniqueValues.within`); an exception that is ended early, a reader who is taken off. A namespace that no
//! policy governed has no report, and asks for nothing.

use crate::admission::rules::{boundary, managed_secrets, operator};
use crate::api::Reason;
use crate::api::policy::{ExceptedRule, Exception, Governs, ModalRule, Mode, Within};
use crate::api::segmentation_report::{NAMESPACES, ViolationCount, report_name};
use crate::controller::index::Index;
use crate::controller::report::known::Known;
use crate::segmentation::access::subject::Subject;
use crate::segmentation::policy::Policy;
use crate::segmentation::world::PolicyState;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// What is open.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Open {
    /// How many violations the reports list of what begins to be enforced.
    pub listed: usize,
    /// The segments whose reports list them.
    pub segments: BTreeSet<String>,
    /// The segments of which it is not known yet.
    pub unknown: BTreeSet<String>,
    /// The segments in which objects of another operator are held to the rules from now on: what is not governed is not watched.
    pub unwatched: BTreeSet<String>,
    /// The segments whose values are compared from now on: where nobody compared them no report says what copies there are.
    pub uncompared: BTreeSet<String>,
    /// The readers that are taken off: what they are bound to is on no report.
    pub readers: Vec<String>,
    /// The exceptions that end early: what they lift is on no report.
    pub ended: Vec<String>,
}

impl Open {
    /// The number that somebody would have to accept.
    pub fn count(&self) -> usize {
        self.listed
            + self.unknown.len()
            + self.unwatched.len()
            + self.uncompared.len()
            + self.readers.len()
            + self.ended.len()
    }
}

impl Open {
    /// What the policies beside `new` leave be in a namespace, and `new` does not, where it has not held anybody to that rule: the
    /// strictest of all answers. `by_itself` is what it was there so far.
    fn takes_away(
        &mut self,
        beside: &[&Policy],
        by_itself: Option<&Policy>,
        new: &Policy,
        namespace: &str,
        now: Timestamp,
    ) {
        let begins = |rule: ModalRule| new.refuses(rule) && !by_itself.is_some_and(|policy| policy.refuses(rule));
        let others = |rule: ModalRule| beside.iter().filter(move |policy| policy.refuses(rule));
        for policy in beside {
            for exception in policy.exceptions.iter().filter(|exception| policy.is_in_force(exception, now)) {
                let Some(rule) = modal(exception.rule).filter(|rule| begins(*rule)) else { continue };
                let here = match exception.namespaces.iter().any(|name| name == namespace) {
                    true => Exception { namespaces: vec![namespace.to_owned()], ..exception.clone() },
                    false if exception.namespaces.is_empty() => exception.clone(),
                    false => continue,
                };
                if !lifts(new, &here, now) && others(rule).all(|other| lifts(other, &here, now)) {
                    add(&mut self.ended, in_words(exception));
                }
            }
            for reader in policy.readers.iter().filter(|_| begins(ModalRule::Rbac)) {
                let named = |policy: &Policy| policy.readers.iter().any(|other| other.covers(reader));
                if !named(new) && others(ModalRule::Rbac).all(|other| named(other)) {
                    add(&mut self.readers, reader.to_string());
                }
            }
        }
    }
}

fn add(all: &mut Vec<String>, one: String) {
    if !all.contains(&one) {
        all.push(one);
    }
}

/// The rules that no mode changes.
const ALWAYS_ENFORCED: [&str; 4] = [managed_secrets::RULE, boundary::RULE, operator::RULE, super::RULE];

/// The rules that follow the mode alone (None), or may be reported only.
const RULES: [Option<ModalRule>; 6] = [
    None,
    Some(ModalRule::Consumers),
    Some(ModalRule::Replication),
    Some(ModalRule::OtherOperators),
    Some(ModalRule::Copies),
    Some(ModalRule::Rbac),
];

/// Those of which only a scan tells.
const SCANNED: [ModalRule; 3] = [ModalRule::Consumers, ModalRule::Replication, ModalRule::Copies];

/// How a policy answers a breach of each of [`RULES`], where no exception lifts it.
type Answers = [Mode; RULES.len()];

fn answers(policy: &Policy) -> Answers {
    RULES.map(|rule| match rule {
        Some(rule) if policy.report_only.contains(&rule) => Mode::Audit,
        _ => policy.mode,
    })
}

/// What is open where the policy `new` stands for `old` (None: it is created).
pub fn open(old: Option<&Policy>, new: &Policy, index: &Index, now: Timestamp) -> Open {
    let strict = answers(new);
    let mut open = Open {
        ended: old.map_or_else(Vec::new, |old| ended(old, new, now)),
        readers: old.map_or_else(Vec::new, |old| taken_off(old, new)),
        ..Open::default()
    };
    let holds: BTreeSet<Governs> =
        if new.refuses(ModalRule::OtherOperators) { new.governs.clone() } else { BTreeSet::new() };
    let compares = new.refuses(ModalRule::Copies) && new.unique_within == Within::Segment;
    // Nearly every change: nothing is enforced that was not, and no namespace need be looked at.
    let as_before = |old: &Policy| {
        old.selects_as(new)
            && holds.is_subset(&old.governs)
            && (!compares || old.unique_within == Within::Segment)
            && strict.iter().zip(answers(old)).all(|(is, was)| *is < Mode::Enforce || was == *is)
    };
    if strict.iter().all(|answer| *answer < Mode::Enforce) || old.is_some_and(as_before) {
        return open;
    }
    let others: Vec<(&Policy, Answers)> = index
        .world
        .policies
        .iter()
        .filter(|(name, _)| **name != new.name)
        .filter_map(|(_, state)| if let PolicyState::Known(policy) = state { Some(&**policy) } else { None })
        .chain(old)
        .map(|policy| (policy, answers(policy)))
        .collect();
    let mut segments: BTreeMap<String, BTreeMap<usize, BTreeSet<&str>>> = BTreeMap::new();
    for (namespace, labels) in &index.world.namespaces {
        let Ok(segment) = new.segment(labels) else { continue };
        let over = || others.iter().filter(|(policy, _)| policy.governs_namespace(namespace, labels));
        let before =
            over().map(|(_, answers)| *answers).reduce(|one, other| std::array::from_fn(|i| one[i].max(other[i])));
        let Some(before) = before.filter(|_| new.selects(namespace, labels)) else { continue };
        if holds.iter().any(|operators| !over().any(|(policy, _)| policy.governs.contains(operators))) {
            open.unwatched.insert(segment.name().to_owned());
        }
        if compares && !over().any(|(policy, _)| policy.unique_within == Within::Segment) {
            open.uncompared.insert(segment.name().to_owned());
        }
        let beside: Vec<&Policy> = over().map(|(policy, _)| *policy).filter(|policy| policy.name != new.name).collect();
        if beside.iter().any(|policy| !policy.exceptions.is_empty() || !policy.readers.is_empty()) {
            let by_itself = over().map(|(policy, _)| *policy).find(|policy| policy.name == new.name);
            open.takes_away(&beside, by_itself, new, namespace, now);
        }
        let begins = (0..RULES.len()).filter(|i| strict[*i] == Mode::Enforce && before[*i] < Mode::Enforce);
        for rule in begins {
            let beginning = segments.entry(segment.name().to_owned()).or_default();
            beginning.entry(rule).or_default().insert(namespace);
        }
    }
    for (segment, begins) in segments {
        let report = index.reports.get(&report_name(&segment));
        if !is_known(report, &begins) {
            open.unknown.insert(segment.clone());
        }
        let listed = report.map_or(0, |report| listed(report, &begins));
        if listed > 0 {
            open.listed += listed;
            open.segments.insert(segment);
        }
    }
    open
}

/// The namespaces in which each rule begins to be enforced, by its place in [`RULES`].
type Begins<'a> = BTreeMap<usize, BTreeSet<&'a str>>;

/// Whether a report speaks of all that begins to be enforced.
fn is_known(report: Option<&Known>, begins: &Begins<'_>) -> bool {
    let Some(status) = report.map(|report| &report.status) else { return false };
    let told = |namespace: &&str| status.namespaces.iter().any(|known| known == namespace);
    let all_told = status.namespaces.len() >= NAMESPACES || begins.values().flatten().all(told);
    let by_scan = begins.keys().any(|i| RULES[*i].is_some_and(|rule| SCANNED.contains(&rule)));
    all_told && (status.last_scan_time.is_some() || !by_scan)
}

/// How many violations a report has of what begins to be enforced: of those that it lists, where that is; and all that it does
/// not list.
fn listed(report: &Known, begins: &Begins<'_>) -> usize {
    let status = &report.status;
    let place = |rule: &str| {
        let modal = RULES.iter().position(|known| known.is_some_and(|known| known.as_str() == rule));
        begins.get(&modal.unwrap_or(0))
    };
    let of = |count: &ViolationCount| {
        let never_refused = [Reason::GuardMissing, Reason::WeakValueCopied, Reason::MaxAgeExceeded]
            .iter()
            .any(|r| count.reason == r.as_str());
        let Some(namespaces) = place(&count.rule).filter(|_| !never_refused) else { return 0 };
        if ALWAYS_ENFORCED.contains(&count.rule.as_str()) {
            return 0;
        }
        let same = status
            .violations
            .iter()
            .filter(|v| (&v.rule, &v.reason, v.found_by) == (&count.rule, &count.reason, count.found_by));
        // What a copy is refused by is its value's owner, wherever it is.
        let elsewhere = |namespace: &String| {
            count.rule != ModalRule::Copies.as_str()
                && status.namespaces.contains(namespace)
                && !namespaces.contains(namespace.as_str())
        };
        let others = same.filter(|v| v.object.namespace.as_ref().is_some_and(elsewhere)).count();
        usize::try_from(count.count).unwrap_or(0).saturating_sub(others)
    };
    status.counts.iter().map(of).sum()
}

/// The readers that a change takes off, where the policy refuses what strangers are bound to.
fn taken_off(old: &Policy, new: &Policy) -> Vec<String> {
    let stays = |reader: &&Subject| new.readers.iter().any(|other| other.covers(reader));
    let gone = old.readers.iter().filter(|_| new.refuses(ModalRule::Rbac)).filter(|reader| !stays(reader));
    gone.map(ToString::to_string).collect()
}

/// The exceptions in force that a change takes away or ends sooner, where the policy enforces their rule then. What those of the
/// rules about claims lift is told by name (see [`crate::segmentation::change`]).
fn ended(old: &Policy, new: &Policy, now: Timestamp) -> Vec<String> {
    let enforced = |e: &&Exception| modal(e.rule).is_some_and(|rule| new.refuses(rule));
    let in_force = old.exceptions.iter().filter(|e| old.is_in_force(e, now));
    in_force.filter(enforced).filter(|e| !lifts(new, e, now)).map(in_words).collect()
}

/// Whether a policy lifts all that an exception lifts, for as long.
fn lifts(policy: &Policy, e: &Exception, now: Timestamp) -> bool {
    let as_long = |other: &&Exception| {
        other.rule == e.rule && other.expiration_time.0 >= e.expiration_time.0 && policy.is_in_force(other, now)
    };
    let still: Vec<&Exception> = policy.exceptions.iter().filter(as_long).collect();
    e.keys.iter().all(|key| still.iter().any(|other| other.keys.contains(key)))
        && e.namespaces.iter().all(|namespace| still.iter().any(|other| other.namespaces.contains(namespace)))
        && e.subjects.iter().all(|subject| still.iter().any(|other| other.subjects.contains(subject)))
}

fn in_words(exception: &Exception) -> String {
    format!("{:?} of rule {:?}", exception.reason, exception.rule)
}

/// The rule that an exception lifts, if it is one that a mode may only report.
fn modal(rule: ExceptedRule) -> Option<ModalRule> {
    match rule {
        ExceptedRule::Consumers => Some(ModalRule::Consumers),
        ExceptedRule::Copies => Some(ModalRule::Copies),
        ExceptedRule::Rbac => Some(ModalRule::Rbac),
        ExceptedRule::Replication => Some(ModalRule::Replication),
        ExceptedRule::OtherOperators => Some(ModalRule::OtherOperators),
        ExceptedRule::ExclusiveKeys | ExceptedRule::UniqueValues => None,
    }
}
