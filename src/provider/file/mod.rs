//! A directory of files, for trying things out without a secrets manager.
//!
//! The key `payments/prod/db` is the file `payments/prod/db.json` or `payments/prod/db` below the root; its text is
//! the value, its keyed digest the version. A mounted ConfigMap or Secret will do as root. Which files are never read
//! is told in `path`.

mod path;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;

use super::{Answer, Ask, Description, FetchError, Identity, Provider, Put, RemoteValue, VersionRef, WriteError};
use path::Root;

type Digest = dyn Fn(&[u8]) -> String + Send + Sync;

/// A directory of files.
#[derive(Clone)]
pub struct FileStore {
    root: Arc<Root>,
    digest: Arc<Digest>,
}

impl FileStore {
    /// Opens the directory; reads nothing in it yet. `digest` names a version by its content: a keyed one, in
    /// hexadecimal, since version ids are shown where values must not be guessed from them.
    ///
    /// # Errors
    /// [`InvalidRequest`](FetchError::InvalidRequest) for a path that is relative or has `..`,
    /// [`PathForbidden`](FetchError::PathForbidden) for one that the provider never reads, and
    /// [`Unavailable`](FetchError::Unavailable) if there is no such directory (yet).
    pub fn open(
        root: &Path,
        digest: impl Fn(&[u8]) -> String + Send + Sync + 'static,
    ) -> Result<FileStore, FetchError> {
        Ok(FileStore { root: Arc::new(Root::open(root)?), digest: Arc::new(digest) })
    }

    fn read(&self, ask: Ask) -> Result<Arc<Answer>, FetchError> {
        if ask.version != VersionRef::Current {
            return Err(FetchError::VersionMissing {
                hint: "a file store keeps only the current version; ask for no version",
            });
        }
        let bytes = self.root.read(&ask.id)?;
        Ok(Arc::new(Answer {
            id: self.root.identity(&ask.id),
            version_id: (self.digest)(&bytes),
            name: ask.id,
            stages: Vec::new(),
            // A file's date says when it was copied here, not when the value was made.
            created: None,
            value: RemoteValue::from_bytes(bytes),
        }))
    }
}

impl Provider for FileStore {
    fn fetch(&self, ask: Ask) -> BoxFuture<'_, Result<Arc<Answer>, FetchError>> {
        let store = self.clone();
        async move {
            let reading = tokio::task::spawn_blocking(move || store.read(ask));
            reading.await.unwrap_or_else(|_| Err(FetchError::unavailable("the fetch was interrupted")))
        }
        .boxed()
    }

    fn identity(&self) -> BoxFuture<'_, Result<Identity, FetchError>> {
        let nobody = Identity { account: String::new(), region: String::new(), principal: None };
        std::future::ready(Ok(nobody)).boxed()
    }

    fn describe(&self, _: String) -> BoxFuture<'_, Result<Description, FetchError>> {
        let what = "a file store keeps no versions and rotates nothing; use a store of a secrets manager";
        std::future::ready(Err(FetchError::invalid(what))).boxed()
    }

    fn put_pending(&self, _: String, _: String, _: RemoteValue) -> BoxFuture<'_, Result<Put, WriteError>> {
        read_only()
    }

    fn promote(&self, _: String, _: Option<String>, _: String) -> BoxFuture<'_, Result<(), WriteError>> {
        read_only()
    }

    fn clear_pending(&self, _: String, _: String) -> BoxFuture<'_, Result<(), WriteError>> {
        read_only()
    }

    fn rotate(&self, _: String, _: String) -> BoxFuture<'_, Result<(), WriteError>> {
        read_only()
    }
}

fn read_only<T: Send + 'static>() -> BoxFuture<'static, Result<T, WriteError>> {
    std::future::ready(Err(WriteError::ReadOnlyStore)).boxed()
}
