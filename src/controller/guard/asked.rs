//! What the annotation `revoke` asks for: which ScopedSecrets must be asked for the verb, and whose keys are revoked. Pure.
//!
//! ```text
//!   annotation seen ─► SegmentGuard: who asks, which keys ─► a KeyRevocation a key ─► SegmentGuard: done
//!   annotation gone ─────────────────────────────────────────────────────────────────► SegmentGuard: forgotten
//! ```
//!
//! Only the operator writes the SegmentGuard, so that a turn of the annotation is neither lost nor taken twice: whoever strips the
//! annotation lifts nothing, and whoever deletes the KeyRevocation lifts it, although the annotation still stands.
//!
//! Where others claim a key, too, the API server asks whoever sets the annotation for the verb `revoke`. It knows that by the list
//! in the guard, so that an annotation counts there only if the list named its ScopedSecret well *before* the annotation came: an
//! API server is given as long to learn of the list as of a rule that is new.
//!
//! A ScopedSecret that is made anew (`kubectl replace --force`, a restore, GitOps) brings the annotation of the one before with it,
//! which was answered: a key with a KeyRevocation that was made for that is not revoked once more.

use super::plan::{Content, Standing};
use crate::api::Reason;
use crate::api::segment_guard::RevocationAsked;
use crate::controller::grant::plan::{Guarded, SETTLES};
use crate::controller::index::is_older;
use crate::digest::sha256_hex;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long an API server may take until it knows what a guard says: as a rule that is new, and a second in which it was seen.
const LEARNT: Duration = Duration::from_secs(SETTLES.as_secs() as u64 + 1);

/// How long one process watches what a guard has begun to list until it says that this is no news any more: what was asked for before
/// API servers knew it has been seen by then, and acted on.
pub const WATCHED: Duration = Duration::from_secs(20);

/// A ScopedSecret, as far as its annotation goes.
#[derive(Debug, Clone, PartialEq)]
pub struct Asker {
    /// Its uid.
    pub uid: Arc<str>,
    /// Its resourceVersion, as far as it was seen.
    pub revision: String,
    /// Whether the annotation is there.
    pub asks: bool,
    /// The authoriser's answer.
    pub standing: Standing,
    /// Whether others claim or hold one of its keys.
    pub shared: bool,
    /// The store that it names.
    pub store: Arc<str>,
    /// The keys that it may have, as they are written.
    pub keys: Vec<String>,
    /// Those that were revoked for the annotation of an earlier ScopedSecret of its name, where this one was made anew with it, as far
    /// as its status tells.
    pub answered: BTreeSet<String>,
}

/// The annotation was seen to come, by whichever replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anew {
    /// The ScopedSecret's uid.
    pub uid: Arc<str>,
    /// The last of the ScopedSecret's resourceVersions that was seen without it.
    pub absent: String,
    /// When that was.
    pub seen: Instant,
}

impl Anew {
    /// Whether that was after a turn of it began, so that it is another.
    fn is_after(&self, turn: &RevocationAsked) -> bool {
        turn.resource_version.as_ref().is_some_and(|taken| is_older(taken, &self.absent))
    }
}

/// What is known of the annotations in one namespace.
#[derive(Debug)]
pub struct Askers {
    /// Its ScopedSecrets.
    pub all: BTreeMap<String, Asker>,
    /// Those whose annotation was seen to come.
    pub anew: BTreeMap<String, Anew>,
    /// Whether the API server asks for the verb; None: that was not looked at.
    pub guarded: Option<Guarded>,
    /// Since when the guard names those for which this process has seen it begin to.
    pub named: BTreeMap<String, Instant>,
    /// Where the list was news when this process found it, so that nobody may have seen yet what came before API servers knew it: when
    /// it was found.
    pub recent: Option<Instant>,
    /// Whether the list is still news: who was not seen to come may have come before API servers knew it.
    pub news: bool,
    /// When all of that was looked at.
    pub at: Instant,
}

