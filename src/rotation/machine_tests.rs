use super::*;
use crate::provider::write::VersionStages;
use crate::rotation::Plan;
use crate::rotation::due::Asked;
use crate::rotation::schedule::Schedule;
use crate::rotation::slot::{ATTEMPTS, Trigger};
use crate::segmentation::key::CanonicalKey;
use crate::segmentation::rotated::Rotated;
use proptest::prelude::{Just, ProptestConfig, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::strategy::Strategy as Arbitrary;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

fn at(minute: i64) -> Timestamp {
    Timestamp::from_second(1_767_225_600 + minute * 60).unwrap()
}

fn described(versions: &[(&str, &[&str])]) -> Description {
    Description {
        id: "arn:aws:secretsmanager:eu-west-1:123456789012:secret:pay/db-AbCdEf".into(),
        name: "pay/db".into(),
        rotation_enabled: false,
        owning_service: None,
        last_rotated: None,
        last_changed: Some(at(0)),
        next_rotation: None,
        deleted: false,
        versions: versions
            .iter()
            .map(|(id, stages)| VersionStages {
                id: (*id).into(),
                stages: stages.iter().map(|s| (*s).to_owned()).collect(),
            })
            .collect(),
    }
}

static TOKENS: LazyLock<[String; 3]> = LazyLock::new(|| ["token", "token-1", "token-2"].map(str::to_owned));
static OTHERS_OF_SLOT: LazyLock<[String; 2]> = LazyLock::new(|| ["theirs", "theirs-1"].map(str::to_owned));

fn observed<'a>(strategy: Strategy, seen: Option<&'a Description>) -> Observed<'a> {
    Observed {
        now: at(100),
        strategy,
        tokens: &*TOKENS,
        slot: None,
        others: &*OTHERS_OF_SLOT,
        made_earlier_by: match strategy {
            Strategy::Generate => &|version| (version == "before").then_some(Strategy::Generate),
            Strategy::Provider => &|version| (version == "before").then_some(Strategy::Provider),
        },
        held: "old",
        revoked: None,
        again: false,
        last: None,
        described: seen,
        fetched: None,
        renews: None,
        used: 0,
        fate: None,
        asked_at: None,
        cleared: false,
    }
}

fn told(step: &Step) -> String {
    match step {
        Step::Wait { reason, .. } => format!("Wait {reason}"),
        Step::Fail { reason, .. } => format!("Fail {reason}"),
        Step::Put(token) => format!("Put {token}"),
        Step::Trace(token) => format!("Trace {token}"),
        Step::Rotate(token) => format!("Rotate {token}"),
        other => format!("{other:?}").chars().take_while(|c| c.is_alphanumeric()).collect(),
    }
}

type Versions = &'static [(&'static str, &'static [&'static str])];

