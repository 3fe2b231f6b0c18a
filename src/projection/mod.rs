//! From remote values to the content of one Secret. Pure: values in, a [`Projection`] or a [`ProjectionError`] out.
//!
//! ```text
//!   data, dataFrom ──► source (json) ──┐
//!                                      ├──► keys, type, size ──► Projection ──► content_bytes
//!   target.template.data ──► template ─┘
//! ```
//!
//! All or nothing: one value that cannot be had projects none. A message names what the user wrote, never a value, and
//! never a property that only the remote has.

mod canonical;
pub(crate) mod json;
mod language;
mod metadata;
mod secret;
mod source;
mod template;
#[cfg(test)]
mod tests;

pub use metadata::{CARRIERS, carries_away, is_replicators};
use std::collections::{BTreeMap, BTreeSet};

use crate::api::reason::Reason;
use crate::api::scoped_secret::{ScopedSecretSpec, Template};
use crate::provider::{RemoteValue, SecretBytes};
use crate::segmentation::world::VersionAsked;

pub use canonical::{content_bytes, names_bytes, spec_bytes};
pub use source::names_of;

/// What the keys of the value before a rotation begin with.
pub const PREVIOUS: &str = "previous.";

/// What was fetched, by the key as written in the spec and the version asked for.
pub type Fetched<'a> = &'a dyn Fn(&str, &VersionAsked) -> Option<&'a RemoteValue>;

/// What one ScopedSecret projects.
#[derive(Debug)]
pub struct Projection {
    /// The Secret's data, complete.
    pub data: BTreeMap<String, SecretBytes>,
    /// Labels of the template, checked; ours are not among them.
    pub labels: BTreeMap<String, String>,
    /// Annotations of the template, checked; ours are not among them.
    pub annotations: BTreeMap<String, String>,
    /// Every value as the manager has it, before templates, to be compared between segments.
    pub compared: Vec<Compared>,
}

/// A value to be compared between segments (guarantee 3).
#[derive(Debug)]
pub struct Compared {
    /// The names that a policy's `ignore` is matched against: where the value is a property, or stands inside of one, the
    /// manager's own names for it, so that no choice of secretKey hides it; none for a whole text or document.
    pub names: Vec<String>,
    /// The value.
    pub value: SecretBytes,
}

/// Why nothing can be projected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ProjectionError {
    /// The stable word for it.
    pub reason: Reason,
    /// Which secretKey is wrong, why, and what to write. No value, and no name that only the remote has.
    pub message: String,
}

impl ProjectionError {
    fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}

/// The content of the Secret that the spec asks for.
///
/// # Errors
///
/// The first thing that is wrong, in the order of the spec: metadata, data, dataFrom, templates, type, size.
pub fn project(spec: &ScopedSecretSpec, fetched: Fetched<'_>) -> Result<Projection, ProjectionError> {
    project_with(spec, fetched, None)
}

/// Likewise, with the value before a rotation as `previous.<secretKey>`. What of that cannot be had, or has no room, is left
/// out: it holds up no new value.
///
/// # Errors
///
/// Those of [`project`].
pub fn project_with(
    spec: &ScopedSecretSpec,
    fetched: Fetched<'_>,
    previous: Option<Fetched<'_>>,
) -> Result<Projection, ProjectionError> {
    let template = template(spec);
    if let Some(template) = template {
        metadata::check(template)?;
    }
    let mut content = Content::default();
    let mut compared = Vec::new();
    for item in &spec.data {
        secret::check_written_key("secretKey", &item.secret_key)?;
        let (value, mut comparable) = source::of_item(item, fetched)?;
        content.add(&item.secret_key, value, Named::ByUser)?;
        compared.append(&mut comparable);
    }
    for (index, item) in spec.data_from.iter().enumerate() {
        for (name, value, mut comparable) in source::of_whole(index, item, fetched)? {
            content.add(&name, value, Named::ByRemote { key: &item.remote_ref.key })?;
            compared.append(&mut comparable);
        }
    }
    if let Some(template) = template.filter(|template| !template.data.is_empty()) {
        let variables = template::Variables::new(&content.data);
        for (key, text) in &template.data {
            secret::check_written_key("target.template.data", key)?;
            let rendered = template::render(text, &variables).map_err(|refused| template_failed(key, &refused))?;
            content.add(key, rendered, Named::ByUser)?;
        }
    }
    if let Some(previous) = previous {
        content.add_previous(spec, previous, &mut compared);
    }
    secret::check_values(spec.target_type(), |key| content.data.get(key).map(SecretBytes::expose))?;
    let bytes: usize = content.data.values().map(|value| value.expose().len()).sum();
    if bytes > secret::MAX_BYTES {
        return Err(ProjectionError::new(
            Reason::SecretTooLarge,
            format!("the Secret's values are larger than {} bytes together: claim less here", secret::MAX_BYTES),
        ));
    }
    let (labels, annotations) = template.map(|t| (t.labels.clone(), t.annotations.clone())).unwrap_or_default();
    Ok(Projection { data: content.data, labels, annotations, compared })
}

