//! What names a segment, and which patterns allow the keys that are in use: by the parts of keys that are values of labels.

use crate::api::NAMESPACE_NAME_LABEL;
use crate::cli::init::found::Namespaces;
use crate::segmentation::key::RemoteKey;
use std::collections::{BTreeMap, BTreeSet};

/// More labels than these name no segment.
const LIMIT: usize = 8;

/// The labels whose values are a part of a key, at the same place in most of the namespaces; in the order of the parts. None: the
/// label that is the namespace's own name.
pub fn guess<'a>(namespaces: &Namespaces, keys: impl Iterator<Item = (&'a str, &'a RemoteKey)>) -> Vec<String> {
    let mut all = BTreeSet::new();
    let mut seen: BTreeMap<(usize, &str), BTreeSet<&str>> = BTreeMap::new();
    for (namespace, key) in keys {
        all.insert(namespace);
        for (label, value) in namespaces.get(namespace).into_iter().flatten() {
            if value.is_empty() || value == namespace || is_systems(label) {
                continue;
            }
            for at in parts(key).enumerate().filter(|(_, part)| part == value).map(|(at, _)| at) {
                seen.entry((at, label)).or_default().insert(namespace);
            }
        }
    }
    let mut chosen: Vec<String> = Vec::new();
    let places: BTreeSet<usize> = seen.keys().map(|(at, _)| *at).collect();
    for at in places {
        let here = seen.iter().filter(|((place, label), _)| *place == at && !chosen.iter().any(|known| known == label));
        let best = here.max_by_key(|((_, label), found)| {
            (found.len(), std::cmp::Reverse(label.contains('/')), std::cmp::Reverse(*label))
        });
        if let Some(((_, label), found)) = best
            && found.len() * 2 >= all.len()
            && chosen.len() < LIMIT
        {
            chosen.push((*label).to_owned());
        }
    }
    if chosen.is_empty() { vec![NAMESPACE_NAME_LABEL.to_owned()] } else { chosen }
}

/// Kubernetes' own labels say nothing of tenants.
fn is_systems(label: &str) -> bool {
    let domain = label.split_once('/').map_or("", |(domain, _)| domain);
    ["kubernetes.io", "k8s.io"].iter().any(|own| domain == *own || domain.ends_with(&format!(".{own}")))
}

fn parts(key: &RemoteKey) -> impl Iterator<Item = &str> {
    key.name().strip_prefix('/').unwrap_or(key.name()).split('/')
}

/// The segment of a namespace, if it has every label.
pub fn segment_of(labels: &[String], own: &BTreeMap<String, String>) -> Option<String> {
    let values: Option<Vec<&str>> =
        labels.iter().map(|label| own.get(label).map(String::as_str).filter(|value| !value.is_empty())).collect();
    values.map(|values| values.join("/"))
}

/// A pattern that allows a key, and whether it lets one segment alone claim what it covers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pattern {
    /// As it is written.
    pub text: String,
    /// Whether no other segment can claim by it.
    pub separates: bool,
}

