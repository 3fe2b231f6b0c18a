//! From files to the objects that are judged: lists flattened, everything else left aside.

use super::crd::Crds;
use super::kind::Kind;
use super::report::{Finding, InputError, Location, Rule, Severity, Subject};
use super::schema::nearest;
use super::yaml::{Chunk, Node, Place, compose, decode_text, split};
use crate::api::{GROUP, NAMESPACE_NAME_LABEL, Reason};
use std::collections::BTreeMap;
use std::sync::Arc;

/// One input.
#[derive(Debug, Clone)]
pub struct Source {
    /// What findings call it: the path as the user wrote it, or `stdin`.
    pub name: Arc<str>,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Whether it was found in a folder: then what is no Kubernetes object in it is left aside.
    pub found: bool,
}

/// One object, in the order of the input.
#[derive(Debug, Clone)]
pub struct Object {
    /// What it is.
    pub kind: Kind,
    /// The whole document.
    pub node: Arc<Node>,
    /// Its file.
    pub file: Arc<str>,
    /// Its namespace, if its kind has one.
    pub namespace: Option<String>,
    /// Its name; empty if it has none.
    pub name: String,
}

impl Object {
    /// Whom a finding is about.
    pub fn subject(&self) -> Subject {
        Subject { kind: self.kind.as_str().into(), namespace: self.namespace.clone(), name: self.name.clone() }
    }

    /// A place in its file.
    pub fn location(&self, at: Place) -> Location {
        Location { file: self.file.clone(), at }
    }

    /// A finding about it.
    pub fn finding(&self, severity: Severity, rule: Rule, reason: Reason, at: Place, message: String) -> Finding {
        Finding {
            severity,
            rule,
            reason,
            message,
            fix: None,
            location: Some(self.location(at)),
            subject: self.subject(),
        }
    }

    /// A namespace's labels, with the one that Kubernetes itself sets.
    pub fn labels(&self) -> BTreeMap<String, String> {
        let written = self.node.get("metadata").and_then(|m| m.get("labels")).map(Node::entries).unwrap_or_default();
        let written = written.iter().filter_map(|e| Some((e.key.clone(), e.value.text()?.to_owned())));
        written.chain([(NAMESPACE_NAME_LABEL.to_owned(), self.name.clone())]).collect()
    }
}

/// What the inputs hold.
#[derive(Debug, Default)]
pub struct Gathered {
    /// What is judged.
    pub objects: Vec<Object>,
    /// Objects that no API server would know.
    pub findings: Vec<Finding>,
    /// What could not be read.
    pub input_errors: Vec<InputError>,
    /// What was left aside.
    pub ignored: Vec<(Location, String)>,
}

/// Reads every input. `namespace` is for an object that names none.
pub fn gather(sources: &[Source], namespace: &str, crds: &Crds) -> Gathered {
    let mut gathered = Gathered::default();
    for source in sources {
        let is_template = memchr::memmem::find(&source.bytes, b"{{").is_some();
        let fault = |gathered: &mut Gathered, at, mut message: String| {
            if is_template {
                message.push_str("; if it is a template, judge what it renders to: helm template ... | kubectl scoped-secrets simulate -");
                if source.found {
                    message.push_str(", and name the folders beside it instead of the one that has it");
                }
            }
            let location = Location { file: source.name.clone(), at };
            gathered.input_errors.push(InputError { location, message });
        };
        let text = match decode_text(&source.bytes) {
            Ok(text) => text,
            Err(error) => {
                fault(&mut gathered, error.at, error.message);
                continue;
            }
        };
        let chunks: Vec<Chunk<'_>> = match split(&text) {
            Ok(chunks) => chunks,
            Err(error) => {
                fault(&mut gathered, error.at, error.message);
                continue;
            }
        };
        for chunk in chunks {
            match compose(chunk) {
                Ok(Some(node)) => Sorting { source, namespace, crds, gathered: &mut gathered }.sort(&node, None),
                Ok(None) => {}
                Err(error) => fault(&mut gathered, error.at, error.message),
            }
        }
    }
    gathered
}

struct Sorting<'a> {
    source: &'a Source,
    namespace: &'a str,
    crds: &'a Crds,
    gathered: &'a mut Gathered,
}

