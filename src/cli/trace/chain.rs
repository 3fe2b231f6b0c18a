//! From each Secret to where its values come from. Pure.

use crate::api::{GROUP, MANAGED_BY, MANAGED_BY_LABEL, Reason, ScopedSecret};
use crate::cli::cluster::Seen;
use crate::cli::lent::Grants;
use crate::cli::observed::Observed;
use crate::cli::remote::{self, Remote};
use crate::cli::report::{Finding, Report, Rule, Severity, Subject, json};
use crate::segmentation::authorize::segment_of;
use crate::segmentation::references::Reference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// What was looked at.
pub struct Sight<'a> {
    /// The pod or workload.
    pub about: Subject,
    /// Its namespace.
    pub namespace: String,
    /// The ServiceAccount that its pods run under.
    pub account: String,
    /// The Secrets that it names.
    pub named: Vec<Reference<'a>>,
    /// Their metadata.
    pub metadata: BTreeMap<String, Seen<ObjectMeta>>,
    /// Who was given access.
    pub grants: Grants,
}

/// Where a pod's Secrets come from. As JSON, fields may be added, and none changes its meaning.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Trace {
    /// Such as `Pod payments-prod/orders-7d9f`.
    pub about: String,
    /// Its ServiceAccount.
    pub service_account: String,
    /// The segment of its namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub segment: Option<String>,
    /// Whether the policies and the namespace's labels could be looked at: else nothing follows from what is not there.
    #[serde(skip)]
    pub policies_seen: bool,
    /// Its Secrets.
    pub secrets: Vec<Traced>,
    /// What is not well: for the exit code.
    #[serde(skip)]
    pub report: Report,
}

/// A Secret of a pod.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Traced {
    /// Its name.
    pub name: String,
    /// Where the pod names it.
    pub named_by: Vec<String>,
    /// Where it comes from.
    pub origin: Origin,
    /// The ScopedSecret that it was projected for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scoped_secret: Option<String>,
    /// What the ScopedSecret's condition Ready says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready: Option<String>,
    /// Whether the pod's ServiceAccount is a consumer's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consumer: Option<bool>,
    /// Who may read it for a while, by a SecretGrant.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lent_to: Vec<String>,
    /// The keys that its values come from.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remote: Vec<Remote>,
}

/// Where a Secret comes from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Origin {
    /// A ScopedSecret.
    Managed,
    /// Somebody wrote it; nothing says from where.
    Unmanaged,
    /// It is not there.
    Missing,
    /// The reader may not look.
    #[default]
    Unknown,
}

impl Trace {
    /// What the reader could not look at is a finding, too.
    pub fn not_seen(&mut self, gaps: Vec<Finding>) {
        self.report.findings.extend(gaps);
    }

    /// As one JSON object.
    pub fn json(&self) -> Value {
        let mut whole = serde_json::to_value(self).unwrap_or_default();
        let report = json::value(&self.report);
        whole["version"] = 1.into();
        whole["findings"] = report["findings"].clone();
        whole["summary"] = report["summary"].clone();
        whole
    }
}

/// Follows each Secret.
pub fn follow(sight: &Sight<'_>, observed: &Observed) -> Trace {
    let mut trace = Trace {
        about: sight.about.to_string(),
        service_account: sight.account.clone(),
        segment: segment_of(&sight.namespace, &observed.world)
            .ok()
            .map(|segment| segment.to_string())
            .or_else(|| told_segment(sight, observed)),
        policies_seen: observed.policies_seen && observed.world.namespaces.contains_key(sight.namespace.as_str()),
        ..Trace::default()
    };
    let mut findings = Vec::new();
    for name in sight.metadata.keys() {
        trace.secrets.push(follow_one(sight, observed, name, &mut findings));
    }
    trace.report = Report::live(findings, Vec::new());
    trace
}

/// The segment by what a ScopedSecret of the namespace says, for who may not look at policies or namespaces.
fn told_segment(sight: &Sight<'_>, observed: &Observed) -> Option<String> {
    let here = observed.claims.iter().filter(|claim| claim.namespace().as_deref() == Some(&sight.namespace));
    here.filter_map(|claim| claim.status.as_ref()?.segment.clone()).find(|segment| !segment.is_empty())
}

/// What to do about a Secret that is not there, and that no ScopedSecret has as its target.
const NOBODYS: &str = "Create it, or write a ScopedSecret with that target.";

