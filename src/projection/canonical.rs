//! Canonical bytes to digest: what was asked for, and what a Secret should hold. Every part carries its length, so that no
//! two different things give the same bytes.

use std::collections::{BTreeMap, BTreeSet};

use zeroize::Zeroizing;

use crate::api::scoped_secret::{
    DataFromItem, DataItem, RemoteRef, ScopedSecretSpec, StoreRef, Target, Template, WholeRemoteRef,
};

#[derive(Default)]
struct Canonical(Zeroizing<Vec<u8>>);

impl Canonical {
    fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
        self.0.extend_from_slice(bytes);
    }

    fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    fn maybe(&mut self, text: Option<&str>) {
        self.flag(text.is_some());
        text.into_iter().for_each(|text| self.text(text));
    }

    fn flag(&mut self, flag: bool) {
        self.0.push(u8::from(flag));
    }

    fn list<T>(&mut self, items: impl ExactSizeIterator<Item = T>, mut one: impl FnMut(&mut Self, T)) {
        self.0.extend_from_slice(&(items.len() as u64).to_be_bytes());
        items.for_each(|item| one(self, item));
    }

    fn map<'a>(&mut self, pairs: impl Iterator<Item = (&'a str, &'a [u8])>) {
        let sorted: BTreeMap<&str, &[u8]> = pairs.collect();
        self.list(sorted.into_iter(), |out, (key, value)| {
            out.text(key);
            out.bytes(value);
        });
    }

    fn texts(&mut self, map: &BTreeMap<String, String>) {
        self.map(map.iter().map(|(key, value)| (key.as_str(), value.as_bytes())));
    }
}

/// A set of names.
pub fn names_bytes(names: &BTreeSet<String>) -> Vec<u8> {
    let mut out = Canonical::default();
    out.text("scopedsecrets.io/names/v1");
    out.list(names.iter(), |out, name| out.text(name));
    out.0.to_vec()
}

/// The part of the spec that decides what is projected: storeRef, data, dataFrom and target. Fields at their default give
/// the same bytes as absent ones. Holds no value.
pub fn spec_bytes(spec: &ScopedSecretSpec) -> Vec<u8> {
    // Taken apart without `..`, so that a new field has to be decided on here.
    let ScopedSecretSpec {
        store_ref: StoreRef { name: store },
        data,
        data_from,
        target,
        consumers: _,
        refresh_interval: _,
        restart: _,
        deletion_policy: _,
        ttl: _,
        expiration_time: _,
        // What it adds is decided at each write, and kept in the seal.
        rotation: _,
    } = spec;
    let mut out = Canonical::default();
    out.text("scopedsecrets.io/spec/v1");
    out.text(store);
    out.list(data.iter(), |out, item| {
        let DataItem { secret_key, remote_ref: RemoteRef { key, property, version_stage, version_id } } = item;
        out.text(secret_key);
        out.text(key);
        out.maybe(property.as_deref());
        out.maybe(version_stage.as_deref());
        out.maybe(version_id.as_deref());
    });
    out.list(data_from.iter(), |out, item| {
        let DataFromItem { remote_ref: WholeRemoteRef { key, version_stage, version_id } } = item;
        out.text(key);
        out.maybe(version_stage.as_deref());
        out.maybe(version_id.as_deref());
    });
    let absent = Target::default();
    let Target { name, kind: _, immutable: _, template } = target.as_ref().unwrap_or(&absent);
    out.maybe(name.as_deref());
    out.text(spec.target_type());
    out.flag(spec.immutable());
    let absent = Template::default();
    let Template { labels, annotations, data } = template.as_ref().unwrap_or(&absent);
    [labels, annotations, data].into_iter().for_each(|map| out.texts(map));
    std::mem::take(&mut *out.0)
}

