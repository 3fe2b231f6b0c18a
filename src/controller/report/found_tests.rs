//! What the index shows, segment by segment.

use super::*;
use crate::api::ScopedSecret;
use crate::api::segmentation_report::{SegmentationReportStatus, report_name};
use crate::controller::report::known::Known;
use crate::segmentation::access::findings::findings;
use crate::segmentation::access::role::Role;
use crate::segmentation::access::subject::Subject;
use crate::segmentation::access::{Binding, RbacName};
use crate::segmentation::fixtures::{TENANTS, claim, now, policy};
use crate::segmentation::world::World;
use serde_json::json;

fn index() -> Index {
    let mut index = Index::default();
    index.world = World::with_tenants();
    index
}

/// A ScopedSecret whose status has this condition, beside Ready.
fn told(index: &mut Index, namespace: &str, name: &str, kind: &str, status: &str, reason: &str) {
    let object: ScopedSecret = serde_json::from_value(json!({
        "apiVersion": "scopedsecrets.io/v1alpha1", "kind": "ScopedSecret",
        "metadata": {"name": name, "namespace": namespace, "uid": name, "generation": 1, "resourceVersion": "1"},
        "spec": {"storeRef": {"name": "aws"}, "data": [{"secretKey": "k", "remoteRef": {"key": "payments/prod/k"}}]},
        "status": {"conditions": [{
            "type": kind, "status": status, "reason": reason, "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z",
        }]},
    }))
    .unwrap();
    index.put_claim(&object);
}

fn all(index: &Index) -> Vec<String> {
    let found = found(index, &[], &findings(&index.access, &index.world, now()), &|_, _, _| true, now());
    let row = |(segment, observed): (&Arc<str>, &Observed)| {
        let kinds =
            observed.watched.listed().into_iter().map(|(k, o, _)| format!("{} {} {}", k.rule, k.reason, o.name));
        format!("{segment}: {}", kinds.collect::<Vec<_>>().join(", "))
    };
    found.iter().map(row).collect()
}

#[test]
fn every_segment_with_a_namespace_has_a_report() {
    assert_eq!(all(&index()), ["billing/prod: ", "payments/prod: ", "payments/staging: "]);
    let members = &found(&index(), &[], &[], &|_, _, _| true, now())["payments/prod"].namespaces;
    assert_eq!(members.iter().collect::<Vec<_>>(), ["payments-prod", "payments-prod-2"]);
}

