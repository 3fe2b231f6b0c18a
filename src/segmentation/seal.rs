//! The seal: one annotation on a managed Secret that says, to us alone, what it holds and for whom.
//!
//! AES-256-GCM-SIV over a small record, bound to the Secret's namespace and name. It reveals nothing (equal values do not
//! look equal), cannot be forged or moved, proves that a Secret is ours after a restore or an orphaning, and lets a restart
//! rebuild claims and fingerprints from a metadata watch without reading one value.
//!
//! Format: `v1.GENERATION.BASE64URL(nonce || ciphertext)`.

use super::copies::{MARKER_BYTES, Mark, Marker, Marks, sealed_fingerprints};
use super::fingerprint::Fingerprint;
use super::followed::Followed;
use super::key::CanonicalKey;
use super::restart::{Due, Restart};
use super::rotated::Rotated;
use super::second::Second;
use super::world::{Holding, KeyVersion, ObjectName};
use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::{hkdf, hmac};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;
use zeroize::Zeroizing;

/// What a seal says.
#[derive(Debug, Clone, PartialEq)]
pub struct SealRecord {
    /// What the Secret holds, and for whom: what decides.
    pub holding: Arc<Holding>,
    /// Of the part of the spec that decides what is projected.
    pub spec: Digest,
    /// Of the Secret's content, to tell drift from a read.
    pub content: Digest,
    /// Of the names whose values were not compared: with other names there are other fingerprints.
    pub ignore: Digest,
    /// The refresh-at that was handled.
    pub refresh_at: Option<Box<str>>,
    /// For which value its consumers are restarted, where they are.
    pub restart: Option<Box<Restart>>,
    /// How far the rotations of its key are.
    pub rotation: Option<Box<Rotated>>,
    /// What those come after.
    pub followed: Option<Box<Followed>>,
}

/// A keyed digest: for what must be compared but not revealed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Digest([u8; 16]);

impl Digest {
    fn from_sealed(text: &str) -> Option<Self> {
        Some(Self(BASE64.decode(text).ok()?.try_into().ok()?))
    }
}

/// Hexadecimal, 32 characters.
impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest")
    }
}

/// The digests of the same bytes under every generation of the key, the current one first.
#[derive(Debug, Clone)]
pub struct Digests(Vec<Digest>);

impl Digests {
    /// The one that goes into a seal.
    pub fn current(&self) -> Digest {
        self.0[0]
    }

    /// Each, the current one first.
    pub fn iter(&self) -> impl Iterator<Item = &Digest> {
        self.0.iter()
    }

    /// Whether a seal, of whatever generation, says the same.
    pub fn contains(&self, sealed: &Digest) -> bool {
        self.0.contains(sealed)
    }
}

/// Why a seal says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BrokenSeal {
    /// It was sealed under a key that we do not have.
    #[error("it was sealed under another key")]
    UnknownGeneration,
    /// It was forged, altered, or moved from another Secret.
    #[error("it was forged, altered or moved")]
    Invalid,
}

/// One generation of the seal key.
pub struct Generation {
    /// Its id: eight hexadecimal digits, public.
    pub id: String,
    /// When it was made.
    pub created: Timestamp,
    master: Zeroizing<[u8; 32]>,
    sealing: LessSafeKey,
    fingerprinting: hmac::Key,
    digesting: hmac::Key,
    /// Its number in memory, derived from the key.
    number: u32,
    marker: Box<Marker>,
}

/// What is kept of a value that is compared between segments.
pub struct Print {
    /// Its fingerprint under every generation of the key, the current one first.
    pub fingerprints: Box<[Fingerprint]>,
    /// What finds copies of it, under the current one.
    pub mark: Option<Mark>,
}

/// The generations of the seal key: the first seals, all open.
pub struct SealKeys {
    generations: Vec<Generation>,
    /// Since when they have been where they are kept.
    kept_since: Timestamp,
}

