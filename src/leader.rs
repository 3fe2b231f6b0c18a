//! Which replica leads: one Lease, `scoped-secrets`, in the operator's namespace.
//!
//! The leader writes (Secrets, status, certificates); every replica answers admission. [`Leadership`] is the only way to
//! ask. It turns false by this process's own clock, [`Terms::renew_deadline`] after the last renewal that is known to
//! have succeeded, whether or not the API server can be reached; another replica takes over no sooner than
//! [`Terms::duration`] after it saw that renewal. So between the two there is nobody, and never two.
//!
//! Why not a crate: kube-lease-manager renews and force-releases without a resourceVersion, so two candidates that
//! see the same expired lease can release each other's fresh lock, and its channel says "leader" for as long as the
//! API server does not answer.

pub mod candidate;

use crate::telemetry::metrics::Metrics;
use candidate::{Candidate, Terms};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};
use tokio::time::{sleep_until, timeout};

/// Name of the Lease.
pub const LEASE: &str = "scoped-secrets";

/// How leadership changes hands.
#[derive(Debug, Clone, clap::Args)]
pub struct LeaderArgs {
    /// How long a silent leader keeps its lease: after a crash another replica leads within this time and one retry.
    /// Whole seconds, such as 15s.
    #[arg(long, env = "SCOPED_SECRETS_LEASE_DURATION", default_value = "15s", value_parser = seconds)]
    pub lease_duration: Duration,
    /// How long a leader that cannot renew goes on leading. Must be shorter than the lease's duration; the difference
    /// is the time for its last requests to end before anyone else starts.
    #[arg(long, env = "SCOPED_SECRETS_LEASE_RENEW_DEADLINE", default_value = "10s", value_parser = seconds)]
    pub lease_renew_deadline: Duration,
    /// How often the leader renews and the others look.
    #[arg(long, env = "SCOPED_SECRETS_LEASE_RETRY", default_value = "2s", value_parser = seconds)]
    pub lease_retry: Duration,
}

impl LeaderArgs {
    /// The terms, if they are in order.
    pub fn terms(&self) -> Result<Terms, String> {
        Terms::new(self.lease_duration, self.lease_renew_deadline, self.lease_retry)
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let number = text.strip_suffix('s').unwrap_or(text).parse::<u32>();
    number
        .ok()
        .filter(|n| *n > 0)
        .map(|n| Duration::from_secs(n.into()))
        .ok_or_else(|| "write whole seconds, such as 15s".to_owned())
}

/// Whether this replica leads, now and as it changes. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Leadership {
    edge: watch::Receiver<bool>,
    until: Arc<RwLock<Option<Instant>>>,
    before: Arc<RwLock<Option<Before>>>,
    term: Arc<AtomicU64>,
    set_back: Arc<Notify>,
}

/// What the lease said of who had it before this replica took it.
#[derive(Debug, Clone, Copy)]
struct Before {
    renewed: jiff::Timestamp,
    vacancy: Duration,
}

impl Leadership {
    /// Whether this replica leads at this moment, by the clock and not only by the last message. Ask before each write.
    pub fn leads(&self) -> bool {
        self.until.read().unwrap_or_else(PoisonError::into_inner).is_some_and(|until| Instant::now() < until)
    }

    /// How often this replica has gained the lease: what was done in another term says nothing of this one.
    pub fn term(&self) -> u64 {
        self.term.load(Ordering::Acquire)
    }

    /// For how long nobody had led when this replica took the lease; None: nobody knows.
    pub fn vacancy(&self) -> Option<Duration> {
        self.before().map(|before| before.vacancy)
    }

    /// How long ago the lease was last renewed when this replica took it; None: nobody knows.
    pub fn led_ago(&self) -> Option<jiff::SignedDuration> {
        let ago = self.before().map(|before| jiff::Timestamp::now().duration_since(before.renewed));
        ago.filter(|ago| ago.is_positive())
    }

