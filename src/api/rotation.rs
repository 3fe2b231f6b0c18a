//! `spec.rotation` of a ScopedSecret: when its one remote key gets a new value, and who makes it.

use super::duration;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use std::fmt;

/// When the remote key gets a new value, and who makes it. Without schedule and after: only on demand, by the annotation
/// scopedsecrets.io/rotate-at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "!has(self.generate) || self.strategy == 'Generate'",
     "message": "rotation.generate is for strategy Generate: with strategy Provider the manager's own rotation makes the value; remove it"},
    {"rule": "!has(self.timeZone) || has(self.schedule)",
     "message": "rotation.timeZone is for rotation.schedule: write a schedule, or remove it"}
]))]
pub struct Rotation {
    /// A cron line of five fields: minute, hour, day of month, month, day of week, such as `0 3 * * 0`. At least ten minutes
    /// must lie between two times. Each rotation comes up to a tenth of the interval later, and at most an hour, always by
    /// as much. A time that was missed is made up for once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 9, max = 128), extend("x-kubernetes-validations" = [
        {"rule": "self.matches('^ *[-0-9A-Za-z*,/]+( +[-0-9A-Za-z*,/]+){4} *$')",
         "message": "rotation.schedule is a cron line of five fields: minute, hour, day of month, month and day of week, such as '0 3 * * 0' (digits, names, and * , - /)"}
    ]))]
    pub schedule: Option<String>,
    /// The schedule's time zone, such as Europe/Stockholm. Default: UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub time_zone: Option<String>,
    /// Provider: the manager's own rotation makes the value (needs the policy's action Rotate). Generate: the operator makes
    /// and stores it (needs the action Generate).
    pub strategy: Strategy,
    /// How the operator makes the value; for strategy Generate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generate: Option<Generate>,
    /// How long the value before stays readable as `previous.<secretKey>`: `90s`, `1h30m` or whole days `1d`. Shorter than
    /// the schedule's interval. Default: not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), extend("x-kubernetes-validations" = duration::validations("rotation.overlap", None, 365)))]
    pub overlap: Option<String>,
    /// What else the key is rotated after.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 2), extend("x-kubernetes-list-type" = "set"))]
    pub after: Vec<After>,
}

/// Who makes the new value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Strategy {
    /// The manager's own rotation.
    Provider,
    /// The operator, which stores it in the manager.
    Generate,
}

impl Strategy {
    /// The one that this is not.
    pub fn other(self) -> Self {
        match self {
            Self::Provider => Self::Generate,
            Self::Generate => Self::Provider,
        }
    }
}

/// How the operator makes a value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Generate {
    /// The property of the remote value's JSON that is made anew; the others stay as they are. Absent: the whole value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub property: Option<String>,
    /// How many characters. Default: 32.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "length_schema")]
    pub length: Option<u32>,
    /// Which classes of characters: of each at least one. Default: [Lower, Upper, Digits].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4), extend("x-kubernetes-list-type" = "set"))]
    pub include: Vec<CharacterClass>,
    /// Characters that are left out, such as those that a connection string cannot have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub exclude: Option<String>,
}

/// The fewest characters of a generated value: what is shorter can be guessed.
pub const MIN_LENGTH: usize = 16;
/// The most characters of a generated value.
pub const MAX_LENGTH: usize = 1024;

fn length_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "integer", "format": "int32", "minimum": MIN_LENGTH, "maximum": MAX_LENGTH})
}

/// A class of characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum CharacterClass {
    /// a to z.
    Lower,
    /// A to Z.
    Upper,
    /// 0 to 9.
    Digits,
    /// Printable ASCII beside letters, digits and the space.
    Symbols,
}

impl CharacterClass {
    /// Every class.
    pub const ALL: [Self; 4] = [Self::Lower, Self::Upper, Self::Digits, Self::Symbols];

    /// Whether a character is of this class.
    pub fn has(self, character: u8) -> bool {
        match self {
            Self::Lower => character.is_ascii_lowercase(),
            Self::Upper => character.is_ascii_uppercase(),
            Self::Digits => character.is_ascii_digit(),
            Self::Symbols => character.is_ascii_punctuation(),
        }
    }
}

/// As it is written in a spec.
impl fmt::Display for CharacterClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What a rotation comes after, beside the schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum After {
    /// A consumer's workload rolled out a new pod template.
    Rollout,
    /// The RBAC of a consumer changed.
    RoleChange,
}
