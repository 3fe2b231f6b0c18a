//! The design's table of status, each row with the status that the operator's own code computes.

use super::judge::{health, kstatus};
use super::situations::all;
use serde_json::Value;

#[test]
fn each_row_is_what_the_tools_must_make_of_it() {
    let rows = all();
    let objects: Vec<Value> = rows.iter().map(|row| row.object.clone()).collect();
    let mut wrong = Vec::new();
    for ((row, kstatus), health) in rows.iter().zip(kstatus(&objects)).zip(health(&objects)) {
        let name = format!("{} {}", row.kind(), row.name);
        if kstatus.status != row.kstatus {
            wrong.push(format!("{name}: kstatus says {kstatus:?}, and must say {}", row.kstatus));
        }
        let health = health.unwrap_or_else(|| panic!("no script for {name}"));
        if (health.status.as_str(), health.message.as_str()) != (row.health, row.message().as_str()) {
            wrong.push(format!("{name}: Argo CD says {health:?}, and must say {} {:?}", row.health, row.message()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// What the table promises in a sentence: a refusal fails at once, an outage turns nothing red.
#[test]
fn a_refusal_fails_and_an_outage_does_not() {
    for row in all() {
        let conditions = row.object["status"]["conditions"].as_array();
        let has =
            |kind: &str| conditions.is_some_and(|all| all.iter().any(|c| c["type"] == kind && c["status"] == "True"));
        assert_eq!(has("Stalled"), row.kstatus == "Failed", "{} {}", row.kind(), row.name);
        let ended = row.kind() == "SecretGrant" && has("Expired");
        assert_eq!(has("Stalled") && !ended, row.health == "Degraded", "{} {}", row.kind(), row.name);
        assert!(!row.name.contains("provider-down") || row.kstatus != "Failed", "{}", row.name);
    }
}

/// Objects that nobody waits for: their status is no verdict on them.
#[test]
fn what_the_operator_writes_itself_is_no_part_of_health() {
    let report = serde_json::json!({
        "apiVersion": "scopedsecrets.io/v1alpha1", "kind": "SegmentationReport", "metadata": {"name": "r", "generation": 1},
        "status": {"observedGeneration": 1, "conditions": [
            {"type": "Ready", "status": "True", "reason": "Reported", "message": ""},
            {"type": "Clean", "status": "False", "reason": "ViolationsFound", "message": ""},
        ]},
    });
    let guard = serde_json::json!({
        "apiVersion": "scopedsecrets.io/v1alpha1", "kind": "SegmentGuard", "metadata": {"name": "scoped-secrets"}, "spec": {},
    });
    let both = [report, guard];
    assert!(kstatus(&both).iter().all(|verdict| verdict.status == "Current"));
    assert_eq!(health(&both), [None, None]);
}
