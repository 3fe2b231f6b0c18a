//! Another team's ValidatingAdmissionPolicy, which refuses for a while what the operator is about to do.

use super::cluster::Cluster;
use super::tenants::apply;

/// Denies what these constraints match, each a line in YAML's flow form. It answers 413: a refusal that is no want of permissions.
pub fn deny(cluster: &Cluster, name: &str, constraints: &[&str], message: &str) {
    let constraints: String = constraints.iter().map(|line| format!("    {line}\n")).collect();
    let policy = format!(
        "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingAdmissionPolicy\nmetadata: {{name: {name}}}\nspec:\n  matchConstraints:\n{constraints}  validations: [{{expression: \"false\", reason: RequestEntityTooLarge, {message}}}]\n---\napiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingAdmissionPolicyBinding\nmetadata: {{name: {name}}}\nspec: {{policyName: {name}, validationActions: [Deny]}}\n"
    );
    apply(cluster, &policy);
}

/// Takes it away again.
pub fn lift(cluster: &Cluster, name: &str) {
    for kind in ["validatingadmissionpolicybinding", "validatingadmissionpolicy"] {
        cluster.submit(&["delete", kind, name], "").expect("it is there");
    }
}
