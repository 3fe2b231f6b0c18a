//! Which namespaces the operator serves, and what that leaves unseen.

use super::installed::{Installed, NAME};
use crate::api::{GROUP, NAMESPACE_NAME_LABEL, Reason};
use crate::cli::report::{Finding, Outcome, Rule, Severity, Subject};
use crate::controller::served::Served;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::Deployment;
use kube::ResourceExt;

const VARIABLE: &str = "SCOPED_SECRETS_NAMESPACES";
const FLAG: &str = "--namespaces";

/// As the Deployment says; where there is none, as the webhook's entry for ScopedSecrets does.
pub fn served(deployment: Option<&Deployment>, configuration: Option<&ValidatingWebhookConfiguration>) -> Served {
    let registered = || configuration.map(registered).unwrap_or_default();
    Served::of(&deployment.map(told).unwrap_or_else(registered))
}

/// The flag decides over the variable, as in the operator.
fn told(deployment: &Deployment) -> Vec<String> {
    let pod = deployment.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    let container = pod.and_then(|pod| pod.containers.iter().find(|container| container.name == NAME));
    let arguments = container.and_then(|container| container.args.as_deref()).unwrap_or_default();
    let mut flags = arguments.iter().enumerate().filter_map(|(at, argument)| match argument.strip_prefix(FLAG)? {
        "" => arguments.get(at + 1).cloned(),
        rest => rest.strip_prefix('=').map(str::to_owned),
    });
    let variables = container.and_then(|container| container.env.as_deref()).unwrap_or_default();
    let variable = || variables.iter().find(|variable| variable.name == VARIABLE)?.value.clone();
    let list = flags.next_back().or_else(variable).unwrap_or_default();
    list.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// Other entries select by name as well what a policy governs.
fn registered(configuration: &ValidatingWebhookConfiguration) -> Vec<String> {
    let own = format!("scopedsecrets.{GROUP}");
    let entries = configuration.webhooks.iter().flatten().filter(|entry| entry.name == own);
    let selectors = entries.filter_map(|entry| entry.namespace_selector.as_ref());
    let mut expressions = selectors.flat_map(|selector| selector.match_expressions.iter().flatten());
    let by_name = expressions.find(|expression| expression.key == NAMESPACE_NAME_LABEL && expression.operator == "In");
    by_name.and_then(|expression| expression.values.clone()).unwrap_or_default()
}

/// What is served, ScopedSecrets that nobody looks at, and namespaces that are not there.
pub fn judge(found: &Installed, only: Option<&str>, outcome: &mut Outcome) {
    let served = found.served();
    let Some(listed) = served.listed().map(|listed| listed.map(str::to_owned).collect::<Vec<_>>()) else { return };
    outcome.pass(format!(
        "the operator serves {} and no other namespace: ScopedSecrets, pods, roles, copies and grants elsewhere are not looked at",
        listed.join(", ")
    ));
    let there = &found.observed.world.namespaces;
    for name in listed.iter().filter(|name| found.observed.every_namespace && !there.contains_key(name.as_str())) {
        let message =
            "the operator is to serve it, and it is not there: when it is made, its Role and RoleBinding must be, too";
        let finding = Finding::live(
            Severity::Warning,
            Rule::Installation,
            Reason::NamespaceNotServed,
            Subject::cluster("Namespace", name),
            message,
        );
        outcome.push(finding.mend("create it and run helm upgrade again, or take it off the list (--namespaces; the chart's value namespaces)"));
    }
    let elsewhere = found.observed.claims.iter().filter(|claim| {
        let namespace = claim.namespace().unwrap_or_default();
        !served.holds(&namespace) && only.is_none_or(|only| only == namespace)
    });
    for claim in elsewhere {
        let subject = Subject::namespaced("ScopedSecret", &claim.namespace().unwrap_or_default(), &claim.name_any());
        let message =
            "the operator does not serve its namespace: nothing is projected, refreshed, rotated or taken away there";
        outcome.find(Severity::Error, Rule::Claims, Reason::NamespaceNotServed, subject, message);
    }
}

#[cfg(test)]
mod tests {
    use super::super::installed::tests::healthy;
    use super::*;
    use crate::cli::cluster::Seen;
    use crate::cli::observed::tests::claim;
    use serde_json::{Value, json};

    fn deployment(args: Value, env: Value) -> Deployment {
        let containers = json!([{"name": NAME, "args": args, "env": env}]);
        serde_json::from_value(json!({"spec": {"selector": {}, "template": {"spec": {"containers": containers}}}}))
            .unwrap()
    }

    #[test]
    fn what_is_served_is_read_from_what_is_installed() {
        let variable = json!([{"name": VARIABLE, "value": "a,b"}]);
        for (args, env, expected) in [
            (json!([]), json!([]), vec![]),
            (json!([]), variable.clone(), vec!["a", "b"]),
            (json!(["--namespaces=c"]), variable, vec!["c"]),
            (json!(["--namespaces", "d,e"]), json!([]), vec!["d", "e"]),
        ] {
            assert_eq!(told(&deployment(args, env)), expected);
        }
        let entry = |name: &str, namespace: &str| {
            json!({
                "name": name, "clientConfig": {}, "sideEffects": "None", "admissionReviewVersions": ["v1"],
                "namespaceSelector": {"matchExpressions": [{"key": NAMESPACE_NAME_LABEL, "operator": "In", "values": [namespace]}]},
            })
        };
        let by_policy = entry("copies-team.scopedsecrets.io", "governed");
        let configuration =
            json!({"metadata": {}, "webhooks": [by_policy, entry("scopedsecrets.scopedsecrets.io", "f")]});
        let configuration: ValidatingWebhookConfiguration = serde_json::from_value(configuration).unwrap();
        assert_eq!(served(None, Some(&configuration)), Served::of(&["f".into()]));
        assert_eq!(served(None, None), Served::default());
        let all = deployment(json!([]), json!([]));
        assert_eq!(served(Some(&all), Some(&configuration)), Served::default(), "the Deployment says that all are");
    }

    #[test]
    fn what_nobody_looks_at_is_said() {
        let claims =
            [claim("payments-prod", "a", "payments/prod/a", 1, true), claim("billing-prod", "b", "x", 2, true)];
        let mut found = healthy(&claims);
        let said = |found: &Installed, only| {
            let mut outcome = Outcome::default();
            judge(found, only, &mut outcome);
            outcome.findings.into_iter().map(|f| (f.subject.kind, f.subject.name)).collect::<Vec<_>>()
        };
        assert_eq!(said(&found, None), []);
        let list = json!([{"name": VARIABLE, "value": "payments-prod,not-there"}]);
        found.deployment = Seen::There(deployment(json!([]), list));
        let absent = ("Namespace".to_owned(), "not-there".to_owned());
        assert_eq!(said(&found, None), [absent.clone(), ("ScopedSecret".into(), "b".into())]);
        assert_eq!(said(&found, Some("payments-prod")), [absent]);
    }
}
