//! The guarantees themselves: the same oracle that the tests ask ([`crate::segmentation::guarantees`]), over what stands.

use super::look::{SecretSeen, Sighted};
use crate::api::Reason;
use crate::cli::observed::Observed;
use crate::cli::report::text::count;
use crate::cli::report::{Outcome, Rule, Severity, Subject};
use crate::controller::index::object_name;
use crate::segmentation::guarantees::{Breach, Managed, breaches};
use crate::segmentation::managed::{FORGED, Mark};
use crate::segmentation::world::{ObjectName, World};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// Each guarantee that does not hold, where Scoped Secrets is installed.
pub fn judge(sighted: &Sighted, now: Timestamp, outcome: &mut Outcome) {
    let observed = &sighted.observed;
    if !observed.installed {
        return outcome
            .pass("Scoped Secrets is not installed: its guarantees were not looked at, all else was (a namespace that no policy governs is in no segment but by --labels)");
    }
    let world = &observed.world;
    // What outlives its ScopedSecret, as the guard says, is retained.
    let outlives = |name: &ObjectName, secret: &SecretSeen| {
        secret.sealed && secret.owner.is_none() && sighted.kept.contains_key(name)
    };
    // A seal opens for the operator alone: that it is there is what can be seen of it.
    let managed = sighted.secrets.iter().filter(|(name, secret)| secret.managed && !outlives(name, secret)).map(
        |(name, secret)| Managed {
            name: name.clone(),
            owner: secret.owner.clone(),
            sealed: secret.sealed,
            intact: true,
        },
    );
    let managed: Vec<Managed> = managed.collect();
    // Who may not list Secrets cannot tell that one is missing.
    let told = if sighted.every_secret && observed.every_claim { observed.told() } else { Vec::new() };
    let managed = if told.is_empty() { Vec::new() } else { managed };
    let well = format!("the guarantees hold for {}", count(observed.claims.len(), "ScopedSecret", "ScopedSecrets"));
    let judge = |outcome: &mut Outcome| {
        for breach in breaches(world, &managed, &told, now) {
            find(&breach, world, outcome);
        }
        if observed.every_claim {
            forged(sighted, outcome);
        }
        shared(observed, outcome);
    };
    // Of what could not be looked at nothing is well.
    if sighted.every_secret && observed.every_claim && observed.policies_seen {
        outcome.part(|| well, judge);
    } else {
        judge(outcome);
    }
}

/// ScopedSecrets that say themselves that another segment has one of their values, which breaks no promise, and waits for somebody.
fn shared(observed: &Observed, outcome: &mut Outcome) {
    for claim in &observed.claims {
        let Some(name) = object_name(&claim.metadata) else { continue };
        let mut conditions = claim.status.iter().flat_map(|status| &status.conditions);
        if let Some(unique) = conditions.find(|c| c.type_ == "Unique" && c.status == "False") {
            let subject = Subject::namespaced("ScopedSecret", &name.namespace, &name.name);
            outcome.find(Severity::Warning, Rule::UniqueValues, Reason::ValueShared, subject, unique.message.as_str());
        }
    }
}

/// Secrets that pass for the operator's by a seal or an owner alone, or by the label and an owner that projects another Secret (a
/// target never changes). What else has the label was asked about above.
fn forged(sighted: &Sighted, outcome: &mut Outcome) {
    let world = &sighted.observed.world;
    let claimed: BTreeSet<ObjectName> = world.claims().map(|claim| claim.secret()).collect();
    let by_owner: BTreeMap<&str, ObjectName> = world.claims().map(|claim| (&*claim.uid, claim.secret())).collect();
    for (name, secret) in &sighted.secrets {
        let Some(mark) = secret.mark else { continue };
        let subject = Subject::namespaced("Secret", &name.namespace, &name.name);
        let is_forged = match mark {
            Mark::Label => {
                let owned = secret.owner.as_deref().and_then(|uid| by_owner.get(uid));
                let is_told =
                    outcome.findings.iter().any(|f| f.reason == Reason::ReservedMetadata && f.subject == subject);
                owned.is_some_and(|target| target != name) && !is_told
            }
            Mark::Seal | Mark::Controller => !claimed.contains(name),
        };
        if is_forged {
            outcome.find(Severity::Error, Rule::ManagedSecrets, Reason::ReservedMetadata, subject, FORGED);
        }
    }
}

