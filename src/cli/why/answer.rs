//! An answer, as plain values.

use crate::api::Reason;
use crate::api::policy::{ModalRule, Mode};
use crate::cli::cluster::Cluster;
use crate::cli::observed::{Observed, ago};
use crate::cli::remote::Remote;
use crate::cli::report::{Finding, Report, Rule, Severity, Subject, json};
use crate::segmentation::authorize::{answer, authorize, segment_of};
use crate::segmentation::key::{Realm, RemoteKey};
use crate::segmentation::pattern::{Binding, Place};
use crate::segmentation::verdict::Verdict;
use crate::segmentation::world::{Claim, StoreState};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde::Serialize;
use serde_json::Value;

/// Why something is as it is. As JSON, fields may be added, and none changes its meaning.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// Such as `ScopedSecret payments-prod/orders`.
    pub about: String,
    /// Which rule denied it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// What is said of it.
    pub verdict: Told,
    /// What its namespace is to the policies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub governed: Option<Governed>,
    /// The patterns that cover what is asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allowed_by: Vec<Covering>,
    /// Who claims the key, as far as the reader sees.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub claimed_by: Vec<String>,
    /// Who may read its Secret for a while, by a SecretGrant.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lent_to: Vec<String>,
    /// Its conditions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<ConditionTold>,
    /// Its keys, each with the version that its Secret has.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remote: Vec<Remote>,
    /// What happened, the oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<Happened>,
    /// What to do.
    pub next: Vec<String>,
    /// Of a text with several denials: the answers to all but the first; of a request that is let in: what the rules warn of. `report` is of
    /// all of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<Answer>,
    /// The same as findings: for SARIF and the exit code.
    #[serde(skip)]
    pub report: Report,
}

/// A verdict in words.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Told {
    /// `allowed`, `refused`, or `undecided`.
    pub answer: &'static str,
    /// The stable reason.
    pub reason: String,
    /// What it says.
    pub message: String,
    /// Its page.
    pub page: String,
}

/// What a namespace is to the policies.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Governed {
    /// Its segment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub segment: Option<String>,
    /// The labels that decide, such as `tenant=payments`.
    pub labels: Vec<String>,
    /// The policies over it, each with its mode.
    pub policies: Vec<String>,
    /// Whether the reader may look at policies: else there may be some.
    pub policies_seen: bool,
}

/// A pattern that covers a key.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Covering {
    /// The key.
    pub key: String,
    /// The policy.
    pub policy: String,
    /// The pattern as it is written.
    pub pattern: String,
    /// What may be done.
    pub actions: Vec<String>,
}

/// A condition.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct ConditionTold {
    #[serde(rename = "type")]
    pub kind: String,
    pub status: String,
    pub reason: String,
    pub message: String,
    /// How long it has been so.
    pub since: String,
}

/// An event.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct Happened {
    /// How long ago.
    pub ago: String,
    pub reason: String,
    pub message: String,
    pub count: i32,
}

impl ConditionTold {
    /// As it stands.
    pub fn of(condition: &Condition, now: Timestamp) -> Self {
        Self {
            kind: condition.type_.clone(),
            status: condition.status.clone(),
            reason: condition.reason.clone(),
            message: condition.message.clone(),
            since: ago(condition.last_transition_time.0, now),
        }
    }
}

impl Told {
    /// A verdict; the store may only be unknown to the reader.
    pub fn of(verdict: &Verdict, observed: &Observed) -> Self {
        match verdict {
            Verdict::Allowed(_) => {
                Self::new("allowed", Reason::Allowed, "a policy allows every key, and nobody else owns one")
            }
            Verdict::Refused(refusal) => Self::new("refused", refusal.reason, &refusal.message),
            Verdict::Undecided(refusal) if refusal.reason == Reason::StoreNotFound && !observed.stores_seen => {
                Self::new(
                    "undecided",
                    Reason::CannotLook,
                    "the policy allows it by name; you may not read ScopedSecretStores, so whether the store is there and who else owns the key is not known",
                )
            }
            Verdict::Undecided(refusal) if refusal.reason == Reason::PolicyUnknown && !observed.policies_seen => {
                Self::new("undecided", Reason::CannotLook, "you may not read SegmentationPolicies, which decide")
            }
            Verdict::Undecided(refusal) => Self::new("undecided", refusal.reason, &refusal.message),
        }
    }

    /// A reason and what it says.
    pub fn new(answer: &'static str, reason: Reason, message: &str) -> Self {
        Self { answer, reason: reason.to_string(), message: message.to_owned(), page: page(reason) }
    }
}

/// Where a reason is explained.
pub fn page(reason: Reason) -> String {
    format!("docs/reasons/{reason}.md")
}

impl Answer {
    /// The authoriser's answer to a claim.
    pub fn of_claim(about: &Subject, claim: &Claim, observed: &Observed, now: Timestamp) -> Self {
        let verdict = authorize(claim, &observed.world, now);
        let told = Told::of(&verdict, observed);
        let mut answer = Self {
            about: about.to_string(),
            governed: governed(observed, &claim.object.namespace),
            allowed_by: claim
                .asks
                .iter()
                .flat_map(|(key, _)| covering(observed, &claim.object.namespace, &claim.store, key))
                .collect(),
            ..Self::default()
        };
        if told.answer != "allowed" {
            answer.blame(about, Rule::Claims, Severity::Error, &told);
        }
        answer.verdict = told;
        answer
    }

