//! The design's table of status, as objects: every situation with the status that the operator's own code gives it, and what Flux,
//! Helm and Argo CD must make of it.

use jiff::Timestamp;
use scoped_secrets::api::condition::{ConditionType, Wanted};
use scoped_secrets::api::key_revocation::{InNamespace, KeyRevocationStatus};
use scoped_secrets::api::scoped_secret::{RemoteVersion, ScopedSecretStatus, SecretRef};
use scoped_secrets::api::{GROUP, Reason, SecretGrantStatus, SegmentationPolicySpec, SegmentationPolicyStatus};
use scoped_secrets::controller::grant::known::Grant;
use scoped_secrets::controller::grant::plan::Verdict;
use scoped_secrets::controller::grant::status::Done;
use scoped_secrets::controller::index::Acceptance;
use scoped_secrets::controller::scoped_secret::plan::{Failure, Outcome, Paused};
use scoped_secrets::controller::scoped_secret::status::{Rotation, Standing};
use scoped_secrets::controller::{grant, policy, revocation, scoped_secret, store};
use scoped_secrets::rotation::restart::progress;
use scoped_secrets::segmentation::policy::Policy;
use scoped_secrets::segmentation::revoked::Meant;
use scoped_secrets::segmentation::verdict::Refusal;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// An object as it may be found, and what is to be said of it.
pub struct Situation {
    /// What is the matter, as a name for files.
    pub name: &'static str,
    /// All of it.
    pub object: Value,
    /// For kstatus: Current, InProgress, Failed or Terminating.
    pub kstatus: &'static str,
    /// For Argo CD: Healthy, Progressing, Degraded or Suspended.
    pub health: &'static str,
    /// What Argo CD shows: the type of a condition, or a sentence.
    pub shows: &'static str,
}

impl Situation {
    /// Its kind.
    pub fn kind(&self) -> &str {
        self.object["kind"].as_str().unwrap_or_default()
    }

    /// The words that Argo CD shows.
    pub fn message(&self) -> String {
        let conditions = self.object["status"]["conditions"].as_array();
        let shown = conditions.and_then(|all| all.iter().find(|condition| condition["type"] == self.shows));
        let text = |condition: &Value, field: &str| condition[field].as_str().unwrap_or_default().to_owned();
        shown.map_or(self.shows.to_owned(), |c| format!("{}: {}", text(c, "reason"), text(c, "message")))
    }
}

const UNSEEN: &str = "the operator has not looked at it yet";

/// All.
pub fn all() -> Vec<Situation> {
    [claims(), stores(), policies(), grants(), revocations()].into_iter().flatten().collect()
}

fn at() -> Timestamp {
    Timestamp::from_second(1_767_225_600).unwrap_or_default()
}

fn object(kind: &str, namespace: Option<&str>, name: &str, spec: Value, status: Value) -> Value {
    let mut metadata = json!({
        "name": name, "generation": 1, "creationTimestamp": at().to_string(), "resourceVersion": "1700",
        "uid": "5f7f1c1e-9a52-4a7b-8c43-2f9f0b7f6a11",
    });
    if let Some(namespace) = namespace {
        metadata["namespace"] = json!(namespace);
    }
    json!({"apiVersion": format!("{GROUP}/v1alpha1"), "kind": kind, "metadata": metadata, "spec": spec, "status": status})
}

/// As the CRD's default has it.
fn unseen() -> Value {
    json!({"observedGeneration": -1})
}

/// A ScopedSecret with this status.
pub fn claim(status: Value) -> Value {
    let remote = json!({"key": "payments/prod/orders-db", "property": "password"});
    let spec = json!({
        "storeRef": {"name": "main"}, "consumers": [{"serviceAccountName": "orders"}],
        "data": [{"secretKey": "password", "remoteRef": remote}], "target": {"template": {"labels": {}}},
        "rotation": {"strategy": "Generate", "generate": {"property": "password"}},
    });
    object("ScopedSecret", Some("payments-prod"), "orders-db", spec, status)
}

/// What an outcome makes of a status.
struct Case {
    outcome: Outcome,
    stands: bool,
    stale: bool,
    rotated: Option<Wanted>,
}

