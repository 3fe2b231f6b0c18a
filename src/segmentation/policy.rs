//! A SegmentationPolicy, compiled: every part of it understood, defaults filled in.

use super::access::subject::{InvalidAccount, Subject};
use super::governed::{Picked, Values};
use super::key::{CanonicalKey, RemoteKey};
use super::pattern::{InvalidPattern, KeyPattern};
use super::segment::Segment;
use crate::api::NAMESPACE_NAME_LABEL;
use crate::api::duration::{self, NotADuration, humanize};
use crate::api::label;
use crate::api::policy::*;
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// The Secret types that every policy allows.
pub const BUILT_IN_TYPES: [&str; 5] = [
    "Opaque",
    "kubernetes.io/tls",
    "kubernetes.io/dockerconfigjson",
    "kubernetes.io/basic-auth",
    "kubernetes.io/ssh-auth",
];

/// Properties that may be alike everywhere unless the policy says otherwise: they are not secrets.
pub const DEFAULT_IGNORE: [&str; 5] = ["username", "host", "port", "dbname", "engine"];

/// The longest that a grant may last unless the policy says otherwise.
pub const DEFAULT_MAX_GRANT: Duration = Duration::from_secs(8 * 3600);

/// The rules whose exceptions let a value be in several segments: one inside another Secret is a copy, too.
pub const OF_VALUES: [ExceptedRule; 2] = [ExceptedRule::UniqueValues, ExceptedRule::Copies];

/// The longest that an exception may last from when it is looked at.
pub const EXCEPTION_LIMIT: SignedDuration = SignedDuration::from_hours(90 * 24);

/// A policy whose every part is understood.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// Its name.
    pub name: String,
    /// The labels that name a segment.
    pub segment_labels: Arc<[String]>,
    selector: NamespaceSelector,
    /// How a violation is answered at admission.
    pub mode: Mode,
    /// Rules that are only reported.
    pub report_only: BTreeSet<ModalRule>,
    /// What may be claimed.
    pub allow: Vec<AllowEntry>,
    /// How far one key may be shared.
    pub exclusive_keys: Exclusivity,
    /// The scope inside which a value may repeat.
    pub unique_within: Within,
    /// Properties that are not compared.
    pub ignore: BTreeSet<String>,
    /// Whether consumers must be named.
    pub require_consumers: bool,
    /// How old the current version of a key may become.
    pub max_age: Option<MaxAge>,
    /// Types beyond the built-in ones.
    pub target_types: BTreeSet<String>,
    /// Whether Retain is allowed.
    pub allow_retain: bool,
    /// The longest that a grant may last.
    pub max_grant: Duration,
    /// Whether another user must approve each.
    pub approval: Approval,
    /// Of which other operators objects are held to these rules.
    pub governs: BTreeSet<Governs>,
    /// Who may have powers over Secrets across the cluster.
    pub readers: Vec<Subject>,
    /// Rules lifted for a while.
    pub exceptions: Vec<Exception>,
}

/// How old a value may become; the strictest is the least.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct MaxAge {
    /// The time.
    pub age: Duration,
    /// As it is written.
    pub text: String,
}

/// Keys of one store.
#[derive(Debug, Clone, PartialEq)]
pub struct AllowEntry {
    /// The ScopedSecretStore's name.
    pub store: String,
    /// Which keys.
    pub patterns: Vec<KeyPattern>,
    /// What may be done.
    pub actions: BTreeSet<Action>,
}

/// Why a policy cannot be understood; it then counts as unknown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum InvalidPolicy {
    #[error("segment.labels is empty: name at least one namespace label")]
    NoSegmentLabels,
    #[error("allow[{entry}].keys has the pattern {pattern:?}, but {why}")]
    Pattern { entry: usize, pattern: String, why: InvalidPattern },
    #[error(
        "allow[{entry}].keys uses ${{label:{label}}}, which is neither one of segment.labels nor kubernetes.io/metadata.name: other labels can be set by anybody who edits a namespace"
    )]
    PlaceholderNotASegmentLabel { entry: usize, label: String },
    #[error(
        "namespaceSelector uses the label {0:?}, which is not one of segment.labels nor kubernetes.io/metadata.name"
    )]
    SelectorNotASegmentLabel(String),
    #[error("rules.maxAge: {0}")]
    MaxAge(NotADuration),
    #[error("{place}: {why}")]
    Subject { place: &'static str, why: InvalidAccount },
    #[error("rules.grants.maxTTL: {0}")]
    MaxTtl(NotADuration),
}

