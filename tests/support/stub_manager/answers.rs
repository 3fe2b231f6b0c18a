//! What is said to each call.

use std::sync::Arc;
use std::thread;

use base64::Engine;
use serde_json::{Value, json};

use super::secrets::{MISSING, Refusal, entry, identity};
use super::{AWS_SAYS, Desk, Lambda, Request, Says, State, Version, arn, lock};
use crate::support::emulator::{ACCOUNT, REGION};

const JSON: &str = "application/x-amz-json-1.1";

pub(super) fn refusal(request: &Request, status: u16, code: &str) -> (u16, &'static str, String) {
    if request.target.is_empty() {
        let body = format!(
            "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{AWS_SAYS}</Message></Error></ErrorResponse>"
        );
        return (status, "text/xml", body);
    }
    (status, JSON, error(code, ""))
}

/// An error's body. Of what AWS writes only this is kept that a client has to tell cases apart by.
fn error(code: &str, text: &str) -> String {
    json!({"__type": code, "Message": format!("{text} {AWS_SAYS}").trim_start()}).to_string()
}

pub(super) fn answer(request: &Request, desk: &Arc<Desk>) -> (u16, &'static str, String) {
    if request.target.is_empty() {
        let body = format!(
            "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><GetCallerIdentityResult>\
             <Arn>arn:aws:iam::{ACCOUNT}:user/stub</Arn><UserId>AIDASTUB</UserId><Account>{ACCOUNT}</Account>\
             </GetCallerIdentityResult></GetCallerIdentityResponse>"
        );
        return (200, "text/xml", body);
    }
    let mut state = lock(&desk.state);
    let (one, keys) = request.keys();
    state.calls.push((request.target.clone(), keys.clone()));
    match one {
        Some(id) => match of_one(request, &id, &mut state, desk) {
            Ok(body) => (200, JSON, body.to_string()),
            Err((code, text)) => (400, JSON, error(code, &text)),
        },
        None => (200, JSON, of_many(&keys, &state).to_string()),
    }
}

/// The name under which it has what an ARN, or a name, is of.
fn name_of(id: &str, state: &State) -> String {
    let (before, after) = ("AnyName", arn(ACCOUNT, REGION, "AnyName"));
    let own = after.split_once(before).and_then(|(prefix, suffix)| id.strip_prefix(prefix)?.strip_suffix(suffix));
    own.filter(|_| !state.keys.contains_key(id)).unwrap_or(id).to_owned()
}

fn of_one(request: &Request, id: &str, state: &mut State, desk: &Arc<Desk>) -> Result<Value, Refusal> {
    let key = name_of(id, state);
    let asked: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let text = |field: &str| asked[field].as_str();
    let secret = state.keys.get_mut(&key).ok_or((MISSING, String::new()))?;
    if request.target == "GetSecretValue" {
        let version = secret.asked(&asked)?;
        return match (&version.says, entry(&key, version)) {
            (Says::Error(code), _) => Err((*code, String::new())),
            // A label without a value, as a rotation leaves it that has stored none.
            (Says::Nothing, _) if text("VersionId").is_some() => Err((
                MISSING,
                format!("Secrets Manager can't find the specified secret value for VersionId: {AWS_SAYS}"),
            )),
            (_, entry) => Ok(entry.unwrap_or_else(|| json!({}))),
        };
    }
    if let Some(Says::Error(code)) = secret.at("AWSCURRENT").map(|current| &current.says) {
        return Err((*code, String::new()));
    }
    let token = text("ClientRequestToken").unwrap_or_default();
    let mut answer = json!({});
    match &*request.target {
        "DescribeSecret" => return Ok(secret.described(&key)),
        "PutSecretValue" => {
            let binary = text("SecretBinary").and_then(|t| base64::engine::general_purpose::STANDARD.decode(t).ok());
            let says =
                binary.map(Says::Binary).or_else(|| text("SecretString").map(|text| Says::Text(text.to_owned())));
            let stages: Vec<&str> =
                asked["VersionStages"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            let stages = if stages.is_empty() { vec!["AWSCURRENT"] } else { stages };
            secret.put(token, says.unwrap_or(Says::Nothing), &stages)?;
            answer["VersionId"] = json!(token);
        }
        "UpdateSecretVersionStage" => {
            let stage = text("VersionStage").unwrap_or_default();
            secret.move_stage(stage, text("RemoveFromVersionId"), text("MoveToVersionId"))?;
        }
        "RotateSecret" => {
            let lambda = secret.rotate(token)?;
            match lambda {
                Some(Lambda::Succeeds(after, _) | Lambda::GivesUp { after, .. }) if !after.is_zero() => {
                    let (desk, key) = (Arc::clone(desk), key.clone());
                    thread::spawn(move || {
                        thread::sleep(after);
                        lock(&desk.state).keys.get_mut(&key).map(|secret| secret.end(lambda))
                    });
                }
                at_once => secret.end(at_once),
            }
            answer["VersionId"] = json!(token);
        }
        other => return Err(("InvalidAction", format!("{other} is not known here"))),
    }
    for (field, value) in identity(&key, secret.at("AWSCURRENT").map(|current| &current.says)) {
        answer[field] = value;
    }
    Ok(answer)
}

fn of_many(keys: &[String], state: &State) -> Value {
    let (mut values, mut errors) = (Vec::new(), Vec::new());
    for id in keys {
        let key = name_of(id, state);
        match state.keys.get(&key).and_then(|secret| secret.at("AWSCURRENT")) {
            None => errors.push(json!({"SecretId": id, "ErrorCode": MISSING, "Message": AWS_SAYS})),
            Some(Version { says: Says::Error(code), .. }) => {
                errors.push(json!({"SecretId": id, "ErrorCode": code, "Message": AWS_SAYS}));
            }
            Some(version) => values.extend(entry(&key, version)),
        }
    }
    json!({"SecretValues": values, "Errors": errors})
}