impl Sorting<'_> {
    /// `listed` is the apiVersion and kind that a typed list gives its items.
    fn sort(&mut self, node: &Arc<Node>, listed: Option<(&str, &str)>) {
        let written = (node.text_at(&["apiVersion"]), node.text_at(&["kind"]));
        let (version, kind) = match (written, listed) {
            ((None, None), Some((version, kind))) => (Some(version), Some(kind)),
            (written, _) => written,
        };
        let Some(kind) = kind else {
            return self.no_object(node, "it has no kind");
        };
        if let (Some(item_kind), Some(items)) = (kind.strip_suffix("List"), node.get("items").and_then(Node::items)) {
            let inherited = version.filter(|_| !item_kind.is_empty()).map(|version| (version, item_kind));
            return items.iter().for_each(|item| self.sort(item, inherited));
        }
        let Some(version) = version else {
            return match Kind::OURS.iter().find(|k| k.as_str() == kind) {
                Some(ours) => {
                    self.unknown(node, Severity::Error, *ours, "apiVersion: Required value".into(), "apiVersion")
                }
                None => self.no_object(node, "it has no apiVersion"),
            };
        };
        let group = version.split_once('/').map_or("", |(group, _)| group);
        let ours = Kind::OURS.into_iter().find(|k| k.as_str() == kind);
        match (ours, version) {
            (Some(ours), OUR_VERSION) => self.keep(node, ours),
            // Those are the operator's, as a listing of a cluster has them; without a uid somebody else wrote it.
            _ if version == OUR_VERSION
                && OPERATORS.contains(&kind)
                && node.text_at(&["metadata", "uid"]).is_none() =>
            {
                self.operators(node, kind);
            }
            _ if version == OUR_VERSION && self.crds.kinds().any(|known| known == kind) => {
                self.ignore(node.at, format!("{kind} is not judged"));
            }
            _ if group == GROUP => {
                let message = format!("no matches for kind {kind:?} in version {version:?}");
                let place = if ours.is_some() { "apiVersion" } else { "kind" };
                let meant = ours.map(|_| OUR_VERSION.to_owned()).or_else(|| nearest(kind, self.crds.kinds()));
                let at = node.place_of(place);
                self.refuse(node, kind, Severity::Error, message, meant, at);
            }
            (Some(ours), _) => {
                let message =
                    format!("apiVersion is {version:?}: this is not a {kind} of {GROUP}, and it was not judged");
                self.unknown(node, Severity::Warning, ours, message, "apiVersion");
            }
            _ => match Kind::beside_ours(version, kind) {
                Some(kind) => self.keep(node, kind),
                None => self.ignore(node.at, format!("{kind} ({version}) is not judged")),
            },
        }
    }

    fn keep(&mut self, node: &Arc<Node>, kind: Kind) {
        let namespace = kind.is_namespaced().then(|| {
            let own = node.text_at(&["metadata", "namespace"]).filter(|n| !n.is_empty());
            own.unwrap_or(self.namespace).to_owned()
        });
        let name = node.text_at(&["metadata", "name"]).filter(|n| !n.is_empty()).map(str::to_owned);
        // The API server appends five characters of its own; each such object is another one.
        let generated = || {
            let prefix = node.text_at(&["metadata", "generateName"]).filter(|prefix| !prefix.is_empty())?;
            Some(format!("{prefix}{:05}", self.gathered.objects.len()))
        };
        let name = name.or_else(generated).unwrap_or_default();
        let file = self.source.name.clone();
        self.gathered.objects.push(Object { kind, node: node.clone(), file, namespace, name });
    }

    fn operators(&mut self, node: &Node, kind: &str) {
        let message = format!(
            "only the operator writes a {kind}, from the SegmentationPolicies and ScopedSecrets: leave it out, and change those"
        );
        let (rule, reason) = (Rule::ManagedSecrets, Reason::OperatorOnly);
        let location = Some(Location { file: self.source.name.clone(), at: node.place_of("kind") });
        let (fix, subject) = (Some(reason.fix().to_owned()), subject_of(node, kind));
        self.gathered.findings.push(Finding {
            severity: Severity::Error,
            rule,
            reason,
            message,
            fix,
            location,
            subject,
        });
    }

    fn unknown(&mut self, node: &Node, severity: Severity, kind: Kind, message: String, field: &str) {
        self.refuse(node, kind.as_str(), severity, message, Some(OUR_VERSION.to_owned()), node.place_of(field));
    }

    fn refuse(&mut self, node: &Node, kind: &str, severity: Severity, message: String, fix: Option<String>, at: Place) {
        let subject = subject_of(node, kind);
        let location = Some(Location { file: self.source.name.clone(), at });
        let (rule, reason) = (Rule::Schema, Reason::SpecInvalid);
        self.gathered.findings.push(Finding { severity, rule, reason, message, fix, location, subject });
    }

    /// In a folder there are other YAML files, too; a file that was named is meant.
    fn no_object(&mut self, node: &Node, why: &str) {
        let message = format!("this is not a Kubernetes object: {why}");
        if self.source.found {
            return self.ignore(node.at, message);
        }
        let location = Location { file: self.source.name.clone(), at: node.at };
        self.gathered.input_errors.push(InputError { location, message });
    }

    fn ignore(&mut self, at: Place, why: String) {
        self.gathered.ignored.push((Location { file: self.source.name.clone(), at }, why));
    }
}

