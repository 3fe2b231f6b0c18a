//! The commands of the runbooks, which somebody types in the middle of the night: kinds, fields, reasons, log lines, metrics and
//! settings that they name are real, and what is a small language of its own (jsonpath, quotes, pipes) can be read.

use super::{ROOT, blocks, pages};
use clap::Args;
use scoped_secrets::api;
use scoped_secrets::api::condition::ConditionType;
use scoped_secrets::api::reason::Reason;
use scoped_secrets::operator::OperatorArgs;
use scoped_secrets::telemetry::metrics::catalogue;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Kubernetes' kinds that runbooks name.
const THEIRS: [&str; 7] =
    ["pods", "secret", "lease", "namespaces", "validatingwebhookconfiguration", "deployment", "deploy"];
/// Fields of every object, jq's own words, and an entry of the webhook's certificate.
const COMMON: [&str; 6] = ["metadata", "name", "namespace", "items", "tls", "crt"];
const PROGRAMS: [&str; 6] = ["kubectl", "grep", "head", "tail", "base64", "openssl"];

fn runbooks() -> Vec<(PathBuf, String)> {
    let runbooks: Vec<_> =
        pages().into_iter().filter(|(path, _)| path.parent().is_some_and(|p| p.ends_with("runbooks"))).collect();
    assert!(runbooks.len() > 10);
    runbooks
}

/// The words of a line as a shell reads them, `|` and `;` as words of their own; a comment is left out.
fn words(line: &str) -> Result<Vec<String>, String> {
    let (mut all, mut word, mut quote, mut begun) = (Vec::new(), String::new(), None, false);
    for letter in line.chars() {
        match (quote, letter) {
            (Some(open), _) if letter == open => quote = None,
            (Some(_), _) => word.push(letter),
            (None, '\'' | '"') => (quote, begun) = (Some(letter), true),
            (None, '#') if !begun => break,
            (None, ' ' | '|' | ';') => {
                if std::mem::take(&mut begun) {
                    all.push(std::mem::take(&mut word));
                }
                if letter != ' ' {
                    all.push(letter.to_string());
                }
            }
            (None, _) => {
                word.push(letter);
                begun = true;
            }
        }
    }
    if begun {
        all.push(word);
    }
    if quote.is_some() { Err("a quote is not closed".to_owned()) } else { Ok(all) }
}

/// Every name of our kinds, and every field of theirs at whatever depth.
struct Ours {
    names: BTreeSet<String>,
    fields: BTreeSet<String>,
}

impl Ours {
    fn read() -> Self {
        let mut ours = Self { names: BTreeSet::new(), fields: COMMON.map(str::to_owned).into() };
        for crd in api::crds() {
            let names = &crd.spec.names;
            ours.names.extend([names.plural.clone()].into_iter().chain(names.singular.clone()));
            ours.names.extend(names.short_names.iter().flatten().cloned());
            ours.take(&serde_json::to_value(&crd.spec.versions[0].schema).unwrap());
        }
        ours
    }

