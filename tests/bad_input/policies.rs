//! Namespaces and policies that do not fit: who governs, what a change may break, what an exception may say.

use crate::bed::{Case, How, whole};
use crate::support::tenants::{SOON, ready};
use crate::support::wait::eventually;

#[test]
fn a_namespace_without_a_policy() {
    let case = Case::new("ungoverned");
    case.projected("db", "canary-ungoverned-kX9mQ2vL8nR5wT");
    case.bed.apply("apiVersion: v1\nkind: Namespace\nmetadata: {name: ungoverned-2}\n");
    let yaml = case.yaml("thief", &whole("db")).replace("namespace: ungoverned", "namespace: ungoverned-2");
    eventually("it is refused for want of a policy", SOON, || match case.bed.cluster.apply(&yaml) {
        Err(refusal) if refusal.contains("NoPolicy") => Ok(()),
        other => Err(format!("{other:?}")),
    });
    case.bed.refuses(
        &yaml,
        &["NoPolicy", "\"ungoverned-2\"", "without a policy nothing may be claimed", "ask the platform team"],
    );
    // One that loses its policy by its label.
    case.bed.kubectl(&["label", "namespace", case.name, "tenant-"]);
    case.told("db", How::Refused, "NoPolicy", &["it lacks the label", "tenant"]);
    case.secret_goes("db");
    let events = case.bed.kubectl(&["get", "events", "-n", case.name, "-o", "yaml"]);
    assert!(events.contains("reason: Withdrawn"), "{events}");
    case.bed.kubectl(&["label", "namespace", case.name, "tenant=ungoverned"]);
    case.is_ready("db");
}

#[test]
fn a_namespace_without_a_segment_label_or_with_an_empty_one() {
    let case = Case::new("unlabelled");
    case.projected("db", "canary-unlabelled-kX9mQ2vL8nR5wT");
    for (label, what) in [("environment-", "missing"), ("environment=", "empty")] {
        case.bed.kubectl(&["label", "namespace", case.name, label, "--overwrite"]);
        let says = [
            "policy \"unlabelled\"",
            "tenant, environment",
            "has no \"environment\", or has it empty",
            "ask the platform team",
        ];
        case.told("db", How::Refused, "SegmentLabelMissing", &says);
        case.secret_goes("db");
        case.bed.refuses(&case.yaml(what, &whole("db")), &["SegmentLabelMissing", "\"environment\""]);
        case.bed.kubectl(&["label", "namespace", case.name, "environment=prod", "--overwrite"]);
        case.is_ready("db");
    }
}

#[test]
fn two_policies_over_one_namespace() {
    let case = Case::new("two-policies");
    let second = case
        .policy("rules: {requireConsumers: false}")
        .replace("metadata: {name: two-policies}", "metadata: {name: two-policies-more}");
    let second = second.replace("${label:tenant}/${label:environment}/**", "${label:tenant}/more/**");
    case.bed.apply(&second);
    eventually("the second policy is ready", SOON, || {
        ready(&case.bed.cluster, "segmentationpolicy", None, "two-policies-more")
    });
    // What may be claimed is their union, the rules the strictest.
    case.stub.put(
        "two-policies/more/db",
        crate::support::stub_manager::Says::Text("canary-two-policies-more-kX9mQ2v".into()),
    );
    case.claim("more", "data: [{secretKey: value, remoteRef: {key: two-policies/more/db}}]");
    case.is_ready("more");
    case.projected("db", "canary-two-policies-own-kX9mQ2vL");
    let none = case.yaml("none", &whole("db")).replace("consumers: [{serviceAccountName: none}]", "consumers: []");
    case.bed.refuses(&none, &["ConsumersRequired"]);
    // One that would disagree on the segment is refused.
    let torn = second
        .replace("two-policies-more", "two-policies-torn")
        .replace("[tenant, environment]", "[tenant]")
        .replace("${label:environment}", "x");
    case.bed.refuses(&torn, &["SegmentConflict", "\"two-policies\"", "segment.labels alike"]);
    case.bed.kubectl(&["annotate", "segmentationpolicy", "two-policies-more", "scopedsecrets.io/accept-violations=1"]);
    case.bed.kubectl(&["delete", "segmentationpolicy", "two-policies-more"]);
    case.told("more", How::Refused, "KeyNotAllowed", &["two-policies/prod/**"]);
    case.secret_goes("more");
}

