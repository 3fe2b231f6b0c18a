//! Of an object that was refused, or would be: a ScopedSecret is judged as it stands, and what of it is not refused is asked of the
//! API server again, as a dry run, like anything else.

use super::answer::{Answer, Told};
use super::denied;
use super::merged::merged;
use crate::admission::rules::claims::examine;
use crate::api::{GROUP, Reason, ScopedSecret};
use crate::cli::cluster::{Cluster, Failure};
use crate::cli::observed::{Observed, observe, observe_policies};
use crate::cli::report::{Rule, Severity, Subject};
use crate::cli::simulate::crd::Crds;
use crate::cli::simulate::schema::Weight;
use crate::client::errors::brief;
use crate::segmentation::world::{Claim, ObjectName};
use crate::yaml::{Node, compose, split};
use jiff::Timestamp;
use kube::Error;
use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::discovery::{Scope, pinned_kind};
use std::sync::Arc;

/// The object of a text, if it is one. An error: it has several, and an answer is about one.
pub fn object(text: &str) -> Result<Option<Arc<Node>>, String> {
    let Ok(chunks) = split(text) else { return Ok(None) };
    let nodes = chunks.into_iter().filter_map(|chunk| compose(chunk).ok().flatten());
    let is_object = |node: &Arc<Node>| node.text_at(&["apiVersion"]).is_some() && node.text_at(&["kind"]).is_some();
    let mut objects: Vec<Arc<Node>> = nodes.flat_map(|node| listed(&node)).filter(is_object).collect();
    if objects.len() > 1 {
        let name = |node: &Arc<Node>| {
            let part = |path: &[&str]| node.text_at(path).unwrap_or("(unnamed)").to_owned();
            format!("{} {:?}", part(&["kind"]), part(&["metadata", "name"]))
        };
        let shown = objects.iter().take(5).map(name).collect::<Vec<_>>().join(", ");
        return Err(format!(
            "there are {} objects in it ({shown}{}), and why answers about one: give it a file with that one, or have all of them judged by kubectl scoped-secrets simulate FILE",
            objects.len(),
            if objects.len() > 5 { ", ..." } else { "" }
        ));
    }
    Ok(objects.pop())
}

/// What a list holds, as kubectl prints one; anything else by itself.
fn listed(node: &Arc<Node>) -> Vec<Arc<Node>> {
    match node.get("items").and_then(Node::items).filter(|_| node.text_at(&["kind"]) == Some("List")) {
        Some(items) => items.iter().flat_map(listed).collect(),
        None => vec![node.clone()],
    }
}

/// What becomes of it.
pub async fn answer(cluster: &Cluster, node: &Arc<Node>, now: Timestamp) -> Result<Answer, Failure> {
    let version = node.text_at(&["apiVersion"]).unwrap_or_default();
    let kind = node.text_at(&["kind"]).unwrap_or_default();
    if kind == "ScopedSecret" && version.starts_with(GROUP) {
        return scoped_secret(cluster, node, version, kind, now).await;
    }
    dry_run(cluster, node, version, kind, now).await
}

async fn scoped_secret(
    cluster: &Cluster,
    node: &Arc<Node>,
    version: &str,
    kind: &str,
    now: Timestamp,
) -> Result<Answer, Failure> {
    let namespace = node.text_at(&["metadata", "namespace"]).unwrap_or(&cluster.namespace).to_owned();
    let name = node.text_at(&["metadata", "name"]).unwrap_or("(unnamed)").to_owned();
    let about = Subject::namespaced("ScopedSecret", &namespace, &name);
    let breaches = Crds::default().check("ScopedSecret", node);
    let breaches: Vec<_> = breaches.into_iter().filter(|breach| breach.weight != Weight::Unsure).collect();
    let invalid = |message: String, reason| {
        let told = Told::new("refused", reason, &message);
        let mut answer = Answer { about: about.to_string(), ..Answer::default() };
        answer.blame(&about, Rule::Schema, Severity::Error, &told);
        Answer { verdict: told, ..answer }
    };
    if !breaches.is_empty() {
        let messages: Vec<String> = breaches.into_iter().map(|breach| breach.message).collect();
        return Ok(invalid(messages.join("; "), Reason::SpecInvalid));
    }
    let mut json = node.to_json();
    json["metadata"]["namespace"] = namespace.as_str().into();
    if let Some(fields) = json.as_object_mut() {
        fields.remove("status");
    }
    let mut object: ScopedSecret = match serde_json::from_value(json) {
        Ok(object) => object,
        Err(error) => return Ok(invalid(error.to_string(), Reason::SpecInvalid)),
    };
    let api: Api<ScopedSecret> = Api::namespaced(cluster.client.clone(), &namespace);
    let live = api.get_opt(&name).await;
    let stands = live.as_ref().ok().and_then(Option::as_ref);
    // When it was made is not the file's to say.
    object.metadata.creation_timestamp = stands.and_then(|stands| stands.metadata.creation_timestamp.clone());
    let mut observed = observe(cluster, &namespace).await?;
    let mut answer = judged(ObjectName::new(&namespace, &name), &object, stands, &mut observed, now);
    answer.not_seen(cluster);
    if !super::is_served(cluster, &namespace).await? {
        answer.is_not_served(&namespace);
    }
    if answer.verdict.answer != "refused" {
        add_dry_run(&mut answer, dry_run(cluster, node, version, kind, now).await)?;
    }
    if answer.next.is_empty() {
        answer.next("nothing: it would be let in now");
    }
    if let Err(error) = live {
        answer.next(format!(
            "it was judged as a new one, since the ScopedSecret that may be there could not be read: {}",
            brief(&error)
        ));
    }
    Ok(answer)
}

