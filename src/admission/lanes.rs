//! Room and threads for reviews, so that large ones hold up no small one.
//!
//! A small review has room of its own, and is answered on the thread that received it, within a few milliseconds at most. A
//! larger one waits, for a moment and in the order in which they come, for room and then for one of a few threads: whoever
//! writes many large objects waits for himself.

use super::review::BODY_LIMIT;
use axum::body::{Body, HttpBody};
use axum::http::StatusCode;
use futures::StreamExt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

/// Bytes of the largest review that is small.
pub(super) const SMALL: usize = 64 * 1024;
/// Bytes of all small bodies at any time.
const SMALL_ROOM: usize = 8 * 1024 * 1024;
/// Bytes of all others: two of the largest.
const LARGE_ROOM: usize = 2 * BODY_LIMIT;
/// How long a review waits at most. The API server gives up after 2 s.
const PATIENCE: Duration = Duration::from_secs(1);

/// Why a body was not taken.
type Why = (StatusCode, &'static str);

const BUSY: Why = (StatusCode::SERVICE_UNAVAILABLE, "too much is written at once: try again");
const TOO_LARGE: Why = (StatusCode::PAYLOAD_TOO_LARGE, "it is larger than 19 MiB: make it smaller");

/// A body that was not taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) text: &'static str,
    /// Its beginning, as far as it came: which request it is.
    pub(super) head: Vec<u8>,
}

/// So much of a beginning is kept.
pub(super) const HEAD: usize = 1024;

fn refuse((status, text): Why, head: &[u8]) -> Refusal {
    Refusal { status, text, head: head[..head.len().min(HEAD)].to_vec() }
}

/// What all reviews share.
pub(super) struct Lanes {
    small: Arc<Semaphore>,
    large: Arc<Semaphore>,
    /// For large ones: half of the processors, so that others have the rest.
    threads: Arc<Semaphore>,
    patience: Duration,
}

/// A body that has come, and the room that it takes.
pub(super) struct Received {
    bytes: Vec<u8>,
    _room: OwnedSemaphorePermit,
    deadline: Instant,
}

impl Default for Lanes {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, |n| n.get());
        Self::new(SMALL_ROOM, LARGE_ROOM, (processors / 2).max(1), PATIENCE)
    }
}

impl Lanes {
    fn new(small: usize, large: usize, threads: usize, patience: Duration) -> Self {
        let of = |permits| Arc::new(Semaphore::new(permits));
        Self { small: of(small), large: of(large), threads: of(threads), patience }
    }