/// A Secret's content as it should stand. For a Secret read back, pass of its labels and annotations only those whose
/// keys are the template's: what others added is no drift, a changed or missing one is.
pub fn content_bytes<'a>(
    type_: &str,
    immutable: bool,
    data: impl Iterator<Item = (&'a str, &'a [u8])>,
    labels: impl Iterator<Item = (&'a str, &'a str)>,
    annotations: impl Iterator<Item = (&'a str, &'a str)>,
) -> Zeroizing<Vec<u8>> {
    let mut out = Canonical::default();
    out.text("scopedsecrets.io/content/v1");
    out.text(type_);
    out.flag(immutable);
    out.map(data);
    out.map(labels.map(|(key, value)| (key, value.as_bytes())));
    out.map(annotations.map(|(key, value)| (key, value.as_bytes())));
    out.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(json: serde_json::Value) -> Vec<u8> {
        spec_bytes(&serde_json::from_value(json).unwrap())
    }

    #[test]
    fn only_what_decides_the_projection_counts() {
        use serde_json::json;
        let plain = json!({"storeRef": {"name": "s"}, "data": [{"secretKey": "a", "remoteRef": {"key": "k"}}]});
        let with = |change: &dyn Fn(&mut serde_json::Value)| {
            let mut changed = plain.clone();
            change(&mut changed);
            spec(changed)
        };
        let same: [&dyn Fn(&mut serde_json::Value); 5] = [
            &|s| s["ttl"] = json!("12h"),
            &|s| s["refreshInterval"] = json!("5m"),
            &|s| s["consumers"] = json!([{"serviceAccountName": "x"}]),
            &|s| s["target"] = json!({}),
            &|s| s["target"] = json!({"type": "Opaque", "immutable": false, "template": {}}),
        ];
        for (n, change) in same.iter().enumerate() {
            assert_eq!(with(change), spec(plain.clone()), "same {n}");
        }
        let other: [&dyn Fn(&mut serde_json::Value); 11] = [
            &|s| s["storeRef"]["name"] = json!("t"),
            &|s| s["data"][0]["secretKey"] = json!("b"),
            &|s| s["data"][0]["remoteRef"]["key"] = json!("l"),
            &|s| s["data"][0]["remoteRef"]["property"] = json!("p"),
            &|s| s["data"][0]["remoteRef"]["versionStage"] = json!("p"),
            &|s| s["data"][0]["remoteRef"]["versionId"] = json!("p"),
            &|s| s["dataFrom"] = json!([{"remoteRef": {"key": "k"}}]),
            &|s| s["target"] = json!({"type": "kubernetes.io/tls"}),
            &|s| s["target"] = json!({"immutable": true}),
            &|s| s["target"] = json!({"template": {"labels": {"a": "b"}}}),
            &|s| s["target"] = json!({"template": {"annotations": {"a": "b"}}}),
        ];
        let mut seen = vec![spec(plain.clone())];
        for (n, change) in other.iter().enumerate() {
            let bytes = with(change);
            assert!(!seen.contains(&bytes), "other {n}");
            seen.push(bytes);
        }
    }

    #[test]
    fn content_is_the_same_in_any_order_and_nothing_runs_together() {
        let none = || std::iter::empty::<(&str, &str)>();
        let of = |data: &[(&'static str, &'static str)]| {
            content_bytes("Opaque", false, data.iter().map(|(k, v)| (*k, v.as_bytes())), none(), none()).to_vec()
        };
        assert_eq!(of(&[("a", "1"), ("b", "2")]), of(&[("b", "2"), ("a", "1")]));
        assert_ne!(of(&[("ab", "c")]), of(&[("a", "bc")]));
        assert_ne!(
            of(&[("a", "b")]),
            content_bytes("Opaque", true, [("a", &b"b"[..])].into_iter(), none(), none()).to_vec()
        );
        let label = content_bytes("Opaque", false, std::iter::empty(), [("a", "b")].into_iter(), none());
        let annotation = content_bytes("Opaque", false, std::iter::empty(), none(), [("a", "b")].into_iter());
        assert_ne!(*label, *annotation);
        assert_ne!(of(&[("a", "b")]), *label);
    }
}
