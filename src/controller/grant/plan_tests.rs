//! Whether a grant gives access, situation by situation, and what is done about it.

use super::super::known::{Binding, Role, handle};
use super::*;
use crate::api::secret_grant::{ScopedSecretRef, SecretGrantSpec};
use crate::segmentation::fixtures::at;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

const HOUR: i64 = 3600;
/// When grants are created here; the rule has been in force since long before.
const MADE: i64 = 1_000_000;

fn grant(change: impl FnOnce(&mut SecretGrantSpec)) -> Grant {
    let mut spec = SecretGrantSpec {
        scoped_secret_ref: ScopedSecretRef { name: "orders".into() },
        subject: GrantSubject { kind: GrantSubjectKind::User, name: "ada".into() },
        ttl: "1h".into(),
        reason: "INC-1".into(),
        rotate_after: None,
        requested_by: None,
        approved_by: None,
    };
    change(&mut spec);
    Grant {
        name: "ada".into(),
        uid: "g".into(),
        resource_version: "1".into(),
        generation: 1,
        created: at(MADE),
        deleting: false,
        spec: Some(spec),
        status: crate::api::SecretGrantStatus::default(),
    }
}

fn approved(spec: &mut SecretGrantSpec) {
    (spec.requested_by, spec.approved_by) = (Some("eve".into()), Some("bob".into()));
}

fn role(granted: i64) -> Role {
    Role {
        uid: "r".into(),
        resource_version: "1".into(),
        owner: Some("c".into()),
        claim: Some("orders".into()),
        of: Some(given()),
        secret: Some("orders-db".into()),
        grant: "ada".into(),
        grant_uid: "g".into(),
        subject: "User \"ada\"".into(),
        granted: at(granted),
        rotate_after: false,
        deleting: false,
    }
}

fn binding() -> Binding {
    Binding {
        uid: "b".into(),
        resource_version: "1".into(),
        owner: Some("g".into()),
        role: Some("grant-ada".into()),
        subject: Some(GrantSubject { kind: GrantSubjectKind::User, name: "ada".into() }),
        of: Some(given()),
        deleting: false,
    }
}

/// What is lent here.
fn given() -> Lendable {
    Lendable { uid: "c".into(), keys: vec!["k".into()] }
}

fn lent(grant: Grant) -> Lent {
    Lent { grant: Some(grant), ..Lent::default() }
}

fn open(grant: Grant) -> Lent {
    Lent { role: Some(role(MADE)), binding: Some(binding()), ..lent(grant) }
}

/// What is around a grant; each case changes one thing of it.
struct Around {
    claim: Option<Claim>,
    is_deleted: bool,
    guarded: Guarded,
    limits: Limits,
    now: i64,
    approved: Option<i64>,
}

fn around() -> Around {
    Around {
        claim: Some(Claim {
            uid: "c".into(),
            secret: "orders-db".into(),
            keys: vec!["k".into()],
            held: Some(vec!["k".into()]),
            stands: true,
            standing: Standing::Allowed,
            rotates: false,
            unrotatable: None,
            out_of_sync: false,
            revoked: None,
            has_ended: false,
            value_since: Some(at(MADE - HOUR)),
        }),
        is_deleted: false,
        guarded: Guarded::Since(at(0)),
        limits: Limits::Governed { max: Duration::from_secs(8 * 3600), approval: Approval::None },
        now: MADE + 60,
        approved: None,
    }
}

fn required() -> Limits {
    Limits::Governed { max: Duration::from_secs(8 * 3600), approval: Approval::Required }
}

impl Around {
    fn with(change: impl FnOnce(&mut Self)) -> Self {
        let mut around = around();
        change(&mut around);
        around
    }

    fn guarded(self, guarded: Guarded) -> Self {
        Self { guarded, ..self }
    }

    fn claim(change: impl FnOnce(&mut Claim)) -> Self {
        around().changed(change)
    }

