//! Which pods use which Secrets: one Secret for several ServiceAccounts, and consumers that are none.

use super::look::Sighted;
use crate::api::Reason;
use crate::cli::report::text::count;
use crate::cli::report::{Outcome, Rule, Severity, Subject};
use crate::segmentation::world::ObjectName;
use kube::ResourceExt;
use std::collections::{BTreeMap, BTreeSet};

/// Judges.
pub fn judge(sighted: &Sighted, outcome: &mut Outcome) {
    let consumers = consumers(sighted);
    let mut users: BTreeMap<ObjectName, BTreeSet<&str>> = BTreeMap::new();
    let well = format!("{} looked at that use Secrets", count(sighted.pods.len(), "pod was", "pods were"));
    outcome.part(
        || well,
        |outcome| {
            for pod in &sighted.pods {
                let mut said = BTreeSet::new();
                for reference in &pod.named {
                    let secret =
                        ObjectName { namespace: pod.name.namespace.clone(), name: reference.secret.as_str().into() };
                    // A registry's credential is for the node, and shared by its nature.
                    if !reference.by.starts_with("imagePullSecrets") {
                        users.entry(secret.clone()).or_default().insert(&pod.account);
                    }
                    let foreign = consumers
                        .get(&secret)
                        .is_some_and(|all| !all.is_empty() && !all.contains(pod.account.as_str()));
                    if foreign && said.insert(secret.clone()) {
                        let subject = Subject::namespaced("Pod", &pod.name.namespace, &pod.name.name);
                        let message = format!(
                            "it runs under ServiceAccount {:?}, which is no consumer of Secret {:?} ({})",
                            pod.account, &*secret.name, reference.by
                        );
                        outcome.find(Severity::Error, Rule::Consumers, Reason::ForeignConsumer, subject, message);
                    }
                }
            }
            for (secret, accounts) in users {
                // What a ScopedSecret says of its consumers was meant.
                if accounts.len() < 2 || consumers.contains_key(&secret) {
                    continue;
                }
                let subject = Subject::namespaced("Secret", &secret.namespace, &secret.name);
                let all: Vec<&str> = accounts.iter().copied().take(5).collect();
                let message = format!(
                    "pods under {} use it: {}",
                    count(accounts.len(), "ServiceAccount", "ServiceAccounts"),
                    all.join(", ")
                );
                outcome.find(Severity::Warning, Rule::Consumers, Reason::SecretShared, subject, message);
            }
        },
    );
}

/// The consumers of each projected Secret.
fn consumers(sighted: &Sighted) -> BTreeMap<ObjectName, BTreeSet<&str>> {
    let of = |claim: &'_ crate::api::ScopedSecret| {
        let name = claim.name_any();
        ObjectName::new(&claim.namespace().unwrap_or_default(), claim.spec.target_name(&name))
    };
    let written =
        sighted.observed.claims.iter().filter(|claim| claim.status.as_ref().is_some_and(|s| s.secret_ref.is_some()));
    written
        .map(|claim| (of(claim), claim.spec.consumers.iter().map(|c| c.service_account_name.as_str()).collect()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::look::PodSeen;
    use super::super::look::tests::sighted;
    use super::*;
    use crate::cli::observed::tests::claim;
    use crate::cli::references::Reference;

    fn pod(name: &str, account: &str, secret: &str, by: &str) -> PodSeen {
        let reference = Reference { secret: secret.into(), by: by.into(), optional: false };
        PodSeen {
            name: ObjectName::new("payments-prod", name),
            account: account.into(),
            named: vec![reference.clone(), reference],
        }
    }

    fn found(pods: Vec<PodSeen>) -> Vec<(Reason, String)> {
        let mut sighted = sighted(&[claim("payments-prod", "orders", "payments/prod/a", 1, true)], &[]);
        sighted.pods = pods;
        let mut outcome = Outcome::default();
        judge(&sighted, &mut outcome);
        outcome.findings.into_iter().map(|f| (f.reason, f.subject.to_string())).collect()
    }

    #[test]
    fn who_uses_what() {
        let env = "env A of container c";
        assert_eq!(found(vec![pod("a", "orders", "orders", env), pod("b", "web", "legacy", env)]), []);
        let shared = found(vec![pod("a", "orders", "legacy", env), pod("b", "web", "legacy", env)]);
        assert_eq!(shared, [(Reason::SecretShared, "Secret payments-prod/legacy".into())]);
        let pull = "imagePullSecrets";
        assert_eq!(found(vec![pod("a", "orders", "registry", pull), pod("b", "web", "registry", pull)]), []);
        let foreign = found(vec![pod("a", "orders", "orders", env), pod("b", "thief", "orders", env)]);
        assert_eq!(foreign, [(Reason::ForeignConsumer, "Pod payments-prod/b".into())]);
    }
}
