//! Stores, policies and ScopedSecrets, as their status tells them.

use super::installed::Installed;
use crate::api::Reason;
use crate::api::reason::Nature;
use crate::cli::observed::Observed;
use crate::cli::report::text::count;
use crate::cli::report::{Finding, Outcome, Rule, Severity, Subject};
use crate::controller::served::Served;
use crate::segmentation::authorize::{Governance, View, governance};
use crate::segmentation::namesakes::told;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use std::collections::{BTreeMap, BTreeSet};

/// Everything that users write. `only`: ScopedSecrets of this namespace alone.
pub fn judge(found: &Installed, only: Option<&str>, now: Timestamp, outcome: &mut Outcome) {
    let observed = &found.observed;
    for (kind, name, why) in &observed.broken {
        let reason = match *kind {
            "SegmentationPolicy" => Reason::PolicyInvalid,
            "ScopedSecretStore" => Reason::StoreInvalid,
            _ => Reason::SpecInvalid,
        };
        let subject = match name.split_once('/') {
            Some((namespace, name)) => Subject::namespaced(kind, namespace, name),
            None => Subject::cluster(kind, name),
        };
        outcome.find(Severity::Error, Rule::Installation, reason, subject, why.clone());
    }
    stores(observed, outcome);
    policies(observed, outcome);
    claims(observed, &found.served(), only, outcome);
    found.grants.judge(only, outcome);
    segments(observed, now, outcome);
    reports(found, outcome);
}

/// What the operator found in each segment. Its guards were looked at above.
fn reports(found: &Installed, outcome: &mut Outcome) {
    let Some(reports) = found.reports.get() else { return };
    let well = format!("{} without violations", count(reports.len(), "segment is", "segments are"));
    outcome.part(
        || well,
        |outcome| {
            for report in reports {
                let subject = || Subject::cluster("SegmentationReport", &report.name_any());
                let status = report.status.clone().unwrap_or_default();
                let counts = status.counts.iter().filter(|c| c.reason != Reason::GuardMissing.as_str());
                let all: Vec<String> = counts.map(|c| format!("{} {} ({})", c.count, c.reason, c.rule)).collect();
                if !all.is_empty() {
                    let message = format!("violations in segment {}: {}", report.spec.segment, all.join(", "));
                    let finding =
                        Finding::live(Severity::Warning, Rule::Policies, Reason::ViolationsFound, subject(), message);
                    outcome
                        .push(finding.mend(format!("kubectl get segreport {} -o yaml names each", report.name_any())));
                }
                if let Some(paused) = status.paused_withdrawals.filter(|paused| *paused > 0) {
                    let message =
                        format!("{paused} withdrawals in segment {} wait for somebody's word", report.spec.segment);
                    outcome.find(Severity::Error, Rule::Policies, Reason::WithdrawalPaused, subject(), message);
                }
            }
        },
    );
}

/// What a status says that is not well: of the condition Ready, or that nobody has looked yet.
fn unready(conditions: &[Condition], observed: Option<i64>, generation: Option<i64>) -> Option<(Reason, String)> {
    if observed.unwrap_or(-1) < generation.unwrap_or(0) {
        return Some((Reason::Pending, "the operator has not looked at its last change yet".to_owned()));
    }
    let ready = conditions.iter().find(|c| c.type_ == "Ready")?;
    (ready.status != "True").then(|| (reason_of(ready), ready.message.clone()))
}

fn reason_of(condition: &Condition) -> Reason {
    Reason::from_text(&condition.reason).unwrap_or(Reason::Pending)
}

fn severity(reason: Reason) -> Severity {
    if reason.nature() == Nature::Refused { Severity::Error } else { Severity::Warning }
}

fn stores(observed: &Observed, outcome: &mut Outcome) {
    let all = observed.stores.len();
    if all == 0 && observed.stores_seen {
        return outcome.pass("no ScopedSecretStore yet");
    }
    let judge = |outcome: &mut Outcome| {
        for store in &observed.stores {
            let status = store.status.clone().unwrap_or_default();
            let said = unready(&status.conditions, status.observed_generation, store.metadata.generation);
            if let Some((reason, message)) = said {
                let subject = Subject::cluster("ScopedSecretStore", &store.name_any());
                outcome.find(Severity::Error, Rule::Installation, reason, subject, message);
            }
        }
    };
    if observed.stores_seen {
        outcome.part(|| format!("{} Ready", count(all, "store is", "stores are")), judge);
    }
}