    fn take(&mut self, schema: &Value) {
        match schema {
            Value::Object(map) => {
                for (key, below) in map {
                    if let ("properties", Some(properties)) = (key.as_str(), below.as_object()) {
                        self.fields.extend(properties.keys().cloned());
                    }
                    self.take(below);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| self.take(item)),
            _ => {}
        }
    }
}

/// The fields that a program of jq or a jsonpath names, and what it compares with.
fn asked(program: &str) -> (Vec<&str>, Vec<&str>) {
    let (mut fields, mut compared) = (Vec::new(), Vec::new());
    for (at, piece) in program.split('"').enumerate() {
        let interpolated = piece.contains("\\(");
        if at % 2 == 0 || interpolated {
            let starts = piece.match_indices('.').map(|(at, _)| &piece[at + 1..]);
            let names = starts.map(|rest| &rest[..rest.find(|c: char| !c.is_alphanumeric()).unwrap_or(rest.len())]);
            fields.extend(names.filter(|name| !name.is_empty()));
        } else if piece.chars().all(char::is_alphabetic) {
            compared.push(piece);
        }
    }
    (fields, compared)
}

fn is_known(word: &str) -> bool {
    let status = ["True", "False", "Unknown"].contains(&word);
    status || Reason::from_text(word).is_some() || ConditionType::from_text(word).is_some()
}

/// What is wrong with one program and its arguments.
fn faults(command: &[String], ours: &Ours, logged: &str) -> Vec<String> {
    let arguments: Vec<&str> = command.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["jq", "-r", program] => of_program(program, ours),
        ["kubectl", "scoped-secrets", ..] => Vec::new(),
        ["kubectl", "get", "--raw", _, ..] => Vec::new(),
        ["kubectl", verb @ ("get" | "describe" | "annotate"), kinds, rest @ ..] => {
            let strange = kinds.split(',').filter(|kind| !THEIRS.contains(kind) && !ours.names.contains(*kind));
            let mut all: Vec<String> = strange.map(|kind| format!("{verb}: there is no kind {kind}")).collect();
            for path in rest.iter().filter_map(|argument| argument.strip_prefix("jsonpath=")) {
                all.extend(of_program(path, ours));
                // Whatever the object: a path that is none is refused.
                let program = std::env::var_os("KUBECTL").unwrap_or_else(|| "kubectl".into());
                let read = Command::new(program)
                    .args(["config", "view", "--kubeconfig", "/dev/null", "-o", &format!("jsonpath={path}")])
                    .output()
                    .unwrap();
                if !read.status.success() {
                    all.push(String::from_utf8_lossy(&read.stderr).into_owned());
                }
            }
            all
        }
        ["kubectl", "logs" | "rollout" | "apply", ..] => Vec::new(),
        ["grep", flags @ .., pattern] if !logged.is_empty() => {
            let (line, pattern) = (logged.to_lowercase(), pattern.to_lowercase());
            let found = line.lines().any(|line| line.contains(&pattern));
            if found { Vec::new() } else { vec![format!("{flags:?}: nothing is logged that says {pattern:?}")] }
        }
        [program, ..] if PROGRAMS.contains(program) => Vec::new(),
        other => vec![format!("this test does not know {other:?}")],
    }
}

fn of_program(program: &str, ours: &Ours) -> Vec<String> {
    let (fields, compared) = asked(program);
    let mut all: Vec<String> =
        fields.into_iter().filter(|f| !ours.fields.contains(*f)).map(|f| format!("no kind has a field {f}")).collect();
    all.extend(compared.into_iter().filter(|word| !is_known(word)).map(|word| format!("{word} is no reason")));
    for (open, close) in [('(', ')'), ('[', ']'), ('{', '}')] {
        if program.matches(open).count() != program.matches(close).count() {
            all.push(format!("{open} is not closed"));
        }
    }
    all
}

/// Every line of the code that logs.
fn logged() -> String {
    fn read(folder: &Path, text: &mut String) {
        for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            match entry.is_dir() {
                true => read(&entry, text),
                false => text.extend(
                    fs::read_to_string(&entry)
                        .unwrap()
                        .lines()
                        .filter(|line| line.contains("tracing::"))
                        .map(|l| format!("{l}\n")),
                ),
            }
        }
    }
    let mut text = String::new();
    read(&Path::new(ROOT).join("src"), &mut text);
    text
}

