//! The Vault Secrets Operator's VaultStaticSecret (secrets.hashicorp.com). A policy allows keys of stores that this operator
//! knows, and none of them is Vault: every key is outside until an exception lifts the rule for it.

use super::Ask;
use crate::api::Reason;
use serde_json::Value;

/// What a VaultStaticSecret asks for: `MOUNT/PATH`.
pub fn static_secret(spec: &Value) -> Vec<Ask> {
    let part = |field: &str| spec[field].as_str().unwrap_or_default().trim_matches('/');
    let key = [part("mount"), part("path")].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/");
    let why = "no ScopedSecretStore reaches Vault yet, so that no policy can allow a key of it: ask the platform team for an exception to OtherOperators, or keep this credential in AWS Secrets Manager";
    vec![Ask::outside(&key, Reason::KeyNotAllowed, why)]
}
