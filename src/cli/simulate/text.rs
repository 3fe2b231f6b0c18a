//! A report as people and editors read it: `path:line:column: severity: [Reason] message`.

use super::report::{Finding, Location, Report, Severity};
use std::fmt::Write;

/// The findings and a summary.
pub fn render(report: &Report) -> String {
    let mut out = String::new();
    for finding in &report.findings {
        render_finding(&mut out, finding);
    }
    for error in &report.input_errors {
        line(&mut out, &format!("{}: error: {}", place(&error.location), error.message));
    }
    line(&mut out, &summary(report));
    out
}

/// What was left aside, and why.
pub fn ignored(report: &Report) -> String {
    let mut out = String::new();
    for (location, why) in &report.ignored {
        line(&mut out, &format!("{}: ignored: {why}", place(location)));
    }
    out
}

fn render_finding(out: &mut String, finding: &Finding) {
    let severity = finding.severity.as_str();
    line(out, &format!("{}: {severity}: [{}] {}", place(&finding.location), finding.reason, finding.message));
    if let Some(fix) = &finding.fix {
        line(out, &format!("    write instead: {fix}"));
    }
}

/// The last line.
fn summary(report: &Report) -> String {
    if !report.input_errors.is_empty() {
        return format!("nothing was judged: {}", count(report.input_errors.len(), "error", "errors"));
    }
    let (errors, warnings) = (report.count(Severity::Error), report.count(Severity::Warning));
    let allowed = format!("{} allowed", count(report.tally.allowed, "ScopedSecret", "ScopedSecrets"));
    let mut text = if errors + warnings == 0 {
        format!("no findings: {allowed}")
    } else {
        let kinds = match (errors, warnings) {
            (_, 0) => String::new(),
            (0, 1) => " (a warning)".into(),
            (0, _) => " (warnings)".into(),
            _ => format!(" ({})", count(warnings, "is a warning", "are warnings")),
        };
        let objects = count(report.objects_with_findings(), "object", "objects");
        format!("{} in {objects}{kinds}; {allowed}", count(errors + warnings, "finding", "findings"))
    };
    if report.tally.not_judged > 0 {
        let _ = write!(text, ", {} not judged: correct the errors first", report.tally.not_judged);
    }
    text
}

fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

fn place(location: &Location) -> String {
    format!("{}:{}:{}", location.file, location.at.line, location.at.column)
}

/// The text on one line, whatever names and values of the input it has in it.
pub fn one_line(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

fn line(out: &mut String, text: &str) {
    out.push_str(&one_line(text));
    out.push('\n');
}
