//! The annotation `revoke`: what is looked at for it, and the KeyRevocations that are created.

use super::asked::{Asker, Askers, dismissed, name_of};
use super::plan::{Content, Standing};
use super::{Plan, act};
use crate::admission::rules::revocations as rule;
use crate::api::key_revocation::KeyRevocationSpec;
use crate::api::scoped_secret::StoreRef;
use crate::api::{FIELD_MANAGER, GROUP, KeyRevocation, REVOKE_ANNOTATION, Reason, ScopedSecret};
use crate::client::errors::brief;
use crate::controller::context::Context;
use crate::controller::events::{self, Told};
use crate::controller::grant;
use crate::controller::grant::plan::Guarded;
use crate::controller::index::{ClaimRecord, Index};
use crate::controller::revocation;
use crate::controller::scoped_secret::look_afresh;
use crate::controller::scoped_secret::plan::Failure;
use crate::controller::watch::{self, View};
use crate::segmentation::authorize::authorize;
use crate::segmentation::key::CanonicalKey;
use crate::segmentation::verdict::Verdict;
use crate::segmentation::violation::ObjectRef;
use crate::segmentation::world::{Claim, Holding, ObjectName, StoreState, World};
use jiff::Timestamp;
use kube::api::{Api, PostParams};
use kube::runtime::events::EventType;
use std::collections::BTreeSet;
use tokio::time::Instant;

/// A ScopedSecret as far as its annotation goes; None: it is going, or cannot be understood.
fn observe(index: &Index, name: &ObjectName, now: Timestamp) -> Option<Asker> {
    let record = index.claims.get(name).filter(|record| !record.deleting)?;
    let claim = index.world.claim(name)?;
    let (standing, keys) = revocable(claim, &index.world, now);
    let mut written: Vec<String> = keys.iter().map(|(written, _)| written.clone()).collect();
    written.dedup();
    // Who has looked at it before has said so, and would have taken an annotation that was there.
    let brought = record.asks_to_revoke() && record.status.stated().next().is_none();
    let answered = if brought { answered(index, claim, &keys) } else { BTreeSet::new() };
    Some(Asker {
        uid: record.uid.clone(),
        revision: record.resource_version.clone(),
        asks: record.asks_to_revoke(),
        standing,
        shared: keys.iter().any(|(_, key)| others_have(index, claim, key, now)),
        store: claim.store.clone(),
        keys: written,
        answered,
    })
}

/// The keys, as they are written, with a KeyRevocation that was made for the annotation of an earlier ScopedSecret of this name.
fn answered(index: &Index, claim: &Claim, keys: &[(String, CanonicalKey)]) -> BTreeSet<String> {
    let asked_for = asked_for(&claim.object.namespace, &claim.object.name);
    let revocations = &index.world.revocations;
    let is_answer = |name: &String| {
        let earlier = revocations.get(name).is_some_and(|revocation| revocation.created <= claim.created);
        let reason = index.revocations.get(name).and_then(|known| known.spec.get("reason")?.as_str());
        earlier && reason == Some(&*asked_for)
    };
    let answered = keys.iter().filter(|(_, key)| revocations.of_key(key).any(is_answer));
    answered.map(|(written, _)| written.clone()).collect()
}

/// The reason of the KeyRevocations that the annotation of a ScopedSecret asks for.
fn asked_for(namespace: &str, name: &str) -> String {
    format!("{REVOKE_ANNOTATION} on ScopedSecret {namespace}/{name}")
}

