//! What is done about one grant: RoleBinding and Role are made and taken away. `tell` says so.

mod tell;

pub(super) use tell::{record_cut_off, record_unpaid};

use super::known::{Binding, Grant, Lent, Note, Role, Told, controller};
use super::plan::{self, Debt, Guarded, Observed, Owed, Step, Verdict};
use super::status::{self, Done};
use super::{gone, guarded, is_labelled, limits, observe, observe_binding, observe_claim, observe_role, others_over};
use crate::api::reason::Nature;
use crate::api::secret_grant::{GrantSubjectKind, SecretGrantSpec};
use crate::api::{
    FIELD_MANAGER, GRANT_ANNOTATION, GRANT_UID_ANNOTATION, GRANTED_ANNOTATION, GRANTED_OF_ANNOTATION,
    GRANTED_TO_ANNOTATION, GROUP, Lendable, MANAGED_BY, MANAGED_BY_LABEL, ROTATE_AFTER_ANNOTATION, Reason,
    ScopedSecret, SecretGrant, SecretGrantStatus,
};
use crate::client::errors::brief;
use crate::controller::context::{Context, Job};
use crate::controller::observed::{Observed as Seen, delete_observed};
use crate::controller::queue::Lane;
use crate::controller::watch::View;
use crate::rotation::slot::Trigger;
use crate::rotation::triggers::State;
use crate::segmentation::world::ObjectName;
use crate::telemetry::record::What;
use jiff::Timestamp;
use k8s_openapi::api::rbac::v1;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{Api, ApiResource, DynamicObject, PostParams};
use kube::runtime::events::EventType;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

/// How long until something that failed is tried again.
const AGAIN: Duration = Duration::from_secs(5);
/// How long at most, where it fails again and again.
const SELDOM: Duration = Duration::from_secs(300);
/// How long the rotation that is owed waits for another grant that ends at the same time.
const TOGETHER: Duration = Duration::from_secs(1);
/// How long until what cannot be told is looked at again.
const LATER: Duration = Duration::from_secs(30);

/// One grant while it is worked on.
pub(super) struct Work<'c> {
    pub cx: &'c Context,
    pub handle: &'c ObjectName,
    pub lent: Lent,
    pub guarded: Guarded,
    /// When it was approved, as the fresh read told.
    pub approved: Option<Timestamp>,
    /// Whether the RoleBinding was made in this run.
    pub given: bool,
    /// What access was given to, as it was noted when this run began: it may take away what notes it.
    pub of: Option<Lendable>,
}

/// Something did not go as it ought to.
enum Trouble {
    /// It is looked at anew: what was seen is not what is there.
    Behind,
    /// The API server said no, or nothing.
    Failed(kube::Error),
}

impl From<kube::Error> for Trouble {
    fn from(error: kube::Error) -> Self {
        match &error {
            kube::Error::Api(status) if [404, 409].contains(&status.code) => Self::Behind,
            _ => Self::Failed(error),
        }
    }
}

