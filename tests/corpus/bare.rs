//! No admission object at all: what got past is refused, or put right, by the operator alone, and nobody is asked for the
//! value of a claim that is refused.

use super::admission::beside;
use super::bed::{Bed, by_name, condition, is_current, is_ready, keys_of, scene};
use super::case::{Case, Verb, Verdict};
use super::doors::Door;
use super::offline::{is_of_projection, is_of_rotation, once_there};
use super::scene::resource;
use super::words;
use crate::support::wait::{await_within, eventually};
use scoped_secrets::api::SHARED_SINCE_LABEL;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

/// How long reconcile may take on a busy machine.
const SOON: Duration = Duration::from_secs(90);

fn is_claim(case: &Case) -> bool {
    case.rule == "Claims" && case.step.kind == "ScopedSecret" && case.step.subresource.is_empty()
}

fn is_of_the_scene(case: &Case) -> bool {
    let place = case.step.namespace.as_deref().unwrap_or_default();
    scene().claims.contains_key(&format!("{place}/{}", case.step.name))
}

/// Whether a claim's keys may be asked for: what cannot be projected, or not rotated, is allowed to read.
fn may_read(case: &Case) -> bool {
    case.expect == Verdict::Allowed || case.reason().is_some_and(is_of_projection) || is_of_rotation(case)
}

