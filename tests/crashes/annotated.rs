//! The annotation `revoke`: a leak is told once, by whoever may, whatever becomes of the annotation and of the operator.

use crate::support::events::told;
use crate::support::inside::{Moment, settles};
use crate::support::operator::lift;
use crate::support::stub_manager::Says;
use crate::support::tenants::*;
use crate::support::wait::{eventually, second_is_over};
use crate::{Flow, NAMESPACE, Scene, key};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use std::time::{Duration, Instant};

/// The whole of it, undisturbed: one KeyRevocation of the key, and its Secret gone.
pub const FLOW: Flow = Flow {
    name: "annotated",
    begin: |scene, name| {
        scene.stores(name);
        scene.claims(name, "");
        eventually("it is projected", SOON, || scene.is_projected(name));
    },
    trigger: |scene, name| annotate(scene, name, "scopedsecrets.io/revoke=true").unwrap(),
    ended: |scene, name| {
        scene.is_gone(name)?;
        scene.says(name, "Authorized", "False", "KeyRevoked")?;
        let [revocation] = &revocations(scene, name)[..] else { return Err("not one KeyRevocation".to_owned()) };
        let complete = condition(revocation, "Complete").is_some_and(|c| c["status"] == "True");
        complete.then_some(()).ok_or_else(|| revocation["status"].to_string())?;
        let asked = &guard(scene)["revocations"][name];
        asked["keys"].is_null().then_some(()).ok_or_else(|| asked.to_string())
    },
};

fn kubectl(scene: &Scene, words: &[&str]) -> Result<(), String> {
    scene.cluster.submit(words, "").map(drop)
}

fn annotate(scene: &Scene, name: &str, note: &str) -> Result<(), String> {
    kubectl(scene, &["annotate", "scopedsecret", name, "-n", NAMESPACE, note])
}

fn strip(scene: &Scene, name: &str) {
    annotate(scene, name, "scopedsecrets.io/revoke-").unwrap();
}

fn revocations(scene: &Scene, name: &str) -> Vec<Value> {
    let all = scene.cluster.list_json("keyrevocations", "");
    all.into_iter().filter(|one| one["spec"]["key"] == key(name)).collect()
}

fn guard(scene: &Scene) -> Value {
    let guard = scene.cluster.get_json("segmentguard", NAMESPACE, "scoped-secrets").expect("a guard");
    guard["spec"].clone()
}

/// Deletes the KeyRevocations of its key: the Secret is back, and stays.
fn lift_early(scene: &Scene, name: &str) {
    for one in revocations(scene, name) {
        kubectl(scene, &["delete", "keyrevocation", one["metadata"]["name"].as_str().unwrap()]).unwrap();
    }
    eventually("it is back", SOON, || scene.is_projected(name));
}

/// Killed as soon as the annotation was seen, and the annotation taken off before another operator starts: what it asked for is
/// done all the same, and forgotten.
pub fn stripped_meanwhile(scene: &mut Scene) {
    let name = "stripped";
    let gate = scene.restart();
    (FLOW.begin)(scene, name);
    settles(&gate);
    gate.arm(0, Moment::After);
    (FLOW.trigger)(scene, name);
    assert!(gate.dies_within(Duration::from_secs(30)), "{:?}", gate.writes());
    assert!(gate.writes()[0].contains("/segmentguards/"), "it is written down first: {:?}", gate.writes());
    assert_eq!(revocations(scene, name).len(), 0);
    strip(scene, name);
    let gate = scene.restart();
    eventually("stripped: it ends", SOON, || (FLOW.ended)(scene, name));
    eventually("the turn is forgotten", SOON, || match &guard(scene)["revocations"][name] {
        Value::Null => Ok(()),
        other => Err(other.to_string()),
    });
    lift_early(scene, name);
    settles(&gate);
    assert_eq!(revocations(scene, name).len(), 0);
}