/// What rule `Claims` says of it. Pure.
fn judged(
    name: ObjectName,
    object: &ScopedSecret,
    live: Option<&ScopedSecret>,
    observed: &mut Observed,
    now: Timestamp,
) -> Answer {
    let about = Subject::namespaced("ScopedSecret", &name.namespace, &name.name);
    let known = observed.world.claim(&name).map(|claim| (claim.uid.clone(), claim.created));
    let (uid, created) = known.unwrap_or(("".into(), Timestamp::MAX));
    // One that has ended may be applied again from Git: that gives it nothing.
    let claim = Claim { ends: None, ..Claim::from_spec(&object.spec, name, uid, created) };
    observed.world.put_claim(claim.clone());
    let mut answer = Answer::of_claim(&about, &claim, observed, now);
    if let Err(fault) = examine(live, object, &claim, &observed.world, now) {
        let told = Told::new("refused", fault.reason, &fault.message);
        answer.blame(&about, Rule::Claims, Severity::Error, &told);
        answer.verdict = told;
    }
    answer
}

/// Adds what the API server says of it: that asks the other rules, and sees what the reader may not.
fn add_dry_run(answer: &mut Answer, asked: Result<Answer, Failure>) -> Result<(), Failure> {
    match asked {
        Ok(asked) if asked.verdict.answer == "refused" => {
            (answer.rule, answer.verdict, answer.others) = (asked.rule, asked.verdict, asked.others);
            answer.report.findings.extend(asked.report.findings);
            asked.next.into_iter().for_each(|next| answer.next(next));
            Ok(())
        }
        Ok(asked) => {
            let is_news = |other: &Answer| other.verdict.reason != answer.verdict.reason;
            let others = asked.others.into_iter().filter(is_news).collect();
            answer.beside(others);
            asked.next.into_iter().filter(|next| next != NOTHING).for_each(|next| answer.next(next));
            Ok(())
        }
        // Who may look and not write is answered all the same.
        Err(Failure::Usage(why)) => {
            answer.next(format!("this is rule Claims' word alone, since a dry run did not come to the others: {why}"));
            Ok(())
        }
        Err(failure) => Err(failure),
    }
}

fn is_no_such_kind(error: &Error) -> bool {
    matches!(error, Error::Discovery(_)) || matches!(error, Error::Api(status) if status.code == 404)
}

/// What to do about what is let in.
const NOTHING: &str = "nothing; if it was denied to somebody else, ask again with --as";

/// Who asks, in managedFields; a dry run stores none.
const MANAGER: &str = "kubectl-scoped-secrets";