impl Policy {
    /// Compiles a policy. What the CRD's rules check is checked again: admission can be bypassed.
    pub fn compile(name: &str, spec: &SegmentationPolicySpec) -> Result<Self, InvalidPolicy> {
        let segment_labels: Arc<[String]> = spec.segment.labels.clone().into();
        if segment_labels.is_empty() {
            return Err(InvalidPolicy::NoSegmentLabels);
        }
        let selector = spec.namespace_selector.clone().unwrap_or_default();
        let known = |key: &str| key == NAMESPACE_NAME_LABEL || segment_labels.iter().any(|l| l == key);
        let used = selector.match_labels.keys().chain(selector.match_expressions.iter().map(|e| &e.key));
        if let Some(stranger) = used.into_iter().find(|key| !known(key)) {
            return Err(InvalidPolicy::SelectorNotASegmentLabel(stranger.clone()));
        }
        let allow = spec
            .allow
            .iter()
            .enumerate()
            .map(|(entry, allow)| AllowEntry::compile(entry, allow, &segment_labels))
            .collect::<Result<_, _>>()?;
        let rules = spec.rules.clone().unwrap_or_default();
        let subject = |place, subject: &SubjectRef| {
            Subject::declared(subject).map_err(|why| InvalidPolicy::Subject { place, why })
        };
        let readers = rules.readers.iter().map(|reader| subject("rules.readers", reader)).collect::<Result<_, _>>()?;
        for excepted in spec.exceptions.iter().flat_map(|exception| &exception.subjects) {
            subject("exceptions", excepted)?;
        }
        let max_age = rules.max_age.map(|text| Ok(MaxAge { age: duration::parse(&text)?, text }));
        let max_age = max_age.transpose().map_err(InvalidPolicy::MaxAge)?;
        let unique = rules.unique_values.unwrap_or_default();
        let grants = rules.grants.unwrap_or_default();
        let max_grant =
            grants.max_ttl.as_deref().map_or(Ok(DEFAULT_MAX_GRANT), duration::parse).map_err(InvalidPolicy::MaxTtl)?;
        Ok(Self {
            name: name.to_owned(),
            segment_labels,
            selector,
            mode: spec.mode.unwrap_or_default(),
            report_only: spec.report_only.iter().copied().collect(),
            allow,
            exclusive_keys: rules.exclusive_keys.unwrap_or_default(),
            unique_within: unique.within.unwrap_or_default(),
            ignore: unique
                .ignore
                .map_or_else(|| DEFAULT_IGNORE.map(String::from).into(), |list| list.into_iter().collect()),
            require_consumers: rules.require_consumers.unwrap_or(true),
            max_age,
            target_types: rules.target_types.into_iter().collect(),
            allow_retain: rules.allow_retain.unwrap_or(false),
            max_grant,
            approval: grants.approval.unwrap_or_default(),
            governs: rules.governs.into_iter().collect(),
            readers,
            exceptions: spec.exceptions.clone(),
        })
    }

    /// The policy with its defaults filled in, for its status.
    pub fn effective(&self) -> EffectivePolicy {
        EffectivePolicy {
            mode: self.mode,
            exclusive_keys: self.exclusive_keys,
            unique_values: EffectiveUniqueValues {
                within: self.unique_within,
                ignore: self.ignore.iter().cloned().collect(),
            },
            require_consumers: self.require_consumers,
            max_age: self.max_age.as_ref().map(|limit| limit.text.clone()),
            target_types: BUILT_IN_TYPES
                .iter()
                .map(|t| (*t).to_owned())
                .chain(self.target_types.iter().cloned())
                .collect(),
            allow_retain: self.allow_retain,
            actions: self
                .allow
                .iter()
                .map(|entry| EffectiveActions {
                    store: entry.store.clone(),
                    actions: entry.actions.iter().copied().collect(),
                })
                .collect(),
            report_only: self.report_only.iter().copied().collect(),
            readers: self.readers.iter().filter_map(Subject::declaration).collect(),
            governs: self.governs.iter().copied().collect(),
            grants: Some(GrantLimits { max_ttl: humanize(self.max_grant), approval: self.approval }),
        }
    }

    /// The rules that the webhook keeps and that are answered by refusing, where no exception lifts them.
    pub fn enforced(&self) -> BTreeSet<ModalRule> {
        let kept = [ModalRule::Copies, ModalRule::Rbac, ModalRule::OtherOperators];
        let idle = |rule: &ModalRule| *rule == ModalRule::Copies && self.unique_within != Within::Segment;
        let refuses = |rule: &ModalRule| self.mode == Mode::Enforce && !self.report_only.contains(rule) && !idle(rule);
        kept.into_iter().filter(refuses).collect()
    }

