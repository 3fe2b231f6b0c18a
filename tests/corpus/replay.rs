//! The same request, again and again, while a policy allows and forbids it: each is answered by one of the two, and what is
//! forbidden in the end is not there, and is asked for no more.

use super::bed::{Bed, condition, is_current};
use super::scene::resource;
use crate::support::stub_manager::Says;
use crate::support::tenants::SOON;
use crate::support::wait::eventually;
use serde_json::{Value, json};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::scope;

const KEY: &str = "tidal/prod/contested";
const CLAIMS: &str = "/apis/scopedsecrets.io/v1alpha1/namespaces/tidal-prod/scopedsecrets";
const POLICY: &str = "/apis/scopedsecrets.io/v1alpha1/segmentationpolicies/tidal";

fn claim(name: &str) -> Value {
    json!({
        "apiVersion": "scopedsecrets.io/v1alpha1", "kind": "ScopedSecret", "metadata": {"name": name, "namespace": "tidal-prod"},
        "spec": {
            "storeRef": {"name": "aws"}, "consumers": [{"serviceAccountName": "default"}],
            "data": [{"secretKey": "value", "remoteRef": {"key": KEY}}],
        },
    })
}

/// Allows the key, or nothing; what that breaks is accepted, by another number each time.
fn decide(bed: &Bed, allowed: bool, turn: usize) {
    let keys = if allowed {
        json!([{"storeRef": {"name": "aws"}, "keys": ["${label:tenant}/${label:environment}/**"]}])
    } else {
        json!([])
    };
    let accepted = json!({"scopedsecrets.io/accept-violations": (100 + turn).to_string()});
    let patch = json!({"metadata": {"annotations": accepted}, "spec": {"allow": keys}});
    eventually("the policy is changed", SOON, || {
        let answer = bed.caller.admin("PATCH", POLICY, &patch);
        if answer.is_ok() { Ok(()) } else { Err(format!("{answer:?}")) }
    });
}

/// Ends the replaying, however the story ends.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What went otherwise.
pub fn during_a_policy_change(bed: &Bed) -> Vec<String> {
    bed.stub.put(KEY, Says::Text("canary-tidal-kX9mQ2vL8nR5wT3z1pQ".into()));
    let (version, _) = resource("SegmentationPolicy");
    bed.caller.make(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "tidal-prod", "labels": {"tenant": "tidal", "environment": "prod"}}}));
    bed.caller.make(&json!({
        "apiVersion": version, "kind": "SegmentationPolicy", "metadata": {"name": "tidal"},
        "spec": {"segment": {"labels": ["tenant", "environment"]}, "namespaceSelector": {"matchLabels": {"tenant": "tidal"}}, "allow": []},
    }));
    let (over, faults) = (AtomicBool::new(false), Mutex::new(vec![]));
    let taken = Mutex::new((0, 0));
    scope(|threads| {
        for who in ["one", "two"] {
            let (over, faults, taken) = (&over, &faults, &taken);
            threads.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    let answer = bed.caller.admin("POST", CLAIMS, &claim(who));
                    match answer.code {
                        201 => taken.lock().unwrap().0 += 1,
                        409 => {}
                        _ if answer.says("Claims", "KeyNotAllowed").is_some() => taken.lock().unwrap().1 += 1,
                        // Of a namespace that this replica has not seen yet.
                        _ if answer.says("Claims", "NoPolicy").is_some() => {}
                        _ => faults.lock().unwrap().push(format!("a replay: {answer:?}")),
                    }
                    bed.caller.admin("DELETE", &format!("{CLAIMS}/{who}"), &Value::Null);
                }
            });
        }
        let _ends = Ends(&over);
        for turn in 0..12 {
            let allowed = turn % 2 == 0;
            let count = || {
                let (yes, no) = *taken.lock().unwrap();
                if allowed { yes } else { no }
            };
            let before = count();
            decide(bed, allowed, turn);
            eventually("it is answered so", SOON, || {
                if count() > before { Ok(()) } else { Err(format!("allowed: {allowed}")) }
            });
        }
    });
    let faults = faults.into_inner().unwrap();
    let (allowed, refused) = taken.into_inner().unwrap();
    println!("Replayed: {allowed} were taken, {refused} refused");
    // One that got in at the last moment stays as a claim, and gets nothing.
    eventually("the claim is refused", SOON, || {
        let answer = bed.caller.admin("POST", CLAIMS, &claim("late"));
        bed.caller.admin("DELETE", &format!("{CLAIMS}/late"), &Value::Null);
        answer.says("Claims", "KeyNotAllowed").map(drop).ok_or(format!("{answer:?}"))
    });
    eventually("nothing of it is left", SOON * 3, || {
        let here = |object: &Value| object["metadata"]["namespace"] == "tidal-prod";
        let secrets: Vec<Value> = bed.caller.list("Secret").into_iter().filter(here).collect();
        let told =
            |claim: &Value| is_current(claim) && condition(claim, "Authorized").is_some_and(|c| c["status"] == "False");
        let open: Vec<Value> = bed.caller.list("ScopedSecret").into_iter().filter(|c| here(c) && !told(c)).collect();
        if secrets.is_empty() && open.is_empty() { Ok(()) } else { Err(format!("{secrets:?} {open:?}")) }
    });
    faults
}
