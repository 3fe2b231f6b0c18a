//! Secrets of a segment that a replicator would carry out of it, or fill from elsewhere.

use super::look::Sighted;
use super::scopes::Scopes;
use crate::api::policy::ExceptedRule;
use crate::cli::report::{Finding, Outcome, Rule, Severity, Subject};
use crate::segmentation::authorize::is_excepted;
use crate::segmentation::replication::RULE;
use jiff::Timestamp;

/// Judges.
pub fn judge(sighted: &Sighted, scopes: &Scopes, now: Timestamp, outcome: &mut Outcome) {
    let inside = sighted.secrets.iter().filter(|(name, _)| scopes.of(&name.namespace).is_segment());
    for (name, secret) in inside {
        let Some((reason, message)) = &secret.carried else { continue };
        if !is_excepted(&name.namespace, ExceptedRule::Replication, &sighted.observed.world, now) {
            let subject = Subject::namespaced("Secret", &name.namespace, &name.name);
            let finding = Finding::live(Severity::Error, Rule::named(RULE), *reason, subject, message.as_str());
            outcome.push(finding.mend(reason.fix()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::look::tests::{judged, sighted};
    use super::*;
    use crate::api::Reason;
    use k8s_openapi::api::core::v1::Secret;
    use serde_json::json;

    #[test]
    fn what_a_replicator_carries_across_a_boundary() {
        let from = "replicator.v1.mittwald.de/replicate-from";
        let secret = |namespace: &str, managed: bool, source: &str| -> Secret {
            let label = if managed { "scoped-secrets" } else { "Helm" };
            let metadata = json!({"name": "s", "namespace": namespace, "annotations": {from: source},
                "labels": {"app.kubernetes.io/managed-by": label}});
            serde_json::from_value(json!({"metadata": metadata})).unwrap()
        };
        for (what, secret, labels, expected) in [
            (
                "filled from elsewhere",
                secret("payments-prod", false, "billing-prod/db"),
                &[][..],
                Some(Reason::ReplicatedIn),
            ),
            ("filled from its own namespace", secret("payments-prod", false, "payments-prod/db"), &[], None),
            ("a projected one", secret("payments-prod", true, "payments-prod/db"), &[], Some(Reason::ReplicatedOut)),
            ("in no segment", secret("plain", false, "billing-prod/db"), &[], None),
        ] {
            let outcome = judged(sighted(&[], &[secret]), labels, judge);
            assert_eq!(outcome.findings.first().map(|f| f.reason), expected, "{what}");
        }
    }
}
