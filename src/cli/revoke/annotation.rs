//! Revoking by the annotation: for who may change a ScopedSecret, and create no KeyRevocation. Pure.

use super::{kept, of_secret};
use crate::api::REVOKE_ANNOTATION;
use crate::cli::change::look::Sight;
use crate::cli::change::plan::Plan;
use crate::cli::change::write::Write;
use crate::cli::cluster::Failure;
use crate::cli::remote::Remote;
use crate::controller::guard::revocable;
use crate::segmentation::consumers::Standing;
use crate::segmentation::world::ObjectName;
use jiff::Timestamp;
use kube::ResourceExt;
use serde_json::json;
use std::collections::BTreeSet;

/// The same, by the annotation: the operator creates the KeyRevocations, of the keys that it finds to be revoked. Where the reader
/// cannot see what the operator will find, they are those that are named.
pub fn instead(direct: Plan, sight: &Sight, now: Timestamp) -> Result<Plan, Failure> {
    let (claim, effects, observed) = (&sight.claim, &sight.effects, &sight.observed);
    let asked = observed.world.claim(&ObjectName::new(&claim.namespace().unwrap_or_default(), &claim.name_any()));
    let (standing, found) =
        asked.map_or((Standing::Undecided, Vec::new()), |asked| revocable(asked, &observed.world, now));
    let keys: Vec<&str> = match standing {
        Standing::Allowed => found.iter().map(|(written, _)| written.as_str()).collect(),
        Standing::Undecided => claim.spec.remote_refs().map(|(key, ..)| key).collect(),
        Standing::Refused => return Err(revokes_nothing()),
    };
    let mut once = BTreeSet::new();
    let keys: Vec<&str> = keys.into_iter().filter(|key| once.insert(*key)).collect();
    let goes = |remote: &&Remote| {
        let canonical = observed.canonical(&remote.store, &remote.key);
        keys.contains(&remote.key.as_str()) || found.iter().any(|(_, key)| canonical.as_ref() == Some(key))
    };
    let (going, staying): (Vec<_>, Vec<_>) =
        effects.keys.iter().filter(|remote| remote.version.is_some()).partition(goes);
    let mut plan = direct;
    plan.happens[0] = format!(
        "{} is revoked: you may not create KeyRevocations, so that the operator is asked to, by the annotation {REVOKE_ANNOTATION}; each version that the manager has made until then",
        keys.join(", ")
    );
    plan.happens[1] = of_secret(effects, &going, &staying);
    plan.notes = vec![
        "only the platform team can lift it early, by deleting the KeyRevocation: taking the annotation off lifts nothing"
            .to_owned(),
        format!("--reason is not written down: the KeyRevocation says that {REVOKE_ANNOTATION} asked for it"),
        format!(
            "take the annotation off once the Secret is back, also where the ScopedSecret is kept (Git, a backup): kubectl annotate scopedsecret {} -n {} {REVOKE_ANNOTATION}-",
            claim.name_any(),
            claim.namespace().unwrap_or_default()
        ),
    ];
    plan.notes.extend(kept(&staying));
    if !effects.shared().is_empty() {
        plan.notes.push(format!(
            "where others claim a key, too, you need the verb revoke on scopedsecrets.scopedsecrets.io {:?}",
            claim.name_any()
        ));
    }
    // Set anew, it acts anew.
    let (name, uid) = (claim.name_any(), claim.metadata.uid.as_deref());
    let off = Write::Patch {
        kind: "ScopedSecret",
        name: name.clone(),
        patch: json!({"metadata": {"uid": uid, "annotations": {REVOKE_ANNOTATION: null}}}),
    };
    plan.writes = stands(sight).then_some(off).into_iter().collect();
    plan.writes.push(Write::annotate(&name, uid, REVOKE_ANNOTATION, "true"));
    plan.done = "the operator was told to revoke its keys".to_owned();
    Ok(plan)
}

/// The operator would find no key.
fn revokes_nothing() -> Failure {
    Failure::Usage(format!(
        "nothing was changed: the ScopedSecret is refused its keys, and its Secret has none that its store reaches, so that {REVOKE_ANNOTATION} would revoke nothing: ask the platform team for a KeyRevocation"
    ))
}

/// Whether the annotation is there already.
fn stands(sight: &Sight) -> bool {
    sight.claim.annotations().contains_key(REVOKE_ANNOTATION)
}

/// Whether it is known that the annotation, which is there already, is set anew only by who has the verb `revoke`, since others have
/// a key, too. The dry runs do not say so: taking it off is free, and over itself it is nothing new.
pub fn takes_the_verb(sight: &Sight) -> bool {
    stands(sight) && !sight.effects.sharers.is_empty()
}

/// That verb is missing.
pub fn not_allowed(sight: &Sight) -> Failure {
    Failure::Usage(format!(
        "nothing was changed: {REVOKE_ANNOTATION} is there already, others claim a key of it, too, and you may not set it anew: ask the platform team for the verb revoke on scopedsecrets.scopedsecrets.io {:?}, or for a KeyRevocation",
        sight.claim.name_any()
    ))
}