#[test]
fn two_policies_that_disagree_on_the_segment() {
    let case = Case::new("torn");
    case.projected("db", "canary-torn-kX9mQ2vL8nR5wT3z1pQ");
    let before = case.secret("db").unwrap();
    let second = "apiVersion: scopedsecrets.io/v1alpha1\nkind: SegmentationPolicy\nmetadata: {name: torn-by-team}\nspec: {segment: {labels: [torn-team]}, allow: [{storeRef: {name: torn}, keys: [\"${label:torn-team}/**\"]}]}\n";
    case.bed.apply(second);
    eventually("the second policy is ready", SOON, || {
        ready(&case.bed.cluster, "segmentationpolicy", None, "torn-by-team")
    });
    // A namespace's labels are not reviewed: now both govern it.
    case.bed.kubectl(&["label", "namespace", case.name, "torn-team=blue"]);
    let says = ["torn and torn-by-team", "disagree on its segment", "make their segment.labels alike"];
    let object = eventually("the conflict is told", SOON, || {
        let object = case.bed.cluster.get_json("scopedsecret", case.name, "db").ok_or("gone")?;
        let of = |kind| crate::support::tenants::condition(&object, kind).cloned().unwrap_or_default();
        let right = of("Ready")["reason"] == "SegmentConflict"
            && of("Authorized")["status"] == "False"
            && of("Stalled")["status"] == "True";
        if right { Ok(object) } else { Err(object["status"].to_string()) }
    });
    let text = crate::support::tenants::condition(&object, "Ready").unwrap()["message"].to_string();
    says.iter().for_each(|part| assert!(text.contains(part), "{part} is missing in {text}"));
    assert_eq!(case.secret("db").unwrap(), before, "what is not known withdraws nothing");
    case.bed.refuses(&case.yaml("new", &whole("db")), &["SegmentConflict"]);
    case.bed.kubectl(&["label", "namespace", case.name, "torn-team-"]);
    case.is_ready("db");
}

#[test]
fn a_policy_that_can_govern_no_namespace() {
    let case = Case::new("nobody");
    let policy = |name: &str, selector: &str| {
        format!(
            "apiVersion: scopedsecrets.io/v1alpha1\nkind: SegmentationPolicy\nmetadata: {{name: {name}}}\nspec: {{segment: {{labels: [{name}]}}, namespaceSelector: {selector}}}\n"
        )
    };
    // The API server refuses a webhook whose selector has an empty list; nobody else's entry waits for that.
    let nobody =
        "{matchLabels: {nobody-at-all: a}, matchExpressions: [{key: nobody-at-all, operator: In, values: [b]}]}";
    case.bed.apply(&policy("nobody-at-all", nobody));
    eventually("it is ready", SOON, || ready(&case.bed.cluster, "segmentationpolicy", None, "nobody-at-all"));
    case.bed.apply(&policy("nobody-but-some", "{}"));
    eventually("the other's entries are there", SOON, || {
        let live = case.bed.cluster.get_json("validatingwebhookconfiguration", None, "scoped-secrets").ok_or("gone")?;
        let text = live["webhooks"].to_string();
        let right = text.contains("\"nobody-but-some\"") && !text.contains("nobody-at-all");
        if right { Ok(()) } else { Err(text) }
    });
    case.bed.kubectl(&["delete", "segmentationpolicy", "nobody-at-all", "nobody-but-some"]);
}

