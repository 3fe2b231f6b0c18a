//! Values of other Secrets inside what is about to be projected: in a larger text, coded, in a template's text, its labels and
//! annotations.
//!
//! Who has had a text for longer is never held up by somebody who stores it, or a part of it, as a secret: what stands in the
//! Secret already, and was no value of anybody's when it was written, may be written again. The scan tells the platform of it.
//! A comparison that takes too long holds nobody up either.

use super::plan::Failure;
use super::{Work, write_failed};
use crate::admission::rules::copies::PER_MINUTE;
use crate::api::policy::Mode;
use crate::api::{Reason, ScopedSecretSpec};
use crate::controller::index::SecretFacts;
use crate::projection::Projection;
use crate::segmentation::authorize::foreign_within;
use crate::segmentation::copies::{Content, MarkIndex, Place, Search, values_in};
use crate::segmentation::fingerprint::Fingerprint;
use crate::segmentation::seal::{Print, SealKeys, SealRecord};
use crate::segmentation::world::{Holding, KeyVersion};
use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;
use std::collections::{BTreeMap, HashSet};
use std::ops::ControlFlow;

/// So many bytes are searched without leaving others waiting: it takes a fraction of a millisecond.
const AT_A_GLANCE: usize = 16 << 10;

/// So many are remembered in the seal, to be judged again; the scan finds the others.
const REMEMBERED: usize = 256;

/// The values that were found, each with one place where it is.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Embedded<'p> {
    found: BTreeMap<Fingerprint, Place<'p>>,
    /// Whether the search was given up.
    exhausted: bool,
}

impl<'p> Embedded<'p> {
    /// Looks for them in what will be the Secret; its own values are not among them.
    fn look(projection: &'p Projection, own: &[Print], marks: &MarkIndex, keys: &SealKeys) -> Self {
        let content = content_of(projection);
        let own: HashSet<&Fingerprint> = own.iter().flat_map(|print| &print.fingerprints).collect();
        let mut search = Search::new(marks, keys, content.len(), 1);
        let mut embedded = Self::default();
        for (place, text) in content.texts() {
            let looked = search.look(&text, &mut |print| {
                if !own.contains(print) {
                    embedded.found.entry(*print).or_insert(place);
                }
                ControlFlow::Continue(())
            });
            if looked.is_err() {
                embedded.exhausted = true;
                break;
            }
        }
        embedded
    }

    /// Each of them.
    pub(super) fn prints(&self) -> impl Iterator<Item = &Fingerprint> {
        self.found.keys()
    }

    /// As they are remembered.
    pub(super) fn remembered(&self) -> Vec<Fingerprint> {
        self.prints().take(REMEMBERED).copied().collect()
    }

    /// Leaves out those of `foreign` that the Secret had before anybody held them: that stand in it, and were not seen when it
    /// was written.
    fn leave_out(&mut self, foreign: &[Fingerprint], standing: &dyn Fn(&Fingerprint) -> bool, known: &[Fingerprint]) {
        self.found.retain(|print, _| !foreign.contains(print) || known.contains(print) || !standing(print));
    }

    /// What whoever projects one of these hears: where it is, as far as he wrote that himself.
    pub(super) fn refusal(&self, print: &Fingerprint, spec: &ScopedSecretSpec) -> Failure {
        let place = self.found.get(print).filter(|place| is_written(place, spec));
        let place = place.map_or_else(|| "what it would project".to_owned(), Place::to_string);
        let text = format!(
            "{place} has a value inside that is held in another segment, and the policy keeps a value inside one segment (rules.uniqueValues): store a credential of its own for this segment in the manager, or take the value out of the template; what was projected before, if anything, stays"
        );
        Failure::new(Reason::ValueShared, text)
    }
}

/// Whether the user wrote the name of what is there: no name that only the remote has is told.
fn is_written(place: &Place<'_>, spec: &ScopedSecretSpec) -> bool {
    let Some(key) = place.key() else { return false };
    let template = spec.target.as_ref().and_then(|target| target.template.as_ref());
    !place.is_data()
        || spec.data.iter().any(|item| item.secret_key == key)
        || template.is_some_and(|template| template.data.contains_key(key))
}

