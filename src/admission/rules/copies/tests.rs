use super::*;
use crate::segmentation::copies::Marks;
use crate::segmentation::fixtures::*;
use crate::segmentation::seal::Generation;
use crate::segmentation::world::KeyVersion;
use crate::segmentation::world::{Holding, ObjectName, World};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

const VALUE: &str = "kX9#mQ2$vL8@nR5!wT3z";
const OTHER: &str = "jW8#lP1$uK7@mQ4!vS2y";

/// Payments hold VALUE, billing hold OTHER.
struct Scene {
    keys: SealKeys,
    index: Index,
    limit: Limit,
}

/// What an answer comes to.
#[derive(Debug, PartialEq)]
enum Heard {
    Passes,
    Warned(String),
    Denied(String),
}

fn scene() -> Scene {
    let keys = SealKeys::new(Generation::from_random(&[1; 36], Timestamp::UNIX_EPOCH).unwrap());
    let mut index = Index::default();
    index.world = World::with_tenants();
    index.secrets_synced = true;
    for (namespace, value) in [("payments-prod", VALUE), ("billing-prod", OTHER)] {
        let claim = claim(namespace, "orders").of(&format!("{}/db", namespace.replace('-', "/")));
        let (fingerprints, marks) = keys.sealed_prints(&[keys.print(value.as_bytes())]);
        let versions =
            index.world.canonical_keys(&claim).into_iter().map(|key| KeyVersion::undated(key, "v1")).collect();
        let holding = Holding { versions, fingerprints, marks, ..Holding::of_claim(&claim, Vec::new()) };
        index.world.put_holding(ObjectName::new(namespace, "orders"), holding.into());
    }
    Scene { keys, index, limit: Limit::default() }
}

impl Scene {
    fn under(mut self, more: &str) -> Self {
        self.index.world = self.index.world.under([policy("tenants", &format!("{TENANTS}{more}"))]);
        self
    }

    fn request(kind: &str, namespace: &str, object: Value, old: Option<Value>) -> AdmissionRequest<DynamicObject> {
        let whole = |mut object: Value| {
            object["apiVersion"] = "v1".into();
            object["kind"] = kind.into();
            if object["metadata"].is_null() {
                object["metadata"] = json!({"name": "copy"});
            }
            object
        };
        serde_json::from_value(json!({
            "uid": "1", "kind": {"group": "", "version": "v1", "kind": kind},
            "resource": {"group": "", "version": "v1", "resource": "things"},
            "name": "copy", "namespace": namespace, "operation": if old.is_some() { "UPDATE" } else { "CREATE" },
            "userInfo": {"username": "ada"}, "dryRun": true, "object": whole(object), "oldObject": old.map(whole),
        }))
        .unwrap()
    }

    fn hear(&self, kind: &str, namespace: &str, object: Value, old: Option<Value>) -> Heard {
        self.hear_at(kind, namespace, object, old, now())
    }

    fn hear_at(&self, kind: &str, namespace: &str, object: Value, old: Option<Value>, now: Timestamp) -> Heard {
        let request = Self::request(kind, namespace, object, old);
        let answer = judge(&request, Some(&self.keys), || &self.index, &self.limit, now);
        match (answer.allowed, answer.warnings) {
            (true, None) => Heard::Passes,
            (true, Some(warnings)) => Heard::Warned(warnings.concat()),
            (false, _) => Heard::Denied(answer.result.message),
        }
    }

    fn copy(&self, namespace: &str) -> Heard {
        self.hear("ConfigMap", namespace, json!({"data": {"url": format!("postgres://app:{VALUE}@db")}}), None)
    }
}

fn says(heard: &Heard, reason: &str) -> bool {
    matches!(heard, Heard::Denied(text) if text.contains(&format!("rule Copies, {reason}: ")))
}

