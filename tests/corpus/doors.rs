//! Which door sees which rule, and what it then says. A case names its rule and the answer of a cluster with everything
//! installed; what each door must say follows from this table, and from nothing that is written at a case.
//!
//! | rule | everything | guards only | no admission object | core | simulate |
//! |-|-|-|-|-|-|
//! | Schema (the CRDs), RBAC | the API server's own | the same | the same | | Schema |
//! | Claims | webhook | lets it pass | reconcile refuses, asks nobody | authoriser, webhook's rule | the same |
//! | Policies | webhook | lets it pass | lets it pass | webhook's rule | what a state shows |
//! | Copies | webhook | lets it pass | lets it pass; it is reported | webhook's rule | |
//! | Rbac, OtherOperators | webhook | lets it pass | lets it pass; it is reported | webhook's rule | the same |
//! | Consumers, Replication | guard | guard | lets it pass; it is reported | what a state shows | the same |
//! | Consumers, of volumes | lets it pass | lets it pass | lets it pass; it is reported | | what a state shows |
//! | ManagedSecrets | guard | guard | lets it pass, puts it right | what is forged | the same |
//! | Grants | guard | guard | lets it pass, honours none | | what is created |
//! | Boundary, Operator, Revocations | guard | guard | lets it pass | | |
//!
//! A door that does not see a rule is asked all the same: it must let the request pass.

use super::case::{Case, Verb, Verdict};

/// Where a case is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// The API server with `deploy/` and an operator.
    Everything,
    /// The same without operator and webhook.
    Guards,
    /// An operator, and no admission object.
    Bare,
    /// The decisions alone, over values: no API server.
    Core,
    /// `kubectl scoped-secrets simulate` over the same YAML.
    Simulate,
}

/// Who keeps a rule at admission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keeper {
    ApiServer,
    Guard,
    Webhook,
}

/// The rules, who keeps each, and whether it can be judged without a cluster.
const RULES: [(&str, Keeper, &[Door]); 14] = [
    ("Schema", Keeper::ApiServer, &[Door::Simulate]),
    ("RBAC", Keeper::ApiServer, &[]),
    ("Claims", Keeper::Webhook, &[Door::Core, Door::Simulate]),
    ("Policies", Keeper::Webhook, &[Door::Core, Door::Simulate]),
    ("Copies", Keeper::Webhook, &[Door::Core]),
    ("Rbac", Keeper::Webhook, &[Door::Core, Door::Simulate]),
    ("OtherOperators", Keeper::Webhook, &[Door::Core, Door::Simulate]),
    ("ManagedSecrets", Keeper::Guard, &[Door::Core, Door::Simulate]),
    ("Boundary", Keeper::Guard, &[]),
    ("Grants", Keeper::Guard, &[Door::Simulate]),
    ("Revocations", Keeper::Guard, &[]),
    ("Consumers", Keeper::Guard, &[Door::Core, Door::Simulate]),
    ("Replication", Keeper::Guard, &[Door::Core, Door::Simulate]),
    ("Operator", Keeper::Guard, &[]),
];

/// Rules whose breach stands once it got past admission, and is reported.
const REPORTED: [&str; 5] = ["Copies", "Rbac", "OtherOperators", "Consumers", "Replication"];

/// Where exceptions lift rules: what is only recorded there no report lists as a breach.
const LIFTED: (&str, [&str; 3]) = ("harbour-prod", ["Consumers", "Replication", "OtherOperators"]);

/// Reasons that simulate cannot find: those about a change, since it is given a state, an account that only AWS tells, and who asks.
const NOT_IN_FILES: [&str; 3] = ["ViolationsNotAccepted", "AccountUnknown", "GrantNotAllowed"];

/// Reasons of ManagedSecrets that only the guard's own language knows: who writes what is the operator's already.
const OF_THE_GUARD: [&str; 2] = ["SecretManaged", "OperatorOnly"];