    /// Whether a breach is let through of which nothing but a scan tells: of a rule that the API server keeps alone, or a copy.
    pub fn lets_through(&self) -> bool {
        self.mode != Mode::Enforce
            || [ModalRule::Consumers, ModalRule::Replication, ModalRule::Copies]
                .iter()
                .any(|rule| self.report_only.contains(rule))
    }

    /// Whether its selector picks a namespace. An absent selector picks all.
    pub fn selects(&self, namespace: &str, labels: &BTreeMap<String, String>) -> bool {
        selects(&self.selector, namespace, labels)
    }

    /// What its selector says of the values of labels, of those that a label can have; None: no namespace can be as it says.
    pub fn picked(&self) -> Option<Picked> {
        let NamespaceSelector { match_labels, match_expressions } = &self.selector;
        let expressions = |operator| match_expressions.iter().filter(move |e| e.operator == operator);
        // Every label that it may speak of is one that a governed namespace has.
        if expressions(SelectorOperator::DoesNotExist).next().is_some() {
            return None;
        }
        let possible = |values: &[String]| values.iter().filter(|v| label::is_value(v)).cloned().collect();
        let mut none_of = Values::new();
        for e in expressions(SelectorOperator::NotIn) {
            let values: BTreeSet<String> = possible(&e.values);
            if !values.is_empty() {
                none_of.entry(e.key.clone()).or_default().extend(values);
            }
        }
        let equal = match_labels.iter().map(|(label, value)| (label, possible(std::slice::from_ref(value))));
        let within = expressions(SelectorOperator::In).map(|e| (&e.key, possible(&e.values)));
        let mut one_of = Values::new();
        for (label, mut values) in equal.chain(within) {
            values.retain(|value| none_of.get(label).is_none_or(|none| !none.contains(value)));
            let known = one_of.entry(label.clone()).or_insert_with(|| values.clone());
            known.retain(|value| values.contains(value));
            if known.is_empty() {
                return None;
            }
        }
        Some(Picked { one_of, none_of })
    }

    /// Whether what stands is judged alike under another policy in its place. How a violation is answered, who reads, and what is
    /// held to the rules beyond our own kinds, takes no Secret away.
    pub fn judges_as(&self, other: &Self) -> bool {
        self.selects_as(other)
            && self.allow == other.allow
            && self.unique_within == other.unique_within
            && self.require_consumers == other.require_consumers
            && self.target_types == other.target_types
            && self.allow_retain == other.allow_retain
            && self.shares_as(other)
    }

    /// Whether as many may share one key, and one value.
    fn shares_as(&self, other: &Self) -> bool {
        let lift = |e: &&Exception| e.rule == ExceptedRule::ExclusiveKeys;
        self.exclusive_keys == other.exclusive_keys
            && self.exceptions.iter().filter(lift).eq(other.exceptions.iter().filter(lift))
            && self.lets_values_as(other)
    }

    /// Whether the same values may be in several segments.
    fn lets_values_as(&self, other: &Self) -> bool {
        let lift = |e: &&Exception| OF_VALUES.contains(&e.rule);
        self.exceptions.iter().filter(lift).eq(other.exceptions.iter().filter(lift))
    }

    /// Whether values are compared alike under another policy in its place: in which namespaces, which, and what is let pass.
    pub fn compares_as(&self, other: &Self) -> bool {
        self.selects_as(other)
            && self.unique_within == other.unique_within
            && self.ignore == other.ignore
            && self.lets_values_as(other)
    }

    /// The allow entries that another policy has not: what may be lost where that one stands in its place.
    pub fn allowed_beyond(&self, other: &Self) -> Vec<AllowEntry> {
        if self.allow == other.allow {
            return Vec::new();
        }
        let known: BTreeMap<(&str, String), BTreeSet<Action>> = other
            .allow
            .iter()
            .flat_map(|entry| entry.patterns.iter().map(move |p| ((&*entry.store, p.to_string()), &entry.actions)))
            .fold(BTreeMap::new(), |mut all, (key, actions)| {
                all.entry(key).or_insert_with(BTreeSet::new).extend(actions.iter().copied());
                all
            });
        let beyond = |entry: &AllowEntry| {
            let had = |p: &&KeyPattern| {
                known.get(&(&*entry.store, p.to_string())).is_some_and(|had| entry.actions.is_subset(had))
            };
            let patterns: Vec<KeyPattern> = entry.patterns.iter().filter(|p| !had(p)).cloned().collect();
            (!patterns.is_empty()).then(|| AllowEntry { patterns, ..entry.clone() })
        };
        self.allow.iter().filter_map(beyond).collect()
    }

