//! Nothing leaks: values that a test planted are looked for wherever anybody but their Secret's readers could see them.

use std::fs;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

use super::cluster::Cluster;
use super::operator::Operator;

/// What every value of a story begins with, and no name does.
pub const CANARY: &str = "canary-";

/// Looks for each canary, in every encoding, in the logs of every operator of this cluster, in events, in our own kinds
/// (status and all), and in the metrics.
///
/// # Panics
/// With where one was found, its first bytes and the encoding; not with the canary's surroundings.
pub fn scan(cluster: &Cluster, operator: &Operator, canaries: &[&str]) {
    let needles: Vec<(String, String)> = canaries.iter().flat_map(|canary| encodings(canary)).collect();
    for (place, text) in places(cluster, operator) {
        for (encoding, needle) in &needles {
            let Some(at) = text.find(needle.as_str()) else { continue };
            let start = text[..at].rfind('\n').map_or(0, |i| i + 1);
            let line: String = text[start..].chars().take(400).collect();
            panic!("a value is shown, {encoding}, in {place}: {line}");
        }
    }
}

fn places(cluster: &Cluster, operator: &Operator) -> Vec<(String, String)> {
    let mut places = Vec::new();
    for entry in fs::read_dir(&cluster.dir).expect("the cluster's folder").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("operator-") && name.ends_with(".log") {
            places.push((name, String::from_utf8_lossy(&fs::read(entry.path()).unwrap_or_default()).into_owned()));
        }
    }
    assert!(!places.is_empty(), "no operator has logged here");
    for kinds in ["events", "events.events.k8s.io", "scopedsecrets,scopedsecretstores,segmentationpolicies"] {
        let out = cluster.kubectl(&["get", kinds, "-A", "-o", "yaml", "--show-managed-fields"]);
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        places.push((kinds.to_owned(), String::from_utf8_lossy(&out.stdout).into_owned()));
    }
    places.push(("/metrics".to_owned(), operator.probe("/metrics").expect("it serves metrics")));
    places
}

/// Every form in which a value may be shown, with the form's name.
pub fn encodings(canary: &str) -> Vec<(String, String)> {
    let bytes = canary.as_bytes();
    let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    let json = serde_json::to_string(canary).expect("a string");
    let percent = |lower: bool| -> String {
        let escaped = |b: &u8| match b {
            b if b.is_ascii_alphanumeric() || b"-_.~".contains(b) => char::from(*b).to_string(),
            b if lower => format!("%{b:02x}"),
            b => format!("%{b:02X}"),
        };
        bytes.iter().map(escaped).collect()
    };
    let mut forms = vec![
        ("plain".to_owned(), canary.to_owned()),
        ("JSON-escaped".to_owned(), json.trim_matches('"').to_owned()),
        ("debug-quoted".to_owned(), format!("{canary:?}").trim_matches('"').to_owned()),
        ("URL-escaped".to_owned(), percent(false)),
        ("URL-escaped".to_owned(), percent(true)),
        ("hex".to_owned(), hex.clone()),
        ("hex".to_owned(), hex.to_uppercase()),
    ];
    // However it is escaped, what needs no escape stays as it is.
    let runs = canary.split(|c: char| !c.is_ascii_alphanumeric());
    if let Some(run) = runs.max_by_key(|run| run.len()).filter(|run| run.len() >= 12) {
        forms.push(("in part".to_owned(), run.to_owned()));
    }
    for offset in 0..3 {
        for (name, engine) in [("base64", STANDARD_NO_PAD), ("base64url", URL_SAFE_NO_PAD)] {
            let text = engine.encode([&vec![0; offset], bytes].concat());
            // The digits that the neighbours have no part in.
            let (first, last) = ((offset * 8).div_ceil(6), (offset + bytes.len()) * 8 / 6);
            forms.push((format!("{name} at {offset}"), text[first..last].to_owned()));
        }
    }
    forms.sort();
    forms.dedup();
    forms
}
