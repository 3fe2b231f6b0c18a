//! What a candidate may conclude and do, as a pure function of what it saw and when, by its own monotonic clock.
//!
//! No clock is compared with another machine's: a lease is over when it has not changed for its duration *since this
//! candidate saw it*. Every write replaces exactly the version that was seen (resourceVersion), so of two candidates
//! that see the same end one wins.

use k8s_openapi::api::coordination::v1::LeaseSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use std::time::{Duration, Instant};

/// The times of an election. Kubernetes' own components use 15 s, 10 s and 2 s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// How long others leave a silent leader alone.
    pub duration: Duration,
    /// How long a leader that cannot renew goes on.
    pub renew_deadline: Duration,
    /// How often everyone acts.
    pub retry: Duration,
}

impl Terms {
    /// Terms in order: `2 * retry <= renew_deadline < duration`.
    pub fn new(duration: Duration, renew_deadline: Duration, retry: Duration) -> Result<Self, String> {
        if renew_deadline >= duration {
            return Err(
                "the renew deadline must be shorter than the lease duration, or two replicas could lead".to_owned()
            );
        }
        if retry.is_zero() || retry * 2 > renew_deadline {
            return Err(
                "the retry must be at most half the renew deadline, or one lost request ends the leadership".to_owned()
            );
        }
        Ok(Self { duration, renew_deadline, retry })
    }

    /// One request may take this long, so that a second one fits before the deadline.
    pub fn request_limit(&self) -> Duration {
        (self.renew_deadline - self.retry) / 2
    }
}

/// One replica's view of the election.
#[derive(Debug, Clone)]
pub struct Candidate {
    identity: String,
    terms: Terms,
    /// The lease as last seen to change, and when that was seen.
    seen: Option<(LeaseSpec, Instant)>,
    held_until: Option<Instant>,
    /// The newest revision of the lease that was seen.
    newest: u64,
    /// Until when it leaves the lease alone: who held it before etcd was put back may not know yet that it does no more.
    waits_until: Option<Instant>,
}

/// What is to be done with the lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Move {
    /// There is none: make it.
    Create,
    /// Nobody holds it, or its time is over.
    Take,
    /// It is ours.
    Renew,
    /// It is another's.
    Wait,
}

impl Candidate {
    /// A candidate that has seen nothing.
    pub fn new(identity: String, terms: Terms) -> Self {
        Self { identity, terms, seen: None, held_until: None, newest: 0, waits_until: None }
    }

    /// The terms it runs under.
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// Until when it may lead, if it does.
    pub fn held_until(&self) -> Option<Instant> {
        self.held_until
    }

    /// Whether it leads.
    pub fn leads(&self, now: Instant) -> bool {
        self.held_until.is_some_and(|until| now < until)
    }

    /// Whether a lease is this candidate's.
    pub fn is_held_by_it(&self, lease: Option<&LeaseSpec>) -> bool {
        lease.and_then(holder) == Some(self.identity.as_str())
    }

    /// Leads no longer.
    pub fn resign(&mut self) {
        self.held_until = None;
    }

    /// Takes note of the lease's revision as seen at `now`. Whether it went back, and with it all that the API server keeps: etcd was put
    /// back to an earlier state. It is said once. Whoever led leads no longer: what it knows is of a future that is no more; whoever
    /// did not waits, whatever the lease says, until whoever did knows.
    pub fn went_back(&mut self, revision: Option<&str>, now: Instant) -> bool {
        let Some(revision) = revision.and_then(|text| text.parse().ok()) else { return false };
        let newest = std::mem::replace(&mut self.newest, revision);
        if revision < newest {
            self.waits_until = (!self.leads(now)).then(|| now + self.terms.duration);
            self.resign();
        }
        revision < newest
    }

