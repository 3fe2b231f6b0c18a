//! What Kubernetes asks of a Secret: its keys, its size, and the keys that its type requires (ValidateSecret in
//! pkg/apis/core/validation).

use std::collections::HashMap;

use serde_json::value::RawValue;

use super::ProjectionError;
use crate::api::reason::Reason;

/// The most that a Secret's values may hold together, in bytes (MaxSecretSize).
pub(super) const MAX_BYTES: usize = 1_048_576;
/// The longest key that a Secret can have, in bytes.
pub(super) const MAX_KEY_BYTES: usize = 253;
/// The most keys that we write.
pub(super) const MAX_KEYS: usize = 512;

/// Whether a Secret can have this key and we may write it (IsConfigMapKey; `previous.` is reserved).
pub(super) fn is_key(key: &str) -> bool {
    !key.is_empty()
        && key.len() <= MAX_KEY_BYTES
        && key.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        && key != "."
        && !key.starts_with("..")
        && !key.starts_with("previous.")
}

/// What is wrong with a key that the user wrote.
pub(super) fn check_written_key(field: &str, key: &str) -> Result<(), ProjectionError> {
    if is_key(key) {
        return Ok(());
    }
    Err(ProjectionError::new(
        Reason::InvalidSecretKey,
        format!(
            "{field} {key:?} is not a key that a Secret can have: write at most 253 letters, digits, '-', '_' and '.', not \
             '.' alone, and neither '..' nor 'previous.' at its start"
        ),
    ))
}

/// Whether the keys that the type requires are among those that will be there.
pub(super) fn check_keys(kind: &str, has: impl Fn(&str) -> bool) -> Result<(), ProjectionError> {
    let required: &[&str] = match kind {
        "kubernetes.io/tls" => &["tls.crt", "tls.key"],
        "kubernetes.io/dockerconfigjson" => &[".dockerconfigjson"],
        "kubernetes.io/dockercfg" => &[".dockercfg"],
        "kubernetes.io/ssh-auth" => &["ssh-privatekey"],
        "kubernetes.io/basic-auth" if !has("username") && !has("password") => {
            return Err(invalid(kind, "needs the key \"username\" or \"password\", and has neither"));
        }
        _ => &[],
    };
    match required.iter().find(|key| !has(key)) {
        Some(key) => Err(invalid(kind, &format!("needs the key {key:?}, and nothing gives it"))),
        None => Ok(()),
    }
}

/// Whether the values are what the type requires.
pub(super) fn check_values<'a>(kind: &str, get: impl Fn(&str) -> Option<&'a [u8]>) -> Result<(), ProjectionError> {
    check_keys(kind, |key| get(key).is_some())?;
    let json = match kind {
        "kubernetes.io/dockerconfigjson" => ".dockerconfigjson",
        "kubernetes.io/dockercfg" => ".dockercfg",
        "kubernetes.io/ssh-auth" if get("ssh-privatekey").is_none_or(<[u8]>::is_empty) => {
            return Err(invalid(kind, "needs a value under the key \"ssh-privatekey\", and it is empty"));
        }
        _ => return Ok(()),
    };
    match get(json).map(serde_json::from_slice::<HashMap<String, &RawValue>>) {
        Some(Ok(_)) => Ok(()),
        _ => Err(invalid(kind, &format!("needs a JSON object under the key {json:?}"))),
    }
}

fn invalid(kind: &str, what: &str) -> ProjectionError {
    ProjectionError::new(
        Reason::TargetTypeInvalid,
        format!("a Secret of type {kind} {what}: add it to data or target.template.data, or change target.type"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_those_that_kubernetes_takes() {
        let longest = "k".repeat(253);
        for key in ["a", "A-b_c.d", ".dockercfg", ".a", longest.as_str(), "previous"] {
            assert!(is_key(key), "{key}");
        }
        let long = "k".repeat(254);
        for key in ["", ".", "..", "..a", "a b", "a/b", "å", "previous.x", long.as_str()] {
            assert!(!is_key(key), "{key}");
            assert_eq!(check_written_key("secretKey", key).unwrap_err().reason, Reason::InvalidSecretKey);
        }
    }

    #[test]
    fn each_type_has_what_it_requires() {
        for (kind, data, missing) in [
            ("Opaque", &[][..], None),
            ("example.com/own", &[], None),
            ("kubernetes.io/tls", &[("tls.crt", "c"), ("tls.key", "k")], None),
            ("kubernetes.io/tls", &[("tls.crt", "c")], Some("tls.key")),
            ("kubernetes.io/tls", &[("tls.key", "k")], Some("tls.crt")),
            ("kubernetes.io/dockerconfigjson", &[(".dockerconfigjson", r#"{"auths":{}}"#)], None),
            ("kubernetes.io/dockerconfigjson", &[(".dockerconfigjson", "canary")], Some(".dockerconfigjson")),
            ("kubernetes.io/dockerconfigjson", &[(".dockerconfigjson", "[1]")], Some(".dockerconfigjson")),
            ("kubernetes.io/dockerconfigjson", &[("config.json", "{}")], Some(".dockerconfigjson")),
            ("kubernetes.io/dockercfg", &[(".dockercfg", "{}")], None),
            ("kubernetes.io/dockercfg", &[(".dockercfg", "canary")], Some(".dockercfg")),
            ("kubernetes.io/basic-auth", &[("username", "")], None),
            ("kubernetes.io/basic-auth", &[("password", "p")], None),
            ("kubernetes.io/basic-auth", &[("user", "u")], Some("username")),
            ("kubernetes.io/ssh-auth", &[("ssh-privatekey", "k")], None),
            ("kubernetes.io/ssh-auth", &[("ssh-privatekey", "")], Some("ssh-privatekey")),
            ("kubernetes.io/ssh-auth", &[], Some("ssh-privatekey")),
        ] {
            let get = |key: &str| data.iter().find(|(k, _)| *k == key).map(|(_, v)| v.as_bytes());
            match (check_values(kind, get), missing) {
                (Ok(()), None) => {}
                (Err(error), Some(key)) => {
                    assert_eq!(error.reason, Reason::TargetTypeInvalid);
                    assert!(error.message.contains(key) && !error.message.contains("canary"), "{}", error.message);
                }
                (verdict, expected) => panic!("{kind}: {verdict:?}, expected {expected:?}"),
            }
        }
    }
}
