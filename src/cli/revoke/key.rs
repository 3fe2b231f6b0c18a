//! Revoking one key: what stands of it, and what a KeyRevocation of it does.

use super::Revoke;
use crate::api::{GROUP, KeyRevocation, ScopedSecretStore};
use crate::cli::change::plan::Plan;
use crate::cli::change::wait::{Progress, condition, told};
use crate::cli::change::write::Write;
use crate::cli::cluster::{Cluster, Failure};
use crate::cli::observed::{Observed, observe};
use crate::cli::report::Subject;
use crate::cli::simulate::schema::nearest;
use crate::segmentation::key::RemoteKey;
use crate::segmentation::world::StoreState;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use serde_json::{Value, json};

/// What is known of a key that is to be revoked.
pub struct Leak {
    /// The key, as it was written.
    pub key: String,
    /// The store.
    pub store: String,
    /// Why.
    pub reason: String,
    /// Whether an open revocation does not matter.
    pub again: bool,
    /// Who claims it, as far as the reader may see.
    pub claimed_by: Vec<String>,
    /// Whether all who claim it could be seen.
    pub every_claim: bool,
    /// KeyRevocations of it: the name, and whether it is complete.
    pub revoked_by: Vec<(String, bool)>,
}

/// A KeyRevocation that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Its name.
    pub name: String,
    /// The key.
    pub key: String,
    /// The store.
    pub store: String,
    /// Whether nothing holds a revoked version any more.
    pub complete: bool,
}

/// Those that are there, as far as the reader may see.
pub async fn standing(cluster: &Cluster) -> Result<Vec<Standing>, Failure> {
    let api: Api<KeyRevocation> = Api::all(cluster.client.clone());
    let found = cluster.list(&api, ListParams::default()).await?.found().unwrap_or_default();
    let read = |other: KeyRevocation| Standing {
        name: other.name_any(),
        complete: other.status.as_ref().is_some_and(|status| status.completion_time.is_some()),
        key: other.spec.key,
        store: other.spec.store_ref.name,
    };
    Ok(found.into_iter().map(read).collect())
}

/// The KeyRevocation that is created.
pub fn revocation(store: &str, key: &str, reason: &str) -> Write {
    let object = json!({
        "apiVersion": format!("{GROUP}/v1alpha1"),
        "kind": "KeyRevocation",
        "metadata": {"generateName": format!("{}-", slug(key))},
        "spec": {"storeRef": {"name": store}, "key": key, "reason": reason},
    });
    Write::Create { kind: "KeyRevocation", namespaced: false, object }
}

/// Looks.
pub async fn look(cluster: &Cluster, asked: &Revoke) -> Result<Leak, Failure> {
    let (key, store) = (asked.key.clone().unwrap_or_default(), asked.store.clone().unwrap_or_default());
    let parsed = RemoteKey::parse(&key).map_err(|error| Failure::Usage(format!("--key {key:?}: {error}")))?;
    let observed = observe(cluster, &cluster.namespace).await?;
    if observed.stores_seen {
        known_store(&observed, &store)?;
    }
    let canonical = observed.world.stores.get(&store).and_then(StoreState::realm);
    let canonical = canonical.and_then(|realm| realm.resolve(&parsed).ok()).map(|(key, _)| key);
    let claimed = canonical.iter().flat_map(|key| observed.world.claims_on(key));
    let claimed_by =
        claimed.map(|claim| format!("ScopedSecret {}/{}", claim.object.namespace, claim.object.name)).collect();
    let standing = standing(cluster).await?;
    let of_key = standing.into_iter().filter(|other| other.key == key && other.store == store);
    Ok(Leak {
        revoked_by: of_key.map(|other| (other.name, other.complete)).collect(),
        every_claim: observed.every_claim && canonical.is_some(),
        claimed_by,
        reason: asked.reason.clone(),
        again: asked.again,
        key,
        store,
    })
}

fn known_store(observed: &Observed, store: &str) -> Result<(), Failure> {
    let names: Vec<String> = observed.stores.iter().map(|store: &ScopedSecretStore| store.name_any()).collect();
    if names.iter().any(|name| name == store) {
        return Ok(());
    }
    let hint =
        nearest(store, names.iter().map(String::as_str)).map_or(String::new(), |near| format!("; is {near:?} meant?"));
    Err(Failure::Usage(format!("there is no ScopedSecretStore {store:?}{hint}")))
}