    fn changed(mut self, change: impl FnOnce(&mut Claim)) -> Self {
        if let Some(claim) = &mut self.claim {
            change(claim);
        }
        self
    }

    fn look<'a>(&'a self, lent: &'a Lent) -> Observed<'a> {
        Observed {
            lent,
            namespace: "payments-prod",
            handle: "grant-ada",
            approved: self.approved.map(at),
            claim: self.claim.as_ref(),
            is_deleted: self.is_deleted,
            guarded: self.guarded,
            limits: self.limits,
            now: at(self.now),
        }
    }

    fn told(&self, lent: &Lent) -> String {
        match judge(&self.look(lent)) {
            Verdict::Open => "Open".into(),
            Verdict::Closed(reason, _) => format!("Closed {reason}"),
            Verdict::Over(reason, _) => format!("Over {reason}"),
            Verdict::Unknown(reason, _) => format!("Unknown {reason}"),
        }
    }

    fn steps(&self, lent: &Lent) -> Vec<Step> {
        let observed = self.look(lent);
        steps(&observed, &judge(&observed))
    }
}

#[test]
fn who_gets_access() {
    let plain = || lent(grant(|_| ()));
    let asked = |change: fn(&mut SecretGrantSpec)| lent(grant(change));
    let deleting = Lent { grant: Some(Grant { deleting: true, ..grant(|_| ()) }), ..Lent::default() };
    let table: Vec<(&str, Lent, Around, &str)> = vec![
        ("all is well", plain(), around(), "Open"),
        ("its last second", plain(), Around::with(|a| a.now = MADE + HOUR - 1), "Open"),
        ("its end", plain(), Around::with(|a| a.now = MADE + HOUR), "Over Expired"),
        ("deleted", Lent { role: Some(role(MADE)), ..Lent::default() }, around(), "Over GrantEnded"),
        ("being deleted", deleting, around(), "Over GrantEnded"),
        ("nobody was asked", plain(), Around::with(|a| a.guarded = Guarded::Missing), "Closed GuardMissing"),
        (
            "nobody was asked then",
            plain(),
            Around::with(|a| a.guarded = Guarded::Since(at(MADE + 9))),
            "Closed GuardMissing",
        ),
        (
            "perhaps nobody was asked",
            plain(),
            Around::with(|a| a.guarded = Guarded::Since(at(MADE - 2))),
            "Closed GuardMissing",
        ),
        ("somebody was asked", plain(), Around::with(|a| a.guarded = Guarded::Since(at(MADE - 3))), "Open"),
        ("asked by another form", plain(), Around::with(|a| a.guarded = Guarded::Another), "Unknown GuardMissing"),
        ("not known who was asked", plain(), Around::with(|a| a.guarded = Guarded::Unknown), "Unknown Pending"),
        ("ungoverned", plain(), Around::with(|a| a.limits = Limits::Ungoverned), "Closed NoPolicy"),
        ("policy unknown", plain(), Around::with(|a| a.limits = Limits::Unknown), "Unknown PolicyUnknown"),
        ("too long", asked(|s| s.ttl = "9h".into()), around(), "Closed GrantTooLong"),
        ("no duration", asked(|s| s.ttl = "soon".into()), around(), "Closed GrantInvalid"),
        ("no time", asked(|s| s.ttl = "0s".into()), Around::with(|a| a.now = MADE - 1), "Closed GrantInvalid"),
        ("system:masters", asked(|s| s.subject.name = "system:masters".into()), around(), "Closed GrantInvalid"),
        (
            "an account of another namespace",
            asked(|s| s.subject.name = "system:serviceaccount:other:x".into()),
            around(),
            "Closed GrantInvalid",
        ),
        (
            "an account that names a namespace",
            asked(|s| s.subject = GrantSubject { kind: GrantSubjectKind::ServiceAccount, name: "other:x".into() }),
            around(),
            "Closed GrantInvalid",
        ),
        (
            "no ScopedSecret",
            plain(),
            Around::with(|a| (a.claim, a.is_deleted) = (None, true)),
            "Closed SecretNotProjected",
        ),
        ("no Secret", plain(), Around::claim(|c| c.stands = false), "Closed SecretNotProjected"),
        (
            "refused",
            plain(),
            Around::claim(|c| c.standing = Standing::Refused(Reason::KeyNotAllowed)),
            "Closed KeyNotAllowed",
        ),
        ("undecided", plain(), Around::claim(|c| c.standing = Standing::Undecided), "Unknown PolicyUnknown"),
        ("revoked since", plain(), Around::claim(|c| c.revoked = Some(at(MADE + 5))), "Over KeyRevoked"),
        (
            "revoked since, and not there",
            plain(),
            Around::claim(|c| (c.stands, c.revoked) = (false, Some(at(MADE + 5)))),
            "Over KeyRevoked",
        ),
        (
            "revoked since, and nobody was asked",
            plain(),
            Around::claim(|c| c.revoked = Some(at(MADE + 5))).guarded(Guarded::Missing),
            "Over KeyRevoked",
        ),
        (
            "its Secret lags behind",
            plain(),
            Around::claim(|c| c.held = Some(vec!["old".into()])),
            "Closed SecretNotProjected",
        ),
        ("revoked before", plain(), Around::claim(|c| c.revoked = Some(at(MADE - 5))), "Open"),
        ("no way to rotate", asked(|s| s.rotate_after = Some(true)), around(), "Closed RotationNotDeclared"),
        (
            "a way to rotate that policy does not let it go",
            asked(|s| s.rotate_after = Some(true)),
            Around::claim(|c| (c.rotates, c.unrotatable) = (true, Some(Reason::ActionNotAllowed))),
            "Closed ActionNotAllowed",
        ),
        ("a way to rotate", asked(|s| s.rotate_after = Some(true)), Around::claim(|c| c.rotates = true), "Open"),
        ("an approval is required by now", plain(), Around::with(|a| a.limits = required()), "Closed ApprovalRequired"),
        (
            "none is required any more",
            asked(|s| s.requested_by = Some("eve".into())),
            around(),
            "Closed RequesterNotNamed",
        ),
        (
            "it waits",
            asked(|s| s.requested_by = Some("eve".into())),
            Around::with(|a| a.limits = required()),
            "Closed AwaitsApproval",
        ),
        (
            "it waits for ever",
            asked(|s| s.requested_by = Some("eve".into())),
            Around::with(|a| {
                a.limits = required();
                a.now = MADE + 99 * HOUR;
            }),
            "Closed AwaitsApproval",
        ),
        ("approved", asked(approved), Around::with(|a| a.limits = required()), "Open"),
        (
            "approved by oneself",
            asked(|s| (s.requested_by, s.approved_by) = (Some("eve".into()), Some("eve".into()))),
            Around::with(|a| a.limits = required()),
            "Closed GrantInvalid",
        ),
        (
            "approved by its subject",
            asked(|s| (s.requested_by, s.approved_by) = (Some("eve".into()), Some("ada".into()))),
            Around::with(|a| a.limits = required()),
            "Closed GrantInvalid",
        ),
        (
            "approved by its subject, a ServiceAccount",
            asked(|s| {
                s.subject = GrantSubject { kind: GrantSubjectKind::ServiceAccount, name: "bot".into() };
                s.requested_by = Some("eve".into());
                s.approved_by = Some("system:serviceaccount:payments-prod:bot".into());
            }),
            Around::with(|a| a.limits = required()),
            "Closed GrantInvalid",
        ),
        (
            "approved by an account of its subject's name elsewhere",
            asked(|s| {
                s.subject = GrantSubject { kind: GrantSubjectKind::ServiceAccount, name: "bot".into() };
                s.requested_by = Some("eve".into());
                s.approved_by = Some("system:serviceaccount:tools:bot".into());
            }),
            Around::with(|a| a.limits = required()),
            "Open",
        ),
        (
            "approved, and asked by nobody",
            asked(|s| s.approved_by = Some("bob".into())),
            Around::with(|a| a.limits = required()),
            "Closed GrantInvalid",
        ),
    ];
    for (what, lent, around, expected) in table {
        assert_eq!(around.told(&lent), expected, "{what}");
    }
}