fn follow_one(sight: &Sight<'_>, observed: &Observed, name: &str, findings: &mut Vec<Finding>) -> Traced {
    let references: Vec<&Reference<'_>> = sight.named.iter().filter(|r| r.secret == name).collect();
    let seen = sight.metadata.get(name).unwrap_or(&Seen::Barred);
    let mut traced = Traced {
        name: name.to_owned(),
        named_by: references.iter().map(|r| r.by.to_string()).collect(),
        ..Traced::default()
    };
    let subject = || Subject::namespaced("Secret", &sight.namespace, name);
    let mut find = |rule, reason: Reason, message: String, fix: &str| {
        findings.push(Finding::live(Severity::Error, rule, reason, subject(), message).mend(fix));
    };
    let owner = seen.get().and_then(scoped_secret_behind);
    let claim = observed.claims.iter().find(|claim| {
        let here = claim.namespace().as_deref() == Some(&sight.namespace);
        let writes = || claim.spec.target_name(&claim.name_any()) == name;
        here && owner.as_ref().map_or_else(writes, |owner| claim.name_any() == *owner)
    });
    let managed = owner.is_some() || seen.get().is_some_and(is_labelled);
    traced.origin = match (seen, managed, claim) {
        (Seen::There(_), true, _) => Origin::Managed,
        (Seen::There(_), false, _) => Origin::Unmanaged,
        (Seen::Absent, ..) => Origin::Missing,
        (Seen::Barred, _, Some(claim)) if claim.status.as_ref().is_some_and(|s| s.secret_ref.is_some()) => {
            Origin::Managed
        }
        (Seen::Barred, ..) => Origin::Unknown,
    };
    if traced.origin == Origin::Missing && !references.iter().all(|r| r.optional) {
        let message = format!("it is not there, and {} needs it: pods do not start without", sight.about);
        match claim.map(ready) {
            None => find(Rule::Consumers, Reason::SecretNotProjected, message, NOBODYS),
            // Told below, with its reason.
            Some(Some((status, ..))) if status != "True" => {}
            Some(_) => find(Rule::Consumers, Reason::Pending, message, Reason::Pending.fix()),
        }
    }
    traced.scoped_secret = claim.map(ResourceExt::name_any).or(owner);
    let Some(claim) = claim.filter(|_| traced.origin != Origin::Unmanaged) else { return traced };
    let consumers = &claim.spec.consumers;
    let consumer = consumers.is_empty() || consumers.iter().any(|c| c.service_account_name == sight.account);
    traced.consumer = Some(consumer);
    if !consumer {
        let message =
            format!("ServiceAccount {:?} is no consumer of ScopedSecret {:?}", sight.account, claim.name_any());
        find(Rule::Consumers, Reason::ForeignConsumer, message, Reason::ForeignConsumer.fix());
    }
    traced.ready = ready(claim).map(|(status, reason, message)| {
        if status != "True" {
            let reason = Reason::from_text(&reason).unwrap_or(Reason::Pending);
            find(Rule::Claims, reason, format!("its ScopedSecret is not ready: {message}"), reason.fix());
        }
        format!("{status} ({reason})")
    });
    traced.lent_to = sight.grants.readers(&sight.namespace, &claim.name_any());
    traced.remote = remote::of(claim, observed);
    traced
}

fn is_labelled(metadata: &ObjectMeta) -> bool {
    metadata.labels.as_ref().and_then(|labels| labels.get(MANAGED_BY_LABEL)).is_some_and(|by| by == MANAGED_BY)
}

/// The ScopedSecret in the controller reference.
fn scoped_secret_behind(metadata: &ObjectMeta) -> Option<String> {
    let owners = metadata.owner_references.as_deref().unwrap_or_default();
    let ours = |owner: &&k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference| {
        owner.kind == "ScopedSecret" && owner.api_version.starts_with(GROUP) && owner.controller == Some(true)
    };
    owners.iter().find(ours).map(|owner| owner.name.clone())
}