    /// The whole body, within this request's limit and that of all bodies together. Room is taken at once for all that is
    /// announced, so that no two wait for each other; and only when some of it has come.
    pub(super) async fn receive(&self, body: Body) -> Result<Received, Refusal> {
        let deadline = Instant::now() + self.patience;
        let announced = body.size_hint().upper().map(|bytes| usize::try_from(bytes).unwrap_or(BODY_LIMIT));
        let mut is_small = announced.is_none_or(|bytes| bytes <= SMALL);
        let (mut bytes, mut room) = (Vec::new(), None);
        let mut chunks = body.into_data_stream();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|_| refuse((StatusCode::BAD_REQUEST, "the body broke off"), &[]))?;
            let head = if bytes.is_empty() { &chunk[..] } else { &bytes[..] };
            let length = bytes.len() + chunk.len();
            if length > BODY_LIMIT {
                return Err(refuse(TOO_LARGE, head));
            }
            if is_small && length > SMALL {
                (is_small, room) = (false, None);
            }
            if room.is_none() {
                let taken = self.room(is_small, announced, deadline).await;
                room = Some(taken.ok_or_else(|| refuse(BUSY, head))?);
            }
            bytes.extend_from_slice(&chunk);
        }
        let room = match room {
            Some(room) => room,
            None => self.room(true, Some(0), deadline).await.ok_or_else(|| refuse(BUSY, &[]))?,
        };
        Ok(Received { bytes, _room: room, deadline })
    }

    async fn room(&self, is_small: bool, announced: Option<usize>, deadline: Instant) -> Option<OwnedSemaphorePermit> {
        let (lane, limit) = if is_small { (&self.small, SMALL) } else { (&self.large, BODY_LIMIT) };
        let bytes = u32::try_from(announced.map_or(limit, |bytes| bytes.min(limit))).unwrap_or(u32::MAX);
        timeout_at(deadline, lane.clone().acquire_many_owned(bytes)).await.ok()?.ok()
    }

    /// What is made of a body: here if it is small, else when a thread for large ones is free.
    pub(super) async fn work<T: Send + 'static>(
        &self,
        received: Received,
        work: impl FnOnce(&[u8]) -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        if received.bytes.len() <= SMALL {
            return Ok(work(&received.bytes));
        }
        let turn = timeout_at(received.deadline, self.threads.clone().acquire_owned()).await;
        let turn = turn.ok().and_then(Result::ok).ok_or_else(|| refuse(BUSY, &received.bytes))?;
        // The turn ends with the work, whether or not anybody waits for it any more.
        let working = tokio::task::spawn_blocking(move || {
            let (_turn, received) = (turn, received);
            work(&received.bytes)
        });
        working.await.map_err(|_| refuse((StatusCode::INTERNAL_SERVER_ERROR, "internal error"), &[]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use std::sync::mpsc;

    const LARGE: usize = SMALL + 1;

    fn lanes(patience: u64) -> Lanes {
        Lanes::new(2 * SMALL, 2 * LARGE, 1, Duration::from_millis(patience))
    }

    fn body(bytes: usize) -> Body {
        Body::from(vec![b' '; bytes])
    }

    fn in_chunks(chunks: usize) -> Body {
        let chunk = || Ok::<_, std::io::Error>(vec![b' '; SMALL / 2]);
        Body::from_stream(futures::stream::iter((0..chunks).map(move |_| chunk())))
    }

    fn refused<T>(answer: Result<T, Refusal>) -> u16 {
        answer.err().map_or(200, |refusal| refusal.status.as_u16())
    }

    #[tokio::test]
    async fn large_ones_wait_for_room_and_small_ones_do_not() {
        let lanes = lanes(20_000);
        let held = [lanes.receive(body(LARGE)).await.unwrap(), lanes.receive(body(LARGE)).await.unwrap()];
        let mut third = Box::pin(lanes.receive(body(LARGE)));
        assert!(third.as_mut().now_or_never().is_none(), "it waits");
        assert_eq!(refused(lanes.receive(body(SMALL)).await), 200);
        assert_eq!(refused(lanes.receive(body(0)).await), 200);
        drop(held);
        assert_eq!(refused(third.await), 200);
    }

    #[tokio::test]
    async fn nobody_waits_for_ever() {
        let lanes = lanes(20);
        let _held = [lanes.receive(body(LARGE)).await.unwrap(), lanes.receive(body(LARGE)).await.unwrap()];
        assert_eq!(refused(lanes.receive(body(LARGE)).await), 503);
        let _held = [lanes.receive(body(SMALL)).await.unwrap(), lanes.receive(in_chunks(1)).await.unwrap()];
        assert_eq!(refused(lanes.receive(body(SMALL)).await), 503);
    }

    #[tokio::test]
    async fn what_announces_nothing_takes_its_room_as_it_grows() {
        let lanes = Lanes::new(SMALL, 2 * BODY_LIMIT, 1, PATIENCE);
        let small = lanes.receive(in_chunks(2)).await.unwrap();
        assert_eq!((small.bytes.len(), lanes.small.available_permits()), (SMALL, 0));
        drop(small);
        let large = lanes.receive(in_chunks(5)).await.unwrap();
        assert_eq!((large.bytes.len(), lanes.small.available_permits()), (5 * SMALL / 2, SMALL), "not in both");
        assert_eq!(lanes.large.available_permits(), BODY_LIMIT);
        assert_eq!(refused(lanes.receive(in_chunks(2 * BODY_LIMIT / SMALL + 1)).await), 413);
        assert_eq!(refused(lanes.receive(body(BODY_LIMIT + 1)).await), 413);
        drop(large);
        assert_eq!(lanes.large.available_permits(), 2 * BODY_LIMIT, "what was refused holds nothing");
    }

    #[tokio::test]
    async fn one_large_one_is_worked_on_at_a_time() {
        let lanes = lanes(50);
        let (first, second) = (lanes.receive(body(LARGE)).await.unwrap(), lanes.receive(body(LARGE)).await.unwrap());
        let (go, gone) = mpsc::channel::<()>();
        let mut working = Box::pin(lanes.work(first, move |bytes| gone.recv().map(|()| bytes.len())));
        assert!(working.as_mut().now_or_never().is_none());
        assert_eq!(refused(lanes.work(second, <[u8]>::len).await), 503, "its turn does not come in time");
        let small = lanes.receive(body(3)).await.unwrap();
        assert_eq!(lanes.work(small, <[u8]>::len).await, Ok(3));
        go.send(()).unwrap();
        assert_eq!(working.await, Ok(Ok(LARGE)));
        let panics = lanes.receive(body(LARGE)).await.unwrap();
        assert_eq!(refused(lanes.work(panics, |_| panic!("a bug")).await), 500);
        assert_eq!(lanes.threads.available_permits(), 1, "its turn is over");
    }
}
