//! The CRDs' own checks, offline: their structural schemas and their CEL rules, each compiled once.

use super::schema::{Breach, Checker, Weight};
use super::yaml::{Node, Place};
use crate::api;
use kube::core::cel::{CompiledSchema, ErrorKind, ValidationError, Validator, compile_schema};
use serde_json::{Value as Json, json};
use std::cell::OnceCell;
use std::collections::BTreeMap;

/// Checks objects as the API server does when they are created.
pub struct Crds {
    kinds: BTreeMap<String, Crd>,
    namespace: Json,
    checker: Checker,
    validator: OnceCell<Validator>,
}

struct Crd {
    schema: Json,
    status: Json,
    rules: OnceCell<CompiledSchema>,
}

impl Default for Crds {
    fn default() -> Self {
        let mut kinds = BTreeMap::new();
        for crd in api::crds() {
            let version = crd.spec.versions.into_iter().next();
            let schema = version.and_then(|v| v.schema).and_then(|s| s.open_api_v3_schema);
            let Some(mut schema) = schema.and_then(|s| serde_json::to_value(s).ok()) else { continue };
            let status = schema.pointer("/properties/status").cloned().unwrap_or_default();
            complete(&mut schema, metadata(SUBDOMAIN, 253));
            kinds.insert(crd.spec.names.kind, Crd { schema, status, rules: OnceCell::new() });
        }
        let mut namespace = json!({"type": "object", "properties": {"spec": ANY.clone()}});
        complete(&mut namespace, metadata(LABEL, 63));
        Self { kinds, namespace, checker: Checker::default(), validator: OnceCell::new() }
    }
}

impl Crds {
    /// Names of the kinds that have a CRD.
    pub fn kinds(&self) -> impl Iterator<Item = &str> {
        self.kinds.keys().map(String::as_str)
    }

    /// Every breach by a namespace.
    pub fn check_namespace(&self, node: &Node) -> Vec<Breach> {
        named(self.checker.check(&self.namespace, node, node.at, ""), node)
    }

    /// Every breach by an object of one of the [`Crds::kinds`].
    pub fn check(&self, kind: &str, node: &Node) -> Vec<Breach> {
        let Some(crd) = self.kinds.get(kind) else { return Vec::new() };
        let mut found = named(self.checker.check(&crd.schema, node, node.at, ""), node);
        if let Some(entry) = node.entry("status") {
            let breaches = self.checker.check(&crd.status, &entry.value, entry.key_at, "status");
            // The API server decodes the status, and then drops it.
            found.extend(breaches.into_iter().filter(|b| b.weight == Weight::Strict));
        }
        if found.iter().all(|b| b.weight != Weight::Blocking) {
            let known: Vec<Place> = found.iter().map(|b| b.at).collect();
            let rules = self.cel(crd, node).into_iter();
            found.extend(rules.filter(|b| b.weight != Weight::Unsure || !known.contains(&b.at)));
        }
        found
    }

    fn cel(&self, crd: &Crd, node: &Node) -> Vec<Breach> {
        let rules = crd.rules.get_or_init(|| compile_schema(&crd.schema));
        let mut object = node.to_stored_json();
        if let Some(fields) = object.as_object_mut() {
            fields.remove("status");
        }
        let outcome = self.validator.get_or_init(Validator::new).validate_compiled(rules, &object, None);
        let errors = outcome.err().map(|errors| errors.into_vec()).unwrap_or_default();
        let breach = |error: ValidationError| {
            let path = &error.field_path;
            let value = object.pointer(&format!("/{}", path.replace(['.', '['], "/").replace(']', "")));
            let shown = value.filter(|v| !v.is_object() && !v.is_array()).map_or(String::new(), |v| format!(": {v}"));
            let (weight, message) = match error.kind {
                ErrorKind::ValidationFailure => (Weight::Invalid, format!("Invalid value{shown}: {}", error.message)),
                _ => (
                    Weight::Unsure,
                    format!("a rule of the CRD could not be checked offline{shown}: {}", error.message),
                ),
            };
            Breach { at: node.place_of(path), message: format!("{path}: {message}"), fix: None, weight }
        };
        errors.into_iter().map(breach).collect()
    }
}

/// Without the wish for a name, if the API server is to make one from generateName.
fn named(mut found: Vec<Breach>, node: &Node) -> Vec<Breach> {
    if node.text_at(&["metadata", "generateName"]).is_some_and(|prefix| !prefix.is_empty()) {
        found.retain(|breach| breach.message != "metadata.name: Required value");
    }
    found
}

const SUBDOMAIN: &str = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";
const LABEL: &str = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";
const LABEL_VALUE: &str = "^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$";

static ANY: std::sync::LazyLock<Json> =
    std::sync::LazyLock::new(|| json!({"x-kubernetes-preserve-unknown-fields": true}));