impl Asker {
    /// Whether the API server has to be told that others claim its keys; None: as it was told before.
    fn is_listed(&self) -> Option<bool> {
        match self.standing {
            Standing::Allowed => Some(self.shared),
            Standing::Refused => Some(false),
            Standing::Undecided => None,
        }
    }

    /// Whether the guard says of it what it ought to. `held_up`: what takes the verb waits for its rule.
    pub fn is_told_by(&self, name: &str, anew: Option<&Anew>, said: &Content, held_up: bool) -> bool {
        let listed = said.shared.contains(name);
        let taken = said.revocations.get(name);
        let settled = match taken {
            // What is under way goes on by itself.
            Some(turn) => self.asks && *turn.uid == *self.uid && !anew.is_some_and(|anew| anew.is_after(turn)),
            // Refused, it asks for nothing.
            None => !self.asks || self.standing != Standing::Allowed,
        };
        self.is_listed().is_none_or(|wanted| wanted == listed) && (settled || (held_up && self.shared))
    }
}

impl Askers {
    /// Whether somebody's turn begins, so that what it depends on has to be looked at first.
    pub fn begins<'a>(&'a self, known: &'a Content) -> impl Iterator<Item = (&'a String, &'a Asker)> {
        let open = |name: &String, asker: &Asker| self.is_open(name, asker, &known.revocations);
        self.all.iter().filter(move |(name, asker)| asker.standing == Standing::Allowed && open(name, asker))
    }

    /// Whether an annotation is there that none of these turns was taken for.
    fn is_open(&self, name: &str, asker: &Asker, turns: &BTreeMap<String, RevocationAsked>) -> bool {
        let again = |turn: &RevocationAsked| {
            *turn.uid != *asker.uid || self.anew.get(name).is_some_and(|anew| anew.is_after(turn))
        };
        asker.asks && turns.get(name).is_none_or(|turn| turn.keys.is_empty() && again(turn))
    }

    /// Whether a list that was news still is, once these turns are taken: this process has not watched it for long enough, or what came
    /// meanwhile waits.
    pub fn is_news(&self, listed: &BTreeSet<String>, turns: &BTreeMap<String, RevocationAsked>) -> bool {
        let seen_since = |name: &String| self.named.get(name).or(self.recent.as_ref());
        listed.iter().any(|name| {
            let open = self.all.get(name).is_some_and(|asker| self.is_open(name, asker, turns));
            open || seen_since(name).is_some_and(|since| self.at < *since + WATCHED)
        })
    }

    /// The keys that are to be revoked for a turn: what was seen to come was not brought along.
    fn left(&self, name: &str, asker: &Asker) -> Vec<String> {
        let came = self.anew.get(name).is_some_and(|anew| anew.uid == asker.uid);
        asker.keys.iter().filter(|key| came || !asker.answered.contains(*key)).cloned().collect()
    }

    /// Whether the guard has named a ScopedSecret for so short a time when its annotation came that nobody may have been asked.
    fn came_too_early(&self, name: &str) -> bool {
        let anew = self.anew.get(name).filter(|anew| self.all.get(name).is_some_and(|asker| asker.uid == anew.uid));
        let came = anew.map_or(self.at, |anew| anew.seen);
        let since = self.named.get(name).or(self.recent.as_ref());
        // A watch that was cut off shows list and annotation together, however long they were there.
        (anew.is_none() && self.news) || since.is_some_and(|since| came < *since + LEARNT)
    }

    /// Whether the annotation of a ScopedSecret was brought along by it, and all of its keys were revoked for the one before.
    fn is_answered(&self, name: &str) -> bool {
        self.all.get(name).is_some_and(|asker| !asker.keys.is_empty() && self.left(name, asker).is_empty())
    }

    /// The ScopedSecrets whose annotation takes the verb `revoke`.
    pub fn shared(&self, known: &Content) -> BTreeSet<String> {
        let listed = |name: &String| known.shared.contains(name);
        let named = self.all.iter().filter(|(name, asker)| asker.is_listed().unwrap_or_else(|| listed(name)));
        named.map(|(name, _)| name.clone()).collect()
    }

    /// Who asks, and for what. A turn that others' keys stand against, and that nobody was asked for, is taken with no keys, as is one
    /// that was answered.
    pub fn revocations(&self, known: &Content, now: Timestamp) -> BTreeMap<String, RevocationAsked> {
        let stands = |name: &String, turn: &RevocationAsked| {
            !turn.keys.is_empty() || self.all.get(name).is_some_and(|asker| asker.asks && *asker.uid == *turn.uid)
        };
        let mut turns = known.revocations.clone();
        turns.retain(|name, turn| stands(name, turn));
        for (name, asker) in self.begins(known) {
            let left = self.left(name, asker);
            let keys = match (asker.shared, known.shared.contains(name), self.guarded) {
                _ if left.is_empty() => Vec::new(),
                (false, ..) => left,
                (true, true, _) if self.came_too_early(name) => Vec::new(),
                // It is looked at again.
                (true, true, Some(Guarded::Unknown | Guarded::Another) | None) => continue,
                // It came within that second.
                (true, true, Some(Guarded::Since(since))) if since + SETTLES + SignedDuration::from_secs(1) < now => {
                    left
                }
                (true, ..) => Vec::new(),
            };
            let seen_time = Time(Timestamp::from_second(now.as_second()).unwrap_or(now));
            let (uid, store) = (asker.uid.to_string(), asker.store.to_string());
            let turn = RevocationAsked { uid, seen_time, resource_version: Some(asker.revision.clone()), store, keys };
            turns.insert(name.clone(), turn);
        }
        turns
    }
}

