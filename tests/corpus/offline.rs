//! The doors without a cluster: the decisions alone, and `simulate`. Both are given the scene's YAML with the case's in it.

use super::around::{access_of, foreign_of, refusal};
use super::bed::{by_name, value_of};
use super::case::{Case, Step, Verb, Verdict, patched};
use super::doors::Door;
use super::scene::{Scene, resource};
use super::words;
use base64::Engine;
use base64::prelude::BASE64_STANDARD as STANDARD;
use jiff::Timestamp;
use scoped_secrets::admission::review::decode;
use scoped_secrets::admission::rules::copies::Limit;
use scoped_secrets::admission::rules::{claims, copies, other_operators, policies, rbac};
use scoped_secrets::api::ScopedSecret;
use scoped_secrets::api::policy::Mode;
use scoped_secrets::cli::simulate::crd::Crds;
use scoped_secrets::cli::simulate::object::Source;
use scoped_secrets::cli::simulate::report::{Finding, Severity};
use scoped_secrets::cli::simulate::{Options, simulate_with};
use scoped_secrets::controller::index::{Index, claim_of, object_name};
use scoped_secrets::controller::providers::declared_realm;
use scoped_secrets::segmentation::authorize::authorize;
use scoped_secrets::segmentation::policy::Policy;
use scoped_secrets::segmentation::seal::{Generation, SealKeys};
use scoped_secrets::segmentation::verdict::Verdict as Judged;
use scoped_secrets::segmentation::world::{Holding, PolicyState};
use serde_json::{Value, json};
use std::sync::{Arc, OnceLock};

/// The scene and what came before a case, as objects; and the object that the case is about, before and after.
struct Change {
    objects: Vec<Value>,
    before: Option<Value>,
    after: Option<Value>,
}

impl Change {
    fn of(scene: &Scene, case: &Case) -> Self {
        let mut objects = scene.deciding("http://127.0.0.1:9");
        objects.extend(scene.surroundings().into_iter().map(stored));
        objects.extend(scene.claims.keys().map(|name| scene.projected(name)));
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
    let picked = |labels: &String| {
        let (key, value) = labels.split_once('=').expect("KEY=VALUE");
        let picks = |object: &&Value| object["kind"] == *step.kind && object["metadata"]["labels"][key] == value;
        objects.iter().find(picks).cloned()
    };
    let before = step.pick.as_ref().map_or_else(|| find(&step.name), picked);
    if !["", "ephemeralcontainers"].contains(&&*step.subresource) {
        return (before.clone(), before);
    }
    let base = step.from.as_deref().map_or_else(|| before.clone(), find);
    let mut after = match step.verb {
        Verb::Delete | Verb::DeleteCollection => return (before, None),
        Verb::Create | Verb::Replace if step.from.is_none() => json!({}),
        _ => base.unwrap_or_else(|| json!({})),
    };
    patched(&mut after, &step.body);
    (before, Some(stored(after)))
}

/// The index of a replica that has seen these, in their order, with every allowed claim projected.
fn index_of(objects: &[Value]) -> Index {
    let mut index = Index::default();
    index.secrets_synced = true;
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
            let prints: Vec<_> =
                grant.keys.iter().map(|key| seal_keys().print(value_of(&by_name(&key.written)).as_bytes())).collect();
            let (fingerprints, marks) = seal_keys().sealed_prints(&prints);
            let keys = grant.keys.into_iter().map(|key| key.canonical).collect();
            let holding = Holding { held_since: created, fingerprints, marks, ..Holding::of_claim(&known, keys) };
            let secret = scoped_secrets::segmentation::world::ObjectName::new(&name.namespace, &known.target);
            index.world.put_holding(secret, holding.into());
        }
    }
    access_of(&mut index.access, objects);
    foreign_of(&mut index.world.foreign, objects);
    index
}

/// The key of every seal here.
pub fn seal_keys() -> &'static SealKeys {
    static KEYS: OnceLock<SealKeys> = OnceLock::new();
    KEYS.get_or_init(|| SealKeys::new(Generation::from_random(&[1; 36], Timestamp::UNIX_EPOCH).unwrap()))
}

/// As the API server stores it.
fn stored(mut object: Value) -> Value {
    let Some(Value::Object(texts)) = object.as_object_mut().and_then(|fields| fields.remove("stringData")) else {
        return object;
    };
    for (key, text) in texts {
        object["data"][key] = STANDARD.encode(text.as_str().expect("a text")).into();
    }
    object
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
        "Copies" => copies::judge(&request, Some(seal_keys()), || &index, &Limit::default(), now),
        "Rbac" => rbac::judge(&request, &index, now),
        "OtherOperators" => other_operators::judge(&request, &index, now),
        _ => return of_a_state(scene, case, &change, &index, now),
    };
    let noted: Vec<String> = response.audit_annotations.into_values().collect();
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
    if let Some(reason) = Door::Core.records(case).filter(|reason| !noted.iter().any(|n| n.starts_with(&head(reason))))
    {
        faults.push(format!("{reason} is not recorded: {noted:?}"));
    }
    if let (true, Some(after)) = (case.rule == "Claims", &change.after) {
        faults.extend(authoriser(case, after, change.before.as_ref(), &index));
    }
    faults
}