/// The platform team deletes the KeyRevocation while the annotation stands: it stays lifted, also after a restart, until the
/// annotation is set anew.
pub fn lifted_while_it_stands(scene: &mut Scene) {
    let name = "lifted";
    (FLOW.begin)(scene, name);
    (FLOW.trigger)(scene, name);
    eventually("annotated: it ends", SOON, || (FLOW.ended)(scene, name));
    lift_early(scene, name);
    let gate = scene.restart();
    settles(&gate);
    scene.is_projected(name).unwrap();
    assert_eq!(revocations(scene, name).len(), 0, "{:?}", gate.writes());

    strip(scene, name);
    (FLOW.trigger)(scene, name);
    eventually("annotated anew: it ends", SOON, || (FLOW.ended)(scene, name));
    strip(scene, name);
    settles(&gate);
    (FLOW.ended)(scene, name).expect("removing the annotation lifts nothing");
    lift_early(scene, name);
}

/// It is deleted and made anew as it is kept somewhere, with its annotation, once a newer value is there: that was revoked for the one
/// before. Taken off and set again it is another turn.
pub fn made_anew(scene: &mut Scene) {
    let name = "made-anew";
    let gate = scene.restart();
    (FLOW.begin)(scene, name);
    (FLOW.trigger)(scene, name);
    eventually("annotated: it ends", SOON, || (FLOW.ended)(scene, name));
    second_is_over(&revocations(scene, name)[0]);
    scene.stub.put(&key(name), Says::Text(format!("canary-{name}-newer-kX9mQ2vL8nR5wT3z")));
    kubectl(scene, &["delete", "scopedsecret", name, "-n", NAMESPACE]).unwrap();
    let spec = format!("data: [{{secretKey: value, remoteRef: {{key: {}}}}}]\n", key(name));
    let kept = scoped_secret(NAMESPACE, name, &spec);
    let noted = format!("name: {name}, annotations: {{scopedsecrets.io/revoke: \"true\"}},");
    apply(&scene.cluster, &kept.replacen(&format!("name: {name},"), &noted, 1));
    eventually("it is projected", SOON, || scene.is_projected(name));
    eventually("that is told", SOON, || match told(&scene.cluster, NAMESPACE, name) {
        all if all.contains_key("RevokedBefore") => Ok(()),
        all => Err(format!("{all:?}")),
    });
    settles(&gate);
    let gate = scene.restart();
    settles(&gate);
    scene.is_projected(name).unwrap();
    assert_eq!(revocations(scene, name).len(), 1, "{:?}", gate.writes());

    strip(scene, name);
    (FLOW.trigger)(scene, name);
    eventually("annotated anew: it goes", SOON, || scene.is_gone(name));
    assert_eq!(revocations(scene, name).len(), 2);
    lift_early(scene, name);
}

/// `dev` may change ScopedSecrets; `lead` may take `shared-one`'s keys from others, too.
const RIGHTS: &str = r#"
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: dev, namespace: payments-prod}
rules:
- {apiGroups: [scopedsecrets.io], resources: [scopedsecrets], verbs: [get, list, patch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: lead, namespace: payments-prod}
rules:
- {apiGroups: [scopedsecrets.io], resources: [scopedsecrets], resourceNames: [shared-one], verbs: [revoke]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: dev, namespace: payments-prod}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: dev}
subjects: [{kind: User, name: dev, apiGroup: rbac.authorization.k8s.io}, {kind: User, name: lead, apiGroup: rbac.authorization.k8s.io}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: lead, namespace: payments-prod}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: lead}
subjects: [{kind: User, name: lead, apiGroup: rbac.authorization.k8s.io}]
"#;

