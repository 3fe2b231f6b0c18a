//! A leak: `kubectl scoped-secrets revoke`, of every key that a ScopedSecret names or of one key, by KeyRevocations.

mod annotation;
mod key;

use super::change::effects::Effects;
use super::change::look::{self, Sight};
use super::change::plan::Plan;
use super::change::wait::{Progress, Wait, condition, told};
use super::change::{ChangeArgs, Talk, carry_out};
use super::cluster::Failure;
use super::command::Surroundings;
use super::names::read_name;
use super::remote::Remote;
use super::report::Subject;
use crate::api::GROUP;
use crate::segmentation::key::CanonicalKey;
use kube::ResourceExt;
use serde_json::Value;
use std::collections::BTreeSet;

/// Take a leaked key's value away, everywhere, at once.
///
/// Every Secret that holds a revoked version goes, and stays away until the manager has a newer one. It creates a KeyRevocation for
/// the key, or for each key that the ScopedSecret names. Who may not create one (it is the platform team's) revokes a ScopedSecret's
/// keys by its annotation scopedsecrets.io/revoke, where others claim a key, too, with the verb revoke on scopedsecrets.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "kubectl scoped-secrets revoke [OPTIONS] --reason <REASON> <SCOPEDSECRET | --key <KEY> --store <STORE>>"
)]
#[command(
    after_help = "Exit code: 0 done, 1 not done in the end (--wait; such as pods that still hold the value), or the answer was no, 2 error.

Examples:
  kubectl scoped-secrets revoke orders -n payments-prod --reason INC-123
  kubectl scoped-secrets revoke --key payments/prod/db --store aws-prod --reason 'seen in a build log' --yes --wait"
)]
pub struct Revoke {
    /// A ScopedSecret: every key that it names.
    #[arg(value_name = "SCOPEDSECRET", value_parser = read_name, required_unless_present = "key", conflicts_with_all = ["key", "store"])]
    pub name: Option<String>,
    /// A key of a secrets manager.
    #[arg(long, value_name = "KEY", requires = "store")]
    pub key: Option<String>,
    /// The ScopedSecretStore of --key.
    #[arg(long, value_name = "STORE", value_parser = read_name, requires = "key")]
    pub store: Option<String>,
    /// Why, such as an incident; it stands in the KeyRevocation.
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// Even if a KeyRevocation of the key is not complete yet: the newer version leaked, too.
    #[arg(long)]
    pub again: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub change: ChangeArgs,
}

/// Shows, asks, writes, waits.
pub async fn run(asked: &Revoke, around: &Surroundings<'_>, talk: &mut Talk<'_>) -> Result<u8, Failure> {
    let cluster = asked.change.connect().await?;
    let Some(name) = &asked.name else {
        let plan = key::plan(&key::look(&cluster, asked).await?)?;
        return carry_out(&asked.change, &cluster, around, plan, made, talk).await;
    };
    let now = (around.clock)();
    let sight = look::look(&cluster, name, now).await?;
    let plan = plan(&sight, &key::standing(&cluster).await?, asked)?;
    if cluster.may("create", GROUP, "keyrevocations", None, None).await? {
        return carry_out(&asked.change, &cluster, around, plan, made, talk).await;
    }
    if annotation::takes_the_verb(&sight)
        && !cluster.may("revoke", GROUP, "scopedsecrets", Some(&cluster.namespace), Some(name)).await?
    {
        return Err(annotation::not_allowed(&sight));
    }
    let plan = annotation::instead(plan, &sight, now)?;
    let name = name.clone();
    let wait = |_: &[Value]| vec![Wait { kind: "ScopedSecret", namespaced: true, name, judge: Box::new(progress) }];
    carry_out(&asked.change, &cluster, around, plan, wait, talk).await
}

/// The KeyRevocations that were created.
fn made(written: &[Value]) -> Vec<Wait> {
    let name = |one: &Value| one.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned();
    let wait = |one| Wait { kind: "KeyRevocation", namespaced: false, name: name(one), judge: Box::new(key::progress) };
    written.iter().map(wait).collect()
}