#[test]
fn a_policy_that_is_narrowed() {
    let case = Case::new("narrowed");
    for name in ["one", "two", "three"] {
        case.projected(name, &format!("canary-narrowed-{name}-kX9mQ2vL8nR"));
    }
    let to = |keys: &str, accept: Option<&str>| {
        let keys: Vec<String> = keys.split(' ').map(|key| format!("\"narrowed/prod/{key}\"")).collect();
        let note = accept
            .map(|n| format!(", annotations: {{scopedsecrets.io/accept-violations: \"{n}\"}}"))
            .unwrap_or_default();
        case.policy("")
            .replace("\"${label:tenant}/${label:environment}/**\"", &keys.join(", "))
            .replace("metadata: {name: narrowed", &format!("metadata: {{name: narrowed{note}"))
    };
    let says = ["ViolationsNotAccepted", "1 live claim", "narrowed/three", "accept-violations: \"1\""];
    case.bed.refuses(&to("one two", None), &says);
    case.bed.refuses(&to("one", Some("1")), &["ViolationsNotAccepted", "2 live claims", "accept-violations: \"2\""]);
    case.bed.refuses(&to("one", Some("many")), &["ViolationsNotAccepted"]);
    for name in ["one", "two", "three"] {
        case.is_ready(name);
    }

    case.bed.apply(&to("one two", Some("1")));
    case.told("three", How::Refused, "KeyNotAllowed", &["policy \"narrowed\"", "tenant=narrowed, environment=prod"]);
    case.secret_goes("three");
    let events = case.bed.kubectl(&["get", "events", "-n", case.name, "-o", "yaml"]);
    assert!(events.contains("reason: Withdrawn"), "{events}");
    assert_eq!(case.stub.asked(&case.key("three")), 1, "a refused claim asks nobody");

    // The same annotation accepts nothing more.
    case.bed.refuses(&to("one", Some("1")), &["ViolationsNotAccepted", "1 live claim"]);
    case.is_ready("two");
    case.bed.apply(&to("one", Some("01")));
    case.told("two", How::Refused, "KeyNotAllowed", &[]);
    case.secret_goes("two");
    case.is_ready("one");
}

#[test]
fn a_policy_that_is_deleted() {
    let case = Case::new("policy-gone");
    case.projected("db", "canary-policy-gone-kX9mQ2vL8nR5w");
    let out = case.bed.cluster.kubectl(&["delete", "segmentationpolicy", case.name]);
    let refusal = String::from_utf8_lossy(&out.stderr).into_owned();
    for part in [
        "ViolationsNotAccepted",
        "1 live claim",
        "policy-gone/db",
        "accept-violations: \"1\" on the policy, without another change, and delete it then",
    ] {
        assert!(refusal.contains(part), "{part} is missing in {refusal}");
    }
    case.is_ready("db");
    case.bed.kubectl(&["annotate", "segmentationpolicy", case.name, "scopedsecrets.io/accept-violations=1"]);
    case.is_ready("db");
    case.bed.kubectl(&["delete", "segmentationpolicy", case.name]);
    case.told("db", How::Refused, "NoPolicy", &["ask the platform team"]);
    case.secret_goes("db");
}

#[test]
fn exceptions_that_are_past_or_too_far() {
    let case = Case::new("exceptions");
    let with = |end: &str| {
        case.policy(&format!(
            "exceptions: [{{rule: UniqueValues, namespaces: [exceptions], reason: T-1, expirationTime: \"{end}\"}}]"
        ))
    };
    let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24);
    case.bed.refuses(
        &with("2020-01-01T00:00:00Z"),
        &["InvalidException", "\"T-1\"", "is in the past", "within the next 90 days"],
    );
    case.bed.refuses(&with("2099-01-01T00:00:00Z"), &["InvalidException", "is more than 90 days ahead"]);
    case.bed.apply(&with(&soon.to_string()));
    case.settled();
}