    /// Takes note of the lease as the API server showed it at `now`.
    pub fn observe(&mut self, lease: Option<&LeaseSpec>, now: Instant) {
        match lease {
            // Deleted: whoever held it may not know yet, so what was seen of it still counts.
            None => {}
            Some(spec) if self.seen.as_ref().is_some_and(|(old, _)| old == spec) => {}
            Some(spec) => self.seen = Some((spec.clone(), now)),
        }
        if !self.is_held_by_it(lease) {
            self.held_until = None;
        }
    }

    /// What to do about a lease that was observed.
    pub fn next(&self, lease: Option<&LeaseSpec>, now: Instant) -> Move {
        match lease.and_then(holder) {
            _ if self.waits_until.is_some_and(|until| now < until) => Move::Wait,
            Some(holder) if holder == self.identity => Move::Renew,
            Some(_) if !self.outwaited(now) => Move::Wait,
            None if lease.is_none() && !self.outwaited(now) => Move::Wait,
            None if lease.is_none() => Move::Create,
            _ => Move::Take,
        }
    }

    /// Whether the lease as last seen is nobody else's any more, for not having changed for its duration.
    fn outwaited(&self, now: Instant) -> bool {
        let Some((seen, at)) = &self.seen else { return true };
        if holder(seen).is_none_or(|holder| holder == self.identity) {
            return true;
        }
        // A duration that another wrote counts as it stands; one that makes no sense counts as ours.
        let duration = seen.lease_duration_seconds.and_then(|s| u64::try_from(s).ok()).filter(|s| *s > 0);
        now.saturating_duration_since(*at) >= duration.map_or(self.terms.duration, Duration::from_secs)
    }

    /// The lease to write, if it is this candidate's turn. `clock` only informs people.
    pub fn write(&self, lease: Option<&LeaseSpec>, now: Instant, clock: jiff::Timestamp) -> Option<LeaseSpec> {
        let old = lease.cloned().unwrap_or_default();
        let clock = Some(MicroTime(clock));
        let duration = i32::try_from(self.terms.duration.as_secs()).ok();
        let renewed = LeaseSpec { renew_time: clock.clone(), lease_duration_seconds: duration, ..old };
        match self.next(lease, now) {
            Move::Wait => None,
            Move::Renew => Some(renewed),
            Move::Create | Move::Take => Some(LeaseSpec {
                acquire_time: clock,
                holder_identity: Some(self.identity.clone()),
                lease_transitions: Some(renewed.lease_transitions.unwrap_or(0).saturating_add(1)),
                ..renewed
            }),
        }
    }

    /// A write that was sent at `sent` is known to have succeeded.
    pub fn wrote(&mut self, sent: Instant) {
        self.held_until = Some(sent + self.terms.renew_deadline);
    }
}

/// For how long nobody has renewed a lease that is about to be taken, by the clocks of two machines: good for minutes, not
/// for seconds. None: nobody knows.
pub fn vacancy(lease: Option<&LeaseSpec>, clock: jiff::Timestamp) -> Option<Duration> {
    let renewed = lease?.renew_time.as_ref()?.0;
    Duration::try_from(clock.duration_since(renewed)).ok()
}

/// The lease as a leader leaves it: nobody's.
pub fn released(lease: LeaseSpec, clock: jiff::Timestamp) -> LeaseSpec {
    LeaseSpec { holder_identity: None, renew_time: Some(MicroTime(clock)), lease_duration_seconds: Some(1), ..lease }
}