/// What is to end has one end.
///
/// # Errors
///
/// It has two.
pub fn check_end(spec: &ScopedSecretSpec) -> Result<(), ProjectionError> {
    if spec.ttl.is_none() || spec.expiration_time.is_none() {
        return Ok(());
    }
    let message = "spec has both ttl and expirationTime: write ttl (from creation) or expirationTime (a point in time)";
    Err(ProjectionError { reason: Reason::InvalidEnd, message: message.into() })
}

/// What can be said without any value: names of keys, labels and annotations, templates' syntax, keys given twice, and,
/// where no dataFrom may bring them, the keys that the type requires. For admission and simulation.
///
/// # Errors
///
/// The first thing that [`project`] would refuse whatever the values are.
pub fn check_spec(spec: &ScopedSecretSpec) -> Result<(), ProjectionError> {
    check_end(spec)?;
    let mut keys = BTreeSet::new();
    let mut once = |key: &str| if keys.insert(key.to_owned()) { Ok(()) } else { Err(duplicate(key)) };
    let template = template(spec);
    if let Some(template) = template {
        metadata::check(template)?;
    }
    for item in &spec.data {
        secret::check_written_key("secretKey", &item.secret_key)?;
        once(&item.secret_key)?;
    }
    for (key, text) in template.into_iter().flat_map(|template| &template.data) {
        secret::check_written_key("target.template.data", key)?;
        once(key)?;
        language::check(text).map_err(|refused| template_failed(key, &refused))?;
    }
    if spec.data_from.is_empty() {
        secret::check_keys(spec.target_type(), |key| keys.contains(key))?;
    }
    Ok(())
}

fn template(spec: &ScopedSecretSpec) -> Option<&Template> {
    spec.target.as_ref()?.template.as_ref()
}

/// The data while it is put together.
#[derive(Default)]
struct Content {
    data: BTreeMap<String, SecretBytes>,
    written: BTreeSet<String>,
}

/// Who chose a key's name: only what the user wrote may be told.
#[derive(Clone, Copy)]
enum Named<'a> {
    ByUser,
    ByRemote { key: &'a str },
}

impl Content {
    fn add(&mut self, name: &str, value: SecretBytes, named: Named<'_>) -> Result<(), ProjectionError> {
        if self.data.contains_key(name) {
            return Err(match named {
                Named::ByRemote { key } if !self.written.contains(name) => ProjectionError::new(
                    Reason::DuplicateSecretKey,
                    format!(
                        "a property of {key:?} has the name of one from another dataFrom entry: take one of them by data"
                    ),
                ),
                Named::ByRemote { .. } | Named::ByUser => duplicate(name),
            });
        }
        if self.data.len() >= secret::MAX_KEYS {
            return Err(ProjectionError::new(
                Reason::SecretTooLarge,
                format!("the Secret would have more than {} keys: claim less here", secret::MAX_KEYS),
            ));
        }
        if matches!(named, Named::ByUser) {
            self.written.insert(name.to_owned());
        }
        self.data.insert(name.to_owned(), value);
        Ok(())
    }
}

impl Content {
    fn add_previous(&mut self, spec: &ScopedSecretSpec, previous: Fetched<'_>, compared: &mut Vec<Compared>) {
        let mut room = secret::MAX_BYTES.saturating_sub(self.data.values().map(|value| value.expose().len()).sum());
        let mut add = |name: &str, value: SecretBytes, mut comparable: Vec<Compared>| {
            let name = format!("{PREVIOUS}{name}");
            let fits = name.len() <= secret::MAX_KEY_BYTES
                && self.data.len() < secret::MAX_KEYS
                && value.expose().len() <= room;
            if fits {
                room -= value.expose().len();
                self.data.insert(name, value);
                compared.append(&mut comparable);
            }
        };
        for item in &spec.data {
            if let Ok((value, comparable)) = source::of_item(item, previous) {
                add(&item.secret_key, value, comparable);
            }
        }
        for (index, item) in spec.data_from.iter().enumerate() {
            for (name, value, comparable) in source::of_whole(index, item, previous).unwrap_or_default() {
                add(&name, value, comparable);
            }
        }
    }
}

/// Every value in bytes that [`project`] may have compared: they themselves, and the texts inside of a JSON document.
pub fn values_in(bytes: &[u8]) -> impl Iterator<Item = SecretBytes> {
    let value = RemoteValue::from_bytes(bytes.to_vec());
    source::compared_whole(&value).into_iter().map(|compared| compared.value)
}

fn duplicate(key: &str) -> ProjectionError {
    ProjectionError::new(
        Reason::DuplicateSecretKey,
        format!("two sources give the key {key:?} (data, dataFrom, target.template.data): rename or remove one"),
    )
}

fn template_failed(key: &str, refused: &language::Refused) -> ProjectionError {
    let line = refused.line.map(|line| format!(", line {line},")).unwrap_or_default();
    ProjectionError::new(Reason::TemplateFailed, format!("target.template.data {key:?}{line} {}", refused.what))
}