/// Of a key that others claim, too: only by who has the verb, and by nobody while nobody is asked.
pub fn others_lose_it(scene: &mut Scene) {
    apply(&scene.cluster, RIGHTS);
    let (one, two) = ("shared-one", "shared-two");
    scene.stores("shared");
    for name in [one, two] {
        let spec = format!("data: [{{secretKey: value, remoteRef: {{key: {}}}}}]\n", key("shared"));
        apply(&scene.cluster, &scoped_secret(NAMESPACE, name, &spec));
        eventually("it is projected", SOON, || scene.is_projected(name));
    }
    eventually("both are listed", SOON, || match &guard(scene)["shared"] {
        listed if *listed == serde_json::json!([one, two]) => Ok(()),
        other => Err(other.to_string()),
    });
    let listed = Instant::now();
    let as_user = |user: &str, name: &str, value: &str| {
        let note = format!("scopedsecrets.io/revoke={value}");
        kubectl(scene, &["annotate", "scopedsecret", name, "-n", NAMESPACE, &note, "--as", user])
    };
    eventually("it is the API server that asks", SOON, || match as_user("dev", one, "true") {
        Err(told) if told.contains("rule Revocations, RevocationNotAllowed") && told.contains("the verb revoke") => {
            Ok(())
        }
        other => Err(format!("{other:?}")),
    });
    let refused = as_user("lead", two, "true");
    assert!(refused.as_ref().is_err_and(|text| text.contains("\"shared-two\"")), "{refused:?}");
    let refused = as_user("lead", one, "yes");
    assert!(refused.as_ref().is_err_and(|text| text.contains("write scopedsecrets.io/revoke")), "{refused:?}");

    // Nor does what comes in the first seconds of the list count, whoever set it.
    eventually("the list has settled", SOON, || {
        (listed.elapsed() > Duration::from_secs(4)).then_some(()).ok_or("not yet")
    });
    // With the rule lifted nobody is asked, and nothing is revoked.
    let binding = ["get", "validatingadmissionpolicybinding", "revocations.scopedsecrets.io", "-o", "json"];
    let binding: Value = serde_json::from_str(&scene.cluster.submit(&binding, "").unwrap()).unwrap();
    lift(&scene.cluster, "revocations");
    eventually("nobody is asked", SOON, || as_user("dev", one, "true"));
    eventually("that is told", SOON, || match told(&scene.cluster, NAMESPACE, one) {
        all if all.contains_key("GuardMissing") => Ok(()),
        all => Err(format!("{all:?}")),
    });
    let again = serde_json::json!({
        "apiVersion": binding["apiVersion"], "kind": binding["kind"], "spec": binding["spec"],
        "metadata": {"name": binding["metadata"]["name"], "labels": binding["metadata"]["labels"]},
    });
    apply(&scene.cluster, &again.to_string());
    strip(scene, one);
    // Dry: what gets in before the API server asks again is not to be acted upon.
    let note = "scopedsecrets.io/revoke=true";
    let dry = ["annotate", "scopedsecret", one, "-n", NAMESPACE, note, "--as", "dev", "--dry-run=server"];
    eventually("it is asked again", SOON, || match scene.cluster.submit(&dry, "") {
        Err(told) if told.contains("RevocationNotAllowed") => Ok(()),
        other => Err(format!("{other:?}")),
    });
    for name in [one, two] {
        scene.is_projected(name).expect("nothing was revoked");
    }

    // What comes in the first seconds of a rule may have got past it, and is not acted upon.
    let rule =
        scene.cluster.get_json("validatingadmissionpolicybinding", None, "revocations.scopedsecrets.io").unwrap();
    let made: Timestamp = rule["metadata"]["creationTimestamp"].as_str().unwrap().parse().unwrap();
    eventually("the rule has settled", SOON, || {
        let settled = scene.clock.now() > made + SignedDuration::from_secs(4);
        settled.then_some(()).ok_or("not yet")
    });
    as_user("lead", one, "true").unwrap();
    for name in [one, two] {
        eventually("both lose it", SOON, || scene.is_gone(name));
        eventually("and say so", SOON, || scene.says(name, "Authorized", "False", "KeyRevoked"));
    }
    let made = revocations(scene, "shared");
    assert_eq!(made.len(), 1, "{made:?}");
    assert_eq!(made[0]["spec"]["reason"], "scopedsecrets.io/revoke on ScopedSecret payments-prod/shared-one");
}
