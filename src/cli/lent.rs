//! What SecretGrants give: who may read a ScopedSecret's Secret beside its consumers, until when, and which grants give nothing.

use super::cluster::{Cluster, Failure, Reach, within};
use crate::api::reason::Nature;
use crate::api::{Reason, SecretGrant};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use kube::api::ListParams;
use std::collections::BTreeMap;

use super::report::text::count;
use super::report::{Outcome, Rule, Severity, Subject};

/// The SecretGrants that the reader may see, and how far that is.
#[derive(Debug, Clone, Default)]
pub struct Grants {
    /// As the API server tells them.
    pub all: Vec<SecretGrant>,
    /// How far the look went; None: it was not looked.
    pub reach: Option<Reach>,
}

/// Looks, in the whole cluster or, where that is not allowed, in the reader's namespace.
pub async fn look(cluster: &Cluster) -> Result<Grants, Failure> {
    let mut all = Vec::new();
    let api = within::<SecretGrant>(&cluster.client);
    let reach = cluster.each_page_in_reach(api, ListParams::default(), |page| all.extend(page)).await?;
    Ok(Grants { all, reach: Some(reach) })
}

/// What the condition Ready says: whether it is true, the reason and the message.
fn ready(grant: &SecretGrant) -> Option<(bool, &str, &str)> {
    let ready = condition(grant, "Ready")?;
    Some((ready.status == "True", &ready.reason, &ready.message))
}

fn condition<'g>(grant: &'g SecretGrant, kind: &str) -> Option<&'g Condition> {
    grant.status.as_ref()?.conditions.iter().find(|condition| condition.type_ == kind)
}

/// Ends that are as they should be.
pub const ENDS: [Reason; 4] = [Reason::Expired, Reason::GrantEnded, Reason::GrantOutdated, Reason::KeyRevoked];

impl Grants {
    /// Who may read the Secret of a ScopedSecret by a grant, in words.
    pub fn readers(&self, namespace: &str, claim: &str) -> Vec<String> {
        let about = self.all.iter().filter(|grant| {
            grant.namespace().as_deref() == Some(namespace) && grant.spec.scoped_secret_ref.name == claim
        });
        let open = about.filter(|grant| ready(grant).is_some_and(|(open, ..)| open));
        open.map(|grant| {
            let end = grant.status.as_ref().and_then(|status| status.expiration_time.as_ref());
            let until = end.map(|end| format!(" until {}", end.0)).unwrap_or_default();
            format!("{}{until} (SecretGrant {})", grant.spec.subject, grant.name_any())
        })
        .collect()
    }

    /// Those that give nothing although their time is not over, one finding for each reason.
    pub fn judge(&self, only: Option<&str>, outcome: &mut Outcome) {
        let here = |grant: &&SecretGrant| only.is_none_or(|only| grant.namespace().as_deref() == Some(only));
        let (mut open, mut closed) = (0, BTreeMap::<Reason, Vec<(&SecretGrant, &str)>>::new());
        for grant in self.all.iter().filter(here) {
            let generation = grant.metadata.generation.unwrap_or(0);
            let seen = grant.status.as_ref().and_then(|status| status.observed_generation).unwrap_or(-1);
            let (reason, message) = match ready(grant) {
                _ if seen < generation => (Reason::Pending, "the operator has not looked at it yet"),
                Some((true, ..)) => {
                    open += 1;
                    continue;
                }
                Some((false, reason, message)) => (Reason::from_text(reason).unwrap_or(Reason::Pending), message),
                None => continue,
            };
            if let Some(owed) = condition(grant, "Rotated").filter(|rotated| rotated.status == "False") {
                closed.entry(Reason::RotationOwed).or_default().push((grant, &owed.message));
            }
            if !ENDS.contains(&reason) {
                closed.entry(reason).or_default().push((grant, message));
            }
        }
        if open > 0 {
            outcome.pass(format!("{} access for a while", count(open, "SecretGrant gives", "SecretGrants give")));
        }
        for (reason, all) in closed {
            let Some((grant, message)) = all.first() else { continue };
            let subject = Subject::namespaced("SecretGrant", &grant.namespace().unwrap_or_default(), &grant.name_any());
            let others = if all.len() > 1 { format!(" (and so are {} more)", all.len() - 1) } else { String::new() };
            let message = format!("it gives no access{others}: {message}");
            let refused = reason.nature() == Nature::Refused;
            let severity = if refused { Severity::Error } else { Severity::Warning };
            outcome.find(severity, Rule::Grants, reason, subject, message);
        }
    }
}

