//! A trace as people read it.

use super::chain::{Origin, Trace, Traced};
use crate::api::Reason;
use crate::cli::report::text::{Colours, one_line};
use std::fmt::Write;

/// A block for each Secret, then what is not well.
pub fn render(trace: &Trace, colours: Colours) -> String {
    let mut out = String::new();
    let segment = match &trace.segment {
        Some(segment) => format!("segment {segment}"),
        None if trace.policies_seen => "in no segment".to_owned(),
        None => "its segment was not seen".to_owned(),
    };
    let head = format!("{} (ServiceAccount {}, {segment})", trace.about, trace.service_account);
    let _ = writeln!(out, "{}", colours.heading(&one_line(&head)));
    if trace.secrets.is_empty() {
        let gaps = trace.report.findings.iter().any(|finding| finding.reason == Reason::CannotLook);
        out.push_str(if gaps { "  it names no Secret, as far as you may see\n" } else { "  it names no Secret\n" });
    }
    for secret in &trace.secrets {
        render_secret(&mut out, secret, trace.policies_seen);
    }
    for finding in &trace.report.findings {
        let gap = finding.reason == Reason::CannotLook;
        let severity = if gap { "not seen" } else { finding.severity.as_str() };
        let what = if gap { String::new() } else { format!("{}: ", finding.subject) };
        let text = one_line(&format!("{what}[{}] {}", finding.reason, finding.message));
        let _ = writeln!(out, "{}  {text}", colours.word(severity));
    }
    out
}

fn render_secret(out: &mut String, secret: &Traced, policies_seen: bool) {
    let mut row = |depth: usize, what: &str, says: &str| {
        let indent = "  ".repeat(depth);
        let width = 17_usize.saturating_sub(indent.len());
        let _ = writeln!(out, "{indent}{what:<width$}{}", one_line(says));
    };
    let origin = match secret.origin {
        Origin::Managed => "managed",
        Origin::Unmanaged => "not managed: nothing says where its values come from",
        Origin::Missing => "not there",
        Origin::Unknown => "unknown: you may not look at it",
    };
    row(1, "Secret", &format!("{}: {origin}", secret.name));
    row(2, "named by", &secret.named_by.join(", "));
    if let Some(name) = &secret.scoped_secret {
        let ready = secret.ready.as_ref().map(|ready| format!(", Ready {ready}")).unwrap_or_default();
        let consumer = match secret.consumer {
            Some(true) => ", its ServiceAccount is a consumer",
            Some(false) => ", its ServiceAccount is no consumer",
            None => "",
        };
        row(2, "ScopedSecret", &format!("{name}{ready}{consumer}"));
    }
    for reader in &secret.lent_to {
        row(2, "lent to", reader);
    }
    for remote in &secret.remote {
        let version = remote.version.as_ref().map_or("not fetched yet".to_owned(), |v| format!("version {v}"));
        row(3, "key", &format!("{} ({version}, store {})", remote.key, remote.store));
        let none = if policies_seen { "none that allows it now" } else { "not seen: you may not look at policies" };
        row(3, "policy", remote.allowed_by.as_deref().unwrap_or(none));
    }
}
