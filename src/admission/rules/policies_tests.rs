//! Changes of a policy, as the webhook sees them.

use super::*;
use crate::segmentation::fixtures::{TENANTS, at, claim, now, policy};
use crate::segmentation::world::World;
use serde_json::{Value, json};

fn index() -> Index {
    let mut world = World::with_tenants().under([policy("tenants", TENANTS)]);
    world.holds(claim("payments-prod", "orders").of("payments/prod/db"), at(1_000_000));
    world.holds(claim("payments-staging", "orders").of("payments/staging/db"), at(1_000_000));
    let mut index = Index::default();
    index.world = world;
    index
}

fn object(spec: &str, accept: Option<&str>) -> Value {
    let spec: Value = serde_saphyr::from_str(spec).unwrap();
    let annotations = accept.map(|n| json!({"scopedsecrets.io/accept-violations": n}));
    json!({
        "apiVersion": "scopedsecrets.io/v1alpha1", "kind": "SegmentationPolicy",
        "metadata": {"name": "tenants", "annotations": annotations}, "spec": spec,
    })
}

fn update(old: Value, new: Value) -> AdmissionRequest<DynamicObject> {
    serde_json::from_value(json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "uid": "1", "name": "tenants", "operation": "UPDATE",
        "kind": {"group": "scopedsecrets.io", "version": "v1alpha1", "kind": "SegmentationPolicy"},
        "resource": {"group": "scopedsecrets.io", "version": "v1alpha1", "resource": "segmentationpolicies"},
        "userInfo": {"username": "ada"}, "object": new, "oldObject": old,
    }))
    .unwrap()
}

/// What is said to a change of the policy; empty if it passes.
fn said(spec: &str, accept: Option<&str>) -> String {
    let answer = judge(&update(object(TENANTS, None), object(spec, accept)), &index(), now());
    if answer.allowed { String::new() } else { answer.result.message }
}

/// The API server names no object in the request for one of a deletecollection, only in the object.
#[test]
fn a_collection_of_policies_is_not_deleted_past_the_rule() {
    for named in ["tenants", ""] {
        let mut request = update(object(TENANTS, None), Value::Null);
        (request.object, request.operation, request.name) = (None, Operation::Delete, named.into());
        let answer = judge(&request, &index(), now());
        assert!(!answer.allowed && answer.result.message.contains("SegmentationPolicy tenants: "), "{answer:?}");
        assert!(answer.result.message.contains("accept-violations: \"2\""), "{answer:?}");
    }
}

const MERGED: &str = "segment: {labels: [tenant]}\nallow: [{storeRef: {name: aws}, keys: [\"${label:tenant}/**\"]}]\n";

#[test]
fn live_segments_that_would_become_one() {
    let refused = said(MERGED, None);
    for part in [
        "ViolationsNotAccepted",
        "payments/prod and payments/staging would be payments",
        "keep in segment.labels what tells those segments apart",
        "accept-violations: \"2\"",
    ] {
        assert!(refused.contains(part), "{part:?} in {refused}");
    }
    assert!(!said(MERGED, Some("1")).is_empty());
    assert_eq!(said(MERGED, Some("2")), "");
    // Both at once: one number for all.
    let both = MERGED.replace("${label:tenant}/**", "${label:tenant}/prod/**");
    let refused = said(&both, None);
    assert!(
        refused.contains("take the Secrets of 1 live claims away (payments-staging/orders), and make one segment"),
        "{refused}"
    );
    assert!(refused.contains("accept-violations: \"3\""), "{refused}");
}

#[test]
fn an_exception_says_why_what_for_and_until_when() {
    let of = |body: &str| said(&format!("{TENANTS}exceptions: [{{rule: UniqueValues, {body}}}]\n"), None);
    let end = "expirationTime: 2026-01-02T00:00:00Z";
    for (body, expected) in [
        (format!("namespaces: [a], reason: T-1, {end}"), ""),
        (format!("namespaces: [a], reason: \" \", {end}"), "has no reason"),
        (format!("reason: T-1, {end}"), "exactly one list of keys, namespaces or subjects"),
        (format!("keys: [a], namespaces: [a], reason: T-1, {end}"), "exactly one list of keys, namespaces or subjects"),
        ("namespaces: [a], reason: T-1, expirationTime: 2020-01-01T00:00:00Z".into(), "is in the past"),
        ("namespaces: [a], reason: T-1, expirationTime: 2030-01-01T00:00:00Z".into(), "more than 90 days ahead"),
        (format!("namespaces: [a], {end}"), "cannot be understood"),
        ("namespaces: [a], reason: T-1".into(), "cannot be understood"),
    ] {
        let told = of(&body);
        assert!(told.contains(expected) && told.is_empty() == expected.is_empty(), "{body}: {told}");
    }
}

