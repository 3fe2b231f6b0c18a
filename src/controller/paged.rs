//! Looks at everything of a kind, one page in memory at a time. What may take long, and can wait, is the scan's
//! ([`super::scan`]), which rests between pages.

use kube::api::{Api, ListParams};
use serde::de::DeserializeOwned;
use std::fmt::Debug;

/// Shows each object of a list. The parameters say what is listed, and how many a page.
pub async fn each<K>(api: &Api<K>, mut params: ListParams, mut look: impl FnMut(&K)) -> Result<(), kube::Error>
where
    K: Clone + DeserializeOwned + Debug,
{
    loop {
        let page = api.list(&params).await?;
        page.items.iter().for_each(&mut look);
        params.continue_token = page.metadata.continue_.filter(|next| !next.is_empty());
        if params.continue_token.is_none() {
            return Ok(());
        }
    }
}