/// Why a stored key cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BrokenKeys {
    /// The stored text is not what we write.
    #[error("the seal key cannot be read")]
    Unreadable,
    /// The library refused.
    #[error("the cryptographic library failed")]
    Crypto,
}

#[derive(Serialize, Deserialize)]
struct StoredGeneration {
    id: String,
    created: Timestamp,
    key: Zeroizing<String>,
}

/// The record as it is encrypted; short names keep the annotation small.
#[derive(Serialize, Deserialize)]
struct Wire {
    c: String,
    k: Vec<(String, String)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    d: Vec<Option<i64>>,
    h: i64,
    f: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    m: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    w: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    o: String,
    s: String,
    x: String,
    i: String,
    #[serde(default)]
    r: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    e: Option<i64>,
    #[serde(default)]
    n: bool,
    #[serde(default)]
    p: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    t: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    a: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    v: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    u: Option<(String, i64)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    q: Option<Box<Rotated>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    l: Option<Box<Followed>>,
}

const NONCE_LEN: usize = 12;

impl Generation {
    /// A generation from 36 random bytes: 4 for its id, 32 for its key.
    pub fn from_random(random: &[u8; 36], created: Timestamp) -> Result<Self, BrokenKeys> {
        let id = random[..4].iter().map(|b| format!("{b:02x}")).collect();
        let mut master = Zeroizing::new([0; 32]);
        master.copy_from_slice(&random[4..]);
        Self::new(id, created, master)
    }

    fn new(id: String, created: Timestamp, master: Zeroizing<[u8; 32]>) -> Result<Self, BrokenKeys> {
        let derive = |purpose: &[u8]| {
            let mut key = Zeroizing::new([0; 32]);
            derive_into(&master, purpose, &mut *key).map(|()| key)
        };
        let mut marking = Zeroizing::new([0; MARKER_BYTES]);
        derive_into(&master, b"mark", &mut *marking)?;
        let mut number = [0; 4];
        derive_into(&master, b"number", &mut number)?;
        let sealing = UnboundKey::new(&AES_256_GCM_SIV, &*derive(b"seal")?).map_err(|_| BrokenKeys::Crypto)?;
        Ok(Self {
            fingerprinting: hmac::Key::new(hmac::HMAC_SHA256, &*derive(b"fingerprint")?),
            digesting: hmac::Key::new(hmac::HMAC_SHA256, &*derive(b"digest")?),
            sealing: LessSafeKey::new(sealing),
            number: u32::from_be_bytes(number),
            marker: Box::new(Marker::new(&marking)),
            id,
            created,
            master,
        })
    }

    /// What signs the record of what happened; it opens no seal.
    pub fn record_key(&self) -> Result<Zeroizing<[u8; 32]>, BrokenKeys> {
        let mut key = Zeroizing::new([0; 32]);
        derive_into(&self.master, b"record", &mut *key).map(|()| key)
    }

    fn fingerprint(&self, value: &[u8]) -> Fingerprint {
        let mut short = [0; 16];
        short.copy_from_slice(&hmac::sign(&self.fingerprinting, value).as_ref()[..16]);
        Fingerprint(short)
    }

    fn digest(&self, bytes: &[u8]) -> Digest {
        let mut short = [0; 16];
        short.copy_from_slice(&hmac::sign(&self.digesting, bytes).as_ref()[..16]);
        Digest(short)
    }

