//! The guarantees themselves: the same oracle that the tests ask ([`crate::segmentation::guarantees`]), over what stands.

use super::look::Sighted;
use crate::api::Reason;
use crate::cli::report::{Outcome, Rule, Severity, Subject};
use crate::segmentation::guarantees::{Breach, Managed, breaches};

use crate::segmentation::world::World;
use jiff::Timestamp;
use std::sync::Arc;

/// Each guarantee that does not hold, where Scoped Secrets is installed.
pub fn judge(sighted: &Sighted, now: Timestamp, outcome: &mut Outcome) {
    let observed = &sighted.observed;
    if !observed.installed {
        return outcome
            .pass("Scoped Secrets is not installed: its guarantees were not looked at, Secrets and pods were");
    }
    let world = compared(sighted);
    // A seal opens for the operator alone: that it is there is what can be seen of it.
    let managed = sighted.secrets.iter().filter(|(_, secret)| secret.managed).map(|(name, secret)| Managed {
        name: name.clone(),
        owner: secret.owner.clone(),
        sealed: secret.sealed,
        intact: true,
    });
    let managed: Vec<Managed> = managed.collect();
    // Who may not list Secrets cannot tell that one is missing.
    let told = if sighted.every_secret && observed.every_claim { observed.told() } else { Vec::new() };
    let managed = if told.is_empty() { Vec::new() } else { managed };
    let well = format!("the guarantees hold for {} ScopedSecrets", observed.claims.len());
    outcome.part(
        || well,
        |outcome| {
            for breach in breaches(&world, &managed, &told, now) {
                find(&breach, &world, outcome);
            }
        },
    );
}

/// The world with the values that stand in more than one Secret.
fn compared(sighted: &Sighted) -> World {
    let mut world = World::default();
    let seen = &sighted.observed.world;
    world.policies_synced = seen.policies_synced;
    world.policies.clone_from(&seen.policies);
    world.namespaces.clone_from(&seen.namespaces);
    for (name, state) in &seen.stores {
        world.put_store(name, Some(state.clone()));
    }
    seen.claims().for_each(|claim| world.put_claim(claim.clone()));
    let prints = sighted.values.as_ref().map(|values| values.prints()).unwrap_or_default();
    for (secret, holding) in seen.holdings() {
        let mut holding = holding.clone();
        holding.fingerprints = prints.get(secret).cloned().unwrap_or_default().into();
        world.put_holding(secret.clone(), Arc::new(holding));
    }
    world
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
    use super::super::look::SecretSeen;
    use super::super::look::tests::sighted;
    use super::*;
    use crate::cli::observed::tests::{claim, now};
    use crate::segmentation::world::ObjectName;

    const HARD: &[u8] = b"kX9#mQ2$vL8@nR5!wT3z";

    fn found(mut sighted: Sighted, sealed: bool) -> Vec<Reason> {
        for (name, secret) in &mut sighted.secrets {
            let owner = format!("uid-{}-{}", name.namespace, name.name);
            *secret = SecretSeen { managed: true, sealed, owner: Some(owner) };
        }
        let mut outcome = Outcome::default();
        judge(&sighted, now(), &mut outcome);
        outcome.findings.iter().map(|f| f.reason).collect()
    }

    #[test]
    fn each_guarantee_is_asked() {
        let own = claim("payments-prod", "a", "payments/prod/a", 1, true);
        let secrets: [(&str, &str, &[u8]); 1] = [("payments-prod/a", "p", HARD)];
        assert_eq!(found(sighted(&[own.clone()], &secrets), true), []);
        assert_eq!(found(sighted(&[own.clone()], &secrets), false), [Reason::ReservedMetadata]);
        assert_eq!(found(sighted(&[own.clone()], &[]), true), [Reason::WriteFailed], "Ready without a Secret");
        let foreign = claim("billing-prod", "b", "payments/prod/a", 2, true);
        let both: [(&str, &str, &[u8]); 2] = [("payments-prod/a", "p", HARD), ("billing-prod/b", "p", HARD)];
        let reasons = found(sighted(&[own.clone(), foreign], &both), true);
        assert_eq!(reasons, [Reason::KeyNotAllowed, Reason::KeyClaimed, Reason::ValueShared]);
        let other = claim("billing-prod", "b", "billing/prod/b", 2, true);
        assert_eq!(found(sighted(&[own], &both), true), [Reason::SecretManaged], "its owner is gone");
        assert_eq!(found(sighted(&[other], &both[1..]), true), []);
    }

    #[test]
    fn without_secrets_nothing_is_missed() {
        let own = claim("payments-prod", "a", "payments/prod/a", 1, true);
        let mut sighted = sighted(&[own], &[]);
        sighted.every_secret = false;
        let mut outcome = Outcome::default();
        judge(&sighted, now(), &mut outcome);
        assert_eq!(outcome.findings, []);
        assert!(sighted.observed.world.holding(&ObjectName::new("payments-prod", "a")).is_some());
    }
}
