//! The end of an overlap: the value before goes, without asking the manager, which may be away.

use super::super::draft;
use super::super::plan::Failure;
use super::super::write::unsealable;
use super::super::{Work, not_leading, write_failed};
use crate::api::{FIELD_MANAGER, Reason, SEAL_ANNOTATION};
use crate::controller::index::secret_facts;
use crate::projection::{PREVIOUS, values_in};
use crate::segmentation::copies::Marks;
use crate::segmentation::fingerprint::Fingerprint;
use crate::segmentation::seal::SealRecord;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, PostParams};
use std::collections::BTreeSet;
use std::sync::Arc;

impl Work<'_> {
    /// Takes the value before out of the Secret as it stands.
    pub(in super::super) async fn end_overlap(&mut self) -> Result<(), Failure> {
        let name = self.secret_name();
        let known = self.cx.index().secret(&name).cloned();
        let api: Api<Secret> = Api::namespaced(self.cx.client.clone(), &name.namespace);
        let Some(mut secret) = api.get_opt(&name.name).await.map_err(|e| write_failed(&e))? else {
            return self.read_secret().await;
        };
        let seen = secret_facts(&name, &secret.metadata, &self.keys);
        let Some(seal) = seen.seal.as_ref().ok().filter(|_| known.is_some_and(|k| k.revision() == seen.revision()))
        else {
            self.take_in(&secret);
            return Ok(());
        };
        // What somebody changed is put right with the values in hand, and the seal goes on saying that it is not as it was.
        let drifted = self.spec_digests.contains(&seal.spec)
            && !draft::read_digests(&self.spec, &secret, &self.keys).contains(&seal.content);
        let mut record = (**seal).clone();
        secret.data.get_or_insert_default().retain(|key, _| !key.starts_with(PREVIOUS));
        self.forget_previous(&mut record, &secret);
        if !drifted {
            record.content = draft::read_digests(&self.spec, &secret, &self.keys).current();
        }
        let notes = secret.metadata.annotations.get_or_insert_default();
        let before = notes.get(SEAL_ANNOTATION).map(String::as_str).unwrap_or_default();
        let sealed = self.nonce().and_then(|nonce| self.keys.seal_again(&name, &record, nonce, before).ok());
        notes.insert(SEAL_ANNOTATION.into(), sealed.ok_or_else(unsealable)?);
        secret.metadata.managed_fields = None;
        if !self.cx.leads() {
            return Err(not_leading());
        }
        let params = PostParams { field_manager: Some(FIELD_MANAGER.into()), ..PostParams::default() };
        match api.replace(&name.name, &params, &secret).await {
            Ok(written) => {
                let before = seal.holding.clone();
                self.take_in(&written);
                self.changed = true;
                self.memory.last_change = Some(self.cx.now());
                self.release(Some(&before), &record.holding);
                Ok(())
            }
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => self.read_secret().await,
            Err(error) if matches!(&error, kube::Error::Api(status) if status.code == 422) => Err(Failure::new(
                Reason::WriteFailed,
                "Kubernetes refused the Secret without the value before; it is tried again",
            )),
            Err(error) => Err(write_failed(&error)),
        }
    }

    /// What the Secret no longer holds goes from the record: the version before, and the prints of its values.
    fn forget_previous(&self, record: &mut SealRecord, left: &Secret) {
        if let Some(rotated) = &mut record.rotation {
            rotated.overlaps_until = None;
        }
        let held = Arc::make_mut(&mut record.holding);
        held.versions = held.versions.iter().take(1).cloned().collect();
        let values = left.data.iter().flatten().flat_map(|(_, value)| values_in(&value.0));
        let prints: BTreeSet<Fingerprint> =
            values.flat_map(|value| draft::print_of(value.expose(), &self.keys)).collect();
        let kept: Vec<usize> =
            (0..held.fingerprints.len()).filter(|i| prints.contains(&held.fingerprints[*i])).collect();
        let each = match held.is_marked() {
            true => kept.iter().map(|i| held.marks.each[*i]).collect(),
            false => held.marks.each.clone(),
        };
        let weak: Vec<Fingerprint> = held.marks.weak().iter().filter(|weak| prints.contains(weak)).copied().collect();
        held.marks = Marks::new(held.marks.generation, each).beside(&weak, held.marks.within());
        held.fingerprints = kept.iter().map(|i| held.fingerprints[*i]).collect();
    }
}
