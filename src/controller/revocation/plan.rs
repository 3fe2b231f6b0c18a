//! What a KeyRevocation's status says. Pure.

use crate::api::Reason;
use crate::api::condition::{ConditionType, Wanted, merge};
use crate::api::duration::humanize;
use crate::api::key_revocation::{InNamespace, KeyRevocationStatus, PODS, VERSIONS, WITHDRAWN, WithdrawnSecret};
use crate::segmentation::revoked::Meant;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What is known of a key that was revoked.
#[derive(Debug, Clone)]
pub struct Observed {
    /// When it was revoked.
    pub created: Timestamp,
    /// metadata.generation.
    pub generation: i64,
    /// Which key is meant.
    pub meant: Meant,
    /// The Secrets that hold a revoked version now, or may, since their seal cannot be read.
    pub standing: BTreeSet<InNamespace>,
    /// Those of them of which it is known.
    pub leaked: BTreeSet<InNamespace>,
    /// Secrets of ScopedSecrets that name the key, and that hold what the store had before it was changed to reach another place.
    pub moved: BTreeSet<InNamespace>,
    /// What was withdrawn for an earlier revocation of the key.
    pub earlier: Vec<WithdrawnSecret>,
    /// Whether which versions are revoked is still to be found out.
    pub versions_open: bool,
    /// The versions that are revoked, where the manager has no dates.
    pub versions: BTreeSet<String>,
    /// The pods that may hold a revoked value.
    pub pods: BTreeSet<InNamespace>,
}

/// Secrets that held a revoked version, and until when. None: they still do.
pub type Withdrawn = BTreeMap<InNamespace, Option<Timestamp>>;

/// A time that is further ahead was by a clock that was wrong.
const APART: SignedDuration = SignedDuration::from_mins(5);

/// Every Secret that held a revoked version.
pub fn withdrawn(observed: &Observed, old: &KeyRevocationStatus, now: Timestamp) -> Withdrawn {
    let listed = observed.earlier.iter().chain(&old.withdrawn).map(|secret| {
        let name = InNamespace { namespace: secret.namespace.clone(), name: secret.name.clone() };
        let noted = secret.withdrawal_time.as_ref().map(|time| time.0);
        (name, noted.filter(|noted| noted.duration_since(now) <= APART).unwrap_or(now))
    });
    let mut all: Withdrawn = listed.map(|(name, until)| (name, Some(until))).collect();
    all.extend(observed.leaked.iter().map(|name| (name.clone(), None)));
    all
}

fn whole(time: Timestamp) -> Time {
    Time(Timestamp::from_second(time.as_second()).unwrap_or(time))
}

/// Whether it was over, and which key is meant merely cannot be told now, such as after a restart: that takes nothing back.
fn stays_complete(observed: &Observed, old: &KeyRevocationStatus) -> bool {
    matches!(observed.meant, Meant::NoStore | Meant::NoAccount)
        && old.completion_time.is_some()
        && old.observed_generation == Some(observed.generation)
}

/// The status that it deserves.
pub fn status(observed: &Observed, old: &KeyRevocationStatus, now: Timestamp) -> KeyRevocationStatus {
    if stays_complete(observed, old) {
        return old.clone();
    }
    let withdrawn = withdrawn(observed, old, now);
    let wanted = conditions(observed, withdrawn.len(), old, now);
    let complete = wanted.iter().any(|c| c.kind == ConditionType::Complete && c.status == Some(true));
    let ended = old.completion_time.clone().filter(|_| complete);
    let listed = withdrawn.into_iter().map(|(InNamespace { namespace, name }, until)| WithdrawnSecret {
        namespace,
        name,
        withdrawal_time: until.map(whole),
    });
    let of_file = matches!(&observed.meant, Meant::Key(key) if key.is_file());
    KeyRevocationStatus {
        conditions: merge(&old.conditions, &wanted, observed.generation, now),
        observed_generation: Some(observed.generation),
        withdrawn: listed.take(WITHDRAWN).collect(),
        pods: observed.pods.iter().take(PODS).cloned().collect(),
        pod_count: Some(i64::try_from(observed.pods.len()).unwrap_or(i64::MAX)),
        revoked_versions: observed.versions.iter().take(VERSIONS).cloned().collect(),
        revoked_versions_complete: of_file.then_some(!observed.versions_open),
        completion_time: complete.then(|| ended.unwrap_or_else(|| whole(now))),
    }
}