fn find(breach: &Breach, world: &World, outcome: &mut Outcome) {
    let subject = |kind| Subject::namespaced(kind, &breach.object.namespace, &breach.object.name);
    let message = format!("guarantee {} does not hold: {}", breach.guarantee, breach.what);
    let (rule, reason, kind) = match breach.guarantee {
        1 => {
            let reason = breach.what.split(':').next().and_then(Reason::from_text).unwrap_or(Reason::KeyNotAllowed);
            (Rule::Claims, reason, "Secret")
        }
        2 => (Rule::ExclusiveKeys, Reason::KeyClaimed, "Secret"),
        3 => (Rule::UniqueValues, Reason::ValueShared, "Secret"),
        _ if world.claim(&breach.object).is_some() && breach.what.contains("Ready") => {
            (Rule::ManagedSecrets, Reason::WriteFailed, "ScopedSecret")
        }
        _ if breach.what.contains("seal") => (Rule::ManagedSecrets, Reason::ReservedMetadata, "Secret"),
        _ => (Rule::ManagedSecrets, Reason::SecretManaged, "Secret"),
    };
    outcome.find(Severity::Error, rule, reason, subject(kind), message);
}

#[cfg(test)]
mod tests {
    use super::super::look::tests::sighted;
    use super::super::values::tests::{HARD, secret};
    use super::*;
    use crate::cli::observed::tests::{claim, now};
    use k8s_openapi::api::core::v1::Secret;
    use serde_json::Value;
    use std::slice::from_ref;

    fn found(claims: &[Value], secrets: &[Secret], sealed: bool) -> Vec<Reason> {
        let mut sighted = sighted(claims, secrets);
        sighted.compare(secrets, &[]);
        for (name, secret) in &mut sighted.secrets {
            let owner = format!("uid-{}-{}", name.namespace, name.name);
            *secret = SecretSeen { managed: true, sealed, owner: Some(owner), mark: Some(Mark::Label), carried: None };
        }
        let mut outcome = Outcome::default();
        judge(&sighted, now(), &mut outcome);
        outcome.findings.iter().map(|f| f.reason).collect()
    }

    #[test]
    fn each_guarantee_is_asked() {
        let own = claim("payments-prod", "a", "payments/prod/a", 1, true);
        let secrets = [secret("payments-prod/a", "p", HARD)];
        assert_eq!(found(from_ref(&own), &secrets, true), []);
        assert_eq!(found(from_ref(&own), &secrets, false), [Reason::ReservedMetadata]);
        assert_eq!(found(from_ref(&own), &[], true), [Reason::WriteFailed], "Ready without a Secret");
        let foreign = claim("billing-prod", "b", "payments/prod/a", 2, true);
        let both = [secret("payments-prod/a", "p", HARD), secret("billing-prod/b", "p", HARD)];
        let reasons = found(&[own.clone(), foreign], &both, true);
        assert_eq!(reasons, [Reason::KeyNotAllowed, Reason::KeyClaimed, Reason::ValueShared]);
        let other = claim("billing-prod", "b", "billing/prod/b", 2, true);
        assert_eq!(found(&[own], &both, true), [Reason::SecretManaged], "its owner is gone");
        assert_eq!(found(&[other], &both[1..], true), []);
    }

