//! The doors without a cluster: the decisions alone, and `simulate`. Both are given the scene's YAML with the case's in it.

use super::case::{Case, Step, Verb, Verdict, merge};
use super::doors::Door;
use super::scene::{Scene, resource};
use super::words;
use jiff::Timestamp;
use scoped_secrets::admission::review::decode;
use scoped_secrets::admission::rules::{claims, policies};
use scoped_secrets::api::ScopedSecret;
use scoped_secrets::cli::simulate::crd::Crds;
use scoped_secrets::cli::simulate::object::Source;
use scoped_secrets::cli::simulate::report::{Finding, Severity};
use scoped_secrets::cli::simulate::{Options, simulate_with};
use scoped_secrets::controller::index::{Index, claim_of, object_name};
use scoped_secrets::controller::providers::declared_realm;
use scoped_secrets::segmentation::authorize::authorize;
use scoped_secrets::segmentation::policy::Policy;
use scoped_secrets::segmentation::verdict::Verdict as Judged;
use scoped_secrets::segmentation::world::{Holding, PolicyState};
use serde_json::{Value, json};
use std::sync::Arc;

/// The scene and what came before a case, as objects; and the object that the case is about, before and after.
struct Change {
    objects: Vec<Value>,
    before: Option<Value>,
    after: Option<Value>,
}

impl Change {
    fn of(scene: &Scene, case: &Case) -> Self {
        let mut objects = scene.deciding("http://127.0.0.1:9");
        for step in &case.first {
            let (before, after) = outcome(step, &objects);
            let emptied = (step.kind == "Namespace" && after.is_none()).then_some(step.name.as_str());
            objects.retain(|object| {
                Some(object) != before.as_ref()
                    && object["metadata"]["namespace"].as_str().is_none_or(|n| Some(n) != emptied)
            });
            objects.extend(after);
        }
        let (before, after) = outcome(&case.step, &objects);
        Self { objects, before, after }
    }
}

/// What a request makes of an object: it before, and after.
fn outcome(step: &Step, objects: &[Value]) -> (Option<Value>, Option<Value>) {
    let is = |object: &&Value, name: &str| {
        let metadata = &object["metadata"];
        object["kind"] == *step.kind
            && metadata["name"] == name
            && metadata["namespace"].as_str() == step.namespace.as_deref()
    };
    let find = |name: &str| objects.iter().find(|object| is(object, name)).cloned();
    let before = find(&step.name);
    if !step.subresource.is_empty() {
        return (before.clone(), before);
    }
    let base = step.from.as_deref().map_or_else(|| before.clone(), find);
    let mut after = match step.verb {
        Verb::Delete | Verb::DeleteCollection => return (before, None),
        Verb::Create | Verb::Replace if step.from.is_none() => json!({}),
        _ => base.unwrap_or_else(|| json!({})),
    };
    merge(&mut after, &step.body);
    (before, Some(after))
}

/// The index of a replica that has seen these, in their order, with every allowed claim projected.
fn index_of(objects: &[Value]) -> Index {
    let mut index = Index::default();
    let world = &mut index.world;
    world.policies_synced = true;
    let spec = |object: &Value| object["spec"].clone();
    for object in objects {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        match object["kind"].as_str() {
            Some("Namespace") => {
                let labels = serde_json::from_value(object["metadata"]["labels"].clone()).unwrap_or_default();
                world.namespaces.insert(name.into(), labels);
            }
            Some("ScopedSecretStore") => {
                world.put_store(name, declared_realm(&serde_json::from_value(spec(object)).expect("a store")));
            }
            Some("SegmentationPolicy") => {
                let policy =
                    Policy::compile(name, &serde_json::from_value(spec(object)).expect("a policy")).expect("a policy");
                world.policies.insert(name.to_owned(), PolicyState::Known(Arc::new(policy)));
            }
            _ => {}
        }
    }
    let claims = objects.iter().filter(|object| object["kind"] == "ScopedSecret");
    for (position, claim) in claims.enumerate() {
        let mut claim: ScopedSecret = serde_json::from_value(claim.clone()).expect("a claim");
        let created = Timestamp::from_second(1_700_000_000 + i64::try_from(position).unwrap()).unwrap();
        claim.metadata.creation_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(created));
        claim.metadata.uid = Some(format!("uid-{position:04}"));
        index.put_claim(&claim);
        let name = object_name(&claim.metadata).expect("a name");
        let Some(known) = index.world.claim(&name).cloned() else { continue };
        if let Judged::Allowed(grant) = authorize(&known, &index.world, Timestamp::now()) {
            let keys = grant.keys.into_iter().map(|key| key.canonical).collect();
            let holding = Holding { held_since: created, ..Holding::of_claim(&known, keys) };
            let secret = scoped_secrets::segmentation::world::ObjectName::new(&name.namespace, &known.target);
            index.world.put_holding(secret, holding.into());
        }
    }
    index
}