/// What will happen. Pure.
fn plan(sight: &Sight, standing: &[key::Standing], asked: &Revoke) -> Result<Plan, Failure> {
    let (claim, effects) = (&sight.claim, &sight.effects);
    let about = Subject::namespaced("ScopedSecret", &claim.namespace().unwrap_or_default(), &claim.name_any());
    let open = |key: &str, store: &str| {
        standing.iter().find(|other| !other.complete && other.key == key && other.store == store && !asked.again)
    };
    // What the Secret has of another place than the store's: of its ARN too little is known to name it.
    let (beyond, named): (Vec<_>, Vec<_>) =
        effects.keys.iter().partition(|remote| CanonicalKey::written_whole(&remote.key).is_some());
    let (revoked, left): (Vec<_>, Vec<_>) =
        named.into_iter().partition(|remote| open(&remote.key, &remote.store).is_some());
    if left.is_empty() {
        let by = revoked.iter().filter_map(|remote| open(&remote.key, &remote.store));
        let by: BTreeSet<&str> = by.map(|other| other.name.as_str()).collect();
        let text = format!(
            "{about} is revoked already: each of its keys has a KeyRevocation that is not complete yet ({}); if a newer version leaked, too, write --again",
            by.into_iter().collect::<Vec<_>>().join(", ")
        );
        return Err(Failure::Usage(text));
    }
    let keys: Vec<&str> = left.iter().map(|remote| remote.key.as_str()).collect();
    let held: Vec<&Remote> = left.iter().copied().filter(|remote| remote.version.is_some()).collect();
    let mut facts = effects.facts();
    facts.extend(revoked.iter().map(|remote| ("revoked", format!("{} is being revoked already", remote.key))));
    Ok(Plan {
        verb: "revoke",
        about,
        facts,
        happens: vec![
            format!("{} is revoked: each version that the manager has made until now", keys.join(", ")),
            of_secret(effects, &held, &beyond),
            "pods that start from then on wait; those that run keep the value until they are restarted (the KeyRevocation lists them)".to_owned(),
            "once the manager has a newer version, the Secret is back with it: store one there".to_owned(),
        ],
        notes: std::iter::once("deleting the KeyRevocation lifts it early".to_owned()).chain(kept(&beyond)).collect(),
        writes: left.iter().map(|remote| key::revocation(&remote.store, &remote.key, &asked.reason)).collect(),
        done: "KeyRevocation {name} was created".to_owned(),
    })
}

/// What becomes of the Secret, and of whoever else claims the keys, given which of those that it has are revoked, and which are not.
fn of_secret(effects: &Effects, going: &[&Remote], staying: &[&Remote]) -> String {
    let shared = effects.shared();
    let others = match shared.is_empty() {
        true => "nobody else claims these keys".to_owned(),
        false => format!("whoever else claims one of these keys loses it, too: {}", shared.join(", ")),
    };
    let goes = match going.is_empty() && !staying.is_empty() {
        true => "has none of them and stays, until it would get one",
        false => "is taken away at once",
    };
    format!("the Secret {} {goes}; {others}", effects.secret)
}

/// That a Secret has keys, too, that are not revoked with the others.
fn kept(staying: &[&Remote]) -> Option<String> {
    let keys: Vec<&str> = staying.iter().map(|remote| remote.key.as_str()).collect();
    (!keys.is_empty()).then(|| {
        format!(
            "the Secret has {}, too, which this does not revoke: that takes a KeyRevocation of its own (revoke --key KEY --store STORE, with the full ARN of a key of another account)",
            keys.join(", ")
        )
    })
}

