//! What is known of the SegmentGuards, and which claims wait for one.

use super::asked::Anew;
use super::plan::Content;
use crate::controller::scoped_secret::plan::Failure;
use crate::controller::watch::View;
use crate::segmentation::world::ObjectName;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// A guard as it was last seen or written.
#[derive(Debug, Clone, PartialEq)]
pub struct Known {
    /// Its uid.
    pub uid: String,
    /// Its resourceVersion.
    pub resource_version: String,
    /// What it says.
    pub content: Content,
    /// Whether it is there. One that somebody deleted is put back as it was.
    pub there: bool,
}

/// The guard of one namespace.
#[derive(Debug, Default)]
struct Place {
    known: Option<Known>,
    /// Claims that may not be fetched before the guard names their Secret.
    waiting: BTreeSet<ObjectName>,
    /// Why it could not be written.
    failure: Option<Failure>,
    failures: u32,
    /// When it was last tried in vain.
    failed_at: Option<Instant>,
    /// Until when the writes so far count: one counts for [`EACH`].
    spent: Option<Instant>,
    /// Which Secrets that are still to come the namespace's pods were looked through for.
    looks: HashMap<String, Look>,
    /// Whether something new may find no room in it.
    full: bool,
    /// The claims that it has no room for.
    left_out: BTreeSet<ObjectName>,
    /// The ScopedSecrets whose annotation `revoke` was seen to come.
    asked_anew: BTreeMap<String, Anew>,
    /// Since when the guard says that others have their keys, where this process has seen it begin to.
    named: BTreeMap<String, Instant>,
    /// When this process found its list to be news, by its label; None: it was not, or is not any more.
    found_news: Option<Instant>,
    /// The rule that asks for the verb `revoke` is in another form: who asks for it where others have the key waits, and nobody else.
    held_up: bool,
}

/// A look through the pods that were there when the guard already named a Secret: later ones are the API server's.
#[derive(Debug, Clone)]
struct Look {
    /// The consumers that it was for.
    consumers: Vec<String>,
    at: Instant,
    /// What was in the way.
    foreign: Option<Failure>,
}

/// A look that found something is good for this long. One that found nothing is good as long as the guard says the same.
const STALE: Duration = Duration::from_secs(10);

/// In the long run a guard is written this often at most, so that a burst of claims costs few writes.
const EACH: Duration = Duration::from_secs(4);
/// So many more are made at once: a claim that comes by itself does not wait.
const AT_ONCE: u32 = 3;
/// How long a failing write is left alone, at first and at most.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);

/// All of them.
#[derive(Debug, Default)]
pub struct Guards(Mutex<HashMap<String, Place>>);

impl Guards {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Place>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The namespaces of which a guard is known.
    pub fn namespaces(&self) -> Vec<String> {
        self.lock().iter().filter(|(_, place)| place.known.is_some()).map(|(name, _)| name.clone()).collect()
    }

    /// The guard of a namespace.
    pub fn known(&self, namespace: &str) -> Option<Known> {
        self.lock().get(namespace)?.known.clone()
    }

    /// What is made of all that a guard says; None if there is none.
    pub fn content<T>(&self, namespace: &str, of: impl FnOnce(&Content) -> T) -> Option<T> {
        let places = self.lock();
        let known = places.get(namespace)?.known.as_ref().filter(|known| known.there)?;
        Some(of(&known.content))
    }

    /// Whether what the annotation `revoke` asks for where others have the key waits for its rule; true if that is news.
    pub fn hold_up(&self, namespace: &str, waits: bool) -> bool {
        let mut places = self.lock();
        let Some(place) = places.get_mut(namespace) else { return false };
        let before = std::mem::replace(&mut place.held_up, waits);
        waits && !before
    }

    /// Whether it waits.
    pub fn is_held_up(&self, namespace: &str) -> bool {
        self.lock().get(namespace).is_some_and(|place| place.held_up)
    }

    /// The annotation `revoke` was seen to come: a turn begins, even if the one before was not seen to end.
    pub fn asks_anew(&self, claim: &ObjectName, anew: Anew) {
        let mut places = self.lock();
        let place = places.entry(claim.namespace.to_string()).or_default();
        place.asked_anew.insert(claim.name.to_string(), anew);
    }