/// Why the turns that a write of the guard begins with no keys revoke nothing.
pub fn dismissed<'a>(before: &'a Content, written: &'a Content, askers: &Askers) -> Vec<(&'a str, &'a str, Reason)> {
    let begun = written.revocations.iter().filter(|(name, turn)| {
        let same = |old: &RevocationAsked| old.uid == turn.uid && old.seen_time == turn.seen_time;
        turn.keys.is_empty() && !before.revocations.get(*name).is_some_and(same)
    });
    // Where the list named it in time, it is the rule that did not ask.
    let missing = |name: &str| before.shared.contains(name) && !askers.came_too_early(name);
    let why = |name: &str| match (askers.is_answered(name), missing(name)) {
        (true, _) => Reason::RevokedBefore,
        (false, true) => Reason::GuardMissing,
        (false, false) => Reason::RevocationNotAllowed,
    };
    begun.map(|(name, turn)| (name.as_str(), turn.uid.as_str(), why(name))).collect()
}

/// The name of the KeyRevocation of one key of one turn: always the same.
pub fn name_of(turn: &RevocationAsked, key: &str) -> String {
    let letters = key.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' });
    let slug: String = letters.take(48).collect();
    let slug = slug.trim_matches('-');
    let turn = format!("{}\n{}\n{}\n{key}", turn.uid, turn.seen_time.0.as_second(), turn.store);
    format!("{}-{}", if slug.is_empty() { "key" } else { slug }, &sha256_hex(turn.as_bytes())[..16])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segmentation::fixtures::at;
    use proptest::prelude::*;

    const NOBODY: Content = Content {
        labels: BTreeMap::new(),
        targets: BTreeMap::new(),
        free: BTreeSet::new(),
        grants: None,
        shared: BTreeSet::new(),
        revocations: BTreeMap::new(),
    };

    fn asker(standing: Standing, shared: bool) -> Asker {
        Asker {
            uid: "u".into(),
            revision: "7".into(),
            asks: true,
            standing,
            shared,
            store: "aws".into(),
            keys: vec!["a/b".into(), "a/c".into()],
            answered: BTreeSet::new(),
        }
    }

    fn absent(uid: &str, absent: &str) -> Anew {
        Anew { uid: uid.into(), absent: absent.into(), seen: Instant::now() }
    }

    fn askers(asker: Asker, guarded: Option<Guarded>) -> Askers {
        let (all, named) = ([("orders".to_owned(), asker)].into(), BTreeMap::new());
        Askers { all, anew: BTreeMap::new(), guarded, named, recent: None, news: false, at: Instant::now() }
    }

    fn listing() -> Content {
        Content { shared: BTreeSet::from(["orders".into()]), ..NOBODY }
    }

    fn taken(uid: &str, keys: &[&str]) -> Content {
        let keys = keys.iter().map(|&key| key.to_owned()).collect();
        let (seen_time, resource_version) = (Time(at(5)), Some("7".into()));
        let turn = RevocationAsked { uid: uid.into(), seen_time, resource_version, store: "aws".into(), keys };
        Content { revocations: [("orders".to_owned(), turn)].into(), ..NOBODY }
    }

    /// The keys of the turn that stands after a look; None: there is none.
    fn keys(askers: &Askers, known: &Content) -> Option<Vec<String>> {
        askers.revocations(known, at(9)).remove("orders").map(|turn| turn.keys)
    }

    #[test]
    fn which_keys_a_turn_is_for() {
        use Standing::{Allowed, Refused, Undecided};
        let since = Some(Guarded::Since(at(1)));
        let all = || Some(vec!["a/b".to_owned(), "a/c".to_owned()]);
        let none = || Some(Vec::new());
        for (what, asker, guarded, known, wanted) in [
            ("its own keys", asker(Allowed, false), None, NOBODY, all()),
            ("its own keys, once others' too", asker(Allowed, false), None, listing(), all()),
            ("refused, it revokes nothing", asker(Refused, false), since, listing(), None),
            ("not known yet", asker(Undecided, false), since, NOBODY, None),
            ("others claim them, and it was asked", asker(Allowed, true), since, listing(), all()),
            ("others claim them, and nobody was asked", asker(Allowed, true), since, NOBODY, none()),
            ("the rule is new", asker(Allowed, true), Some(Guarded::Since(at(8))), listing(), none()),
            ("the rule is not in force", asker(Allowed, true), Some(Guarded::Missing), listing(), none()),
            ("the rule is in another form", asker(Allowed, true), Some(Guarded::Another), listing(), None),
            ("that cannot be told now", asker(Allowed, true), Some(Guarded::Unknown), listing(), None),
            ("it was not looked at", asker(Allowed, true), None, listing(), None),
        ] {
            assert_eq!(keys(&askers(asker, guarded), &known), wanted, "{what}");
        }
    }

    #[test]
    fn a_list_counts_once_api_servers_know_it() {
        let start = Instant::now();
        let later = |seconds: u64| start + Duration::from_secs(seconds);
        let seen = |came: Option<u64>| {
            let mut one = askers(asker(Standing::Allowed, true), Some(Guarded::Since(at(1))));
            let anew = came.map(|seconds| Anew { seen: later(seconds), ..absent("u", "6") });
            one.anew = anew.map(|anew| ("orders".to_owned(), anew)).into_iter().collect();
            one
        };
        for (what, came, wanted) in [("found so", None, 0), ("seen to come at once", Some(2), 0), ("later", Some(3), 2)]
        {
            let one = Askers { recent: Some(start), news: true, ..seen(came) };
            assert_eq!(keys(&one, &listing()).map(|keys| keys.len()), Some(wanted), "{what}");
        }
        for (what, named, came, wanted) in [
            ("listed since before this process", None, Some(0), 2),
            ("it came a moment after", Some(0), Some(0), 0),
            ("it came when an API server may not know it yet", Some(0), Some(2), 0),
            ("it came later", Some(0), Some(3), 2),
            ("it came before", Some(9), Some(0), 0),
            ("it was not seen to come, and looked at soon", Some(8), None, 0),
            ("it was not seen to come, and looked at later", Some(0), None, 0),
            ("it was found with a list that is no news", None, None, 2),
        ] {
            let news = named.is_some();
            let named = named.map(|seconds| ("orders".to_owned(), later(seconds))).into_iter().collect();
            let one = Askers { at: later(10), named, news, ..seen(came) };
            assert_eq!(keys(&one, &listing()).map(|keys| keys.len()), Some(wanted), "{what}");
            let before = listing();
            let after = Content { shared: one.shared(&before), revocations: one.revocations(&before, at(9)), ..NOBODY };
            let told = dismissed(&before, &after, &one);
            let not_asked = [("orders", "u", Reason::RevocationNotAllowed)];
            assert_eq!(told, if wanted == 0 { &not_asked[..] } else { &[] }, "{what}");
        }
    }

    #[test]
    fn a_list_is_news_until_one_process_has_watched_it_and_answered_what_came() {
        let start = Instant::now();
        let listed = BTreeSet::from(["orders".to_owned()]);
        let quiet = || askers(Asker { asks: false, ..asker(Standing::Allowed, true) }, None);
        let after = |one: Askers, seconds: u64| {
            let one = Askers { at: start + Duration::from_secs(seconds), ..one };
            one.is_news(&listed, &one.revocations(&listing(), at(9)))
        };
        assert!(!after(quiet(), 0), "it was none when it was found");
        for seen in
            [Askers { recent: Some(start), ..quiet() }, Askers { named: [("orders".into(), start)].into(), ..quiet() }]
        {
            let again = Askers { anew: BTreeMap::new(), all: seen.all.clone(), named: seen.named.clone(), ..seen };
            assert!(after(again, 19));
        }
        assert!(!after(Askers { recent: Some(start), ..quiet() }, 20));
        let later = [("orders".into(), start + Duration::from_secs(5))].into();
        assert!(after(Askers { named: later, recent: Some(start), ..quiet() }, 21), "its own time counts");
        for (what, standing, guarded, news) in [
            ("it waits for the rule", Standing::Allowed, Some(Guarded::Another), true),
            ("it waits for a policy", Standing::Undecided, Some(Guarded::Since(at(1))), true),
            ("it is dismissed", Standing::Allowed, Some(Guarded::Missing), false),
            ("it is honoured", Standing::Allowed, Some(Guarded::Since(at(1))), false),
        ] {
            assert_eq!(after(askers(asker(standing, true), guarded), 60), news, "{what}");
        }
    }

    #[test]
    fn a_turn_is_taken_once_and_stripping_it_loses_nothing() {
        let mut one = askers(asker(Standing::Allowed, false), None);
        let (open, done) = (taken("u", &["a/b"]), taken("u", &[]));
        assert_eq!(keys(&one, &open), Some(vec!["a/b".to_owned()]), "what is under way goes on");
        assert_eq!(keys(&one, &done), Some(vec![]), "and is not begun again");
        assert_eq!(keys(&one, &taken("namesake", &[])).map(|k| k.len()), Some(2), "another object's turn");
        assert_eq!(keys(&one, &taken("namesake", &["a/b"])).map(|k| k.len()), Some(1), "after the one before");
        for before in ["6", "7", ""] {
            one.anew.insert("orders".into(), absent("u", before));
            assert_eq!(keys(&one, &done).map(|k| k.len()), Some(0), "that is what was taken: {before}");
        }
        one.anew.insert("orders".into(), absent("u", "12"));
        assert_eq!(keys(&one, &done).map(|k| k.len()), Some(2), "set once more");
        assert_eq!(keys(&one, &open).map(|k| k.len()), Some(1), "but not while it is under way");
        one.all.get_mut("orders").unwrap().asks = false;
        assert_eq!(keys(&one, &open).map(|k| k.len()), Some(1), "the annotation was stripped meanwhile");
        assert_eq!(keys(&one, &done), None, "and is forgotten once it was done");
        one.all.clear();
        assert_eq!((keys(&one, &open).map(|k| k.len()), keys(&one, &done)), (Some(1), None), "so is who was deleted");
    }

    #[test]
    fn who_is_listed_and_when_the_guard_is_right() {
        use Standing::{Allowed, Refused, Undecided};
        for (standing, shared, known, listed) in [
            (Allowed, true, NOBODY, true),
            (Allowed, false, listing(), false),
            (Refused, true, listing(), false),
            (Undecided, true, NOBODY, false),
            (Undecided, false, listing(), true),
        ] {
            let one = askers(Asker { asks: false, ..asker(standing, shared) }, None);
            let after = Content { shared: one.shared(&known), revocations: one.revocations(&known, at(9)), ..NOBODY };
            assert_eq!(!after.shared.is_empty(), listed, "{standing:?} {shared}");
            assert!(one.all["orders"].is_told_by("orders", None, &after, false), "{standing:?} {shared}");
        }
        let later = absent("u", "8");
        let told = |asker: &Asker, anew: bool, said: &Content| {
            asker.is_told_by("orders", Some(&later).filter(|_| anew), said, false)
        };
        let asks = asker(Allowed, false);
        assert!(!told(&asks, false, &NOBODY) && told(&asks, false, &taken("u", &[])));
        assert!(!told(&asks, true, &taken("u", &[])) && told(&asks, false, &taken("u", &["a/b"])));
        assert!(!told(&asks, false, &taken("namesake", &[])));
        assert!(told(&asker(Refused, false), false, &NOBODY));
        let (shared, own) = (asker(Allowed, true), asker(Allowed, false));
        for held_up in [true, false] {
            let waits = shared.is_told_by("orders", None, &listing(), held_up);
            assert_eq!(waits, held_up, "while its rule is in another form it holds up nothing");
            assert!(!own.is_told_by("orders", None, &NOBODY, held_up), "that takes no verb");
        }
        assert!(!told(&Asker { asks: false, ..asks }, false, &taken("u", &[])));
    }

    #[test]
    fn a_turn_that_revokes_nothing_is_told_once() {
        let (since, missing) = (Some(Guarded::Since(at(1))), Some(Guarded::Missing));
        for (before, guarded, why) in [
            (NOBODY, since, Reason::RevocationNotAllowed),
            (NOBODY, missing, Reason::RevocationNotAllowed),
            (listing(), missing, Reason::GuardMissing),
        ] {
            let one = askers(asker(Standing::Allowed, true), guarded);
            let after = Content { shared: one.shared(&before), revocations: one.revocations(&before, at(9)), ..NOBODY };
            assert_eq!(dismissed(&before, &after, &one), [("orders", "u", why)]);
            assert_eq!(dismissed(&after, &after, &one), []);
        }
        let (one, done) = (askers(asker(Standing::Allowed, false), None), taken("u", &[]));
        assert_eq!(dismissed(&taken("u", &["a/b"]), &done, &one), [], "that was carried out");
    }

    #[test]
    fn what_a_scoped_secret_that_is_made_anew_brings_along_was_answered() {
        let brought = |answered: &[&str], shared: bool| {
            let answered = answered.iter().map(|&key| key.to_owned()).collect();
            askers(Asker { uid: "u2".into(), answered, ..asker(Standing::Allowed, shared) }, None)
        };
        for (what, known) in [("its turn is forgotten", NOBODY), ("or stands", taken("u", &[]))] {
            for (answered, wanted) in [
                (&["a/b"][..], &["a/c"][..]),
                (&[], &["a/b", "a/c"]),
                (&["a/b", "a/c"], &[]),
                (&["a/d"], &["a/b", "a/c"]),
            ] {
                let found = keys(&brought(answered, false), &known).unwrap();
                assert_eq!(found, wanted, "{what}: {answered:?}");
            }
        }
        for shared in [false, true] {
            let mut one = brought(&["a/b", "a/c"], shared);
            let after = Content { shared: one.shared(&NOBODY), revocations: one.revocations(&NOBODY, at(9)), ..NOBODY };
            assert_eq!(dismissed(&NOBODY, &after, &one), [("orders", "u2", Reason::RevokedBefore)]);
            assert!(one.all["orders"].is_told_by("orders", None, &after, false), "nothing is open");
            assert_eq!(one.begins(&after).count(), 0, "it is taken");
            // Taken off and set again it asks anew; what came to the one before it did not.
            one.anew.insert("orders".into(), absent("u", "12"));
            assert!(one.left("orders", &one.all["orders"]).is_empty());
            one.anew.insert("orders".into(), absent("u2", "12"));
            assert_eq!((one.begins(&after).count(), one.left("orders", &one.all["orders"]).len()), (1, 2));
        }
    }

    #[test]
    fn names_are_the_turns_own() {
        let turn = taken("u", &[]).revocations.remove("orders").unwrap();
        let name = name_of(&turn, "payments/prod/Orders_DB");
        assert!(name.starts_with("payments-prod-orders-db-") && name.len() < 80, "{name}");
        assert_eq!(name, name_of(&turn, "payments/prod/Orders_DB"));
        let later = RevocationAsked { seen_time: Time(at(6)), ..turn.clone() };
        assert!(name != name_of(&later, "payments/prod/Orders_DB"));
        assert!(name_of(&turn, "a/b") != name_of(&turn, "a-b"));
        assert!(name_of(&turn, "///").starts_with("key-"));
        assert!(name_of(&turn, &"x/".repeat(300)).len() <= 65);
    }

    /// What happens to one ScopedSecret with one key, in any order.
    #[derive(Debug, Clone, Copy)]
    enum Event {
        Annotated,
        Stripped,
        /// The guard is planned and written.
        Written,
        /// The KeyRevocations that are open are created; whether that is noted, or the operator killed before.
        Created {
            noted: bool,
        },
        /// The platform team lifts what it finds.
        Lifted,
        /// Another process leads, which saw the annotation come, or has begun since.
        Killed {
            saw: bool,
        },
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            Just(Event::Annotated),
            Just(Event::Stripped),
            Just(Event::Written),
            any::<bool>().prop_map(|noted| Event::Created { noted }),
            Just(Event::Lifted),
            any::<bool>().prop_map(|saw| Event::Killed { saw }),
        ]
    }

    proptest! {
        /// Whatever is stripped, lifted or killed when: each turn that was written down makes one KeyRevocation, and no other.
        #[test]
        fn a_turn_makes_one_key_revocation(events in proptest::collection::vec(event(), 0..40)) {
            let mut all = askers(Asker { asks: false, keys: vec!["a/b".into()], ..asker(Standing::Allowed, false) }, None);
            let (mut known, mut standing) = (NOBODY, BTreeSet::new());
            let (mut begun, mut created, mut asked) = (BTreeSet::new(), BTreeMap::<String, usize>::new(), 0);
            let end = [Event::Written, Event::Created { noted: true }];
            for (second, event) in events.into_iter().chain(end).enumerate() {
                let now = at(1_000 + i64::try_from(second).unwrap());
                let asks = all.all["orders"].asks;
                match event {
                    Event::Annotated | Event::Stripped => {
                        let annotated = matches!(event, Event::Annotated);
                        let revision = (1_000 + second).to_string();
                        let asker = all.all.get_mut("orders").unwrap();
                        let before = std::mem::replace(&mut asker.revision, revision);
                        asker.asks = annotated;
                        if annotated && !asks {
                            all.anew.insert("orders".into(), absent("u", &before));
                            asked += 1;
                        }
                    }
                    Event::Written => {
                        let revocations = all.revocations(&known, now);
                        begun.extend(revocations.values().map(|turn| name_of(turn, "a/b")));
                        known.revocations = revocations;
                    }
                    Event::Created { noted } => {
                        for turn in known.revocations.values_mut().filter(|turn| !turn.keys.is_empty()) {
                            let name = name_of(turn, "a/b");
                            if standing.insert(name.clone()) {
                                *created.entry(name).or_default() += 1;
                            }
                            if noted {
                                turn.keys.clear();
                            }
                        }
                        if !noted {
                            all.anew.clear();
                        }
                    }
                    // What is deleted in the moment before it is noted is made once more.
                    Event::Lifted if known.revocations.values().all(|turn| turn.keys.is_empty()) => standing.clear(),
                    Event::Lifted => {}
                    Event::Killed { saw: true } => {}
                    Event::Killed { saw: false } => all.anew.clear(),
                }
            }
            prop_assert!(begun.len() <= asked, "{} turns of {}", begun.len(), asked);
            prop_assert_eq!(begun.into_iter().collect::<Vec<_>>(), created.keys().cloned().collect::<Vec<_>>());
            prop_assert!(created.values().all(|times| *times == 1), "{:?}", created);
        }
    }
}
