//! `rotation.after`: looks for rollouts of consumers and changes of their RBAC, and asks for the rotations that follow.
//!
//! ```text
//!   Job::After, every few minutes ─► look (pages) ─► follow ─► Job::Claim ─► the seal says it ─► Trigger ─► rotation
//!                                                                   the seal says it is over ◄─── done ◄──────┘
//! ```
//!
//! Neither workloads nor all roles are watched, whose stores would cost more memory than all else: namespaces with a claim that asks
//! for it are looked at in turn, and what was seen is a hash in the claim's seal. So a rotation follows a rollout within a few
//! minutes, and what happened while no operator ran is found, too.

mod look;

use super::context::{Context, Job};
use super::queue::Lane;
use crate::api::ScopedSecretSpec;
use crate::api::rotation::After;
use crate::client::errors::brief;
use crate::rotation::after::{follow, settle, triggers};
use crate::rotation::slot::Trigger;
use crate::rotation::triggers::State;
use crate::segmentation::followed::Followed;
use crate::segmentation::world::ObjectName;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::time::Instant;

/// It is looked once in so many rounds of housekeeping: every three minutes.
const ROUNDS: u32 = 12;

/// What the seals of claims are to say, and which triggers are about to be settled. Losing it costs one look.
#[derive(Default)]
pub struct Afters(Mutex<Known>);

#[derive(Default)]
struct Known {
    /// What a seal said when it was looked at, and what it is to say.
    news: HashMap<ObjectName, (Option<Followed>, Followed)>,
    /// Asked for by what the seal says.
    asked: HashMap<ObjectName, Vec<Trigger>>,
}

impl Afters {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a seal that says this is to say.
    pub fn news(&self, claim: &ObjectName, said: Option<&Followed>) -> Option<Followed> {
        let known = self.known();
        let (base, next) = known.news.get(claim)?;
        (base.as_ref() == said).then(|| next.clone())
    }

    fn tell(&self, claim: &ObjectName, said: Option<&Followed>, next: Followed) {
        self.known().news.insert(claim.clone(), (said.cloned(), next));
    }

    /// What a claim was last found to have is in its seal, or is none.
    fn told(&self, claim: &ObjectName, said: Option<&Followed>) {
        let mut known = self.known();
        if known.news.get(claim).is_some_and(|(_, next)| Some(next) == said) {
            known.news.remove(claim);
        }
    }

    /// Another reign: what was known may be old.
    pub fn clear(&self) {
        *self.known() = Known::default();
    }
}

/// A claim that is rotated after something.
struct Following {
    claim: ObjectName,
    secret: String,
    consumers: Vec<String>,
    after: Vec<After>,
    said: Option<Followed>,
}

/// Those whose Secret stands, by namespace.
fn following(cx: &Context) -> BTreeMap<Arc<str>, Vec<Following>> {
    let index = cx.index();
    let mut all: BTreeMap<Arc<str>, Vec<Following>> = BTreeMap::new();
    for claim in index.world.claims().filter(|claim| claim.rotates.is_some()) {
        let name = &claim.object;
        let spec = index.claims.get(name).filter(|record| !record.deleting).and_then(|record| record.spec.as_deref());
        let Some(spec) = spec.and_then(|bytes| serde_json::from_slice::<ScopedSecretSpec>(bytes).ok()) else {
            continue;
        };
        let after = spec.rotation.map(|rotation| rotation.after).unwrap_or_default();
        if after.is_empty() {
            continue;
        }
        let secret = ObjectName::of(name.namespace.clone(), claim.target.clone());
        let Some(seal) = index.secret(&secret).and_then(|facts| facts.seal.as_ref().ok()) else { continue };
        if seal.holding.claim != name.name {
            continue;
        }
        all.entry(name.namespace.clone()).or_default().push(Following {
            claim: name.clone(),
            secret: secret.name.to_string(),
            consumers: spec.consumers.into_iter().map(|consumer| consumer.service_account_name).collect(),
            after,
            said: seal.followed.as_deref().cloned(),
        });
    }
    all
}

/// Looks at every namespace that has such a claim, and again in a while: others may come to ask for it.
pub async fn reconcile(cx: &Context) {
    let mut cluster = look::Cluster::default();
    for (namespace, claims) in following(cx) {
        match look::look(cx, &namespace, &claims, &mut cluster).await {
            Ok(seen) => {
                for (following, seen) in claims.iter().zip(seen) {
                    let said = following.said.as_ref();
                    if let Some(next) = follow(said, &seen, cx.now()) {
                        cx.after.tell(&following.claim, said, next);
                        cx.queue.add(Job::Claim(following.claim.clone()), Lane::Urgent);
                    }
                }
            }
            Err(error) => {
                tracing::warn!(%namespace, error = %brief(&error), "rollouts and roles of consumers were not looked at; it is tried again");
            }
        }
    }
    cx.queue.add_at(Job::After, Instant::now() + cx.nature.housekeeping * ROUNDS);
}

/// Asks for the rotations that a seal says are due, and has it say so when they are done. Before the claim's key is rotated.
pub fn ask(cx: &Context, claim: &ObjectName, secret: &ObjectName, spec: &ScopedSecretSpec) {
    let (stands, said) = {
        let index = cx.index();
        let seal = index.secret(secret).and_then(|facts| facts.seal.as_ref().ok());
        (seal.is_some(), seal.and_then(|seal| seal.followed.as_deref().cloned()))
    };
    let listed = spec.rotation.as_ref().is_some_and(|rotation| !rotation.after.is_empty());
    cx.after.told(claim, said.as_ref());
    if listed && stands && said.is_none() && cx.after.news(claim, None).is_none() {
        // New: it is looked at now rather than in a while. Without a Secret there is nothing to rotate yet.
        cx.queue.add(Job::After, Lane::Routine);
    }
    let due: Vec<Trigger> = said.iter().filter(|_| listed).flat_map(triggers).collect();
    let before = cx.after.known().asked.insert(claim.clone(), due.clone()).unwrap_or_default();
    let mut index = cx.index_mut();
    before.iter().filter(|trigger| !due.contains(trigger)).for_each(|over| index.triggers.remove(claim, over));
    let mut again = false;
    for trigger in &due {
        // The claim is being worked on, and is rotated next.
        index.triggers.add(claim, trigger.clone());
        let done = index.triggers.state(claim, trigger) == Some(State::Done);
        let settled = said.as_ref().filter(|_| done).and_then(|said| settle(said, trigger));
        if let Some(next) = settled {
            cx.after.tell(claim, said.as_ref(), next);
            again = true;
        }
    }
    drop(index);
    if due.is_empty() {
        cx.after.known().asked.remove(claim);
    }
    if again {
        cx.queue.add(Job::Claim(claim.clone()), Lane::Urgent);
    }
}