    /// Since when the guard names those whose annotation takes the verb `revoke`, where this process has seen it begin to.
    pub fn named(&self, namespace: &str) -> BTreeMap<String, Instant> {
        self.lock().get(namespace).map(|place| place.named.clone()).unwrap_or_default()
    }

    /// Those whose annotation was seen to come.
    pub fn asked_anew(&self, namespace: &str) -> BTreeMap<String, Anew> {
        self.lock().get(namespace).map(|place| place.asked_anew.clone()).unwrap_or_default()
    }

    /// When this process found what the guard lists to be news, which it still is.
    pub fn found_news(&self, namespace: &str) -> Option<Instant> {
        self.lock().get(namespace)?.found_news
    }

    /// Takes in a guard that was seen or written; true if it is another than was known.
    pub fn put(&self, namespace: &str, known: Known, view: View) -> bool {
        let mut places = self.lock();
        let place = places.entry(namespace.to_owned()).or_default();
        let same = place.known.as_ref().filter(|before| before.uid == known.uid && view != View::Listed);
        if same.is_some_and(|before| {
            !before.there || view.is_passed_over(&known.resource_version, &before.resource_version)
        }) {
            return false;
        }
        let changed = place.known.as_ref() != Some(&known);
        let before = place.known.as_ref().filter(|before| before.there && before.uid == known.uid);
        let was_named = |name: &String| before.is_some_and(|before| before.content.shared.contains(name));
        // What a process finds as it begins was there before: its label says whether that was for long enough.
        let is_first = place.known.is_none() && view == View::Listed;
        let is_news = known.content.is_news();
        place.found_news = place.found_news.or(is_first.then(Instant::now)).filter(|_| is_news);
        let shared = &known.content.shared;
        place.named.retain(|name, _| shared.contains(name));
        let begun: Vec<&String> = shared.iter().filter(|name| !is_first && !was_named(name)).collect();
        place.named.extend(begun.into_iter().map(|name| (name.clone(), Instant::now())));
        place.known = Some(known);
        changed
    }

    /// A guard was seen to be gone; true if it is the one that was known, which may have been on its way out already. Whatever kept
    /// it from being written is looked at anew. Without a uid, as a full listing tells, that is news only of one that was there.
    pub fn gone(&self, namespace: &str, uid: Option<&str>) -> bool {
        let mut places = self.lock();
        let Some(place) = places.get_mut(namespace) else { return false };
        let Some(known) = place.known.as_mut().filter(|known| uid.map_or(known.there, |uid| known.uid == uid)) else {
            return false;
        };
        known.there = false;
        (place.failures, place.failed_at) = (0, None);
        true
    }

    /// Forgets what a guard said: it was removed, or went with its namespace.
    pub fn forget(&self, namespace: &str) {
        let mut places = self.lock();
        if let Some(place) = places.get_mut(namespace) {
            place.known = None;
            place.looks = HashMap::new();
            if place.waiting.is_empty() {
                places.remove(namespace);
            }
        }
    }

    /// What the guard of a namespace says of a Secret; None if there is no guard.
    pub fn says(&self, namespace: &str, target: &str) -> Option<Option<Vec<String>>> {
        let places = self.lock();
        let known = places.get(namespace)?.known.as_ref().filter(|known| known.there)?;
        Some(known.content.targets.get(target).cloned())
    }

    /// What the guard said of a Secret when it was last there.
    pub fn said(&self, namespace: &str, target: &str) -> Option<Vec<String>> {
        self.lock().get(namespace)?.known.as_ref()?.content.targets.get(target).cloned()
    }

    /// Lets a claim wait; why the guard could not be written, if that failed.
    pub fn wait(&self, claim: &ObjectName) -> Option<Failure> {
        let mut places = self.lock();
        let place = places.entry(claim.namespace.to_string()).or_default();
        place.waiting.insert(claim.clone());
        place.failure.clone()
    }

