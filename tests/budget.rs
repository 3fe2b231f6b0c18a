//! What it costs, counted and not timed: API requests (by the audit log) and provider calls, for a first sync of 500, an
//! unchanged refresh, and a restart of the operator.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod support;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use support::cluster::Cluster;
use support::cluster_audit::Audit;
use support::emulator::Emulator;
use support::operator::{NAMESPACE, Operator, USER, install};
use support::oracle::all_is_well;
use support::tenants::*;
use support::wait::eventually;

const COUNT: usize = 500;
const LONG: Duration = Duration::from_secs(180);

/// The operator's requests, by verb and resource.
fn requests(audit: Audit) -> BTreeMap<String, usize> {
    let own = audit.user(USER);
    own.iter().fold(BTreeMap::new(), |mut all, r| {
        // Its own Secrets (the seal key, the webhook's certificate) are not tenants'.
        if r.resource == "secrets" && r.namespace == NAMESPACE {
            return all;
        }
        // A busy API server asked for it again later, and did nothing (priority and fairness).
        if r.code == 429 {
            return all;
        }
        let sub = if r.subresource.is_empty() { String::new() } else { format!("/{}", r.subresource) };
        *all.entry(format!("{} {}{sub}", r.verb, r.resource)).or_default() += 1;
        all
    })
}

fn provider_calls(aws: &Emulator) -> usize {
    aws.calls().iter().filter(|c| c.service == "secretsmanager").count()
}

/// The lease of every day: on a busy machine it does not change hands in the middle of a count.
const PATIENT: [&str; 4] = ["--lease-duration", "15s", "--lease-renew-deadline", "10s"];

fn all_ready(cluster: &Cluster) -> Result<(), String> {
    let out = cluster.kubectl(&[
        "get",
        "scopedsecrets",
        "-n",
        "payments-prod",
        "-o",
        "jsonpath={range .items[*]}{.status.conditions[?(@.type==\"Ready\")].status}{\"\\n\"}{end}",
    ]);
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let ready = text.lines().filter(|l| *l == "True").count();
    if ready == COUNT { Ok(()) } else { Err(format!("{ready} of {COUNT}")) }
}

