//! A claim's end: its Secret goes then, whoever is away, and nothing else does.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod support;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use std::thread::sleep;
use std::time::{Duration, Instant};
use support::cluster::Cluster;
use support::operator::{Operator, install_unguarded};
use support::oracle::all_is_well;
use support::stub_manager::{Mood, Says, StubManager};
use support::tenants::*;
use support::wait::eventually;

const SPEC: &str = "data: [{secretKey: value, remoteRef: {key: payments/prod/NAME}}]\n";

struct Scene {
    cluster: Cluster,
    stub: StubManager,
}

impl Scene {
    /// Claims a key of its own for NAME, with these lines in its spec.
    fn yaml(&self, name: &str, more: &str) -> String {
        self.stub.put(&format!("payments/prod/{name}"), Says::Text(format!("canary-{name}-kX9mQ2vL8nR5wT3z")));
        scoped_secret("payments-prod", name, &format!("{}{more}", SPEC.replace("NAME", name)))
    }

    fn claim(&self, name: &str, more: &str) {
        apply(&self.cluster, &self.yaml(name, more));
        eventually("it is projected", SOON, || ready(&self.cluster, "scopedsecret", Some("payments-prod"), name));
    }

    fn secret(&self, name: &str) -> Option<Value> {
        self.cluster.get_json("secret", "payments-prod", name)
    }

    fn goes(&self, name: &str) {
        eventually(&format!("Secret {name} goes"), SOON, || self.secret(name).map_or(Ok(()), |_| Err("it stands")));
    }

    fn expired(&self, name: &str) {
        let object = becomes(&self.cluster, "payments-prod", name, "Expired", "True", "Expired");
        let is = |kind: &str| condition(&object, kind).map(|c| (c["status"].clone(), c["reason"].clone()));
        assert_eq!(is("Ready"), Some(("False".into(), "Expired".into())));
        assert_eq!(is("Stalled"), Some(("True".into(), "Expired".into())));
        assert_eq!(is("Reconciling"), None);
        assert!(self.secret(name).is_none());
        assert!(object["status"]["secretRef"].is_null(), "{}", object["status"]);
    }

    fn refused(&self, yaml: &str, says: &str) {
        let told = self.cluster.apply(yaml);
        assert!(told.as_ref().is_err_and(|text| text.contains(says)), "{told:?}\n{yaml}");
    }

    /// The reasons of the events about an object.
    fn told(&self, kind: &str, name: &str) -> Vec<String> {
        let all = self.cluster.list_json("events", "");
        let about = all.iter().filter(|e| e["involvedObject"]["kind"] == kind && e["involvedObject"]["name"] == name);
        about.map(|event| event["reason"].as_str().unwrap_or_default().to_owned()).collect()
    }
}

fn from_now(seconds: i64) -> String {
    let end = Timestamp::now() + SignedDuration::from_secs(seconds);
    format!("expirationTime: \"{}\"\n", end.strftime("%Y-%m-%dT%H:%M:%SZ"))
}