/// Of an approved grant the time runs from the approval; every note of it only shortens.
#[test]
fn since_when_the_time_of_an_approved_grant_runs() {
    let term = |lent: &Lent, approved: Option<i64>| {
        let around = Around::with(|a| (a.limits, a.approved) = (required(), approved));
        term(&around.look(lent)).map(|(start, end)| (start.as_second() - MADE, end.as_second() - start.as_second()))
    };
    let mut known = lent(grant(approved));
    assert_eq!(term(&known, None), None, "not honoured yet");
    assert_eq!(term(&known, Some(MADE + 50)), Some((50, HOUR)));
    assert_eq!(term(&known, Some(MADE - 50)), Some((0, HOUR)), "nobody approves what is not there");
    known.role = Some(role(MADE + 40));
    assert_eq!(term(&known, Some(MADE + 50)), Some((40, HOUR)));
    if let Some(grant) = &mut known.grant {
        grant.status.start_time = Some(Time(at(MADE + 30)));
    }
    assert_eq!(term(&known, None), Some((30, HOUR)));
    known.role = None;
    assert_eq!(term(&known, Some(MADE + 5 * HOUR)), Some((30, HOUR)), "its Role is gone, and it is over all the same");
    let ended = Around::with(|a| (a.limits, a.now) = (required(), MADE + 2 * HOUR));
    assert_eq!(ended.told(&known), "Over Expired");
}

