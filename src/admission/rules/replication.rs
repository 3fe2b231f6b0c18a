//! Rule `Replication`: no replicator carries a Secret across a boundary.
//!
//! Replicators are controllers that copy Secrets between namespaces, told by annotations (or labels) of theirs; the list is
//! [`CARRIERS`]. Refused, in a namespace with a SegmentGuard:
//! - *out*: such a mark on a managed Secret, whichever it is. The operator takes off what got there past this rule;
//! - *in*: on any Secret, one that names a Secret of another namespace as its source: `reflector.v1.k8s.emberstack.com/reflects`
//!   (also on the copies that this reflector makes of its own accord) and `replicator.v1.mittwald.de/replicate-from`; or one that
//!   has it filled with whatever other namespaces offer: `secretgen.carvel.dev/image-pull-secret`.
//!
//!
//! And carvel's secretgen-controller has kinds of its own: a SecretExport that offers a managed Secret (it has its name), and a
//! SecretImport of another namespace's.
//!
//! What passes: a write that leaves such marks as they were, or takes them off; a source in the same namespace; other Secrets
//! that are offered to others, since what is not projected is not ours to keep.

use super::managed_secrets::managed;
use crate::admission::guard::{Guard, Parameter, Validation, list};
use crate::api::Reason;
use crate::projection::CARRIERS;
use crate::segmentation::replication::{PLACEHOLDERS, SECRETGEN, SOURCES};
use serde_json::json;

pub use crate::segmentation::replication::RULE;

/// Whether a key is a replicator's. Kubernetes takes annotations in any case, and with a dot at the domain's end.
fn carries(key: &str) -> String {
    format!(
        "{key}.contains('/') && ['.' + {key}.lowerAscii().split('/')[0]].exists(h, {}.exists(d, h.endsWith(d)))",
        list(CARRIERS.iter().flat_map(|domain| [format!(".{domain}"), format!(".{domain}.")]))
    )
}

/// So many labels and annotations are looked through for less than what an expression may cost.
const MOST: usize = 256;

/// Whether there are more, and more than there were.
fn many() -> String {
    let marks = |of: &str| {
        format!("size({of}.metadata.?annotations.orValue({{}})) + size({of}.metadata.?labels.orValue({{}}))")
    };
    let (is, was) = (marks("object"), marks("oldObject"));
    format!("{is} > {MOST} && (oldObject == null || {is} > {was})")
}

/// What somebody wrote for a namespace, where it can be one.
fn namespace(written: &str) -> String {
    format!("({written}.matches('^[a-z0-9-]{{1,63}}$') ? 'namespace \"' + {written} + '\"' : 'another namespace')")
}

/// The replicators' keys among the labels or annotations that are new or changed.
fn carried(field: &str) -> String {
    format!(
        "object.metadata.?{field}.orValue({{}}).filter(k, {}
&& (oldObject == null || oldObject.metadata.?{field}[?k] != object.metadata.?{field}[?k]))",
        carries("k")
    )
}

const OUT: &str = "\
'\"' + variables.marks[0] + '\" lets a replicator carry a projected Secret into another namespace: leave it out, and let the other namespace claim a key of its own with a ScopedSecret'
";
fn filled() -> String {
    format!(
        "'\"' + variables.sources[0] + '\" lets a replicator fill it from ' + {} + ', and this namespace is governed: write a ScopedSecret with a key of this namespace instead'",
        namespace("object.metadata.annotations[variables.sources[0]].split('/')[0]")
    )
}
const MANY: &str = "\
'it has more labels and annotations than are looked through for a replicator among them: leave out all beyond 256'
";
const OPEN: &str = "\
'\"' + variables.open[0] + '\" lets a replicator fill it with what other namespaces offer, and this namespace is governed: write a ScopedSecret with a key of this namespace instead'
";
const EXPORTED: &str = "\
'it offers Secret \"' + variables.name + '\", which a ScopedSecret projects, to other namespaces: leave it out, and let the other namespace claim a key of its own with a ScopedSecret'
";
fn imported() -> String {
    format!(
        "'it fills a Secret from ' + {} + ', and this namespace is governed: write a ScopedSecret with a key of this namespace instead'",
        namespace("string(dyn(object).spec.fromNamespace)")
    )
}

/// The guard.
pub fn guard() -> Guard {
    let any = |field: &str| format!("object.metadata.?{field}.orValue({{}}).exists(k, {})", carries("k"));
    Guard {
        rule: RULE,
        parameter: Parameter::SegmentGuard,
        requests: [("", "v1", vec!["secrets"]), (SECRETGEN, "*", vec!["secretexports", "secretimports"])]
            .map(|(group, version, resources)| {
                json!({
                    "apiGroups": [group], "apiVersions": [version], "operations": ["CREATE", "UPDATE"],
                    "resources": resources, "scope": "Namespaced",
                })
            })
            .into(),
        conditions: vec![(
            "has-a-replicators-mark",
            format!("request.resource.group == '{SECRETGEN}'\n|| {}\n|| {}\n|| {}", many(), any("annotations"), any("labels")),
        )],
        variables: vec![
            ("many", many()),
            ("marks", format!("{}\n+ {}", carried("annotations"), carried("labels"))),
            (
                "sources",
                format!(
                    "variables.marks.filter(k, k.split('/')[1] in {} && k in object.metadata.?annotations.orValue({{}})
&& object.metadata.annotations[k].contains('/') && object.metadata.annotations[k].split('/')[0] != variables.place)",
                    list(SOURCES)
                ),
            ),
            (
                "open",
                format!(
                    "variables.marks.filter(k, k.split('/')[1] in {} && k in object.metadata.?annotations.orValue({{}}))",
                    list(PLACEHOLDERS)
                ),
            ),
            ("changed", "oldObject == null || dyn(object).?spec != dyn(oldObject).?spec".to_owned()),
            ("managed", format!("({})\n|| ({})", managed("object"), managed("oldObject"))),
        ],
        validations: vec![
            Validation { holds: "!variables.many".to_owned(), reason: Reason::ReplicatedIn, says: MANY.to_owned() },
            Validation {
                holds: "variables.many || !variables.managed || size(variables.marks) == 0".to_owned(),
                reason: Reason::ReplicatedOut,
                says: OUT.to_owned(),
            },
            Validation {
                holds: "variables.many || variables.managed || size(variables.sources) == 0".to_owned(),
                reason: Reason::ReplicatedIn,
                says: filled(),
            },
            Validation {
                holds: "variables.many || variables.managed || size(variables.open) == 0".to_owned(),
                reason: Reason::ReplicatedIn,
                says: OPEN.to_owned(),
            },
            Validation {
                holds: "request.resource.resource != 'secretexports' || !variables.changed || !(variables.name in params.spec.targets
|| variables.name in params.spec.?free.orValue([]))".to_owned(),
                reason: Reason::ReplicatedOut,
                says: EXPORTED.to_owned(),
            },
            Validation {
                holds: "request.resource.resource != 'secretimports' || !variables.changed
|| dyn(object).?spec.?fromNamespace.orValue(variables.place) == variables.place".to_owned(),
                reason: Reason::ReplicatedIn,
                says: imported(),
            },
        ],
    }
}