#[test]
fn each_state_of_the_manager_has_one_next_step() {
    use Fate::{Overtaken, Unknown, Unused};
    use Strategy::{Generate, Provider};
    const ONE: Versions = &[("old", &[CURRENT])];
    const TWO: Versions = &[("old", &[CURRENT]), ("older", &[PREVIOUS])];
    const PENDING_OURS: Versions = &[("old", &[CURRENT]), ("token", &[PENDING])];
    const PENDING_EARLIER: Versions = &[("old", &[CURRENT]), ("before", &[PENDING])];
    const FOREIGN: Versions = &[("old", &[CURRENT]), ("alien", &[PENDING])];
    const UNNAMED: Versions = &[("old", &[CURRENT]), ("2ed6657d-e927-568b-95e1-2665a8aea6a2", &[PENDING])];
    const UNNAMED_BY_MANAGER: Versions = &[("old", &[CURRENT]), ("2ed6657d-e927-568b-95e1-26659c0adbae", &[PENDING])];
    const LEFTOVER: Versions = &[("old", &[CURRENT, PENDING])];
    const MOVED: Versions = &[("token", &[CURRENT, PENDING]), ("old", &[PREVIOUS])];
    const DONE: Versions = &[("token", &[CURRENT]), ("old", &[PREVIOUS])];
    const SUPERSEDED: Versions = &[("newer", &[CURRENT]), ("token", &[PREVIOUS])];
    const OVERTAKEN: Versions = &[("newer", &[CURRENT]), ("token", &[PENDING, PREVIOUS])];
    const OVERTAKEN_EARLIER: Versions = &[("newer", &[CURRENT]), ("before", &[PENDING, PREVIOUS])];
    const TWICE: Versions = &[("newer", &[CURRENT]), ("token", &[PREVIOUS]), ("token-1", &[PENDING])];
    const FURTHER: Versions = &[("old", &[CURRENT]), ("token-2", &[PENDING])];
    const FURTHER_DONE: Versions = &[("token-2", &[CURRENT]), ("old", &[PREVIOUS])];
    const THEIRS: Versions = &[("old", &[CURRENT]), ("theirs", &[PENDING])];
    const DONE_BY_OTHER: Versions = &[("theirs", &[CURRENT]), ("old", &[PREVIOUS])];
    const NOTHING: Versions = &[];
    type Change = fn(&mut Observed<'_>, &mut Description);
    let as_is: Change = |_, _| {};
    let fetched: Change = |o, _| o.fetched = Some(Some(at(0)));
    let cases: &[(&str, Strategy, Versions, Change, &str)] = &[
        ("nothing has begun", Generate, ONE, as_is, "FetchCurrent"),
        ("the value is in hand", Generate, ONE, fetched, "Put token"),
        ("no value yet at all", Generate, NOTHING, as_is, "FetchCurrent"),
        ("it was put a moment ago", Generate, TWO, |o, _| o.fetched = Some(Some(at(95))), "Wait RotationWaits"),
        ("its first value", Generate, ONE, |o, _| o.fetched = Some(Some(at(95))), "Put token"),
        ("of another clock", Generate, TWO, |o, _| o.fetched = Some(Some(at(900))), "Put token"),
        ("what leaked is replaced", Generate, ONE, |o, _| (o.held, o.revoked) = ("", Some("old")), "FetchCurrent"),
        ("what was made of it comes", Generate, DONE, |o, _| (o.held, o.revoked) = ("", Some("old")), "Project"),
        ("it was made for this", Generate, DONE, |o, _| (o.held, o.revoked) = ("", Some("token")), "Fail KeyRevoked"),
        ("it came after it", Generate, SUPERSEDED, |o, _| (o.held, o.revoked) = ("", Some("newer")), "Fail KeyRevoked"),
        (
            "it was made for what is owed",
            Generate,
            DONE,
            |o, _| (o.held, o.revoked, o.again, o.fetched) = ("", Some("token"), true, Some(Some(at(-900)))),
            "Put token-1",
        ),
        (
            "what came after it leaked as well",
            Generate,
            SUPERSEDED,
            |o, _| (o.held, o.revoked, o.again, o.fetched) = ("", Some("newer"), true, Some(Some(at(-900)))),
            "Put token-1",
        ),
        ("stored", Generate, PENDING_OURS, as_is, "Compare"),
        ("of what is current", Generate, PENDING_OURS, |o, _| o.renews = Some(true), "Promote"),
        ("of another value", Generate, PENDING_OURS, |o, _| o.renews = Some(false), "FetchCurrent"),
        (
            "of another value, which is in hand",
            Generate,
            PENDING_OURS,
            |o, _| (o.renews, o.fetched) = (Some(false), Some(Some(at(0)))),
            "Put token-1",
        ),
        ("stored by an earlier slot", Generate, PENDING_EARLIER, as_is, "Compare"),
        ("an earlier one, of what is current", Generate, PENDING_EARLIER, |o, _| o.renews = Some(true), "Promote"),
        (
            "an earlier one, of another value",
            Generate,
            PENDING_EARLIER,
            |o, _| (o.renews, o.fetched) = (Some(false), Some(Some(at(0)))),
            "Put token",
        ),
        ("somebody else's", Generate, FOREIGN, as_is, "Fail PendingStuck"),
        ("by a slot that nobody names any more", Generate, UNNAMED, as_is, "Compare"),
        (
            "that one, of what is current",
            Generate,
            UNNAMED,
            |o, _| (o.renews, o.fetched) = (Some(true), Some(Some(at(0)))),
            "Put token",
        ),
        ("that one, of another value", Generate, UNNAMED, |o, _| o.renews = Some(false), "Fail PendingStuck"),
        (
            "that one, where the manager rotates",
            Provider,
            UNNAMED,
            |_, d| d.last_changed = Some(at(90)),
            "Fail PendingStuck",
        ),
        (
            "which it makes itself",
            Provider,
            UNNAMED_BY_MANAGER,
            |_, d| d.last_changed = Some(at(90)),
            "Wait RotationWaits",
        ),
        ("which is not the operator's", Generate, UNNAMED_BY_MANAGER, as_is, "Fail PendingStuck"),
        ("what a manager leaves behind", Generate, LEFTOVER, as_is, "FetchCurrent"),
        ("promoted", Generate, MOVED, as_is, "ClearPending"),
        ("cleared", Generate, DONE, as_is, "Project"),
        ("that could not be cleared", Generate, MOVED, |o, _| o.cleared = true, "Project"),
        (
            "projected a moment ago",
            Generate,
            DONE,
            |o, _| {
                o.held = "token";
                o.last = Some(at(99));
            },
            "Settled",
        ),
        ("projected", Generate, DONE, |o, _| o.held = "token", "Settled"),
        ("superseded", Generate, SUPERSEDED, as_is, "Project"),
        ("superseded, projected", Generate, SUPERSEDED, |o, _| o.held = "newer", "Settled"),
        ("its label is left, and another came after", Generate, OVERTAKEN, |o, _| o.held = "newer", "ClearPending"),
        ("that stays", Generate, OVERTAKEN, |o, _| (o.held, o.cleared) = ("newer", true), "Settled"),
        ("an earlier one's is left", Generate, OVERTAKEN_EARLIER, |o, _| o.held = "newer", "ClearPending"),
        ("that one stays", Generate, OVERTAKEN_EARLIER, |o, _| (o.held, o.cleared) = ("newer", true), "FetchCurrent"),
        ("two were made for it", Generate, TWICE, |o, _| o.held = "newer", "ClearPending"),
        ("made, and its label is lost", Generate, ONE, |o, _| o.used = 1, "Trace token"),
        ("and another was stored since", Generate, ONE, |o, _| (o.used, o.fate) = (1, Some(Overtaken)), "Settled"),
        (
            "and it was never in use",
            Generate,
            ONE,
            |o, _| (o.used, o.fate, o.fetched) = (1, Some(Unused), Some(Some(at(0)))),
            "Put token-1",
        ),
        (
            "nor any other",
            Generate,
            ONE,
            |o, _| (o.used, o.fate, o.fetched) = (3, Some(Unused), Some(Some(at(0)))),
            "Fail RotationFailed",
        ),
        ("a further attempt", Generate, FURTHER, as_is, "Compare"),
        ("a further attempt is in use", Generate, FURTHER_DONE, as_is, "Project"),
        (
            "asked, and nothing came of it",
            Provider,
            ONE,
            |o, d| (o.used, d.rotation_enabled) = (1, true),
            "Trace token",
        ),
        (
            "it was had before, and never in use",
            Provider,
            ONE,
            |o, d| (o.used, o.fate, d.rotation_enabled) = (1, Some(Unused), true),
            "Rotate token-1",
        ),
        (
            "there is no such version",
            Provider,
            ONE,
            |o, d| (o.used, o.fate, d.rotation_enabled) = (1, Some(Unknown), true),
            "Rotate token-1",
        ),
        (
            "nor of the last",
            Provider,
            ONE,
            |o, d| (o.used, o.fate, d.rotation_enabled) = (o.tokens.len(), Some(Unknown), true),
            "Rotate token-2",
        ),
        ("the manager rotates it", Generate, ONE, |_, d| d.rotation_enabled = true, "Fail RotationOwnedElsewhere"),
        (
            "the manager makes it, as strategy Provider asked",
            Generate,
            THEIRS,
            |o, d| (o.renews, d.rotation_enabled) = (Some(true), true),
            "Fail RotationOwnedElsewhere",
        ),
        (
            "its rotation was switched on since",
            Generate,
            PENDING_OURS,
            |o, d| (o.renews, d.rotation_enabled) = (Some(true), true),
            "Fail RotationOwnedElsewhere",
        ),
        (
            "strategy Provider began it, and the manager rotates no more",
            Generate,
            THEIRS,
            |o, _| o.renews = Some(true),
            "Fail PendingStuck",
        ),
        ("strategy Generate stored it", Provider, THEIRS, |_, d| d.rotation_enabled = true, "ClearPending"),
        (
            "its label cannot be taken off",
            Provider,
            THEIRS,
            |o, d| (o.cleared, d.rotation_enabled) = (true, true),
            "Fail PendingStuck",
        ),
        ("the other strategy made it", Generate, DONE_BY_OTHER, |o, _| o.held = "theirs", "Settled"),
        ("so it did", Provider, DONE_BY_OTHER, |o, _| o.held = "theirs", "Settled"),
        ("a service's", Generate, ONE, |_, d| d.owning_service = Some("rds".into()), "Fail RotationOwnedElsewhere"),
        ("changed by somebody", Generate, &[("other", &[CURRENT]), ("old", &[PREVIOUS])], as_is, "Project"),
        ("no rotation there", Provider, ONE, as_is, "Fail RotationNotConfigured"),
        ("to be asked", Provider, ONE, |_, d| d.rotation_enabled = true, "Rotate token"),
        (
            "asked",
            Provider,
            PENDING_OURS,
            |o, d| {
                d.rotation_enabled = true;
                o.now = at(1)
            },
            "Wait Requested",
        ),
        ("never finishes", Provider, PENDING_OURS, as_is, "Fail RotationTimedOut"),
        ("another's under way", Provider, FOREIGN, |o, _| o.now = at(1), "Wait RotationWaits"),
        ("another's stuck", Provider, FOREIGN, as_is, "Fail PendingStuck"),
        ("done, label left", Provider, MOVED, as_is, "Project"),
        ("done, projected", Provider, MOVED, |o, _| o.held = "token", "Settled"),
        (
            "it has rotated since",
            Provider,
            ONE,
            |o, d| {
                o.slot = Some(at(10));
                d.last_rotated = Some(at(20))
            },
            "Settled",
        ),
        ("it has rotated just now", Provider, ONE, |_, d| d.last_rotated = Some(at(95)), "Wait RotationWaits"),
        ("not asked yet", Provider, ONE, |o, _| o.described = None, "Describe"),
        (
            "rotated a moment ago",
            Provider,
            ONE,
            |o, _| {
                o.last = Some(at(95));
                o.described = None
            },
            "Wait RotationWaits",
        ),
        (
            "long ago",
            Provider,
            ONE,
            |o, _| {
                o.last = Some(at(90));
                o.described = None
            },
            "Describe",
        ),
    ];
    for (name, strategy, versions, change, expected) in cases {
        let mut seen = described(versions);
        let mut scratch = described(versions);
        let mut o = observed(*strategy, None);
        let asked = seen.clone();
        o.described = Some(&asked);
        change(&mut o, &mut scratch);
        let was_described = o.described.is_some();
        seen = scratch;
        o.described = was_described.then_some(&seen);
        assert_eq!(told(&next(&o)), *expected, "{name}");
    }
}

#[test]
fn a_stuck_rotation_says_what_mends_it() {
    let seen = described(&[("old", &[CURRENT]), ("alien", &[PENDING])]);
    let Step::Fail { message, .. } = next(&observed(Strategy::Generate, Some(&seen))) else { panic!() };
    assert!(
        message.ends_with("aws secretsmanager update-secret-version-stage --region eu-west-1 --secret-id arn:aws:secretsmanager:eu-west-1:123456789012:secret:pay/db-AbCdEf --version-stage AWSPENDING --remove-from-version-id alien"),
        "{message}"
    );
}

/// A manager in memory: versions and labels, as AWS moves them.
#[derive(Debug, Clone)]
struct Manager {
    made: Vec<String>,
    labels: BTreeMap<&'static str, String>,
    changed: Timestamp,
    rotated: Option<Timestamp>,
    rotates: bool,
    /// What else is in a version's value than what is generated: which of the people's values.
    rest: BTreeMap<String, usize>,
    /// What people have stored.
    stored: usize,
    /// What was ever in use.
    used: BTreeSet<String>,
}

impl Manager {
    fn new(rotates: bool) -> Self {
        let labels = BTreeMap::from([(CURRENT, "first".to_owned())]);
        let rest = BTreeMap::from([("first".to_owned(), 0)]);
        let (made, used) = (vec!["first".into()], BTreeSet::new());
        Self { made, labels, changed: at(-10_000), rotated: None, rotates, rest, stored: 0, used }
    }

    /// Somebody stores a value of their own.
    fn store(&mut self, now: Timestamp) {
        self.stored += 1;
        let id = format!("person-{}", self.stored);
        self.rest.insert(id.clone(), self.stored);
        self.made.push(id.clone());
        let current = self.labels[CURRENT].clone();
        self.promote(Some(&current), &id, now);
    }

    fn describe(&self) -> Description {
        let mut versions: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (label, id) in &self.labels {
            versions.entry(id.clone()).or_default().push((*label).to_owned());
        }
        Description {
            versions: versions.into_iter().map(|(id, stages)| VersionStages { id, stages }).collect(),
            rotation_enabled: self.rotates,
            last_changed: Some(self.changed),
            last_rotated: self.rotated,
            ..described(&[])
        }
    }

    /// Whether it was stored by this call.
    fn put(&mut self, token: &str, rest: usize, now: Timestamp) -> bool {
        if self.made.iter().any(|id| id == token) {
            return false;
        }
        self.made.push(token.into());
        self.rest.insert(token.into(), rest);
        self.labels.insert(PENDING, token.into());
        self.changed = now;
        true
    }

    fn promote(&mut self, from: Option<&str>, to: &str, now: Timestamp) {
        if self.labels.get(CURRENT).map(String::as_str) != from {
            return;
        }
        self.used.insert(to.to_owned());
        if let Some(before) = self.labels.insert(CURRENT, to.into()) {
            self.labels.insert(PREVIOUS, before);
        }
        self.changed = now;
    }

    /// The manager's function ends: it has made the value, or not.
    fn function_ends(&mut self, well: bool, now: Timestamp) {
        let pending = self.labels.get(PENDING).filter(|p| self.rotates && self.labels.get(CURRENT) != Some(p));
        let Some(pending) = pending.cloned() else {
            return;
        };
        if well {
            let current = self.labels.get(CURRENT).cloned();
            self.promote(current.as_deref(), &pending, now);
            self.labels.remove(PENDING);
            self.rotated = Some(now);
        }
    }
}

/// An operator: what is in the cluster, and what is in its memory.
#[derive(Debug, Clone)]
struct Operator {
    plan: Plan,
    strategy: Strategy,
    rotate_at: Option<&'static str>,
    held: String,
    sealed: Rotated,
    described: Option<Description>,
    fetched: Option<usize>,
    compared: Option<(String, String, bool)>,
    used: usize,
    fate: Option<Fate>,
    handled: BTreeSet<String>,
    /// Why it did not go on, at its last step.
    failed: Option<Reason>,
}

fn key() -> CanonicalKey {
    CanonicalKey::from_sealed("aws:123456789012:eu-west-1:pay/db")
}

impl Operator {
    fn new(strategy: Strategy) -> Self {
        let schedule = Schedule::parse("0 */2 * * *", None).unwrap();
        let sealed = Rotated::default().anchored(Some(&schedule), at(0));
        Self {
            plan: Plan { schedule: Some(schedule), overlap: None, recipe: None },
            strategy,
            rotate_at: None,
            held: "first".into(),
            sealed,
            described: None,
            fetched: None,
            compared: None,
            used: 0,
            fate: None,
            handled: BTreeSet::new(),
            failed: None,
        }
    }

    /// It was killed: what is in memory is gone.
    fn restart(&mut self) {
        (self.described, self.fetched, self.compared) = (None, None, None);
        (self.used, self.fate) = (0, None);
    }

    fn asked(&self) -> Asked<'_> {
        Asked {
            plan: &self.plan,
            name: "uid",
            rotate_at: self.rotate_at,
            sealed: Some(&self.sealed),
            pending: &[],
            began: None,
        }
    }

    /// The current value is in hand; what was described before another one came is described anew.
    fn fetch(&mut self, manager: &Manager) {
        let current = &manager.labels[CURRENT];
        self.fetched = Some(manager.rest[current]);
        if self.described.as_ref().and_then(|seen| seen.version_at(CURRENT)) != Some(current) {
            self.described = None;
        }
    }

    /// One step; `killed` before (Some(false)) or after (Some(true)) it takes effect. False: nothing is to be done now.
    fn step(&mut self, manager: &mut Manager, now: Timestamp, killed: Option<bool>) -> bool {
        self.failed = None;
        let Some(trigger) = self.asked().due(now).into_iter().next() else { return false };
        let tokens = |strategy| trigger.attempts(&key(), strategy).map(|token| token.to_string()).collect::<Vec<_>>();
        let earlier = self.asked().earlier(now);
        let slot = match &trigger {
            Trigger::Schedule(slot) => Some(Timestamp::from(*slot)),
            _ => None,
        };
        let renews = self.compared.as_ref().and_then(|(made, of, renews)| {
            let labels = self.described.as_ref()?;
            (labels.version_at(PENDING)? == made && labels.version_at(CURRENT)? == of).then_some(*renews)
        });
        let step = next(&Observed {
            now,
            strategy: self.strategy,
            tokens: &tokens(self.strategy),
            others: &tokens(self.strategy.other()),
            slot,
            made_earlier_by: &|version| earlier.iter().find_map(|trigger| trigger.made_by(&key(), version)),
            held: &self.held,
            revoked: None,
            again: false,
            last: self.sealed.at.map(Into::into),
            described: self.described.as_ref(),
            fetched: self.fetched.map(|_| Some(at(-10_000))),
            renews,
            used: self.used,
            fate: self.fate,
            asked_at: None,
            cleared: false,
        });
        if killed == Some(false) {
            self.restart();
            return true;
        }
        match step {
            Step::Describe => self.described = Some(manager.describe()),
            Step::FetchCurrent => self.fetch(manager),
            Step::Compare(pending) => {
                let current = manager.labels[CURRENT].clone();
                self.fetch(manager);
                let renews = manager.rest[&pending] == manager.rest[&current];
                self.compared = Some((pending, current, renews));
            }
            Step::Trace(made) => {
                let current = &manager.labels[CURRENT];
                self.fetch(manager);
                let age = |id: &String| manager.made.iter().position(|made| made == id);
                self.fate = Some(if age(current) > age(&made) { Fate::Overtaken } else { Fate::Unused });
            }
            Step::Put(token) => {
                let rest = self.fetched.take().unwrap();
                let of = self.described.take().and_then(|seen| seen.version_at(CURRENT).map(str::to_owned));
                match manager.put(&token, rest, now) {
                    true => self.compared = of.map(|of| (token, of, true)),
                    false => (self.used, self.fate) = (trigger.attempt_of(&key(), self.strategy, &token) + 1, None),
                }
            }
            Step::Promote { from, to } => {
                manager.promote(from.as_deref(), &to, now);
                self.described = None;
            }
            Step::ClearPending(version) => {
                if manager.labels.get(PENDING) == Some(&version) {
                    manager.labels.remove(PENDING);
                }
                self.described = None;
            }
            Step::Rotate(token) => {
                let rest = manager.rest[&manager.labels[CURRENT]];
                manager.put(&token, rest, now);
                (self.used, self.fate) = (trigger.attempt_of(&key(), self.strategy, &token) + 1, None);
                self.described = None;
            }
            Step::Project | Step::Settled => {
                let current = manager.labels[CURRENT].clone();
                let known = self.asked().earlier(now).into_iter().chain([trigger.clone()]);
                let made_for = known.into_iter().find(|t| t.made(&key(), &current));
                let schedule = self.plan.schedule.clone();
                let mut sealed = self.sealed.clone();
                for handled in made_for.iter().chain((step == Step::Settled).then_some(&trigger)) {
                    sealed = sealed.handled(handled, schedule.as_ref());
                    self.handled.insert(handled.to_string());
                }
                if self.held != current {
                    sealed.at = Some(now.into());
                }
                // One write.
                (self.held, self.sealed) = (current, sealed);
                self.restart();
            }
            Step::Wait { until, .. } => {
                assert!(until > now);
                self.restart();
                return false;
            }
            Step::Fail { reason, .. } => {
                self.restart();
                self.failed = Some(reason);
                return false;
            }
        }
        if killed.is_some() {
            self.restart();
        }
        true
    }
}

