//! What the operator's judges found, as findings: one for each object, however many segments it concerns.

use super::scopes::{Scope, Scopes};
use crate::cli::report::{Finding, Outcome, Severity};
use crate::segmentation::violation::Violation;
use std::collections::{BTreeMap, BTreeSet};

/// So many segments are named.
const SHOWN: usize = 4;

/// Tells them. Where no segment is concerned, only namespaces that nobody put into one, it is a warning.
pub fn tell(violations: Vec<Violation>, scopes: &Scopes, outcome: &mut Outcome) {
    let mut by_object: BTreeMap<_, (Violation, BTreeSet<Scope>)> = BTreeMap::new();
    for violation in violations {
        let scope = scopes.named(&violation.segment);
        let by = (violation.object.clone(), violation.rule, violation.reason);
        by_object.entry(by).or_insert_with(|| (violation, BTreeSet::new())).1.insert(scope);
    }
    for (violation, mut concerned) in by_object.into_values() {
        let of_segments = concerned.iter().any(Scope::is_segment);
        let severity = if of_segments { Severity::Error } else { Severity::Warning };
        concerned.retain(|scope| !of_segments || scope.is_segment());
        let mut finding = Finding::of(&violation, severity);
        finding.message = format!("{} ({})", finding.message, shown(&concerned));
        outcome.push(finding);
    }
}

/// The scopes, the first few by name.
pub fn shown<'a>(scopes: impl IntoIterator<Item = &'a Scope>) -> String {
    let all: Vec<String> = scopes.into_iter().map(Scope::to_string).collect();
    let more = if all.len() > SHOWN { format!(" and {} more", all.len() - SHOWN) } else { String::new() };
    format!("{}{more}", all.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", "))
}
