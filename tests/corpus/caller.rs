//! Asks the API server as anybody, with the client's own connection: status, text and warnings, as kubectl would print them.

use super::case::{Step, Verb, Verdict, merge};
use super::scene::{Scene, resource};
use crate::support::cluster::Cluster;
use crate::support::wait::await_within;
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};
use std::time::Duration;

/// Connections to one cluster.
pub struct Caller<'a> {
    runtime: tokio::runtime::Runtime,
    client: Client,
    scene: &'a Scene,
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    pub code: u16,
    /// The object, or the Status.
    pub body: Value,
    pub warnings: Vec<String>,
    /// By which it stands in the API server's audit log.
    pub audit_id: String,
}

impl Answer {
    pub fn is_ok(&self) -> bool {
        self.code < 300
    }

    pub fn message(&self) -> &str {
        self.body["message"].as_str().unwrap_or_default()
    }

    /// The text in which `rule RULE, REASON: ` stands, if there is one.
    pub fn says(&self, rule: &str, reason: &str) -> Option<String> {
        let head = format!("rule {rule}, {reason}: ");
        let texts = self.warnings.iter().map(String::as_str).chain([self.message()]);
        texts.filter_map(|text| text.find(&head).map(|at| text[at..].to_owned())).next()
    }

    /// What it amounts to, as far as a rule spoke: of several the first.
    pub fn verdict(&self) -> (String, Verdict) {
        let spoken = |text: &str| {
            let (_, rest) = text.split_once("rule ")?;
            let (rule, rest) = rest.split_once(", ")?;
            let (reason, _) = rest.split_once(": ")?;
            Some((rule.to_owned(), reason.to_owned()))
        };
        if self.is_ok() {
            let warned = self.warnings.iter().find_map(|text| spoken(text));
            return warned.map_or((String::new(), Verdict::Allowed), |(rule, reason)| (rule, Verdict::Warned(reason)));
        }
        let (rule, reason) = spoken(self.message()).unwrap_or_else(|| {
            let by = if self.message().contains("is forbidden: User ") { "RBAC" } else { "Schema" };
            (by.to_owned(), String::new())
        });
        (rule, Verdict::Refused(reason))
    }
}

