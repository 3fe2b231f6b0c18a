//! Which door sees which rule, and what it then says. A case names its rule and the answer of a cluster with everything
//! installed; what each door must say follows from this table, and from nothing that is written at a case.
//!
//! | rule | everything | guards only | no admission object | core | simulate |
//! |-|-|-|-|-|-|
//! | Schema (the CRDs), RBAC | the API server's own | the same | the same | | Schema |
//! | Claims | webhook | lets it pass | reconcile refuses, asks nobody | authoriser, webhook's rule | the same |
//! | Policies | webhook | lets it pass | lets it pass | webhook's rule | what a state shows |
//! | Copies, Rbac | webhook | lets it pass | lets it pass; the scan finds it | | |
//! | ManagedSecrets | guard | guard | lets it pass, puts it right | | |
//! | Boundary, Consumers, Replication, Operator | guard | guard | lets it pass | | |
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
const RULES: [(&str, Keeper, &[Door]); 11] = [
    ("Schema", Keeper::ApiServer, &[Door::Simulate]),
    ("RBAC", Keeper::ApiServer, &[]),
    ("Claims", Keeper::Webhook, &[Door::Core, Door::Simulate]),
    ("Policies", Keeper::Webhook, &[Door::Core, Door::Simulate]),
    ("Copies", Keeper::Webhook, &[]),
    ("Rbac", Keeper::Webhook, &[]),
    ("ManagedSecrets", Keeper::Guard, &[]),
    ("Boundary", Keeper::Guard, &[]),
    ("Consumers", Keeper::Guard, &[]),
    ("Replication", Keeper::Guard, &[]),
    ("Operator", Keeper::Guard, &[]),
];

/// Reasons that simulate cannot find: those about a change, since it is given a state, and an account that only AWS tells.
const NOT_IN_FILES: [&str; 2] = ["ViolationsNotAccepted", "AccountUnknown"];

/// Kinds that are judged without a cluster.
const JUDGED: [&str; 3] = ["ScopedSecret", "ScopedSecretStore", "SegmentationPolicy"];

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
        let stores = !matches!(step.verb, Verb::Delete | Verb::DeleteCollection) && step.subresource.is_empty();
        // The CRDs' rules about a change, too.
        let stores = stores && (case.rule != "Schema" || matches!(step.verb, Verb::Create | Verb::Apply));
        let hidden = case.reason().is_some_and(|reason| NOT_IN_FILES.contains(&reason));
        JUDGED.contains(&step.kind.as_str()) && (self == Self::Core || stores && !hidden)
    }

    /// What this door must answer at admission.
    pub fn expects(self, case: &Case) -> Verdict {
        match &case.expect {
            Verdict::Recorded(_) => Verdict::Allowed,
            _ if !self.sees(case) => Verdict::Allowed,
            as_written => as_written.clone(),
        }
    }
}
