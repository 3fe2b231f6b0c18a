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

use crate::api::policy::Mode;
use crate::api::segment_guard::{SEGMENT_GUARD, lowered_label};
use crate::api::{GROUP, MODE_LABEL, Reason};
use serde_json::{Value, json};

/// What to do about a rule of another version: deleted, it would refuse nothing until it is there again.
pub const WHILE_UPGRADING: &str = "while an upgrade is under way wait, or roll it back";

/// How what is missing at admission comes back.
pub const INSTALL_AGAIN: &str =
    "install again as it was done (helm upgrade with the same values, or kubectl apply --server-side -k deploy/)";

/// A rule that the API server keeps.
#[derive(Debug, Clone)]
pub struct Guard {
    /// The rule's name, as denials give it.
    pub rule: &'static str,
    /// What is evaluated as `params`.
    pub parameter: Parameter,
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

/// What a guard is told of the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parameter {
    /// Nothing: the request says it all.
    Nothing,
    /// Every object of this cluster-scoped kind of ours, one by one; without any all is allowed.
    Each(&'static str),
    /// The SegmentGuard of the request's namespace; without one all is allowed. Its labels say how a breach is answered: the
    /// rule follows the mode.
    SegmentGuard,
    /// The same, and without one all is refused. The rule follows no mode.
    OwnSegmentGuard,
    /// The same, and without one all is allowed: it is looked for before the conditions are asked.
    OwnSegmentGuardIfThere,
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
    /// The name of the policy, and of the binding of a rule that follows no mode.
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

    /// The ValidatingAdmissionPolicy and its bindings.
    pub fn objects(&self) -> Vec<Value> {
        [vec![self.policy()], self.bindings()].concat()
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
        let kind = match self.parameter {
            Parameter::Nothing => None,
            Parameter::Each(kind) => Some(kind),
            Parameter::SegmentGuard | Parameter::OwnSegmentGuard | Parameter::OwnSegmentGuardIfThere => {
                Some("SegmentGuard")
            }
        };
        if let Some(kind) = kind {
            spec["paramKind"] = json!({"apiVersion": format!("{GROUP}/v1alpha1"), "kind": kind});
        }
        object("ValidatingAdmissionPolicy", &self.name(), spec)
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

    fn bindings(&self) -> Vec<Value> {
        match self.parameter {
            Parameter::Nothing => vec![self.binding(&self.name(), &["Deny"], None)],
            Parameter::Each(_) => vec![self.binding(&self.name(), &["Deny"], Some(json!({})))],
            Parameter::SegmentGuard => self.bindings_by_mode(),
            Parameter::OwnSegmentGuard => vec![self.binding_by_name(SEGMENT_GUARD, "Deny")],
            Parameter::OwnSegmentGuardIfThere => vec![self.binding_by_name(SEGMENT_GUARD, "Allow")],
        }
    }

    /// One for each mode, of which at most one selects a SegmentGuard: by the mode, unless this rule is lowered there; then by
    /// what it is lowered to.
    fn bindings_by_mode(&self) -> Vec<Value> {
        let lowered = lowered_label(&self.slug());
        let by_mode = [Mode::Enforce, Mode::Warn, Mode::Audit].map(|mode| {
            let selector = json!({
                "matchLabels": {MODE_LABEL: mode.as_str()},
                "matchExpressions": [{"key": lowered, "operator": "DoesNotExist"}],
            });
            (mode, mode.as_str().to_lowercase(), selector)
        });
        let by_less = [Mode::Warn, Mode::Audit].map(|mode| {
            let selector = json!({"matchLabels": {&lowered: mode.as_str()}});
            (mode, format!("lowered-{}", mode.as_str().to_lowercase()), selector)
        });
        let all = by_mode.into_iter().chain(by_less);
        all.map(|(mode, suffix, selector)| {
            let actions: &[&str] = match mode {
                Mode::Enforce => &["Deny"],
                Mode::Warn => &["Warn", "Audit"],
                Mode::Audit => &["Audit"],
            };
            self.binding(&format!("{}-{suffix}.{GROUP}", self.slug()), actions, Some(selector))
        })
        .collect()
    }

    /// What must be known is known by name; whether anything passes without it.
    fn binding_by_name(&self, parameter: &str, without: &str) -> Value {
        let mut binding = self.binding(&self.name(), &["Deny"], None);
        binding["spec"]["paramRef"] = json!({"name": parameter, "parameterNotFoundAction": without});
        binding
    }

    fn binding(&self, name: &str, actions: &[&str], parameters: Option<Value>) -> Value {
        let mut spec = json!({"policyName": self.name(), "validationActions": actions});
        if let Some(selector) = parameters {
            spec["paramRef"] = json!({"selector": selector, "parameterNotFoundAction": "Allow"});
        }
        object("ValidatingAdmissionPolicyBinding", name, spec)
    }
}

fn object(kind: &str, name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": kind,
        "metadata": {"name": name, "labels": {"app.kubernetes.io/part-of": "scoped-secrets"}},
        "spec": spec,
    })
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
    use std::collections::BTreeMap;

