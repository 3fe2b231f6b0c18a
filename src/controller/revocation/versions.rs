//! Which versions are revoked where the manager has no dates: a directory of files. Those that were current when the revocation
//! was first looked at, and those that were projected.

use super::plan::Observed;
use crate::api::key_revocation::VERSIONS;
use crate::controller::context::Context;
use crate::provider::{Answer, Ask, FetchError};
use crate::segmentation::revoked::Meant;
use crate::segmentation::seal::SealKeys;
use crate::segmentation::world::StoreState;
use std::collections::BTreeSet;

/// What a version of a file is called: its digest under every generation of the seal key.
pub fn names_of(keys: &SealKeys, answer: &Answer) -> impl Iterator<Item = String> {
    let digests = keys.digests(answer.value.expose());
    let names: Vec<String> = digests.iter().map(ToString::to_string).collect();
    names.into_iter()
}

/// Adds to what is known of the revoked versions. Once they all are, only the names that they have under a newer seal key.
pub async fn find(cx: &Context, name: &str, observed: &mut Observed) -> Result<(), String> {
    let Meant::Key(key) = observed.meant.clone() else { return Ok(()) };
    if !key.is_file() {
        return Ok(());
    }
    let (store, ask) = {
        let index = cx.index();
        let revocation = index.world.revocations.get(name).ok_or("it is gone")?;
        let realm = index.world.stores.get(&revocation.store).and_then(StoreState::realm).ok_or("no store")?;
        let (_, ask) = realm.resolve(&revocation.key).map_err(|why| why.to_string())?;
        (revocation.store.clone(), ask)
    };
    let keys = cx.keys().ok_or("there is no seal key yet")?;
    let provider = cx.providers.connect(&store, None, &keys).await.map_err(|failure| failure.message)?;
    let current: BTreeSet<String> = match provider.fetch(Ask::current(ask)).await {
        Ok(answer) => names_of(&keys, &answer).collect(),
        // What comes is new.
        Err(FetchError::Missing) => BTreeSet::new(),
        Err(error) => return Err(error.to_string()),
    };
    if observed.versions_open || !current.is_disjoint(&observed.versions) {
        observed.versions.extend(current);
    }
    observed.versions_open &= observed.versions.len() > VERSIONS;
    Ok(())
}
