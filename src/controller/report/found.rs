//! What the index shows of each segment that is not as it should be. Pure.
//!
//! What is told of a ScopedSecret is what its own status says: the authoriser was asked when that was written.

use super::guards::Missing;
use super::known::membership;
use super::plan::Observed;
use crate::api::condition::ConditionType;
use crate::api::policy::{ExceptedRule, Exception};
use crate::api::segmentation_report::{ExceptionInForce, FoundBy, ViolatingObject};
use crate::api::{GROUP, Reason};
use crate::controller::index::{ClaimRecord, Index, SecretFacts};
use crate::segmentation::authorize::{Retention, View, is_excepted, retention};
use crate::segmentation::managed;
use crate::segmentation::max_age::{TooOld, too_old};
use crate::segmentation::namesakes;
use crate::segmentation::policy::Policy;
use crate::segmentation::seal::BrokenSeal;
use crate::segmentation::verdict::Refusal;
use crate::segmentation::violation::{ObjectRef, Violation};
use crate::segmentation::world::{Holding, ObjectName, PolicyState};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What is known of each segment that has a namespace. `pauses` says whether what policy wants taken away waits.
pub fn found(
    index: &Index,
    missing: &[Missing],
    judged: &[Violation],
    pauses: &dyn Fn(&ObjectName, &Holding, &Refusal) -> bool,
    now: Timestamp,
) -> BTreeMap<Arc<str>, Observed> {
    let members = membership(index, now);
    let mut segments: BTreeMap<Arc<str>, Observed> = BTreeMap::new();
    for (namespace, segment) in &members {
        segments.entry(segment.clone()).or_default().namespaces.insert(namespace.to_string());
    }
    let mut add = |namespace: &str, tell: &dyn Fn(&Arc<str>) -> Violation| {
        let Some((segment, observed)) = members.get(namespace).and_then(|s| Some((s, segments.get_mut(s)?))) else {
            return;
        };
        let violation = tell(segment);
        observed.paused += usize::from(violation.reason == Reason::WithdrawalPaused);
        observed.watched.add(FoundBy::Watch, violation);
    };
    for (name, record) in index.claims.iter().filter(|(_, record)| !record.deleting) {
        for (rule, reason) in of_claim(record) {
            add(&name.namespace, &|segment| claims(segment, rule, reason, name));
        }
    }
    for (name, facts) in &index.secrets {
        if is_forged(index, name, facts) {
            add(&name.namespace, &|segment| forged(segment, name));
        }
    }
    for old in too_old(&index.world, now) {
        add(&old.secret.namespace, &|segment| aged(index, segment, &old));
    }
    for (name, held) in
        index.world.holdings().filter(|(name, held)| held.retain && index.claims_for(name).next().is_none())
    {
        if let Retention::Withdraw(why) = retention(name, held, &index.world, now)
            && pauses(name, held, &why)
        {
            add(&name.namespace, &|segment| retained(segment, name));
        }
    }
    for (name, bearers) in View::from(&index.world).namesakes() {
        bearers.values().for_each(|namespace| add(namespace, &|segment| namesake(segment, namespace, &name, &bearers)));
    }
    for violation in judged {
        if let Some(observed) = segments.get_mut(&violation.segment) {
            observed.watched.add(FoundBy::Watch, violation.clone());
        }
    }
    for (segment, observed) in &mut segments {
        missing.iter().for_each(|missing| observed.watched.add(FoundBy::Watch, missing.violation(segment)));
        observed.unguarded = missing.iter().map(|missing| missing.rule).collect();
    }
    for policy in index.world.policies.values() {
        if let PolicyState::Known(policy) = policy {
            exceptions(index, policy, &members, &mut segments, now);
        }
    }
    segments
}

/// Whether an exception lifts a rule that follows the mode where this was found.
pub fn is_lifted(index: &Index, rule: &str, object: &ViolatingObject, now: Timestamp) -> bool {
    let excepted = match rule {
        crate::admission::rules::consumers::RULE => ExceptedRule::Consumers,
        crate::admission::rules::replication::RULE => ExceptedRule::Replication,
        _ => return false,
    };
    object.namespace.as_deref().is_some_and(|namespace| is_excepted(namespace, excepted, &index.world, now))
}

/// What the status of a ScopedSecret says that is a breach of a rule.
fn of_claim(record: &ClaimRecord) -> Vec<(&'static str, Reason)> {
    let mut all = Vec::new();
    if let Some(reason) = record.status.denied(ConditionType::Authorized) {
        all.push((crate::admission::rules::claims::RULE, reason));
    }
    if record.status.denied(ConditionType::Unique).is_some() {
        all.push(("UniqueValues", Reason::ValueShared));
    }
    if record.status.denied(ConditionType::Ready) == Some(Reason::ForeignConsumer) {
        all.push((crate::admission::rules::consumers::RULE, Reason::ForeignConsumer));
    }
    all
}

fn claims(segment: &Arc<str>, rule: &'static str, reason: Reason, name: &ObjectName) -> Violation {
    Violation {
        segment: segment.clone(),
        rule,
        reason,
        object: object(&format!("{GROUP}/v1alpha1"), "ScopedSecret", name),
        message: format!("{} {} Its status says more.", reason.meaning(), reason.fix()),
    }
}

