//! Rule `ManagedSecrets`: what the operator writes, nobody else does.
//!
//! A Secret is *managed* while it has our label, a seal, or a ScopedSecret as its controller: any one of them, before or after
//! the write, so that none can be taken off in the same write that changes the data. Refused, to whoever it is:
//! - a write that changes its data, type, `immutable` or what is reserved on it: our labels and annotations, ownerReferences,
//!   finalizers that were not there;
//! - its deletion, one by one or by collection;
//! - the creation or change of any other Secret so that it looks managed: a forged or moved seal is worthless to the operator
//!   anyway, but nobody should have to find out;
//! - the same of Roles and RoleBindings: those of grants have our label and a SecretGrant or ScopedSecret as controller;
//! - the status of our kinds, and the kinds that only the operator writes.
//!
//! What passes: a write that changes none of that (a migration of storage or a rotation of the encryption key rewrites every
//! Secret; another tool's label is that tool's), the deletion in a namespace that is being deleted, finalizers that are taken
//! off, the garbage collector and the namespace controller. No namespace is left out: this rule waits for nobody, so it can
//! hold up nothing in kube-system or the operator's own namespace but what looks like ours.
//!
//! A Secret with our marks that nobody can open any more (restored without the key of its seal) is nobody's, and no ScopedSecret
//! takes it along. It cannot be told here from one that is retained; who may impersonate the operator deletes it in its name.
//!
//! The operator's own two Secrets: who could write the seal's key could forge any seal. So only the operator updates them. Anyone
//! whom RBAC lets may *delete* them, which is how a key that leaked is replaced: it costs one read per managed Secret. And a
//! cluster-admin (who has the verb `*` on everything) may *create* them where there is none, which is how a backup is put back
//! before the operator starts; a tenant with rights in that namespace may not.

use crate::admission::certificate_keeper;
use crate::admission::guard::{Guard, Parameter, Validation, list};
use crate::admission::identities::Installation;
use crate::api::{ACCEPT_VIOLATIONS_ANNOTATION, GROUP, MANAGED_BY, MANAGED_BY_LABEL, Reason, SEAL_ANNOTATION};
use crate::controller::keys::KEY_SECRET;
use serde_json::json;

/// The rule's name.
pub const RULE: &str = "ManagedSecrets";

/// Kinds of our group that only the operator writes. A user may annotate a report to release what it holds up.
pub const OPERATORS_KINDS: [&str; 2] = ["segmentguards", "segmentationreports"];

/// Whether our label is on `object`.
pub(super) fn labelled(object: &str) -> String {
    format!("{object}.metadata.?labels[?'{MANAGED_BY_LABEL}'].orValue('') == '{MANAGED_BY}'")
}

/// Whether an object of one of these kinds of ours is the controller of `object`, in whichever version of our API.
pub(super) fn controlled_by(object: &str, kinds: &[&str]) -> String {
    format!(
        "{object}.metadata.?ownerReferences.orValue([])
  .exists(r, r.?controller.orValue(false) && r.kind in {} && r.apiVersion.startsWith('{GROUP}/'))",
        list(kinds)
    )
}

/// Whether there is an `object` and it is marked as a managed Secret is.
pub(super) fn managed(object: &str) -> String {
    format!(
        "{object} != null
&& ({}
  || {object}.metadata.?annotations[?'{SEAL_ANNOTATION}'].hasValue()
  || {})",
        labelled(object),
        controlled_by(object, &["ScopedSecret", "SecretGrant"])
    )
}

/// Whether what is ours of these labels or annotations is the same in both.
fn same_of_ours(field: &str) -> String {
    let kept = |of: &str, by: &str| {
        format!(
            "{of}.metadata.?{field}.orValue({{}})
  .all(k, (!k.startsWith('{GROUP}/') || k == '{ACCEPT_VIOLATIONS_ANNOTATION}') && k != '{MANAGED_BY_LABEL}'
    || {by}.metadata.?{field}[?k] == {of}.metadata.?{field}[?k])"
        )
    };
    format!("{}\n&& {}", kept("object", "oldObject"), kept("oldObject", "object"))
}

/// An update that leaves alone all that is the operator's.
fn unchanged() -> String {
    let same = |field: &str| format!("object.?{field} == oldObject.?{field}\n&& ");
    let content: String = ["data", "type", "immutable", "spec", "rules", "roleRef", "subjects"].map(same).concat();
    format!(
        "request.operation == 'UPDATE' && variables.subresource == ''
&& {content}object.metadata.?ownerReferences == oldObject.metadata.?ownerReferences
&& object.metadata.?finalizers.orValue([]).all(f, f in oldObject.metadata.?finalizers.orValue([]))
&& {}
&& {}",
        same_of_ours("labels"),
        same_of_ours("annotations")
    )
}

/// The ScopedSecret behind a managed Secret, as a user would write it.
const OWNER: &str = "\
oldObject.metadata.?ownerReferences.orValue([]).filter(o, o.kind == 'ScopedSecret').map(o, o.name)
";

const CHANGE: &str = "\
'only the operator writes a Secret that a ScopedSecret projects, and it would put this back: change '
+ (size(variables.owner) > 0 ? 'ScopedSecret \"' + variables.owner[0] + '\"' : 'its ScopedSecret') + ' instead'
";
/// One that nobody could take away otherwise (restored without the key of its seal, say, or forged with an owner that projects
/// another) goes in the name of the operator: that is for whoever may impersonate it, and on the audit log. What a ScopedSecret's
/// target is cannot be seen here.
fn delete(installation: &Installation) -> String {
    format!(
        "'only the operator takes away a Secret that a ScopedSecret projects: delete '
+ (size(variables.owner) > 0 ? 'ScopedSecret \"' + variables.owner[0] + '\"' : 'its ScopedSecret') + ' instead, and it goes with it'
+ (size(variables.owner) > 0 ? '; where the target of that is another Secret' : '; where there is none')
+ ', a cluster-admin deletes this one in the name of the operator (--as={})'",
        installation.user()
    )
}

