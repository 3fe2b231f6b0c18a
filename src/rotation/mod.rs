//! Rotation: each claim on its own schedule. Pure: schedules, slots, and the machine that says what is next.
//!
//! ```text
//!   schedule (cron, zone) ──┐
//!   rotate-at ──────────────┼──► Trigger ──► slot ──► ClientRequestToken ──► one version in the manager
//!   rollout, role, grant ───┘
//! ```
//!
//! A [slot](slot) is rotated once, however often the operator is killed: the version that its token names is the proof.

pub mod after;
pub mod due;
pub mod generate;
pub mod machine;
pub mod restart;
pub mod schedule;
pub mod slot;
pub mod triggers;

use crate::api::rotation::{CharacterClass, Generate, Rotation, Strategy};
use crate::api::{Reason, ScopedSecretSpec, duration};
use generate::{GenerateError, Recipe};
use jiff::SignedDuration;
use schedule::Schedule;
use std::collections::BTreeSet;

/// Why a rotation cannot be kept as it is written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct InvalidRotation {
    /// The stable word for it.
    pub reason: Reason,
    /// What is wrong, why, and what to write instead.
    pub message: String,
}

/// A rotation whose every part is understood.
#[derive(Debug, Clone)]
pub struct Plan {
    /// When.
    pub schedule: Option<Schedule>,
    /// How long the value before stays.
    pub overlap: Option<SignedDuration>,
    /// How the operator makes the value; None: it does not.
    pub recipe: Option<Recipe>,
}

/// How long a generated value is unless the spec says otherwise.
const LENGTH: u32 = 32;

fn recipe(generate: &Generate) -> Result<Recipe, GenerateError> {
    let include = match &generate.include[..] {
        [] => &[CharacterClass::Lower, CharacterClass::Upper, CharacterClass::Digits],
        some => some,
    };
    let length = usize::try_from(generate.length.unwrap_or(LENGTH)).unwrap_or(usize::MAX);
    Recipe::new(length, include, generate.exclude.as_deref().unwrap_or_default())
}

/// Reads `spec.rotation`; None: there is none. What the CRD's rules check is checked again: admission can be bypassed.
pub fn plan(spec: &ScopedSecretSpec) -> Result<Option<Plan>, InvalidRotation> {
    let Some(rotation) = &spec.rotation else { return Ok(None) };
    let invalid = |message: &str| Err(InvalidRotation { reason: Reason::InvalidRotation, message: message.to_owned() });
    let keys: BTreeSet<&str> = spec.remote_refs().map(|(key, ..)| key).collect();
    if keys.len() != 1 {
        return invalid(
            "a ScopedSecret that rotates has exactly one remote key: write a ScopedSecret of its own for each key",
        );
    }
    let pinned =
        |(_, stage, id): (&str, Option<&str>, Option<&str>)| id.is_some() || stage.is_some_and(|s| s != "AWSCURRENT");
    if spec.remote_refs().any(pinned) {
        return invalid("a pinned version does not rotate: remove versionId and versionStage, or rotation");
    }
    if spec.immutable() {
        return invalid("an immutable Secret cannot take a new value: remove target.immutable, or rotation");
    }
    let generate = rotation.generate.as_ref();
    if generate.is_some() && rotation.strategy != Strategy::Generate {
        return invalid(
            "rotation.generate is for strategy Generate: with strategy Provider the manager's own rotation makes the value; remove it",
        );
    }
    let recipe = match rotation.strategy {
        Strategy::Provider => None,
        Strategy::Generate => match recipe(&generate.cloned().unwrap_or_default()) {
            Ok(recipe) => Some(recipe),
            Err(error) => return invalid(&format!("rotation.{error}")),
        },
    };
    let schedule = schedule_of(rotation)
        .map_err(|error| InvalidRotation { reason: Reason::InvalidSchedule, message: error.to_string() })?;
    let overlap = match rotation.overlap.as_deref().map(duration::parse).transpose() {
        Ok(overlap) => overlap.and_then(|overlap| SignedDuration::try_from(overlap).ok()).filter(|o| !o.is_zero()),
        Err(error) => return invalid(&format!("rotation.overlap: {error}")),
    };
    if let (Some(overlap), Some(schedule)) = (overlap, &schedule)
        && overlap >= schedule.interval()
    {
        let interval = schedule.interval().unsigned_abs();
        return invalid(&format!(
            "rotation.overlap is as long as the schedule's interval ({}) or longer, so that a third value would come before the first one goes: write a shorter overlap, or a longer interval",
            duration::humanize(interval)
        ));
    }
    Ok(Some(Plan { schedule, overlap, recipe }))
}

