//! One ExternalSecret, read into what a ScopedSecret can say, and what it cannot.

use super::stores::{Store, Stores};
use super::{Told, note};
use crate::api::duration;
use crate::api::{Reason, ScopedSecretSpec};
use crate::cli::init::found::Foreign;
use crate::cli::report::Severity;
use crate::projection::check_spec;
use crate::segmentation::key::RemoteKey;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// One value, or one whole key.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// The key that it asks for.
    pub key: RemoteKey,
    /// Whether it asks for another version than the current one.
    pub any_version: bool,
    /// Its key in the Secret; None: every property of the remote key.
    pub secret_key: Option<String>,
    remote: Value,
}

/// What can be carried over.
#[derive(Debug)]
pub struct Draft<'a> {
    /// Theirs.
    pub theirs: &'a Foreign,
    /// The store of all items.
    pub store: Option<&'a Store>,
    /// What is claimed.
    pub items: Vec<Item>,
    /// The Secret's name.
    pub target: String,
    /// What is said of it.
    pub told: Vec<Told>,
}

impl<'a> Draft<'a> {
    /// Reads one.
    pub fn of(theirs: &'a Foreign, stores: &'a Stores) -> Self {
        let target = theirs.spec["target"]["name"].as_str().unwrap_or(&theirs.name).to_owned();
        let mut draft = Self { theirs, store: None, items: Vec::new(), target, told: Vec::new() };
        for (at, item) in list(&theirs.spec["data"]).iter().enumerate() {
            draft.value(at, item, stores);
        }
        for (at, item) in list(&theirs.spec["dataFrom"]).iter().enumerate() {
            draft.whole(at, item, stores);
        }
        if draft.items.is_empty() && draft.told.is_empty() {
            draft.lost("it names no key: neither spec.data nor spec.dataFrom is a list of what it takes");
        }
        draft
    }

    /// Says something of it.
    pub fn say(&mut self, severity: Severity, reason: Reason, message: impl AsRef<str>) {
        self.told.push(note(self.theirs, severity, reason, message.as_ref()));
    }

    /// Something has no match.
    pub fn lost(&mut self, message: impl AsRef<str>) {
        self.say(Severity::Error, Reason::NotCarriedOver, message);
    }

    fn value(&mut self, at: usize, item: &Value, stores: &'a Stores) {
        let place = format!("data[{at}]");
        let secret_key = item["secretKey"].as_str().unwrap_or_default().to_owned();
        let Some(mut taken) = self.remote(&place, &item["remoteRef"], &item["sourceRef"]["storeRef"], stores) else {
            return;
        };
        match item["remoteRef"]["property"].as_str().unwrap_or_default() {
            "" => {}
            property => match pointer(property) {
                Some(ours) => {
                    if ours != property {
                        self.say(Severity::Warning, Reason::NotCarriedOver, format!(
                            "{place}: the property {property:?} is a path there, and is written as {ours:?} here; if it is the whole name of a property, write it as it was"
                        ));
                    }
                    taken.remote["property"] = ours.into();
                }
                None => {
                    return self.lost(format!(
                        "{place}: the property {property:?} is a search: name one property, or a JSON pointer"
                    ));
                }
            },
        }
        taken.secret_key = Some(secret_key);
        self.items.push(taken);
    }

    fn whole(&mut self, at: usize, item: &Value, stores: &'a Stores) {
        let place = format!("dataFrom[{at}]");
        if !item["find"].is_null() {
            self.say(
                Severity::Error,
                Reason::KeyNotExact,
                format!("{place}.find takes whatever keys match: name each key in data or dataFrom"),
            );
        }
        if !item["sourceRef"]["generatorRef"].is_null() {
            self.lost(format!("{place} asks a generator: nothing here makes values but spec.rotation with strategy Generate, which stores them in the manager"));
        }
        let extract = &item["extract"];
        if extract.is_null() {
            return;
        }
        if !list(&item["rewrite"]).is_empty() {
            return self.say(Severity::Error, Reason::KeyNotExact, format!("{place}.rewrite makes other names: name each property in data, with the secretKey that it is to have"));
        }
        if extract["property"].as_str().is_some_and(|property| !property.is_empty()) {
            return self.lost(format!(
                "{place}.extract.property takes a part of the value: name each property in data, by a JSON pointer"
            ));
        }
        if let Some(taken) = self.remote(&place, extract, &item["sourceRef"]["storeRef"], stores) {
            self.items.push(taken);
        }
    }

