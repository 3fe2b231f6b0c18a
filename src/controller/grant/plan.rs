//! Whether a grant gives access, and what is to be done about that. Pure.
//!
//! ```text
//!   grant ─ policy's limits ─ rule Grants ─ ScopedSecret ─ revocations ─► judge ─► Verdict ─┐
//!   Role, RoleBinding as they stand ────────────────────────────────────────────────────────┴─► steps
//! ```
//!
//! Since when a grant's time runs: its creationTimestamp; where it was approved, the approval. When that was is what the request
//! that set `approvedBy` left in managedFields, but never later than when the operator first honoured it, which its Role notes
//! (and whose own creationTimestamp is the API server's), and, once the Role is gone, its status. Each of them only ever
//! shortens: who forges or loses one gains no time by it.
//!
//! What it gives access to: the ScopedSecret, by uid, with the keys that it had when the grant was first honoured ([`given`]).

use super::known::{Grant, Lent, Role};
use crate::api::duration::{humanize, parse};
use crate::api::policy::Approval;
use crate::api::secret_grant::{GrantSubject, GrantSubjectKind};
use crate::api::{Lendable, Reason};
use crate::segmentation::authorize::Governance;
use jiff::{SignedDuration, Timestamp};
use std::sync::Arc;
use std::time::Duration;

/// What the API server takes at most to keep a new rule. A grant that is not younger than that was perhaps asked by nobody.
pub const SETTLES: SignedDuration = SignedDuration::from_secs(2);

/// Whether rule Grants is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guarded {
    /// As it was installed, since then.
    Since(Timestamp),
    /// Its policy or its binding is not there, or the binding not as it was installed.
    Missing,
    /// Its policy is there in another form than this operator's: an upgrade is under way, or somebody changed it.
    Another,
    /// That could not be looked at.
    Unknown,
}

/// What policy lets grants give in the namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limits {
    /// The policies over it agree.
    Governed {
        /// The longest.
        max: Duration,
        /// Whether another user must approve.
        approval: Approval,
    },
    /// No policy governs it.
    Ungoverned,
    /// That cannot be told now.
    Unknown,
}

impl From<Governance> for Limits {
    fn from(governance: Governance) -> Self {
        match governance {
            Governance::Governed { max_grant, approval, .. } => Self::Governed { max: max_grant, approval },
            Governance::Ungoverned => Self::Ungoverned,
            Governance::Unknown => Self::Unknown,
        }
    }
}

/// What is known of the ScopedSecret that a grant names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Its uid.
    pub uid: String,
    /// Its Secret.
    pub secret: String,
    /// The canonical keys that it names, in order; those of an unknown account are left out.
    pub keys: Vec<String>,
    /// Those that its Secret holds; None: that is not known, or there is none.
    pub held: Option<Vec<String>>,
    /// Whether that stands, and is the claim's.
    pub stands: bool,
    /// What the authoriser says.
    pub standing: Standing,
    /// Whether it says how it is rotated.
    pub rotates: bool,
    /// Why it may not be rotated all the same.
    pub unrotatable: Option<Reason>,
    /// Whether it is not in sync, and stays so until somebody changes something: its key is not rotated meanwhile.
    pub out_of_sync: bool,
    /// When one of its keys was last revoked.
    pub revoked: Option<Timestamp>,
    /// Whether its time is over.
    pub has_ended: bool,
    /// Since when the manager has the value that its Secret holds, as far as that is known.
    pub value_since: Option<Timestamp>,
}

/// What the authoriser says of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Allowed.
    Allowed,
    /// Not allowed.
    Refused(Reason),
    /// Not known now.
    Undecided,
}

