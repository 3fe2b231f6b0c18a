//! The contents of Secrets and ConfigMaps, wherever they are: copies of managed values, and replicators' marks.
//!
//! They are read in small pages, compared and thrown away. What takes long is compared where it holds up nobody.

use super::{ScanError, Walk, pages};
use crate::admission::rules::copies;
use crate::api::Reason;
use crate::controller::index::object_name;
use crate::segmentation::authorize::owners;
use crate::segmentation::copies::{Content, scan};
use crate::segmentation::replication;
use crate::segmentation::violation::{ObjectRef, Violation};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::Api;
use tokio::task::block_in_place;

/// Lists both.
pub(super) async fn walk(walk: &mut Walk<'_>) -> Result<(), ScanError> {
    let cx = walk.cx;
    let secrets = Api::<Secret>::all(cx.client.clone());
    pages::each_large(cx, "Secret", &secrets, |page| {
        block_in_place(|| {
            for secret in &page {
                if is_managed(walk, &secret.metadata) {
                    continue;
                }
                let namespace = secret.metadata.namespace.as_deref().unwrap_or_default();
                let governed = walk.members.get_key_value(namespace);
                let mark = governed.and_then(|(name, segment)| replication::found(&secret.metadata, name, segment));
                let copies = compare(walk, "Secret", &secret.metadata, Content::of_secret(secret));
                walk.add(mark.into_iter().chain(copies));
            }
        });
    })
    .await?;
    let maps = Api::<ConfigMap>::all(cx.client.clone());
    pages::each_large(cx, "ConfigMap", &maps, |page| {
        block_in_place(|| {
            for map in &page {
                let copies = compare(walk, "ConfigMap", &map.metadata, Content::of_config_map(map));
                walk.add(copies);
            }
        });
    })
    .await
}

/// A Secret of ours, by its seal, holds what it was given; whether that is also elsewhere is asked whenever its claim is.
fn is_managed(walk: &Walk<'_>, metadata: &ObjectMeta) -> bool {
    let known = |name| walk.cx.index().secret(&name).is_some_and(|facts| facts.seal.is_ok());
    object_name(metadata).is_some_and(known)
}

fn compare(walk: &Walk<'_>, kind: &str, metadata: &ObjectMeta, content: Content<'_>) -> Vec<Violation> {
    let content = content.worth_a_look();
    let (false, Some(keys)) = (content.is_empty(), walk.cx.keys()) else { return Vec::new() };
    let namespace = metadata.namespace.as_deref().unwrap_or_default();
    let object = ObjectRef {
        api_version: "v1".into(),
        kind: kind.into(),
        namespace: Some(namespace.into()),
        name: metadata.name.clone().unwrap_or_default(),
    };
    let marks = walk.cx.index().world.marks();
    let whose = |print: &_| owners(print, namespace, &walk.cx.index().world, walk.cx.now());
    let found = scan(&content, &object, &marks, &keys, &whose);
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
