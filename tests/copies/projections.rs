//! A value of another segment inside what a ScopedSecret itself projects: never written, and found again when policy changes;
//! who had it first goes on.

use crate::support::oracle::all_is_well;
use crate::support::stub_manager::Says;
use crate::support::tenants::*;
use crate::support::wait::eventually;
use crate::{Scene, VALUE, scene};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

const OWN: &str = "canary-billing-jW8#lP1$uK7@mQ4!vS2y";

impl Scene {
    fn billing(&self, name: &str, says: &str, more: &str) {
        self.stub.put(&format!("billing/prod/{name}"), Says::Text(says.to_owned()));
        let spec = format!(
            "refreshInterval: 2s\ndata: [{{secretKey: value, remoteRef: {{key: billing/prod/{name}}}}}]\n{more}"
        );
        apply(&self.cluster, &scoped_secret("billing-prod", name, &spec));
    }

    fn is_shared(&self, name: &str) -> Value {
        let object = becomes(&self.cluster, "billing-prod", name, "Unique", "False", "ValueShared");
        let status = object["status"].to_string();
        for part in ["payments", "orders", &VALUE[..12]] {
            assert!(!status.contains(part), "{part} in {status}");
        }
        object
    }

    fn holds(&self, name: &str, value: &str) {
        eventually(&format!("{name} holds {value}"), SOON, || {
            let held = secret_value(&self.cluster, "billing-prod", name, "value");
            if held.as_deref() == Some(value) { Ok(()) } else { Err(format!("{held:?}")) }
        });
    }
}

#[test]
fn a_value_of_another_segment_inside_a_projection_is_not_written() {
    let scene = scene();
    let twice = STANDARD.encode(STANDARD.encode(VALUE));
    scene.billing("url", &format!("postgres://app:{VALUE}@db/orders"), "");
    scene.billing("coded", &twice, "");
    let template = |part: &str| format!("target: {{template: {{{part}}}}}");
    scene.billing("literal", OWN, &template(&format!("data: {{conf: 'password = \"{VALUE}\"'}}")));
    scene.billing("note", OWN, &template(&format!("annotations: {{example.com/note: 'see {VALUE}'}}")));
    for (name, place) in [
        ("url", "data[\"value\"]"),
        ("coded", "data[\"value\"]"),
        ("literal", "data[\"conf\"]"),
        ("note", "metadata.annotations[\"example.com/note\"]"),
    ] {
        let object = scene.is_shared(name);
        let message = condition(&object, "Ready").unwrap()["message"].as_str().unwrap();
        assert!(message.starts_with(&format!("{place} has a value inside")), "{message}");
        assert!(scene.cluster.get_json("secret", "billing-prod", name).is_none(), "{name}");
    }
    // What was written into these is no leak of ours.
    let out = scene.cluster.kubectl(&["delete", "scopedsecret", "coded", "literal", "note", "-n", "billing-prod"]);
    assert!(out.status.success());
    // A value of its own heals it; its own refresh into one of others leaves what stands.
    scene.stub.put("billing/prod/url", Says::Text(OWN.into()));
    scene.holds("url", OWN);
    scene.stub.put("billing/prod/url", Says::Text(format!("app:{VALUE}")));
    scene.is_shared("url");
    scene.holds("url", OWN);
    // Inside its own segment it may stand anywhere.
    let spec = "data: [{secretKey: value, remoteRef: {key: payments/prod/orders}}]\ntarget: {template: {data: {url: 'app:{{ value }}@db'}}}";
    apply(&scene.cluster, &scoped_secret("payments-prod", "again", spec));
    eventually("it is projected", SOON, || ready(&scene.cluster, "scopedsecret", Some("payments-prod"), "again"));
    all_is_well(&scene.cluster, scene.operator());
}

#[test]
fn who_tries_values_out_in_a_template_hears_of_ten_a_minute() {
    let scene = scene();
    let text = |text: &str| format!("target: {{template: {{data: {{conf: '{text}'}}}}}}");
    for n in 0..10 {
        scene.billing("probe", OWN, &text(&format!("{n} {VALUE}")));
        eventually("it is judged", SOON, || {
            let probe = scene.cluster.get_json("scopedsecret", "billing-prod", "probe").unwrap();
            let seen = condition(&probe, "Unique")
                .filter(|told| told["observedGeneration"] == probe["metadata"]["generation"]);
            seen.filter(|told| told["reason"] == "ValueShared").map(drop).ok_or_else(|| probe["status"].to_string())
        });
    }
    for (name, said) in [("probe", format!("another {VALUE}")), ("harmless", "the quick brown fox".to_owned())] {
        scene.billing(name, OWN, &text(&said));
        becomes(&scene.cluster, "billing-prod", name, "Unique", "Unknown", "ComparisonPaused");
    }
    // Whoever brings no text of his own is not held up.
    scene.billing("other", OWN, "");
    scene.holds("other", OWN);
    // What was written into it is no leak of ours.
    assert!(scene.cluster.kubectl(&["delete", "scopedsecret", "probe", "-n", "billing-prod"]).status.success());
    all_is_well(&scene.cluster, scene.operator());
}

#[test]
fn what_policy_lifted_is_judged_again_and_who_had_it_first_goes_on() {
    let scene = scene();
    let end = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24);
    let lifted = format!(
        "{POLICY}  exceptions: [{{rule: Copies, namespaces: [billing-prod], reason: moving, expirationTime: \"{}\"}}]\n",
        end.strftime("%Y-%m-%dT%H:%M:%SZ")
    );
    apply(&scene.cluster, &lifted);
    let inside = format!("app:{VALUE}@db");
    scene.billing("lifted", &inside, "");
    scene.holds("lifted", &inside);
    becomes(&scene.cluster, "billing-prod", "lifted", "Unique", "True", "NoSharedValues");
    // Without the exception it would share a value: somebody has to say so, and then it does. What else an exception that ends
    // early has lifted no report says yet: that counts as one.
    let strict = format!("{POLICY}  exceptions: []\n");
    let refusal = scene.cluster.apply(&strict).expect_err("it breaks something");
    assert!(refusal.contains("accept-violations: \"2\""), "{refusal}");
    let accepted = "metadata: {name: tenants, annotations: {scopedsecrets.io/accept-violations: \"2\"}}";
    apply(&scene.cluster, &strict.replace("metadata: {name: tenants}", accepted));
    scene.is_shared("lifted");
    scene.holds("lifted", &inside);

    // Who has had a text for longer is not held up by whoever stores a part of it as a secret.
    let late = "canary-late-hV7#kN0$tJ6@lP3!uR1x";
    let text = |n: u32| format!("version = {n}\npassword = {late}\n");
    scene.billing("first", &text(1), "");
    scene.holds("first", &text(1));
    scene.stub.put("payments/prod/late", Says::Text(late.into()));
    let spec = "data: [{secretKey: value, remoteRef: {key: payments/prod/late}}]";
    apply(&scene.cluster, &scoped_secret("payments-prod", "late", spec));
    eventually("it is projected", SOON, || ready(&scene.cluster, "scopedsecret", Some("payments-prod"), "late"));
    scene.billing("second", &text(1), "");
    scene.is_shared("second");
    for n in 2..4 {
        scene.stub.put("billing/prod/first", Says::Text(text(n)));
        scene.holds("first", &text(n));
    }
    becomes(&scene.cluster, "billing-prod", "first", "Unique", "True", "NoSharedValues");
    all_is_well(&scene.cluster, scene.operator());
}