#[test]
fn what_is_done() {
    use Step::{CreateBinding, CreateRole, DeleteBinding, DeleteRole, Rotate};
    let plain = || grant(|_| ());
    let over = || Around::with(|a| a.now = MADE + HOUR);
    let owed = |binding: Option<Binding>| Lent {
        role: Some(Role { rotate_after: true, ..role(MADE) }),
        binding,
        ..lent(grant(|s| s.rotate_after = Some(true)))
    };
    let rotates = || Around::claim(|c| c.rotates = true);
    let other_key = || Around::claim(|c| c.keys = vec!["other".into()]);
    let other = |change: fn(&mut Binding)| {
        let mut binding = binding();
        change(&mut binding);
        Lent { binding: Some(binding), ..open(plain()) }
    };
    let table: Vec<(&str, Lent, Around, Vec<Step>)> = vec![
        ("new", lent(plain()), around(), vec![CreateRole(at(MADE)), CreateBinding]),
        ("killed between the two", Lent { binding: None, ..open(plain()) }, around(), vec![CreateBinding]),
        ("all is there", open(plain()), around(), vec![]),
        ("over", open(plain()), over(), vec![DeleteBinding, DeleteRole]),
        ("over, and killed between the two", Lent { binding: None, ..open(plain()) }, over(), vec![DeleteRole]),
        ("over, and all is gone", lent(plain()), over(), vec![]),
        (
            "deleted, and its RoleBinding with it",
            Lent { grant: None, binding: None, ..open(plain()) },
            around(),
            vec![DeleteRole],
        ),
        (
            "the rule is lifted",
            open(plain()),
            Around::with(|a| a.guarded = Guarded::Missing),
            vec![DeleteBinding, DeleteRole],
        ),
        ("it cannot be told", open(plain()), Around::with(|a| a.guarded = Guarded::Unknown), vec![]),
        (
            "it cannot be told, and it is over",
            open(plain()),
            Around::with(|a| {
                a.guarded = Guarded::Unknown;
                a.now = MADE + HOUR;
            }),
            vec![DeleteBinding, DeleteRole],
        ),
        ("somebody else is bound", other(|b| b.subject = None), around(), vec![DeleteBinding, CreateBinding]),
        ("to another Role", other(|b| b.role = Some("admin".into())), around(), vec![DeleteBinding, CreateBinding]),
        ("of another grant", other(|b| b.owner = None), around(), vec![DeleteBinding, CreateBinding]),
        (
            "another Secret",
            Lent { role: Some(Role { secret: Some("other".into()), ..role(MADE) }), ..open(plain()) },
            around(),
            vec![DeleteRole, CreateRole(at(MADE))],
        ),
        (
            "its owner was taken off",
            Lent { role: Some(Role { owner: None, ..role(MADE) }), ..open(plain()) },
            around(),
            vec![DeleteRole, CreateRole(at(MADE))],
        ),
        (
            "the ScopedSecret was made again",
            open(plain()),
            Around::claim(|c| c.uid = "d".into()),
            vec![DeleteBinding, DeleteRole],
        ),
        ("it has another key", open(plain()), other_key(), vec![DeleteBinding, DeleteRole]),
        ("owed once it ends", owed(Some(binding())), rotates(), vec![]),
        ("owed", owed(Some(binding())), Around::with(|a| a.now = MADE + HOUR), vec![DeleteBinding, Rotate]),
        ("owed, and the grant is gone", Lent { grant: None, ..owed(None) }, around(), vec![Rotate]),
        (
            "owed, and closed for now",
            owed(Some(binding())),
            Around::with(|a| a.guarded = Guarded::Missing),
            vec![DeleteBinding],
        ),
    ];
    for (what, lent, around, expected) in table {
        assert_eq!(around.steps(&lent), expected, "{what}");
    }
}

