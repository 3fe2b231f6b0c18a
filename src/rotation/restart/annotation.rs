//! The one annotation on a pod template: for which content of which Secrets its pods were last started. Pure.
//!
//! For one Secret it is what the content is known by, the remote version id: `3f2b...`. A workload that uses several says which is
//! whose: `orders-api=9c1d...,orders-db=3f2b...`. Neither a Secret's name nor an id has one of the two signs in it.

use super::Consumed;
use std::collections::BTreeMap;

/// What a workload's pods were started for, by Secret.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RestartedFor(BTreeMap<String, String>);

impl RestartedFor {
    /// Reads the annotation of a workload that uses these Secrets. A single id without a name is of the one that is known by it;
    /// of two that are, of neither: one restart too many rather than pods with an old value.
    pub fn read(text: Option<&str>, uses: &[&Consumed]) -> Self {
        let text = text.unwrap_or_default();
        let named = text.split(',').filter_map(|entry| entry.split_once('='));
        let mut known: BTreeMap<String, String> = named.map(|(name, token)| (name.into(), token.into())).collect();
        if !text.contains('=') {
            let mut whose = uses.iter().filter(|consumed| consumed.token == text);
            if let (Some(one), None) = (whose.next(), whose.next()) {
                known.insert(one.secret.clone(), text.to_owned());
            }
        }
        Self(known)
    }

    /// Whether the pods were started for what this Secret holds.
    pub fn has(&self, consumed: &Consumed) -> bool {
        self.0.get(&consumed.secret).is_some_and(|token| *token == consumed.token)
    }

    /// The annotation once the pods are started for these, too. Secrets that the workload does not use any more are left out.
    pub fn with(mut self, due: &[&Consumed], uses: &[&Consumed]) -> String {
        self.0.extend(due.iter().map(|consumed| (consumed.secret.clone(), consumed.token.clone())));
        self.0.retain(|secret, _| uses.iter().any(|consumed| consumed.secret == *secret));
        let mut entries = self.0.iter();
        if let (Some((secret, token)), None) = (entries.next(), entries.next())
            && uses.iter().all(|consumed| consumed.secret == *secret || consumed.token != *token)
        {
            return token.clone();
        }
        let entries: Vec<String> = self.0.iter().map(|(secret, token)| format!("{secret}={token}")).collect();
        entries.join(",")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn consumed(secret: &str, token: &str) -> Consumed {
        Consumed { secret: secret.into(), consumers: vec![], token: token.into(), due: None }
    }

    #[test]
    fn one_secret_is_a_version_id_and_several_are_named() {
        let (db, api) = (consumed("db", "v2"), consumed("api", "w1"));
        let write = |before: Option<&str>, due: &[&Consumed], uses: &[&Consumed]| {
            RestartedFor::read(before, uses).with(due, uses)
        };
        for (before, due, uses, after) in [
            (None, &[&db][..], &[&db][..], "v2"),
            (Some("v1"), &[&db], &[&db], "v2"),
            (Some("db=v1,api=w1"), &[&db], &[&db, &api], "api=w1,db=v2"),
            (Some("v2"), &[&api], &[&db, &api], "api=w1,db=v2"),
            (Some("v1"), &[&api], &[&db, &api], "w1"),
            (None, &[&db, &api], &[&db, &api], "api=w1,db=v2"),
            (Some("gone=x,db=v1"), &[&db], &[&db], "v2"),
            (Some("somebody's own text, = and all"), &[&db], &[&db], "v2"),
        ] {
            let written = write(before, due, uses);
            assert_eq!(written, after, "{before:?}");
            let again = RestartedFor::read(Some(&written), uses);
            assert!(due.iter().all(|due| again.has(due)), "{written}");
        }
    }

    #[test]
    fn one_version_in_two_secrets_is_nobodys_without_a_name() {
        let (a, b) = (consumed("a", "v2"), consumed("b", "v2"));
        let known = RestartedFor::read(Some("v2"), &[&a, &b]);
        assert!(!known.has(&a) && !known.has(&b));
        assert_eq!(known.with(&[&a], &[&a, &b]), "a=v2", "else it would be taken for b's as well");
        assert!(RestartedFor::read(Some("v2"), &[&a]).has(&a));
    }
}
