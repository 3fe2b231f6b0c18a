//! The kinds of the External Secrets Operator (external-secrets.io). What its AWS provider does with a key: it asks for
//! `prefix + key`, by name or ARN (`providers/v1/aws/secretsmanager` in its repository).

use super::{Ask, ForeignStore, Source, What};
use crate::api::Reason;
use serde_json::Value;

/// Generators that make a value of their own and ask nobody.
const LOCAL_GENERATORS: [&str; 4] = ["Password", "UUID", "SSHKey", "Fake"];

/// What an ExternalSecret asks for.
pub fn external_secret(spec: &Value) -> Vec<Ask> {
    let mut asks = Vec::new();
    match items(spec, "data") {
        Ok(items) => asks.extend(items.iter().map(|item| {
            let store = store_of(&item["sourceRef"]["storeRef"], &spec["secretStoreRef"]);
            read("spec.data[].remoteRef", &item["remoteRef"], store)
        })),
        Err(ask) => asks.push(ask),
    }
    match items(spec, "dataFrom") {
        Ok(items) => asks.extend(items.iter().flat_map(|item| data_from(item, spec))),
        Err(ask) => asks.push(ask),
    }
    asks.extend(taken_along(&spec["target"]["template"]));
    asks
}

/// What a template takes from Secrets of the namespace is elsewhere then.
fn taken_along(template: &Value) -> impl Iterator<Item = Ask> {
    let templates = template["templateFrom"].as_array().into_iter().flatten();
    let taken = templates.filter_map(|from| from["secret"]["name"].as_str()).filter(|name| !name.is_empty());
    taken.map(|secret| Ask { key: "".into(), what: What::Push(Some(secret.into())) })
}

fn data_from(item: &Value, spec: &Value) -> Vec<Ask> {
    let (extract, find, generator) = (&item["extract"], &item["find"], &item["sourceRef"]["generatorRef"]);
    let mut asks = Vec::new();
    if !find.is_null() {
        asks.push(Ask::not_exact(
            "",
            "spec.dataFrom[].find takes whatever keys match: name each key, in data[].remoteRef.key or dataFrom[].extract.key",
        ));
    }
    if !extract.is_null() {
        let key = extract["key"].as_str().unwrap_or_default();
        let rewritten =
            !matches!(&item["rewrite"], Value::Null) && item["rewrite"].as_array().is_none_or(|r| !r.is_empty());
        asks.push(if rewritten {
            Ask::not_exact(
                key,
                "spec.dataFrom[].rewrite makes other names of what it takes: leave it out, or name each property in data[]",
            )
        } else {
            read("spec.dataFrom[].extract", extract, store_of(&item["sourceRef"]["storeRef"], &spec["secretStoreRef"]))
        });
    }
    if !generator.is_null() {
        let kind = generator["kind"].as_str().unwrap_or_default();
        if !LOCAL_GENERATORS.contains(&kind) {
            let text = format!(
                "spec.dataFrom[].sourceRef.generatorRef of kind {kind:?} gives credentials that no key names: use one of {}, or a key of this namespace's own",
                LOCAL_GENERATORS.join(", ")
            );
            asks.push(Ask::not_exact("", text));
        }
    }
    if asks.is_empty() && generator.is_null() {
        asks.push(Ask::not_exact(
            "",
            "an entry of spec.dataFrom names neither extract, find nor a generator: name a key in extract.key",
        ));
    }
    asks
}

/// What a PushSecret asks for.
pub fn push_secret(spec: &Value) -> Vec<Ask> {
    let mut asks = Vec::new();
    match &spec["selector"]["secret"] {
        Value::Null => {}
        secret => {
            let named = secret["name"].as_str().filter(|name| !name.is_empty());
            asks.push(Ask { key: "".into(), what: What::Push(named.map(Into::into)) });
        }
    }
    asks.extend(taken_along(&spec["template"]));
    let stores = spec["secretStoreRefs"].as_array().into_iter().flatten();
    let into: Box<[Source]> = stores.filter_map(|store| store_of(store, &Value::Null)).collect();
    for (field, key) in [("data", &["match", "remoteRef", "remoteKey"][..]), ("dataTo", &["remoteKey"][..])] {
        match items(spec, field) {
            Ok(items) => asks.extend(items.iter().map(|item| {
                let key = key.iter().fold(item, |value, part| &value[*part]).as_str().unwrap_or_default();
                Ask { key: key.into(), what: What::Write { into: into.clone() } }
            })),
            Err(ask) => asks.push(ask),
        }
    }
    asks
}