    /// Kubernetes' own types hold all of it: no field is misspelt.
    fn round<K: DeserializeOwned + Serialize>(object: &Value) {
        let typed: K = serde_json::from_value(object.clone()).unwrap();
        assert_eq!(serde_json::to_value(typed).unwrap(), *object);
    }

    #[test]
    fn the_objects_are_what_kubernetes_knows() {
        for guard in guards(&Installation::default()) {
            let objects = guard.objects();
            let (policy, bindings) = objects.split_first().unwrap();
            round::<ValidatingAdmissionPolicy>(policy);
            assert_eq!(policy["spec"]["failurePolicy"], "Fail");
            assert_eq!(bindings[0]["spec"]["validationActions"][0], "Deny");
            for binding in bindings {
                round::<ValidatingAdmissionPolicyBinding>(binding);
                assert_eq!(binding["spec"]["policyName"], policy["metadata"]["name"]);
            }
        }
    }

    /// Whatever the labels of a SegmentGuard say, one binding answers, or none.
    #[test]
    fn the_labels_of_a_segment_guard_select_one_answer() {
        let rules = guards(&Installation::default());
        let consumers = rules.iter().find(|guard| guard.rule == "Consumers").unwrap();
        let (mode, less) = ("scopedsecrets.io/mode", "scopedsecrets.io/mode-consumers");
        type Row<'a> = (&'a [(&'a str, &'a str)], &'a [&'a str]);
        let table: [Row; 8] = [
            (&[(mode, "Enforce")], &["Deny"]),
            (&[(mode, "Warn")], &["Warn", "Audit"]),
            (&[(mode, "Audit")], &["Audit"]),
            (&[(mode, "Enforce"), (less, "Audit")], &["Audit"]),
            (&[(mode, "Enforce"), (less, "Warn")], &["Warn", "Audit"]),
            (&[(mode, "Warn"), (less, "Audit")], &["Audit"]),
            (&[(mode, "Enforce"), ("scopedsecrets.io/mode-replication", "Audit")], &["Deny"]),
            (&[], &[]),
        ];
        for (labels, answers) in table {
            let labels: BTreeMap<&str, &str> = labels.iter().copied().collect();
            let selects = |binding: &Value| {
                let selector = &binding["spec"]["paramRef"]["selector"];
                let equal = selector["matchLabels"].as_object().unwrap();
                let absent = selector["matchExpressions"].as_array().into_iter().flatten();
                equal.iter().all(|(key, value)| labels.get(key.as_str()) == value.as_str().as_ref())
                    && absent.into_iter().all(|e| !labels.contains_key(e["key"].as_str().unwrap()))
            };
            let objects = consumers.objects();
            let actions = objects[1..].iter().filter(|binding| selects(binding));
            let actions: Vec<&Value> =
                actions.flat_map(|b| b["spec"]["validationActions"].as_array().unwrap()).collect();
            assert_eq!(actions, answers, "{labels:?}");
        }
    }

    #[test]
    fn every_denial_begins_as_the_webhooks_do() {
        for guard in guards(&Installation::default()) {
            let policy = guard.objects().remove(0);
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
