//! The doors, tried: two dry runs that must be refused, one by the webhook and one by a rule that the API server keeps on its
//! own. Nothing is stored, whatever they answer.

use crate::admission::identities::Installation;
use crate::admission::rules::{managed_secrets, policies};
use crate::admission::webhook_configuration::CONFIGURATION;
use crate::api::{MANAGED_BY, MANAGED_BY_LABEL, Reason, SegmentationPolicy};
use crate::cli::cluster::{Cluster, Failure, Gap, Seen};
use crate::cli::report::{Finding, Outcome, Rule, Severity, Subject};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, DynamicObject, PostParams};
use kube::{Error, Resource};
use serde_json::{Value, json};

/// The name of what is offered.
const NAME: &str = "scoped-secrets-check";

/// What a door said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It let the dry run pass.
    Passed,
    /// It refused, with these words.
    Refused(String),
    /// RBAC refused before admission was asked.
    Barred(Gap),
    /// There is no such kind, or no such namespace.
    Unknown,
}

/// What both doors said.
pub struct Answers {
    /// The webhook, offered a policy whose exception has ended.
    pub webhook: Answer,
    /// The API server itself, offered a Secret that looks like the operator's.
    pub guards: Answer,
}

/// Knocks at both.
pub async fn knock(cluster: &Cluster, installation: &Installation) -> Result<Answers, Failure> {
    let policy = json!({
        "apiVersion": SegmentationPolicy::api_version(&()), "kind": SegmentationPolicy::kind(&()), "metadata": {"name": NAME},
        "spec": {
            "segment": {"labels": [NAME]},
            "exceptions": [{"rule": "Copies", "namespaces": [NAME], "reason": "a dry run", "expirationTime": "2000-01-01T00:00:00Z"}],
        },
    });
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": NAME, "namespace": installation.namespace, "labels": {MANAGED_BY_LABEL: MANAGED_BY}},
    });
    let policies = kube::api::ApiResource::erase::<SegmentationPolicy>(&());
    let secrets = kube::api::ApiResource::erase::<Secret>(&());
    Ok(Answers {
        webhook: offer(cluster, Api::all_with(cluster.client.clone(), &policies), policy).await?,
        guards: offer(cluster, Api::namespaced_with(cluster.client.clone(), &installation.namespace, &secrets), secret)
            .await?,
    })
}

async fn offer(cluster: &Cluster, api: Api<DynamicObject>, object: Value) -> Result<Answer, Failure> {
    let object: DynamicObject = match serde_json::from_value(object) {
        Ok(object) => object,
        Err(error) => return Err(Failure::Usage(error.to_string())),
    };
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    let answer = api.create(&dry, &object).await;
    if let Err(Error::Api(status)) = &answer
        && (is_admissions(&status.message) || status.code >= 500)
    {
        return Ok(Answer::Refused(status.message.clone()));
    }
    let barred = Gap::of("create", api.resource_url(), None);
    Ok(match cluster.sort(answer, "create", api.resource_url())? {
        Seen::There(_) => Answer::Passed,
        Seen::Absent => Answer::Unknown,
        Seen::Barred => Answer::Barred(barred),
    })
}

/// Admission's refusals have the codes of others; their words are its own.
fn is_admissions(message: &str) -> bool {
    ["admission webhook ", "failed calling webhook ", "ValidatingAdmissionPolicy "]
        .iter()
        .any(|word| message.contains(word))
}

/// What that says of the doors: at which the reader may not knock, weighs `barred`. Pure.
pub fn judge(answers: &Answers, barred: Severity, outcome: &mut Outcome) {
    let webhook = Door {
        rule: policies::RULE,
        reason: Reason::InvalidException,
        subject: Subject::cluster("ValidatingWebhookConfiguration", CONFIGURATION),
        well: "the webhook answers: it refused a policy whose exception has ended",
        open: "a policy whose exception has ended passed a dry run: the webhook was not asked",
        fix: "kubectl get validatingwebhookconfiguration scoped-secrets: it must be there, and the operator's leader fills it in",
    };
    let guards = Door {
        rule: managed_secrets::RULE,
        reason: Reason::ReservedMetadata,
        subject: Subject::cluster("ValidatingAdmissionPolicyBinding", "managed-secrets.scopedsecrets.io"),
        well: "the API server keeps the rules: it refused a Secret that looks like the operator's",
        open: "a Secret that looks like the operator's passed a dry run: rule ManagedSecrets is not bound",
        fix: "install the chart, or apply deploy/, again",
    };
    webhook.judge(&answers.webhook, barred, outcome);
    guards.judge(&answers.guards, barred, outcome);
}