/// Everything that decides about one handle.
#[derive(Debug, Clone)]
pub struct Observed<'a> {
    /// The grant, its Role and its RoleBinding.
    pub lent: &'a Lent,
    /// The handle's namespace.
    pub namespace: &'a str,
    /// The handle's name.
    pub handle: &'a str,
    /// When it was approved, as a fresh read told; None: not read.
    pub approved: Option<Timestamp>,
    /// The ScopedSecret.
    pub claim: Option<&'a Claim>,
    /// Whether there is none of that name, nor one that cannot be understood.
    pub is_deleted: bool,
    /// Rule Grants.
    pub guarded: Guarded,
    /// What policy says.
    pub limits: Limits,
    /// The time.
    pub now: Timestamp,
}

/// Whether the subject may read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It may.
    Open,
    /// It may not now. That may change while its time runs.
    Closed(Reason, String),
    /// It may not any more.
    Over(Reason, String),
    /// That cannot be told now: what stands stays, and nothing is given.
    Unknown(Reason, String),
}

/// Since when a grant's time runs, and until when; None where that is not known, since it was not honoured yet.
pub fn term(o: &Observed<'_>) -> Option<(Timestamp, Timestamp)> {
    let grant = o.lent.grant.as_ref()?;
    let spec = grant.spec.as_ref()?;
    let noted = grant.status.start_time.as_ref().map(|time| time.0);
    let start = match spec.approved_by {
        None => spec.requested_by.is_none().then_some(grant.created),
        Some(_) => [o.lent.role.as_ref().map(|role| role.granted), noted, o.approved].into_iter().flatten().min(),
    }?
    .max(grant.created);
    let ttl = SignedDuration::try_from(parse(&spec.ttl).ok()?).ok()?;
    Some((start, start.checked_add(ttl).unwrap_or(Timestamp::MAX)))
}

/// What access was given to, as whatever is left of the grant notes it; None: it was never honoured.
pub fn given<'a>(o: &Observed<'a>) -> Option<&'a Lendable> {
    let Lent { grant, role, binding, .. } = o.lent;
    let noted = role.as_ref().and_then(|role| role.of.as_ref());
    let noted = noted.or_else(|| binding.as_ref().and_then(|binding| binding.of.as_ref()));
    noted.or_else(|| grant.as_ref().and_then(|grant| grant.status.scoped_secret.as_ref()))
}

/// What access is given to: as it was given, or, the first time, the ScopedSecret as it is.
pub fn about(o: &Observed<'_>) -> Option<Lendable> {
    let now = || o.claim.map(|claim| Lendable { uid: claim.uid.clone(), keys: claim.keys.clone() });
    given(o).cloned().or_else(now)
}

/// Whether the ScopedSecret is not what access was given to.
fn is_another(o: &Observed<'_>, claim: &Claim) -> bool {
    let Some(given) = given(o) else { return false };
    let held = claim.held.as_ref().filter(|_| claim.stands);
    claim.uid != given.uid
        || (claim.standing == Standing::Allowed && claim.keys != given.keys)
        || held.is_some_and(|held| *held != given.keys)
}

/// An end that was told once is one for good, whatever has changed since, the clock included.
fn ended(o: &Observed<'_>, grant: &Grant) -> Option<Verdict> {
    let noted = grant.status.end_time.as_ref()?;
    match grant.status.reason.as_deref().and_then(Reason::from_text)? {
        Reason::Expired => Some(expired(term(o).map_or(noted.0, |(_, end)| end))),
        reason => Some(Verdict::Over(reason, why_over(reason).to_owned())),
    }
}

fn expired(end: Timestamp) -> Verdict {
    let text = format!("its time is over since {end}: create another if the access is still needed");
    Verdict::Over(Reason::Expired, text)
}

fn why_over(reason: Reason) -> &'static str {
    match reason {
        Reason::KeyRevoked => {
            "a key of the ScopedSecret was revoked since: create another if the access is still needed"
        }
        _ => {
            "the ScopedSecret is another by now, or has other keys than those that access was given to: create another, so that who may give it is asked again"
        }
    }
}

