//! A case as it stands in YAML, and the request that it is. README.md is for who writes them.

use base64::Engine;
use base64::prelude::BASE64_STANDARD as STANDARD;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::path::Path;

/// A file of cases: what most of them have in common, and they.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    rule: String,
    #[serde(default, rename = "as")]
    who: Option<String>,
    #[serde(default, rename = "in")]
    place: Option<String>,
    #[serde(default, rename = "do")]
    act: Option<String>,
    cases: Vec<Map<String, Value>>,
}

/// One request, as it is written.
#[derive(Deserialize, Clone, Default)]
#[serde(deny_unknown_fields)]
struct StepYaml {
    #[serde(default, rename = "as")]
    who: Option<String>,
    #[serde(default, rename = "in")]
    place: Option<String>,
    #[serde(default, rename = "do")]
    act: Option<String>,
    /// The field manager of an apply.
    #[serde(default)]
    manager: Option<String>,
    /// The live object of this name, as a backup of it would be, is what `with` changes.
    #[serde(default)]
    from: Option<String>,
    /// Of a ScopedSecret: one key, or several.
    #[serde(default)]
    claims: Option<Value>,
    /// Of a ScopedSecret: so many allowed keys before those.
    #[serde(default)]
    decoys: usize,
    /// Of a pod, or of the pods of a workload: the ServiceAccount, the spec, the spec of its container.
    #[serde(default)]
    under: Option<String>,
    #[serde(default)]
    pod: Option<Value>,
    #[serde(default)]
    container: Option<Value>,
    /// Of a deletecollection: a label selector, `KEY=VALUE`.
    #[serde(default)]
    pick: Option<String>,
    #[serde(default)]
    labels: Option<Value>,
    #[serde(default)]
    annotations: Option<Value>,
    /// What else is in the object, the patch or the body; a list is a JSON patch.
    #[serde(default)]
    with: Option<Value>,
}

/// How a door answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Allowed,
    /// Let through, and nothing is said: mode Audit, or reportOnly.
    Recorded(String),
    /// Let through, since no rule at admission sees it: the scan tells.
    Found(String),
    Warned(String),
    Refused(String),
}

/// A verb of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Create,
    Apply,
    Patch,
    Replace,
    Delete,
    DeleteCollection,
}

/// One request.
#[derive(Debug, Clone)]
pub struct Step {
    pub who: String,
    pub verb: Verb,
    pub kind: String,
    pub subresource: String,
    /// None for a cluster-scoped kind.
    pub namespace: Option<String>,
    /// Empty for a generated one, and for a collection.
    pub name: String,
    pub manager: String,
    pub from: Option<String>,
    pub pick: Option<String>,
    /// The object, or the patch.
    pub body: Value,
}

/// One case.
#[derive(Debug, Clone)]
pub struct Case {
    /// `claims.yaml: another tenant's key`
    pub title: String,
    /// The rule whose verdict it is.
    pub rule: String,
    pub first: Vec<Step>,
    pub step: Step,
    pub expect: Verdict,
    pub says: Vec<String>,
}

/// Every case, in the order of the files and in them.
pub fn all() -> Vec<Case> {
    let folder = folder();
    let mut files: Vec<_> = std::fs::read_dir(&folder).expect("the corpus").flatten().map(|e| e.path()).collect();
    files.retain(|path| path.extension().is_some_and(|e| e == "yaml") && !path.ends_with("scene.yaml"));
    files.sort();
    let cases: Vec<Case> = files.iter().flat_map(|path| read(path)).collect();
    let mut titles: Vec<&str> = cases.iter().map(|case| case.title.as_str()).collect();
    titles.sort_unstable();
    let twice: Vec<_> = titles.windows(2).filter(|two| two[0] == two[1]).collect();
    assert!(twice.is_empty(), "cases of one name: {twice:?}");
    cases
}

pub fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus")
}