/// Adds what every object has beside its spec; the status that a user wrote is dropped unread.
fn complete(schema: &mut Json, metadata: Json) {
    if let Some(properties) = schema.get_mut("properties").and_then(Json::as_object_mut) {
        properties.insert("apiVersion".into(), json!({"type": "string"}));
        properties.insert("kind".into(), json!({"type": "string"}));
        properties.insert("metadata".into(), metadata);
        properties.insert("status".into(), ANY.clone());
    }
    if let Some(required) = schema.get_mut("required").and_then(Json::as_array_mut) {
        required.push("metadata".into());
    } else if let Some(fields) = schema.as_object_mut() {
        fields.insert("required".into(), json!(["metadata"]));
    }
}

/// Kubernetes' ObjectMeta, as far as users write it.
fn metadata(name_pattern: &str, name_length: usize) -> Json {
    let text = json!({"type": "string"});
    let number = json!({"type": "integer"});
    let list = json!({"type": "array", "items": ANY.clone()});
    let value = json!({"type": "string", "maxLength": 63, "pattern": LABEL_VALUE});
    json!({
        "type": "object",
        "required": ["name"],
        "properties": {
            "name": {"type": "string", "maxLength": name_length, "pattern": name_pattern},
            "namespace": {"type": "string", "maxLength": 63, "pattern": format!("^$|{LABEL}")},
            "labels": {"type": "object", "additionalProperties": value},
            "annotations": {"type": "object", "additionalProperties": {"type": "string"}},
            "finalizers": {"type": "array", "items": {"type": "string"}},
            "generateName": text, "selfLink": text, "uid": text, "resourceVersion": text,
            "creationTimestamp": text, "deletionTimestamp": text,
            "generation": number, "deletionGracePeriodSeconds": number,
            "ownerReferences": list, "managedFields": list,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::super::yaml::{compose, split};
    use super::*;

    fn check(kind: &str, text: &str) -> Vec<String> {
        let node = compose(split(text).unwrap()[0]).unwrap().unwrap();
        let crds = Crds::default();
        let found = if kind == "Namespace" { crds.check_namespace(&node) } else { crds.check(kind, &node) };
        found.into_iter().map(|b| format!("{}:{} {}", b.at.line, b.at.column, b.message)).collect()
    }

    #[test]
    fn every_rule_of_every_crd_compiles_here() {
        for (kind, crd) in Crds::default().kinds {
            let rules = compile_schema(&crd.schema);
            assert!(!rules.has_errors(), "{kind}: {:?}", rules.compilation_errors());
        }
    }

    #[test]
    fn runs_the_rules_where_they_stand() {
        assert_eq!(
            check("ScopedSecretStore", "metadata: {name: a}\nspec:\n  aws: {region: eu-west-1}\n  file: {path: /a}\n"),
            ["2:1 spec: Invalid value: write exactly one provider block: aws or file"]
        );
        let store = "metadata: {name: a}\nspec:\n  aws:\n    region: eu-west-1\n    endpoint: nowhere\n";
        assert_eq!(
            check("ScopedSecretStore", store),
            [
                "5:15 spec.aws.endpoint: Invalid value: \"nowhere\": endpoint is a URL: https://HOST[:PORT], or http:// for an emulator"
            ]
        );
        let claim = "metadata: {name: a}\nspec:\n  storeRef: {name: aws}\n  data:\n  - secretKey: previous.a\n    remoteRef: {key: 'a*'}\n";
        let found = check("ScopedSecret", claim);
        assert!(found.len() == 2, "{found:?}");
        assert!(
            found
                .iter()
                .any(|f| f.starts_with("5:16 spec.data[0].secretKey: Invalid value: \"previous.a\": secretKeys"))
        );
        assert!(found.iter().any(|f| f.starts_with("6:22 spec.data[0].remoteRef.key: Invalid value: \"a*\": key is one exact name")));
    }

    #[test]
    fn rules_wait_until_the_schema_is_kept() {
        let found = check("ScopedSecret", "metadata: {name: a}\nspec: {data: []}\n");
        assert_eq!(found, ["2:1 spec.storeRef: Required value"]);
    }

    #[test]
    fn nulls_are_as_if_not_written() {
        let spec = "metadata: {name: a}\nspec:\n  storeRef: {name: aws}\n  target:\n";
        let data = "  data: [{secretKey: a, remoteRef: {key: a, property: ~}}]\n";
        assert_eq!(check("ScopedSecret", &format!("{spec}{data}")), [""; 0]);
        let found = check("ScopedSecret", &format!("{spec}  data:\n"));
        assert!(found.len() == 1 && found[0].starts_with("2:1 spec: Invalid value: nothing is claimed"), "{found:?}");
        assert_eq!(check("ScopedSecret", "metadata: {name: a}\nspec:\n"), ["1:1 spec: Required value"]);
    }

    #[test]
    fn what_the_engine_cannot_tell_is_said_to_be_so() {
        let store = "metadata: {name: a}\nspec: {aws: {region: eu-west-1, endpoint: 'http://localhost:5000'}}\n";
        assert_eq!(check("ScopedSecretStore", store), [""; 0]);
        let claim = "metadata: {name: a}\nspec:\n  storeRef: {name: aws}\n  refreshInterval: 5000000µs\n  data: [{secretKey: a, remoteRef: {key: a}}]\n";
        let found = check("ScopedSecret", claim);
        assert!(found.len() == 1 && found[0].contains("could not be checked offline"), "{found:?}");
    }

    #[test]
    fn a_field_of_wrong_form_is_said_once() {
        let claim = "metadata: {name: a}\nspec:\n  storeRef: {name: aws}\n  refreshInterval: 1d12h\n  data: [{secretKey: a, remoteRef: {key: a}}]\n";
        assert_eq!(check("ScopedSecret", claim).len(), 1);
    }

    #[test]
    fn an_unknown_field_of_a_status_is_found() {
        let claim = "metadata: {name: a}\nstatus: {segment: 1, foo: 1}\nspec: {storeRef: {name: aws}, data: [{secretKey: a, remoteRef: {key: a}}]}\n";
        assert_eq!(check("ScopedSecret", claim), ["2:22 unknown field \"status.foo\""]);
    }

    #[test]
    fn metadata_is_checked_too() {
        let found =
            check("Namespace", "metadata:\n  name: a\n  lables: {}\n  labels: {environment: on, tenant: a/b}\n");
        assert_eq!(
            found,
            [
                "3:3 unknown field \"metadata.lables\"",
                "4:25 metadata.labels.environment: Invalid value: \"boolean\": metadata.labels.environment in body must be of type string: \"boolean\"",
                "4:37 metadata.labels.tenant: Invalid value: \"a/b\": metadata.labels.tenant in body should match '^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$'",
            ]
        );
        assert_eq!(
            check("Namespace", "metadata: {creationTimestamp: null}\nspec: {}\nstatus: {}\n"),
            ["1:1 metadata.name: Required value"]
        );
        assert_eq!(check("Namespace", "kind: Namespace\n"), ["1:1 metadata: Required value"]);
        assert_eq!(check("Namespace", "metadata: {generateName: payments-}\n"), [""; 0]);
    }

    #[test]
    fn a_namespace_has_one_segment_guard() {
        let named =
            |name: &str| check("SegmentGuard", &format!("metadata: {{name: {name}}}\nspec: {{targets: {{}}}}\n"));
        assert_eq!(named("scoped-secrets"), [""; 0]);
        let second = named("second").join(" ");
        assert!(second.contains("its name is scoped-secrets"), "{second}");
    }

    #[test]
    fn the_examples_of_the_design_pass() {
        let claim = "metadata: {name: orders, namespace: a}
spec:
  storeRef: {name: aws-prod}
  consumers: [{serviceAccountName: orders}]
  data: [{secretKey: password, remoteRef: {key: payments/prod/orders-db, property: password}}]
  dataFrom: [{remoteRef: {key: payments/prod/orders-api}}]
  target: {name: orders-db, type: Opaque, immutable: false, template: {labels: {}, annotations: {}, data: {URL: \"postgres://{{ username }}\"}}}
  refreshInterval: 1h
  deletionPolicy: Delete
";
        assert_eq!(check("ScopedSecret", claim), [""; 0]);
        let policy = "metadata: {name: tenants}
spec:
  segment: {labels: [tenant, environment]}
  namespaceSelector: {matchExpressions: [{key: tenant, operator: Exists}, {key: environment, operator: Exists}]}
  mode: Enforce
  allow:
  - storeRef: {name: aws-prod}
    keys: [\"${label:tenant}/${label:environment}/**\"]
    actions: [Read]
  rules:
    exclusiveKeys: Namespace
    uniqueValues: {within: Segment, ignore: [username, host, port, dbname, engine]}
    requireConsumers: true
    targetTypes: []
    allowRetain: false
  exceptions: [{rule: UniqueValues, namespaces: [legacy], reason: \"JIRA-12\", expirationTime: 2030-01-01T00:00:00Z}]
";
        assert_eq!(check("SegmentationPolicy", policy), [""; 0]);
        let store = "metadata: {name: aws-prod}
spec:
  aws:
    region: eu-west-1
    accountId: \"123456789012\"
    endpoint: https://vpce.example.com
    auth: {assumeRole: {roleArn: \"arn:aws:iam::123456789012:role/scoped-${namespace}\"}}
";
        assert_eq!(check("ScopedSecretStore", store), [""; 0]);
    }
}
