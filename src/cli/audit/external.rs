//! ExternalSecrets (external-secrets.io): which namespaces take which keys, whoever made them.

use super::look::Sighted;
use super::scopes::{Scope, Scopes};
use crate::api::Reason;
use crate::cli::cluster::{Cluster, Failure, Seen};
use crate::cli::report::text::count;
use crate::cli::report::{Outcome, Rule, Severity, Subject};
use crate::segmentation::world::ObjectName;
use kube::ResourceExt;
use kube::api::{Api, ApiResource, DynamicObject, ListParams};
use kube::core::GroupVersionKind;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

const GROUP: &str = "external-secrets.io";

/// What one ExternalSecret takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternalClaim {
    /// Which.
    pub object: ObjectName,
    /// Its store, so that two names of one manager are one.
    pub manager: String,
    /// The store as it is named.
    pub store: String,
    /// The key; None: whatever matches.
    pub key: Option<String>,
}

/// Looks, where there is such a kind.
pub async fn look(cluster: &Cluster) -> Result<Option<Vec<ExternalClaim>>, Failure> {
    let groups = cluster.client.list_api_groups().await;
    let groups = cluster.see(groups, "get", "/apis", None)?.found().map(|list| list.groups).unwrap_or_default();
    let Some(group) = groups.into_iter().find(|group| group.name == GROUP) else { return Ok(None) };
    let version = group.preferred_version.map(|v| v.version).or(group.versions.first().map(|v| v.version.clone()));
    let version = version.unwrap_or_default();
    let list = async |kind: &str, plural: &str| {
        let gvk = GroupVersionKind::gvk(GROUP, &version, kind);
        let api: Api<DynamicObject> =
            Api::all_with(cluster.client.clone(), &ApiResource::from_gvk_with_plural(&gvk, plural));
        cluster.list(&api, ListParams::default()).await
    };
    let secrets = list("ExternalSecret", "externalsecrets").await?;
    if secrets == Seen::Absent {
        return Ok(None);
    }
    let mut stores = list("ClusterSecretStore", "clustersecretstores").await?.found().unwrap_or_default();
    stores.extend(list("SecretStore", "secretstores").await?.found().unwrap_or_default());
    Ok(secrets.found().map(|secrets| claims(&secrets, &stores)))
}

/// What each takes. Pure.
pub fn claims(secrets: &[DynamicObject], stores: &[DynamicObject]) -> Vec<ExternalClaim> {
    let managers: BTreeMap<(String, String), String> = stores
        .iter()
        .map(|store| {
            let name = store.name_any();
            let place = store.namespace().unwrap_or_default();
            let manager = manager(&store.data["spec"]["provider"]).unwrap_or_else(|| format!("{place}/{name}"));
            ((place, name), manager)
        })
        .collect();
    secrets.iter().flat_map(|secret| taken(secret, &managers)).collect()
}

/// Where a store's secrets are. Its credentials do not matter: two identities may reach one manager.
fn manager(provider: &Value) -> Option<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (kind, settings) = provider.as_object()?.iter().next()?;
    let place = match kind.as_str() {
        "aws" => {
            // The account is in the role; of stores without one, the nodes' own.
            let account = text(&settings["role"]).split(':').nth(4).unwrap_or_default().to_owned();
            format!("{} {} {account}", text(&settings["service"]), text(&settings["region"]))
        }
        _ => {
            let mut rest = settings.clone();
            if let Some(fields) = rest.as_object_mut() {
                fields.retain(|name, _| {
                    !name.to_lowercase().contains("auth") && name != "caBundle" && name != "caProvider"
                });
            }
            rest.to_string()
        }
    };
    Some(format!("{kind} {place}"))
}

