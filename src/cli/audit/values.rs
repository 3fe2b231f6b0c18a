//! The same value in several scopes, however it got there; and Secrets that no workload's namespace has.
//!
//! Values are compared by an HMAC under a key that is made for one run and forgotten with it. Only values that are hard to guess
//! count, as everywhere ([`crate::segmentation::fingerprint`]).

use super::look::Sighted;
use super::scopes::{Scope, Scopes};
use crate::api::Reason;
use crate::cli::report::text::count;
use crate::cli::report::{Outcome, Rule, Severity, Subject};
use crate::segmentation::fingerprint::{Fingerprint, is_confidential, is_hard_to_guess};
use crate::segmentation::policy::DEFAULT_IGNORE;
use crate::segmentation::world::ObjectName;
use aws_lc_rs::hmac;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Values of Secrets, as digests of this run.
pub struct Values {
    key: hmac::Key,
    ignore: BTreeSet<String>,
    seen: HashMap<Fingerprint, Places>,
    /// How many were compared.
    pub compared: usize,
}

#[derive(Default)]
struct Places {
    /// Secret, and the key in it.
    at: Vec<(ObjectName, String)>,
    /// Asked when the value turns up a second time: an estimate costs more than a digest.
    hard: Option<bool>,
}

impl Values {
    /// Under a key of its own.
    pub fn new(random: &[u8; 32]) -> Self {
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, random),
            ignore: DEFAULT_IGNORE.map(str::to_owned).into(),
            seen: HashMap::new(),
            compared: 0,
        }
    }

    /// Takes in a value, which is not kept.
    pub fn add(&mut self, secret: &ObjectName, key: &str, value: &[u8]) {
        if !is_confidential(&[key.to_owned()], value, &self.ignore) {
            return;
        }
        self.compared += 1;
        let mut short = [0; 16];
        short.copy_from_slice(&hmac::sign(&self.key, value).as_ref()[..16]);
        let places = self.seen.entry(Fingerprint(short)).or_default();
        if !places.at.is_empty() && places.hard.is_none() {
            places.hard = Some(is_hard_to_guess(value));
        }
        places.at.push((secret.clone(), key.to_owned()));
    }

    /// What stands in more than one place and is hard to guess.
    fn repeated(&self) -> impl Iterator<Item = (&Fingerprint, &[(ObjectName, String)])> {
        self.seen
            .iter()
            .filter(|(_, places)| places.hard == Some(true))
            .map(|(print, places)| (print, places.at.as_slice()))
    }

    /// The repeated values of each Secret, as the guarantees compare them.
    pub fn prints(&self) -> HashMap<&ObjectName, Vec<Fingerprint>> {
        let mut prints: HashMap<&ObjectName, Vec<Fingerprint>> = HashMap::new();
        for (print, places) in self.repeated() {
            for (secret, _) in places {
                prints.entry(secret).or_default().push(*print);
            }
        }
        prints
    }
}

/// Values in several scopes, and Secrets in the namespace default.
pub fn judge(sighted: &Sighted, scopes: &Scopes<'_>, outcome: &mut Outcome) {
    let in_default: Vec<&ObjectName> = sighted.secrets.keys().filter(|name| &*name.namespace == "default").collect();
    if let Some(first) = in_default.first() {
        let others = in_default.len() - 1;
        let more =
            if others > 0 { format!(", and {} more", count(others, "is there", "are there")) } else { String::new() };
        let subject = Subject::namespaced("Secret", "default", &first.name);
        let message = format!("it is in the namespace default, which belongs to nobody{more}");
        outcome.find(Severity::Warning, Rule::ManagedSecrets, Reason::SecretInDefault, subject, message);
    }
    let Some(values) = &sighted.values else { return };
    let well = format!("{} compared: none stands in two scopes", count(values.compared, "value was", "values were"));
    outcome.part(
        || well,
        |outcome| {
            let mut found: BTreeSet<(ObjectName, String, Vec<String>, bool)> = BTreeSet::new();
            for (_, places) in values.repeated() {
                found.extend(repeated(sighted, scopes, places));
            }
            for (secret, key, others, segments) in found {
                let severity = if segments { Severity::Error } else { Severity::Warning };
                let subject = Subject::namespaced("Secret", &secret.namespace, &secret.name);
                let others = others.join("; ");
                let message = format!("its key {key:?} has the same value as {others}");
                outcome.find(severity, Rule::UniqueValues, Reason::ValueRepeated, subject, message);
            }
        },
    );
}