#[test]
fn five_hundred_at_first_unchanged_and_after_a_restart() {
    let (cluster, aws) = (Cluster::start(), Emulator::start());
    install(&cluster);
    let operator = Operator::start_with(&cluster, &PATIENT);
    set_up(&cluster, &aws.endpoint);
    operator.terminate();

    let mut yaml = String::new();
    for i in 0..COUNT {
        aws.put(&format!("payments/prod/k{i}"), &format!("canary-{i}-kX9mQ2vL8nR5wT3z"));
        yaml.push_str("---\n");
        let spec =
            format!("refreshInterval: 1m\ndata: [{{secretKey: password, remoteRef: {{key: payments/prod/k{i}}}}}]");
        yaml.push_str(&scoped_secret("payments-prod", &format!("s{i}"), &spec));
    }
    // Applied while no operator runs, and without its webhook, so that all are new at once.
    let gone = cluster.kubectl(&["delete", "validatingwebhookconfiguration", "scoped-secrets"]);
    assert!(gone.status.success());
    apply(&cluster, &yaml);

    // First sync: 2 writes each, one of the SegmentGuard for all, no Secret read, 1/20 provider call.
    let (mark, before) = (cluster.audit_mark(), provider_calls(&aws));
    let began = Instant::now();
    let operator = Operator::start_with(&cluster, &PATIENT);
    eventually("all are ready", LONG, || all_ready(&cluster));
    let ticks = usize::try_from(began.elapsed().as_secs() / 20).unwrap();
    let counted = requests(cluster.audit_since(mark));
    let calls = provider_calls(&aws) - before;
    println!("first sync of {COUNT}: {calls} provider calls, {counted:?}");
    assert_eq!(counted.get("create secrets"), Some(&COUNT), "{counted:?}");
    assert_eq!(counted.get("update scopedsecrets/status"), Some(&COUNT), "{counted:?}");
    assert_eq!(of_guards(&counted), ["update segmentguards"], "{counted:?}");
    // Once a burst: a busy machine may make another one of the last.
    assert!(counted.get("update segmentguards").is_some_and(|writes| *writes <= 3), "{counted:?}");
    let pods = cluster.audit_since(mark).user(USER).resource("pods").namespace("payments-prod");
    assert!((1..=3).contains(&pods.len()), "one list of the namespace's pods for all: {pods:?}");
    let reports: usize = counted.iter().filter(|(k, _)| is_write_of_report(k)).map(|(_, n)| n).sum();
    assert!(reports <= 9, "three segments' reports, each made, written, and written after the first scan: {counted:?}");
    assert!(!counted.contains_key("get secrets") && !counted.contains_key("update secrets"), "{counted:?}");
    // None of the ScopedSecrets: each report tells that the webhook configuration is gone.
    assert!(counted.get("create events").is_none_or(|events| *events <= 3), "{counted:?}");
    // A tick in the middle of a slow sync refreshes who was first.
    assert!(calls <= COUNT / 20 + 10 + ticks * (COUNT / 60 + 2), "{calls} provider calls");

    // The scan lists Secrets, and is another's budget.
    eventually("the first scan is done", LONG, || {
        let at = operator.metric("scoped_secrets_scan_last_success_timestamp_seconds")?;
        if at > 0.0 { Ok(()) } else { Err("not yet".to_owned()) }
    });
    eventually("the reports say so", LONG, || {
        let times = "jsonpath={range .items[*]}{.status.lastScanTime}{\"\\n\"}{end}";
        let out = cluster.kubectl(&["get", "segmentationreports", "-o", times]);
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        if text.lines().filter(|line| !line.is_empty()).count() == 3 { Ok(()) } else { Err(text) }
    });

    // Unchanged refresh: no write, no Secret read, 1/20 provider call a refresh.
    let (mark, before) = (cluster.audit_mark(), provider_calls(&aws));
    eventually("every Secret was refreshed", LONG, || {
        let batches: usize =
            aws.calls().iter().skip(before).filter(|c| c.service == "secretsmanager").map(|c| c.keys.len()).sum();
        if batches >= COUNT { Ok(()) } else { Err(format!("{batches} keys asked")) }
    });
    let calls = provider_calls(&aws) - before;
    let counted = requests(cluster.audit_since(mark));
    println!("unchanged refresh: {calls} provider calls, {counted:?}");
    let touched: Vec<_> =
        counted.keys().filter(|k| (k.contains("secrets") || k.contains("events")) && !k.starts_with("watch")).collect();
    assert!(touched.is_empty() && of_guards(&counted).is_empty(), "{counted:?}");
    assert!(!counted.keys().any(|k| is_write_of_report(k)), "{counted:?}");
    assert!(calls <= COUNT / 20 + 10, "{calls} provider calls");

    // Restart: no write, no Secret read; no provider call before a refresh is due.
    operator.terminate();
    let (mark, before) = (cluster.audit_mark(), aws.calls().len());
    let operator = Operator::start_with(&cluster, &PATIENT);
    eventually("it leads", LONG, || {
        operator
            .probe("/metrics")
            .and_then(|m| if m.contains("scoped_secrets_leader 1") { Ok(()) } else { Err("not yet".into()) })
    });
    eventually("it has looked at all", LONG, || operator.probe("/metrics").and_then(|m| looked_at(&m)));
    let counted = requests(cluster.audit_since(mark));
    let keys: usize = aws.calls().iter().skip(before).map(|c| c.keys.len()).sum();
    println!("restart: {keys} keys asked, {counted:?}");
    let touched: Vec<_> = counted
        .keys()
        .filter(|k| ["secrets", "scopedsecrets/status", "events"].iter().any(|r| k.ends_with(r)))
        .filter(|k| !k.starts_with("watch") && !k.starts_with("list"))
        .collect();
    assert!(touched.is_empty() && of_guards(&counted).is_empty(), "{counted:?}");
    assert!(!counted.keys().any(|k| is_write_of_report(k) || k.ends_with(" pods")), "{counted:?}");
    all_is_well(&cluster, &operator);
}

fn is_write_of_report(request: &str) -> bool {
    request.contains(" segmentationreports") && !request.starts_with("watch") && !request.starts_with("list")
}

/// What was done with SegmentGuards beyond the one watch of them.
fn of_guards(counted: &BTreeMap<String, usize>) -> Vec<&str> {
    let guards = counted.keys().filter(|k| k.ends_with("segmentguards"));
    guards.filter(|k| !k.starts_with("watch") && !k.starts_with("list")).map(String::as_str).collect()
}

fn looked_at(metrics: &str) -> Result<(), String> {
    let line = metrics
        .lines()
        .find(|l| l.starts_with("scoped_secrets_reconcile_duration_seconds_count") && l.contains("\"Ready\""));
    let count = line.and_then(|l| l.rsplit(' ').next()).and_then(|n| n.parse::<f64>().ok()).unwrap_or(0.0);
    if count >= COUNT as f64 { Ok(()) } else { Err(format!("{count}")) }
}
