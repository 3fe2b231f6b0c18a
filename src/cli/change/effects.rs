//! Whom a change of a ScopedSecret's value concerns, as far as the reader may see. Pure.

use crate::api::ScopedSecret;
use crate::cli::observed::Observed;
use crate::cli::remote::{self, Remote};
use crate::segmentation::authorize::authorize;
use crate::segmentation::verdict::Verdict;
use crate::segmentation::world::{ObjectName, World};
use jiff::Timestamp;
use kube::ResourceExt;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// A pod, as far as it matters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PodSeen {
    /// Its name.
    pub name: String,
    /// The topmost that made it, such as `Deployment orders`, as far as that can be seen.
    pub workload: Option<String>,
    /// The Secrets that it names.
    pub secrets: BTreeSet<String>,
}

/// Whom it concerns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effects {
    /// The Secret.
    pub secret: String,
    /// Whether it stands, as far as its ScopedSecret says.
    pub stands: bool,
    /// The keys that are named or held.
    pub keys: Vec<Remote>,
    /// The consumers' ServiceAccounts.
    pub consumers: Vec<String>,
    /// The pods that use the Secret; None: the reader may not list pods.
    pub pods: Option<Vec<PodSeen>>,
    /// Other ScopedSecrets that have one of the keys, or may.
    pub sharers: Vec<ObjectName>,
    /// Whether others than those could be seen at all.
    pub every_claim: bool,
    /// When the claim ends.
    pub ends: Option<Timestamp>,
    /// Why it is not ready, if it is not.
    pub unready: Option<String>,
    /// Whether workloads are to be rolled when the value changes.
    pub restarts: bool,
}

/// So many names are written out.
const NAMES: usize = 10;

/// From what was seen; `spec` is what was written, with what this version of the plugin does not know.
pub fn of(
    claim: &ScopedSecret,
    spec: &Value,
    observed: &Observed,
    pods: Option<Vec<PodSeen>>,
    now: Timestamp,
) -> Effects {
    let namespace = claim.namespace().unwrap_or_default();
    let name = claim.name_any();
    let secret = claim.spec.target_name(&name).to_owned();
    let own = ObjectName::new(&namespace, &name);
    let status = claim.status.clone().unwrap_or_default();
    let remotes = remote::of(claim, observed);
    let keys: Vec<_> = remotes.iter().filter_map(|remote| observed.canonical(&remote.store, &remote.key)).collect();
    let claimed = keys.iter().flat_map(|key| observed.world.claims_on(key)).map(|claim| claim.object.clone());
    let sharers: BTreeSet<ObjectName> =
        claimed.filter(|object| *object != own && has_access(object, &observed.world, now)).collect();
    let made = claim.metadata.creation_timestamp.as_ref().map(|made| made.0);
    let ready = status.conditions.iter().find(|c| c.type_ == "Ready" && c.status != "True");
    Effects {
        stands: status.secret_ref.is_some(),
        keys: remotes,
        consumers: claim.spec.consumers.iter().map(|consumer| consumer.service_account_name.clone()).collect(),
        pods: pods.map(|pods| pods.into_iter().filter(|pod| pod.secrets.contains(&secret)).collect()),
        sharers: sharers.into_iter().collect(),
        every_claim: observed.every_claim && !keys.is_empty(),
        ends: made.and_then(|made| claim.spec.end(made)),
        unready: ready.map(|c| format!("[{}] {}", c.reason, c.message)),
        restarts: spec.get("restart").and_then(Value::as_str) == Some("Consumers"),
        secret,
    }
}

/// Whether a ScopedSecret has what it claims, or is not refused it.
fn has_access(name: &ObjectName, world: &World, now: Timestamp) -> bool {
    let is_let = |claim| !matches!(authorize(claim, world, now), Verdict::Refused(_));
    world.claim(name).is_some_and(|claim| world.holding_of(claim).is_some() || is_let(claim))
}

impl Effects {
    /// What stands now, a line each.
    pub fn facts(&self) -> Vec<(&'static str, String)> {
        let mut facts = vec![("secret", format!("{}{}", self.secret, if self.stands { "" } else { " (not there)" }))];
        for Remote { key, version, store, .. } in &self.keys {
            let version =
                version.as_ref().map_or("not fetched yet".to_owned(), |version| format!("at version {version}"));
            facts.push(("key", format!("{key} {version} (store {store})")));
        }
        if !self.consumers.is_empty() {
            facts.push(("consumers", format!("ServiceAccount {}", self.consumers.join(", "))));
        }
        if let Some(unready) = &self.unready {
            facts.push(("not ready", unready.clone()));
        }
        match &self.pods {
            None => facts.push(("used by", "not known: you may not list pods here".to_owned())),
            Some(pods) if pods.is_empty() => facts.push(("used by", "no pod".to_owned())),
            Some(pods) => facts.extend(workloads(pods).into_iter().map(|workload| ("used by", workload))),
        }
        if let Some(ends) = self.ends {
            facts.push(("ends", ends.to_string()));
        }
        facts
    }