#[test]
fn a_copy_is_refused_wherever_it_is_in_an_object() {
    let (coded, scene) = (BASE64_STANDARD.encode(VALUE), || scene());
    for (kind, object, place) in [
        ("Secret", json!({"data": {"a": coded}}), r#"data["a"]"#),
        ("Secret", json!({"data": {"a": BASE64_STANDARD.encode(BASE64_STANDARD.encode(&coded))}}), r#"data["a"]"#),
        ("Secret", json!({"stringData": {"a": VALUE}}), r#"stringData["a"]"#),
        ("ConfigMap", json!({"data": {"a": VALUE}}), r#"data["a"]"#),
        ("ConfigMap", json!({"data": {"a": BASE64_STANDARD.encode(&coded)}}), r#"data["a"]"#),
        ("ConfigMap", json!({"binaryData": {"a": coded}}), r#"binaryData["a"]"#),
        ("ConfigMap", json!({"metadata": {"annotations": {"a": VALUE}}}), r#"metadata.annotations["a"]"#),
        ("ConfigMap", json!({"data": {"x": "y", (VALUE): "a"}}), "the name of a key in data"),
        ("ConfigMap", json!({"data": {"x": "y", (VALUE): VALUE}}), "the name of a key in data"),
    ] {
        let Heard::Denied(text) = scene().hear(kind, "billing-prod", object.clone(), None) else { panic!("{object}") };
        assert!(text.starts_with(&format!("rule Copies, ValueCopied: {kind} billing-prod/copy: {place} ")), "{text}");
        assert!(!text.contains("payments") && !text.contains("orders") && !text.contains(VALUE), "{text}");
    }
}

#[test]
fn what_passes() {
    let scene = scene();
    for (what, namespace, object) in [
        ("the segment's own value", "payments-prod", json!({"data": {"a": VALUE}})),
        ("in another namespace of the segment", "payments-prod-2", json!({"data": {"a": VALUE}})),
        ("in no segment", "plain", json!({"data": {"a": VALUE}})),
        ("another value", "billing-prod", json!({"data": {"a": "an innocent value of some length"}})),
        ("a part of it", "billing-prod", json!({"data": {"a": &VALUE[..16]}})),
        ("nothing", "billing-prod", json!({})),
        ("what is no text", "billing-prod", json!({"data": {"a": 1, "b": null}})),
    ] {
        assert_eq!(scene.hear("ConfigMap", namespace, object, None), Heard::Passes, "{what}");
    }
}

#[test]
fn of_an_update_only_what_is_new_counts() {
    let scene = scene();
    let with = |data: Value, label: &str| json!({"metadata": {"name": "copy", "labels": {"a": label}}, "data": data});
    let update = |old: Value, new: Value| scene.hear("ConfigMap", "billing-prod", new, Some(old));
    let there = json!({"a": VALUE});
    assert_eq!(update(with(there.clone(), "x"), with(there.clone(), "y")), Heard::Passes, "a label");
    assert_eq!(update(with(there.clone(), "x"), with(json!({"b": VALUE}), "x")), Heard::Passes, "moved");
    let more = json!({"a": VALUE, "b": "something else of some length"});
    assert_eq!(update(with(there.clone(), "x"), with(more, "x")), Heard::Passes, "more beside it");
    let applied = json!({"metadata": {"name": "copy", "annotations": {"last-applied": format!("{{\"a\":\"{VALUE}\"}}")}}, "data": there});
    assert_eq!(update(with(there.clone(), "x"), applied), Heard::Passes, "kubectl notes what was there");
    assert!(says(&update(with(json!({"a": "x"}), "x"), with(there, "x")), "ValueCopied"), "a copy that is new");
}

#[test]
fn the_owners_policy_decides() {
    let end = "2026-01-10T00:00:00Z";
    let exception =
        |scope: &str| format!("exceptions: [{{rule: Copies, {scope}, reason: moving, expirationTime: \"{end}\"}}]\n");
    for (more, expected) in [
        (String::new(), "denied"),
        ("mode: Warn\n".into(), "warned"),
        ("mode: Audit\n".into(), "passes"),
        ("reportOnly: [Copies]\n".into(), "passes"),
        ("reportOnly: [Consumers]\n".into(), "denied"),
        ("rules: {uniqueValues: {within: None}}\n".into(), "passes"),
        (exception("namespaces: [billing-prod]"), "passes"),
        (exception("namespaces: [payments-prod]"), "denied"),
        (exception("keys: [payments/prod/db]"), "passes"),
        (exception("keys: [billing/prod/db]"), "denied"),
        (exception("namespaces: [billing-prod]").replace("Copies", "UniqueValues"), "denied"),
    ] {
        let heard = match scene().under(&more).copy("billing-prod") {
            Heard::Passes => "passes",
            Heard::Warned(_) => "warned",
            Heard::Denied(_) => "denied",
        };
        assert_eq!(heard, expected, "{more}");
    }
    // Of two owners the stricter: payments let it be, billing do not.
    let payments =
        TENANTS.replace("{key: tenant, operator: Exists}", "{key: tenant, operator: In, values: [payments]}");
    let billing = TENANTS.replace("{key: tenant, operator: Exists}", "{key: tenant, operator: In, values: [billing]}");
    let mut scene = scene();
    scene.index.world.namespace("third", &[("tenant", "third"), ("environment", "prod")]);
    let third = TENANTS.replace("{key: tenant, operator: Exists}", "{key: tenant, operator: In, values: [third]}");
    scene.index.world = scene.index.world.under([
        policy("payments", &format!("{payments}mode: Audit\n")),
        policy("billing", &billing),
        policy("third", &format!("{third}mode: Audit\n")),
    ]);
    assert_eq!(scene.copy("third"), Heard::Passes, "the owner's mode, not the one where it lands");
    let both = json!({"data": {"a": format!("{VALUE} {OTHER}")}});
    assert!(says(&scene.hear("ConfigMap", "third", both, None), "ValueCopied"));
}

#[test]
fn after_ten_copies_nothing_new_is_taken_for_the_rest_of_the_minute() {
    let scene = scene();
    let harmless = || json!({"data": {"a": "an innocent value of some length"}});
    for n in 0..10 {
        assert_eq!(scene.hear_at("ConfigMap", "billing-prod", harmless(), None, at(1_767_225_600 + n)), Heard::Passes);
        let copied = json!({"data": {"a": VALUE}});
        let heard = scene.hear_at("ConfigMap", "billing-prod", copied, None, at(1_767_225_600 + n));
        assert!(says(&heard, "ValueCopied"), "{n}: {heard:?}");
    }
    let later = at(1_767_225_600 + 59);
    let heard = scene.hear_at("ConfigMap", "billing-prod", harmless(), None, later);
    assert!(says(&heard, "TooManyCopies"), "{heard:?}");
    let short = json!({"data": {"a": "short"}});
    assert_eq!(scene.hear_at("ConfigMap", "billing-prod", short, None, later), Heard::Passes, "no value is so short");
    let elsewhere = scene.hear_at("ConfigMap", "payments-staging", harmless(), None, later);
    assert_eq!(elsewhere, Heard::Passes, "another segment");
    let next = scene.hear_at("ConfigMap", "billing-prod", harmless(), None, at(1_767_225_600 + 60));
    assert_eq!(next, Heard::Passes, "the next minute");
}

#[test]
fn what_cannot_be_compared_is_not_taken() {
    let mut scene = scene();
    let harmless = json!({"data": {"a": "an innocent value of some length"}});
    let request = Scene::request("ConfigMap", "billing-prod", harmless.clone(), None);
    let without_key = judge(&request, None, || &scene.index, &scene.limit, now());
    assert!(!without_key.allowed && without_key.result.message.contains("NotCompared"));
    scene.index.secrets_synced = false;
    assert!(says(&scene.hear("ConfigMap", "billing-prod", harmless.clone(), None), "NotCompared"));
    scene.index.secrets_synced = true;
    assert_eq!(scene.hear("ConfigMap", "billing-prod", harmless, None), Heard::Passes);
    // Values that were made alike, and a text that repeats what they share.
    let long: String = std::iter::once("0123456789ABCDEF").chain(std::iter::repeat_n("abcd", 1_000)).collect();
    let prints: Vec<_> = (0..2_000).map(|i| scene.keys.print(&long.as_bytes()[..2_000 + i])).collect();
    let (fingerprints, marks) = scene.keys.sealed_prints(&prints);
    let holding = Holding { fingerprints, marks, ..Holding::of_claim(&claim("payments-prod", "alike"), Vec::new()) };
    scene.index.world.put_holding(ObjectName::new("payments-prod", "alike"), holding.into());
    let decoys = json!({"data": {"a": long[..64].repeat(5_000)}});
    let heard = scene.hear("ConfigMap", "billing-prod", decoys.clone(), None);
    assert!(says(&heard, "NotCompared"), "{heard:?}");
    let audited = scene.under("mode: Audit\n");
    assert_eq!(audited.hear("ConfigMap", "billing-prod", decoys, None), Heard::Passes, "Audit refuses nothing");
}

#[test]
fn a_rule_that_is_tried_out_holds_nobody_up_at_a_start() {
    let starting = |policy: &str| {
        let mut scene = scene().under(policy);
        scene.index.secrets_synced = false;
        scene
    };
    let harmless = || json!({"data": {"a": "an innocent value of some length"}});
    for (policy, refused) in [
        ("mode: Audit\n", false),
        ("mode: Warn\n", false),
        ("reportOnly: [Copies]\n", false),
        ("rules: {uniqueValues: {within: None}}\n", false),
        ("mode: Enforce\n", true),
    ] {
        let heard = starting(policy).hear("ConfigMap", "billing-prod", harmless(), None);
        assert_eq!(says(&heard, "NotCompared"), refused, "{policy}: {heard:?}");
    }
    let mut unread = starting("mode: Audit\n");
    unread.index.world.policies_synced = false;
    assert!(says(&unread.hear("ConfigMap", "billing-prod", harmless(), None), "NotCompared"), "it may be strict");
}

#[test]
fn a_policy_that_cannot_be_read_lets_no_copy_through() {
    let mut scene = scene();
    scene.index.world.policies.insert("broken".into(), crate::segmentation::world::PolicyState::Unknown("x".into()));
    assert!(says(&scene.copy("billing-prod"), "ValueCopied"));
    let harmless = json!({"data": {"a": "an innocent value of some length"}});
    assert_eq!(scene.hear("ConfigMap", "billing-prod", harmless, None), Heard::Passes);
    assert_eq!(scene.copy("payments-prod"), Heard::Passes, "where it is at home");
}

#[test]
fn what_is_gone_may_be_written_again() {
    let mut scene = scene();
    // The same value in a second Secret of the segment, under a seal from before there were marks.
    let held = scene.index.world.holding(&ObjectName::new("payments-prod", "orders")).unwrap().clone();
    let unmarked = Holding { marks: Marks::default(), ..(*held).clone() };
    scene.index.world.put_holding(ObjectName::new("payments-prod-2", "orders"), unmarked.into());
    assert!(says(&scene.copy("billing-prod"), "ValueCopied"));
    scene.index.world.remove_holding(&ObjectName::new("payments-prod", "orders"));
    assert_eq!(scene.copy("billing-prod"), Heard::Passes);
    assert_eq!(scene.index.world.marks().len(), 1, "billing's own");
}