/// Rules of form strand live claims like narrower keys do: by number, and then at once.
#[test]
fn a_policy_tightened_in_form() {
    let case = Case::bare("form");
    case.bed.apply(&case.namespace());
    case.bed.apply(&case.store(&case.stub.endpoint));
    case.bed.apply(&case.policy("rules: {requireConsumers: false}"));
    case.settled();
    case.text("db", "canary-form-kX9mQ2vL8nR5wT3z1pQ7");
    case.bed.apply(&case.yaml("db", &whole("db")).replace("  consumers: [{serviceAccountName: db}]\n", ""));
    case.is_ready("db");
    case.bed.refuses(&case.policy(""), &["ViolationsNotAccepted", "1 live claim", "form/db"]);
    case.is_ready("db");
    // A claim that names its consumers is sealed anew, and nobody is asked.
    let asked = case.stub.asked(&case.key("db"));
    case.claim("db", &whole("db"));
    case.is_ready("db");
    eventually("the policy may be tightened", SOON, || case.bed.cluster.apply(&case.policy("")));
    case.is_ready("db");
    assert_eq!(case.stub.asked(&case.key("db")), asked);
    // Past that, with its number.
    case.bed.apply(&case.policy("rules: {requireConsumers: false}"));
    case.settled();
    case.bed.apply(&case.yaml("db", &whole("db")).replace("  consumers: [{serviceAccountName: db}]\n", ""));
    case.is_ready("db");
    let accepted = case.policy("").replacen(
        "metadata: {name: form}",
        "metadata: {name: form, annotations: {scopedsecrets.io/accept-violations: \"1\"}}",
        1,
    );
    eventually("it is accepted", SOON, || case.bed.cluster.apply(&accepted));
    case.secret_goes("db");
    case.told("db", How::Refused, "ConsumersRequired", &["spec.consumers"]);
}

/// What is compared between segments follows the policy, not the day on which it was projected.
#[test]
fn names_that_are_no_longer_ignored() {
    let one = Case::new("ignored-one");
    let two = one.beside("ignored-two");
    let value = r#"{"shared": "canary-ignored-kX9mQ2vL8nR5wT3z"}"#;
    let ignoring = "rules: {uniqueValues: {ignore: [shared]}}";
    let claim = "data: [{secretKey: value, remoteRef: {key: KEY/db, property: shared}}]";
    for case in [&one, &two] {
        case.bed.apply(&case.policy(ignoring));
        case.settled();
        case.text("db", value);
        case.claim("db", claim);
        case.is_ready("db");
    }
    for case in [&one, &two] {
        case.bed.apply(&case.policy(""));
    }
    eventually("the value is found in two segments", SOON, || {
        let shared = |case: &Case| {
            let object = case.bed.cluster.get_json("scopedsecret", case.name, "db").unwrap_or_default();
            crate::support::tenants::condition(&object, "Unique").is_some_and(|c| c["reason"] == "ValueShared")
        };
        if shared(&one) != shared(&two) { Ok(()) } else { Err("not yet") }
    });
    one.holds("db", "value", "canary-ignored-kX9mQ2vL8nR5wT3z");
    two.holds("db", "value", "canary-ignored-kX9mQ2vL8nR5wT3z");
}

#[test]
fn a_policy_that_makes_one_segment_of_two() {
    let case = Case::new("merging");
    case.projected("db", "canary-merging-prod-kX9mQ2vL8nR5");
    let second = case.namespace().replace("name: merging", "name: merging-staging").replace("prod", "staging");
    case.bed.apply(&second);
    case.stub
        .put("merging/staging/db", crate::support::stub_manager::Says::Text("canary-merging-staging-kX9mQ2vL8".into()));
    let claim = case.yaml("db", &whole("db")).replace("namespace: merging", "namespace: merging-staging");
    let claim = claim.replace("merging/prod/db", "merging/staging/db");
    eventually("the second segment is known", SOON, || case.bed.cluster.apply(&claim).map(drop));
    eventually("it holds a Secret", SOON, || ready(&case.bed.cluster, "scopedsecret", Some("merging-staging"), "db"));
    let merged = |accept: &str| {
        let policy = case.policy("").replace("[tenant, environment]", "[tenant]");
        let policy = policy.replace("${label:tenant}/${label:environment}/**", "${label:tenant}/**");
        policy.replace("metadata: {name: merging", &format!("metadata: {{name: merging{accept}"))
    };
    case.bed.refuses(
        &merged(""),
        &[
            "rule Policies, ViolationsNotAccepted",
            "merging/prod and merging/staging would be merging",
            "accept-violations: \"2\"",
        ],
    );
    case.bed.apply(&merged(", annotations: {scopedsecrets.io/accept-violations: \"2\"}"));
    eventually("they are one segment", SOON, || {
        let object = ready(&case.bed.cluster, "scopedsecret", Some("merging-staging"), "db")?;
        if object["status"]["segment"] == "merging" { Ok(()) } else { Err(object["status"].to_string()) }
    });
    case.is_ready("db");
}