impl Case {
    fn new(outcome: Outcome) -> Self {
        Self { outcome, stands: false, stale: false, rotated: None }
    }

    fn stands(self) -> Self {
        Self { stands: true, ..self }
    }

    fn status(self) -> Value {
        let secret = SecretRef { name: "orders-db".into(), uid: "b0c5".into(), resource_version: "1699".into() };
        let version = RemoteVersion { key: "payments/prod/orders-db".into(), version_id: "6a1d".into() };
        let standing = Standing {
            generation: 1,
            segment: Some("payments/prod".to_owned()),
            secret: self.stands.then_some(secret),
            versions: if self.stands { vec![version] } else { vec![] },
            changed: self.stands.then(at),
            stale: self.stale,
            outdated: false,
            rollout: None,
            rotation: self.rotated.map(|condition| Rotation { condition, next: None, last: None }),
        };
        json!(scoped_secret::status::status(&self.outcome, standing, &ScopedSecretStatus::default(), at()))
    }
}

fn failed(reason: Reason, message: &str) -> Outcome {
    Outcome::Failed(Failure::new(reason, message))
}

fn refused(reason: Reason, message: &str) -> Outcome {
    Outcome::Refused(Refusal::new(reason, message))
}

fn claims() -> Vec<Situation> {
    use Reason::*;
    let row = |name, case: Case, kstatus, health, shows| Situation {
        name,
        object: claim(case.status()),
        kstatus,
        health,
        shows,
    };
    let down = || failed(ProviderUnavailable, "the secrets manager does not answer");
    let ready = || Case::new(Outcome::Current).stands();
    let rotated = |wanted| Case { rotated: Some(wanted), ..ready() };
    let no = |reason, text: &str| Wanted::no(ConditionType::Rotated, reason, text);
    let paused = Paused { count: 40, report: None };
    let mut rows = vec![
        Situation {
            name: "just-created",
            object: claim(unseen()),
            kstatus: "InProgress",
            health: "Progressing",
            shows: UNSEEN,
        },
        row(
            "first-value-missing",
            Case::new(failed(RemoteMissing, "payments/prod/orders-db is not there")),
            "InProgress",
            "Progressing",
            "Reconciling",
        ),
        row("first-value-and-provider-down", Case::new(down()), "InProgress", "Progressing", "Reconciling"),
        row(
            "undecided",
            Case::new(Outcome::Undecided(Refusal::new(AccountUnknown, "the account of the store is not known"))),
            "InProgress",
            "Progressing",
            "Reconciling",
        ),
        row(
            "refused",
            Case::new(refused(KeyNotAllowed, "no policy allows it: ask for a key below payments/prod/")),
            "Failed",
            "Degraded",
            "Stalled",
        ),
        row(
            "refused-key-held-by-another",
            Case::new(refused(KeyClaimed, "another ScopedSecret holds that key")),
            "Failed",
            "Degraded",
            "Stalled",
        ),
        row(
            "conflict",
            Case::new(failed(TargetConflict, "a Secret \"orders-db\" exists and is not ours")),
            "Failed",
            "Degraded",
            "Stalled",
        ),
        row(
            "invalid",
            Case::new(failed(PropertyMissing, "secretKey \"password\": there is no such property")),
            "Failed",
            "Degraded",
            "Stalled",
        ),
        row(
            "expired",
            Case::new(refused(Expired, "it ended at 2026-01-01T00:00:00Z")),
            "Failed",
            "Degraded",
            "Stalled",
        ),
        row(
            "revoked",
            Case::new(failed(KeyRevoked, "the key has leaked: store a new value")),
            "Failed",
            "Degraded",
            "Stalled",
        ),
        row("ready", ready(), "Current", "Healthy", "Ready"),
        row("provider-down", Case::new(down()).stands(), "Current", "Healthy", "Synced"),
        row("stale", Case { stale: true, ..Case::new(down()).stands() }, "InProgress", "Progressing", "Ready"),
        row(
            "undecided-with-a-value",
            Case::new(Outcome::Undecided(Refusal::new(AccountUnknown, "the account of the store is not known")))
                .stands(),
            "Current",
            "Healthy",
            "Authorized",
        ),
        row(
            "rotating",
            rotated(no(Requested, "the manager was asked for a new value")),
            "Current",
            "Healthy",
            "Rotated",
        ),
        row(
            "rotation-failed",
            rotated(no(RotationFailed, "the manager's rotation function failed")),
            "Current",
            "Healthy",
            "Rotated",
        ),
        row("rolling-out", rotated(progress::begun()), "Current", "Healthy", "Rotated"),
        row(
            "rollout-stuck",
            rotated(no(RolloutStuck, "the Secret has a new value; being restarted: Deployment \"web\"")),
            "Current",
            "Healthy",
            "Rotated",
        ),
        row(
            "withdrawal-paused",
            Case::new(Outcome::Paused { refusal: Refusal::new(NoPolicy, "no policy governs this namespace"), paused })
                .stands(),
            "Current",
            "Healthy",
            "Authorized",
        ),
    ];
    let mut edited = claim(ready().status());
    edited["metadata"]["generation"] = json!(2);
    rows.push(Situation {
        name: "edited",
        object: edited,
        kstatus: "InProgress",
        health: "Progressing",
        shows: UNSEEN,
    });
    let mut going = claim(ready().status());
    going["metadata"]["deletionTimestamp"] = json!(at().to_string());
    rows.push(Situation {
        name: "being-deleted",
        object: going,
        kstatus: "Terminating",
        health: "Progressing",
        shows: "it is being deleted",
    });
    rows
}

