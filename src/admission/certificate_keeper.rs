//! Keeps the webhook's certificate and its registration right: the acts to the decisions of `certificates` and
//! `webhook_configuration`.
//!
//! Every replica watches two named objects and serves the certificate that it sees. The leader also writes them: each
//! write replaces exactly the version that was seen, so another replica's newer certificate wins.

use super::bundle::{Bundle, Fault};
use super::certificates::{IssueError, Step, next_step};
use super::doors::{self, Made};
use super::guard::INSTALL_AGAIN;
use super::health::Gate;
use super::tls::CertificateCell;
use super::webhook_configuration::{self, CONFIGURATION, Wanted};
use crate::api::FIELD_MANAGER;
use crate::client::errors::{brief, said};
use crate::leader::Leadership;
use crate::segmentation::governed::Governed;
use crate::telemetry::metrics::Metrics;
use futures::{Stream, StreamExt};
use k8s_openapi::api::admissionregistration::v1::{ValidatingWebhook, ValidatingWebhookConfiguration};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, watch_object};
use kube::{Api, Client, ResourceExt};
use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// The Secret with the certificate, in the operator's namespace.
pub const SECRET: &str = "scoped-secrets-webhook-tls";

/// The longest sleep: certificates are looked at at least this often.
const LOOK: Duration = Duration::from_secs(3600);
/// The first and the longest pause after a failed write.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// For one write.
const WRITE_LIMIT: Duration = Duration::from_secs(10);

/// Keeps the certificate and the registration.
pub struct Keeper {
    secrets: Api<Secret>,
    configurations: Api<ValidatingWebhookConfiguration>,
    wanted: Wanted,
    names: Vec<String>,
    cell: Arc<CertificateCell>,
    gates: Gates,
    signals: Signals,
    metrics: Arc<Metrics>,
}

/// What it listens to.
#[derive(Clone)]
pub struct Signals {
    /// What is governed. Before that is known nothing is registered.
    pub governed: watch::Receiver<Option<Governed>>,
    /// Who leads keeps the certificate.
    pub leadership: Leadership,
    /// The term for which it has listed all there is: what it knew before may be of the past, and registers nothing.
    pub reigns: watch::Receiver<u64>,
}

impl Signals {
    fn reigns(&self) -> bool {
        *self.reigns.borrow() == self.leadership.term()
    }
}

/// What it opens, and raises.
pub struct Gates {
    /// Once there is a certificate to serve.
    pub served: Gate,
    /// Once the API server asks somebody: there are entries, or there is no configuration, which is not ours to make. What is
    /// applied before that nobody reviews.
    pub registered: Gate,
    /// Where somebody else had taken entries away or changed them: what got past is to be looked for.
    pub were_changed: Arc<AtomicBool>,
}

/// The two objects as last seen; the outer None until there was an answer.
#[derive(Default)]
struct Seen {
    secret: Option<Option<Secret>>,
    configuration: Option<Option<ValidatingWebhookConfiguration>>,
    /// The door that this replica made since it leads.
    door: Option<Made>,
    /// Somebody else had changed the entries, and they were not seen to be right since.
    were_changed: bool,
}