    fn before(&self) -> Option<Before> {
        *self.before.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until this replica leads; for ever if the elector has ended.
    pub async fn gained(&mut self) {
        if self.edge.wait_for(|leads| *leads).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits until this term has ended, whether or not another has begun since.
    pub async fn ended(&self, term: u64) {
        // An ended elector leads nothing.
        let _ = self.edge.clone().wait_for(|leads| !*leads || self.term() != term).await;
    }

    /// Waits until this replica has gained the lease again after this term; for ever if the elector has ended.
    pub async fn begun_after(&self, term: u64) {
        if self.edge.clone().wait_for(|_| self.term() != term).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits until etcd is seen to have been put back to an earlier state, by whoever takes part in the election: what was seen before is
    /// of no account, and a watch that goes on from there sees nothing. One waits.
    pub async fn set_back(&self) {
        self.set_back.notified().await;
    }

    /// Waits for the next change; for ever if the elector has ended.
    pub async fn changed(&mut self) {
        if self.edge.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Takes part in the election until it is stopped.
pub struct Elector {
    leases: Api<Lease>,
    candidate: Candidate,
    edge: watch::Sender<bool>,
    until: Arc<RwLock<Option<Instant>>>,
    before: Arc<RwLock<Option<Before>>>,
    term: Arc<AtomicU64>,
    set_back: Arc<Notify>,
    metrics: Arc<Metrics>,
}

impl Elector {
    /// `identity` must be this process's alone: see [`identity`].
    pub fn new(
        client: Client,
        namespace: &str,
        identity: String,
        terms: Terms,
        metrics: Arc<Metrics>,
    ) -> (Self, Leadership) {
        let (sender, edge) = watch::channel(false);
        let (until, before) = (Arc::new(RwLock::new(None)), Arc::new(RwLock::new(None)));
        let term = Arc::new(AtomicU64::new(0));
        let set_back = Arc::new(Notify::new());
        let leadership = Leadership {
            edge,
            until: until.clone(),
            before: before.clone(),
            term: term.clone(),
            set_back: set_back.clone(),
        };
        let leases = Api::namespaced(client, namespace);
        let candidate = Candidate::new(identity, terms);
        (Self { leases, candidate, edge: sender, until, before, term, set_back, metrics }, leadership)
    }

    /// Runs until `stop`, then hands the lease over. Stop it only after whatever leads has stopped: the successor starts
    /// at its next look (a retry).
    pub async fn run(mut self, stop: impl Future<Output = ()>) {
        let mut stop = std::pin::pin!(stop);
        let mut lease = None;
        let mut next = Instant::now();
        loop {
            let attempt = async {
                sleep_until(next.into()).await;
                self.round(lease.clone()).await
            };
            let deadline = self.candidate.held_until();
            tokio::select! {
                biased;
                () = &mut stop => break,
                () = at(deadline) => {
                    tracing::warn!("the lease could not be renewed in time: this replica leads no longer");
                    self.candidate.resign();
                    lease = None;
                }
                (candidate, seen) = attempt => {
                    self.candidate = candidate;
                    next = Instant::now() + self.candidate.terms().retry;
                    lease = seen.unwrap_or_else(|Conflict| {
                        // Whoever leads must know at once whether it still does.
                        next = Instant::now();
                        None
                    });
                }
            }
            self.publish();
        }
        let held = self.candidate.held_until().is_some();
        self.candidate.resign();
        self.publish();
        if held {
            self.release(lease).await;
        }
    }

    /// One look and, where it is due, one write. Gives the candidate as it then stands, and the lease if that is known; a round that is dropped half way
    /// leaves it as it was.
    async fn round(&self, known: Option<Lease>) -> (Candidate, Result<Option<Lease>, Conflict>) {
        let mut candidate = self.candidate.clone();
        let limit = candidate.terms().request_limit();
        // A leader renews over what it wrote last; only a conflict makes it look again.
        let lease = match known.filter(|_| candidate.leads(Instant::now())) {
            Some(lease) => Some(lease),
            None => match timeout(limit, self.leases.get_opt(LEASE)).await {
                Ok(Ok(lease)) => lease,
                Ok(Err(error)) => return (candidate, Ok(complain("read", &error))),
                Err(slow) => return (candidate, Ok(complain("read", &slow))),
            },
        };
        if let Some(lease) = &lease
            && self.went_back(&mut candidate, lease)
        {
            return (candidate, Ok(None));
        }
        let spec = lease.as_ref().map(|lease| lease.spec.clone().unwrap_or_default());
        candidate.observe(spec.as_ref(), Instant::now());
        let clock = jiff::Timestamp::now();
        // Also from itself, after a time in which it could not renew.
        let taken = !candidate.leads(Instant::now());
        let Some(wanted) = candidate.write(spec.as_ref(), Instant::now(), clock) else {
            return (candidate, Ok(lease));
        };
        if taken {
            let renewed = spec.as_ref().and_then(|spec| spec.renew_time.as_ref()).map(|time| time.0);
            let before = renewed.zip(candidate::vacancy(spec.as_ref(), clock));
            let before = before.map(|(renewed, vacancy)| Before { renewed, vacancy });
            *self.before.write().unwrap_or_else(PoisonError::into_inner) = before;
        }
        let sent = Instant::now();
        match timeout(limit, self.write(lease, wanted)).await {
            Ok(Ok(written)) => {
                candidate.observe(written.spec.as_ref(), Instant::now());
                candidate.wrote(sent);
                self.went_back(&mut candidate, &written);
                (candidate, Ok(Some(written)))
            }
            Ok(Err(kube::Error::Api(refusal))) if refusal.code == 409 => {
                (candidate, if taken { Ok(None) } else { Err(Conflict) })
            }
            Ok(Err(error)) => (candidate, Ok(complain("written", &error))),
            Err(slow) => (candidate, Ok(complain("written", &slow))),
        }
    }

    fn went_back(&self, candidate: &mut Candidate, lease: &Lease) -> bool {
        let went = candidate.went_back(lease.metadata.resource_version.as_deref(), Instant::now());
        if went {
            tracing::warn!("the lease is of before what was seen of it: etcd was put back, and all is listed anew");
            self.set_back.notify_one();
        }
        went
    }

    /// Creates, or replaces exactly the version that was seen.
    async fn write(&self, lease: Option<Lease>, spec: LeaseSpec) -> kube::Result<Lease> {
        let params = PostParams::default();
        match lease {
            Some(lease) => self.leases.replace(LEASE, &params, &Lease { spec: Some(spec), ..lease }).await,
            None => {
                let metadata = ObjectMeta { name: Some(LEASE.to_owned()), ..ObjectMeta::default() };
                self.leases.create(&params, &Lease { metadata, spec: Some(spec) }).await
            }
        }
    }

    /// Lets the lease go. A renewal that was under way may have been written: then over that.
    async fn release(&self, known: Option<Lease>) {
        const LIMIT: Duration = Duration::from_secs(1);
        let mut known = known;
        for _ in 0..2 {
            let lease = match known.take() {
                Some(lease) => lease,
                None => match timeout(LIMIT, self.leases.get_opt(LEASE)).await {
                    Ok(Ok(Some(lease))) if self.candidate.is_held_by_it(lease.spec.as_ref()) => lease,
                    _ => break,
                },
            };
            let spec = candidate::released(lease.spec.clone().unwrap_or_default(), jiff::Timestamp::now());
            match timeout(LIMIT, self.write(Some(lease), spec)).await {
                Ok(Ok(_)) => return tracing::info!("the lease is released"),
                Ok(Err(kube::Error::Api(refusal))) if refusal.code == 409 => {}
                _ => break,
            }
        }
        tracing::warn!("the lease could not be released; it ends by itself");
    }

    fn publish(&self) {
        let until = self.candidate.held_until();
        if until.is_some() && !*self.edge.borrow() {
            // Before anybody can see that it leads.
            self.term.fetch_add(1, Ordering::AcqRel);
        }
        *self.until.write().unwrap_or_else(PoisonError::into_inner) = until;
        let leads = until.is_some();
        if self.edge.send_if_modified(|edge| std::mem::replace(edge, leads) != leads) {
            self.metrics.set_leader(leads);
            tracing::info!(leads, "leadership changed");
        }
    }
}

/// Somebody wrote the lease that this replica holds, or etcd was put back.
struct Conflict;

fn complain(what: &str, error: &dyn std::error::Error) -> Option<Lease> {
    tracing::warn!(%error, "the lease could not be {what}; it is tried again");
    None
}

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment.into()).await,
        None => std::future::pending().await,
    }
}

/// An identity that no other process has, nor this pod's next one: the pod's name and 8 random bytes.
pub fn identity(pod: &str) -> Result<String, aws_lc_rs::error::Unspecified> {
    let mut random = [0; 8];
    aws_lc_rs::rand::fill(&mut random)?;
    Ok(format!("{pod}_{:016x}", u64::from_be_bytes(random)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::poll;
    use std::pin::pin;

    #[tokio::test]
    async fn a_term_is_over_before_another_begins() {
        let (edge, seen) = watch::channel(true);
        let term = Arc::new(AtomicU64::new(1));
        let leadership = Leadership {
            edge: seen,
            until: Arc::default(),
            before: Arc::default(),
            term: term.clone(),
            set_back: Arc::default(),
        };
        let (mut ended, mut begun) = (pin!(leadership.ended(1)), pin!(leadership.begun_after(1)));
        assert!(poll!(ended.as_mut()).is_pending() && poll!(begun.as_mut()).is_pending());
        edge.send_replace(false);
        assert!(poll!(ended).is_ready() && poll!(begun.as_mut()).is_pending());
        term.store(2, Ordering::Release);
        edge.send_replace(true);
        assert!(poll!(begun).is_ready());
    }
}
