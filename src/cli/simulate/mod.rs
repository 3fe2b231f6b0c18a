//! The authoriser's verdicts offline, from YAML in Git: `kubectl scoped-secrets simulate`.
//!
//! ```text
//!   Source (bytes) ── yaml ──► Node ── object ──► Object ──┬─ crd, schema: what the API server refuses ─┐
//!                                                          ├─ judge: World ──► authorize()              ├─► Report
//!                                                          └─ around: the other rules, over that World ─┘     │
//!                                                                                          text, json, sarif ◄┘
//! ```
//!
//! Everything here is pure: bytes and the time go in, a [`Report`] comes out. `cli::command` reads and prints.

pub mod accounts;
pub(in crate::cli) mod around;
pub mod crd;
mod grants;
mod judge;
pub mod kind;
pub mod object;
pub mod schema;

/// What was found, and how it is printed: as of a live cluster.
pub use super::report;
use accounts::Accounts;
use crd::Crds;
use jiff::Timestamp;
use kind::Kind;
use object::{Object, Source, gather};
use report::{Finding, InputError, Location, Report, Rule, Severity};
use schema::Weight;
use std::collections::BTreeMap;

use crate::api::Reason;
use crate::yaml;

/// What the user may set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// The namespace of objects that name none; `default` unless given.
    pub namespace: Option<String>,
    /// Accounts of stores that name none.
    pub accounts: Accounts,
}

/// Judges the inputs as if all of them were applied, in their order, to a cluster that has nothing else.
pub fn simulate(sources: &[Source], now: Timestamp, options: &Options) -> Report {
    simulate_with(&Crds::default(), sources, now, options)
}

/// [`simulate`] for who judges again and again: compiling the CRDs' rules takes longer than asking them.
pub fn simulate_with(crds: &Crds, sources: &[Source], now: Timestamp, options: &Options) -> Report {
    let gathered = gather(sources, options.namespace.as_deref().unwrap_or("default"), crds);
    let mut report = Report {
        input_errors: gathered.input_errors,
        ignored: gathered.ignored,
        tally: Some(report::Tally::default()),
        ..Report::default()
    };
    let ours = gathered.objects.iter().filter(|o| Kind::OURS.contains(&o.kind)).count();
    if ours == 0 && gathered.findings.is_empty() && report.input_errors.is_empty() {
        report.input_errors.push(nothing_to_judge(sources));
    }
    if !report.input_errors.is_empty() {
        return report;
    }
    let (last, mut findings) = last_of_each(&gathered.objects);
    findings.extend(gathered.findings);
    let mut bench = judge::Bench::new(now, &options.accounts);
    for object in &last {
        let (sound, breaches) = check(object, crds);
        findings.extend(breaches);
        bench.add(object, sound);
    }
    bench.judge();
    findings.append(&mut bench.findings);
    report.tally = Some(report::Tally { objects: last.len(), ..bench.tally });
    let order: BTreeMap<&str, usize> = sources.iter().enumerate().map(|(i, s)| (&*s.name, i)).collect();
    findings.sort_by(|a, b| {
        let key = |f: &Finding| {
            let place = f.location.as_ref().map(|l| (order.get(&*l.file).copied(), l.at));
            (place, f.severity)
        };
        key(a).cmp(&key(b))
    });
    report.findings = findings;
    report
}

fn nothing_to_judge(sources: &[Source]) -> InputError {
    let file = sources.first().map_or_else(|| "input".into(), |s| s.name.clone());
    InputError {
        location: Location { file, at: yaml::Place::START },
        message: "there is no ScopedSecret, SecretGrant, ScopedSecretStore or SegmentationPolicy in the input".into(),
    }
}

/// What the API server says of an object, and whether it would store it. An unknown or repeated field of a ScopedSecret
/// leaves the rest of it clear; of a policy or a store it may be the field that decides.
fn check(object: &Object, crds: &Crds) -> (bool, Vec<Finding>) {
    let (breaches, reason) = match object.kind {
        Kind::Namespace => (crds.check_namespace(&object.node), Reason::SpecInvalid),
        Kind::ScopedSecretStore => (crds.check(object.kind.as_str(), &object.node), Reason::StoreInvalid),
        Kind::SegmentationPolicy => (crds.check(object.kind.as_str(), &object.node), Reason::PolicyInvalid),
        Kind::ScopedSecret => (crds.check(object.kind.as_str(), &object.node), Reason::SpecInvalid),
        Kind::SecretGrant => (crds.check(object.kind.as_str(), &object.node), Reason::GrantInvalid),
        // Their schemas are the API server's, or another operator's.
        Kind::Native(_) | Kind::Foreign(_) | Kind::Carvel(_) => (Vec::new(), Reason::SpecInvalid),
    };
    let clear = |weight| match weight {
        Weight::Unsure => true,
        Weight::Strict => object.kind == Kind::ScopedSecret,
        Weight::Invalid | Weight::Blocking => false,
    };
    let sound = breaches.iter().all(|b| clear(b.weight));
    let findings = breaches.into_iter().map(|breach| {
        let severity = if breach.weight == Weight::Unsure { Severity::Warning } else { Severity::Error };
        let finding = object.finding(severity, Rule::Schema, reason, breach.at, breach.message);
        Finding { fix: breach.fix, ..finding }
    });
    (sound, findings.collect())
}

/// Of an object that stands in the input several times, what `kubectl apply` would leave: the last, at the place in the
/// order that the first had.
fn last_of_each(objects: &[Object]) -> (Vec<&Object>, Vec<Finding>) {
    let mut kept: Vec<&Object> = Vec::with_capacity(objects.len());
    let mut index: BTreeMap<(Kind, Option<&str>, &str), usize> = BTreeMap::new();
    let mut findings = Vec::new();
    for object in objects {
        let key = (object.kind, object.namespace.as_deref(), object.name.as_str());
        let Some(&at) = index.get(&key).filter(|_| !object.name.is_empty()) else {
            index.insert(key, kept.len());
            kept.push(object);
            continue;
        };
        let Some(first) = kept.get_mut(at) else { continue };
        if first.node.to_json() != object.node.to_json() {
            let message = format!(
                "{} {:?} stands differently at {}:{}; this one was judged, as the last one applied",
                object.kind.as_str(),
                object.name,
                first.file,
                first.node.at.line
            );
            let place = object.node.place_of("metadata.name");
            findings.push(object.finding(Severity::Warning, Rule::Schema, Reason::SpecInvalid, place, message));
        }
        *first = object;
    }
    (kept, findings)
}

#[cfg(test)]
mod around_tests;
#[cfg(test)]
mod tests;