    fn seal(&self, secret: &ObjectName, record: &SealRecord, nonce: [u8; NONCE_LEN]) -> Result<String, BrokenKeys> {
        let holding = &record.holding;
        let wire = Wire {
            c: holding.claim.to_string(),
            k: holding.versions.iter().map(|v| (v.key.as_str().to_owned(), v.id.to_string())).collect(),
            d: holding.versions.iter().map(|v| v.created.map(Second::get)).collect(),
            h: holding.held_since.as_second(),
            f: BASE64.encode(sealed_fingerprints(&holding.fingerprints)),
            m: BASE64.encode(holding.marks.to_sealed()),
            w: BASE64.encode(sealed_fingerprints(holding.marks.weak())),
            o: BASE64.encode(sealed_fingerprints(holding.marks.within())),
            s: BASE64.encode(record.spec.0),
            x: BASE64.encode(record.content.0),
            i: BASE64.encode(record.ignore.0),
            r: holding.retain,
            e: holding.ends.map(Second::get),
            n: holding.consumed,
            p: holding.pinned,
            t: holding.target_type.as_deref().map(str::to_owned),
            a: record.refresh_at.as_deref().map(str::to_owned),
            v: record.restart.as_ref().map(|restart| BASE64.encode(restart.data.0)),
            u: record
                .restart
                .as_ref()
                .and_then(|restart| restart.due.as_ref().map(|due| (due.token.to_string(), due.since.get()))),
            q: record.rotation.clone(),
            l: record.followed.clone(),
        };
        let mut sealed = serde_json::to_vec(&wire).map_err(|_| BrokenKeys::Crypto)?;
        self.sealing
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), bound_to(secret, &self.id), &mut sealed)
            .map_err(|_| BrokenKeys::Crypto)?;
        let mut text = nonce.to_vec();
        text.append(&mut sealed);
        Ok(format!("v1.{}.{}", self.id, BASE64.encode(text)))
    }
}

impl SealKeys {
    /// Keys of one generation.
    pub fn new(first: Generation) -> Self {
        Self { generations: vec![first], kept_since: Timestamp::MIN }
    }

    /// The same, kept since this time: a seal of an unknown generation is one of a lost key only on what is older.
    pub fn kept_since(self, kept_since: Timestamp) -> Self {
        Self { kept_since, ..self }
    }

    /// Opens the seal of a Secret that was made at a time. One that no key that was lost can have made is forged.
    pub fn open_of(&self, secret: &ObjectName, made: Option<Timestamp>, text: &str) -> Result<SealRecord, BrokenSeal> {
        self.open(secret, text).map_err(|broken| match made {
            Some(made) if made <= self.kept_since => broken,
            _ => BrokenSeal::Invalid,
        })
    }

    /// Makes a new generation current and keeps the one before it.
    pub fn rotate(self, next: Generation) -> Self {
        Self { generations: std::iter::once(next).chain(self.generations.into_iter().take(1)).collect(), ..self }
    }

    /// The generation that seals.
    pub fn current(&self) -> &Generation {
        &self.generations[0]
    }

    /// Each generation, the one that seals first.
    pub fn generations(&self) -> impl Iterator<Item = &Generation> {
        self.generations.iter()
    }

    /// Seals a record for one Secret.
    pub fn seal(&self, secret: &ObjectName, record: &SealRecord, nonce: [u8; NONCE_LEN]) -> Result<String, BrokenKeys> {
        self.current().seal(secret, record, nonce)
    }

    /// Seals under the generation of the seal that stood before: what is in the record is still of that one.
    pub fn seal_again(
        &self,
        secret: &ObjectName,
        record: &SealRecord,
        nonce: [u8; NONCE_LEN],
        before: &str,
    ) -> Result<String, BrokenKeys> {
        let id = before.split('.').nth(1);
        let generation = self.generations.iter().find(|generation| Some(&*generation.id) == id);
        generation.unwrap_or_else(|| self.current()).seal(secret, record, nonce)
    }