#[derive(Debug, Clone)]
enum Happening {
    Step,
    Killed {
        after: bool,
    },
    Minutes(i64),
    Asked(&'static str),
    FunctionEnds(bool),
    /// Somebody stores a value of their own.
    Stores,
    /// Somebody takes AWSPENDING away.
    Strips,
}

fn happenings() -> impl Arbitrary<Value = Vec<Happening>> {
    let one = prop_oneof![
        6 => Just(Happening::Step),
        3 => any::<bool>().prop_map(|after| Happening::Killed { after }),
        2 => (-300_i64..400).prop_map(Happening::Minutes),
        1 => prop_oneof![Just("a"), Just("b"), Just("c")].prop_map(Happening::Asked),
        1 => any::<bool>().prop_map(Happening::FunctionEnds),
        1 => Just(Happening::Stores),
        1 => Just(Happening::Strips),
    ];
    prop::collection::vec(one, 0..80)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    /// Whatever happens, in whatever order, wherever it is killed: in the end nothing is due, the Secret has what is current,
    /// nothing is half done, and each slot has made at most one version, each of those that were handled exactly one.
    #[test]
    fn from_any_state_it_comes_to_an_end(generates: bool, all in happenings()) {
        let strategy = if generates { Strategy::Generate } else { Strategy::Provider };
        let mut manager = Manager::new(!generates);
        let mut operator = Operator::new(strategy);
        let mut minute = 0;
        let mut slots = BTreeSet::new();
        let mut latest = 0;
        let mut asked = BTreeSet::new();
        let mut meddled = false;
        for happening in all {
            let now = at(minute);
            slots.extend(tokens_due(&operator, now));
            match happening {
                Happening::Step => {
                    operator.step(&mut manager, now, None);
                }
                Happening::Killed { after } => {
                    operator.step(&mut manager, now, Some(after));
                }
                Happening::Minutes(by) => minute = (minute + by).max(0),
                // Each value is new: one that was used before names a version that was made before.
                Happening::Asked(value) if asked.contains(value) => {}
                // A value that was asked for and taken back before it was looked at asks for nothing; one under way is finished first.
                Happening::Asked(value) if !matches!(operator.asked().due(now).first(), Some(Trigger::OnDemand(_))) => {
                    operator.rotate_at = Some(value);
                    asked.insert(value);
                }
                Happening::Asked(_) => {}
                Happening::FunctionEnds(well) => manager.function_ends(well, now),
                Happening::Stores => {
                    manager.store(now);
                    meddled = true;
                }
                Happening::Strips => {
                    meddled |= manager.labels.remove(PENDING).is_some();
                }
            }
            latest = latest.max(minute);
        }
        minute = latest + 600;
        // Slots go on coming: between two of them there is a time at which all is done.
        for _ in 0..400 {
            minute += 11;
            let now = at(minute);
            manager.function_ends(true, now);
            for _ in 0..20 {
                slots.extend(tokens_due(&operator, now));
                if !operator.step(&mut manager, now, None) {
                    break;
                }
            }
            if operator.asked().due(now).is_empty() {
                break;
            }
        }
        let now = at(minute);
        prop_assert_eq!(operator.asked().due(now), Vec::new());
        prop_assert_eq!(&operator.held, &manager.labels[CURRENT]);
        let pending = manager.labels.get(PENDING).filter(|p| manager.labels.get(CURRENT) != Some(p));
        prop_assert_eq!(pending, None);
        let unique: BTreeSet<&String> = manager.made.iter().collect();
        prop_assert_eq!(unique.len(), manager.made.len());
        for made in manager.made.iter().filter(|id| *id != "first" && !id.starts_with("person")) {
            prop_assert!(slots.contains(made), "made for no slot: {}", made);
        }
        if !generates {
            return Ok(());
        }
        prop_assert_eq!(manager.rest[&manager.labels[CURRENT]], manager.stored, "what people stored is lost");
        let asked_for = ["a", "b", "c"].map(|value| Trigger::OnDemand(value.into()));
        let known: Vec<Trigger> = operator.asked().earlier(now).into_iter().chain(asked_for).collect();
        for trigger in known.iter().filter(|trigger| operator.handled.contains(&trigger.to_string())) {
            let made = |ids: &mut dyn Iterator<Item = &String>| ids.filter(|id| trigger.made(&key(), id)).count();
            prop_assert!(meddled || made(&mut manager.used.iter()) == 1, "{} counts as rotated, and was not", trigger);
            prop_assert!(meddled || made(&mut manager.made.iter()) == 1, "{}", trigger);
        }
    }
}

/// A state to begin from.
#[derive(Debug, Clone)]
struct Start {
    manager: Manager,
    operator: Operator,
    minute: i64,
    kills: Vec<Option<bool>>,
}

/// So many of [`IDS`] are no slot's: people's, somebody's, and that of a slot that nobody names any more.
const OTHERS: usize = 4;

/// Every version that there may be.
static IDS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let others: [&str; OTHERS] = ["first", "person", "alien", "2ed6657d-e927-568b-95e1-2665a8aea6a2"];
    let scheduled = [0, 120, 240].map(|minute| Trigger::Schedule(at(minute).into()));
    let asked = ["a", "b"].map(|value| Trigger::OnDemand(value.into()));
    let key = key();
    let tokens = |strategy| {
        let triggers = scheduled.iter().chain(&asked);
        let tokens = triggers.flat_map(|trigger| trigger.attempts(&key, strategy).collect::<Vec<_>>());
        tokens.map(|token| token.to_string()).collect::<Vec<_>>()
    };
    let slots = [Strategy::Generate, Strategy::Provider].map(tokens).concat();
    others.map(str::to_owned).into_iter().chain(slots).collect()
});