    /// Whether it picks the same namespaces as another, and puts them in the same segments.
    pub fn selects_as(&self, other: &Self) -> bool {
        self.selector == other.selector && self.segment_labels == other.segment_labels
    }

    /// Whether it governs a namespace: it picks it, and finds its segment.
    pub fn governs_namespace(&self, namespace: &str, labels: &BTreeMap<String, String>) -> bool {
        self.selects(namespace, labels) && self.segment(labels).is_ok()
    }

    /// The segment of a namespace with these labels, or the label that is missing or empty.
    pub fn segment(&self, labels: &BTreeMap<String, String>) -> Result<Segment, &str> {
        Segment::of(&self.segment_labels, labels)
    }

    /// The patterns that let several segments claim one key.
    pub fn shared_patterns(&self) -> impl Iterator<Item = &KeyPattern> {
        self.allow.iter().flat_map(|a| &a.patterns).filter(|p| !p.separates(&self.segment_labels))
    }

    /// How a violation of a rule that follows the mode is answered in a namespace: only reported while the policy says so, or
    /// an exception lifts the rule there.
    pub fn answers(&self, rule: ModalRule, namespace: &str, now: Timestamp) -> Mode {
        self.answers_for(rule, &[], namespace, now)
    }

    /// Whether it refuses what breaks a rule, where no exception lifts that.
    pub fn refuses(&self, rule: ModalRule) -> bool {
        self.mode == Mode::Enforce && !self.report_only.contains(&rule)
    }

    /// Likewise of a violation that concerns a key, in any of the forms in which an exception may name it.
    pub fn answers_for(&self, rule: ModalRule, key: &[&str], namespace: &str, now: Timestamp) -> Mode {
        let excepted = match rule {
            ModalRule::Consumers => ExceptedRule::Consumers,
            ModalRule::Replication => ExceptedRule::Replication,
            ModalRule::OtherOperators => ExceptedRule::OtherOperators,
            ModalRule::Copies => ExceptedRule::Copies,
            ModalRule::Rbac => ExceptedRule::Rbac,
        };
        let lifted = self.lifts_for_any(excepted, key, namespace, now);
        if lifted || self.report_only.contains(&rule) { Mode::Audit } else { self.mode }
    }

    /// Whether an exception lifts `rule` in a namespace now, or for a key in one of these forms.
    pub fn lifts_for_any(&self, rule: ExceptedRule, key: &[&str], namespace: &str, now: Timestamp) -> bool {
        self.lifts(rule, None, &[namespace], now)
            || key.iter().any(|key| self.lifts(rule, Some(key), &[namespace], now))
    }

    /// Whether an exception lifts `rule` for this key or one of these namespaces now. One whose end is more than 90 days
    /// ahead, or that gives no reason, got past admission and is not honoured.
    pub fn lifts(&self, rule: ExceptedRule, key: Option<&str>, namespaces: &[&str], now: Timestamp) -> bool {
        self.in_force(rule, now).any(|e| {
            e.keys.iter().any(|k| key.is_some_and(|key| names(k, key)))
                || e.namespaces.iter().any(|n| namespaces.contains(&n.as_str()))
        })
    }

    /// Whether an exception lifts rule Rbac for somebody now.
    pub fn lifts_for(&self, subject: &Subject, now: Timestamp) -> bool {
        self.excepted(now).any(|excepted| excepted.covers(subject))
    }

    /// For whom exceptions lift rule Rbac now.
    pub fn excepted(&self, now: Timestamp) -> impl Iterator<Item = Subject> {
        let named = self.in_force(ExceptedRule::Rbac, now).flat_map(|exception| &exception.subjects);
        named.filter_map(|subject| Subject::declared(subject).ok())
    }

    /// The exceptions of a rule that count now.
    pub fn in_force(&self, rule: ExceptedRule, now: Timestamp) -> impl Iterator<Item = &Exception> {
        self.exceptions.iter().filter(move |exception| exception.rule == rule && self.is_in_force(exception, now))
    }