fn subject_of(node: &Node, kind: &str) -> Subject {
    let text = |path: &[&str]| node.text_at(path).map(str::to_owned);
    Subject {
        kind: kind.to_owned(),
        namespace: text(&["metadata", "namespace"]),
        name: text(&["metadata", "name"]).unwrap_or_default(),
    }
}

/// Kinds that only the operator writes.
const OPERATORS: [&str; 2] = ["SegmentGuard", "SegmentationReport"];

/// The apiVersion of our kinds.
pub const OUR_VERSION: &str = "scopedsecrets.io/v1alpha1";

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(text: &str, found: bool) -> Gathered {
        let source = Source { name: "f".into(), bytes: text.into(), found };
        gather(&[source], "default", &Crds::default())
    }

    fn names(text: &str) -> Vec<String> {
        let objects = sorted(text, false).objects;
        objects.iter().map(|o| format!("{:?} {}/{}", o.kind, o.namespace.as_deref().unwrap_or("-"), o.name)).collect()
    }

    #[test]
    fn flattens_lists_as_kubectl_does() {
        let text = "apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Namespace, metadata: {name: a, namespace: ignored}}
- apiVersion: scopedsecrets.io/v1alpha1
  kind: ScopedSecretList
  items:
  - metadata: {name: b}
  - {apiVersion: scopedsecrets.io/v1alpha1, kind: ScopedSecret, metadata: {name: c, namespace: n1}}
- {apiVersion: apps/v1, kind: Deployment, metadata: {name: d}}
- {apiVersion: apps/v1beta1, kind: Deployment, metadata: {name: e}}
- {apiVersion: external-secrets.io/v1beta1, kind: ClusterSecretStore, metadata: {name: f}}
- {apiVersion: v1, kind: Service, metadata: {name: g}}
";
        let expected = [
            "Namespace -/a",
            "ScopedSecret default/b",
            "ScopedSecret n1/c",
            "Native(Deployment) default/d",
            "Foreign(ClusterSecretStore) -/f",
        ];
        assert_eq!(names(text), expected);
    }

    #[test]
    fn what_is_nearly_ours_is_said() {
        for (text, severity, fix) in [
            ("apiVersion: scopedsecrets.io/v1alpha1\nkind: ScopedSecrets\n", Severity::Error, Some("ScopedSecret")),
            ("apiVersion: scopedsecrets.io/v1\nkind: ScopedSecret\n", Severity::Error, Some(OUR_VERSION)),
            ("kind: ScopedSecret\n", Severity::Error, Some(OUR_VERSION)),
            ("apiVersion: scopedsecret.io/v1alpha1\nkind: ScopedSecret\n", Severity::Warning, Some(OUR_VERSION)),
        ] {
            let found = sorted(text, true).findings;
            assert_eq!((found[0].severity, found[0].fix.as_deref()), (severity, fix), "{text}");
        }
    }

    #[test]
    fn a_folder_may_hold_other_files() {
        let values = "image: {tag: v1}\n";
        assert_eq!(sorted(values, true).input_errors, []);
        assert_eq!(sorted(values, true).ignored.len(), 1);
        assert_eq!(sorted(values, false).input_errors.len(), 1);
        assert_eq!(sorted("- a\n---\nx\n---\n# c\n---\nnull\n", true).input_errors, []);
    }

    #[test]
    fn a_template_is_an_error_that_says_what_to_name_instead() {
        for (found, beside) in [(true, true), (false, false)] {
            let errors = sorted("a: {{ .x }}\n", found).input_errors;
            assert_eq!(errors.len(), 1, "{errors:?}");
            let message = &errors[0].message;
            assert!(message.contains("helm template") && message.contains("name the folders") == beside, "{message}");
        }
        assert_eq!(sorted("a: [\n", true).input_errors.len(), 1);
    }

    #[test]
    fn a_namespace_carries_its_name_as_a_label() {
        let objects =
            sorted("apiVersion: v1\nkind: Namespace\nmetadata: {name: a, labels: {t: b, u: yes}}\n", true).objects;
        let labels = objects[0].labels();
        assert_eq!(labels.get("t").map(String::as_str), Some("b"));
        assert_eq!(labels.get(NAMESPACE_NAME_LABEL).map(String::as_str), Some("a"));
        assert_eq!(labels.get("u"), None);
    }
}
