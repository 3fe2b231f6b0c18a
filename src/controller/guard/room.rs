//! What the SegmentGuard of a namespace has room for. Pure.
//!
//! One that etcd finds too large could not be written at all, and whoever fills it up would freeze it: neither a stricter mode nor
//! fewer consumers would get there any more. So what is held, and what narrows, is always written; what is new waits for room.

use super::plan::Content;
use crate::api::segment_guard::RevocationAsked;

/// Bytes of the projected Secrets and of those that are shared. etcd takes 1.5 MiB a request.
const ROOM: usize = 1_250_000;
/// With what the annotation `revoke` asks for, which finds room where targets do not.
const ROOM_WITH_TURNS: usize = 1_450_000;
/// How many of each the kind takes.
pub(super) const MOST: usize = 10_000;
/// What the largest target takes: 32 consumers, all names of 253 characters.
const LARGEST: usize = 33 * of_name(253);

/// A name is there twice, since managedFields has it, too.
const fn of_name(length: usize) -> usize {
    2 * (length + 8)
}

fn of_target(name: &str, consumers: &[String]) -> usize {
    of_name(name.len()) + consumers.iter().map(|consumer| of_name(consumer.len())).sum::<usize>()
}

fn of_turn(name: &str, turn: &RevocationAsked) -> usize {
    const FIELDS: usize = 250;
    let keys: usize = turn.keys.iter().map(|key| key.len() + 3).sum();
    of_name(name.len()) + FIELDS + turn.uid.len() + turn.store.len() + keys
}

fn size(content: &Content) -> usize {
    let targets = content.targets.iter().map(|(name, consumers)| of_target(name, consumers));
    let shared = content.shared.iter().chain(&content.free).map(|name| of_name(name.len()));
    let turns = content.revocations.iter().map(|(name, turn)| of_turn(name, turn));
    targets.chain(shared).chain(turns).sum()
}

/// Whether something new may find no room.
pub fn is_full(content: &Content) -> bool {
    let most = [content.targets.len(), content.shared.len(), content.free.len()].into_iter().max();
    size(content) + LARGEST > ROOM || most >= Some(MOST)
}

