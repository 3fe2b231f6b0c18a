//! The same value in several scopes, however it got there; and Secrets in the namespace that belongs to nobody. Pure.

use super::look::Sighted;
use super::scopes::{Scope, Scopes};
use super::told::shown;
use super::values::{Site, Values};
use crate::api::Reason;
use crate::cli::cluster::Reach;
use crate::cli::report::text::count;
use crate::cli::report::{Outcome, Rule, Severity, Subject};
use crate::segmentation::authorize::owners;
use crate::segmentation::fingerprint::Fingerprint;
use crate::segmentation::world::{ObjectName, World};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// Judges. With `here`, what concerns several namespaces is told of an object of that one.
pub fn judge(sighted: &Sighted, scopes: &Scopes, here: Option<&str>, now: Timestamp, outcome: &mut Outcome) {
    in_default(sighted, outcome);
    let Some(values) = &sighted.values else { return };
    let before = outcome.findings.len();
    let world = &sighted.observed.world;
    let mut copies: BTreeMap<(&'static str, &ObjectName), Copy<'_>> = BTreeMap::new();
    for (print, sites) in &values.places {
        let apart: BTreeSet<Scope> = sites.iter().map(|site| scopes.of(&site.object.namespace)).collect();
        let (projected, others): (Vec<&Site>, Vec<&Site>) = sites.iter().partition(|site| holds(site, print, world));
        // Where the operator projected each whole, the guarantee says so.
        if apart.len() < 2 || others.is_empty() {
            continue;
        }
        if projected.is_empty() {
            repeated(&others, scopes, here, outcome);
            continue;
        }
        for site in others {
            let whose = whose(print, site, world, scopes, now);
            if !whose.is_empty() {
                let copy = copies.entry((site.kind, &site.object)).or_default();
                copy.places.insert(&site.place);
                copy.whose.extend(whose);
            }
        }
    }
    copies.iter().for_each(|((kind, object), copy)| copy.tell(kind, object, outcome));
    for (kind, object) in &values.given_up {
        let subject = Subject::namespaced(kind, &object.namespace, &object.name);
        let message = "it is made so that comparing it takes too long, and was compared in part";
        outcome.find(Severity::Warning, Rule::Copies, Reason::NotCompared, subject, message);
    }
    well(values, outcome.findings.len() == before, outcome);
}

fn well(values: &Values, nothing_found: bool, outcome: &mut Outcome) {
    if nothing_found && values.reach == Reach::Everywhere {
        let values = count(values.compared, "value was", "values were");
        outcome.pass(format!("{values} compared: none stands in two scopes, also not inside a larger text"));
    }
}

fn in_default(sighted: &Sighted, outcome: &mut Outcome) {
    let all: Vec<&ObjectName> = sighted.secrets.keys().filter(|name| &*name.namespace == "default").collect();
    let Some(first) = all.first() else { return };
    let others = all.len() - 1;
    let more =
        if others > 0 { format!(", and {} more", count(others, "is there", "are there")) } else { String::new() };
    let subject = Subject::namespaced("Secret", "default", &first.name);
    let message = format!("it is in the namespace default, which belongs to nobody{more}");
    outcome.find(Severity::Warning, Rule::ManagedSecrets, Reason::SecretInDefault, subject, message);
}

/// Whether it is a Secret of which a ScopedSecret projects this value, whole; it may be inside another that one projects.
fn holds(site: &Site, print: &Fingerprint, world: &World) -> bool {
    site.kind == "Secret" && world.holding(&site.object).is_some_and(|held| held.fingerprints.contains(print))
}

/// The segments whose projected value may not be there, by their own policies.
fn whose(print: &Fingerprint, site: &Site, world: &World, scopes: &Scopes, now: Timestamp) -> BTreeSet<Scope> {
    let owners = owners(print, &site.object.namespace, world, now);
    owners.iter().filter(|owner| !owner.segment.is_empty()).map(|owner| scopes.named(&owner.segment)).collect()
}

/// Projected values in one object.
#[derive(Default)]
struct Copy<'v> {
    places: BTreeSet<&'v str>,
    whose: BTreeSet<Scope>,
}

