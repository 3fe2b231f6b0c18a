//! What one entry of data or dataFrom takes from its remote value.

use super::json::{self, JsonFault};
use super::{Compared, Fetched, ProjectionError, secret};
use crate::api::reason::Reason;
use crate::api::scoped_secret::{DataFromItem, DataItem};
use crate::provider::{RemoteValue, SecretBytes};
use crate::segmentation::world::VersionAsked;

/// How far strings inside a whole JSON value are looked for, to be compared.
const LEAF_DEPTH: usize = 8;
/// How many of them at most.
const MAX_LEAVES: usize = 512;

/// What some editors begin a text with.
const BOM: char = '\u{feff}';

/// The value of one entry of data, and what of it is compared between segments.
pub(super) fn of_item(item: &DataItem, fetched: Fetched<'_>) -> Result<(SecretBytes, Vec<Compared>), ProjectionError> {
    let from = &item.remote_ref;
    let here = format!("secretKey {:?} (from {:?})", item.secret_key, from.key);
    let value = remote(&here, &from.key, from.version_stage.as_deref(), from.version_id.as_deref(), fetched)?;
    let Some(property) = &from.property else {
        return Ok((copy(value.expose()), compared_whole(value)));
    };
    let text = text(&here, value, "remove property to take it whole")?;
    let taken = json::find(text, property).and_then(json::scalar).map_err(|fault| match fault {
        JsonFault::NotJson | JsonFault::NotObject => ProjectionError::new(
            Reason::NotJson,
            format!("{here}: property is {property:?}, but the remote value is not a JSON object: remove property to take it whole, or store JSON"),
        ),
        JsonFault::Ambiguous => ambiguous(&here),
        JsonFault::Missing => ProjectionError::new(
            Reason::PropertyMissing,
            format!("{here}: the remote value has no property {property:?}: correct property, or store it"),
        ),
        JsonFault::NotScalar => ProjectionError::new(
            Reason::PropertyInvalid,
            format!("{here}: the property {property:?} is an object, a list or null: point at a string, number or boolean inside it, such as /database/password"),
        ),
    })?;
    if taken.is_empty() {
        return Err(empty(&here, &format!("the property {property:?}")));
    }
    Ok((copy(taken.as_bytes()), compared(names_of(property), taken.as_bytes())))
}

/// Every property of one entry of dataFrom. An empty property is projected: optional settings often are.
pub(super) fn of_whole(
    index: usize,
    item: &DataFromItem,
    fetched: Fetched<'_>,
) -> Result<Vec<(String, SecretBytes, Vec<Compared>)>, ProjectionError> {
    let from = &item.remote_ref;
    let here = format!("dataFrom[{index}] (from {:?})", from.key);
    let value = remote(&here, &from.key, from.version_stage.as_deref(), from.version_id.as_deref(), fetched)?;
    let text = text(&here, value, "take it by data, without property")?;
    let members = json::members(text).map_err(|fault| match fault {
        JsonFault::Ambiguous => ambiguous(&here),
        _ => ProjectionError::new(
            Reason::NotJson,
            format!("{here}: the remote value is not a JSON object: take it by data, or store JSON"),
        ),
    })?;
    if members.is_empty() {
        return Err(empty(&here, "the JSON object"));
    }
    members.into_iter().map(|(name, raw)| {
        if !secret::is_key(&name) {
            return Err(ProjectionError::new(
                Reason::InvalidSecretKey,
                format!("{here}: a property of {:?} has a name that no key of a Secret can have: take what you need by data, with a secretKey of your own", from.key),
            ));
        }
        let value = json::scalar(raw).map_err(|fault| match fault {
            JsonFault::NotJson => ProjectionError::new(
                Reason::NotJson,
                format!("{here}: a property of {:?} is not a valid JSON text: store it again", from.key),
            ),
            _ => ProjectionError::new(
                Reason::PropertyInvalid,
                format!("{here}: a property of {:?} is an object, a list or null: take what you need by data, with a JSON pointer such as /database/password", from.key),
            ),
        })?;
        let compared = compared(vec![name.clone()], value.as_bytes());
        Ok((name, copy(value.as_bytes()), compared))
    }).collect()
}

/// What was fetched for an entry; there is something in it.
fn remote<'a>(
    here: &str,
    key: &str,
    stage: Option<&str>,
    id: Option<&str>,
    fetched: Fetched<'a>,
) -> Result<&'a RemoteValue, ProjectionError> {
    let asked = VersionAsked::of(stage, id);
    let value = fetched(key, &asked).ok_or_else(|| {
        ProjectionError::new(
            Reason::RemoteIncomplete,
            format!("{here}: the manager has not answered: it is asked again"),
        )
    })?;
    if value.expose().is_empty() { Err(empty(here, "the remote value")) } else { Ok(value) }
}

fn text<'a>(here: &str, value: &'a RemoteValue, instead: &str) -> Result<&'a str, ProjectionError> {
    value.expose_text().ok_or_else(|| {
        ProjectionError::new(
            Reason::NotJson,
            format!("{here}: the remote value is binary, it has no properties: {instead}"),
        )
    })
}

fn ambiguous(here: &str) -> ProjectionError {
    ProjectionError::new(
        Reason::NotJson,
        format!(
            "{here}: the remote value has two properties of one name in the same object: store it with one of them"
        ),
    )
}

fn empty(here: &str, what: &str) -> ProjectionError {
    ProjectionError::new(Reason::EmptyValue, format!("{here}: {what} is empty: store a value, or remove the entry"))
}

/// A whole value is compared as it is. It has no name of its own: the secretKey is the tenant's choice, and hides nothing.
pub(super) fn compared_whole(value: &RemoteValue) -> Vec<Compared> {
    compared(Vec::new(), value.expose())
}

/// A value is compared as it is; of a JSON document also the strings inside it, so that a password is found whether it is
/// projected alone or with its document. They have the document's names beside their own: who ignores a property ignores what is
/// in it.
fn compared(names: Vec<String>, value: &[u8]) -> Vec<Compared> {
    let text =
        std::str::from_utf8(value).unwrap_or_default().trim_start_matches(|c: char| c.is_whitespace() || c == BOM);
    let leaves =
        if text.starts_with(['{', '[', '"']) { json::string_leaves(text, LEAF_DEPTH, MAX_LEAVES) } else { Vec::new() };
    let leaves = leaves.into_iter().filter(|(_, leaf)| !leaf.is_empty());
    let leaves = leaves.map(|(name, leaf)| Compared {
        names: names.iter().cloned().chain([name]).collect(),
        value: copy(leaf.as_bytes()),
    });
    let mut compared: Vec<Compared> = leaves.collect();
    compared.insert(0, Compared { names, value: copy(value) });
    compared
}

/// What the manager calls a property: as it is written, and of a pointer also the name that it ends in.
pub fn names_of(property: &str) -> Vec<String> {
    let last = property.strip_prefix('/').and_then(|pointer| pointer.rsplit('/').next());
    let last = last.map(|token| token.replace("~1", "/").replace("~0", "~"));
    std::iter::once(property.to_owned()).chain(last).collect()
}

fn copy(bytes: &[u8]) -> SecretBytes {
    SecretBytes::new(bytes.to_vec())
}
