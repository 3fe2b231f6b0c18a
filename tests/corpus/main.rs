//! One corpus of cases, five doors: what a case says comes out wherever it can be seen. README.md is for who writes cases.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod admission;
mod around;
mod bare;
mod bed;
mod caller;
mod case;
mod doors;
mod fuzz;
mod offline;
mod replay;
mod scene;
#[path = "../support/mod.rs"]
mod support;
mod words;

use bed::{Bed, scene};
use case::Case;
use doors::Door;
use support::operator::lift_all;
use support::oracle::all_is_well;

/// The corpus, which is never smaller than this.
const CASES: usize = 540;

fn all() -> Vec<Case> {
    let cases = case::all();
    assert!(cases.len() >= CASES, "only {} cases", cases.len());
    cases
}

fn seen(cases: &[Case], door: Door, at_least: usize) {
    let seen = cases.iter().filter(|case| door.sees(case)).count();
    println!("{door:?}: {} cases, of which {seen} are its to judge", cases.len());
    assert!(seen >= at_least, "{door:?} judges only {seen} cases");
}

fn none(faults: &[String]) {
    assert!(faults.is_empty(), "{} faults:\n\n{}", faults.len(), faults.join("\n\n"));
}

#[test]
fn with_everything_installed_and_with_the_guards_alone() {
    let cases = all();
    let bed = Bed::start(&cases);
    let operator = bed.operator(&[]);
    bed.others_are_governed(&cases);
    seen(&cases, Door::Everything, CASES);
    let mut faults = admission::try_all(&bed, &cases, Door::Everything);
    faults.extend(replay::during_a_policy_change(&bed));
    operator.terminate();
    let gone = bed.cluster.kubectl(&["delete", "validatingwebhookconfiguration", "scoped-secrets"]);
    assert!(gone.status.success());
    seen(&cases, Door::Guards, 220);
    faults.extend(admission::try_all(&bed, &cases, Door::Guards));
    none(&faults);
}

#[test]
fn without_any_admission_object() {
    let cases = all();
    let bed = Bed::start(&cases);
    lift_all(&bed.cluster);
    let operator = bed.operator(&["--scan-interval=10s"]);
    seen(&cases, Door::Bare, 35);
    let mut faults = admission::try_all(&bed, &cases, Door::Bare);
    let (claims, wrong) = bare::claims(&bed, &cases);
    faults.extend(wrong);
    let (edits, wrong) = bare::edits(&bed, &cases);
    faults.extend(wrong);
    let (grants, wrong) = bare::grants(&bed, &cases);
    faults.extend(wrong);
    let (managed, wrong) = bare::managed(&bed, &cases);
    faults.extend(wrong);
    let (reported, wrong) = bare::reported(&bed, &cases);
    faults.extend(wrong);
    println!(
        "Bare: reconcile judged {claims} claims and {edits} edits, honoured none of {grants} grants, put {managed} objects right, and reported {reported}"
    );
    none(&faults);
    all_is_well(&bed.cluster, &operator);
}

#[test]
fn the_core_says_the_same() {
    let cases = all();
    seen(&cases, Door::Core, 260);
    let own: Vec<&Case> = cases.iter().filter(|case| Door::Core.sees(case)).collect();
    none(&admission::beside(&own, |case| {
        offline::core(scene(), case).into_iter().map(|fault| format!("Core, {}: {fault}", case.title)).collect()
    }));
}

#[test]
fn simulate_says_the_same() {
    let cases = all();
    seen(&cases, Door::Simulate, 240);
    let (adding, changing): (Vec<&Case>, Vec<&Case>) =
        cases.iter().filter(|case| Door::Simulate.sees(case)).partition(|case| offline::only_adds(case));
    let mut faults = offline::simulated(scene(), &adding);
    faults.extend(admission::beside(&changing, |case| offline::simulated(scene(), &[*case])));
    none(&faults);
}

#[test]
fn reviews_with_other_bytes_are_answered() {
    fuzz::bytes(scene(), &all());
}

#[test]
fn reviews_with_other_values_are_answered() {
    fuzz::values(scene(), &all());
}
