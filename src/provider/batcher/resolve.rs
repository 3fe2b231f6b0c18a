//! From one batch's answers to one outcome per key.
//!
//! ```text
//!   batch ── ok ──► answered ─► outcome      left out ─► once more ─► Incomplete
//!     │                                      left out, strangers in the answer ─► IdentityMismatch
//!     ├── every call would fail (throttled, down, credentials) ─► that error for all, no further call
//!     └── one key may be at fault ─► two halves ─► … ─► a single call for each key that cannot be halved
//! ```

use std::sync::Arc;

use tokio::time::Instant;

use super::super::{Answer, Ask, FetchError, MAX_VALUE_BYTES, VersionRef};
use super::{BATCHING_REFUSED_FOR, BatchSource, Desk, Outcome, Page, Queue, Trip};

/// Pages followed for one batch. A page without a single entry is allowed (AWS documents it), a loop is not.
const PAGE_LIMIT: usize = 40;

/// Keys that share a call.
struct Group {
    asks: Vec<Ask>,
    /// The manager has left them out of an answer once.
    left_out: bool,
}

/// What bisecting one batch has shown.
#[derive(Default)]
struct Bisection {
    /// A batch has failed as a whole.
    begun: bool,
    /// A batch has succeeded.
    batch_succeeded: bool,
    /// A key has failed by itself, which explains the batch's failure.
    offender_found: bool,
    /// Keys that were in every failing batch, and have succeeded by themselves.
    innocent: Vec<String>,
}

impl Bisection {
    /// What to remember, so that the next refresh is cheaper.
    fn learn(self, queue: &mut Queue) {
        if !self.begun || self.offender_found || self.innocent.is_empty() {
            return;
        }
        let until = Instant::now() + BATCHING_REFUSED_FOR;
        if !self.batch_succeeded {
            // It is the batch call itself that is refused: the identity may GetSecretValue, not BatchGetSecretValue.
            queue.batching_refused_until = Some(until);
            return;
        }
        for key in &self.innocent {
            queue.remember_alone(key, Some(until));
        }
    }
}

impl<S: BatchSource> Trip<S> {
    /// Asks for each key by itself.
    pub(super) async fn alone(mut self) {
        for ask in self.asks() {
            let outcome = self.desk.single(&ask).await;
            if outcome.is_ok() && ask.version == VersionRef::Current {
                self.desk.queue().succeeded_alone(&ask.id);
            }
            self.settle(&ask, outcome);
        }
    }

    /// Asks for all keys in as few calls as can be.
    pub(super) async fn together(mut self) {
        let mut bisection = Bisection::default();
        let mut groups = vec![Group { asks: self.asks(), left_out: false }];
        while let Some(group) = groups.pop() {
            let failure = if bisection.begun && group.asks.len() == 1 {
                self.suspect(&group.asks[0], &mut bisection).await
            } else {
                let (page, failure) = self.desk.pages(&group.asks).await;
                groups.extend(self.hand_out(&group, page, failure.is_none()));
                bisection.begun |= failure.is_some();
                bisection.batch_succeeded |= failure.is_none();
                failure
            };
            if let Some(error) = failure.filter(|error| !error.may_be_one_keys_fault()) {
                // Whatever else is open would fare the same.
                self.give_up(&error);
                return;
            }
        }
        bisection.learn(&mut self.desk.queue());
    }

    /// Settles what the page settles, and says what to ask next.
    fn hand_out(&mut self, group: &Group, page: Page, complete: bool) -> Vec<Group> {
        let mut strangers = page.nameless;
        for answer in page.answers {
            let answer = Arc::new(answer);
            let mine: Vec<&Ask> = group.asks.iter().filter(|ask| answer.answers(ask)).collect();
            strangers += usize::from(mine.is_empty());
            for ask in mine {
                self.settle(ask, within_size(Arc::clone(&answer)));
            }
        }
        for (id, error) in page.failures {
            if let Some(ask) = group.asks.iter().find(|ask| ask.id == id) {
                self.settle(ask, Err(error));
            }
        }
        let rest: Vec<Ask> =
            group.asks.iter().filter(|ask| self.open.iter().any(|open| open.ask == **ask)).cloned().collect();
        if rest.is_empty() {
            return Vec::new();
        }
        if !complete {
            let (left, right) = rest.split_at(rest.len() / 2);
            return [left, right]
                .into_iter()
                .filter(|half| !half.is_empty())
                .map(|half| Group { asks: half.to_vec(), left_out: group.left_out })
                .collect();
        }
        if strangers == 0 && !group.left_out {
            return vec![Group { asks: rest, left_out: true }];
        }
        let error = if strangers > 0 { FetchError::IdentityMismatch } else { FetchError::Incomplete };
        for ask in &rest {
            self.settle(ask, Err(error.clone()));
        }
        Vec::new()
    }

    /// Asks for a key that was in every failing batch; if it fails again, it is asked alone from now on.
    async fn suspect(&mut self, ask: &Ask, bisection: &mut Bisection) -> Option<FetchError> {
        let outcome = self.desk.single(ask).await;
        let error = outcome.as_ref().err().cloned();
        match &error {
            None => bisection.innocent.push(ask.id.clone()),
            Some(error) if error.may_be_one_keys_fault() => {
                bisection.offender_found = true;
                self.desk.queue().remember_alone(&ask.id, None);
            }
            Some(_) => {}
        }
        self.settle(ask, outcome);
        error
    }
}

impl<S: BatchSource> Desk<S> {
    /// All pages, or those before the failure.
    async fn pages(&self, asks: &[Ask]) -> (Page, Option<FetchError>) {
        let ids: Vec<String> = asks.iter().map(|ask| ask.id.clone()).collect();
        let mut all = Page::default();
        for _ in 0..PAGE_LIMIT {
            let turn = self.calls.acquire().await;
            let page = match self.source.batch(&ids, all.next.take()).await {
                Ok(page) => page,
                Err(error) => return (all, Some(error)),
            };
            drop(turn);
            all.answers.extend(page.answers);
            all.failures.extend(page.failures);
            all.nameless += page.nameless;
            all.next = page.next;
            if all.next.is_none() {
                break;
            }
        }
        (all, None)
    }

    async fn single(&self, ask: &Ask) -> Outcome {
        let _turn = self.calls.acquire().await;
        let answer = self.source.single(ask).await?;
        if !answer.answers(ask) {
            return Err(FetchError::IdentityMismatch);
        }
        within_size(Arc::new(answer))
    }
}

fn within_size(answer: Arc<Answer>) -> Outcome {
    if answer.value.expose().len() > MAX_VALUE_BYTES {
        return Err(FetchError::TooLarge);
    }
    Ok(answer)
}
