//! Without an operator, and after it has come back.

use crate::support::operator::{NAMESPACE, Operator};
use crate::support::oracle::all_is_well;
use crate::support::tenants::{SOON, apply};
use crate::support::wait::eventually;
use crate::{Answer, DRY, VALUE, config_map, object, scene};
use serde_json::json;

#[test]
fn without_the_webhook_only_what_it_must_see_waits() {
    let mut scene = scene();
    let harmless = config_map("harmless", json!({"a": "the quick brown fox jumps over"})).to_string();
    scene.hold(&[("to begin with", "create -f -", harmless, false)]);
    scene.operator.take().expect("it runs").terminate();
    let asked = scene.stub.asked("payments/prod/orders");
    let at = |namespace: &str| {
        object("ConfigMap", namespace, "x", json!({"data": {"a": "the quick brown fox"}})).to_string()
    };
    for namespace in ["billing-prod", "payments-prod"] {
        let told = scene.submit(DRY, &at(namespace)).expect_err("nobody can say");
        assert!(told.contains("copies-") && told.contains("failed calling webhook"), "{told}");
    }
    for namespace in ["plain", "kube-system", "default", NAMESPACE] {
        scene.hold(&[("not governed", DRY, at(namespace), false)]);
    }
    let note = |note: &str| format!("annotate --dry-run=server secret orders -n payments-prod example.com/note={note}");
    let told = scene.submit(&note("long-enough-to-be-a-value"), "").expect_err("nobody can say");
    assert!(told.contains("failed calling webhook"), "{told}");
    scene.hold(&[("a note on a projected Secret that is no value", &note("short"), String::new(), false)]);
    // What changes nothing that is compared needs no review, nor does a deletion.
    let owned = json!({"metadata": {"finalizers": ["example.com/held"]}}).to_string();
    let free = json!({"metadata": {"finalizers": null}}).to_string();
    scene.hold(&[
        (
            "finalizers",
            &format!("patch configmap harmless -n billing-prod --type=merge -p {owned}"),
            String::new(),
            false,
        ),
        ("none", &format!("patch configmap harmless -n billing-prod --type=merge -p {free}"), String::new(), false),
        ("deletion", "delete configmap harmless -n billing-prod", String::new(), false),
    ]);
    // A new namespace gets what every pod needs.
    apply(
        &scene.cluster,
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: fresh, labels: {tenant: fresh, environment: prod}}\n",
    );
    eventually("the root certificate is there", SOON, || {
        scene.cluster.get_json("configmap", "fresh", "kube-root-ca.crt").ok_or("not yet")
    });
    scene.hold(&[("deletion", "delete namespace fresh --wait=false", String::new(), false)]);
    eventually("the namespace goes", SOON * 2, || {
        if scene.cluster.get_json("namespace", None, "fresh").is_none() { Ok(()) } else { Err("still there") }
    });

    // The one that comes back knows the values by their seals alone.
    scene.operator = Some(Operator::start(&scene.cluster));
    scene.comes_to(&Answer::Refused);
    scene.hold(&[
        ("a copy", DRY, config_map("copy", json!({"a": format!("password={VALUE}")})).to_string(), true),
        ("at home", DRY, object("ConfigMap", "payments-prod", "x", json!({"data": {"a": VALUE}})).to_string(), false),
    ]);
    assert_eq!(scene.stub.asked("payments/prod/orders"), asked, "nobody was asked");
    all_is_well(&scene.cluster, scene.operator());
}
