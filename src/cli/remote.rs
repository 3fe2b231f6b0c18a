//! The remote keys of a ScopedSecret, as `why` and `trace` tell them. Pure.

use super::observed::Observed;
use super::why::covering;
use crate::api::ScopedSecret;
use kube::ResourceExt;
use serde::Serialize;

/// A key of a secrets manager.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Remote {
    /// The key.
    pub key: String,
    /// The version that stands in the Secret; absent until it was fetched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The store.
    pub store: String,
    /// The policy and pattern that allow it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed_by: Option<String>,
}

/// The keys that a ScopedSecret names, then those that its Secret still has.
pub fn of(claim: &ScopedSecret, observed: &Observed) -> Vec<Remote> {
    let namespace = claim.namespace().unwrap_or_default();
    let store = &claim.spec.store_ref.name;
    let held: Vec<_> = claim.status.iter().flat_map(|status| &status.remote_versions).collect();
    let named = claim.spec.remote_refs().map(|(key, ..)| key);
    let mut keys: Vec<&str> = Vec::new();
    for key in named.chain(held.iter().map(|version| version.key.as_str())) {
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    let allowed = |key: &str| {
        let first = covering(observed, &namespace, store, key).into_iter().next()?;
        Some(format!("{}: {}", first.policy, first.pattern))
    };
    let told = |key: &str| Remote {
        key: key.to_owned(),
        version: held.iter().find(|version| version.key == key).map(|version| version.version_id.clone()),
        store: store.clone(),
        allowed_by: allowed(key),
    };
    keys.into_iter().map(told).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::observed::build;
    use crate::cli::observed::tests::{claim, facts};
    use serde_json::json;

    #[test]
    fn what_is_named_and_what_is_still_held() {
        let mut edited = claim("payments-prod", "a", "payments/prod/old", 1, true);
        edited["spec"]["data"] = json!([
            {"secretKey": "a", "remoteRef": {"key": "payments/prod/new", "property": "a"}},
            {"secretKey": "b", "remoteRef": {"key": "payments/prod/new", "property": "b"}},
            {"secretKey": "c", "remoteRef": {"key": "billing/prod/db"}},
        ]);
        let observed = build(facts(&[edited]));
        let all = of(&observed.claims[0], &observed);
        let told: Vec<_> = all.iter().map(|r| (r.key.as_str(), r.version.as_deref(), r.allowed_by.is_some())).collect();
        let expected = [
            ("payments/prod/new", None, true),
            ("billing/prod/db", None, false),
            ("payments/prod/old", Some("v1"), true),
        ];
        assert_eq!(told, expected);
        assert_eq!(all[0].store, "aws");
    }
}
