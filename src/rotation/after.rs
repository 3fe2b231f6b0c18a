//! `rotation.after`: when a rollout of a consumer, or a change of what RBAC gives it, asks for a rotation. Pure.
//!
//! What is seen first is written down and asks for nothing. What asks for a rotation is in the seal before anybody acts on it, with
//! the time, so that it names one slot whoever leads; it leaves the seal once the key was rotated. Within an hour of one nothing
//! more asks: what changes meanwhile asks when the hour is over.

use super::slot::Trigger;
use crate::api::GROUP;
use crate::digest::sha256_hex;
use crate::segmentation::followed::Followed;
use crate::segmentation::second::Second;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::api::rbac::v1::PolicyRule;
use std::collections::{BTreeMap, BTreeSet};

/// At most so often.
pub const APART: SignedDuration = SignedDuration::from_hours(1);

/// So many workloads of one claim are followed: their hashes are in its seal.
pub const MOST: usize = 64;

/// What is seen of a claim's consumers. None: it is not asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// The workloads that use the Secret, each with its pod template; None while that is being rolled out.
    pub templates: Option<BTreeMap<Box<str>, Option<Template>>>,
    /// The hash of what RBAC gives the consumers.
    pub roles: Option<Box<str>>,
}

/// What is seen of a pod template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// Its [hash](template_hash).
    pub hash: Box<str>,
    /// Whether its last restart, if it is nothing else, [asks for no rotation](is_for_a_value).
    pub for_a_value: bool,
}

/// What the seal is to say after a look; None: what it says.
pub fn follow(known: Option<&Followed>, seen: &Seen, now: Timestamp) -> Option<Followed> {
    let mut next = known.cloned().unwrap_or_default();
    if let Some(templates) = &seen.templates {
        follow_templates(&mut next, templates, now);
    } else {
        (next.templates, next.rollout) = (None, None);
    }
    match (&next.roles, &seen.roles) {
        (Some(known), Some(seen)) if known != seen => {
            if next.role_change.is_none() && is_apart(next.role_change_at, now) {
                next.role_change = Some(slot(now, seen));
                next.role_change_at = Some(now.into());
                next.roles = Some(seen.clone());
            }
        }
        (_, seen) => next.roles.clone_from(seen),
    }
    if seen.roles.is_none() {
        next.role_change = None;
    }
    (known != Some(&next)).then_some(next)
}

fn follow_templates(next: &mut Followed, seen: &BTreeMap<Box<str>, Option<Template>>, now: Timestamp) {
    let first = next.templates.is_none();
    let mut known = next.templates.take().unwrap_or_default();
    known.retain(|name, _| seen.contains_key(name));
    let mut changed: BTreeMap<&Box<str>, &Box<str>> = BTreeMap::new();
    for (name, template) in seen {
        // One that is being rolled out is what it was, until that is over.
        let Some(Template { hash, for_a_value }) = template else { continue };
        match known.get(name) {
            Some(old) if old == hash => {}
            Some(old) if *for_a_value && is_restart(old, hash) => drop(known.insert(name.clone(), hash.clone())),
            Some(_) => drop(changed.insert(name, hash)),
            None if known.len() < MOST => drop(known.insert(name.clone(), hash.clone())),
            None => {}
        }
    }
    if !first && !changed.is_empty() && next.rollout.is_none() && is_apart(next.rollout_at, now) {
        let all: String = changed.iter().map(|(name, hash)| format!("{name} {hash}\n")).collect();
        next.rollout = Some(slot(now, &short(&all)));
        next.rollout_at = Some(now.into());
        known.extend(changed.into_iter().map(|(name, hash)| (name.clone(), hash.clone())));
    }
    next.templates = Some(known);
}

/// A time that is further ahead is another clock's.
fn is_apart(last: Option<Second>, now: Timestamp) -> bool {
    last.is_none_or(|last| now.duration_since(last.into()).abs() >= APART)
}

/// With the time: a template that comes back is another rollout.
fn slot(now: Timestamp, what: &str) -> Box<str> {
    format!("{} {what}", Second::from(now)).into()
}

/// What the key is still to be rotated after.
pub fn triggers(known: &Followed) -> impl Iterator<Item = Trigger> + use<> {
    let rollout = known.rollout.clone().map(Trigger::Rollout);
    rollout.into_iter().chain(known.role_change.clone().map(Trigger::RoleChange))
}