    /// Opens the seal of one Secret.
    pub fn open(&self, secret: &ObjectName, text: &str) -> Result<SealRecord, BrokenSeal> {
        let mut parts = text.splitn(3, '.');
        let (Some("v1"), Some(id), Some(body)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(BrokenSeal::Invalid);
        };
        let generation = self.generations.iter().find(|g| g.id == id).ok_or(BrokenSeal::UnknownGeneration)?;
        let mut body = BASE64.decode(body).map_err(|_| BrokenSeal::Invalid)?;
        if body.len() < NONCE_LEN {
            return Err(BrokenSeal::Invalid);
        }
        let mut sealed = body.split_off(NONCE_LEN);
        let nonce = Nonce::try_assume_unique_for_key(&body).map_err(|_| BrokenSeal::Invalid)?;
        let plain = generation
            .sealing
            .open_in_place(nonce, bound_to(secret, id), &mut sealed)
            .map_err(|_| BrokenSeal::Invalid)?;
        let wire: Wire = serde_json::from_slice(plain).map_err(|_| BrokenSeal::Invalid)?;
        let fingerprints = BASE64.decode(&wire.f).map_err(|_| BrokenSeal::Invalid)?;
        let digest = |text: &str| Digest::from_sealed(text).ok_or(BrokenSeal::Invalid);
        let dates = wire.d.into_iter().chain(std::iter::repeat(None));
        let versions = wire.k.into_iter().zip(dates).map(|((key, id), created)| KeyVersion {
            key: CanonicalKey::from_sealed(&key),
            id: id.into(),
            created: created.and_then(Second::from_unix),
        });
        let fingerprints: Box<[Fingerprint]> =
            fingerprints.chunks_exact(16).filter_map(|c| Some(Fingerprint(c.try_into().ok()?))).collect();
        let marks = BASE64.decode(&wire.m).map_err(|_| BrokenSeal::Invalid)?;
        let weak = BASE64.decode(&wire.w).map_err(|_| BrokenSeal::Invalid)?;
        let due = wire.u.map(|(token, since)| Due {
            token: token.into(),
            since: Second::from_unix(since).unwrap_or(Timestamp::MAX.into()),
        });
        let restart = match wire.v {
            Some(data) => Some(Restart { data: digest(&data)?, due }),
            None => None,
        };
        let within = BASE64.decode(&wire.o).map_err(|_| BrokenSeal::Invalid)?;
        let marks = Marks::from_sealed(generation.number, &marks, fingerprints.len());
        let holding = Holding {
            claim: wire.c.into(),
            versions: versions.collect(),
            held_since: Timestamp::from_second(wire.h).map_err(|_| BrokenSeal::Invalid)?,
            marks: marks.beside_sealed(&weak, &within),
            fingerprints,
            retain: wire.r,
            ends: wire.e.map(|end| Second::from_unix(end).unwrap_or(Timestamp::MIN.into())),
            consumed: wire.n,
            pinned: wire.p,
            target_type: wire.t.map(Into::into),
        };
        Ok(SealRecord {
            holding: Arc::new(holding),
            spec: digest(&wire.s)?,
            content: digest(&wire.x)?,
            ignore: digest(&wire.i)?,
            refresh_at: wire.a.map(Into::into),
            restart: restart.map(Box::new),
            rotation: wire.q,
            followed: wire.l,
        })
    }

    /// Whether a seal was made by the current generation: else it is renewed when its values are next in hand.
    pub fn is_current(&self, text: &str) -> bool {
        text.strip_prefix("v1.")
            .and_then(|t| t.strip_prefix(self.current().id.as_str()))
            .is_some_and(|t| t.starts_with('.'))
    }

    /// The fingerprint that goes into a seal.
    pub fn fingerprint(&self, value: &[u8]) -> Fingerprint {
        self.current().fingerprint(value)
    }

    /// The fingerprints that the value has under every generation: seals of the one before may still stand.
    pub fn fingerprints(&self, value: &[u8]) -> impl Iterator<Item = Fingerprint> {
        self.generations.iter().map(move |g| g.fingerprint(value))
    }

    /// What is kept of a value that is compared.
    pub fn print(&self, value: &[u8]) -> Print {
        Print { fingerprints: self.fingerprints(value).collect(), mark: self.current().marker.mark(value) }
    }