#[derive(Debug, thiserror::Error)]
enum KeepError {
    #[error("{0}")]
    Api(String),
    #[error("the machine gives no random bytes")]
    Dice,
    #[error(transparent)]
    Issue(#[from] IssueError),
    #[error("no answer within {} s", WRITE_LIMIT.as_secs())]
    Slow(#[from] tokio::time::error::Elapsed),
}

impl From<kube::Error> for KeepError {
    fn from(error: kube::Error) -> Self {
        Self::Api(brief(&error))
    }
}

impl Keeper {
    /// One that runs with these.
    pub fn new(
        client: Client,
        wanted: Wanted,
        cell: Arc<CertificateCell>,
        gates: Gates,
        signals: Signals,
        metrics: Arc<Metrics>,
    ) -> Self {
        let secrets = Api::namespaced(client.clone(), &wanted.endpoint.namespace);
        let names = wanted.endpoint.names();
        Self { secrets, configurations: Api::all(client), wanted, names, cell, gates, signals, metrics }
    }

    /// Runs until `stop`.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let mut stop = pin!(stop);
        let mut secrets = pin!(answers(watch_object(self.secrets.clone(), SECRET), "Secret"));
        let mut configurations =
            pin!(answers(watch_object(self.configurations.clone(), CONFIGURATION), "ValidatingWebhookConfiguration"));
        let Signals { mut governed, mut leadership, mut reigns } = self.signals.clone();
        let mut seen = Seen::default();
        let mut backoff = BACKOFF.0;
        let mut wake = Instant::now() + LOOK;
        loop {
            tokio::select! {
                () = &mut stop => return,
                Some(secret) = secrets.next() => {
                    self.load(secret.as_ref());
                    seen.secret = Some(secret);
                }
                Some(configuration) = configurations.next() => {
                    Self::tell(seen.configuration.as_ref(), configuration.as_ref());
                    self.cell.see(configuration.as_ref(), Instant::now());
                    seen.configuration = Some(configuration);
                }
                () = leadership.changed() => {}
                Ok(()) = governed.changed() => {}
                Ok(()) = reigns.changed() => {}
                () = tokio::time::sleep_until(wake.into()) => {}
            }
            let kept = tokio::select! {
                () = &mut stop => return,
                kept = self.keep(&mut seen, jiff::Timestamp::now()) => kept,
            };
            self.measure(&seen);
            let pause = match kept {
                Ok(pause) => {
                    backoff = BACKOFF.0;
                    pause.min(LOOK)
                }
                Err(error) => {
                    tracing::warn!(%error, "the webhook's certificate or configuration could not be written; it is tried again");
                    let pause = backoff;
                    backoff = (backoff * 2).min(BACKOFF.1);
                    pause
                }
            };
            wake = Instant::now() + pause;
        }
    }

    /// Brings both objects to where they should be, if this replica leads; how long that holds. What the API server
    /// trusts is put right between any two steps.
    async fn keep(&self, seen: &mut Seen, now: jiff::Timestamp) -> Result<Duration, KeepError> {
        if !self.signals.leadership.leads() {
            seen.door = None;
        }
        let Seen { secret: Some(secret), configuration: Some(configuration), door, were_changed } = seen else {
            return Ok(LOOK);
        };
        let mut good_for = LOOK;
        // Asked again before each write: the one before may have taken longer than the lease.
        while self.signals.leadership.leads() {
            let current = read(secret.as_ref());
            if current.is_ok() && self.signals.governed.borrow().is_none() {
                return Ok(LOOK);
            }
            if let (true, Some(live), Ok(bundle)) = (self.signals.reigns(), configuration.as_ref(), &current) {
                let now = Instant::now();
                *door = door.take().filter(|made| !made.is_old(now)).or_else(|| Made::new(now));
                let made = door.as_mut().ok_or(KeepError::Dice)?;
                if doors::announced(live) != Some(&*made.door) {
                    made.at = now;
                }
                let (registered, holds_for) = self.register(live, bundle, made, were_changed, now).await?;
                self.cell.see(Some(&registered), Instant::now());
                *configuration = Some(registered);
                good_for = holds_for;
            }
            let published = match (configuration.as_ref(), &current) {
                (Some(live), Ok(bundle)) => self.holds(live, bundle),
                _ => true,
            };
            let step = next_step(current.as_ref().map_err(|fault| *fault), &self.names, published, now);
            if let Step::Wait(until) = step {
                return Ok(Duration::try_from(until - now).unwrap_or(BACKOFF.0).min(good_for));
            }
            match step {
                Step::Create(fault) if secret.is_some() => {
                    tracing::warn!(%fault, secret = SECRET, "the webhook's certificate is replaced");
                }
                step => tracing::info!(?step, secret = SECRET, "the webhook's certificate is renewed"),
            }
            let Some(bundle) = step.take(current.ok(), &self.names, now)? else { return Ok(LOOK) };
            if !self.signals.leadership.leads() {
                break;
            }
            *secret = Some(self.store(secret.as_ref(), &bundle).await?);
            self.load(secret.as_ref());
        }
        Ok(LOOK)
    }

    /// Every replica tells whether the registration stands.
    fn measure(&self, seen: &Seen) {
        let Some(configuration) = &seen.configuration else { return };
        if configuration.as_ref().is_none_or(|live| live.webhooks.as_ref().is_some_and(|all| !all.is_empty())) {
            self.gates.registered.set(true);
        }
        let Some(secret) = &seen.secret else { return };
        let configured = match (configuration, read(secret.as_ref())) {
            (Some(live), Ok(bundle)) => self.holds(live, &bundle),
            _ => false,
        };
        self.metrics.set_webhook_configured(configured);
    }

    /// Whether the entries are as they should be, at whichever door.
    fn holds(&self, configuration: &ValidatingWebhookConfiguration, bundle: &Bundle) -> bool {
        doors::in_use(configuration).is_some_and(|door| self.holds_at(configuration, bundle, door))
    }

    fn holds_at(&self, configuration: &ValidatingWebhookConfiguration, bundle: &Bundle, door: &str) -> bool {
        let live = configuration.webhooks.as_deref().unwrap_or_default();
        self.governed(live).is_some_and(|governed| self.wanted.holds(live, &bundle.published(door), &governed))
    }

    /// Which namespaces are governed; None: not known yet.
    fn governed(&self, live: &[ValidatingWebhook]) -> Option<Governed> {
        let known = self.signals.governed.borrow().clone()?;
        Some(known.with_those_in_use(webhook_configuration::registered(live)))
    }

    /// Serves what the Secret holds; a broken one leaves what was served before.
    fn load(&self, secret: Option<&Secret>) {
        match read(secret) {
            Ok(bundle) => {
                self.cell.set(&bundle);
                self.metrics.set_certificate_expiry(bundle.serving.ends);
                self.gates.served.set(true);
            }
            Err(Fault::Absent) => {}
            Err(fault) => tracing::warn!(%fault, secret = SECRET, "the webhook's certificate cannot be loaded"),
        }
    }

    /// Creates the Secret, or replaces the version that was seen.
    async fn store(&self, seen: Option<&Secret>, bundle: &Bundle) -> Result<Secret, KeepError> {
        let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        let data = Some(bundle.write());
        let written = async {
            match seen {
                Some(old) => {
                    // Its type cannot change, and its labels are whoever's they are.
                    let secret = Secret { data, string_data: None, ..old.clone() };
                    self.secrets.replace(SECRET, &params, &secret).await
                }
                None => {
                    let labels =
                        BTreeMap::from([("app.kubernetes.io/part-of".to_owned(), "scoped-secrets".to_owned())]);
                    let metadata =
                        ObjectMeta { name: Some(SECRET.to_owned()), labels: Some(labels), ..ObjectMeta::default() };
                    let secret =
                        Secret { metadata, data, type_: Some("kubernetes.io/tls".to_owned()), ..Secret::default() };
                    self.secrets.create(&params, &secret).await
                }
            }
        };
        Ok(tokio::time::timeout(WRITE_LIMIT, written).await??)
    }

    /// Fills the configuration in where it is not as wanted; how long it is right so.
    async fn register(
        &self,
        live: &ValidatingWebhookConfiguration,
        bundle: &Bundle,
        made: &Made,
        were_changed: &mut bool,
        now: Instant,
    ) -> Result<(ValidatingWebhookConfiguration, Duration), KeepError> {
        let (door, good_for) = made.published(doors::in_use(live), now);
        let is_announced = doors::announced(live) == Some(&*made.door);
        if is_announced && webhook_configuration::are_as_written(live) && self.holds_at(live, bundle, door) {
            self.are_right_again(were_changed);
            return Ok((live.clone(), good_for));
        }
        let published = bundle.published(door);
        let Some(governed) = self.governed(live.webhooks.as_deref().unwrap_or_default()) else {
            return Ok((live.clone(), good_for));
        };
        // It is put right even where the answer to that is lost.
        *were_changed |= webhook_configuration::were_changed(live);
        let uid = live.uid().unwrap_or_default();
        let patch = Patch::Apply(self.wanted.patch(&uid, &made.door, &published, &governed));
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let applied = self.configurations.patch(CONFIGURATION, &params, &patch);
        let applied = tokio::time::timeout(WRITE_LIMIT, applied).await??;
        let entries = applied.webhooks.as_deref().unwrap_or_default();
        if self.wanted.holds(entries, &published, &governed) {
            tracing::info!("the webhook configuration is filled in");
            self.are_right_again(were_changed);
            return Ok((applied, good_for));
        }
        *were_changed = true;
        let webhooks = self.wanted.replaced(entries, &published, &governed);
        let whole = ValidatingWebhookConfiguration { webhooks: Some(webhooks), ..applied };
        let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        let replaced = self.configurations.replace(CONFIGURATION, &params, &whole);
        let replaced = tokio::time::timeout(WRITE_LIMIT, replaced).await??;
        tracing::warn!("somebody had added to the operator's webhooks; they are put right");
        self.are_right_again(were_changed);
        Ok((replaced, good_for))
    }

    /// Has looked for what got past entries that somebody had changed.
    fn are_right_again(&self, were_changed: &mut bool) {
        if std::mem::take(were_changed) {
            self.gates.were_changed.store(true, Ordering::Relaxed);
        }
    }

    /// Says so when the configuration goes or comes.
    fn tell(before: Option<&Option<ValidatingWebhookConfiguration>>, now: Option<&ValidatingWebhookConfiguration>) {
        if now.is_some() || matches!(before, Some(None)) {
            return;
        }
        tracing::warn!(
            configuration = CONFIGURATION,
            "there is no webhook configuration: nothing is reviewed at admission. The operator does not create it; to have it back, {INSTALL_AGAIN}"
        );
    }
}

fn read(secret: Option<&Secret>) -> Result<Bundle, Fault> {
    let secret = secret.ok_or(Fault::Absent)?;
    Bundle::read(secret.data.as_ref().unwrap_or(&BTreeMap::new()))
}

/// The objects of a watch; its errors are told and waited out.
fn answers<K>(
    watch: impl Stream<Item = watcher::Result<Option<K>>> + Send,
    what: &'static str,
) -> impl Stream<Item = Option<K>> {
    watch.default_backoff().filter_map(move |answer| async move {
        answer
            .inspect_err(|error| {
                tracing::warn!(error = watch_error(error), "the watch of a {what} failed; it is tried again")
            })
            .ok()
    })
}

fn watch_error(error: &watcher::Error) -> String {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => brief(error),
        watcher::Error::WatchError(refusal) => said(refusal),
        error => error.to_string(),
    }
}
