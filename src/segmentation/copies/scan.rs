//! The background scan of one object: the same search as at admission, for what was there before or got past.

use super::content::{Content, Place, SHORTEST};
use super::index::MarkIndex;
use super::search::Search;
use crate::api::Reason;
use crate::segmentation::authorize::Owner;
use crate::segmentation::fingerprint::Fingerprint;
use crate::segmentation::seal::SealKeys;
use crate::segmentation::violation::{ObjectRef, Violation};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::ControlFlow;

/// The rule's name.
pub const RULE: &str = "Copies";

/// How much more work than a request the scan may do for one object.
const PATIENCE: usize = 16;
/// So many places are named in one message.
const SHOWN: usize = 5;
/// Bytes of the longest text that is compared with values that are easy to guess.
const LONGEST_WEAK: usize = 256;

/// What the scan of an object found.
#[derive(Debug, Default, PartialEq)]
pub struct Scan {
    /// One for each segment whose values are there and may not be, and one for each whose weak values are.
    pub violations: Vec<Violation>,
    /// Whether it was given up: the object is made so that comparing it takes too long.
    pub exhausted: bool,
}

/// Says whose the value with a fingerprint is, seen from the object's namespace; asked only for what was found or is short, so
/// that nothing need be locked meanwhile.
pub type Owners<'o> = &'o dyn Fn(&Fingerprint) -> Vec<Owner>;

/// The places where values are, by the segment that owns them.
type Places<'o> = BTreeMap<String, BTreeSet<Place<'o>>>;

/// Looks for the values of other segments in a Secret or ConfigMap. `owners` are those of values that are hard to guess (see
/// [`crate::segmentation::authorize::owners`]), `owners_of_weak` those of others: a whole entry of the data is compared with
/// these.
pub fn scan(
    content: &Content<'_>,
    object: &ObjectRef,
    marks: &MarkIndex,
    keys: &SealKeys,
    owners: Owners<'_>,
    owners_of_weak: Owners<'_>,
) -> Scan {
    let (mut places, mut weak) = (Places::new(), Places::new());
    let mut names_are_values = false;
    let mut exhausted = false;
    for (place, text) in content.texts() {
        let mut search = Search::new(marks, keys, text.len(), PATIENCE);
        let looked = search.look(&text, &mut |print| {
            for owner in owners(print) {
                names_are_values |= place.is_name();
                places.entry(owner.segment).or_default().insert(place);
            }
            ControlFlow::Continue(())
        });
        exhausted |= looked.is_err();
        let whole = text.trim_ascii();
        if place.is_data() && (SHORTEST..=LONGEST_WEAK).contains(&whole.len()) {
            for owner in keys.fingerprints(whole).flat_map(|print| owners_of_weak(&print)) {
                weak.entry(owner.segment).or_default().insert(place);
            }
        }
    }
    let mut violations = Vec::new();
    for (found, reason, text) in [
        (
            places,
            Reason::ValueCopied,
            "a value of this segment is in {}: remove it there, then rotate it in the manager; who needs it claims a key of its own with a ScopedSecret",
        ),
        (
            weak,
            Reason::WeakValueCopied,
            "a value of this segment that is easy to guess is also in {}: if that is no coincidence, remove it there; set one in the manager that is hard to guess; what is no secret belongs into rules.uniqueValues.ignore of the policy",
        ),
    ] {
        violations.extend(found.into_iter().map(|(segment, places)| Violation {
            segment: segment.as_str().into(),
            rule: RULE,
            reason,
            object: object.clone(),
            message: text.replace("{}", &shown(&places, names_are_values)),
        }));
    }
    Scan { violations, exhausted }
}

/// Every value in an object. One that takes too long to compare has those that were found until then.
pub fn values_in(content: &Content<'_>, marks: &MarkIndex, keys: &SealKeys) -> HashSet<Fingerprint> {
    let mut all = HashSet::new();
    let mut search = Search::new(marks, keys, content.len(), 1);
    for (_, text) in content.texts() {
        let looked = search.look(&text, &mut |print| {
            all.insert(*print);
            ControlFlow::Continue(())
        });
        if looked.is_err() {
            break;
        }
    }
    all
}

/// The first of the places; none by its name where the name of a key is itself a value.
fn shown(places: &BTreeSet<Place<'_>>, names_are_values: bool) -> String {
    let shown = places.iter().map(|place| if names_are_values { place.unnamed() } else { *place });
    let mut shown: Vec<String> = shown.collect::<BTreeSet<_>>().iter().take(SHOWN).map(Place::to_string).collect();
    if places.len() > SHOWN {
        shown.push(format!("{} more", places.len() - SHOWN));
    }
    shown.join(", ")
}
