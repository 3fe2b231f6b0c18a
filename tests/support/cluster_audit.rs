//! Who asked the API server for what: the API server's own audit log, so it holds for what the tests
//! run as for what somebody else does. Stories count reads and writes with it.

use std::fs;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;
use serde_json::Value;

use super::cluster::Cluster;
use super::operator::LONG;
use super::wait::eventually;

/// One request that was answered. A watch shows when it ends, not while it is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// When the API server had it.
    pub received: Timestamp,
    /// The impersonated user, if there is one.
    pub user: String,
    pub user_agent: String,
    /// Which token of a ServiceAccount's: `JTI=...`.
    pub credential: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`
    pub verb: String,
    /// The API group; empty for Kubernetes' first one.
    pub group: String,
    /// Plural; empty where the request was for no resource.
    pub resource: String,
    pub subresource: String,
    pub namespace: String,
    pub name: String,
    /// The HTTP status of the answer.
    pub code: u16,
    pub uri: String,
    /// Whether RBAC had nothing against it.
    pub allowed: bool,
}

/// Requests in the order of their answers. Filters chain: `audit.user(OPERATOR).resource("secrets").writes()`.
#[derive(Clone, Debug)]
pub struct Audit(Vec<Request>);

/// A moment in the log.
#[derive(Clone, Copy, Debug)]
pub struct AuditMark(usize);

impl Cluster {
    /// Every request that was answered so far.
    pub fn audit(&self) -> Audit {
        self.audit_since(AuditMark(0))
    }

    /// This moment, for [`Cluster::audit_since`].
    pub fn audit_mark(&self) -> AuditMark {
        AuditMark(self.settled_log().len())
    }

    /// The requests that were answered after `mark`.
    pub fn audit_since(&self, mark: AuditMark) -> Audit {
        let log = self.settled_log();
        let answered = log[mark.0..].lines().filter(|line| !line.contains(BEGUN)).map(parse);
        Audit(answered.filter(|request| !request.uri.starts_with(SETTLE)).collect())
    }

    /// The log, once it holds everything that was answered before this call: the API server writes a
    /// line just after the answer. So one more request is made, and its line waited for.
    fn settled_log(&self) -> String {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let uri = format!("{SETTLE}{}-", NEXT.fetch_add(1, Ordering::Relaxed));
        let reached = self.raw(&uri).is_ok();
        eventually("line in the audit log for our own request", LONG, || {
            let mut log = fs::read_to_string(self.audit_log()).map_err(|error| error.to_string())?;
            // A line that is still being written is not one yet.
            log.truncate(log.rfind('\n').map_or(0, |end| end + 1));
            // With the API server stopped there is nothing to wait for.
            if !reached || log.contains(&uri) { Ok(log) } else { Err(format!("{} bytes without it", log.len())) }
        })
    }
}

const SETTLE: &str = "/version?settle=";
/// The line of a watch that begins.
const BEGUN: &str = "\"stage\":\"ResponseStarted\"";

impl Audit {
    pub fn user(self, user: &str) -> Self {
        self.only(|request| request.user == user)
    }

    /// Those whose user agent starts so.
    pub fn user_agent(self, start: &str) -> Self {
        self.only(|request| request.user_agent.starts_with(start))
    }

    /// Those of one operator of several: see `Operator::credential`.
    pub fn credential(self, credential: &str) -> Self {
        self.only(|request| request.credential == credential)
    }

    pub fn verb(self, verb: &str) -> Self {
        self.only(|request| request.verb == verb)
    }

    pub fn resource(self, resource: &str) -> Self {
        self.only(|request| request.resource == resource)
    }

    pub fn namespace(self, namespace: &str) -> Self {
        self.only(|request| request.namespace == namespace)
    }

    pub fn writes(self) -> Self {
        self.only(|request| matches!(&*request.verb, "create" | "update" | "patch" | "delete" | "deletecollection"))
    }

    pub fn only(mut self, keep: impl FnMut(&Request) -> bool) -> Self {
        self.0.retain(keep);
        self
    }
}

impl Deref for Audit {
    type Target = [Request];
    fn deref(&self) -> &[Request] {
        &self.0
    }
}

/// A line of the log.
pub(super) fn parse(line: &str) -> Request {
    let event: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("audit log: {error} in {line}"));
    let field = |path: &str| event.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
    let user = if event.get("impersonatedUser").is_some() { "/impersonatedUser/username" } else { "/user/username" };
    Request {
        received: field("/requestReceivedTimestamp").parse().expect("each request has its time"),
        user: field(user),
        user_agent: field("/userAgent"),
        credential: field("/user/extra/authentication.kubernetes.io~1credential-id/0"),
        verb: field("/verb"),
        group: field("/objectRef/apiGroup"),
        resource: field("/objectRef/resource"),
        subresource: field("/objectRef/subresource"),
        namespace: field("/objectRef/namespace"),
        name: field("/objectRef/name"),
        code: event
            .pointer("/responseStatus/code")
            .and_then(Value::as_u64)
            .and_then(|code| code.try_into().ok())
            .unwrap_or(0),
        uri: field("/requestURI"),
        allowed: field("/annotations/authorization.k8s.io~1decision") != "forbid",
    }
}