fn holder(spec: &LeaseSpec) -> Option<&str> {
    spec.holder_identity.as_deref().filter(|holder| !holder.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TERMS: Terms = Terms {
        duration: Duration::from_secs(15),
        renew_deadline: Duration::from_secs(10),
        retry: Duration::from_secs(2),
    };

    fn lease(holder: &str, duration: i32) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(holder.into()),
            lease_duration_seconds: Some(duration),
            ..LeaseSpec::default()
        }
    }

    #[test]
    fn how_long_nobody_led() {
        let at = |second| jiff::Timestamp::from_second(second).unwrap();
        let renewed = LeaseSpec { renew_time: Some(MicroTime(at(1_000))), ..lease("a", 15) };
        assert_eq!(vacancy(Some(&renewed), at(1_090)), Some(Duration::from_secs(90)));
        assert_eq!(vacancy(Some(&renewed), at(990)), None, "a clock that is behind tells nothing");
        assert_eq!(vacancy(Some(&lease("a", 15)), at(1_000)), None);
        assert_eq!(vacancy(None, at(1_000)), None);
    }

    #[test]
    fn the_next_move() {
        let start = Instant::now();
        for (what, seen, after, expected) in [
            ("no lease", None, 0, Move::Create),
            ("released", Some(LeaseSpec::default()), 0, Move::Take),
            ("released with an empty name", Some(lease("", 15)), 0, Move::Take),
            ("ours", Some(lease("me", 15)), 100, Move::Renew),
            ("another's, just seen", Some(lease("other", 15)), 0, Move::Wait),
            ("another's, not over", Some(lease("other", 15)), 14, Move::Wait),
            ("another's, over", Some(lease("other", 15)), 15, Move::Take),
            ("another's, longer than ours", Some(lease("other", 60)), 59, Move::Wait),
            ("another's, of no sensible duration", Some(lease("other", -1)), 14, Move::Wait),
        ] {
            let mut me = Candidate::new("me".into(), TERMS);
            me.observe(seen.as_ref(), start);
            let now = start + Duration::from_secs(after);
            me.observe(seen.as_ref(), now);
            assert_eq!(me.next(seen.as_ref(), now), expected, "{what}");
        }
    }

    #[test]
    fn leads_from_when_it_asked_not_from_when_it_was_told() {
        let sent = Instant::now();
        let mut me = Candidate::new("me".into(), TERMS);
        me.observe(Some(&lease("me", 15)), sent + Duration::from_secs(4));
        me.wrote(sent);
        assert!(me.leads(sent + Duration::from_millis(9_999)));
        assert!(!me.leads(sent + TERMS.renew_deadline));
        me.observe(Some(&lease("other", 15)), sent);
        assert!(!me.leads(sent), "another holds it");
    }

    #[test]
    fn a_lease_that_goes_back_ends_a_term_once() {
        let start = Instant::now();
        let mut me = Candidate::new("me".into(), TERMS);
        me.observe(Some(&lease("me", 15)), start);
        me.wrote(start);
        for (revision, expected) in
            [(None, false), (Some("9"), false), (Some("10"), false), (Some("10"), false), (Some("unknown"), false)]
        {
            assert_eq!(me.went_back(revision, start), expected, "{revision:?}");
        }
        assert!(me.leads(start));
        assert!(me.went_back(Some("9"), start) && !me.leads(start), "a number, not a text");
        assert!(!me.went_back(Some("9"), start) && !me.went_back(Some("11"), start), "it is said once");
        assert_eq!(me.next(Some(&lease("me", 15)), start), Move::Renew, "nobody else led");
    }

    #[test]
    fn who_did_not_lead_when_the_store_went_back_waits_for_who_did() {
        let start = Instant::now();
        let after = |second| start + Duration::from_secs(second);
        for (what, restored) in [("of before its time", lease("me", 15)), ("nobody's", LeaseSpec::default())] {
            let mut me = Candidate::new("me".into(), TERMS);
            me.went_back(Some("10"), start);
            me.observe(Some(&lease("other", 15)), start);
            assert!(me.went_back(Some("9"), after(1)));
            me.observe(Some(&restored), after(1));
            assert_eq!(me.next(Some(&restored), after(15)), Move::Wait, "{what}");
            assert_ne!(me.next(Some(&restored), after(16)), Move::Wait, "{what}");
        }
    }

    #[test]
    fn a_deleted_lease_is_not_an_open_door() {
        let start = Instant::now();
        let mut me = Candidate::new("me".into(), TERMS);
        me.observe(Some(&lease("other", 15)), start);
        me.observe(None, start + Duration::from_secs(1));
        assert_eq!(me.next(None, start + Duration::from_secs(14)), Move::Wait, "its holder may not know");
        assert_eq!(me.next(None, start + Duration::from_secs(15)), Move::Create);
    }

    #[test]
    fn terms_that_allow_two_leaders_are_refused() {
        let s = Duration::from_secs;
        assert!(Terms::new(s(10), s(10), s(2)).is_err());
        assert!(Terms::new(s(15), s(10), s(6)).is_err());
        assert!(Terms::new(s(15), s(10), s(2)).is_ok());
    }

    /// The API server: one lease with optimistic concurrency.
    #[derive(Clone, Default)]
    struct Store {
        lease: Option<LeaseSpec>,
        version: u64,
    }

    impl Store {
        /// A replica looks at the lease: what it may write upon. None: it sees that the store went back.
        fn shown_to(&self, replica: &mut Candidate, now: Instant) -> Option<(u64, Option<LeaseSpec>)> {
            if self.lease.is_some() && replica.went_back(Some(&self.version.to_string()), now) {
                return None;
            }
            replica.observe(self.lease.as_ref(), now);
            Some((self.version, self.lease.clone()))
        }
    }

    proptest! {
        /// Whatever is lost, delayed or asked in whatever order, two never lead at once; nor where the store goes back to an earlier
        /// state, of which everybody had seen what came later.
        #[test]
        fn never_two_leaders(steps in proptest::collection::vec((0usize..3, 0u64..6_000, 0u8..33), 1..400)) {
            let start = Instant::now();
            let mut store = Store::default();
            let mut backups = vec![store.clone()];
            let mut replicas: Vec<Candidate> = ["a", "b", "c"].map(|i| Candidate::new(i.into(), TERMS)).into();
            // What each read before, to be written upon only now: a request may be slow.
            let mut read: Vec<Option<(u64, Option<LeaseSpec>)>> = vec![None; 3];
            let mut now = start;
            for (who, pause, fate) in steps {
                now += Duration::from_millis(pause);
                let clock = jiff::Timestamp::UNIX_EPOCH + now.duration_since(start);
                if fate == 32 {
                    replicas.iter_mut().for_each(|replica| drop(store.shown_to(replica, now)));
                    store = backups.swap_remove(who % backups.len());
                    // Of what was on the way nothing arrives.
                    read = vec![None; 3];
                    backups = vec![store.clone()];
                    continue;
                }
                let me = &mut replicas[who];
                match fate % 8 {
                    0 => {} // partitioned
                    1 => read[who] = store.shown_to(me, now), // and is slow to write
                    2 if me.leads(now) => { // hands over
                        let held = store.lease.as_ref().and_then(holder) == Some(me.identity.as_str());
                        me.resign();
                        if held {
                            store.lease = store.lease.take().map(|l| released(l, clock));
                            store.version += 1;
                        }
                    }
                    3 => drop(store.shown_to(me, now)),
                    _ => {
                        let Some((version, seen)) = read[who].take().or_else(|| store.shown_to(me, now)) else { continue };
                        me.observe(seen.as_ref(), now);
                        if let Some(wanted) = me.write(seen.as_ref(), now, clock) && version == store.version {
                            store.lease = Some(wanted.clone());
                            store.version += 1;
                            if fate % 8 != 4 { // 4: the answer is lost
                                me.observe(Some(&wanted), now);
                                me.wrote(now);
                                me.went_back(Some(&store.version.to_string()), now);
                            }
                        }
                    }
                }
                if fate == 31 {
                    backups.push(store.clone());
                }
                let leaders = replicas.iter().filter(|r| r.leads(now)).count();
                prop_assert!(leaders <= 1, "{leaders} lead after {:?}", now.duration_since(start));
            }
        }
    }
}
