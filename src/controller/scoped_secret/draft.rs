//! The Secret as it is written: data, seal, owner and labels. Pure.

use crate::api::{MANAGED_BY, MANAGED_BY_LABEL, SEAL_ANNOTATION, ScopedSecretSpec};
use crate::controller::index::is_controller;
use crate::projection::{Projection, carries_away, content_bytes};
use crate::segmentation::copies::{SHORTEST, dedented};
use crate::segmentation::fingerprint::{Fingerprint, Strength, is_hard_to_guess, is_secret, strength};
use crate::segmentation::seal::{BrokenKeys, Digests, Print, SealKeys, SealRecord};
use crate::segmentation::second::Second;
use crate::segmentation::world::{Holding, KeyVersion, ObjectName};
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use std::collections::{BTreeMap, BTreeSet};

/// What a Secret is drafted from.
pub struct Draft<'a> {
    /// The Secret.
    pub secret: &'a ObjectName,
    /// The ScopedSecret's name.
    pub claim: &'a str,
    /// The ScopedSecret's uid.
    pub uid: &'a str,
    /// Its spec.
    pub spec: &'a ScopedSecretSpec,
    /// What was projected.
    pub projection: &'a Projection,
    /// What the seal will say.
    pub record: &'a SealRecord,
}

/// So many values of one Secret are compared: their fingerprints are in the seal.
pub const MAX_COMPARED: usize = 1024;

/// What all annotations of an object may have together (Kubernetes: TotalAnnotationSizeLimitB).
const MAX_ANNOTATION_BYTES: usize = 262_144;

/// The prints of a projection's values.
#[derive(Default)]
pub struct Prints {
    /// Of what is hard to guess.
    pub hard: Vec<Print>,
    /// Of what is not, and that nobody has by chance.
    pub weak: Vec<Fingerprint>,
}

/// The prints of a projection's values, without the blanks and line breaks around them: a copy seldom has those.
/// A value of several lines has another one without its indentation.
/// Each value is estimated once, which takes a fraction of a millisecond. None: there are more than [`MAX_COMPARED`].
pub fn prints(projection: &Projection, ignore: &BTreeSet<String>, keys: &SealKeys) -> Option<Prints> {
    let mut seen = BTreeSet::new();
    let mut found = Prints::default();
    for compared in &projection.compared {
        let value = compared.value.expose().trim_ascii();
        let print = keys.fingerprint(value);
        if value.len() < SHORTEST || !is_secret(&compared.names, value, ignore) || !seen.insert(print) {
            continue;
        }
        if seen.len() > 4 * MAX_COMPARED {
            return None;
        }
        match strength(value) {
            Strength::Hard => {
                found.hard.push(keys.print(value));
                // In a copy it may be indented otherwise.
                let plain = dedented(value).filter(|p| is_hard_to_guess(p) && seen.insert(keys.fingerprint(p)));
                found.hard.extend(plain.map(|plain| keys.print(&plain)));
            }
            // They decide nothing: those that are too many are left out.
            Strength::Weak if found.weak.len() < MAX_COMPARED => found.weak.push(print),
            _ => {}
        }
    }
    (found.hard.len() <= MAX_COMPARED).then_some(found)
}

/// The fingerprints that [`prints`] may have made of a value, under every generation of the key.
pub fn print_of(value: &[u8], keys: &SealKeys) -> Vec<Fingerprint> {
    let value = value.trim_ascii();
    let plain = dedented(value);
    keys.fingerprints(value).chain(plain.iter().flat_map(|plain| keys.fingerprints(plain))).collect()
}

/// Whether the annotations, the seal among them, are more than Kubernetes takes.
pub fn is_overloaded(secret: &Secret) -> bool {
    let annotations = secret.metadata.annotations.iter().flatten();
    annotations.map(|(key, value)| key.len() + value.len()).sum::<usize>() > MAX_ANNOTATION_BYTES
}