impl Copy<'_> {
    fn tell(&self, kind: &str, object: &ObjectName, outcome: &mut Outcome) {
        let mut places: Vec<&str> = self.places.iter().copied().take(5).collect();
        if self.places.len() > 5 {
            places.push("...");
        }
        let message = format!(
            "a value that is projected in {} is in {}: remove it there, then rotate it in the manager",
            shown(&self.whose),
            places.join(", ")
        );
        let subject = Subject::namespaced(kind, &object.namespace, &object.name);
        outcome.find(Severity::Error, Rule::Copies, Reason::ValueCopied, subject, message);
    }
}

/// A value that nobody projects, in several scopes.
fn repeated(sites: &[&Site], scopes: &Scopes, here: Option<&str>, outcome: &mut Outcome) {
    // One place of each object is enough.
    let objects: BTreeMap<(&ObjectName, &str), &Site> =
        sites.iter().rev().map(|site| ((&site.object, site.kind), *site)).collect();
    let mut all: Vec<&Site> = objects.into_values().collect();
    all.sort_by_key(|site| here != Some(&*site.object.namespace));
    let Some((first, others)) = all.split_first() else { return };
    let told = |site: &&Site| {
        format!("{} of {} {} ({})", site.place, site.kind, site.object, scopes.of(&site.object.namespace))
    };
    let mut shown: Vec<String> = others.iter().take(5).map(told).collect();
    if others.len() > 5 {
        shown.push(format!("{} more", others.len() - 5));
    }
    let segments = all.iter().all(|site| scopes.of(&site.object.namespace).is_segment());
    let severity = if segments { Severity::Error } else { Severity::Warning };
    let subject = Subject::namespaced(first.kind, &first.object.namespace, &first.object.name);
    let message = format!("a value in its {} is in {}, too", first.place, shown.join("; "));
    outcome.find(severity, Rule::UniqueValues, Reason::ValueRepeated, subject, message);
}

#[cfg(test)]
mod tests {
    use super::super::look::tests::{judged, sighted};
    use super::super::values::tests::{HARD, map, secret};
    use super::*;
    use crate::cli::observed::tests::claim;
    use crate::cli::report::Finding;
    use k8s_openapi::api::core::v1::{ConfigMap, Secret};
    use serde_json::Value;

    fn findings(claims: &[Value], secrets: &[Secret], maps: &[ConfigMap], here: Option<&str>) -> Vec<Finding> {
        let mut sighted = sighted(claims, secrets);
        sighted.compare(secrets, maps);
        judged(sighted, &[], |sighted, scopes, now, outcome| judge(sighted, scopes, here, now, outcome)).findings
    }

    fn found(claims: &[Value], secrets: &[Secret], maps: &[ConfigMap]) -> Vec<(Severity, Reason, String)> {
        let all = findings(claims, secrets, maps, None);
        all.into_iter().map(|f| (f.severity, f.reason, f.subject.to_string())).collect()
    }

    #[test]
    fn a_value_in_two_scopes_is_found() {
        let both = [secret("payments-prod/a", "password", HARD), secret("billing-prod/b", "token", HARD)];
        let all = findings(&[], &both, &[], None);
        assert_eq!(all.len(), 1, "{all:?}");
        assert_eq!((all[0].severity, all[0].reason), (Severity::Error, Reason::ValueRepeated));
        let told = "a value in its data[\"token\"] is in data[\"password\"] of Secret payments-prod/a (segment payments/prod), too";
        assert_eq!(all[0].message, told);
        let told_of = |here| findings(&[], &both, &[], Some(here))[0].subject.to_string();
        assert_eq!(told_of("payments-prod"), "Secret payments-prod/a");
        let in_one = [secret("payments-prod/a", "password", HARD), secret("payments-prod/b", "token", HARD)];
        assert_eq!(found(&[], &in_one, &[]), []);
        let ungoverned = [secret("plain/a", "password", HARD), secret("other/b", "token", HARD)];
        assert_eq!(found(&[], &ungoverned, &[])[0].0, Severity::Warning);
    }

