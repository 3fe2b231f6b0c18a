//! The Secrets Store CSI driver's SecretProviderClass (secrets-store.csi.x-k8s.io) with the provider aws, whose objects are
//! a text in YAML: decoded as that provider decodes it, by sigs.k8s.io/yaml (`provider/secret_descriptor.go` in its
//! repository). Where decoders could differ (a field in another case, or twice), the key counts as not told.

use super::external_secrets::is_region;
use super::{Ask, Source, What};
use crate::api::Reason;
use crate::yaml::{Chunk, Node, Place, Value as Yaml, compose};
use serde_json::Value;

/// Bytes of the text.
const TEXT_LIMIT: usize = 64 * 1024;

/// The fields that are looked at.
const FIELDS: [&str; 5] = ["objectName", "objectType", "objectVersion", "objectVersionLabel", "failoverObject"];

/// What a SecretProviderClass asks for.
pub fn secret_provider_class(spec: &Value) -> Vec<Ask> {
    match spec["provider"].as_str().unwrap_or_default() {
        "aws" => {}
        other => {
            let why = format!(
                "its provider is {other:?}, and a policy allows keys of AWS Secrets Manager only: use provider aws"
            );
            return vec![Ask::outside("", Reason::StoreUnresolved, why)];
        }
    }
    let parameters = &spec["parameters"];
    let region = |field: &str| match &parameters[field] {
        Value::Null => Ok(None),
        Value::String(text) if text.is_empty() => Ok(None),
        Value::String(text) if is_region(text) => Ok(Some(text.as_str())),
        _ => Err(Ask::outside(
            "",
            Reason::StoreUnresolved,
            format!("parameters.{field} is no AWS region, such as eu-west-1"),
        )),
    };
    let (region, failover) = match (region("region"), region("failoverRegion")) {
        (Ok(region), Ok(failover)) => (region, failover),
        (Err(ask), _) | (_, Err(ask)) => return vec![ask],
    };
    let Some(text) = parameters["objects"].as_str() else {
        return vec![Ask::not_exact("", "parameters.objects is missing: list the objects there, as a text in YAML")];
    };
    match objects(text) {
        Ok(objects) => objects.iter().flat_map(|object| of_object(object, region, failover)).collect(),
        Err(why) => vec![Ask::not_exact("", format!("parameters.objects cannot be judged: {why}"))],
    }
}

fn objects(text: &str) -> Result<Vec<std::sync::Arc<Node>>, String> {
    if text.len() > TEXT_LIMIT {
        return Err(format!("it has more than {TEXT_LIMIT} bytes: divide it"));
    }
    let composed = compose(Chunk { text, from: Place::START })
        .map_err(|fault| format!("{} (line {}, column {})", fault.message, fault.at.line, fault.at.column))?;
    let Some(root) = composed else { return Ok(Vec::new()) };
    match (root.items(), &root.value) {
        (Some(items), _) => Ok(items.to_vec()),
        (None, Yaml::Null) => Ok(Vec::new()),
        _ => Err("it is no list of objects".into()),
    }
}

fn of_object(object: &Node, region: Option<&str>, failover: Option<&str>) -> Vec<Ask> {
    let failover_object = match fields(object).and_then(|()| match object.get("failoverObject") {
        Some(other) => fields(other).map(|()| Some(other)),
        None => Ok(None),
    }) {
        Ok(other) => other,
        Err(why) => return vec![Ask::not_exact("", why)],
    };
    let mut asks = vec![of_version(object, object, region)];
    let other = failover_object.filter(|other| other.text_at(&["objectName"]).is_some_and(|name| !name.is_empty()));
    if failover.is_some() || other.is_some() {
        asks.push(of_version(object, other.unwrap_or(object), failover));
    }
    asks
}

/// `named` is where its name and versions stand: the object itself, or its failoverObject.
fn of_version(object: &Node, named: &Node, region: Option<&str>) -> Ask {
    let text = |node: &Node, field: &str| match node.get(field).map(|found| &found.value) {
        None | Some(Yaml::Null) => Ok(String::new()),
        Some(Yaml::Text(text)) => Ok(text.clone()),
        Some(_) => Err(format!("{field} is no text in parameters.objects: write it in quotes")),
    };
    let read = || -> Result<(String, String, bool), String> {
        let versions = [text(named, "objectVersion")?, text(object, "objectVersion")?];
        let labels = [text(named, "objectVersionLabel")?, text(object, "objectVersionLabel")?];
        let any_version = versions.iter().any(|version| !version.is_empty())
            || labels.iter().any(|label| !matches!(label.as_str(), "" | "AWSCURRENT"));
        Ok((text(named, "objectName")?, text(object, "objectType")?, any_version))
    };
    let (key, kind, any_version) = match read() {
        Ok(read) => read,
        Err(why) => return Ask::not_exact("", why),
    };
    match kind.as_str() {
        "secretsmanager" => {}
        "" if key.starts_with("arn:") => {}
        "" => return Ask::not_exact(&key, "it has no objectType: write objectType: secretsmanager"),
        other => {
            let why = format!(
                "its objectType is {other:?}, and a policy allows keys of Secrets Manager only: write objectType: secretsmanager"
            );
            return Ask::outside(&key, Reason::KeyNotAllowed, why);
        }
    }
    let from = region.map_or(Source::NodeRegion, |region| Source::Region(region.into()));
    Ask { key: key.into(), what: What::Read { from, any_version } }
}

/// Whether the fields of an object mean the same to every decoder: Go matches them in any case, and of two takes the last.
fn fields(object: &Node) -> Result<(), String> {
    let Yaml::Map(entries) = &object.value else {
        return Err("an entry of parameters.objects is no object: write objectName and objectType".into());
    };
    for entry in entries {
        let alike = FIELDS.iter().find(|field| field.eq_ignore_ascii_case(&entry.key));
        match alike {
            Some(field) if **field != *entry.key => {
                return Err(format!("parameters.objects has the field {:?}: write it as {field}", entry.key));
            }
            _ if entry.repeats => {
                return Err(format!("parameters.objects has {:?} twice in one object: write it once", entry.key));
            }
            _ if !entry.key.is_ascii() => {
                return Err("parameters.objects has a field in other letters than ASCII: leave it out".into());
            }
            _ => {}
        }
    }
    Ok(())
}