/// The digests of a projected content.
pub fn content_digests(spec: &ScopedSecretSpec, projection: &Projection, keys: &SealKeys) -> Digests {
    let data = projection.data.iter().map(|(k, v)| (k.as_str(), v.expose()));
    keys.digests(&content_bytes(
        spec.target_type(),
        spec.immutable(),
        data,
        pairs(&projection.labels),
        pairs(&projection.annotations),
    ))
}

/// The digests of what consumers read, and no more: without labels, and without values from before a rotation, which come and go
/// by themselves.
pub fn data_digests(projection: &Projection, keys: &SealKeys) -> Digests {
    let data = projection.data.iter().map(|(k, v)| (k.as_str(), v.expose()));
    let current = data.filter(|(key, _)| !key.starts_with("previous."));
    keys.digests(&content_bytes("", false, current, std::iter::empty(), std::iter::empty()))
}

/// The digests of a Secret as it was read, looking only at the labels and annotations that the spec sets.
pub fn read_digests(spec: &ScopedSecretSpec, secret: &Secret, keys: &SealKeys) -> Digests {
    let template = spec.target.as_ref().and_then(|t| t.template.as_ref());
    let pick = |wanted: Option<&BTreeMap<String, String>>,
                live: Option<&BTreeMap<String, String>>|
     -> BTreeMap<String, String> {
        let live = live.cloned().unwrap_or_default();
        live.into_iter().filter(|(k, _)| wanted.is_some_and(|w| w.contains_key(k))).collect()
    };
    let labels = pick(template.map(|t| &t.labels), secret.metadata.labels.as_ref());
    let annotations = pick(template.map(|t| &t.annotations), secret.metadata.annotations.as_ref());
    let data = secret.data.iter().flatten().map(|(k, v)| (k.as_str(), v.0.as_slice()));
    let kind = secret.type_.as_deref().unwrap_or("Opaque");
    keys.digests(&content_bytes(kind, secret.immutable.unwrap_or(false), data, pairs(&labels), pairs(&annotations)))
}

fn pairs(map: &BTreeMap<String, String>) -> impl Iterator<Item = (&str, &str)> {
    map.iter().map(|(k, v)| (k.as_str(), v.as_str()))
}

/// Since when the claim has held these keys: as its seal says, if that covers them all. In whole seconds, as a seal says it, so that of
/// two within one second the same is the earlier however each came to be known.
pub fn held_since(old: Option<&Holding>, versions: &[KeyVersion], now: Timestamp) -> Timestamp {
    let covered = |old: &Holding| versions.iter().all(|version| old.keys().any(|held| *held == version.key));
    old.filter(|old| covered(old)).map_or(Second::from(now).into(), |old| old.held_since)
}

/// Who owns the Secret of a claim: the claim, unless it is to outlive it.
pub fn owners(spec: &ScopedSecretSpec, claim: &str, uid: &str) -> Option<Vec<OwnerReference>> {
    let owner = OwnerReference {
        api_version: format!("{}/v1alpha1", crate::api::GROUP),
        kind: "ScopedSecret".into(),
        name: claim.to_owned(),
        uid: uid.to_owned(),
        controller: Some(true),
        block_owner_deletion: None,
    };
    (!spec.retain()).then(|| vec![owner])
}

/// Puts a managed Secret's metadata right, and leaves the labels and annotations of others that do no harm.
pub fn straighten(metadata: &mut ObjectMeta) {
    metadata.finalizers = None;
    metadata.owner_references.iter_mut().for_each(|owners| owners.retain(is_controller));
    metadata.labels.get_or_insert_default().insert(MANAGED_BY_LABEL.into(), MANAGED_BY.into());
    for map in [&mut metadata.labels, &mut metadata.annotations] {
        map.iter_mut().for_each(|map| map.retain(|key, _| key == SEAL_ANNOTATION || !carries_away(key)));
    }
}