    /// What both kinds of entries say of a key.
    fn remote(&mut self, place: &str, remote: &Value, own: &Value, stores: &'a Stores) -> Option<Item> {
        for (field, harmless) in
            [("metadataPolicy", "None"), ("decodingStrategy", "None"), ("nullBytePolicy", "Ignore")]
        {
            if remote[field].as_str().is_some_and(|set| !set.is_empty() && set != harmless) {
                let decode = if field == "decodingStrategy" {
                    " (a template may decode it: {{ NAME | b64decode }})"
                } else {
                    ""
                };
                let text = format!(
                    "{place}: {field} {} has no match here: what the manager holds is what arrives{decode}",
                    remote[field]
                );
                self.lost(text);
                return None;
            }
        }
        let reference = if own["name"].as_str().is_some_and(|name| !name.is_empty()) {
            own
        } else {
            &self.theirs.spec["secretStoreRef"]
        };
        let Some(store) = stores.get(&self.theirs.namespace, reference) else {
            let name = reference["name"].as_str().unwrap_or_default();
            self.say(
                Severity::Error,
                Reason::StoreUnresolved,
                format!("{place} asks the store {name:?}, which is not there or cannot be carried over"),
            );
            return None;
        };
        let first = *self.store.get_or_insert(store);
        if first.name != store.name {
            self.lost(format!("{place} asks another store than the entries before it: a ScopedSecret has one; claim it by a ScopedSecret of its own"));
            return None;
        }
        let written = format!("{}{}", store.prefix, remote["key"].as_str().unwrap_or_default());
        let key = match RemoteKey::parse(&written) {
            // In the store's own account the name says it all.
            Ok(RemoteKey::Arn(arn)) if (&arn.region, &arn.account) == (&store.place.0, &store.place.1) => {
                RemoteKey::Name(arn.name)
            }
            Ok(key) => key,
            Err(why) => {
                self.say(Severity::Error, Reason::InvalidKey, format!("{place}: the key {written:?}: {why}"));
                return None;
            }
        };
        let mut ours = json!({"key": key.as_written()});
        let version = remote["version"].as_str().unwrap_or_default();
        let any_version = !matches!(version, "" | "AWSCURRENT");
        match version.strip_prefix("uuid/") {
            _ if !any_version => {}
            Some(id) => ours["versionId"] = id.into(),
            None => ours["versionStage"] = version.into(),
        }
        Some(Item { key, any_version, secret_key: None, remote: ours })
    }