    /// The prints of what one Secret holds, as they go into its seal.
    pub fn sealed_prints(&self, prints: &[Print]) -> (Box<[Fingerprint]>, Marks) {
        let fingerprints: Box<[_]> = prints.iter().filter_map(|print| print.fingerprints.first().copied()).collect();
        let each = prints.iter().filter_map(|print| print.mark).collect();
        (fingerprints, Marks::new(self.current().number, each))
    }

    /// What made the marks of a generation; None: its key is gone.
    pub fn marker(&self, generation: u32) -> Option<&Marker> {
        self.numbered(generation).map(|g| &*g.marker)
    }

    /// The fingerprint under a generation.
    pub fn fingerprint_under(&self, generation: u32, value: &[u8]) -> Option<Fingerprint> {
        self.numbered(generation).map(|g| g.fingerprint(value))
    }

    fn numbered(&self, number: u32) -> Option<&Generation> {
        self.generations.iter().find(|g| g.number == number)
    }

    /// The digest under the current generation.
    pub fn digest(&self, bytes: &[u8]) -> Digest {
        self.current().digest(bytes)
    }

    /// The digests under every generation: what was sealed under the one before still compares.
    pub fn digests(&self, bytes: &[u8]) -> Digests {
        Digests(self.generations.iter().map(|g| g.digest(bytes)).collect())
    }

    /// As stored in the key Secret.
    pub fn to_stored(&self) -> Result<Zeroizing<Vec<u8>>, BrokenKeys> {
        let stored: Vec<StoredGeneration> = self
            .generations
            .iter()
            .map(|g| StoredGeneration {
                id: g.id.clone(),
                created: g.created,
                key: Zeroizing::new(BASE64.encode(*g.master)),
            })
            .collect();
        serde_json::to_vec(&stored).map(Zeroizing::new).map_err(|_| BrokenKeys::Unreadable)
    }

    /// From the key Secret.
    pub fn from_stored(bytes: &[u8]) -> Result<Self, BrokenKeys> {
        let stored: Vec<StoredGeneration> = serde_json::from_slice(bytes).map_err(|_| BrokenKeys::Unreadable)?;
        let generations = stored
            .into_iter()
            .map(|g| {
                let bytes = Zeroizing::new(BASE64.decode(g.key.as_bytes()).map_err(|_| BrokenKeys::Unreadable)?);
                let mut master = Zeroizing::new([0; 32]);
                if bytes.len() != master.len() {
                    return Err(BrokenKeys::Unreadable);
                }
                master.copy_from_slice(&bytes);
                Generation::new(g.id, g.created, master)
            })
            .collect::<Result<Vec<_>, _>>()?;
        if generations.is_empty() {
            Err(BrokenKeys::Unreadable)
        } else {
            Ok(Self { generations, kept_since: Timestamp::MIN })
        }
    }
}

/// Derives a key for one purpose.
fn derive_into(master: &[u8; 32], purpose: &[u8], key: &mut [u8]) -> Result<(), BrokenKeys> {
    hkdf::Salt::new(hkdf::HKDF_SHA256, b"scopedsecrets.io")
        .extract(master)
        .expand(&[purpose], Length(key.len()))
        .and_then(|okm| okm.fill(key))
        .map_err(|_| BrokenKeys::Crypto)
}

/// So many bytes derived from a key.
struct Length(usize);

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