/// The pattern for a key of a namespace: each part that is the value of a segment label, or the namespace's name, becomes its
/// placeholder. If those name the segment, all that is below them is allowed, too; else this one key.
pub fn pattern(key: &RemoteKey, labels: &[String], namespace: &str, own: &BTreeMap<String, String>) -> Pattern {
    let mut missing: BTreeSet<&str> = labels.iter().map(String::as_str).collect();
    let mut last = None;
    let mut by_name = false;
    let mut made: Vec<String> = Vec::new();
    for (at, part) in parts(key).enumerate() {
        let unused = labels.iter().find(|label| {
            own.get(*label).is_some_and(|value| value == part)
                && missing.contains(label.as_str())
                && *label != NAMESPACE_NAME_LABEL
        });
        if let Some(label) = unused {
            missing.remove(label.as_str());
            last = Some(at);
            made.push(format!("${{label:{label}}}"));
        } else if part == namespace && !by_name {
            by_name = true;
            last = Some(at);
            made.push("${namespace}".to_owned());
        } else {
            made.push(part.to_owned());
        }
    }
    let separates = by_name || missing.is_empty();
    if let Some(last) = last.filter(|last| separates && last + 1 < made.len()) {
        made.truncate(last + 1);
        made.push("**".to_owned());
    }
    let slash = if key.name().starts_with('/') { "/" } else { "" };
    let prefix = match key {
        RemoteKey::Arn(arn) => arn.text.rsplit_once(":secret:").map_or("", |(before, _)| before),
        RemoteKey::Name(_) => "",
    };
    let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}:secret:") };
    Pattern { text: format!("{prefix}{slash}{}", made.join("/")), separates }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    /// A namespace: its name, its labels, the keys that it asks for.
    type Asks<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a [&'a str]);

    fn guessed(namespaces: &[Asks<'_>]) -> Vec<String> {
        let known: Namespaces = namespaces.iter().map(|(name, pairs, _)| ((*name).to_owned(), labels(pairs))).collect();
        let keys: Vec<(&str, RemoteKey)> = namespaces
            .iter()
            .flat_map(|(name, _, keys)| keys.iter().map(|key| (*name, RemoteKey::parse(key).unwrap())))
            .collect();
        guess(&known, keys.iter().map(|(namespace, key)| (*namespace, key)))
    }

    #[test]
    fn labels_are_those_whose_values_are_parts_of_keys() {
        let prod: &[(&str, &str)] = &[("tenant", "payments"), ("environment", "prod"), ("kubernetes.io/x", "payments")];
        let staging: &[(&str, &str)] = &[("tenant", "billing"), ("environment", "staging"), ("team", "x")];
        for (namespaces, expected) in [
            (
                &[("a", prod, &["payments/prod/db"][..]), ("b", staging, &["billing/staging/db"])][..],
                &["tenant", "environment"][..],
            ),
            (
                &[("a", prod, &["/apps/prod/payments/db"]), ("b", staging, &["/apps/staging/billing/db"])],
                &["environment", "tenant"],
            ),
            (&[("a", prod, &["payments/db"]), ("b", staging, &["billing/db"])], &["tenant"]),
            (
                &[("a", prod, &["payments/prod/db"]), ("b", &[], &["x"]), ("c", &[], &["y"])],
                &["kubernetes.io/metadata.name"],
            ),
            (&[("a", &[("self", "a")], &["a/db"])], &["kubernetes.io/metadata.name"]),
            (&[], &["kubernetes.io/metadata.name"]),
        ] {
            assert_eq!(guessed(namespaces), expected, "{namespaces:?}");
        }
    }

    #[test]
    fn a_pattern_follows_the_key() {
        let own = labels(&[("tenant", "payments"), ("environment", "prod")]);
        let both = ["tenant".to_owned(), "environment".to_owned()];
        let name = [NAMESPACE_NAME_LABEL.to_owned()];
        let arn = "arn:aws:secretsmanager:eu-west-1:222222222222:secret:payments/prod/db-AbCdEf";
        for (key, labels, text, separates) in [
            ("payments/prod/db", &both[..], "${label:tenant}/${label:environment}/**", true),
            ("payments/prod", &both, "${label:tenant}/${label:environment}", true),
            ("/apps/prod/x/payments/a/b", &both, "/apps/${label:environment}/x/${label:tenant}/**", true),
            ("payments/db", &both, "${label:tenant}/db", false),
            ("payments-prod/db", &both, "${namespace}/**", true),
            ("shared/db", &both, "shared/db", false),
            ("payments-prod/db", &name, "${namespace}/**", true),
            (
                arn,
                &both,
                "arn:aws:secretsmanager:eu-west-1:222222222222:secret:${label:tenant}/${label:environment}/**",
                true,
            ),
        ] {
            let found = pattern(&RemoteKey::parse(key).unwrap(), labels, "payments-prod", &own);
            assert_eq!(found, Pattern { text: text.to_owned(), separates }, "{key}");
        }
    }
}