#[test]
fn who_gets_at_secrets_across_a_boundary_is_told() {
    let mut index = index();
    let rule = json!({"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]});
    let role = Role::of(&[serde_json::from_value(rule).unwrap()]);
    index.access.put_role(RbacName::new(None, "read"), role);
    for (namespace, name, subject) in [
        (None, "backup", Subject::Group("backup".into())),
        (Some("payments-prod"), "thief", Subject::AccountsOf("billing-prod".into())),
        (Some("plain"), "nowhere", Subject::AccountsOf("billing-prod".into())),
    ] {
        let binding = Binding { role: RbacName::new(None, "read"), subjects: [subject].into() };
        index.access.put_binding(RbacName::new(namespace, name), binding);
    }
    assert_eq!(
        all(&index),
        [
            "billing/prod: Rbac ClusterWideAccess backup",
            "payments/prod: Rbac ClusterWideAccess backup, Rbac CrossSegmentAccess thief",
            "payments/staging: Rbac ClusterWideAccess backup"
        ]
    );
}

#[test]
fn what_scoped_secrets_say_is_told_by_rule() {
    let mut index = index();
    told(&mut index, "payments-prod", "fine", "Authorized", "True", "Allowed");
    told(&mut index, "payments-prod", "refused", "Authorized", "False", "KeyNotAllowed");
    told(&mut index, "payments-prod", "unknown", "Authorized", "Unknown", "PolicyUnknown");
    told(&mut index, "payments-prod", "shared", "Unique", "False", "ValueShared");
    told(&mut index, "payments-prod", "eyed", "Ready", "False", "ForeignConsumer");
    told(&mut index, "payments-prod", "down", "Ready", "False", "Stale");
    told(&mut index, "payments-staging", "paused", "Authorized", "False", "WithdrawalPaused");
    told(&mut index, "plain", "nowhere", "Authorized", "False", "NoPolicy");
    assert_eq!(
        all(&index),
        [
            "billing/prod: ",
            "payments/prod: Claims KeyNotAllowed refused, Consumers ForeignConsumer eyed, UniqueValues ValueShared shared",
            "payments/staging: Claims WithdrawalPaused paused",
        ]
    );
    assert_eq!(found(&index, &[], &[], &|_, _, _| true, now())["payments/staging"].paused, 1);
}

#[test]
fn a_retained_secret_that_waits_is_told_by_itself() {
    let mut index = index();
    let mut gone = claim("payments-prod", "kept").of("billing/prod/db");
    gone.retain = true;
    index.world.holds(gone.clone(), now());
    assert_eq!(all(&index)[1], "payments/prod: ", "its ScopedSecret speaks for it");
    index.world.remove_claim(&gone.object);
    assert_eq!(all(&index)[1], "payments/prod: Claims WithdrawalPaused kept");
    let goes = found(&index, &[], &[], &|_, _, _| false, now());
    assert_eq!(goes["payments/prod"].paused, 0);
}

#[test]
fn a_namespace_that_policy_lost_is_where_its_report_had_it_while_a_secret_stands() {
    let mut index = index();
    index.world.holds(claim("payments-prod", "orders").of("payments/prod/db"), now());
    told(&mut index, "payments-prod", "orders", "Authorized", "False", "WithdrawalPaused");
    let status =
        SegmentationReportStatus { namespaces: vec!["payments-prod".into()], ..SegmentationReportStatus::default() };
    let known = Known { segment: "payments/prod".into(), status, ..Known::default() };
    index.reports.insert(report_name("payments/prod"), known);
    index.world.policies.clear();
    assert_eq!(all(&index), ["payments/prod: Claims WithdrawalPaused orders"]);
    let secret = ObjectName::new("payments-prod", "orders");
    index.world.remove_holding(&secret);
    assert_eq!(all(&index), [""; 0]);
    // What is not known now is as it was.
    index.world.policies_synced = false;
    assert_eq!(all(&index), ["payments/prod: Claims WithdrawalPaused orders"]);
}

#[test]
fn a_namespace_that_gives_two_segments_one_name_is_told() {
    let mut index = index();
    let by_team =
        "segment: {labels: [team, stage]}\nnamespaceSelector: {matchExpressions: [{key: team, operator: Exists}]}";
    index.world.policies.extend([policy("teams", by_team)]);
    index.world.namespace("squad", &[("team", "billing"), ("stage", "prod")]);
    let expected = "billing/prod: Policies SegmentConflict billing-prod, Policies SegmentConflict squad";
    assert_eq!(all(&index)[0], expected);
}

#[test]
fn exceptions_are_on_the_reports_that_they_are_for() {
    let exception = |what: &str, end: &str| {
        let yaml =
            format!("{TENANTS}exceptions: [{{rule: UniqueValues, {what}, reason: JIRA-12, expirationTime: {end}}}]");
        let mut index = index();
        index.world.policies = [policy("tenants", &yaml)].into();
        let found = found(&index, &[], &[], &|_, _, _| true, now());
        let on = found
            .iter()
            .filter(|(_, o)| o.exceptions.iter().any(|e| e.rule == "UniqueValues" && e.policy == "tenants"));
        on.map(|(segment, _)| segment.to_string()).collect::<Vec<_>>()
    };
    let everywhere = ["billing/prod", "payments/prod", "payments/staging"];
    assert_eq!(exception("keys: [shared/key]", "2026-02-01T00:00:00Z"), everywhere);
    assert_eq!(exception("namespaces: [payments-prod-2]", "2026-02-01T00:00:00Z"), ["payments/prod"]);
    assert_eq!(exception("namespaces: [plain]", "2026-02-01T00:00:00Z"), everywhere);
    for end in ["2025-12-31T23:59:59Z", "2026-12-31T00:00:00Z"] {
        assert_eq!(exception("keys: [shared/key]", end), [""; 0], "{end}");
    }
}

#[test]
fn an_exception_lifts_a_rule_where_it_says() {
    let mut index = index();
    let yaml = format!(
        "{TENANTS}exceptions: [{{rule: Consumers, namespaces: [payments-prod], reason: J, expirationTime: 2026-02-01T00:00:00Z}}]"
    );
    index.world.policies = [policy("tenants", &yaml)].into();
    let pod = |namespace: Option<&str>| ViolatingObject {
        api_version: "v1".into(),
        kind: "Pod".into(),
        namespace: namespace.map(str::to_owned),
        name: "p".into(),
    };
    for (rule, namespace, lifted) in [
        ("Consumers", Some("payments-prod"), true),
        ("Replication", Some("payments-prod"), false),
        ("Claims", Some("payments-prod"), false),
        ("Consumers", Some("payments-staging"), false),
        ("Consumers", None, false),
    ] {
        assert_eq!(is_lifted(&index, rule, &pod(namespace), now()), lifted, "{rule} {namespace:?}");
    }
}

#[test]
fn a_value_that_is_too_old_is_told_and_by_the_same_words_every_day() {
    let mut index = index();
    let aged = [policy("tenants", &format!("{TENANTS}\nrules: {{maxAge: 30d}}"))];
    index.world.policies = aged.into_iter().collect();
    index.world.holds(claim("payments-prod", "db").of("payments/prod/db"), now());
    told(&mut index, "payments-prod", "db", "Authorized", "True", "Allowed");
    let secret = crate::segmentation::world::ObjectName::new("payments-prod", "db");
    let mut held = (**index.world.holding(&secret).unwrap()).clone();
    held.versions[0].created = crate::segmentation::second::Second::from_unix(now().as_second() - 31 * 86_400);
    index.world.put_holding(secret, held.into());
    let rows = all(&index);
    assert!(rows.contains(&"payments/prod: Claims MaxAgeExceeded db".to_owned()), "{rows:?}");
    let message = |later: i64| {
        let at = now() + jiff::SignedDuration::from_hours(later);
        let all = found(&index, &[], &[], &|_, _, _| true, at);
        all["payments/prod"].watched.listed()[0].2.to_owned()
    };
    assert_eq!(message(0), message(500));
    assert!(message(0).contains("\"payments/prod/db\" was created at 2025-12-01T00:00:00Z"), "{}", message(0));
}
