//! Changes of a policy, as the webhook sees them.

use super::*;
use crate::controller::index::PolicyFacts;
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

/// Of a policy by another name.
fn request(name: &str, operation: Operation, old: Value, new: Value) -> AdmissionRequest<DynamicObject> {
    let named = |mut object: Value| {
        object["metadata"]["name"] = json!(name);
        object
    };
    let mut request = update(named(old), named(new));
    (request.operation, request.name) = (operation, name.into());
    if request.operation == Operation::Delete {
        request.object = None;
    }
    request
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

/// What was accepted for a change is no word on the deletion of the policy; what was set alone is.
#[test]
fn a_deletion_is_accepted_by_itself() {
    let deleted = |steps: &[(i64, Option<&str>)], accept: Option<&str>, generation: i64| {
        let mut index = index();
        for (generation, accept) in steps {
            let facts =
                PolicyFacts { generation: *generation, accept: accept.map(str::to_owned), ..PolicyFacts::default() };
            let known = Policy::compile("tenants", &serde_saphyr::from_str(TENANTS).unwrap()).unwrap();
            index.put_policy("tenants", Ok(known), facts, false);
        }
        let mut old = object(TENANTS, accept);
        old["metadata"]["generation"] = json!(generation);
        let mut request = update(old, Value::Null);
        (request.object, request.operation) = (None, Operation::Delete);
        judge(&request, &index, now()).allowed
    };
    for (steps, accept, generation, expected) in [
        (&[(1, None), (1, Some("2"))][..], Some("2"), 1, true),
        (&[(1, None), (1, Some("1"))], Some("1"), 1, false),
        (&[(1, None)], Some("2"), 1, true),
        (&[(1, Some("9")), (1, Some("2")), (1, Some("2"))], Some("2"), 1, true),
        // With a change, or before one.
        (&[(1, None), (2, Some("2"))], Some("2"), 2, false),
        (&[(1, None), (1, Some("2")), (2, Some("2"))], Some("2"), 2, false),
        (&[(1, None)], Some("2"), 2, false),
        // With the creation; or that is not known.
        (&[(1, Some("2"))], Some("2"), 1, false),
        (&[], Some("2"), 1, false),
        (&[(1, None)], None, 1, false),
    ] {
        assert_eq!(deleted(steps, accept, generation), expected, "{steps:?} {accept:?} {generation}");
    }
}

/// Two policies that allow the same: each alone may go, both together not, before the watch has shown that one went as well.
#[test]
fn two_changes_that_leave_the_claims_to_each_other() {
    let request = |name: &str, operation: Operation, new: Value| request(name, operation, object(TENANTS, None), new);
    let delete = |name: &str| request(name, Operation::Delete, object(TENANTS, None));
    let nothing = TENANTS.replace("${label:tenant}", "nobody");
    let narrow = |name: &str| request(name, Operation::Update, object(&nothing, None));
    let mut index = index();
    index.world.policies.extend([policy("same", TENANTS)]);
    type Step<'a> = (i64, &'a AdmissionRequest<DynamicObject>, bool);
    let (first, second, narrowed) = (delete("tenants"), delete("same"), narrow("same"));
    let tried = AdmissionRequest { dry_run: true, ..delete("tenants") };
    let created = request("third", Operation::Create, object(TENANTS, None));
    let cases: [(&str, &[Step<'_>]); 6] = [
        ("both deleted", &[(0, &first, true), (0, &second, false)]),
        ("one is narrowed", &[(0, &first, true), (9, &narrowed, false)]),
        ("both narrowed", &[(0, &narrowed, true), (0, &first, false)]),
        ("one was only tried", &[(0, &tried, true), (0, &second, true)]),
        ("what was not written is forgotten", &[(0, &first, true), (10, &second, true)]),
        ("one that is to come holds nothing", &[(0, &created, true), (0, &first, true), (0, &second, false)]),
    ];
    for (what, steps) in cases {
        let mut coming = Coming::default();
        for (step, (seconds, request, allowed)) in steps.iter().enumerate() {
            let now = now() + jiff::SignedDuration::from_secs(*seconds);
            let answer = judge_after(request, &index, &mut coming, now);
            assert_eq!(answer.allowed, *allowed, "{what}, step {step}: {}", answer.result.message);
        }
    }
}

/// `kubectl delete segmentationpolicy odd same`, or `kubectl apply` of both: the second comes before the watch has shown the first.
#[test]
fn what_cannot_be_understood_is_in_nobodys_way_once_it_is_settled() {
    let mut index = index();
    index.world.policies.extend([policy("same", TENANTS)]);
    index.world.policies.insert("odd".to_owned(), PolicyState::Unknown("its mode is unknown".to_owned()));
    let before = TENANTS.replace("/**", "/*");
    let of = |name: &str, operation| request(name, operation, object(&before, None), object(TENANTS, None));
    let is_allowed = |coming: &mut Coming, request: &AdmissionRequest<DynamicObject>| {
        let answer = judge_after(request, &index, coming, now());
        (answer.allowed, answer.result.message.contains("\"odd\""))
    };
    for operation in [Operation::Delete, Operation::Update] {
        let (odd, same) = (of("odd", operation.clone()), of("same", Operation::Delete));
        let mut coming = Coming::default();
        assert_eq!(is_allowed(&mut coming, &same), (false, true), "{operation:?}");
        let tried = AdmissionRequest { dry_run: true, ..odd.clone() };
        assert_eq!(is_allowed(&mut coming, &tried), (true, false), "{operation:?}");
        assert_eq!(is_allowed(&mut coming, &same), (false, true), "{operation:?}: it was only tried");
        assert_eq!(is_allowed(&mut coming, &odd), (true, false), "{operation:?}");
        assert_eq!(is_allowed(&mut coming, &same), (true, false), "{operation:?}");
    }
    // One that waits for a finalizer, too.
    index.policies.insert("odd".to_owned(), PolicyFacts { deleting: true, ..PolicyFacts::default() });
    let answer = judge_after(&of("same", Operation::Delete), &index, &mut Coming::default(), now());
    assert!(answer.allowed, "{}", answer.result.message);
}

/// What was let through may not have been written: its own number counts for it alone.
#[test]
fn a_second_correction_is_held_against_what_stands() {
    let mut index = index();
    index.world.policies = [("odd".to_owned(), PolicyState::Unknown("its mode is unknown".to_owned()))].into();
    let mut coming = Coming::default();
    for (keys, accept, is_allowed) in [("nobody/*", Some("2"), true), ("nobody/else/*", None, false)] {
        let spec = TENANTS.replace("${label:tenant}/${label:environment}/**", keys);
        let change = request("odd", Operation::Update, object(TENANTS, None), object(&spec, accept));
        let answer = judge_after(&change, &index, &mut coming, now());
        assert_eq!(answer.allowed, is_allowed, "{keys}: {}", answer.result.message);
    }
}

/// One that only waits for a finalizer keeps nothing any more.
#[test]
fn a_policy_that_is_being_deleted_is_no_other() {
    let mut delete = update(object(TENANTS, None), Value::Null);
    (delete.object, delete.operation, delete.name) = (None, Operation::Delete, "tenants".into());
    let mut index = index();
    index.world.policies.extend([policy("same", TENANTS)]);
    for deleting in [false, true] {
        index.policies.insert("same".to_owned(), PolicyFacts { deleting, ..PolicyFacts::default() });
        let answer = judge_after(&delete, &index, &mut Coming::default(), now());
        assert_eq!(answer.allowed, !deleting, "{}", answer.result.message);
    }
}

/// What other operators' objects may ask for now, and would be refused from then on.
#[test]
fn objects_of_other_operators_that_a_change_strands() {
    use crate::controller::foreign::record_of;
    use crate::segmentation::foreign::{ForeignKind, ForeignName, store};
    let mut index = index();
    let named = |kind, name| ForeignName::new(kind, Some("payments-prod"), name);
    let aws = json!({"provider": {"aws": {"service": "SecretsManager", "region": "eu-west-1"}}});
    index.world.foreign.put_store(named(ForeignKind::SecretStore, "aws"), store(&aws));
    let external = json!({
        "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret",
        "metadata": {"name": "x", "namespace": "payments-prod", "uid": "x", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"secretStoreRef": {"name": "aws"}, "data": [{"secretKey": "p", "remoteRef": {"key": "payments/prod/api"}}]},
    });
    let external: DynamicObject = serde_json::from_value(external).unwrap();
    index.world.foreign.put(named(ForeignKind::ExternalSecret, "x"), record_of(ForeignKind::ExternalSecret, &external));
    let held = format!("{TENANTS}rules: {{governs: [ExternalSecrets]}}\n");
    let narrower = held.replace("/**", "/db");
    index.world.policies = [policy("tenants", &held)].into();
    let said = |old: &str, new: &str, accept: Option<&str>| {
        let answer = judge(&update(object(old, None), object(new, accept)), &index, now());
        if answer.allowed { String::new() } else { answer.result.message }
    };
    let refused = said(&held, &narrower, None);
    for part in
        ["1 object of other operators refused from now on (ExternalSecret payments-prod/x)", "accept-violations: \"1\""]
    {
        assert!(refused.contains(part), "{part} in {refused}");
    }
    assert_eq!(said(&held, &narrower, Some("1")), "");
    assert_eq!(said(&held, &format!("{narrower}reportOnly: [OtherOperators]\n"), None), "");
    assert_eq!(said(&held, TENANTS, None), "", "nobody is held to anything");
}

/// What stood refused since its store cannot be told is refused by a later change as well, and by none from then on.
#[test]
fn objects_of_other_operators_that_were_refused_before_are_no_news() {
    use crate::segmentation::foreign::{ForeignKind, ForeignName, Record, store};
    let mut index = index();
    let named = |kind, name| ForeignName::new(kind, Some("payments-prod"), name);
    let aws = json!({"provider": {"aws": {"service": "SecretsManager", "region": "eu-west-1"}}});
    let foreign = &mut index.world.foreign;
    foreign.set_read(ForeignKind::SecretStore, true);
    foreign.put_store(named(ForeignKind::SecretStore, "aws"), store(&aws));
    foreign.put_store(named(ForeignKind::SecretStore, "vault"), store(&json!({"provider": {"vault": {}}})));
    for (name, from, key) in
        [("unresolved", "vault", "payments/prod/api"), ("missing", "gone", "payments/prod/api"), ("other", "aws", "x")]
    {
        let spec = json!({"secretStoreRef": {"name": from}, "data": [{"secretKey": "p", "remoteRef": {"key": key}}]});
        let record = Record::of(ForeignKind::ExternalSecret, &spec, name, now());
        foreign.put(named(ForeignKind::ExternalSecret, name), record);
    }
    let held = format!("{TENANTS}rules: {{governs: [ExternalSecrets]}}\n");
    index.world.policies = [policy("tenants", &held)].into();
    let exception = "exceptions: [{rule: Copies, namespaces: [payments-prod], reason: r, expirationTime: \"2026-02-01T00:00:00Z\"}]\n";
    for (what, changed) in [
        ("a key more", held.replace("/**\"]", "/**\", \"zzz/**\"]")),
        ("a key less that nobody asks for", held.replace("/**", "/*")),
        ("an exception", format!("{held}{exception}")),
    ] {
        assert_ne!(changed, held, "{what}");
        let answer = judge(&update(object(&held, None), object(&changed, None)), &index, now());
        assert!(answer.allowed, "{what}: {}", answer.result.message);
    }
}

/// What stands there counts for nothing any more: the refusal says that setting it again is no change.
#[test]
fn a_number_that_stands_already_is_taken_off_first() {
    let nothing = TENANTS.replace("${label:tenant}", "nobody");
    let answer = |was: Option<&str>, is: Option<&str>| {
        let answer = judge(&update(object(TENANTS, was), object(&nothing, is)), &index(), now());
        if answer.allowed { String::new() } else { answer.result.message }
    };
    let refused = answer(Some("2"), Some("2"));
    assert!(
        refused.contains("accept-violations: \"2\" (the same number stands there for an earlier change and counts no more: take it off first)"),
        "{refused}"
    );
    assert_eq!((answer(None, Some("2")), answer(Some("2"), Some("3"))), (String::new(), String::new()));
    assert!(answer(Some("7"), Some("7")).contains("accept-violations: \"2\" in the same change"));
    assert_eq!(answer(Some("7"), Some("2")), "");
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
        refused.contains("take the Secrets of 1 live claim away (payments-staging/orders), and make one segment"),
        "{refused}"
    );
    assert!(refused.contains("accept-violations: \"3\""), "{refused}");
}

#[test]
fn an_exception_says_why_what_for_and_until_when() {
    let of = |body: &str| said(&format!("{TENANTS}exceptions: [{{rule: UniqueValues, {body}}}]\n"), None);
    // Past admission they lift nothing, and the policy says so; those that have ended may stay.
    let past = |end: &str| {
        let spec = format!(
            "{TENANTS}exceptions: [{{rule: UniqueValues, reason: INC-1, keys: [a], expirationTime: \"{end}\"}}]\n"
        );
        Policy::compile("tenants", &serde_saphyr::from_str(&spec).unwrap()).unwrap().void_exceptions(now())
    };
    assert!(past("2099-01-01T00:00:00Z").is_some_and(|text| text.contains("more than 90 days ahead")));
    assert_eq!(past("1999-01-01T00:00:00Z"), None);
    let end = "expirationTime: 2026-01-02T00:00:00Z";
    for (body, expected) in [
        (format!("namespaces: [a], reason: T-1, {end}"), ""),
        (format!("namespaces: [a], reason: \" \", {end}"), "has no reason"),
        (format!("reason: T-1, {end}"), "exactly one list of keys, namespaces or subjects"),
        (format!("keys: [a], namespaces: [a], reason: T-1, {end}"), "exactly one list of keys, namespaces or subjects"),
        (format!("keys: [\"a/*\"], reason: T-1, {end}"), "write each key or namespace exactly"),
        (format!("namespaces: [\"a-*\"], reason: T-1, {end}"), "write each key or namespace exactly"),
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
    for _ in 0..100 {
        assert!(judge(&request, &index, now()).allowed);
    }
    // A debug build on a busy machine; all ten thousand holdings judged twice would take a minute.
    assert!(start.elapsed() < std::time::Duration::from_secs(10), "{:?}", start.elapsed());
}

mod enforcing {
    //! Changes by which a rule begins to be enforced.

    use super::*;
    use crate::api::segmentation_report::report_name;
    use crate::api::segmentation_report::{
        FoundBy, ReportedViolation, SegmentationReportStatus, ViolatingObject, ViolationCount,
    };
    use crate::controller::report::known::Known;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    fn count(rule: &str, reason: &str, count: i64) -> ViolationCount {
        ViolationCount { rule: rule.into(), reason: reason.into(), found_by: FoundBy::Watch, count }
    }

    /// A report over namespaces that were scanned.
    fn report(index: &mut Index, segment: &str, namespaces: &[&str], counts: Vec<ViolationCount>) {
        let status = SegmentationReportStatus {
            counts,
            namespaces: namespaces.iter().map(|n| (*n).to_owned()).collect(),
            last_scan_time: Some(Time(at(5))),
            ..SegmentationReportStatus::default()
        };
        index.reports.insert(report_name(segment), Known { segment: segment.into(), status, ..Known::default() });
    }

    fn scanned() -> Index {
        let mut index = index();
        report(
            &mut index,
            "payments/prod",
            &["payments-prod", "payments-prod-2"],
            vec![
                count("Copies", "ValueCopied", 3),
                count("Copies", "WeakValueCopied", 9),
                count("ManagedSecrets", "SecretManaged", 9),
            ],
        );
        report(
            &mut index,
            "payments/staging",
            &["payments-staging"],
            vec![count("OtherOperators", "KeyNotAllowed", 4), count("Consumers", "GuardMissing", 9)],
        );
        report(&mut index, "billing/prod", &["billing-prod"], vec![]);
        report(&mut index, "elsewhere", &["x"], vec![count("Copies", "ValueCopied", 100)]);
        index
    }

    fn under(more: &str) -> String {
        format!("{TENANTS}{more}\n")
    }

    fn ask(index: &Index, from: &str, to: &str, accept: Option<&str>) -> String {
        let answer = judge(&update(object(&under(from), None), object(&under(to), accept)), index, now());
        if answer.allowed { String::new() } else { answer.result.message }
    }

    #[test]
    fn with_violations_open() {
        let index = scanned();
        let ask = |from: &str, to: &str, accept| ask(&index, from, to, accept);
        let refused = ask("mode: Audit", "mode: Enforce", None);
        for part in [
            "enforce while 7 violations are open in the SegmentationReports of payments/prod, payments/staging",
            "mend first what the reports list",
            "accept-violations: \"7\"",
        ] {
            assert!(refused.contains(part), "{part:?} in {refused}");
        }
        assert!(!refused.contains("not known yet"), "{refused}");
        assert!(!ask("mode: Warn", "mode: Enforce", Some("6")).is_empty());
        assert_eq!(ask("mode: Warn", "mode: Enforce", Some("7")), "");
        assert_eq!(ask("mode: Enforce", "mode: Warn", None), "");
        assert_eq!(ask("mode: Warn", "mode: Audit", None), "");
        // One rule at a time: what stays reported only is not counted.
        let reported = |rules: &str| format!("reportOnly: [{rules}]");
        let refused = ask(&reported("Copies, OtherOperators"), &reported("OtherOperators"), None);
        assert!(refused.contains("enforce while 3 violations are open"), "{refused}");
        assert_eq!(ask(&reported("Copies"), &reported("Copies, OtherOperators"), None), "");
    }

    /// What is in namespaces that another policy holds already is not counted again, where the report lists it.
    #[test]
    fn by_another_policy_or_a_wider_selector() {
        let mut index = scanned();
        let audit = policy("tenants", &under("mode: Audit"));
        let lies = |namespace: &str| ReportedViolation {
            rule: "Consumers".into(),
            reason: "ForeignConsumer".into(),
            object: ViolatingObject {
                api_version: "v1".into(),
                kind: "Pod".into(),
                namespace: Some(namespace.into()),
                name: "p".into(),
            },
            since: Time(at(1)),
            message: String::new(),
            found_by: FoundBy::Watch,
        };
        let known = index.reports.get_mut(&report_name("payments/prod")).unwrap();
        known.status.counts = vec![count("Consumers", "ForeignConsumer", 3)];
        known.status.violations = vec![lies("payments-prod"), lies("payments-prod-2"), lies("payments-prod-2")];
        let second = |names: &str| {
            format!(
                "segment: {{labels: [tenant, environment]}}\nnamespaceSelector: {{matchExpressions: [{{key: kubernetes.io/metadata.name, operator: In, values: [{names}]}}]}}\n"
            )
        };
        let ask = |index: &Index, from: Option<&str>, to: &str| {
            let named = |spec: &str| {
                let mut object = object(spec, None);
                object["metadata"]["name"] = "second".into();
                object
            };
            let mut request = update(from.map_or(Value::Null, named), named(to));
            request.name = "second".into();
            if from.is_none() {
                (request.old_object, request.operation) = (None, Operation::Create);
            }
            let answer = judge(&request, index, now());
            if answer.allowed { String::new() } else { answer.result.message }
        };
        let (one, both) = (second("payments-prod"), second("payments-prod, payments-prod-2"));
        index.world.policies = [audit.clone()].into();
        assert!(ask(&index, None, &one).contains("enforce while 1 violation is open"));
        assert!(ask(&index, None, &both).contains("enforce while 3 violations are open"));
        index.world.policies = [audit, policy("second", &one)].into();
        assert!(ask(&index, Some(&one), &both).contains("enforce while 2 violations are open"));
        assert_eq!(ask(&index, Some(&both), &one), "");
        // Where nothing was governed there is no report: that is a policy's beginning, and asks for nothing.
        index.world.policies.clear();
        assert_eq!(ask(&index, None, &both), "");
        // What another policy leaves be, all policies have to.
        let lifted = "exceptions: [{rule: Consumers, namespaces: [payments-prod, elsewhere], reason: T-1, expirationTime: \"2026-01-31T00:00:00Z\"}]\n";
        let readers = "rules: {readers: [{kind: Group, name: backup}]}\n";
        let enforces = |name: &str, more: &str| policy(name, &under(&format!("mode: Enforce\n{more}")));
        index.reports.get_mut(&report_name("payments/prod")).unwrap().status.counts.clear();
        for (first, says) in [(lifted, "end 1 exception early"), (readers, "take 1 reader off")] {
            index.world.policies = [enforces("tenants", first)].into();
            assert!(ask(&index, None, &one).contains(says), "{says}");
            assert!(ask(&index, Some(&format!("{one}mode: Audit\n")), &one).contains(says), "{says}");
            let elsewhere = second("payments-prod-2");
            let told = ask(&index, None, &elsewhere);
            assert_eq!(told.contains(says), first == readers, "{told}");
            assert_eq!(ask(&index, None, &format!("{one}{first}")), "", "it leaves the same be");
            assert_eq!(ask(&index, None, &format!("{one}reportOnly: [Consumers, Rbac]\n")), "");
            // Another that does not leave it be was there before.
            index.world.policies = [enforces("tenants", first), enforces("third", "")].into();
            assert_eq!(ask(&index, None, &one), "");
        }
    }

    #[test]
    fn before_it_is_known_what_is_open() {
        let mut index = scanned();
        index.reports.remove(&report_name("billing/prod"));
        index.reports.get_mut(&report_name("payments/staging")).unwrap().status.last_scan_time = None;
        let (from, to) = ("mode: Audit", "mode: Enforce");
        let refused = ask(&index, from, to, None);
        for part in [
            "and enforce in 2 segments whose violations are not known yet, since they have not been scanned (billing/prod, payments/staging; each counts as one)",
            "wait until status.lastScanTime of their SegmentationReports is set",
            "accept-violations: \"9\"",
        ] {
            assert!(refused.contains(part), "{part:?} in {refused}");
        }
        assert_eq!(ask(&index, from, to, Some("9")), "");
        // Of these a scan tells nothing.
        let watched = "reportOnly: [Copies, Consumers, Replication]";
        assert!(
            ask(&index, "reportOnly: [Copies, Consumers, Replication, Rbac]", watched, None).contains("in 1 segment")
        );
        // A namespace that came in since the report was written.
        index.world.namespace("payments-prod-3", &[("tenant", "payments"), ("environment", "prod")]);
        assert!(ask(&index, from, to, None).contains("billing/prod, payments/prod, payments/staging"));
        // A cluster in which nothing is governed locks nobody out.
        let mut empty = Index::default();
        empty.set_policies_synced(true);
        assert_eq!(ask(&empty, from, to, None), "");
    }

    /// What is not governed is not watched, and who reads is on no report.
    #[test]
    fn what_nobody_has_looked_at() {
        let index = scanned();
        let rules = |mode: &str, rules: &str| format!("{mode}\nrules: {{{rules}}}");
        let (two, one) = ("governs: [ExternalSecrets, VaultSecrets]", "governs: [VaultSecrets]");
        let backup = "readers: [{kind: Group, name: backup}]";
        let narrower = "readers: [{kind: ServiceAccount, name: \"velero:velero\"}]";
        let wider = "readers: [{kind: Group, name: \"system:serviceaccounts:velero\"}]";
        let watching = "hold objects of other operators to the policy in 3 segments where nobody has watched them yet (billing/prod, payments/prod, payments/staging; each counts as one)";
        let reading =
            "take 1 reader off, of which no report says what they are bound to (Group \"backup\"; each counts as one)";
        let comparing = "refuse copies of the values of 3 segments where nobody has compared them yet (billing/prod, payments/prod, payments/staging; each counts as one)";
        let only = |rule: &str| format!("reportOnly: [{rule}]");
        for (what, from, to, told) in [
            ("governs", rules("", ""), rules("", one), Some((watching, "begin with reportOnly: [OtherOperators]", 3))),
            ("one more", rules("", one), rules("", two), Some((watching, "reportOnly: [OtherOperators]", 3))),
            ("and the mode", rules("mode: Audit", ""), rules("", one), Some((watching, "mend first", 10))),
            (
                "compares",
                rules("", "uniqueValues: {within: None}"),
                rules("", ""),
                Some((comparing, "reportOnly: [Copies]", 3)),
            ),
            ("compares and reports", rules("", "uniqueValues: {within: None}"), rules(&only("Copies"), ""), None),
            ("one less", rules("", two), rules("", one), None),
            ("only reported", rules("", ""), rules(&only("OtherOperators"), one), None),
            ("in mode Warn", rules("", ""), rules("mode: Warn", one), None),
            ("a reader", rules("", backup), rules("", ""), Some((reading, "begin with reportOnly: [Rbac]", 1))),
            ("widened", rules("", narrower), rules("", wider), None),
            ("another", rules("", backup), rules("", wider), Some((reading, "SegmentationReports list", 1))),
            ("a reader, only reported", rules("", backup), rules(&only("Rbac"), ""), None),
        ] {
            let said = ask(&index, &from, &to, None);
            let Some((says, mend, count)) = told else {
                assert_eq!(said, "", "{what}");
                continue;
            };
            let number = format!("accept-violations: \"{count}\"");
            assert!(said.contains(says) && said.contains(mend) && said.contains(&number), "{what}: {said}");
            assert_eq!(ask(&index, &from, &to, Some(&count.to_string())), "", "{what}");
        }
        // Another policy has it watched here, but not there.
        let mut index = index;
        let second = "segment: {labels: [tenant, environment]}\nnamespaceSelector: {matchLabels: {tenant: payments}}\nmode: Audit\nrules: {governs: [VaultSecrets]}\nreportOnly: []\n";
        index.world.policies.extend([policy("second", second)]);
        let said = ask(&index, &rules("", ""), &rules("", one), None);
        assert!(said.contains("in 1 segment where nobody has watched them yet (billing/prod;"), "{said}");
    }

    #[test]
    fn an_exception_that_is_ended_early() {
        let index = scanned();
        let exception = |rule: &str, namespaces: &str, end: &str| {
            format!(
                "{{rule: {rule}, namespaces: [{namespaces}], reason: T-1, expirationTime: \"2026-01-{end}T00:00:00Z\"}}"
            )
        };
        let with = |mode: &str, all: &[&str]| format!("mode: {mode}\nexceptions: [{}]", all.join(", "));
        let (long, short) = (exception("Copies", "a, b", "20"), exception("Copies", "a, b", "10"));
        let other = exception("UniqueValues", "a", "20");
        let (narrow, rbac) = (exception("Copies", "a", "20"), exception("Rbac", "a, b", "20"));
        let (rest, over) = (exception("Copies", "b, c", "21"), long.replace("2026-01-20", "2025-12-31"));
        for (what, from, to, ended) in [
            ("removed", with("Enforce", &[&long]), with("Enforce", &[]), true),
            ("shortened", with("Enforce", &[&long]), with("Enforce", &[&short]), true),
            ("narrowed", with("Enforce", &[&long]), with("Enforce", &[&narrow]), true),
            ("another rule", with("Enforce", &[&long]), with("Enforce", &[&rbac]), true),
            ("removed, and enforced at last", with("Audit", &[&long]), with("Enforce", &[]), true),
            ("longer", with("Enforce", &[&short]), with("Enforce", &[&long]), false),
            ("divided", with("Enforce", &[&long]), with("Enforce", &[&narrow, &rest]), false),
            ("not enforced", with("Enforce", &[&long]), with("Audit", &[]), false),
            ("only reported", with("Enforce", &[&long]), "reportOnly: [Copies]".into(), false),
            ("over", with("Enforce", &[&over]), with("Enforce", &[]), false),
            ("of a rule about claims", with("Enforce", &[&other]), with("Enforce", &[]), false),
        ] {
            let told = ask(&index, &from, &to, None);
            let says = "end 1 exception early, of which no report says what they lift (\"T-1\" of rule Copies; each counts as one)";
            assert_eq!(told.contains(says), ended, "{what}: {told}");
            assert_eq!(told.is_empty(), !ended, "{what}: {told}");
        }
    }
}
