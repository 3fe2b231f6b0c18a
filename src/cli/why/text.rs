//! An answer as people read it.

use super::answer::Answer;
use crate::cli::report::Severity;
use crate::cli::report::text::{Colours, one_line};
use std::fmt::Write;
use std::iter;

/// A paragraph for each denial.
pub fn render(answer: &Answer, colours: Colours) -> String {
    let answers = iter::once(answer).chain(&answer.others);
    answers.map(|answer| paragraph(answer, colours)).collect::<Vec<_>>().join("\n")
}

/// Aligned: what, then what is said of it.
fn paragraph(answer: &Answer, colours: Colours) -> String {
    let mut out = Out { text: String::new(), colours };
    let _ = writeln!(out.text, "{}", colours.heading(&one_line(&answer.about)));
    if let Some(rule) = &answer.rule {
        out.row("rule", &format!("{rule}, {}", answer.verdict.reason));
    }
    let verdict = &answer.verdict;
    out.row("verdict", &format!("{} [{}] {}", verdict.answer, verdict.reason, verdict.message));
    if let Some(governed) = &answer.governed {
        let segment = governed.segment.as_deref().unwrap_or(if governed.policies_seen { "none" } else { "not seen" });
        let labels =
            if governed.labels.is_empty() { String::new() } else { format!(" ({})", governed.labels.join(", ")) };
        out.row("segment", &format!("{segment}{labels}"));
        let policies = match (governed.policies.is_empty(), governed.policies_seen) {
            (false, _) => governed.policies.join(", "),
            (true, true) => "none".to_owned(),
            (true, false) => "not seen: you may not look at policies".to_owned(),
        };
        out.row("policies", &policies);
    }
    for covering in &answer.allowed_by {
        let actions = covering.actions.join(", ");
        out.row(
            "allowed by",
            &format!("{}: {} ({actions}) covers {}", covering.policy, covering.pattern, covering.key),
        );
    }
    for claimant in &answer.claimed_by {
        out.row("claimed by", claimant);
    }
    for reader in &answer.lent_to {
        out.row("lent to", reader);
    }
    for condition in &answer.conditions {
        let state = format!("{} {} for {}", condition.kind, condition.status, condition.since);
        out.row("condition", &format!("{state} [{}] {}", condition.reason, condition.message));
    }
    for remote in &answer.remote {
        let version = remote.version.as_ref().map_or("not fetched yet".to_owned(), |v| format!("at version {v}"));
        out.row("key", &format!("{} {version} (store {})", remote.key, remote.store));
    }
    for event in &answer.history {
        let times = if event.count > 1 { format!(" (x{})", event.count) } else { String::new() };
        out.row("history", &format!("{} ago{times} [{}] {}", event.ago, event.reason, event.message));
    }
    for finding in answer.report.findings.iter().filter(|f| f.reason == crate::api::Reason::CannotLook) {
        out.row("not seen", finding.message.strip_prefix("this could not be looked at: ").unwrap_or(&finding.message));
    }
    for next in &answer.next {
        out.row("next", next);
    }
    if answer.rule.is_some() || answer.report.count(Severity::Error) > 0 {
        out.row("page", &verdict.page);
    }
    out.text
}

struct Out {
    text: String,
    colours: Colours,
}

impl Out {
    fn row(&mut self, what: &str, says: &str) {
        let says = one_line(says);
        let (word, rest) = says.split_once(' ').unwrap_or((&says, ""));
        let gap = if rest.is_empty() { "" } else { " " };
        let _ = writeln!(self.text, "  {what:<11}{}{gap}{rest}", self.colours.word(word));
    }
}
