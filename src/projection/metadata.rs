//! Labels and annotations of a template: literal, well formed, and of no controller that would act on them.

use std::collections::BTreeMap;

use super::ProjectionError;
use crate::api::reason::Reason;
use crate::api::scoped_secret::Template;
use crate::api::{GROUP, label};

/// Domains whose labels and annotations make somebody act on the Secret: Kubernetes, GitOps tools, replicators, us.
/// Each stands for its subdomains, too.
const RESERVED: &[&str] = &["kubernetes.io", "k8s.io", "argocd.argoproj.io", "helm.sh"];

/// Whose labels and annotations carry a Secret away: emberstack's reflector, mittwald's and olli's kubernetes-replicator, appscode's
/// config-syncer (kubed), havulv's reflector, synator, c0deltin's replik8or, and carvel's secretgen-controller.
pub const CARRIERS: &[&str] = &[
    "emberstack.com",
    "mittwald.de",
    "kubernetes-replicator.olli.com",
    "appscode.com",
    "havulv.io",
    "synator",
    "c0deltin.dev",
    "c0deltin.io",
    "secretgen.carvel.dev",
    "hnc.x-k8s.io",
];

/// Whether a label or annotation of this key on a managed Secret makes a replicator act on it, or passes for ours.
pub fn carries_away(key: &str) -> bool {
    let carrier = |prefix| among(CARRIERS, prefix).or_else(|| among(&[GROUP], prefix));
    key.split_once('/').is_some_and(|(prefix, _)| carrier(prefix).is_some())
}

/// Whether a label or annotation of this key is a replicator's.
pub fn is_replicators(key: &str) -> bool {
    key.split_once('/').is_some_and(|(prefix, _)| among(CARRIERS, prefix).is_some())
}

/// What Kubernetes allows for all annotations together is 262,144 bytes (TotalAnnotationSizeLimitB); the seal needs room.
const MAX_ANNOTATION_BYTES: usize = 196_608;

/// Whether every label and annotation may be written.
pub(super) fn check(template: &Template) -> Result<(), ProjectionError> {
    for (key, value) in &template.labels {
        check_key("label", key)?;
        if !label::is_value(value) {
            return Err(refused(format!(
                "target.template.labels: the value of {key:?} is not a label's: write at most 63 letters, digits, '-', '_' \
                 and '.', a letter or digit at both ends"
            )));
        }
    }
    template.annotations.keys().try_for_each(|key| check_key("annotation", key))?;
    if bytes(&template.annotations) > MAX_ANNOTATION_BYTES {
        return Err(refused(format!(
            "target.template.annotations: together they are larger than {MAX_ANNOTATION_BYTES} bytes: write less"
        )));
    }
    Ok(())
}

fn check_key(what: &str, key: &str) -> Result<(), ProjectionError> {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    if let Some(domain) = prefix.and_then(reserved) {
        return Err(refused(format!(
            "target.template.{what}s: {key:?} belongs to {domain}, whose controllers act on it: remove it"
        )));
    }
    if !label::is_name(name) || prefix.is_some_and(|prefix| !label::is_subdomain(prefix)) {
        return Err(refused(format!(
            "target.template.{what}s: {key:?} is not a {what}'s key: write a name of at most 63 letters, digits, '-', '_' \
             and '.', with an optional domain and '/' before it"
        )));
    }
    Ok(())
}

fn reserved(prefix: &str) -> Option<&'static str> {
    among(RESERVED, prefix).or_else(|| among(CARRIERS, prefix)).or_else(|| among(&[GROUP], prefix))
}

fn among(domains: &[&'static str], prefix: &str) -> Option<&'static str> {
    // Kubernetes takes annotations in any case.
    let prefix = prefix.to_ascii_lowercase();
    let prefix = prefix.trim_end_matches('.');
    domains
        .iter()
        .copied()
        .find(|domain| prefix.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')))
}

fn bytes(map: &BTreeMap<String, String>) -> usize {
    map.iter().map(|(key, value)| key.len() + value.len()).sum()
}

fn refused(message: String) -> ProjectionError {
    ProjectionError::new(Reason::TemplateMetadataNotAllowed, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(labels: &[(&str, &str)], annotations: &[(&str, &str)]) -> Result<(), ProjectionError> {
        let owned = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        check(&Template { labels: owned(labels), annotations: owned(annotations), data: BTreeMap::new() })
    }

    #[test]
    fn reserved_domains_are_refused_in_any_case_and_below() {
        for key in [
            "app.kubernetes.io/name",
            "kubernetes.io/x",
            "Kubernetes.IO/x",
            "kubectl.kubernetes.io/last-applied-configuration",
            "x.k8s.io/y",
            "argocd.argoproj.io/instance",
            "helm.sh/chart",
            "meta.helm.sh/release-name",
            "scopedsecrets.io/seal",
            "a.scopedsecrets.io/x",
            "reflector.v1.k8s.emberstack.com/reflection-allowed",
            "replicator.v1.mittwald.de/replicate-to",
            "kubed.appscode.com/sync",
            "reflector.havulv.io/reflect",
            "synator/sync",
            "kubernetes.io./x",
            "kubernetes.io/",
        ] {
            for (labels, annotations) in [(vec![(key, "x")], vec![]), (vec![], vec![(key, "x")])] {
                let error = verdict(&labels, &annotations).unwrap_err();
                assert_eq!(error.reason, Reason::TemplateMetadataNotAllowed, "{key}");
                assert!(error.message.contains(key), "{}", error.message);
            }
        }
    }

    #[test]
    fn syntax_is_that_of_kubernetes() {
        let long = "x".repeat(64);
        for (key, value, ok) in [
            ("team", "payments", true),
            ("team", "", true),
            ("example.com/team", "a-b_c.d", true),
            ("notkubernetes.io/x", "a", true),
            ("argoproj.io/x", "a", true),
            ("", "a", false),
            ("a/b/c", "a", false),
            ("/a", "a", false),
            ("Example.com/a", "a", false),
            ("exa_mple.com/a", "a", false),
            ("-a", "a", false),
            (long.as_str(), "a", false),
            ("a", long.as_str(), false),
            ("a", "-x", false),
            ("a", "å", false),
        ] {
            assert_eq!(verdict(&[(key, value)], &[]).is_ok(), ok, "{key}={value}");
        }
        assert!(verdict(&[], &[("a", &"x".repeat(64))]).is_ok());
        assert!(verdict(&[], &[("a", &"x".repeat(200_000))]).is_err());
    }
}