fn taken(secret: &DynamicObject, managers: &BTreeMap<(String, String), String>) -> Vec<ExternalClaim> {
    let namespace = secret.namespace().unwrap_or_default();
    let object = ObjectName::new(&namespace, &secret.name_any());
    let spec = &secret.data["spec"];
    let claim = |source: &Value, key: Option<&str>| {
        let own = &source["sourceRef"]["storeRef"];
        let store = if own.is_object() { own } else { &spec["secretStoreRef"] };
        let name = store["name"].as_str().unwrap_or_default();
        let clusterwide = store["kind"] == "ClusterSecretStore";
        let place = if clusterwide { String::new() } else { namespace.clone() };
        let shown =
            if clusterwide { format!("ClusterSecretStore {name}") } else { format!("SecretStore {place}/{name}") };
        let manager = managers.get(&(place, name.to_owned())).cloned().unwrap_or_else(|| shown.clone());
        ExternalClaim { object: object.clone(), manager, store: shown, key: key.map(str::to_owned) }
    };
    let mut found = Vec::new();
    for item in spec["data"].as_array().into_iter().flatten() {
        found.extend(item["remoteRef"]["key"].as_str().map(|key| claim(item, Some(key))));
    }
    for item in spec["dataFrom"].as_array().into_iter().flatten() {
        if let Some(key) = item["extract"]["key"].as_str() {
            found.push(claim(item, Some(key)));
        } else if item["find"].is_object() {
            found.push(claim(item, None));
        }
    }
    found
}

/// Keys that several scopes take, and what takes more than it names.
pub fn judge(sighted: &Sighted, scopes: &Scopes<'_>, outcome: &mut Outcome) {
    let Some(claims) = &sighted.external else { return };
    let objects: BTreeSet<&ObjectName> = claims.iter().map(|claim| &claim.object).collect();
    let well = format!(
        "{} looked at: each names keys of its own",
        count(objects.len(), "ExternalSecret was", "ExternalSecrets were")
    );
    let mut by_key: BTreeMap<(&str, &str), BTreeMap<Scope, BTreeSet<&ObjectName>>> = BTreeMap::new();
    outcome.part(
        || well,
        |outcome| {
            for claim in claims {
                let Some(key) = &claim.key else {
                    let subject = Subject::namespaced("ExternalSecret", &claim.object.namespace, &claim.object.name);
                    let message = format!("it takes whatever matches in {} (dataFrom.find)", claim.store);
                    outcome.find(Severity::Warning, Rule::OtherOperators, Reason::KeyByPattern, subject, message);
                    continue;
                };
                let scope = scopes.of(&claim.object.namespace);
                by_key.entry((&claim.manager, key)).or_default().entry(scope).or_default().insert(&claim.object);
            }
            for ((_, key), by_scope) in by_key.iter().filter(|(_, scopes)| scopes.len() > 1) {
                shared(key, by_scope, outcome);
            }
            for claim in claims {
                owned(sighted, scopes, claim, outcome);
            }
        },
    );
}

fn shared(key: &str, by_scope: &BTreeMap<Scope, BTreeSet<&ObjectName>>, outcome: &mut Outcome) {
    let all: Vec<(&Scope, &ObjectName)> =
        by_scope.iter().flat_map(|(scope, objects)| objects.iter().map(move |object| (scope, *object))).collect();
    let Some(((_, first), others)) = all.split_first() else { return };
    let mut shown: Vec<String> = others.iter().take(5).map(|(scope, object)| format!("{object} ({scope})")).collect();
    if others.len() > 5 {
        shown.push(format!("{} more", others.len() - 5));
    }
    let segments = by_scope.keys().all(|scope| matches!(scope, Scope::Segment(_)));
    let severity = if segments { Severity::Error } else { Severity::Warning };
    let subject = Subject::namespaced("ExternalSecret", &first.namespace, &first.name);
    let message = format!("its key {key:?} is taken by {}, too", shown.join(", "));
    outcome.find(severity, Rule::OtherOperators, Reason::KeyShared, subject, message);
}

/// A key that a ScopedSecret of another scope holds.
fn owned(sighted: &Sighted, scopes: &Scopes<'_>, claim: &ExternalClaim, outcome: &mut Outcome) {
    let Some(key) = claim.key.as_deref().filter(|_| claim.manager.starts_with("aws SecretsManager ")) else { return };
    let region = claim.manager.split(' ').nth(2).unwrap_or_default();
    let account = claim.manager.split(' ').nth(3).unwrap_or_default();
    let own = scopes.of(&claim.object.namespace);
    let holds = |(secret, held): &(&ObjectName, &crate::segmentation::world::Holding)| {
        let same = held.keys().filter_map(|held| held.aws_parts()).any(|(in_account, in_region, name)| {
            name == key && in_region == region && (account.is_empty() || in_account == account)
        });
        same && scopes.of(&secret.namespace) != own
    };
    if let Some((secret, _)) = sighted.observed.world.holdings().find(holds) {
        let subject = Subject::namespaced("ExternalSecret", &claim.object.namespace, &claim.object.name);
        let message = format!("its key {key:?} is held by a ScopedSecret of {}", scopes.of(&secret.namespace));
        outcome.find(Severity::Error, Rule::OtherOperators, Reason::KeyShared, subject, message);
    }
}

