//! What is told of a grant, in events and on the record: each thing once, by whichever process comes to it.

use super::Work;
use crate::admission::rules::grants::RULE;
use crate::api::{GROUP, Reason};
use crate::controller::context::Context;
use crate::controller::events::{self, Told};
use crate::controller::grant::known::{Grant, Lent, Told as Known};
use crate::controller::grant::plan::{self, Owed, Verdict};
use crate::segmentation::violation::ObjectRef;
use crate::segmentation::world::ObjectName;
use crate::telemetry::record::{Happening, What};
use kube::runtime::events::EventType;
use std::sync::Arc;

impl Work<'_> {
    pub(super) fn note_told(&mut self, note: impl Fn(&mut Known)) {
        note(&mut self.lent.told);
        if let Some(told) = self.cx.index_mut().grants.told(self.handle) {
            note(told);
        }
    }

    /// Notes that something is told; false if it was already, by whoever saw the last of it go meanwhile.
    fn is_first_to_tell(&mut self, what: fn(&mut Known) -> &mut bool) -> bool {
        *what(&mut self.lent.told) = true;
        let mut index = self.cx.index_mut();
        index.grants.told(self.handle).is_none_or(|told| !std::mem::replace(what(told), true))
    }

    /// Takes it on to tell that access ended; false if somebody has told so: this process, or one before, after which status says so.
    pub(super) fn takes_end(&mut self) -> bool {
        !self.end_is_told() && self.is_first_to_tell(|told| &mut told.ended)
    }

    /// Likewise where access stood: that it ended was told before, it may be, but by whoever saw the last of it go.
    pub(super) fn takes_end_again(&mut self) -> bool {
        let stands = self.cx.index().grants.get(self.handle).is_some();
        self.is_first_to_tell(|told| &mut told.ended) || stands
    }

    /// Takes it on to tell that a rotation is owed which nobody makes; false if this process has told so.
    pub(super) fn takes_debt(&mut self) -> bool {
        !self.lent.told.unpaid && self.is_first_to_tell(|told| &mut told.unpaid)
    }

    /// Whether somebody has told that access ended: this process, or one before, after which status says so.
    fn end_is_told(&self) -> bool {
        let says = |grant: &Grant| grant.status.role.is_none() && grant.status.reason.is_some();
        self.lent.told.ended || self.lent.grant.as_ref().is_some_and(says)
    }

    /// The rotation that is owed once access has ended, if one is.
    pub(super) fn owed(&self) -> Option<Owed> {
        let claim: Arc<str> = self.lent.claim()?.into();
        if let Some(role) = self.lent.role.as_ref().filter(|role| role.rotate_after) {
            let (uid, subject) = (role.grant_uid.clone(), role.subject.to_string());
            return Some(Owed { claim, uid, subject, keys: role.of.clone().map(|of| of.keys).unwrap_or_default() });
        }
        self.with_observed(|observed| {
            let (grant, given) = plan::owed_by_another(observed)?;
            let subject = grant.spec.as_ref()?.subject.to_string();
            Some(Owed { claim, uid: grant.uid.clone(), subject, keys: given.keys.clone() })
        })
    }

    /// That a rotation is owed which nobody makes, if that is so.
    pub(super) fn unpaid(&self, verdict: &Verdict) -> Option<String> {
        let Owed { subject, keys, .. } =
            self.owed().filter(|owed| matches!(verdict, Verdict::Over(..)) && !owed.keys.is_empty())?;
        let (why, mend) = self.with_observed(plan::unpaid)?;
        Some(format!(
            "{subject} may know the value of {}, which is still to be rotated, and the ScopedSecret no longer {why}: {mend}",
            keys.join(", ")
        ))
    }

    pub(super) async fn tell_unpaid(&mut self) {
        let over = Verdict::Over(Reason::GrantEnded, String::new());
        // What a process before this one has told, status says.
        let is_told = self.lent.grant.as_ref().is_some_and(Grant::says_owed);
        let Some(text) = self.unpaid(&over).filter(|_| !is_told) else { return };
        if !self.takes_debt() {
            return;
        }
        if let Some(owed) = self.owed() {
            self.record_unpaid(&owed);
        }
        self.tell(EventType::Warning, Reason::RotationOwed, &text).await;
    }

    pub(super) fn record_unpaid(&self, owed: &Owed) {
        record_unpaid(self.cx, &self.handle.namespace, owed);
    }

    pub(super) async fn tell_granted(&self) {
        let until = self.with_observed(plan::term).map(|(_, end)| format!(" until {end:.0}")).unwrap_or_default();
        let spec = self.lent.grant.as_ref().and_then(|grant| grant.spec.as_ref());
        let (Some(grant), Some(spec)) = (self.grant_name(), spec) else { return };
        let text = format!("{} may read the Secret{until} (SecretGrant {grant:?})", spec.subject);
        self.record_granted(&spec.subject.to_string());
        self.tell(EventType::Normal, Reason::Granted, &text).await;
    }

    pub(super) fn record_granted(&self, subject: &str) {
        let spec = self.lent.grant.as_ref().and_then(|grant| grant.spec.as_ref());
        let approver = spec.and_then(|spec| spec.approved_by.as_deref());
        self.record(What::Granted, subject, |mut happening| {
            happening = approver.into_iter().fold(happening, Happening::by);
            self.with_observed(plan::term).into_iter().fold(happening, |happening, (_, end)| happening.until(end))
        });
    }

    /// What is taken away may have been given by a process that was killed before it told so.
    pub(super) fn record_if_untold(&self, subject: Option<&str>) {
        let untold = |grant: &Grant| grant.status.role.is_none() && !self.lent.told.given;
        if let Some(subject) = subject.filter(|_| self.lent.grant.as_ref().is_some_and(untold)) {
            self.record_granted(subject);
        }
    }

    pub(super) async fn tell_end(&mut self, verdict: &Verdict, subject: Option<String>) {
        self.note_told(|told| {
            *told = Known { ended: true, failures: 0, given: false, refused: None, ..*told };
        });
        let (Verdict::Closed(reason, why) | Verdict::Over(reason, why)) = verdict else { return };
        let who = subject.unwrap_or_else(|| "its subject".to_owned());
        self.record(What::GrantEnded, &who, |happening| happening.reason(*reason));
        let grant = self.grant_name().map(|name| format!(" (SecretGrant {name:?})")).unwrap_or_default();
        self.tell(
            EventType::Normal,
            Reason::GrantEnded,
            &format!("{who} may no longer read the Secret{grant}: {reason}: {why}"),
        )
        .await;
    }

    pub(super) fn record(&self, what: What, subject: &str, more: impl FnOnce(Happening) -> Happening) {
        let grant = ObjectName::new(&self.handle.namespace, &self.grant_name().unwrap_or_default());
        let mut happening = Happening::of(what).on("SecretGrant", &grant).to(subject).rule(RULE);
        if let Some(secret) = self.secret() {
            let index = self.cx.index();
            let held = index.world.holding(&secret);
            happening = happening.secret(&secret.name).versions(held.iter().flat_map(|held| held.versions.iter()));
        }
        self.cx.record(more(happening));
    }

    /// The Secret that it is about.
    pub(super) fn secret(&self) -> Option<ObjectName> {
        let named = self.with_observed(|observed| observed.claim.map(|claim| claim.secret.clone()));
        let noted = || self.lent.role.as_ref().and_then(|role| role.secret.as_deref().map(str::to_owned));
        let told = || self.lent.grant.as_ref().and_then(|grant| grant.status.secret.clone());
        named.or_else(noted).or_else(told).map(|name| ObjectName::new(&self.handle.namespace, &name))
    }

    /// Events on the ScopedSecret and, while it is there, on the grant.
    pub(super) async fn tell(&self, type_: EventType, reason: Reason, message: &str) {
        let on = |kind: &str, name: &str| ObjectRef {
            api_version: format!("{GROUP}/v1alpha1"),
            kind: kind.to_owned(),
            namespace: Some(self.handle.namespace.clone()),
            name: name.to_owned(),
        };
        let claim = self.lent.claim().map(str::to_owned);
        let uid = self.with_observed(|observed| observed.claim.map(|claim| claim.uid.clone()));
        let claim = claim.map(|name| (on("ScopedSecret", &name), uid));
        let grant = self.lent.grant.as_ref().map(|g| (on("SecretGrant", &g.name), Some(g.uid.to_string())));
        for (about, uid) in claim.into_iter().chain(grant) {
            let told =
                Told { about: &about, uid: uid.as_deref(), type_, reason: reason.as_str(), action: "Grant", message };
            events::publish(self.cx, told).await;
        }
    }
}

/// Into the record: that a rotation is owed which nobody makes.
pub(in crate::controller::grant) fn record_unpaid(cx: &Context, namespace: &Arc<str>, owed: &Owed) {
    let claim = ObjectName::of(namespace.clone(), owed.claim.clone());
    let happening = Happening::of(What::RotationFailed).on("ScopedSecret", &claim).to(&owed.subject).rule(RULE);
    let happening = happening.reason(Reason::RotationOwed);
    cx.record(owed.keys.first().map_or(happening.clone(), |key| happening.key(key)));
}

/// Into the record: that access ended, since all that gave it went at once.
pub(in crate::controller::grant) fn record_cut_off(cx: &Context, handle: &ObjectName, before: &Lent, subject: &str) {
    let grant = ObjectName::new(&handle.namespace, before.named.as_deref().unwrap_or_default());
    let happening = Happening::of(What::GrantEnded).on("SecretGrant", &grant).to(subject).rule(RULE);
    let secret = before.role.as_ref().and_then(|role| role.secret.as_deref());
    let happening = secret.into_iter().fold(happening, Happening::secret);
    cx.record(happening.reason(Reason::GrantEnded));
}