    /// Whether the guard is full, and has no room for this claim, which it does not speak of.
    pub fn leaves_out(&self, claim: &ObjectName) -> bool {
        let mut places = self.lock();
        let Some(place) = places.get_mut(&*claim.namespace).filter(|place| place.full) else { return false };
        place.left_out.insert(claim.clone());
        true
    }

    /// The claims that it has had no room for.
    pub fn left_out(&self, namespace: &str) -> BTreeSet<ObjectName> {
        self.lock().get(namespace).map(|place| place.left_out.clone()).unwrap_or_default()
    }

    /// Whether it is full now, and what has found room since.
    pub fn fills(&self, namespace: &str, full: bool, freed: &[ObjectName]) {
        if let Some(place) = self.lock().get_mut(namespace) {
            place.full = full;
            place.left_out.retain(|claim| !freed.contains(claim));
        }
    }

    /// Those who wait.
    pub fn waiting(&self, namespace: &str) -> BTreeSet<ObjectName> {
        self.lock().get(namespace).map(|place| place.waiting.clone()).unwrap_or_default()
    }

    /// What a look through the pods for a Secret found, None inside for nothing; None where one is needed.
    pub fn looked(&self, namespace: &str, target: &str, now: Instant) -> Option<Option<Failure>> {
        let places = self.lock();
        let place = places.get(namespace)?;
        let consumers = place.known.as_ref()?.content.targets.get(target)?;
        let look = place.looks.get(target).filter(|look| look.consumers == *consumers)?;
        (look.foreign.is_none() || now.duration_since(look.at) < STALE).then(|| look.foreign.clone())
    }

    /// Forgets the looks for all but these Secrets, which are still to come.
    pub fn looks_only_for(&self, namespace: &str, to_come: impl Fn(&str) -> bool) {
        if let Some(place) = self.lock().get_mut(namespace) {
            place.looks.retain(|target, _| to_come(target));
            place.looks.shrink_to_fit();
        }
    }

    /// The pods were looked through for these Secrets, and for no others that are still to come.
    pub fn looked_through(
        &self,
        namespace: &str,
        found: impl IntoIterator<Item = (String, Vec<String>, Option<Failure>)>,
        at: Instant,
    ) {
        let mut places = self.lock();
        let place = places.entry(namespace.to_owned()).or_default();
        let looks = found.into_iter().map(|(target, consumers, foreign)| (target, Look { consumers, at, foreign }));
        place.looks = looks.collect();
    }

    /// When the guard may be written again, if not now.
    pub fn not_before(&self, namespace: &str, now: Instant) -> Option<Instant> {
        let places = self.lock();
        let place = places.get(namespace)?;
        let pause = FIRST.saturating_mul(1 << place.failures.min(6)).min(LONGEST);
        let retry = place.failed_at.map(|at| at + pause);
        let paced = place.spent.and_then(|until| until.checked_sub(EACH * AT_ONCE));
        retry.max(paced).filter(|at| *at > now)
    }

    /// A write is about to be tried.
    pub fn tries(&self, namespace: &str, now: Instant) {
        let mut places = self.lock();
        let place = places.entry(namespace.to_owned()).or_default();
        place.spent = Some(place.spent.map_or(now, |until| until.max(now)) + EACH);
    }

    /// The guard is as it ought to be: those who waited for it.
    pub fn settled(&self, namespace: &str) -> BTreeSet<ObjectName> {
        let mut places = self.lock();
        let Some(place) = places.get_mut(namespace) else { return BTreeSet::new() };
        (place.failure, place.failures, place.failed_at) = (None, 0, None);
        let waiting = std::mem::take(&mut place.waiting);
        if place.known.is_none() {
            places.remove(namespace);
        }
        waiting
    }