fn content_of(projection: &Projection) -> Content<'_> {
    let texts = |map| -> Vec<(&str, &str)> {
        let map: &BTreeMap<String, String> = map;
        map.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect()
    };
    Content::default()
        .with_bytes("data", projection.data.iter().map(|(key, value)| (key.as_str(), value.expose())))
        .with("metadata.labels", texts(&projection.labels), false)
        .with("metadata.annotations", texts(&projection.annotations), false)
        .worth_a_look()
}

/// Runs what takes long where it leaves nobody waiting.
fn unhurried<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    if bytes <= AT_A_GLANCE { work() } else { tokio::task::block_in_place(work) }
}

impl Work<'_> {
    /// The values of other Secrets inside what will be this one, without those that it had first. `versions` is what was fetched.
    pub(super) async fn embedded<'p>(
        &self,
        projection: &'p Projection,
        own: &[Print],
        standing: Option<&SecretFacts>,
        versions: &[KeyVersion],
    ) -> Result<Embedded<'p>, Failure> {
        let bytes = projection.data.values().map(|value| value.expose().len()).sum();
        let marks = self.cx.index().world.marks();
        let mut embedded = unhurried(bytes, || Embedded::look(projection, own, &marks, &self.keys));
        if embedded.exhausted {
            tracing::warn!(namespace = %self.name.namespace, name = %self.name.name, "what a ScopedSecret projects is made so that comparing it takes too long; it was compared in part");
        }
        let held = self.held();
        let known = held.as_deref().map(|held| held.marks.within()).unwrap_or_default();
        let foreign = self.foreign(&embedded, held.as_deref());
        if foreign.iter().all(|print| known.contains(print)) {
            return Ok(embedded);
        }
        if standing.is_some() {
            let secret = self.live().await?;
            let content = secret.as_ref().map(Content::of_secret).unwrap_or_default();
            let there = unhurried(content.len(), || values_in(&content, &marks, &self.keys));
            embedded.leave_out(&foreign, &|print| there.contains(print), known);
        } else if held.as_deref().is_some_and(|held| is_the_same(held, versions)) {
            // It is made again, with what it had: somebody has deleted it.
            embedded.leave_out(&foreign, &|_| true, known);
        }
        Ok(embedded)
    }

    /// Whether the spec itself has text for the Secret that is not there yet: a guess, it may be.
    pub(super) fn brings_text(&self, seal: Option<&SealRecord>) -> bool {
        let template = self.spec.target.as_ref().and_then(|target| target.template.as_ref());
        let writes = template.is_some_and(|t| !t.data.is_empty() || !t.labels.is_empty() || !t.annotations.is_empty());
        writes && !seal.is_some_and(|seal| self.spec_digests.contains(&seal.spec))
    }

    /// Whether the ScopedSecrets of this namespace have heard so often within a minute what is in such texts that no other is looked at,
    /// as rule Copies has it for whoever writes a Secret.
    pub(super) fn has_heard_enough(&self) -> Option<Failure> {
        self.cx.heard.reached(&self.name.namespace, "", self.cx.now())?;
        let text = format!(
            "ScopedSecrets of this namespace brought text with values of another segment {PER_MINUTE} times within a minute: other text is not looked at for the rest of it; leave such values out, it is tried again"
        );
        Some(Failure::new(Reason::ComparisonPaused, text))
    }

    /// A refusal is told that one of them has brought; its next attempts tell nothing more.
    pub(super) fn hears(&self) {
        let knows = self.memory.failure.as_ref().is_some_and(|failure| failure.reason == Reason::ValueShared);
        if self.memory.failures == 0 || !knows {
            self.cx.heard.count(&self.name.namespace, "", Mode::Enforce, self.cx.now());
        }
    }

    /// Those that another segment keeps for itself.
    fn foreign(&self, embedded: &Embedded<'_>, held: Option<&Holding>) -> Vec<Fingerprint> {
        let index = self.cx.index();
        let claimed = index.world.claim(&self.name).map(|claim| {
            let keys = index.world.canonical_keys(claim);
            Holding::of_claim(claim, keys)
        });
        let Some(held) = claimed.as_ref().or(held) else { return Vec::new() };
        foreign_within(&self.secret_name(), held, embedded.prints(), &index.world, self.cx.now())
    }

    async fn live(&self) -> Result<Option<Secret>, Failure> {
        let name = self.secret_name();
        let api: Api<Secret> = Api::namespaced(self.cx.client.clone(), &name.namespace);
        api.get_opt(&name.name).await.map_err(|e| write_failed(&e))
    }
}