fn bound_to(secret: &ObjectName, generation: &str) -> Aad<Vec<u8>> {
    // Neither a namespace nor a Secret's name can have a NUL.
    Aad::from(format!("scopedsecrets.io/seal/v1\0{generation}\0{}\0{}", secret.namespace, secret.name).into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(seed: u8) -> SealKeys {
        SealKeys::new(Generation::from_random(&[seed; 36], Timestamp::UNIX_EPOCH).unwrap())
    }

    fn record() -> SealRecord {
        let key = CanonicalKey::from_sealed("aws:123456789012:eu-west-1:payments/prod/db");
        let (fingerprints, marks) = keys(1).sealed_prints(&[keys(1).print(b"a value that is long enough")]);
        let holding = Holding {
            claim: "orders-db".into(),
            versions: [KeyVersion { key, id: "v1".into(), created: Second::from_unix(1_767_225_000) }].into(),
            held_since: Timestamp::from_second(1_767_225_600).unwrap(),
            fingerprints,
            marks: marks
                .beside(&[keys(1).fingerprint(b"hunter2!")], &[keys(1).fingerprint(b"a value of somebody else")]),
            retain: false,
            ends: Second::from_unix(1_767_229_200),
            consumed: true,
            pinned: false,
            target_type: Some("kubernetes.io/tls".into()),
        };
        SealRecord {
            holding: holding.into(),
            spec: keys(1).digest(b"spec"),
            content: keys(1).digest(b"content"),
            ignore: keys(1).digest(b"ignore"),
            refresh_at: Some("now".into()),
            restart: Some(Box::new(Restart {
                data: keys(1).digest(b"data"),
                due: Second::from_unix(1_767_225_700).map(|since| Due { token: "v1".into(), since }),
            })),
            rotation: None,
            followed: Some(Box::new(Followed {
                templates: Some([("Deployment/web".into(), "a1".into())].into()),
                roles: Some("b2".into()),
                rollout: Some("then a1".into()),
                rollout_at: Second::from_unix(1_767_225_700),
                ..Followed::default()
            })),
        }
    }

    #[test]
    fn opens_where_it_was_sealed_and_nowhere_else() {
        let (keys, secret) = (keys(1), ObjectName::new("payments-prod", "orders-db"));
        let seal = keys.seal(&secret, &record(), [7; 12]).unwrap();
        assert_eq!(keys.open(&secret, &seal), Ok(record()));
        assert!(keys.is_current(&seal));
        for other in [ObjectName::new("payments-staging", "orders-db"), ObjectName::new("payments-prod", "other")] {
            assert_eq!(keys.open(&other, &seal), Err(BrokenSeal::Invalid), "moved to {other}");
        }
    }

    #[test]
    fn a_seal_from_before_there_were_marks_opens() {
        let (keys, secret) = (keys(1), ObjectName::new("payments-prod", "orders-db"));
        assert!(keys.open(&secret, &keys.seal(&secret, &record(), [7; 12]).unwrap()).unwrap().holding.is_marked());
        let mut old = record();
        Arc::make_mut(&mut old.holding).marks = Marks::default();
        let opened = keys.open(&secret, &keys.seal(&secret, &old, [7; 12]).unwrap()).unwrap();
        assert_eq!(opened.holding.fingerprints, old.holding.fingerprints);
        assert!(!opened.holding.is_marked() && opened.holding.marks.each.is_empty());
    }

    #[test]
    fn a_seal_from_before_there_were_dates_opens() {
        let wire = |seal: &str| {
            let keys = keys(1);
            let body = BASE64.decode(seal.rsplit('.').next().unwrap()).unwrap();
            let nonce = Nonce::try_assume_unique_for_key(&body[..NONCE_LEN]).unwrap();
            let mut sealed = body[NONCE_LEN..].to_vec();
            let bound = bound_to(&ObjectName::new("a", "b"), &keys.current().id);
            let plain = keys.current().sealing.open_in_place(nonce, bound, &mut sealed).unwrap();
            serde_json::from_slice::<serde_json::Value>(plain).unwrap()
        };
        let (keys, secret) = (keys(1), ObjectName::new("a", "b"));
        let mut old = wire(&keys.seal(&secret, &record(), [7; 12]).unwrap());
        assert_eq!(old["d"], serde_json::json!([1_767_225_000]));
        old.as_object_mut().unwrap().remove("d");
        let mut sealed = serde_json::to_vec(&old).unwrap();
        let current = keys.current();
        let nonce = Nonce::assume_unique_for_key([8; 12]);
        current.sealing.seal_in_place_append_tag(nonce, bound_to(&secret, &current.id), &mut sealed).unwrap();
        let seal = format!("v1.{}.{}", current.id, BASE64.encode([vec![8; 12], sealed].concat()));
        let mut undated = record();
        let key = undated.holding.versions[0].key.clone();
        Arc::make_mut(&mut undated.holding).versions = [KeyVersion::undated(key, "v1")].into();
        assert_eq!(keys.open(&secret, &seal), Ok(undated.clone()));
        // Beside one that has a date.
        let dated = record().holding.versions[0].clone();
        let both = Arc::make_mut(&mut undated.holding);
        both.versions = [both.versions[0].clone(), dated].into();
        assert_eq!(keys.open(&secret, &keys.seal(&secret, &undated, [9; 12]).unwrap()), Ok(undated));
    }

    #[test]
    fn every_altered_byte_is_seen() {
        let (keys, secret) = (keys(1), ObjectName::new("a", "b"));
        let seal = keys.seal(&secret, &record(), [7; 12]).unwrap();
        for at in 0..seal.len() {
            let mut forged = seal.clone().into_bytes();
            forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
            let forged = String::from_utf8(forged).unwrap();
            // The last base64 digit has unused bits; decoding refuses those that are set.
            assert!(keys.open(&secret, &forged).is_err(), "byte {at}");
        }
        for junk in ["", "v1", "v1..", "v2.01010101.AAAA", "v1.01010101.", "v1.01010101.AAAA"] {
            assert!(keys.open(&secret, junk).is_err(), "{junk}");
        }
    }

    #[test]
    fn another_key_is_told_from_a_forgery() {
        let secret = ObjectName::new("a", "b");
        let seal = keys(1).seal(&secret, &record(), [7; 12]).unwrap();
        assert_eq!(keys(2).open(&secret, &seal), Err(BrokenSeal::UnknownGeneration));
    }

    #[test]
    fn what_is_sealed_again_stays_under_its_generation() {
        let secret = ObjectName::new("a", "b");
        let before = keys(1).seal(&secret, &record(), [7; 12]).unwrap();
        let next = keys(1).rotate(Generation::from_random(&[2; 36], Timestamp::UNIX_EPOCH).unwrap());
        let again = next.seal_again(&secret, &record(), [8; 12], &before).unwrap();
        assert_eq!(keys(1).open(&secret, &again), Ok(record()), "its prints and digests are of that one");
        let anew = next.seal_again(&secret, &record(), [8; 12], "v1.unknown.").unwrap();
        assert!(next.open(&secret, &anew).is_ok() && keys(1).open(&secret, &anew).is_err());
    }

    #[test]
    fn a_rotated_key_still_opens_and_compares() {
        let secret = ObjectName::new("a", "b");
        let old = keys(1);
        let seal = old.seal(&secret, &record(), [7; 12]).unwrap();
        let fingerprint = old.fingerprint(b"value");
        let stored = old.rotate(Generation::from_random(&[2; 36], Timestamp::UNIX_EPOCH).unwrap()).to_stored().unwrap();
        let new = SealKeys::from_stored(&stored).unwrap();
        assert_eq!(new.open(&secret, &seal), Ok(record()));
        assert!(!new.is_current(&seal));
        assert!(new.fingerprints(b"value").any(|f| f == fingerprint));
        assert!(new.digests(b"content").contains(&keys(1).digest(b"content")));
        assert_eq!(new.digests(b"content").current(), new.digest(b"content"));
        assert_ne!(new.fingerprint(b"value"), fingerprint);
    }

    #[test]
    fn equal_records_do_not_look_equal() {
        let (keys, secret) = (keys(1), ObjectName::new("a", "b"));
        assert_ne!(keys.seal(&secret, &record(), [1; 12]).unwrap(), keys.seal(&secret, &record(), [2; 12]).unwrap());
    }
}