/// Whether an end is noted, so that it is one for good.
pub fn is_for_good(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Over(Reason::KeyRevoked | Reason::GrantOutdated | Reason::Expired, _))
}

/// How a rotation that is owed can be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Debt {
    /// By the ScopedSecret, which names the key.
    Due,
    /// That cannot be told now.
    Waits,
    /// By nobody: the ScopedSecret names another key by now, which nobody has seen.
    Unpaid,
    /// By nobody: the ScopedSecret no longer says how it is rotated.
    Unrotated,
    /// By nobody: the ScopedSecret is over.
    Ended,
    /// Its ScopedSecret is gone, and was not followed by one of its name.
    Orphaned,
}

/// What is owed though no Role says so any more: that went with the ScopedSecret, which was created anew with the keys that access
/// was given to, and has the value that was seen. What names the grant and the subject is the grant.
pub fn owed_by_another<'a>(o: &Observed<'a>) -> Option<(&'a Grant, &'a Lendable)> {
    let grant = o.lent.grant.as_ref().filter(|_| o.lent.role.is_none())?;
    let (given, ended) = (grant.status.scoped_secret.as_ref()?, grant.status.end_time.as_ref()?);
    let claim = o.claim.filter(|claim| claim.uid != given.uid && claim.keys == given.keys)?;
    let owes = grant.spec.as_ref()?.rotate_after == Some(true);
    let was_seen = claim.value_since?.as_second() <= ended.0.as_second();
    (owes && was_seen).then_some((grant, given))
}

/// A rotation that is owed, since somebody may have seen the value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owed {
    /// The name of the ScopedSecret.
    pub claim: Arc<str>,
    /// The grant's uid.
    pub uid: Box<str>,
    /// Who may have seen it.
    pub subject: String,
    /// The keys that the value is of.
    pub keys: Vec<String>,
}

/// What says that a rotation is owed: the Role; where that went by itself, with its ScopedSecret or its namespace, the grant.
fn owed_by(lent: &Lent) -> Option<Owed> {
    let claim: Arc<str> = lent.claim()?.into();
    if let Some(role) = &lent.role {
        let keys = role.of.as_ref().map(|of| of.keys.clone()).unwrap_or_default();
        let owed = Owed { claim, uid: role.grant_uid.clone(), subject: role.subject.to_string(), keys };
        return role.rotate_after.then_some(owed);
    }
    let grant = lent.grant.as_ref()?;
    let (spec, given) = (grant.spec.as_ref()?, grant.status.scoped_secret.as_ref()?);
    let owes = spec.rotate_after == Some(true) && (grant.status.end_time.is_none() || lent.told.role_lost);
    owes.then(|| Owed { claim, uid: grant.uid.clone(), subject: spec.subject.to_string(), keys: given.keys.clone() })
}

/// What is owed, and by nothing any more that is left of a grant, without a word so far. It went with its ScopedSecret, or its namespace.
pub fn lost(before: &Lent, left: &Lent) -> Option<Owed> {
    let says = before.grant.as_ref().is_some_and(Grant::says_owed);
    let is_told = before.told.unpaid || before.told.role_deleted || says;
    owed_by(before).filter(|_| !is_told && owed_by(left).is_none())
}

/// Who had access by a grant of which nothing is left, where nobody has told that it ended.
pub fn cut_off(before: &Lent, left: &Lent) -> Option<String> {
    let closed = |grant: &Grant| grant.status.role.is_none();
    let is_told = before.told.ended || before.grant.as_ref().is_some_and(closed);
    let bound = before.binding.as_ref().and_then(|binding| binding.subject.as_ref()).map(ToString::to_string);
    let noted = || before.role.as_ref().map(|role| role.subject.to_string());
    let named = || before.grant.as_ref()?.spec.as_ref().map(|spec| spec.subject.to_string());
    bound.or_else(noted).or_else(named).filter(|_| left.is_gone() && !is_told)
}

