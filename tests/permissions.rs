//! Whatever the operator's roles give is used: by the API server's audit logs of all stories, which end before this begins.
//! `tests/stories` (and so `make test`) runs it last; `cargo test` alone leaves it out, since it knows of no whole run.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod support;

use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;
use support::permissions::{NOTES, Place, Used};

/// What may be unused, and why. A line that is used, or that no role gives, is one too many.
const EXCUSED: [(&str, &str, &str); 0] = [];

/// The roles of an installation with every feature; `tests/install` holds the chart's against them.
const ROLES: [&str; 3] =
    ["deploy/base/rbac-cluster.yaml", "deploy/base/rbac-namespace.yaml", "deploy/components/restart/rbac.yaml"];

/// One thing that a role gives.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Given {
    role: String,
    verb: String,
    resource: String,
    /// By a Role: in the operator's namespace alone.
    own: bool,
}

fn given(roles: &[Value]) -> Vec<Given> {
    let words = |list: &Value| -> Vec<String> {
        list.as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect()
    };
    let mut all = Vec::new();
    for role in roles {
        let kind = role["kind"].as_str().unwrap();
        let name = format!("{kind} {}", role["metadata"]["name"].as_str().unwrap());
        for rule in role["rules"].as_array().into_iter().flatten() {
            for group in words(&rule["apiGroups"]) {
                for resource in words(&rule["resources"]) {
                    all.extend(words(&rule["verbs"]).into_iter().map(|verb| Given {
                        role: name.clone(),
                        verb,
                        resource: format!("{group}/{resource}"),
                        own: kind == "Role",
                    }));
                }
            }
        }
    }
    all
}

/// What is given and was not used. What was asked for in the operator's namespace needs no ClusterRole where its Role gives it.
fn unused<'a>(given: &'a [Given], used: &BTreeSet<Used>) -> Vec<&'a Given> {
    let asked = |one: &Given, place: Place| {
        used.contains(&Used { verb: one.verb.clone(), resource: one.resource.clone(), place })
    };
    let by_role = |one: &Given| given.iter().any(|g| g.own && (&g.verb, &g.resource) == (&one.verb, &one.resource));
    let is_used = |one: &&Given| match one.own {
        true => asked(one, Place::Own),
        false => asked(one, Place::Elsewhere) || (asked(one, Place::Own) && !by_role(one)),
    };
    given.iter().filter(|one| !is_used(one)).collect()
}

/// What is wrong: unused without an excuse, or excused without need.
fn faults(given: &[Given], used: &BTreeSet<Used>, excused: &[(&str, &str, &str)]) -> Vec<String> {
    let unused = unused(given, used);
    let is = |one: &Given, verb: &str, resource: &str| (one.verb.as_str(), one.resource.as_str()) == (verb, resource);
    let excess = unused.iter().filter(|one| !excused.iter().any(|(verb, resource, _)| is(one, verb, resource)));
    let excess = excess.map(|one| format!("{} gives {} on {}, which no story uses", one.role, one.verb, one.resource));
    let idle = excused.iter().filter(|(verb, resource, _)| !unused.iter().any(|one| is(one, verb, resource)));
    excess.chain(idle.map(|(verb, resource, _)| format!("{verb} on {resource} needs no excuse"))).collect()
}

#[test]
fn every_permission_is_used_by_some_story() {
    let folder = std::env::var(NOTES).unwrap_or_else(|_| {
        panic!("{NOTES} names no folder: tests/stories sets it, runs every story, and then this; see `make test`")
    });
    let notes: Vec<_> =
        std::fs::read_dir(&folder).expect("tests/stories made it").map(|note| note.unwrap().path()).collect();
    let mut used = BTreeSet::new();
    for note in &notes {
        let text = std::fs::read_to_string(note).unwrap();
        used.extend(text.lines().map(|line| Used::read(line).unwrap_or_else(|| panic!("{}: {line}", note.display()))));
    }
    let mut roles = Vec::new();
    for file in ROLES {
        let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
        let all: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
        roles.extend(all.into_iter().filter(|object| object["rules"].is_array()));
    }
    let faults = faults(&given(&roles), &used, &EXCUSED);
    assert!(faults.is_empty(), "by the notes of {} operators: {faults:#?}", notes.len());
}

#[test]
fn what_is_not_used_is_found() {
    let role = |kind: &str, verbs: &[&str]| serde_json::json!({"kind": kind, "metadata": {"name": "r"}, "rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": verbs}]});
    let given = given(&[role("ClusterRole", &["get", "list"]), role("Role", &["get"])]);
    let used = |lines: &[&str]| lines.iter().map(|line| Used::read(line).unwrap()).collect::<BTreeSet<_>>();
    let says = |lines: &[&str], excused: &[(&str, &str, &str)]| faults(&given, &used(lines), excused);
    let no_story = |role: &str, verb: &str| format!("{role} r gives {verb} on /secrets, which no story uses");
    assert_eq!(says(&["get /secrets Own", "get /secrets Elsewhere", "list /secrets Own"], &[]), [""; 0]);
    // The Role is enough for that.
    assert_eq!(says(&["get /secrets Own", "list /secrets Own"], &[]), [no_story("ClusterRole", "get")]);
    assert_eq!(says(&["get /secrets Elsewhere", "list /secrets Elsewhere"], &[]), [no_story("Role", "get")]);
    let list = [("list", "/secrets", "why")];
    assert_eq!(says(&["get /secrets Own", "get /secrets Elsewhere"], &list), [""; 0]);
    let all = ["get /secrets Own", "get /secrets Elsewhere", "list /secrets Elsewhere"];
    assert_eq!(says(&all, &list), ["list on /secrets needs no excuse"]);
    assert!(Used::read("get /secrets").is_none() && Used::read("get /secrets There").is_none());
}