/// What a text of the corpus stands for: `<x*252>` is so many letters, `<in 30 days>` is that time, `<value of KEY>` what the
/// manager has under that key.
pub fn expand(text: &str) -> String {
    let Some((before, rest)) = text.split_once('<') else { return text.to_owned() };
    let Some((inside, after)) = rest.split_once('>') else { return text.to_owned() };
    let filled = if let Some((letter, count)) = inside.split_once('*') {
        letter.repeat(count.parse().expect("a number"))
    } else if let Some(days) = inside.strip_prefix("in ").and_then(|d| d.strip_suffix(" days")) {
        let end = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * days.parse::<i64>().expect("days"));
        end.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    } else if let Some((forms, key)) = inside.rsplit_once("of ") {
        // `value of KEY`, `base64 of KEY`, `base64 of base64 of KEY`.
        forms.matches("base64").fold(super::bed::value_of(key), |text, _| STANDARD.encode(text))
    } else {
        return format!("{before}<{inside}>{}", expand(after));
    };
    format!("{before}{filled}{}", expand(after))
}

/// [`expand`] in every text of a value.
pub fn expanded(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(expand(&text)),
        Value::Array(items) => items.into_iter().map(expanded).collect(),
        Value::Object(fields) => {
            fields.into_iter().map(|(k, v)| (expand(&k), expanded(v))).collect::<Map<_, _>>().into()
        }
        other => other,
    }
}

fn read(path: &Path) -> Vec<Case> {
    let text = std::fs::read_to_string(path).expect("a file of the corpus");
    let file: File = serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let stem = path.file_stem().expect("a name").to_string_lossy().replace('_', "-");
    let common = StepYaml { who: file.who, place: file.place, act: file.act, ..StepYaml::default() };
    let numbered = file.cases.into_iter().enumerate();
    numbered.map(|(number, case)| one(case, &file.rule, &common, &stem, number)).collect()
}

/// What a case says besides its request: `name`, `rule`, `first` (what comes before it, in earnest), `expect` (`Allowed`, or
/// `Refused`, `Warned`, `Recorded` or `Found` with a reason), `says` (what the answer must say besides).
fn one(mut case: Map<String, Value>, rule: &str, common: &StepYaml, stem: &str, number: usize) -> Case {
    let name = case.remove("name").and_then(|name| name.as_str().map(str::to_owned));
    let title = format!("{stem}.yaml: {}", name.unwrap_or_else(|| panic!("{stem}.yaml: case {number} has no name")));
    let own_name = format!("{stem}-{number:02}");
    fn taken<T: serde::de::DeserializeOwned + Default>(value: Option<Value>, title: &str) -> T {
        let read = |value| serde_json::from_value(value).unwrap_or_else(|error| panic!("{title}: {error}"));
        value.map(read).unwrap_or_default()
    }
    let expect: String = taken(case.remove("expect"), &title);
    let own_rule: Option<String> = taken(case.remove("rule"), &title);
    let (says, first): (Vec<String>, Vec<StepYaml>) =
        (taken(case.remove("says"), &title), taken(case.remove("first"), &title));
    let step: StepYaml = taken(Some(case.into()), &title);
    let step = StepYaml {
        who: step.who.clone().or(common.who.clone()),
        place: step.place.clone().or(common.place.clone()),
        act: step.act.clone().or(common.act.clone()),
        ..step
    };
    let place = step.place.clone();
    let before = |(index, first): (usize, StepYaml)| {
        let (who, place) = (first.who.clone().or(Some("root".into())), first.place.clone().or(place.clone()));
        StepYaml { who, place, ..first }.compiled(&title, &format!("{own_name}-{index}"))
    };
    Case {
        first: first.into_iter().enumerate().map(before).collect(),
        step: step.compiled(&title, &own_name),
        rule: own_rule.unwrap_or_else(|| rule.to_owned()),
        expect: verdict(&expect).unwrap_or_else(|| panic!("{title}: expect {expect:?}")),
        says,
        title,
    }
}

fn verdict(text: &str) -> Option<Verdict> {
    match text.split_once(' ') {
        None if text == "Allowed" => Some(Verdict::Allowed),
        None if text == "Refused" => Some(Verdict::Refused(String::new())),
        Some(("Refused", reason)) => Some(Verdict::Refused(reason.to_owned())),
        Some(("Recorded", reason)) => Some(Verdict::Recorded(reason.to_owned())),
        Some(("Found", reason)) => Some(Verdict::Found(reason.to_owned())),
        Some(("Warned", reason)) => Some(Verdict::Warned(reason.to_owned())),
        _ => None,
    }
}