/// Kinds that a door judges without a cluster.
fn is_judged(door: Door, rule: &str, kind: &str) -> bool {
    match rule {
        "Consumers" => !["ConfigMap", "Secret"].contains(&kind),
        "ManagedSecrets" => kind == "Secret",
        "Replication" => ["Secret", "SecretExport", "SecretImport"].contains(&kind),
        "Copies" => true,
        // What a role gains is a question of the change.
        "Rbac" => kind.ends_with("Binding") || (door == Door::Core && kind == "Role"),
        "OtherOperators" => true,
        "Grants" => kind == "SecretGrant",
        _ => ["ScopedSecret", "SecretGrant", "ScopedSecretStore", "SegmentationPolicy"].contains(&kind),
    }
}

/// A grant that is asked for in another's name: a file does not say who applies it.
fn is_about_who_asks(case: &Case) -> bool {
    let named = case.step.body.pointer("/spec/requestedBy").and_then(|name| name.as_str());
    case.reason() == Some("RequesterNotNamed") && named.is_some_and(|name| name != case.step.who)
}

impl Door {
    /// Whether this door has an opinion on the case; else it must let it pass, or is a door without an API server.
    pub fn sees(self, case: &Case) -> bool {
        let (_, keeper, offline) = RULES
            .iter()
            .find(|(rule, ..)| *rule == case.rule)
            .unwrap_or_else(|| panic!("{}: the rule {}", case.title, case.rule));
        match self {
            Self::Everything => true,
            Self::Guards => *keeper != Keeper::Webhook,
            Self::Bare => *keeper == Keeper::ApiServer,
            Self::Core | Self::Simulate => offline.contains(&self) && self.can_judge(case),
        }
    }

    fn can_judge(self, case: &Case) -> bool {
        let step = &case.step;
        let hidden = |reasons: &[&str]| case.reason().is_some_and(|reason| reasons.contains(&reason));
        if !is_judged(self, &case.rule, &step.kind) || hidden(&OF_THE_GUARD) || is_about_who_asks(case) {
            return false;
        }
        let deletes = matches!(step.verb, Verb::Delete | Verb::DeleteCollection);
        let of_a_state = ["Consumers", "Replication", "ManagedSecrets"].contains(&&*case.rule);
        if self == Self::Core {
            // What is of the cluster is the scan's.
            let is_seen = step.namespace.is_some() && ["", "ephemeralcontainers"].contains(&&*step.subresource);
            return !of_a_state || (!deletes && is_seen);
        }
        // What a managed Secret may be changed to is a question of the change.
        let changes_managed = case.rule == "ManagedSecrets" && super::bed::scene().has_claim(step);
        // The CRDs' rules about a change, too.
        let makes = !["Schema", "Grants"].contains(&&*case.rule) || matches!(step.verb, Verb::Create | Verb::Apply);
        !deletes && step.subresource.is_empty() && makes && !changes_managed && !hidden(&NOT_IN_FILES)
    }

    /// The reason that the API server's audit log must give of a case, though it is let through.
    pub fn records(self, case: &Case) -> Option<&str> {
        match &case.expect {
            Verdict::Recorded(reason) if self.sees(case) => Some(reason),
            _ => None,
        }
    }

    /// The reason for which the report of its segment must list what a case makes.
    pub fn reports(self, case: &Case) -> Option<&str> {
        let stays = matches!(case.step.verb, Verb::Create | Verb::Apply) && case.step.subresource.is_empty();
        let plain = case.first.is_empty() && case.step.from.is_none() && !case.step.name.is_empty();
        let stays = stays && plain && REPORTED.contains(&&*case.rule) && !super::bed::scene().has_claim(&case.step);
        let (place, rules) = LIFTED;
        let recorded = matches!(case.expect, Verdict::Recorded(_));
        let lifted = recorded && case.step.namespace.as_deref() == Some(place) && rules.contains(&&*case.rule);
        case.reason().filter(|_| self == Self::Bare && stays && !lifted)
    }

    /// What this door must answer at admission.
    pub fn expects(self, case: &Case) -> Verdict {
        match &case.expect {
            Verdict::Recorded(_) | Verdict::Found(_) => Verdict::Allowed,
            _ if !self.sees(case) => Verdict::Allowed,
            as_written => as_written.clone(),
        }
    }
}