/// How what is owed can be paid.
pub fn debt(o: &Observed<'_>) -> Debt {
    let noted = o.lent.role.as_ref().and_then(|role| role.of.as_ref());
    match (o.claim, noted) {
        (None, _) if o.lent.grant.is_none() => Debt::Orphaned,
        (None, _) => Debt::Waits,
        (Some(claim), Some(_)) if claim.keys.is_empty() => Debt::Waits,
        (Some(claim), Some(given)) if claim.keys != given.keys => Debt::Unpaid,
        (Some(claim), _) if !claim.rotates => Debt::Unrotated,
        (Some(claim), _) if claim.has_ended => Debt::Ended,
        (Some(_), _) => Debt::Due,
    }
}

/// Of what is owed and not paid before somebody does something: what the ScopedSecret no longer does, and what to do.
pub fn unpaid(o: &Observed<'_>) -> Option<(&'static str, &'static str)> {
    let is = |what: fn(&Claim) -> bool| o.claim.is_some_and(what);
    match debt(o) {
        Debt::Unpaid => Some(("names that key", "name it again until it was rotated")),
        Debt::Unrotated => Some(("has spec.rotation", "write it again until it was rotated")),
        Debt::Ended => Some(("has time left", "set a later spec.ttl or spec.expirationTime until it was rotated")),
        Debt::Due if is(|claim| claim.unrotatable.is_some()) => Some(("may rotate it", "see its condition Rotated")),
        Debt::Due if is(|claim| claim.out_of_sync) => {
            Some(("is in sync", "its conditions say why; it is rotated once that is mended"))
        }
        Debt::Due | Debt::Waits | Debt::Orphaned => None,
    }
}

/// Whether the subject may read.
pub fn judge(o: &Observed<'_>) -> Verdict {
    let closed = |reason, text: &str| Verdict::Closed(reason, text.to_owned());
    let Some(grant) = o.lent.grant.as_ref().filter(|grant| !grant.deleting) else {
        return Verdict::Over(Reason::GrantEnded, "the SecretGrant was deleted".to_owned());
    };
    let Some(spec) = &grant.spec else {
        return closed(Reason::GrantInvalid, "its spec cannot be understood: delete it and create another");
    };
    if let Some(over) = ended(o, grant) {
        return over;
    }
    let term = term(o);
    if let Some((_, end)) = term.filter(|(_, end)| *end <= o.now) {
        return expired(end);
    }
    // What ended waits for nothing else, so that it cannot come back.
    if let Some(claim) = o.claim {
        let start = term.map_or(o.now, |(start, _)| start);
        let over = |reason| Verdict::Over(reason, why_over(reason).to_owned());
        if claim.revoked.is_some_and(|at| at.as_second() >= start.as_second()) {
            return over(Reason::KeyRevoked);
        }
        if is_another(o, claim) {
            return over(Reason::GrantOutdated);
        }
    }
    match o.guarded {
        Guarded::Unknown => {
            let text = "whether rule Grants is in force could not be looked at; it is tried again";
            return Verdict::Unknown(Reason::Pending, text.to_owned());
        }
        Guarded::Another => {
            let text = "rule Grants is kept at admission in another form than this operator's, by an upgrade that is under way or by somebody who changed it: nothing is given or taken back by it until it is as it was installed";
            return Verdict::Unknown(Reason::GuardMissing, text.to_owned());
        }
        Guarded::Missing => {
            let text = "rule Grants is not kept at admission, so that nobody was asked who may give access: the platform team applies deploy/ again; create the grant again afterwards";
            return closed(Reason::GuardMissing, text);
        }
        Guarded::Since(since) if grant.created.duration_since(since) <= SETTLES => {
            let text = "it was created before rule Grants was in force, so that nobody was asked who may give access: delete it and create it again";
            return closed(Reason::GuardMissing, text);
        }
        Guarded::Since(_) => {}
    }
    let (max, approval) = match o.limits {
        Limits::Governed { max, approval } => (max, approval),
        Limits::Ungoverned => {
            return closed(
                Reason::NoPolicy,
                "no SegmentationPolicy governs this namespace, so that there is no Secret to give access to",
            );
        }
        Limits::Unknown => {
            return Verdict::Unknown(
                Reason::PolicyUnknown,
                "the policies over this namespace are not known now; nothing new is given until they are".to_owned(),
            );
        }
    };
    if let Some(why) = invalid(grant, o.namespace, max, approval) {
        return why;
    }
    let Some(claim) = o.claim.filter(|claim| claim.stands) else {
        // The next one of that name is another.
        if o.is_deleted && given(o).is_some() {
            let text = "the ScopedSecret was deleted: create another grant once it is there again, so that who may give it is asked again";
            return closed(Reason::GrantOutdated, text);
        }
        let text = format!("ScopedSecret {:?} has no Secret now, or is not there", spec.scoped_secret_ref.name);
        return closed(Reason::SecretNotProjected, &text);
    };
    match claim.standing {
        Standing::Refused(reason) => {
            return closed(reason, "the ScopedSecret is not allowed what it claims: see its conditions");
        }
        Standing::Undecided => {
            return Verdict::Unknown(
                Reason::PolicyUnknown,
                "whether the ScopedSecret is allowed is not known now; nothing new is given until it is".to_owned(),
            );
        }
        Standing::Allowed => {}
    }
    if spec.rotate_after == Some(true) && !claim.rotates {
        return closed(
            Reason::RotationNotDeclared,
            "rotateAfter needs spec.rotation on the ScopedSecret, or its value could not be rotated: add it, or create another grant without rotateAfter",
        );
    }
    if let Some(reason) = claim.unrotatable.filter(|_| spec.rotate_after == Some(true) && given(o).is_none()) {
        return closed(
            reason,
            "rotateAfter needs a rotation, and the ScopedSecret's key is not to be rotated now: see its condition Rotated, or create another grant without rotateAfter",
        );
    }
    if given(o).is_none() && claim.held.as_ref() != Some(&claim.keys) {
        return closed(Reason::SecretNotProjected, "the Secret does not have yet what its ScopedSecret asks for");
    }
    Verdict::Open
}

