//! From a Go template, as the External Secrets Operator takes it, to one of ours. Only what means the same is taken.

use std::collections::BTreeMap;

/// Functions of a pipeline that mean the same as a filter of ours.
const SAME: [(&str, &str); 6] = [
    ("b64enc", "b64encode"),
    ("b64dec", "b64decode"),
    ("upper", "upper"),
    ("lower", "lower"),
    ("trim", "trim"),
    ("toJson", "tojson"),
];

/// Words that are no variable in our templates.
const RESERVED: [&str; 13] =
    ["and", "else", "false", "False", "if", "in", "is", "none", "None", "not", "or", "true", "True"];

/// What became of a template.
#[derive(Debug, PartialEq, Eq)]
pub struct Carried {
    /// Ours.
    pub text: String,
    /// The variables that it asks for, as they were named.
    pub variables: Vec<String>,
}

/// Carries a template over. `renamed` are the variables that have another name here.
///
/// # Errors
///
/// The first thing that has no match here, as it is written.
pub fn carry(go: &str, renamed: &BTreeMap<String, String>) -> Result<Carried, String> {
    let mut carried = Carried { text: String::new(), variables: Vec::new() };
    let mut rest = go;
    while let Some((before, after)) = rest.split_once("{{") {
        carried.text.push_str(literal(before)?);
        let (action, after) = after.split_once("}}").ok_or("an action that is not closed")?;
        rest = after;
        let (begin, action) = action.strip_prefix("- ").map_or(("{{ ", action), |inner| ("{{- ", inner));
        let (action, end) = action.strip_suffix(" -").map_or((action, " }}"), |inner| (inner, " -}}"));
        let action = action.trim();
        if action.starts_with("/*") && action.ends_with("*/") && begin == "{{ " && end == " }}" {
            continue;
        }
        let (variable, filters) = pipeline(action).ok_or_else(|| format!("{{{{ {action} }}}}"))?;
        let name = renamed.get(&variable).unwrap_or(&variable);
        carried.text.push_str(&format!("{begin}{}{filters}{end}", reference(name)));
        carried.variables.push(variable);
    }
    carried.text.push_str(literal(rest)?);
    Ok(carried)
}

/// Text outside of actions: ours has two more beginnings.
fn literal(text: &str) -> Result<&str, String> {
    match ["{%", "{#"].into_iter().find(|begin| text.contains(begin)) {
        Some(begin) => Err(format!("the text {begin}, which begins something else in templates here")),
        None => Ok(text),
    }
}

/// `.name | f | g`, or `index . "name" | f`: the variable, and the filters with their bars.
fn pipeline(action: &str) -> Option<(String, String)> {
    let mut stages = action.split('|').map(str::trim);
    let first = stages.next()?;
    let variable = match first.strip_prefix("index . \"").and_then(|rest| rest.strip_suffix('"')) {
        Some(name) => Some(name).filter(|name| name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))),
        None => first.strip_prefix('.').filter(|name| is_word(name)),
    }?;
    let mut filters = String::new();
    for stage in stages {
        let (_, ours) = SAME.iter().find(|(go, _)| *go == stage)?;
        filters.push_str(&format!(" | {ours}"));
    }
    Some((variable.to_owned(), filters)).filter(|(variable, _)| !variable.is_empty())
}

fn is_word(text: &str) -> bool {
    text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// A variable as our templates name it.
fn reference(name: &str) -> String {
    if is_word(name) && !RESERVED.contains(&name) { name.to_owned() } else { format!("secrets[{name:?}]") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_means_the_same_is_carried() {
        let renamed = [("old".to_owned(), "old-source".to_owned())].into();
        for (go, ours) in [
            ("plain", "plain"),
            ("postgres://{{ .user }}:{{.pass}}@db", "postgres://{{ user }}:{{ pass }}@db"),
            ("{{ .a | b64dec | upper }}", "{{ a | b64decode | upper }}"),
            ("{{ index . \"a.b-c\" | toJson }}", "{{ secrets[\"a.b-c\"] | tojson }}"),
            ("x {{- .a -}} y", "x {{- a -}} y"),
            ("{{/* why */}}a\n", "a\n"),
            ("{{ .if }}{{ .old }}", "{{ secrets[\"if\"] }}{{ secrets[\"old-source\"] }}"),
        ] {
            assert_eq!(carry(go, &renamed).map(|carried| carried.text).as_deref(), Ok(ours), "{go}");
        }
        assert_eq!(carry("{{ .b }}{{ .a }}", &renamed).unwrap().variables, ["b", "a"]);
    }

    #[test]
    fn what_has_no_match_is_said_as_it_is_written() {
        for (go, said) in [
            ("{{ .a | quote }}", "{{ .a | quote }}"),
            ("{{ range .a }}x{{ end }}", "{{ range .a }}"),
            ("{{ .a.b }}", "{{ .a.b }}"),
            ("{{ printf \"%s|\" .a }}", "{{ printf \"%s|\" .a }}"),
            ("{{ .a | default \"x\" }}", "{{ .a | default \"x\" }}"),
            ("{{ index . \"a\\\"b\" }}", "{{ index . \"a\\\"b\" }}"),
            ("{{ . }}", "{{ . }}"),
            ("{{", "an action that is not closed"),
            ("a {% b", "the text {%, which begins something else in templates here"),
        ] {
            assert_eq!(carry(go, &BTreeMap::new()), Err(said.to_owned()), "{go}");
        }
    }
}
