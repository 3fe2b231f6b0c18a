//! Rule `Consumers`: who may reference a projected Secret, and who does without being its consumer. Pure.
//!
//! ```text
//!   claims, what is held ─ Target ─► consumers ─► SegmentGuard, the API server's answer (admission::rules::consumers)
//!                                        └──────► foreign ─► what came in past it, and simulate
//! ```

use super::violation::{ObjectRef, Violation};
use crate::api::Reason;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The rule's name.
pub const RULE: &str = "Consumers";

/// One projected Secret, there or to come.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Target {
    /// Whether the Secret is there, or is not known to be gone.
    pub held: bool,
    /// Whether it was projected for a ScopedSecret that names no consumers.
    pub free: bool,
    /// The ScopedSecrets that have it as their target.
    pub claimants: Vec<Claimant>,
}

/// A ScopedSecret and its target.
#[derive(Debug, Clone, PartialEq)]
pub struct Claimant {
    /// Its consumers' ServiceAccounts.
    pub consumers: Vec<String>,
    /// The authoriser's answer.
    pub standing: Standing,
    /// Whether the Secret was projected for it.
    pub holds: bool,
    /// Whether a Secret that is not ours was seen under the target's name: nothing is projected while it is there.
    pub barred: bool,
    /// Its creationTimestamp, then its uid: of two, the earlier one goes first.
    pub since: (Timestamp, Arc<str>),
}

/// The authoriser's answer to a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Every key may be fetched.
    Allowed,
    /// Policy says no.
    Refused,
    /// That cannot be told now.
    Undecided,
}

impl Target {
    /// For whom it is projected, or will be: who has it, else the earliest that may.
    fn whose(&self) -> Option<&Claimant> {
        let holder = self.claimants.iter().find(|claimant| claimant.holds);
        holder.or_else(|| self.to_come(Standing::Allowed).min_by_key(|claimant| &claimant.since))
    }

    /// Those of this standing whose name is not somebody else's Secret's.
    fn to_come(&self, standing: Standing) -> impl Iterator<Item = &Claimant> {
        self.claimants.iter().filter(move |claimant| claimant.standing == standing && !claimant.barred)
    }
}

/// Who may reference a Secret: None if it is not in the guard. `known` is what the guard says so far, which stands for whatever
/// cannot be told now: a claim that policy does not allow (any more), a Secret that outlives its ScopedSecret.
///
/// A Secret that is somebody else's is not in it, whoever claims its name: its own pods are none of our business.
pub fn consumers(target: &Target, known: Option<&Vec<String>>) -> Option<Vec<String>> {
    let named = |claimant: &Claimant| (!claimant.consumers.is_empty()).then(|| claimant.consumers.clone());
    match target.whose() {
        Some(claimant) if claimant.standing == Standing::Allowed => named(claimant),
        Some(claimant) => known.cloned().or_else(|| named(claimant)),
        None if target.held && target.free => None,
        None if target.held => Some(known.cloned().unwrap_or_default()),
        None => known.filter(|_| target.to_come(Standing::Undecided).next().is_some()).cloned(),
    }
}

/// Whether a Secret is projected, or about to be, for a ScopedSecret that names no consumers: every pod may reference it.
pub fn is_free(target: &Target) -> bool {
    match target.whose() {
        Some(claimant) => claimant.consumers.is_empty() && (target.held || claimant.standing == Standing::Allowed),
        None => target.held && target.free,
    }
}

/// What references Secrets of its namespace, and under which account.
#[derive(Debug, Clone)]
pub struct Referrer<'a> {
    /// Its apiVersion.
    pub api_version: &'a str,
    /// Its kind.
    pub kind: &'a str,
    /// Its name.
    pub name: &'a str,
    /// The ServiceAccount.
    pub account: &'a str,
    /// The Secrets.
    pub secrets: BTreeSet<&'a str>,
}

/// What of a referrer's references is none of its account's, where `targets` are the managed Secrets of the namespace with their
/// consumers.
pub fn foreign(
    referrer: &Referrer<'_>,
    namespace: &Arc<str>,
    targets: &BTreeMap<String, Vec<String>>,
    segment: &Arc<str>,
) -> Option<Violation> {
    let consumers = |secret: &&str| targets.get(*secret).filter(|c| !c.iter().any(|name| name == referrer.account));
    let foreign: Vec<&str> = referrer.secrets.iter().copied().filter(|secret| consumers(secret).is_some()).collect();
    let first = *foreign.first()?;
    let whose = consumers(&first).map(|c| c.join(", ")).filter(|c| !c.is_empty());
    let who = if referrer.kind == "ServiceAccount" {
        "it is".to_owned()
    } else {
        format!("its pods run under ServiceAccount {:?}, which is", referrer.account)
    };
    let more = if foreign.len() > 1 { format!(" and {} more", foreign.len() - 1) } else { String::new() };
    Some(Violation {
        segment: segment.clone(),
        rule: RULE,
        reason: Reason::ForeignConsumer,
        object: ObjectRef {
            api_version: referrer.api_version.to_owned(),
            kind: referrer.kind.to_owned(),
            namespace: Some(namespace.clone()),
            name: referrer.name.to_owned(),
        },
        message: format!(
            "{who} no consumer of Secret {first:?}{more}, and references it ({}): use the ServiceAccount of a consumer, or add this one to spec.consumers of the ScopedSecret, or write a ScopedSecret with a key of its own for it",
            whose.unwrap_or_else(|| "it has no consumers now".to_owned())
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_managed_and_under_another_account_is_foreign() {
        let targets: BTreeMap<String, Vec<String>> =
            [("orders".to_owned(), vec!["orders".to_owned(), "report".to_owned()]), ("closed".to_owned(), vec![])]
                .into();
        let told = |account: &str, secrets: &[&str], kind: &str| {
            let referrer =
                Referrer { api_version: "v1", kind, name: "p", account, secrets: secrets.iter().copied().collect() };
            foreign(&referrer, &"payments-prod".into(), &targets, &"payments/prod".into()).map(|v| v.message)
        };
        for (account, secrets) in
            [("orders", &["orders"][..]), ("report", &["orders", "plain"]), ("thief", &["plain"]), ("thief", &[])]
        {
            assert_eq!(told(account, secrets, "Pod"), None, "{account} {secrets:?}");
        }
        let text = told("thief", &["orders", "plain"], "Pod").unwrap();
        assert!(text.contains("\"thief\"") && text.contains("(orders, report)") && !text.contains("more"), "{text}");
        let text = told("orders", &["closed"], "Deployment").unwrap();
        assert!(text.contains("it has no consumers now"), "{text}");
        let text = told("thief", &["closed", "orders"], "ServiceAccount").unwrap();
        assert!(text.starts_with("it is no consumer of Secret \"closed\" and 1 more"), "{text}");
    }
}
