//! What a secret's versions are and how their labels move, as AWS does it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use serde_json::{Map, Value, json};

use super::{Says, arn};
use crate::support::emulator::{ACCOUNT, REGION};

/// A version of a secret, whose labels are sorted.
#[derive(Clone, Debug)]
pub struct Version {
    pub id: String,
    pub stages: Vec<String>,
    pub says: Says,
    /// In Unix time.
    created: f64,
}

impl Version {
    fn has(&self, stage: &str) -> bool {
        self.stages.iter().any(|s| s == stage)
    }
}

/// What becomes of a rotation by the manager's own function. RotateSecret itself is answered at once, whatever it is.
#[derive(Clone, Debug)]
pub enum Lambda {
    /// It makes this value, so much later.
    Succeeds(Duration, String),
    /// It never ends, but by [`finish_rotation`](super::StubManager::finish_rotation).
    Waits,
    /// It stores a value as AWSPENDING and gets no further.
    Fails,
    /// It has stored this value as AWSPENDING, and is at work.
    Halts(String),
    /// It fails, so much later, and takes its AWSPENDING off; its version goes with that, or stays without a label.
    GivesUp {
        /// How much later.
        after: Duration,
        /// Whether its version stays.
        keeps: bool,
    },
}

/// An error's code, and what AWS writes with it.
pub(super) type Refusal = (&'static str, String);

pub(super) const MISSING: &str = "ResourceNotFoundException";

#[derive(Default)]
pub(super) struct Secret {
    pub(super) versions: Vec<Version>,
    pub(super) lambda: Option<Lambda>,
    changed: f64,
    rotated: Option<f64>,
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

fn refused<T>(code: &'static str, text: impl Into<String>) -> Result<T, Refusal> {
    Err((code, text.into()))
}

impl Secret {
    pub(super) fn at(&self, stage: &str) -> Option<&Version> {
        self.versions.iter().find(|version| version.has(stage))
    }

    fn version(&self, id: &str) -> Option<&Version> {
        self.versions.iter().find(|version| version.id == id)
    }

    /// Puts a label on one version, and off all others. AWSPREVIOUS follows AWSCURRENT.
    fn label(&mut self, stage: &str, id: &str) {
        let left = self.at(stage).map(|version| version.id.clone()).filter(|left| left != id);
        for version in &mut self.versions {
            version.stages.retain(|s| s != stage);
            if version.id == id {
                version.stages.push(stage.to_owned());
                version.stages.sort();
            }
        }
        if stage == "AWSCURRENT"
            && let Some(left) = left
        {
            self.label("AWSPREVIOUS", &left);
            for version in self.versions.iter_mut().filter(|version| version.id == id) {
                version.stages.retain(|s| s != "AWSPREVIOUS");
            }
        }
        self.changed = now();
    }

    /// A new version with these labels; the first one is current in any case.
    pub(super) fn add(&mut self, id: &str, says: Says, stages: &[&str]) {
        let first = self.versions.is_empty();
        self.versions.push(Version { id: id.to_owned(), stages: Vec::new(), says, created: now() });
        for stage in stages {
            self.label(stage, id);
        }
        if first {
            self.label("AWSCURRENT", id);
        }
    }

    /// PutSecretValue.
    pub(super) fn put(&mut self, token: &str, says: Says, stages: &[&str]) -> Result<(), Refusal> {
        match self.version(token) {
            Some(version) if version.says == says => Ok(()),
            Some(_) => refused("ResourceExistsException", "that ClientRequestToken is in use for another value"),
            None => {
                self.add(token, says, stages);
                Ok(())
            }
        }
    }

    /// UpdateSecretVersionStage.
    pub(super) fn move_stage(&mut self, stage: &str, from: Option<&str>, to: Option<&str>) -> Result<(), Refusal> {
        if let Some(unknown) = [from, to].into_iter().flatten().find(|id| self.version(id).is_none()) {
            return refused(MISSING, format!("can't find the specified secret version: {unknown}"));
        }
        let at = self.at(stage).map(|version| version.id.clone());
        if at.as_deref() != from && at.as_deref() != to {
            return refused(
                "InvalidParameterException",
                format!("Staging label {stage} is attached to another version: reference it in RemoveFromVersionId"),
            );
        }
        if from.is_some() && at.as_deref() != from {
            return refused("InvalidParameterException", format!("RemoveFromVersionId has no staging label {stage}"));
        }
        match to {
            Some(to) => self.label(stage, to),
            None if stage == "AWSCURRENT" => {
                return refused("InvalidParameterException", "AWSCURRENT can only be moved");
            }
            None => {
                for version in &mut self.versions {
                    version.stages.retain(|s| s != stage);
                }
                self.changed = now();
            }
        }
        Ok(())
    }

    /// RotateSecret: begins, and says what is to come of it.
    pub(super) fn rotate(&mut self, token: &str) -> Result<Option<Lambda>, Refusal> {
        let Some(lambda) = self.lambda.clone() else {
            return refused(
                "InvalidRequestException",
                "No Lambda rotation function ARN is associated with this secret.",
            );
        };
        if self.version(token).is_some() {
            return Ok(None);
        }
        if self.at("AWSPENDING").is_some_and(|pending| !pending.has("AWSCURRENT")) {
            return refused(
                "InvalidRequestException",
                "A previous rotation isn't complete. That rotation will be reattempted.",
            );
        }
        let says = match &lambda {
            Lambda::Fails => Says::Text("half done".to_owned()),
            Lambda::Halts(value) => Says::Text(value.clone()),
            _ => Says::Nothing,
        };
        self.add(token, says, &["AWSPENDING"]);
        Ok(Some(lambda))
    }

    /// What the function does last: the pending version gets its value and is current. False if none is pending.
    pub(super) fn finish(&mut self, value: &str) -> bool {
        let Some(pending) = self.versions.iter_mut().find(|version| version.has("AWSPENDING")) else { return false };
        pending.says = Says::Text(value.to_owned());
        pending.stages.retain(|stage| stage != "AWSPENDING");
        let id = pending.id.clone();
        self.label("AWSCURRENT", &id);
        self.rotated = Some(now());
        true
    }

    /// What the function does at its end, if it ends.
    pub(super) fn end(&mut self, lambda: Option<Lambda>) {
        match lambda {
            Some(Lambda::Succeeds(_, value)) => drop(self.finish(&value)),
            Some(Lambda::GivesUp { keeps, .. }) => self.give_up(keeps),
            Some(Lambda::Waits | Lambda::Fails | Lambda::Halts(_)) | None => {}
        }
    }

    /// What the function does that cleans up after itself.
    fn give_up(&mut self, keeps: bool) {
        self.versions.retain(|version| keeps || !version.has("AWSPENDING"));
        for version in &mut self.versions {
            version.stages.retain(|stage| stage != "AWSPENDING");
        }
        self.changed = now();
    }

    /// The version that a GetSecretValue asks for.
    pub(super) fn asked(&self, request: &Value) -> Result<&Version, Refusal> {
        if let Some(id) = request["VersionId"].as_str() {
            let found = self.version(id);
            return found.map_or_else(|| refused(MISSING, format!("can't find VersionId: {id}")), Ok);
        }
        let stage = request["VersionStage"].as_str().unwrap_or("AWSCURRENT");
        self.at(stage).map_or_else(|| refused(MISSING, format!("can't find staging label: {stage}")), Ok)
    }

    /// DescribeSecret.
    pub(super) fn described(&self, key: &str) -> Value {
        let labelled = self.versions.iter().filter(|version| !version.stages.is_empty());
        let stages: Map<String, Value> = labelled.map(|version| (version.id.clone(), json!(version.stages))).collect();
        let mut described = json!({"LastChangedDate": self.changed, "VersionIdsToStages": stages});
        for (field, value) in identity(key, self.at("AWSCURRENT").map(|current| &current.says)) {
            described[field] = value;
        }
        if self.lambda.is_some() {
            described["RotationEnabled"] = json!(true);
            described["RotationLambdaARN"] =
                json!(format!("arn:aws:lambda:{REGION}:{ACCOUNT}:function:rotates-a-secret"));
        }
        if let Some(rotated) = self.rotated {
            described["LastRotatedDate"] = json!(rotated);
        }
        described
    }
}

/// Whose the answer says that it is.
pub(super) fn identity(key: &str, says: Option<&Says>) -> [(&'static str, Value); 2] {
    match says {
        Some(Says::Another { name, arn, .. }) => [("Name", json!(name)), ("ARN", json!(arn))],
        _ => [("Name", json!(key)), ("ARN", json!(arn(ACCOUNT, REGION, key)))],
    }
}

/// A version as it is read, if it has a value.
pub(super) fn entry(key: &str, version: &Version) -> Option<Value> {
    let mut entry = json!({"VersionStages": version.stages, "CreatedDate": version.created, "VersionId": version.id});
    for (field, value) in identity(key, Some(&version.says)) {
        entry[field] = value;
    }
    match &version.says {
        Says::Text(text) | Says::Another { value: text, .. } => entry["SecretString"] = json!(text),
        Says::Binary(bytes) => {
            entry["SecretBinary"] = json!(base64::engine::general_purpose::STANDARD.encode(bytes));
        }
        Says::Error(_) | Says::Nothing => return None,
    }
    Some(entry)
}
