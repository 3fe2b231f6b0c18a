//! What is done next, situation by situation: the tables "what happens when" and "status" of the design.

use super::*;
use crate::controller::index::SecretFacts;
use crate::segmentation::fixtures::now;
use crate::segmentation::key::CanonicalKey;
use crate::segmentation::restart::{Due, Restart};
use crate::segmentation::seal::{Generation, SealKeys};
use crate::segmentation::segment::Segment;
use crate::segmentation::verdict::AuthorisedKey;
use crate::segmentation::world::{Holding, VersionAsked};
use std::collections::BTreeMap;
use std::sync::LazyLock;

const UID: &str = "uid-of-orders";

fn key() -> CanonicalKey {
    CanonicalKey::from_sealed("aws:123456789012:eu-west-1:payments/prod/db")
}

fn digests(of: &str) -> Digests {
    SealKeys::new(Generation::from_random(&[1; 36], now()).unwrap()).digests(of.as_bytes())
}

static OF_SPEC: LazyLock<Digests> = LazyLock::new(|| digests("spec"));
static OF_IGNORE: LazyLock<Digests> = LazyLock::new(|| digests("ignore"));
static OF_ANOTHER_SPEC: LazyLock<Digests> = LazyLock::new(|| digests("another"));

fn spec(more: &str) -> ScopedSecretSpec {
    let yaml = format!("{{storeRef: {{name: aws}}, dataFrom: [{{remoteRef: {{key: payments/prod/db}}}}]{more}}}");
    serde_saphyr::from_str(&yaml).unwrap()
}

fn grant() -> Grant {
    let labels: Arc<[String]> = ["tenant".to_owned()].into();
    let namespace = BTreeMap::from([("tenant".to_owned(), "payments".to_owned())]);
    Grant {
        segment: Segment::of(&labels, &namespace).unwrap(),
        keys: vec![AuthorisedKey {
            written: "payments/prod/db".into(),
            version: VersionAsked::Current,
            canonical: key(),
            ask: "payments/prod/db".into(),
        }],
        ignore: BTreeSet::new(),
    }
}

fn refusal() -> Refusal {
    Refusal::new(Reason::KeyNotAllowed, "no")
}

/// A Secret as it was written for this ScopedSecret.
fn secret() -> SecretFacts {
    let holding = Holding {
        claim: "orders".into(),
        versions: [KeyVersion::undated(key(), "v1")].into(),
        fingerprints: [].into(),
        marks: Default::default(),
        held_since: now(),
        retain: false,
        ends: None,
        consumed: false,
        pinned: false,
        target_type: None,
    };
    let seal = SealRecord {
        holding: holding.into(),
        spec: OF_SPEC.current(),
        content: digests("content").current(),
        ignore: digests("ignore").current(),
        refresh_at: None,
        restart: None,
        rotation: None,
        followed: None,
    };
    SecretFacts {
        uid: "uid-of-secret".into(),
        resource_version: "7".into(),
        owner: Some(UID.into()),
        seal: Ok(seal.into()),
        seal_is_current: true,
        deleting: false,
        held_back: false,
        labelled: true,
        strayed: false,
    }
}

