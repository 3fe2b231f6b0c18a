//! Nothing leaks: values that a test planted are looked for wherever anybody but their Secret's readers could see them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

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
    let look = |place: &str, text: &str| {
        for (encoding, needle) in &needles {
            let Some(at) = text.find(needle.as_str()) else { continue };
            let start = text[..at].rfind('\n').map_or(0, |i| i + 1);
            let line: String = text[start..].chars().take(400).collect();
            panic!("a value is shown, {encoding}, in {place}: {line}");
        }
    };
    let mut logs = 0;
    for entry in fs::read_dir(&cluster.dir).expect("the cluster's folder").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("operator-") && name.ends_with(".log") {
            logs += 1;
            look(&name, &unread(&entry.path(), canaries));
        }
    }
    assert!(logs > 0, "no operator has logged here");
    for uri in PLACES {
        look(uri, &cluster.raw(uri).unwrap_or_else(|error| panic!("GET {uri}: {error}")));
    }
    look("/metrics", &operator.probe("/metrics").expect("it serves metrics"));
}

const PLACES: [&str; 9] = [
    "/api/v1/events",
    "/apis/events.k8s.io/v1/events",
    "/apis/scopedsecrets.io/v1alpha1/scopedsecrets",
    "/apis/scopedsecrets.io/v1alpha1/scopedsecretstores",
    "/apis/scopedsecrets.io/v1alpha1/segmentationpolicies",
    "/apis/scopedsecrets.io/v1alpha1/segmentationreports",
    "/apis/scopedsecrets.io/v1alpha1/segmentguards",
    "/apis/scopedsecrets.io/v1alpha1/keyrevocations",
    "/apis/scopedsecrets.io/v1alpha1/secretgrants",
];

/// The lines of a log in which these canaries were not looked for yet: a cluster that serves many stories has long logs.
fn unread(log: &Path, canaries: &[&str]) -> String {
    static READ: Mutex<BTreeMap<(PathBuf, String), usize>> = Mutex::new(BTreeMap::new());
    let bytes = fs::read(log).unwrap_or_default();
    let mut read = READ.lock().unwrap_or_else(PoisonError::into_inner);
    let before = read.entry((log.to_owned(), canaries.join("\n"))).or_default();
    let lines = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |end| end + 1);
    let from = std::mem::replace(before, lines);
    String::from_utf8_lossy(&bytes[from..]).into_owned()
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
