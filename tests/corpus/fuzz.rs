//! The admission decoder and the rules behind it, given reviews that no API server would send: real ones of the corpus with
//! bytes or values of them changed. Whatever comes, it is answered: no panic, and soon.

use super::case::Case;
use super::offline::{Reviewed, reviewed, seal_keys};
use super::scene::Scene;
use proptest::prelude::*;
use proptest::sample::Index as Pick;
use scoped_secrets::admission::review::decode;
use scoped_secrets::admission::rules::copies::Limit;
use scoped_secrets::admission::rules::{claims, copies, other_operators, policies, rbac};
use scoped_secrets::admission::unread::Unread;
use serde_json::{Value, json};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Far more than any answer takes, without optimisation and on a busy machine.
const SOON: Duration = Duration::from_secs(5);

/// What is done to the bytes.
#[derive(Debug, Clone)]
enum Damage {
    CutOff(Pick),
    Overwrite(Pick, Vec<u8>),
    Insert(Pick, Vec<u8>),
    Repeat(Pick, Pick),
}

fn damage() -> impl Strategy<Value = Damage> {
    let bytes = || {
        prop_oneof![prop::collection::vec(any::<u8>(), 1..8), "[\\[{\"\\\\:,0-9nt]{1,8}".prop_map(String::into_bytes)]
    };
    prop_oneof![
        any::<Pick>().prop_map(Damage::CutOff),
        (any::<Pick>(), bytes()).prop_map(|(at, with)| Damage::Overwrite(at, with)),
        (any::<Pick>(), bytes()).prop_map(|(at, what)| Damage::Insert(at, what)),
        (any::<Pick>(), any::<Pick>()).prop_map(|(from, to)| Damage::Repeat(from, to)),
    ]
}

fn damaged(mut bytes: Vec<u8>, how: &Damage) -> Vec<u8> {
    let place = |at: &Pick, bytes: &[u8]| at.index(bytes.len().max(1)).min(bytes.len());
    match how {
        Damage::CutOff(at) => bytes.truncate(place(at, &bytes)),
        Damage::Overwrite(at, with) => {
            let at = place(at, &bytes);
            let end = (at + with.len()).min(bytes.len());
            bytes.splice(at..end, with.iter().copied());
        }
        Damage::Insert(at, what) => {
            let at = place(at, &bytes);
            bytes.splice(at..at, what.iter().copied());
        }
        Damage::Repeat(from, to) => {
            let (from, to) = (place(from, &bytes), place(to, &bytes));
            let part = bytes[from.min(to)..from.max(to)].to_vec();
            bytes.splice(to..to, part);
        }
    }
    bytes
}

/// A value that may stand anywhere in JSON.
fn stranger() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        Just(json!({})),
        Just(json!([])),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(|n| json!(n)),
        ".{0,40}".prop_map(Value::from),
        "[a-z/*${}.:{%]{0,60}".prop_map(Value::from),
        (1usize..100_000).prop_map(|n| Value::from("{{ a }}/".repeat(n / 8))),
        (1usize..200).prop_map(|depth| (0..depth).fold(json!(1), |inner, _| json!([inner]))),
        (1usize..2000).prop_map(|n| Value::from(vec![json!({"name": "x"}); n])),
    ]
}

/// Puts a stranger in the place of one value.
fn replaced(value: &mut Value, at: &Pick, stranger: &Value) {
    let mut left = at.index(count(value));
    replace_nth(value, &mut left, stranger);
}

fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(count).sum::<usize>(),
        Value::Object(fields) => fields.values().map(count).sum::<usize>(),
        _ => 0,
    }
}

fn replace_nth(value: &mut Value, left: &mut usize, stranger: &Value) -> bool {
    if *left == 0 {
        *value = stranger.clone();
        return true;
    }
    *left -= 1;
    match value {
        Value::Array(items) => items.iter_mut().any(|item| replace_nth(item, left, stranger)),
        Value::Object(fields) => fields.values_mut().any(|field| replace_nth(field, left, stranger)),
        _ => false,
    }
}

/// The real reviews of the corpus, of a size that can be damaged many times.
fn reviews(scene: &Scene, cases: &[Case]) -> Vec<Mutex<Reviewed>> {
    let mut all = vec![];
    for (rule, at_least) in [("Claims", 50), ("Policies", 10), ("Copies", 10), ("Rbac", 15), ("OtherOperators", 20)] {
        let judged = cases.iter().filter(|case| case.rule == rule && case.step.subresource.is_empty());
        let small = judged.map(|case| reviewed(scene, case)).filter(|review| review.bytes.len() < 20_000);
        let before = all.len();
        all.extend(small.map(Mutex::new));
        assert!(all.len() - before >= at_least, "{rule}: {} reviews", all.len() - before);
    }
    all
}

/// What a replica does with a body, whichever rule it came to. Panics are not caught.
fn answered(review: &Mutex<Reviewed>, bytes: &[u8]) -> Result<(), TestCaseError> {
    let started = Instant::now();
    // What cannot be read is read as far as it says which request it is.
    let _ = Unread::begin(bytes);
    if let Ok(request) = decode(bytes) {
        let review = review.lock().unwrap_or_else(PoisonError::into_inner);
        let (index, now) = (&review.index, jiff::Timestamp::now());
        let answers = [
            claims::judge(&request, index, now),
            policies::judge(&request, index, now),
            rbac::judge(&request, index, now),
            other_operators::judge(&request, index, now),
            copies::judge(&request, Some(seal_keys()), || index, &Limit::default(), now),
        ];
        for answer in answers {
            prop_assert!(serde_json::to_vec(&answer.into_review()).is_ok());
        }
    }
    prop_assert!(started.elapsed() < SOON, "{:?} for {} bytes", started.elapsed(), bytes.len());
    Ok(())
}

fn whole(review: &Mutex<Reviewed>) -> Vec<u8> {
    review.lock().unwrap_or_else(PoisonError::into_inner).bytes.clone()
}

fn rounds(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

/// Reviews with bytes changed, and bytes that never were a review.
pub fn bytes(scene: &Scene, cases: &[Case]) {
    let all = reviews(scene, cases);
    proptest!(rounds(2000), |(noise in prop::collection::vec(any::<u8>(), 0..200))| {
        let _ = (decode(&noise), Unread::begin(&noise));
    });
    proptest!(rounds(1500), |(which in any::<Pick>(), damages in prop::collection::vec(damage(), 1..4))| {
        let which = which.index(all.len());
        let bytes = damages.iter().fold(whole(&all[which]), damaged);
        answered(&all[which], &bytes)?;
    });
}

/// Reviews with values of theirs replaced by others.
pub fn values(scene: &Scene, cases: &[Case]) {
    let all = reviews(scene, cases);
    proptest!(rounds(1500), |(which in any::<Pick>(), strangers in prop::collection::vec((any::<Pick>(), stranger()), 1..4))| {
        let which = which.index(all.len());
        let mut value: Value = serde_json::from_slice(&whole(&all[which])).unwrap();
        // What makes it a review stays, so that most get further than the decoder.
        let request = value.get_mut("request").expect("a review");
        strangers.iter().for_each(|(at, stranger)| replaced(request, at, stranger));
        if request.is_object() {
            request["uid"] = "00000000-0000-4000-8000-000000000000".into();
        }
        answered(&all[which], value.to_string().as_bytes())?;
    });
}
