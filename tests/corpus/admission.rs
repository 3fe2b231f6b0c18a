//! The doors with an API server: every case is asked as its person would, dry first; what must be refused, in earnest, too.

use super::bed::{Bed, scene};
use super::caller::{Answer, Caller};
use super::case::{Case, Step, Verb, Verdict};
use super::doors::Door;
use super::words;
use crate::support::wait::await_within;
use serde_json::Value;
use std::sync::Mutex;
use std::thread::scope;
use std::time::Duration;

/// So many at a time.
const BESIDE: usize = 6;
/// How long a case may take to be seen by every cache that decides it, where something came before it.
const SETTLES: Duration = Duration::from_secs(20);
/// And where nothing did.
const SETTLED: Duration = Duration::from_secs(3);

/// Tries every case; what came out otherwise.
pub fn try_all(bed: &Bed, cases: &[Case], door: Door) -> Vec<String> {
    beside(cases, |case| {
        let faults = try_one(bed, case, door);
        faults.into_iter().map(|fault| format!("{door:?}, {}: {fault}", case.title)).collect()
    })
}

/// Does something with each, some at a time.
pub fn beside<T: Sync>(all: &[T], work: impl Fn(&T) -> Vec<String> + Sync) -> Vec<String> {
    let (next, told) = (Mutex::new(all.iter()), Mutex::new(vec![]));
    scope(|threads| {
        for _ in 0..BESIDE {
            threads.spawn(|| {
                loop {
                    let Some(one) = next.lock().unwrap().next() else { break };
                    let faults = work(one);
                    // At once, too: a story that ends early has no list at its end.
                    faults.iter().for_each(|fault| eprintln!("{fault}"));
                    told.lock().unwrap().extend(faults);
                }
            });
        }
    });
    told.into_inner().unwrap()
}

fn try_one(bed: &Bed, case: &Case, door: Door) -> Vec<String> {
    let caller = &bed.caller;
    for step in &case.first {
        if let Err(fault) = prepare(caller, step) {
            return vec![format!("what comes first: {fault}")];
        }
    }
    let expected = door.expects(case);
    // What came before it, or the scene itself, may not be in every cache yet.
    let patience = if case.first.is_empty() { SETTLED } else { SETTLES };
    let dry = || {
        let answer = bed.caller.ask(&case.step, true);
        let mut faults = judged(case, &expected, &answer);
        if let (true, Some(reason)) = (faults.is_empty(), door.records(case)) {
            faults.extend(unrecorded(bed, case, reason, &answer));
        }
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    };
    let mut faults = await_within(patience, dry).err().unwrap_or_default();
    if faults.is_empty() && matches!(expected, Verdict::Refused(_)) {
        let earnest = judged(case, &expected, &caller.ask(&case.step, false));
        faults.extend(earnest.into_iter().map(|fault| format!("in earnest: {fault}")));
    }
    faults
}

/// What the API server's audit log does not say of a breach that is only recorded: the rule and the reason.
fn unrecorded(bed: &Bed, case: &Case, reason: &str, answer: &Answer) -> Option<String> {
    let head = format!("rule {}, {reason}: ", case.rule);
    let look = || {
        let log = std::fs::read_to_string(bed.cluster.dir.join("audit.log")).map_err(|error| error.to_string())?;
        let mut own = log.lines().filter(|line| line.contains(&answer.audit_id));
        let event = own.find_map(|line| serde_json::from_str::<Value>(line).ok()).ok_or("it is not there")?;
        let notes = event["annotations"].to_string();
        Ok::<bool, String>(notes.contains(&head))
    };
    match await_within(SETTLED, look) {
        Ok(true) => None,
        otherwise => Some(format!("the audit log does not say {head:?} of it: {otherwise:?}")),
    }
}

/// Does what comes before a case. It may have been done at another door already.
pub fn prepare(caller: &Caller, step: &Step) -> Result<(), String> {
    let answer = caller.ask(step, false);
    let again = match step.verb {
        Verb::Create => answer.code == 409,
        Verb::Delete => answer.code == 404,
        _ => false,
    };
    if !answer.is_ok() && !again {
        return Err(format!("{answer:?}"));
    }
    let gone = || match caller.live(&step.kind, step.namespace.as_deref(), &step.name) {
        Some(_) if step.verb == Verb::Delete => Err(format!("{} {} does not go", step.kind, step.name)),
        _ => Ok(()),
    };
    await_within(SETTLES, gone)
}

/// What is wrong with an answer.
fn judged(case: &Case, expected: &Verdict, answer: &Answer) -> Vec<String> {
    let otherwise = || {
        vec![format!("expected {expected:?}, was told {} {:?} {:?}", answer.code, answer.message(), answer.warnings)]
    };
    match (expected, answer.is_ok()) {
        (Verdict::Allowed, true) if answer.verdict().1 == Verdict::Allowed => vec![],
        // The API server's own: there is no reason of ours.
        (Verdict::Refused(reason), false) if reason.is_empty() && answer.verdict().0 == case.rule => {
            let silent = case.says.iter().filter(|part| !answer.message().contains(part.as_str()));
            let mut faults: Vec<String> =
                silent.map(|part| format!("it does not say {part:?}: {}", answer.message())).collect();
            faults.extend(words::leaks(scene(), case, answer.message()));
            faults
        }
        (Verdict::Refused(reason), false) | (Verdict::Warned(reason), true) if !reason.is_empty() => {
            match answer.says(&case.rule, reason) {
                Some(text) => {
                    let whole = format!("{} {}", answer.message(), answer.warnings.join(" "));
                    let mut faults = words::faults(scene(), case, reason, &text);
                    faults.extend(words::leaks(scene(), case, &whole));
                    if !faults.is_empty() {
                        faults.push(whole);
                    }
                    faults
                }
                None => otherwise(),
            }
        }
        _ => otherwise(),
    }
}