#[cfg(test)]
mod tests {
    use super::super::look::tests::sighted;
    use super::*;
    use crate::cli::observed::tests::claim;
    use serde_json::json;

    fn object(kind: &str, namespace: Option<&str>, name: &str, spec: Value) -> DynamicObject {
        let mut object =
            json!({"apiVersion": "external-secrets.io/v1", "kind": kind, "metadata": {"name": name}, "spec": spec});
        if let Some(namespace) = namespace {
            object["metadata"]["namespace"] = namespace.into();
        }
        serde_json::from_value(object).unwrap()
    }

    fn store(name: &str, role: &str) -> DynamicObject {
        let aws = json!({"service": "SecretsManager", "region": "eu-west-1", "role": role, "auth": {"x": name}});
        object("ClusterSecretStore", None, name, json!({"provider": {"aws": aws}}))
    }

    fn takes(namespace: &str, name: &str, store: &str, key: &str) -> DynamicObject {
        let spec = json!({"secretStoreRef": {"name": store, "kind": "ClusterSecretStore"},
            "data": [{"secretKey": "a", "remoteRef": {"key": key}}]});
        object("ExternalSecret", Some(namespace), name, spec)
    }

    fn found(secrets: &[DynamicObject], stores: &[DynamicObject], claims: &[Value]) -> Vec<(Severity, Reason, String)> {
        let mut sighted = sighted(claims, &[]);
        sighted.external = Some(super::claims(secrets, stores));
        let mut outcome = Outcome::default();
        judge(&sighted, &Scopes::new(&sighted.observed, &[]), &mut outcome);
        outcome.findings.into_iter().map(|f| (f.severity, f.reason, f.subject.to_string())).collect()
    }

    #[test]
    fn one_key_for_several_scopes() {
        let stores = [store("a", ""), store("b", ""), store("other", "arn:aws:iam::123456789012:role/x")];
        let shared = [takes("payments-prod", "x", "a", "db"), takes("billing-prod", "y", "b", "db")];
        let expected = [(Severity::Error, Reason::KeyShared, "ExternalSecret billing-prod/y".to_owned())];
        assert_eq!(found(&shared, &stores, &[]), expected, "two stores reach one manager");
        assert_eq!(found(&shared, &[], &[]), [], "of unknown stores only the names tell");
        let apart = [takes("payments-prod", "x", "a", "db"), takes("billing-prod", "y", "other", "db")];
        assert_eq!(found(&apart, &stores, &[]), []);
        let one = [takes("payments-prod", "x", "a", "db"), takes("payments-prod", "y", "a", "db")];
        assert_eq!(found(&one, &stores, &[]), []);
        let alone = [takes("plain", "x", "a", "db"), takes("nowhere", "y", "a", "db")];
        assert_eq!(found(&alone, &stores, &[])[0].0, Severity::Warning, "no segments yet");
    }

    #[test]
    fn whatever_matches_is_warned_of() {
        let spec = json!({"secretStoreRef": {"name": "a", "kind": "ClusterSecretStore"},
            "dataFrom": [{"find": {"name": {"regexp": ".*"}}}, {"extract": {"key": "k"}}]});
        let all = found(&[object("ExternalSecret", Some("plain"), "x", spec)], &[store("a", "")], &[]);
        assert_eq!(all, [(Severity::Warning, Reason::KeyByPattern, "ExternalSecret plain/x".into())]);
    }

    #[test]
    fn a_key_that_a_scoped_secret_holds() {
        let held = [claim("payments-prod", "a", "payments/prod/db", 1, true)];
        let secrets = [
            takes("billing-prod", "thief", "a", "payments/prod/db"),
            takes("payments-prod", "own", "a", "payments/prod/db"),
        ];
        let all = found(&secrets[..1], &[store("a", "")], &held);
        assert_eq!(all, [(Severity::Error, Reason::KeyShared, "ExternalSecret billing-prod/thief".into())]);
        assert_eq!(found(&secrets[1..], &[store("a", "")], &held), []);
    }
}
