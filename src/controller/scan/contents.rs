//! The contents of Secrets and ConfigMaps, wherever they are: copies of managed values, replicators' marks, and marks of the
//! operator's on what it did not write.
//!
//! They are read in small pages, compared and thrown away. What takes long is compared where it holds up nobody.

use super::pages::Unread;
use super::seen_content::SeenContent;
use super::{ScanError, Walk, pages};
use crate::admission::rules::copies;
use crate::api::Reason;
use crate::controller::index::object_name;
use crate::controller::report;
use crate::segmentation::authorize::{Owner, owners, owners_of_weak};
use crate::segmentation::copies::scan;
use crate::segmentation::managed::Mark;
use crate::segmentation::replication;
use crate::segmentation::violation::{ObjectRef, Violation};
use crate::segmentation::world::ObjectName;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::task::block_in_place;

/// Lists both.
pub(super) async fn walk(walk: &mut Walk<'_>) -> Result<(), ScanError> {
    let cx = walk.cx;
    pages::each_large::<Secret>(cx, "Secret", |page| {
        each(page, "Secret", |secret| {
            if is_managed(walk, &secret.metadata) {
                // It holds its own values, which are compared whenever its claim is looked at; others' may be inside.
                let copies = compare(walk, "Secret", &secret);
                walk.add(&secret.metadata, copies);
                return;
            }
            let namespace = secret.metadata.namespace.as_deref().unwrap_or_default();
            let governed = walk.members.get_key_value(namespace);
            let mark = governed.and_then(|(name, segment)| replication::found(&secret.metadata, name, segment));
            let copies = compare(walk, "Secret", &secret);
            walk.add(&secret.metadata, mark.into_iter().chain(forged(walk, &secret.metadata)).chain(copies));
        });
    })
    .await?;
    pages::each_large::<ConfigMap>(cx, "ConfigMap", |page| {
        each(page, "ConfigMap", |map| {
            let copies = compare(walk, "ConfigMap", &map);
            walk.add(&map.metadata, copies);
        });
    })
    .await
}

/// Reads one object after the other, and forgets it. One that cannot be read does not hide the others.
fn each(page: Vec<Unread>, kind: &str, mut see: impl FnMut(SeenContent)) {
    block_in_place(|| {
        for object in page {
            match object.read() {
                Ok(object) => see(object),
                // The text of the error is left out: it may quote the object.
                Err(_) => tracing::warn!(kind, "an object could not be read, and was not looked at"),
            }
        }
    });
}

/// A Secret of ours, by its seal, holds what it was given; whether that is also elsewhere is asked whenever its claim is.
fn is_managed(walk: &Walk<'_>, metadata: &ObjectMeta) -> bool {
    let known = |name| walk.cx.index().secret(&name).is_some_and(|facts| facts.seal.is_ok());
    object_name(metadata).is_some_and(known)
}

/// A Secret that passes for the operator's by a seal or an owner alone, and that no ScopedSecret claims. What has the label is
/// watched, and told of at once.
fn forged(walk: &Walk<'_>, metadata: &ObjectMeta) -> Option<Violation> {
    Mark::of(metadata).filter(|mark| *mark != Mark::Label)?;
    let name = object_name(metadata)?;
    let segment = walk.members.get(&name.namespace)?;
    let is_claimed = walk.cx.index().claims_for(&name).next().is_some();
    (!is_claimed).then(|| report::forged(segment, &name))
}

/// An owner in a namespace that no policy governs any more has the name of the segment whose report names it.
fn named<'i>(
    found: Vec<Owner>,
    holders: impl Iterator<Item = &'i ObjectName>,
    namespace: &str,
    walk: &Walk<'_>,
) -> Vec<Owner> {
    let (mut named, nameless): (Vec<_>, Vec<_>) = found.into_iter().partition(|owner| !owner.segment.is_empty());
    if let Some(owner) = nameless.first() {
        let segments: BTreeSet<&Arc<str>> = holders.filter_map(|holder| walk.members.get(&holder.namespace)).collect();
        let others = segments.into_iter().filter(|segment| walk.members.get(namespace) != Some(*segment));
        named.extend(others.map(|segment| Owner { segment: segment.to_string(), answer: owner.answer }));
    }
    named
}

fn compare(walk: &Walk<'_>, kind: &str, seen: &SeenContent) -> Vec<Violation> {
    let (metadata, content) = (&seen.metadata, seen.content(kind));
    let (false, Some(keys)) = (content.is_empty(), walk.cx.keys()) else { return Vec::new() };
    let namespace = metadata.namespace.as_deref().unwrap_or_default();
    let object = ObjectRef {
        api_version: "v1".into(),
        kind: kind.into(),
        namespace: Some(namespace.into()),
        name: metadata.name.clone().unwrap_or_default(),
    };
    let marks = walk.cx.index().world.marks();
    let whose = |print: &_| {
        let index = walk.cx.index();
        let found = owners(print, namespace, &index.world, walk.cx.now());
        named(found, index.world.holdings_with(print).map(|(secret, _)| secret), namespace, walk)
    };
    let whose_weak = |print: &_| {
        let index = walk.cx.index();
        let found = owners_of_weak(print, namespace, &index.world, walk.cx.now());
        named(found, index.world.holdings_with_weak(print).map(|(secret, _)| secret), namespace, walk)
    };
    let found = scan(&content, &object, &marks, &keys, &whose, &whose_weak);
    let mut violations = found.violations;
    // Whose it is may not be told now.
    violations.retain(|violation| !violation.segment.is_empty());
    if found.exhausted {
        tracing::warn!(
            kind,
            namespace,
            name = object.name,
            "an object is made so that comparing it takes too long; it was compared in part"
        );
        violations.extend(walk.members.get(namespace).map(|segment| Violation {
            segment: segment.clone(),
            rule: copies::RULE,
            reason: Reason::NotCompared,
            object,
            message: "it is made so that comparing it takes too long, and was compared in part: look at what it holds, and make it smaller or delete it".to_owned(),
        }));
    }
    violations
}