/// A grant is of one ScopedSecret with the keys that it had, whichever of what notes that is left.
#[test]
fn what_was_given_does_not_become_something_else() {
    let noted_in = |part: &str| {
        let mut lent = lent(grant(|_| ()));
        match part {
            "role" => lent.role = Some(role(MADE)),
            "binding" => lent.binding = Some(binding()),
            _ => lent.grant.iter_mut().for_each(|grant| grant.status.scoped_secret = Some(given())),
        }
        lent
    };
    for part in ["role", "binding", "status"] {
        for (what, around, expected) in [
            ("as it was", around(), "Open"),
            ("made anew", Around::claim(|c| c.uid = "d".into()), "Over GrantOutdated"),
            (
                "made anew, unallowed",
                Around::claim(|c| (c.uid, c.standing) = ("d".into(), Standing::Undecided)),
                "Over GrantOutdated",
            ),
            ("another key", Around::claim(|c| c.keys = vec!["other".into()]), "Over GrantOutdated"),
            ("one more key", Around::claim(|c| c.keys.push("more".into())), "Over GrantOutdated"),
            ("its Secret has another", Around::claim(|c| c.held = Some(vec!["other".into()])), "Over GrantOutdated"),
            ("what it holds is not known", Around::claim(|c| c.held = None), "Open"),
            (
                "the account is not known",
                Around::claim(|c| (c.keys, c.standing) = (vec![], Standing::Undecided)),
                "Unknown PolicyUnknown",
            ),
            (
                "a key that it may not have, so that it keeps what it has",
                Around::claim(|c| {
                    (c.keys, c.standing) = (vec!["other".into()], Standing::Refused(Reason::KeyNotAllowed))
                }),
                "Closed KeyNotAllowed",
            ),
            ("deleted", Around::with(|a| (a.claim, a.is_deleted) = (None, true)), "Closed GrantOutdated"),
            ("it cannot be understood", Around::with(|a| a.claim = None), "Closed SecretNotProjected"),
        ] {
            assert_eq!(around.told(&noted_in(part)), expected, "{what}, by its {part}");
        }
    }
    // Such an end is one for good.
    for reason in ["GrantOutdated", "KeyRevoked", "Expired"] {
        let mut known = open(grant(|_| ()));
        known.grant.iter_mut().for_each(|grant| {
            grant.status.end_time = Some(Time(at(MADE + 9)));
            grant.status.reason = Some(reason.to_owned());
        });
        assert_eq!(around().told(&known), format!("Over {reason}"));
    }
}