/// Whether its Secret is gone for the annotation. Pure.
fn progress(now: Option<&Value>) -> Progress {
    let Some(now) = now else { return Progress::Done("the ScopedSecret was deleted".to_owned()) };
    let gone = now.pointer("/status/secretRef").is_none();
    let revoked = matches!(condition(now, "Authorized"), Some(("False", "KeyRevoked", _)));
    if !(gone && revoked) {
        return Progress::Open(told(now, "Authorized"));
    }
    Progress::Done(
        "its Secret is gone; the KeyRevocations say which others and which pods still have the value".to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::change::effects;
    use crate::cli::change::write::Write;
    use crate::cli::observed::build;
    use crate::cli::observed::tests::{claim, facts, now};
    use clap::Parser;
    use serde_json::json;

    #[derive(Parser)]
    struct Asked {
        #[command(flatten)]
        revoke: Revoke,
    }

    #[test]
    fn who_may_create_none_asks_by_the_annotation() {
        let object = claim("payments-prod", "orders", "payments/prod/db", 1, true);
        let other = claim("payments-prod", "other", "payments/prod/db", 2, true);
        let sight = |note: serde_json::Value, others: &[serde_json::Value]| {
            let mut object = object.clone();
            object["metadata"]["annotations"] = note;
            let all: Vec<_> = std::iter::once(&object).chain(others).cloned().collect();
            let observed = build(facts(&all));
            let effects = effects::of(&observed.claims[0], &object["spec"], &observed, None, now());
            let object = serde_json::from_value(object).unwrap();
            Sight { object, claim: observed.claims[0].clone(), observed, effects }
        };
        let asked = Asked::try_parse_from(["revoke", "orders", "--reason", "INC-1"]).unwrap().revoke;
        let instead = |sight: &Sight| annotation::instead(plan(sight, &[], &asked).unwrap(), sight, now()).unwrap();
        let notes = |write: &Write| match write {
            Write::Patch { patch, .. } => patch["metadata"]["annotations"]["scopedsecrets.io/revoke"].clone(),
            Write::Create { .. } => panic!("{write:?}"),
        };
        let fresh = instead(&sight(json!({}), &[]));
        assert_eq!(fresh.writes.iter().map(notes).collect::<Vec<_>>(), [json!("true")]);
        assert!(fresh.happens[0].contains("payments/prod/db is revoked"), "{:?}", fresh.happens);
        assert!(!fresh.notes.iter().any(|note| note.contains("the verb revoke")), "{:?}", fresh.notes);
        let off = "kubectl annotate scopedsecret orders -n payments-prod scopedsecrets.io/revoke-";
        assert!(fresh.notes.iter().any(|note| note.contains(off)), "{:?}", fresh.notes);
        let stands = || json!({"scopedsecrets.io/revoke": "true"});
        let again = instead(&sight(stands(), std::slice::from_ref(&other)));
        assert_eq!(again.writes.iter().map(notes).collect::<Vec<_>>(), [json!(null), json!("true")]);
        assert!(again.notes.iter().any(|note| note.contains("the verb revoke")), "{:?}", again.notes);
        // What takes the annotation off must be let set it anew.
        let thief = claim("billing-prod", "thief", "payments/prod/db", 2, false);
        for (note, others, takes) in [
            (stands(), vec![other.clone()], true),
            (stands(), vec![thief, other.clone()], true),
            (stands(), vec![claim("billing-prod", "thief", "payments/prod/db", 2, false)], false),
            (stands(), vec![], false),
            (json!({}), vec![other.clone()], false),
        ] {
            let sight = sight(note, &others);
            assert_eq!(annotation::takes_the_verb(&sight), takes, "{others:?}");
        }
        let told = annotation::not_allowed(&sight(stands(), &[other])).to_string();
        assert!(told.contains("the verb revoke on scopedsecrets.scopedsecrets.io \"orders\""), "{told}");
    }

    #[test]
    fn each_key_gets_a_revocation_unless_it_has_one_that_goes_on() {
        let mut object = claim("payments-prod", "orders", "payments/prod/db", 1, true);
        let api = json!({"secretKey": "api", "remoteRef": {"key": "payments/prod/api"}});
        object["spec"]["data"].as_array_mut().unwrap().push(api);
        let observed = build(facts(std::slice::from_ref(&object)));
        let effects = effects::of(&observed.claims[0], &object["spec"], &observed, None, now());
        let object = serde_json::from_value(object).unwrap();
        let sight = Sight { object, claim: observed.claims[0].clone(), observed, effects };
        let standing =
            |key: &str, complete| key::Standing { name: "leak".into(), key: key.into(), store: "aws".into(), complete };
        let asked = |more: &[&str]| {
            let words = ["revoke", "orders", "--reason", "INC-1"].iter().chain(more);
            Asked::try_parse_from(words).unwrap().revoke
        };
        let revoked = |standing: &[key::Standing], more: &[&str]| -> Result<Vec<String>, String> {
            let plan = plan(&sight, standing, &asked(more)).map_err(|failure| failure.to_string())?;
            let key = |write: &Write| match write {
                Write::Create { object, .. } => object["spec"]["key"].as_str().unwrap().to_owned(),
                Write::Patch { .. } => panic!("{write:?}"),
            };
            Ok(plan.writes.iter().map(key).collect())
        };
        let (db, api) = ("payments/prod/db", "payments/prod/api");
        assert_eq!(revoked(&[], &[]).unwrap(), [db, api]);
        assert_eq!(revoked(&[standing(db, true)], &[]).unwrap(), [db, api], "a newer version may have leaked");
        assert_eq!(revoked(&[standing(db, false)], &[]).unwrap(), [api]);
        let both = [standing(db, false), standing(api, false)];
        assert!(revoked(&both, &[]).unwrap_err().contains("revoked already"));
        assert_eq!(revoked(&both, &["--again"]).unwrap(), [db, api]);
    }

    #[test]
    fn what_is_shown_is_what_is_revoked() {
        let whole = "aws:999999999999:eu-west-1:payments/prod/db";
        let asked = Asked::try_parse_from(["revoke", "orders", "--reason", "INC-1"]).unwrap().revoke;
        let sight = |key: &str, held: &str| {
            let mut object = claim("payments-prod", "orders", key, 1, true);
            object["status"]["remoteVersions"] = json!([{"key": held, "versionId": "v1"}]);
            let observed = build(facts(std::slice::from_ref(&object)));
            let effects = effects::of(&observed.claims[0], &object["spec"], &observed, None, now());
            let object = serde_json::from_value(object).unwrap();
            Sight { object, claim: observed.claims[0].clone(), observed, effects }
        };
        let created = |plan: &Plan| -> Vec<String> {
            let key = |write: &Write| match write {
                Write::Create { object, .. } => object["spec"]["key"].as_str().unwrap().to_owned(),
                Write::Patch { .. } => panic!("{write:?}"),
            };
            plan.writes.iter().map(key).collect()
        };
        let (new, old, foreign) = ("payments/prod/new", "payments/prod/old", "billing/prod/db");
        for (what, key, held, direct, by_annotation, stays) in [
            ("as it is named", new, new, &[new][..], Some(new), false),
            ("edited, and not fetched yet", new, old, &[new, old], Some(new), true),
            ("away from another account's", new, whole, &[new], Some(new), true),
            ("refused, its Secret as it was", foreign, old, &[foreign, old], Some(old), false),
            ("refused, with another account's", foreign, whole, &[foreign], None, true),
        ] {
            let sight = sight(key, held);
            let plan = plan(&sight, &[], &asked).unwrap();
            assert_eq!(created(&plan), direct, "{what}");
            let says = |plan: &Plan, part: &str| plan.happens.iter().chain(&plan.notes).any(|line| line.contains(part));
            assert_eq!(says(&plan, &format!("the Secret has {whole}, too")), held == whole, "{what}");
            let asked = annotation::instead(plan, &sight, now());
            assert_eq!(asked.is_ok(), by_annotation.is_some(), "{what}");
            let (Ok(asked), Some(revoked)) = (asked, by_annotation) else { continue };
            assert!(asked.happens[0].starts_with(&format!("{revoked} is revoked")), "{what}: {}", asked.happens[0]);
            assert_eq!(says(&asked, "has none of them and stays"), stays, "{what}");
            assert_eq!(says(&asked, &format!("the Secret has {held}, too")), stays, "{what}");
        }
    }

    #[test]
    fn it_is_done_when_the_secret_is_gone_for_that() {
        let object = |status: &str, reason: &str, secret: bool| {
            let condition = json!({"type": "Authorized", "status": status, "reason": reason, "message": "m"});
            let mut object = json!({"status": {"conditions": [condition]}});
            if secret {
                object["status"]["secretRef"] = json!({"name": "orders"});
            }
            object
        };
        for (now, done) in [
            (object("True", "Allowed", true), false),
            (object("False", "KeyRevoked", true), false),
            (object("True", "Allowed", false), false),
            (object("False", "KeyNotAllowed", false), false),
            (object("False", "KeyRevoked", false), true),
        ] {
            assert_eq!(matches!(progress(Some(&now)), Progress::Done(_)), done, "{now}");
        }
    }
}