    /// What else shares the keys, in words.
    pub fn shared(&self) -> Vec<String> {
        let mut told: Vec<String> =
            some_of(&self.sharers, |other| format!("ScopedSecret {}/{}", other.namespace, other.name));
        if !self.every_claim {
            told.push("perhaps others, which you may not see".to_owned());
        }
        told
    }

    /// When pods have a new value.
    pub fn pods_take_it(&self) -> String {
        match self.restarts {
            true => "the consumers' workloads that use it are rolled, so that they take the new value, if the platform lets the operator restart them".to_owned(),
            false => "pods that mount it as files see the new value within a minute or so; those that take it as environment variables keep the old one until they are restarted (kubectl rollout restart)".to_owned(),
        }
    }
}

fn some_of<T>(all: &[T], tell: impl Fn(&T) -> String) -> Vec<String> {
    let mut told: Vec<String> = all.iter().take(NAMES).map(tell).collect();
    if all.len() > NAMES {
        told.push(format!("{} more", all.len() - NAMES));
    }
    told
}

/// Each workload with its pods, and pods by themselves.
fn workloads(pods: &[PodSeen]) -> Vec<String> {
    let mut by: BTreeMap<Option<&str>, Vec<&str>> = BTreeMap::new();
    for pod in pods {
        by.entry(pod.workload.as_deref()).or_default().push(&pod.name);
    }
    let told = by.into_iter().map(|(workload, pods)| {
        let names = some_of(&pods, |name| (*name).to_owned()).join(", ");
        match (workload, pods.len()) {
            (None, 1) => format!("pod {names}"),
            (None, _) => format!("pods {names}"),
            (Some(workload), 1) => format!("{workload} (pod {names})"),
            (Some(workload), count) => format!("{workload} ({count} pods: {names})"),
        }
    });
    let told: Vec<String> = told.collect();
    some_of(&told, String::clone)
}

#[cfg(test)]
pub(in crate::cli) mod tests {
    use super::*;
    use crate::cli::observed::build;
    use crate::cli::observed::tests::{claim, facts, now};
    use serde_json::json;

    pub(in crate::cli) fn effects(change: impl FnOnce(&mut serde_json::Value)) -> Effects {
        let mut own = claim("payments-prod", "orders", "payments/prod/db", 1, true);
        own["spec"]["consumers"] = json!([{"serviceAccountName": "orders"}]);
        change(&mut own);
        let other = claim("payments-prod", "reports", "payments/prod/db", 2, true);
        let spec = own["spec"].clone();
        let observed = build(facts(&[own, other]));
        let pod = |name: &str, workload: Option<&str>, secret: &str| PodSeen {
            name: name.to_owned(),
            workload: workload.map(str::to_owned),
            secrets: [secret.to_owned()].into(),
        };
        let pods = vec![
            pod("orders-1", Some("Deployment orders"), "orders"),
            pod("orders-2", Some("Deployment orders"), "orders"),
            pod("job", None, "orders"),
            pod("other", None, "something-else"),
        ];
        of(&observed.claims[0], &spec, &observed, Some(pods), now())
    }

    #[test]
    fn whom_it_concerns() {
        let effects = effects(|_| ());
        let told: Vec<String> = effects.facts().iter().map(|(what, fact)| format!("{what}: {fact}")).collect();
        let told = told.join("\n");
        for part in [
            "secret: orders",
            "key: payments/prod/db at version v1 (store aws)",
            "consumers: ServiceAccount orders",
            "used by: pod job",
            "used by: Deployment orders (2 pods: orders-1, orders-2)",
        ] {
            assert!(told.contains(part), "{part}: {told}");
        }
        assert!(!told.contains("other"), "{told}");
        assert_eq!(effects.shared(), ["ScopedSecret payments-prod/reports"]);
    }

    #[test]
    fn who_shares_a_key_that_is_still_held_is_told_and_who_is_refused_is_not() {
        let shared = |key: &str, held: &str, other: Value| {
            let mut own = claim("payments-prod", "orders", key, 1, true);
            own["status"]["remoteVersions"] = json!([{"key": held, "versionId": "v1"}]);
            let spec = own["spec"].clone();
            let observed = build(facts(&[own, other]));
            of(&observed.claims[0], &spec, &observed, None, now()).shared()
        };
        let (new, old) = ("payments/prod/new", "payments/prod/old");
        let reports = claim("payments-prod", "reports", old, 2, true);
        assert_eq!(shared(new, old, reports), ["ScopedSecret payments-prod/reports"]);
        let thief = claim("billing-prod", "thief", old, 2, false);
        assert_eq!(shared(old, old, thief), [] as [&str; 0]);
    }

    #[test]
    fn what_cannot_be_seen_is_said() {
        let seen = Effects { pods: None, every_claim: false, ..effects(|_| ()) };
        assert!(seen.facts().iter().any(|(what, fact)| *what == "used by" && fact.contains("may not list pods")));
        assert!(seen.shared().contains(&"perhaps others, which you may not see".to_owned()));
        let many = vec![ObjectName::new("a", "b"); 30];
        assert_eq!(Effects { sharers: many, ..effects(|_| ()) }.shared().last().unwrap(), "20 more");
    }
}