/// What is owed is owed for the key that somebody has seen.
#[test]
fn a_debt_is_paid_by_whoever_names_its_key() {
    let owes =
        |grant: Option<Grant>| Lent { grant, role: Some(Role { rotate_after: true, ..role(MADE) }), ..Lent::default() };
    let paid = |around: Around, lent: &Lent| debt(&around.look(lent));
    for (what, around, lent, expected) in [
        ("its own", Around::claim(|c| c.rotates = true), owes(None), Debt::Due),
        ("no rotation any more", around(), owes(None), Debt::Unrotated),
        ("one of the same name", Around::claim(|c| (c.uid, c.rotates) = ("d".into(), true)), owes(None), Debt::Due),
        ("another key", Around::claim(|c| c.keys = vec!["other".into()]), owes(None), Debt::Unpaid),
        ("not known", Around::claim(|c| c.keys.clear()), owes(None), Debt::Waits),
        ("gone", Around::with(|a| a.claim = None), owes(None), Debt::Orphaned),
        ("gone, and the grant is there", Around::with(|a| a.claim = None), owes(Some(grant(|_| ()))), Debt::Waits),
    ] {
        assert_eq!(paid(around, &lent), expected, "{what}");
    }
}

/// Who is to see that a debt is paid is told so, unless it is about to be.
#[test]
fn a_debt_that_waits_for_somebody_is_told() {
    let lent = Lent { role: Some(Role { rotate_after: true, ..role(MADE) }), ..Lent::default() };
    type Change = fn(&mut Claim);
    let table: [(Change, Option<&str>); 7] = [
        (|_| (), None),
        (|claim| claim.keys = vec!["other".into()], Some("names that key")),
        (|claim| claim.rotates = false, Some("has spec.rotation")),
        (|claim| claim.has_ended = true, Some("has time left")),
        (|claim| claim.unrotatable = Some(Reason::ActionNotAllowed), Some("may rotate it")),
        (|claim| claim.out_of_sync = true, Some("is in sync")),
        (|claim| (claim.out_of_sync, claim.keys) = (true, vec![]), None),
    ];
    for (change, expected) in table {
        let around = Around::claim(|claim| claim.rotates = true).changed(change);
        assert_eq!(unpaid(&around.look(&lent)).map(|(why, _)| why), expected, "{:?}", around.claim);
    }
}

#[test]
fn a_handle_is_no_longer_than_a_label_and_one_for_each_grant() {
    let long = "a".repeat(253);
    let (a, b) = (handle("n", &long, "1"), handle("n", &long, "2"));
    assert_eq!((a.name.len(), b.name.len()), (63, 63));
    assert_ne!(a, b);
    let dotted = handle("n", &format!("{}.x", "a".repeat(45)), "1");
    assert!(!dotted.name.contains(".-"), "{dotted}");
    assert_eq!(handle("n", "ada", "1").name.len(), "grant-ada-0123456789".len());
}

#[test]
fn a_debt_outlives_the_scoped_secret_if_another_has_its_key() {
    type Change<'c> = &'c dyn Fn(&mut Grant, &mut Claim);
    let owes = |change: Change<'_>| {
        let mut grant = grant(|spec| spec.rotate_after = Some(true));
        grant.status.scoped_secret = Some(given());
        grant.status.end_time = Some(Time(at(MADE + 9)));
        grant.status.reason = Some("GrantOutdated".into());
        let around = Around::claim(|claim| {
            (claim.uid, claim.rotates, claim.value_since) = ("another".into(), true, Some(at(MADE)));
            change(&mut grant, claim);
        });
        let lent = lent(grant);
        let observed = around.look(&lent);
        (steps(&observed, &judge(&observed)), debt(&observed))
    };
    assert_eq!(owes(&|_, _| ()), (vec![Step::Rotate], Debt::Due));
    assert_eq!(owes(&|_, claim| claim.rotates = false), (vec![Step::Rotate], Debt::Unrotated));
    assert_eq!(owes(&|_, claim| claim.has_ended = true), (vec![Step::Rotate], Debt::Ended));
    let paid: [Change<'_>; 5] = [
        &|_, claim| claim.value_since = Some(at(MADE + 10)),
        &|_, claim| claim.value_since = None,
        &|_, claim| claim.uid = given().uid,
        &|_, claim| claim.keys = vec!["other".into()],
        &|grant, _| grant.spec.as_mut().unwrap().rotate_after = None,
    ];
    for change in paid {
        assert_eq!(owes(change).0, []);
    }
}

