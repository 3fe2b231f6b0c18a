//! A report as JSON, for scripts.
//!
//! Stable: fields may be added, none changes its meaning or goes.
//!
//! ```json
//! {
//!   "version": 1,
//!   "summary": {"objects": 4, "scopedSecrets": 1, "allowed": 0, "notJudged": 0, "errors": 1, "warnings": 0, "notes": 0},
//!   "findings": [{
//!     "severity": "error", "rule": "Claims", "reason": "KeyNotAllowed", "message": "...", "fix": "...",
//!     "file": "app.yaml", "line": 8, "column": 35,
//!     "object": {"kind": "ScopedSecret", "namespace": "billing-prod", "name": "orders"}
//!   }],
//!   "inputErrors": [{"file": "x.yaml", "line": 1, "column": 1, "message": "..."}]
//! }
//! ```
//! `severity` is error, warning or note. `fix` and `namespace` may be absent. With `inputErrors` nothing was judged.
//!
//! Of a live cluster: findings have no place in a file, `summary` only the three counts, and `passed` instead of
//! `inputErrors` lists in words what was looked at and is well.

use super::{Location, Report, Severity};
use serde_json::{Map, Value, json};

/// The report as one JSON object, with a line break at its end.
pub fn render(report: &Report) -> String {
    format!("{:#}\n", value(report))
}

/// The report as one JSON object.
pub fn value(report: &Report) -> Value {
    let findings = report.findings.iter().map(|finding| {
        let mut fields = finding.location.as_ref().map(located).unwrap_or_default();
        fields.insert("severity".into(), finding.severity.as_str().into());
        fields.insert("rule".into(), finding.rule.as_str().into());
        fields.insert("reason".into(), finding.reason.as_str().into());
        fields.insert("message".into(), finding.message.as_str().into());
        if let Some(fix) = &finding.fix {
            fields.insert("fix".into(), fix.as_str().into());
        }
        let subject = &finding.subject;
        let mut object = json!({"kind": subject.kind, "name": subject.name});
        if let Some(namespace) = &subject.namespace {
            object["namespace"] = namespace.as_str().into();
        }
        fields.insert("object".into(), object);
        Value::Object(fields)
    });
    let errors = report.input_errors.iter().map(|error| {
        let mut fields = located(&error.location);
        fields.insert("message".into(), error.message.as_str().into());
        Value::Object(fields)
    });
    let mut summary = json!({
        "errors": report.count(Severity::Error),
        "warnings": report.count(Severity::Warning),
        "notes": report.count(Severity::Note),
    });
    let mut whole = json!({"version": 1, "findings": findings.collect::<Vec<_>>()});
    match report.tally {
        Some(tally) => {
            summary["objects"] = tally.objects.into();
            summary["scopedSecrets"] = tally.scoped_secrets.into();
            summary["allowed"] = tally.allowed.into();
            summary["notJudged"] = tally.not_judged.into();
            whole["inputErrors"] = errors.collect();
        }
        None => whole["passed"] = json!(report.passed),
    }
    whole["summary"] = summary;
    whole
}

fn located(location: &Location) -> Map<String, Value> {
    let mut fields = Map::new();
    fields.insert("file".into(), (*location.file).into());
    fields.insert("line".into(), location.at.line.into());
    fields.insert("column".into(), location.at.column.into());
    fields
}
