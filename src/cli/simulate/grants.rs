//! SecretGrants of the input: what rule Grants refuses when one is created, and what the operator would not honour.

use super::object::Object;
use super::report::{Finding, Rule, Severity};
use crate::api::policy::Approval;
use crate::api::{Reason, SecretGrantSpec, SecretGrantStatus};
use crate::controller::grant::known::{Grant, Lent};
use crate::controller::grant::plan::{self, Claim, Guarded, Limits, Observed, Verdict};
use jiff::Timestamp;

/// Judges one as if it had just been created, by the operator's own judge; `claim` is its ScopedSecret, if the input has it.
pub fn judge(
    object: &Object,
    spec: &SecretGrantSpec,
    claim: Option<&Claim>,
    limits: Limits,
    now: Timestamp,
) -> Vec<Finding> {
    let find = |severity, reason: Reason, path: &str, message: String| {
        let mut finding = object.finding(severity, Rule::Grants, reason, object.node.place_of(path), message);
        finding.fix = Some(reason.fix().into());
        finding
    };
    let mut findings = Vec::new();
    if let Limits::Governed { approval, .. } = limits
        && let Some((field, message)) = misnamed(spec, approval)
    {
        findings.push(find(Severity::Error, Reason::RequesterNotNamed, &format!("spec.{field}"), message.to_owned()));
    }
    let grant = Grant {
        name: object.name.as_str().into(),
        uid: "".into(),
        resource_version: "".into(),
        generation: 1,
        created: now,
        deleting: false,
        spec: Some(spec.clone()),
        status: SecretGrantStatus::default(),
    };
    let lent = Lent { grant: Some(grant), searched: true, ..Lent::default() };
    let observed = Observed {
        lent: &lent,
        namespace: object.namespace.as_deref().unwrap_or_default(),
        handle: "",
        approved: None,
        claim,
        is_deleted: false,
        guarded: Guarded::Since(Timestamp::MIN),
        limits,
        now,
    };
    match plan::judge(&observed) {
        // Said above, in words for who writes it.
        Verdict::Closed(Reason::ApprovalRequired | Reason::RequesterNotNamed, _) if !findings.is_empty() => {}
        // Whoever approves it comes later.
        Verdict::Open | Verdict::Unknown(..) | Verdict::Closed(Reason::AwaitsApproval, _) => {}
        Verdict::Closed(reason, message) | Verdict::Over(reason, message) => {
            let (severity, path) = place_of(reason);
            if !(reason == Reason::GrantInvalid && spec.approved_by.is_some() && !findings.is_empty()) {
                findings.push(find(severity, reason, path, message));
            }
        }
    }
    findings
}

/// The field that says who asks or approves, where it must not, or does not.
fn misnamed(spec: &SecretGrantSpec, approval: Approval) -> Option<(&'static str, &'static str)> {
    match (approval, &spec.requested_by, &spec.approved_by) {
        (Approval::None, None, None) | (Approval::Required, Some(_), None) => None,
        (Approval::None, Some(_), _) => {
            Some(("requestedBy", "the policy requires no approval: leave requestedBy and approvedBy out"))
        }
        (Approval::None, None, Some(_)) => {
            Some(("approvedBy", "the policy requires no approval: leave approvedBy out"))
        }
        (Approval::Required, None, _) => Some((
            "requestedBy",
            "the policy requires an approval: write as requestedBy the user name of who creates it",
        )),
        (Approval::Required, Some(_), Some(_)) => Some((
            "approvedBy",
            "the policy requires an approval: leave approvedBy out, which another user sets to approve it",
        )),
    }
}

