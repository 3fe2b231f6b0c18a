//! A report as people and editors read it: of files `path:line:column: severity: [Rule/Reason] message`, of a cluster
//! `severity  Kind namespace/name  [Reason] message`.

use super::{Finding, Location, Report, Severity};
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

/// Escape sequences, or none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Colours(pub bool);

impl Colours {
    /// In bold red, yellow, cyan or green by what the word says.
    pub fn word(self, word: &str) -> String {
        let code = match word {
            "error" | "refused" | "False" => "1;31",
            "warning" | "undecided" | "Unknown" => "1;33",
            "note" => "36",
            "ok" | "allowed" | "True" => "32",
            _ => return word.to_owned(),
        };
        if self.0 { format!("\x1b[{code}m{word}\x1b[0m") } else { word.to_owned() }
    }

    /// A heading.
    pub fn heading(self, text: &str) -> String {
        if self.0 { format!("\x1b[1m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// What was found in a cluster: what is well, then the findings, each with its mend, then a summary.
pub fn live(report: &Report, colours: Colours) -> String {
    let mut out = String::new();
    for well in &report.passed {
        let _ = writeln!(out, "{}       {}", colours.word("ok"), one_line(well));
    }
    for finding in &report.findings {
        let word = finding.severity.as_str();
        let gap = " ".repeat(9 - word.len());
        let text = one_line(&format!("{}: [{}] {}", finding.subject, finding.reason, finding.message));
        let _ = writeln!(out, "{}{gap}{text}", colours.word(word));
        if let Some(fix) = &finding.fix {
            let _ = writeln!(out, "         to mend: {}", one_line(fix));
        }
    }
    let (errors, warnings) = (report.count(Severity::Error), report.count(Severity::Warning));
    let well = match report.passed.len() {
        0 => String::new(),
        n => format!("; {} well", count(n, "thing is", "things are")),
    };
    let _ = match (errors, warnings) {
        (0, 0) => writeln!(out, "clean{well}"),
        (errors, 0) => writeln!(out, "{}{well}", count(errors, "finding", "findings")),
        (errors, warnings) => {
            let all = count(errors + warnings, "finding", "findings");
            writeln!(out, "{all} ({}){well}", count(warnings, "warning", "warnings"))
        }
    };
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
    let place = finding.location.as_ref().map_or_else(|| finding.subject.to_string(), place);
    line(out, &format!("{place}: {severity}: [{}/{}] {}", finding.rule.as_str(), finding.reason, finding.message));
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
    let tally = report.tally.unwrap_or_default();
    let allowed = format!("{} allowed", count(tally.allowed, "ScopedSecret", "ScopedSecrets"));
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
    if tally.not_judged > 0 {
        let _ = write!(text, ", {} not judged: correct the errors first", tally.not_judged);
    }
    text
}

pub(in crate::cli) fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

fn place(location: &Location) -> String {
    format!("{}:{}:{}", location.file, location.at.line, location.at.column)
}

/// The text on one line, whatever names and values of the input it has in it.
pub fn one_line(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        // What changes the order of what is read would make another name of it.
        if c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') {
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