#[test]
fn what_nobody_pays_is_known_when_the_last_of_it_goes() {
    let owing = || {
        let mut grant = grant(|spec| spec.rotate_after = Some(true));
        grant.status.scoped_secret = Some(given());
        lent(grant)
    };
    let grant_goes = |change: &dyn Fn(&mut Lent)| {
        let mut before = owing();
        change(&mut before);
        lost(&before, &Lent { grant: None, ..before.clone() }).is_some()
    };
    assert!(grant_goes(&|_| ()));
    let grant_of = |lent: &mut Lent, change: fn(&mut Grant)| change(lent.grant.as_mut().unwrap());
    let over = |lent: &mut Lent| grant_of(lent, |grant| grant.status.end_time = Some(Time(at(MADE + 9))));
    let owes = || Some(Role { rotate_after: true, ..role(MADE) });
    assert!(!grant_goes(&|lent| lent.role = owes()), "the Role says so");
    assert!(!grant_goes(&|lent| lent.grant = None), "there was none");
    assert!(!grant_goes(&|lent| grant_of(lent, |grant| grant.status.scoped_secret = None)), "it gave nothing");
    assert!(!grant_goes(&over), "it was paid");
    assert!(!grant_goes(&|lent| grant_of(lent, |grant| grant.spec.as_mut().unwrap().rotate_after = None)));
    let lost_its_role = |lent: &mut Lent| lent.told.role_lost = true;
    assert!(grant_goes(&|lent| (over(lent), lost_its_role(lent)).0), "its Role went with the ScopedSecret");
    assert!(!grant_goes(&|lent| (over(lent), lost_its_role(lent), lent.told.unpaid = true).0), "and that was told");

    let role_goes = |change: &dyn Fn(&mut Lent)| {
        let mut before = Lent { role: owes(), grant: None, ..owing() };
        change(&mut before);
        let left = Lent { role: None, ..before.clone() };
        lost(&before, &left).map(|owed| (owed.claim.to_string(), owed.keys))
    };
    assert_eq!(role_goes(&|_| ()), Some((role(MADE).claim.unwrap().to_string(), given().keys)));
    assert_eq!(role_goes(&|lent| lent.grant = owing().grant), None, "the grant still says so");
    assert_eq!(role_goes(&|lent| lent.told.role_deleted = true), None, "it was paid");
    assert_eq!(role_goes(&|lent| lent.role = Some(role(MADE))), None, "nothing is owed");
}

#[test]
fn whose_access_went_all_at_once_is_known() {
    let lent = |change: &dyn Fn(&mut Lent)| {
        let mut before = Lent { role: Some(role(MADE)), ..Lent::default() };
        change(&mut before);
        cut_off(&before, &Lent::default()).is_some()
    };
    assert!(lent(&|_| ()));
    assert!(!lent(&|lent| lent.told.ended = true));
    let before = Lent { role: Some(role(MADE)), grant: Some(grant(|_| ())), ..Lent::default() };
    assert_eq!(cut_off(&before, &Lent { role: None, ..before.clone() }), None, "it is looked at by what is left");
    assert_eq!(cut_off(&Lent { role: None, ..before }, &Lent::default()), None, "it gave nothing");
}