    #[test]
    fn inside_a_text_and_in_a_config_map_too() {
        let own = [secret("payments-prod/a", "password", HARD)];
        let url = map("billing-prod/settings", "url", &format!("postgres://app:{HARD}@db/orders"));
        let both = [(Severity::Error, Reason::ValueRepeated, "ConfigMap billing-prod/settings".to_owned())];
        assert_eq!(found(&[], &own, std::slice::from_ref(&url)), both);
        let projected = [claim("payments-prod", "a", "payments/prod/a", 1, true)];
        let copied = [(Severity::Error, Reason::ValueCopied, "ConfigMap billing-prod/settings".to_owned())];
        assert_eq!(found(&projected, &own, &[url]), copied);
        let here = map("payments-prod/settings", "url", HARD);
        assert_eq!(found(&projected, &own, &[here]), [], "inside its own segment");
    }

    #[test]
    fn a_copy_is_judged_by_the_policy_of_its_owner() {
        let projected = [claim("payments-prod", "a", "payments/prod/a", 1, true)];
        let both = [secret("payments-prod/a", "password", HARD), secret("billing-prod/copy", "x", HARD)];
        let all = findings(&projected, &both, &[], None);
        assert!(all[0].message.starts_with("a value that is projected in segment payments/prod is in data[\"x\"]"));
        let mut sighted = sighted(&projected, &both);
        let state = sighted.observed.world.policies.get_mut("tenants").unwrap();
        let crate::segmentation::world::PolicyState::Known(policy) = state else { panic!("it is understood") };
        std::sync::Arc::make_mut(policy).unique_within = crate::api::policy::Within::None;
        sighted.compare(&both, &[]);
        let all = judged(sighted, &[], |sighted, scopes, now, outcome| judge(sighted, scopes, None, now, outcome));
        assert_eq!(all.findings, []);
    }

    #[test]
    fn of_two_that_are_projected_the_guarantee_speaks() {
        let claims = [
            claim("payments-prod", "a", "payments/prod/a", 1, true),
            claim("billing-prod", "b", "billing/prod/b", 1, true),
        ];
        let both = [secret("payments-prod/a", "p", HARD), secret("billing-prod/b", "p", HARD)];
        assert_eq!(found(&claims, &both, &[]), []);
    }

    #[test]
    fn a_value_inside_what_another_projects_is_a_copy() {
        let claims = [
            claim("payments-prod", "a", "payments/prod/a", 1, true),
            claim("billing-prod", "b", "billing/prod/b", 1, true),
        ];
        let url = secret("billing-prod/b", "url", &format!("postgres://app:{HARD}@db/orders"));
        let both = [secret("payments-prod/a", "p", HARD), url];
        let copied = [(Severity::Error, Reason::ValueCopied, "Secret billing-prod/b".to_owned())];
        assert_eq!(found(&claims, &both, &[]), copied);
        let home = [claims[0].clone(), claim("payments-prod", "b", "payments/prod/b", 1, true)];
        let url = secret("payments-prod/b", "url", &format!("postgres://app:{HARD}@db/orders"));
        assert_eq!(found(&home, &[both[0].clone(), url], &[]), []);
    }

    #[test]
    fn secrets_in_default_are_counted() {
        let all = findings(&[], &[secret("default/a", "x", "1"), secret("default/b", "x", "1")], &[], None);
        assert_eq!(all[0].reason, Reason::SecretInDefault);
        assert!(all[0].message.contains("1 is there"), "{}", all[0].message);
    }
}
