//! Two tenants with prod and staging namespaces, one store, one policy: what most stories begin with.

use super::cluster::Cluster;
use super::wait::eventually;
use serde_json::Value;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Long enough for a busy machine; a wait ends as soon as what is waited for is there.
pub const SOON: Duration = Duration::from_secs(90);

/// Namespaces `payments-prod`, `payments-staging`, `billing-prod` and `plain` (without labels), the store `aws`, and the
/// policy `tenants` (keys below TENANT/ENVIRONMENT).
pub fn set_up(cluster: &Cluster, endpoint: &str) {
    set_up_by(cluster, &store("aws", endpoint));
}

/// The same for an operator inside the test's process, which has no credentials of its own.
pub fn set_up_inside(cluster: &Cluster, endpoint: &str) {
    set_up_by(cluster, &keyed_store("aws", endpoint));
}

fn set_up_by(cluster: &Cluster, store: &str) {
    for (namespace, labels) in [
        ("payments-prod", "{tenant: payments, environment: prod}"),
        ("payments-staging", "{tenant: payments, environment: staging}"),
        ("billing-prod", "{tenant: billing, environment: prod}"),
        ("plain", "{}"),
    ] {
        apply(
            cluster,
            &format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {namespace}, labels: {labels}}}\n"),
        );
    }
    apply(cluster, store);
    apply(cluster, POLICY);
    eventually("the store is ready", SOON, || ready(cluster, "scopedsecretstore", None, "aws"));
    eventually("the policy is ready", SOON, || ready(cluster, "segmentationpolicy", None, "tenants"));
}

/// A store at the emulator, with the operator's own credentials.
pub fn store(name: &str, endpoint: &str) -> String {
    format!(
        "apiVersion: scopedsecrets.io/v1alpha1\nkind: ScopedSecretStore\nmetadata: {{name: {name}}}\nspec: {{aws: {{region: eu-west-1, endpoint: \"{endpoint}\", auth: {{}}}}}}\n"
    )
}

/// A store whose credentials are in a Secret of the operator's namespace, and that Secret.
pub fn keyed_store(name: &str, endpoint: &str) -> String {
    let store =
        store(name, endpoint).replace("auth: {}", &format!("auth: {{secretRef: {{name: {name}-credentials}}}}"));
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}-credentials, namespace: scoped-secrets}}\nstringData: {{accessKeyId: AKIAIOSFODNN7EXAMPLE, secretAccessKey: canary-of-the-store-kX9mQ2vL8nR5}}\n---\n{store}"
    )
}

/// The policy `tenants`.
pub const POLICY: &str = r#"
apiVersion: scopedsecrets.io/v1alpha1
kind: SegmentationPolicy
metadata: {name: tenants}
spec:
  segment: {labels: [tenant, environment]}
  namespaceSelector: {matchExpressions: [{key: tenant, operator: Exists}, {key: environment, operator: Exists}]}
  allow:
  - storeRef: {name: aws}
    keys: ["${label:tenant}/${label:environment}/**"]
"#;

/// A policy as it is, with a number that no change of it comes to: for stories in which what stands may go on standing.
pub fn accepted(policy: &str) -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(100_000);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let annotation = format!(", annotations: {{scopedsecrets.io/accept-violations: \"{number}\"}}}}");
    let (head, spec) = policy.split_once("}\nspec:").expect("metadata in braces");
    format!("{head}{annotation}\nspec:{spec}")
}

/// A ScopedSecret with these lines in its spec, beside the store and a consumer.
pub fn scoped_secret(namespace: &str, name: &str, spec: &str) -> String {
    format!(
        "apiVersion: scopedsecrets.io/v1alpha1\nkind: ScopedSecret\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec:\n  storeRef: {{name: aws}}\n  consumers: [{{serviceAccountName: {name}}}]\n{}",
        spec.lines().map(|line| format!("  {line}\n")).collect::<String>()
    )
}

/// Applies YAML; the test ends if it is refused.
pub fn apply(cluster: &Cluster, yaml: &str) {
    cluster.apply(yaml).unwrap_or_else(|refusal| panic!("{refusal}\n{yaml}"));
}

/// Ok when the condition Ready is true; else all conditions.
pub fn ready(cluster: &Cluster, kind: &str, namespace: Option<&str>, name: &str) -> Result<Value, String> {
    let object = cluster.get_json(kind, namespace, name).ok_or("not there")?;
    match condition(&object, "Ready") {
        Some(ready)
            if ready["status"] == "True"
                && object["status"]["observedGeneration"] == object["metadata"]["generation"] =>
        {
            Ok(object)
        }
        _ => Err(object["status"].to_string()),
    }
}

/// A condition of an object.
pub fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    object["status"]["conditions"].as_array()?.iter().find(|c| c["type"] == kind)
}

/// Waits until a condition of a ScopedSecret has this status and reason; the object.
pub fn becomes(cluster: &Cluster, namespace: &str, name: &str, kind: &str, status: &str, reason: &str) -> Value {
    eventually(&format!("{namespace}/{name} {kind}={status}/{reason}"), SOON, || {
        let object = cluster.get_json("scopedsecret", namespace, name).ok_or("not there")?;
        let found = condition(&object, kind).cloned().unwrap_or(Value::Null);
        let right = found["status"] == status && found["reason"] == reason;
        if right && object["status"]["observedGeneration"] == object["metadata"]["generation"] {
            Ok(object)
        } else {
            Err(object["status"].to_string())
        }
    })
}

/// A key of a Secret, decoded.
pub fn secret_value(cluster: &Cluster, namespace: &str, name: &str, key: &str) -> Option<String> {
    let secret = cluster.get_json("secret", namespace, name)?;
    let out = cluster.kubectl(&[
        "get",
        "secret",
        name,
        "-n",
        namespace,
        "-o",
        &format!("go-template={{{{index .data \"{key}\" | base64decode}}}}"),
    ]);
    secret["data"].get(key)?;
    out.status.success().then(|| String::from_utf8_lossy(&out.stdout).into_owned())
}
