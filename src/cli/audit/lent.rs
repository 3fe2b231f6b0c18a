//! What grants have left behind: RoleBindings and Roles of the operator's by which somebody may read a Secret, and should not.

use super::look::Sighted;
use crate::api::{GRANT_UID_ANNOTATION, MANAGED_BY, MANAGED_BY_LABEL, ROTATE_AFTER_ANNOTATION, Reason, duration};
use crate::cli::cluster::{Cluster, Failure, Reach, within};
use crate::cli::lent::{self, Grants};
use crate::cli::report::text::count;
use crate::cli::report::{Finding, Outcome, Rule, Severity, Subject};
use crate::controller::grant::known::controller;
use crate::controller::index::object_name;
use crate::segmentation::guarantees::lent::{Granted, Lent, breaches};
use crate::segmentation::world::ObjectName;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::ListParams;
use std::collections::BTreeSet;

/// What was seen of grants and of what they made.
#[derive(Debug, Default)]
pub struct Left {
    /// The grants.
    pub grants: Grants,
    /// RoleBindings that carry our label: each with the uid of the grant that controls it.
    pub bindings: Vec<(ObjectName, Option<String>)>,
    /// Roles that carry our label and owe no rotation: each with the uid of the grant that it was made for.
    pub roles: Vec<(ObjectName, String)>,
    /// How far all three lists went.
    pub reach: Option<Reach>,
}

/// The operator takes a moment.
const MOMENT: SignedDuration = SignedDuration::from_mins(1);

/// Looks: at what was made first, so that no grant is missed that was created meanwhile.
pub async fn look(cluster: &Cluster) -> Result<Left, Failure> {
    let ours = || ListParams::default().labels(&format!("{MANAGED_BY_LABEL}={MANAGED_BY}"));
    let mut left = Left::default();
    let bindings = cluster
        .each_page_in_reach(within::<RoleBinding>(&cluster.client), ours(), |page| {
            for binding in page {
                let grant = controller(&binding.metadata, "SecretGrant").map(|(_, uid)| uid.to_owned());
                left.bindings.extend(object_name(&binding.metadata).map(|name| (name, grant)));
            }
        })
        .await?;
    let roles = cluster
        .each_page_in_reach(within::<Role>(&cluster.client), ours(), |page| {
            for role in page {
                let note = |key: &str| role.metadata.annotations.as_ref()?.get(key).cloned();
                let owes = note(ROTATE_AFTER_ANNOTATION).as_deref() == Some("true");
                let grant = note(GRANT_UID_ANNOTATION).filter(|_| !owes);
                left.roles.extend(object_name(&role.metadata).zip(grant));
            }
        })
        .await?;
    left.grants = lent::look(cluster).await?;
    left.reach = left.grants.reach.map(|grants| grants.min(bindings).min(roles));
    Ok(left)
}

/// Judges, by the same guarantee that the tests ask.
pub fn judge(sighted: &Sighted, now: Timestamp, outcome: &mut Outcome) {
    let Left { grants, bindings, roles, reach } = &sighted.left;
    if !sighted.observed.installed || reach.is_none_or(|reach| reach == Reach::Nowhere) {
        return;
    }
    let granted: Vec<Granted> = grants
        .all
        .iter()
        .map(|grant| Granted {
            uid: grant.metadata.uid.clone().unwrap_or_default(),
            start: match grant.spec.approved_by {
                Some(_) => grant.status.as_ref().and_then(|status| status.start_time.as_ref()).map(|time| time.0),
                None => grant.metadata.creation_timestamp.as_ref().map(|time| time.0),
            },
            ttl: duration::parse(&grant.spec.ttl).ok(),
        })
        .collect();
    let lent: Vec<Lent> =
        bindings.iter().map(|(name, grant)| Lent { name: name.clone(), grant: grant.clone() }).collect();
    let then = now.checked_sub(MOMENT).unwrap_or(now);
    let mut find = |kind: &str, name: &ObjectName, message: String| {
        let subject = Subject::namespaced(kind, &name.namespace, &name.name);
        let finding = Finding::live(Severity::Error, Rule::Grants, Reason::GrantEnded, subject, message);
        let resource = kind.to_lowercase();
        outcome.push(finding.mend(format!(
            "see that the operator runs, which takes it away (kubectl scoped-secrets check); else kubectl delete {resource} {} -n {}",
            name.name, name.namespace
        )));
    };
    let mut found = 0;
    for breach in breaches(&sighted.observed.world, &lent, &granted, then) {
        found += 1;
        find("RoleBinding", &breach.object, format!("somebody may still read a Secret by it: {}", breach.what));
    }
    let living: BTreeSet<&str> = granted.iter().map(|grant| &*grant.uid).collect();
    for (name, _) in roles.iter().filter(|(_, grant)| !living.contains(grant.as_str())) {
        found += 1;
        find("Role", name, "it was made for a SecretGrant that is gone, and owes no rotation".to_owned());
    }
    if found == 0 && *reach == Some(Reach::Everywhere) {
        let text = count(bindings.len(), "RoleBinding of a grant", "RoleBindings of grants");
        outcome.pass(format!("no access outlives its SecretGrant ({text})"));
    }
}

#[cfg(test)]
mod tests {
    use super::super::look::tests::sighted;
    use super::*;
    use crate::cli::lent::tests::grant;

    fn found(left: Left, now: &str) -> Vec<(String, String)> {
        let mut sighted = sighted(&[], &[]);
        sighted.left = Left { reach: Some(Reach::Everywhere), ..left };
        let mut outcome = Outcome::default();
        judge(&sighted, now.parse().unwrap(), &mut outcome);
        let told = |f: &Finding| (f.subject.kind.clone(), f.message.clone());
        assert_eq!(outcome.findings.is_empty(), !outcome.passed.is_empty());
        outcome.findings.iter().map(told).collect()
    }

    #[test]
    fn what_should_be_gone_is_found_and_what_is_owed_is_not() {
        let name = || ObjectName::new("payments-prod", "grant-ada-x");
        let left = |binding: Option<&str>, role: Option<&str>, granted: bool| {
            let all = if granted { vec![grant("payments-prod", "ada", "True", "Granted")] } else { vec![] };
            Left {
                grants: Grants { all, reach: Some(Reach::Everywhere) },
                bindings: binding.map(|uid| (name(), Some(uid.to_owned()))).into_iter().collect(),
                roles: role.map(|uid| (name(), uid.to_owned())).into_iter().collect(),
                reach: None,
            }
        };
        let both = |granted| left(Some("uid-ada"), Some("uid-ada"), granted);
        assert_eq!(found(both(true), "2026-01-01T00:29:00Z"), []);
        assert_eq!(found(both(true), "2026-01-01T00:30:30Z"), [], "the operator takes a moment");
        let over = found(both(true), "2026-01-01T00:32:00Z");
        assert_eq!((over.len(), &*over[0].0), (1, "RoleBinding"));
        assert!(over[0].1.contains("time is over"), "{over:?}");
        let kinds: Vec<String> = found(both(false), "2026-01-01T00:10:00Z").into_iter().map(|(kind, _)| kind).collect();
        assert_eq!(kinds, ["RoleBinding", "Role"]);
        assert_eq!(found(left(None, None, false), "2026-01-01T00:10:00Z"), []);
        // A rotation that is owed keeps the Role, which `look` leaves out.
        let stray = found(left(Some("another"), None, true), "2026-01-01T00:10:00Z");
        assert!(stray[0].1.contains("no living SecretGrant"), "{stray:?}");
    }
}
