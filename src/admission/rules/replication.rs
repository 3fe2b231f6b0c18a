//! Rule `Replication`: no replicator carries a Secret across a boundary.
//!
//! Replicators are controllers that copy Secrets between namespaces, told by annotations (or labels) of theirs; the list is
//! [`CARRIERS`]. Refused, in a namespace with a SegmentGuard:
//! - *out*: such a mark on a managed Secret, whichever it is. The operator takes off what got there past this rule;
//! - *in*: on any Secret, one that names a Secret of another namespace as its source: `reflector.v1.k8s.emberstack.com/reflects`
//!   (also on the copies that this reflector makes of its own accord) and `replicator.v1.mittwald.de/replicate-from`.
//!
//! What passes: a write that leaves such marks as they were, or takes them off; a source in the same namespace; other Secrets
//! that are offered to others, since what is not projected is not ours to keep.

use super::managed_secrets::managed;
use crate::admission::guard::{Guard, Parameter, Validation, list};
use crate::api::Reason;
use crate::projection::CARRIERS;
use crate::segmentation::replication::SOURCES;
use serde_json::json;

pub use crate::segmentation::replication::RULE;

/// Whether a key is a replicator's. Kubernetes takes annotations in any case, and with a dot at the domain's end.
fn carries(key: &str) -> String {
    format!(
        "{key}.contains('/') && {}
  .exists(d, ('.' + {key}.lowerAscii().split('/')[0]).endsWith(d) || ('.' + {key}.lowerAscii().split('/')[0]).endsWith(d + '.'))",
        list(CARRIERS.iter().map(|domain| format!(".{domain}")))
    )
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
const IN: &str = "\
'\"' + variables.sources[0] + '\" lets a replicator fill it from namespace \"' + object.metadata.annotations[variables.sources[0]].split('/')[0] + '\", and this namespace is governed: write a ScopedSecret with a key of this namespace instead'
";

/// The guard.
pub fn guard() -> Guard {
    let any = |field: &str| format!("object.metadata.?{field}.orValue({{}}).exists(k, {})", carries("k"));
    Guard {
        rule: RULE,
        parameter: Parameter::SegmentGuard,
        requests: vec![json!({
            "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"],
            "resources": ["secrets"], "scope": "Namespaced",
        })],
        conditions: vec![("has-a-replicators-mark", format!("{}\n|| {}", any("annotations"), any("labels")))],
        variables: vec![
            ("marks", format!("{}\n+ {}", carried("annotations"), carried("labels"))),
            (
                "sources",
                format!(
                    "variables.marks.filter(k, k.split('/')[1] in {} && k in object.metadata.?annotations.orValue({{}})
&& object.metadata.annotations[k].contains('/') && object.metadata.annotations[k].split('/')[0] != variables.place)",
                    list(SOURCES)
                ),
            ),
            ("managed", format!("({})\n|| ({})", managed("object"), managed("oldObject"))),
        ],
        validations: vec![
            Validation {
                holds: "!variables.managed || size(variables.marks) == 0".to_owned(),
                reason: Reason::ReplicatedOut,
                says: OUT.to_owned(),
            },
            Validation {
                holds: "variables.managed || size(variables.sources) == 0".to_owned(),
                reason: Reason::ReplicatedIn,
                says: IN.to_owned(),
            },
        ],
    }
}
