//! Approve what another user asked for: `kubectl scoped-secrets approve`, by `spec.approvedBy` of a SecretGrant.

use super::change::look::{self, kind, who_am_i};
use super::change::plan::Plan;
use super::change::wait::{Wait, condition};
use super::change::write::Write;
use super::change::{ChangeArgs, Talk, carry_out};
use super::cluster::{Failure, Seen};
use super::command::Surroundings;
use super::grant::{can_rotate, progress};
use super::names::read_name;
use super::report::Subject;
use crate::api::duration;
use jiff::Timestamp;
use kube::Api;
use kube::core::DynamicObject;
use serde_json::{Value, json};

/// Approve a SecretGrant that another user asked for.
///
/// It sets spec.approvedBy to your own user name, once, for which you need the verb patch on secretgrants and the verb approve on the
/// ScopedSecret. What is approved is what was shown: if the SecretGrant is another by then, nothing is written.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit code: 0 done, 1 not done in the end (--wait), or the answer was no, 2 error.

Examples:
  kubectl scoped-secrets approve orders-x7k2p -n payments-prod
  kubectl scoped-secrets approve orders-x7k2p -n payments-prod --yes --wait")]
pub struct Approve {
    /// The SecretGrant.
    #[arg(value_name = "GRANT", value_parser = read_name)]
    pub name: String,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub change: ChangeArgs,
}

/// Shows, asks, writes, waits.
pub async fn run(asked: &Approve, around: &Surroundings<'_>, talk: &mut Talk<'_>) -> Result<u8, Failure> {
    let cluster = asked.change.connect().await?;
    let grant = look::get(&cluster, &kind("SecretGrant"), &asked.name).await?;
    let grant = serde_json::to_value(&grant).unwrap_or_default();
    let about = grant.pointer("/spec/scopedSecretRef/name").and_then(Value::as_str).unwrap_or_default();
    let claims: Api<DynamicObject> =
        Api::namespaced_with(cluster.client.clone(), &cluster.namespace, &kind("ScopedSecret"));
    let claim = cluster.get(&claims, about).await?.map(|claim| serde_json::to_value(&claim).unwrap_or_default());
    let plan = plan(&grant, &claim, &who_am_i(&cluster).await?, (around.clock)())?;
    let name = asked.name.clone();
    let wait = |_: &[Value]| vec![Wait { kind: "SecretGrant", namespaced: true, name, judge: Box::new(progress) }];
    carry_out(&asked.change, &cluster, around, plan, wait, talk).await
}

/// What will happen, if this user approves it, given the ScopedSecret that it is for. Pure.
fn plan(grant: &Value, claim: &Seen<Value>, user: &str, now: Timestamp) -> Result<Plan, Failure> {
    let text = |path: &str| grant.pointer(path).and_then(Value::as_str).unwrap_or_default();
    let (namespace, name) = (text("/metadata/namespace"), text("/metadata/name"));
    let about = Subject::namespaced("SecretGrant", namespace, name);
    let refuse = |why: String| Err(Failure::Usage(format!("{about} {why}")));
    let (by, asks) = (text("/spec/approvedBy"), text("/spec/requestedBy"));
    if !by.is_empty() {
        return refuse(format!("was approved already, by {by}"));
    }
    if asks.is_empty() {
        return refuse("needs no approval: nobody asks for one in it (spec.requestedBy)".to_owned());
    }
    if asks == user {
        return refuse(format!("was asked for by you ({user}): another user approves it"));
    }
    if grant.pointer("/metadata/deletionTimestamp").is_some() {
        return refuse("is being deleted".to_owned());
    }
    if let Some((_, reason, message)) = over(grant) {
        return refuse(format!("gives nothing any more, approved or not ({reason}): {message}; have another created"));
    }
    let (kind, subject) = (text("/spec/subject/kind"), text("/spec/subject/name"));
    if kind == "User" && subject == user {
        return refuse(format!("is for you ({user}): another user approves it"));
    }
    let (secret, ttl) = (text("/spec/scopedSecretRef/name"), text("/spec/ttl"));
    if claim.is_absent() {
        return refuse(format!(
            "is for ScopedSecret {secret:?}, and there is none in namespace {namespace}: whoever made one of that name later would decide what it gives"
        ));
    }
    let rotates = grant.pointer("/spec/rotateAfter") == Some(&Value::Bool(true));
    if rotates && claim.get().is_some_and(|claim| !can_rotate(&claim["spec"])) {
        return refuse(format!(
            "has rotateAfter, and ScopedSecret {secret} has no spec.rotation, so that nothing can rotate it and no access is given: write one there first, or have another created without rotateAfter"
        ));
    }
    let mut notes = vec!["an approval cannot be taken back; deleting the SecretGrant takes the access back".to_owned()];
    if let Some((_, reason, message)) =
        claim.get().and_then(|claim| condition(claim, "Ready")).filter(|(status, ..)| *status != "True")
    {
        notes.push(format!("ScopedSecret {secret} has no Secret to be read now, and the time runs from the approval: [{reason}] {message}"));
    }
    let end = duration::parse(ttl).ok().and_then(|length| now.checked_add(length).ok());
    let until = end.map_or(String::new(), |end| format!(", until {end:.0}"));
    let mut happens = vec![
        format!("{kind} {subject} may read the Secret of ScopedSecret {secret}, and no other, for {ttl}{until}"),
        "at its end, or when the SecretGrant is deleted, the access is taken back".to_owned(),
    ];
    if rotates {
        happens.push("then the key is rotated, since somebody has seen the value".to_owned());
    }
    let patch = json!({
        "metadata": {"uid": text("/metadata/uid"), "resourceVersion": text("/metadata/resourceVersion")},
        "spec": {"approvedBy": user},
    });
    Ok(Plan {
        verb: "approve",
        facts: vec![
            ("asked by", asks.to_owned()),
            ("for", format!("{kind} {subject}")),
            ("secret", format!("that of ScopedSecret {secret}")),
            ("ttl", ttl.to_owned()),
            ("why", text("/spec/reason").to_owned()),
            ("approved by", format!("{user} (you)")),
        ],
        about,
        happens,
        notes,
        writes: vec![Write::Patch { kind: "SecretGrant", name: name.to_owned(), patch }],
        done: "SecretGrant {name} was approved".to_owned(),
    })
}