/// The authoriser's answer, and the keys that a claim may revoke: what it may have, or, refused that, what its Secret holds all the
/// same, by which it has as much to do with a leak; and, where nothing but its time is over, what it could have: its pods may still run.
pub fn revocable(claim: &Claim, world: &World, now: Timestamp) -> (Standing, Vec<(String, CanonicalKey)>) {
    match authorize(claim, world, now) {
        Verdict::Allowed(grant) => {
            (Standing::Allowed, grant.keys.into_iter().map(|key| (key.written, key.canonical)).collect())
        }
        Verdict::Refused(refusal) => {
            let realm = world.stores.get(&*claim.store).and_then(StoreState::realm);
            let held = world.holding_of(claim).into_iter().flat_map(Holding::keys);
            let keys: Vec<_> =
                held.filter_map(|key| Some((key.name_within(realm?)?.to_owned(), key.clone()))).collect();
            match (keys.is_empty(), refusal.reason) {
                (true, Reason::Expired) => revocable(&Claim { ends: None, ..claim.clone() }, world, now),
                (true, _) => (Standing::Refused, keys),
                (false, _) => (Standing::Allowed, keys),
            }
        }
        Verdict::Undecided(_) => (Standing::Undecided, Vec::new()),
    }
}

/// Whether others claim a key, or hold it.
fn others_have(index: &Index, claim: &Claim, key: &CanonicalKey, now: Timestamp) -> bool {
    let own = &claim.object;
    let others = index.world.claims_on(key).filter(|other| other.object != *own);
    let mut may = others.filter(|other| !matches!(authorize(other, &index.world, now), Verdict::Refused(_)));
    let mut held = index.world.holdings_on(key);
    may.next().is_some() || held.any(|(secret, held)| secret.namespace != own.namespace || held.claim != own.name)
}

/// Those of one namespace that a predicate picks. Each is looked at by itself, so that nobody waits for all of them.
pub(super) fn askers(
    cx: &Context,
    namespace: &str,
    pick: impl Fn(&ClaimRecord) -> bool,
    guarded: Option<Guarded>,
    now: Timestamp,
) -> Askers {
    let here: Vec<ObjectName> = {
        let index = cx.index();
        let here = index.world.claims().map(|claim| &claim.object).filter(|claim| &*claim.namespace == namespace);
        here.filter(|claim| index.claims.get(claim).is_some_and(|record| pick(record))).cloned().collect()
    };
    let seen = here.into_iter().filter_map(|claim| Some((claim.name.to_string(), observe(&cx.index(), &claim, now)?)));
    let (anew, named) = (cx.guards.asked_anew(namespace), cx.guards.named(namespace));
    let recent = cx.guards.found_news(namespace);
    let news = cx.guards.content(namespace, Content::is_news) == Some(true);
    Askers { all: seen.collect(), anew, guarded, named, recent, news, at: Instant::now() }
}

/// Whether the guard says of a ScopedSecret what it ought to.
pub(super) fn is_told(cx: &Context, index: &Index, claim: &ObjectName) -> bool {
    let Some(asker) = observe(index, claim, cx.now()) else { return true };
    let anew = cx.guards.asked_anew(&claim.namespace).remove(&*claim.name);
    let held_up = cx.guards.is_held_up(&claim.namespace);
    cx.guards
        .content(&claim.namespace, |said| asker.is_told_by(&claim.name, anew.as_ref(), said, held_up))
        .unwrap_or(true)
}

/// The namespaces of the others that claim its keys, where the guard does not say so yet.
pub(super) fn untold_others(cx: &Context, index: &Index, claim: &ObjectName) -> Vec<std::sync::Arc<str>> {
    let Some(claim) = index.world.claim(claim) else { return Vec::new() };
    let keys = index.world.canonical_keys(claim);
    let others = keys.iter().flat_map(|key| index.world.claims_on(key)).filter(|other| other.object != claim.object);
    let untold = others.filter(|other| {
        let listed = |said: &Content| said.shared.contains(&*other.object.name);
        cx.guards.content(&other.object.namespace, listed) == Some(false)
    });
    let mut namespaces: Vec<_> = untold.map(|other| other.object.namespace.clone()).collect();
    namespaces.sort();
    namespaces.dedup();
    namespaces
}