fn stores() -> Vec<Situation> {
    let spec = || json!({"aws": {"region": "eu-west-1", "auth": {}}});
    let row = |name, failure: Option<Failure>, kstatus, health, shows| {
        let conditions = scoped_secrets::api::condition::merge(&[], &store::conditions(failure.as_ref()), 1, at());
        let status = json!({"conditions": conditions, "observedGeneration": 1});
        Situation { name, object: object("ScopedSecretStore", None, "main", spec(), status), kstatus, health, shows }
    };
    let down = Failure::new(Reason::ProviderUnavailable, "the account cannot be observed (sts:GetCallerIdentity)");
    let invalid = Failure::new(Reason::StoreInvalid, "write exactly one provider block: aws or file");
    let created = object("ScopedSecretStore", None, "main", spec(), unseen());
    vec![
        Situation {
            name: "just-created",
            object: created,
            kstatus: "InProgress",
            health: "Progressing",
            shows: UNSEEN,
        },
        row("ready", None, "Current", "Healthy", "Ready"),
        row("provider-down", Some(down), "InProgress", "Progressing", "Reconciling"),
        row("invalid", Some(invalid), "Failed", "Degraded", "Stalled"),
    ]
}

fn policies() -> Vec<Situation> {
    let spec = |key: &str| {
        json!({
            "segment": {"labels": ["tenant", "environment"]},
            "allow": [{"storeRef": {"name": "main"}, "keys": [key]}],
        })
    };
    let row = |name, key: &str, kstatus, health, shows| {
        let object = object("SegmentationPolicy", None, "tenants", spec(key), unseen());
        let compiled = serde_json::from_value::<SegmentationPolicySpec>(spec(key))
            .map_err(|error| error.to_string())
            .and_then(|spec| Policy::compile("tenants", &spec).map_err(|why| why.to_string()));
        let metadata = serde_json::from_value(object["metadata"].clone()).unwrap_or_default();
        let old = SegmentationPolicyStatus::default();
        let status = policy::status(&metadata, compiled, old, &|_| Acceptance::Fresh, at());
        Situation { name, object: with_status(object, json!(status)), kstatus, health, shows }
    };
    let created = object("SegmentationPolicy", None, "tenants", spec("${label:tenant}/**"), unseen());
    vec![
        Situation {
            name: "just-created",
            object: created,
            kstatus: "InProgress",
            health: "Progressing",
            shows: UNSEEN,
        },
        row("ready", "${label:tenant}/${label:environment}/**", "Current", "Healthy", "Ready"),
        row("segments-not-separated", "shared/**", "Current", "Healthy", "Separated"),
        row("invalid", "${label:owner}/**", "Failed", "Degraded", "Stalled"),
    ]
}