impl<'a> Caller<'a> {
    pub fn new(cluster: &Cluster, scene: &'a Scene) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let client = runtime.block_on(async {
            let kubeconfig = Kubeconfig::read_from(&cluster.kubeconfig).unwrap();
            let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
            Client::try_from(config).unwrap()
        });
        Self { runtime, client, scene }
    }

    /// As the person of the step.
    pub fn ask(&self, step: &Step, dry_run: bool) -> Answer {
        // Options in a body would hide those in the query.
        let deletes = matches!(step.verb, Verb::Delete | Verb::DeleteCollection);
        let (path, body) = (path_of(step), if deletes { Value::Null } else { self.body_of(step) });
        let (method, content) = match step.verb {
            Verb::Create => ("POST", "application/json"),
            Verb::Replace => ("PUT", "application/json"),
            Verb::Apply => ("PATCH", "application/apply-patch+yaml"),
            Verb::Patch if body.is_array() => ("PATCH", "application/json-patch+json"),
            Verb::Patch => ("PATCH", "application/merge-patch+json"),
            Verb::Delete | Verb::DeleteCollection => ("DELETE", "application/json"),
        };
        let mut query = vec![];
        if dry_run {
            query.push("dryRun=All".to_owned());
        }
        if let Some(labels) = &step.pick {
            query.push(format!("labelSelector={labels}"));
        }
        if step.verb == Verb::Apply {
            query.push(format!("fieldManager={}&force=true", step.manager));
        }
        self.send(Some(&step.who), method, &format!("{path}?{}", query.join("&")), content, &body)
    }

    /// In earnest; again if what is replaced was changed meanwhile, as kubectl would be told to.
    pub fn ask_in_earnest(&self, step: &Step) -> Answer {
        let once = || match self.ask(step, false) {
            answer if answer.code == 409 && step.verb == Verb::Replace => Err(answer),
            answer => Ok(answer),
        };
        await_within(Duration::from_secs(10), once).unwrap_or_else(|conflict| conflict)
    }

    /// As an admin.
    pub fn admin(&self, method: &str, path: &str, body: &Value) -> Answer {
        let content = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        self.send(None, method, path, content, body)
    }

    /// One object as it is, or none.
    pub fn live(&self, kind: &str, namespace: Option<&str>, name: &str) -> Option<Value> {
        let answer = self.admin("GET", &path(kind, namespace, name), &Value::Null);
        assert!(answer.is_ok() || answer.code == 404, "{kind} {name}: {answer:?}");
        answer.is_ok().then_some(answer.body)
    }

    /// Every object of a kind, in all namespaces.
    pub fn list(&self, kind: &str) -> Vec<Value> {
        let answer = self.admin("GET", &path(kind, None, ""), &Value::Null);
        assert!(answer.is_ok(), "{kind}: {answer:?}");
        answer.body["items"].as_array().cloned().unwrap_or_default()
    }

    /// Makes what is not there yet.
    pub fn make(&self, object: &Value) {
        let text = |path: &str| object.pointer(path).and_then(Value::as_str);
        let path = path(text("/kind").unwrap(), text("/metadata/namespace"), "");
        let made = self.admin("POST", &path, object);
        assert!(made.is_ok() || made.code == 409, "{object}: {made:?}");
    }

    fn body_of(&self, step: &Step) -> Value {
        let Some(name) = &step.from else { return step.body.clone() };
        let live = self.live(&step.kind, step.namespace.as_deref(), name);
        // Without it the request fails, and says so.
        let mut body = live.unwrap_or_else(|| json!({"metadata": {}}));
        let metadata = body["metadata"].as_object_mut().expect("metadata");
        metadata.remove("managedFields");
        if step.verb != Verb::Replace {
            metadata
                .retain(|field, _| !["uid", "resourceVersion", "creationTimestamp", "generation"].contains(&&**field));
        }
        merge(&mut body, &step.body);
        body
    }

    fn send(&self, who: Option<&str>, method: &str, path: &str, content: &str, body: &Value) -> Answer {
        let mut request = http::Request::builder().method(method).uri(path).header("Content-Type", content);
        if let Some(who) = who {
            let person = self.scene.person(who);
            request = request.header("Impersonate-User", person.user.as_deref().unwrap_or(who));
            for group in &person.groups {
                request = request.header("Impersonate-Group", group);
            }
        }
        let bytes = if body.is_null() { vec![] } else { serde_json::to_vec(body).unwrap() };
        let request = request.body(Body::from(bytes)).unwrap();
        self.runtime.block_on(async {
            let response = self.client.send(request).await.unwrap_or_else(|error| panic!("{method} {path}: {error}"));
            let warnings = response.headers().get_all("warning").iter();
            let warnings =
                warnings.map(|text| String::from_utf8_lossy(text.as_bytes()).replace("\\\"", "\"")).collect();
            let code = response.status().as_u16();
            let audit_id = response.headers().get("audit-id").and_then(|id| id.to_str().ok());
            let audit_id = audit_id.unwrap_or_default().to_owned();
            let bytes = response.into_body().collect_bytes().await.unwrap();
            let text = || json!({"message": String::from_utf8_lossy(&bytes)});
            Answer { code, body: serde_json::from_slice(&bytes).unwrap_or_else(|_| text()), warnings, audit_id }
        })
    }
}

fn path_of(step: &Step) -> String {
    let bare = step.verb == Verb::Create && step.subresource.is_empty();
    let mut path = path(&step.kind, step.namespace.as_deref(), if bare { "" } else { &step.name });
    if !step.subresource.is_empty() {
        path.push_str(&format!("/{}", step.subresource));
    }
    path
}

/// Of an object, or with an empty name of all of them.
pub fn path(kind: &str, namespace: Option<&str>, name: &str) -> String {
    let (version, plural) = resource(kind);
    let root = if version == "v1" { "/api" } else { "/apis" };
    let space = namespace.map(|namespace| format!("/namespaces/{namespace}")).unwrap_or_default();
    let name = if name.is_empty() { String::new() } else { format!("/{name}") };
    format!("{root}/{version}{space}/{plural}{name}")
}
