//! A rule that the API server keeps on its own: a ValidatingAdmissionPolicy with its binding. It holds with the operator gone.
//!
//! A rule's file says in CEL what it matches and what must hold; here it becomes the two objects that `make generate` writes
//! into `deploy/base/guards/`. The operator never writes them, so that break-glass stays simple: *delete* the binding
//! (`kubectl delete validatingadmissionpolicybindings -l app.kubernetes.io/part-of=scoped-secrets`), apply `deploy/` to have
//! it back.
//!
//! Three things that every guard relies on. An expression that fails denies (`failurePolicy: Fail`), so a field that need not
//! be there is read by `.?field`. Within one rule every validation is evaluated, and each says in its first words whom it
//! concerns. And the API server shows no admission object to admission: who may write ValidatingAdmissionPolicies and their
//! bindings can lift them, which RBAC alone can refuse.

use crate::api::{GROUP, Reason};
use serde_json::{Value, json};

/// A rule that the API server keeps.
#[derive(Debug, Clone)]
pub struct Guard {
    /// The rule's name, as denials give it.
    pub rule: &'static str,
    /// The kind of our group whose every object is evaluated as `params`; without any object all is allowed.
    pub parameter: Option<&'static str>,
    /// Which requests it sees: `matchConstraints.resourceRules`.
    pub requests: Vec<Value>,
    /// Which of those it judges. These know no variables.
    pub conditions: Vec<(&'static str, String)>,
    /// What the validations speak of as `variables.NAME`. Evaluated when first used.
    pub variables: Vec<(&'static str, String)>,
    /// What must hold. Costs as much as three conditions, since the API server prepares the objects and every message again:
    /// what can be told by a condition is.
    pub validations: Vec<Validation>,
}

/// One thing that must hold.
#[derive(Debug, Clone)]
pub struct Validation {
    /// CEL: true lets the request through.
    pub holds: String,
    /// Why it is refused otherwise.
    pub reason: Reason,
    /// CEL, a text: what is wrong, why, and what to do instead. It may name only what the requester sees anyway.
    pub says: String,
}

/// What every guard may speak of. An empty field of a request is not there. A generated name is known by now; in a
/// deletecollection only the object has one.
const COMMON: [(&str, &str); 4] = [
    ("place", "request.?namespace.orValue('')"),
    ("subresource", "request.?subResource.orValue('')"),
    (
        "name",
        "request.?name.orValue('') != '' ? request.name : dyn(object != null ? object : oldObject).?metadata.?name.orValue('')",
    ),
    // Such as `Secret payments-prod/orders` or `Namespace payments-prod`.
    (
        "subject",
        "request.kind.kind + ' '
+ (variables.place == '' || request.kind.kind == 'Namespace' ? '' : variables.place + '/')
+ variables.name",
    ),
];

impl Guard {
    /// The name of both objects.
    pub fn name(&self) -> String {
        format!("{}.{GROUP}", self.slug())
    }

    /// The rule's name in lower case, such as `managed-secrets`.
    pub fn slug(&self) -> String {
        let mut slug = String::new();
        for letter in self.rule.chars() {
            if letter.is_ascii_uppercase() && !slug.is_empty() {
                slug.push('-');
            }
            slug.push(letter.to_ascii_lowercase());
        }
        slug
    }

    /// The ValidatingAdmissionPolicy and its binding.
    pub fn objects(&self) -> [Value; 2] {
        [self.policy(), self.binding()]
    }

    fn policy(&self) -> Value {
        let named = |pairs: &[(&'static str, String)]| -> Vec<Value> {
            pairs.iter().map(|(name, text)| json!({"name": name, "expression": text.trim()})).collect()
        };
        let variables = [COMMON.map(|(name, text)| (name, text.to_owned())).as_slice(), &self.variables].concat();
        let mut spec = json!({
            "failurePolicy": "Fail",
            "matchConstraints": {
                "matchPolicy": "Equivalent", "namespaceSelector": {}, "objectSelector": {}, "resourceRules": self.requests,
            },
            "variables": named(&variables),
            "validations": self.validations.iter().map(|v| self.validation(v)).collect::<Vec<_>>(),
        });
        if !self.conditions.is_empty() {
            spec["matchConditions"] = named(&self.conditions).into();
        }
        if let Some(kind) = self.parameter {
            spec["paramKind"] = json!({"apiVersion": format!("{GROUP}/v1alpha1"), "kind": kind});
        }
        self.object("ValidatingAdmissionPolicy", spec)
    }

    /// As the webhook's denials: the rule, the reason, the object, and what to do. The plain message is for the case that the
    /// other cannot be made.
    fn validation(&self, validation: &Validation) -> Value {
        let Validation { holds, reason, says } = validation;
        let begin = format!("rule {}, {reason}: ", self.rule);
        json!({
            "expression": holds.trim(),
            "reason": "Forbidden",
            "message": format!("{begin}{} {}", reason.meaning(), reason.fix()),
            "messageExpression": format!("'{begin}' + variables.subject + ': ' + {}", says.trim()),
        })
    }

    /// Always enforced: a rule that is kept here alone follows no mode.
    fn binding(&self) -> Value {
        let mut spec = json!({"policyName": self.name(), "validationActions": ["Deny"]});
        if self.parameter.is_some() {
            spec["paramRef"] = json!({"selector": {}, "parameterNotFoundAction": "Allow"});
        }
        self.object("ValidatingAdmissionPolicyBinding", spec)
    }

    fn object(&self, kind: &str, spec: Value) -> Value {
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": kind,
            "metadata": {"name": self.name(), "labels": {"app.kubernetes.io/part-of": "scoped-secrets"}},
            "spec": spec,
        })
    }
}

/// A list of texts in CEL.
pub(super) fn list<S: AsRef<str>>(texts: impl IntoIterator<Item = S>) -> String {
    let quoted: Vec<String> = texts.into_iter().map(|text| format!("'{}'", text.as_ref())).collect();
    format!("[{}]", quoted.join(", "))
}

#[cfg(test)]
mod tests {
    use super::super::identities::Installation;
    use super::super::rules::guards;
    use k8s_openapi::api::admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding};
    use serde::Serialize;
    use serde::de::DeserializeOwned;
    use serde_json::Value;

