//! The first part of the webhook's path: a name that only the API server is told, so that nobody else asks the webhook for
//! verdicts about other tenants, or in another's name.
//!
//! A fence, not a lock: who can read the webhook configuration knows it, and the API server tells it to whoever it could not
//! serve during an outage. So it is random, and the leader changes it when it begins to lead and every day: what an outage has
//! shown is worth nothing soon after it. Keep the port to the API server by a NetworkPolicy all the same.
//!
//! ```text
//!   leads ─► announced (an annotation; the entries keep the old one) ─ 5 s, for every replica to see it ─►
//!            published (in the entries) ─► the old one still opens for 15 s, to API servers that have not seen it
//! ```

use super::webhook_configuration::is_ours;
use crate::api::DOOR_ANNOTATION;
use k8s_openapi::api::admissionregistration::v1::{ValidatingWebhook, ValidatingWebhookConfiguration};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// From the announcement to the use.
const ANNOUNCED: Duration = Duration::from_secs(5);
/// How long a door opens after it was last in the configuration.
const KEPT: Duration = Duration::from_secs(15);
/// How long one is used.
const LIFE: Duration = Duration::from_secs(86_400);
/// Bytes of randomness.
const RANDOM: usize = 16;

/// A door that a leader made, and when it announced it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// Its name.
    pub door: String,
    /// Since when others can see it, at the earliest.
    pub at: Instant,
}

impl Made {
    /// Of random bytes.
    pub fn from_random(bytes: [u8; RANDOM], at: Instant) -> Self {
        Self { door: bytes.iter().map(|byte| format!("{byte:02x}")).collect(), at }
    }

    /// A new one; None where the machine has no randomness.
    pub fn new(at: Instant) -> Option<Self> {
        let mut bytes = [0; RANDOM];
        aws_lc_rs::rand::fill(&mut bytes).ok().map(|()| Self::from_random(bytes, at))
    }

    /// Whether another one is due.
    pub fn is_old(&self, now: Instant) -> bool {
        now.duration_since(self.at) >= LIFE
    }

    /// Which door the entries are to have now, where they have `live`, and for how long that holds.
    pub fn published<'a>(&'a self, live: Option<&'a str>, now: Instant) -> (&'a str, Duration) {
        let age = now.duration_since(self.at);
        match live.filter(|live| *live != self.door && age < ANNOUNCED) {
            Some(live) => (live, ANNOUNCED - age),
            None => (&self.door, LIFE.saturating_sub(age)),
        }
    }
}

/// The door in an entry.
fn of_entry(entry: &ValidatingWebhook) -> Option<&str> {
    let config = &entry.client_config;
    let path = match (&config.service, &config.url) {
        (Some(service), _) => service.path.as_deref()?,
        (None, Some(url)) => {
            let rest = url.strip_prefix("https://")?;
            &rest[rest.find('/')?..]
        }
        (None, None) => return None,
    };
    of_path(path)
}

/// The door in a path of the webhook.
pub fn of_path(path: &str) -> Option<&str> {
    path.strip_prefix('/')?.split_once('/').map(|(door, _)| door).filter(|door| is_door(door))
}

