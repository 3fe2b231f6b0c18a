//! The operator: its pods, who leads, and its seal key.

use super::installed::{Installed, NAME};
use crate::api::Reason;
use crate::cli::cluster::Seen;
use crate::cli::observed::ago;
use crate::cli::report::{Outcome, Rule, Severity, Subject};
use crate::controller::keys::KEY_SECRET;
use crate::leader::LEASE;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;

/// The reader's clock may be off by as much.
const CLOCK_SKEW: SignedDuration = SignedDuration::from_secs(10);

/// Deployment, Lease, seal key.
pub fn judge(found: &Installed, now: Timestamp, outcome: &mut Outcome) {
    let place = &found.installation.namespace;
    let lease = Subject::namespaced("Lease", place, LEASE);
    let deployment = Subject::namespaced("Deployment", place, NAME);
    let down = |outcome: &mut Outcome, severity, subject, message: String| {
        outcome.find(severity, Rule::Installation, Reason::OperatorDown, subject, message);
    };
    let mut led = false;
    match &found.lease {
        Seen::There(found) => match leader(found, now) {
            Ok(text) => {
                led = true;
                outcome.pass(text);
            }
            Err(why) => down(outcome, Severity::Error, lease, why),
        },
        Seen::Absent => down(outcome, Severity::Error, lease, "there is none: no operator has ever led here".into()),
        Seen::Barred => {}
    }
    match &found.deployment {
        Seen::There(found) => match pods(found) {
            Ok(text) => outcome.pass(text),
            Err((severity, why)) => down(outcome, severity, deployment, why),
        },
        Seen::Absent if led => outcome.pass("no Deployment: the operator runs outside of this cluster"),
        Seen::Absent => down(outcome, Severity::Error, deployment, "there is none, and nobody leads".into()),
        Seen::Barred => {}
    }
    match &found.seal_key {
        Seen::There(()) => outcome.pass("the seal key is there"),
        Seen::Absent => {
            let subject = Subject::namespaced("Secret", place, KEY_SECRET);
            let message = "the operator's seal key is not there: no Secret that it wrote can be told for its own";
            outcome.find(Severity::Error, Rule::Installation, Reason::SealKeyMissing, subject, message);
        }
        Seen::Barred => {}
    }
}

/// Who leads, or why nobody does.
fn leader(lease: &Lease, now: Timestamp) -> Result<String, String> {
    let nobody = || Err("nobody leads: nothing is fetched, refreshed or withdrawn".to_owned());
    let Some(spec) = &lease.spec else { return nobody() };
    let Some(holder) = spec.holder_identity.as_deref().filter(|holder| !holder.is_empty()) else { return nobody() };
    let Some(renewed) = spec.renew_time.as_ref().map(|time| time.0) else { return nobody() };
    let life = SignedDuration::from_secs(spec.lease_duration_seconds.unwrap_or(15).into());
    let age = now.duration_since(renewed);
    let holder = holder.split('_').next().unwrap_or(holder);
    if age > life + CLOCK_SKEW {
        let age = ago(renewed, now);
        return Err(format!(
            "{holder:?} leads no more: it last renewed the Lease {age} ago, so nothing is fetched, refreshed or withdrawn"
        ));
    }
    Ok(format!("{holder:?} leads"))
}

fn pods(deployment: &Deployment) -> Result<String, (Severity, String)> {
    let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let status = deployment.status.clone().unwrap_or_default();
    let ready = status.ready_replicas.unwrap_or(0);
    if wanted == 0 {
        return Err((Severity::Error, "it is scaled to 0: the operator is turned off".to_owned()));
    }
    if ready < wanted {
        let severity = if ready == 0 { Severity::Error } else { Severity::Warning };
        return Err((severity, format!("{ready} of {wanted} pods are ready")));
    }
    if status.observed_generation < deployment.metadata.generation {
        return Err((Severity::Warning, "its last change is not rolled out yet".to_owned()));
    }
    Ok(format!("{ready} of {wanted} pods of the operator are ready"))
}

#[cfg(test)]
mod tests {
    use super::super::installed::tests::healthy;
    use super::*;
    use crate::cli::observed::tests::now;
    use serde_json::json;

    fn found(bend: impl FnOnce(&mut Installed)) -> Vec<(Severity, Reason)> {
        let mut found = healthy(&[]);
        bend(&mut found);
        let mut outcome = Outcome::default();
        judge(&found, now(), &mut outcome);
        outcome.findings.iter().map(|f| (f.severity, f.reason)).collect()
    }

    fn deployment(wanted: i32, ready: i32) -> Seen<Deployment> {
        Seen::There(
            serde_json::from_value(json!({"spec": {"replicas": wanted, "selector": {}, "template": {}},
                "status": {"readyReplicas": ready}}))
            .unwrap(),
        )
    }

    fn lease(holder: &str, seconds_ago: i64) -> Seen<Lease> {
        let renewed = now() - SignedDuration::from_secs(seconds_ago);
        Seen::There(
            serde_json::from_value(json!({"spec": {"holderIdentity": holder, "leaseDurationSeconds": 15,
                "renewTime": format!("{renewed:.6}")}}))
            .unwrap(),
        )
    }

    #[test]
    fn pods_leader_and_key() {
        let (error, warning) = (Severity::Error, Severity::Warning);
        assert_eq!(found(|_| {}), []);
        assert_eq!(found(|f| f.deployment = deployment(2, 1)), [(warning, Reason::OperatorDown)]);
        assert_eq!(found(|f| f.deployment = deployment(2, 0)), [(error, Reason::OperatorDown)]);
        assert_eq!(found(|f| f.deployment = deployment(0, 0)), [(error, Reason::OperatorDown)]);
        assert_eq!(found(|f| f.deployment = Seen::Absent), [], "it may run elsewhere");
        assert_eq!(found(|f| f.lease = lease("a", 20)), [], "a clock may be off");
        assert_eq!(found(|f| f.lease = lease("a", 60)), [(error, Reason::OperatorDown)]);
        assert_eq!(found(|f| f.lease = lease("", 1)), [(error, Reason::OperatorDown)]);
        assert_eq!(found(|f| f.seal_key = Seen::Absent), [(error, Reason::SealKeyMissing)]);
        assert_eq!(
            found(|f| {
                f.lease = Seen::Absent;
                f.deployment = Seen::Absent;
            }),
            [(error, Reason::OperatorDown); 2]
        );
        assert_eq!(
            found(|f| {
                f.lease = Seen::Barred;
                f.seal_key = Seen::Barred;
            }),
            [],
            "gaps say so themselves"
        );
    }
}