impl Work<'_> {
    pub async fn run(mut self) {
        let again = match self.bring_about().await {
            Ok(again) => {
                if self.lent.told.failures > 0 {
                    self.note_told(|told| told.failures = 0);
                }
                again
            }
            Err(Trouble::Behind) => Some(AGAIN),
            Err(Trouble::Failed(error)) => {
                let why = brief(&error);
                tracing::warn!(grant = %self.handle, error = %why, "a grant was not given or taken back as it ought to be; it is tried again");
                let failures = self.lent.told.failures;
                self.note_told(|told| told.failures = failures.saturating_add(1));
                // That is told as far as it can be.
                let _ = self.report_failure(&why).await;
                let wait = AGAIN.saturating_mul(1 << failures.min(16)).min(SELDOM);
                // Its end is no later for that, nor where timers run by another clock than ends.
                let end = self.with_observed(plan::term).map(|(_, end)| end.duration_since(self.cx.now()));
                let end = end.and_then(|left| Duration::try_from(left).ok()).filter(|left| !left.is_zero());
                Some(end.map_or(wait, |end| wait.min(end).min(LATER)))
            }
        };
        if let Some(wait) = again {
            self.cx.queue.add_at(Job::Grant(self.handle.clone()), tokio::time::Instant::now() + wait);
        }
    }

    /// What stands and ought not to is said to stand, and why.
    async fn report_failure(&mut self, why: &str) -> Result<(), Trouble> {
        let (Verdict::Over(_, text) | Verdict::Closed(_, text)) = self.decide().0 else { return Ok(()) };
        if self.lent.binding.is_none() {
            return Ok(());
        }
        let text = format!("{text}. It could not be taken back so far, which is tried again: {why}");
        self.report(&Verdict::Unknown(Reason::WriteFailed, text)).await
    }

    /// Does what is to be done; when to look again.
    async fn bring_about(&mut self) -> Result<Option<Duration>, Trouble> {
        self.search().await?;
        let (mut verdict, mut steps) = self.decide();
        if steps.is_empty() && self.looks_for_approval(&verdict) && self.read_grant().await? {
            (verdict, steps) = self.decide();
        }
        if steps.is_empty() {
            // It is looked at again with its ScopedSecret, as soon as the store's account was looked for.
            if !(matches!(verdict, Verdict::Unknown(..)) && self.store_is_new()) {
                self.report(&verdict).await?;
            }
            return Ok(self.next(&verdict));
        }
        // Nothing is given, and nothing that ends for good is taken, on what may be an old view.
        if self.read_anew(&verdict).await? {
            (verdict, steps) = self.decide();
        }
        self.of = self.with_observed(|observed| plan::given(observed).cloned());
        let last = |step: &Step| matches!(step, Step::DeleteRole) && verdict != Verdict::Open;
        for step in steps.iter().filter(|step| !last(step)) {
            self.act(*step, &verdict).await?;
        }
        // Its RoleBinding went with the grant, or whoever took it away was killed before that was told: status says so from now on.
        if matches!(verdict, Verdict::Over(..)) && steps.iter().any(last) && self.takes_end() {
            let subject = self.lent.role.as_ref().map(|role| role.subject.to_string());
            self.tell_end(&verdict, subject).await;
        }
        // The Role of an approved grant goes when its status says since when its time runs.
        self.report(&verdict).await?;
        for step in steps.iter().filter(|step| last(step)) {
            self.act(*step, &verdict).await?;
        }
        Ok(self.next(&verdict))
    }

    fn decide(&self) -> (Verdict, Vec<Step>) {
        self.with_observed(|observed| {
            let verdict = plan::judge(observed);
            let steps = plan::steps(observed, &verdict);
            (verdict, steps)
        })
    }

    fn with_observed<T>(&self, f: impl FnOnce(&Observed<'_>) -> T) -> T {
        let now = self.cx.now();
        let (claim, is_deleted, limits) = {
            let index = self.cx.index();
            let named = self.lent.claim().map(|name| ObjectName::new(&self.handle.namespace, name));
            let stands = |name: &ObjectName| index.claims.get(name).is_some_and(|record| !record.deleting);
            let is_deleted = named.as_ref().is_some_and(|name| !stands(name));
            let claim = named.and_then(|name| observe_claim(&index, &name, now));
            (claim, is_deleted, limits(&index, &self.handle.namespace, now))
        };
        f(&Observed {
            lent: &self.lent,
            namespace: &self.handle.namespace,
            handle: &self.handle.name,
            approved: self.approved,
            claim: claim.as_ref(),
            is_deleted,
            guarded: self.guarded,
            limits,
            now,
        })
    }

    /// Whether the account of the ScopedSecret's store was not looked for yet.
    fn store_is_new(&self) -> bool {
        let Some(name) = self.lent.claim().map(|name| ObjectName::new(&self.handle.namespace, name)) else {
            return false;
        };
        let store = self.cx.index().world.claim(&name).map(|claim| claim.store.clone());
        store.is_some_and(|store| self.cx.providers.is_new(&store))
    }

    /// When to look again: at its end, or soon where something cannot be told.
    fn next(&self, verdict: &Verdict) -> Option<Duration> {
        let end = self.with_observed(plan::term).map(|(_, end)| end);
        let until = |end: Timestamp| Duration::try_from(end.duration_since(self.cx.now())).unwrap_or_default();
        match verdict {
            Verdict::Open | Verdict::Closed(..) => end.map(until),
            Verdict::Unknown(..) => Some(end.map_or(LATER, until).min(LATER)),
            // What is owed and was not taken is asked for again.
            Verdict::Over(..) => self.owed().map(|_| LATER),
        }
    }

    /// Once a process: a RoleBinding that lost our label past the guard is seen by no watch.
    async fn search(&mut self) -> Result<(), Trouble> {
        if self.lent.searched || self.lent.binding.is_some() {
            return Ok(());
        }
        if let Some(found) =
            self.api::<v1::RoleBinding>().get_opt(&self.handle.name).await?.filter(|found| is_ours(&found.metadata))
        {
            self.lent.binding = Some(Binding::of(&found));
        }
        self.lent.searched = true;
        self.cx.index_mut().grants.change(self.handle, |lent| lent.searched = true);
        Ok(())
    }

    /// Whether it is still to be noted when a grant was approved: its time runs from then on, whether or not it gives access.
    fn looks_for_approval(&self, verdict: &Verdict) -> bool {
        let Some(grant) = &self.lent.grant else { return false };
        let approved = grant.spec.as_ref().is_some_and(|spec| spec.approved_by.is_some());
        approved && grant.status.start_time.is_none() && matches!(verdict, Verdict::Closed(..))
    }

    /// Reads the grant anew, and the rule that it needs; true if that was called for.
    async fn read_anew(&mut self, verdict: &Verdict) -> Result<bool, Trouble> {
        match verdict {
            Verdict::Open => self.guarded = guarded(self.cx, Duration::ZERO).await,
            Verdict::Over(..) => {}
            Verdict::Closed(..) | Verdict::Unknown(..) => return Ok(false),
        }
        self.read_grant().await
    }

    /// Reads the grant anew, and when it was approved; false if its name is not known.
    async fn read_grant(&mut self) -> Result<bool, Trouble> {
        let Some(name) = self.grant_name() else { return Ok(false) };
        let found = grants(self.cx, &self.handle.namespace).get_opt(&name).await?;
        let uid = self.lent.grant.as_ref().map(|grant| grant.uid.clone());
        let uid = uid.or_else(|| self.lent.role.as_ref().map(|role| role.grant_uid.clone()));
        let found = found.filter(|object| object.metadata.uid.as_deref() == uid.as_deref());
        match &found {
            Some(object) => observe(self.cx, object, View::Answer),
            None => gone(self.cx, self.handle),
        }
        self.approved = found.as_ref().map(|object| approved(&object.metadata).unwrap_or_else(|| self.cx.now()));
        self.approved = self.approved.map(|at| at.min(self.cx.now()));
        self.lent.grant = found.as_ref().map(Grant::of);
        Ok(true)
    }

    fn grant_name(&self) -> Option<String> {
        let noted = self.lent.role.as_ref().map(|role| role.grant.to_string());
        self.lent.grant.as_ref().map(|grant| grant.name.to_string()).or(noted).filter(|name| !name.is_empty())
    }

    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.cx.client.clone(), &self.handle.namespace)
    }

    async fn act(&mut self, step: Step, verdict: &Verdict) -> Result<(), Trouble> {
        if !self.cx.leads() {
            return Err(Trouble::Behind);
        }
        match step {
            Step::DeleteBinding => {
                let Some(binding) = self.lent.binding.clone() else { return Ok(()) };
                // The last of it may be seen to go before the answer comes.
                let tells = *verdict != Verdict::Open && self.takes_end_again();
                let api = self.api::<v1::RoleBinding>();
                let deleted = delete(&api, &self.handle.name, &binding.uid, &binding.resource_version).await;
                if let Err(error) = deleted {
                    self.note_told(|told| told.ended &= !tells);
                    return Err(error);
                }
                self.lent.binding = None;
                super::binding_gone(self.cx, self.handle, Some(&binding.uid));
                if tells {
                    let subject = binding.subject.map(|subject| subject.to_string());
                    self.record_if_untold(subject.as_deref());
                    self.tell_end(verdict, subject).await;
                }
            }
            Step::DeleteRole => {
                let Some(role) = self.lent.role.take() else { return Ok(()) };
                self.note_told(|told| told.role_deleted = true);
                delete(&self.api::<v1::Role>(), &self.handle.name, &role.uid, &role.resource_version).await?;
                super::role_gone(self.cx, self.handle, Some(&role.uid));
            }
            Step::CreateRole(since) => {
                let Some(role) = self.role(since) else { return Ok(()) };
                let written = create(&self.api::<v1::Role>(), &role).await?;
                observe_role(self.cx, &written, View::Answer);
                self.lent.role = Some(Role::of(&written));
            }
            Step::CreateBinding => {
                let Some(binding) = self.binding() else { return Ok(()) };
                let written = create(&self.api::<v1::RoleBinding>(), &binding).await?;
                observe_binding(self.cx, &written, View::Answer);
                self.lent.binding = Some(Binding::of(&written));
                self.given = true;
                self.note_told(|told| *told = Told::default());
            }
            Step::Rotate => {
                // Its RoleBinding may have gone with the grant.
                if self.takes_end() {
                    let subject = self.owed().map(|owed| owed.subject);
                    self.tell_end(verdict, subject).await;
                }
                self.rotate().await?;
            }
        }
        Ok(())
    }

    /// Asks for the rotation that is owed; once it was made, the Role goes, and the debt with it. Which one it is follows from
    /// the grant's uid, so that whoever comes after a crash asks for the same.
    async fn rotate(&mut self) -> Result<(), Trouble> {
        let Some(Owed { claim, uid, .. }) = self.owed() else { return Ok(()) };
        let claim = ObjectName::of(self.handle.namespace.clone(), claim);
        let trigger = Trigger::Grant(uid);
        match self.with_observed(plan::debt) {
            Debt::Due => {}
            Debt::Waits => return Ok(()),
            Debt::Orphaned => return self.drop_debt(&claim).await,
            Debt::Unpaid | Debt::Unrotated | Debt::Ended => {
                self.cx.index_mut().triggers.remove(&claim, &trigger);
                self.tell_unpaid().await;
                return Ok(());
            }
        }
        let state = self.cx.index().triggers.state(&claim, &trigger);
        match state {
            Some(State::Done) => {
                // What only the grant says is done with as soon as the Secret has the new value.
                self.note_told(|told| told.role_deleted = true);
                let Some(role) = self.lent.role.take() else { return Ok(()) };
                delete(&self.api::<v1::Role>(), &self.handle.name, &role.uid, &role.resource_version).await?;
                super::role_gone(self.cx, self.handle, Some(&role.uid));
                self.cx.index_mut().triggers.remove(&claim, &trigger);
            }
            Some(State::Pending) => {}
            // One rotation pays for all that end together.
            None => {
                let together: Vec<Trigger> = {
                    let index = self.cx.index();
                    let others: Vec<&Lent> = others_over(&index, self.handle, &claim, self.cx.now()).collect();
                    // Who cannot be taken back holds up nobody else's.
                    if others.iter().any(|lent| lent.binding.is_some() && lent.told.failures == 0) {
                        drop(others);
                        drop(index);
                        let at = tokio::time::Instant::now() + TOGETHER;
                        self.cx.queue.add_at(Job::Grant(self.handle.clone()), at);
                        return Ok(());
                    }
                    let gone = others.iter().filter(|lent| lent.searched && lent.binding.is_none());
                    let gone = gone.filter_map(|lent| lent.role.as_ref());
                    gone.map(|role| Trigger::Grant(role.grant_uid.clone())).chain([trigger]).collect()
                };
                let mut index = self.cx.index_mut();
                let added = together.into_iter().filter(|trigger| index.triggers.add(&claim, trigger.clone())).count();
                drop(index);
                if added > 0 {
                    self.cx.queue.add(Job::Claim(claim), Lane::Urgent);
                }
            }
        }
        Ok(())
    }

    /// The ScopedSecret and the grant are gone, and the Role's owner was taken off, or it would have gone, too: a debt ends with
    /// its ScopedSecret, however that was deleted.
    async fn drop_debt(&mut self, claim: &ObjectName) -> Result<(), Trouble> {
        let api: Api<ScopedSecret> = Api::namespaced(self.cx.client.clone(), &claim.namespace);
        if api.get_metadata_opt(&claim.name).await?.is_some() {
            return Ok(());
        }
        if let Some(owed) = self.owed()
            && self.takes_debt()
        {
            self.record_unpaid(&owed);
        }
        let Some(role) = self.lent.role.take() else { return Ok(()) };
        self.note_told(|told| told.role_deleted = true);
        delete(&self.api::<v1::Role>(), &self.handle.name, &role.uid, &role.resource_version).await?;
        super::role_gone(self.cx, self.handle, Some(&role.uid));
        Ok(())
    }

    /// What access is given to, for those who come after.
    fn note(&self) -> Option<String> {
        let of = self.with_observed(plan::about)?;
        serde_json::to_string(&Note { name: self.lent.claim()?.into(), of }).ok()
    }

    fn role(&self, since: Timestamp) -> Option<v1::Role> {
        let grant = self.lent.grant.as_ref()?;
        let spec = grant.spec.as_ref()?;
        let claim = self.with_observed(|observed| observed.claim.cloned())?;
        let owner = owner("ScopedSecret", &spec.scoped_secret_ref.name, &claim.uid);
        let mut notes = BTreeMap::from([
            (GRANT_ANNOTATION.to_owned(), grant.name.to_string()),
            (GRANT_UID_ANNOTATION.to_owned(), grant.uid.to_string()),
            (GRANTED_ANNOTATION.to_owned(), since.to_string()),
            (GRANTED_TO_ANNOTATION.to_owned(), spec.subject.to_string()),
            (GRANTED_OF_ANNOTATION.to_owned(), self.note()?),
        ]);
        if spec.rotate_after == Some(true) {
            notes.insert(ROTATE_AFTER_ANNOTATION.to_owned(), "true".to_owned());
        }
        Some(v1::Role {
            metadata: ObjectMeta { annotations: Some(notes), ..self.metadata(owner) },
            rules: Some(vec![v1::PolicyRule {
                api_groups: Some(vec![String::new()]),
                resources: Some(vec!["secrets".to_owned()]),
                resource_names: Some(vec![claim.secret]),
                verbs: vec!["get".to_owned()],
                ..v1::PolicyRule::default()
            }]),
        })
    }

    fn binding(&self) -> Option<v1::RoleBinding> {
        let grant = self.lent.grant.as_ref()?;
        let subject = &grant.spec.as_ref()?.subject;
        let account = subject.kind == GrantSubjectKind::ServiceAccount;
        let notes = BTreeMap::from([(GRANTED_OF_ANNOTATION.to_owned(), self.note()?)]);
        let metadata = self.metadata(owner("SecretGrant", &grant.name, &grant.uid));
        Some(v1::RoleBinding {
            metadata: ObjectMeta { annotations: Some(notes), ..metadata },
            role_ref: v1::RoleRef { api_group: RBAC.into(), kind: "Role".into(), name: self.handle.name.to_string() },
            subjects: Some(vec![v1::Subject {
                api_group: (!account).then(|| RBAC.to_owned()),
                kind: subject.kind.as_str().to_owned(),
                name: subject.name.clone(),
                namespace: account.then(|| self.handle.namespace.to_string()),
            }]),
        })
    }

    fn metadata(&self, owner: OwnerReference) -> ObjectMeta {
        ObjectMeta {
            name: Some(self.handle.name.to_string()),
            namespace: Some(self.handle.namespace.to_string()),
            labels: Some([(MANAGED_BY_LABEL.to_owned(), MANAGED_BY.to_owned())].into()),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        }
    }

    /// Writes the status if it changed.
    async fn report(&mut self, verdict: &Verdict) -> Result<(), Trouble> {
        let Some(grant) = self.lent.grant.clone().filter(|grant| !grant.deleting) else { return Ok(()) };
        let (term, secret, given) = self.with_observed(|observed| {
            let secret = observed.claim.map(|claim| claim.secret.clone());
            (plan::term(observed), secret, plan::given(observed).or(self.of.as_ref()).cloned())
        });
        let stands = self.lent.role.is_some() && self.lent.binding.is_some();
        // Whoever made it may have been killed before it was told, which is before status says it.
        let news = self.given || grant.status.role.is_none();
        if stands && *verdict == Verdict::Open && news && !self.lent.told.given {
            self.note_told(|told| told.given = true);
            self.tell_granted().await;
        }
        // Status has said that it gives access, and whoever took that away may have been killed before it told.
        let is_ended = matches!(verdict, Verdict::Over(..) | Verdict::Closed(..)) && self.lent.binding.is_none();
        if is_ended && grant.status.role.is_some() && self.takes_end() {
            let subject = grant.spec.as_ref().map(|spec| spec.subject.to_string());
            self.tell_end(verdict, subject).await;
        }
        // As far as it is known when it was approved.
        let runs = stands || grant.status.start_time.is_some() || self.approved.is_some();
        let runs = runs || matches!(verdict, Verdict::Over(..));
        let unapproved = grant.spec.as_ref().is_some_and(|spec| spec.approved_by.is_none());
        let done = Done {
            verdict,
            handle: stands.then_some(&*self.handle.name),
            secret: secret.as_deref(),
            given,
            owed: self.unpaid(verdict),
            term: term.filter(|_| runs || unapproved),
        };
        let status = status::status(&grant, &done, self.cx.now());
        if status == grant.status {
            return Ok(());
        }
        let Some(spec) = &grant.spec else { return Ok(()) };
        // Before status says it: whoever comes after sees in status that there is nothing to say.
        if let Verdict::Closed(reason, why) = verdict
            && reason.nature() == Nature::Refused
            && grant.status.reason != status.reason
            && self.lent.told.refused != Some(*reason)
            && self.cx.leads()
        {
            let subject = spec.subject.to_string();
            self.record(What::GrantRefused, &subject, |happening| happening.reason(*reason));
            let reason = *reason;
            self.note_told(|told| told.refused = Some(reason));
            let text = format!("{subject} may not read the Secret (SecretGrant {:?}): {why}", &*grant.name);
            self.tell(EventType::Warning, reason, &text).await;
        }
        let written = self.write_status(&grant, spec, &status).await?;
        if self.lent.told.refused.is_some() {
            self.note_told(|told| told.refused = None);
        }
        observe(self.cx, &written, View::Answer);
        self.lent.grant = Some(Grant::of(&written));
        Ok(())
    }

    async fn write_status(
        &self,
        grant: &Grant,
        spec: &SecretGrantSpec,
        status: &SecretGrantStatus,
    ) -> Result<DynamicObject, Trouble> {
        if !self.cx.leads() {
            return Err(Trouble::Behind);
        }
        let object = json!({
            "apiVersion": format!("{GROUP}/v1alpha1"),
            "kind": "SecretGrant",
            "metadata": {
                "name": &*grant.name, "namespace": &*self.handle.namespace,
                "uid": &*grant.uid, "resourceVersion": &*grant.resource_version,
            },
            "spec": spec,
            "status": status,
        });
        let object: DynamicObject =
            serde_json::from_value(object).map_err(|error| Trouble::Failed(kube::Error::SerdeError(error)))?;
        Ok(grants(self.cx, &self.handle.namespace).replace_status(&grant.name, &params(), &object).await?)
    }
}