/// One value that stands in several scopes: the first place of it, the others, and whether segments (not mere namespaces) share
/// it. Where the operator projected both, the guarantee says so.
fn repeated(
    sighted: &Sighted,
    scopes: &Scopes<'_>,
    places: &[(ObjectName, String)],
) -> Option<(ObjectName, String, Vec<String>, bool)> {
    let mut by_scope: BTreeMap<Scope, Vec<&(ObjectName, String)>> = BTreeMap::new();
    for place in places {
        by_scope.entry(scopes.of(&place.0.namespace)).or_default().push(place);
    }
    let managed = |name: &ObjectName| sighted.secrets.get(name).is_some_and(|secret| secret.managed);
    if by_scope.len() < 2 || places.iter().all(|(name, _)| managed(name)) {
        return None;
    }
    let segments = by_scope.keys().all(|scope| matches!(scope, Scope::Segment(_)));
    let mut all: Vec<(&Scope, &ObjectName, &String)> =
        by_scope.iter().flat_map(|(scope, places)| places.iter().map(move |(name, key)| (scope, name, key))).collect();
    // The finding is about a copy, not about what the operator projected.
    all.sort_by_key(|(_, name, key)| (managed(name), (*name).clone(), (*key).clone()));
    let ((_, first, key), others) = all.split_first()?;
    let told = |(scope, name, key): &(&Scope, &ObjectName, &String)| format!("key {key:?} of Secret {name} ({scope})");
    let mut shown: Vec<String> = others.iter().take(5).map(told).collect();
    if others.len() > 5 {
        shown.push(format!("{} more", others.len() - 5));
    }
    Some(((*first).clone(), (*key).clone(), shown, segments))
}

#[cfg(test)]
mod tests {
    use super::super::look::tests::sighted;
    use super::*;
    use crate::cli::observed::tests::claim;

    const HARD: &[u8] = b"kX9#mQ2$vL8@nR5!wT3z";

    fn found(secrets: &[(&str, &str, &[u8])], labels: &[&str]) -> Vec<(Severity, Reason, String)> {
        let labels: Vec<String> = labels.iter().map(|l| (*l).to_owned()).collect();
        let sighted = sighted(&[], secrets);
        let mut outcome = Outcome::default();
        judge(&sighted, &Scopes::new(&sighted.observed, &labels), &mut outcome);
        outcome.findings.into_iter().map(|f| (f.severity, f.reason, f.message)).collect()
    }

    #[test]
    fn a_value_in_two_scopes_is_found() {
        let repeated = [("payments-prod/a", "password", HARD), ("billing-prod/b", "token", HARD)];
        let all = found(&repeated, &[]);
        assert_eq!(all.len(), 1, "{all:?}");
        assert_eq!((all[0].0, all[0].1), (Severity::Error, Reason::ValueRepeated));
        assert!(all[0].2.contains("payments-prod/a (segment payments/prod)"), "{}", all[0].2);
        assert!(!all[0].2.contains("kX9"), "no value");
        let in_one = [("payments-prod/a", "password", HARD), ("payments-prod/b", "token", HARD)];
        assert_eq!(found(&in_one, &[]), []);
        let ungoverned = [("plain/a", "password", HARD), ("other/b", "token", HARD)];
        assert_eq!(found(&ungoverned, &[])[0].0, Severity::Warning);
    }

    #[test]
    fn what_is_easy_to_guess_or_public_is_not_compared() {
        for value in [&b"hunter2"[..], b"postgres", b"passwordpassword", b"db.payments.svc.cluster.local"] {
            assert_eq!(found(&[("payments-prod/a", "x", value), ("billing-prod/b", "x", value)], &[]), []);
        }
        let ignored = [("payments-prod/a", "username", HARD), ("billing-prod/b", "username", HARD)];
        assert_eq!(found(&ignored, &[]), []);
    }

    #[test]
    fn secrets_in_default_are_counted() {
        let all = found(&[("default/a", "x", b"1"), ("default/b", "x", b"1")], &[]);
        assert_eq!(all[0].1, Reason::SecretInDefault);
        assert!(all[0].2.contains("1 is there"), "{}", all[0].2);
    }

    #[test]
    fn of_two_that_are_managed_the_guarantee_speaks() {
        let claims = [
            claim("payments-prod", "a", "payments/prod/a", 1, true),
            claim("billing-prod", "b", "billing/prod/b", 1, true),
        ];
        let mut sighted = sighted(&claims, &[("payments-prod/a", "p", HARD), ("billing-prod/b", "p", HARD)]);
        for secret in sighted.secrets.values_mut() {
            secret.managed = true;
        }
        let mut outcome = Outcome::default();
        judge(&sighted, &Scopes::new(&sighted.observed, &[]), &mut outcome);
        assert_eq!(outcome.findings, []);
    }
}