/// A value that is older than the policy allows. The text is the same every day, so that a report is written once for it.
fn aged(index: &Index, segment: &Arc<str>, old: &TooOld<'_>) -> Violation {
    let claimed = index.claims.contains_key(&old.claim);
    let key = old.version.key.aws_parts().map_or(old.version.key.as_str(), |(_, _, name)| name);
    Violation {
        segment: segment.clone(),
        rule: crate::admission::rules::claims::RULE,
        reason: Reason::MaxAgeExceeded,
        object: match claimed {
            true => object(&format!("{GROUP}/v1alpha1"), "ScopedSecret", &old.claim),
            false => object("v1", "Secret", old.secret),
        },
        message: format!(
            "the current version of key {key:?} was created at {}, and rules.maxAge of the policy is {}. {}",
            old.created,
            old.limit.text,
            Reason::MaxAgeExceeded.fix()
        ),
    }
}

/// Two segments of one name, which a namespace that came later made.
fn namesake(segment: &Arc<str>, namespace: &str, name: &str, bearers: &BTreeMap<&[String], &Arc<str>>) -> Violation {
    let object =
        ObjectRef { api_version: "v1".into(), kind: "Namespace".into(), namespace: None, name: namespace.to_owned() };
    let message = namesakes::told(name, bearers);
    let rule = crate::admission::rules::policies::RULE;
    Violation { segment: segment.clone(), rule, reason: Reason::SegmentConflict, object, message }
}

/// A Secret that says that it is ours, and is not.
fn is_forged(index: &Index, name: &ObjectName, facts: &SecretFacts) -> bool {
    let owned = || {
        let uids = index.claims_for(name).filter_map(|claim| Some(&index.claims.get(claim)?.uid));
        uids.into_iter().any(|uid| facts.owner.as_deref() == Some(uid))
    };
    !facts.deleting && facts.labelled && facts.seal.as_ref().err() == Some(&BrokenSeal::Invalid) && !owned()
}

/// What is told of one.
pub fn forged(segment: &Arc<str>, name: &ObjectName) -> Violation {
    Violation {
        segment: segment.clone(),
        rule: crate::admission::rules::managed_secrets::RULE,
        reason: Reason::ReservedMetadata,
        object: object("v1", "Secret", name),
        message: managed::FORGED.into(),
    }
}

fn retained(segment: &Arc<str>, name: &ObjectName) -> Violation {
    let reason = Reason::WithdrawalPaused;
    Violation {
        segment: segment.clone(),
        rule: crate::admission::rules::claims::RULE,
        reason,
        object: object("v1", "Secret", name),
        message: format!("It outlived its ScopedSecret, and policy does not allow its keys any more. {}", reason.fix()),
    }
}

fn object(api_version: &str, kind: &str, name: &ObjectName) -> ObjectRef {
    ObjectRef {
        api_version: api_version.into(),
        kind: kind.into(),
        namespace: Some(name.namespace.clone()),
        name: name.name.to_string(),
    }
}

/// The exceptions of a policy, on the reports of the segments that they are for: those of the namespaces that they name, or all
/// that the policy governs where they name keys, or a namespace that is in none (a copy is judged by whose value it is).
fn exceptions(
    index: &Index,
    policy: &Policy,
    members: &BTreeMap<Arc<str>, Arc<str>>,
    segments: &mut BTreeMap<Arc<str>, Observed>,
    now: Timestamp,
) {
    let in_force = |e: &&Exception| policy.is_in_force(e, now);
    for exception in policy.exceptions.iter().filter(in_force) {
        let governed: Vec<_> = members
            .iter()
            .filter(|(name, _)| index.world.namespaces.get(*name).is_some_and(|labels| policy.selects(name, labels)))
            .collect();
        let named = |name: &str| exception.namespaces.iter().any(|n| n == name);
        let own = |name: &String| governed.iter().any(|(member, _)| ***member == **name);
        // A copy is judged by whose value it is, wherever it lands.
        let by_namespace = !exception.namespaces.is_empty()
            && exception.rule != ExceptedRule::Copies
            && exception.namespaces.iter().all(own);
        let governed = governed.into_iter().filter(|(name, _)| !by_namespace || named(name));
        let concerned: BTreeSet<&Arc<str>> = governed.map(|(_, segment)| segment).collect();
        for segment in concerned {
            if let Some(observed) = segments.get_mut(segment) {
                observed.exceptions.push(told(policy, exception));
            }
        }
    }
}

fn told(policy: &Policy, exception: &Exception) -> ExceptionInForce {
    let subjects = exception.subjects.iter().map(|subject| format!("{:?} {}", subject.kind, subject.name));
    ExceptionInForce {
        policy: policy.name.clone(),
        rule: format!("{:?}", exception.rule),
        reason: exception.reason.clone(),
        expiration_time: exception.expiration_time.clone(),
        lifts: exception.keys.iter().chain(&exception.namespaces).cloned().chain(subjects).collect(),
    }
}

#[cfg(test)]
#[path = "found_tests.rs"]
mod tests;
