//! Rule `OtherOperators`: what objects of other operators ask for, where a policy governs them.

use super::{Around, answered, namespace_missing, place_of_text};
use crate::api::Reason;
use crate::api::policy::Mode;
use crate::cli::simulate::kind::Kind;
use crate::cli::simulate::object::Object;
use crate::cli::simulate::report::{Finding, Rule, Severity};
use crate::segmentation::authorize::foreign::{Foreigners, Refused};
use crate::segmentation::foreign::{self, ForeignKind, ForeignName, Record};
use crate::segmentation::world::World;
use jiff::Timestamp;
use std::collections::BTreeMap;

/// Takes in every object and store, in the order of the input: of two that ask for one key, the first had it before.
pub fn observe(world: &mut World, objects: &[&Object]) {
    ForeignKind::ALL.iter().for_each(|kind| world.foreign.set_read(*kind, true));
    for (position, object) in objects.iter().enumerate() {
        let Some(name) = name_of(object) else { continue };
        let spec = object.node.get("spec").map(|spec| spec.to_stored_json()).unwrap_or_default();
        if name.kind.is_store() {
            world.foreign.put_store(name, foreign::store(&spec));
        } else {
            let created = i64::try_from(position).ok().and_then(|second| Timestamp::from_second(second).ok());
            let uid = format!("{position:020}");
            let record = Record::of(name.kind, &spec, &uid, created.unwrap_or(Timestamp::MAX));
            world.foreign.put(name, record);
        }
    }
}

fn name_of(object: &Object) -> Option<ForeignName> {
    let Kind::Foreign(kind) = object.kind else { return None };
    Some(ForeignName::new(kind, object.namespace.as_deref(), &object.name))
}

/// Each ask that is refused, where it is written.
pub fn judge(around: &Around<'_, '_>, object: &Object, findings: &mut Vec<Finding>) {
    let Some(name) = name_of(object) else { return };
    let Some(record) = around.world.foreign.object(&name) else { return };
    let refused = Foreigners::new(around.world, around.now).refusals_of(&name, record);
    // One that spreads is refused in each namespace.
    let mut worst: BTreeMap<usize, (Mode, Vec<Refused>)> = BTreeMap::new();
    // What must be corrected elsewhere in the input was said of that.
    let waits = [Reason::PolicyUnknown, Reason::SegmentConflict, Reason::AccountUnknown];
    for refused in refused {
        if !around.world.namespaces.contains_key(&refused.namespace) {
            return findings.push(namespace_missing(object, Severity::Error, Rule::OtherOperators, &refused.namespace));
        }
        if waits.contains(&refused.refusal.reason) {
            continue;
        }
        let (mode, all) = worst.entry(refused.ask).or_insert((refused.refusal.mode, Vec::new()));
        *mode = (*mode).max(refused.refusal.mode);
        all.push(refused);
    }
    for (ask, (mode, all)) in worst {
        let key = record.asks.get(ask).map_or("", |ask| &ask.key);
        let spec = object.node.get("spec").filter(|_| !key.is_empty());
        let at = spec.and_then(|spec| place_of_text(spec, key)).unwrap_or(object.node.place_of("spec"));
        let more = all.len() - 1;
        let Some(Refused { mut refusal, .. }) = all.into_iter().find(|refused| refused.refusal.mode == mode) else {
            continue;
        };
        if more > 0 {
            refusal.message.push_str(&format!(" (and likewise {more} more)"));
        }
        findings.push(answered(object, Rule::OtherOperators, refusal, at));
    }
}