    /// Which exceptions were never valid, and why: they got past admission, and are not honoured. None: none.
    pub fn void_exceptions(&self, now: Timestamp) -> Option<String> {
        // A moment's grace: it may have been accepted by a clock that is ahead.
        let now = now.checked_add(SignedDuration::from_mins(1)).unwrap_or(now);
        let has_ended = |e: &&Exception| e.expiration_time.0 <= now;
        let mut void = self.exceptions.iter().filter(|e| !has_ended(e)).filter_map(|e| Some((e, fault_of(e, now)?.1)));
        let (first, why) = void.next()?;
        let more = void.count();
        let more = if more > 0 { format!(" ({more} more are not, either)") } else { String::new() };
        Some(format!("the exception {:?} of rule {:?} {why}; it is not honoured{more}", first.reason, first.rule))
    }

    /// Whether an exception counts now.
    pub fn is_in_force(&self, exception: &Exception, now: Timestamp) -> bool {
        let left = exception.expiration_time.0.duration_since(now);
        left > SignedDuration::ZERO && left <= EXCEPTION_LIMIT && !exception.reason.trim().is_empty()
    }
}

/// The properties that several policies over one namespace do not compare together: those that each ignores of those that compare
/// values at all, or, where none does, of all. None: there is no policy.
pub fn ignored_by<'p>(policies: impl IntoIterator<Item = &'p Policy>) -> Option<BTreeSet<String>> {
    let (comparing, others): (Vec<&Policy>, Vec<&Policy>) =
        policies.into_iter().partition(|policy| policy.unique_within == Within::Segment);
    let asked = if comparing.is_empty() { others } else { comparing };
    asked.into_iter().map(|policy| policy.ignore.clone()).reduce(|all, next| &all & &next)
}

/// Why an exception would lift nothing, and of which field that is ("" of several).
pub fn fault_of(exception: &Exception, now: Timestamp) -> Option<(&'static str, &'static str)> {
    let left = exception.expiration_time.0.duration_since(now);
    let lists = [exception.keys.is_empty(), exception.namespaces.is_empty(), exception.subjects.is_empty()];
    let patterns = |names: &[String]| names.iter().any(|name| name.contains('*'));
    let pattern = "has a pattern, and would lift nothing: write each key or namespace exactly";
    if exception.reason.trim().is_empty() {
        Some(("reason", "has no reason: write why, such as a ticket"))
    } else if lists.into_iter().filter(|empty| !empty).count() != 1 {
        Some(("", "must name what it is for: exactly one list of keys, namespaces or subjects"))
    } else if patterns(&exception.keys) {
        Some(("keys", pattern))
    } else if patterns(&exception.namespaces) {
        Some(("namespaces", pattern))
    } else if left <= SignedDuration::ZERO {
        Some(("expirationTime", "has an expirationTime that is in the past: write one within the next 90 days"))
    } else if left > EXCEPTION_LIMIT {
        Some((
            "expirationTime",
            "has an expirationTime that is more than 90 days ahead: write one within the next 90 days",
        ))
    } else {
        None
    }
}

/// Whether a label selector picks a namespace, as Kubernetes does; its name is a label of it.
pub fn selects(selector: &NamespaceSelector, namespace: &str, labels: &BTreeMap<String, String>) -> bool {
    let value =
        |key: &str| if key == NAMESPACE_NAME_LABEL { Some(namespace) } else { labels.get(key).map(String::as_str) };
    let equal = selector.match_labels.iter().all(|(key, wanted)| value(key) == Some(wanted));
    equal
        && selector.match_expressions.iter().all(|e| match (e.operator, value(&e.key)) {
            (SelectorOperator::In, found) => found.is_some_and(|v| e.values.iter().any(|w| w == v)),
            (SelectorOperator::NotIn, found) => !found.is_some_and(|v| e.values.iter().any(|w| w == v)),
            (SelectorOperator::Exists, found) => found.is_some(),
            (SelectorOperator::DoesNotExist, found) => found.is_none(),
        })
}

/// Whether an exception's key, a name or a full ARN, is this one: as a claim writes it, or in canonical form.
fn names(excepted: &str, key: &str) -> bool {
    let canonical = || match RemoteKey::parse(excepted) {
        Ok(RemoteKey::Arn(arn)) => Some(CanonicalKey::of_arn(&arn)),
        _ => None,
    };
    excepted == key || canonical().is_some_and(|excepted| excepted.as_str() == key)
}

impl AllowEntry {
    /// Whether it allows this. Who may read any version may read the current one.
    pub fn may(&self, action: Action) -> bool {
        self.actions.contains(&action) || (action == Action::Read && self.actions.contains(&Action::ReadAnyVersion))
    }