async fn dry_run(
    cluster: &Cluster,
    node: &Arc<Node>,
    version: &str,
    kind: &str,
    now: Timestamp,
) -> Result<Answer, Failure> {
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    let gvk = GroupVersionKind::gvk(group, version, kind);
    let (resource, capabilities) = match pinned_kind(&cluster.client, &gvk).await {
        Ok(found) => found,
        Err(error) if is_no_such_kind(&error) => {
            let kind = if group.is_empty() { format!("{version} {kind}") } else { format!("{group}/{version} {kind}") };
            return Err(Failure::Usage(format!("the cluster has no kind {kind}")));
        }
        Err(error) => return Err(cluster.failure(&error, "get", &format!("/apis/{group}/{version}"))),
    };
    let name = node.text_at(&["metadata", "name"]);
    let namespaced = capabilities.scope == Scope::Namespaced;
    let namespace = node.text_at(&["metadata", "namespace"]).unwrap_or(&cluster.namespace);
    let shown = name.unwrap_or_default();
    let about = if namespaced { Subject::namespaced(kind, namespace, shown) } else { Subject::cluster(kind, shown) };
    let api: Api<DynamicObject> = if namespaced {
        Api::namespaced_with(cluster.client.clone(), namespace, &resource)
    } else {
        Api::all_with(cluster.client.clone(), &resource)
    };
    let mut json = node.to_json();
    if let Some(metadata) = json.get_mut("metadata").and_then(|m| m.as_object_mut()) {
        for field in ["managedFields", "resourceVersion", "uid", "creationTimestamp", "generation"] {
            metadata.remove(field);
        }
    }
    let mut is_whole = true;
    cluster.warnings.take();
    let answer = match name {
        Some(name) => asked_again(&api, name, kind, &json, &mut is_whole).await,
        None => {
            let object = serde_json::from_value(json).map_err(|error| Failure::Usage(error.to_string()))?;
            api.create(&PostParams { dry_run: true, ..PostParams::default() }, &object).await
        }
    };
    let status = match answer {
        Ok(_) => {
            let told = Told::new("allowed", Reason::Allowed, "the API server would take it now, from you (a dry run)");
            let mut answer = Answer { about: about.to_string(), verdict: told, ..Answer::default() };
            let warnings = cluster.warnings.take();
            answer.beside(
                warnings.iter().flat_map(|text| denied::read(text)).map(|told| denied::warned(&told)).collect(),
            );
            if answer.others.is_empty() {
                answer.next(NOTHING);
            } else {
                answer.next("mend what it is warned of: mode Enforce would refuse it");
            }
            if namespaced && let Ok(observed) = observe_policies(cluster, namespace).await {
                answer.is_only_recorded(namespace, &observed, now);
            }
            if !is_whole {
                answer.next("what the file had before and leaves out now was not looked at: that takes the verbs get and update on it");
            }
            return Ok(answer);
        }
        Err(Error::Api(status)) if status.code != 401 => status,
        Err(error) => return Err(cluster.failure(&error, "patch", api.resource_url())),
    };
    let denials = denied::read(&status.message);
    if let Some(denial) = denied::of_unguarded(&denials) {
        let observed = observe(cluster, namespace).await?;
        let mut answer = denied::answer(&[denied::looked_at(denial, &about, namespace, &observed.world)]);
        answer.not_seen(cluster);
        if !super::is_served(cluster, namespace).await? {
            answer.is_not_served(namespace);
        }
        return Ok(answer);
    }
    if !denials.is_empty() {
        return Ok(denied::answer(&denials));
    }
    // What is said of a Secret may quote it.
    let quoted = if matches!(kind, "Secret" | "ConfigMap") { "" } else { status.message.as_str() };
    Err(Failure::Usage(format!(
        "no rule of Scoped Secrets refuses {about}; the API server does: {} {quoted}",
        status.reason
    )))
}

/// Kinds whose lists are filled in by the server: what is stored is not what a file says.
const FILLED_IN: [&str; 9] = [
    "Pod",
    "PodTemplate",
    "Deployment",
    "StatefulSet",
    "DaemonSet",
    "ReplicaSet",
    "ReplicationController",
    "Job",
    "CronJob",
];

