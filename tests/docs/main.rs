//! What the documentation shows is what there is: its YAML, its links, its commands, and the words for what goes wrong.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod runbooks;

use scoped_secrets::api::Reason;
use scoped_secrets::cli::simulate::crd::Crds;
use scoped_secrets::yaml::{Node, compose, split};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// README and what is in docs/, with their texts; not the pages that are made from the code.
fn pages() -> Vec<(PathBuf, String)> {
    let mut paths = Vec::new();
    for page in [
        "README.md",
        "SECURITY.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "ARCHITECTURE.md",
        "charts/scoped-secrets/README.md",
    ] {
        paths.push(Path::new(ROOT).join(page));
    }
    for folder in ["docs", "docs/runbooks"] {
        let listed = fs::read_dir(Path::new(ROOT).join(folder)).unwrap().map(|entry| entry.unwrap().path());
        paths.extend(listed.filter(|path| path.extension().is_some_and(|extension| extension == "md")));
    }
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
}

/// The fenced blocks of a language, each with the line that it begins at.
fn blocks<'a>(text: &'a str, language: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut open: Option<(usize, &'a str, String)> = None;
    for (at, line) in text.lines().enumerate() {
        match (&mut open, line.trim_start().strip_prefix("```")) {
            (None, Some(named)) => open = Some((at + 2, named.trim(), String::new())),
            (Some(_), Some(_)) => {
                let (at, named, block) = open.take().unwrap();
                if named == language {
                    found.push((at, block));
                }
            }
            (Some((_, _, block)), None) => {
                block.push_str(line);
                block.push('\n');
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block is not closed");
    found
}

/// What a kind's CRD says of a whole object, or of a part of one: a part may leave out what is required.
fn breaches(crds: &Crds, kind: &str, node: &Node, whole: bool) -> Vec<String> {
    let found = crds.check(kind, node).into_iter();
    found.map(|breach| breach.message).filter(|said| whole || said.starts_with("unknown field")).collect()
}

#[test]
fn every_yaml_is_what_the_api_server_takes() {
    let crds = Crds::default();
    let (mut whole, mut parts) = (0, 0);
    for (path, text) in pages() {
        for (line, block) in blocks(&text, "yaml") {
            let place = format!("{}:{line}", path.display());
            for chunk in split(&block).unwrap_or_else(|fault| panic!("{place}: {}", fault.message)) {
                let composed = compose(chunk).unwrap_or_else(|fault| panic!("{place}: {}", fault.message));
                let Some(node) = composed else { continue };
                match node.text_at(&["kind"]) {
                    Some(kind) if crds.kinds().any(|known| known == kind) => {
                        assert_eq!(node.text_at(&["apiVersion"]), Some("scopedsecrets.io/v1alpha1"), "{place}");
                        assert_eq!(breaches(&crds, kind, &node, true), [] as [&str; 0], "{place}");
                        whole += 1;
                    }
                    // A part of a ScopedSecret or of a policy: no field that neither has.
                    None if node.get("spec").is_some() => {
                        let of = |kind: &str| breaches(&crds, kind, &node, false);
                        let (claim, policy) = (of("ScopedSecret"), of("SegmentationPolicy"));
                        assert!(claim.is_empty() || policy.is_empty(), "{place}: {claim:?} and {policy:?}");
                        parts += 1;
                    }
                    _ => {}
                }
            }
        }
        for (line, block) in blocks(&text, "json") {
            let read = serde_json::from_str::<serde_json::Value>(&block);
            assert!(read.is_ok(), "{}:{line}: {read:?}", path.display());
        }
    }
    assert!(whole >= 10 && parts >= 2, "{whole} and {parts}: the blocks are no longer found");
}

/// How GitHub names a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().to_lowercase();
    kept.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c)).map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn anchors(text: &str) -> BTreeSet<String> {
    text.lines().filter(|line| line.starts_with('#')).map(|line| anchor(line.trim_start_matches('#'))).collect()
}

#[test]
fn every_link_leads_somewhere() {
    let mut links = 0;
    for (path, text) in pages() {
        for target in text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target) {
            if target.starts_with("http") || target.starts_with("mailto:") {
                continue;
            }
            let (file, fragment) = target.split_once('#').unwrap_or((target, ""));
            let file = if file.is_empty() { path.clone() } else { path.parent().unwrap().join(file) };
            assert!(file.exists(), "{}: {target} is not there", path.display());
            if !fragment.is_empty() {
                let there = anchors(&fs::read_to_string(&file).unwrap());
                assert!(there.contains(fragment), "{}: {target}: no such heading", path.display());
            }
            links += 1;
        }
    }
    assert!(links > 100, "{links}: links are no longer found");
}