/// What the seal is to say once the key was rotated after this; None: what it says.
pub fn settle(known: &Followed, trigger: &Trigger) -> Option<Followed> {
    let mut next = known.clone();
    match trigger {
        Trigger::Rollout(slot) => next.rollout = next.rollout.filter(|due| due != slot),
        Trigger::RoleChange(slot) => next.role_change = next.role_change.filter(|due| due != slot),
        _ => {}
    }
    (next != *known).then_some(next)
}

/// A hash of a pod template, without what the operator itself writes on it. The marks of other restarts have a hash of their own behind
/// it.
pub fn template_hash(template: &PodTemplateSpec) -> Box<str> {
    let mut template = template.clone();
    let mut marks = String::new();
    if let Some(metadata) = &mut template.metadata {
        let ours = format!("{GROUP}/");
        metadata.annotations.iter_mut().for_each(|all| {
            all.retain(|key, value| {
                let is_mark = RESTARTS.iter().any(|mark| key.starts_with(mark));
                if is_mark {
                    marks += &format!("{key} {value}\n");
                }
                !is_mark && !key.starts_with(&ours)
            });
        });
        metadata.labels.iter_mut().for_each(|all| drop(all.remove("pod-template-hash")));
        metadata.annotations = metadata.annotations.take().filter(|all| !all.is_empty());
        metadata.creation_timestamp = None;
    }
    let containers = template.spec.iter_mut().flat_map(|spec| {
        let initial = spec.init_containers.iter_mut().flatten();
        spec.containers.iter_mut().chain(initial)
    });
    for variable in containers.flat_map(|container| &mut container.env) {
        variable.retain(|variable| {
            let is_mark = variable.name.starts_with(RELOADERS);
            if is_mark {
                marks += &format!("{} {:?}\n", variable.name, variable.value);
            }
            !is_mark
        });
    }
    let hash = short(&serde_json::to_string(&template).unwrap_or_default());
    if marks.is_empty() { hash } else { format!("{hash}-{}", short(&marks)).into() }
}

/// The annotations by which `kubectl rollout restart`, Reloader, Wave and Rancher restart a workload, and Reloader's variables.
const RESTARTS: [&str; 4] = [RESTARTED_AT, "reloader.stakater.com/", "wave.pusher.com/", "cattle.io/timestamp"];
const RESTARTED_AT: &str = "kubectl.kubernetes.io/restartedAt";
const RELOADERS: &str = "STAKATER_";

/// Whether a restart asks for no rotation, since it was made for a new value, or one has come since: it began within an hour of the
/// newest value that the workload uses, or before that, however long its rollout takes. Reloader and Wave restart for what is new alone.
pub fn is_for_a_value(template: &PodTemplateSpec, value_since: Option<Timestamp>, now: Timestamp) -> bool {
    let annotations = template.metadata.as_ref().and_then(|metadata| metadata.annotations.as_ref());
    let Some(began) = annotations.and_then(|all| all.get(RESTARTED_AT)) else { return true };
    let began: Timestamp = began.parse().unwrap_or(now);
    value_since.is_some_and(|since| began.duration_since(since) < APART)
}

/// Whether two templates differ by marks of restarts alone.
fn is_restart(old: &str, new: &str) -> bool {
    old.split('-').next() == new.split('-').next()
}

/// What one role gives where it is bound: a line for each rule, whatever the role and the binding are called.
pub fn given(place: &str, rules: &[PolicyRule]) -> Vec<String> {
    rules.iter().map(|rule| format!("{place} {}", serde_json::to_string(rule).unwrap_or_default())).collect()
}

/// A hash of what RBAC gives each consumer.
pub fn roles_hash(given: &BTreeMap<&str, BTreeSet<String>>) -> Box<str> {
    let lines = given.iter().flat_map(|(account, rules)| rules.iter().map(move |rule| format!("{account} {rule}\n")));
    short(&lines.collect::<String>())
}