    fn compile(entry: usize, allow: &Allow, segment_labels: &[String]) -> Result<Self, InvalidPolicy> {
        let mut patterns = Vec::with_capacity(allow.keys.len());
        for text in &allow.keys {
            let pattern =
                KeyPattern::parse(text).map_err(|why| InvalidPolicy::Pattern { entry, pattern: text.clone(), why })?;
            if let Some(label) = pattern.labels().find(|label| !segment_labels.iter().any(|l| l == label)) {
                return Err(InvalidPolicy::PlaceholderNotASegmentLabel { entry, label: label.to_owned() });
            }
            patterns.push(pattern);
        }
        let actions =
            if allow.actions.is_empty() { [Action::Read].into() } else { allow.actions.iter().copied().collect() };
        Ok(Self { store: allow.store_ref.name.clone(), patterns, actions })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picked(selector: &str) -> Option<String> {
        let yaml = format!("{{segment: {{labels: [tenant]}}, namespaceSelector: {selector}}}");
        let Picked { one_of, none_of } =
            Policy::compile("p", &serde_saphyr::from_str(&yaml).unwrap()).unwrap().picked()?;
        let text = |values: &Values| {
            let each = |(label, values): (&String, &BTreeSet<String>)| {
                format!("{label}={}", values.iter().map(String::as_str).collect::<Vec<_>>().join("|"))
            };
            values.iter().map(each).collect::<Vec<_>>().join(" ")
        };
        Some(format!("{} but {}", text(&one_of), text(&none_of)))
    }

    #[test]
    fn what_is_compared_as_before() {
        let compile = |more: &str| {
            let yaml = format!("{{segment: {{labels: [tenant]}}, {more}}}");
            Policy::compile("p", &serde_saphyr::from_str(&yaml).unwrap()).unwrap()
        };
        let exception = |rule: &str| {
            let end = "2026-02-01T00:00:00Z";
            format!("exceptions: [{{rule: {rule}, namespaces: [a], reason: r, expirationTime: \"{end}\"}}]")
        };
        for (more, alike) in [
            ("mode: Audit", true),
            ("rules: {exclusiveKeys: Unlimited}", true),
            ("rules: {uniqueValues: {within: Segment}}", true),
            (&*exception("ExclusiveKeys"), true),
            (&*exception("UniqueValues"), false),
            (&*exception("Copies"), false),
            ("rules: {uniqueValues: {within: None}}", false),
            ("rules: {uniqueValues: {ignore: [a]}}", false),
            ("namespaceSelector: {matchLabels: {tenant: a}}", false),
        ] {
            assert_eq!(compile("allow: []").compares_as(&compile(more)), alike, "{more}");
        }
    }

    #[test]
    fn what_a_selector_says_of_values() {
        let expressions = |list: &str| picked(&format!("{{matchExpressions: [{list}]}}"));
        let is = |found: Option<String>, expected: &str| assert_eq!(found.as_deref(), Some(expected));
        is(picked("{}"), " but ");
        is(picked("{matchLabels: {tenant: a}}"), "tenant=a but ");
        is(expressions("{key: tenant, operator: Exists}"), " but ");
        is(expressions("{key: tenant, operator: In, values: [b, a]}"), "tenant=a|b but ");
        is(expressions("{key: tenant, operator: NotIn, values: [b, a]}"), " but tenant=a|b");
        let both = "{key: tenant, operator: In, values: [b, a]}, {key: tenant, operator: NotIn, values: [b]}";
        is(expressions(both), "tenant=a but tenant=b");
        let name = "{key: kubernetes.io/metadata.name, operator: NotIn, values: [legacy]}";
        is(expressions(name), " but kubernetes.io/metadata.name=legacy");
        // What no label can have is had by none.
        is(expressions("{key: tenant, operator: In, values: [\"a b\", a]}"), "tenant=a but ");
        is(expressions("{key: tenant, operator: NotIn, values: [\"a b\"]}"), " but ");
        for nobody in [
            "{matchLabels: {tenant: \"a b\"}}",
            "{matchLabels: {tenant: a}, matchExpressions: [{key: tenant, operator: In, values: [b]}]}",
            "{matchLabels: {tenant: a}, matchExpressions: [{key: tenant, operator: NotIn, values: [a]}]}",
            "{matchExpressions: [{key: tenant, operator: DoesNotExist}]}",
        ] {
            assert_eq!(picked(nobody), None, "{nobody}");
        }
    }
}