/// Each is asked for its help with the flags that the docs give it: a verb or a flag that is not there is an error.
#[test]
fn every_command_of_the_plugin_is_one() {
    let mut seen = BTreeSet::new();
    for (path, text) in pages() {
        for (line, block) in blocks(&text, "") {
            for command in block.lines().map(|line| line.trim_start_matches("$ ")) {
                let command = command.split(['#', '|', '>']).next().unwrap_or_default().trim();
                let Some(words) = command.strip_prefix("kubectl scoped-secrets ") else { continue };
                let words: Vec<&str> = words.split_whitespace().map(|word| word.trim_matches('"')).collect();
                let reason = words.iter().position(|word| *word == "--reason").map_or(words.len(), |at| at + 2);
                let asked = Command::new(env!("CARGO_BIN_EXE_kubectl-scoped_secrets"))
                    .args(&words[..reason.min(words.len())])
                    .arg("--help")
                    .output()
                    .unwrap();
                let said = String::from_utf8_lossy(&asked.stderr).into_owned();
                assert!(asked.status.success(), "{}:{line}: {command}: {said}", path.display());
                seen.insert(words[0].to_owned());
            }
        }
    }
    assert!(
        ["check", "audit", "why", "init", "simulate", "revoke"].iter().all(|verb| seen.contains(*verb)),
        "{seen:?}"
    );
}

/// The versions, without their `v`, that stand behind the name of our image or repository, in its line or in the next one.
fn named_versions(text: &str) -> Vec<&str> {
    let names_us = |part: &str| part.contains("scoped-secrets/scoped-secrets") || part.contains("REPOSITORY");
    let (mut found, mut before) = (Vec::new(), "");
    for line in text.lines() {
        for (at, _) in line.match_indices('v') {
            let rest = &line[at + 1..];
            let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
            let version = rest[..end].trim_end_matches('.');
            let is_whole = version.split('.').filter(|number| !number.is_empty()).count() == 3;
            if is_whole && (names_us(&line[..at]) || names_us(before)) {
                found.push(version);
            }
        }
        before = line;
    }
    found
}

/// Who follows the docs gets this version; and who makes a release is told of every file that names it.
#[test]
fn every_version_of_ours_is_this_one() {
    let read = |name: &str| fs::read_to_string(Path::new(ROOT).join(name)).unwrap();
    let mut texts: Vec<(String, String)> = [
        "action.yml",
        ".pre-commit-hooks.yaml",
        "deploy/base/deployment.yaml",
        "deploy/base/kustomization.yaml",
        "deploy/components/names/kustomization.yaml",
    ]
    .map(|name| (name.to_owned(), read(name)))
    .into();
    for (path, text) in pages() {
        let name = path.strip_prefix(ROOT).unwrap().display().to_string();
        // It is about all of them.
        if name != "CHANGELOG.md" {
            texts.push((name, text));
        }
    }
    let steps = read("docs/versions.md");
    let mut files = 0;
    for (name, text) in &texts {
        let versions = named_versions(text);
        assert!(versions.iter().all(|version| *version == env!("CARGO_PKG_VERSION")), "{name}: {versions:?}");
        if !versions.is_empty() {
            assert!(steps.contains(&format!("`{name}`")), "docs/versions.md does not list {name}");
            files += 1;
        }
    }
    assert!(files >= 8, "{files}: they are no longer found");
    let cases = [
        ("docker build -t REPOSITORY:v0.2.0 .", &["0.2.0"][..]),
        ("- repo: https://github.com/scoped-secrets/scoped-secrets\n  rev: v0.2.0.", &["0.2.0"]),
        ("uses: actions/checkout@v4.2.2\nimage: a", &[]),
        ("scoped-secrets/scoped-secrets@v0.2", &[]),
    ];
    for (text, expected) in cases {
        assert_eq!(named_versions(text), expected, "{text}");
    }
}

/// A word that looks like a reason and stands beside its like is one.
#[test]
fn the_threat_model_names_reasons_that_there_are() {
    let known: BTreeSet<&str> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    let text = fs::read_to_string(Path::new(ROOT).join("docs/threat-model.md")).unwrap();
    let rows = text.lines().filter(|line| line.starts_with("| ") && line.ends_with(" |"));
    let mut seen = 0;
    for row in rows.filter(|row| row.split('|').nth(1).is_some_and(|first| first.trim().parse::<u8>().is_ok())) {
        let last = row.trim_end_matches('|').rsplit('|').next().unwrap_or_default();
        for word in last.split(',').map(|word| word.trim().trim_matches('`')).filter(|word| !word.is_empty()) {
            assert!(known.contains(word), "{word}: {row}");
            seen += 1;
        }
    }
    assert!(seen > 25, "{seen}");
}
