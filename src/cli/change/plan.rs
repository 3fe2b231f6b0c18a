//! What a change is going to do, as plain values, and how that is printed. Pure.

use super::write::Write as Sent;
use crate::cli::report::Subject;
use crate::cli::report::text::{Colours, one_line};
use serde_json::{Value, json};
use std::fmt::Write;

/// What is going to happen.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The verb.
    pub verb: &'static str,
    /// What is changed.
    pub about: Subject,
    /// What stands now: what it is, and what is known of it.
    pub facts: Vec<(&'static str, String)>,
    /// What happens, one after the other.
    pub happens: Vec<String>,
    /// What is to be known besides.
    pub notes: Vec<String>,
    /// What is written, one after the other.
    pub writes: Vec<Sent>,
    /// What is said when it was written; `{name}` are the names of what was written.
    pub done: String,
}

/// For people.
pub fn text(plan: &Plan, colours: Colours) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "{}", colours.heading(&one_line(&format!("{} {}", plan.verb, plan.about))));
    for (what, fact) in &plan.facts {
        let _ = writeln!(out, "  {what:<12} {}", one_line(fact));
    }
    let _ = writeln!(out, "what will happen:");
    for step in &plan.happens {
        let _ = writeln!(out, "  - {}", one_line(step));
    }
    for note in &plan.notes {
        let _ = writeln!(out, "{}  {}", colours.word("note"), one_line(note));
    }
    out
}

/// For scripts. Fields may be added; `end` and `message` say how it ended.
pub fn json(plan: &Plan) -> Value {
    let about = &plan.about;
    json!({
        "version": 1,
        "verb": plan.verb,
        "object": {"kind": about.kind, "namespace": about.namespace, "name": about.name},
        "facts": plan.facts.iter().map(|(what, fact)| json!({"what": what, "is": fact})).collect::<Vec<_>>(),
        "willHappen": plan.happens,
        "notes": plan.notes,
    })
}