/// Whether what was fetched is what was held.
fn is_the_same(held: &Holding, versions: &[KeyVersion]) -> bool {
    versions.len() == held.versions.len() && versions.iter().zip(&held.versions).all(|(new, kept)| new.is_kept_by(kept))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::SecretBytes;
    use crate::segmentation::seal::Generation;
    use base64::Engine;
    use base64::prelude::BASE64_STANDARD;
    use jiff::Timestamp;

    const VALUE: &str = "kX9#mQ2$vL8@nR5!wT3z";

    fn keys() -> SealKeys {
        SealKeys::new(Generation::from_random(&[1; 36], Timestamp::UNIX_EPOCH).unwrap())
    }

    fn marks(keys: &SealKeys) -> MarkIndex {
        let (_, marks) = keys.sealed_prints(&[keys.print(VALUE.as_bytes())]);
        let mut index = MarkIndex::default();
        marks.each.iter().for_each(|mark| index.insert(marks.generation, *mark));
        index
    }

    fn projection(data: &str, label: &str, annotation: &str) -> Projection {
        let pair = |key: &str, value: &str| [(key.to_owned(), value.to_owned())].into();
        Projection {
            data: [("url".to_owned(), SecretBytes::from(data.to_owned()))].into(),
            labels: pair("label", label),
            annotations: pair("note", annotation),
            compared: Vec::new(),
        }
    }

    fn found(projection: &Projection, own: &[Print]) -> Vec<String> {
        let keys = keys();
        let embedded = Embedded::look(projection, own, &marks(&keys), &keys);
        embedded.found.values().map(Place::to_string).collect()
    }

    #[test]
    fn a_value_is_found_wherever_it_stands() {
        let twice = BASE64_STANDARD.encode(BASE64_STANDARD.encode(VALUE));
        for text in
            [VALUE.to_owned(), format!("postgres://app:{VALUE}@db/orders"), BASE64_STANDARD.encode(VALUE), twice]
        {
            assert_eq!(found(&projection(&text, "", ""), &[]), ["data[\"url\"]"], "{text}");
        }
        assert_eq!(found(&projection("", "", &format!("see {VALUE}")), &[]), ["metadata.annotations[\"note\"]"]);
        assert_eq!(found(&projection("", VALUE, ""), &[]), ["metadata.labels[\"label\"]"]);
        assert_eq!(found(&projection("something else of some length", "", ""), &[]), [""; 0]);
        let own = [keys().print(VALUE.as_bytes())];
        assert_eq!(found(&projection(&format!("app:{VALUE}"), "", ""), &own), [""; 0], "its own");
    }

    #[test]
    fn who_had_it_first_is_not_held_up() {
        let keys = keys();
        let print = keys.fingerprint(VALUE.as_bytes());
        let left = |foreign: &[Fingerprint], stands: bool, known: &[Fingerprint]| {
            let projection = projection(VALUE, "", "");
            let mut embedded = Embedded::look(&projection, &[], &marks(&keys), &keys);
            embedded.leave_out(foreign, &|_| stands, known);
            embedded.remembered().len()
        };
        assert_eq!(left(&[print], true, &[]), 0, "it stood there before anybody held it");
        assert_eq!(left(&[print], true, &[print]), 1, "it was seen when it was written");
        assert_eq!(left(&[print], false, &[]), 1, "it is new");
        assert_eq!(left(&[], true, &[]), 1, "it may be there, and is judged again when that changes");
    }

    #[test]
    fn only_what_the_user_wrote_is_named() {
        let spec = |text: &str| serde_json::from_str::<ScopedSecretSpec>(text).unwrap();
        let by_name = r#"{"storeRef": {"name": "aws"}, "data": [{"secretKey": "url", "remoteRef": {"key": "a"}}]}"#;
        let whole = r#"{"storeRef": {"name": "aws"}, "dataFrom": [{"remoteRef": {"key": "a"}}]}"#;
        let keys = keys();
        for (spec, shown) in [(spec(by_name), "data[\"url\"] has"), (spec(whole), "what it would project has")] {
            let projection = projection(VALUE, "", "");
            let embedded = Embedded::look(&projection, &[], &marks(&keys), &keys);
            let refusal = embedded.refusal(&keys.fingerprint(VALUE.as_bytes()), &spec);
            assert_eq!(refusal.reason, Reason::ValueShared);
            assert!(refusal.message.starts_with(shown) && !refusal.message.contains(VALUE), "{}", refusal.message);
        }
    }
}
