//! Secrets of a segment that a replicator would carry out of it, or fill from elsewhere: by marks on them, or by the kinds of
//! carvel's secretgen-controller.

use super::look::Sighted;
use super::scopes::Scopes;
use super::told::tell;
use crate::api::policy::ExceptedRule;
use crate::cli::cluster::{Cluster, Failure};
use crate::cli::report::{Finding, Outcome, Rule, Severity, Subject};
use crate::controller::index::object_name;
use crate::controller::scan::secretgen;
use crate::segmentation::authorize::is_excepted;
use crate::segmentation::replication::{RULE, SECRETGEN, of_secretgen};
use crate::segmentation::violation::Violation;
use crate::segmentation::world::ObjectName;
use jiff::Timestamp;
use kube::api::{Api, DynamicObject, ListParams};
use serde_json::Value;

/// An object of carvel's: its kind, its name, and its spec.
pub type Carvel = (&'static str, ObjectName, Value);

/// Carvel's objects, where there are such kinds.
pub async fn look(cluster: &Cluster) -> Result<Vec<Carvel>, Failure> {
    let mut all = Vec::new();
    let groups = cluster.see(cluster.client.list_api_groups().await, "get", "/apis", None)?.found();
    // Who may not list what is not there is told nothing of it.
    if !groups.is_some_and(|groups| groups.groups.iter().any(|group| group.name == SECRETGEN)) {
        return Ok(all);
    }
    for (kind, resource) in secretgen::kinds() {
        let api = |namespace: Option<&str>| match namespace {
            Some(namespace) => Api::<DynamicObject>::namespaced_with(cluster.client.clone(), namespace, &resource),
            None => Api::all_with(cluster.client.clone(), &resource),
        };
        let take = |page: Vec<DynamicObject>| {
            let named =
                |object: &DynamicObject| Some((kind, object_name(&object.metadata)?, object.data["spec"].clone()));
            all.extend(page.iter().filter_map(named));
        };
        cluster.each_page_in_reach(api, ListParams::default(), take).await?;
    }
    Ok(all)
}

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
    let carried = |(kind, name, spec): &Carvel| -> Option<Violation> {
        let scope = scopes.of(&name.namespace);
        let managed = sighted.secrets.get(name).is_some_and(|secret| secret.managed);
        let lifted = is_excepted(&name.namespace, ExceptedRule::Replication, &sighted.observed.world, now);
        of_secretgen(kind, name, spec, managed, &scope.segment()?.into()).filter(|_| !lifted)
    };
    tell(sighted.carvel.iter().filter_map(carried).collect(), scopes, outcome);
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

    #[test]
    fn what_carvel_is_told_to_carry() {
        let label = json!({"app.kubernetes.io/managed-by": "scoped-secrets"});
        let secret = json!({"metadata": {"name": "orders", "namespace": "payments-prod", "labels": label}});
        let secret: Secret = serde_json::from_value(secret).unwrap();
        let found = |kind: &'static str, namespace: &str, spec: Value| {
            let mut sighted = sighted(&[], std::slice::from_ref(&secret));
            sighted.carvel = vec![(kind, ObjectName::new(namespace, "orders"), spec)];
            judged(sighted, &[], judge).findings.iter().map(|f| (f.subject.kind.clone(), f.reason)).collect::<Vec<_>>()
        };
        let from = |namespace: &str| json!({"fromNamespace": namespace});
        let told = |kind: &str, reason| vec![(kind.to_owned(), reason)];
        let everywhere = json!({"toNamespaces": ["*"]});
        assert_eq!(found("SecretExport", "payments-prod", everywhere), told("SecretExport", Reason::ReplicatedOut));
        assert_eq!(found("SecretExport", "billing-prod", json!({})), []);
        assert_eq!(
            found("SecretImport", "payments-prod", from("billing-prod")),
            told("SecretImport", Reason::ReplicatedIn)
        );
        assert_eq!(found("SecretImport", "plain", from("billing-prod")), []);
    }
}