/// Makes every claim of the corpus in earnest and waits for what its status says. The number of those.
/// First those that are refused, since others may have the same keys: while there are only they, nobody is asked for anything.
pub fn claims(bed: &Bed, cases: &[Case]) -> (usize, Vec<String>) {
    let new: Vec<&Case> = cases
        .iter()
        .filter(|c| is_claim(c) && !is_of_the_scene(c) && matches!(c.step.verb, Verb::Create | Verb::Apply))
        .collect();
    let (readers, refused): (Vec<&Case>, Vec<&Case>) = new.iter().copied().partition(|case| may_read(case));
    let firsts = cases.iter().flat_map(|case| &case.first);
    let may_be_asked: BTreeSet<String> =
        readers.iter().map(|case| &case.step).chain(firsts).flat_map(keys_of).map(|key| by_name(&key)).collect();
    let make = |case: &&Case| {
        let answer = bed.caller.ask_in_earnest(&case.step);
        if !answer.is_ok() {
            return vec![format!("Bare, {}: {answer:?}", case.title)];
        }
        let name = answer.body["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        told(bed, case, &name)
    };
    let before = bed.stub.arrivals().len();
    let asked_since =
        || -> BTreeSet<String> { bed.stub.arrivals()[before..].iter().flat_map(|call| call.keys.clone()).collect() };
    let mut faults = beside(&refused, make);
    let of_refused = asked_since();
    faults.extend(of_refused.iter().map(|key| format!("Bare: the manager was asked for {key:?} for a refused claim")));
    faults.extend(beside(&readers, make));
    let asked = asked_since();
    let stolen = asked.difference(&may_be_asked);
    faults.extend(stolen.map(|key| format!("Bare: the manager was asked for {key:?}, which no allowed claim names")));
    assert!(!asked.is_empty(), "allowed claims are fetched");
    (new.len(), faults)
}

/// Waits until the status says what the case says; what is wrong with it.
fn told(bed: &Bed, case: &Case, name: &str) -> Vec<String> {
    let namespace = case.step.namespace.as_deref();
    let look = || match bed.caller.live("ScopedSecret", namespace, name) {
        Some(claim) => status_fault(case, &claim)
            .map_or(Ok(Some(claim.clone())), |fault| Err(fault + &claim["status"].to_string())),
        // The garbage collector takes what says that its owner is gone.
        None if case.step.body.pointer("/metadata/ownerReferences").is_some() => Ok(None),
        None => Err("it is gone".to_owned()),
    };
    let mut faults = vec![];
    match await_within(SOON, look) {
        Ok(None) => {}
        Err(fault) => faults.push(fault),
        Ok(Some(claim)) => {
            let text = condition(&claim, "Ready").map_or("", |c| c["message"].as_str().unwrap_or_default());
            faults.extend(words::leaks(scene(), case, text));
            let target = claim.pointer("/spec/target/name").and_then(Value::as_str).unwrap_or(name);
            let there = bed.caller.live("Secret", namespace, target).is_some();
            // Who may not rotate keeps what he reads.
            if there != (case.expect == Verdict::Allowed || is_of_rotation(case)) {
                faults.push(format!("its Secret is there: {there}"));
            }
        }
    }
    faults.into_iter().map(|fault| format!("Bare, {}: {fault}", case.title)).collect()
}

fn status_fault(case: &Case, claim: &Value) -> Option<String> {
    let is = |kind: &str, status: &[&str], reason: Option<&str>| {
        let found = condition(claim, kind)?;
        let right =
            status.iter().any(|s| found["status"] == *s) && reason.is_none_or(|reason| found["reason"] == reason);
        right.then_some(())
    };
    let right = is_current(claim)
        && match case.reason() {
            None => is_ready(claim),
            Some(reason) if is_of_projection(reason) => {
                is("Ready", &["False"], Some(reason)).and(is("Authorized", &["True"], None)).is_some()
            }
            Some(reason) if is_of_rotation(case) => {
                is("Rotated", &["False"], Some(reason)).and(is("Authorized", &["True"], None)).is_some()
            }
            Some(reason) => is("Ready", &["False"], Some(once_there(reason)))
                .and(is("Authorized", &["False", "Unknown"], Some(once_there(reason))))
                .is_some(),
        };
    (!right).then(|| format!("its status does not say {:?}", case.reason()))
}

/// Edits of claims that are there, past admission: refused all the same, and what they had stays; then they are put back.
pub fn edits(bed: &Bed, cases: &[Case]) -> (usize, Vec<String>) {
    let refused = |case: &&Case| {
        is_claim(case) && is_of_the_scene(case) && case.reason().is_some_and(|reason| !is_of_projection(reason))
    };
    let edits: Vec<&Case> = cases.iter().filter(refused).filter(|case| case.step.verb != Verb::Delete).collect();
    let mut faults = vec![];
    for case in &edits {
        let (namespace, name) = (case.step.namespace.clone().unwrap_or_default(), &case.step.name);
        let full_name = format!("{namespace}/{name}");
        let secret = || bed.caller.live("Secret", Some(&namespace), name).map(|s| content(&s));
        let (had, asked) = (secret(), bed.stub.arrivals().len());
        let answer = bed.caller.ask_in_earnest(&case.step);
        if !answer.is_ok() {
            faults.push(format!("Bare, {}: {answer:?}", case.title));
            continue;
        }
        let look = || match bed.caller.live("ScopedSecret", Some(&namespace), name) {
            Some(claim) => status_fault(case, &claim).map_or(Ok(()), |fault| Err(fault + &claim.to_string())),
            None => Err("it is gone".to_owned()),
        };
        let mut found: Vec<String> = await_within(SOON, look).err().into_iter().collect();
        if secret() != had {
            found.push("its Secret is another".to_owned());
        }
        let keys = keys_of(&case.step);
        let calls = bed.stub.arrivals().split_off(asked);
        if calls.iter().any(|call| call.keys.iter().any(|key| keys.contains(key))) {
            found.push("the manager was asked".to_owned());
        }
        faults.extend(found.into_iter().map(|fault| format!("Bare, {}: {fault}", case.title)));
        restore(bed, &full_name);
    }
    (edits.len(), faults)
}

fn restore(bed: &Bed, full_name: &str) {
    let mut claim = scene().claim(full_name);
    let text = |path: &str| claim.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (namespace, name) = (text("/metadata/namespace"), text("/metadata/name"));
    let (version, plural) = resource("ScopedSecret");
    eventually(&format!("{full_name} is as it was"), SOON, || {
        let live = bed.caller.live("ScopedSecret", Some(&namespace), &name).ok_or("gone")?;
        claim["metadata"]["resourceVersion"] = live["metadata"]["resourceVersion"].clone();
        let path = format!("/apis/{version}/namespaces/{namespace}/{plural}/{name}");
        let put = bed.caller.admin("PUT", &path, &claim);
        if put.is_ok() { Ok(()) } else { Err(put.message().to_owned()) }
    });
    eventually(&format!("{full_name} is ready again"), SOON, || {
        let live = bed.caller.live("ScopedSecret", Some(&namespace), &name).ok_or("gone")?;
        if is_ready(&live) { Ok(()) } else { Err(live["status"].to_string()) }
    });
}

/// What of a Secret the operator answers for.
fn content(secret: &Value) -> Value {
    let metadata = &secret["metadata"];
    json!({
        "data": secret["data"], "type": secret["type"], "immutable": secret["immutable"],
        "label": metadata["labels"]["app.kubernetes.io/managed-by"], "owners": metadata["ownerReferences"],
        "sealed": metadata["annotations"]["scopedsecrets.io/seal"].is_string(), "finalizers": metadata["finalizers"],
    })
}

/// Nobody was asked who may give access: no grant of the corpus is honoured, not one that would be let in either.
pub fn grants(bed: &Bed, cases: &[Case]) -> (usize, Vec<String>) {
    let is_new = |case: &&Case| {
        case.rule == "Grants"
            && case.step.kind == "SecretGrant"
            && case.step.verb == Verb::Create
            && case.first.is_empty()
    };
    let new: Vec<&Case> = cases.iter().filter(is_new).collect();
    let faults = beside(&new, |case| {
        let answer = bed.caller.ask_in_earnest(&case.step);
        if !answer.is_ok() {
            return vec![format!("Bare, {}: {answer:?}", case.title)];
        }
        let (namespace, name) = (case.step.namespace.as_deref(), answer.body["metadata"]["name"].as_str());
        let name = name.unwrap_or_default();
        let told = await_within(SOON, || {
            let grant = bed.caller.live("SecretGrant", namespace, name).ok_or("it is gone")?;
            let ready = condition(&grant, "Ready").cloned().unwrap_or_default();
            let right = ready["status"] == "False" && ready["reason"] == "GuardMissing" && is_current(&grant);
            if right { Ok(()) } else { Err(grant["status"].to_string()) }
        });
        told.err().map(|fault| format!("Bare, {}: it is honoured: {fault}", case.title)).into_iter().collect()
    });
    let ours = |object: &Value| object["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "scoped-secrets";
    let lent = ["Role", "RoleBinding"].map(|kind| bed.caller.list(kind).into_iter().filter(ours).collect::<Vec<_>>());
    assert!(lent.iter().all(Vec::is_empty), "somebody may read: {lent:?}");
    for grant in bed.caller.list("SecretGrant") {
        let text = |field: &str| grant["metadata"][field].as_str().unwrap_or_default();
        taken_away(bed, "SecretGrant", Some(text("namespace")), text("name"));
    }
    (new.len(), faults)
}

/// Writes of managed Secrets and of SegmentGuards past the guard: put right. What only looks managed is left alone.
pub fn managed(bed: &Bed, cases: &[Case]) -> (usize, Vec<String>) {
    let kinds = ["Secret", "SegmentGuard"];
    let one = |case: &&Case| {
        case.rule == "ManagedSecrets"
            && kinds.contains(&case.step.kind.as_str())
            && case.step.namespace.as_deref() != Some("scoped-secrets")
            && matches!(case.expect, Verdict::Refused(_))
    };
    let cases: Vec<&Case> = cases.iter().filter(one).collect();
    let mut faults = vec![];
    for case in &cases {
        let faulty = if case.step.kind == "SegmentGuard" {
            guard_is_put_back(bed, case)
        } else {
            secret_is_put_right(bed, case)
        };
        let fault = faulty.err().map(|fault| format!("Bare, {}: {fault}", case.title));
        fault.iter().for_each(|fault| eprintln!("{fault}"));
        faults.extend(fault);
    }
    (cases.len(), faults)
}

fn secret_is_put_right(bed: &Bed, case: &Case) -> Result<(), String> {
    let namespace = case.step.namespace.as_deref().unwrap_or_default();
    let all = || -> Vec<(String, Value)> {
        let secrets = bed.caller.list("Secret").into_iter().filter(|s| s["metadata"]["namespace"] == namespace);
        secrets.map(|s| (s["metadata"]["name"].as_str().unwrap_or_default().to_owned(), content(&s))).collect()
    };
    let before = all();
    let answer = bed.caller.ask_in_earnest(&case.step);
    if !answer.is_ok() {
        return Err(format!("{} {}", answer.code, answer.message()));
    }
    let name = answer.body["metadata"]["name"].as_str().unwrap_or(&case.step.name);
    if case.reason() == Some("ReservedMetadata") {
        return forgery_is_left_alone(bed, case, namespace, name, before.iter().any(|(known, _)| known == name));
    }
    let now = content(&answer.body);
    let path = format!("/api/v1/namespaces/{namespace}/secrets/{name}");
    if answer.body["kind"] == "Secret"
        && [&now["label"], &now["owners"]].iter().all(|m| m.is_null())
        && now["sealed"] == false
    {
        // Nothing says any more that it was ours, so it is somebody's: not overwritten, and told.
        let told = || {
            let claim = bed.caller.live("ScopedSecret", Some(namespace), name).unwrap_or_default();
            let ready = condition(&claim, "Ready").cloned().unwrap_or_default();
            if ready["reason"] == "TargetConflict" { Ok(()) } else { Err(ready.to_string()) }
        };
        eventually("the claim says TargetConflict", SOON, told);
        bed.caller.admin("DELETE", &path, &Value::Null);
    }
    await_within(SOON, || {
        let now = all();
        let own = |(name, _): &&(String, Value)| scene().claims.contains_key(&format!("{namespace}/{name}"));
        let spoilt: Vec<_> = before.iter().filter(own).filter(|was| !now.contains(was)).collect();
        let now: Vec<_> = now.iter().filter(own).collect();
        if spoilt.is_empty() { Ok(()) } else { Err(format!("not put right: was {spoilt:?}, is {now:?}")) }
    })
}

/// What only looks managed is somebody's: the operator neither takes nor changes it. Here it makes room for the next.
fn forgery_is_left_alone(bed: &Bed, case: &Case, namespace: &str, name: &str, was_there: bool) -> Result<(), String> {
    let path = format!("/api/v1/namespaces/{namespace}/secrets/{name}");
    let own_reference = case.step.body.pointer("/metadata/ownerReferences").is_some() || case.step.from.is_some();
    let Some(live) = bed.caller.live("Secret", Some(namespace), name) else {
        // The garbage collector takes what says that its owner is gone.
        return if own_reference { Ok(()) } else { Err("it was taken away".to_owned()) };
    };
    if live["metadata"]["managedFields"].to_string().contains("\"scoped-secrets\"") && !own_reference {
        return Err(format!("the operator wrote it: {live}"));
    }
    let marks =
        json!({"labels": {"app.kubernetes.io/managed-by": null}, "annotations": {"scopedsecrets.io/seal": null}});
    let undone = if was_there {
        bed.caller.admin("PATCH", &path, &json!({"metadata": marks}))
    } else {
        bed.caller.admin("DELETE", &path, &Value::Null)
    };
    if undone.is_ok() || undone.code == 404 { Ok(()) } else { Err(format!("{undone:?}")) }
}

fn guard_is_put_back(bed: &Bed, case: &Case) -> Result<(), String> {
    let namespace = case.step.namespace.as_deref();
    let shape = |guard: &Value| {
        let mut labels = guard["metadata"]["labels"].clone();
        // One that is made anew begins anew to name who shares a key.
        let stays = |key: &str| key.starts_with("scopedsecrets.io/") && key != SHARED_SINCE_LABEL;
        labels.as_object_mut().into_iter().for_each(|l| l.retain(|key, _| stays(key)));
        // Targets of other cases come and go meanwhile.
        json!({"labels": labels, "orders": guard["spec"]["targets"]["orders"]})
    };
    let live = || bed.caller.live("SegmentGuard", namespace, "scoped-secrets").map(|guard| shape(&guard));
    let before = live();
    let answer = bed.caller.ask_in_earnest(&case.step);
    if !answer.is_ok() && answer.code != 409 {
        return Err(format!("{} {}", answer.code, answer.message()));
    }
    await_within(SOON, || match live() {
        now if now == before => Ok(()),
        now => Err(format!("not put back: was {before:?}, is {now:?}")),
    })
}

/// What got past admission and is not the operator's to undo is on a report, by the rule and the reason that the case says.
/// Then it is taken away again. A report lists a hundred, so this goes rule by rule, without the claims that were refused.
pub fn reported(bed: &Bed, cases: &[Case]) -> (usize, Vec<String>) {
    let full_name = |object: &Value| {
        let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
        (text("namespace"), text("name"))
    };
    for (namespace, name) in bed.caller.list("ScopedSecret").iter().map(full_name) {
        if !scene().claims.contains_key(&format!("{namespace}/{name}")) {
            taken_away(bed, "ScopedSecret", Some(&namespace), &name);
        }
    }
    let all: Vec<(&Case, &str)> = cases.iter().filter_map(|case| Some((case, Door::Bare.reports(case)?))).collect();
    let rounds = all.chunk_by(|(one, _), (next, _)| one.rule == next.rule);
    (all.len(), rounds.flat_map(|round| reported_of(bed, round)).collect())
}

fn reported_of(bed: &Bed, cases: &[(&Case, &str)]) -> Vec<String> {
    let mut faults = beside(cases, |(case, _)| {
        let answer = bed.caller.ask_in_earnest(&case.step);
        if answer.is_ok() { vec![] } else { vec![format!("Bare, {}: {answer:?}", case.title)] }
    });
    let missing = || -> Vec<String> {
        let reports = bed.caller.list("SegmentationReport");
        let told = reports.iter().filter_map(|report| report["status"]["violations"].as_array()).flatten();
        let told: Vec<&Value> = told.collect();
        let says = |case: &Case, reason: &str, violation: &Value| {
            let object = &violation["object"];
            violation["rule"] == *case.rule
                && violation["reason"] == reason
                && object["kind"] == *case.step.kind
                && object["name"] == *case.step.name
                && object["namespace"].as_str() == case.step.namespace.as_deref()
        };
        let absent = cases.iter().filter(|(case, reason)| !told.iter().any(|one| says(case, reason, one)));
        absent.map(|(case, reason)| format!("Bare, {}: no report says {reason}", case.title)).collect()
    };
    let looked = await_within(SOON * 2, || match missing() {
        none if none.is_empty() => Ok(()),
        some => Err(some),
    });
    faults.extend(looked.err().unwrap_or_default());
    for (case, _) in cases {
        taken_away(bed, &case.step.kind, case.step.namespace.as_deref(), &case.step.name);
    }
    faults
}

fn taken_away(bed: &Bed, kind: &str, namespace: Option<&str>, name: &str) {
    let answer = bed.caller.admin("DELETE", &super::caller::path(kind, namespace, name), &Value::Null);
    assert!(answer.is_ok() || answer.code == 404, "{kind} {name}: {answer:?}");
}