fn is_door(text: &str) -> bool {
    text.len() == 2 * RANDOM && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The door that the entries have now.
pub fn in_use(configuration: &ValidatingWebhookConfiguration) -> Option<&str> {
    configuration.webhooks.iter().flatten().filter(|entry| is_ours(entry)).find_map(of_entry)
}

/// The door that is announced.
pub fn announced(configuration: &ValidatingWebhookConfiguration) -> Option<&str> {
    let annotations = configuration.metadata.annotations.as_ref()?;
    annotations.get(DOOR_ANNOTATION).map(String::as_str).filter(|door| is_door(door))
}

/// Those at which a replica answers.
#[derive(Debug, Default)]
pub struct Doors(Vec<(String, Option<Instant>)>);

impl Doors {
    /// Opens those of the configuration as it is now; one that is not there any more is closed in a while.
    pub fn see(&mut self, configuration: Option<&ValidatingWebhookConfiguration>, now: Instant) {
        let ours = configuration.and_then(|c| c.webhooks.as_ref()).into_iter().flatten().filter(|entry| is_ours(entry));
        let there: BTreeSet<&str> = ours.filter_map(of_entry).chain(configuration.and_then(announced)).collect();
        self.0.retain(|(door, until)| !there.contains(door.as_str()) && until.is_none_or(|until| until > now));
        self.0.iter_mut().for_each(|(_, until)| _ = until.get_or_insert(now + KEPT));
        self.0.extend(there.into_iter().map(|door| (door.to_owned(), None)));
    }

    /// Those that are open.
    pub fn open(&self, now: Instant) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(_, until)| until.is_none_or(|until| until > now)).map(|(door, _)| door.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn made(byte: u8, at: Instant) -> Made {
        Made::from_random([byte; RANDOM], at)
    }

    /// The configuration with these doors in its entries, the last one announced, and somebody else's entry.
    fn configuration(doors: &[&str]) -> ValidatingWebhookConfiguration {
        let entry = |name: &str, config: serde_json::Value| json!({"name": name, "clientConfig": config, "rules": [], "sideEffects": "None", "admissionReviewVersions": ["v1"]});
        let by_url = |door: &str| json!({"url": format!("https://127.0.0.1:9443/{door}/admission/rbac")});
        let service = |door: &str| json!({"service": {"namespace": "n", "name": "s", "path": format!("/{door}/admission/copies")}});
        let ours = doors
            .iter()
            .enumerate()
            .map(|(i, door)| entry("copies.scopedsecrets.io", if i % 2 == 0 { service(door) } else { by_url(door) }));
        let strange = entry("strange.example.com", by_url(&"e".repeat(32)));
        let webhooks: Vec<_> = std::iter::once(strange).chain(ours).collect();
        let announced = doors.last().copied().unwrap_or_default();
        serde_json::from_value(json!({
            "metadata": {"annotations": {DOOR_ANNOTATION: announced}},
            "webhooks": webhooks,
        }))
        .unwrap()
    }

    #[test]
    fn a_door_is_announced_used_and_changed() {
        let start = Instant::now();
        let new = made(0xab, start);
        assert_eq!(new.door, "ab".repeat(16));
        assert_eq!(new.published(None, start), (&*new.door, LIFE), "nobody knows another");
        assert_eq!(new.published(Some("old"), start + seconds(1)), ("old", seconds(4)));
        assert_eq!(new.published(Some("old"), start + ANNOUNCED), (&*new.door, LIFE - ANNOUNCED));
        assert_eq!(new.published(Some(&new.door), start + seconds(1)).0, new.door);
        assert!(!new.is_old(start + LIFE - seconds(1)) && new.is_old(start + LIFE));
        let (one, other) = (Made::new(start).unwrap(), Made::new(start).unwrap());
        assert!(is_door(&one.door) && one.door != other.door);
    }

    #[test]
    fn what_the_configuration_says() {
        let door = "0123456789abcdef".repeat(2);
        assert_eq!((in_use(&configuration(&[])), announced(&configuration(&[]))), (None, None));
        let both = configuration(&[&door, &"c".repeat(32)]);
        assert_eq!((in_use(&both), announced(&both)), (Some(&*door), Some(&*"c".repeat(32))));
        for path in ["", "/", "/guess/admission/rbac", "/0123/x", "admission"] {
            assert_eq!(of_path(path), None, "{path}");
        }
        assert_eq!(of_path(&format!("/{door}/admission/rbac")), Some(&*door));
    }

    #[test]
    fn what_an_outage_showed_closes_soon_after_it() {
        let (start, old, new) = (Instant::now(), "a".repeat(32), "b".repeat(32));
        let mut doors = Doors::default();
        let open = |doors: &Doors, after: u64| {
            doors.open(start + seconds(after)).map(|door| door[..1].to_owned()).collect::<String>()
        };
        doors.see(Some(&configuration(&[&old])), start);
        assert_eq!(open(&doors, 1_000_000), "a");
        doors.see(Some(&configuration(&[&old, &new])), start + seconds(1));
        assert_eq!(open(&doors, 1_000_000), "ab", "announced");
        doors.see(Some(&configuration(&[&new])), start + seconds(10));
        assert_eq!((open(&doors, 24), open(&doors, 25)), ("ab".into(), "b".into()));
        // Seen again meanwhile, it does not stay open for longer.
        doors.see(Some(&configuration(&[&new])), start + seconds(20));
        assert_eq!(open(&doors, 25), "b");
        // Without the configuration nobody asks.
        doors.see(None, start + seconds(50));
        assert_eq!((open(&doors, 64), open(&doors, 65)), ("b".into(), String::new()));
    }
}