/// Versions in any order of age, with any labels and contents, whatever the seal says, and whatever is asked for.
fn starts() -> impl Arbitrary<Value = Start> {
    let how = (any::<bool>(), any::<bool>(), 250_i64..400);
    let versions = prop::sample::subsequence((0..IDS.len()).collect::<Vec<_>>(), 1..=24).prop_shuffle();
    // All attempts of one slot.
    let used_up = prop::option::weighted(0.2, 0_usize..10);
    let one = || prop::option::of(any::<usize>());
    let labels = (any::<usize>(), one(), one(), one());
    let contents = prop::collection::vec(0_usize..2, IDS.len());
    let dates = (-2_000_i64..1_000, prop::option::of(-2_000_i64..1_000));
    let value = || prop::option::of(prop::sample::select(vec!["a", "b"]));
    let seal = (prop::option::of(-200_i64..600), any::<bool>(), value(), prop::option::of(-2_000_i64..30));
    let kills = prop::collection::vec(prop::option::of(any::<bool>()), 0..12);
    (how, versions, used_up, labels, contents, dates, seal, value(), kills).prop_map(
        |(
            (generates, rotates, minute),
            versions,
            used_up,
            (current, previous, pending, held),
            contents,
            (changed, rotated),
            (until, is_known, handled, last),
            rotate_at,
            kills,
        )| {
            let mut made: Vec<String> = versions.into_iter().map(|version| IDS[version].clone()).collect();
            let all_of = |trigger: usize| &IDS[OTHERS + trigger * ATTEMPTS..][..ATTEMPTS];
            for token in used_up.map(all_of).into_iter().flatten() {
                if !made.contains(token) {
                    made.push(token.clone());
                }
            }
            let one = |version: usize| made[version % made.len()].clone();
            let current = one(current);
            let previous = previous.map(one).filter(|version| *version != current);
            let (pending, held) = (pending.map(one), held.map_or("gone".to_owned(), one));
            let labels = [(CURRENT, Some(current)), (PREVIOUS, previous), (PENDING, pending)];
            let labels = labels.into_iter().filter_map(|(label, version)| Some((label, version?))).collect();
            let rest = made.iter().cloned().zip(contents).collect();
            let mut operator = Operator::new(if generates { Strategy::Generate } else { Strategy::Provider });
            let rule = operator.sealed.rule.clone().filter(|_| is_known);
            operator.sealed = Rotated {
                rule,
                until: until.map(|until| at(until).into()),
                rotate_at: handled.map(Into::into),
                at: last.map(|last| at(minute + last).into()),
                overlaps_until: None,
            };
            (operator.held, operator.rotate_at) = (held, rotate_at);
            let (changed, rotated) = (at(minute + changed), rotated.map(|rotated| at(minute + rotated)));
            let manager = Manager { made, labels, changed, rotated, rotates, rest, stored: 0, used: BTreeSet::new() };
            Start { manager, operator, minute, kills }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_024, ..ProptestConfig::default() })]

    /// Whatever it finds, and wherever it is killed: in bounded steps nothing is due and the Secret has what is current, or it says
    /// why it does not go on. It makes at most one version for a slot, and none for one that was rotated; nothing of what people
    /// have stored is lost.
    #[test]
    fn from_whatever_it_finds_it_comes_to_an_end(start in starts()) {
        let Start { mut manager, mut operator, mut minute, kills } = start;
        let generates = operator.strategy == Strategy::Generate;
        let (before, labels) = (manager.made.len(), manager.labels.clone());
        let first = operator.asked().due(at(minute)).into_iter().next();
        let mut kills = kills.into_iter();
        let mut due = BTreeSet::new();
        let mut is_final = false;
        for _ in 0..400 {
            let now = at(minute);
            if !generates {
                manager.function_ends(true, now);
            }
            let mut steps = 0;
            loop {
                due.extend(operator.asked().due(now));
                if !operator.step(&mut manager, now, kills.next().flatten()) {
                    break;
                }
                steps += 1;
                prop_assert!(steps < 500, "it goes round in circles");
            }
            is_final = operator.failed.is_some() || operator.asked().due(now).is_empty();
            if is_final {
                break;
            }
            minute += 11;
        }
        prop_assert!(is_final, "it waits without end");
        match operator.failed {
            Some(reason) => prop_assert!(
                matches!(
                    reason,
                    Reason::RotationOwnedElsewhere
                        | Reason::RotationNotConfigured
                        | Reason::RotationFailed
                        | Reason::RotationTimedOut
                        | Reason::PendingStuck
                ),
                "{}",
                reason
            ),
            None => prop_assert!(operator.handled.is_empty() || operator.held == manager.labels[CURRENT]),
        }
        let key = key();
        for trigger in &due {
            let is_its = |label: &'static str| labels.get(label).is_some_and(|version| trigger.made(&key, version));
            // What goes first takes the label off what was current before.
            let alone = labels.get(PENDING).is_none_or(|pending| is_its(PENDING) || labels.get(CURRENT) == Some(pending));
            let in_use = is_its(CURRENT) || (is_its(PREVIOUS) && first.as_ref() == Some(trigger));
            let was_rotated = generates && alone && in_use;
            let new = manager.made[before..].iter().filter(|version| trigger.made(&key, version)).count();
            prop_assert!(new <= usize::from(!was_rotated), "{} versions for {}", new, trigger);
        }
        for version in &manager.made[before..] {
            prop_assert!(due.iter().any(|trigger| trigger.made(&key, version)), "made for no slot: {}", version);
        }
        if generates {
            prop_assert_eq!(manager.rest[&manager.labels[CURRENT]], manager.rest[&labels[CURRENT]], "what was stored is lost");
        }
    }
}