/// What will happen. Pure.
pub fn plan(leak: &Leak) -> Result<Plan, Failure> {
    let Leak { key, store, .. } = leak;
    let about = Subject::cluster("key", key);
    if let Some((open, _)) = leak.revoked_by.iter().find(|(_, complete)| !complete && !leak.again) {
        let text = format!(
            "{about} is revoked already, by KeyRevocation {open}, which is not complete yet (kubectl get keyrevocation {open} -o yaml); if a newer version leaked, too, write --again"
        );
        return Err(Failure::Usage(text));
    }
    let mut facts = vec![("store", store.clone())];
    facts.extend(leak.claimed_by.iter().map(|claim| ("claimed by", claim.clone())));
    if !leak.every_claim {
        facts.push(("claimed by", "perhaps others, which you may not see".to_owned()));
    } else if leak.claimed_by.is_empty() {
        facts.push(("claimed by", "nobody".to_owned()));
    }
    facts.extend(leak.revoked_by.iter().map(|(name, complete)| {
        (
            "revoked by",
            format!("KeyRevocation {name}, {}", if *complete { "which is complete" } else { "which is not complete" }),
        )
    }));
    Ok(Plan {
        verb: "revoke",
        about,
        facts,
        happens: vec![
            "each version of the key that the manager has made until now is revoked".to_owned(),
            "every Secret that holds one is taken away at once, whoever claims it".to_owned(),
            "pods that start from then on wait; those that run keep the value until they are restarted (the KeyRevocation lists them)".to_owned(),
            "once the manager has a newer version, the Secrets are back with it: store one there".to_owned(),
        ],
        notes: vec!["deleting the KeyRevocation lifts it early".to_owned()],
        writes: vec![revocation(store, key, &leak.reason)],
        done: "KeyRevocation {name} was created".to_owned(),
    })
}

/// The beginning of a name, from a key.
fn slug(key: &str) -> String {
    let plain: String =
        key.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect();
    let cut: String = plain.trim_matches('-').chars().take(50).collect();
    let cut = cut.trim_matches('-');
    if cut.is_empty() { "key".to_owned() } else { cut.to_owned() }
}

/// Pure. What is left to others is not done.
pub fn progress(now: Option<&Value>) -> Progress {
    let Some(now) = now else { return Progress::Bad("the KeyRevocation was deleted, which lifts it".to_owned()) };
    match condition(now, "Complete") {
        Some(("True", _, message)) => Progress::Done(message.to_owned()),
        Some((_, "PodsRemain", message)) => {
            let pods = now.pointer("/status/pods").and_then(Value::as_array).into_iter().flatten();
            let text = |pod: &Value, key: &str| pod.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
            let names: Vec<String> =
                pods.take(20).map(|pod| format!("{}/{}", text(pod, "namespace"), text(pod, "name"))).collect();
            Progress::Bad(format!("its Secrets are gone; {message}: {}", names.join(", ")))
        }
        _ if condition(now, "Stalled").is_some_and(|(status, ..)| status == "True") => {
            Progress::Bad(told(now, "Complete"))
        }
        _ => Progress::Open(told(now, "Complete")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leak() -> Leak {
        Leak {
            key: "payments/prod/db".into(),
            store: "aws".into(),
            reason: "seen in a log".into(),
            again: false,
            claimed_by: vec!["ScopedSecret payments-prod/orders".into()],
            every_claim: true,
            revoked_by: vec![("old".into(), true)],
        }
    }

    #[test]
    fn a_key_is_revoked_by_an_object_unless_it_is_being_revoked() {
        let made = plan(&leak()).unwrap();
        let Write::Create { object, namespaced: false, .. } = &made.writes[0] else { panic!("{:?}", made.writes) };
        assert_eq!(object["metadata"]["generateName"], "payments-prod-db-");
        assert_eq!(
            object["spec"],
            json!({"storeRef": {"name": "aws"}, "key": "payments/prod/db", "reason": "seen in a log"})
        );
        assert!(
            made.facts.contains(&("revoked by", "KeyRevocation old, which is complete".into())),
            "{:?}",
            made.facts
        );
        let open = || vec![("new".to_owned(), false)];
        let refused = plan(&Leak { revoked_by: open(), ..leak() }).unwrap_err().to_string();
        assert!(refused.contains("revoked already, by KeyRevocation new") && refused.contains("--again"), "{refused}");
        assert!(plan(&Leak { revoked_by: open(), again: true, ..leak() }).is_ok());
        let blind = plan(&Leak { every_claim: false, claimed_by: vec![], ..leak() }).unwrap();
        assert!(blind.facts.iter().any(|(_, fact)| fact.contains("may not see")));
    }

    #[test]
    fn names_are_made_of_keys() {
        for (key, name) in [
            ("a/B_c", "a-b-c"),
            ("///", "key"),
            ("é", "key"),
            (&*"x/".repeat(60), "x-x-x-x-x-x-x-x-x-x-x-x-x-x-x-x-x-x-x-x-x-x-x-x-x"),
        ] {
            assert_eq!(slug(key), name);
        }
    }

    #[test]
    fn it_is_done_when_nothing_holds_the_value() {
        let object = |status: &str, reason: &str| {
            json!({"status": {"conditions": [{"type": "Complete", "status": status, "reason": reason, "message": "m"}],
                "pods": [{"namespace": "payments-prod", "name": "web"}]}})
        };
        assert_eq!(progress(Some(&object("True", "RevocationComplete"))), Progress::Done("m".into()));
        assert!(matches!(progress(Some(&object("False", "SecretsRemain"))), Progress::Open(_)));
        let remain = progress(Some(&object("False", "PodsRemain")));
        assert_eq!(remain, Progress::Bad("its Secrets are gone; m: payments-prod/web".into()));
        assert!(matches!(progress(None), Progress::Bad(_)));
    }
}