fn ready(claim: &ScopedSecret) -> Option<(String, String, String)> {
    let conditions = claim.status.iter().flat_map(|status| &status.conditions);
    let ready = conditions.into_iter().find(|condition| condition.type_ == "Ready")?;
    Some((ready.status.clone(), ready.reason.clone(), ready.message.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::cluster::Gap;
    use crate::cli::lent::tests::grant;
    use crate::cli::observed::build;
    use crate::cli::observed::tests::{claim, facts};
    use crate::cli::report::text::Colours;
    use crate::cli::trace::text::render;
    use crate::segmentation::references::By;
    use serde_json::json;

    fn metadata(value: Value) -> Seen<ObjectMeta> {
        Seen::There(serde_json::from_value(value).unwrap())
    }

    fn sight<'a>(account: &str, secrets: &[(&'a str, Seen<ObjectMeta>)]) -> Sight<'a> {
        Sight {
            about: Subject::namespaced("Pod", "payments-prod", "web"),
            namespace: "payments-prod".into(),
            account: account.into(),
            named: secrets
                .iter()
                .map(|(name, _)| Reference { secret: name, by: By::EnvFrom("c"), optional: *name == "extra" })
                .collect(),
            metadata: secrets.iter().map(|(name, seen)| ((*name).to_owned(), seen.clone())).collect(),
            grants: Grants { all: vec![grant("payments-prod", "ada", "True", "Granted")], reach: None },
        }
    }

    fn owned() -> Seen<ObjectMeta> {
        metadata(
            json!({"name": "orders", "labels": {"app.kubernetes.io/managed-by": "scoped-secrets"}, "ownerReferences": [
                {"apiVersion": "scopedsecrets.io/v1alpha1", "kind": "ScopedSecret", "name": "orders", "uid": "u", "controller": true},
            ]}),
        )
    }

    fn trace(account: &str, secrets: &[(&str, Seen<ObjectMeta>)]) -> (Vec<Origin>, Vec<Reason>, Trace) {
        let observed = build(facts(&[claim("payments-prod", "orders", "payments/prod/db", 1, true)]));
        let trace = follow(&sight(account, secrets), &observed);
        let origins = trace.secrets.iter().map(|s| s.origin).collect();
        (origins, trace.report.findings.iter().map(|f| f.reason).collect(), trace)
    }

    #[test]
    fn from_a_pod_to_a_key_and_version() {
        let (origins, reasons, trace) = trace("orders", &[("orders", owned())]);
        assert_eq!((origins, reasons), (vec![Origin::Managed], vec![]));
        let secret = &trace.secrets[0];
        assert_eq!(secret.scoped_secret.as_deref(), Some("orders"));
        assert_eq!(secret.ready.as_deref(), Some("True (Ready)"));
        assert_eq!(secret.lent_to, ["User \"ada\" until 2026-01-01T00:30:00Z (SecretGrant ada)"]);
        let expected = Remote {
            key: "payments/prod/db".into(),
            version: Some("v1".into()),
            store: "aws".into(),
            allowed_by: Some("tenants: ${label:tenant}/${label:environment}/**".into()),
        };
        assert_eq!(secret.remote, [expected]);
        assert_eq!(trace.segment.as_deref(), Some("payments/prod"));
    }

    #[test]
    fn who_may_look_at_no_policy_is_told_nothing_of_it() {
        let mut told = claim("payments-prod", "orders", "payments/prod/db", 1, true);
        told["status"]["segment"] = "payments/prod".into();
        let mut observed = build(facts(&[told]));
        (observed.policies_seen, observed.policies) = (false, Vec::new());
        observed.world.policies.clear();
        let sight = sight("orders", &[("orders", owned())]);
        let barred = render(&follow(&sight, &observed), Colours(false));
        assert!(barred.contains("segment payments/prod") && barred.contains("not seen"), "{barred}");
        observed.claims[0].status.as_mut().unwrap().segment = None;
        let barred = render(&follow(&sight, &observed), Colours(false));
        assert!(barred.contains("its segment was not seen") && !barred.contains("none that allows it"), "{barred}");
        observed.policies_seen = true;
        let seen = render(&follow(&sight, &observed), Colours(false));
        assert!(seen.contains("in no segment") && seen.contains("none that allows it now"), "{seen}");
    }

    #[test]
    fn what_may_not_be_looked_at_is_a_finding() {
        let observed = build(facts(&[]));
        let gap = Gap { verb: "get", resource: "serviceaccounts".into(), namespace: Some("a".into()), name: None };
        let mut trace = follow(&sight("orders", &[]), &observed);
        assert_eq!(trace.report.exit_code(true), 0);
        assert!(render(&trace, Colours(false)).contains("  it names no Secret\n"));
        trace.not_seen(vec![Finding { severity: Severity::Note, ..gap.finding() }]);
        assert_eq!(trace.report.exit_code(true), 0, "what matters here was seen");
        trace.not_seen(vec![gap.finding()]);
        assert_eq!(trace.report.exit_code(true), 1);
        let text = render(&trace, Colours(false));
        assert!(text.contains("it names no Secret, as far as you may see") && text.contains("not seen"), "{text}");
    }

    #[test]
    fn what_is_not_ours_is_told_apart() {
        let secrets = [
            ("extra", Seen::Absent),
            ("gone", Seen::Absent),
            ("own", metadata(json!({"name": "own"}))),
            ("x", Seen::Barred),
        ];
        let (origins, reasons, _) = trace("orders", &secrets);
        assert_eq!(origins, [Origin::Missing, Origin::Missing, Origin::Unmanaged, Origin::Unknown]);
        assert_eq!(reasons, [Reason::SecretNotProjected], "an optional one is not missed");
        let (origins, ..) = trace("orders", &[("orders", Seen::Barred)]);
        assert_eq!(origins, [Origin::Managed], "its ScopedSecret says so");
    }

    #[test]
    fn what_is_not_there_is_told_with_what_can_be_done() {
        for (named, ready, reason, fix) in [
            ("nope", true, Reason::SecretNotProjected, NOBODYS),
            ("orders", true, Reason::Pending, Reason::Pending.fix()),
            ("orders", false, Reason::KeyNotAllowed, Reason::KeyNotAllowed.fix()),
        ] {
            let observed = build(facts(&[claim("payments-prod", "orders", "payments/prod/db", 1, ready)]));
            let trace = follow(&sight("orders", &[(named, Seen::Absent)]), &observed);
            let told: Vec<_> = trace.report.findings.iter().map(|f| (f.reason, f.fix.as_deref())).collect();
            assert_eq!(told, [(reason, Some(fix))], "{named} {ready}");
        }
    }

    #[test]
    fn a_foreign_account_is_found() {
        let (_, reasons, trace) = trace("thief", &[("orders", owned())]);
        assert_eq!(reasons, [Reason::ForeignConsumer]);
        assert_eq!(trace.secrets[0].consumer, Some(false));
    }
}
