//! What a namespace's guard ought to be, situation by situation.

use super::super::asked::Asker;
use super::*;
use crate::api::policy::Approval;
use crate::segmentation::fixtures::now;
use crate::segmentation::policy::DEFAULT_MAX_GRANT;
use std::time::Duration;
use tokio::time::Instant;

fn list(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn claimant(standing: Standing, consumers: &[&str], uid: &str) -> Claimant {
    Claimant { consumers: list(consumers), standing, holds: false, barred: false, since: (now(), uid.into()) }
}

fn holder(standing: Standing, consumers: &[&str]) -> Claimant {
    Claimant { holds: true, ..claimant(standing, consumers, "b") }
}

fn barred(standing: Standing, consumers: &[&str]) -> Claimant {
    Claimant { barred: true, ..claimant(standing, consumers, "a") }
}

fn claimed(claimants: Vec<Claimant>) -> Target {
    Target { claimants, ..Target::default() }
}

fn held(claimants: Vec<Claimant>) -> Target {
    Target { held: true, ..claimed(claimants) }
}

#[test]
fn who_may_reference_a_secret() {
    use Standing::{Allowed, Refused, Undecided};
    let (before, none) = (list(&["before"]), None);
    let free = Target { free: true, ..held(vec![]) };
    type Names<'a> = Option<&'a [&'a str]>;
    let table: [(&str, Target, Names, Names); 20] = [
        ("allowed, to be fetched", claimed(vec![claimant(Allowed, &["a"], "a")]), None, Some(&["a"])),
        ("allowed, with other consumers now", held(vec![holder(Allowed, &["a"])]), Some(&["before"]), Some(&["a"])),
        ("allowed, without consumers", claimed(vec![claimant(Allowed, &[], "a")]), None, none),
        ("allowed, without consumers now", held(vec![holder(Allowed, &[])]), Some(&["before"]), none),
        ("refused, nothing projected", claimed(vec![claimant(Refused, &["a"], "a")]), None, none),
        ("refused, what was never there", claimed(vec![claimant(Refused, &["a"], "a")]), Some(&["before"]), none),
        ("refused, its Secret stays", held(vec![holder(Refused, &["a"])]), Some(&["before"]), Some(&["before"])),
        ("refused, its Secret stays, unknown so far", held(vec![holder(Refused, &["a"])]), None, Some(&["a"])),
        ("undecided, nothing projected", claimed(vec![claimant(Undecided, &["a"], "a")]), None, none),
        ("undecided, known", claimed(vec![claimant(Undecided, &["a"], "a")]), Some(&["before"]), Some(&["before"])),
        ("without its ScopedSecret", held(vec![]), Some(&["before"]), Some(&["before"])),
        ("without its ScopedSecret, unknown so far", held(vec![]), None, Some(&[])),
        ("without its ScopedSecret, which named no consumers", free, None, none),
        (
            "two: the earlier one",
            claimed(vec![claimant(Allowed, &["late"], "b"), claimant(Allowed, &["early"], "a")]),
            None,
            Some(&["early"]),
        ),
        (
            "two: the one that has it",
            held(vec![claimant(Allowed, &["early"], "a"), holder(Allowed, &["has"])]),
            None,
            Some(&["has"]),
        ),
        ("the name is somebody else's", claimed(vec![barred(Allowed, &["a"])]), None, none),
        ("the name is somebody else's, as was found", claimed(vec![barred(Allowed, &["a"])]), Some(&["before"]), none),
        ("the name is somebody else's, undecided", claimed(vec![barred(Undecided, &["a"])]), Some(&["before"]), none),
        (
            "the name is another ScopedSecret's",
            held(vec![barred(Allowed, &["a"]), holder(Allowed, &["has"])]),
            None,
            Some(&["has"]),
        ),
        ("the name is a retained Secret's", held(vec![barred(Allowed, &["a"])]), Some(&["before"]), Some(&["before"])),
    ];
    for (what, target, known, wanted) in table {
        let known = known.map(|_| &before);
        assert_eq!(consumers(&target, known), wanted.map(list), "{what}");
        let free = what.contains("without consumers") || what.contains("named no consumers");
        assert_eq!(is_free(&target), free, "{what}");
    }
}

const GOVERNED: Governance = Governance::Governed {
    mode: Mode::Enforce,
    consumers: Mode::Enforce,
    replication: Mode::Enforce,
    max_grant: DEFAULT_MAX_GRANT,
    approval: Approval::None,
};

fn content(mode: &str, targets: &[(&str, &[&str])]) -> Content {
    Content {
        labels: BTreeMap::from([(MODE_LABEL.to_owned(), mode.to_owned())]),
        targets: targets.iter().map(|(name, consumers)| ((*name).to_owned(), list(consumers))).collect(),
        grants: Some(GrantLimits { max_ttl: "8h".into(), approval: Approval::None }),
        ..Content::default()
    }
}

fn observed<'a>(governance: Governance, known: Option<&'a Content>, targets: Vec<(&str, Target)>) -> Observed<'a> {
    Observed {
        governance,
        terminating: false,
        known,
        there: known.is_some(),
        targets: targets.into_iter().map(|(name, target)| (name.to_owned(), target)).collect(),
        askers: Askers {
            all: [].into(),
            anew: [].into(),
            guarded: None,
            named: [].into(),
            recent: None,
            news: false,
            at: Instant::now(),
        },
        now: now(),
    }
}