/// The AdmissionReview that an API server would send.
fn review(step: &Step, change: &Change) -> Vec<u8> {
    let (version, plural) = resource(&step.kind);
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    let operation = match (&change.before, &change.after) {
        (None, _) => "CREATE",
        (Some(_), Some(_)) => "UPDATE",
        (Some(_), None) => "DELETE",
    };
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "00000000-0000-4000-8000-000000000000", "operation": operation, "name": step.name,
            "namespace": step.namespace, "dryRun": true,
            "kind": {"group": group, "version": version, "kind": step.kind},
            "resource": {"group": group, "version": version, "resource": plural},
            "userInfo": {"username": step.who, "groups": ["system:authenticated"]},
            "object": change.after, "oldObject": change.before,
        },
    })
    .to_string()
    .into_bytes()
}

/// A review of the corpus, and the index of a replica that gets it.
pub struct Reviewed {
    pub bytes: Vec<u8>,
    pub index: Index,
}

/// The case as a replica sees it.
pub fn reviewed(scene: &Scene, case: &Case) -> Reviewed {
    let change = Change::of(scene, case);
    Reviewed { bytes: review(&case.step, &change), index: index_of(&change.objects) }
}

/// The pure core: what the webhook's rule answers, and for a claim what the authoriser says by itself.
pub fn core(scene: &Scene, case: &Case) -> Vec<String> {
    let change = Change::of(scene, case);
    let index = index_of(&change.objects);
    let request = decode(&review(&case.step, &change)).expect("a review");
    let now = Timestamp::now();
    let response = match case.rule.as_str() {
        "Claims" => claims::judge(&request, &index, now),
        "Policies" => policies::judge(&request, &index, now),
        other => panic!("{}: the core does not see {other}", case.title),
    };
    let texts: Vec<String> =
        response.warnings.into_iter().flatten().chain((!response.allowed).then_some(response.result.message)).collect();
    let head = |reason: &str| format!("rule {}, {reason}: ", case.rule);
    let mut faults = match (Door::Core.expects(case), response.allowed, texts.first()) {
        (Verdict::Allowed, true, None) => vec![],
        (Verdict::Refused(reason), false, Some(text)) | (Verdict::Warned(reason), true, Some(text))
            if text.starts_with(&head(&reason)) =>
        {
            words::faults(scene, case, &reason, text)
        }
        (expected, allowed, _) => vec![format!("expected {expected:?}; allowed: {allowed}, {texts:?}")],
    };
    if let (true, Some(after)) = (case.rule == "Claims", &change.after) {
        faults.extend(authoriser(case, after, change.before.as_ref(), &index));
    }
    faults
}