/// Everything that an observation is made of; by itself: allowed, projected, and nothing to do.
struct Situation {
    spec: ScopedSecretSpec,
    verdict: Verdict,
    secret: Option<SecretFacts>,
    owner: Owner,
    content: Content,
    retention: Option<Retention>,
    failure: Option<Failure>,
    change: fn(&mut Observed<'_>),
}

fn at_rest() -> Situation {
    Situation {
        spec: spec(""),
        verdict: Verdict::Allowed(grant()),
        secret: Some(secret()),
        owner: Owner::UsOrNobody,
        content: Content::Verified,
        retention: Some(Retention::Keep),
        failure: None,
        change: |_| {},
    }
}

impl Situation {
    fn observe<T>(&self, look: impl FnOnce(&Observed<'_>) -> T) -> T {
        let mut observed = Observed {
            name: "orders",
            uid: UID,
            spec: &self.spec,
            refresh_at: None,
            spec_digests: &OF_SPEC,
            ignore_digests: &OF_IGNORE,
            verdict: &self.verdict,
            ends: None,
            terminating: false,
            secret: self.secret.as_ref(),
            owner: self.owner,
            content: self.content,
            retention: self.retention.as_ref(),
            paused: None,
            shared: false,
            due: false,
            failure: self.failure.as_ref(),
            guard: Guarding::InPlace,
            blocked: false,
            missing: false,
            mended: false,
            restarted: None,
            news: false,
            moved: false,
            overlap_over: false,
            rotation_right: true,
        };
        (self.change)(&mut observed);
        look(&observed)
    }

    /// The step in a word, with the reason of a report.
    fn next(&self) -> String {
        match self.observe(decide) {
            Step::Report(Outcome::Paused { .. }) => "Paused".into(),
            Step::Report(outcome) => outcome.reason().as_str().into(),
            Step::ReadSecret => "read".into(),
            Step::AwaitGuard => "await".into(),
            Step::EndOverlap => "end overlap".into(),
            Step::Withdraw(_) => "withdraw".into(),
            Step::Fetch(_) => "fetch".into(),
            Step::MendSecret(Mend { owner, seal }) => {
                ["mend", if owner { "+owner" } else { "" }, if seal { "+seal" } else { "" }].concat()
            }
        }
    }
}

fn sealed(change: impl FnOnce(&mut SecretFacts)) -> Option<SecretFacts> {
    let mut facts = secret();
    change(&mut facts);
    Some(facts)
}

fn holding(change: impl FnOnce(&mut Holding)) -> Option<SecretFacts> {
    sealed(|facts| {
        let Ok(seal) = &facts.seal else { return };
        let (mut seal, mut held) = ((**seal).clone(), (*seal.holding).clone());
        change(&mut held);
        seal.holding = held.into();
        facts.seal = Ok(seal.into());
    })
}

/// With consumers that have to be restarted for v2.
fn restarting() -> Option<SecretFacts> {
    sealed(|facts| {
        let Ok(seal) = &facts.seal else { return };
        let due = Some(Due { token: "v2".into(), since: now().into() });
        let restart = Some(Box::new(Restart { data: digests("data").current(), due }));
        let holding = Holding { consumed: true, ..(*seal.holding).clone() }.into();
        facts.seal = Ok(SealRecord { restart, holding, ..(**seal).clone() }.into());
    })
}

#[test]
fn an_allowed_claim() {
    let outage = || Some(Failure::new(Reason::ProviderUnavailable, "down"));
    let table: Vec<(&str, &str, Situation)> = vec![
        ("at rest", "Ready", at_rest()),
        ("new", "fetch", Situation { secret: None, retention: None, ..at_rest() }),
        (
            "new, and not guarded yet",
            "await",
            Situation { secret: None, retention: None, change: |o| o.guard = Guarding::Awaited, ..at_rest() },
        ),
        (
            "its guard cannot be written",
            "WriteFailed",
            Situation {
                secret: None,
                retention: None,
                change: |o| o.guard = Guarding::Failed(Failure::new(Reason::WriteFailed, "no")),
                ..at_rest()
            },
        ),
        ("at rest, and its guard is gone", "Ready", Situation { change: |o| o.guard = Guarding::Awaited, ..at_rest() }),
        ("a refresh is due", "fetch", Situation { change: |o| o.due = true, ..at_rest() }),
        (
            "immutable is never refreshed",
            "Ready",
            Situation { spec: spec(", target: {immutable: true}"), change: |o| o.due = true, ..at_rest() },
        ),
        (
            "nor is what failed before it was up to date told for ever",
            "Ready",
            Situation { spec: spec(", target: {immutable: true}"), failure: outage(), ..at_rest() },
        ),
        (
            "immutable is not refreshed on demand either",
            "Ready",
            Situation {
                spec: spec(", target: {immutable: true}"),
                change: |o| o.refresh_at = Some("now"),
                ..at_rest()
            },
        ),
        ("asked to refresh", "fetch", Situation { change: |o| o.refresh_at = Some("now"), ..at_rest() }),
        ("an overlap is over", "end overlap", Situation { change: |o| o.overlap_over = true, ..at_rest() }),
        (
            "an overlap is over, the manager away",
            "end overlap",
            Situation {
                change: |o| o.overlap_over = true,
                failure: Some(Failure::new(Reason::ProviderUnavailable, "down")),
                ..at_rest()
            },
        ),
        (
            "an overlap is over, in what somebody changed",
            "end overlap",
            Situation { change: |o| o.overlap_over = true, content: Content::Drifted, ..at_rest() },
        ),
        (
            "an overlap is over, under the seal key before",
            "end overlap",
            Situation { change: |o| o.overlap_over = true, secret: sealed(|s| s.seal_is_current = false), ..at_rest() },
        ),
        ("another schedule", "fetch", Situation { change: |o| o.rotation_right = false, ..at_rest() }),
        ("the spec changed", "fetch", Situation { change: |o| o.spec_digests = &OF_ANOTHER_SPEC, ..at_rest() }),
        ("written by somebody", "read", Situation { content: Content::Unread, ..at_rest() }),
        ("read, and not what was projected", "fetch", Situation { content: Content::Drifted, ..at_rest() }),
        ("its label was taken", "mend", Situation { secret: sealed(|s| s.labelled = false), ..at_rest() }),
        ("its owner was taken", "mend+owner", Situation { secret: sealed(|s| s.owner = None), ..at_rest() }),
        (
            "sealed under the key before: no reason to ask",
            "Ready",
            Situation { secret: sealed(|s| s.seal_is_current = false), ..at_rest() },
        ),
        (
            "the seal key was lost",
            "fetch",
            Situation { secret: sealed(|s| s.seal = Err(BrokenSeal::UnknownGeneration)), ..at_rest() },
        ),
        (
            "its seal was forged",
            "fetch",
            Situation { secret: sealed(|s| s.seal = Err(BrokenSeal::Invalid)), ..at_rest() },
        ),
        ("it holds other keys", "fetch", Situation { secret: holding(|h| h.versions = [].into()), ..at_rest() }),
        ("its deletionPolicy changed", "mend+seal", Situation { secret: holding(|h| h.retain = true), ..at_rest() }),
        (
            "its consumers are being restarted",
            "Ready",
            Situation {
                secret: restarting(),
                spec: spec(", restart: Consumers, consumers: [{serviceAccountName: orders}]"),
                ..at_rest()
            },
        ),
        (
            "they are not to be restarted any more",
            "mend+seal",
            Situation { secret: restarting(), spec: spec(", consumers: [{serviceAccountName: orders}]"), ..at_rest() },
        ),
        (
            "that is over",
            "mend+seal",
            Situation {
                secret: restarting(),
                spec: spec(", restart: Consumers, consumers: [{serviceAccountName: orders}]"),
                change: |o| o.restarted = Some("v2"),
                ..at_rest()
            },
        ),
        (
            "an earlier one is over",
            "Ready",
            Situation {
                secret: restarting(),
                spec: spec(", restart: Consumers, consumers: [{serviceAccountName: orders}]"),
                change: |o| o.restarted = Some("v1"),
                ..at_rest()
            },
        ),
        ("its consumers have rolled out", "mend+seal", Situation { change: |o| o.news = true, ..at_rest() }),
        ("its consumers went", "mend+seal", Situation { secret: holding(|h| h.consumed = true), ..at_rest() }),
        (
            "its deletionPolicy changed, and its seal is of the key before",
            "mend+seal",
            Situation {
                secret: holding(|h| h.retain = true).map(|s| SecretFacts { seal_is_current: false, ..s }),
                ..at_rest()
            },
        ),
        (
            "other values are compared now",
            "fetch",
            Situation { change: |o| o.ignore_digests = &OF_ANOTHER_SPEC, ..at_rest() },
        ),
        ("an outage does not touch what stands", "ProviderUnavailable", Situation { failure: outage(), ..at_rest() }),
        (
            "a retry waits until it is due",
            "ProviderUnavailable",
            Situation { secret: None, failure: outage(), ..at_rest() },
        ),
        (
            "a retry is due",
            "fetch",
            Situation { secret: None, failure: outage(), change: |o| o.due = true, ..at_rest() },
        ),
        (
            "its value came to stand in two segments",
            "ValueShared",
            Situation { change: |o| o.shared = true, ..at_rest() },
        ),
        (
            "the namespace is being deleted",
            "NamespaceTerminating",
            Situation { secret: None, change: |o| o.terminating = true, ..at_rest() },
        ),
    ];
    for (what, expected, situation) in table {
        assert_eq!(situation.next(), expected, "{what}");
    }
}

#[test]
fn whose_the_secret_is() {
    let foreign = |s: &mut SecretFacts| (s.owner, s.seal) = (None, Err(BrokenSeal::Invalid));
    let lost = |s: &mut SecretFacts| (s.owner, s.seal) = (None, Err(BrokenSeal::UnknownGeneration));
    let owned_by = |s: &mut SecretFacts| s.owner = Some("another".into());
    let of_another_claim = |h: &mut Holding| h.claim = "another".into();
    let table: Vec<(&str, &str, Situation)> = vec![
        ("somebody's own", "TargetConflict", Situation { secret: sealed(foreign), ..at_rest() }),
        (
            "retained, and the seal key was lost",
            "fetch",
            Situation { secret: sealed(lost), owner: Owner::UsAsTold, ..at_rest() },
        ),
        ("no status speaks of it", "TargetConflict", Situation { secret: sealed(lost), ..at_rest() }),
        (
            "it is on its way out",
            "TargetReleasing",
            Situation {
                secret: sealed(lost).map(|s| SecretFacts { deleting: true, ..s }),
                owner: Owner::UsAsTold,
                ..at_rest()
            },
        ),
        (
            "it was in the way when last looked",
            "read",
            Situation { secret: None, change: |o| o.blocked = true, ..at_rest() },
        ),
        (
            "another ScopedSecret's",
            "TargetConflict",
            Situation { secret: sealed(owned_by), owner: Owner::OtherAlive, ..at_rest() },
        ),
        (
            "restored from a backup: the uid is nobody's",
            "mend+owner",
            Situation { secret: sealed(owned_by), owner: Owner::Stranger, ..at_rest() },
        ),
        (
            "of a namesake that was just deleted",
            "TargetReleasing",
            Situation { secret: sealed(owned_by), owner: Owner::JustGone, ..at_rest() },
        ),
        ("on its way out", "TargetReleasing", Situation { secret: sealed(|s| s.deleting = true), ..at_rest() }),
        (
            "sealed for another claim, without an owner",
            "TargetConflict",
            Situation { secret: holding(of_another_claim).map(|s| SecretFacts { owner: None, ..s }), ..at_rest() },
        ),
        (
            "ours by its owner, whatever its seal says",
            "fetch",
            Situation { secret: holding(of_another_claim), ..at_rest() },
        ),
    ];
    for (what, expected, situation) in table {
        assert_eq!(situation.next(), expected, "{what}");
    }
}

#[test]
fn a_claim_that_is_not_allowed() {
    let refused = || Situation { verdict: Verdict::Refused(refusal()), ..at_rest() };
    let lost = || Situation { retention: Some(Retention::Withdraw(refusal())), ..refused() };
    let table: Vec<(&str, &str, Situation)> = vec![
        ("never projected", "KeyNotAllowed", Situation { secret: None, retention: None, ..refused() }),
        ("edited past admission: what it held is still allowed", "KeyNotAllowed", refused()),
        ("what it holds is not allowed either", "withdraw", lost()),
        (
            "so many that somebody must say so",
            "Paused",
            Situation { change: |o| o.paused = Some(Paused { count: 12, report: None }), ..lost() },
        ),
        (
            "not ours to take away",
            "KeyNotAllowed",
            Situation { owner: Owner::OtherAlive, secret: sealed(|s| s.owner = Some("another".into())), ..lost() },
        ),
        (
            "whether it may stay is not known",
            "KeyNotAllowed",
            Situation { retention: Some(Retention::Unknown(refusal())), ..refused() },
        ),
        (
            "status speaks of a Secret that was not seen",
            "read",
            Situation { secret: None, change: |o| o.missing = true, ..lost() },
        ),
        ("not known", "KeyNotAllowed", Situation { verdict: Verdict::Undecided(refusal()), ..lost() }),
        (
            "allowed another key, which cannot be had, and no longer the one it holds",
            "withdraw",
            Situation {
                verdict: Verdict::Allowed(grant()),
                failure: Some(Failure::new(Reason::RemoteMissing, "")),
                change: |o| o.spec_digests = &OF_ANOTHER_SPEC,
                ..lost()
            },
        ),
    ];
    for (what, expected, situation) in table {
        assert_eq!(situation.next(), expected, "{what}");
    }
}

#[test]
fn a_claim_that_has_ended() {
    let over = || Refusal::new(Reason::Expired, "over");
    let ended =
        || Situation { verdict: Verdict::Refused(over()), retention: Some(Retention::Withdraw(over())), ..at_rest() };
    let later = |o: &mut Observed<'_>| o.ends = Second::from_unix(2_000_000_000);
    let table: Vec<(&str, &str, Situation)> = vec![
        ("its Secret goes", "withdraw", ended()),
        (
            "its end was brought forward past admission",
            "withdraw",
            Situation { retention: Some(Retention::Keep), ..ended() },
        ),
        (
            "what it holds cannot be told",
            "withdraw",
            Situation { retention: Some(Retention::Unknown(refusal())), ..ended() },
        ),
        ("it is gone", "Expired", Situation { secret: None, retention: None, ..ended() }),
        (
            "not ours to take away",
            "Expired",
            Situation { owner: Owner::OtherAlive, secret: sealed(|s| s.owner = Some("another".into())), ..ended() },
        ),
        (
            "refused for another reason, and the seal's end has come",
            "withdraw",
            Situation { verdict: Verdict::Refused(refusal()), ..ended() },
        ),
        ("a later end is only sealed", "mend+seal", Situation { change: later, ..at_rest() }),
        (
            "a later end after the seal's has come",
            "mend+seal",
            Situation { verdict: Verdict::Allowed(grant()), change: later, ..ended() },
        ),
        ("none any more", "mend+seal", Situation { secret: holding(|h| h.ends = Some(now().into())), ..at_rest() }),
    ];
    for (what, expected, situation) in table {
        assert_eq!(situation.next(), expected, "{what}");
    }
}

#[test]
fn what_keeps_a_revoked_claim_from_a_newer_version() {
    for (reason, is_told_revoked) in [
        (Reason::ProviderUnavailable, true),
        (Reason::Throttled, true),
        (Reason::RemoteMissing, true),
        (Reason::AccessDenied, true),
        (Reason::KeyRevoked, false),
        (Reason::PropertyMissing, false),
        (Reason::TargetReleasing, false),
        (Reason::WriteFailed, false),
        (Reason::GuardMissing, false),
    ] {
        let told = Failure::new(reason, "down").of_revoked();
        assert_eq!(told.map(|told| told.reason), is_told_revoked.then_some(Reason::KeyRevoked), "{reason:?}");
    }
}

#[test]
fn a_version_that_has_leaked() {
    let why = || Refusal::new(Reason::KeyRevoked, "leaked");
    let leaked = || Situation { retention: Some(Retention::Withdraw(why())), ..at_rest() };
    let old = || Some(Failure::new(Reason::KeyRevoked, "the manager has no newer one"));
    let unread = |broken| sealed(|s| s.seal = Err(broken));
    let others = || sealed(|s| s.owner = Some("another".into()));
    let table: Vec<(&str, &str, Situation)> = vec![
        ("goes though its claim is allowed", "withdraw", leaked()),
        (
            "goes though its claim is refused",
            "withdraw",
            Situation { verdict: Verdict::Refused(refusal()), ..leaked() },
        ),
        ("goes whatever policies say", "withdraw", Situation { verdict: Verdict::Undecided(refusal()), ..leaked() }),
        (
            "however many go",
            "withdraw",
            Situation { change: |o| o.paused = Some(Paused { count: 900, report: None }), ..leaked() },
        ),
        ("during an outage", "withdraw", Situation { failure: old(), ..leaked() }),
        (
            "unread, and before its guard is there",
            "withdraw",
            Situation { content: Content::Unread, change: |o| o.guard = Guarding::Awaited, ..leaked() },
        ),
        (
            "in a namespace that is being deleted",
            "withdraw",
            Situation { change: |o| o.terminating = true, ..leaked() },
        ),
        (
            "a finalizer would keep it readable",
            "mend",
            Situation { secret: sealed(|s| s.held_back = true), ..leaked() },
        ),
        (
            "a stray owner is no matter any more",
            "withdraw",
            Situation { secret: sealed(|s| s.strayed = true), ..leaked() },
        ),
        (
            "not ours to take away",
            "TargetConflict",
            Situation { owner: Owner::OtherAlive, secret: others(), ..leaked() },
        ),
        ("gone: the manager may have a newer one", "fetch", Situation { secret: None, retention: None, ..at_rest() }),
        (
            "gone, and it has none",
            "KeyRevoked",
            Situation { secret: None, retention: None, failure: old(), ..at_rest() },
        ),
        ("a clean one stays when an old one is put back", "KeyRevoked", Situation { failure: old(), ..at_rest() }),
        (
            "which version it holds cannot be read: the manager is asked first",
            "fetch",
            Situation { secret: unread(BrokenSeal::UnknownGeneration), ..leaked() },
        ),
        (
            "and if that has none, or cannot be asked, it goes",
            "withdraw",
            Situation {
                secret: unread(BrokenSeal::UnknownGeneration),
                failure: Some(Failure::new(Reason::ProviderUnavailable, "down")),
                ..leaked()
            },
        ),
        (
            "nor can it be asked while policies are unknown",
            "withdraw",
            Situation { secret: unread(BrokenSeal::Invalid), verdict: Verdict::Undecided(refusal()), ..leaked() },
        ),
        (
            "its seal was spoilt, and nothing is known of it",
            "withdraw",
            Situation { secret: unread(BrokenSeal::Invalid), retention: None, failure: old(), ..at_rest() },
        ),
    ];
    for (what, expected, situation) in table {
        assert_eq!(situation.next(), expected, "{what}");
    }
}

/// Nothing that is refused, undecided or at rest asks the manager, in any combination of everything else.
#[test]
fn nothing_is_fetched_that_is_not_allowed() {
    let secrets = || [None, Some(secret()), sealed(|s| s.owner = None), sealed(|s| s.seal = Err(BrokenSeal::Invalid))];
    let owners = [Owner::UsOrNobody, Owner::JustGone, Owner::OtherAlive, Owner::Stranger];
    let contents = [Content::Verified, Content::Unread, Content::Drifted];
    let flags: [fn(&mut Observed<'_>); 5] = [
        |_| {},
        |o| o.due = true,
        |o| o.refresh_at = Some("x"),
        |o| o.blocked = true,
        |o| o.paused = Some(Paused { count: 3, report: None }),
    ];
    for verdict in [Verdict::Refused(refusal()), Verdict::Undecided(refusal())] {
        for secret in secrets() {
            for (owner, content) in owners.iter().flat_map(|o| contents.map(|c| (*o, c))) {
                for change in flags {
                    let (verdict, secret) = (verdict.clone(), secret.clone());
                    let undecided = matches!(verdict, Verdict::Undecided(_));
                    let next = Situation { verdict, secret, owner, content, change, ..at_rest() }.next();
                    assert!(next != "fetch" && !(undecided && next == "withdraw"), "{next}");
                }
            }
        }
    }
}

/// Of a claim that was edited: what it holds is no longer allowed, and what it names now cannot be had.
#[test]
fn what_is_not_allowed_stays_where_its_store_has_moved() {
    let edited = |change| Situation {
        secret: sealed(|s| {
            s.seal =
                s.seal.clone().map(|seal| SealRecord { spec: digests("of before").current(), ..(*seal).clone() }.into())
        }),
        retention: Some(Retention::Withdraw(refusal())),
        failure: Some(Failure::new(Reason::RemoteIdentityMismatch, "another account's")),
        change,
        ..at_rest()
    };
    assert_eq!(edited(|_| {}).next(), "withdraw");
    assert_ne!(edited(|o| o.moved = true).next(), "withdraw");
    // The same edit has given it more time: the end that is sealed is of before.
    let over = Some(Retention::Withdraw(Refusal::new(Reason::Expired, "over")));
    assert_ne!(Situation { retention: over, ..edited(|_| {}) }.next(), "withdraw");
}

#[test]
fn what_leaves_nothing_to_write() {
    let unchanged = |situation: &Situation, version: &str| {
        situation.observe(|o| is_unchanged(o, &grant(), &[KeyVersion::undated(key(), version)]))
    };
    assert!(unchanged(&at_rest(), "v1"));
    let dated = [KeyVersion { created: Some(now().into()), ..KeyVersion::undated(key(), "v1") }];
    assert!(
        !at_rest().observe(|o| is_unchanged(o, &grant(), &dated)),
        "a seal from before there were dates gets one: by it a revocation tells old versions from new ones"
    );
    let sealed_with = Situation { secret: holding(|h| h.versions = dated.to_vec().into()), ..at_rest() };
    assert!(sealed_with.observe(|o| is_unchanged(o, &grant(), &dated)));
    assert!(unchanged(&sealed_with, "v1"), "no date any more is no news");
    assert!(!unchanged(&at_rest(), "v2"), "another version");
    let old = sealed(|s| s.seal_is_current = false);
    assert!(!unchanged(&Situation { secret: old, ..at_rest() }, "v1"), "with the values in hand it is sealed anew");
    let unmarked = holding(|h| h.fingerprints = [crate::segmentation::fingerprint::Fingerprint([1; 16])].into());
    assert!(!unchanged(&Situation { secret: unmarked, ..at_rest() }, "v1"), "from before there were marks");
    assert!(!unchanged(&Situation { secret: None, ..at_rest() }, "v1"));
    assert!(!unchanged(&Situation { content: Content::Drifted, ..at_rest() }, "v1"));
    assert!(!unchanged(&Situation { change: |o| o.shared = true, ..at_rest() }, "v1"), "it is judged once more");
}