fn conditions(observed: &Observed, withdrawn: usize, old: &KeyRevocationStatus, now: Timestamp) -> Vec<Wanted> {
    use ConditionType::{Complete, Reconciling, Stalled};
    let waits = |reason: Reason, text: String| {
        vec![Wanted::no(Complete, reason, &text), Wanted::yes(Reconciling, reason, text)]
    };
    match &observed.meant {
        Meant::Invalid(why) => {
            let text =
                format!("the key cannot be one of that store: {why}; delete this KeyRevocation and write another");
            return vec![
                Wanted::no(Complete, Reason::InvalidKey, &text),
                Wanted::yes(Stalled, Reason::InvalidKey, text),
            ];
        }
        Meant::NoStore => {
            let text =
                "the ScopedSecretStore does not exist: create it, or delete this KeyRevocation and write another";
            return waits(Reason::StoreNotFound, text.to_owned());
        }
        Meant::NoAccount => {
            let text = "the account of the store is not known, so that which key is meant cannot be told: see the store's status";
            return waits(Reason::AccountUnknown, text.to_owned());
        }
        Meant::Key(_) => {}
    }
    if !observed.standing.is_empty() {
        let text = format!("Secrets that hold a revoked version and are being taken away: {}", observed.standing.len());
        return waits(Reason::SecretsRemain, text);
    }
    if let Some(first) = observed.moved.first() {
        let text = format!(
            "Secrets that hold this key's value of another account, region or path, which the store reached before it was changed: {} (first: {}/{}). They are not taken away for the key as it is meant now: put the store right, or revoke the key by a store that reaches that place",
            observed.moved.len(),
            first.namespace,
            first.name
        );
        return waits(Reason::SecretsRemain, text);
    }
    if observed.versions_open {
        let text = "which versions are revoked is not known before the store can be read; until then all are";
        return waits(Reason::Pending, text.to_owned());
    }
    if !observed.pods.is_empty() {
        let text = format!(
            "pods that may still hold a revoked value, since they were started with it: {}; restart their workloads (status.pods lists them)",
            observed.pods.len()
        );
        return waits(Reason::PodsRemain, text);
    }
    let end = old.completion_time.as_ref().map_or(now, |time| time.0);
    let took = Duration::from_secs(u64::try_from(end.as_second() - observed.created.as_second()).unwrap_or(0));
    let text = format!(
        "nothing holds a revoked version any more: {withdrawn} {} withdrawn; it took {}",
        if withdrawn == 1 { "Secret was" } else { "Secrets were" },
        humanize(took)
    );
    vec![Wanted::yes(Complete, Reason::RevocationComplete, text)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segmentation::fixtures::at;
    use crate::segmentation::key::{CanonicalKey, InvalidKey};

    fn of(namespace: &str, name: &str) -> InNamespace {
        InNamespace { namespace: namespace.into(), name: name.into() }
    }

    fn told(status: &KeyRevocationStatus) -> String {
        let all = status.conditions.iter().map(|c| format!("{}={}/{}", c.type_, c.status, c.reason));
        all.collect::<Vec<_>>().join(" ")
    }

    /// Until when each namespace's Secret held it.
    fn until(status: &KeyRevocationStatus) -> Vec<(&str, Option<Timestamp>)> {
        status.withdrawn.iter().map(|s| (&*s.namespace, s.withdrawal_time.as_ref().map(|time| time.0))).collect()
    }

    #[test]
    fn from_a_leak_to_the_end_of_it() {
        let mut observed = Observed {
            created: at(1_000),
            generation: 1,
            meant: Meant::NoStore,
            standing: BTreeSet::new(),
            leaked: BTreeSet::new(),
            moved: BTreeSet::new(),
            earlier: Vec::new(),
            versions_open: false,
            versions: BTreeSet::new(),
            pods: BTreeSet::new(),
        };
        let mut now = KeyRevocationStatus::default();
        let mut next = |observed: &Observed, second: i64| {
            now = status(observed, &now, at(second));
            now.clone()
        };
        assert_eq!(told(&next(&observed, 1_000)), "Complete=False/StoreNotFound Reconciling=True/StoreNotFound");
        observed.meant = Meant::NoAccount;
        assert_eq!(told(&next(&observed, 1_001)), "Complete=False/AccountUnknown Reconciling=True/AccountUnknown");
        observed.meant = Meant::Key(CanonicalKey::from_sealed("aws:123456789012:eu-west-1:a/b"));
        observed.standing = [of("a", "s"), of("b", "s"), of("c", "unread")].into();
        observed.leaked = [of("a", "s"), of("b", "s")].into();
        let standing = next(&observed, 1_002);
        assert_eq!(told(&standing), "Complete=False/SecretsRemain Reconciling=True/SecretsRemain");
        assert_eq!(until(&standing), [("a", None), ("b", None)]);
        (observed.standing, observed.leaked) = ([of("b", "s")].into(), [of("b", "s")].into());
        assert_eq!(until(&next(&observed, 1_002)), [("a", Some(at(1_002))), ("b", None)]);
        (observed.standing, observed.leaked) = (BTreeSet::new(), BTreeSet::new());
        observed.moved = [of("d", "s")].into();
        assert_eq!(told(&next(&observed, 1_003)), "Complete=False/SecretsRemain Reconciling=True/SecretsRemain");
        observed.moved.clear();
        observed.versions_open = true;
        assert_eq!(told(&next(&observed, 1_003)), "Complete=False/Pending Reconciling=True/Pending");
        observed.versions_open = false;
        observed.pods = (0..200).map(|i| of("a", &format!("pod-{i:03}"))).collect();
        let pods = next(&observed, 1_004);
        assert_eq!(told(&pods), "Complete=False/PodsRemain Reconciling=True/PodsRemain");
        assert_eq!((pods.pods.len(), pods.pod_count), (PODS, Some(200)));
        observed.pods = BTreeSet::new();
        let done = next(&observed, 1_090);
        assert_eq!(told(&done), "Complete=True/RevocationComplete");
        assert!(done.conditions[0].message.contains("2 Secrets were withdrawn; it took 1m30s"), "{done:?}");
        assert_eq!(done.completion_time, Some(Time(at(1_090))));
        assert_eq!(next(&observed, 9_999), done, "it is written once");
        // Something got past: it is not over.
        (observed.standing, observed.leaked) = ([of("c", "s")].into(), [of("c", "s")].into());
        let again = next(&observed, 10_000);
        assert_eq!(until(&again), [("a", Some(at(1_002))), ("b", Some(at(1_003))), ("c", None)]);
        assert_eq!(
            (told(&again), again.completion_time, again.withdrawn.len()),
            ("Complete=False/SecretsRemain Reconciling=True/SecretsRemain".to_owned(), None, 3)
        );
        observed.meant = Meant::Invalid(InvalidKey::NotAFileKey);
        assert_eq!(told(&next(&observed, 10_001)), "Complete=False/InvalidKey Stalled=True/InvalidKey");
    }

    #[test]
    fn one_that_was_complete_stays_so_while_its_key_cannot_be_told() {
        let key = || Meant::Key(CanonicalKey::from_sealed("aws:123456789012:eu-west-1:a/b"));
        let observed = |meant: Meant, generation: i64| Observed {
            created: at(1_000),
            generation,
            meant,
            standing: BTreeSet::new(),
            leaked: BTreeSet::new(),
            moved: BTreeSet::new(),
            earlier: Vec::new(),
            versions_open: false,
            versions: BTreeSet::new(),
            pods: BTreeSet::new(),
        };
        let mut leak = observed(key(), 1);
        (leak.standing, leak.leaked) = ([of("a", "s")].into(), [of("a", "s")].into());
        let begun = status(&leak, &KeyRevocationStatus::default(), at(1_001));
        let done = status(&observed(key(), 1), &begun, at(1_015));
        assert!(done.conditions[0].message.contains("1 Secret was withdrawn; it took 15s"), "{done:?}");
        for (second, meant) in [(2_000, Meant::NoStore), (2_001, Meant::NoAccount), (2_002, key())] {
            assert_eq!(status(&observed(meant.clone(), 1), &done, at(second)), done, "{meant:?}");
        }
        // Of another spec it is not known to be over, nor of one that was not.
        for (old, generation) in [(&done, 2), (&begun, 1)] {
            let open = status(&observed(Meant::NoAccount, generation), old, at(2_003));
            assert_eq!(told(&open), "Complete=False/AccountUnknown Reconciling=True/AccountUnknown");
            assert_eq!(open.completion_time, None);
        }
        let invalid = status(&observed(Meant::Invalid(InvalidKey::NotAFileKey), 1), &done, at(2_004));
        assert_eq!((invalid.completion_time, invalid.conditions.len()), (None, 2));
    }

    #[test]
    fn what_an_earlier_revocation_withdrew_is_followed_and_files_say_whether_all_versions_are_known() {
        let gone = |namespace: &str, second: Option<i64>| WithdrawnSecret {
            namespace: namespace.into(),
            name: "s".into(),
            withdrawal_time: second.map(|second| Time(at(second))),
        };
        let mut observed = Observed {
            created: at(1_000),
            generation: 1,
            meant: Meant::Key(CanonicalKey::from_sealed("file:/etc/secrets/a/b")),
            standing: BTreeSet::new(),
            leaked: BTreeSet::new(),
            moved: BTreeSet::new(),
            earlier: vec![gone("a", Some(900)), gone("b", None)],
            versions_open: true,
            versions: ["v1".to_owned()].into(),
            pods: BTreeSet::new(),
        };
        let open = status(&observed, &KeyRevocationStatus::default(), at(1_001));
        assert_eq!(until(&open), [("a", Some(at(900))), ("b", Some(at(1_001)))]);
        assert_eq!(
            (open.revoked_versions.clone(), open.revoked_versions_complete),
            (vec!["v1".to_owned()], Some(false))
        );
        assert_eq!(told(&open), "Complete=False/Pending Reconciling=True/Pending");
        observed.versions_open = false;
        let closed = status(&observed, &open, at(1_002));
        assert_eq!(
            (told(&closed).as_str(), closed.revoked_versions_complete),
            ("Complete=True/RevocationComplete", Some(true))
        );
        assert_eq!(until(&closed), [("a", Some(at(900))), ("b", Some(at(1_001)))]);
        // By a clock that is a little ahead, and by one that was wrong.
        observed.earlier = vec![gone("a", Some(1_100)), gone("b", Some(9_000_000))];
        let put_right = status(&observed, &KeyRevocationStatus::default(), at(1_002));
        assert_eq!(until(&put_right), [("a", Some(at(1_100))), ("b", Some(at(1_002)))]);
    }
}