#[test]
fn every_command_of_a_runbook_can_be_typed() {
    let (ours, logged) = (Ours::read(), logged());
    let mut commands = 0;
    for (path, text) in runbooks() {
        for (at, block) in blocks(&text, "") {
            for line in block.lines() {
                let place = format!("{}:{at}: {line}", path.display());
                let words = words(line).unwrap_or_else(|fault| panic!("{place}: {fault}"));
                for chain in words.split(|word| word == ";") {
                    let of_logs = chain.starts_with(&["kubectl".to_owned(), "logs".to_owned()]);
                    for command in chain.split(|word| word == "|").filter(|command| !command.is_empty()) {
                        let faults = faults(command, &ours, if of_logs { &logged } else { "" });
                        assert!(faults.is_empty(), "{place}: {faults:?}");
                        commands += 1;
                    }
                }
            }
        }
    }
    assert!(commands > 30, "{commands}: they are no longer found");
}

#[test]
fn a_command_that_is_wrong_is_found() {
    let (ours, logged) = (Ours::read(), "tracing::warn!(\"a scan ended early\");");
    for (line, fault) in [
        ("kubectl get segreports", "no kind segreports"),
        ("kubectl get scs NAME -o jsonpath='{.status.condition}'", "no kind has a field condition"),
        ("kubectl get scs NAME -o jsonpath='{.status.conditions[?(@.type==\"Sync\")]}'", "Sync is no reason"),
        ("kubectl get scs NAME -o jsonpath='{.items'", "unclosed action"),
        ("jq -r '.items[] | select(.reason==\"Stuck\")'", "Stuck is no reason"),
        ("jq -r '.items[] | select(.reason'", "( is not closed"),
        ("grep \"ends early\"", "nothing is logged"),
        ("yq .items", "does not know"),
    ] {
        let found = faults(&words(line).unwrap(), &ours, logged);
        assert!(found.iter().any(|found| found.contains(fault)), "{line}: {found:?}");
    }
    assert!(words("kubectl get 'a").is_err());
    assert_eq!(words("a 'b | c'; d|e # f").unwrap(), ["a", "b | c", ";", "d", "|", "e"]);
}

/// Metrics in all pages; flags and values of the chart in the runbooks.
#[test]
fn metrics_flags_and_values_are_there() {
    let known = catalogue();
    let is_metric = |name: &str| {
        let ends = ["", "_bucket", "_sum", "_count"];
        known.iter().any(|one| ends.iter().any(|end| name == format!("{}{end}", one.name)))
    };
    let mut metrics = 0;
    for (path, text) in pages() {
        for (at, _) in text.match_indices("scoped_secrets_") {
            let rest = &text[at..];
            let name = &rest[..rest.find(|c: char| !(c.is_ascii_lowercase() || c == '_')).unwrap_or(rest.len())];
            // A word for all of them.
            let begins = name.ends_with('_');
            assert!(begins || is_metric(name), "{}: nobody serves {name}", path.display());
            metrics += usize::from(!begins);
        }
    }
    assert!(metrics > 10, "{metrics}");

    let operator = OperatorArgs::augment_args(clap::Command::new("scoped-secrets"));
    let flags: BTreeSet<&str> = operator.get_arguments().filter_map(|argument| argument.get_long()).collect();
    let values: Value =
        serde_saphyr::from_str(&fs::read_to_string(Path::new(ROOT).join("charts/scoped-secrets/values.yaml")).unwrap())
            .unwrap();
    let mut settings = 0;
    for (path, text) in runbooks() {
        for word in text.split('`').skip(1).step_by(2) {
            let word = word.split([' ', '=']).next().unwrap_or_default();
            if let Some(flag) = word.strip_prefix("--") {
                assert!(flags.contains(flag), "{}: there is no flag --{flag}", path.display());
            } else if let (true, Some((group, _))) =
                (word.chars().all(|c| c.is_alphabetic() || c == '.'), word.split_once('.'))
                && group != "spec"
            {
                let pointer: String = word.split('.').map(|part| format!("/{part}")).collect();
                assert!(values.pointer(&pointer).is_some(), "{}: the chart has no value {word}", path.display());
            } else {
                continue;
            }
            settings += 1;
        }
    }
    assert!(settings > 5, "{settings}");
}
