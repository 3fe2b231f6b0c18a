//! Writes take turns: each that is under way has a connection, of some thirty kilobytes, and a burst of them leaves the API server's
//! other clients waiting. Who is not answered at once, since somebody's webhooks take ten seconds for each write, gives the turn away, so
//! that nobody holds up the others.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

/// So many at once.
const ALL: usize = 64;
/// Of which so many in one namespace.
const IN_A_NAMESPACE: usize = 16;
/// So long a turn is at most.
const TURN: Duration = Duration::from_millis(250);
/// Of so many namespaces it is known who has a turn before those at rest are forgotten.
const KEPT: usize = 256;

/// Who has a turn.
#[derive(Debug)]
pub struct Turns {
    all: Arc<Semaphore>,
    namespaces: Mutex<HashMap<Box<str>, Arc<Semaphore>>>,
}

/// A turn, until it is dropped.
#[derive(Debug)]
struct Turn {
    _of_namespace: Option<OwnedSemaphorePermit>,
    _of_all: OwnedSemaphorePermit,
}

impl Default for Turns {
    fn default() -> Self {
        Self { all: Arc::new(Semaphore::new(ALL)), namespaces: Mutex::default() }
    }
}

impl Turns {
    /// Does something of a namespace, or beside all of them, when its turn comes. Where that takes longer than the turn, others have
    /// theirs meanwhile.
    pub async fn within<T>(
        &self,
        namespace: Option<&str>,
        something: impl Future<Output = T>,
    ) -> Result<T, AcquireError> {
        let turn = self.take(namespace).await?;
        let mut something = pin!(something);
        if let Ok(done) = tokio::time::timeout(TURN, something.as_mut()).await {
            return Ok(done);
        }
        drop(turn);
        Ok(something.await)
    }

    async fn take(&self, namespace: Option<&str>) -> Result<Turn, AcquireError> {
        let of_namespace = match namespace.map(|namespace| self.of(namespace)) {
            Some(turns) => Some(turns.acquire_owned().await?),
            None => None,
        };
        Ok(Turn { _of_namespace: of_namespace, _of_all: self.all.clone().acquire_owned().await? })
    }

    fn of(&self, namespace: &str) -> Arc<Semaphore> {
        let mut namespaces = self.namespaces.lock().unwrap_or_else(PoisonError::into_inner);
        if namespaces.len() >= KEPT {
            namespaces.retain(|_, turns| Arc::strong_count(turns) > 1);
        }
        namespaces.entry(namespace.into()).or_insert_with(|| Arc::new(Semaphore::new(IN_A_NAMESPACE))).clone()
    }
}

/// The namespace that a path is in.
pub fn namespace_of(path: &str) -> Option<&str> {
    let mut rest = path.split('/').skip_while(|part| *part != "namespaces").skip(1);
    // The object itself is not in it.
    let (namespace, within) = (rest.next()?, rest.next());
    within.map(|_| namespace)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    fn at_once(turns: &Turns, namespace: Option<&str>) -> Option<Turn> {
        turns.take(namespace).now_or_never()?.ok()
    }

    #[test]
    fn nobody_has_all_the_turns() {
        let turns = Turns::default();
        let of = |namespace: Option<&str>| at_once(&turns, namespace);
        let mut slow: Vec<_> = (0..IN_A_NAMESPACE).map(|_| of(Some("slow")).expect("a turn")).collect();
        assert!(of(Some("slow")).is_none(), "the others are left");
        let others: Vec<_> = (IN_A_NAMESPACE..ALL).map(|i| of(Some(&format!("n{i}"))).expect("a turn")).collect();
        assert!(of(Some("another")).is_none() && of(None).is_none(), "all are taken");
        slow.pop();
        assert!(of(Some("slow")).is_some() && of(None).is_some());
        drop((slow, others));
        (0..2 * KEPT).for_each(|i| drop(of(Some(&format!("n{i}"))).expect("a turn")));
        assert!(turns.namespaces.lock().unwrap().len() <= KEPT, "what rests is forgotten");
    }

    #[test]
    fn what_a_namespace_is_told_by() {
        for (path, namespace) in [
            ("/api/v1/namespaces/payments/secrets/db", Some("payments")),
            ("/apis/scopedsecrets.io/v1alpha1/namespaces/payments/scopedsecrets", Some("payments")),
            ("/api/v1/namespaces/payments", None),
            ("/api/v1/namespaces", None),
            ("/api/v1/secrets", None),
        ] {
            assert_eq!(namespace_of(path), namespace, "{path}");
        }
    }
}