/// However it is answered, the authoriser says yes or no, and why. What cannot be projected is not its business.
fn authoriser(case: &Case, after: &Value, before: Option<&Value>, index: &Index) -> Option<String> {
    if before.is_some_and(|before| before["spec"] == after["spec"]) || case.reason().is_some_and(is_of_projection) {
        return None;
    }
    let claim: ScopedSecret = serde_json::from_value(after.clone()).ok()?;
    let name = object_name(&claim.metadata).unwrap_or_else(|| {
        scoped_secrets::segmentation::world::ObjectName::new(
            case.step.namespace.as_deref().unwrap_or_default(),
            "generated",
        )
    });
    let known = index.world.claim(&name).map(|known| known.uid.clone());
    let uid = known.unwrap_or_else(|| "uid-9999".into());
    let told = match authorize(&claim_of(&claim, &name, &uid), &index.world, Timestamp::now()) {
        Judged::Allowed(_) => None,
        Judged::Refused(refusal) | Judged::Undecided(refusal) => Some(refusal.reason.as_str()),
    };
    (told != case.reason()).then(|| format!("the authoriser says {told:?}, the case {:?}", case.reason()))
}

/// Whether a reason is about what becomes of the values, not about who may have them.
pub fn is_of_projection(reason: &str) -> bool {
    ["TemplateMetadataNotAllowed", "TemplateFailed", "TargetTypeInvalid", "DuplicateSecretKey", "InvalidSecretKey"]
        .contains(&reason)
}

/// Whether a case only adds a claim to the scene, so that it can be judged beside others.
pub fn only_adds(case: &Case) -> bool {
    let adds = matches!(case.step.verb, Verb::Create | Verb::Apply) && case.first.is_empty();
    let place = case.step.namespace.as_deref().unwrap_or_default();
    adds && case.step.kind == "ScopedSecret"
        && !super::bed::scene().claims.contains_key(&format!("{place}/{}", case.step.name))
}

/// What `kubectl scoped-secrets simulate` finds of the cases' objects in the scene's YAML, each in a file of its own. It is told
/// a state: how admission would answer does not matter, only that the claim would not be fetched.
pub fn simulated(scene: &Scene, cases: &[&Case]) -> Vec<String> {
    let yaml =
        |objects: &[Value]| objects.iter().map(|object| format!("---\n{object}\n")).collect::<String>().into_bytes();
    let mut objects = vec![];
    let mut sources = vec![];
    for case in cases {
        let change = Change::of(scene, case);
        objects = change.objects;
        let Some(mut after) = change.after else { return vec![format!("{}: nothing would be stored", case.title)] };
        after["apiVersion"] = resource(&case.step.kind).0.into();
        after["kind"] = case.step.kind.as_str().into();
        sources.push(Source { name: case.title.as_str().into(), bytes: yaml(&[after]), found: false });
    }
    sources.insert(0, Source { name: "scene.yaml".into(), bytes: yaml(&objects), found: false });
    thread_local!(static CRDS: Crds = Crds::default());
    let report = CRDS.with(|crds| simulate_with(crds, &sources, Timestamp::now(), &Options::default()));
    if !report.input_errors.is_empty() {
        return vec![format!("{:?}", report.input_errors)];
    }
    let errors: Vec<&Finding> = report.findings.iter().filter(|finding| finding.severity == Severity::Error).collect();
    let of = |case: &Case| {
        errors
            .iter()
            .copied()
            .filter(|f| f.location.as_ref().is_some_and(|at| *at.file == case.title))
            .collect::<Vec<&Finding>>()
    };
    cases.iter().flat_map(|case| otherwise(scene, case, &of(case))).collect()
}

/// What was found of a case that it does not expect.
fn otherwise(scene: &Scene, case: &Case, found: &[&Finding]) -> Vec<String> {
    let told: Vec<&str> = found.iter().map(|finding| finding.reason.as_str()).collect();
    let faults = match case.reason() {
        None if found.is_empty() => vec![],
        Some("") if !found.is_empty() => vec![],
        Some(reason) if told.contains(&reason) => {
            found.iter().flat_map(|finding| words::leaks(scene, case, &finding.message)).collect()
        }
        expected => vec![format!("expected {expected:?}; it found {found:?}")],
    };
    faults.into_iter().map(|fault| format!("Simulate, {}: {fault}", case.title)).collect()
}
