//! What is told of a request that was not read: no room, no time, or nothing that can be decoded. It is denied by what it begins with,
//! since an error of this server would let pass whatever is of the cluster.

use super::lanes::HEAD;
use crate::api::Reason;
use crate::api::policy::Mode;
use crate::telemetry::record::{Happening, What};
use kube::core::admission::{AdmissionResponse, META_API_VERSION_V1, META_KIND};
use kube::core::metadata::TypeMeta;
use std::borrow::Cow;

/// What a request begins with, as the API server writes it, before anything that somebody may have written into its object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unread<'b> {
    uid: &'b str,
    kind: &'b str,
    name: Cow<'b, str>,
    /// None: of the cluster, or it cannot be told.
    pub namespace: Option<&'b str>,
    operation: Option<&'static str>,
    user: Option<Cow<'b, str>>,
}

impl<'b> Unread<'b> {
    /// Reads the beginning; None: it does not say which request it is.
    pub fn begin(body: &'b [u8]) -> Option<Self> {
        let head = &body[..body.len().min(HEAD)];
        let at = memchr::memmem::find(head, b"\"userInfo\":").unwrap_or(head.len());
        let (before, by) = head.split_at(at);
        let uid = value(before, b"\"request\":{\"uid\":\"")?;
        let operations = ["CREATE", "UPDATE", "DELETE", "CONNECT"];
        let operation = value(before, b",\"operation\":\"").unwrap_or_default();
        Some(Self {
            uid,
            kind: value(before, b",\"kind\":\"").unwrap_or("object"),
            name: text(before, b",\"name\":\"").unwrap_or_default(),
            namespace: value(before, b",\"namespace\":\""),
            operation: operations.into_iter().find(|known| *known == operation),
            user: text(by, b"\"userInfo\":{\"username\":\""),
        })
    }

    /// The denial.
    pub(super) fn deny(&self, rule: &str, text: &str) -> AdmissionResponse {
        let place = self.namespace.map(|namespace| format!("{namespace}/")).unwrap_or_default();
        let reason = Reason::ReviewFailed;
        let name = if self.name.is_empty() { "(without a name yet)".into() } else { crate::digest::shown(&self.name) };
        let text = format!("rule {rule}, {reason}: {} {place}{name}: {text}", self.kind);
        let mut denial = AdmissionResponse::invalid(text);
        denial.result.code = 403;
        denial.result.reason = reason.as_str().to_owned();
        denial.uid = self.uid.to_owned();
        denial.types = TypeMeta { api_version: META_API_VERSION_V1.to_owned(), kind: META_KIND.to_owned() };
        denial
    }

    /// What the record says of that.
    pub(super) fn told(&self, rule: &'static str) -> Happening {
        let denied = Happening::of(What::Denied).cluster(self.kind, &crate::digest::shown(&self.name)).rule(rule);
        let denied = denied.reason(Reason::ReviewFailed).answered(Mode::Enforce);
        let denied = self.namespace.into_iter().fold(denied, Happening::in_namespace);
        let denied = self.user.iter().fold(denied, |denied, user| denied.by(user));
        self.operation.into_iter().fold(denied, |denied, operation| denied.asked(operation, false))
    }
}

/// A text that somebody chose, with whatever may be in it but what a terminal would take for a command.
fn text<'b>(head: &'b [u8], before: &[u8]) -> Option<Cow<'b, str>> {
    if let Some(plain) = value(head, before) {
        return Some(plain.into());
    }
    let at = memchr::memmem::find(head, before)? + before.len();
    let mut escaped = false;
    let length = head[at..].iter().position(|byte| {
        let ends = *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        ends
    })?;
    let text: String = serde_json::from_slice(&head[at - 1..=at + length]).ok()?;
    // Nor for a direction of writing, or for nothing at all.
    let is_seen = |c: &char| c.is_alphanumeric() || c.is_ascii_graphic() || *c == ' ';
    let shown = text.chars().filter(is_seen).collect::<String>();
    (!shown.is_empty()).then(|| shown.into())
}

/// The value of a field, as far as it needs no unescaping.
fn value<'b>(head: &'b [u8], before: &[u8]) -> Option<&'b str> {
    let at = memchr::memmem::find(head, before)? + before.len();
    let length = memchr::memchr(b'"', &head[at..])?;
    let value = std::str::from_utf8(&head[at..at + length]).ok()?;
    let plain = value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.:@_".contains(&byte));
    Some(value).filter(|value| plain && !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a request of an API server of 1.36 begins.
    const BEGINS: &str = r#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":"7f0b-1","kind":{"group":"","version":"v1","kind":"ConfigMap"},"resource":{"group":"","version":"v1","resource":"configmaps"},"requestKind":{"group":"","version":"v1","kind":"ConfigMap"},"requestResource":{"group":"","version":"v1","resource":"configmaps"},"name":"big","namespace":"billing-prod","operation":"CREATE","userInfo":{"username":"system:serviceaccount:billing-prod:ci","uid":"1"},"object":{"kind":"Secret"#;

    #[test]
    fn its_beginning_says_which_request_it_is_and_whose() {
        let unread = Unread::begin(BEGINS.as_bytes()).unwrap();
        let expected = Unread {
            uid: "7f0b-1",
            kind: "ConfigMap",
            name: "big".into(),
            namespace: Some("billing-prod"),
            operation: Some("CREATE"),
            user: Some("system:serviceaccount:billing-prod:ci".into()),
        };
        assert_eq!(unread, expected);
        let denial = unread.deny("Copies", "too much");
        let told = (denial.allowed, denial.result.code, denial.result.reason.as_str(), denial.result.message.as_str());
        assert_eq!(
            told,
            (false, 403, "ReviewFailed", "rule Copies, ReviewFailed: ConfigMap billing-prod/big: too much")
        );
        assert_eq!(denial.uid, "7f0b-1");
        let record = serde_json::to_value(unread.told("Copies")).unwrap();
        assert!(record.to_string().contains("system:serviceaccount:billing-prod:ci"), "{record}");
    }

    #[test]
    fn nothing_that_somebody_writes_is_taken_for_it() {
        let of = |uid: &str, rest: &str| format!("{{\"request\":{{\"uid\":\"{uid}\"{rest}}}}}");
        for uid in ["", "7f\\u0030", "<"] {
            assert_eq!(Unread::begin(of(uid, "").as_bytes()), None, "{uid}");
        }
        let within = of("1", r#","name":"a\",\"namespace\":\"b","namespace":"c","operation":"CREATE","userInfo":{}"#);
        let unread = Unread::begin(within.as_bytes()).unwrap();
        assert_eq!((&*unread.name, unread.namespace, unread.user), ("a\",\"namespace\":\"b", Some("c"), None));
        let beyond = of("1", r#","name":"a","userInfo":{"username":"b","namespace":"c","operation":"CREATE"}"#);
        let unread = Unread::begin(beyond.as_bytes()).unwrap();
        let told = (&*unread.name, unread.namespace, unread.operation, unread.user.as_deref());
        assert_eq!(told, ("a", None, None, Some("b")));
        let odd = of("1", r#","name":"odd name, \u0007ä","userInfo":{"username":"https://issuer#alice","x":1}"#);
        let unread = Unread::begin(odd.as_bytes()).unwrap();
        assert_eq!((&*unread.name, unread.user.as_deref()), ("odd name, ä", Some("https://issuer#alice")));
    }
}