/// Before a turn begins: ScopedSecret, namespace and policies are read anew, and whether the API server asks for the verb.
pub(super) async fn look(cx: &Context, namespace: &str) -> Result<Option<Guarded>, Failure> {
    let known = cx.guards.content(namespace, Clone::clone).unwrap_or_default();
    let (begin, shared): (Vec<ObjectName>, bool) = {
        let askers = askers(cx, namespace, ClaimRecord::asks_to_revoke, None, cx.now());
        let begins: Vec<_> = askers.begins(&known).collect();
        let shared = begins.iter().any(|(name, asker)| asker.shared && known.shared.contains(*name));
        (begins.iter().map(|(name, _)| ObjectName::new(namespace, name)).collect(), shared)
    };
    if begin.is_empty() || !cx.leads() {
        return Ok(None);
    }
    look_afresh(cx, namespace, None).await?;
    let failed =
        |text: &str| Failure::new(Reason::WriteFailed, format!("what {REVOKE_ANNOTATION} asks for waits: {text}"));
    let api: Api<ScopedSecret> = Api::namespaced(cx.client.clone(), namespace);
    for claim in begin {
        let fresh = api.get_opt(&claim.name).await.map_err(|error| failed(&brief(&error)))?;
        let known = cx.index().claims.get(&claim).map(|known| known.uid.clone());
        let fresh = fresh.filter(|fresh| fresh.metadata.uid.as_deref() == known.as_deref());
        let fresh = fresh.ok_or_else(|| failed("the ScopedSecret was deleted meanwhile"))?;
        watch::learn_claim(cx, fresh);
    }
    if !shared {
        return Ok(None);
    }
    match grant::in_force(cx, &rule::guard()).await {
        Guarded::Unknown => {
            Err(failed("whether the rule that asks for the verb revoke is in force could not be looked at"))
        }
        known => Ok(Some(known)),
    }
}

/// Tells whose annotation revokes nothing, once it is written down.
pub(super) async fn tell_dismissed(cx: &Context, namespace: &str, before: &Content, written: &Content) {
    let askers = askers(cx, namespace, ClaimRecord::asks_to_revoke, None, cx.now());
    for (name, uid, reason) in dismissed(before, written, &askers) {
        let about = ObjectRef {
            api_version: format!("{GROUP}/v1alpha1"),
            kind: "ScopedSecret".into(),
            namespace: Some(namespace.into()),
            name: name.to_owned(),
        };
        let message = match reason {
            Reason::GuardMissing => format!(
                "{REVOKE_ANNOTATION} revoked nothing: others claim a key of it, too, and the rule Revocations, which asks who may do that, is not in force. Once the platform team has applied deploy/ again, take the annotation off and set it anew; or create a KeyRevocation"
            ),
            Reason::RevokedBefore => format!(
                "{REVOKE_ANNOTATION} revoked nothing: it came with the ScopedSecret as that was made anew, and the one before was answered by a KeyRevocation of each key, so that what was stored since stays. Take it off; if what is there now has leaked, too, set it again then"
            ),
            _ => format!(
                "{REVOKE_ANNOTATION} revoked nothing: others claim a key of it, too, and it was set before the API server could ask for the verb revoke on scopedsecrets.{GROUP} {name:?}, or that cannot be told, since the operator has just begun. Take it off, and have it set anew by who has that verb; or ask the platform team for a KeyRevocation"
            ),
        };
        let (action, type_) = ("Revoke", EventType::Warning);
        events::publish(
            cx,
            Told { about: &about, uid: Some(uid), type_, reason: reason.as_str(), action, message: &message },
        )
        .await;
    }
}