/// The rules that guards keep: what their cores say of the object as it would be.
fn of_a_state(scene: &Scene, case: &Case, change: &Change, index: &Index, now: Timestamp) -> Vec<String> {
    let Some(after) = &change.after else { return vec!["nothing would be stored".to_owned()] };
    let told = refusal(case, change.before.as_ref(), after, &change.objects, index, now);
    let answer = told.as_ref().map_or(Verdict::Allowed, |refusal| {
        let reason = refusal.reason.to_string();
        match refusal.mode {
            Mode::Enforce => Verdict::Refused(reason),
            Mode::Warn => Verdict::Warned(reason),
            Mode::Audit => Verdict::Recorded(reason),
        }
    });
    if answer != case.expect {
        return vec![format!("expected {:?}; it says {told:?}", case.expect)];
    }
    told.iter().flat_map(|refusal| words::leaks(scene, case, &refusal.message)).collect()
}

/// However it is answered, the authoriser says yes or no, and why. What cannot be projected is not its business.
fn authoriser(case: &Case, after: &Value, before: Option<&Value>, index: &Index) -> Option<String> {
    if before.is_some_and(|before| before["spec"] == after["spec"])
        || (case.reason().is_some_and(is_of_projection) || is_of_rotation(case))
    {
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
    (told != case.reason().map(once_there))
        .then(|| format!("the authoriser says {told:?}, the case {:?}", case.reason()))
}

/// Whether a reason is about what becomes of the values, not about who may have them.
pub fn is_of_projection(reason: &str) -> bool {
    ["TemplateMetadataNotAllowed", "TemplateFailed", "TargetTypeInvalid", "DuplicateSecretKey", "InvalidSecretKey"]
        .contains(&reason)
}

/// Whether a case is refused for how it would rotate: what it reads is allowed.
pub fn is_of_rotation(case: &Case) -> bool {
    let reasons = ["InvalidSchedule", "InvalidRotation", "RotationOwnedElsewhere", "ActionNotAllowed"];
    let rotates = case.step.body.pointer("/spec/rotation").is_some();
    rotates && case.reason().is_some_and(|reason| reasons.contains(&reason))
}

/// What is said of a claim that got past admission: an end that is over is one.
pub fn once_there(reason: &str) -> &str {
    if reason == "InvalidEnd" { "Expired" } else { reason }
}

/// Whether a case only adds to the scene what others do not look at, so that it can be judged beside them.
pub fn only_adds(case: &Case) -> bool {
    let adds = matches!(case.step.verb, Verb::Create | Verb::Apply) && case.first.is_empty();
    let kinds = [
        "ScopedSecret",
        "SecretGrant",
        "Pod",
        "Deployment",
        "Secret",
        "RoleBinding",
        "SecretExport",
        "SecretImport",
        "PersistentVolume",
        "StorageClass",
    ];
    adds && case.step.from.is_none() && kinds.contains(&&*case.step.kind) && !super::bed::scene().has_claim(&case.step)
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
        if after["metadata"]["generateName"].is_null() {
            after["metadata"]["name"] = case.step.name.as_str().into();
        }
        sources.push(Source { name: case.title.as_str().into(), bytes: yaml(&[after]), found: false });
    }
    sources.insert(0, Source { name: "scene.yaml".into(), bytes: yaml(&objects), found: false });
    thread_local!(static CRDS: Crds = Crds::default());
    let report = CRDS.with(|crds| simulate_with(crds, &sources, Timestamp::now(), &Options::default()));
    if !report.input_errors.is_empty() {
        return vec![format!("{:?}", report.input_errors)];
    }
    let of = |case: &Case| {
        let there = |f: &&Finding| f.location.as_ref().is_some_and(|at| *at.file == case.title);
        report.findings.iter().filter(there).filter(|finding| counts(case, finding)).collect::<Vec<&Finding>>()
    };
    cases.iter().flat_map(|case| otherwise(scene, case, &of(case))).collect()
}

/// Whether a finding has to do with what a case expects. Beside claims and policies only the case's own rule is asked, and what
/// would be let through is a warning.
fn counts(case: &Case, finding: &Finding) -> bool {
    if ["Schema", "Claims", "Policies"].contains(&&*case.rule) {
        return finding.severity == Severity::Error;
    }
    let severity = match case.expect {
        Verdict::Warned(_) | Verdict::Recorded(_) | Verdict::Found(_) => Severity::Warning,
        Verdict::Refused(_) | Verdict::Allowed => Severity::Error,
    };
    finding.rule.as_str() == case.rule && (finding.severity == severity || case.expect == Verdict::Allowed)
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