fn with_status(mut object: Value, status: Value) -> Value {
    object["status"] = status;
    object
}

fn grants() -> Vec<Situation> {
    let spec = json!({
        "scopedSecretRef": {"name": "orders-db"}, "subject": {"kind": "User", "name": "ada@example.com"}, "ttl": "30m",
        "reason": "INC-123",
    });
    let created = object("SecretGrant", Some("payments-prod"), "ada", spec.clone(), unseen());
    let row = |name, verdict: Verdict, handle, kstatus, health, shows| {
        let grant = Grant {
            name: "ada".into(),
            uid: "5f7f".into(),
            resource_version: "1700".into(),
            generation: 1,
            created: at(),
            deleting: false,
            spec: serde_json::from_value(spec.clone()).ok(),
            status: SecretGrantStatus::default(),
        };
        let end = Timestamp::from_second(at().as_second() + 1800).unwrap_or_default();
        let term = Some((at(), end));
        let done = Done { verdict: &verdict, handle, secret: Some("orders-db"), given: None, owed: None, term };
        let status = grant::status::status(&grant, &done, at());
        Situation { name, object: with_status(created.clone(), json!(status)), kstatus, health, shows }
    };
    let closed = |reason, text: &str| Verdict::Closed(reason, text.to_owned());
    let waits = closed(Reason::AwaitsApproval, "somebody else must set approvedBy");
    let refused = closed(Reason::KeyNotAllowed, "the ScopedSecret is not allowed its key");
    let over = Verdict::Over(Reason::Expired, "it ended at 2026-01-01T00:30:00Z".to_owned());
    vec![
        row("open", Verdict::Open, Some("scoped-secrets-grant-1"), "Current", "Healthy", "Ready"),
        row("being-made", Verdict::Open, None, "InProgress", "Progressing", "Reconciling"),
        row("waits-for-approval", waits, None, "InProgress", "Progressing", "Reconciling"),
        row("refused", refused, None, "Failed", "Degraded", "Stalled"),
        row("ended", over, None, "Failed", "Suspended", "Expired"),
        Situation {
            name: "just-created",
            object: created.clone(),
            kstatus: "InProgress",
            health: "Progressing",
            shows: UNSEEN,
        },
    ]
}

fn revocations() -> Vec<Situation> {
    let spec = json!({"storeRef": {"name": "main"}, "key": "payments/prod/orders-db", "reason": "INC-123"});
    let created = object("KeyRevocation", None, "leak", spec, unseen());
    let row = |name, meant: Meant, pods: &[&str], kstatus, health, shows| {
        let pods = pods.iter().map(|pod| InNamespace { namespace: "payments-prod".into(), name: (*pod).into() });
        let observed = revocation::plan::Observed {
            created: at(),
            generation: 1,
            meant,
            standing: BTreeSet::new(),
            leaked: BTreeSet::new(),
            moved: BTreeSet::new(),
            earlier: Vec::new(),
            versions_open: false,
            versions: BTreeSet::new(),
            pods: pods.collect(),
        };
        let status = revocation::plan::status(&observed, &KeyRevocationStatus::default(), at());
        Situation { name, object: with_status(created.clone(), json!(status)), kstatus, health, shows }
    };
    let key =
        || Meant::Key(scoped_secrets::segmentation::key::CanonicalKey::from_sealed("file:payments/prod/orders-db"));
    let invalid = Meant::Invalid(scoped_secrets::segmentation::key::InvalidKey::Empty);
    vec![
        Situation {
            name: "just-created",
            object: created.clone(),
            kstatus: "InProgress",
            health: "Progressing",
            shows: UNSEEN,
        },
        row("complete", key(), &[], "Current", "Healthy", "Complete"),
        row("pods-remain", key(), &["web-0"], "InProgress", "Progressing", "Reconciling"),
        row("store-not-found", Meant::NoStore, &[], "InProgress", "Progressing", "Reconciling"),
        row("invalid", invalid, &[], "Failed", "Degraded", "Stalled"),
    ]
}
