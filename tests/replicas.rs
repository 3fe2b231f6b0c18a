//! Several replicas: each serves admission from a warm index, one writes, and whoever leads next goes on where the last one
//! ended, however that came about.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod support;

use serde_json::{Value, json};
use std::time::{Duration, Instant};
use support::cluster::Cluster;
use support::operator::{NAMESPACE, Operator, install};
use support::oracle::all_is_well;
use support::relay::Relay;
use support::stub_manager::{Mood, Says, StubManager};
use support::tenants::*;
use support::wait::eventually;
use support::webhook::{ask, ca_bundle, door};

/// As `Operator::launch` sets it.
const LEASE: Duration = Duration::from_secs(4);
const RETRY: Duration = Duration::from_secs(1);
/// How long one that is told to stop goes on.
const DELAY: Duration = Duration::from_secs(2);
/// For a busy machine.
const SLACK: Duration = Duration::from_secs(4);

fn ok(cluster: &Cluster, arguments: &[&str]) -> String {
    let out = cluster.kubectl(arguments);
    assert!(out.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).into_owned()
}

fn leads_within(operator: &Operator, limit: Duration) {
    let began = Instant::now();
    eventually("it leads", SOON, || operator.leads());
    assert!(began.elapsed() < limit, "after {:?}, not {limit:?}", began.elapsed());
}

/// The one that was told to stop let the lease go: nobody waits until it runs out.
fn handed_over(cluster: &Cluster, from: &std::path::Path) {
    let lease = cluster.get_json("lease", NAMESPACE, "scoped-secrets").expect("a lease");
    let holder = lease["spec"]["holderIdentity"].as_str().unwrap_or_default();
    let ended = from.file_stem().unwrap().to_string_lossy().into_owned();
    assert!(!holder.starts_with(&format!("{ended}_")), "{lease}");
}

fn claim(name: &str) -> String {
    let data = format!("data: [{{secretKey: value, remoteRef: {{key: payments/prod/{name}}}}}]");
    scoped_secret("payments-prod", name, &data)
}

/// Applies a new ScopedSecret, as soon as its review is answered, and waits for its Secret.
fn projects(cluster: &Cluster, stub: &StubManager, name: &str) {
    let value = format!("canary-{name}-kX9mQ2vL8nR5wT3z1pQ");
    stub.put(&format!("payments/prod/{name}"), Says::Text(value.clone()));
    eventually("it is reviewed and taken", SOON, || cluster.apply(&claim(name)));
    eventually(&format!("{name} is ready"), SOON, || ready(cluster, "scopedsecret", Some("payments-prod"), name));
    assert_eq!(secret_value(cluster, "payments-prod", name, "value"), Some(value));
}