fn policies(observed: &Observed, outcome: &mut Outcome) {
    let all = observed.policies.len();
    if !observed.policies_seen {
        return;
    }
    if all == 0 {
        return outcome.pass("no SegmentationPolicy yet: nothing may be claimed");
    }
    outcome.part(
        || format!("{} understood and in force", count(all, "policy is", "policies are")),
        |outcome| {
            for policy in &observed.policies {
                let subject = || Subject::cluster("SegmentationPolicy", &policy.name_any());
                let status = policy.status.clone().unwrap_or_default();
                let said = unready(&status.conditions, status.observed_generation, policy.metadata.generation);
                if let Some((reason, message)) = said {
                    outcome.find(Severity::Error, Rule::Policies, reason, subject(), message);
                }
                let shared = status.conditions.iter().find(|c| c.type_ == "Separated" && c.status == "False");
                if let Some(condition) = shared {
                    let message = condition.message.clone();
                    outcome.find(Severity::Warning, Rule::Policies, reason_of(condition), subject(), message);
                }
            }
        },
    );
}

/// Namespace and name of a ScopedSecret, and what it says.
type Told = (String, String, String);

/// A finding for each reason, not for each ScopedSecret: an outage has thousands.
fn claims(observed: &Observed, served: &Served, only: Option<&str>, outcome: &mut Outcome) {
    let mut grouped: BTreeMap<(&str, Reason), Vec<Told>> = BTreeMap::new();
    let mut ready = 0;
    let asked = |namespace: &str| only.is_none_or(|only| only == namespace) && served.holds(namespace);
    let picked = observed.claims.iter().filter(|claim| asked(&claim.namespace().unwrap_or_default()));
    for claim in picked {
        let status = claim.status.clone().unwrap_or_default();
        let name = (claim.namespace().unwrap_or_default(), claim.name_any());
        let said = unready(&status.conditions, status.observed_generation, claim.metadata.generation);
        if let Some((reason, message)) = said {
            grouped.entry(("is not ready", reason)).or_default().push((name.0, name.1, message));
            continue;
        }
        ready += 1;
        for (kind, what) in [("Synced", "keeps its last good value"), ("Unique", "shares a value with another segment")]
        {
            if let Some(condition) = status.conditions.iter().find(|c| c.type_ == kind && c.status == "False") {
                let all = grouped.entry((what, reason_of(condition))).or_default();
                all.push((name.0.clone(), name.1.clone(), condition.message.clone()));
            }
        }
        let rotated = status.conditions.iter().find(|c| c.type_ == "Rotated" && c.status == "False");
        if let Some(condition) = rotated.filter(|condition| is_held_up(reason_of(condition))) {
            let all = grouped.entry(("is not rotated", reason_of(condition))).or_default();
            all.push((name.0, name.1, condition.message.clone()));
        }
    }
    // Where none could be seen, what could not be looked at is a finding of its own.
    if ready > 0 || (grouped.is_empty() && observed.every_claim) {
        outcome.pass(format!("{} ready", count(ready, "ScopedSecret is", "ScopedSecrets are")));
    }
    for ((what, reason), all) in grouped {
        let Some((namespace, name, message)) = all.first() else { continue };
        let subject = Subject::namespaced("ScopedSecret", namespace, name);
        let message = match all.len() {
            1 => format!("it {what}: {message}"),
            more => {
                let others: Vec<String> = all[1..].iter().take(4).map(|(ns, name, _)| format!("{ns}/{name}")).collect();
                let rest = if more > 5 { format!(" and {} more", more - 5) } else { String::new() };
                format!("it {what}, and so are {}{rest} ({more} in all); it says: {message}", others.join(", "))
            }
        };
        let severity = if what == "is not ready" { severity(reason) } else { Severity::Warning };
        outcome.find(severity, Rule::Claims, reason, subject, message);
    }
}

/// Whether a rotation is not just under way: somebody has to see to it.
fn is_held_up(reason: Reason) -> bool {
    use Reason::{RolloutStuck, RotationFailed, RotationTimedOut};
    reason.nature() == Nature::Refused || [RotationFailed, RotationTimedOut, RolloutStuck].contains(&reason)
}

/// Namespaces whose policies disagree: nothing is decided there. And segments of one name.
fn segments(observed: &Observed, now: Timestamp, outcome: &mut Outcome) {
    if !observed.policies_seen || !observed.broken.is_empty() {
        return;
    }
    let names: BTreeSet<&str> = observed.world.namespaces.keys().map(|name| &**name).collect();
    let is = |name: &str, wanted: fn(&Governance) -> bool| wanted(&governance(name, &observed.world, now));
    let unknown: Vec<&str> = names.iter().copied().filter(|n| is(n, |g| *g == Governance::Unknown)).collect();
    for name in unknown {
        let subject = Subject::cluster("Namespace", name);
        let message = "policies over it disagree on its segment: nothing is granted or withdrawn there";
        outcome.find(Severity::Error, Rule::Policies, Reason::SegmentConflict, subject, message);
    }
    for (name, bearers) in View::from(&observed.world).namesakes() {
        let Some(namespace) = bearers.values().next() else { continue };
        let subject = Subject::cluster("Namespace", namespace);
        outcome.find(Severity::Error, Rule::Policies, Reason::SegmentConflict, subject, told(&name, &bearers));
    }
    let governed = names.iter().filter(|n| is(n, |g| matches!(g, Governance::Governed { .. }))).count();
    if !observed.policies.is_empty() {
        outcome.pass(format!("{} of {} governed", governed, count(names.len(), "namespace is", "namespaces are")));
    }
}