/// Creates the KeyRevocations that were asked for, and writes down that it is done.
pub(super) async fn carry_out(cx: &Context, namespace: &str) -> Result<(), kube::Error> {
    let Some(known) = cx.guards.known(namespace).filter(|known| known.there && cx.leads()) else { return Ok(()) };
    let mut content = known.content.clone();
    let api: Api<KeyRevocation> = Api::all(cx.client.clone());
    let params = PostParams { field_manager: Some(FIELD_MANAGER.into()), ..PostParams::default() };
    let mut any = false;
    for (name, turn) in &mut content.revocations {
        for key in std::mem::take(&mut turn.keys) {
            any = true;
            let spec = KeyRevocationSpec {
                store_ref: StoreRef { name: turn.store.clone() },
                reason: asked_for(namespace, name),
                key: key.clone(),
            };
            match api.create(&params, &KeyRevocation::new(&name_of(turn, &key), spec)).await {
                Ok(made) => {
                    let made = serde_json::to_value(made).and_then(serde_json::from_value);
                    made.iter().for_each(|made| revocation::observe(cx, made, View::Answer));
                }
                // By whoever was killed before it was written down.
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                Err(error) => return Err(error),
            }
        }
    }
    if any { act(cx, namespace, Some(known), Plan::Write(content)).await } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segmentation::fixtures::{at, claim};
    use crate::segmentation::key::RemoteKey;
    use crate::segmentation::revoked::Revocation;

    #[test]
    fn what_was_revoked_for_the_one_before_was_answered() {
        let key = "payments/prod/db";
        let claim = claim("payments-prod", "orders").of(key);
        let own = "scopedsecrets.io/revoke on ScopedSecret payments-prod/orders";
        let other = "scopedsecrets.io/revoke on ScopedSecret payments-prod/other";
        let before = claim.created - jiff::SignedDuration::from_secs(60);
        let after = claim.created + jiff::SignedDuration::from_secs(60);
        for (what, of, reason, created, is_answered) in [
            ("for the one before", key, own, before, true),
            ("in the same second", key, own, claim.created, true),
            ("since it was made", key, own, after, false),
            ("another's", key, other, before, false),
            ("by hand", key, "seen in a build log", before, false),
            ("another key", "payments/prod/api", own, before, false),
        ] {
            let mut index = Index::default();
            index.world.put_store("aws", World::with_tenants().stores.get("aws").cloned());
            let revoked =
                Revocation { store: "aws".into(), key: RemoteKey::parse(of).unwrap(), created, versions: None };
            index.world.put_revocation("leak", Some(revoked));
            let known = revocation::Known {
                uid: "u".into(),
                resource_version: "7".into(),
                generation: 1,
                spec: serde_json::json!({"storeRef": {"name": "aws"}, "key": of, "reason": reason}),
                status: Default::default(),
                recorded: Default::default(),
            };
            index.revocations.insert("leak".into(), known);
            let keys: Vec<_> = index.world.canonical_keys(&claim).into_iter().map(|c| (key.to_owned(), c)).collect();
            assert_eq!(answered(&index, &claim, &keys).contains(key), is_answered, "{what}");
        }
    }

    #[test]
    fn who_is_refused_revokes_what_his_secret_holds() {
        let mut world = World::with_tenants();
        let keys = |claim: &Claim, world: &World| {
            let (standing, keys) = revocable(claim, world, at(2_000_000));
            (standing, keys.into_iter().map(|(written, _)| written).collect::<Vec<_>>())
        };
        let own = claim("payments-prod", "orders").of("payments/prod/db");
        world.holds(own.clone(), at(1_500_000));
        assert_eq!(keys(&own, &world), (Standing::Allowed, vec!["payments/prod/db".to_owned()]));
        // Edited past admission: its Secret stays as it was.
        let edited = claim("payments-prod", "orders").of("billing/prod/db");
        world.put_claim(edited.clone());
        assert_eq!(keys(&edited, &world), (Standing::Allowed, vec!["payments/prod/db".to_owned()]));
        let thief = claim("payments-prod", "thief").of("billing/prod/db");
        assert_eq!(keys(&thief, &world), (Standing::Refused, Vec::new()));
        // Its time is over, and its Secret is gone; what still runs may leak it.
        let over = Claim { ends: Some(at(1_600_000).into()), ..claim("payments-prod", "task").of("payments/prod/api") };
        world.put_claim(over.clone());
        assert_eq!(keys(&over, &world), (Standing::Allowed, vec!["payments/prod/api".to_owned()]));
        let thief = Claim { ends: over.ends, ..thief };
        assert_eq!(keys(&thief, &world), (Standing::Refused, Vec::new()), "nor what it never could have");
    }
}
