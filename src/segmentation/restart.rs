//! What a seal keeps so that each new value restarts its consumers once, whoever is killed in between. Pure.
//!
//! The write that changes the value says in its own seal that a restart is due; the seal says so until every workload has rolled
//! out. Between the two the workloads themselves tell how far it is, by the annotation on their pod template.

use super::seal::Digest;
use super::second::Second;
use super::world::{Holding, KeyVersion};

/// Of a Secret whose ScopedSecret says `restart: Consumers`.
#[derive(Debug, Clone, PartialEq)]
pub struct Restart {
    /// Of the data alone: labels restart nobody, and neither does a new version of the same value.
    pub data: Digest,
    /// What consumers have to be restarted for.
    pub due: Option<Due>,
}

/// A restart that is not over yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// What the annotation on the pod templates says for it.
    pub token: Box<str>,
    /// When the value was written: a pod that started later has it.
    pub since: Second,
}

/// What an annotation says of what a Secret holds: the manager's ids, in the order of their keys. `edit` is the generation of the
/// spec where that has changed the value, and not the manager.
pub fn token(held: &Holding, edit: Option<i64>) -> Box<str> {
    let mut sorted: Vec<&KeyVersion> = held.versions.iter().collect();
    if held.pinned {
        sorted.sort_by(|a, b| (&a.key, &a.id).cmp(&(&b.key, &b.id)));
    } else {
        // Of a key that was rotated the version before may stand behind the current one for a while.
        sorted.sort_by(|a, b| a.key.cmp(&b.key));
        sorted.dedup_by(|later, first| later.key == first.key);
    }
    let ids: Vec<String> = sorted.iter().map(|version| plain(&version.id)).collect();
    let edit = edit.map_or_else(String::new, |generation| format!("@{generation}"));
    format!("{}{edit}", ids.join("+")).into()
}

/// An id without the characters that divide an annotation.
fn plain(id: &str) -> String {
    id.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_') { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segmentation::key::CanonicalKey;

    #[test]
    fn one_key_is_its_version_id() {
        let version = |key: &str, id: &str| KeyVersion::undated(CanonicalKey::from_sealed(key), id);
        let (a, b, old) = (version("aws:1:r:a", "v-1"), version("aws:1:r:b", "w=2,x"), version("aws:1:r:a", "v-0"));
        let held = |versions: &[&KeyVersion], pinned: bool| {
            let held = Holding::of_claim(&crate::segmentation::fixtures::claim("a", "a"), vec![]);
            Holding { versions: versions.iter().map(|version| (*version).clone()).collect(), pinned, ..held }
        };
        assert_eq!(&*token(&held(&[&a], false), None), "v-1");
        assert_eq!(&*token(&held(&[&a], false), Some(3)), "v-1@3");
        assert_eq!(&*token(&held(&[&b, &a], false), None), "v-1+w_2_x");
        assert_eq!(&*token(&held(&[&a, &b], false), None), "v-1+w_2_x");
        assert_eq!(&*token(&held(&[&a, &old], false), None), "v-1", "while a rotation's overlap lasts");
        assert_eq!(&*token(&held(&[&a, &old], true), None), "v-0+v-1");
    }
}