#[cfg(test)]
mod tests {
    use super::super::installed::tests::healthy;
    use super::*;
    use crate::cli::cluster::Seen;
    use crate::cli::observed::tests::{claim, facts, now};
    use crate::cli::observed::{Facts, build};
    use serde_json::Value;

    fn found(claims: &[Value], only: Option<&str>) -> Vec<(Severity, Reason, String)> {
        let mut outcome = Outcome::default();
        let mut installed = healthy(claims);
        for policy in &mut installed.observed.policies {
            policy.status = None;
            policy.metadata.generation = Some(-1);
        }
        for store in &mut installed.observed.stores {
            store.status = None;
            store.metadata.generation = Some(-1);
        }
        judge(&installed, only, now(), &mut outcome);
        outcome.findings.into_iter().map(|f| (f.severity, f.reason, f.message)).collect()
    }

    #[test]
    fn scoped_secrets_are_told_by_reason() {
        assert_eq!(found(&[claim("payments-prod", "a", "payments/prod/a", 1, true)], None), []);
        let refused: Vec<Value> = (0..7).map(|n| claim("billing-prod", &format!("c{n}"), "x", n, false)).collect();
        let all = found(&refused, None);
        assert_eq!(all.len(), 1);
        assert_eq!((all[0].0, all[0].1), (Severity::Error, Reason::KeyNotAllowed));
        assert!(all[0].2.contains("and 2 more (7 in all)"), "{}", all[0].2);
        assert_eq!(found(&refused, Some("payments-prod")), []);
    }

    #[test]
    fn who_may_not_list_scoped_secrets_is_told_nothing_good_of_them() {
        let passed = |every_claim: bool| {
            let mut installed = healthy(&[]);
            installed.observed.every_claim = every_claim;
            let mut outcome = Outcome::default();
            judge(&installed, None, now(), &mut outcome);
            outcome.passed.iter().any(|line| line == "0 ScopedSecrets are ready")
        };
        assert!(passed(true) && !passed(false));
    }

    #[test]
    fn a_change_that_nobody_looked_at_is_pending() {
        let mut late = claim("payments-prod", "a", "payments/prod/a", 1, true);
        late["metadata"]["generation"] = 2.into();
        let all = found(&[late], None);
        assert_eq!((all[0].0, all[0].1), (Severity::Warning, Reason::Pending));
    }

    #[test]
    fn what_the_operator_reports_is_passed_on() {
        let report = |status: Value| {
            let object = serde_json::json!({"apiVersion": "scopedsecrets.io/v1alpha1", "kind": "SegmentationReport",
                "metadata": {"name": "payments-prod-1"}, "spec": {"segment": "payments/prod"}, "status": status});
            let mut installed = healthy(&[]);
            installed.reports = Seen::There(vec![serde_json::from_value(object).unwrap()]);
            let mut outcome = Outcome::default();
            reports(&installed, &mut outcome);
            outcome.findings.into_iter().map(|f| (f.severity, f.reason)).collect::<Vec<_>>()
        };
        let counted = |reason: &str| serde_json::json!({"counts": [{"rule": "Copies", "reason": reason, "foundBy": "Scan", "count": 2}]});
        assert_eq!(report(serde_json::json!({})), []);
        assert_eq!(report(counted("ValueCopied")), [(Severity::Warning, Reason::ViolationsFound)]);
        assert_eq!(report(counted("GuardMissing")), [], "the guards are looked at");
        let paused = serde_json::json!({"pausedWithdrawals": 12});
        assert_eq!(report(paused), [(Severity::Error, Reason::WithdrawalPaused)]);
    }

    #[test]
    fn a_policy_that_cannot_be_understood_is_an_error() {
        let mut broken = facts(&[]);
        let Seen::There(policies) = &mut broken.policies else { panic!("there") };
        policies[0].data["spec"]["segment"]["labels"] = serde_json::json!([]);
        let installed = Installed { observed: build(Facts { ..broken }), ..healthy(&[]) };
        let mut outcome = Outcome::default();
        judge(&installed, None, now(), &mut outcome);
        assert!(outcome.findings.iter().any(|f| f.reason == Reason::PolicyInvalid), "{:?}", outcome.findings);
    }
}