impl Draft<'_> {
    /// The Secret, sealed.
    pub fn secret(&self, keys: &SealKeys, nonce: [u8; 12]) -> Result<Secret, BrokenKeys> {
        let mut labels = self.projection.labels.clone();
        labels.insert(MANAGED_BY_LABEL.into(), MANAGED_BY.into());
        let mut annotations = self.projection.annotations.clone();
        annotations.insert(SEAL_ANNOTATION.into(), keys.seal(self.secret, self.record, nonce)?);
        Ok(Secret {
            metadata: ObjectMeta {
                name: Some(self.secret.name.to_string()),
                namespace: Some(self.secret.namespace.to_string()),
                labels: Some(labels),
                annotations: Some(annotations),
                owner_references: owners(self.spec, self.claim, self.uid),
                ..ObjectMeta::default()
            },
            type_: Some(self.spec.target_type().to_owned()),
            immutable: self.spec.immutable().then_some(true),
            data: Some(
                self.projection.data.iter().map(|(k, v)| (k.clone(), ByteString(v.expose().to_vec()))).collect(),
            ),
            string_data: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::projection::Compared;
    use crate::provider::SecretBytes;
    use crate::segmentation::fixtures::claim;
    use crate::segmentation::seal::Generation;

    fn projection(values: impl IntoIterator<Item = String>) -> Projection {
        let compared = values
            .into_iter()
            .map(|value| Compared { names: vec!["token".into()], value: SecretBytes::from(value) })
            .collect();
        Projection { data: BTreeMap::new(), labels: BTreeMap::new(), annotations: BTreeMap::new(), compared }
    }

    #[test]
    fn since_when_is_what_a_seal_can_say() {
        let [begun, later]: [Timestamp; 2] =
            ["2026-01-01T00:00:00.9Z", "2026-01-02T00:00:00.1Z"].map(|t| t.parse().unwrap());
        let since = held_since(None, &[], begun);
        assert_eq!(since, Timestamp::from_second(begun.as_second()).unwrap());
        let held = Holding { held_since: since, ..Holding::of_claim(&claim("payments-prod", "orders"), vec![]) };
        assert_eq!(held_since(Some(&held), &[], later), since);
    }

    #[test]
    fn equal_values_count_once_and_too_many_are_refused() {
        let keys = SealKeys::new(Generation::from_random(&[1; 36], Timestamp::UNIX_EPOCH).unwrap());
        let count = |values: Projection| prints(&values, &BTreeSet::new(), &keys).map(|all| all.hard.len());
        let token = |i: usize| format!("kX9mQ2vL8nR5wT3z-{:016x}", (i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        assert_eq!(count(projection((0..200).map(|_| token(1)))), Some(1));
        assert_eq!(count(projection((0..MAX_COMPARED).map(token))), Some(MAX_COMPARED));
        assert_eq!(count(projection((0..=MAX_COMPARED).map(token))), None);
        assert_eq!(count(projection(["password".repeat(4)])), Some(0), "easy to guess");
        let pretty = "{\n  \"key\": \"kX9#mQ2$vL8@nR5!wT3z\",\n  \"id\": 7\n}".to_owned();
        assert_eq!(count(projection([pretty.clone()])), Some(2), "as it is, and without its indentation");
        assert_eq!(count(projection([pretty.clone(), pretty.replace("\n  ", "\n\t")])), Some(3), "which is the same");
        let found = prints(&projection([pretty]), &BTreeSet::new(), &keys).unwrap();
        assert!(found.hard.iter().all(|print| print.mark.is_some()));
        let weak = |value: &str| prints(&projection([value.to_owned()]), &BTreeSet::new(), &keys).unwrap().weak;
        assert_eq!(weak("  kX9#mQ2$vL8@\n"), [keys.fingerprint(b"kX9#mQ2$vL8@")]);
        for never in ["password", "12345678901", "db.example.com", "https://db.example.com", "kX9#mQ2", &token(1)] {
            assert_eq!(weak(never), [], "{never}");
        }
        let ignore = BTreeSet::from(["token".to_owned()]);
        assert_eq!(prints(&projection(["kX9#mQ2$vL8@".to_owned()]), &ignore, &keys).unwrap().weak, [], "ignored");
        let many = projection(
            (0..=MAX_COMPARED).map(|i| format!("x#{}", token(i).chars().rev().take(10).collect::<String>())),
        );
        assert_eq!(prints(&many, &BTreeSet::new(), &keys).unwrap().weak.len(), MAX_COMPARED);
    }
}