/// Where a store's keys live, from its spec.
pub fn store(spec: &Value) -> ForeignStore {
    let unclear = |why: String| ForeignStore::Unclear(why.into());
    let Some(provider) = spec["provider"].as_object() else {
        return unclear("it has no provider: write spec.provider.aws".into());
    };
    let (Some(aws), 1) = (provider.get("aws"), provider.len()) else {
        let names = provider.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        return unclear(format!(
            "its provider is {names}, and a policy allows keys of AWS Secrets Manager only: use a store with spec.provider.aws"
        ));
    };
    match &aws["service"] {
        Value::Null => {}
        Value::String(service) if service == "SecretsManager" => {}
        _ => {
            return unclear("it is not of AWS Secrets Manager: write spec.provider.aws.service: SecretsManager".into());
        }
    }
    let region = aws["region"].as_str().unwrap_or_default();
    if !is_region(region) {
        return unclear("it names no AWS region: write spec.provider.aws.region, such as eu-west-1".into());
    }
    let last = aws["additionalRoles"].as_array().and_then(|roles| roles.last()).unwrap_or(&Value::Null);
    let role = [&aws["role"], last].into_iter().find(|role| !role.is_null() && role.as_str() != Some(""));
    let account = match role.map(|role| role.as_str().and_then(account_of)) {
        None => None,
        Some(Some(account)) => Some(account.into()),
        Some(None) => {
            return unclear(
                "its role is no ARN, so that its account cannot be told: write arn:aws:iam::ACCOUNT:role/NAME".into(),
            );
        }
    };
    let prefix = match &aws["prefix"] {
        Value::Null => "".into(),
        Value::String(prefix) => prefix.as_str().into(),
        _ => return unclear("its prefix is no text".into()),
    };
    let auth = Some(&aws["auth"]).filter(|auth| auth.as_object().is_some_and(|auth| !auth.is_empty()));
    let auth = auth.map(Value::to_string).unwrap_or_default().into();
    ForeignStore::Aws { region: region.into(), account, prefix, auth }
}

/// Whether it looks like the name of a region.
pub(super) fn is_region(text: &str) -> bool {
    let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    (1..=64).contains(&text.len()) && text.bytes().all(plain)
}

/// The account in `arn:PARTITION:iam::ACCOUNT:role/NAME`.
fn account_of(role: &str) -> Option<&str> {
    let mut parts = role.splitn(6, ':');
    let head = [parts.next()?, parts.next()?, parts.next()?, parts.next()?];
    let (account, rest) = (parts.next()?, parts.next()?);
    let known = head[0] == "arn" && head[1].starts_with("aws") && head[2] == "iam" && head[3].is_empty();
    let digits = account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit());
    (known && digits && rest.starts_with("role/")).then_some(account)
}

fn items<'a>(spec: &'a Value, field: &str) -> Result<&'a [Value], Ask> {
    match &spec[field] {
        Value::Null => Ok(&[]),
        Value::Array(items) => Ok(items),
        _ => Err(Ask::not_exact("", format!("spec.{field} is no list"))),
    }
}

/// The store that an entry names, else the one that the object names.
fn store_of(own: &Value, common: &Value) -> Option<Source> {
    let reference = [own, common].into_iter().find(|r| r["name"].as_str().is_some_and(|name| !name.is_empty()))?;
    let cluster = match &reference["kind"] {
        Value::Null => false,
        Value::String(kind) => match kind.as_str() {
            "" | "SecretStore" => false,
            "ClusterSecretStore" => true,
            _ => return None,
        },
        _ => return None,
    };
    Some(Source::Store { cluster, name: reference["name"].as_str()?.into() })
}

fn read(place: &str, remote: &Value, store: Option<Source>) -> Ask {
    let Some(key) = remote["key"].as_str() else {
        return Ask::not_exact("", format!("{place} names no key: write {place}.key"));
    };
    let any_version = match &remote["version"] {
        Value::Null => false,
        Value::String(version) => !matches!(version.as_str(), "" | "AWSCURRENT"),
        _ => true,
    };
    match store {
        Some(from) => Ask { key: key.into(), what: What::Read { from, any_version } },
        None => Ask::outside(
            key,
            Reason::StoreUnresolved,
            "no SecretStore or ClusterSecretStore is named for it: write spec.secretStoreRef with name and kind",
        ),
    }
}