/// As `kubectl apply` would ask: a dry run that takes away what the file had before and has no more, where that is there.
async fn asked_again(
    api: &Api<DynamicObject>,
    name: &str,
    kind: &str,
    json: &serde_json::Value,
    is_whole: &mut bool,
) -> Result<DynamicObject, Error> {
    let live = match api.get_opt(name).await {
        Ok(live) => live.filter(|_| !FILLED_IN.contains(&kind)),
        Err(_) => {
            *is_whole = false;
            None
        }
    };
    let becomes = live.and_then(|live| serde_json::to_value(live).ok()).map(|live| merged(&live, json));
    if let Some(object) = becomes.and_then(|becomes| serde_json::from_value(becomes).ok()) {
        let params = PostParams { dry_run: true, field_manager: Some(MANAGER.to_owned()) };
        match api.replace(name, &params, &object).await {
            // Who may patch need not be let update; and it may have changed meanwhile.
            Err(Error::Api(status))
                if [403, 409].contains(&status.code) && denied::read(&status.message).is_empty() =>
            {
                *is_whole = false;
            }
            answer => return answer,
        }
    }
    let params = PatchParams { dry_run: true, ..PatchParams::apply(MANAGER).force() };
    api.patch(name, &params, &Patch::Apply(json)).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::observed::build;
    use crate::cli::observed::tests::{claim, facts, now};
    use serde_json::{Value, json};

    fn told(file: &Value, live: Option<&Value>) -> (&'static str, String) {
        let read = |object: &Value| serde_json::from_value::<ScopedSecret>(object.clone()).unwrap();
        let mut observed = build(facts(live.map(std::slice::from_ref).unwrap_or_default()));
        let name = ObjectName::new("payments-prod", "a");
        let answer = judged(name, &read(file), live.map(read).as_ref(), &mut observed, now());
        (answer.verdict.answer, answer.verdict.reason)
    }

    #[test]
    fn a_scoped_secret_is_judged_as_at_admission() {
        let of = |key: &str, more: &Value| {
            let mut object = claim("payments-prod", "a", key, 1, false);
            object["spec"].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            object
        };
        let (own, foreign) = ("payments/prod/a", "billing/prod/a");
        let ended = json!({"expirationTime": "2026-01-01T12:00:00Z"});
        let short = json!({"ttl": "1h"});
        let broken = json!({"target": {"template": {"data": {"a": "{{ range(3) }}"}}}});
        let rotates = json!({"rotation": {"schedule": "0 3 * * *", "strategy": "Generate"}});
        for (what, file, live, expected) in [
            ("nothing is wrong", of(own, &json!({})), None, ("allowed", "Allowed")),
            ("a new end that has passed", of(own, &ended), None, ("refused", "InvalidEnd")),
            ("one that is written now", of(own, &ended), Some(of(own, &json!({}))), ("refused", "InvalidEnd")),
            ("one that stood", of(own, &ended), Some(of(own, &ended)), ("allowed", "Allowed")),
            ("by its ttl", of(own, &short), Some(of(own, &short)), ("allowed", "Allowed")),
            ("a template", of(own, &broken), None, ("refused", "TemplateFailed")),
            ("whoever may not have the key need not mend it", of(foreign, &broken), None, ("refused", "KeyNotAllowed")),
            ("a rotation", of(own, &rotates), None, ("refused", "ActionNotAllowed")),
            ("one that stood", of(own, &rotates), Some(of(own, &rotates)), ("allowed", "Allowed")),
        ] {
            let (answer, reason) = told(&file, live.as_ref());
            assert_eq!((answer, reason.as_str()), expected, "{what}");
        }
    }

    #[test]
    fn the_other_rules_are_the_api_servers_to_ask() {
        let allowed = || Told::new("allowed", Reason::Allowed, "");
        let own = || Answer { verdict: allowed(), ..Answer::default() };
        let denial = "denied request: rule Revocations, RevocationNotAllowed: ScopedSecret a/b: no";
        let answer = |asked| {
            let mut answer = own();
            add_dry_run(&mut answer, asked).map(|()| answer)
        };
        let denied = answer(Ok(denied::answer(&denied::read(denial)))).unwrap();
        assert_eq!((denied.verdict.answer, denied.rule.as_deref()), ("refused", Some("Revocations")));
        assert_eq!(denied.next, [Reason::RevocationNotAllowed.fix()]);
        assert_eq!(denied.report.findings.len(), 1);
        assert!(answer(Ok(own())).unwrap().next.is_empty());
        let barred = answer(Err(Failure::Usage("you cannot patch".to_owned()))).unwrap();
        assert_eq!(barred.verdict.answer, "allowed");
        assert!(barred.next[0].ends_with("you cannot patch"), "{:?}", barred.next);
        assert!(answer(Err(Failure::Kubeconfig(String::new()))).is_err());
    }

    #[test]
    fn one_object_is_answered_and_no_more() {
        let one = |name: &str| format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\n");
        assert!(object(&one("a")).unwrap().is_some());
        assert!(object("---\n# nothing\n---\nhello: world\n").unwrap().is_none());
        let told = object(&format!("{}---\n{}", one("a"), one("b"))).unwrap_err();
        assert!(told.starts_with("there are 2 objects in it (Pod \"a\", Pod \"b\")"), "{told}");
        assert!(told.contains("simulate FILE"), "{told}");
        let list = |items: &str| format!("apiVersion: v1\nkind: List\nitems: [{items}]\n");
        let (pod, secret) =
            ("{apiVersion: v1, kind: Pod, metadata: {name: a}}", "{apiVersion: v1, kind: Secret, metadata: {name: b}}");
        for text in [list(pod), list(&format!("{{kind: List, apiVersion: v1, items: [{pod}]}}"))] {
            let found = object(&text).unwrap().unwrap();
            assert_eq!((found.text_at(&["kind"]), found.text_at(&["metadata", "name"])), (Some("Pod"), Some("a")));
        }
        let told = object(&list(&format!("{pod}, {secret}"))).unwrap_err();
        assert!(told.starts_with("there are 2 objects in it (Pod \"a\", Secret \"b\")"), "{told}");
        assert!(object(&list("")).unwrap().is_none());
        let another = "apiVersion: a/v1\nkind: AllowList\nitems: []\n";
        assert_eq!(object(another).unwrap().unwrap().text_at(&["kind"]), Some("AllowList"));
    }
}