#[test]
fn since_when_a_guard_names_who_shares_a_key() {
    let asker = || Asker {
        uid: "u".into(),
        revision: "7".into(),
        asks: false,
        standing: Standing::Allowed,
        shared: true,
        store: "aws".into(),
        keys: vec!["a/b".into()],
        answered: BTreeSet::new(),
    };
    let planned = |names: &[&str], known: Option<&Content>, there: bool, seconds: i64| {
        let mut all = observed(GOVERNED, known, Vec::new());
        all.askers.all = names.iter().map(|name| ((*name).to_owned(), asker())).collect();
        (all.there, all.now) = (there, now() + jiff::SignedDuration::from_secs(seconds));
        match plan(&all) {
            Plan::Write(content) => content,
            other => panic!("{other:?}"),
        }
    };
    let since = |content: &Content| content.labels.get(SHARED_SINCE_LABEL).cloned();
    let at = |seconds: i64| Some((now().as_second() + seconds).to_string());
    let one = planned(&["a"], None, false, 0);
    assert_eq!(since(&one), at(0));
    let mut same = observed(GOVERNED, Some(&one), Vec::new());
    same.askers.all = [("a".to_owned(), asker())].into();
    same.askers.named = [("a".to_owned(), same.askers.at)].into();
    same.now = now() + jiff::SignedDuration::from_secs(9);
    assert_eq!(plan(&same), Plan::Leave);
    same.askers.at += super::super::asked::WATCHED;
    let Plan::Write(watched) = plan(&same) else { panic!("it is no news any more") };
    assert_eq!((since(&watched), &watched.shared), (None, &one.shared));
    same.known = Some(&watched);
    assert_eq!(plan(&same), Plan::Leave);
    assert_eq!(since(&planned(&["a", "b"], Some(&one), true, 9)), at(9));
    let two = planned(&["a", "b"], Some(&one), true, 9);
    assert_eq!(since(&planned(&["a", "b"], Some(&two), false, 20)), at(20), "it is put back");
    assert_eq!(since(&planned(&[], Some(&two), true, 20)), None);
    // What there is no room for is not named, and no reason to write.
    let names: BTreeSet<String> = (0..=room::MOST).map(|number| format!("{number:0>8}")).collect();
    let full = Content { shared: names.iter().take(room::MOST).cloned().collect(), ..one.clone() };
    let mut more = observed(GOVERNED, Some(&full), Vec::new());
    more.askers.all = names.into_iter().map(|name| (name, asker())).collect();
    more.now = now() + jiff::SignedDuration::from_secs(9);
    more.askers.recent = Some(more.askers.at);
    assert!(plan(&more) == Plan::Leave, "there is room for no more");
}