#[test]
fn a_claim_ends() {
    let scene = Scene { cluster: Cluster::start(), stub: StubManager::start() };
    let cluster = &scene.cluster;
    install_unguarded(cluster);
    let mut operator = Operator::start(cluster);
    set_up(cluster, &scene.stub.endpoint);

    // What cannot be is refused as it is written.
    for (more, says) in [
        ("ttl: 1h\nexpirationTime: \"2099-01-01T00:00:00Z\"\n".to_owned(), "not both"),
        ("ttl: 0s\n".to_owned(), "between 1s and 3650d"),
        ("ttl: 4000d\n".to_owned(), "between 1s and 3650d"),
        ("ttl: soon\n".to_owned(), "spec.ttl"),
        ("expirationTime: tomorrow\n".to_owned(), "expirationTime"),
        (from_now(-60), "rule Claims, InvalidEnd: "),
    ] {
        scene.refused(&scene.yaml("wrong", &more), says);
    }

    // One by its ttl, one at a time, one without an end.
    scene.claim("stays", "");
    scene.claim("short", "ttl: 20s\n");
    let end = from_now(22);
    scene.claim("given", &end);
    // Somebody's finalizer keeps one that is deleted before its end.
    scene.claim("held", "ttl: 20s\n");
    let keep = r#"{"metadata": {"finalizers": ["example.com/keep"]}}"#;
    for line in [&["patch", "--type=merge", "-p", keep][..], &["delete", "--wait=false"]] {
        let out = cluster.kubectl(&[line, &["scopedsecret", "held", "-n", "payments-prod"]].concat());
        assert!(out.status.success(), "{out:?}");
    }
    scene.claim("extended", "ttl: 20s\nrefreshInterval: 0s\n");
    // A later end needs no value: the manager is not asked.
    let asked = scene.stub.calls().len();
    apply(cluster, &scene.yaml("extended", "ttl: 12h\nrefreshInterval: 0s\n"));
    scene.refused(&scene.yaml("stays", &from_now(-1)), "rule Claims, InvalidEnd: ");
    for name in ["short", "given", "held"] {
        scene.expired(name);
    }
    let free = r#"{"metadata": {"finalizers": null}}"#;
    cluster.kubectl(&["patch", "--type=merge", "-p", free, "scopedsecret", "held", "-n", "payments-prod"]);
    assert_eq!(scene.stub.calls().len(), asked, "neither the new end nor the others cost a call");
    assert!(scene.secret("stays").is_some() && scene.secret("extended").is_some());
    for (kind, name) in [("ScopedSecret", "short"), ("ServiceAccount", "short")] {
        eventually("it was told ahead, and when it ended", SOON, || {
            let told = scene.told(kind, name);
            let count = |reason: &str| told.iter().filter(|t| *t == reason).count();
            let right = (count("ExpiresSoon"), count("Expired")) == (1, 1);
            if right { Ok(()) } else { Err(format!("{kind}: {told:?}")) }
        });
    }
    // Git applies it again, and may change something else in it; the key is free for another.
    apply(cluster, &scene.yaml("given", &end));
    apply(cluster, &scene.yaml("given", &format!("{end}refreshInterval: 2h\n")));
    scene.expired("given");
    let heir = scoped_secret("payments-prod", "heir", &SPEC.replace("NAME", "given"));
    apply(cluster, &heir);
    eventually("it is the heir's", SOON, || ready(cluster, "scopedsecret", Some("payments-prod"), "heir"));
    // A new end brings it back, where the key is still its own.
    apply(cluster, &scene.yaml("short", "ttl: 12h\n"));
    eventually("it is back", SOON, || ready(cluster, "scopedsecret", Some("payments-prod"), "short"));
    let back = cluster.get_json("scopedsecret", "payments-prod", "short").unwrap();
    assert!(condition(&back, "Expired").is_none(), "{}", back["status"]);
    eventually("the next end is told", SOON, || {
        let next = operator.metric("scoped_secrets_next_expiry_timestamp_seconds")?;
        let left = next - Timestamp::now().as_second() as f64;
        if (40_000.0..=43_200.0).contains(&left) { Ok(()) } else { Err(format!("in {left} s")) }
    });

    // One outlives its ScopedSecret: whoever uses it is told all the same.
    let retained = |more: &str| format!("{POLICY}  rules: {{allowRetain: true}}\n{more}");
    apply(cluster, &retained(""));
    let retain = |name: &str| {
        eventually("Retain is allowed", SOON, || {
            cluster.apply(&scene.yaml(name, "deletionPolicy: Retain\nttl: 25s\n"))
        });
        eventually("it is projected", SOON, || ready(cluster, "scopedsecret", Some("payments-prod"), name));
    };
    retain("kept");
    assert!(cluster.kubectl(&["delete", "scopedsecret", "kept", "-n", "payments-prod"]).status.success());
    assert!(scene.secret("kept").is_some(), "it has not ended yet");
    scene.goes("kept");
    eventually("its consumer is told", SOON, || {
        let told = scene.told("ServiceAccount", "kept");
        if told.iter().any(|reason| reason == "Expired") { Ok(()) } else { Err(format!("{told:?}")) }
    });

    // The operator is down at the end; one outlives its ScopedSecret.
    retain("retained");
    scene.claim("missed", "ttl: 14s\n");
    let out = cluster.kubectl(&["delete", "scopedsecret", "retained", "-n", "payments-prod"]);
    assert!(out.status.success());
    operator.terminate();
    sleep(Duration::from_secs(15));
    assert!(scene.secret("missed").is_some() && scene.secret("retained").is_some(), "nobody was there");
    // Nor is the manager, whose account is looked for first: no end waits for that, which takes ten seconds.
    scene.stub.set_mood(Mood::Hangs);
    operator = Operator::start(cluster);
    let started = Instant::now();
    scene.expired("missed");
    assert!(started.elapsed() < Duration::from_secs(8), "it waited for the manager: {:?}", started.elapsed());
    scene.goes("retained");
    scene.stub.set_mood(Mood::Well);

    // Nobody can tell what the policies say: what has ended goes all the same, and nothing else.
    scene.claim("late", "ttl: 15s\n");
    let crd = cluster.kubectl(&["delete", "crd", "segmentationpolicies.scopedsecrets.io", "--wait=false"]);
    assert!(crd.status.success());
    scene.goes("late");
    assert!(scene.secret("stays").is_some() && scene.secret("heir").is_some(), "an outage takes nothing");
    eventually("the kind is gone", SOON, || {
        let kind = cluster.get_json("crd", None, "segmentationpolicies.scopedsecrets.io");
        kind.map_or(Ok(()), |kind| Err(kind["status"].to_string()))
    });
    support::operator::install_unguarded(cluster);
    apply(cluster, &retained(""));
    eventually("the policy is back", SOON, || ready(cluster, "segmentationpolicy", None, "tenants"));
    scene.expired("late");
    all_is_well(cluster, &operator);
}