/// The tokens of what is due.
fn tokens_due(operator: &Operator, now: Timestamp) -> Vec<String> {
    let (due, key) = (operator.asked().due(now), key());
    let strategy = operator.strategy;
    due.iter().flat_map(|trigger| trigger.attempts(&key, strategy)).map(|token| token.to_string()).collect()
}

/// How to end what the manager has begun is said of what may be its own, and not of the operator's.
#[test]
fn who_is_to_end_what_is_begun_ends_only_what_is_the_managers() {
    let says = |pending: &str| {
        let mut seen = described(&[("old", &[CURRENT]), (pending, &[PENDING])]);
        seen.rotation_enabled = true;
        match next(&observed(Strategy::Generate, Some(&seen))) {
            Step::Fail { reason: Reason::RotationOwnedElsewhere, message } => {
                message.contains("--remove-from-version-id")
            }
            other => panic!("{other:?}"),
        }
    };
    assert!(says("alien") && says("2ed6657d-e927-568b-95e1-26659c0adbae"));
    assert!(!says("2ed6657d-e927-568b-95e1-2665a8aea6a2"));
}

/// The function gives up, and takes its label off: it is not run again at once, for whatever it is.
#[test]
fn a_function_that_cleans_up_is_not_run_again_at_once() {
    let mut seen = described(&[("old", &[CURRENT])]);
    seen.rotation_enabled = true;
    let asked = |asked_at: Option<i64>, fate: Option<Fate>, now: i64| {
        told(&next(&Observed {
            asked_at: asked_at.map(at),
            used: usize::from(fate.is_some()),
            fate,
            now: at(now),
            ..observed(Strategy::Provider, Some(&seen))
        }))
    };
    for fate in [None, Some(Fate::Unused), Some(Fate::Unknown)] {
        assert!(
            asked(Some(100), fate, 100).starts_with("Wait Requested"),
            "the manager may be behind itself: {fate:?}"
        );
        assert_eq!(asked(Some(100), fate, 102), "Fail RotationFailed", "{fate:?}");
        assert_eq!(asked(Some(100), fate, 109), "Fail RotationFailed", "{fate:?}");
        for (asked_at, now) in [(None, 102), (Some(100), 110), (Some(100_000), 102)] {
            assert!(asked(asked_at, fate, now).starts_with("Rotate "), "{fate:?} {asked_at:?} {now}");
        }
    }
}