    /// It could not be written: those who wait for it, and go on waiting. A conflict is none before it stays one.
    pub fn failed(&self, namespace: &str, failure: Failure, conflict: bool, now: Instant) -> BTreeSet<ObjectName> {
        let mut places = self.lock();
        let place = places.entry(namespace.to_owned()).or_default();
        place.failures = place.failures.saturating_add(1);
        place.failed_at = Some(now);
        if conflict && place.failures < 3 {
            return BTreeSet::new();
        }
        place.failure = Some(failure);
        place.waiting.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::SHARED_SINCE_LABEL;

    #[test]
    fn a_burst_costs_few_writes_and_a_lone_claim_does_not_wait() {
        let (guards, start) = (Guards::default(), Instant::now());
        let (mut now, mut written) = (start, 0);
        // Something to write at every moment of forty seconds.
        while now < start + Duration::from_secs(40) {
            match guards.not_before("payments-prod", now) {
                Some(at) => now = at,
                None => {
                    guards.tries("payments-prod", now);
                    written += 1;
                    now += Duration::from_millis(5);
                }
            }
        }
        assert_eq!(written, 4 + 9);
        let rested = now + Duration::from_secs(60);
        assert_eq!(guards.not_before("payments-prod", rested), None);
        assert_eq!(guards.not_before("payments-staging", start), None);
    }

    #[test]
    fn a_failing_write_costs_less_and_less_and_success_frees_those_who_wait() {
        let (guards, claim) = (Guards::default(), ObjectName::new("payments-prod", "orders"));
        let failure = Failure::new(crate::api::Reason::WriteFailed, "no");
        let mut now = Instant::now();
        assert_eq!(guards.wait(&claim), None);
        let mut pauses = Vec::new();
        for round in 0..8 {
            guards.tries("payments-prod", now);
            let told = guards.failed("payments-prod", failure.clone(), round < 2, now);
            assert_eq!(told.len(), usize::from(round >= 2), "a conflict is none at first");
            let at = guards.not_before("payments-prod", now).unwrap();
            pauses.push(at.duration_since(now).as_secs());
            now = at;
        }
        assert_eq!(pauses, [2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(guards.wait(&claim), Some(failure));
        assert_eq!(guards.settled("payments-prod"), BTreeSet::from([claim.clone()]));
        assert_eq!(guards.wait(&claim), None);
    }

    #[test]
    fn one_that_is_seen_to_go_is_written_again_at_once() {
        let start = Instant::now();
        let failure = Failure::new(crate::api::Reason::WriteFailed, "it is being deleted");
        for (there, uid, goes) in [
            (false, Some("1"), true),
            (true, Some("1"), true),
            (true, None, true),
            (false, None, false),
            (false, Some("another"), false),
        ] {
            let guards = Guards::default();
            let known = Known { uid: "1".into(), resource_version: "7".into(), content: Content::default(), there };
            guards.put("payments-prod", known, View::Newest);
            (0..6).for_each(|_| drop(guards.failed("payments-prod", failure.clone(), true, start)));
            assert!(guards.not_before("payments-prod", start).is_some());
            assert_eq!(guards.gone("payments-prod", uid), goes, "{there} {uid:?}");
            assert_eq!(guards.not_before("payments-prod", start).is_none(), goes, "{there} {uid:?}");
            assert_eq!(guards.known("payments-prod").map(|known| known.there), Some(there && !goes));
        }
    }

    #[test]
    fn a_look_is_good_while_the_guard_says_the_same() {
        let (guards, start) = (Guards::default(), Instant::now());
        let known = |account: &str| {
            let targets = [("orders".to_owned(), vec![account.to_owned()])].into();
            let content = Content { targets, ..Content::default() };
            Known { uid: "1".into(), resource_version: "7".into(), content, there: true }
        };
        let looked = |seconds| guards.looked("payments-prod", "orders", start + Duration::from_secs(seconds));
        guards.put("payments-prod", known("orders"), View::Listed);
        assert_eq!(looked(0), None);
        let found = |foreign| [("orders".to_owned(), vec!["orders".to_owned()], foreign)];
        guards.looked_through("payments-prod", found(None), start);
        assert_eq!((looked(0), looked(9_999)), (Some(None), Some(None)));
        let failure = Failure::new(crate::api::Reason::ForeignConsumer, "a pod");
        guards.looked_through("payments-prod", found(Some(failure.clone())), start);
        assert_eq!((looked(9), looked(10)), (Some(Some(failure)), None), "the pod may be gone by then");
        guards.looked_through("payments-prod", found(None), start);
        guards.put("payments-prod", known("another"), View::Listed);
        assert_eq!(looked(0), None, "other consumers, other strangers");
        guards.put("payments-prod", known("orders"), View::Listed);
        guards.forget("payments-prod");
        assert_eq!(looked(0), None);
    }

    #[test]
    fn since_when_a_guard_names_a_scoped_secret_is_known_where_that_was_seen() {
        let guard = |uid: &str, revision: &str, shared: &[&str]| {
            let shared = shared.iter().map(|&name| name.to_owned()).collect();
            let content = Content { shared, ..Content::default() };
            Known { uid: uid.into(), resource_version: revision.into(), content, there: true }
        };
        let (guards, here) = (Guards::default(), "payments-prod");
        let named = || guards.named(here).into_keys().collect::<Vec<_>>();
        guards.put(here, guard("1", "7", &["a"]), View::Listed);
        assert!(named().is_empty() && guards.found_news(here).is_none(), "as it was found");
        guards.put(here, guard("1", "8", &["a", "b"]), View::Answer);
        let since = guards.named(here)["b"];
        guards.put(here, guard("1", "9", &["a", "b", "c"]), View::Newest);
        assert_eq!((named(), guards.named(here)["b"]), (vec!["b".to_owned(), "c".to_owned()], since));
        guards.put(here, guard("1", "10", &["c"]), View::Newest);
        assert_eq!(named(), ["c"]);
        guards.put(here, guard("2", "11", &["a", "c"]), View::Newest);
        assert_eq!(named(), ["a", "c"], "while there was none nobody was asked");
        let mut other = guard("4", "12", &["d"]);
        other.content.labels = [(SHARED_SINCE_LABEL.to_owned(), "7".to_owned())].into();
        guards.put("payments-old", other.clone(), View::Listed);
        let found = guards.found_news("payments-old").expect("news");
        let more = Content { shared: ["d", "e"].map(str::to_owned).into(), ..other.content.clone() };
        guards.put(
            "payments-old",
            Known { resource_version: "13".into(), content: more, ..other.clone() },
            View::Newest,
        );
        assert_eq!(guards.found_news("payments-old"), Some(found), "what was there before is so old at least");
        let no_news = Content { labels: BTreeMap::new(), ..other.content.clone() };
        guards.put("payments-old", Known { resource_version: "14".into(), content: no_news, ..other }, View::Newest);
        assert_eq!(guards.found_news("payments-old"), None);
        guards.put("payments-new", guard("3", "12", &["d"]), View::Answer);
        assert_eq!(guards.named("payments-new").len(), 1);
    }

    #[test]
    fn one_that_was_deleted_is_remembered_until_it_is_forgotten() {
        let guards = Guards::default();
        let content =
            Content { targets: [("orders".to_owned(), vec!["orders".to_owned()])].into(), ..Content::default() };
        let known = Known { uid: "1".into(), resource_version: "7".into(), content, there: true };
        assert!(guards.put("payments-prod", known.clone(), View::Newest));
        assert!(!guards.put("payments-prod", known.clone(), View::Newest));
        let says = |target: &str| (guards.says("payments-prod", target), guards.said("payments-prod", target));
        let orders = Some(vec!["orders".to_owned()]);
        assert_eq!(says("orders"), (Some(orders.clone()), orders.clone()));
        assert_eq!(says("other"), (Some(None), None));
        assert!(!guards.gone("payments-prod", Some("another")));
        assert!(guards.gone("payments-prod", Some("1")) && !guards.gone("payments-staging", None));
        assert_eq!(says("orders"), (None, orders.clone()));
        let late = Known { resource_version: "8".into(), ..known };
        assert!(!guards.put("payments-prod", late.clone(), View::Answer), "the answer to what was written before");
        assert_eq!(says("orders"), (None, orders.clone()));
        let other = Known { uid: "2".into(), ..late };
        assert!(guards.put("payments-prod", other, View::Newest) && says("orders") == (Some(orders.clone()), orders));
        guards.forget("payments-prod");
        assert_eq!(says("orders"), (None, None));
    }
}
