//! Rule `Operator`: the operator's own account writes what the operator writes, and nothing else, whatever RBAC gives it.
//!
//! Its token is worth stealing, since it can write Secrets everywhere, and RBAC cannot say "only those with our label". So
//! every write under that account is refused, CONNECT (exec, proxy, port-forward) and `serviceaccounts/token` included, but
//! for this:
//!
//! | what | which |
//! |-|-|
//! | Secrets | created with our label; changed and deleted if they are managed, the label never taken off; its own two in its own namespace. None that authenticates somebody: Kubernetes itself would fill a token into it |
//! | our own kinds | every status; all of the kinds that only the operator writes; KeyRevocations are created |
//! | Roles, RoleBindings | those of grants: with our label, a SecretGrant or ScopedSecret as controller, no Role behind them but the one of the same name, no power but to get named Secrets, and nobody of another namespace. They are deleted whatever became of the label |
//! | workloads | updates that change one pod-template annotation, [`RESTARTED_FOR_ANNOTATION`], and nothing else |
//! | webhook configurations | updates of its own |
//! | Leases, Events, access reviews | RBAC decides. A review stores nothing |
//!
//! What it cannot refuse: reads, impersonation, and writes of ValidatingAdmissionPolicies and their bindings, none of which
//! admission sees. RBAC gives the account none of the last two.

use super::managed_secrets::{OPERATORS_KINDS, controlled_by, labelled, managed};
use crate::admission::certificate_keeper;
use crate::admission::guard::{Guard, Parameter, Validation, list};
use crate::admission::identities::Installation;
use crate::admission::webhook_configuration::CONFIGURATION;
use crate::api::{GROUP, RESTARTED_FOR_ANNOTATION, Reason};
use crate::controller::grant::known::HANDLE;
use crate::controller::keys::KEY_SECRET;
use serde_json::json;

/// The rule's name.
pub const RULE: &str = "Operator";

/// Left to RBAC.
const FREE: [&str; 9] = [
    "coordination.k8s.io/leases",
    "/events",
    "events.k8s.io/events",
    "authentication.k8s.io/selfsubjectreviews",
    "authentication.k8s.io/tokenreviews",
    "authorization.k8s.io/selfsubjectaccessreviews",
    "authorization.k8s.io/selfsubjectrulesreviews",
    "authorization.k8s.io/subjectaccessreviews",
    "authorization.k8s.io/localsubjectaccessreviews",
];

/// Types of Secrets that are, or are given, somebody's credentials for this cluster.
const CREDENTIALS: [&str; 2] = ["kubernetes.io/service-account-token", "bootstrap.kubernetes.io/token"];

const WORKLOADS: [&str; 3] = ["apps/deployments", "apps/statefulsets", "apps/daemonsets"];

/// What the API server itself writes on a DaemonSet whose template changes.
const DAEMON_SET_GENERATION: &str = "deprecated.daemonset.template.generation";

/// Whether two maps are the same but for some of their keys.
fn same_but(new: &str, old: &str, but: &[&str]) -> String {
    let but = list(but);
    format!(
        "{new}.all(k, k in {but} || (k in {old} && {new}[k] == {old}[k]))
&& {old}.all(k, k in {but} || k in {new})"
    )
}

/// An update of a workload that changes our annotation on its pods, and nothing else.
fn restart() -> String {
    let same = |path: &str, but: &[&str]| same_but(&format!("object.{path}"), &format!("oldObject.{path}"), but);
    [
        format!("variables.what in {} && request.operation == 'UPDATE'", list(WORKLOADS)),
        same("metadata", &["managedFields", "resourceVersion", "generation", "annotations"]),
        same_but("variables.marks", "variables.oldMarks", &[DAEMON_SET_GENERATION]),
        same("spec", &["template"]),
        same("spec.template", &["metadata"]),
        same("spec.template.metadata", &["annotations"]),
        same_but("variables.notes", "variables.oldNotes", &[RESTARTED_FOR_ANNOTATION]),
    ]
    .join("\n&& ")
}