    /// The ScopedSecret's spec, of the items that are left; None if there are none.
    pub fn spec(&mut self, consumers: Option<&BTreeSet<String>>, suffix: &str) -> Option<Value> {
        let store = self.store.filter(|_| !self.items.is_empty())?;
        let (target, renamed) = self.target(suffix);
        let mut data = Vec::new();
        for item in &self.items {
            if let Some(key) = &item.secret_key {
                data.push(json!({"secretKey": renamed.get(key).unwrap_or(key), "remoteRef": item.remote}));
            }
        }
        let whole = self.items.iter().filter(|item| item.secret_key.is_none());
        let whole: Vec<Value> = whole.map(|item| json!({"remoteRef": item.remote})).collect();
        let written = self.theirs.spec["target"]["template"]["data"].as_object().is_some_and(|data| !data.is_empty());
        if !whole.is_empty() && (whole.len() > 1 || !data.is_empty() || written) {
            self.say(Severity::Warning, Reason::NotCarriedOver, "of a name that two of its entries give the last one's value was taken there; here no name may come twice (DuplicateSecretKey): if one does, name each property in data instead of its whole key in dataFrom");
        }
        let consumers: Vec<Value> =
            consumers.into_iter().flatten().map(|name| json!({"serviceAccountName": name})).collect();
        let mut spec = Map::new();
        spec.insert("storeRef".into(), json!({"name": store.name}));
        for (field, entries) in [("consumers", consumers), ("data", data), ("dataFrom", whole)] {
            if !entries.is_empty() {
                spec.insert(field.into(), entries.into());
            }
        }
        if !target.is_empty() {
            spec.insert("target".into(), target.into());
        }
        if let Some(interval) = self.refresh() {
            spec.insert("refreshInterval".into(), interval.into());
        }
        match self.theirs.spec["target"]["creationPolicy"].as_str().unwrap_or("Owner") {
            "Orphan" => drop(spec.insert("deletionPolicy".into(), "Retain".into())),
            "Owner" => {}
            "None" => {
                self.lost("target.creationPolicy None makes no Secret: there is nothing to carry over");
                return None;
            }
            other => self.lost(format!("target.creationPolicy {other} writes into a Secret that somebody else made: here it becomes a Secret of its own, whose name must be free")),
        }
        if !matches!(&self.theirs.spec["syncWindows"], Value::Null) {
            self.say(Severity::Warning, Reason::NotCarriedOver, "syncWindows: here a Secret is refreshed at any time; with refreshInterval 0s only when it is asked for (scopedsecrets.io/refresh-at)");
        }
        let theirs = &self.theirs.spec["target"];
        let gone = theirs["deletionPolicy"].as_str().unwrap_or("Retain").to_owned();
        if gone != "Retain" {
            self.say(Severity::Warning, Reason::NotCarriedOver, format!("target.deletionPolicy {gone}: here a Secret stays when its remote key is gone, and the ScopedSecret says RemoteMissing"));
        }
        Some(spec.into())
    }

    /// How often it is asked.
    fn refresh(&mut self) -> Option<String> {
        if matches!(self.theirs.spec["refreshPolicy"].as_str(), Some("CreatedOnce" | "OnChange")) {
            return Some("0s".into());
        }
        let written = self.theirs.spec["refreshInterval"].as_str()?;
        match duration::parse(written) {
            Ok(interval) => {
                let ours = duration::humanize(interval);
                if duration::parse(&ours) != Ok(interval) {
                    self.say(
                        Severity::Warning,
                        Reason::NotCarriedOver,
                        format!("refreshInterval {written:?}: it is written as {ours} here"),
                    );
                }
                Some(ours)
            }
            Err(_) => {
                self.lost(format!("refreshInterval {written:?} cannot be read"));
                None
            }
        }
    }
}

/// Why no ScopedSecret may be written so.
pub fn refused(spec: &Value) -> Option<String> {
    match serde_json::from_value::<ScopedSecretSpec>(spec.clone()) {
        Ok(spec) => check_spec(&spec).err().map(|error| error.message.to_string()),
        Err(error) => Some(error.to_string()),
    }
}

/// A property there is a path of gjson; here it is one name, or a JSON pointer.
fn pointer(property: &str) -> Option<String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_-/ :@".contains(&b);
    let begins = property.bytes().next().is_some_and(|b| b != b'@');
    if !begins || !property.bytes().all(|b| plain(b) || b == b'.') || property.split('.').any(str::is_empty) {
        return None;
    }
    let path = property.contains('.') || property.starts_with('/');
    let part = |part: &str| format!("/{}", part.replace('~', "~0").replace('/', "~1"));
    Some(if path { property.split('.').map(part).collect() } else { property.to_owned() })
}

/// The items; none if it is no list.
pub fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_property_is_one_name_or_a_pointer() {
        for (theirs, ours) in [
            ("password", Some("password")),
            ("db.password", Some("/db/password")),
            ("users.0.name", Some("/users/0/name")),
            ("/odd", Some("/~1odd")),
            ("a/b", Some("a/b")),
            ("users.#(name==\"x\").id", None),
            ("a*", None),
            ("a|b", None),
            ("a..b", None),
            ("@keys", None),
            ("", None),
        ] {
            assert_eq!(pointer(theirs).as_deref(), ours, "{theirs}");
        }
    }
}