fn schedule_of(rotation: &Rotation) -> Result<Option<Schedule>, schedule::InvalidSchedule> {
    match (&rotation.schedule, &rotation.time_zone) {
        (Some(line), zone) => Schedule::parse(line, zone.as_deref()).map(Some),
        (None, Some(zone)) => Err(schedule::InvalidSchedule::ZoneWithoutSchedule(zone.clone())),
        (None, None) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(rotation: &str, more: &str) -> Option<String> {
        let data = "data: [{secretKey: a, remoteRef: {key: k, property: a}}, {secretKey: b, remoteRef: {key: k, property: b}}]";
        let more = if more.is_empty() { data } else { more };
        let spec = format!("storeRef: {{name: s}}\n{more}\nrotation: {rotation}\n");
        plan(&serde_saphyr::from_str(&spec).unwrap()).err().map(|error| format!("{}: {error}", error.reason))
    }

    #[test]
    fn what_can_be_kept() {
        for rotation in [
            "{strategy: Provider}",
            "{strategy: Generate, generate: {property: a, length: 20, include: [Lower], exclude: xy}}",
            "{strategy: Provider, schedule: '0 3 * * *', timeZone: Europe/Stockholm, overlap: 23h, after: [Rollout, RoleChange]}",
            "{strategy: Provider, overlap: 400d}",
        ] {
            assert_eq!(told(rotation, ""), None, "{rotation}");
        }
        assert_eq!(told("{strategy: Provider}", "dataFrom: [{remoteRef: {key: k, versionStage: AWSCURRENT}}]"), None);
    }

    #[test]
    fn what_cannot_be_kept_says_what_to_write() {
        for (rotation, more, says) in [
            (
                "{strategy: Provider}",
                "dataFrom: [{remoteRef: {key: k}}, {remoteRef: {key: l}}]",
                "InvalidRotation: a ScopedSecret that rotates has exactly one",
            ),
            ("{strategy: Provider}", "dataFrom: []", "InvalidRotation: a ScopedSecret that rotates has exactly one"),
            (
                "{strategy: Provider}",
                "dataFrom: [{remoteRef: {key: k, versionId: v}}]",
                "InvalidRotation: a pinned version",
            ),
            (
                "{strategy: Provider}",
                "dataFrom: [{remoteRef: {key: k, versionStage: AWSPREVIOUS}}]",
                "InvalidRotation: a pinned version",
            ),
            (
                "{strategy: Provider}",
                "dataFrom: [{remoteRef: {key: k}}]\ntarget: {immutable: true}",
                "InvalidRotation: an immutable Secret",
            ),
            ("{strategy: Provider, generate: {}}", "", "InvalidRotation: rotation.generate is for strategy Generate"),
            (
                "{strategy: Generate, generate: {length: 8}}",
                "",
                "InvalidRotation: rotation.generate.length is 8: write 16 to 1024",
            ),
            (
                "{strategy: Provider, timeZone: UTC}",
                "",
                "InvalidSchedule: rotation.timeZone is \"UTC\", but there is no",
            ),
            (
                "{strategy: Provider, schedule: '0 3 31 2 *'}",
                "",
                "InvalidSchedule: rotation.schedule \"0 3 31 2 *\" never fires",
            ),
            (
                "{strategy: Provider, schedule: '*/5 * * * *'}",
                "",
                "InvalidSchedule: rotation.schedule \"*/5 * * * *\" has times",
            ),
            (
                "{strategy: Provider, schedule: '0 3 * * *', timeZone: Mars/Base}",
                "",
                "InvalidSchedule: rotation.timeZone \"Mars/Base\" is not known",
            ),
            (
                "{strategy: Provider, schedule: '0 3 * * *', overlap: 1d}",
                "",
                "InvalidRotation: rotation.overlap is as long as the schedule's interval (1d)",
            ),
            (
                "{strategy: Provider, overlap: soon}",
                "",
                "InvalidRotation: rotation.overlap: \"soon\" is not a duration",
            ),
        ] {
            let told = told(rotation, more).unwrap_or_default();
            assert!(told.starts_with(says), "{rotation} {more}: {told}");
        }
    }
}
