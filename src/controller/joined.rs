//! Watches of one kind in several namespaces, as one: a full listing begins with the first, and ends with the last of them.
//!
//! ```text
//!   a: Init 1 2 Done ─┐
//!   b: Init 3 Done  ──┴─►  Init 1 3 2 Done, then whatever changes
//! ```
//! Where one has to list anew later (the API server forgot the revision that it was at), all of them do: what a full listing does
//! not show is gone, so it has to be full.

use super::served::Place;
use super::watch::Patience;
use futures::stream::{BoxStream, SelectAll};
use futures::{Stream, StreamExt};
use kube::Resource;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Config, Error, Event};
use serde::de::DeserializeOwned;
use std::fmt::Debug;

/// Watches a kind in these places. `absent` says of which namespaces it is known that they are not there: nobody may list what is
/// in them, since no role can be, and they hold nothing.
pub fn watch<'c, K>(
    places: Vec<Place<K>>,
    config: Config,
    absent: impl Fn(&str) -> bool + Send + 'c,
) -> BoxStream<'c, Result<Event<K>, Error>>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    match places.as_slice() {
        [Place { namespace: None, api }] => watcher::watcher(api.clone(), config).backoff(Patience::default()).boxed(),
        _ => {
            let begin = move || {
                let part = |place: &Place<K>| {
                    watcher::watcher(place.api.clone(), config.clone()).backoff(Patience::default()).boxed()
                };
                places
                    .iter()
                    .map(|place| (place.namespace.as_deref().unwrap_or_default().to_owned(), part(place)))
                    .collect()
            };
            join(begin, absent).boxed()
        }
    }
}

/// How far a part is with its listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It has not shown anything yet.
    Begins,
    /// It has shown some.
    Shows,
    /// It has shown all, and tells what changes.
    Follows,
    /// Its namespace is not there. When it comes, what is in it is what changes.
    Absent,
}

type Part<'s, K> = (String, BoxStream<'s, Result<Event<K>, Error>>);
type Tagged<'s, K> = BoxStream<'s, (usize, Result<Event<K>, Error>)>;

struct Joined<'s, K, B, A> {
    begin: B,
    absent: A,
    parts: SelectAll<Tagged<'s, K>>,
    stages: Vec<(String, Stage)>,
    /// Whether the end of the full listing was told.
    listed: bool,
}

/// Joins what `begin` begins. Names tell the parts apart.
fn join<'s, K, B, A>(begin: B, absent: A) -> impl Stream<Item = Result<Event<K>, Error>>
where
    K: Send + 's,
    B: Fn() -> Vec<Part<'s, K>>,
    A: Fn(&str) -> bool,
{
    let joined = Joined { begin, absent, parts: SelectAll::new(), stages: Vec::new(), listed: false };
    futures::stream::unfold(joined, |mut joined| async move { Some((joined.next().await, joined)) })
}

impl<'s, K, B, A> Joined<'s, K, B, A>
where
    K: Send + 's,
    B: Fn() -> Vec<Part<'s, K>>,
    A: Fn(&str) -> bool,
{
    async fn next(&mut self) -> Result<Event<K>, Error> {
        loop {
            // The watches do not end; if all of them did, they begin anew.
            let Some((part, event)) = self.parts.next().await else { return Ok(self.anew()) };
            if let Some(told) = self.take(part, event) {
                return told;
            }
        }
    }

    /// Begins a full listing.
    fn anew(&mut self) -> Event<K> {
        let parts = (self.begin)();
        self.stages = parts.iter().map(|(name, _)| (name.clone(), Stage::Begins)).collect();
        self.listed = false;
        let tagged = parts.into_iter().enumerate().map(|(part, (_, events))| events.map(move |e| (part, e)).boxed());
        self.parts = tagged.collect();
        Event::Init
    }

    /// What an event of a part is to whoever follows them all; None: nothing yet.
    fn take(&mut self, part: usize, event: Result<Event<K>, Error>) -> Option<Result<Event<K>, Error>> {
        let (name, stage) = self.stages.get_mut(part)?;
        match event {
            Err(error) => {
                if *stage == Stage::Begins && is_forbidden(&error) && (self.absent)(name) {
                    *stage = Stage::Absent;
                    return self.ended();
                }
                // It is tried again, and nobody can do anything about it.
                (*stage != Stage::Absent || !is_forbidden(&error)).then_some(Err(error))
            }
            Ok(Event::Init) if matches!(stage, Stage::Begins | Stage::Absent) => None,
            Ok(Event::Init) => Some(Ok(self.anew())),
            Ok(Event::InitApply(object) | Event::Apply(object)) => {
                if *stage == Stage::Begins {
                    *stage = Stage::Shows;
                }
                Some(Ok(if self.listed { Event::Apply(object) } else { Event::InitApply(object) }))
            }
            Ok(Event::Delete(object)) => Some(Ok(Event::Delete(object))),
            Ok(Event::InitDone) => {
                *stage = Stage::Follows;
                self.ended()
            }
        }
    }

    /// The end of the full listing, if this is it.
    fn ended(&mut self) -> Option<Result<Event<K>, Error>> {
        let all = self.stages.iter().all(|(_, stage)| matches!(stage, Stage::Follows | Stage::Absent));
        (all && !std::mem::replace(&mut self.listed, true)).then_some(Ok(Event::InitDone))
    }
}

