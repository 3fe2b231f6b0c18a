//! From Rust types to the CRDs that are applied: what the derive cannot say is said here, once.

use super::segment_guard::SEGMENT_GUARD;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps, ValidationRule,
};
use serde_json::json;

/// Finishes a derived CRD: `status` starts as `{observedGeneration: -1}`, so that kstatus sees InProgress before the
/// operator has looked, and no other field has a default: what a GitOps tool applied is what stands; no field is nullable, so that `has()` in CEL means what it says; every string has a longest.
pub fn finish(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    for version in &mut crd.spec.versions {
        let Some(root) = version.schema.as_mut().and_then(|s| s.open_api_v3_schema.as_mut()) else { continue };
        tidy(root);
        root.required = Some(vec!["spec".into()]);
        if crd.spec.names.kind == "SegmentGuard" {
            root.x_kubernetes_validations = Some(vec![one_a_namespace()]);
        }
        if let Some(status) = root.properties.as_mut().and_then(|p| p.get_mut("status")) {
            status.default = Some(JSON(json!({"observedGeneration": -1})));
            let decides = ["KeyRevocation", "SecretGrant"].contains(&crd.spec.names.kind.as_str());
            let text = if decides { "only it writes" } else { "It reports; nothing is decided from it" };
            let observed = if decides { "What the operator observed, and" } else { "What the operator observed." };
            status.description = Some(format!("{observed} {text}."));
        }
    }
    crd
}

/// The guards' bindings select SegmentGuards by their labels: one of another name would be kept by the API server, and by nobody
/// else.
fn one_a_namespace() -> ValidationRule {
    ValidationRule {
        rule: format!("self.metadata.name == '{SEGMENT_GUARD}'"),
        message: Some(format!(
            "a namespace has one SegmentGuard, and its name is {SEGMENT_GUARD}; only the operator writes it"
        )),
        ..ValidationRule::default()
    }
}

/// The rule of a field that names an object (a DNS subdomain, RFC 1123): it becomes a part of a path.
pub fn object_name(field: &str) -> serde_json::Value {
    json!([{
        "rule": "self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",
        "message": format!("{field} is the name of an object: lowercase letters, digits, '-' and '.', with a letter or digit at both ends"),
    }])
}

/// Longer than every word of an enum: the cost of CEL is reckoned by it.
const LONGEST_WORD: i64 = 64;

fn tidy(schema: &mut JSONSchemaProps) {
    use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
        JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
    };
    (schema.nullable, schema.default) = (None, None);
    if schema.enum_.is_some() && schema.type_.as_deref() == Some("string") {
        schema.max_length = Some(LONGEST_WORD);
    }
    for child in schema.properties.iter_mut().flat_map(|p| p.values_mut()) {
        tidy(child);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        tidy(items);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        tidy(values);
    }
}
