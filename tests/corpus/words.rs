//! What every refusal must be: it names the rule, the object and a reason that has a page, and no word of another tenant.

use super::case::{Case, folder};
use super::scene::Scene;

/// What every case that is refused for a reason is told: what would be allowed, or who can help. Where a reason has several texts the cases
/// say it (`says`).
const HELP: &[(&str, &str)] = &[
    ("AccountUnknown", "nothing is granted"),
    ("ActionNotAllowed", "(action "),
    ("ClusterWideAccess", "rules.readers of every SegmentationPolicy"),
    ("ConsumersRequired", "list in spec.consumers the ServiceAccounts"),
    ("InvalidEnd", "whose end is ahead"),
    ("InvalidKey", "patterns belong in a SegmentationPolicy"),
    ("InvalidSchedule", "write "),
    ("JoinNotAllowed", "the verb join on segments.scopedsecrets.io"),
    ("KeyClaimed", "a credential of its own"),
    ("KeyNotExact", "name each "),
    ("LeaveNotAllowed", "the verb leave on segments.scopedsecrets.io"),
    ("NoPolicy", "ask the platform team"),
    ("OperatorOnly", "only the operator writes "),
    ("OperatorPinned", "delete its ServiceAccount and create it again"),
    ("ReservedMetadata", "leave them out, or write"),
    ("RetainNotAllowed", "remove it"),
    ("StoreUnresolved", "create it first"),
    ("TargetTypeInvalid", "or change target.type"),
    ("TargetTypeNotAllowed", "use one of Opaque"),
    ("TemplateMetadataNotAllowed", "remove it"),
    ("ValueCopied", "a credential of its own"),
    ("ViolationsNotAccepted", "accept-violations"),
    ("WriteNotAllowed", "ask the platform team"),
    ("WrongRegion", "use a store of "),
];

/// What is wrong with the text of a refusal.
pub fn faults(scene: &Scene, case: &Case, reason: &str, text: &str) -> Vec<String> {
    let mut faults = leaks(scene, case, text);
    let page = folder().join(format!("../../docs/reasons/{reason}.md"));
    if !page.exists() {
        faults.push(format!("{reason} has no page in docs/reasons"));
    }
    let step = &case.step;
    let place =
        step.namespace.as_ref().filter(|_| step.kind != "Namespace").map(|n| format!("{n}/")).unwrap_or_default();
    // A collection's name is that of its first; of a generated name its beginning is known.
    let kind = step.body["kind"].as_str().unwrap_or(&step.kind);
    let object = format!("{reason}: {kind} {place}{}", step.name);
    if !text.contains(&object) {
        faults.push(format!("it does not name the object ({object:?})"));
    }
    let help = HELP.iter().filter(|(of, _)| *of == reason).map(|(_, part)| *part);
    let silent = case.says.iter().map(String::as_str).chain(help).filter(|part| !text.contains(part));
    faults.extend(silent.map(|part| format!("it does not say {part:?}")));
    faults
}

/// Words of other tenants in what the asker reads, unless the asker wrote them.
pub fn leaks(scene: &Scene, case: &Case, text: &str) -> Vec<String> {
    let asked = format!("{} {:?} {} {}", case.step.body, case.step.namespace, case.step.name, case.step.who);
    let words = scene.secrets_from(&case.step.who);
    let told = words.iter().filter(|word| has_word(text, word) && !has_word(&asked, word));
    told.map(|word| format!("it tells {} of {word:?}", case.step.who)).collect()
}

/// Whether the word stands there by itself.
fn has_word(text: &str, word: &str) -> bool {
    let apart = |c: Option<char>| c.is_none_or(|c| !(c.is_alphanumeric() || c == '-' || c == '_'));
    text.match_indices(word)
        .any(|(at, _)| apart(text[..at].chars().next_back()) && apart(text[at + word.len()..].chars().next()))
}
