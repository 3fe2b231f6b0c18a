//! How a breach is answered: by the mode, by reportOnly, by an exception; and nowhere but in governed namespaces.

use crate::support::oracle::all_is_well;
use crate::support::tenants::{POLICY, SOON, accepted, apply};
use crate::support::wait::eventually;
use crate::{DRY, Scene, env, pod, refusal, scene};
use serde_json::json;

/// What happens to a foreign pod.
#[derive(Debug, PartialEq)]
enum Answer {
    Refused,
    Warned,
    Recorded,
}

impl Scene {
    fn policy(&self, more: &str) {
        apply(&self.cluster, &accepted(&format!("{POLICY}{more}")));
    }

    /// Tries it in earnest, since a dry run is not in the audit log's annotations alone.
    fn answer(&self) -> Result<Answer, String> {
        let out = self.cluster.submit(&DRY, &pod("p", "thief", env("orders")).to_string());
        if refusal(&out).is_some() {
            return Ok(Answer::Refused);
        }
        out?;
        let file = self.cluster.dir.join("foreign-pod.json");
        std::fs::write(&file, pod("p", "thief", env("orders")).to_string()).unwrap();
        let out = self.cluster.kubectl(&["create", "--dry-run=server", "-f", file.to_str().unwrap()]);
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        match (out.status.success(), &*said) {
            (true, "") => Ok(Answer::Recorded),
            (true, warned) if warned.contains("Warning: ") && warned.contains("rule Consumers, ForeignConsumer: ") => {
                Ok(Answer::Warned)
            }
            // The guards' parameters changed in between.
            _ => Err(said),
        }
    }

    fn comes_to(&self, wanted: &Answer) {
        eventually(&format!("{wanted:?}"), SOON, || {
            let answer = self.answer()?;
            if answer == *wanted { Ok(()) } else { Err(format!("{answer:?}")) }
        });
    }
}

#[test]
fn a_breach_is_answered_as_the_policies_say() {
    let scene = scene();
    let targets = json!({"orders": ["orders"]});
    let (mode, consumers) = ("scopedsecrets.io/mode", "scopedsecrets.io/mode-consumers");
    let exception = |namespace: &str| {
        let end = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24);
        format!(
            "  exceptions: [{{rule: Consumers, namespaces: [{namespace}], reason: moving, expirationTime: \"{}\"}}]\n",
            end.strftime("%Y-%m-%dT%H:%M:%SZ")
        )
    };
    for (more, labels, answer) in [
        (String::new(), json!({mode: "Enforce"}), Answer::Refused),
        ("  mode: Warn\n".into(), json!({mode: "Warn"}), Answer::Warned),
        ("  mode: Audit\n".into(), json!({mode: "Audit"}), Answer::Recorded),
        ("  mode: Enforce\n".into(), json!({mode: "Enforce"}), Answer::Refused),
        ("  reportOnly: [Consumers]\n".into(), json!({mode: "Enforce", consumers: "Audit"}), Answer::Recorded),
        (
            "  reportOnly: [Replication]\n".into(),
            json!({mode: "Enforce", "scopedsecrets.io/mode-replication": "Audit"}),
            Answer::Refused,
        ),
        (exception("payments-prod"), json!({mode: "Enforce", consumers: "Audit"}), Answer::Recorded),
        (exception("payments-staging"), json!({mode: "Enforce"}), Answer::Refused),
    ] {
        scene.policy(&more);
        scene.guard_becomes(&labels, &targets);
        scene.comes_to(&answer);
    }
    // A second policy over the namespace: the strictest counts.
    scene.policy("  reportOnly: [Consumers]\n");
    scene.comes_to(&Answer::Recorded);
    let second = |mode: &str| POLICY.replace("name: tenants", "name: second") + &format!("  mode: {mode}\n");
    apply(&scene.cluster, &accepted(&second("Warn")));
    scene.guard_becomes(&json!({mode: "Enforce", consumers: "Warn"}), &targets);
    scene.comes_to(&Answer::Warned);
    apply(&scene.cluster, &accepted(&second("Enforce")));
    scene.guard_becomes(&json!({mode: "Enforce"}), &targets);
    scene.comes_to(&Answer::Refused);

    // An exception to these rules is for namespaces.
    let told = scene.cluster.apply(&format!("{POLICY}{}", exception("x").replace("namespaces: [x]", "keys: [a]")));
    assert!(told.as_ref().is_err_and(|text| text.contains("is for namespaces")), "{told:?}");
    all_is_well(&scene.cluster, &scene.operator);
}