const RBAC: &str = "rbac.authorization.k8s.io";

fn grants(cx: &Context, namespace: &str) -> Api<DynamicObject> {
    Api::namespaced_with(cx.client.clone(), namespace, &ApiResource::erase::<SecretGrant>(&()))
}

fn params() -> PostParams {
    PostParams { field_manager: Some(FIELD_MANAGER.into()), ..PostParams::default() }
}

fn owner(kind: &str, name: &str, uid: &str) -> OwnerReference {
    OwnerReference {
        api_version: format!("{GROUP}/v1alpha1"),
        kind: kind.to_owned(),
        name: name.to_owned(),
        uid: uid.to_owned(),
        controller: Some(true),
        block_owner_deletion: None,
    }
}

/// Whether the operator wrote it, as far as marks tell.
fn is_ours(metadata: &ObjectMeta) -> bool {
    is_labelled(metadata) || ["ScopedSecret", "SecretGrant"].iter().any(|kind| controller(metadata, kind).is_some())
}

/// Creates an object. One of that name that is ours and that no watch shows (it lost our label) goes first.
async fn create<K>(api: &Api<K>, object: &K) -> Result<K, Trouble>
where
    K: kube::Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned,
{
    match api.create(&params(), object).await {
        Err(kube::Error::Api(status)) if status.code == 409 => {
            let name = object.meta().name.as_deref().unwrap_or_default();
            let Some(found) = api.get_opt(name).await?.filter(|found| is_ours(found.meta())) else {
                return Err(Trouble::Behind);
            };
            let meta = found.meta();
            if is_labelled(meta) {
                // The cache is behind: another that believes it leads has just made it.
                return Err(Trouble::Behind);
            }
            let (uid, version) = (meta.uid.as_deref(), meta.resource_version.as_deref());
            delete(api, name, uid.unwrap_or_default(), version.unwrap_or_default()).await?;
            Ok(api.create(&params(), object).await?)
        }
        written => Ok(written?),
    }
}

/// Deletes what was seen, whoever changes it meanwhile, as long as it is the operator's.
async fn delete<K>(api: &Api<K>, name: &str, uid: &str, revision: &str) -> Result<(), Trouble>
where
    K: Clone + Debug + DeserializeOwned,
{
    match delete_observed(api, Seen { name, uid, revision }, is_ours).await? {
        true => Ok(()),
        false => Err(Trouble::Behind),
    }
}

/// When `approvedBy` was set, as the API server noted it for whoever wrote it. Whoever rewrites that gains nothing: it only
/// ever shortens.
fn approved(metadata: &ObjectMeta) -> Option<Timestamp> {
    let sets = |entry: &&k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry| {
        entry.fields_v1.as_ref().is_some_and(|fields| fields.0["f:spec"].get("f:approvedBy").is_some())
    };
    metadata
        .managed_fields
        .iter()
        .flatten()
        .filter(sets)
        .filter_map(|entry| entry.time.as_ref())
        .map(|time| time.0)
        .min()
}