/// What of the content that is wanted there is room for, where `known` is what the guard says so far.
pub fn fit(mut wanted: Content, known: &Content, is_held: impl Fn(&str) -> bool) -> Content {
    if !is_full(&wanted) && wanted.revocations.len() <= MOST {
        return wanted;
    }
    let narrowed = |name: &String, consumers: &Vec<String>| match known.targets.get(name) {
        Some(said) => Some(consumers.iter().filter(|consumer| said.contains(consumer)).cloned().collect()),
        None => is_held(name).then(|| consumers.clone()),
    };
    let targets = std::mem::take(&mut wanted.targets);
    let shared = std::mem::take(&mut wanted.shared);
    let free = std::mem::take(&mut wanted.free);
    let turns = std::mem::take(&mut wanted.revocations);
    let mut fitted = Content {
        targets: targets.iter().filter_map(|(name, all)| Some((name.clone(), narrowed(name, all)?))).collect(),
        shared: shared.intersection(&known.shared).cloned().collect(),
        free: free.intersection(&known.free).cloned().collect(),
        revocations: turns.clone().into_iter().filter(|(name, _)| known.revocations.contains_key(name)).collect(),
        ..wanted
    };
    let mut taken = size(&fitted);
    for (name, turn) in turns {
        let more = of_turn(&name, &turn);
        if fitted.revocations.contains_key(&name)
            || (fitted.revocations.len() < MOST && taken + more <= ROOM_WITH_TURNS)
        {
            taken += if fitted.revocations.insert(name, turn).is_none() { more } else { 0 };
        }
    }
    for (names, known) in [(shared, &mut fitted.shared), (free, &mut fitted.free)] {
        for name in names {
            let more = of_name(name.len());
            if known.len() < MOST && taken + more <= ROOM && known.insert(name) {
                taken += more;
            }
        }
    }
    for (name, consumers) in targets {
        let before = fitted.targets.get(&name).map(|narrowed| of_target(&name, narrowed));
        let after = taken - before.unwrap_or(0) + of_target(&name, &consumers);
        if after <= ROOM && (before.is_some() || fitted.targets.len() < MOST) {
            taken = after;
            fitted.targets.insert(name, consumers);
        }
    }
    fitted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segmentation::fixtures::at;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    /// The longest names that there can be.
    fn long(name: &str) -> String {
        format!("{name}{}", "x".repeat(253 - name.len()))
    }

    fn targets(numbers: std::ops::Range<usize>, consumers: usize) -> Content {
        let consumers: Vec<String> = (0..consumers).map(|i| long(&format!("account-{i:02}"))).collect();
        let targets = numbers.map(|i| (long(&format!("target-{i:05}")), consumers.clone()));
        Content { targets: targets.collect(), ..Content::default() }
    }

    #[test]
    fn what_is_new_waits_for_room_and_what_narrows_does_not() {
        let nothing = Content::default();
        let some = targets(0..10, 32);
        assert_eq!(fit(some.clone(), &nothing, |_| false), some);
        let full = fit(targets(0..500, 32), &nothing, |_| false);
        assert!((50..500).contains(&full.targets.len()) && is_full(&full), "{}", full.targets.len());
        let text = serde_json::to_string(&full.targets).unwrap();
        assert!(text.len() < ROOM, "{}", text.len());
        // Nobody who is in loses the place to one whose name comes first.
        let mut wanted = full.clone();
        wanted.targets.insert("a".repeat(253), vec![long("b"); 32]);
        assert_eq!(fit(wanted, &full, |_| false), full);
        // Narrower, gone, with other labels: that is written, and makes room.
        let mut wanted = targets(0..500, 1);
        wanted.labels.insert("scopedsecrets.io/mode".into(), "Enforce".into());
        let narrow = fit(wanted.clone(), &full, |_| false);
        assert_eq!(narrow, wanted);
        // Others in place of those that were: none of these, where there is no room for the new ones.
        let mut wanted = full.clone();
        let first = wanted.targets.keys().next().unwrap().clone();
        wanted.targets.insert(first.clone(), [vec![full.targets[&first][0].clone()], vec![long("new"); 80]].concat());
        assert_eq!(fit(wanted, &full, |_| false).targets[&first], full.targets[&first][..1]);
        // A Secret that is there is guarded in any case.
        let mut wanted = full.clone();
        wanted.targets.insert("there".into(), vec![long("b"); 32]);
        assert!(fit(wanted, &full, |name| name == "there").targets.contains_key("there"));
    }

    #[test]
    fn a_revocation_finds_room_where_targets_do_not() {
        let full = fit(targets(0..500, 32), &Content::default(), |_| false);
        let turn = |keys: usize| RevocationAsked {
            uid: "u".into(),
            seen_time: Time(at(1)),
            resource_version: None,
            store: "aws".into(),
            keys: vec!["k".repeat(400); keys],
        };
        let mut wanted = full.clone();
        wanted.revocations.insert("leaked".into(), turn(100));
        wanted.shared.insert("another".into());
        let fitted = fit(wanted, &full, |_| false);
        assert!(fitted.revocations.contains_key("leaked") && fitted.targets == full.targets);
        let mut wanted = full.clone();
        wanted.revocations = (0..100).map(|i| (format!("leaked-{i}"), turn(100))).collect();
        let some = fit(wanted.clone(), &full, |_| false);
        assert!((1..100).contains(&some.revocations.len()) && size(&some) <= ROOM_WITH_TURNS);
        assert_eq!(fit(wanted, &some, |_| false), some);
    }

    #[test]
    fn there_are_never_more_than_the_kind_takes() {
        let names = (0..MOST + 5).map(|i| (format!("{i}"), Vec::new()));
        let wanted = Content { targets: names.collect(), ..Content::default() };
        let fitted = fit(wanted, &Content::default(), |_| false);
        assert!(fitted.targets.len() == MOST && is_full(&fitted));
    }
}
