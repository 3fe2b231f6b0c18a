//! A report as SARIF 2.1.0, for code-scanning services
//! (<https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html>).

use super::{Location, Report, Severity};
use crate::api::Reason;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The report as one SARIF log with one run, with a line break at its end.
pub fn render(report: &Report) -> String {
    let mut reasons: BTreeMap<Reason, (usize, Severity)> = BTreeMap::new();
    for finding in &report.findings {
        let worst = &mut reasons.entry(finding.reason).or_insert((0, finding.severity)).1;
        *worst = finding.severity.min(*worst);
    }
    for (index, (place, _)) in reasons.values_mut().enumerate() {
        *place = index;
    }
    let rules: Vec<Value> = reasons.iter().map(|(reason, (_, worst))| rule(*reason, *worst)).collect();
    let results: Vec<Value> = report
        .findings
        .iter()
        .map(|finding| {
            let subject = &finding.subject;
            let name = match &subject.namespace {
                Some(namespace) => format!("{}/{namespace}/{}", subject.kind, subject.name),
                None => format!("{}/{}", subject.kind, subject.name),
            };
            let text = match &finding.fix {
                Some(fix) => format!(
                    "{}\n{}: {fix}",
                    finding.message,
                    if finding.location.is_some() { "Write instead" } else { "To mend" }
                ),
                None => finding.message.clone(),
            };
            // An object of a cluster has no file.
            let mut location = finding.location.as_ref().map_or_else(|| json!({}), physical);
            location["logicalLocations"] = json!([{"fullyQualifiedName": name, "kind": "resource"}]);
            json!({
                "ruleId": finding.reason.as_str(),
                "ruleIndex": reasons.get(&finding.reason).map_or(0, |(index, _)| *index),
                "level": finding.severity.as_str(),
                "message": {"text": text},
                "locations": [location],
                "properties": {"rule": finding.rule.as_str()},
            })
        })
        .collect();
    let failures: Vec<Value> = report
        .input_errors
        .iter()
        .map(|e| json!({"level": "error", "message": {"text": e.message}, "locations": [physical(&e.location)]}))
        .collect();
    let log = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {"name": "scoped-secrets", "version": env!("CARGO_PKG_VERSION"), "rules": rules}},
            "columnKind": "unicodeCodePoints",
            "invocations": [{"executionSuccessful": failures.is_empty(), "toolExecutionNotifications": failures}],
            "results": results,
        }],
    });
    format!("{log:#}\n")
}

fn rule(reason: Reason, worst: Severity) -> Value {
    json!({
        "id": reason.as_str(),
        "shortDescription": {"text": reason.meaning()},
        "fullDescription": {"text": format!("{} Usual cause: {}", reason.meaning(), reason.cause())},
        "help": {"text": reason.fix()},
        "defaultConfiguration": {"level": worst.as_str()},
    })
}

fn physical(location: &Location) -> Value {
    json!({"physicalLocation": {
        "artifactLocation": {"uri": uri(&location.file)},
        "region": {"startLine": location.at.line, "startColumn": location.at.column},
    }})
}

/// A path as a URI reference: relative ones stay so, against the repository's root.
fn uri(path: &str) -> String {
    let path = path.replace('\\', "/");
    let path = path.strip_prefix("./").unwrap_or(&path);
    let mut out = String::from(if path.starts_with('/') { "file://" } else { "" });
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"/._-~+@,=".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::uri;

    #[test]
    fn a_path_becomes_a_uri() {
        for (path, expected) in [
            ("./deploy/a b.yaml", "deploy/a%20b.yaml"),
            ("/tmp/é.yaml", "file:///tmp/%C3%A9.yaml"),
            ("deploy\\a.yaml", "deploy/a.yaml"),
            ("a:b#c?.yaml", "a%3Ab%23c%3F.yaml"),
            ("../x/a.yaml", "../x/a.yaml"),
        ] {
            assert_eq!(uri(path), expected);
        }
    }
}