#[test]
fn an_exception_without_a_reason_lifts_nothing() {
    use crate::api::policy::ExceptedRule;
    let of = |reason: &str| {
        let exception = format!(
            "exceptions: [{{rule: Consumers, namespaces: [a], reason: \"{reason}\", expirationTime: 2026-01-02T00:00:00Z}}]\n"
        );
        let spec: crate::api::SegmentationPolicySpec =
            serde_saphyr::from_str(&format!("{TENANTS}{exception}")).unwrap();
        Policy::compile("tenants", &spec).unwrap().lifts(ExceptedRule::Consumers, None, &["a"], now())
    };
    assert!(of("T-1") && !of(" "));
}

/// A change of a policy over one namespace, in a cluster where ten thousand Secrets are held in a thousand.
#[test]
fn a_small_policy_is_judged_by_what_it_selects() {
    let mut index = index();
    for i in 0..1_000 {
        let namespace = format!("n{i}");
        index.world.namespace(&namespace, &[("tenant", "crowd"), ("environment", &namespace)]);
        for j in 0..10 {
            index.world.holds(claim(&namespace, &format!("s{j}")).of(&format!("crowd/{namespace}/{j}")), at(1_000_000));
        }
    }
    let small = |keys: &str| {
        format!(
            "segment: {{labels: [tenant, environment]}}\nnamespaceSelector: {{matchLabels: {{tenant: billing}}}}\nallow: [{{storeRef: {{name: aws}}, keys: [{keys}]}}]\n"
        )
    };
    index.world.policies.extend([policy("small", &small("billing/a"))]);
    let mut request = update(object(&small("billing/a"), None), object(&small("billing/b"), None));
    request.name = "small".into();
    request.object.as_mut().unwrap().metadata.name = Some("small".into());
    let start = std::time::Instant::now();
    for _ in 0..20 {
        assert!(judge(&request, &index, now()).allowed);
    }
    // A debug build on a busy machine; all ten thousand holdings judged twice would take seconds.
    assert!(start.elapsed() < std::time::Duration::from_secs(2), "{:?}", start.elapsed());
}

#[test]
fn a_policy_that_begins_to_enforce_with_violations_open() {
    use crate::api::segmentation_report::{FoundBy, SegmentationReportStatus};
    use crate::controller::report::known::Known;
    let mut index = index();
    let count = |rule: &str, reason: &str, count| ViolationCount {
        rule: rule.into(),
        reason: reason.into(),
        found_by: FoundBy::Watch,
        count,
    };
    for (segment, counts) in [
        (
            "payments/prod",
            vec![
                count("Copies", "ValueCopied", 3),
                count("Copies", "WeakValueCopied", 9),
                count("ManagedSecrets", "SecretManaged", 9),
            ],
        ),
        ("payments/staging", vec![count("OtherOperators", "KeyNotAllowed", 4), count("Consumers", "GuardMissing", 9)]),
        ("elsewhere", vec![count("Copies", "ValueCopied", 100)]),
    ] {
        let status = SegmentationReportStatus { counts, ..SegmentationReportStatus::default() };
        let report = Known { segment: segment.into(), status, ..Known::default() };
        index.reports.insert(report_name(segment), report);
    }
    let mode = |mode: &str| format!("{TENANTS}mode: {mode}\n");
    let ask = |from: &str, to: &str, accept: Option<&str>| {
        let answer = judge(&update(object(&mode(from), None), object(&mode(to), accept)), &index, now());
        if answer.allowed { String::new() } else { answer.result.message }
    };
    let refused = ask("Audit", "Enforce", None);
    for part in [
        "enforce while 7 violations are open in the SegmentationReports of payments/prod, payments/staging",
        "mend first what the reports list",
        "accept-violations: \"7\"",
    ] {
        assert!(refused.contains(part), "{part:?} in {refused}");
    }
    assert!(!ask("Warn", "Enforce", Some("6")).is_empty());
    assert_eq!(ask("Warn", "Enforce", Some("7")), "");
    assert_eq!(ask("Enforce", "Warn", None), "");
    // One rule at a time: what stays reported only is not counted.
    let reported = |rules: &str| format!("{TENANTS}reportOnly: [{rules}]\n");
    let ask_reported = |from: &str, to: &str| {
        let answer = judge(&update(object(&reported(from), None), object(&reported(to), None)), &index, now());
        if answer.allowed { String::new() } else { answer.result.message }
    };
    assert!(ask_reported("Copies, OtherOperators", "OtherOperators").contains("enforce while 3 violations are open"));
    assert_eq!(ask_reported("Copies", "Copies, OtherOperators"), "");
    assert_eq!(ask("Warn", "Audit", None), "");
}