#[test]
fn what_is_done_about_a_guard() {
    use Standing::{Allowed, Refused, Undecided};
    let claim = |standing| ("orders", claimed(vec![claimant(standing, &["orders"], "a")]));
    let has = |standing| ("orders", held(vec![holder(standing, &["orders"])]));
    let right = content("Enforce", &[("orders", &["orders"])]);
    let (empty, audit) = (content("Enforce", &[]), content("Audit", &[("orders", &["orders"])]));
    let bare = Content { labels: BTreeMap::new(), ..right.clone() };
    let (strict, ended) = (
        Governance::Governed {
            mode: Mode::Enforce,
            consumers: Mode::Enforce,
            replication: Mode::Enforce,
            max_grant: Duration::from_secs(5400),
            approval: Approval::Required,
        },
        Content { grants: None, ..audit.clone() },
    );
    let nothing = Content { grants: None, ..right.clone() };
    let stricter = Content {
        grants: Some(GrantLimits { max_ttl: "1h30m".into(), approval: Approval::Required }),
        ..right.clone()
    };
    let write = |content: &Content| Plan::Write(content.clone());
    let table = [
        ("governed, and nothing claimed", observed(GOVERNED, None, vec![]), write(&empty)),
        ("the first claim", observed(GOVERNED, None, vec![claim(Allowed)]), write(&right)),
        ("a claim that is refused", observed(GOVERNED, None, vec![claim(Refused)]), write(&empty)),
        ("all is right", observed(GOVERNED, Some(&right), vec![has(Allowed)]), Plan::Leave),
        ("the mode is another", observed(GOVERNED, Some(&audit), vec![has(Allowed)]), write(&right)),
        ("somebody took the label off", observed(GOVERNED, Some(&bare), vec![has(Allowed)]), write(&right)),
        ("the last claim went", observed(GOVERNED, Some(&right), vec![("orders", Target::default())]), write(&empty)),
        ("governed, and without claims", observed(GOVERNED, Some(&empty), vec![]), Plan::Leave),
        ("not governed any more", observed(Governance::Ungoverned, Some(&empty), vec![]), Plan::Remove),
        ("never governed", observed(Governance::Ungoverned, None, vec![claim(Refused)]), Plan::Leave),
        (
            "not governed, and its Secret waits to be withdrawn",
            observed(Governance::Ungoverned, Some(&ended), vec![has(Refused)]),
            Plan::Leave,
        ),
        (
            "not governed any more: nothing is granted",
            observed(Governance::Ungoverned, Some(&audit), vec![has(Refused)]),
            write(&ended),
        ),
        ("grants may give less", observed(strict, Some(&right), vec![has(Allowed)]), write(&stricter)),
        ("policies unknown", observed(Governance::Unknown, Some(&audit), vec![has(Undecided)]), Plan::Leave),
        ("policies unknown, and no guard", observed(Governance::Unknown, None, vec![has(Undecided)]), write(&nothing)),
        (
            "policies unknown, label gone",
            observed(Governance::Unknown, Some(&bare), vec![has(Undecided)]),
            write(&right),
        ),
        (
            "deleted by somebody, put back as it was",
            Observed { there: false, ..observed(Governance::Unknown, Some(&audit), vec![has(Undecided)]) },
            write(&audit),
        ),
        (
            "the namespace is being deleted",
            Observed { terminating: true, ..observed(GOVERNED, None, vec![claim(Allowed)]) },
            Plan::Leave,
        ),
    ];
    for (what, observed, wanted) in table {
        assert_eq!(plan(&observed), wanted, "{what}");
    }
}

/// A claim without consumers needs no target, but the namespace is guarded.
#[test]
fn a_namespace_with_a_claim_has_a_guard() {
    let free = ("free", claimed(vec![claimant(Standing::Allowed, &[], "a")]));
    let wanted = Content { free: ["free".to_owned()].into(), ..content("Enforce", &[]) };
    assert_eq!(plan(&observed(GOVERNED, None, vec![free])), Plan::Write(wanted));
}

#[test]
fn a_rule_that_is_answered_by_less_has_a_label_of_its_own() {
    let lowered = Governance::Governed {
        mode: Mode::Enforce,
        consumers: Mode::Audit,
        replication: Mode::Warn,
        max_grant: DEFAULT_MAX_GRANT,
        approval: Approval::None,
    };
    let claim = ("orders", claimed(vec![claimant(Standing::Allowed, &["orders"], "a")]));
    let Plan::Write(written) = plan(&observed(lowered, None, vec![claim])) else { panic!("it is written") };
    let labels: Vec<_> = written.labels.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(
        labels,
        [
            ("scopedsecrets.io/mode", "Enforce"),
            ("scopedsecrets.io/mode-consumers", "Audit"),
            ("scopedsecrets.io/mode-replication", "Warn")
        ]
    );
}
