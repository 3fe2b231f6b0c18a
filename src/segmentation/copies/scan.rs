//! The background scan of one object: the same search as at admission, for what was there before or got past.

use super::content::{Content, Place};
use super::index::MarkIndex;
use super::search::Search;
use crate::api::Reason;
use crate::segmentation::authorize::Owner;
use crate::segmentation::fingerprint::Fingerprint;
use crate::segmentation::seal::SealKeys;
use crate::segmentation::violation::{ObjectRef, Violation};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

/// The rule's name.
pub const RULE: &str = "Copies";

/// How much more work than a request the scan may do for one object.
const PATIENCE: usize = 16;
/// So many places are named in one message.
const SHOWN: usize = 5;

/// What the scan of an object found.
#[derive(Debug, Default, PartialEq)]
pub struct Scan {
    /// One for each segment whose values are there and may not be.
    pub violations: Vec<Violation>,
    /// Whether it was given up: the object is made so that comparing it takes too long.
    pub exhausted: bool,
}

/// Looks for the values of other segments in a Secret or ConfigMap. `owners` says whose a value is that is found in the
/// object's namespace (see [`crate::segmentation::authorize::owners`]); it is asked only for what was found, so that nothing
/// need be locked meanwhile.
pub fn scan(
    content: &Content<'_>,
    object: &ObjectRef,
    marks: &MarkIndex,
    keys: &SealKeys,
    owners: &dyn Fn(&Fingerprint) -> Vec<Owner>,
) -> Scan {
    let mut places: BTreeMap<String, BTreeSet<Place<'_>>> = BTreeMap::new();
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
    }
    let violation = |(segment, places): (String, BTreeSet<Place<'_>>)| {
        let shown = places.iter().map(|place| if names_are_values { place.unnamed() } else { *place });
        let mut shown: Vec<String> = shown.collect::<BTreeSet<_>>().iter().take(SHOWN).map(Place::to_string).collect();
        if places.len() > SHOWN {
            shown.push(format!("{} more", places.len() - SHOWN));
        }
        Violation {
            segment: segment.as_str().into(),
            rule: RULE,
            reason: Reason::ValueCopied,
            object: object.clone(),
            message: format!(
                "a value of this segment is in {}: remove it there, then rotate it in the manager; who needs it claims a key of its own with a ScopedSecret",
                shown.join(", ")
            ),
        }
    };
    Scan { violations: places.into_iter().map(violation).collect(), exhausted }
}