impl StepYaml {
    fn compiled(self, title: &str, own_name: &str) -> Step {
        let who = self.who.clone().unwrap_or_else(|| panic!("{title}: as whom?"));
        let act = self.act.clone().unwrap_or_else(|| panic!("{title}: do what?"));
        let mut words = act.split_whitespace();
        let verb = match words.next() {
            Some("create") => Verb::Create,
            Some("apply") => Verb::Apply,
            Some("patch") => Verb::Patch,
            Some("replace") => Verb::Replace,
            Some("delete") => Verb::Delete,
            Some("deletecollection") => Verb::DeleteCollection,
            other => panic!("{title}: the verb {other:?}"),
        };
        let kind = words.next().unwrap_or_else(|| panic!("{title}: {act:?} names no kind"));
        let (kind, subresource) = kind.split_once('/').unwrap_or((kind, ""));
        let makes = matches!(verb, Verb::Create | Verb::Apply) && subresource.is_empty();
        let body = self.body(kind, makes);
        let generated = body.pointer("/metadata/generateName").is_some();
        let name = match words.next() {
            Some(name) => expand(name),
            None if generated || verb == Verb::DeleteCollection => String::new(),
            None => own_name.to_owned(),
        };
        let namespace = super::scene::is_namespaced(kind)
            .then(|| self.place.clone().unwrap_or_else(|| panic!("{title}: in which namespace?")));
        let mut step = Step {
            who,
            verb,
            kind: kind.to_owned(),
            subresource: subresource.to_owned(),
            namespace,
            name,
            manager: self.manager.unwrap_or_else(|| "kubectl".to_owned()),
            from: self.from,
            pick: self.pick,
            body,
        };
        if makes || step.verb == Verb::Replace {
            step.identify();
        }
        step
    }

    fn body(&self, kind: &str, makes: bool) -> Value {
        if let Some(patch @ Value::Array(_)) = &self.with {
            return expanded(patch.clone());
        }
        let mut body = if makes && self.from.is_none() { default(kind) } else { json!({}) };
        for (field, value) in [("labels", &self.labels), ("annotations", &self.annotations)] {
            if let Some(value) = value {
                lay(&mut body, &json!({"metadata": {field: value}}));
            }
        }
        if let Some(claims) = &self.claims {
            lay(&mut body, &json!({"spec": {"data": data(claims, self.decoys)}}));
        }
        if self.under.is_some() || self.pod.is_some() || self.container.is_some() {
            let mut main = json!({"name": "main", "image": "web"});
            lay(&mut main, self.container.as_ref().unwrap_or(&json!({})));
            let mut spec = json!({"containers": [main]});
            if let Some(account) = &self.under {
                lay(&mut spec, &json!({"serviceAccountName": account}));
            }
            lay(&mut spec, self.pod.as_ref().unwrap_or(&json!({})));
            lay(&mut body, &of_pods(kind, &spec));
        }
        if let Some(with) = &self.with {
            lay(&mut body, with);
        }
        let body = expanded(body);
        if makes && self.from.is_none() { without_nulls(body) } else { body }
    }
}

impl Case {
    /// The reason for which the authoriser says no, however that is answered; None: it says yes.
    pub fn reason(&self) -> Option<&str> {
        match &self.expect {
            Verdict::Allowed => None,
            Verdict::Recorded(reason) | Verdict::Found(reason) | Verdict::Warned(reason) | Verdict::Refused(reason) => {
                Some(reason)
            }
        }
    }
}

impl Step {
    /// Whose it is, in the object itself.
    fn identify(&mut self) {
        let (version, _) = super::scene::resource(&self.kind);
        let mut head = json!({"apiVersion": version, "kind": self.kind, "metadata": {}});
        if !self.name.is_empty() {
            head["metadata"]["name"] = self.name.as_str().into();
        }
        if let Some(namespace) = &self.namespace {
            head["metadata"]["namespace"] = namespace.as_str().into();
        }
        let body = std::mem::replace(&mut self.body, head);
        lay(&mut self.body, &body);
    }
}