const GRANT: &str = "\
'only the operator writes the Role and the RoleBinding of a grant: delete the SecretGrant, which takes the access back at once'
";
const FORGED: &str = "\
'the label app.kubernetes.io/managed-by: scoped-secrets, the annotation scopedsecrets.io/seal and a ScopedSecret or SecretGrant as controller are only on what the operator writes: leave them out, or write '
+ (variables.grant ? 'a SecretGrant' : 'a ScopedSecret, which projects its Secret itself (after a restore, too)')
";
const OWN: &str = "\
'only the operator writes its seal key and its certificate: delete it if it must be made anew, or, to put back a backup, create it as a cluster-admin where there is none'
";
const STATUS: &str = "\
'only the operator writes the status of ' + request.resource.resource + ': change the spec, or make another object where that is fixed'
";
const KIND: &str = "\
'only the operator writes ' + request.resource.resource + ', from the SegmentationPolicies and ScopedSecrets: change those'
";

/// The guard.
pub fn guard(installation: &Installation) -> Guard {
    let own_secrets = list([KEY_SECRET, certificate_keeper::SECRET]);
    Guard {
        rule: RULE,
        parameter: Parameter::Nothing,
        requests: vec![
            json!({
                "apiGroups": [""], "apiVersions": ["*"], "operations": ["CREATE", "UPDATE", "DELETE"],
                "resources": ["secrets"], "scope": "Namespaced",
            }),
            json!({
                "apiGroups": ["rbac.authorization.k8s.io"], "apiVersions": ["*"],
                "operations": ["CREATE", "UPDATE", "DELETE"],
                "resources": ["roles", "rolebindings"], "scope": "Namespaced",
            }),
            json!({
                "apiGroups": [GROUP], "apiVersions": ["*"], "operations": ["CREATE", "UPDATE", "DELETE"],
                "resources": OPERATORS_KINDS, "scope": "*",
            }),
            // Of every kind, those that are still to come included.
            json!({
                "apiGroups": [GROUP], "apiVersions": ["*"], "operations": ["CREATE", "UPDATE"],
                "resources": ["*/status"], "scope": "*",
            }),
        ],
        conditions: vec![
            (
                "not-the-operator-nor-the-control-plane",
                format!("!(request.userInfo.username in {})", list(installation.trusted_users())),
            ),
            // Said before the validations, which cost three times as much even where they have nothing to say: the API server
            // prepares the objects, and every message, again.
            (
                "is-or-becomes-the-operators",
                format!(
                    "request.resource.group == '{GROUP}'
|| request.resource.group == '' && request.namespace == '{}' && (object != null ? object : oldObject).metadata.name in {own_secrets}
|| {}
|| {}",
                    installation.namespace,
                    managed("oldObject"),
                    managed("object")
                ),
            ),
        ],
        variables: vec![
            ("secret", "request.resource.group == ''".to_owned()),
            ("grant", "request.resource.group == 'rbac.authorization.k8s.io'".to_owned()),
            ("was", format!("(variables.secret || variables.grant) && {}", managed("oldObject"))),
            ("is", format!("(variables.secret || variables.grant) && {}", managed("object"))),
            (
                "own",
                format!(
                    "variables.secret && variables.place == '{}' && variables.name in {own_secrets}",
                    installation.namespace
                ),
            ),
            ("ownKind", format!("request.resource.group == '{GROUP}' && variables.subresource == ''")),
            ("unchanged", unchanged()),
            ("ending", "namespaceObject != null && has(namespaceObject.metadata.deletionTimestamp)".to_owned()),
            ("owner", OWNER.to_owned()),
        ],
        validations: vec![
            Validation {
                holds: "!variables.was || request.operation != 'UPDATE' || variables.unchanged".to_owned(),
                reason: Reason::SecretManaged,
                says: format!("(variables.grant ? {} : {})", GRANT.trim(), CHANGE.trim()),
            },
            Validation {
                holds: "!variables.was || request.operation != 'DELETE' || variables.ending".to_owned(),
                reason: Reason::SecretManaged,
                says: format!("(variables.grant ? {} : {})", GRANT.trim(), delete(installation)),
            },
            Validation {
                holds: "variables.was || !variables.is".to_owned(),
                reason: Reason::ReservedMetadata,
                says: FORGED.to_owned(),
            },
            Validation {
                holds: "!variables.own || request.operation == 'DELETE' || variables.unchanged || \
                        (request.operation == 'CREATE' && authorizer.group('*').resource('*').check('*').allowed())"
                    .to_owned(),
                reason: Reason::OperatorOnly,
                says: OWN.to_owned(),
            },
            Validation {
                holds: "variables.subresource != 'status'".to_owned(),
                reason: Reason::OperatorOnly,
                says: STATUS.to_owned(),
            },
            Validation {
                holds:
                    "!variables.ownKind || variables.unchanged || (request.operation == 'DELETE' && variables.ending)"
                        .to_owned(),
                reason: Reason::OperatorOnly,
                says: KIND.to_owned(),
            },
        ],
    }
}
