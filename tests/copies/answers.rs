//! How a copy is answered: by the policy of the segment that owns the value, and no more than ten times a minute.

use crate::support::oracle::all_is_well;
use crate::support::tenants::{POLICY, accepted, apply};
use crate::{Answer, DRY, Scene, VALUE, config_map, scene};
use serde_json::json;

impl Scene {
    fn policy(&self, more: &str) {
        apply(&self.cluster, &accepted(&format!("{POLICY}{more}")));
    }
}

#[test]
fn a_copy_is_answered_as_the_owners_policy_says() {
    let scene = scene();
    let exception = |scope: &str| {
        let end = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24);
        format!(
            "  exceptions: [{{rule: Copies, {scope}, reason: moving, expirationTime: \"{}\"}}]\n",
            end.strftime("%Y-%m-%dT%H:%M:%SZ")
        )
    };
    for (more, answer) in [
        ("  mode: Warn\n".to_owned(), Answer::Warned),
        ("  mode: Audit\n".into(), Answer::Passes),
        ("  mode: Enforce\n".into(), Answer::Refused),
        ("  reportOnly: [Copies]\n".into(), Answer::Passes),
        ("  reportOnly: [Consumers]\n".into(), Answer::Refused),
        (exception("namespaces: [billing-prod]"), Answer::Passes),
        (exception("namespaces: [payments-prod]"), Answer::Refused),
        (exception("keys: [payments/prod/orders]"), Answer::Passes),
        (exception("keys: [billing/prod/orders]"), Answer::Refused),
    ] {
        scene.policy(&more);
        scene.comes_to(&answer);
    }
    all_is_well(&scene.cluster, scene.operator());
}

#[test]
fn one_user_hears_of_ten_copies_a_minute() {
    let scene = scene();
    let (copy, harmless) =
        (config_map("copy", json!({"a": VALUE})), config_map("harmless", json!({"a": "the quick brown fox"})));
    for n in 0..10 {
        let told = scene.submit_as("guesser", DRY, &copy.to_string());
        assert!(crate::is_refusal(&told), "{n}: {told:?}");
    }
    let told = scene.submit_as("guesser", DRY, &harmless.to_string()).expect_err("the limit is reached");
    assert!(told.contains("rule Copies, TooManyCopies: "), "{told}");
    let short = config_map("short", json!({"a": "short"})).to_string();
    scene.submit_as("guesser", DRY, &short).expect("no value is so short");
    let elsewhere = harmless.to_string().replace("billing-prod", "payments-staging");
    scene.submit_as("guesser", DRY, &elsewhere).expect("another segment");
    scene.submit_as("somebody", DRY, &harmless.to_string()).expect("another user");
    all_is_well(&scene.cluster, scene.operator());
}