/// What admission refuses, looked at again: it can be bypassed, and policy changes.
fn invalid(grant: &Grant, namespace: &str, max: Duration, approval: Approval) -> Option<Verdict> {
    let spec = grant.spec.as_ref()?;
    let closed = |reason, text: String| Some(Verdict::Closed(reason, text));
    if !is_nameable(&spec.subject) {
        let text = "its subject is neither a User that does not begin with system:, nor a ServiceAccount of this namespace by its bare name: delete it and create another";
        return closed(Reason::GrantInvalid, text.to_owned());
    }
    match parse(&spec.ttl) {
        Err(why) => return closed(Reason::GrantInvalid, format!("ttl: {why}")),
        Ok(ttl) if ttl.is_zero() => {
            return closed(Reason::GrantInvalid, "ttl is nothing: delete it and create another".to_owned());
        }
        Ok(ttl) if ttl > max => {
            let text = format!(
                "ttl {} is longer than the policy allows: delete it and create another with {} at most",
                spec.ttl,
                humanize(max)
            );
            return closed(Reason::GrantTooLong, text);
        }
        Ok(_) => {}
    }
    match (&spec.requested_by, &spec.approved_by) {
        (None, None) if approval == Approval::Required => {
            let text = "the policy requires an approval by now: delete it and create another with requestedBy";
            closed(Reason::ApprovalRequired, text.to_owned())
        }
        (None, None) => None,
        (Some(_), None) if approval == Approval::None => {
            let text = "the policy requires no approval any more: delete it and create another without requestedBy";
            closed(Reason::RequesterNotNamed, text.to_owned())
        }
        (Some(_), None) => {
            let text = "another user with the verb approve on the ScopedSecret sets approvedBy";
            closed(Reason::AwaitsApproval, text.to_owned())
        }
        (Some(asked), Some(approved)) if asked != approved && user_name(&spec.subject, namespace) != *approved => None,
        (_, Some(_)) => {
            let text = "approvedBy is who asked for it or its subject, or nobody asked: delete it and create another, which somebody else approves";
            closed(Reason::GrantInvalid, text.to_owned())
        }
    }
}