/// Whether the API server refuses it for this, and where it is written. What it takes is not honoured.
fn place_of(reason: Reason) -> (Severity, &'static str) {
    match reason {
        Reason::GrantTooLong => (Severity::Error, "spec.ttl"),
        Reason::GrantInvalid => (Severity::Error, "spec.subject"),
        Reason::NoPolicy | Reason::ApprovalRequired => (Severity::Error, "metadata.namespace"),
        Reason::RotationNotDeclared => (Severity::Warning, "spec.rotateAfter"),
        _ => (Severity::Warning, "spec.scopedSecretRef.name"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{PLATFORM, line, report, secret};
    use super::*;

    const ROTATES: &str = "  rotation: {strategy: Generate, schedule: \"0 3 * * 0\"}\n";

    fn grant(spec: &str) -> String {
        let fields = [
            ("scopedSecretRef", "{name: orders}"),
            ("subject", "{kind: User, name: ada@example.com}"),
            ("ttl", "30m"),
            ("reason", "INC-1"),
        ];
        let given = |field: &str| spec.lines().any(|line| line.starts_with(&format!("{field}:")));
        let mut text = "apiVersion: scopedsecrets.io/v1alpha1\nkind: SecretGrant\nmetadata: {name: ada, namespace: payments-prod}\nspec:\n".to_owned();
        fields
            .iter()
            .filter(|(field, _)| !given(field))
            .for_each(|(field, value)| text += &format!("  {field}: {value}\n"));
        spec.lines().for_each(|line| text += &format!("  {line}\n"));
        text
    }

    /// What is said of a grant under these limits, beside a ScopedSecret with these lines more.
    fn said(limits: &str, more: &str, spec: &str) -> Vec<(Severity, Reason)> {
        let allowed = PLATFORM.replace("/**\"]\n", "/**\"]\n    actions: [Read, Generate]\n");
        let policy = allowed.replace("  allow:\n", &format!("  rules: {{grants: {{{limits}}}}}\n  allow:\n"));
        let claim = secret("payments-prod", "orders", "payments/prod/db") + more;
        let report = report(&[("platform.yaml", &policy), ("claim.yaml", &claim), ("grant.yaml", &grant(spec))]);
        assert_eq!(report.input_errors, []);
        let of_grant = report.findings.iter().filter(|f| f.subject.kind == "SecretGrant");
        of_grant.map(|f| (f.severity, f.reason)).collect()
    }

    #[test]
    fn grants_are_judged_as_if_they_were_created() {
        let (free, asked) = ("maxTTL: 8h, approval: None", "maxTTL: 1h, approval: Required");
        let (error, warning) = (Severity::Error, Severity::Warning);
        for (limits, more, spec, wanted) in [
            (free, "", "", vec![]),
            (free, "", "ttl: 8h", vec![]),
            (free, "", "ttl: 9h", vec![(error, Reason::GrantTooLong)]),
            (free, "", "ttl: soon", vec![(error, Reason::GrantInvalid)]),
            (free, "", "subject: {kind: User, name: \"system:admin\"}", vec![(error, Reason::GrantInvalid)]),
            (
                free,
                "",
                "subject: {kind: ServiceAccount, name: \"billing-prod:thief\"}",
                vec![(error, Reason::GrantInvalid)],
            ),
            (free, "", "subject: {kind: ServiceAccount, name: debug}", vec![]),
            (free, "", "requestedBy: ada@example.com", vec![(error, Reason::RequesterNotNamed)]),
            (free, "", "scopedSecretRef: {name: nobody}", vec![(warning, Reason::SecretNotProjected)]),
            (free, "", "rotateAfter: true", vec![(warning, Reason::RotationNotDeclared)]),
            (free, ROTATES, "rotateAfter: true", vec![]),
            (asked, "", "", vec![(error, Reason::RequesterNotNamed)]),
            (asked, "", "requestedBy: ada@example.com", vec![]),
            (asked, "", "requestedBy: ada@example.com\nttl: 2h", vec![(error, Reason::GrantTooLong)]),
            (
                asked,
                "",
                "requestedBy: ada@example.com\napprovedBy: ada@example.com",
                vec![(error, Reason::RequesterNotNamed)],
            ),
            (
                asked,
                "",
                "requestedBy: lead@example.com\napprovedBy: bob@example.com",
                vec![(error, Reason::RequesterNotNamed)],
            ),
        ] {
            assert_eq!(said(limits, more, spec), wanted, "{limits} {spec}");
        }
    }

    #[test]
    fn what_is_not_in_the_input_is_told_where_it_is_written() {
        let elsewhere = |namespace: &str| grant("").replace("payments-prod", namespace);
        let plain = format!("{PLATFORM}---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: plain}}\n");
        for (namespace, reason) in [("plain", Reason::NoPolicy), ("nowhere", Reason::PolicyUnknown)] {
            let report = report(&[("platform.yaml", &plain), ("grant.yaml", &elsewhere(namespace))]);
            let finding = report.findings.iter().find(|f| f.subject.kind == "SecretGrant").unwrap();
            assert_eq!((finding.reason, line(finding)), (reason, 3), "{finding:?}");
        }
        let refused = secret("payments-prod", "orders", "billing/prod/db");
        let report = report(&[("platform.yaml", PLATFORM), ("claim.yaml", &refused), ("grant.yaml", &grant(""))]);
        let reasons: Vec<Reason> = report.findings.iter().map(|f| f.reason).collect();
        assert!(reasons.contains(&Reason::SecretNotProjected), "{reasons:?}");
    }
}