fn is_forbidden(error: &Error) -> bool {
    matches!(error, Error::InitialListFailed(kube::Error::Api(status)) if status.code == 403)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use futures::channel::mpsc::{UnboundedSender, unbounded};
    use kube::core::Status;
    use std::cell::RefCell;
    use std::rc::Rc;

    type Sender = UnboundedSender<Result<Event<u32>, Error>>;

    /// Parts `a` and `b`, which a test speaks for; those of the listing before are silent.
    struct Bench {
        speak: Rc<RefCell<Vec<Sender>>>,
        heard: BoxedLocal,
    }

    type BoxedLocal = futures::stream::LocalBoxStream<'static, Result<Event<u32>, Error>>;

    impl Bench {
        fn new(absent: &'static str) -> Self {
            let speak: Rc<RefCell<Vec<Sender>>> = Rc::default();
            let senders = speak.clone();
            let begin = move || {
                let (senders, parts) = ["a", "b"]
                    .map(|name| {
                        let (sender, events) = unbounded();
                        (sender, (name.to_owned(), events.boxed()))
                    })
                    .into_iter()
                    .unzip();
                *speak.borrow_mut() = senders;
                parts
            };
            Self { speak: senders, heard: join(begin, move |name| name == absent).boxed_local() }
        }

        fn say(&self, part: usize, events: impl IntoIterator<Item = Event<u32>>) {
            events.into_iter().for_each(|event| self.speak.borrow()[part].unbounded_send(Ok(event)).unwrap());
        }

        fn fail(&self, part: usize, code: u16) {
            let refusal = kube::Error::Api(Box::new(Status { code, ..Status::default() }));
            self.speak.borrow()[part].unbounded_send(Err(Error::InitialListFailed(refusal))).unwrap();
        }

        /// All that is told before it has to wait.
        fn told(&mut self) -> Vec<String> {
            let mut all = Vec::new();
            while let Some(Some(event)) = self.heard.next().now_or_never() {
                all.push(match event {
                    Ok(Event::Init) => "begin".to_owned(),
                    Ok(Event::InitApply(n)) => format!("listed {n}"),
                    Ok(Event::InitDone) => "end".to_owned(),
                    Ok(Event::Apply(n)) => format!("there {n}"),
                    Ok(Event::Delete(n)) => format!("gone {n}"),
                    Err(_) => "error".to_owned(),
                });
            }
            all
        }
    }

    use Event::{Apply, Delete, Init, InitApply, InitDone};

    #[test]
    fn a_listing_ends_with_the_last_of_them() {
        let mut bench = Bench::new("-");
        assert_eq!(bench.told(), ["begin"]);
        bench.say(0, [Init, InitApply(1), InitDone]);
        assert_eq!(bench.told(), ["listed 1"]);
        // What the first tells meanwhile is part of the listing, or what it does not show would be gone at its end.
        bench.say(0, [Apply(2), Delete(1)]);
        assert_eq!(bench.told(), ["listed 2", "gone 1"]);
        bench.say(1, [Init, InitApply(3), InitDone]);
        assert_eq!(bench.told(), ["listed 3", "end"]);
        bench.say(1, [Apply(4)]);
        bench.say(0, [Delete(2)]);
        let mut told = bench.told();
        told.sort();
        assert_eq!(told, ["gone 2", "there 4"]);
    }

    #[test]
    fn where_one_lists_anew_all_do() {
        let mut bench = Bench::new("-");
        bench.told();
        [0, 1].into_iter().for_each(|part| bench.say(part, [Init, InitDone]));
        assert_eq!(bench.told(), ["end"]);
        bench.say(1, [Init]);
        assert_eq!(bench.told(), ["begin"]);
        bench.say(0, [Init, InitApply(1), InitDone]);
        // A listing that breaks off after it has shown something may show less the next time.
        bench.say(1, [Init, InitApply(2), Init]);
        assert_eq!(bench.told().last().map(String::as_str), Some("begin"));
        bench.say(0, [Init, InitDone]);
        bench.say(1, [Init, InitApply(3), InitDone]);
        assert_eq!(bench.told(), ["listed 3", "end"]);
    }

    #[test]
    fn one_that_may_not_be_listed_holds_up_the_end() {
        let mut bench = Bench::new("-");
        bench.told();
        bench.say(0, [Init, InitDone]);
        bench.say(1, [Init]);
        bench.fail(1, 403);
        bench.say(1, [Init]);
        assert_eq!(bench.told(), ["error"]);
        bench.say(1, [InitDone]);
        assert_eq!(bench.told(), ["end"]);
    }

    #[test]
    fn a_namespace_that_is_not_there_holds_nothing() {
        let mut bench = Bench::new("b");
        bench.told();
        bench.say(0, [Init, InitApply(1), InitDone]);
        bench.fail(1, 500);
        let mut told = bench.told();
        told.sort();
        assert_eq!(told, ["error", "listed 1"]);
        bench.fail(1, 403);
        assert_eq!(bench.told(), ["end"]);
        bench.say(1, [Init]);
        bench.fail(1, 403);
        assert_eq!(bench.told(), [] as [&str; 0]);
        // It comes.
        bench.say(1, [Init, InitApply(2), InitDone, Apply(3)]);
        assert_eq!(bench.told(), ["there 2", "there 3"]);
    }
}
