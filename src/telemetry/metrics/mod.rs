//! Every metric of the operator. Labels are literals or the registry of reasons, so their number is bounded and no
//! key, tenant or value can become one.

mod catalogue;
mod formats;
mod labels;

pub use catalogue::{LABELS, Served, catalogue, page, served};
pub use formats::Format;

use crate::api::Reason;
use crate::api::condition::ConditionType;
use crate::api::policy::ModalRule;
use crate::api::rotation::Strategy;
use crate::provider::{Call, CallObserver};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

/// A condition, its status (None: Unknown) and its reason (None: a word that is not ours).
pub type Stated = (ConditionType, Option<bool>, Option<Reason>);

/// The operator's metrics. Share it in an `Arc`.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    reconcile: Family<labels::Outcome, Histogram, fn() -> Histogram>,
    admission: Family<labels::Admission, Histogram, fn() -> Histogram>,
    breaches: Family<labels::Breach, Counter>,
    provider_calls: Family<labels::Call, Counter>,
    provider_calls_took: Family<labels::Operation, Histogram, fn() -> Histogram>,
    provider_batch_keys: Histogram,
    claims: Family<labels::Because, Gauge>,
    governed_claims: Family<labels::Governed, Gauge>,
    conditions: Family<labels::Stated, Gauge>,
    stores: Family<labels::Because, Gauge>,
    events: Family<labels::Because, Counter>,
    leader: Gauge,
    certificate_expiry: Gauge,
    next_expiry: Gauge,
    grants_open: Gauge,
    webhook_configured: Gauge,
    violations: Family<labels::Violation, Gauge>,
    guard_missing: Family<labels::Rule, Gauge>,
    withdrawals_paused: Gauge,
    oldest_version: Gauge,
    restarts: Counter,
    rollouts_stuck: Gauge,
    scan_duration: Gauge<f64, AtomicU64>,
    scan_success: Gauge,
    scan_failures: Counter,
    rotations: Family<labels::Rotation, Counter>,
    next_rotation: Gauge,
    oldest_rotation: Gauge,
    rotation_due_since: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All metrics, registered, at zero.
    pub fn new() -> Self {
        let metrics = Self {
            registry: Registry::with_prefix("scoped_secrets"),
            reconcile: Family::new_with_constructor(|| {
                Histogram::new([0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0])
            }),
            admission: Family::new_with_constructor(|| {
                Histogram::new([0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.01, 0.025, 0.1, 1.0])
            }),
            breaches: Family::default(),
            provider_calls: Family::default(),
            provider_calls_took: Family::new_with_constructor(|| {
                Histogram::new([0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0])
            }),
            // AWS takes at most 20 keys in a BatchGetSecretValue.
            provider_batch_keys: Histogram::new([1.0, 2.0, 5.0, 10.0, 15.0, 20.0]),
            claims: Family::default(),
            governed_claims: Family::default(),
            conditions: Family::default(),
            stores: Family::default(),
            events: Family::default(),
            leader: Gauge::default(),
            certificate_expiry: Gauge::default(),
            next_expiry: Gauge::default(),
            grants_open: Gauge::default(),
            webhook_configured: Gauge::default(),
            violations: Family::default(),
            guard_missing: Family::default(),
            withdrawals_paused: Gauge::default(),
            oldest_version: Gauge::default(),
            restarts: Counter::default(),
            rollouts_stuck: Gauge::default(),
            scan_duration: Gauge::default(),
            scan_success: Gauge::default(),
            scan_failures: Counter::default(),
            rotations: Family::default(),
            next_rotation: Gauge::default(),
            oldest_rotation: Gauge::default(),
            rotation_due_since: Gauge::default(),
        };
        metrics.registered()
    }

    fn registered(mut self) -> Self {
        let r = &mut self.registry;
        r.register("reconcile_duration_seconds", "Time of one reconcile, by outcome", self.reconcile.clone());
        r.register(
            "admission_duration_seconds",
            "Time of one admission review inside the server, by rule and answer",
            self.admission.clone(),
        );
        // The encoder adds _total to counters and _info to infos.
        r.register(
            "admission_breaches",
            "Breaches that a review found, or the scan where the API server keeps a rule alone, by rule, reason and the mode that they were answered by; not those of dry runs, as far as the request was read",
            self.breaches.clone(),
        );
        r.register(
            "provider_calls",
            "Calls to secrets managers, by operation and outcome",
            self.provider_calls.clone(),
        );
        r.register(
            "provider_call_duration_seconds",
            "Time of one call to a secrets manager, retries included, by operation",
            self.provider_calls_took.clone(),
        );
        r.register("provider_batch_keys", "Keys asked for in one call", self.provider_batch_keys.clone());
        r.register(
            "claims",
            "ScopedSecrets, by the reason of their condition Ready; set by the leader",
            self.claims.clone(),
        );
        r.register(
            "governed_claims",
            "ScopedSecrets of governed namespaces, each under every rule that follows the mode, by the mode by which that rule's breaches are answered there; set by the leader",
            self.governed_claims.clone(),
        );
        r.register(
            "conditions",
            "ScopedSecrets, by each of their conditions, its status and its reason; set by the leader",
            self.conditions.clone(),
        );
        r.register(
            "stores",
            "ScopedSecretStores that ScopedSecrets use: Reachable, or why nothing comes through them; set by the leader",
            self.stores.clone(),
        );
        r.register("events", "Events published, by reason", self.events.clone());
        r.register("leader", "1 while this replica leads", self.leader.clone());
        r.register(
            "webhook_certificate_expiry_timestamp_seconds",
            "When the certificate that this replica serves ends, in Unix time; 0 while it serves none",
            self.certificate_expiry.clone(),
        );
        r.register(
            "next_expiry_timestamp_seconds",
            "When the next ScopedSecret ends, in Unix time; 0: none does; set by the leader",
            self.next_expiry.clone(),
        );
        r.register(
            "webhook_configured",
            "1 while the ValidatingWebhookConfiguration exists and holds this operator's webhooks, as this replica sees it",
            self.webhook_configured.clone(),
        );
        r.register(
            "violations",
            "Violations on the SegmentationReports, by rule, reason and the mode of the rule there; set by the leader",
            self.violations.clone(),
        );
        r.register(
            "guard_missing",
            "1 for a rule of which a policy, a binding or the webhook configuration is gone or not as installed, or which could not be looked at for minutes; set by the leader",
            self.guard_missing.clone(),
        );
        r.register("grants_open", "SecretGrants that give access now; set by the leader", self.grants_open.clone());
        r.register(
            "withdrawals_paused",
            "Secrets that would be withdrawn and wait for somebody's word; set by the leader",
            self.withdrawals_paused.clone(),
        );
        r.register(
            "oldest_version_timestamp_seconds",
            "When the oldest of the current versions that are projected was created, in Unix time; 0: not known; set by the leader",
            self.oldest_version.clone(),
        );
        r.register("restarts", "Workloads restarted for a new value of a Secret", self.restarts.clone());
        r.register(
            "rollouts_stuck",
            "Workloads that were restarted for a new value and do not come to their end; set by the leader",
            self.rollouts_stuck.clone(),
        );
        r.register(
            "scan_duration_seconds",
            "How long the last scan of the cluster took; set by the leader",
            self.scan_duration.clone(),
        );
        r.register(
            "scan_last_success_timestamp_seconds",
            "When the cluster was last scanned to the end, in Unix time; 0: not by this process; set by the leader",
            self.scan_success.clone(),
        );
        r.register("scan_failures", "Scans that ended early and were tried again", self.scan_failures.clone());
        r.register(
            "rotations",
            "Rotations of remote keys, by strategy, what they came for, and Rotated or the reason why not",
            self.rotations.clone(),
        );
        r.register(
            "next_rotation_timestamp_seconds",
            "When the next rotation is due, or tried again, in Unix time; 0: none is; set by the leader",
            self.next_rotation.clone(),
        );
        r.register(
            "oldest_rotation_timestamp_seconds",
            "When the key was rotated that was not for the longest time, of those that a schedule rotates, in Unix time; 0: there is none; set by the leader",
            self.oldest_rotation.clone(),
        );
        r.register(
            "rotation_due_since_timestamp_seconds",
            "Since when the rotation is due that waits for the longest time, in Unix time; 0: none is; set by the leader",
            self.rotation_due_since.clone(),
        );
        r.register("build", "The running version", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        self
    }

    /// One reconcile ended. `outcome` is the reason that it came to, or `Skipped`.
    pub fn reconciled(&self, outcome: &'static str, took: Duration) {
        self.reconcile.get_or_create(&labels::Outcome { outcome }).observe(took.as_secs_f64());
    }

    /// One admission review was answered.
    pub fn reviewed(&self, rule: &'static str, allowed: bool, took: Duration) {
        self.admission.get_or_create(&labels::Admission { rule, allowed }).observe(took.as_secs_f64());
    }

    /// A review, or the scan, found a breach: its reason, one of the registry, and the mode by which it was answered.
    pub fn breached(&self, rule: &'static str, reason: &str, answer: &'static str) {
        self.breaches.get_or_create(&labels::Breach { rule, reason: reason.to_owned(), answer }).inc();
    }

    /// One call to a secrets manager ended; `outcome` is `Ok` or the reason why not.
    pub fn provider_called(&self, operation: &'static str, outcome: &'static str, took: Duration) {
        self.provider_calls.get_or_create(&labels::Call { operation, outcome }).inc();
        self.provider_calls_took.get_or_create(&labels::Operation { operation }).observe(took.as_secs_f64());
    }

    /// One call asked for so many keys.
    pub fn provider_batched(&self, keys: usize) {
        self.provider_batch_keys.observe(u32::try_from(keys).map_or(f64::INFINITY, f64::from));
    }

    /// How many claims there are for each reason; a reason that is left out becomes zero.
    pub fn set_claims(&self, counts: &BTreeMap<Reason, i64>) {
        for reason in Reason::ALL {
            let label = labels::Because { reason: reason.as_str() };
            match counts.get(reason) {
                Some(count) => drop(self.claims.get_or_create(&label).set(*count)),
                None => drop(self.claims.remove(&label)),
            }
        }
    }

    /// How many claims there are under each rule that follows the mode, by how its breaches are answered; what is left out
    /// is gone.
    pub fn set_governed_claims(&self, counts: &BTreeMap<(ModalRule, &'static str), i64>) {
        self.governed_claims.clear();
        for ((rule, mode), count) in counts {
            self.governed_claims.get_or_create(&labels::Governed { rule: rule.as_str(), mode }).set(*count);
        }
    }

    /// How many claims there are for each condition, status and reason; what is left out is gone.
    pub fn set_conditions(&self, counts: &BTreeMap<Stated, i64>) {
        self.conditions.clear();
        for ((condition, status, reason), count) in counts {
            let status = status.map_or("Unknown", |status| if status { "True" } else { "False" });
            let reason = reason.map_or("Other", Reason::as_str);
            self.conditions
                .get_or_create(&labels::Stated { condition: condition.as_str(), status, reason })
                .set(*count);
        }
    }

    /// How many stores that are used there are for each reason; what is left out is gone.
    pub fn set_stores(&self, counts: &BTreeMap<Reason, i64>) {
        self.stores.clear();
        for (reason, count) in counts {
            self.stores.get_or_create(&labels::Because { reason: reason.as_str() }).set(*count);
        }
    }

    /// One event was published.
    pub fn event(&self, reason: Reason) {
        self.events.get_or_create(&labels::Because { reason: reason.as_str() }).inc();
    }

    /// Whether this replica leads.
    pub fn set_leader(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// When the served certificate ends.
    pub fn set_certificate_expiry(&self, end: jiff::Timestamp) {
        self.certificate_expiry.set(end.as_second());
    }

    /// When the next claim ends; 0: none does.
    pub fn set_next_expiry(&self, end: Option<jiff::Timestamp>) {
        self.next_expiry.set(end.map_or(0, jiff::Timestamp::as_second));
    }

    /// How many grants give access.
    pub fn set_grants_open(&self, count: usize) {
        self.grants_open.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// When the oldest of the projected current versions was created; 0: that is not known.
    pub fn set_oldest_version(&self, created: Option<jiff::Timestamp>) {
        self.oldest_version.set(created.map_or(0, jiff::Timestamp::as_second));
    }

    /// A rotation was made, or failed for a reason of the registry.
    pub fn rotated(&self, strategy: Strategy, trigger: &'static str, outcome: &'static str) {
        let strategy = match strategy {
            Strategy::Provider => "Provider",
            Strategy::Generate => "Generate",
        };
        self.rotations.get_or_create(&labels::Rotation { strategy, trigger, outcome }).inc();
    }

    /// When a key is rotated next, when the one was that was not for the longest time, and since when one is due.
    pub fn set_rotations(
        &self,
        next: Option<jiff::Timestamp>,
        oldest: Option<jiff::Timestamp>,
        due_since: Option<jiff::Timestamp>,
    ) {
        self.rotation_due_since.set(due_since.map_or(0, jiff::Timestamp::as_second));
        self.next_rotation.set(next.map_or(0, jiff::Timestamp::as_second));
        self.oldest_rotation.set(oldest.map_or(0, jiff::Timestamp::as_second));
    }

    /// Whether the webhooks are configured in the API server.
    pub fn set_webhook_configured(&self, configured: bool) {
        self.webhook_configured.set(i64::from(configured));
    }

    /// How many violations there are, by rule, reason and mode; what is left out is gone.
    pub fn set_violations(&self, counts: &BTreeMap<(String, String, &'static str), usize>) {
        self.violations.clear();
        for ((rule, reason, mode), count) in counts {
            let labels = labels::Violation { rule: rule.clone(), reason: reason.clone(), mode };
            self.violations.get_or_create(&labels).set(i64::try_from(*count).unwrap_or(i64::MAX));
        }
    }

    /// For each rule whether something of it is missing at admission.
    pub fn set_guards_missing(&self, rules: impl IntoIterator<Item = (&'static str, bool)>) {
        for (rule, missing) in rules {
            self.guard_missing.get_or_create(&labels::Rule { rule }).set(i64::from(missing));
        }
    }

    /// This replica does not lead: what a leader tells, it does not.
    pub fn forget_reports(&self) {
        self.violations.clear();
        self.guard_missing.clear();
        self.withdrawals_paused.set(0);
        self.grants_open.set(0);
        self.rollouts_stuck.set(0);
        self.scan_success.set(0);
        self.scan_duration.set(0.0);
    }

    /// Likewise of the claims.
    pub fn forget_claims(&self) {
        self.claims.clear();
        self.governed_claims.clear();
        self.conditions.clear();
        self.stores.clear();
        self.set_next_expiry(None);
        self.set_oldest_version(None);
        self.set_rotations(None, None, None);
    }

    /// A workload was restarted for a new value.
    pub fn restarted(&self) {
        self.restarts.inc();
    }

    /// How many of those do not come to their end.
    pub fn set_rollouts_stuck(&self, count: usize) {
        self.rollouts_stuck.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// How many withdrawals wait for somebody's word.
    pub fn set_withdrawals_paused(&self, count: usize) {
        self.withdrawals_paused.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// A scan ended; None: early.
    pub fn scanned(&self, done: Option<(jiff::Timestamp, Duration)>) {
        match done {
            Some((at, took)) => {
                self.scan_success.set(at.as_second());
                self.scan_duration.set(took.as_secs_f64());
            }
            None => drop(self.scan_failures.inc()),
        }
    }

    /// With one series at least of each metric: what a replica serves that has seen everything.
    pub fn with_one_of_each() -> Self {
        let metrics = Self::new();
        metrics.reconciled("Ready", Duration::from_millis(3));
        metrics.reviewed("Claims", false, Duration::from_micros(200));
        metrics.breached("Copies", "ValueCopied", "Audit");
        metrics.provider_called("BatchGetSecretValue", "Ok", Duration::from_millis(30));
        metrics.provider_batched(20);
        metrics.set_claims(&BTreeMap::from([(Reason::Ready, 7), (Reason::KeyNotAllowed, 1)]));
        metrics.set_governed_claims(&BTreeMap::from([((ModalRule::Copies, "Audit"), 8)]));
        metrics.set_conditions(&BTreeMap::from([((ConditionType::Synced, Some(false), Some(Reason::Throttled)), 2)]));
        metrics.set_stores(&BTreeMap::from([(Reason::Reachable, 2), (Reason::CredentialsInvalid, 1)]));
        metrics.event(Reason::Withdrawn);
        metrics.rotated(Strategy::Generate, "Schedule", "Rotated");
        metrics.set_violations(&BTreeMap::from([(("Consumers".into(), "ForeignConsumer".into(), "Warn"), 3)]));
        metrics.set_guards_missing([("Consumers", true), ("Boundary", false)]);
        metrics
    }

    /// Everything in the OpenMetrics text format.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

impl CallObserver for Metrics {
    fn called(&self, call: Call) {
        self.provider_called(call.operation, call.outcome, call.elapsed);
        if call.keys > 0 {
            self.provider_batched(call.keys);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_labels_are_as_documented() {
        let metrics = Metrics::with_one_of_each();
        metrics.set_leader(true);
        metrics.set_webhook_configured(true);
        metrics.set_certificate_expiry(jiff::Timestamp::UNIX_EPOCH);
        metrics.set_rotations(None, None, jiff::Timestamp::from_second(11).ok());
        metrics.set_withdrawals_paused(12);
        metrics.set_grants_open(3);
        metrics.set_oldest_version(jiff::Timestamp::from_second(9).ok());
        metrics.restarted();
        metrics.set_rollouts_stuck(2);
        metrics.scanned(Some((jiff::Timestamp::from_second(7).unwrap(), Duration::from_millis(1500))));
        metrics.scanned(None);
        let text = metrics.encode();
        for line in [
            r#"scoped_secrets_reconcile_duration_seconds_count{outcome="Ready"} 1"#,
            r#"scoped_secrets_admission_duration_seconds_bucket{le="0.00025",rule="Claims",allowed="false"} 1"#,
            r#"scoped_secrets_admission_breaches_total{rule="Copies",reason="ValueCopied",answer="Audit"} 1"#,
            r#"scoped_secrets_provider_calls_total{operation="BatchGetSecretValue",outcome="Ok"} 1"#,
            r#"scoped_secrets_provider_call_duration_seconds_bucket{le="0.1",operation="BatchGetSecretValue"} 1"#,
            r#"scoped_secrets_conditions{condition="Synced",status="False",reason="Throttled"} 2"#,
            r#"scoped_secrets_rotations_total{strategy="Generate",trigger="Schedule",outcome="Rotated"} 1"#,
            "scoped_secrets_rotation_due_since_timestamp_seconds 11",
            r#"scoped_secrets_provider_batch_keys_sum 20.0"#,
            r#"scoped_secrets_claims{reason="Ready"} 7"#,
            r#"scoped_secrets_governed_claims{rule="Copies",mode="Audit"} 8"#,
            r#"scoped_secrets_stores{reason="CredentialsInvalid"} 1"#,
            r#"scoped_secrets_events_total{reason="Withdrawn"} 1"#,
            "scoped_secrets_leader 1",
            r#"scoped_secrets_violations{rule="Consumers",reason="ForeignConsumer",mode="Warn"} 3"#,
            r#"scoped_secrets_guard_missing{rule="Consumers"} 1"#,
            r#"scoped_secrets_guard_missing{rule="Boundary"} 0"#,
            "scoped_secrets_withdrawals_paused 12",
            "scoped_secrets_grants_open 3",
            "scoped_secrets_oldest_version_timestamp_seconds 9",
            "scoped_secrets_restarts_total 1",
            "scoped_secrets_rollouts_stuck 2",
            "scoped_secrets_scan_duration_seconds 1.5",
            "scoped_secrets_scan_last_success_timestamp_seconds 7",
            "scoped_secrets_scan_failures_total 1",
            "scoped_secrets_webhook_configured 1",
            "scoped_secrets_webhook_certificate_expiry_timestamp_seconds 0",
            &format!(r#"scoped_secrets_build_info{{version="{}"}} 1"#, env!("CARGO_PKG_VERSION")),
            "# EOF",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn a_reason_that_no_claim_has_any_more_goes() {
        let metrics = Metrics::new();
        metrics.set_claims(&BTreeMap::from([(Reason::Stale, 2)]));
        metrics.set_claims(&BTreeMap::from([(Reason::Ready, 2)]));
        assert!(!metrics.encode().contains("Stale"));
        metrics.set_conditions(&BTreeMap::from([((ConditionType::Ready, None, None), 2)]));
        metrics.set_governed_claims(&BTreeMap::from([((ModalRule::Rbac, "Warn"), 2)]));
        metrics.forget_claims();
        let text = metrics.encode();
        for left in ["claims", "governed_claims", "conditions"] {
            assert!(!text.contains(&format!("\nscoped_secrets_{left}")), "{text}");
        }
    }
}
