//! A namespace with more consumers than its SegmentGuard has room for: who was first is served, who comes later is told, and what
//! narrows is always written.

use super::{VALUE, ok, scene};
use crate::support::oracle::all_is_well;
use crate::support::stub_manager::Says;
use crate::support::tenants::*;
use crate::support::wait::eventually;
use serde_json::json;

/// More than have room: the largest take 17 kB each.
const MANY: usize = 90;

#[test]
fn a_full_guard_serves_who_was_first_and_tells_the_others() {
    let scene = scene();
    let cluster = &scene.cluster;
    scene.stub.put("payments/prod/many", Says::Text(VALUE.into()));
    // All on one key of their own scope.
    let consumers = |length: usize| {
        let names = (0..32).map(|i| json!({"serviceAccountName": format!("{}{i:02}", "a".repeat(length - 2))}));
        names.collect::<Vec<_>>()
    };
    let claim = |i: usize, length: usize| {
        json!({
            "apiVersion": "scopedsecrets.io/v1alpha1", "kind": "ScopedSecret",
            "metadata": {"name": format!("many-{i}"), "namespace": "payments-prod"},
            "spec": {
                "storeRef": {"name": "aws"}, "consumers": consumers(length),
                "data": [{"secretKey": "value", "remoteRef": {"key": "payments/prod/many"}}],
            },
        })
    };
    let list =
        json!({"apiVersion": "v1", "kind": "List", "items": (0..MANY).map(|i| claim(i, 253)).collect::<Vec<_>>()});
    cluster.submit(&["create", "-f", "-"], &list.to_string()).unwrap();
    let standing = || {
        let all = cluster.list_json("scopedsecrets", "");
        let many =
            all.iter().filter(|claim| claim["metadata"]["name"].as_str().is_some_and(|n| n.starts_with("many-")));
        let reason = |kind: &str| {
            let of = |claim| condition(claim, kind).and_then(|c| c["reason"].as_str()).unwrap_or_default().to_owned();
            many.clone().map(of).collect::<Vec<_>>()
        };
        (reason("Ready"), reason("Synced"))
    };
    let (served, full) = eventually("each is served, or told", SOON * 3, || {
        let (ready, synced) = standing();
        let served = ready.iter().filter(|reason| *reason == "Ready").count();
        let full = synced.iter().filter(|reason| *reason == "GuardFull").count();
        if served + full == MANY && full > 0 { Ok((served, full)) } else { Err(format!("{ready:?} {synced:?}")) }
    });
    assert!(served > 50, "{served} of {MANY}, {full} are told");
    scene.project("beside");

    // Fewer consumers, or fewer of them, make room for those that wait.
    let shorter: Vec<_> = (0..MANY).map(|i| claim(i, 60)).collect();
    let list = json!({"apiVersion": "v1", "kind": "List", "items": shorter});
    // A status that is written between kubectl's read and its write is a conflict.
    eventually("they are shorter", SOON, || cluster.submit(&["replace", "-f", "-"], &list.to_string()));
    eventually("all are served", SOON * 3, || match standing().0.iter().filter(|reason| *reason != "Ready").count() {
        0 => Ok(()),
        late => Err(format!("{late} are not")),
    });
    let gone: Vec<String> = (0..MANY).map(|i| format!("many-{i}")).collect();
    let words = ["delete", "-n", "payments-prod", "scopedsecrets"].into_iter().chain(gone.iter().map(String::as_str));
    ok(cluster, &words.collect::<Vec<_>>());
    eventually("the guard names none of them", SOON, || match scene.guard() {
        Some(guard) if !guard["spec"]["targets"].to_string().contains("many-") => Ok(()),
        guard => Err(guard.map_or(0, |guard| guard.to_string().len())),
    });
    all_is_well(cluster, &scene.operator);
}