    #[test]
    fn a_value_that_is_shared_and_was_found_is_told() {
        let claims = |unique: &str| {
            let mut other = claim("billing-prod", "b", "billing/prod/b", 2, true);
            let condition = serde_json::json!({"type": "Unique", "status": unique, "reason": "ValueShared",
                "message": "one of the values is also held in another segment", "lastTransitionTime": "2026-01-01T00:00:00Z"});
            other["status"]["conditions"].as_array_mut().unwrap().push(condition);
            [claim("payments-prod", "a", "payments/prod/a", 1, true), other]
        };
        for (unique, kind) in [("False", "ScopedSecret billing-prod/b"), ("True", "Secret billing-prod/b")] {
            let secrets = [secret("payments-prod/a", "p", HARD), secret("billing-prod/b", "p", HARD)];
            let mut sighted = sighted(&claims(unique), &secrets);
            sighted.compare(&secrets, &[]);
            for (name, secret) in &mut sighted.secrets {
                let owner = Some(format!("uid-{}-{}", name.namespace, name.name));
                *secret =
                    SecretSeen { managed: true, sealed: true, owner, mark: Some(Mark::Label), ..SecretSeen::default() };
            }
            let mut outcome = Outcome::default();
            judge(&sighted, now(), &mut outcome);
            let told: Vec<_> = outcome.findings.iter().map(|f| (f.reason, f.subject.to_string())).collect();
            assert_eq!(told, [(Reason::ValueShared, kind.to_owned())], "{unique}");
            assert_eq!(outcome.passed, [""; 0], "not all is well");
        }
    }

    #[test]
    fn what_passes_for_the_operators_by_a_seal_or_an_owner_alone() {
        let own = claim("payments-prod", "a", "payments/prod/a", 1, false);
        for (name, mark, expected) in [
            ("other", None, 0),
            ("other", Some(Mark::Seal), 1),
            ("other", Some(Mark::Controller), 1),
            ("a", Some(Mark::Controller), 0),
        ] {
            let mut sighted = sighted(from_ref(&own), &[]);
            let seen = SecretSeen { mark, ..SecretSeen::default() };
            sighted.secrets.insert(ObjectName::new("payments-prod", name), seen);
            let mut outcome = Outcome::default();
            judge(&sighted, now(), &mut outcome);
            let told = outcome.findings.iter().filter(|f| f.reason == Reason::ReservedMetadata).count();
            assert_eq!(told, expected, "{name} {mark:?}");
        }
    }

    #[test]
    fn what_has_the_label_and_the_owner_of_another_secret() {
        let own = claim("payments-prod", "a", "payments/prod/a", 1, false);
        for (namespace, name, sealed, expected) in [
            ("payments-prod", "a", true, 0),
            ("payments-prod", "other", true, 1),
            ("billing-prod", "a", true, 1),
            ("payments-prod", "other", false, 1),
        ] {
            let mut sighted = sighted(from_ref(&own), &[]);
            let owner = Some("uid-payments-prod-a".to_owned());
            let seen = SecretSeen { managed: true, sealed, owner, mark: Some(Mark::Label), carried: None };
            sighted.secrets.insert(ObjectName::new(namespace, name), seen);
            let mut outcome = Outcome::default();
            judge(&sighted, now(), &mut outcome);
            let reasons: Vec<Reason> = outcome.findings.iter().map(|f| f.reason).collect();
            assert_eq!(reasons, vec![Reason::ReservedMetadata; expected], "{namespace}/{name} {sealed}");
            assert_eq!(outcome.passed.is_empty(), expected > 0, "{namespace}/{name} {sealed}");
        }
    }

    #[test]
    fn what_outlives_its_scoped_secret_breaks_nothing() {
        let own = claim("payments-prod", "a", "payments/prod/a", 1, false);
        let left = ObjectName::new("payments-prod", "left");
        for (kept, sealed, expected) in [(true, true, 0), (false, true, 1), (true, false, 1)] {
            let mut sighted = sighted(from_ref(&own), &[]);
            let seen = SecretSeen { managed: true, sealed, mark: Some(Mark::Label), ..SecretSeen::default() };
            sighted.secrets.insert(left.clone(), seen);
            sighted.kept.extend(kept.then(|| (left.clone(), None)));
            let mut outcome = Outcome::default();
            judge(&sighted, now(), &mut outcome);
            assert_eq!(outcome.findings.len(), expected, "{kept} {sealed}");
        }
    }

    #[test]
    fn without_secrets_nothing_is_missed() {
        let own = claim("payments-prod", "a", "payments/prod/a", 1, true);
        let mut sighted = sighted(&[own], &[]);
        sighted.every_secret = false;
        let mut outcome = Outcome::default();
        judge(&sighted, now(), &mut outcome);
        assert_eq!((outcome.findings, outcome.passed), (vec![], vec![]), "nothing is said to be well");
        assert!(sighted.observed.world.holding(&ObjectName::new("payments-prod", "a")).is_some());
    }
}