    /// Something is not well: what to do, and a finding.
    pub fn blame(&mut self, about: &Subject, rule: Rule, severity: Severity, told: &Told) {
        self.note(about, rule, severity, told);
        self.next(Reason::from_text(&told.reason).unwrap_or(Reason::Pending).fix());
    }

    /// A finding.
    pub fn note(&mut self, about: &Subject, rule: Rule, severity: Severity, told: &Told) {
        let reason = Reason::from_text(&told.reason).unwrap_or(Reason::Pending);
        let finding = Finding::live(severity, rule, reason, about.clone(), told.message.clone());
        self.report.findings.push(finding.mend(reason.fix()));
    }

    /// Something to do.
    pub fn next(&mut self, what: impl Into<String>) {
        let what = what.into();
        if !self.next.contains(&what) {
            self.next.push(what);
        }
    }

    /// Of a request that is let in: which rules say nothing in its namespace, and only write down what they would refuse.
    pub fn is_only_recorded(&mut self, namespace: &str, observed: &Observed, now: Timestamp) {
        if !observed.policies_seen {
            self.next("whether rules are only tried out in this namespace, and so say nothing, cannot be told: you may not read SegmentationPolicies");
        }
        let is_recorded = |rule: &ModalRule| answer(*rule, namespace, &observed.world, now) == Some(Mode::Audit);
        // A copy is judged by the policies of whom the value is.
        let rules = ModalRule::ALL.into_iter().filter(|rule| *rule != ModalRule::Copies).filter(is_recorded);
        let rules = rules.map(ModalRule::as_str).collect::<Vec<_>>().join(", ");
        if !rules.is_empty() {
            self.next(format!(
                "what these would refuse is only written down in this namespace (mode Audit, reportOnly, or an exception), and not told here: {rules}; kubectl scoped-secrets simulate FOLDER says it, of files with the policies, namespaces and ScopedSecrets beside it"
            ));
        }
    }

    /// With these answers to more of the same.
    pub fn beside(&mut self, others: Vec<Answer>) {
        for other in others {
            self.report.findings.extend_from_slice(&other.report.findings);
            self.others.push(other);
        }
    }

    /// The operator never looks at this namespace: whatever else holds, nothing comes of it here.
    pub fn is_not_served(&mut self, namespace: &str) {
        let told = Told::new(
            "refused",
            Reason::NamespaceNotServed,
            "the operator does not serve this namespace: nothing in it is projected, refreshed, rotated, lent or taken away",
        );
        self.next.clear();
        self.blame(&Subject::cluster("Namespace", namespace), Rule::Claims, Severity::Error, &told);
        self.verdict = told;
    }

    /// What the reader could not look at here is a finding; that he does not see everything elsewhere, a note.
    pub fn not_seen(&mut self, cluster: &Cluster) {
        self.report.findings.extend(cluster.gaps_here());
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

fn governed(observed: &Observed, namespace: &str) -> Option<Governed> {
    let labels = observed.world.namespaces.get(namespace)?;
    let policies: Vec<_> = observed.policies_over(namespace).collect();
    let mut names: Vec<&String> = policies.iter().flat_map(|policy| policy.segment_labels.iter()).collect();
    names.sort();
    names.dedup();
    Some(Governed {
        segment: segment_of(namespace, &observed.world).ok().map(|segment| segment.to_string()),
        labels: names.into_iter().map(|l| format!("{l}={}", labels.get(l).map_or("", String::as_str))).collect(),
        policies: policies.iter().map(|policy| format!("{} ({})", policy.name, policy.mode.as_str())).collect(),
        policies_seen: observed.policies_seen,
    })
}

/// The patterns of the policies over a namespace that cover a key in a store. Explains; the authoriser decides.
pub fn covering(observed: &Observed, namespace: &str, store: &str, key: &str) -> Vec<Covering> {
    let (Ok(parsed), Some(labels)) = (RemoteKey::parse(key), observed.world.namespaces.get(namespace)) else {
        return Vec::new();
    };
    let realm = observed.world.stores.get(store).and_then(StoreState::realm);
    let own = match realm {
        Some(Realm::Aws { account, region }) => Some((region.as_str(), account.as_str())),
        _ => None,
    };
    let place = match &parsed {
        RemoteKey::Name(_) => Place { own: true, at: own },
        RemoteKey::Arn(arn) => {
            let at = Some((arn.region.as_str(), arn.account.as_str()));
            Place { own: at == own, at }
        }
    };
    let mut found = Vec::new();
    for policy in observed.policies_over(namespace) {
        for entry in policy.allow.iter().filter(|entry| entry.store == store) {
            let covers =
                entry.patterns.iter().filter(|p| p.covers(parsed.name(), place, Binding { namespace, labels }));
            found.extend(covers.map(|pattern| Covering {
                key: key.to_owned(),
                policy: policy.name.clone(),
                pattern: pattern.to_string(),
                actions: entry.actions.iter().map(|action| format!("{action:?}")).collect(),
            }));
        }
    }
    found
}