/// What its condition Ready says of one that has ended, or that cannot be honoured as it is written.
fn over(grant: &Value) -> Option<(&str, &str, &str)> {
    let (status, reason, message) = condition(grant, "Ready").filter(|(status, ..)| *status == "False")?;
    let ended = grant.pointer("/status/endTime").is_some();
    let stalled = condition(grant, "Stalled").is_some_and(|(status, ..)| status == "True");
    (ended || stalled).then_some((status, reason, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(change: impl FnOnce(&mut Value)) -> Value {
        let mut grant = json!({
            "metadata": {"name": "orders-x7k2p", "namespace": "payments-prod", "uid": "u", "resourceVersion": "7"},
            "spec": {"scopedSecretRef": {"name": "orders"}, "subject": {"kind": "User", "name": "ada@example.com"}, "ttl": "30m",
                "reason": "INC-123", "requestedBy": "ada@example.com", "rotateAfter": true},
        });
        change(&mut grant);
        grant
    }

    fn now() -> Timestamp {
        "2026-11-26T03:00:00Z".parse().unwrap()
    }

    #[test]
    fn what_is_approved_is_what_was_shown() {
        let made = plan(&grant(|_| ()), &Seen::There(ready("True")), "bob@example.com", now()).unwrap();
        let patch =
            json!({"metadata": {"uid": "u", "resourceVersion": "7"}, "spec": {"approvedBy": "bob@example.com"}});
        assert_eq!(made.writes, [Write::Patch { kind: "SecretGrant", name: "orders-x7k2p".into(), patch }]);
        assert!(made.happens[0].contains("ScopedSecret orders, and no other, for 30m, until 2026-11-26T03:30:00Z"));
        assert!(made.happens[2].contains("rotated"));
        assert!(made.facts.contains(&("why", "INC-123".into())));
    }

    fn ready(status: &str) -> Value {
        json!({"spec": {"rotation": {"strategy": "Provider"}}, "status": {"conditions": [{"type": "Ready", "status": status, "reason": "KeyClaimed", "message": "m"}]}})
    }

    #[test]
    fn the_scoped_secret_is_looked_at() {
        let made = |claim: &Seen<Value>| plan(&grant(|_| ()), claim, "bob@example.com", now());
        let refusal = made(&Seen::Absent).unwrap_err().to_string();
        assert!(
            refusal.contains("is for ScopedSecret \"orders\", and there is none in namespace payments-prod"),
            "{refusal}"
        );
        let notes = |claim: &Seen<Value>| made(claim).unwrap().notes;
        assert!(notes(&Seen::There(ready("False")))[1].contains("no Secret to be read now"));
        assert_eq!((notes(&Seen::There(ready("True"))).len(), notes(&Seen::Barred).len()), (1, 1));
    }

    #[test]
    fn nothing_is_approved_that_could_not_be_rotated() {
        let mut claim = ready("True");
        claim["spec"] = json!({"data": []});
        let made = |grant: &Value| plan(grant, &Seen::There(claim.clone()), "bob@example.com", now());
        let refusal = made(&grant(|_| ())).unwrap_err().to_string();
        assert!(refusal.contains("has rotateAfter, and ScopedSecret orders has no spec.rotation"), "{refusal}");
        assert!(made(&grant(|g| g["spec"]["rotateAfter"] = false.into())).is_ok());
    }

    #[test]
    fn who_asked_does_not_approve_and_nobody_approves_twice() {
        for (grant, user, part) in [
            (grant(|_| ()), "ada@example.com", "another user"),
            (grant(|g| g["spec"]["subject"]["name"] = "bob".into()), "bob", "is for you"),
            (grant(|g| g["spec"]["approvedBy"] = "carol".into()), "bob", "approved already, by carol"),
            (grant(|g| drop(g["spec"].as_object_mut().unwrap().remove("requestedBy"))), "bob", "needs no approval"),
            (
                grant(|g| {
                    let ready = json!({"type": "Ready", "status": "False", "reason": "KeyRevoked", "message": "m"});
                    g["status"] = json!({"endTime": "2026-11-26T03:00:00Z", "conditions": [ready]});
                }),
                "bob",
                "gives nothing any more, approved or not (KeyRevoked): m",
            ),
            (grant(|g| g["metadata"]["deletionTimestamp"] = "2026-11-26T03:00:00Z".into()), "bob", "being deleted"),
        ] {
            let refusal = plan(&grant, &Seen::There(ready("True")), user, now()).unwrap_err().to_string();
            assert!(
                refusal.starts_with("SecretGrant payments-prod/orders-x7k2p") && refusal.contains(part),
                "{refusal}"
            );
        }
    }
}
