//! How a breach is answered: by the mode, by reportOnly, by readers and exceptions.

use crate::support::oracle::all_is_well;
use crate::support::tenants::{POLICY, SOON, accepted, apply};
use crate::support::wait::eventually;
use crate::{Scene, cluster_wide, everybody, scene, subject};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

#[derive(Debug, Clone, PartialEq)]
enum Answer {
    Refused,
    Warned,
    Recorded,
}

impl Scene {
    /// `Err` is what is no answer of the rule's: nobody could be asked in time, say.
    fn answer(&self, object: &Value) -> Result<Answer, String> {
        let file = self.cluster.dir.join("asked.json");
        std::fs::write(&file, object.to_string()).unwrap();
        let out = self.cluster.kubectl(&["create", "--dry-run=server", "-f", file.to_str().unwrap()]);
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        match (out.status.success(), said.contains("rule Rbac, ")) {
            (false, true) => Ok(Answer::Refused),
            (true, true) if said.contains("Warning: ") => Ok(Answer::Warned),
            (true, false) if said.is_empty() => Ok(Answer::Recorded),
            _ => Err(said),
        }
    }
}

fn exception(what: &str) -> String {
    let end = Timestamp::now() + SignedDuration::from_hours(24);
    let end = end.strftime("%Y-%m-%dT%H:%M:%SZ");
    format!("  exceptions: [{{rule: Rbac, {what}, reason: moving, expirationTime: \"{end}\"}}]\n")
}

#[test]
fn a_breach_is_answered_as_the_policies_say() {
    let scene = scene();
    use Answer::*;
    let inside = everybody("payments-prod", "edit");
    let wide = cluster_wide("wide", "edit", "ServiceAccount", "plain:backup");
    let mut account = inside.clone();
    account["subjects"] = json!([subject("ServiceAccount", "plain:backup")]);
    let readers = |all: &str| format!("  rules: {{readers: [{all}]}}\n");
    let backup = "{kind: ServiceAccount, name: \"plain:backup\"}";
    for (more, expected) in [
        (String::new(), [Refused, Refused, Refused]),
        ("  mode: Warn\n".into(), [Warned, Warned, Warned]),
        ("  mode: Audit\n".into(), [Recorded, Recorded, Recorded]),
        ("  reportOnly: [Rbac]\n".into(), [Recorded, Recorded, Recorded]),
        ("  reportOnly: [Replication]\n".into(), [Refused, Refused, Refused]),
        (readers(backup), [Refused, Recorded, Recorded]),
        (readers("{kind: Group, name: \"system:serviceaccounts:plain\"}"), [Refused, Recorded, Recorded]),
        (readers("{kind: User, name: \"system:serviceaccount:plain:backup\"}"), [Refused, Recorded, Recorded]),
        (readers("{kind: User, name: backup}"), [Refused, Refused, Refused]),
        (exception("namespaces: [payments-prod]"), [Recorded, Refused, Recorded]),
        (exception(&format!("subjects: [{backup}]")), [Refused, Recorded, Recorded]),
    ] {
        apply(&scene.cluster, &accepted(&format!("{POLICY}{more}")));
        eventually(&format!("{expected:?} under {more}"), SOON, || {
            let answers = [&inside, &wide, &account].map(|object| scene.answer(object));
            if answers == expected.clone().map(Ok) { Ok(()) } else { Err(format!("{answers:?}")) }
        });
    }
    // What is let through is an event of the object, where its owners see it; a dry run is none.
    apply(&scene.cluster, &format!("{POLICY}  mode: Audit\n"));
    eventually("a breach is told", SOON, || {
        let mut told = inside.clone();
        told["metadata"]["name"] = "let-through".into();
        scene.cluster.submit(&["apply", "-f", "-"], &told.to_string())?;
        let events = scene.cluster.list_json("events", "");
        // It is refused, and told so, until the policy has arrived.
        let refused = |event: &Value| event["message"].as_str().is_some_and(|text| text.starts_with("refused: "));
        let about = |event: &&Value| event["involvedObject"]["kind"] == "RoleBinding" && !refused(event);
        let told: Vec<&Value> = events.iter().filter(about).collect();
        let [event] = told[..] else { return Err(format!("{told:?}")) };
        let text = |path: &str| event.pointer(path).and_then(Value::as_str).unwrap_or_default();
        assert_eq!((text("/metadata/namespace"), text("/involvedObject/name")), ("payments-prod", "let-through"));
        assert_eq!((text("/type"), text("/reason")), ("Warning", "CrossSegmentAccess"));
        assert!(
            text("/message").contains("rule Rbac, CrossSegmentAccess (see docs/")
                && !text("/message").contains("billing")
        );
        Ok(())
    });
    let events = scene.cluster.list_json("events", "");
    // The control plane has its own there.
    let ours = |event: &&Value| event["message"].as_str().is_some_and(|text| text.starts_with("rule "));
    assert!(events.iter().filter(ours).all(|event| event["metadata"]["namespace"] != "default"), "{events:?}");
    // Every policy must name a reader, whosever namespaces it governs.
    apply(&scene.cluster, &accepted(&format!("{POLICY}{}", readers(backup))));
    let second = |more: &str| {
        let narrowed = POLICY.replace("name: tenants", "name: second").replace(
            "{matchExpressions: [{key: tenant, operator: Exists}, {key: environment, operator: Exists}]}",
            "{matchLabels: {tenant: billing}}",
        );
        format!("{narrowed}{more}")
    };
    for (more, expected) in [(String::new(), Refused), (readers(backup), Recorded), ("  mode: Audit\n".into(), Refused)]
    {
        apply(&scene.cluster, &accepted(&second(&more)));
        eventually(&format!("{expected:?} with a second under {more}"), SOON, || {
            let answer = scene.answer(&wide)?;
            if answer == expected { Ok(()) } else { Err(format!("{answer:?}")) }
        });
    }

    for (wrong, says) in [
        (readers("{kind: ServiceAccount, name: backup}"), "NAMESPACE:NAME"),
        (readers("{kind: Robot, name: x}"), "kind"),
        (exception("keys: [a]"), "is for namespaces or subjects"),
        (exception(&format!("subjects: [{backup}], namespaces: [a]")), "exactly one non-empty list"),
        (
            exception(&format!("subjects: [{backup}]")).replace("Rbac", "Consumers"),
            "only an exception to Rbac is for subjects",
        ),
    ] {
        let told = scene.cluster.apply(&format!("{POLICY}{wrong}"));
        assert!(told.as_ref().is_err_and(|text| text.contains(says)), "{wrong}: {told:?}");
    }
    all_is_well(&scene.cluster, &scene.operator);
}