    /// Kubernetes' own types hold all of it: no field is misspelt.
    fn round<K: DeserializeOwned + Serialize>(object: &Value) {
        let typed: K = serde_json::from_value(object.clone()).unwrap();
        assert_eq!(serde_json::to_value(typed).unwrap(), *object);
    }

    #[test]
    fn the_objects_are_what_kubernetes_knows() {
        for guard in guards(&Installation::default()) {
            let [policy, binding] = guard.objects();
            round::<ValidatingAdmissionPolicy>(&policy);
            round::<ValidatingAdmissionPolicyBinding>(&binding);
            assert_eq!(binding["spec"]["policyName"], policy["metadata"]["name"]);
            assert_eq!(
                (&policy["spec"]["failurePolicy"], &binding["spec"]["validationActions"][0]),
                (&"Fail".into(), &"Deny".into())
            );
        }
    }

    #[test]
    fn every_denial_begins_as_the_webhooks_do() {
        for guard in guards(&Installation::default()) {
            let [policy, _] = guard.objects();
            for validation in policy["spec"]["validations"].as_array().unwrap() {
                let begin = format!("rule {}, ", guard.rule);
                assert!(validation["message"].as_str().unwrap().starts_with(&begin));
                let expression = validation["messageExpression"].as_str().unwrap();
                assert!(expression.starts_with(&format!("'{begin}")), "{expression}");
            }
        }
    }

    #[test]
    fn the_place_is_where_it_is_installed() {
        let elsewhere = Installation { namespace: "elsewhere".into(), service_account: "keeper".into() };
        let text: String = guards(&elsewhere).iter().flat_map(|g| g.objects()).map(|o| o.to_string()).collect();
        assert!(text.contains("system:serviceaccount:elsewhere:keeper"));
        assert!(
            !text.contains("system:serviceaccount:scoped-secrets:") && !text.contains("'scoped-secrets/'"),
            "{text}"
        );
    }
}