#[cfg(test)]
pub(in crate::cli) mod tests {
    use super::*;
    use serde_json::json;

    /// A grant on `orders`, as its status tells it.
    pub fn grant(namespace: &str, name: &str, ready: &str, reason: &str) -> SecretGrant {
        serde_json::from_value(json!({
            "apiVersion": "scopedsecrets.io/v1alpha1", "kind": "SecretGrant",
            "metadata": {"name": name, "namespace": namespace, "uid": format!("uid-{name}"), "generation": 1,
                "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"scopedSecretRef": {"name": "orders"}, "subject": {"kind": "User", "name": "ada"}, "ttl": "30m", "reason": "INC-1"},
            "status": {"observedGeneration": 1, "expirationTime": "2026-01-01T00:30:00Z", "conditions": [
                {"type": "Ready", "status": ready, "reason": reason, "message": "m", "lastTransitionTime": "2026-01-01T00:00:00Z"},
            ]},
        }))
        .unwrap()
    }

    fn seen(all: Vec<SecretGrant>) -> Grants {
        Grants { all, reach: Some(Reach::Everywhere) }
    }

    #[test]
    fn who_may_read_is_said_while_they_may() {
        let all = seen(vec![
            grant("payments-prod", "ada", "True", "Granted"),
            grant("payments-prod", "over", "False", "Expired"),
            grant("billing-prod", "other", "True", "Granted"),
        ]);
        assert_eq!(
            all.readers("payments-prod", "orders"),
            ["User \"ada\" until 2026-01-01T00:30:00Z (SecretGrant ada)"]
        );
        assert_eq!(all.readers("payments-prod", "another"), [] as [String; 0]);
    }

    #[test]
    fn what_gives_nothing_is_found_by_its_reason() {
        let mut new = grant("payments-prod", "new", "False", "Pending");
        new.metadata.generation = Some(2);
        let mut owes = grant("payments-prod", "owes", "False", "GrantOutdated");
        let conditions = &mut owes.status.as_mut().unwrap().conditions;
        let rotated =
            Condition { type_: "Rotated".to_owned(), reason: "RotationOwed".to_owned(), ..conditions[0].clone() };
        conditions.push(rotated);
        let all = seen(vec![
            grant("payments-prod", "ada", "True", "Granted"),
            grant("payments-prod", "over", "False", "Expired"),
            owes,
            grant("payments-prod", "long", "False", "GrantTooLong"),
            grant("payments-prod", "longer", "False", "GrantTooLong"),
            grant("payments-prod", "waits", "False", "AwaitsApproval"),
            new,
        ]);
        let mut outcome = Outcome::default();
        all.judge(None, &mut outcome);
        let found: Vec<_> = outcome.findings.iter().map(|f| (f.severity, f.reason)).collect();
        assert!(found.contains(&(Severity::Error, Reason::GrantTooLong)), "{found:?}");
        assert!(found.contains(&(Severity::Warning, Reason::AwaitsApproval)), "{found:?}");
        assert!(found.contains(&(Severity::Warning, Reason::Pending)), "{found:?}");
        assert!(found.contains(&(Severity::Error, Reason::RotationOwed)), "{found:?}");
        assert_eq!(found.len(), 4);
        assert!(outcome.findings.iter().any(|f| f.message.contains("and so are 1 more")));
        let mut elsewhere = Outcome::default();
        all.judge(Some("billing-prod"), &mut elsewhere);
        assert_eq!(elsewhere.findings, []);
    }
}