/// Sixteen digits: nothing hangs on their being hard to find.
fn short(text: &str) -> Box<str> {
    sha256_hex(text.as_bytes())[..16].into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, from_value, json};

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_second(1_767_225_600 + 60 * minute).unwrap()
    }

    fn seen(templates: &[(&str, &str)]) -> Seen {
        restarted(templates, false)
    }

    fn restarted(templates: &[(&str, &str)], for_a_value: bool) -> Seen {
        let template = |text: &str| (!text.is_empty()).then(|| Template { hash: text.into(), for_a_value });
        let templates = templates.iter().map(|(name, text)| ((*name).into(), template(text))).collect();
        Seen { templates: Some(templates), ..Seen::default() }
    }

    #[test]
    fn what_is_seen_first_asks_for_nothing() {
        let first = follow(None, &seen(&[("web", "a"), ("api", "")]), at(0)).unwrap();
        assert_eq!(triggers(&first).count(), 0);
        assert_eq!(first.templates.as_ref().unwrap().len(), 1);
        assert_eq!(follow(Some(&first), &seen(&[("web", "a"), ("api", "")]), at(1)), None);
        let joined = follow(Some(&first), &seen(&[("web", "a"), ("api", "x")]), at(1)).unwrap();
        assert_eq!(triggers(&joined).count(), 0, "a workload that is new has had no other template");
        let roles = Seen { roles: Some("r".into()), ..Seen::default() };
        assert_eq!(triggers(&follow(None, &roles, at(0)).unwrap()).count(), 0);
        assert_eq!(follow(Some(&first), &Seen::default(), at(1)), Some(Followed::default()), "not asked for any more");
    }

    #[test]
    fn a_rollout_asks_once_it_is_over_and_once_an_hour() {
        let first = follow(None, &seen(&[("web", "a"), ("api", "x")]), at(0)).unwrap();
        assert_eq!(follow(Some(&first), &seen(&[("web", ""), ("api", "x")]), at(5)), None, "it is under way");
        let asked = follow(Some(&first), &seen(&[("web", "b"), ("api", "x")]), at(6)).unwrap();
        let due: Vec<Trigger> = triggers(&asked).collect();
        assert!(matches!(&due[..], [Trigger::Rollout(slot)] if slot.starts_with("2026-01-01T00:06:00Z ")), "{due:?}");
        assert_eq!(follow(Some(&asked), &seen(&[("web", "b"), ("api", "x")]), at(7)), None);
        // Another one while that is not done, and within the hour.
        let again = seen(&[("web", "c"), ("api", "x")]);
        assert_eq!(follow(Some(&asked), &again, at(8)), None);
        let done = settle(&asked, &due[0]).unwrap();
        assert_eq!((triggers(&done).count(), settle(&done, &due[0])), (0, None));
        assert_eq!(follow(Some(&done), &again, at(65)), None);
        let later = follow(Some(&done), &again, at(66)).unwrap();
        assert_eq!(triggers(&later).count(), 1);
        assert!(follow(Some(&done), &again, at(-60 * 24 * 30)).is_some(), "by a clock that was ahead");
        // A template that comes back is another rollout.
        let done = settle(&later, &triggers(&later).next().unwrap()).unwrap();
        let back = follow(Some(&done), &seen(&[("web", "b"), ("api", "x")]), at(200)).unwrap();
        assert_ne!(triggers(&back).next(), due.first().cloned());
    }

    #[test]
    fn a_change_of_roles_asks_once() {
        let roles = |hash: &str| Seen { roles: Some(hash.into()), ..Seen::default() };
        let first = follow(None, &roles("a"), at(0)).unwrap();
        let asked = follow(Some(&first), &roles("b"), at(1)).unwrap();
        let due = triggers(&asked).next().unwrap();
        assert_eq!(due.kind(), "RoleChange");
        assert_eq!(follow(Some(&asked), &roles("b"), at(2)), None);
        assert_eq!(follow(Some(&settle(&asked, &due).unwrap()), &roles("a"), at(3)), None, "within the hour");
    }

    #[test]
    fn our_own_restart_is_no_new_template() {
        let hash = |metadata: Value, image: &str| {
            let pods = json!({"containers": [{"name": "c", "image": image}]});
            template_hash(&from_value(json!({"metadata": metadata, "spec": pods})).unwrap())
        };
        let plain = hash(json!({"labels": {"app": "web"}}), "a");
        let restarted = json!({"labels": {"app": "web", "pod-template-hash": "x"}, "annotations": {"scopedsecrets.io/restarted-for": "v2"}});
        assert_eq!(hash(restarted, "a"), plain);
        assert_ne!(hash(json!({"labels": {"app": "web"}}), "b"), plain);
        let by_hand = json!({"labels": {"app": "web"}, "annotations": {"kubectl.kubernetes.io/restartedAt": "now"}});
        assert_ne!(hash(by_hand.clone(), "a"), plain, "somebody else's is one");
        assert!(is_restart(&hash(by_hand.clone(), "a"), &plain) && !is_restart(&hash(by_hand, "b"), &plain));
        let pods = |env: Value| json!({"spec": {"containers": [{"name": "c", "env": env}]}});
        let reloaded = |env| template_hash(&from_value(pods(env)).unwrap());
        let (once, twice) = (
            json!([{"name": "STAKATER_DB_SECRET", "value": "1"}]),
            json!([{"name": "STAKATER_DB_SECRET", "value": "2"}]),
        );
        assert!(
            reloaded(once.clone()) != reloaded(twice.clone()) && is_restart(&reloaded(once.clone()), &reloaded(twice))
        );
        let initial = json!({"spec": {"containers": [{"name": "c"}], "initContainers": [{"name": "i", "env": once}]}});
        let without = json!({"spec": {"containers": [{"name": "c"}], "initContainers": [{"name": "i", "env": []}]}});
        let [initial, without] = [initial, without].map(|pods| template_hash(&from_value(pods).unwrap()));
        assert!(initial != without && is_restart(&initial, &without));
    }

    #[test]
    fn a_restart_for_a_new_value_asks_for_no_other() {
        let (web, again, deployed) = ("a", "a-1", "b-1");
        let first = follow(None, &seen(&[("web", web)]), at(0)).unwrap();
        let for_it = restarted(&[("web", again)], true);
        let taken = follow(Some(&first), &for_it, at(102)).unwrap();
        assert_eq!((triggers(&taken).count(), follow(Some(&taken), &for_it, at(300))), (0, None));
        let asked = |seen: &Seen| triggers(&follow(Some(&first), seen, at(102)).unwrap()).count();
        let others = (asked(&restarted(&[("web", deployed)], true)), asked(&seen(&[("web", again)])));
        assert_eq!(others, (1, 1), "a new template, and a restart for nothing");
    }

    #[test]
    fn a_restart_is_for_a_value_by_when_it_began() {
        let template = |metadata: Value| from_value(json!({ "metadata": metadata })).unwrap();
        let by_hand = |began: &str| template(json!({"annotations": {RESTARTED_AT: began}}));
        // Looked at when its rollout is over, a day later.
        let is = |began: &str, value| is_for_a_value(&by_hand(began), value, at(60 * 24));
        assert!(is("2026-01-01T00:59:00Z", Some(at(0))) && is("2026-01-01T02:00:00+02:00", Some(at(30))));
        assert!(!is("2026-01-01T01:00:00Z", Some(at(0))) && !is("2026-01-01T00:59:00Z", None));
        assert!(is("2026-01-01T00:00:00Z", Some(at(600))), "there is a newer value by now");
        assert!(!is("today", Some(at(0))) && is("today", Some(at(60 * 24 - 59))));
        let reloaded = template(json!({"annotations": {"reloader.stakater.com/last-reloaded-from": "{}"}}));
        assert!(is_for_a_value(&reloaded, None, at(0)));
    }

    #[test]
    fn roles_are_what_they_give_and_where() {
        let rule = |verb: &str| PolicyRule { verbs: vec![verb.into()], ..PolicyRule::default() };
        let hash = |given: Vec<Vec<String>>| roles_hash(&[("orders", given.concat().into_iter().collect())].into());
        let reads = hash(vec![given("a", &[rule("get")])]);
        assert_eq!(hash(vec![given("a", &[rule("get")]), given("a", &[rule("get")])]), reads, "twice the same");
        assert_ne!(hash(vec![given("", &[rule("get")])]), reads, "across the cluster");
        assert_ne!(hash(vec![given("a", &[rule("list")])]), reads);
        assert_ne!(hash(vec![]), reads);
    }
}
