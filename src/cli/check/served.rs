//! Which namespaces the operator serves, and what that leaves unseen.

use super::installed::{Installed, NAME};
use crate::api::{NAMESPACE_NAME_LABEL, Reason};
use crate::cli::report::{Finding, Outcome, Rule, Severity, Subject};
use crate::controller::served::Served;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::Deployment;
use kube::ResourceExt;

const VARIABLE: &str = "SCOPED_SECRETS_NAMESPACES";
const FLAG: &str = "--namespaces";

/// As the Deployment says; where it does not, as the webhook's entry for ScopedSecrets does.
pub fn served(deployment: Option<&Deployment>, configuration: Option<&ValidatingWebhookConfiguration>) -> Served {
    let registered = || configuration.map(registered).unwrap_or_default();
    Served::of(&deployment.and_then(told).unwrap_or_else(registered))
}

/// The flag decides over the variable, as in the operator. None: what it says stands elsewhere.
fn told(deployment: &Deployment) -> Option<Vec<String>> {
    let pod = deployment.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    let container = pod?.containers.iter().find(|container| container.name == NAME)?;
    let arguments = container.args.as_deref().unwrap_or_default();
    let mut flags = arguments.iter().enumerate().filter_map(|(at, argument)| match argument.strip_prefix(FLAG)? {
        "" => arguments.get(at + 1).cloned(),
        rest => rest.strip_prefix('=').map(str::to_owned),
    });
    let variables = container.env.as_deref().unwrap_or_default();
    let variable = variables.iter().find(|variable| variable.name == VARIABLE);
    let is_elsewhere = container.env_from.as_ref().is_some_and(|from| !from.is_empty())
        || variable.is_some_and(|variable| variable.value_from.is_some());
    let list = match flags.next_back() {
        Some(list) if list.contains("$(") => return None,
        Some(list) => list,
        None if is_elsewhere => return None,
        None => variable.and_then(|variable| variable.value.clone()).unwrap_or_default(),
    };
    let list = list.split(',').filter(|name| !name.is_empty());
    Some(list.map(str::to_owned).collect())
}

/// A policy's own selection by name stands before the namespaces that the operator leaves out, its list after them.
fn registered(configuration: &ValidatingWebhookConfiguration) -> Vec<String> {
    let selectors = configuration.webhooks.iter().flatten().filter_map(|entry| entry.namespace_selector.as_ref());
    let listed = selectors.filter_map(|selector| {
        let by_name = selector.match_expressions.iter().flatten().filter(|it| it.key == NAMESPACE_NAME_LABEL);
        by_name.skip_while(|it| it.operator != "NotIn").find(|it| it.operator == "In")?.values.clone()
    });
    listed.into_iter().next().unwrap_or_default()
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
            assert_eq!(told(&deployment(args, env)), Some(expected.into_iter().map(str::to_owned).collect()));
        }
        let from = json!([{"name": VARIABLE, "valueFrom": {"configMapKeyRef": {"name": "x", "key": "y"}}}]);
        assert_eq!(told(&deployment(json!([]), from)), None);
        assert_eq!(told(&deployment(json!(["--namespaces=$(LIST)"]), json!([]))), None);
        let by_name =
            |operator: &str, name: &str| json!({"key": NAMESPACE_NAME_LABEL, "operator": operator, "values": [name]});
        let entry = |expressions: &[Value]| {
            json!({
                "name": "a", "clientConfig": {}, "sideEffects": "None", "admissionReviewVersions": ["v1"],
                "namespaceSelector": {"matchExpressions": expressions},
            })
        };
        let (picked, left_out) = (by_name("In", "governed"), by_name("NotIn", "kube-system"));
        let listed = entry(&[picked.clone(), left_out.clone(), by_name("In", "f")]);
        let configuration = json!({"metadata": {}, "webhooks": [entry(&[picked, left_out]), listed]});
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