/// A write of a managed Secret, or of the operator's own two.
fn managed_secret(installation: &Installation) -> String {
    format!(
        "variables.secret && variables.objects.all(o, !(o.?type.orValue('') in {}))
&& (variables.place == '{}' && variables.name in {}
  || request.operation == 'CREATE' && {labelled}
  || request.operation == 'UPDATE' && variables.was && ({labelled} || variables.is && !({was_labelled}))
  || request.operation == 'DELETE' && variables.was)",
        list(CREDENTIALS),
        installation.namespace,
        list([KEY_SECRET, certificate_keeper::SECRET]),
        labelled = labelled("object"),
        was_labelled = labelled("oldObject"),
    )
}

/// The Roles and RoleBindings of grants.
fn grant() -> String {
    format!(
        "variables.what in ['rbac.authorization.k8s.io/roles', 'rbac.authorization.k8s.io/rolebindings']
&& (request.operation == 'DELETE' && ({})
  || variables.objects.all(o, {} && {} && o.metadata.name.startsWith('{HANDLE}') && o.?roleRef.?kind.orValue('Role') == 'Role' && o.?roleRef.?name.orValue(o.metadata.name) == o.metadata.name
    && o.?rules.orValue([]).all(r, r.verbs == ['get'] && r.?resources.orValue([]) == ['secrets'] && size(r.?resourceNames.orValue([])) > 0)
    && o.?subjects.orValue([]).all(s, s.kind == 'User' ? !s.name.startsWith('system:') : s.kind == 'ServiceAccount' && s.?namespace.orValue('') == variables.place)))",
        managed("oldObject"),
        labelled("o"),
        controlled_by("o", &["SecretGrant", "ScopedSecret"])
    )
}

/// The guard.
pub fn guard(installation: &Installation) -> Guard {
    let own_kinds = list(OPERATORS_KINDS.map(|kind| format!("{GROUP}/{kind}")));
    let purposes: [(&'static str, String); 6] = [
        ("free", format!("variables.what in {}", list(FREE))),
        (
            "ours",
            format!(
                "(request.resource.group == '{GROUP}' && variables.subresource == 'status')
|| variables.what in {own_kinds}
|| (variables.what == '{GROUP}/keyrevocations' && request.operation == 'CREATE')"
            ),
        ),
        ("managedSecret", managed_secret(installation)),
        ("grant", grant()),
        ("restart", restart()),
        (
            "registration",
            format!(
                "variables.what == 'admissionregistration.k8s.io/validatingwebhookconfigurations'
&& variables.name == '{CONFIGURATION}' && request.operation == 'UPDATE'"
            ),
        ),
    ];
    let any: Vec<String> = purposes.iter().map(|(name, _)| format!("variables.{name}")).collect();
    let mut variables = vec![
        (
            "what",
            "request.resource.group + '/' + request.resource.resource
+ (variables.subresource == '' ? '' : '/' + variables.subresource)"
                .to_owned(),
        ),
        ("objects", "[object, oldObject].filter(o, o != null)".to_owned()),
        ("secret", "variables.what == '/secrets'".to_owned()),
        ("was", managed("oldObject")),
        ("is", managed("object")),
        ("marks", "object.metadata.?annotations.orValue({})".to_owned()),
        ("oldMarks", "oldObject.metadata.?annotations.orValue({})".to_owned()),
        ("notes", "object.spec.template.metadata.?annotations.orValue({})".to_owned()),
        ("oldNotes", "oldObject.spec.template.metadata.?annotations.orValue({})".to_owned()),
    ];
    variables.extend(purposes);
    Guard {
        rule: RULE,
        parameter: Parameter::Nothing,
        requests: vec![json!({
            "apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["*/*"], "scope": "*",
        })],
        conditions: vec![("the-operator", format!("request.userInfo.username == '{}'", installation.user()))],
        variables,
        validations: vec![Validation {
            holds: any.join(" || "),
            reason: Reason::OperatorPinned,
            says: "'the account of the operator may not ' + request.operation.lowerAscii() + ' this: it writes managed Secrets, its own objects and status, and nothing else. If this was not the operator, somebody has its token: delete its ServiceAccount and create it again'".to_owned(),
        }],
    }
}