/// The user name by which the API server knows a subject.
fn user_name(subject: &GrantSubject, namespace: &str) -> String {
    match subject.kind {
        GrantSubjectKind::User => subject.name.clone(),
        GrantSubjectKind::ServiceAccount => format!("system:serviceaccount:{namespace}:{}", subject.name),
    }
}

fn is_nameable(subject: &GrantSubject) -> bool {
    match subject.kind {
        GrantSubjectKind::User => !subject.name.is_empty() && !subject.name.starts_with("system:"),
        GrantSubjectKind::ServiceAccount => {
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
            !subject.name.is_empty() && subject.name.chars().all(plain)
        }
    }
}

/// Something to do, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The RoleBinding goes: exactly the one that was seen.
    DeleteBinding,
    /// The Role goes likewise.
    DeleteRole,
    /// The Role is made; the grant's time runs since then.
    CreateRole(Timestamp),
    /// The RoleBinding is made.
    CreateBinding,
    /// The value is owed a rotation: the Role, if there is one, stays until that is done.
    Rotate,
}

/// What is to be done.
pub fn steps(o: &Observed<'_>, verdict: &Verdict) -> Vec<Step> {
    let Lent { grant, role, binding, .. } = o.lent;
    let mut steps = Vec::new();
    match verdict {
        Verdict::Unknown(..) => {}
        Verdict::Open => {
            let (Some(grant), Some(claim)) = (grant, o.claim) else { return steps };
            let right = binding.as_ref().is_some_and(|binding| is_right_binding(o, grant, binding));
            if binding.is_some() && !right {
                steps.push(Step::DeleteBinding);
            }
            let fits = role.as_ref().is_some_and(|role| is_right_role(o, grant, claim, role));
            if role.is_some() && !fits {
                steps.push(Step::DeleteRole);
            }
            if !fits {
                steps.push(Step::CreateRole(term(o).map_or(o.now, |(start, _)| start)));
            }
            if !right {
                steps.push(Step::CreateBinding);
            }
        }
        Verdict::Closed(..) | Verdict::Over(..) => {
            if binding.is_some() {
                steps.push(Step::DeleteBinding);
            }
            let over = matches!(verdict, Verdict::Over(..));
            match role {
                Some(role) if role.rotate_after && over => steps.push(Step::Rotate),
                // Its debt outlives whatever stands in the way of the grant now.
                Some(role) if role.rotate_after => {}
                Some(_) => steps.push(Step::DeleteRole),
                None if over && owed_by_another(o).is_some() => steps.push(Step::Rotate),
                None => {}
            }
        }
    }
    steps
}

fn is_right_role(o: &Observed<'_>, grant: &Grant, claim: &Claim, role: &Role) -> bool {
    let owes = grant.spec.as_ref().is_some_and(|spec| spec.rotate_after == Some(true));
    !role.deleting
        && role.owner.as_deref() == Some(&*claim.uid)
        && role.secret.as_deref() == Some(&*claim.secret)
        && *role.grant_uid == *grant.uid
        && role.rotate_after == owes
        && role.of == about(o)
}

fn is_right_binding(o: &Observed<'_>, grant: &Grant, binding: &super::known::Binding) -> bool {
    !binding.deleting
        && binding.owner.as_deref() == Some(&*grant.uid)
        && binding.role.as_deref() == Some(o.handle)
        && binding.of == about(o)
        && binding.subject.as_ref() == grant.spec.as_ref().map(|spec| &spec.subject)
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