/// What an object of a kind has unless a case says otherwise.
fn default(kind: &str) -> Value {
    match kind {
        "ScopedSecret" => json!({"spec": {
            "storeRef": {"name": "aws"}, "consumers": [{"serviceAccountName": "orders"}], "refreshInterval": "0s",
        }}),
        "SecretGrant" => json!({"spec": {
            "scopedSecretRef": {"name": "orders"}, "subject": {"kind": "User", "name": "ada"}, "ttl": "30m",
            "reason": "INC-1",
        }}),
        "ExternalSecret" => json!({"spec": {"secretStoreRef": {"name": "aws"}}}),
        _ => json!({}),
    }
}

/// Entries of `spec.data`: one a key.
fn data(claims: &Value, decoys: usize) -> Value {
    let named = match claims {
        Value::Array(several) => several.clone(),
        one => vec![one.clone()],
    };
    let decoys = (0..decoys).map(|i| format!("payments/prod/decoy-{i}"));
    let keys = decoys.chain(named.iter().map(|key| key.as_str().expect("a key").to_owned()));
    keys.enumerate().map(|(i, key)| json!({"secretKey": format!("key-{i}"), "remoteRef": {"key": key}})).collect()
}

/// An object of this kind whose pods have this spec.
fn of_pods(kind: &str, spec: &Value) -> Value {
    let labels = json!({"labels": {"app": "corpus"}});
    let template = json!({"metadata": labels, "spec": spec});
    let mut once = template.clone();
    once["spec"]["restartPolicy"] = "Never".into();
    let selector = json!({"matchLabels": {"app": "corpus"}});
    match kind {
        "Pod" => json!({"spec": spec}),
        "PodTemplate" => json!({"template": template}),
        "Job" => json!({"spec": {"template": once}}),
        "CronJob" => json!({"spec": {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": {"template": once}}}}),
        "ReplicationController" => json!({"spec": {"selector": {"app": "corpus"}, "template": template}}),
        "StatefulSet" => json!({"spec": {"serviceName": "corpus", "selector": selector, "template": template}}),
        _ => json!({"spec": {"selector": selector, "template": template}}),
    }
}

/// What a patch makes of an object: a list is a JSON patch.
pub fn patched(object: &mut Value, patch: &Value) {
    let Value::Array(operations) = patch else { return merge(object, patch) };
    for operation in operations {
        let (path, value) = (operation["path"].as_str().expect("a path"), operation["value"].clone());
        let (parent, last) = path.rsplit_once('/').expect("a path");
        let last = last.replace("~1", "/").replace("~0", "~");
        match (operation["op"].as_str(), object.pointer_mut(parent)) {
            (Some("add"), Some(Value::Array(items))) if last == "-" => items.push(value),
            (Some("add" | "replace"), Some(Value::Object(fields))) => drop(fields.insert(last, value)),
            (Some("remove"), Some(Value::Object(fields))) => drop(fields.remove(&last)),
            other => panic!("{operation}: {other:?}"),
        }
    }
}

/// RFC 7386: fields merge, all else is replaced, null takes away.
pub fn merge(into: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else {
        *into = patch.clone();
        return;
    };
    if !into.is_object() {
        *into = json!({});
    }
    let Value::Object(object) = into else { return };
    for (key, value) in fields {
        if value.is_null() {
            object.remove(key);
        } else {
            merge(object.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

/// As [`merge`], with what is to be taken away still in it.
fn lay(into: &mut Value, patch: &Value) {
    match (into, patch) {
        (Value::Object(object), Value::Object(fields)) => {
            for (key, value) in fields {
                lay(object.entry(key.clone()).or_insert(json!({})), value);
            }
        }
        (into, patch) => *into = patch.clone(),
    }
}

fn without_nulls(value: Value) -> Value {
    let Value::Object(fields) = value else { return value };
    let kept = fields.into_iter().filter(|(_, value)| !value.is_null());
    kept.map(|(key, value)| (key, without_nulls(value))).collect::<Map<_, _>>().into()
}