/// The replica itself reviews, from an index that has seen the policy, with a certificate that the API server trusts.
fn reviews(cluster: &Cluster, operator: &Operator) {
    let spec = |key: &str| {
        json!({"storeRef": {"name": "aws"}, "consumers": [{"serviceAccountName": "asked"}],
               "data": [{"secretKey": "value", "remoteRef": {"key": key}}]})
    };
    eventually("it reviews", SOON, || {
        let (bundle, door) = (ca_bundle(cluster)?, door(cluster)?);
        ask(operator, &bundle, &door, "payments-prod", spec("payments/prod/new"))??;
        match ask(operator, &bundle, &door, "billing-prod", spec("payments/prod/new"))? {
            Err(refusal) if refusal.contains("KeyNotAllowed") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
}

/// Two replicas, of which the first leads and the second has these arguments, in a cluster with the tenants' policies.
fn two(arguments: &[&str]) -> (Cluster, StubManager, Operator, Operator) {
    let (cluster, stub) = (Cluster::start(), StubManager::start());
    install(&cluster);
    let first = Operator::start(&cluster);
    eventually("the first leads", SOON, || first.leads());
    let second = Operator::start_with(&cluster, arguments);
    set_up(&cluster, &stub.endpoint);
    (cluster, stub, first, second)
}

fn revisions(cluster: &Cluster) -> Vec<Value> {
    let secrets = ok(cluster, &["get", "secrets", "-n", "payments-prod", "-o", "json"]);
    let secrets: Value = serde_json::from_str(&secrets).unwrap();
    secrets["items"].as_array().unwrap().iter().map(|s| s["metadata"]["resourceVersion"].clone()).collect()
}

#[test]
fn one_writes_and_another_takes_over() {
    let (cluster, stub, first, second) = two(&["--shutdown-delay", "2s"]);
    reviews(&cluster, &first);
    reviews(&cluster, &second);

    let mark = cluster.audit_mark();
    for name in ["one", "two", "three"] {
        projects(&cluster, &stub, name);
        assert_eq!(stub.asked(&format!("payments/prod/{name}")), 1, "one replica asks");
    }
    let written = cluster.audit_since(mark).writes();
    assert!(!written.clone().credential(&first.credential).is_empty(), "the audit log tells replicas apart");
    // Whoever reviewed tells of what was refused.
    let others = written.credential(&second.credential).only(|request| request.resource != "events");
    assert!(others.is_empty(), "{others:?}");
    assert!(second.leads().is_err());

    // A crash: the lease runs out first.
    let shown = door(&cluster).unwrap();
    let before = revisions(&cluster);
    let mark = cluster.audit_mark();
    first.kill();
    leads_within(&second, LEASE + 2 * RETRY + SLACK);
    projects(&cluster, &stub, "after-a-crash");
    // What its watches may have missed is listed before anything is written.
    let asked = cluster.audit_since(mark).credential(&second.credential);
    for kind in ["scopedsecrets", "segmentguards", "keyrevocations", "segmentationpolicies", "secretgrants", "secrets"]
    {
        assert!(!asked.clone().resource(kind).verb("list").is_empty(), "{kind} were not listed anew");
    }
    let after = revisions(&cluster);
    assert_eq!(after.len(), before.len() + 1);
    assert!(before.iter().all(|revision| after.contains(revision)), "{before:?} and then {after:?}");

    // A rollout: the lease is handed over.
    let third = Operator::start(&cluster);
    reviews(&cluster, &third);
    // While API servers have not heard of it, the one that ends still answers.
    let (webhook, told) = (second.webhook.clone(), Instant::now());
    let closed = std::thread::spawn(move || {
        eventually("its door is closed", SOON, || match std::net::TcpStream::connect(&webhook) {
            Ok(_) => Err("open"),
            Err(_) => Ok(told.elapsed()),
        })
    });
    let log = second.log.clone();
    let took = second.terminate();
    handed_over(&cluster, &log);
    assert!(took < DELAY + Duration::from_secs(5), "{took:?}");
    let closed = closed.join().unwrap();
    assert!(closed >= DELAY, "{closed:?}");
    leads_within(&third, LEASE + 2 * RETRY + SLACK);
    projects(&cluster, &stub, "after-a-rollout");
    // What an outage may have shown of the webhook's path is worth nothing any more.
    eventually("the old door is closed", SOON, || match ask(&third, &ca_bundle(&cluster)?, &shown, "x", json!({})) {
        Err(said) if said.contains("404") => Ok(()),
        other => Err(format!("{other:?}")),
    });
    reviews(&cluster, &third);
    all_is_well(&cluster, &third);
}

/// What the one before has revoked, as an annotation that still stands asked for, and somebody has lifted since, stays lifted.
#[test]
fn who_takes_over_revokes_nothing_anew() {
    let (cluster, stub, first, second) = two(&[]);
    reviews(&cluster, &first);
    reviews(&cluster, &second);
    projects(&cluster, &stub, "leaked");
    let revocations = || ok(&cluster, &["get", "keyrevocations", "-o", "name"]);
    let annotate = ["annotate", "scopedsecret", "leaked", "-n", "payments-prod", "scopedsecrets.io/revoke=true"];
    ok(&cluster, &annotate);
    becomes(&cluster, "payments-prod", "leaked", "Ready", "False", "KeyRevoked");
    ok(&cluster, &["delete", "keyrevocations", "--all"]);
    becomes(&cluster, "payments-prod", "leaked", "Ready", "True", "Ready");
    let log = first.log.clone();
    first.terminate();
    handed_over(&cluster, &log);
    leads_within(&second, LEASE + 2 * RETRY + SLACK);
    // Each of them takes a look at the namespace's guard, by which it would begin.
    for name in ["after", "and-again"] {
        projects(&cluster, &stub, name);
    }
    assert_eq!(revocations(), "");
    becomes(&cluster, "payments-prod", "leaked", "Ready", "True", "Ready");
    // Taken off and set again it is another turn, whoever leads.
    ok(&cluster, &["annotate", "scopedsecret", "leaked", "-n", "payments-prod", "scopedsecrets.io/revoke-"]);
    ok(&cluster, &annotate);
    becomes(&cluster, "payments-prod", "leaked", "Ready", "False", "KeyRevoked");
    all_is_well(&cluster, &second);
}

/// A replica that was cut off for a while and leads before its watches are back knows the past: it lists all anew before it writes.
#[test]
fn who_was_cut_off_writes_nothing_by_what_it_knew() {
    let (cluster, stub) = (Cluster::start(), StubManager::start());
    install(&cluster);
    let first = Operator::start(&cluster);
    eventually("the first leads", SOON, || first.leads());
    let mut relay = None;
    let by = |address: &str| relay.insert(Relay::to(address)).address.clone();
    let second = Operator::start_by(by, &cluster, &[]);
    let relay = relay.expect("it was asked for");
    set_up(&cluster, &stub.endpoint);
    reviews(&cluster, &first);
    reviews(&cluster, &second);
    for name in ["leaked", "lifted"] {
        projects(&cluster, &stub, name);
    }
    relay.cut();
    for name in ["leaked", "lifted"] {
        let annotation = "scopedsecrets.io/revoke=true";
        eventually("it is reviewed by who is there", SOON, || {
            let out = cluster.kubectl(&["annotate", "scopedsecret", name, "-n", "payments-prod", annotation]);
            if out.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&out.stderr).into_owned()) }
        });
        becomes(&cluster, "payments-prod", name, "Ready", "False", "KeyRevoked");
    }
    let revocations = || {
        let names = ok(&cluster, &["get", "keyrevocations", "-o", "name"]);
        names.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let lifted = revocations().into_iter().find(|name| name.contains("lifted")).expect("it was created");
    ok(&cluster, &["delete", &lifted]);
    becomes(&cluster, "payments-prod", "lifted", "Ready", "True", "Ready");
    let stand = revocations();
    // Each attempt waits twice as long as the one before.
    eventually("its watches wait for long between two attempts", SOON * 2, || {
        let log = second.logged();
        let failed =
            log.lines().filter(|line| line.contains("a watch was interrupted") && line.contains("KeyRevocation"));
        match failed.count() {
            5.. => Ok(()),
            few => Err(few),
        }
    });
    let mark = cluster.audit_mark();
    first.terminate();
    relay.mend();
    leads_within(&second, 2 * LEASE + SLACK);
    projects(&cluster, &stub, "after");
    becomes(&cluster, "payments-prod", "leaked", "Ready", "False", "KeyRevoked");
    becomes(&cluster, "payments-prod", "lifted", "Ready", "True", "Ready");
    assert_eq!(revocations(), stand, "nothing is revoked anew");
    let written = cluster.audit_since(mark).credential(&second.credential).resource("secrets").writes();
    let names: Vec<_> = written.iter().map(|r| (r.verb.clone(), r.name.clone())).collect();
    assert!(names.iter().all(|(_, name)| name != "leaked" && name != "lifted"), "{names:?}");
    all_is_well(&cluster, &second);
}

#[test]
fn who_was_deposed_writes_nothing() {
    let (cluster, stub, first, second) = two(&[]);
    projects(&cluster, &stub, "stands");
    reviews(&cluster, &second);

    // The leader hangs in the middle of a fetch. The answer comes while it does.
    stub.put("payments/prod/held", Says::Text("canary-held-kX9mQ2vL8nR5wT3z1pQ".into()));
    stub.set_mood(Mood::Holds);
    apply(&cluster, &claim("held"));
    eventually("it is asked for", SOON, || {
        let asked = stub.arrivals().iter().any(|call| call.keys.iter().any(|key| key == "payments/prod/held"));
        if asked { Ok(()) } else { Err("not yet") }
    });
    first.freeze();
    stub.set_mood(Mood::Well);
    leads_within(&second, LEASE + 2 * RETRY + SLACK);
    let held = eventually("the next leader projects it", SOON, || {
        ready(&cluster, "scopedsecret", Some("payments-prod"), "held")
    });
    let (secret, mark) = (cluster.get_json("secret", "payments-prod", "held"), cluster.audit_mark());

    first.thaw();
    eventually("it knows that it leads no longer", SOON, || match first.leads() {
        Err(_) => first.metric("scoped_secrets_leader"),
        Ok(()) => Err("it still believes so".into()),
    });
    eventually("it has its answer", SOON, || {
        let metrics = first.probe("/metrics")?;
        // In time, or too late for who was frozen.
        let of = "scoped_secrets_provider_calls_total{operation=\"BatchGetSecretValue\",";
        let ended = metrics.lines().filter(|line| line.starts_with(of));
        let ended: f64 = ended.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum();
        if ended == 2.0 { Ok(()) } else { Err(metrics) }
    });
    reviews(&cluster, &first);
    projects(&cluster, &stub, "later");
    let written = cluster.audit_since(mark).credential(&first.credential).writes();
    let written = written.only(|request| request.resource != "events");
    assert!(written.is_empty(), "{written:?}");
    assert_eq!(cluster.get_json("secret", "payments-prod", "held"), secret);
    assert_eq!(cluster.get_json("scopedsecret", "payments-prod", "held").unwrap()["status"], held["status"]);

    // It is a follower like any other: it leads again when it is its turn.
    let log = second.log.clone();
    second.terminate();
    handed_over(&cluster, &log);
    leads_within(&first, LEASE + 2 * RETRY + SLACK);
    projects(&cluster, &stub, "again");
    all_is_well(&cluster, &first);
}

#[test]
fn certificates_of_both_are_trusted_and_kept_right() {
    let (cluster, stub) = (Cluster::start(), StubManager::start());
    install(&cluster);
    let replicas = [Operator::start(&cluster), Operator::start(&cluster)];
    set_up(&cluster, &stub.endpoint);
    replicas.iter().for_each(|replica| reviews(&cluster, replica));
    projects(&cluster, &stub, "before");

    // A wrong authority: nobody could be reached.
    let right = ca_bundle(&cluster).unwrap();
    let kubeconfig: Value = serde_json::from_str(&ok(&cluster, &["config", "view", "--raw", "-o", "json"])).unwrap();
    let strange = kubeconfig["clusters"][0]["cluster"]["certificate-authority-data"].as_str().unwrap();
    let put =
        |i: usize| json!({"op": "replace", "path": format!("/webhooks/{i}/clientConfig/caBundle"), "value": strange});
    let patch = json!([put(0), put(1)]).to_string();
    ok(&cluster, &["patch", "validatingwebhookconfiguration", "scoped-secrets", "--type=json", "-p", &patch]);
    eventually("the right authority is back", SOON, || match ca_bundle(&cluster)? {
        bundle if bundle == right => Ok(()),
        other => Err(other),
    });
    projects(&cluster, &stub, "after-a-wrong-authority");
    replicas.iter().for_each(|replica| reviews(&cluster, replica));

    // No certificate: a new one under a new authority, for both.
    ok(&cluster, &["delete", "secret", "scoped-secrets-webhook-tls", "-n", NAMESPACE]);
    eventually("another authority is trusted", SOON, || match ca_bundle(&cluster)? {
        bundle if bundle != right => Ok(()),
        _ => Err("still the old".to_owned()),
    });
    replicas.iter().for_each(|replica| reviews(&cluster, replica));
    for replica in &replicas {
        let old = ask(replica, &right, &door(&cluster).unwrap(), "payments-prod", json!({}));
        assert!(old.is_err(), "its old certificate is still served: {old:?}");
    }
    projects(&cluster, &stub, "after-a-new-certificate");
    all_is_well(&cluster, &replicas[0]);
}

#[test]
fn not_ready_before_caches_and_certificate_are_there() {
    let cluster = Cluster::start();
    install(&cluster);
    let excused = cluster.excuse_denials();
    let permissions = ["clusterrolebinding/scoped-secrets", "rolebinding/scoped-secrets"];
    for permission in permissions {
        ok(&cluster, &["delete", permission, "-n", NAMESPACE]);
    }
    ok(&cluster, &["delete", "crd", "segmentationpolicies.scopedsecrets.io"]);
    let operator = Operator::launch(&cluster, &[]);
    let waits = |for_what: &str| {
        eventually(&format!("it waits for {for_what}"), SOON * 2, || match operator.probe("/readyz") {
            Err(answer)
                if answer.starts_with("HTTP/1.1 503") && answer.contains(&format!("waiting for: {for_what}\n")) =>
            {
                Ok(())
            }
            other => Err(format!("{other:?}")),
        });
        operator.probe("/healthz").expect("it lives");
    };
    // It may do nothing.
    waits("caches, certificate, webhook entries");
    // It may, and lacks a kind.
    let deploy = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/base/");
    for file in ["rbac-cluster.yaml", "rbac-namespace.yaml"] {
        ok(&cluster, &["apply", "-f", &format!("{deploy}{file}")]);
    }
    waits("caches, webhook entries");
    install(&cluster);
    eventually("it is ready", SOON * 2, || operator.probe("/readyz"));
    drop(excused);
    let stub = StubManager::start();
    set_up(&cluster, &stub.endpoint);
    reviews(&cluster, &operator);
    projects(&cluster, &stub, "first");
    all_is_well(&cluster, &operator);
}