struct Door {
    rule: &'static str,
    reason: Reason,
    subject: Subject,
    well: &'static str,
    open: &'static str,
    fix: &'static str,
}

impl Door {
    fn judge(self, answer: &Answer, barred: Severity, outcome: &mut Outcome) {
        let expected = format!("rule {}, {}", self.rule, self.reason);
        let (reason, message) = match answer {
            Answer::Refused(words) if words.contains(&expected) => return outcome.pass(self.well),
            Answer::Barred(gap) => return outcome.push(Finding { severity: barred, ..gap.finding() }),
            // What was looked at says already that it is not there, and what is wrong with it.
            Answer::Passed if outcome.findings.iter().any(|known| known.subject == self.subject) => return,
            Answer::Passed => (Reason::GuardMissing, self.open.to_owned()),
            Answer::Refused(words) => {
                (Reason::OperatorDown, format!("a dry run was refused otherwise than it should be: {words}"))
            }
            Answer::Unknown => {
                (Reason::ApiMissing, "the kind, or the operator's namespace, of the dry run is not there".to_owned())
            }
        };
        outcome.push(Finding::live(Severity::Error, Rule::Installation, reason, self.subject, message).mend(self.fix));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::report::Report;

    fn said(webhook: Answer, guards: Answer) -> (Vec<Reason>, usize) {
        let mut outcome = Outcome::default();
        judge(&Answers { webhook, guards }, Severity::Note, &mut outcome);
        (outcome.findings.iter().map(|finding| finding.reason).collect(), outcome.passed.len())
    }

    fn refused(words: &str) -> Answer {
        Answer::Refused(words.to_owned())
    }

    #[test]
    fn a_door_is_well_if_it_refuses_for_its_own_reason() {
        let webhook = || {
            refused(
                r#"admission webhook "segmentationpolicies.scopedsecrets.io" denied the request: rule Policies, InvalidException: x"#,
            )
        };
        let guard = || {
            refused(
                "ValidatingAdmissionPolicy 'managed-secrets.scopedsecrets.io' with binding 'managed-secrets.scopedsecrets.io' denied request: rule ManagedSecrets, ReservedMetadata: x",
            )
        };
        let down = refused(
            r#"Internal error occurred: failed calling webhook "segmentationpolicies.scopedsecrets.io": connection refused"#,
        );
        assert_eq!(said(webhook(), guard()), (vec![], 2));
        assert_eq!(said(Answer::Passed, guard()), (vec![Reason::GuardMissing], 1));
        assert_eq!(said(webhook(), Answer::Passed), (vec![Reason::GuardMissing], 1));
        assert_eq!(said(down, guard()), (vec![Reason::OperatorDown], 1));
        assert_eq!(said(guard(), webhook()), (vec![Reason::OperatorDown, Reason::OperatorDown], 0));
        assert_eq!(said(Answer::Unknown, guard()), (vec![Reason::ApiMissing], 1));
        let barred = || Answer::Barred(Gap::of("create", "/api/v1/namespaces/a/secrets", None));
        assert_eq!(said(barred(), guard()), (vec![Reason::CannotLook], 1));
        let mut outcome = Outcome::default();
        judge(&Answers { webhook: webhook(), guards: barred() }, Severity::Note, &mut outcome);
        let report = Report::live(outcome.findings, outcome.passed);
        assert_eq!((report.exit_code(true), report.count(Severity::Note)), (0, 1), "{report:?}");
    }

    #[test]
    fn what_was_seen_to_be_gone_is_told_once() {
        let mut outcome = Outcome::default();
        let subject = Subject::cluster("ValidatingWebhookConfiguration", CONFIGURATION);
        outcome.find(Severity::Error, Rule::Installation, Reason::GuardMissing, subject, "it has no entries");
        judge(&Answers { webhook: Answer::Passed, guards: Answer::Passed }, Severity::Note, &mut outcome);
        let told: Vec<&str> = outcome.findings.iter().map(|finding| finding.subject.kind.as_str()).collect();
        assert_eq!(told, ["ValidatingWebhookConfiguration", "ValidatingAdmissionPolicyBinding"]);
    }

    #[test]
    fn admissions_words_are_told_from_rbacs() {
        assert!(is_admissions(r#"admission webhook "a" denied the request: no"#));
        assert!(is_admissions(
            "secrets \"a\" is forbidden: ValidatingAdmissionPolicy 'b' with binding 'b' denied request: no"
        ));
        assert!(!is_admissions(
            r#"secrets is forbidden: User "ada" cannot create resource "secrets" in API group "" in the namespace "a""#
        ));
    }
}
